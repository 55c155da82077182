// The files of releases in Storage: which of them exist, are whole, or are not needed any more. Their names:
// docs/formats.md#set-of-files.
// A file is never replaced: it is created, filled and verified, and then a boot record names its set.

import { base64 } from "../platform/base64";
import { sha256 } from "../platform/crypto";
import { compact, eraseFile, heldLock, listFiles, readFile, readPart, runningSet, writeFile } from "../platform/engine";
import { binary, Fact } from "../platform/flash";
import { Code, noMemory, otaError } from "../errors";
import { bindingOf, type BootRecord, loadRecord } from "./boot-record";
import { type FileSet, isStoredName, parseSet, setText, storedName } from "./file-set";
import { createFile, roomOf } from "./storage-file";

/** The name in Storage of a file with this content. */
export function nameOf(text: string): string {
  return storedName(base64(binary(sha256(text))) || noMemory("base64"));
}

/** Is file `stored` there with all its bytes? Its name is computed from its content, so this verifies the content. */
export function isWhole(stored: string, size: number): boolean {
  const text = size ? readFile(stored) : "";
  return !size || (text !== undefined && text.length === size && nameOf(text) === stored);
}

/** Does it exist with this size? It may not be filled yet. */
export function isCreated(stored: string, size: number): boolean {
  return readPart(stored, size - 1, 1).length > 0 && !readPart(stored, size, 1);
}

/** Writes `text` at `offset` of a created file of `size` bytes. Throws FLASH_OP_FAIL if it does not read back. */
export function fillFile(stored: string, text: string, offset: number, size: number): void {
  writeFile(stored, text, offset, offset ? 0 : size);
  if (readPart(stored, offset, text.length) !== text)
    throw otaError(Code.FLASH_OP_FAIL, "Storage file " + stored + " at " + offset + Fact.DIFFERS);
}

/** The set in Storage that is called `name`; null if it does not exist, or is damaged. */
export function readSet(name: string): FileSet | null {
  const text = name ? readFile(name) : undefined;
  return text !== undefined && nameOf(text) === name ? parseSet(text) : null;
}

/** Writes the list of `set` and returns its name. Throws as createFile() and fillFile(). */
export function writeSet(set: FileSet): string {
  const text = setText(set);
  const name = nameOf(text);
  if (readFile(name) !== text) {
    createFile(name, text.length, "the list of the release's files");
    fillFile(name, text, 0, text.length);
  }
  return name;
}

/** Bytes of Storage that the list of `set` takes. */
export function roomOfSet(set: FileSet): number {
  return roomOf(setText(set).length);
}

/** The set whose program runs; null if the loader has started none. */
export function currentSet(): FileSet | null {
  return readSet(runningSet() || "");
}

/**
 * The name in Storage of a file of the release that runs, for `require("Storage").read()`: pictures, fonts, tables. An
 * empty file is not stored: reading it gives undefined. Throws ESP_ERR_NOT_FOUND when no release of files runs, or when the
 * release does not have this file.
 */
export function file(name: string): string {
  const set = currentSet();
  if (set) for (let i = 0; i < set.files.length; i++) if (set.files[i].name === name) return set.files[i].stored;
  throw otaError(
    Code.NOT_FOUND,
    set ? "release " + set.version + " has no file " + name : "no release of files runs: has the loader started one?",
  );
}

/**
 * Compacts Storage, which frees the room of erased files. **A loss of power during this can destroy every file in Storage**,
 * also this module and the program: call it only while the power supply cannot fail. No other function of this module
 * compacts. Throws ESP_ERR_INVALID_STATE while an update runs. It takes seconds, in which nothing else runs.
 */
export function compactStorage(): void {
  if (heldLock()) throw otaError(Code.INVALID_STATE, "an update is running");
  compact();
}

/** The name of the set that runs with the slot called `label`, "" for none. */
export function boundSet(record: BootRecord, label: string): string {
  const binding = bindingOf(record, label);
  return binding ? binding.set : "";
}

/**
 * Erases files of releases that the record does not name: the releases were replaced or rolled back, or their update did
 * not end. The files of `coming`, the set that is being fetched, stay, and so do the files of the running program. If the
 * list of a set is damaged, nothing is erased, because the files of this set are unknown.
 */
export function eraseUnused(coming: FileSet | null): void {
  const names = [runningSet() || ""];
  const sets = [coming];
  const kept: string[] = [];
  loadRecord().sets.forEach((one) => {
    names.push(one.set);
    names.push(one.before || "");
  });
  for (let i = 0; i < names.length; i++) {
    if (!names[i]) continue;
    kept.push(names[i]);
    const set = readSet(names[i]);
    // if the list does not exist any more, the files of its set cannot be used
    if (!set && readFile(names[i]) !== undefined) return;
    sets.push(set);
  }
  sets.forEach((set) => {
    if (set) for (let i = 0; i < set.files.length; i++) kept.push(set.files[i].stored);
  });
  listFiles().forEach((name) => {
    if (isStoredName(name) && kept.indexOf(name) < 0) eraseFile(name);
  });
}
