// Little-endian numbers and text in binary formats.

export const hex = (value: number, digits = 0): string => `0x${value.toString(16).padStart(digits, "0")}`;
export const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

export function u16(bytes: Uint8Array, offset: number): number {
  return bytes[offset] | (bytes[offset + 1] << 8);
}

export function u32(bytes: Uint8Array, offset: number): number {
  return (u16(bytes, offset) | (u16(bytes, offset + 2) << 16)) >>> 0;
}

export function setU32(bytes: Uint8Array, offset: number, value: number): void {
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(offset, value, true);
}

/** A field padded with NUL, not necessarily terminated. Bytes that are no UTF-8 are read as Latin-1. */
export function zText(bytes: Uint8Array, offset: number, room: number): string {
  const field = bytes.subarray(offset, offset + room);
  const end = field.indexOf(0);
  const text = end < 0 ? field : field.subarray(0, end);
  try {
    // ignoreBOM keeps U+FEFF: a label that begins with it is another one
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(text);
  } catch {
    return Buffer.from(text).toString("latin1");
  }
}

export function isBlank(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0xff);
}

/** 1048576 as "1 MB", 1572864 as "1536 KB", 1000 as "1000 bytes". */
export function sizeText(size: number): string {
  if (size && size % 0x100000 === 0) return `${size / 0x100000} MB`;
  return size && size % 0x400 === 0 ? `${size / 0x400} KB` : `${size} bytes`;
}
