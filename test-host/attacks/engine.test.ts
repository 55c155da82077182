// What anybody on the path can send, in the real interpreter with little memory: texts of separators, which natives that
// make a piece per separator answer with a crash. First those that once did, each in a process of its own; then some hundred
// generated ones, one after the other in one process: a hundredth of the cases for each size of memory.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { createDevice } from "../sim/device.ts";
import { HEAP_FILLER } from "../real-espruino/heap-filler.ts";
import { ESPRUINO, runInEngine, warnWithoutEngine } from "../real-espruino/engine.ts";
import { makeKey } from "../support/release.ts";
import * as serve from "../support/server.ts";
import { edited, edits, SEED, casesOf } from "./fuzz.ts";

warnWithoutEngine();
const options = { skip: ESPRUINO ? false : "ESPRUINO is not set" };

const key = await makeKey();
let server: serve.Server;
before(async () => {
  server = await serve.startServer();
});
after(() => server.close());

const MAX_MANIFEST = 32768;
const header = Buffer.from(JSON.stringify({ alg: "PS256", typ: "https-ota+jws", kid: key.kid })).toString("base64url");

/** What is served as the manifest. */
const TEXTS: Record<string, string> = {
  ...Object.fromEntries([...'._-/"{[,:\\'].map((one) => [`32768 of ${one}`, one.repeat(MAX_MANIFEST)])),
  "a signature of hyphens": `${header}.e30.${"-".repeat(MAX_MANIFEST - header.length - 5)}`,
  "a payload of hyphens": `${header}.${"-".repeat(MAX_MANIFEST - header.length - 400)}.${"A".repeat(342)}`,
  "a header of hyphens": `${"-".repeat(MAX_MANIFEST - 400)}.e30.${"A".repeat(342)}`,
};

/** Runs an update with this number of free JsVars, and says what it ended with: the interpreter must live to tell. */
async function outcome(free: number): Promise<{ code: number | null; name: string; output: string }> {
  const run = await runInEngine(
    createDevice(),
    `${HEAP_FILLER}
    var config = { url: ${JSON.stringify(server.url("/m.jws"))}, keys: ${JSON.stringify([key.jwk])}, retries: 0, timeout: 2000 };
    setTimeout(function () {
      fill(${free});
      ota.update(config).then(function () { release(); report({ name: "installed" }); finish(); },
        function (error) { release(); reportError(error); finish(); });
    }, 100);`,
  );
  return { code: run.exitCode, name: run.reports[0]?.name, output: run.output };
}

for (const free of [2200, 3000, 4000]) {
  for (const [what, text] of Object.entries(TEXTS))
    test(`${what} as a manifest end in an error, with ${free} free JsVars`, options, async () => {
      server.on("/m.jws", serve.serveFile(Buffer.from(text)));
      const { code, name, output } = await outcome(free);
      assert.equal(code, 0, output);
      // checked, or refused by its length before it takes all memory
      assert.match(name, /^ESP_ERR_(OTA_VALIDATE_FAILED|NO_MEM)$/, output);
    });

  for (const count of [2000, 3000])
    test(`a Location of ${count} slashes ends in an error, with ${free} free JsVars`, options, async () => {
      server.on("/m.jws", (_req, io) => {
        io.write(`HTTP/1.1 302 Found\r\nLocation: a${"/".repeat(count)}b\r\nContent-Length: 0\r\n\r\n`);
        io.end();
      });
      const { code, name, output } = await outcome(free);
      assert.equal(code, 0, output);
      assert.match(name, /^ESP_(FAIL|ERR_)/, output); // the path is not there
    });
}

// --- Generated

const LENGTHS = [1, 20, 300, 1500, 4000, 8192];
const SEPARATORS = "._-/{}[]\"',:;\\ \n=%?#@&|\0\xff";
/** Long texts that are few things over and over, and short ones that are anything. */
const bulk = fc
  .tuple(
    fc.array(fc.oneof(fc.constantFrom(...SEPARATORS), fc.string({ maxLength: 3 })), { minLength: 1, maxLength: 4 }),
    fc.constantFrom(...LENGTHS),
  )
  .map(([pieces, length]) =>
    pieces
      .join("")
      .repeat(Math.ceil(length / Math.max(1, pieces.join("").length)))
      .slice(0, length),
  );
const right = `${header}.${Buffer.from("{}").toString("base64url")}.${"A".repeat(342)}`;
const manifest = fc.oneof(
  bulk,
  edits(3).map((list) => edited(right, list)),
  fc
    .tuple(bulk, bulk, bulk)
    .map((parts) => parts.map((part) => Buffer.from(part.slice(0, 2500), "latin1").toString("base64url")).join(".")),
  bulk.map((text) => `${Buffer.from(text.slice(0, 384), "latin1").toString("base64url")}.e30.AAAA`),
);
const line = bulk.map((text) => text.replaceAll(/[\r\n]/g, "/").slice(0, 3000));

