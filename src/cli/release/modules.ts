// The modules of a release: what they require of each other, and the order in which a device registers them.
import { moduleName } from "../../boot/file-set.ts";
import { printable, refuse } from "../ui/errors.ts";
import { placeholderLine } from "./placeholder.ts";
import { BUILT_IN, OWN_MODULE, type Requires, requiresOf } from "./requires.ts";
import type { SourceFile } from "./source-files.ts";

/** What one of the files requires. */
export interface Code {
  file: SourceFile;
  /** "" for the program itself */
  module: string;
  requires: Requires;
}

export function noteOf(name: string, text: string): string {
  return printable(`file ${name} ${text}`);
}

/** Refuses code with the key of the examples. */
function checkKeys({ name, path: file }: SourceFile, text: string): void {
  const line = placeholderLine(text);
  if (line !== null)
    refuse(
      file,
      `file ${printable(name)}: line ${line}: the key of an example (n: "..."), with which a device refuses every ` +
        "update: put the key there that keygen printed (key.pub.jwk has it too)",
    );
}

export function readCode(files: readonly SourceFile[], entry: string, notes: string[]): Code[] {
  const code: Code[] = [];
  for (const file of files) {
    const module = moduleName({ entry }, file.name);
    if (!module && file.name !== entry) continue;
    const text = file.bytes.toString("utf8");
    const requires = requiresOf(text);
    const read = typeof requires === "string" ? { names: [], computed: false } : requires;
    if (typeof requires === "string") notes.push(noteOf(file.name, `was not read as JavaScript: ${requires}`));
    else checkKeys(file, text);
    if (read.computed) notes.push(noteOf(file.name, "requires modules by names that are computed"));
    code.push({ file, module, requires: read });
  }
  return code;
}

/** What a name that nothing answers to may have meant. */
function hintFor(name: string, modules: ReadonlySet<string>, entry: string): string {
  const bare = name.replace(/^(\.{1,2}\/)+/, "").replace(/\.js$/, "");
  if (bare !== name && modules.has(bare)) return `, but is called require("${bare}") on the device`;
  if (`${bare}.js` === entry || bare === entry) return ": the entry is the program, and no module";
  return ": a device finds it only when its Storage has a file of this name";
}

export function checkRequires(code: readonly Code[], entry: string, notes: string[]): void {
  const modules = new Set(code.map(({ module }) => module).filter(Boolean));
  for (const { file, requires } of code)
    for (const name of requires.names) {
      if (modules.has(name) || name === OWN_MODULE || BUILT_IN.includes(name)) continue;
      const what = `requires "${name}", which is neither a file of the release nor built into Espruino`;
      notes.push(noteOf(file.name, what + hintFor(name, modules, entry)));
    }
}

/** Modules that require each other, as "a, b, a". */
function cycleAmong(waiting: readonly Code[]): string {
  const path: string[] = [];
  let next: Code | undefined = waiting[0];
  while (next && !path.includes(next.module)) {
    path.push(next.module);
    const { names }: Requires = next.requires;
    next = waiting.find(({ module }) => names.includes(module));
  }
  const start = next?.module ?? "";
  return [...path.slice(path.indexOf(start)), start].join(", ");
}

/** Each module behind those that it requires, and by name where that leaves a choice. */
export function inOrder(modules: readonly Code[], where: string): Code[] {
  const ordered: Code[] = [];
  let waiting = [...modules];
  while (waiting.length) {
    const names = new Set(waiting.map(({ module }) => module));
    const next = waiting.find(({ requires }) => !requires.names.some((name) => names.has(name)));
    if (!next)
      return refuse(
        where,
        printable(
          `modules that require each other: ${cycleAmong(waiting)}. A device runs each of them before the next one: ` +
            "move what both need into a module of its own",
        ),
      );
    ordered.push(next);
    waiting = waiting.filter((one) => one !== next);
  }
  return ordered;
}
