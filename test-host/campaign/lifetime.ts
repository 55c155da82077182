// From a state that a loss of power left to the end of a scenario: start, do what is left, restart, until nothing is.
// It checks on its way: every start, every order, every end (docs/power-fail.md#what-holds-in-every-snapshot).

import type { Boot } from "../sim/bootloader.ts";
import { buildIn, hostChip } from "../sim/device.ts";
import { createFlash, type Snapshot, snapshotHash, SECTOR } from "../sim/flash.ts";
import type { Row } from "../sim/partitions.ts";
import { allowedIn, type Outcome, type Scenario, type View } from "./scenarios.ts";
import { isUpdate, type FaultAt, powerOn, runProgram, type ProgramRun, type Step, UP_TO_DATE } from "./program-run.ts";
import { harmed } from "./storages.ts";
import {
  entriesNamingBrokenSlots,
  sameBytes,
  startable,
  type State,
  stateKey,
  targetOf,
  type InitialState,
} from "./initial-states.ts";

const MAX_STARTS = 8;

/** A start of the device, and all that can be said of it whatever the scenario is. */
type Start = {
  boot: Boot;
  steps: Step[];
  end: State;
  image: string;
  /** A fallback that this device has not caused. */
  isInherited: boolean;
  /** Slots with an image that a bootloader would start. */
  startable: { label: string; name: string }[];
  /** What is wrong in any scenario. */
  problems: string[];
};

/** What campaigns share: the module under test, and the starts and runs of the program that are done already. */
export type Session = {
  bundle: string;
  starts: Map<string, Start>;
  runs: Map<string, Promise<ProgramRun>>;
  /** What is wrong with a Storage that was looked at already. */
  storages: Map<string, string[]>;
  counts: { runs: number; starts: number };
};

export function createSession(bundle: string): Session {
  return { bundle, starts: new Map(), runs: new Map(), storages: new Map(), counts: { runs: 0, starts: 0 } };
}

export type Lifetime = {
  steps: Step[];
  end: State;
  /** The image that each start brought, and the one that runs in the end. */
  started: string[];
  image: string;
  problems: string[];
  /** For the reader of a replay. */
  trace: string[];
  runs: ProgramRun[];
};

export type LifetimeOptions = {
  /** Something was cut before. */
  retry: boolean;
  fault?: FaultAt;
  /** Replays only: the bootloader's own words. */
  verbose?: boolean;
};

/** A fallback that this device has not caused: the selected slot is as broken as it was at the very beginning. */
function isInherited(initial: InitialState, boot: Boot, snapshot: Snapshot): boolean {
  const slot = initial.slots.find((row) => row.label === boot.selected);
  return (
    initial.fellBack &&
    boot.selected === initial.selected &&
    !!slot &&
    sameBytes(snapshot, initial.origin.snapshot, slot)
  );
}

function checkStart({ boot, image, isInherited, startable, problems }: Start, allowed: Outcome): string[] {
  if (!boot.slot) return [...problems, "nothing boots"];
  const found = [...problems];
  if (!allowed.boots.includes(image)) found.push(`boots ${image} (allowed: ${allowed.boots.join(", ")})`);
  if (boot.fellBack && !isInherited)
    found.push(`falls back from ${boot.selected}, which is selected, to ${boot.slot.label}`);
  for (const { label, name } of startable)
    if (name !== "old" && !allowed.boots.includes(name)) found.push(`${label} holds ${name}, which could start`);
  return found;
}

/** The next start finds Storage sound, and the program's files as they were. */
function checkStorage(session: Session, initial: InitialState, boot: Boot, { snapshot }: State): string[] {
  if (!boot.slot || !boot.image) return [];
  const flash = createFlash({ from: snapshot });
  const area = initial.storageOf(hostChip(flash), buildIn(flash, boot));
  const sectors = snapshot.sectors.slice(area.address / SECTOR, (area.address + area.size) / SECTOR);
  const key = `${initial.layout}/${initial.start} ${area.size} ${snapshotHash({ sectors })}`;
  let found = session.storages.get(key);
  if (!found) {
    found = harmed(area, initial.storage !== undefined).map((what) => `Storage: ${what}`);
    session.storages.set(key, found);
  }
  return found;
}

