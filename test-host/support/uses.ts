// Notes what of a module is used, for tests of completeness.

/** `module` itself, and the names of its exports that were read through it. */
export function noteUses<T extends object>(module: T): { noted: T; used: Set<string> } {
  const used = new Set<string>();
  const noted = new Proxy(module, {
    get(target, name) {
      used.add(String(name));
      return Reflect.get(target, name);
    },
  });
  return { noted, used };
}
