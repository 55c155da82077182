// The lying server against the real interpreter: its own http, TLS and memory, where the virtual one could differ from it
// (bodies, ranges, cuts). Many cases in one run, one after the other on one device that is never restarted:
// each has the outcome that is promised, leaves nothing behind, and an update afterwards works.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
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
import type { Behaviour, Server } from "../../support/server.ts";

warnWithoutEngine();
const options = { skip: ESPRUINO ? false : "ESPRUINO is not set" };
const secure = { skip: await tooSmallForReconnects() };
const optionsOf = (scheme: "http" | "https") => (scheme === "http" ? options : secure);
/** A device of 4095 JsVars: the text of all cases takes JsVars too, and a header of 16 KB more than there are. */
const isSmall = ESPRUINO !== undefined && (await engineMemory()).total < 8000;
const CASES_AT_ONCE = isSmall ? 24 : 999;

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
const TIMEOUT = 500;
/** Of its own for each case: what one leaves in the slot is no part of the next. */
const imageOf = (index: number) => buildImage({ size: 20000, seed: 100 + index });
/** Another file of the same length. */
const otherOf = (image: Uint8Array) => buildImage({ size: image.length, seed: 1000 + image[image.length - 40] });
const FINAL = buildImage({ size: 30000, seed: 99, descriptor: { version: "9.9" } });

type Case = {
  what: string;
  behaviour: (image: Uint8Array) => Behaviour;
  /** Name of the error without ESP_ERR_; "" when the update succeeds. Several: the engine may be faster or slower. */
  outcome: string | string[];
  retry?: boolean;
  says?: RegExp;
  config?: Record<string, unknown>;
  /** Where it may differ between TCP and TLS. */
  only?: "http" | "https";
  /** The engine keeps a header whole, and with too few JsVars for that it ends. */
  large?: boolean;
};

const RESPONSE = "INVALID_RESPONSE";
const LOST = { outcome: "HTTP_INCOMPLETE_DATA", retry: true };
const STALLED = { outcome: "HTTP_READ_TIMEOUT", retry: true };
const UNREACHED = { outcome: "HTTP_CONNECT", retry: true };
const MANY = { times: 99 };

