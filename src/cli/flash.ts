// A whole flash: what is in it, and what its bootloader would start. Source: reference 3.3, 3.4, 4.1, 6.
import { isBlank } from "./bytes.ts";
import { CHIPS } from "./chips.ts";
import { IMAGE_MAGIC, type Image, type Problem, readImage } from "./image.ts";
import { activeCopy, type Entry, OTADATA_SIZE, readOtadata, slotOfSeq } from "./otadata.ts";
import {
  findOtadata,
  isFactory,
  isOta,
  isSlot,
  type Row,
  readTable,
  slotsOf,
  TABLE_OFFSET,
  type Table,
} from "./partitions.ts";

export interface Slot {
  label: string;
  offset: number;
  size: number;
  content: "blank" | "image" | "broken" | "other" | "outside";
  image: Image | null;
}

export interface Dump {
  size: number;
  bootloader: Image | null;
  /** as the bootloader's header says; 0 when there is none */
  flashSize: number;
  table: Table;
  otadata: { offset: number; entries: [Entry, Entry]; active: 0 | 1 | null } | null;
  slots: Slot[];
  /** the slot that otadata names, and the one that starts: they differ when the image of the first is broken */
  selected: string | null;
  starts: string | null;
  problems: Problem[];
}

/** The bootloader is where its chip wants it (reference 4.1). */
function findBootloader(bytes: Uint8Array): Image | null {
  for (const offset of [0x1000, 0, 0x2000]) {
    if (bytes[offset] !== IMAGE_MAGIC) continue;
    const image = readImage(bytes.subarray(offset, TABLE_OFFSET), offset, "bootloader");
    const fits = CHIPS.some((chip) => chip.id === image?.header.chipId && chip.bootloaderOffset === offset);
    if (image && fits) return image;
  }
  return null;
}

function readSlot(bytes: Uint8Array, { label, offset, size }: Row, chipId: number | undefined): Slot {
  const slot = { label, offset, size };
  if (offset + size > bytes.length) return { ...slot, content: "outside", image: null };
  const content = bytes.subarray(offset, offset + size);
  if (isBlank(content)) return { ...slot, content: "blank", image: null };
  const image = readImage(content, offset);
  if (!image) return { ...slot, content: "other", image: null };
  if (chipId !== undefined && image.header.chipId !== chipId)
    image.problems.push({ offset: offset + 12, text: `chip id ${image.header.chipId}, the bootloader's is ${chipId}` });
  // behind an image in a slot lies what was there before, which is nobody's business
  image.trailing = 0;
  return { ...slot, content: image.problems.length ? "broken" : "image", image };
}

type Otadata = NonNullable<Dump["otadata"]>;

/** Reference 3.3: which slot otadata names. -1 is factory. */
function selectedIndex(otadata: Otadata | null, count: number, factory: boolean): number {
  if (!otadata) return -1;
  const { active, entries } = otadata;
  // the first question looks at seq and state only, not at the CRC
  const dead = ({ seq, state }: Entry) => seq === 0xffffffff || state === "INVALID" || state === "ABORTED";
  if (!count || entries.every(dead)) return factory ? -1 : 0;
  return active === null ? -1 : slotOfSeq(entries[active].seq, count);
}

/** Reference 3.4: the selected one, downwards to factory, then upwards; broken images are skipped. */
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
  const starts = startOrder(index, ota.length)
    .map(rowAt)
    .find((row) => dump.slots.some((slot) => slot.label === row?.label && slot.content === "image"));
  dump.selected = rowAt(index)?.label ?? null;
  dump.starts = starts?.label ?? null;
}

export function readDump(bytes: Uint8Array): Dump {
  const bootloader = findBootloader(bytes);
  const flashSize = bootloader?.header.flashSize ?? 0;
  const table = readTable(bytes.subarray(TABLE_OFFSET), flashSize);
  const otadata = findOtadata(table.rows);
  const readable = otadata && otadata.size >= OTADATA_SIZE && otadata.offset + OTADATA_SIZE <= bytes.length;
  const entries = readable ? readOtadata(bytes.subarray(otadata.offset), otadata.offset) : null;
  const dump: Dump = {
    size: bytes.length,
    bootloader,
    flashSize,
    table,
    otadata: entries && { offset: (otadata as Row).offset, entries, active: activeCopy(entries) },
    slots: slotsOf(table.rows)
      .filter(isSlot)
      .map((row) => readSlot(bytes, row, bootloader?.header.chipId)),
    selected: null,
    starts: null,
    problems: [
      ...(bootloader?.problems ?? []),
      ...table.problems.map(({ offset, text }) => ({ offset: TABLE_OFFSET + offset, text })),
    ],
  };
  choose(dump, table.rows);
  if (!dump.starts) dump.problems.push({ offset: TABLE_OFFSET, text: "no slot holds an image that starts" });
  return dump;
}
