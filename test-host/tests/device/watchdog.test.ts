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
  type Fixture,
  createFixture,
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

async function fixtureWithTimers(t: any): Promise<{ fixture: Fixture; config: any }> {
  const fixture = await createFixture(t, { image: IMAGE });
  const manifest = await signManifest(claimsFor(IMAGE), key);
  fixture.server.on("/m.jws", serveFile(Buffer.from(manifest)));
  fixture.device.engine.run(LOSE);
  const config = fixture.device.engine.run(
    `({ url: ${JSON.stringify(fixture.server.url("/m.jws"))}, keys: ${JSON.stringify([key.jwk])}, timeout: 4000, retries: 0 })`,
  );
  return { fixture, config };
}

/** Lets device time pass until the update ends. */
async function settled(fixture: Fixture, promise: any): Promise<any> {
  let outcome: any;
  const update = fixture.outcome(promise).then((one) => {
    outcome = one;
  });
  await until("the update ends", () => {
    void fixture.device.engine.advance(100);
    return outcome !== undefined;
  });
  await update;
  return outcome;
}

test("whichever timer is lost, the update goes on or ends with ESP_ERR_NO_MEM", async (t) => {
  const first = await fixtureWithTimers(t);
  assert.ifError((await settled(first.fixture, first.fixture.device.ota.update(first.config))).error);
  const timers = first.fixture.device.engine.run("timers") as number;
  assert.ok(timers > 8, `${timers} timers`);
  let lost = 0;
  for (let index = 0; index < timers; index++) {
    const { fixture, config } = await fixtureWithTimers(t);
    fixture.device.engine.run(`lose = ${index}`);
    const outcome = await settled(fixture, fixture.device.ota.update(config));
    if (outcome.error) {
      lost++;
      const { message } = failsWith(outcome, "NO_MEM", true);
      assert.equal(message, "out of memory: the call was interrupted", `timer ${index}`);
      await nothingLeft(fixture);
      fixture.device.engine.run("lose = -1");
      const next = await settled(fixture, fixture.device.ota.update(config));
      assert.ifError(next.error);
    }
    bootsNewImage(fixture, "ota_0", IMAGE);
    await nothingLeft(fixture);
    await fixture.server.close();
  }
  // a stall timer may be lost while the server is quick, and no more than those
  assert.ok(lost > timers / 2, `${lost} of ${timers} timers were missed`);
});

test("a lost update closes a connection that is left to a silent server", async (t) => {
  for (let index = 0; index < 4; index++) {
    const { fixture, config } = await fixtureWithTimers(t);
    fixture.server.on("/m.jws", silent());
    fixture.device.engine.run(`lose = ${index}`);
    const { error } = await settled(fixture, fixture.device.ota.update(config));
    assert.ok(error?.retry, `timer ${index}`);
    await nothingLeft(fixture);
    await fixture.server.close();
  }
});

test("a handle's owner may pause until the deadline: only that is watched then", async (t) => {
  const { fixture, config } = await fixtureWithTimers(t);
  const { engine, ota } = fixture.device;
  const handle: any = await engine.call(ota.begin(config));
  assert.equal(await engine.call(handle.perform()), ota.ERR.IN_PROGRESS);
  await engine.advance(3000_000);
  let outcome = ota.ERR.IN_PROGRESS;
  while (outcome === ota.ERR.IN_PROGRESS) outcome = await engine.call(handle.perform());
  assert.equal(await engine.call(handle.finish()), ota.ERR.OK);
  bootsNewImage(fixture, "ota_0", IMAGE);
});

for (const step of ["perform", "finish"] as const)
  test(`${step} of a lost handle ends with ESP_ERR_NO_MEM, and the handle with it`, async (t) => {
    const { fixture, config } = await fixtureWithTimers(t);
    const { engine, ota } = fixture.device;
    const handle: any = await engine.call(ota.begin(config));
    // after a pause
    await engine.advance(5000);
    let outcome = ota.ERR.IN_PROGRESS;
    while (step === "finish" && outcome === ota.ERR.IN_PROGRESS) outcome = await engine.call(handle.perform());
    engine.run("lose = timers");
    failsWith(await settled(fixture, handle[step]()), "NO_MEM", true);
    assert.throws(() => handle.abort(), /after the update ended/);
    await nothingLeft(fixture);
    engine.run("lose = -1");
    assert.ifError((await settled(fixture, ota.update(config))).error);
    bootsNewImage(fixture, "ota_0", IMAGE);
  });

test("a slow server is not a lost update, nor with a refused second update", async (t) => {
  const { fixture, config } = await fixtureWithTimers(t);
  const { engine, ota } = fixture.device;
  const gate = createGate();
  const manifest = Buffer.from(await signManifest(claimsFor(IMAGE), key));
  fixture.server.on("/m.jws", behind(gate, serveFile(manifest)));
  config.timeout = 30000;
  const update = fixture.outcome(ota.update(config));
  await until("asked", () => fixture.server.requests.length === 1);
  failsWith(await fixture.outcome(ota.update(config)), "OTA_ALREADY_IN_PROGRESS", true);
  for (let second = 0; second < 20; second++) await engine.advance(1000);
  gate.open();
  assert.ifError((await update).error);
  bootsNewImage(fixture, "ota_0", IMAGE);
});

