// The manifest's claims, and which manifests this device follows. Pure. Only called with a payload whose signature holds.
// Source: docs/formats.md#manifest, docs/design.md#trust.

import { Whole } from "./bytes";
import { digitsOf, Prefix } from "./digest";
import { parseJson, refuse } from "./json";
import { Code, fault } from "./status";
import type { StorageClaim } from "./storage";

const FORMAT = 1;
/** So far may a sequence be above the one that the device has: a thief's highest must not end what it is there for. */
const MAX_JUMP = 0x100000000;

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
  image: {
    url: string;
    size: number;
    fsverity: string;
    sha256?: string;
    /** where an Espruino image keeps Storage */
    storage?: StorageClaim;
  };
}

/** What a manifest is measured against. */
export interface Facts {
  chip_: string;
  board_: string;
  slotSize_: number;
  /** ms since 1970, by the device's clock */
  nowMs_: number;
  /** lowest sequence that is accepted */
  sequence_: number;
}

/** Is it a number that every parser reads alike? (RFC 8259 6) */
function isWhole(value: number): boolean {
  return value >= 0 && value <= Whole.MAX && Math.floor(value) === value;
}

function wanted(claim: string, value: unknown, type: string, optional?: boolean): void {
  if (optional && value === undefined) return;
  const whole = type !== "number" || isWhole(value as number);
  if (typeof value !== type || !whole || value === "") refuse("claim " + claim + " is missing or not a " + type);
}

/**
 * Reads the claims; throws INVALID_RESPONSE with the name of one that is missing or mistyped. Unknown ones are ignored.
 * @chapter manifest
 */
export function parseManifest(payload: string): Manifest {
  const manifest = parseJson(payload);
  if (manifest.format !== FORMAT)
    throw fault(Code.NOT_SUPPORTED, "manifest format " + manifest.format + ", this module knows " + FORMAT);
  const image = manifest.image || {};
  wanted("project", manifest.project, "string");
  wanted("version", manifest.version, "string");
  wanted("chip", manifest.chip, "string");
  wanted("board", manifest.board, "string", true);
  wanted("sequence", manifest.sequence, "number");
  wanted("iat", manifest.iat, "number");
  wanted("exp", manifest.exp, "number", true);
  wanted("image.url", image.url, "string");
  wanted("image.size", image.size, "number");
  wanted("image.fsverity", image.fsverity, "string");
  if (!digitsOf(image.fsverity, Prefix.MANIFEST))
    refuse("claim image.fsverity must be " + Prefix.MANIFEST + " and 64 digits");
  const storage = image.storage;
  if (storage !== undefined) {
    wanted("image.storage.partition", storage && storage.partition, "string");
    wanted("image.storage.address", storage.address, "number");
    wanted("image.storage.size", storage.size, "number");
    if (!storage.size) refuse("claim image.storage.size is 0");
  }
  return manifest;
}

function differ(what: string, theirs: string | number, ours: string | number): never {
  throw fault(Code.INVALID_VERSION, "manifest is for " + what + " " + theirs + ", this is " + ours);
}

/**
 * Refuses a manifest that is not for this device, or that is older than what it has. `allowDowngrade` lifts the last.
 * @chapter manifest
 */
export function checkPolicy(manifest: Manifest, facts: Facts, allowDowngrade: boolean): void {
  if (manifest.chip !== facts.chip_) differ("chip", manifest.chip, facts.chip_);
  if (manifest.board !== undefined && manifest.board !== facts.board_) differ("board", manifest.board, facts.board_);
  if (manifest.image.size > facts.slotSize_)
    throw fault(Code.INVALID_SIZE, "image of " + manifest.image.size + " bytes, the slot has " + facts.slotSize_);
  // a clock that nobody has set says 1970 and lets every manifest pass
  if (manifest.exp !== undefined && manifest.exp * 1000 < facts.nowMs_)
    throw fault(Code.TIMEOUT, "manifest expired at " + manifest.exp + ", it is " + Math.floor(facts.nowMs_ / 1000));
  if (manifest.sequence < facts.sequence_ && !allowDowngrade)
    throw fault(
      Code.OTA_SMALL_SEC_VER,
      "manifest has sequence " + manifest.sequence + ", this device has " + facts.sequence_,
    );
  if (manifest.sequence > facts.sequence_ + MAX_JUMP)
    differ("sequence", manifest.sequence, facts.sequence_ + ", and takes at most " + MAX_JUMP + " more");
}

/** The descriptor of classic Espruino builds is that of the skeleton they are linked into, with a name of its own. */
function projectOf(name: string): string {
  return name === "espruino-esp32" ? "espruino" : name;
}

/**
 * Refuses another project's manifest; "" where nothing tells this device's own.
 * @chapter manifest
 */
export function checkProject(manifest: Manifest, project: string): void {
  if (project && projectOf(manifest.project) !== projectOf(project)) differ("project", manifest.project, project);
}
