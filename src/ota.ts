// An update, from begin to finish. The order of its steps is its safety argument, and it is all here:
//   1. arguments, one update at a time, memory            (begin)
//   2. partition table, otadata, running and target slot  (begin)
//   3. connect, redirects, status, length, first 1024 bytes (begin)
//   4. those bytes are judged                             (first perform)
//   5. otadata stops naming the target slot               (first perform)
//   6. sector by sector: erase, read back, write, read back (perform)
//   7. segments, length, digest or checksum, from flash   (finish)
//   8. select: the only commit point                      (finish)
// Whatever fails before 8 leaves the device starting what it started before.
// Source: DESIGN.md 3; state rules: reference 1.5 (IDF esp_https_ota.c).

import { type Config, checkConfig, DIGEST_PREFIX, type EventName, type Settings } from "./config";
import { digitsOf } from "./digest";
import { createDownload, type Download } from "./download";
import { cancel, chipRevision, freeVars, isLost, read, SECTOR, startTimer } from "./hal";
import { type AppDesc, bytesOf, checkHead, DESC_END, HEAD_LENGTH, parseDesc, parseHeader, spiModeOf } from "./image";
import { type Manifest, DIGEST_PREFIX as MANIFEST_PREFIX } from "./manifest";
import { rememberAborted, rememberSelected, rememberWritten, wasRolledBack } from "./memory";
import { State } from "./otadata";
import type { Partition } from "./partitions";
import { createWriter, resumeOffset } from "./sectors";
import { checkConfirmed, deselect, select, stateOf } from "./select";
import { type Layout, nextSlot, readLayout, slotByLabel } from "./slot";
import { asFault, Code, fault, guarded, noteResult, type OtaError } from "./status";
import { getManifest } from "./trust";
import { resolveUrl } from "./url";
import { verifyImage } from "./verify";

const PIECE = 512; // bytes of a write at least: a server may send them one by one
const WATCH_MS = 1000;
const NEEDED_VARS = 1900; // the peak of a signed update: npm run bench

/** What `update` resolves with. */
export interface UpdateResult {
  /** true: the manifest's version is running already, and nothing was done */
  upToDate: boolean;
  /** the slot that starts after the next restart */
  partition?: Partition;
  /** bytes of the image file */
  size?: number;
}

/** An update under way. After `finish` or `abort` it is dead: only the getters still answer. */
export interface Handle {
  /**
   * One step: at most one sector. Resolves with `ERR.IN_PROGRESS`, or `ERR.OK` when the last byte is in flash. Callers
   * may wait as long as they like between two calls; the connection is closed meanwhile if need be, and made again.
   */
  perform(): Promise<number>;
  /** The image's app descriptor; throws ESP_ERR_NOT_FOUND for images without one, which can be installed all the same. */
  getImgDesc(): AppDesc;
  /** Has every byte of the file arrived? */
  isCompleteDataReceived(): boolean;
  /** Verifies the image in flash, then selects its slot; resolves with `ERR.OK`. Whatever happens, the handle is dead after it. */
  finish(): Promise<number>;
  /** Gives the update up. Nothing is undone: the target slot was not selected. */
  abort(): void;
  /** bytes in flash so far */
  getImageLenRead(): number;
  /** bytes of the file, -1 when the server does not say */
  getImageSize(): number;
  /** HTTP status of the last answer, -1 before the first */
  getStatusCode(): number;
  /** the slot being written */
  getPartition(): Partition;
}

const enum Phase {
  READY,
  WORKING,
  COMPLETE,
  FINISHING,
  /** a perform failed: only abort is left */
  FAILED,
  DEAD,
}

/** What a handle stands on. Its calls make no promises, which cost memory and can't be had without it. */
interface Session {
  phase_: Phase;
  /** bytes in flash so far */
  written_: number;
  readonly target_: Partition;
  readonly download_: Download;
  readonly emit_: Emit;
  /** bytes of the file, -1 when nobody has said */
  size_(): number;
  perform_(resolve: (outcome: number) => void, reject: (error: OtaError) => void): void;
  finish_(resolve: (outcome: number) => void, reject: (error: OtaError) => void): void;
  /** `error`: for whoever waits; not given when the caller wants the end. */
  abort_(error?: OtaError): void;
}

let busy = false;

function chooseTarget(layout: Layout, label: string | undefined): Partition {
  const target = label === undefined ? nextSlot(layout, layout.running_) : slotByLabel(layout, label);
  if (!target) throw fault(Code.NOT_FOUND, "no slot is called " + label);
  if (target.address === layout.running_.address)
    throw fault(Code.OTA_PARTITION_CONFLICT, "slot " + target.label + " is running");
  return target;
}

