// An update of which a callback is lost. Without memory the engine interrupts a callback in its middle, and nothing
// catches that: what was to follow never comes. Here it is a timer that never fires; memory-engine.test.ts runs real
// interpreters out of memory.

import assert from "node:assert/strict";
import { test } from "node:test";
import { buildImage } from "../../support/images.ts";
import { claimsFor, makeKey, signManifest } from "../../support/release.ts";
import {
  behind,
  bootsNewImage,
  createGate,
  failsWith,
  nothingLeft,
  type Scene,
  startScene,
  until,
} from "../../support/fixture.ts";
import { serveFile, silent } from "../../support/server.ts";

const IMAGE = buildImage({ size: 20000, seed: 2 });
const key = await makeKey({ bits: 2048 });

/** Counts timers, and makes the one of that number do nothing but remember what it should have called. */
const LOSE = `var lose = -1, timers = 0, late;
(function (real) {
  setTimeout = function (callback, ms) {
    return real(timers++ === lose ? function () { late = callback; } : callback, ms);
  };
})(setTimeout);`;

async function sceneWithTimers(t: any): Promise<{ scene: Scene; config: any }> {
  const scene = await startScene(t, { image: IMAGE });
  const manifest = await signManifest(claimsFor(IMAGE), key);
  scene.server.on("/m.jws", serveFile(Buffer.from(manifest)));
  scene.device.engine.run(LOSE);
  const config = scene.device.engine.run(
    `({ url: ${JSON.stringify(scene.server.url("/m.jws"))}, keys: ${JSON.stringify([key.jwk])}, timeout: 4000, retries: 0 })`,
  );
  return { scene, config };
}

/** Lets device time pass until the update ends. */
async function settled(scene: Scene, promise: any): Promise<any> {
  let outcome: any;
  const update = scene.outcome(promise).then((one) => {
    outcome = one;
  });
  await until("the update ends", () => {
    void scene.device.engine.advance(100);
    return outcome !== undefined;
  });
  await update;
  return outcome;
}

test("whichever timer is lost, the update ends with ESP_ERR_NO_MEM or goes on without it, and the next one works", async (t) => {
  const first = await sceneWithTimers(t);
  assert.ifError((await settled(first.scene, first.scene.device.ota.update(first.config))).error);
  const timers = first.scene.device.engine.run("timers") as number;
  assert.ok(timers > 8, `${timers} timers`);
  let lost = 0;
  for (let index = 0; index < timers; index++) {
    const { scene, config } = await sceneWithTimers(t);
    scene.device.engine.run(`lose = ${index}`);
    const outcome = await settled(scene, scene.device.ota.update(config));
    if (outcome.error) {
      lost++;
      const { message } = failsWith(outcome, "NO_MEM", true);
      assert.equal(message, "out of memory: the call was interrupted", `timer ${index}`);
      await nothingLeft(scene);
      scene.device.engine.run("lose = -1");
      const next = await settled(scene, scene.device.ota.update(config));
      assert.ifError(next.error);
    }
    bootsNewImage(scene, "ota_0", IMAGE);
    await nothingLeft(scene);
    await scene.server.close();
  }
  // a stall timer may be lost while the server is quick, and no more than those
  assert.ok(lost > timers / 2, `${lost} of ${timers} timers were missed`);
});

test("a lost update of which a connection is left, to a server that says nothing, closes it", async (t) => {
  for (let index = 0; index < 4; index++) {
    const { scene, config } = await sceneWithTimers(t);
    scene.server.on("/m.jws", silent());
    scene.device.engine.run(`lose = ${index}`);
    const { error } = await settled(scene, scene.device.ota.update(config));
    assert.ok(error?.retry, `timer ${index}`);
    await nothingLeft(scene);
    await scene.server.close();
  }
});

