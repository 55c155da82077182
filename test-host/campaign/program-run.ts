// One start of a device between two losses of power: the bootloader, then the program with the built bundle in a fresh
// context, and a snapshot of what survives before and after every operation on it.

import { type Boot, runBootloader } from "../sim/bootloader.ts";
import { buildIn, programChip, startEspruino } from "../sim/device.ts";
import type { StorageArea } from "../sim/espruino/area.ts";
import { POWER_OFF } from "../sim/espruino/core.ts";
import type { Engine } from "../sim/espruino/engine.ts";
import { createFlash, type Flash, type FlashOp } from "../sim/flash.ts";
import { fsverity } from "../support/fsverity.ts";
import { mutations } from "../support/images.ts";
import type { Row } from "../sim/partitions.ts";
import { claimsFor, forge, makeKey } from "../support/release.ts";
import { type SilentFault, type Op, stuckMask } from "./faults.ts";
import { createWire, type Served, WIRE_URL } from "./wire.ts";
import { spoiled, type State, targetOf, type InitialState } from "./initial-states.ts";

export type Step = Op & {
  /** The engine's own steps are those of its start. */
  by: "bootloader" | "engine" | "program";
  before: State;
  after: State;
  /** The bytes of a write. */
  data?: Uint8Array;
};

/** The outcome of one order to the module: its value as text, or the error's name and words. */
export type Result = { order: string; ok?: string; error?: string };

export type ProgramRun = {
  steps: Step[];
  end: State;
  results: Result[];
  /** The program asked for a restart. */
  rebooted: boolean;
  /** Broken rules: of the flash, of the engine, of what may be left behind. */
  problems: string[];
  /** Bytes of images that went over the network. */
  served: number;
};

/** A silent fault of the flash, at the step of that number. */
export type FaultAt = { step: number; fault: SilentFault; seed: number };

/** An engine that still waits for something after this time never ends: wall-clock time, so the last resort. */
const HANG_MS = 120_000;
/** How often an engine is asked what it waits for. */
const LOOK_MS = 50;

type Recorder = { steps: Step[]; by: Step["by"]; finish(): State };

/** Records the operations on `flash` from now on, each with what is there before and after it. */
export function record(flash: Flash, by: Step["by"]): Recorder {
  let last: State = { snapshot: flash.snapshot() };
  const recorder: Recorder = {
    steps: [],
    by,
    finish() {
      flash.onOp = null;
      return last;
    },
  };
  flash.onOp = ({ kind, addr, length }: FlashOp, phase, data) => {
    const { steps } = recorder;
    if (phase === "before") {
      steps.push({ by: recorder.by, kind, addr, length, before: last, after: last, data: data?.slice() });
    } else {
      last = { snapshot: flash.snapshot() };
      steps[steps.length - 1].after = last;
    }
  };
  return recorder;
}

function injectFault(flash: Flash, at: FaultAt, steps: Step[]): void {
  const now = () => steps.length - 1 === at.step;
  if (at.fault === "silent") flash.faults = { silentErase: now };
  else if (at.fault === "drop") flash.faults = { dropWrite: now };
  else flash.faults = { stuckBits: (addr) => (now() ? stuckMask(at.seed, addr) : 0) };
}

/** Power comes: the bootloader runs, and its writes are recorded. */
export function powerOn(
  initial: InitialState,
  from: State,
): { boot: Boot; steps: Step[]; end: State; violations: string[] } {
  const flash = createFlash({ from: from.snapshot });
  const recorder = record(flash, "bootloader");
  const boot = runBootloader(flash, { chipId: initial.board.chipId, kind: initial.kind });
  return { boot, steps: recorder.steps, end: recorder.finish(), violations: flash.violations };
}

// --- The program

const KEY = await makeKey({ exponent: 3 });
/** "first" is an older release than "new". */
const SEQUENCES: Record<string, number> = { first: 6, new: 7 };
const manifests = new Map<Uint8Array, Uint8Array>();

function manifestOf(initial: InitialState, name: string): Uint8Array {
  const image = initial.images[name];
  let bytes = manifests.get(image);
  if (!bytes) {
    const version = name === "new" ? "2.0.2" : "2.0.3";
    const claims = { version, chip: initial.board.chip, sequence: SEQUENCES[name], image: { url: name } };
    bytes = Buffer.from(forge(claimsFor(image, claims), KEY), "latin1");
    manifests.set(image, bytes);
  }
  return bytes;
}

