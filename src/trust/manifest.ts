// The manifest's claims, and which manifests this device follows. Pure. Only called with a payload whose signature holds.
// Source: docs/formats.md#manifest, docs/design.md#trust.

import { Whole, parseDigest, Prefix } from "../platform/bytes";
import { parseJson, refuse } from "./json";
import { Code, otaError } from "../errors";
import type { StorageClaim } from "../boot/storage-claim";

const FORMAT = 1;

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
 */
export function parseManifest(payload: string): Manifest {
  const manifest = parseJson(payload);
  if (manifest.format !== FORMAT)
    throw otaError(Code.NOT_SUPPORTED, "manifest format " + manifest.format + ", this module knows " + FORMAT);
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
  if (!parseDigest(image.fsverity, Prefix.MANIFEST))
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
