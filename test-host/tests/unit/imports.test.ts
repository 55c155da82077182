// What checkImports must let pass and what it must refuse, as two tables; and docs/architecture.md, whose tables must name the
// same arrows and the files that are there.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ARROWS, checkImports, checkRepository, SHARED } from "../../checks/imports.mjs";
import { leftOut } from "../../support/share.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** A room, and what a file of it imports: a path, or the name of a module. "type ...": as a type. */
type Arrow = [from: string, to: string];

const PACKAGE = "node_modules/acorn/index.js";

const REFUSED: Arrow[] = [
  // up, and beside
  ["src/boot/", "src/update/update.ts"],
  ["src/boot/", "src/net/http.ts"],
  ["src/boot/", "src/config.ts"],
  ["src/boot/", "type src/config.ts"],
  ["src/boot/", "src/fleet/poll.ts"],
  ["src/config.ts", "src/update/update.ts"],
  ["src/config.ts", "src/boot/lock.ts"],
  ["src/config.ts", "src/fleet/poll.ts"],
  ["src/errors.ts", "src/platform/bytes.ts"],
  ["src/fleet/", "src/index.ts"],
  ["src/fleet/", "src/trust/keys.ts"],
  ["src/hawkbit/", "src/index.ts"],
  ["src/hawkbit/", "src/update/update.ts"],
  ["src/image/", "src/boot/lock.ts"],
  ["src/index.ts", "src/trust/keys.ts"],
  ["src/index.ts", "src/hawkbit/hawkbit.ts"],
  ["src/loader/", "src/update/update.ts"],
  ["src/loader/", "src/platform/bytes.ts"],
  ["src/net/", "src/boot/lock.ts"],
  ["src/net/", "type src/boot/lock.ts"],
  ["src/net/", "src/config.ts"],
  ["src/net/", "src/image/image.ts"],
  ["src/platform/", "src/fleet/poll.ts"],
  ["src/platform/", "src/hawkbit/hawkbit.ts"],
  ["src/platform/", "src/index.ts"],
  ["src/trust/", "src/config.ts"],
  ["src/trust/", "src/fleet/poll.ts"],
  ["src/trust/", "src/update/update.ts"],
  ["src/update/", "src/fleet/poll.ts"],
  ["src/update/", "src/loader/loader.ts"],
  // out of the device
  ["src/update/", "src/cli/ui/errors.ts"],
  ["src/boot/", "src/tools/docs.mjs"],
  ["src/trust/", "test-host/sim/flash.ts"],
  ["src/trust/", "type test-host/sim/flash.ts"],
  ["src/net/", "fs"],
  ["src/platform/", "fs"],
  ["src/platform/", PACKAGE],
  // the command
  ["src/cli/commands/", "src/cli/commands/sign.ts"],
  ["src/cli/factory/", "src/cli/commands/options.ts"],
  ["src/cli/factory/", "src/cli/server/listener.ts"],
  ["src/cli/formats/", "src/cli/release/release.ts"],
  ["src/cli/formats/", "src/boot/lock.ts"],
  ["src/cli/formats/", "src/platform/engine.ts"],
  ["src/cli/page/", "src/cli/ui/errors.ts"],
  ["src/cli/page/", "src/platform/bytes.ts"],
  ["src/cli/page/", "fs"],
  ["src/cli/push/", "src/cli/server/listener.ts"],
  ["src/cli/push/", "src/update/update.ts"],
  ["src/cli/release/", "src/cli/server/listener.ts"],
  ["src/cli/report/", "src/cli/push/port.ts"],
  ["src/cli/server/", "src/cli/push/port.ts"],
  ["src/cli/server/", "src/cli/report/report.ts"],
  ["src/cli/server/", "test-host/support/server.ts"],
  ["src/cli/server/page/", "src/cli/server/listener.ts"],
  ["src/cli/server/page/", "type src/cli/ui/errors.ts"],
  ["src/cli/ui/", "src/cli/formats/image.ts"],
  ["src/cli/ui/", "src/platform/bytes.ts"],
  // the build, and the examples
  ["rollup.config.mjs", "test-host/checks/size.mjs"],
  ["rollup.config.mjs", "src/net/http.ts"],
  ["src/tools/", "src/net/http.ts"],
  ["src/tools/", "test-host/checks/size.mjs"],
  ["examples/", "src/net/http.ts"],
  // test-host
  ["test-host/sim/", "src/boot/otadata.ts"],
  ["test-host/sim/", "type src/boot/otadata.ts"],
  ["test-host/sim/", "test-host/support/server.ts"],
  ["test-host/sim/", "test-host/campaign/runner.ts"],
  ["test-host/sim/espruino/", "src/platform/bytes.ts"],
  ["test-host/sim/espruino/", "test-host/support/server.ts"],
  ["test-host/sim/contract/", "test-host/campaign/runner.ts"],
  ["test-host/real-espruino/", "test-host/support/server.ts"],
  ["test-host/support/", "src/boot/otadata.ts"],
  ["test-host/support/", "test-host/campaign/runner.ts"],
  ["test-host/support/", "test-host/tests/cli/cli-run.ts"],
  ["test-host/campaign/", "src/boot/otadata.ts"],
  ["test-host/campaign/", "test-host/demo/line.ts"],
  ["test-host/mutants/", "test-host/campaign/runner.ts"],
  ["test-host/bench/", "test-host/demo/line.ts"],
  ["test-host/demo/", "src/update/update.ts"],
  ["test-host/demo/", "src/cli/server/listener.ts"],
  ["test-host/pictures/", "test-host/demo/line.ts"],
  ["test-host/pictures/", "src/cli/push/port.ts"],
  ["test-host/checks/", "test-host/support/server.ts"],
  ["test-host/attacks/", "src/boot/otadata.ts"],
  ["test-host/attacks/", "test-host/tests/net/answer-cases.ts"],
  ["test-host/vectors/", "test-host/sim/flash.ts"],
];

