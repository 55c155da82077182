// Would the campaigns notice? The module without one of its guards, in the cell that has to say so.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { cellName, parseId } from "../../campaign/ids.ts";
import { type Campaign, runCells } from "../../campaign/runner.ts";
import { assertSound } from "../../campaign/suite.ts";
import { caughtInCampaigns } from "../../mutants/mutants.ts";
import { applyEdits, buildWith } from "../../support/mutate.ts";
import { drawShare, sayLeftOut } from "../../support/share.ts";

const SOURCES = new URL("../../../src/", import.meta.url);
const WHOLE = await buildWith();
const sound = new Map<string, Promise<void>>();

/** The same cell with all guards, once for all mutants that are caught in it. */
function findsNothing(name: string, campaign: Campaign): Promise<void> {
  const key = `${name} ${campaign.name}`;
  if (!sound.has(key)) sound.set(key, runCells(WHOLE, [parseId(name)], campaign).then(assertSound));
  return sound.get(key) as Promise<void>;
}

const MUTANTS = caughtInCampaigns();
const DRAWN = drawShare(MUTANTS, 6);

for (const { guard, edits, place } of DRAWN)
  test(`${guard}: a campaign catches the mutant`, async () => {
    const campaign = { name: place.campaign } as Campaign;
    const cell = parseId(place.cell);
    const mutant = await buildWith(edits);
    await findsNothing(place.cell, campaign);
    const [{ findings }] = await runCells(mutant, [cell], campaign);
    const problems = findings.flatMap((finding) => finding.problems);
    assert.ok(
      problems.some((problem) => place.says.test(problem)),
      `${cellName(cell)}: wanted ${place.says}, "${place.campaign}" says: ${problems.slice(0, 5).join("; ") || "nothing"}`,
    );
  });

test("the edits of those that are not run fit their sources too", async (t) => {
  sayLeftOut(t, DRAWN.length, MUTANTS.length, "mutants that a campaign has to catch");
  const left = MUTANTS.filter((mutant) => !DRAWN.includes(mutant));
  for (const { edits } of left)
    for (const { file } of edits) applyEdits(file, readFileSync(new URL(file, SOURCES), "utf8"), edits);
});

test("the mutants of the campaigns are caught in twenty cells or more", () => {
  assert.ok(MUTANTS.length >= 36, `${MUTANTS.length} mutants`);
  assert.ok(new Set(MUTANTS.map(({ place }) => place.cell)).size >= 20);
});
