// require() and Modules: native libraries, sources that a test or a program added, and Storage files of that name.

import vm from "node:vm";
import { type Core, type Fn, typeName } from "./core.ts";
import type { Files } from "./files.ts";

const NAME_MAX = 128;
const FILE_NAME_MAX = 28;
const NOT_MODELLED = ["heatshrink", "fs", "net", "dgram", "tls", "NetworkJS", "Wifi", "TelnetServer", "neopixel"];

export type ModuleScope = {
  context: vm.Context;
  /** The native ones. */
  libraries: Record<string, object>;
  files: Files;
};

export interface Modules {
  readonly library: Record<string, Fn>;
  /** A source that require finds before Storage; evaluated at the first require. */
  add(name: string, code: string): void;
  require(name: unknown): any;
}

export function createModules(core: Core, scope: ModuleScope): Modules {
  const { realm } = core;
  const sources = new Map<string, string>();
  const cached = new Map<string, any>();

  /** A module's scope is an object that is also its `module`: both `exports = x` and `module.exports = x` work. */
  function evaluateModule(code: string, filename: string): any {
    const text = `(function(exports,module){${code}\n;return exports;})`;
    const fn = vm.runInContext(text, scope.context, { filename }) as Fn;
    const exported = new realm.Object();
    const module = new realm.Object();
    module.exports = exported;
    const local = fn.call(exported, exported, module);
    return local !== exported ? local : module.exports;
  }

  function requireModule(name: unknown): any {
    if (typeof name !== "string")
      throw core.error("TypeError", `Expecting module name as a string, got ${typeName(core, name)}`);
    if (name.length >= NAME_MAX) throw core.error("TypeError", "Module name too long (max 128 chars)");
    if (cached.has(name)) return cached.get(name);
    if (NOT_MODELLED.includes(name) && !sources.has(name)) {
      core.problems.push(`not modelled: require("${name}")`);
      throw core.error("Error", `not modelled: require("${name}")`);
    }
    const file = name.length <= FILE_NAME_MAX ? scope.files.read(name) : undefined;
    const source = sources.get(name) ?? (file && Buffer.from(file).toString("latin1"));
    if (!scope.libraries[name] && source === undefined) throw core.error("Error", `Module "${name}" not found`);
    const exported = scope.libraries[name] ?? evaluateModule(source as string, name);
    cached.set(name, exported);
    core.wake();
    return exported;
  }

  function functionBody(fn: Fn): string {
    const text = Function.prototype.toString.call(fn);
    return text.slice(text.indexOf("{") + 1, text.lastIndexOf("}"));
  }

  const library = {
    addCached: core.native("Modules.addCached", (id, code) => {
      if (typeof id !== "string" || (typeof code !== "string" && typeof code !== "function")) {
        throw core.error("Error", "args must be addCached(string, string|function)");
      }
      cached.set(id, evaluateModule(typeof code === "string" ? code : functionBody(code), id));
    }),
    removeCached: core.native("Modules.removeCached", (id) => {
      if (typeof id !== "string") throw core.error("Error", "First argument must be String");
      if (!cached.delete(id)) throw core.error("Error", `Module "${id}" not found`);
    }),
    getCached: core.native("Modules.getCached", () => {
      const out = new realm.Array();
      for (const id of cached.keys()) out.push(id);
      return out;
    }),
  };

  return {
    library,
    add(name, code) {
      sources.set(name, code);
    },
    require: requireModule,
  };
}
