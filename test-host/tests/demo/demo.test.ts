// The demo is run as a user runs it: another process, of which exit code, stdout and stderr are read. One process for all runs but one.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { loadBoard } from "../../sim/boards.ts";
import { BOOTLOADERS, buildEntry, runBootloader } from "../../sim/bootloader.ts";
import { createFlash, SECTOR } from "../../sim/flash.ts";
import { createHost, plainEnvironment, type Run, runProcess } from "../../support/command.ts";
import { buildImage, mutations } from "../../support/images.ts";
import { buildTable, type Row, TABLE_OFFSET } from "../../sim/partitions.ts";
import { claimsFor, makeKey, signManifest } from "../../support/release.ts";
import { serveFile, startServer, status } from "../../support/server.ts";
import { leftOut, drawShare, sayLeftOut, shareOf } from "../../support/share.ts";
import { imageWith, textsOf } from "../cli/cli-espruino.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const REAL_IMAGES = path.join(ROOT, "../shared/images");
const folder = mkdtempSync(path.join(tmpdir(), "demo-"));
const board = loadBoard("esp32");
const addressOf = (label: string) => board.rows.find((row) => row.label === label)?.offset as number;
/** Small, so that a test takes a moment. */
const IMAGE = buildImage({ size: 40000, seed: 7, descriptor: { version: "7.0.0" } });

/** A whole flash with this image in factory. */
function dumpOf(image: Uint8Array, rows: readonly Row[] = board.rows): Uint8Array {
  const flash = createFlash();
  flash.load(buildTable(rows), TABLE_OFFSET);
  flash.load(image, addressOf("factory"));
  return flash.dump();
}

const COMMAND = {
  file: path.join(ROOT, "test-host/demo/demo.ts"),
  cwd: ROOT,
  env: plainEnvironment(),
  execArgv: ["--import", "tsx"],
  limitMs: 240_000,
};
const host = createHost(COMMAND);
const demo = host.run;

after(() => {
  host.end();
  rmSync(folder, { recursive: true });
});

function succeeds(run: Run): void {
  assert.deepEqual({ code: run.code, stderr: run.stderr }, { code: 0, stderr: "" }, run.stdout);
}

/** One line on stderr that says why, and the exit code. */
function fails(run: Run, code: number, why: RegExp): void {
  assert.match(run.stderr, /^[^\n]+\n$/, "one line on stderr");
  assert.match(run.stderr, why);
  assert.equal(run.code, code, run.stderr);
  assert.doesNotMatch(run.stdout + run.stderr, /\n\s+at /, "a stack trace");
}

function parseReport(run: Run): any {
  assert.match(run.stdout, /^\{[^\n]*\}\n$/, "one line of JSON on stdout, nothing else");
  return JSON.parse(run.stdout);
}

/** Of a step of the report: from which slot to which, and what runs then. */
const slotsAndVersion = ({ from, to, version }: any) => [from, to, version];

/** Each pattern is found behind the one before it; what was wrapped for 80 columns is one line again. */
function assertOrder(stdout: string, patterns: RegExp[]): void {
  const text = stdout.replace(/\n {4}(?! )/g, " ");
  let at = 0;
  for (const pattern of patterns) {
    const found = pattern.exec(text.slice(at));
    assert.ok(found, `${pattern} is missing behind:\n${text.slice(0, at)}`);
    at += found.index + found[0].length;
  }
}

function assertNarrow(stdout: string): void {
  assert.deepEqual(
    stdout.split("\n").filter((line) => line.length > 80),
    [],
  );
}

function file(name: string, bytes: Uint8Array): string {
  const full = path.join(folder, name);
  writeFileSync(full, bytes);
  return full;
}

function assertUpdateRun(updateRun: any): void {
  const { bytes, erases, writes, otadataErases, deviceSeconds } = updateRun;
  assert.equal(erases, Math.ceil(bytes / SECTOR));
  assert.ok(otadataErases === 1 || otadataErases === 2, `${otadataErases} erases of otadata`);
  // 45 ms per erase, 0.7 ms per 256 bytes: what the parts of the flash alone take, and reading a little more
  const least = ((erases + otadataErases) * 45 + Math.ceil(bytes / 256) * 0.7) / 1000;
  assert.ok(deviceSeconds >= least - 0.001 && deviceSeconds < least * 1.2, `${deviceSeconds} s, at least ${least} s`);
  // a sector in one call; in blocks of 1 KB where there is no digest, and the whole of it without a length
  assert.ok(writes >= bytes / SECTOR && writes < bytes / 900 + 10, `${writes} writes`);
  assert.deepEqual([updateRun.fetched, updateRun.refetched, updateRun.cuts, updateRun.powerLosses], [bytes, 0, 0, 0]);
}

// --- The main job ----------------------------------------------------------------------------------------------------

