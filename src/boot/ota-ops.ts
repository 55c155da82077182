// Which slot starts: the calls of IDF's esp_ota_ops.h that do not write an image.
// Source: docs/design.md#slots (IDF esp_ota_ops.c). Unlike IDF, they depend on the running slot and not on the entry with
// the highest seq.

import { isFilesTrial, loadRecord, recordConfirmed, recordRolledBack } from "./boot-record";
import { eraseUnused } from "./release-files";
import { restart } from "../platform/chip";
import { heldLock, isRolledBack, setRestartPending } from "../platform/engine";
import { State } from "./otadata";
import { type Partition, Subtype, Type } from "./partitions";
import { copyOf, select, selectedSlot, stateOf, readEntries } from "./boot-selection";
import { confirm, reject as rejectRunning } from "./confirmation";
import { type Layout, nextSlot, partitionByLabel, readLayout, slotByLabel } from "./layout";
import { Code, otaError, tryOr, noop, type OtaError } from "../errors";
import { acquireLock, type Lock } from "./lock";
import { type AppDesc, parseDesc, parseHeader, Size, walkSegments } from "../image/image";
import { verifyImage } from "../image/verify";
import { read } from "../platform/flash";

/** How `rollback` ends. */
export interface RollbackOptions {
  /**
   * false: the image that was rolled back runs on until the program restarts the device.
   * @default true
   */
  restart?: boolean;
  /** For `getStatus().rollbackReason`. Default: that rollback() was called. */
  reason?: string;
}

function slotOf(layout: Layout, given: Partition | string): Partition {
  const label = typeof given === "string" ? given : given && given.label;
  const slot = slotByLabel(layout, label);
  if (!slot || (typeof given !== "string" && slot.address !== given.address))
    throw otaError(Code.NOT_FOUND, "this device has no slot " + label + ": getStatus().slots lists them");
  return slot;
}

/** The partition called `label`, of any type; null when the table has none. `esp_partition_find_first` */
export function findPartition(label: string): Partition | null {
  return partitionByLabel(label);
}

/** The slot whose image is running. `esp_ota_get_running_partition` */
export function getRunningPartition(): Partition {
  return readLayout(true).running_;
}

/**
 * The slot that otadata selects. It differs from the running one after an update and after a fallback.
 * `esp_ota_get_boot_partition`
 */
export function getBootPartition(): Partition {
  const layout = readLayout();
  return selectedSlot(layout, readEntries(layout.otadata_));
}

/**
 * The slot that an update would write. With `from`, a slot or its label, the result is the slot that an update would write
 * if `from` were running, as with IDF's `start_from`. It can then be the running slot, which an update never writes. Throws
 * ESP_ERR_NOT_FOUND when this device has no slot `from`. `esp_ota_get_next_update_partition`
 */
export function getNextUpdatePartition(from?: Partition | string): Partition {
  const layout = readLayout();
  return nextSlot(layout, from ? slotOf(layout, from) : layout.running_);
}

/**
 * The app descriptor of the image in a partition, given as a partition or by its label, with the fields of
 * `handle.getImgDesc()`. Throws ESP_ERR_NOT_FOUND when the table has no such partition, or when the partition holds no
 * image, or an image without descriptor (IDF 3.2 and older); ESP_ERR_NOT_SUPPORTED when it is not for an app;
 * ESP_ERR_INVALID_ARG when neither a partition nor a label is given. Unlike IDF, it finds no image in a slot whose last
 * update did not end, or was refused. `esp_ota_get_partition_description`
 */
export function getDescription(partition: Partition | string): AppDesc {
  const label = typeof partition === "string" ? partition : partition && partition.label;
  if (typeof label !== "string") throw otaError(Code.INVALID_ARG, "expected a partition or its label");
  const row = partitionByLabel(label);
  if (!row || (typeof partition !== "string" && row.address !== partition.address))
    throw otaError(Code.NOT_FOUND, "the table has no partition " + label);
  if (row.type !== Type.APP) throw otaError(Code.NOT_SUPPORTED, "partition " + label + " is not for an app");
  const head = read(row.address, Size.DESC_END);
  const desc = parseHeader(head) && parseDesc(head);
  if (!desc)
    throw otaError(Code.NOT_FOUND, "no app descriptor in " + label + ": expected a whole image of IDF 3.3 or later");
  return desc;
}

