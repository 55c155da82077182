// The second-stage bootloader: which image starts, decided from flash alone. Every campaign checks the
// module by it, so it is written from ESP-IDF (docs/formats.md) and shares no code with src/.
// As on the device, a fallback never changes otadata. What loads where: bootloader-memory.ts.
//
// | kind     | stands for IDF                                        | what is its own                                      |
// |----------|-------------------------------------------------------|------------------------------------------------------|
// | idf3     | 3.1.0 to 3.1.6, 3.2.0 to 3.2.3                        | no states, no chip id; loads before it looks         |
// | idf33    | 3.3.6 (Espruino's ESP32 builds since 2v22)            | min_chip_rev in byte 14; SOC_DRAM_LOW is wrong       |
// | current  | 4.3.5 on, 4.4.5 on, 5.0.1 on, to 6.0.2                | full revisions                                       |
// | rollback | the same with CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE   | NEW, PENDING_VERIFY and ABORTED are written          |
//
// Between them: 3.1.7, 3.2.4 and 3.2.5 are idf3 with chip id and byte 14; 3.3.0 to 3.3.5 and 4.0 have idf33's states and
// idf3's addresses (3.3.0 no chip id); 4.1 to 4.3.4, 4.4.0 to 4.4.4 and 5.0.0 are current with byte 14.
//
// Not modelled: secure boot, encryption, anti-rollback, GPIO inputs, deep sleep. Rows after the MD5 row are read (IDF
// drops the last of them); a row whose end wraps at 2^32 is refused (IDF takes it); a row at offset 0 counts (to IDF it is
// none); otadata that is not on a sector is written. eFuse block revisions are looked at in every release (IDF: 5.1.7,
// 5.2.3, 5.3.2, 5.4 and on). Segments of 16 MB and more on an ESP32-S3 end at the chip's end (IDF 5.3 on
// reads on until the watchdog bites).
import { createHash } from "node:crypto";
import { type AddressCheck, deadlyStore, type Memory, memoryOf, objectionTo } from "./bootloader-memory.ts";
import { type Flash, hex, SECTOR } from "./flash.ts";
import {
  checkTable,
  findOtadata,
  type Row,
  SUBTYPE_FACTORY,
  SUBTYPE_TEST,
  TABLE_OFFSET,
  TABLE_SIZE,
  TYPE_APP,
  TYPE_DATA,
} from "./partitions.ts";

export type BootloaderKind = {
  name: string;
  /** false: knows no ota_state, and writes nothing. */
  states: boolean;
  rollback: boolean;
  /** What is read of the header beside magic and count: chip id and byte 14, or chip id and the full revisions. */
  revisions: "none" | "byte14" | "full";
  addresses: AddressCheck;
};

/** Those that every campaign goes through. */
export const BOOTLOADERS = {
  idf3: { name: "idf3", states: false, rollback: false, revisions: "none", addresses: "stack" },
  current: { name: "current", states: true, rollback: false, revisions: "full", addresses: "all" },
  rollback: { name: "rollback", states: true, rollback: true, revisions: "full", addresses: "all" },
} satisfies Record<string, BootloaderKind>;

/** To otadata it is `current`; it differs in images alone, so it stands where images are spoiled. */
export const IDF33: BootloaderKind = {
  name: "idf33",
  states: true,
  rollback: false,
  revisions: "byte14",
  addresses: "typo",
};

/** The chips of the model (docs/formats.md#chips): revisions are those of common chips, major * 100 + minor. */
export type Chip = {
  name: string;
  chipId: number;
  /** Address ranges that are mapped from flash, not loaded: [low, high). */
  mapped: [number, number][];
  revision: number;
  blockRevision: number;
  /** The MMU page size comes from the app descriptor. */
  configurablePage?: boolean;
  /** The cache takes 32-bit flash addresses: partitions and segments may exceed 16 MB. */
  wide?: boolean;
};

const DROM_IROM: Record<string, [number, number][]> = {
  esp32: [
    [0x3f400000, 0x3f800000],
    [0x400d0000, 0x40400000],
  ],
  esp32s2: [
    [0x3f000000, 0x3ff80000],
    [0x40080000, 0x40800000],
  ],
  esp32c3: [
    [0x3c000000, 0x3c800000],
    [0x42000000, 0x42800000],
  ],
  esp32s3: [
    [0x3c000000, 0x3e000000],
    [0x42000000, 0x44000000],
  ],
  esp32c2: [
    [0x3c000000, 0x3c400000],
    [0x42000000, 0x42400000],
  ],
  esp32c6: [[0x42000000, 0x43000000]],
};

