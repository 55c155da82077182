// The campaigns of docs/power-fail.md#campaigns. One uncut life of a scenario gives every state that a loss of power can leave; from
// each distinct one a fresh device starts and has to finish. Deeper ones do the same with the lives that follow.

import { hostChip } from "../sim/device.ts";
import { buildOf } from "../sim/espruino/build.ts";
import { createFiles } from "../sim/espruino/files.ts";
import { createFlash, type Picture, SECTOR } from "../sim/flash.ts";
import { LIES, type Lie, TEARS, type Tear, tornErase, tornWrite } from "./faults.ts";
import { type Cell, type Cut, idOf } from "./ids.ts";
import { createLab, type Lab, type Life, live } from "./life.ts";
import { applies, type Scenario, SCENARIOS, scenarioOf } from "./scenarios.ts";
import { runProgram, powerOn, type Step } from "./session.ts";
import { createWorld, KINDS, startsOf, type State, stateKey, type World } from "./worlds.ts";

export type Finding = { id: string; problems: string[] };

export type Report = {
  cell: Cell;
  campaign: string;
  /** Pictures that were taken, and how many different ones of them a device was started from. */
  pictures: number;
  distinct: number;
  seed: number;
  ms: number;
  findings: Finding[];
};

export type Campaign =
  | { name: "every"; stride?: number }
  | { name: "tree"; depth: number }
  | { name: "chain" }
  | { name: "random"; runs: number }
  | { name: "lies" };

export function cellsOf(layout: string, kinds = Object.keys(KINDS), starts = startsOf(layout)): Cell[] {
  const cells: Cell[] = [];
  for (const start of starts)
    for (const kind of kinds) {
      const world = createWorld(layout, start, kind);
      for (const scenario of SCENARIOS)
        if (applies(scenario, world)) cells.push({ layout, start, kind, scenario: scenario.name });
    }
  return cells;
}

// --- What a cut leaves

function withSectors(
  picture: Picture,
  addr: number,
  length: number,
  change: (old: Uint8Array, at: number) => Uint8Array,
) {
  const first = Math.floor(addr / SECTOR);
  const last = Math.floor((addr + length - 1) / SECTOR);
  const joined = first === last ? picture.sectors[first] : Buffer.concat(picture.sectors.slice(first, last + 1));
  const bytes = change(joined, addr - first * SECTOR);
  const sectors = picture.sectors.slice();
  for (let i = first; i <= last; i++) sectors[i] = bytes.slice((i - first) * SECTOR, (i - first + 1) * SECTOR);
  return { sectors };
}

/** What is left of `step` when the power fails in it. */
export function cutState(step: Step, tear: Tear, seed: number): State {
  const { before, after } = step;
  if (tear === "before") return before;
  if (tear === "after") return after;
  const picture = withSectors(before.picture, step.addr, step.length, (old, at) =>
    step.kind === "erase"
      ? tornErase(old, tear, seed, step)
      : tornWrite(old, at, step.data as Uint8Array, tear, seed, step),
  );
  return { picture };
}

export type Case = { cuts: Cut[]; state: State };

/** Every case that one cut makes of a life. */
function casesOf(life: Life, base: Case, seed: number, stride = 1): Case[] {
  const cases: Case[] = [];
  life.steps.forEach((step, i) => {
    // otadata and Storage always, of the slot's sectors one in `stride`
    if (stride > 1 && step.length === SECTOR && step.addr >= 0x10000 && i % stride !== 0) return;
    for (const tear of TEARS[step.kind])
      cases.push({
        cuts: [...base.cuts, { step: i, tear }],
        state: cutState(step, tear, seed),
      });
  });
  return cases;
}

// --- The beginning of a scenario

const origins = new WeakMap<Lab, Map<string, Promise<State>>>();

/** The state that the scenario begins from: what came before it is done uncut, or cut at one place. */
export function originOf(lab: Lab, world: World, scenario: Scenario): Promise<State> {
  const { prepare } = scenario;
  if (!prepare) return Promise.resolve(crowded(world, world.origin));
  const known = origins.get(lab) ?? new Map<string, Promise<State>>();
  origins.set(lab, known);
  const key = `${world.layout}/${world.start}/${world.kind.name} ${prepare.orders} ${prepare.share}`;
  let state = known.get(key);
  if (!state) {
    state = prepared(lab, world, prepare.orders, prepare.share);
    known.set(key, state);
  }
  return state;
}

async function prepared(lab: Lab, world: World, orders: string[], share?: number): Promise<State> {
  const { boot, end } = powerOn(world, world.origin);
  const session = await runProgram({ world, bundle: lab.bundle, from: end, boot, orders });
  const error = session.results.find((result) => result.error)?.error;
  if (error) throw new Error(`the preparation failed: ${error}`);
  return crowded(
    world,
    share === undefined ? session.end : session.steps[Math.floor(session.steps.length * share)].after,
  );
}

/** Then Storage fills up, where the world has it so. */
function crowded(world: World, from: State): State {
  if (!world.storage) return from;
  const flash = createFlash({ from: from.picture });
  world.storage.crowd(createFiles(world.storageOf(hostChip(flash), buildOf(world.images.new))));
  return { picture: flash.picture() };
}

// --- Campaigns

const WORKERS = 12; // sessions wait for timers now and then

async function forAll<T>(items: T[], work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  async function worker(): Promise<void> {
    while (next < items.length) await work(items[next++]);
  }
  await Promise.all(Array.from({ length: WORKERS }, worker));
}

