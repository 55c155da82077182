// The lying server must lie exactly as named, and must be honest where it says so. It is watched from outside: by
// node's own clients, and by a raw socket that keeps every byte and the way in which the connection ended.

import assert from "node:assert/strict";
import * as http from "node:http";
import * as https from "node:https";
import { type AddressInfo, connect as connectTcp, createServer, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { gunzipSync } from "node:zlib";
import { certificate } from "../../support/certificate.ts";
import * as lie from "../../support/server.ts";

const FILE = Buffer.from(Uint8Array.from({ length: 5000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff));
const OTHER = Buffer.from(FILE).reverse();

type Seen = { head: string; body: Buffer; ended: "close" | "reset" | "broken" | "open"; ms: number; firstMs: number };

/** Speaks by hand. "open" means: nothing came for `quietMs`, and the connection was still there. */
function raw(
  server: lie.Server,
  text: string,
  options: { tls?: boolean; quietMs?: number; stopAfter?: number; later?: string } = {},
): Promise<Seen> {
  return new Promise((resolve) => {
    const started = performance.now();
    let firstMs = 0;
    let bytes = Buffer.alloc(0);
    let ended: Seen["ended"] = "close";
    const socket: Socket = options.tls
      ? connectTls({ port: server.port, host: "127.0.0.1", rejectUnauthorized: false })
      : connectTcp({ port: server.port, host: "127.0.0.1" });
    socket.once(options.tls ? "secureConnect" : "connect", () => {
      socket.write(text, "latin1");
      if (options.later) setTimeout(() => socket.write(options.later ?? "", "latin1"), 10);
    });
    socket.setTimeout(options.quietMs ?? 300, () => {
      ended = "open";
      socket.destroy();
    });
    socket.on("data", (data) => {
      firstMs ||= performance.now() - started;
      bytes = Buffer.concat([bytes, data]);
      if (options.stopAfter && bytes.length >= options.stopAfter) {
        ended = "open";
        socket.destroy();
      }
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      ended = error.code === "ECONNRESET" ? "reset" : "broken";
      // A TLSSocket that met a bad record reports it, and stays.
      socket.destroy();
    });
    socket.on("close", () => {
      const end = /\r?\n\r?\n/.exec(bytes.toString("latin1"));
      const split = end ? end.index + end[0].length : bytes.length;
      resolve({
        head: bytes.subarray(0, split).toString("latin1"),
        body: bytes.subarray(split),
        ended,
        ms: performance.now() - started,
        firstMs,
      });
    });
  });
}

const get = (path: string, ...fields: string[]) =>
  [`GET ${path} HTTP/1.1`, "Host: localhost", ...fields, "", ""].join("\r\n");
const CLOSE = "Connection: close";

type Fetched = {
  status: number;
  headers: http.IncomingHttpHeaders;
  rawHeaders: string[];
  body: Buffer;
  aborted: boolean;
};

function fetchWith(agent: http.Agent | undefined, url: string, headers = {}, method = "GET"): Promise<Fetched> {
  const { request } = url.startsWith("https:") ? https : http;
  const tls = url.startsWith("https:") ? { rejectUnauthorized: false } : {};
  return new Promise((resolve, reject) => {
    request(url, { headers, method, agent: agent ?? false, ...tls }, (res) => {
      const parts: Buffer[] = [];
      const done = (aborted: boolean) =>
        resolve({
          status: res.statusCode ?? 0,
          headers: res.headers,
          rawHeaders: res.rawHeaders,
          body: Buffer.concat(parts),
          aborted,
        });
      res.on("data", (data) => parts.push(data));
      res.on("end", () => done(false));
      res.on("error", () => done(true));
    })
      .on("error", reject)
      .end();
  });
}

const fetchUrl = (url: string, headers = {}, method = "GET") => fetchWith(undefined, url, headers, method);

/** Decodes chunked coding strictly; throws where RFC 9112 7.1 is not followed. Answers what each chunk held. */
function dechunk(body: Buffer): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0; ; ) {
    const line = body.indexOf("\r\n", at);
    const size = /^([0-9a-f]+)(;.*)?$/i.exec(body.subarray(at, line).toString("latin1"));
    assert.ok(line >= 0 && size, `no chunk size at ${at}`);
    const length = Number.parseInt(size[1], 16);
    if (length === 0) return chunks;
    const end = line + 2 + length;
    assert.ok(body.length >= end + 2, `chunk at ${at} is cut`);
    assert.equal(body.subarray(end, end + 2).toString(), "\r\n");
    chunks.push(body.subarray(line + 2, end));
    at = end + 2;
  }
}

let server: lie.Server;
let secure: lie.Server;
before(async () => {
  server = await lie.startServer();
  secure = await lie.startServer({ tls: true });
});
after(async () => {
  await server.close();
  await secure.close();
});

