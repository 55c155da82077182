// What the module uses of the interpreter, apart from flash, chip and http: crypto, timers, Storage, memory, and what outlives
// an instance of this module. Every native call must give a real value: out of memory shows as undefined.

import { Code, fault, guarded, ignore, noMemory } from "../errors";

let crypto: EspruinoCrypto;
try {
  crypto = require("crypto");
} catch (_) {
  throw fault(
    Code.NOT_SUPPORTED,
    "this Espruino (" + process.env.BOARD + ") has no crypto module: https-ota needs a build with it (docs/boards.md)",
  );
}

export function sha256(data: Uint8Array | string): Uint8Array {
  const digest = crypto.SHA256(data);
  if (!digest || digest.byteLength !== 32) return noMemory("SHA-256");
  return new Uint8Array(digest);
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
 * Has a slot been selected since the device started? Kept in an object of the engine, where every instance of this module
 * finds it.
 * @chapter engine
 */
export function isRestartPending(): boolean {
  return !!E.otaRestartPending;
}

/**
 * Who has the turn (lock.ts), null when nobody has. In an object of the engine too: a second instance of this module (after
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
