// What checkProse must let pass and what it must report, as a table. The texts of the repository itself are checked by
// `npm run check`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkProse } from "../../checks/prose.mjs";

/** The problems of a file `name` with this text: line and phrase. */
function problemsOf(name: string, text: string, allowed: [string, string][] = []): string[] {
  return checkProse({ [name]: text }, allowed).map((one) => {
    const [, line, phrase, instead] = /^[^:]+:(\d+): "?(.*?)(?:": (.+))?$/.exec(one) ?? assert.fail(one);
    assert.ok(instead || phrase.startsWith("allowed"), one);
    return `${line}: ${phrase}`;
  });
}

const GOOD: [title: string, name: string, text: string][] = [
  ["plain sentences", "a.md", "The lock is released. A slot is not a bank.\n"],
  ["there is no", "a.md", "There is no second slot, and there are none\nelsewhere. Where there\nis no key it stops.\n"],
  ["is no longer", "a.md", "It is no longer there, and is no more than 4 bytes. It was no worse.\n"],
  ["a fenced block of Markdown", "a.md", "```\nwhoever\n```\n"],
  ["code in Markdown", "a.md", "The option `anew`, and [a link](docs/for-ever.md).\n"],
  ["a title of a test in SECURITY.md", "SECURITY.md", '| a | b | c | lock: "an update under way is kept" |\n'],
  ["code in TypeScript", "src/a.ts", "const anew = under.way;\n"],
];

const BAD: [title: string, name: string, text: string, problems: string | string[]][] = [
  ["whoever", "a.md", "Whoever asks gets it.\n", "1: Whoever"],
  ["what it comes to", "a.md", "\n## What it comes to\n", "2: What it comes to"],
  ["all the same", "a.md", "It starts all the same.\n", "1: all the same"],
  ["for ever", "a.md", "It waits for ever.\n", "1: for ever"],
  ["under way", "a.md", "An update is under way.\n", "1: under way"],
  ["anew", "a.md", "It is made anew.\n", "1: anew"],
  ["so many", "a.md", "With so many free it starts.\n", "1: so many"],
  ["judge", "a.md", "The date is judged later. Who judges?\n", ["1: judged", "1: judges"]],
  ["is no", "a.md", "That is no number.\n", "1: is no"],
  ["which are no", "a.md", "Texts which are no dates.\n", "1: are no"],
  ["is none", "a.md", "What is none is refused.\n", "1: is none"],
  ["a phrase over two lines", "a.md", "It is under\nway, for\n  ever.\n", ["1: under way", "2: for ever"]],
  ["a table", "a.md", "| who | is no file |\n", "1: is no"],
  ["quotes in another file", "a.md", 'It says "anew".\n', "1: anew"],
  ["a line comment", "src/a.ts", "let a = 1; // whoever reads\n", "1: whoever"],
  ["a comment over two lines", "src/a.ts", "// it is under\n// way\nlet a = 1;\n", "1: under way"],
  ["a block comment", "src/a.ts", "/**\n * It is for\n * ever.\n */\nlet a = 1;\n", "2: for ever"],
  ["a comment before a brace", "src/a.ts", "function f() {\n  g();\n  // anew\n}\n", "3: anew"],
  ["a text", "src/a.ts", 'throw new Error("url is no text");\n', "1: is no"],
  ["a template", "src/a.ts", `const a = \`\${b} is no date, \${c} anew\`;\n`, ["1: is no", "1: anew"]],
];

for (const [title, name, text] of GOOD)
  test(`passes: ${title}`, () => {
    assert.deepEqual(problemsOf(name, text), []);
  });

for (const [title, name, text, problems] of BAD)
  test(`reports: ${title}`, () => {
    assert.deepEqual(problemsOf(name, text), [problems].flat());
  });

test("an allowed sentence passes in its file only, and has to be there", () => {
  const text = "It is no bank, as all say.\n";
  const allowed: [string, string][] = [["a.md", "It is no bank, as all say."]];
  assert.deepEqual(problemsOf("a.md", text, allowed), []);
  assert.deepEqual(problemsOf("b.md", text, allowed), ["1: is no"]);
  assert.deepEqual(problemsOf("a.md", "Another one.\n", allowed), [
    "1: allowed, and not there: It is no bank, as all say.",
  ]);
});
