// The client of hawkBit on a virtual device, against the fake of support/hawkbit.ts: docs/hawkbit.md.

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { checkEs5 } from "../../checks/es5.mjs";
import { plain } from "../../support/fixture.ts";
import { createFilesFixture, filesClaims, programOf } from "../../support/files-release.ts";
import { artifactsOf, createHawkbitDevice, HAWKBIT, imageOf, OLD } from "../../support/hawkbit-device.ts";
import { type Entry, startFake } from "../../support/hawkbit.ts";
import { HISTORIES, simulateLifetime } from "../../support/hawkbit-lifetime.ts";
import { makeKey, signManifest } from "../../support/release.ts";

const SERIAL = "240ac401-0000aa";
const IMAGE = imageOf("2.0.2", 2);

async function createHawkbitFixture(t: TestContext, token = "secret", tls = false) {
  const fake = await startFake(t, tls);
  const key = await makeKey({ exponent: 3 });
  await fake.addTarget(SERIAL, "secret");
  const release = await fake.addRelease("fw", await artifactsOf(IMAGE, "2.0.2", 7, key));
  const one = createHawkbitDevice(t, fake.url, SERIAL, token, key);
  const bases = () => fake.requests.filter(({ path }) => path.endsWith(SERIAL)).length;
  return { fake, key, release, one, bases };
}

const types = (entries: Entry[]) => entries.map(({ type }) => type);
const last = (entries: Entry[]) => entries.at(-1) ?? { type: "", message: "" };

test("the bundle is the ES5 of Espruino, in less than 7.5 KB", () => {
  assert.deepEqual(checkEs5(HAWKBIT), []);
  assert.ok(HAWKBIT.length < 7500, `${HAWKBIT.length} bytes`);
});

test("it sends serial, board, firmware and attributes when hawkBit asks for them", async (t) => {
  const { fake, one } = await createHawkbitFixture(t);
  one.start('{ attributes: { place: "hall 3", long: new Array(300).join("x") } }');
  await one.waitFor("attributes", async () => "serial" in (await fake.attributes(SERIAL)));
  const { long, ...attributes } = await fake.attributes(SERIAL);
  assert.deepEqual(attributes, {
    serial: SERIAL,
    board: "ESP32",
    firmware: one.device.engine.run("process.env.VERSION"),
    sequence: "0",
    place: "hall 3",
  });
  assert.equal(long.length, 128);
  assert.deepEqual(one.log(), []);
});

test("after an installation, a restart and markValid() the action is a success", async (t) => {
  const { fake, one, release } = await createHawkbitFixture(t);
  const action = await fake.assign(SERIAL, release);
  one.start();
  await one.waitFor("installed", () => one.log().length > 0);
  assert.deepEqual(one.log(), [["installed", "ota_0"]]);
  assert.equal(one.device.rebootAsked, false);
  assert.deepEqual(types(await fake.history(SERIAL, action)), ["running", "running"]);
  one.restart();
  await one.waitFor("on trial", async () => /on trial/.test(last(await fake.history(SERIAL, action)).message));
  assert.equal(one.device.running, "ota_0");
  one.device.ota.markValid();
  await one.waitFor("closed", async () => last(await fake.history(SERIAL, action)).type === "finished");
  assert.match(last(await fake.history(SERIAL, action)).message, /confirmed/);
  assert.deepEqual(one.log(), []);
  assert.deepEqual(one.device.slot("ota_0", IMAGE.length), IMAGE);
  assert.deepEqual(one.device.engine.problems, []);
});

test("the histories of a lifetime are those of the real hawkBit", async (t) => {
  const { fake, key } = await createHawkbitFixture(t);
  assert.deepEqual((await simulateLifetime(t, fake, key, "240ac402-0000aa")).told, HISTORIES);
});

test("over TLS it takes the https links, installs and reports", async (t) => {
  const { fake, one, release, bases } = await createHawkbitFixture(t, "secret", true);
  const action = await fake.assign(SERIAL, release);
  one.start();
  await one.waitFor("installed", () => one.log().length > 0);
  assert.deepEqual(one.log(), [["installed", "ota_0"]]);
  const before = bases();
  await one.waitFor("the next poll", () => bases() > before);
  one.restart();
  one.device.ota.markValid();
  await one.waitFor("closed", async () => last(await fake.history(SERIAL, action)).type === "finished");
  assert.deepEqual(one.device.engine.problems, []);
});

