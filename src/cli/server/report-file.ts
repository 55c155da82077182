// The file of `serve --collect`: a JSON text a line, the last line of a device counts. A line is appended by one write
// that begins with a line end, so a write that was cut costs that line alone. What is damaged is left out when the file is read.
// It is written anew at the start, and when it has grown: beside it first, then renamed, so that one whole file is there at
// any time.
import {
  closeSync,
  constants,
  fsyncSync,
  openSync,
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
/** in bytes: written anew when it is larger */
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

/** A name of a hidden file, which is never served. */
const draftOf = (file: string) => path.join(path.dirname(file), `.${path.basename(file)}.new`);

/** Replaces the file as a whole. */
function writeAll(file: string, all: Iterable<Kept>): void {
  const draft = draftOf(file);
  rmSync(draft, { force: true });
  const mode = (statSync(file, { throwIfNoEntry: false })?.mode ?? 0o644) & 0o777;
  const handle = openSync(draft, "wx", mode);
  try {
    write(handle, HEAD + Array.from(all, lineOf).join(""));
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
  renameSync(draft, file);
}

function appendLine(file: string, one: Kept): void {
  const handle = openSync(file, constants.O_WRONLY | constants.O_APPEND);
  try {
    write(handle, lineOf(one));
  } finally {
    closeSync(handle);
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
      const size = statSync(file, { throwIfNoEntry: false })?.size ?? MOST_BYTES;
      // the last line of a device counts
      if (size >= MOST_BYTES) writeAll(file, [...all(), one]);
      else appendLine(file, one);
    },
  };
}
