// Espruino's Storage as it lies in flash (src/jsflash.c): a chain of files, each a header of 32 bytes (size with flags in
// its top byte, name of 28 bytes) and contents, padded to four bytes. A file is removed by clearing the first four bytes of
// its name; the files behind it stay where they are. The chain ends at the first header that is not valid, and goes on at
// the next page if one begins there. Nothing is kept in RAM: what a loss of power leaves is what the next walk finds.

import type { StorageArea } from "./area.ts";

export const HEADER = 32;
export const NAME_MAX = 28;
export const NAME_AT = 4;
/** Bytes of a name that are cleared when a file is removed. */
export const NAME_START = 4;
export const UNIT = 4;

/** The flags that Espruino gives to files (src/jsflash.h); others are foreign. */
export const FLAG = { NONE: 0, STORAGE_FILE: 64, COMPRESSED: 128 } as const;
const FLAGS: readonly number[] = Object.values(FLAG);

export type Header = {
  addr: number;
  bytes: Uint8Array;
  size: number;
  flags: number;
  /** All that makes a header one is a size that fits. */
  valid: boolean;
};

/** Where a walk ended. `addr` is 0 when Storage ended first, `header` was read last, `last` is where the last file is. */
export type End = { addr: number; header: Header; last: number };

export type Stats = {
  total: number;
  free: number;
  live: { bytes: number; count: number };
  trash: { bytes: number; count: number };
  /** Where a compaction begins: the last page before all trash that a header begins; 0 without trash. */
  firstTrash: number;
};

export const align = (n: number): number => Math.ceil(n / UNIT) * UNIT;

export function isAll(bytes: Uint8Array, value: number): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== value) return false;
  return true;
}

/** Header and padded contents. */
export const spanOf = ({ size }: Header): number => HEADER + align(size);

export const isRemoved = ({ bytes }: Header): boolean => isAll(bytes.subarray(NAME_AT, NAME_AT + NAME_START), 0);

/** What is listed, and what a compaction keeps. */
export const isReal = (header: Header): boolean => !isRemoved(header) && FLAGS.includes(header.flags);

/** 28 bytes, filled up with zeros. "c:" before a name is a drive, of which there is one. */
export function nameBytes(name: string): Uint8Array {
  const bytes = new Uint8Array(NAME_MAX);
  const text = name.slice(0, NAME_MAX);
  bytes.set(Buffer.from(text[1] === ":" ? text.slice(2) : text, "latin1"));
  return bytes;
}

export function nameOf({ bytes }: Header): string {
  const name = bytes.subarray(NAME_AT);
  const end = name.indexOf(0);
  return Buffer.from(end < 0 ? name : name.subarray(0, end)).toString("latin1");
}

export interface Chain {
  headerAt(addr: number): Header;
  pageOf(addr: number): number;
  /** The page behind the one that holds `addr`, 0 where Storage ends. */
  nextPage(addr: number): number;
  /** Calls `visit` for each file from `from` on. `skips`: goes on at the next page where there is no header. */
  walk(from: number, skips: boolean, visit: (header: Header) => void): End;
  /** Every file, removed ones too. */
  all(): Header[];
  isErased(addr: number, length: number): boolean;
  stats(): Stats;
  /** What the engine asks at its start: is this a Storage? */
  isSound(): boolean;
}

export function createChain(area: StorageArea): Chain {
  const { chip, address, page } = area;
  const end = address + area.size;

  function headerAt(addr: number): Header {
    const bytes = chip.peek(addr, HEADER);
    const size = bytes[0] | (bytes[1] << 8) | (bytes[2] << 16);
    const flags = bytes[3];
    const empty = (size === 0 && flags === 0) || (size === 0xffffff && flags === 0xff);
    return { addr, bytes, size, flags, valid: !empty && addr + HEADER + size <= end };
  }

  const pageOf = (addr: number): number => addr - (addr % page);

  function nextPage(addr: number): number {
    const next = pageOf(addr) + page;
    return addr < area.lowest || next >= end ? 0 : next;
  }

  function walk(from: number, skips: boolean, visit: (header: Header) => void): End {
    let header = headerAt(from);
    if (!header.valid) return { addr: from, header, last: from };
    for (;;) {
      visit(header);
      const last = header.addr;
      const addr = last + spanOf(header);
      if (addr + HEADER > end) return { addr: 0, header, last };
      header = headerAt(addr);
      if (!header.valid && skips) {
        const next = nextPage(addr);
        if (!next) return { addr: 0, header, last };
        header = headerAt(next);
      }
      if (!header.valid) return { addr: header.addr, header, last };
    }
  }

  function all(): Header[] {
    const headers: Header[] = [];
    walk(address, true, (header) => headers.push(header));
    return headers;
  }

  const isErased = (addr: number, length: number): boolean => isAll(chip.peek(addr, length), 0xff);

  function stats(): Stats {
    const live = { bytes: 0, count: 0 };
    const trash = { bytes: 0, count: 0 };
    let firstTrash = 0;
    let pageStart = address;
    let free = area.size;
    walk(address, true, (header) => {
      if (pageOf(header.addr) === header.addr) pageStart = header.addr;
      if (isRemoved(header) && !firstTrash) firstTrash = pageStart;
      const sum = isRemoved(header) ? trash : live;
      sum.bytes += spanOf(header);
      sum.count++;
      free = end - header.addr - spanOf(header);
    });
    return { total: area.size, free, live, trash, firstTrash };
  }

  function isSound(): boolean {
    const { addr, header, last } = walk(address, true, () => {});
    if (!addr) {
      // the engine takes the header that it read last for the last file's, whatever it is
      const behind = last + spanOf(header);
      if (behind <= end && behind + HEADER > end) return true;
    }
    const blank = isAll(header.bytes, 0xff);
    return blank && addr === address ? isErased(address, area.size) : blank;
  }

  return { headerAt, pageOf, nextPage, walk, all, isErased, stats, isSound };
}
