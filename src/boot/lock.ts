// The lock: only one update or one selection of a slot runs at a time, because an update would erase a slot that is being
// verified. When Espruino runs out of JsVars it aborts the running callback, and nothing throws. The watchdog of the lock
// detects this: no timer is left that could continue the work of the holder.

import { cancel, every, forgetTimers, resetWatchdog, watchdogExpired } from "../platform/timers";
import { heldLock, setHeldLock, listenForKill } from "../platform/engine";
import { Code, otaError, type OtaError } from "../errors";

const WATCHDOG_MS = 1000;

/** Result of the last update since the device started, as text; "" before the first. It is kept in RAM only. */
export let lastResult = "";

/** Keeps the result of an update for getStatus(). */
export function noteResult(result: string): void {
  lastResult = result;
}

export interface Lock {
  /** The program must make the next call, and may take its time: only the deadline counts. */
  watchdogPaused_: boolean;
  /** The watchdog counts it, also in a pause. If it does not grow any more, the watchdog is lost. */
  ageMs_: number;
  /** Ends what the holder does, with `error`; without one with "update aborted". */
  stop_(error?: OtaError): void;
  /** Starts the watchdog. To be called when a pause ends. */
  armWatchdog_(): void;
  /** Releases the lock. To be called once. */
  release_(): void;
}

/**
 * Acquires the lock. Throws ESP_ERR_OTA_ALREADY_IN_PROGRESS when another holder has it. `stop` is called when the
 * holder must end: with ESP_ERR_NO_MEM after a callback was aborted, with ESP_ERR_TIMEOUT after `deadline` ms (counted
 * in whole seconds; 0: no limit), with the error that the caller of stop_() gives, or without an error before save(),
 * load() and reset(). These three end the update because save() would store a half-done update, and it could be loaded when
 * another slot runs.
 * More than 30 lines: a closure, whose three functions share the watchdog.
 */
export function acquireLock(stop: (error?: OtaError) => void, deadline: number): Lock {
  if (heldLock())
    throw otaError(Code.OTA_ALREADY_IN_PROGRESS, "an update is running, or a slot is being selected", true);
  let watchdog: number | undefined;
  const lock = { watchdogPaused_: false, ageMs_: 0, stop_: stop } as Lock;
  function tick(): void {
    const id = watchdog;
    let error: OtaError | undefined;
    if (heldLock() === lock) {
      lock.ageMs_ += WATCHDOG_MS;
      if (deadline && lock.ageMs_ >= deadline)
        error = otaError(Code.TIMEOUT, "not done within " + deadline + " ms", true);
      else if (lock.watchdogPaused_) resetWatchdog();
      else if (watchdogExpired(WATCHDOG_MS))
        error = otaError(Code.NO_MEM, "out of memory: the call was interrupted", true);
      if (!error) return;
      // the engine drops an interval whose callback runs out of memory, and stop() needs memory: so first a new interval
      watchdog = undefined;
      lock.armWatchdog_();
      stop(error);
    } else watchdog = undefined;
    if (id !== undefined) cancel(id);
  }
  lock.armWatchdog_ = (): void => {
    if (watchdog === undefined) {
      resetWatchdog();
      watchdog = every(WATCHDOG_MS, tick);
    }
    lock.watchdogPaused_ = false;
  };
  lock.release_ = (): void => {
    setHeldLock(undefined);
    listenForKill(stop, false);
    forgetTimers();
    // if clearInterval failed, the next tick cancels it
    if (watchdog !== undefined) cancel(watchdog);
  };
  lock.armWatchdog_(); // first, because it allocates and may fail
  listenForKill(stop, true);
  setHeldLock(lock);
  return lock;
}
