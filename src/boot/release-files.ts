// The files of releases in Storage: which of them are there, whole, and not needed any more. Their names:
// docs/formats.md#set-of-files.
// Nothing here is ever put in place: a file is created, filled and verified, and then a record points to its set.

import { base64 } from "../platform/base64";
import { sha256 } from "../platform/crypto";
import { compact, eraseFile, heldLock, listFiles, readFile, readPart, runningSet, writeFile } from "../platform/engine";
import { binary, Fact } from "../platform/flash";
import { Code, noMemory, otaError } from "../errors";
import { bindingOf, type BootRecord, loadRecord } from "./boot-record";
import { type FileSet, isStoredName, parseSet, setText, storedName } from "./file-set";
import { createFile, roomOf } from "./storage-file";

/** The name in Storage of what has these bytes. */
export function nameOf(text: string): string {
  return storedName(base64(binary(sha256(text))) || noMemory("base64"));
}

/** Is file `stored` there with all its bytes? Its content is its name, so this verifies it. */
export function isWhole(stored: string, size: number): boolean {
  const text = size ? readFile(stored) : "";
  return !size || (text !== undefined && text.length === size && nameOf(text) === stored);
}

/** Is it there with this size, filled or not? */
export function isCreated(stored: string, size: number): boolean {
  return readPart(stored, size - 1, 1).length > 0 && !readPart(stored, size, 1);
}

/** Writes `text` at `offset` of a file of `size` bytes that was created. Throws FLASH_OP_FAIL. */
export function fillFile(stored: string, text: string, offset: number, size: number): void {
  writeFile(stored, text, offset, offset ? 0 : size);
  if (readPart(stored, offset, text.length) !== text)
    throw otaError(Code.FLASH_OP_FAIL, "Storage file " + stored + " at " + offset + Fact.DIFFERS);
}

/** The set in Storage that is called `name`; null when it is not there, or damaged. */
export function readSet(name: string): FileSet | null {
  const text = name ? readFile(name) : undefined;
  return text !== undefined && nameOf(text) === name ? parseSet(text) : null;
}

/** Writes the list of `set` and returns its name. Throws like createFile() and fillFile(). */
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

/** The set that runs with this program; null when the loader has started none. */
export function currentSet(): FileSet | null {
  return readSet(runningSet() || "");
}

/**
 * The name in Storage of a file of the release that runs, for `require("Storage").read()`: pictures, fonts, tables. Of an
 * empty file nothing is stored, so reading it gives undefined. Throws ESP_ERR_NOT_FOUND when no release of files runs, or
 * when it has no such file.
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
 * Compacts Storage: erased files give their room back. **A loss of power meanwhile can cost every file in it**, this
 * module and the program included: it is for the bench, or for a day with mains. Nothing else of this module ever compacts.
 * Throws ESP_ERR_INVALID_STATE while an update runs. It takes seconds, and nothing else happens meanwhile.
 */
export function compactStorage(): void {
  if (heldLock()) throw otaError(Code.INVALID_STATE, "an update is running");
  compact();
}

/** The name of the set that is bound to the slot called `label`, "" for none. */
export function boundSet(record: BootRecord, label: string): string {
  const binding = bindingOf(record, label);
  return binding ? binding.set : "";
}

/**
 * Erases what no record names: files of releases that were replaced, given up, or never completed. Not those of `coming`,
 * which is being fetched, nor those of the program that runs. Where the list of a set cannot be read nothing is erased,
 * since its files are not known.
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
    // a list that is not there was erased, or lost: its files, if they are there, are of no use
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
