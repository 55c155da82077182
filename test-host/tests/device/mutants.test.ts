// Would the tests notice? The module without one of its guards, in the scenario that has to fail then. And the list
// of mutants itself: every edit applies, and nobody is listed twice.

import assert from "node:assert/strict";
import { test } from "node:test";
import { caughtInScenarios, MUTANTS, type Mutant, NO_CHECK_OF_MEMORY } from "../../mutants/mutants.ts";
import type { Scenario } from "../../mutants/scenarios.ts";
import { applyEdits, buildWith } from "../../support/mutate.ts";

const WHOLE = await buildWith();

async function run(scenario: Scenario, bundle: string): Promise<void> {
  const cleanups: (() => unknown)[] = [];
  try {
    await scenario({ after: (fn) => void cleanups.push(fn) }, bundle);
  } finally {
    for (const fn of cleanups.reverse()) await fn();
  }
}

for (const { guard, edits, place } of caughtInScenarios())
  test(`${guard}: its scenario catches the mutant`, async () => {
    const mutant = await buildWith(edits);
    await run(place.scenario, WHOLE);
    await assert.rejects(run(place.scenario, mutant), `nothing noticed that it is gone: ${guard}`);
  });

test("every mutant can be built, is another program, and is caught somewhere", async () => {
  for (const { guard, edits, caught } of MUTANTS) {
    assert.notEqual(await buildWith(edits), WHOLE, guard);
    assert.ok(caught.length, guard);
  }
  assert.notEqual(await buildWith([NO_CHECK_OF_MEMORY]), WHOLE);
});

test("no two mutants have the same guard or the same edits", () => {
  const distinct = (of: (mutant: Mutant) => string) => new Set(MUTANTS.map(of)).size;
  assert.equal(
    distinct(({ guard }) => guard),
    MUTANTS.length,
  );
  assert.equal(
    distinct(({ edits }) => JSON.stringify(edits)),
    MUTANTS.length,
  );
});

test("an edit whose text is missing, or there twice, is refused", async () => {
  const edit = { file: "errors.ts", from: "two", to: "2" };
  assert.throws(
    () => applyEdits("errors.ts", "one", [edit]),
    /src\/errors\.ts has this text 0 times, expected once: two/,
  );
  assert.throws(() => applyEdits("errors.ts", "two, two", [edit]), /has this text 2 times/);
  assert.equal(applyEdits("errors.ts", "one, two", [edit]), "one, 2");
  assert.equal(applyEdits("config.ts", "two, two", [edit]), "two, two");
  await assert.rejects(buildWith([{ ...edit, from: "no such text" }]), /src\/errors\.ts has this text 0 times/);
  await assert.rejects(buildWith([{ ...edit, file: "gone.ts" }]), /the module does not import src\/gone\.ts/);
});

test("edits of one file replace each other's text at their own places", () => {
  const swap = [
    { file: "errors.ts", from: "one", to: "two" },
    { file: "errors.ts", from: "two", to: "one" },
  ];
  assert.equal(applyEdits("errors.ts", "one, two", swap), "two, one");
});
