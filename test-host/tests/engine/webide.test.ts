// What reaches a device is not what we ship: the Web IDE minifies `https-ota.js` once more, and wraps both files.
// So the built files go through the IDE's own code, and the results must still be ES5 that Espruino understands,
// export the same names, and load in the real interpreter in each of the three ways that a module can be loaded
// (docs/espruino.md#modules-can-be-forgotten, docs/espruino.md#the-web-ide-minifies-again).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { createContext, runInContext } from "node:vm";
import { checkEs5 } from "../../checks/es5.mjs";
import { engineHolds } from "../../real-espruino/engine.ts";
import { leftOut } from "../../support/share.ts";
import { ideProcess, ideUpload } from "../../support/webide.ts";

const ESPRUINO = process.env.ESPRUINO;
// all of its names: those made by defineProperty are enumerable in Espruino, and not in Node
const PROGRAM = 'print("KEYS " + JSON.stringify(Object.getOwnPropertyNames(require("https-ota")).sort()));';

const read = (name: string) => readFileSync(new URL(`../../../build/${name}`, import.meta.url), "utf8");
const READABLE = read("https-ota.js");
const MINIFIED = read("https-ota.min.js");

/** Runs a program in a bare context, where nothing of Node helps out; the module names some while it loads. */
function evaluate(program: string, globals: object): void {
  runInContext(program, createContext({ E: { convolve: () => 0 }, clearTimeout() {}, btoa, ...globals }), {
    timeout: 5000,
  });
}

/** Evaluates a module as Espruino does: `exports`, `module` and `require` are given (espruino.md 1.2). */
function exportsOf(code: string): string[] {
  const exports = {};
  evaluate(`(function (exports, module) {${code}\n})(exports, { exports: exports })`, { exports, require: () => ({}) });
  return Object.getOwnPropertyNames(exports).sort();
}

/** What a device does with uploaded text: the names that `require("https-ota")` has afterwards. */
function keysAfterUpload(text: string): string[] {
  const cache: Record<string, unknown> = {};
  let printed = "";
  evaluate(text, {
    setTime() {},
    E: { setTimeZone() {} },
    Modules: {
      addCached(name: string, body: (exports: object) => void) {
        // In Espruino `exports` is a variable of the module's scope, not an argument.
        const exports = {};
        evaluate(`(${body})()`, { exports, require: () => ({}) });
        cache[name] = exports;
      },
    },
    require: (name: string) => cache[name],
    print: (line: string) => {
      printed += line;
    },
  });
  assert.match(printed, /^KEYS /);
  return JSON.parse(printed.slice("KEYS ".length));
}

/** What the IDE makes of https-ota.js: once, and only for a test that is run. */
let processing: Promise<string> | undefined;
const processed = (): Promise<string> => (processing ??= ideProcess(READABLE, { minified: false }));

test("the two built files export the same names", () => {
  const names = exportsOf(READABLE);
  assert.ok(names.includes("update"), String(names));
  assert.deepEqual(exportsOf(MINIFIED), names);
});

test("https-ota.js, minified by the IDE: smaller, ES5 for Espruino, same exports", async (t) => {
  if (leftOut(t, 3, "of what the Web IDE makes of the module")) return;
  const code = await processed();
  assert.ok(code.length < READABLE.length * 0.8, `${READABLE.length} -> ${code.length}`);
  assert.deepEqual(checkEs5(code, "https-ota.js by the IDE", { lateNames: true }), []);
  assert.deepEqual(exportsOf(code), exportsOf(READABLE));
});

test("https-ota.min.js passes the IDE untouched", async () => {
  assert.equal(await ideProcess(MINIFIED, { minified: true }), MINIFIED);
});

