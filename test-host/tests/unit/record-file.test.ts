// The file of records by itself (docs/formats.md, "Boot record"): whatever was appended, torn and appended again, the last
// whole record counts and the next one goes behind everything.

import assert from "node:assert/strict";
import { test } from "node:test";
import { loadInEngine } from "../../support/load.ts";
import { buildWith } from "../../support/mutate.ts";
import { noise } from "../../support/images.ts";
import { part } from "../../support/share.ts";

const SIZE = 4096;
const UNIT = 64;
const code = await buildWith([], "boot/record-file.ts");
const { module } = loadInEngine(code);
const seal = (text: string): string => module.sealRecord(text);
const read = (file: string): { fields: unknown; ticks: number; end: number } => {
  const { fields_, ticks_, end_ } = module.readRecords(file);
  return { fields: fields_ && JSON.parse(JSON.stringify(fields_)), ticks: ticks_, end: end_ };
};

/** A file as it lies in flash: blank, and each write clears bits. */
function createFile() {
  const bytes = new Uint8Array(SIZE).fill(0xff);
  return {
    write(at: number, text: string) {
      for (let i = 0; i < text.length; i++) bytes[at + i] &= text.charCodeAt(i);
    },
    text: () => Buffer.from(bytes).toString("latin1"),
  };
}

const random = (seed: number) => {
  const words = new Uint32Array(noise(seed, 4096).slice().buffer);
  let at = 0;
  return (below: number): number => words[at++ % words.length] % below;
};

/** What a loss of power leaves of `text`: a beginning, and of its next byte some bits. */
function torn(text: string, pick: (below: number) => number): string {
  const length = pick(text.length);
  return text.slice(0, length) + String.fromCharCode(text.charCodeAt(length) | pick(256));
}

test("a blank file, and none, hold no record, and the first one goes to the beginning", () => {
  for (const file of ["", "\xff".repeat(SIZE)]) assert.deepEqual(read(file), { fields: null, ticks: 0, end: 0 });
});

test("a record is whole units, says how many, and its CRC-32 is that of all behind it", () => {
  for (const length of [1, 54, 55, 56, 300]) {
    const text = JSON.stringify(["x".repeat(length)]);
    const sealed = seal(text);
    assert.equal(sealed.length % UNIT, 0);
    assert.equal(sealed.length, UNIT * Math.ceil((9 + text.length) / UNIT));
    assert.equal(sealed.charCodeAt(0) * UNIT, sealed.length);
    assert.equal(sealed.slice(1, 9), crcOf(sealed.slice(9)));
    assert.equal(sealed.slice(9).trimEnd(), text);
  }
});

/** CRC-32 of ISO-HDLC, bit by bit. */
function crcOf(text: string): string {
  let crc = 0xffffffff;
  for (let i = 0; i < text.length; i++) {
    crc ^= text.charCodeAt(i);
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (~crc >>> 0).toString(16).padStart(8, "0");
}

test("after any row of records, starts and torn writes the last whole record counts", (t) => {
  let tornWrites = 0;
  const seeds = part(
    t,
    Array.from({ length: 300 }, (_, i) => i + 1),
    4,
    "rows of records",
  );
  for (const seed of seeds) {
    const pick = random(seed);
    const file = createFile();
    let fields: unknown = null;
    let ticks = 0;
    for (let step = 0; ; step++) {
      const before = read(file.text());
      assert.deepEqual({ fields: before.fields, ticks: before.ticks }, { fields, ticks }, `seed ${seed}, step ${step}`);
      assert.match(file.text().slice(before.end), /^\xff*$/, `seed ${seed}, step ${step}: the end is not blank`);
      const isTick = pick(2) === 0;
      const next = [seed, step, "y".repeat(pick(260))];
      const sealed = seal(isTick ? "+" : JSON.stringify(next));
      if (before.end + sealed.length > SIZE) break;
      const written = pick(4) === 0 ? torn(sealed, pick) : sealed;
      file.write(before.end, written);
      // torn in its last byte it may be whole
      if (written !== sealed) tornWrites++;
      else if (isTick) ticks++;
      else [fields, ticks] = [next, 0];
    }
  }
  assert.ok(tornWrites > (1000 / 300) * seeds.length, `only ${tornWrites} writes were torn`);
});

test("a record with any one bit changed is not one", () => {
  const first = seal("[1]");
  const sealed = seal(JSON.stringify([2, "z".repeat(100)]));
  for (let at = 0; at < sealed.length; at++)
    for (let bit = 0; bit < 8; bit++) {
      const file = first + flip(sealed, at, bit) + "\xff".repeat(SIZE - first.length - sealed.length);
      assert.deepEqual(read(file).fields, [1], `byte ${at}, bit ${bit}`);
    }
});

const flip = (text: string, at: number, bit: number): string =>
  text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ (1 << bit)) + text.slice(at + 1);

test("a file of anything else holds no record and is read without an error", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const text = Buffer.from(noise(seed, SIZE)).toString("latin1");
    assert.equal(read(text).fields, null);
    assert.equal(read("\0".repeat(SIZE)).fields, null);
    assert.equal(read(text.slice(0, seed)).fields, null);
  }
});
