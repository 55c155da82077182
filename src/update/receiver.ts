// The end of step 4, and steps 5 and 6 of update.ts: perform, and how each piece gets from the network to flash. A
// download passes what has arrived to the receiver, which takes what it can write.

import { reserveRecords } from "../boot/boot-record";
import { deselect } from "../boot/boot-selection";
import type { EventName } from "../config";
import { Code, otaError, tryOr, type OtaError } from "../errors";
import { checkHead, Size } from "../image/image";
import { read as startReading, type Consumer } from "../net/download";
import { bytesOf } from "../platform/bytes";
import { chipRevision } from "../platform/chip";
import { Flash, read, write } from "../platform/flash";
import { endFile } from "./finish";
import { failSession, Phase, type Session, succeed } from "./session";
import { createWriter, type Writer } from "./slot-writer";

const MIN_WRITE = 512; // bytes: fewer are not written, because a server may send them one by one

/**
 * The consumer of the download of `session`. It ends each perform(): session.ts. More than 60 lines: it is a closure
 * that is made once for an update, and keeps its state in four variables, so that the hot path has no object to look
 * into.
 */
export function createReceiver(session: Session): Consumer {
  const download = session.download_;
  const layout = session.layout_;
  const target = session.target_;
  const plan = session.plan_;
  let prepared = false; // is the slot ready to be written?
  let writeSector: Writer | undefined; // created by the first sector: memory is shortest before it
  let blankUntil = 0; // flash is erased up to this offset of the file
  let receiveSectors: Consumer;

  /** Hot path, for most pieces: in the middle of a blank sector nothing has to be decided. */
  function receive(data: string, ended: boolean): number {
    const offset = session.written_;
    const length = data.length;
    // another offset: the server ignored Range and began again at byte 0
    if (offset + length >= blankUntil || ended || length < MIN_WRITE || offset !== download.offset_)
      return receiveSectors(data, ended);
    write(target.address + offset, data);
    session.written_ = offset + length;
    return length;
  }

  /** Calls the listener of the user. Throws when that has aborted the update. */
  function tell(name: EventName, data: number, total?: number): void {
    session.emit_(name, data, total);
    if (session.phase_ >= Phase.DEAD) throw otaError(Code.INVALID_STATE, "aborted");
  }

  /**
   * Step 4, its end: the header is checked before anything is erased. `start`: the file's first bytes; "" when they are
   * in flash.
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

  /** The first bytes. False while more of them are needed. */
  function prepare(data: string, ended: boolean): boolean {
    const start = download.offset_;
    if (!start && !ended && data.length < (session.size_ < 0 ? Flash.SECTOR : Size.HEAD)) return false;
    if (!start) session.word_ = data.substr(0, Size.WORD);
    checkStart(start ? "" : data);
    // Step 5: so that no half-written slot is selected, and no trial begins without its record
    reserveRecords();
    deselect(layout, target);
    prepared = true;
    return true;
  }

  /** The end of a sector, or of the file. */
  function endSector(last: boolean, wrote: boolean): void {
    if (wrote) tell("WRITE_FLASH", session.written_, session.size_);
    if (last) endFile(session);
    else if (session.stepwise_) succeed(session, false);
  }

  /** Any piece: the beginning and the end of a file and of each sector, and what an earlier update left in the slot. */
  receiveSectors = (data, ended) => {
    const start = download.offset_;
    // when the file changes, its length may change
    const total = plan.size_ < 0 ? download.total_ : plan.size_;
    let taken = 0;
    session.size_ = total;
    // at byte 0 again: the file has changed, or a server without ranges began again
    if ((!prepared || !start) && !prepare(data, ended)) return 0;
    if (!writeSector)
      writeSector = /*@__NOINLINE__*/ createWriter(layout, target, plan.size_ < 0 ? target.size : plan.size_);
    // a listener may abort, and the program may call perform() again at once
    while (session.phase_ === Phase.WORKING) {
      const offset = start + taken;
      const inSector = offset % Flash.SECTOR;
      const rest = data.length - taken;
      const room = Flash.SECTOR - inSector;
      // without a length, only a full sector or the end tells whether another sector follows and must be erased ahead
      if (rest < room && !ended && (total < 0 || rest < (inSector ? MIN_WRITE : 1))) break;
      // not Math.min: it returns a float, which Flash.erasePage does not accept as an address
      let length = room;
      if (rest < room) length = rest;
      // small pieces at the start of a file: the writer copies them, and memory is shortest here
      if (offset < Size.HEAD && length > Size.HEAD / 4) length = Size.HEAD / 4;
      const more = total < 0 ? !ended || rest > room : offset - inSector + Flash.SECTOR < total;
      blankUntil = 0;
      // Step 6
      if (length && writeSector(offset, length === data.length ? data : data.substr(taken, length), more))
        blankUntil = offset + room;
      taken += length;
      session.written_ = offset + length;
      const last = ended && length === rest;
      if (last || length === room) endSector(last, length > 0 || inSector > 0);
    }
    if (session.phase_ !== Phase.WORKING) download.consumer_ = null;
    else download.consumer_ = total < 0 ? receiveSectors : receive;
    return taken;
  };

  download.failed_ = (error) => failSession(session, error);
  if (!session.verified_) return receiveSectors;
  // the slot holds the whole image already: nothing is received
  return () => {
    checkStart("");
    succeed(session, true);
    return 0;
  };
}

/** In phase READY. `resolve`: with IN_PROGRESS, or OK when the last byte is in flash. */
export function perform(session: Session, resolve: (outcome: number) => void, reject: (error: OtaError) => void): void {
  const download = session.download_;
  session.resolve_ = resolve;
  session.reject_ = reject;
  session.phase_ = Phase.WORKING;
  // with a consumer installed the delivery of the previous step continues into this one
  if (download.consumer_) return;
  if (!session.receive_) session.receive_ = /*@__NOINLINE__*/ createReceiver(session);
  if (session.verified_) return tryOr(() => session.receive_!("", true), download.failed_);
  download.consumer_ = session.receive_;
  startReading(download);
}
