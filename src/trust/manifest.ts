// The claims of a manifest. Pure. Only called with a payload whose signature is verified.
// Source: docs/formats.md#manifest, docs/design.md#trust.

import { Whole, parseDigest, Prefix } from "../platform/bytes";
import { parseJson, refuse } from "./json";
import { Code, otaError } from "../errors";
import type { StorageClaim } from "../boot/storage-claim";

/** Values of `format`. An enum takes no variable. */
const enum Format {
  IMAGE = 1,
  /** with `files` or `rollout`: older modules, which do not know these, refuse this format */
  FILES = 2,
}

/** in characters: the limit of a name in Storage */
const MAX_NAME = 28;

/** A file of a release, as its manifest describes it. */
export interface ManifestFile {
  /** 1 to 28 printable ASCII characters, such as "app.js" or "lib/sensor.js" */
  name: string;
  /** in bytes */
  size: number;
  /** 64 hexadecimal digits */
  sha256: string;
  /** relative to the URL of the manifest; without it `name` is the URL */
  url?: string;
}

/** Which devices take the release, and when: `share`, or `start` and `hours`. */
export interface Rollout {
  /** percent of the devices */
  share?: number;
  /** seconds since 1970: the first devices take the release at this time, the last ones `hours` later */
  start?: number;
  hours?: number;
}

/** What a manifest says (docs/formats.md#manifest). `iat` and `exp` in seconds since 1970. */
export interface Manifest {
  format: number;
  project: string;
  version: string;
  chip: string;
  board?: string;
  sequence: number;
  iat: number;
  exp?: number;
  /** undefined in a release of files alone */
  image?: {
    url: string;
    size: number;
    fsverity: string;
    sha256?: string;
    /** where an Espruino image keeps Storage */
    storage?: StorageClaim;
  };
  /** with format 2 */
  files?: ManifestFile[];
  /** name of the file that is the program */
  entry?: string;
  /** with format 2; without it every device takes the release at once */
  rollout?: Rollout;
}

/** Is it a whole number that every JSON parser reads as the same value (RFC 8259 6)? */
function isWhole(value: number): boolean {
  return value >= 0 && value <= Whole.MAX && Math.floor(value) === value;
}

function checkClaim(claim: string, value: unknown, type: string, optional?: boolean): void {
  if (optional && value === undefined) return;
  const whole = type !== "number" || isWhole(value as number);
  if (typeof value !== type || !whole || value === "") refuse("claim " + claim + " is missing or not a " + type);
}

function checkImage(image: any): void {
  checkClaim("image.url", image.url, "string");
  checkClaim("image.size", image.size, "number");
  checkClaim("image.fsverity", image.fsverity, "string");
  if (!parseDigest(image.fsverity, Prefix.MANIFEST))
    refuse("claim image.fsverity must be " + Prefix.MANIFEST + " and 64 digits");
  const storage = image.storage;
  if (storage === undefined) return;
  checkClaim("image.storage.partition", storage && storage.partition, "string");
  checkClaim("image.storage.address", storage.address, "number");
  checkClaim("image.storage.size", storage.size, "number");
  if (!storage.size) refuse("claim image.storage.size is 0");
}

/**
 * A name is only a label: the module never stores a file under it. Names that Espruino or this module gives a meaning
 * (`.boot0`) are refused nevertheless: the person who signs one would expect an effect that it does not have. Paths that
 * leave a folder are refused too.
 */
function checkName(name: string): void {
  let ok = name.length <= MAX_NAME;
  for (let i = 0; i < name.length; i++) if (name[i] < " " || name[i] > "~" || name[i] === "\\") ok = false;
  // the name is signed: a stranger cannot send a text of separators
  name.split("/").forEach((part) => {
    if (part === "" || part === "." || part === "..") ok = false;
  });
  [".boot", ".varimg", ".https-ota"].forEach((reserved) => {
    if (name.substr(0, reserved.length) === reserved) ok = false;
  });
  if (!ok)
    refuse("file name " + name + " is not allowed: expected 1 to " + MAX_NAME + " printable characters, no . or ..");
}

/** Throws unless `files` is a list of files with different names, and `entry` names one of them that is not empty. */
function checkFiles(files: any, entry: unknown): void {
  const names: string[] = [];
  let program = 0;
  if (!Array.isArray(files) || !files.length) refuse("claim files is not a list of files");
  checkClaim("entry", entry, "string");
  files.forEach((file: any) => {
    checkClaim("files.name", file && file.name, "string");
    const name: string = file.name;
    checkName(name);
    if (names.indexOf(name) >= 0) refuse("file name " + name + " comes twice");
    names.push(name);
    checkClaim("files.size", file.size, "number");
    checkClaim("files.sha256", file.sha256, "string");
    if (!parseDigest(Prefix.MANIFEST + file.sha256, Prefix.MANIFEST))
      refuse("claim files.sha256 of " + name + " is not 64 hexadecimal digits");
    checkClaim("files.url", file.url, "string", true);
    if (name === entry) program = file.size;
  });
  if (!program) refuse("claim entry is " + entry + ", expected a listed file that is not empty");
}

function checkRollout(rollout: any): void {
  const timed = rollout && rollout.share === undefined;
  if (timed) {
    checkClaim("rollout.start", rollout.start, "number");
    checkClaim("rollout.hours", rollout.hours, "number");
  } else {
    checkClaim("rollout.share", rollout && rollout.share, "number");
    if (rollout.share > 100) refuse("claim rollout.share is " + rollout.share + ", at most 100 percent");
    if (rollout.start !== undefined || rollout.hours !== undefined)
      refuse("claim rollout has a share and a time: expected one of them");
  }
}

/**
 * Reads the claims. Throws INVALID_RESPONSE with the name of a claim that is missing or has a wrong type. Unknown claims are
 * ignored.
 */
export function parseManifest(payload: string): Manifest {
  const manifest = parseJson(payload);
  const format = manifest.format;
  if (format !== Format.IMAGE && format !== Format.FILES)
    throw otaError(Code.NOT_SUPPORTED, "manifest format " + format + ", this module knows 1 and 2");
  checkClaim("project", manifest.project, "string");
  checkClaim("version", manifest.version, "string");
  checkClaim("chip", manifest.chip, "string");
  checkClaim("board", manifest.board, "string", true);
  checkClaim("sequence", manifest.sequence, "number");
  checkClaim("iat", manifest.iat, "number");
  checkClaim("exp", manifest.exp, "number", true);
  if (manifest.files === undefined) {
    if (manifest.entry !== undefined) refuse("claim entry needs files");
  } else if (format === Format.IMAGE) refuse("claim files needs format 2");
  else checkFiles(manifest.files, manifest.entry);
  if (manifest.rollout !== undefined) {
    if (format === Format.IMAGE) refuse("claim rollout needs format 2");
    checkRollout(manifest.rollout);
  }
  if (manifest.image !== undefined || !manifest.files) checkImage(manifest.image || {});
  return manifest;
}

/** The fs-verity digest of its image, as 64 hexadecimal digits. */
export function digestOf(manifest: Manifest): string {
  return parseDigest(manifest.image!.fsverity, Prefix.MANIFEST);
}
