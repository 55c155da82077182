// What the tests of bad networks share: a device with room for 300 KB, what it took of what the server sent, device time
// that passes when nothing else moves, and a power cut at a chosen flash operation.

import type { Board } from "../sim/boards.ts";
import { createDevice, type Device, type DeviceOptions } from "../sim/device.ts";
import type { Engine } from "../sim/espruino/engine.ts";
import { type FlashOp, SECTOR } from "../sim/flash.ts";
import { boardWith, outcomeOf, row, SMALL, sleep } from "./fixture.ts";
import type { Request, Server } from "./server.ts";
import { openSource, type Transport } from "./transport.ts";

export { SECTOR };
/** docs/design.md#numbers-to-hold: what a cut may cost besides what was in flight: a sector, and the first 1024 bytes. */
export const BOUND = SECTOR + 1024;
export const sectorsOf = (length: number): number => Math.ceil(length / SECTOR);

/** As `toy-factory-one`, with slots of 320 KB. */
export function wideBoard(): Board {
  const rows = [
    row("nvs", 1, 2, 0x9000, 0x3000),
    row("otadata", 1, 0, 0xc000, 0x2000),
    row("factory", 0, 0, 0x10000, 0x50000),
    row("ota_0", 0, 0x10, 0x60000, 0x50000),
  ];
  return boardWith(rows, SMALL, { flashSize: 0xb0000 });
}

// --- What the device took --------------------------------------------------------------------------------------------

export type Taken = {
  path: string;
  range: string;
  bytes: number;
  /** Device time at which it was made. */
  atMs: number;
  /** Was it made from within a listener of data? */
  fromData: boolean;
  /** Connections that the engine had open or not yet closed when it was made. */
  beside: number;
};
export interface HttpSpy {
  /** Every request that the program made, in order. */
  readonly made: Taken[];
  /** Those that were answered with a head. */
  readonly connections: Taken[];
  /** Bytes handed to the program, all connections together. */
  readonly bytes: number;
}

/**
 * Counts what the engine hands to the program, below the module and before it. What the server sent beyond that was in
 * flight: in the sockets' buffers of both sides. Before the module is used.
 */
export function spyOnHttp(engine: Engine): HttpSpy {
  const http = engine.require("http");
  const original = http.request;
  const made: Taken[] = [];
  const connections: Taken[] = [];
  const count = (taken: Taken, listener: (data: string) => void) => (data: string) => {
    taken.bytes += data.length;
    inData = true;
    try {
      listener(data);
    } finally {
      inData = false;
    }
  };
  let inData = false;
  function value(options: any, onResponse: (response: any) => void): unknown {
    const taken: Taken = {
      path: options.path,
      range: options.headers?.Range ?? "",
      bytes: 0,
      atMs: (engine.run("getTime()") as number) * 1000,
      fromData: inData,
      beside: engine.accounts().sockets,
    };
    made.push(taken);
    return original(options, (response: any) => {
      connections.push(taken);
      const { on } = response;
      // a listener of its own would rob the module of what came with the head
      function counting(this: any, event: string, listener: (data: any) => void): void {
        on.call(this, event, event === "data" ? count(taken, listener) : listener);
      }
      Object.defineProperty(response, "on", { value: counting });
      onResponse(response);
    });
  }
  Object.defineProperty(http, "request", { value, configurable: true });
  return {
    made,
    connections,
    get bytes() {
      return connections.reduce((sum, { bytes }) => sum + bytes, 0);
    },
  };
}

export interface TransferSpy extends HttpSpy {
  /** Nothing is on the way to the device, which waits before it asks again. */
  isGivenUp(timeout: number): boolean;
  /** For a configuration, when the bytes do not come from the engine's http. */
  readonly source?: unknown;
  close(): void;
}

/** What the device takes by this transport. Each request of a source stands where one of http does. */
export function spyOn(transport: Transport, device: Device, server: Server): TransferSpy {
  const { engine } = device;
  if (transport === "http") {
    const spy = spyOnHttp(engine);
    return Object.assign(spy, { isGivenUp: () => engine.accounts().sockets === 0, close: () => {} });
  }
  const { source, made, isGivenUp, close } = openSource(engine, server.url());
  return {
    made,
    connections: made,
    get bytes() {
      return made.reduce((sum, { bytes }) => sum + bytes, 0);
    },
    isGivenUp,
    source,
    close,
  };
}