let paths = 0;
/** Puts a behaviour under a path of its own. */
function at(behaviour: lie.Behaviour, where = server): string {
  const path = `/${paths++}`;
  where.on(path, behaviour);
  return path;
}

/** One raw GET with `Connection: close`. */
function ask(behaviour: lie.Behaviour, ...fields: string[]): Promise<Seen> {
  return raw(server, get(at(behaviour), CLOSE, ...fields));
}

// ---- The server itself --------------------------------------------------------------------------------------------

test("url, port and unknown paths", async () => {
  assert.equal(server.url("/x"), `http://localhost:${server.port}/x`);
  assert.match(secure.url(), /^https:\/\/localhost:\d+\/$/);
  assert.equal((await fetchUrl(server.url("/none"))).status, 404);
  const named = await lie.startServer({ name: "127.0.0.1" });
  assert.equal(named.url("/"), `http://127.0.0.1:${named.port}/`);
  await named.close();
});

test("a request is recorded as it came", async () => {
  const path = at(lie.serveFile(FILE));
  await raw(server, get(`${path}?q=1`, "X-Two: a", "x-two: b", "Range: bytes=10-19", CLOSE));
  const req = server.requests.at(-1);
  assert.ok(req);
  assert.equal(req.method, "GET");
  assert.equal(req.path, `${path}?q=1`);
  assert.equal(req.headers["x-two"], "a, b");
  assert.deepEqual(req.range, { start: 10, end: 19 });
  assert.equal(req.index, server.requests.length - 1);
  assert.equal(req.origin, `http://localhost:${server.port}`);
  assert.ok(req.rawHead.startsWith("GET ") && req.rawHead.endsWith(CLOSE));
  assert.equal(req.sent, 10);
});

test("counts body bytes, not head bytes, also through raw writes", async () => {
  const sent = server.sent;
  await ask(lie.lfOnly(FILE));
  assert.equal(server.sent - sent, FILE.length);
  await ask(async (_req, io) => {
    for (const part of ["HTTP/1.1 200 OK\r", "\nA: b\r\n", "\r\nab", "cde"]) await io.write(part);
    io.end();
  });
  assert.equal(server.requests.at(-1)?.sent, 5);
});

test("a path with a query is found first, then the path alone", async () => {
  const path = at(lie.status(200, {}, "plain"));
  server.on(`${path}?a`, lie.status(200, {}, "query"));
  assert.equal((await fetchUrl(server.url(`${path}?a`))).body.toString(), "query");
  assert.equal((await fetchUrl(server.url(`${path}?b`))).body.toString(), "plain");
});

test("keep-alive: two requests on one connection are answered in order", async () => {
  const slow = at(lie.delayed(50, lie.status(200, {}, "first")));
  const fast = at(lie.status(200, {}, "second"));
  for (const seen of [
    await raw(server, get(slow) + get(fast, CLOSE)),
    await raw(server, get(slow), { later: get(fast, CLOSE) }),
  ]) {
    const all = seen.head + seen.body.toString("latin1");
    assert.ok(all.indexOf("first") > 0 && all.indexOf("second") > all.indexOf("first"), all);
  }
  const [a, b] = server.requests.slice(-2);
  assert.equal(a.connection, b.connection);

  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  await fetchWith(agent, server.url(fast));
  await fetchWith(agent, server.url(fast));
  const [c, d] = server.requests.slice(-2);
  assert.equal(c.connection, d.connection);
  assert.notEqual(c.connection, b.connection);
  agent.destroy();
});

test("a behaviour is given up when the client goes, and nothing stays open", async () => {
  let gaveUp = false;
  const path = at(async (_req, io) => {
    await io.sleep(60_000).catch((error) => {
      gaveUp = true;
      throw error;
    });
  });
  await raw(server, get(path), { quietMs: 50 });
  for (let i = 0; i < 50 && server.openSockets() > 0; i++) await new Promise((done) => setTimeout(done, 10));
  assert.ok(gaveUp);
  assert.equal(server.openSockets(), 0);
});

test("close drops what is open, and hands on what a behaviour threw", async () => {
  const own = await lie.startServer();
  own.fallback = lie.silent();
  const pending = raw(own, get("/"), { quietMs: 5000 });
  while (own.requests.length === 0) await new Promise((done) => setTimeout(done, 5));
  assert.equal(own.openSockets(), 1);
  await own.close();
  assert.notEqual((await pending).ended, "open");

  const broken = await lie.startServer();
  broken.fallback = () => {
    throw new Error("typo in a test");
  };
  await raw(broken, get("/"));
  await assert.rejects(broken.close(), /typo in a test/);
});

