// Where a campaign begins: layout x starting state x bootloader. Every slot holds an image of its own, so that whatever
// starts later can be named: "old" ran first, "new" and "first" come by update, anything else is stale.

import { createHash } from "node:crypto";
import { type Board, loadBoard } from "../sim/boards.ts";
import {
  type BootloaderKind,
  BOOTLOADERS,
  buildEntry,
  CHIPS,
  type Chip,
  IDF33,
  parseEntry,
  RECORD_SIZE,
  runBootloader,
  STATE,
  verifyImage,
} from "../sim/bootloader.ts";
import { hostChip } from "../sim/device.ts";
import type { StorageArea } from "../sim/espruino/area.ts";
import { areaOf, type Build, buildOf, type SizedChip } from "../sim/espruino/build.ts";
import { createFlash, type Flash, type Snapshot, snapshotHash, SECTOR } from "../sim/flash.ts";
import { buildImage, layoutOf, reseal } from "../support/images.ts";
import { buildTable, findOtadata, type Row, slots, TABLE_OFFSET } from "../sim/partitions.ts";
import { createStorage, STORAGES, type Storage } from "./storages.ts";

/** What survives a loss of power. */
export type State = { snapshot: Snapshot };

export const stateKey = ({ snapshot }: State): string => snapshotHash(snapshot);

export const TOYS = ["toy-two", "toy-factory-two", "toy-factory-one", "toy-three"] as const;
export const FULL_SIZE = ["esp32", "esp32-dual", "esp32c3", "esp32s3"] as const;
/** `idf33` differs from `current` in what it does with images, so it stands where these are spoiled. */
export const KINDS: Record<string, BootloaderKind> = { ...BOOTLOADERS, idf33: IDF33 };

const TOY_SIZE = 4 * SECTOR + 1008;
const FULL_IMAGE_SIZE = 64 * SECTOR + 1008;

type Start = {
  what: string;
  /** Entries of copy 0 and 1 for a table with `ota` slots ota_N. */
  entries(ota: number): (Uint8Array | null)[];
  /** Only the first slot of the table holds an image. */
  empty?: true;
  /** The ota_N whose images are spoiled. */
  broken?(ota: number): number[];
  /** Bytes that the network delivers at a time; SECTOR where nothing is said. */
  pieceSize?: number;
  /** The only layouts with this start. */
  only?: string[];
  /** What Storage is like when the scenario begins, behind what was prepared for it. */
  storage?: string;
  /** Through which partition the build that runs reads its files, and through which the one that is offered. */
  builds?: [own: "js_code" | "storage", offered: "js_code" | "storage"];
  /** Another table than the layout's. */
  table?(rows: Row[]): Row[];
};

const VERSIONS = { js_code: "2v22.26", storage: "2v27.45" };

/** The row `storage`, and what becomes of it. */
const withStorage = (change: (storage: Row) => Row[]) => (rows: Row[]) =>
  rows.flatMap((row) => (row.label === "storage" ? change(row) : [row]));

/** Both names for one place, the older one for its first 256 KB. */
const bothNames = withStorage((storage) => [{ ...storage, label: "js_code", size: 256 << 10 }, storage]);

function torn(seq: number): Uint8Array {
  const entry = buildEntry(seq, STATE.VALID);
  entry.fill(0xff, 28, RECORD_SIZE);
  return entry;
}

const { VALID, ABORTED } = STATE;

/** One valid entry, and Storage makes it hard to write a boot record. */
const crowded = (name: string): [string, Start] => [
  `storage-${name}`,
  {
    what: `as \`one\`; ${STORAGES[name].what} (only on toy-two and toy-factory-one)`,
    entries: () => [buildEntry(1, VALID), null],
    storage: name,
    only: ["toy-two", "toy-factory-one"],
  },
];

