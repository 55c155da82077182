// Writes a slot, sector by sector: the only writer of app partitions.
// The first word of a file holds the magic number of an image. It is written last, after the rest was verified in
// flash. So no bootloader takes a refused or unverified file for an image, whatever otadata says.

import { blank, clearWord } from "../platform/first-word";
import { hex } from "../platform/bytes";
import { binary, erase, Flash, holds, isBlank, read, write } from "../platform/flash";
import { Size } from "../image/image";
import { Entries } from "../boot/otadata";
import type { Partition } from "../boot/partitions";
import { copyOf, selectedSlot, readEntries } from "../boot/boot-selection";
import type { Layout } from "../boot/layout";
import { Code, otaError } from "../errors";

/**
 * Writes `data` at `offset` of a slot. The bytes of a sector must arrive in order and from its start; the first piece
 * has at least Size.WORD bytes. The file's first Size.WORD bytes stay blank. A sector that already holds the same bytes
 * is not erased. With `more` sectors to come, the next one is erased before this one is written. So a blank sector
 * always separates new content from old: resumeOffset() looks for it.
 *
 * Returns whether the rest of the sector is blank, and the next sector too if there is one. Then the rest of the sector
 * may be written without this function. Throws FLASH_OP_FAIL with the address, OTA_PARTITION_CONFLICT when otadata
 * names the slot, and HTTP_INCOMPLETE_DATA when a server makes it erase the slot over and over.
 */
export type Writer = (offset: number, data: string, more: boolean) => boolean;

/** Throws unless `length` bytes at `offset` lie in `slot` and in one sector. */
function checkRange(slot: Partition, offset: number, length: number): void {
  if ((offset % Flash.SECTOR) + length > Flash.SECTOR || offset + length > slot.size)
    throw otaError(Code.INVALID_SIZE, length + " bytes at " + hex(offset) + " of slot " + slot.label);
}

/**
 * Makes a function that throws when otadata selects `slot`: another program, or another instance of this module, may
 * have written an entry. To be made while no entry names the slot. The checksum tells cheaply that nothing has changed.
 */
function createSelectionCheck(layout: Layout, slot: Partition): () => void {
  function otadataCrc(): number {
    const addr = layout.otadata_.address;
    return E.CRC32(binary(read(addr, Entries.LENGTH)) + binary(read(addr + Flash.SECTOR, Entries.LENGTH)));
  }
  let checkedCrc = otadataCrc();
  return () => {
    const crc = otadataCrc();
    if (crc === checkedCrc) return;
    const entries = readEntries(layout.otadata_);
    if (copyOf(layout, entries, slot) >= 0 || selectedSlot(layout, entries).address === slot.address)
      throw otaError(
        Code.OTA_PARTITION_CONFLICT,
        "otadata selects slot " + slot.label + ", which an update is writing",
      );
    checkedCrc = crc;
  };
}

/** How many bytes at the start of `data` flash at `addr` holds already. The last one is never counted. */
function countEqual(addr: number, data: string): number {
  const found = binary(read(addr, data.length));
  let equal = 0;
  while (equal < data.length - 1 && found[equal] === data[equal]) equal++;
  return equal;
}

/**
 * To be called when no entry of otadata names the slot. `size`: bytes of the file, or the most that it can have.
 * A closure of more than 30 lines: as fields of an object its three variables would take nine JsVars more.
 */
export function createWriter(layout: Layout, slot: Partition, size: number): Writer {
  let erasesLeft = 2 * Math.ceil(size / Flash.SECTOR); // twice, because a wrong resumed file is written again
  let nextErased = -1; // address of the sector that was erased ahead; 0: none is; -1: before the first write
  let alreadyInFlash = false; // flash holds all bytes of this sector that have arrived so far
  if (slot.address === layout.running_.address)
    throw otaError(Code.OTA_PARTITION_CONFLICT, "slot " + slot.label + " is running");
  const checkNotSelected = createSelectionCheck(layout, slot);

  /** `maybeBlank`: an earlier run, or this one before the file began again, may have erased the sector already. */
  function makeBlank(sector: number, maybeBlank: boolean): void {
    if (sector >= slot.address + slot.size) return;
    if (sector !== nextErased && !(maybeBlank && isBlank(sector))) {
      // without `retry`: each further try within this update would erase one more sector
      if (erasesLeft-- < 1)
        throw otaError(Code.HTTP_INCOMPLETE_DATA, "the file began again too often: twice its sectors were erased");
      erase(sector);
    }
    nextErased = sector;
  }

  /** Flash does not hold `data`. Erases this sector and the next one where needed, then writes. */
  function writeNew(addr: number, sectorOffset: number, data: string, compared: boolean, more: boolean): void {
    const sector = addr - sectorOffset;
    // the slot is about to hold another file: from here on it must not look like an image
    if (nextErased < 0 && sector !== slot.address) clearWord(slot.address);
    const writtenBefore = compared && nextErased >= 0; // by this run, before the file began again
    const maybeBlank = writtenBefore || (nextErased < 0 && addr > slot.address);
    let sectorStart = ""; // bytes of the sector in front of `addr`, which an erase would lose
    let equal = writtenBefore ? countEqual(addr, data) : 0;
    // where the bytes of this run go on to be right, and only blank flash follows, nothing has to be erased
    if (!writtenBefore || !(sectorOffset + equal) || !holds(addr + equal, blank(Flash.SECTOR - sectorOffset - equal))) {
      equal = 0;
      if (sectorOffset) sectorStart = binary(read(sector, sectorOffset));
      makeBlank(sector, maybeBlank);
    }
    nextErased = 0;
    if (more) makeBlank(sector + Flash.SECTOR, maybeBlank);
    const skipped = sector === slot.address ? Size.WORD : 0; // the first word stays blank
    if (sectorStart) write(sector + skipped, sectorStart.substr(skipped));
    else if (!equal) equal = skipped;
    write(addr + equal, equal ? data.substr(equal) : data);
  }

  return (offset, data, more) => {
    const addr = slot.address + offset;
    const sectorOffset = offset % Flash.SECTOR;
    checkRange(slot, offset, data.length);
    if (!sectorOffset) checkNotSelected();
    if (sectorOffset && !alreadyInFlash) {
      if (more && !nextErased) makeBlank(addr - sectorOffset + Flash.SECTOR, false);
      write(addr, data);
      return true;
    }
    const compare = sectorOffset > 0 || addr !== nextErased;
    const skipped = offset ? 0 : Size.WORD; // the first word in flash is blank, or that of another file
    alreadyInFlash = compare && holds(addr + skipped, skipped ? data.substr(skipped) : data);
    if (!alreadyInFlash) writeNew(addr, sectorOffset, data, compare, more);
    return !alreadyInFlash;
  };
}