/** An answer to the manifest's request, as it is sent. */
const answer = fc.oneof(
  { weight: 4, arbitrary: manifest.map((text) => `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.constantFrom("", "/", "a/", "http://", "http://127.0.0.1", "//", "?", "../"), line)
      .map(([start, rest]) => `HTTP/1.1 302 x\r\nLocation: ${start}${rest}\r\nContent-Length: 0\r\n\r\n`),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(
        fc.constantFrom(
          "Content-Length",
          "Content-Range",
          "Transfer-Encoding",
          "Content-Encoding",
          "ETag",
          "Retry-After",
          "X",
        ),
        line,
        fc.constantFrom(200, 206, 416, 503),
      )
      .map(([name, value, status]) => `HTTP/1.1 ${status} x\r\n${name}: ${value}\r\nContent-Length: 3\r\n\r\nabc`),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom("-6", "fffffff4", "ffffffff", "zz", "0", "7fffffff", ""), manifest)
      .map(
        ([size, text]) =>
          `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${size}\r\n${text.slice(0, 2000)}\r\n0\r\n\r\n`,
      ),
  },
  { weight: 1, arbitrary: bulk.map((text) => `HTTP/1.1 ${text.slice(0, 2000)}\r\n\r\n`) },
);

/** JsVars: what one error and the counts of names take. */
const LOST = 400;
const COUNT = Math.min(300, casesOf(0.01));

for (const free of [2200, 3000, 4000])
  test(`crash the device: ${COUNT} answers of anybody's, with ${free} free JsVars`, options, async (t) => {
    t.diagnostic(`SEED=${SEED}: answers of seed ${SEED + free}`);
    const answers = fc.sample(answer, { seed: (SEED + free) | 0, numRuns: COUNT });
    let asked = 0;
    server.on("/m.jws", (_req, io) => {
      // a redirect may lead here again, and a new update begins after each pause
      io.write(Buffer.from(answers[Math.min(asked++, COUNT - 1)], "latin1"));
      io.end();
    });
    const run = await runInEngine(
      createDevice(),
      `${HEAP_FILLER}
      var config = { url: ${JSON.stringify(server.url("/m.jws"))}, keys: ${JSON.stringify([key.jwk])}, retries: 0, timeout: 1000, maxRedirects: 1, deadline: 4000 };
      var count = 0, names = {}, free = 0;
      function installed() { release(); report({ installed: true }); finish(); }
      function refused(error) { if (count === 1) free = engineProcess.memory().free; names[error.name] = (names[error.name] || 0) + 1; next(); }
      function next() {
        if (count++ === ${COUNT}) { var lost = free - engineProcess.memory().free; release(); report({ count: count - 1, names: names, lost: lost }); finish(); }
        else setTimeout(begin, 5);
      }
      function begin() { ota.update(config).then(installed, refused); }
      setTimeout(function () { fill(${free}); next(); }, 100);`,
      { timeoutMs: 600_000, mayHang: true },
    );
    const last = JSON.stringify(answers[Math.min(asked, COUNT) - 1])?.slice(0, 300);
    assert.equal(run.hung, false, `no end after answer ${asked}: ${last}`);
    assert.equal(run.exitCode, 0, `it crashed after answer ${asked}: ${last}\n${run.output.slice(-1000)}`);
    assert.equal(run.reports[0]?.count, COUNT, run.output.slice(-1000));
    t.diagnostic(JSON.stringify(run.reports[0].names));
    assert.ok(run.reports[0].lost < LOST, `${run.reports[0].lost} JsVars did not come back`);
  });

for (const location of ["ftp://x/", "/a b", "http://127.0.0.1:99999/", "//u%@h/", "http:///", "https://[::1]/"])
  test(`exhaust memory: updates that are redirected to ${location} give all of theirs back`, options, async () => {
    server.on("/m.jws", (_req, io) => {
      io.write(`HTTP/1.1 302 Found\r\nLocation: ${location}\r\nContent-Length: 0\r\n\r\n`);
      io.end();
    });
    const run = await runInEngine(
      createDevice(),
      `var config = { url: ${JSON.stringify(server.url("/m.jws"))}, insecure: true, retries: 0, timeout: 2000 };
      var count = 0, free = 0;
      function next() {
        if (count === 1) free = engineProcess.memory().free;
        if (count++ === 6) { report(free - engineProcess.memory().free); finish(); }
        else ota.update(config).then(next, function () { setTimeout(next, 50); });
      }
      setTimeout(next, 100);`,
    );
    assert.equal(run.exitCode, 0, run.output);
    assert.ok(run.reports[0] < 50, `five updates cost ${run.reports[0]} JsVars`);
  });
