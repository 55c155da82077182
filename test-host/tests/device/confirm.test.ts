// Confirming must not be a trap: a mistake in the call that confirms a good image must neither roll it back in silence nor ban it.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { fsverity } from "../../support/fsverity.ts";
import { behaves, type Config, failsWith, plain, type Fixture, settle, createFixture } from "../../support/fixture.ts";

const byDigest = (fixture: Fixture): Config => ({ digest: `fsverity-sha256:${fsverity(fixture.image)}` });
const status = (fixture: Fixture): any => plain(fixture.device.ota.getStatus());

/** A device that has installed an image and started it, unconfirmed. */
async function onTrial(t: TestContext): Promise<Fixture> {
  const fixture = await createFixture(t);
  assert.ifError((await fixture.update(byDigest(fixture))).error);
  fixture.device.restart();
  assert.equal(fixture.device.running, "ota_0");
  return fixture;
}

/** Lets the device work until it asks for a restart, or for long enough. */
async function work({ device }: Fixture, ms = 1): Promise<void> {
  for (let pass = 0; pass < 300 && !device.rebootAsked; pass++) await device.engine.advance(ms);
}

/** A call of the program's own, `text`, with its outcome. */
function call(fixture: Fixture, text: string) {
  const { engine, ota } = fixture.device;
  const program = engine.run(`(function (ota) { return ${text}; })`) as (module: unknown) => unknown;
  return settle(fixture.device, program(ota));
}

for (const [what, text, says] of [
  ["confirmAfter without a time", "ota.confirmAfter(function () { return true; })", /ms must be a whole number/],
  ["confirmAfter without a check", "ota.confirmAfter(100)", /check a function/],
  ["confirmAfter with a time as text", "ota.confirmAfter('100', function () { return true; })", /ms must be/],
  ["confirmAfter with half a millisecond", "ota.confirmAfter(0.5, function () { return true; })", /ms must be/],
  ["confirmAfter with a negative time", "ota.confirmAfter(-1, function () { return true; })", /ms must be/],
  ["confirmAfter with what a check answers", "ota.confirmAfter(100, true)", /check a function/],
  ["confirmAfter with text for onEvent", "ota.confirmAfter(1, function () { return true; }, 'x')", /onEvent must be/],
  ["boot with a misspelt option", "ota.boot({ atempts: 3 })", /atempts is not an option/],
  ["boot with attempts as text", "ota.boot({ attempts: '3' })", /attempts must be a whole number/],
  ["boot with onTrial that is not a function", "ota.boot({ onTrial: 3 })", /onTrial must be a function/],
  ["boot with a number", "ota.boot(3)", /options must be an object/],
  ["boot with null", "ota.boot(null)", /options must be an object/],
] as const)
  test(`${what} is refused by name, and the image stays on trial`, async (t) => {
    const fixture = await onTrial(t);
    assert.match(failsWith(await call(fixture, text), "INVALID_ARG").message, says);
    await work(fixture);
    assert.equal(fixture.device.rebootAsked, false);
    assert.notEqual(status(fixture).trial, null);
    fixture.device.restart();
    assert.equal(fixture.device.running, "ota_0");
    behaves(fixture);
  });

for (const [what, check, good, reason] of [
  ["a promise of true", "return Promise.resolve(true)", true, ""],
  [
    "a promise that is kept later",
    "return new Promise(function (r) { setTimeout(function () { r(true); }, 50); })",
    true,
    "",
  ],
  ["a promise of false", "return Promise.resolve(false)", false, "check() did not answer true"],
  ["a promise that is rejected", "return Promise.reject(new Error('no sensor'))", false, "check() threw: no sensor"],
] as const)
  test(`confirmAfter: a check that returns ${what} ${good ? "confirms" : "rolls back"}`, async (t) => {
    const fixture = await onTrial(t);
    const told = call(fixture, `ota.confirmAfter(10, function () { ${check}; })`).catch(() => null);
    await work(fixture);
    if (good) assert.deepEqual(await told, { result: true });
    assert.equal(fixture.device.rebootAsked, !good);
    fixture.device.restart();
    assert.equal(fixture.device.running, good ? "ota_0" : "factory");
    assert.equal(status(fixture).rollbackReason, reason, "the reason outlives the restart");
  });