/** What is to be installed: an image's URL, and what is known of it. */
interface Plan {
  url_: string;
  /** bytes, -1 when nobody has said */
  size_: number;
  /** fs-verity, 64 hexadecimal digits; "" for insecure */
  digest_: string;
  /** 0 without a manifest */
  sequence_: number;
  /** "" without a manifest */
  version_: string;
}

type Emit = (name: EventName, data?: number, total?: number) => void;

function wrongState(session: Session, call: string): OtaError {
  const ended = session.phase_ >= Phase.FAILED;
  return fault(Code.INVALID_STATE, call + (ended ? " after the update ended" : " at the wrong time"));
}

/**
 * `present`: the target holds the whole image already. `release` gives back what `start` took.
 * @chapter @apart
 */
function createSession(
  plan: Plan,
  emit: Emit,
  layout: Layout,
  target: Partition,
  download: Download,
  present: boolean,
  release: () => void,
): Session {
  const writeSector = createWriter(layout, target);
  const self = {
    phase_: Phase.READY,
    written_: present ? plan.size_ : 0,
    target_: target,
    download_: download,
    emit_: emit,
  } as Session;
  let verified = present;
  let judged = false;
  let resumed = false;
  // of the perform that is under way
  let resolve: (outcome: number) => void;
  let reject: (error: OtaError) => void;
  let onBytes: (error: OtaError | null) => void;
  self.size_ = () => (plan.size_ < 0 ? download.total_ : plan.size_);

  function free(end: Phase): void {
    self.phase_ = end;
    download.close_();
    release();
  }

  function fail(error: OtaError): void {
    if (self.phase_ === Phase.WORKING) free(Phase.FAILED);
    noteResult(error);
    reject(error);
  }

  function succeed(outcome: number): void {
    self.phase_ = outcome === Code.OK ? Phase.COMPLETE : Phase.READY;
    resolve(outcome);
  }

  /** Tells the listener, who may abort. */
  function tell(name: EventName, data: number, total?: number): void {
    emit(name, data, total);
    if (self.phase_ === Phase.DEAD) throw fault(Code.INVALID_STATE, "aborted");
  }

  function judge(head: Uint8Array): void {
    const header = parseHeader(head);
    const size = self.size_();
    if (header) {
      tell("VERIFY_CHIP_ID", header.chipId_);
      tell("VERIFY_CHIP_REVISION", header.minRevision_);
    }
    checkHead(
      head,
      layout.chip_,
      chipRevision(layout.chip_),
      spiModeOf(read(layout.running_.address, DESC_END)),
      size < 0 ? target.size : size,
    );
    if (!verified) {
      rememberWritten(target.label);
      deselect(layout, target);
    }
    judged = true;
  }

  function onVerified(error: OtaError | null): void {
    if (self.phase_ !== Phase.WORKING) return;
    if (error && error.code !== Code.OTA_VALIDATE_FAILED) return fail(error);
    resumed = false;
    if (!error) {
      verified = true;
      return succeed(Code.OK);
    }
    // what the slot held was no part of this file after all: once more, from its beginning
    download.seek_(0);
    succeed(Code.IN_PROGRESS);
  }

  /** Judges the first bytes of the file; false while they have not come. */
  function ready(): boolean {
    const offset = download.offset_;
    if (!offset && !verified && download.held_.length < HEAD_LENGTH && !download.ended_) {
      download.want_(HEAD_LENGTH, onBytes);
      return false;
    }
    judge(verified || offset ? read(target.address, DESC_END) : bytesOf(download.held_.substr(0, DESC_END)));
    return true;
  }

  /** Without a length only a whole sector, or the end, tells whether there is another one to be erased ahead. */
  function wait(): void {
    download.want_(self.size_() < 0 ? SECTOR : PIECE, onBytes);
  }

  function finishStep(ended: boolean, wrote: boolean): void {
    if (wrote) tell("WRITE_FLASH", self.written_, self.size_());
    if (!ended) succeed(Code.IN_PROGRESS);
    else if (resumed) verifyImage(layout.chip_, target, self.written_, plan.digest_, onVerified);
    else succeed(Code.OK);
  }

  // most pieces of the network go this way: in the middle of a sector there is nothing to decide
  download.sink_ = (offset, data) => {
    const begun = offset % SECTOR;
    const length = data.length;
    const total = download.total_;
    if (
      !begun ||
      begun + length >= SECTOR ||
      length < PIECE ||
      offset + length >= total ||
      self.phase_ !== Phase.WORKING
    )
      return false;
    writeSector(offset, data, offset - begun + SECTOR < total);
    self.written_ = offset + length;
    return true;
  };

  onBytes = (error) => {
    try {
      if (error) throw error;
      if ((!judged || !download.offset_) && !ready()) return;
      let ended = verified;
      let data = "";
      if (!ended) {
        const offset = download.offset_;
        const start = offset % SECTOR;
        data = download.take_(SECTOR - start);
        ended = download.ended_ && !download.held_;
        if (data) {
          const total = plan.size_ < 0 ? download.total_ : plan.size_;
          writeSector(offset, data, total < 0 ? !ended : offset - start + SECTOR < total);
          self.written_ = offset + data.length;
        }
        if (!ended && self.written_ % SECTOR) return wait();
      }
      finishStep(ended, data !== "");
    } catch (thrown) {
      fail(asFault(thrown));
    }
  };

  self.perform_ = (done, failed) => {
    if (self.phase_ !== Phase.READY) return failed(wrongState(self, "perform"));
    self.phase_ = Phase.WORKING;
    resolve = done;
    reject = failed;
    if (verified) onBytes(null);
    else wait();
  };

  self.finish_ = (done, failed) => {
    const complete = self.phase_ === Phase.COMPLETE;
    if (!complete && self.phase_ !== Phase.READY) return failed(wrongState(self, "finish"));
    self.phase_ = Phase.FINISHING;
    reject = failed;
    function onJudged(error: OtaError | null): void {
      let failure = error;
      if (self.phase_ !== Phase.FINISHING) return;
      if (!failure)
        guarded(
          () => {
            rememberSelected(target.label, layout.running_.label, plan.sequence_, plan.digest_);
            select(layout, target, State.NEW);
            emit("UPDATE_BOOT_PARTITION", target.subtype);
          },
          (thrown) => {
            failure = thrown;
          },
        );
      free(Phase.DEAD);
      noteResult(failure);
      emit("FINISH");
      if (failure) failed(failure);
      else done(Code.OK);
    }
    const total = self.size_();
    if (complete && verified) onJudged(null);
    else if (complete && (plan.size_ < 0 || self.written_ === total))
      verifyImage(layout.chip_, target, self.written_, plan.digest_, onJudged);
    else onJudged(fault(Code.OTA_VALIDATE_FAILED, self.written_ + " bytes" + (total < 0 ? "" : " of " + total)));
  };

  self.abort_ = (error) => {
    if (self.phase_ === Phase.DEAD) return;
    emit("ABORT");
    const waiting = self.phase_ === Phase.WORKING || self.phase_ === Phase.FINISHING;
    free(Phase.DEAD);
    if (waiting) reject(error || fault(Code.INVALID_STATE, "aborted"));
  };

  if (!present && plan.digest_) {
    // what an earlier run left in the slot is only taken where a digest will judge it
    const offset = resumeOffset(target, download.held_.substr(0, HEAD_LENGTH), self.size_());
    if (offset > download.held_.length) {
      resumed = true;
      self.written_ = offset;
      download.seek_(offset);
    }
  }
  return self;
}

