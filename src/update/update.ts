// An update, from begin() to the commit point. The order of its steps is its safety argument:
//   1. arguments, the lock, free memory                                   begin
//   2. partition table, otadata, the running slot and the target slot     begin
//   3. manifest: fetch, verify the signature, parse, policy (with `keys`) begin
//   4. image: connect, first 1024 bytes; their header is checked          begin, first perform
//   5. room for the boot record of a trial; otadata stops naming the target slot   first perform
//   6. sectors: erase one ahead, write, read back; the first word stays blank      perform
//   7. segments, length, digest or checksum, from flash                   finish
//   8. the first word; the boot record of the trial                       finish
//   9. select: one entry of otadata, the commit point                     finish
// Each step is marked where it happens: 1 to 4 here, the check of the header and 5 in session.ts, 6 in receiver.ts, 7 to 9
// in finish.ts.
// What fails before step 5 has changed no slot and no otadata. Step 5 can undo a setBootPartition() that was not restarted
// into. Apart from that, whatever fails before step 9 leaves the next start as it was; and what fails before step 8 leaves
// no image in the slot that could start. Steps 2 and 3 may write one boot record each: an image that the bootloader refused
// is counted, and the digest of the running image is kept.
// Source: the states of IDF esp_https_ota.c.

import { Prefix, digitsOf } from "../platform/bytes";
import { checkNotOnTrial, checkNotRolledBack, knownImage, loadRecord, recordRefused } from "../boot/boot-record";
import { checkConfig, type Config, type EventName, type Settings, type SignedConfig } from "../config";
import { closeDownload, createDownload, read } from "../net/download";
import { freeVars, heldTurn, isRestartPending, printLater, readFile } from "../platform/engine";
import { createHandle, type Handle } from "./handle";
import { Size } from "../image/image";
import type { Manifest } from "../trust/manifest";
import { State } from "../boot/otadata";
import type { Partition } from "../boot/partitions";
import { selectedSlot, stateOf, readEntries } from "../boot/boot-selection";
import { checkConfirmed } from "../boot/confirmation";
import { finish } from "./finish";
import { abortSession, type Emit, openSession, Phase, type Plan, type Session } from "./session";
import { perform } from "./receiver";
import { type Layout, nextSlot, readLayout, slotByLabel } from "../boot/layout";
import { Code, fault, guarded, type OtaError } from "../errors";
import { checkKeys } from "../trust/keys";
import { digestOf, getManifest, holdsImage } from "../trust/manifest-client";
import { noteResult, takeTurn, type Turn } from "../boot/lock";
import { resolveUrl } from "../net/url";

const NEEDED_VARS = 1600; // of which a signed update succeeds: docs/performance.md

/** What `update` resolves with. */
export interface UpdateResult {
  /** true: the manifest's image is running already, and nothing was done */
  upToDate: boolean;
  /** true: an update before this one installed it already, and it waits for the restart; nothing was done */
  waiting?: boolean;
  /** the slot that starts after the next restart */
  partition?: Partition;
  /** bytes of the image file */
  size?: number;
}

function chooseTarget(layout: Layout, label: string | undefined): Partition {
  const target = label === undefined ? nextSlot(layout, layout.running_) : slotByLabel(layout, label);
  if (!target) throw fault(Code.NOT_FOUND, "no slot is called " + label);
  if (target.address === layout.running_.address)
    throw fault(Code.OTA_PARTITION_CONFLICT, "slot " + target.label + " is running");
  return target;
}

/** Was the slot of the last update selected before the last restart, and another one runs? Then the bootloader refused it. */
function noteRefusal(layout: Layout): void {
  const slot = slotByLabel(layout, loadRecord().slot);
  if (!slot || slot.address === layout.running_.address) return;
  const selected = selectedSlot(layout, readEntries(layout.otadata_)).address === slot.address;
  if ((selected && !isRestartPending()) || stateOf(layout, slot) === State.ABORTED) recordRefused(slot.label);
}

/** The slot that starts next, when an update since the start has put the file of `size` bytes with this digest there. */
function findWaiting(layout: Layout, size: number, digest: string): Partition | undefined {
  const selected = selectedSlot(layout, readEntries(layout.otadata_));
  const known = isRestartPending() && selected.address !== layout.running_.address ? knownImage(selected) : null;
  return known && known.size === size && known.digest === digest ? selected : undefined;
}