test("https: one certificate per process, for localhost; TLS versions can be narrowed", async () => {
  assert.equal(await certificate(), await certificate());
  const path = at(lie.serveFile(FILE), secure);
  const { cert } = await certificate();
  const body = await new Promise<Buffer>((resolve, reject) => {
    https
      .get(secure.url(path), { ca: cert }, (res) => {
        const parts: Buffer[] = [];
        res.on("data", (data) => parts.push(data)).on("end", () => resolve(Buffer.concat(parts)));
      })
      .on("error", reject);
  });
  assert.deepEqual(body, FILE);

  const only13 = await lie.startServer({ tls: true, tlsMin: "TLSv1.3" });
  only13.fallback = lie.serveFile(FILE);
  const dial = (maxVersion: "TLSv1.2" | "TLSv1.3") =>
    new Promise<string>((resolve) => {
      const socket = connectTls({ port: only13.port, host: "127.0.0.1", rejectUnauthorized: false, maxVersion }, () => {
        resolve(socket.getProtocol() ?? "");
        socket.destroy();
      });
      socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? ""));
    });
  assert.equal(await dial("TLSv1.3"), "TLSv1.3");
  assert.match(await dial("TLSv1.2"), /PROTOCOL_VERSION/);
  await only13.close();
});

// ---- The right answer ---------------------------------------------------------------------------------------------

test("serveFile: whole, HEAD, ranges, suffix, 416", async () => {
  const url = server.url(at(lie.serveFile(FILE, { lastModified: "Wed, 21 Oct 2015 07:28:00 GMT" })));
  const whole = await fetchUrl(url);
  assert.equal(whole.status, 200);
  assert.deepEqual(whole.body, FILE);
  assert.equal(whole.headers["content-length"], "5000");
  assert.equal(whole.headers["accept-ranges"], "bytes");
  assert.match(String(whole.headers.etag), /^"[0-9a-f]{16}"$/);

  const head = await fetchUrl(url, {}, "HEAD");
  assert.equal(head.headers["content-length"], "5000");
  assert.equal(head.body.length, 0);

  for (const [asked, from, to] of [
    ["bytes=4096-", 4096, 5000],
    ["bytes=10-19", 10, 20],
    ["bytes=-100", 4900, 5000],
    ["bytes=4999-9999", 4999, 5000],
  ] as const) {
    const part = await fetchUrl(url, { Range: asked });
    assert.equal(part.status, 206, asked);
    assert.equal(part.headers["content-range"], `bytes ${from}-${to - 1}/5000`);
    assert.deepEqual(part.body, FILE.subarray(from, to));
  }
  for (const asked of ["bytes=5000-", "bytes=-0", "bytes=20-10"]) {
    const none = await fetchUrl(url, { Range: asked });
    assert.equal(none.status, 416, asked);
    assert.equal(none.headers["content-range"], "bytes */5000");
  }
  assert.equal((await fetchUrl(url, { Range: "bytes=0-1,4-5" })).status, 200, "several ranges are not supported");
});

test("serveFile: If-Range by ETag and by date", async () => {
  const date = "Wed, 21 Oct 2015 07:28:00 GMT";
  const url = server.url(at(lie.serveFile(FILE, { etag: '"v1"', lastModified: date })));
  const statusFor = async (ifRange: string) => (await fetchUrl(url, { Range: "bytes=1-", "If-Range": ifRange })).status;
  assert.equal(await statusFor('"v1"'), 206);
  assert.equal(await statusFor('"v2"'), 200);
  assert.equal(await statusFor('W/"v1"'), 200);
  assert.equal(await statusFor(date), 206);
  assert.equal(await statusFor("Wed, 21 Oct 2015 07:28:01 GMT"), 200);
});

test("serveFile: options", async () => {
  let asked = 0;
  const plain = { ranges: false, etag: "", contentType: "text/plain", headers: { "X-A": 1 }, onRequest: () => asked++ };
  const got = await fetchUrl(server.url(at(lie.serveFile(FILE, plain))), { Range: "bytes=1-" });
  assert.equal(got.status, 200);
  assert.equal(got.headers.etag, undefined);
  assert.equal(got.headers["accept-ranges"], undefined);
  assert.equal(got.headers["content-type"], "text/plain");
  assert.equal(got.headers["x-a"], "1");
  assert.equal(asked, 1);

  const chunked = await ask(lie.serveFile(FILE, { chunked: true, chunkSize: 999 }));
  assert.doesNotMatch(chunked.head, /content-length/i);
  const chunks = dechunk(chunked.body);
  assert.deepEqual(
    chunks.map((part) => part.length),
    [999, 999, 999, 999, 999, 5],
  );
  assert.deepEqual(Buffer.concat(chunks), FILE);
});

test("serveFile over https, with ranges", async () => {
  const got = await fetchUrl(secure.url(at(lie.serveFile(FILE), secure)), { Range: "bytes=100-" });
  assert.equal(got.status, 206);
  assert.deepEqual(got.body, FILE.subarray(100));
});

// ---- Combining ----------------------------------------------------------------------------------------------------

