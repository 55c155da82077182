// docs/parity.md: its tables have each symbol of ESP-IDF's headers once, and no other; each name of ours in them exists, and
// each export, method, event and field of ours is in them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, test } from "node:test";
import ts from "../../checks/typescript.mjs";
import { createDevice } from "../../sim/device.ts";

const ROOT = new URL("../../../", import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, ROOT), "utf8");
const PAGE = read("docs/parity.md");
const IDF = JSON.parse(read("test-host/vectors/esp-idf-symbols.json"));

type Row = { heading: string; cells: string[] };
const rows: Row[] = [];
let heading = "";
for (const line of PAGE.split("\n")) {
  if (/^##+ /.test(line)) heading = line.replace(/^#+ /, "");
  // a link may hold a bar in no cell of this page
  if (line.startsWith("| `"))
    rows.push({
      heading,
      cells: line
        .slice(1, -1)
        .split("|")
        .map((cell) => cell.trim()),
    });
}
const namesIn = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name);

/** Rows of one of IDF's two headers: not those of others, nor what is ours alone. */
const ofIdf = rows.filter((row) => row.heading !== "Of other headers" && row.heading !== "Only here");
/** All names of ours, in the form that the page has them. */
const ours = rows.flatMap((row) => namesIn(row.cells[row.heading === "Only here" ? 0 : 1]));

/** What the module has: `call(...)`, `handle.call()`, `"EVENT"`, `config.field`, `ERR.NAME`, and types. */
const has: Record<"calls" | "methods" | "events" | "fields" | "codes" | "types", string[]> = {
  calls: [],
  methods: [],
  events: [],
  fields: [],
  codes: [],
  types: [],
};

function membersOf(source: ts.SourceFile, name: string): string[] {
  const found = source.statements.filter(ts.isInterfaceDeclaration).filter((one) => one.name.text === name);
  assert.equal(found.length, 1, `no interface ${name}`);
  return found[0].members.map((one) => one.name?.getText(source) ?? "");
}

before(() => {
  // build/https-ota.js, not the small file: it is what the page names
  const device = createDevice({ bundle: read("build/https-ota.js") }).boot();
  has.calls = Object.keys(device.ota).filter((name) => typeof device.ota[name] === "function");
  has.codes = Object.keys(device.ota.ERR);
  device.stop();
  const source = ts.createSourceFile("x.d.ts", read("build/https-ota.d.ts"), ts.ScriptTarget.Latest, true);
  has.methods = membersOf(source, "Handle");
  has.fields = ["CommonConfig", "SignedConfig", "DigestConfig", "InsecureConfig"].flatMap((name) =>
    membersOf(source, name),
  );
  const events = source.statements.filter(ts.isTypeAliasDeclaration).find((one) => one.name.text === "EventName");
  has.events = [...(events?.type.getText() ?? "").matchAll(/"(\w+)"/g)].map(([, name]) => name);
  has.types = [...read("build/https-ota.d.ts").matchAll(/^export type \{ (.*) \};$/gm)].flatMap(([, all]) =>
    all.split(", "),
  );
  for (const [kind, names] of Object.entries(has)) assert.ok(names.length > 5, `${kind}: ${names}`);
});

test("the page names the releases whose symbols it has", () => {
  for (const { release, commit } of [IDF, IDF.later]) {
    assert.ok(PAGE.includes(release), release);
    assert.match(commit, /^[0-9a-f]{40}$/);
  }
});

test("each symbol of ESP-IDF's headers is in the tables once, and no other symbol is", () => {
  const listed = ofIdf.flatMap((row) => namesIn(row.cells[0])).sort();
  const wanted = [IDF["esp_https_ota.h"], IDF["esp_ota_ops.h"], IDF.later["esp_ota_ops.h"]].flat().sort();
  assert.equal(new Set(wanted).size, wanted.length);
  assert.deepEqual(listed, wanted);
});

test("a symbol for which there is nothing says why", () => {
  const nothing = ofIdf.filter(({ cells }) => cells[1] === "-");
  assert.ok(nothing.length > 15, String(nothing.length));
  for (const { cells } of nothing) assert.ok(cells[2].length > 5, cells[0]);
  for (const { cells } of ofIdf) assert.ok(cells[1] === "-" || namesIn(cells[1]).length, cells[0]);
});

test("each name of ours in the tables exists", () => {
  const kinds: [RegExp, keyof typeof has][] = [
    [/^handle\.(\w+)\(\)$/, "methods"],
    [/^(\w+)\(.*\)$/, "calls"],
    [/^"(\w+)"$/, "events"],
    [/^config\.(\w+)$/, "fields"],
    [/^ERR\.(\w+)$/, "codes"],
    [/^(\w+)$/, "types"],
  ];
  assert.ok(ours.length > 80, String(ours.length));
  for (const name of ours) {
    if (name === "ERR") continue;
    const [pattern, kind] = kinds.find(([one]) => one.test(name)) ?? assert.fail(`what is ${name}?`);
    const [, plain] = pattern.exec(name) as RegExpExecArray;
    assert.ok(has[kind].includes(plain), `${name}: the module has no such thing`);
  }
});

test("each export, method, event and field of the module is in the tables", () => {
  const missing = [
    ...has.calls.filter((name) => !ours.some((one) => one.startsWith(`${name}(`))),
    ...has.methods.filter((name) => !ours.includes(`handle.${name}()`)),
    ...has.events.filter((name) => !ours.includes(`"${name}"`)),
    ...has.fields.filter((name) => !ours.includes(`config.${name}`)),
  ];
  assert.deepEqual(missing, []);
  assert.ok(ours.includes("ERR"));
});
