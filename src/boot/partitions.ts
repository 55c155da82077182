// The partition table: rows of 32 bytes at flash address 0x8000. Pure.
// Source: docs/formats.md#partition-table (IDF esp_flash_partitions.h, flash_partitions.c, gen_esp32part.py).
// The bootloader has checked the table's MD5 before this module runs. Here the rows are checked for alignment, bounds and
// overlap, because a write to the wrong place could destroy the device.

import { hex, u16, u32, zText } from "../platform/bytes";
import { Code, otaError } from "../errors";

/** In bytes. An enum takes no variable. */
export const enum Table {
  ADDR = 0x8000,
  LENGTH = 0xc00,
  ROW_LENGTH = 32,
  /**
   * 16 MB: an address of flash has 24 bits, unless bootloader and firmware are built for 32 bits, as no Espruino build is
   */
  FLASH_END = 0x1000000,
}

// esp_partition_info_t, esp_flash_partitions.h of IDF v5.5:
//      0  uint16_t magic
//      2  uint8_t  type, subtype
//      4  uint32_t pos.offset, pos.size
//     12  uint8_t  label[16]
//     28  uint32_t flags
/** The first two bytes of a row. */
export const enum Magic {
  ESP_PARTITION = 0x50aa,
  ESP_PARTITION_MD5 = 0xebeb,
  /** erased flash: the end of the table */
  NO_ROW = 0xffff,
}

/** Types of rows (esp_partition.h). */
export const enum Type {
  APP = 0,
  DATA = 1,
}
/** Subtypes of apps. */
export const enum Subtype {
  FACTORY = 0,
  OTA_0 = 0x10,
  OTA_15 = 0x1f,
}
/** Subtypes of data. */
export const enum DataSubtype {
  OTADATA = 0,
}

/** A row of the partition table, as IDF's `esp_partition_t`; `address` and `size` in bytes. */
export interface Partition {
  label: string;
  type: number;
  subtype: number;
  address: number;
  size: number;
}

type Kind = Pick<Partition, "type" | "subtype">;

/** Is it one of ota_0 to ota_15? */
export function isOta(row: Kind): boolean {
  return row.type === Type.APP && row.subtype >= Subtype.OTA_0 && row.subtype <= Subtype.OTA_15;
}

/** A slot: an app partition that can hold an image and be selected. The test app (0x20) is not a slot. */
export function isSlot(row: Kind): boolean {
  return row.type === Type.APP && (row.subtype === Subtype.FACTORY || isOta(row));
}

export function isOtadata(row: Kind): boolean {
  return row.type === Type.DATA && row.subtype === DataSubtype.OTADATA;
}

export function parseRow(table: Uint8Array, offset: number): Partition {
  return {
    label: zText(table, offset + 12, 16),
    type: table[offset + 2],
    subtype: table[offset + 3],
    address: u32(table, offset + 4),
    size: u32(table, offset + 8),
  };
}

/** Are these the two rows that name one Storage for Espruino builds of both kinds (storage.ts)? */
export function isStorageTwice(a: Partition, b: Partition): boolean {
  const names = a.label + " " + b.label;
  return (
    a.type === Type.DATA &&
    b.type === Type.DATA &&
    a.address === b.address &&
    (names === "js_code storage" || names === "storage js_code")
  );
}

/** Does an update need this row, or does Espruino keep Storage there? */
function isNeeded(row: Partition): boolean {
  return (
    isSlot(row) || isOtadata(row) || (row.type === Type.DATA && (row.label === "js_code" || row.label === "storage"))
  );
}

function checkRow(row: Partition, others: Partition[]): void {
  const end = row.address + row.size;
  let problem = "";
  if (row.address % (row.type === Type.APP ? 0x10000 : 0x1000)) problem = "is not aligned";
  else if (row.type === Type.APP && row.size % 0x1000) problem = "must have whole sectors";
  else if (!row.size) problem = "has 0 bytes";
  else if (end > Table.FLASH_END && isNeeded(row))
    problem = "ends at " + hex(end) + ": Espruino addresses 16 MB of flash";
  // only the primary rows of the types bootloader (2) and partition_table (3) may be there
  else if (row.address < Table.ADDR + 0x1000 && (row.subtype || (row.type !== 2 && row.type !== 3)))
    problem = "lies on bootloader or table";
  for (let i = 0; !problem && i < others.length; i++)
    if (row.address < others[i].address + others[i].size && others[i].address < end && !isStorageTwice(row, others[i]))
      problem = "overlaps " + others[i].label;
  if (problem)
    throw otaError(
      Code.INVALID_STATE,
      "partition " + row.label + " at " + hex(row.address) + "+" + hex(row.size) + " " + problem,
    );
}

/**
 * The rows of a table of Table.LENGTH bytes. Throws NOT_SUPPORTED if it is not a table, INVALID_STATE if a row is bad.
 */
export function parseTable(table: Uint8Array): Partition[] {
  const rows: Partition[] = [];
  for (let offset = 0; offset < Table.LENGTH; offset += Table.ROW_LENGTH) {
    const magic = u16(table, offset);
    if (rows.length && (magic === Magic.ESP_PARTITION_MD5 || magic === Magic.NO_ROW)) return rows;
    if (magic !== Magic.ESP_PARTITION)
      throw otaError(
        Code.NOT_SUPPORTED,
        "no partition table row at " +
          hex(Table.ADDR + offset) +
          ", found " +
          hex(magic) +
          " (is the flash encrypted?)",
      );
    const row = parseRow(table, offset);
    checkRow(row, rows);
    rows.push(row);
  }
  throw otaError(Code.NOT_SUPPORTED, "the partition table has no end");
}
