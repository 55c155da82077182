// How devices spread over time by their serial numbers, for waits after which a whole fleet comes back. Pure: the built
// function, a thousand numbers.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { serialOf } from "../../support/first-looks.ts";
import { loadSource } from "../../support/load.ts";
import { sample } from "../../support/property.ts";

const { engine, module } = await loadSource("platform/engine.ts");
const DEVICES = 1000;
const ROUNDS = 8;
const BINS = 20;
/** Chi-square of 19 degrees of freedom is above this once in 100,000 cases. The numbers below never change. */
const LIMIT = 58;

/** What each device makes of each round. */
function spreadOf(macs: number[]): number[][] {
  let serial = "";
  (engine.run("(function (read) { getSerial = read; })") as (read: () => string) => void)(() => serial);
  return macs.map((mac) => {
    serial = serialOf(mac);
    return Array.from({ length: ROUNDS }, (_, round) => module.spread(round) as number);
  });
}

function binsOf(values: number[], bins = BINS): number[] {
  const counts = new Array<number>(bins).fill(0);
  for (const value of values) counts[Math.floor(value * bins)]++;
  return counts;
}

function chiSquare(values: number[]): number {
  const wanted = values.length / BINS;
  return binsOf(values).reduce((sum, count) => sum + (count - wanted) ** 2 / wanted, 0);
}

const FLEETS: [string, number[]][] = [
  ["one after the other, as from one reel", Array.from({ length: DEVICES }, (_, i) => 0x240ac4aa0000 + i)],
  [
    "four apart, as the ESP32 has four addresses each",
    Array.from({ length: DEVICES }, (_, i) => 0x7cdfa1e01f2c + 4 * i),
  ],
  ["256 apart", Array.from({ length: DEVICES }, (_, i) => 0x246f28000010 + 256 * i)],
  ["of any kind", sample(fc.integer({ min: 0, max: 2 ** 48 - 1 }), 17, DEVICES)],
];

for (const [what, macs] of FLEETS) {
  const spread = spreadOf(macs);

  test(`a thousand devices whose numbers are ${what} spread evenly in each round`, (t) => {
    for (const values of spread) for (const value of values) assert.ok(value >= 0 && value < 1, `${value}`);
    const sums = Array.from({ length: ROUNDS }, (_, round) => chiSquare(spread.map((values) => values[round])));
    t.diagnostic(`chi-square ${sums.map((sum) => sum.toFixed(1)).join(" ")}`);
    for (const sum of sums) assert.ok(sum < LIMIT, `${sums}`);
  });

  test(`devices whose numbers are ${what} and that met in one round part in the next`, () => {
    for (let round = 0; round + 1 < ROUNDS; round++)
      for (let bin = 0; bin < BINS; bin++) {
        const met = spread.filter((values) => Math.floor(values[round] * BINS) === bin);
        const most = Math.max(...binsOf(met.map((values) => values[round + 1])));
        // some 50 devices over 20 places
        assert.ok(most <= met.length / 3, `round ${round}: ${most} of ${met.length} meet again`);
      }
  });
}

test("one device makes the same of each round after each start", () => {
  assert.deepEqual(spreadOf([0x240ac4aabbcc]), spreadOf([0x240ac4aabbcc]));
});
