// Where an update goes on that was cut. Nothing is stored for it: flash itself tells.

import { Flash, holds, isBlank } from "../platform/flash";
import { Size } from "../image/image";
import type { Partition } from "../boot/partitions";

/**
 * Where to go on with a file of `total` bytes that begins with `held`, of which Size.HEAD bytes and a few more are compared: the start of the last
 * sector before the first blank one, when the slot begins with them too; else 0. The digest at the
 * end is the judge of whether it was right.
 */
export function resumeOffset(slot: Partition, held: string, total: number): number {
  if (total < 0) return 0;
  // a bit at a time: memory is shortest here. The first word is not compared: it is written at the end
  for (let at: number = Size.WORD; at < Size.HEAD - Size.WORD; at += Size.HEAD / 4 - Size.WORD)
    if (!holds(slot.address + at, held.substr(at, Size.HEAD / 4 - Size.WORD))) return 0;
  let offset = Flash.SECTOR;
  while (offset < total && !isBlank(slot.address + offset)) offset += Flash.SECTOR;
  return offset - Flash.SECTOR;
}
