// Runs long computations in slices from the idle loop, so that timers, sockets and the watchdog run in between.

import { after } from "./timers";
import { toOtaError, tryOr, type OtaError } from "../errors";

/**
 * ms before the first slice. In this time the engine closes the connection that brought the last byte, and frees its
 * memory.
 */
const SETTLE = 20;

/** Steps of one block (a flash read and a hash) in each pass of the idle loop. An enum takes no variable. */
export const enum Slice {
  BLOCKS = 8,
}

/**
 * Runs `step` until it returns false, `perSlice` steps in each pass of the idle loop, then `finish`. Then it calls `done`,
 * with the error if one of them threw. The first slice runs in a later pass too, because the stack is deep when the caller
 * runs in a data event.
 */
export function inSlices(
  perSlice: number,
  step: () => boolean,
  finish: () => void,
  done: (error: OtaError | null) => void,
): void {
  let pause = SETTLE;
  let next: () => void;
  function slice(): void {
    let error: OtaError | null = null;
    let more = true;
    try {
      for (let i = 0; more && i < perSlice; i++) more = step();
      if (!more) finish();
    } catch (thrown) {
      error = toOtaError(thrown);
    }
    if (!more || error) done(error);
    else next();
  }
  next = () => {
    tryOr(() => {
      after(pause, slice);
      pause = 0;
    }, done);
  };
  next();
}
