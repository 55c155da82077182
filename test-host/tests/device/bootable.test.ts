// What a bootloader refuses, and what kills it, gets no select: load addresses, bootloaders, merged images, chip revisions.
// What only the bootloader can see is counted, and not installed at every start.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BOOTLOADERS, buildEntry, IDF33, STATE, verifyImage } from "../../sim/bootloader.ts";
import { SECTOR } from "../../sim/flash.ts";
import { buildBootloader, buildImage, layoutOf, mutations, reseal } from "../../support/images.ts";
import {
  behaves,
  bootsFrom,
  compactsNothing,
  failsCleanly,
  failsWith,
  type Outcome,
  plain,
  settle,
  succeeds,
} from "../../support/fixture.ts";
import { serveFile } from "../../support/server.ts";
import { digestOf, missing, published, type Signed, startSigned } from "../../support/signed.ts";

const KINDS = [...Object.values(BOOTLOADERS), IDF33];
const OLD = buildImage({ size: 12000, seed: 1 });
const IMAGE = buildImage({ size: 12000, seed: 2 });

const ok = (outcome: Pick<Outcome, "error" | "result">): any => {
  assert.ifError(outcome.error ? new Error(`${outcome.error.name}: ${outcome.error.message}`) : null);
  return outcome.result;
};
const statusOf = ({ fixture }: Signed): any => plain(fixture.device.ota.getStatus());

/** Every way to say who is trusted. */
const TRUSTS: Record<string, (signed: Signed, image: Uint8Array) => Promise<Outcome>> = {
  keys: (signed, image) => signed.update(image),
  digest: ({ fixture }, image) => fixture.update({ digest: digestOf(image) }),
  insecure: ({ fixture }) => fixture.update({ insecure: true }),
};

// --- Load addresses

/** How the bootloaders object, by their names. */
function objections(image: Uint8Array, fixture: Signed["fixture"]): string[] {
  const { flash, row, board } = fixture.device;
  flash.load(image, row("ota_0").offset);
  return KINDS.flatMap((kind) => {
    const verdict = verifyImage(flash, row("ota_0"), { chipId: board.chipId, kind });
    return verdict.ok ? [] : [`${kind.name}: ${verdict.reason}`];
  });
}

function withLoadAddress(image: Uint8Array, segment: number, change: (addr: number) => number): Uint8Array {
  const copy = image.slice();
  const view = new DataView(copy.buffer);
  const at = layoutOf(copy).segments[segment];
  view.setUint32(at, change(view.getUint32(at, true)) >>> 0, true);
  return reseal(copy);
}

for (const [board, chip, from] of [
  ["toy-factory-one", "esp32", "factory"],
  ["esp32c3", "esp32c3", "ota_1"],
  ["esp32s3", "esp32s3", "ota_1"],
] as const)
  test(`with a flipped bit in a load address the selected image starts, on ${chip}`, async (t) => {
    const image = buildImage({ chip, size: 12000, seed: 2 });
    const running = buildImage({ chip, size: 12000, seed: 1 });
    const signed = await startSigned(t, {
      board,
      images: { [from]: running },
      image: null,
      otadata: from === "ota_1" ? [buildEntry(2, STATE.VALID)] : undefined,
    });
    const { fixture } = signed;
    const { device } = fixture;
    assert.equal(device.running, from);
    const target = device.ota.getNextUpdatePartition();
    assert.equal(target.label, "ota_0");
    const count = { accepted: 0, refused: 0 };
    for (let segment = 0; segment < image[1]; segment++)
      for (let bit = 0; bit < 33; bit++) {
        const flipped = withLoadAddress(image, segment, (addr) => (bit < 32 ? addr ^ (1 << bit) : addr));
        const objection = objections(flipped, fixture);
        const { error } = await settle(device, device.ota.setBootPartition(target));
        const what = `segment ${segment}, bit ${bit}`;
        if (error) assert.equal(error.name, "ESP_ERR_OTA_VALIDATE_FAILED", what);
        else assert.deepEqual(objection, [], `${what} was selected`);
        if (bit === 32) assert.ifError(error ?? null);
        count[error ? "refused" : "accepted"]++;
      }
    assert.ok(count.refused > 80 && count.accepted >= image[1], JSON.stringify(count));
    behaves(fixture);
  });

