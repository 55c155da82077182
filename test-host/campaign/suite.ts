// What the test files of the campaigns share: one of them for each layout, so that they run side by side.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { BUNDLE } from "../sim/device.ts";
import { lot, sayLeftOut, SEED, shareOf } from "../support/share.ts";
import { type Campaign, cellsOf, type Report, runCells } from "./runner.ts";
import { cellName } from "./ids.ts";
import { KINDS, STARTS, startsOf } from "./initial-states.ts";

export const bundle = (): string => readFileSync(BUNDLE, "utf8");

/** Without findings; the IDs say how to see one again. */
export function assertSound(reports: Report[]): void {
  const findings = reports.flatMap((report) => report.findings);
  const told = findings.slice(0, 10).map(({ id, problems }) => `${id}\n  ${problems.join("\n  ")}`);
  assert.equal(findings.length, 0, `${findings.length} cases, npm run replay -- ID tells:\n${told.join("\n")}`);
  assert.ok(reports.length > 0);
}

/** One cell in this many is run. Tests are many and have few cells each, so each cell draws for itself. */
const ONE_IN = 200;

type Some = { starts?: string[]; kinds?: string[] };

async function run(t: TestContext, layout: string, campaign: Campaign, some: Some): Promise<void> {
  const all = cellsOf(layout, some.kinds, some.starts);
  assert.ok(all.length > 0);
  const cells = all.filter((cell) => lot(`${campaign.name} ${cellName(cell)}`) < 1 / shareOf(ONE_IN));
  sayLeftOut(t, cells.length, all.length, "cells of the power-loss campaigns");
  if (cells.length) assertSound(await runCells(bundle(), cells, campaign, SEED));
}

/** The campaigns of one toy layout: every operation in every cell, deeper and stranger things in some. */
export function campaignTests(layout: string): void {
  for (const start of startsOf(layout))
    test(`${layout}, ${start}: power fails at every operation of every scenario`, async (t) => {
      await run(t, layout, { name: "every" }, { starts: [start] });
    });

  for (const kind of Object.keys(KINDS))
    test(`${layout}, one, ${kind}: the flash fails silently once, at every operation`, async (t) => {
      await run(t, layout, { name: "faults" }, { starts: ["one"], kinds: [kind] });
    });

  test(`${layout}, two-1: power fails twice, at every operation of every run`, async (t) => {
    await run(t, layout, { name: "tree", depth: 2 }, { starts: ["two-1"], kinds: ["current"] });
  });

  test(`${layout}: one flash is cut again and again, each time later`, async (t) => {
    await run(t, layout, { name: "chain" }, { starts: ["blank", "torn"] });
  });

  test(`${layout}: up to five cuts anywhere, seed ${SEED} (CAMPAIGN_SEED)`, async (t) => {
    const starts = ["two-0", "fallen", ...startsOf(layout).filter((start) => STARTS[start].storage)];
    await run(t, layout, { name: "random", runs: 3 }, { starts });
  });
}
