// Little memory, in the real interpreter: a heap filler leaves a chosen number of JsVars free. Needs a build with a fixed number of
// them, as devices have; the ordinary Linux build gets more on demand.
//
// MEMORY_STEP sets how fine the sweeps are: 1 tries every number of free JsVars (two hours), 7 takes half an hour.
// MEMORY_ENGINES names builds of little memory, one or more paths with colons between them; without it they are made of
// ESPRUINO by a heap filler.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { FOLDED_FLASH } from "../../bench/fold.ts";
import { runBootloader } from "../../sim/bootloader.ts";
import { caughtInEngine, NO_CHECK_OF_MEMORY } from "../../mutants/mutants.ts";
import { createDevice, type Device } from "../../sim/device.ts";
import { HEAP_FILLER } from "../../real-espruino/heap-filler.ts";
import { ESPRUINO, runInEngine, warnWithoutEngine, growsOnDemand } from "../../real-espruino/engine.ts";
import { createFlash, type Flash } from "../../sim/flash.ts";
import { bundleEntry } from "../../support/bundle.ts";
import { buildImage } from "../../support/images.ts";
import type { Edit } from "../../support/mutate.ts";
import { claimsFor, type Key, makeKey, signManifest } from "../../support/release.ts";
import { type Server, serveFile, startServer } from "../../support/server.ts";

/** JsVars of 14 bytes that are free when `update` is called, the module being loaded; the call itself takes some 370. */
const ENOUGH = 2000;
/**
 * Up to here TLS is tried. Linux takes its buffers from the JsVars, in one piece each: how many succeed says nothing of an
 * ESP32, where mbedTLS has a heap of its own. A build with assertions ends when it finds no piece (jsvMalloc, src/jsvar.c).
 */
const TLS = 7800;
const STEP = Number(process.env.MEMORY_STEP ?? 47);
/** Most of the time they wait: for a timeout, for the watchdog. */
const AT_ONCE = Number(process.env.MEMORY_AT_ONCE ?? 4);

warnWithoutEngine();
/** How many JsVars has the interpreter? */
async function sizeOf(binary: string): Promise<number> {
  const run = await runInEngine(createDevice(), "report(engineProcess.memory().total); finish();", { binary });
  return run.reports[0];
}
const options = {
  skip: !ESPRUINO
    ? "ESPRUINO is not set"
    : (await growsOnDemand()) && "ESPRUINO is a build that gets more JsVars on demand: it cannot run out",
};

const IMAGE = buildImage({ size: 12288, seed: 2, descriptor: { version: "2.0.2" } });
/** More than the interpreter has memory: when nobody takes what arrives, the engine keeps it all. */
const BIG = buildImage({ size: 65 * 4096, seed: 2, descriptor: { version: "2.0.2" } });
const folder = mkdtempSync(join(tmpdir(), "https-ota-"));
/** The module without its look at the free JsVars, so that an update can run out in the middle. */
const unchecked = join(folder, "unchecked.js");
let http: Server;
let https: Server;
let key: Key;

before(async () => {
  key = await makeKey({ bits: 3072 });
  http = await startServer();
  https = await startServer({ tls: true });
  const manifest = Buffer.from(await signManifest(claimsFor(IMAGE), key));
  const big = Buffer.from(await signManifest(claimsFor(BIG, { image: { url: "big.bin" } }), key));
  for (const server of [http, https]) {
    server.on("/fw.bin", serveFile(IMAGE, { ranges: true }));
    server.on("/m.jws", serveFile(manifest));
    server.on("/big.bin", serveFile(BIG, { ranges: true }));
    server.on("/big.jws", serveFile(big));
  }
  if (ESPRUINO)
    writeFileSync(unchecked, await bundleEntry("src/index.ts", { minify: true, edits: [NO_CHECK_OF_MEMORY] }));
});
after(async () => {
  rmSync(folder, { recursive: true });
  await http.close();
  await https.close();
});

