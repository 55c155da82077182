// What must survive a restart, besides otadata: docs/formats.md, "Boot record". Records are appended to a Storage file;
// when it is full, the next record goes into a second file. The last whole record counts. Its file stays until the next
// record is whole in the other file, so it survives a loss of power and a full Storage. A file is created with its full
// size: storage-file.ts.

import { u16, Whole } from "../platform/bytes";
import { binary, read } from "../platform/flash";
import { eraseFile, readFile, runningSet, writeFile } from "../platform/engine";
import { createFile } from "./storage-file";
import { Size, walkSegments } from "../image/image";
import type { Partition } from "./partitions";
import { parseSet } from "./file-set";
import { readRecords, RecordFile, sealRecord } from "./record-file";
import { Code, otaError, tryOr, noop } from "../errors";

/** The files are NAME0 and NAME1. A file NAME has an older form: it is read once, and replaced. */
const NAME = ".https-ota";

/** The image in a slot, as far as this module has installed or hashed it. */
export interface SlotImage {
  label: string;
  /** bytes of its file */
  size: number;
  /** fs-verity, 64 hexadecimal digits; "" for an image that was installed without one */
  digest: string;
  /** CRC-32 of the end of the image, with its own SHA-256: an image that was flashed by USB has another one */
  tail: number;
  /** version of its manifest, "" without a manifest */
  version: string;
}

/** Which set of files runs with the image in a slot: docs/formats.md#set-of-files. */
export interface Binding {
  /** label of the slot */
  label: string;
  /** name of the set in Storage, "" for none */
  set: string;
  /**
   * While the set is on trial: the set that ran before in this slot, "" for none. undefined: the set is confirmed, or the
   * last update brought no files.
   */
  before?: string;
}

export interface BootRecord {
  /** highest sequence of a confirmed image */
  sequence: number;
  /** label of the slot that the last update selected */
  slot: string;
  /** label of the slot that ran during that update */
  previous: string;
  /** how often the image of `slot` has started, or one of Boots */
  boots: number;
  /** sequence of the image of `slot`, 0 without a manifest */
  next: number;
  /** project of the last manifest whose image was installed, "" before the first */
  project: string;
  /** how often the image of `slot`, or the release `given`, failed without a verdict of the program: see giveUp() */
  refused: number;
  images: SlotImage[];
  /** digests of the images that count as bad, and names of such releases (Bad); the last one first */
  bad: string[];
  /** why the last image was rolled back; "" if none was rolled back since the last update */
  reason: string;
  /** a slot that is not in the list uses the confirmed set of the first one: bindingOf() */
  sets: Binding[];
  /** the release with files whose failures `refused` counts, as Bad names it; "" when it counts those of an image */
  given: string;
  /** number of the record */
  serial_: number;
  /** which of the two files has it, -1 for none */
  file_: number;
  /** offset of the next record in this file */
  end_: number;
}

export const enum Boots {
  /** it was rolled back */
  GIVEN_UP = -1,
  /** it was confirmed */
  CONFIRMED = -2,
  /** it was selected, but another slot runs: the bootloader seems to have refused it */
  REFUSED = -3,
}

const enum Trial {
  /**
   * After this many failures without a verdict of the program an image counts as bad. A bootloader with rollback rolls back
   * after any restart before markValid(), boot() after several. A loss of power, or a crash with another cause, looks the
   * same: so one failure is not enough.
   */
  REFUSALS = 3,
  /** an update reserves room for the records of this many starts */
  STARTS = 8,
}

/** The most entries of `bad`, and of `images` and `sets`. */
const enum Kept {
  BAD = 4,
  IMAGES = 3,
}

/** An enum takes no variable. */
const enum Tail {
  /** bytes at the end of an image. They contain its own SHA-256, so they differ between images */
  LENGTH = 64,
}

/** Names in `bad`. An image is named by its digest alone. */
export const enum Bad {
  /** a release with files: this prefix, then its id */
  RELEASE = "release-sha256:",
}

