// The file of `serve --collect`: a JSON text a line, the last line of a device counts. A line is appended by one write
// that begins with a line end, so a write that was cut costs that line alone. What is damaged is left out when the file is read.
// It is rewritten at the start, and when it has grown: beside it first, then renamed, so that a complete file is there at
// any time. A file that somebody else puts in its place is left as it is.
import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { isReportFile, REPORTS_HEAD } from "../formats/report-file.ts";
import { refuse, systemReason } from "../ui/errors.ts";
import { readLimited } from "../ui/files.ts";
import type { DeviceReport } from "./api.ts";
import { checkReport } from "./device-report.ts";

const HEAD = `${REPORTS_HEAD},"format":1}`;
/** in bytes: rewritten when it is larger */
const MOST_BYTES = 8 << 20;
/** In bytes: what is larger was not made by this command. */
const MOST_READ = 64 << 20;

/** A report, and when and from where it came. */
export interface Kept {
  receivedAt: string;
  address: string;
  report: DeviceReport;
}

export interface ReportFile {
  /** lines that could not be read at the start */
  readonly damaged: number;
  /** Throws when it cannot be written. */
  append(one: Kept): void;
}

// --- Lines -----------------------------------------------------------------------------------------------------------

const lineOf = (one: Kept) => `\n${JSON.stringify(one)}`;

/** Null when the line is damaged. */
function parseLine(line: string): Kept | null {
  try {
    const { receivedAt, address, report } = JSON.parse(line);
    const checked = checkReport(report);
    if (typeof checked === "string" || typeof address !== "string") return null;
    return { receivedAt: new Date(receivedAt).toISOString(), address: address.slice(0, 64), report: checked };
  } catch {
    return null;
  }
}

// --- Reading ---------------------------------------------------------------------------------------------------------

/** Links are followed: a rename would put a file in the place of the link. */
function realPath(file: string): string {
  try {
    return realpathSync(file);
  } catch {
    return file; // not there yet
  }
}

/** "" when there is none. */
function readFile(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false });
  if (!stat) return "";
  if (!stat.isFile()) refuse(file, "not a file: --collect takes one, or the name of a new one");
  const bytes = readLimited(file, MOST_READ, (found) => `${found}, and reports take ${MOST_READ} at most`);
  if (bytes.length && !isReportFile(bytes))
    refuse(file, "holds something else than reports, and is not overwritten: choose another file for --collect");
  return bytes.toString();
}

// --- Writing ---------------------------------------------------------------------------------------------------------

function write(handle: number, text: string): void {
  const bytes = Buffer.from(text);
  const count = writeSync(handle, bytes);
  if (count < bytes.length) throw Object.assign(new Error("not written whole"), { code: "ENOSPC" });
}

/** In bytes. Throws when something else has come in the place of the reports. An empty file is nobody's. */
function sizeOfReports(handle: number): number {
  const stat = fstatSync(handle);
  if (stat.isFile() && !stat.size) return 0;
  const head = Buffer.alloc(HEAD.length);
  if (stat.isFile()) readSync(handle, head, 0, head.length, 0);
  if (!isReportFile(head)) throw new Error("the file of --collect holds something else now, and is left as it is");
  return stat.size;
}

/** Gives `act` the open file and its size; a size of 0 when there is none. */
function withReports(file: string, act: (handle: number, size: number) => void): void {
  let handle: number;
  try {
    // a pipe in its place would wait for a reader
    handle = openSync(file, constants.O_RDWR | constants.O_APPEND | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return act(-1, 0);
    throw error;
  }
  try {
    act(handle, sizeOfReports(handle));
  } finally {
    closeSync(handle);
  }
}

/** A new name of a hidden file, which is never served. */
const draftOf = (file: string) =>
  path.join(path.dirname(file), `.${path.basename(file)}.${randomBytes(6).toString("hex")}.new`);

/** Replaces the file as a whole. */
function writeAll(file: string, all: Iterable<Kept>): void {
  const draft = draftOf(file);
  const mode = (statSync(file, { throwIfNoEntry: false })?.mode ?? 0o644) & 0o777;
  const handle = openSync(draft, "wx", mode);
  try {
    try {
      write(handle, HEAD + Array.from(all, lineOf).join(""));
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
    withReports(file, () => {});
    renameSync(draft, file);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

// --- The file --------------------------------------------------------------------------------------------------------

const REMEDY =
  "serve writes reports into it, and a new one beside it: --collect has to name a file in a folder where you may write";

/**
 * Opens the file, or makes it. `keep` is given each report that is there, in their order; `all` tells what is kept. Refuses a
 * file of something else, and one that cannot be written.
 */
export function openReportFile(name: string, keep: (one: Kept) => void, all: () => Iterable<Kept>): ReportFile {
  const file = realPath(name);
  const found = readFile(name).split("\n").slice(1).filter(Boolean).map(parseLine);
  for (const one of found) if (one) keep(one);
  try {
    writeAll(file, all());
  } catch (error) {
    refuse(name, `${systemReason(error)}: ${REMEDY}`);
  }
  return {
    damaged: found.filter((one) => one === null).length,
    append(one) {
      let isWritten = false;
      withReports(file, (handle, size) => {
        isWritten = size > 0 && size < MOST_BYTES;
        if (isWritten) write(handle, lineOf(one));
      });
      // the last line of a device counts
      if (!isWritten) writeAll(file, [...all(), one]);
    },
  };
}
