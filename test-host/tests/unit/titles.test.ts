// Which titles checkTitles finds, and what it reports. Those of the repository itself are checked by `npm run check`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkTitles, titlesOf } from "../../checks/titles.mjs";

const SOURCES: [what: string, source: string, titles: string[]][] = [
  ["a string", 'test("one", () => {});', ["one"]],
  ["a template: what it puts in counts as six characters", `test(\`a \${x.length} b\`, f);`, ["a {name} b"]],
  ["a sum of strings", 'test("one " + "two", f);', ["one two"]],
  ["a group, its tests, and one over both transports", 'describe("g", () => { overEach("t", f); });', ["g", "t"]],
  ["a test that is skipped, and one in a test", 'test.skip("a", f); t.test("b", f);', ["a", "b"]],
  ["a table of rows", 'const T = [["a", 1], ["b", 2]]; for (const [x, n] of T) test(x, f);', ["a", "b"]],
  ["a table of objects", `for (const { what } of [{ what: "a" }]) test(\`\${what}\`, f);`, ["{name}", "a"]],
  ["an entry of a table", 'const T = [{ what: "a" }]; for (const one of T) test(one.what, f);', ["a"]],
  [
    "a table with numbers",
    `const T = ["a"]; for (const [i, x] of T.entries()) test(\`\${i} \${x}\`, f);`,
    ["{name} {name}", "a"],
  ],
  ["the keys of an object", 'const T = { "a b": 1 }; for (const [k, v] of Object.entries(T)) test(k, f);', ["a b"]],
  ["a function that passes a title on", 'function on(title) { test(title, f); }\non("a");', ["a"]],
  ["not a pattern", '/a/.test("some text"); pattern.test("some text");', []],
];
for (const [what, source, titles] of SOURCES)
  test(`found: ${what}`, () => {
    assert.deepEqual(
      titlesOf(source).map(({ title }) => title),
      titles,
    );
  });

test("found: `what` of a table that two drivers share", () => {
  const source = `export const CASES = [{ what: "a", outcome: "b" }, { what: \`c \${d}\` }];`;
  assert.deepEqual(
    titlesOf(source, "answer-cases.ts").map(({ title }) => title),
    ["a", "c {name}"],
  );
  assert.deepEqual(titlesOf(source), []);
});

test("a title of 79 characters passes, one of 80 is reported with its line", () => {
  const source = (length: number) => `\ntest("${"x".repeat(length)}", f);`;
  assert.deepEqual(checkTitles(source(79), "a.test.ts"), []);
  assert.deepEqual(checkTitles(source(80), "a.test.ts"), [`a.test.ts:2: 80 characters, at most 79: ${"x".repeat(80)}`]);
});

test("reported: phrases that are not plain English", () => {
  for (const phrase of ["it is no number", "it was no number", "for ever", "judged", "made anew", "all the same"])
    assert.equal(checkTitles(`test("${phrase}", f);`, "a.test.ts").length, 1, phrase);
});

test("passes: phrases that only look like those", () => {
  for (const phrase of [
    "it is no longer there",
    "there is no table",
    "it is not a number",
    "a new one",
    "the same for all",
  ])
    assert.deepEqual(checkTitles(`test("${phrase}", f);`, "a.test.ts"), [], phrase);
});
