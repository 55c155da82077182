// The realm of the device program: a fresh vm context cut down to what the interpreter has.
//
// Not modelled, because JavaScript engines do not let themselves be bent that far (the real interpreter tests catch it):
// functions and `var` are hoisted here and not there; labels, `case` after `default`, spread, default parameters,
// `?.`, `**`, classes that extend natives and strict mode parse here; `return` + newline; `arr.length = n` throws
// there; `X.prototype.y` of a native is undefined there; regular expressions are far weaker there; `split(sep,
// limit)` ignores the limit; non-enumerable properties do not exist; number to text rounds differently; an object
// keeps both of two equal keys after JSON.parse; `delete`, getters and property order in exotic cases; strings with
// characters above 255; memory: only the `oom` hook makes a native fail, `new Uint8Array(n)` always succeeds.

import vm from "node:vm";
import { GLOBALS, INSTANCE, STATICS, TYPED_ARRAYS } from "./builtins.ts";
import type { Realm } from "./core.ts";

const MAX_APPLY_ARGS = 256;

// runs inside the context, before anything is taken away
const BOOT = `(function (maxArgs) {
  "use strict";
  var isProto = Object.prototype.isPrototypeOf;
  var realm = { global: globalThis, Object, Array, Function, Error, TypeError, SyntaxError, ReferenceError,
    Uint8Array, ArrayBuffer, isArray: Array.isArray };
  // errors: own enumerable message, type and stack, and no name; only Error itself is an Error. What V8 throws for
  // undefined.x or a missing function is an Error there and a TypeError here: it has no type of its own and counts
  // as an Error.
  function makeError(Native, type, nativeType) {
    function E(message) {
      var e = new Native(), stack = e.stack;
      delete e.stack;
      if (message !== undefined) e.message = String(message);
      e.type = type;
      e.stack = stack;
      return e;
    }
    E.prototype = Native.prototype;
    Object.defineProperty(E, Symbol.hasInstance, { value: function (e) {
      return e !== null && typeof e === "object" && isProto.call(Native.prototype, e) && e.type === type;
    } });
    Object.defineProperty(E.prototype, "constructor", { value: E, writable: true, configurable: true });
    Object.defineProperty(E.prototype, "type", { value: nativeType, writable: true, configurable: true });
    delete E.prototype.name;
    delete E.prototype.message;
    return E;
  }
  class Internal extends Error {}
  realm.Error = makeError(Error, "Error", "Error");
  realm.TypeError = makeError(TypeError, "TypeError", "Error");
  realm.SyntaxError = makeError(SyntaxError, "SyntaxError", "SyntaxError");
  realm.ReferenceError = makeError(ReferenceError, "ReferenceError", "ReferenceError");
  realm.InternalError = makeError(Internal, "InternalError", "InternalError");
  Object.defineProperty(Error.prototype, "toString", { writable: true, configurable: true, value: function () {
    return (this.type === undefined ? "Error" : this.type) + (this.message === undefined ? "" : ": " + this.message);
  } });
  // text: ASCII only
  function ascii(name, from, delta) {
    Object.defineProperty(String.prototype, name, { writable: true, configurable: true, value: function () {
      var s = String(this), out = "", i, c;
      for (i = 0; i < s.length; i++) {
        c = s.charCodeAt(i);
        out += c >= from && c < from + 26 ? String.fromCharCode(c + delta) : s[i];
      }
      return out;
    } });
  }
  ascii("toUpperCase", 97, -32);
  ascii("toLowerCase", 65, 32);
  var apply = Function.prototype.apply, call = Function.prototype.call;
  var limited = function (self, args) {
    if (args !== undefined && args !== null && args.length > maxArgs) {
      throw realm.Error("Array passed to Function.apply is too big! Maximum " + maxArgs + " arguments, got " + args.length);
    }
    return call.call(apply, this, self, args);
  };
  Object.defineProperty(Function.prototype, "apply", { value: limited, writable: true, configurable: true });
  return realm;
})`;

function prune(target: any, keep: string[]): void {
  for (const key of Object.getOwnPropertyNames(target)) {
    if (keep.includes(key) || key === "constructor" || key === "prototype" || key === "length") continue;
    const descriptor = Object.getOwnPropertyDescriptor(target, key);
    if (descriptor?.configurable) delete target[key];
  }
}

function pruneRealm(global: any): void {
  const typed = Object.getPrototypeOf(global.Uint8Array.prototype);
  for (const name of TYPED_ARRAYS) prune(global[name].prototype, []);
  prune(typed, INSTANCE.TypedArray);
  for (const [name, keep] of Object.entries(INSTANCE)) if (global[name]) prune(global[name].prototype, keep);
  for (const [name, keep] of Object.entries(STATICS)) if (global[name]) prune(global[name], keep);
  for (const key of Object.getOwnPropertyNames(global)) if (!GLOBALS.includes(key)) delete global[key];
}

export function createRealm(): { realm: Realm; context: vm.Context } {
  const context = vm.createContext(Object.create(null));
  const boot = vm.runInContext(BOOT, context) as (maxArgs: number) => Realm;
  const realm = boot(MAX_APPLY_ARGS);
  const global = vm.runInContext("globalThis", context);
  pruneRealm(global);
  for (const name of ["Error", "TypeError", "SyntaxError", "ReferenceError", "InternalError"] as const) {
    define(global, name, realm[name]);
  }
  return { realm, context };
}

export function define(target: any, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: false });
}