test("sequence, firstTimes, busyThen and retryAfter count requests", async () => {
  const statuses = async (behaviour: lie.Behaviour, times: number) => {
    const url = server.url(at(behaviour));
    const all: Fetched[] = [];
    for (let i = 0; i < times; i++) all.push(await fetchUrl(url));
    return all;
  };
  const codes = (all: Fetched[]) => all.map((one) => one.status);
  const ok = lie.serveFile(FILE);
  assert.deepEqual(codes(await statuses(lie.sequence(lie.status(500), lie.status(404), ok), 4)), [500, 404, 200, 200]);
  assert.deepEqual(codes(await statuses(lie.firstTimes(2, lie.status(500), ok), 3)), [500, 500, 200]);
  assert.deepEqual(codes(await statuses(lie.busyThen(429, 2, ok), 3)), [429, 429, 200]);
  const seconds = await statuses(lie.retryAfter(7, 1, ok), 2);
  assert.deepEqual(codes(seconds), [503, 200]);
  assert.equal(seconds[0].headers["retry-after"], "7");
  const date = await statuses(lie.retryAfter(new Date(0), 1, ok), 1);
  assert.equal(date[0].headers["retry-after"], "Thu, 01 Jan 1970 00:00:00 GMT");
});

test("delayed waits", async () => {
  const seen = await ask(lie.delayed(80, lie.status(200)));
  assert.ok(seen.firstMs >= 79, String(seen.firstMs));
});

// ---- Statuses -----------------------------------------------------------------------------------------------------

test("redirects: as given, to itself, a chain, to nowhere", async () => {
  const relative = await fetchUrl(server.url(at(lie.redirect(307, "../x.bin"))));
  assert.equal(relative.status, 307);
  assert.equal(relative.headers.location, "../x.bin");
  const loop = at(lie.redirectLoop());
  assert.equal((await fetchUrl(server.url(loop))).headers.location, server.url(loop));
  const chain = at(lie.redirectChain(2, lie.status(200, {}, "there")));
  const hops: string[] = [];
  let got = await fetchUrl(server.url(chain));
  for (; got.status === 302; got = await fetchUrl(server.url(String(got.headers.location)))) {
    hops.push(String(got.headers.location));
  }
  assert.deepEqual(hops, [`${chain}?hop=1`, `${chain}?hop=2`]);
  assert.equal(got.body.toString(), "there");
  assert.equal((await fetchUrl(server.url(at(lie.redirectNowhere())))).headers.location, undefined);
});

test("html is 200 and no image", async () => {
  const got = await fetchUrl(server.url(at(lie.html())));
  assert.equal(got.status, 200);
  assert.equal(got.headers["content-type"], "text/html");
  assert.match(got.body.toString(), /^<!DOCTYPE html>/);
});

test("interim: 100 or 103, then the answer", async () => {
  for (const code of [100, 103] as const) {
    const seen = await ask(lie.interim(code, lie.serveFile(FILE)));
    assert.match(seen.head, new RegExp(`^HTTP/1.1 ${code} `));
    assert.match(seen.body.toString("latin1"), /^HTTP\/1.1 200 OK/);
    assert.equal(server.requests.at(-1)?.sent, FILE.length);
  }
});

// ---- Connections that break ---------------------------------------------------------------------------------------

for (const how of ["close", "reset", "stall"] as const) {
  test(`cutAt ${how}: the bytes up to the offset, the named end, then rightly`, async () => {
    const path = at(lie.cutAt(FILE, 1234, how, { times: 2 }));
    for (let i = 0; i < 2; i++) {
      const seen = await raw(server, get(path, CLOSE));
      assert.match(seen.head, /Content-Length: 5000\r\n/);
      assert.deepEqual(seen.body, FILE.subarray(0, 1234));
      assert.equal(seen.ended, how === "stall" ? "open" : how);
    }
    const rest = await raw(server, get(path, CLOSE, "Range: bytes=1234-"));
    assert.match(rest.head, /^HTTP\/1.1 206 /);
    assert.deepEqual(rest.body, FILE.subarray(1234));
    assert.equal(rest.ended, "close");
  });
}

test("cutAt counts from the start of each answer, and leaves short answers whole", async () => {
  const path = at(lie.cutAt(FILE, 1000, "close", { times: 9 }));
  const resumed = await raw(server, get(path, CLOSE, "Range: bytes=1000-"));
  assert.deepEqual(resumed.body, FILE.subarray(1000, 2000));
  const last = await raw(server, get(path, CLOSE, "Range: bytes=4500-"));
  assert.deepEqual(last.body, FILE.subarray(4500));
});