const configOf = (server: Server, image = IMAGE) =>
  `{ url: ${JSON.stringify(server.url(image === BIG ? "/big.jws" : "/m.jws"))}, keys: ${JSON.stringify([key.jwk])}, retries: 0, timeout: 1000 }`;

test(`a signed update over http succeeds with ${ENOUGH} free JsVars`, options, async () => {
  const run = await runInEngine(
    createDevice(),
    `${FOLDED_FLASH} ${HEAP_FILLER}
    var config = ${configOf(http)};
    setTimeout(function () {
      fill(${ENOUGH});
      ota.update(config).then(function (result) { release(); report(result); finish(); },
        function (error) { release(); reportError(error); finish(); });
    }, 100);`,
  );
  assert.equal(run.reports[0]?.size, IMAGE.length, run.output);
});

test("with RSA-4096 and no more JsVars than the check asks for, an update succeeds", options, async () => {
  const large = await makeKey({ bits: 4096 });
  const text = await signManifest(claimsFor(BIG, { image: { url: "big.bin" } }), large);
  http.on("/large.jws", serveFile(Buffer.from(text)));
  const run = await runInEngine(
    createDevice(),
    `${HEAP_FILLER}
    var config = { url: ${JSON.stringify(http.url("/large.jws"))}, keys: ${JSON.stringify([large.jwk])}, retries: 0 };
    var free = 1700;
    function attempt() {
      fill(free);
      ota.update(config).then(function (result) { release(); report(result); finish(); },
        function (error) {
          release();
          // refused by the check: with a few more
          if (error.message.indexOf(" JsVars are free") > 0 && (free += 10) < 2200) setTimeout(attempt, 10);
          else { reportError(error); finish(); }
        });
    }
    setTimeout(attempt, 100);`,
  );
  assert.equal(run.reports[0]?.size, BIG.length, run.output);
});

/** With fewer free JsVars than the last of these the call itself finds no memory, and its promise stays open. */
const TOO_FEW = [1300, 1000, 800, 600];

test("below what it needs an update refuses, with both numbers, before it writes", options, async () => {
  const device = createDevice();
  const run = await runInEngine(
    device,
    `${HEAP_FILLER}
    var config = ${configOf(http)}, sizes = ${JSON.stringify(TOO_FEW)};
    function next() {
      if (!sizes.length) return ota.update(config).then(function (result) { report(result); finish(); },
        function (error) { reportError(error); finish(); });
      fill(sizes[0]);
      ota.update(config).then(report, function (error) {
        release();
        report({ free: sizes.shift(), flash: counts });
        reportError(error);
        setTimeout(next, 10);
      });
    }
    setTimeout(next, 100);`,
  );
  const later = run.reports.pop();
  assert.equal(run.reports.length, 2 * TOO_FEW.length, run.output);
  for (let i = 0; i < run.reports.length; i += 2) {
    const [given, refusal] = run.reports.slice(i, i + 2);
    assert.deepEqual(given.flash, { reads: 0, writes: 0, erases: 0 });
    assert.equal(refusal.name, "ESP_ERR_NO_MEM");
    assert.equal(refusal.retry, true);
    const [, free, needed] = /^(\d+) JsVars are free, an update needs (\d+)$/.exec(refusal.error) ?? [];
    assert.ok(Number(free) > given.free - 420 && Number(free) < given.free + 10, refusal.error);
    assert.ok(Number(needed) > 1100, refusal.error);
  }
  assert.equal(later.size, IMAGE.length, run.output);
  assert.equal(run.boot.slot?.label, "ota_0");
});

/**
 * Interpreters of little memory. The harness takes some 130 JsVars that a device has not; a device has its Wi-Fi
 * instead. What is refused is refused before the flash is touched, and nothing stays behind: the same call again is
 * refused for the same reason, not as a second update.
 */
