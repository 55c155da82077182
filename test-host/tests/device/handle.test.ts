// The state rules of an update (docs/design.md#states-of-an-update): every call in every phase, one update at
// a time, pauses, aborts, events in order. Whatever happens, nothing is left and the handle is dead afterwards.

import assert from "node:assert/strict";
import { test } from "node:test";
import { buildImage, MIN_SIZE, noise, padTo } from "../../support/images.ts";
import {
  behaves,
  behind,
  bootsNewImage,
  type Config,
  createGate,
  failsWith,
  IDF,
  type IdfName,
  keepsOldImage,
  nothingLeft,
  type Outcome,
  type Fixture,
  type FixtureOptions,
  settle,
  createFixture,
  succeeds,
  touchesNothing,
  touchesOnly,
  until,
  unfinished,
  plain,
} from "../../support/fixture.ts";
import { makeKey } from "../../support/release.ts";
import { changedEtag, cutAt, sequence, serveFile, silent, status } from "../../support/server.ts";

const IMAGE = buildImage({ size: 20000, seed: 2 }); // five sectors
const SECTORS = 5;
const { HTTPS_OTA_IN_PROGRESS, OK } = IDF;
const ANY = { touched: ["ota_0", "otadata"] };

type Begun = { fixture: Fixture; handle: any; perform(): Promise<any> };

async function begun(t: any, options: FixtureOptions & { config?: Config; hook?: any } = {}): Promise<Begun> {
  const { config, hook, ...more } = options;
  const fixture = await createFixture(t, { image: IMAGE, ...more });
  const handle = (await fixture.device.engine.call(fixture.device.ota.begin(fixture.config(config, hook)))) as any;
  return { fixture, handle, perform: () => fixture.device.engine.call(handle.perform()) };
}

function throwsCode(call: () => unknown, name: IdfName): void {
  assert.throws(call, (error: any) => {
    assert.equal(error.code, IDF[name], error.message);
    assert.equal(error.name, `ESP_ERR_${name}`);
    return true;
  });
}

/** Every call that a dead handle gets is refused, and does nothing. After a `finished` one the getters still answer. */
async function isDead(fixture: Fixture, handle: any, finished = false): Promise<void> {
  const log = fixture.device.flash.log.length;
  const events = fixture.events().length;
  const requests = fixture.server.requests.length;
  failsWith(await settle(fixture.device, handle.perform()), "INVALID_STATE");
  failsWith(await settle(fixture.device, handle.finish()), "INVALID_STATE");
  throwsCode(() => handle.abort(), "INVALID_STATE");
  if (!finished) throwsCode(() => handle.getImgDesc(), "INVALID_STATE");
  await nothingLeft(fixture);
  assert.equal(fixture.device.flash.log.length, log, "a dead handle wrote");
  assert.equal(fixture.events().length, events, "a dead handle sent events");
  assert.equal(fixture.server.requests.length, requests, "a dead handle asked the server");
}

async function another(fixture: Fixture, label = "ota_0"): Promise<void> {
  fixture.remember();
  await succeeds(fixture, await fixture.update(), label);
}

async function performAll(begun: Begun): Promise<number> {
  let steps = 0;
  let outcome = HTTPS_OTA_IN_PROGRESS;
  while (outcome === HTTPS_OTA_IN_PROGRESS) {
    outcome = await begun.perform();
    steps++;
    assert.ok(steps < 200, "perform never ends");
  }
  assert.equal(outcome, OK);
  return steps;
}

// --- The phases one by one -----------------------------------------------------------------------------------------

test("begin reads at least the first 1024 bytes and writes nothing", async (t) => {
  const { fixture, handle } = await begun(t);
  touchesNothing(fixture);
  assert.equal(handle.getStatusCode(), 206);
  assert.equal(handle.getImageSize(), IMAGE.length);
  assert.equal(handle.getImageLenRead(), 0);
  assert.equal(handle.isCompleteDataReceived(), false);
  assert.equal(handle.getPartition().label, "ota_0");
  handle.abort();
});

/** Sectors of the image at the slot's beginning; behind them nothing is written. */
function sectorsIn(fixture: Fixture): number {
  const bytes = fixture.device.slot("ota_0", IMAGE.length);
  let last = bytes.length - 1;
  while (last >= 0 && bytes[last] === 0xff) last--;
  const count = Math.ceil((last + 1) / 4096);
  const length = Math.min(count * 4096, IMAGE.length);
  assert.deepEqual(bytes.subarray(0, length), unfinished(IMAGE).subarray(0, length));
  return count;
}

