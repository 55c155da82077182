// The lock: one update or one choice of a slot at a time, because an update would erase a slot that is being verified.
// When Espruino runs out of JsVars it aborts the running callback, and nothing throws. The lock's watchdog finds that: its
// holder then has no timer left that could wake it.

import { cancel, every, isLost } from "../platform/timers";
import { heldTurn, holdTurn, listenForKill } from "../platform/engine";
import { Code, otaError, type OtaError } from "../errors";

const WATCH_MS = 1000;

/** What the last update since the start ended with, as text; "" before the first. Storage is not written for it. */
export let lastResult = "";

/** For getStatus(). */
export function noteResult(result: string): void {
  lastResult = result;
}

export interface Turn {
  /** its owner waits for the user, who may pause: nothing to watch over but the deadline */
  resting_: boolean;
  /** Ends what its owner does. `error` says why; without one it is "aborted". */
  stop_(error?: OtaError): void;
  /** To be called after a rest. */
  wake_(): void;
  /** Gives it back. To be called once. */
  end_(): void;
}

/**
 * Takes the turn; throws ESP_ERR_OTA_ALREADY_IN_PROGRESS when another one has it. `stop` hears why its owner has to end it:
 * ESP_ERR_NO_MEM when it was interrupted, ESP_ERR_TIMEOUT after `deadline` ms (in whole seconds; 0: never), what somebody
 * else says, or nothing: before save(), load() and reset(), because save() would keep what is under way, and another slot
 * may run when that is loaded.
 */
export function takeTurn(stop: (error?: OtaError) => void, deadline: number): Turn {
  if (heldTurn())
    throw otaError(Code.OTA_ALREADY_IN_PROGRESS, "an update is under way, or another slot is being selected", true);
  let watch: number | undefined;
  let age = 0; // ms
  const turn = { resting_: false, stop_: stop } as Turn;
  function tick(): void {
    const id = watch;
    let error: OtaError | undefined;
    if (heldTurn() === turn) {
      age += WATCH_MS;
      if (deadline && age >= deadline) error = otaError(Code.TIMEOUT, "not done within " + deadline + " ms", true);
      else if (turn.resting_) isLost(0);
      else if (isLost(WATCH_MS)) error = otaError(Code.NO_MEM, "out of memory: the call was interrupted", true);
      if (!error) return;
      // what follows needs memory, and the engine drops an interval in which it runs out: another one comes after this
      watch = undefined;
      turn.wake_();
      stop(error);
    } else watch = undefined;
    if (id !== undefined) cancel(id);
  }
  turn.wake_ = (): void => {
    if (watch === undefined) {
      isLost(0);
      watch = every(WATCH_MS, tick);
    }
    turn.resting_ = false;
  };
  turn.end_ = (): void => {
    holdTurn(undefined);
    listenForKill(stop, false);
    isLost(-1); // forget the deadline of this lock's timers
    // if clearInterval failed, the next tick cancels it
    if (watch !== undefined) cancel(watch);
  };
  turn.wake_(); // the watchdog first: this allocates, and may fail
  listenForKill(stop, true);
  holdTurn(turn);
  return turn;
}
