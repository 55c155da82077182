// A real interpreter with a TLS buffer of 8 KB, as builds for IDF 5 have, and servers as they are: Node, nginx, Caddy. The
// variable ESPRUINO_TLS8K names it; else ESPRUINO, when that is one. To build it, add to `makefile` in boards/LINUX.py
// 'DEFINES+=-DMBEDTLS_SSL_MAX_CONTENT_LEN=8192'. A board's buffers differ: see docs/boards.md.

import assert from "node:assert/strict";
import { after, before, describe, test, type TestContext } from "node:test";
import { createServer, type Server as HttpsServer } from "node:https";
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { certificate } from "../../support/certificate.ts";
import { createDevice } from "../../sim/device.ts";
import { ESPRUINO, runInEngine, warnWithoutEngine } from "../../real-espruino/engine.ts";
import { buildImage, noise } from "../../support/images.ts";
import { claimsFor, type Key, makeKey, signManifest } from "../../support/release.ts";
import * as serve from "../../support/server.ts";
import { missing, startCaddy, startNginx, type WebServer, type WebServerOptions } from "../../support/webservers.ts";

warnWithoutEngine();

let server: serve.Server;
const BODY = noise(3, 60_000);
const PATHS: Record<string, serve.Behaviour> = {
  "/head": serve.serveFile(BODY),
  "/full": serve.fullRecords(BODY),
  "/padded": serve.fullRecords(BODY, { padding: 7000 }),
  "/growing": serve.growingRecords(BODY),
};

/** Asks for a path, with a range or without; reports the status, the bytes that came, and the error's number. */
const ASK = `
  function ask(url, range, done) {
    var said = { status: 0, bytes: 0, code: 0 }, port = +url.split(":")[2].split("/")[0], path = "/" + url.split("/")[3];
    function over() { if (done) setTimeout(done, 50, said); done = undefined; }
    var request = require("http").request({ protocol: "https:", host: "localhost", port: port, path: path, method: "GET",
      headers: range ? { Range: "bytes=0-" + (range - 1) } : {} }, function (response) {
        said.status = +response.statusCode;
        response.on("data", function (data) { said.bytes += data.length; });
        response.on("close", over);
      });
    request.on("error", function (error) { said.code = error.code; setTimeout(over, 50); });
    request.end();
  }`;

const CASES: [path: string, range: number][] = [
  ["/head", 0],
  ["/head", 7168],
  ["/head", 8192],
  ["/head", 8193],
  ["/full", 0],
  ["/full", 7168],
  ["/full", 8192],
  ["/padded", 7168],
  ["/padded", 896],
  ["/growing", 0],
];

type Said = { status: number; bytes: number; code: number };

async function askReal(binary: string): Promise<Said[]> {
  const cases = JSON.stringify(CASES.map(([path, range]) => [server.url(path), range]));
  const run = await runInEngine(
    createDevice(),
    `${ASK}
    var cases = ${cases};
    function next(said) {
      if (said) report(said);
      var one = cases.shift();
      if (one) ask(one[0], one[1], next);
      else finish();
    }
    next();`,
    { binary },
  );
  return run.reports;
}

async function askVirtual(): Promise<Said[]> {
  const device = createDevice({ engine: { tlsBuffer: { bytes: 8192, error: -29184 } } }).boot();
  const { engine } = device;
  engine.run(ASK);
  const said: Said[] = [];
  for (const [path, range] of CASES) {
    const text = `new Promise(function (done) { ask(${JSON.stringify(server.url(path))}, ${range}, done); })`;
    said.push(JSON.parse(JSON.stringify(await engine.call(engine.run(text)))));
  }
  device.stop();
  return said;
}

/** Is the buffer of this interpreter smaller than a record? */
async function isSmall(binary: string): Promise<boolean> {
  const probe = await serve.startServer({ tls: true });
  probe.on("/probe", serve.fullRecords(BODY));
  try {
    const run = await runInEngine(
      createDevice(),
      `${ASK} ask(${JSON.stringify(probe.url("/probe"))}, 0, function (said) { report(said); finish(); });`,
      { binary },
    );
    return run.reports[0]?.code === -29184;
  } finally {
    await probe.close();
  }
}

