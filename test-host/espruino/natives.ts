// The native functions of the device: E, crypto, Flash, Storage, ESP32, process, peek, base64, typed arrays.
// Everything here hands back objects of the program's realm. A name that is not modelled throws.

import { createHash } from "node:crypto";
import { TYPED_ARRAYS } from "./builtins.ts";
import { bytesOf, type Core, type Fn, isArrayBuffer, isObject, strict, textOf, toInt, typeName } from "./core.ts";
import { define } from "./realm.ts";
import { describe, parseJson, printed, stringify, stringifyLoose } from "./text.ts";

const SECTOR = 4096;
/** Below this an address is one in flash, not in the memory map. */
const NAME_MAX = 28;

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
  mappings: Mapping[];
  registers: Record<number, number>;
  storage: Map<string, Uint8Array>;
  otaValid?: (valid: boolean) => void;
  reboot: () => void;
  freeVars: number;
};

export interface Natives {
  globals: Record<string, unknown>;
  libraries: Record<string, object>;
}

// --- bytes in and out of the realm

export function makeUint8Array(core: Core, bytes: ArrayLike<number>): any {
  const out = new core.realm.Uint8Array(bytes.length);
  out.set(bytes);
  return out;
}

function makeArrayBuffer(core: Core, bytes: Uint8Array): any {
  return makeUint8Array(core, bytes).buffer;
}

