// Runs the built command as a user does: another process, in a temporary folder, and checks exit code, stdout and stderr.
// Hundreds of commands share one such process; servers, and what `alone` runs, have one each.
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after } from "node:test";
import { fileURLToPath } from "node:url";
import { createHost, plainEnvironment, type Run, runProcess, startProcess } from "../../support/command.ts";
import { inParallel } from "../../support/parallel.ts";

export const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
export const REAL_IMAGES = path.join(ROOT, "../shared/images");
export const COMMAND = path.join(ROOT, "build/cli.mjs");
const SOURCES = path.join(ROOT, "src/cli");

const newest = Math.max(
  ...readdirSync(SOURCES, { encoding: "utf8", recursive: true })
    .filter((name) => /\.(?:ts|html|css|svg)$/.test(name))
    .map((name) => statSync(path.join(SOURCES, name)).mtimeMs),
);
if (!existsSync(COMMAND) || statSync(COMMAND).mtimeMs < newest)
  throw new Error("build/cli.mjs is not what src/cli gives: npm run build");

export type { Run };

/** A folder of its own for one test file; relative names in `run` are in it. */
export function workshop(): {
  folder: string;
  at(name: string): string;
  put(name: string, content: string | Uint8Array): string;
  get(name: string): Buffer;
  run(...args: string[]): Promise<Run>;
  /** The same in a process of its own. */
  alone(...args: string[]): Promise<Run>;
  start(...args: string[]): ChildProcess;
} {
  const folder = mkdtempSync(path.join(tmpdir(), "https-ota-cli-"));
  const at = (name: string) => path.join(folder, name);
  const command = { file: COMMAND, cwd: folder, env: { ...plainEnvironment(), COLUMNS: "100" } };
  const host = createHost(command);
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
    start: (...args) => startProcess(command, args),
    run: host.run,
    alone: (...args) => runProcess(command, args),
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
