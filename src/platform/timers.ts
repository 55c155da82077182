// Timers and the clock of the interpreter, and the watchdog of the lock (boot/lock.ts). When no JsVar is left, the
// interpreter aborts the running callback and nothing throws. The watchdog finds that no timer is left to continue.

import { noMemory } from "../errors";

/** ms until the last timer that an update waits for is due; negative: ms that it is overdue. */
let graceMs = 0;
/** ms since 1970 when the watchdog last looked; 0: it has not looked since its reset */
let lastSampleMs = 0;
/** A timer that is overdue by more than this is lost. */
const OVERDUE_MS = 2000;

/** Calls `callback` once, in `ms`. `unwatched`: no update waits for this timer. */
export function after(ms: number, callback: () => void, unwatched?: boolean): number {
  const timer = setTimeout(callback, ms);
  if (timer === undefined) return noMemory("timer");
  if (!unwatched && ms > graceMs) graceMs = ms;
  return timer;
}

/** Calls `callback` every `ms` until it is cancelled. An interval needs no memory to start again, a timer does. */
export function every(ms: number, callback: () => void): number {
  const timer = setInterval(callback, ms);
  return timer === undefined ? noMemory("interval") : timer;
}

/** The same for a caller that can do without it: undefined when there is no memory for it. */
export function tryEvery(ms: number, callback: () => void): number | undefined {
  return setInterval(callback, ms);
}

/** The watchdog begins anew, after a pause in which nobody looked at it. */
export function resetWatchdog(): void {
  lastSampleMs = 0;
  if (graceMs < 0) graceMs = 0;
}

/** Forgets the timers of an update that has ended. */
export function forgetTimers(): void {
  lastSampleMs = graceMs = 0;
}

/**
 * To be called every `intervalMs`. Is there no timer left that an update could be waiting for? At most `intervalMs`
 * count as passed since the last call. When something blocks the device (a lookup, a connection), no timer can fire.
 * Afterwards the engine makes up for the calls that an interval has missed, one in each idle pass
 * (src/jsinteractive.c).
 */
export function watchdogExpired(intervalMs: number): boolean {
  const time = Date.now();
  let past = lastSampleMs && time - lastSampleMs;
  // the clock may be set, in either direction
  if (past < 0) past = 0;
  if (past > intervalMs) past = intervalMs;
  lastSampleMs = time;
  graceMs -= past;
  return graceMs < -OVERDUE_MS;
}

/** Ends a timer or an interval. */
export const cancel: (timer: number) => void = clearTimeout;