/** Does `target` hold the planned image already? Only a manifest says enough to ask before the download. */
function isPresent(plan: Plan, chipId: number, target: Partition, done: (present: boolean) => void): void {
  const head = read(target.address, DESC_END);
  const desc = parseDesc(head);
  // an image that calls itself another version need not be hashed
  if (!parseHeader(head) || (desc && desc.version !== plan.version_)) return done(false);
  verifyImage(chipId, target, plan.size_, plan.digest_, (error) => {
    done(!error);
  });
}

/** Called once an update can begin, with null when the manifest's image runs already; or with what a manifest offers. */
type Begun = (session: Session | null, offer?: Offer, setWatch?: (on: boolean) => void) => void;

/**
 * Steps 1 to 3. `offerOnly`: only as far as the manifest, and without touching the flash.
 * @chapter @apart
 */
function open(
  settings: Settings,
  emit: Emit,
  offerOnly: boolean,
  release: () => void,
  done: Begun,
  failed: (error: OtaError) => void,
): void {
  const layout = readLayout();
  const target = chooseTarget(layout, settings.partition);
  if (!offerOnly) {
    checkConfirmed(layout);
    if (stateOf(layout, target) === State.ABORTED) rememberAborted(target.label);
  }

  function fetchImage(plan: Plan, present: boolean): void {
    if (!settings.allowRolledBack && wasRolledBack(plan.sequence_, plan.digest_))
      throw fault(Code.NOT_ALLOWED, "this image was rolled back on this device before");
    const download = createDownload(settings, plan.url_, plan.size_ < 0 ? target.size : plan.size_, () => {
      emit("CONNECTED");
    });
    function onHead(error: OtaError | null): void {
      guarded(
        () => {
          const bytes = download.held_.length;
          if (error) throw error;
          if (!present && bytes < HEAD_LENGTH)
            throw fault(Code.INVALID_SIZE, "file of " + bytes + " bytes, an image has at least " + HEAD_LENGTH);
          done(/*@__NOINLINE__*/ createSession(plan, emit, layout, target, download, present, release));
        },
        (failure) => {
          download.close_();
          failed(failure);
        },
      );
    }
    if (present) onHead(null);
    else download.want_(HEAD_LENGTH, onHead);
  }

  function onManifest(error: OtaError | null, manifest?: Manifest, same?: boolean): void {
    guarded(() => {
      if (error || !manifest) throw error;
      if (offerOnly)
        return done(null, {
          available: !same,
          version: manifest.version,
          sequence: manifest.sequence,
          size: manifest.image.size,
          manifest: manifest,
        });
      if (same && !settings.allowSameVersion) return done(null);
      const plan = {
        url_: resolveUrl(settings.url, manifest.image.url),
        size_: manifest.image.size,
        digest_: digitsOf(manifest.image.fsverity, MANIFEST_PREFIX),
        sequence_: manifest.sequence,
        version_: manifest.version,
      };
      isPresent(plan, layout.chip_, target, (present) => {
        guarded(() => {
          fetchImage(plan, present);
        }, failed);
      });
    }, failed);
  }

  if (settings.keys) getManifest(settings, layout, target, onManifest);
  else
    fetchImage(
      {
        url_: settings.url,
        size_: -1,
        digest_: digitsOf(settings.digest || "", DIGEST_PREFIX),
        sequence_: 0,
        version_: "",
      },
      false,
    );
}

