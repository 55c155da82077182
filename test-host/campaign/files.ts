// The campaign of releases with files: one uncut run of a scenario gives every state that a loss of power can leave in
// it; from each distinct one a device starts and has to finish. docs/power-fail.md#releases-with-files.

import fc from "fast-check";
import { createDevice, type Device, hostChip } from "../sim/device.ts";
import { createFiles, type Files } from "../sim/espruino/files.ts";
import type { Board } from "../sim/boards.ts";
import { type Snapshot, snapshotHash } from "../sim/flash.ts";
import { boardWith, row } from "../support/fixture.ts";
import { loaderWith, filesClaims, type ProgramFiles, programOf } from "../support/files-release.ts";
import { buildImage, noise } from "../support/images.ts";
import { sample } from "../support/property.ts";
import { forge, makeKey } from "../support/release.ts";
import { TORN, type Torn } from "./faults.ts";
import { record, type Step } from "./program-run.ts";
import { buildWith, type Edit } from "../support/mutate.ts";
import { cutState } from "./runner.ts";

const KEY = await makeKey({ exponent: 3 });
const OLD = buildImage({ chip: "esp32", size: 12288, seed: 1 });
const NEW = buildImage({ chip: "esp32", size: 12288, seed: 2, descriptor: { version: "2.0.2" } });

/** A program that tells whether it got the module of its own release. */
const files = (version: string, more: ProgramFiles = {}): ProgramFiles => ({
  "lib/sensor.js": `exports.of = ${JSON.stringify(version)};`,
  "shared.js": "exports.shared = true;",
  "app.js": programOf(version, 'running += "/" + require("lib/sensor").of + "/" + require("shared").shared;'),
  ...more,
});

const RELEASES: Record<string, { files: ProgramFiles; image?: Uint8Array; sequence: number }> = {
  "1": { files: files("1"), sequence: 1 },
  "2": { files: files("2", { "table.bin": noise(9, 1500) }), sequence: 2 },
  "3": { files: files("3"), sequence: 3 },
  "2+image": { files: files("2"), image: NEW, sequence: 2 },
};
const MANIFESTS = Object.fromEntries(
  Object.entries(RELEASES).map(([name, { files: some, image, sequence }]) => [
    name,
    forge(filesClaims(some, { sequence, version: name }, image), KEY),
  ]),
);

/** What runs: "none", or the version of a program that is whole. */
function runningOf(device: Device): string {
  const said = device.engine.run('typeof running === "undefined" ? "none" : running') as string;
  const [version, lib, shared] = said.split("/");
  return said === "none" || (lib === version && shared === "true") ? version : `a mixture: ${said}`;
}

export type View = { running: string; slot: string; trial: boolean; bad: boolean; last: string; acts: number };

export type FilesScenario = {
  name: string;
  what: string;
  /** What is installed and confirmed before: a release, or none. */
  before: string | null;
  /** Acts in this start, null when nothing is left to do: `install:NAME`, `markValid`, `rollback`, `spoil`, `restart`. */
  next(view: View): string[] | null;
  allowed: string[];
  ends: string[];
  /** Only on a table with two slots. */
  image?: true;
};

const untilConfirmed =
  (version: string, ...acts: string[]) =>
  ({ running, trial }: View) =>
    running !== version ? acts : trial ? ["markValid"] : null;