/** The most characters that are kept. */
const enum Length {
  /** of a version or a project */
  NAME = 32,
  /** of the reason of a rollback */
  REASON = 80,
}

/** Fills `record` from the file of the older form. Invalid fields count as absent. */
function takeOver(record: any): void {
  const old: any = {};
  tryOr(() => {
    const parsed = JSON.parse(readFile(NAME) || "");
    // own fields only: the engine's JSON.parse turns "__proto__" into the prototype
    Object.keys(parsed).forEach((name) => {
      old[name] = parsed[name];
    });
  }, noop);
  const names = ["sequence", "slot", "previous", "boots", "next", "aborted"];
  for (let i = 0; i < names.length; i++) {
    const field = names[i] === "aborted" ? "refused" : names[i];
    const value = old[names[i]];
    const count = value >= Boots.CONFIRMED && value <= Whole.MAX && Math.floor(value) === value;
    if (typeof value === typeof record[field] && (count || typeof value === "string")) record[field] = value;
  }
  if (record.slot && typeof old.digest === "string")
    record.images.push({ label: record.slot, size: 0, digest: old.digest, tail: 0, version: "" });
  if (typeof old.badDigest === "string" && old.badDigest) record.bad.push(old.badDigest);
}

/** Fills `record` from file NAME + `file`, if the last whole record there is newer. */
function takeNewer(record: BootRecord, file: number): void {
  const found = readRecords(readFile(NAME + file) || "");
  const fields = found.fields_;
  if (!fields || fields[0] <= record.serial_) return;
  record.serial_ = fields[0];
  record.sequence = fields[1];
  record.slot = fields[2];
  record.previous = fields[3];
  record.boots = fields[4] + found.ticks_;
  record.next = fields[5];
  record.refused = fields[7];
  record.images = fields[8].map((image: any[]) => ({
    label: image[0],
    size: image[1],
    digest: image[2],
    tail: image[3],
    version: image[4],
  }));
  record.bad = fields[9];
  record.project = fields[10] || "";
  record.reason = fields[11] || "";
  record.given = fields[13] || "";
  record.sets = (fields[12] || []).map((one: any[]) => ({ label: one[0], set: one[1], before: one[2] }));
  record.file_ = file;
  record.end_ = found.end_;
}

export function loadRecord(): BootRecord {
  const record: BootRecord = {
    sequence: 0,
    slot: "",
    previous: "",
    boots: 0,
    next: 0,
    project: "",
    refused: 0,
    images: [],
    bad: [],
    reason: "",
    sets: [],
    given: "",
    serial_: 0,
    file_: -1,
    end_: 0,
  };
  takeNewer(record, 0);
  takeNewer(record, 1);
  if (record.file_ < 0) takeOver(record);
  return record;
}

/** Appends `sealed` to the file of `record`; false if the file does not have it afterwards. */
function append(record: BootRecord, sealed: string): boolean {
  tryOr(() => {
    // at offset 0 the engine creates the file again, unless it has this size and is blank there
    writeFile(NAME + record.file_, sealed, record.end_, record.end_ ? 0 : RecordFile.SIZE);
  }, noop);
  return (readFile(NAME + record.file_) || "").substr(record.end_, sealed.length) === sealed;
}

/** Creates file NAME + `file` and writes `sealed` into it. The file with the last record stays. Throws as createFile(). */
function create(record: BootRecord, file: number, sealed: string): void {
  for (let tries = 3; tries--; ) {
    createFile(NAME + file, RecordFile.SIZE, "the boot record");
    record.file_ = file;
    record.end_ = 0;
    if (append(record, sealed)) return;
  }
  throw otaError(Code.FLASH_OP_FAIL, "Storage does not hold what is written into file " + NAME + file);
}