test("updates factory to ota_0 and back, and shows the bootloader starting each", async () => {
  const run = await runProcess(COMMAND, []);
  succeeds(run);
  assertOrder(run.stdout, [
    /^\nA virtual ESP32 updates itself over HTTPS, twice, from signed releases\.\n/,
    /I \(\d+\) boot: Loaded app from partition at offset 0x10000\n/,
    /✔ factory runs espruino 1\.0\.0/,
    /Update 1 of 2: \d+ bytes from https:\/\/localhost:\d+\/1\.1\.0\.jws\n/,
    /signed manifest, RSA-2048 key [\w-]{43}\n/,
    /CONNECTED\n/,
    /\n +50 % +\d+\/\d+ bytes +\d+ KB\/s +flash [\d.]+ s\n/,
    /100 % /,
    /UPDATE_BOOT_PARTITION ota_0\n/,
    /0x00c000 otadata +8K +█·/,
    /0x010000 factory +1536K +▒+·+ +running\n/,
    /0x190000 ota_0 +1536K +█+·+ +boots next, \d+\/384\n/,
    /I \(\d+\) boot: Loaded app from partition at offset 0x190000\n/,
    /✔ ota_0 runs espruino 1\.1\.0/,
    /Update 2 of 2/,
    /UPDATE_BOOT_PARTITION factory\n/,
    /0x00c000 otadata +8K +□□/,
    /0x010000 factory +1536K +█+▒*·+ +boots next, \d+\/384\n/,
    /0x190000 ota_0 +1536K +▒+·+ +running\n/,
    /I \(\d+\) boot: Loaded app from partition at offset 0x10000\n/,
    /✔ factory runs espruino 1\.2\.0/,
    /\nDone: .*\n +Next: npm run demo -- --image FILE/,
  ]);
});

for (const args of [[], ["--bad-image"], ["--cut", "3", "--insecure"], ["--board", "esp32s3"]])
  test(`no line of the demo ${args.join(" ")} is longer than 80 characters`, async (t) => {
    if (leftOut(t, 4, "of the demo's options")) return;
    const { stdout } = await demo(...args);
    assertNarrow(stdout);
  });

test("--json prints one line: the first update, and both under steps", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const run = await demo("--json");
  succeeds(run);
  const { steps, ...first } = parseReport(run);
  const keys = ["from", "to", "bytes", "fetched", "refetched", "erases", "cuts", "deviceSeconds"];
  assert.deepEqual(Object.keys(first), keys);
  assert.equal(steps.length, 2);
  for (const [key, value] of Object.entries(first)) assert.equal(steps[0][key], value, key);
  assert.deepEqual(steps.map(slotsAndVersion), [
    ["factory", "ota_0", "1.1.0"],
    ["ota_0", "factory", "1.2.0"],
  ]);
  for (const updateRun of steps) assertUpdateRun(updateRun);
});

test("--json: the selected slot changes at the commit and not before", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const run = await demo("--cut", "3", "--json");
  succeeds(run);
  const [{ bytes, cutAt, moments }] = parseReport(run).steps;
  assert.deepEqual(
    moments.map((moment: any) => [moment.what, moment.starts]),
    [
      ["begin", "factory"],
      ["power lost", "factory"],
      ["power lost", "factory"],
      ["commit", "ota_0"],
      ["restart", "ota_0"],
    ],
  );
  const filled = moments.map((moment: any) => moment.slots.map((slot: any) => slot.filled));
  const [begin, first, second, commit, restart] = filled;
  for (const [factory] of filled) assert.equal(factory, begin[0], "the running slot was written");
  assert.deepEqual([begin[1], commit[1], restart[1]], [0, Math.ceil(bytes / SECTOR), Math.ceil(bytes / SECTOR)]);
  assert.ok(0 < first[1] && first[1] < second[1] && second[1] < commit[1], JSON.stringify(filled));
  assert.equal(cutAt.length, 3);
  for (const at of cutAt) assert.ok(at > 0 && at < bytes, `cut at ${at}`);
});

for (const [name, slots] of [
  ["esp32c3", ["ota_0", "ota_1", "ota_0"]],
  ["toy-three", ["ota_0", "ota_1", "ota_2"]],
] as const) {
  test(`--board ${name} goes from ${slots.join(" to ")}`, async (t) => {
    if (leftOut(t, 4, "of the demo's options")) return;
    const run = await demo("--board", name, "--json");
    succeeds(run);
    const { steps } = parseReport(run);
    assert.deepEqual([steps[0].from, ...steps.map((updateRun: any) => updateRun.to)], slots);
  });
}

test("--image installs the file's bytes first, then a generated image", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const dump = path.join(folder, "image.dump");
  const run = await demo("--image", file("seven.bin", IMAGE), "--dump", dump, "--json");
  succeeds(run);
  const { bytes, erases, steps } = parseReport(run);
  assert.deepEqual([bytes, erases], [IMAGE.length, Math.ceil(IMAGE.length / SECTOR)]);
  assert.deepEqual(
    steps.map((updateRun: any) => updateRun.version),
    ["7.0.0", "7.1.0"],
  );
  const at = addressOf("ota_0");
  assert.equal(Buffer.compare(readFileSync(dump).subarray(at, at + IMAGE.length), IMAGE), 0);
});