/**
 * Called once an update can begin, with null when the manifest's image runs already or waits for the restart; or with
 * what a manifest offers.
 */
type Begun = (session: Session | null, offer?: Offer, waiting?: Partition) => void;

/** Steps 1 to 3. `offerOnly`: only as far as the manifest, and without touching the flash. */
function open(
  settings: Settings,
  emit: Emit,
  offerOnly: boolean,
  done: Begun,
  failed: (error: OtaError) => void,
): void {
  // Step 2: which slot runs, and which one is written?
  const layout = readLayout();
  const target = chooseTarget(layout, settings.partition);
  if (!offerOnly) {
    checkConfirmed(layout);
    if (!settings.allowSavedState && readFile(".varimg") !== undefined)
      throw fault(
        Code.INVALID_STATE,
        "save() keeps the program (Storage file .varimg), and other firmware drops it at its start: keep it in .boot0 or " +
          "by E.setBootCode() and erase .varimg, or set allowSavedState",
      );
    noteRefusal(layout);
    if (!settings.allowUnconfirmed) checkNotOnTrial(layout.running_);
  }

  function fetchImage(plan: Plan, present: boolean): void {
    if (!settings.allowRolledBack) checkNotRolledBack(plan.digest_);
    // Step 4: the first bytes of the image; session.ts checks them
    const download = createDownload(settings, plan.url_, plan.size_ < 0 ? target.size : plan.size_, emit);
    function fail(error: OtaError): void {
      closeDownload(download);
      failed(error);
    }
    function begin(): void {
      done(openSession(plan, emit, layout, target, download, present));
    }
    if (present) return begin();
    download.failed_ = fail;
    download.sink_ = (data, ended) => {
      const length = data.length;
      if (length < Size.HEAD && !ended) return 0;
      download.sink_ = null;
      guarded(() => {
        if (length < Size.HEAD)
          throw fault(Code.INVALID_SIZE, "file of " + length + " bytes, an image has at least " + Size.HEAD);
        begin();
      }, fail);
      return 0;
    };
    read(download);
  }

  function onManifest(error: OtaError | null, manifest?: Manifest, same?: boolean): void {
    guarded(() => {
      if (error || !manifest) throw error;
      const size = manifest.image.size;
      const digest = digestOf(manifest);
      const waiting = same ? undefined : findWaiting(layout, size, digest);
      if (offerOnly)
        return done(null, {
          available: !same && !waiting,
          waiting: !!waiting,
          version: manifest.version,
          sequence: manifest.sequence,
          size: size,
          manifest: manifest,
        });
      if ((same || waiting) && !settings.allowSameVersion) return done(null, undefined, waiting);
      const plan = {
        url_: resolveUrl(settings.url, manifest.image.url),
        size_: size,
        digest_: digest,
        sequence_: manifest.sequence,
        version_: manifest.version,
        project_: manifest.project,
        askStorage_: !manifest.image.storage && !settings.allowStorageLoss,
        allowRolledBack_: settings.allowRolledBack,
      };
      holdsImage(layout, target, size, digest, (failure, present) => {
        guarded(() => {
          if (failure) throw failure;
          fetchImage(plan, present);
        }, failed);
      });
    }, failed);
  }

  // Step 3: who says so?
  if (settings.keys) getManifest(settings, layout, target, onManifest);
  else
    fetchImage(
      {
        url_: settings.url,
        size_: -1,
        digest_: digitsOf(settings.digest || "", Prefix.CONFIG),
        sequence_: 0,
        version_: "",
        project_: "",
        askStorage_: !settings.allowStorageLoss,
        allowRolledBack_: settings.allowRolledBack,
      },
      false,
    );
}

/** What a call of the user wants. */
const enum Mode {
  CHECK,
  BEGIN,
  UPDATE,
}

/**
 * Takes what only one update at a time may have, and gives it back at the end. `resolve`: an Offer, a Handle or an
 * UpdateResult, as `mode` says.
 */