function viewBytes(value: any): Uint8Array {
  return isArrayBuffer(value)
    ? new Uint8Array(value)
    : new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

function isBuffer(value: any): boolean {
  return ArrayBuffer.isView(value) || isArrayBuffer(value);
}

function isIterable(core: Core, value: any): boolean {
  const direct = typeof value === "string" || typeof value === "function" || core.realm.isArray(value);
  return direct || isBuffer(value) || isObject(core, value);
}

/** Elements of a buffer: an ArrayBuffer counts as bytes. */
function elementsOf(value: any): ArrayLike<number> {
  return isArrayBuffer(value) ? new Uint8Array(value) : value;
}

/**
 * The interpreter's walk over "anything with data": numbers, text, arrays of these, buffers, {data, count} and
 * {callback}. Each item is given as the interpreter sees it, to be cut to 8 bits by the caller.
 */
function eachByte(core: Core, data: any, add: (value: number) => void): void {
  if (typeof data === "number" || typeof data === "boolean") add(toInt(data));
  else if (typeof data === "string") for (let i = 0; i < data.length; i++) add(data.charCodeAt(i));
  else if (isBuffer(data)) for (const n of Array.from(elementsOf(data))) add(toInt(n));
  else if (core.realm.isArray(data)) for (let i = 0; i < data.length; i++) eachByte(core, data[i], add);
  else if (isObject(core, data)) eachInObject(core, data, add);
  else if (typeof data === "function") return; // no elements
  else throw core.error("TypeError", `Expecting Number or iterable, got ${typeName(core, data)}`);
}

function eachInObject(core: Core, data: any, add: (value: number) => void): void {
  if (typeof data.callback === "function") {
    const result = data.callback();
    if (result !== undefined) eachByte(core, result, add);
    return;
  }
  if (typeof data.count === "number" && data.data !== undefined) {
    for (let n = toInt(data.count); n > 0; n--) eachByte(core, data.data, add);
    return;
  }
  const json = printed(core, [data]);
  throw core.error(
    "TypeError",
    `If specifying an object, it must be of the form {data : ..., count : N} or {callback : fn} - got ${json}`,
  );
}

function collect(core: Core, data: any): Uint8Array {
  if (typeof data === "string") return bytesOf(data);
  if (data instanceof core.realm.Uint8Array) return viewBytes(data);
  const out: number[] = [];
  eachByte(core, data, (value) => out.push(value & 255));
  return Uint8Array.from(out);
}

/** What Flash.write, SHA256 and Storage.write make of their argument: the bytes themselves where there are any. */
function dataOf(core: Core, data: any): Uint8Array {
  if (isBuffer(data)) return viewBytes(data).subarray(0, elementsOf(data).length);
  return collect(core, data);
}

// --- E

function makeE(core: Core, options: NativeOptions): object {
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
  add("toFlatString", (...args) => textOf(joinArgs(args)));
  add("toUint8Array", (...args) => makeUint8Array(core, joinArgs(args)));
  add("toArrayBuffer", (text) => (typeof text === "string" ? makeArrayBuffer(core, bytesOf(text)) : undefined));
  add("CRC32", (data) => (isIterable(core, data) ? crc32(iterateInts(core, data)) : undefined));
  add("sum", (data) => {
    if (typeof data !== "string" && !core.realm.isArray(data) && !isBuffer(data)) {
      throw core.error("Error", `First argument must be Array, not ${typeName(core, data)}`);
    }
    const holes = core.realm.isArray(data) ? data.filter((n: unknown) => n !== undefined) : data;
    return floatsOf(core, holes).reduce((sum, n) => sum + n, 0);
  });
  add("convolve", (a, b, offset) => convolve(core, a, b, offset));
  add("clip", (x, min, max) => Math.max(min, Math.min(max, x)));
  add("memoryArea", (addr, length) => {
    const at = toInt(addr) >>> 0;
    const n = toInt(length);
    return !at || n < 0 ? undefined : textOf(readMapped(core, options, at, n));
  });
  add("getSizeOf", (value) => sizeOf(core, value));
  add("defrag", () => undefined);
  add("getErrorFlags", () => new realm.Array());
  add("getFlags", () => new realm.Object());
  add("setFlags", () => undefined);
  add("reboot", options.reboot);
  add("kickWatchdog", () => undefined);
  add("hwRand", () => (Math.random() * 0x100000000) | 0);
  add("lookupNoCase", (haystack, needle, returnKey) => {
    const key = Object.keys(haystack).find((k) => k.toLowerCase() === String(needle).toLowerCase());
    return key === undefined ? undefined : returnKey ? key : haystack[key];
  });
  return strict(core, "E", E);
}

function iterateInts(core: Core, data: any): Uint8Array {
  if (typeof data === "string") return bytesOf(data);
  if (isBuffer(data)) return Uint8Array.from(Array.from(elementsOf(data), (n) => toInt(n) & 255));
  const items = core.realm.isArray(data) ? Array.from(data) : Object.values(data);
  return Uint8Array.from(items.map((n) => toInt(n) & 255));
}

function floatsOf(core: Core, data: any): number[] {
  if (typeof data === "string") return Array.from(bytesOf(data));
  if (isBuffer(data)) return Array.from(elementsOf(data));
  const items = core.realm.isArray(data) ? Array.from(data) : Object.values(data);
  return items.map((n: any) => (n === undefined ? Number.NaN : Number(n)));
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, i) => {
  let c = i;
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  return c;
});

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ bytes[i]) & 255];
  return ~crc >>> 0;
}

function convolve(core: Core, a: any, b: any, offset: unknown): number {
  if (!isIterable(core, a) || !isIterable(core, b)) {
    const types = `${typeName(core, a)} and ${typeName(core, b)}`;
    throw core.error("Error", `Expecting first 2 arguments to be iterable, not ${types}`);
  }
  const x = a instanceof core.realm.global.Float64Array ? a : floatsOf(core, a);
  const y = b instanceof core.realm.global.Float64Array ? b : floatsOf(core, b);
  let j = toInt(offset) % y.length;
  if (j < 0) j += y.length;
  let sum = 0;
  for (let i = 0; i < x.length; i++) {
    sum += x[i] * y[j];
    j = j + 1 === y.length ? 0 : j + 1;
  }
  return sum;
}