/** @chapter @apart */
function start(given: Config, offerOnly: boolean, done: Begun, reject: (error: OtaError) => void): void {
  let mine = false;
  let timer: number | undefined;
  let watcher: number | undefined;
  let session: Session | null = null;
  let settings: Settings = undefined as never;
  let watch: () => void;
  function setWatch(on: boolean): void {
    if (watcher !== undefined) cancel(watcher);
    watcher = on ? startTimer(WATCH_MS, watch) : undefined;
  }
  function release(): void {
    if (mine) busy = mine = false;
    if (timer !== undefined) cancel(timer);
    timer = undefined;
    setWatch(false);
  }
  function fail(error: OtaError): void {
    release();
    noteResult(error);
    reject(error);
  }
  function stop(error: OtaError): void {
    settings.late_ = error;
    if (settings.stop_) settings.stop_(error);
  }
  function lose(error: OtaError): void {
    if (session) session.abort_(error);
    else if (settings) stop(error);
    fail(error);
  }
  /**
   * Out of memory, the engine interrupts a callback in its middle: nothing catches that, and what was to follow never
   * comes. Such an update waits for nothing any more, and this notices it.
   */
  watch = () => {
    watcher = undefined;
    guarded(() => {
      setWatch(true);
    }, lose);
    if (isLost(WATCH_MS)) lose(fault(Code.NO_MEM, "out of memory: the update was interrupted", true));
  };
  guarded(() => {
    if (!busy) {
      isLost(0);
      setWatch(true);
    }
    settings = checkConfig(given);
    given = undefined as never;
    if (offerOnly && !settings.keys) throw fault(Code.INVALID_ARG, "checkForUpdate needs keys");
    if (busy) throw fault(Code.OTA_ALREADY_IN_PROGRESS, "an update is under way");
    const free = freeVars();
    if (free < NEEDED_VARS) throw fault(Code.NO_MEM, free + " JsVars are free, an update needs " + NEEDED_VARS, true);
    if (settings.deadline)
      timer = startTimer(settings.deadline, () => {
        timer = undefined;
        stop(fault(Code.TIMEOUT, "not done within " + settings.deadline + " ms", true));
      });
    busy = mine = true;
    function emit(name: EventName, data?: number, total?: number): void {
      try {
        if (settings.onEvent) settings.onEvent(name, data, total);
      } catch (thrown) {
        // it must not harm the update, nor be lost: thrown from the idle loop the engine prints it
        guarded(
          () => {
            startTimer(0, () => {
              throw thrown;
            });
          },
          () => {},
        );
      }
    }
    if (!offerOnly) emit("START");
    /*@__NOINLINE__*/ open(
      settings,
      emit,
      offerOnly,
      release,
      (begun, offer) => {
        session = begun;
        if (begun && !mine) return begun.abort_(); // it was given up meanwhile
        if (!begun) release();
        done(begun, offer, setWatch);
      },
      fail,
    );
  }, fail);
}

