// Which bootloader a device has, and what follows from it (docs/formats.md#bootloader). Generated bootloaders; and the
// published ones where they are, for the CRCs that the module knows.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { BOOTLOADERS, buildEntry, STATE } from "../../sim/bootloader.ts";
import { buildBootloader, buildImage, mutations } from "../../support/images.ts";
import {
  behaves,
  bootsFrom,
  entries,
  failsWith,
  type Fixture,
  type FixtureOptions,
  IDF,
  plain,
  createFixture,
  touchesNothing,
} from "../../support/fixture.ts";
import { missing, published } from "../../support/signed.ts";

const UNKNOWN = { version: 0, secureVersion: 0, idfVer: "", dateTime: "" };

/** A device with `bootloader` in its flash: at 0x1000, on other chips than the classic ESP32 at 0. */
async function withBootloader(t: TestContext, bootloader: Uint8Array, more: FixtureOptions = {}): Promise<Fixture> {
  const fixture = await createFixture(t, more);
  fixture.device.flash.load(bootloader, fixture.device.board.bootloaderOffset);
  fixture.remember();
  return fixture;
}

/** JSON leaves out what is undefined. */
const describe = ({ device }: Fixture): any => plain(device.ota.getBootloaderDescription());

// --- What it says ----------------------------------------------------------------------------------------------------

for (const board of ["esp32", "esp32c3", "esp32s3"])
  test(`the descriptor of a bootloader of IDF 5.2 and later is read, on ${board}`, async (t) => {
    const chip = board as "esp32" | "esp32c3" | "esp32s3";
    const bytes = buildBootloader(chip, 1, {
      idfVer: "v5.5.1-dirty",
      dateTime: "Jul  1 2026 12:00:00",
      version: 0x01020304,
      secureVersion: 7,
    });
    const images = { [board === "esp32" ? "factory" : "ota_0"]: buildImage({ chip, size: 12000, seed: 1 }) };
    const fixture = await withBootloader(t, bytes, { board, images });
    assert.deepEqual(describe(fixture), {
      version: 0x01020304,
      secureVersion: 7,
      idfVer: "v5.5.1-dirty",
      dateTime: "Jul  1 2026 12:00:00",
      states: true,
    });
    assert.equal(fixture.device.ota.getBootloaderDescription().rollback, undefined, "no descriptor says so");
    touchesNothing(fixture);
  });

for (const [what, descriptor] of [
  ["no descriptor", undefined],
  ["another byte where the magic byte is", { magic: 81 }],
  ["the magic byte by chance: what is reserved is not 0", { reserved: 0x6e }],
  ["the magic byte by chance: no version of IDF", { idfVer: "" }],
  ["the magic byte by chance: a text without end", { idfVer: "v".repeat(32) }],
] as const)
  test(`a bootloader with ${what} is unknown`, async (t) => {
    const fixture = await withBootloader(t, buildBootloader("esp32", 1, descriptor));
    assert.deepEqual(describe(fixture), UNKNOWN);
  });

for (const chip of ["esp32c3", "esp32s3"] as const)
  test(`a bootloader for the ${chip} obeys states: IDF has no older ones`, async (t) => {
    const images = { ota_0: buildImage({ chip, size: 12000, seed: 1 }) };
    const fixture = await withBootloader(t, buildBootloader(chip), { board: chip, images });
    assert.deepEqual(describe(fixture), { ...UNKNOWN, states: true });
  });

test("without a bootloader it is ESP_ERR_NOT_FOUND, with the place", async (t) => {
  const { device } = await createFixture(t);
  assert.throws(
    () => device.ota.getBootloaderDescription(),
    (error: any) => error.code === IDF.NOT_FOUND && /no bootloader at 0x1000, found 0xff/.test(error.message),
  );
});

test("a bootloader whose segments reach into the partition table is unknown", async (t) => {
  const bytes = buildBootloader();
  new DataView(bytes.buffer).setUint32(28, 0x7fffffff, true);
  bytes[1] = 16;
  const fixture = await withBootloader(t, bytes);
  assert.deepEqual(describe(fixture), UNKNOWN);
});

// --- Published ones --------------------------------------------------------------------------------------------------

const CLASSIC = "cases/bootloader-esp32.bin";
const IDF_3_3_6 = { ...UNKNOWN, idfVer: "v3.3.6", states: true, rollback: false };
const IDF_3_1_3 = { ...UNKNOWN, idfVer: "v3.1.3", states: false, rollback: false };

