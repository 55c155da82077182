// The fixture of most tests: a virtual device, a scripted server, an update, and what is left of it. Only through the
// public interface: the built bundle, Espruino's API below it, real sockets beside it. One assertion for each invariant.

import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { type Board, loadBoard } from "../sim/boards.ts";
import {
  BOOTLOADERS,
  type BootloaderKind,
  type Entry,
  parseEntry,
  RECORD_SIZE,
  runBootloader,
} from "../sim/bootloader.ts";
import { createDevice, type Device, type DeviceOptions } from "../sim/device.ts";
import { createFlash, type FlashOp, type Snapshot, SECTOR } from "../sim/flash.ts";
import { buildImage } from "./images.ts";
import { findOtadata, type Row } from "../sim/partitions.ts";
import { type Behaviour, type Server, serveFile, startServer } from "./server.ts";
import { openSource, type Source, type Transport } from "./transport.ts";

/** ESP-IDF's numbers, from docs/design.md#errors; names without ESP_ERR_. */
export const IDF = {
  OK: 0,
  FAIL: -1,
  NO_MEM: 0x101,
  INVALID_ARG: 0x102,
  INVALID_STATE: 0x103,
  INVALID_SIZE: 0x104,
  NOT_FOUND: 0x105,
  NOT_SUPPORTED: 0x106,
  TIMEOUT: 0x107,
  INVALID_RESPONSE: 0x108,
  INVALID_VERSION: 0x10a,
  NOT_ALLOWED: 0x10d,
  OTA_PARTITION_CONFLICT: 0x1501,
  OTA_SELECT_INFO_INVALID: 0x1502,
  OTA_VALIDATE_FAILED: 0x1503,
  OTA_SMALL_SEC_VER: 0x1504,
  OTA_ROLLBACK_FAILED: 0x1505,
  OTA_ROLLBACK_INVALID_STATE: 0x1506,
  OTA_ALREADY_IN_PROGRESS: 0x1507,
  OTA_SPI_MODE_MISMATCH: 0x1508,
  FLASH_OP_FAIL: 0x6001,
  HTTP_MAX_REDIRECT: 0x7001,
  HTTP_CONNECT: 0x7002,
  HTTP_NOT_MODIFIED: 0x7009,
  HTTP_RANGE_NOT_SATISFIABLE: 0x700a,
  HTTP_READ_TIMEOUT: 0x700b,
  HTTP_INCOMPLETE_DATA: 0x700c,
  HTTP_REDIRECT_DOWNGRADE: 0x700d,
  HTTPS_OTA_IN_PROGRESS: 0x9001,
} as const;
export type IdfName = keyof typeof IDF;

export type Event = [name: string, data?: number, total?: number];
export type Failure = { code: number; name: string; message: string; retry: boolean; status?: number };
export type Outcome = { result?: any; error?: Failure; events: Event[] };
export type Config = Record<string, unknown>;

/** What the device was before the update under test. */
type Mark = { running: string; slot: Uint8Array; otadata: Uint8Array; log: number; erases: number };

export type FixtureOptions = DeviceOptions & {
  /** What `/fw.bin` serves; default: a new image of the board's chip. null: the test sets up the path itself. */
  image?: Uint8Array | null;
  tls?: boolean;
  /** Who fetches what a configuration's url names: the device, or a source of its program. */
  transport?: Transport;
  /** Label -> image; labels as in the table. Loaded in addition to the defaults. */
  load?: Record<string, Uint8Array>;
  /** Select entries for copies 0 and 1 before the first boot. */
  otadata?: (Uint8Array | null)[];
};

export interface Fixture {
  readonly device: Device;
  readonly server: Server;
  readonly image: Uint8Array;
  mark: Mark;
  /** Remembers the present state as the one that a failed update must keep. */
  remember(): void;
  /** A config object of the program's own; `hook` is called after each event is written down. */
  config(config?: Config, hook?: (...event: Event) => void): any;
  events(): Event[];
  update(config?: Config, hook?: (...event: Event) => void): Promise<Outcome>;
  /** What the sources of configurations have open is the program's: the module does not tell them that it has ended. */
  closeSources(): void;
  /** Settles a promise of the device; fails the test when it hangs. */
  outcome(promiseLike: any): Promise<Outcome>;
}

