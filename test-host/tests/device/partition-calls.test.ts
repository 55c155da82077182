// esp_ota_ops.h beyond the update itself: the description of a slot's image, where the next update goes, whether a
// rollback is possible, and a rollback without a restart. What IDF refuses is refused with IDF's code.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type BootloaderKind, BOOTLOADERS, buildEntry, STATE } from "../../sim/bootloader.ts";
import { fsverity } from "../../support/fsverity.ts";
import { buildImage, mutations } from "../../support/images.ts";
import {
  behaves,
  boardWith,
  failsWith,
  type Fixture,
  type IdfName,
  IDF,
  newImage,
  oldImage,
  plain,
  row,
  settle,
  createFixture,
  touchesNothing,
  unfinished,
} from "../../support/fixture.ts";

const throws = (name: IdfName, says: RegExp, call: () => unknown): void =>
  assert.throws(call, (error: any) => {
    assert.equal(error.code, IDF[name], error.message);
    assert.match(error.message, says);
    assert.equal(error.retry, false);
    return true;
  });

const label = (partition: any): string => partition.label;

// --- getDescription ------------------------------------------------------------------------------------------------

test("getDescription gives the descriptor of any slot's image, by partition or label", async (t) => {
  const fixture = await createFixture(t, { load: { ota_0: newImage("esp32", 5) } });
  const { ota } = fixture.device;
  const desc = plain(ota.getDescription("ota_0"));
  assert.deepEqual(plain(ota.getDescription(ota.findPartition("ota_0"))), desc);
  assert.equal(desc.version, "2.0.5");
  assert.equal(plain(ota.getDescription("factory")).version, "1.0.0", "and of the running one");
  touchesNothing(fixture);
});

test("getDescription and handle.getImgDesc() give the same of the same image", async (t) => {
  const fixture = await createFixture(t);
  const { device } = fixture;
  const begun = await device.engine.call(device.ota.begin(fixture.config()));
  const offered = plain((begun as any).getImgDesc());
  (begun as any).abort();
  assert.ifError((await fixture.update()).error);
  const installed = plain(device.ota.getDescription("ota_0"));
  assert.deepEqual(installed, offered);
  const fields = ["secureVersion", "version", "projectName", "time", "date", "idfVer", "appElfSha256"];
  assert.deepEqual(Object.keys(installed), fields);
});

test("getDescription works on a table without otadata", async (t) => {
  const rows = [row("nvs", 1, 2, 0x9000, 0x3000), row("factory", 0, 0, 0x10000, 0x10000)];
  const { device } = await createFixture(t, { board: boardWith(rows), images: { factory: oldImage() } });
  assert.equal(device.ota.getDescription("factory").version, "1.0.1");
});

for (const [what, slot] of [
  ["a blank slot", undefined],
  ["an image without descriptor", buildImage({ size: 12000, descriptor: false })],
  ["an image that was not written to its end", unfinished(newImage())],
  ["a descriptor whose magic word is wrong", mutations.descriptorMagic(newImage())],
] as const)
  test(`getDescription of ${what} is ESP_ERR_NOT_FOUND`, async (t) => {
    const { device } = await createFixture(t, { load: slot ? { ota_0: slot } : {} });
    throws("NOT_FOUND", /no app descriptor in ota_0: expected a whole image/, () => device.ota.getDescription("ota_0"));
  });

test("getDescription refuses what IDF refuses, with its code", async (t) => {
  const { device } = await createFixture(t);
  for (const given of [undefined, null, 7, {}])
    throws("INVALID_ARG", /a partition or its label/, () => device.ota.getDescription(given));
  throws("NOT_SUPPORTED", /otadata is not for an app/, () => device.ota.getDescription("otadata"));
  throws("NOT_FOUND", /no partition ota_7/, () => device.ota.getDescription("ota_7"));
  const moved = { ...plain(device.ota.findPartition("ota_0")), address: 0x90000 };
  throws("NOT_FOUND", /no partition ota_0/, () => device.ota.getDescription(moved));
});

// --- getNextUpdatePartition(from) ----------------------------------------------------------------------------------

test("getNextUpdatePartition(from) takes the slot for the running one, as start_from", async (t) => {
  const { device } = await createFixture(t, { board: "toy-three" });
  const { ota } = device;
  const after = (from?: unknown): string => label(ota.getNextUpdatePartition(from));
  assert.deepEqual(["ota_0", "ota_1", "ota_2"].map(after), ["ota_1", "ota_2", "ota_0"]);
  assert.equal(after(ota.findPartition("ota_1")), "ota_2");
  assert.deepEqual([after(), after(null)], ["ota_1", "ota_1"], "NULL is the running one");
});

test("getNextUpdatePartition(from) of factory, and with factory as the other slot", async (t) => {
  const { device } = await createFixture(t);
  assert.equal(label(device.ota.getNextUpdatePartition("factory")), "ota_0");
  assert.equal(label(device.ota.getNextUpdatePartition("ota_0")), "factory");
});

test("getNextUpdatePartition(from) refuses what is not a slot", async (t) => {
  const { device } = await createFixture(t);
  for (const from of ["nvs", "ota_7", {}, 3])
    throws("NOT_FOUND", /no slot/, () => device.ota.getNextUpdatePartition(from));
});

// --- canRollback ---------------------------------------------------------------------------------------------------

