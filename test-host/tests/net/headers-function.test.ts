// `headers` as a function: called before each request to the first origin, checked like the static ones, and final when
// it fails. What static headers are held to is in http.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { failsWith, type Fixture, settle, createFixture, touchesNothing } from "../../support/fixture.ts";
import { startSigned } from "../../support/signed.ts";
import { cutAt, redirect, sequence, serveFile, startServer, status } from "../../support/server.ts";

/** An update whose `headers` are this text of a function; it has `calls`, the number of this call, and `ota`. */
function updateWith(fixture: Fixture, body: string, more: Record<string, unknown> = {}) {
  const { device } = fixture;
  const program = device.engine.run(`(function (ota, config) {
    var calls = 0;
    config.headers = function () { calls++; ${body} };
    return ota.update(config);
  })`) as any;
  return settle(device, program(device.ota, fixture.config(more)));
}

const tokens = (fixture: Fixture) => fixture.server.requests.map(({ headers }) => headers["x-token"]);

test("a headers function is called for each connection: a token may expire meanwhile", async (t) => {
  const fixture = await createFixture(t);
  fixture.server.on("/fw.bin", cutAt(fixture.image, 20000, "close"));
  const outcome = await updateWith(fixture, 'return { "X-Token": "t" + calls };', { retries: 2 });
  assert.ifError(outcome.error);
  assert.deepEqual(tokens(fixture), ["t1", "t2"]);
});

test("a headers function is called for each redirect within the origin", async (t) => {
  const fixture = await createFixture(t);
  const { server } = fixture;
  server.on("/fw.bin", redirect(302, "/a"));
  server.on("/a", redirect(307, "/b"));
  server.on("/b", serveFile(fixture.image));
  assert.ifError((await updateWith(fixture, 'return { "X-Token": "t" + calls };')).error);
  assert.deepEqual(tokens(fixture), ["t1", "t2", "t3"]);
});

test("a headers function is not called for another origin", async (t) => {
  const fixture = await createFixture(t);
  const other = await startServer();
  t.after(() => other.close());
  other.on("/fw.bin", serveFile(fixture.image));
  fixture.server.on("/fw.bin", redirect(302, other.url("/fw.bin")));
  const body = 'if (calls > 1) throw new Error("called for another origin"); return { "X-Token": "secret" };';
  assert.ifError((await updateWith(fixture, body)).error);
  assert.equal(other.requests[0].headers["x-token"], undefined);
});

test("a headers function is called for the manifest and for the image", async (t) => {
  const signed = await startSigned(t);
  const { fixture } = signed;
  const config = await signed.offer(fixture.image);
  assert.ifError((await updateWith(fixture, 'return { "X-Token": "t" + calls };', config)).error);
  assert.deepEqual(
    fixture.server.requests.map(({ path, headers }) => `${path} ${headers["x-token"]}`),
    ["/m.jws t1", "/fw.bin t2"],
  );
});

for (const call of [1, 2])
  test(`a signed update that its headers function ends at call ${call} sends no more`, async (t) => {
    const signed = await startSigned(t);
    const { fixture } = signed;
    const config = await signed.offer(fixture.image);
    const body = `if (calls === ${call}) ota.abort(); return {};`;
    failsWith(await updateWith(fixture, body, { retries: 5, ...config }), "INVALID_STATE");
    await fixture.device.engine.advance(3000);
    assert.equal(fixture.server.requests.length, call - 1);
  });

for (const [what, body, says] of [
  ["a line feed in a value", 'return { "X-Token": "a\\r\\nX-Evil: 1" };', /header X-Token has a control character/],
  ["a line feed in a name", 'return { "X-Token\\n": "a" };', /has a control character/],
  ["nothing", "", /headers must be an object/],
  ["null", "return null;", /headers must be an object/],
  ["a text", 'return "X-Token: 1";', /headers must be an object/],
  ["an error", 'throw new Error("no token: clock not set");', /^headers\(\) threw: no token: clock not set$/],
  ["something that is not an error", "throw 7;", /^headers\(\) threw: 7$/],
] as const)
  test(`a headers function that gives ${what} ends the update like a bad configuration`, async (t) => {
    const fixture = await createFixture(t);
    const error = failsWith(await updateWith(fixture, body, { retries: 5 }), "INVALID_ARG");
    assert.match(error.message, says);
    assert.equal(error.retry, false);
    assert.equal(fixture.server.requests.length, 0, "nothing is sent");
    touchesNothing(fixture);
  });

test("a headers function that fails at a later connection ends the update at once", async (t) => {
  const fixture = await createFixture(t);
  fixture.server.on("/fw.bin", sequence(status(503), serveFile(fixture.image)));
  const body = 'if (calls > 1) throw new Error("expired"); return {};';
  const error = failsWith(await updateWith(fixture, body, { retries: 5 }), "INVALID_ARG");
  assert.match(error.message, /expired/);
  assert.equal(fixture.server.requests.length, 1);
});

test("an error of the module that a headers function throws is not to be retried", async (t) => {
  const fixture = await createFixture(t);
  // a config that asks for an update in turn: it is refused with retry, and that must not make this one try again
  const body = 'var e = new Error("busy"); e.code = 0x1507; e.retry = true; throw e;';
  failsWith(await updateWith(fixture, body, { retries: 5 }), "INVALID_ARG");
  assert.equal(fixture.server.requests.length, 0);
});

test("an update that its headers function ends sends no request", async (t) => {
  for (const more of [{}, { digest: `fsverity-sha256:${"0".repeat(64)}` }]) {
    const fixture = await createFixture(t);
    failsWith(await updateWith(fixture, "ota.abort(); return {};", { retries: 5, ...more }), "INVALID_STATE");
    await fixture.device.engine.advance(3000);
    assert.equal(fixture.server.requests.length, 0);
  }
});

test("a later connection whose headers function ends the update is not made", async (t) => {
  const fixture = await createFixture(t);
  fixture.server.on("/fw.bin", cutAt(fixture.image, 20000, "close"));
  const body = "if (calls > 1) ota.abort(); return {};";
  failsWith(await updateWith(fixture, body, { retries: 5 }), "INVALID_STATE");
  await fixture.device.engine.advance(3000);
  assert.equal(fixture.server.requests.length, 1);
});

test("what the program does to the object afterwards does not change the request", async (t) => {
  const fixture = await createFixture(t);
  const body = 'var h = { "X-Token": "good" }; setTimeout(function () { h["X-Token"] = "bad"; }, 0); return h;';
  assert.ifError((await updateWith(fixture, body)).error);
  assert.deepEqual(tokens(fixture), ["good"]);
});

for (const headers of [7, "X-Token: 1", true, null])
  test(`headers: ${JSON.stringify(headers)} is refused before anything is sent`, async (t) => {
    const fixture = await createFixture(t);
    const error = failsWith(await fixture.update({ headers }), "INVALID_ARG");
    assert.match(error.message, /headers must be/);
    assert.equal(fixture.server.requests.length, 0);
  });