const SMALL = process.env.MEMORY_ENGINES?.split(":") ?? [4000, 3000, 2500];
/** JsVars with which an update over HTTP has to succeed. */
const SMALLEST = 3000;

for (const engine of SMALL)
  for (const scheme of ["http", "tls"] as const)
    test(`an interpreter of ${engine} JsVars installs over ${scheme}, or refuses cleanly`, options, async (t) => {
      const device = createDevice();
      const start = device.dump();
      const binary = typeof engine === "string" ? engine : undefined;
      const total = binary ? await sizeOf(binary) : Number(engine);
      const run = await runInEngine(
        device,
        `${binary ? "" : HEAP_FILLER}
        var config = ${configOf(scheme === "tls" ? https : http)}, count = 0;
        function told(name) { report({ outcome: name, writes: counts.writes, erases: counts.erases }); if (++count < 2) update(); else finish(); }
        function update() {
          ota.update(config).then(function (result) { report({ size: result.size }); finish(); },
            function (error) { told(error.name + " " + error.retry); });
        }
        setTimeout(function () {
          ${binary ? "" : `fill(${total} - engineProcess.memory().usage);`}
          update();
        }, 100);`,
        { binary, mayHang: scheme === "tls" },
      );
      const [first, second] = run.reports;
      if (scheme === "tls" && (run.hung || run.exitCode !== 0)) {
        // mbedtls_ssl_setup frees a buffer that it did not get: jsvFree(NULL) of the Linux build is a SIGSEGV (the ESP32's
        // mbedtls has the native heap). Before any flash operation, and a reset is what follows on a device.
        t.diagnostic("the engine's mbedtls_ssl_setup crashed");
        return assert.deepEqual(device.dump(), start);
      }
      t.diagnostic(first.size ? "installed" : first.outcome);
      if (first.size) return assert.equal(run.boot.slot?.label, "ota_0");
      assert.ok(scheme === "tls" || total < SMALLEST, first.outcome);
      assert.match(first.outcome, scheme === "tls" ? /^ESP_ERR_(HTTP_CONNECT|NO_MEM) true$/ : /^ESP_ERR_NO_MEM true$/);
      assert.deepEqual(second, first);
      assert.equal(first.writes + first.erases, 0);
      assert.equal(run.boot.slot?.label, "factory");
    });

/**
 * `free` JsVars are left when the call is made, or from the `at`th use of the flash on. This lasts for `heldMs` from the call on,
 * or until the update ends. On a slow machine it is over before that use comes, and shows nothing then.
 */
type Shortage = { free: number; at?: number; image?: Uint8Array; heldMs?: number };
const HELD_MS = 6000;

type Outcome = {
  what: string;
  /**
   * How the update ended: "installed", the error's name, "nothing" when its promise stayed open, "interrupted call" when
   * it never returned one, "crash", or "stuck".
   */
  first: string;
  /** How the next one ended, which had all memory: in the same session, or after the restart that a crash is. */
  later: string;
  /** What is wrong with what the first left; "" when nothing is. */
  broken: string;
  /** How often the first used the flash. */
  uses: number;
};

