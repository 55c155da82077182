// Trial boots on bootloaders without rollback: an image that `update` installed must be confirmed within a few starts.
// Otherwise the slot that ran before is selected again. This cannot help if an image fails before JavaScript runs.
// Source: docs/design.md#trial-boots.

import { isOnTrial } from "./confirmation";
import { after } from "../platform/timers";
import { fallBack, markValid } from "./ota-ops";
import { Boots, type BootRecord, countStart, findImage, isSelected, loadRecord } from "./boot-record";
import { callUser, printLater, setStartState, Start, startState } from "../platform/engine";
import type { Partition } from "./partitions";
import { currentSet } from "./release-files";
import { readLayout } from "./layout";
import { toOtaError, Code, otaError, tryOr, noop } from "../errors";

const ATTEMPTS = 3;

export interface BootOptions {
  /** the image must be confirmed within this many starts; default 3 */
  attempts?: number;
  /** called at each start on trial, with the number of this start and the number of allowed starts */
  onTrial?: (boots: number, attempts: number) => void;
  /** called in the first start of a release, with its version ("" where the manifest is unknown): for migrations */
  onFirstStart?: (version: string) => void;
}

/** Throws for an unknown option: a misspelt one would silently have no effect. */
function checkBootOptions(options: BootOptions): void {
  const given = options as { [name: string]: unknown };
  if (typeof given !== "object" || !given) throw otaError(Code.INVALID_ARG, "boot: the options must be an object");
  Object.keys(given).forEach((name) => {
    const value = given[name] as number;
    let problem = "";
    if (name === "onTrial" || name === "onFirstStart") {
      if (typeof value !== "function") problem = " must be a function";
    } else if (name !== "attempts") problem = " is not an option";
    else if (!(value >= 1 && Math.floor(value) === value)) problem = " must be a whole number above 0";
    if (problem && value !== undefined) throw otaError(Code.INVALID_ARG, "boot: " + name + problem);
  });
}

/** The version of the running release, as its manifest says it; "" if it is unknown. */
function versionOf(record: BootRecord, running: Partition): string {
  const set = currentSet();
  const image = findImage(record, running.label);
  return set ? set.version : image ? image.version : "";
}

/**
 * To be called when the program starts. Counts the starts of an image, or of files, on trial; after `attempts` of them
 * without `markValid()` it rolls back and restarts. Further calls in one start are not counted; if the loader runs, it has
 * counted the start already. Resolves with true while the running image, or its files, are on trial. Writes one record in
 * Storage at each start on trial, and nothing at other starts. If a start cannot be recorded, it rolls back.
 * Rejects with ESP_ERR_INVALID_ARG for an unknown option.
 */
// More than 30 lines: one way with several ends, each of which returns.
export function boot(options?: BootOptions): Promise<boolean> {
  return new Promise<boolean>((resolve, reject) => {
    tryOr(() => {
      if (options !== undefined) checkBootOptions(options);
      const given = options || {};
      const attempts = given.attempts === undefined ? ATTEMPTS : given.attempts;
      const record = loadRecord();
      if (!record.slot || record.boots === Boots.CONFIRMED) return resolve(false);
      const running = readLayout(true).running_;
      if (!isSelected(record, running)) return resolve(false);
      let counted = startState() > 0 && record.boots > 0;
      // if Storage cannot take the record, the start is not counted: the trial would never end
      if (!counted && record.boots !== Boots.GIVEN_UP && record.boots < attempts)
        tryOr(() => {
          countStart(record);
          setStartState(Start.COUNTED);
          counted = true;
        }, noop);
      if (!counted) {
        fallBack(false, "not confirmed in " + attempts + " starts").then(() => resolve(false), reject);
        return;
      }
      resolve(true);
      if (given.onTrial) callUser(() => given.onTrial!(record.boots, attempts));
      if (given.onFirstStart && record.boots === 1 && startState() < Start.TOLD) {
        setStartState(Start.TOLD);
        callUser(() => given.onFirstStart!(versionOf(record, running)));
      }
    }, reject);
  });
}

/**
 * Decides a trial: `ms` from now it calls `check()`. If this returns true, or a promise of true, the running image is
 * confirmed. Otherwise it is rolled back, which ends a running update. If the check throws, or its promise is rejected, the
 * image is rolled back too, but counts as bad only at the third time: until then it can be installed again. The engine
 * prints the error, and `getStatus().rollbackReason` keeps it. A promise that never settles decides nothing: then the
 * starts that boot() counts decide.
 * `onEvent` is called with "ROLLBACK" and the reason before the rollback.
 * Does nothing if the image is confirmed already. Resolves with true if the image is confirmed, false after a rollback.
 * Rejects with ESP_ERR_INVALID_ARG, and decides nothing, unless `ms` is a whole number and `check` a function.
 */
export function confirmAfter(
  ms: number,
  check: () => boolean | Promise<boolean>,
  onEvent?: (name: "ROLLBACK", reason: string) => void,
): Promise<boolean> {
  // More than 30 lines: its callbacks share both ends of the promise.
  return new Promise<boolean>((resolve, reject) => {
    function leave(reason: string, verdict: boolean): void {
      if (onEvent) callUser(() => onEvent("ROLLBACK", reason));
      fallBack(verdict, reason).then(() => resolve(false), reject);
    }
    function onThrown(thrown: unknown): void {
      printLater(thrown);
      leave("check() threw: " + toOtaError(thrown).message, false);
    }
    function onAnswer(answer: unknown): void {
      tryOr(() => {
        // while the promise was pending, another call may have decided
        if (!isOnTrial(readLayout(true))) return resolve(true);
        if (answer !== true) return leave("check() did not answer true", true);
        markValid();
        resolve(true);
      }, reject);
    }
    function decide(): void {
      let answer: any;
      if (!isOnTrial(readLayout(true))) return resolve(true);
      try {
        answer = check();
      } catch (thrown) {
        return onThrown(thrown);
      }
      if (answer && typeof answer.then === "function") answer.then(onAnswer, onThrown);
      else onAnswer(answer);
    }
    tryOr(() => {
      if (!(ms >= 0 && Math.floor(ms) === ms) || typeof check !== "function")
        throw otaError(Code.INVALID_ARG, "confirmAfter(ms, check): ms must be a whole number, check a function");
      if (onEvent !== undefined && typeof onEvent !== "function")
        throw otaError(Code.INVALID_ARG, "confirmAfter: onEvent must be a function");
      tryOr(() => {
        const record = loadRecord();
        // count the first start, also if boot() does not count starts
        if (record.boots || !isSelected(record, readLayout(true).running_)) return;
        countStart(record);
        setStartState(Start.COUNTED);
      }, noop);
      after(ms, () => tryOr(decide, reject), true);
    }, reject);
  });
}