function run(given: Config, mode: Mode, resolve: (result: any) => void, reject: (error: OtaError) => void): void {
  let turn = null as Turn | null;
  let session: Session | null = null;
  let settings: Settings;
  /** `error`: what it ended with, null when all went well. */
  function release(error: OtaError | null): void {
    // a second call, which is refused, says nothing of the first
    if (heldTurn() !== turn) return;
    const result = error ? error.name + ": " + error.message : "ESP_OK";
    if (mode !== Mode.CHECK) noteResult(result);
    if (turn) turn.end_();
  }
  function fail(given?: OtaError): void {
    const error = given || fault(Code.INVALID_STATE, "aborted");
    if (session) abortSession(session, error);
    else if (turn) {
      settings.canceled_ = error;
      if (settings.cancel_) settings.cancel_(error);
    }
    reject(error);
    release(error);
  }
  function emit(name: EventName, data?: number, total?: number): void {
    try {
      if (settings.onEvent) settings.onEvent(name, data, total);
    } catch (thrown) {
      printLater(thrown);
    }
  }
  function onStep(outcome: number): void {
    const one = session as Session;
    if (outcome === Code.IN_PROGRESS) perform(one, onStep, fail);
    else if (one.phase_ === Phase.COMPLETE) finish(one, onStep, fail);
    else resolve({ upToDate: false, partition: one.target_, size: one.written_ });
  }
  guarded(() => {
    // Step 1: nothing has been touched yet
    const free = freeVars();
    // before the keys are looked at, which takes memory
    if (!heldTurn() && free < NEEDED_VARS)
      throw fault(Code.NO_MEM, free + " JsVars are free, an update needs " + NEEDED_VARS, true);
    settings = checkConfig(given);
    if (settings.keys) checkKeys(settings.keys);
    given = undefined as never; // its keys are let go when the signature is verified
    if (mode === Mode.CHECK && !settings.keys) throw fault(Code.INVALID_ARG, "checkForUpdate needs keys");
    turn = takeTurn(fail, settings.deadline);
    if (mode !== Mode.CHECK) emit("START");
    /*@__NOINLINE__*/ open(
      settings,
      emit,
      mode === Mode.CHECK,
      (begun, offer, waiting) => {
        session = begun;
        if (begun) {
          const mine = turn as Turn;
          begun.release_ = release;
          if (heldTurn() !== mine)
            abortSession(begun); // it was given up meanwhile
          else if (mode === Mode.UPDATE) onStep(Code.IN_PROGRESS);
          else {
            begun.stepwise_ = true;
            resolve(createHandle(begun, mine));
            mine.resting_ = true;
          }
          return;
        }
        if (mode === Mode.BEGIN)
          throw fault(
            Code.INVALID_VERSION,
            waiting
              ? "the manifest's image is installed and waits for the restart"
              : "the manifest's image is running already",
          );
        resolve(offer || (waiting ? { upToDate: false, waiting: true, partition: waiting } : { upToDate: true }));
        release(null);
      },
      fail,
    );
  }, fail);
}

/** Ends the update that is under way, or the choice of a slot; whoever waits for it hears ESP_ERR_INVALID_STATE. */
export function abort(): void {
  const turn: Turn | null = heldTurn();
  if (turn) turn.stop_();
}

/**
 * Checks the device, verifies the manifest if `keys` are given, connects, and waits for the image's first 1024 bytes;
 * no slot is written yet. Rejects with ESP_ERR_INVALID_VERSION when the manifest's image runs already.
 * One update at a time: until `finish` or `abort` another one is ESP_ERR_OTA_ALREADY_IN_PROGRESS. `esp_https_ota_begin`
 */
export function begin(config: Config): Promise<Handle> {
  return new Promise<Handle>((resolve, reject) => {
    run(config, Mode.BEGIN, resolve, reject);
    config = undefined as never;
  });
}

/** The whole update: begin, perform until done, finish. It never restarts: call `restart()` when it suits. `esp_https_ota` */
export function update(config: Config): Promise<UpdateResult> {
  return new Promise<UpdateResult>((resolve, reject) => {
    run(config, Mode.UPDATE, resolve, reject);
    config = undefined as never;
  });
}

/** What a manifest offers. */
export interface Offer {
  /** is it another image than the one that runs or waits for the restart? */
  available: boolean;
  /** an update has installed it since the start, and it waits for the restart */
  waiting: boolean;
  version: string;
  sequence: number;
  /** bytes of the image */
  size: number;
  manifest: Manifest;
}

/**
 * Fetches and verifies the manifest, and compares it with this device. Writes nothing but, at most, one record in Storage that
 * keeps the digest of the running image. Needs `keys`.
 */
export function checkForUpdate(config: SignedConfig): Promise<Offer> {
  return new Promise<Offer>((resolve, reject) => {
    run(config, Mode.CHECK, resolve, reject);
    config = undefined as never;
  });
}
