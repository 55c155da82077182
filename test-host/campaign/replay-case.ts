// One case again, by its ID: what happened before the cut, what was left, and what came of it.

import { createFlash } from "../sim/flash.ts";
import { type Lie, TEARS, type Tear } from "./faults.ts";
import { type Cut, parseId } from "./ids.ts";
import { createLab, type Life, live } from "./life.ts";
import { cutState, originOf } from "./runner.ts";
import { scenarioOf } from "./scenarios.ts";
import { createWorld, type State } from "./worlds.ts";

export type Replay = {
  lines: string[];
  /** What the last cut left. */
  left: State;
  flash: Uint8Array;
  problems: string[];
  last: Life;
};

const isTear = (tear: Tear | Lie): tear is Tear => Object.values(TEARS).some((list) => list.includes(tear as never));

function tellCut(life: Life, { step, tear }: Cut): string {
  const at = life.steps[step];
  if (!at) throw new Error(`there is no step ${step}: this life has ${life.steps.length}`);
  const what = `0x${at.addr.toString(16)}+${at.length}`;
  return `--- power fails in step ${step}, ${at.kind} of ${what} by the ${at.by}: ${tear}`;
}

export async function replay(bundle: string, text: string): Promise<Replay> {
  const id = parseId(text);
  const lab = createLab(bundle);
  const world = createWorld(id.layout, id.start, id.kind);
  const scenario = scenarioOf(id.scenario);
  const lines = [`${text}: ${scenario.what}`];
  const tell = (life: Life) => lines.push(...life.story, ...life.problems.map((problem) => `PROBLEM: ${problem}`));
  let left = await originOf(lab, world, scenario);
  const lie = id.cuts.find((cut) => !isTear(cut.tear));
  if (lie) {
    lines.push(`--- in step ${lie.step} the flash lies: ${lie.tear}`);
    const told = { step: lie.step, lie: lie.tear as Lie, seed: id.seed };
    const life = await live(lab, world, scenario, left, { retry: false, lie: told, verbose: true });
    tell(life);
    return done(lines, left, life);
  }
  let life = await live(lab, world, scenario, left, { retry: false, verbose: true });
  tell(life);
  for (const cut of id.cuts) {
    lines.push(tellCut(life, cut));
    left = cutState(life.steps[cut.step], cut.tear as Tear, id.seed);
    life = await live(lab, world, scenario, left, { retry: true, verbose: true });
    tell(life);
  }
  return done(lines, left, life);
}

function done(lines: string[], left: State, last: Life): Replay {
  lines.push(last.problems.length ? `verdict: ${last.problems.length} problems` : `verdict: good, runs ${last.image}`);
  return { lines, left, flash: createFlash({ from: left.picture }).dump(), problems: last.problems, last };
}
