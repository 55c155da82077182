// How a server can answer, and what the update makes of it (docs/design.md#answers-of-a-server,
// docs/espruino.md#http): the table of answer-cases.ts, each case on a virtual device of its own, and what only the virtual
// Espruino shows. Whatever fails here fails before the first erase, unless a case says otherwise.

import assert from "node:assert/strict";
import { createServer } from "node:net";
import { describe, test } from "node:test";
import { buildImage } from "../../support/images.ts";
import { advanceWhenIdle } from "../../support/network.ts";
import {
  bootsNewImage,
  failsCleanly,
  type IdfName,
  type Outcome,
  type Fixture,
  sleep,
  createFixture,
  succeeds,
  until,
  updateFrom,
} from "../../support/fixture.ts";
import {
  type Behaviour,
  bigHeader,
  busyThen,
  closeAfterHead,
  closeAfterStatusLine,
  closeBeforeAnswer,
  cutAt,
  gzip,
  redirect,
  redirectChain,
  redirectNowhere,
  serveFile,
  type Server,
  silent,
  startServer,
  status,
  wrongContentRange,
} from "../../support/server.ts";
import { CASES, imageOf, installedBy, outcomesOf, retryOf } from "./answer-cases.ts";

const IMAGE = buildImage({ size: 20000, seed: 2 });
const SLOT = { touched: ["ota_0"] };
const TIMEOUT = 20000;

/** Lets device time pass, a second at a time, while the network keeps its own pace: stalls and pauses come to an end. */
async function patiently(fixture: Fixture, update: Promise<Outcome>, asked: Server = fixture.server): Promise<Outcome> {
  let over = false;
  void update.finally(() => {
    over = true;
  });
  await until("the server has the request", () => over || asked.requests.length > 0);
  while (!over) {
    await sleep(3);
    if (!over) await fixture.device.engine.advance(1000);
  }
  return update;
}

/** Most of a test is waiting for the network. */
const AT_ONCE = { concurrency: 8 };

