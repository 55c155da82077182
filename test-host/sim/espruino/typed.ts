// Typed arrays where the interpreter's differ from the standard: set() takes text and leaves out what does not fit,
// constructors refuse text and undefined (so that an out-of-memory undefined is not an empty array), offsets end at
// 65535, a length of 0 means "the rest", and views may be longer than their buffer.

import { TYPED_ARRAYS } from "./builtins.ts";
import { bytesOf, type Core, isArrayBuffer, toInt, typeName } from "./core.ts";
import { elementsOf, isBuffer } from "./data.ts";
import { define } from "./realm.ts";

export function installTypedArrays(core: Core): void {
  const { realm } = core;
  for (const name of TYPED_ARRAYS) realm.natives[name] = realm.global[name];
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

const ELEMENT_SIZES: Record<string, number> = {
  Uint8Array: 1,
  Int8Array: 1,
  Uint8ClampedArray: 1,
  Uint16Array: 2,
  Int16Array: 2,
  Uint32Array: 4,
  Int32Array: 4,
  Float32Array: 4,
  Float64Array: 8,
};

/**
 * A view of `length` elements at `at`. The interpreter does not care whether the buffer is that long; what is beyond
 * it reads as 0. Here such a view is a copy.
 */
function viewOf(core: Core, name: string, buffer: ArrayBuffer, at: number, length: number): any {
  if (at < 0 || at > MAX_OFFSET) throw core.error("Error", "byteOffset too large (or negative)");
  const size = ELEMENT_SIZES[name];
  const Native = core.realm.natives[name];
  if (at + length * size <= buffer.byteLength) return new Native(buffer, at, length);
  const copy = new core.realm.Uint8Array(length * size);
  if (at < buffer.byteLength) copy.set(new Uint8Array(buffer, at));
  return new Native(copy.buffer);
}

/** The interpreter's constructor refuses what the standard one makes an empty array of, and far offsets. */
function wrapConstructor(core: Core, name: string): void {
  const Native = core.realm.natives[name];
  const size = ELEMENT_SIZES[name];
  const make = (args: any[]): any => {
    const [first, offset, length] = args;
    if (core.fails(`new ${name}`)) {
      throw core.error("Error", `Unsupported first argument of type ${typeName(core, first)}`);
    }
    if (isArrayBuffer(first)) {
      const at = toInt(offset);
      const rest = Math.max(0, Math.floor((first.byteLength - at) / size));
      return viewOf(core, name, first, at, toInt(length) || rest);
    }
    if (typeof first === "number" || typeof first === "boolean") {
      if (toInt(first) < 0) throw core.error("Error", "Invalid length for ArrayBuffer");
      return new Native(toInt(first));
    }
    if (core.realm.isArray(first) || isBuffer(first)) return new Native(first);
    throw core.error("Error", `Unsupported first argument of type ${typeName(core, first)}`);
  };
  // a plain function, because the statics of the standard constructor cannot be deleted
  const Device = function (this: unknown, ...args: any[]): any {
    return make(args);
  };
  Device.prototype = Native.prototype;
  // map and slice of the standard make their results with this
  Object.defineProperty(Device, Symbol.species, { value: Native });
  define(Native.prototype, "constructor", Device);
  define(core.realm.global, name, Device);
  const subarray = core.native(`${name}.subarray`, function (this: any, begin, end) {
    let from = toInt(begin);
    let to = typeof end === "number" ? toInt(end) : this.length;
    if (from < 0) from += this.length;
    if (to < 0) to = Math.max(0, to + this.length);
    if (from >= to) return new Native(0);
    return viewOf(core, name, this.buffer, this.byteOffset + from * size, to - from);
  });
  define(Native.prototype, "subarray", subarray);
}