test("each perform writes one sector: ESP_ERR_HTTPS_OTA_IN_PROGRESS, at last ESP_OK", async (t) => {
  const { fixture, handle, perform } = await begun(t);
  for (let sector = 1; sector <= SECTORS; sector++) {
    const outcome = await perform();
    const last = sector === SECTORS;
    const { erases } = fixture.device.flash.counts;
    assert.equal(sectorsIn(fixture), sector);
    // the next sector may be erased ahead
    assert.ok(erases - fixture.mark.erases >= sector && erases - fixture.mark.erases <= Math.min(sector + 1, SECTORS));
    assert.equal(handle.getImageLenRead(), last ? IMAGE.length : sector * 4096);
    assert.equal(handle.isCompleteDataReceived(), last);
    assert.equal(outcome, last ? OK : HTTPS_OTA_IN_PROGRESS);
  }
  const answers = () => [
    plain(handle.getImgDesc()),
    handle.isCompleteDataReceived(),
    handle.getImageLenRead(),
    handle.getImageSize(),
    handle.getStatusCode(),
    plain(handle.getPartition()),
  ];
  const before = answers();
  assert.equal(await fixture.device.engine.call(handle.finish()), OK);
  assert.deepEqual(answers(), before, "the getters answer after finish as before it");
  await isDead(fixture, handle, true);
  behaves(fixture);
  bootsNewImage(fixture, "ota_0");
});

test("between two performs the device returns to the idle loop", async (t) => {
  const fixture = await createFixture(t, { image: IMAGE });
  fixture.device.engine.run("var ticks = 0; setInterval(function () { ticks++; }, 1);");
  assert.ifError((await fixture.update()).error);
  assert.ok((fixture.device.engine.run("ticks") as number) >= SECTORS);
});

test("perform after ESP_OK is ESP_ERR_INVALID_STATE, and finish still works", async (t) => {
  const run = await begun(t);
  await performAll(run);
  failsWith(await settle(run.fixture.device, run.handle.perform()), "INVALID_STATE");
  assert.equal(await run.fixture.device.engine.call(run.handle.finish()), OK);
  bootsNewImage(run.fixture, "ota_0");
});

test("two performs at a time: the second is ESP_ERR_INVALID_STATE, the first goes on", async (t) => {
  const run = await begun(t);
  const { fixture, handle } = run;
  const first = fixture.device.engine.call(handle.perform());
  failsWith(await settle(fixture.device, handle.perform()), "INVALID_STATE");
  assert.equal(await first, HTTPS_OTA_IN_PROGRESS);
  await performAll(run);
  assert.equal(await fixture.device.engine.call(handle.finish()), OK);
  behaves(fixture);
  bootsNewImage(fixture, "ota_0");
});

test("finish during a perform is ESP_ERR_INVALID_STATE, the perform goes on", async (t) => {
  const { fixture, handle } = await begun(t);
  const first = fixture.device.engine.call(handle.perform());
  failsWith(await settle(fixture.device, handle.finish()), "INVALID_STATE");
  assert.equal(await first, HTTPS_OTA_IN_PROGRESS);
  handle.abort();
  await nothingLeft(fixture);
});

test("finish twice at a time: the second is ESP_ERR_INVALID_STATE, the first selects", async (t) => {
  const run = await begun(t);
  await performAll(run);
  const { fixture, handle } = run;
  const first = fixture.device.engine.call(handle.finish());
  const second = await settle(fixture.device, handle.finish());
  failsWith(second, "INVALID_STATE");
  assert.equal(await first, OK);
  behaves(fixture);
  bootsNewImage(fixture, "ota_0");
});

test("perform and abort during a finish are ESP_ERR_INVALID_STATE, the finish goes on", async (t) => {
  const run = await begun(t, { image: buildImage({ size: 61008, seed: 2 }) });
  await performAll(run);
  const { fixture, handle } = run;
  const finish = fixture.device.engine.call(handle.finish());
  throwsCode(() => handle.abort(), "INVALID_STATE");
  failsWith(await settle(fixture.device, handle.perform()), "INVALID_STATE");
  assert.equal(await finish, OK);
  await isDead(fixture, handle, true);
  bootsNewImage(fixture, "ota_0");
});

for (const performs of [0, 1, 3, 4])
  test(`finish after ${performs} of ${SECTORS} performs is ESP_ERR_OTA_VALIDATE_FAILED`, async (t) => {
    const { fixture, handle, perform } = await begun(t);
    for (let i = 0; i < performs; i++) await perform();
    const error = failsWith(await settle(fixture.device, handle.finish()), "OTA_VALIDATE_FAILED");
    assert.match(error.message, new RegExp(`${performs * 4096}`));
    await isDead(fixture, handle);
    touchesOnly(fixture, ["ota_0"]);
    behaves(fixture);
    await another(fixture);
  });

test("finish on an incomplete download does not switch, though the slot is whole", async (t) => {
  // without digest and descriptor nothing tells that the slot holds this very file
  const image = buildImage({ size: 20000, seed: 2, descriptor: false });
  const { fixture, handle, perform } = await begun(t, { image, load: { ota_0: image } });
  assert.equal(await perform(), HTTPS_OTA_IN_PROGRESS);
  failsWith(await settle(fixture.device, handle.finish()), "OTA_VALIDATE_FAILED");
  keepsOldImage(fixture);
});

for (const performs of [0, 1, 3, 5])
  test(`abort after ${performs} of ${SECTORS} performs frees everything, selects nothing`, async (t) => {
    const { fixture, handle, perform } = await begun(t);
    for (let i = 0; i < performs; i++) await perform();
    handle.abort();
    assert.deepEqual(fixture.events().at(-1)?.[0], "ABORT");
    await isDead(fixture, handle);
    touchesOnly(fixture, ["ota_0"]);
    behaves(fixture);
    keepsOldImage(fixture);
    await another(fixture);
  });