test("a handle's owner may pause until the deadline: only that is watched then", async (t) => {
  const { scene, config } = await sceneWithTimers(t);
  const { engine, ota } = scene.device;
  const handle: any = await engine.call(ota.begin(config));
  assert.equal(await engine.call(handle.perform()), ota.ERR.IN_PROGRESS);
  await engine.advance(3000_000);
  let outcome = ota.ERR.IN_PROGRESS;
  while (outcome === ota.ERR.IN_PROGRESS) outcome = await engine.call(handle.perform());
  assert.equal(await engine.call(handle.finish()), ota.ERR.OK);
  bootsNewImage(scene, "ota_0", IMAGE);
});

for (const step of ["perform", "finish"] as const)
  test(`${step} of a handle that is lost ends with ESP_ERR_NO_MEM, and the handle with it`, async (t) => {
    const { scene, config } = await sceneWithTimers(t);
    const { engine, ota } = scene.device;
    const handle: any = await engine.call(ota.begin(config));
    // after a pause
    await engine.advance(5000);
    let outcome = ota.ERR.IN_PROGRESS;
    while (step === "finish" && outcome === ota.ERR.IN_PROGRESS) outcome = await engine.call(handle.perform());
    engine.run("lose = timers");
    failsWith(await settled(scene, handle[step]()), "NO_MEM", true);
    assert.throws(() => handle.abort(), /after the update ended/);
    await nothingLeft(scene);
    engine.run("lose = -1");
    assert.ifError((await settled(scene, ota.update(config))).error);
    bootsNewImage(scene, "ota_0", IMAGE);
  });

test("a server that is slow is no lost update, nor does a refused second update make it one", async (t) => {
  const { scene, config } = await sceneWithTimers(t);
  const { engine, ota } = scene.device;
  const gate = createGate();
  const manifest = Buffer.from(await signManifest(claimsFor(IMAGE), key));
  scene.server.on("/m.jws", behind(gate, serveFile(manifest)));
  config.timeout = 30000;
  const update = scene.outcome(ota.update(config));
  await until("asked", () => scene.server.requests.length === 1);
  failsWith(await scene.outcome(ota.update(config)), "OTA_ALREADY_IN_PROGRESS", true);
  for (let second = 0; second < 20; second++) await engine.advance(1000);
  gate.open();
  assert.ifError((await update).error);
  bootsNewImage(scene, "ota_0", IMAGE);
});

/** Makes the first request block the device for so long, and then throw as for an unknown host. */
function blockFirstRequest(scene: Scene, ms: number): void {
  (
    scene.device.engine.run(`(function (block) {
    var http = require("http"), real = http.request, asked = 0;
    http.request = function (options, answer) {
      if (asked++) return real(options, answer);
      block();
      throw new Error("Unable to locate host");
    };
  })`) as any
  )(() => scene.device.engine.block(ms));
}

test("a lookup that blocks the device is no lost update, though the engine makes up for the calls that an interval missed", async (t) => {
  const { scene, config } = await sceneWithTimers(t);
  blockFirstRequest(scene, 60000);
  config.retries = 1;
  assert.ifError((await settled(scene, scene.device.ota.update(config))).error);
  bootsNewImage(scene, "ota_0", IMAGE);
});

for (const hours of [-1, 1])
  test(`a lost update is noticed though the clock is set by ${hours} h meanwhile`, async (t) => {
    const { scene, config } = await sceneWithTimers(t);
    const { engine, ota } = scene.device;
    const handle: any = await engine.call(ota.begin(config));
    for (let outcome = ota.ERR.IN_PROGRESS; outcome === ota.ERR.IN_PROGRESS; )
      outcome = await engine.call(handle.perform());
    engine.run("lose = timers");
    const finish = scene.outcome(handle.finish());
    await engine.advance(1500);
    engine.run(`setTime(getTime() + ${hours * 3600})`);
    await engine.advance(10000);
    failsWith(await finish, "NO_MEM", true);
    await nothingLeft(scene);
  });

