// One at a time: an update, or the choice of another slot, which an update would erase while it is being verified. And
// whoever has the turn is watched over. Out of memory, the engine interrupts a callback in its middle: nothing catches
// that, and what was to follow never comes. Such an owner waits for nothing any more, which is how it is found.

import { cancel, every, isLost } from "./hal";
import { Code, fault, type OtaError } from "./status";

const WATCH_MS = 1000;
const DEAD_MS = 600000; // without a tick: longer than anything is waited for

export interface Turn {
  /** its owner waits for the user, who may pause as long as he likes: nothing to watch over */
  resting_: boolean;
  /** it was given back */
  over_: boolean;
  /** To be called before the next step: its owner does not rest any more. */
  wake_(): void;
  /** Looks after its owner. `most`: ms that may have passed at once; without it, as of the interval. */
  tick_(most?: number): void;
  /** Gives it back. */
  end_(): void;
}

/** Who has the turn, null when nobody has. */
export let current: Turn | null = null;

/**
 * Takes the turn; throws ESP_ERR_OTA_ALREADY_IN_PROGRESS when another one has it. `lost` hears ESP_ERR_NO_MEM when its
 * owner was interrupted, and has to end it.
 * @chapter @apart
 */
export function takeTurn(lost: (error: OtaError) => void): Turn {
  // the engine drops an interval that runs out of memory: then nobody has watched over the owner since
  if (current && !current.resting_) current.tick_(DEAD_MS);
  if (current) throw fault(Code.OTA_ALREADY_IN_PROGRESS, "an update is under way, or another slot is being selected");
  let watch: number | undefined;
  const turn = { resting_: false, over_: false } as Turn;
  turn.wake_ = (): void => {
    turn.resting_ = false;
    if (watch !== undefined) return;
    isLost(0);
    watch = every(WATCH_MS, turn.tick_);
  };
  turn.tick_ = (most): void => {
    const id = watch;
    if (turn.over_ || turn.resting_) {
      watch = undefined;
      if (id !== undefined) cancel(id);
    } else if (isLost(most || WATCH_MS)) {
      // what follows needs memory, and may be interrupted in its turn: another interval comes after this
      watch = undefined;
      turn.wake_();
      lost(fault(Code.NO_MEM, "out of memory: the call was interrupted", true));
      // one that was dropped has given its number to another
      if (!most && id !== undefined) cancel(id);
    }
  };
  turn.end_ = (): void => {
    if (turn.over_) return;
    current = null;
    turn.over_ = true;
    isLost(0); // or its number would outlive the turn
    if (watch !== undefined) cancel(watch);
    watch = undefined;
  };
  turn.wake_(); // or it has no memory for that
  current = turn;
  return turn;
}