test("abort in the middle of a perform rejects it with ESP_ERR_INVALID_STATE", async (t) => {
  const fixture = await createFixture(t, { image: null });
  fixture.server.on("/slow", cutAt(IMAGE, 6000, "stall"));
  const { engine, ota } = fixture.device;
  const handle = (await engine.call(ota.begin(fixture.config({ url: fixture.server.url("/slow") })))) as any;
  assert.equal(await engine.call(handle.perform()), HTTPS_OTA_IN_PROGRESS);
  const waiting = engine.call(handle.perform());
  await engine.advance(10);
  handle.abort();
  const outcome = await waiting.then(
    () => ({ result: true }),
    (error: any) => ({ error }),
  );
  failsWith(outcome, "INVALID_STATE");
  // what had come of the second sector
  const written = fixture.device.flash.counts.bytesWritten;
  assert.ok(written > 4096 && written <= 6000, `${written} bytes`);
  await isDead(fixture, handle);
  assert.equal(fixture.device.flash.counts.bytesWritten, written);
  behaves(fixture);
  keepsOldImage(fixture);
});

test("abort while the device waits to reconnect leaves no timer", async (t) => {
  const fixture = await createFixture(t, { image: null });
  fixture.server.on("/cut", cutAt(IMAGE, 6000, "close", { times: 9 }));
  const { engine, ota } = fixture.device;
  const handle = (await engine.call(ota.begin(fixture.config({ url: fixture.server.url("/cut"), retries: 5 })))) as any;
  await engine.call(handle.perform());
  const waiting = settle(fixture.device, handle.perform());
  // one timer is the watchdog for interrupted updates
  await until("it waits to reconnect", () => engine.accounts().sockets === 0 && engine.accounts().timers === 2);
  handle.abort();
  failsWith(await waiting, "INVALID_STATE");
  await isDead(fixture, handle);
  await engine.advance(120000);
  assert.equal(fixture.server.requests.length, 1);
  keepsOldImage(fixture);
});

// --- Aborts out of a listener: the natural place of a cancel button ------------------------------------------------

for (const event of ["VERIFY_CHIP_ID", "VERIFY_CHIP_REVISION"])
  test(`abort from a ${event} listener: nothing is erased, the perform is rejected`, async (t) => {
    const fixture = await createFixture(t, { image: IMAGE });
    let handle: any;
    const config = fixture.config({}, (name) => {
      if (name === event) handle.abort();
    });
    handle = await fixture.device.engine.call(fixture.device.ota.begin(config));
    failsWith(await settle(fixture.device, handle.perform()), "INVALID_STATE");
    touchesNothing(fixture);
    await isDead(fixture, handle);
    behaves(fixture);
    keepsOldImage(fixture);
  });

for (const count of [1, 3, SECTORS])
  test(`abort from the WRITE_FLASH listener of sector ${count}: no other is written`, async (t) => {
    const fixture = await createFixture(t, { image: IMAGE });
    let handle: any;
    let seen = 0;
    const config = fixture.config({}, (name) => {
      if (name === "WRITE_FLASH" && ++seen === count) handle.abort();
    });
    handle = await fixture.device.engine.call(fixture.device.ota.begin(config));
    for (let i = 1; i < count; i++) await fixture.device.engine.call(handle.perform());
    failsWith(await settle(fixture.device, handle.perform()), "INVALID_STATE");
    assert.equal(sectorsIn(fixture), count);
    await isDead(fixture, handle);
    behaves(fixture);
    keepsOldImage(fixture);
  });

test("after an abort out of a listener another update has the device for itself", async (t) => {
  const fixture = await createFixture(t, { image: IMAGE });
  let handle: any;
  let aborted = false;
  const config = fixture.config({}, (name) => {
    if (name !== "WRITE_FLASH" || aborted) return;
    aborted = true;
    handle.abort();
  });
  handle = await fixture.device.engine.call(fixture.device.ota.begin(config));
  await settle(fixture.device, handle.perform());
  const second = (await fixture.device.engine.call(fixture.device.ota.begin(fixture.config()))) as any;
  failsWith(await settle(fixture.device, handle.perform()), "INVALID_STATE");
  second.abort();
});

test("abort from the UPDATE_BOOT_PARTITION listener is too late and harms nothing", async (t) => {
  const fixture = await createFixture(t, { image: IMAGE });
  let handle: any;
  let code = 0;
  const config = fixture.config({}, (name) => {
    if (name !== "UPDATE_BOOT_PARTITION") return;
    try {
      handle.abort();
    } catch (error: any) {
      code = error.code;
    }
  });
  handle = await fixture.device.engine.call(fixture.device.ota.begin(config));
  await performAll({ fixture, handle, perform: () => fixture.device.engine.call(handle.perform()) });
  assert.equal(await fixture.device.engine.call(handle.finish()), OK);
  assert.equal(code, IDF.INVALID_STATE);
  behaves(fixture);
  bootsNewImage(fixture, "ota_0");
});

