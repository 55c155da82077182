// Arguments that hold data, as the interpreter reads them, and bytes as objects of the program's realm.

import { bytesOf, type Core, isArrayBuffer, isObject, toInt, typeName } from "./core.ts";
import { printed } from "./text.ts";

export function makeUint8Array(core: Core, bytes: ArrayLike<number>): any {
  const out = new core.realm.Uint8Array(bytes.length);
  out.set(bytes);
  return out;
}

export function makeArrayBuffer(core: Core, bytes: Uint8Array): any {
  return makeUint8Array(core, bytes).buffer;
}

export function viewBytes(value: any): Uint8Array {
  return isArrayBuffer(value)
    ? new Uint8Array(value)
    : new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

export function isBuffer(value: any): boolean {
  return ArrayBuffer.isView(value) || isArrayBuffer(value);
}

export function isIterable(core: Core, value: any): boolean {
  const direct = typeof value === "string" || typeof value === "function" || core.realm.isArray(value);
  return direct || isBuffer(value) || isObject(core, value);
}

/** Elements of a buffer: an ArrayBuffer counts as bytes. */
export function elementsOf(value: any): ArrayLike<number> {
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
  else if (typeof data === "function")
    return; // no elements
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

export function collect(core: Core, data: any): Uint8Array {
  if (typeof data === "string") return bytesOf(data);
  if (data instanceof core.realm.Uint8Array) return viewBytes(data);
  const out: number[] = [];
  eachByte(core, data, (value) => out.push(value & 255));
  return Uint8Array.from(out);
}

/** What Flash.write, SHA256 and Storage.write make of their argument: the bytes themselves where there are any. */
export function dataOf(core: Core, data: any): Uint8Array {
  if (isBuffer(data)) return viewBytes(data).subarray(0, elementsOf(data).length);
  return collect(core, data);
}

/** Elements as bytes: for CRC32 and base64. */
export function iterateInts(core: Core, data: any): Uint8Array {
  if (typeof data === "string") return bytesOf(data);
  if (data instanceof core.realm.Uint8Array) return viewBytes(data);
  if (isBuffer(data)) return Uint8Array.from(Array.from(elementsOf(data), (n) => toInt(n) & 255));
  const items = core.realm.isArray(data) ? Array.from(data) : Object.values(data);
  return Uint8Array.from(items.map((n) => toInt(n) & 255));
}

/** Elements as numbers; a hole becomes NaN in an array, and is left out of an object. */
export function floatsOf(core: Core, data: any): number[] {
  if (typeof data === "string") return Array.from(bytesOf(data));
  if (isBuffer(data)) return Array.from(elementsOf(data));
  const items = core.realm.isArray(data) ? Array.from(data) : Object.values(data);
  return items.map((n: any) => (n === undefined ? Number.NaN : Number(n)));
}