/** A rough count: what a program may use it for is only a comparison. */
function sizeOf(core: Core, value: any): number {
  if (typeof value === "string") return 1 + Math.ceil(Math.max(0, value.length - 10) / 12);
  if (isBuffer(value)) return 2 + Math.ceil(viewBytes(value).length / 14);
  if (core.realm.isArray(value) || isObject(core, value)) {
    return Object.keys(value).reduce((sum, key) => sum + 1 + sizeOf(core, value[key]), 1);
  }
  return 1;
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

function peek(core: Core, options: NativeOptions, addr: number, width: number): number {
  const register = options.registers[addr >>> 0];
  if (register !== undefined && width === 4) return register >>> 0;
  const bytes = readMapped(core, options, addr >>> 0, width);
  let value = 0;
  for (let i = width - 1; i >= 0; i--) value = value * 256 + bytes[i];
  return value;
}

function makePeek(core: Core, options: NativeOptions, width: number): Fn {
  return core.native(`peek${width * 8}`, (addr, count) => {
    if (count === undefined || toInt(count) <= 1) return peek(core, options, toInt(addr), width);
    const name = `Uint${width * 8}Array`;
    const out = new core.realm.global[name](toInt(count));
    for (let i = 0; i < out.length; i++) out[i] = peek(core, options, toInt(addr) + i * width, width);
    return out;
  });
}

function refuse(core: Core, name: string): Fn {
  return core.native(name, () => {
    const message = `not modelled: ${name}`;
    core.problems.push(message);
    throw core.error("Error", message);
  });
}

// --- Flash

function makeFlash(core: Core, options: NativeOptions): object {
  const { flash } = options;
  const area = (addr: number, length: number): any => {
    const out = new core.realm.Object();
    out.addr = addr;
    out.length = length;
    return out;
  };
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
    getPage: core.native("Flash.getPage", (addr) => {
      const at = toInt(addr) >>> 0;
      return at >= flash.size ? undefined : area(Math.floor(at / SECTOR) * SECTOR, SECTOR);
    }),
    getFree: core.native("Flash.getFree", () => {
      const out = new core.realm.Array();
      out.push(area(0xe000, 0x2000), area(0x310000, 0x10000), area(0x360000, 0xa0000));
      return out;
    }),
  };
}

// --- Storage: files of fixed size; what was not written is 0xFF

function makeStorage(core: Core, files: Map<string, Uint8Array>): object {
  const nameOf = (name: any): string => textOf(bytesOf(String(name))).slice(0, NAME_MAX);
  const fail = (message: string): never => {
    throw core.error("Error", message);
  };
  function write(name: any, data: any, offset: any, size: any): boolean {
    if (data === undefined) fail("Can't get pointer to data to write");
    const isJson = isObject(core, data);
    const bytes = isJson ? bytesOf(stringify(core, data)) : dataOf(core, data);
    const at = isJson ? 0 : toInt(offset);
    let length = isJson ? 0 : toInt(size);
    if (at < 0 || length < 0) return false;
    if (length === 0) length = bytes.length;
    if (length === 0) fail("Can't create zero length file");
    const key = nameOf(name);
    let file = files.get(key);
    if (at === 0 && !(file && file.length === length && file.every((b) => b === 255))) {
      file = new Uint8Array(length).fill(255);
      files.delete(key);
      files.set(key, file);
    }
    if (!file) return fail("Unable to find or create file");
    if (at + bytes.length > file.length) return fail("Too much data for file size");
    if (file.subarray(at, at + bytes.length).some((b) => b !== 255)) {
      return fail("File already written with different data");
    }
    file.set(bytes, at);
    return true;
  }
  function read(name: any, offset: any, length: any): string | undefined {
    const file = files.get(nameOf(name));
    if (!file) return undefined;
    const from = Math.max(0, toInt(offset));
    const n = toInt(length);
    return textOf(file.subarray(from, n <= 0 ? undefined : from + n));
  }
  function readJson(name: any, quiet: any): unknown {
    const text = read(name, 0, 0);
    if (text === undefined) return undefined;
    try {
      return parseJson(core, text, true);
    } catch (error) {
      if (quiet) return undefined;
      throw error;
    }
  }
  const natives: Record<string, Fn> = {
    write,
    read,
    writeJSON: (name, data) => write(name, stringifyLoose(core, data), 0, 0),
    readJSON: readJson,
    readArrayBuffer(name) {
      const file = files.get(nameOf(name));
      return file && makeArrayBuffer(core, file);
    },
    erase(name) {
      files.delete(nameOf(name));
    },
    eraseAll: () => files.clear(),
    list(regex) {
      const out = new core.realm.Array();
      for (const name of files.keys()) if (regex === undefined || name.match(regex)) out.push(name);
      return out;
    },
    compact: () => undefined,
  };
  const library: Record<string, Fn> = {};
  for (const [name, fn] of Object.entries(natives)) library[name] = core.native(`Storage.${name}`, fn);
  return library;
}

