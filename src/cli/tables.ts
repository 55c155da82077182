// `https-ota partitions`: a partition table from CSV to the binary that is flashed, and back.
import { InvalidArgumentError, type Command } from "commander";
import pc from "picocolors";
import { hex } from "./bytes.ts";
import { csvProblem, parseCsv, parseSize, toCsv } from "./csv.ts";
import { misuse, printable, refuse } from "./errors.ts";
import { inhabitants } from "./espruino-storage.ts";
import { parseOut, readInput, STDOUT, writeOutput } from "./files.ts";
import { kindOf } from "./kind.ts";
import { buildTable, ROW_SIZE, type Row, readTable, TABLE_OFFSET, updatePath } from "./partitions.ts";

interface Options {
  out?: string;
  check?: boolean;
  csv?: boolean;
  flashSize?: number;
}

function report(text: string, rows: readonly Row[]): void {
  console.log(`${text}, ${rows.length} partitions, updates: ${printable(updatePath(rows))}`);
}

/** Of a table that is valid: which builds of Espruino find the files of their Storage with it. */
function reportEspruino(rows: readonly Row[]): void {
  const { fits, misfits, notes } = inhabitants(rows);
  for (const text of fits) console.log(`  for Espruino ${text}`);
  for (const { text, remedy } of misfits) console.log(`  ${pc.yellow(`not for Espruino ${text}`)}\n    ${remedy}`);
  for (const text of notes) console.log(`  ${pc.yellow("note")} ${text}`);
}

/** A table or a whole flash. */
function readRows(file: string, bytes: Buffer, options: Options): Row[] {
  const base = kindOf(bytes) === "dump" ? TABLE_OFFSET : 0;
  const { rows, problems } = readTable(bytes.subarray(base), options.flashSize);
  const [problem] = problems;
  if (problem) refuse(file, `offset ${hex(base + problem.offset)}: ${problem.text}`);
  return rows;
}

/** The CSV, if it gives these very rows when it is read again. */
function csvOf(file: string, bytes: Buffer, rows: readonly Row[]): string {
  const base = kindOf(bytes) === "dump" ? TABLE_OFFSET : 0;
  rows.forEach((row, i) => {
    const problem = csvProblem(row);
    if (problem) refuse(file, `offset ${hex(base + i * ROW_SIZE)}: ${problem}`);
  });
  const csv = toCsv(rows);
  const again = buildTable(parseCsv(file, csv)).subarray(0, rows.length * ROW_SIZE);
  const at = again.findIndex((byte, i) => byte !== bytes[base + i]);
  if (at >= 0)
    refuse(file, `offset ${hex(base + at)}: found ${hex(bytes[base + at], 2)}, a CSV gives ${hex(again[at], 2)} there`);
  return csv;
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
  const rows = readRows(file, bytes, options);
  if (options.check) {
    report(`${printable(file)}: ${pc.green("valid")}`, rows);
    return reportEspruino(rows);
  }
  const csv = csvOf(file, bytes, rows);
  if (options.out === undefined || options.out === STDOUT) process.stdout.write(csv);
  else writeOutput(options.out, csv);
}

function fromCsv(file: string, bytes: Buffer, options: Options): void {
  const rows = parseCsv(file, bytes.toString("utf8"), options.flashSize);
  const table = buildTable(rows);
  if (options.check) {
    if (options.out !== undefined) compare(file, options.out, table);
    const holds = options.out === undefined ? "" : `, and what ${printable(options.out)} holds`;
    report(`${printable(file)}: ${pc.green(`valid${holds}`)}`, rows);
    return reportEspruino(rows);
  }
  const out = options.out as string;
  if (out === STDOUT) process.stdout.write(table);
  else {
    writeOutput(out, table);
    report(`${printable(out)}: ${table.length} bytes for flash address ${hex(TABLE_OFFSET)}`, rows);
  }
}

function partitions(file: string, options: Options): void {
  const bytes = readInput(file);
  const kind = kindOf(bytes);
  const binary = kind === "table" || kind === "dump";
  if (binary && !options.csv && !options.check)
    misuse(`${file} is a binary: --csv makes a CSV of it, --check checks it`);
  if (!binary && options.csv) refuse(file, "no partition table (a row begins with aa 50), wanted one for --csv");
  if (!binary && options.out === undefined && !options.check) misuse("required option '--out <file>' not specified");
  if (binary) fromBinary(file, bytes, options);
  else fromCsv(file, bytes, options);
}

function parseFlashSize(text: string): number {
  const size = parseSize(text.replace(/b$/i, ""));
  if (!size || size < 0x10000) throw new InvalidArgumentError("Wanted a size as 4MB or 0x400000.");
  return size;
}

const HELP = `
With --check nothing is written: the table is judged, and with --out the binary there has to be what the CSV gives.
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
      "Make the binary of a partition table from its CSV (rules of gen_esp32part.py), or the other way round.",
    )
    .argument("<file>", "CSV; with --csv a binary table, or a whole flash")
    .option("--out <file>", "where the result goes ('-': standard output)", parseOut)
    .option("--check", "write nothing, only check")
    .option("--csv", "from binary to CSV")
    .option("--flash-size <size>", "the table has to fit it: 2MB, 4MB, 8MB, 16MB", parseFlashSize)
    .addHelpText("after", HELP)
    .action(partitions);
}
