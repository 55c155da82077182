// Marks the running image in otadata as valid or invalid, by the functions of boot-selection.ts.
// Source: docs/design.md#slots, docs/formats.md#otadata.

import { markValidNatively } from "../platform/chip";
import { Flash } from "../platform/flash";
import { erase } from "../platform/flash-blocks";
import { isRestartPending, isRolledBack, setRestartPending } from "../platform/engine";
import { copyOf, readEntries, select, seqFor, slotByState, stateOf, writeEntry } from "./boot-selection";
import type { Layout } from "./layout";
import { activeCopy, State } from "./otadata";
import type { Partition } from "./partitions";
import { Boots, isSelected, loadRecord } from "./boot-record";
import { Code, otaError } from "../errors";

/** Is the running image on trial, by this module or by a bootloader with rollback? */
export function isOnTrial(layout: Layout): boolean {
  const record = loadRecord();
  return (
    ((record.boots >= 0 || record.boots === Boots.REFUSED) && isSelected(record, layout.running_)) ||
    stateOf(layout, layout.running_) === State.PENDING_VERIFY
  );
}

/**
 * Throws while the bootloader has the running image on trial, as esp_ota_begin does; and between a rollback and its
 * restart, because an update would overwrite the slot that starts next.
 */
export function checkConfirmed(layout: Layout): void {
  if (isRolledBack())
    throw otaError(Code.OTA_ROLLBACK_INVALID_STATE, "the running image was rolled back: restart() first");
  if (stateOf(layout, layout.running_) === State.PENDING_VERIFY)
    throw otaError(Code.OTA_ROLLBACK_INVALID_STATE, "the running image is not confirmed: call markValid() first");
}

/**
 * Marks the running image as valid. Normally the new entry is written into the other copy, with a higher seq, and the
 * present entry is erased after that: the running slot always has a valid entry. In two cases the entry is
 * rewritten in place:
 * - PENDING_VERIFY: after a loss of power a bootloader with rollback would abort the present entry anyway. IDF rewrites
 *   it in place too, and the other copy stays to fall back to. IDF's own call is used if this entry is the active one,
 *   because it marks the active entry.
 * - The other copy selects a slot that was chosen since the start.
 * Factory does not need a mark, and neither does a slot that no entry names.
 */
export function confirm(layout: Layout): void {
  const entries = readEntries(layout.otadata_);
  const copy = copyOf(layout, entries, layout.running_);
  if (copy < 0 || entries[copy].state_ === State.VALID) return;
  if (entries[copy].state_ === State.PENDING_VERIFY) {
    if (activeCopy(entries) === copy) markValidNatively();
    if (stateOf(layout, layout.running_) !== State.VALID) writeEntry(layout, copy, entries[copy].seq_, State.VALID);
    return;
  }
  if (isRestartPending() && activeCopy(entries) !== copy)
    return writeEntry(layout, copy, entries[copy].seq_, State.VALID);
  writeEntry(layout, 1 - copy, seqFor(layout, entries, layout.running_), State.VALID);
  erase(layout.otadata_!.address + copy * Flash.SECTOR);
}

/**
 * Selects `slot`, which ran before, and marks the entry of the running image INVALID. The selection comes first: the
 * mark only informs, except for an entry that a bootloader with rollback would abort anyway (PENDING_VERIFY).
 */
export function reject(layout: Layout, slot: Partition): void {
  const before = readEntries(layout.otadata_);
  const own = copyOf(layout, before, layout.running_);
  const pending = own >= 0 && before[own].state_ === State.PENDING_VERIFY;
  if (pending) writeEntry(layout, own, before[own].seq_, State.INVALID);
  // PENDING_VERIFY shows that the bootloader obeys states
  const selected = pending && slotByState(layout, readEntries(layout.otadata_)).address === slot.address;
  // VALID and not NEW: during a trial of `slot` the bootloader could fall back to the image that is rejected now
  if (!selected) select(layout, slot, State.VALID);
  setRestartPending(true);
  if (pending) return;
  const entries = readEntries(layout.otadata_);
  const copy = copyOf(layout, entries, layout.running_);
  if (copy >= 0) writeEntry(layout, copy, entries[copy].seq_, State.INVALID);
}