const TAKEN: Arrow[] = [
  ["src/index.ts", "type src/trust/keys.ts"],
  ["src/index.ts", "src/update/update.ts"],
  ["src/fleet/", "src/update/update.ts"],
  ["src/update/", "src/config.ts"],
  ["src/trust/", "type src/config.ts"],
  ["src/trust/", "src/net/http.ts"],
  ["src/net/", "src/platform/bytes.ts"],
  ["src/net/", "src/net/http.ts"],
  ["src/config.ts", "src/image/image.ts"],
  ["src/boot/", "src/image/image.ts"],
  ["src/platform/", "src/errors.ts"],
  ["src/hawkbit/", "src/platform/bytes.ts"],
  ["src/loader/", "src/boot/otadata.ts"],
  ["src/cli/commands/", "src/cli/commands/options.ts"],
  ["src/cli/commands/", "src/cli/server/listener.ts"],
  ["src/cli/factory/", "src/cli/push/port.ts"],
  ["src/cli/formats/", "src/boot/otadata.ts"],
  ["src/cli/page/", PACKAGE],
  ["src/cli/server/", "src/cli/server/page/page.ts"],
  ["src/cli/server/", "fs"],
  ["src/cli/server/page/", "type src/cli/server/listener.ts"],
  ["src/cli/ui/", PACKAGE],
  ["rollup.config.mjs", "src/tools/docs.mjs"],
  ["test-host/sim/", "test-host/support/images.ts"],
  ["test-host/sim/espruino/", "test-host/sim/flash.ts"],
  ["test-host/support/", "test-host/sim/espruino/engine.ts"],
  ["test-host/mutants/", "type test-host/campaign/runner.ts"],
  ["test-host/demo/", "src/cli/ui/errors.ts"],
  ["test-host/attacks/", "test-host/tests/cli/cli-run.ts"],
  ["test-host/tests/unit/", "src/boot/lock.ts"],
  ["test-host/tests/unit/", "test-host/demo/line.ts"],
];