/** The slot last marked INVALID or ABORTED, or null. `esp_ota_get_last_invalid_partition` */
export function getLastInvalidPartition(): Partition | null {
  const layout = readLayout();
  const entries = readEntries(layout.otadata_);
  let found: Partition | null = null;
  let seq = 0;
  for (let i = 0; i < layout.ota_.length; i++) {
    const copy = copyOf(layout, entries, layout.ota_[i]);
    if (copy >= 0 && !entries[copy].valid_ && (!found || entries[copy].seq_ < seq)) {
      found = layout.ota_[i];
      seq = entries[copy].seq_;
    }
  }
  return found;
}

/**
 * `esp_ota_img_states_t` of a slot, given as a partition or by its label: 0 new, 1 pending verify, 2 valid, 3 invalid,
 * 4 0xffffffff undefined. Throws ESP_ERR_NOT_SUPPORTED for factory, ESP_ERR_NOT_FOUND when otadata does not name the
 * slot. `esp_ota_get_state_partition`
 */
export function getState(partition: Partition | string): number {
  const layout = readLayout();
  const slot = slotOf(layout, partition);
  if (slot.subtype === Subtype.FACTORY) throw otaError(Code.NOT_SUPPORTED, "factory has no state");
  const state = stateOf(layout, slot);
  if (state === undefined) throw otaError(Code.NOT_FOUND, "otadata does not name " + slot.label);
  return state;
}

/**
 * Verifies the slots of `list` by their checksums, one after the other, and calls `choose` with the first good one. It
 * holds the lock, so that no update erases them in this time. `none`: the message of the error when no slot is good; with it
 * a running update is stopped first. Without `none` the error is that of the last slot, and while an update runs it is
 * OTA_ALREADY_IN_PROGRESS.
 * More than 30 lines: each callback needs the lock and both ends of the promise.
 */
function chooseSlot(
  list: (layout: Layout) => Partition[],
  choose: (layout: Layout, slot: Partition, done: () => void) => void,
  none?: string,
): Promise<number> {
  return new Promise<number>((resolve, reject) => {
    tryOr(() => {
      const layout = readLayout();
      const holder: Lock | null = heldLock();
      let lock: Lock;
      function fail(error?: OtaError): void {
        lock.release_();
        reject(error || otaError(Code.INVALID_STATE, "selection of a slot aborted"));
      }
      if (none && holder) holder.stop_();
      lock = acquireLock(fail, 0);
      function attempt(slots: Partition[], error: OtaError | null): void {
        const slot = slots.shift();
        if (!slot) return fail(none ? otaError(Code.OTA_ROLLBACK_FAILED, none) : (error as OtaError));
        verifyImage(layout.chip_, slot.address, slot.size, "", "", (failure) => {
          if (heldLock() !== lock) return;
          if (failure) return attempt(slots, failure);
          tryOr(() => {
            choose(layout, slot, () => {
              lock.release_();
              resolve(Code.OK);
            });
          }, fail);
        });
      }
      tryOr(() => {
        attempt(list(layout), null);
      }, fail);
    }, reject);
  });
}

/**
 * Verifies the image in a slot, given as a partition or by its label, then makes it the one that starts next. Rejects
 * with ESP_ERR_OTA_ALREADY_IN_PROGRESS while an update is running. `esp_ota_set_boot_partition`
 */
export function setBootPartition(partition: Partition | string): Promise<number> {
  return chooseSlot(
    (layout) => [slotOf(layout, partition)],
    (layout, slot, done) => {
      select(layout, slot, State.NEW);
      done();
    },
  );
}

/**
 * Marks the running image and its files as good, so that nothing rolls them back, and erases the files that they
 * replace. `esp_ota_mark_app_valid_cancel_rollback`
 */
export function markValid(): void {
  const layout = readLayout(true);
  confirm(layout);
  recordConfirmed(layout.running_);
  // if this fails, the next update erases them
  tryOr(() => eraseUnused(null), noop);
}

