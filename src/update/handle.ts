// What begin() resolves with: the user calls the steps of one update. Their order, and what each phase allows:
// session.ts.

import { bytesOf } from "../platform/bytes";
import { binary, read } from "../platform/flash";
import { type AppDesc, parseDesc, Size } from "../image/image";
import type { Partition } from "../boot/partitions";
import { finish } from "./finish";
import { abortSession, Phase, type Session } from "./session";
import { endPush, perform, push } from "./receiver";
import { Code, otaError, tryOr, type OtaError } from "../errors";
import type { Lock } from "../boot/lock";

/** A running update. After `finish` or `abort` it has ended: only the getters still answer. */
export interface Handle {
  /**
   * One step: at most one sector. Resolves with `ERR.IN_PROGRESS`, or `ERR.OK` when the last byte is in flash. Callers
   * may wait between two calls, until the deadline; a connection that waits too long is closed, and made again.
   */
  perform(): Promise<number>;
  /**
   * With `push`: takes bytes of the image, a binary string or a Uint8Array, and writes them. `offset`: where they are in
   * the file; without it they follow those of the last call. Resolves when more may come, with the offset of the byte
   * that is wanted next, or the file's size when all are there. It may be far ahead, when an earlier update has left a
   * part in the slot, or 0 when that part was of another file. Bytes that are there already are passed over; bytes
   * further on are ESP_ERR_INVALID_ARG. `esp_ota_write`, `esp_ota_write_with_offset`
   */
  write(data: string | Uint8Array, offset?: number): Promise<number>;
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

type Step = (resolve: (outcome: number) => void, reject: (error: OtaError) => void) => void;

/** For `call` in a phase that does not allow it: the error that no call has been told yet, if there is one. */
function wrongState(session: Session, call: string): OtaError {
  const unheard = session.unheard_;
  session.unheard_ = undefined;
  const ended = session.phase_ >= Phase.FAILED;
  return (
    unheard ||
    otaError(
      Code.INVALID_STATE,
      call +
        "() called " +
        (ended
          ? "after the update ended"
          : session.phase_ === Phase.COMPLETE
            ? "after the last byte"
            : "before the previous call ended"),
    )
  );
}

/** More than 30 lines: a table of methods, which share the session and the lock. */
export function createHandle(session: Session, lock: Lock): Handle {
  /** Runs `step`, which may be called in phase READY and in `phase`. */
  function start(call: string, phase: Phase, step: Step): Promise<number> {
    return new Promise<number>((resolve, reject) => {
      tryOr(() => {
        if (session.phase_ !== Phase.READY && session.phase_ !== phase) throw wrongState(session, call);
        lock.armWatchdog_();
        step((outcome) => {
          resolve(outcome);
          lock.watchdogPaused_ = true;
        }, reject);
      }, reject);
    });
  }
  /** perform() and write() are for two ways that the bytes come. */
  function checkPush(push: boolean, remedy: string): void {
    if (session.push_ !== push) throw otaError(Code.INVALID_STATE, remedy);
  }
  return {
    perform: () =>
      start("perform", Phase.READY, (resolve, reject) => {
        checkPush(false, "with push the bytes come by write()");
        perform(session, resolve, reject);
      }),
    write: (data, offset) =>
      start("write", Phase.READY, (resolve, reject) => {
        checkPush(true, "write() needs begin() with push");
        push(session, binary(data), offset === undefined ? session.pushed_ : offset, resolve, reject);
      }),
    getImgDesc: () => {
      if (session.phase_ === Phase.FAILED || session.phase_ === Phase.DEAD) throw wrongState(session, "getImgDesc");
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
    finish: () =>
      start("finish", Phase.COMPLETE, (resolve, reject) => {
        // while the size is unknown, this call is the end of the file, as esp_ota_end() is
        if (session.push_ && session.receive_ && session.size_ < 0)
          endPush(session, () => finish(session, resolve, reject), reject);
        else finish(session, resolve, reject);
      }),
    abort: () => {
      if (session.phase_ >= Phase.DEAD || session.phase_ === Phase.FINISHING) throw wrongState(session, "abort");
      abortSession(session);
    },
    getImageLenRead: () => session.written_,
    getImageSize: () => session.size_,
    getStatusCode: () => session.download_.status_,
    getPartition: () => session.target_,
  };
}
