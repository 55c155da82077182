// A release of files: program files in Storage, with firmware or without, a loss of power, a trial, and a program that is
// taken back (docs/design.md#releases-with-files). Everything that is shown is read from the device.

import type { Device } from "../sim/device.ts";
import { nameOf } from "../sim/espruino/chain.ts";
import { recordIn } from "../support/boot-record.ts";
import { filesClaims, loaderWith, MODULE, type ProgramFiles, storedName } from "../support/files-release.ts";
import { sleep } from "../support/fixture.ts";
import { buildImage, type ImageSpec, noise } from "../support/images.ts";
import { cutPowerAt } from "../support/network.ts";
import { type Key, makeKey, signManifest } from "../support/release.ts";
import { serveFile, type Server, startServer } from "../support/server.ts";
import type { Progress, Screen } from "./screen.ts";
import { type Fact, factOf, factText, plainFact, restart, rowsOf, runningImage, strayed } from "./update-run.ts";

/** Of the partition: module, loader, boot record, and two releases. */
export const LEAST_STORAGE = 256 * 1024;
const KEY_BITS = 2048;
const IMAGE_SIZE = 200_000;
const PICTURE_SIZE = 24_000;
/** What the loader waits for the network, and a program of these for its own verdict, in the device's time. */
const LOADER_WAIT_MS = 15_000;
const CONFIRM_MS = 60_000;
/** So long of real time the network may take. */
const PATIENCE_MS = 20_000;
/** In seconds since 1970, of each manifest. */
const SIGNED_AT = 1_790_000_000;

type Release = { version: string; sequence: number; files: ProgramFiles; image?: Uint8Array };

/** What the device says of itself at one moment. */
export type State = {
  step: string;
  slot: string;
  firmware: string | null;
  /** Version of the release that runs, of getStatus(). */
  release: string | null;
  trial: { boots: number; previous: string } | null;
  /** Slot -> version of the set that the boot record binds to it, "" for none. */
  bound: Record<string, string>;
  /** Names in Storage. */
  storage: string[];
};

export type ProgramRun = {
  /** Bytes of a file that were in Storage after the loss of power and were not fetched again, and all of that file. */
  keptBytes: number;
  fileBytes: number;
  /** Why the program that was taken back is not installed again. */
  refused?: Fact;
  rolledBack: string[];
  steps: State[];
  error?: Fact;
};

type Run = { device: Device; server: Server; key: Key; screen: Screen; steps: State[] };

// --- What is released ------------------------------------------------------------------------------------------------

const SENSOR = "exports.read = function () { return 21; };\n";

const appOf = (version: string, first: string) => `var ota = require("https-ota");
var sensor = require("lib/sensor");
${first}
ota.boot({ onFirstStart: function (version) { print("first start of " + version); } });
ota.confirmAfter(${CONFIRM_MS}, function () { return sensor.read() > 0; });
print("program ${version} runs, the picture has " +
  require("Storage").read(ota.file("logo.img")).length + " bytes");
`;

function releasesFor(chip: string): Release[] {
  const descriptor = { version: "1.1.0", project: "espruino" };
  const image = buildImage({ chip: chip as ImageSpec["chip"], size: IMAGE_SIZE, seed: 110, descriptor });
  const files = (version: string, picture: number, first = ""): ProgramFiles => ({
    "lib/sensor.js": SENSOR,
    "app.js": appOf(version, first),
    "logo.img": noise(picture, PICTURE_SIZE),
  });
  return [
    { version: "1.0", sequence: 1, files: files("1.0", 1) },
    { version: "2.0", sequence: 2, files: files("2.0", 2), image },
    { version: "3.0", sequence: 3, files: files("3.0", 2, "sensor.calibrate();") },
  ];
}

const bytesOf = (content: string | Uint8Array): Uint8Array =>
  typeof content === "string" ? Buffer.from(content, "latin1") : content;

/** Puts `release` where the device looks for it: /app.jws, and its files beside. */
async function publish({ server, key, device }: Run, { version, sequence, files, image }: Release): Promise<void> {
  const changes = { version, sequence, chip: device.board.chip, iat: SIGNED_AT };
  const claims = filesClaims(files, { ...changes, ...(image ? { image: { url: "firmware.bin" } } : {}) }, image);
  for (const [name, content] of Object.entries(files))
    server.on(`/files/${encodeURIComponent(name)}`, serveFile(bytesOf(content)));
  if (image) server.on("/firmware.bin", serveFile(image));
  server.on("/app.jws", serveFile(Buffer.from(await signManifest(claims, key), "latin1")));
}