test("over TLS, close says goodbye, tls cut does not, reset resets", async () => {
  const closed = await watchTls(lie.cutAt(FILE, 1234, "close"));
  const cut = await watchTls(lie.tlsCut(FILE, 1234));
  const reset = await watchTls(lie.cutAt(FILE, 1234, "reset"));
  assert.ok(closed.plain.length > 1234 && cut.plain.equals(closed.plain) && reset.plain.equals(closed.plain));
  assert.deepEqual([closed.alerted, cut.alerted, reset.alerted], [true, false, false]);
  assert.deepEqual([closed.ended, cut.ended, reset.ended], ["end", "end", "ECONNRESET"]);
});

/** Listens between client and server, where close-notify is seen as an alert record and a reset as a reset. */
async function watchTls(
  behaviour: lie.Behaviour,
): Promise<{ records: TlsRecord[]; alerted: boolean; ended: string; plain: Buffer }> {
  const path = at(behaviour, secure);
  let sealed = Buffer.alloc(0);
  let ended = "";
  let plain = Buffer.alloc(0);
  const relay = createServer((client) => {
    const upstream = connectTcp({ port: secure.port, host: "127.0.0.1" });
    upstream.on("data", (data) => {
      sealed = Buffer.concat([sealed, data]);
      client.write(data);
    });
    upstream.on("end", () => (ended ||= "end"));
    upstream.on("error", (error: NodeJS.ErrnoException) => (ended ||= error.code ?? "error"));
    upstream.on("close", () => client.end());
    client.on("data", (data) => upstream.write(data));
    client.on("error", () => {});
  });
  await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
  await new Promise<void>((resolve) => {
    const tls = connectTls({
      port: (relay.address() as AddressInfo).port,
      host: "127.0.0.1",
      rejectUnauthorized: false,
      // Here the type of each record is in the clear.
      maxVersion: "TLSv1.2",
    });
    tls.on("secureConnect", () => tls.write(get(path, CLOSE)));
    tls.on("data", (data) => {
      plain = Buffer.concat([plain, data]);
    });
    tls.on("error", () => tls.destroy());
    tls.on("close", resolve);
  });
  await new Promise((resolve) => relay.close(resolve));
  const records = recordsIn(sealed);
  return { records, alerted: records.some(({ type }) => type === 21), ended, plain };
}

type TlsRecord = { type: number; length: number };

/** The TLS records in a byte stream (RFC 5246 6.2.1). */
function recordsIn(bytes: Buffer): TlsRecord[] {
  const records: TlsRecord[] = [];
  for (let at = 0; at + 5 <= bytes.length; at += 5 + bytes.readUInt16BE(at + 3))
    records.push({ type: bytes[at], length: bytes.readUInt16BE(at + 3) });
  return records;
}

test("tlsGarbage breaks the record layer", async () => {
  const path = at(lie.tlsGarbage(FILE, 1234), secure);
  const seen = await raw(secure, get(path, CLOSE), { tls: true });
  assert.deepEqual(seen.body, FILE.subarray(0, 1234));
  assert.equal(seen.ended, "broken");
});

test("silent, closeBeforeAnswer, closeAfterStatusLine, closeAfterHead", async () => {
  const silent = await ask(lie.silent());
  assert.deepEqual([silent.head, silent.ended], ["", "open"]);
  const closed = await ask(lie.closeBeforeAnswer());
  assert.deepEqual([closed.head, closed.ended], ["", "close"]);
  assert.equal((await ask(lie.closeBeforeAnswer("reset"))).ended, "reset");
  const line = await ask(lie.closeAfterStatusLine());
  assert.deepEqual([line.head, line.ended], ["HTTP/1.1 200 OK\r\n", "close"]);
  const head = await ask(lie.closeAfterHead(FILE));
  assert.match(head.head, /Content-Length: 5000[\s\S]*\r\n\r\n$/);
  assert.deepEqual([head.body.length, head.ended], [0, "close"]);
});

test("keepAliveNeverCloses ignores Connection: close", async () => {
  const seen = await ask(lie.keepAliveNeverCloses(FILE));
  assert.deepEqual(seen.body, FILE);
  assert.equal(seen.ended, "open");
  assert.equal((await ask(lie.serveFile(FILE))).ended, "close", "the honest server closes");
});

// ---- Lengths ------------------------------------------------------------------------------------------------------

test("noLength: what openssl s_server -WWW sends, and a 206 without a length", async () => {
  const seen = await ask(lie.noLength(FILE), "Range: bytes=100-");
  assert.equal(seen.head, "HTTP/1.0 200 ok\r\nContent-type: text/plain\r\n\r\n");
  assert.deepEqual(seen.body, FILE);
  assert.equal(seen.ended, "close");
  const ranged = await ask(lie.noLength(FILE, { ranges: true, version: "1.1" }), "Range: bytes=100-");
  assert.match(ranged.head, /^HTTP\/1.1 206 /);
  assert.match(ranged.head, /Content-Range: bytes 100-4999\/5000/);
  assert.doesNotMatch(ranged.head, /content-length|transfer-encoding/i);
  assert.deepEqual(ranged.body, FILE.subarray(100));
});

