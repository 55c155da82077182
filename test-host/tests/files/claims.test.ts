// Which files a manifest may name. docs/formats.md#files-and-entry.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { isStoredName, moduleName, parseSet, releaseText, setText, storedName } from "../../../src/boot/file-set.ts";
import { parseManifest } from "../../../src/trust/manifest.ts";

const SHA = "ab".repeat(32);
const file = (name: unknown, more: object = {}) => ({ name, size: 5, sha256: SHA, ...more });
const claims = (changes: object) =>
  JSON.stringify({
    format: 2,
    project: "p",
    version: "1",
    chip: "esp32",
    sequence: 1,
    iat: 1,
    files: [file("app.js")],
    entry: "app.js",
    ...changes,
  });

const WRONG: [what: string, changes: object, says: RegExp][] = [
  ["files in format 1", { format: 1 }, /claim files needs format 2/],
  ["no file", { files: [] }, /claim files is not a list/],
  ["files that are not a list", { files: { 0: file("app.js") } }, /claim files is not a list/],
  ["a file that is null", { files: [null] }, /claim files.name/],
  ["a name twice", { files: [file("app.js"), file("app.js")] }, /file name app.js comes twice/],
  ["no entry", { entry: undefined }, /claim entry is missing/],
  [
    "an entry that is not a file",
    { entry: "main.js" },
    /claim entry is main.js, expected a listed file that is not empty/,
  ],
  ["an empty entry", { files: [file("app.js", { size: 0 })] }, /expected a listed file that is not empty/],
  [
    "an entry without files",
    { files: undefined, image: { url: "a", size: 1, fsverity: `sha256:${SHA}` } },
    /entry needs files/,
  ],
  ["a size that is not a whole number", { files: [file("app.js", { size: 1.5 })] }, /claim files.size/],
  ["a size below 0", { files: [file("app.js", { size: -1 })] }, /claim files.size/],
  ["a size in a text", { files: [file("app.js", { size: "5" })] }, /claim files.size/],
  ["a digest that is too short", { files: [file("app.js", { sha256: "ab" })] }, /64 hexadecimal digits/],
  ["a digest in base64", { files: [file("app.js", { sha256: `${"a".repeat(63)}-` })] }, /64 hexadecimal digits/],
  ["a URL that is not a text", { files: [file("app.js", { url: 5 })] }, /claim files.url/],
  ["an empty URL", { files: [file("app.js", { url: "" })] }, /claim files.url/],
  ...["../app.js", "a/../b", "./a", "a/.", "..", ".", "/a", "a//b", "a/", "a\\b", "a\tb", "x".repeat(29), "\u00e9"].map(
    (name): [string, object, RegExp] => [
      `the name ${JSON.stringify(name)}`,
      { files: [file("app.js"), file(name)] },
      /is not allowed|invalid JSON/,
    ],
  ),
  ...[".boot0", ".boot1", ".bootcde", ".bootrst", ".varimg", ".https-ota0", ".https-ota"].map(
    (name): [string, object, RegExp] => [`the name ${name}`, { files: [file("app.js"), file(name)] }, /is not allowed/],
  ),
];

for (const [what, changes, says] of WRONG)
  test(`refused: ${what}`, () => assert.throws(() => parseManifest(claims(changes)), says));

for (const name of ["a", "app.js", "lib/sensor.js", "a b!.txt", "x".repeat(28), "~abc", "https-ota", "...", ".hidden"])
  test(`taken: the name ${JSON.stringify(name)}`, () => {
    const manifest = parseManifest(claims({ files: [file("app.js"), ...(name === "app.js" ? [] : [file(name)])] }));
    assert.equal(manifest.files?.at(-1)?.name, name);
  });

test("an older module refuses a release of files by its format", () => {
  assert.throws(() => parseManifest(claims({ format: 3 })), /manifest format 3, this module knows 1 and 2/);
});

test("a stored name is a mark and 120 bits of base64url, of every content", () => {
  for (let i = 0; i < 300; i++) {
    const hash = createHash("sha256").update(String(i)).digest();
    const name = storedName(hash.toString("base64"));
    assert.equal(name, `~${hash.toString("base64url").slice(0, 20)}`);
    assert.ok(isStoredName(name));
  }
  for (const name of ["~", "~abc", `~${"a".repeat(21)}`, `~${"a".repeat(19)}+`, `x${"a".repeat(20)}`, ".https-ota0"])
    assert.equal(isStoredName(name), false, name);
});

test("what is a module, and by which name", () => {
  const set = { entry: "app.js" };
  const names = ["app.js", "lib/a.js", "https-ota", "b.js", "logo.img", "readme.txt", "x.json"];
  assert.deepEqual(
    names.map((name) => moduleName(set, name)),
    ["", "lib/a", "https-ota", "b", "", "", ""],
  );
});

test("the list of a set reads back as it was", () => {
  const set = { id: SHA, version: 'v"1', entry: "app.js", files: [{ name: "a", size: 3, stored: "~x" }] };
  assert.deepEqual(parseSet(setText(set)), set);
});

test("the id of a release changes with each part of it, and with nothing else", () => {
  const a = { name: "a", sha256: SHA, size: 1, url: "u" };
  const b = { name: "b", sha256: "cd".repeat(32), size: 2 };
  const image = { fsverity: `sha256:${SHA}` };
  const texts = [
    releaseText(undefined, "a", [a, b]),
    releaseText(image, "a", [a, b]),
    releaseText(undefined, "b", [a, b]),
    releaseText(undefined, "a", [b, a]),
    releaseText(undefined, "a", [a]),
    releaseText(undefined, "a", [{ ...a, name: "c" }, b]),
    releaseText(undefined, "a", [{ ...a, sha256: "ef".repeat(32) }, b]),
  ];
  assert.equal(new Set(texts).size, texts.length);
  assert.equal(releaseText(undefined, "a", [{ ...a, sha256: SHA.toUpperCase() }, b]), texts[0]);
});
