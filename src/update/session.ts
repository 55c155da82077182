// One update as data, from its first byte in flash to its end. The end of step 4 and steps 5 and 6 of
// update.ts are in receiver.ts, steps 7 to 9 in finish.ts. Callbacks instead of promises: a promise costs JsVars, and
// cannot be created when none are left.
//
//   from                 to           when
//   READY                WORKING      perform
//   WORKING              READY        a sector is in flash (step by step only)
//   WORKING              COMPLETE     the last byte is in flash
//   WORKING              VERIFYING    the last byte of a resumed file is in flash
//   VERIFYING            COMPLETE     its digest is right
//   VERIFYING            READY        its digest is wrong: the download begins again at byte 0
//   WORKING, VERIFYING   FAILED       an error; only abort is left
//   READY, COMPLETE      FINISHING    finish; too early from READY
//   FINISHING            FINISHED     the slot is selected
//   FINISHING            DEAD         an error
//   all before DEAD      DEAD         abort
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
  /** perform() has all bytes of a resumed file, and verifies that they belong together */
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

/** What is installed: the URL of an image, and what is known about it. */
export interface Plan {
  url_: string;
  /** bytes, -1 while unknown */
  size_: number;
  /** fs-verity, 64 hexadecimal digits; "" for insecure */
  digest_: string;
  /** 0 without a manifest */
  sequence_: number;
  /** "" without a manifest */
  version_: string;
  project_: string;
  /** must still be checked whether the image can read Storage? */
  askStorage_: boolean;
  allowRolledBack_?: boolean;
  /** name in Storage of the set of files that goes with it; "" for none */
  set_: string;
  /** what it is called when it was rolled back; "" for nothing yet */
  bad_: string;
}

export type Emit = (name: EventName, data?: number, total?: number) => void;

/** What a handle stands on. */
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
  /** does each perform end with a sector, and not with the file? */
  stepwise_: boolean;
  /** does handle.write() bring the bytes? And offset of the byte that it brings next, unless it says another one */
  readonly push_: boolean;
  pushed_: number;
  /** created by the first perform(): memory is shortest before it */
  receive_?: Consumer;
  /** has hashed the blocks that are in flash, from the first on, if they came in one run */
  hasher_?: FsVerityHasher;
  /** the error that ended it while no call was waiting */
  unheard_?: OtaError;
  resolve_(outcome: number): void;
  reject_(error: OtaError): void;
  /** To be called at the end with the error, or null: releases the lock. Set by update.ts. */
  release_(error: OtaError | null): void;
}

/**
 * Goes on with what an earlier update has left in the slot, when that begins like `head`, the first bytes of the file.
 * Only where a digest verifies it at the end. False: the update begins at byte 0.
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

/** `present`: the target holds the whole image already. */
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

/** Ends an update in the phase `end`. */
export function closeSession(session: Session, end: Phase): void {
  session.phase_ = end;
  session.receive_ = undefined;
  closeDownload(session.download_);
}

/** A perform, or a finish, ended with `error`. */
export function failSession(session: Session, error: OtaError): void {
  if (session.phase_ < Phase.COMPLETE) closeSession(session, Phase.FAILED);
  session.reject_(error);
  session.release_(error);
}

/** A perform() ends well; `complete`: the last byte is in flash. */
export function succeed(session: Session, complete: boolean): void {
  // the receiver is freed: memory is shortest while the digest is computed
  if (complete) closeSession(session, Phase.COMPLETE);
  else session.phase_ = Phase.READY;
  session.complete_ = complete;
  session.resolve_(complete ? Code.OK : Code.IN_PROGRESS);
}

/** `error`: what a waiting call rejects with; not given when the user aborts. */
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
