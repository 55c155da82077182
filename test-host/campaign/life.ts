// From a state that a loss of power left to the end of a scenario: start, do what is left, restart, until nothing is.
// It judges on its way: every start, every order, every end (docs/power-fail.md#what-holds-in-every-picture).

import type { Boot } from "../sim/bootloader.ts";
import { buildIn, hostChip } from "../sim/device.ts";
import { createFlash, type Picture, pictureHash, SECTOR } from "../sim/flash.ts";
import type { Row } from "../sim/partitions.ts";
import { allowedIn, type Outcome, type Scenario, type View } from "./scenarios.ts";
import { isUpdate, type LieAt, powerOn, runProgram, type Session, type Step, UP_TO_DATE } from "./session.ts";
import { harmed } from "./storages.ts";
import { namedInVain, sameBytes, type State, stateKey, targetOf, unvouched, type World } from "./worlds.ts";

const MAX_STARTS = 8;

/** What campaigns share: the module under test, and the sessions that were run already. */
export type Lab = {
  bundle: string;
  sessions: Map<string, Promise<Session>>;
  /** What is wrong with a Storage that was looked at already. */
  storages: Map<string, string[]>;
  counts: { sessions: number; starts: number };
};

export function createLab(bundle: string): Lab {
  return { bundle, sessions: new Map(), storages: new Map(), counts: { sessions: 0, starts: 0 } };
}

export type Life = {
  steps: Step[];
  end: State;
  /** The image that runs in the end. */
  image: string;
  problems: string[];
  /** For the reader of a replay. */
  story: string[];
  sessions: Session[];
};

export type LifeOptions = {
  /** Something was cut before. */
  retry: boolean;
  lie?: LieAt;
  /** Replays only: the bootloader's own words. */
  verbose?: boolean;
};

/** A fallback that this device has not caused: the selected slot is as broken as it was at the very beginning. */
function isInherited(world: World, boot: Boot, picture: Picture): boolean {
  const slot = world.slots.find((row) => row.label === boot.selected);
  return world.fellBack && boot.selected === world.selected && !!slot && sameBytes(picture, world.origin.picture, slot);
}

function judgeStart(world: World, boot: Boot, image: string, from: State, allowed: Outcome): string[] {
  if (!boot.slot) return ["nothing boots"];
  const problems: string[] = [];
  if (!allowed.boots.includes(image)) problems.push(`boots ${image} (allowed: ${allowed.boots.join(", ")})`);
  if (boot.fellBack && !isInherited(world, boot, from.picture))
    problems.push(`falls back from ${boot.selected}, which is selected, to ${boot.slot.label}`);
  for (const label of namedInVain(world, from.picture))
    problems.push(`an entry names ${label}, which holds no whole image`);
  problems.push(...unvouched(world, from.picture, ["old", ...allowed.boots]));
  return problems;
}

/** The next start finds Storage sound, and the program's files as they were. */
function judgeStorage(lab: Lab, world: World, boot: Boot, { picture }: State): string[] {
  if (!boot.slot || !boot.image) return [];
  const flash = createFlash({ from: picture });
  const area = world.storageOf(hostChip(flash), buildIn(flash, boot));
  const sectors = picture.sectors.slice(area.address / SECTOR, (area.address + area.size) / SECTOR);
  const key = `${world.layout}/${world.start} ${area.size} ${pictureHash({ sectors })}`;
  let found = lab.storages.get(key);
  if (!found) {
    found = harmed(area, world.storage !== undefined).map((what) => `Storage: ${what}`);
    lab.storages.set(key, found);
  }
  return found;
}

/** What an update may answer where Storage takes no boot record: with the facts. */
function isStorageRefusal(world: World, order: string, error: string): boolean {
  return world.storage !== undefined && isUpdate(order) && /^ESP_ERR_(NO_MEM|FLASH_OP_FAIL): .*Storage/.test(error);
}

function isRefusedByStorage(world: World, sessions: Session[]): boolean {
  const { order, error = "" } = sessions.at(-1)?.results.at(-1) ?? { order: "" };
  return isStorageRefusal(world, order, error);
}

function imageOf(world: World, boot: Boot, from: State): string {
  if (!boot.slot || !boot.image) return "nothing";
  return world.nameOf(createFlash({ from: from.picture }), boot.slot, boot.image.length);
}

/** Sectors that the slot to be written shares with the image already, from its beginning. */
function sectorsDone(world: World, running: string, state: State, image: Uint8Array): number {
  const first = targetOf(world, running).offset / SECTOR;
  let done = 0;
  while ((done + 1) * SECTOR <= image.length) {
    const wanted = image.subarray(done * SECTOR, (done + 1) * SECTOR);
    const found = state.picture.sectors[first + done];
    // the first word comes last
    const from = done ? 0 : 4;
    if (Buffer.compare(found.subarray(from), wanted.subarray(from)) !== 0) break;
    done++;
  }
  return done;
}

const HEAD = 1024;

/** The first kilobyte, and what was under way when the connection was closed: a few pieces, or one that is large. */
const fetchedTwice = (pieceSize: number): number => (pieceSize < HEAD ? HEAD + 4 * pieceSize : pieceSize);

/** docs/design.md#numbers-to-hold: after a cut at most a sector and a kilobyte are fetched again. */
function wasted(world: World, running: string, from: State, orders: string[], session: Session): string[] {
  if (orders[0] !== "update:new" || session.results[0].error) return [];
  const image = world.images.new;
  const rest = image.length - Math.max(0, sectorsDone(world, running, from, image) - 1) * SECTOR;
  if (session.served <= rest + fetchedTwice(world.pieceSize)) return [];
  return [`fetched ${session.served} bytes, ${rest} were left`];
}

