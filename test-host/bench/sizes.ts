// Bytes of the minified bundle, in all and by source file.
import { readFileSync } from "node:fs";
import { SourceMap } from "node:module";
import { row } from "./table.ts";

const BUILD = new URL("../../build/", import.meta.url);

/** Bytes of the minified bundle by source file, from its source map. */
function bytesBySource(code: string, map: string): Record<string, number> {
  const sources = new SourceMap(JSON.parse(map));
  const bytes: Record<string, number> = {};
  for (let column = 0; column < code.length; column++) {
    const entry = sources.findEntry(0, column) as { originalSource?: string };
    const name = entry.originalSource?.replace(/^.*\/src\//, "") ?? "(glue)";
    bytes[name] = (bytes[name] ?? 0) + 1;
  }
  return bytes;
}

export function sizes(): void {
  const code = readFileSync(new URL("https-ota.min.js", BUILD), "utf8");
  row("build/https-ota.min.js", code.length, "bytes", 16384);
  const bytes = bytesBySource(code, readFileSync(new URL("https-ota.min.js.map", BUILD), "utf8"));
  for (const [name, count] of Object.entries(bytes).sort((a, b) => b[1] - a[1])) row(`  ${name}`, count, "bytes");
}
