// Storage's compaction (src/jsflash.c, jsfCompactInternal): from the first page with trash on every file is moved forward
// through a buffer in RAM, page by page. Between the erase of a page and the last write into it what was there is in
// that buffer only: power that fails then costs files, or the chain.

import type { StorageArea } from "./area.ts";
import { align, type Chain, HEADER, isReal } from "./chain.ts";

/** A ring of bytes. What is taken at once ends where the ring does, so its size decides how writes are cut. */
function createRing(capacity: number) {
  const bytes = new Uint8Array(capacity);
  let head = 0;
  let tail = 0;
  let used = 0;
  return {
    used: () => used,
    /** Free bytes in one piece. */
    room: () => Math.min(capacity - used, capacity - head),
    put(data: Uint8Array): void {
      for (const byte of data) {
        bytes[head] = byte;
        head = (head + 1) % capacity;
      }
      used += data.length;
    },
    /** Used bytes in one piece, `most` at most. */
    first: (most: number) => bytes.slice(tail, tail + Math.min(used, capacity - tail, most)),
    drop(count: number): void {
      tail = (tail + count) % capacity;
      used -= count;
    },
  };
}

const SPINNER = "/-\\|";

/** False when there was nothing to do. */
export function compact(area: StorageArea, chain: Chain, print: (text: string) => void): boolean {
  const { chip, page } = area;
  const end = area.address + area.size;
  const { live, trash, firstTrash: start } = chain.stats();
  if (!trash.bytes) return false;
  print("Compacting... ");
  const ring = createRing(Math.min(live.bytes, page + HEADER));
  let writeAt = start;
  let spun = 0;

  /** Writes as far as nothing is overwritten that is still to be read. */
  function flush(readAt: number): void {
    while (ring.used()) {
      const pageEnd = chain.nextPage(writeAt) || end;
      if (readAt < pageEnd) return;
      if (chain.pageOf(writeAt) === writeAt) chip.erase(writeAt);
      const bytes = ring.first(pageEnd - writeAt);
      chip.clearBits(writeAt, bytes);
      ring.drop(bytes.length);
      writeAt += bytes.length;
    }
  }

  const { addr: walkEnd } = chain.walk(start, true, (header) => {
    if (!isReal(header)) return;
    ring.put(header.bytes);
    let readAt = header.addr + HEADER;
    const until = readAt + align(header.size);
    flush(readAt);
    while (readAt < until) {
      if (!ring.room()) throw new Error("a compaction has more to keep than its buffer holds");
      const bytes = chip.peek(readAt, Math.min(ring.room(), until - readAt));
      ring.put(bytes);
      readAt += bytes.length;
      flush(readAt);
    }
    const spin = (header.addr - start) >> 14;
    if (spin !== spun) print(`\b${SPINNER[spin & 3]}`);
    spun = spin;
  });
  flush(end);
  eraseRest(area, chain, start, writeAt, walkEnd || end);
  print("\n");
  return true;
}

/** From the first page that nothing was written to up to where the chain ended before. */
function eraseRest(area: StorageArea, chain: Chain, start: number, written: number, end: number): void {
  const from = written === start ? start : chain.nextPage(written - 1);
  if (!from) return;
  for (let addr = from; addr < end; addr += area.page) area.chip.erase(addr);
}
