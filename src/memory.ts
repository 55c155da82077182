// What outlives a restart besides otadata: Storage file `.https-ota`. It is read with suspicion: anything that is not
// ours counts as empty. Losing it loses a trial and the memory of the highest sequence, never a boot.

import { Whole } from "./bytes";
import { readFile, writeFile } from "./hal";

const FILE = ".https-ota";

export interface Memory {
  /** highest sequence of an image that was confirmed */
  sequence: number;
  /** label of the slot that the last update selected; "" when a bootloader has aborted its image */
  slot: string;
  /** label of the slot that ran then */
  previous: string;
  /** starts of that image so far, or what became of it */
  boots: number;
  /** its sequence, 0 without a manifest, and its fs-verity digest, "" for insecure */
  next: number;
  digest: string;
  /** label of the slot that an update has written in, "" once that was verified and selected */
  written: string;
  /** how often a bootloader with rollback gave that image up */
  aborted: number;
  /** sequence and digest of the last image that was rolled back */
  badSequence: number;
  badDigest: string;
}

export const enum Boots {
  /** it was rolled back */
  GIVEN_UP = -1,
  /** it was marked as good */
  CONFIRMED = -2,
}

/**
 * So often may a bootloader abort an image before it counts as bad. It does so after any restart that comes before
 * markValid(), a loss of power in the first start too.
 */
const MAX_ABORTED = 3;

/** @chapter records */
export function recall(): Memory {
  let stored: any = null;
  try {
    stored = JSON.parse(readFile(FILE) || "");
  } catch (_) {
    // no file, or no JSON in it
  }
  const memory: any = {
    sequence: 0,
    slot: "",
    previous: "",
    boots: 0,
    next: 0,
    digest: "",
    written: "",
    aborted: 0,
    badSequence: 0,
    badDigest: "",
  };
  for (const name in memory) {
    const value = stored && stored[name];
    if (
      typeof value === typeof memory[name] &&
      (typeof value === "string" || (value >= Boots.CONFIRMED && value <= Whole.MAX && Math.floor(value) === value))
    )
      memory[name] = value;
  }
  return memory;
}

/** @chapter records */
export function remember(memory: Memory): void {
  writeFile(FILE, JSON.stringify(memory));
}

/**
 * The lowest sequence that may be installed while the slot called `running` runs: the confirmed one's, and its own.
 * @chapter records
 */
export function lowestSequence(running: string): number {
  const memory = recall();
  return memory.slot === running ? Math.max(memory.sequence, memory.next) : memory.sequence;
}

/**
 * Was the image of this sequence and digest rolled back on this device?
 * @chapter records
 */
export function wasRolledBack(sequence: number, digest: string): boolean {
  const memory = recall();
  return digest !== "" && memory.badDigest === digest && memory.badSequence === sequence;
}

/**
 * Before the slot called `target` is written: what will be in it was not verified, and may be whole all the same.
 * @chapter records
 */
export function rememberWritten(target: string): void {
  const memory = recall();
  if (memory.written === target) return;
  memory.written = target;
  remember(memory);
}

/**
 * Before `slot` is selected while `running` runs: a trial begins.
 * @chapter records
 */
export function rememberSelected(slot: string, running: string, sequence: number, digest: string): void {
  const memory = recall();
  // an image that lives to install the next one counts as confirmed
  memory.sequence = lowestSequence(running);
  if (memory.digest !== digest) memory.aborted = 0;
  memory.slot = slot;
  memory.previous = running;
  memory.boots = 0;
  memory.next = sequence;
  memory.digest = digest;
  memory.written = "";
  remember(memory);
}

function giveUp(memory: Memory): void {
  memory.boots = Boots.GIVEN_UP;
  memory.badSequence = memory.next;
  memory.badDigest = memory.digest;
}

/**
 * The bootloader aborted the image in the slot called `aborted`. Counted once for each time it was selected.
 * @chapter records
 */
export function rememberAborted(aborted: string): void {
  const memory = recall();
  if (memory.slot !== aborted || memory.boots === Boots.GIVEN_UP) return;
  memory.slot = "";
  if (++memory.aborted >= MAX_ABORTED) giveUp(memory);
  remember(memory);
}

/**
 * The image in the slot called `running` is good: its trial ends.
 * @chapter records
 */
export function rememberConfirmed(running: string): void {
  const memory = recall();
  if (memory.slot !== running || memory.boots === Boots.CONFIRMED) return;
  memory.sequence = Math.max(memory.sequence, memory.next);
  memory.boots = Boots.CONFIRMED;
  remember(memory);
}

/**
 * The image in the slot called `running` is about to be left for good.
 * @chapter records
 */
export function rememberRolledBack(running: string): void {
  const memory = recall();
  if (memory.slot !== running || memory.boots === Boots.GIVEN_UP) return;
  giveUp(memory);
  remember(memory);
}
