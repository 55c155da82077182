// Options that more than one command has, and how their values are read from the command line.
import { type Command, InvalidArgumentError, Option } from "commander";
import { DEVICE_CHIPS } from "../formats/chips.ts";
import { parseSize } from "../formats/partition-csv.ts";
import { SECTOR } from "../formats/partitions.ts";
import { parseTcp } from "../push/port.ts";
import { nameProblem, urlProblem } from "../release/manifest.ts";
import type { Expiry } from "../release/release.ts";
import type { NamedFile } from "../release/source-files.ts";
import { printable } from "../ui/errors.ts";
import { STDOUT } from "../ui/files.ts";

/** --out: a file, or standard output. */
export function parseOut(text: string): string {
  if (!text) throw new InvalidArgumentError("Expected a file.");
  return text;
}

/** --out of a command that does not write to standard output. */
export function parseOutFile(text: string): string {
  if (text === STDOUT) throw new InvalidArgumentError("Expected a file: a private key is not printed.");
  return parseOut(text);
}

/** --out of a command that writes a folder. */
export function parseOutFolder(text: string): string {
  if (text === STDOUT) throw new InvalidArgumentError("Expected a folder.");
  return parseOut(text);
}

/** --table-offset and the offsets of bootloaders. */
export function parseSectorOffset(text: string): number {
  const offset = parseSize(text);
  if (offset === null || offset < 0 || offset % SECTOR || offset > 0xffffff)
    throw new InvalidArgumentError("Expected a multiple of 0x1000.");
  return offset;
}

export function parseWhole(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value))
    throw new InvalidArgumentError(`Expected a whole number of at most ${Number.MAX_SAFE_INTEGER}.`);
  return value;
}

/** Of an option that may be repeated. */
export function collect(text: string, texts: string[] = []): string[] {
  return [...texts, text];
}

export function parseUrlOption(text: string): string {
  const problem = urlProblem(text);
  if (problem) throw new InvalidArgumentError(`${problem}.`);
  return text;
}

export function parseAbsoluteUrl(text: string): string {
  if (!/^https?:\/\//i.test(text)) throw new InvalidArgumentError("Expected http:// or https://.");
  return parseUrlOption(text);
}

export function parseName(text: string): string {
  if (!text || text !== printable(text)) throw new InvalidArgumentError("Expected a text without control characters.");
  if (nameProblem(text))
    throw new InvalidArgumentError("Expected ASCII only: Espruino with and without Unicode reads others differently.");
  return text;
}

/** Of a board, for people: text of any language. */
export function parseTitle(text: string): string {
  if (!text.trim() || text !== printable(text))
    throw new InvalidArgumentError("Expected a text without control characters.");
  return text;
}

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400, w: 7 * 86400, y: 365 * 86400 };

/** Far below the limits of Date and of the device's numbers. */
const MAX_EXPIRY = 1000 * UNITS.y;

/** NaN for a day that its month does not have: Date.parse continues into the next month. */
function parseDate(text: string): number {
  const day = text.slice(0, 10);
  const midnight = Date.parse(day);
  if (Number.isNaN(midnight) || new Date(midnight).toISOString().slice(0, 10) !== day) return Number.NaN;
  return Date.parse(text);
}

/** "90d", a date as ISO 8601 writes it, or "never". */
export function parseExpiry(text: string): Expiry {
  if (text === "never") return text;
  const [, count, unit] = /^(\d+)([smhdwy])$/.exec(text) ?? [];
  const after = unit ? Number(count) * UNITS[unit] : Number.NaN;
  if (after > MAX_EXPIRY) throw new InvalidArgumentError("Expected at most 1000y.");
  if (after > 0) return { after };
  const at = /^\d{4}-\d\d-\d\d/.test(text) ? parseDate(text) : Number.NaN;
  if (Number.isNaN(at))
    throw new InvalidArgumentError("Expected a time as 90d, 12h or 2w, a date as 2030-01-31, or never.");
  return { at: Math.floor(at / 1000) };
}

