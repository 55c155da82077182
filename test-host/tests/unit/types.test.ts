// The published types, as a project that has installed the package sees them: with each module setting of TypeScript, and
// with Espruino's `require`. The package is a folder with the files that package.json names, no link to this repository.

import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import ts from "../../checks/typescript.mjs";
import { createDevice } from "../../sim/device.ts";
import { plain } from "../../support/fixture.ts";
import { leftOut } from "../../support/share.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const TYPES = "build/https-ota.d.ts";
const PUBLISHED = ["package.json", "require.d.ts", "build/package.json", "build/https-ota.js", TYPES];

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "https-ota-types-"));
  const installed = join(folder, "node_modules/https-ota");
  for (const file of PUBLISHED) {
    mkdirSync(dirname(join(installed, file)), { recursive: true });
    cpSync(join(ROOT, file), join(installed, file));
  }
  symlinkSync(join(ROOT, "node_modules/@types"), join(folder, "node_modules/@types"));
});
after(() => rmSync(folder, { recursive: true }));

type Project = {
  module: ts.ModuleKind;
  moduleResolution: ts.ModuleResolutionKind;
  /** "type" of the project's package.json */
  type: "commonjs" | "module";
  types?: string[];
  noImplicitAny?: boolean;
};

const { ModuleKind: M, ModuleResolutionKind: R } = ts;
const PROJECTS: Record<string, Project> = {
  "commonjs, resolution node10": { module: M.CommonJS, moduleResolution: R.Node10, type: "commonjs" },
  "node16, CommonJS project": { module: M.Node16, moduleResolution: R.Node16, type: "commonjs" },
  "node16, ESM project": { module: M.Node16, moduleResolution: R.Node16, type: "module" },
  "ES modules, resolution bundler": { module: M.ESNext, moduleResolution: R.Bundler, type: "module" },
};

/** Compiles one file as a project of its own; what the compiler says, one line each. */
function compile(name: string, code: string, { type, types = [], ...options }: Project): string[] {
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "project", type }));
  const file = join(folder, name);
  writeFileSync(file, code);
  const program = ts.createProgram([file], {
    types,
    // what "types" names is looked up from here
    configFilePath: join(folder, "tsconfig.json"),
    lib: ["lib.es5.d.ts", "lib.es2015.promise.d.ts"],
    target: ts.ScriptTarget.ES2015,
    strict: true,
    ...options,
    noEmit: true,
    allowJs: true,
    checkJs: true,
    // the types of Espruino are of 2018 and do not pass today's compiler
    skipLibCheck: types.includes("espruino"),
  });
  return ts.getPreEmitDiagnostics(program).map(({ code, messageText, file, start = 0 }) => {
    const line = file
      ? `${file.fileName.slice(folder.length + 1)}:${file.getLineAndCharacterOfPosition(start).line + 1}`
      : "";
    return `${line} TS${code} ${ts.flattenDiagnosticMessageText(messageText, " ")}`;
  });
}

