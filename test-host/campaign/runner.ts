// The campaigns of docs/power-fail.md#campaigns. One uncut lifetime of a scenario gives every state that a loss of power
// can leave. From each distinct one a fresh device starts and has to finish. Deeper campaigns do the same with the
// lifetimes that follow.

import fc from "fast-check";
import { hostChip } from "../sim/device.ts";
import { buildOf } from "../sim/espruino/build.ts";
import { createFiles } from "../sim/espruino/files.ts";
import { createFlash, type Snapshot, SECTOR } from "../sim/flash.ts";
import { inParallel } from "../support/parallel.ts";
import { sample } from "../support/property.ts";
import { SILENT_FAULTS, type SilentFault, TORN, type Torn, tornErase, tornWrite } from "./faults.ts";
import { type Cell, type Cut, idOf } from "./ids.ts";
import { createSession, type Session, type Lifetime, simulateLifetime } from "./lifetime.ts";
import { applies, type Scenario, SCENARIOS, scenarioOf } from "./scenarios.ts";
import { runProgram, powerOn, type Step } from "./program-run.ts";
import { createInitialState, KINDS, startsOf, type State, stateKey, type InitialState } from "./initial-states.ts";

export type Finding = { id: string; problems: string[] };

export type Report = {
  cell: Cell;
  campaign: string;
  /** Snapshots that were taken, and how many different ones of them a device was started from. */
  snapshots: number;
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
  | { name: "faults" };

export function cellsOf(layout: string, kinds = Object.keys(KINDS), starts = startsOf(layout)): Cell[] {
  const cells: Cell[] = [];
  for (const start of starts)
    for (const kind of kinds) {
      const initial = createInitialState(layout, start, kind);
      for (const scenario of SCENARIOS)
        if (applies(scenario, initial)) cells.push({ layout, start, kind, scenario: scenario.name });
    }
  return cells;
}

// --- What a cut leaves

function withSectors(
  snapshot: Snapshot,
  addr: number,
  length: number,
  change: (old: Uint8Array, at: number) => Uint8Array,
) {
  const first = Math.floor(addr / SECTOR);
  const last = Math.floor((addr + length - 1) / SECTOR);
  const joined = first === last ? snapshot.sectors[first] : Buffer.concat(snapshot.sectors.slice(first, last + 1));
  const bytes = change(joined, addr - first * SECTOR);
  const sectors = snapshot.sectors.slice();
  for (let i = first; i <= last; i++) sectors[i] = bytes.slice((i - first) * SECTOR, (i - first + 1) * SECTOR);
  return { sectors };
}

/** What is left of `step` when the power fails in it. */
export function cutState(step: Step, torn: Torn, seed: number): State {
  const { before, after } = step;
  if (torn === "before") return before;
  if (torn === "after") return after;
  const snapshot = withSectors(before.snapshot, step.addr, step.length, (old, at) =>
    step.kind === "erase"
      ? tornErase(old, torn, seed, step)
      : tornWrite(old, at, step.data as Uint8Array, torn, seed, step),
  );
  return { snapshot };
}

export type Case = { cuts: Cut[]; state: State };

/** Every case that one cut in a lifetime gives. */
function casesOf(lifetime: Lifetime, base: Case, seed: number, stride = 1): Case[] {
  const cases: Case[] = [];
  lifetime.steps.forEach((step, i) => {
    // otadata and Storage always, of the slot's sectors one in `stride`
    if (stride > 1 && step.length === SECTOR && step.addr >= 0x10000 && i % stride !== 0) return;
    for (const torn of TORN[step.kind])
      cases.push({
        cuts: [...base.cuts, { step: i, torn }],
        state: cutState(step, torn, seed),
      });
  });
  return cases;
}

// --- The beginning of a scenario

const origins = new WeakMap<Session, Map<string, Promise<State>>>();

/** The state that the scenario begins from: what came before it is done uncut, or cut at one place. */
export function originOf(session: Session, initial: InitialState, scenario: Scenario): Promise<State> {
  const { prepare } = scenario;
  if (!prepare) return Promise.resolve(crowded(initial, initial.origin));
  const known = origins.get(session) ?? new Map<string, Promise<State>>();
  origins.set(session, known);
  const key = `${initial.layout}/${initial.start}/${initial.kind.name} ${prepare.orders} ${prepare.share}`;
  let state = known.get(key);
  if (!state) {
    state = prepared(session, initial, prepare.orders, prepare.share);
    known.set(key, state);
  }
  return state;
}

async function prepared(session: Session, initial: InitialState, orders: string[], share?: number): Promise<State> {
  const { boot, end } = powerOn(initial, initial.origin);
  const run = await runProgram({ initial, bundle: session.bundle, from: end, boot, orders });
  const error = run.results.find((result) => result.error)?.error;
  if (error) throw new Error(`the preparation failed: ${error}`);
  return crowded(initial, share === undefined ? run.end : run.steps[Math.floor(run.steps.length * share)].after);
}

/** Then Storage fills up, where the initial state says so. */
function crowded(initial: InitialState, from: State): State {
  if (!initial.storage) return from;
  const flash = createFlash({ from: from.snapshot });
  initial.storage.crowd(createFiles(initial.storageOf(hostChip(flash), buildOf(initial.images.new))));
  return { snapshot: flash.snapshot() };
}

// --- Campaigns

const WORKERS = 12; // a run of the program waits for timers now and then

type RunContext = {
  session: Session;
  initial: InitialState;
  scenario: Scenario;
  cell: Cell;
  seed: number;
  report: Report;
  seen: Set<string>;
};

/** The cases among these that no device was started from yet. */
function fresh(context: RunContext, cases: Case[]): Case[] {
  context.report.snapshots += cases.length;
  const kept = cases.filter(({ state }) => {
    const key = stateKey(state);
    if (context.seen.has(key)) return false;
    context.seen.add(key);
    return true;
  });
  context.report.distinct += kept.length;
  return kept;
}

async function checkCase(context: RunContext, one: Case): Promise<Lifetime> {
  const { session, initial, scenario, cell, seed, report } = context;
  const lifetime = await simulateLifetime(session, initial, scenario, one.state, { retry: true });
  if (lifetime.problems.length) report.findings.push({ id: idOf(cell, one.cuts, seed), problems: lifetime.problems });
  return lifetime;
}

async function explore(context: RunContext, first: Lifetime, depth: number, stride: number): Promise<void> {
  let layer: { lifetime: Lifetime; base: Case }[] = [{ lifetime: first, base: { cuts: [], state: first.end } }];
  for (let level = 1; level <= depth; level++) {
    const cases = layer.flatMap(({ lifetime, base }) => fresh(context, casesOf(lifetime, base, context.seed, stride)));
    const next: typeof layer = [];
    await inParallel(cases, WORKERS, async (one) => {
      const lifetime = await checkCase(context, one);
      if (level < depth && !lifetime.problems.length) next.push({ lifetime, base: one });
    });
    layer = next;
  }
}

/** Cut after one step, then after two of what follows, and so on, in one flash. */
async function chain(context: RunContext, first: Lifetime): Promise<void> {
  let lifetime = first;
  let base: Case = { cuts: [], state: first.end };
  for (let n = 0; n < lifetime.steps.length; n++) {
    const state = lifetime.steps[n].after;
    base = { cuts: [...base.cuts, { step: n, torn: "after" }], state };
    context.report.snapshots++;
    context.report.distinct++;
    lifetime = await checkCase(context, base);
  }
}

/** Up to five cuts, anywhere: which step, and how it is torn, each modulo as many as there are. */
const CUTS = fc.array(fc.record({ step: fc.nat(), torn: fc.nat() }), { minLength: 1, maxLength: 5, size: "max" });

async function randomly(context: RunContext, first: Lifetime, runs: number): Promise<void> {
  for (const cuts of sample(CUTS, context.seed, runs)) {
    let lifetime = first;
    let base: Case = { cuts: [], state: first.end };
    for (const cut of cuts) {
      if (!lifetime.steps.length || lifetime.problems.length) break;
      const i = cut.step % lifetime.steps.length;
      const step = lifetime.steps[i];
      const torn = TORN[step.kind][cut.torn % TORN[step.kind].length];
      base = {
        cuts: [...base.cuts, { step: i, torn }],
        state: cutState(step, torn, context.seed),
      };
      context.report.snapshots++;
      context.report.distinct++;
      lifetime = await checkCase(context, base);
    }
  }
}

/** The flash fails silently once, at every step: the program notices, or it does no harm. */
async function silentFaults(context: RunContext, first: Lifetime, from: State): Promise<void> {
  const { session, initial, scenario, cell, seed, report } = context;
  const cases: { step: number; fault: SilentFault }[] = [];
  first.steps.forEach((step, i) => {
    if (step.by === "program") for (const fault of SILENT_FAULTS[step.kind]) cases.push({ step: i, fault });
  });
  await inParallel(cases, WORKERS, async ({ step, fault }) => {
    const lifetime = await simulateLifetime(session, initial, scenario, from, {
      retry: false,
      fault: { step, fault, seed },
    });
    report.snapshots++;
    report.distinct++;
    if (lifetime.problems.length)
      report.findings.push({ id: idOf(cell, [{ step, torn: fault }], seed), problems: lifetime.problems });
  });
}

export async function runCell(session: Session, cell: Cell, campaign: Campaign, seed = 1): Promise<Report> {
  const startMs = performance.now();
  const initial = createInitialState(cell.layout, cell.start, cell.kind);
  const scenario = scenarioOf(cell.scenario);
  const report: Report = { cell, campaign: campaign.name, snapshots: 0, distinct: 0, seed, ms: 0, findings: [] };
  const context: RunContext = { session, initial, scenario, cell, seed, report, seen: new Set() };
  const from = await originOf(session, initial, scenario);
  const first = await simulateLifetime(session, initial, scenario, from, { retry: false });
  if (first.problems.length) report.findings.push({ id: idOf(cell, [], seed), problems: first.problems });
  else if (campaign.name === "every") await explore(context, first, 1, campaign.stride ?? 1);
  else if (campaign.name === "tree") await explore(context, first, campaign.depth, 1);
  else if (campaign.name === "chain") await chain(context, first);
  else if (campaign.name === "random") await randomly(context, first, campaign.runs);
  else await silentFaults(context, first, from);
  report.ms = performance.now() - startMs;
  return report;
}

/** The last one: its runs of the program take much memory, so no other is kept. */
let shared: { of: string; session: Session } | undefined;

/** Cells of one layout and start share a session, and with it the runs of the program, also over several campaigns. */
function sessionFor(bundle: string, { layout, start }: Cell): Session {
  const of = `${layout}/${start}`;
  if (shared?.of !== of || shared.session.bundle !== bundle) shared = { of, session: createSession(bundle) };
  return shared.session;
}

/** Cells one after the other. */
export async function runCells(bundle: string, cells: Cell[], campaign: Campaign, seed = 1): Promise<Report[]> {
  const reports: Report[] = [];
  for (const cell of cells) reports.push(await runCell(sessionFor(bundle, cell), cell, campaign, seed));
  return reports;
}
