// A whole flash: what is in it, and what its bootloader would start. Source: docs/formats.md.
import { isBlank } from "./bytes.ts";
import { CHIPS } from "./chips.ts";
import { type EspruinoImage, readEspruino } from "./espruino-image.ts";
import type { StorageClaim } from "../../boot/storage-claim.ts";
import { misfit, storageOf } from "./espruino-storage.ts";
import { IMAGE_MAGIC, type Image, type Problem, readImage } from "./image.ts";
import { slotOfSeq } from "../../boot/otadata.ts";
import { activeCopy, type Entry, OTADATA_SIZE, readOtadata } from "./otadata.ts";
import { findOtadata, isFactory, isOta, type Row, readTable, slotsOf, type Table } from "./partitions.ts";

export interface Slot {
  label: string;
  offset: number;
  size: number;
  /** outside: not in this file; cut: the file ends before its image does; unread: see MAX_READS */
  content: "blank" | "image" | "broken" | "other" | "outside" | "cut" | "unread";
  image: Image | null;
  /** of a valid Espruino image */
  espruino: EspruinoImage | null;
  /** where that build has its Storage, and why it cannot read its files on this flash; null: it can */
  storage: (StorageClaim & { problem: string | null }) | null;
}

export interface Dump {
  size: number;
  bootloader: Image | null;
  /** as the bootloader's header says; 0 when there is none */
  flashSize: number;
  tableOffset: number;
  table: Table;
  otadata: { offset: number; entries: [Entry, Entry]; active: 0 | 1 | null } | null;
  slots: Slot[];
  /** the slot that otadata names, and the one that starts: they differ when the image of the first is broken */
  selected: string | null;
  starts: string | null;
  /** a slot that is tried before, and in whose image a bootloader of ESP-IDF 3 crashes instead of going on */
  crashesIn: string | null;
  problems: Problem[];
}

/** Each chip has its bootloader at an address of its own (docs/formats.md#chips). */
function findBootloader(bytes: Uint8Array, tableOffset: number): Image | null {
  for (const offset of [0x1000, 0, 0x2000]) {
    if (bytes[offset] !== IMAGE_MAGIC) continue;
    const image = readImage(bytes.subarray(offset, tableOffset), offset, "bootloader");
    const fits = CHIPS.some((chip) => chip.id === image?.header.chipId && chip.bootloaderOffset === offset);
    if (image && fits) return image;
  }
  return null;
}

function readSlot(bytes: Uint8Array, row: Row, rows: readonly Row[], chipId: number | undefined): Slot {
  const { label, offset, size } = row;
  const slot = { label, offset, size, image: null, espruino: null, storage: null };
  // a merged image ends with its app: the flash behind it is unknown
  const content = bytes.subarray(offset, offset + size);
  if (!content.length) return { ...slot, content: "outside" };
  if (isBlank(content)) return { ...slot, content: "blank" };
  const image = readImage(content, offset);
  if (!image) return { ...slot, content: "other" };
  if (content.length < size && image.length === null) return { ...slot, content: "cut" };
  if (chipId !== undefined && image.header.chipId !== chipId)
    image.problems.push({ offset: offset + 12, text: `chip id ${image.header.chipId}, the bootloader's is ${chipId}` });
  // the rest of a slot still holds data of earlier images, so it is not reported
  image.trailing = 0;
  if (image.problems.length) return { ...slot, content: "broken", image };
  const espruino = readEspruino(content.subarray(0, image.length ?? 0), image.header.chip);
  return { ...slot, content: "image", image, espruino, storage: storageIn(rows, espruino) };
}

/** In lengths of the file: many rows that overlap would read the same bytes many times. Two of them are still shown. */
const MAX_READS = 2;

/** The slots in the order of their use. The bytes that are read of the file have a bound, however many rows its table has. */
function readSlots(bytes: Uint8Array, rows: readonly Row[], chipId: number | undefined): Slot[] {
  const known = new Map<string, Slot>();
  let left = MAX_READS * bytes.length;
  return slotsOf(rows).map((row) => {
    const { label, offset, size } = row;
    const place = `${offset}+${size}`;
    const length = Math.max(0, Math.min(size, bytes.length - offset));
    let slot = known.get(place);
    if (!slot && length > left)
      return { label, offset, size, content: "unread", image: null, espruino: null, storage: null };
    if (!slot) {
      left -= length;
      slot = readSlot(bytes, row, rows, chipId);
      known.set(place, slot);
    }
    return { ...slot, label };
  });
}