const ADDRESSES = [
  ...["loadAddressBit22", "loadAddressBit31", "loadAddressBit0", "loadAddressNoRam"],
  ...["loadAddressStack", "loadAddressData", "loadAddressLoader"],
];
for (const [trust, update] of Object.entries(TRUSTS))
  test(`an image with a load address that no app can use is not selected, with ${trust}`, async (t) => {
    for (const name of ADDRESSES) {
      // sealed, so that nothing but the address can be the reason
      const image = reseal(mutations[name](IMAGE));
      const signed = await startSigned(t, { images: { factory: OLD }, image });
      const outcome = await update(signed, image);
      await failsCleanly(signed.fixture, outcome, "OTA_VALIDATE_FAILED", {
        says: /^segment at offset \d+ would be loaded at 0x[0-9a-f]+\+/,
        touched: ["ota_0", "otadata"],
      });
    }
  });

test("padding, which no bootloader loads, is not a reason to refuse", async (t) => {
  const image = mutations.loadAddressPadding(IMAGE);
  const signed = await startSigned(t, { images: { factory: OLD }, image });
  await succeeds(signed.fixture, await signed.update(image), "ota_0");
});

test("a target that holds an image with a bad load address already is not selected", async (t) => {
  const image = reseal(mutations.loadAddressBit22(IMAGE));
  const signed = await startSigned(t, { images: { factory: OLD, ota_0: image }, image });
  const outcome = await signed.update(image);
  await failsCleanly(signed.fixture, outcome, "OTA_VALIDATE_FAILED", { touched: ["ota_0", "otadata"] });
  const { device } = signed.fixture;
  const refused = await settle(device, device.ota.setBootPartition(device.ota.getNextUpdatePartition()));
  failsWith(refused, "OTA_VALIDATE_FAILED");
});

const FLIP = "cases/load-address-flip-336.bin";
for (const [trust, update] of Object.entries(TRUSTS))
  test(`the flipped load address that IDF 3.3.6 dies of is refused, with ${trust}`, {
    skip: missing(FLIP),
  }, async (t) => {
    const flash = published(FLIP);
    const deadly = flash.slice(0x20000, 0x20000 + layoutOf(flash.slice(0x20000)).end);
    const running = flash.slice(0x10000, 0x10000 + layoutOf(flash.slice(0x10000)).end);
    const options = { board: "toy-two", images: { ota_0: running }, bootloader: IDF33, image: deadly };
    const signed = await startSigned(t, options);
    const dies = verifyImage(signed.fixture.device.flash, signed.fixture.device.row("ota_0"), {
      chipId: 0,
      kind: IDF33,
    });
    assert.equal(dies.ok, true, "the image that runs does not start");
    const outcome = await update(signed, deadly);
    await failsCleanly(signed.fixture, outcome, "OTA_VALIDATE_FAILED", {
      says: /would be loaded at 0x3fbb0000/,
      touched: ["ota_1", "otadata"],
    });
  });

// --- No apps

/** The first bytes tell: nothing is erased, and the message names what it is. */
for (const [trust, update] of Object.entries(TRUSTS)) {
  test(`bootloaders and merged images are refused by name, at once, with ${trust}`, async (t) => {
    for (const image of [buildBootloader(), mutations.mergedImage(IMAGE), mutations.firstSegmentLoaded(IMAGE)]) {
      // a merged image is longer than a toy's slot
      const signed = await startSigned(t, { board: "esp32", images: { factory: OLD }, image });
      await failsCleanly(signed.fixture, await update(signed, image), "OTA_VALIDATE_FAILED", {
        says: /^not an app: .*bootloader.*merged image/,
      });
    }
  });

  test(`published bootloaders are refused by name, with ${trust}`, {
    skip: missing("cases/bootloader-esp32.bin"),
  }, async (t) => {
    for (const [chip, board, from] of [
      ["esp32", "toy-factory-one", "factory"],
      ["c3", "esp32c3", "ota_0"],
      ["s3", "esp32s3", "ota_0"],
    ]) {
      const image = published(`cases/bootloader-${chip}.bin`);
      const running = buildImage({ chip: (chip === "esp32" ? chip : `esp32${chip}`) as never, size: 12000, seed: 1 });
      const signed = await startSigned(t, { board, images: { [from]: running }, image });
      const claims = { chip: signed.fixture.device.board.chip };
      const outcome = trust === "keys" ? await signed.update(image, claims) : await update(signed, image);
      await failsCleanly(signed.fixture, outcome, "OTA_VALIDATE_FAILED", {
        says: /^not an app: .*bootloader.*merged image/,
      });
    }
  });
}

