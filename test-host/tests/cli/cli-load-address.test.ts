// Load addresses of segments: what the command refuses to sign is what the module on the device refuses to install.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { before, test } from "node:test";
import { readImage } from "../../../src/cli/formats/image.ts";
import { buildImage, layoutOf, reseal } from "../../support/images.ts";
import { fails, ROOT, succeeds, workshop } from "./cli-run.ts";

type Chip = "esp32" | "esp32c3" | "esp32s3";
type Walk = (chipId: number, size: number, read: (offset: number, length: number) => Uint8Array) => number;

// by a computed name: it is compiled with the device's settings, not with ours
const device: { walkSegments: Walk } = await import(new URL("../../../src/image/image.ts", import.meta.url).href);

/** An image whose segment `index` is for `addr`, with checksum and digest right. */
function withAddress(image: Uint8Array, index: number, addr: number): Uint8Array {
  const bytes = Buffer.from(image);
  bytes.writeUInt32LE(addr, layoutOf(image).segments[index]);
  return reseal(bytes);
}

function deviceRefuses(image: Uint8Array): boolean {
  try {
    device.walkSegments(image[12], image.length, (offset, length) => image.subarray(offset, offset + length));
    return false;
  } catch {
    return true;
  }
}

const commandRefuses = (image: Uint8Array) => readImage(image)?.problems.length !== 0;

/** Begins and ends of what soc.h and the bootloaders' linker scripts name, and addresses far from all of them. */
const EDGES = [
  ...[0, 0x10000000, 0x3c000000, 0x3c800000, 0x3e000000, 0x3f400000, 0x3f800000, 0x3fae0000, 0x3ff80000, 0x3ff82000],
  ...[0x3ffae000, 0x3ffb0000, 0x3ffdb000, 0x3ffe3c00, 0x3fff0000, 0x40000000, 0x40078000, 0x40080000, 0x400a0000],
  ...[0x400c0000, 0x400c2000, 0x400d0000, 0x40400000, 0x42000000, 0x42800000, 0x44000000, 0x50000000, 0x50002000],
  ...[0x3fc80000, 0x3fc88000, 0x3fcca000, 0x3fcce710, 0x3fcd0000, 0x403ce710, 0x40374000, 0x40380000, 0x403ba000],
  ...[0x403c0000, 0x600fe000, 0x60100000, 0x80000000, 0xbffb0000, 0xfffffffc],
];

test("the command and the device draw the same line at every load address", () => {
  for (const chip of ["esp32", "esp32c3", "esp32s3"] as const satisfies Chip[]) {
    const image = buildImage({ chip, size: 4096 });
    const { segments } = layoutOf(image);
    const verdicts = new Set<boolean>();
    for (const index of [0, 2, segments.length - 1]) {
      const length = Buffer.from(image).readUInt32LE(segments[index] + 4);
      for (const edge of EDGES)
        for (const by of [-length - 4, -length, 4 - length, -4, -1, 0, 1, 2, 4, segments[index] + 8]) {
          const addr = (edge + by) >>> 0;
          const changed = withAddress(image, index, addr);
          const refused = commandRefuses(changed);
          assert.equal(refused, deviceRefuses(changed), `${chip}: segment ${index} for 0x${addr.toString(16)}`);
          verdicts.add(refused);
        }
    }
    assert.equal(verdicts.size, 2, "every case had one verdict");
  }
});

const shop = workshop();
const IMAGE = buildImage({ size: 61008, descriptor: { project: "lamp", version: "2.0.0" } });

before(async () => {
  succeeds(await shop.run("keygen", "--out", "key.pem", "--bits", "2048"));
});

test("an image that a bootloader dies of is neither signed nor called valid", async () => {
  const at = layoutOf(IMAGE).segments[2].toString(16);
  const cases: [string, number][] = [
    ["one bit of DRAM flipped", 0x3fbb0000],
    ["the bootloader's stack", 0x3ffe0000],
    ["the bootloader's code", 0x40078000],
    ["no memory at all", 0xbffb0000],
    ["not aligned", 0x40080002],
  ];
  for (const [name, addr] of cases) {
    shop.put("bad.bin", withAddress(IMAGE, 2, addr));
    const says = new RegExp(`^bad\\.bin: offset 0x${at}: segment 2: \\d+ bytes for 0x${addr.toString(16)}, where boot`);
    fails(await shop.run("sign", "bad.bin", "--key", "key.pem", "--out", "no.jws"), 1, says);
    fails(await shop.run("inspect", "bad.bin"), 1, says);
    assert.ok(!existsSync(shop.at("no.jws")), name);
  }
});

test("an app whose first segment is code is not signed: no device tells its slot", async () => {
  shop.put("code.bin", withAddress(IMAGE, 0, 0x400d0020));
  const says = /^code\.bin: offset 0x18: segment 0 is mapped to 0x400d0020, as code, expected data$/m;
  fails(await shop.run("sign", "code.bin", "--key", "key.pem", "--out", "no.jws"), 1, says);
});

const flip = path.join(ROOT, "../shared/cases/load-address-flip-336.bin");

test("a flash whose bootloader may crash in the selected image says so", {
  skip: existsSync(flip) ? false : "NOT RUN: the dump is not here (../shared/cases)",
}, async () => {
  shop.put("flip.bin", readFileSync(flip));
  succeeds(
    await shop.run("inspect", "flip.bin"),
    /ota_1 .*broken at 0x[0-9a-f]+: segment 2: \d+ bytes for 0x3fbb0000, where bootloaders refuse/,
    /starts +ota_0 \(a fallback: .*\), unless its bootloader crashes in ota_1 \(ESP-IDF 3\)\n/,
  );
});