const CASES: Case[] = [
  // bodies that are right
  { what: "a length", behaviour: (image) => serve.serveFile(image, { ranges: false }), outcome: "" },
  {
    what: "chunked coding",
    behaviour: (image) => serve.serveFile(image, { chunked: true, ranges: false }),
    outcome: "",
  },
  { what: "a chunked 206", behaviour: (image) => serve.serveFile(image, { chunked: true }), outcome: "" },
  {
    what: "chunks of 300 bytes",
    behaviour: (image) => serve.serveFile(image, { chunked: true, chunkSize: 300 }),
    outcome: "",
  },
  { what: "chunks of one byte", behaviour: serve.chunkedOneByte, outcome: "" },
  { what: "chunk extensions and a trailer", behaviour: (image) => serve.chunkedExtensions(image), outcome: "" },
  { what: "one huge chunk", behaviour: serve.chunkedHuge, outcome: "" },
  { what: "a connection that stays open", behaviour: serve.keepAliveNeverCloses, outcome: "" },
  { what: "more bytes than announced", behaviour: (image) => serve.longer(image, 567), outcome: "" },
  { what: "lower case", behaviour: (image) => serve.headerCase(image, "lower"), outcome: "" },
  { what: "upper case", behaviour: (image) => serve.headerCase(image, "upper"), outcome: "" },
  {
    what: "a header of 16 KB in one field",
    behaviour: (image) => serve.bigHeader(image, 16384, "one"),
    outcome: "",
    large: true,
  },
  // one of 64 KB may take more memory than a device has: see below
  {
    what: "a header of 16 KB in many",
    behaviour: (image) => serve.bigHeader(image, 16384, "many"),
    outcome: "",
    large: true,
  },
  { what: "records as large as can be", behaviour: (image) => serve.fullRecords(image, { padding: 900 }), outcome: "" },
  { what: "records that grow", behaviour: (image) => serve.growingRecords(image), outcome: "" },
  { what: "a header byte by byte", behaviour: (image) => serve.dribbleHeader(image, 1), outcome: "" },
  { what: "a body in small steps", behaviour: (image) => serve.dribbleBody(image, 1, 200), outcome: "" },
  { what: "no ETag", behaviour: (image) => serve.serveFile(image, { etag: "" }), outcome: "" },
  // bodies that are refused
  { what: "gzip", behaviour: serve.gzip, outcome: RESPONSE, says: /gzip/ },
  { what: "gzip in chunks", behaviour: serve.transferEncodingGzipChunked, outcome: RESPONSE, says: /gzip/ },
  { what: "no length", behaviour: (image) => serve.noLength(image), outcome: RESPONSE, says: /Content-Length/ },
  { what: "no length, 1.1", behaviour: (image) => serve.noLength(image, { version: "1.1" }), outcome: RESPONSE },
  { what: "a negative length", behaviour: serve.negativeLength, outcome: RESPONSE, says: /-20000/ },
  { what: "a length in words", behaviour: (image) => serve.badLength(image, "all"), outcome: RESPONSE },
  { what: "an empty length", behaviour: (image) => serve.badLength(image, ""), outcome: RESPONSE },
  { what: "a length in hexadecimal", behaviour: (image) => serve.badLength(image, "0x4e20"), outcome: RESPONSE },
  { what: "two lengths in one", behaviour: (image) => serve.badLength(image, "20000, 20000"), outcome: RESPONSE },
  { what: "twenty digits", behaviour: (image) => serve.badLength(image, "9".repeat(20)), outcome: RESPONSE },
  { what: "the same length twice", behaviour: (image) => serve.duplicateLength(image, "same"), outcome: RESPONSE },
  { what: "two spellings", behaviour: (image) => serve.duplicateLength(image, "spellings"), outcome: RESPONSE },
  { what: "a length and chunks", behaviour: (image) => serve.bothLengthAndChunked(image), outcome: RESPONSE },
  { what: "an endless body", behaviour: () => serve.endless("length"), outcome: "INVALID_SIZE" },
  { what: "an endless body without length", behaviour: () => serve.endless("close"), outcome: RESPONSE },
  { what: "a hotel's page", behaviour: () => serve.html(), outcome: "INVALID_SIZE" },
  { what: "endless chunks", behaviour: (image) => endlessChunks(image), outcome: "INVALID_SIZE" },
  // bodies that break off
  { what: "a body too short", behaviour: (image) => serve.shorter(image, 5000), ...LOST },
  { what: "a body one byte too short", behaviour: (image) => serve.shorter(image, 1), ...LOST },
  { what: "a close in the body", behaviour: (image) => serve.cutAt(image, 9000, "close", MANY), ...LOST },
  { what: "a reset in the body", behaviour: (image) => serve.cutAt(image, 9000, "reset", MANY), ...LOST },
  { what: "no close-notify in the body", behaviour: (image) => serve.tlsCut(image, 9000, MANY), ...LOST },
  { what: "a close in the first 1024 bytes", behaviour: (image) => serve.cutAt(image, 700, "close", MANY), ...LOST },
  {
    what: "a stall in the body",
    behaviour: (image) => serve.cutAt(image, 9000, "stall", MANY),
    ...STALLED,
    says: /500/,
  },
  { what: "a stall in the first 1024 bytes", behaviour: (image) => serve.cutAt(image, 700, "stall", MANY), ...STALLED },
  { what: "a stall before the last byte", behaviour: (image) => serve.cutAt(image, 19999, "stall", MANY), ...STALLED },
  { what: "a close after the head", behaviour: (image) => serve.closeAfterHead(image, "close", MANY), ...LOST },
  { what: "a reset after the head", behaviour: (image) => serve.closeAfterHead(image, "reset", MANY), ...LOST },
  { what: "a stall after the head", behaviour: (image) => serve.closeAfterHead(image, "stall", MANY), ...STALLED },
  { what: "a chunk that is cut", behaviour: (image) => serve.chunkedCutMidChunk(image, 9000), ...STALLED },
  { what: "a chunk that is reset", behaviour: (image) => serve.chunkedCutMidChunk(image, 9000, "reset"), ...STALLED },
  { what: "a chunk that stalls", behaviour: (image) => serve.chunkedCutMidChunk(image, 9000, "stall"), ...STALLED },
  { what: "no last chunk", behaviour: serve.chunkedNoEnd, ...STALLED },
  {
    what: "a cut between two chunks",
    behaviour: (image) => serve.chunkedCutAtBoundary(image, 9000),
    outcome: ["OTA_VALIDATE_FAILED", "HTTP_READ_TIMEOUT", "HTTP_INCOMPLETE_DATA"],
  },
  {
    what: "a chunk size that is none",
    behaviour: (image) => serve.chunkedBadSize(image, "zz"),
    outcome: ["INVALID_SIZE", "OTA_VALIDATE_FAILED", "HTTP_READ_TIMEOUT"],
  },
  ...["-5", "ffffffffffffffff", ""].map((size) => ({
    what: `a chunk size of "${size}"`,
    behaviour: (image: Uint8Array) => serve.chunkedBadSize(image, size),
    outcome: ["", "INVALID_SIZE", "OTA_VALIDATE_FAILED", "HTTP_READ_TIMEOUT", "HTTP_INCOMPLETE_DATA"],
  })),
  // answers that break off
  { what: "silence", behaviour: () => serve.silent(), ...STALLED },
  // a byte per second with a timeout of 20 s, fifty times faster
  { what: "a header dribbling a byte at a time", behaviour: (image) => serve.dribbleHeader(image, 20), ...STALLED },
  { what: "a close before the answer", behaviour: () => serve.closeBeforeAnswer(), ...UNREACHED },
  { what: "a reset before the answer", behaviour: () => serve.closeBeforeAnswer("reset"), ...UNREACHED },
  { what: "no close-notify before the answer", behaviour: () => serve.closeBeforeAnswer("tls"), ...UNREACHED },
  { what: "a close after the status line", behaviour: () => serve.closeAfterStatusLine(), ...UNREACHED },
  { what: "a reset after the status line", behaviour: () => serve.closeAfterStatusLine("reset"), ...UNREACHED },
  { what: "silence after the status line", behaviour: () => serve.closeAfterStatusLine("stall"), ...STALLED },
  // no header's end comes, so all of the body is header to the engine
  { what: "bare LF", behaviour: serve.lfOnly, ...UNREACHED, large: true },
  { what: "another protocol", behaviour: () => serve.notHttp(), ...UNREACHED },
  {
    what: "a record that does not authenticate",
    behaviour: (image) => serve.tlsGarbage(image, 9000),
    outcome: ["HTTP_INCOMPLETE_DATA", "HTTP_READ_TIMEOUT"],
    retry: true,
    only: "https",
  },
  // statuses
  { what: "404", behaviour: () => serve.status(404), outcome: "FAIL", says: /404/, retry: true },
  { what: "403", behaviour: () => serve.status(403), outcome: "FAIL", says: /403/, retry: false },
  { what: "503", behaviour: () => serve.status(503), outcome: "FAIL", retry: true },
  { what: "304", behaviour: () => serve.status(304), outcome: "HTTP_NOT_MODIFIED" },
  {
    what: "an interim answer",
    behaviour: (image) => serve.interim(103, serve.serveFile(image)),
    outcome: RESPONSE,
    retry: true,
  },
  { what: "a redirect to nowhere", behaviour: () => serve.redirectNowhere(), outcome: RESPONSE, says: /Location/ },
  ...["/a b", "/a\x01b", "/gr\xc3\xb6\xc3\x9fe"].map((location) => ({
    what: `a redirect to ${JSON.stringify(location)}`,
    behaviour: () => serve.redirect(302, location),
    outcome: RESPONSE,
    says: /^Location: /,
    retry: false,
  })),
  { what: "a redirect loop", behaviour: () => serve.redirectLoop(), outcome: "HTTP_MAX_REDIRECT" },
  { what: "five redirects", behaviour: (image) => serve.redirectChain(5, serve.serveFile(image)), outcome: "" },
  // ranges
  { what: "ranges", behaviour: (image) => serve.serveFile(image), outcome: "", config: { maxRequestSize: 3000 } },
  {
    what: "ranges in chunks",
    behaviour: (image) => serve.serveFile(image, { chunked: true }),
    outcome: "",
    config: { maxRequestSize: 3000 },
  },
  {
    what: "ranges behind a redirect",
    behaviour: (image) => serve.redirectChain(1, serve.serveFile(image)),
    outcome: "",
    config: { maxRequestSize: 7000 },
  },
  {
    what: "no ranges",
    behaviour: (image) => serve.rangeAnswered200(image),
    outcome: "",
    config: { maxRequestSize: 3000 },
  },
  { what: "an unasked 206", behaviour: serve.unasked206, outcome: "" },
  { what: "a wrong first byte", behaviour: (image) => serve.wrongContentRange(image, "start"), outcome: RESPONSE },
  { what: "an unknown total", behaviour: (image) => serve.unknownTotal(image), outcome: "" },
  { what: "an unknown total in parts", behaviour: (image) => serve.unknownTotal(image, { most: 6000 }), outcome: "" },
  {
    what: "206 without Content-Range",
    behaviour: (image) => serve.wrongContentRange(image, "missing"),
    outcome: RESPONSE,
  },
  { what: "another unit", behaviour: (image) => serve.wrongContentRange(image, "unit"), outcome: RESPONSE },
  {
    what: "a wrong total",
    behaviour: (image) => serve.wrongContentRange(image, "total"),
    outcome: "HTTP_RANGE_NOT_SATISFIABLE",
    retry: true,
  },
  { what: "another range", behaviour: (image) => serve.otherRange(image, 100), outcome: RESPONSE },
  { what: "416", behaviour: (image) => serve.rangeAnswered416(image), outcome: "HTTP_RANGE_NOT_SATISFIABLE" },
  { what: "multipart", behaviour: serve.multipartRange, outcome: RESPONSE },
  {
    what: "a range without a length",
    behaviour: (image) => serve.noLength(image, { ranges: true }),
    outcome: RESPONSE,
    config: { maxRequestSize: 3000 },
  },
  // going on
  ...(["close", "reset", "tls", "stall"] as const).map((how) => ({
    what: `a ${how} in the body, with a retry`,
    behaviour: (image: Uint8Array) => serve.cutAt(image, 9000, how),
    outcome: "",
    config: { retries: 1 },
  })),
  {
    what: "a chunk that is cut, with a retry",
    behaviour: (image) => serve.sequence(serve.chunkedCutMidChunk(image, 9000), serve.serveFile(image)),
    outcome: "",
    config: { retries: 1 },
  },
  {
    what: "a cut of a server without ranges",
    behaviour: (image) => serve.cutAt(image, 9000, "close", { ranges: false }),
    outcome: "",
    config: { retries: 1 },
  },
  {
    what: "silence, with a retry",
    behaviour: (image) => serve.sequence(serve.silent(), serve.serveFile(image)),
    outcome: "",
    config: { retries: 1 },
  },
  {
    what: "a file that is replaced under another ETag",
    behaviour: (image) => serve.changedEtag(otherOf(image), image, 9000),
    outcome: "",
    config: { retries: 1 },
  },
  {
    what: "a file that is replaced under the same ETag",
    behaviour: (image) => serve.differentBytesOnResume(otherOf(image), image, 9000),
    outcome: "OTA_VALIDATE_FAILED",
    config: { retries: 1 },
  },
  {
    what: "408, 425, 429 and 500 in turn",
    behaviour: (image) =>
      serve.sequence(
        ...[408, 425, 429, 500].map((code) => serve.retryAfter(0, 1, serve.status(404), code)),
        serve.serveFile(image),
      ),
    outcome: "",
    config: { retries: 4 },
  },
  {
    what: "a deadline",
    behaviour: () => serve.silent(),
    outcome: "TIMEOUT",
    retry: true,
    config: { deadline: 1000, timeout: 9000 },
  },
];

