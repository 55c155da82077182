// JSON.parse. The interpreter uses its own lexer, so comments, single quotes and 0x numbers pass, a comma may trail,
// anything after the value is ignored, and of two equal keys the FIRST is the one that is found.

import type { Core } from "./core.ts";
import { describe } from "./text.ts";

type Token = {
  kind: "EOF" | "INT" | "FLOAT" | "STRING" | "UNFINISHED STRING" | "ID" | "CHAR" | "OPERATOR";
  text: string;
};

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
      // the prototype; anything but an object has no properties to be found there
      if (key === "__proto__") {
        if (typeof item === "object" && item !== null) Object.setPrototypeOf(out, item);
      } else if (!Object.hasOwn(out, key)) {
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
