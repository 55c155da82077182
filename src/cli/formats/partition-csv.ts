// Partition tables as people write them. Source: IDF gen_esp32part.py, partition-tables.rst.
import { hex } from "./bytes.ts";
import { printable, refuse } from "../ui/errors.ts";
import {
  alignmentOf,
  checkRows,
  FLAGS,
  flagNames,
  isPrimary,
  MAX_ROWS,
  type Row,
  SECTOR,
  sharesStorage,
  SUBTYPES,
  subtypeName,
  TABLE_OFFSET,
  TYPE,
  typeName,
} from "./partitions.ts";

const LABEL_SIZE = 16;
const KNOWN_FLAGS = Object.values(FLAGS).reduce((all, flag) => all | flag);

/** gen_esp32part.py parse_int: as Python reads an integer, with K or M behind it. */
export function parseSize(text: string): number | null {
  const [, sign, digits, unit] = /^([+-]?)(0x[0-9a-f]+|0o[0-7]+|0b[01]+|0+|[1-9]\d*)([km]?)$/i.exec(text.trim()) ?? [];
  if (digits === undefined) return null;
  const value = Number(digits) * (unit ? { k: 0x400, m: 0x100000 }[unit.toLowerCase() as "k" | "m"] : 1);
  return sign === "-" ? -value : value;
}

type Fields = [name: string, type: string, subtype: string, offset: string, size: string, flags: string];

/** Where things are in flash that a CSV does not say; in bytes. */
export interface Layout {
  /** 0: not known */
  flashSize?: number;
  tableOffset?: number;
  primaryBootloader?: number;
  recoveryBootloader?: number;
}

/** The text of a CSV: UTF-8, or UTF-16 with a byte order mark, as some Windows programs write it. */
export function decodeCsv(file: string, bytes: Uint8Array): string {
  const [first, second] = bytes;
  const utf16 = first === 0xff && second === 0xfe ? "utf-16le" : first === 0xfe && second === 0xff && "utf-16be";
  try {
    return new TextDecoder(utf16 || "utf-8", { fatal: true }).decode(bytes);
  } catch {
    return refuse(file, "is not text in UTF-8 or in UTF-16 with a byte order mark");
  }
}

/** What was read of a CSV so far. */
interface Reading {
  rows: Row[];
  /** the line of each row, from 1 */
  lines: number[];
  /** where the row before ends: the next one's place when it does not say its own */
  end: number;
}

type Wrong = (what: string) => never;

/** Where the last row ends when `row` follows. Refused when it lies below the row before it. */
function endBehind(row: Row, { rows, end }: Reading, first: number, wrong: Wrong): number {
  const twin = rows.find((other) => sharesStorage(row, other));
  const overlaps = rows.some(({ offset, size }) => row.offset < offset + size && offset < row.offset + row.size);
  // checkRows has more to say of overlaps, and of what lies on the table
  if (row.offset < end && row.offset >= first && !overlaps)
    wrong(`${row.label} at ${hex(row.offset)} is below the row before it, which ends at ${hex(end)}: rows ascend`);
  const own = row.offset + row.size;
  return twin ? Math.max(end, own) : own;
}

/** Reads one line, which may have no row. */
function readLine(reading: Reading, line: string, number: number, layout: Layout, wrong: Wrong): void {
  // only a whole line: the tool takes "# text" behind a row for a part of its last field
  if (!line || line.startsWith("#")) return;
  if (/^\$[a-z_]/i.test(line)) wrong("begins with a variable of the environment, which is not known here");
  const fields = line.split(",").map((field) => field.trim());
  // the tool ignores fields behind the sixth
  const row = parseRow([...fields, "", "", "", "", ""].slice(0, 6) as Fields, reading.end, layout, wrong);
  const first = (layout.tableOffset ?? TABLE_OFFSET) + SECTOR;
  if (!isPrimary(row)) reading.end = endBehind(row, reading, first, wrong);
  reading.rows.push(row);
  reading.lines.push(number);
  // at once: the rules compare each row with all before it
  if (reading.rows.length > MAX_ROWS) wrong(`${reading.rows.length} rows, a table holds ${MAX_ROWS}`);
}

/** The rows of a CSV; refused with the line number. */
export function parseCsv(file: string, text: string, layout: Layout = {}): Row[] {
  const { flashSize = 0, tableOffset = TABLE_OFFSET } = layout;
  const reading: Reading = { rows: [], lines: [], end: tableOffset + SECTOR };
  text.split(/\r\n|\r|\n/).forEach((line, i) => {
    const wrong = (what: string) => refuse(file, `line ${i + 1}: ${what}`);
    readLine(reading, line.trim(), i + 1, layout, wrong);
  });
  const { rows, lines } = reading;
  if (!rows.length) refuse(file, "no partition in it");
  const [problem] = checkRows(rows, flashSize, tableOffset);
  if (problem) refuse(file, `line ${lines[problem.row]}: ${problem.text}`);
  return rows;
}

