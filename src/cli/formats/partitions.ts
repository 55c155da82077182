// The partition table: its binary form, and the rules that a table has to keep. What a device reads of a table is
// src/boot/partitions.ts; the rules here are gen_esp32part.py's, which has more of them.
// Source: docs/formats.md#partition-table (IDF esp_flash_partitions.h, flash_partitions.c, gen_esp32part.py).
import { createHash } from "node:crypto";
import * as device from "../../boot/partitions.ts";
import { DataSubtype, Magic, Subtype, Table as DeviceTable, Type } from "../../boot/partitions.ts";
import { setU32, u16, u32 } from "../../platform/bytes.ts";
import { hex, sizeText, utf8Of } from "./bytes.ts";
import { printable } from "../ui/errors.ts";

export const TABLE_OFFSET: number = DeviceTable.ADDR;
/** what gen_esp32part.py writes; the sector has 4096 */
export const TABLE_SIZE: number = DeviceTable.LENGTH;
export const SECTOR = 0x1000;

export const ROW_SIZE: number = DeviceTable.ROW_LENGTH;
/** beside the MD5 row and the terminator */
export const MAX_ROWS = TABLE_SIZE / ROW_SIZE - 2;
const APP_ALIGNMENT = 0x10000;
const OTADATA_SIZE = 0x2000;
const LEAST_NVS = 0x3000;

export const TYPE = { app: Type.APP, data: Type.DATA, bootloader: 2, partition_table: 3 } as const;

const otaNames = Array.from({ length: 16 }, (_, i) => [`ota_${i}`, Subtype.OTA_0 + i] as const);
/** Names of subtypes, by type. */
export const SUBTYPES: Record<number, Record<string, number>> = {
  [TYPE.app]: { factory: Subtype.FACTORY, ...Object.fromEntries(otaNames), test: 0x20, tee_0: 0x30, tee_1: 0x31 },
  [TYPE.data]: {
    ota: DataSubtype.OTADATA,
    phy: 1,
    nvs: 2,
    coredump: 3,
    nvs_keys: 4,
    efuse: 5,
    undefined: 6,
    esphttpd: 0x80,
    fat: 0x81,
    spiffs: 0x82,
    littlefs: 0x83,
    tee_ota: 0x90,
  },
  [TYPE.bootloader]: { primary: 0, ota: 1, recovery: 2 },
  [TYPE.partition_table]: { primary: 0, ota: 1 },
};
export const FLAGS: Record<string, number> = { encrypted: 1, readonly: 2 };

export interface Row {
  label: string;
  type: number;
  subtype: number;
  offset: number;
  size: number;
  flags: number;
}

const nameIn = (names: Record<string, number>, value: number) =>
  Object.keys(names).find((name) => names[name] === value);

export function typeName(type: number): string {
  return nameIn(TYPE, type) ?? hex(type);
}

export function subtypeName({ type, subtype }: Row): string {
  return nameIn(SUBTYPES[type] ?? {}, subtype) ?? hex(subtype);
}

export function flagNames(flags: number): string {
  const known = Object.keys(FLAGS).filter((name) => flags & FLAGS[name]);
  const rest = flags & ~3;
  return [...known, ...(rest ? [hex(rest >>> 0)] : [])].join(":");
}

export const { isOta, isSlot } = device;
const { isOtadata } = device;
export const isFactory = (row: Row) => isSlot(row) && !isOta(row);
const isTeeOtadata = ({ type, subtype }: Row) => type === TYPE.data && subtype === SUBTYPES[TYPE.data].tee_ota;

/** The bootloader and the table of the chip itself: the table does not decide where they are. */
export function isPrimary({ type, subtype }: Pick<Row, "type" | "subtype">): boolean {
  return (type === TYPE.bootloader || type === TYPE.partition_table) && subtype === 0;
}