export const sentBy = (requests: readonly Request[]): number => requests.reduce((sum, { sent }) => sum + sent, 0);

/** Device time between one request and the next. */
export const waitsOf = ({ made }: HttpSpy): number[] => made.slice(1).map(({ atMs }, i) => atMs - made[i].atMs);

// --- Time --------------------------------------------------------------------------------------------------------------

const QUIET_TURNS = 12;

/**
 * Awaits `promise` while device time passes, `stepMs` at a time, whenever the network has nothing to do: stalls, pauses
 * and waits take no time of the test. `mayJump` says so where the test knows better than a look at the counters.
 */
export async function advanceWhenIdle<T>(
  device: Device,
  servers: Server | Server[],
  promise: Promise<T>,
  stepMs = 500,
  mayJump?: () => boolean,
): Promise<T> {
  const all = Array.isArray(servers) ? servers : [servers];
  let over = false;
  const stop = () => {
    over = true;
  };
  promise.then(stop, stop);
  const { engine } = device;
  let seen = "";
  let quiet = 0;
  function nothingMoves(): boolean {
    const signs = all.map((one) => `${one.sent} ${one.requests.length} ${one.openSockets()}`);
    const accounts = engine.accounts();
    const now = `${signs} ${device.flash.log.length} ${accounts.listeners}`;
    quiet = now === seen ? quiet + 1 : 0;
    seen = now;
    // without sockets the next connection may be about to come: the module lets the old one settle for 20 ms
    return quiet >= (accounts.sockets ? QUIET_TURNS : 25);
  }
  while (!over) {
    await sleep(mayJump ? 2 : 1);
    if (!over && (mayJump ?? nothingMoves)()) await engine.advance(stepMs);
  }
  return promise;
}

// --- A device without a fixture -----------------------------------------------------------------------------------------

export type Attempt = { result?: any; error?: { code?: number; name: string; message: string; retry?: boolean } };

/** What `update` ends with; a device that lost its power says that its engine has been stopped. */
export function attempt(device: Device, config: object, { source }: { source?: unknown } = {}): Promise<Attempt> {
  const given: any = device.engine.run(`(${JSON.stringify(config)})`);
  if (source) given.source = source;
  return outcomeOf(device, device.ota.update(given)).catch((error: Error): Attempt => {
    if (error.message !== "the engine has been stopped") throw error;
    return { error };
  });
}

export function bootWide(options: DeviceOptions = {}): Device {
  return createDevice({ board: wideBoard(), ...options }).boot();
}

export type Moment = "before" | "torn" | "after";

/** The power goes at the operation for which `when` is true. A torn write has half of its bytes, a torn erase every second. */
export function cutPowerAt(device: Device, when: (op: FlashOp) => boolean, moment: Moment): { happened: boolean } {
  const cut = { happened: false };
  const { flash } = device;
  flash.onOp = (op, phase, data) => {
    if (phase !== (moment === "after" ? "after" : "before") || !when(op)) return;
    flash.onOp = null;
    cut.happened = true;
    if (moment === "torn" && data) flash.load(data.subarray(0, data.length >> 1), op.addr);
    else if (moment === "torn")
      flash.load(
        flash.peek(op.addr, op.length).map((byte, i) => (i & 1 ? byte : 0xff)),
        op.addr,
      );
    device.stop();
    throw new Error("power cut");
  };
  return cut;
}

/** Number of the first sector of a file of `length` bytes that is blank in the slot. */
export function firstBlank(device: Device, label: string, length: number): number {
  const bytes = device.slot(label);
  for (let sector = 0; sector < sectorsOf(length); sector++)
    if (bytes.subarray(sector * SECTOR, (sector + 1) * SECTOR).every((byte) => byte === 0xff)) return sector;
  return sectorsOf(length);
}
