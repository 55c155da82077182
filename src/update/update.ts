// An update, from begin() to the commit point. The order of its steps is its safety argument:
//   1. arguments, the lock, free memory                                   begin
//   2. partition table, otadata, the running slot and the target slot     begin
//   3. manifest: fetch, verify the signature, parse, policy (with `keys`) begin
//   4. files: fetch into Storage, verify there; nothing points to them    begin
//      image: connect, first 1024 bytes; their header is checked          begin, first perform
//   5. room for the boot record of a trial; otadata stops naming the target slot   first perform
//   6. sectors: erase one ahead, write, read back; the first word stays blank      perform
//   7. segments, length, digest or checksum, from flash                   finish
//   8. the first word; the boot record of the trial, with the set of files finish
//   9. select: one entry of otadata, the commit point. For a release of    finish
//      files alone the record of step 8 is the commit point
// Each step is marked where it happens: 1 to 4 here, in plan.ts and files.ts; the check of the header, 5 and 6 in receiver.ts;
// 7 to 9 in finish.ts.
// A failure before step 5 changes no slot and no otadata. Step 5 can undo a setBootPartition() after which the device has
// not restarted. Apart from that, a failure before step 9 leaves the next start as it was. After a failure before step 8 the
// slot holds no image that could start. Steps 2 and 3 may write one boot record each: a refusal by the bootloader is
// counted, and the digest of the running image is kept. Step 4 erases files that no record names.
// Source: the states of IDF esp_https_ota.c.

import { readLayout } from "../boot/layout";
import { acquireLock, type Lock, noteResult } from "../boot/lock";
import type { Partition } from "../boot/partitions";
import type { Config, EventName, Origin, Settings, SignedConfig } from "../config";
import { Code, otaError, type OtaError, tryOr } from "../errors";
import { Size } from "../image/image";
import { closeDownload, createDownload, type Download, read } from "../net/download";
import { heldLock, now, printLater } from "../platform/engine";
import { after } from "../platform/timers";
import { getManifest, holdsImage } from "../trust/manifest-client";
import type { Manifest } from "../trust/manifest";
import { Due, dueOf } from "../trust/rollout";
import { fetchFiles, planFiles } from "./files";
import { finish } from "./finish";
import { createHandle, type Handle } from "./handle";
import { findWaiting, type Offer, offerOf, planOf } from "./offer";
import { checkCall, checkDevice, chooseTarget, Mode, resultOfNothing, type UpdateResult } from "./plan";
import { perform } from "./receiver";
import { abortSession, type Emit, openSession, Phase, type Plan, type Session } from "./session";

/**
 * Called once when steps 1 to 4 are done. Without a session there is nothing to install: the manifest's image is
 * running, `waiting` for the restart or `due` later, or only an `offer` was asked for.
 */
type OnReady = (session: Session | null, offer?: Offer, waiting?: Partition, due?: number) => void;

/**
 * Step 4: waits for the first Size.HEAD bytes of the image, then calls `begin`. They stay in the buffer of the
 * download.
 */
function awaitHead(download: Download, begin: () => void, failed: (error: OtaError) => void): void {
  function fail(error: OtaError): void {
    closeDownload(download);
    failed(error);
  }
  download.failed_ = fail;
  download.consumer_ = (data, ended) => {
    const length = data.length;
    if (length < Size.HEAD && !ended) return;
    download.consumer_ = null;
    tryOr(() => {
      if (length < Size.HEAD)
        throw otaError(Code.INVALID_SIZE, "file of " + length + " bytes, an image has at least " + Size.HEAD);
      begin();
    }, fail);
  };
  read(download);
}

/**
 * Steps 2 to 4. `offerOnly`: only steps 2 and 3, and without touching the flash.
 * More than 60 lines: its callbacks share what step 2 found, and a variable of a scope takes fewer JsVars than an object that is
 * handed on.
 */
function open(
  settings: Settings,
  emit: Emit,
  offerOnly: boolean,
  done: OnReady,
  failed: (error: OtaError) => void,
): void {
  // Step 2: which slot runs, and which one is written?
  // a manifest may bring files alone, which need no other slot
  const layout = readLayout(!!settings.keys);
  const target = layout.otadata_ ? chooseTarget(layout, settings.partition) : null;
  if (!offerOnly) checkDevice(settings, layout);

  /** Step 4. `present`: the target slot holds this image already. */
  function fetchImage(plan: Plan, slot: Partition, present: boolean): void {
    const download = createDownload(settings, plan.url_, plan.size_ < 0 ? slot.size : plan.size_, emit);
    function begin(): void {
      done(openSession(plan, emit, layout, slot, download, present, !!settings.push));
    }
    download.total_ = plan.size_;
    if (present || settings.push) begin();
    else awaitHead(download, begin, failed);
  }

  /** Step 4, when the files are there. `set`: their list in Storage, "" without files. */
  function fetchRest(plan: Plan, filesOnly: boolean, set: string): void {
    plan.set_ = set;
    // nothing of a slot is written: as if it held the image already
    if (filesOnly) return fetchImage(plan, layout.running_, true);
    holdsImage(layout, target!, plan.size_, plan.digest_, (failure, present) => {
      tryOr(() => {
        if (failure) throw failure;
        fetchImage(plan, target!, present);
      }, failed);
    });
  }

  /** `imageRuns`: its image, if it has one, runs already. */
  function onManifest(error: OtaError | null, manifest?: Manifest, imageRuns?: boolean): void {
    tryOr(() => {
      if (error || !manifest) throw error;
      const again = !!settings.allowSameVersion;
      const files = /*@__NOINLINE__*/ planFiles(manifest);
      const filesOnly = !!files && !!imageRuns && !(again && manifest.image && target);
      // an image, and this table has no other slot: throws with its reason
      if (!target && !filesOnly && (!imageRuns || again)) readLayout();
      const running = !!imageRuns && (!files || files.running_);
      const waiting = running ? undefined : findWaiting(layout, manifest, files, !!imageRuns);
      const due = settings.allowEarly ? Due.NOW : dueOf(manifest, now());
      if (offerOnly) return done(null, offerOf(manifest, files, !!imageRuns, running, !!waiting, due));
      if ((running || waiting) && !again) return done(null, undefined, waiting);
      if (due) return done(null, undefined, undefined, due);
      const plan = planOf(settings, manifest, files, filesOnly);
      if (!files) return fetchRest(plan, false, "");
      fetchFiles(settings, files, emit, (failure, set) => {
        tryOr(() => {
          if (failure) throw failure;
          fetchRest(plan, filesOnly, set!);
        }, failed);
      });
    }, failed);
  }

  // Step 3: who says which image may run?
  if (settings.keys)
    getManifest(settings, layout, target, (error, manifest, imageRuns) => {
      // later, when what has verified and parsed it is freed
      tryOr(() => {
        after(0, () => onManifest(error, manifest, imageRuns));
      }, failed);
    });
  else fetchImage(planOf(settings), target!, false);
}

