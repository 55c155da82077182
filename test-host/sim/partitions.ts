// Partition tables on the host. Source: docs/formats.md#partition-table (IDF esp_flash_partitions.h, flash_partitions.c).
import { createHash } from "node:crypto";
import { hex } from "./flash.ts";

export type Row = { label: string; type: number; subtype: number; offset: number; size: number; flags: number };

export const TABLE_OFFSET = 0x8000;
export const TABLE_SIZE = 0xc00;
const ROW_SIZE = 32;
const MAX_ROWS = TABLE_SIZE / ROW_SIZE;
const MAGIC = 0x50aa;
const MAGIC_MD5 = 0xebeb;

export const TYPE_APP = 0x00;
export const TYPE_DATA = 0x01;
export const SUBTYPE_FACTORY = 0x00;
export const SUBTYPE_TEST = 0x20;
export const SUBTYPE_DATA_OTA = 0x00;

const md5 = (bytes: Uint8Array) => createHash("md5").update(bytes).digest();

/** IDF esp_partition_table_verify. The error is worded as the bootloader words it. */
export function checkTable(bytes: Uint8Array, flashSize: number): { rows: Row[] } | { error: string } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const rows: Row[] = [];
  let md5Found = false;
  for (let i = 0; i < MAX_ROWS && (i + 1) * ROW_SIZE <= bytes.length; i++) {
    const at = i * ROW_SIZE;
    const magic = view.getUint16(at, true);
    if (magic === MAGIC) {
      const row = readRow(view, at);
      if (row.offset > flashSize || row.size > flashSize || row.offset + row.size > flashSize) {
        const what = `partition ${i} invalid - offset ${hex(row.offset)} size ${hex(row.size)}`;
        return { error: `${what} exceeds flash chip size ${hex(flashSize)}` };
      }
      rows.push(row);
    } else if (magic === MAGIC_MD5) {
      if (md5Found) return { error: "Only one MD5 checksum is allowed" };
      md5Found = true;
      const want = md5(bytes.subarray(0, at));
      if (want.compare(bytes, at + 16, at + 32) !== 0) return { error: "Incorrect MD5 checksum" };
    } else if (i > 0 && magic === 0xffff && bytes[at + 2] === 0xff && bytes[at + 3] === 0xff) {
      return { rows };
    } else {
      return { error: `partition ${i} invalid magic number ${hex(magic)}` };
    }
  }
  return { error: "partition table has no terminating entry, not valid" };
}

function readRow(view: DataView, at: number): Row {
  let label = "";
  for (let i = 0; i < 16 && view.getUint8(at + 12 + i) !== 0; i++) {
    label += String.fromCharCode(view.getUint8(at + 12 + i));
  }
  return {
    label,
    type: view.getUint8(at + 2),
    subtype: view.getUint8(at + 3),
    offset: view.getUint32(at + 4, true),
    size: view.getUint32(at + 8, true),
    flags: view.getUint32(at + 28, true),
  };
}

/** Rows of a table that the bootloader would accept on any flash; throws for the others. */
export function parseTable(bytes: Uint8Array): Row[] {
  const table = checkTable(bytes, 0xffffffff);
  if ("error" in table) throw new Error(table.error);
  return table.rows;
}

/** The bytes that belong at 0x8000: rows, MD5 row, 0xff up to 0xC00. */
export function buildTable(rows: readonly Row[]): Uint8Array {
  if (rows.length > MAX_ROWS - 2) throw new RangeError("94 rows fit beside the MD5 row and the terminator");
  const bytes = new Uint8Array(TABLE_SIZE).fill(0xff);
  const view = new DataView(bytes.buffer);
  rows.forEach((row, i) => {
    const at = i * ROW_SIZE;
    if (row.label.length > 16) throw new RangeError(`label ${row.label} is longer than 16`);
    view.setUint16(at, MAGIC, true);
    bytes[at + 2] = row.type;
    bytes[at + 3] = row.subtype;
    view.setUint32(at + 4, row.offset, true);
    view.setUint32(at + 8, row.size, true);
    bytes.fill(0, at + 12, at + 28);
    bytes.set(Buffer.from(row.label, "latin1"), at + 12);
    view.setUint32(at + 28, row.flags, true);
  });
  const end = rows.length * ROW_SIZE;
  view.setUint16(end, MAGIC_MD5, true);
  bytes.set(md5(bytes.subarray(0, end)), end + 16);
  return bytes;
}

/** The row that the bootloader obeys: the LAST one of type data, subtype 0 (docs/formats.md#partition-table). */
export function findOtadata(rows: readonly Row[]): Row | null {
  return rows.filter((row) => row.type === TYPE_DATA && row.subtype === SUBTYPE_DATA_OTA).at(-1) ?? null;
}

/** App partitions that can hold an image: `factory` first, then ota_0, ota_1 … */
export function slots(rows: readonly Row[]): Row[] {
  return rows
    .filter((row) => row.type === TYPE_APP && (row.subtype === SUBTYPE_FACTORY || row.subtype >> 4 === 1))
    .sort((a, b) => a.subtype - b.subtype);
}