test("an Espruino image is shown by its own version: many builds have one descriptor", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const image = file("espruino.bin", imageWith(textsOf("2v27.45")));
  const run = await demo("--image", image);
  succeeds(run);
  assert.match(run.stdout, /✔ ota_0 runs Espruino 2v27\.45\n/);
  assert.doesNotMatch(run.stdout, /runs espruino-esp32 5240e60/);
  const versions = parseReport(await demo("--image", image, "--json")).steps.map((updateRun: any) => updateRun.version);
  assert.deepEqual(versions, ["2v27.45", "1.1.0"]);
});

test("an Espruino image is installed over another build with the same descriptor", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const dump = path.join(folder, "build.dump");
  const [first, second] = ["2v27.45", "2v27.46"].map((version) => file(`${version}.bin`, imageWith(textsOf(version))));
  succeeds(
    await demo(
      "--flash",
      file("first.flash", dumpOf(imageWith(textsOf("2v27.45")))),
      "--image",
      second,
      "--dump",
      dump,
    ),
  );
  const at = addressOf("ota_0");
  const length = readFileSync(second).length;
  assert.equal(Buffer.compare(readFileSync(dump).subarray(at, at + length), readFileSync(second)), 0);
  fails(
    await demo("--flash", file("same.flash", dumpOf(readFileSync(first))), "--image", first),
    1,
    /is running already/,
  );
});

test("--insecure does it without manifest and key", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const run = await demo("--insecure", "--board", "toy-two");
  succeeds(run);
  assertOrder(run.stdout, [
    /Update 1 of 2: \d+ bytes from https:\S+\/1\.1\.0\.bin\n/,
    /insecure/,
    /✔ ota_1 runs/,
    /insecure/,
  ]);
  assert.doesNotMatch(run.stdout, /signed manifest/);
});

test("--image of the image that runs is not installed: the manifest says so", async () => {
  const args = ["--flash", file("seven.dump", dumpOf(IMAGE)), "--image", file("same.bin", IMAGE)];
  fails(await demo(...args), 1, /the image is running already; nothing was erased, factory still boots/);
});

test("--flash of another project refuses the manifest", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const kettle = buildImage({ seed: 3, descriptor: { version: "3.3.0", project: "kettle" } });
  const run = await demo("--flash", file("kettle.dump", dumpOf(kettle)), "--image", file("seven.bin", IMAGE));
  fails(run, 1, /manifest is for project espruino, this is kettle; nothing was erased/);
});

// --- A bad line ------------------------------------------------------------------------------------------------------

/** What a loss of power may cost where it is resumed: the sector before the first blank one, the one that was being written, and the first chunks. */
const PER_POWER_LOSS = 2 * SECTOR + 1024 + 536;

const BAD_LINES = [
  ["--cut", "10"],
  ["--cut", "10", "--insecure"],
  ["--cut", "10", "--board", "esp32c3"],
  ["--cut", "1"],
  ["--cut", "100"],
];
const DRAWN_LINES = drawShare(BAD_LINES, 3);

test("what npm test leaves out of the bad lines", (t) => {
  sayLeftOut(t, DRAWN_LINES.length, BAD_LINES.length, "bad lines of the demo");
});

for (const args of DRAWN_LINES)
  test(`${args.join(" ")}: both updates are installed after a cut and two power losses`, async (t) => {
    if (leftOut(t, 4, "of the demo's options")) return;
    const run = await demo(...args, "--json");
    succeeds(run);
    const { bytes, fetched, refetched, erases, cuts, steps } = parseReport(run);
    assert.equal(cuts, Number(args[1]));
    assert.equal(steps[0].powerLosses, 2);
    assert.equal(fetched, bytes + refetched);
    // a cut costs nothing; without a digest nothing verifies what lies in flash: from zero, at a third and at two thirds
    const restarts = args.includes("--insecure") ? bytes - 2 : 0;
    assert.ok(refetched > restarts && refetched <= restarts + 2 * PER_POWER_LOSS, `${refetched} bytes again`);
    const sectors = Math.ceil(bytes / SECTOR);
    assert.ok(erases >= sectors && erases <= sectors + 4, `${erases} erases for ${sectors} sectors`);
    assert.equal(steps.length, 2);
    assertUpdateRun(steps[1]);
  });

test("--cut with --insecure says why so much is fetched again", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const run = await demo("--cut", "3", "--insecure");
  succeeds(run);
  assertOrder(run.stdout, [
    /cut 1 of 3/,
    /power is lost/,
    /cut 2 of 3/,
    /power is lost/,
    /cut 3 of 3/,
    /✔ 3 cuts and 2 losses of power: \d+ bytes fetched, \d+ of them again/,
    /without a digest an update begins at byte 0 after a loss of power\n/,
    /✔ ota_0 runs espruino 1\.1\.0/,
  ]);
  assert.equal(run.stdout.match(/cut \d of 3/g)?.length, 3);
});

