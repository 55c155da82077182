// The first word of a slot holds the magic number of an image. It is written last, after the rest was verified in
// flash. So no bootloader takes a refused or unverified file for an image, whatever otadata says.

import { binary, Flash, holds, read } from "./flash";
import { erase, write } from "./flash-blocks";

/** In bytes. */
const enum Size {
  WORD = 4,
  /** the bytes that resumeOffset() compares: they must still be blank when a loss of power has torn the sector */
  HEAD = 1024,
}

/** `length` erased bytes, as a binary string. */
export function blank(length: number): string {
  return binary(new Uint8Array(length).fill(0xff));
}

/**
 * Makes the first word of the slot at `addr` blank, so that it holds no image. A loss of power in between loses the
 * rest of the sector.
 */
export function clearWord(addr: number): void {
  if (holds(addr, blank(Size.WORD))) return;
  const rest = binary(read(addr + Size.WORD, Flash.SECTOR - Size.WORD));
  erase(addr);
  // the beginning is written last, because an update must not resume from a torn sector
  write(addr + Size.HEAD, rest.substr(Size.HEAD - Size.WORD));
  write(addr + Size.WORD, rest.substr(0, Size.HEAD - Size.WORD));
}

/** Writes the first `word` of the slot at `addr`, after the rest was verified: now the slot holds an image. */
export function completeImage(addr: number, word: string): void {
  if (holds(addr, word)) return;
  clearWord(addr);
  write(addr, word);
}
