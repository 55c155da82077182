// How a server can answer, and what the update makes of it (docs/design.md#answers-of-a-server,
// docs/espruino.md#http). Whatever fails here fails before the first erase, unless a test says otherwise.

import assert from "node:assert/strict";
import { createServer } from "node:net";
import { describe, test } from "node:test";
import { buildImage, padTo } from "../../support/images.ts";
import {
  bootsNewImage,
  failsCleanly,
  failsWith,
  type IdfName,
  newImage,
  nothingLeft,
  type Outcome,
  type Fixture,
  sleep,
  createFixture,
  succeeds,
  touchesNothing,
  until,
  updateFrom,
} from "../../support/fixture.ts";
import {
  badLength,
  type Behaviour,
  bigHeader,
  bothLengthAndChunked,
  busyThen,
  changedEtag,
  chunkedBadSize,
  chunkedCutAtBoundary,
  chunkedCutMidChunk,
  chunkedExtensions,
  chunkedHuge,
  chunkedNoEnd,
  chunkedOneByte,
  closeAfterHead,
  closeAfterStatusLine,
  closeBeforeAnswer,
  cutAt,
  differentBytesOnResume,
  dribbleHeader,
  duplicateLength,
  endless,
  gzip,
  headerCase,
  html,
  interim,
  keepAliveNeverCloses,
  lfOnly,
  longer,
  multipartRange,
  negativeLength,
  noLength,
  notHttp,
  otherRange,
  rangeAnswered200,
  rangeAnswered416,
  redirect,
  redirectChain,
  redirectLoop,
  redirectNowhere,
  serveFile,
  type Server,
  shorter,
  silent,
  startServer,
  status,
  tlsCut,
  tlsGarbage,
  transferEncodingGzipChunked,
  unasked206,
  wrongContentRange,
} from "../../support/server.ts";

