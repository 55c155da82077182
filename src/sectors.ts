// Writes a slot, sector by sector: the only writer of app partitions.

import { hex } from "./bytes";
import { erase, holds, SECTOR, write } from "./hal";
import type { Layout } from "./slot";
import type { Partition } from "./partitions";
import { Code, fault } from "./status";

/**
 * Makes the sector at `offset` of the slot begin with `bytes` (at most a sector). One that holds them already is left
 * alone: that is how a download that starts again costs no erase. Throws FLASH_OP_FAIL with the address.
 */
export function writeSector(layout: Layout, slot: Partition, offset: number, bytes: Uint8Array): void {
  if (slot.address === layout.running_.address)
    throw fault(Code.OTA_PARTITION_CONFLICT, "slot " + slot.label + " is running");
  if (offset % SECTOR || bytes.length > SECTOR || offset + bytes.length > slot.size)
    throw fault(Code.INVALID_SIZE, bytes.length + " bytes at " + hex(offset) + " of slot " + slot.label);
  const addr = slot.address + offset;
  if (holds(addr, bytes)) return;
  erase(addr);
  write(addr, bytes);
}