function seal(record: BootRecord): string {
  return sealRecord(
    JSON.stringify([
      record.serial_ + 1,
      record.sequence,
      record.slot,
      record.previous,
      record.boots,
      record.next,
      0, // not used
      record.refused,
      record.images.map((image) => [image.label, image.size, image.digest, image.tail, image.version]),
      record.bad,
      record.project,
      record.reason,
      record.sets.map((one) => (one.before === undefined ? [one.label, one.set] : [one.label, one.set, one.before])),
      record.given,
    ]),
  );
}

/** The most bytes that `count` more records and the starts of a trial can take. */
function roomFor(sealed: string, count: number): number {
  return count * (sealed.length + 4 * RecordFile.UNIT) + Trial.STARTS * RecordFile.UNIT;
}

/**
 * Saves `record`. `spare`: the file must have room for this many more records, and for the starts of a trial.
 * Throws when Storage is full; then the last record still counts.
 */
export function saveRecord(record: BootRecord, spare?: number): void {
  const sealed = seal(record);
  const before = record.file_;
  const end = record.end_ + sealed.length + (spare ? roomFor(sealed, spare) : 0);
  if (before < 0 || end > RecordFile.SIZE || !append(record, sealed)) create(record, before ? 0 : 1, sealed);
  if (before < 0) eraseFile(NAME);
}

/** Counts one more start of the image on trial. Throws like saveRecord. */
export function countStart(record: BootRecord): void {
  if (record.boots === Boots.REFUSED) {
    // the image does run: a reset of JavaScript alone had looked as if the bootloader had refused it
    record.boots = 1;
    record.refused--;
    return saveRecord(record);
  }
  const tick = sealRecord("+");
  record.boots++;
  if (record.file_ < 0 || record.end_ + tick.length > RecordFile.SIZE || !append(record, tick)) saveRecord(record);
}

/** CRC-32 of the end of the image in `slot`; 0 if the image is not whole. */
function tailOf(slot: Partition): number {
  let crc = 0;
  tryOr(() => {
    const chip = u16(read(slot.address, Size.HEADER), 12);
    const length = walkSegments(chip, slot.size, (offset, bytes) => read(slot.address + offset, bytes));
    crc = E.CRC32(binary(read(slot.address + length - Tail.LENGTH, Tail.LENGTH)));
  }, noop);
  return crc;
}

export function findImage(record: BootRecord, label: string): SlotImage | null {
  for (let i = 0; i < record.images.length; i++) if (record.images[i].label === label) return record.images[i];
  return null;
}

/** Notes the image in `slot`, as the first of the list. */
function noteImage(record: BootRecord, slot: Partition, size: number, digest: string, version: string): void {
  const image = {
    label: slot.label,
    size: size,
    digest: digest,
    tail: tailOf(slot),
    version: version.substr(0, Length.NAME),
  };
  record.images = [image].concat(record.images.filter((one) => one.label !== slot.label));
  while (record.images.length > Kept.IMAGES) record.images.pop();
}

/** The recorded image in `slot`; null without a record, or when flash has changed since. */
export function knownImage(slot: Partition): SlotImage | null {
  const record = loadRecord();
  const image = findImage(record, slot.label);
  return image && image.size && tailOf(slot) === image.tail ? image : null;
}

/** The set that runs with the slot called `label`; null before the first release with files. */
export function bindingOf(record: BootRecord, label: string): Binding | null {
  for (let i = 0; i < record.sets.length; i++) if (record.sets[i].label === label) return record.sets[i];
  const first = record.sets[0];
  // a set that is on trial in another slot does not run with this slot
  return first ? { label: label, set: first.before === undefined ? first.set : first.before } : null;
}

/** Binds `set` to the slot called `label`, as the first of the list. */
function bind(record: BootRecord, label: string, set: string, before?: string): void {
  const binding: Binding = { label: label, set: set, before: before };
  record.sets = [binding].concat(record.sets.filter((one) => one.label !== label));
  while (record.sets.length > Kept.IMAGES) record.sets.pop();
}

