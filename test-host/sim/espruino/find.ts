// Searching in text as the interpreter does since 2v29 (src/jswrap_string.c). Its forward search does not stop where the
// needle no longer fits, and its comparison ends with either text: the beginning of a needle counts as the needle at the
// end of a text. A needle of one character has no such beginning.
// Not modelled: replaceAll of an empty needle, which never ends there.

import type { Core, Fn } from "./core.ts";
import { toInt } from "./core.ts";

const isNumeric = (value: unknown): boolean => typeof value === "number" || typeof value === "boolean";

function clip(value: number, max: number): number {
  return Math.max(0, Math.min(max, value));
}

function find(text: string, needle: string, from: unknown): number {
  const lastFit = text.length - needle.length;
  if (lastFit < 0) return -1;
  const start = isNumeric(from) ? clip(toInt(from), lastFit + 1) : 0;
  if (start >= text.length) return -1;
  const whole = text.indexOf(needle, start);
  if (whole >= 0) return whole;
  for (let i = Math.max(start, lastFit + 1); i < text.length; i++) if (needle.startsWith(text.slice(i))) return i;
  return -1;
}

/** Backwards the search begins where the needle fits. */
function findLast(text: string, needle: string, from: unknown): number {
  const lastFit = text.length - needle.length;
  if (lastFit < 0) return -1;
  return text.lastIndexOf(needle, isNumeric(from) ? clip(toInt(from), lastFit) : lastFit);
}

/** `$` means nothing here, and a function is its text. */
function replace(text: string, needle: string, by: string, all: boolean): string {
  let out = text;
  let at = find(out, needle, undefined);
  while (at >= 0) {
    out = out.slice(0, at) + by + out.slice(at + needle.length);
    at = all ? find(out, needle, at + by.length) : -1;
  }
  return out;
}

export function installFind(core: Core): void {
  const { realm } = core;
  const proto = realm.global.String.prototype;
  const isPattern = (value: unknown): boolean => value instanceof realm.global.RegExp;
  const add = (name: string, fn: Fn): void => {
    Object.defineProperty(proto, name, { value: fn, writable: true, configurable: true, enumerable: false });
  };
  add("indexOf", function (this: unknown, needle, from) {
    return find(String(this), String(needle), from);
  });
  add("lastIndexOf", function (this: unknown, needle, from) {
    return findLast(String(this), String(needle), from);
  });
  add("includes", function (this: unknown, needle, from) {
    return find(String(this), String(needle), from) >= 0;
  });
  for (const name of ["replace", "replaceAll"]) {
    const native = proto[name];
    add(name, function (this: unknown, needle, by) {
      if (isPattern(needle)) return native.call(this, needle, by);
      const all = name === "replaceAll";
      if (all && String(needle) === "") {
        core.problems.push("not modelled: replaceAll of an empty text");
        throw core.error("Error", "not modelled: replaceAll of an empty text");
      }
      return replace(String(this), String(needle), String(by), all);
    });
  }
  const { match, split } = proto;
  add("match", function (this: unknown, needle) {
    if (needle === undefined || isPattern(needle)) return needle && match.call(this, needle);
    const index = find(String(this), String(needle), undefined);
    if (index < 0) return null;
    const out = new realm.Array();
    out.push(String(needle));
    // input is the needle there
    return Object.assign(out, { index, input: String(needle) });
  });
  add("split", function (this: unknown, separator) {
    if (separator === undefined || isPattern(separator)) return split.call(this, separator);
    // a separator that is longer by more than one character gives no piece at all
    if (String(separator).length > String(this).length + 1) return new realm.Array();
    return split.call(this, String(separator));
  });
}
