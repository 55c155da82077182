// npm run demo: the main job from end to end, on a virtual ESP32 and a real HTTPS server on this computer.
// Exit code 0 only when the bootloader model started what update() installed, each time.
import path from "node:path";
import pc from "picocolors";
import { isRefusal } from "../../src/cli/ui/errors.ts";
import { checkOutput, readInput, writeOutput } from "../../src/cli/ui/files.ts";
import { loadPublicKeys } from "../../src/cli/release/keys.ts";
import { loadBoard } from "../sim/boards.ts";
import { createBadLine } from "./line.ts";
import { type Options, parseOptions } from "./options.ts";
import { runPowerCuts } from "./power.ts";
import { LEAST_STORAGE, runProgram } from "./program.ts";
import {
  bootError,
  type Fact,
  factText,
  type UpdateRun,
  rowsOf,
  runningImage,
  runUpdate,
  type Source,
} from "./update-run.ts";
import { createScreen, createSilence, type Screen } from "./screen.ts";
import { runTrial } from "./trial.ts";
import { createDevice, type Device } from "../sim/device.ts";
import { CHIPS } from "../sim/bootloader.ts";
import { buildImage, type ImageSpec } from "../support/images.ts";
import { type Row, slots } from "../sim/partitions.ts";
import { claimsFor, type Key, makeKey, signManifest } from "../support/release.ts";
import { serveFile, type Server, startServer } from "../support/server.ts";

const PROJECT = "espruino";
const FIRST_VERSION = "1.0.0";
/** Of the smallest slot: what runs at first, what comes over the network. */
const RUNNING_SHARE = 0.85;
const UPDATE_SHARES = [0.9, 0.8];
const KEY_BITS = 2048;
/** A foreign server that keeps silent must not hold the demo for longer than half a minute. */
const PATIENCE = { timeout: 8000, retries: 2 };

/** A fact that ends the demo with exit code 1. */
class Failure extends Error {}

// --- Generated firmware --------------------------------------------------------------------------------------------

type About = { project: string; version: string; chip?: string };

/** What an image says about itself (docs/formats.md#app-descriptor), or null where it has no app descriptor. */
function describe(image: Uint8Array): { project: string; version: string } | null {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  if (image.length < 288 || view.getUint32(32, true) !== 0xabcd5432) return null;
  const text = (offset: number) =>
    Buffer.from(image.subarray(offset, offset + 32))
      .toString("latin1")
      .split("\0")[0];
  return { version: text(48), project: text(80) };
}

/** The same as a release: older images say no version, so the file's name says it. */
function aboutFile(image: Uint8Array, file: string): About {
  const chip = CHIPS.find(({ chipId }) => image[12] === chipId && image[13] === 0)?.name;
  return { project: PROJECT, version: path.basename(file).replace(/\.bin$/, ""), ...describe(image), chip };
}

/** `about` null: an image that names neither project nor version, on which manifests of every project are installed. */
function generate(chip: string, rows: readonly Row[], about: About | null, share: number): Uint8Array {
  const { version, project } = about ?? { version: FIRST_VERSION, project: PROJECT };
  const room = Math.min(...slots(rows).map((row) => row.size));
  const seed = version.split(".").reduce((sum, part) => sum * 100 + Number(part), 1);
  const size = Math.floor((room * share) / 16) * 16;
  return buildImage({ chip: chip as ImageSpec["chip"], size, seed, descriptor: about ? { version, project } : false });
}

/** One minor version up; images without descriptor, or with a version of another kind, count as the first one. */
function versionAfter(version: string | undefined): string {
  const [, major, minor] = /^(\d+)\.(\d+)\.\d+$/.exec(version ?? "") ?? [null, "1", "0"];
  return `${major}.${Number(minor) + 1}.0`;
}

// --- The device and its updates --------------------------------------------------------------------------------------

