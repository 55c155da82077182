// Runs a command as a user does: another process, of which exit code, standard output and standard error are read. Either a
// process for each run, or, as fast as hundreds of runs need it, one process for all of them (command-host.mjs).

import { type ChildProcess, fork, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

export type Run = { code: number | null; stdout: string; stderr: string; bytes: Buffer };

export type Command = {
  /** The script, a path. */
  file: string;
  cwd: string;
  env: NodeJS.ProcessEnv;
  /** Options of Node. */
  execArgv?: string[];
  limitMs?: number;
};

const HOST = fileURLToPath(new URL("command-host.mjs", import.meta.url));
const LIMIT_MS = 30_000;

/** Of this process, without what would change the output. */
export function plainEnvironment(): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: "1" };
  delete env.FORCE_COLOR;
  delete env.NODE_TEST_CONTEXT;
  return env;
}

export function startProcess({ file, cwd, env, execArgv = [] }: Command, args: string[]): ChildProcess {
  return spawn(process.execPath, [...execArgv, file, ...args], { cwd, env });
}

export function runProcess(command: Command, args: string[]): Promise<Run> {
  return new Promise((resolve, reject) => {
    const child = startProcess(command, args);
    const timer = setTimeout(() => child.kill("SIGKILL"), command.limitMs ?? LIMIT_MS);
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

export type Host = { run(...args: string[]): Promise<Run>; end(): void };

/** One process for many runs, one after the other. A run that ends the process has no code; the next one gets another process. */
export function createHost({ file, cwd, env, execArgv = [], limitMs = LIMIT_MS }: Command): Host {
  let child: ChildProcess | undefined;
  let last: Promise<unknown> = Promise.resolve();
  const runNow = (args: string[]) =>
    new Promise<Run>((resolve) => {
      child ??= fork(HOST, [file], { cwd, env, execArgv, serialization: "advanced", silent: true });
      const host = child;
      const timer = setTimeout(() => host.kill("SIGKILL"), limitMs);
      const finish = (run: Run) => {
        clearTimeout(timer);
        host.removeAllListeners();
        resolve(run);
      };
      host.once("message", ({ code, stdout, stderr }: any) => {
        const bytes = Buffer.from(stdout);
        finish({ code, stdout: bytes.toString("utf8"), stderr: Buffer.from(stderr).toString("utf8"), bytes });
      });
      host.once("exit", () => {
        child = undefined;
        finish({ code: null, stdout: "", stderr: "the process of the command is gone\n", bytes: Buffer.alloc(0) });
      });
      host.send(args);
    });
  return {
    run(...args) {
      const run = last.then(() => runNow(args));
      last = run;
      return run;
    },
    end: () => void child?.kill(),
  };
}