/** What the server has under the names that orders use: "new", "new~corrupt", "new.jws" … */
export function find(initial: InitialState, path: string): Served | null {
  if (path.endsWith(".jws")) return { bytes: manifestOf(initial, path.slice(0, -4)) };
  const [name, fault] = path.split("~");
  const bytes = initial.images[name];
  if (!bytes) return null;
  if (fault === "corrupt") return { bytes: spoiled(bytes) };
  if (fault === "short") return { bytes: bytes.subarray(0, bytes.length - 5000), length: bytes.length };
  if (fault === "cut") return { bytes: bytes.subarray(0, bytes.length - 5000) };
  if (fault === "extra") return { bytes: Buffer.concat([bytes, bytes.subarray(0, 700)]), length: bytes.length };
  if (fault === "other") return { bytes: initial.images.first };
  if (fault === "alike") return { bytes: initial.images.alike };
  if (fault) return { bytes: mutations[fault](bytes) };
  return { bytes };
}

/** The update, step by step. */
const BY_HAND = `(function (ota, config) {
  return ota.begin(config).then(function (handle) {
    function step() {
      return handle.perform().then(function (outcome) {
        if (outcome === ota.ERR.IN_PROGRESS) return step();
        return handle.finish().then(function () { return { partition: handle.getPartition() }; });
      });
    }
    return step();
  });
})`;

const CHECKS: Record<string, string> = { yes: "return true;", no: "return false;", throws: 'throw new Error("no");' };

/** Orders that write a slot. */
export const isUpdate = (order: string): boolean => /^(update|signed|hand):/.test(order);

/** "update:new", with "!" after it without a digest; "signed:new" by a manifest; "hand:new" by begin, perform and finish; "boot:2"; "confirm:yes"; "markValid"; "rollback"; "setBoot:ota_1". After "~": what is wrong, or nothing: the order may be refused. */
export function begin(initial: InitialState, engine: Engine, order: string): any {
  const ota = engine.require("https-ota");
  const [verb, argument] = order.split(":");
  if (verb === "update") {
    const path = argument.replace("!", "");
    const digest = `digest:"fsverity-sha256:${fsverity(initial.images[path.split("~")[0]])}"`;
    const trust = argument.endsWith("!") ? "insecure:true" : digest;
    return ota.update(engine.run(`({url:"${WIRE_URL}${path}",retries:0,allowUnconfirmed:true,${trust}})`));
  }
  if (verb === "signed") {
    const keys = JSON.stringify([{ ...KEY.jwk, kid: KEY.kid }]);
    return ota.update(engine.run(`({url:"${WIRE_URL}${argument.replace("~", "")}.jws",retries:0,keys:${keys}})`));
  }
  if (verb === "hand") {
    const digest = `fsverity-sha256:${fsverity(initial.images[argument])}`;
    return (engine.run(BY_HAND) as any)(
      ota,
      engine.run(`({url:"${WIRE_URL}${argument}",retries:0,digest:"${digest}"})`),
    );
  }
  if (verb === "confirm") return ota.confirmAfter(1, engine.run(`(function () { ${CHECKS[argument]} })`));
  if (verb === "setBoot") {
    const row = initial.slots.find((slot) => slot.label === argument.replace("~", "")) as Row;
    return ota.setBootPartition(engine.run(`({label:"${row.label}",address:${row.offset}})`));
  }
  if (verb === "boot") return ota.boot(engine.run(`({attempts:${argument}})`));
  if (verb.replace("~", "") === "rollback") return ota.rollback();
  if (verb === "markValid") return ota.markValid();
  throw new Error(`no order ${order}`);
}

/** The outcome of an update whose image runs already. */
export const UP_TO_DATE = "up to date";

function textOf(value: any): string {
  return value && typeof value === "object" ? `${value.partition?.label ?? UP_TO_DATE}` : String(value);
}

/** Settles when the engine has nothing left to do, so that what is open stays open. */
function untilIdle(engine: Engine): { idle: Promise<void>; forget(): void } {
  const end = performance.now() + HANG_MS;
  let seen = 0;
  let timer: NodeJS.Timeout;
  const idle = new Promise<void>((resolve) => {
    timer = setInterval(() => {
      seen = engine.isIdle() ? seen + 1 : 0;
      if (seen > 1 || performance.now() > end) resolve();
    }, LOOK_MS);
  });
  return { idle, forget: () => clearInterval(timer) };
}

