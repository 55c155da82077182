// One at a time: an update, or the choice of another slot. A call that chooses a slot verifies it first, which takes seconds
// on a device, and what an update erases meanwhile must not be selected.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { buildEntry, STATE } from "../../sim/bootloader.ts";
import { BUNDLE, type Device } from "../../sim/device.ts";
import { fsverity } from "../../support/fsverity.ts";
import {
  behaves,
  behind,
  createGate,
  failsWith,
  IDF,
  nothingLeft,
  plain,
  oldImage,
  type Fixture,
  settle,
  createFixture,
  touchesNothing,
  until,
} from "../../support/fixture.ts";
import { type Behaviour, serveFile, status } from "../../support/server.ts";

/** A device that has another whole image beside the one that runs, and a server that does not answer yet. */
async function fixtureOfTwo(t: TestContext): Promise<{ fixture: Fixture; open(): void }> {
  const fixture = await createFixture(t, { images: { factory: oldImage(), ota_0: oldImage("esp32", 7) } });
  const gate = createGate();
  fixture.server.on("/fw.bin", behind(gate, serveFile(fixture.image)));
  return { fixture, open: gate.open };
}

const asked = (fixture: Fixture, times = 1) => until("asked", () => fixture.server.requests.length === times);
const order = (fixture: Fixture, call: "setBootPartition" | "rollback") =>
  settle(fixture.device, fixture.device.ota[call](fixture.device.ota.getNextUpdatePartition()));

for (const call of ["setBootPartition", "rollback"] as const) {
  test(`while ${call}() verifies a slot, no update may begin to write it`, async (t) => {
    const { fixture, open } = await fixtureOfTwo(t);
    const { device } = fixture;
    open();
    const chosen = order(fixture, call).catch((error) => error);
    failsWith(await fixture.update(), "OTA_ALREADY_IN_PROGRESS", true);
    for (let pass = 0; pass < 200 && !device.rebootAsked; pass++) await device.engine.advance(1);
    await chosen;
    assert.equal(device.rebootAsked, call === "rollback");
    assert.equal(fixture.server.requests.length, 0);
    device.restart();
    assert.equal(device.running, "ota_0");
    assert.equal(device.boots.at(-1)?.fellBack, false);
    behaves(fixture);
  });

  test(`${call}() works when an update was given up`, async (t) => {
    const { fixture, open } = await fixtureOfTwo(t);
    const { device } = fixture;
    open();
    const handle: any = await device.engine.call(device.ota.begin(fixture.config()));
    handle.abort();
    const chosen = order(fixture, call).catch(() => {});
    for (let pass = 0; pass < 200 && !device.rebootAsked; pass++) await device.engine.advance(1);
    await chosen;
    device.restart();
    assert.equal(device.running, "ota_0");
    behaves(fixture);
  });

  test(`${call}() that fails lets the next update begin`, async (t) => {
    const { fixture, open } = await fixtureOfTwo(t);
    const { device } = fixture;
    open();
    device.flash.load(new Uint8Array(4096), device.row("ota_0").offset + 8192);
    assert.ok((await order(fixture, call)).error);
    assert.ifError((await fixture.update()).error);
    device.restart();
    assert.equal(device.running, "ota_0");
  });
}

test("setBootPartition() is refused during an update", async (t) => {
  const { fixture, open } = await fixtureOfTwo(t);
  open();
  const handle: any = await fixture.device.engine.call(fixture.device.ota.begin(fixture.config()));
  fixture.remember();
  failsWith(await order(fixture, "setBootPartition"), "OTA_ALREADY_IN_PROGRESS", true);
  touchesNothing(fixture);
  assert.equal(await fixture.device.engine.call(handle.perform()), IDF.HTTPS_OTA_IN_PROGRESS);
});

// --- A rollback ends an update: a slow server must not hold it off

/** An image on trial in ota_0, on a board with a third slot, that asks a server for the next one, which does not answer yet. */
async function onTrial(t: TestContext, what: Behaviour) {
  const fixture = await createFixture(t, { board: "toy-factory-two" });
  const { device } = fixture;
  assert.ifError((await fixture.update({ digest: `fsverity-sha256:${fsverity(fixture.image)}` })).error);
  device.restart();
  assert.equal(device.running, "ota_0");
  const gate = createGate();
  fixture.server.on("/next.bin", behind(gate, what));
  const requests = fixture.server.requests.length;
  async function ask() {
    const update = fixture.update({ url: fixture.server.url("/next.bin"), allowUnconfirmed: true });
    await asked(fixture, requests + 1);
    return { update };
  }
  return { fixture, device, ask, open: gate.open };
}

const untilRestart = async ({ device }: Fixture) => {
  for (let pass = 0; pass < 300 && !device.rebootAsked; pass++) await device.engine.advance(10);
  assert.equal(device.rebootAsked, true, "it does not restart");
  device.restart();
};

const NO = "(function () { return false; })";

for (const [what, start] of [
  ["rollback()", ({ ota }: Device) => ota.rollback()],
  ["confirmAfter() whose check says no", ({ ota, engine }: Device) => ota.confirmAfter(1000, engine.run(NO))],
  ["boot() whose starts ran out", ({ ota, engine }: Device) => ota.boot(engine.run("({ attempts: 1 })"))],
] as [string, (device: Device) => Promise<unknown>][])
  test(`${what} ends the running update, and the image before runs again`, async (t) => {
    const { fixture, device, ask } = await onTrial(t, status(404));
    if (what.startsWith("boot")) {
      assert.equal(await device.engine.call(start(device)), true);
      device.restart();
    }
    const { update } = await ask();
    void settle(device, start(device)).catch(() => {});
    for (let second = 0; second < 3; second++) await device.engine.advance(500);
    await untilRestart(fixture);
    assert.equal(device.running, "factory");
    void update;
    behaves(fixture);
  });