/** Did the last update bring files without an image, and are they neither confirmed nor rolled back? */
function isFilesAlone(record: BootRecord, label: string): boolean {
  const binding = bindingOf(record, label);
  return record.slot === label && record.previous === label && !!binding && binding.before !== undefined;
}

/**
 * Does `slot` hold the image that the last update selected? An image that was flashed by USB since does not count. After an
 * update of files alone: do these files run? Until the restart the program of the set before runs.
 */
export function isSelected(record: BootRecord, slot: Partition): boolean {
  if (isFilesAlone(record, slot.label)) return runningSet() === bindingOf(record, slot.label)!.set;
  const image = findImage(record, slot.label);
  return record.slot === slot.label && (!image || !image.size || tailOf(slot) === image.tail);
}

/** Are files without an image on trial, and do they run? Then a rollback is one record. */
export function isFilesTrial(record: BootRecord, running: Partition): boolean {
  return isFilesAlone(record, running.label) && isSelected(record, running);
}

/** Records the digest of the running image, which was hashed, if Storage has room. */
export function recordHashed(slot: Partition, size: number, digest: string): void {
  tryOr(() => {
    const record = loadRecord();
    noteImage(record, slot, size, digest, "");
    saveRecord(record);
  }, noop);
}

/**
 * The lowest sequence that may be installed while the slot `running` runs: the larger one of the confirmed image's and the
 * running image's.
 */
export function lowestSequence(record: BootRecord, running: Partition): number {
  return isSelected(record, running) ? Math.max(record.sequence, record.next) : record.sequence;
}

/**
 * Throws NOT_ALLOWED if the image or the release of `plan` counts as bad on this device: an image by its digest, also in a
 * release with files; the release by its name (Bad).
 */
export function checkNotRolledBack(plan: { bad_: string; digest_: string; allowRolledBack_?: boolean }): void {
  const bad = loadRecord().bad;
  const release = bad.indexOf(plan.bad_) >= 0;
  if (!plan.allowRolledBack_ && (release || bad.indexOf(plan.digest_) >= 0))
    throw otaError(
      Code.NOT_ALLOWED,
      (release ? "this release was" : "this image was") +
        " rolled back on this device before, or its bootloader refused it; allowRolledBack installs it",
    );
}

/**
 * Throws while boot() or confirmAfter() has the image in the slot `running` on trial: an update would overwrite the slot to
 * fall back to.
 */
export function checkNotOnTrial(running: Partition): void {
  const record = loadRecord();
  if (record.boots > 0 && isSelected(record, running))
    throw otaError(
      Code.OTA_ROLLBACK_INVALID_STATE,
      "the running image is on trial: call markValid() first, or set allowUnconfirmed",
    );
}

/** To be called before a slot is written: reserves room in Storage for all records of a trial; throws without room. */
export function reserveRecords(): void {
  const record = loadRecord();
  // updates that fail one after the other write one record only: the next one finds this room
  if (record.file_ < 0 || record.end_ + roomFor(seal(record), 2) > RecordFile.SIZE) saveRecord(record, 2);
}

/**
 * To be called before `slot` is selected while `running` runs: records the trial. `size`: bytes of the image file. `set_`:
 * the set of files that comes with it, "" to keep the set that runs now. If `slot` is the running one, the release has files
 * alone, and this record is the commit point.
 * More than 30 lines: one field of the record after the other.
 */
