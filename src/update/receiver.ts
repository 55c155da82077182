// The end of step 4, and steps 5 and 6 of update.ts: perform, and how bytes get from the network to flash. The listener
// of the connection fills a block in RAM (net/inbox.ts). Here whole blocks are written, read back and hashed.

import { reserveRecords } from "../boot/boot-record";
import { deselect } from "../boot/boot-selection";
import type { EventName } from "../config";
import { Code, otaError, tryOr, type OtaError } from "../errors";
import { createFsVerityHasher } from "../image/fsverity";
import { checkHead, Size } from "../image/image";
import { read as startReading, received, type Consumer } from "../net/download";
import { Body } from "../net/inbox";
import { bytesOf } from "../platform/bytes";
import { chipRevision } from "../platform/chip";
import { freeVars } from "../platform/engine";
import { Flash, read } from "../platform/flash";
import { join } from "../platform/flash-blocks";
import { endFile } from "./finish";
import { failSession, Phase, resumeSession, type Session, succeed } from "./session";
import { createWriter, type Writer } from "./slot-writer";

/** JsVars that are free when the first block has come. An enum, which takes no variable. */
const enum Free {
  /** From here on, blocks are whole sectors, and the digest is made as they come: some 450 JsVars more at the peak. */
  FAST = 2600,
}

/**
 * The consumer of the download of `session`. It ends each perform(): session.ts.
 * More than 60 lines: a closure that is made once for an update, so that what each block passes has no object to look into.
 */
export function createReceiver(session: Session): Consumer {
  const download = session.download_;
  const inbox = download.inbox_;
  const layout = session.layout_;
  const target = session.target_;
  const plan = session.plan_;
  const fast = plan.digest_ && freeVars() > Free.FAST;
  let writer: Writer | undefined; // created when step 5 is done: memory is shortest before it

  /** Calls the listener of the user. Throws when that has aborted the update. */
  function tell(name: EventName, data: number, total?: number): void {
    session.emit_(name, data, total);
    if (session.phase_ >= Phase.DEAD) throw otaError(Code.INVALID_STATE, "update aborted");
  }

  /**
   * Step 4, its end: the header is checked before anything is erased. `start`: the file's first bytes; "" when they are
   * in flash, left there by an earlier update, but for the first word.
   */
  function checkStart(start: string): void {
    let head: Uint8Array;
    if (start) head = bytesOf(start.substr(0, Size.DESC_END));
    else {
      head = read(target.address, Size.DESC_END);
      head.set(session.word_);
    }
    checkHead(
      head,
      layout.chip_,
      chipRevision(layout.chip_),
      read(layout.running_.address, Size.DESC_END),
      session.size_ < 0 ? target.size : session.size_,
      tell,
    );
  }

  /** The first block of this update, or the first one again because the file began again. */
  function prepare(): void {
    let start = "";
    if (!inbox.offset_) {
      start = join(inbox.pieces_).substr(0, Size.DESC_END);
      session.word_ = start.substr(0, Size.WORD);
    }
    checkStart(start);
    // Step 5: so that no half-written slot is selected, and no trial begins without its record
    reserveRecords();
    deselect(layout, target);
    if (!writer)
      writer = /*@__NOINLINE__*/ createWriter(layout, target, inbox, plan.size_ < 0 ? target.size : plan.size_);
    if (fast && start) session.hasher_ = /*@__NOINLINE__*/ createFsVerityHasher(target.address, session.word_);
  }

  download.failed_ = (error) => failSession(session, error);
  // the slot holds the whole image already, or there are only files: nothing is received
  if (session.verified_)
    return () => {
      if (target.address !== layout.running_.address) checkStart("");
      succeed(session, true);
    };
  // without a length, only a full sector or the end tells whether another sector follows and must be erased ahead
  inbox.block_ = fast || (plan.size_ < 0 && download.total_ < 0) ? Flash.SECTOR : Flash.PIECE;
  // Step 6 for most sectors, called below the listener of the connection
  if (fast && !session.stepwise_ && !session.push_)
    inbox.full_ = (piece) => {
      const next = inbox.offset_ + 2 * Flash.SECTOR;
      if (!session.hasher_ || next > inbox.end_ || next > session.size_) return false;
      if (!writer!.writeNext_(piece, session.hasher_)) return false;
      session.written_ = inbox.offset_;
      tell("WRITE_FLASH", inbox.offset_, session.size_);
      return true;
    };
  // Step 6: a block is full, or it is the last one
  return (_, last) => {
    const offset = inbox.offset_;
    // when the file changes, its length may change
    const total = plan.size_ < 0 ? download.total_ : plan.size_;
    session.size_ = total;
    if (inbox.filled_) {
      // over HTTP it has been looked for before the first perform()
      if (session.push_ && !writer && !offset && resumeSession(session, join(inbox.pieces_))) return;
      if (!writer || !offset) prepare();
      // without a length: as long as the end is not known, another sector follows
      writer!.write_(total < 0 ? !last : offset - (offset % Flash.SECTOR) + Flash.SECTOR < total, session.hasher_);
    }
    const sectorEnds = last || inbox.offset_ % Flash.SECTOR === 0;
    session.written_ = inbox.offset_;
    if (sectorEnds && inbox.offset_ > offset) tell("WRITE_FLASH", inbox.offset_, total);
    if (last) endFile(session);
    else if (sectorEnds && session.stepwise_ && !session.push_) succeed(session, false);
    if (session.phase_ !== Phase.WORKING) download.consumer_ = null;
  };
}