test("shorter, longer, badLength, negativeLength", async () => {
  const less = await ask(lie.shorter(FILE, 3));
  assert.match(less.head, /Content-Length: 5000\r\n/);
  assert.deepEqual(less.body, FILE.subarray(0, 4997));
  assert.equal(less.ended, "close");
  const more = await ask(lie.longer(FILE, 567));
  assert.match(more.head, /Content-Length: 5000\r\n/);
  assert.equal(more.body.length, 5567);
  assert.deepEqual(more.body.subarray(0, 5000), FILE);
  assert.match((await ask(lie.badLength(FILE, "12abc"))).head, /Content-Length: 12abc\r\n/);
  const negative = await ask(lie.negativeLength(FILE));
  assert.match(negative.head, /Content-Length: -5000\r\n/);
  assert.deepEqual(negative.body, FILE);
});

test("duplicateLength: different, same, two spellings", async () => {
  const lengths = async (how: "different" | "same" | "spellings") =>
    [...(await ask(lie.duplicateLength(FILE, how))).head.matchAll(/(content-length): (\d+)/gi)].map((m) => m.slice(1));
  assert.deepEqual(await lengths("different"), [
    ["Content-Length", "5000"],
    ["Content-Length", "4999"],
  ]);
  assert.deepEqual(await lengths("same"), [
    ["Content-Length", "5000"],
    ["Content-Length", "5000"],
  ]);
  assert.deepEqual(await lengths("spellings"), [
    ["Content-Length", "5000"],
    ["content-length", "4999"],
  ]);
});

test("bothLengthAndChunked: the length lies, the chunks are whole", async () => {
  const seen = await ask(lie.bothLengthAndChunked(FILE));
  assert.match(seen.head, /Content-Length: 4999\r\n/);
  assert.match(seen.head, /Transfer-Encoding: chunked\r\n/);
  assert.deepEqual(Buffer.concat(dechunk(seen.body)), FILE);
});

for (const kind of ["length", "chunked", "close"] as const) {
  test(`endless ${kind} sends until the client goes`, async () => {
    const seen = await raw(server, get(at(lie.endless(kind))), { stopAfter: 3_000_000, quietMs: 2000 });
    assert.ok(seen.body.length > 2_900_000);
    if (kind === "length") assert.match(seen.head, /Content-Length: 4294967295/);
    assert.equal(/chunked/.test(seen.head), kind === "chunked");
    if (kind === "chunked") assert.match(seen.body.subarray(0, 6).toString("latin1"), /^1000\r\n/);
    for (let i = 0; i < 100 && server.openSockets() > 0; i++) await new Promise((done) => setTimeout(done, 10));
    assert.equal(server.openSockets(), 0);
  });
}

// ---- Chunked ------------------------------------------------------------------------------------------------------

test("chunked: one byte each, extensions and a trailer, one huge", async () => {
  const ones = dechunk((await ask(lie.chunkedOneByte(FILE))).body);
  assert.equal(ones.length, 5000);
  assert.deepEqual(Buffer.concat(ones), FILE);
  const extended = await ask(lie.chunkedExtensions(FILE));
  assert.match(extended.body.toString("latin1"), /^3e8;name=value;quoted="a;b"\r\n/);
  assert.match(extended.body.toString("latin1"), /0;last\r\nX-Sum: 1\r\n\r\n$/);
  assert.deepEqual(Buffer.concat(dechunk(extended.body)), FILE);
  const huge = Buffer.alloc(300 * 1024, 0xa5);
  const one = dechunk((await ask(lie.chunkedHuge(huge))).body);
  assert.equal(one.length, 1);
  assert.deepEqual(one[0], huge);
});

test("chunkedBadSize", async () => {
  const seen = await ask(lie.chunkedBadSize(FILE, "ffffffffffffffff"));
  assert.match(seen.body.subarray(0, 18).toString("latin1"), /^f{16}\r\n$/);
});

test("chunkedCutMidChunk ends inside a chunk, chunkedCutAtBoundary between two", async () => {
  const middle = await ask(lie.chunkedCutMidChunk(FILE, 1234));
  assert.throws(() => dechunk(middle.body), /is cut/);
  assert.deepEqual(middle.body.subarray("1388\r\n".length), FILE.subarray(0, 1234));
  assert.equal(middle.ended, "close");
  const boundary = await ask(lie.chunkedCutAtBoundary(FILE, 1234));
  assert.throws(() => dechunk(boundary.body), /no chunk size/);
  assert.deepEqual(dechunk(Buffer.concat([boundary.body, Buffer.from("0\r\n\r\n")])), [FILE.subarray(0, 1234)]);
  assert.equal(boundary.ended, "close");
});