export const FILES_SCENARIOS: readonly FilesScenario[] = [
  {
    name: "first",
    what: "the first release of a device is installed and confirmed",
    before: null,
    next: untilConfirmed("1", "install:1"),
    allowed: ["none", "1"],
    ends: ["1"],
  },
  {
    name: "update",
    what: "a second release is installed and confirmed",
    before: "1",
    next: untilConfirmed("2", "install:2"),
    allowed: ["1", "2"],
    ends: ["2"],
  },
  {
    name: "second",
    what: "another release takes the place of one that was not started yet",
    before: "1",
    next: ({ running, trial }) =>
      running === "3"
        ? trial
          ? ["markValid"]
          : null
        : // a cut between the two starts the first of them, which has to be confirmed
          running === "2"
          ? ["markValid", "install:3"]
          : ["install:2", "install:3"],
    allowed: ["1", "2", "3"],
    ends: ["3"],
  },
  {
    name: "unconfirmed",
    what: "a release that never confirms itself is taken back, and refused from then on",
    before: "1",
    next: ({ running, last }) => (running === "2" ? ["restart"] : last.includes("NOT_ALLOWED") ? null : ["install:2"]),
    allowed: ["1", "2"],
    ends: ["1"],
  },
  {
    name: "rollback",
    what: "a program gives its release up",
    before: "1",
    next: ({ running, last }) => (running === "2" ? ["rollback"] : last.includes("NOT_ALLOWED") ? null : ["install:2"]),
    allowed: ["1", "2"],
    ends: ["1"],
  },
  {
    name: "both",
    what: "an image and files are installed and confirmed",
    before: "1",
    next: untilConfirmed("2", "install:2+image"),
    allowed: ["1", "2"],
    ends: ["2"],
    image: true,
  },
  {
    name: "instead",
    what: "files alone take the place of an image with files that was not started yet",
    before: "1",
    // a cut between the two starts 2, which has to be on trial
    next: ({ running, trial, bad }) =>
      running === "3"
        ? trial
          ? ["markValid"]
          : null
        : running === "2"
          ? trial
            ? ["rollback"]
            : null
          : [...(bad ? [] : ["install:2+image"]), "install:3"],
    allowed: ["1", "2", "3"],
    ends: ["3"],
    image: true,
  },
  {
    name: "both-rollback",
    what: "an image and files are given up together",
    before: "1",
    next: ({ running, last }) =>
      running === "2" ? ["rollback"] : last.includes("NOT_ALLOWED") ? null : ["install:2+image"],
    allowed: ["1", "2"],
    ends: ["1"],
    image: true,
  },
  {
    name: "fallback",
    what: "the image that came with files spoils before its first start: the bootloader goes back, and the program with it",
    before: "1",
    next: ({ running, acts }) => (running === "1" && acts < 1 ? ["install:2+image", "spoil"] : null),
    allowed: ["1", "2"],
    ends: ["1", "2"],
    image: true,
  },
];

const rows = (...app: ReturnType<typeof row>[]) => [...app, row("storage", 1, 0x82, 0x60000, 0x10000)];
const small = (name: string, table: ReturnType<typeof row>[]): Board =>
  boardWith(table, "esp32", { name, flashSize: 0x80000 });

export const LAYOUTS: Record<string, Board> = {
  classic: small(
    "classic",
    rows(
      row("otadata", 1, 0, 0xd000, 0x2000),
      row("factory", 0, 0, 0x10000, 0x10000),
      row("ota_0", 0, 0x10, 0x20000, 0x10000),
    ),
  ),
  dual: small(
    "dual",
    rows(
      row("otadata", 1, 0, 0xd000, 0x2000),
      row("ota_0", 0, 0x10, 0x10000, 0x10000),
      row("ota_1", 0, 0x11, 0x20000, 0x10000),
    ),
  ),
  single: small("single", rows(row("factory", 0, 0, 0x10000, 0x10000))),
};

/** The module under test, and the loader. */
export type Build = { bundle: string; loader: Buffer };

export async function buildOf(edits: readonly Edit[] = []): Promise<Build> {
  const own = edits.filter(({ file }) => file.startsWith("loader/"));
  const code = own.length ? await buildWith(own, "loader/loader.ts") : "";
  return {
    bundle: await buildWith(edits.filter((edit) => !own.includes(edit))),
    loader: code
      ? Buffer.from(
          `eval((function(){var module={exports:{}};${code};return module.exports.default({})})());E.otaRan=true;`,
          "latin1",
        )
      : loaderWith(),
  };
}

const MODULE = Buffer.from("// stands for the module, which the virtual device has elsewhere");
const MINE = noise(5, 300);

/** How Storage is before: what a release needs is some 3 KB of files and 4 KB for a record. */
export const INITIAL_STORAGES: Record<string, (files: Files) => void> = {
  plain: () => {},
  nearly: (some) => fill(some, 9000),
  full: (some) => fill(some, 100),
  torn(some) {
    const { area } = some;
    // the header of another program's file, torn where the next file goes
    area.chip.clearBits(area.address + area.size - some.stats().free, Uint8Array.from([0xf4, 0x01]));
  },
};

