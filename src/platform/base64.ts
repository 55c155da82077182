// The interpreter's base64 (RFC 4648 4) of binary strings.

export function base64(text: string): string {
  return btoa(text);
}

/** The bytes of base64 text as a binary string. The result is not defined for characters outside of the alphabet. */
export function fromBase64(text: string): string {
  return atob(text);
}
