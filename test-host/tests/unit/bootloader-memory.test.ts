// Load addresses: what each bootloader refuses, and what kills it (bootloader-memory.ts).
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import {
  BOOTLOADERS,
  type BootloaderKind,
  buildEntry,
  IDF33,
  runBootloader,
  STATE,
  type VerifyOptions,
  verifyImage,
} from "../../sim/bootloader.ts";
import { createFlash, type Flash, SECTOR } from "../../sim/flash.ts";
import { buildBootloader, buildImage, type ImageSpec, layoutOf, mutations, reseal } from "../../support/images.ts";
import { buildTable, type Row, TABLE_OFFSET } from "../../sim/partitions.ts";

const { idf3, current, rollback } = BOOTLOADERS;
const KINDS: BootloaderKind[] = [idf3, IDF33, current, rollback];
const CHIP_IDS = { esp32: 0, esp32c3: 5, esp32s3: 9 } as const;
type Chip = keyof typeof CHIP_IDS;

const CASES = new URL("../../../../shared/cases/", import.meta.url);
const skip = existsSync(CASES) ? false : "../shared/cases with the inputs from the field is not here";
const caseOf = (name: string) => new Uint8Array(readFileSync(new URL(name, CASES)));

function row(label: string, type: number, subtype: number, offset: number, size: number): Row {
  return { label, type, subtype, offset, size, flags: 0 };
}

/** An image whose segment `index` is for `loadAddr`; checksum and hash are right. */
function loadedTo(loadAddr: number, { index = 2, length = 0, chip = "esp32" as Chip, hash = true } = {}): Uint8Array {
  const image = buildImage({ chip, size: 8192, hash });
  const view = new DataView(image.buffer);
  const at = layoutOf(image).segments[index];
  // a segment is made shorter by giving the next one the rest, with its header
  if (length) splitSegment(image, at, length);
  view.setUint32(at, loadAddr, true);
  return reseal(image);
}

/** Cuts the segment at `at` to `length` bytes; what is left becomes one of its own, which is not loaded. */
function splitSegment(image: Uint8Array, at: number, length: number): void {
  const view = new DataView(image.buffer);
  const rest = view.getUint32(at + 4, true) - length - 8;
  view.setUint32(at + 4, length, true);
  view.setUint32(at + 8 + length, 0, true);
  view.setUint32(at + 8 + length + 4, rest, true);
  image[1]++;
}

/** "starts", or why it does not. */
function verdict(image: Uint8Array, options: VerifyOptions): string {
  const flash = createFlash({ size: 4 << 20 });
  flash.load(image, 0x10000);
  const found = verifyImage(flash, row("slot", 0, 16, 0x10000, 0x100000), options);
  if (found.ok) return "starts";
  return found.died ? `dies: ${found.reason}` : found.reason;
}

const STARTS = /^starts$/;
const DIES = /^dies: Fatal exception: segment 2/;
const BAD = /^Segment 2 .* invalid: bad load address range$/;
const STACK = /^Segment 2 .* invalid: overlaps bootloader stack$/;
const DATA = /^Segment 2 .* invalid: overlaps bootloader data$/;
const LOADER = /^Segment 2 .* invalid: overlaps loader IRAM$/;
const TOO_HIGH = /^Segment 2 end address 0x\w{8} too high \(bootloader stack 0x3ffe3c00 limit 0x3ffdbc00\)$/;
const OLD_LOADER = /^Segment 2 \(0x\w{8}-0x\w{8}\) overlaps bootloader IRAM \(0x40078000-0x4007a9cc\)$/;

