// npm run coverage: how much of src/ the tests run that load build/https-ota.min.js into the virtual Espruino. V8 counts
// in the built file (NODE_V8_COVERAGE), and its source map tells which line of src/ that is. Fails below LIMITS.
//
// A line counts when the map has code of it. A branch is each way of a decision: an `if` and a conditional expression both
// ways, `&&`, `||` with their right side and without it, each case of a `switch`. Not counted: src/cli/ and src/tools/,
// which run on the host; lines and ways that the minifier has dropped. A mutant, or a part of the module that a test
// bundles by itself, is another file and does not count either.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { SourceMap } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import ts from "./typescript.mjs";

/** Per cent. What holds today, less a little, since some tests draw lots: to be raised with the tests, never lowered for a change of src/. */
export const LIMITS = { lines: 99, branches: 95.5 };

const ROOT = new URL("../../", import.meta.url);
const BUNDLE = new URL("build/https-ota.min.js", ROOT);
/** What `require` of the virtual Espruino puts around a module: test-host/sim/espruino/modules.ts. */
const BEFORE = "(function(exports,module){".length;
const AFTER = "\n;return exports;})".length;
/** The name by which the tests require the module: V8's URL of it. */
const NAME = "https-ota";
/** Of test-host/tests/: those whose tests load the bundle. The campaigns load it too, and take too long for this. */
const FOLDERS = ["device", "files", "fleet", "net", "trust"];
/**
 * The power cuts of resume take minutes, and run what others run too. The rest runs mutants, or parts of the
 * module that it bundles itself.
 */
const LEFT_OUT = ["resume", "mutants", "download", "jws", "rsa"].map((name) => `${name}.test.ts`);

type Range = { startOffset: number; endOffset: number; count: number };
export type Script = { url: string; functions: { ranges: Range[] }[] };

/** How often each character of a script of `length` characters ran; null when `script` is another one. */
export function countsOf(script: Script, length: number): Float64Array | null {
  const ranges = script.functions.flatMap((one) => one.ranges);
  if (Math.max(...ranges.map((range) => range.endOffset)) !== length) return null;
  const counts = new Float64Array(length);
  // a range counts for what no smaller one inside of it does
  ranges.sort((a, b) => a.startOffset - b.startOffset || b.endOffset - a.endOffset);
  for (const { startOffset, endOffset, count } of ranges) counts.fill(count, startOffset, endOffset);
  return counts;
}

/** Two pieces of text of which one always runs when the other is asked: the ways of a decision. */
type Text = { start: number; end: number };
/** A way that is a piece of text, or one without text: as often as `asked` runs and `taken` does not. */
export type Way = { at: number } & ({ text: Text } | { asked: Text; taken: Text });

const LOGICAL = [ts.SyntaxKind.AmpersandAmpersandToken, ts.SyntaxKind.BarBarToken, ts.SyntaxKind.QuestionQuestionToken];

/** Every way of every decision in `file`. */
export function waysOf(file: ts.SourceFile): Way[] {
  const ways: Way[] = [];
  const textOf = (node: ts.Node): Text => ({ start: node.getStart(file), end: node.end });
  function decision(asked: ts.Node, taken: ts.Node, other?: ts.Node): void {
    const at = asked.getStart(file);
    ways.push({ at, text: textOf(taken) });
    ways.push({ at, ...(other ? { text: textOf(other) } : { asked: textOf(asked), taken: textOf(taken) }) });
  }
  function visit(node: ts.Node): void {
    if (ts.isIfStatement(node)) decision(node.expression, node.thenStatement, node.elseStatement);
    else if (ts.isConditionalExpression(node)) decision(node.condition, node.whenTrue, node.whenFalse);
    else if (ts.isBinaryExpression(node) && LOGICAL.includes(node.operatorToken.kind)) decision(node.left, node.right);
    else if (ts.isCaseOrDefaultClause(node) && node.statements.length)
      ways.push({ at: node.getStart(file), text: textOf(node) });
    ts.forEachChild(node, visit);
  }
  visit(file);
  return ways;
}

/** Of one source: how often the code at each of its positions ran. */
type Hits = { at: number; count: number }[];

export type Figures = { lines: number; linesRun: number; ways: number; waysRun: number; missed: string[] };

export const parse = (name: string, source: string): ts.SourceFile =>
  ts.createSourceFile(name, source, ts.ScriptTarget.Latest, true);

/** The figures of one source file from `hits`, which are in the order of the text. */
export function figuresOf(name: string, file: ts.SourceFile, hits: Hits): Figures {
  const lineOf = (at: number) => file.getLineAndCharacterOfPosition(at).line + 1;
  const lines = new Map<number, number>();
  for (const { at, count } of hits) lines.set(lineOf(at), Math.max(count, lines.get(lineOf(at)) ?? 0));
  const within = ({ start, end }: Text) => hits.filter(({ at }) => at >= start && at < end).map(({ count }) => count);
  const missed = [...lines].filter(([, count]) => !count).map(([line]) => `${name}:${line}`);
  const linesRun = lines.size - missed.length;
  let known = 0;
  let waysRun = 0;
  for (const way of waysOf(file)) {
    const [first, other] = "text" in way ? [within(way.text)] : [within(way.asked), within(way.taken)];
    // dropped by the minifier
    if (!first.length || (other && !other.length)) continue;
    known++;
    const runs = other ? first[0] > other[0] : Math.max(...first) > 0;
    if (runs) waysRun++;
    else {
      const { start, end } = "text" in way ? way.text : way.taken;
      const text = file.text.slice(start, end).replaceAll(/\s+/g, " ").slice(0, 60);
      missed.push(`${name}:${lineOf(way.at)} never ${other ? "without" : "with"} ${text}`);
    }
  }
  return { lines: lines.size, linesRun, ways: known, waysRun, missed };
}

