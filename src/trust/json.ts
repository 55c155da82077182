// Parses one JSON object more strictly than the engine's own parser. Pure.

import { Code, otaError } from "../errors";

/** Throws INVALID_RESPONSE; `fact` says what is wrong in the manifest. */
export function refuse(fact: string): never {
  throw otaError(Code.INVALID_RESPONSE, "manifest: " + fact);
}

function notJson(at: number): never {
  return refuse("invalid JSON at byte " + at);
}

function isDigits(text: string): boolean {
  for (let i = 0; i < text.length; i++) if ("0123456789".indexOf(text[i]) < 0) return false;
  return text.length > 0;
}

/** true, false, null, or a number without exponent: -?(0|[1-9][0-9]*)(\.[0-9]+)? */
function isLiteral(text: string): boolean {
  if (text === "true" || text === "false" || text === "null") return true;
  const digits = text[0] === "-" ? text.substr(1) : text;
  const dot = digits.indexOf(".");
  const whole = dot < 0 ? digits : digits.substr(0, dot);
  return isDigits(whole) && (whole[0] !== "0" || whole.length === 1) && (dot < 0 || isDigits(digits.substr(dot + 1)));
}

/** Index of the quote that ends the string; its first quote is at `start`. */
function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const c = text[i];
    if (c === '"') return i;
    if (text.charCodeAt(i) < 32) break;
    if (c !== "\\") continue;
    const escaped = text[++i] || " ";
    if ('"\\/bfnrtu'.indexOf(escaped) < 0) break;
    if (escaped === "u")
      for (const last = i + 4; i < last; i++)
        if ("0123456789abcdefABCDEF".indexOf(text[i + 1] || " ") < 0) return notJson(i);
  }
  return notJson(start);
}

/** Which tokens may come next, by their first characters; "a" stands for a word or a number. */
const enum Next {
  KEY = '"',
  KEY_OR_END = '"}',
  VALUE = '"{[a',
  VALUE_OR_END = '"{[a]',
}

/**
 * JSON.parse of one object, which must be valid by RFC 8259. It may not have a key twice, an escape in a key, a key
 * __proto__ or an exponent: the engine's own parser accepts comments, trailing garbage and more, which another parser may
 * read differently.
 * More than 30 lines: one loop over the text, whose state is in its variables.
 */
export function parseJson(text: string): any {
  const open: (string[] | null)[] = []; // keys of each open object, null for an open array
  let next = "{"; // the tokens that may come: Next, or others
  let i = 0;
  while (i < text.length) {
    const start = i++;
    const c = text[start];
    const keys = open[open.length - 1];
    const isKey = next === Next.KEY || next === Next.KEY_OR_END;
    if (open.length && " \t\r\n".indexOf(c) >= 0) continue;
    const token = '"{}[],:'.indexOf(c) < 0 ? "a" : c;
    if (next.indexOf(token) < 0) notJson(start);
    if (token === ":") next = Next.VALUE;
    else if (token === ",") next = keys ? Next.KEY : Next.VALUE;
    else if (token === "{" || token === "[") {
      open.push(token === "{" ? [] : null);
      next = token === "{" ? Next.KEY_OR_END : Next.VALUE_OR_END;
    } else {
      if (token === '"') i = endOfString(text, start) + 1;
      else if (token === "a") {
        while (i < text.length && " \t\r\n,]}".indexOf(text[i]) < 0) i++;
        if (!isLiteral(text.substring(start, i))) notJson(start);
      } else open.pop();
      next = open.length ? (open[open.length - 1] ? ",}" : ",]") : "";
      if (isKey && token === '"') {
        const key = text.substring(start + 1, i - 1);
        if (key.indexOf("\\") >= 0) refuse("key " + key + " has an escape");
        if (keys!.indexOf(key) >= 0) refuse("key " + key + " comes twice");
        // the engine's parser would turn its value into the prototype of the object
        if (key === "__proto__") refuse("key __proto__ is not allowed");
        keys!.push(key);
        next = ":";
      }
    }
  }
  if (!i || open.length) refuse("expected a whole JSON object");
  return JSON.parse(text);
}
