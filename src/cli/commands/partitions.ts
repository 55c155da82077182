// `https-ota partitions`: a partition table from CSV to the binary that is flashed, and back.
import { InvalidArgumentError, type Command } from "commander";
import pc from "picocolors";
import { hex } from "../formats/bytes.ts";
import { csvProblem, decodeCsv, type Layout, parseCsv, parseSize, toCsv } from "../formats/partition-csv.ts";
import { isRefusal, misuse, printable, refuse } from "../ui/errors.ts";
import { inhabitants } from "../formats/espruino-storage.ts";
import { readInput, STDOUT, writeOutput } from "../ui/files.ts";
import { parseOut, parseSectorOffset } from "./options.ts";
import { checkTableOffset } from "../report/report.ts";
import { findTable, kindOf } from "../formats/detect.ts";
import {
  buildTable,
  isPrimary,
  looksLikeTable,
  MISSING_MD5,
  ROW_SIZE,
  type Row,
  readTable,
  slotNotes,
  TABLE_OFFSET,
  TYPE,
  updatePath,
} from "../formats/partitions.ts";

interface Options {
  out?: string;
  check?: boolean;
  csv?: boolean;
  flashSize?: number;
  tableOffset?: number;
  primaryBootloaderOffset?: number;
  recoveryBootloaderOffset?: number;
}

function layoutOf(options: Options): Layout {
  return {
    flashSize: options.flashSize,
    tableOffset: options.tableOffset,
    primaryBootloader: options.primaryBootloaderOffset,
    recoveryBootloader: options.recoveryBootloaderOffset,
  };
}

function report(text: string, rows: readonly Row[], tableOffset: number | undefined): void {
  console.log(`${text}, ${rows.length} partitions, updates: ${printable(updatePath(rows, tableOffset))}`);
}

/** What --check says of a table that is valid. */
function reportNotes(notes: readonly string[]): void {
  for (const text of notes) console.log(`  ${pc.yellow("note")} ${text}`);
}

/** Of a table that is valid: which builds of Espruino find the files of their Storage with it. */
function reportEspruino(rows: readonly Row[]): void {
  const { fits, misfits, notes } = inhabitants(rows);
  for (const text of fits) console.log(`  for Espruino ${text}`);
  for (const { text, remedy } of misfits) console.log(`  ${pc.yellow(`not for Espruino ${text}`)}\n    ${remedy}`);
  for (const text of notes) console.log(`  ${pc.yellow("note")} ${text}`);
}

/** A binary table: where it is in its file, where it is in flash, and what it says. */
interface Binary {
  base: number;
  tableOffset: number;
  rows: Row[];
  notes: string[];
}

/** A table or a whole flash. */
function readBinary(file: string, bytes: Buffer, { flashSize, tableOffset: given }: Options): Binary {
  const dump = kindOf(bytes) !== "table";
  if (dump && given !== undefined) checkTableOffset(file, bytes, given);
  const tableOffset = given ?? (dump ? findTable(bytes) : null) ?? TABLE_OFFSET;
  const base = dump ? tableOffset : 0;
  const { rows, problems, md5 } = readTable(bytes.subarray(base), flashSize, tableOffset);
  const [problem] = problems;
  if (problem) refuse(file, `offset ${hex(base + problem.offset)}: ${problem.text}`);
  return { base, tableOffset, rows, notes: md5 === "missing" ? [MISSING_MD5] : [] };
}

/** The offsets that a CSV leaves out, taken from the rows themselves. */
function layoutOfRows(rows: readonly Row[], tableOffset: number): Layout {
  const primary = rows.find((row) => row.type === TYPE.bootloader && isPrimary(row));
  const any = rows.find(({ type }) => type === TYPE.bootloader);
  const recovery = rows.find(({ type, subtype }) => type === TYPE.bootloader && subtype === 2);
  return {
    tableOffset,
    primaryBootloader: primary?.offset ?? (any && tableOffset - any.size),
    recoveryBootloader: recovery?.offset,
  };
}

/** The CSV; refused when it does not give exactly these rows when it is read again. */
function csvOf(file: string, bytes: Buffer, { base, rows, tableOffset }: Binary): string {
  rows.forEach((row, i) => {
    const problem = csvProblem(row);
    if (problem) refuse(file, `offset ${hex(base + i * ROW_SIZE)}: ${problem}`);
  });
  const csv = toCsv(rows);
  const again = buildTable(readAgain(file, csv, layoutOfRows(rows, tableOffset))).subarray(0, rows.length * ROW_SIZE);
  const at = again.findIndex((byte, i) => byte !== bytes[base + i]);
  if (at >= 0)
    refuse(file, `offset ${hex(base + at)}: found ${hex(bytes[base + at], 2)}, a CSV gives ${hex(again[at], 2)} there`);
  return csv;
}