// --- crypto, base64

function makeCrypto(core: Core): object {
  const hash = (name: string, algorithm: string): Fn =>
    core.native(`crypto.${name}`, (data) => {
      if (data === undefined) return undefined;
      return makeArrayBuffer(core, createHash(algorithm).update(dataOf(core, data)).digest());
    });
  return { SHA1: hash("SHA1", "sha1"), SHA256: hash("SHA256", "sha256"), SHA512: hash("SHA512", "sha512") };
}

const SPACE = " \t\n\r\v\f";
const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** Groups of four; what is not base64 counts as a zero in its place, and only the last good place is asked. */
function decodeBase64(text: string): string {
  const clean = Array.from(text).filter((ch) => !SPACE.includes(ch));
  let length = Math.floor((clean.length * 3) / 4);
  if (clean[clean.length - 1] === "=") length--;
  if (clean[clean.length - 2] === "=") length--;
  const out = new Uint8Array(Math.max(0, length));
  let at = 0;
  const put = (byte: number): void => {
    if (at < out.length) out[at++] = byte;
  };
  for (let i = 0; i < clean.length; i += 4) {
    let triple = 0;
    let valid = 0;
    for (let k = 0; k < 4; k++) {
      const sextet = clean[i + k] === undefined ? -1 : BASE64.indexOf(clean[i + k]);
      if (sextet < 0) continue;
      triple |= sextet << ((3 - k) * 6);
      valid = k;
    }
    if (valid > 0) put((triple >> 16) & 255);
    if (valid > 1) put((triple >> 8) & 255);
    if (valid > 2) put(triple & 255);
  }
  return textOf(out);
}

