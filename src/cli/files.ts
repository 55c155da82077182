// Files, with errors that name them.
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { InvalidArgumentError } from "commander";
import { refuse, systemReason } from "./errors.ts";

/** Device and inode of what was read: a file may have several names. */
const inputs = new Set<string>();

/** "" for what is not there, or is no file. */
function identityOf(file: string): string {
  try {
    const stat = statSync(file);
    return stat.isFile() ? `${stat.dev}:${stat.ino}` : "";
  } catch {
    return "";
  }
}

export function readInput(file: string): Buffer {
  try {
    const bytes = readFileSync(file);
    inputs.add(identityOf(file));
    return bytes;
  } catch (error) {
    return refuse(file, systemReason(error));
  }
}

export function readText(file: string): string {
  return readInput(file).toString("utf8");
}

/** A slip in --out must not cost the private key, nor the image that was signed. */
export function writeOutput(file: string, content: string | Uint8Array): void {
  const identity = identityOf(file);
  if (identity && inputs.has(identity)) refuse(file, "is read by this command, and is not overwritten");
  try {
    writeFileSync(file, content);
  } catch (error) {
    refuse(file, systemReason(error));
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

// --- Options ---------------------------------------------------------------------------------------------------------

export const STDOUT = "-";

/** --out: a file, or standard output. */
export function parseOut(text: string): string {
  if (!text) throw new InvalidArgumentError("Wanted a file.");
  return text;
}

/** --out of what does not go to standard output. */
export function parseOutFile(text: string): string {
  if (text === STDOUT) throw new InvalidArgumentError("Wanted a file: a private key is not printed.");
  return parseOut(text);
}
