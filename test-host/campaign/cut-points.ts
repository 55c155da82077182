// One cell of the campaign `every`, told point by point: for each flash operation and each way in which a loss of power can
// leave it, which image the next start brings and which one runs in the end. For docs/power-fail-cuts.svg.

import { TORN, type Torn } from "./faults.ts";
import { type Cell, cellName, idOf } from "./ids.ts";
import { createInitialState, type InitialState } from "./initial-states.ts";
import { type Session, simulateLifetime } from "./lifetime.ts";
import type { Step } from "./program-run.ts";
import { cutState, originOf } from "./runner.ts";
import { scenarioOf } from "./scenarios.ts";

export type CutPoint = { torn: Torn; starts: string; ends: string };
export type Operation = { kind: Step["kind"]; by: Step["by"]; place: "slot" | "otadata" | "Storage"; cuts: CutPoint[] };

function placeOf({ slots, otadata }: InitialState, { addr }: Step): Operation["place"] {
  const isIn = (row: { offset: number; size: number }) => addr >= row.offset && addr < row.offset + row.size;
  if (isIn(otadata)) return "otadata";
  return slots.some(isIn) ? "slot" : "Storage";
}

/** Throws where the campaign would have a finding. */
export async function cutPoints(session: Session, cell: Cell, seed = 1): Promise<Operation[]> {
  const initial = createInitialState(cell.layout, cell.start, cell.kind);
  const scenario = scenarioOf(cell.scenario);
  const from = await originOf(session, initial, scenario);
  const first = await simulateLifetime(session, initial, scenario, from, { retry: false });
  if (first.problems.length) throw new Error(`${cellName(cell)}: ${first.problems[0]}`);
  const operations: Operation[] = [];
  for (const [step, operation] of first.steps.entries()) {
    const cuts: CutPoint[] = [];
    for (const torn of TORN[operation.kind]) {
      const left = cutState(operation, torn, seed);
      const { started, image, problems } = await simulateLifetime(session, initial, scenario, left, { retry: true });
      if (problems.length) throw new Error(`${idOf(cell, [{ step, torn }], seed)}: ${problems[0]}`);
      cuts.push({ torn, starts: started[0], ends: image });
    }
    operations.push({ kind: operation.kind, by: operation.by, place: placeOf(initial, operation), cuts });
  }
  return operations;
}
