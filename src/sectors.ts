// Writes a slot, sector by sector: the only writer of app partitions. And finds out how far an earlier run came.

import { hex } from "./bytes";
import { Flash, binary, erase, holds, isBlank, read, write } from "./hal";
import { Size } from "./image";
import type { Partition } from "./partitions";
import type { Layout } from "./slot";
import { Code, fault } from "./status";

/**
 * Writes `data` at `offset` of a slot; whatever comes of a sector comes in order, and from its start. A sector that
 * holds the same bytes already is left alone: a download that starts again costs no erase. With `more` sectors to come
 * the next one is erased before this one is written, so that a blank sector always parts this file from what the slot
 * held before. Returns whether the rest of the sector is blank, and the next one too if there is one: what is left of the
 * sector may then be written without this function. Throws FLASH_OP_FAIL with the address.
 */
export type Writer = (offset: number, data: string, more: boolean) => boolean;

function blank(length: number): string {
  return binary(new Uint8Array(length).fill(0xff));
}

/** @chapter */
export function createWriter(layout: Layout, slot: Partition): Writer {
  let ahead = -1; // address of the sector that was erased ahead, 0 for none, -1 before the first write
  let same = false; // flash holds what has come of the sector so far
  if (slot.address === layout.running_.address)
    throw fault(Code.OTA_PARTITION_CONFLICT, "slot " + slot.label + " is running");

  /** `resumed`: a run that was cut off, or a file that began again, may have left it blank. */
  function makeBlank(sector: number, resumed: boolean): void {
    if (sector >= slot.address + slot.size) return;
    if (sector !== ahead && !(resumed && isBlank(sector))) erase(sector);
    ahead = sector;
  }

  /** The first bytes of a sector that flash does not hold yet: gets it ready for them, and writes them. */
  function begin(addr: number, begun: number, data: string, compare: boolean, more: boolean): void {
    const sector = addr - begun;
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
    if (kept) write(sector, kept);
    write(addr + at, at ? data.substr(at) : data);
  }

  return (offset, data, more) => {
    const addr = slot.address + offset;
    const begun = offset % Flash.SECTOR;
    const length = data.length;
    if (begun + length > Flash.SECTOR || offset + length > slot.size)
      throw fault(Code.INVALID_SIZE, length + " bytes at " + hex(offset) + " of slot " + slot.label);
    if (begun && !same) {
      if (more && !ahead) makeBlank(addr - begun + Flash.SECTOR, false);
      write(addr, data);
    } else {
      const compare = begun > 0 || addr !== ahead;
      same = compare && holds(addr, data);
      if (!same) begin(addr, begun, data, compare, more);
    }
    return !same;
  };
}

/**
 * Where to go on with a file of `total` bytes that begins with the first Size.HEAD of `held`: the start of the last
 * sector before the first blank one, when the slot begins with them too; else 0. The digest at the end is the judge of
 * whether it was right.
 * @chapter
 */
export function resumeOffset(slot: Partition, held: string, total: number): number {
  if (total < 0) return 0;
  // in two halves, which take less memory
  const half = Size.HEAD / 2;
  if (!holds(slot.address, held.substr(0, half)) || !holds(slot.address + half, held.substr(half, half))) return 0;
  let offset = Flash.SECTOR;
  while (offset < total && !isBlank(slot.address + offset)) offset += Flash.SECTOR;
  return offset - Flash.SECTOR;
}
