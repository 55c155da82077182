// Writes a slot, sector by sector: the only writer of app partitions. And finds how far an earlier run came.
// The first word of a file holds the magic number of an image. It is written last, after the rest was verified in flash. So
// no bootloader takes a refused or unverified file for an image, whatever otadata says.

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
 * Writes `data` at `offset` of a slot. The bytes of a sector must arrive in order and from its start; the first piece has
 * Size.WORD bytes at least. The file's first Size.WORD bytes stay blank. A sector that already holds the same bytes is not
 * erased. With `more` sectors to come the next one is erased before this one is written. So a blank sector always separates
 * new content from old: resumeOffset() looks for it. Returns whether the rest of the sector is blank, and the next one too if there is one: what is left of the
 * sector may then be written without this function. Throws FLASH_OP_FAIL with the address, OTA_PARTITION_CONFLICT when
 * otadata names the slot, and HTTP_INCOMPLETE_DATA when a server makes it erase the slot over and over.
 */
export type Writer = (offset: number, data: string, more: boolean) => boolean;

/** To be called when no entry of otadata names the slot. `size`: bytes of the file, or the most that it can have. */
export function createWriter(layout: Layout, slot: Partition, size: number): Writer {
  // a resumed file may be wrong, and is then written once more
  let left = 2 * Math.ceil(size / Flash.SECTOR);
  let ahead = -1; // address of the sector that was erased ahead, 0 for none, -1 before the first write
  let same = false; // flash holds what has come of the sector so far
  if (slot.address === layout.running_.address)
    throw otaError(Code.OTA_PARTITION_CONFLICT, "slot " + slot.label + " is running");

  function otadataCrc(): number {
    const addr = layout.otadata_.address;
    return E.CRC32(binary(read(addr, Entries.LENGTH)) + binary(read(addr + Flash.SECTOR, Entries.LENGTH)));
  }
  let otadata = otadataCrc(); // when it was last seen not to name the slot

  /** `resumed`: a run that was cut off, or a file that began again, may have left it blank. */
  function makeBlank(sector: number, resumed: boolean): void {
    if (sector >= slot.address + slot.size) return;
    if (sector !== ahead && !(resumed && isBlank(sector))) {
      // to be tried again by nobody within this update: every try would be the last one
      if (left-- < 1)
        throw otaError(Code.HTTP_INCOMPLETE_DATA, "the file began again too often: twice its sectors were erased");
      erase(sector);
    }
    ahead = sector;
  }

  /** The first bytes of a sector that flash does not hold yet: gets it ready for them, and writes them. */
  function begin(addr: number, begun: number, data: string, compare: boolean, more: boolean): void {
    const sector = addr - begun;
    // what the slot holds is about to become another file, and no image any more
    if (ahead < 0 && sector !== slot.address) clearWord(slot.address);
    const again = compare && ahead >= 0;
    const resumed = again || (ahead < 0 && addr > slot.address);
    let kept = "";
    let at = 0;
    // of a sector that this run wrote and read back the rest may be blank still
    if (again) {
      const held = binary(read(addr, data.length));
      while (at < data.length - 1 && held[at] === data[at]) at++;
    }
    if (!again || !(begun + at) || !holds(addr + at, blank(Flash.SECTOR - begun - at))) {
      at = 0;
      if (begun) kept = binary(read(sector, begun));
      makeBlank(sector, resumed);
    }
    ahead = 0;
    if (more) makeBlank(sector + Flash.SECTOR, resumed);
    const skipped = sector === slot.address ? Size.WORD : 0;
    if (kept) write(sector + skipped, kept.substr(skipped));
    else if (!at) at = skipped;
    write(addr + at, at ? data.substr(at) : data);
  }

  return (offset, data, more) => {
    const addr = slot.address + offset;
    const begun = offset % Flash.SECTOR;
    const length = data.length;
    if (begun + length > Flash.SECTOR || offset + length > slot.size)
      throw otaError(Code.INVALID_SIZE, length + " bytes at " + hex(offset) + " of slot " + slot.label);
    if (!begun) {
      // another program, or another instance of this module, may have selected the slot meanwhile
      const crc = otadataCrc();
      if (crc !== otadata) {
        const entries = readEntries(layout.otadata_);
        if (copyOf(layout, entries, slot) >= 0 || selectedSlot(layout, entries).address === slot.address)
          throw otaError(
            Code.OTA_PARTITION_CONFLICT,
            "otadata selects slot " + slot.label + ", which an update is writing",
          );
        otadata = crc;
      }
    }
    if (begun && !same) {
      if (more && !ahead) makeBlank(addr - begun + Flash.SECTOR, false);
      write(addr, data);
    } else {
      const compare = begun > 0 || addr !== ahead;
      // whatever the first word is: it is written at the end
      const from = offset ? 0 : Size.WORD;
      same = compare && holds(addr + from, from ? data.substr(from) : data);
      if (!same) begin(addr, begun, data, compare, more);
    }
    return !same;
  };
}