/** In phase READY. `resolve`: with IN_PROGRESS, or OK when the last byte is in flash. */
export function perform(session: Session, resolve: (outcome: number) => void, reject: (error: OtaError) => void): void {
  const download = session.download_;
  session.resolve_ = resolve;
  session.reject_ = reject;
  session.phase_ = Phase.WORKING;
  if (!session.receive_) session.receive_ = /*@__NOINLINE__*/ createReceiver(session);
  if (session.verified_) return tryOr(() => session.receive_!("", true), download.failed_);
  download.consumer_ = session.receive_;
  startReading(download);
}

/**
 * In phase READY of a pushed update: takes `data`, which is at `offset` of the file. Bytes that are there already are
 * passed over. `resolve`: with the offset of the byte that is wanted next, the file's size when all are there.
 */
export function push(
  session: Session,
  data: string,
  offset: number,
  resolve: (wanted: number) => void,
  reject: (error: OtaError) => void,
): void {
  const download = session.download_;
  const inbox = download.inbox_;
  const total = session.size_;
  const wanted = received(download);
  if (offset > wanted)
    throw otaError(Code.INVALID_ARG, "bytes from " + offset + ", expected from " + wanted + ": go on there");
  const done = (): void => resolve(session.complete_ ? session.written_ : received(download));
  session.pushed_ = offset + data.length;
  if (session.verified_) return perform(session, done, reject);
  session.resolve_ = done;
  session.reject_ = reject;
  session.phase_ = Phase.WORKING;
  if (!session.receive_) session.receive_ = /*@__NOINLINE__*/ createReceiver(session);
  inbox.end_ = total < 0 ? Body.ENDLESS : total;
  download.consumer_ = session.receive_;
  tryOr(() => {
    data = data.substr(wanted - offset);
    download.deliver_(total < 0 ? data : data.substr(0, total - wanted));
    pause(session);
  }, download.failed_);
}

/** No more bytes will be pushed: the file ends here. `resolve`, `reject`: of perform(). */
export function endPush(session: Session, resolve: (outcome: number) => void, reject: (error: OtaError) => void): void {
  const download = session.download_;
  session.resolve_ = resolve;
  session.reject_ = reject;
  session.phase_ = Phase.WORKING;
  download.ended_ = true;
  download.consumer_ = session.receive_!;
  tryOr(() => download.deliver_(""), download.failed_);
}

/** What was pushed is taken, and the file has not ended. */
function pause(session: Session): void {
  if (session.phase_ !== Phase.WORKING) return;
  session.download_.consumer_ = null;
  session.download_.inbox_.room_ = 0;
  succeed(session, false);
}
