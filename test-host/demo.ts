// npm run demo: the main job from end to end, on a virtual ESP32 and a real HTTPS server on this computer.
// Exit code 0 only when the bootloader model started what update() installed, each time.
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import pc from "picocolors";
import { loadBoard } from "./boards.ts";
import { type Options, parseOptions } from "./demo/options.ts";
import { bootError, factText, type Round, rowsOf, runningImage, runRound, type Source } from "./demo/round.ts";
import { createScreen, createSilence, type Screen } from "./demo/screen.ts";
import { createDevice, type Device } from "./device.ts";
import { fsverity } from "./fsverity.ts";
import { buildImage, type ImageSpec } from "./images.ts";
import { type Row, slots } from "./partitions.ts";
import { serveFile, type Server, startServer } from "./server.ts";

const FIRST_VERSION = "1.0.0";
/** Of the smallest slot: what runs at first, what comes over the network. */
const RUNNING_SHARE = 0.85;
const UPDATE_SHARES = [0.9, 0.8];
/** A foreign server that keeps silent must not hold the demo for longer than half a minute. */
const PATIENCE = { timeout: 8000, retries: 2 };

/** A fact that ends the demo with exit code 1. */
class Failure extends Error {}

function readInput(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new Failure(`cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`);
  }
}

function writeOutput(file: string, bytes: Uint8Array): void {
  try {
    writeFileSync(file, bytes);
  } catch (error) {
    throw new Failure(`cannot write ${file}: ${(error as NodeJS.ErrnoException).code}`);
  }
}

// --- Generated firmware --------------------------------------------------------------------------------------------

function generate(chip: string, rows: readonly Row[], version: string, share: number): Uint8Array {
  const room = Math.min(...slots(rows).map((row) => row.size));
  const seed = version.split(".").reduce((sum, part) => sum * 100 + Number(part), 1);
  const size = Math.floor((room * share) / 16) * 16;
  return buildImage({ chip: chip as ImageSpec["chip"], size, seed, descriptor: { version } });
}

/** One minor version up; images without descriptor, or with a version of another kind, count as the first one. */
function versionAfter(version: string | undefined): string {
  const [, major, minor] = /^(\d+)\.(\d+)\.\d+$/.exec(version ?? "") ?? [null, "1", "0"];
  return `${major}.${Number(minor) + 1}.0`;
}

// --- The device and its updates --------------------------------------------------------------------------------------

function openDevice(options: Options): Device {
  const board = loadBoard(options.board);
  if (options.flash === undefined) {
    const label = slots(board.rows)[0].label;
    return createDevice({ board, images: { [label]: generate(board.chip, board.rows, FIRST_VERSION, RUNNING_SHARE) } });
  }
  const flash = readInput(options.flash);
  if (flash.length !== board.flashSize)
    throw new Failure(
      `${options.flash} has ${flash.length} bytes, the flash of board ${board.name} ${board.flashSize}`,
    );
  return createDevice({ board, flash });
}

function boot(device: Device, options: Options, screen: Screen): void {
  screen.heading(`${device.board.title}: ${device.board.flashSize >> 10} KB of flash`);
  try {
    device.boot();
  } catch (error) {
    if (device.boots.at(-1)?.slot) throw error;
    throw new Failure(`${options.flash ?? "the device"} does not boot on board ${options.board}: ${bootError(device)}`);
  } finally {
    screen.log(device.boots.at(-1)?.log ?? []);
  }
  screen.success(`${device.running} runs ${runningImage(device)}`);
}

/** The updates one after another: the next one is made only when the one before has been installed. */
async function* planUpdates(options: Options, device: Device, server: Server): AsyncGenerator<Source> {
  if (options.url !== undefined) {
    const { url } = options;
    yield { title: `Update from ${url}, unauthenticated`, config: { url, insecure: true, ...PATIENCE } };
    return;
  }
  for (const [index, share] of UPDATE_SHARES.entries()) {
    const file = index === 0 ? options.image : undefined;
    const version = versionAfter(device.boots.at(-1)?.image?.version);
    const image = file === undefined ? generate(device.board.chip, rowsOf(device), version, share) : readInput(file);
    const name = file === undefined ? `espruino-${version}.bin` : encodeURIComponent(path.basename(file));
    server.on(`/${name}`, serveFile(image));
    const url = server.url(`/${name}`);
    const title = `Update ${index + 1} of ${UPDATE_SHARES.length}: ${image.length} bytes from ${url}`;
    yield { title, config: { url, digest: `fsverity-sha256:${fsverity(image)}` }, image };
  }
}

async function runRounds(options: Options, device: Device, screen: Screen): Promise<Round[]> {
  const server = await startServer({ tls: true });
  const rounds: Round[] = [];
  try {
    for await (const source of planUpdates(options, device, server)) {
      const round = await runRound(device, source, screen);
      rounds.push(round);
      if (round.error) break;
    }
  } finally {
    await server.close();
  }
  return rounds;
}

// --- The run -----------------------------------------------------------------------------------------------------------

/** One line for a program: the first update, and all of them under `steps`. */
function report(rounds: Round[]): string {
  const { from, to, bytes, erases, deviceSeconds } = rounds[0];
  const error = rounds.find((round) => round.error)?.error;
  return JSON.stringify({ from, to, bytes, erases, deviceSeconds, steps: rounds, error });
}

async function run(options: Options): Promise<void> {
  const screen = options.json ? createSilence() : createScreen();
  if (options.image !== undefined) readInput(options.image); // before anything is shown
  const device = openDevice(options);
  try {
    boot(device, options, screen);
    const rounds = await runRounds(options, device, screen);
    if (options.dump !== undefined) {
      writeOutput(options.dump, device.dump());
      screen.success(`${options.dump} holds the whole flash, ${device.flash.size} bytes`);
    }
    if (options.json) console.log(report(rounds));
    const error = rounds.at(-1)?.error;
    if (error) throw new Failure(factText(error));
  } finally {
    device.stop();
  }
}

async function main(): Promise<void> {
  process.exitCode = 1; // whatever ends the process before its time
  process.stdout.on("error", () => process.exit(1)); // a pipe whose reader has gone
  const options = parseOptions(process.argv.slice(2));
  if (typeof options === "number") {
    process.exitCode = options;
    return;
  }
  try {
    await run(options);
    process.exitCode = 0;
  } catch (error) {
    const text =
      error instanceof Failure ? error.message : `internal error: ${(error as Error)?.message ?? String(error)}`;
    console.error(pc.red(`demo: ${text.replaceAll("\n", " ")}`));
  }
}

await main();
