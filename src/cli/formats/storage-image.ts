// Espruino's Storage as it lies in flash: a chain of files, each a header of 32 bytes and its contents, from the first byte
// of the partition on. The rest is blank. Pure. Source: Espruino's src/jsflash.h (JsfFileHeader) and src/jsflash.c.
import { setU32, u32 } from "../../platform/bytes.ts";
import { hexOf, isBlank } from "./bytes.ts";
import type { Problem } from "./image.ts";
import { SECTOR } from "./partitions.ts";

/** Bytes of a header: the size with the flags in its top byte, and a name that is filled with NUL. */
export const FILE_HEADER = 32;
const NAME_AT = 4;
export const MAX_NAME = FILE_HEADER - NAME_AT;
const MAX_SIZE = 0xffffff;
/** The top byte of a size: none, JSFF_STORAGEFILE (made by open()), JSFF_COMPRESSED. */
const FLAGS = [0, 64, 128];
const STORAGE_FILE = 64;
/** Espruino erases a file by clearing this number of bytes at the start of its name. */
const ERASED_NAME = 4;
/** JSF_ALIGNMENT of the ESP32 */
const ALIGNMENT = 4;
const align = (size: number) => Math.ceil(size / ALIGNMENT) * ALIGNMENT;
/** The start of the next page, the smallest erase. */
const pageBehind = (offset: number) => (Math.floor(offset / SECTOR) + 1) * SECTOR;

export interface StorageFile {
  name: string;
  bytes: Uint8Array;
  /** of the file, when it has room behind `bytes`: that room is blank */
  size?: number;
}

/** Bytes of Storage that a file of `size` bytes takes. An empty file is not stored: Espruino has none. */
export const storedSize = (size: number): number => (size ? align(size) + FILE_HEADER : 0);

const sizeOf = ({ bytes, size = bytes.length }: StorageFile) => size;

export const storageUse = (files: readonly StorageFile[]): number =>
  files.reduce((sum, file) => sum + storedSize(sizeOf(file)), 0);

/** A Storage of `size` bytes with these files, in this order. Their names differ, and they fit. */
export function buildStorage(files: readonly StorageFile[], size: number): Buffer {
  if (storageUse(files) > size) throw new RangeError("the files do not fit");
  const image = Buffer.alloc(size, 0xff);
  let at = 0;
  for (const file of files) {
    const length = sizeOf(file);
    const name = Buffer.from(file.name, "latin1");
    if (!length || length > MAX_SIZE || name.length > MAX_NAME || file.bytes.length > length)
      throw new RangeError(`not a file that Storage can hold: ${file.name}`);
    image.fill(0, at, at + FILE_HEADER);
    setU32(image, at, length);
    image.set(name, at + NAME_AT);
    image.set(file.bytes, at + FILE_HEADER);
    at += storedSize(length);
  }
  return image;
}

// --- Reading ---------------------------------------------------------------------------------------------------------

export interface StoredFile {
  name: string;
  /** of its header */
  offset: number;
  /** bytes of its contents */
  size: number;
}

export interface StorageContents {
  files: StoredFile[];
  /** what erased files still take */
  erased: { count: number; bytes: number };
  /** bytes behind the last file */
  free: number;
  /** where a header is torn, as a loss of power leaves it; Espruino passes over it */
  torn: number | null;
  problems: Problem[];
}

interface Header extends StoredFile {
  /** a device lists it */
  listed: boolean;
  /** flags, name and padding are as Espruino writes them */
  proper: boolean;
}

/** Printable ASCII or Latin-1. The last character of a file made by open() is the number of its part. */
function isName(bytes: Uint8Array, flags: number): boolean {
  const own = flags === STORAGE_FILE ? bytes.subarray(0, -1) : bytes;
  return own.length > 0 && own.every((one) => (one >= 0x20 && one < 0x7f) || (one >= 0xa0 && one < 0xff));
}

/** What Espruino takes for a header: its size fits. Null for anything else. */
function headerAt(bytes: Uint8Array, offset: number): Header | null {
  if (offset + FILE_HEADER > bytes.length) return null;
  const word = u32(bytes, offset);
  const size = word & MAX_SIZE;
  if (word === 0 || word === 0xffffffff || offset + FILE_HEADER + size > bytes.length) return null;
  const flags = word >>> 24;
  const name = bytes.subarray(offset + NAME_AT, offset + FILE_HEADER);
  const end = name.indexOf(0);
  const length = end < 0 ? MAX_NAME : end;
  const erased = name.subarray(0, ERASED_NAME).every((one) => one === 0);
  const listed = !erased && FLAGS.includes(flags);
  const proper = listed && isName(name.subarray(0, length), flags) && name.subarray(length).every((one) => one === 0);
  return { name: Buffer.from(name.subarray(0, length)).toString("latin1"), offset, size, listed, proper };
}

const isErased = (bytes: Uint8Array, offset: number) => isBlank(bytes.subarray(offset, offset + FILE_HEADER));

/** Files in order, with what is erased, as jsfGetNextFileHeader of src/jsflash.c finds them, and where the last one ends. */
function walk(bytes: Uint8Array): { headers: Header[]; end: number } {
  const headers: Header[] = [];
  let end = 0;
  for (let header = headerAt(bytes, 0); header; ) {
    headers.push(header);
    end = header.offset + FILE_HEADER + align(header.size);
    // where there is none, the chain goes on at the next page if one begins there
    header = headerAt(bytes, end) ?? headerAt(bytes, pageBehind(end));
  }
  return { headers, end };
}

/** The files of a Storage; null when the bytes are something else. */
export function readStorage(bytes: Uint8Array): StorageContents | null {
  const { headers, end } = walk(bytes);
  if (!headers.some(({ proper }) => proper) || (headers[0].listed && !headers[0].proper)) return null;
  const gone = headers.filter(({ listed }) => !listed);
  // what Espruino looks at when it starts: blank, or it erases everything
  const last = pageBehind(end) < bytes.length ? pageBehind(end) : end;
  const found = hexOf(bytes.subarray(last, last + 8));
  const text = `found ${found}, expected the header of a file or erased flash: Espruino erases this Storage at its start`;
  return {
    files: headers.filter(({ listed }) => listed).map(({ name, offset, size }) => ({ name, offset, size })),
    erased: { count: gone.length, bytes: gone.reduce((sum, { size }) => sum + FILE_HEADER + align(size), 0) },
    free: Math.max(0, bytes.length - end),
    torn: last !== end && !isErased(bytes, end) ? end : null,
    problems: end + FILE_HEADER > bytes.length || isErased(bytes, last) ? [] : [{ offset: last, text }],
  };
}
