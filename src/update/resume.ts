// Where an interrupted update continues. Nothing is stored for it: flash itself tells.
// Source: docs/decisions/resume-without-state.md.

import { Flash, holds } from "../platform/flash";
import { isBlank } from "../platform/flash-blocks";
import { Size } from "../image/image";
import type { Partition } from "../boot/partitions";

/**
 * Where to continue with a file of `total` bytes whose first bytes are `buffered`. The first Size.HEAD of them are
 * compared with the slot. If they are equal: the start of the last sector before the first blank one (slot-writer.ts);
 * otherwise 0. The slot may still hold another file: the digest at the end decides.
 */
export function resumeOffset(slot: Partition, buffered: string, total: number): number {
  if (total < 0) return 0;
  // in small parts, because memory is shortest here. The first word is not compared: it is written at the end
  for (let start: number = Size.WORD; start < Size.HEAD - Size.WORD; start += Size.HEAD / 8 - Size.WORD)
    if (!holds(slot.address + start, buffered.substr(start, Size.HEAD / 8 - Size.WORD))) return 0;
  let offset = Flash.SECTOR;
  while (offset < total && !isBlank(slot.address + offset)) offset += Flash.SECTOR;
  return offset - Flash.SECTOR;
}
