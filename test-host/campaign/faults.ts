// What a loss of power leaves of one step, and what a silent fault of the flash makes of it. The noise
// depends on the seed and on the place, not on the number of the step. So two cuts at one place by one seed leave one
// state, and the runner checks it once.
// Model: docs/power-fail.md#what-a-loss-of-power-leaves-of-one-operation. A write goes in order of addresses, page by page,
// and one page clears its bits a few at a time. An erase may end early.

import { PAGE, SECTOR } from "../sim/flash.ts";
import { noise } from "../support/images.ts";

/** An operation of the flash. */
export type Op = { kind: "erase" | "write"; addr: number; length: number };

export const TORN = {
  write: ["before", "prefix", "bits", "after"],
  erase: ["before", "half", "noise", "after"],
} as const;
export type Torn = (typeof TORN)[Op["kind"]][number];

/** Faults without a loss of power: the flash does not do what it was told, and the program has to notice. */
export const SILENT_FAULTS = { write: ["drop", "stick"], erase: ["silent"] } as const;
export type SilentFault = "drop" | "stick" | "silent";

function noiseAt(seed: number, op: Op): Uint8Array {
  return noise(Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(op.addr, 0x85ebca6b) ^ op.length, op.length + 4);
}

/** How many of the bytes of a torn write are there; never none and never all. */
export function prefixLength(seed: number, op: Op): number {
  const random = new DataView(noiseAt(seed, op).buffer).getUint32(0, true);
  // a select entry, or a header in Storage, is torn at a word more often than not: seq without its CRC, size without name
  if (op.length <= 64) return Math.max(1, Math.min(op.length - 1, (random % 8) * 4 + (random & 0x100 ? 2 : 0)));
  return 1 + (random % (op.length - 1));
}

/** The sector(s) `old` after a torn write of `data`; `at` is the offset of the write in them. */
export function tornWrite(old: Uint8Array, at: number, data: Uint8Array, torn: Torn, seed: number, op: Op): Uint8Array {
  const out = new Uint8Array(old);
  const mask = noiseAt(seed, op);
  if (torn === "prefix") {
    for (let i = prefixLength(seed, op); i--; ) out[at + i] &= data[i];
    return out;
  }
  // the flash drivers program one page after the other: one of them is torn, the next ones are untouched
  const first = PAGE - (op.addr % PAGE);
  const pages = 1 + Math.max(0, Math.ceil((data.length - first) / PAGE));
  const page = mask[0] % pages;
  const start = page ? first + (page - 1) * PAGE : 0;
  const end = Math.min(data.length, first + page * PAGE);
  for (let i = 0; i < end; i++) out[at + i] &= i < start ? data[i] : data[i] | mask[i + 4];
  return out;
}

/** A sector after an erase that ended early. */
export function tornErase(old: Uint8Array, torn: Torn, seed: number, op: Op): Uint8Array {
  const out = new Uint8Array(old);
  if (torn === "half") return out.fill(0xff, 0, SECTOR / 2);
  const mask = noiseAt(seed, op);
  for (let i = 0; i < SECTOR; i++) out[i] |= mask[i + 4];
  return out;
}

/** The mask of a cell that sticks, for the fault of that name: one bit in some hundred. */
export function stuckMask(seed: number, addr: number): number {
  const [chance, bit] = noise(Math.imul(seed + 1, 0x9e3779b1) ^ addr, 4);
  return chance % 16 === 0 ? 1 << (bit & 7) : 0;
}