const given = process.env.ESPRUINO_TLS8K;
const binary = given ?? (ESPRUINO && (await isSmall(ESPRUINO)) ? ESPRUINO : "");
const NONE = "neither ESPRUINO_TLS8K nor ESPRUINO is an interpreter with a TLS buffer of 8 KB";
if (!binary) process.stderr.write(`\n!!! ${NONE} !!!\n\n`);
const options = { skip: binary ? false : NONE };

/** 1.5 MB, less than the slot. */
const IMAGE = buildImage({ size: 1_499_136, seed: 2, descriptor: { version: "2.0.2" } });
const SMALL = buildImage({ size: 200_000, seed: 2, descriptor: { version: "2.0.2" } });
let key: Key;
let files: Record<string, Uint8Array>;

before(async () => {
  server = await serve.startServer({ tls: true });
  for (const [path, behaviour] of Object.entries(PATHS)) server.on(path, behaviour);
  key = await makeKey({ bits: 2048 });
  const manifest = async (image: Uint8Array, url: string) =>
    new Uint8Array(Buffer.from(await signManifest(claimsFor(image, { image: { url } }), key), "latin1"));
  files = {
    "fw.bin": IMAGE,
    "fw.jws": await manifest(IMAGE, "fw.bin"),
    "small.bin": SMALL,
    "small.jws": await manifest(SMALL, "small.bin"),
  };
});
after(() => server.close());

type Updated = { size?: number; error?: string; name?: string; connections: number; ranges: string[]; seconds: number };

/** A signed update; how many connections it took, and what the first of them asked for. */
async function update(origin: string, config: object = {}, name = "fw"): Promise<Updated> {
  const image = name === "fw" ? IMAGE : SMALL;
  const given = { url: `${origin}/${name}.jws`, keys: [key.jwk], retries: 2, timeout: 10_000, ...config };
  const device = createDevice();
  const started = performance.now();
  const run = await runInEngine(
    device,
    `var ranges = [], connections = 0, request = require("http").request;
    require("http").request = function (options, onResponse) {
      if (connections++ < 4) ranges.push(options.headers.Range);
      return request(options, onResponse);
    };
    function end(outcome) {
      outcome.connections = connections;
      outcome.ranges = ranges;
      report(outcome);
      finish();
    }
    ota.update(${JSON.stringify(given)}).then(end, function (error) { end({ error: error.message, name: error.name }); });`,
    { binary, timeoutMs: 400_000 },
  );
  const outcome = run.reports.at(-1);
  assert.ok(outcome, run.output.slice(-2000));
  if (outcome.size) {
    assert.equal(outcome.size, image.length);
    assert.deepEqual(device.slot("ota_0", image.length), image);
    assert.equal(run.boot.slot?.label, "ota_0");
  }
  return { ...outcome, seconds: (performance.now() - started) / 1000 };
}

/** Node's own https, as a program would write it: the whole answer at once. */
async function startNode(): Promise<{ origin: string; server: HttpsServer }> {
  const node = createServer(await certificate(), (request, response) => {
    const bytes = files[(request.url ?? "").slice(1)] ?? new Uint8Array(0);
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
    const start = Number(from);
    if (!from || start >= bytes.length) {
      response.writeHead(from ? 416 : 200, from ? { "Content-Range": `bytes */${bytes.length}` } : {});
      response.end(from ? "" : bytes);
      return;
    }
    const body = bytes.subarray(start, to ? Number(to) + 1 : undefined);
    const range = `bytes ${start}-${start + body.length - 1}/${bytes.length}`;
    response.writeHead(206, { "Content-Range": range, "Content-Length": body.length, ETag: '"one"' });
    response.end(body);
  });
  await new Promise<void>((resolve) => node.listen(0, "127.0.0.1", resolve));
  return { origin: `https://localhost:${(node.address() as AddressInfo).port}`, server: node };
}