/** "10%": of the devices. */
export function parsePercent(text: string): number {
  const [, digits] = /^(\d{1,3})%?$/.exec(text) ?? [];
  if (digits === undefined || Number(digits) > 100)
    throw new InvalidArgumentError("Expected a whole percentage of the devices, as 10%.");
  return Number(digits);
}

/** "3d", in whole hours. */
export function parseHours(text: string): number {
  const [, count, unit] = /^(\d+)([hdw])$/.exec(text) ?? [];
  const hours = unit ? (Number(count) * UNITS[unit]) / UNITS.h : Number.NaN;
  if (!(hours >= 1 && hours <= 24 * 366)) throw new InvalidArgumentError("Expected a time as 12h, 3d or 2w.");
  return hours;
}

/** A date as ISO 8601 writes it, in seconds since 1970. */
export function parseTime(text: string): number {
  const at = /^\d{4}-\d\d-\d\d/.test(text) ? parseDate(text) : Number.NaN;
  if (Number.isNaN(at)) throw new InvalidArgumentError("Expected a date as 2030-01-31 or 2030-01-31T12:00Z.");
  return Math.floor(at / 1000);
}

/** "--app-version" for "appVersion": how commander names them. */
export const optionText = (name: string): string =>
  `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** --port of a device. */
export function parsePort(text: string): string {
  if (!text || text !== printable(text)) throw new InvalidArgumentError("Expected a serial port or tcp://HOST:PORT.");
  try {
    parseTcp(text);
  } catch (error) {
    throw new InvalidArgumentError(`${(error as Error).message}.`);
  }
  return text;
}

export function between(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = parseWhole(text);
    if (value < least || value > most) throw new InvalidArgumentError(`Expected ${least} to ${most}.`);
    return value;
  };
}

export const parseBaud = between(300, 4_000_000);

/** --file NAME=PATH, which may be repeated. */
export function collectNamed(text: string, files: NamedFile[] = []): NamedFile[] {
  const at = text.indexOf("=");
  const [name, path] = [text.slice(0, at), text.slice(at + 1)];
  if (at < 1 || !path) throw new InvalidArgumentError("Expected NAME=PATH.");
  if (files.some((one) => one.name === name)) throw new InvalidArgumentError(`The name ${name} comes twice.`);
  return [...files, { name, path }];
}

/** Options of `sign` and `serve` alike that are about the files of a program. */
export function addProgramOptions(command: Command): Command {
  return command
    .option("--files <folder>", "the files of a program: all that are in the folder")
    .option("--file <name=path>", "one more file, or another one of that name; may be repeated", collectNamed)
    .option("--ignore <glob>", "leave files of the folder out, such as '*.txt' or 'test/**'; may be repeated", collect)
    .option("--entry <name>", "the file that is the program")
    .option("--minify", "minify files that end with .js")
    .addOption(new Option("--chip <chip>", "of a release of files alone").choices(DEVICE_CHIPS));
}

/** Options of `init` and `factory` alike: what the loader fetches. */
export function addLoaderOptions(command: Command): Command {
  return command
    .option("--url <url>", "where the manifest of the releases is, for the loader", parseAbsoluteUrl)
    .option("--keys <file>", "public key of the releases: PEM, JWK or JWK set; may be repeated", collect)
    .addOption(
      new Option("--threshold <n>", "number of different keys that must have signed (default: 1)").choices(["1", "2"]),
    )
    .option("--project <name>", "the manifest's project must be this (default: as of update())", parseName);
}

/** Options of `sign` and `serve` alike that are about Espruino images. */
export function addEspruinoOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        "--storage <partition>",
        "for Espruino images that do not tell through which partition they read their files",
      ).choices(["js_code", "storage"]),
    )
    .option("--allow-missing-natives", "sign an Espruino image in which https-ota cannot run");
}
