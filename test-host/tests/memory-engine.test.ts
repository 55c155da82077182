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
/** Where memory runs out, and at last does not. The harness's flash, a file, takes some 700 more than a device's. */
const STEPS = [300, 460, 620, 780, 1000, 1200, 1400, 1600, 1800, 2100, 2400, 4000];

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
    var config = ${configOf(http)}, first, attempts = 0;
    function says(error) { return error.name || "" + error; }
    function settled(what) { if (!first) first = what; }
    function again() {
      release();
      ota.update(config).then(function () { report({ first: first, then: "installed" }); finish(); }, function (error) {
        if (attempts++ < 2) return setTimeout(again, 1000);
        report({ first: first, then: says(error) }); finish();
      });
    }
    setTimeout(function () {
      fill(${free});
      setTimeout(function () { settled("nothing"); }, 2000);
      var waiting = setInterval(function () { if (first) { clearInterval(waiting); again(); } }, 50);
      ota.update(config).then(function () { settled("installed"); }, function (error) { settled(says(error)); });
    }, 100);`,
    { bundle: unchecked, timeoutMs: 60_000 },
  );
  return { free, device, before, run };
}

/** All steps, once for both tests; two at a time. */
let runs: Promise<Awaited<ReturnType<typeof runOut>>[]> | undefined;
function allRuns() {
  runs ??= (async () => {
    const all = [];
    for (let i = 0; i < STEPS.length; i += 2) all.push(...(await Promise.all(STEPS.slice(i, i + 2).map(runOut))));
    return all;
  })();
  return runs;
}

test("wherever memory runs out, no broken image is selected", options, async () => {
  const outcomes = new Set<string>();
  for (const { free, run, device, before } of await allRuns()) {
    outcomes.add(run.reports[0]?.first);
    assert.deepEqual(device.slot("factory", 60000), before);
    const booted = run.boot.slot?.label;
    assert.ok(booted === "factory" || booted === "ota_0", `${free} free: ${run.boot.log.join()}`);
    if (booted === "ota_0") assert.deepEqual(device.slot("ota_0", IMAGE.length), IMAGE, `${free} free`);
  }
  assert.ok(outcomes.has("installed") && outcomes.size > 1, `memory ran out always or never: ${[...outcomes]}`);
});

// The engine interrupts the callback in which memory runs out: nothing catches that, and whatever was to follow is lost.
const todo = "an interrupted update stays under way for ever, and no other one can begin until a restart";
test("wherever memory runs out, the next update with enough of it succeeds", { ...options, todo }, async () => {
  const stuck = (await allRuns()).filter(({ run }) => run.reports[0]?.then !== "installed");
  assert.deepEqual(
    stuck.map(({ free, run }) => `${free} free: ${run.reports[0]?.then ?? run.output.slice(-500)}`),
    [],
  );
});
