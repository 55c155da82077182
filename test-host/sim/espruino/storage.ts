// require("Storage"): what src/jswrap_storage.c makes of its arguments; the files themselves are in files.ts. The string
// that read() gives is a copy: the interpreter's own shows the flash as it is at any time.
// Not modelled: open() with its chunked files, debug(), optimise().

import { crc32 } from "node:zlib";
import { bytesOf, type Core, type Fn, isObject, textOf, toInt } from "./core.ts";
import { FLAG, type Header, nameOf } from "./chain.ts";
import { dataOf } from "./data.ts";
import { type Files, StorageError } from "./files.ts";
import { parseJson } from "./json.ts";
import { stringify, stringifyLoose } from "./text.ts";

const HASH_START = 0xabcddcba;

export function makeStorage(core: Core, files: Files, onWrite: (name: string) => void = () => {}): object {
  const nameFrom = (name: any): string => textOf(bytesOf(String(name)));
  const fail = (message: string): never => {
    throw core.error("Error", message);
  };

  function put(name: any, bytes: Uint8Array, offset: number, size: number): boolean {
    onWrite(nameFrom(name));
    try {
      return files.write(nameFrom(name), bytes, offset, size);
    } catch (error) {
      if (error instanceof StorageError) return fail(error.message);
      throw error;
    }
  }

  function read(name: any, offset: any, length: any): string | undefined {
    const file = files.read(nameFrom(name));
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

  const matches = (name: string, regex: any): boolean => regex === undefined || Boolean(name.match(regex));

  function list(regex: any, filter: any): string[] {
    const wanted = isObject(core, filter) ? filter.sf : undefined;
    const chunked = ({ flags }: Header): boolean => (flags & FLAG.STORAGE_FILE) !== 0;
    return files
      .list()
      .filter((header) => wanted === undefined || chunked(header) === Boolean(wanted))
      .map((header) => (wanted && chunked(header) ? nameOf(header).slice(0, -1) : nameOf(header)))
      .filter((name) => matches(name, regex));
  }

  function hash(regex: any): number {
    let sum = HASH_START;
    for (const header of files.list()) {
      const name = nameOf(header);
      if (header.flags & FLAG.STORAGE_FILE || !matches(name, regex)) continue;
      sum = (sum << 1) | (sum >>> 31);
      sum ^= header.addr ^ crc32(bytesOf(name));
    }
    return sum | 0;
  }

  const natives: Record<string, Fn> = {
    write(name, data, offset, size) {
      if (data === undefined) fail("Can't get pointer to data to write");
      if (isObject(core, data)) return put(name, bytesOf(stringify(core, data)), 0, 0);
      return put(name, dataOf(core, data), toInt(offset), toInt(size));
    },
    read,
    writeJSON: (name, data) => put(name, bytesOf(stringifyLoose(core, data)), 0, 0),
    readJSON: readJson,
    erase: (name) => files.erase(nameFrom(name)),
    eraseAll: files.eraseAll,
    list(regex, filter) {
      const out = new core.realm.Array();
      out.push(...list(regex, filter));
      return out;
    },
    hash,
    compact() {
      files.compact();
    },
    getFree: () => files.stats().free,
    getStats() {
      const { total, free, live, trash } = files.stats();
      return Object.assign(new core.realm.Object(), {
        totalBytes: total,
        freeBytes: free,
        fileBytes: live.bytes,
        fileCount: live.count,
        trashBytes: trash.bytes,
        trashCount: trash.count,
      });
    },
  };
  const library: Record<string, Fn> = {};
  for (const [name, fn] of Object.entries(natives)) library[name] = core.native(`Storage.${name}`, fn);
  return library;
}
