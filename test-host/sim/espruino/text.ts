// How the interpreter turns values into text: print() and JSON.stringify.
// Not modelled: its own rounding of numbers with a fraction (0.1+0.2 prints as 0.3 there).

import { type Core, isArrayBuffer, isObject } from "./core.ts";

/** `%v` of the interpreter: the plain string conversion. */
export function describe(core: Core, value: any): string {
  if (isObject(core, value)) {
    const own = value.toString;
    return typeof own === "function" ? String(own.call(value)) : "[object Object]";
  }
  return String(value);
}

function quote(text: string, json: boolean): string {
  let out = '"';
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    const ch = text[i];
    if (code === 8) out += "\\b";
    else if (code === 9) out += "\\t";
    else if (code === 10) out += "\\n";
    else if (code === 13) out += "\\r";
    else if (code === 12 && json) out += "\\f";
    else if (ch === '"' || ch === "\\") out += `\\${ch}`;
    else if (code >= 32 && code < 127) out += ch;
    else if (json) out += `\\u${code.toString(16).toUpperCase().padStart(4, "0")}`;
    else if (code < 8 && !/[0-9]/.test(text[i + 1] ?? "")) out += `\\${code}`;
    else out += `\\x${code.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return `${out}"`;
}

function isSimple(value: unknown): boolean {
  return value === undefined || value === null || typeof value === "number" || typeof value === "boolean";
}

function viewName(value: object): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}

function viewItems(value: any): number[] {
  return Array.from(isArrayBuffer(value) ? new Uint8Array(value) : value);
}

function isView(value: unknown): value is object {
  return ArrayBuffer.isView(value) || isArrayBuffer(value);
}

function prettyItems(core: Core, keys: string[] | undefined, items: unknown[], indent: string): string {
  const inner = `${indent}  `;
  let out = "";
  let needNewLine = false;
  let onLine = 0;
  items.forEach((item, i) => {
    onLine++;
    if (i > 0) out += ", ";
    const newNeeds = !isSimple(item);
    if (keys && onLine > 4) needNewLine = true;
    if (needNewLine || newNeeds) {
      out += `\n${inner}`;
      needNewLine = false;
      onLine = 0;
    }
    if (keys) out += `${quote(keys[i], false)}: `;
    out += pretty(core, item, inner);
    needNewLine = newNeeds;
  });
  return needNewLine ? `${out}\n${indent}` : out;
}

const NATIVE = "function () { [native code] }";

/** "Name: " of an object whose constructor is a global of the program. */
function constructorName(core: Core, value: any): string {
  const proto = Object.getPrototypeOf(value);
  if (proto === null || proto === core.realm.Object.prototype) return "";
  const global = core.realm.global;
  const name = Object.getOwnPropertyNames(global).find((key) => global[key] === proto.constructor);
  return name === undefined ? "" : `${name}: `;
}

function pretty(core: Core, value: any, indent: string): string {
  if (typeof value === "string") return quote(value, false);
  if (typeof value === "function") return value instanceof core.realm.Function ? String(value) : NATIVE;
  if (core.realm.isArray(value)) return `[ ${prettyItems(core, undefined, Array.from(value), indent)} ]`;
  if (isView(value)) {
    const items = viewItems(value);
    const name = viewName(value);
    if (items.every((n) => n === 0)) return `new ${name}(${items.length})`;
    if (name === "ArrayBuffer") return `new Uint8Array([${items.join(", ")}]).buffer`;
    return `new ${name}([${items.join(", ")}])`;
  }
  if (isObject(core, value)) {
    const name = constructorName(core, value);
    const own = value.toString;
    if (name && typeof own === "function" && own !== core.realm.Object.prototype.toString) {
      return name + describe(core, value);
    }
    const keys = Object.keys(value);
    const items = keys.map((key) => value[key]);
    return `${name}{ ${prettyItems(core, keys, items, indent)} }`;
  }
  return String(value);
}

/** The text of print() and console.log(), without the newline. */
export function printed(core: Core, args: unknown[]): string {
  return args.map((arg) => (typeof arg === "string" ? arg : pretty(core, arg, ""))).join(" ");
}

type JsonStyle = {
  /** What one level of indentation is; undefined: everything in one line. */
  space?: string;
  /** Storage.writeJSON: keys bare where they can be, \\xFF rather than \\u00FF. */
  loose?: boolean;
};

function isBareKey(key: string): boolean {
  return /^(\d+|[A-Za-z_$][\w$]*)$/.test(key);
}

function toJson(core: Core, value: any, style: JsonStyle, indent: string): string {
  if (value === undefined) return "null";
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : "null";
  if (typeof value === "string") return quote(value, !style.loose);
  if (typeof value === "function") return "undefined";
  const inner = indent + (style.space ?? "");
  if (core.realm.isArray(value)) {
    const items = Array.from(value, (item) => toJson(core, item, style, inner));
    return enclose("[", items, "]", style, indent);
  }
  if (isView(value)) return enclose("[", viewItems(value).map(String), "]", style, indent);
  if (typeof value.toJSON === "function") return toJson(core, value.toJSON(), style, indent);
  const fields = Object.keys(value)
    .filter((key) => value[key] !== undefined && typeof value[key] !== "function")
    .map((key) => {
      const name = style.loose && isBareKey(key) ? key : quote(key, !style.loose);
      return `${name}:${style.space === undefined ? "" : " "}${toJson(core, value[key], style, inner)}`;
    });
  return enclose("{", fields, "}", style, indent);
}

function enclose(start: string, items: string[], end: string, style: JsonStyle, indent: string): string {
  if (style.space === undefined) return start + items.join(",") + end;
  if (items.length === 0) return `${start}  ${end}`;
  const inner = `\n${indent}${style.space}`;
  return `${start} ${items.map((item) => inner + item).join(", ")}\n${indent} ${end}`;
}

/** JSON.stringify; `space` as there. */
export function stringify(core: Core, value: unknown, space?: unknown): string {
  if (space === undefined || space === null) return toJson(core, value, {}, "");
  const text = typeof space === "number" ? " ".repeat(Math.max(0, Math.min(10, space))) : String(space).slice(0, 9);
  return toJson(core, value, text ? { space: text } : {}, "");
}

/** The form Storage.writeJSON uses, which only the liberal parser reads. */
export function stringifyLoose(core: Core, value: unknown): string {
  return toJson(core, value, { loose: true }, "");
}
