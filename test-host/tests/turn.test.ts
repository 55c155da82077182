// One at a time: an update, or the choice of another slot. Whoever chooses a slot verifies it first, which takes seconds
// on a device, and what an update erases meanwhile must not be selected.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { BUNDLE } from "../device.ts";
import { fsverity } from "../fsverity.ts";
import {
  behaves,
  behind,
  createGate,
  failsWith,
  newImage,
  nothingLeft,
  oldImage,
  plain,
  type Scene,
  settle,
  startScene,
  touchesNothing,
  until,
} from "../scenario.ts";
import { type Behaviour, serveFile, status } from "../server.ts";

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
    failsWith(await scene.update(), "OTA_ALREADY_IN_PROGRESS");
    for (let pass = 0; pass < 200 && !device.rebootAsked; pass++) await device.engine.advance(1);
    await chosen;
    assert.equal(device.rebootAsked, call === "rollback");
    assert.equal(scene.server.requests.length, 0);
    device.restart();
    assert.equal(device.running, "ota_0");
    assert.equal(device.boots.at(-1)?.fellBack, false);
    behaves(scene);
  });

  test(`${call}() is refused while an update is under way, and works when it was given up`, async (t) => {
    const { scene, open } = await sceneOfTwo(t);
    const { device } = scene;
    open();
    const handle: any = await device.engine.call(device.ota.begin(scene.config()));
    scene.remember();
    failsWith(await order(scene, call), "OTA_ALREADY_IN_PROGRESS");
    touchesNothing(scene);
    assert.equal(device.rebootAsked, false);
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

// --- Trials: what has to be rolled back waits for an update

/** An image on trial in ota_0 that asks a server for the next one, which does not answer yet. */
async function onTrial(t: TestContext, what: Behaviour) {
  const scene = await startScene(t);
  const { device } = scene;
  assert.ifError((await scene.update({ digest: `fsverity-sha256:${fsverity(scene.image)}` })).error);
  device.restart();
  assert.equal(device.running, "ota_0");
  const gate = createGate();
  scene.server.on("/next.bin", behind(gate, what));
  const requests = scene.server.requests.length;
  const ask = async () => {
    const update = scene.update({ url: scene.server.url("/next.bin"), timeout: 600000 });
    await asked(scene, requests + 1);
    return update;
  };
  return { scene, device, ask, open: gate.open };
}

const untilRestart = async ({ device }: Scene) => {
  for (let pass = 0; pass < 300 && !device.rebootAsked; pass++) await device.engine.advance(10);
  assert.equal(device.rebootAsked, true, "it does not restart");
  device.restart();
};

test("confirmAfter() whose check fails rolls back when the update that is under way has failed", async (t) => {
  const { scene, device, ask, open } = await onTrial(t, status(404));
  const update = ask();
  await asked(scene, 2);
  let decided: unknown;
  void settle(device, device.ota.confirmAfter(1000, device.engine.run("(function () { return false; })"))).then(
    (outcome) => {
      decided = outcome;
    },
    () => {},
  );
  for (let second = 0; second < 20; second++) await device.engine.advance(1000);
  assert.deepEqual([decided, device.rebootAsked], [undefined, false], "it does not wait");
  open();
  failsWith(await update, "FAIL");
  await untilRestart(scene);
  assert.equal(device.running, "factory");
  assert.deepEqual(plain(device.ota.getStatus().rolledBack), [`fsverity-sha256:${fsverity(scene.image)}`]);
});

test("confirmAfter() whose check fails leaves it at the image that an update has installed meanwhile", async (t) => {
  const next = newImage("esp32", 9);
  const { scene, device, ask, open } = await onTrial(t, serveFile(next));
  const update = ask();
  await asked(scene, 2);
  const decided = settle(device, device.ota.confirmAfter(1000, device.engine.run("(function () { return false; })")));
  for (let second = 0; second < 3; second++) await device.engine.advance(1000);
  open();
  assert.ifError((await update).error);
  await device.engine.advance(2000);
  assert.deepEqual(await decided, { result: false });
  assert.equal(device.rebootAsked, false);
  await nothingLeft(scene);
  device.restart();
  assert.equal(device.running, "factory");
  assert.deepEqual(device.slot("factory", next.length), next);
});

test("boot() that gives an image up waits for an update that began before it", async (t) => {
  const { scene, device, ask, open } = await onTrial(t, status(404));
  const attempts = device.engine.run("({ attempts: 1 })");
  assert.equal(await device.engine.call(device.ota.boot(attempts)), true);
  const update = ask();
  await asked(scene, 2);
  void settle(device, device.ota.boot(attempts)).catch(() => {});
  for (let second = 0; second < 20; second++) await device.engine.advance(1000);
  assert.equal(device.rebootAsked, false);
  open();
  failsWith(await update, "FAIL");
  await untilRestart(scene);
  assert.equal(device.running, "factory");
});

test("an image that is confirmed while its rollback waits for an update is not rolled back", async (t) => {
  const { scene, device, ask, open } = await onTrial(t, status(404));
  const update = ask();
  await asked(scene, 2);
  const decided = settle(device, device.ota.confirmAfter(1000, device.engine.run("(function () { return false; })")));
  await device.engine.advance(3000);
  device.ota.markValid();
  open();
  failsWith(await update, "FAIL");
  assert.deepEqual(await decided, { result: false });
  await device.engine.advance(5000);
  assert.equal(device.rebootAsked, false);
  assert.deepEqual(plain(device.ota.getStatus().rolledBack), []);
});

test("a rollback that waits goes before the update that the program asks for right after one has failed", async (t) => {
  const { scene, device, open } = await onTrial(t, status(404));
  open();
  const config = scene.config({ url: scene.server.url("/next.bin") });
  (
    device.engine.run(`(function (ota, config) {
    function later() { setTimeout(again, 1); }
    function again() { ota.update(config).then(later, later); }
    again();
  })`) as any
  )(device.ota, config);
  void settle(device, device.ota.confirmAfter(10, device.engine.run("(function () { return false; })"))).catch(
    () => {},
  );
  await untilRestart(scene);
  assert.equal(device.running, "factory");
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
    failsWith(await scene.outcome(second.update(scene.config())), "OTA_ALREADY_IN_PROGRESS");
    failsWith(await settle(device, second.rollback()), "OTA_ALREADY_IN_PROGRESS");
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