async function runOut(shortage: Shortage, server: Server, bundle = unchecked): Promise<Outcome> {
  const { free, at, image = IMAGE, heldMs = HELD_MS } = shortage;
  const device = createDevice();
  const start = device.dump();
  const otadata = device.otadata().address;
  const slot = device.row("ota_0").offset;
  const run = await runInEngine(
    device,
    `${HEAP_FILLER}
    var config = ${configOf(server, image)}, first, left, attempts = 0, uses = 0, called = true;
    function says(error) { return error.name || "" + error; }
    function settled(what) { if (!first) { first = what; setTimeout(again, 50); } }
    function late() { settled(called ? "nothing" : "interrupted call"); }
    function sum(addr, end) {
      for (var sums = ""; addr < end; addr += 4096) sums += btoa(require("crypto").SHA1(flashRead(4096, addr)));
      return sums;
    }
    function again() {
      release();
      // what there is now, before the next update puts it right
      if (!left) left = { uses: uses, image: sum(${slot}, ${slot + image.length}),
        entries: [0, 4096].map(function (n) { return btoa(flashRead(32, ${otadata} + n)); }) };
      ota.update(config).then(function () { over("installed"); }, function (error) {
        // where the call itself was interrupted nobody is told when it is over, nor is a slow machine done yet
        if (attempts++ < 25) setTimeout(again, 1000); else over(says(error));
      });
    }
    function over(later) { report({ first: first, later: later, left: left }); finish(); }
    ["read", "write", "erasePage"].forEach(function (name) {
      var flash = require("Flash"), use = flash[name];
      flash[name] = function (a, b) { if (++uses === ${at ?? 0} && !left) fill(${free}); return use(a, b); };
    });
    setTimeout(function () {
      releaseAfter(${heldMs});
      // one of them finds memory to run in
      for (var ms = ${heldMs} + 500; ms < 30000; ms += 1500) setTimeout(late, ms);
      setTimeout(function () { if (!called) late(); }, 50);
      ${at ? "" : `fill(${free});`}
      called = false;
      ota.update(config).then(function () { settled("installed"); }, function (error) { settled(says(error)); });
      called = true;
    }, 100);`,
    { bundle, timeoutMs: heldMs + 39_000, mayHang: true },
  );
  const what = `${free} free${at ? ` from use ${at} of the flash on` : ""}`;
  if (run.exitCode === 0) {
    assert.ok(run.reports[0], `${what}: ${run.output}`);
    const { first, later, left } = run.reports[0];
    const { flash } = createDevice({ flash: start });
    for (const [i, entry] of left.entries.entries()) flash.load(Buffer.from(entry, "base64"), otadata + 4096 * i);
    flash.load(image, slot);
    const broken = problemOf(flash, left.image === sums(image), first === "installed") || elsewhere(device, start);
    return { what, first, later, uses: left.uses, broken };
  }
  // Functions and natives of the engine that find no memory at all may crash it; and where what the network sent has
  // taken all, no callback runs any more, of nobody. On a device that is a reset, or the watchdog's.
  const whole = Buffer.from(image).equals(device.slot("ota_0", image.length));
  const broken = problemOf(device.flash, whole, false) || elsewhere(device, start);
  const next = await runInEngine(
    device,
    `ota.update(${configOf(http, image)}).then(function () { report("installed"); finish(); }, function (error) {
      report(error.message); finish();
    });`,
  );
  return {
    what,
    first: run.hung ? "stuck" : "crash",
    later: next.reports[0] ?? next.output.slice(-500),
    uses: 0,
    broken,
  };
}

/** As `sum` of the scenario: of each sector. */
const sums = (image: Uint8Array) =>
  range(0, image.length, 4096)
    .map((offset) =>
      createHash("sha1")
        .update(image.subarray(offset, offset + 4096))
        .digest("base64"),
    )
    .join("");

/** What the bootloader would make of `flash`; `whole`: is the image in the slot what it has to be? */
function problemOf(flash: Flash, whole: boolean, installed: boolean): string {
  const boot = runBootloader(createFlash({ from: flash.snapshot() }), { chipId: 0 });
  if (boot.fellBack || !boot.slot) return boot.log.join("\n");
  const selected = boot.slot.label === "ota_0";
  if (selected && !whole) return "what is selected is not the image";
  if (installed && !selected) return "called installed, and not selected";
  return "";
}

/** Was anything written but the slot and otadata? */
function elsewhere(device: Device, start: Uint8Array): string {
  const ends = [device.dump(), start.slice()];
  for (const end of ends)
    for (const label of ["otadata", "ota_0"]) {
      const { offset, size } = device.row(label);
      end.fill(0, offset, offset + size);
    }
  return Buffer.from(ends[0]).equals(ends[1]) ? "" : "something else was written";
}