describe("answers of a server", AT_ONCE, () => {
  // --- The table -----------------------------------------------------------------------------------------------------

  for (const [index, one] of CASES.entries()) {
    const outcomes = one.inVirtual === undefined ? outcomesOf(one) : [one.inVirtual];
    // what a connection does is another thing over TLS
    const overTls = one.only === "https" || outcomes.some((name) => name.startsWith("HTTP_"));
    for (const tls of [...(one.only === "https" ? [] : [false]), ...(overTls && one.only !== "http" ? [true] : [])])
      test(`${one.what}${tls ? " over TLS" : ""}: ${outcomes.map((name) => name || "installed").join(" or ")}`, async (t) => {
        const image = imageOf(index);
        const fixture = await createFixture(t, { image: null, tls });
        const timeout = Number(one.config?.timeout ?? TIMEOUT);
        const start = fixture.device.engine.run("getTime()") as number;
        const update = updateFrom(fixture, one.behaviour(image), { timeout, ...one.config });
        const outcome = await (one.paced ? update : advanceWhenIdle(fixture.device, fixture.server, update, 1000));
        const seconds = (fixture.device.engine.run("getTime()") as number) - start;
        const { requests } = fixture.server;
        const name = outcome.error?.name.replace(/^ESP_(ERR_)?/, "") ?? "";
        assert.ok(outcomes.includes(name), `${name || "installed"}: ${outcome.error?.message}`);
        if (one.requests !== undefined) assert.equal(requests.length, one.requests);
        const writes = fixture.device.flash.log.filter(({ kind }) => kind === "write").length;
        if (one.writes !== undefined) assert.ok(writes <= one.writes, `${writes} writes for ${image.length} bytes`);
        if (!outcome.error) return succeeds(fixture, outcome, "ota_0", installedBy(one, image));
        if (one.status !== undefined) assert.strictEqual(outcome.error.status, one.status);
        if (one.stalls) {
          assert.match(outcome.error.message, new RegExp(`\\b${timeout}\\b`));
          assert.ok(seconds >= 20 && seconds < 45, `${seconds} s`);
        }
        await failsCleanly(fixture, outcome, name as IdfName, {
          retry: retryOf(one, name),
          says: one.says,
          ...(one.wrote ? SLOT : {}),
        });
      });
  }

  test("`status` is that of the answer at which the update failed, a redirect's too", async (t) => {
    const fixture = await createFixture(t, { image: null });
    fixture.server.on("/gone", status(410));
    for (const [behaviour, code] of [
      [gzip(IMAGE), 200],
      [wrongContentRange(IMAGE, "start"), 206],
      [redirectNowhere(), 302],
      [redirect(302, fixture.server.url("/gone")), 410],
      [closeAfterHead(IMAGE), 206],
      [cutAt(IMAGE, 9000, "reset", { ranges: false }), 200],
    ] as [Behaviour, number][])
      assert.strictEqual((await updateFrom(fixture, behaviour)).error?.status, code);
  });

  test("`status` is undefined without an answer, and where the answer was right", async (t) => {
    const fixture = await createFixture(t, { image: null });
    for (const [behaviour, code] of [
      [closeBeforeAnswer(), "HTTP_CONNECT"],
      [closeAfterStatusLine(), "HTTP_CONNECT"],
      // the connection behind the redirect has none
      [redirect(302, "http://nowhere.invalid/"), "HTTP_CONNECT"],
      [serveFile(new Uint8Array(5000)), "OTA_VALIDATE_FAILED"],
    ] as [Behaviour, IdfName][]) {
      const { error } = await updateFrom(fixture, behaviour);
      assert.equal(error?.name, `ESP_ERR_${code}`);
      assert.strictEqual(error?.status, undefined, error?.message);
    }
    const refused = await fixture.update({ url: "" });
    assert.strictEqual(refused.error?.status, undefined);
    // in the middle of a body
    const { offset, size } = fixture.device.row("ota_0");
    fixture.device.flash.faults = { dropWrite: (addr) => addr >= offset + 9000 && addr < offset + size };
    const { error } = await updateFrom(fixture, serveFile(IMAGE));
    assert.deepEqual([error?.name, error?.status], ["ESP_ERR_FLASH_OP_FAIL", undefined]);
  });

  test("a server that is busy at first is asked again, as often as `retries` says", async (t) => {
    const fixture = await createFixture(t, { image: null });
    fixture.server.on("/busy", busyThen(503, 2, serveFile(IMAGE)));
    const update = fixture.update({ url: fixture.server.url("/busy"), retries: 2 });
    for (const count of [1, 2]) {
      await until(`${count} requests`, () => fixture.server.requests.length === count);
      await until("it waits", () => fixture.device.engine.accounts().sockets === 0);
      await fixture.device.engine.advance(2000);
    }
    await succeeds(fixture, await update, "ota_0", IMAGE);
    assert.equal(fixture.server.requests.length, 3);
  });

  test("a server that stays busy is asked `retries` times more, then the update fails", async (t) => {
    const fixture = await createFixture(t, { image: null });
    fixture.server.on("/busy", status(503));
    const update = fixture.update({ url: fixture.server.url("/busy"), retries: 3 });
    for (const count of [1, 2, 3]) {
      await until(`${count} requests`, () => fixture.server.requests.length >= count);
      await until("it waits", () => fixture.device.engine.accounts().sockets === 0);
      await fixture.device.engine.advance(4000);
    }
    await failsCleanly(fixture, await update, "FAIL", { retry: true });
    assert.equal(fixture.server.requests.length, 4);
  });

  // --- Redirects -----------------------------------------------------------------------------------------------------

  for (const code of [301, 302, 303, 307, 308]) {
    test(`redirect ${code} to an absolute URL is followed with a GET`, async (t) => {
      const fixture = await createFixture(t);
      const outcome = await updateFrom(fixture, redirect(code, fixture.server.url("/fw.bin")));
      assert.deepEqual(
        fixture.server.requests.map((req) => `${req.method} ${req.path}`),
        ["GET /case", "GET /fw.bin"],
      );
      await succeeds(fixture, outcome, "ota_0");
    });

    test(`redirect ${code} over TLS to another port is followed`, async (t) => {
      const fixture = await createFixture(t, { tls: true });
      const other = await startServer({ tls: true });
      t.after(() => other.close());
      other.on("/fw.bin", serveFile(fixture.image));
      await succeeds(fixture, await updateFrom(fixture, redirect(code, other.url("/fw.bin"))), "ota_0");
    });

    test(`redirect ${code} from https to http is ESP_ERR_HTTP_REDIRECT_DOWNGRADE`, async (t) => {
      const fixture = await createFixture(t, { tls: true });
      const open = await startServer();
      t.after(() => open.close());
      open.on("/fw.bin", serveFile(fixture.image));
      const outcome = await updateFrom(fixture, redirect(code, open.url("/fw.bin")));
      await failsCleanly(fixture, outcome, "HTTP_REDIRECT_DOWNGRADE");
      assert.equal(open.requests.length, 0);
    });
  }

  for (const [location, path] of [
    ["/fw.bin", "/fw.bin"],
    ["/fw.bin?a=/../b", "/fw.bin?a=/../b"],
    ["other.bin", "/dir/other.bin"],
    ["../fw.bin", "/fw.bin"],
    ["./other.bin", "/dir/other.bin"],
    ["../../../fw.bin", "/fw.bin"],
    ["?v=2", "/dir/case?v=2"],
    ["other.bin?at=12:30", "/dir/other.bin?at=12:30"],
    ["/fw.bin#part", "/fw.bin"],
  ])
    test(`a relative Location ${location} leads to ${path}`, async (t) => {
      const fixture = await createFixture(t);
      fixture.server.fallback = serveFile(fixture.image);
      fixture.server.on("/dir/case?v=2", serveFile(fixture.image));
      fixture.server.on("/dir/case", redirect(302, location));
      await succeeds(fixture, await fixture.update({ url: fixture.server.url("/dir/case") }), "ota_0");
      assert.equal(fixture.server.requests[1].path, path);
    });

  test("a Location without scheme keeps the scheme", async (t) => {
    const fixture = await createFixture(t, { tls: true });
    const location = fixture.server.url("/fw.bin").replace("https:", "");
    await succeeds(fixture, await updateFrom(fixture, redirect(302, location)), "ota_0");
  });

  test("http to https is followed; once there, http is refused", async (t) => {
    const fixture = await createFixture(t);
    const secure = await startServer({ tls: true });
    t.after(() => secure.close());
    secure.on("/good", serveFile(fixture.image));
    secure.on("/bad", redirect(302, fixture.server.url("/fw.bin")));
    const outcome = await updateFrom(fixture, redirect(302, secure.url("/bad")));
    await failsCleanly(fixture, outcome, "HTTP_REDIRECT_DOWNGRADE");
    fixture.remember();
    await succeeds(fixture, await updateFrom(fixture, redirect(302, secure.url("/good"))), "ota_0");
  });

  test("a Location with percent-encoding is followed as it is", async (t) => {
    const fixture = await createFixture(t);
    fixture.server.on("/gr%C3%B6%C3%9Fe%20.bin", serveFile(fixture.image));
    await succeeds(fixture, await updateFrom(fixture, redirect(302, "/gr%C3%B6%C3%9Fe%20.bin")), "ota_0");
  });

  // a device that is busy for a while finds the old connection's end and the time for the next one in one idle pass
  test("the connection of a redirect that closes late is not taken for the next one", async (t) => {
    for (let round = 0; round < 5; round++) {
      const fixture = await createFixture(t);
      let over = false;
      const update = updateFrom(fixture, redirectChain(12, serveFile(fixture.image)), { maxRedirects: 12, retries: 0 });
      void update.then(() => {
        over = true;
      });
      while (!over) {
        // as long as a flash erase blocks, then the pass in which all is due
        fixture.device.engine.block(30);
        await sleep(0);
      }
      await succeeds(fixture, await update, "ota_0");
    }
  });

  for (const name of ["localhost", "127.0.0.1"])
    test(`headers go to the first origin only, not over a redirect to another ${name === "localhost" ? "port" : "host name"}`, async (t) => {
      const fixture = await createFixture(t);
      const other = await startServer({ name });
      t.after(() => other.close());
      other.on("/fw.bin", redirect(302, fixture.server.url("/home.bin")));
      fixture.server.on("/home.bin", serveFile(fixture.image));
      const headers = { Authorization: "Bearer secret", "X-Device": "42" };
      const outcome = await updateFrom(fixture, redirect(302, other.url("/fw.bin")), { headers });
      await succeeds(fixture, outcome, "ota_0");
      assert.equal(fixture.server.requests[0].headers.authorization, "Bearer secret");
      assert.equal(fixture.server.requests[0].headers["x-device"], "42");
      assert.ok(!/secret|X-Device/i.test(other.requests[0].rawHead), other.requests[0].rawHead);
      assert.equal(fixture.server.requests[1].headers["x-device"], undefined, "another origin chose this URL");
    });

  test("headers go along with a redirect within the origin", async (t) => {
    const fixture = await createFixture(t);
    const outcome = await updateFrom(fixture, redirect(307, "/fw.bin"), { headers: { "X-Device": "42" } });
    await succeeds(fixture, outcome, "ota_0");
    assert.equal(fixture.server.requests[1].headers["x-device"], "42");
  });

  test("user and password of the URL go as basic authorization to its origin only", async (t) => {
    const fixture = await createFixture(t);
    const other = await startServer();
    t.after(() => other.close());
    other.on("/fw.bin", serveFile(fixture.image));
    fixture.server.on("/case", redirect(302, other.url("/fw.bin")));
    const url = fixture.server.url("/case").replace("//", "//user:p%40ss@");
    await succeeds(fixture, await fixture.update({ url }), "ota_0");
    const basic = Buffer.from("user:p@ss").toString("base64");
    assert.equal(fixture.server.requests[0].headers.authorization, `Basic ${basic}`);
    assert.equal(other.requests[0].headers.authorization, undefined);
  });

  // --- Length and coding ---------------------------------------------------------------------------------------------

  // more than a device of 4095 JsVars can hold: the real interpreter has tests of its own for it
  for (const kind of ["one", "many"] as const)
    test(`a header of 64 KB in ${kind === "one" ? "one field" : "many fields"} does no harm`, async (t) => {
      const fixture = await createFixture(t, { image: null });
      await succeeds(fixture, await updateFrom(fixture, bigHeader(IMAGE, 65536, kind)), "ota_0", IMAGE);
    });

  // --- Connections ---------------------------------------------------------------------------------------------------

  async function closedPort(): Promise<number> {
    const listener = createServer();
    await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
    const { port } = listener.address() as { port: number };
    await new Promise((resolve) => listener.close(resolve));
    return port;
  }

  for (const scheme of ["http", "https"]) {
    test(`a refused connection (${scheme}) is ESP_ERR_HTTP_CONNECT, to be tried later`, async (t) => {
      const fixture = await createFixture(t);
      const outcome = await fixture.update({ url: `${scheme}://localhost:${await closedPort()}/fw.bin` });
      await failsCleanly(fixture, outcome, "HTTP_CONNECT", { retry: true, says: /localhost/ });
    });

    test(`an unknown host (${scheme}) is ESP_ERR_HTTP_CONNECT, to be tried later`, async (t) => {
      const fixture = await createFixture(t);
      const outcome = await fixture.update({ url: `${scheme}://nowhere.invalid/fw.bin` });
      await failsCleanly(fixture, outcome, "HTTP_CONNECT", { retry: true, says: /nowhere\.invalid/ });
    });
  }

  test("a redirect to a refused port or an unknown host names what was not reached", async (t) => {
    const fixture = await createFixture(t);
    const gone = await updateFrom(fixture, redirect(302, `http://127.0.0.1:${await closedPort()}/fw.bin`));
    await failsCleanly(fixture, gone, "HTTP_CONNECT", { retry: true, says: /127\.0\.0\.1/ });
    const unknown = await updateFrom(fixture, redirect(302, "http://nowhere.invalid/"));
    await failsCleanly(fixture, unknown, "HTTP_CONNECT", { retry: true, says: /nowhere\.invalid/ });
  });

  test("a stall behind a redirect is told by the host that fell silent", async (t) => {
    const fixture = await createFixture(t, { image: null });
    const other = await startServer({ name: "127.0.0.1" });
    t.after(() => other.close());
    other.on("/fw.bin", silent());
    const outcome = await patiently(fixture, updateFrom(fixture, redirect(302, other.url("/fw.bin"))), other);
    await failsCleanly(fixture, outcome, "HTTP_READ_TIMEOUT", { retry: true, says: /127\.0\.0\.1/ });
  });

  test("a network that comes back is used: refused at first, then served", async (t) => {
    const fixture = await createFixture(t);
    const port = await closedPort();
    const update = fixture.update({ url: `http://localhost:${port}/fw.bin`, retries: 1 });
    await fixture.device.engine.advance(10);
    const late: Server = await startServer();
    t.after(() => late.close());
    late.on("/fw.bin", serveFile(fixture.image));
    const relay = createServer((socket) => {
      socket.on("error", () => {});
      import("node:net").then(({ connect }) => {
        const upstream = connect(late.port, "127.0.0.1");
        upstream.on("error", () => {});
        socket.pipe(upstream).pipe(socket);
      });
    });
    await new Promise<void>((resolve) => relay.listen(port, "127.0.0.1", resolve));
    t.after(() => relay.close());
    await fixture.device.engine.advance(1100);
    await succeeds(fixture, await update, "ota_0");
  });

  // --- TLS -----------------------------------------------------------------------------------------------------------

  test("a server that speaks only TLS 1.3 can't be reached: ESP_ERR_HTTP_CONNECT", async (t) => {
    const fixture = await createFixture(t);
    const modern = await startServer({ tls: true, tlsMin: "TLSv1.3" });
    t.after(() => modern.close());
    const outcome = await fixture.update({ url: modern.url("/fw.bin") });
    // the engine only prints the handshake's error, and hands it to whichever promise is next
    await failsCleanly(fixture, outcome, "HTTP_CONNECT", { retry: true, problems: [/mbedtls_ssl_handshake/] });
  });

  const SNI = /localhost: (no response|unsent data) \(-(15|8)\)\. .*SNI.*August 2026.*2v29.*http: with keys$/;

  test("a host that chooses its certificate by name: the error names SNI and what to do", async (t) => {
    const fixture = await createFixture(t);
    const host = await startServer({ tls: true, sni: true });
    t.after(() => host.close());
    const outcome = await fixture.update({ url: host.url("/fw.bin") });
    await failsCleanly(fixture, outcome, "HTTP_CONNECT", {
      retry: true,
      says: SNI,
      problems: [/mbedtls_ssl_handshake/],
    });
    assert.ok((outcome.error?.message.length ?? 0) < 200, outcome.error?.message);
  });

  test("SNI is not blamed without TLS, nor where TLS came about", async (t) => {
    for (const tls of [false, true]) {
      const fixture = await createFixture(t, { image: null, tls });
      // over TLS a close-notify comes, which only a session has
      const { error } = await updateFrom(fixture, closeBeforeAnswer());
      assert.equal(error?.name, "ESP_ERR_HTTP_CONNECT");
      assert.doesNotMatch(error.message, /SNI/);
    }
  });

  test("https to a port that speaks plain http is ESP_ERR_HTTP_CONNECT", async (t) => {
    const fixture = await createFixture(t, { image: null });
    const mail = createServer((socket) => {
      socket.on("error", () => {});
      socket.write("220 mail.example ESMTP\r\n");
    });
    await new Promise<void>((resolve) => mail.listen(0, "127.0.0.1", resolve));
    t.after(() => mail.close());
    const { port } = mail.address() as { port: number };
    const outcome = await fixture.update({ url: `https://localhost:${port}/fw.bin` });
    await failsCleanly(fixture, outcome, "HTTP_CONNECT", { retry: true, problems: [/mbedtls_ssl_handshake/] });
  });

  // --- Retries and ranges --------------------------------------------------------------------------------------------

  for (const how of ["close", "reset"] as const)
    for (const offset of [700, 1024, 4095, 4096, 9000, 19999])
      test(`after a ${how} at byte ${offset} Range goes on at the first missing byte`, async (t) => {
        const fixture = await createFixture(t, { image: null });
        const outcome = await patiently(fixture, updateFrom(fixture, cutAt(IMAGE, offset, how), { retries: 1 }));
        await succeeds(fixture, outcome, "ota_0", IMAGE);
        const [first, second] = fixture.server.requests;
        assert.equal(fixture.server.requests.length, 2);
        assert.equal(second.headers.range, `bytes=${first.sent}-`);
        assert.ok(second.headers["if-range"], "with If-Range");
      });

  test("a server without ranges begins again at zero, and no sector is erased twice", async (t) => {
    const fixture = await createFixture(t, { image: null });
    const outcome = await patiently(
      fixture,
      updateFrom(fixture, cutAt(IMAGE, 9000, "close", { ranges: false }), { retries: 1 }),
    );
    const slot = fixture.device.row("ota_0").offset;
    const erased = fixture.device.flash.log.filter((op) => op.kind === "erase" && op.addr >= slot).length;
    assert.equal(erased, Math.ceil(IMAGE.length / 4096));
    await succeeds(fixture, outcome, "ota_0", IMAGE);
  });

  test("the very first request has no conditional header and asks for all in one", async (t) => {
    const fixture = await createFixture(t);
    assert.ifError((await fixture.update()).error);
    const { headers, method } = fixture.server.requests[0];
    assert.equal(method, "GET");
    assert.equal(headers["if-range"], undefined);
    assert.ok(headers.range === undefined || headers.range === "bytes=0-");
    bootsNewImage(fixture, "ota_0");
  });
});