// 64 bytes to each address. IDF 3.1, 3.3.6 and 4.4 or later, by their own code.
const ESP32: [loadAddr: number, idf3: RegExp, idf33: RegExp, current: RegExp][] = [
  // not loaded
  [0x00000000, STARTS, STARTS, STARTS],
  [0x0ffffffc, STARTS, STARTS, STARTS],
  // no memory
  [0x10000000, DIES, BAD, BAD],
  [0x20000000, DIES, BAD, BAD],
  [0x3f3fffe0, DIES, BAD, BAD],
  [0x3f800000, DIES, BAD, BAD],
  [0x3fadffc0, DIES, BAD, BAD],
  [0xbffb0000, DIES, BAD, BAD],
  [0xffff0000, DIES, BAD, BAD],
  // no memory, but above the SOC_DRAM_LOW of 3.3.6
  [0x3fae0000, DIES, DIES, BAD],
  [0x3fbb0000, DIES, DIES, BAD],
  [0x3ffadfc0, DIES, DIES, BAD],
  // data memory: the ROM's, the app's up to the stack's headroom, the stack, the bootloader's own
  [0x3ffae270, DIES, DIES, DIES],
  [0x3ffb0000, STARTS, STARTS, STARTS],
  [0x3ffdbbc0, STARTS, STARTS, STARTS],
  [0x3ffdbbc4, TOO_HIGH, STACK, STACK],
  [0x3ffe3ee0, TOO_HIGH, STACK, STACK],
  [0x3ffe4000, TOO_HIGH, BAD, BAD],
  [0x3fff0018, TOO_HIGH, DATA, DATA],
  // code memory: the loader's, the app's, the part that is data memory too
  [0x40070000, DIES, BAD, BAD],
  [0x40078000, OLD_LOADER, BAD, BAD],
  [0x40080000, STARTS, STARTS, STARTS],
  [0x4009ffbc, STARTS, STARTS, STARTS],
  [0x4009ffc0, STARTS, BAD, STARTS],
  [0x400a0000, STARTS, BAD, BAD],
  [0x400afff0, DIES, BAD, BAD],
  // RTC memory
  [0x3ff80000, STARTS, STARTS, STARTS],
  [0x400c0000, STARTS, STARTS, STARTS],
  [0x50000000, STARTS, STARTS, STARTS],
  [0x50001fbc, STARTS, STARTS, STARTS],
  [0x50001fc0, STARTS, BAD, STARTS],
  [0x50002000, DIES, BAD, BAD],
];

test("ESP32: each load address is taken or refused as each release's code does", () => {
  for (const [loadAddr, ...wanted] of ESP32) {
    const image = loadedTo(loadAddr, { length: 64 });
    for (const [i, kind] of [idf3, IDF33, current].entries())
      assert.match(verdict(image, { chipId: 0, kind }), wanted[i], `${kind.name} 0x${loadAddr.toString(16)}`);
  }
});

const NEWER: Record<"esp32c3" | "esp32s3", [loadAddr: number, wanted: RegExp][]> = {
  esp32c3: [
    [0x3fc7fff0, BAD],
    [0x3fc80000, STARTS],
    [0x3fcce6d0, STARTS],
    // the loader's code, on the other bus
    [0x3fcce710, /^Segment 2 0x403ce710-0x403ce750 invalid: overlaps loader IRAM$/],
    [0x3fcd5710, DATA],
    [0x3fcd7000, STACK],
    [0x3fcde720, DIES],
    [0x3fce0000, BAD],
    [0x4037c000, DIES],
    [0x40380000, STARTS],
    [0x403ce710, LOADER],
    [0x403d5710, /^Segment 2 0x3fcd5710-0x3fcd5750 invalid: overlaps bootloader data$/],
    [0x50000000, STARTS],
    [0x50002000, BAD],
    [0x3ffb0000, BAD],
  ],
  esp32s3: [
    [0x3fc87ff0, BAD],
    [0x3fc88000, STARTS],
    [0x3fcdc700, /^Segment 2 0x403cc700-0x403cc740 invalid: overlaps loader IRAM$/],
    [0x3fce4000, STACK],
    [0x3fcedf00, DIES],
    [0x3fcf0000, DIES],
    [0x3fd00000, BAD],
    [0x40370000, DIES],
    [0x40374000, STARTS],
    [0x40378000, STARTS],
    [0x403cc700, LOADER],
    [0x600fe000, STARTS],
    [0x50000000, STARTS],
    [0x60100000, BAD],
  ],
};

test("ESP32-C3 and ESP32-S3: both ways over the bootloader's memory are refused", () => {
  for (const [chip, cases] of Object.entries(NEWER) as ["esp32c3" | "esp32s3", [number, RegExp][]][])
    for (const [loadAddr, wanted] of cases) {
      const image = loadedTo(loadAddr, { chip, length: 64 });
      const name = `${chip} 0x${loadAddr.toString(16)}`;
      for (const kind of [current, rollback])
        assert.match(verdict(image, { chipId: CHIP_IDS[chip], kind }), wanted, name);
    }
});

