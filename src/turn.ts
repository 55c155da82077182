// One at a time: an update, or the choice of another slot, which an update would erase while it is being verified. And
// whoever has the turn is watched over. Out of memory, the engine interrupts a callback in its middle: nothing catches
// that, and what was to follow never comes. Such an owner waits for nothing any more, which is how it is found.

import { cancel, every, isLost } from "./hal";
import { Code, fault, type OtaError } from "./status";

const WATCH_MS = 1000;

export interface Turn {
  /** its owner waits for the user, who may pause as long as he likes: nothing to watch over */
  resting_: boolean;
  /** it was given back */
  over_: boolean;
  /** To be called before the next step: its owner does not rest any more. */
  wake_(): void;
  /** Gives it back. */
  end_(): void;
}

/** Has anybody the turn? */
export let taken = false;

/**
 * Takes the turn; throws ESP_ERR_OTA_ALREADY_IN_PROGRESS when another one has it. `lost` hears ESP_ERR_NO_MEM when its owner was
 * interrupted, and has to end it.
 * @chapter @apart
 */
export function takeTurn(lost: (error: OtaError) => void): Turn {
  if (taken) throw fault(Code.OTA_ALREADY_IN_PROGRESS, "an update is under way, or another slot is being selected");
  let watch: number | undefined;
  const turn = { resting_: false, over_: false } as Turn;
  turn.wake_ = (): void => {
    turn.resting_ = false;
    if (watch !== undefined) return;
    isLost(0);
    const id = every(WATCH_MS, () => {
      if (turn.over_ || turn.resting_) {
        cancel(id);
        watch = undefined;
      } else if (isLost(WATCH_MS)) {
        // what follows needs memory, and the engine drops an interval in which it runs out: another one comes after this
        watch = undefined;
        turn.wake_();
        lost(fault(Code.NO_MEM, "out of memory: the call was interrupted", true));
        cancel(id);
      }
    });
    watch = id;
  };
  turn.end_ = (): void => {
    if (turn.over_) return;
    taken = false;
    turn.over_ = true;
    isLost(0); // or its number would outlive the turn
    if (watch !== undefined) cancel(watch);
  };
  turn.wake_(); // or it has no memory for that
  taken = true;
  return turn;
}