async function carryOut(
  initial: InitialState,
  engine: Engine,
  order: string,
  rebooted: Promise<void>,
): Promise<Result> {
  let settled = 0;
  const { idle, forget } = untilIdle(engine);
  const hang = idle.then((): Result => ({ order, error: "it hangs: neither success nor failure" }));
  try {
    const promise = begin(initial, engine, order);
    if (promise?.then === undefined) return { order, ok: textOf(promise) };
    const done = engine.call(promise).then(
      (value) => ({ order, ok: textOf(value) }),
      (error) =>
        error?.message === "the engine has been stopped"
          ? { order, ok: "restarts" }
          : { order, error: `${error?.name ?? "?"}: ${error?.message}` },
    );
    promise.then(
      () => settled++,
      () => settled++,
    );
    const result = await Promise.race([done, hang, rebooted.then(() => ({ order, ok: "restarts" }))]);
    return settled > 1 ? { order, error: "its promise is settled twice" } : result;
  } catch (error: any) {
    if (error === POWER_OFF || error?.message === "the engine has been stopped") return { order, ok: "restarts" };
    return { order, error: `${error?.name ?? "?"}: ${error?.message}` };
  } finally {
    forget();
  }
}

/**
 * What the program must not write: all but otadata, an update's slot, which is not the running one, and Storage; of that
 * no page is erased, for a loss of power in a compaction costs all of it.
 */
function writesOutside(
  initial: InitialState,
  running: string,
  orders: string[],
  steps: Step[],
  storage: StorageArea,
): string[] {
  const allowed = [initial.otadata, { offset: storage.address, size: storage.size }];
  if (orders.some(isUpdate)) allowed.push(targetOf(initial, running));
  const inStorage = ({ addr }: Step) => addr >= storage.address && addr < storage.address + storage.size;
  const own = steps.filter(({ by }) => by === "program");
  return [
    ...own.filter(
      ({ addr, length }) => !allowed.some((row) => addr >= row.offset && addr + length <= row.offset + row.size),
    ),
    ...own.filter((step) => step.kind === "erase" && inStorage(step)),
  ].map((step) => `${step.kind} at 0x${step.addr.toString(16)} while ${running} runs`);
}

export type Program = {
  initial: InitialState;
  bundle: string;
  from: State;
  boot: Boot;
  orders: string[];
  fault?: FaultAt;
};

/** The program that runs after `boot`, until its orders are carried out, one fails, or it restarts. */
export async function runProgram(program: Program): Promise<ProgramRun> {
  const { initial, boot, from, orders } = program;
  const running = (boot.slot as Row).label;
  const flash = createFlash({ from: from.snapshot });
  let reboot = () => {};
  let rebooted = false;
  const restart = new Promise<void>((resolve) => {
    reboot = resolve;
  });
  const recorder = record(flash, "engine");
  if (program.fault) injectFault(flash, program.fault, recorder.steps);
  const build = buildIn(flash, boot);
  const storage = initial.storageOf(programChip(flash), build);
  const wire = createWire((path) => find(initial, path), initial.pieceSize);
  const engine = startEspruino({
    flash,
    board: initial.board,
    chip: initial.chip,
    boot,
    build,
    bundle: program.bundle,
    engine: {
      storage,
      onReboot() {
        rebooted = true;
        reboot();
      },
      connect: wire.connect,
    },
  });
  recorder.by = "program";
  const results: Result[] = [];
  for (const order of orders) {
    const result = await carryOut(initial, engine, order, restart);
    results.push(result);
    if (result.error || rebooted) break;
  }
  const problems = [...flash.violations, ...writesOutside(initial, running, orders, recorder.steps, storage)];
  if (!rebooted) {
    for (let pass = 0; pass < 2; pass++) await engine.advance(0);
    const left = engine.accounts();
    if (left.sockets || left.timers || left.listeners) problems.push(`left behind: ${JSON.stringify(left)}`);
  }
  const end = recorder.finish();
  engine.stop();
  problems.push(...engine.problems);
  return { steps: recorder.steps, end, results, rebooted, problems, served: wire.served };
}
