// The end of step 4, and steps 5 and 6 of update.ts: perform, and the way of each piece from the network to flash. A download
// offers the receiver what has come, and it takes what it can write.

import { reserveRecords } from "../boot/boot-record";
import { deselect } from "../boot/boot-selection";
import type { EventName } from "../config";
import { Code, fault, guarded, type OtaError } from "../errors";
import { checkHead, Size } from "../image/image";
import { read as startReading, type Sink } from "../net/download";
import { bytesOf } from "../platform/bytes";
import { chipRevision } from "../platform/chip";
import { Flash, read, write } from "../platform/flash";
import { endFile } from "./finish";
import { failSession, Phase, type Session, succeed } from "./session";
import { createWriter, type Writer } from "./slot-writer";

const PIECE = 512; // bytes of a write at least: a server may send them one by one

/** The sink of `session`'s download. It ends performs: session.ts. */
export function createReceiver(session: Session): Sink {
  const download = session.download_;
  const layout = session.layout_;
  const target = session.target_;
  const plan = session.plan_;
  let begun = false; // is the slot ready to be written?
  let writeSector: Writer | undefined; // made when it is wanted: memory is shortest before that
  let blankUntil = 0; // flash is erased up to this offset of the file
  let receiveSectors: Sink;

  /** Most pieces go this way: in the middle of a blank sector there is nothing to decide. */
  function receive(data: string, ended: boolean): number {
    const offset = session.written_;
    const length = data.length;
    // the download is elsewhere when the server ignored Range and began again at byte 0
    if (offset + length >= blankUntil || ended || length < PIECE || offset !== download.offset_)
      return receiveSectors(data, ended);
    write(target.address + offset, data);
    session.written_ = offset + length;
    return length;
  }

  /** Tells the listener, who may abort: then it throws. */
  function tell(name: EventName, data: number, total?: number): void {
    session.emit_(name, data, total);
    if (session.phase_ >= Phase.DEAD) throw fault(Code.INVALID_STATE, "aborted");
  }

  /** Step 4, its end: the header is checked before anything is erased. `start`: the file's first bytes; "" if they are in flash. */
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
  function begin(data: string, ended: boolean): boolean {
    const start = download.offset_;
    if (!start && !ended && data.length < (session.size_ < 0 ? Flash.SECTOR : Size.HEAD)) return false;
    if (!start) session.word_ = data.substr(0, Size.WORD);
    checkStart(start ? "" : data);
    // Step 5: no half-written slot is ever selected, and no trial begins without its record
    reserveRecords();
    deselect(layout, target);
    begun = true;
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
    // a file that changes may have another length
    const total = plan.size_ < 0 ? download.total_ : plan.size_;
    let taken = 0;
    session.size_ = total;
    // at its beginning once more: the file has changed, or a server without ranges began again
    if ((!begun || !start) && !begin(data, ended)) return 0;
    if (!writeSector)
      writeSector = /*@__NOINLINE__*/ createWriter(layout, target, plan.size_ < 0 ? target.size : plan.size_);
    // a listener may end the update, and who waits for this step may begin the next one at once
    while (session.phase_ === Phase.WORKING) {
      const offset = start + taken;
      const inSector = offset % Flash.SECTOR;
      const rest = data.length - taken;
      const room = Flash.SECTOR - inSector;
      // without a length only a whole sector, or the end, tells whether there is another one to be erased ahead
      if (rest < room && !ended && (total < 0 || rest < (inSector ? PIECE : 1))) break;
      // no Math.min, which makes floats, and Flash.erasePage takes none for an address
      let length = room;
      if (rest < room) length = rest;
      // the writer copies what begins a file, and memory is shortest here
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
    if (session.phase_ !== Phase.WORKING) download.sink_ = null;
    else download.sink_ = total < 0 ? receiveSectors : receive;
    return taken;
  };

  download.failed_ = (error) => failSession(session, error);
  if (!session.verified_) return receiveSectors;
  // the slot holds the whole image already: nothing is fetched
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
  // with a sink installed the delivery of the previous step continues into this one
  if (download.sink_) return;
  if (!session.receive_) session.receive_ = /*@__NOINLINE__*/ createReceiver(session);
  if (session.verified_) return guarded(() => session.receive_!("", true), download.failed_);
  download.sink_ = session.receive_;
  startReading(download);
}
