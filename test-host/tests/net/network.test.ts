// How an update waits, asks again, asks in pieces, pauses and follows. What a single answer is worth is in
// http.test.ts; how a download goes on after a cut in resume.test.ts.

import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { fsverity } from "../../support/fsverity.ts";
import { buildImage, MIN_SIZE, noise, padTo } from "../../support/images.ts";
import {
  BOUND,
  advanceWhenIdle,
  SECTOR,
  sentBy,
  type HttpSpy,
  waitsOf,
  spyOnHttp,
  wideBoard,
} from "../../support/network.ts";
import { claimsFor, makeKey, signManifest } from "../../support/release.ts";
import type { Device } from "../../sim/device.ts";
import {
  behaves,
  bootsNewImage,
  type Config,
  failsCleanly,
  failsWith,
  IDF,
  keepsOldImage,
  nothingLeft,
  type Outcome,
  type Fixture,
  type FixtureOptions,
  settle,
  createFixture,
  succeeds,
  touchesNothing,
  touchesOnly,
  until,
} from "../../support/fixture.ts";
import * as serve from "../../support/server.ts";
import type { Behaviour } from "../../support/server.ts";
import { CASES, imageOf, outcomesOf } from "./answer-cases.ts";

const IMAGE = buildImage({ size: 20000, seed: 2 });
const LONG = buildImage({ size: 61008, seed: 2 });
const SLOT = { touched: ["ota_0"] };
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const { HTTPS_OTA_IN_PROGRESS, OK } = IDF;
/** Of device time, where waits are measured: what is left of a step after a wait counts for the next one. */
const FINE = 100;
const busy = (code = 503) => serve.status(code);

type Watched = {
  fixture: Fixture;
  seen: HttpSpy;
  /** Device time passes while no connection is open. */
  update(config?: Config, stepMs?: number): Promise<Outcome>;
  /** Device time passes while nothing moves, in stalls too: a wait may seem longer then. */
  endure(config?: Config): Promise<Outcome>;
};

/** A fixture without image, whose device's clock goes on when nothing else does. */
async function watched(t: TestContext, behaviour: Behaviour, options: FixtureOptions = {}): Promise<Watched> {
  const fixture = await createFixture(t, { image: null, ...options });
  fixture.server.on("/fw.bin", behaviour);
  const seen = spyOnHttp(fixture.device.engine);
  const idle = () => fixture.device.engine.accounts().sockets === 0;
  return {
    fixture,
    seen,
    update: (config, stepMs = 1000) =>
      advanceWhenIdle(fixture.device, fixture.server, fixture.update(config), stepMs, idle),
    endure: (config) => advanceWhenIdle(fixture.device, fixture.server, fixture.update(config), 1000),
  };
}

function timesOut(outcome: Outcome, ms: number): void {
  const error = failsWith(outcome, "TIMEOUT", true);
  assert.match(error.message, new RegExp(`${ms}`));
}

/** Refused or not, nothing has changed that counts, and the same device can do it. */
async function laterUpdateWorks(fixture: Fixture, image = IMAGE): Promise<void> {
  await nothingLeft(fixture);
  keepsOldImage(fixture);
  fixture.remember();
  fixture.server.on("/later", serve.serveFile(image));
  await succeeds(fixture, await fixture.update({ url: fixture.server.url("/later") }), "ota_0", image);
}

/** Most of a test is waiting for the network. */
const AT_ONCE = { concurrency: 8 };