/** The starting states; with one ota_N both entries name it. */
export const STARTS: Record<string, Start> = {
  blank: {
    what: "otadata is blank, the first slot runs, the others are empty",
    entries: () => [null, null],
    empty: true,
  },
  one: { what: "one valid entry, for ota_0", entries: () => [buildEntry(1, VALID), null] },
  pieces: {
    what: "the same; the network delivers 536 bytes at a time, as on an ESP32, elsewhere a sector (only on toy-two)",
    entries: () => [buildEntry(1, VALID), null],
    pieceSize: 536,
    only: ["toy-two"],
  },
  "two-0": {
    what: "two valid entries, ota_0 runs by the newer one in copy 0",
    entries: (ota) => [buildEntry(ota + 1, VALID), buildEntry(ota > 1 ? 2 : 1, VALID)],
  },
  "two-1": {
    what: "two valid entries, the newer one in copy 1: ota_1 runs, where there is one",
    entries: () => [buildEntry(1, VALID), buildEntry(2, VALID)],
  },
  torn: {
    what: "one valid entry, for ota_0, beside one without its CRC",
    entries: () => [buildEntry(1, VALID), torn(2)],
  },
  aborted: {
    what: "one valid entry, for ota_0, beside a newer one marked ABORTED, which a bootloader of IDF 3.1 or 3.2 obeys",
    entries: () => [buildEntry(1, VALID), buildEntry(2, ABORTED)],
  },
  fallen: {
    what: "the selected image is broken: the device has fallen back to another slot",
    entries: (ota) => (ota > 1 ? [buildEntry(1, VALID), buildEntry(2, VALID)] : [buildEntry(1, VALID), null]),
    broken: (ota) => [ota > 1 ? 1 : 0],
  },
  alone: {
    what: "the same, and no entry names the slot that runs",
    entries: (ota) => [buildEntry(ota > 1 ? 2 : 1, VALID), null],
    broken: (ota) => [ota > 1 ? 1 : 0],
  },
  past: {
    what: "ota_1 is selected and broken, ota_0 is broken too: the device has fallen back past the slot that an update writes (only on toy-factory-two)",
    entries: () => [buildEntry(1, VALID), buildEntry(2, VALID)],
    broken: () => [0, 1],
    only: ["toy-factory-two"],
  },
  ...Object.fromEntries(Object.keys(STORAGES).map(crowded)),
  moved: {
    what: "the image that is offered keeps its files elsewhere than the one that runs, as builds from 2v26 on do on older tables (only on toy-two)",
    entries: () => [buildEntry(1, VALID), null],
    builds: ["js_code", "storage"],
    table: withStorage((storage) => [
      { ...storage, label: "js_code", size: storage.size / 2 },
      { ...storage, offset: storage.offset + storage.size / 2, size: storage.size / 2 },
    ]),
    only: ["toy-two"],
  },
  newer: {
    what: "a build with 256 KB of Storage runs, one with 896 KB is offered, the table has both names (only on esp32)",
    entries: () => [null, null],
    builds: ["js_code", "storage"],
    table: bothNames,
    only: ["esp32"],
  },
  older: {
    what: "the same the other way (only on esp32)",
    entries: () => [null, null],
    builds: ["storage", "js_code"],
    table: bothNames,
    only: ["esp32"],
  },
};

/** The starting states of a layout. */
export function startsOf(layout: string): string[] {
  return Object.keys(STARTS).filter((name) => (STARTS[name].only ?? [layout]).includes(layout));
}

export type InitialState = {
  layout: string;
  start: string;
  kind: BootloaderKind;
  board: Board;
  chip: Chip;
  slots: Row[];
  otadata: Row;
  /** What can come by update, by name. */
  images: Record<string, Uint8Array>;
  origin: State;
  /** Label of the slot that runs from the origin, and whether it does so by a fallback. */
  running: string;
  fellBack: boolean;
  selected: string | null;
  /** Labels of the slots whose image is spoiled. */
  broken: string[];
  /** undefined: Storage has room for everything. */
  storage?: Storage;
  /** Storage on this flash, as that build sees it. */
  storageOf(chip: SizedChip, build: Build): StorageArea;
  /** Bytes that the network delivers at a time. */
  pieceSize: number;
  /** Name of the image that `slot` of this flash begins with. */
  nameOf(flash: Flash, slot: Row, length: number): string;
  /** Does `slot` hold a whole image that this campaign knows? */
  holdsWhole(flash: Flash, slot: Row): boolean;
};

const hash = (bytes: Uint8Array) => createHash("sha1").update(bytes).digest("hex");
const cache = new Map<string, Uint8Array>();

type Reads = "js_code" | "storage" | undefined;

function image(chip: string, size: number, seed: number, version: string, storage: Reads): Uint8Array {
  const key = `${chip} ${size} ${seed} ${storage}`;
  let bytes = cache.get(key);
  if (!bytes) {
    const espruino = storage && { storage, version: VERSIONS[storage] };
    bytes = buildImage({ chip: chip as never, size, seed, descriptor: { version }, espruino });
    cache.set(key, bytes);
  }
  return bytes;
}

/** Another image whose first sector is the same, descriptor included. */
function alike(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  copy[5000] ^= 0x10;
  return reseal(copy);
}

/** A bit of the payload is another one: for the bootloader a broken image, with a beginning as before. */
export function spoiled(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  copy[layoutOf(bytes).segments[bytes[1] - 1] + 8] ^= 0x10;
  return copy;
}

