// One update as data, from its first byte in flash to its end, and what ends it. The end of step 4 and steps 5 and 6 of
// update.ts are in receiver.ts, steps 7 to 9 in finish.ts. Callbacks and no promises: promises cost JsVars, and cannot be
// created when none are left.
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
import { Code, fault, type OtaError } from "../errors";
import { Size } from "../image/image";
import { closeDownload, type Download, seek, type Sink } from "../net/download";
import { resumeOffset } from "./resume";

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
  readonly plan_: Plan;
  readonly emit_: Emit;
  readonly layout_: Layout;
  readonly target_: Partition;
  readonly download_: Download;
  /** bytes of the file, -1 when nobody has said */
  size_: number;
  /** bytes in flash so far */
  written_: number;
  /** the first bytes of the file, which stay blank in flash until the rest is verified */
  word_: string;
  /** is the image in flash known to be the one that is wanted? */
  verified_: boolean;
  /** did it begin with what an earlier update left in the slot? */
  resumed_: boolean;
  /** is every byte of the file in flash? */
  complete_: boolean;
  /** does each perform end with a sector, and not with the file? */
  stepwise_: boolean;
  /** made when it is wanted: memory is shortest before that */
  receive_?: Sink;
  /** what ended it while nobody waited */
  unheard_?: OtaError;
  resolve_(outcome: number): void;
  reject_(error: OtaError): void;
  /** To be called at the end, with what it ended with: gives back what an update takes. Set by who began it (update.ts). */
  release_(error: OtaError | null): void;
}

/** `present`: the target holds the whole image already. */
export function openSession(
  plan: Plan,
  emit: Emit,
  layout: Layout,
  target: Partition,
  download: Download,
  present: boolean,
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
  } as Session;
  if (!present && plan.digest_) {
    // what an earlier update left in the slot is only taken where a digest will judge it
    const offset = resumeOffset(target, download.buffered_, session.size_);
    if (offset > download.buffered_.length) {
      session.resumed_ = true;
      session.word_ = download.buffered_.substr(0, Size.WORD);
      session.written_ = offset;
      seek(download, offset);
    }
  }
  return session;
}

/** The end of an update in the phase `end`. */
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

/** The end of a perform; `complete` when there is nothing left to do for another one. */
export function succeed(session: Session, complete: boolean): void {
  // what receives is let go: memory is shortest while the digest is computed
  if (complete) closeSession(session, Phase.COMPLETE);
  else session.phase_ = Phase.READY;
  session.complete_ = complete;
  session.resolve_(complete ? Code.OK : Code.IN_PROGRESS);
}

/** `error`: for whoever waits; not given when the caller wants the end. */
export function abortSession(session: Session, error?: OtaError): void {
  const phase = session.phase_;
  if (phase >= Phase.DEAD) return;
  const reason = error || fault(Code.INVALID_STATE, "aborted");
  closeSession(session, Phase.DEAD);
  session.emit_("ABORT");
  if (phase === Phase.WORKING || phase === Phase.VERIFYING || phase === Phase.FINISHING) session.reject_(reason);
  else session.unheard_ = error;
  session.release_(reason);
}
