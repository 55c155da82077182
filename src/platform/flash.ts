// Flash: read, erase, write, compare. The result of every read is checked: out of memory shows as undefined, and
// undefined equals undefined. Every erase and write is read back, here or by the caller, because the ESP32 port drops flash errors
// (targets/esp32/jshardware.c; with IDF 5 its erase silently does nothing).

import { hex } from "./bytes";
import { Code, otaError, noMemory } from "../errors";

export const flash = require("Flash");

/** A computed text: a minifier would put the characters themselves, which are no ASCII. */
const BLANK = E.toString(new Uint8Array(16).fill(0xff));

/** In bytes. */
export const enum Flash {
  SECTOR = 4096,
  /** bytes per read: a whole sector would take 300 JsVars, and smaller pieces take more time */
  PIECE = 1024,
  /** the same where memory is shortest, and its E.CRC32 when it is blank */
  SMALL_PIECE = 512,
  BLANK_CRC = 0xbd7bc39f,
}

/** Ends of messages. An enum, which takes no variable. */
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

/** The same bytes as a binary string; a string is that string, and a whole typed array shares its memory with it. */
export function binary(bytes: Uint8Array | string): string {
  const text = E.toString(bytes as Uint8Array);
  if (typeof text !== "string" || text.length !== bytes.length) return noMemory("string of " + bytes.length);
  return text;
}

/** The same as a binary string. In one function, because each call takes time. */
export function readText(addr: number, length: number): string {
  const bytes = flash.read(length, addr);
  const text = bytes && E.toString(bytes);
  return typeof text === "string" ? text : noMemory("flash read of " + length + " at " + hex(addr));
}

/** Do the bytes of flash at `addr` equal `bytes`, a binary string? */
export function holds(addr: number, bytes: string): boolean {
  return readText(addr, bytes.length) === bytes;
}

/**
 * Erases the sector at `addr`, which will be written and read back as a whole. So only its first bytes are read, where
 * the content of a slot begins: that shows an erase that does nothing. One that leaves some bits is found when the sector
 * is read back.
 */
export function eraseForWrite(addr: number): void {
  flash.erasePage(addr);
  if (!holds(addr, BLANK)) throw otaError(Code.FLASH_OP_FAIL, "sector " + hex(addr) + Fact.NOT_BLANK);
}

/**
 * Writes `pieces`, binary strings and bytes, one behind the other at `addr`, which is erased; the caller reads them back. In one
 * call, so that the chip programs whole pages: the engine then copies them to its stack, and throws where that is too
 * small (jsvar.h JSV_GET_AS_CHAR_ARRAY).
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