test("a release of files is installed from the software module of its manifest", async (t) => {
  const { fake, key } = await createHawkbitFixture(t);
  const fixture = await createFilesFixture(t, { engine: { serial: SERIAL }, key });
  const files = { "app.js": programOf("2"), "data.txt": "hello" };
  const about = { files: filesClaims(files).files as { name: string; url: string }[] };
  for (const file of about.files) file.url = file.name;
  const manifest = await signManifest(filesClaims(files, { ...about, version: "2.0.2", sequence: 7 }), key);
  const action = await fake.assign(SERIAL, await fake.addRelease("files", { ...files, "program.jws": manifest }));
  const { engine } = fixture.device;
  const start = `var fields = ${JSON.stringify({ url: fake.url, token: "secret", keys: [key.jwk], retries: 0 })};
    var log = []; fields.installed = function () { log.push("installed"); };
    fields.failed = function (error) { log.push(error.message); }; require("https-ota-hawkbit").start(fields);`;
  engine.addModule("https-ota-hawkbit", HAWKBIT);
  engine.run(start);
  async function waitFor(holds: () => Promise<boolean>): Promise<void> {
    for (let n = 0; n < 1000 && !(await holds()); n++) {
      const current = fixture.device.engine;
      if (!current.accounts().sockets) await current.advance(10_000);
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
    assert.ok(
      await holds(),
      JSON.stringify([plain(fixture.device.engine.run("log")), await fake.history(SERIAL, action)]),
    );
  }
  await waitFor(async () => (plain(engine.run("log")) as string[]).includes("installed"));
  fixture.device.restart();
  assert.equal(fixture.ask("running"), "2");
  fixture.device.ota.markValid();
  fixture.device.engine.addModule("https-ota-hawkbit", HAWKBIT);
  fixture.device.engine.run(start);
  await waitFor(async () => last(await fake.history(SERIAL, action)).type === "finished");
  await waitFor(async () => (await fake.attributes(SERIAL)).release === "2.0.2");
});

for (const [how, verdict] of [
  ["rollback({ reason })", true],
  ["a check that throws", false],
] as const)
  test(`after ${how} the action is closed with failure and the reason`, async (t) => {
    const { fake, one, release, key } = await createHawkbitFixture(t);
    const action = await fake.assign(SERIAL, release);
    one.start();
    await one.waitFor("installed", () => one.log().length > 0);
    one.device.restart();
    const { engine, ota } = one.device;
    if (verdict) await engine.call(ota.rollback(engine.run('({ reason: "no sensor", restart: false })')));
    else {
      ota.confirmAfter(10, engine.run('(function () { throw new Error("no sensor"); })'));
      for (let n = 0; n < 200 && !one.device.rebootAsked; n++) {
        await engine.advance(100);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      assert.equal(one.device.rebootAsked, true);
    }
    one.restart();
    assert.equal(one.device.running, "factory");
    await one.waitFor("closed", async () => last(await fake.history(SERIAL, action)).type === "error");
    assert.match(last(await fake.history(SERIAL, action)).message, /rolled back: .*no sensor/);
    // the next action is not blamed for it
    const fixed = await fake.addRelease("fixed", await artifactsOf(imageOf("2.0.3", 3), "2.0.3", 8, key));
    await fake.assign(SERIAL, fixed);
    await one.waitFor("the next one", () => one.log().some(([what]) => what === "installed"));
  });

test("a release that a verdict rolled back is refused later, with the reason", async (t) => {
  const { fake, one, release } = await createHawkbitFixture(t);
  await fake.assign(SERIAL, release);
  one.start();
  await one.waitFor("installed", () => one.log().length > 0);
  one.device.restart();
  await one.device.engine.call(
    one.device.ota.rollback(one.device.engine.run('({ reason: "no sensor", restart: false })')),
  );
  one.restart();
  await one.waitFor("closed", async () => last(await fake.history(SERIAL, 0)).type === "error");
  const second = await fake.assign(SERIAL, release);
  await one.waitFor("refused", async () => last(await fake.history(SERIAL, second)).type === "error");
  assert.match(last(await fake.history(SERIAL, second)).message, /ESP_ERR_NOT_ALLOWED.*last rollback: no sensor/);
});

test("a manifest of another key closes the action with failure and writes nothing", async (t) => {
  const { fake, one } = await createHawkbitFixture(t);
  const other = await makeKey({ name: "other" });
  const forged = await fake.addRelease("forged", await artifactsOf(IMAGE, "2.0.2", 7, other));
  const action = await fake.assign(SERIAL, forged);
  one.start();
  await one.waitFor("closed", async () => last(await fake.history(SERIAL, action)).type === "error");
  assert.match(last(await fake.history(SERIAL, action)).message, /OTA_VALIDATE_FAILED|NOT_FOUND/);
  assert.deepEqual(one.device.slot(one.device.running, OLD.length), OLD);
  assert.equal(one.device.rebootAsked, false);
});

test("an image that the manifest does not name closes the action with failure", async (t) => {
  const { fake, one, key } = await createHawkbitFixture(t);
  const artifacts = await artifactsOf(IMAGE, "2.0.2", 7, key);
  const swapped = await fake.addRelease("swapped", { ...artifacts, "fw.bin": imageOf("6.6.6", 6) });
  const action = await fake.assign(SERIAL, swapped);
  one.start();
  await one.waitFor("closed", async () => last(await fake.history(SERIAL, action)).type === "error");
  one.device.restart();
  assert.equal(one.device.running, "factory");
});

for (const [what, change] of [
  ["no manifest", (files: any) => ({ "fw.bin": files["fw.bin"] })],
  ["two manifests", (files: any) => ({ ...files, "other.jws": files["firmware.jws"] })],
] as const)
  test(`a software module with ${what} is refused`, async (t) => {
    const { fake, one, key } = await createHawkbitFixture(t);
    const broken = await fake.addRelease("broken", change(await artifactsOf(IMAGE, "2.0.2", 7, key)));
    const action = await fake.assign(SERIAL, broken);
    one.start();
    await one.waitFor("closed", async () => last(await fake.history(SERIAL, action)).type === "error");
    assert.match(last(await fake.history(SERIAL, action)).message, /expected one artifact \*\.jws/);
  });

test("an action for the release that runs is closed with success at once", async (t) => {
  const { fake, one, key } = await createHawkbitFixture(t);
  const same = await fake.addRelease("same", await artifactsOf(OLD, "1.0.1", 7, key));
  const action = await fake.assign(SERIAL, same);
  one.start();
  await one.waitFor("closed", async () => last(await fake.history(SERIAL, action)).type === "finished");
  assert.deepEqual(one.log(), []);
});

test("a cancelled action that was not begun is confirmed as cancelled", async (t) => {
  const { fake, one, release } = await createHawkbitFixture(t);
  const action = await fake.assign(SERIAL, release, { window: true });
  one.start();
  await one.waitFor("it waits", async () => (await fake.history(SERIAL, action)).length > 0);
  await fake.cancel(SERIAL, action);
  await one.waitFor("cancelled", async () => last(await fake.history(SERIAL, action)).type === "canceled");
  assert.deepEqual(one.log(), []);
});

test("a cancellation ends the download", async (t) => {
  const { fake, one, release } = await createHawkbitFixture(t);
  const action = await fake.assign(SERIAL, release);
  let asked = 0;
  fake.override = (_req, res, path) => {
    if (!path.endsWith("fw.bin")) return false;
    asked++;
    res.writeHead(200, { "Content-Length": IMAGE.length });
    res.write(IMAGE.subarray(0, 20000)); // and then nothing
    return true;
  };
  one.start("{ timeout: 3600000 }");
  await one.waitFor("the download", () => asked > 0);
  await fake.cancel(SERIAL, action);
  for (let n = 0; n < 3; n++) await one.device.engine.advance(150_000); // the connection stays open
  await one.waitFor("cancelled", async () => last(await fake.history(SERIAL, action)).type === "canceled");
  assert.ok(!one.log().some(([what]) => what === "installed"));
  assert.match(plain(one.device.ota.getStatus() as any).last, /aborted/);
});

test("a cancellation after the installation is rejected, and the action goes on", async (t) => {
  const { fake, one, release } = await createHawkbitFixture(t);
  const action = await fake.assign(SERIAL, release);
  one.start();
  await one.waitFor("installed", () => one.log().length > 0);
  await fake.cancel(SERIAL, action);
  await one.waitFor("rejected", async () => last(await fake.history(SERIAL, action)).type === "cancel_rejected");
  one.restart();
  one.device.ota.markValid();
  await one.waitFor("closed", async () => last(await fake.history(SERIAL, action)).type === "finished");
});

test("outside of the maintenance window nothing is downloaded", async (t) => {
  const { fake, one, release, bases } = await createHawkbitFixture(t);
  const action = await fake.assign(SERIAL, release, { window: true });
  const loads = () => fake.requests.filter(({ path }) => path.includes("softwaremodules")).length;
  one.start();
  await one.waitFor("it waits", async () => (await fake.history(SERIAL, action)).length > 0);
  await one.waitFor("four more polls", () => bases() > 4);
  assert.equal(loads(), 0);
  // told once, not at each poll
  assert.equal((await fake.history(SERIAL, action)).length, 1);
  fake.openWindow(action);
  await one.waitFor("installed", () => one.log().length > 0);
});

test("ready() postpones an update to the next poll", async (t) => {
  const { fake, one, release, bases } = await createHawkbitFixture(t);
  const action = await fake.assign(SERIAL, release);
  one.start("{ ready: function (offer) { log.push(['ready', offer.version]); return log.length > 2; } }");
  await one.waitFor("installed", () => one.log().some(([what]) => what === "installed"));
  assert.deepEqual(
    one.log().map(([what]) => what),
    ["ready", "ready", "ready", "installed"],
  );
  assert.ok(bases() >= 3);
  assert.ok((await fake.history(SERIAL, action)).some(({ message }) => /postponed/.test(message)));
});

test("it polls as often as hawkBit says, but not more often than every 30 s", async (t) => {
  const { fake, one, bases } = await createHawkbitFixture(t);
  fake.sleep = "02:00:00";
  one.start();
  await one.waitFor("the first poll", () => bases() === 1);
  await one.waitFor("attributes", async () => "serial" in (await fake.attributes(SERIAL)), 1);
  // what is asked is answered before time jumps
  async function quiet(): Promise<void> {
    for (let n = 0; n < 3; n++) {
      await one.device.engine.advance(25);
      await one.waitFor("quiet", () => one.device.engine.accounts().sockets === 0, 1);
    }
  }
  await quiet();
  for (let n = 0; n < 6; n++) {
    await one.device.engine.advance(1_000_000);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(bases(), 1);
  fake.sleep = "00:00:01";
  await one.waitFor("the second", () => bases() === 2);
  await quiet();
  const before = one.device.engine.run("Date.now()") as number;
  await one.waitFor("the third", () => bases() === 3, 1000);
  const passed = (one.device.engine.run("Date.now()") as number) - before;
  assert.ok(passed >= 25_000 && passed <= 36_000, `${passed} ms`);
});

test("a wrong token is reported, and polling goes on", async (t) => {
  const { fake, one, bases } = await createHawkbitFixture(t, "wrong");
  one.start();
  await one.waitFor("it is told", () => one.log().length > 0);
  assert.deepEqual(one.log()[0], ["failed", "hawkBit: HTTP status 401"]);
  await one.waitFor("it asks again", () => bases() > 1);
  assert.deepEqual(await fake.attributes(SERIAL), {});
});

test("an action survives errors of the server and lost connections", async (t) => {
  const { fake, one, release } = await createHawkbitFixture(t);
  const action = await fake.assign(SERIAL, release);
  let asked = 0;
  fake.override = (_req, res, path) => {
    asked++;
    if (asked > 6) return false;
    if (asked % 2) res.destroy();
    else res.writeHead(503, { "Content-Length": 0 }).end();
    return path.length > 0;
  };
  one.start();
  await one.waitFor("installed", () => one.log().some(([what]) => what === "installed"));
  assert.ok(one.log().filter(([what]) => what === "failed").length >= 5);
  assert.equal(last(await fake.history(SERIAL, action)).type, "running");
});

test("feedback that is lost is sent again", async (t) => {
  const { fake, one, key } = await createHawkbitFixture(t);
  const same = await fake.addRelease("same", await artifactsOf(OLD, "1.0.1", 7, key));
  const action = await fake.assign(SERIAL, same);
  let lost = 0;
  fake.override = (_req, res, path) => {
    if (!path.endsWith("/feedback") || lost > 3) return false;
    lost++;
    res.writeHead(500, { "Content-Length": 0 }).end();
    return true;
  };
  one.start();
  await one.waitFor("closed", async () => last(await fake.history(SERIAL, action)).type === "finished");
  assert.equal(lost, 4);
});

const DEEP = `{"config":${"[".repeat(3000)}${"]".repeat(3000)}}`;
const HIDDEN = `{"a":"]]]]]]]]]]\\\\\\"]]]]","config":${"[".repeat(20)}${"]".repeat(20)}}`;
for (const [what, text, says] of [
  ["is not JSON", "<html>", /not JSON/],
  ["is an array", "[]", /not JSON/],
  ["is cut", '{"config":', /not JSON/],
  ["nests 3000 arrays", DEEP, /too deep/],
  ["hides nested arrays behind a string", HIDDEN, /too deep/],
  ["is longer than 8 KB", `{"a":"${"x".repeat(9000)}"}`, /more than 8192/],
] as const)
  test(`an answer that ${what} is refused, and the next poll comes`, async (t) => {
    const { fake, one, bases } = await createHawkbitFixture(t);
    fake.override = (_req, res) => {
      res.writeHead(200, { "Content-Length": Buffer.byteLength(text) }).end(text);
      return true;
    };
    one.start();
    await one.waitFor("it is told", () => one.log().length > 0);
    assert.match(one.log()[0][1], says);
    await one.waitFor("the next poll", () => bases() > 1);
  });

for (const [what, answer] of [
  ["no fields", {}],
  ["numbers for objects", { config: 5, _links: 5 }],
  [
    "numbers for texts",
    { config: { polling: { sleep: 7 } }, _links: { deploymentBase: { href: 5 }, cancelAction: null } },
  ],
  [
    "a link that climbs",
    { config: { polling: { sleep: "99:99:9x" } }, _links: { deploymentBase: { href: "http://evil/../../x" } } },
  ],
  ["links without a number", { _links: { deploymentBase: { href: "" }, cancelAction: { href: "/1%2F2" } } }],
] as const)
  test(`an answer with ${what} starts nothing`, async (t) => {
    const { fake, one, bases } = await createHawkbitFixture(t);
    fake.override = (_req, res) => {
      const text = JSON.stringify(answer);
      res.writeHead(200, { "Content-Length": text.length }).end(text);
      return true;
    };
    one.start();
    await one.waitFor("two polls", () => bases() > 1);
    assert.deepEqual(one.log(), []);
    assert.equal(fake.requests.length, bases());
  });

for (const [what, chunks] of [
  ["a number for chunks", 5],
  ["chunks that are not objects", [5, null]],
  ["a number for artifacts", [{ artifacts: 5 }]],
  ["artifacts of wrong types", [{ artifacts: [5, { filename: 5 }, { filename: "a.jws", _links: [] }] }]],
] as const)
  test(`a deployment with ${what} has no manifest`, async (t) => {
    const { fake, one, release } = await createHawkbitFixture(t);
    const action = await fake.assign(SERIAL, release);
    fake.override = (req, res, path) => {
      if (!path.includes("/deploymentBase/") || req.method !== "GET") return false;
      const text = JSON.stringify({ id: "0", deployment: { chunks } });
      res.writeHead(200, { "Content-Length": text.length }).end(text);
      return true;
    };
    one.start();
    await one.waitFor("closed", async () => last(await fake.history(SERIAL, action)).type === "error");
    assert.match(last(await fake.history(SERIAL, action)).message, /found 0/);
  });

test("the token goes to no other server, whatever the links say", async (t) => {
  const { fake, one, release, key } = await createHawkbitFixture(t);
  const seen: (string | undefined)[] = [];
  const files = (await artifactsOf(IMAGE, "2.0.2", 7, key)) as Record<string, Uint8Array | string>;
  const mirror = createServer((req, res) => {
    seen.push(req.headers.authorization);
    const bytes = Buffer.from(files[(req.url ?? "").split("/").at(-1) as string] as string);
    res.writeHead(200, { "Content-Length": bytes.length }).end(bytes);
  });
  await new Promise<void>((resolve) => mirror.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    mirror.closeAllConnections();
    mirror.close();
  });
  fake.link = (href) => href.replace(fake.url, `http://127.0.0.1:${(mirror.address() as AddressInfo).port}`);
  await fake.assign(SERIAL, release);
  one.start();
  await one.waitFor("installed", () => one.log().some(([what]) => what === "installed"));
  assert.deepEqual(seen, [undefined, undefined]);
});

test("stop() ends the polls", async (t) => {
  const { one, bases } = await createHawkbitFixture(t);
  one.start();
  await one.waitFor("a poll", () => bases() > 0);
  one.device.engine.run("handle.stop()");
  const before = bases();
  for (let n = 0; n < 30; n++) await one.device.engine.advance(600_000);
  assert.equal(bases(), before);
});

for (const [fields, says] of [
  ['{ url: "ftp://x/" }', /url/],
  ["{ url: undefined }", /url/],
  ["{ token: undefined }", /token/],
  ["{ keys: undefined }", /keys/],
] as const)
  test(`start(${fields}) reports what is wrong, and sends nothing`, async (t) => {
    const { one, bases } = await createHawkbitFixture(t);
    one.start(fields);
    assert.match(one.log()[0][1], says);
    for (let n = 0; n < 5; n++) await one.device.engine.advance(100_000);
    assert.equal(bases(), 0);
    one.device.engine.run("handle.stop()");
  });
