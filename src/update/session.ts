// An update from its first byte in flash to its end: the end of step 4, and steps 5 to 9 of update.ts. It uses callbacks
// and no promises: promises cost JsVars, and cannot be created when none are left.
// States: docs/design.md#states-of-an-update (IDF esp_https_ota.c).

import { after } from "../platform/timers";
import { completeImage } from "../platform/first-word";
import { checkNotRolledBack, recordSelected, reserveRecords } from "../boot/boot-record";
import { bytesOf } from "../platform/bytes";
import { chipRevision } from "../platform/chip";
import type { EventName } from "../config";
import type { Download } from "../net/download";
import { Flash, read, write } from "../platform/flash";
import { checkHead, Size } from "../image/image";
import { State } from "../boot/otadata";
import type { Partition } from "../boot/partitions";
import { resumeOffset } from "./resume";
import { createWriter, type Writer } from "./slot-writer";
import { deselect, select } from "../boot/boot-selection";
import type { Layout } from "../boot/layout";
import { Code, fault, guarded, type OtaError } from "../errors";
import { checkStorage, findStorage } from "../boot/storage";
import type { StorageClaim } from "../boot/storage-claim";
import { hashFlash, verifyImage } from "../image/verify";

const PIECE = 512; // bytes of a write at least: a server may send them one by one

export const enum Phase {
  READY,
  /** a perform takes what comes */
  WORKING,
  /** a perform has all bytes of a resumed file, and asks whether they belong together */
  VERIFYING,
  COMPLETE,
  FINISHING,
  /** a perform failed: only abort is left */
  FAILED,
  /** given up, or finish() failed */
  DEAD,
  /** its slot is selected: only the getters are left */
  FINISHED,
}

/** What is to be installed: an image's URL, and what is known of it. */
export interface Plan {
  url_: string;
  /** bytes, -1 when nobody has said */
  size_: number;
  /** fs-verity, 64 hexadecimal digits; "" for insecure */
  digest_: string;
  /** 0 without a manifest */
  sequence_: number;
  /** "" without a manifest */
  version_: string;
  project_: string;
  /** must it still be asked whether the image can read Storage? */
  askStorage_: boolean;
  allowRolledBack_?: boolean;
}

export type Emit = (name: EventName, data?: number, total?: number) => void;

/** What a handle stands on. */
export interface Session {
  phase_: Phase;
  /** bytes in flash so far */
  written_: number;
  readonly target_: Partition;
  readonly download_: Download;
  readonly emit_: Emit;
  /** bytes of the file, -1 when nobody has said */
  size_: number;
  /** is every byte of the file in flash? */
  complete_: boolean;
  /** what ended it while nobody waited */
  unheard_?: OtaError;
  /** In phase READY. */
  perform_(resolve: (outcome: number) => void, reject: (error: OtaError) => void): void;
  /** In phase READY, which is too early, or COMPLETE. */
  finish_(resolve: (outcome: number) => void, reject: (error: OtaError) => void): void;
  /** To be called at the end, with what it ended with: gives back what an update takes. Set by who began it (update.ts). */
  release_(error: OtaError | null): void;
  /** `error`: for whoever waits; not given when the caller wants the end. */
  abort_(error?: OtaError): void;
}

