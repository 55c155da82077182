// The interpreter's SHA-256, of a whole text at once. On a build without its crypto module `require` of this module throws.

import { Code, otaError, noMemory } from "../errors";

let crypto: EspruinoCrypto;
try {
  crypto = require("crypto");
} catch (_) {
  throw otaError(
    Code.NOT_SUPPORTED,
    "this Espruino (" + process.env.BOARD + ") has no crypto module: https-ota needs a build with it (docs/boards.md)",
  );
}

export function sha256(data: Uint8Array | string | (Uint8Array | string)[]): Uint8Array {
  const digest = crypto.SHA256(data);
  if (!digest || digest.byteLength !== 32) return noMemory("SHA-256");
  return new Uint8Array(digest);
}
