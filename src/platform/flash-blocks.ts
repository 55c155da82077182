// Whole sectors of flash, blocks that come in pieces, and a write that reads back. They are not in flash.ts because they
// are seldom called: the functions of flash.ts stay in memory (docs/decisions/lazy-scopes.md).

import { hex } from "./bytes";
import { Fact, Flash, flash, holds, read } from "./flash";
import { Code, noMemory, otaError } from "../errors";

/** `pieces` as one binary string. */
export function join(pieces: (string | Uint8Array)[]): string {
  const text = E.toString(pieces as never);
  return typeof text === "string" ? text : noMemory("string of pieces");
}

/**
 * The block of Flash.SECTOR bytes at `addr`, of a file that has `rest` bytes from `addr` on. Bytes behind the end of the
 * file are zero. `start` replaces the first bytes.
 */
export function readBlock(addr: number, rest: number, start: string): Uint8Array {
  let block = read(addr, Math.min(rest, Flash.SECTOR));
  if (rest < Flash.SECTOR) {
    const padded = new Uint8Array(Flash.SECTOR);
    padded.set(block);
    block = padded;
  }
  if (start) block.set(start);
  return block;
}

/** Is the whole sector at `addr` erased? */
export function isBlank(addr: number): boolean {
  // no local variable: it would keep one block alive while the next is allocated
  for (let offset = 0; offset < Flash.SECTOR; offset += Flash.SMALL_PIECE)
    if (E.CRC32(read(addr + offset, Flash.SMALL_PIECE)) !== Flash.BLANK_CRC) return false;
  return true;
}

/** Erases the sector at `addr` and reads all of it back. */
export function erase(addr: number): void {
  flash.erasePage(addr);
  if (!isBlank(addr)) throw otaError(Code.FLASH_OP_FAIL, "sector " + hex(addr) + Fact.NOT_BLANK);
}

/** Writes `bytes`, a binary string, at `addr`, which is erased, and reads them back. */
export function write(addr: number, bytes: string): void {
  flash.write(bytes, addr);
  if (!holds(addr, bytes)) throw otaError(Code.FLASH_OP_FAIL, "flash at " + hex(addr) + Fact.DIFFERS);
}
