// Flash: read, erase, write, compare. The result of every read is checked: out of memory shows as undefined, and
// undefined equals undefined. Every erase and write is read back, here or by the caller, because the ESP32 port ignores
// flash errors (targets/esp32/jshardware.c; with IDF 5 its erase silently does nothing).

import { hex } from "./bytes";
import { Code, otaError, noMemory } from "../errors";

export const flash = require("Flash");

/** It is computed because a minifier would turn a literal into the characters themselves, which are not ASCII. */
const BLANK = E.toString(new Uint8Array(16).fill(0xff));

/** In bytes. */
export const enum Flash {
  SECTOR = 4096,
  /** bytes of one read: a read of a whole sector would take 300 JsVars, and smaller reads take more time in all */
  PIECE = 1024,
  /** bytes of one read where memory is shortest */
  SMALL_PIECE = 512,
  /** E.CRC32 of SMALL_PIECE blank bytes */
  BLANK_CRC = 0xbd7bc39f,
}

/** Ends of messages. An enum takes no variable. */
export const enum Fact {
  NOT_BLANK = " is not blank after its erase",
  DIFFERS = " differs from what was written",
}

/** `length` bytes of flash at `addr`. */
export function read(addr: number, length: number): Uint8Array {
  const bytes = flash.read(length, addr);
  if (!bytes || bytes.length !== length) return noMemory("flash read of " + length + " at " + hex(addr));
  return bytes;
}

/** `bytes` as a binary string. A string is returned unchanged; the string of a whole typed array shares its memory. */
export function binary(bytes: Uint8Array | string): string {
  const text = E.toString(bytes as Uint8Array);
  if (typeof text !== "string" || text.length !== bytes.length) return noMemory("string of " + bytes.length);
  return text;
}

/** As read(), but a binary string. One function and not binary(read()), because each call takes time. */
export function readText(addr: number, length: number): string {
  const bytes = flash.read(length, addr);
  const text = bytes && E.toString(bytes);
  return typeof text === "string" ? text : noMemory("flash read of " + length + " at " + hex(addr));
}

/** Is `bytes`, a binary string, what flash holds at `addr`? */
export function holds(addr: number, bytes: string): boolean {
  return readText(addr, bytes.length) === bytes;
}

/**
 * Erases the sector at `addr`, which will be written and read back as a whole. Only its first bytes are read here: they
 * show an erase that does nothing. An erase that leaves some bits is found when the sector is read back.
 */
export function eraseForWrite(addr: number): void {
  flash.erasePage(addr);
  if (!holds(addr, BLANK)) throw otaError(Code.FLASH_OP_FAIL, "sector " + hex(addr) + Fact.NOT_BLANK);
}

/**
 * Writes `pieces`, binary strings and bytes, one after the other at `addr`, which is erased; the caller reads them back.
 * One call of the engine lets the chip program whole pages. The engine copies the pieces to its stack for that, and throws
 * if its stack is too small (jsvar.h JSV_GET_AS_CHAR_ARRAY): then they are written one by one.
 */
export function program(addr: number, pieces: (string | Uint8Array)[]): void {
  try {
    flash.write(pieces, addr);
  } catch (_) {
    for (let i = 0; i < pieces.length; i++) {
      flash.write(pieces[i], addr);
      addr += pieces[i].length;
    }
  }
}