// --- What the device says --------------------------------------------------------------------------------------------

type Named = { stored: string; version: string; files: [name: string, size: number, stored: string][] };

/** The lists of files that Storage holds: docs/formats.md#set-of-files. */
function listsIn({ storage }: Device): Named[] {
  return [...storage.keys()].flatMap((stored) => {
    const text = Buffer.from(storage.get(stored) ?? []).toString("latin1");
    if (!stored.startsWith("~") || !text.startsWith('["')) return [];
    try {
      const [, version, , files] = JSON.parse(text);
      return [{ stored, version, files }];
    } catch {
      return [];
    }
  });
}

const KNOWN: Record<string, string> = {
  ".boot0": "loader",
  "https-ota": "module",
  ".https-ota0": "boot record",
  ".https-ota1": "boot record",
};

/** Bytes in front of what is blank up to the end. */
function filled(bytes: Uint8Array): number {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0xff) end--;
  return end;
}

/** What a file is: by its name, by the lists that name it, or, where no list does, as far as it was fetched. */
function whatIs(device: Device, lists: Named[], stored: string, coming: Release): string {
  if (!stored.startsWith("~")) return KNOWN[stored] ?? "";
  const list = lists.find((one) => one.stored === stored);
  if (list) return `list of the files of ${list.version}`;
  const owners = lists.flatMap(({ version, files }) =>
    files.filter(([, , name]) => name === stored).map(([name]) => [name, version]),
  );
  if (owners.length) return `${owners[0][0]} of ${owners.map(([, version]) => version).join(" and ")}`;
  const [name] = Object.entries(coming.files).find(([, content]) => storedName(content) === stored) ?? ["a file"];
  const bytes = device.storage.get(stored) ?? new Uint8Array(0);
  const part = filled(bytes) < bytes.length ? `${filled(bytes)} bytes so far` : "fetched";
  return `${name} of ${coming.version}: ${part}`;
}

function boundIn(device: Device, lists: Named[]): Record<string, string> {
  const bindings: [string, string][] = recordIn(device.storage)?.fields[12] ?? [];
  const versionOf = (set: string) => lists.find(({ stored }) => stored === set)?.version ?? "";
  return Object.fromEntries(bindings.map(([label, set]) => [label, versionOf(set)]));
}

/** Storage, the sets that are bound, and getStatus(), as they are now. */
function showState(run: Run, step: string, coming: Release): State {
  const { device, screen } = run;
  const status = device.ota.getStatus();
  const lists = listsIn(device);
  const headers = device.storage.files.list();
  const bound = boundIn(device, lists);
  const { free, trash } = status.storage;
  screen.line(`Storage: ${free} bytes free, ${trash} of erased files`);
  for (const header of headers) {
    const what = whatIs(device, lists, nameOf(header), coming);
    screen.line(`  ${nameOf(header).padEnd(21)} ${String(header.size).padStart(6)}  ${what}`);
  }
  const pairs = Object.entries(bound).map(([label, version]) => `${label} to ${version ? `set ${version}` : "no set"}`);
  screen.line(`Boot record binds: ${pairs.join(", ") || "nothing"}`);
  const { running, release, trial } = status;
  const trialText = trial ? `on trial: start ${trial.boots}, ${trial.previous} before` : "no trial";
  screen.line(`getStatus(): ${running} runs, release ${release ? release.version : "none"}, ${trialText}`);
  const state = {
    step,
    slot: running,
    firmware: device.boots.at(-1)?.image?.version ?? null,
    release: release ? String(release.version) : null,
    trial: trial ? { boots: trial.boots, previous: trial.previous } : null,
    bound,
    storage: headers.map(nameOf),
  };
  run.steps.push(state);
  return state;
}

/** What the program and the loader have printed since the start. */
function showConsole({ device, screen }: Run, from = 0): void {
  for (const line of device.engine.console.slice(from)) if (line.trim()) screen.text(`> ${line.trim()}`);
}

