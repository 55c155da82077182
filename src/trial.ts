// Trial boots on bootloaders without rollback: an image that `update` installed has some starts to prove itself in,
// then the slot that ran before is selected again. What it can't rescue is an image that dies before JavaScript runs.
// Source: docs/design.md#trial-boots.

import { fallBack, markValid } from "./boot";
import { type BootRecord, Boots, countStart, isSelected, knownImage, loadRecord } from "./boot-record";
import { Prefix } from "./digest";
import { after, firmwareVersion, isRestartPending, printLater, read, storageStats } from "./hal";
import { parseDesc, Size, walkSegments } from "./image";
import { State } from "./otadata";
import type { Partition } from "./partitions";
import { selectedSlot, stateOf } from "./select";
import { type Layout, nextSlot, readEntries, readLayout } from "./slot";
import { asFault, Code, fault, guarded, ignore } from "./status";
import { lastResult } from "./turn";

const ATTEMPTS = 3;

export interface BootOptions {
  /** starts that an image has to be confirmed in; 3 */
  attempts?: number;
  /** called at each start on trial, with the number of this start and of those allowed */
  onTrial?: (boots: number, attempts: number) => void;
}

/**
 * Does the image that runs still have to be confirmed, by us or by a bootloader with rollback?
 * @chapter otadata
 */
function isOnTrial(layout: Layout): boolean {
  const record = loadRecord();
  return (
    ((record.boots >= 0 || record.boots === Boots.REFUSED) && isSelected(record, layout.running_)) ||
    stateOf(layout, layout.running_) === State.PENDING_VERIFY
  );
}

/** Refuses what `boot` does not know: a misspelt option would silently leave its default in force. */
function checkBootOptions(options: BootOptions): void {
  const given = options as { [name: string]: unknown };
  if (typeof given !== "object" || !given) throw fault(Code.INVALID_ARG, "boot: the options must be an object");
  Object.keys(given).forEach((name) => {
    const value = given[name] as number;
    let wanted = "";
    if (name === "onTrial") {
      if (typeof value !== "function") wanted = " must be a function";
    } else if (name !== "attempts") wanted = " is no option";
    else if (!(value >= 1 && Math.floor(value) === value)) wanted = " must be a whole number above 0";
    if (wanted && value !== undefined) throw fault(Code.INVALID_ARG, "boot: " + name + wanted);
  });
}

/**
 * To be called when the program starts. Counts the starts of an image on trial; after `attempts` of them without
 * `markValid()` it selects the slot that ran before and restarts. Resolves with true while the running image is on
 * trial. Writes one record in Storage per start on trial, and never otherwise. A start that can't be recorded ends the trial
 * like the last one. Rejects with ESP_ERR_INVALID_ARG for an option that it does not know.
 */
export function boot(options?: BootOptions): Promise<boolean> {
  return new Promise<boolean>((resolve, reject) => {
    guarded(() => {
      if (options !== undefined) checkBootOptions(options);
      const given = options || {};
      const attempts = given.attempts === undefined ? ATTEMPTS : given.attempts;
      const record = loadRecord();
      if (!record.slot || record.boots === Boots.CONFIRMED) return resolve(false);
      const running = readLayout().running_;
      if (!isSelected(record, running)) return resolve(false);
      let counted = false;
      // a start that Storage does not take can't be counted: the trial would never end
      if (record.boots !== Boots.GIVEN_UP && record.boots < attempts)
        guarded(() => {
          countStart(record);
          counted = true;
        }, ignore);
      if (!counted) {
        fallBack(false, "not confirmed in " + attempts + " starts").then(() => resolve(false), reject);
        return;
      }
      resolve(true);
      try {
        if (given.onTrial) given.onTrial(record.boots, attempts);
      } catch (thrown) {
        printLater(thrown);
      }
    }, reject);
  });
}

/**
 * Decides a trial: `ms` from now the running image is confirmed when `check()` returns true, or a promise of true, and
 * rolled back otherwise, which ends an update that is under way. A check that throws, or whose promise is rejected, rolls
 * back too, but is no verdict on the image: it may be offered again, and only the third time counts as bad. The engine
 * prints what it threw, and `getStatus().rollbackReason` keeps it. A promise that never settles decides nothing: then
 * boot() counts the starts.
 * `onEvent` hears "ROLLBACK" and the reason, before the slot is left.
 * Does nothing to an image that is confirmed already. Resolves with what `check` said. Rejects with ESP_ERR_INVALID_ARG, and
 * decides nothing, unless `ms` is a whole number and `check` a function.
 */
