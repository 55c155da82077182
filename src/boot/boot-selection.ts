// Writes otadata: which slot the bootloader starts. The only writer of otadata; `select` is the commit point.
// Source: docs/formats.md#otadata, docs/design.md#slots. Unlike IDF, decisions depend on the running slot
// and not on the highest seq: otherwise the entry of the running slot would be overwritten after a fallback.

import { binary, Flash, read } from "../platform/flash";
import { erase, isBlank, write } from "../platform/flash-blocks";
import { isRolledBack, setRestartPending } from "../platform/engine";
import { activeCopy, buildEntry, Entries, type Entry, nextSeq, parseEntry, slotOfSeq, State } from "./otadata";
import { obeysStates } from "./bootloader";
import { type Partition, Subtype } from "./partitions";
import type { Layout } from "./layout";
import { Code, otaError } from "../errors";

/** The entries of both copies; without an otadata partition they are blank. */
export function readEntries(otadata: Partition | null): Entry[] {
  function entryAt(offset: number): Entry {
    return parseEntry(
      otadata ? read(otadata.address + offset, Entries.LENGTH) : new Uint8Array(Entries.LENGTH).fill(255),
    );
  }
  return [entryAt(0), entryAt(Flash.SECTOR)];
}

/** Is `entry` whole, and does it name `slot`? No entry names factory, whose subtype is below those of ota_N. */
function names(layout: Layout, entry: Entry, slot: Partition): boolean {
  return entry.whole_ && slotOfSeq(entry.seq_, layout.ota_.length) === slot.subtype - Subtype.OTA_0;
}

/** The copy that names `slot`, in any state; the newer one if both do, -1 if none does. */
export function copyOf(layout: Layout, entries: Entry[], slot: Partition): number {
  let copy = -1;
  for (let i = 0; i < 2; i++)
    if (names(layout, entries[i], slot) && (copy < 0 || entries[i].seq_ > entries[copy].seq_)) copy = i;
  return copy;
}

/**
 * The slot that the entries select by their states. The bootloader starts it, or another one if its image is broken.
 */
export function slotByState(layout: Layout, entries: Entry[]): Partition {
  const ota = layout.ota_;
  const copy = activeCopy(entries);
  if (copy >= 0 && ota.length) return ota[slotOfSeq(entries[copy].seq_, ota.length)];
  return layout.factory_ || ota[0];
}

/**
 * Must an entry that is marked bad count as active? A bootloader of IDF 3.1 or 3.2 ignores states: it obeys the newest
 * entry even when this is marked bad. The bootloader is taken for one of these if the newest entry is marked bad, names the
 * running slot, and the states select another slot. This looks the same in two other cases, which are excluded as far as
 * possible: rollback() has marked the entry since the start, or a later bootloader fell back from a broken image, which is
 * known only if the bootloader is known to obey states.
 */
function runningEntryIsMarkedBad(layout: Layout, entries: Entry[]): boolean {
  const own = copyOf(layout, entries, layout.running_);
  const other = entries[1 - own];
  return (
    own >= 0 &&
    !entries[own].valid_ &&
    !(other.whole_ && other.seq_ > entries[own].seq_) &&
    slotByState(layout, entries).address !== layout.running_.address &&
    !isRolledBack() &&
    !obeysStates()
  );
}

/** The slot that otadata selects. */
export function selectedSlot(layout: Layout, entries: Entry[]): Partition {
  return runningEntryIsMarkedBad(layout, entries) ? layout.running_ : slotByState(layout, entries);
}

/**
 * The copy that must stay while the other one is written: the newest entry of the running slot, else the active one, else
 * none (-1).
 */
function copyToKeep(layout: Layout, entries: Entry[]): number {
  const keep = copyOf(layout, entries, layout.running_);
  return keep >= 0 && (entries[keep].valid_ || runningEntryIsMarkedBad(layout, entries)) ? keep : activeCopy(entries);
}

