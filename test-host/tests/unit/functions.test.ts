// What checkFunctions must let pass and what it must refuse. The functions of the device are checked by `npm run check`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkFunctions, EXCEPTIONS, type Exception } from "../../checks/functions.mjs";

/** A function `f` of so many lines, with `above` above it and `first` in its first line. */
const functionOf = (lines: number, above = "", first = ""): string =>
  `${above}function f() {\n${[first, ...new Array(lines - 3).fill("a();")].join("\n")}\n}\n`;

const problemsOf = (text: string, ...exceptions: Exception[]): string[] => checkFunctions({ "a.ts": text }, exceptions);

const exceptionOf = (lines: number, name = "f"): Exception => ["a.ts", name, lines, "a table"];

test("up to 30 lines need no reason, more need one", () => {
  assert.deepEqual(problemsOf(functionOf(30)), []);
  assert.deepEqual(problemsOf(functionOf(31)), ['src/a.ts:1: f has 31 lines; say why: "More than 30 lines: ..."']);
});

test("the reason stands above the function, or at its start", () => {
  const above = ["/** A f. More than 30 lines: a table. */\n", "// More than 30 lines: a table.\n"];
  for (const comment of [...above, "/**\n * A f. More than\n * 30 lines: a table.\n */\nexport "])
    assert.deepEqual(problemsOf(functionOf(40, comment)), []);
  assert.deepEqual(problemsOf(functionOf(40, "", "// More than 30 lines: a table.")), []);
  for (const text of [
    functionOf(40, "// More than 30 lines: a table.\na();\n"),
    functionOf(40, "// More than 30 lines\n"),
    functionOf(40, "// Long, for a table.\n"),
    functionOf(40, "", "a(); // More than 30 lines: a table."),
    `${functionOf(40)}// More than 30 lines: a table.\n`,
  ])
    assert.match(problemsOf(text).join(), /say why/);
});

test("a reason that is not true any more is refused", () => {
  const text = functionOf(30, "// More than 30 lines: a table.\n");
  assert.deepEqual(problemsOf(text), ["src/a.ts:2: f has 30 lines, and says that it has more than 30"]);
});

test("more than 60 lines need an exception", () => {
  const above = "// More than 30 lines: a table.\n";
  assert.deepEqual(problemsOf(functionOf(60, above)), []);
  assert.deepEqual(problemsOf(functionOf(61, above)), ["src/a.ts:2: f has 61 lines; more than 60 are an exception"]);
  assert.deepEqual(problemsOf(functionOf(61), exceptionOf(61)), []);
});

test("an exception lets a function shrink and not grow", () => {
  assert.deepEqual(problemsOf(functionOf(70), exceptionOf(80)), []);
  assert.deepEqual(problemsOf(functionOf(81), exceptionOf(80)), [
    "src/a.ts:1: f has 81 lines, and its exception allows 80",
  ]);
});

test("an exception that is not needed is refused", () => {
  const stale = ["src/a.ts: f needs no exception"];
  assert.deepEqual(problemsOf(functionOf(30), exceptionOf(80)), stale);
  assert.deepEqual(problemsOf(functionOf(40, "// More than 30 lines: a table.\n"), exceptionOf(80)), stale);
  assert.deepEqual(problemsOf("", exceptionOf(80)), stale);
});

test("functions of every kind count, by the name that they have", () => {
  const body = `{\n${"a();\n".repeat(38)}}`;
  const kinds: [name: string, text: string][] = [
    ["f", `const f = () => ${body};`],
    ["f", `const f = function () ${body};`],
    ["f", `const o = { f() ${body} };`],
    ["f", `const o = { f: () => ${body} };`],
    ["o.f", `o.f = () => ${body};`],
    ["f", `class C { f() ${body} }`],
    ["constructor", `class C { constructor() ${body} }`],
    ["f", `class C { get f() ${body} }`],
    ["later()", `later(function () ${body});`],
    ["outer/f", `function outer() { function f() ${body} }`],
    ["(anonymous)", `export default () => ${body};`],
  ];
  for (const [name, text] of kinds)
    assert.equal(problemsOf(text).at(-1), `src/a.ts:1: ${name} has 40 lines; say why: "More than 30 lines: ..."`);
});

test("each exception names a function once, and says why", () => {
  const names = EXCEPTIONS.map(([file, name]) => `${file} ${name}`);
  assert.deepEqual(names, [...new Set(names)]);
  for (const [, name, , why] of EXCEPTIONS) assert.match(why, /^\S.{9,}$/, name);
});
