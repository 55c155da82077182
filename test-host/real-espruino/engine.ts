// Runs a scenario in the real Espruino interpreter, named by the variable ESPRUINO: its own http, TLS, memory and
// promises; only flash, ESP32 and the memory map are replaced (device.js).

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Boot, type BootloaderKind, BOOTLOADERS, CHIPS, type Chip, runBootloader } from "../sim/bootloader.ts";
import { BUNDLE, type Device, mappedSegments, registersOf } from "../sim/device.ts";
import { createFlash } from "../sim/flash.ts";

export const ESPRUINO = process.env.ESPRUINO;

/** Says once, loudly, what is not tested without the interpreter. */
export function warnWithoutEngine(): void {
  if (!ESPRUINO)
    process.stderr.write(
      "\n!!! ESPRUINO is not set: nothing was run in the real interpreter; a green run proves little !!!\n\n",
    );
}

export type EngineRun = {
  /** What the scenario gave to `report`, in order. */
  reports: any[];
  /** All that the interpreter printed. */
  output: string;
  exitCode: number | null;
  /** It was killed, as `mayHang` allows: for a device that is a watchdog's reset. */
  hung: boolean;
  /** What the bootloader would do with the flash that the scenario left behind; the next run does it. */
  boot: Boot;
  counts: { reads: number; writes: number; erases: number };
};

/** The interpreter's Storage, a file of its own beside the flash: it survives from run to run, as on a device. */
const storages = new WeakMap<Device, Uint8Array>();

/**
 * Boots the flash of `device` by the bootloader model, then runs `scenario` (ES5; `ota` is the module, `report(value)`
 * tells the test, `reportError(error)` too, `finish()` ends it) in the interpreter. The flash that it leaves is put
 * back into `device`, and so is its Storage: the next run is the next start.
 */
