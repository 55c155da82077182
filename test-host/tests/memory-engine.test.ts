// Little memory, in the real interpreter: a ballast leaves so many JsVars free. Needs a build with a fixed number of
// them, as devices have; the ordinary Linux build gets more on demand.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { FOLDED_FLASH } from "../bench/fold.ts";
import { BUNDLE, createDevice } from "../device.ts";
import { BALLAST } from "../engine/ballast.ts";
import { ESPRUINO, runInEngine, warnWithoutEngine } from "../engine/engine.ts";
import { buildImage } from "../images.ts";
import { claimsFor, type Key, makeKey, signManifest } from "../release.ts";
import { type Server, serveFile, startServer } from "../server.ts";

/** JsVars of 14 bytes that are free when `update` is called, the module being loaded; the call itself takes some 140. */
const ENOUGH = { http: 2100, tls: 5700 };
/**
 * Free JsVars with which memory runs out somewhere, and at last does not. MEMORY_STEP=1 tries every single number, which
 * takes an hour. The harness's flash, a file, takes some 700 more than a device's.
 */
const STEP = Number(process.env.MEMORY_STEP ?? 170);
const STEPS = Array.from({ length: Math.ceil((2600 - 250) / STEP) }, (_, i) => 250 + i * STEP);
/** Most of the time they wait: for a timeout, for the watch. */
const AT_ONCE = 4;

warnWithoutEngine();
/** Does the number of JsVars stay when one asks for more? */
async function isFixed(): Promise<boolean> {
  const run = await runInEngine(createDevice(), "report(engineProcess.memory().total); finish();");
  // device.js has made the other build ask for some 16000, in blocks of 4096
  return run.reports[0] % 4096 !== 0;
}
const options = {
  skip: !ESPRUINO
    ? "ESPRUINO is not set"
    : !(await isFixed()) && "ESPRUINO is a build that gets more JsVars on demand: it cannot run out",
};

const IMAGE = buildImage({ size: 12288, seed: 2, descriptor: { version: "2.0.2" } });
const folder = mkdtempSync(join(tmpdir(), "https-ota-"));
const unchecked = join(folder, "unchecked.js");
let http: Server;
let https: Server;
let key: Key;

