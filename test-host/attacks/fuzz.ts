// Runs a property over thousands of generated cases. What a run does follows from its seed, which is printed: SEED=1 repeats
// it, CASES=100000 makes it longer. A failure is shrunk to a small case, and says the SEED and CASE_PATH that run it again.

import type { TestContext } from "node:test";
import fc from "fast-check";
import { checkProperty, seedFrom } from "../support/property.ts";

export const SEED = seedFrom("SEED");
const GIVEN = Number(process.env.CASES ?? 20_000);

/** How many cases; `share`: of those that were asked for, where one takes too long for all. */
export const casesOf = (share = 1): number => Math.max(1, Math.round(GIVEN * share));

export async function holds<T>(
  t: TestContext,
  cases: fc.Arbitrary<T>,
  property: (one: T) => Promise<void> | void,
  options: { share?: number; show?: (one: T) => unknown } = {},
): Promise<void> {
  const numRuns = casesOf(options.share);
  const start = performance.now();
  t.diagnostic(`SEED=${SEED} CASES=${GIVEN}: ${numRuns} cases`);
  // each refusal is an Error, and to find its lines in the sources would be half of the time
  process.setSourceMapsEnabled(false);
  const variables = { seed: "SEED", path: "CASE_PATH" };
  await checkProperty(cases, property, { seed: SEED, numRuns, variables, show: options.show }).finally(() =>
    process.setSourceMapsEnabled(true),
  );
  t.diagnostic(`${Math.round(performance.now() - start)} ms`);
}

/** Bits to flip in a text or in bytes. */
export const flips = (max: number): fc.Arbitrary<number[]> =>
  fc.array(fc.nat({ max: 1 << 20 }), { minLength: 1, maxLength: max });

export function flipped(bytes: Uint8Array, at: readonly number[]): Uint8Array {
  const copy = new Uint8Array(bytes);
  for (const bit of at) if (copy.length) copy[(bit >> 3) % copy.length] ^= 1 << (bit & 7);
  return copy;
}

const ODD = [
  "",
  "\0",
  "\n",
  "\r\n",
  " ",
  ".",
  "..",
  "-",
  "_",
  "=",
  "{",
  "}",
  "[",
  "]",
  '"',
  ",",
  ":",
  "\\",
  "/",
  "%00",
  "\xff",
  "null",
  "1e999",
  "-1",
  "__proto__",
];

export type Edit = {
  how: "cut" | "drop" | "double" | "swap" | "put" | "over";
  at: number;
  length: number;
  text: string;
};

/** Edits of a text. Places are taken modulo its length. */
export const edits = (maxLength = 3): fc.Arbitrary<Edit[]> =>
  fc.array(
    fc.record({
      how: fc.constantFrom(
        "cut" as const,
        "drop" as const,
        "double" as const,
        "swap" as const,
        "put" as const,
        "over" as const,
      ),
      at: fc.nat({ max: 10_000 }),
      length: fc.integer({ min: 1, max: 40 }),
      text: fc.oneof(fc.constantFrom(...ODD), fc.string({ maxLength: 6 })),
    }),
    { minLength: 1, maxLength },
  );

export function edited(text: string, list: readonly Edit[]): string {
  let out = text;
  for (const edit of list) {
    const at = out.length ? edit.at % (out.length + 1) : 0;
    if (edit.how === "put") out = out.slice(0, at) + edit.text + out.slice(at);
    else if (edit.how === "over") out = out.slice(0, at) + edit.text + out.slice(at + edit.text.length);
    else {
      const piece = out.slice(at, at + edit.length);
      if (edit.how === "cut") out = out.slice(0, at);
      if (edit.how === "drop") out = out.slice(0, at) + out.slice(at + edit.length);
      if (edit.how === "double") out = out.slice(0, at) + piece + out.slice(at);
      if (edit.how === "swap")
        out =
          out.slice(0, at) +
          out.slice(at + edit.length, at + 2 * edit.length) +
          piece +
          out.slice(at + 2 * edit.length);
    }
  }
  // what goes over the wire is bytes
  return Buffer.from(out, "latin1").toString("latin1");
}