const IMAGE = buildImage({ size: 20000, seed: 2 });
const SLOT = { touched: ["ota_0"] };

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
  // --- Status table --------------------------------------------------------------------------------------------------

  const BUSY = { retry: true };
  // a release that is being published, or that was taken back: the next one may be there tomorrow
  const LATER = { retry: true };
  const STATUSES: [number, IdfName, { retry?: boolean }?][] = [
    [100, "INVALID_RESPONSE", BUSY], // the engine takes an interim answer for the final one
    [103, "INVALID_RESPONSE", BUSY],
    [201, "INVALID_RESPONSE"],
    [202, "INVALID_RESPONSE"],
    [203, "INVALID_RESPONSE"],
    [204, "INVALID_RESPONSE"],
    [205, "INVALID_RESPONSE"],
    [207, "INVALID_RESPONSE"],
    [226, "INVALID_RESPONSE"],
    [300, "INVALID_RESPONSE"],
    [304, "HTTP_NOT_MODIFIED"],
    [305, "INVALID_RESPONSE"],
    [306, "INVALID_RESPONSE"],
    [400, "FAIL"],
    [401, "FAIL"],
    [403, "FAIL"],
    [404, "FAIL", LATER],
    [405, "FAIL"],
    [407, "FAIL"],
    [408, "FAIL", BUSY],
    [410, "FAIL", LATER],
    [416, "HTTP_RANGE_NOT_SATISFIABLE"],
    [418, "FAIL"],
    [425, "FAIL", BUSY],
    [429, "FAIL", BUSY],
    [451, "FAIL"],
    [500, "FAIL", BUSY],
    [502, "FAIL", BUSY],
    [503, "FAIL", BUSY],
    [504, "FAIL", BUSY],
    [599, "FAIL", BUSY],
  ];
  for (const [code, name, refusal] of STATUSES)
    test(`status ${code} brings no image, even with one as its body: ESP_ERR_${name}, ${refusal?.retry ? "try later" : "refused"}`, async (t) => {
      const fixture = await createFixture(t, { image: null });
      const outcome = await updateFrom(fixture, status(code, {}, IMAGE));
      assert.strictEqual(outcome.error?.status, code);
      await failsCleanly(fixture, outcome, name, { ...refusal, says: new RegExp(`${code}`) });
    });

  test("`status` is that of the answer at which the update failed, a redirect's own included", async (t) => {
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

  test("`status` is undefined where nothing was answered, and where the answer was right", async (t) => {
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

  test("status 200 brings the whole file", async (t) => {
    const fixture = await createFixture(t, { image: null });
    await succeeds(fixture, await updateFrom(fixture, serveFile(IMAGE, { ranges: false })), "ota_0", IMAGE);
  });

  test("status 206 brings the range that was asked for", async (t) => {
    const fixture = await createFixture(t, { image: null });
    await succeeds(fixture, await updateFrom(fixture, serveFile(IMAGE, { ranges: true })), "ota_0", IMAGE);
  });

  test("status 206 that nobody asked for is taken by its Content-Range", async (t) => {
    const fixture = await createFixture(t, { image: null });
    await succeeds(fixture, await updateFrom(fixture, unasked206(IMAGE)), "ota_0", IMAGE);
  });

  for (const line of [
    "HTTP/1.1 20 OK",
    "HTTP/1.1 2OO OK",
    "HTTP/1.1 +200 OK",
    "HTTP/1.1 200.0 OK",
    "HTTP/1.1  OK",
    "HTTP/1.1 1200 OK",
  ])
    test(`status line "${line}" is no 200`, async (t) => {
      const fixture = await createFixture(t, { image: null });
      const outcome = await updateFrom(fixture, async (_req, io) => {
        await io.head(line, { "Content-Length": IMAGE.length, Connection: "close" });
        await io.write(IMAGE);
        io.end();
      });
      assert.ok(outcome.error, "it succeeded");
      await failsCleanly(fixture, outcome, outcome.error.code === -1 ? "FAIL" : "INVALID_RESPONSE", outcome.error);
    });

  for (const code of [100, 103] as const)
    test(`an interim answer ${code} before the real one is refused, not taken for the image`, async (t) => {
      const fixture = await createFixture(t, { image: null });
      const outcome = await updateFrom(fixture, interim(code, serveFile(IMAGE)));
      await failsCleanly(fixture, outcome, "INVALID_RESPONSE", { retry: true });
    });

  test("the log-in page of a hotel is refused before the first erase, however long it is", async (t) => {
    const fixture = await createFixture(t, { image: null });
    await failsCleanly(fixture, await updateFrom(fixture, html()), "INVALID_SIZE");
    fixture.remember();
    const page = Buffer.from(`<!DOCTYPE html>${" ".repeat(5000)}`);
    await failsCleanly(
      fixture,
      await updateFrom(fixture, serveFile(page, { contentType: "text/html" })),
      "OTA_VALIDATE_FAILED",
    );
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

  for (const [code, retry] of [
    [403, false],
    [404, true],
    [410, true],
  ] as const)
    test(`${code} is not asked again within an update, whatever \`retries\` says`, async (t) => {
      const fixture = await createFixture(t, { image: null });
      await failsCleanly(fixture, await updateFrom(fixture, status(code), { retries: 5 }), "FAIL", { retry });
      assert.equal(fixture.server.requests.length, 1);
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

    test(`redirect ${code} from https to http is ESP_ERR_HTTP_REDIRECT_DOWNGRADE and http is not asked`, async (t) => {
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

  for (const [what, location] of [
    ["another scheme", "ftp://localhost/fw.bin"],
    ["javascript", "javascript:0"],
    ["no host", "http:///fw.bin"],
    ["a port out of range", "http://localhost:70000/fw.bin"],
    ["a blank", "http://localhost/a b"],
    ["a blank, relative", "/a b"],
    ["a tab", "/a\tb"],
    ["a control character", "/a\x01b"],
    ["a NUL", "/a\0b"],
    ["UTF-8", Buffer.from("/größe.bin").toString("latin1")],
    ["Latin-1", "http://localhost/gr\xf6\xdfe.bin"],
    ["UTF-8 in its host", Buffer.from("http://größe.example/").toString("latin1")],
  ])
    test(`a Location with ${what} is the server's fault: ESP_ERR_INVALID_RESPONSE`, async (t) => {
      const fixture = await createFixture(t);
      const outcome = await updateFrom(fixture, redirect(302, location));
      await failsCleanly(fixture, outcome, "INVALID_RESPONSE", { says: /^Location: / });
      assert.equal(outcome.error?.status, 302);
      assert.equal(fixture.server.requests.length, 1);
    });

  test("a Location with percent-encoding is followed as it is", async (t) => {
    const fixture = await createFixture(t);
    fixture.server.on("/gr%C3%B6%C3%9Fe%20.bin", serveFile(fixture.image));
    await succeeds(fixture, await updateFrom(fixture, redirect(302, "/gr%C3%B6%C3%9Fe%20.bin")), "ota_0");
  });

  test("a redirect without Location is refused", async (t) => {
    const fixture = await createFixture(t);
    await failsCleanly(fixture, await updateFrom(fixture, redirectNowhere()), "INVALID_RESPONSE", { says: /Location/ });
  });

  test("a redirect to itself ends after `maxRedirects`, 5 unless said otherwise", async (t) => {
    const fixture = await createFixture(t);
    await failsCleanly(fixture, await updateFrom(fixture, redirectLoop()), "HTTP_MAX_REDIRECT");
    assert.equal(fixture.server.requests.length, 6);
  });

  for (const [hops, maxRedirects, ok] of [
    [5, undefined, true],
    [6, undefined, false],
    [1, 0, false],
    [1, 1, true],
    [2, 1, false],
    [12, 12, true],
  ] as const)
    test(`${hops} redirects with maxRedirects ${maxRedirects ?? "by default"} ${ok ? "are followed" : "are too many"}`, async (t) => {
      const fixture = await createFixture(t);
      const config = maxRedirects === undefined ? {} : { maxRedirects };
      const outcome = await updateFrom(fixture, redirectChain(hops, serveFile(fixture.image)), config);
      if (ok) await succeeds(fixture, outcome, "ota_0");
      else await failsCleanly(fixture, outcome, "HTTP_MAX_REDIRECT");
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
        const blocked = performance.now() + 30;
        while (performance.now() < blocked);
        await sleep(0);
      }
      await succeeds(fixture, await update, "ota_0");
    }
  });

  for (const name of ["localhost", "127.0.0.1"])
    test(`headers are sent to the first origin only, not over a redirect to another ${name === "localhost" ? "port" : "host name"}`, async (t) => {
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

  test("user and password of the URL are sent as basic authorization, to its origin only", async (t) => {
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

  const ACCEPTED: [string, Behaviour][] = [
    ["a Content-Length", serveFile(IMAGE, { ranges: false })],
    ["chunked coding", serveFile(IMAGE, { chunked: true, ranges: false })],
    ["chunked coding of a 206", serveFile(IMAGE, { chunked: true })],
    ["one chunk for all", chunkedHuge(IMAGE)],
    ["chunk extensions and a trailer", chunkedExtensions(IMAGE)],
    ["header names in lower case", headerCase(IMAGE, "lower")],
    ["header names in upper case", headerCase(IMAGE, "upper")],
    ["a connection that stays open", keepAliveNeverCloses(IMAGE)],
    ["a header of 64 KB in one field", bigHeader(IMAGE, 65536)],
    ["a header of 64 KB in many fields", bigHeader(IMAGE, 65536, "many")],
    ["more bytes than announced, which are not the image's", longer(IMAGE, 567)],
    ["no ETag", serveFile(IMAGE, { etag: "" })],
    ["pieces of one byte", serveFile(IMAGE, { chunkSize: 1 })],
  ];
  for (const [what, behaviour] of ACCEPTED)
    test(`an answer with ${what} is installed`, async (t) => {
      const fixture = await createFixture(t, { image: null });
      await succeeds(fixture, await updateFrom(fixture, behaviour), "ota_0", IMAGE);
    });

  const CRUMBS: [string, Behaviour][] = [
    ["in chunks of one byte", chunkedOneByte(IMAGE)],
    [
      "that comes by 100 bytes",
      async (_req, io) => {
        await io.head(200, { "Content-Length": IMAGE.length, Connection: "close" });
        for (let at = 0; at < IMAGE.length; at += 100) {
          await io.write(IMAGE.subarray(at, at + 100));
          await io.sleep(5);
        }
        io.end();
      },
    ],
  ];
  for (const [what, behaviour] of CRUMBS)
    test(`a body ${what} is written in pieces, not as it comes, which would take minutes`, async (t) => {
      const fixture = await createFixture(t, { image: null });
      await succeeds(fixture, await updateFrom(fixture, behaviour), "ota_0", IMAGE);
      const writes = fixture.device.flash.log.filter(({ kind }) => kind === "write").length;
      assert.ok(writes <= IMAGE.length / 256, `${writes} writes for ${IMAGE.length} bytes`);
    });

  const REFUSED: [string, Behaviour][] = [
    ["neither length nor chunked coding", noLength(IMAGE)],
    ["neither, in HTTP/1.1", noLength(IMAGE, { version: "1.1" })],
    ["a negative length", negativeLength(IMAGE)],
    ["a length that is no number", badLength(IMAGE, "20000 bytes")],
    ["a length in hexadecimal", badLength(IMAGE, "0x4e20")],
    ["a length with a sign", badLength(IMAGE, "+20000")],
    ["two lengths in one", badLength(IMAGE, "20000, 20000")],
    ["a length beyond all numbers", badLength(IMAGE, "99999999999999999999")],
    ["two spellings of the length", duplicateLength(IMAGE, "spellings")],
    ["gzip", gzip(IMAGE)],
    ["gzip as transfer coding", transferEncodingGzipChunked(IMAGE)],
  ];
  for (const [what, behaviour] of REFUSED)
    test(`an answer with ${what} is refused before the first erase`, async (t) => {
      const fixture = await createFixture(t, { image: null });
      await failsCleanly(fixture, await updateFrom(fixture, behaviour), "INVALID_RESPONSE");
    });

  test("an answer with chunked coding and a length is refused before the first erase", async (t) => {
    const fixture = await createFixture(t, { image: null });
    await failsCleanly(fixture, await updateFrom(fixture, bothLengthAndChunked(IMAGE)), "INVALID_RESPONSE");
  });

  test("an empty length is refused as none", async (t) => {
    const fixture = await createFixture(t, { image: null });
    await failsCleanly(fixture, await updateFrom(fixture, badLength(IMAGE, "")), "INVALID_RESPONSE");
  });

  for (const by of [1, 100, 18976, 20000])
    test(`a body ${by} bytes shorter than announced is ESP_ERR_HTTP_INCOMPLETE_DATA, to be tried later`, async (t) => {
      const fixture = await createFixture(t, { image: null });
      const outcome = await updateFrom(fixture, shorter(IMAGE, by));
      await failsCleanly(fixture, outcome, "HTTP_INCOMPLETE_DATA", { ...SLOT, retry: true, says: /bytes missing/ });
    });

  for (const [what, behaviour] of [
    ["in the middle of a chunk", chunkedCutMidChunk(IMAGE, 9000)],
    ["with the data complete but no last chunk", chunkedNoEnd(IMAGE)],
  ] as [string, Behaviour][])
    test(`a chunked body cut ${what} ends by the stall timer, to be tried later`, async (t) => {
      const fixture = await createFixture(t, { image: null });
      const outcome = await patiently(fixture, updateFrom(fixture, behaviour));
      await failsCleanly(fixture, outcome, "HTTP_READ_TIMEOUT", { ...SLOT, retry: true });
    });

  test("a chunked body cut between two chunks is incomplete: the image itself tells", async (t) => {
    const fixture = await createFixture(t, { image: null });
    const outcome = await patiently(fixture, updateFrom(fixture, chunkedCutAtBoundary(IMAGE, 9000)));
    assert.ok(outcome.error);
    const code = outcome.error.retry ? "HTTP_READ_TIMEOUT" : "OTA_VALIDATE_FAILED";
    await failsCleanly(fixture, outcome, code, { ...SLOT, retry: outcome.error.retry });
  });

  for (const size of ["zz", "-5", "ffffffffffffffff"])
    test(`a chunk size of "${size}" never ends in a selected image`, async (t) => {
      const fixture = await createFixture(t, { image: null });
      const outcome = await patiently(fixture, updateFrom(fixture, chunkedBadSize(IMAGE, size)));
      if (outcome.error) {
        assert.ok(outcome.error.message);
        await nothingLeft(fixture);
        fixture.device.restart();
        assert.equal(fixture.device.running, "factory");
      } else await succeeds(fixture, outcome, "ota_0", IMAGE);
    });

  for (const kind of ["length", "chunked"] as const)
    test(`a server that never stops sending (${kind}) is stopped at the end of the slot`, async (t) => {
      const fixture = await createFixture(t, { image: null });
      const head = padTo(IMAGE, 20480);
      const outcome = await updateFrom(fixture, async (req, io) => {
        if (kind === "length") return endless("length")(req, io);
        await io.head(200, { "Transfer-Encoding": "chunked" });
        await io.write(`5000\r\n`);
        await io.write(head);
        await io.write("\r\n");
        for (;;) await io.write(`1000\r\n${"x".repeat(4096)}\r\n`);
      });
      await failsCleanly(fixture, outcome, "INVALID_SIZE", kind === "length" ? {} : SLOT);
    });

  // --- Connections ---------------------------------------------------------------------------------------------------

  const LOST: [string, () => Behaviour, IdfName][] = [
    ["hangs up before the answer", () => closeBeforeAnswer(), "HTTP_CONNECT"],
    ["resets before the answer", () => closeBeforeAnswer("reset"), "HTTP_CONNECT"],
    ["hangs up after the status line", () => closeAfterStatusLine(), "HTTP_CONNECT"],
    ["resets after the status line", () => closeAfterStatusLine("reset"), "HTTP_CONNECT"],
    ["hangs up after the head", () => closeAfterHead(IMAGE), "HTTP_INCOMPLETE_DATA"],
    ["resets after the head", () => closeAfterHead(IMAGE, "reset"), "HTTP_INCOMPLETE_DATA"],
    ["hangs up in the body", () => cutAt(IMAGE, 9000, "close"), "HTTP_INCOMPLETE_DATA"],
    ["resets in the body", () => cutAt(IMAGE, 9000, "reset"), "HTTP_INCOMPLETE_DATA"],
    ["hangs up one byte before the end", () => cutAt(IMAGE, 19999, "close"), "HTTP_INCOMPLETE_DATA"],
    ["ends its lines with a bare LF", () => lfOnly(IMAGE), "HTTP_CONNECT"],
    ["speaks another protocol", () => notHttp(), "HTTP_CONNECT"],
  ];
  for (const [what, behaviour, code] of LOST) {
    test(`a server that ${what} is ESP_ERR_${code}, to be tried later`, async (t) => {
      const fixture = await createFixture(t, { image: null });
      await failsCleanly(fixture, await updateFrom(fixture, behaviour()), code, { ...SLOT, retry: true });
    });
    test(`a TLS server that ${what} is ESP_ERR_${code}, to be tried later`, async (t) => {
      const fixture = await createFixture(t, { image: null, tls: true });
      await failsCleanly(fixture, await updateFrom(fixture, behaviour()), code, { ...SLOT, retry: true });
    });
  }

  for (const tls of [false, true])
    for (const [what, behaviour] of [
      ["before the answer", () => silent()],
      ["after the head", () => closeAfterHead(IMAGE, "stall")],
      ["in the middle of the first 1024 bytes", () => cutAt(IMAGE, 700, "stall")],
      ["inside the body", () => cutAt(IMAGE, 9000, "stall")],
      ["before the last byte", () => cutAt(IMAGE, 19999, "stall")],
    ] as [string, () => Behaviour][])
      test(`a${tls ? " TLS" : ""} server that falls silent ${what} is ESP_ERR_HTTP_READ_TIMEOUT after \`timeout\``, async (t) => {
        const fixture = await createFixture(t, { image: null, tls });
        const start = fixture.device.engine.run("getTime()") as number;
        const outcome = await patiently(fixture, updateFrom(fixture, behaviour(), { timeout: 20000 }));
        const seconds = (fixture.device.engine.run("getTime()") as number) - start;
        assert.ok(seconds >= 20 && seconds < 45, `${seconds} s`);
        await failsCleanly(fixture, outcome, "HTTP_READ_TIMEOUT", { ...SLOT, retry: true, says: /20000/ });
      });

  test("a server that sends its header byte by byte is waited for, as long as it sends", async (t) => {
    const fixture = await createFixture(t, { image: null });
    await succeeds(fixture, await updateFrom(fixture, dribbleHeader(IMAGE, 1)), "ota_0", IMAGE);
  });

  // a byte per second with a timeout of 20 s, a hundred times faster: the engine shows nothing of a header before its end
  test("a header dribbling one byte per second is given up after `timeout`, before the first erase", async (t) => {
    const fixture = await createFixture(t, { image: null });
    const outcome = await updateFrom(fixture, dribbleHeader(IMAGE, 10), { timeout: 200 });
    await failsCleanly(fixture, outcome, "HTTP_READ_TIMEOUT", { retry: true });
  });

  test("a header that never ends does not keep the update alive for ever", async (t) => {
    const fixture = await createFixture(t, { image: null });
    const update = updateFrom(
      fixture,
      async (_req, io) => {
        await io.write("HTTP/1.1 200 OK\r\nX: ");
        for (;;) {
          await io.write("x");
          await io.sleep(5);
        }
      },
      { timeout: 100 },
    );
    await failsCleanly(fixture, await update, "HTTP_READ_TIMEOUT", { retry: true });
  });

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

  test("a redirect to a refused port and to an unknown host are told by the name that could not be reached", async (t) => {
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

  test("close-notify after a complete body is no failure", async (t) => {
    const fixture = await createFixture(t, { image: null, tls: true });
    await succeeds(fixture, await updateFrom(fixture, serveFile(IMAGE)), "ota_0", IMAGE);
  });

  test("a complete body without close-notify is no failure either: bytes are counted", async (t) => {
    const fixture = await createFixture(t, { image: null, tls: true });
    const outcome = await updateFrom(fixture, async (_req, io) => {
      await io.head(200, { "Content-Length": IMAGE.length });
      await io.write(IMAGE);
      await io.sleep(20);
      io.cut();
    });
    await succeeds(fixture, outcome, "ota_0", IMAGE);
  });

  test("close-notify before the body is complete is ESP_ERR_HTTP_INCOMPLETE_DATA", async (t) => {
    const fixture = await createFixture(t, { image: null, tls: true });
    const outcome = await updateFrom(fixture, shorter(IMAGE, 5000));
    await failsCleanly(fixture, outcome, "HTTP_INCOMPLETE_DATA", { ...SLOT, retry: true });
  });

  test("a connection cut without close-notify is ESP_ERR_HTTP_INCOMPLETE_DATA", async (t) => {
    const fixture = await createFixture(t, { image: null, tls: true });
    const outcome = await updateFrom(fixture, tlsCut(IMAGE, 9000));
    await failsCleanly(fixture, outcome, "HTTP_INCOMPLETE_DATA", { ...SLOT, retry: true });
  });

  test("a TLS record that does not authenticate ends the update, nothing of it is written", async (t) => {
    const fixture = await createFixture(t, { image: null, tls: true });
    const outcome = await patiently(fixture, updateFrom(fixture, tlsGarbage(IMAGE, 9000)));
    assert.ok(outcome.error?.retry);
    const code = outcome.error.code === 0x700c ? "HTTP_INCOMPLETE_DATA" : "HTTP_READ_TIMEOUT";
    await failsCleanly(fixture, outcome, code, { ...SLOT, retry: true });
  });

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

  test("SNI is not blamed where there is no TLS, nor where TLS came about", async (t) => {
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
      test(`after a ${how} at byte ${offset} the download goes on with Range from the first byte that is missing`, async (t) => {
        const fixture = await createFixture(t, { image: null });
        const outcome = await patiently(fixture, updateFrom(fixture, cutAt(IMAGE, offset, how), { retries: 1 }));
        await succeeds(fixture, outcome, "ota_0", IMAGE);
        const [first, second] = fixture.server.requests;
        assert.equal(fixture.server.requests.length, 2);
        assert.equal(second.headers.range, `bytes=${first.sent}-`);
        assert.ok(second.headers["if-range"], "with If-Range");
      });

  test("each connection with progress gives new retries: an update over a link that drops every 3000 bytes gets through", async (t) => {
    const fixture = await createFixture(t, { image: null });
    const outcome = await patiently(
      fixture,
      updateFrom(fixture, cutAt(IMAGE, 3000, "close", { times: 99 }), { retries: 1 }),
    );
    await succeeds(fixture, outcome, "ota_0", IMAGE);
    assert.equal(fixture.server.requests.length, 7);
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

  test("a server that says it has ranges and answers 200 begins again at zero", async (t) => {
    const fixture = await createFixture(t, { image: null });
    let first = true;
    const outcome = await patiently(
      fixture,
      updateFrom(
        fixture,
        (req, io) => {
          const answer = first ? cutAt(IMAGE, 9000, "close") : rangeAnswered200(IMAGE);
          first = false;
          return answer(req, io);
        },
        { retries: 1 },
      ),
    );
    await succeeds(fixture, outcome, "ota_0", IMAGE);
  });

  test("a file that was replaced during the download is fetched anew, whole", async (t) => {
    const fixture = await createFixture(t, { image: null });
    const second = newImage("esp32", 77);
    const outcome = await patiently(fixture, updateFrom(fixture, changedEtag(IMAGE, second, 9000), { retries: 2 }));
    await succeeds(fixture, outcome, "ota_0", second);
  });

  test("a file replaced under the same ETag is a mixture of two images, and never selected", async (t) => {
    const fixture = await createFixture(t, { image: null });
    const second = buildImage({ size: IMAGE.length, seed: 78 });
    const outcome = await patiently(
      fixture,
      updateFrom(fixture, differentBytesOnResume(IMAGE, second, 9000), { retries: 2 }),
    );
    await failsCleanly(fixture, outcome, "OTA_VALIDATE_FAILED", SLOT);
  });

  for (const how of ["start", "missing", "unit"] as const)
    test(`a 206 whose Content-Range is wrong (${how}) is refused before the first erase`, async (t) => {
      const fixture = await createFixture(t, { image: null });
      await failsCleanly(fixture, await updateFrom(fixture, wrongContentRange(IMAGE, how)), "INVALID_RESPONSE");
    });

  test("a 206 that promises a longer file than there is ends in an error, not in a selected image", async (t) => {
    const fixture = await createFixture(t, { image: null });
    const outcome = await patiently(fixture, updateFrom(fixture, wrongContentRange(IMAGE, "total")));
    assert.ok(outcome.error);
    await failsCleanly(fixture, outcome, "HTTP_RANGE_NOT_SATISFIABLE", { ...SLOT, retry: true });
  });

  test("a 206 for another range than the one asked for is refused before the first erase", async (t) => {
    const fixture = await createFixture(t, { image: null });
    await failsCleanly(fixture, await updateFrom(fixture, otherRange(IMAGE, 100)), "INVALID_RESPONSE", { says: /100/ });
  });

  test("a multipart answer to a single range is refused before the first erase", async (t) => {
    const fixture = await createFixture(t, { image: null });
    await failsCleanly(fixture, await updateFrom(fixture, multipartRange(IMAGE)), "INVALID_RESPONSE");
  });

  test("a server that answers each range with 416 is refused, naming the status", async (t) => {
    const fixture = await createFixture(t, { image: null });
    const outcome = await updateFrom(fixture, rangeAnswered416(IMAGE));
    await failsCleanly(fixture, outcome, "HTTP_RANGE_NOT_SATISFIABLE", { says: /416/ });
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

  test("retry is told apart: what the network did may pass, what the server said will not", async (t) => {
    const fixture = await createFixture(t, { image: null });
    failsWith(await updateFrom(fixture, closeBeforeAnswer()), "HTTP_CONNECT", true);
    failsWith(await updateFrom(fixture, status(503)), "FAIL", true);
    failsWith(await updateFrom(fixture, status(404)), "FAIL", true);
    failsWith(await updateFrom(fixture, status(403)), "FAIL", false);
    failsWith(await updateFrom(fixture, status(304)), "HTTP_NOT_MODIFIED", false);
    failsWith(await updateFrom(fixture, redirectLoop()), "HTTP_MAX_REDIRECT", false);
    failsWith(await updateFrom(fixture, gzip(IMAGE)), "INVALID_RESPONSE", false);
    touchesNothing(fixture);
  });
});
