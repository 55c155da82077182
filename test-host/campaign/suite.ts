// What the test files of the campaigns share: one of them for each layout, so that they run side by side.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { BUNDLE } from "../sim/device.ts";
import { lot, sayLeftOut, SEED, shareOf } from "../support/share.ts";
import { type Campaign, cellsOf, type Report, runCells } from "./runner.ts";
import { type Cell, cellName } from "./ids.ts";
import { STARTS, startsOf } from "./initial-states.ts";

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

async function run(t: TestContext, all: Cell[], campaign: Campaign): Promise<void> {
  assert.ok(all.length > 0);
  const cells = all.filter((cell) => lot(`${campaign.name} ${cellName(cell)}`) < 1 / shareOf(ONE_IN));
  sayLeftOut(t, cells.length, all.length, "cells of the power-loss campaigns");
  if (cells.length) assertSound(await runCells(bundle(), cells, campaign, SEED));
}

/**
 * The campaigns of one toy layout: every operation in every cell, deeper and stranger things in some. Start by start, since
 * the cells of one share what is known of a device (runner.ts).
 */
export function campaignTests(layout: string): void {
  for (const start of startsOf(layout)) {
    test(`${layout}, ${start}: power fails at every operation of every scenario`, async (t) => {
      await run(t, cellsOf(layout, undefined, [start]), { name: "every" });
    });

    if (start === "one")
      test(`${layout}, one: the flash fails silently once, at every operation`, async (t) => {
        await run(t, cellsOf(layout, undefined, [start]), { name: "faults" });
      });

    if (start === "two-1")
      test(`${layout}, two-1: power fails twice, at every operation of every run`, async (t) => {
        await run(t, cellsOf(layout, ["current"], [start]), { name: "tree", depth: 2 });
      });

    if (start === "blank" || start === "torn")
      test(`${layout}, ${start}: one flash is cut again and again, each time later`, async (t) => {
        await run(t, cellsOf(layout, undefined, [start]), { name: "chain" });
      });

    if (start === "two-0" || start === "fallen" || STARTS[start].storage)
      test(`${layout}, ${start}: up to five cuts anywhere, seed ${SEED} (CAMPAIGN_SEED)`, async (t) => {
        await run(t, cellsOf(layout, undefined, [start]), { name: "random", runs: 3 });
      });
  }
}
