// Flash: read, erase, write, compare. The result of every read is checked: out of memory shows as undefined, and
// undefined equals undefined. Every erase and write is read back, because the ESP32 port drops flash errors
// (targets/esp32/jshardware.c; with IDF 5 its erase silently does nothing).

import { hex } from "./bytes";
import { Code, otaError, noMemory } from "../errors";

const flash = require("Flash");

/** In bytes. */
export const enum Flash {
  SECTOR = 4096,
  /** bytes per read: a whole sector would take 300 JsVars, and smaller pieces take more time */
  PIECE = 1024,
  /** the same where memory is shortest, and its E.CRC32 when it is blank */
  SMALL_PIECE = 512,
  BLANK_CRC = 0xbd7bc39f,
}

/** `length` bytes of flash at `addr`. */
export function read(addr: number, length: number): Uint8Array {
  const bytes = flash.read(length, addr);
  if (!bytes || bytes.length !== length) return noMemory("flash read of " + length + " at " + hex(addr));
  return bytes;
}

/** The same bytes as a binary string; a whole typed array shares its memory with it. */
export function binary(bytes: Uint8Array): string {
  const text = E.toString(bytes);
  if (typeof text !== "string" || text.length !== bytes.length) return noMemory("string of " + bytes.length);
  return text;
}

/** Do the bytes of flash at `addr` equal `bytes`, a binary string? */
export function holds(addr: number, bytes: string): boolean {
  // read() and binary() in one function: each call takes time, and every written piece is compared
  const found = flash.read(bytes.length, addr);
  const text = found && E.toString(found);
  return typeof text === "string" ? text === bytes : noMemory("read back at " + hex(addr));
}

/** Is the whole sector at `addr` erased? */
export function isBlank(addr: number): boolean {
  // no local variable: it would keep one block alive while the next is allocated
  for (let offset = 0; offset < Flash.SECTOR; offset += Flash.SMALL_PIECE)
    if (E.CRC32(read(addr + offset, Flash.SMALL_PIECE)) !== Flash.BLANK_CRC) return false;
  return true;
}

/** Erases the sector at `addr` and reads it back. */
export function erase(addr: number): void {
  // process.memory() collects garbage, which sorts the list of free variables. Without it each allocation in one piece
  // walks that list, which took a fifth of an update's time (src/jsvar.c).
  if (addr % (4 * Flash.SECTOR) === 0) process.memory();
  flash.erasePage(addr);
  if (!isBlank(addr)) throw otaError(Code.FLASH_OP_FAIL, "sector " + hex(addr) + " is not blank after its erase");
}

/** Writes `bytes`, a binary string, at `addr`, which is erased, and reads them back. */
export function write(addr: number, bytes: string): void {
  flash.write(bytes, addr);
  if (!holds(addr, bytes))
    throw otaError(Code.FLASH_OP_FAIL, "flash at " + hex(addr) + " differs from what was written");
}
