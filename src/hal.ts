// The device: the only file that names a global of Espruino. Every native call is asked for a real value (out of
// memory shows as undefined, and two of those compare equal), and every erase and write is read back, because the
// ESP32 port drops flash errors (targets/esp32/jshardware.c; with IDF 5 its erase silently does nothing).

import { hex } from "./bytes";
import { Code, fault, guarded, ignore } from "./status";

const flash = require("Flash");
let crypto: EspruinoCrypto;
try {
  crypto = require("crypto");
} catch (_) {
  throw fault(
    Code.NOT_SUPPORTED,
    "this Espruino (" + process.env.BOARD + ") has no crypto module: https-ota needs a build with it (docs/boards.md)",
  );
}

/** In bytes. */
export const enum Flash {
  SECTOR = 4096,
  /** what is read at once: a whole sector would be 300 JsVars, and smaller pieces take more time */
  PIECE = 1024,
  /** the same where memory is shortest, and its E.CRC32 when it is blank */
  SMALL_PIECE = 512,
  BLANK_CRC = 0xbd7bc39f,
}

// Registers of the classic ESP32 (IDF soc/esp32: efuse_reg.h, dport_reg.h, apb_ctrl_reg.h)
const EFUSE_BLK0_RDATA0 = 0x3ff5a000; // FLASH_CRYPT_CNT in bits 20 to 26
const EFUSE_BLK0_RDATA3 = 0x3ff5a00c; // CHIP_VER_REV1 in bit 15
const EFUSE_BLK0_RDATA5 = 0x3ff5a014; // CHIP_VER_REV2 in bit 20, WAFER_VERSION_MINOR in bits 24 and 25
const APB_CTRL_DATE = 0x3ff6607c; // bit 31: revision 3 and later
const DPORT_FLASH_MMU_TABLE = 0x3ff10000; // an entry for each 64 KB page; the first is for 0x3f400000

const MMU_TABLE = 0x600c5000; // of the C3 and the S3 (DR_REG_MMU_TABLE; IDF soc/ext_mem_defs.h), for both buses

function noMemory(what: string): never {
  throw fault(Code.NO_MEM, "out of memory: " + what, true);
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
  // read() and binary() in one: each call costs, and this is done for every piece that is written
  const found = flash.read(bytes.length, addr);
  const text = found && E.toString(found);
  return typeof text === "string" ? text === bytes : noMemory("read back at " + hex(addr));
}

/** Is the whole sector at `addr` erased? */
export function isBlank(addr: number): boolean {
  // no local variable: it would keep one block alive while the next is allocated
  for (let at = 0; at < Flash.SECTOR; at += Flash.SMALL_PIECE)
    if (E.CRC32(read(addr + at, Flash.SMALL_PIECE)) !== Flash.BLANK_CRC) return false;
  return true;
}

/** Erases the sector at `addr` and reads it back. */
export function erase(addr: number): void {
  // process.memory() collects garbage, which sorts the list of free variables. Without it each allocation in one piece
  // walks that list, which took a fifth of an update's time (src/jsvar.c).
  if (addr % (4 * Flash.SECTOR) === 0) process.memory();
  flash.erasePage(addr);
  if (!isBlank(addr)) throw fault(Code.FLASH_OP_FAIL, "sector " + hex(addr) + " is not blank after its erase");
}

/** Writes `bytes`, a binary string, at `addr`, which is erased, and reads them back. */
export function write(addr: number, bytes: string): void {
  flash.write(bytes, addr);
  if (!holds(addr, bytes)) throw fault(Code.FLASH_OP_FAIL, "flash at " + hex(addr) + " differs from what was written");
}

/** The `length` bytes that the running program's memory map shows at `addr`. */
export function mapped(addr: number, length: number): string {
  const area = E.memoryArea(addr, length);
  if (typeof area !== "string" || area.length !== length) return noMemory("memory area at " + hex(addr));
  return area;
}

export function sha256(data: Uint8Array | string): Uint8Array {
  const digest = crypto.SHA256(data);
  if (!digest || digest.byteLength !== 32) return noMemory("SHA-256");
  return new Uint8Array(digest);
}

