// From an image file to what is signed: the image is judged completely, and what it says of itself is not typed again.
import path from "node:path";
import { InvalidArgumentError } from "commander";
import { hex } from "./bytes.ts";
import { printable, refuse } from "./errors.ts";
import { readInput } from "./files.ts";
import { type Image, readImage } from "./image.ts";
import { kindOf } from "./kind.ts";
import { buildClaims, type Claims, checkVersioned, nameProblem, type Release, urlProblem } from "./manifest.ts";

export interface ReleaseOptions {
  url?: string;
  sequence?: number;
  /** seconds from now, or an instant */
  expires?: { after: number } | { at: number };
  board?: string;
  project?: string;
  appVersion?: string;
}

export interface Firmware {
  file: string;
  bytes: Buffer;
  image: Image;
}

/** Reads an image and refuses a broken one, with the offset of the first thing that is wrong. */
export function readFirmware(file: string): Firmware {
  const bytes = readInput(file);
  const kind = kindOf(bytes);
  const image = readImage(bytes);
  if (kind === "dump") refuse(file, "a whole flash (partition table at 0x8000), wanted the image of one app");
  if (!image) {
    const found = bytes.length ? `offset 0: found ${hex(bytes[0], 2)}, an image begins with 0xe9` : "the file is empty";
    return refuse(file, found);
  }
  const [problem] = image.problems;
  if (problem) refuse(file, `offset ${hex(problem.offset)}: ${problem.text}`);
  return { file, bytes, image };
}

/** What the image says, or what the caller says for one without descriptor; never both and different. */
function nameOf(
  file: string,
  what: string,
  option: string,
  said: string | undefined,
  given: string | undefined,
): string {
  // the device compares these texts with those of the image that runs: a difference is an update without end
  if (said && given !== undefined && given !== said)
    refuse(file, `${option} ${given}, but the image's descriptor says ${printable(said)}`);
  const name = said || given;
  if (!name) return refuse(file, `no app descriptor says the ${what}: give --project and --app-version`);
  if (name !== printable(name)) refuse(file, `${what} "${printable(name)}" has control characters`);
  const problem = nameProblem(name);
  if (problem) refuse(file, `${what} "${name}" ${problem}`);
  return name;
}

export function claimsFor(firmware: Firmware, options: ReleaseOptions, now = Math.floor(Date.now() / 1000)): Claims {
  const { file, bytes, image } = firmware;
  const { expires } = options;
  const exp = expires && ("at" in expires ? expires.at : now + expires.after);
  if (exp !== undefined && exp <= now) refuse("--expires", `${new Date(exp * 1000).toISOString()} is over`);
  checkVersioned(file, image);
  const release: Release = {
    url: options.url ?? encodeURIComponent(path.basename(file)),
    project: nameOf(file, "project", "--project", image.descriptor?.project, options.project),
    version: nameOf(file, "version", "--app-version", image.descriptor?.version, options.appVersion),
    board: options.board,
    sequence: options.sequence ?? now,
    iat: now,
    exp,
  };
  return buildClaims(bytes, image, release);
}

// --- Options ---------------------------------------------------------------------------------------------------------

export function parseWhole(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) throw new InvalidArgumentError("Wanted a whole number.");
  return value;
}

export function parseUrlOption(text: string): string {
  const problem = urlProblem(text);
  if (problem) throw new InvalidArgumentError(`${problem}.`);
  return text;
}

export function parseName(text: string): string {
  if (!text || text !== printable(text)) throw new InvalidArgumentError("Wanted a text without control characters.");
  if (nameProblem(text))
    throw new InvalidArgumentError("Wanted ASCII only: Espruino with and without Unicode reads others differently.");
  return text;
}

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400, w: 7 * 86400, y: 365 * 86400 };

/** What Date and the device's numbers hold with room to spare. */
const MAX_EXPIRY = 1000 * UNITS.y;

/** NaN for a day that its month does not have: Date.parse goes on into the next month. */
function parseDate(text: string): number {
  const day = text.slice(0, 10);
  const midnight = Date.parse(day);
  if (Number.isNaN(midnight) || new Date(midnight).toISOString().slice(0, 10) !== day) return Number.NaN;
  return Date.parse(text);
}

/** "90d", or a date as ISO 8601 writes it. */
export function parseExpiry(text: string): { after: number } | { at: number } {
  const [, count, unit] = /^(\d+)([smhdwy])$/.exec(text) ?? [];
  const after = unit ? Number(count) * UNITS[unit] : Number.NaN;
  if (after > MAX_EXPIRY) throw new InvalidArgumentError("Wanted at most 1000y.");
  if (after > 0) return { after };
  const at = /^\d{4}-\d\d-\d\d/.test(text) ? parseDate(text) : Number.NaN;
  if (Number.isNaN(at)) throw new InvalidArgumentError("Wanted a time as 90d, 12h or 2w, or a date as 2030-01-31.");
  return { at: Math.floor(at / 1000) };
}