/**
 * Acquires the lock, runs the steps as far as `mode` says, and releases the lock at the end. Resolves with an Offer, a Handle
 * or an UpdateResult.
 * More than 60 lines: every callback needs the same few variables, see open(). What it makes for an update, in functions of its own
 * with scopes of their own, took 26 JsVars more at the peak.
 */
function run(config: Config, mode: Mode): Promise<any> {
  return new Promise((resolve, reject) => {
    let lock = null as Lock | null;
    let session: Session | null = null;
    let settings: Settings;
    let onEvent: Settings["onEvent"];

    /** `error`: what the call ended with, null when all went well. */
    function release(error: OtaError | null): void {
      // a second call is refused while the first one runs, and says nothing of the first one's result
      if (heldLock() !== lock) return;
      if (mode !== Mode.CHECK) noteResult(error ? error.name + ": " + error.message : "ESP_OK");
      if (lock) lock.release_();
    }

    function fail(given?: OtaError): void {
      const error = given || otaError(Code.INVALID_STATE, "update aborted");
      if (session) abortSession(session, error);
      else if (lock) {
        settings.canceled_ = error;
        if (settings.cancel_) settings.cancel_(error);
      }
      reject(error);
      release(error);
    }

    function emit(name: EventName, data?: number, total?: number): void {
      try {
        if (onEvent) onEvent(name, data, total);
      } catch (thrown) {
        printLater(thrown);
      }
    }

    /** update(): perform, then finish, then the result. */
    function onStep(outcome: number): void {
      const one = session as Session;
      if (outcome === Code.IN_PROGRESS) perform(one, onStep, fail);
      else if (one.phase_ === Phase.COMPLETE) finish(one, onStep, fail);
      else resolve({ upToDate: false, partition: one.target_, size: one.written_ });
    }

    tryOr(() => {
      // More than 30 lines: step 1, and what open() hands over.
      // Step 1: nothing has been touched yet
      settings = checkCall(config, mode);
      config = undefined as never; // so that its keys are freed when the signature is verified
      onEvent = settings.onEvent;
      lock = acquireLock(fail, settings.deadline);
      if (mode !== Mode.CHECK) emit("START");
      /*@__NOINLINE__*/ open(
        settings,
        emit,
        mode === Mode.CHECK,
        (opened, offer, waiting, due) => {
          session = opened;
          if (!opened) {
            resolve(resultOfNothing(mode === Mode.BEGIN, offer, waiting, due));
            return release(null);
          }
          settings = undefined as never; // 60 JsVars: memory is shortest while the digest is computed
          const mine = lock as Lock;
          opened.release_ = release;
          if (heldLock() !== mine)
            abortSession(opened); // the update was ended meanwhile
          else if (mode === Mode.UPDATE) onStep(Code.IN_PROGRESS);
          else {
            opened.stepwise_ = true;
            resolve(createHandle(opened, mine));
            mine.watchdogPaused_ = true;
          }
        },
        fail,
      );
    }, fail);
  });
}

/** Ends the running update, or the selection of a slot. The promise of that call rejects with ESP_ERR_INVALID_STATE. */
export function abort(): void {
  const lock: Lock | null = heldLock();
  if (lock) lock.stop_();
}

/**
 * Checks the device, verifies the manifest if `keys` are given, connects, and waits for the image's first 1024 bytes;
 * no slot is written yet. Rejects with ESP_ERR_INVALID_VERSION when the manifest's image is running already.
 * One update at a time: until `finish` or `abort` another one is ESP_ERR_OTA_ALREADY_IN_PROGRESS. `esp_https_ota_begin`
 */
export function begin(config: Config): Promise<Handle> {
  return run(config, Mode.BEGIN);
}

/**
 * The whole update: begin, perform until done, finish. It does not restart the device: call `restart()` when that
 * suits. `esp_https_ota`
 */
export function update(config: Config): Promise<UpdateResult> {
  return run(config, Mode.UPDATE);
}

/**
 * Fetches and verifies the manifest, and compares it with this device. Writes at most one record in Storage, with the
 * digest of the running image. Needs `keys`.
 */
export function checkForUpdate(config: SignedConfig & Origin): Promise<Offer> {
  return run(config, Mode.CHECK);
}