test("words are stored: every bootloader dies of code memory at an odd address", () => {
  for (const [chip, data, code] of [
    ["esp32", 0x3ffb0000, 0x40080000],
    ["esp32c3", 0x3fc90000, 0x40380000],
    ["esp32s3", 0x3fc98000, 0x40374000],
  ] as const)
    for (const kind of KINDS)
      for (const odd of [1, 2, 3]) {
        const at = (loadAddr: number) =>
          verdict(loadedTo(loadAddr, { chip, length: 64 }), { chipId: CHIP_IDS[chip], kind });
        assert.match(at(code + odd), DIES, `${chip} ${kind.name}`);
        assert.match(at(data + odd), STARTS, `${chip} ${kind.name}`);
      }
});

test("a segment that passes 0x7fffffff stops all but the oldest at an assertion", () => {
  const image = loadedTo(0x7fffffe0, { length: 64 });
  for (const kind of [IDF33, current, rollback])
    assert.match(verdict(image, { chipId: 0, kind }), /^dies: Assert failed in verify_load_addresses: segment 2$/);
  assert.match(verdict(image, { chipId: 0, kind: idf3 }), DIES);
});

test("an empty segment is loaded nowhere", () => {
  const image = buildImage({ size: 8192, segments: 3 });
  const at = layoutOf(image).segments[2];
  splitSegment(image, at, 0);
  new DataView(image.buffer).setUint32(at, 0x20000000, true);
  for (const kind of KINDS) assert.equal(verdict(reseal(image), { chipId: 0, kind }), "starts", kind.name);
});

test("segments are checked in turn: a refused one comes before one that kills", () => {
  const image = loadedTo(0x20000000, { index: 4 });
  const both = loadedTo(0x20000000, { index: 4 });
  new DataView(both.buffer).setUint32(layoutOf(both).segments[2], 0x3fff0018, true);
  assert.match(verdict(image, { chipId: 0, kind: idf3 }), /^dies: Fatal exception: segment 4, excvaddr=0x20000000$/);
  assert.match(verdict(reseal(both), { chipId: 0, kind: idf3 }), TOO_HIGH);
});

test("a segment is loaded before checksum and hash are known", () => {
  for (const hash of [true, false]) {
    const image = loadedTo(0x20000000, { hash });
    image[layoutOf(image).checksum] ^= 1;
    assert.match(verdict(image, { chipId: 0, kind: idf3 }), DIES);
  }
});

// --- In a flash -----------------------------------------------------------------------------------------------------

/** Two slots, the second one selected by an entry of that state. */
function twoSlots(selected: Uint8Array, state: number, spec: ImageSpec = {}, factory = false): Flash {
  const flash = createFlash({ size: 0x40000 });
  const apps = [row("ota_0", 0, 0x10, 0x10000, 0x10000), row("ota_1", 0, 0x11, 0x20000, 0x10000)];
  if (factory) apps.push(row("factory", 0, 0, 0x30000, 0x10000));
  flash.load(buildTable([row("otadata", 1, 0, 0xc000, 0x2000), ...apps]), TABLE_OFFSET);
  flash.load(buildEntry(1, STATE.VALID), 0xc000);
  flash.load(buildEntry(2, state), 0xc000 + SECTOR);
  for (const app of apps) flash.load(buildImage({ size: 16384, ...spec }), app.offset);
  flash.load(selected, 0x20000);
  return flash;
}

const NEW_IMAGE = buildImage({ size: 16384, seed: 2 });

test("one flipped bit of a load address: 3.1 and 3.3.6 die of it at each start", () => {
  for (const name of ["loadAddressBit22", "loadAddressBit31", "loadAddressBit0"]) {
    for (const kind of KINDS) {
      const flash = twoSlots(mutations[name](NEW_IMAGE), STATE.VALID, {}, true);
      const before = flash.snapshot();
      const dead = name === "loadAddressBit0" || kind === idf3 || (kind === IDF33 && name === "loadAddressBit22");
      for (let start = 0; start < 3; start++) {
        const boot = runBootloader(flash, { chipId: 0, kind });
        assert.equal(boot.selected, "ota_1");
        assert.equal(boot.slot?.label ?? null, dead ? null : "ota_0", `${kind.name} ${name}\n${boot.log.join("\n")}`);
        assert.equal(boot.died !== null, dead);
        assert.equal(boot.image === null, dead);
        if (dead)
          assert.match(boot.log.at(-1) ?? "", /^Fatal exception: segment [23], excvaddr=0x\w{8}: the bootloader dies/);
      }
      assert.ok(flash.sameSnapshot(before, flash.snapshot()), "a fallback or a death writes nothing");
    }
  }
});