/** Rows of a binary table may be in any order, those of a CSV may not. */
function readAgain(file: string, csv: string, layout: Layout): Row[] {
  try {
    return parseCsv(file, csv, layout);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return refuse(file, `no CSV gives this table: ${error.message.slice(file.length + 2)}`);
  }
}

function compare(file: string, out: string, wanted: Buffer): void {
  const found = readInput(out);
  const length = Math.max(found.length, wanted.length);
  for (let i = 0; i < length; i++)
    if (found[i] !== wanted[i])
      refuse(
        out,
        `offset ${hex(i)}: found ${i < found.length ? hex(found[i], 2) : "the end"}, ${file} gives ${i < wanted.length ? hex(wanted[i], 2) : "the end"}`,
      );
}

function fromBinary(file: string, bytes: Buffer, options: Options): void {
  const binary = readBinary(file, bytes, options);
  const { rows, tableOffset, notes } = binary;
  if (options.check) {
    const where = tableOffset === TABLE_OFFSET ? "" : `, for flash address ${hex(tableOffset)}`;
    report(`${printable(file)}: ${pc.green("valid")}${where}`, rows, tableOffset);
    reportNotes([...notes, ...slotNotes(rows)]);
    return reportEspruino(rows);
  }
  const csv = csvOf(file, bytes, binary);
  if (options.out === undefined || options.out === STDOUT) process.stdout.write(csv);
  else writeOutput(options.out, csv);
}

function fromCsv(file: string, bytes: Buffer, options: Options): void {
  const rows = parseCsv(file, decodeCsv(file, bytes), layoutOf(options));
  const table = buildTable(rows);
  if (options.check) {
    if (options.out !== undefined) compare(file, options.out, table);
    const holds = options.out === undefined ? "" : `, and what ${printable(options.out)} holds`;
    report(`${printable(file)}: ${pc.green(`valid${holds}`)}`, rows, options.tableOffset);
    reportNotes(slotNotes(rows));
    return reportEspruino(rows);
  }
  const out = options.out as string;
  if (out === STDOUT) process.stdout.write(table);
  else {
    writeOutput(out, table);
    const { tableOffset = TABLE_OFFSET } = options;
    report(`${printable(out)}: ${table.length} bytes for flash address ${hex(tableOffset)}`, rows, tableOffset);
    reportNotes(slotNotes(rows));
  }
}

function partitions(file: string, options: Options): void {
  const bytes = readInput(file);
  const kind = kindOf(bytes);
  // a table without MD5 at an unusual offset is found only with --table-offset
  const told = options.tableOffset !== undefined && looksLikeTable(bytes.subarray(options.tableOffset));
  const binary = kind === "table" || kind === "dump" || told;
  if (binary && !options.csv && !options.check)
    misuse(`${file} is a binary: --csv makes a CSV of it, --check checks it`);
  if (!binary && options.csv) refuse(file, "no partition table (a row begins with aa 50), expected one for --csv");
  if (!binary && options.out === undefined && !options.check) misuse("required option '--out <file>' not specified");
  if (binary) fromBinary(file, bytes, options);
  else fromCsv(file, bytes, options);
}

function parseFlashSize(text: string): number {
  const size = parseSize(text.replace(/b$/i, ""));
  if (!size || size < 0x10000) throw new InvalidArgumentError("Expected a size as 4MB or 0x400000.");
  return size;
}

const HELP = `
With --check nothing is written. The table is checked; with --out, the binary there must be what the CSV gives.
It also says which builds of Espruino find the files of their Storage with the table.

Example:
  npx https-ota partitions partitions.csv --out partitions.bin
  npx https-ota partitions partitions.csv --out partitions.bin --check
  npx https-ota partitions partitions.bin --csv --out partitions.csv
`;

export function addPartitions(program: Command): void {
  program
    .command("partitions")
    .description(
      "Make the binary of a partition table from its CSV (rules of gen_esp32part.py), or the CSV from the binary.",
    )
    .argument("<file>", "CSV; with --csv a binary table, or a whole flash")
    .option("--out <file>", "where the result goes ('-': standard output)", parseOut)
    .option("--check", "write nothing, only check")
    .option("--csv", "from binary to CSV")
    .option("--flash-size <size>", "the table has to fit it: 2MB, 4MB, 8MB, 16MB", parseFlashSize)
    .option("--table-offset <offset>", "where the table will be, or is in a whole flash", parseSectorOffset)
    .option("--primary-bootloader-offset <offset>", "for rows of type bootloader", parseSectorOffset)
    .option("--recovery-bootloader-offset <offset>", "for a row of the recovery bootloader", parseSectorOffset)
    .addHelpText("after", HELP)
    .action(partitions);
}
