// The files of a release, from the manifest to Storage: part of step 4 of update.ts. A file that Storage holds is not
// fetched. One that was cut off goes on behind its last byte that is not blank. Nothing points to any of them until the
// commit.

import { Bad, reserveRecords } from "../boot/boot-record";
import type { FileSet } from "../boot/file-set";
import { releaseText, storedName } from "../boot/file-set";
import { currentSet, eraseUnused, fillFile, isCreated, isWhole, roomOfSet, writeSet } from "../boot/release-files";
import { RecordFile } from "../boot/record-file";
import { checkRoom, createFile, roomOf } from "../boot/storage-file";
import type { Settings } from "../config";
import { Code, otaError, tryOr, type OtaError } from "../errors";
import { closeDownload, createDownload, read, seek, type Download } from "../net/download";
import { resolveUrl } from "../net/url";
import { base64 } from "../platform/base64";
import { sha256 } from "../platform/crypto";
import { eraseFile, readPart, runningSet } from "../platform/engine";
import { binary, Flash } from "../platform/flash";
import { join } from "../platform/flash-blocks";
import { after } from "../platform/timers";
import type { Manifest, ManifestFile } from "../trust/manifest";
import type { Emit } from "./session";

/** What a manifest brings besides an image. */
export interface Files {
  set_: FileSet;
  /** as in the manifest, in the order of the set */
  claims_: ManifestFile[];
  /** indices of those that Storage does not hold */
  missing_: number[];
  /** their bytes */
  bytes_: number;
  /** does the program that runs come from it? */
  running_: boolean;
}

function bytesOfHex(digits: string): string {
  let bytes = "";
  for (let i = 0; i < digits.length; i += 2) bytes += String.fromCharCode(parseInt(digits.substr(i, 2), 16));
  return bytes;
}

function hexOf(bytes: string): string {
  let digits = "";
  for (let i = 0; i < bytes.length; i++) digits += (256 + bytes.charCodeAt(i)).toString(16).substr(1);
  return digits;
}

/**
 * What `manifest` brings, compared with what is here; null when it brings no files. Throws INVALID_STATE where nothing
 * would run them.
 * More than 30 lines: two tables of fields.
 */
export function planFiles(manifest: Manifest): Files | null {
  const files = manifest.files;
  if (!files) return null;
  if (runningSet() === undefined)
    throw otaError(
      Code.INVALID_STATE,
      "the manifest has files, and no loader runs them: npx https-ota init writes it into .boot0, and a restart runs it",
    );
  const set: FileSet = {
    id: hexOf(binary(sha256(releaseText(manifest.image, manifest.entry!, files)))),
    version: manifest.version,
    entry: manifest.entry!,
    files: files.map((file) => ({
      name: file.name,
      size: file.size,
      stored: storedName(base64(bytesOfHex(file.sha256)) as string),
    })),
  };
  const missing: number[] = [];
  let bytes = 0;
  const current = currentSet();
  for (let i = 0; i < files.length; i++)
    if (!isWhole(set.files[i].stored, files[i].size)) {
      missing.push(i);
      bytes += files[i].size;
    }
  return {
    set_: set,
    claims_: files,
    missing_: missing,
    bytes_: bytes,
    running_: !!current && current.id === set.id && !missing.length,
  };
}

/** Where a file is fetched, whose URL the manifest gives as `url`: a source is asked for it as it stands. */
export function fileUrl(settings: Settings, url: string): string {
  return settings.source || settings.push ? url : resolveUrl(settings.url, url);
}

/** What a file of a release is called when it was rolled back. */
export function badName(files: Files): string {
  return Bad.RELEASE + files.set_.id;
}

/** Bytes of `stored` in front of what is blank up to its end. */
function filled(stored: string, size: number): number {
  for (let end = size; end > 0; ) {
    const from = end > Flash.PIECE ? end - Flash.PIECE : 0;
    const piece = readPart(stored, from, end - from);
    for (let i = piece.length; i--; ) if (piece.charCodeAt(i) !== 255) return from + i + 1;
    end = from;
  }
  return 0;
}