/** What an update may answer where Storage takes no boot record: with the facts. */
function isStorageRefusal(initial: InitialState, order: string, error: string): boolean {
  return initial.storage !== undefined && isUpdate(order) && /^ESP_ERR_(NO_MEM|FLASH_OP_FAIL): .*Storage/.test(error);
}

function isRefusedByStorage(initial: InitialState, runs: ProgramRun[]): boolean {
  const { order, error = "" } = runs.at(-1)?.results.at(-1) ?? { order: "" };
  return isStorageRefusal(initial, order, error);
}

function imageOf(initial: InitialState, boot: Boot, from: State): string {
  if (!boot.slot || !boot.image) return "nothing";
  return initial.nameOf(createFlash({ from: from.snapshot }), boot.slot, boot.image.length);
}

function startFrom(session: Session, initial: InitialState, from: State): Start {
  const key = `${initial.layout}/${initial.start}/${initial.kind.name} ${stateKey(from)}`;
  let start = session.starts.get(key);
  if (!start) {
    const { boot, steps, end, violations } = powerOn(initial, from);
    const named = boot.slot ? entriesNamingBrokenSlots(initial, end.snapshot) : [];
    start = {
      boot,
      steps,
      end,
      image: imageOf(initial, boot, end),
      isInherited: boot.fellBack && isInherited(initial, boot, end.snapshot),
      startable: startable(initial, end.snapshot),
      problems: [
        ...violations,
        ...named.map((label) => `an entry names ${label}, which holds no whole image`),
        ...checkStorage(session, initial, boot, end),
      ],
    };
    session.starts.set(key, start);
  }
  return start;
}

/** Sectors that the slot to be written shares with the image already, from its beginning. */
function sectorsDone(initial: InitialState, running: string, state: State, image: Uint8Array): number {
  const first = targetOf(initial, running).offset / SECTOR;
  let done = 0;
  while ((done + 1) * SECTOR <= image.length) {
    const wanted = image.subarray(done * SECTOR, (done + 1) * SECTOR);
    const found = state.snapshot.sectors[first + done];
    // the first word comes last
    const from = done ? 0 : 4;
    if (Buffer.compare(found.subarray(from), wanted.subarray(from)) !== 0) break;
    done++;
  }
  return done;
}

const HEAD = 1024;

/** The first kilobyte, and what was on its way when the connection was closed: a few pieces, or one that is large. */
const fetchedTwice = (pieceSize: number): number => (pieceSize < HEAD ? HEAD + 4 * pieceSize : pieceSize);

/** docs/design.md#numbers-to-hold: after a cut at most a sector and a kilobyte are fetched again. */
function excessDownload(
  initial: InitialState,
  running: string,
  from: State,
  orders: string[],
  run: ProgramRun,
): string[] {
  if (orders[0] !== "update:new" || run.results[0].error) return [];
  const image = initial.images.new;
  const rest = image.length - Math.max(0, sectorsDone(initial, running, from, image) - 1) * SECTOR;
  if (run.served <= rest + fetchedTwice(initial.pieceSize)) return [];
  return [`fetched ${run.served} bytes, ${rest} were left`];
}

function cachedRun(
  session: Session,
  initial: InitialState,
  boot: Boot,
  from: State,
  orders: string[],
  fault?: FaultAt,
): Promise<ProgramRun> {
  const program = { initial, bundle: session.bundle, from, boot, orders, fault };
  const faulty = fault ? `|${fault.fault} ${fault.step} ${fault.seed}` : "";
  const key = `${initial.layout}/${initial.start}|${boot.slot?.label}|${orders}|${stateKey(from)}${faulty}`;
  let run = session.runs.get(key);
  if (!run) {
    session.counts.runs++;
    run = runProgram(program);
    session.runs.set(key, run);
  }
  return run;
}

function checkRun(
  initial: InitialState,
  scenario: Scenario,
  run: ProgramRun,
  faulted: boolean,
  retry: boolean,
): string[] {
  const failed = run.results.filter(({ error }) => error !== undefined);
  const unexpected = failed.filter(({ error = "", order }) => {
    if (/it hangs|settled twice|Cannot read|is not a function|\? *:/.test(error)) return true;
    if (isStorageRefusal(initial, order, error)) return false;
    return !faulted && !(order.includes("~") && scenario.refusal?.test(error));
  });
  // after a cut the slot may hold the true bytes already, and what the server spoils is not fetched again
  const missed = run.results.filter(
    ({ order, error }) =>
      !retry && !scenario.accepted && scenario.refusal && order.includes("~") && error === undefined,
  );
  return [
    ...run.problems.filter((problem) => !scenario.prints?.test(problem)),
    ...unexpected.map(({ order, error }) => `${order} failed: ${error}`),
    ...missed.map(({ order, ok }) => `${order} was accepted: ${ok}`),
  ];
}