test("an image of the whole flash is refused by name before the first erase", async (t) => {
  const image = new Uint8Array(0x9000).fill(0xff);
  image.set(buildBootloader(), 0x1000);
  const signed = await startSigned(t, { images: { factory: OLD }, image });
  const says = /image of the whole flash/;
  await failsCleanly(signed.fixture, await signed.update(image), "OTA_VALIDATE_FAILED", { says });
});

// --- min_chip_rev

for (const [trust, update] of Object.entries(TRUSTS))
  test(`min_chip_rev above the chip's is refused before the first erase, with ${trust}`, async (t) => {
    for (const [revision, minChipRev, refused] of [
      [300, 4, true],
      [300, 3, false],
      [301, 3, false],
      [100, 2, true],
      [100, 1, false],
      [0, 1, true],
      [0, 0, false],
    ] as const) {
      const image = buildImage({ size: 12000, seed: 2, minChipRev });
      const signed = await startSigned(t, { images: { factory: OLD }, image, revision, bootloader: IDF33 });
      const outcome = await update(signed, image);
      const says = new RegExp(`chip revision ${minChipRev} and later \\(min_chip_rev\\)`);
      if (refused) await failsCleanly(signed.fixture, outcome, "INVALID_VERSION", { says });
      else await succeeds(signed.fixture, outcome, "ota_0");
    }
  });

// --- What only the bootloader sees

/** The checksum holds, the hash does not: the device, which has the digest of just these bytes, takes it for good. */
const BROKEN = mutations.flipBitPair(IMAGE);

/** One start of a device that asks for an update each time. */
async function startOnce(signed: Signed, update: (signed: Signed) => Promise<Outcome>): Promise<Outcome> {
  const outcome = await update(signed);
  signed.fixture.device.restart();
  return outcome;
}

for (const trust of ["keys", "digest"])
  test(`an image that the bootloader refuses is installed three times, with ${trust}`, async (t) => {
    const signed = await startSigned(t, { images: { factory: OLD }, image: BROKEN });
    const { fixture } = signed;
    const { device } = fixture;
    const update = (one: Signed) => TRUSTS[trust](one, BROKEN);
    for (let n = 1; n <= 3; n++) {
      ok(await startOnce(signed, update));
      assert.equal(device.running, "factory");
      assert.equal(device.boots.at(-1)?.fellBack, true);
      const { differs, boot } = statusOf(signed);
      assert.equal(boot, "ota_0");
      assert.match(
        differs,
        n === 1 ? /^the bootloader refused slot ota_0$/ : new RegExp(`ota_0, ${n - 1} times before`),
      );
    }
    for (let n = 0; n < 3; n++) {
      const mark = device.flash.counts.erases;
      const { error } = await startOnce(signed, update);
      assert.equal(error?.name, "ESP_ERR_NOT_ALLOWED");
      assert.match(error?.message ?? "", /its bootloader refused it/);
      assert.equal(device.flash.counts.erases, mark, "the target was erased");
      assert.equal(device.running, "factory");
      assert.deepEqual(statusOf(signed).rolledBack, [digestOf(BROKEN)]);
    }
    ok(await signed.update(IMAGE));
    device.restart();
    assert.equal(device.running, "ota_0");
    compactsNothing(fixture);
    behaves(fixture);
  });

test("an image that the bootloader refuses is installed three times, with insecure", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD }, image: BROKEN });
  let installed = 0;
  for (let n = 0; n < 6; n++) if (!(await startOnce(signed, (one) => TRUSTS.insecure(one, BROKEN))).error) installed++;
  assert.equal(installed, 3);
});