test("--cut shows each cut, each loss of power, and the bill", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const run = await demo("--cut", "3");
  succeeds(run);
  assertOrder(run.stdout, [
    /Update 1 of 2/,
    /cut 1 of 3: \w+ at byte \d+\n/,
    /power is lost.*\n +✔ factory runs espruino 1\.0\.0/,
    /cut 2 of 3/,
    /power is lost/,
    /cut 3 of 3/,
    /100 % /,
    /✔ 3 cuts and 2 losses of power: \d+ bytes fetched, \d+ of them again; \d+ erases for \d+ sectors\n/,
    /✔ ota_0 runs espruino 1\.1\.0/,
    /Update 2 of 2/,
    /✔ factory runs espruino 1\.2\.0/,
  ]);
});

// --- A bad image, and losses of power --------------------------------------------------------------------------------

test("--bad-image shows an image that never confirms itself, until the old one runs", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const run = await demo("--bad-image", "--board", "toy-factory-one");
  succeeds(run);
  assertOrder(run.stdout, [
    /✔ factory runs espruino 1\.0\.0/,
    /signed manifest/,
    /UPDATE_BOOT_PARTITION ota_0\n/,
    /✔ ota_0 runs espruino 1\.1\.0/,
    /ota_0 is on trial: 3 starts/,
    /start 1 of 3 .*: markValid\(\) is never called\n/,
    /Loaded app from partition at offset 0x20000/,
    /start 2 of 3 /,
    /Loaded app from partition at offset 0x20000/,
    /start 3 of 3 /,
    /Loaded app from partition at offset 0x20000/,
    /start 4: boot\(\) has had enough of it/,
    /Loaded app from partition at offset 0x10000/,
    /✔ factory runs espruino 1\.0\.0 again/,
    /getStatus\(\): \{ running: 'factory',/,
    /The same update again/,
    /✔ trial 2: installed and rolled back, factory runs espruino 1\.0\.0/,
    /✔ trial 3: installed and rolled back, factory runs espruino 1\.0\.0/,
    /The same update once more/,
    /✔ refused: .*rolled back on this device before, .*allowRolledBack installs it\n/,
  ]);
});

for (const [name, from, tried] of [
  ["esp32", "factory", "ota_0"],
  ["toy-two", "ota_0", "ota_1"],
] as const)
  test(`--bad-image --board ${name} --json says the same in one line`, async (t) => {
    if (leftOut(t, 4, "of the demo's options")) return;
    const run = await demo("--bad-image", "--board", name, "--json");
    succeeds(run);
    const { refused, steps, ...trial } = parseReport(run);
    const versions = { version: "1.1.0", back: "1.0.0" };
    assert.deepEqual(trial, { from, tried, to: from, ...versions, starts: 4, attempts: 3, trials: 3 });
    assert.match(refused.message, /rolled back/);
    assert.equal(steps[0].erases, Math.ceil(steps[0].bytes / SECTOR));
  });

test("--bad-image does not pass where the image is refused in the first place", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const image = file("bad-chip.bin", mutations.chipId(IMAGE));
  fails(await demo("--bad-image", "--image", image), 1, /ESP_ERR_INVALID_VERSION .*factory still boots/);
});

/** How many cells of the campaign are run, of 90; 0: all. */
const SOME = shareOf(22) > 1 ? Math.ceil(90 / shareOf(22)) : 0;
const SAMPLE = SOME ? ["--cells", String(SOME)] : [];
const CELLS = "cells of the campaigns of the demo";

test("--program shows files in Storage, a loss of power, and a program taken back", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const run = await demo("--program");
  succeeds(run);
  assertOrder(run.stdout, [
    /✔ factory runs espruino 1\.0\.0/,
    /> https-ota: no release is installed\n/,
    /\.boot0 +\d+ +loader +https-ota +\d+ +module\n/,
    /Boot record binds: nothing\n/,
    /Release 1\.0, files alone: the loader fetches it/,
    /> program 1\.0 runs/,
    /~[\w-]{20} +\d+ +app\.js of 1\.0 /,
    /Boot record binds: factory to set 1\.0\n/,
    /getStatus\(\): factory runs, release 1\.0, on trial: start 1/,
    /✔ 1\.0 is confirmed/,
    /Release 2\.0: the program and \d+ bytes of firmware/,
    /The power is lost/,
    /> program 1\.0 runs/,
    /logo\.img of 2\.0: \d+ bytes so far\n/,
    /Boot record binds: factory to set 1\.0\n/,
    /getStatus\(\): factory runs, release 1\.0, no trial\n/,
    /The same update again/,
    /\/files\/logo\.img \(bytes=[1-9]\d*-\)/,
    /Boot record binds: ota_0 to set 2\.0, factory to set 1\.0\n/,
    /Loaded app from partition at offset 0x190000\n/,
    /✔ ota_0 runs espruino 1\.1\.0/,
    /> program 2\.0 runs/,
    /✔ 2\.0 is confirmed; 3 files/,
    /Release 3\.0, files alone/,
    /Boot record binds: ota_0 to set 3\.0\n/,
    /> Uncaught .*calibrate/,
    /> https-ota: the program threw while it started\n/,
    /> program 2\.0 runs/,
    /Boot record binds: ota_0 to set 2\.0\n/,
    /✔ program 2\.0 runs again/,
    /The same release again/,
    /✔ refused: ESP_ERR_NOT_ALLOWED \(0x10d\): this release was rolled back/,
    /\nDone: /,
  ]);
  assertNarrow(run.stdout);
});