type Field = {
  lab: Lab;
  world: World;
  scenario: Scenario;
  cell: Cell;
  seed: number;
  report: Report;
  seen: Set<string>;
};

/** The cases among these that no device was started from yet. */
function fresh(field: Field, cases: Case[]): Case[] {
  field.report.pictures += cases.length;
  const kept = cases.filter(({ state }) => {
    const key = stateKey(state);
    if (field.seen.has(key)) return false;
    field.seen.add(key);
    return true;
  });
  field.report.distinct += kept.length;
  return kept;
}

async function judge(field: Field, one: Case): Promise<Life> {
  const { lab, world, scenario, cell, seed, report } = field;
  const life = await live(lab, world, scenario, one.state, { retry: true });
  if (life.problems.length) report.findings.push({ id: idOf(cell, one.cuts, seed), problems: life.problems });
  return life;
}

async function explore(field: Field, first: Life, depth: number, stride: number): Promise<void> {
  let layer: { life: Life; base: Case }[] = [{ life: first, base: { cuts: [], state: first.end } }];
  for (let level = 1; level <= depth; level++) {
    const cases = layer.flatMap(({ life, base }) => fresh(field, casesOf(life, base, field.seed, stride)));
    const next: typeof layer = [];
    await forAll(cases, async (one) => {
      const life = await judge(field, one);
      if (level < depth && !life.problems.length) next.push({ life, base: one });
    });
    layer = next;
  }
}

/** Cut after one step, then after two of what follows, and so on, in one flash. */
async function chain(field: Field, first: Life): Promise<void> {
  let life = first;
  let base: Case = { cuts: [], state: first.end };
  for (let n = 0; n < life.steps.length; n++) {
    const state = life.steps[n].after;
    base = { cuts: [...base.cuts, { step: n, tear: "after" }], state };
    field.report.pictures++;
    field.report.distinct++;
    life = await judge(field, base);
  }
}

function createRandom(seed: number): (below: number) => number {
  let x = (seed * 2654435761) >>> 0 || 1;
  return (below) => {
    x ^= x << 13;
    x >>>= 0;
    x ^= x >>> 17;
    x ^= x << 5;
    x >>>= 0;
    return x % below;
  };
}

const MAX_CUTS = 5;

/** Up to five cuts, anywhere. */
async function randomly(field: Field, first: Life, runs: number): Promise<void> {
  const random = createRandom(field.seed);
  for (let run = 0; run < runs; run++) {
    let life = first;
    let base: Case = { cuts: [], state: first.end };
    const cuts = 1 + random(MAX_CUTS);
    for (let n = 0; n < cuts && life.steps.length && !life.problems.length; n++) {
      const i = random(life.steps.length);
      const step = life.steps[i];
      const tear = TEARS[step.kind][random(TEARS[step.kind].length)];
      base = {
        cuts: [...base.cuts, { step: i, tear }],
        state: cutState(step, tear, field.seed),
      };
      field.report.pictures++;
      field.report.distinct++;
      life = await judge(field, base);
    }
  }
}

/** The flash lies once, at every step: the program notices, or it does no harm. */
async function lies(field: Field, first: Life, from: State): Promise<void> {
  const { lab, world, scenario, cell, seed, report } = field;
  const cases: { step: number; lie: Lie }[] = [];
  first.steps.forEach((step, i) => {
    if (step.by === "program") for (const lie of LIES[step.kind]) cases.push({ step: i, lie });
  });
  await forAll(cases, async ({ step, lie }) => {
    const life = await live(lab, world, scenario, from, { retry: false, lie: { step, lie, seed } });
    report.pictures++;
    report.distinct++;
    if (life.problems.length)
      report.findings.push({ id: idOf(cell, [{ step, tear: lie }], seed), problems: life.problems });
  });
}

export async function runCell(lab: Lab, cell: Cell, campaign: Campaign, seed = 1): Promise<Report> {
  const startMs = performance.now();
  const world = createWorld(cell.layout, cell.start, cell.kind);
  const scenario = scenarioOf(cell.scenario);
  const report: Report = { cell, campaign: campaign.name, pictures: 0, distinct: 0, seed, ms: 0, findings: [] };
  const field: Field = { lab, world, scenario, cell, seed, report, seen: new Set() };
  const from = await originOf(lab, world, scenario);
  const first = await live(lab, world, scenario, from, { retry: false });
  if (first.problems.length) report.findings.push({ id: idOf(cell, [], seed), problems: first.problems });
  else if (campaign.name === "every") await explore(field, first, 1, campaign.stride ?? 1);
  else if (campaign.name === "tree") await explore(field, first, campaign.depth, 1);
  else if (campaign.name === "chain") await chain(field, first);
  else if (campaign.name === "random") await randomly(field, first, campaign.runs);
  else await lies(field, first, from);
  report.ms = performance.now() - startMs;
  return report;
}

/** Cells one after the other; sessions are shared while the starting state is the same. */
export async function runCells(bundle: string, cells: Cell[], campaign: Campaign, seed = 1): Promise<Report[]> {
  const reports: Report[] = [];
  let lab = createLab(bundle);
  let start = "";
  for (const cell of cells) {
    const here = `${cell.layout}/${cell.start}`;
    if (here !== start) lab = createLab(bundle);
    start = here;
    reports.push(await runCell(lab, cell, campaign, seed));
  }
  return reports;
}
