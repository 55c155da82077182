// Base64 of the interpreter (RFC 4648 4), of and to binary strings.

export function base64(text: string): string {
  return btoa(text);
}

/** The bytes of base64 text as a binary string. Characters outside of the alphabet: undefined result. */
export function fromBase64(text: string): string {
  return atob(text);
}
