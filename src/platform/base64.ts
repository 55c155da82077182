// Base64 of the interpreter (RFC 4648 4), of and to binary strings.

export function base64(text: string): string {
  return btoa(text);
}

/** The bytes of base64 text as a binary string. What it makes of foreign characters is the engine's own affair. */
export function fromBase64(text: string): string {
  return atob(text);
}
