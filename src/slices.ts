// Long computations in slices from the idle loop, so that timers, sockets and the watchdog get their turn.

import { after } from "./hal";
import { asFault, guarded, type OtaError } from "./status";

/** Steps of one block (a flash read and a hash) per pass of the idle loop. */
export const BLOCKS_PER_SLICE = 8;

/** Runs `step` until it returns false, `perSlice` steps per pass of the idle loop, then `finish`, then `done` with what either threw. */
export function inSlices(
  perSlice: number,
  step: () => boolean,
  finish: () => void,
  done: (error: OtaError | null) => void,
): void {
  function slice(): void {
    let error: OtaError | null = null;
    let more = true;
    try {
      for (let i = 0; more && i < perSlice; i++) more = step();
      if (!more) finish();
    } catch (thrown) {
      error = asFault(thrown);
    }
    if (!more || error) return done(error);
    guarded(() => {
      after(0, slice);
    }, done);
  }
  slice();
}
