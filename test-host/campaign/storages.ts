// What lies in Storage when a scenario begins: files of the program, which nothing may touch, and what makes it hard to
// write a boot record. Every file's contents follow from its name and size, so a snapshot tells by itself whether they hold.

import { HEADER, nameOf } from "../sim/espruino/chain.ts";
import type { StorageArea } from "../sim/espruino/area.ts";
import { createFiles, type Files } from "../sim/espruino/files.ts";
import { noise } from "../support/images.ts";

/** The beginning of the names of the module's own files. */
const RECORD = ".https-ota";
/** Header and contents of a file of records. */
const RECORD_SPAN = HEADER + 4096;

/** In every initial state. */
const PROGRAM: [name: string, size: number][] = [
  [".bootcde", 700],
  ["app.js", 1502],
  ["settings", 61],
];

export type Storage = {
  what: string;
  /** How many files of records can still be created. */
  room: number;
  crowd(files: Files): void;
};

function contentsOf(name: string, size: number): Uint8Array {
  return noise([...name].reduce((sum, char) => sum * 31 + char.charCodeAt(0), size) | 0, size);
}

function put(files: Files, name: string, size: number): void {
  files.write(name, contentsOf(name, size));
}

/** Fills Storage, but for `free` bytes at its end. */
function fillUp(files: Files, free: number): void {
  put(files, "filler", files.stats().free - HEADER - free);
}

/** Writes the beginning of the header of another program's file, as a loss of power leaves it. */
function writeTornHeader(files: Files, bytes: number[]): void {
  const { area } = files;
  area.chip.clearBits(area.address + area.size - files.stats().free, Uint8Array.from(bytes));
}

/** Fills Storage up to `before` bytes before the end of a page. */
function fillPage(files: Files, before: number): void {
  const { page } = files.area;
  put(files, "filler", (files.stats().free % page) + page - HEADER - before);
}

export const STORAGES: Record<string, Storage> = {
  nearly: {
    what: "Storage has room for one file of records, and 40 bytes",
    room: 1,
    crowd: (files) => fillUp(files, RECORD_SPAN + 40),
  },
  full: {
    what: "Storage has no room, and no trash",
    room: 0,
    crowd: (files) => fillUp(files, 100),
  },
  trash: {
    what: "Storage has no room behind its last file, and much trash: the engine would compact",
    room: 0,
    crowd(files) {
      put(files, "trash", 12000);
      put(files, "kept", 3000);
      put(files, "more trash", 9000);
      fillUp(files, 100);
      files.erase("trash");
      files.erase("more trash");
    },
  },
  torn: {
    what: "a file's header was torn where the next one goes, near the end of a page: a header of ours is not valid there",
    room: 0,
    crowd(files) {
      fillPage(files, 80);
      writeTornHeader(files, [0xf4, 0x01]);
    },
  },
  across: {
    what: "the header of the next file lies across two pages",
    room: 2,
    crowd: (files) => fillPage(files, 16),
  },
  misnamed: {
    what: "the same, and ours gets another name there",
    room: 2,
    crowd(files) {
      fillPage(files, 80);
      writeTornHeader(files, [0xff, 0xff, 0xff, 0xff, 0x61, 0x70, 0x70]);
    },
  },
};

/** Storage with the program's files, which are written before all others. */
export function createStorage(area: StorageArea): void {
  const files = createFiles(area);
  for (const [name, size] of PROGRAM) put(files, name, size);
}

/** Files of the program that the next start of this build does not find as they were. */
export function harmed(area: StorageArea, crowded: boolean): string[] {
  const files = createFiles(area);
  let said = "";
  createFiles(area, (text) => {
    said += text;
  }).start();
  if (said) return [`at the start: ${said.trim().split("\n")[0]}`];
  const present = files.list().map(nameOf);
  const wanted = [...PROGRAM.map(([name]) => name), ...(crowded ? ["filler"] : [])];
  const lost = wanted.filter((name) => !present.includes(name)).map((name) => `${name} is gone`);
  const changed = files
    .list()
    .filter((header) => !nameOf(header).startsWith(RECORD))
    .filter((header) => wanted.includes(nameOf(header)))
    .filter((header) => {
      const bytes = files.read(nameOf(header));
      return !bytes || Buffer.compare(bytes, contentsOf(nameOf(header), header.size)) !== 0;
    });
  return [...lost, ...changed.map((header) => `${nameOf(header)} is another`)];
}
