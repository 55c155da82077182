// Events: every object of the device has on, emit and the rest, and its listeners live in an ordinary enumerable
// property "#on<event>", as in the interpreter. Nothing is called at once: the idle loop does it. There is no `once`.

import { type Core, isArrayBuffer } from "./core.ts";

export const PREFIX = "#on";
const MAX_EMIT_ARGS = 4;

/** The key under which a stream keeps data that came before a `data` listener. */
export const STREAM_BUFFER = Symbol("stream buffer");

function checkParent(core: Core, parent: any): void {
  const holds = (typeof parent === "object" && parent !== null) || typeof parent === "function";
  if (!holds || isArrayBuffer(parent) || ArrayBuffer.isView(parent)) {
    throw core.error("TypeError", "Parent must be an object - not a String, Integer, etc");
  }
}

function checkEvent(core: Core, event: unknown, orUndefined = ""): asserts event is string {
  if (typeof event !== "string") throw core.error("TypeError", `First argument must be String${orUndefined}`);
}

function addListener(core: Core, parent: any, event: unknown, listener: unknown, first: boolean): void {
  checkParent(core, parent);
  checkEvent(core, event);
  if (typeof listener !== "function" && typeof listener !== "string") {
    throw core.error("TypeError", "Second argument must be a function or a String");
  }
  const old = parent[PREFIX + event];
  const list = new core.realm.Array();
  if (first) list.push(listener);
  if (core.realm.isArray(old)) for (const one of old) list.push(one);
  if (!first) list.push(listener);
  // always a new array: a handler added from a handler of the same event is not called this time
  parent[PREFIX + event] = list;
  if (event === "data" && typeof parent[STREAM_BUFFER] === "string") {
    core.queueEvent(parent, "data", [parent[STREAM_BUFFER]]);
    delete parent[STREAM_BUFFER];
  }
}

function emit(core: Core, parent: any, event: unknown, args: unknown[]): void {
  checkParent(core, parent);
  checkEvent(core, event);
  core.queueEvent(parent, event, args.slice(0, MAX_EMIT_ARGS));
  if (args.length > MAX_EMIT_ARGS) throw core.error("TypeError", `Too many arguments (>${MAX_EMIT_ARGS})`);
}

function removeListener(core: Core, parent: any, event: unknown, listener: unknown): void {
  checkParent(core, parent);
  checkEvent(core, event);
  const key = PREFIX + event;
  if (!Object.hasOwn(parent, key)) parent[key] = undefined; // the interpreter leaves an empty slot behind
  const list = parent[key];
  if (!core.realm.isArray(list)) return;
  const at = list.indexOf(listener);
  if (at >= 0) list.splice(at, 1);
}

function removeAllListeners(core: Core, parent: any, event: unknown): void {
  checkParent(core, parent);
  if (event === undefined) {
    for (const key of Object.keys(parent)) if (key.startsWith(PREFIX)) delete parent[key];
    return;
  }
  checkEvent(core, event, " or undefined");
  delete parent[PREFIX + event];
}

/** Listeners of one object, for the leak accounts. */
export function countListeners(object: any): number {
  let count = 0;
  for (const key of Object.keys(object)) {
    if (key.startsWith(PREFIX) && object[key]?.length > 0) count += object[key].length;
  }
  return count;
}

/** Puts the event methods on Object.prototype of the realm, where the interpreter has them. */
export function installEvents(core: Core): void {
  const methods = {
    on: core.native("Object.on", function (this: any, event, listener) {
      addListener(core, this, event, listener, false);
    }),
    prependListener: core.native("Object.prependListener", function (this: any, event, listener) {
      addListener(core, this, event, listener, true);
    }),
    emit: core.native("Object.emit", function (this: any, event, ...args) {
      emit(core, this, event, args);
    }),
    removeListener: core.native("Object.removeListener", function (this: any, event, listener) {
      removeListener(core, this, event, listener);
    }),
    removeAllListeners: core.native("Object.removeAllListeners", function (this: any, event) {
      removeAllListeners(core, this, event);
    }),
  };
  const proto = core.realm.Object.prototype;
  const entries = { ...methods, addListener: methods.on };
  for (const [name, fn] of Object.entries(entries)) {
    Object.defineProperty(proto, name, { value: fn, writable: true, configurable: true, enumerable: false });
  }
}