for (const [name, slots] of [
  ["esp32", ["factory", "ota_0"]],
  ["esp32c3", ["ota_0", "ota_1"]],
  ["esp32s3", ["ota_0", "ota_1"]],
] as const)
  test(`--program --json has what the device says at each step: ${name}`, async (t) => {
    if (leftOut(t, 4, "of the demo's options")) return;
    const dump = path.join(folder, `program-${name}.dump`);
    const run = await demo("--program", "--board", name, "--json", "--dump", dump);
    succeeds(run);
    const { keptBytes, fileBytes, refused, rolledBack, steps } = parseReport(run);
    const [one, two] = slots;
    assert.deepEqual(
      steps.map(({ step, slot, release, trial, bound }: any) => [step, slot, release, trial?.boots ?? null, bound]),
      [
        ["init", one, null, null, {}],
        ["1.0", one, "1.0", 1, { [one]: "1.0" }],
        ["1.0 confirmed", one, "1.0", null, { [one]: "1.0" }],
        ["power lost", one, "1.0", null, { [one]: "1.0" }],
        ["installed", one, "1.0", null, { [two]: "2.0", [one]: "1.0" }],
        ["2.0", two, "2.0", 1, { [two]: "2.0", [one]: "1.0" }],
        ["2.0 confirmed", two, "2.0", null, { [two]: "2.0" }],
        ["bad one installed", two, "2.0", null, { [two]: "3.0" }],
        ["taken back", two, "2.0", null, { [two]: "2.0" }],
      ],
    );
    assert.ok(keptBytes > fileBytes / 2 && keptBytes < fileBytes, `${keptBytes} of ${fileBytes} bytes were kept`);
    assert.equal(refused.name, "ESP_ERR_NOT_ALLOWED");
    assert.match(rolledBack[0], /^release-sha256:[0-9a-f]{64}$/);
    const { chipId, flashSize } = loadBoard(name);
    const flash = createFlash({ size: flashSize, from: readFileSync(dump) });
    const boot = runBootloader(flash, { chipId, kind: BOOTLOADERS.current });
    assert.deepEqual([boot.slot?.label, boot.image?.version], [two, "1.1.0"]);
  });

test("--program on a board with little Storage exits 1 and says so", async () => {
  fails(await demo("--program", "--board", "toy-two"), 1, /board toy-two has too little Storage/);
});

test("--power-cuts shows a campaign: snapshots of each cell, and the devices started", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const run = await demo("--power-cuts", "--board", "esp32", ...SAMPLE);
  succeeds(run);
  const [, ran, all] = /(\d+)(?: of (\d+))? cells of toy-factory-one\n/.exec(run.stdout) ?? [];
  sayLeftOut(t, Number(ran), Number(all ?? ran), CELLS);
  const cell = /toy-factory-one\/one\/\w+\/[\w:.~-]+ +(?:\d+ snapshots +\d+ started|no flash operation)\n/;
  const shown = SOME
    ? Array.from({ length: SOME }, () => cell)
    : [
        /toy-factory-one\/one\/idf3\/update +\d\d+ snapshots +\d\d+ started\n/,
        /toy-factory-one\/one\/current\/bad-image +\d\d+ snapshots/,
        /toy-factory-one\/one\/rollback\/markValid +\d+ snapshots/,
      ];
  assertOrder(run.stdout, [
    /Power fails before, in, after each operation: \d+ (?:of \d+ )?cells of toy-factory-one\n/,
    ...shown,
    SOME ? /✔ \d+ snapshots, \d+ devices started from them/ : /✔ \d{4,} snapshots, \d{3,} devices started from them/,
  ]);
  assertNarrow(run.stdout);
});

test("--power-cuts --json has the counts of every cell, and their sums", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const run = await demo("--power-cuts", "--board", "esp32c3", "--json", ...SAMPLE);
  succeeds(run);
  const { layout, cells, of, counts, findings, ids, seconds, ...sums } = parseReport(run);
  sayLeftOut(t, cells, of, CELLS);
  assert.ok(of > 50, `${of} cells`);
  assert.equal(cells, SOME || of);
  assert.equal(layout, "toy-two");
  assert.deepEqual([counts.length, findings, ids], [cells, 0, []]);
  assert.ok(seconds > 0, `${seconds} s`);
  for (const key of ["snapshots", "distinct"])
    assert.equal(
      counts.reduce((sum: number, one: any) => sum + one[key], 0),
      sums[key],
    );
});

// --- Dumps -----------------------------------------------------------------------------------------------------------

test("--dump holds what the last boot started from, and --flash goes on from there", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const dump = path.join(folder, "first.dump");
  const first = await demo("--dump", dump, "--json");
  succeeds(first);
  const bytes = readFileSync(dump);
  assert.equal(bytes.length, 4 << 20);
  const boot = runBootloader(createFlash({ from: bytes }), { chipId: 0, kind: BOOTLOADERS.current });
  assert.deepEqual([boot.slot?.label, boot.image?.version], ["factory", parseReport(first).steps[1].version]);

  const second = await demo("--flash", dump, "--json");
  succeeds(second);
  assert.deepEqual(parseReport(second).steps.map(slotsAndVersion), [
    ["factory", "ota_0", "1.3.0"],
    ["ota_0", "factory", "1.4.0"],
  ]);
});