/** The problems of a repository with these files, text by path. */
async function problemsOf(files: Record<string, string>): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), "https-ota-imports-"));
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    const tops = new Set(Object.keys(files).map((path) => path.split("/")[0]));
    tops.delete("node_modules");
    return await checkImports(folder, [...tops]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const ENDS = "export const value = 1;\nexport type Type = 1;\n";

/** `to` as a file below the folder of `from` names it. */
function specifierOf(from: string, to: string): string {
  if (to === PACKAGE) return "acorn";
  if (!/[/.]/.test(to)) return to;
  const path = relative(dirname(from), to);
  return path.startsWith(".") ? path : `./${path}`;
}

/** A repository with a file for each arrow, as far as its room is not a file itself; and what the check says of it. */
async function problemsOfArrows(arrows: Arrow[]): Promise<{ problems: string[]; named: string[] }> {
  const files: Record<string, string> = {};
  const named = arrows.map(([room, target], i) => {
    const from = room.endsWith("/") ? `${room}case-${i}.ts` : room;
    const [, type, to] = /^(type )?(.+)$/.exec(target) as RegExpExecArray;
    const what = type ? "import type { Type }" : "import { value }";
    files[from] = `${files[from] ?? ""}${what} from "${specifierOf(from, to)}";\n`;
    if (/[/.]/.test(to)) files[to] ??= "";
    return `${from}: imports ${type ? "types of " : ""}${to};`;
  });
  for (const path of Object.keys(files)) files[path] += ENDS;
  return { problems: await problemsOf(files), named };
}

test("each forbidden arrow is refused, and nothing else with it", async (t) => {
  if (leftOut(t, 3, "of forbidden imports")) return;
  const { problems, named } = await problemsOfArrows(REFUSED);
  assert.deepEqual(
    problems.map((problem) => problem.replace(/;.*/, ";")),
    [...named].sort(),
  );
});

test("what the table names passes", async (t) => {
  if (leftOut(t, 3, "of forbidden imports")) return;
  assert.deepEqual((await problemsOfArrows(TAKEN)).problems, []);
});

/** Each way to name another file. */
const FORMS: Record<string, string> = {
  "import for its effects": 'import "../boot/lock";',
  "import of a type among values": 'import { type Type, value } from "../boot/lock";',
  "export from": 'export { value } from "../boot/lock";',
  "export of all": 'export * from "../boot/lock";',
  "export of a type": 'export type { Type } from "../boot/lock";',
  "import()": 'export const later = import("../boot/lock");',
  "require()": 'declare function require(name: string): any;\nexport const lock = require("../boot/lock");',
  "import = require()": 'import lock = require("../boot/lock");\nexport const a = lock;',
  "a type by import()": 'export let a: import("../boot/lock").Type;',
  "a path of the compiler": '/// <reference path="../boot/lock.ts" />',
  "a type in a comment": '/** @type {import("../boot/lock").Type} */\nexport const a = 1;',
};

test("a forbidden arrow is refused in each form that it can have", async () => {
  const files = Object.values(FORMS).map((text, i): [string, string] => [`src/net/case-${i}.ts`, `${text}\n`]);
  const problems = await problemsOf({ ...Object.fromEntries(files), "src/boot/lock.ts": ENDS });
  for (const [i, title] of Object.keys(FORMS).entries())
    assert.ok(
      problems.some((one) =>
        new RegExp(`^src/net/case-${i}\\.ts: imports (?:types of )?src/boot/lock\\.ts;`).test(one),
      ),
      title,
    );
});

test("require() of the interpreter's modules is for platform/ and separate bundles", async () => {
  const text =
    'declare function require(name: string): any;\nexport const a = require("http"), b = require("Storage");\n';
  const rooms = ["platform", "hawkbit", "loader", "net", "update", "fleet"];
  const problems = await problemsOf(Object.fromEntries(rooms.map((room) => [`src/${room}/a.ts`, text])));
  assert.deepEqual(
    problems.map((problem) => problem.replace(/;.*/, "")),
    ["fleet", "net", "update"].flatMap((room) => [
      `src/${room}/a.ts: imports Storage`,
      `src/${room}/a.ts: imports http`,
    ]),
  );
});

test("a file that is in no room is refused", async () => {
  const problems = await problemsOf({ "src/extra/a.ts": ENDS, "src/b.ts": ENDS, "test-host/extra/a.ts": ENDS });
  assert.deepEqual(
    problems,
    ["src/b.ts", "src/extra/a.ts", "test-host/extra/a.ts"].map(
      (path) => `${path}: is in no room of test-host/checks/imports.mjs`,
    ),
  );
});

test("a cycle is refused: in src/ of types too", async () => {
  const value = (to: string) => `import { value } from "${to}";\nexport const other = value;\n${ENDS}`;
  const type = (to: string) => `import type { Type } from "${to}";\nexport type Other = Type;\n${ENDS}`;
  const problems = await problemsOf({
    "src/net/a.ts": value("./b"),
    "src/net/b.ts": value("./a"),
    "src/boot/a.ts": value("./b"),
    "src/boot/b.ts": type("./a"),
    "test-host/sim/a.ts": value("./espruino/b.ts"),
    "test-host/sim/espruino/b.ts": value("../a.ts"),
    "test-host/support/a.ts": value("./b.ts"),
    "test-host/support/b.ts": type("./a.ts"),
  });
  assert.deepEqual(
    problems.map((problem) => problem.replace(/\w+\.ts: a cycle by .+/, "a cycle")),
    ["src/boot/a cycle", "src/net/a cycle", "test-host/sim/a cycle"],
  );
});

test("nothing imports a test", async () => {
  const problems = await problemsOf({
    "test-host/tests/net/a.test.ts": ENDS,
    "test-host/tests/net/b.ts": 'import "./a.test.ts";\n',
  });
  assert.deepEqual(problems, ["test-host/tests/net/b.ts: imports the test test-host/tests/net/a.test.ts"]);
});

// `npm run check` says it too
test("the imports of this repository pass", async (t) => {
  if (leftOut(t, 4, "of forbidden imports")) return;
  assert.deepEqual(await checkRepository(), []);
});

test("each room of the table, and what it may import, is there", () => {
  for (const [section, rows] of Object.entries(ARROWS))
    for (const [room, to] of Object.entries(rows))
      for (const name of [room, ...to.split(" ")].map((one) => one.replace("types:", "")))
        if (!["*", "", "engine", "node", "npm", "shared"].includes(name))
          assert.ok(existsSync(join(ROOT, name.startsWith("/") ? name : section + name)), `${section}${room}: ${name}`);
  for (const file of SHARED) assert.ok(existsSync(join(ROOT, file)), file);
});

const DOCUMENT = readFileSync(join(ROOT, "docs/architecture.md"), "utf8");

/** The text below a heading of the second level. */
function sectionOf(title: string): string {
  const [, text] = DOCUMENT.split(`\n## ${title}\n`);
  assert.ok(text, title);
  return text.split("\n## ")[0];
}

/** The rows of the table whose first line begins so, each as its cells; the first line too. */
function tableOf(section: string, start: string): string[][] {
  const lines = section.split("\n");
  const from = lines.findIndex((line) => line.startsWith(`| ${start}`) || (!start && line.startsWith("| |")));
  assert.ok(from >= 0, `a table that begins with ${start}`);
  const end = lines.findIndex((line, i) => i > from && !line.startsWith("|"));
  const rows = lines.slice(from, end).map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
  return rows.filter((_, i) => i !== 1);
}

const codesOf = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, code]) => code);

