// The campaign of releases with files, and whether it would notice. docs/power-fail.md#releases-with-files.

import assert from "node:assert/strict";
import { test } from "node:test";
import { buildOf, cellName, FILES_CELLS, type FilesCell, runFilesCell, runFilesChains } from "../../campaign/files.ts";
import { FILES_MUTANTS } from "../../mutants/files.ts";
import { drawShare, SEED, sayLeftOut, shareOf } from "../../support/share.ts";

const WHOLE = await buildOf();
const CELLS = drawShare(FILES_CELLS, 24);
const CHAINED = drawShare(FILES_CELLS, 24, SEED + 1);
/** One state of a cell in this many is run. */
const STATES = shareOf(3);
const seed = SEED % 1000;

// cell by cell, since the two campaigns of one share what is known of a device
for (const cell of FILES_CELLS) {
  if (CELLS.includes(cell))
    test(`${cellName(cell)}: every loss of power is harmless`, async () => {
      const { problems, distinct } = await runFilesCell(cell, WHOLE, { seed, share: STATES });
      assert.deepEqual(problems, []);
      if (cell.storage === "plain") assert.ok(distinct * STATES > 20, `${distinct} states, one in ${STATES}`);
    });

  if (CHAINED.includes(cell))
    test(`${cellName(cell)}: power that fails again and again is harmless`, async () => {
      assert.deepEqual(await runFilesChains(cell, WHOLE, { seed, depth: 5, count: 6 }), []);
    });
}

test("what npm test leaves out of the campaign of files", (t) => {
  sayLeftOut(t, CELLS.length, FILES_CELLS.length, "cells of the campaign of releases with files");
  sayLeftOut(t, 1, STATES, "states of each cell of the campaign of releases with files");
});

const MUTANTS = drawShare(FILES_MUTANTS, 5);

for (const { guard, edits, cell: name, says } of MUTANTS)
  test(`${guard}: the campaign catches the mutant in ${name}`, async () => {
    const cell = FILES_CELLS.find((one) => cellName(one) === name) as FilesCell;
    const mutant = await buildOf(edits);
    const { problems } = await runFilesCell(cell, mutant, { sound: WHOLE, seed: 1, until: says });
    assert.ok(
      problems.some((problem) => says.test(problem)),
      `wanted ${says}: ${problems.slice(0, 5).join("; ") || "nothing"}`,
    );
  });

test("at least eight mutants, and their edits fit", async (t) => {
  sayLeftOut(t, MUTANTS.length, FILES_MUTANTS.length, "mutants that the campaign of files has to catch");
  assert.ok(FILES_MUTANTS.length >= 8);
  for (const { edits } of FILES_MUTANTS) await buildOf(edits);
});
