// SPI NOR flash: 4096-byte sectors are erased to 0xff, writes only clear bits (docs/formats.md#flash).
// Misuse is never silent: like mcuboot's simflash it remembers what was written since the last erase.
// Content is copy-on-write per sector, so a snapshot costs one array of pointers.
import { createHash } from "node:crypto";

export const SECTOR = 4096;
export const PAGE = 256;

export type FlashOp = { index: number; kind: "erase" | "write"; addr: number; length: number };

export type Faults = {
  /** The erase does nothing and says nothing (docs/espruino.md#erases-fail-on-idf-5-builds). */
  silentErase?: (addr: number) => boolean;
  /** The write does nothing and says nothing. */
  dropWrite?: (addr: number, length: number) => boolean;
  /** Mask of bits that refuse to change when the byte at `addr` is written; 0 is a healthy cell. */
  stuckBits?: (addr: number) => number;
};

export type Times = { eraseMs: number; programMsPerPage: number; readBytesPerMs: number };
/**
 * 46 ms per erase seen on an emulated ESP32 (docs/performance.md#what-bounds-an-update), 0.7 ms per page as usual in data
 * sheets. docs/timing.md sets them beside times of real boards.
 */
export const TIMES: Readonly<Times> = { eraseMs: 45, programMsPerPage: 0.7, readBytesPerMs: 8000 };

/**
 * What survives a power loss: content, nothing else. Sector arrays are shared and must not be changed.
 * A flash restored from a snapshot knows of written cells only by their content: rewriting a cell that holds 0xff is
 * then no violation, so snapshots with the same content behave alike and can be dropped as duplicates.
 */
export type Snapshot = { readonly sectors: readonly Uint8Array[] };

export interface Flash {
  readonly size: number;
  /** A copy; counted. */
  read(addr: number, length: number): Uint8Array;
  /** Clears bits, whatever was there; a cell that is not erased is a violation. */
  write(addr: number, data: Uint8Array): void;
  /**
   * The same for a caller who means cells that hold something already, as Espruino's Storage does where it removes a
   * file: no violation. In log, counts and faults it is a write.
   */
  clearBits(addr: number, data: Uint8Array): void;
  /** Sets the whole sector that holds `addr` to 0xff. */
  erase(addr: number): void;
  readonly log: FlashOp[];
  readonly violations: string[];
  readonly counts: { erases: number; writes: number; reads: number; bytesWritten: number; bytesRead: number };
  /** How often the sector that holds `addr` was erased in the life of this flash. */
  wear(addr: number): number;
  deviceMs(): number;
  deviceMsSplit(): { erase: number; program: number; read: number };
  snapshot(): Snapshot;
  restore(snapshot: Snapshot): void;
  sameSnapshot(a: Snapshot, b: Snapshot): boolean;
  snapshotHash(snapshot: Snapshot): string;
  dump(): Uint8Array;
  /** Host side (a programmer's clip): any bytes anywhere; neither logged nor counted. */
  load(bytes: Uint8Array, addr?: number): void;
  /** Host side read; not counted. */
  peek(addr: number, length: number): Uint8Array;
  faults: Faults;
  /** "before" may throw to cut the power before the operation, "after" to cut it after. `data`: the bytes of a write. */
  onOp: ((op: FlashOp, phase: "before" | "after", data?: Uint8Array) => void) | null;
  /** Counts, log, violations and times start again; content and wear stay. */
  resetCounts(): void;
}

const BLANK = new Uint8Array(SECTOR).fill(0xff);
const digests = new WeakMap<Uint8Array, string>();

function sectorDigest(sector: Uint8Array): string {
  let digest = digests.get(sector);
  if (digest === undefined) {
    digest = createHash("sha1").update(sector).digest("binary");
    digests.set(sector, digest);
  }
  return digest;
}

export function sameSnapshot(a: Snapshot, b: Snapshot): boolean {
  return (
    a.sectors.length === b.sectors.length &&
    a.sectors.every((sector, i) => sector === b.sectors[i] || Buffer.compare(sector, b.sectors[i]) === 0)
  );
}

export function snapshotHash(snapshot: Snapshot): string {
  return createHash("sha1").update(snapshot.sectors.map(sectorDigest).join(""), "binary").digest("hex");
}

/** An address or a size, as IDF and esptool print it. */
export const hex = (n: number) => `0x${n.toString(16)}`;

function isSnapshot(from: Uint8Array | Snapshot): from is Snapshot {
  return "sectors" in from;
}

