// The virtual Espruino: runs the built bundle in Node as the interpreter on the device would run it. This file is the
// interpreter's idle loop and its global scope; http, promises, events, timers and natives are beside it.
// Source of truth: the real interpreter, through test-host/tests/engine/contract.test.ts. What is not modelled: realm.ts.

import vm from "node:vm";
import type { Flash } from "../flash.ts";
import { linuxArea, type StorageArea } from "./area.ts";
import { type Core, type ErrorKind, type Fn, POWER_OFF, strict } from "./core.ts";
import { countListeners, installEvents, PREFIX } from "./events.ts";
import { createFiles, type Files } from "./files.ts";
import { type Connect, createHttp } from "./http.ts";
import { parseJson } from "./json.ts";
import { createModules } from "./modules.ts";
import { createNatives, type Mapping } from "./natives.ts";
import { createPromise } from "./promise.ts";
import { createRealm, define } from "./realm.ts";
import { loadState } from "./saved.ts";
import { describe, printed, stringify } from "./text.ts";
import type { TlsBuffer } from "./socket.ts";
import { createTimers } from "./timers.ts";
import { parseUrl } from "./url.ts";

export type { Mapping } from "./natives.ts";

export type EngineOptions = {
  flash: Flash;
  board: string;
  version?: string;
  mappings: Mapping[];
  registers?: Record<number, number>;
  /** process.env.GIT_COMMIT; what save() has left is run when it was left by the same. */
  gitCommit?: string;
  /** Default: a Storage of its own, empty, as the Linux build has it. */
  storage?: StorageArea;
  /** The program calls Storage.write or writeJSON. */
  onStorageWrite?: (name: string) => void;
  otaValid?: (valid: boolean) => void;
  onReboot: () => void;
  freeVars?: number;
  /** What getSerial() gives: of an ESP32 its MAC address, "240ac4aa-bbcc". */
  serial?: string;
  nowMs?: number;
  /** Names that can be resolved, besides localhost; the addresses must be loopback. */
  hosts?: Record<string, string>;
  connect?: Connect;
  /** A TLS buffer that is smaller than a record may be, as builds for IDF 5 have. */
  tlsBuffer?: TlsBuffer;
};

export interface Engine {
  /** Evaluates program text in the device's global scope; what it throws is thrown here. */
  run(code: string, filename?: string): unknown;
  /** Runs `.boot0` to `.boot3` and `.bootcde` of Storage, as the interpreter does at its start. */
  runBootCode(): void;
  /** A module that require() finds; evaluated at the first require. */
  addModule(name: string, code: string): void;
  require(name: string): any;
  readonly files: Files;
  /** What the program printed, line by line. */
  readonly console: string[];
  /** Throws inside callbacks, unhandled rejections, data lost, things not modelled: a test fails when not empty. */
  readonly problems: string[];
  /** A device promise as one of Node's; rejected when the engine stops before it is settled. */
  call<T>(promiseLike: any): Promise<T>;
  /** Jumps the device clock; timers that fall due fire in order, with idle passes between. Sockets keep real time. */
  advance(deltaMs: number): Promise<void>;
  /** A native call, a lookup say, takes so long: nothing fires meanwhile. */
  block(deltaMs: number): void;
  /** Nothing is left that could run: no event, no timer, no connection. */
  isIdle(): boolean;
  /** What is still alive. Listeners: of living connections, E, ESP32 and process. */
  accounts(): { sockets: number; timers: number; listeners: number };
  /**
   * True: that native call runs out of memory. A native gives undefined then; `new Uint8Array` and its like (their
   * name is "new Uint8Array") throw "Unsupported first argument", as in the interpreter.
   */
  oom: (nativeName: string, callIndex: number) => boolean;
  nativeCalls: Record<string, number>;
  /** The program called quit(), which only the interpreter's Linux build has. */
  onQuit: () => void;
  /**
   * Power off: sockets are gone, timers are gone, nothing runs any more. Code that is running ends at its next native
   * call. ESP32.reboot() does this, then calls onReboot.
   */
  stop(): void;
}

const VERSION = "2v29";
const GIT_COMMIT = "0123456789";
const BOOT_MS = 1500;
const FREE_VARS = 4000;
const SERIAL = "240ac400-0001";

type Event = { thisArg: unknown; callback: unknown; args: unknown[] };