describe("a bad network", AT_ONCE, () => {
  // --- Which answers are asked for again -----------------------------------------------------------------------------------

  for (const code of [408, 425, 429, 500, 502, 503, 504, 507, 599])
    test(`${code} is asked again after a wait`, async (t) => {
      const { fixture, seen, update } = await watched(t, serve.busyThen(code, 1, serve.serveFile(IMAGE)));
      const outcome = await update({ retries: 1 });
      assert.equal(fixture.server.requests.length, 2);
      assert.ok(waitsOf(seen)[0] >= 500, `${waitsOf(seen)} ms`);
      await succeeds(fixture, outcome, "ota_0", IMAGE);
    });

  for (const code of [400, 401, 403, 404, 405, 410, 451])
    test(`${code} is final, at the start and in the middle of a download`, async (t) => {
      const { fixture, update } = await watched(t, serve.status(code, { "Retry-After": 1 }));
      const retry = code === 404 || code === 410;
      await failsCleanly(fixture, await update({ retries: 5 }), "FAIL", { retry, says: new RegExp(`${code}`) });
      assert.equal(fixture.server.requests.length, 1);
      fixture.remember();
      fixture.server.on("/fw.bin", serve.sequence(serve.cutAt(IMAGE, 9000, "close"), serve.status(code)));
      const outcome = await update({ retries: 5 });
      assert.equal(fixture.server.requests.length, 3);
      failsWith(outcome, "FAIL", retry);
      touchesOnly(fixture, SLOT.touched);
      await laterUpdateWorks(fixture);
    });

  test("a stall, a reset, a refusal and a busy server in turn are all gone on from", async (t) => {
    const behaviour = serve.sequence(
      busy(),
      serve.closeBeforeAnswer("reset"),
      serve.silent(),
      serve.cutAt(IMAGE, 5000, "stall"),
      busy(429),
      serve.cutAt(IMAGE, 5000, "reset"),
      serve.closeAfterStatusLine(),
      serve.cutAt(IMAGE, 5000, "close"),
      serve.serveFile(IMAGE),
    );
    const { fixture, seen, endure } = await watched(t, behaviour);
    await succeeds(fixture, await endure({ retries: 3, timeout: 4000 }), "ota_0", IMAGE);
    assert.equal(seen.bytes, IMAGE.length, "the device took a byte twice");
  });

  test("TLS connections that are cut in every way are gone on from", async (t) => {
    const behaviour = serve.sequence(
      serve.tlsCut(IMAGE, 5000),
      serve.cutAt(IMAGE, 4000, "close"),
      serve.tlsGarbage(IMAGE, 3000),
      serve.cutAt(IMAGE, 2000, "reset"),
      serve.serveFile(IMAGE),
    );
    const { fixture, seen, endure } = await watched(t, behaviour, { tls: true });
    await succeeds(fixture, await endure({ retries: 2, timeout: 4000 }), "ota_0", IMAGE);
    assert.equal(seen.bytes, IMAGE.length, "the device took a byte twice");
  });

  for (const [what, behaviour] of [
    ["in chunks", serve.serveFile(IMAGE, { chunked: true, ranges: false })],
    ["in one chunk", serve.chunkedHuge(IMAGE)],
  ] as [string, Behaviour][])
    test(`a body ${what}, of unknown length, that ends with TLS's close-notify is complete`, async (t) => {
      const { fixture, update } = await watched(t, behaviour, { tls: true });
      await succeeds(fixture, await update({ retries: 0 }), "ota_0", IMAGE);
    });

  // --- Retry-After ---------------------------------------------------------------------------------------------------------

  const LONGEST_WAIT = 5 * MINUTE;

  /** The wait after one busy answer with these fields. */
  async function waitAfter(t: TestContext, headers: serve.Headers, code = 503): Promise<number> {
    const behaviour = serve.sequence(serve.status(code, headers), serve.serveFile(IMAGE));
    const { fixture, seen, endure } = await watched(t, behaviour);
    await succeeds(fixture, await endure({ retries: 1 }), "ota_0", IMAGE);
    return waitsOf(seen)[0];
  }

  const DATE = "Sun, 01 Nov 2026 12:00:00 GMT";
  for (const code of [408, 425, 429, 500, 503])
    for (const [form, headers] of [
      ["seconds", { "Retry-After": 42 }],
      ["a date, by the server's own clock", { Date: DATE, "Retry-After": "Sun, 01 Nov 2026 12:00:42 GMT" }],
      [
        "a date across midnight",
        { DATE: "Sat, 31 Oct 2026 23:59:50 GMT", "retry-after": "Sun, 01 Nov 2026 00:00:32 GMT" },
      ],
    ] as [string, serve.Headers][])
      test(`${code} with Retry-After as ${form}: it waits as long, and not much longer`, async (t) => {
        const ms = await waitAfter(t, headers, code);
        assert.ok(ms >= 42_000 && ms < 43_000, `${ms} ms`);
      });

  for (const [what, headers] of [
    ["a day", { "Retry-After": 86400 }],
    ["ten digits of seconds", { "Retry-After": 4294967295 }],
    ["a date in ten years", { Date: DATE, "Retry-After": "Sun, 01 Nov 2036 12:00:42 GMT" }],
  ] as [string, serve.Headers][])
    test(`Retry-After of ${what} is bounded`, async (t) => {
      const ms = await waitAfter(t, headers);
      assert.ok(ms >= MINUTE && ms <= LONGEST_WAIT + 1000, `${ms} ms`);
    });

  for (const [what, headers] of [
    ["nothing", { "Retry-After": "" }],
    ["zero", { "Retry-After": 0 }],
    ["a word", { "Retry-After": "soon" }],
    ["a negative number", { "Retry-After": -5 }],
    ["a fraction", { "Retry-After": "1e3" }],
    ["a number beyond all numbers", { "Retry-After": "9".repeat(40) }],
    ["a date that has passed", { Date: DATE, "Retry-After": "Sun, 01 Nov 2026 11:00:00 GMT" }],
    ["a date, from a server without a clock", { "Retry-After": "Sun, 01 Nov 2026 12:00:42 GMT" }],
    ["a date, with a clock that is none", { Date: "today", "Retry-After": "Sun, 01 Nov 2026 12:00:42 GMT" }],
  ] as [string, serve.Headers][])
    test(`Retry-After with ${what} leaves the usual wait`, async (t) => {
      const ms = await waitAfter(t, headers);
      assert.ok(ms >= 500 && ms <= 1100, `${ms} ms`);
    });

  test("Retry-After in the middle of a download is kept too, and is not a stall", async (t) => {
    const behaviour = serve.sequence(
      serve.cutAt(IMAGE, 9000, "close"),
      serve.status(429, { "Retry-After": 120 }),
      serve.serveFile(IMAGE),
    );
    const { fixture, seen, update } = await watched(t, behaviour);
    await succeeds(fixture, await update({ retries: 2, timeout: 5000 }), "ota_0", IMAGE);
    assert.ok(waitsOf(seen)[1] >= 120_000);
  });
});

// --- Waits ---------------------------------------------------------------------------------------------------------------

test("the waits double from 1 to 30 seconds, and jitter never makes them longer", async (t) => {
  const { fixture, seen, update } = await watched(t, busy());
  await failsCleanly(fixture, await update({ retries: 9 }, FINE), "FAIL", { retry: true });
  const waits = waitsOf(seen);
  assert.equal(waits.length, 9);
  t.diagnostic(`waits: ${waits.map((ms) => (ms / 1000).toFixed(1)).join(" ")} s`);
  waits.forEach((ms, i) => {
    const most = Math.min(1000 * 2 ** i, 32_000);
    assert.ok(ms >= most / 2 && ms <= most + 2 * FINE, `wait ${i + 1}: ${ms} ms, wanted ${most / 2} to ${most}`);
  });
});

/** The waits of a device with this serial number, to 100 ms: as many as `retries`. */
async function waitsWith(t: TestContext, serial: string, retries: number): Promise<number[]> {
  const { fixture, seen, update } = await watched(t, busy(), { engine: { serial } });
  await failsCleanly(fixture, await update({ retries }, FINE), "FAIL", { retry: true });
  return waitsOf(seen).map((ms) => Math.round(ms / FINE));
}

test("devices that lose the server at once come back apart, by their serial numbers", async (t) => {
  const serials = ["240ac4aa-0001", "240ac4aa-0002", "240ac4aa-0004", "7cdfa1e0-1f2c"];
  const waits: number[][] = [];
  for (const serial of serials) waits.push(await waitsWith(t, serial, 5));
  t.diagnostic(waits.map((list) => list.map((n) => n / 10).join(" ")).join(" | "));
  // Math.random() starts with the same numbers on every board, so nothing but the serial number tells them apart
  for (let round = 2; round < 5; round++)
    assert.ok(
      new Set(waits.map((list) => list[round])).size >= 3,
      `round ${round}: ${waits.map((list) => list[round])}`,
    );
});

test("one device waits the same again", async (t) => {
  const [first, second] = [await waitsWith(t, "240ac4aa-0001", 5), await waitsWith(t, "240ac4aa-0001", 5)];
  for (let round = 0; round < 5; round++)
    assert.ok(Math.abs(first[round] - second[round]) <= 2, `${first} | ${second}`);
});

