// What begin() resolves with: the user calls the steps of one update. Their order, and what each phase allows:
// session.ts.

import { bytesOf } from "../platform/bytes";
import { read } from "../platform/flash";
import { type AppDesc, parseDesc, Size } from "../image/image";
import type { Partition } from "../boot/partitions";
import { finish } from "./finish";
import { abortSession, Phase, type Session } from "./session";
import { perform } from "./receiver";
import { Code, otaError, tryOr, type OtaError } from "../errors";
import type { Lock } from "../boot/lock";

/** A running update. After `finish` or `abort` it has ended: only the getters still answer. */
export interface Handle {
  /**
   * One step: at most one sector. Resolves with `ERR.IN_PROGRESS`, or `ERR.OK` when the last byte is in flash. Callers
   * may wait between two calls, until the deadline; a connection that waits too long is closed, and made again.
   */
  perform(): Promise<number>;
  /** The image's app descriptor; throws ESP_ERR_NOT_FOUND for an image without one, which can still be installed. */
  getImgDesc(): AppDesc;
  /** Has every byte of the file arrived? After `finish` it answers as before it. */
  isCompleteDataReceived(): boolean;
  /**
   * Verifies the image in flash, then selects its slot; resolves with `ERR.OK`. The handle ends, also when it rejects.
   */
  finish(): Promise<number>;
  /** Aborts the update. The target slot is not selected; what was written stays in flash. */
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

type Step = (session: Session, resolve: (outcome: number) => void, reject: (error: OtaError) => void) => void;

export function createHandle(session: Session, lock: Lock): Handle {
  function wrongState(call: string): OtaError {
    const unheard = session.unheard_;
    session.unheard_ = undefined;
    const ended = session.phase_ >= Phase.FAILED;
    return (
      unheard ||
      otaError(Code.INVALID_STATE, call + (ended ? "() called after the update ended" : "() called too early"))
    );
  }
  /** Runs `step`, which may be called in phase READY and in `phase`. */
  function start(call: string, phase: Phase, step: Step): Promise<number> {
    return new Promise<number>((resolve, reject) => {
      tryOr(() => {
        if (session.phase_ !== Phase.READY && session.phase_ !== phase) throw wrongState(call);
        lock.armWatchdog_();
        step(
          session,
          (outcome) => {
            resolve(outcome);
            lock.watchdogPaused_ = true;
          },
          reject,
        );
      }, reject);
    });
  }
  return {
    perform: () => start("perform", Phase.READY, (one, resolve, reject) => perform(one, resolve, reject)),
    getImgDesc: () => {
      if (session.phase_ === Phase.FAILED || session.phase_ === Phase.DEAD) throw wrongState("getImgDesc");
      session.emit_("GET_IMG_DESC");
      const desc = parseDesc(
        session.written_
          ? read(session.target_.address, Size.DESC_END)
          : bytesOf(session.download_.inbox_.buffered_.substr(0, Size.DESC_END)),
      );
      if (!desc) throw otaError(Code.NOT_FOUND, "the image has no app descriptor");
      return desc;
    },
    isCompleteDataReceived: () => session.complete_,
    finish: () => start("finish", Phase.COMPLETE, (one, resolve, reject) => finish(one, resolve, reject)),
    abort: () => {
      if (session.phase_ >= Phase.DEAD || session.phase_ === Phase.FINISHING) throw wrongState("abort");
      abortSession(session);
    },
    getImageLenRead: () => session.written_,
    getImageSize: () => session.size_,
    getStatusCode: () => session.download_.status_,
    getPartition: () => session.target_,
  };
}