type Table = Record<string, string[]>;

/** What a table of the check says of rooms, with types as "types:"; without rooms that import no other. */
function arrowsOf(table: Record<string, string>): Table {
  const arrows = Object.entries(table).map(([room, to]): [string, string[]] => [
    room,
    to
      .split(" ")
      .filter((name) => name && !["engine", "node", "npm", "/package.json"].includes(name))
      .sort(),
  ]);
  return Object.fromEntries(arrows.filter(([room, to]) => room !== "*" && to.length));
}

/** The same from a table with marks. */
function marksOf([head, ...rows]: string[][]): Table {
  const columns = head.map((cell) => codesOf(cell)[0] ?? cell);
  return Object.fromEntries(
    rows.map(([room, ...marks]) => {
      const names = marks.map((mark, i) => mark && (mark === "t" ? "types:" : "") + columns[i + 1]);
      for (const mark of marks) assert.match(mark, /^[xt]?$/);
      return [codesOf(room)[0], names.filter(Boolean).sort()];
    }),
  );
}

test("architecture.md has the arrows of src/", () => {
  assert.deepEqual(marksOf(tableOf(sectionOf("Arrows"), "")), arrowsOf(ARROWS["src/"]));
  const [, rooms] = /Only ([^.]+) call `require\(\)`/.exec(sectionOf("Arrows")) ?? [];
  const engine = Object.entries(ARROWS["src/"]).filter(([, to]) => to.split(" ").includes("engine"));
  assert.deepEqual(codesOf(rooms).sort(), engine.map(([room]) => room).sort());
});

