// Files of Storage: found, created, filled, removed, as src/jsflash.c does. Each write here is one operation of the flash
// and can be cut.

import type { StorageArea } from "./area.ts";
import {
  align,
  type Chain,
  createChain,
  FLAG,
  HEADER,
  type Header,
  isAll,
  isReal,
  isRemoved,
  NAME_AT,
  NAME_START,
  nameBytes,
  nameOf,
  type Stats,
  UNIT,
} from "./chain.ts";
import { compact } from "./compaction.ts";

/** What the interpreter throws, as an Error with this message. */
export class StorageError extends Error {}

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

export interface Files {
  readonly area: StorageArea;
  find(name: string): Header | undefined;
  /** Contents, as they are seen through the mapped partition; undefined for what is not there, or not mapped. */
  read(name: string): Uint8Array | undefined;
  /** Storage.write, its errors as StorageError; true does not prove that the file is there. */
  write(name: string, bytes: Uint8Array, offset?: number, size?: number, flags?: number): boolean;
  erase(name: string): void;
  eraseAll(): void;
  /** False when there was nothing to do. */
  compact(): boolean;
  /** Files that are not removed, in the order of the chain. */
  list(): Header[];
  stats(): Stats;
  /** The engine's check at its start, which erases everything when the chain is broken. */
  start(): void;
}

export function createFiles(area: StorageArea, print: (text: string) => void = () => {}): Files {
  const { chip, address } = area;
  const chain = createChain(area);

  function find(name: string): Header | undefined {
    const wanted = nameBytes(name);
    return chain.all().find(({ bytes }) => sameBytes(bytes.subarray(NAME_AT), wanted));
  }

  function create(name: string, size: number, flags: number): Header | undefined {
    const length = HEADER + align(size);
    let hole = findHole(area, chain, length);
    const worthIt = length < hole.free + hole.trash;
    if (!hole.addr && worthIt && compact(area, chain, print)) hole = findHole(area, chain, length);
    if (!hole.addr) return undefined;
    const bytes = new Uint8Array(HEADER);
    new DataView(bytes.buffer).setUint32(0, size | (flags << 24), true);
    bytes.set(nameBytes(name), NAME_AT);
    chip.clearBits(hole.addr, bytes);
    return { addr: hole.addr, bytes, size, flags, valid: true };
  }

  function remove(header: Header): void {
    chip.clearBits(header.addr + NAME_AT, new Uint8Array(NAME_START));
  }

  /** The file that a write at offset 0 goes to: the one that is there, if it is blank, or a new one in its place. */
  function fileToFill(old: Header | undefined, name: string, size: number, flags: number): Header | undefined {
    if (old && old.size === size && old.flags === flags && chain.isErased(old.addr + HEADER, size)) return old;
    if (old) remove(old);
    return create(name, size, flags);
  }

  function isThere(old: Header | undefined, bytes: Uint8Array, size: number, flags: number): boolean {
    if (!old || old.size !== size || old.flags !== flags || bytes.length !== size) return false;
    return sameBytes(chip.peek(old.addr + HEADER, size), bytes) && !isAll(bytes, 0xff);
  }

  function read(name: string): Uint8Array | undefined {
    const file = find(name);
    const { contents } = area;
    if (!file) return undefined;
    if (contents.address === null) {
      // the real engine's string begins at address 0, and a load from there is an exception: nothing can be read
      print(`ERROR: ${missingLine(contents.label)}\n\n`);
      return undefined;
    }
    const from = file.addr + HEADER - address;
    const bytes = new Uint8Array(file.size).fill(0xff);
    const mapped = Math.max(0, Math.min(file.size, contents.size - from));
    if (mapped) bytes.set(chip.peek(contents.address + from, mapped));
    return bytes;
  }

  const files: Files = {
    area,
    find,
    read,
    write(name, bytes, offset = 0, length = 0, flags = FLAG.NONE) {
      if (offset < 0 || length < 0) return false;
      const size = length || bytes.length;
      if (!size) throw new StorageError("Can't create zero length file");
      const old = find(name);
      if (offset === 0 && isThere(old, bytes, size, flags)) return true;
      const file = offset === 0 ? fileToFill(old, name, size, flags) : old;
      if (!file) throw new StorageError("Unable to find or create file");
      if (offset + bytes.length > file.size) throw new StorageError("Too much data for file size");
      const addr = file.addr + HEADER + offset;
      if (!chain.isErased(addr, bytes.length)) throw new StorageError("File already written with different data");
      writeAligned(area, addr, bytes);
      return true;
    },
    erase(name) {
      const file = find(name);
      if (file) remove(file);
    },
    eraseAll() {
      for (let addr = address; addr < address + area.size; addr += area.page) chip.erase(addr);
    },
    compact: () => compact(area, chain, print),
    list: () => chain.all().filter(isReal).filter(isListed),
    stats: chain.stats,
    start() {
      if (area.contents.address === null) print(`ERROR: ${missingLine(area.contents.label, true)}\n\n`);
      if (chain.isSound()) return;
      print("Storage is corrupt.\nErasing Storage Area...\n");
      files.eraseAll();
      print("Erase complete.\n");
    },
  };
  return files;
}

/** A file of Storage.open() is kept in chunks: only its first one is listed. */
const isListed = (header: Header): boolean => !(header.flags & FLAG.STORAGE_FILE) || nameOf(header).endsWith("\x01");

/** As builds from 2v26 on say it, at the start with one quote more; older ones have a bare js_code. */
function missingLine(label: string, atStart = false): string {
  const name = label === "js_code" ? label : `'${label}'${atStart ? "'" : ""}`;
  return `Couldn't find ${name} partition - update with partition_espruino.bin`;
}

/**
 * Where a file of `length` bytes, header included, has room, or 0; and what the engine counts on its way. When the last
 * file ends less than a header before the end it goes on at address 0, which on the ESP32 is flash as well.
 */
function findHole(area: StorageArea, chain: Chain, length: number): { addr: number; free: number; trash: number } {
  const end = area.address + area.size;
  /** Up to the next page that begins with a header; what else lies there is not looked at. */
  function spaceAt(addr: number): number {
    if (addr < area.lowest) return 0;
    const next = chain.pageOf(addr) + area.page;
    return (next < end && !chain.headerAt(next).valid ? end : next) - addr;
  }
  let free = 0;
  let trash = 0;
  let from = area.address;
  do {
    const { addr } = chain.walk(from, false, (header) => {
      if (isRemoved(header)) trash += header.size;
    });
    const space = spaceAt(addr);
    free += space;
    if (space >= length) return { addr, free, trash };
    from = chain.nextPage(addr);
  } while (from);
  return { addr: 0, free, trash };
}

/** Flash is written in units of four bytes; at both ends the rest of one is written as it is (src/jshardware_common.c). */
function writeAligned({ chip }: StorageArea, addr: number, bytes: Uint8Array): void {
  function writeInUnit(part: Uint8Array, at: number): void {
    const start = at - (at % UNIT);
    const unit = chip.peek(start, UNIT);
    unit.set(part, at - start);
    chip.clearBits(start, unit);
  }
  const first = Math.min(bytes.length, (UNIT - (addr % UNIT)) % UNIT);
  const whole = Math.floor((bytes.length - first) / UNIT) * UNIT;
  if (first) writeInUnit(bytes.subarray(0, first), addr);
  if (whole) chip.clearBits(addr + first, bytes.slice(first, first + whole));
  if (first + whole < bytes.length) writeInUnit(bytes.subarray(first + whole), addr + first + whole);
}
