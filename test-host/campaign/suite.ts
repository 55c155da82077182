// What the test files of the campaigns share: one of them for each layout, so that they run side by side.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { BUNDLE } from "../device.ts";
import { unknown } from "./known.ts";
import { type Campaign, cellsOf, type Report, runCells } from "./runner.ts";
import { KINDS, STARTS, startsOf } from "./worlds.ts";

export const bundle = (): string => readFileSync(BUNDLE, "utf8");

/** No finding but those that are known; the IDs say how to see one again. */
export function assertSound(reports: Report[]): void {
  const findings = reports.flatMap(unknown);
  const told = findings.slice(0, 10).map(({ id, problems }) => `${id}\n  ${problems.join("\n  ")}`);
  assert.equal(findings.length, 0, `${findings.length} cases, npm run replay -- ID tells:\n${told.join("\n")}`);
  assert.ok(reports.length > 0);
}

type Some = { starts?: string[]; kinds?: string[] };

async function run(layout: string, campaign: Campaign, some: Some, seed?: number): Promise<Report[]> {
  return runCells(bundle(), cellsOf(layout, some.kinds, some.starts), campaign, seed);
}

/** The campaigns of one toy layout: every operation in every cell, deeper and stranger things in some. */
export function campaignTests(layout: string): void {
  for (const start of startsOf(layout))
    test(`${layout}, ${start}: power fails at every operation, in every scenario, under every bootloader`, async () => {
      assertSound(await run(layout, { name: "every" }, { starts: [start] }));
    });

  for (const kind of Object.keys(KINDS))
    test(`${layout}, one, ${kind}: the flash lies once, at every operation`, async () => {
      assertSound(await run(layout, { name: "lies" }, { starts: ["one"], kinds: [kind] }));
    });

  test(`${layout}, two-1: power fails twice, at every operation of every run`, async () => {
    assertSound(await run(layout, { name: "tree", depth: 2 }, { starts: ["two-1"], kinds: ["current"] }));
  });

  test(`${layout}: one flash is cut again and again, each time later`, async () => {
    assertSound(await run(layout, { name: "chain" }, { starts: ["blank", "torn"] }));
  });

  const seed = Number(process.env.CAMPAIGN_SEED ?? 1 + Math.floor(Math.random() * 1e6));
  test(`${layout}: up to five cuts anywhere, seed ${seed} (CAMPAIGN_SEED)`, async () => {
    const starts = ["two-0", "fallen", ...startsOf(layout).filter((start) => STARTS[start].storage)];
    assertSound(await run(layout, { name: "random", runs: 3 }, { starts }, seed));
  });
}
