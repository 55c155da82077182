// What the parts of the virtual Espruino share: the realm of the device program, the two queues of the
// interpreter's idle loop, and how a native function is exposed. Source of truth: the behaviour of the real
// interpreter, held by test-host/tests/engine/contract.test.ts.

export type Fn = (...args: any[]) => any;

/** Intrinsics of the device program's own realm: what natives return must be made of these. */
export type Realm = {
  global: any;
  Object: any;
  Array: any;
  Function: any;
  Error: any;
  TypeError: any;
  SyntaxError: any;
  ReferenceError: any;
  InternalError: any;
  Uint8Array: any;
  ArrayBuffer: any;
  isArray(value: unknown): boolean;
  /** The sum of the products of the elements, where `y` is a ring from index `j` on. */
  dot(x: ArrayLike<number>, y: ArrayLike<number>, j: number): number;
  /** The typed array constructors before they were made to behave like the interpreter's. */
  natives: Record<string, any>;
};

export type ErrorKind = "Error" | "TypeError" | "SyntaxError" | "ReferenceError" | "InternalError";

export type Timer = {
  id: number;
  dueMs: number;
  intervalMs?: number;
  callback: unknown;
  args: unknown[];
  pass: number;
};

export interface Core {
  readonly realm: Realm;
  stopped: boolean;
  /** Text of the program's prints; a line is complete when its newline came. */
  print(text: string): void;
  readonly problems: string[];
  /** Wraps a host function as a native: counted, refused after power off, `undefined` when out of memory. */
  native(name: string, fn: Fn): Fn;
  /** Counts a call of `name`, for a call that is not of a plain function; true when it is to run out of memory. */
  fails(name: string): boolean;
  /** An error of the program's realm. */
  error(kind: ErrorKind, message: string): Error;
  /** Queue for the next idle pass: a function, program text, or an array of these. */
  queue(thisArg: unknown, callback: unknown, args: unknown[]): void;
  /** Queue the listeners that `object` has now for `event`, if any. */
  queueEvent(object: any, event: string, args: unknown[]): void;
  /** Call now; a throw is kept as the pending uncaught error. False when there is nothing to call. */
  execute(thisArg: unknown, callback: unknown, args: unknown[]): boolean;
  /** Take over the pending uncaught error, as the engine's promises do by mistake. */
  takePending(): { error: unknown } | undefined;
  /** Note an error that nobody catches, as the interpreter does outside a function. */
  uncaught(error: unknown): void;
  /** As `uncaught`, for what the engine itself throws: printed, but no problem of the program. */
  reportError(error: unknown): void;
  /** Raise one of the interpreter's error flags; it is printed once. */
  errorFlag(name: string): void;
  /** Ask for an idle pass. */
  wake(): void;
  nowMs(): number;
}

/** Thrown to unwind a program whose device has lost power; never reported. */
export const POWER_OFF = new Error("power off");

/** `obj` whose unknown properties throw, so that a missing model is never taken for a missing feature. */
export function strict<T extends object>(core: Core, name: string, obj: T, absent: string[] = []): T {
  const quiet = new Set(["then", "toJSON", "constructor", "inspect", ...absent]);
  return new Proxy(obj, {
    get(target, key, receiver) {
      if (typeof key === "symbol" || key in target || key.startsWith("#on") || quiet.has(key)) {
        return Reflect.get(target, key, receiver);
      }
      const message = `not modelled: ${name}.${key}`;
      core.problems.push(message);
      throw core.error("Error", message);
    },
  });
}

/** What the interpreter calls the type of a value in its messages. */
export function typeName(core: Core, value: any): string {
  if (value === undefined) return "undefined";
  if (value === null) return "null";
  if (typeof value === "string") return "String";
  if (typeof value === "number" || typeof value === "boolean") return "Number";
  if (typeof value === "function") return "Function";
  if (core.realm.isArray(value)) return "Array";
  if (ArrayBuffer.isView(value) || isArrayBuffer(value)) return Object.prototype.toString.call(value).slice(8, -1);
  return "Object";
}

export function isArrayBuffer(value: unknown): value is ArrayBuffer {
  return Object.prototype.toString.call(value) === "[object ArrayBuffer]";
}

/** What the interpreter itself calls an object: not an array, not a function, not a buffer. */
export function isObject(core: Core, value: any): boolean {
  return (
    typeof value === "object" &&
    value !== null &&
    !core.realm.isArray(value) &&
    !ArrayBuffer.isView(value) &&
    !isArrayBuffer(value)
  );
}

/** Binary string to bytes: one byte per character, as on a build without Unicode. */
export function bytesOf(text: string): Uint8Array {
  return Buffer.from(text, "latin1");
}

export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

/** The interpreter's conversion to an integer: text is parsed, anything else without a number is 0. */
export function toInt(value: any): number {
  if (typeof value === "string") {
    const n = Number(value.trim() === "" ? 0 : value);
    const parsed = Number.isNaN(n) ? Number.parseInt(value, 10) : n;
    return Number.isNaN(parsed) ? 0 : Math.trunc(parsed);
  }
  if (typeof value === "number") return Number.isFinite(value) ? Math.trunc(value) : 0;
  return value === true ? 1 : 0;
}
