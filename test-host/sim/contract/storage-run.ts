// One program on one Storage, in the real interpreter and in the virtual one: what it prints, and every byte of the
// flash behind it. The real one keeps Storage in the file espruino.flash of its folder.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { linuxArea } from "../espruino/area.ts";
import { createEngine } from "../espruino/engine.ts";

export const STORAGE_SIZE = 0x40000;
const LIMIT_MS = 120_000;
const BANNER = / ____ {17}_ [\s\S]*espruino\.com\/Donate\n/;

export type Run = {
  /** Printed before the program ran: what the start had to say. */
  start: string[];
  lines: string[];
  flash: Uint8Array;
};

export type Interpreter = (flash: Uint8Array, code: string) => Promise<Run>;

export const blankFlash = (): Uint8Array => new Uint8Array(STORAGE_SIZE).fill(0xff);

const linesOf = (text: string): string[] => text.split("\n").filter((line) => line !== "");

const PRELUDE = `echo(0);
var s = require("Storage");
function t(fn) {
  try { print(JSON.stringify(fn())); } catch (e) { print(e.toString()); }
}
function fill(n, k) {
  var i, r = "";
  for (i = 0; i < 16; i++) r += String.fromCharCode(33 + (k * 7 + i * 5) % 90);
  while (r.length < n) r += r;
  return r.substr(0, n);
}
function sum(name) {
  var r = s.read(name);
  return r === undefined ? "none" : [r.length, E.CRC32(r)];
}
function state() { return [s.getStats(), s.getFree(), s.hash(), s.list(), s.list().map(sum)]; }
`;

export const program = (calls: string[]): string =>
  `${PRELUDE}${calls.map((call) => `t(function () { return ${call}; });\n`).join("")}quit();\n`;

/** Runs the interpreter with these arguments, in a folder of its own. */
function spawned(
  binary: string,
  flash: Uint8Array,
  args: string[],
  files: Record<string, string> = {},
): Promise<{ text: string; flash: Uint8Array }> {
  const folder = mkdtempSync(join(tmpdir(), "storage-"));
  const storage = join(folder, "espruino.flash");
  writeFileSync(storage, flash);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text, "latin1");
  return new Promise((resolve, reject) => {
    const child = spawn(binary, args, { cwd: folder, stdio: ["pipe", "pipe", "inherit"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
    let out = "";
    child.stdout.setEncoding("latin1").on("data", (text) => {
      out += text;
    });
    child.on("error", reject);
    child.on("close", (status, signal) => {
      clearTimeout(timer);
      const text = out.replaceAll("\r\n", "\n");
      const left = new Uint8Array(readFileSync(storage));
      rmSync(folder, { recursive: true });
      if (status === 0) resolve({ text, flash: left });
      else reject(new Error(`it ended with ${status ?? signal}:\n${text}`));
    });
  });
}

export function realOf(binary: string): Interpreter {
  return async (flash, code) => {
    const run = await spawned(binary, flash, ["program.js"], { "program.js": code });
    const [before, after] = run.text.split(BANNER);
    if (after === undefined) throw new Error(`it did not start:\n${run.text}`);
    return { start: linesOf(before), lines: linesOf(after), flash: run.flash };
  };
}

/** One line of text in the interpreter, which in this mode loads first what save() has left. */
export async function evaluate(binary: string, flash: Uint8Array, code: string): Promise<Omit<Run, "start">> {
  const run = await spawned(binary, flash, ["-e", code]);
  return { lines: linesOf(run.text.replace(BANNER, "")).filter((line) => line !== ">"), flash: run.flash };
}

export function virtualOf(page: number): Interpreter {
  return async (flash, code) => {
    const bytes = flash.slice();
    const engine = createEngine({
      flash: undefined as never,
      board: "LINUX",
      mappings: [],
      storage: linuxArea(bytes, page),
      onReboot() {},
    });
    const said = engine.console.length;
    const end = new Promise<void>((resolve) => {
      engine.onQuit = resolve;
    });
    engine.run(code);
    await end;
    engine.stop();
    return {
      start: linesOf(engine.console.slice(0, said).join("\n")),
      lines: linesOf(engine.console.slice(said).join("\n")),
      flash: bytes,
    };
  };
}

/** The first byte that differs, for a message that says where. */
export function difference(a: Uint8Array, b: Uint8Array): string {
  const at = a.findIndex((byte, i) => byte !== b[i]);
  return at < 0 ? "" : `0x${at.toString(16)}: ${a[at]} in the real Storage, ${b[at]} in the virtual one`;
}
