// A virtual device whose network is a function: what a request asks for, the test answers in bytes, in whatever pieces and
// pauses it likes, and device time passes as fast as nothing happens. One update takes some milliseconds, so one device
// goes through thousands of attacks. It also has the check of them all: no slot may hold what a bootloader would start and
// nobody has verified.

import { createHash } from "node:crypto";
import { BOOTLOADERS, IDF33, verifyImage } from "../sim/bootloader.ts";
import { createDevice, type Device, type DeviceOptions } from "../sim/device.ts";
import { CLOSED } from "../sim/espruino/socket.ts";
import type { FlashOp, Snapshot } from "../sim/flash.ts";
import { SECTOR } from "../sim/flash.ts";
import { erasesOf } from "../support/fixture.ts";
import { buildImage } from "../support/images.ts";
import { type Row, slots } from "../sim/partitions.ts";

/** A request as the server sees it; header names in lower case. */
export type Asked = { method: string; path: string; host: string; headers: Record<string, string>; head: string };

/** Pieces in order, and between them pauses in ms of device time; then the end. */
export type Reply = { parts: (Uint8Array | string | number)[]; end?: "close" | "stall" };
export type Net = (asked: Asked, index: number) => Reply;

export type Ended = { result?: any; error?: { code: number; name: string; message: string; retry: boolean } };

export type RigOptions = DeviceOptions & {
  /** Most bytes that the engine gets at a time; an ESP32 gets 536. Default: a sector. */
  pieceSize?: number;
  net?: Net;
  /** Images that may start besides those that are whole at first. */
  knows?: Uint8Array[];
};

export interface Rig {
  readonly device: Device;
  net: Net;
  readonly asked: Asked[];
  pieceSize: number;
  /** Images that may start: those that were whole before, and those that were verified. */
  knows(...images: Uint8Array[]): void;
  /** An object of the program's realm. Functions and odd values: `more` is put on it as it is. */
  config(config: object, more?: object): any;
  /** What a promise of the device settles with, while device time passes; "hangs" when it does not within `limitMs`. */
  settle(promiseLike: any, limitMs?: number): Promise<Ended | "hangs">;
  call(name: string, config: object, limitMs?: number): Promise<Ended | "hangs">;
  /** Lets device time pass. */
  pass(ms: number): Promise<void>;
  nowMs(): number;
  /** Restarts as a bootloader would, and the module is loaded again. */
  restart(): void;
  /** Slots that some bootloader would start, or die of, though what is in them is not known to be good. */
  intruders(): string[];
  /** The same after every operation on a slot from now on; what was found is in the list that comes back. */
  spyOnFlash(): string[];
  erasesIn(label: string, since?: number): number;
  operations(since?: number): FlashOp[];
  /** Flash as it is, to come back to. */
  snapshot(): Snapshot;
  /** Flash as in `snapshot`, logs and problems forgotten; the program goes on. */
  restore(snapshot: Snapshot): void;
}

export const URL_OF = (path: string): string => `http://127.0.0.1:8070${path}`;
export const KINDS = [BOOTLOADERS.idf3, IDF33, BOOTLOADERS.current, BOOTLOADERS.rollback];
export const sha = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** So small that a case costs little: three sectors. */
export const SIZE = 12288;
export const smallImage = (seed: number, version = `1.0.${seed}`): Uint8Array =>
  buildImage({ size: SIZE, seed, descriptor: { version } });

const bytesOf = (part: Uint8Array | string): Uint8Array =>
  typeof part === "string" ? Buffer.from(part, "latin1") : part;

function parseAsked(text: string): Asked {
  const head = text.slice(0, text.indexOf("\r\n\r\n"));
  const [line, ...fields] = head.split("\r\n");
  const [method, path] = line.split(" ");
  const headers: Record<string, string> = Object.create(null);
  for (const field of fields) {
    const colon = field.indexOf(":");
    headers[field.slice(0, colon).toLowerCase()] = field.slice(colon + 1).trim();
  }
  return { method, path, host: headers.host ?? "", headers, head };
}

