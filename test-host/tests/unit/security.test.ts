// SECURITY.md is a promise with evidence: each row of its table names tests, and those tests are there.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

const read = (name: string) => readFileSync(new URL(name, import.meta.url), "utf8");
const TEXT = read("../../../SECURITY.md");
const ANY = "…";
/** The files of test-host/. */
const PATHS = readdirSync(new URL("../../", import.meta.url), { recursive: true, encoding: "utf8" });

/** The titles in a test file, of overEach() too; what a template puts in counts as "…". */
function titlesOf(file: string): string[] {
  const name = `${file}.test.ts`;
  const path = PATHS.find((one) => one === name || (one.startsWith("tests/") && one.endsWith(`/${name}`)));
  assert.ok(path, `there is no ${name}`);
  const found = read(`../../${path}`).matchAll(/\b(?:test|overEach)\(\s*(["`])((?:\\.|(?!\1)[^\\])*)\1/g);
  return [...found].map(([, , title]) => title.replaceAll(/\$\{[^}]*\}/g, ANY));
}

/** Is `quoted`, which may leave out parts with "…", this title? */
function names(quoted: string, title: string): boolean {
  const literal = (piece: string) => piece.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${quoted.split(ANY).map(literal).join(".*")}$`).test(title);
}

/** The rows of the table of threats, as cells. */
const rows = TEXT.slice(TEXT.indexOf("## Who can do what"), TEXT.indexOf("## What is not protected"))
  .split("\n")
  .filter((line) => line.startsWith("| ") && !/^\| Who +\|/.test(line))
  .map((line) => line.split("|").slice(1, -1));

test("every test that SECURITY.md names is there, under that name", () => {
  assert.ok(rows.length > 12, `${rows.length} rows`);
  for (const cells of rows) {
    const [, tries, , shown] = cells.map((cell) => cell.trim());
    assert.equal(cells.length, 4, tries);
    let named = 0;
    for (const [, list, quotes] of shown.matchAll(/(?:^|; )([\w/-]+(?: and [\w/-]+)*): ([^;]*)/g))
      for (const file of list.split(" and ")) {
        const titles = titlesOf(file);
        if (quotes === "all") named += titles.length;
        for (const [, quoted] of quotes.matchAll(/"([^"]+)"/g)) {
          assert.ok(
            titles.some((title) => names(quoted, title)),
            `${tries}: ${file}.test.ts has no test "${quoted}"`,
          );
          named++;
        }
      }
    if (!shown.includes("`failsCleanly`")) assert.ok(named > 0, `${tries}: no test shows it`);
  }
  assert.match(read("../../support/fixture.ts"), /function failsCleanly\(/);
});

test("SECURITY.md says what is not protected, and what a stolen key means", () => {
  for (const part of [/^## Why TLS is not counted$/m, /^## What is not protected$/m, /^\*\*Rotate a key\.\*\*/m])
    assert.match(TEXT, part);
  assert.match(TEXT, /^\*\*A stolen key\*\*/m);
});
