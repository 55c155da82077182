// The native functions of the device: E, crypto, Flash, ESP32, process, peek.
// Everything here hands back objects of the program's realm. A name that is not modelled throws.

import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { bytesOf, type Core, type Fn, strict, textOf, toInt, typeName } from "./core.ts";
import { collect, dataOf, floatsOf, isIterable, iterateInts, makeArrayBuffer, makeUint8Array } from "./data.ts";
import { makeBase64, makeUri } from "./encode.ts";
import type { Files } from "./files.ts";
import { installFind } from "./find.ts";
import { createRandom, installRandom, type Random } from "./random.ts";
import { define } from "./realm.ts";
import { makeStorage } from "./storage.ts";
import { installTypedArrays } from "./typed.ts";

const SECTOR = 4096;

export type Mapping = { addr: number; length: number; read(offset: number, length: number): Uint8Array };

export type FlashChip = {
  readonly size: number;
  read(addr: number, length: number): Uint8Array;
  write(addr: number, bytes: Uint8Array): void;
  erase(addr: number): void;
};

export type NativeOptions = {
  flash: FlashChip;
  board: string;
  version: string;
  gitCommit: string;
  mappings: Mapping[];
  registers: Record<number, number>;
  files: Files;
  onStorageWrite?: (name: string) => void;
  otaValid?: (valid: boolean) => void;
  reboot: () => void;
  freeVars: number;
  serial: string;
};

export interface Natives {
  globals: Record<string, unknown>;
  libraries: Record<string, object>;
}

// --- E

function makeE(core: Core, options: NativeOptions, random: Random): object {
  const { realm } = core;
  const E = new realm.Object();
  const add = (name: string, fn: Fn): void => {
    Object.defineProperty(E, name, { value: core.native(`E.${name}`, fn), enumerable: false, configurable: true });
  };
  const joinArgs = (args: any[]): Uint8Array => {
    if (args.length === 1) return collect(core, args[0]);
    return Uint8Array.from(args.flatMap((arg) => Array.from(collect(core, arg))));
  };
  add("toString", (...args) => textOf(joinArgs(args)));
  add("toArrayBuffer", (text) => (typeof text === "string" ? makeArrayBuffer(core, bytesOf(text)) : undefined));
  add("CRC32", (data) => (isIterable(core, data) ? crc32(iterateInts(core, data)) : undefined));
  add("convolve", (a, b, offset) => convolve(core, a, b, offset));
  add("memoryArea", (addr, length) => {
    const at = toInt(addr) >>> 0;
    const n = toInt(length);
    return !at || n < 0 ? undefined : textOf(readMapped(core, options, at, n));
  });
  add("reboot", options.reboot);
  add("kickWatchdog", () => undefined);
  add("hwRand", random.next);
  return strict(core, "E", E, ["otaRestartPending", "otaLock", "otaSet", "otaStart", "otaRan"]); // these are the module's own
}

const numbersIn = (core: Core, value: any): ArrayLike<number> =>
  ArrayBuffer.isView(value) ? (value as unknown as ArrayLike<number>) : floatsOf(core, value);

function convolve(core: Core, a: any, b: any, offset: unknown): number {
  if (!isIterable(core, a) || !isIterable(core, b)) {
    const types = `${typeName(core, a)} and ${typeName(core, b)}`;
    throw core.error("Error", `Expecting first 2 arguments to be iterable, not ${types}`);
  }
  const y = numbersIn(core, b);
  const start = toInt(offset) % y.length;
  return core.realm.dot(numbersIn(core, a), y, start < 0 ? start + y.length : start);
}

// --- memory

function readMapped(core: Core, options: NativeOptions, addr: number, length: number): Uint8Array {
  const mapping = options.mappings.find((m) => addr >= m.addr && addr + length <= m.addr + m.length);
  if (mapping) return mapping.read(addr - mapping.addr, length);
  if (length === 0) return new Uint8Array(0);
  const message = `not modelled: memory at 0x${addr.toString(16)}, ${length} bytes`;
  core.problems.push(message);
  throw core.error("Error", message);
}

