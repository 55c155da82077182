// Files that this command writes into the Storage of a device, over its console.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { printable, refuse } from "../ui/errors.ts";
import { readInput } from "../ui/files.ts";
import type { Console } from "./console.ts";
import { crc32 } from "./crc32.ts";
import { fileStart, SUM_PIECE } from "./device-program.ts";

/** In build/. */
export const MODULE_FILE = "https-ota.min.js";
export const LOADER_FILE = "https-ota-loader.min.js";

/** Bytes of a file in one line: fewer than a piece of the image, because Storage copies what it is given. */
const PIECE = 512;

/** A file of build/, beside the command or in the repository. */
export function builtFile(name: string): string {
  const files = [name, `../../../build/${name}`].map((one) => fileURLToPath(new URL(one, import.meta.url)));
  const file = files.find((one) => existsSync(one)) ?? refuse(files[0], "no such file: npm run build makes it");
  return readInput(file).toString("latin1");
}

/** As the device computes it: inspection() of device-program.ts. */
export function sumOf(text: string): number {
  let sum = 0;
  for (let at = 0; at < text.length; at += SUM_PIECE)
    sum = (((sum << 1) | (sum >>> 31)) ^ crc32(text.slice(at, at + SUM_PIECE))) >>> 0;
  return sum;
}

export interface OwnFile {
  /** in Storage */
  name: string;
  /** what it is, for messages */
  what: string;
  /** a binary string */
  text: string;
}

export async function upload(
  console: Console,
  port: string,
  { name, what, text }: OwnFile,
  progress: (done: number) => void,
): Promise<void> {
  await console.command("e", fileStart(name, text.length));
  for (let at = 0; at < text.length; at += PIECE) {
    const written = await console.command("w", text.slice(at, at + PIECE), at).catch((error: Error) => {
      if (error.constructor !== Error) throw error;
      return refuse(port, `${what} does not fit into Storage: ${printable(error.message)}`);
    });
    if (!written) refuse(port, `no room in Storage for ${what}, ${text.length} bytes: remove files there first`);
    progress(Math.min(at + PIECE, text.length));
  }
}
