// The length of functions on the device: src/ without src/cli/ and src/tools/. A function of more than 30 lines says why, in
// a comment above it or at its start: "More than 30 lines: ...". One of more than 60 is an exception, in the table below.
// Lines count from the first to the last of the function, without the comment above it.

import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "./typescript.mjs";

const SHORT = 30;
const LONG = 60;

/**
 * File below src/, function (inside of another one: outer/inner), lines that it may have at most, and why it has them.
 * A function may become shorter than its number. An entry that is not needed any more is refused.
 */
export const EXCEPTIONS = [
  [
    "net/download.ts",
    "createDownload",
    99,
    "a table of fields; each piece passes through its functions, outside of a lazy scope",
  ],
  ["net/http.ts", "get", 84, "a table of fields, and listeners that have to be closures"],
  [
    "net/source.ts",
    "readSource",
    67,
    "a closure that is made once for each file, whose functions share a timer and a count",
  ],
  ["trust/rsa.ts", "modularPower", 87, "its functions share the limbs; an object would take more JsVars"],
  [
    "update/receiver.ts",
    "createReceiver",
    92,
    "a closure that is made once for an update: no object for each block to look into",
  ],
  [
    "update/slot-writer.ts",
    "createWriter",
    105,
    "as fields of an object its variables would take more JsVars, and more time",
  ],
  ["update/update.ts", "open", 73, "its callbacks share what step 2 found; an object would take more JsVars"],
  ["update/update.ts", "run", 77, "every callback needs the same few variables; functions took 26 JsVars more"],
  ["update/update.ts", "run/Promise()", 75, "the same function: its promise"],
];

const isFunction = (node) => ts.isFunctionLike(node) && node.body !== undefined;
const nameOf = (node) => node?.name?.getText();

/** The name of a function, or of what it is the value of; of a callback the function that is called. */
function calledOf(node) {
  if (ts.isConstructorDeclaration(node)) return "constructor";
  const { parent } = node;
  if (nameOf(node)) return nameOf(node);
  if (ts.isVariableDeclaration(parent) || ts.isPropertyAssignment(parent)) return nameOf(parent);
  if (ts.isBinaryExpression(parent)) return parent.left.getText();
  if (ts.isCallExpression(parent) || ts.isNewExpression(parent)) return `${parent.expression.getText()}()`;
  return "(anonymous)";
}

/** The comments above a function, or above the statement that begins in its line, and those before its first statement. */
function commentsOf(node, source) {
  const lineOf = (one) => source.getLineAndCharacterOfPosition(one.getStart(source)).line;
  const starts = [node.getFullStart()];
  for (let one = node.parent; one && !ts.isSourceFile(one) && lineOf(one) === lineOf(node); one = one.parent)
    starts.push(one.getFullStart());
  if (ts.isBlock(node.body)) starts.push((node.body.statements[0] ?? node.body).getFullStart());
  const ranges = starts.flatMap((start) => ts.getLeadingCommentRanges(source.text, start) ?? []);
  return ranges.map(({ pos, end }) => source.text.slice(pos, end).replace(/\s*\n\s*(?:\*|\/\/)?\s*/g, " ")).join(" ");
}

/** All functions of a file as { name, line, lines, comments }, the outer ones first. */
function functionsOf(path, text) {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const found = [];
  const visit = (outer) => (node) => {
    if (!isFunction(node)) return ts.forEachChild(node, visit(outer));
    const name = outer + calledOf(node);
    const first = source.getLineAndCharacterOfPosition(node.getStart(source)).line;
    const last = source.getLineAndCharacterOfPosition(node.getEnd()).line;
    found.push({ name, line: first + 1, lines: last - first + 1, comments: commentsOf(node, source) });
    ts.forEachChild(node, visit(`${name}/`));
  };
  ts.forEachChild(source, visit(""));
  return found;
}

/** What is wrong with one function; `limit`: what its exception allows, undefined without one. */
function problemOf({ name, lines, comments }, limit) {
  if (limit !== undefined)
    return lines > limit ? `${name} has ${lines} lines, and its exception allows ${limit}` : null;
  const [, said] = /More than (\d+) lines: \S/.exec(comments) ?? [];
  if (said !== undefined && lines <= said) return `${name} has ${lines} lines, and says that it has more than ${said}`;
  if (lines > LONG) return `${name} has ${lines} lines; more than ${LONG} are an exception`;
  if (lines > SHORT && said === undefined)
    return `${name} has ${lines} lines; say why: "More than ${SHORT} lines: ..."`;
  return null;
}

export function checkFunctions(files, exceptions) {
  const needed = new Set();
  const problems = Object.entries(files).flatMap(([file, text]) =>
    functionsOf(file, text).flatMap((one) => {
      const exception = exceptions.find(([path, name]) => path === file && name === one.name);
      if (exception && problemOf(one)) needed.add(exception);
      const problem = problemOf(one, exception?.[2]);
      return problem ? [`src/${file}:${one.line}: ${problem}`] : [];
    }),
  );
  const stale = exceptions.filter((one) => !needed.has(one));
  return [...problems, ...stale.map(([file, name]) => `src/${file}: ${name} needs no exception`)];
}

// node test-host/checks/functions.mjs: the check of this repository
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const src = fileURLToPath(new URL("../../src/", import.meta.url));
  const paths = readdirSync(src, { recursive: true }).map((path) => path.replaceAll("\\", "/"));
  const device = paths.filter((path) => path.endsWith(".ts") && !/^(?:cli|tools)\//.test(path)).sort();
  const files = Object.fromEntries(device.map((path) => [path, readFileSync(src + path, "utf8")]));
  const problems = checkFunctions(files, EXCEPTIONS);
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length ? 1 : 0;
}
