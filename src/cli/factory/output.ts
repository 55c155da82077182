// The folder that the files go to. One that holds anything else is refused, so that a typing error in --out costs nothing.
import { readdirSync } from "node:fs";
import path from "node:path";
import { isOutput } from "../formats/factory-folder.ts";
import { refuse, systemReason } from "../ui/errors.ts";
import { checkOutput, makeFolder, writeOutput } from "../ui/files.ts";

/** Before the work is done. */
export function checkFolder(folder: string): void {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    return refuse(folder, systemReason(error));
  }
  if (names.length && !isOutput(folder))
    refuse(folder, "is not empty, and not from factory: choose another --out, or empty it");
}

export interface OutputFile {
  name: string;
  bytes: Uint8Array;
}

/** Writes all of them, or none when one may not be written. */
export function writeAll(folder: string, files: readonly OutputFile[]): void {
  makeFolder(folder);
  for (const { name } of files) checkOutput(path.join(folder, name));
  for (const { name, bytes } of files) writeOutput(path.join(folder, name), bytes);
}
