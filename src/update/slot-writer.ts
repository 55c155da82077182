// Writes a slot, sector by sector: the only writer of app partitions.
// The first word of a file holds the magic number of an image. It is written last, after the rest was verified in
// flash. So no bootloader takes a refused or unverified file for an image, whatever otadata says.

import { blank, clearWord } from "../platform/first-word";
import { hex } from "../platform/bytes";
import { sha256 } from "../platform/crypto";
import type { FsVerityHasher } from "../image/fsverity";
import { binary, eraseForWrite, Fact, Flash, holds, program, read, readText } from "../platform/flash";
import { isBlank, join, readBlock, write as writeText } from "../platform/flash-blocks";
import { Size } from "../image/image";
import type { Inbox } from "../net/inbox";
import { Entries } from "../boot/otadata";
import type { Partition } from "../boot/partitions";
import { copyOf, selectedSlot, readEntries } from "../boot/boot-selection";
import type { Layout } from "../boot/layout";
import { Code, otaError } from "../errors";

/**
 * Writes the block in the inbox into a slot, empties the inbox and moves it on. The blocks of a sector must arrive in
 * order and from its start. The file's first Size.WORD bytes stay blank. A sector that already holds the same bytes is
 * not erased. With `more` sectors to come, the next one is erased before this one is written. So a blank sector always
 * separates new content from old: resumeOffset() looks for it.
 *
 * What was written is read back and compared, piece by piece, or by its hash where a whole sector was written. With
 * `hasher` the block is a whole sector, whose hash goes into the digest.
 *
 * Throws FLASH_OP_FAIL with the address, OTA_PARTITION_CONFLICT when otadata names the slot, and HTTP_INCOMPLETE_DATA
 * when a server makes it erase the slot over and over.
 */
export interface Writer {
  write_(more: boolean, hasher?: FsVerityHasher): void;
  /**
   * The same for a whole sector that was erased ahead, which `piece` fills, with another sector behind it: most of an
   * image. What is left of `piece` begins the next block. False: nothing was done.
   */
  writeNext_(piece: string, hasher: FsVerityHasher): boolean;
}

/** Throws unless `length` bytes at `offset` lie in `slot` and in one sector. */
function checkRange(slot: Partition, offset: number, length: number): void {
  if ((offset % Flash.SECTOR) + length > Flash.SECTOR || offset + length > slot.size)
    throw otaError(Code.INVALID_SIZE, length + " bytes at " + hex(offset) + " of slot " + slot.label);
}

/**
 * State and CRC of both entries: they tell cheaply that otadata has not changed. Few bytes, because more would be
 * kept in one piece, and the engine searches for room (jsvar.c jsvNewFlatStringOfLength).
 */
function readOtadata(layout: Layout): string {
  const addr = layout.otadata_!.address + Entries.STATE;
  return readText(addr, Entries.LENGTH - Entries.STATE) + readText(addr + Flash.SECTOR, Entries.LENGTH - Entries.STATE);
}

/**
 * Throws when otadata selects `slot`: another program, or another instance of this module, may have written an entry.
 * Returns what was looked at.
 */
function checkNotSelected(layout: Layout, slot: Partition): string {
  const entries = readEntries(layout.otadata_);
  if (copyOf(layout, entries, slot) >= 0 || selectedSlot(layout, entries).address === slot.address)
    throw otaError(Code.OTA_PARTITION_CONFLICT, "otadata selects slot " + slot.label + ", which an update is writing");
  return readOtadata(layout);
}

/** Does flash at `addr` hold `pieces`, one behind the other? */
function holdsAll(addr: number, pieces: (string | Uint8Array)[]): boolean {
  for (let i = 0; i < pieces.length; i++) {
    if (!holds(addr, binary(pieces[i]))) return false;
    addr += pieces[i].length;
  }
  return true;
}

/**
 * To be called when no entry of otadata names the slot. `size`: bytes of the file, or the most that it can have.
 * More than 60 lines: a closure. As fields of an object its variables would take more JsVars, and more time for each block. Its
 * functions are not inlined, because the engine reads the code that it skips.
 */
