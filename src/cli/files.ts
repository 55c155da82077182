// Files, with errors that name them.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { refuse, systemReason } from "./errors.ts";

export function readInput(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    return refuse(file, systemReason(error));
  }
}

export function readText(file: string): string {
  return readInput(file).toString("utf8");
}

export function writeOutput(file: string, content: string | Uint8Array): void {
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
