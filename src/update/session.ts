// The state of one update, from its first byte in flash to its end. The end of step 4 and steps 5 and 6 of
// update.ts are in receiver.ts, steps 7 to 9 in finish.ts. It uses callbacks and not promises: a promise costs JsVars, and
// cannot be created when none are left.
//
//   from                 to           when
//   READY                WORKING      perform
//   WORKING              READY        a sector is in flash (step by step only)
//   WORKING              COMPLETE     the last byte is in flash
//   WORKING              VERIFYING    the last byte of a resumed file is in flash
//   VERIFYING            COMPLETE     its digest is right
//   VERIFYING            READY        its digest is wrong: the download starts again at byte 0
//   WORKING, VERIFYING   FAILED       an error; then only abort is allowed
//   READY, COMPLETE      FINISHING    finish; from READY it fails, unless the last byte is in flash
//   FINISHING            FINISHED     the slot is selected
//   FINISHING            DEAD         an error
//   any before DEAD      DEAD         abort
//
// Source: docs/design.md#states-of-an-update (IDF esp_https_ota.c).

import type { Layout } from "../boot/layout";
import type { Partition } from "../boot/partitions";
import type { EventName } from "../config";
import { Code, otaError, type OtaError } from "../errors";
import { Size } from "../image/image";
import { closeDownload, type Download, seek, type Consumer } from "../net/download";
import type { FsVerityHasher } from "../image/fsverity";
import { resumeOffset } from "./resume";

export const enum Phase {
  READY,
  /** perform() is receiving */
  WORKING,
  /** perform() has all bytes of a resumed file, and verifies its digest */
  VERIFYING,
  COMPLETE,
  FINISHING,
  /** perform() failed: only abort() is allowed */
  FAILED,
  /** aborted, or finish() failed */
  DEAD,
  /** the slot is selected: only the getters answer */
  FINISHED,
}

/** What this update installs: the URL of an image, and what is known about it. */
export interface Plan {
  url_: string;
  /** bytes, -1 while unknown */
  size_: number;
  /** fs-verity digest, 64 hexadecimal digits; "" with `insecure` */
  digest_: string;
  /** 0 without a manifest */
  sequence_: number;
  /** "" without a manifest */
  version_: string;
  project_: string;
  /** must finish() check whether the image can read Storage? */
  askStorage_: boolean;
  allowRolledBack_?: boolean;
  /** name in Storage of the set of files that comes with it; "" for none */
  set_: string;
  /** name of the release in the list of what counts as bad (Bad); "" without files */
  bad_: string;
}

export type Emit = (name: EventName, data?: number, total?: number) => void;

/** The state that a handle works on. */
export interface Session {
  phase_: Phase;
  readonly plan_: Plan;
  readonly emit_: Emit;
  readonly layout_: Layout;
  readonly target_: Partition;
  readonly download_: Download;
  /** bytes of the file, -1 while unknown */
  size_: number;
  /** bytes in flash so far */
  written_: number;
  /** the first bytes of the file, which stay blank in flash until the rest is verified */
  word_: string;
  /** is the image in flash verified against its digest? */
  verified_: boolean;
  /** did it begin with what an earlier update left in the slot? */
  resumed_: boolean;
  /** is every byte of the file in flash? */
  complete_: boolean;
  /** does each perform() end with a sector, and not with the file? */
  stepwise_: boolean;
  /** do the bytes come by handle.write()? */
  readonly push_: boolean;
  /** offset of the next byte of handle.write(), if the caller does not give one */
  pushed_: number;
  /** created by the first perform(), because memory is shortest before it */
  receive_?: Consumer;
  /** has hashed the blocks that are in flash, if they came without a gap from the first one on */
  hasher_?: FsVerityHasher;
  /** the error that ended the update while no promise was pending: the next call rejects with it */
  unheard_?: OtaError;
  resolve_(outcome: number): void;
  reject_(error: OtaError): void;
  /** Releases the lock. To be called at the end, with the error or null. update.ts sets it. */
  release_(error: OtaError | null): void;
}

/**
 * Continues an earlier update, if the slot begins with the same bytes as `head`, the first bytes of the file. Only if the
 * file has a digest, because the digest verifies the earlier bytes at the end. False: the update starts at byte 0.
 */
export function resumeSession(session: Session, head: string): boolean {
  const offset = session.plan_.digest_ ? resumeOffset(session.target_, head, session.size_) : 0;
  if (offset <= head.length) return false;
  session.resumed_ = true;
  session.word_ = head.substr(0, Size.WORD);
  session.written_ = offset;
  seek(session.download_, offset);
  return true;
}

/** Creates the session. `present`: the target slot holds the whole image already. */
export function openSession(
  plan: Plan,
  emit: Emit,
  layout: Layout,
  target: Partition,
  download: Download,
  present: boolean,
  push: boolean,
): Session {
  const session = {
    phase_: Phase.READY,
    plan_: plan,
    emit_: emit,
    layout_: layout,
    target_: target,
    download_: download,
    size_: plan.size_ < 0 ? download.total_ : plan.size_,
    written_: present ? plan.size_ : 0,
    word_: "",
    verified_: present,
    resumed_: false,
    complete_: false,
    stepwise_: false,
    push_: push,
    pushed_: 0,
  } as Session;
  if (!present && !push) resumeSession(session, download.inbox_.buffered_);
  return session;
}

/** Ends the download; the session gets the phase `end`. */
export function closeSession(session: Session, end: Phase): void {
  session.phase_ = end;
  session.receive_ = undefined;
  closeDownload(session.download_);
}

/** Ends a perform() or a finish() with `error`. */
export function failSession(session: Session, error: OtaError): void {
  if (session.phase_ < Phase.COMPLETE) closeSession(session, Phase.FAILED);
  session.reject_(error);
  session.release_(error);
}

/** Ends a perform() with success. `complete`: the last byte is in flash. */
export function succeed(session: Session, complete: boolean): void {
  // the receiver is freed: memory is shortest while the digest is computed
  if (complete) closeSession(session, Phase.COMPLETE);
  else session.phase_ = Phase.READY;
  session.complete_ = complete;
  session.resolve_(complete ? Code.OK : Code.IN_PROGRESS);
}

/** Ends the update. A pending promise rejects with `error`, which is not given if the user has aborted. */
export function abortSession(session: Session, error?: OtaError): void {
  const phase = session.phase_;
  if (phase >= Phase.DEAD) return;
  const reason = error || otaError(Code.INVALID_STATE, "update aborted");
  closeSession(session, Phase.DEAD);
  session.emit_("ABORT");
  if (phase === Phase.WORKING || phase === Phase.VERIFYING || phase === Phase.FINISHING) session.reject_(reason);
  else session.unheard_ = error;
  session.release_(reason);
}