/** What a right server answers, ranges and If-Range too. */
export function file(bytes: Uint8Array, options: { etag?: string; ranges?: boolean } = {}): Net {
  const etag = options.etag ?? `"${sha(bytes).slice(0, 12)}"`;
  return ({ headers }) => {
    const range = options.ranges === false ? null : /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "");
    const holds = headers["if-range"] === undefined || headers["if-range"] === etag;
    const from = range && holds ? Number(range[1]) : 0;
    if (range && from >= bytes.length)
      return {
        parts: [
          `HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */${bytes.length}\r\nContent-Length: 0\r\n\r\n`,
        ],
      };
    const to = range?.[2] && holds ? Math.min(Number(range[2]), bytes.length - 1) : bytes.length - 1;
    const status =
      range && holds ? `206 Partial Content\r\nContent-Range: bytes ${from}-${to}/${bytes.length}` : "200 OK";
    return {
      parts: [
        `HTTP/1.1 ${status}\r\nContent-Length: ${to - from + 1}\r\nETag: ${etag}\r\n\r\n`,
        bytes.subarray(from, to + 1),
      ],
    };
  };
}

/** One behaviour per path, 404 elsewhere. */
export function paths(table: Record<string, Net>): Net {
  return (asked, index) =>
    table[asked.path]?.(asked, index) ?? { parts: ["HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"] };
}

export const text = (body: string): Net => file(Buffer.from(body, "latin1"));

/** A head, then a byte whenever `pauseMs` have passed, without end. */
export function drips(bytes: Uint8Array, pauseMs: number, begun = 0): Net {
  const parts: Reply["parts"] = [
    `HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n`,
    bytes.subarray(0, begun),
  ];
  for (let at = begun; at < bytes.length; at++) parts.push(pauseMs, bytes.subarray(at, at + 1));
  return () => ({ parts, end: "stall" });
}

/** Runs `property`; when it fails, `renew` makes the device of the next case, on which nothing runs. */
export async function cleanly(renew: () => void, property: () => Promise<void>): Promise<void> {
  try {
    await property();
  } catch (error) {
    renew();
    throw error;
  }
}

const rigs = new Set<Device>();

/** For after(): no timer of a device keeps the process alive. */
export function stopAll(): void {
  for (const device of rigs) device.stop();
}