/** Two slots of 64 KB: an update is 16 erases. */
export const SMALL = "toy-factory-one";
const HANG_MS = 30_000;

const SET_UP = `(function () {
  var events = [];
  return {
    events: events,
    config: function (text, hook) {
      var config = JSON.parse(text);
      config.onEvent = function (name, data, total) {
        events.push([name, data, total]);
        if (hook) hook(name, data, total);
      };
      return config;
    }
  };
})()`;

export function oldImage(chip = "esp32", seed = 1): Uint8Array {
  return buildImage({ chip: chip as never, size: 60000, seed, descriptor: { version: `1.0.${seed}` } });
}

export function newImage(chip = "esp32", seed = 2): Uint8Array {
  return buildImage({ chip: chip as never, size: 61008, seed, descriptor: { version: `2.0.${seed}` } });
}

/** An image as an update leaves it in flash until it is verified: its first word is blank. */
export function unfinished(image: Uint8Array): Uint8Array {
  const bytes = image.slice();
  bytes.fill(0xff, 0, 4);
  return bytes;
}

export function boardWith(rows: Row[], base = SMALL, more: Partial<Board> = {}): Board {
  return { ...loadBoard(base), name: "made up", rows, ...more };
}

export function row(label: string, type: number, subtype: number, offset: number, size: number): Row {
  return { label, type, subtype, offset, size, flags: 0 };
}

/** Plain data of this realm, so that deepEqual compares values and not prototypes. */
export function plain<T>(value: T): T {
  return value === undefined ? value : JSON.parse(JSON.stringify(value));
}

function failureOf(error: any): Failure {
  if (error?.code === undefined) throw error instanceof Error ? error : new Error(`not an OtaError: ${String(error)}`);
  const { code, name, message, retry, status } = error;
  return { code, name, message, retry, status };
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Waits for something that the network does; never longer than a hang. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const end = performance.now() + HANG_MS;
  while (!holds()) {
    if (performance.now() > end) assert.fail(`waited in vain until ${what}`);
    await sleep(2);
  }
}

/** The same of what is asked for: a page, whose Content-Security-Policy lets no text of a test run in it. */
export async function eventually(what: string, holds: () => Promise<boolean>, seconds = 20): Promise<void> {
  const end = performance.now() + seconds * 1000;
  while (!(await holds())) {
    if (performance.now() > end) assert.fail(`waited in vain until ${what}`);
    await sleep(30);
  }
}

/** A promise that is kept when `open` is called. */
export function createGate(): { passed: Promise<void>; open(): void } {
  let open = (): void => {};
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open: () => open() };
}

/** Answers once the gate is open. */
export function behind(gate: { passed: Promise<void> }, behaviour: Behaviour): Behaviour {
  return async (req, io) => {
    await gate.passed;
    await behaviour(req, io);
  };
}

/** What a promise of the device settles with: its value, or the OtaError; any other error is thrown. */
export function outcomeOf(device: Device, promiseLike: any): Promise<Omit<Outcome, "events">> {
  return device.engine.call(promiseLike).then(
    (result) => ({ result: plain(result) }),
    (error) => ({ error: failureOf(error) }),
  );
}

/** The same; fails the test when it never settles. */
export async function settle(device: Device, promiseLike: any): Promise<Omit<Outcome, "events">> {
  let timer: NodeJS.Timeout | undefined;
  const hang = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("it hangs: neither success nor failure")), HANG_MS);
  });
  try {
    return await Promise.race([outcomeOf(device, promiseLike), hang]);
  } finally {
    clearTimeout(timer);
  }
}

