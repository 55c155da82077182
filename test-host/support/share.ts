// `npm test` runs a part of each long table, other cases each time; `npm run test:all`, which sets CAMPAIGN=1, runs all. A
// part says what it leaves out, and the reporter sums it up.

import type { TestContext } from "node:test";
import { crc32 } from "node:zlib";

/** How the reason of a skipped test begins that `npm run test:all` runs (test-host/checks/reporter.ts). */
const LEFT_OUT = "left out:";

/** A number of `least` or more from the environment; what is empty counts as not given. */
function given(name: string, least: number): number | undefined {
  const text = process.env[name];
  if (!text) return undefined;
  if (!(Number(text) >= least)) throw new Error(`${name}: expected a number from ${least} on, got ${text}`);
  return Number(text);
}

/** The share of all tests, where it is smaller than a test's own: one case in this many is run. */
const SHARE = given("CAMPAIGN", 1) ?? Infinity;
/** `npm test`, and not `npm run test:all`. */
export const IS_SAMPLE = SHARE === Infinity;
export const SEED = given("CAMPAIGN_SEED", 0) ?? 1 + Math.floor(Math.random() * 1e6);

export const shareOf = (share: number): number => Math.min(share, SHARE);

/** `count` of the items, in their order: the first ones after the seed has shuffled them. */
export function draw<T>(items: readonly T[], count: number, seed = SEED): T[] {
  const rank = (i: number) => Math.imul(seed + 31 * i, 0x9e3779b1) >>> 0;
  const drawn = items.map((_, i) => i).sort((a, b) => rank(a) - rank(b));
  return drawn
    .slice(0, count)
    .sort((a, b) => a - b)
    .map((i) => items[i]);
}

/** A number from 0 to 1 that follows from the name and the seed. */
export const lot = (name: string): number => crc32(`${SEED} ${name}`) / 2 ** 32;

export function sayLeftOut(t: Pick<TestContext, "diagnostic">, ran: number, all: number, what: string): void {
  if (ran < all) t.diagnostic(`not run: ${all - ran} of ${all} ${what}`);
}

const drawnOf = new Map<string, number>();

/** Draws one in `share` of what is asked for by one name. */
function isDrawn(share: number, kind: string): boolean {
  const number = (drawnOf.get(kind) ?? 0) + 1;
  drawnOf.set(kind, number);
  return lot(`${kind} ${number}`) < 1 / shareOf(share);
}

/** For the option `skip` of tests of which `npm test` runs none: the reporter counts them as "5 tests <kind>". */
export const onlyInAll = (kind: string): string | false => IS_SAMPLE && `${LEFT_OUT} ${kind}`;

/** Ends a test of which there are many: one in `share` of those of one kind is run, and the others are counted. */
export function leftOut(t: Pick<TestContext, "skip">, share: number, kind: string): boolean {
  const isLeftOut = !isDrawn(share, kind);
  if (isLeftOut) t.skip(`${LEFT_OUT} ${kind}`);
  return isLeftOut;
}

/** One in `share` of the items, at least one. */
export const drawShare = <T>(items: readonly T[], share: number, seed = SEED): T[] =>
  draw(items, Math.ceil(items.length / shareOf(share)), seed);

/** The same; says how many of `what` are left out. */
export function part<T>(t: Pick<TestContext, "diagnostic">, items: readonly T[], share: number, what: string): T[] {
  const drawn = drawShare(items, share);
  sayLeftOut(t, drawn.length, items.length, what);
  return drawn;
}