function fill(some: Files, free: number): void {
  some.write("filler", new Uint8Array(some.stats().free - 32 - free).fill(1));
}

export type FilesCell = { layout: string; storage: string; scenario: string };
export const cellName = ({ layout, storage, scenario }: FilesCell): string => `${layout}/${storage}/${scenario}`;

export const FILES_CELLS: FilesCell[] = Object.keys(LAYOUTS).flatMap((layout) =>
  Object.keys(INITIAL_STORAGES).flatMap((storage) =>
    FILES_SCENARIOS.filter(({ image }) => !image || layout !== "single").map(({ name }) => ({
      layout,
      storage,
      scenario: name,
    })),
  ),
);

type FilesLifetime = { steps: Step[]; end: Snapshot; problems: string[] };
const MAX_STARTS = 24;

/** A start of the device, until it waits for its program or restarts. */
type Start = {
  steps: Step[];
  end: Snapshot;
  /** It asks for a restart before its program waits for anything. */
  restarts: boolean;
  seen: Pick<View, "running" | "slot" | "trial" | "bad">;
  problems: string[];
};
/** What acts do behind a start. */
type Turn = { steps: Step[]; end: Snapshot; last: string; acts: number; problems: string[] };

/** What a start or a turn does follows from the flash. Lifetimes of a layout and a Storage have many in common. */
type Session = { of: string; build: Build; starts: Map<string, Start>; turns: Map<string, Turn> };
let shared: Session | undefined;

/** No other session is kept, as it takes much memory. */
function sessionFor(build: Build, { layout, storage }: FilesCell): Session {
  const of = `${layout}/${storage}`;
  if (shared?.of !== of || shared.build !== build) shared = { of, build, starts: new Map(), turns: new Map() };
  return shared;
}

async function act(device: Device, what: string): Promise<string> {
  const [verb, name] = what.split(":");
  const { ota, engine } = device;
  const settled = (promise: any) =>
    engine.call(promise).then(
      () => "ok",
      (error: any) => (error?.name ? `${error.name}: ${error.message}` : String(error?.message ?? error)),
    );
  if (verb === "install") {
    const { files: some, image } = RELEASES[name];
    const config: any = engine.run(
      `({ manifest: ${JSON.stringify(MANIFESTS[name])}, retries: 0, keys: ${JSON.stringify([KEY.jwk])} })`,
    );
    config.source = (offset: number, done: (error: unknown, data: string) => void, file: string) => {
      const bytes =
        file === "fw.bin" ? (image as Uint8Array) : Buffer.from(some[decodeURIComponent(file.slice(6))] as never);
      done(null, Buffer.from(bytes.subarray(offset, offset + 700)).toString("latin1"));
    };
    return settled(ota.update(config));
  }
  if (verb === "markValid") {
    ota.markValid();
    return "ok";
  }
  if (verb === "rollback") return settled(ota.rollback());
  if (verb === "spoil") {
    const slot = ota.getBootPartition();
    if (slot.address !== ota.getRunningPartition().address) device.flash.load(new Uint8Array(4), slot.address);
  }
  return "ok";
}

/** What must be there in every state. */
function checkFiles(device: Device, loader: Buffer): string[] {
  const { storage, engine } = device;
  const problems: string[] = [];
  for (const [name, bytes] of [
    [".boot0", loader],
    ["https-ota", MODULE],
    ["mine", MINE],
  ] as const)
    if (Buffer.compare(storage.get(name) ?? new Uint8Array(0), bytes)) problems.push(`file ${name} is not what it was`);
  if (/corrupt/.test(engine.console.join(""))) problems.push("Storage is corrupt");
  return problems;
}

/** What no start and no act may do. */
function checkSteps({ flash, board, engine }: Device, steps: Step[]): string[] {
  const area = board.rows.find(({ label }) => label === "storage") as (typeof board.rows)[0];
  const isErased = steps.some(
    ({ kind, addr }) => kind === "erase" && addr >= area.offset && addr < area.offset + area.size,
  );
  return [...flash.violations, ...engine.problems, ...(isErased ? ["a page of Storage is erased"] : [])];
}