test("--flash starts what otadata of the dump selects", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const flash = createFlash();
  flash.load(buildTable(board.rows), TABLE_OFFSET);
  flash.load(IMAGE, addressOf("factory"));
  flash.load(buildImage({ seed: 3, descriptor: { version: "3.3.0" } }), addressOf("ota_0"));
  flash.load(buildEntry(1), addressOf("otadata"));
  const run = await demo("--flash", file("ota_0.dump", flash.dump()), "--json");
  succeeds(run);
  assert.deepEqual(parseReport(run).steps.map(slotsAndVersion), [
    ["ota_0", "factory", "3.4.0"],
    ["factory", "ota_0", "3.5.0"],
  ]);
});

test("--flash that does not boot, or is of another size, exits 1 and says so", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  fails(
    await demo("--flash", file("blank.dump", createFlash().dump())),
    1,
    /blank\.dump does not boot .*: partition 0 invalid magic number/,
  );
  fails(await demo("--flash", file("short.dump", new Uint8Array(1000))), 1, /short\.dump has 1000 bytes.* 4194304/);
  const c3 = createFlash();
  c3.load(buildTable(board.rows), TABLE_OFFSET);
  c3.load(buildImage({ chip: "esp32c3" }), addressOf("factory"));
  fails(await demo("--flash", file("c3.dump", c3.dump())), 1, /does not boot on board esp32: mismatch chip ID/);
});

// --- Refusals --------------------------------------------------------------------------------------------------------

const UNTOUCHED = "nothing was erased, factory still boots";
const WRITTEN = "\\d+ sectors were erased, factory still boots";

for (const [name, why] of [
  ["magic", `ESP_ERR_OTA_VALIDATE_FAILED \\(0x1503\\): .*0xe8.*; ${UNTOUCHED}`],
  ["chipId", `ESP_ERR_INVALID_VERSION \\(0x10a\\): .*chip esp32c3.*; ${UNTOUCHED}`],
  ["segmentCount17", `ESP_ERR_OTA_VALIDATE_FAILED \\(0x1503\\): 17 segments.*; ${UNTOUCHED}`],
  ["truncateHalf", `ESP_ERR_OTA_VALIDATE_FAILED \\(0x1503\\): .*; ${WRITTEN}`],
  // The digest of a spoiled file is the digest of that file: only the bootloader finds this one.
  ["hash", `the bootloader did not start ota_0: Image hash failed.*; ${WRITTEN}`],
]) {
  test(`an image with the mutation ${name} exits 1 and says why`, async (t) => {
    if (leftOut(t, 4, "of the demo's options")) return;
    const image = file(`${name}.bin`, mutations[name](IMAGE));
    const run = await demo("--image", image, "--json");
    fails(run, 1, new RegExp(`^demo: ${why}\n$`));
    const { erases, to, error } = parseReport(run);
    assert.equal(to, "factory");
    assert.equal(erases === 0, why.endsWith(UNTOUCHED));
    assert.ok(run.stderr.includes(error.message));
  });
}

test("an image larger than the slot exits 1 before the first erase", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const run = await demo("--image", file("large.bin", buildImage({ size: 0x180000 + 16 })));
  fails(run, 1, /ESP_ERR_INVALID_SIZE \(0x104\): .*1572880.*; nothing was erased, factory still boots/);
  assertOrder(run.stdout, [/Loaded app from partition at offset 0x10000/, /Restart/, /at offset 0x10000/]);
});

test("files that cannot be read or written exit 1 and are named", async () => {
  fails(await demo("--image", "/nowhere/x.bin"), 1, /\/nowhere\/x\.bin: no such file or folder/);
  fails(await demo("--flash", folder), 1, /: is a folder, expected a file/);
  fails(await demo("--url", "http://localhost/x.jws", "--key", "/nowhere/x.jwk"), 1, /x\.jwk: no such file or folder/);
});

for (const [what, target, why] of [
  ["a folder that is not there", "/nowhere/x.dump", /^demo: \/nowhere\/x\.dump: no such file or folder\n/],
  ["a file as a folder", "package.json/x.dump", /package\.json\/x\.dump: a part of the path is not a folder/],
  ["a folder", folder, /: is a folder, expected a file/],
] as const)
  test(`--dump to ${what} is refused before anything runs`, async () => {
    const run = await demo("--dump", target);
    fails(run, 1, why);
    assert.equal(run.stdout, "");
  });

for (const option of ["--image", "--flash"])
  test(`--dump to the file of ${option}, by whatever name, is refused before anything runs`, async () => {
    const bytes = option === "--image" ? IMAGE : dumpOf(IMAGE);
    const input = file(`input${option}.bin`, bytes);
    const link = `${input}.link`;
    symlinkSync(input, link);
    for (const dump of [input, link]) {
      const run = await demo(option, input, "--dump", dump);
      fails(run, 1, /is read by this command, and is not overwritten/);
      assert.equal(run.stdout, "");
      assert.equal(Buffer.compare(readFileSync(input), bytes), 0);
    }
  });