// --- One at a time -------------------------------------------------------------------------------------------------

test("a second update in any phase is ESP_ERR_OTA_ALREADY_IN_PROGRESS", async (t) => {
  const fixture = await createFixture(t);
  const { engine, ota } = fixture.device;
  const refused = async () => {
    const both = [ota.begin(fixture.config()), ota.update(fixture.config())].map((one) => settle(fixture.device, one));
    for (const outcome of await Promise.all(both)) failsWith(outcome, "OTA_ALREADY_IN_PROGRESS", true);
  };
  const beginning = engine.call(ota.begin(fixture.config()));
  await refused();
  const handle = (await beginning) as any;
  await refused();
  const performing = engine.call(handle.perform());
  await refused();
  await performing;
  await refused();
  await performAll({ fixture, handle, perform: () => engine.call(handle.perform()) });
  await refused();
  const finishing = engine.call(handle.finish());
  await refused();
  assert.equal(await finishing, OK);
  assert.equal(fixture.server.requests.length, 1, "a refused update asked the server");
  behaves(fixture);
  bootsNewImage(fixture, "ota_0");
});

test("two updates started in one breath: one succeeds, one is refused", async (t) => {
  const fixture = await createFixture(t, { image: IMAGE });
  const { ota } = fixture.device;
  const both = [ota.update(fixture.config()), ota.update(fixture.config())];
  const outcomes = await Promise.all(both.map((one) => settle(fixture.device, one)));
  assert.equal(outcomes[0].result?.size, IMAGE.length);
  failsWith(outcomes[1], "OTA_ALREADY_IN_PROGRESS", true);
  bootsNewImage(fixture, "ota_0");
});

for (const [what, spoil] of [
  ["a refused connection", (fixture: Fixture) => fixture.update({ url: "http://localhost:1/" })],
  ["an unknown host", (fixture: Fixture) => fixture.update({ url: "http://nowhere.invalid/" })],
  ["a wrong argument", (fixture: Fixture) => fixture.update({ timeout: 0 })],
  ["a wrong slot", (fixture: Fixture) => fixture.update({ partition: "nope" })],
  ["a status", (fixture: Fixture) => fixture.update({ url: fixture.server.url("/nothing") })],
  ["a file too short", (fixture: Fixture) => updateOf(fixture, IMAGE.subarray(0, 500))],
  ["a file that is not an image", (fixture: Fixture) => updateOf(fixture, noise(3, 5000))],
  ["an image that is cut", (fixture: Fixture) => updateOf(fixture, IMAGE.subarray(0, 15000))],
  ["a wrong digest", (fixture: Fixture) => fixture.update({ digest: `fsverity-sha256:${"0".repeat(64)}` })],
] as const)
  test(`after a failure by ${what} another update works at once`, async (t) => {
    const fixture = await createFixture(t, { image: IMAGE });
    assert.ok((await spoil(fixture)).error);
    await nothingLeft(fixture);
    await another(fixture);
  });

function updateOf(fixture: Fixture, bytes: Uint8Array) {
  fixture.server.on("/spoilt", serveFile(bytes));
  return fixture.update({ url: fixture.server.url("/spoilt") });
}

test("after a success, without a restart, another update works: the last one boots", async (t) => {
  const fixture = await createFixture(t, { image: IMAGE });
  assert.ifError((await fixture.update()).error);
  const second = buildImage({ size: 24000, seed: 9 });
  fixture.server.on("/fw.bin", serveFile(second));
  await succeeds(fixture, await fixture.update(), "ota_0", second);
});

test("after a success a failed update leaves the running image selected", async (t) => {
  const fixture = await createFixture(t, { image: IMAGE });
  assert.ifError((await fixture.update()).error);
  fixture.server.on("/fw.bin", serveFile(buildImage({ size: 24000, seed: 9 }).subarray(0, 15000)));
  failsWith(await fixture.update(), "OTA_VALIDATE_FAILED");
  behaves(fixture);
  keepsOldImage(fixture);
});

test("after a success a refusal before the first erase leaves the new image selected", async (t) => {
  const fixture = await createFixture(t, { image: IMAGE });
  assert.ifError((await fixture.update()).error);
  failsWith(await updateOf(fixture, noise(3, 5000)), "OTA_VALIDATE_FAILED");
  bootsNewImage(fixture, "ota_0");
});

// --- A perform that fails ------------------------------------------------------------------------------------------

test("after a perform that failed everything is free, without abort", async (t) => {
  const { fixture, handle } = await begun(t, { image: noise(5, 9000) });
  failsWith(await settle(fixture.device, handle.perform()), "OTA_VALIDATE_FAILED");
  await nothingLeft(fixture);
  failsWith(await settle(fixture.device, handle.perform()), "INVALID_STATE");
  failsWith(await settle(fixture.device, handle.finish()), "INVALID_STATE");
  keepsOldImage(fixture);
});

