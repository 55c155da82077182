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

/** Bytes that grow at their end. */
type Bytes = { held: Uint8Array; length: number };

/** Adds the items, each cut to 8 bits. */
function append(bytes: Bytes, items: ArrayLike<number>): void {
  const length = bytes.length + items.length;
  if (length > bytes.held.length) {
    const larger = new Uint8Array(2 * length);
    larger.set(bytes.held);
    bytes.held = larger;
  }
  bytes.held.set(items, bytes.length);
  bytes.length = length;
}

/**
 * The interpreter's walk over "anything with data": numbers, text, arrays of these, buffers, {data, count} and
 * {callback}.
 */
function appendData(core: Core, data: any, bytes: Bytes): void {
  if (typeof data === "number" || typeof data === "boolean") append(bytes, [toInt(data)]);
  else if (typeof data === "string") append(bytes, bytesOf(data));
  else if (isBuffer(data)) append(bytes, elementsOf(data));
  else if (core.realm.isArray(data)) for (let i = 0; i < data.length; i++) appendData(core, data[i], bytes);
  else if (isObject(core, data)) appendObject(core, data, bytes);
  else if (typeof data === "function")
    return; // no elements
  else throw core.error("TypeError", `Expecting Number or iterable, got ${typeName(core, data)}`);
}

function appendObject(core: Core, data: any, bytes: Bytes): void {
  if (typeof data.callback === "function") {
    const result = data.callback();
    if (result !== undefined) appendData(core, result, bytes);
    return;
  }
  if (typeof data.count === "number" && data.data !== undefined) {
    for (let n = toInt(data.count); n > 0; n--) appendData(core, data.data, bytes);
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
  const bytes = { held: new Uint8Array(64), length: 0 };
  appendData(core, data, bytes);
  return bytes.held.slice(0, bytes.length);
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
