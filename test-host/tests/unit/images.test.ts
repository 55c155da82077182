import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { BOOTLOADERS, type BootloaderKind, IDF33, type VerifyOptions, verifyImage } from "../../sim/bootloader.ts";
import { createFlash } from "../../sim/flash.ts";
import {
  bootsAnyway,
  buildImage,
  CLASSIC_DESCRIPTOR,
  type ImageSpec,
  layoutOf,
  MIN_SIZE,
  mutations,
  noise,
  padTo,
  reseal,
} from "../../support/images.ts";
import type { Row } from "../../sim/partitions.ts";
import { part } from "../../support/share.ts";

const FLASH = 4 << 20;
const CHIP_IDS = { esp32: 0, esp32s2: 2, esp32c3: 5, esp32s3: 9, esp32c2: 12, esp32c6: 13 };
const slotAt = (offset: number, size: number): Row => ({ label: "slot", type: 0, subtype: 16, offset, size, flags: 0 });

function verify(image: Uint8Array, options: VerifyOptions, offset = 0x10000, size = 0x180000) {
  const flash = createFlash({ size: FLASH });
  flash.load(image, offset);
  const verdict = verifyImage(flash, slotAt(offset, size), options);
  assert.equal(flash.violations.length, 0, "the bootloader stays inside the chip");
  return verdict;
}

const accepted = (image: Uint8Array, options: VerifyOptions, offset?: number, size?: number) => {
  const verdict = verify(image, options, offset, size);
  assert.ok(verdict.ok, verdict.ok ? "" : verdict.reason);
  return verdict.image;
};

test("every chip's image passes at any 64 KB aligned slot, described as asked for", () => {
  for (const [chip, chipId] of Object.entries(CHIP_IDS)) {
    const image = buildImage({ chip: chip as ImageSpec["chip"], descriptor: { project: "thing", version: "2.3.4" } });
    for (const offset of [0x10000, 0x20000, 0x190000]) {
      const info = accepted(image, { chipId }, offset);
      assert.deepEqual([info.length, info.project, info.version], [image.length, "thing", "2.3.4"]);
      assert.deepEqual([info.chipId, info.hashAppended, info.segments.length], [chipId, true, 5]);
    }
  }
});

