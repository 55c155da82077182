// The imports between rooms (docs/architecture.md): what the table below does not name is refused, and so is a file that is
// in no room. dependency-cruiser finds the imports: `import`, `export from`, `import()`, `require()`, types and JSDoc.

import { fileURLToPath } from "node:url";
import { cruise } from "dependency-cruiser";

/** "shared": the files of the module that the command may import, because a device decides by them. */
export const SHARED = [
  "src/platform/bytes.ts",
  "src/platform/soc.ts",
  "src/image/image.ts",
  "src/boot/otadata.ts",
  "src/boot/partitions.ts",
  "src/boot/storage-claim.ts",
  "src/boot/file-set.ts",
  "src/trust/json.ts",
  "src/trust/manifest.ts",
  "src/trust/limits.ts",
  "src/trust/policy.ts",
  "src/trust/rsa-key.ts",
  "src/net/url.ts",
];

/**
 * Room: what it may import besides its own files; "*": what each room of the section may import. A room is a folder or a
 * file; a folder in a room that has a row of its own is another room. "types:" is `import type` only. A name is below the
 * folder of its section; with "/" in front, below the root. "engine" is `require()` of a module on the device, "node" are
 * Node's modules, "npm" packages.
 */
export const ARROWS = {
  "src/": {
    "index.ts": "fleet/ update/ types:trust/ types:config.ts boot/ types:image/ platform/ errors.ts",
    "hawkbit/": "platform/ engine",
    "loader/": "boot/ errors.ts engine",
    "fleet/": "update/ net/ config.ts boot/ platform/ errors.ts",
    "update/": "trust/ net/ config.ts boot/ image/ platform/ errors.ts",
    "trust/": "net/ types:config.ts boot/ image/ platform/ errors.ts",
    "net/": "platform/ errors.ts",
    "config.ts": "image/ platform/ errors.ts",
    "boot/": "image/ platform/ errors.ts",
    "image/": "platform/ errors.ts",
    "platform/": "errors.ts engine",
    "errors.ts": "",
  },
  "src/cli/": {
    "*": "node npm",
    "main.ts": "commands/ ui/ /package.json",
    "commands/": "commands/options.ts factory/ report/ server/ push/ release/ formats/ ui/ shared",
    "commands/options.ts": "push/ release/ formats/ ui/ shared",
    "factory/": "push/ release/ formats/ ui/ shared",
    "report/": "release/ formats/ ui/ shared",
    "server/": "server/page/ release/ formats/ ui/ shared",
    "push/": "release/ formats/ ui/ shared",
    "release/": "formats/ ui/ shared",
    "formats/": "ui/ shared",
    "ui/": "",
  },
  "test-host/": {
    "*": "node npm",
    "sim/": "sim/espruino/ support/images.ts",
    "sim/espruino/": "sim/ support/certificate.ts",
    "sim/contract/": "sim/ sim/espruino/ support/",
    "real-espruino/": "sim/",
    "support/": "sim/ sim/espruino/ checks/",
    "campaign/": "sim/ sim/espruino/ support/ mutants/",
    "mutants/": "sim/ support/ types:campaign/",
    "bench/": "sim/ support/ real-espruino/",
    "demo/": "sim/ sim/espruino/ support/ campaign/ /src/cli/formats/ /src/cli/release/ /src/cli/ui/",
    "pictures/": "sim/ support/ campaign/ types:demo/ tests/browser/ tests/cli/ /src/cli/push/crc32.ts",
    "checks/": "",
    "attacks/": "sim/ sim/espruino/ support/ real-espruino/ tests/cli/",
    "vectors/": "",
    "tests/": "/test-host/ /src/",
  },
  "": {
    "rollup.config.mjs": "src/tools/ node npm",
    "src/tools/": "node npm",
    "src/cli/page/": "npm",
    "src/cli/server/page/": "types:src/cli/server/ npm",
    "examples/": "engine",
    "examples/program/rollup.config.mjs": "node npm",
  },
};

/** Rooms whose files do not import each other. */
const ALONE = ["src/cli/commands/"];

