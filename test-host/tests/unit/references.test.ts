// What checkReferences must let pass and what it must report, as a table. References of the repository itself are checked
// by `npm run check`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { anchorsOf, checkReferences } from "../../checks/references.mjs";

/** The files that all cases can name. */
const BOOK = {
  "docs/design.md": "# Design\n\n## Public surface\n\n### `config`, and more\n\n## Twice\n\n## Twice\n",
  "docs/espruino.md": "# Facts\n\n### Flash errors are dropped\n\nFact 1. By fact 1 nobody hears of it.\n",
  "src/boot/lock.ts": "",
  "test-host/tests/lock.test.ts": "",
};
const OTHERS = ["boards/esp32/board.json", "LICENSE"];

/** The problems of a file `name` with this text, without its name. */
function problemsOf(name: string, text: string): string[] {
  const before = checkReferences(BOOK, OTHERS);
  assert.deepEqual(before, []);
  return checkReferences({ ...BOOK, [name]: text }, OTHERS).map((one) => one.replace(`${name}:`, ""));
}

const GOOD: [title: string, name: string, text: string][] = [
  ["no reference", "README.md", "Some text.\n"],
  ["a link to a file", "README.md", "See [design](docs/design.md).\n"],
  ["a link to a folder, with and without a slash", "README.md", "[a](docs/) and [b](boards/esp32)\n"],
  ["a link to a file that is not read", "README.md", "[licence](LICENSE)\n"],
  ["a link upwards, and beside", "docs/other.md", "[a](../LICENSE) [b](design.md#public-surface)\n"],
  ["a link from the root", "docs/other.md", "[a](/docs/design.md)\n"],
  ["a link to a heading", "README.md", "[a](docs/design.md#public-surface)\n"],
  ["a link to a heading with code in it", "README.md", "[a](docs/design.md#config-and-more)\n"],
  ["a link to the second of two equal headings", "README.md", "[a](docs/design.md#twice-1)\n"],
  ["a link inside the file", "README.md", "# One Two\n\n[a](#one-two)\n"],
  ["a link over two lines", "README.md", "[a\nb](docs/design.md)\n"],
  ["a link elsewhere", "README.md", "[a](https://example.com/docs/none.md#x) <mailto:a@example.com>\n"],
  ["an address without a link", "README.md", "https://example.com/none.md, https://example.com/?a=none.md\n"],
  ["a fenced example", "README.md", "```\nsee docs/none.md, [a](none.md)\n```\n"],
  ["a link in code", "README.md", "`[text](target)`\n"],
  ["a path in a comment", "src/a.ts", "// see docs/design.md#twice\n"],
  ["a file by its end", "src/a.ts", "/** See lock.ts and boot/lock.ts; lock.test.ts shows it. */\n"],
  ["several files", "src/a.ts", "// *.test.ts, l*.test.ts\n"],
  ["a heading by its text", "src/a.ts", '// docs/design.md, "Public surface"\n'],
  ["a heading by its text, over two lines", "src/a.ts", '// docs/design.md,\n//   "Public\n// surface"\n'],
  ["an import", "src/a.ts", 'import { a } from "./none.ts";\n'],
  ["a name in code", "src/a.ts", 'const file = "none.ts"; const reference = 3;\n'],
  ["sources of another project", "src/a.ts", "// src/jsflash.c, boards/ESP32.py, esp_ota_ops.h, core/modules.js\n"],
  ["another project's issue", "src/a.ts", "// Espruino issue 2391, espressif/esp-idf issue 1\n"],
  ["another project's issue as a link", "README.md", "[esp-idf issue 14318](https://example.com/14318)\n"],
  ["a word with a number", "src/a.ts", "// artefact 5, fact, reference, DESIGN of issues\n"],
  ["a fact where facts are", "docs/espruino.md", "Fact 1. As fact 1 says.\n"],
];

