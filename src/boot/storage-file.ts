// Creates a file of Storage in a way that neither a loss of power nor a full Storage can destroy another file.
// Hazards (src/jsflash.c, docs/espruino.md#compaction-can-lose-every-file):
// - If the room behind the last file is too small, the engine compacts, and a loss of power during a compaction can erase
//   all of Storage. So a file is created only where there is room for it.
// - A loss of power can tear the header of a new file. The engine writes the next header on top of it, which makes that one
//   wrong too, and reports success. So a file is created blank and looked up; if it is not found, it is created again.
// - The engine removes a file of the same name before the new one is there. So a new version of a file has another name.

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
 * Creates the blank file `name` of `size` bytes; an older one is erased. Throws NO_MEM without room, FLASH_OP_FAIL if it
 * does not exist after three attempts.
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