test("after a perform that failed abort is the right call, as it is in C", async (t) => {
  const { fixture, handle } = await begun(t, { image: noise(5, 9000) });
  failsWith(await settle(fixture.device, handle.perform()), "OTA_VALIDATE_FAILED");
  handle.abort();
  assert.equal(fixture.events().at(-1)?.[0], "ABORT");
});

// --- Getters and getImgDesc ----------------------------------------------------------------------------------------

test("getImgDesc gives the same at every step, and changes nothing", async (t) => {
  const run = await begun(t, { image: buildImage({ size: 20000, seed: 2, descriptor: { version: "9.8.7" } }) });
  const { handle, fixture } = run;
  const first = JSON.stringify(handle.getImgDesc());
  assert.equal(JSON.parse(first).version, "9.8.7");
  assert.equal(JSON.stringify(handle.getImgDesc()), first);
  await run.perform();
  assert.equal(JSON.stringify(handle.getImgDesc()), first);
  const performing = run.perform();
  assert.equal(JSON.stringify(handle.getImgDesc()), first);
  await performing;
  await performAll(run);
  assert.equal(JSON.stringify(handle.getImgDesc()), first);
  assert.equal(await fixture.device.engine.call(handle.finish()), OK);
  bootsNewImage(fixture, "ota_0");
});

test("an image without descriptor is ESP_ERR_NOT_FOUND for getImgDesc, and installed", async (t) => {
  const run = await begun(t, { image: buildImage({ size: 20000, seed: 2, descriptor: false }) });
  throwsCode(() => run.handle.getImgDesc(), "NOT_FOUND");
  await run.perform();
  throwsCode(() => run.handle.getImgDesc(), "NOT_FOUND");
  await performAll(run);
  assert.equal(await run.fixture.device.engine.call(run.handle.finish()), OK);
  behaves(run.fixture);
  bootsNewImage(run.fixture, "ota_0");
});

test("a version that fills its field to the last byte is given whole", async (t) => {
  const version = "v".repeat(32);
  const { handle } = await begun(t, { image: buildImage({ size: 20000, seed: 2, descriptor: { version } }) });
  assert.equal(handle.getImgDesc().version, version);
  handle.abort();
});

test("getImageSize is -1 while the server does not say a length", async (t) => {
  const fixture = await createFixture(t, { image: null });
  fixture.server.on("/fw.bin", serveFile(IMAGE, { chunked: true, ranges: false }));
  const handle = (await fixture.device.engine.call(fixture.device.ota.begin(fixture.config()))) as any;
  assert.equal(handle.getImageSize(), -1);
  assert.equal(handle.getStatusCode(), 200);
  const perform = () => fixture.device.engine.call(handle.perform());
  await performAll({ fixture, handle, perform });
  assert.equal(handle.getImageLenRead(), IMAGE.length);
  assert.equal(await fixture.device.engine.call(handle.finish()), OK);
  const writes = fixture.events().filter(([name]) => name === "WRITE_FLASH");
  assert.ok(writes.every(([, , total]) => total === -1));
});

test("getStatusCode is also that of an answer that is not an image", async (t) => {
  const fixture = await createFixture(t, { image: null });
  fixture.server.on("/fw.bin", sequence(serveFile(IMAGE), status(404)));
  const { engine, ota } = fixture.device;
  const handle: any = await engine.call(ota.begin(fixture.config({ maxRequestSize: 5000 })));
  assert.equal(handle.getStatusCode(), 206);
  let outcome: Awaited<ReturnType<typeof settle>> = {};
  while (!outcome.error) outcome = await settle(fixture.device, handle.perform());
  assert.equal(failsWith(outcome, "FAIL", true).status, 404);
  assert.equal(handle.getStatusCode(), 404);
});

// --- Events --------------------------------------------------------------------------------------------------------

test("the events of an update come in order, with their data", async (t) => {
  const fixture = await createFixture(t, { image: buildImage({ size: 20000, seed: 2, minRevision: 100 }) });
  const { events, error } = await fixture.update();
  assert.ifError(error);
  assert.deepEqual(events, [
    ["START", undefined, undefined],
    ["CONNECTED", undefined, undefined],
    ["VERIFY_CHIP_ID", 0, undefined],
    ["VERIFY_CHIP_REVISION", 100, undefined],
    ["WRITE_FLASH", 4096, 20000],
    ["WRITE_FLASH", 8192, 20000],
    ["WRITE_FLASH", 12288, 20000],
    ["WRITE_FLASH", 16384, 20000],
    ["WRITE_FLASH", 20000, 20000],
    ["UPDATE_BOOT_PARTITION", 0x10, undefined],
    ["FINISH", undefined, undefined],
  ]);
});

test("UPDATE_BOOT_PARTITION says subtype 0 when factory is selected", async (t) => {
  const fixture = await createFixture(t, { image: IMAGE });
  await another(fixture);
  const { events } = await fixture.update();
  assert.deepEqual(events.at(-2)?.slice(0, 2), ["UPDATE_BOOT_PARTITION", 0]);
});

test("GET_IMG_DESC comes with getImgDesc, ABORT with abort", async (t) => {
  const { fixture, handle } = await begun(t);
  handle.getImgDesc();
  handle.abort();
  assert.deepEqual(
    fixture.events().map(([name]) => name),
    ["START", "CONNECTED", "GET_IMG_DESC", "ABORT"],
  );
});