/** Without a test context (in the scenarios of mutants) the caller closes what it started. */
export async function createFixture(t: Pick<TestContext, "after">, options: FixtureOptions = {}): Promise<Fixture> {
  const { image: given, tls, transport, load = {}, otadata, ...deviceOptions } = options;
  const device = createDevice({ board: SMALL, ...deviceOptions });
  for (const [label, bytes] of Object.entries(load)) device.flash.load(bytes, device.row(label).offset);
  const copies = findOtadata(device.board.rows);
  otadata?.forEach((entry, copy) => {
    if (entry && copies) device.flash.load(entry, copies.offset + copy * SECTOR);
  });
  const server = await startServer({ tls });
  let sources: Source[] = [];
  const closeSources = () => {
    for (const one of sources) one.close();
    sources = [];
  };
  t.after(async () => {
    device.stop();
    closeSources();
    await server.close();
  });
  device.boot();
  const image = given ?? newImage(device.board.chip);
  if (given !== null) server.on("/fw.bin", serveFile(image));

  let program: any;
  let engine: unknown;
  const onDevice = () => {
    // a restart is a new context
    if (engine !== device.engine) program = device.engine.run(SET_UP);
    engine = device.engine;
    return program;
  };
  const fixture: Fixture = {
    device,
    server,
    image,
    mark: markOf(device),
    remember() {
      fixture.mark = markOf(device);
    },
    config(config = {}, hook) {
      const trusted = "insecure" in config || "digest" in config || "keys" in config;
      const all = { url: server.url("/fw.bin"), retries: 0, ...(trusted ? {} : { insecure: true }), ...config };
      const given = onDevice().config(JSON.stringify(all), hook);
      if (transport !== "source") return given;
      const source = openSource(device.engine, all.url);
      sources.push(source);
      given.source = source.source;
      return given;
    },
    events: () => Array.from(onDevice().events, (event: any) => Array.from(event) as Event),
    update(config, hook) {
      const given = fixture.config(config, hook);
      onDevice().events.length = 0;
      return fixture.outcome(device.ota.update(given));
    },
    closeSources,
    async outcome(promiseLike) {
      return { ...(await settle(device, promiseLike)), events: fixture.events() };
    },
  };
  return fixture;
}

function markOf(device: Device): Mark {
  return {
    running: device.running,
    slot: device.slot(device.running),
    otadata: findOtadata(device.board.rows) ? device.otadata().bytes : new Uint8Array(0),
    log: device.flash.log.length,
    erases: device.flash.counts.erases,
  };
}

/** Erases within a partition, from the operation with the number `since` on. */
export function erasesOf(device: Device, label: string, since = 0): number {
  const { offset, size } = device.row(label);
  return device.flash.log
    .slice(since)
    .filter((op) => op.kind === "erase" && op.addr >= offset && op.addr < offset + size).length;
}

/** Erases since the mark within the slot. */
export const erasesIn = ({ device, mark }: Fixture, label: string): number => erasesOf(device, label, mark.log);

export function entries(device: Device): Entry[] {
  const { bytes } = device.otadata();
  return [0, 1].map((copy) => parseEntry(bytes.subarray(copy * SECTOR, copy * SECTOR + RECORD_SIZE)));
}

/** What the bootloader would start from this snapshot; label, or null. */
export function bootsFrom(
  device: Device,
  snapshot: Snapshot,
  kind: BootloaderKind = BOOTLOADERS.current,
): string | null {
  const copy = createFlash({ from: snapshot });
  return runBootloader(copy, { chipId: device.board.chipId, kind }).slot?.label ?? null;
}

// --- One helper per invariant --------------------------------------------------------------------------------------

/** The device starts what it started before, and that slot's bytes are untouched. */
export function keepsOldImage(fixture: Fixture): void {
  const { device, mark } = fixture;
  assert.deepEqual(device.slot(mark.running), mark.slot, "the running slot changed");
  device.restart();
  assert.equal(device.running, mark.running, "the device starts another slot than before");
}

export function bootsNewImage(fixture: Fixture, label: string, image: Uint8Array = fixture.image): void {
  const { device } = fixture;
  device.restart();
  assert.equal(device.running, label);
  assert.equal(device.boots.at(-1)?.fellBack, false, "by a fallback only");
  assert.deepEqual(device.slot(label, image.length), image);
}

/** Flash operations since the mark, but for the writes of the boot record, which lies in Storage. */
function operations(fixture: Fixture): FlashOp[] {
  const { address, size } = fixture.device.storage.files.area;
  compactsNothing(fixture);
  return fixture.device.flash.log
    .slice(fixture.mark.log)
    .filter(({ addr, length }) => addr < address || addr + length > address + size);
}