/** Do Espruino builds read the files of their Storage through this partition? (targets/esp32/main.c) */
export const isEspruinoStorage = ({ type, label }: Row) =>
  type === TYPE.data && (label === "js_code" || label === "storage");

/** A row as the device has it. */
const toPartition = ({ offset, ...row }: Row): device.Partition => ({ ...row, address: offset });

/**
 * Two names for the start of one Storage: builds up to 2v25 look for js_code, later ones for storage. It is the only
 * overlap that is allowed. gen_esp32part.py refuses it; neither bootloader nor app of ESP-IDF looks at overlaps.
 */
export function sharesStorage(a: Row, b: Row): boolean {
  return device.isStorageTwice(toPartition(a), toPartition(b));
}

/** The row that the bootloader obeys: the LAST one of type data, subtype 0 (docs/formats.md#partition-table). */
export function findOtadata(rows: readonly Row[]): Row | undefined {
  return rows.filter(isOtadata).at(-1);
}

/** factory, then ota_0, ota_1 ... */
export function slotsOf(rows: readonly Row[]): Row[] {
  return rows.filter(isSlot).sort((a, b) => a.subtype - b.subtype);
}

const md5 = (bytes: Uint8Array) => createHash("md5").update(bytes).digest();

/** What gen_esp32part.py writes: rows, MD5 row, 0xff. */
export function buildTable(rows: readonly Row[]): Buffer {
  const table = Buffer.alloc(TABLE_SIZE, 0xff);
  rows.forEach((row, i) => {
    const at = i * ROW_SIZE;
    table.fill(0, at, at + ROW_SIZE);
    table.writeUInt16LE(Magic.ESP_PARTITION, at);
    table[at + 2] = row.type;
    table[at + 3] = row.subtype;
    setU32(table, at + 4, row.offset);
    setU32(table, at + 8, row.size);
    table.set(Buffer.from(row.label), at + 12);
    setU32(table, at + 28, row.flags);
  });
  const end = rows.length * ROW_SIZE;
  table.writeUInt16LE(Magic.ESP_PARTITION_MD5, end);
  table.set(md5(table.subarray(0, end)), end + 16);
  return table;
}

/** What is wrong with a table: `row` counts from 0, `offset` from the start of the table. */
export interface TableProblem {
  row: number;
  offset: number;
  text: string;
}

export interface Table {
  rows: Row[];
  md5: "ok" | "wrong" | "missing";
  problems: TableProblem[];
}

function readRow(bytes: Uint8Array, at: number): Row {
  const { label, type, subtype, address, size } = device.parseRow(bytes, at);
  return { label: utf8Of(label), type, subtype, offset: address, size, flags: u32(bytes, at + 28) };
}

function addProblem(table: Table, offset: number, text: string): void {
  table.problems.push({ row: offset / ROW_SIZE, offset, text });
}

function readMd5(bytes: Uint8Array, at: number, table: Table): void {
  const found = Buffer.from(bytes.subarray(at + 16, at + 32));
  const wanted = md5(bytes.subarray(0, at));
  const holds = table.md5 === "missing" && wanted.equals(found);
  if (table.md5 !== "missing") addProblem(table, at, "a second MD5 row");
  else if (!holds) addProblem(table, at + 16, `MD5 ${found.toString("hex")}, computed ${wanted.toString("hex")}`);
  table.md5 = holds ? "ok" : "wrong";
}

/** Reads a row of partitions, an MD5 row or the terminating row at `at`; false when the table ends here. */
function readEntry(bytes: Uint8Array, at: number, table: Table): boolean {
  const magic = u16(bytes, at);
  if (magic === Magic.NO_ROW) return false;
  if (magic === Magic.ESP_PARTITION_MD5) {
    readMd5(bytes, at, table);
    return true;
  }
  if (magic === Magic.ESP_PARTITION && table.md5 === "missing") {
    table.rows.push(readRow(bytes, at));
    return true;
  }
  const what =
    magic === Magic.ESP_PARTITION ? "a row behind the MD5 row" : `found ${hex(magic, 4)}, a row begins with 0x50aa`;
  addProblem(table, at, what);
  return false;
}