export const CHIPS: readonly Chip[] = [
  { name: "esp32", chipId: 0x00, mapped: DROM_IROM.esp32, revision: 300, blockRevision: 0 },
  { name: "esp32s2", chipId: 0x02, mapped: DROM_IROM.esp32s2, revision: 100, blockRevision: 102 },
  { name: "esp32c3", chipId: 0x05, mapped: DROM_IROM.esp32c3, revision: 4, blockRevision: 103 },
  { name: "esp32s3", chipId: 0x09, mapped: DROM_IROM.esp32s3, revision: 2, blockRevision: 104, wide: true },
  { name: "esp32c2", chipId: 0x0c, mapped: DROM_IROM.esp32c2, revision: 102, blockRevision: 1, configurablePage: true },
  { name: "esp32c6", chipId: 0x0d, mapped: DROM_IROM.esp32c6, revision: 2, blockRevision: 3, configurablePage: true },
];

export type ImageInfo = {
  /** Bytes from the image header to the end of the appended hash. */
  length: number;
  segments: { loadAddr: number; offset: number /* of the data, in the image */; length: number }[];
  chipId: number;
  hashAppended: boolean;
  version?: string;
  project?: string;
  entry: number;
};

export type VerifyOptions = {
  chipId: number;
  /** Chip revision, major * 100 + minor; default: a common one of that chip. */
  revision?: number;
  /** eFuse block revision, not on the classic ESP32. */
  blockRevision?: number;
  kind?: BootloaderKind;
};

export type BootOptions = VerifyOptions & { tableOffset?: number };

export type Boot = {
  /** The row that starts; null: nothing boots, the device resets again and again. */
  slot: Row | null;
  log: string[];
  image: ImageInfo | null;
  /** Why the bootloader itself ended: there is no fallback, and `slot` is null. The chip resets, into the same again. */
  died: string | null;
  /** A slot was refused before this one, or the selected slot does not exist. */
  fellBack: boolean;
  /** Label of the slot that the table and otadata ask for; null when they name none. */
  selected: string | null;
};

type Say = (level: "I" | "W" | "E", tag: string, text: string) => void;

const hex8 = (n: number) => n.toString(16).padStart(8, "0");
const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

// --- Select entries (docs/formats.md#otadata) -------------------------------------------------------------------------

export const RECORD_SIZE = 32;
export const STATE = { NEW: 0, PENDING_VERIFY: 1, VALID: 2, INVALID: 3, ABORTED: 4, UNDEFINED: 0xffffffff };
const SEQ_NONE = 0xffffffff;

export type Entry = { seq: number; state: number; crc: number; crcOk: boolean };

/** CRC-32 of the four bytes of seq only, register starting at 0: not the plain zlib CRC. */
export function entryCrc(seq: number): number {
  let crc = seq >>> 0;
  for (let bit = 0; bit < 32; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  return ~crc >>> 0;
}

export function buildEntry(seq: number, state: number = STATE.UNDEFINED): Uint8Array {
  const bytes = new Uint8Array(RECORD_SIZE).fill(0xff);
  const view = viewOf(bytes);
  view.setUint32(0, seq, true);
  view.setUint32(24, state, true);
  view.setUint32(28, entryCrc(seq), true);
  return bytes;
}

export function parseEntry(bytes: Uint8Array): Entry {
  const view = viewOf(bytes);
  const seq = view.getUint32(0, true);
  const crc = view.getUint32(28, true);
  return { seq, state: view.getUint32(24, true), crc, crcOk: crc === entryCrc(seq) };
}

// --- Image (docs/formats.md#image) -----------------------------------------------------------------------------------------

const HEADER_SIZE = 24;
const HASH_SIZE = 32;
const DESCRIPTOR_MAGIC = 0xabcd5432;
const SIXTEEN_MB = 0x1000000;

class Refused extends Error {}
class Died extends Error {}

function chipOf(chipId: number): Chip {
  const chip = CHIPS.find((known) => known.chipId === chipId);
  if (!chip) throw new Error(`the model knows no chip with id ${chipId}`);
  return chip;
}

const kindOf = (options: VerifyOptions): BootloaderKind => options.kind ?? BOOTLOADERS.current;

const NOT_LOADED = 0x10000000; // should_load: addresses below are padding

const isSet = (revision: number) => revision !== 0 && revision !== 65535;

function xorWords(data: Uint8Array): number {
  const words = new Uint32Array(data.buffer, data.byteOffset, data.length >> 2);
  let sum = 0;
  for (let i = 0; i < words.length; i++) sum ^= words[i];
  return sum;
}

function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(bytes.subarray(0, end < 0 ? bytes.length : end)).toString("latin1");
}

