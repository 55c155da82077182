// The lying server against the real interpreter: its own http, TLS and memory, where the virtual one could differ from it
// (bodies, ranges, cuts). The table of answer-cases.ts, many cases in one run, one after the other on one device that is
// never restarted: each has the outcome that is promised, leaves nothing behind, and an update afterwards works.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createDevice, type Device } from "../../sim/device.ts";
import {
  ESPRUINO,
  engineMemory,
  type EngineRun,
  runInEngine,
  tooSmallForReconnects,
  warnWithoutEngine,
} from "../../real-espruino/engine.ts";
import { fsverity } from "../../support/fsverity.ts";
import { buildImage, noise } from "../../support/images.ts";
import { SECTOR } from "../../support/network.ts";
import { claimsFor, makeKey, signManifest } from "../../support/release.ts";
import * as serve from "../../support/server.ts";
import type { Server } from "../../support/server.ts";
import { type Case, CASES, functionsOfCases, imageOf, outcomesOf, retryOf } from "../net/answer-cases.ts";

warnWithoutEngine();
const options = { skip: ESPRUINO ? false : "ESPRUINO is not set" };
const secure = { skip: await tooSmallForReconnects() };
const optionsOf = (scheme: "http" | "https") => (scheme === "http" ? options : secure);
/** A device of 4095 JsVars: the text of all cases takes JsVars too, and a header of 16 KB more than there are. */
const isSmall = ESPRUINO !== undefined && (await engineMemory()).total < 8000;
const CASES_AT_ONCE = isSmall ? 24 : 60;

let http: Server;
let https: Server;
let named: Server;
before(async () => {
  http = await serve.startServer();
  https = await serve.startServer({ tls: true });
  named = await serve.startServer({ tls: true, sni: true });
});
after(async () => {
  await http.close();
  await https.close();
  await named.close();
});

/** Most of a run is waiting for the network, or for a timer. */
const AT_ONCE = { concurrency: 4 };
const TIMEOUT = 1000;
const FINAL = buildImage({ size: 30000, seed: 99, descriptor: { version: "9.9" } });

/** What the engine itself keeps alive: its connections and timers. */
const ALIVE = `
  function count(list) { return list ? Object.keys(list).length : 0; }
  function alive() {
    var hidden = global["\\xff"];
    return { connections: count(hidden.HttpCC), timers: count(hidden.timers), JsVars: process.memory().usage };
  }`;

/**
 * ES5. Updates from one URL after the other; what each came to, what then boots, and what is left alive. It does not
 * quit: the interpreter ends by itself when no timer and no socket is left, or never.
 */
const RUN_ALL = `${ALIVE}
  var at = 0;
  function look(outcome) {
    // a closed connection goes in the idle loop
    setTimeout(function () {
      outcome.alive = alive();
      outcome.flash = counts.writes + counts.erases;
      outcome.boots = ota.getBootPartition().label;
      report(outcome);
      setTimeout(next, 0);
    }, 60);
  }
  function next() {
    if (at === CASES.length) return report({ counts: counts });
    var one = CASES[at++];
    ota.update(one.config).then(
      function (result) { look({ what: one.what, size: result.size }); },
      function (error) { look({ what: one.what, error: error.message, name: error.name, retry: error.retry, status: error.status }); });
  }
  look({ what: "the beginning" });`;

type Alive = { connections: number; timers: number; JsVars: number };
type Answer = {
  what: string;
  size?: number;
  error?: string;
  name?: string;
  retry?: boolean;
  status?: number;
  alive: Alive;
  /** Operations of flash, since the beginning. */
  flash: number;
  boots: string;
};

const pathOf = (group: string, index: number) => `/${group.replaceAll(" ", "-")}/${index}`;

async function runAll(
  server: Server,
  group: string,
  cases: Case[],
  device: Device,
): Promise<{ answers: Answer[]; run: EngineRun }> {
  const steps = cases.map(({ what, behaviour, config }, index) => {
    const path = pathOf(group, index);
    server.on(path, behaviour(imageOf(index)));
    return { what, config: { url: server.url(path), insecure: true, timeout: TIMEOUT, retries: 0, ...config } };
  });
  server.on("/final", serve.serveFile(FINAL));
  const digest = `fsverity-sha256:${fsverity(FINAL)}`;
  steps.push({ what: "the last", config: { url: server.url("/final"), digest, timeout: 20000, retries: 0 } as any });
  const run = await runInEngine(device, `var CASES = ${JSON.stringify(steps)};\n${RUN_ALL}`, { timeoutMs: 240_000 });
  assert.equal(run.reports.length, 1 + steps.length, run.output.slice(-3000));
  return { answers: run.reports as Answer[], run };
}

