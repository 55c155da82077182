// Espruino's Storage as it lies in flash: a chain of files, each a header of 32 bytes and its contents, from the first byte
// of the partition on. The rest is blank. Pure. Source: Espruino's src/jsflash.h (JsfFileHeader) and src/jsflash.c.
import { setU32 } from "../../platform/bytes.ts";

/** Bytes of a header: the size with the flags in its top byte, and a name that is filled with NUL. */
export const FILE_HEADER = 32;
const NAME_AT = 4;
export const MAX_NAME = FILE_HEADER - NAME_AT;
const MAX_SIZE = 0xffffff;
/** JSF_ALIGNMENT of the ESP32 */
const ALIGNMENT = 4;

export interface StorageFile {
  name: string;
  bytes: Uint8Array;
  /** of the file, when it has room behind `bytes`: that room is blank */
  size?: number;
}

/** Bytes of Storage that a file of `size` bytes takes. An empty file is not stored: Espruino has none. */
export const storedSize = (size: number): number => (size ? Math.ceil(size / ALIGNMENT) * ALIGNMENT + FILE_HEADER : 0);

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
      throw new RangeError(`no file of Storage: ${file.name}`);
    image.fill(0, at, at + FILE_HEADER);
    setU32(image, at, length);
    image.set(name, at + NAME_AT);
    image.set(file.bytes, at + FILE_HEADER);
    at += storedSize(length);
  }
  return image;
}