function checkHeader(head: DataView, row: Row, options: VerifyOptions, chip: Chip): void {
  if (head.getUint8(0) !== 0xe9) {
    throw new Refused(`image at ${hex(row.offset)} has invalid magic byte (nothing flashed here?)`);
  }
  const { revisions } = kindOf(options);
  if (revisions !== "none") {
    const chipId = head.getUint16(12, true);
    if (chipId !== chip.chipId) throw new Refused(`mismatch chip ID, expected ${chip.chipId}, found ${chipId}`);
  }
  const revision = options.revision ?? chip.revision;
  if (revisions === "byte14") checkMinChipRev(head.getUint8(14), revision, chip);
  if (revisions === "full") checkRevisions(head.getUint16(15, true), head.getUint16(17, true), revision);
  const count = head.getUint8(1);
  if (count > 16) throw new Refused(`image at ${hex(row.offset)} segment count ${count} exceeds max 16`);
}

/** bootloader_common_check_chip_validity to 3.3.6, its words too; 4.4.4: the newer chips count minor revisions. */
function checkMinChipRev(min: number, full: number, chip: Chip): void {
  const revision = /^esp32(s2)?$/.test(chip.name) ? Math.floor(full / 100) : full % 100;
  if (revision < min) throw new Refused(`can't run on lower chip revision, expected ${revision}, found ${min}`);
}

/** The same function since 4.4.5. */
function checkRevisions(min: number, max: number, revision: number): void {
  const version = (full: number) => `v${Math.floor(full / 100)}.${full % 100}`;
  const failed = "chip revision check failed. Required";
  if (revision < min) throw new Refused(`${failed} >= ${version(min)}, found ${version(revision)}.`);
  if (isSet(max) && revision > max) throw new Refused(`${failed} <= ${version(max)}, found ${version(revision)}.`);
}

/** verify_segment_header: on some chips the app descriptor says the size of an MMU page. */
function pageSizeOf(descriptor: DataView): number {
  if (descriptor.getUint32(0, true) !== DESCRIPTOR_MAGIC) throw new Refused("Failed to fetch app description header!");
  const log2 = descriptor.getUint8(180);
  return log2 >= 13 && log2 <= 16 ? 1 << log2 : 0x10000;
}

/** process_segment_data: the descriptor is read as such whatever its magic. The classic ESP32 has no block revision. */
function checkBlockRevision(descriptor: DataView, options: VerifyOptions, chip: Chip): void {
  const revision = options.blockRevision ?? chip.blockRevision;
  const min = descriptor.getUint16(176, true);
  const max = descriptor.getUint16(178, true);
  if (isSet(min) && revision < min)
    throw new Refused(`Image requires efuse blk rev >= ${min}, but chip is ${revision}`);
  if (isSet(max) && revision > max)
    throw new Refused(`Image requires efuse blk rev <= ${max}, but chip is ${revision}`);
}

