import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fsverity } from "../../support/fsverity.ts";

type Case = { length: number; byte: string; fsverity: string };
const vectors: { cases: Case[] } = JSON.parse(
  readFileSync(new URL("../../vectors/fsverity.json", import.meta.url), "utf8"),
);

test("there are vectors around every edge of the tree", () => {
  const lengths = vectors.cases.map((one) => one.length);
  // 524288 bytes are 128 blocks, whose digests fill one block of the tree
  for (const length of [0, 1, 4095, 4096, 4097, 524287, 524288, 524289])
    assert.ok(lengths.includes(length), `${length}`);
});

for (const { length, byte, fsverity: wanted } of vectors.cases) {
  test(`gives what fsverity-utils gives for ${length} bytes`, () => {
    assert.equal(byte, "(7*i + floor(i/256) + length) mod 256");
    const bytes = Uint8Array.from({ length }, (_, i) => (7 * i + (i >> 8) + length) & 255);
    assert.equal(`sha256:${fsverity(bytes)}`, wanted);
  });
}

test("takes a view into a larger buffer for what it shows", () => {
  const all = new Uint8Array(3 * 4096).map((_, i) => i * 31);
  assert.equal(fsverity(all.subarray(100, 5000)), fsverity(all.slice(100, 5000)));
});
