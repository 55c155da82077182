// Timers and the clock of the interpreter, and the watch over them: when memory ends the interpreter aborts a callback, and nothing throws.

import { noMemory } from "../errors";

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

/** ms since 1970 by a clock that is wrong until somebody sets it. */
export function now(): number {
  return Date.now();
}
