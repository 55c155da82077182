// Little-endian numbers and NUL-ended text in a Uint8Array. Every ESP32 flash format is little-endian. Pure.

/** Whole numbers up to this are exact in a double. An enum takes no variable. */
export const enum Whole {
  MAX = 0x1fffffffffffff,
}

export function u16(bytes: Uint8Array, offset: number): number {
  return bytes[offset] | (bytes[offset + 1] << 8);
}

export function u32(bytes: Uint8Array, offset: number): number {
  return (u16(bytes, offset) | (u16(bytes, offset + 2) << 16)) >>> 0;
}

export function setU32(bytes: Uint8Array, offset: number, value: number): void {
  for (let i = 0; i < 4; i++) bytes[offset + i] = value >>> (8 * i);
}

/** Text of at most `length` bytes, which a NUL may end earlier. */
export function zText(bytes: Uint8Array, offset: number, length: number): string {
  let text = "";
  for (let i = offset; i < offset + length && bytes[i]; i++) text += String.fromCharCode(bytes[i]);
  return text;
}

export function hex(value: number): string {
  return "0x" + value.toString(16);
}

/** The bytes of a binary string. */
export function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  // only Espruino accepts a string here; the command on the host does not call this function
  bytes.set(text as never);
  return bytes;
}

/** Prefix of a digest in a configuration and in a manifest. */
export const enum Prefix {
  CONFIG = "fsverity-sha256:",
  MANIFEST = "sha256:",
}

/** The digits of "<prefix><64 hexadecimal digits>", in lower case; "" for any other text. */
export function parseDigest(text: string, prefix: string): string {
  const digits = text.substr(prefix.length).toLowerCase();
  if (text.substr(0, prefix.length) !== prefix || digits.length !== 64) return "";
  for (let i = 0; i < 64; i++) if ("0123456789abcdef".indexOf(digits[i]) < 0) return "";
  return digits;
}
