// Runs the built command as a user does: another process, in a temporary folder, judged by exit code, stdout, stderr.
// Hundreds of commands share one such process (cli-host.mjs); cli.test.ts and the servers have one for each.
import assert from "node:assert/strict";
import { type ChildProcess, fork, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after } from "node:test";
import { fileURLToPath } from "node:url";
import { inParallel } from "../../support/parallel.ts";

export const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
export const REAL_IMAGES = path.join(ROOT, "../shared/images");
export const COMMAND = path.join(ROOT, "build/cli.mjs");
const HOST = fileURLToPath(new URL("cli-host.mjs", import.meta.url));
const LIMIT_MS = 30_000;
const SOURCES = path.join(ROOT, "src/cli");

const newest = Math.max(
  ...readdirSync(SOURCES, { encoding: "utf8", recursive: true })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => statSync(path.join(SOURCES, name)).mtimeMs),
);
if (!existsSync(COMMAND) || statSync(COMMAND).mtimeMs < newest)
  throw new Error("build/cli.mjs is not what src/cli gives: npm run build");

export type Run = { code: number | null; stdout: string; stderr: string; bytes: Buffer };

type Place = { cwd: string; env: NodeJS.ProcessEnv };

function startProcess({ cwd, env }: Place, args: string[]): ChildProcess {
  return spawn(process.execPath, [COMMAND, ...args], { cwd, env });
}

function runProcess(place: Place, args: string[]): Promise<Run> {
  return new Promise((resolve, reject) => {
    const child = startProcess(place, args);
    const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
    const out: Buffer[] = [];
    let stderr = "";
    child.stdout?.on("data", (data) => out.push(data));
    child.stderr?.setEncoding("utf8").on("data", (text) => {
      stderr += text;
    });
    child.on("error", reject);
    child.on("close", (code) => {
      clearTimeout(timer);
      const bytes = Buffer.concat(out);
      resolve({ code, stdout: bytes.toString("utf8"), stderr, bytes });
    });
  });
}

/** One process for many runs, one after the other; another one when it died. */
function createHost({ cwd, env }: Place): { run(args: string[]): Promise<Run>; end(): void } {
  let child: ChildProcess | undefined;
  let last: Promise<unknown> = Promise.resolve();
  const runNow = (args: string[]) =>
    new Promise<Run>((resolve) => {
      child ??= fork(HOST, [COMMAND], { cwd, env, execArgv: [], serialization: "advanced", silent: true });
      const host = child;
      const timer = setTimeout(() => host.kill("SIGKILL"), LIMIT_MS);
      const finish = (run: Run) => {
        clearTimeout(timer);
        host.removeAllListeners();
        resolve(run);
      };
      host.once("message", ({ code, stdout, stderr }: any) => {
        const bytes = Buffer.from(stdout);
        finish({ code, stdout: bytes.toString("utf8"), stderr: Buffer.from(stderr).toString("utf8"), bytes });
      });
      host.once("exit", (code) => {
        child = undefined;
        finish({ code, stdout: "", stderr: "the process of the command is gone", bytes: Buffer.alloc(0) });
      });
      host.send(args);
    });
  return {
    run(args) {
      const run = last.then(() => runNow(args));
      last = run;
      return run;
    },
    end: () => void child?.kill(),
  };
}

/** A folder of its own for one test file; relative names in `run` are in it. With `alone` each run is a process. */
export function workshop({ alone = false } = {}): {
  folder: string;
  at(name: string): string;
  put(name: string, content: string | Uint8Array): string;
  get(name: string): Buffer;
  run(...args: string[]): Promise<Run>;
  start(...args: string[]): ChildProcess;
} {
  const folder = mkdtempSync(path.join(tmpdir(), "https-ota-cli-"));
  const at = (name: string) => path.join(folder, name);
  const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: "1", COLUMNS: "100" };
  delete env.FORCE_COLOR;
  delete env.NODE_TEST_CONTEXT;
  const place = { cwd: folder, env };
  const host = createHost(place);
  after(() => {
    host.end();
    rmSync(folder, { recursive: true });
  });
  return {
    folder,
    at,
    put(name, content) {
      writeFileSync(at(name), content);
      return name;
    },
    get: (name) => readFileSync(at(name)),
    start: (...args) => startProcess(place, args),
    run: (...args) => (alone ? runProcess(place, args) : host.run(args)),
  };
}

export function succeeds(run: Run, ...says: RegExp[]): Run {
  assert.deepEqual({ code: run.code, stderr: run.stderr }, { code: 0, stderr: "" }, run.stdout);
  for (const one of says) assert.match(run.stdout, one);
  return run;
}

/** One line on stderr that says what and where, the exit code, and no stack trace anywhere. */
export function fails(run: Run, code: 1 | 2, says: RegExp): Run {
  assert.match(run.stderr, /^[^\n]+\n$/, `one line on stderr, found: ${run.stderr || "nothing"}`);
  assert.match(run.stderr, says);
  assert.equal(run.code, code, run.stderr);
  assert.doesNotMatch(run.stdout + run.stderr, /\n\s+at |node:internal/, "a stack trace");
  return run;
}

/** Runs `job` for all of `items`, a few at a time. */
export async function forAll<T>(items: readonly T[], job: (item: T) => Promise<void>): Promise<void> {
  await inParallel(items, 6, job);
}