export function recordSelected(
  slot: Partition,
  running: Partition,
  size: number,
  image: { sequence_: number; digest_: string; version_: string; project_: string; set_: string },
): void {
  const record = loadRecord();
  const files = slot.address === running.address;
  const before = findImage(record, slot.label);
  const bound = bindingOf(record, running.label);
  // a running image that installs the next one counts as confirmed
  record.sequence = lowestSequence(record, running);
  // for a release with files giveUp() resets the number
  if ((!before || before.digest !== image.digest_) && !(image.set_ && record.given)) record.refused = 0;
  if (!files) noteImage(record, slot, size, image.digest_, image.version_);
  if (bound || image.set_) {
    // the set that runs, and not one that another update has bound since the start
    const current = runningSet();
    const set = current !== undefined ? current : bound ? bound.set : "";
    // the running slot keeps its set when it starts again
    bind(record, running.label, set);
    bind(record, slot.label, image.set_ || set, image.set_ ? set : undefined);
  }
  record.slot = slot.label;
  record.previous = running.label;
  record.boots = 0;
  record.next = image.sequence_;
  record.reason = "";
  if (image.project_ && image.project_.length <= Length.NAME) record.project = image.project_;
  saveRecord(record, 1);
}

/**
 * Notes that the trial in the slot called `label` has failed. `verdict`: the program has rejected it, and it
 * counts as bad at once; otherwise at the third time. `release`: where a release has brought files, the release counts as
 * bad and not the image.
 */
function giveUp(record: BootRecord, label: string, verdict: boolean, reason: string, release: boolean): void {
  record.reason = reason.substr(0, Length.REASON);
  const image = findImage(record, label);
  const binding = bindingOf(record, label);
  let digest = image && image.digest;
  let given = "";
  if (release && binding && binding.before !== undefined) {
    // if the list is damaged nothing counts as bad: after files alone the image in this slot runs on
    digest = "";
    tryOr(() => {
      digest = given = Bad.RELEASE + parseSet(readFile(binding.set)!).id;
    }, noop);
  }
  if (record.given !== given) record.refused = 0;
  record.given = given;
  if (++record.refused < Trial.REFUSALS && !verdict) return;
  record.boots = Boots.GIVEN_UP;
  if (!digest) return;
  record.bad = [digest].concat(record.bad.filter((one) => one !== digest));
  while (record.bad.length > Kept.BAD) record.bad.pop();
}

/**
 * Records that the bootloader did not start the image in the slot called `label`, or rolled it back. Each selection counts
 * once. The trial stays, because the image may start later.
 */
export function recordRefused(label: string): void {
  const record = loadRecord();
  if (record.slot !== label || record.boots === Boots.GIVEN_UP || record.boots === Boots.REFUSED) return;
  record.boots = Boots.REFUSED;
  giveUp(record, label, false, "the bootloader did not start it", false);
  saveRecord(record);
}

/** Records that the image in the slot `running` is confirmed: its trial ends. */
export function recordConfirmed(running: Partition): void {
  const record = loadRecord();
  if (record.boots === Boots.CONFIRMED || !isSelected(record, running)) return;
  record.sequence = Math.max(record.sequence, record.next);
  record.boots = Boots.CONFIRMED;
  record.refused = 0;
  const binding = bindingOf(record, running.label);
  record.sets = binding && binding.set ? [{ label: running.label, set: binding.set }] : [];
  saveRecord(record);
}

/**
 * Records the rollback of the image in the slot `running`, before it happens. `verdict`: the program has asked for it; else
 * the starts ran out, or a check failed. `reason`: printable text, for getStatus().
 */
export function recordRolledBack(running: Partition, verdict: boolean, reason: string): void {
  const record = loadRecord();
  if (record.boots === Boots.GIVEN_UP || !isSelected(record, running)) return;
  const label = running.label;
  const before = isFilesAlone(record, label) ? bindingOf(record, label)!.before! : undefined;
  record.boots = Boots.GIVEN_UP;
  giveUp(record, label, verdict, reason, true);
  if (before !== undefined) {
    // the slot stays: the set before was confirmed
    record.boots = Boots.CONFIRMED;
    record.next = 0;
    bind(record, label, before);
  } else {
    // this slot does not need its set any more. If it starts again, it uses the set of the other slot. The only entry of the
    // list stays, because the other slot uses it too
    const others = record.sets.filter((one) => one.label !== label);
    if (others.length) record.sets = others;
  }
  saveRecord(record);
}