for (const [what, slot, possible] of [
  ["a whole image", newImage(), true],
  ["nothing", undefined, false],
  ["an image that was not written to its end", unfinished(newImage()), false],
  ["the first half of an image", newImage().subarray(0, 30000), false],
  ["an image of another chip", newImage("esp32c3"), false],
] as const)
  test(`canRollback is ${possible} while the other slot holds ${what}, and rollback() agrees`, async (t) => {
    const fixture = await createFixture(t, { load: slot ? { ota_0: slot } : {} });
    const { device } = fixture;
    assert.equal(device.ota.canRollback(), possible);
    touchesNothing(fixture);
    const outcome = await settle(device, device.ota.rollback({ restart: false }));
    if (possible) assert.equal(outcome.result, IDF.OK);
    else failsWith(outcome, "OTA_ROLLBACK_FAILED");
  });

test("canRollback does not read the checksum, which rollback() does", async (t) => {
  const fixture = await createFixture(t, { load: { ota_0: mutations.checksum(newImage()) } });
  const { device } = fixture;
  assert.equal(device.ota.canRollback(), true);
  failsWith(await settle(device, device.ota.rollback({ restart: false })), "OTA_ROLLBACK_FAILED");
});

test("canRollback is false, and no error, where the table allows no update", async (t) => {
  const rows = [row("otadata", 1, 0, 0xc000, 0x2000), row("factory", 0, 0, 0x10000, 0x10000)];
  const { device } = await createFixture(t, { board: boardWith(rows), images: { factory: oldImage() } });
  assert.equal(device.ota.canRollback(), false);
});

test("canRollback gives no answer when the flash cannot be read for want of memory", async (t) => {
  const { device } = await createFixture(t, { load: { ota_0: newImage() } });
  device.engine.run(`
    var flash = require("Flash"), read = flash.read, reads = 0;
    flash.read = function (length, addr) { return addr >= 0x20000 ? undefined : read(length, addr); };`);
  assert.throws(
    () => device.ota.canRollback(),
    (error: any) => error.code === IDF.NO_MEM && error.retry,
  );
});

// --- rollback({ restart: false }) ----------------------------------------------------------------------------------

/** A device whose update was installed and started. `rollback`: by a bootloader that has it, which begins a trial. */
async function updated(t: TestContext, bootloader: BootloaderKind = BOOTLOADERS.current): Promise<Fixture> {
  const fixture = await createFixture(t, { bootloader });
  const digest = `fsverity-sha256:${fsverity(fixture.image)}`;
  assert.ifError((await fixture.update({ digest })).error);
  fixture.device.restart();
  assert.equal(fixture.device.running, "ota_0");
  fixture.remember();
  return fixture;
}

for (const kind of [BOOTLOADERS.current, BOOTLOADERS.rollback, BOOTLOADERS.idf3])
  test(`rollback({ restart: false }) does all but the restart (${kind.name})`, async (t) => {
    const fixture = await updated(t, kind);
    const { device } = fixture;
    const outcome = await settle(device, device.ota.rollback({ restart: false }));
    assert.deepEqual(outcome, { result: IDF.OK });
    await device.engine.advance(5000);
    assert.equal(device.rebootAsked, false);
    assert.equal(label(device.ota.getRunningPartition()), "ota_0");
    assert.equal(label(device.ota.getBootPartition()), "factory");
    const status = plain(device.ota.getStatus());
    assert.equal(status.rolledBack.length, 1);
    assert.equal(status.rollbackReason, "rollback() was called");
    assert.match(status.differs, /^slot factory was selected, and not restarted into since$/);
    device.restart();
    assert.equal(device.running, "factory");
    failsWith(await fixture.update({ digest: status.rolledBack[0] }), "NOT_ALLOWED");
    behaves(fixture);
  });

test("after rollback({ restart: false }) no update overwrites the next slot to start", async (t) => {
  const fixture = await updated(t);
  const { device } = fixture;
  assert.ifError((await settle(device, device.ota.rollback({ restart: false }))).error);
  fixture.remember();
  const error = failsWith(await fixture.update(), "OTA_ROLLBACK_INVALID_STATE");
  assert.match(error.message, /rolled back: restart/);
  touchesNothing(fixture);
  device.restart();
  assert.equal(device.running, "factory");
  assert.ifError((await fixture.update({ allowRolledBack: true })).error);
});

test("confirmAfter() decides nothing after a rollback without a restart", async (t) => {
  const fixture = await updated(t);
  const { device } = fixture;
  const program = device.engine.run("(function (ota) { return ota.confirmAfter(100, function () { return true; }); })");
  const decided = (program as any)(device.ota);
  assert.ifError((await settle(device, device.ota.rollback({ restart: false }))).error);
  await device.engine.advance(500);
  await settle(device, decided);
  assert.equal(label(device.ota.getBootPartition()), "factory");
  device.restart();
  assert.equal(device.running, "factory");
});

// what a promise or a pin hands to a function must not keep the device from its rescue
for (const options of [
  undefined,
  null,
  false,
  {},
  { restart: true },
  { restart: 0 },
  { time: 1, state: false },
  new Error("x"),
])
  test(`rollback(${options instanceof Error ? "an error" : JSON.stringify(options)}) restarts`, async (t) => {
    const { device } = await createFixture(t, { load: { ota_0: newImage() } });
    await settle(device, device.ota.rollback(options)).catch(() => {});
    assert.equal(device.rebootAsked, true);
    device.restart();
    assert.equal(device.running, "ota_0");
  });

test("rollback({ restart: false }) leaves the running slot's entry INVALID", async (t) => {
  const fixture = await createFixture(t, {
    board: "toy-two",
    images: { ota_0: oldImage(), ota_1: newImage() },
    otadata: [buildEntry(1, STATE.VALID), null],
  });
  const { device } = fixture;
  assert.ifError((await settle(device, device.ota.rollback({ restart: false }))).error);
  assert.equal(device.ota.getState("ota_0"), STATE.INVALID);
  assert.equal(label(device.ota.getLastInvalidPartition()), "ota_0");
  assert.equal(label(device.ota.getBootPartition()), "ota_1");
});