/** The chip id (IDF esp_app_format.h) for which this Espruino was built, by its board name. */
export function chipId(): number {
  const board = process.env.BOARD;
  // without indexOf: at the end of a text the engine takes the beginning of a needle for the needle (2v29)
  for (let i = 0; i < board.length; i++)
    if (board.substr(i, 5) === "ESP32") {
      const series = board.substr(i + 5, 2);
      return series === "C3" ? 5 : series === "S3" ? 9 : 0;
    }
  // both are C3 (boards/EPAPER_BADGE.py, boards/CURIO.py)
  if (board === "EPAPER_BADGE" || board === "CURIO") return 5;
  throw fault(Code.NOT_SUPPORTED, "board " + board + " is not an ESP32 that this module knows");
}

/**
 * Chip revision, major * 100 + minor; -1 where JavaScript can't read it (all but the classic ESP32).
 * @chapter
 */
export function chipRevision(chip: number): number {
  if (chip !== 0) return -1;
  const word5 = peek32(EFUSE_BLK0_RDATA5, 1);
  let major = 0;
  if ((peek32(EFUSE_BLK0_RDATA3, 1) >>> 15) & 1)
    major = !((word5 >>> 20) & 1) ? 1 : peek32(APB_CTRL_DATE, 1) >>> 31 ? 3 : 2;
  return major * 100 + ((word5 >>> 24) & 3);
}

/** Is flash encryption on? Only the classic ESP32's eFuse can be read; elsewhere an unreadable partition table tells. */
export function isEncrypted(chip: number): boolean {
  let odd = false;
  if (chip === 0)
    for (let bits = (peek32(EFUSE_BLK0_RDATA0, 1) >>> 20) & 127; bits; bits >>>= 1) odd = odd !== !!(bits & 1);
  return odd;
}

/**
 * Flash address that the MMU maps at `addr`, rounded down to its page of 64 KB; -1 when it maps none there.
 * @chapter
 */
export function mappedFlash(chip: number, addr: number): number {
  const classic = chip === 0;
  const s3 = chip === 9;
  const index = (addr & (classic ? 0x3fffff : s3 ? 0x1ffffff : 0x7fffff)) >>> 16;
  const entry = peek32((classic ? DPORT_FLASH_MMU_TABLE : MMU_TABLE) + 4 * index, 1);
  // SOC_MMU_INVALID, and on the S3 SOC_MMU_ACCESS_SPIRAM
  return entry & (s3 ? 0xc000 : 0x100) ? -1 : (entry & (s3 ? 0x3fff : 0xff)) * 0x10000;
}

/**
 * Free JsVars.
 * @chapter engine
 */
export function freeVars(): number {
  return process.memory().free;
}

let patience = 0; // ms until the last of the timers that an update waits for has come
let counted = 0; // ms since 1970 when that was last looked at
const LOST_MS = 2000; // for so long none has come that should have

/** `aside`: no update waits for this one. */
export function after(ms: number, callback: () => void, aside?: boolean): number {
  const timer = setTimeout(callback, ms);
  if (timer === undefined) return noMemory("timer");
  if (!aside && ms > patience) patience = ms;
  return timer;
}

/**
 * Has the engine print what a callback of the user threw, as it prints any uncaught error: it must neither harm what is
 * under way nor be lost.
 * @chapter engine
 */
export function printLater(thrown: unknown): void {
  guarded(() => {
    after(
      0,
      () => {
        throw thrown;
      },
      true,
    );
  }, ignore);
}

/** Calls `callback` each `ms`, until it is cancelled. Unlike a timer that starts anew it needs no memory for that. */
export function every(ms: number, callback: () => void): number {
  const timer = setInterval(callback, ms);
  return timer === undefined ? noMemory("interval") : timer;
}

/**
 * To be called now and then: is there no timer left that an update could be waiting for? 0: begins anew after a pause;
 * -1: forgets all timers. At most `ms` count as passed since the last call: when something has blocked the device (a
 * lookup, a connection) no timer could fire, and the engine makes up for the calls that an interval has missed, one in
 * each idle pass (src/jsinteractive.c).
 */
export function isLost(ms: number): boolean {
  if (ms <= 0) {
    counted = 0;
    if (ms || patience < 0) patience = 0;
    return false;
  }
  const time = Date.now();
  let past = counted && time - counted;
  // the clock may be set, in either direction
  if (past < 0) past = 0;
  if (past > ms) past = ms;
  counted = time;
  patience -= past;
  return patience < -LOST_MS;
}