test("architecture.md has the arrows of the command", () => {
  const section = sectionOf("The command");
  const page = ARROWS[""]["src/cli/server/page/"].replace("src/cli/", "");
  assert.deepEqual(marksOf(tableOf(section, "")), arrowsOf({ ...ARROWS["src/cli/"], "server/page/": page }));
  const shared = tableOf(section, "rule").flatMap(([, cell]) => codesOf(cell).filter((name) => name !== "src/"));
  assert.deepEqual(shared.map((name) => `src/${name}`).sort(), [...SHARED].sort());
});

test("architecture.md has the arrows of test-host/", () => {
  const [, ...rows] = tableOf(sectionOf("Rooms of test-host/"), "folder | what");
  const said = rows.map(([room, , cell]): [string, string[]] => [
    codesOf(room)[0],
    [...cell.matchAll(/(types of )?`([^`]+)`/g)].map(([, types, name]) => (types ? `types:${name}` : name)).sort(),
  ]);
  const table = Object.entries(arrowsOf(ARROWS["test-host/"])).map(([room, to]): [string, string[]] => [
    room,
    to.map((name) => name.replace(/^\//, "")).sort(),
  ]);
  assert.deepEqual(Object.fromEntries(said.filter(([, to]) => to.length)), Object.fromEntries(table));
  assert.deepEqual(said.map(([room]) => room).sort(), Object.keys(ARROWS["test-host/"]).slice(1).sort());
});

test("each arrow of src/ points down in the picture", () => {
  const [, picture] = sectionOf("Rooms").split("```\n");
  for (const [from, names] of Object.entries(arrowsOf(ARROWS["src/"])))
    for (const to of names.map((name) => name.replace("types:", "")))
      assert.ok(picture.indexOf(from) >= 0 && picture.indexOf(from) < picture.indexOf(to), `${from} above ${to}`);
});

test("architecture.md names each file of src/, and none that is not there", () => {
  const named = [
    ["Rooms", "src/"],
    ["The command", "src/cli/"],
  ].flatMap(([title, folder]) =>
    tableOf(sectionOf(title), "room | files").flatMap(([room, files], i) => {
      if (!i) return [];
      const [name] = codesOf(room);
      return name.endsWith("/") ? codesOf(files).map((file) => folder + name + file) : [folder + name];
    }),
  );
  const there = readdirSync(join(ROOT, "src"), { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile() && one.name !== "tsconfig.json" && !one.name.endsWith(".d.mts"))
    .map((one) => relative(ROOT, join(one.parentPath, one.name)));
  assert.deepEqual(named.sort(), there.sort());
});

test("architecture.md names each folder of test-host/ and of its tests", () => {
  const foldersOf = (path: string) =>
    readdirSync(join(ROOT, path), { withFileTypes: true }).flatMap((one) =>
      one.isDirectory() ? [`${one.name}/`] : [],
    );
  const section = sectionOf("Rooms of test-host/");
  const rowsOf = (start: string) =>
    tableOf(section, start)
      .slice(1)
      .map(([room]) => codesOf(room)[0]);
  const outer = rowsOf("folder | what").filter((room) => room.indexOf("/") === room.length - 1);
  assert.deepEqual(outer.sort(), foldersOf("test-host").sort());
  assert.deepEqual(rowsOf("folder of").sort(), foldersOf("test-host/tests").sort());
});
