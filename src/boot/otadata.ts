// otadata: two copies of a 32-byte select entry, one sector each; the valid one with the higher seq is active. Pure.
// Source: docs/formats.md#otadata (IDF esp_flash_partitions.h, bootloader_common_loader.c, esp_ota_ops.c).

import { setU32, u32 } from "../platform/bytes";

/** In bytes. An enum takes no variable. */
export const enum Entries {
  LENGTH = 32,
  /** offset of ota_state; crc follows it */
  STATE = 24,
}

// esp_ota_select_entry_t, esp_flash_partitions.h of IDF v5.5:
//      0  uint32_t ota_seq
//      4  uint8_t  seq_label[20]
//     24  uint32_t ota_state
//     28  uint32_t crc            of ota_seq alone
const CRC = 28;
const ERASED = 0xffffffff; // an ota_seq of UINT32_MAX names no slot (bootloader_common_ota_select_invalid)

/** `esp_ota_img_states_t` without the prefix ESP_OTA_IMG_. */
export const enum State {
  NEW = 0,
  PENDING_VERIFY = 1,
  VALID = 2,
  INVALID = 3,
  ABORTED = 4,
  UNDEFINED = 0xffffffff,
}

export interface Entry {
  seq_: number;
  state_: number;
  /** the CRC of seq is right, and seq is not the erased value: the entry names a slot, in any state */
  whole_: boolean;
  /** whole, and neither INVALID nor ABORTED: the bootloader obeys it */
  valid_: boolean;
}

/** IDF's CRC of seq: a reflected CRC-32 whose register starts at 0. After four bytes it is seq, shifted 32 times. */
export function entryCrc(seq: number): number {
  let crc = seq;
  for (let i = 0; i < 32; i++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return ~crc >>> 0;
}

export function parseEntry(bytes: Uint8Array): Entry {
  const seq = u32(bytes, 0);
  const state = u32(bytes, Entries.STATE);
  const whole = seq !== ERASED && u32(bytes, CRC) === entryCrc(seq);
  return {
    seq_: seq,
    state_: state,
    whole_: whole,
    valid_: whole && state !== State.INVALID && state !== State.ABORTED,
  };
}

/** A copy of the 32 bytes `old` with `seq` and `state`. The label stays, as in IDF. */
export function buildEntry(old: Uint8Array, seq: number, state: State): Uint8Array {
  const bytes = new Uint8Array(Entries.LENGTH);
  bytes.set(old);
  setU32(bytes, 0, seq);
  setU32(bytes, Entries.STATE, state);
  setU32(bytes, CRC, entryCrc(seq));
  return bytes;
}

/** The N of the ota_N that `seq` names, of `count` slots. */
export function slotOfSeq(seq: number, count: number): number {
  return ((seq - 1) >>> 0) % count;
}

/** The copy that the bootloader obeys, 0 or 1; -1 for none. With equal seqs it is copy 0. */
export function activeCopy(entries: Entry[]): number {
  if (!entries[0].valid_) return entries[1].valid_ ? 1 : -1;
  return entries[1].valid_ && entries[1].seq_ > entries[0].seq_ ? 1 : 0;
}

/** The smallest seq above `seq` that names slot `index` of `count`; 0 if it would need more than 32 bits. */
export function nextSeq(seq: number, index: number, count: number): number {
  const next = seq + 1 + ((index - slotOfSeq(seq + 1, count) + count) % count);
  return next < ERASED ? next : 0;
}