test("chunkedNoEnd has all the data, no last chunk, and stays open", async () => {
  const seen = await ask(lie.chunkedNoEnd(FILE));
  assert.throws(() => dechunk(seen.body), /no chunk size/);
  assert.deepEqual(Buffer.concat(dechunk(Buffer.concat([seen.body, Buffer.from("0\r\n\r\n")]))), FILE);
  assert.equal(seen.ended, "open");
});

// ---- Codings ------------------------------------------------------------------------------------------------------

test("gzip, as content coding and as transfer coding", async () => {
  const content = await ask(lie.gzip(FILE));
  assert.match(content.head, /Content-Encoding: gzip\r\n/);
  assert.match(content.head, new RegExp(`Content-Length: ${content.body.length}\r\n`));
  assert.deepEqual(gunzipSync(content.body), FILE);
  const transfer = await ask(lie.transferEncodingGzipChunked(FILE));
  assert.match(transfer.head, /Transfer-Encoding: gzip, chunked\r\n/);
  assert.deepEqual(gunzipSync(Buffer.concat(dechunk(transfer.body))), FILE);
});

// ---- Odd heads ----------------------------------------------------------------------------------------------------

test("bigHeader: one long field or many, before the ones that matter", async () => {
  for (const kind of ["one", "many"] as const) {
    const seen = await ask(lie.bigHeader(FILE, 65536, kind));
    assert.ok(seen.head.length > 65536, kind);
    assert.ok(seen.head.indexOf("Content-Length") > 65536, kind);
    assert.equal((seen.head.match(/X-Padding/g) ?? []).length > 1000, kind === "many");
    assert.deepEqual(seen.body, FILE);
  }
});

test("headerCase spells every field name so", async () => {
  const lower = await ask(lie.headerCase(FILE, "lower"), "Range: bytes=1-");
  assert.match(lower.head, /\r\ncontent-length: 4999\r\n/);
  assert.match(lower.head, /\r\ncontent-range: /);
  assert.doesNotMatch(lower.head.split("\r\n").slice(1).join("\n"), /^[A-Z]/m);
  assert.match((await ask(lie.headerCase(FILE, "upper"))).head, /\r\nCONTENT-LENGTH: 5000\r\n/);
});

test("dribbleHeader and dribbleBody take their time", async () => {
  const head = await raw(server, get(at(lie.dribbleHeader(FILE, 2)), CLOSE));
  assert.ok(head.ms >= head.head.length * 2 * 0.9, `${head.ms} ms for ${head.head.length} bytes`);
  assert.deepEqual(head.body, FILE);
  const body = await raw(server, get(at(lie.dribbleBody(FILE, 10, 500)), CLOSE));
  assert.ok(body.ms >= 95, String(body.ms));
  assert.deepEqual(body.body, FILE);
});

test("lfOnly has no carriage return in its head; notHttp is not HTTP", async () => {
  const seen = await ask(lie.lfOnly(FILE));
  assert.doesNotMatch(seen.head, /\r/);
  assert.deepEqual(seen.body, FILE);
  assert.equal((await ask(lie.notHttp())).head, "220 mail.example ESMTP\r\n");
});

// ---- Ranges -------------------------------------------------------------------------------------------------------

test("wrongContentRange: right bytes under a wrong label, only for ranges", async () => {
  for (const [how, field] of [
    ["start", "bytes 101-4999/5000"],
    ["total", "bytes 100-4999/5001"],
    ["unit", "sectors 100-4999/5000"],
    ["missing", undefined],
  ] as const) {
    const url = server.url(at(lie.wrongContentRange(FILE, how)));
    const ranged = await fetchUrl(url, { Range: "bytes=100-" });
    assert.equal(ranged.status, 206, how);
    assert.equal(ranged.headers["content-range"], field);
    assert.deepEqual(ranged.body, FILE.subarray(100));
    assert.deepEqual((await fetchUrl(url)).body, FILE);
  }
});

test("unknownTotal: right bytes, no total, and 416 behind the end", async () => {
  const url = (options?: Parameters<typeof lie.unknownTotal>[1]) => server.url(at(lie.unknownTotal(FILE, options)));
  const get = (start: number, options?: Parameters<typeof lie.unknownTotal>[1]) =>
    fetchUrl(url(options), { Range: `bytes=${start}-` });
  const whole = await get(0);
  assert.deepEqual([whole.status, whole.headers["content-range"]], [206, "bytes 0-4999/*"]);
  assert.deepEqual(whole.body, FILE);
  const part = await get(4000, { most: 600 });
  assert.equal(part.headers["content-range"], "bytes 4000-4599/*");
  assert.deepEqual(part.body, FILE.subarray(4000, 4600));
  const end = await get(5000);
  assert.deepEqual([end.status, end.headers["content-range"]], [416, "bytes */5000"]);
  assert.equal((await get(5000, { bare: true })).headers["content-range"], undefined);
  const cut = await get(0, { cut: 100 });
  assert.deepEqual([cut.headers["content-length"], cut.body.length], ["5000", 100]);
});

