// Trusted keys: RSA public keys as JWK, named by their RFC 7638 thumbprints.

import { sha256 } from "../platform/crypto";
import { fromBase64url, toBase64url } from "./base64url";
import { bytesOf } from "../platform/bytes";
import type { Jwk } from "../config";
import { binary } from "../platform/flash";
import { isKey } from "./rsa-key";
import { Code, otaError, type OtaError } from "../errors";

/** RFC 7638: SHA-256 of the required members of the key in their order, as base64url. */
export function thumbprint(key: Jwk): string {
  return toBase64url(binary(sha256('{"e":"' + key.e + '","kty":"RSA","n":"' + key.n + '"}')));
}

/** Modulus and exponent of a key; throws INVALID_ARG unless isKey() accepts it. */
export function parseKey(key: Jwk): { n_: Uint8Array; e_: number } {
  const n = bytesOf((key && key.kty === "RSA" && fromBase64url("" + key.n)) || "");
  const eText = fromBase64url("" + (key && key.e)) || "";
  let e = 0;
  for (let i = 0; i < eText.length; i++) e = e * 256 + eText.charCodeAt(i);
  if (!isKey(n, e)) throw otaError(Code.INVALID_ARG, "keys: expected RSA keys of 2048 to 4096 bits as JWK");
  return { n_: n, e_: e };
}

/** Throws INVALID_ARG when a key of `keys` cannot be used. */
export function checkKeys(keys: Jwk[]): void {
  if (!(keys.length > 0)) throw otaError(Code.INVALID_ARG, "keys must be a list of one key or more");
  for (let i = 0; i < keys.length; i++) parseKey(keys[i]);
}

/** The key whose thumbprint is `kid`, or null. */
export function keyCalled(keys: Jwk[], kid: string): Jwk | null {
  for (let i = 0; i < keys.length; i++) if (thumbprint(keys[i]) === kid) return keys[i];
  return null;
}

/** The error for everything that can be wrong with a signature. It is always the same, so it tells an attacker nothing. */
export function notTrusted(): OtaError {
  return otaError(Code.OTA_VALIDATE_FAILED, "the manifest is not signed by a trusted key");
}