/** For bytes in Storage that are not the file of the manifest. */
function wrongFile(file: ManifestFile, bytes: number): OtaError {
  return otaError(
    Code.OTA_VALIDATE_FAILED,
    "file " + file.name + " is not the one that the manifest names (" + bytes + " of " + file.size + " bytes)",
  );
}

/**
 * Fetches one file into Storage and verifies it there; calls `done` once.
 * More than 30 lines: its callbacks share the download, and whether it goes on with what an earlier one has left.
 */
function fetchFile(
  settings: Settings,
  file: ManifestFile,
  stored: string,
  progress: (bytes: number) => void,
  done: (error: OtaError | null) => void,
): void {
  const size = file.size;
  let resumed = false;
  const download: Download = createDownload(settings, fileUrl(settings, file.url || file.name), size, () => {});
  const inbox = download.inbox_;
  function end(error: OtaError | null): void {
    if (error && error.code === Code.OTA_VALIDATE_FAILED) error.retry = !!download.mixed_;
    closeDownload(download);
    done(error);
  }
  /** Blank, from its first byte on. */
  function begin(): void {
    createFile(stored, size, "file " + file.name);
    resumed = false;
  }
  let verify: () => void;
  function take(_: string, last: boolean): void {
    const text = join(inbox.pieces_);
    const offset = inbox.offset_;
    if (!offset && filled(stored, size)) begin(); // the server began again
    if (text) fillFile(stored, text, offset, size);
    inbox.pieces_ = [];
    inbox.filled_ = 0;
    inbox.offset_ = offset + text.length;
    progress(inbox.offset_);
    if (!last) return;
    download.consumer_ = null;
    after(0, () => tryOr(verify, end));
  }
  verify = () => {
    const bytes = inbox.offset_;
    if (bytes === size && isWhole(stored, size)) return end(null);
    eraseFile(stored);
    if (!resumed) throw wrongFile(file, bytes);
    // what was there belonged to another file, or the last piece of it was torn
    begin();
    seek(download, 0);
    download.consumer_ = take;
    read(download);
  };
  tryOr(() => {
    download.total_ = size;
    download.failed_ = end;
    inbox.block_ = Flash.PIECE;
    // one that is full is not what it is called
    const offset = isCreated(stored, size) ? filled(stored, size) : size;
    resumed = offset < size;
    if (resumed) seek(download, offset);
    else begin();
    download.consumer_ = take;
    read(download);
  }, end);
}

/**
 * Makes room in Storage, fetches what is missing and writes the list of the set; calls `done` once, with its name.
 * Throws NO_MEM before anything is fetched where there is too little room.
 * More than 30 lines: a loop whose rounds are callbacks, and what comes before it.
 */
export function fetchFiles(
  settings: Settings,
  files: Files,
  emit: Emit,
  done: (error: OtaError | null, set?: string) => void,
): void {
  const set = files.set_;
  let before = 0;
  let next = 0;
  function step(error: OtaError | null): void {
    tryOr(
      () => {
        if (error) throw error;
        if (next === files.missing_.length) return done(null, writeSet(set));
        const index = files.missing_[next++];
        const file = files.claims_[index];
        const stored = set.files[index].stored;
        function onDone(failure: OtaError | null): void {
          before += file.size;
          step(failure);
        }
        // two files with the same content are one
        if (isWhole(stored, file.size)) return onDone(null);
        fetchFile(settings, file, stored, (bytes) => emit("WRITE_FILE", before + bytes, files.bytes_), onDone);
      },
      (failure) => done(failure),
    );
  }
  if (settings.push)
    throw otaError(Code.NOT_SUPPORTED, "push brings the bytes of an image only: give the files by source");
  reserveRecords();
  eraseUnused(set);
  // the record may need a new file later
  let needed = roomOfSet(set) + roomOf(RecordFile.SIZE);
  files.missing_.forEach((index) => {
    const file = set.files[index];
    if (!isCreated(file.stored, file.size)) needed += roomOf(file.size);
  });
  checkRoom(needed, "this release");
  step(null);
}
