// Writes a slot, sector by sector: the only writer of app partitions. And finds out how far an earlier run came.

import { hex } from "./bytes";
import { erase, holds, isBlank, SECTOR, write } from "./hal";
import type { Partition } from "./partitions";
import type { Layout } from "./slot";
import { Code, fault } from "./status";

/** Writes the sectors of `slot` in order, from wherever. */
export interface SectorWriter {
  /**
   * Makes the sector at `offset` begin with `bytes`, at most a sector of them. One that holds them already is left
   * alone: a download that starts again costs no erase. With `more` bytes to come the sector behind it is erased
   * before it is written, so that a blank sector always parts this file from what the slot held before.
   * Throws FLASH_OP_FAIL with the address.
   */
  write_(offset: number, bytes: Uint8Array, more: boolean): void;
}

export function createWriter(layout: Layout, slot: Partition): SectorWriter {
  let blank = -1; // address of the sector that was erased ahead

  function makeBlank(addr: number, resumed: boolean): void {
    if (addr !== blank && !(resumed && isBlank(addr))) erase(addr);
  }

  return {
    write_: (offset, bytes, more) => {
      if (slot.address === layout.running_.address)
        throw fault(Code.OTA_PARTITION_CONFLICT, "slot " + slot.label + " is running");
      if (offset % SECTOR || bytes.length > SECTOR || offset + bytes.length > slot.size)
        throw fault(Code.INVALID_SIZE, bytes.length + " bytes at " + hex(offset) + " of slot " + slot.label);
      const addr = slot.address + offset;
      if (holds(addr, bytes)) return;
      // the run that was cut off may have left both sectors blank
      const resumed = blank < 0 && offset > 0;
      makeBlank(addr, resumed);
      if (more && offset + SECTOR < slot.size) {
        makeBlank(addr + SECTOR, resumed);
        blank = addr + SECTOR;
      }
      write(addr, bytes);
    },
  };
}

/**
 * Where to go on with a file of `total` bytes that begins with `head`: the start of the last sector before the first
 * blank one, when the slot begins with `head` too; else 0. The digest at the end is the judge of whether it was right.
 */
export function resumeOffset(slot: Partition, head: Uint8Array, total: number): number {
  if (total < 0 || !holds(slot.address, head)) return 0;
  let offset = SECTOR;
  while (offset < total && !isBlank(slot.address + offset)) offset += SECTOR;
  return offset - SECTOR;
}
