// Numbers and text of binary formats, as people read them. What a device reads itself is in src/platform/bytes.ts.
import { zText } from "../../platform/bytes.ts";

export const hex = (value: number, digits = 0): string => `0x${value.toString(16).padStart(digits, "0")}`;
export const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** A binary string as UTF-8; one that is not UTF-8 stays as it is, which is Latin-1. */
export function utf8Of(binary: string): string {
  try {
    // ignoreBOM keeps U+FEFF: a label that begins with it is another label
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.from(binary, "latin1"));
  } catch {
    return binary;
  }
}

/** A field padded with NUL, not necessarily terminated. */
export function fieldText(bytes: Uint8Array, offset: number, length: number): string {
  return utf8Of(zText(bytes, offset, length));
}

export function isBlank(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0xff);
}

/** 1048576 as "1 MB", 1572864 as "1536 KB", 1000 as "1000 bytes". */
export function sizeText(size: number): string {
  if (size && size % 0x100000 === 0) return `${size / 0x100000} MB`;
  return size && size % 0x400 === 0 ? `${size / 0x400} KB` : `${size} bytes`;
}
