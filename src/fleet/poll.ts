// Looks for updates again and again, so that a fleet does not ask at once: docs/fleet.md#polling. What must differ between
// devices comes from the serial number, because Math.random() is the same sequence on every board after every start.

import { checkConfig, type Origin, type SignedConfig } from "../config";
import { type OtaError, Code, otaError, toOtaError, tryOr, noop } from "../errors";
import type { Lock } from "../boot/lock";
import { callUser, heldLock, now, spread } from "../platform/engine";
import { after, cancel, tryEvery } from "../platform/timers";
import type { Offer } from "../update/offer";
import type { UpdateResult } from "../update/plan";
import { checkForUpdate, update } from "../update/update";
import { report } from "./report";

/** ms */
const enum Ms {
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

export interface Poll {
  /** Nothing new begins after it. An update that is under way goes on: abort() ends it. */
  stop(): void;
}

/**
 * Looks for an update now and then, and installs it. Never throws: what is wrong is told to `failed`. The first look comes
 * within an hour, at a time that differs from device to device; a failure of the network is tried again after a minute,
 * then two and so on, but not before the server's Retry-After (a day at most). Nothing is kept over a restart.
 * A look can be lost when no JsVar is left: its promise stays open, or no timer could be made for the next one. So an
 * interval, which needs no memory to start again, looks once an hour for what does not go on.
 * More than 60 lines: a closure, whose functions share the timers and the counts.
 */
export function poll(config: SignedConfig & Origin & PollOptions): Poll {
  let timer: number | undefined;
  let guard: number | undefined;
  let stopped = false;
  let looks = 0; // since `day`
  let day = now();
  let round = 0;
  let failures = 0;
  let reported = false;
  /** Number of the look that has not ended; 0: none. */
  let looking = 0;
  let started = 0;
  /** ready() has not answered. */
  let asking = false;
  /** What the guard saw an hour ago: the look that had not ended, who held the lock, and its age. */
  let seen = 0;
  let seenLock: Lock | null = null;
  let seenAge = 0;
  let look: () => void;
  const options: PollOptions = config || ({} as PollOptions);
  const every = options.every === undefined ? Ms.DAY : options.every;
  const perDay = options.perDay === undefined ? 24 : options.perDay;

  function stop(): void {
    stopped = true;
    if (timer !== undefined) cancel(timer);
    if (guard !== undefined) cancel(guard);
    timer = guard = undefined;
  }
  function later(ms: number): void {
    if (stopped) return;
    tryOr(() => {
      const made = after(ms, look, true);
      if (timer !== undefined) cancel(timer);
      timer = made;
    }, noop);
  }
  function sendReport(done: () => void): void {
    reported = true;
    if (options.report) report(options.report).then(done, done);
    else done();
  }
  /** The time of the next look, differently for each device and each round. */
  function next(ms: number, least?: number): void {
    later(Math.max(ms * (0.9 + 0.2 * spread(++round)), least || 0));
  }
  function onError(thrown: unknown): void {
    const error = toOtaError(thrown);
    if (options.failed) callUser(() => options.failed!(error));
    sendReport(noop);
    // nothing will come of this configuration
    if (error.code === Code.INVALID_ARG) return stop();
    if (!error.retry) return next(every);
    const wait = Ms.BACKOFF * 2 ** failures++;
    next(Math.min(wait, every), Math.min(error.wait_ || 0, Ms.DAY));
  }
  function onResult(result: UpdateResult): void {
    failures = 0;
    const done = !result.upToDate && !result.waiting && !result.due;
    // installed() may restart: the report goes first
    if (done || !reported)
      sendReport(() => {
        if (done && options.installed) callUser(() => options.installed!(result));
      });
    const until = result.due! > 0 ? result.due! * 1000 - now() : every;
    if (until > 0 && until < every) later(until);
    else next(every);
  }
  /** The configuration of an update. */
  function ownFields(): any {
    const fields: any = {};
    Object.keys(config).forEach((name) => {
      if (["every", "perDay", "ready", "installed", "failed", "report"].indexOf(name) < 0)
        fields[name] = (config as any)[name];
    });
    return fields;
  }
  look = () => {
    timer = undefined;
    looking = 0;
    asking = false;
    const time = now();
    // a clock that was set counts as a new day
    if (time - day >= Ms.DAY || time < day) {
      day = time;
      looks = 0;
    }
    if (looks++ >= perDay) return later(day + Ms.DAY - time);
    const mine = ++started;
    looking = mine;
    const fields = ownFields();
    /** Ends this look, unless another one has begun because this one was taken for lost. */
    function ending<T>(then: (value: T) => void): (value: T) => void {
      return (value) => {
        if (looking !== mine) return;
        looking = 0;
        asking = false;
        then(value);
      };
    }
    function install(yes: unknown): void {
      if (stopped) return;
      if (yes) update(fields).then(ending(onResult), ending(onError));
      // as often as the looks of a day allow
      else ending(next)(Math.min(every, Math.max(Ms.POSTPONED, Ms.DAY / perDay)));
    }
    /** Once: a thenable may call again. */
    function onAnswer(yes: unknown): void {
      if (!asking || looking !== mine) return;
      asking = false;
      // the time that it took does not count as lost
      seen = 0;
      install(yes);
    }
    if (!options.ready) return install(true);
    checkForUpdate(fields).then((offer) => {
      if (looking !== mine || stopped) return;
      tryOr(() => {
        if (!offer.available) return ending(onResult)({ upToDate: !offer.due, waiting: offer.waiting, due: offer.due });
        const answer: any = options.ready!(offer);
        asking = answer && typeof answer.then === "function";
        if (asking) answer.then(onAnswer, ending(onError));
        else install(answer);
      }, ending(onError));
    }, ending(onError));
  };
  /**
   * Each hour. A lock whose watchdog has not counted since the last time is held by an update that was lost; a look that has
   * not ended, and does not hold the lock either, is lost too.
   */
  function watch(): void {
    const old = guard;
    // the engine drops an interval whose callback runs out of memory. So a new one comes first, as in boot/lock.ts
    guard = tryEvery(Ms.HOUR, watch);
    const lock: Lock | null = heldLock() || null;
    if (lock && lock === seenLock && lock.ageMs_ === seenAge) lock.stop_();
    seenLock = lock;
    seenAge = lock ? lock.ageMs_ : 0;
    if (looking ? looking === seen && !asking && !heldLock() : timer === undefined) look();
    seen = looking;
    if (old !== undefined) cancel(old);
  }
  tryOr(() => {
    if (typeof config !== "object" || !config || !(every >= 1000 && every <= 365 * Ms.DAY) || !(perDay >= 1))
      throw otaError(
        Code.INVALID_ARG,
        "poll: expected a configuration, every in ms (1000 to a year) and perDay of 1 or more",
      );
    if (options.ready && typeof options.ready !== "function")
      throw otaError(Code.INVALID_ARG, "poll: ready must be a function");
    // told at once, and not in an hour
    checkConfig(ownFields());
    guard = tryEvery(Ms.HOUR, watch);
    later(Math.min(every, Ms.HOUR) * spread(0));
  }, onError);
  return { stop: stop };
}
