// Moments of an update, for --json and for docs/demo-update.svg: what lies in the slots, and what the bootloader would
// start from this flash if the power came back just then.

import { runBootloader } from "../sim/bootloader.ts";
import type { Device } from "../sim/device.ts";
import { createFlash, SECTOR } from "../sim/flash.ts";
import { type Row, slots } from "../sim/partitions.ts";

export type Moment = {
  what: "begin" | "power lost" | "commit" | "restart";
  /** Of the image: in flash so far. */
  bytes: number;
  /** What the bootloader model starts from a copy of this flash, null when nothing. */
  starts: string | null;
  /** How many sectors of each slot are not blank. */
  slots: { label: string; sectors: number; filled: number }[];
};

export function lookAt({ flash, board }: Device, rows: readonly Row[], what: Moment["what"], bytes: number): Moment {
  const { slot } = runBootloader(createFlash({ from: flash.snapshot() }), { chipId: board.chipId });
  function filledIn({ offset, size }: Row): number {
    let filled = 0;
    for (let at = offset; at < offset + size; at += SECTOR)
      if (flash.peek(at, SECTOR).some((byte) => byte !== 0xff)) filled++;
    return filled;
  }
  return {
    what,
    bytes,
    starts: slot?.label ?? null,
    slots: slots(rows).map((row) => ({ label: row.label, sectors: row.size / SECTOR, filled: filledIn(row) })),
  };
}