// --- What happens ----------------------------------------------------------------------------------------------------

class Wrong extends Error {}

function expect(holds: boolean, what: string): void {
  if (!holds) throw new Wrong(what);
}

/** Runs on until the device asks for a restart. */
async function untilRestart({ device }: Run, why: string): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!device.rebootAsked) {
    if (performance.now() > end) throw new Wrong(`the device does not restart: ${why}`);
    await sleep(2);
  }
}

function startAgain(run: Run): void {
  restart(run.device, false, run.screen);
  run.screen.success(`${run.device.running} runs ${runningImage(run.device)}`);
  showConsole(run);
}

/** update(), once; null when the power went at `powerAt` bytes of files. */
async function update(run: Run, powerAt = Number.POSITIVE_INFINITY): Promise<{ error?: Fact } | null> {
  const { device, screen, server, key } = run;
  const startMs = device.flash.deviceMs();
  let bar: Progress | undefined;
  let fileBytes = 0;
  const power = cutPowerAt(device, ({ kind }) => kind === "write" && fileBytes >= powerAt, "torn");
  function onEvent(name: string, data?: number, total?: number): void {
    if (name === "WRITE_FILE" || name === "WRITE_FLASH") {
      if (name === "WRITE_FILE") fileBytes = data as number;
      bar ??= screen.progress(0);
      bar.update(data as number, total as number, device.flash.deviceMs() - startMs);
      if (data !== total) return;
    } else if (name !== "VERIFY_CHIP_ID" && name !== "VERIFY_CHIP_REVISION") screen.text(name);
    bar?.stop();
    bar = undefined;
  }
  try {
    const config = device.engine.run(`(${JSON.stringify({ url: server.url("/app.jws"), keys: [key.jwk] })})`) as object;
    await device.engine.call(device.ota.update(Object.assign(config, { onEvent })));
    return {};
  } catch (error) {
    return power.happened ? null : { error: factOf(error) };
  } finally {
    device.flash.onOp = null;
    bar?.stop();
  }
}

/** What was asked of the server since the last time, with ranges. */
function showRequests({ server, screen }: Run): string[] {
  const asked = server.requests.map(({ path, headers }) => {
    const range = headers.range && headers.range !== "bytes=0-" ? ` (${headers.range})` : "";
    return `${decodeURIComponent(path)}${range}`;
  });
  server.requests.length = 0;
  screen.text(`asked for ${asked.join(", ")}`);
  return asked;
}

async function confirm(run: Run, release: Release): Promise<State> {
  run.screen.heading(`A minute later confirmAfter() decides on ${release.version}`);
  const before = run.device.storage.size;
  await run.device.engine.advance(CONFIRM_MS + 1000);
  const state = showState(run, `${release.version} confirmed`, release);
  expect(state.trial === null && state.release === release.version, `${release.version} was not confirmed`);
  run.screen.success(
    `${release.version} is confirmed; ${before - state.storage.length} files that it replaces were erased`,
  );
  return state;
}

/** The loader alone fetches the first release. */
async function installFirst(run: Run, first: Release): Promise<void> {
  const { device, screen, server, key } = run;
  screen.heading("The loader and the module are in Storage, as npx https-ota init puts them there");
  device.storage.set(".boot0", loaderWith({ url: server.url("/app.jws"), keys: [key.jwk] }));
  device.storage.set("https-ota", MODULE);
  device.restart();
  showConsole(run);
  showState(run, "init", first);
  screen.heading(`Release ${first.version}, files alone: the loader fetches it`);
  await device.engine.advance(LOADER_WAIT_MS);
  await untilRestart(run, "the loader fetched nothing");
  showRequests(run);
  startAgain(run);
  const state = showState(run, first.version, first);
  expect(state.release === first.version && state.trial !== null, `${first.version} does not run on trial`);
  await confirm(run, first);
}