/** esp_image_load in its own order (docs/formats.md#checks-of-a-bootloader). Throws Refused with the words of the bootloader's error line, or Died. */
function loadImage(flash: Flash, row: Row, options: VerifyOptions, say: Say): ImageInfo {
  const chip = chipOf(options.chipId);
  const kind = kindOf(options);
  const memory = memoryOf(chip.name, kind.addresses);
  if (row.size > SIXTEEN_MB && !chip.wide)
    throw new Refused(`partition size ${hex(row.size)} invalid, larger than 16MB`);

  function read(offset: number, length: number): Uint8Array {
    const addr = row.offset + offset;
    if (addr + length > flash.size) throw new Refused(`bootloader_mmap(${hex(addr)}, ${hex(length)}) failed`);
    return flash.read(addr, length);
  }

  const header = read(0, HEADER_SIZE);
  const head = viewOf(header);
  checkHeader(head, row, options, chip);
  const sha = createHash("sha256").update(header);
  const image: ImageInfo = {
    length: 0,
    segments: [],
    chipId: head.getUint16(12, true),
    hashAppended: header[23] !== 0,
    entry: head.getUint32(4, true),
  };
  let page = 0x10000;
  let sum = 0xef;
  let at = HEADER_SIZE;

  for (let i = 0; i < header[1]; i++) {
    const segment = read(at, 8);
    const loadAddr = viewOf(segment).getUint32(0, true);
    const length = viewOf(segment).getUint32(4, true);
    const dataAddr = row.offset + at + 8;
    if (length % 4 !== 0 || (length >= SIXTEEN_MB && !chip.wide))
      throw new Refused(`invalid segment length ${hex(length)}`);
    if (i === 0 && chip.configurablePage) page = pageSizeOf(viewOf(read(at + 8, 256)));
    const mapped = chip.mapped.some(([low, high]) => loadAddr >= low && loadAddr < high);
    if (mapped && dataAddr % page !== loadAddr % page) {
      throw new Refused(`Segment ${i} load address 0x${hex8(loadAddr)}, doesn't match data 0x${hex8(dataAddr)}`);
    }
    const size = `${length.toString(16).padStart(5, "0")}h (${String(length).padStart(6)})`;
    const loaded = !mapped && loadAddr >= NOT_LOADED;
    const how = mapped ? "map" : loaded ? "load" : "";
    say("I", "esp_image", `segment ${i}: paddr=${hex8(dataAddr)} vaddr=${hex8(loadAddr)} size=${size} ${how}`);
    if (loaded && memory) checkLoad(i, loadAddr, length, memory, kind);
    const data = read(at + 8, length);
    if (i === 0 && length && chip.name !== "esp32") checkBlockRevision(viewOf(read(at + 8, 256)), options, chip);
    if (loaded && memory) store(i, loadAddr, length, memory);
    sum ^= xorWords(data);
    sha.update(segment).update(data);
    image.segments.push({ loadAddr, offset: at + 8, length });
    if (i === 0 && length >= 80 && viewOf(data).getUint32(0, true) === DESCRIPTOR_MAGIC) {
      image.version = text(data.subarray(16, 48));
      image.project = text(data.subarray(48, 80));
    }
    at += 8 + length;
  }

  const tail = read(at, ((at + 16) & ~15) - at);
  const calculated = ((sum >>> 24) ^ (sum >>> 16) ^ (sum >>> 8) ^ sum) & 0xff;
  const found = tail[tail.length - 1];
  if (calculated !== found) throw new Refused(`Checksum failed. Calculated ${hex(calculated)} read ${hex(found)}`);
  sha.update(tail);
  at += tail.length;

  const hash = image.hashAppended ? read(at, HASH_SIZE) : null;
  image.length = at + (hash ? HASH_SIZE : 0);
  if (image.length > row.size) {
    throw new Refused(`Image length ${image.length} doesn't fit in partition length ${row.size}`);
  }
  if (hash && sha.digest().compare(hash) !== 0) throw new Refused("Image hash failed - image is corrupt");
  return image;
}

function checkLoad(index: number, loadAddr: number, length: number, memory: Memory, kind: BootloaderKind): void {
  const objection = objectionTo(index, loadAddr, length, memory, kind.addresses);
  if (objection === "assert") throw new Died(`Assert failed in verify_load_addresses: segment ${index}`);
  if (objection) throw new Refused(objection.refused);
}

/** Data is loaded as it is read, before checksum and hash say what it is worth. */
function store(index: number, loadAddr: number, length: number, memory: Memory): void {
  const excvaddr = deadlyStore(loadAddr, length, memory);
  if (excvaddr !== null) throw new Died(`Fatal exception: segment ${index}, excvaddr=0x${hex8(excvaddr)}`);
}

export function verifyImage(
  flash: Flash,
  row: Row,
  options: VerifyOptions,
): { ok: true; image: ImageInfo } | { ok: false; reason: string; died: boolean } {
  try {
    return { ok: true, image: loadImage(flash, row, options, () => {}) };
  } catch (error) {
    if (error instanceof Refused) return { ok: false, reason: error.message, died: false };
    if (error instanceof Died) return { ok: false, reason: error.message, died: true };
    throw error;
  }
}

