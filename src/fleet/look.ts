// One look of poll(), from its timer to the timer of the next one. Its states are in poll.ts. A file of its own, because the
// build then makes most of these functions when a look begins, and frees them at its end (docs/decisions/lazy-scopes.md).

import type { Origin, SignedConfig } from "../config";
import { callUser, now, spread } from "../platform/engine";
import { after, cancel } from "../platform/timers";
import { Code, noop, type OtaError, toOtaError, tryOr } from "../errors";
import type { Offer } from "../update/offer";
import type { UpdateResult } from "../update/plan";
import { checkForUpdate, update } from "../update/update";
import { report } from "./report";

/** ms */
export const enum Ms {
  DAY = 86400000,
  /** the first look comes within this time after the start; between two looks for what was lost */
  HOUR = 3600000,
  /** until the next try after a failure of the network; doubled each time */
  BACKOFF = 60000,
  /** until the next look when the program has postponed an update, at least */
  POSTPONED = 600000,
}

/** What `poll` takes besides the fields of an update. */
export interface PollOptions {
  /**
   * ms between two looks, about: each is up to a tenth shorter or longer, by the serial number.
   * @default 86400000
   */
  every?: number;
  /**
   * Most looks in a day, retries included.
   * @default 24
   */
  perDay?: number;
  /**
   * Asked before an update begins, with what is offered; false, or a promise of false, postpones it: by ten minutes, or as
   * long as the looks of a day need, an hour by default.
   */
  ready?: (offer: Offer) => boolean | Promise<boolean>;
  /** Called when an update is installed, after its report: `restart()` starts it. */
  installed?: (result: UpdateResult) => void;
  /** Called with each failure. */
  failed?: (error: OtaError) => void;
  /** Where report() goes: after the first look, and after each update or failure. */
  report?: string;
}

/** One poll(). */
export interface State {
  readonly config_: SignedConfig & Origin & PollOptions;
  readonly every_: number;
  readonly perDay_: number;
  /** of the next look */
  timer_?: number;
  /** hours until the timer is overdue for sure; the guard counts them */
  hours_: number;
  /** the interval that looks for what was lost */
  guard_?: number;
  stopped_?: boolean;
  /** the look that has not ended: the configuration of its update */
  look_?: object;
  /** has ready() not answered it yet? */
  asking_?: boolean;
  /** looks since `day_`, a time in ms */
  looks_: number;
  day_: number;
  /** how often the time of a next look was chosen, and failures since the last result */
  round_: number;
  failures_: number;
  /** was a report sent? */
  reported_?: boolean;
  /** what the timer calls */
  begin_(): void;
}

/** Nothing new begins after it. */
export function stop(state: State): void {
  state.stopped_ = true;
  if (state.timer_ !== undefined) cancel(state.timer_);
  if (state.guard_ !== undefined) cancel(state.guard_);
  state.timer_ = state.guard_ = undefined;
}

/** Sets the timer of the next look. When there is no memory for it, or for what it calls, the guard finds that. */
export function later(state: State, ms: number): void {
  if (state.stopped_) return;
  state.hours_ = ms / Ms.HOUR + 1;
  tryOr(() => {
    state.timer_ = after(ms, state.begin_, true);
  }, noop);
}

/** The time of the next look, differently for each device and each round. */
function next(state: State, ms: number, least?: number): void {
  later(state, Math.max(ms * (0.9 + 0.2 * spread(++state.round_)), least || 0));
}

function sendReport(state: State, done: () => void): void {
  const url = state.config_.report;
  state.reported_ = true;
  if (url) report(url).then(done, done);
  else done();
}

export function onError(state: State, thrown: unknown): void {
  const error = toOtaError(thrown);
  const every = state.every_;
  const config = state.config_;
  if (config.failed) callUser(() => config.failed!(error));
  sendReport(state, noop);
  // nothing will come of this configuration
  if (error.code === Code.INVALID_ARG) return stop(state);
  if (!error.retry) return next(state, every);
  const wait = Ms.BACKOFF * 2 ** state.failures_++;
  next(state, Math.min(wait, every), Math.min(error.wait_ || 0, Ms.DAY));
}

function onResult(state: State, result: UpdateResult): void {
  const every = state.every_;
  const config = state.config_;
  const done = !result.upToDate && !result.waiting && !result.due;
  state.failures_ = 0;
  // installed() may restart: the report goes first
  if (done || !state.reported_)
    sendReport(state, () => {
      if (done && config.installed) callUser(() => config.installed!(result));
    });
  const until = result.due! > 0 ? result.due! * 1000 - now() : every;
  if (until > 0 && until < every) later(state, until);
  else next(state, every);
}

/** Ends `look` and calls `then`, unless another look has begun because this one was taken for lost. */
function ending<T>(state: State, look: object, then: (state: State, value: T) => void): (value: T) => void {
  return (value) => {
    if (state.look_ !== look) return;
    state.look_ = undefined;
    state.asking_ = false;
    then(state, value);
  };
}

/**
 * The second half of a look, after `yes`, the answer of ready(). It is a look of its own, so that the time which ready() took
 * does not count as lost.
 */
function install(state: State, look: any, yes: unknown): void {
  if (state.stopped_) return;
  // as often as the looks of a day allow
  if (!yes) return next(state, Math.min(state.every_, Math.max(Ms.POSTPONED, Ms.DAY / state.perDay_)));
  state.look_ = look;
  update(look).then(ending(state, look, onResult), ending(state, look, onError));
}

/** Asks ready() about `offer`. `fail`: for a promise that it rejects. */
function onOffer(state: State, look: object, offer: Offer, fail: (thrown: unknown) => void): void {
  if (state.look_ !== look || state.stopped_) return;
  if (!offer.available)
    return ending(state, look, onResult)({ upToDate: !offer.due, waiting: offer.waiting, due: offer.due });
  const answer: any = state.config_.ready!(offer);
  // once: a thenable may call again
  const onAnswer = ending(state, look, (_, yes) => install(state, ownFields(look), yes));
  state.asking_ = answer && typeof answer.then === "function";
  if (state.asking_) answer.then(onAnswer, fail);
  else onAnswer(answer);
}

/** The fields of `config` that are for an update. */
export function ownFields(config: any): any {
  const fields: any = {};
  Object.keys(config).forEach((name) => {
    if (["every", "perDay", "ready", "installed", "failed", "report"].indexOf(name) < 0) fields[name] = config[name];
  });
  return fields;
}

/** What the timer calls, and the guard after a lost look. */
export function beginLook(state: State): void {
  const time = now();
  state.timer_ = state.look_ = undefined;
  // a clock that was set counts as a new day
  if (time - state.day_ >= Ms.DAY || time < state.day_) {
    state.day_ = time;
    state.looks_ = 0;
  }
  if (state.looks_++ >= state.perDay_) return later(state, state.day_ + Ms.DAY - time);
  const look = ownFields(state.config_);
  if (!state.config_.ready) return install(state, look, true);
  state.look_ = look;
  const fail = ending(state, look, onError);
  checkForUpdate(look).then((offer) => tryOr(() => onOffer(state, look, offer, fail), fail), fail);
}