/** Storage keeps its pages: cut in a compaction, the engine erases all of it at the next start. */
export function compactsNothing(fixture: Fixture): void {
  const { address, size } = fixture.device.storage.files.area;
  for (const { kind, addr } of fixture.device.flash.log.slice(fixture.mark.log))
    if (addr >= address && addr < address + size)
      assert.equal(kind, "write", `a page of Storage is erased, at 0x${addr.toString(16)}`);
}

/** Flash operations since the mark lie in these partitions and nowhere else, Storage not counted. */
export function touchesOnly(fixture: Fixture, labels: string[]): void {
  const allowed = labels.map((label) => fixture.device.row(label));
  for (const op of operations(fixture)) {
    const inside = allowed.some(({ offset, size }) => op.addr >= offset && op.addr + op.length <= offset + size);
    assert.ok(inside, `${op.kind} at 0x${op.addr.toString(16)}+${op.length} is outside of ${labels}`);
  }
}

export function touchesNothing(fixture: Fixture): void {
  assert.deepEqual(operations(fixture), [], "flash was touched");
}

/** No rule of the flash was broken and no error was lost in a callback. */
export function behaves(fixture: Fixture, expectedProblems: RegExp[] = []): void {
  assert.deepEqual(fixture.device.flash.violations, []);
  const problems = fixture.device.engine.problems.filter((text) => !expectedProblems.some((known) => known.test(text)));
  assert.deepEqual(problems, []);
}

/** No socket, no timer, no listener is left on the device. */
export async function nothingHeld({ engine }: Device): Promise<void> {
  for (let pass = 0; pass < 5; pass++) await engine.advance(0);
  assert.deepEqual(engine.accounts(), { sockets: 0, timers: 0, listeners: 0 });
}

/** The same, and the server sees no connection any more. */
export async function nothingLeft(fixture: Fixture): Promise<void> {
  await nothingHeld(fixture.device);
  fixture.closeSources();
  await until("the server has no connection", () => fixture.server.openSockets() === 0);
}

export function failsWith(outcome: Pick<Outcome, "error" | "result">, code: IdfName, retry = false): Failure {
  const { error } = outcome;
  assert.ok(error, `wanted ESP_ERR_${code}, it succeeded`);
  const name = `ESP_${code === "FAIL" ? "" : "ERR_"}${code}`;
  const said = { code: error.code, name: error.name, retry: error.retry };
  assert.deepEqual(said, { code: IDF[code], name, retry }, error.message);
  assert.ok(error.message.length > 5, "the message says nothing");
  return error;
}

export type Refusal = {
  retry?: boolean;
  /** Must occur in the message. */
  says?: RegExp;
  /** Partitions that may have been written; default: none, it must fail before the first erase. */
  touched?: string[];
  problems?: RegExp[];
};

/** Everything that a failed update promises. Ends with a restart. */
export async function failsCleanly(
  fixture: Fixture,
  outcome: Outcome,
  code: IdfName,
  refusal: Refusal = {},
): Promise<void> {
  const error = failsWith(outcome, code, refusal.retry ?? false);
  if (refusal.says) assert.match(error.message, refusal.says);
  if (refusal.touched) touchesOnly(fixture, refusal.touched);
  else touchesNothing(fixture);
  behaves(fixture, refusal.problems);
  await nothingLeft(fixture);
  keepsOldImage(fixture);
}

/** Everything that a successful update promises. Ends in the new image. */
export async function succeeds(
  fixture: Fixture,
  outcome: Outcome,
  label: string,
  image = fixture.image,
): Promise<void> {
  assert.ifError(outcome.error ? new Error(`${outcome.error.name}: ${outcome.error.message}`) : null);
  assert.equal(outcome.result.partition.label, label);
  assert.equal(outcome.result.size, image.length);
  touchesOnly(fixture, [label, "otadata"]);
  assert.deepEqual(fixture.device.slot(fixture.mark.running), fixture.mark.slot, "the running slot changed");
  behaves(fixture);
  await nothingLeft(fixture);
  bootsNewImage(fixture, label, image);
}

/** Serves one path as told, updates from it, and gives the outcome. */
export function updateFrom(fixture: Fixture, behaviour: Behaviour, config: Config = {}): Promise<Outcome> {
  fixture.server.on("/case", behaviour);
  return fixture.update({ url: fixture.server.url("/case"), ...config });
}
