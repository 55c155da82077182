// base64url as RFC 7515 uses it: without padding, and only in its canonical form.

import { base64, fromBase64 } from "../platform/base64";

/**
 * Replaces each character of `text` that is in `from` by the character at the same place in `to`, or removes it. Not with
 * String.split: it creates a piece for each separator, and crashes the engine when memory runs out (src/jswrap_string.c),
 * and a stranger can send a text of separators.
 */
function translate(text: string, from: string, to: string): string {
  let result = "";
  for (let i = 0; i < text.length; i++) {
    const at = from.indexOf(text[i]);
    result += at < 0 ? text[i] : to.substr(at, 1);
  }
  return result;
}

/** RFC 7515 2: base64url without padding, of whole bytes. */
export function toBase64url(bytes: string): string {
  return translate(base64(bytes), "+/=", "-_");
}

/** The bytes that `text` encodes, as a binary string; null unless `text` is their canonical encoding. */
export function fromBase64url(text: string): string | null {
  const bytes = fromBase64(translate(text, "-_", "+/"));
  return typeof bytes === "string" && toBase64url(bytes) === text ? bytes : null;
}