/**
 * Reads a table as the bootloader does (docs/formats.md#partition-table), then checks its rows. A table without MD5 row is valid for the
 * bootloader and for gen_esp32part.py: MISSING_MD5 is a note. `flashSize` 0: not known.
 */
export function readTable(bytes: Uint8Array, flashSize = 0, tableOffset = TABLE_OFFSET): Table {
  const table: Table = { rows: [], md5: "missing", problems: [] };
  const limit = Math.min(bytes.length, TABLE_SIZE);
  let ended = false;
  for (let at = 0; at + ROW_SIZE <= limit && !ended; at += ROW_SIZE) ended = !readEntry(bytes, at, table);
  if (!ended) addProblem(table, limit, "no terminating row");
  for (const { row, text } of checkRows(table.rows, flashSize, tableOffset))
    table.problems.push({ row, offset: row * ROW_SIZE, text });
  return table;
}

export const MISSING_MD5 =
  "no MD5 row (ESP-IDF writes one since 3.1): a damaged table is not noticed by the bootloader";

/** Does a partition table start here? For telling files apart: more than two bytes have to fit. */
export function looksLikeTable(bytes: Uint8Array): boolean {
  if (bytes.length < ROW_SIZE || u16(bytes, 0) !== Magic.ESP_PARTITION) return false;
  const { offset, label } = readRow(bytes, 0);
  const sane = offset % SECTOR === 0 && label === printable(label);
  return sane || [Magic.ESP_PARTITION, Magic.ESP_PARTITION_MD5].includes(u16(bytes, ROW_SIZE));
}

// --- Rules -----------------------------------------------------------------------------------------------------------

const place = (row: Row) => `${hex(row.offset)}+${hex(row.size)}`;

function rowProblem(row: Row, flashSize: number, tableOffset: number): string | null {
  const alignment = alignmentOf(row.type);
  const end = row.offset + row.size;
  if (!row.label) return "no name";
  if (row.offset % alignment) return `offset ${hex(row.offset)} is not a multiple of ${hex(alignment)}`;
  if (!row.size) return "size 0";
  if (row.type === TYPE.app && row.size % SECTOR) return `size ${hex(row.size)} is not a multiple of 0x1000`;
  const first = tableOffset + SECTOR;
  if (!isPrimary(row) && row.offset < first)
    return `offset ${hex(row.offset)} is below ${hex(first)}, where bootloader and table are`;
  if (flashSize && end > flashSize) return `${place(row)} ends behind a flash of ${sizeText(flashSize)}`;
  const otadata = isOtadata(row) ? "otadata" : isTeeOtadata(row) && "TEE otadata";
  if (otadata && row.size !== OTADATA_SIZE) return `${otadata} of ${hex(row.size)} bytes, expected 0x2000`;
  const readonly = (row.flags & FLAGS.readonly) !== 0;
  if (row.type === TYPE.data && row.subtype === SUBTYPES[TYPE.data].nvs && row.size < LEAST_NVS && !readonly)
    return `nvs of ${hex(row.size)} bytes, expected 0x3000 or more, or readonly`;
  if (readonly && row.type === TYPE.data && (row.subtype === 0 || row.subtype === SUBTYPES[TYPE.data].coredump))
    return `${subtypeName(row)} partitions can't be readonly`;
  return null;
}

