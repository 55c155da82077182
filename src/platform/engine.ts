// What the module uses of the interpreter, besides flash, chip, http, crypto and timers: Storage, memory, and state
// that outlives an instance of this module. The result of every native call is checked: when memory runs out it is
// undefined.

import { after } from "./timers";
import { tryOr, noop, noMemory } from "../errors";

/** Free JsVars. */
export function freeVars(): number {
  return process.memory().free;
}

/**
 * Makes the engine print `thrown`, an error of a callback of the user, as it prints any uncaught error. The error must
 * not end the update, and must not be lost.
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

/** Calls a callback of the user. An error that it throws must not end the running update: the engine prints it. */
export function callUser(callback: () => void): void {
  try {
    callback();
  } catch (thrown) {
    printLater(thrown);
  }
}

/** Espruino's name of the board. */
export function boardName(): string {
  return process.env.BOARD;
}

/** ms since 1970, by a clock that starts near 1970 and is wrong until the program sets it. */
export function now(): number {
  return Date.now();
}

/** Sum of a[i] * b[(i + offset) mod b.length], in doubles. It has no wrapper, because RSA calls it ten thousand times. */
export const convolve: (a: ArrayLike<number>, b: ArrayLike<number>, offset: number) => number = E.convolve;

/** The serial number, which no other device has: on an ESP32 the MAC address. */
export function serialNumber(): string {
  return getSerial();
}

/**
 * A number from 0 to below 1. It differs from device to device and from `round` to `round`. Math.random() cannot give
 * it: its seed is a constant (src/jsutils.c), so its numbers are the same after every start on every board. Without the
 * factor two devices with close numbers in one round would have close numbers in every round: the checksums of two serial
 * numbers would differ by the same bits each time.
 */
export function spread(round: number): number {
  return ((E.CRC32(serialNumber()) * (1 + 40503 * round)) / 4294967296) % 1;
}

/** A file of Espruino's Storage, undefined when it does not exist. */
export function readFile(name: string): string | undefined {
  return require("Storage").read(name);
}

/** `length` bytes of a file from `offset` on, fewer at its end; "" when it does not exist. */
export function readPart(name: string, offset: number, length: number): string {
  return require("Storage").read(name, offset, length) || "";
}

/** Names of all files. */
export function listFiles(): string[] {
  return require("Storage").list() || noMemory("Storage.list");
}

/**
 * Writes `data` at `offset` of a file of Storage. At offset 0 the file is created with `size` bytes. Throws the
 * engine's errors.
 */
export function writeFile(name: string, data: string, offset: number, size: number): void {
  require("Storage").write(name, data, offset, size);
}

export function eraseFile(name: string): void {
  require("Storage").erase(name);
}

export function compact(): void {
  require("Storage").compact();
}

/** Use of Storage, in bytes. */
export function storageStats(): EspruinoStorageStats {
  const stats = require("Storage").getStats();
  return stats || noMemory("Storage.getStats");
}

/**
 * The set of files that the loader has started; "" when it has started none, undefined when no loader has run since the
 * start.
 */
export function runningSet(): string | undefined {
  return E.otaSet;
}

/** What this module has done since the device started. Every instance of the module finds it (startState). */
export const enum Start {
  /** the start of an image or a set on trial was counted */
  COUNTED = 1,
  /** and the program was told that this is the first start of its release */
  TOLD = 2,
}

export function startState(): number {
  return E.otaStart || 0;
}

export function setStartState(state: Start): void {
  E.otaStart = state;
}

/** Why a restart starts another slot or other files. An enum takes no variable. */
const enum Pending {
  SELECTED = 1,
  ROLLED_BACK = 2,
}

/**
 * Has a slot been selected since the device started? This is kept in an object of the engine, where every instance of
 * this module finds it.
 */
export function isRestartPending(): boolean {
  return !!E.otaRestartPending;
}

/**
 * The lock (boot/lock.ts) while it is held, null otherwise. It is kept in an object of the engine too: a second instance
 * of this module (after Modules.removeCached, or sent again by the Web IDE) must not write a slot that the first one is
 * writing.
 */
export function heldLock(): any {
  return E.otaLock || null;
}

export function setHeldLock(lock: object | undefined): void {
  E.otaLock = lock;
}

/** Adds or removes a listener that is called before save(), load() and reset() end the program. */
export function listenForKill(listener: () => void, add: boolean): void {
  if (add) E.on("kill", listener);
  else E.removeListener("kill", listener);
}

/** Notes that a slot was selected. `rolledBack`: because the running image was rolled back. */
export function setRestartPending(rolledBack?: boolean): void {
  E.otaRestartPending = rolledBack ? Pending.ROLLED_BACK : Pending.SELECTED;
}

/** Was the running image rolled back, and has the device not restarted since? */
export function isRolledBack(): boolean {
  return E.otaRestartPending === Pending.ROLLED_BACK;
}

/** Espruino's version, such as "2v27.45". */
export function firmwareVersion(): string {
  return process.env.VERSION;
}
