// What the module uses of the interpreter, apart from flash, chip, http, crypto and timers: Storage, memory, and state
// that outlives an instance of this module. The result of every native call is checked: out of memory shows as
// undefined.

import { after } from "./timers";
import { tryOr, noop, noMemory } from "../errors";

/** Free JsVars. */
export function freeVars(): number {
  return process.memory().free;
}

/**
 * Makes the engine print what a callback of the user threw, as it prints any uncaught error. The error must not end the
 * update, and must not be lost.
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

/** Calls a callback of the user. What it throws must not end what is under way: the engine prints it. */
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

/** ms since 1970 by a clock that is wrong until somebody sets it. */
export function now(): number {
  return Date.now();
}

/** Sum of a[i] * b[(i + offset) mod b.length], in doubles. Not wrapped, because RSA calls it ten thousand times. */
export const convolve: (a: ArrayLike<number>, b: ArrayLike<number>, offset: number) => number = E.convolve;

/** What differs between two devices with the same program: on an ESP32 its MAC address. */
export function serialNumber(): string {
  return getSerial();
}

/**
 * A number from 0 to below 1 that differs from device to device, and for each device from `round` to `round`.
 * Math.random() gives the same numbers after every start on every board: its seed is a constant (src/jsutils.c). The
 * factor separates devices that meet in one round: without it the checksums of two serial numbers differ by the same
 * bits in each.
 */
export function spread(round: number): number {
  return ((E.CRC32(serialNumber()) * (1 + 40503 * round)) / 4294967296) % 1;
}

/** A file of Espruino's Storage, undefined when there is none. */
export function readFile(name: string): string | undefined {
  return require("Storage").read(name);
}

/** `length` bytes of it from `offset` on, fewer at its end. */
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

/** What has been done at this start, kept where every instance of this module finds it. */
export const enum Start {
  /** the start of an image or a set on trial was counted */
  COUNTED = 1,
  /** and the program was told that it is the first one */
  TOLD = 2,
}

export function startState(): number {
  return E.otaStart || 0;
}

export function setStartState(state: Start): void {
  E.otaStart = state;
}

/** Why the next start starts something else. An enum, which takes no variable. */
const enum Pending {
  SELECTED = 1,
  ROLLED_BACK = 2,
}

/**
 * Has a slot been selected since the device started? Kept in an object of the engine, where every instance of this
 * module finds it.
 */
export function isRestartPending(): boolean {
  return !!E.otaRestartPending;
}

/**
 * The lock that is held (boot/lock.ts), null when none is. It is kept in an object of the engine too: a second instance
 * of this module (after Modules.removeCached, or sent again by the Web IDE) must not write a slot that the first one is
 * writing.
 */
export function heldLock(): any {
  return E.otaLock || null;
}

export function setHeldLock(lock: object | undefined): void {
  E.otaLock = lock;
}

/** Adds or removes a listener that is called before the engine ends the program: save(), load(), reset(). */
export function listenForKill(listener: () => void, add: boolean): void {
  if (add) E.on("kill", listener);
  else E.removeListener("kill", listener);
}

/** `rolledBack`: because the program gave the running image up. */
export function setRestartPending(rolledBack?: boolean): void {
  E.otaRestartPending = rolledBack ? Pending.ROLLED_BACK : Pending.SELECTED;
}

/** Has the program given up the image that runs, and not restarted since? */
export function isRolledBack(): boolean {
  return E.otaRestartPending === Pending.ROLLED_BACK;
}

/** Espruino's version, such as "2v27.45". */
export function firmwareVersion(): string {
  return process.env.VERSION;
}