// --- Boot (docs/formats.md#what-a-bootloader-starts) ------------------------------------------------------------------------

const FACTORY = -1;

type State = { ota: (Row | undefined)[]; appCount: number; factory?: Row; test?: Row; otadata: Row | null };

function usage(row: Row): string {
  if (row.type === TYPE_APP) {
    if (row.subtype === SUBTYPE_FACTORY) return "factory app";
    if (row.subtype === SUBTYPE_TEST) return "test app";
    return row.subtype >> 4 === 1 ? "OTA app" : "Unknown app";
  }
  const data: Record<number, string> = { 0: "OTA data", 1: "RF data", 2: "WiFi data", 4: "NVS keys", 5: "efuse" };
  return row.type === TYPE_DATA ? (data[row.subtype] ?? "Unknown data") : "unknown";
}

function loadTable(flash: Flash, tableOffset: number, say: Say): State | null {
  const table = checkTable(flash.read(tableOffset, TABLE_SIZE), flash.size);
  if ("error" in table) {
    say("E", "flash_parts", table.error);
    say("E", "boot", "Failed to verify partition table");
    return null;
  }
  const state: State = { ota: [], appCount: 0, otadata: findOtadata(table.rows) };
  say("I", "boot", "Partition Table:");
  say("I", "boot", "## Label            Usage          Type ST Offset   Length");
  table.rows.forEach((row, i) => {
    const kind = usage(row);
    if (kind === "factory app") state.factory = row;
    if (kind === "test app") state.test = row;
    if (kind === "OTA app") {
      state.ota[row.subtype & 15] = row;
      state.appCount++;
    }
    const type = [row.type, row.subtype].map((n) => n.toString(16).padStart(2, "0")).join(" ");
    const name = `${String(i).padStart(2)} ${row.label.padEnd(16)} ${kind.padEnd(16)}`;
    say("I", "boot", `${name} ${type} ${hex8(row.offset)} ${hex8(row.size)}`);
  });
  say("I", "boot", "End of partition table");
  return state;
}

/** Slot index to start at, FACTORY, or null for a reset. Writes states where the bootloader has rollback. */
function select(
  flash: Flash,
  state: State,
  kind: BootloaderKind,
  say: Say,
): { index: number; initial: boolean } | null {
  const { otadata, factory, appCount } = state;
  if (!otadata) return { index: FACTORY, initial: false };
  if (otadata.size < 2 * SECTOR) {
    say("E", "boot", `ota_info partition size ${otadata.size} is too small (minimum ${2 * SECTOR} bytes)`);
    return null;
  }
  const raw = [0, 1].map((copy) => flash.read(otadata.offset + copy * SECTOR, RECORD_SIZE));
  const setState = (copy: number, value: number) => {
    viewOf(raw[copy]).setUint32(24, value, true);
    writeEntry(flash, otadata, copy, raw[copy]);
  };
  // Not only the active copy, and whatever its CRC says.
  for (const copy of kind.rollback ? [0, 1] : []) {
    if (parseEntry(raw[copy]).state === STATE.PENDING_VERIFY) setState(copy, STATE.ABORTED);
  }

  const entries = raw.map(parseEntry);
  const bad = (entry: Entry) =>
    entry.seq === SEQ_NONE || (kind.states && (entry.state === STATE.INVALID || entry.state === STATE.ABORTED));
  if (entries.every(bad) || appCount === 0) {
    say("I", "boot", factory ? "Defaulting to factory image" : "No factory image, trying OTA 0");
    if (factory) return { index: FACTORY, initial: false };
    return { index: 0, initial: kind.states && entries.every((entry) => entry.seq === SEQ_NONE || !entry.crcOk) };
  }

  const [valid0, valid1] = entries.map((entry) => !bad(entry) && entry.crcOk);
  if (!valid0 && !valid1) {
    const next = factory ? ", falling back to factory" : " and no factory, will try all partitions";
    say("E", "boot", `ota data partition invalid${next}`);
    return { index: FACTORY, initial: false };
  }
  const active = valid0 && (!valid1 || entries[0].seq >= entries[1].seq) ? 0 : 1;
  if (kind.rollback && entries[active].state === STATE.NEW) setState(active, STATE.PENDING_VERIFY);
  return { index: ((entries[active].seq - 1) >>> 0) % appCount, initial: false };
}