/** A line behind `@ts-expect-error` has to be refused: the compiler reports the mark when it is not. */
const CALLS = `
const url = "http://example.com/firmware.jws";
const keys = [{ kty: "RSA", n: "83ki", e: "AQAB" }];
const digest = "fsverity-sha256:00";

ota.update({ url, keys }).then((result) => result.upToDate);
ota.update({ url, keys, threshold: 2, project: "lamp" });
ota.update({ url, keys, insecure: false, digest: undefined });
ota.update({ url, digest });
ota.update({ url, insecure: true });
ota.begin({ url, insecure: true }).then((handle) => handle.perform());
ota.checkForUpdate({ url, keys }).then((offer) => offer.manifest.image?.storage?.partition);
ota.checkForUpdate({ url, keys }).then((offer) => offer.files.join() + offer.bytes);
// @ts-expect-error a release of files alone has no image
ota.checkForUpdate({ url, keys }).then((offer) => offer.manifest.image.size);
ota.boot({ onFirstStart: (version) => version.length });
ota.file("logo.img").length;
ota.compactStorage();

// @ts-expect-error none of the three
ota.update({ url });
// @ts-expect-error all of the three
ota.update({ url, keys, digest, insecure: true });
// @ts-expect-error two of the three
ota.update({ url, keys, digest });
// @ts-expect-error two of the three
ota.update({ url, digest, insecure: true });
// @ts-expect-error two of the three
ota.update({ url, keys, insecure: true });
// @ts-expect-error false trusts nothing
ota.update({ url, insecure: false });
// @ts-expect-error no url
ota.update({ keys });
// @ts-expect-error a field that the module refuses
ota.update({ url, keys, timeOut: 1 });
// @ts-expect-error 1 or 2
ota.update({ url, keys, threshold: 3 });
// @ts-expect-error a threshold counts keys
ota.update({ url, digest, threshold: 2 });
// @ts-expect-error a manifest needs keys
ota.checkForUpdate({ url, digest });
// @ts-expect-error neither
ota.begin({ url });

ota.update({
  url,
  keys,
  onEvent(name, data, total) {
    if (name === "WRITE_FLASH") console.log((data / total).toFixed(2));
    if (name === "VERIFY_CHIP_ID") console.log(data.toFixed(0));
    // @ts-expect-error START has no data
    if (name === "START") console.log(data.toFixed(0));
    // @ts-expect-error no such event
    if (name === "STARTED") console.log(name);
  },
}).catch((error: OtaError) => {
  if (error.code === ota.ERR.NOT_ALLOWED) console.log(error.name, error.retry);
  // @ts-expect-error an internal field
  console.log(error.wait_);
});
ota.update({ url, keys, onEvent: function (name: EventName, data?: number, total?: number) {} });
// parameters may be left out
ota.update({ url, keys, onEvent: () => {} });
ota.update({ url, keys, onEvent: (name) => console.log(name === "ABORT") });
ota.update({ url, keys, onEvent(name, data) { if (name === "WRITE_FLASH") console.log(data.toFixed(0)); } });
// @ts-expect-error START has no data
ota.update({ url, keys, onEvent(name, data) { if (name === "START") console.log(data.toFixed(0)); } });
// @ts-expect-error there are three
ota.update({ url, keys, onEvent(name, data, total, more) {} });

const number: 0x10d = ota.ERR.NOT_ALLOWED;
// @ts-expect-error read only
ota.ERR.OK = 0;
// @ts-expect-error nothing of that name
ota.fault(1, "");
ota.confirmAfter(60000, () => true, (name, reason) => reason.length);
ota.boot({ attempts: 3, onTrial: (boots, attempts) => boots + attempts });
ota.setBootPartition("factory");
declare const console: { log(...what: unknown[]): void };
`;
const NAMES = 'import type { OtaError, EventName } from "https-ota";\n';

for (const [name, project] of Object.entries(PROJECTS)) {
  test(`import * as ota: ${name}`, (t) => {
    if (leftOut(t, 4, "of the types under other settings of TypeScript")) return;
    assert.deepEqual(compile("star.ts", `${NAMES}import * as ota from "https-ota";\n${CALLS}`, project), []);
  });

  test(`named imports: ${name}`, (t) => {
    if (leftOut(t, 4, "of the types under other settings of TypeScript")) return;
    const code =
      'import { update, type Config } from "https-ota";\nexport const go = (config: Config) => update(config);\n';
    assert.deepEqual(compile("named.ts", code, project), []);
  });

  // modules of kind ES have no such import
  if (project.module !== M.ESNext)
    test(`import ota = require: ${name}`, (t) => {
      if (leftOut(t, 4, "of the types under other settings of TypeScript")) return;
      assert.deepEqual(compile("equals.ts", `${NAMES}import ota = require("https-ota");\n${CALLS}`, project), []);
    });

  test(`https-ota/require for the global require: ${name}`, (t) => {
    if (leftOut(t, 4, "of the types under other settings of TypeScript")) return;
    const espruino = { ...project, types: ["espruino", "https-ota/require"] };
    const code = `${NAMES}const ota = require("https-ota");\n${CALLS}`;
    assert.deepEqual(compile("global.ts", code, espruino), []);
    // a program in JavaScript, checked
    const wrong = 'require("https-ota").update({ url: "" });\nrequire("Wifi").getDetails();\n';
    const said = compile("program.js", wrong, espruino);
    assert.equal(said.length, 1, said.join("\n"));
    assert.match(said[0], /^program\.js:1 TS2345 /);
  });
}