test("the bootloader of classic builds since 2v22 is known, with any esptool header", {
  skip: missing(CLASSIC),
}, async (t) => {
  const bytes = published(CLASSIC);
  for (const flashParameters of [0x20, 0x2f, 0x30]) {
    bytes[2] = flashParameters & 3;
    bytes[3] = flashParameters;
    bytes.fill(flashParameters, bytes.length - 32); // its SHA-256, which esptool computes again, or leaves
    assert.deepEqual(describe(await withBootloader(t, bytes)), IDF_3_3_6);
  }
});

test("the same with one bit changed is unknown, whichever", { skip: missing(CLASSIC) }, async (t) => {
  for (const at of [24, 28, 1047, 1048, 9000, 18991]) {
    const bytes = published(CLASSIC);
    bytes[at] ^= 1;
    const fixture = await withBootloader(t, bytes);
    assert.deepEqual(describe(fixture), UNKNOWN, `byte ${at}`);
  }
});

const OLDER = "cases/bootloader-2v04-esp32.bin";
test("the bootloader of classic builds of 2020 is known, and that it ignores states", {
  skip: missing(OLDER),
}, async (t) => {
  assert.deepEqual(describe(await withBootloader(t, published(OLDER))), IDF_3_1_3);
});

// --- What follows ----------------------------------------------------------------------------------------------------

/**
 * The slot that otadata selects, ota_0, is broken; so the bootloader has fallen back to ota_1, whose entry is newer and
 * marked INVALID. A bootloader of IDF 3.1 would run ota_1 too: it obeys the newest entry.
 */
const FALLEN_BACK: FixtureOptions = {
  board: "toy-factory-two",
  images: {
    ota_0: mutations.flipPayloadBit(buildImage({ size: 12000, seed: 3 })),
    ota_1: buildImage({ size: 12000, seed: 1 }),
  },
  otadata: [buildEntry(1, STATE.VALID), buildEntry(2, STATE.INVALID)],
  image: buildImage({ size: 12000, seed: 2 }),
};

test("a bootloader that obeys states has fallen back: otadata selects the broken slot", async (t) => {
  const fixture = await withBootloader(t, buildBootloader("esp32", 1, {}), FALLEN_BACK);
  const { device } = fixture;
  assert.equal(device.running, "ota_1");
  assert.equal(device.ota.getBootPartition().label, "ota_0");
  assert.match(device.ota.getStatus().differs, /slot ota_0|refused/);
});

test("fallen back to an entry marked bad: a valid entry is there at every operation", async (t) => {
  const fixture = await withBootloader(t, buildBootloader("esp32", 1, {}), FALLEN_BACK);
  const { device } = fixture;
  const kept: boolean[] = [];
  const starts: (string | null)[] = [];
  device.flash.onOp = (_op, phase) => {
    if (phase !== "after") return;
    kept.push(entries(device).some((one) => one.crcOk && one.state !== STATE.INVALID));
    starts.push(bootsFrom(device, device.flash.snapshot()));
  };
  assert.ifError((await fixture.update()).error);
  device.flash.onOp = null;
  assert.ok(kept.length > 10 && kept.every(Boolean), "otadata named no slot for a moment");
  assert.deepEqual([...new Set(starts)], ["ota_1", "ota_0"], "first the old image, then the new one");
  behaves(fixture);
  device.restart();
  assert.equal(device.running, "ota_0");
});

test("with an unknown bootloader the same state is taken for one of IDF 3.1", async (t) => {
  const fixture = await withBootloader(t, buildBootloader(), FALLEN_BACK);
  assert.equal(fixture.device.ota.getBootPartition().label, "ota_1");
  assert.ifError((await fixture.update()).error);
});

test("under a bootloader of IDF 3.1 the newest entry counts, whatever its state", async (t) => {
  const fixture = await withBootloader(t, buildBootloader(), {
    board: "toy-two",
    bootloader: BOOTLOADERS.idf3,
    images: { ota_0: buildImage({ size: 12000, seed: 3 }), ota_1: buildImage({ size: 12000, seed: 1 }) },
    otadata: [buildEntry(1, STATE.VALID), buildEntry(2, STATE.INVALID)],
  });
  const { device } = fixture;
  assert.equal(device.running, "ota_1");
  assert.equal(device.ota.getBootPartition().label, "ota_1");
});

test("an image that would kill a bootloader of IDF 3 is refused under any other too", async (t) => {
  // no published app has such an address, so nothing is lost; and a wrong guess costs the device
  const image = mutations.loadAddressNoRam(buildImage({ size: 12000, seed: 2 }));
  const fixture = await withBootloader(t, buildBootloader("esp32", 1, { idfVer: "v6.0.2" }), { image });
  failsWith(await fixture.update(), "OTA_VALIDATE_FAILED");
});
