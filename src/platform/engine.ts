// What the module uses of the interpreter, apart from flash, chip, http, crypto and timers: Storage, memory, base64, and what
// outlives an instance of this module. Every native call must give a real value: out of memory shows as undefined.

import { after } from "./timers";
import { tryOr, noop, noMemory } from "../errors";

/** Free JsVars. */
export function freeVars(): number {
  return process.memory().free;
}

/**
 * Has the engine print what a callback of the user threw, as it prints any uncaught error: it must neither harm what is
 * under way nor be lost.
 */
export function printLater(thrown: unknown): void {
  tryOr(() => {
    after(
      0,
      () => {
        throw thrown;
      },
      true,
    );
  }, noop);
}

/** Sum of a[i] * b[(i + offset) mod b.length], in doubles. Bare, because RSA calls it some ten thousand times. */
export const convolve: (a: ArrayLike<number>, b: ArrayLike<number>, offset: number) => number = E.convolve;

/**
 * A number from 0 to below 1 that differs from device to device, and for each device from `round` to `round`.
 * Math.random() gives the same numbers after every start on every board: its seed is a constant (src/jsutils.c). The factor
 * parts devices that meet in one round: the checksums of two texts differ by the same bits in each.
 */
export function spread(round: number): number {
  return ((E.CRC32(getSerial()) * (1 + 40503 * round)) / 4294967296) % 1;
}

/** A file of Espruino's Storage, undefined when there is none. */
export function readFile(name: string): string | undefined {
  return require("Storage").read(name);
}

/**
 * Writes `data` at `offset` of a file of Storage, which is created with `size` bytes at offset 0. Throws the engine's own errors.
 */
export function writeFile(name: string, data: string, offset: number, size: number): void {
  require("Storage").write(name, data, offset, size);
}

export function eraseFile(name: string): void {
  require("Storage").erase(name);
}

/** What Storage holds, in bytes. */
export function storageStats(): EspruinoStorageStats {
  const stats = require("Storage").getStats();
  return stats || noMemory("Storage.getStats");
}

/**
 * Has a slot been selected since the device started? Kept in an object of the engine, where every instance of this module
 * finds it.
 */
export function isRestartPending(): boolean {
  return !!E.otaRestartPending;
}

/**
 * The lock that is held (boot/lock.ts), null when none is. It is kept in an object of the engine too: a second instance of
 * this module (after Modules.removeCached, or sent again by the Web IDE) must not write a slot that the first one is writing.
 */
export function heldLock(): any {
  return E.otaLock || null;
}

export function setHeldLock(lock: object | undefined): void {
  E.otaLock = lock;
}

/** Has `listener` called, or not any more, before the engine ends the program: save(), load(), reset(). */
export function listenForKill(listener: () => void, wanted: boolean): void {
  if (wanted) E.on("kill", listener);
  else E.removeListener("kill", listener);
}

export function setRestartPending(): void {
  E.otaRestartPending = true;
}

/** Espruino's version, such as "2v27.45". */
export function firmwareVersion(): string {
  return process.env.VERSION;
}