/** The offset of a row whose offset does not come from the CSV; null when it does. */
function givenOffset(type: number, subtype: number, layout: Layout, wrong: Wrong): number | null {
  const { tableOffset = TABLE_OFFSET, primaryBootloader, recoveryBootloader } = layout;
  const names = SUBTYPES[TYPE.bootloader];
  if (type === TYPE.partition_table && subtype === SUBTYPES[type].primary) return tableOffset;
  if (type !== TYPE.bootloader) return null;
  // the size of each of them follows from the first
  if (primaryBootloader === undefined) return wrong("a bootloader row needs --primary-bootloader-offset");
  if (subtype === names.primary) return primaryBootloader;
  if (subtype !== names.recovery) return null;
  return recoveryBootloader ?? wrong("a row of the recovery bootloader needs --recovery-bootloader-offset");
}

/** The same for its size. */
function givenSize(type: number, { tableOffset = TABLE_OFFSET, primaryBootloader = 0 }: Layout): number | null {
  if (type === TYPE.bootloader) return tableOffset - primaryBootloader;
  return type === TYPE.partition_table ? SECTOR : null;
}

function parseRow(
  [name, typeText, subtypeText, offsetText, sizeText, flagsText]: Fields,
  end: number,
  layout: Layout,
  wrong: Wrong,
): Row {
  if (!name) wrong("no name");
  if (Buffer.byteLength(name) > LABEL_SIZE)
    wrong(`name ${name} has ${Buffer.byteLength(name)} bytes, expected ${LABEL_SIZE} at most`);
  const type =
    parseKeyword(typeText, TYPE) ?? wrong(`type "${typeText}", expected ${Object.keys(TYPE).join(", ")} or 0 to 0xff`);
  const subtype = parseSubtype(type, subtypeText, wrong);
  let offset = givenOffset(type, subtype, layout, wrong);
  if (offset === null && offsetText !== "") {
    offset = parseSize(offsetText);
    if (offset === null || offset < 0) wrong(`offset "${offsetText}" is not a number`);
  }
  // blank: the next free address that suits the type
  const alignment = alignmentOf(type);
  offset ??= Math.ceil(end / alignment) * alignment;
  let size = givenSize(type, layout) ?? parseSize(sizeText) ?? wrong(sizeProblem(sizeText));
  // negative: up to that address
  if (size < 0) size = -size - offset;
  if (size < 0 || offset > 0xffffffff || size > 0xffffffff) wrong(`offset ${hex(offset)} with size "${sizeText}"`);
  return { label: name, type, subtype, offset, size, flags: parseFlags(flagsText, wrong) };
}

function sizeProblem(text: string): string {
  return text === "" ? "size is missing: name, type, subtype, offset, size, flags" : `size "${text}" is not a number`;
}

function parseKeyword(text: string, names: Record<string, number>): number | null {
  const known = names[text.toLowerCase()];
  if (Object.hasOwn(names, text.toLowerCase())) return known;
  const value = parseSize(text);
  return value !== null && value >= 0 && value <= 0xff ? value : null;
}

function parseSubtype(type: number, text: string, wrong: Wrong): number {
  if (text === "") {
    if (type === TYPE.app) wrong("an app needs a subtype: factory, ota_0 to ota_15 or test");
    return SUBTYPES[TYPE.data].undefined;
  }
  return parseKeyword(text, SUBTYPES[type] ?? {}) ?? wrong(`subtype "${text}" is unknown for type ${typeName(type)}`);
}

function parseFlags(text: string, wrong: Wrong): number {
  let flags = 0;
  for (const flag of text.split(":").filter(Boolean))
    flags |= Object.hasOwn(FLAGS, flag)
      ? FLAGS[flag]
      : wrong(`flag "${flag}", expected ${Object.keys(FLAGS).join(" or ")}`);
  return flags;
}

function sizeField(size: number): string {
  if (size && size % 0x100000 === 0) return `${size / 0x100000}M`;
  return size && size % 0x400 === 0 ? `${size / 0x400}K` : hex(size);
}

/** Why a row cannot be written as a line of CSV, which has no quotes and no escapes; null when it can. */
export function csvProblem({ label, flags }: Row): string | null {
  const name = `name "${printable(label)}"`;
  if (/,|^[#$]/.test(label)) return `${name} has a comma, or a # or $ at its start, which no CSV can hold`;
  if (label !== printable(label)) return `${name} has characters that cannot be shown, so no CSV of it is made`;
  if (label !== label.trim()) return `${name} has blanks at its start or end, which no CSV can hold`;
  if (flags & ~KNOWN_FLAGS) return `flags ${hex(flags)}, a CSV knows only ${Object.keys(FLAGS).join(" and ")}`;
  return null;
}

/** As gen_esp32part.py writes it. For rows without a csvProblem. */
export function toCsv(rows: readonly Row[]): string {
  const lines = rows.map((row) =>
    [row.label, typeName(row.type), subtypeName(row), hex(row.offset), sizeField(row.size), flagNames(row.flags)].join(
      ",",
    ),
  );
  return ["# ESP-IDF Partition Table", "# Name, Type, SubType, Offset, Size, Flags", ...lines, ""].join("\n");
}