test("chip id and revision are told before they are checked", async (t) => {
  const fixture = await createFixture(t, {
    image: buildImage({ chip: "esp32c3", size: 20000, seed: 2, minRevision: 7 }),
  });
  const { events, error } = await fixture.update();
  failsWith({ error }, "INVALID_VERSION");
  assert.deepEqual(
    events.filter(([name]) => name.startsWith("VERIFY")),
    [
      ["VERIFY_CHIP_ID", 5, undefined],
      ["VERIFY_CHIP_REVISION", 7, undefined],
    ],
  );
});

test("finish sends FINISH also when it fails, and no UPDATE_BOOT_PARTITION then", async (t) => {
  const fixture = await createFixture(t, { image: IMAGE });
  const { events, error } = await fixture.update({ digest: `fsverity-sha256:${"1".repeat(64)}` });
  failsWith({ error }, "OTA_VALIDATE_FAILED");
  assert.equal(events.at(-1)?.[0], "FINISH");
  assert.ok(!events.some(([name]) => name === "UPDATE_BOOT_PARTITION"));
});

test("update sends ABORT when it fails in the download, as esp_https_ota does", async (t) => {
  const fixture = await createFixture(t, { image: noise(5, 9000) });
  const { events, error } = await fixture.update();
  failsWith({ error }, "OTA_VALIDATE_FAILED");
  assert.equal(events.at(-1)?.[0], "ABORT");
});

test("a redirect and a reconnection do not make CONNECTED come twice", async (t) => {
  const fixture = await createFixture(t, { image: null });
  fixture.server.on("/fw.bin", cutAt(IMAGE, 9000, "close"));
  const update = fixture.update({ retries: 1 });
  await until("it waits", () => fixture.server.requests.length === 1 && fixture.device.engine.accounts().sockets === 0);
  await fixture.device.engine.advance(1500);
  const { events, error } = await update;
  assert.ifError(error);
  assert.equal(events.filter(([name]) => name === "CONNECTED").length, 1);
});

test("what a listener throws at every event is printed and does not harm the update", async (t) => {
  const fixture = await createFixture(t, { image: IMAGE });
  const hook = fixture.device.engine.run("(function () { throw new Error('from the listener'); })") as () => void;
  const outcome = await fixture.update({}, hook);
  assert.ifError(outcome.error);
  assert.equal(outcome.events.length, 11);
  await nothingLeft(fixture);
  assert.match(fixture.device.engine.console.join("\n"), /from the listener/);
  assert.ok(fixture.device.engine.problems.every((text) => /from the listener/.test(text)));
  assert.deepEqual(fixture.device.flash.violations, []);
  bootsNewImage(fixture, "ota_0");
});

test("an update without a listener works", async (t) => {
  const fixture = await createFixture(t, { image: IMAGE });
  const url = JSON.stringify(fixture.server.url("/fw.bin"));
  const config = fixture.device.engine.run(`({ url: ${url}, insecure: true })`);
  assert.ifError((await settle(fixture.device, fixture.device.ota.update(config))).error);
  bootsNewImage(fixture, "ota_0");
});

test("the caller's config is not changed, nor read again during the update", async (t) => {
  const fixture = await createFixture(t, { image: IMAGE });
  const config = fixture.config();
  const before = JSON.stringify(config);
  const handle = (await fixture.device.engine.call(fixture.device.ota.begin(config))) as any;
  assert.equal(JSON.stringify(config), before);
  config.url = "http://nowhere.invalid/";
  config.partition = "factory";
  await performAll({ fixture, handle, perform: () => fixture.device.engine.call(handle.perform()) });
  assert.equal(await fixture.device.engine.call(handle.finish()), OK);
  bootsNewImage(fixture, "ota_0");
});

// --- Pauses --------------------------------------------------------------------------------------------------------

const LONG = buildImage({ size: 61008, seed: 2 });
const MINUTE = 60_000;

/** The device has held the network back: little came, no connection is open, and only the watchdog of the lock is left. */
async function holdsBack(fixture: Fixture): Promise<void> {
  await until("the connection is closed", () => fixture.device.engine.accounts().sockets === 0);
  await fixture.device.engine.advance(1100);
  assert.deepEqual(fixture.device.engine.accounts(), { sockets: 0, timers: 1, listeners: 1 });
}