/** What is wrong with a row because of those before it. */
function clashes(row: Row, before: readonly Row[]): string[] {
  const name = printable(row.label);
  const texts: string[] = [];
  if (before.some((other) => other.label === row.label)) texts.push(`${name}: the name comes twice`);
  const otadata = isOtadata(row) && before.find(isOtadata);
  if (otadata)
    texts.push(`${name}: a second otadata beside ${printable(otadata.label)}; the bootloader obeys the last`);
  const tee = isTeeOtadata(row) && before.find(isTeeOtadata);
  if (tee) texts.push(`${name}: a second TEE otadata beside ${printable(tee.label)}`);
  const hit = before.find(
    (other) =>
      row.offset < other.offset + other.size && other.offset < row.offset + row.size && !sharesStorage(row, other),
  );
  if (hit) texts.push(`${name} at ${place(row)} overlaps ${printable(hit.label)} at ${place(hit)}`);
  return texts;
}

/** gen_esp32part.py's rules (docs/formats.md#partition-table): what is wrong with a row, alone and beside the others. */
export function checkRows(
  rows: readonly Row[],
  flashSize = 0,
  tableOffset = TABLE_OFFSET,
): { row: number; text: string }[] {
  const problems = rows.flatMap((row, i) => {
    const own = rowProblem(row, flashSize, tableOffset);
    const texts = own ? [`${printable(row.label) || "row"}: ${own}`] : [];
    return [...texts, ...clashes(row, rows.slice(0, i))].map((text) => ({ row: i, text }));
  });
  if (rows.length > MAX_ROWS) problems.push({ row: MAX_ROWS, text: `${rows.length} rows, a table holds ${MAX_ROWS}` });
  return problems;
}

export function alignmentOf(type: number): number {
  return type === TYPE.app ? APP_ALIGNMENT : SECTOR;
}

/** "app1 ends at 0x1910000, ..." for a partition that an update needs and cannot get at; null when it can. */
function outOfReach(row: Row): string | null {
  const end = row.offset + row.size;
  if (end <= DeviceTable.FLASH_END) return null;
  const what = `${printable(row.label)} at ${place(row)} ends at ${hex(end)}`;
  return `${what}: Espruino's bootloaders and builds address ${sizeText(DeviceTable.FLASH_END)} of flash`;
}

/** What a person should know of the slots: which image fits where, and what cannot be reached. */
export function slotNotes(rows: readonly Row[]): string[] {
  const slots = slotsOf(rows);
  const far = [...slots, ...rows.filter(isOtadata), ...rows.filter(isEspruinoStorage)].map(outOfReach);
  const notes = far.filter((text): text is string => text !== null);
  const sizes = [...new Set(slots.map(({ size }) => size))].sort((a, b) => a - b);
  if (sizes.length > 1) {
    const each = slots.map(({ label, size }) => `${printable(label)} ${sizeText(size)}`).join(", ");
    const all = slots.filter(({ size }) => size > sizes[0]).map(({ label }) => printable(label));
    notes.push(
      `the slots differ in size (${each}): an image of more than ${sizeText(sizes[0])} fits ${all.join(", ")} only, ` +
        "so it cannot be followed by another of that size",
    );
  }
  return notes;
}

/** What updates do on a device with this table (src/boot/layout.ts). */
export function updatePath(rows: readonly Row[], tableOffset = TABLE_OFFSET): string {
  if (tableOffset !== TABLE_OFFSET) return `impossible: https-ota reads the table at ${hex(TABLE_OFFSET)} only`;
  const otadata = rows.filter(isOtadata);
  const far = [...slotsOf(rows), ...otadata].map(outOfReach).find((text) => text !== null);
  if (far) return `impossible: ${far}`;
  const ota = slotsOf(rows).filter(isOta);
  const factory = rows.some(isFactory);
  if (!otadata.length) return "impossible: no otadata partition";
  if (otadata.length > 1) return "impossible: two otadata partitions";
  if (ota.some((row, i) => row.subtype !== Subtype.OTA_0 + i))
    return "impossible: a gap or a double in the ota_N slots";
  if (ota.length > 1) return `in turns ${ota.map((row) => row.label).join(", ")}`;
  if (ota.length === 1 && factory) return "in turns factory and ota_0";
  return "impossible: one slot only";
}
