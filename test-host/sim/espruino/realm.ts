// The realm of the device program: a fresh vm context cut down to what the interpreter has.
//
// Not modelled, because a JavaScript engine cannot be changed that far. The tests in the real interpreter and es5.mjs
// cover these differences:
// - Language: functions and `var` are hoisted here and not there; labels, `case` after `default`, spread, default
//   parameters, `?.`, `**`, classes that extend natives and strict mode work here; `return` and newline.
// - Objects: `arr.length = n` throws there; `X.prototype.y` of a native is undefined there; keys that look like
//   integers keep their place there; an object made by JSON.parse or of headers can hold two equal keys (the first is
//   found); non-enumerable properties do not exist there; natives are functions of this realm there.
// - Text: an index below -1 throws there, as -1 does; regular expressions are far weaker there; numbers with many
//   digits become other text (0.1 + 0.2 is "0.3"); characters above 255; E.toString(array) shares the array's memory
//   there and is a copy here, so a later change of the array shows in the text only there.
// - Bytes: views at odd offsets are refused here; a view beyond its buffer is a copy here; BYTES_PER_ELEMENT of an
//   instance. `char` is unsigned as on the ESP32; the Linux build, where it is signed, is not asked about that.
// - Memory: only the `oom` hook makes a native fail. Time: an interpreter is slow, V8 is not.
// - Messages of what V8 itself throws.

import vm from "node:vm";
import { GLOBALS, INSTANCE, STATICS, TYPED_ARRAYS } from "./builtins.ts";
import type { Realm } from "./core.ts";

const MAX_APPLY_ARGS = 256;

/** What stays, as program text. */
const KEPT = JSON.stringify({ typed: TYPED_ARRAYS, instance: INSTANCE, statics: STATICS, globals: GLOBALS });

// runs inside each context, and is compiled once
const BOOT = new vm.Script(`(function (maxArgs) {
  "use strict";
  var isProto = Object.prototype.isPrototypeOf;
  var realm = { global: globalThis, Object, Array, Function, Error, TypeError, SyntaxError, ReferenceError,
    Uint8Array, ArrayBuffer, isArray: Array.isArray, natives: {} };
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
  // Number without what came after ES5, which cannot be deleted
  var NativeNumber = Number;
  function DeviceNumber(value) {
    return arguments.length ? NativeNumber(value) : 0;
  }
  DeviceNumber.prototype = NativeNumber.prototype;
  Object.defineProperty(DeviceNumber.prototype, "constructor", { value: DeviceNumber });
  ["MAX_VALUE", "MIN_VALUE", "NaN", "NEGATIVE_INFINITY", "POSITIVE_INFINITY"].forEach(function (key) {
    Object.defineProperty(DeviceNumber, key, { value: NativeNumber[key] });
  });
  globalThis.Number = DeviceNumber;
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
  // the commonest index below 0; there each one throws, also on typed arrays, whose prototype V8 does not ask
  Object.defineProperty(String.prototype, "-1", { get: function () {
    throw realm.Error('Field or method "-1" does not already exist, and can\\'t create it on String');
  } });
  var apply = Function.prototype.apply, call = Function.prototype.call;
  var limited = function (self, args) {
    if (args !== undefined && args !== null && args.length > maxArgs) {
      throw realm.Error("Array passed to Function.apply is too big! Maximum " + maxArgs + " arguments, got " + args.length);
    }
    return call.call(apply, this, self, args);
  };
  Object.defineProperty(Function.prototype, "apply", { value: limited, writable: true, configurable: true });
  // in here V8 makes fast code of it: a function of the host sees the arrays of too many realms
  realm.dot = function (x, y, j) {
    for (var i = 0, sum = 0; i < x.length; i++) {
      sum += x[i] * y[j];
      j = j + 1 === y.length ? 0 : j + 1;
    }
    return sum;
  };
  // takes everything away that the interpreter does not have; from in here, as each access from outside is slow
  (function prune(kept) {
    var names = Object.getOwnPropertyNames, describe = Object.getOwnPropertyDescriptor;
    var root = globalThis, typed = Object.getPrototypeOf(Uint8Array.prototype);
    function keep(target, list, always) {
      var stays = Object.create(null), all = names(target), i, descriptor;
      for (i = 0; i < list.length; i++) stays[list[i]] = true;
      for (i = 0; i < always.length; i++) stays[always[i]] = true;
      for (i = 0; i < all.length; i++) if (!stays[all[i]]) {
        descriptor = describe(target, all[i]);
        if (descriptor && descriptor.configurable) delete target[all[i]];
      }
    }
    var always = ["constructor", "prototype", "length"], name;
    kept.typed.forEach(function (name) { keep(root[name].prototype, [], always); });
    keep(typed, kept.instance.TypedArray, always);
    for (name in kept.instance) if (root[name]) keep(root[name].prototype, kept.instance[name], always);
    for (name in kept.statics) if (root[name]) keep(root[name], kept.statics[name], always);
    keep(root, kept.globals, []);
  })(${KEPT});
  return realm;
})`);

export function createRealm(): { realm: Realm; context: vm.Context } {
  const context = vm.createContext(Object.create(null));
  const boot = BOOT.runInContext(context) as (maxArgs: number) => Realm;
  const realm = boot(MAX_APPLY_ARGS);
  for (const name of ["Error", "TypeError", "SyntaxError", "ReferenceError", "InternalError"] as const) {
    define(context, name, realm[name]);
  }
  return { realm, context };
}

export function define(target: any, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: false });
}