function makePeek(core: Core, options: NativeOptions): Fn {
  return core.native("peek32", (addr) => {
    const at = toInt(addr) >>> 0;
    const register = options.registers[at];
    if (register !== undefined) return register >>> 0;
    const bytes = readMapped(core, options, at, 4);
    return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
  });
}

// --- Flash

function makeFlash(core: Core, options: NativeOptions): object {
  const { flash } = options;
  return {
    read: core.native("Flash.read", (length, addr) => {
      const n = toInt(length);
      return n <= 0 ? undefined : makeUint8Array(core, flash.read(toInt(addr) >>> 0, n));
    }),
    write: core.native("Flash.write", (data, addr) => {
      if (data === undefined) throw core.error("Error", "Data is not defined");
      const bytes = dataOf(core, data);
      if (bytes.length) flash.write(toInt(addr) >>> 0, bytes);
    }),
    erasePage: core.native("Flash.erasePage", (addr) => {
      if (typeof addr !== "number" || !Number.isInteger(addr)) {
        throw core.error("Error", `Address should be an integer, got ${typeName(core, addr)}`);
      }
      flash.erase(Math.floor(addr / SECTOR) * SECTOR);
    }),
  };
}

// --- crypto

function makeCrypto(core: Core): object {
  const SHA256 = core.native("crypto.SHA256", (data) => {
    if (data === undefined) return undefined;
    return makeArrayBuffer(core, createHash("sha256").update(dataOf(core, data)).digest());
  });
  return { SHA256 };
}

// --- ESP32, process

function makeEsp32(core: Core, options: NativeOptions): object {
  const ESP32 = new core.realm.Object();
  const natives: Record<string, Fn> = {
    reboot: options.reboot,
    getState() {
      const state = new core.realm.Object();
      Object.assign(state, { sdkVersion: "v3.2.3", freeHeap: 120000, BLE: false, Wifi: true, minHeap: 90000 });
      return state;
    },
  };
  const { otaValid } = options;
  if (otaValid) natives.setOTAValid = (valid) => otaValid(Boolean(valid));
  for (const [name, fn] of Object.entries(natives)) define(ESP32, name, core.native(`ESP32.${name}`, fn));
  return strict(core, "ESP32", ESP32, ["setOTAValid"]);
}

const MODULES = "Flash,Storage,heatshrink,fs,net,dgram,tls,http,NetworkJS,Wifi,TelnetServer,crypto,neopixel";

function makeProcess(core: Core, options: NativeOptions): object {
  const process = new core.realm.Object();
  process.version = options.version;
  Object.defineProperty(process, "env", {
    enumerable: true,
    configurable: true,
    get() {
      const env = new core.realm.Object();
      return Object.assign(env, {
        VERSION: options.version,
        GIT_COMMIT: options.gitCommit,
        BOARD: options.board,
        RAM: 524288,
        FLASH: options.flash.size,
        STORAGE: options.files.area.size,
        SERIAL: options.serial,
        CONSOLE: "Serial1",
        MODULES,
        EXPTR: 0,
      });
    },
  });
  process.memory = core.native("process.memory", () => {
    const out = new core.realm.Object();
    const free = options.freeVars;
    return Object.assign(out, { free, usage: 5000 - free, total: 5000, history: 0, gc: 0, gctime: 1, blocksize: 16 });
  });
  return strict(core, "process", process);
}

export function createNatives(core: Core, options: NativeOptions): Natives {
  installTypedArrays(core);
  installFind(core);
  const random = createRandom();
  installRandom(core, random);
  return {
    globals: {
      E: makeE(core, options, random),
      ESP32: makeEsp32(core, options),
      process: makeProcess(core, options),
      peek32: makePeek(core, options),
      ...makeBase64(core),
      ...makeUri(core),
      getSerial: core.native("getSerial", () => options.serial),
    },
    libraries: {
      Flash: makeFlash(core, options),
      Storage: makeStorage(core, options.files, options.onStorageWrite),
      crypto: makeCrypto(core),
    },
  };
}
