// Timers and the clock of the interpreter, and the watchdog of the lock (boot/lock.ts). When no JsVar is left, the
// interpreter aborts the running callback, and nothing throws. The watchdog detects this: no timer is left that could
// continue the work.

import { noMemory } from "../errors";

/** ms until the last timer of an update is due; negative when it is overdue. */
let graceMs = 0;
/** ms since 1970 at the last call of watchdogExpired(); 0: not called since the reset */
let lastSampleMs = 0;
/** A timer that is overdue by more than this is lost. */
const OVERDUE_MS = 2000;

/** Calls `callback` once, in `ms`. `unwatched`: the watchdog ignores this timer, because no update waits for it. */
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

/** As every(), but undefined when there is no memory: for a caller that does not depend on the interval. */
export function tryEvery(ms: number, callback: () => void): number | undefined {
  return setInterval(callback, ms);
}

/** Restarts the watchdog after a pause in which watchdogExpired() was not called. */
export function resetWatchdog(): void {
  lastSampleMs = 0;
  if (graceMs < 0) graceMs = 0;
}

/** Forgets the timers of an update that has ended. */
export function forgetTimers(): void {
  lastSampleMs = graceMs = 0;
}

/**
 * Is every timer overdue that an update could wait for? To be called every `intervalMs`. At most `intervalMs` count as
 * passed since the last call: while something blocks the device (a lookup, a connection), no timer can fire, and
 * afterwards the engine makes up for the missed calls of an interval, one in each idle pass (src/jsinteractive.c).
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