test("an image at a slot that is not 64 KB aligned is refused by the page rule", () => {
  const verdict = verify(buildImage(), { chipId: 0 }, 0x11000);
  assert.match(verdict.ok ? "" : verdict.reason, /Segment 0 load address 0x3f400020, doesn't match data 0x00011020/);
});

test("every multiple of 16 from MIN_SIZE on is a size, with hash or without", () => {
  for (let size = MIN_SIZE; size < MIN_SIZE + 80; size += 16) {
    for (const seed of [1, 2, 3, 4]) {
      for (const segments of [1, 2, 3, 5, 16]) {
        for (const hash of [true, false]) {
          const image = buildImage({ size, seed, segments, hash });
          assert.equal(image.length, size);
          assert.equal(accepted(image, { chipId: 0 }).length, size);
        }
      }
    }
  }
  for (const size of [1395040, 0x180000]) assert.equal(accepted(buildImage({ size }), { chipId: 0 }).length, size);
});

const KINDS: BootloaderKind[] = [...Object.values(BOOTLOADERS), IDF33];

test("images of any size up to a slot of 2 MB are ones that every bootloader starts", (t) => {
  const all = [MIN_SIZE, 61008, 491536, 1344128, 1415568, 0x180000, 0x200000];
  const sizes = part(t, all, 3, "sizes of images that bootloaders start");
  for (const [chip, chipId] of Object.entries(CHIP_IDS)) {
    for (const size of sizes) {
      for (const segments of [1, 2, 3, 4, 5, 16]) {
        const image = buildImage({ chip: chip as ImageSpec["chip"], size, segments });
        for (const kind of KINDS) {
          const info = accepted(image, { chipId, kind }, 0x10000, 0x200000);
          assert.equal(info.length, size, `${chip} ${size} ${segments}`);
        }
      }
    }
  }
});

test("data and code of any image are loaded apart, 64 KB of each at most", () => {
  for (const size of [0x180000, 0x200000]) {
    for (const segments of [5, 16]) {
      const { segments: all } = accepted(buildImage({ chip: "esp32c3", size, segments }), { chipId: 5 }, 0x10000, size);
      const sum = (from: number) =>
        all.filter((one) => one.loadAddr >>> 24 === from).reduce((bytes, one) => bytes + one.length, 0);
      // code at 0x40380000 and data at 0x3fc90000 are 64 KB apart in the same memory
      for (const bus of [0x3f, 0x40]) assert.ok(sum(bus) >= 0x8000 && sum(bus) <= 0x10000, `${sum(bus)} bytes`);
      assert.equal(
        sum(0x3c) + sum(0x42) + sum(0x3f) + sum(0x40),
        all.reduce((bytes, one) => bytes + one.length, 0),
      );
    }
  }
});

test("every possible length of padding before the checksum occurs", () => {
  const paddings = [0, 1, 2, 3].map((seed) => {
    const image = buildImage({ size: 2048, seed });
    const { segments, checksum } = layoutOf(image);
    const last = segments[segments.length - 1];
    return checksum - (last + 8 + new DataView(image.buffer).getUint32(last + 4, true));
  });
  assert.deepEqual(paddings, [3, 7, 11, 15]);
});

test("impossible sizes are refused, padTo makes any", () => {
  assert.throws(() => buildImage({ size: MIN_SIZE - 16 }), RangeError);
  assert.throws(() => buildImage({ size: MIN_SIZE + 1 }), RangeError);
  const image = padTo(buildImage({ size: 2000 }), 2001);
  assert.equal(image.length, 2001);
  assert.equal(accepted(image, { chipId: 0 }).length, 2000);
});

test("trailing bytes are appended and ignored", () => {
  const image = buildImage({ size: 2000, trailing: Uint8Array.of(1, 2, 3) });
  assert.deepEqual([image.length, ...image.subarray(2000)], [2003, 1, 2, 3]);
  assert.equal(accepted(image, { chipId: 0 }).length, 2000);
});

test("an image is the same for the same seed and another for another", () => {
  assert.deepEqual(buildImage({ seed: 7 }), buildImage({ seed: 7 }));
  assert.notDeepEqual(buildImage({ seed: 7 }), buildImage({ seed: 8 }));
});

test("images without descriptor begin alike for alikeBytes and then differ", () => {
  const [a, b] = [1, 2].map((seed) => buildImage({ seed, descriptor: false, alikeBytes: 2000 }));
  assert.deepEqual(a.subarray(32, 2032), b.subarray(32, 2032));
  assert.notDeepEqual(a.subarray(2032, 2096), b.subarray(2032, 2096));
  assert.equal(accepted(a, { chipId: 0 }).version, undefined);
});

test("an image fits a slot of exactly its size and no smaller one", () => {
  const image = buildImage({ size: 8192 });
  accepted(image, { chipId: 0 }, 0x10000, 8192);
  const verdict = verify(image, { chipId: 0 }, 0x10000, 8191);
  assert.match(verdict.ok ? "" : verdict.reason, /Image length 8192 doesn't fit in partition length 8191/);
});

test("an image that runs past the end of the chip is refused", () => {
  const flash = createFlash({ size: 0x20000 });
  flash.load(mutations.segmentTooLong(buildImage({ size: 0x8000 })), 0x10000);
  const verdict = verifyImage(flash, slotAt(0x10000, 0x10000), { chipId: 0 });
  assert.match(verdict.ok ? "" : verdict.reason, /bootloader_mmap\(0x\w+, 0x\w+\) failed/);
  assert.equal(flash.violations.length, 0);
});

const REASONS: Record<string, RegExp> = {
  magic: /invalid magic byte/,
  firstByteZero: /invalid magic byte/,
  segmentCount17: /segment count 17 exceeds max 16/,
  chipId: /mismatch chip ID, expected 0, found 5/,
  chipIdByte13Fe: /mismatch chip ID, expected 0, found 65024/,
  minRevision: /Required >= v99\.99/,
  maxRevision: /Required <= v0\.1/,
  loadAddressBit22: /Segment 2 0x3fbb0000-0x\w+ invalid: bad load address range/,
  loadAddressBit31: /Segment 2 0xbffb0000-0x\w+ invalid: bad load address range/,
  loadAddressBit0: /Fatal exception: segment 3, excvaddr=0x40080001/,
  loadAddressNoRam: /Segment 2 0x20000000-0x\w+ invalid: bad load address range/,
  loadAddressStack: /Segment 2 0x3ffdbc00-0x\w+ invalid: overlaps bootloader stack/,
  loadAddressData: /Segment 2 0x3fff0000-0x\w+ invalid: overlaps bootloader data/,
  loadAddressLoader: /Segment 3 0x40078000-0x\w+ invalid: bad load address range/,
  firstSegmentLoaded: /Segment 0 0x3fff0018-0x\w+ invalid: overlaps bootloader data/,
  mergedImage: /Segment 0 0x3fff0018-0x\w+ invalid: overlaps bootloader data/,
  segmentLengthOdd: /invalid segment length/,
  segmentLengthHuge: /invalid segment length 0xfffffff0/,
  mappedLoadAddress: /Segment 0 load address/,
  headerSpiModeUnsealed: /Image hash failed/,
  flipPayloadBit: /Checksum failed/,
  flipBitPair: /Image hash failed/,
  checksum: /Checksum failed/,
  hash: /Image hash failed/,
  truncateHash: /Image hash failed/,
  truncateLastByte: /Image hash failed/,
};

test("the bootloader refuses each mutation that it must, for its own reason", () => {
  for (const spec of [{}, { size: 8192, seed: 5 }, { descriptor: false, seed: 6 } as const]) {
    const image = buildImage(spec);
    for (const [name, mutate] of Object.entries(mutations)) {
      const verdict = verify(mutate(image), { chipId: 0 });
      assert.equal(verdict.ok, bootsAnyway.has(name), `${name}: ${verdict.ok ? "starts" : verdict.reason}`);
      if (!verdict.ok && REASONS[name]) assert.match(verdict.reason, REASONS[name], name);
    }
  }
});

test("min_chip_rev is refused by IDF 3.3.6 and started by those before and after it", () => {
  const image = mutations.minChipRev(buildImage());
  for (const kind of KINDS) assert.equal(verify(image, { chipId: 0, kind }).ok, kind !== IDF33, kind.name);
});

test("a merged image has a bootloader first, and the app unchanged at its place", () => {
  for (const chip of ["esp32", "esp32c3", "esp32s3"] as const) {
    const app = buildImage({ chip });
    const merged = mutations.mergedImage(app);
    assert.deepEqual(merged.subarray(0xf000), app);
    assert.ok(!verify(merged, { chipId: CHIP_IDS[chip] }).ok, chip);
  }
});

test("an Espruino image has its texts in the first segment, NUL-ended, and starts", () => {
  for (const [storage, map] of [
    ["storage", "Couldn't map 'storage'!\n"],
    ["js_code", "Couldn't map js_code!\n"],
    [null, ""],
  ] as const) {
    const image = buildImage({
      descriptor: CLASSIC_DESCRIPTOR,
      espruino: { storage, version: "2v27.46", natives: ["erasePage"] },
    });
    const info = accepted(image, { chipId: 0 });
    assert.deepEqual([info.project, info.version], ["espruino-esp32", "5240e60"]);
    const { offset, length } = info.segments[0];
    const texts = Buffer.from(image.subarray(offset + 256, offset + length))
      .toString("latin1")
      .split("\0");
    for (const text of ["2v27.46", "ESP32", "erasePage", map]) assert.ok(texts.includes(text), text);
    assert.ok(texts.some((text) => text.includes("2v27.46 (c) 2025 G.Williams")));
    assert.equal(
      texts.some((text) => text.startsWith("Couldn't map")),
      storage !== null,
    );
    assert.ok(!texts.includes("convolve"), "only the natives that were asked for");
  }
  assert.throws(() => buildImage({ size: MIN_SIZE, espruino: {} }), RangeError);
});

test("two Espruino images of two versions differ only in version, checksum and hash", () => {
  const [a, b] = ["2v27.45", "2v27.46"].map((version) => buildImage({ seed: 3, espruino: { version } }));
  const differing = [...a.keys()].filter((i) => a[i] !== b[i]);
  const { checksum } = layoutOf(a);
  const inText = differing.filter((i) => i < checksum);
  assert.equal(inText.length, 2, "one digit, in the version and in the banner");
  assert.ok(differing.length > inText.length);
});

test("a segment length must be a multiple of 4", () => {
  for (const extra of [1, 2, 3]) {
    const image = buildImage({ size: 2048, seed: 1 });
    const at = layoutOf(image).segments[4] + 4;
    image[at] += extra;
    const verdict = verify(image, { chipId: 0 });
    assert.equal(verdict.ok ? "" : verdict.reason, `invalid segment length 0x${image[at].toString(16)}`);
  }
});

test("a mutation changes a copy", () => {
  const image = buildImage({ size: 4096 });
  const before = image.slice();
  for (const [name, mutate] of Object.entries(mutations)) {
    assert.notDeepEqual(mutate(image), before, name);
    assert.deepEqual(image, before, name);
  }
});

test("without appended hash a pair of flipped bits starts, one flipped bit does not", () => {
  const image = buildImage({ hash: false });
  assert.ok(verify(mutations.flipBitPair(image), { chipId: 0 }).ok);
  assert.ok(!verify(mutations.flipPayloadBit(image), { chipId: 0 }).ok);
});

test("one flipped bit anywhere before the end of the hash is found, after it none is", () => {
  const image = buildImage({ size: MIN_SIZE, trailing: noise(3, 40) });
  for (let i = 0; i < image.length; i++) {
    const spoilt = image.slice();
    spoilt[i] ^= 1 << (i & 7);
    assert.equal(verify(spoilt, { chipId: 0 }).ok, i >= MIN_SIZE, `byte ${i}`);
  }
});

test("reseal repairs a changed image and keeps trailing bytes", () => {
  const image = buildImage({ size: 4096, trailing: Uint8Array.of(9) });
  image[1000] ^= 1;
  assert.ok(!verify(image, { chipId: 0 }).ok);
  const sealed = reseal(image);
  accepted(sealed, { chipId: 0 });
  assert.equal(sealed[4096], 9);
  assert.equal(layoutOf(sealed).end, 4096);
});

test("revisions are compared with the chip's; a maximum of 0 or 65535 does not count", () => {
  const at = (spec: ImageSpec, revision: number) => verify(buildImage(spec), { chipId: 0, revision }).ok;
  assert.deepEqual([at({ minRevision: 300 }, 300), at({ minRevision: 301 }, 300)], [true, false]);
  assert.deepEqual([at({ maxRevision: 300 }, 300), at({ maxRevision: 299 }, 300)], [true, false]);
  assert.deepEqual([at({ maxRevision: 65535 }, 300), at({ maxRevision: 0 }, 300)], [true, true]);
});

test("eFuse block revisions count on every chip but the classic ESP32", () => {
  for (const [chip, chipId] of Object.entries(CHIP_IDS)) {
    const image = buildImage({ chip: chip as ImageSpec["chip"] });
    const verdict = (name: string) => verify(mutations[name](image), { chipId, blockRevision: 2 }).ok;
    assert.equal(verdict("descriptorMinBlockRevision"), chip === "esp32", chip);
    assert.equal(verdict("descriptorMaxBlockRevision"), chip === "esp32", chip);
  }
});

test("chips with a configurable MMU page need the descriptor and its page size", () => {
  const image = buildImage({ chip: "esp32c2" });
  const chipId = CHIP_IDS.esp32c2;
  assert.ok(!verify(mutations.descriptorMagic(image), { chipId }).ok);
  assert.ok(!verify(buildImage({ chip: "esp32c2", descriptor: false }), { chipId }).ok);
  assert.ok(!verify(image, { chipId }, 0x14000).ok);
  assert.ok(verify(mutations.descriptorMmuPageSize(image), { chipId }, 0x14000).ok);
});

const REAL = new URL("../../../../shared/images/", import.meta.url);
const REAL_IMAGES = [
  { file: "espruino-2v04-esp32.bin", chipId: 0, project: undefined },
  { file: "espruino-2v06-esp32.bin", chipId: 0, project: undefined },
  { file: "espruino-2v22.26-esp32.bin", chipId: 0, project: "espruino-esp32" },
  { file: "espruino-2v27.45-esp32.bin", chipId: 0, project: "espruino-esp32" },
  { file: "advanced_https_ota-esp32.bin", chipId: 0, project: "advanced_https_ota" },
  { file: "esp-at-4.2-esp32c2.bin", chipId: 12, project: "esp-at" },
];

test("real published images pass on their own chip, and are refused on another", {
  skip: existsSync(REAL) ? false : "../shared/images with the published builds is not here",
}, () => {
  for (const { file, chipId, project } of REAL_IMAGES) {
    const image = new Uint8Array(readFileSync(new URL(file, REAL)));
    const info = accepted(image, { chipId });
    assert.deepEqual([info.length, info.chipId, info.project], [image.length, chipId, project], file);
    for (const kind of KINDS) accepted(image, { chipId, kind });
    assert.deepEqual(reseal(image), image, `${file}: reseal gives what the IDF tools gave`);
    const verdict = verify(image, { chipId: chipId === 0 ? 5 : 0 });
    assert.match(verdict.ok ? "" : verdict.reason, /mismatch chip ID/, file);
    image[image.length >> 1] ^= 4;
    assert.ok(!verify(image, { chipId }).ok, file);
  }
});
