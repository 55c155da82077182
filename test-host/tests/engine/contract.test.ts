// Holds the fake to the real interpreter: every script of test-host/sim/contract runs in both against the same server of
// misbehaviours, and what they print must be equal line by line. ESPRUINO names the real binary; without it the fake
// is compared with the recording made from it (`RECORD=1 ESPRUINO=... node --import tsx --test ...` records it again).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { isDeepStrictEqual } from "node:util";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { engineHolds, tooSmallForTls } from "../../real-espruino/engine.ts";
import { type ContractServer, LARGE, startServer } from "../../sim/espruino/misbehaviour.ts";
import { createEngine, type Engine, type EngineOptions } from "../../sim/espruino/engine.ts";
import { leftOut } from "../../support/share.ts";

const FOLDER = fileURLToPath(new URL("../../sim/contract/", import.meta.url));
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

/** A fake whose flash answers every address. */
function fakeEngine(options: Partial<EngineOptions> = {}): Engine {
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
  return createEngine({
    flash,
    board: "LINUX",
    version: "2v29.277",
    mappings: [],
    onReboot() {},
    ...options,
  });
}

function runFake(name: string, code: string): Promise<string[]> {
  const engine = fakeEngine();
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
const AT_ONCE = 4;

/** Runs a script, or one that is made of cases as often as it has cases, some at a time. */
async function output(name: string, run: (name: string, code: string) => Promise<string[]>): Promise<string[]> {
  const inCases = program(name, 0).includes("runCase([");
  if (!inCases) return run(name, program(name, 0));
  const lines: string[] = [];
  for (let first = 0; ; first += AT_ONCE) {
    const indexes = Array.from({ length: AT_ONCE }, (_, i) => first + i);
    const parts = await Promise.all(indexes.map((index) => run(name, program(name, index))));
    for (const part of parts) {
      if (part[0] === NO_MORE) return lines;
      lines.push(...part);
    }
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

const NETWORK = /^(http|tls)/;

/** Bytes that the interpreter has to have room for: of a body, of a header, of an array. */
const KEEPS: Record<string, number> = { "http-chunked-large": 330_000, "http-body": 66_000, typed: 70_010 };

const recordingOf = (name: string): string => path.join(FOLDER, `${name}.expected`);
const recorded = (name: string): string[] => readFileSync(recordingOf(name), "latin1").split("\n").slice(0, -1);

const FAKE = "the fake prints what was recorded from the real interpreter";

function holdFake(names: string[]): void {
  for (const name of names) {
    test(name, async (t) => {
      if (leftOut(t, 2, "of what the real interpreter printed")) return;
      const expected = recorded(name);
      const lines = await output(name, runFake);
      // a case of the network ends when nothing comes for some time: a busy machine may be slower than that, once
      const isLate = NETWORK.test(name) && !isDeepStrictEqual(lines, expected);
      assert.deepEqual(isLate ? await output(name, runFake) : lines, expected);
    });
  }
}

// those without the network measure time, so they run alone
describe(FAKE, { skip: RECORD }, () => holdFake(NAMES.filter((name) => !NETWORK.test(name))));
describe(`${FAKE}, network`, { skip: RECORD, concurrency: AT_ONCE }, () => {
  holdFake(NAMES.filter((name) => NETWORK.test(name)));
});

/** Behind a whole body over TLS the peer's close-notify is read or not: it depends on whether it has come by then. */
const withoutRace = (line: string): string =>
  line.replace(/ data end (error\(\{"code":-30848,[^)]*\) close\(true\)|close\(false\))$/, " data end close");

describe("the recording is what the real interpreter prints:", { skip: REAL ? false : "ESPRUINO is not set" }, () => {
  for (const name of NAMES) {
    test(name, async (t) => {
      const noTls = name.startsWith("tls") && (await tooSmallForTls());
      if (noTls) return t.skip(noTls);
      const bytes = KEEPS[name];
      if (bytes && !(await engineHolds(bytes))) return t.skip(`this interpreter has no room for ${bytes} bytes`);
      const lines = await output(name, runReal);
      if (RECORD) writeFileSync(recordingOf(name), lines.map((line) => `${line}\n`).join(""), "latin1");
      else assert.deepEqual(lines.map(withoutRace), recorded(name).map(withoutRace));
    });
  }
});

// --- what only tests see of the fake

function withEngine(options: Partial<EngineOptions>, run: (engine: Engine) => unknown): () => Promise<void> {
  return async () => {
    const engine = fakeEngine(options);
    try {
      await run(engine);
    } finally {
      engine.stop();
    }
  };
}

test("each start draws the same random numbers, and others as it goes on", () => {
  const draw = (engine: Engine): unknown => engine.run("[Math.random(),Math.random(),E.hwRand()].join()");
  const engines = [fakeEngine(), fakeEngine()];
  const [first, second] = engines.map(draw);
  assert.equal(first, second);
  assert.notEqual(draw(engines[0]), first);
  for (const engine of engines) engine.stop();
});

test(
  "nothing runs after power off, and a call that waits is rejected",
  withEngine({}, async (engine) => {
    engine.run("var n=0;setInterval(function(){n++},1);setTimeout(function(){print('late')},20)");
    const call = engine.call(engine.run("new Promise(function(){})"));
    engine.stop();
    await assert.rejects(call, /stopped/);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.deepEqual(engine.console, []);
    assert.deepEqual(engine.accounts(), { sockets: 0, timers: 0, listeners: 0 });
    assert.throws(() => engine.run("1"), /stopped/);
  }),
);

test("a program is cut at the native call in which the power goes", async () => {
  let engine: Engine | undefined;
  const flash: any = { size: 8192, read: () => new Uint8Array(1), write: () => engine?.stop(), erase() {} };
  engine = fakeEngine({ flash });
  const code = "try{require('Flash').write('x',0)}catch(e){try{print(1)}catch(e2){}}seen=1";
  assert.equal(engine.run(`var seen=0;setTimeout(function(){${code}},1)`), 1);
  await engine.advance(5);
  assert.deepEqual([engine.console, engine.problems], [[], []]);
});

test("reboot stops the engine, tells the device, and runs nothing after it", async () => {
  let reboots = 0;
  const engine = fakeEngine({ onReboot: () => reboots++ });
  engine.run("ESP32.reboot();print('after')");
  assert.deepEqual([reboots, engine.console, engine.problems], [1, [], []]);
});

test(
  "a native that is to run out of memory gives undefined, a typed array throws",
  withEngine({}, (engine) => {
    engine.oom = (name, index) => (name === "Flash.read" && index === 1) || name === "new Uint8Array";
    engine.run("var f=require('Flash');print(typeof f.read(1,0),typeof f.read(1,0),typeof f.read(1,0))");
    engine.run("try{new Uint8Array(4)}catch(e){print(e.message)}");
    assert.deepEqual(engine.console, ["object undefined object", "Unsupported first argument of type Number"]);
    assert.equal(engine.nativeCalls["Flash.read"], 3);
  }),
);

test(
  "what is not modelled throws and is a problem",
  withEngine({}, (engine) => {
    for (const code of ["E.nope()", "require('Wifi')", "peek32(0x3ff00000)", "ESP32.deepSleep(1)"]) {
      assert.throws(() => engine.run(code), /not modelled/, code);
    }
    assert.equal(engine.problems.length, 4);
    assert.equal(engine.run("typeof ESP32.setOTAValid"), "undefined");
  }),
);

test(
  "advance fires timers in the order they fall due, and what they set off",
  withEngine({ nowMs: 1000 }, async (engine) => {
    engine.run("setTimeout(function(){print('b',Date.now()>=61000)},60000);setTimeout(function(){print('a')},5000)");
    engine.run("var n=0,i=setInterval(function(){n++;Promise.resolve(n).then(print)},20000)");
    await engine.advance(59000);
    assert.deepEqual(engine.console, ["a", "1", "2"]);
    await engine.advance(2000);
    assert.deepEqual(engine.console, ["a", "1", "2", "b true", "3"]);
    assert.equal(engine.accounts().timers, 1);
  }),
);

test(
  "a throw in a callback and an unhandled rejection are problems, with their stack",
  withEngine({}, async (engine) => {
    engine.run("setTimeout(function wrong(){throw new Error('one')},1)", "app.js");
    await engine.advance(5);
    engine.run("Promise.reject(new Error('two'))");
    await engine.advance(5);
    assert.match(engine.problems[0], /Error: one[\s\S]*app\.js/);
    assert.match(engine.problems[1], /Unhandled promise rejection: Error: two/);
    assert.deepEqual(engine.console, [
      "Uncaught Error: one",
      "Uncaught Error: Unhandled promise rejection: Error: two",
    ]);
  }),
);

test(
  "1.5 MB arrive in well under two seconds, in pieces of at most 536 bytes",
  withEngine({}, async (engine) => {
    const started = performance.now();
    const answer = engine.run(
      `new Promise(function(y){require("http").get("http://127.0.0.1:${server.ports.PORT}/large",function(r){` +
        `var n=0,most=0;r.on("data",function(d){n+=d.length;most=Math.max(most,d.length)});` +
        `r.on("close",function(){y([n,most])})})})`,
    );
    assert.deepEqual([...(await engine.call<number[]>(answer))], [LARGE, 536]);
    assert.ok(performance.now() - started < 2000);
    assert.deepEqual(engine.accounts(), { sockets: 0, timers: 0, listeners: 0 });
  }),
);