export function createFlash(
  options: { size?: number; from?: Uint8Array | Snapshot; times?: Partial<Times> } = {},
): Flash {
  const { from } = options;
  const times = { ...TIMES, ...options.times };
  const held = from === undefined ? 0 : isSnapshot(from) ? from.sectors.length * SECTOR : from.length;
  const size = options.size ?? (held || 4 << 20);
  if (size % SECTOR !== 0 || held > size) throw new RangeError(`flash size ${size} cannot hold ${held} bytes`);

  // Campaigns make a flash for each snapshot: what most sectors do not need is kept by the sector's number.
  let sectors: Uint8Array[] = new Array(size / SECTOR).fill(BLANK);
  /** Sectors that are in no snapshot and may be changed in place. */
  const owned = new Set<number>();
  /** Per cell, written since the last erase; without marks what does not hold 0xff is written. */
  const marks = new Map<number, Uint8Array>();
  const wear = new Map<number, number>();
  const ms = { erase: 0, program: 0, read: 0 };

  /** Calls `part` for every sector that [addr, addr + length) touches. */
  function span(addr: number, length: number, part: (index: number, start: number, end: number, done: number) => void) {
    for (let done = 0; done < length; ) {
      const start = (addr + done) % SECTOR;
      const n = Math.min(SECTOR - start, length - done);
      part(Math.floor((addr + done) / SECTOR), start, start + n, done);
      done += n;
    }
  }

  function checkRange(what: string, addr: number, length: number): void {
    if (Number.isInteger(addr) && Number.isInteger(length) && addr >= 0 && length >= 0 && addr + length <= size) return;
    const text = `${what} ${hex(addr)}+${length}: out of range, the flash has ${hex(size)} bytes`;
    flash.violations.push(text);
    throw new RangeError(text);
  }

  function own(index: number): Uint8Array {
    if (!owned.has(index)) {
      sectors[index] = new Uint8Array(sectors[index]); // slice() of a Buffer does not copy
      owned.add(index);
    }
    return sectors[index];
  }

  function marksOf(index: number): Uint8Array {
    const sector = sectors[index];
    let mark = marks.get(index);
    if (!mark) {
      mark = new Uint8Array(SECTOR);
      if (sector !== BLANK) for (let i = 0; i < SECTOR; i++) mark[i] = sector[i] === 0xff ? 0 : 1;
      marks.set(index, mark);
    }
    return mark;
  }

  function copyOut(addr: number, length: number): Uint8Array {
    const out = new Uint8Array(length);
    span(addr, length, (index, start, end, done) => out.set(sectors[index].subarray(start, end), done));
    return out;
  }

  function program(addr: number, data: Uint8Array, strict: boolean): void {
    const { stuckBits } = flash.faults;
    span(addr, data.length, (index, start, end, done) => {
      const mark = marksOf(index);
      const used = mark.subarray(start, end).indexOf(1);
      if (strict && used >= 0) {
        const cell = index * SECTOR + start + used;
        flash.violations.push(`write ${hex(addr)}+${data.length}: the cell at ${hex(cell)} is not erased`);
      }
      mark.fill(1, start, end);
      const sector = own(index);
      if (used < 0 && !stuckBits) {
        // No cell is marked, so all hold 0xff: clearing bits is copying.
        sector.set(data.subarray(done, done + end - start), start);
        return;
      }
      for (let i = start; i < end; i++) {
        const old = sector[i];
        const stuck = stuckBits ? stuckBits(index * SECTOR + i) : 0;
        sector[i] = (old & data[done + i - start] & ~stuck) | (old & stuck);
      }
    });
  }

  function logged(kind: FlashOp["kind"], addr: number, length: number, act: () => void, data?: Uint8Array): void {
    const op: FlashOp = { index: flash.log.length, kind, addr, length };
    flash.onOp?.(op, "before", data);
    flash.log.push(op);
    act();
    flash.onOp?.(op, "after", data);
  }

  function write(addr: number, data: Uint8Array, strict: boolean): void {
    checkRange("write", addr, data.length);
    if (data.length === 0) return;
    logged(
      "write",
      addr,
      data.length,
      () => {
        flash.counts.writes++;
        flash.counts.bytesWritten += data.length;
        const pages = Math.floor((addr + data.length - 1) / PAGE) - Math.floor(addr / PAGE) + 1;
        ms.program += pages * times.programMsPerPage;
        if (!flash.faults.dropWrite?.(addr, data.length)) program(addr, data, strict);
      },
      data,
    );
  }

  const flash: Flash = {
    size,
    log: [],
    violations: [],
    counts: { erases: 0, writes: 0, reads: 0, bytesWritten: 0, bytesRead: 0 },
    faults: {},
    onOp: null,
    sameSnapshot,
    snapshotHash,

    read(addr, length) {
      checkRange("read", addr, length);
      flash.counts.reads++;
      flash.counts.bytesRead += length;
      ms.read += length / times.readBytesPerMs;
      return copyOut(addr, length);
    },

    write: (addr, data) => write(addr, data, true),
    clearBits: (addr, data) => write(addr, data, false),

    erase(addr) {
      checkRange("erase", addr, 1);
      const index = Math.floor(addr / SECTOR);
      logged("erase", index * SECTOR, SECTOR, () => {
        flash.counts.erases++;
        ms.erase += times.eraseMs;
        if (flash.faults.silentErase?.(addr)) return;
        wear.set(index, (wear.get(index) ?? 0) + 1);
        sectors[index] = BLANK;
        owned.delete(index);
        marks.delete(index);
      });
    },

    wear: (addr) => wear.get(Math.floor(addr / SECTOR)) ?? 0,
    deviceMs: () => ms.erase + ms.program + ms.read,
    deviceMsSplit: () => ({ ...ms }),

    snapshot() {
      owned.clear();
      return { sectors: sectors.slice() };
    },

    restore(snapshot) {
      if (snapshot.sectors.length !== sectors.length) throw new RangeError("the snapshot is of another flash size");
      sectors = snapshot.sectors.slice();
      owned.clear();
      marks.clear();
    },

    dump: () => copyOut(0, size),

    load(bytes, addr = 0) {
      checkRange("load", addr, bytes.length);
      span(addr, bytes.length, (index, start, end, done) => {
        own(index).set(bytes.subarray(done, done + end - start), start);
        marks.delete(index);
      });
    },

    peek(addr, length) {
      checkRange("peek", addr, length);
      return copyOut(addr, length);
    },

    resetCounts() {
      flash.log.length = 0;
      flash.violations.length = 0;
      Object.assign(flash.counts, { erases: 0, writes: 0, reads: 0, bytesWritten: 0, bytesRead: 0 });
      Object.assign(ms, { erase: 0, program: 0, read: 0 });
    },
  };

  if (from === undefined) return flash;
  if (isSnapshot(from)) sectors.splice(0, from.sectors.length, ...from.sectors);
  else flash.load(from);
  return flash;
}