/** An update keeps some names and strings for the next one. */
const SPREAD = 60;

/** The next request follows as soon as the last byte of the one before is there. */
const inRanges = ({ config, what }: Case) => config?.maxRequestSize !== undefined || what === "a wrong total";
/** Whole, and nothing but the chunks says so. */
const withoutLength = ({ outcome, what }: Case) =>
  outcome === "" && /^(chunked coding|chunks of one byte|chunk extensions|one huge chunk)/.test(what);
const GROUPS: [string, (one: Case) => boolean][] = [
  ["every lie of the server", (one) => !inRanges(one) && !withoutLength(one)],
  ["every server asked in ranges", inRanges],
  ["every chunked body of unknown length", withoutLength],
];
describe("in the real interpreter", AT_ONCE, () => {
  for (const [group, belongs] of GROUPS)
    for (const scheme of ["http", "https"] as const)
      test(`${group} over ${scheme}, one after the other: the promised outcome, nothing left`, {
        ...optionsOf(scheme),
      }, async (t) => {
        const suiting = CASES.filter((one) => belongs(one) && (one.only === undefined || one.only === scheme));
        const all = suiting.filter(({ large }) => !large || !isSmall);
        for (const { what } of suiting.filter((one) => !all.includes(one)))
          t.diagnostic(`NOT RUN with so few JsVars: ${what}`);
        assert.ok(all.length);
        for (let at = 0; at < all.length; at += CASES_AT_ONCE) {
          const cases = all.slice(at, at + CASES_AT_ONCE);
          const device = createDevice({ board: "toy-factory-one" });
          const old = device.slot("factory");
          const server = scheme === "http" ? http : https;
          const { answers, run } = await runAll(server, `${group} ${at}`, cases, device);
          const beginning = answers.shift() as Answer;
          const last = answers.at(-1) as Answer;
          const wrong: string[] = [];
          let before = beginning.flash;
          cases.forEach((one, i) => {
            const { what, outcome, says, status, config, requests } = one;
            const { name = "", error = "", alive, ...answer } = answers[i];
            const said = name.replace(/^ESP_(ERR_)?/, "");
            if (!outcomesOf(one).includes(said))
              wrong.push(`${what}: ${name || "success"} ${error}, wanted ${outcome || "success"}`);
            if (said) {
              if (says && !says.test(error)) wrong.push(`${what}: says ${error}`);
              if (one.stalls && !error.includes(`${config?.timeout ?? TIMEOUT}`)) wrong.push(`${what}: says ${error}`);
              if (answer.retry !== retryOf(one, said)) wrong.push(`${what}: retry is ${answer.retry}`);
              if (status !== undefined && answer.status !== status) wrong.push(`${what}: status is ${answer.status}`);
              if (!one.wrote && answer.flash !== before) wrong.push(`${what}: flash was touched`);
            }
            before = answer.flash;
            const asked = server.requests.filter(
              ({ path }) => path.split("?")[0] === pathOf(`${group} ${at}`, i),
            ).length;
            if (requests !== undefined && asked !== requests) wrong.push(`${what}: ${asked} requests`);
            if (alive.connections) wrong.push(`${what}: ${alive.connections} connections are left`);
            if (alive.timers !== beginning.alive.timers) wrong.push(`${what}: ${alive.timers} timers are left`);
            if (alive.JsVars > answers[0].alive.JsVars + SPREAD)
              wrong.push(`${what}: ${alive.JsVars} JsVars are in use`);
          });
          assert.deepEqual(wrong, []);
          assert.equal(last.size, FINAL.length, last.error);
          assert.equal(run.exitCode, 0);
          assert.equal(run.boot.slot?.label, "ota_0");
          assert.deepEqual(device.slot("ota_0", FINAL.length), FINAL);
          assert.deepEqual(device.slot("factory"), old, "the running slot was changed");
          const used = answers.map(({ alive }) => alive.JsVars);
          t.diagnostic(`${cases.length} cases; JsVars in use after each: ${Math.min(...used)} to ${Math.max(...used)}`);
        }
      });

  // --- Stories -------------------------------------------------------------------------------------------------------------

  /** Runs one update; what it came to, and what is left. */
  function updateOnce(device: Device, config: object, more = ""): Promise<EngineRun> {
    return runInEngine(
      device,
      `${ALIVE}
    var config = ${JSON.stringify(config)};
    ${more}
    function look(outcome) { setTimeout(function () { outcome.alive = alive(); report(outcome); report({ counts: counts }); }, 60); }
    ota.update(config).then(
      function (result) { look({ size: result.size }); },
      function (error) { look({ error: error.message, name: error.name, retry: error.retry }); });`,
      { timeoutMs: 120_000 },
    );
  }

  const small = () => createDevice({ board: "toy-factory-one" });
  const digestOf = (image: Uint8Array) => `fsverity-sha256:${fsverity(image)}`;
  const IMAGE = buildImage({ size: 61008, seed: 2, descriptor: { version: "2.0.2" } });

  function installed(device: Device, run: EngineRun, image = IMAGE): void {
    const outcome = run.reports.at(-1);
    assert.equal(outcome?.size, image.length, run.output.slice(-2000));
    assert.equal(outcome.alive.connections, 0);
    assert.equal(run.boot.slot?.label, "ota_0");
    assert.deepEqual(device.slot("ota_0", image.length), image);
  }

  for (const scheme of ["http", "https"] as const) {
    const server = () => (scheme === "http" ? http : https);

    const rangesOf = (path: string) =>
      server()
        .requests.filter((one) => one.path === path)
        .map(({ headers }) => headers.range);

    test(
      `power lost in a download over ${scheme}: the next start goes on at the sector`,
      optionsOf(scheme),
      async () => {
        const device = small();
        device.flash.load(noise(7, 0x10000), device.row("ota_0").offset);
        server().on("/power", serve.serveFile(IMAGE));
        const config = { url: server().url("/power"), digest: digestOf(IMAGE) };
        // the interpreter ends in the middle of it, at the ninth sector
        await updateOnce(device, config, `config.onEvent = function (name, data) { if (data === 36864) quit(); };`);
        assert.equal(device.slot("ota_0", 36864).at(-1), IMAGE[36863]);
        const run = await updateOnce(device, config);
        installed(device, run);
        // the sector that was being written, or the last whole one where that was not begun
        const [first, look, resumed, ...more] = rangesOf("/power");
        assert.deepEqual([first, look, more], ["bytes=0-", "bytes=0-", []]);
        assert.ok(
          [8, 9].some((sector) => resumed === `bytes=${sector * SECTOR}-`),
          resumed,
        );
        const last = server()
          .requests.filter(({ path }) => path === "/power")
          .at(-1);
        assert.ok(last?.headers["if-range"]);
        assert.ok(run.counts.erases <= 15 - 9 + 2 + 1, `${run.counts.erases} erases`);
      },
    );

    test(`ten cuts in a download over ${scheme}: each byte is asked for once`, optionsOf(scheme), async () => {
      const device = small();
      let cuts = 10;
      server().on("/ten", (req, io) =>
        (cuts-- > 0 ? serve.cutAt(IMAGE, 5500, "close") : serve.serveFile(IMAGE))(req, io),
      );
      installed(device, await updateOnce(device, { url: server().url("/ten"), digest: digestOf(IMAGE), retries: 1 }));
      assert.deepEqual(
        rangesOf("/ten"),
        Array.from({ length: 11 }, (_, i) => `bytes=${5500 * i}-`),
      );
    });

    test(`a slot with the rest of another file over ${scheme}: one full download`, optionsOf(scheme), async () => {
      const device = small();
      const slot = noise(7, 0x10000);
      slot.set(IMAGE.subarray(0, 5 * SECTOR));
      device.flash.load(slot, device.row("ota_0").offset);
      server().on("/mixed", serve.serveFile(IMAGE));
      installed(device, await updateOnce(device, { url: server().url("/mixed"), digest: digestOf(IMAGE) }));
      assert.deepEqual(rangesOf("/mixed"), ["bytes=0-", `bytes=${14 * SECTOR}-`, "bytes=0-"]);
    });

    test(`ranged requests over ${scheme}: bounds exact, and memory as flat as in one request`, {
      ...optionsOf(scheme),
    }, async (t) => {
      const used: number[][] = [];
      for (const maxRequestSize of [0, 4000]) {
        const device = small();
        const path = `/flat/${maxRequestSize}`;
        server().on(path, serve.serveFile(IMAGE));
        const run = await updateOnce(
          device,
          { url: server().url(path), insecure: true, maxRequestSize },
          "config.onEvent = function (name) { if (name === 'WRITE_FLASH') report(process.memory().usage); };",
        );
        installed(device, run);
        used.push(run.reports.slice(0, -1));
      }
      const [plain, ranged] = used;
      t.diagnostic(
        `JsVars at each sector: ${Math.min(...plain)} to ${Math.max(...plain)}, in ranges ${Math.min(...ranged)} to ${Math.max(...ranged)}`,
      );
      // a request and its answer may be on their way out while the next one is made
      assert.ok(Math.max(...ranged) - Math.max(...plain) < 200);
      assert.ok(Math.max(...ranged.slice(-5)) - Math.max(...ranged.slice(0, 5)) < 100, "it grows");
      const ranges = Array.from({ length: 16 }, (_, i) => `bytes=${4000 * i}-${4000 * i + 3999}`);
      assert.deepEqual(rangesOf("/flat/4000"), ranges);
    });
  }

  test("a URL of 2 KB behind a redirect is asked for, and credentials stay at home", secure, async () => {
    const device = small();
    const query = `a=%20+b&sig=${"%2F+/=~!$'()*,;:@".repeat(120)}`;
    assert.ok(query.length > 2000);
    https.on("/far", serve.serveFile(IMAGE));
    http.on("/near", serve.redirect(302, https.url(`/far?${query}`)));
    const url = http.url("/near").replace("//", "//me:s%2Fcret@");
    installed(device, await updateOnce(device, { url, digest: digestOf(IMAGE), headers: { "X-Key": "k" } }));
    const there = https.requests.find(({ path }) => path.startsWith("/far"));
    assert.equal(there?.path, `/far?${query}`);
    assert.ok(!/authorization|x-key/i.test(there?.rawHead ?? ""), there?.rawHead);
    const here = http.requests.find(({ path }) => path === "/near");
    assert.equal(here?.headers.authorization, `Basic ${Buffer.from("me:s/cret").toString("base64")}`);
    assert.equal(here?.headers["x-key"], "k");
  });

  test("a host that chooses its certificate by name: the error names SNI and what to do", options, async () => {
    const device = small();
    const before = device.dump();
    const run = await updateOnce(device, { url: named.url("/fw.bin"), insecure: true, retries: 0 });
    const { name, error, retry } = run.reports.at(-1);
    assert.deepEqual([name, retry], ["ESP_ERR_HTTP_CONNECT", true], error);
    assert.match(error, /\(-(15|8)\)\. .*SNI.*August 2026.*2v29.*http: with keys$/);
    assert.deepEqual(device.dump(), before, "flash was touched");
  });

  for (const [form, headers] of [
    ["seconds", { "Retry-After": 2 }],
    [
      "a date, by the server's clock",
      { Date: "Sun, 01 Nov 2026 12:00:00 GMT", "Retry-After": "Sun, 01 Nov 2026 12:00:02 GMT" },
    ],
  ] as [string, serve.Headers][])
    test(`Retry-After as ${form} is waited for`, options, async () => {
      const device = small();
      const at: number[] = [];
      const path = `/later/${form.length}`;
      const answer = serve.sequence(serve.status(503, headers), serve.serveFile(IMAGE));
      http.on(path, (req, io) => {
        at.push(performance.now());
        return answer(req, io);
      });
      installed(device, await updateOnce(device, { url: http.url(path), insecure: true, retries: 1 }));
      const ms = at[1] - at[0];
      assert.ok(ms >= 1900 && ms < 8000, `${ms} ms`);
    });

  // --- Memory --------------------------------------------------------------------------------------------------------------

  /** Fills memory until `n` variables are free; the device's own mbedTLS has memory of its own. */
  const FILL = `
  var held = [];
  function fill(n) {
    while (process.memory().free > n + 40) held.push(new Uint8Array(12));
    while (process.memory().free > n) held.push(0);
  }`;

  test("too little memory is refused with both numbers; the second number is enough", options, async (t) => {
    const key = await makeKey({ bits: 3072 });
    const manifest = await signManifest(claimsFor(IMAGE, { image: { url: "/memory.bin" } }), key);
    http.on("/memory.jws", serve.serveFile(new Uint8Array(Buffer.from(manifest, "latin1"))));
    http.on("/memory.bin", serve.serveFile(IMAGE));
    const asked = () => http.requests.filter(({ path }) => path.startsWith("/memory")).length;
    const config = { url: http.url("/memory.jws"), keys: [key.jwk], retries: 0 };
    const numbers = (error: string) => (error.match(/\d+/g) ?? []).map(Number);
    const device = small();
    /** Leaves `free` variables to a call of update; gives its error, "" for success. */
    async function withFree(free: number): Promise<{ run: EngineRun; error: string }> {
      const run = await updateOnce(device, config, `${FILL} fill(${free});`);
      assert.ok(run.reports.length, run.output.slice(-2000));
      const { name = "", error = "" } = run.reports.at(-1);
      if (error) assert.equal(name, "ESP_ERR_NO_MEM", error);
      return { run, error };
    }
    const refusal = numbers((await withFree(1000)).error);
    const [free, needed] = refusal;
    assert.ok(free > 600 && free <= 1000 && needed > free && needed < 4000, `${refusal}`);
    assert.equal(asked(), 0, "it asked the server before it looked at its memory");
    // what the call itself takes before it looks; then the least that it accepts
    const own = 1000 - free;
    const almost = await withFree(needed + own - 8);
    assert.ok(numbers(almost.error)[0] < needed, almost.error || "it was not refused");
    const enough = await withFree(needed + own + 8);
    t.diagnostic(`${needed} JsVars wanted; the call took ${own} before it looked`);
    installed(device, enough.run);
  });

  for (const kind of ["one", "many"] as const)
    test(
      `a header of 64 KB, in ${kind === "one" ? "one field" : "2048 fields"}: installed, or out of memory, flash as it was`,
      options,
      async (t) => {
        const device = small();
        const before = device.dump();
        const path = `/header/${kind}`;
        http.on(path, serve.bigHeader(IMAGE, 65536, kind));
        const config = { url: http.url(path), digest: digestOf(IMAGE), retries: 0 };
        const run = await updateOnce(device, config);
        const outcome = run.reports.at(-1);
        t.diagnostic(outcome ? (outcome.error ?? "installed") : `the interpreter went down: ${run.exitCode}`);
        if (outcome?.size) return installed(device, run);
        assert.equal(run.boot.slot?.label, "factory");
        assert.deepEqual(device.dump(), before, "flash was touched");
        http.on(path, serve.serveFile(IMAGE));
        installed(device, await updateOnce(device, config));
      },
    );

  // --- Pauses --------------------------------------------------------------------------------------------------------------

  for (const scheme of ["http", "https"] as const)
    test(`a caller that pauses over ${scheme} holds less than 8 KB and no connection`, optionsOf(scheme), async (t) => {
      const server = scheme === "http" ? http : https;
      const device = small();
      server.on("/pause", serve.serveFile(IMAGE));
      const run = await runInEngine(
        device,
        `${ALIVE}
      var places = [0, 1, 2, 7, 12], step = 0, taken = 0, handle;
      var request = require("http").request;
      require("http").request = function (options, onResponse) {
        return request(options, function (response) {
          var on = response.on;
          response.on = function (event, listener) {
            return on.call(response, event, event !== "data" ? listener : function (data) { taken += data.length; listener(data); });
          };
          onResponse(response);
        });
      };
      function fail(error) { reportError(error); finish(); }
      function perform() { step++; handle.perform().then(next, fail); }
      function next(outcome) {
        if (outcome === ota.ERR.OK) return handle.finish().then(function () {
          setTimeout(function () { report({ size: handle.getImageLenRead(), alive: alive(), taken: taken }); report({ counts: counts }); }, 60);
        }, fail);
        if (places.indexOf(step) < 0) return perform();
        setTimeout(function () {
          report({ held: taken - handle.getImageLenRead(), alive: alive() });
          perform();
        }, 300);
      }
      ota.begin({ url: "${server.url("/pause")}", digest: "${digestOf(IMAGE)}" }).then(function (begun) { handle = begun; next(); }, fail);`,
        { timeoutMs: 60_000 },
      );
      const last = run.reports.at(-1);
      installed(device, run);
      const held = run.reports.slice(0, -1);
      assert.equal(held.length, 5, run.output.slice(-2000));
      t.diagnostic(`held ${held.map((one) => one.held)} bytes`);
      for (const one of held) {
        assert.ok(one.held >= 0 && one.held < 8192, `${one.held} bytes were held`);
        assert.equal(one.alive.connections, 0, "a connection is open in a pause");
      }
      assert.equal(last.taken, IMAGE.length, "a byte was taken twice");
    });
});

// --- Completeness ----------------------------------------------------------------------------------------------------------

/** What the cases do not use: the server itself, what combines others, and waits that take real time. */
const NOT_IN_CASES: (keyof typeof serve)[] = ["busyThen", "delayed", "fileAnswer", "firstTimes", "startServer"];
test("each function of the lying server is run in the real interpreter", () => {
  const inCases = functionsOfCases();
  const missing = Object.keys(serve).filter((name) => !inCases.has(name));
  assert.deepEqual(missing.sort(), NOT_IN_CASES);
});