test("progress brings the waits back to a second, and the count of retries to zero", async (t) => {
  const cut = serve.cutAt(IMAGE, 5000, "close", { times: 99 });
  const { fixture, seen, update } = await watched(
    t,
    serve.sequence(busy(), busy(), cut, busy(), busy(), cut, busy(), busy(), cut),
  );
  await succeeds(fixture, await update({ retries: 3 }, FINE), "ota_0", IMAGE);
  const waits = waitsOf(seen).map(Math.round);
  // two busy answers, a second and two; then progress, and a second again
  [1000, 2000, 1000, 2000, 4000, 1000, 2000, 4000, 1000].forEach((most, i) => {
    assert.ok(waits[i] <= most + 4 * FINE, `${waits} ms`);
  });
});

test("`retries` failures without progress end it, however much there was before", async (t) => {
  const { fixture, update } = await watched(t, serve.sequence(serve.cutAt(IMAGE, 15000, "close"), busy()));
  await failsCleanly(fixture, await update({ retries: 4 }), "FAIL", { retry: true, ...SLOT });
  // the cut connection made progress, the wait behind it is the first
  assert.equal(fixture.server.requests.length, 5);
  await laterUpdateWorks(fixture);
});

test("an answer without a byte of body is not progress", async (t) => {
  const { fixture, update } = await watched(t, serve.closeAfterHead(IMAGE, "close", { times: 99 }));
  await failsCleanly(fixture, await update({ retries: 3 }), "HTTP_INCOMPLETE_DATA", { retry: true });
  assert.equal(fixture.server.requests.length, 4);
});

test("one byte is progress: twenty connections of a byte each, with one retry", async (t) => {
  const behaviour = serve.firstTimes(20, serve.cutAt(IMAGE, 1, "close", { times: 99 }), serve.serveFile(IMAGE));
  const { fixture, update } = await watched(t, behaviour);
  await succeeds(fixture, await update({ retries: 1 }), "ota_0", IMAGE);
  assert.equal(fixture.server.requests.at(-1)?.headers.range, "bytes=20-");
});

for (const retries of [0, 1, 5])
  test(`without ranges a break at the same byte is given up with ${retries} retries`, async (t) => {
    const { fixture, update } = await watched(t, serve.cutAt(IMAGE, 9000, "close", { ranges: false, times: 999 }));
    const outcome = await update({ retries });
    assert.ok(outcome.error);
    assert.ok(fixture.server.requests.length <= retries + 2, `${fixture.server.requests.length} requests`);
    touchesOnly(fixture, SLOT.touched);
    await laterUpdateWorks(fixture);
  });

test("a server without ranges that comes further each time is read to the end", async (t) => {
  const steps = [3000, 6000, 9000, 12000, 15000, 18000, 20000];
  const { fixture, update } = await watched(
    t,
    serve.sequence(...steps.map((bytes) => serve.cutAt(IMAGE, bytes, "close", { ranges: false }))),
  );
  await succeeds(fixture, await update({ retries: 1 }), "ota_0", IMAGE);
});

