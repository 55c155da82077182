// How the interpreter turns values into text, and its JSON: print(), JSON.stringify and JSON.parse.
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

function pretty(core: Core, value: any, indent: string): string {
  if (typeof value === "string") return quote(value, false);
  if (typeof value === "function") return String(value);
  if (core.realm.isArray(value)) return `[ ${prettyItems(core, undefined, Array.from(value), indent)} ]`;
  if (isView(value)) {
    const items = viewItems(value);
    const name = viewName(value);
    if (items.every((n) => n === 0)) return `new ${name}(${items.length})`;
    if (name === "ArrayBuffer") return `new Uint8Array([${items.join(", ")}]).buffer`;
    return `new ${name}([${items.join(", ")}])`;
  }
  if (isObject(core, value)) {
    if (value instanceof core.realm.Error) return `Error: ${describe(core, value)}`;
    const keys = Object.keys(value);
    const items = keys.map((key) => value[key]);
    return `{ ${prettyItems(core, keys, items, indent)} }`;
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

// --- JSON.parse: the interpreter uses its own lexer, so comments, single quotes and 0x numbers pass, a comma may
// trail, anything after the value is ignored, and of two equal keys the FIRST is the one that is found.

type Token = { kind: "EOF" | "INT" | "FLOAT" | "STRING" | "UNFINISHED STRING" | "ID" | "CHAR" | "OPERATOR"; text: string };

const RESERVED: Record<string, boolean | null> = { true: true, false: false, null: null };

function skipSpace(text: string, from: number): number {
  let at = from;
  for (;;) {
    while (at < text.length && " \t\n\r\v\f".includes(text[at])) at++;
    if (text.startsWith("//", at)) {
      while (at < text.length && text[at] !== "\n") at++;
    } else if (text.startsWith("/*", at)) {
      const end = text.indexOf("*/", at + 2);
      at = end < 0 ? text.length : end + 2;
    } else return at;
  }
}

const ESCAPES: Record<string, string> = { n: "\n", r: "\r", t: "\t", b: "\b", f: "\f", v: "\v" };

function lexEscape(text: string, at: number): { ch: string; next: number } {
  const c = text[at];
  if (c === undefined) return { ch: "", next: at };
  if (ESCAPES[c]) return { ch: ESCAPES[c], next: at + 1 };
  const digits = c === "x" ? 2 : c === "u" ? 4 : 0;
  if (digits) {
    const code = Number.parseInt(text.slice(at + 1, at + 1 + digits), 16);
    return { ch: String.fromCharCode(Number.isNaN(code) ? 0 : code), next: at + 1 + digits };
  }
  const octal = /^[0-7]{1,3}/.exec(text.slice(at, at + 3));
  if (octal) return { ch: String.fromCharCode(Number.parseInt(octal[0], 8) & 255), next: at + octal[0].length };
  return { ch: c, next: at + 1 };
}

function lexString(text: string, from: number): { token: Token; next: number } {
  const end = text[from];
  let at = from + 1;
  let out = "";
  while (at < text.length && text[at] !== end) {
    if (text[at] === "\\") {
      const e = lexEscape(text, at + 1);
      out += e.ch;
      at = e.next;
    } else if (text[at] === "\n") break;
    else out += text[at++];
  }
  const done = text[at] === end;
  return { token: { kind: done ? "STRING" : "UNFINISHED STRING", text: out }, next: done ? at + 1 : at };
}

function lexNumber(text: string, from: number): { token: Token; next: number } {
  const rest = text.slice(from, from + 400);
  const radix = /^0[xX][0-9a-fA-F]*|^0[oO][0-7]*|^0[bB][01]*|^0[0-7]+(?![.eE89])/.exec(rest);
  if (radix) return { token: { kind: "INT", text: radix[0] }, next: from + radix[0].length };
  const m = /^(\d*)(\.\d*)?([eE][+-]?\d*)?/.exec(rest) as RegExpExecArray;
  const kind = m[2] === undefined && m[3] === undefined ? "INT" : "FLOAT";
  return { token: { kind, text: m[0] }, next: from + m[0].length };
}

function lex(text: string, from: number): { token: Token; next: number } {
  const at = skipSpace(text, from);
  const c = text[at];
  if (c === undefined || c === "\0") return { token: { kind: "EOF", text: "" }, next: at };
  if (c === '"' || c === "'" || c === "`") return lexString(text, at);
  if (/[0-9]/.test(c) || (c === "." && /[0-9]/.test(text[at + 1] ?? ""))) return lexNumber(text, at);
  const id = /^[A-Za-z_$][\w$]*/.exec(text.slice(at, at + 300));
  if (id) return { token: { kind: "ID", text: id[0] }, next: at + id[0].length };
  if (text.startsWith("--", at)) return { token: { kind: "OPERATOR", text: "--" }, next: at + 2 };
  return { token: { kind: "CHAR", text: c }, next: at + 1 };
}

const KEYWORDS = new Set(
  (
    "if else do while for of return function var let const break continue new in instanceof class extends super " +
    "static this switch case default try catch finally throw typeof void delete debugger true false null undefined"
  ).split(" "),
);

function tokenName(token: Token): string {
  if (token.kind === "CHAR") return `'${token.text}'`;
  if (token.kind === "OPERATOR" || (token.kind === "ID" && KEYWORDS.has(token.text))) return token.text;
  return token.kind;
}

/** As tokenName, with the text of an identifier or string: the form of "Got X expected Y". */
function tokenFull(token: Token): string {
  if (token.kind === "ID" && !KEYWORDS.has(token.text)) return `ID:${token.text}`;
  if (token.kind === "STRING") return `String:'${token.text}'`;
  return tokenName(token);
}

const FAILED = Symbol("failed");

/**
 * JSON.parse of the interpreter; `undefined` without a throw where it gives that. `liberal`: keys need no quotes, as
 * Storage.readJSON allows.
 */
export function parseJson(core: Core, input: unknown, liberal = false): unknown {
  const text = describe(core, input);
  let { token, next } = lex(text, 0);

  function advance(): void {
    ({ token, next } = lex(text, next));
  }
  function match(ch: string): void {
    if (token.kind !== "CHAR" || token.text !== ch) {
      throw core.error("SyntaxError", `Got ${tokenFull(token)} expected '${ch}'`);
    }
    advance();
  }
  function isChar(ch: string): boolean {
    return token.kind === "CHAR" && token.text === ch;
  }
  function number(): number {
    const value = token.kind === "INT" ? intOf(token.text) : Number.parseFloat(token.text);
    advance();
    return value;
  }
  function array(): unknown {
    const out = new core.realm.Array();
    advance();
    while (!isChar("]")) {
      const item = value();
      if (item === FAILED) return FAILED;
      if (!isChar("]")) match(",");
      out.push(item);
    }
    match("]");
    return out;
  }
  function object(): unknown {
    const out = new core.realm.Object();
    advance();
    while (token.kind === "STRING" || token.kind === "INT" || token.kind === "ID") {
      if (token.kind !== "STRING" && !liberal) {
        throw core.error("SyntaxError", `Got ${tokenFull(token)} expected STRING`);
      }
      const key = token.text;
      advance();
      match(":");
      const item = value();
      if (item === FAILED) return FAILED;
      if (!isChar("}")) match(",");
      if (!Object.hasOwn(out, key) && key !== "__proto__") {
        Object.defineProperty(out, key, { value: item, enumerable: true, writable: true, configurable: true });
      }
    }
    match("}");
    return out;
  }
  function value(): unknown {
    if (token.kind === "ID" && Object.hasOwn(RESERVED, token.text)) {
      const word = RESERVED[token.text];
      advance();
      return word;
    }
    if (isChar("-")) {
      advance();
      if (token.kind !== "INT" && token.kind !== "FLOAT") return FAILED;
      return 0 - number();
    }
    if (token.kind === "INT" || token.kind === "FLOAT") return number();
    if (token.kind === "STRING") {
      const s = token.text;
      advance();
      return s;
    }
    if (isChar("[")) return array();
    if (isChar("{")) return object();
    throw core.error("SyntaxError", `Expecting valid value, got ${tokenName(token)}`);
  }

  const result = value();
  return result === FAILED ? undefined : result;
}

function intOf(text: string): number {
  const n = Number(/^0[0-7]/.test(text) ? `0o${text}` : text);
  if (Number.isNaN(n)) return 0;
  return n >= 2 ** 63 ? Number(BigInt.asIntN(64, BigInt(text))) : n;
}