/** Programs for the interpreter, which has no files to import. */
const PROGRAMS = ["^test-host/sim/contract/.+\\.js$", "^test-host/real-espruino/device\\.js$"];

const TYPES = ["type-only", "type-import"];

const OTHERS = {
  engine: { dependencyTypes: ["require", "unknown"], path: "^\\w[^/]*$" },
  node: { dependencyTypes: ["core"] },
  npm: { dependencyTypesNot: ["local", "core"], pathNot: "^\\.|^(?:src|test-host)/" },
  shared: { path: `^(?:${SHARED.join("|").replaceAll(".", "\\.")})$` },
};

const rows = Object.entries(ARROWS).flatMap(([section, { "*": all = "", ...table }]) =>
  Object.entries(table).map(([name, to]) => ({
    section,
    room: section + name,
    to: `${to} ${all}`.split(" ").filter(Boolean),
  })),
);
const literal = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** The paths of a room, without the rooms in it; or all below a folder that is not a room, or one file. */
function pathOf(name) {
  const isRoom = rows.some(({ room }) => room === name);
  const inner = rows.filter(({ room }) => isRoom && room !== name && room.startsWith(name));
  const not = inner.map(({ room }) => `(?!${literal(room.slice(name.length))})`).join("");
  return `^${literal(name)}${name.endsWith("/") ? "" : "$"}${not}`;
}

const roomOf = (path) => rows.find(({ room }) => new RegExp(pathOf(room)).test(path));

/** A name of the table as a condition of dependency-cruiser. */
function targetOf(section, name) {
  if (OTHERS[name]) return OTHERS[name];
  const [, types, root, rest] = /^(types:)?(\/)?(.*)$/.exec(name);
  const path = pathOf((root ? "" : section) + rest);
  return types ? { path, dependencyTypes: TYPES } : { path };
}

const RULES = {
  allowed: rows.flatMap(({ section, room, to }) => [
    ...(ALONE.includes(room) ? [] : [{ from: { path: pathOf(room) }, to: { path: pathOf(room) } }]),
    ...to.map((name) => ({ from: { path: pathOf(room) }, to: targetOf(section, name) })),
  ]),
  allowedSeverity: "error",
  forbidden: [
    { name: "cycle", severity: "error", from: { path: "^src/" }, to: { circular: true } },
    // outside of src/, types in a cycle do no harm
    {
      name: "cycle",
      severity: "error",
      from: { pathNot: "^src/" },
      to: { circular: true, viaOnly: { dependencyTypesNot: TYPES } },
    },
    { name: "test", severity: "error", from: {}, to: { path: "\\.test\\.ts$" } },
  ],
};

/** What is wrong, for a person. */
function describe({ from, to, rule, cycle, dependencyTypes }) {
  if (rule.name === "cycle") return `${from}: a cycle by ${cycle.map(({ name }) => name).join(", ")}`;
  if (rule.name === "test") return `${from}: imports the test ${to}`;
  const row = roomOf(from);
  if (!row) return `${from}: is in no room of test-host/checks/imports.mjs`;
  const what = dependencyTypes.some((one) => TYPES.includes(one)) ? `types of ${to}` : to;
  return `${from}: imports ${what}; ${row.room} may import ${row.to.join(", ") || "nothing"}`;
}

export async function checkImports(root, paths) {
  const { output } = await cruise(paths, {
    baseDir: root,
    validate: true,
    ruleSet: RULES,
    tsPreCompilationDeps: true,
    detectJSDocImports: true,
    doNotFollow: { path: "node_modules" },
    preserveSymlinks: true,
    exclude: { path: PROGRAMS },
    enhancedResolveOptions: { extensions: [".ts", ".d.ts", ".mjs", ".js"] },
  });
  const read = output.modules.map(({ source }) => source).filter((path) => paths.some((one) => path.startsWith(one)));
  const homeless = read.filter((path) => !roomOf(path));
  const problems = output.summary.violations.map(describe);
  return [...new Set([...problems, ...homeless.map((from) => describe({ from, rule: {} }))])].sort();
}

export function checkRepository() {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  return checkImports(root, ["src", "test-host", "examples", "rollup.config.mjs"]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problems = await checkRepository();
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length ? 1 : 0;
}
