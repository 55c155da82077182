// What outlives a restart besides otadata: Storage file `.https-ota`. Losing it costs the memory of the highest
// sequence, never a boot: it is read with suspicion and anything that is not ours counts as empty.

import { readFile, writeFile } from "./hal";

const FILE = ".https-ota";

export interface Memory {
  /** highest sequence of an image that was confirmed */
  sequence: number;
  /** label of the slot that the last update selected, and that update's sequence; "" when it is confirmed or was no manifest's */
  slot: string;
  next: number;
}

function whole(value: unknown): number {
  return typeof value === "number" && value >= 0 && Math.floor(value) === value ? value : 0;
}

export function recall(): Memory {
  let stored: any = null;
  try {
    stored = JSON.parse(readFile(FILE) || "");
  } catch (_) {
    // no file, or no JSON in it
  }
  stored = stored || {};
  return { sequence: whole(stored.sequence), slot: "" + (stored.slot || ""), next: whole(stored.next) };
}

/** The lowest sequence that may be installed while the slot called `running` runs: the confirmed one's, and its own. */
export function lowestSequence(running: string): number {
  const memory = recall();
  return memory.slot === running ? Math.max(memory.sequence, memory.next) : memory.sequence;
}

/** Before `slot` is selected for an image with `sequence`. */
export function rememberSelected(slot: string, sequence: number): void {
  writeFile(FILE, JSON.stringify({ sequence: recall().sequence, slot: slot, next: sequence }));
}

/** The image in the slot called `running` is good. */
export function rememberConfirmed(running: string): void {
  const memory = recall();
  if (memory.slot === running)
    writeFile(FILE, JSON.stringify({ sequence: lowestSequence(running), slot: "", next: 0 }));
}
