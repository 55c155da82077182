// Builds the module from its sources with some of their text replaced: a mutant. In memory, and in some 50 ms, because
// esbuild only strips types. What it gives is for the virtual Espruino, whose JavaScript is Node's. The real one needs
// ES5 that hoists nothing: `bundleEntry` of bundle.ts takes the same edits.

import { readFile } from "node:fs/promises";
import { relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { build, type Plugin } from "esbuild";

/** `from` must be in `file`, a path below src/, exactly once. */
export type Edit = { file: string; from: string; to: string };

const SRC = fileURLToPath(new URL("../../src/", import.meta.url));
/** What `require` gives in Espruino. */
const NATIVES = ["Flash", "Storage", "http", "crypto", "https-ota"];

const pathBelowSrc = (path: string): string => relative(SRC, path).split(sep).join("/");

/** `source`, the text of `file`, with those of `edits` that are about it. Throws when one does not apply. */
export function applyEdits(file: string, source: string, edits: readonly Edit[]): string {
  const places = edits
    .filter((edit) => edit.file === file)
    .map(({ from, to }) => {
      const found = source.split(from).length - 1;
      if (found !== 1) throw new Error(`src/${file} has this text ${found} times, expected once: ${from}`);
      return { start: source.indexOf(from), end: source.indexOf(from) + from.length, to };
    });
  let text = source;
  // from the end, so that each place is where it was found
  for (const { start, end, to } of places.sort((a, b) => b.start - a.start))
    text = text.slice(0, start) + to + text.slice(end);
  return text;
}

/** The text of a source file with its edits; null when no edit is for that file. */
export function editsOf(path: string, source: string, edits: readonly Edit[]): string | null {
  const file = pathBelowSrc(path);
  return edits.some((edit) => edit.file === file) ? applyEdits(file, source, edits) : null;
}

function mutation(edits: readonly Edit[], applied: Set<string>): Plugin {
  return {
    name: "mutation",
    setup({ onLoad }) {
      onLoad({ filter: /\.ts$/ }, async ({ path }) => {
        const file = pathBelowSrc(path);
        applied.add(file);
        return { contents: applyEdits(file, await readFile(path, "utf8"), edits), loader: "ts" };
      });
    },
  };
}

/** The module as CommonJS, or another file of the sources, for the virtual Espruino. Throws when an edit does not apply. */
export async function buildWith(edits: readonly Edit[] = [], entry = "index.ts"): Promise<string> {
  const files = new Set<string>();
  const { outputFiles } = await build({
    entryPoints: [`${SRC}${entry}`],
    bundle: true,
    write: false,
    format: "cjs",
    platform: "neutral",
    external: NATIVES,
    // src/index.ts gives `exports` a getter, and esbuild puts another object in its place
    define: { exports: "module.exports" },
    // as rollup does: without a prologue that makes the module strict
    tsconfigRaw: {},
    logLevel: "silent",
    plugins: [mutation(edits, files)],
  });
  const unread = edits.find(({ file }) => !files.has(file));
  if (unread) throw new Error(`the module does not import src/${unread.file}`);
  return outputFiles[0].text;
}
