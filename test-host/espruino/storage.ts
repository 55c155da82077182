// require("Storage"): files of a fixed size in flash; what was not written is 0xFF. They survive a restart, so the
// device owns them. Not modelled: how much fits, compaction, and open() with its chunked files.

import { bytesOf, type Core, type Fn, isObject, textOf, toInt } from "./core.ts";
import { dataOf, makeArrayBuffer } from "./data.ts";
import { parseJson } from "./json.ts";
import { stringify, stringifyLoose } from "./text.ts";

const NAME_MAX = 28;

export function makeStorage(core: Core, files: Map<string, Uint8Array>): object {
  const nameOf = (name: any): string => textOf(bytesOf(String(name))).slice(0, NAME_MAX);
  const fail = (message: string): never => {
    throw core.error("Error", message);
  };
  function write(name: any, data: any, offset: any, size: any): boolean {
    if (data === undefined) fail("Can't get pointer to data to write");
    const isJson = isObject(core, data);
    const bytes = isJson ? bytesOf(stringify(core, data)) : dataOf(core, data);
    const at = isJson ? 0 : toInt(offset);
    let length = isJson ? 0 : toInt(size);
    if (at < 0 || length < 0) return false;
    if (length === 0) length = bytes.length;
    if (length === 0) fail("Can't create zero length file");
    const key = nameOf(name);
    let file = files.get(key);
    if (at === 0 && !(file && file.length === length && file.every((b) => b === 255))) {
      file = new Uint8Array(length).fill(255);
      files.delete(key);
      files.set(key, file);
    }
    if (!file) return fail("Unable to find or create file");
    if (at + bytes.length > file.length) return fail("Too much data for file size");
    if (file.subarray(at, at + bytes.length).some((b) => b !== 255)) {
      return fail("File already written with different data");
    }
    file.set(bytes, at);
    return true;
  }
  function read(name: any, offset: any, length: any): string | undefined {
    const file = files.get(nameOf(name));
    if (!file) return undefined;
    const from = Math.max(0, toInt(offset));
    const n = toInt(length);
    return textOf(file.subarray(from, n <= 0 ? undefined : from + n));
  }
  function readJson(name: any, quiet: any): unknown {
    const text = read(name, 0, 0);
    if (text === undefined) return undefined;
    try {
      return parseJson(core, text, true);
    } catch (error) {
      if (quiet) return undefined;
      throw error;
    }
  }
  const natives: Record<string, Fn> = {
    write,
    read,
    writeJSON: (name, data) => write(name, stringifyLoose(core, data), 0, 0),
    readJSON: readJson,
    readArrayBuffer(name) {
      const file = files.get(nameOf(name));
      return file && makeArrayBuffer(core, file);
    },
    erase(name) {
      files.delete(nameOf(name));
    },
    eraseAll: () => files.clear(),
    list(regex) {
      const out = new core.realm.Array();
      for (const name of files.keys()) if (regex === undefined || name.match(regex)) out.push(name);
      return out;
    },
    compact: () => undefined,
  };
  const library: Record<string, Fn> = {};
  for (const [name, fn] of Object.entries(natives)) library[name] = core.native(`Storage.${name}`, fn);
  return library;
}