describe("a bad network", AT_ONCE, () => {
  // --- Deadline ------------------------------------------------------------------------------------------------------------

  const clock = (fixture: Fixture) => (fixture.device.engine.run("getTime()") as number) * 1000;

  for (const [what, behaviour, config] of [
    ["a server that is busy without end", () => busy(), { retries: 999 }],
    ["a server that asks for five minutes", () => serve.status(503, { "Retry-After": 300 }), { retries: 9 }],
    ["a server that falls silent", () => serve.silent(), { timeout: 50_000 }],
    ["a stall in the body", () => serve.cutAt(IMAGE, 9000, "stall", { times: 99 }), { timeout: 50_000 }],
    ["connections that all break off", () => serve.closeBeforeAnswer(), { retries: 999 }],
  ] as [string, () => Behaviour, Config][])
    test(`\`deadline\` ends ${what} with ESP_ERR_TIMEOUT, in time`, async (t) => {
      const { fixture, endure } = await watched(t, behaviour());
      const from = clock(fixture);
      const outcome = await endure({ ...config, deadline: 30_000 });
      const ms = clock(fixture) - from;
      timesOut(outcome, 30_000);
      assert.ok(ms >= 30_000 && ms < 33_000, `${ms} ms`);
      touchesOnly(fixture, SLOT.touched);
      behaves(fixture);
      await laterUpdateWorks(fixture);
    });

  test("`deadline` ends a download that is merely slow", async (t) => {
    const { fixture } = await watched(t, serve.dribbleBody(IMAGE, 5, 64));
    timesOut(await fixture.update({ deadline: 200 }), 200);
    touchesOnly(fixture, SLOT.touched);
    behaves(fixture);
    await laterUpdateWorks(fixture);
  });

  test("`deadline` passes while the caller pauses: the next perform says so", async (t) => {
    const { fixture } = await watched(t, serve.serveFile(LONG));
    const { engine, ota } = fixture.device;
    const handle: any = await engine.call(ota.begin(fixture.config({ deadline: MINUTE })));
    await engine.call(handle.perform());
    await engine.advance(2 * MINUTE);
    timesOut({ ...(await settle(fixture.device, handle.perform())), events: [] }, MINUTE);
    await laterUpdateWorks(fixture);
  });

  test("an update that ends before its `deadline` leaves no timer behind", async (t) => {
    const { fixture } = await watched(t, serve.serveFile(IMAGE));
    const outcome = await fixture.update({ deadline: MINUTE });
    await succeeds(fixture, outcome, "ota_0", IMAGE);
  });

  test("a refused update leaves no timer of its `deadline` behind either", async (t) => {
    const { fixture } = await watched(t, serve.status(404));
    failsWith(await fixture.update({ deadline: MINUTE }), "FAIL", true);
    await laterUpdateWorks(fixture);
  });

  async function signedConfig(fixture: Fixture, image: Uint8Array, behaviour?: (bytes: Uint8Array) => Behaviour) {
    const key = await makeKey({ exponent: 3 });
    const manifest = new Uint8Array(Buffer.from(await signManifest(claimsFor(image), key), "latin1"));
    fixture.server.on("/m.jws", (behaviour ?? serve.serveFile)(manifest));
    return { url: fixture.server.url("/m.jws"), keys: [key.jwk] };
  }

  test("`deadline` covers the manifest and the image together", async (t) => {
    const { fixture, endure } = await watched(t, serve.cutAt(IMAGE, 9000, "stall", { times: 99 }));
    const slow = (bytes: Uint8Array) => serve.sequence(busy(), busy(), serve.serveFile(bytes));
    const config = await signedConfig(fixture, IMAGE, slow);
    const from = clock(fixture);
    timesOut(await endure({ ...config, retries: 9, timeout: 8000, deadline: 20_000 }), 20_000);
    assert.ok(clock(fixture) - from < 23_000);
    await laterUpdateWorks(fixture);
  });

  test("`deadline` ends checkForUpdate too", async (t) => {
    const { fixture } = await watched(t, busy());
    const config = await signedConfig(fixture, IMAGE, () => busy());
    const check = fixture.outcome(
      fixture.device.ota.checkForUpdate(fixture.config({ ...config, retries: 99, deadline: 5000 })),
    );
    const outcome = await advanceWhenIdle(fixture.device, fixture.server, check, 1000);
    timesOut(outcome, 5000);
    await nothingLeft(fixture);
    touchesNothing(fixture);
  });

  test("a manifest is asked for again like an image", async (t) => {
    const { fixture, endure } = await watched(t, serve.serveFile(LONG));
    const behaviour = (bytes: Uint8Array) =>
      serve.sequence(busy(), serve.cutAt(bytes, 100, "reset"), serve.silent(), serve.serveFile(bytes));
    const config = await signedConfig(fixture, LONG, behaviour);
    await succeeds(fixture, await endure({ ...config, retries: 2, timeout: 5000 }), "ota_0", LONG);
    assert.equal(fixture.server.requests[2].headers.range, "bytes=100-");
  });

  // --- Ranged requests -----------------------------------------------------------------------------------------------------

  function checkRanges(requests: readonly serve.Request[], length: number, size: number, from = 0): void {
    const asked = requests.map(({ range }) => range);
    let at = from;
    for (const range of asked) {
      assert.ok(range, "a request without Range");
      assert.equal(range.start, at);
      const last = at + size - 1;
      // a bound behind the end of the file is legal, and the first request cannot know better
      assert.ok(range.end === last || (last >= length && range.end === length - 1), `${range.start}-${range.end}`);
      at = Math.min(last, length - 1) + 1;
    }
    assert.equal(at, length, "the ranges do not reach the end");
  }

  for (const size of [500, 1000, 1023, 1024, 1025, 4095, 4096, 5000, 8192, 16384, 61007, 61008, 61009, 1_000_000])
    test(`maxRequestSize ${size}: one request per range, bounds exact`, async (t) => {
      const { fixture, seen, update } = await watched(t, serve.serveFile(LONG));
      const outcome = await update({ maxRequestSize: size });
      checkRanges(fixture.server.requests, LONG.length, size);
      assert.equal(fixture.server.requests.length, Math.ceil(LONG.length / size));
      assert.equal(fixture.server.sent, LONG.length, "a byte was sent twice");
      assert.equal(seen.bytes, LONG.length);
      await succeeds(fixture, outcome, "ota_0", LONG);
    });

  for (const size of [7, 100])
    test(`maxRequestSize ${size} is silly and works`, async (t) => {
      const image = buildImage({ size: MIN_SIZE, seed: 4 });
      const { fixture, update } = await watched(t, serve.serveFile(image));
      const outcome = await update({ maxRequestSize: size });
      assert.equal(fixture.server.requests.length, Math.ceil(image.length / size));
      await succeeds(fixture, outcome, "ota_0", image);
    });

  for (const options of [{}, { chunked: true }, { etag: "" }, { etag: 'W/"weak"' }] as serve.FileOptions[])
    test(`ranged requests to a server with ${JSON.stringify(options)}`, async (t) => {
      const { fixture, update } = await watched(t, serve.serveFile(LONG, options));
      const outcome = await update({ maxRequestSize: 9000 });
      checkRanges(fixture.server.requests, LONG.length, 9000);
      await succeeds(fixture, outcome, "ota_0", LONG);
    });

  for (const [what, behaviour] of [
    ["knows no ranges", serve.serveFile(LONG, { ranges: false })],
    ["knows no ranges and chunks", serve.serveFile(LONG, { ranges: false, chunked: true })],
    ["says that it has ranges and answers 200", serve.rangeAnswered200(LONG)],
    ["answers with all at once as 206", serve.unasked206(LONG)],
  ] as [string, Behaviour][])
    test(`ranged requests to a server that ${what}: the whole file in one`, async (t) => {
      const { fixture, update } = await watched(t, behaviour);
      const outcome = await update({ maxRequestSize: 9000 });
      assert.equal(fixture.server.requests.length, 1);
      await succeeds(fixture, outcome, "ota_0", LONG);
    });

  test("after less than the range the next request begins behind what came", async (t) => {
    const short: Behaviour = (req, io) => {
      const { start = 0, end = null } = req.range ?? {};
      return serve.serveFile(LONG)({ ...req, range: { start, end: Math.min(end ?? 1e9, start + 2999) } }, io);
    };
    const { fixture, update } = await watched(t, short);
    const outcome = await update({ maxRequestSize: 9000 });
    assert.deepEqual(
      fixture.server.requests.map(({ headers }) => headers.range),
      Array.from({ length: Math.ceil(LONG.length / 3000) }, (_, i) => `bytes=${3000 * i}-${3000 * i + 8999}`),
    );
    await succeeds(fixture, outcome, "ota_0", LONG);
  });

  for (const [what, config, options, ranges] of [
    ["in one", {}, {}, ["bytes=0-", "bytes=61008-"]],
    ["in parts of 30000 bytes", {}, { most: 30000 }, ["bytes=0-", "bytes=30000-", "bytes=60000-", "bytes=61008-"]],
    ["in parts that divide it", {}, { most: 20336 }, ["bytes=0-", "bytes=20336-", "bytes=40672-", "bytes=61008-"]],
    ["in chunks", {}, { chunked: true }, ["bytes=0-", "bytes=61008-"]],
    ["without ETag", {}, { etag: "" }, ["bytes=0-", "bytes=61008-"]],
    ["and behind its end says 416 only", {}, { bare: true }, ["bytes=0-", "bytes=61008-"]],
    [
      "to ranges that are asked for",
      { maxRequestSize: 30000 },
      {},
      ["bytes=0-29999", "bytes=30000-59999", "bytes=60000-89999", "bytes=61008-91007"],
    ],
  ] as [string, Config, Parameters<typeof serve.unknownTotal>[1], string[]][]) {
    test(`a server that tells no total and answers ${what}: read to its end`, async (t) => {
      const { fixture, seen, update } = await watched(t, serve.unknownTotal(LONG, options));
      const outcome = await update(config);
      assert.deepEqual(
        fixture.server.requests.map(({ headers }) => headers.range),
        ranges,
      );
      // the last chunk's frame comes behind the end of the body
      if (!options?.chunked) assert.equal(seen.bytes, LONG.length);
      await succeeds(fixture, outcome, "ota_0", LONG);
    });

    test(`the same for an image that a manifest names, and for the manifest: ${what}`, async (t) => {
      const { fixture, update } = await watched(t, serve.unknownTotal(LONG, options));
      const signed = await signedConfig(fixture, LONG, (bytes) => serve.unknownTotal(bytes, options));
      const outcome = await update({ ...signed, ...config });
      assert.deepEqual(
        fixture.server.requests.filter(({ path }) => path === "/fw.bin").map(({ headers }) => headers.range),
        ranges,
      );
      await succeeds(fixture, outcome, "ota_0", LONG);
    });
  }

  test("a server that tells no total and never ends is stopped at the end of the slot", async (t) => {
    const { fixture, update } = await watched(t, serve.unknownTotal(padTo(LONG, 300_000), { most: 20_000 }));
    await failsCleanly(fixture, await update(), "INVALID_SIZE", SLOT);
  });

  test("without a total, and broken off in each part: no byte is asked for twice", async (t) => {
    const { fixture, seen, update } = await watched(t, serve.unknownTotal(LONG, { most: 30000, cut: 7000 }));
    const outcome = await update({ retries: 1 });
    assert.equal(seen.bytes, LONG.length);
    await succeeds(fixture, outcome, "ota_0", LONG);
  });

  test("a total that the first part tells and the others do not is kept", async (t) => {
    const { fixture, update } = await watched(t, serve.sequence(serve.serveFile(LONG), serve.unknownTotal(LONG)));
    const outcome = await update({ maxRequestSize: 30000 });
    assert.equal(fixture.server.requests.length, 3);
    await succeeds(fixture, outcome, "ota_0", LONG);
  });

  test("a cut in a range: the next range begins at the byte that is missing", async (t) => {
    const { fixture, seen, update } = await watched(
      t,
      serve.sequence(serve.serveFile(LONG), serve.cutAt(LONG, 3000, "close"), serve.serveFile(LONG)),
    );
    const outcome = await update({ maxRequestSize: 9000, retries: 1 });
    assert.deepEqual(
      fixture.server.requests.slice(0, 4).map(({ headers }) => headers.range),
      ["bytes=0-8999", "bytes=9000-17999", "bytes=12000-20999", "bytes=21000-29999"],
    );
    assert.equal(seen.bytes, LONG.length);
    await succeeds(fixture, outcome, "ota_0", LONG);
  });

  test("a chunked body that lacks only its end is asked for no byte again", async (t) => {
    const { fixture, seen, endure } = await watched(t, serve.sequence(serve.chunkedNoEnd(LONG), serve.serveFile(LONG)));
    await succeeds(fixture, await endure({ retries: 1 }), "ota_0", LONG);
    assert.deepEqual([fixture.server.requests.length, seen.bytes], [2, LONG.length]);
  });

  test("a length that the server takes back when all of it is there ends the update", async (t) => {
    const { fixture, endure } = await watched(t, serve.wrongContentRange(LONG, "total"));
    failsWith(await endure({ maxRequestSize: 30000 }), "HTTP_RANGE_NOT_SATISFIABLE", true);
    assert.ok(fixture.server.requests.length < 10, `${fixture.server.requests.length} requests`);
  });

  test("a file that changes between two ranges is fetched again, once, in ranges", async (t) => {
    const other = padTo(buildImage({ size: 50000, seed: 31 }), 50123);
    const first = serve.serveFile(LONG);
    const { fixture, update } = await watched(t, serve.sequence(first, first, first, serve.serveFile(other)));
    await succeeds(fixture, await update({ maxRequestSize: 9000 }), "ota_0", other);
  });

  test("ranged requests of a resumed download begin at the sector", async (t) => {
    const slot = noise(5, 0x10000).fill(0xff, 6 * SECTOR, 7 * SECTOR);
    slot.set(LONG.subarray(0, 6 * SECTOR));
    const { fixture, update } = await watched(t, serve.serveFile(LONG), { load: { ota_0: slot } });
    const outcome = await update({ maxRequestSize: 9000, digest: `fsverity-sha256:${fsverity(LONG)}` });
    assert.equal(fixture.server.requests[0].headers.range, "bytes=0-8999");
    checkRanges(fixture.server.requests.slice(1), LONG.length, 9000, 5 * SECTOR);
    await succeeds(fixture, outcome, "ota_0", LONG);
  });

  test("a manifest in ranges", async (t) => {
    const { fixture, update } = await watched(t, serve.serveFile(LONG));
    const outcome = await update({ ...(await signedConfig(fixture, LONG)), maxRequestSize: 300 });
    assert.ok(fixture.server.requests.filter(({ path }) => path === "/m.jws").length >= 2);
    await succeeds(fixture, outcome, "ota_0", LONG);
  });

  test("a range that is answered by a busy server is asked for again", async (t) => {
    const good = serve.serveFile(LONG);
    const { fixture, update } = await watched(t, serve.sequence(good, busy(429), good, busy(500), busy(), good));
    const outcome = await update({ maxRequestSize: 20000, retries: 2 });
    assert.deepEqual(
      fixture.server.requests.map(({ range }) => range?.start),
      [0, 20000, 20000, 40000, 40000, 40000, 60000],
    );
    await succeeds(fixture, outcome, "ota_0", LONG);
  });

  /** Whatever the device does keeps it for longer than any of the module's short timers. */
  function slowDown({ engine }: Device): void {
    const slow = engine.run(`(function (block) {
      var real = setTimeout;
      setTimeout = function (callback, ms) { var id = real(callback, ms); if (ms < 500) block(); return id; };
    })`) as (block: () => void) => void;
    slow(() => engine.block(500));
  }

  for (const [what, config, behaviour] of [
    ["the next range is asked for", { maxRequestSize: 9000 }, serve.serveFile(LONG)],
    ["a redirect is followed", {}, serve.redirectChain(4, serve.serveFile(LONG))],
    ["a connection is lost", { retries: 3 }, serve.sequence(serve.cutAt(LONG, 20000, "reset"), serve.serveFile(LONG))],
  ] as [string, Config, Behaviour][])
    test(`the connection before is closed when ${what}: two TLS sessions do not fit`, async (t) => {
      const { fixture, seen, update } = await watched(t, behaviour);
      slowDown(fixture.device);
      await succeeds(fixture, await update(config), "ota_0", LONG);
      const together = seen.made.filter(({ beside }) => beside > 0).length;
      assert.equal(together, 0, `${together} of ${seen.made.length} requests were made beside an open connection`);
    });

  for (const [what, slot, config] of [
    ["the next range", 0, { maxRequestSize: 9000 }],
    ["a resumption", 6, {}],
  ] as [string, number, Config][])
    test(`${what} is never asked for in a data listener: the engine cannot bear it`, async (t) => {
      const held = new Uint8Array(0x10000).fill(0xff);
      held.set(LONG.subarray(0, slot * SECTOR));
      const { fixture, seen, update } = await watched(t, serve.serveFile(LONG), { load: { ota_0: held } });
      await succeeds(fixture, await update({ ...config, digest: `fsverity-sha256:${fsverity(LONG)}` }), "ota_0", LONG);
      assert.equal(seen.made.filter(({ fromData }) => fromData).length, 0);
    });

  test("the connection before is closed when a resumed download asks for its Range", async (t) => {
    const slot = new Uint8Array(0x10000).fill(0xff);
    slot.set(LONG.subarray(0, 6 * SECTOR));
    const { fixture, seen, update } = await watched(t, serve.serveFile(LONG), { load: { ota_0: slot } });
    await succeeds(fixture, await update({ digest: `fsverity-sha256:${fsverity(LONG)}` }), "ota_0", LONG);
    assert.deepEqual(
      seen.made.map(({ beside }) => beside),
      [0, 0],
    );
  });

  // --- Pauses --------------------------------------------------------------------------------------------------------------

  const BIG = padTo(buildImage({ size: 299_008, seed: 12 }), 300_001);

  type Paused = { held: number[]; pushed: number[] };

  /** Performs to the end, and waits `ms` after each sector of `places`. What was held and what was on its way at each. */
  async function withPauses(watched: Watched, places: number[], ms: number): Promise<Paused> {
    const { fixture, seen } = watched;
    const { engine, ota } = fixture.device;
    const paused: Paused = { held: [], pushed: [] };
    const handle: any = await engine.call(ota.begin(fixture.config({ deadline: 0 })));
    for (let outcome: unknown = HTTPS_OTA_IN_PROGRESS, sector = 0; outcome !== OK; sector++) {
      if (places.includes(sector)) {
        await until("no connection is open", () => engine.accounts().sockets === 0);
        await engine.advance(1100);
        // only the watchdog of the lock is left
        assert.deepEqual(engine.accounts(), { sockets: 0, timers: 1, listeners: 1 });
        await until("the server has noticed", () => fixture.server.openSockets() === 0);
        paused.held.push(seen.bytes - handle.getImageLenRead());
        paused.pushed.push(fixture.server.sent - seen.bytes);
        await engine.advance(ms);
      }
      outcome = await advanceWhenIdle(fixture.device, fixture.server, engine.call(handle.perform()));
    }
    assert.equal(await engine.call(handle.finish()), OK);
    return paused;
  }

  for (const [what, ms, places, tls] of [
    ["a minute in the middle", MINUTE, [37], false],
    ["a minute in the middle, over TLS,", MINUTE, [37], true],
    ["an hour at several places", HOUR, [0, 1, 2, 20, 21, 50, 70], false],
    ["an hour at several places, over TLS,", HOUR, [0, 1, 2, 20, 21, 50, 70], true],
  ] as [string, number, number[], boolean][])
    test(`a caller that pauses for ${what} holds less than 8 KB and takes no byte twice`, async (t) => {
      const run = await watched(t, serve.serveFile(BIG), { board: wideBoard(), tls });
      const { fixture, seen } = run;
      const { held, pushed } = await withPauses(run, places, ms);
      t.diagnostic(`held ${held} bytes; the server had pushed ${pushed} more`);
      for (const bytes of held) assert.ok(bytes < 8192, `${bytes} bytes were held`);
      const again = fixture.server.sent - BIG.length;
      const flying = fixture.server.sent - seen.bytes;
      assert.ok(again <= places.length * BOUND + flying, `${again} bytes again, ${flying} in flight`);
      assert.equal(seen.bytes, BIG.length, "the device took a byte twice");
      touchesOnly(fixture, ["ota_0", "otadata"]);
      behaves(fixture);
      await nothingLeft(fixture);
      bootsNewImage(fixture, "ota_0", BIG);
    });

  test("a caller that pauses while ranges are asked for holds no more", async (t) => {
    const run = await watched(t, serve.serveFile(BIG), { board: wideBoard() });
    const { fixture, seen } = run;
    const { engine, ota } = fixture.device;
    const handle: any = await engine.call(ota.begin(fixture.config({ maxRequestSize: 6000, deadline: 0 })));
    let outcome: unknown = HTTPS_OTA_IN_PROGRESS;
    while (outcome !== OK) {
      await engine.advance(MINUTE);
      assert.ok(seen.bytes - handle.getImageLenRead() < 8192);
      outcome = await advanceWhenIdle(fixture.device, fixture.server, engine.call(handle.perform()));
    }
    assert.equal(await engine.call(handle.finish()), OK);
    assert.equal(seen.bytes, BIG.length);
    bootsNewImage(fixture, "ota_0", BIG);
  });

  test("a server without ranges goes on as long as each pause is further on", async (t) => {
    const { fixture } = await watched(t, serve.serveFile(BIG, { ranges: false }), { board: wideBoard() });
    const { engine, ota } = fixture.device;
    const handle: any = await engine.call(ota.begin(fixture.config({ retries: 2 })));
    let outcome: unknown = HTTPS_OTA_IN_PROGRESS;
    for (let goal = 8 * SECTOR; outcome !== OK; goal += 8 * SECTOR) {
      while (outcome !== OK && handle.getImageLenRead() < goal) outcome = await engine.call(handle.perform());
      if (outcome !== OK) await until("no connection is open", () => engine.accounts().sockets === 0);
    }
    assert.equal(await engine.call(handle.finish()), OK);
    assert.ok(fixture.server.requests.length > 5, `${fixture.server.requests.length} requests`);
    bootsNewImage(fixture, "ota_0", BIG);
  });

  test("a server that is gone after the pause is an error of that perform", async (t) => {
    const { fixture } = await watched(t, serve.sequence(serve.serveFile(LONG), serve.status(410)));
    const { engine, ota } = fixture.device;
    const digest = `fsverity-sha256:${fsverity(LONG)}`;
    const handle: any = await engine.call(ota.begin(fixture.config({ digest, deadline: 0 })));
    // a later update goes on at the last whole sector
    for (let sector = 0; sector < 3; sector++) await engine.call(handle.perform());
    await until("no connection is open", () => engine.accounts().sockets === 0);
    await engine.advance(HOUR);
    let last: Omit<Outcome, "events"> = {};
    while (!last.error) last = await settle(fixture.device, handle.perform());
    failsWith(last, "FAIL", true);
    fixture.server.on("/fw.bin", serve.serveFile(LONG));
    await succeeds(fixture, await fixture.update({ digest }), "ota_0", LONG);
    assert.ok((fixture.server.requests.at(-1)?.range?.start ?? 0) > 0);
  });

  // --- Redirects -----------------------------------------------------------------------------------------------------------

  /** As pre-signed storage links are: two kilobytes with everything in them that must not be decoded or encoded again. */
  const QUERY =
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20261101%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=20261101T120000Z" +
    "&sig=a+b/c==%20%7E~!$'()*,;:@[]{}|\\^`%zz%&&=?/.././/" +
    `&X-Amz-Security-Token=${Array.from(noise(6, 700), (byte) => `%${byte.toString(16).padStart(2, "0")}`)
      .join("")
      .slice(0, 2100)}`;

  const EVERYWHERE = ["absolute", "other port", "other host"] as const;
  for (const where of EVERYWHERE)
    test(`a URL of 2 KB behind a redirect is asked for byte for byte: ${where}`, async (t) => {
      const { fixture, update } = await watched(t, serve.status(404));
      const other =
        where === "absolute"
          ? fixture.server
          : await serve.startServer({ name: where === "other host" ? "127.0.0.1" : "localhost" });
      if (other !== fixture.server) t.after(() => other.close());
      assert.ok(QUERY.length > 2000);
      const path = `/bucket/a%20b//c/./d/%2e%2e/fw.bin?${QUERY}`;
      other.fallback = serve.serveFile(IMAGE);
      fixture.server.on("/fw.bin", serve.redirect(302, other.url(path)));
      const outcome = await update();
      assert.equal(other.requests.at(-1)?.path, path);
      await succeeds(fixture, outcome, "ota_0", IMAGE);
    });

  test("a relative redirect keeps a query of 2 KB byte for byte", async (t) => {
    const { fixture, update } = await watched(t, serve.status(404));
    fixture.server.on("/dir/fw.bin", serve.redirect(307, `../x/y.bin?${QUERY}`));
    fixture.server.fallback = serve.serveFile(IMAGE);
    const outcome = await update({ url: fixture.server.url("/dir/fw.bin") });
    assert.equal(fixture.server.requests.at(-1)?.path, `/x/y.bin?${QUERY}`);
    await succeeds(fixture, outcome, "ota_0", IMAGE);
  });

  test("the caller's own URL of 2 KB is asked for byte for byte", async (t) => {
    const { fixture, update } = await watched(t, serve.serveFile(IMAGE));
    const outcome = await update({ url: `${fixture.server.url("/fw.bin")}?${QUERY}` });
    assert.equal(fixture.server.requests[0].path, `/fw.bin?${QUERY}`);
    await succeeds(fixture, outcome, "ota_0", IMAGE);
  });

  test("five hops across hosts and schemes: credentials go to the first origin only", async (t) => {
    const { fixture, update } = await watched(t, serve.status(404), { tls: true });
    const port = await serve.startServer({ tls: true });
    const host = await serve.startServer({ tls: true, name: "127.0.0.1" });
    for (const one of [port, host]) t.after(() => one.close());
    fixture.server.on("/fw.bin", serve.redirect(301, port.url("/1?a=1")));
    port.on("/1", serve.redirect(302, host.url("/2")));
    host.on("/2", serve.redirect(303, "three"));
    host.on("/three", serve.redirect(307, fixture.server.url("/4")));
    fixture.server.on("/4", serve.redirect(308, port.url("/5")));
    port.on("/5", serve.serveFile(IMAGE));
    const url = fixture.server.url("/fw.bin").replace("//", "//me:s%2Fcret@");
    const outcome = await update({ url, headers: { "X-Key": "k" } });
    const basic = `Basic ${Buffer.from("me:s/cret").toString("base64")}`;
    const [first, back] = fixture.server.requests;
    assert.deepEqual([first.headers.authorization, first.headers["x-key"]], [basic, "k"]);
    assert.deepEqual([back.headers.authorization, back.headers["x-key"]], [undefined, undefined], back.path);
    for (const { rawHead } of [...port.requests, ...host.requests])
      assert.ok(!/authorization|x-key|s%2fcret|s\/cret/i.test(rawHead), rawHead);
    assert.deepEqual(
      [fixture.server, port, host].map((one) => one.requests.length),
      [2, 2, 2],
    );
    await succeeds(fixture, outcome, "ota_0", IMAGE);
  });

  test("credentials of a manifest's URL go to an image only on the same origin", async (t) => {
    const { fixture, update } = await watched(t, serve.serveFile(LONG));
    const config = await signedConfig(fixture, LONG);
    const url = config.url.replace("//", "//me:pw@");
    await succeeds(fixture, await update({ ...config, url }), "ota_0", LONG);
    assert.ok(fixture.server.requests.every(({ headers }) => headers.authorization?.startsWith("Basic ")));
  });

  test("a loop over three hosts ends, and says how many redirects there were", async (t) => {
    const { fixture, update } = await watched(t, serve.status(404));
    const other = await serve.startServer({ name: "127.0.0.1" });
    t.after(() => other.close());
    fixture.server.on("/fw.bin", serve.redirect(302, other.url("/back")));
    other.on("/back", serve.redirect(302, fixture.server.url("/fw.bin")));
    const outcome = await update({ retries: 5 });
    assert.equal(fixture.server.requests.length + other.requests.length, 6);
    await failsCleanly(fixture, outcome, "HTTP_MAX_REDIRECT", { says: /5/ });
  });

  test("a redirect that never ends its own body is followed, too", async (t) => {
    const { fixture, update } = await watched(t, async (req, io) => {
      await io.head(302, { Location: `${req.origin}/there`, "Content-Length": 100_000_000 });
      for (;;) await io.write(new Uint8Array(4096));
    });
    fixture.server.on("/there", serve.serveFile(IMAGE));
    await succeeds(fixture, await update(), "ota_0", IMAGE);
  });

  test("each range goes to the first URL and through its redirect", async (t) => {
    const { fixture, update } = await watched(t, serve.redirect(302, "/there?x=1"));
    fixture.server.on("/there", serve.serveFile(LONG));
    const outcome = await update({ maxRequestSize: 20000 });
    const paths = fixture.server.requests.map(({ path, headers }) => `${path} ${headers.range}`);
    const wanted = [0, 20000, 40000, 60000].flatMap((at) =>
      ["/fw.bin", "/there?x=1"].map((path) => `${path} bytes=${at}-${at + 19999}`),
    );
    assert.deepEqual(paths, wanted);
    await succeeds(fixture, outcome, "ota_0", LONG);
  });

  /** A place that gives out links to be used once; a used one is 403. */
  function expiring(
    fixture: Fixture,
    image: Uint8Array,
    answer: (token: number) => Behaviour = () => serve.serveFile(image),
  ) {
    let token = 0;
    const fresh = new Set<string>();
    fixture.server.on("/fw.bin", (req, io) => {
      fresh.add(`/signed?token=${++token}`);
      return serve.redirect(302, `/signed?token=${token}`)(req, io);
    });
    fixture.server.on("/signed", (req, io) =>
      (fresh.delete(req.path) ? answer(Number(req.path.split("=")[1])) : serve.status(403))(req, io),
    );
  }

  test("a link that expires between two ranges: the next begins at the first URL again", async (t) => {
    const { fixture, update } = await watched(t, serve.status(404));
    expiring(fixture, LONG);
    const outcome = await update({ maxRequestSize: 10000 });
    assert.ok(
      fixture.server.requests.every(({ path }, i) => path === (i & 1 ? `/signed?token=${(i + 1) / 2}` : "/fw.bin")),
    );
    await succeeds(fixture, outcome, "ota_0", LONG);
  });

  test("a link that expires at a cut: the reconnection begins at the first URL again", async (t) => {
    const { fixture, update } = await watched(t, serve.status(404));
    expiring(fixture, LONG, (token) => (token < 4 ? serve.cutAt(LONG, 9000, "close") : serve.serveFile(LONG)));
    await succeeds(fixture, await update({ retries: 1 }), "ota_0", LONG);
  });

  test("a link that expires in a pause or when resumed: the first URL again", async (t) => {
    const run = await watched(t, serve.status(404), { board: wideBoard() });
    expiring(run.fixture, BIG);
    await withPauses(run, [3, 40], HOUR);
    await nothingLeft(run.fixture);
    bootsNewImage(run.fixture, "ota_0", BIG);
  });

  test("a redirect to another file each time: fetched again once, then an error", async (t) => {
    const { fixture, update } = await watched(t, serve.status(404));
    const images = [31, 32, 33, 34].map((seed) => buildImage({ size: 50000 + 16 * seed, seed }));
    expiring(fixture, LONG, (token) => serve.cutAt(images[token % 4], 9000, "close", { times: 9 }));
    const outcome = await update({ retries: 3 });
    await failsCleanly(fixture, outcome, "INVALID_RESPONSE", { ...SLOT, retry: true });
  });

  // --- Memory --------------------------------------------------------------------------------------------------------------

  test("too little memory is refused before a request; the second number is enough", async (t) => {
    const poor = await createFixture(t, { engine: { freeVars: 777 } });
    const error = failsWith(await poor.update(), "NO_MEM", true);
    const [free, needed] = (error.message.match(/\d+/g) ?? []).map(Number);
    assert.equal(free, 777);
    assert.ok(needed > 777 && needed < 4000, error.message);
    assert.equal(poor.server.requests.length, 0);
    await nothingLeft(poor);
    const short = await createFixture(t, { engine: { freeVars: needed - 1 } });
    failsWith(await short.update(), "NO_MEM", true);
    const enough = await createFixture(t, { engine: { freeVars: needed } });
    await succeeds(enough, await enough.update(), "ota_0");
  });

  // --- After every failure -------------------------------------------------------------------------------------------------

  const failing = (tls: boolean) =>
    CASES.filter(
      (one) => !outcomesOf(one).includes("") && one.inVirtual === undefined && one.only !== (tls ? "http" : "https"),
    );

  for (const tls of [false, true])
    test(`failures in turn on a running device${tls ? ", over TLS" : ""}: nothing is left, and it updates`, async (t) => {
      const fixture = await createFixture(t, { image: null, tls });
      for (const [index, one] of failing(tls).entries()) {
        const { what } = one;
        fixture.server.on("/case", one.behaviour(imageOf(index)));
        // what the case before left in the slot would be resumed
        fixture.device.flash.load(new Uint8Array(0x10000).fill(0xff), fixture.device.row("ota_0").offset);
        const config = { url: fixture.server.url("/case"), timeout: 20_000, retries: 0, ...one.config };
        const update = fixture.update(config);
        // only where the device waits: a clock that is ahead of the sockets makes a stall of a reset that has not come yet
        const waits = !one.paced && outcomesOf(one).includes("HTTP_READ_TIMEOUT");
        const outcome = await (waits ? advanceWhenIdle(fixture.device, fixture.server, update, 1000) : update);
        assert.ok(outcome.error, `${what}: it succeeded`);
        const name = outcome.error.name.replace(/^ESP_(ERR_)?/, "");
        assert.ok(outcomesOf(one).includes(name), `${what}: ${outcome.error.name}: ${outcome.error.message}`);
        touchesOnly(fixture, SLOT.touched);
        assert.deepEqual(fixture.device.slot("factory"), fixture.mark.slot, what);
        await nothingLeft(fixture).catch((error) => {
          throw new Error(`${what}: ${error.message}`);
        });
      }
      behaves(fixture);
      fixture.server.on("/good", serve.serveFile(IMAGE));
      await succeeds(fixture, await fixture.update({ url: fixture.server.url("/good") }), "ota_0", IMAGE);
    });

  test("nothing is fetched that is not needed: every byte is sent once", async (t) => {
    const { fixture, seen, update } = await watched(t, serve.serveFile(BIG), { board: wideBoard() });
    await succeeds(fixture, await update(), "ota_0", BIG);
    assert.deepEqual([sentBy(fixture.server.requests), seen.bytes], [BIG.length, BIG.length]);
  });
});