/** Ends a timer or an interval. */
export const cancel: (timer: number) => void = clearTimeout;

/** @chapter engine */
export function base64(text: string): string {
  return btoa(text);
}

/** The bytes of base64 text as a binary string. What it makes of foreign characters is the engine's own affair. */
export function fromBase64(text: string): string {
  return atob(text);
}

/** Sum of a[i] * b[(i + offset) mod b.length], in doubles. Bare, because RSA calls it some ten thousand times. */
export const convolve: (a: ArrayLike<number>, b: ArrayLike<number>, offset: number) => number = E.convolve;

/**
 * A number from 0 to below 1 that differs from device to device, and for each device from `round` to `round`.
 * Math.random() gives the same numbers after every start on every board: its seed is a constant (src/jsutils.c). The factor
 * parts devices that meet in one round: the checksums of two texts differ by the same bits in each.
 * @chapter engine
 */
export function spread(round: number): number {
  return ((E.CRC32(getSerial()) * (1 + 40503 * round)) / 4294967296) % 1;
}

/** ms since 1970 by a clock that is wrong until somebody sets it. */
export function now(): number {
  return Date.now();
}

/** Espruino's name of the board. */
export function boardName(): string {
  return process.env.BOARD;
}

/**
 * Espruino's version, such as "2v27.45".
 * @chapter engine
 */
export function firmwareVersion(): string {
  return process.env.VERSION;
}

/**
 * A file of Espruino's Storage, undefined when there is none.
 * @chapter engine
 */
export function readFile(name: string): string | undefined {
  return require("Storage").read(name);
}

/**
 * Writes `data` at `offset` of a file of Storage, which is created with `size` bytes at offset 0. Throws the engine's own errors.
 * @chapter engine
 */
export function writeFile(name: string, data: string, offset: number, size: number): void {
  require("Storage").write(name, data, offset, size);
}

/** @chapter engine */
export function eraseFile(name: string): void {
  require("Storage").erase(name);
}

/**
 * What Storage holds, in bytes.
 * @chapter engine
 */
export function storageStats(): EspruinoStorageStats {
  const stats = require("Storage").getStats();
  return stats || noMemory("Storage.getStats");
}

/**
 * Makes a request without a body. Throws what the engine throws: unknown host, refused connection, no memory for TLS.
 * @chapter
 */
export function request(
  options: EspruinoHttpOptions,
  onResponse: (response: EspruinoHttpResponse) => void,
  onError: (error: { code: number; message: string }) => void,
): EspruinoHttpRequest {
  const outgoing = require("http").request(options, onResponse);
  if (!outgoing) throw fault(Code.HTTP_CONNECT, "no network", true);
  outgoing.on("error", onError);
  outgoing.end();
  return outgoing;
}

/** IDF's own esp_ota_mark_app_valid_cancel_rollback, where this Espruino has it. It tells nobody whether it worked. */
export function markValidNatively(): void {
  if (ESP32.setOTAValid) ESP32.setOTAValid(true);
}

/**
 * Has a slot been selected since the device started? Kept in an object of the engine, where every instance of this module
 * finds it.
 * @chapter engine
 */
export function isRestartPending(): boolean {
  return !!E.otaRestartPending;
}

/**
 * Who has the turn (turn.ts), null when nobody has. In an object of the engine too: a second instance of this module (after
 * Modules.removeCached, or sent again by the Web IDE) must not write a slot that the first one is still writing.
 * @chapter engine
 */
export function heldTurn(): any {
  return E.otaTurn || null;
}

/** @chapter engine */
export function holdTurn(turn: object | undefined): void {
  E.otaTurn = turn;
}

/**
 * Has `listener` called, or not any more, before the engine ends the program: save(), load(), reset().
 * @chapter engine
 */
export function listenForKill(listener: () => void, wanted: boolean): void {
  if (wanted) E.on("kill", listener);
  else E.removeListener("kill", listener);
}

/** @chapter engine */
export function setRestartPending(): void {
  E.otaRestartPending = true;
}

/** Restarts the device at once. `esp_restart` */
export function restart(): void {
  ESP32.reboot();
}