function openDevice(options: Options): Device {
  const board = loadBoard(options.board);
  const storage = board.rows.find((row) => row.label === "storage");
  if (options.program && (storage?.size ?? 0) < LEAST_STORAGE)
    throw new Failure(`board ${board.name} has too little Storage: --program needs ${LEAST_STORAGE} bytes`);
  if (options.flash === undefined) {
    const label = slots(board.rows)[0].label;
    // a manifest is refused by the firmware of another project: what is to be installed says which one runs
    const project = (options.image !== undefined && describe(readInput(options.image))?.project) || PROJECT;
    const about = options.key === undefined ? { version: FIRST_VERSION, project } : null;
    const first = generate(board.chip, board.rows, about, RUNNING_SHARE);
    return createDevice({ board, images: { [label]: first }, bootCode: options.program });
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

/** Serves `image`, and, unless it is to be insecure, a manifest that `key` has signed. Gives what the device must know. */
async function publish(
  server: Server,
  image: Uint8Array,
  about: About,
  sequence: number,
  key: Key | null,
): Promise<Pick<Source, "config" | "trust">> {
  const name = encodeURIComponent(about.version);
  server.on(`/${name}.bin`, serveFile(image));
  if (!key)
    return { config: { url: server.url(`/${name}.bin`), insecure: true }, trust: "insecure: whatever the server has" };
  const claims = claimsFor(image, {
    ...about,
    sequence,
    iat: Math.floor(Date.now() / 1000),
    image: { url: `${name}.bin` },
  });
  const manifest = new Uint8Array(Buffer.from(await signManifest(claims, key), "latin1"));
  server.on(`/${name}.jws`, serveFile(manifest, { contentType: "application/jose" }));
  const trust = `signed manifest, RSA-${KEY_BITS} key ${key.kid}`;
  return { config: { url: server.url(`/${name}.jws`), keys: [{ ...key.jwk, kid: key.kid }] }, trust };
}

/** What a server of the user has: with keys a signed manifest. */
async function foreignSource(url: string, key: string | undefined): Promise<Source> {
  if (key !== undefined) {
    const keys = (await loadPublicKeys(key)).map(({ jwk }) => jwk);
    const kids = keys.map(({ kid }) => kid).join(", ");
    return { title: `Update from ${url}`, trust: `signed manifest, key ${kids}`, config: { url, keys, ...PATIENCE } };
  }
  const manifest = new URL(url).pathname.endsWith(".jws") ? "; a manifest wants --key FILE" : "";
  return {
    title: `Update from ${url}, unauthenticated`,
    trust: `insecure: whatever the server has${manifest}`,
    config: { url, insecure: true, ...PATIENCE },
  };
}

/** The updates one after another: the next one is made only when the one before has been installed. */
async function* planUpdates(options: Options, device: Device, server: Server, screen: Screen): AsyncGenerator<Source> {
  if (options.url !== undefined) {
    yield await foreignSource(options.url, options.key);
    return;
  }
  const key = options.insecure ? null : await makeKey({ bits: KEY_BITS });
  // a dump that was updated before remembers the last one
  const confirmed: number = device.ota.getStatus().sequence;
  for (const [index, share] of UPDATE_SHARES.entries()) {
    const running = device.boots.at(-1)?.image;
    const file = index === 0 ? options.image : undefined;
    const given = file === undefined ? undefined : readInput(file);
    const next: About = { project: running?.project ?? PROJECT, version: versionAfter(running?.version) };
    const about = given && file !== undefined ? aboutFile(given, file) : next;
    about.chip ??= device.board.chip;
    const image = given ?? generate(device.board.chip, rowsOf(device), about, share);
    const release = await publish(server, image, about, confirmed + index + 1, key);
    const title = `Update ${index + 1} of ${UPDATE_SHARES.length}: ${image.length} bytes from ${release.config.url}`;
    if (index > 0 || !options.cut) yield { title, image, ...release };
    else {
      const line = createBadLine(server, image, options.cut, (number, offset, how) =>
        screen.text(`cut ${number} of ${options.cut}: ${how} at byte ${offset}`),
      );
      server.on(`/${encodeURIComponent(about.version)}.bin`, line.behaviour);
      yield { title, image, line, ...release, config: { ...release.config, timeout: 2000 } };
    }
  }
}

async function runUpdates(options: Options, device: Device, screen: Screen): Promise<UpdateRun[]> {
  const server = await startServer({ tls: true });
  const updateRuns: UpdateRun[] = [];
  try {
    for await (const source of planUpdates(options, device, server, screen)) {
      const updateRun = await runUpdate(device, source, screen);
      updateRuns.push(updateRun);
      if (updateRun.error) break;
    }
  } finally {
    await server.close();
  }
  return updateRuns;
}

// --- The run -----------------------------------------------------------------------------------------------------------

/** The first update of the plan, never confirmed. */
async function runBadImage(options: Options, device: Device, screen: Screen): Promise<Result> {
  const server = await startServer({ tls: true });
  try {
    const { value } = await planUpdates(options, device, server, screen).next();
    const trial = await runTrial(device, value as Source, screen);
    return { line: JSON.stringify(trial), error: trial.error };
  } finally {
    await server.close();
  }
}

/** One line for a program: the first update, and all of them under `steps`. */
function report(updateRuns: UpdateRun[]): string {
  const { from, to, bytes, fetched, refetched, erases, cuts, deviceSeconds } = updateRuns[0];
  const error = updateRuns.find((updateRun) => updateRun.error)?.error;
  return JSON.stringify({ from, to, bytes, fetched, refetched, erases, cuts, deviceSeconds, steps: updateRuns, error });
}

/** What --json prints, and what went wrong. */
type Result = { line: string; error?: Fact };

async function powerCuts(options: Options, screen: Screen): Promise<void> {
  const result = await runPowerCuts(options.board, screen, options.cells);
  if (options.json) console.log(JSON.stringify(result));
  if (result.findings > 0)
    throw new Failure(`${result.findings} cases are wrong; npm run replay -- ${result.ids[0]} tells the first`);
}

async function updates(options: Options, device: Device, screen: Screen): Promise<Result> {
  const updateRuns = await runUpdates(options, device, screen);
  return { line: report(updateRuns), error: updateRuns.at(-1)?.error };
}

async function program(_: Options, device: Device, screen: Screen): Promise<Result> {
  const programRun = await runProgram(device, screen);
  return { line: JSON.stringify(programRun), error: programRun.error };
}

function headline({ url, badImage, program, powerCuts, insecure }: Options): string {
  if (program) return "A virtual ESP32 updates its program and its firmware, and takes a bad program back.";
  if (powerCuts) return "A virtual ESP32 loses its power at every flash operation of an update.";
  if (badImage) return "A virtual ESP32 installs an image that never says it works, and goes back.";
  if (url !== undefined) return "A virtual ESP32 updates itself over the network, once.";
  return `A virtual ESP32 updates itself over HTTPS, twice, ${insecure ? "without signatures" : "from signed releases"}.`;
}

const NEXT =
  "Next: npm run demo -- --image FILE takes your own image, -- --help shows more. For a board, README.md: " +
  "From a fresh board to a signed update.";

/** Before anything runs, so that no slip costs a file or a run. */
async function checkFiles({ image, flash, key, dump }: Options): Promise<void> {
  for (const file of [image, flash]) if (file !== undefined) readInput(file);
  if (key !== undefined) await loadPublicKeys(key);
  if (dump !== undefined) checkOutput(dump);
}

async function run(options: Options): Promise<void> {
  const screen = options.json ? createSilence() : createScreen();
  await checkFiles(options);
  screen.heading(headline(options));
  screen.text("Flash, bootloader and Espruino are models, the network is this computer's own.");
  if (options.powerCuts) return powerCuts(options, screen);
  const device = openDevice(options);
  try {
    boot(device, options, screen);
    const job = options.program ? program : options.badImage ? runBadImage : updates;
    const { line, error } = await job(options, device, screen);
    if (options.dump !== undefined) {
      writeOutput(options.dump, device.dump());
      screen.success(`${options.dump} holds the whole flash, ${device.flash.size} bytes`);
    }
    if (options.json) console.log(line);
    if (error) throw new Failure(factText(error));
    const what = options.program
      ? "the program ran that should"
      : "the bootloader model started the slot that it should";
    screen.heading(`Done: after each restart ${what}.`);
    screen.text(NEXT);
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
      error instanceof Failure || isRefusal(error)
        ? error.message
        : `internal error: ${(error as Error)?.message ?? String(error)}`;
    console.error(pc.red(`demo: ${text.replaceAll("\n", " ")}`));
  }
}

await main();
