// One case again, by its ID: what happened before the cut, what was left, and what came of it.

import { createFlash } from "../sim/flash.ts";
import { type Lie, TORN, type Torn } from "./faults.ts";
import { type Cut, parseId } from "./ids.ts";
import { createSession, type Lifetime, simulateLifetime } from "./lifetime.ts";
import { cutState, originOf } from "./runner.ts";
import { scenarioOf } from "./scenarios.ts";
import { createInitialState, type State } from "./initial-states.ts";

export type Replay = {
  lines: string[];
  /** What the last cut left. */
  left: State;
  flash: Uint8Array;
  problems: string[];
  last: Lifetime;
};

const isTorn = (torn: Torn | Lie): torn is Torn => Object.values(TORN).some((list) => list.includes(torn as never));

function tellCut(lifetime: Lifetime, { step, torn }: Cut): string {
  const at = lifetime.steps[step];
  if (!at) throw new Error(`there is no step ${step}: this lifetime has ${lifetime.steps.length}`);
  const what = `0x${at.addr.toString(16)}+${at.length}`;
  return `--- power fails in step ${step}, ${at.kind} of ${what} by the ${at.by}: ${torn}`;
}

export async function replay(bundle: string, text: string): Promise<Replay> {
  const id = parseId(text);
  const session = createSession(bundle);
  const initial = createInitialState(id.layout, id.start, id.kind);
  const scenario = scenarioOf(id.scenario);
  const lines = [`${text}: ${scenario.what}`];
  const tell = (lifetime: Lifetime) =>
    lines.push(...lifetime.trace, ...lifetime.problems.map((problem) => `PROBLEM: ${problem}`));
  let left = await originOf(session, initial, scenario);
  const lie = id.cuts.find((cut) => !isTorn(cut.torn));
  if (lie) {
    lines.push(`--- in step ${lie.step} the flash lies: ${lie.torn}`);
    const told = { step: lie.step, lie: lie.torn as Lie, seed: id.seed };
    const lifetime = await simulateLifetime(session, initial, scenario, left, {
      retry: false,
      lie: told,
      verbose: true,
    });
    tell(lifetime);
    return done(lines, left, lifetime);
  }
  let lifetime = await simulateLifetime(session, initial, scenario, left, { retry: false, verbose: true });
  tell(lifetime);
  for (const cut of id.cuts) {
    lines.push(tellCut(lifetime, cut));
    left = cutState(lifetime.steps[cut.step], cut.torn as Torn, id.seed);
    lifetime = await simulateLifetime(session, initial, scenario, left, { retry: true, verbose: true });
    tell(lifetime);
  }
  return done(lines, left, lifetime);
}

function done(lines: string[], left: State, last: Lifetime): Replay {
  lines.push(last.problems.length ? `verdict: ${last.problems.length} problems` : `verdict: good, runs ${last.image}`);
  return { lines, left, flash: createFlash({ from: left.snapshot }).dump(), problems: last.problems, last };
}