for (const [name, ms, config] of [
  ["a minute", MINUTE, {}],
  ["fifty minutes", 50 * MINUTE, {}],
  ["a day without a deadline", 24 * 60 * MINUTE, { deadline: 0 }],
] as const)
  for (const tls of [false, true])
    test(`a pause of ${name} closes the ${tls ? "TLS " : ""}connection, and Range goes on`, async (t) => {
      const run = await begun(t, { image: LONG, tls, config });
      const { fixture, handle } = run;
      await run.perform();
      await run.perform();
      await holdsBack(fixture);
      await fixture.device.engine.advance(ms);
      await performAll(run);
      const [first, second] = fixture.server.requests;
      assert.equal(fixture.server.requests.length, 2);
      const from = Number(/^bytes=(\d+)-$/.exec(second.headers.range ?? "")?.[1]);
      assert.ok(from >= 8192 && from <= 8192 + 8192, `${second.headers.range}: more than two sectors were held`);
      assert.ok(second.headers["if-range"], "with If-Range");
      assert.ok(first.headers["if-range"] === undefined);
      assert.equal(second.sent, LONG.length - from);
      assert.equal(await fixture.device.engine.call(handle.finish()), OK);
      await isDead(fixture, handle, true);
      behaves(fixture);
      bootsNewImage(fixture, "ota_0");
    });

test("a pause right after begin holds at most two sectors", async (t) => {
  const run = await begun(t, { image: LONG });
  await holdsBack(run.fixture);
  await run.fixture.device.engine.advance(MINUTE);
  await performAll(run);
  const from = Number(/^bytes=(\d+)-$/.exec(run.fixture.server.requests[1].headers.range)?.[1]);
  assert.ok(from <= 8192, `${from} bytes were held`);
  assert.equal(await run.fixture.device.engine.call(run.handle.finish()), OK);
  bootsNewImage(run.fixture, "ota_0");
});

test("a pause between any two performs: success, each byte asked for about once", async (t) => {
  const run = await begun(t, { image: LONG });
  const { fixture } = run;
  let outcome: unknown;
  do {
    outcome = await run.perform();
    await until(
      "it is at rest",
      () => run.handle.isCompleteDataReceived() || fixture.device.engine.accounts().sockets === 0,
    );
    await fixture.device.engine.advance(MINUTE);
  } while (outcome === HTTPS_OTA_IN_PROGRESS);
  const asked = fixture.server.requests.map((req) => Number(/bytes=(\d+)/.exec(req.headers.range)?.[1]));
  assert.deepEqual(
    asked,
    [...asked].sort((a, b) => a - b),
    "it went back",
  );
  assert.equal(await fixture.device.engine.call(run.handle.finish()), OK);
  behaves(fixture);
  bootsNewImage(fixture, "ota_0");
});

test("a pause before the last perform, once the server closed, needs no connection", async (t) => {
  const run = await begun(t, { image: IMAGE });
  for (let i = 0; i < SECTORS - 1; i++) await run.perform();
  await run.fixture.device.engine.advance(20 * MINUTE);
  assert.equal(await run.perform(), OK);
  await run.fixture.device.engine.advance(20 * MINUTE);
  assert.equal(await run.fixture.device.engine.call(run.handle.finish()), OK);
  behaves(run.fixture);
  bootsNewImage(run.fixture, "ota_0");
});

test("a server that falls silent during a pause is asked again afterwards", async (t) => {
  const fixture = await createFixture(t, { image: null });
  fixture.server.on("/fw.bin", cutAt(LONG, 6000, "stall"));
  const { engine, ota } = fixture.device;
  const handle = (await engine.call(ota.begin(fixture.config({ retries: 1 })))) as any;
  const perform = () => engine.call(handle.perform());
  await perform();
  for (let i = 0; i < 40; i++) await engine.advance(MINUTE / 2);
  await performAll({ fixture, handle, perform });
  assert.equal(await engine.call(handle.finish()), OK);
  assert.equal(fixture.server.requests.length, 2);
  behaves(fixture);
  bootsNewImage(fixture, "ota_0", LONG);
});

test("a handle without its caller is lost after an hour, and the next update begins", async (t) => {
  const run = await begun(t, { image: LONG });
  const { fixture, handle } = run;
  await run.perform();
  await holdsBack(fixture);
  await fixture.device.engine.advance(59 * MINUTE);
  failsWith(await fixture.update(), "OTA_ALREADY_IN_PROGRESS", true);
  await fixture.device.engine.advance(MINUTE);
  await nothingLeft(fixture);
  assert.equal(fixture.server.requests.length, 1);
  assert.match((await settle(fixture.device, handle.perform())).error?.message ?? "", /not done within 3600000 ms/);
  assert.match(fixture.device.ota.getStatus().last, /^ESP_ERR_TIMEOUT: not done within 3600000 ms$/);
  assert.ifError((await fixture.update()).error);
  behaves(fixture);
  bootsNewImage(fixture, "ota_0", LONG);
});

test("abort() ends a lost handle, a handle in a step, an update and a check", async (t) => {
  const fixture = await createFixture(t, { image: LONG });
  const { device } = fixture;
  device.ota.abort(); // nothing runs
  await device.engine.call(device.ota.begin(fixture.config()));
  device.ota.abort();
  const handle: any = await device.engine.call(device.ota.begin(fixture.config()));
  const step = settle(device, handle.perform());
  device.ota.abort();
  failsWith((await step) as Outcome, "INVALID_STATE");
  await isDead(fixture, handle);
  const gate = createGate();
  fixture.server.on("/slow", behind(gate, serveFile(LONG)));
  for (const call of ["update", "checkForUpdate"]) {
    const asked = fixture.server.requests.length;
    const keys = [(await makeKey({ exponent: 3 })).jwk];
    const config = { url: fixture.server.url("/slow"), ...(call === "update" ? {} : { keys, insecure: undefined }) };
    const outcome = fixture.outcome(device.ota[call](fixture.config(config)));
    await until("asked", () => fixture.server.requests.length === asked + 1);
    device.ota.abort();
    failsWith(await outcome, "INVALID_STATE");
  }
  gate.open();
  await nothingLeft(fixture);
  assert.ifError((await fixture.update()).error);
  behaves(fixture);
  bootsNewImage(fixture, "ota_0", LONG);
});