for (const [name, code] of [
  ["https-ota", READABLE],
  ["https-ota.min.js", MINIFIED],
]) {
  test(`the upload of a program that requires https-ota carries only ${name}`, async (t) => {
    if (leftOut(t, 3, "of what the Web IDE makes of the module")) return;
    const text = await ideUpload(PROGRAM, { [name]: code });
    assert.ok(text.endsWith(PROGRAM));
    // Every other name in require() must be built in: the IDE would otherwise have looked for it, and failed.
    assert.equal(text.split("Modules.addCached(").length, 2);
    assert.match(text, /Modules\.addCached\("https-ota",function\(\)\{/);
    assert.deepEqual(checkEs5(text, "upload", { lateNames: true }), []);
    assert.deepEqual(keysAfterUpload(text), exportsOf(code));
  });
}

describe("the helper itself", () => {
  test("a module that is not found, and code that cannot be minified, are errors", async (t) => {
    if (leftOut(t, 3, "of what the Web IDE makes of the module")) return;
    await assert.rejects(ideUpload('require("nowhere");', {}), /Module nowhere not found/);
    await assert.rejects(ideProcess("var = 1;", { minified: false }), /Unexpected token/);
  });

  test("the package finds no network", async () => {
    await assert.rejects(ideUpload('require("http://localhost/x.js");', {}), /asked for the network/);
  });
});

// ---- In the real interpreter --------------------------------------------------------------------------------------

/** Runs programs one after another, as one device that is restarted in between: Storage is kept in `folder`. */
async function runInEspruino(programs: string[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "https-ota-engine-"));
  try {
    let output = "";
    for (const program of programs) {
      await writeFile(join(folder, "program.js"), `${program}\nquit();\n`, "latin1");
      output += await start(folder);
    }
    return output;
  } finally {
    await rm(folder, { recursive: true });
  }
}

function start(folder: string): Promise<string> {
  return new Promise((resolve, reject) => {
    // Storage is ./espruino.flash of the working folder. SIGTERM is ignored (espruino.md 3.2).
    const child = spawn(ESPRUINO as string, ["program.js"], { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
    let output = "";
    child.stdout.on("data", (data) => {
      output += data.toString("latin1");
    });
    child.stderr.on("data", (data) => {
      output += data.toString("latin1");
    });
    child.on("error", reject);
    child.on("close", () => {
      clearTimeout(timer);
      resolve(output);
    });
  });
}

async function keysInEspruino(programs: string[]): Promise<string[]> {
  const output = await runInEspruino(programs);
  assert.doesNotMatch(output, /Uncaught|WARNING|ERROR/, output);
  const line = /KEYS (\[.*\])/.exec(output);
  assert.ok(line, output);
  return JSON.parse(line[1]);
}

const PIECE = 8192;
const pieces = (code: string) =>
  Array.from({ length: Math.ceil(code.length / PIECE) }, (_, i) => code.slice(i * PIECE, (i + 1) * PIECE));

const LOAD: Record<string, (code: string) => string[]> = {
  "a cached function": (code) => [`Modules.addCached("https-ota",function(){${code}\n});\n${PROGRAM}`],
  "a cached string": (code) => [`Modules.addCached("https-ota",${JSON.stringify(code)});\n${PROGRAM}`],
  "a Storage file, after a restart": (code) => [
    ...pieces(code).map(
      (piece, i) => `require("Storage").write("https-ota",${JSON.stringify(piece)},${i * PIECE},${code.length});`,
    ),
    PROGRAM,
  ],
};

/** How often the code lies in memory when it was uploaded so: as the program's text, and as what that made. */
const IN_MEMORY: Record<string, number> = { "a cached function": 2, "a cached string": 3 };

/** About what the functions of the module take beside its text while it loads. */
const LOADING = 60_000;

/** Bytes that a file may have in the empty Storage of the interpreter. */
async function storageRoom(): Promise<number> {
  const output = await runInEspruino([`print("FREE " + require("Storage").getFree());`]);
  return Number(/FREE (\d+)/.exec(output)?.[1]) - 32; // the header of the file
}

if (!ESPRUINO) {
  console.error("\n*** ESPRUINO is not set: nothing of this was run in the real interpreter. ***\n");
}

describe("in the real interpreter", { skip: ESPRUINO ? false : "ESPRUINO is not set" }, () => {
  for (const [how, programs] of Object.entries(LOAD)) {
    for (const [name, code] of [
      ["https-ota.js", async () => READABLE],
      ["https-ota.js by the IDE", processed],
      ["https-ota.min.js", async () => MINIFIED],
    ] as const) {
      test(`${name} as ${how}`, async (t) => {
        const text = await code();
        const copies = IN_MEMORY[how] ?? 0;
        const bytes = text.length * copies + LOADING;
        if (copies && !(await engineHolds(bytes))) return t.skip(`this interpreter has no room for ${bytes} bytes`);
        if (!copies && text.length > (await storageRoom()))
          return t.skip(`the Storage of this interpreter has no room for ${text.length} bytes`);
        assert.deepEqual(await keysInEspruino(programs(text)), exportsOf(READABLE));
      });
    }
  }

  test("the upload text of a program, as it is", async (t) => {
    if (!(await engineHolds(2 * READABLE.length))) return t.skip("this interpreter has no room for it");
    assert.deepEqual(await keysInEspruino([await ideUpload(PROGRAM, { "https-ota": READABLE })]), exportsOf(READABLE));
  });

  test("a module that cannot load is noticed", async () => {
    await assert.rejects(keysInEspruino(LOAD["a cached function"]("f();function f(){}")), /ReferenceError/);
  });
});
