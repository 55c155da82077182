// Bundles one file of src/ as rollup.config.mjs bundles the module, so that a function which the module does not export
// can be tried in Node and in the interpreter.

import { fileURLToPath } from "node:url";
import type { OutputChunk, RollupBuild } from "rollup";
import ts from "../checks/typescript.mjs";
import { checkEs5 } from "../checks/es5.mjs";
import { type Edit, editsOf } from "./mutate.ts";

export type BundleOptions = {
  minify?: boolean;
  /** Makes a mutant: texts of the sources that are replaced. */
  edits?: readonly Edit[];
};

const CONFIG = new URL("../../rollup.config.mjs", import.meta.url);
const builds = new Map<string, Promise<{ build: RollupBuild; outputs: any[] }>>();

/** The plugin watches files even for one build, and after a type error without end: then no test would end. */
function watchNothing(): void {
  const watcher = { close: () => {} };
  ts.sys.watchFile = () => watcher;
  ts.sys.watchDirectory = () => watcher;
}

async function startBuild(entry: string, edits: readonly Edit[]): Promise<{ build: RollupBuild; outputs: any[] }> {
  watchNothing();
  // a copy of the configuration for each build: its plugins keep state
  const [config] = (await import(`${CONFIG.href}?${entry}${builds.size}`)).default;
  const input = fileURLToPath(new URL(`../../${entry}`, import.meta.url));
  const readFile = ts.sys.readFile;
  // the compiler reads its files itself: no plugin sees their text before it
  ts.sys.readFile = (path, encoding) => {
    const text = readFile(path, encoding);
    return (text && editsOf(path, text, edits)) ?? text;
  };
  try {
    const { rollup } = await import("rollup");
    const build = await rollup({ input, plugins: config.plugins, onwarn: () => {} });
    return { build, outputs: config.output };
  } finally {
    ts.sys.readFile = readFile;
  }
}

/** The ES5 of `entry` ("src/trust/rsa.ts") and of all that it imports, as CommonJS. Throws when Espruino could not run it. */
export async function bundleEntry(entry: string, options: BundleOptions = {}): Promise<string> {
  const { minify, edits = [] } = options;
  const key = `${entry} ${JSON.stringify(edits)}`;
  if (!builds.has(key)) builds.set(key, startBuild(entry, edits));
  const { build, outputs } = await (builds.get(key) as ReturnType<typeof startBuild>);
  const { output } = await build.generate({ ...outputs[minify ? 1 : 0], sourcemap: false });
  const { code } = output.find((one) => one.type === "chunk") as OutputChunk;
  const problems = checkEs5(code, entry);
  if (problems.length) throw new Error(problems.join("\n"));
  return code;
}