export function confirmAfter(
  ms: number,
  check: () => boolean | Promise<boolean>,
  onEvent?: (name: "ROLLBACK", reason: string) => void,
): Promise<boolean> {
  return new Promise<boolean>((resolve, reject) => {
    function leave(reason: string, verdict: boolean): void {
      try {
        if (onEvent) onEvent("ROLLBACK", reason);
      } catch (thrown) {
        printLater(thrown);
      }
      fallBack(verdict, reason).then(() => resolve(false), reject);
    }
    function onThrown(thrown: unknown): void {
      printLater(thrown);
      leave("check() threw: " + asFault(thrown).message, false);
    }
    function onAnswer(answer: unknown): void {
      guarded(() => {
        // while a promise was waited for somebody else may have decided
        if (!isOnTrial(readLayout())) return resolve(true);
        if (answer !== true) return leave("check() did not answer true", true);
        markValid();
        resolve(true);
      }, reject);
    }
    function decide(): void {
      let answer: any;
      if (!isOnTrial(readLayout())) return resolve(true);
      try {
        answer = check();
      } catch (thrown) {
        return onThrown(thrown);
      }
      if (answer && typeof answer.then === "function") answer.then(onAnswer, onThrown);
      else onAnswer(answer);
    }
    guarded(() => {
      if (!(ms >= 0 && Math.floor(ms) === ms) || typeof check !== "function")
        throw fault(Code.INVALID_ARG, "confirmAfter(ms, check): ms must be a whole number, check a function");
      if (onEvent !== undefined && typeof onEvent !== "function")
        throw fault(Code.INVALID_ARG, "confirmAfter: onEvent must be a function");
      guarded(() => {
        const record = loadRecord();
        // the trial has begun, also where boot() does not count starts
        if (!record.boots && isSelected(record, readLayout().running_)) countStart(record);
      }, ignore);
      after(ms, () => guarded(decide, reject), true);
    }, reject);
  });
}

/** What a slot holds. */
export interface SlotStatus {
  label: string;
  /** `esp_ota_img_states_t`, undefined when otadata does not name it */
  state: number | undefined;
  /** Espruino's own of the running slot, else of the manifest that brought the image, or of its app descriptor; undefined
   * when the slot holds no whole image or nothing tells */
  version: string | undefined;
}

/** For remote diagnosis: what runs, what starts next, and why these may differ. Slots by their labels. */
export interface Status {
  running: string;
  boot: string;
  next: string;
  /** `esp_ota_img_states_t` of the running slot, undefined when otadata does not name it */
  state: number | undefined;
  /** process.env.VERSION */
  version: string;
  /** highest confirmed sequence */
  sequence: number;
  /** starts so far and the slot to fall back to, null when the running image is not on trial */
  trial: { boots: number; previous: string } | null;
  /** digests of the images that were rolled back or refused by the bootloader, the last one first, as `digest` takes them */
  rolledBack: string[];
  /** why the last image that was left was left, "" when none was since the last update: what check() threw, for one */
  rollbackReason: string;
  /** all slots, the running one too */
  slots: SlotStatus[];
  /** of Storage, in bytes: behind the last file, and of erased files, which only a compaction gives back */
  storage: { free: number; trash: number };
  /** what the last update since the start ended with: "ESP_OK", or name and message of its error; "" before the first */
  last: string;
  /** why another slot runs than the one that is selected; "" when it is the selected one */
  differs: string;
}

function whyDifferent(layout: Layout, selected: Partition, record: BootRecord): string {
  if (selected.address === layout.running_.address) return "";
  const slot = "slot " + selected.label;
  try {
    walkSegments(layout.chip_, selected.size, (offset, length) => read(selected.address + offset, length));
  } catch (thrown: any) {
    return slot + " can't start: " + thrown.message;
  }
  if (isRestartPending()) return slot + " was selected, and not restarted into since";
  return "the bootloader refused " + slot + (record.refused ? ", " + record.refused + " times before" : "");
}

function describe(layout: Layout, slot: Partition): SlotStatus {
  let version: string | undefined;
  if (slot.address === layout.running_.address) version = firmwareVersion();
  else
    guarded(() => {
      walkSegments(layout.chip_, slot.size, (offset, length) => read(slot.address + offset, length));
      const image = knownImage(slot);
      const desc = parseDesc(read(slot.address, Size.DESC_END));
      version = (image && image.version) || (desc ? desc.version : undefined);
    }, ignore);
  return { label: slot.label, state: stateOf(layout, slot), version: version };
}

/** What the device says of itself, for a report. It reads flash and writes nothing. */
export function getStatus(): Status {
  const layout = readLayout();
  const record = loadRecord();
  const selected = selectedSlot(layout, readEntries(layout.otadata_));
  const slots = layout.factory_ ? layout.ota_.concat([layout.factory_]) : layout.ota_;
  const storage = storageStats();
  return {
    running: layout.running_.label,
    boot: selected.label,
    next: nextSlot(layout, layout.running_).label,
    state: stateOf(layout, layout.running_),
    version: firmwareVersion(),
    sequence: record.sequence,
    trial: isOnTrial(layout) ? { boots: Math.max(record.boots, 0), previous: record.previous } : null,
    rolledBack: record.bad.map((digest) => Prefix.CONFIG + digest),
    rollbackReason: record.reason,
    slots: slots.map((slot) => describe(layout, slot)),
    storage: { free: storage.freeBytes, trash: storage.trashBytes },
    last: lastResult,
    differs: whyDifferent(layout, selected, record),
  };
}