describe("an interpreter with a TLS buffer of 8 KB", () => {
  test("the virtual one says of each record what the real one says", options, async (t) => {
    const real = await askReal(binary);
    t.diagnostic(JSON.stringify(real));
    assert.equal(real.length, CASES.length);
    assert.deepEqual(await askVirtual(), real);
  });

  test("1.5 MB from Node's https: ranges of 7 KB", options, async (t) => {
    const node = await startNode();
    t.after(() => {
      node.server.closeAllConnections();
      node.server.close();
    });
    const outcome = await update(node.origin);
    t.diagnostic(`${outcome.connections} connections, ${outcome.seconds.toFixed(0)} s`);
    assert.equal(outcome.size, IMAGE.length, outcome.error);
    assert.deepEqual(outcome.ranges, ["bytes=0-", "bytes=0-", "bytes=0-7167", "bytes=7168-14335"]);
    assert.equal(outcome.connections, 2 + Math.ceil(IMAGE.length / 7168));
  });

  /** Skips the test, loudly, with a server that shares no cipher suite with the interpreter. */
  async function started(
    t: TestContext,
    start: typeof startNginx,
    options: WebServerOptions = {},
  ): Promise<WebServer | undefined> {
    try {
      return await start(t, files, options);
    } catch (error) {
      if (!/cipher/i.test(String(error))) throw error;
      process.stderr.write(`\n!!! ${error} !!!\n\n`);
      t.skip("this server has no cipher suite that the interpreter on Linux offers");
      return undefined;
    }
  }

  const servers: ["nginx" | "caddy", typeof startNginx][] = [
    ["nginx", startNginx],
    ["caddy", startCaddy],
  ];
  for (const [name, start] of servers) {
    const why = missing(name);
    const skip = binary ? why : NONE;

    test(`1.5 MB from ${name}`, { skip }, async (t) => {
      const web = await started(t, start);
      if (!web) return;
      const outcome = await update(web.origin);
      t.diagnostic(`${outcome.connections} connections: ${outcome.ranges}; ${outcome.seconds.toFixed(0)} s`);
      assert.equal(outcome.size, IMAGE.length, outcome.error);
      // Go's records grow: the first connection brings some 20 KB, and tells the size of the next ranges
      const most = name === "caddy" ? IMAGE.length / 16_000 : 2 + Math.ceil(IMAGE.length / 7168);
      assert.ok(outcome.connections <= most, `${outcome.connections} connections`);
    });

    test(`maxRequestSize forces ranges from ${name} from the first one on`, { skip }, async (t) => {
      const web = await started(t, start);
      if (!web) return;
      const outcome = await update(web.origin, { maxRequestSize: 5000 }, "small");
      assert.equal(outcome.size, SMALL.length, outcome.error);
      assert.deepEqual(outcome.ranges.slice(0, 3), ["bytes=0-4999", "bytes=0-4999", "bytes=5000-9999"]);
    });

    test(`${name} that chooses its certificate by name: the error names SNI`, {
      skip: ESPRUINO || binary ? why : NONE,
    }, async (t) => {
      const web = await started(t, start, { sni: true });
      if (!web) return;
      const run = await runInEngine(
        createDevice(),
        `ota.update({ url: "${web.origin}/fw.bin", insecure: true, retries: 0 }).then(report, function (error) {
          reportError(error);
          finish();
        });`,
        { binary: ESPRUINO || binary },
      );
      const { error, name: code, retry } = run.reports[0];
      assert.deepEqual([code, retry], ["ESP_ERR_HTTP_CONNECT", true], error);
      assert.match(error, /\(-(15|8)\)\. .*SNI.*http: with keys$/);
    });
  }

  test("nginx without ranges: refused before the first erase, with what to do", {
    skip: binary ? missing("nginx") : NONE,
  }, async (t) => {
    const web = await startNginx(t, files, { nginx: "max_ranges 0;" });
    const outcome = await update(web.origin);
    assert.equal(outcome.name, "ESP_ERR_NOT_SUPPORTED", outcome.error);
    assert.match(outcome.error ?? "", /TLS records.*896 bytes/);
    assert.equal(readFileSync(join(web.folder, "fw.bin")).length, IMAGE.length);
  });
});
