// One at a time: an update, or the choice of another slot. Whoever chooses a slot verifies it first, which takes seconds
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
  type Scene,
  settle,
  startScene,
  touchesNothing,
  until,
} from "../../support/fixture.ts";
import { type Behaviour, serveFile, status } from "../../support/server.ts";

/** A device that has another whole image beside the one that runs, and a server that does not answer yet. */
async function sceneOfTwo(t: TestContext): Promise<{ scene: Scene; open(): void }> {
  const scene = await startScene(t, { images: { factory: oldImage(), ota_0: oldImage("esp32", 7) } });
  const gate = createGate();
  scene.server.on("/fw.bin", behind(gate, serveFile(scene.image)));
  return { scene, open: gate.open };
}

const asked = (scene: Scene, times = 1) => until("asked", () => scene.server.requests.length === times);
const order = (scene: Scene, call: "setBootPartition" | "rollback") =>
  settle(scene.device, scene.device.ota[call](scene.device.ota.getNextUpdatePartition()));

for (const call of ["setBootPartition", "rollback"] as const) {
  test(`while ${call}() verifies a slot, no update may begin to write it`, async (t) => {
    const { scene, open } = await sceneOfTwo(t);
    const { device } = scene;
    open();
    const chosen = order(scene, call).catch((error) => error);
    failsWith(await scene.update(), "OTA_ALREADY_IN_PROGRESS", true);
    for (let pass = 0; pass < 200 && !device.rebootAsked; pass++) await device.engine.advance(1);
    await chosen;
    assert.equal(device.rebootAsked, call === "rollback");
    assert.equal(scene.server.requests.length, 0);
    device.restart();
    assert.equal(device.running, "ota_0");
    assert.equal(device.boots.at(-1)?.fellBack, false);
    behaves(scene);
  });

  test(`${call}() works when an update was given up`, async (t) => {
    const { scene, open } = await sceneOfTwo(t);
    const { device } = scene;
    open();
    const handle: any = await device.engine.call(device.ota.begin(scene.config()));
    handle.abort();
    const chosen = order(scene, call).catch(() => {});
    for (let pass = 0; pass < 200 && !device.rebootAsked; pass++) await device.engine.advance(1);
    await chosen;
    device.restart();
    assert.equal(device.running, "ota_0");
    behaves(scene);
  });

  test(`${call}() that fails lets the next update begin`, async (t) => {
    const { scene, open } = await sceneOfTwo(t);
    const { device } = scene;
    open();
    device.flash.load(new Uint8Array(4096), device.row("ota_0").offset + 8192);
    assert.ok((await order(scene, call)).error);
    assert.ifError((await scene.update()).error);
    device.restart();
    assert.equal(device.running, "ota_0");
  });
}

test("setBootPartition() is refused while an update is under way", async (t) => {
  const { scene, open } = await sceneOfTwo(t);
  open();
  const handle: any = await scene.device.engine.call(scene.device.ota.begin(scene.config()));
  scene.remember();
  failsWith(await order(scene, "setBootPartition"), "OTA_ALREADY_IN_PROGRESS", true);
  touchesNothing(scene);
  assert.equal(await scene.device.engine.call(handle.perform()), IDF.HTTPS_OTA_IN_PROGRESS);
});

// --- A rollback ends an update: a slow server must not hold it off

/** An image on trial in ota_0, on a board with a third slot, that asks a server for the next one, which does not answer yet. */
async function onTrial(t: TestContext, what: Behaviour) {
  const scene = await startScene(t, { board: "toy-factory-two" });
  const { device } = scene;
  assert.ifError((await scene.update({ digest: `fsverity-sha256:${fsverity(scene.image)}` })).error);
  device.restart();
  assert.equal(device.running, "ota_0");
  const gate = createGate();
  scene.server.on("/next.bin", behind(gate, what));
  const requests = scene.server.requests.length;
  async function ask() {
    const update = scene.update({ url: scene.server.url("/next.bin"), allowUnconfirmed: true });
    await asked(scene, requests + 1);
    return { update };
  }
  return { scene, device, ask, open: gate.open };
}

