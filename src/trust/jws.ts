// A JSON Web Signature in compact serialization, PS256 only (RFC 7515, 7518 3.5), parsed as strictly as its RFCs
// allow. The payload is not decoded before its signature is verified.

import { sha256 } from "../platform/crypto";
import { fromBase64url } from "./base64url";
import { bytesOf } from "../platform/bytes";
import type { Jwk } from "../config";
import { freeVars } from "../platform/engine";
import { parseJson } from "./json";
import { keyCalled, parseKey, notTrusted } from "./keys";
import { Jws, TYPE } from "./limits";
import { verifyPss } from "./pss";
import { Code, otaError, tryOr, noop, type OtaError } from "../errors";

/**
 * The header, if it has exactly alg PS256, our typ and a kid; else null: every other member (crit, b64, jwk ...) could
 * change what the signature means. A header with a nested value is not parsed: a stranger may have written it, and the
 * engine's parser recurses without a check of its stack.
 */
function parseHeader(text: string): { kid: string } | null {
  if (text.indexOf("{", 1) > 0 || text.indexOf("[") >= 0 || text.indexOf(",}") >= 0) return null;
  let header: any = null;
  tryOr(() => {
    header = parseJson(text);
  }, noop);
  if (!header) return null;
  let members = 0;
  for (const _ in header) members++;
  return members === 3 && header.alg === "PS256" && header.typ === TYPE && typeof header.kid === "string"
    ? header
    : null;
}

/** The callback of verifyJws. It is created outside, so that token and key are freed while the signature is verified. */
function answer(
  payload: string,
  signer: Jwk,
  done: (error: OtaError | null, payload: string, signer?: Jwk) => void,
): (error: OtaError | null, good: boolean) => void {
  return (error, good) => {
    tryOr(
      () => {
        const text = good && !error ? fromBase64url(payload) : null;
        if (text === null) throw error || notTrusted();
        done(null, text, signer);
      },
      (thrown) => {
        done(thrown, "");
      },
    );
  };
}

/**
 * Verifies that one of `keys` has signed `token`. Calls `done` once: with the payload as text, and that key; or with
 * OTA_VALIDATE_FAILED and "".
 * More than 30 lines: one check after the other, and values that are not needed any more are freed in between.
 */
export function verifyJws(
  token: string,
  keys: Jwk[],
  done: (error: OtaError | null, payload: string, signer?: Jwk) => void,
): void {
  const first = token.indexOf(".");
  const second = token.indexOf(".", first + 1);
  const whole =
    first > 0 &&
    first <= Jws.MAX_HEADER &&
    second > first &&
    token.length - second - 1 <= Jws.MAX_SIGNATURE &&
    token.indexOf(".", second + 1) < 0;
  const headerText = whole ? fromBase64url(token.substr(0, first)) : null;
  const signature = headerText && fromBase64url(token.substr(second + 1));
  const header = signature && parseHeader(headerText as string);
  const signer = header && keyCalled(keys, header.kid);
  if (!signer) return done(notTrusted(), "");
  const key = parseKey(signer);
  const free = freeVars();
  // the computation needs nine numbers as long as the key; if memory is fragmented, a JsVar holds 10 bytes of one
  const least = 100 + 1.5 * key.n_.length;
  if (free < least)
    throw otaError(Code.NO_MEM, free + " JsVars are free, a key of this length needs " + least + " here", true);
  const digest = sha256(token.substr(0, second));
  /*@__NOINLINE__*/ verifyPss(
    key.n_,
    key.e_,
    bytesOf(signature as string),
    digest,
    /*@__NOINLINE__*/ answer(token.substring(first + 1, second), signer, done),
  );
}

function payloadOf(token: string): string {
  return token.substring(token.indexOf("."), token.lastIndexOf("."));
}

/**
 * Verifies a manifest: one token, or two with the same payload and a line end between them. `threshold` of `keys`, 1 or 2,
 * must have signed it. Calls `done` once, as verifyJws.
 */
export function verifyManifest(
  text: string,
  keys: Jwk[],
  threshold: number,
  done: (error: OtaError | null, payload: string) => void,
): void {
  const end = text.indexOf("\n");
  const first = end < 0 ? text : text.substr(0, end);
  const second = end < 0 ? "" : text.substr(end + 1);
  if (end >= 0 && (payloadOf(first) !== payloadOf(second) || second.indexOf("\n") >= 0)) return done(notTrusted(), "");
  // a single token: without another callback, which would keep both texts in memory
  if (end < 0 && threshold < 2) return verifyJws(first, keys, done);
  verifyJws(first, keys, (error, payload, signer) => {
    if (error ? threshold > 1 : threshold < 2) return done(error, payload);
    verifyJws(
      second,
      keys.filter((key) => key !== signer),
      done,
    );
  });
}