test("a refusal is shown where it happens, before flash and restart", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const { stdout } = await demo("--image", file("other-chip.bin", mutations.chipId(IMAGE)));
  assertOrder(stdout, [/START\n/, /✘ ESP_ERR_INVALID_VERSION \(0x10a\): .*esp32c3/, /\nFlash\n/, /\nRestart\n/]);
  assert.doesNotMatch(stdout, /Done/);
});

for (const [what, args, why] of [
  ["an unknown option", ["--frobnicate"], /unknown option '--frobnicate'/],
  ["an unknown board", ["--board", "pdp11"], /'pdp11' is invalid.*esp32c3/],
  ["an option without its value", ["--image"], /argument missing/],
  ["no cut", ["--cut", "0"], /--cut 0: expected 1 to 200/],
  ["no cell", ["--power-cuts", "--cells", "0"], /--cells 0: expected 1 to 1000/],
  ["--cells without --power-cuts", ["--cells", "3"], /--cells wants --power-cuts/],
  ["a cut that is not a number", ["--cut", "ten"], /--cut ten: expected 1 to 200/],
  ["--bad-image with --url", ["--bad-image", "--url", "http://localhost/"], /cannot be used with/],
  ["--program with --flash", ["--program", "--flash", "x.bin"], /cannot be used with/],
  ["--power-cuts with --image", ["--power-cuts", "--image", "x.bin"], /cannot be used with/],
  ["--cut with --url", ["--cut", "3", "--url", "http://localhost/"], /cannot be used with/],
  ["--image with --url", ["--image", "x.bin", "--url", "http://localhost/"], /cannot be used with/],
  ["an argument too many", ["x.bin"], /too many arguments.*behind two dashes \(npm run demo -- --help\)/],
  ["--key without --url", ["--key", "key.pub.jwk"], /--key wants --url/],
  ["--key with --insecure", ["--key", "k", "--insecure", "--url", "http://localhost/"], /cannot be used with/],
  ["a URL that is none", ["--url", "localhost"], /--url localhost: /],
  ["a URL beyond this computer", ["--url", "https://example.com/x.bin"], /reaches localhost and 127\.0\.0\.1 only/],
] as [string, string[], RegExp][]) {
  test(`${what} is wrong usage: exit code 2`, async (t) => {
    if (leftOut(t, 4, "of the demo's options")) return;
    const run = await demo(...args);
    fails(run, 2, why);
    assert.equal(run.stdout, "");
  });
}

test("no line of the help is longer than 80 characters", async () => assertNarrow((await demo("--help")).stdout));

test("--help shows every option and examples", async () => {
  const run = await demo("--help");
  succeeds(run);
  for (const option of "board image url key insecure cut bad-image program power-cuts cells flash dump json".split(
    " ",
  )) {
    assert.match(run.stdout, new RegExp(`^ +--${option}\\b`, "m"));
    assert.match(run.stdout, new RegExp(`^ +npm run .*demo -- .*--${option}\\b`, "m"));
  }
});

// --- Another server --------------------------------------------------------------------------------------------------

for (const tls of [false, true]) {
  test(`--url fetches once from ${tls ? "an https" : "an http"} server, without a digest`, async (t) => {
    if (leftOut(t, 4, "of the demo's options")) return;
    const server = await startServer({ tls });
    try {
      server.on("/fw.bin", serveFile(IMAGE));
      const dump = path.join(folder, `url-${tls}.dump`);
      const run = await demo("--url", server.url("/fw.bin"), "--dump", dump, "--json");
      succeeds(run);
      const { from, to, bytes, steps } = parseReport(run);
      assert.deepEqual([from, to, bytes, steps.length], ["factory", "ota_0", IMAGE.length, 1]);
      assertUpdateRun(steps[0]);
      assert.deepEqual([server.requests.length, server.sent], [1, IMAGE.length]);
      const at = addressOf("ota_0");
      assert.equal(Buffer.compare(readFileSync(dump).subarray(at, at + IMAGE.length), IMAGE), 0);
    } finally {
      await server.close();
    }
  });
}

test("--url with --key installs what a signed manifest of any project names", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const server = await startServer({ tls: true });
  try {
    const key = await makeKey();
    const lamp = buildImage({ size: 40000, seed: 9, descriptor: { version: "2.0.0", project: "lamp" } });
    const about = { project: "lamp", version: "2.0.0", chip: "esp32" };
    const claims = claimsFor(lamp, { ...about, sequence: 5, iat: 1_790_000_000, image: { url: "lamp.bin" } });
    server.on("/lamp.bin", serveFile(lamp));
    server.on("/lamp.bin.jws", serveFile(new Uint8Array(Buffer.from(await signManifest(claims, key), "latin1"))));
    const url = server.url("/lamp.bin.jws");
    const jwk = file("key.pub.jwk", Buffer.from(JSON.stringify(key.jwk)));
    const run = await demo("--url", url, "--key", jwk);
    succeeds(run);
    assertOrder(run.stdout, [
      /✔ factory runs an image without/,
      /signed manifest, key [\w-]{43}/,
      /✔ ota_0 runs lamp 2/,
    ]);

    const other = file("other.jwk", Buffer.from(JSON.stringify((await makeKey({ name: "other" })).jwk)));
    fails(await demo("--url", url, "--key", other), 1, /ESP_ERR_.*; nothing was erased/);
    const unsigned = await demo("--url", url);
    assert.match(unsigned.stdout, /insecure: whatever the server has; a manifest wants --key FILE/);
  } finally {
    await server.close();
  }
});

