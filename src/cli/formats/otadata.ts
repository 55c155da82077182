// otadata: which of its two select entries a bootloader obeys, and why it ignores the other one.
// The format is src/boot/otadata.ts, the device's own. Source: docs/formats.md#otadata.
import { Entries, activeCopy as activeOf, entryCrc, parseEntry, type State } from "../../boot/otadata.ts";
import { u32 } from "../../platform/bytes.ts";
import { hex, isBlank } from "./bytes.ts";
import { SECTOR } from "./partitions.ts";

export const OTADATA_SIZE = 2 * SECTOR;
const CRC = 28;
const ERASED = 0xffffffff;
/** `esp_ota_img_states_t`, without its ESP_OTA_IMG_ */
const STATES: Record<State, string> = {
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
  /** why it is not valid */
  reason: string | null;
}

function readEntry(bytes: Uint8Array, offset: number): Entry {
  const { seq_: seq, state_: stateNumber, whole_: whole, valid_: valid } = parseEntry(bytes);
  const blank = isBlank(bytes.subarray(0, Entries.LENGTH));
  const state = STATES[stateNumber as State] ?? hex(stateNumber);
  const crc = { found: hex(u32(bytes, CRC), 8), wanted: hex(entryCrc(seq), 8) };
  const ok = crc.found === crc.wanted;
  let reason: string | null = null;
  if (!whole)
    reason = seq === ERASED ? (blank ? "blank" : "seq is erased") : `CRC ${crc.found}, computed ${crc.wanted}`;
  else if (!valid) reason = `state ${state}`;
  return { offset, blank, seq, state, crc: { ...crc, ok }, valid, reason };
}

/** Both copies; `offset` is where otadata begins in the file. */
export function readOtadata(bytes: Uint8Array, offset = 0): [Entry, Entry] {
  return [readEntry(bytes, offset), readEntry(bytes.subarray(SECTOR), offset + SECTOR)];
}

/** The copy that the bootloader obeys, or null. */
export function activeCopy(entries: readonly [Entry, Entry]): 0 | 1 | null {
  const copy = activeOf(entries.map(({ seq, valid }) => ({ seq_: seq, valid_: valid, state_: 0, whole_: valid })));
  return copy < 0 ? null : (copy as 0 | 1);
}

/** Two sectors with nothing behind the entries: for telling files apart. */
export function looksLikeOtadata(bytes: Uint8Array): boolean {
  if (bytes.length !== OTADATA_SIZE) return false;
  return [0, SECTOR].every((at) => isBlank(bytes.subarray(at + Entries.LENGTH, at + SECTOR)));
}
