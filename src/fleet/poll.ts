// Looks for updates again and again, so that a fleet does not ask at once: docs/fleet.md#polling. What must differ between
// devices comes from the serial number, because Math.random() is the same sequence on every board after every start.
//
//   state      marked by                     left by
//   waiting    timer_, no look_              the timer: a look begins
//   looking    look_                         an offer that ready() is asked for; a result or an error: back to waiting
//   asking     look_, with its asking_       the answer of ready(): back to looking, or to waiting when it is false
//   lost       no look_, and no timer_ or    the guard, once an hour: a look begins
//              one that is overdue; or a
//              look_ that does not go on
//   stopped    stopped_                      nothing; an update that has begun goes on to its end
//
// When a look was taken for lost, look_ is another one: the result of the lost one is ignored, should it come after all.
// What a look does is in look.ts.

import { checkConfig, type Origin, type SignedConfig } from "../config";
import { Code, otaError, tryOr } from "../errors";
import type { Lock } from "../boot/lock";
import { heldLock, now, spread } from "../platform/engine";
import { cancel, tryEvery } from "../platform/timers";
import { beginLook, later, Ms, onError, ownFields, type PollOptions, type State, stop } from "./look";

export type { PollOptions };

export interface Poll {
  /** Nothing new begins after it. An update that has begun goes on: abort() ends it. */
  stop(): void;
}

/**
 * Looks each hour for what was lost. A lock whose watchdog has not counted since the last time is held by an update that was
 * lost; a look that has not ended, and does not hold the lock either, is lost too.
 */
function startGuard(state: State): void {
  let seen: object | undefined; // the look that had not ended an hour ago, who held the lock, and its age
  let seenLock: Lock | null = null;
  let seenAge = 0;
  function watch(): void {
    const old = state.guard_;
    // the engine drops an interval whose callback runs out of memory. So a new one comes first, as in boot/lock.ts
    state.guard_ = tryEvery(Ms.HOUR, watch);
    const lock: Lock | null = heldLock();
    if (lock && lock === seenLock && lock.ageMs_ === seenAge) lock.stop_();
    seenLock = lock;
    seenAge = lock ? lock.ageMs_ : 0;
    const look = state.look_;
    if (look ? look === seen && !state.asking_ && !heldLock() : state.timer_ === undefined || --state.hours_ < 0)
      state.begin_();
    seen = state.look_;
    if (old !== undefined) cancel(old);
  }
  state.guard_ = tryEvery(Ms.HOUR, watch);
}

/**
 * Looks for an update now and then, and installs it. Never throws: what is wrong is told to `failed`. The first look comes
 * within an hour, at a time that differs from device to device; a failure of the network is tried again after a minute,
 * then two and so on, but not before the server's Retry-After (a day at most). Nothing is kept over a restart.
 * A look can be lost when no JsVar is left: its promise stays open, no timer could be made for the next one, or the timer
 * fired and what it calls did not run. So an interval, which needs no memory to start again, looks once an hour for what
 * does not go on.
 */
export function poll(config: SignedConfig & Origin & PollOptions): Poll {
  // More than 30 lines: defaults, a table of fields, and the check of the configuration.
  const options: PollOptions = config || {};
  const every = options.every === undefined ? Ms.DAY : options.every;
  const perDay = options.perDay === undefined ? 24 : options.perDay;
  const state = {
    config_: options,
    every_: every,
    perDay_: perDay,
    looks_: 0,
    day_: now(),
    round_: 0,
    failures_: 0,
    begin_: () => beginLook(state),
  } as State;
  tryOr(
    () => {
      if (typeof config !== "object" || !config || !(every >= 1000 && every <= 365 * Ms.DAY) || !(perDay >= 1))
        throw otaError(
          Code.INVALID_ARG,
          "poll: expected a configuration, every in ms (1000 to a year) and perDay of 1 or more",
        );
      if (options.ready && typeof options.ready !== "function")
        throw otaError(Code.INVALID_ARG, "poll: ready must be a function");
      // told at once, and not in an hour
      checkConfig(ownFields(config));
      startGuard(state);
      later(state, Math.min(every, Ms.HOUR) * spread(0));
    },
    (error) => onError(state, error),
  );
  return { stop: () => stop(state) };
}