test("a bootloader with rollback that dies in a new image comes back with the old one", () => {
  const flash = twoSlots(mutations.loadAddressBit0(NEW_IMAGE), STATE.NEW);
  const boot = runBootloader(flash, { chipId: 0, kind: rollback });
  assert.deepEqual([boot.slot?.label, boot.died], ["ota_0", null]);
  assert.match(boot.log.join("\n"), /the bootloader dies and resets/);
  const confirmed = twoSlots(mutations.loadAddressBit0(NEW_IMAGE), STATE.VALID);
  assert.equal(runBootloader(confirmed, { chipId: 0, kind: rollback }).slot, null);
});

test("a fallback into a deadly image is a death, too", () => {
  const flash = twoSlots(mutations.flipPayloadBit(NEW_IMAGE), STATE.VALID);
  flash.load(mutations.loadAddressNoRam(NEW_IMAGE), 0x10000);
  const boot = runBootloader(flash, { chipId: 0, kind: idf3 });
  assert.deepEqual([boot.slot, boot.selected, boot.fellBack, boot.died !== null], [null, "ota_1", true, true]);
});

test("sealed images for the bootloader's memory are refused, and the old one starts", () => {
  for (const [chip, chipId] of Object.entries(CHIP_IDS) as [Chip, number][]) {
    const image = buildImage({ chip, size: 16384, seed: 2 });
    for (const name of [
      "loadAddressStack",
      "loadAddressData",
      "loadAddressLoader",
      "firstSegmentLoaded",
      "mergedImage",
    ]) {
      const bytes = mutations[name](image);
      const flash = twoSlots(bytes.subarray(0, 0x10000), STATE.VALID, { chip });
      for (const kind of [current, rollback]) {
        const boot = runBootloader(flash, { chipId, kind });
        const log = boot.log.join("\n");
        assert.deepEqual([boot.slot?.label, boot.died], ["ota_0", null], `${chip} ${name}\n${log}`);
        assert.match(
          log,
          /E \(\d+\) esp_image: Segment \d 0x\w{8}-0x\w{8} invalid: (overlaps (bootloader|loader)|bad load address range)/,
        );
      }
    }
  }
});

test("a bootloader's own image never starts in a slot", () => {
  for (const [chip, chipId] of Object.entries(CHIP_IDS) as [Chip, number][])
    assert.match(
      verdict(buildBootloader(chip), { chipId }),
      /^Segment 0 0x\w{8}-0x\w{8} invalid: overlaps bootloader (data|stack)$/,
    );
});

test("published bootloaders do not start in a slot", { skip }, () => {
  for (const [file, chipId, reason] of [
    ["bootloader-esp32.bin", 0, /^Segment 0 0x3fff0018-0x3fff001c invalid: overlaps bootloader data$/],
    ["bootloader-c3.bin", 5, /^Segment 0 0x3fcd5810-0x3fcd5c48 invalid: overlaps bootloader data$/],
    ["bootloader-s3.bin", 9, /^Segment 0 0x3fce3808-0x3fce4e44 invalid: overlaps bootloader stack$/],
  ] as const)
    assert.match(verdict(caseOf(file), { chipId }), reason, file);
});

test("the dump of a device whose image lost one bit: IDF 3.3.6 dies at every start", { skip }, () => {
  const dump = caseOf("load-address-flip-336.bin");
  for (const kind of KINDS) {
    const boot = runBootloader(createFlash({ from: dump }), { chipId: 0, kind });
    const dead = kind === idf3 || kind === IDF33;
    assert.deepEqual([boot.selected, boot.slot?.label ?? null], ["ota_1", dead ? null : "ota_0"], kind.name);
    if (dead) assert.equal(boot.died, "Fatal exception: segment 2, excvaddr=0x3fbb0000");
    else assert.match(boot.log.join("\n"), /Segment 2 0x3fbb0000-0x3fbb0480 invalid: bad load address range/);
  }
});
