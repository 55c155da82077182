// docs/upstream/: each report shows its fault in the real interpreter, in the words that it quotes, and the module's page has
// the programs of README.md. When a fault is gone, the report goes.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ESPRUINO, engineHolds, warnWithoutEngine } from "../../real-espruino/engine.ts";

warnWithoutEngine();

const UPSTREAM = new URL("../../../docs/upstream/", import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, UPSTREAM), "utf8");
const REPORTS = readdirSync(new URL("reports/", UPSTREAM)).filter((name) => name.endsWith(".md"));
const MAX_LINES = 10;
const LIMIT_MS = 30_000;
/** More than 16383 JsVars of 14 bytes hold. */
const MOST_BYTES = 260_000;

/** A heading's text, up to the next one. */
function part(text: string, heading: string): string {
  const found = new RegExp(`^## ${heading}\n([\\s\\S]*?)(?=^## |$(?![\\s\\S]))`, "m").exec(text);
  assert.ok(found, `no heading ${heading}`);
  return found[1];
}

const fence = (text: string, language: string): string =>
  new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\`$`, "m").exec(text)?.[1] ?? "";

/** What the interpreter prints until it ends, or until `enough` is there. */
function start(folder: string, program: string, enough: string): Promise<string> {
  return new Promise((resolve, reject) => {
    writeFileSync(join(folder, "program.js"), program, "latin1");
    // Storage is a file of the working folder; stdin must stay open
    const child = spawn(ESPRUINO as string, ["program.js"], { cwd: folder, stdio: ["pipe", "pipe", "pipe"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
    let output = "";
    const hear = (data: Buffer): void => {
      output += data.toString("latin1").replaceAll("\0", "");
      if (output.includes(enough)) child.kill("SIGKILL");
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.on("error", reject);
    child.on("close", () => {
      clearTimeout(timer);
      resolve(output);
    });
  });
}

test("there is a report for each fault, and the list names each", () => {
  assert.ok(REPORTS.length >= 8, String(REPORTS));
  for (const name of REPORTS) assert.ok(read("README.md").includes(`(reports/${name})`), name);
});

for (const name of REPORTS) {
  const text = read(`reports/${name}`);
  const script = fence(part(text, "Script"), "js");
  const seen = fence(part(text, "Seen"), "").trim().split("\n");
  const nowhere = /^\s*Nowhere:/.test(part(text, "Seen"));

  test(`${name} has a script of at most ${MAX_LINES} lines, a cause and a suggestion`, () => {
    const lines = script.trim().split("\n").length;
    assert.ok(script && lines <= MAX_LINES, `${lines} lines`);
    assert.ok(part(text, "Cause").length > 60);
    assert.ok(part(text, "Suggestion").length > 40);
    assert.ok(nowhere || seen[0], "it says what was seen");
  });

  if (nowhere) continue;
  test(`${name} shows its fault`, { skip: ESPRUINO ? false : "ESPRUINO is not set" }, async (t) => {
    if (/fixed number of JsVars/.test(text) && (await engineHolds(MOST_BYTES)))
      return t.skip("this interpreter gets more JsVars on demand");
    const folder = mkdtempSync(join(tmpdir(), "https-ota-report-"));
    try {
      let output = await start(folder, script, seen.at(-1) as string);
      const again = /start the interpreter again.*with\s+`(.*)`/.exec(text);
      if (again) output += await start(folder, `${again[1]};quit();`, "no such text");
      let from = 0;
      for (const line of seen) {
        const at = output.indexOf(line, from);
        assert.ok(at >= 0, `not printed: ${line}\n${output}`);
        from = at + line.length;
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

describe("the module's page", () => {
  const blocks = (markdown: string): string[] =>
    [...markdown.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map(([, code]) => code);

  test("has the programs of README.md", () => {
    const page = blocks(read("https-ota.md"));
    assert.equal(page.length, 2);
    const programs = blocks(read("../../README.md"));
    for (const program of page) assert.ok(programs.includes(program), program);
  });
});