/** `present`: the target holds the whole image already. */
export function createSession(
  plan: Plan,
  emit: Emit,
  layout: Layout,
  target: Partition,
  download: Download,
  present: boolean,
): Session {
  const self = {
    phase_: Phase.READY,
    written_: present ? plan.size_ : 0,
    complete_: false,
    target_: target,
    download_: download,
    emit_: emit,
    size_: plan.size_ < 0 ? download.total_ : plan.size_,
  } as Session;
  let verified = present;
  let word = ""; // the file's first bytes, which the writer leaves blank until it is verified
  let judged = false;
  let resumed = false;
  let writeSector: Writer | undefined; // made when it is wanted: memory is shortest before that
  let blankUntil = 0; // flash is erased up to this offset of the file
  let resolve: (outcome: number) => void;
  let reject: (error: OtaError) => void;
  let takeSlowly: (data: string, ended: boolean) => number;

  function free(end: Phase): void {
    self.phase_ = end;
    download.close_();
  }

  function fail(error: OtaError): void {
    if (self.phase_ < Phase.COMPLETE) free(Phase.FAILED);
    reject(error);
    self.release_(error);
  }

  /** The end of a perform; `complete` when there is nothing left to do for another one. */
  function succeed(complete: boolean): void {
    self.phase_ = complete ? Phase.COMPLETE : Phase.READY;
    if (complete) {
      self.complete_ = true;
      download.close_();
      writeSector = takeSlowly = undefined as never; // memory is shortest while the digest is computed
    }
    resolve(complete ? Code.OK : Code.IN_PROGRESS);
  }

  /** Tells the listener, who may abort. */
  function tell(name: EventName, data: number, all?: number): void {
    emit(name, data, all);
    if (self.phase_ >= Phase.DEAD) throw fault(Code.INVALID_STATE, "aborted");
  }

  /** `start`: as many bytes of the file as hold its descriptor; without it they are in flash. */
  function judge(start?: string): void {
    let head: Uint8Array;
    if (start === undefined) {
      head = read(target.address, Size.DESC_END);
      head.set(word);
    } else head = bytesOf(start);
    checkHead(
      head,
      layout.chip_,
      chipRevision(layout.chip_),
      read(layout.running_.address, Size.DESC_END),
      self.size_ < 0 ? target.size : self.size_,
      tell,
    );
  }

  function onVerified(error: OtaError | null): void {
    if (self.phase_ !== Phase.VERIFYING) return;
    if (error && error.code !== Code.OTA_VALIDATE_FAILED) return fail(error);
    resumed = false;
    verified = !error;
    // digest mismatch: the resumed part belonged to another file, so the download begins again at byte 0
    if (error) download.seek_(0);
    succeed(verified);
  }

  /** The end of a sector, or of the file. */
  function finishStep(last: boolean, wrote: boolean): void {
    if (wrote) tell("WRITE_FLASH", self.written_, self.size_);
    if (!last || !resumed) return succeed(last);
    self.phase_ = Phase.VERIFYING;
    // not before `takeSlowly` has returned: a file that does not fit is read again from its beginning
    after(0, () => {
      if (self.phase_ === Phase.VERIFYING)
        verifyImage(layout.chip_, target.address, self.written_, plan.digest_, word, onVerified);
    });
  }

  // most pieces of the network go this way: in the middle of a blank sector there is nothing to decide
  function take(data: string, ended: boolean): number {
    const offset = self.written_;
    const length = data.length;
    // the download is elsewhere when the server ignored Range and began again at byte 0
    if (offset + length >= blankUntil || ended || length < PIECE || offset !== download.offset_)
      return takeSlowly(data, ended);
    write(target.address + offset, data);
    self.written_ = offset + length;
    return length;
  }

  takeSlowly = (data, ended) => {
    let at = 0;
    const start = download.offset_;
    // a file that changes may have another length
    const total = plan.size_ < 0 ? download.total_ : plan.size_;
    self.size_ = total;
    // at its beginning once more: the file has changed, or a server without ranges began again
    if (!judged || !start) {
      if (!start && !ended && data.length < (total < 0 ? Flash.SECTOR : Size.HEAD)) return 0;
      if (!start) word = data.substr(0, Size.WORD);
      // Step 4, its end: the header is checked before anything is erased
      judge(start ? undefined : data.substr(0, Size.DESC_END));
      // Step 5: no half-written slot is ever selected, and no trial begins without its record
      reserveRecords();
      deselect(layout, target);
      judged = true;
    }
    if (!writeSector)
      writeSector = /*@__NOINLINE__*/ createWriter(layout, target, plan.size_ < 0 ? target.size : plan.size_);
    // a listener may end the update, and who waits for this step may begin the next one at once
    while (self.phase_ === Phase.WORKING) {
      const offset = start + at;
      const begun = offset % Flash.SECTOR;
      const rest = data.length - at;
      const room = Flash.SECTOR - begun;
      // without a length only a whole sector, or the end, tells whether there is another one to be erased ahead
      if (rest < room && !ended && (total < 0 || rest < (begun ? PIECE : 1))) break;
      // no Math.min, which makes floats, and Flash.erasePage takes none for an address
      let length = room;
      if (rest < room) length = rest;
      // the writer copies what begins a file, and memory is shortest here
      if (offset < Size.HEAD && length > Size.HEAD / 4) length = Size.HEAD / 4;
      const more = total < 0 ? !ended || rest > room : offset - begun + Flash.SECTOR < total;
      blankUntil = 0;
      // Step 6
      if (length && writeSector(offset, length === data.length ? data : data.substr(at, length), more))
        blankUntil = offset + room;
      at += length;
      self.written_ = offset + length;
      const last = ended && length === rest;
      if (last || length === room) finishStep(last, length > 0 || begun > 0);
    }
    if (self.phase_ !== Phase.WORKING) download.sink_ = null;
    else download.sink_ = total < 0 ? takeSlowly : take;
    return at;
  };
  download.failed_ = fail;

  self.perform_ = (done, failed) => {
    resolve = done;
    reject = failed;
    self.phase_ = Phase.WORKING;
    if (verified)
      guarded(() => {
        judge();
        succeed(true);
      }, fail);
    else if (!download.sink_) {
      // with a sink installed the delivery of the previous step continues into this one
      download.sink_ = takeSlowly;
      download.read_();
    }
  };

  self.finish_ = (done, failed) => {
    const complete = self.phase_ === Phase.COMPLETE;
    reject = failed;
    self.phase_ = Phase.FINISHING;
    function onStorage(error: OtaError | null, claim?: StorageClaim | null): void {
      let failure = error;
      if (self.phase_ !== Phase.FINISHING) return;
      if (!failure)
        guarded(
          () => {
            if (!plan.allowRolledBack_) checkNotRolledBack(plan.digest_);
            if (claim) checkStorage(claim);
            // Step 8: now there is an image, and the record that counts its starts
            if (word) completeImage(target.address, word);
            recordSelected(target, layout.running_, self.written_, plan);
            // Step 9: the commit point
            select(layout, target, State.NEW);
            emit("UPDATE_BOOT_PARTITION", target.subtype);
          },
          (thrown) => {
            failure = thrown;
          },
        );
      free(failure ? Phase.DEAD : Phase.FINISHED);
      emit("FINISH");
      if (failure) failed(failure);
      else done(Code.OK);
      self.release_(failure);
    }
    /** What is still to be asked of a verified image: its digest where nobody has given one, then how it reads Storage. */
    function onJudged(error: OtaError | null, found?: string | StorageClaim | null): void {
      // a mixture of two files: the next try may get one of them
      if (error && error.code === Code.OTA_VALIDATE_FAILED) error.retry = !!download.changed_;
      if (error || self.phase_ !== Phase.FINISHING) return onStorage(error);
      guarded(() => {
        if (typeof found === "string") {
          plan.digest_ = found;
          found = null;
        }
        if (!plan.digest_) return hashFlash(target.address, self.written_, word, "", onJudged);
        if (plan.askStorage_) {
          plan.askStorage_ = false;
          return findStorage(target.address, onJudged);
        }
        // in a later pass: until this one ends, what has read the image holds its memory
        after(0, () => onStorage(null, found as StorageClaim | null));
      }, onStorage);
    }
    // Step 7: what is in flash is judged, not what came over the network
    const bytes = self.size_;
    if (!complete || (plan.size_ >= 0 && self.written_ !== bytes))
      onJudged(
        fault(
          Code.OTA_VALIDATE_FAILED,
          "image incomplete: " + self.written_ + (bytes < 0 ? "" : " of " + bytes) + " bytes",
        ),
      );
    else if (verified) onJudged(null);
    else verifyImage(layout.chip_, target.address, self.written_, plan.digest_, word, onJudged);
  };

  self.abort_ = (error) => {
    const phase = self.phase_;
    if (phase >= Phase.DEAD) return;
    const reason = error || fault(Code.INVALID_STATE, "aborted");
    free(Phase.DEAD);
    emit("ABORT");
    if (phase === Phase.WORKING || phase === Phase.VERIFYING || phase === Phase.FINISHING) reject(reason);
    else self.unheard_ = error;
    self.release_(reason);
  };

  if (!present && plan.digest_) {
    // what an earlier run left in the slot is only taken where a digest will judge it
    const offset = resumeOffset(target, download.held_, self.size_);
    if (offset > download.held_.length) {
      resumed = true;
      word = download.held_.substr(0, Size.WORD);
      self.written_ = offset;
      download.seek_(offset);
    }
  }
  return self;
}
