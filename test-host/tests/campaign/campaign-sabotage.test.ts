// Would the campaigns notice? Updaters with a safeguard taken away, each caught in the cell that its test names.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parseId } from "../../campaign/ids.ts";
import { type Campaign, runCells } from "../../campaign/runner.ts";
import { SABOTAGES, sabotage } from "../../campaign/sabotages.ts";
import { assertSound } from "../../campaign/suite.ts";

const READABLE = readFileSync(new URL("../../../build/https-ota.js", import.meta.url), "utf8");

for (const one of SABOTAGES) {
  const campaign = { name: one.campaign } as Campaign;
  test(`an updater that ${one.name} is caught in ${one.cell}, by "${one.campaign}"`, async () => {
    const cell = parseId(one.cell);
    assertSound(await runCells(READABLE, [cell], campaign));
    const [{ findings }] = await runCells(sabotage(READABLE, one), [cell], campaign);
    const problems = findings.flatMap((finding) => finding.problems);
    assert.ok(
      problems.some((problem) => one.says.test(problem)),
      `wanted ${one.says}, the campaign says: ${problems.slice(0, 5).join("; ") || "nothing"}`,
    );
  });
}

test("there are ten of them at least, and no two are caught in the same way only", () => {
  assert.ok(SABOTAGES.length >= 10);
  assert.ok(new Set(SABOTAGES.map(({ cell }) => cell)).size >= 10);
});