test("with @types/node, import = require has the types", () => {
  const project = { ...PROJECTS["node16, CommonJS project"], types: ["node"] };
  const code =
    'import ota = require("https-ota");\n// @ts-expect-error\nota.update({ url: "" });\nota.getStatus().running.length;\n';
  assert.deepEqual(compile("node.ts", code, project), []);
});

const UNTYPED = ["measure.js", "ble-uart.js", "neighbour.js", "tcp-push.js", "from-storage.js"];

test("the programs of examples/ have no type errors", () => {
  // what the types of Espruino lack
  const missing =
    'declare const console: { log(text: string): void };\ndeclare module "MQTT";\ndeclare module "Storage";\ndeclare function setTimeout(callback: Function, ms: number, ...values: any[]): number;\ndeclare const setInterval: typeof setTimeout;\n';
  writeFileSync(join(folder, "missing.d.ts"), missing);
  const project = { ...PROJECTS["commonjs, resolution node10"], types: ["espruino", "https-ota/require"] };
  // these call natives that @types/espruino does not know
  const names = readdirSync(join(ROOT, "examples")).filter((name) => name.endsWith(".js") && !UNTYPED.includes(name));
  assert.ok(names.length >= 6, String(names));
  for (const name of names) {
    const text = readFileSync(join(ROOT, "examples", name), "utf8");
    const said = compile(name, `/// <reference path="missing.d.ts" />\n${text}`, { ...project, noImplicitAny: false });
    assert.deepEqual(said, []);
  }
});

// --- What the file holds -----------------------------------------------------------------------------------------------

const parse = (text: string) => ts.createSourceFile("https-ota.d.ts", text, ts.ScriptTarget.Latest, true);

/** What nobody outside has a use for: private members, enums, names that are declared and not exported. */
function internals(text: string): string[] {
  const source = parse(text);
  const exported = new Set<string>();
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isExportSpecifier(node)) exported.add(node.name.text);
    if (ts.isIdentifier(node) && node.text.endsWith("_")) found.push(node.text);
    if (ts.isEnumDeclaration(node)) found.push(`enum ${node.name.text}`);
    ts.forEachChild(node, visit);
  };
  visit(source);
  for (const statement of source.statements) {
    const names = ts.isVariableStatement(statement)
      ? statement.declarationList.declarations.map((one) => one.name.getText())
      : [(statement as ts.DeclarationStatement).name?.getText()];
    for (const name of names) if (name !== undefined && !exported.has(name)) found.push(name);
  }
  if (text.includes("@internal")) found.push("@internal");
  return found;
}

test("the types hold no internals", () => {
  assert.deepEqual(internals(readFileSync(join(ROOT, TYPES), "utf8")), []);
  // and the check sees each kind
  const bad =
    "interface A { wait_?: number }\ndeclare const enum Code { OK = 0 }\n/** @internal */\ndeclare function f(): void;\nexport { f };";
  assert.deepEqual(internals(bad), ["wait_", "enum Code", "A", "Code", "@internal"]);
});

test("the numbers in the types are those of ERR", () => {
  const source = parse(readFileSync(join(ROOT, TYPES), "utf8"));
  const numbers = source.statements.find(
    (one): one is ts.InterfaceDeclaration => ts.isInterfaceDeclaration(one) && one.name.text === "ErrorNumbers",
  );
  assert.ok(numbers);
  const typed = numbers.members.map((one) => [
    one.name?.getText(),
    Number((one as ts.PropertySignature).type?.getText()),
  ]);
  const device = createDevice({ board: "toy-two" }).boot();
  try {
    assert.deepEqual(Object.fromEntries(typed), plain(device.ota.ERR));
  } finally {
    device.stop();
  }
});