function writeEntry(flash: Flash, otadata: Row, copy: number, entry: Uint8Array): void {
  flash.erase(otadata.offset + copy * SECTOR);
  flash.write(otadata.offset + copy * SECTOR, entry);
}

/** start, start-1 … 0, factory, then start+1 … : docs/formats.md#what-a-bootloader-starts. The test app comes after all of them. */
function candidates(state: State, start: number): { index: number; row: Row }[] {
  const order: { index: number; row: Row }[] = [];
  const add = (index: number) => {
    const row = index === FACTORY ? state.factory : state.ota[index];
    if (row && row.size > 0) order.push({ index, row });
  };
  for (let index = start; index >= FACTORY; index--) add(index);
  // The bound is the COUNT of OTA rows: with a gap in their numbers the highest slots are never tried.
  for (let index = start + 1; index < state.appCount; index++) add(index);
  return order;
}

function notBootable(index: number): string {
  return `${index === FACTORY ? "Factory app partition" : `OTA app partition slot ${index}`} is not bootable`;
}

/** Enough for every state that a reset can change: NEW to PENDING_VERIFY to ABORTED. */
const RESETS = 3;

/**
 * One power-on. The bootloader's own writes go through the flash, so a campaign can cut them.
 * A bootloader that dies resets the chip and starts again: where it has written a state before, the next one may start
 * another slot; where it has not, the end is the same each time.
 */
export function runBootloader(flash: Flash, options: BootOptions): Boot {
  const boot: Boot = { slot: null, log: [], image: null, died: null, fellBack: false, selected: null };
  const startMs = flash.deviceMs();
  const say: Say = (level, tag, line) => {
    const ms = Math.floor(58 + flash.deviceMs() - startMs + 4 * boot.log.length);
    boot.log.push(`${level} (${ms}) ${tag}: ${line}`);
  };
  for (let resets = 0; ; resets++) {
    const before = flash.counts.writes;
    boot.died = null;
    try {
      startOnce(flash, options, boot, say);
    } catch (error) {
      if (!(error instanceof Died)) throw error;
      boot.died = error.message;
      boot.log.push(`${error.message}: the bootloader dies and resets, nothing falls back`);
    }
    if (boot.died === null || flash.counts.writes === before || resets === RESETS) return boot;
  }
}

function startOnce(flash: Flash, options: BootOptions, boot: Boot, say: Say): void {
  const state = loadTable(flash, options.tableOffset ?? TABLE_OFFSET, say);
  const choice = state && select(flash, state, kindOf(options), say);
  if (!state || !choice) return;

  const wanted = choice.index === FACTORY ? state.factory : state.ota[choice.index];
  boot.selected = wanted?.label ?? null;
  boot.fellBack = choice.index !== FACTORY && !wanted;

  for (const { index, row } of candidates(state, choice.index)) {
    boot.image = tryLoad(flash, row, options, say);
    if (boot.image) {
      if (choice.initial && state.otadata) {
        writeEntry(flash, state.otadata, 0, buildEntry(index + 1, STATE.VALID));
        say("I", "boot", `Set actual ota_seq=${index + 1} in otadata[0]`);
      }
      boot.slot = row;
      return;
    }
    say("E", "boot", notBootable(index));
    boot.fellBack = true;
  }
  if (state.test) {
    boot.image = tryLoad(flash, state.test, options, say);
    if (boot.image) {
      say("W", "boot", "Falling back to test app as only bootable partition");
      boot.slot = state.test;
      boot.fellBack = true;
      return;
    }
  }
  say("E", "boot", "No bootable app partitions in the partition table");
}

function tryLoad(flash: Flash, row: Row, options: VerifyOptions, say: Say): ImageInfo | null {
  try {
    const image = loadImage(flash, row, options, say);
    say("I", "boot", `Loaded app from partition at offset ${hex(row.offset)}`);
    return image;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const tag = /^(mismatch chip|chip revision|can't run|Image requires)/.test(error.message)
      ? "boot_comm"
      : "esp_image";
    say("E", tag, error.message);
    return null;
  }
}
