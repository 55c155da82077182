// What is decided before the first byte of an image is fetched: may this call update this device, which slot is
// written, and what is installed. Parts of steps 1 to 3 of update.ts.

import { checkNotOnTrial, checkNotRolledBack, knownImage, loadRecord, recordRefused } from "../boot/boot-record";
import { readEntries, selectedSlot, stateOf } from "../boot/boot-selection";
import { checkConfirmed } from "../boot/confirmation";
import { type Layout, nextSlot, slotByLabel } from "../boot/layout";
import { State } from "../boot/otadata";
import type { Partition } from "../boot/partitions";
import { checkConfig, type Config, type Settings } from "../config";
import { Code, otaError } from "../errors";
import { resolveUrl } from "../net/url";
import { parseDigest, Prefix } from "../platform/bytes";
import { freeVars, heldLock, isRestartPending, readFile } from "../platform/engine";
import { checkKeys } from "../trust/keys";
import { digestOf } from "../trust/manifest-client";
import { boundSet, readSet } from "../boot/release-files";
import { badName, type Files } from "./files";
import type { Manifest } from "../trust/manifest";
import type { Plan } from "./session";

/** What `update` resolves with. */
export interface UpdateResult {
  /** true: what the manifest names is running already, and nothing was done */
  upToDate: boolean;
  /** true: an earlier update has installed it, and it waits for the restart; nothing was done */
  waiting?: boolean;
  /** the slot that starts after the next restart */
  partition?: Partition;
  /** bytes of the image file; 0 for a release of files alone */
  size?: number;
}

/** What a manifest offers. */
export interface Offer {
  /** is it something else than what runs or waits for the restart? */
  available: boolean;
  /** an update has installed it since the start, and it waits for the restart */
  waiting: boolean;
  version: string;
  sequence: number;
  /** bytes of the image; 0 without one */
  size: number;
  /** names of the files that Storage does not hold */
  files: string[];
  /** most bytes that an update would fetch: of the image, unless it runs already, and of `files` */
  bytes: number;
  manifest: Manifest;
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

/** Is the set of this release bound to the slot called `label`? */
function isBound(label: string, files: Files): boolean {
  const set = readSet(boundSet(loadRecord(), label));
  return !!set && set.id === files.set_.id && !files.missing_.length;
}

/** The slot that starts next, when an update since the start has put there what `manifest` names. */
export function findWaiting(
  layout: Layout,
  manifest: Manifest,
  files: Files | null,
  imageRuns: boolean,
): Partition | undefined {
  // files alone were committed, and another set runs until the restart
  if (files && !files.running_ && isBound(layout.running_.label, files) && (!manifest.image || imageRuns))
    return layout.running_;
  const selected = selectedSlot(layout, readEntries(layout.otadata_));
  const image = isRestartPending() && selected.address !== layout.running_.address ? knownImage(selected) : null;
  return image &&
    manifest.image &&
    image.size === manifest.image.size &&
    image.digest === digestOf(manifest) &&
    (!files || isBound(selected.label, files))
    ? selected
    : undefined;
}

/** `imageRuns`: the image, if there is one, is running already. */
export function offerOf(
  manifest: Manifest,
  files: Files | null,
  imageRuns: boolean,
  running: boolean,
  waiting: boolean,
): Offer {
  const image = manifest.image;
  return {
    available: !running && !waiting,
    waiting: waiting,
    version: manifest.version,
    sequence: manifest.sequence,
    size: image ? image.size : 0,
    files: files ? files.missing_.map((file) => file.name) : [],
    bytes: (files ? files.bytes_ : 0) + (image && !imageRuns ? image.size : 0),
    manifest: manifest,
  };
}

/**
 * `manifest`: undefined where `digest` or `insecure` says which image may run. `set`: the files that go with it.
 * `filesOnly`: there is no image, or it runs already. Throws for what counts as bad on this device.
 */
export function planOf(settings: Settings, manifest?: Manifest, files?: Files | null, filesOnly?: boolean): Plan {
  const image = manifest && !filesOnly ? manifest.image : undefined;
  const plan = {
    url_: !image ? settings.url : settings.source || settings.push ? image.url : resolveUrl(settings.url, image.url),
    size_: image ? image.size : filesOnly ? 0 : -1,
    // of files alone nothing in a slot is verified
    digest_: filesOnly
      ? files!.set_.id
      : manifest
        ? digestOf(manifest)
        : parseDigest(settings.digest || "", Prefix.CONFIG),
    set_: "",
    bad_: files ? badName(files) : "",
    sequence_: manifest ? manifest.sequence : 0,
    version_: manifest ? manifest.version : "",
    project_: manifest ? manifest.project : "",
    askStorage_: !(image && image.storage) && !settings.allowStorageLoss && !filesOnly,
    allowRolledBack_: settings.allowRolledBack,
  };
  checkNotRolledBack(plan);
  return plan;
}

/**
 * The result of a call that has nothing to install. Throws INVALID_VERSION for begin(), which resolves with a handle
 * only.
 */
export function resultOfNothing(isBegin: boolean, offer?: Offer, waiting?: Partition): Offer | UpdateResult {
  if (isBegin)
    throw otaError(
      Code.INVALID_VERSION,
      waiting
        ? "what the manifest names is installed and waits for the restart"
        : "what the manifest names is running already",
    );
  return offer || (waiting ? { upToDate: false, waiting: true, partition: waiting } : { upToDate: true });
}