/** The slot that the program was told to be selected. */
function promiseOf(run: ProgramRun): string | null {
  const { order, ok, error } = run.results[run.results.length - 1];
  if (error !== undefined) return null;
  if (isUpdate(order)) return ok && ok !== UP_TO_DATE ? ok : null;
  return order.startsWith("setBoot:") ? order.slice(8).replace("~", "") : null;
}

function tellSteps(steps: Step[], first: number): string[] {
  return steps.map(
    (step, i) => `  step ${first + i}: ${step.by} ${step.kind} 0x${step.addr.toString(16)}+${step.length}`,
  );
}

export async function simulateLifetime(
  session: Session,
  initial: InitialState,
  scenario: Scenario,
  from: State,
  options: LifetimeOptions,
): Promise<Lifetime> {
  const allowed = allowedIn(scenario, initial);
  const lifetime: Lifetime = { steps: [], end: from, started: [], image: "nothing", problems: [], trace: [], runs: [] };
  const { trace, problems, runs } = lifetime;
  let fault = options.fault;

  function start(): Boot {
    const one = startFrom(session, initial, lifetime.end);
    const { boot, steps } = one;
    session.counts.starts++;
    if (options.verbose) trace.push(...boot.log.map((line) => `  ${line}`));
    trace.push(...tellSteps(steps, lifetime.steps.length));
    lifetime.steps.push(...steps);
    lifetime.end = one.end;
    lifetime.image = one.image;
    lifetime.started.push(lifetime.image);
    problems.push(...checkStart(one, allowed));
    trace.push(
      `starts ${boot.slot?.label ?? "nothing"}: the image is ${lifetime.image}${boot.fellBack ? ", a fallback" : ""}`,
    );
    return boot;
  }

  async function carryOutOrders(boot: Boot, orders: string[]): Promise<void> {
    const before = lifetime.end;
    const first = lifetime.steps.length;
    const own = fault && fault.step >= first ? { ...fault, step: fault.step - first } : undefined;
    const run = await cachedRun(session, initial, boot, before, orders, own);
    const faulted = own !== undefined && run.steps.length > own.step;
    if (faulted) fault = undefined;
    trace.push(...tellSteps(run.steps, first));
    lifetime.steps.push(...run.steps);
    lifetime.end = run.end;
    runs.push(run);
    trace.push(...run.results.map(({ order, ok, error }) => `${order}: ${error ? `FAILED ${error}` : ok}`));
    problems.push(...checkRun(initial, scenario, run, faulted, options.retry));
    if (!faulted && ["update", "resumed"].includes(scenario.name))
      problems.push(...excessDownload(initial, (boot.slot as Row).label, before, orders, run));
  }

  let promised: string | null = null;
  for (let n = 0; n < MAX_STARTS; n++) {
    const boot = start();
    if (promised && boot.selected !== promised)
      problems.push(`${promised} was reported as done, ${boot.selected} is selected`);
    if (!boot.slot || problems.length > 20) return lifetime;
    const { fellBack } = boot;
    const view: View = {
      initial,
      image: lifetime.image,
      running: boot.slot.label,
      fellBack,
      runs,
      retry: options.retry,
    };
    const refused = isRefusedByStorage(initial, runs);
    const orders = refused ? null : scenario.next(view);
    if (orders) {
      await carryOutOrders(boot, orders);
      promised = promiseOf(runs[runs.length - 1]);
      continue;
    }
    const ends = refused ? allowed.boots : allowed.ends;
    if (!ends.includes(lifetime.image)) problems.push(`ends in ${lifetime.image} (wanted: ${ends.join(" or ")})`);
    const { image } = lifetime;
    const more = (scenario.stays ?? [1, 0])[initial.kind.rollback ? 1 : 0];
    for (let i = 0; i < more && !problems.length; i++) {
      start();
      if (lifetime.image !== image) problems.push(`runs ${lifetime.image} after another start, ${image} before`);
    }
    return lifetime;
  }
  problems.push(`comes to no end in ${MAX_STARTS} starts`);
  return lifetime;
}