test("what a check throws is printed and kept, and the image may come again", async (t) => {
  const fixture = await onTrial(t);
  const { device } = fixture;
  const { console, problems } = device.engine;
  void call(fixture, "ota.confirmAfter(10, function () { return wifi.isConnected(); }, print)").catch(() => null);
  await work(fixture);
  device.restart();
  assert.equal(device.running, "factory");
  const reason = status(fixture).rollbackReason;
  assert.match(reason, /^check\(\) threw: .*wifi/);
  assert.equal(console[0], `ROLLBACK ${reason}`);
  assert.ok(
    problems.some((line: string) => /wifi/.test(line)),
    `printed: ${problems}`,
  );
  assert.deepEqual(status(fixture).rolledBack, []);
  assert.ifError((await fixture.update(byDigest(fixture))).error);
  assert.equal(status(fixture).rollbackReason, "", "of the image that is on trial now nothing is known");
});

test("an image whose check has thrown three times is refused like a rejected one", async (t) => {
  const fixture = await onTrial(t);
  const { device } = fixture;
  for (let time = 1; time <= 3; time++) {
    void call(fixture, "ota.confirmAfter(10, function () { throw new Error('sensor'); })").catch(() => null);
    await work(fixture);
    device.restart();
    assert.equal(device.running, "factory");
    const { error } = await fixture.update(byDigest(fixture));
    assert.equal(error?.name, time < 3 ? undefined : "ESP_ERR_NOT_ALLOWED", `time ${time}: ${error?.message}`);
    device.restart();
  }
});

test("while the promise of a check is open nothing is decided; markValid() decides it", async (t) => {
  const fixture = await onTrial(t);
  const { device } = fixture;
  const told = call(
    fixture,
    "ota.confirmAfter(1, function () { return new Promise(function (r) { setTimeout(function () { r(false); }, 5000); }); })",
  );
  await device.engine.advance(4000);
  assert.notEqual(status(fixture).trial, null);
  device.ota.markValid();
  await device.engine.advance(2000);
  assert.deepEqual(await told, { result: true });
  assert.equal(device.rebootAsked, false);
});

for (const [what, text, reason] of [
  ["a check that says no", "ota.confirmAfter(1, function () { return false; })", "check() did not answer true"],
  ["rollback()", "ota.rollback()", "rollback() was called"],
] as const)
  test(`getStatus().rollbackReason after ${what}`, async (t) => {
    const fixture = await onTrial(t);
    void call(fixture, text).catch(() => null);
    await work(fixture);
    fixture.device.restart();
    assert.equal(status(fixture).rollbackReason, reason);
  });

test("getStatus().rollbackReason after starts that ran out names how many there were", async (t) => {
  const fixture = await onTrial(t);
  for (let start = 0; start < 3; start++) {
    void call(fixture, "ota.boot({ attempts: 2 })").catch(() => null);
    await work(fixture);
    fixture.device.restart();
  }
  assert.equal(fixture.device.running, "factory");
  assert.equal(status(fixture).rollbackReason, "not confirmed in 2 starts");
});

test("an exception in onTrial is printed, and the trial goes on", async (t) => {
  const fixture = await onTrial(t);
  const { device } = fixture;
  assert.deepEqual(await call(fixture, "ota.boot({ onTrial: function () { throw new Error('led'); } })"), {
    result: true,
  });
  await device.engine.advance(1);
  assert.ok(
    device.engine.problems.some((line: string) => /led/.test(line)),
    `printed: ${device.engine.problems}`,
  );
});
