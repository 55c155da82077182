// One case again, by its ID: what happened before the cut, what was left, and how the simulated lifetime ended.

import { createFlash } from "../sim/flash.ts";
import { type SilentFault, TORN, type Torn } from "./faults.ts";
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

const isTorn = (torn: Torn | SilentFault): torn is Torn =>
  Object.values(TORN).some((list) => list.includes(torn as never));

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
  const fault = id.cuts.find((cut) => !isTorn(cut.torn));
  if (fault) {
    lines.push(`--- in step ${fault.step} the flash fails silently: ${fault.torn}`);
    const injected = { step: fault.step, fault: fault.torn as SilentFault, seed: id.seed };
    const lifetime = await simulateLifetime(session, initial, scenario, left, {
      retry: false,
      fault: injected,
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
