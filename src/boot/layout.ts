// Which slots this device has, which one runs, and which one an update writes. Reads flash, writes nothing.
// Source: docs/design.md#slots, docs/formats.md#partition-table, docs/espruino.md#no-call-names-the-running-slot.

import { hex } from "../platform/bytes";
import { chipId, isEncrypted, mapped, mappedFlash } from "../platform/chip";
import { binary, Flash, read } from "../platform/flash";
import { type Header, isRunnable, parseHeader, Size } from "../image/image";
import { isOta, isOtadata, isSlot, parseTable, type Partition, Subtype, Table, Type } from "./partitions";
import { Code, otaError } from "../errors";

const OTADATA_SIZE = 0x2000;

export interface Layout {
  chip_: number;
  /** null if no other slot than the running one can start with this table */
  otadata_: Partition | null;
  /** ota_0, ota_1 ... in this order */
  ota_: Partition[];
  factory_: Partition | null;
  running_: Partition;
}

function notSupported(fact: string): never {
  throw otaError(Code.NOT_SUPPORTED, fact);
}

/** The otadata partition, or null. The bootloader obeys the last row of its type, so a table with two of them is refused. */
function findOtadata(rows: Partition[]): Partition | null {
  let found: Partition | null = null;
  for (let i = 0; i < rows.length; i++)
    if (isOtadata(rows[i])) {
      if (found)
        notSupported(
          "the partition table has two otadata rows, " +
            found.label +
            " and " +
            rows[i].label +
            " (Espruino builds of 2019 and 2020): flash a current Espruino with its table once by USB",
        );
      found = rows[i];
    }
  if (found && found.size !== OTADATA_SIZE)
    notSupported("otadata " + found.label + " has " + hex(found.size) + " bytes, expected 0x2000");
  return found;
}

/** ota_0, ota_1 ... in order. A gap is refused: IDF's app counts slots up to the first gap, its bootloader counts all. */
function findOta(rows: Partition[]): Partition[] {
  const ota: Partition[] = [];
  let count = 0;
  for (let i = 0; i < rows.length; i++)
    if (isOta(rows[i])) {
      ota[rows[i].subtype - Subtype.OTA_0] = rows[i];
      count++;
    }
  let whole = ota.length === count;
  for (let i = 0; i < count; i++) if (!ota[i]) whole = false;
  if (!whole) notSupported("the partition table has a gap or a duplicate in its ota_N slots");
  return ota;
}

function findFactory(rows: Partition[]): Partition | null {
  for (let i = 0; i < rows.length; i++)
    if (rows[i].type === Type.APP && rows[i].subtype === Subtype.FACTORY) return rows[i];
  return null;
}

/** The header of the image in `slot`, if the MMU maps its first segment from this slot; else null. */
function mappedHeader(slot: Partition, chip: number): Header | null {
  const header = parseHeader(read(slot.address, Size.FIRST_SEGMENT));
  return header && isRunnable(header, chip) && mappedFlash(chip, header.loadAddr_) === slot.address ? header : null;
}

/**
 * The running slot: the MMU maps the first segment of its image from the flash of this slot. The bytes in flash are
 * compared with the mapped ones, so an error about the MMU throws and does not return the wrong slot. Only mapped addresses
 * are read, because a read of an unmapped one resets the chip.
 */
function findRunning(rows: Partition[], chip: number): Partition {
  for (let i = 0; i < rows.length; i++) {
    const slot = rows[i];
    const header = isSlot(slot) ? mappedHeader(slot, chip) : null;
    if (!header) continue;
    const length = Math.min(header.length_, Flash.SECTOR);
    if (binary(read(slot.address + Size.FIRST_SEGMENT, length)) === mapped(header.loadAddr_, length)) return slot;
    throw otaError(Code.NOT_FOUND, "the MMU maps slot " + slot.label + ", but its flash differs from the mapped code");
  }
  throw otaError(Code.NOT_FOUND, "cannot determine the running slot: the MMU maps none of them");
}

/**
 * Reads and checks the device's partitions. Throws NOT_SUPPORTED with the remedy if the table is wrong, or has no slot for
 * another image. With `oneSlot` the latter is accepted, because a release of files alone needs no other slot: then
 * `otadata_` is null. Throws NOT_FOUND if the running slot is unknown.
 */
export function readLayout(oneSlot?: boolean): Layout {
  const chip = chipId();
  if (isEncrypted(chip)) notSupported("flash encryption is on: raw writes would be garbage to the bootloader");
  const rows = parseTable(read(Table.ADDR, Table.LENGTH));
  const otadata = findOtadata(rows);
  const ota = findOta(rows);
  const factory = findFactory(rows);
  const missing = !otadata ? "no otadata partition" : ota.length + (factory ? 1 : 0) < 2 ? "only one slot" : "";
  if (missing && !oneSlot) notSupported(missing + ": flash a table with two slots once by USB (boards/)");
  return {
    chip_: chip,
    otadata_: missing ? null : otadata,
    ota_: ota,
    factory_: factory,
    running_: findRunning(rows, chip),
  };
}

/**
 * The slot that an update writes when `start` runs: the next ota_N. After the last one, and after factory, it is the first
 * one. If this is `start` itself, it is factory (docs/design.md#slots).
 */
export function nextSlot(layout: Layout, start: Partition): Partition {
  const ota = layout.ota_;
  const next = start.subtype === Subtype.FACTORY ? ota[0] : ota[(start.subtype - Subtype.OTA_0 + 1) % ota.length];
  return next.address === start.address ? (layout.factory_ as Partition) : next;
}

/** The partition called `label`, and of type `type` if it is given; or null. */
export function partitionByLabel(label: string, type?: Type): Partition | null {
  const rows = parseTable(read(Table.ADDR, Table.LENGTH));
  for (let i = 0; i < rows.length; i++)
    if (rows[i].label === label && (type === undefined || rows[i].type === type)) return rows[i];
  return null;
}

/** The slot called `label`, or null. */
export function slotByLabel(layout: Layout, label: string): Partition | null {
  for (let i = 0; i < layout.ota_.length; i++) if (layout.ota_[i].label === label) return layout.ota_[i];
  return layout.factory_ && layout.factory_.label === label ? layout.factory_ : null;
}
