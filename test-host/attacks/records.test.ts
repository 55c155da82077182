// The promise: an old release, replayed, is refused below the highest sequence that was confirmed, whatever a loss of power
// has left of the boot record; and a record that is not ours costs nothing but itself. Against the files alone, which takes
// some 0.5 ms; the whole device: boot-record.test.ts.

import assert from "node:assert/strict";
import { crc32 } from "node:zlib";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { type Loaded, loadSource } from "../support/load.ts";
import { flipped, flips, holds } from "./fuzz.ts";

const FILES = [".https-ota0", ".https-ota1"];
const SIZE = 4096;
const UNIT = 64;

let record: Loaded;
before(async () => {
  record = await loadSource("boot/boot-record.ts");
});
after(() => record.engine.stop());

/** docs/formats.md, "Boot record". */
function seal(text: string): Uint8Array {
  const units = Math.ceil((9 + text.length) / UNIT);
  const body = Buffer.from(text.padEnd(units * UNIT - 9), "latin1");
  return Buffer.concat([Uint8Array.of(units & 255), Buffer.from(crc32(body).toString(16).padStart(8, "0")), body]);
}
const fieldsOf = (
  serial: number,
  sequence: number,
  more: Partial<{ slot: string; boots: number; next: number; bad: string[] }> = {},
): unknown[] => [
  serial,
  sequence,
  more.slot ?? "ota_0",
  "factory",
  more.boots ?? -2,
  more.next ?? sequence,
  "",
  0,
  [["ota_0", 12288, "ab".repeat(32), 7, "2.0.2"]],
  more.bad ?? [],
];

function put(files: readonly (Uint8Array | null)[]): void {
  const store = record.engine.files;
  store.eraseAll();
  files.forEach((bytes, i) => {
    if (bytes) store.write(FILES[i], bytes);
  });
}
function fileOf(records: readonly Uint8Array[]): Uint8Array {
  const file = new Uint8Array(SIZE).fill(0xff);
  let at = 0;
  for (const one of records) {
    if (at + one.length > SIZE) break;
    file.set(one, at);
    at += one.length;
  }
  return file;
}
const load = (): any => record.module.loadRecord();

function isRecord(one: any): void {
  assert.ok(Number.isSafeInteger(one.sequence) && one.sequence >= 0, `sequence ${one.sequence}`);
  assert.ok(Number.isSafeInteger(one.boots) && one.boots >= -3, `boots ${one.boots}`);
  for (const name of ["slot", "previous", "project"]) assert.equal(typeof one[name], "string", name);
  assert.ok(record.engine.run("Array.isArray") && Array.isArray(one.bad) && Array.isArray(one.images));
}

/** Records in the order in which they were written: [file, sequence], ticks between them. */
const history = fc.array(fc.record({ file: fc.nat(1), grows: fc.nat(5), ticks: fc.nat(3) }), {
  minLength: 1,
  maxLength: 10,
});

function write(list: { file: number; grows: number; ticks: number }[]): { files: Uint8Array[][]; sequences: number[] } {
  const files: Uint8Array[][] = [[], []];
  const sequences: number[] = [];
  let sequence = 100;
  list.forEach(({ file, grows, ticks }, i) => {
    sequence += grows;
    sequences.push(sequence);
    files[file].push(seal(JSON.stringify(fieldsOf(i + 1, sequence))));
    for (let tick = 0; tick < ticks; tick++) files[file].push(seal("+"));
  });
  return { files, sequences };
}

test("replay an older release: a torn record does not lower the sequence", async (t) => {
  await holds(
    t,
    fc.tuple(history, fc.nat(200), fc.constantFrom("blank", "zero", "flips", "noise"), flips(4)),
    ([list, cut, how, bits]) => {
      const { files, sequences } = write(list);
      const last = list[list.length - 1];
      put(files.map(fileOf));
      assert.equal(load().sequence, sequences.at(-1), "the record as it is");
      // the last write of the last file is torn: a record, or a tick behind one
      const own = files[last.file];
      const torn = own.pop() as Uint8Array;
      const keep = cut % torn.length;
      const rest = torn.subarray(keep);
      const becomes: Record<string, () => Uint8Array> = {
        blank: () => rest.map(() => 0xff),
        zero: () => rest.map(() => 0),
        // a cell that was being written: bits that should be 0 are 1 yet
        flips: () => rest.map((byte, i) => byte | (bits[i % bits.length] & 255)),
        noise: () => flipped(rest, bits),
      };
      own.push(Buffer.concat([torn.subarray(0, keep), becomes[how]()]));
      put(files.map(fileOf));
      const found = load();
      isRecord(found);
      const before = last.ticks ? sequences.at(-1)! : (sequences.at(-2) ?? 0);
      assert.ok(found.sequence >= before, `sequence ${found.sequence}, it was ${before}`);
    },
  );
});

test("a file that is not a boot record throws nowhere", async (t) => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc
      .tuple(flips(20), fc.integer({ min: 1, max: SIZE }))
      .map(([bits, length]) =>
        flipped(
          fileOf([seal(JSON.stringify(fieldsOf(3, 100))), seal("+"), seal(JSON.stringify(fieldsOf(4, 101)))]),
          bits,
        ).subarray(0, length),
      ),
  );
  await holds(
    t,
    fc.tuple(bytes, fc.option(bytes)),
    (files) => {
      put(files.map((one) => (one?.length ? one : null)));
      isRecord(load());
    },
    { share: 0.5 },
  );
});