export async function runInEngine(
  device: Device,
  scenario: string,
  options: {
    bundle?: string;
    timeoutMs?: number;
    mayHang?: boolean;
    bootloader?: BootloaderKind;
    binary?: string;
  } = {},
): Promise<EngineRun> {
  const chip = CHIPS.find((one) => one.chipId === device.board.chipId) as Chip;
  const bootOptions = { chipId: chip.chipId, kind: options.bootloader ?? BOOTLOADERS.current };
  const boot = runBootloader(device.flash, bootOptions);
  if (!boot.slot) throw new Error(`nothing boots:\n${boot.log.join("\n")}`);
  const folder = mkdtempSync(join(tmpdir(), "https-ota-"));
  try {
    const flash = join(folder, "flash.bin");
    writeFileSync(flash, device.dump());
    const storage = join(folder, "espruino.flash");
    const kept = storages.get(device);
    if (kept) writeFileSync(storage, kept);
    const setup = {
      flash,
      module: options.bundle ?? fileURLToPath(BUNDLE),
      board: device.board.espruinoBoard,
      mappings: mappedSegments(boot, chip),
      registers: registersOf(boot, chip),
    };
    const program = join(folder, "program.js");
    const prelude = readFileSync(new URL("device.js", import.meta.url), "utf8");
    writeFileSync(
      program,
      `var SETUP = ${JSON.stringify(setup)};\n${prelude}\nvar ota = require("https-ota");\n${scenario}\n`,
    );
    const { output, exitCode, hung } = await interpret(
      options.binary ?? (ESPRUINO as string),
      program,
      folder,
      options.timeoutMs ?? 60_000,
      options.mayHang,
    );
    const reports = [...output.matchAll(/REPORT (.*)/g)].map((match) => JSON.parse(match[1]));
    const counts = reports.filter((one) => one?.counts).at(-1)?.counts;
    device.flash.load(readFileSync(flash));
    if (existsSync(storage)) storages.set(device, readFileSync(storage));
    return {
      reports: reports.filter((one) => !one?.counts),
      output,
      exitCode,
      hung,
      boot: runBootloader(createFlash({ from: device.flash.snapshot() }), bootOptions),
      counts,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * JsVars of an update over TLS, in bytes: 6900 of 14. The Linux build's mbedTLS takes its two buffers of
 * 16 KB and all else from JsVars (libs/crypto/mbedtls/config.h, jsvMalloc); the ESP32 ports take them from ESP-IDF's heap.
 */
const TLS_BYTES = 6900 * 14;

/** How many JsVars the interpreter can have, and the bytes of one. A build that gets more on demand has been made to. */
export async function engineMemory(): Promise<{ total: number; blocksize: number }> {
  const folder = mkdtempSync(join(tmpdir(), "https-ota-"));
  try {
    const program = join(folder, "program.js");
    writeFileSync(
      program,
      `var list = []; if (process.memory().total === 4096) for (var i = 0; i < 16000; i++) list.push(i);
      var memory = process.memory(); print("MEMORY " + memory.total + " " + memory.blocksize); quit();`,
    );
    const { output } = await interpret(ESPRUINO as string, program, folder, 60_000);
    const found = /MEMORY (\d+) (\d+)/.exec(output);
    if (!found) throw new Error(`the interpreter does not tell its memory:\n${output}`);
    return { total: Number(found[1]), blocksize: Number(found[2]) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Why TLS cannot be tried in this interpreter: what a test says that skips. False where it can. */
export async function tooSmallForTls(): Promise<string | false> {
  if (!ESPRUINO) return "ESPRUINO is not set";
  const { total, blocksize } = await engineMemory();
  if (total * blocksize >= TLS_BYTES) return false;
  return (
    `no room for TLS: this interpreter has ${total} JsVars of ${blocksize} bytes, ` +
    `and the Linux build takes its buffers from them: ${TLS_BYTES} bytes`
  );
}

/** Is it a build that gets more JsVars on demand, in blocks of 4096? It cannot run out of them. */
export const growsOnDemand = async (): Promise<boolean> => (await engineMemory()).total % 4096 === 0;

/**
 * Why one TLS connection after the other cannot be tried in this interpreter. A build with a fixed number of JsVars takes the
 * buffers of 16 KB from them, each in one piece: after some reconnects no piece is long enough, and a build with assertions
 * ends there (jsvMalloc, src/jsvar.c). The ESP32's mbedTLS has a heap of its own. False where it can.
 */
export async function tooSmallForReconnects(): Promise<string | false> {
  if (!ESPRUINO) return "ESPRUINO is not set";
  if (await growsOnDemand()) return false;
  return "no TLS reconnects: this interpreter takes TLS buffers from its fixed JsVars, in one piece each; the 64-bit build does not";
}

/** Has the interpreter room for a text of so many bytes? Builds with a fixed number of JsVars have little. */
export async function engineHolds(bytes: number): Promise<boolean> {
  const folder = mkdtempSync(join(tmpdir(), "https-ota-"));
  try {
    const program = join(folder, "program.js");
    writeFileSync(
      program,
      `var text = ""; while (text.length < ${bytes}) text += "0123456789abcdef0123456789abcdef";
      print("HOLDS " + text.length); quit();`,
    );
    const { output } = await interpret(ESPRUINO as string, program, folder, 60_000);
    return /HOLDS \d/.test(output) && !/MEMORY/.test(output);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function interpret(
  binary: string,
  program: string,
  cwd: string,
  timeoutMs: number,
  mayHang = false,
): Promise<{ output: string; exitCode: number | null; hung: boolean }> {
  return new Promise((resolve, reject) => {
    // Storage is ./espruino.flash of the working directory; stdin must stay open
    const child = spawn(binary, [program], { cwd, stdio: ["pipe", "pipe", "pipe"] });
    let output = "";
    child.stdout.on("data", (data) => {
      output += data;
    });
    child.stderr.on("data", (data) => {
      output += data;
    });
    let hung = false;
    const timer = setTimeout(() => {
      hung = true;
      child.kill("SIGKILL");
      if (!mayHang) reject(new Error(`the interpreter did not end within ${timeoutMs} ms:\n${output}`));
    }, timeoutMs);
    child.on("error", reject);
    child.on("close", (exitCode) => {
      clearTimeout(timer);
      resolve({ output: output.replaceAll("\0", ""), exitCode, hung });
    });
  });
}