function runSession(lab: Lab, world: World, boot: Boot, from: State, orders: string[], lie?: LieAt): Promise<Session> {
  const program = { world, bundle: lab.bundle, from, boot, orders, lie };
  if (lie) return runProgram(program);
  const key = `${world.layout}|${world.pieceSize}|${boot.slot?.label}|${orders}|${stateKey(from)}`;
  let session = lab.sessions.get(key);
  if (!session) {
    lab.counts.sessions++;
    session = runProgram(program);
    lab.sessions.set(key, session);
  }
  return session;
}

function judgeSession(world: World, scenario: Scenario, session: Session, lied: boolean, retry: boolean): string[] {
  const failed = session.results.filter(({ error }) => error !== undefined);
  const unexpected = failed.filter(({ error = "", order }) => {
    if (/it hangs|settled twice|Cannot read|is not a function|\? *:/.test(error)) return true;
    if (isStorageRefusal(world, order, error)) return false;
    return !lied && !(order.includes("~") && scenario.refusal?.test(error));
  });
  // after a cut the slot may hold the true bytes already, and what the server spoils is not fetched again
  const missed = session.results.filter(
    ({ order, error }) =>
      !retry && !scenario.accepted && scenario.refusal && order.includes("~") && error === undefined,
  );
  return [
    ...session.problems.filter((problem) => !scenario.prints?.test(problem)),
    ...unexpected.map(({ order, error }) => `${order} failed: ${error}`),
    ...missed.map(({ order, ok }) => `${order} was accepted: ${ok}`),
  ];
}

/** The slot that the program was told to be selected. */
function promiseOf(session: Session): string | null {
  const { order, ok, error } = session.results[session.results.length - 1];
  if (error !== undefined) return null;
  if (isUpdate(order)) return ok && ok !== UP_TO_DATE ? ok : null;
  return order.startsWith("setBoot:") ? order.slice(8).replace("~", "") : null;
}

function tellSteps(steps: Step[], first: number): string[] {
  return steps.map(
    (step, i) => `  step ${first + i}: ${step.by} ${step.kind} 0x${step.addr.toString(16)}+${step.length}`,
  );
}

export async function live(
  lab: Lab,
  world: World,
  scenario: Scenario,
  from: State,
  options: LifeOptions,
): Promise<Life> {
  const allowed = allowedIn(scenario, world);
  const life: Life = { steps: [], end: from, image: "nothing", problems: [], story: [], sessions: [] };
  const { story, problems, sessions } = life;
  let lie = options.lie;

  function start(): Boot {
    const before = life.end;
    const { boot, steps, end, violations } = powerOn(world, before);
    lab.counts.starts++;
    if (options.verbose) story.push(...boot.log.map((line) => `  ${line}`));
    story.push(...tellSteps(steps, life.steps.length));
    life.steps.push(...steps);
    life.end = end;
    life.image = imageOf(world, boot, end);
    problems.push(...violations, ...judgeStart(world, boot, life.image, end, allowed));
    problems.push(...judgeStorage(lab, world, boot, end));
    story.push(
      `starts ${boot.slot?.label ?? "nothing"}: the image is ${life.image}${boot.fellBack ? ", a fallback" : ""}`,
    );
    return boot;
  }

  async function run(boot: Boot, orders: string[]): Promise<void> {
    const before = life.end;
    const first = life.steps.length;
    const own = lie && lie.step >= first ? { ...lie, step: lie.step - first } : undefined;
    const session = await runSession(lab, world, boot, before, orders, own);
    const lied = own !== undefined && session.steps.length > own.step;
    if (lied) lie = undefined;
    story.push(...tellSteps(session.steps, first));
    life.steps.push(...session.steps);
    life.end = session.end;
    sessions.push(session);
    story.push(...session.results.map(({ order, ok, error }) => `${order}: ${error ? `FAILED ${error}` : ok}`));
    problems.push(...judgeSession(world, scenario, session, lied, options.retry));
    if (!lied && ["update", "resumed"].includes(scenario.name))
      problems.push(...wasted(world, (boot.slot as Row).label, before, orders, session));
  }

  let promised: string | null = null;
  for (let n = 0; n < MAX_STARTS; n++) {
    const boot = start();
    if (promised && boot.selected !== promised)
      problems.push(`${promised} was reported as done, ${boot.selected} is selected`);
    if (!boot.slot || problems.length > 20) return life;
    const { fellBack } = boot;
    const view: View = { world, image: life.image, running: boot.slot.label, fellBack, sessions, retry: options.retry };
    const refused = isRefusedByStorage(world, sessions);
    const orders = refused ? null : scenario.next(view);
    if (orders) {
      await run(boot, orders);
      promised = promiseOf(sessions[sessions.length - 1]);
      continue;
    }
    const ends = refused ? allowed.boots : allowed.ends;
    if (!ends.includes(life.image)) problems.push(`ends in ${life.image} (wanted: ${ends.join(" or ")})`);
    const { image } = life;
    const more = (scenario.stays ?? [1, 0])[world.kind.rollback ? 1 : 0];
    for (let i = 0; i < more && !problems.length; i++) {
      start();
      if (life.image !== image) problems.push(`runs ${life.image} after another start, ${image} before`);
    }
    return life;
  }
  problems.push(`comes to no end in ${MAX_STARTS} starts`);
  return life;
}