async function runAll(shortages: Shortage[], server: Server, bundle?: string): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const rest = [...shortages];
  async function work() {
    for (let shortage = rest.shift(); shortage; shortage = rest.shift()) {
      const outcome = await runOut(shortage, server, bundle);
      if (process.env.MEMORY_LOG) console.error(JSON.stringify(outcome));
      outcomes.push(outcome);
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return outcomes;
}

function range(from: number, to: number, step: number): number[] {
  return Array.from({ length: Math.ceil((to - from) / step) }, (_, i) => from + i * step);
}

/** What is not as it has to be: a broken image was selected, or the next update was not installed. */
const harmed = (outcomes: Outcome[]) =>
  outcomes
    .filter(({ broken, later }) => broken || later !== "installed")
    .map(({ what, first, later, broken }) => `${what}: ${first}, then ${later} ${broken}`);

/** "34 ESP_ERR_NO_MEM, 11 installed" */
function tally(outcomes: Outcome[]): string {
  const counts = new Map<string, number>();
  for (const { first } of outcomes) counts.set(first, (counts.get(first) ?? 0) + 1);
  return [...counts].map(([first, count]) => `${count} ${first}`).join(", ");
}

// The engine interrupts the callback in which memory runs out: nothing catches that, and whatever was to follow is lost.
for (const [scheme, from, to, step] of [
  ["http", 250, ENOUGH, STEP],
  ["tls", 400, TLS, 16 * STEP],
] as const)
  test(`wherever memory runs out over ${scheme}, nothing broken is selected`, options, async (t) => {
    // the end too, whatever the step: there one has to succeed
    const shortages = [...range(from, to, step), to].map((free) => ({ free }));
    const outcomes = await runAll(shortages, scheme === "tls" ? https : http);
    t.diagnostic(tally(outcomes));
    assert.deepEqual(harmed(outcomes), []);
    if (scheme === "http") assert.match(tally(outcomes), /installed/);
    assert.match(tally(outcomes), /ESP_ERR_NO_MEM/);
  });

// A heap filler that is there from the start lets only those allocations fail that are a new peak. So also: all is well until
// some use of the flash, and from then on hardly anything is free. Each use is tried, those around select among them.
test("wherever memory gets short later, nothing broken is selected", options, async (t) => {
  const [{ first, uses }] = await runAll([{ free: 5000, at: 1 }], http);
  assert.equal(first, "installed");
  const shortages = range(1, uses + 1, 1).flatMap((at) =>
    range(30 + ((at * 61) % (12 * STEP)), 440, 12 * STEP).map((free) => ({ free, at })),
  );
  const outcomes = await runAll(shortages, http);
  t.diagnostic(tally(outcomes));
  assert.deepEqual(harmed(outcomes), []);
});

// The engine takes the data handler away in which memory ran out, and keeps what arrives then, as long as there is room.
test("a server that sends more than there is memory makes nothing worse", options, async (t) => {
  const shortages = range(20, 1000, 3 * STEP).map((at) => ({ free: 30 + (at % 300), at, image: BIG }));
  const outcomes = await runAll(shortages, http);
  t.diagnostic(tally(outcomes));
  assert.deepEqual(harmed(outcomes), []);
});

// Would these tests notice? The module without what they are about.
for (const { guard, edits, place } of caughtInEngine())
  test(`${guard}: little memory catches the mutant`, options, async () => {
    const { free, at, says } = place;
    const bundle = join(folder, "mutant.js");
    async function found(all: Edit[]): Promise<string> {
      writeFileSync(bundle, await bundleEntry("src/index.ts", { minify: true, edits: all }));
      const heldMs = at ? 2 * HELD_MS : HELD_MS;
      return harmed(await runAll([{ free, at, heldMs }], http, bundle)).join("\n");
    }
    assert.equal(await found([NO_CHECK_OF_MEMORY]), "");
    assert.match(await found([NO_CHECK_OF_MEMORY, ...edits]), says);
  });