/** Firmware and program, over a loss of power. Returns how much of the file was kept. */
async function installBoth(run: Run, before: Release, next: Release): Promise<number> {
  const { device, screen } = run;
  const image = next.image as Uint8Array;
  const from = device.running;
  screen.heading(`Release ${next.version}: the program and ${image.length} bytes of firmware, in one manifest`);
  expect((await update(run, PICTURE_SIZE / 2)) === null, "the power was not lost");
  showRequests(run);
  screen.heading("The power is lost while logo.img is written; it comes back");
  device.powerCycle();
  showConsole(run);
  const cut = showState(run, "power lost", next);
  expect(cut.release === before.version && cut.trial === null, `${before.version} does not run on`);
  screen.success(`${cut.slot} runs ${runningImage(device)} and program ${cut.release}, as before`);

  screen.heading("The same update again");
  const logBefore = device.flash.log.length;
  const outcome = await update(run);
  if (outcome?.error) throw new Wrong(factText(outcome.error));
  const asked = showRequests(run);
  const range = /bytes=(\d+)-/.exec(asked.find((one) => one.includes("logo.img (")) ?? "");
  expect(range !== null, "logo.img was fetched from its start");
  const target = device.ota.getBootPartition().label;
  const strays = strayed(rowsOf(device), device.flash.log.slice(logBefore), from, target);
  expect(!strays.length, `written elsewhere: ${strays[0]}`);
  const waiting = showState(run, "installed", next);
  expect(
    waiting.bound[from] === before.version && waiting.bound[target] === next.version,
    "the sets are bound wrongly",
  );
  screen.success(
    `${target} starts next, and with it the set of ${next.version}; ${from} keeps that of ${before.version}`,
  );

  device.engine.run('require("https-ota").restart()');
  startAgain(run);
  const state = showState(run, next.version, next);
  expect(state.slot === target && state.release === next.version && state.trial !== null, "it is not on trial");
  expect(Buffer.compare(device.slot(target, image.length), image) === 0, `${target} does not hold the image`);
  await confirm(run, next);
  return Number(range?.[1]);
}

/** A program that throws while it starts. Returns why it is refused the second time. */
async function installBad(run: Run, good: Release, bad: Release): Promise<Fact> {
  const { device, screen } = run;
  screen.heading(`Release ${bad.version}, files alone: its program calls a function that is not there`);
  const outcome = await update(run);
  if (outcome?.error) throw new Wrong(factText(outcome.error));
  showRequests(run);
  const waiting = showState(run, "bad one installed", bad);
  expect(waiting.bound[waiting.slot] === bad.version, "the record does not bind it");
  screen.success(`the record was the commit point: ${bad.version} starts next, until then ${waiting.release} runs`);
  device.engine.run('require("https-ota").restart()');
  startAgain(run);
  const printed = device.engine.console.length;
  await untilRestart(run, "the bad program is not taken back");
  showConsole(run, printed);
  startAgain(run);
  const state = showState(run, "taken back", bad);
  expect(state.release === good.version && state.trial === null, `${good.version} does not run again`);
  const status = device.ota.getStatus();
  screen.success(`program ${state.release} runs again; rollbackReason: ${status.rollbackReason}`);
  screen.text(`rolledBack: ${status.rolledBack.map((bad: string) => `${bad.slice(0, 39)}...`).join(", ")}`);

  screen.heading("The same release again");
  const refused = (await update(run))?.error;
  if (refused?.name !== "ESP_ERR_NOT_ALLOWED") throw new Wrong(refused ? factText(refused) : "it was installed again");
  showRequests(run);
  screen.success(`refused: ${factText(refused)}`);
  return refused;
}

/** The device has booted its firmware; its Storage is empty. */
export async function runProgram(device: Device, screen: Screen): Promise<ProgramRun> {
  const server = await startServer();
  const result: ProgramRun = { keptBytes: 0, fileBytes: PICTURE_SIZE, rolledBack: [], steps: [] };
  const run: Run = { device, server, key: await makeKey({ bits: KEY_BITS }), screen, steps: result.steps };
  try {
    const [first, both, bad] = releasesFor(device.board.chip);
    await publish(run, first);
    await installFirst(run, first);
    await publish(run, both);
    result.keptBytes = await installBoth(run, first, both);
    await publish(run, bad);
    result.refused = await installBad(run, both, bad);
    result.rolledBack = [...device.ota.getStatus().rolledBack];
    expect(!device.flash.violations.length, `the flash complains: ${device.flash.violations[0]}`);
  } catch (error) {
    if (!(error instanceof Wrong)) throw error;
    screen.failure(error.message);
    result.error = plainFact(error.message);
  } finally {
    await server.close();
  }
  return result;
}
