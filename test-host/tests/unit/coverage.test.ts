// The figures of npm run coverage, from counts as V8 gives them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { countsOf, figuresOf, parse, type Script, waysOf } from "../../checks/coverage.ts";

const script = (...ranges: [number, number, number][]): Script => ({
  url: "https-ota",
  functions: ranges.map(([startOffset, endOffset, count]) => ({ ranges: [{ startOffset, endOffset, count }] })),
});

test("a character runs as often as the smallest range around it says", () => {
  const counts = countsOf(script([4, 8, 7], [0, 10, 1], [5, 6, 0]), 10);
  assert.deepEqual([...(counts ?? [])], [1, 1, 1, 1, 7, 0, 7, 7, 1, 1]);
});

test("a script of another length is another program", () => {
  assert.equal(countsOf(script([0, 11, 1]), 10), null);
});

test("each if, conditional, && and || has two ways, each case of a switch one", () => {
  const source = `
    if (a) b(); else c();
    if (a) b();
    d = a ? b : c;
    d = a && b || c;
    switch (a) { case 1: case 2: b(); break; default: c(); }`;
  assert.equal(waysOf(parse("a.ts", source)).length, 2 + 2 + 2 + 4 + 2);
});

/** The figures of `source` when the code at `^` below each of its lines ran as often as the digit there says. */
function figures(lines: string[], marks: string[]) {
  const source = lines.join("\n");
  const hits: { at: number; count: number }[] = [];
  let start = 0;
  lines.forEach((line, i) => {
    for (let column = 0; column < marks[i].length; column++)
      if (marks[i][column] !== " ") hits.push({ at: start + column, count: Number(marks[i][column]) });
    start += line.length + 1;
  });
  return figuresOf("a.ts", parse("a.ts", source), hits);
}

test("a line runs when some of its code does; one without code does not count", () => {
  const { lines, linesRun, missed } = figures(["one(); two();", "// none", "three();"], ["0      2", "", "0"]);
  assert.deepEqual([lines, linesRun, missed], [2, 1, ["a.ts:3"]]);
});

test("an if without else is left out when it runs more often than its statement", () => {
  const source = ["if (a) b();", "if (c) d();", "if (e) f();"];
  const { ways, waysRun, missed } = figures(source, ["    3  2", "    3  3", "    3  0"]);
  assert.deepEqual([ways, waysRun, missed], [6, 4, ["a.ts:2 never without d();", "a.ts:3 never with f();"]]);
});

test("a right side that never runs is one way, one that always runs the other", () => {
  const { ways, waysRun } = figures(["a && b;", "c || d;"], ["1    0", "1    1"]);
  assert.deepEqual([ways, waysRun], [4, 2]);
});

test("a way that the minifier has dropped does not count", () => {
  assert.equal(figures(["d = a ? b : c;"], ["1   1"]).ways, 0);
});
