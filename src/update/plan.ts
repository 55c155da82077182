// What is decided before the first byte of an image is fetched: may this call update this device, which slot is
// written, and what is installed. Parts of steps 1 to 3 of update.ts.

import { checkNotOnTrial, loadRecord, recordRefused } from "../boot/boot-record";
import { readEntries, selectedSlot, stateOf } from "../boot/boot-selection";
import { checkConfirmed } from "../boot/confirmation";
import { type Layout, nextSlot, slotByLabel } from "../boot/layout";
import { State } from "../boot/otadata";
import type { Partition } from "../boot/partitions";
import { checkConfig, type Config, type Settings } from "../config";
import { Code, otaError } from "../errors";
import { freeVars, heldLock, isRestartPending, readFile } from "../platform/engine";
import { checkKeys } from "../trust/keys";
import type { Offer } from "./offer";

/** What `update` resolves with. */
export interface UpdateResult {
  /** true: what the manifest names is running already, and nothing was done */
  upToDate: boolean;
  /** true: an earlier update has installed it, and it waits for the restart; nothing was done */
  waiting?: boolean;
  /** the rollout has not reached this device, and nothing was done: see `Offer`; `allowEarly` installs it */
  due?: number;
  /** the slot that starts after the next restart */
  partition?: Partition;
  /** bytes of the image file; 0 for a release of files alone */
  size?: number;
}

/** What a call of the user wants. */
export const enum Mode {
  CHECK,
  BEGIN,
  UPDATE,
}

/** In JsVars. An enum, which takes no variable. */
const enum Needed {
  /** free at the start, so that a signed update succeeds: docs/performance.md */
  UPDATE = 1600,
}

/** Step 1: checks memory, configuration and keys. */
export function checkCall(config: Config, mode: Mode): Settings {
  const free = freeVars();
  // before the keys are parsed, which takes memory
  if (!heldLock() && free < Needed.UPDATE)
    throw otaError(Code.NO_MEM, free + " JsVars are free, an update needs " + Needed.UPDATE, true);
  const settings = checkConfig(config);
  if (settings.keys) checkKeys(settings.keys);
  else if (mode === Mode.CHECK) throw otaError(Code.INVALID_ARG, "checkForUpdate needs keys");
  if (settings.push && mode === Mode.UPDATE)
    throw otaError(Code.INVALID_ARG, "push is for begin(): its handle.write() takes the bytes");
  return settings;
}

/** Step 2: the slot to write. */
export function chooseTarget(layout: Layout, label: string | undefined): Partition {
  const target = label === undefined ? nextSlot(layout, layout.running_) : slotByLabel(layout, label);
  if (!target) throw otaError(Code.NOT_FOUND, "no slot is called " + label);
  if (target.address === layout.running_.address)
    throw otaError(Code.OTA_PARTITION_CONFLICT, "slot " + target.label + " is running");
  return target;
}

/**
 * Counts a refusal: the slot of the last update was selected before the last restart, and the bootloader started
 * another.
 */
function noteRefusal(layout: Layout): void {
  const slot = slotByLabel(layout, loadRecord().slot);
  if (!slot || slot.address === layout.running_.address) return;
  const selected = selectedSlot(layout, readEntries(layout.otadata_)).address === slot.address;
  if ((selected && !isRestartPending()) || stateOf(layout, slot) === State.ABORTED) recordRefused(slot.label);
}

/** Step 2: refuses while an update would cost the device its program, or the slot to fall back to. */
export function checkDevice(settings: Settings, layout: Layout): void {
  checkConfirmed(layout);
  if (!settings.allowSavedState && readFile(".varimg") !== undefined)
    throw otaError(
      Code.INVALID_STATE,
      "save() keeps the program (Storage file .varimg), and other firmware drops it at its start: keep it in .boot0 " +
        "or by E.setBootCode() and erase .varimg, or set allowSavedState",
    );
  noteRefusal(layout);
  if (!settings.allowUnconfirmed) checkNotOnTrial(layout.running_);
}

/**
 * The result of a call that has nothing to install. Throws INVALID_VERSION for begin(), which resolves with a handle
 * only.
 */
export function resultOfNothing(
  isBegin: boolean,
  offer?: Offer,
  waiting?: Partition,
  due?: number,
): Offer | UpdateResult {
  if (isBegin && due)
    throw otaError(Code.NOT_ALLOWED, "the rollout has not reached this device; allowEarly installs the release", true);
  if (isBegin)
    throw otaError(
      Code.INVALID_VERSION,
      waiting
        ? "what the manifest names is installed and waits for the restart"
        : "what the manifest names is running already",
    );
  if (due) return { upToDate: false, due: due };
  return offer || (waiting ? { upToDate: false, waiting: true, partition: waiting } : { upToDate: true });
}
