// Little-endian numbers and NUL-ended text in a Uint8Array. Every ESP32 flash format is little-endian. Pure.

/** Whole numbers up to this are exact in a double; in an enum, which takes no variable. */
export const enum Whole {
  MAX = 0x1fffffffffffff,
}

/** @chapter bytes */
export function u16(bytes: Uint8Array, offset: number): number {
  return bytes[offset] | (bytes[offset + 1] << 8);
}

/** @chapter bytes */
export function u32(bytes: Uint8Array, offset: number): number {
  return (u16(bytes, offset) | (u16(bytes, offset + 2) << 16)) >>> 0;
}

/** @chapter bytes */
export function setU32(bytes: Uint8Array, offset: number, value: number): void {
  for (let i = 0; i < 4; i++) bytes[offset + i] = value >>> (8 * i);
}

/**
 * Text of at most `length` bytes, ended early by a NUL.
 * @chapter bytes
 */
export function zText(bytes: Uint8Array, offset: number, length: number): string {
  let text = "";
  for (let i = offset; i < offset + length && bytes[i]; i++) text += String.fromCharCode(bytes[i]);
  return text;
}

/** @chapter bytes */
export function hex(value: number): string {
  return "0x" + value.toString(16);
}
