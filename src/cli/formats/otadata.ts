// otadata: two copies of a 32-byte select entry, one sector each, and what the bootloader makes of them.
// Source: docs/formats.md#otadata (IDF esp_flash_partitions.h, bootloader_common_loader.c, bootloader_utility.c).
import { hex, isBlank, u32 } from "./bytes.ts";
import { SECTOR } from "./partitions.ts";

export const OTADATA_SIZE = 2 * SECTOR;
const ENTRY = 32;
const ERASED = 0xffffffff;
const STATES: Record<number, string> = {
  0: "NEW",
  1: "PENDING_VERIFY",
  2: "VALID",
  3: "INVALID",
  4: "ABORTED",
  [ERASED]: "UNDEFINED",
};

export interface Entry {
  /** in the file */
  offset: number;
  blank: boolean;
  seq: number;
  state: string;
  crc: { found: string; wanted: string; ok: boolean };
  /** The bootloader obeys it when it has the higher seq. */
  valid: boolean;
  /** why not */
  reason: string | null;
}

/** CRC-32 over seq whose register starts at 0: after four bytes it is seq shifted 32 times (docs/formats.md#otadata). */
export function entryCrc(seq: number): number {
  let crc = seq;
  for (let i = 0; i < 32; i++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return ~crc >>> 0;
}

function readEntry(bytes: Uint8Array, offset: number): Entry {
  const seq = u32(bytes, 0);
  const stateNumber = u32(bytes, 24);
  const state = STATES[stateNumber] ?? hex(stateNumber);
  const crc = { found: hex(u32(bytes, 28), 8), wanted: hex(entryCrc(seq), 8) };
  const ok = crc.found === crc.wanted;
  let reason: string | null = null;
  if (seq === ERASED) reason = isBlank(bytes.subarray(0, ENTRY)) ? "blank" : "seq is erased";
  else if (!ok) reason = `CRC ${crc.found}, computed ${crc.wanted}`;
  else if (state === "INVALID" || state === "ABORTED") reason = `state ${state}`;
  return {
    offset,
    blank: isBlank(bytes.subarray(0, ENTRY)),
    seq,
    state,
    crc: { ...crc, ok },
    valid: reason === null,
    reason,
  };
}

/** Both copies; `offset` is where otadata begins in the file. */
export function readOtadata(bytes: Uint8Array, offset = 0): [Entry, Entry] {
  return [readEntry(bytes, offset), readEntry(bytes.subarray(SECTOR), offset + SECTOR)];
}

/** The copy that the bootloader obeys; a tie goes to copy 0. */
export function activeCopy([first, second]: readonly [Entry, Entry]): 0 | 1 | null {
  if (!first.valid) return second.valid ? 1 : null;
  return second.valid && second.seq > first.seq ? 1 : 0;
}

/** Which ota_N of `count` a seq names (docs/formats.md#otadata). */
export function slotOfSeq(seq: number, count: number): number {
  return ((seq - 1) >>> 0) % count;
}

/** Two sectors with nothing behind the entries: for telling files apart. */
export function looksLikeOtadata(bytes: Uint8Array): boolean {
  if (bytes.length !== OTADATA_SIZE) return false;
  return [0, SECTOR].every((at) => isBlank(bytes.subarray(at + ENTRY, at + SECTOR)));
}