test("an update that a rollback ended is told so; one after it waits for the restart", async (t) => {
  const { fixture, device, ask } = await onTrial(t, status(404));
  const { update } = await ask();
  device.engine.run("var heard = []");
  (
    device.engine.run(`(function (ota, config) {
      ota.rollback();
      ota.update(config).catch(function (error) { heard.push(error.name); });
    })`) as any
  )(device.ota, fixture.config({ allowUnconfirmed: true }));
  failsWith(await update, "INVALID_STATE");
  assert.deepEqual(plain(device.engine.run("heard")), ["ESP_ERR_OTA_ALREADY_IN_PROGRESS"]);
  await untilRestart(fixture);
  assert.equal(device.running, "factory");
});

test("a rollback that finds no whole image leaves the running image selected", async (t) => {
  const fixture = await createFixture(t);
  const gate = createGate();
  fixture.server.on("/fw.bin", behind(gate, serveFile(fixture.image)));
  const update = fixture.update();
  await asked(fixture);
  failsWith(await order(fixture, "rollback"), "OTA_ROLLBACK_FAILED");
  failsWith(await update, "INVALID_STATE");
  gate.open();
  assert.ifError((await fixture.update()).error);
  behaves(fixture);
});

test("an update during a trial that boot() counts is refused, unless it is asked for", async (t) => {
  const { fixture, device } = await onTrial(t, status(404));
  assert.ifError(
    (await fixture.update({ url: fixture.server.url("/none"), retries: 0 })).error?.code === IDF.FAIL
      ? null
      : new Error("a program without boot() is not on trial"),
  );
  assert.equal(await device.engine.call(device.ota.boot()), true);
  fixture.remember();
  failsWith(await fixture.update(), "OTA_ROLLBACK_INVALID_STATE");
  touchesNothing(fixture);
  assert.ifError((await fixture.update({ allowUnconfirmed: true, url: fixture.server.url("/fw.bin") })).error);
});

test("an update before confirmAfter() has decided is refused; after it, it is not", async (t) => {
  const { fixture, device } = await onTrial(t, status(404));
  const decided = settle(device, device.ota.confirmAfter(5000, device.engine.run("(function () { return true; })")));
  fixture.remember();
  failsWith(await fixture.update(), "OTA_ROLLBACK_INVALID_STATE");
  touchesNothing(fixture);
  for (let second = 0; second < 6; second++) await device.engine.advance(1000);
  assert.deepEqual(await decided, { result: true });
  assert.ifError((await fixture.update()).error);
});

test("an update is ended before save(), load() and reset(), and its handle is dead", async (t) => {
  const { fixture, open } = await fixtureOfTwo(t);
  open();
  const { device } = fixture;
  const handle: any = await device.engine.call(device.ota.begin(fixture.config()));
  device.engine.run('E.emit("kill")');
  for (let pass = 0; pass < 3; pass++) await device.engine.advance(1);
  failsWith(await settle(device, handle.perform()), "INVALID_STATE");
  await nothingLeft(fixture);
  assert.ifError((await fixture.update()).error);
});

for (const [how, code] of [
  ["after Modules.removeCached()", 'Modules.removeCached("https-ota")'],
  ["sent again by Modules.addCached()", 'Modules.removeCached("https-ota"); Modules.addCached("https-ota", BUNDLE)'],
] as const)
  test(`a second instance of the module, ${how}, is refused while the first one updates`, async (t) => {
    const { fixture, open } = await fixtureOfTwo(t);
    const { device } = fixture;
    const first = fixture.update();
    await asked(fixture);
    device.engine.run(`var BUNDLE = ${JSON.stringify(readFileSync(BUNDLE, "utf8"))}; ${code}`);
    const second = device.engine.require("https-ota");
    assert.notEqual(second, device.ota);
    fixture.remember();
    failsWith(await fixture.outcome(second.update(fixture.config())), "OTA_ALREADY_IN_PROGRESS", true);
    failsWith(
      await settle(device, second.setBootPartition(second.getNextUpdatePartition())),
      "OTA_ALREADY_IN_PROGRESS",
      true,
    );
    touchesNothing(fixture);
    open();
    assert.equal((await first).result.partition.label, "ota_0");
    assert.equal(
      (await fixture.outcome(second.update(fixture.config()))).result.partition.label,
      "ota_0",
      "and works later",
    );
    behaves(fixture);
  });

test("a slot selected elsewhere while it is being written is written no further", async (t) => {
  const fixture = await createFixture(t, { board: "toy-two" });
  const { device } = fixture;
  const target = "ota_1";
  const handle: any = await device.engine.call(device.ota.begin(fixture.config()));
  assert.equal(await device.engine.call(handle.perform()), IDF.HTTPS_OTA_IN_PROGRESS);
  const { address } = device.otadata();
  // as an older version of this module would, which knows nothing of the lock
  device.flash.load(buildEntry(2, STATE.NEW), address + 4096);
  const before = device.slot(target);
  let error: any;
  for (let step = 0; step < 4 && !error; step++) error = (await settle(device, handle.perform())).error;
  assert.equal(error?.name, "ESP_ERR_OTA_PARTITION_CONFLICT");
  // of the sector that was begun, and erased ahead, nothing more
  assert.deepEqual(device.slot(target).subarray(3 * 4096), before.subarray(3 * 4096));
});
