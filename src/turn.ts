// One at a time: an update, or the choice of another slot, which an update would erase while it is being verified. And
// whoever has the turn is watched over. Out of memory, the engine interrupts a callback in its middle: nothing catches
// that, and what was to follow never comes. Such an owner waits for nothing any more, which is how it is found.

import { cancel, every, heldTurn, holdTurn, isLost } from "./hal";
import { Code, fault, type OtaError } from "./status";

const WATCH_MS = 1000;

export interface Turn {
  /** its owner waits for the user, who may pause as long as he likes: nothing to watch over */
  resting_: boolean;
  /** called when it was given back, before anybody else can take it */
  next_?: () => void;
  /** To be called after a rest. */
  wake_(): void;
  /** Gives it back. To be called once. */
  end_(): void;
}

/**
 * Takes the turn; throws ESP_ERR_OTA_ALREADY_IN_PROGRESS when another one has it. `lost` hears ESP_ERR_NO_MEM when its
 * owner was interrupted, and has to end it.
 * @chapter @apart
 */
export function takeTurn(lost: (error: OtaError) => void): Turn {
  if (heldTurn())
    throw fault(Code.OTA_ALREADY_IN_PROGRESS, "an update is under way, or another slot is being selected");
  let watch: number | undefined;
  const turn = { resting_: false } as Turn;
  function tick(): void {
    const id = watch;
    if (heldTurn() !== turn || turn.resting_) {
      watch = undefined;
      if (id !== undefined) cancel(id);
    } else if (isLost(WATCH_MS)) {
      // what follows needs memory, and the engine drops an interval in which it runs out: another one comes after this
      watch = undefined;
      turn.wake_();
      lost(fault(Code.NO_MEM, "out of memory: the call was interrupted", true));
      if (id !== undefined) cancel(id);
    }
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
    isLost(-1); // or its number would outlive the turn
    // should it be there all the same, the next tick cancels it
    if (watch !== undefined) cancel(watch);
    if (turn.next_) turn.next_();
  };
  turn.wake_(); // or it has no memory for that
  holdTurn(turn);
  return turn;
}