/** Writes an entry into `copy`. If it does not read back as written, it is erased: the bootloader might obey it. */
export function writeEntry(layout: Layout, copy: number, seq: number, state: State): void {
  const addr = layout.otadata_!.address + copy * Flash.SECTOR;
  const entry = binary(buildEntry(read(addr, Entries.LENGTH), seq, state));
  erase(addr);
  try {
    write(addr, entry);
  } catch (thrown) {
    erase(addr);
    throw thrown;
  }
}

/**
 * Erases the active copy, so that factory starts. If the erase fails although the copy is blank, the entry is written
 * again.
 */
function eraseActive(addr: number): void {
  const entry = binary(read(addr, Entries.LENGTH));
  try {
    erase(addr);
  } catch (thrown) {
    if (isBlank(addr)) write(addr, entry);
    throw thrown;
  }
}

/** A seq for `slot` above every whole entry: a bootloader of IDF 3.1 or 3.2 obeys entries that are marked INVALID too. */
export function seqFor(layout: Layout, entries: Entry[], slot: Partition): number {
  let highest = 0;
  for (let i = 0; i < 2; i++) if (entries[i].whole_ && entries[i].seq_ > highest) highest = entries[i].seq_;
  const seq = nextSeq(highest, slot.subtype - Subtype.OTA_0, layout.ota_.length);
  if (!seq) throw otaError(Code.OTA_SELECT_INFO_INVALID, "no sequence number above " + highest);
  return seq;
}

/**
 * Makes the bootloader start `slot` at the next restart. `state` is NEW for an image that must be confirmed: a
 * bootloader with rollback puts it on trial, others start it like any other (docs/formats.md#what-a-bootloader-starts).
 * Throws when flash fails; then the old selection stays.
 */
export function select(layout: Layout, slot: Partition, state: State): void {
  let entries = readEntries(layout.otadata_);
  const markedBad = runningEntryIsMarkedBad(layout, entries);
  setRestartPending();
  if (!markedBad && slotByState(layout, entries).address === slot.address) return;
  if (slot.subtype === Subtype.FACTORY) {
    // without an entry factory starts. The inactive copy is erased first: left alone, it would select an older slot
    const active = (markedBad ? copyToKeep(layout, entries) : activeCopy(entries)) === 1 ? 1 : 0;
    entries = []; // from here on memory is shortest
    erase(layout.otadata_!.address + (1 - active) * Flash.SECTOR);
    eraseActive(layout.otadata_!.address + active * Flash.SECTOR);
    return;
  }
  const copy = copyToKeep(layout, entries) === 0 ? 1 : 0;
  const seq = seqFor(layout, entries, slot);
  entries = [];
  writeEntry(layout, copy, seq, state);
}

/**
 * Before `target` is erased: makes sure that otadata selects the running slot, then erases every entry that names
 * `target`, so that a half-written slot is never selected. If a third slot was selected, this selection is undone: if the
 * image of that slot is broken, the bootloader could fall back to `target`, whole but without the record of its trial.
 */
export function deselect(layout: Layout, target: Partition): void {
  let entries = readEntries(layout.otadata_);
  const own = copyOf(layout, entries, layout.running_);
  const selected = slotByState(layout, entries).address;
  // if so, the entry of the running slot becomes the active one when the entry of `target` is erased
  const left = selected === target.address && own >= 0 && entries[own].valid_;
  if (selected !== layout.running_.address && !left) {
    entries = []; // select() reads them again, and memory is shortest here
    select(layout, layout.running_, State.VALID);
    entries = readEntries(layout.otadata_);
  }
  // the active copy last
  const last = activeCopy(entries) === 0 ? 0 : 1;
  if (names(layout, entries[1 - last], target)) erase(layout.otadata_!.address + (1 - last) * Flash.SECTOR);
  if (names(layout, entries[last], target)) eraseActive(layout.otadata_!.address + last * Flash.SECTOR);
}

/** State of the entry that names `slot`; undefined if no entry does, as for factory. */
export function stateOf(layout: Layout, slot: Partition): number | undefined {
  const entries = readEntries(layout.otadata_);
  const copy = copyOf(layout, entries, slot);
  return copy < 0 ? undefined : entries[copy].state_;
}