const untilRestart = async ({ device }: Scene) => {
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
  test(`${what} ends the update that is under way, and the image before runs again`, async (t) => {
    const { scene, device, ask } = await onTrial(t, status(404));
    if (what.startsWith("boot")) assert.equal(await device.engine.call(start(device)), true);
    const { update } = await ask();
    void settle(device, start(device)).catch(() => {});
    for (let second = 0; second < 3; second++) await device.engine.advance(500);
    await untilRestart(scene);
    assert.equal(device.running, "factory");
    void update;
    behaves(scene);
  });

test("an update whose rollback began hears that it was ended, and one after it is refused until the restart", async (t) => {
  const { scene, device, ask } = await onTrial(t, status(404));
  const { update } = await ask();
  device.engine.run("var heard = []");
  (
    device.engine.run(`(function (ota, config) {
      ota.rollback();
      ota.update(config).catch(function (error) { heard.push(error.name); });
    })`) as any
  )(device.ota, scene.config({ allowUnconfirmed: true }));
  failsWith(await update, "INVALID_STATE");
  assert.deepEqual(plain(device.engine.run("heard")), ["ESP_ERR_OTA_ALREADY_IN_PROGRESS"]);
  await untilRestart(scene);
  assert.equal(device.running, "factory");
});

test("a rollback that finds no whole image leaves the update ended and the running image selected", async (t) => {
  const scene = await startScene(t);
  const gate = createGate();
  scene.server.on("/fw.bin", behind(gate, serveFile(scene.image)));
  const update = scene.update();
  await asked(scene);
  failsWith(await order(scene, "rollback"), "OTA_ROLLBACK_FAILED");
  failsWith(await update, "INVALID_STATE");
  gate.open();
  assert.ifError((await scene.update()).error);
  behaves(scene);
});

test("an update during a trial that boot() counts is refused, unless it is asked for", async (t) => {
  const { scene, device } = await onTrial(t, status(404));
  assert.ifError(
    (await scene.update({ url: scene.server.url("/none"), retries: 0 })).error?.code === IDF.FAIL
      ? null
      : new Error("a program without boot() is not on trial"),
  );
  assert.equal(await device.engine.call(device.ota.boot()), true);
  scene.remember();
  failsWith(await scene.update(), "OTA_ROLLBACK_INVALID_STATE");
  touchesNothing(scene);
  assert.ifError((await scene.update({ allowUnconfirmed: true, url: scene.server.url("/fw.bin") })).error);
});

test("an update while confirmAfter() has not decided is refused; after it has, it is not", async (t) => {
  const { scene, device } = await onTrial(t, status(404));
  const decided = settle(device, device.ota.confirmAfter(5000, device.engine.run("(function () { return true; })")));
  scene.remember();
  failsWith(await scene.update(), "OTA_ROLLBACK_INVALID_STATE");
  touchesNothing(scene);
  for (let second = 0; second < 6; second++) await device.engine.advance(1000);
  assert.deepEqual(await decided, { result: true });
  assert.ifError((await scene.update()).error);
});

test("an update is ended before save(), load() and reset(), and its handle is dead", async (t) => {
  const { scene, open } = await sceneOfTwo(t);
  open();
  const { device } = scene;
  const handle: any = await device.engine.call(device.ota.begin(scene.config()));
  device.engine.run('E.emit("kill")');
  for (let pass = 0; pass < 3; pass++) await device.engine.advance(1);
  failsWith(await settle(device, handle.perform()), "INVALID_STATE");
  await nothingLeft(scene);
  assert.ifError((await scene.update()).error);
});

for (const [how, code] of [
  ["after Modules.removeCached()", 'Modules.removeCached("https-ota")'],
  ["sent again by Modules.addCached()", 'Modules.removeCached("https-ota"); Modules.addCached("https-ota", BUNDLE)'],
] as const)
  test(`a second instance of the module, ${how}, is refused while the first one updates`, async (t) => {
    const { scene, open } = await sceneOfTwo(t);
    const { device } = scene;
    const first = scene.update();
    await asked(scene);
    device.engine.run(`var BUNDLE = ${JSON.stringify(readFileSync(BUNDLE, "utf8"))}; ${code}`);
    const second = device.engine.require("https-ota");
    assert.notEqual(second, device.ota);
    scene.remember();
    failsWith(await scene.outcome(second.update(scene.config())), "OTA_ALREADY_IN_PROGRESS", true);
    failsWith(
      await settle(device, second.setBootPartition(second.getNextUpdatePartition())),
      "OTA_ALREADY_IN_PROGRESS",
      true,
    );
    touchesNothing(scene);
    open();
    assert.equal((await first).result.partition.label, "ota_0");
    assert.equal(
      (await scene.outcome(second.update(scene.config()))).result.partition.label,
      "ota_0",
      "and works later",
    );
    behaves(scene);
  });

test("a slot that somebody else selects while it is being written is written no further", async (t) => {
  const scene = await startScene(t, { board: "toy-two" });
  const { device } = scene;
  const target = "ota_1";
  const handle: any = await device.engine.call(device.ota.begin(scene.config()));
  assert.equal(await device.engine.call(handle.perform()), IDF.HTTPS_OTA_IN_PROGRESS);
  const { address } = device.otadata();
  // as an older version of this module would, which knows nothing of the turn
  device.flash.load(buildEntry(2, STATE.NEW), address + 4096);
  const before = device.slot(target);
  let error: any;
  for (let step = 0; step < 4 && !error; step++) error = (await settle(device, handle.perform())).error;
  assert.equal(error?.name, "ESP_ERR_OTA_PARTITION_CONFLICT");
  // of the sector that was begun, and erased ahead, nothing more
  assert.deepEqual(device.slot(target).subarray(3 * 4096), before.subarray(3 * 4096));
});