function storageIn(rows: readonly Row[], espruino: EspruinoImage | null): Slot["storage"] {
  if (!espruino?.partition) return null;
  const storage = storageOf(espruino.partition, espruino.version);
  return { ...storage, problem: misfit(rows, storage) };
}

type Otadata = NonNullable<Dump["otadata"]>;

/** docs/formats.md#what-a-bootloader-starts: which slot otadata names. -1 is factory. */
function selectedIndex(otadata: Otadata | null, count: number, factory: boolean): number {
  if (!otadata) return -1;
  const { active, entries } = otadata;
  // the bootloader looks at seq and state here, and not at the CRC
  const dead = ({ seq, state }: Entry) => seq === 0xffffffff || state === "INVALID" || state === "ABORTED";
  if (!count || entries.every(dead)) return factory ? -1 : 0;
  return active === null ? -1 : slotOfSeq(entries[active].seq, count);
}

/** The same chapter: the selected slot, downwards to factory, then upwards; broken images are skipped. */
function startOrder(selected: number, count: number): number[] {
  const down = Array.from({ length: selected + 1 }, (_, i) => selected - i);
  const up = Array.from({ length: count - selected - 1 }, (_, i) => selected + 1 + i);
  return [...down, -1, ...up];
}

function choose(dump: Dump, rows: readonly Row[]): void {
  const ota = slotsOf(rows).filter(isOta);
  const factory = rows.find(isFactory);
  const index = selectedIndex(dump.otadata, ota.length, !!factory);
  const rowAt = (i: number) => (i < 0 ? factory : ota[i]);
  const order = startOrder(index, ota.length)
    .map(rowAt)
    .map((row) => dump.slots.find(({ label }) => label === row?.label));
  dump.selected = rowAt(index)?.label ?? null;
  // an image in any of them might start before one that was read
  if (dump.slots.some(({ content }) => content === "unread")) return;
  const first = order.findIndex((slot) => slot?.content === "image");
  const tried = order.slice(0, first < 0 ? order.length : first);
  dump.starts = order[first]?.label ?? null;
  dump.crashesIn = tried.find((slot) => slot?.image?.problems.some(({ crashes }) => crashes))?.label ?? null;
}

/** Null when the table has none, or the file ends before it does. */
function otadataIn(bytes: Uint8Array, rows: readonly Row[]): Otadata | null {
  const row = findOtadata(rows);
  if (!row || row.size < OTADATA_SIZE || row.offset + OTADATA_SIZE > bytes.length) return null;
  const entries = readOtadata(bytes.subarray(row.offset), row.offset);
  return entries && { offset: row.offset, entries, active: activeCopy(entries) };
}

/** Why it is not known which slot starts, or null. */
function startProblem({ starts, slots }: Dump): string | null {
  if (starts) return null;
  return slots.some(({ content }) => content === "unread")
    ? "it is unknown which slot starts: too many slots overlap"
    : "no slot holds an image that starts";
}

export function readDump(bytes: Uint8Array, tableOffset: number): Dump {
  const bootloader = findBootloader(bytes, tableOffset);
  const flashSize = bootloader?.header.flashSize ?? 0;
  const table = readTable(bytes.subarray(tableOffset), flashSize, tableOffset);
  const dump: Dump = {
    size: bytes.length,
    bootloader,
    flashSize,
    tableOffset,
    table,
    otadata: otadataIn(bytes, table.rows),
    slots: readSlots(bytes, table.rows, bootloader?.header.chipId),
    selected: null,
    starts: null,
    crashesIn: null,
    problems: [
      ...(bootloader?.problems ?? []),
      ...table.problems.map(({ offset, text }) => ({ offset: tableOffset + offset, text })),
    ],
  };
  choose(dump, table.rows);
  const text = startProblem(dump);
  if (text !== null) dump.problems.push({ offset: tableOffset, text });
  return dump;
}
