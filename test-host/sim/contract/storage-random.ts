// Storages and calls drawn at random: what a program may do, and what a loss of power may leave of it.
// The Linux build makes a table of file names when more than 200 files were written since the last one; the ESP32 has no
// such table, so the calls here stay below that.

import fc from "fast-check";
import { linuxArea, type StorageArea, type StorageChip } from "../espruino/area.ts";
import { HEADER } from "../espruino/chain.ts";
import { createFiles, type Files, StorageError } from "../espruino/files.ts";
import { noise } from "../../support/images.ts";
import { blankFlash, STORAGE_SIZE } from "./storage-run.ts";

/** A whole number, 0 <= n < below. */
export type Random = (below: number) => number;

/** Numbers that fast-check draws on demand: a failure is shrunk to small ones. */
export const randomOf =
  (draw: fc.GeneratorValue): Random =>
  (below) =>
    draw(fc.nat, { max: below - 1 });

const NAMES = ["a", "b.js", ".cfg", ".https-ota0", "long name of many characters", "d", "e", "f"];
const pick = <T>(random: Random, list: readonly T[]): T => list[random(list.length)];

function sizeOf(random: Random): number {
  const most = pick(random, [40, 40, 600, 5000, 20000, 90000]);
  return 1 + random(most);
}

type Call = { text: string; run(files: Files): void };

function callOf(random: Random): Call {
  const name = pick(random, NAMES);
  const size = sizeOf(random);
  const key = random(90);
  const quoted = JSON.stringify(name);
  switch (random(14)) {
    case 0:
    case 1:
      return { text: `s.erase(${quoted})`, run: (files) => files.erase(name) };
    case 2:
      return { text: "s.compact()", run: (files) => void files.compact() };
    case 3: {
      const part = 1 + random(size);
      return {
        text: `s.write(${quoted}, fill(${part}, ${key}), 0, ${size})`,
        run: (files) => void files.write(name, textBytes(part, key), 0, size),
      };
    }
    case 4: {
      const at = random(size + 3);
      const length = random(60);
      return {
        text: `s.write(${quoted}, fill(${length}, ${key}), ${at})`,
        run: (files) => void files.write(name, textBytes(length, key), at),
      };
    }
    case 5:
      return random(6) ? { text: "state()", run() {} } : { text: "s.eraseAll()", run: (files) => files.eraseAll() };
    case 6:
    case 7: {
      // to the end of Storage, or of what a compaction would give, and some bytes more or less
      const trash = random(2);
      const more = random(9) * 4 - random(3) * HEADER;
      const room = `s.getStats().freeBytes + ${trash} * s.getStats().trashBytes`;
      return {
        text: `s.write(${quoted}, fill(Math.max(1, ${room} + ${more}), ${key}))`,
        run(files) {
          const stats = files.stats();
          const length = Math.max(1, stats.free + trash * stats.trash.bytes + more);
          files.write(name, textBytes(length, key));
        },
      };
    }
    default:
      return {
        text: `s.write(${quoted}, fill(${size}, ${key}))`,
        run: (files) => void files.write(name, textBytes(size, key)),
      };
  }
}

/** fill() of storage-run.ts. */
function textBytes(length: number, key: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => 33 + ((key * 7 + (i % 16) * 5) % 90));
}

export const callsOf = (random: Random, count: number): Call[] => Array.from({ length: count }, () => callOf(random));

// --- What a loss of power leaves

class PowerLoss extends Error {}

export const TORN_KINDS = ["before", "part", "bits", "after"] as const;
export type TornKind = (typeof TORN_KINDS)[number];

/** A flash whose power fails in operation `at`. */
export function failing(area: StorageArea, at: number, kind: TornKind, seed: number): StorageArea & { done(): number } {
  let count = 0;
  const { chip, page } = area;
  function step(length: number, whole: () => void, torn: (part: number, mask: Uint8Array) => void): void {
    if (count++ < at) return whole();
    if (count > at + 1) throw new PowerLoss();
    if (kind === "after") whole();
    if (kind === "part") torn(1 + (noise(seed, 4)[0] % length), new Uint8Array(length));
    if (kind === "bits") torn(length, noise(seed, length));
    throw new PowerLoss();
  }
  const cut: StorageChip = {
    peek: chip.peek,
    clearBits(addr, bytes) {
      const whole = () => chip.clearBits(addr, bytes);
      step(bytes.length, whole, (part, mask) =>
        chip.clearBits(
          addr,
          bytes.subarray(0, part).map((byte, i) => byte | mask[i]),
        ),
      );
    },
    erase(addr) {
      const start = addr - (addr % page);
      const old = chip.peek(start, page);
      const whole = () => chip.erase(addr);
      step(page, whole, (part, mask) => {
        chip.erase(addr);
        const torn = old.map((byte, i) => (i < part ? byte | ~mask[i] : byte));
        chip.clearBits(start, torn);
      });
    },
  };
  return { ...area, chip: cut, done: () => count };
}

/** Runs until power fails; true when it did. */
export function runCut(area: StorageArea, run: (files: Files) => void): boolean {
  try {
    run(createFiles(area));
    return false;
  } catch (error) {
    if (error instanceof PowerLoss) return true;
    throw error;
  }
}

function quietly(run: () => void): void {
  try {
    run();
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
  }
}

/** A Storage after some calls, the last of which was cut, or with some bytes of its headers spoiled. */
export function storageOf(random: Random, page: number): Uint8Array {
  const bytes = blankFlash();
  const area = linuxArea(bytes, page);
  if (random(8) === 0) return bytes;
  const calls = callsOf(random, random(30));
  for (const call of calls) quietly(() => call.run(createFiles(area)));
  const last = callOf(random);
  const cut = failing(area, random(6), pick(random, TORN_KINDS), random(1e6));
  if (random(3)) runCut(cut, (files) => quietly(() => last.run(files)));
  if (random(6) === 0) runCut(failing(area, random(40), pick(random, TORN_KINDS), random(1e6)), (files) => files.compact());
  if (random(5) === 0) spoil(random, bytes, createFiles(area));
  return bytes;
}

function spoil(random: Random, bytes: Uint8Array, files: Files): void {
  const headers = files.list();
  const at = headers.length ? pick(random, headers).addr - files.area.address + random(8) : random(STORAGE_SIZE);
  bytes[at] = pick(random, [0, 0xff, bytes[at] & random(256), bytes[at] | random(256)]);
}