for (const call of ["setBootPartition", "rollback"] as const)
  test(`${call}() whose verification is lost ends with ESP_ERR_NO_MEM, and the next call works`, async (t) => {
    const { scene, config } = await sceneWithTimers(t);
    const { device } = scene;
    assert.ifError((await settled(scene, device.ota.update(config))).error);
    device.restart();
    device.engine.run(LOSE);
    const factory = device.ota.getNextUpdatePartition();
    device.engine.run("lose = 0");
    failsWith(await settled(scene, device.ota[call](factory)), "NO_MEM", true);
    await nothingLeft(scene);
    // should it not have been lost after all
    device.engine.run("lose = -1; late()");
    for (let pass = 0; pass < 100; pass++) await device.engine.advance(1);
    assert.equal(device.rebootAsked, false);
    assert.equal(device.ota.getBootPartition().label, "ota_0");
    assert.deepEqual(await settled(scene, device.ota.setBootPartition(factory)), { result: 0, events: [] });
    device.restart();
    assert.equal(device.running, "factory");
  });

test("a second call, refused at once, takes nothing from the first, whatever the clock says", async (t) => {
  const { scene, config } = await sceneWithTimers(t);
  const { engine, ota } = scene.device;
  engine.run("setTime(1800000000)");
  const update = scene.outcome(ota.update(config));
  for (let call = 0; call < 20; call++)
    failsWith(await scene.outcome(ota.update(config)), "OTA_ALREADY_IN_PROGRESS", true);
  assert.ifError((await update).error);
  bootsNewImage(scene, "ota_0", IMAGE);
});

for (const [what, disturb] of [
  ["the clock is set", (scene: Scene) => scene.device.engine.run("setTime(getTime() + 1e9)")],
  ["something blocks the device", (scene: Scene) => scene.device.engine.block(60000)],
] as [string, (scene: Scene) => void][])
  test(`${what}, and a second call comes before the next look at the first: the first is not lost`, async (t) => {
    const { scene, config } = await sceneWithTimers(t);
    const { engine, ota } = scene.device;
    const gate = createGate();
    const manifest = Buffer.from(await signManifest(claimsFor(IMAGE), key));
    scene.server.on("/m.jws", behind(gate, serveFile(manifest)));
    config.timeout = 600000;
    const update = scene.outcome(ota.update(config));
    await until("asked", () => scene.server.requests.length === 1);
    await engine.advance(1500);
    disturb(scene);
    failsWith(await scene.outcome(ota.update(config)), "OTA_ALREADY_IN_PROGRESS", true);
    await engine.advance(5000);
    gate.open();
    assert.ifError((await update).error);
    bootsNewImage(scene, "ota_0", IMAGE);
  });

test("a server that is silent after a pause between two steps is no lost update", async (t) => {
  const { scene, config } = await sceneWithTimers(t);
  const { engine, ota } = scene.device;
  const gate = createGate();
  scene.server.on("/fw.bin", async (_req, io) => {
    await io.head(200, { "Content-Length": IMAGE.length });
    await io.write(IMAGE.subarray(0, 6000));
    await gate.passed;
    await io.write(IMAGE.subarray(6000));
    io.end();
  });
  config.timeout = 60000;
  const handle: any = await engine.call(ota.begin(config));
  assert.equal(await engine.call(handle.perform()), ota.ERR.IN_PROGRESS);
  await engine.advance(3000);
  const next = engine.call(handle.perform());
  await engine.advance(10000);
  gate.open();
  let outcome = await next;
  while (outcome === ota.ERR.IN_PROGRESS) outcome = await engine.call(handle.perform());
  assert.equal(await engine.call(handle.finish()), ota.ERR.OK);
  bootsNewImage(scene, "ota_0", IMAGE);
});

test("a step after a pause needs no memory for its watch, which stays", async (t) => {
  const { scene, config } = await sceneWithTimers(t);
  const { engine, ota } = scene.device;
  const handle: any = await engine.call(ota.begin(config));
  await engine.advance(5000);
  engine.oom = (name) => name === "setInterval";
  assert.equal(await engine.call(handle.perform()), ota.ERR.IN_PROGRESS);
  await engine.advance(5000);
  assert.equal(await engine.call(handle.perform()), ota.ERR.IN_PROGRESS);
  engine.oom = () => false;
  handle.abort();
  assert.ifError((await scene.outcome(ota.update(config))).error);
});