export function createWriter(layout: Layout, slot: Partition, inbox: Inbox, size: number): Writer {
  let erasesLeft = 2 * Math.ceil(size / Flash.SECTOR); // twice, because a wrong resumed file is written again
  let nextErased = -1; // address of the sector that was erased ahead; 0: none is; -1: before the first write
  let alreadyInFlash = false; // flash holds all bytes of this sector that have arrived so far
  if (slot.address === layout.running_.address)
    throw otaError(Code.OTA_PARTITION_CONFLICT, "slot " + slot.label + " is running");
  let otadata = readOtadata(layout);

  /** `maybeBlank`: an earlier run, or this one before the file began again, may have erased the sector already. */
  function makeBlank(sector: number, maybeBlank: boolean): void {
    if (sector >= slot.address + slot.size) return;
    if (sector !== nextErased && !(maybeBlank && isBlank(sector))) {
      // without `retry`: each further try within this update would erase one more sector
      if (erasesLeft-- < 1)
        throw otaError(Code.HTTP_INCOMPLETE_DATA, "the file began again too often: twice its sectors were erased");
      eraseForWrite(sector);
    }
    nextErased = sector;
  }

  /**
   * The first block, and each one whose sector was not erased ahead: writes it where flash does not hold it yet.
   * Returns the first word of the file, which stays blank, if this is its first block.
   */
  function writeUnprepared(offset: number, more: boolean): string {
    const inSector = offset % Flash.SECTOR;
    const sector = slot.address + offset - inSector;
    const maybeBlank = nextErased >= 0 || offset > 0;
    let addr = slot.address + offset;
    let word = "";
    if (!offset) {
      word = join(inbox.pieces_);
      inbox.pieces_ = [word.substr(Size.WORD)];
      word = word.substr(0, Size.WORD);
      addr += Size.WORD;
    }
    alreadyInFlash = (inSector > 0 || sector !== nextErased) && holdsAll(addr, inbox.pieces_);
    if (alreadyInFlash) return word;
    // the slot is about to hold another file: from here on it must not look like an image
    if (nextErased < 0 && offset) clearWord(slot.address);
    let start = ""; // bytes of the sector in front of `addr`, which an erase would lose
    if (!inSector) makeBlank(sector, maybeBlank);
    else if (!holds(addr, blank(Flash.SECTOR - inSector))) {
      start = binary(read(sector, inSector));
      makeBlank(sector, false);
    }
    nextErased = 0;
    if (more) makeBlank(sector + Flash.SECTOR, maybeBlank);
    const skipped = sector === slot.address ? Size.WORD : 0;
    if (start) writeText(sector + skipped, start.substr(skipped));
    program(addr, inbox.pieces_);
    return word;
  }

  function differs(addr: number): never {
    throw otaError(Code.FLASH_OP_FAIL, "flash at " + hex(addr) + Fact.DIFFERS);
  }

  function write(more: boolean, hasher?: FsVerityHasher): void {
    const offset = inbox.offset_;
    const addr = slot.address + offset;
    const length = inbox.filled_;
    const inSector = offset % Flash.SECTOR;
    let word = "";
    checkRange(slot, offset, length);
    if (!inSector && readOtadata(layout) !== otadata) otadata = checkNotSelected(layout, slot);
    if (offset && (inSector ? !alreadyInFlash : addr === nextErased)) {
      if (!inSector) {
        alreadyInFlash = false;
        nextErased = 0;
        if (more) makeBlank(addr + Flash.SECTOR, false);
      }
      program(addr, inbox.pieces_);
    } else word = writeUnprepared(offset, more);
    if (!alreadyInFlash && !holdsAll(addr + word.length, inbox.pieces_)) differs(addr + word.length);
    inbox.pieces_ = [];
    if (hasher) hasher.add_(offset, sha256(readBlock(addr, length, word)));
    inbox.filled_ = 0;
    inbox.offset_ = offset + length;
  }

  function writeNext(piece: string, hasher: FsVerityHasher): boolean {
    const offset = inbox.offset_;
    const addr = slot.address + offset;
    const room = Flash.SECTOR - inbox.filled_;
    const rest = piece.length - room;
    if (addr !== nextErased || rest < 0 || offset + 2 * Flash.SECTOR > slot.size) return false;
    if (readOtadata(layout) !== otadata) otadata = /*@__NOINLINE__*/ checkNotSelected(layout, slot);
    makeBlank(addr + Flash.SECTOR, false);
    // parts of the piece, not copies: a copy wants room in one piece, which is searched for
    const bytes = E.toArrayBuffer(piece);
    inbox.pieces_.push(new Uint8Array(bytes, 0, room));
    const sent = binary(sha256(inbox.pieces_));
    program(addr, inbox.pieces_);
    inbox.pieces_ = rest ? [new Uint8Array(bytes, room, rest)] : [];
    inbox.filled_ = rest;
    inbox.offset_ = offset + Flash.SECTOR;
    const hash = sha256(read(addr, Flash.SECTOR));
    if (binary(hash) !== sent) /*@__NOINLINE__*/ differs(addr);
    hasher.add_(offset, hash);
    return true;
  }

  return { write_: write, writeNext_: writeNext };
}