export function createRig(options: RigOptions = {}): Rig {
  const { pieceSize, net, knows = [], ...deviceOptions } = options;
  const known = new Set<string>();
  const verdicts = new Map<string, string>();
  const asked: Asked[] = [];
  let lastMs = 0;

  function connect(_address: string, _port: number, wake: () => void) {
    let request = "";
    let reply: Reply | null = null;
    let index = 0;
    let at = 0;
    let until = -1;
    return {
      send(bytes: Uint8Array) {
        request += Buffer.from(bytes).toString("latin1");
        if (!reply && request.includes("\r\n\r\n")) {
          asked.push(parseAsked(request));
          reply = rig.net(asked[asked.length - 1], asked.length - 1);
        }
        wake();
        return bytes.length;
      },
      recv() {
        if (!reply) return 0;
        while (index < reply.parts.length) {
          const part = reply.parts[index];
          if (typeof part === "number") {
            if (until < 0) until = rig.nowMs() + part;
            if (rig.nowMs() < until) return 0;
            until = -1;
            index++;
            continue;
          }
          const bytes = bytesOf(part);
          if (at >= bytes.length) {
            at = 0;
            index++;
            continue;
          }
          const piece = bytes.subarray(at, at + rig.pieceSize);
          at += piece.length;
          wake();
          return piece;
        }
        return reply.end === "stall" ? 0 : CLOSED;
      },
      close() {},
    };
  }

  const device = createDevice({
    board: "toy-factory-one",
    images: { factory: smallImage(1) },
    ...deviceOptions,
    engine: { connect, ...deviceOptions.engine },
  });
  const rows = slots(device.board.rows);
  for (const row of rows) {
    const found = verifyImage(device.flash, row, { chipId: device.board.chipId });
    if (found.ok) known.add(sha(device.flash.peek(row.offset, found.image.length)));
  }

  function prepare(): void {
    // waits are the same for the same seed
    let turn = 0;
    Object.defineProperty(device.engine.run("Math"), "random", { value: () => (turn++ % 10) / 10 });
  }

  /** Why the image in `row` must not start; "" when nothing would start there, or a known image. */
  function problemIn(row: Row): string {
    const [first] = device.flash.peek(row.offset, 1);
    // every bootloader looks at this byte first
    if (first !== 0xe9) return "";
    const bytes = device.flash.peek(row.offset, row.size);
    const key = `${row.label} ${createHash("sha1").update(bytes).digest("hex")}`;
    let verdict = verdicts.get(key);
    if (verdict === undefined) {
      verdict = "";
      for (const kind of KINDS) {
        const found = verifyImage(device.flash, row, { chipId: device.board.chipId, kind });
        if (found.ok && !known.has(sha(bytes.subarray(0, found.image.length))))
          verdict ||= `${kind.name} starts an image in ${row.label} that nobody has verified`;
        else if (!found.ok && found.died) verdict ||= `${kind.name} dies of ${row.label}: ${found.reason}`;
      }
      // what is known grows, so only what is good stays so
      if (!verdict) verdicts.set(key, verdict);
    }
    return verdict;
  }

  const rig: Rig = {
    device,
    net: net ?? paths({}),
    asked,
    pieceSize: pieceSize ?? SECTOR,
    knows(...images) {
      for (const image of images) known.add(sha(image));
    },
    config(config, more = {}) {
      const given = device.engine.run(`(${JSON.stringify(config)})`) as any;
      return Object.assign(given, more);
    },
    nowMs() {
      if (!device.rebootAsked) lastMs = (device.engine.run("getTime()") as number) * 1000;
      return lastMs;
    },
    async pass(ms) {
      await device.engine.advance(ms);
    },
    async settle(promiseLike, limitMs = 4 * 3600_000) {
      const { engine } = device;
      let ended: Ended | null = null;
      engine.call(promiseLike).then(
        (result) => {
          ended = { result };
        },
        (error: any) => {
          ended = { error };
        },
      );
      let past = 0;
      let step = 25;
      let seen = "";
      while (!ended && past < limitMs) {
        await engine.advance(step);
        past += step;
        const now = `${asked.length} ${device.flash.log.length} ${device.flash.counts.reads}`;
        step = now === seen ? Math.min(2 * step, 5000) : 25;
        seen = now;
        if (device.rebootAsked) await new Promise((resolve) => setImmediate(resolve));
      }
      return ended ?? "hangs";
    },
    call: (name, config, limitMs) => rig.settle(device.ota[name](rig.config(config)), limitMs),
    restart() {
      device.restart();
      prepare();
    },
    intruders: () => rows.map(problemIn).filter(Boolean),
    spyOnFlash() {
      const found: string[] = [];
      device.flash.onOp = (op, phase) => {
        const row = rows.find((one) => op.addr >= one.offset && op.addr < one.offset + one.size);
        const verdict = phase === "after" && row ? problemIn(row) : "";
        if (verdict && !found.includes(verdict)) found.push(verdict);
      };
      return found;
    },
    erasesIn: (label, since) => erasesOf(device, label, since),
    operations: (since = 0) => device.flash.log.slice(since),
    snapshot: () => device.flash.snapshot(),
    restore(snapshot) {
      device.flash.restore(snapshot);
      device.flash.resetCounts();
      device.engine.problems.length = 0;
      device.engine.run("delete E.otaRestartPending");
      asked.length = 0;
    },
  };
  device.boot();
  prepare();
  rigs.add(device);
  rig.knows(...knows);
  return rig;
}
