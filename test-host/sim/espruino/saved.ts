// What save() writes, and how a start loads it (src/jsflash.c): file `.varimg`, four bytes that stand for the build's
// GIT_COMMIT and an image of RAM. Here a program's text stands for that image; a build of another commit runs none of it.
// Not modelled: the same commit built with another JsVar format, which aborts at every start.

import { FLAG, HEADER } from "./chain.ts";
import type { Files } from "./files.ts";

export const SAVED_FILE = ".varimg";

/** As getBuildHash() has it. */
export function commitHash(gitCommit: string): number {
  let hash = 0;
  for (let i = 0; i < gitCommit.length; i++) hash = ((hash << 1) ^ gitCommit.charCodeAt(i)) >>> 0;
  return hash;
}

export function saveState(files: Files, program: string, gitCommit: string): void {
  const bytes = Buffer.concat([Buffer.alloc(4), Buffer.from(program, "latin1")]);
  bytes.writeUInt32LE(commitHash(gitCommit));
  files.erase(SAVED_FILE);
  files.compact();
  files.write(SAVED_FILE, bytes, 0, 0, FLAG.COMPRESSED);
}

/** The program that was saved; undefined when there is none, or it is another build's. */
export function loadState(files: Files, gitCommit: string, print: (text: string) => void): string | undefined {
  const header = files.find(SAVED_FILE);
  if (!header) return undefined;
  const bytes = Buffer.from(files.area.chip.peek(header.addr + HEADER, header.size));
  if (bytes.length < 4 || bytes.readUInt32LE() !== commitHash(gitCommit)) {
    print("Not loading saved code from different Espruino firmware.\n");
    return undefined;
  }
  print(`Loading ${header.size} bytes from flash...\n`);
  return bytes.toString("latin1", 4);
}