/** By source file, "src/errors.ts": what the counts of the bundle's characters say of its positions. */
function hitsBySource(counts: Float64Array): Map<string, { file: ts.SourceFile; hits: Hits }> {
  const map = new SourceMap(JSON.parse(readFileSync(new URL(`${BUNDLE.href}.map`), "utf8")));
  const found = new Map<string, { file: ts.SourceFile; hits: Hits }>();
  for (let column = 0; column < counts.length - BEFORE - AFTER; column++) {
    const entry = map.findEntry(0, column);
    if (!("originalSource" in entry) || entry.generatedColumn !== column) continue;
    const url = new URL(entry.originalSource, BUNDLE);
    const name = url.href.slice(ROOT.href.length);
    const one = found.get(name) ?? { file: parse(name, readFileSync(url, "utf8")), hits: [] };
    found.set(name, one);
    const at = one.file.getPositionOfLineAndCharacter(entry.originalLine, entry.originalColumn);
    one.hits.push({ at, count: counts[BEFORE + column] });
  }
  for (const { hits } of found.values()) hits.sort((a, b) => a.at - b.at);
  return found;
}

/** Of all that was measured into `folder`: how often each character of the bundle ran, the wrapper around it included. */
function sumOf(folder: string): { counts: Float64Array; processes: number } {
  const length = BEFORE + readFileSync(BUNDLE, "utf8").length + AFTER;
  const counts = new Float64Array(length);
  let processes = 0;
  for (const name of readdirSync(folder)) {
    const { result }: { result: Script[] } = JSON.parse(readFileSync(join(folder, name), "utf8"));
    const found = result
      .filter(({ url }) => url === NAME)
      .map((script) => countsOf(script, length))
      .filter((one) => one !== null);
    for (const one of found) for (let i = 0; i < length; i++) counts[i] += one[i];
    if (found.length) processes++;
  }
  return { counts, processes };
}

const percent = (part: number, whole: number): number => Math.floor((1000 * part) / whole) / 10;

/** Prints the figures; false when they are below the limits. */
function report(folder: string, list: boolean): boolean {
  const { counts, processes } = sumOf(folder);
  if (!processes) throw new Error(`no test ran ${fileURLToPath(BUNDLE)}: is it built, and the same that they ran?`);
  const all: Figures = { lines: 0, linesRun: 0, ways: 0, waysRun: 0, missed: [] };
  const rows = [...hitsBySource(counts)].sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [name, { file, hits }] of rows) {
    const one = figuresOf(name, file, hits);
    all.lines += one.lines;
    all.linesRun += one.linesRun;
    all.ways += one.ways;
    all.waysRun += one.waysRun;
    all.missed.push(...one.missed);
    const branches = one.ways ? `${percent(one.waysRun, one.ways)} %` : "-";
    console.log(`${name.padEnd(34)} ${`${percent(one.linesRun, one.lines)} %`.padStart(8)} ${branches.padStart(8)}`);
  }
  if (list) for (const missed of all.missed) console.log(missed);
  const lines = percent(all.linesRun, all.lines);
  const branches = percent(all.waysRun, all.ways);
  console.log(`lines    ${all.linesRun} of ${all.lines}: ${lines} %, limit ${LIMITS.lines} %`);
  console.log(`branches ${all.waysRun} of ${all.ways}: ${branches} %, limit ${LIMITS.branches} %`);
  return lines >= LIMITS.lines && branches >= LIMITS.branches;
}

/** Runs the tests that load the bundle, and measures into `folder`. */
function measure(folder: string): boolean {
  const tests = FOLDERS.map((name) => fileURLToPath(new URL(`test-host/tests/${name}/`, ROOT))).flatMap((path) =>
    readdirSync(path)
      .filter((name) => name.endsWith(".test.ts") && !LEFT_OUT.includes(name))
      .map((name) => join(path, name)),
  );
  const run = fileURLToPath(new URL("../support/run.ts", import.meta.url));
  // all cases: which a sample leaves out is chance
  const env = { CAMPAIGN: "1", ...process.env, NODE_V8_COVERAGE: folder };
  return spawnSync(process.execPath, ["--import", "tsx", run, ...tests], { env, stdio: "inherit" }).status === 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { from: { type: "string" }, list: { type: "boolean" } } });
  const folder = values.from ?? mkdtempSync(join(tmpdir(), "https-ota-coverage-"));
  try {
    if (!values.from && !measure(folder)) process.exitCode = 1;
    if (!report(folder, values.list ?? false)) process.exitCode = 1;
  } finally {
    if (!values.from) rmSync(folder, { recursive: true });
  }
}
