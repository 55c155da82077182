// The claims of a manifest. Pure. Only called with a payload whose signature is verified.
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

/** Is it a whole number that every JSON parser reads in the same way? (RFC 8259 6) */
function isWhole(value: number): boolean {
  return value >= 0 && value <= Whole.MAX && Math.floor(value) === value;
}

function checkClaim(claim: string, value: unknown, type: string, optional?: boolean): void {
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
  checkClaim("project", manifest.project, "string");
  checkClaim("version", manifest.version, "string");
  checkClaim("chip", manifest.chip, "string");
  checkClaim("board", manifest.board, "string", true);
  checkClaim("sequence", manifest.sequence, "number");
  checkClaim("iat", manifest.iat, "number");
  checkClaim("exp", manifest.exp, "number", true);
  checkClaim("image.url", image.url, "string");
  checkClaim("image.size", image.size, "number");
  checkClaim("image.fsverity", image.fsverity, "string");
  if (!parseDigest(image.fsverity, Prefix.MANIFEST))
    refuse("claim image.fsverity must be " + Prefix.MANIFEST + " and 64 digits");
  const storage = image.storage;
  if (storage !== undefined) {
    checkClaim("image.storage.partition", storage && storage.partition, "string");
    checkClaim("image.storage.address", storage.address, "number");
    checkClaim("image.storage.size", storage.size, "number");
    if (!storage.size) refuse("claim image.storage.size is 0");
  }
  return manifest;
}