/** A rollback of a slot verifies the other one first. */
async function untilIdle(device: Device): Promise<void> {
  for (let pass = 0; pass < 100 && !device.rebootAsked && !device.engine.isIdle(); pass++)
    await device.engine.advance(20);
}

/** Starts the device. */
async function startDevice(device: Device, loader: Buffer): Promise<Start> {
  const { steps } = record(device.flash, "program");
  device.boot();
  // the loader goes back, and starts no program meanwhile
  if (!device.rebootAsked && device.engine.run("!!E.otaLock")) await untilIdle(device);
  const seen = { running: "", slot: device.running, trial: false, bad: false };
  const problems: string[] = [];
  if (!device.rebootAsked) {
    const status = device.ota.getStatus();
    Object.assign(seen, { running: runningOf(device), trial: !!status.trial, bad: status.rolledBack.length > 0 });
    problems.push(...checkFiles(device, loader));
  }
  problems.push(...checkSteps(device, steps));
  return { steps, end: device.flash.snapshot(), restarts: device.rebootAsked, seen, problems };
}

/** The device has started. One act after the other, until one fails or restarts the device. */
async function takeTurn(device: Device, todo: string[]): Promise<Turn> {
  const { steps } = record(device.flash, "program");
  let last = "";
  let acts = 0;
  for (const one of todo) {
    last = await act(device, one);
    acts++;
    if (last !== "ok" || device.rebootAsked) break;
  }
  await untilIdle(device);
  const problems = checkSteps(device, steps);
  if (/^(ESP_FAIL|[A-Z]\w+Error)|it hangs/.test(last)) problems.push(last);
  return { steps, end: device.flash.snapshot(), last, acts, problems };
}

/** From `from` to the end of the scenario: starts, acts, restarts. */
async function simulate(cell: FilesCell, build: Build, from: Snapshot): Promise<FilesLifetime> {
  const scenario = FILES_SCENARIOS.find(({ name }) => name === cell.scenario) as FilesScenario;
  const { starts, turns } = sessionFor(build, cell);
  const lifetime: FilesLifetime = { steps: [], end: from, problems: [] };
  const add = (part: Start | Turn) => {
    lifetime.steps.push(...part.steps);
    lifetime.end = part.end;
    lifetime.problems.push(...part.problems);
  };
  const deviceOf = (flash: Snapshot) =>
    createDevice({ board: LAYOUTS[cell.layout], flash, bootCode: true, bundle: build.bundle });
  let last = "";
  let acts = 0;
  for (let n = 0; n < MAX_STARTS; n++) {
    const key = snapshotHash(lifetime.end);
    let device: Device | undefined;
    let start = starts.get(key);
    if (!start) {
      device = deviceOf(lifetime.end);
      start = await startDevice(device, build.loader);
      starts.set(key, start);
    }
    const before = lifetime.end;
    add(start);
    if (!start.restarts) {
      const { running } = start.seen;
      if (!scenario.allowed.includes(running)) lifetime.problems.push(`runs ${running} (allowed: ${scenario.allowed})`);
      const refused = cell.storage !== "plain" && /ESP_ERR_(NO_MEM|FLASH_OP_FAIL): .*Storage/.test(last);
      const todo = refused ? null : scenario.next({ ...start.seen, last, acts });
      if (!todo || lifetime.problems.length) {
        if (!refused && !scenario.ends.includes(running))
          lifetime.problems.push(`ends with ${running} (allowed: ${scenario.ends})`);
        device?.stop();
        return lifetime;
      }
      let turn = turns.get(`${key} ${todo}`);
      if (!turn) {
        if (!device) {
          device = deviceOf(before);
          await startDevice(device, build.loader);
        }
        turn = await takeTurn(device, todo);
        turns.set(`${key} ${todo}`, turn);
      }
      add(turn);
      last = turn.last;
      acts += turn.acts;
    }
    device?.stop();
  }
  lifetime.problems.push(`comes to no end: ${last}`);
  return lifetime;
}

const prepared = new Map<string, Promise<Snapshot>>();