/** A good beginning, then chunks without end. */
function endlessChunks(image: Uint8Array): Behaviour {
  return async (_req, io) => {
    await io.head(200, { "Transfer-Encoding": "chunked" });
    await io.write(`${image.length.toString(16)}\r\n`);
    await io.write(image);
    await io.write("\r\n");
    for (;;) await io.write(`1000\r\n${"x".repeat(4096)}\r\n`);
  };
}

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
      function (error) { look({ what: one.what, error: error.message, name: error.name, retry: error.retry }); });
  }
  look({ what: "the beginning" });`;

type Alive = { connections: number; timers: number; JsVars: number };
type Answer = {
  what: string;
  size?: number;
  error?: string;
  name?: string;
  retry?: boolean;
  alive: Alive;
  boots: string;
};

async function runAll(
  server: Server,
  group: string,
  cases: Case[],
  device: Device,
): Promise<{ answers: Answer[]; run: EngineRun }> {
  const steps = cases.map(({ what, behaviour, config }, index) => {
    const path = `/${group.replaceAll(" ", "-")}/${index}`;
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

/**
 * libs/network/network.c: networkFree, at the end of http.request and of end(), forgets the network that the idle loop
 * still works with; the next TLS socket of that pass then dereferences null.
 */

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
      test(`${group} over ${scheme}, one after the other: the outcome that is promised, nothing left, and then an update`, {
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
          const { answers, run } = await runAll(scheme === "http" ? http : https, `${group} ${at}`, cases, device);
          const beginning = answers.shift() as Answer;
          const last = answers.at(-1) as Answer;
          const wrong: string[] = [];
          cases.forEach(({ what, outcome, retry, says }, i) => {
            const { name = "", error = "", alive, ...answer } = answers[i];
            const said = name.replace(/^ESP_(ERR_)?/, "");
            if (![outcome].flat().includes(said))
              wrong.push(`${what}: ${name || "success"} ${error}, wanted ${outcome || "success"}`);
            if (says && !says.test(error)) wrong.push(`${what}: says ${error}`);
            if (retry !== undefined && answer.retry !== retry) wrong.push(`${what}: retry is ${answer.retry}`);
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
      `power lost in a download over ${scheme}: the next start goes on at the sector, with If-Range`,
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

    test(
      `a slot with the rest of another file over ${scheme}: one full download, then success`,
      optionsOf(scheme),
      async () => {
        const device = small();
        const slot = noise(7, 0x10000);
        slot.set(IMAGE.subarray(0, 5 * SECTOR));
        device.flash.load(slot, device.row("ota_0").offset);
        server().on("/mixed", serve.serveFile(IMAGE));
        installed(device, await updateOnce(device, { url: server().url("/mixed"), digest: digestOf(IMAGE) }));
        assert.deepEqual(rangesOf("/mixed"), ["bytes=0-", `bytes=${14 * SECTOR}-`, "bytes=0-"]);
      },
    );

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

  test("a URL of 2 KB behind a redirect is asked for byte for byte, and credentials stay at home", secure, async () => {
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

  test(
    "too little memory is refused with both numbers; with the second number a signed update succeeds",
    options,
    async (t) => {
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
      assert.ok(free > 700 && free <= 1000 && needed > free && needed < 4000, `${refusal}`);
      assert.equal(asked(), 0, "it asked the server before it looked at its memory");
      // what the call itself takes before it looks; then the least that it accepts
      const own = 1000 - free;
      const almost = await withFree(needed + own - 8);
      assert.ok(numbers(almost.error)[0] < needed, almost.error || "it was not refused");
      const enough = await withFree(needed + own + 8);
      t.diagnostic(`${needed} JsVars wanted; the call took ${own} before it looked`);
      installed(device, enough.run);
    },
  );

  for (const kind of ["one", "many"] as const)
    test(
      `a header of 64 KB, in ${kind === "one" ? "one field" : "2048 fields"}: installed, or the interpreter has no memory for it and goes down with the flash as it was`,
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
    test(
      `a caller that pauses at several places over ${scheme}: less than 8 KB are held, no connection, and the image is right`,
      optionsOf(scheme),
      async (t) => {
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
      },
    );

  // --- Completeness --------------------------------------------------------------------------------------------------------

  /** What combines others, and what is run elsewhere: a redirect without end, and waits that take real time. */
  const NOT_HERE = ["startServer", "fileAnswer", "firstTimes", "busyThen", "delayed"];
  test("each function of the lying server is run in the real interpreter", () => {
    const source = readFileSync(new URL(import.meta.url), "utf8");
    const used = new Set([...source.matchAll(/serve\.(\w+)/g)].map((match) => match[1]));
    const missing = Object.keys(serve).filter((name) => !used.has(name) && !NOT_HERE.includes(name));
    assert.deepEqual(missing, []);
  });
});