const BAD: [title: string, name: string, text: string, problem: string | string[]][] = [
  ["a link to no file", "README.md", "a\n[b](docs/none.md)\n", "2: no file docs/none.md"],
  ["a link out of the repository", "docs/other.md", "[b](../../a.md)\n", "1: no file ../../a.md"],
  ["a link relative to the wrong folder", "docs/other.md", "[b](docs/design.md)\n", "1: no file docs/design.md"],
  ["a link to no heading", "README.md", "[b](docs/design.md#none)\n", "1: docs/design.md has no heading #none"],
  ["a link to no heading of the file", "README.md", "# A\n\n[b](#b)\n", "3: README.md has no heading #b"],
  ["a heading in a fence", "README.md", "```\n# A\n```\n[a](#a)\n", "4: README.md has no heading #a"],
  ["a link over two lines, by its first", "README.md", "[b\nc](none.md)\n", "1: no file none.md"],
  ["a path in prose", "README.md", "as `docs/none.md` says\n", "1: no file docs/none.md"],
  ["a source in prose", "docs/other.md", "as `src/none.ts` says\n", "1: no file src/none.ts"],
  ["a path in a comment", "src/a.ts", "let a; // docs/none.md\n", "1: no file docs/none.md"],
  ["a path upwards in a comment", "src/a.ts", "// ../reference/none.md\n", "1: no file reference/none.md"],
  ["a source in a comment", "src/a.ts", "/*\n * none.ts\n */\n", "2: no file none.ts"],
  ["a test in a comment", "src/a.ts", "// none.test.ts\n", "1: no file none.test.ts"],
  ["no file of several", "src/a.ts", "// none-*.test.ts\n", "1: no file none-*.test.ts"],
  ["a file in another folder", "src/a.ts", "// net/lock.ts\n", "1: no file net/lock.ts"],
  ["no heading in a comment", "src/a.ts", "// docs/design.md#none\n", "1: docs/design.md has no heading #none"],
  ["no heading by its text", "src/a.ts", '\n// docs/design.md, "None"\n', '2: docs/design.md has no heading "None"'],
  ["a document that is elsewhere", "src/a.ts", "// Source: HOUSE.md\n", "1: no file HOUSE.md"],
  ["its section", "src/a.ts", "// DESIGN.md 3.3, 4\n", "1: DESIGN.md 3.3: not in the repository"],
  ["its section without the ending", "src/a.ts", "// DESIGN 5\n", "1: DESIGN 5: not in the repository"],
  ["its section in a string", "src/a.ts", 'const a = "DESIGN.md 9";\n', "1: DESIGN.md 9: not in the repository"],
  ["its facts", "src/a.ts", "// DESIGN.md facts 5 and 6\n", "1: DESIGN.md facts 5: not in the repository"],
  ["a reference by number", "src/a.ts", "// reference 1.5 (IDF)\n", "1: reference 1.5: not in the repository"],
  ["a trap", "src/a.ts", "// trap 3\n", "1: trap 3: not in the repository"],
  ["an issue", "src/a.ts", "// as wished (issue 4)\n", "1: issue 4: of which project?"],
  ["an issue with a sign", "docs/other.md", "Issue #12.\n", "1: Issue #12: of which project?"],
  ["a fact by number", "src/a.ts", "// by fact 1\n", "1: fact 1: name the heading in docs/espruino.md"],
  ["no fact where facts are", "docs/espruino.md", "Fact 1. By fact 2.\n", "1: no fact 2"],
  ["a shell's comment", ".ci/run", "# see docs/none.md\necho docs/also-none.md\n", "1: no file docs/none.md"],
  ["published types", "build/a.d.ts", "/** docs/none.md */\nexport {};\n", "1: no file docs/none.md"],
  [
    "two on two lines",
    "src/a.ts",
    "// none.ts\n\n// issue 3\n",
    ["1: no file none.ts", "3: issue 3: of which project?"],
  ],
];

for (const [title, name, text] of GOOD)
  test(`passes: ${title}`, () => {
    assert.deepEqual(problemsOf(name, text), []);
  });

for (const [title, name, text, problem] of BAD)
  test(`reports: ${title}`, () => {
    assert.deepEqual(problemsOf(name, text), [problem].flat());
  });

test("anchors are those of GitHub", () => {
  const text = "# A, B & C\n## `x()` of [y](z.md)\n## Über 2 × 3\n## snake_case-and-dash\n## A, B & C #\n";
  assert.deepEqual(anchorsOf(text), ["a-b--c", "x-of-y", "über-2--3", "snake_case-and-dash", "a-b--c-1"]);
});