function makeBase64(core: Core): { atob: Fn; btoa: Fn } {
  return {
    atob: core.native("atob", (text) => {
      if (typeof text !== "string") throw core.error("Error", `Expecting String, got ${typeName(core, text)}`);
      return decodeBase64(text);
    }),
    btoa: core.native("btoa", (data) => {
      if (!isIterable(core, data)) {
        throw core.error("Error", `Expecting String or Array, got ${typeName(core, data)}`);
      }
      return Buffer.from(iterateInts(core, data)).toString("base64");
    }),
  };
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
  for (const [name, fn] of Object.entries(natives)) ESP32[name] = core.native(`ESP32.${name}`, fn);
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
        BOARD: options.board,
        RAM: 524288,
        FLASH: options.flash.size,
        STORAGE: 65536,
        SERIAL: "00000000-00000000",
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

// --- URI text: byte by byte

function makeUri(core: Core): Record<string, Fn> {
  return {
    encodeURIComponent: core.native("encodeURIComponent", (value) => {
      const text = describe(core, value);
      return text.replace(/[^A-Za-z0-9_\-.!~*'()$]/g, (ch) => {
        return `%${(ch.charCodeAt(0) & 255).toString(16).toUpperCase().padStart(2, "0")}`;
      });
    }),
    decodeURIComponent: core.native("decodeURIComponent", (value) => {
      const text = describe(core, value);
      let out = "";
      for (let i = 0; i < text.length; i++) {
        if (text.charCodeAt(i) > 127) throw core.error("Error", "ASCII only");
        if (text[i] !== "%") {
          out += text[i];
          continue;
        }
        const hex = text.slice(i + 1, i + 3);
        if (!/^[0-9a-fA-F]{2}$/.test(hex)) throw core.error("Error", "Invalid URI");
        out += String.fromCharCode(Number.parseInt(hex, 16));
        i += 2;
      }
      return out;
    }),
  };
}

// --- typed arrays: `set` takes text, and what does not fit is left out without a word

function installTypedArrays(core: Core): void {
  const { realm } = core;
  const proto = Object.getPrototypeOf(realm.Uint8Array.prototype);
  const native = proto.set;
  const set = core.native("Uint8Array.set", function (this: any, source, offset) {
    if (typeof source !== "string" && !realm.isArray(source) && !isBuffer(source)) {
      throw core.error("Error", `First argument must be Array, not ${typeName(core, source)}`);
    }
    const at = toInt(offset);
    const items = typeof source === "string" ? bytesOf(source) : elementsOf(source);
    if (at < 0 || at > this.length) return;
    const room = this.length - at;
    if (items.length <= room) native.call(this, items, at);
    else native.call(this, Array.prototype.slice.call(items, 0, room), at);
  });
  Object.defineProperty(proto, "set", { value: set, writable: true, configurable: true, enumerable: false });
  for (const name of TYPED_ARRAYS) wrapConstructor(core, name);
}

const MAX_OFFSET = 65535;

/**
 * A view of `length` elements at `at`. The interpreter does not care whether the buffer is that long; what is beyond
 * it reads as 0. Here such a view is a copy.
 */
function viewOf(core: Core, Native: any, buffer: ArrayBuffer, at: number, length: number): any {
  if (at < 0 || at > MAX_OFFSET) throw core.error("Error", "byteOffset too large (or negative)");
  const size = new Native(1).byteLength;
  if (at + length * size <= buffer.byteLength) return new Native(buffer, at, length);
  const copy = new core.realm.Uint8Array(length * size);
  if (at < buffer.byteLength) copy.set(new Uint8Array(buffer, at));
  return new Native(copy.buffer);
}

/** The interpreter's constructor refuses what the standard one makes an empty array of, and far offsets. */
function wrapConstructor(core: Core, name: string): void {
  const Native = core.realm.global[name];
  const size = new Native(1).byteLength;
  const make = (args: any[]): any => {
    const [first, offset, length] = args;
    if (isArrayBuffer(first)) {
      const at = toInt(offset);
      const rest = Math.max(0, Math.floor((first.byteLength - at) / size));
      return viewOf(core, Native, first, at, toInt(length) || rest);
    }
    if (typeof first === "number" || typeof first === "boolean") {
      if (toInt(first) < 0) throw core.error("Error", "Invalid length for ArrayBuffer");
      return new Native(toInt(first));
    }
    if (core.realm.isArray(first) || isBuffer(first)) return new Native(first);
    throw core.error("Error", `Unsupported first argument of type ${typeName(core, first)}`);
  };
  const wrapped = new Proxy(Native, {
    construct: (_target, args) => make(args),
    apply: (_target, _self, args) => make(args),
    // map and slice of the standard make their results with this
    get: (target, key) => (key === Symbol.species ? Native : Reflect.get(target, key)),
  });
  define(Native.prototype, "constructor", wrapped);
  define(core.realm.global, name, wrapped);
  const subarray = core.native(`${name}.subarray`, function (this: any, begin, end) {
    let from = toInt(begin);
    let to = typeof end === "number" ? toInt(end) : this.length;
    if (from < 0) from += this.length;
    if (to < 0) to = Math.max(0, to + this.length);
    if (from >= to) return new Native(0);
    return viewOf(core, Native, this.buffer, this.byteOffset + from * size, to - from);
  });
  define(Native.prototype, "subarray", subarray);
}

export function createNatives(core: Core, options: NativeOptions): Natives {
  installTypedArrays(core);
  const pokes: Record<string, Fn> = {};
  for (const name of ["poke8", "poke16", "poke32"]) pokes[name] = refuse(core, name);
  return {
    globals: {
      E: makeE(core, options),
      ESP32: makeEsp32(core, options),
      process: makeProcess(core, options),
      peek8: makePeek(core, options, 1),
      peek16: makePeek(core, options, 2),
      peek32: makePeek(core, options, 4),
      ...pokes,
      ...makeBase64(core),
      ...makeUri(core),
    },
    libraries: {
      Flash: makeFlash(core, options),
      Storage: makeStorage(core, options.storage),
      crypto: makeCrypto(core),
    },
  };
}