test("a host that chooses its certificate by name has one for that name only", async () => {
  const host = await lie.startServer({ tls: true, sni: true });
  after(() => host.close());
  host.on("/", lie.serveFile(FILE));
  const get = (servername: string) =>
    new Promise<number | undefined>((resolve, reject) => {
      const options = { rejectUnauthorized: false, servername, agent: false };
      https.get(host.url("/"), options, (answer) => resolve(answer.resume().statusCode)).on("error", reject);
    });
  assert.equal(await get("localhost"), 200);
  for (const name of ["", "mbed TLS Server 1"]) await assert.rejects(get(name), /handshake failure/);
});

/** What the TLS records of an answer hold, but for their own 24 bytes (AES-GCM). */
async function recordsOf(behaviour: lie.Behaviour): Promise<{ sizes: number[]; body: Buffer }> {
  const { records, plain } = await watchTls(behaviour);
  const sizes = records.filter(({ type }) => type === 23).map(({ length }) => length - 24);
  return { sizes, body: plain.subarray(plain.indexOf("\r\n\r\n") + 4) };
}

test("fullRecords: head and body in records of 16 KB; growingRecords: a KB more each", async () => {
  const file = Buffer.concat([FILE, FILE, FILE, FILE]);
  const full = await recordsOf(lie.fullRecords(file, { padding: 1000 }));
  assert.equal(full.sizes[0], 16384);
  assert.equal(full.sizes.length, 2);
  assert.deepEqual(full.body, file);
  const growing = await recordsOf(lie.growingRecords(file));
  assert.deepEqual(growing.sizes.slice(1, 6), [1024, 2048, 3072, 4096, 5120]);
  assert.deepEqual(growing.body, file);
});

test("otherRange: truthful about bytes that were not asked for", async () => {
  const got = await fetchUrl(server.url(at(lie.otherRange(FILE, 64))), { Range: "bytes=100-" });
  assert.equal(got.headers["content-range"], "bytes 164-4999/5000");
  assert.deepEqual(got.body, FILE.subarray(164));
});

test("rangeAnswered200, rangeAnswered416, unasked206, multipartRange", async () => {
  const range = { Range: "bytes=100-" };
  const whole = await fetchUrl(server.url(at(lie.rangeAnswered200(FILE))), range);
  assert.equal(whole.status, 200);
  assert.equal(whole.headers["accept-ranges"], "bytes");
  assert.deepEqual(whole.body, FILE);

  const refused = server.url(at(lie.rangeAnswered416(FILE)));
  assert.equal((await fetchUrl(refused, range)).status, 416);
  assert.deepEqual((await fetchUrl(refused)).body, FILE);

  const unasked = await fetchUrl(server.url(at(lie.unasked206(FILE))));
  assert.equal(unasked.status, 206);
  assert.deepEqual(unasked.body, FILE);

  const multi = await fetchUrl(server.url(at(lie.multipartRange(FILE))), range);
  assert.equal(multi.status, 206);
  assert.match(String(multi.headers["content-type"]), /^multipart\/byteranges; boundary=/);
  assert.ok(multi.body.includes(FILE.subarray(100)) && multi.body.length > 4900);
});

test("changedEtag: the second answer is another file under another tag", async () => {
  const path = at(lie.changedEtag(FILE, OTHER, 1234));
  const first = await raw(server, get(path, CLOSE));
  assert.deepEqual(first.body, FILE.subarray(0, 1234));
  const etag = /ETag: (.*)\r\n/.exec(first.head)?.[1] ?? "";
  const careful = await fetchUrl(server.url(path), { Range: "bytes=1234-", "If-Range": etag });
  assert.equal(careful.status, 200);
  assert.deepEqual(careful.body, OTHER);
  const careless = await fetchUrl(server.url(path), { Range: "bytes=1234-" });
  assert.equal(careless.status, 206);
  assert.notEqual(careless.headers.etag, etag);
  assert.deepEqual(careless.body, OTHER.subarray(1234));
});

test("differentBytesOnResume: other bytes under the same tag", async () => {
  const path = at(lie.differentBytesOnResume(FILE, OTHER, 1234));
  const first = await raw(server, get(path, CLOSE));
  assert.deepEqual(first.body, FILE.subarray(0, 1234));
  const etag = /ETag: (.*)\r\n/.exec(first.head)?.[1] ?? "";
  const resumed = await fetchUrl(server.url(path), { Range: "bytes=1234-", "If-Range": etag });
  assert.equal(resumed.status, 206);
  assert.equal(resumed.headers.etag, etag);
  assert.deepEqual(resumed.body, OTHER.subarray(1234));
});
