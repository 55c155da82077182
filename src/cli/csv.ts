// Partition tables as people write them. Source: reference 6.2 (IDF gen_esp32part.py, partition-tables.rst).
import { hex } from "./bytes.ts";
import { printable, refuse } from "./errors.ts";
import {
  alignmentOf,
  checkRows,
  FLAGS,
  flagNames,
  MAX_ROWS,
  type Row,
  SECTOR,
  SUBTYPES,
  subtypeName,
  TABLE_OFFSET,
  TYPE,
  typeName,
} from "./partitions.ts";

const LABEL_SIZE = 16;
const KNOWN_FLAGS = Object.values(FLAGS).reduce((all, flag) => all | flag);

/** gen_esp32part.py parse_int: decimal or 0x, with K or M behind it. */
export function parseSize(text: string): number | null {
  const [, sign, digits, unit] = /^(-?)(0x[0-9a-f]+|\d+)([km]?)$/i.exec(text.trim()) ?? [];
  if (digits === undefined) return null;
  const value = Number(digits) * (unit ? { k: 0x400, m: 0x100000 }[unit.toLowerCase() as "k" | "m"] : 1);
  return sign ? -value : value;
}

type Fields = [name: string, type: string, subtype: string, offset: string, size: string, flags: string];

/** The rows of a CSV; refused with the line number. `flashSize` 0: not known. */
export function parseCsv(file: string, text: string, flashSize = 0): Row[] {
  const rows: Row[] = [];
  const lines: number[] = [];
  let end = TABLE_OFFSET + SECTOR;
  text.split(/\r\n|\r|\n/).forEach((raw, i) => {
    const line = raw.split("#", 1)[0].trim();
    if (!line) return;
    const wrong = (what: string) => refuse(file, `line ${i + 1}: ${what}`);
    const fields = line.split(",").map((field) => field.trim());
    if (fields.length < 5) wrong(`${fields.length} fields, wanted name, type, subtype, offset, size and maybe flags`);
    if (fields.slice(6).some(Boolean)) wrong(`${fields.length} fields, wanted 5 or 6`);
    const row = parseRow([...fields, ""].slice(0, 6) as Fields, end, wrong);
    end = row.offset + row.size;
    rows.push(row);
    lines.push(i + 1);
    // at once: the rules compare each row with all before it
    if (rows.length > MAX_ROWS) wrong(`${rows.length} rows, a table holds ${MAX_ROWS}`);
  });
  if (!rows.length) refuse(file, "no partition in it");
  const [problem] = checkRows(rows, flashSize);
  if (problem) refuse(file, `line ${lines[problem.row]}: ${problem.text}`);
  return rows;
}

function parseRow(
  [name, typeText, subtypeText, offsetText, sizeText, flagsText]: Fields,
  end: number,
  wrong: (what: string) => never,
): Row {
  if (!name) wrong("no name");
  if (Buffer.byteLength(name) > LABEL_SIZE)
    wrong(`name ${name} has ${Buffer.byteLength(name)} bytes, wanted ${LABEL_SIZE} at most`);
  const type =
    parseKeyword(typeText, TYPE) ?? wrong(`type "${typeText}", wanted ${Object.keys(TYPE).join(", ")} or 0x40 to 0xfe`);
  const subtype = parseSubtype(type, subtypeText, wrong);
  let offset = offsetText === "" ? null : parseSize(offsetText);
  if (offsetText !== "" && (offset === null || offset < 0)) wrong(`offset "${offsetText}" is no number`);
  if (offset === null && (type === TYPE.bootloader || type === TYPE.partition_table))
    wrong(`a ${typeName(type)} row needs its offset`);
  // blank: the next free address that suits the type
  const alignment = alignmentOf(type);
  offset ??= Math.ceil(end / alignment) * alignment;
  let size = parseSize(sizeText) ?? wrong(sizeText === "" ? "size is missing" : `size "${sizeText}" is no number`);
  // negative: up to that address
  if (size < 0) size = -size - offset;
  if (size < 0 || offset > 0xffffffff || size > 0xffffffff) wrong(`offset ${hex(offset)} with size "${sizeText}"`);
  return { label: name, type, subtype, offset, size, flags: parseFlags(flagsText, wrong) };
}

function parseKeyword(text: string, names: Record<string, number>): number | null {
  const known = names[text.toLowerCase()];
  if (Object.hasOwn(names, text.toLowerCase())) return known;
  const value = parseSize(text);
  return value !== null && value >= 0 && value <= 0xff ? value : null;
}

function parseSubtype(type: number, text: string, wrong: (what: string) => never): number {
  if (text === "") {
    if (type === TYPE.app) wrong("an app needs a subtype: factory, ota_0 to ota_15 or test");
    return SUBTYPES[TYPE.data].undefined;
  }
  return parseKeyword(text, SUBTYPES[type] ?? {}) ?? wrong(`subtype "${text}" is unknown for type ${typeName(type)}`);
}

function parseFlags(text: string, wrong: (what: string) => never): number {
  let flags = 0;
  for (const flag of text
    .split(":")
    .map((one) => one.trim())
    .filter(Boolean))
    flags |= Object.hasOwn(FLAGS, flag)
      ? FLAGS[flag]
      : wrong(`flag "${flag}", wanted ${Object.keys(FLAGS).join(" or ")}`);
  return flags;
}

function sizeField(size: number): string {
  if (size && size % 0x100000 === 0) return `${size / 0x100000}M`;
  return size && size % 0x400 === 0 ? `${size / 0x400}K` : hex(size);
}

/** Why a row cannot be written as a line of CSV, which has no quotes and no escapes; null when it can. */
export function csvProblem({ label, flags }: Row): string | null {
  const name = `name "${printable(label)}"`;
  if (/[,#]/.test(label)) return `${name} has a comma or a #, which no CSV can hold`;
  if (label !== printable(label)) return `${name} has characters that cannot be shown, so no CSV of it is made`;
  if (label !== label.trim()) return `${name} has blanks at its begin or end, which no CSV can hold`;
  if (flags & ~KNOWN_FLAGS) return `flags ${hex(flags)}, of which a CSV knows ${Object.keys(FLAGS).join(" and ")} only`;
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
