// Storage for tests: names and contents, as in a Map. Calls here do not count as operations of the flash. They see
// Storage as the build sees it that ran last.

import type { Files } from "./files.ts";
import { nameOf } from "./chain.ts";

export interface StorageView {
  get(name: string): Uint8Array | undefined;
  has(name: string): boolean;
  /** Instead of the file of that name. Throws what Storage.write throws: a file has at least a byte, and needs room. */
  set(name: string, bytes: Uint8Array): StorageView;
  delete(name: string): boolean;
  clear(): void;
  keys(): IterableIterator<string>;
  [Symbol.iterator](): IterableIterator<[string, Uint8Array | undefined]>;
  readonly size: number;
  /** The files and the flash below. */
  readonly files: Files;
  /** Called with the name whenever the program calls Storage.write or writeJSON. */
  onWrite: ((name: string) => void) | null;
}

export function viewOf(files: () => Files): StorageView {
  const names = (): string[] => files().list().map(nameOf);
  const view: StorageView = {
    onWrite: null,
    get files() {
      return files();
    },
    get: (name) => files().read(name),
    has: (name) => files().find(name) !== undefined,
    set(name, bytes) {
      files().write(name, bytes);
      return view;
    },
    delete(name) {
      const found = view.has(name);
      files().erase(name);
      return found;
    },
    clear: () => files().eraseAll(),
    keys: () => names().values(),
    [Symbol.iterator]: () =>
      names()
        .map((name): [string, Uint8Array | undefined] => [name, view.get(name)])
        .values(),
    get size() {
      return names().length;
    },
  };
  return view;
}