/** The other slots: first the one that ran before the trial, then those whose entry shows that their image has run. */
function slotsToFallBackTo(layout: Layout): Partition[] {
  const slots = layout.factory_ ? layout.ota_.concat([layout.factory_]) : layout.ota_;
  const entries = readEntries(layout.otadata_);
  const record = loadRecord();
  const previous = record.slot === layout.running_.label ? record.previous : "";
  const first: Partition[] = [];
  const rest: Partition[] = [];
  for (let i = 0; i < slots.length; i++) {
    if (slots[i].address === layout.running_.address) continue;
    const copy = copyOf(layout, entries, slots[i]);
    if (slots[i].label === previous) first.unshift(slots[i]);
    else if (copy >= 0 && entries[copy].valid_ && entries[copy].state_ !== State.NEW) first.push(slots[i]);
    else rest.push(slots[i]);
  }
  return first.concat(rest);
}

/**
 * Does a slot hold an image that `rollback()` could go back to? It checks the slots that `rollback()` would check, but only
 * header, segments and length of an image. The checksum takes seconds: `rollback()` verifies it before it selects a slot,
 * while IDF verifies it here too. Also true while files alone are on trial, because the files before them come back. Else
 * false on a table with one slot.
 * `esp_ota_check_rollback_is_possible`
 */
export function canRollback(): boolean {
  let possible = false;
  // any other error, such as NO_MEM, does not answer the question, so it is thrown
  function ignore(error: OtaError): void {
    if (error.code !== Code.OTA_VALIDATE_FAILED && error.code !== Code.NOT_SUPPORTED) throw error;
  }
  tryOr(() => {
    const layout = readLayout(true);
    possible = isFilesTrial(loadRecord(), layout.running_);
    // without otadata no other slot can start
    if (layout.otadata_)
      slotsToFallBackTo(layout).forEach((slot) => {
        tryOr(() => {
          walkSegments(layout.chip_, slot.size, (offset, length) => read(slot.address + offset, length));
          possible = true;
        }, ignore);
      });
  }, ignore);
  return possible;
}

/**
 * Rolls back. `verdict`: the program has asked for it; else the starts ran out, or a check failed. `reason`: for
 * getStatus(). `stay`: do not restart.
 * More than 30 lines: its callbacks share both ends of the promise.
 */
export function fallBack(verdict: boolean, reason: string, stay?: boolean): Promise<number> {
  return new Promise<number>((resolve, reject) => {
    tryOr(() => {
      const running = readLayout(true).running_;
      // a second rollback must not change what the first one has selected
      const again = isRolledBack();
      if (again || isFilesTrial(loadRecord(), running)) {
        // only the record must change, and at once: the loader calls this before it starts a program
        const lock: Lock | null = heldLock();
        if (lock) lock.stop_();
        if (!again) recordRolledBack(running, verdict, reason);
        setRestartPending(true);
        resolve(0);
        if (!stay) restart();
        return;
      }
      chooseSlot(
        slotsToFallBackTo,
        (layout, slot, done) => {
          tryOr(() => {
            // a failed record must not stop the rollback
            recordRolledBack(layout.running_, verdict, reason);
          }, noop);
          rejectRunning(layout, slot);
          done();
          if (!stay) restart();
        },
        "no other slot holds a whole image",
      ).then(resolve, reject);
    }, reject);
  });
}

/**
 * Marks the running image as bad, selects another slot that holds a whole image, and restarts. While a release of files
 * alone is on trial, the files before it come back, and the slot stays. A running update is
 * ended. With `{ restart: false }` it does not restart (`esp_ota_mark_app_invalid_rollback`), and resolves with 0 when
 * the other slot is selected; until the restart an update is refused with ESP_ERR_OTA_ROLLBACK_INVALID_STATE, because it
 * would overwrite that slot. Any other argument is ignored, such as the error in `check().then(ota.markValid,
 * ota.rollback)`: a rollback must not fail because of it. Rejects with ESP_ERR_OTA_ROLLBACK_FAILED when no other slot holds
 * a whole image.
 * `esp_ota_mark_app_invalid_rollback_and_reboot`
 */
export function rollback(options?: RollbackOptions): Promise<number> {
  const reason = options && options.reason;
  return fallBack(
    true,
    typeof reason === "string" ? reason : "rollback() was called",
    !!options && options.restart === false,
  );
}
