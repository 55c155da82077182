// Creates a file of Storage, so that no loss of power and no full Storage costs another one.
// Hazards (src/jsflash.c, docs/espruino.md#compaction-can-lose-every-file):
// - Without room the engine compacts, and a loss of power in a compaction can erase all of Storage. So nothing is created
//   where there is no room behind the last file.
// - A header that a loss of power has torn makes the next one, which is written on top of it, wrong, and the engine
//   reports success all the same. So a file is created blank, looked for, and created again.
// - A file of an existing name is removed before the new one is there. So what replaces a file has another name.

import { RecordFile } from "./record-file";
import { eraseFile, readPart, storageStats, writeFile } from "../platform/engine";
import { Code, otaError, tryOr, noop } from "../errors";

const REMEDY = ": erase files and compact Storage while the power is safe";

/** Bytes of Storage that a file of `size` bytes takes. */
export function roomOf(size: number): number {
  return size + (-size & 3) + RecordFile.FILE_HEADER;
}

/** Throws NO_MEM unless Storage has `needed` bytes behind its last file, for `what`. */
export function checkRoom(needed: number, what: string): void {
  const stats = storageStats();
  const free = stats.freeBytes;
  if (free < needed)
    throw otaError(
      Code.NO_MEM,
      "Storage has " +
        free +
        " bytes free and " +
        stats.trashBytes +
        " of erased files, " +
        what +
        " needs " +
        needed +
        REMEDY,
    );
}

/**
 * Creates the blank file `name` of `size` bytes; an older one is erased. Throws NO_MEM without room, FLASH_OP_FAIL when it
 * does not exist after three tries.
 */
export function createFile(name: string, size: number, what: string): void {
  for (let tries = 3; tries--; ) {
    checkRoom(roomOf(size), what);
    eraseFile(name);
    tryOr(() => {
      writeFile(name, String.fromCharCode(255), 0, size);
    }, noop);
    if (readPart(name, size - 1, 1).length) return;
  }
  throw otaError(Code.FLASH_OP_FAIL, "Storage did not take " + what + ", file " + name + REMEDY);
}
