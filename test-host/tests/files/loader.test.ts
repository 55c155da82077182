// The loader where a way back fails, or leads nowhere: every one of them ends in the rescue, which comes to its end.
// docs/design.md#the-loader.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { BOOTLOADERS } from "../../sim/bootloader.ts";
import { plain, until } from "../../support/fixture.ts";
import {
  createFilesFixture,
  type FilesFixture,
  loaderWith,
  programOf,
  storedName,
} from "../../support/files-release.ts";
import { buildImage } from "../../support/images.ts";
import { claimsFor, makeKey, signManifest } from "../../support/release.ts";
import { serveFile, status } from "../../support/server.ts";

const IMAGE = buildImage({ chip: "esp32", size: 61008, seed: 7, descriptor: { version: "2.0.2" } });
const MINUTE = 60_000;
const THROWS = "noSuchThing.x();";

const statusOf = ({ device }: FilesFixture) => plain(device.ota.getStatus()) as any;

async function install(fixture: FilesFixture, ...release: Parameters<FilesFixture["install"]>): Promise<void> {
  const { error } = await fixture.install(...release);
  assert.ifError(error ? new Error(`${error.name}: ${error.message}`) : null);
}

/** Lets at most `minutes` go by, until it restarts; it does so here. What its programs throw is meant. */
async function live({ device }: FilesFixture, minutes: number, step = 10_000): Promise<boolean> {
  for (let ms = 0; ms < minutes * MINUTE && !device.rebootAsked; ms += step) {
    await device.engine.advance(step).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const restarted = device.rebootAsked;
  if (restarted) device.restart();
  return restarted;
}

/** A device whose loader fetches release 9. */
async function withRescue(t: TestContext, image?: Uint8Array): Promise<FilesFixture> {
  const fixture = await createFilesFixture(t);
  const good = await fixture.publish({ "app.js": programOf("9") }, { version: "9.0", sequence: 5000 }, image);
  fixture.device.storage.set(".boot0", loaderWith(good));
  fixture.device.restart();
  return fixture;
}

// --- A program that has confirmed itself

test("a program that confirms itself and then throws keeps its firmware", async (t) => {
  const fixture = await createFilesFixture(t);
  const { device } = fixture;
  await install(fixture, { "app.js": programOf("1") }, { version: "1.0" }, IMAGE);
  device.restart();
  fixture.ask("ota.markValid()");
  await install(fixture, { "app.js": programOf("2", `ota.markValid(); ${THROWS}`) }, { version: "2.0" });
  device.restart();
  assert.equal(await live(fixture, 30), false, "it restarted");
  const { running, trial, rolledBack, rollbackReason } = statusOf(fixture);
  assert.deepEqual([running, trial, rolledBack, rollbackReason], ["ota_0", null, [], ""]);
});

test("a program that confirms itself and then throws is rescued", async (t) => {
  const fixture = await withRescue(t);
  await install(fixture, { "app.js": programOf("2", `ota.markValid(); ${THROWS}`) });
  fixture.device.restart();
  assert.equal(await live(fixture, 1), true, fixture.device.engine.console.join());
  assert.equal(fixture.ask("running"), "9");
});

test("a program that rolls back without a restart and then throws is left, too", async (t) => {
  const fixture = await createFilesFixture(t);
  const { device } = fixture;
  await install(fixture, { "app.js": programOf("1") });
  device.restart();
  fixture.ask("ota.markValid()");
  await install(fixture, { "app.js": programOf("2", `ota.rollback({ restart: false }); ${THROWS}`) });
  device.restart();
  assert.equal(await live(fixture, 1), true, device.engine.console.join());
  assert.equal(fixture.ask("running"), "1");
});

// --- Firmware that no program confirms

/** A device that its loader has given firmware alone, in the first start of that. */
async function withFirmwareAlone(t: TestContext, options = {}): Promise<FilesFixture> {
  const fixture = await createFilesFixture(t, options);
  const { device, server } = fixture;
  const token = await signManifest(claimsFor(IMAGE, { sequence: 10 }), fixture.key);
  server.on("/fw.bin", serveFile(IMAGE, { ranges: true }));
  server.on("/m.jws", serveFile(Buffer.from(token)));
  device.storage.set(".boot0", loaderWith({ url: server.url("/m.jws"), keys: [fixture.key.jwk] }));
  device.restart();
  assert.equal(await live(fixture, 5), true, device.engine.console.join());
  assert.equal(statusOf(fixture).running, "ota_0");
  return fixture;
}

/** From now on the URL of the loader leads to release 9. */
async function offerProgram({ server, publish }: FilesFixture): Promise<void> {
  const { url } = await publish({ "app.js": programOf("9") }, { version: "9.0", sequence: 5000 });
  for (const file of ["m.jws", "files/app.js"])
    server.on(`/${file}`, status(302, { Location: String(url).replace("m.jws", file) }));
}

for (const [bootloader, options] of [
  ["without", {}],
  ["with", { bootloader: BOOTLOADERS.rollback }],
] as const)
  test(`firmware alone is confirmed by an answer, on a bootloader ${bootloader} rollback`, async (t) => {
    const fixture = await withFirmwareAlone(t, options);
    const { device } = fixture;
    assert.notEqual(statusOf(fixture).trial, null);
    assert.equal(await live(fixture, 30), false);
    const { running, trial } = statusOf(fixture);
    assert.deepEqual([running, trial], ["ota_0", null], device.engine.console.join());
    for (let start = 0; start < 5; start++) device.restart();
    assert.equal(statusOf(fixture).running, "ota_0");
    await offerProgram(fixture);
    assert.equal(await live(fixture, 30), true, device.engine.console.join());
    assert.deepEqual([statusOf(fixture).running, fixture.ask("running")], ["ota_0", "9"]);
  });

test("firmware alone without an answer stays on trial until its starts ran out", async (t) => {
  const fixture = await withFirmwareAlone(t);
  fixture.server.on("/m.jws", status(503));
  assert.equal(await live(fixture, 30), false);
  assert.deepEqual(statusOf(fixture).trial, { boots: 1, previous: "factory" });
  for (let start = 0; start < 3; start++) fixture.device.restart();
  assert.equal(await live(fixture, 1), true);
  assert.equal(statusOf(fixture).running, "factory");
});

// --- A way back that fails

/** Slot factory holds no whole image any more. */
const spoilFactory = ({ device }: FilesFixture): void =>
  device.flash.load(new Uint8Array(4096), device.row("factory").offset + 8192);

/** On trial in ota_0, with nothing to go back to; `starts` of it are over. */
async function withoutWayBack(t: TestContext, more: string, starts: number): Promise<FilesFixture> {
  const fixture = await withRescue(t);
  const { device } = fixture;
  await install(fixture, { "app.js": programOf("2", more) }, { version: "2.0" }, IMAGE);
  spoilFactory(fixture);
  for (let start = 0; start < starts; start++) {
    device.restart();
    await device.engine.advance(1000).catch(() => {});
  }
  device.restart();
  return fixture;
}

for (const starts of [0, 1, 3, 4])
  test(`a program that throws in start ${starts + 1} with nothing to go back to is rescued`, async (t) => {
    const fixture = await withoutWayBack(t, THROWS, starts);
    assert.equal(await live(fixture, 2), true, fixture.device.engine.console.join());
    assert.equal(fixture.ask("running"), "9");
  });

test("a program whose starts ran out runs on when nothing is left to go back to", async (t) => {
  const fixture = await withoutWayBack(t, "", 3);
  const { device } = fixture;
  await until("the other slot was verified", () => {
    void device.engine.advance(100);
    return device.engine.console.join().includes("no other slot holds a whole image");
  });
  await device.engine.advance(100);
  assert.equal(fixture.ask("running"), "2");
  assert.equal(await live(fixture, 2), true, device.engine.console.join());
  assert.equal(fixture.ask("running"), "9");
});

test("a damaged program without starts, with nothing to go back to, is rescued", async (t) => {
  const fixture = await withoutWayBack(t, "", 3);
  const { device } = fixture;
  device.storage.delete(storedName(programOf("2")));
  device.restart();
  assert.equal(await live(fixture, 2), true, device.engine.console.join());
  assert.equal(fixture.ask("running"), "9");
});

test("firmware alone without starts, with nothing to go back to, is rescued", async (t) => {
  const fixture = await withFirmwareAlone(t);
  spoilFactory(fixture);
  for (let start = 0; start < 3; start++) fixture.device.restart();
  await offerProgram(fixture);
  assert.equal(await live(fixture, 2), true, fixture.device.engine.console.join());
  assert.equal(fixture.ask("running"), "9");
});

// --- A rescue that is lost

test("a rescue whose update was lost with its watchdog is ended after two hours", async (t) => {
  const fixture = await withRescue(t);
  const { device } = fixture;
  // timers of less than 14 seconds, and intervals, are lost: as when the engine has no JsVar left
  device.engine.run(`var losing = true;
    (function (timeout, interval) {
      setTimeout = function (f, ms) { return timeout(losing && ms < 14000 ? function () {} : f, ms); };
      setInterval = function (f, ms) { return interval(losing ? function () {} : f, ms); };
    })(setTimeout, setInterval);`);
  for (let i = 0; i < 60 && !device.engine.run("!!E.otaLock"); i++) await live(fixture, 1);
  device.engine.run("losing = false");
  assert.equal(await live(fixture, 119, MINUTE), false, "it was ended too early");
  assert.equal(await live(fixture, 10), true, device.engine.console.join());
  assert.equal(fixture.ask("running"), "9");
});

test("a rescue that fails all day never ends the update of somebody else", async (t) => {
  const fixture = await createFilesFixture(t);
  const { device, server } = fixture;
  server.on("/m.jws", status(503));
  device.storage.set(".boot0", loaderWith({ url: server.url("/m.jws"), keys: [fixture.key.jwk] }));
  device.restart();
  assert.equal(await live(fixture, 180, MINUTE), false);
  server.on("/slow.bin", serveFile(IMAGE));
  const config: any = device.engine.run(
    `({ url: ${JSON.stringify(server.url("/slow.bin"))}, insecure: true, deadline: 0 })`,
  );
  const handle: any = await device.engine.call(device.ota.begin(config));
  assert.equal(await live(fixture, 60, MINUTE), false);
  assert.equal(await device.engine.call(handle.perform()), device.ota.ERR.IN_PROGRESS);
});

// --- What the loader trusts

for (const [what, more, installed] of [
  ["one key of two", {}, true],
  ["one key of two, where two have to have signed", { threshold: 2 }, false],
  ["the project that it wants", { project: "espruino" }, true],
  ["another project", { project: "lamp" }, false],
] as const)
  test(`a first release by ${what} is ${installed ? "installed" : "refused"}`, async (t) => {
    const fixture = await createFilesFixture(t);
    const { device } = fixture;
    const config = await fixture.publish({ "app.js": programOf("9") }, { version: "9.0" });
    const keys = [fixture.key.jwk, (await makeKey()).jwk];
    device.storage.set(".boot0", loaderWith({ ...config, keys, ...more }));
    device.restart();
    assert.equal(await live(fixture, 6), installed, device.engine.console.join());
    if (!installed)
      assert.match(device.engine.console.join(), /not signed by a trusted key|signature|project/, "it says why");
  });
