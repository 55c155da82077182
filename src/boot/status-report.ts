// getStatus(): a report on the device. It writes nothing.

import { isOnTrial } from "./confirmation";
import { Prefix } from "../platform/bytes";
import { type BootRecord, knownImage, loadRecord } from "./boot-record";
import { read } from "../platform/flash";
import { isRestartPending, storageStats, firmwareVersion } from "../platform/engine";
import { parseDesc, Size, walkSegments } from "../image/image";
import type { Partition } from "./partitions";
import { currentSet } from "./release-files";
import { selectedSlot, stateOf, readEntries } from "./boot-selection";
import { type Layout, nextSlot, readLayout } from "./layout";
import { tryOr, noop } from "../errors";
import { lastResult } from "./lock";

/** What a slot holds. */
export interface SlotStatus {
  label: string;
  /** in bytes: the size of the largest image that fits */
  size: number;
  /** `esp_ota_img_states_t`, undefined when otadata does not name it */
  state: number | undefined;
  /**
   * For the running slot Espruino's own version. For others the version of the manifest that the image came with, or of
   * its app descriptor; undefined when the slot holds no whole image, or when its version is unknown.
   */
  version: string | undefined;
}

/** The release of files whose program runs. */
export interface ReleaseStatus {
  version: string;
  /** name of the program */
  entry: string;
  /** names of all files */
  files: string[];
}

/** For remote diagnosis: what runs, what starts next, and why they may differ. Slots are named by their labels. */
export interface Status {
  running: string;
  boot: string;
  /** the slot that an update would write; "" if the table has no other slot */
  next: string;
  /** `esp_ota_img_states_t` of the running slot, undefined when otadata does not name it */
  state: number | undefined;
  /** process.env.VERSION */
  version: string;
  /** highest confirmed sequence */
  sequence: number;
  /** the release of files that runs, null for none */
  release: ReleaseStatus | null;
  /** starts so far and the slot to fall back to; null unless the running image or its files are on trial */
  trial: { boots: number; previous: string } | null;
  /**
   * what counts as bad because it was rolled back or the bootloader refused it, the last one first: the digest of an image,
   * as `digest` takes it; for a release of files "release-sha256:" and its id
   */
  rolledBack: string[];
  /** why the last image was rolled back, such as the error that check() threw; "" if none was since the last update */
  rollbackReason: string;
  /** all slots, the running one too */
  slots: SlotStatus[];
  /** bytes of Storage: `free` behind the last file, `trash` of erased files, which a compaction frees */
  storage: { free: number; trash: number };
  /**
   * how the last update since the start has ended: "ESP_OK", or name and message of its error; "" before the first
   */
  last: string;
  /** why another slot than the selected one runs; "" if the selected one runs */
  differs: string;
}

function whyDifferent(layout: Layout, selected: Partition, record: BootRecord): string {
  if (selected.address === layout.running_.address) return "";
  const slot = "slot " + selected.label;
  try {
    walkSegments(layout.chip_, selected.size, (offset, length) => read(selected.address + offset, length));
  } catch (thrown: any) {
    return slot + " can't start: " + thrown.message;
  }
  if (isRestartPending()) return slot + " was selected, and not restarted into since";
  return "the bootloader refused " + slot + (record.refused ? ", " + record.refused + " times before" : "");
}

function describe(layout: Layout, slot: Partition): SlotStatus {
  let version: string | undefined;
  if (slot.address === layout.running_.address) version = firmwareVersion();
  else
    tryOr(() => {
      walkSegments(layout.chip_, slot.size, (offset, length) => read(slot.address + offset, length));
      const image = knownImage(slot);
      const desc = parseDesc(read(slot.address, Size.DESC_END));
      version = (image && image.version) || (desc ? desc.version : undefined);
    }, noop);
  return { label: slot.label, size: slot.size, state: stateOf(layout, slot), version: version };
}

/** A report on the device. It reads flash and writes nothing. */
export function getStatus(): Status {
  const layout = readLayout(true);
  const record = loadRecord();
  const set = currentSet();
  const selected = selectedSlot(layout, readEntries(layout.otadata_));
  const slots = layout.factory_ ? layout.ota_.concat([layout.factory_]) : layout.ota_;
  const storage = storageStats();
  return {
    running: layout.running_.label,
    boot: selected.label,
    next: layout.otadata_ ? nextSlot(layout, layout.running_).label : "",
    state: stateOf(layout, layout.running_),
    version: firmwareVersion(),
    sequence: record.sequence,
    release: set ? { version: set.version, entry: set.entry, files: set.files.map((one) => one.name) } : null,
    trial: isOnTrial(layout) ? { boots: Math.max(record.boots, 0), previous: record.previous } : null,
    rolledBack: record.bad.map((bad) => (bad.indexOf(":") < 0 ? Prefix.CONFIG + bad : bad)),
    rollbackReason: record.reason,
    slots: slots.map((slot) => describe(layout, slot)),
    storage: { free: storage.freeBytes, trash: storage.trashBytes },
    last: lastResult,
    differs: whyDifferent(layout, selected, record),
  };
}
