// Trial boots on bootloaders without rollback: an image that `update` installed must be confirmed
// within a few starts. Otherwise the slot that ran before is selected again. This cannot help when an image fails
// before JavaScript runs.
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
  /** starts in which an image must be confirmed; default 3 */
  attempts?: number;
  /** called at each start on trial, with the number of this start and of those allowed */
  onTrial?: (boots: number, attempts: number) => void;
  /** called in the first start of a release, with its version ("" where the manifest is unknown): for migrations */
  onFirstStart?: (version: string) => void;
}

/** Refuses what `boot` does not know: a misspelt option would silently leave its default in force. */
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

/** The version of what runs, as its manifest says it; "" where that is not known. */
function versionOf(record: BootRecord, running: Partition): string {
  const set = currentSet();
  const image = findImage(record, running.label);
  return set ? set.version : image ? image.version : "";
}

/**
 * To be called when the program starts. Counts the starts of an image, or of files, on trial; after `attempts` of them
 * without `markValid()` it selects what ran before and restarts. A start is counted once, however often this is called:
 * where the loader runs, it has counted already. Resolves with true while what runs is on trial. Writes one record in
 * Storage per start on trial, and never otherwise. A start that can't be recorded ends the trial like the last one.
 * Rejects with ESP_ERR_INVALID_ARG for an option that it does not know.
 */
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
      // if Storage cannot take the record, starts are not counted and the trial would never end
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
 * Decides a trial: `ms` from now the running image is confirmed when `check()` returns true, or a promise of true, and
 * rolled back otherwise, which ends a running update. A check that throws, or whose promise is rejected, rolls back
 * too, but does not mark the image as bad: it may be offered again, and counts as bad at the third time. The engine
 * prints what it threw, and `getStatus().rollbackReason` keeps it. A promise that never settles decides nothing: then
 * boot() counts the starts.
 * `onEvent` hears "ROLLBACK" and the reason, before the slot is left.
 * Does nothing to an image that is confirmed already. Resolves with what `check` said. Rejects with
 * ESP_ERR_INVALID_ARG, and decides nothing, unless `ms` is a whole number and `check` a function.
 */
export function confirmAfter(
  ms: number,
  check: () => boolean | Promise<boolean>,
  onEvent?: (name: "ROLLBACK", reason: string) => void,
): Promise<boolean> {
  // More than 30 lines: its callbacks share one timer, and end each other.
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
        // during the wait for a promise, another call may have decided
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
        // the trial has begun, also where boot() does not count starts
        if (record.boots || !isSelected(record, readLayout(true).running_)) return;
        countStart(record);
        setStartState(Start.COUNTED);
      }, noop);
      after(ms, () => tryOr(decide, reject), true);
    }, reject);
  });
}