/** `setWatch`: between two steps the caller decides when it goes on, and nothing is watched. */
function createHandle(session: Session, setWatch: (on: boolean) => void): Handle {
  function watched(step: Session["perform_"]): Promise<number> {
    return new Promise<number>((resolve, reject) => {
      guarded(() => {
        if (session.phase_ < Phase.FAILED) setWatch(true);
        step((outcome) => {
          setWatch(false);
          resolve(outcome);
        }, reject);
      }, reject);
    });
  }
  setWatch(false);
  return {
    perform: () => watched(session.perform_),
    getImgDesc: () => {
      if (session.phase_ >= Phase.FAILED) throw wrongState(session, "getImgDesc");
      session.emit_("GET_IMG_DESC");
      const desc = parseDesc(
        session.written_
          ? read(session.target_.address, DESC_END)
          : bytesOf(session.download_.held_.substr(0, DESC_END)),
      );
      if (!desc) throw fault(Code.NOT_FOUND, "the image has no app descriptor");
      return desc;
    },
    isCompleteDataReceived: () => session.phase_ === Phase.COMPLETE || session.phase_ === Phase.FINISHING,
    finish: () => watched(session.finish_),
    abort: () => {
      if (session.phase_ === Phase.DEAD || session.phase_ === Phase.FINISHING) throw wrongState(session, "abort");
      session.abort_();
    },
    getImageLenRead: () => session.written_,
    getImageSize: session.size_,
    getStatusCode: () => session.download_.status_,
    getPartition: () => session.target_,
  };
}

/**
 * Checks the device, verifies the manifest if `keys` are given, connects, and waits for the image's first 1024 bytes;
 * nothing is written yet. Rejects with ESP_ERR_INVALID_VERSION when the manifest's image runs already.
 * One update at a time: until `finish` or `abort` another one is ESP_ERR_OTA_ALREADY_IN_PROGRESS. `esp_https_ota_begin`
 */
export function begin(config: Config): Promise<Handle> {
  return new Promise<Handle>((resolve, reject) => {
    start(
      config,
      false,
      (session, _, setWatch) => {
        if (session) resolve(createHandle(session, setWatch as (on: boolean) => void));
        else reject(fault(Code.INVALID_VERSION, "the manifest's version is running already"));
      },
      reject,
    );
    config = undefined as never; // its keys are let go when the signature is verified
  });
}

/** The whole update: begin, perform until done, finish. It never restarts: call `restart()` when it suits. `esp_https_ota` */
export function update(config: Config): Promise<UpdateResult> {
  return new Promise<UpdateResult>((resolve, reject) => {
    let session: Session;
    function onFinish(): void {
      resolve({ upToDate: false, partition: session.target_, size: session.written_ });
    }
    function onFailure(error: OtaError): void {
      session.abort_();
      reject(error);
    }
    function onPerform(outcome: number): void {
      if (outcome === Code.IN_PROGRESS) session.perform_(onPerform, onFailure);
      else session.finish_(onFinish, reject);
    }
    start(
      config,
      false,
      (begun) => {
        if (!begun) return resolve({ upToDate: true });
        session = begun;
        onPerform(Code.IN_PROGRESS);
      },
      reject,
    );
    config = undefined as never; // its keys are let go when the signature is verified
  });
}

/** What a manifest offers. */
export interface Offer {
  /** is it another version than the one that runs? */
  available: boolean;
  version: string;
  sequence: number;
  /** bytes of the image */
  size: number;
  manifest: Manifest;
}

/** Fetches and verifies the manifest, and compares it with this device, without touching the flash. Needs `keys`. */
export function checkForUpdate(config: Config): Promise<Offer> {
  return new Promise<Offer>((resolve, reject) => {
    start(
      config,
      true,
      (_, offer) => {
        resolve(offer as Offer);
      },
      reject,
    );
  });
}