/** Makes the first request block the device for so long, and then throw as for an unknown host. */
function blockFirstRequest(fixture: Fixture, ms: number): void {
  (
    fixture.device.engine.run(`(function (block) {
    var http = require("http"), real = http.request, asked = 0;
    http.request = function (options, answer) {
      if (asked++) return real(options, answer);
      block();
      throw new Error("Unable to locate host");
    };
  })`) as any
  )(() => fixture.device.engine.block(ms));
}

test("a lookup that blocks the device is not taken for a lost update", async (t) => {
  const { fixture, config } = await fixtureWithTimers(t);
  blockFirstRequest(fixture, 60000);
  config.retries = 1;
  assert.ifError((await settled(fixture, fixture.device.ota.update(config))).error);
  bootsNewImage(fixture, "ota_0", IMAGE);
});

for (const hours of [-1, 1])
  test(`a lost update is noticed though the clock is set by ${hours} h meanwhile`, async (t) => {
    const { fixture, config } = await fixtureWithTimers(t);
    const { engine, ota } = fixture.device;
    const handle: any = await engine.call(ota.begin(config));
    for (let outcome = ota.ERR.IN_PROGRESS; outcome === ota.ERR.IN_PROGRESS; )
      outcome = await engine.call(handle.perform());
    engine.run("lose = timers");
    const finish = fixture.outcome(handle.finish());
    await engine.advance(1500);
    engine.run(`setTime(getTime() + ${hours * 3600})`);
    await engine.advance(10000);
    failsWith(await finish, "NO_MEM", true);
    await nothingLeft(fixture);
  });

for (const call of ["setBootPartition", "rollback"] as const)
  test(`${call}() whose verification is lost ends with ESP_ERR_NO_MEM`, async (t) => {
    const { fixture, config } = await fixtureWithTimers(t);
    const { device } = fixture;
    assert.ifError((await settled(fixture, device.ota.update(config))).error);
    device.restart();
    device.engine.run(LOSE);
    const factory = device.ota.getNextUpdatePartition();
    device.engine.run("lose = 0");
    failsWith(await settled(fixture, device.ota[call](factory)), "NO_MEM", true);
    await nothingLeft(fixture);
    // should it not have been lost after all
    device.engine.run("lose = -1; late()");
    for (let pass = 0; pass < 100; pass++) await device.engine.advance(1);
    assert.equal(device.rebootAsked, false);
    assert.equal(device.ota.getBootPartition().label, "ota_0");
    assert.deepEqual(await settled(fixture, device.ota.setBootPartition(factory)), { result: 0, events: [] });
    device.restart();
    assert.equal(device.running, "factory");
  });

test("a second call, refused at once, takes nothing from the first, at any time", async (t) => {
  const { fixture, config } = await fixtureWithTimers(t);
  const { engine, ota } = fixture.device;
  engine.run("setTime(1800000000)");
  const update = fixture.outcome(ota.update(config));
  for (let call = 0; call < 20; call++)
    failsWith(await fixture.outcome(ota.update(config)), "OTA_ALREADY_IN_PROGRESS", true);
  assert.ifError((await update).error);
  bootsNewImage(fixture, "ota_0", IMAGE);
});

for (const [what, disturb] of [
  ["the clock is set", (fixture: Fixture) => fixture.device.engine.run("setTime(getTime() + 1e9)")],
  ["something blocks the device", (fixture: Fixture) => fixture.device.engine.block(60000)],
] as [string, (fixture: Fixture) => void][])
  test(`${what}, and a second call before the next tick: the first is not lost`, async (t) => {
    const { fixture, config } = await fixtureWithTimers(t);
    const { engine, ota } = fixture.device;
    const gate = createGate();
    const manifest = Buffer.from(await signManifest(claimsFor(IMAGE), key));
    fixture.server.on("/m.jws", behind(gate, serveFile(manifest)));
    config.timeout = 600000;
    const update = fixture.outcome(ota.update(config));
    await until("asked", () => fixture.server.requests.length === 1);
    await engine.advance(1500);
    disturb(fixture);
    failsWith(await fixture.outcome(ota.update(config)), "OTA_ALREADY_IN_PROGRESS", true);
    await engine.advance(5000);
    gate.open();
    assert.ifError((await update).error);
    bootsNewImage(fixture, "ota_0", IMAGE);
  });

test("a server that is silent after a pause between two steps is not a lost update", async (t) => {
  const { fixture, config } = await fixtureWithTimers(t);
  const { engine, ota } = fixture.device;
  const gate = createGate();
  fixture.server.on("/fw.bin", async (_req, io) => {
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
  bootsNewImage(fixture, "ota_0", IMAGE);
});

test("a step after a pause needs no memory for its watchdog, which stays", async (t) => {
  const { fixture, config } = await fixtureWithTimers(t);
  const { engine, ota } = fixture.device;
  const handle: any = await engine.call(ota.begin(config));
  await engine.advance(5000);
  engine.oom = (name) => name === "setInterval";
  assert.equal(await engine.call(handle.perform()), ota.ERR.IN_PROGRESS);
  await engine.advance(5000);
  assert.equal(await engine.call(handle.perform()), ota.ERR.IN_PROGRESS);
  engine.oom = () => false;
  handle.abort();
  assert.ifError((await fixture.outcome(ota.update(config))).error);
});