/** The device before the scenario: loader, module and a file of the program's own; the release before, confirmed. */
function prepare(cell: FilesCell, { bundle, loader }: Build): Promise<Snapshot> {
  const { before } = FILES_SCENARIOS.find(({ name }) => name === cell.scenario) as FilesScenario;
  const key = `${cell.layout}/${cell.storage}/${before}/${loader.length}`;
  async function make(): Promise<Snapshot> {
    const board = LAYOUTS[cell.layout];
    const first = board.rows.find(({ type }) => type === 0) as (typeof board.rows)[0];
    const device = createDevice({ board, images: { [first.label]: OLD }, bootCode: true, bundle });
    for (const [name, bytes] of [
      [".boot0", loader],
      ["https-ota", MODULE],
      ["mine", MINE],
    ] as const)
      device.storage.set(name, bytes);
    if (before) {
      device.boot();
      const outcome = await act(device, `install:${before}`);
      if (outcome !== "ok") throw new Error(outcome);
      device.restart();
      device.ota.markValid();
    }
    INITIAL_STORAGES[cell.storage](createFiles(areaOf(device)));
    device.stop();
    return device.flash.snapshot();
  }
  if (!prepared.has(key)) prepared.set(key, make());
  return prepared.get(key) as Promise<Snapshot>;
}

/** Storage's flash, by hand. */
const areaOf = (device: Device) => ({ ...device.storage.files.area, chip: hostChip(device.flash) });

export type FilesReport = { cell: FilesCell; cuts: number; distinct: number; problems: string[] };

/**
 * Every loss of power in the lifetime of `cell`, one in `share` of the distinct states. `sound`: what has prepared the device.
 * `until`: the problem that ends it, where one is enough.
 */
export async function runFilesCell(
  cell: FilesCell,
  build: Build,
  { sound = build, seed = 1, share = 1, until }: { sound?: Build; seed?: number; share?: number; until?: RegExp } = {},
): Promise<FilesReport> {
  const from = await prepare(cell, { bundle: sound.bundle, loader: build.loader });
  const whole = await simulate(cell, build, from);
  const report: FilesReport = {
    cell,
    cuts: 0,
    distinct: 0,
    problems: whole.problems.map((problem) => `uncut: ${problem}`),
  };
  const seen = new Set<string>();
  let number = 0;
  for (const [i, step] of whole.steps.entries())
    for (const torn of TORN[step.kind] as readonly Torn[]) {
      const { snapshot } = cutState(step, torn, seed);
      const hash = snapshotHash(snapshot);
      report.cuts++;
      if (seen.has(hash)) continue;
      seen.add(hash);
      if (number++ % share !== seed % share) continue;
      report.distinct++;
      const lifetime = await simulate(cell, build, snapshot);
      report.problems.push(...lifetime.problems.map((problem) => `${cellName(cell)}@${i}.${torn}#${seed}: ${problem}`));
      if (report.problems.length > 10 || report.problems.some((problem) => until?.test(problem))) return report;
    }
  return report;
}

/** Where the power fails: a step, and how it is torn, each modulo their number; the run after the last cut ends the chain. */
const cutsOf = (depth: number) =>
  fc.array(fc.record({ step: fc.nat(), torn: fc.nat() }), { minLength: depth + 1, maxLength: depth + 1, size: "max" });

/** Power fails again and again: `count` chains of up to `depth` cuts, each in the lifetime that follows the one before. */
export async function runFilesChains(
  cell: FilesCell,
  build: Build,
  { seed, depth, count }: { seed: number; depth: number; count: number },
): Promise<string[]> {
  const from = await prepare(cell, build);
  const problems: string[] = [];
  for (const cuts of sample(cutsOf(depth), seed, count)) {
    let snapshot = from;
    let id = cellName(cell);
    for (const [i, cut] of cuts.entries()) {
      const lifetime = await simulate(cell, build, snapshot);
      problems.push(...lifetime.problems.map((problem) => `${id}#${seed}: ${problem}`));
      if (!lifetime.steps.length || problems.length) break;
      const step = cut.step % lifetime.steps.length;
      const kinds: readonly Torn[] = TORN[lifetime.steps[step].kind];
      const torn = kinds[cut.torn % kinds.length];
      snapshot = cutState(lifetime.steps[step], torn, seed + i).snapshot;
      id += `@${step}.${torn}`;
    }
  }
  return problems;
}
