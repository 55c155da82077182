// Files, with errors that name them.
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { refuse, systemReason } from "./errors.ts";

/** The value of --out for standard output. */
export const STDOUT = "-";

const CHUNK = 0x10000;

/** Device and inode of what was read: a file may have several names. */
const inputs = new Set<string>();

/** "" when the file does not exist. */
function identityOf(file: string): string {
  try {
    const stat = statSync(file);
    return stat.isFile() ? `${stat.dev}:${stat.ino}` : "";
  } catch {
    return "";
  }
}

/** Why a file cannot be read. `-` is standard output for --out, so somebody may try it as an input. */
function readProblem(file: string, error: unknown): string {
  const slip = file === STDOUT && (error as NodeJS.ErrnoException).code === "ENOENT";
  return slip ? "standard input is not read, expected the name of a file" : systemReason(error);
}

/** What the header of an image can say of its flash chip, and more than any device has. */
export const MAX_FLASH = 128 * 2 ** 20;

/** Reads a file of any kind. No file that this command reads is larger than a flash chip. */
export function readInput(file: string): Buffer {
  return readLimited(file, MAX_FLASH, (found) => `${found}, a flash chip has at most ${MAX_FLASH}`);
}

/** Of an open file: all bytes, or the first ones beyond `most`. Pipes and devices do not tell a size. */
function readUpTo(handle: number, most: number): Buffer {
  const chunks: Buffer[] = [];
  let length = 0;
  while (length <= most) {
    const chunk = Buffer.alloc(Math.min(CHUNK, most + 1 - length));
    const count = readSync(handle, chunk);
    if (!count) break;
    chunks.push(chunk.subarray(0, count));
    length += count;
  }
  return Buffer.concat(chunks);
}

/** Reads a file of at most `most` bytes. `excess` says what is wrong with a larger file, which is not read further. */
export function readLimited(file: string, most: number, excess: (found: string) => string): Buffer {
  let size = 0;
  let bytes: Buffer | undefined;
  try {
    const handle = openSync(file, "r");
    try {
      size = fstatSync(handle).size;
      if (size <= most) bytes = readUpTo(handle, most);
    } finally {
      closeSync(handle);
    }
  } catch (error) {
    return refuse(file, readProblem(file, error));
  }
  if (!bytes) return refuse(file, excess(`${size} bytes`));
  if (bytes.length > most) return refuse(file, excess(`more than ${most} bytes`));
  inputs.add(identityOf(file));
  return bytes;
}

/** A private JWK, or a list or set that contains one. */
function isPrivateJwk(text: string): boolean {
  try {
    const parsed = JSON.parse(text);
    const keys: unknown[] = Array.isArray(parsed) ? parsed : Array.isArray(parsed.keys) ? parsed.keys : [parsed];
    return keys.some((key: any) => key !== null && typeof key === "object" && ("d" in key || "k" in key));
  } catch {
    return false;
  }
}

function isPrivateKey(bytes: Buffer): boolean {
  const text = bytes.toString("latin1");
  return /-----BEGIN [A-Z0-9 ]*PRIVATE KEY/.test(text) || isPrivateJwk(text);
}

/** The first bytes of a file; empty when it does not exist, and for a pipe or a device. */
function headOf(file: string): Buffer {
  if (!identityOf(file)) return Buffer.alloc(0);
  const handle = openSync(file, "r");
  try {
    return readUpTo(handle, CHUNK - 1);
  } finally {
    closeSync(handle);
  }
}

/** Throws the error that writing would throw, and does not write. */
function tryAccess(file: string): void {
  if (!existsSync(file)) {
    // the system refuses a file as a folder only when the path continues behind it
    statSync(`${dirname(file)}/.`);
    accessSync(dirname(file), constants.W_OK);
  } else if (statSync(file).isDirectory()) throw Object.assign(new Error(), { code: "EISDIR" });
  else accessSync(file, constants.W_OK);
}

/**
 * A typing error in --out must not overwrite a private key, nor a file that this command reads. `problem`: why a file that begins with
 * these bytes must stay too, or null. Called before a long run, so that the run is not lost.
 */
export function checkOutput(file: string, problem: (head: Buffer) => string | null = () => null): void {
  const identity = identityOf(file);
  if (identity && inputs.has(identity)) refuse(file, "is read by this command, and is not overwritten");
  let head: Buffer;
  try {
    tryAccess(file);
    head = headOf(file);
  } catch (error) {
    return refuse(file, systemReason(error));
  }
  if (isPrivateKey(head)) refuse(file, "is a private key, and is not overwritten: choose another --out");
  const reason = problem(head);
  if (reason !== null) refuse(file, reason);
}

/** Writes what checkOutput lets pass. */
export function writeOutput(
  file: string,
  content: string | Uint8Array,
  problem?: (head: Buffer) => string | null,
): void {
  checkOutput(file, problem);
  try {
    writeFileSync(file, content);
  } catch (error) {
    refuse(file, systemReason(error));
  }
}

/** With the folders above it. */
export function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    refuse(folder, systemReason(error));
  }
}

export function refuseExisting(file: string): void {
  if (existsSync(file)) refuse(file, "exists already, and is not overwritten");
}

/** Creates a file with these permissions; one that exists is an error even when it appeared a moment ago. */
export function writeNew(file: string, content: string, mode: number): void {
  try {
    writeFileSync(file, content, { mode, flag: "wx" });
  } catch (error) {
    refuse(file, systemReason(error));
  }
}