test("several updates within one start count as one refusal", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD }, image: BROKEN });
  ok(await startOnce(signed, (one) => one.update(BROKEN)));
  for (let n = 0; n < 4; n++) assert.equal(ok(await signed.update(BROKEN)).partition.label, "ota_0", `update ${n}`);
  signed.fixture.device.restart();
  ok(await signed.update(BROKEN));
});

test("updates that fail on their way do not count a refusal once more", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD }, image: BROKEN });
  const { fixture } = signed;
  ok(await startOnce(signed, (one) => one.update(BROKEN)));
  for (let n = 0; n < 4; n++) failsWith(await fixture.update({ url: fixture.server.url("/nothing") }), "FAIL", true);
  ok(await signed.update(BROKEN));
  assert.deepEqual(statusOf(signed).rolledBack, []);
});

for (const trust of ["keys", "digest"])
  test(`an update that was not restarted into does not count as refused, with ${trust}`, async (t) => {
    const signed = await startSigned(t, { images: { factory: OLD }, image: IMAGE });
    const { device } = signed.fixture;
    for (let n = 0; n < 5; n++) {
      ok(await TRUSTS[trust](signed, IMAGE));
      assert.match(statusOf(signed).differs, /not restarted into/);
    }
    device.restart();
    assert.equal(device.running, "ota_0");
    const { rolledBack, trial } = statusOf(signed);
    assert.deepEqual([rolledBack, trial], [[], { boots: 0, previous: "factory" }]);
  });

test("an image whose flash went bad is counted, and getStatus says what is wrong", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD }, image: IMAGE });
  const { device } = signed.fixture;
  for (let n = 1; n <= 3; n++) {
    ok(await signed.update(IMAGE));
    device.flash.load(new Uint8Array(SECTOR).fill(0xff), device.row("ota_0").offset);
    device.restart();
    assert.equal(device.running, "factory");
    assert.match(statusOf(signed).differs, /^slot ota_0 can't start: /);
  }
  assert.equal((await signed.update(IMAGE)).error?.name, "ESP_ERR_NOT_ALLOWED");
});

test("another image starts the count again", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD }, image: BROKEN });
  const { device } = signed.fixture;
  for (let n = 0; n < 2; n++) ok(await startOnce(signed, (one) => one.update(BROKEN)));
  const other = mutations.flipBitPair(buildImage({ size: 12000, seed: 5 }));
  ok(await startOnce(signed, (one) => one.update(other)));
  ok(await startOnce(signed, (one) => one.update(other)));
  assert.deepEqual(statusOf(signed).rolledBack, []);
  ok(await startOnce(signed, (one) => one.update(other)));
  assert.equal((await signed.update(other)).error?.name, "ESP_ERR_NOT_ALLOWED");
  assert.equal(device.running, "factory");
});

test("an image that a bootloader with rollback gave up three times is refused", async (t) => {
  const images = { ota_0: OLD };
  const otadata = [buildEntry(1, STATE.VALID)];
  const options = { board: "toy-two", images, otadata, bootloader: BOOTLOADERS.rollback, image: IMAGE };
  const signed = await startSigned(t, options);
  const { device } = signed.fixture;
  for (let n = 0; n < 3; n++) {
    ok(await signed.update(IMAGE));
    device.restart();
    assert.equal(device.running, "ota_1");
    device.restart();
    assert.equal(device.running, "ota_0", "the bootloader did not give it up");
  }
  assert.equal((await signed.update(IMAGE)).error?.name, "ESP_ERR_NOT_ALLOWED");
  const good = buildImage({ size: 12000, seed: 6 });
  ok(await signed.update(good));
  device.restart();
  device.ota.markValid();
  for (let n = 0; n < 5; n++) device.restart();
  assert.equal(device.running, "ota_1");
});

test("whatever the bootloader, what it refuses leaves the running image running", async (t) => {
  for (const bootloader of KINDS) {
    const signed = await startSigned(t, { images: { factory: OLD }, image: BROKEN, bootloader });
    const { device } = signed.fixture;
    signed.fixture.server.on("/broken.bin", serveFile(BROKEN));
    for (let n = 0; n < 5; n++) await startOnce(signed, (one) => one.update(BROKEN));
    assert.equal(device.running, "factory", bootloader.name);
    assert.equal(bootsFrom(device, device.flash.snapshot(), bootloader), "factory");
  }
});