/** Longest pause of one Node timer; longer waits are taken in steps. */
const MAX_SLEEP_MS = 1_000_000;
/** While a connection lives, its properties (clsNow) are looked at this often even when nothing else happens. */
const POLL_MS = 5;
/** So short a wait without a connection takes no time of Node's: the device clock jumps. */
const JUMP_MS = 25;

function createClock(startMs: number): { nowMs(): number; jump(deltaMs: number): void } {
  const bootAt = performance.now();
  let offsetMs = startMs;
  return {
    nowMs: () => performance.now() - bootAt + offsetMs,
    jump(deltaMs) {
      offsetMs += deltaMs;
    },
  };
}

export function createEngine(options: EngineOptions): Engine {
  const { realm, context } = createRealm();
  const clock = createClock(options.nowMs ?? BOOT_MS);
  const lines: string[] = [];
  const problems: string[] = [];
  const version = options.version ?? VERSION;
  const gitCommit = options.gitCommit ?? GIT_COMMIT;
  let partial = "";
  let events: Event[] = [];
  let pending: { error: unknown } | undefined;
  const newFlags = new Set<string>();
  const oldFlags = new Set<string>();
  let pass = 0;
  let passing = false;
  let immediate: NodeJS.Immediate | undefined;
  let sleeper: NodeJS.Timeout | undefined;
  const waiting = new Set<(error: Error) => void>();

  const core: Core = {
    realm,
    stopped: false,
    problems,
    nowMs: clock.nowMs,
    print(text) {
      const parts = (partial + text).split("\n");
      partial = parts.pop() as string;
      lines.push(...parts);
    },
    fails(name) {
      if (core.stopped) throw POWER_OFF;
      const index = engine.nativeCalls[name] ?? 0;
      engine.nativeCalls[name] = index + 1;
      return engine.oom(name, index);
    },
    native(name, fn) {
      return function (this: unknown, ...args: unknown[]) {
        if (core.fails(name)) return undefined;
        const result = fn.apply(this, args);
        if (core.stopped) throw POWER_OFF;
        return result;
      };
    },
    error: (kind: ErrorKind, message: string) => realm[kind](message),
    queue(thisArg, callback, args) {
      events.push({ thisArg, callback, args });
      wake();
    },
    queueEvent(object, event, args) {
      const callback = object[PREFIX + event];
      if (callback !== undefined) core.queue(object, callback, args);
    },
    execute(thisArg, callback, args) {
      if (callback === undefined || callback === null) return false;
      if (realm.isArray(callback)) for (const one of callback as unknown[]) executeOne(thisArg, one, args);
      else executeOne(thisArg, callback, args);
      return true;
    },
    takePending() {
      const taken = pending;
      pending = undefined;
      return taken;
    },
    uncaught(error) {
      pending = { error };
      problems.push(`uncaught ${describeError(error)}`);
    },
    reportError(error) {
      pending ??= { error };
    },
    errorFlag(name) {
      newFlags.add(name);
    },
    wake,
  };

  function describeError(error: any): string {
    return typeof error?.stack === "string" ? `${describe(core, error)}\n${error.stack}` : describe(core, error);
  }

  function executeOne(thisArg: unknown, callback: unknown, args: unknown[]): void {
    if (core.stopped) return;
    try {
      if (typeof callback === "function") callback.apply(thisArg, args);
      else if (typeof callback === "string") vm.runInContext(callback, context, { filename: "event" });
    } catch (error) {
      if (error !== POWER_OFF && !core.stopped) core.uncaught(error);
    }
  }

  // --- the idle loop

  function wake(): void {
    if (core.stopped || immediate || passing) return;
    immediate = setImmediate(loop);
  }

  function executeEvents(): boolean {
    const any = events.length > 0;
    while (events.length > 0 && !core.stopped) {
      const batch = events;
      events = [];
      for (const event of batch) {
        if (core.stopped) break;
        core.execute(event.thisArg, event.callback, event.args);
      }
    }
    return any;
  }

  function checkFlags(): void {
    const fresh = new realm.Array();
    for (const flag of newFlags) if (!oldFlags.has(flag)) fresh.push(flag);
    for (const flag of newFlags) oldFlags.add(flag);
    if (fresh.length === 0) return;
    const device: any = natives.globals.E;
    core.execute(device, device[`${PREFIX}errorFlag`], [fresh]);
    core.print(`New interpreter error: ${fresh.join(",")}\n`);
  }

  function checkErrors(): void {
    const caught = pending;
    pending = undefined;
    if (!caught) return;
    const handler = processObject[`${PREFIX}uncaughtException`];
    if (handler !== undefined) {
      core.execute(processObject, handler, [caught.error]);
      pending = undefined;
      return;
    }
    core.print(`Uncaught ${describe(core, caught.error)}\n`);
  }

  /** One round of the idle loop; true when anything happened. */
  function idlePass(): boolean {
    passing = true;
    pass++;
    let busy = timers.fire(pass);
    if (!core.stopped && http.idle()) busy = true;
    if (executeEvents()) busy = true;
    if (!core.stopped) checkErrors();
    if (!core.stopped) checkFlags();
    passing = false;
    return busy;
  }

  function loop(): void {
    immediate = undefined;
    if (sleeper) clearTimeout(sleeper);
    sleeper = undefined;
    if (core.stopped) return;
    if (idlePass()) wake();
    else sleep();
  }

  function sleep(): void {
    if (core.stopped) return;
    const connected = http.connections().length > 0;
    const dueIn = (timers.nextDueMs() ?? Number.POSITIVE_INFINITY) - clock.nowMs();
    if (!connected && dueIn > 0 && dueIn <= JUMP_MS) clock.jump(dueIn);
    if (dueIn <= (connected ? 0 : JUMP_MS)) wake();
    else if (connected || timers.count() > 0)
      sleeper = setTimeout(loop, Math.min(Math.ceil(dueIn), connected ? POLL_MS : MAX_SLEEP_MS));
  }

  // --- global scope

  const files = createFiles(options.storage ?? linuxArea(), core.print);
  files.start();
  const timers = createTimers(core, () => pass);
  const { hosts = {}, connect, tlsBuffer } = options;
  const http = createHttp(core, { version, hosts, connect, tlsBuffer });

  const engine: Engine = {
    console: lines,
    problems,
    nativeCalls: {},
    oom: () => false,
    onQuit: () => {},
    run: runCode,
    runBootCode,
    files,
    addModule: (name, code) => modules.add(name, code),
    require: (name) => modules.require(name),
    call: bridge,
    advance,
    block: clock.jump,
    isIdle: () => !immediate && !passing && events.length === 0 && timers.count() + http.connections().length === 0,
    accounts,
    stop,
  };

  const natives = createNatives(core, {
    flash: options.flash,
    board: options.board,
    version,
    gitCommit,
    mappings: options.mappings,
    registers: options.registers ?? {},
    files,
    onStorageWrite: options.onStorageWrite,
    otaValid: options.otaValid,
    reboot() {
      if (core.stopped) return;
      stop();
      options.onReboot();
    },
    freeVars: options.freeVars ?? FREE_VARS,
    serial: options.serial ?? SERIAL,
  });
  const processObject: any = natives.globals.process;
  const libraries: Record<string, object> = { ...natives.libraries, http: http.library };
  for (const [name, library] of Object.entries(libraries)) {
    for (const [key, fn] of Object.entries(library)) define(library, key, fn); // a copy of the library would be empty
    libraries[name] = strict(core, name, library);
  }

  const modules = createModules(core, { context, libraries, files });

  // --- what tests call

  /** Runs a host call into the program; a power loss inside it ends it quietly. */
  function enter<T>(fn: () => T): T | undefined {
    if (core.stopped) throw new Error("the engine has been stopped");
    try {
      return fn();
    } catch (error) {
      if (core.stopped) return undefined;
      throw error;
    } finally {
      wake();
    }
  }

  function runCode(code: string, filename = "program.js"): unknown {
    return enter(() => vm.runInContext(code, context, { filename }));
  }

  /** What the interpreter does at its start (src/jsflash.c, jsfLoadBootCodeFromFlash). What they throw is printed. */
  function runBootCode(): void {
    for (const name of [".boot0", ".boot1", ".boot2", ".boot3", ".bootcde"]) {
      const code = files.read(name);
      if (!code || core.stopped) continue;
      enter(() => {
        try {
          vm.runInContext(Buffer.from(code).toString("latin1"), context, { filename: name });
        } catch (error) {
          if (!core.stopped) core.print(`Uncaught ${error}\n`);
        }
      });
    }
  }

  function bridge<T>(promiseLike: any): Promise<T> {
    const promise = new Promise<T>((resolve, reject) => {
      if (core.stopped) return reject(new Error("the engine has been stopped"));
      const fail = (error: Error): void => reject(error);
      waiting.add(fail);
      const settle =
        (fn: (value: any) => void): Fn =>
        (value) => {
          waiting.delete(fail);
          fn(value);
        };
      promiseLike.then(settle(resolve), settle(reject));
      wake();
    });
    promise.catch(() => {}); // a test that stops the engine need not await every call
    return promise;
  }

  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  async function advance(deltaMs: number): Promise<void> {
    const targetMs = clock.nowMs() + deltaMs;
    for (;;) {
      await turn();
      if (core.stopped) return;
      const due = timers.nextDueMs();
      const stepMs = Math.min(due ?? targetMs, targetMs) - clock.nowMs();
      if (stepMs > 0) clock.jump(stepMs);
      idlePass();
      wake();
      if (due === undefined || due > targetMs) break;
    }
    await turn();
  }

  function accounts(): { sockets: number; timers: number; listeners: number } {
    const connections = http.connections();
    const objects = [natives.globals.E, natives.globals.ESP32, processObject];
    for (const { req, res } of connections) objects.push(req, res);
    return {
      sockets: connections.length,
      timers: timers.count(),
      listeners: objects.reduce((sum: number, object) => sum + countListeners(object), 0),
    };
  }

  function stop(): void {
    if (core.stopped) return;
    core.stopped = true;
    if (immediate) clearImmediate(immediate);
    if (sleeper) clearTimeout(sleeper);
    events = [];
    timers.clear();
    http.closeAll();
    for (const fail of waiting) fail(new Error("the engine has been stopped"));
    waiting.clear();
  }

  // --- put it together

  installEvents(core);
  const print = core.native("print", (...args) => core.print(`${printed(core, args)}\n`));
  const consoleObject = { log: print, debug: print, info: print, warn: print, error: print };
  const RealDate = realm.global.Date;
  const globals: Record<string, unknown> = {
    ...natives.globals,
    ...timers.globals,
    Promise: createPromise(core),
    Modules: strict(core, "Modules", modules.library),
    require: core.native("require", modules.require),
    url: strict(core, "url", { parse: core.native("url.parse", (url, query) => parseUrl(core, url, Boolean(query))) }),
    print,
    console: strict(core, "console", consoleObject),
    getTime: core.native("getTime", () => clock.nowMs() / 1000),
    setTime: core.native("setTime", (seconds) => {
      const deltaMs = Number(seconds) * 1000 - clock.nowMs();
      clock.jump(deltaMs);
      timers.shift(deltaMs);
    }),
    Date: makeDate(RealDate, clock.nowMs),
    global: realm.global,
  };
  if (options.board === "LINUX") {
    globals.echo = core.native("echo", () => undefined);
    globals.quit = core.native("quit", () => engine.onQuit());
  }
  for (const [name, value] of Object.entries(globals)) define(realm.global, name, value);
  define(
    realm.global.JSON,
    "parse",
    core.native("JSON.parse", (text) => parseJson(core, text)),
  );
  define(
    realm.global.JSON,
    "stringify",
    core.native("JSON.stringify", (value, _filter, space) => stringify(core, value, space)),
  );
  const saved = loadState(files, gitCommit, core.print);
  if (saved !== undefined) core.queue(undefined, saved, []);
  return engine;
}

/** Date on the device's clock. */
function makeDate(RealDate: any, nowMs: () => number): any {
  function DeviceDate(this: unknown, ...args: unknown[]): any {
    return args.length === 0 ? new RealDate(Math.floor(nowMs())) : new RealDate(...args);
  }
  DeviceDate.prototype = RealDate.prototype;
  define(RealDate.prototype, "constructor", DeviceDate);
  DeviceDate.now = () => Math.floor(nowMs());
  // it knows these two forms, and makes 0 of all others
  DeviceDate.parse = (text: string) =>
    /^(\w{3}, \d{2} \w{3} \d{4} |\d{4}-\d{2}-\d{2}T)/.test(text) ? RealDate.parse(text) : 0;
  return DeviceDate;
}