export function createInitialState(layout: string, start: string, kindName: string): InitialState {
  const state = STARTS[start];
  const stock = loadBoard(layout);
  const board = { ...stock, rows: state?.table?.(stock.rows) ?? stock.rows };
  const kind = KINDS[kindName];
  const chip = CHIPS.find((one) => one.chipId === board.chipId);
  const otadata = findOtadata(board.rows);
  if (!kind || !chip || !state || !otadata) throw new Error(`no initial state ${layout}/${start}/${kindName}`);
  const size = layout.startsWith("toy-") ? TOY_SIZE : FULL_IMAGE_SIZE;
  const all = slots(board.rows);
  const ota = all.filter((slot) => slot.subtype !== 0);
  const broken = (state.broken?.(ota.length) ?? []).map((index) => ota[index].label);
  const flash = createFlash({ size: board.flashSize });
  flash.load(buildTable(board.rows), TABLE_OFFSET);
  const names = new Map<string, string>();
  const lengths = new Set<number>();
  const images: Record<string, Uint8Array> = {
    new: image(board.chip, size, 2, "2.0.2", state.builds?.[1]),
    first: image(board.chip, size - 2048, 3, "2.0.3", state.builds?.[1]),
  };
  images.alike = alike(images.new);
  function know(name: string, bytes: Uint8Array): void {
    names.set(hash(bytes), name);
    lengths.add(bytes.length);
  }
  for (const [name, bytes] of Object.entries(images)) know(name, bytes);
  all.forEach((slot, i) => {
    if (state.empty && i > 0) return;
    const bytes = image(board.chip, size - 16 * i, 10 + i, `1.0.${i}`, state.builds?.[0]);
    know(slot.label, bytes);
    flash.load(broken.includes(slot.label) ? spoiled(bytes) : bytes, slot.offset);
  });
  state.entries(ota.length).forEach((entry, copy) => {
    if (entry) flash.load(entry, otadata.offset + copy * SECTOR);
  });
  const storageOf = (chip: SizedChip, build: Build): StorageArea => {
    const area = areaOf(chip, board.rows, build);
    if (!area) throw new Error(`${layout} has no Storage`);
    return area;
  };
  createStorage(storageOf(hostChip(flash), buildOf(image(board.chip, size, 10, "1.0.0", state.builds?.[0]))));
  const origin = { snapshot: flash.snapshot() };
  const boot = runBootloader(flash, { chipId: board.chipId, kind });
  if (!boot.slot || !boot.image) throw new Error(`${layout}/${start}/${kindName}: nothing boots`);
  const running = boot.slot.label;
  const own = names.get(hash(flash.peek(boot.slot.offset, boot.image.length))) as string;
  return {
    layout,
    start,
    kind,
    board,
    chip,
    slots: all,
    otadata,
    images,
    origin,
    running,
    fellBack: boot.fellBack,
    selected: boot.selected,
    broken,
    storage: state.storage === undefined ? undefined : STORAGES[state.storage],
    storageOf,
    pieceSize: state.pieceSize ?? SECTOR,
    nameOf(flash, slot, length) {
      const name = names.get(hash(flash.peek(slot.offset, length))) ?? "unknown";
      return name === own ? "old" : name;
    },
    holdsWhole: (flash, slot) => [...lengths].some((length) => names.has(hash(flash.peek(slot.offset, length)))),
  };
}

export function sameBytes(a: Snapshot, b: Snapshot, row: Row): boolean {
  for (let i = row.offset / SECTOR; i < (row.offset + row.size) / SECTOR; i++)
    if (a.sectors[i] !== b.sectors[i] && Buffer.compare(a.sectors[i], b.sectors[i]) !== 0) return false;
  return true;
}

/**
 * Slots without a whole image that are named by an entry which the bootloader may obey later: their labels. A slot whose
 * bytes are those of the origin does not count.
 */
export function entriesNamingBrokenSlots(initial: InitialState, snapshot: Snapshot): string[] {
  const { ABORTED: aborted, INVALID: invalid, UNDEFINED: erased } = STATE;
  const ota = initial.slots.filter((slot) => slot.subtype !== 0);
  const flash = createFlash({ from: snapshot });
  const found: string[] = [];
  for (let copy = 0; copy < 2; copy++) {
    const { seq, state, crcOk } = parseEntry(flash.peek(initial.otadata.offset + copy * SECTOR, RECORD_SIZE));
    if (!crcOk || seq === erased || state === aborted || state === invalid) continue;
    const slot = ota[(seq - 1) % ota.length];
    if (sameBytes(snapshot, initial.origin.snapshot, slot)) continue;
    if (!initial.holdsWhole(flash, slot)) found.push(slot.label);
  }
  return found;
}

/** Slots that hold an image which a bootloader would start, and its name. What was there at the origin does not count. */
export function startable(initial: InitialState, snapshot: Snapshot): { label: string; name: string }[] {
  const flash = createFlash({ from: snapshot });
  const found: { label: string; name: string }[] = [];
  for (const slot of initial.slots) {
    if (flash.peek(slot.offset, 1)[0] !== 0xe9 || sameBytes(snapshot, initial.origin.snapshot, slot)) continue;
    const verdict = verifyImage(flash, slot, { chipId: initial.board.chipId, kind: initial.kind });
    if (verdict.ok) found.push({ label: slot.label, name: initial.nameOf(flash, slot, verdict.image.length) });
  }
  return found;
}

/** The slot that an update writes when `running` runs: docs/design.md#slots, for the check, not taken from src/. */
export function targetOf(initial: InitialState, running: string): Row {
  const ota = initial.slots.filter((slot) => slot.subtype !== 0);
  const at = ota.findIndex((slot) => slot.label === running);
  const next = ota[(at + 1) % ota.length];
  return next.label === running ? (initial.slots.find((slot) => slot.subtype === 0) as Row) : next;
}