test("--url shows progress where the server names no length", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const server = await startServer();
  try {
    server.on("/fw.bin", serveFile(buildImage({ size: 600_000 }), { chunked: true, ranges: false }));
    const run = await demo("--url", server.url("/fw.bin"));
    succeeds(run);
    assertOrder(run.stdout, [
      /insecure/,
      /\n +262144 bytes +\d+ KB\/s/,
      /\n +524288 bytes/,
      /600000 bytes in ota_0/,
      /✔ ota_0 runs/,
    ]);
  } finally {
    await server.close();
  }
});

test("--url to a file that is not there, or to nobody, exits 1 and says so", async (t) => {
  if (leftOut(t, 4, "of the demo's options")) return;
  const server = await startServer();
  const url = server.url("/missing.bin");
  server.on("/missing.bin", status(404));
  try {
    fails(await demo("--url", url), 1, /404; nothing was erased, factory still boots/);
  } finally {
    await server.close();
  }
  fails(await demo("--url", url), 1, /ESP_ERR_HTTP_CONNECT \(0x7002\): .*; nothing was erased, factory still boots/);
});

// --- Real images -----------------------------------------------------------------------------------------------------

/** The stock table of builds up to 2v25. */
const OLD_ROWS: Row[] = board.rows.flatMap((row) =>
  row.label === "storage"
    ? [
        { ...row, label: "js_code", size: 0x40000 },
        { ...row, offset: row.offset + 0x40000, size: row.size - 0x40000 },
      ]
    : [row],
);

const real = existsSync(REAL_IMAGES) ? readdirSync(REAL_IMAGES).filter((name) => name.endsWith(".bin")) : [];
if (real.length === 0) test(`real images: none in ${REAL_IMAGES}`, { skip: "there are no real images here" }, () => {});

for (const name of real) {
  const image = path.join(REAL_IMAGES, name);
  if (name.startsWith("esp-at")) {
    for (const [args, says] of [
      [[], /manifest is for chip esp32c2, this is esp32/],
      [["--insecure"], /chip id 12/],
    ] as [string[], RegExp][])
      test(`real image ${name}, for another chip, is refused before the first erase ${args}`, async (t) => {
        if (leftOut(t, 8, "of real images in the demo")) return;
        const run = await demo("--image", image, "--json", ...args);
        fails(run, 1, /ESP_ERR_INVALID_VERSION \(0x10a\): .*; nothing was erased, factory still boots/);
        assert.match(run.stderr, says);
        assert.equal(parseReport(run).erases, 0);
      });
  } else {
    const bytes = readFileSync(image);
    // up to 2v25 builds read their files through `js_code`, which today's table has not
    const isOld = bytes.includes("Couldn't map js_code");
    const today = ["--image", image, "--json"];
    let args = today;
    if (isOld) {
      test(`real image ${name}, which would lose Storage on today's table, is not started`, async (t) => {
        if (leftOut(t, 8, "of real images in the demo")) return;
        const says =
          /Storage would be lost: .* partition js_code, which this table does not have; .*, factory still boots/;
        fails(await demo(...today), 1, says);
      });
      const before = path.join(REAL_IMAGES, `espruino-${name.includes("2v22") ? "2v06" : "2v22.26"}-esp32.bin`);
      args = [...today, "--flash", file(`before-${name}`, dumpOf(readFileSync(before), OLD_ROWS))];
    }
    test(`the real image ${name} is installed, started, and updated away from`, async (t) => {
      if (leftOut(t, 8, "of real images in the demo")) return;
      const run = await demo(...args);
      succeeds(run);
      const { bytes: size, steps } = parseReport(run);
      assert.equal(size, bytes.length);
      assert.deepEqual(
        steps.map((updateRun: any) => [updateRun.from, updateRun.to]),
        [
          ["factory", "ota_0"],
          ["ota_0", "factory"],
        ],
      );
      for (const updateRun of steps) assertUpdateRun(updateRun);
    });
    test(`the real image ${name} is installed over a bad line`, async (t) => {
      if (leftOut(t, 8, "of real images in the demo")) return;
      const run = await demo(...args, "--cut", "10");
      succeeds(run);
      const { bytes: size, refetched, cuts } = parseReport(run);
      assert.deepEqual([size, cuts], [bytes.length, 10]);
      assert.ok(refetched <= 2 * PER_POWER_LOSS, `${refetched} bytes again`);
    });
  }
}