test("a file that is replaced during a pause is installed whole, never as a mixture", async (t) => {
  const fixture = await createFixture(t, { image: null });
  const second = buildImage({ size: 40000, seed: 8 });
  fixture.server.on("/fw.bin", changedEtag(LONG, second, 30000));
  const { engine, ota } = fixture.device;
  const handle = (await engine.call(ota.begin(fixture.config()))) as any;
  const perform = () => engine.call(handle.perform());
  await perform();
  await holdsBack(fixture);
  await engine.advance(MINUTE);
  await performAll({ fixture, handle, perform });
  assert.equal(handle.getImageLenRead(), second.length);
  assert.equal(await engine.call(handle.finish()), OK);
  behaves(fixture);
  bootsNewImage(fixture, "ota_0", second);
});

test("pauses with a server that knows no ranges end in success or an error", async (t) => {
  const fixture = await createFixture(t, { image: null });
  fixture.server.on("/fw.bin", serveFile(LONG, { ranges: false }));
  const { engine, ota } = fixture.device;
  const handle = (await engine.call(ota.begin(fixture.config({ retries: 5 })))) as any;
  for (let i = 0; i < 40; i++) {
    const { result, error } = await settle(fixture.device, handle.perform());
    if (error || result === OK) return;
    await until("it is at rest", () => engine.accounts().sockets === 0);
    await engine.advance(MINUTE);
  }
  assert.fail(
    `after 40 performs and ${fixture.server.sent} bytes sent, ${handle.getImageLenRead()} of ${LONG.length} bytes are there`,
  );
});

test("one pause with a server without ranges starts at zero, and erases nothing twice", async (t) => {
  const fixture = await createFixture(t, { image: null });
  fixture.server.on("/fw.bin", serveFile(LONG, { ranges: false }));
  const { engine, ota } = fixture.device;
  const handle = (await engine.call(ota.begin(fixture.config()))) as any;
  const perform = () => engine.call(handle.perform());
  await perform();
  await perform();
  await holdsBack(fixture);
  await engine.advance(MINUTE);
  await performAll({ fixture, handle, perform });
  assert.equal(fixture.device.flash.counts.erases - fixture.mark.erases, Math.ceil(LONG.length / 4096));
  assert.equal(await engine.call(handle.finish()), OK);
  behaves(fixture);
  bootsNewImage(fixture, "ota_0", LONG);
});

test("a chunked body is held back and taken up again as well", async (t) => {
  const fixture = await createFixture(t, { image: null });
  fixture.server.on("/fw.bin", serveFile(LONG, { chunked: true }));
  const { engine, ota } = fixture.device;
  const handle = (await engine.call(ota.begin(fixture.config()))) as any;
  const perform = () => engine.call(handle.perform());
  await perform();
  await engine.advance(MINUTE);
  await performAll({ fixture, handle, perform });
  assert.equal(await engine.call(handle.finish()), OK);
  bootsNewImage(fixture, "ota_0", LONG);
});

test("an update without an answer holds a socket and two timers, freed by its timeout", async (t) => {
  const fixture = await createFixture(t, { image: null });
  fixture.server.on("/fw.bin", silent());
  const update = fixture.update();
  await until("asked", () => fixture.server.requests.length === 1);
  const { sockets, timers } = fixture.device.engine.accounts();
  assert.deepEqual({ sockets, timers }, { sockets: 1, timers: 2 }); // its timeout, and the watchdog for interrupted updates
  await fixture.device.engine.advance(30000);
  failsWith(await update, "HTTP_READ_TIMEOUT", true);
  await nothingLeft(fixture);
});

test("a hundred failed updates leave nothing behind", async (t) => {
  const fixture = await createFixture(t, { image: null });
  fixture.server.on("/fw.bin", status(404));
  for (let i = 0; i < 100; i++) failsWith(await fixture.update(), "FAIL", true);
  await nothingLeft(fixture);
  touchesNothing(fixture);
  behaves(fixture);
});

test("the smallest image of all, and one with a ragged end, go through the same steps", async (t) => {
  for (const image of [buildImage({ size: MIN_SIZE, seed: 4 }), padTo(buildImage({ size: MIN_SIZE, seed: 4 }), 4099)]) {
    const run = await begun(t, { image });
    assert.equal(await performAll(run), Math.ceil(image.length / 4096));
    assert.equal(await run.fixture.device.engine.call(run.handle.finish()), OK);
    touchesOnly(run.fixture, ANY.touched);
    bootsNewImage(run.fixture, "ota_0");
  }
});