before(async () => {
  key = await makeKey({ bits: 3072 });
  http = await startServer();
  https = await startServer({ tls: true });
  const manifest = Buffer.from(await signManifest(claimsFor(IMAGE), key));
  for (const server of [http, https]) {
    server.on("/fw.bin", serveFile(IMAGE, { ranges: true }));
    server.on("/m.jws", serveFile(manifest));
  }
  // the module without its look at the free JsVars, so that an update can run out in the middle
  const code = readFileSync(BUNDLE, "utf8");
  const parts = code.split(/if\(\w+<\d+\)(?=throw \w+\(257,)/);
  assert.equal(parts.length, 2, "the check for free JsVars is not where it was");
  writeFileSync(unchecked, parts.join("if(0)"));
});
after(async () => {
  rmSync(folder, { recursive: true });
  await http.close();
  await https.close();
});

const configOf = (server: Server) =>
  `{ url: ${JSON.stringify(server.url("/m.jws"))}, keys: ${JSON.stringify([key.jwk])}, retries: 0, timeout: 1000 }`;

for (const scheme of ["http", "tls"] as const)
  test(`a signed update over ${scheme} succeeds with ${ENOUGH[scheme]} free JsVars`, options, async () => {
    const run = await runInEngine(
      createDevice(),
      `${FOLDED_FLASH} ${BALLAST}
      var config = ${configOf(scheme === "tls" ? https : http)};
      setTimeout(function () {
        fill(${ENOUGH[scheme]});
        ota.update(config).then(function (result) { release(); report(result); finish(); },
          function (error) { release(); reportError(error); finish(); });
      }, 100);`,
    );
    assert.equal(run.reports[0]?.size, IMAGE.length, run.output);
  });

test(
  "below what it needs an update refuses with both numbers, before any flash operation; later it succeeds",
  options,
  async () => {
    const device = createDevice();
    const run = await runInEngine(
      device,
      `${BALLAST}
    var config = ${configOf(http)};
    setTimeout(function () {
      fill(1000);
      var reads = counts.reads;
      ota.update(config).then(report, function (error) {
        release();
        report({ reads: counts.reads - reads, writes: counts.writes, erases: counts.erases });
        reportError(error);
        ota.update(config).then(function (result) { report(result); finish(); },
          function (error) { reportError(error); finish(); });
      });
    }, 100);`,
    );
    const [flash, refusal, later] = run.reports;
    assert.deepEqual(flash, { reads: 0, writes: 0, erases: 0 }, run.output);
    assert.equal(refusal.name, "ESP_ERR_NO_MEM");
    assert.equal(refusal.retry, true);
    const [, free, needed] = /^(\d+) JsVars are free, an update needs (\d+)$/.exec(refusal.error) ?? [];
    assert.ok(Number(free) > 700 && Number(free) < 1010, refusal.error);
    assert.ok(Number(needed) > 1100, refusal.error);
    assert.equal(later.size, IMAGE.length);
    assert.equal(run.boot.slot?.label, "ota_0");
  },
);

/** An update that runs out of memory with `free` JsVars, and what it left; then, with all memory, another one. */
async function runOut(free: number) {
  const device = createDevice();
  const before = device.slot("factory", 60000);
  const run = await runInEngine(
    device,
    `${BALLAST}
    var config = ${configOf(http)}, first, called = true, attempts = 0;
    function says(error) { return error.name || "" + error; }
    function settled(what) { if (first) return; first = what; setTimeout(again, 50); }
    function again() {
      release();
      ota.update(config).then(function () { report({ first: first || "interrupted call", later: "installed" }); finish(); }, function (error) {
        // where the call itself was interrupted nobody is told when it is over
        if (attempts++ < 20) return setTimeout(again, 1000);
        report({ first: first, later: says(error) }); finish();
      });
    }
    setTimeout(function () {
      fill(${free});
      setTimeout(function () { if (!called) again(); }, 50);
      setTimeout(function () { if (first === undefined) settled("nothing"); }, 8000);
      called = false;
      ota.update(config).then(function () { settled("installed"); }, function (error) { settled(says(error)); });
      called = true;
    }, 100);`,
    { bundle: unchecked, timeoutMs: 60_000 },
  );
  const { first, later } = run.reports[0] ?? { first: "", later: run.output.slice(-500) };
  if (run.exitCode === 0) return { free, device, before, boot: run.boot, first, later };
  // some of the engine's natives do not survive it (String.split, for one): then the next update is after a restart
  const next = await runInEngine(
    device,
    `ota.update(${configOf(http)}).then(function () { report("installed"); finish(); }, function (error) {
      report(error.message); finish();
    });`,
  );
  return { free, device, before, boot: run.boot, first: "crash", later: next.reports[0] ?? next.output.slice(-500) };
}

/** All steps, once for both tests. */
let runs: Promise<Awaited<ReturnType<typeof runOut>>[]> | undefined;
function allRuns() {
  runs ??= (async () => {
    const all = [];
    for (let i = 0; i < STEPS.length; i += AT_ONCE)
      all.push(...(await Promise.all(STEPS.slice(i, i + AT_ONCE).map(runOut))));
    return all;
  })();
  return runs;
}

test("wherever memory runs out, no broken image is selected", options, async (t) => {
  const outcomes = new Set<string>();
  for (const { free, first, boot, device, before } of await allRuns()) {
    outcomes.add(first);
    assert.deepEqual(device.slot("factory", 60000), before);
    const booted = boot.slot?.label;
    assert.ok(booted === "factory" || booted === "ota_0", `${free} free: ${boot.log.join()}`);
    if (booted === "ota_0") assert.deepEqual(device.slot("ota_0", IMAGE.length), IMAGE, `${free} free`);
  }
  t.diagnostic([...outcomes].join(", "));
  assert.ok(outcomes.has("installed") && outcomes.size > 2, `memory ran out always or never: ${[...outcomes]}`);
});

// The engine interrupts the callback in which memory runs out: nothing catches that, and whatever was to follow is lost.
test("wherever memory runs out, the next update with enough of it succeeds", options, async () => {
  const stuck = (await allRuns()).filter(({ later }) => later !== "installed");
  assert.deepEqual(
    stuck.map(({ free, first, later }) => `${free} free: ${first}, then ${later}`),
    [],
  );
});
