// Would the campaigns notice? The module without one of its guards, in the cell that has to say so.

import assert from "node:assert/strict";
import { test } from "node:test";
import { cellName, parseId } from "../../campaign/ids.ts";
import { type Campaign, runCells } from "../../campaign/runner.ts";
import { assertSound } from "../../campaign/suite.ts";
import { caughtInCampaigns } from "../../mutants/mutants.ts";
import { buildWith } from "../../support/mutate.ts";

const WHOLE = await buildWith();
const sound = new Map<string, Promise<void>>();

/** The same cell with all guards, once for all mutants that are caught in it. */
function findsNothing(name: string, campaign: Campaign): Promise<void> {
  const key = `${name} ${campaign.name}`;
  if (!sound.has(key)) sound.set(key, runCells(WHOLE, [parseId(name)], campaign).then(assertSound));
  return sound.get(key) as Promise<void>;
}

for (const { guard, edits, place } of caughtInCampaigns())
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

test("the mutants of the campaigns are caught in twenty cells or more", () => {
  const mutants = caughtInCampaigns();
  assert.ok(mutants.length >= 37, `${mutants.length} mutants`);
  assert.ok(new Set(mutants.map(({ place }) => place.cell)).size >= 20);
});
