// Looks for updates again and again, so that a fleet does not ask at once: docs/fleet.md#polling. What must differ between
// devices comes from the serial number, because Math.random() is the same sequence on every board after every start.

import { checkConfig, type Origin, type SignedConfig } from "../config";
import { type OtaError, Code, otaError, toOtaError, tryOr, noop } from "../errors";
import { callUser, now, spread } from "../platform/engine";
import { after, cancel, tryEvery } from "../platform/timers";
import type { Offer } from "../update/offer";
import type { UpdateResult } from "../update/plan";
import { abort, checkForUpdate, update } from "../update/update";
import { report } from "./report";

/** ms */
const enum Ms {
  DAY = 86400000,
  /** the first look comes within this time after the start */
  FIRST = 3600000,
  /** until the next try after a failure of the network; doubled each time */
  BACKOFF = 60000,
  /** until the next look when the program has postponed an update */
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
  /** Asked before an update begins, with what is offered; false, or a promise of false, postpones it by ten minutes. */
  ready?: (offer: Offer) => boolean | Promise<boolean>;
  /** Called when an update is installed: `restart()` starts it. */
  installed?: (result: UpdateResult) => void;
  /** Called with each failure. */
  failed?: (error: OtaError) => void;
  /** Where report() goes: after the first look, and after each update or failure. */
  report?: string;
}

export interface Poll {
  /** No look comes after it. An update that is under way goes on: abort() ends it. */
  stop(): void;
}

/**
 * Looks for an update now and then, and installs it. Never throws: what is wrong is told to `failed`. The first look comes
 * within an hour, at a time that differs from device to device; a failure of the network is tried again after a minute,
 * then two and so on, but not before the server's Retry-After. Nothing is kept over a restart.
 * A look can be lost when no JsVar is left: its promise stays open, or no timer could be made for the next one. So an
 * interval, which needs no memory to start again, finds after twice the `deadline` what does not go on, and looks again.
 * It also ends another update that has refused this one for as long: its watchdog was lost.
 * More than 60 lines: a closure, whose functions share the timer and the counts.
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
  /** The same when the guard last came. */
  let seen = 0;
  let started = 0;
  /** ready() has not answered. */
  let asking = false;
  /** Another update holds the lock: 1 it has refused the last look, 2 the guard has seen that already. */
  let refused = 0;
  let look: () => void;
  const options: PollOptions = config || ({} as PollOptions);
  const every = options.every === undefined ? Ms.DAY : options.every;
  const perDay = options.perDay === undefined ? 24 : options.perDay;

  function later(ms: number): void {
    if (stopped) return;
    tryOr(() => {
      timer = after(ms, look, true);
    }, noop);
  }
  function sendReport(): void {
    if (options.report) report(options.report).then(noop, noop);
    reported = true;
  }
  /** The time of the next look, differently for each device and each round. */
  function next(ms: number, least?: number): void {
    later(Math.max(ms * (0.9 + 0.2 * spread(++round)), least || 0));
  }
  function onError(thrown: unknown): void {
    const error = toOtaError(thrown);
    if (options.failed) callUser(() => options.failed!(error));
    sendReport();
    if (error.code !== Code.OTA_ALREADY_IN_PROGRESS) refused = 0;
    else if (!refused) refused = 1;
    if (error.code === Code.INVALID_ARG) return;
    if (!error.retry) return next(every);
    const wait = Ms.BACKOFF * 2 ** failures++;
    next(Math.min(wait, every), error.wait_);
  }
  function onResult(result: UpdateResult): void {
    failures = refused = 0;
    const done = !result.upToDate && !result.waiting && !result.due;
    if (done && options.installed) callUser(() => options.installed!(result));
    if (done || !reported) sendReport();
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
        then(value);
      };
    }
    function install(yes: unknown): void {
      asking = false;
      if (yes) update(fields).then(ending(onResult), ending(onError));
      else ending(next)(Math.min(every, Ms.POSTPONED));
    }
    if (!options.ready) return install(true);
    checkForUpdate(fields).then((offer) => {
      if (looking !== mine) return;
      tryOr(() => {
        if (!offer.available) return ending(onResult)({ upToDate: !offer.due, waiting: offer.waiting, due: offer.due });
        const answer: any = options.ready!(offer);
        asking = answer && typeof answer.then === "function";
        if (asking)
          answer.then(install, (error: unknown) => {
            asking = false;
            ending(onError)(error);
          });
        else install(answer);
      }, ending(onError));
    }, ending(onError));
  };
  function watch(): void {
    const lost = looking ? looking === seen && !asking : timer === undefined;
    if (refused > 1 || (looking && lost)) abort();
    if (refused) refused = 2;
    if (lost) look();
    seen = looking;
  }
  tryOr(() => {
    if (typeof config !== "object" || !config || !(every >= 1000) || !(perDay >= 1))
      throw otaError(Code.INVALID_ARG, "poll: expected a configuration, every in ms (1000 or more) and perDay above 0");
    // told at once, and not in an hour
    checkConfig(ownFields());
    const deadline = config.deadline === undefined ? Ms.FIRST : config.deadline || Ms.DAY;
    guard = tryEvery(2 * deadline + Ms.BACKOFF, watch);
    later(Math.min(every, Ms.FIRST) * spread(0));
  }, onError);
  return {
    stop: () => {
      stopped = true;
      if (timer !== undefined) cancel(timer);
      if (guard !== undefined) cancel(guard);
    },
  };
}
