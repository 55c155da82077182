// Holds the fake to the real interpreter: every script of test-host/contract runs in both against the same server of
// misbehaviours, and what they print must be equal line by line. ESPRUINO names the real binary; without it the fake
// is compared with the recording made from it (`RECORD=1 ESPRUINO=... node --import tsx --test ...` makes it anew).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { type ContractServer, startServer } from "../contract/server.ts";
import { createEngine } from "../espruino/engine.ts";

const FOLDER = fileURLToPath(new URL("../contract/", import.meta.url));
const REAL = process.env.ESPRUINO;
const RECORD = process.env.RECORD === "1";
const BANNER_END = "http://espruino.com/Donate";
const SCRIPT_LIMIT_MS = 60_000;

let server: ContractServer;

before(async () => {
  server = await startServer();
});

after(() => server.close());

// --- the two interpreters

function program(name: string, index: number): string {
  const names = Object.entries(server.ports).map(([key, port]) => `${key}=${port}`);
  const prelude = readFileSync(path.join(FOLDER, "prelude.js"), "utf8");
  return `var CASE=${index},${names.join(",")};\n${prelude}\n${readFileSync(path.join(FOLDER, `${name}.js`), "utf8")}`;
}

/** What the real interpreter prints after its banner. */
function runReal(_name: string, code: string): Promise<string[]> {
  const folder = mkdtempSync(path.join(tmpdir(), "contract-"));
  writeFileSync(path.join(folder, "program.js"), code, "latin1");
  return new Promise((resolve, reject) => {
    const child = spawn(REAL as string, ["program.js"], { cwd: folder, stdio: ["pipe", "pipe", "inherit"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), SCRIPT_LIMIT_MS);
    let out = "";
    child.stdout.on("data", (bytes) => {
      out += bytes.toString("latin1");
    });
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code !== 0) console.log(`the real interpreter ended with ${code ?? signal}`);
      clearTimeout(timer);
      rmSync(folder, { recursive: true });
      const lines = out.replaceAll("\r\n", "\n").split("\n");
      const from = lines.indexOf(BANNER_END) + 2;
      resolve(lines.slice(from, lines.lastIndexOf("") < 0 ? undefined : -1));
    });
  });
}

function runFake(name: string, code: string): Promise<string[]> {
  const size = 65536;
  const bytes = new Uint8Array(size).fill(255);
  const flash: any = {
    size: bytes.length,
    read: (addr: number, length: number) => bytes.slice(addr % size, (addr % size) + length),
    write(addr: number, data: Uint8Array) {
      for (let i = 0; i < data.length; i++) bytes[addr + i] &= data[i];
    },
    erase: (addr: number) => bytes.fill(255, addr, addr + 4096),
  };
  const engine = createEngine({
    flash,
    board: "LINUX",
    version: "2v29.277",
    mappings: [],
    storage: new Map(),
    onReboot() {},
  });
  return new Promise((resolve, reject) => {
    const finish = (): void => {
      clearTimeout(timer);
      engine.stop();
      resolve([...engine.console]);
    };
    const timer = setTimeout(() => {
      engine.stop();
      reject(new Error(`${name} did not quit; it printed:\n${engine.console.join("\n")}`));
    }, SCRIPT_LIMIT_MS);
    engine.onQuit = () => setImmediate(finish);
    engine.run(code, `${name}.js`);
  });
}

const NO_MORE = "no more cases";

/** Runs a script, or one that is made of cases as often as it has cases. */
async function output(name: string, run: (name: string, code: string) => Promise<string[]>): Promise<string[]> {
  const lines: string[] = [];
  for (let index = 0; ; index++) {
    const code = program(name, index);
    const part = await run(name, code);
    if (part[0] === NO_MORE) return lines;
    lines.push(...part);
    if (!code.includes("runCase([")) return lines;
  }
}

// --- the contract

const NAMES = readdirSync(FOLDER)
  .filter((file) => file.endsWith(".js") && file !== "prelude.js")
  .map((file) => file.slice(0, -3))
  .sort();

if (!REAL) {
  console.log("ESPRUINO is not set: the fake is held to recordings of the real interpreter only, not to itself.");
}

for (const name of NAMES) {
  const recording = path.join(FOLDER, `${name}.expected`);

  test(`${name}: the fake prints what was recorded from the real interpreter`, { skip: RECORD }, async () => {
    const expected = readFileSync(recording, "latin1").split("\n").slice(0, -1);
    assert.deepEqual(await output(name, runFake), expected);
  });

  const skip = REAL ? false : "ESPRUINO is not set";
  test(`${name}: the recording is what the real interpreter prints`, { skip }, async () => {
    const lines = await output(name, runReal);
    const text = lines.map((line) => `${line}\n`).join("");
    if (RECORD) writeFileSync(recording, text, "latin1");
    else assert.deepEqual(lines, readFileSync(recording, "latin1").split("\n").slice(0, -1));
  });
}
