// An interpreter whose TLS buffer is smaller than the records that servers send (builds for IDF 5: 8 KB), and that cannot ask
// for smaller ones: the connection ends with mbedTLS's error at the first record that does not fit, often before any answer.
// tls-records-engine.test.ts has a real interpreter with such a buffer, and real servers.

import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { fsverity } from "../../support/fsverity.ts";
import { buildImage } from "../../support/images.ts";
import { advanceWhenIdle, SECTOR, type HttpSpy, waitsOf, spyOnHttp } from "../../support/network.ts";
import { claimsFor, makeKey, signManifest } from "../../support/release.ts";
import {
  type Config,
  failsCleanly,
  type Outcome,
  type Fixture,
  createFixture,
  succeeds,
} from "../../support/fixture.ts";
import * as serve from "../../support/server.ts";
import type { Behaviour } from "../../support/server.ts";

/** A record above the buffer: of mbedTLS up to 2.16 MBEDTLS_ERR_SSL_INVALID_RECORD, of later ones _BAD_INPUT_DATA. */
const INVALID_RECORD = -29184;
const BAD_INPUT_DATA = -28928;
const BUFFER = { bytes: 8192, error: INVALID_RECORD };
const FIRST = 7168;
const LEAST = 896;
const LONG = buildImage({ size: 61008, seed: 2 });

type Small = {
  fixture: Fixture;
  seen: HttpSpy;
  ranges(path?: string): (string | undefined)[];
  update(config?: Config): Promise<Outcome>;
};

/** A device with a buffer of 8 KB. No retries, unless a test says so: what is learned is not a failure. */
async function small(t: TestContext, behaviour: Behaviour, tlsBuffer = BUFFER): Promise<Small> {
  const fixture = await createFixture(t, { image: null, tls: true, engine: { tlsBuffer } });
  fixture.server.on("/fw.bin", behaviour);
  return {
    fixture,
    seen: spyOnHttp(fixture.device.engine),
    ranges: (path = "/fw.bin") =>
      fixture.server.requests.filter((one) => one.path === path).map(({ headers }) => headers.range),
    update: (config = {}) =>
      advanceWhenIdle(fixture.device, fixture.server, fixture.update({ retries: 0, ...config }), 1000),
  };
}

function rangesOf(size: number, from = 0, length = LONG.length): string[] {
  const count = Math.ceil((length - from) / size);
  return Array.from({ length: count }, (_, i) => `bytes=${from + size * i}-${from + size * (i + 1) - 1}`);
}

async function signed(fixture: Fixture, behaviour: (bytes: Uint8Array) => Behaviour): Promise<Config> {
  const key = await makeKey({ exponent: 3 });
  // a long one, as with two signatures; unknown claims are ignored
  const claims = claimsFor(LONG, { note: "x".repeat(2500) });
  const manifest = new Uint8Array(Buffer.from(await signManifest(claims, key), "latin1"));
  fixture.server.on("/m.jws", behaviour(manifest));
  return { url: fixture.server.url("/m.jws"), keys: [key.jwk] };
}

describe("a TLS buffer of 8 KB", { concurrency: 8 }, () => {
  for (const [name, error] of Object.entries({ INVALID_RECORD, BAD_INPUT_DATA }))
    for (const [what, behaviour] of [
      ["its head alone, then records of 16 KB", serve.serveFile(LONG)],
      ["head and body in records of 16 KB", serve.fullRecords(LONG)],
    ] as [string, Behaviour][])
      test(`a server that sends ${what} (${name}) is asked for ranges that fit, at once`, async (t) => {
        const { fixture, seen, ranges, update } = await small(t, behaviour, { bytes: 8192, error });
        const outcome = await update();
        assert.deepEqual(ranges(), ["bytes=0-", ...rangesOf(FIRST)]);
        for (const ms of waitsOf(seen)) assert.ok(ms < 1500, `it waited ${ms} ms`);
        assert.equal(seen.bytes, LONG.length, "a byte was taken twice");
        await succeeds(fixture, outcome, "ota_0", LONG);
      });

  for (const [padding, size] of [
    [500, FIRST],
    [2000, FIRST / 2],
    [5000, FIRST / 4],
    [7000, FIRST / 8],
  ])
    test(`with ${padding} bytes of headers the ranges have ${size} bytes`, async (t) => {
      const { fixture, ranges, update } = await small(t, serve.fullRecords(LONG, { padding }));
      const outcome = await update();
      const tried = [FIRST, FIRST / 2, FIRST / 4, FIRST / 8].filter((one) => one > size);
      assert.deepEqual(ranges(), ["bytes=0-", ...tried.map((one) => `bytes=0-${one - 1}`), ...rangesOf(size)]);
      await succeeds(fixture, outcome, "ota_0", LONG);
    });

  for (const [what, behaviour, status] of [
    ["headers that do not fit", serve.fullRecords(LONG, { padding: 9000 }), undefined],
    ["no ranges", serve.serveFile(LONG, { ranges: false }), 200],
    ["no ranges, and head and body in one", serve.fullRecords(LONG, { ranges: false }), undefined],
    ["ranges that it only promises", serve.rangeAnswered200(LONG), 200],
  ] as [string, Behaviour, number | undefined][])
    test(`a server with ${what} is refused after the smallest range, with what to do`, async (t) => {
      const { fixture, seen, ranges, update } = await small(t, behaviour);
      const outcome = await update({ retries: 5 });
      const tried = [FIRST, FIRST / 2, FIRST / 4, LEAST].map((size) => `bytes=0-${size - 1}`);
      assert.deepEqual(ranges(), ["bytes=0-", ...tried]);
      for (const ms of waitsOf(seen)) assert.ok(ms < 1500, `it waited ${ms} ms`);
      assert.equal(outcome.error?.status, status);
      await failsCleanly(fixture, outcome, "NOT_SUPPORTED", { says: /TLS records.*896 bytes.*http: with keys/ });
    });

  test("records that begin small: as many bytes as came are asked for from then on", async (t) => {
    const { fixture, seen, ranges, update } = await small(t, serve.growingRecords(LONG));
    const outcome = await update();
    // 1 + 2 + ... + 8 KB
    const size = 36 * 1024;
    assert.deepEqual(ranges(), ["bytes=0-", ...rangesOf(size, size)]);
    assert.equal(seen.bytes, LONG.length, "a byte was taken twice");
    await succeeds(fixture, outcome, "ota_0", LONG);
  });

  test("records that begin small, but above a range: ranges of 7 KB from the break", async (t) => {
    const { fixture, ranges, update } = await small(t, serve.growingRecords(LONG, { step: 8 }));
    const outcome = await update();
    assert.deepEqual(ranges(), ["bytes=0-", ...rangesOf(FIRST, 1024)]);
    await succeeds(fixture, outcome, "ota_0", LONG);
  });

  test("records that begin small, without ranges: refused after a few requests", async (t) => {
    const { fixture, ranges, update } = await small(t, serve.growingRecords(LONG, { ranges: false }));
    const outcome = await update({ retries: 5 });
    assert.ok(ranges().length <= 7, `${ranges()}`);
    await failsCleanly(fixture, outcome, "NOT_SUPPORTED", { touched: ["ota_0"], says: /TLS records/ });
  });

  for (const size of [FIRST, 4000, 500])
    test(`maxRequestSize ${size} forces ranges that fit: no record is ever too large`, async (t) => {
      const { fixture, ranges, update } = await small(t, serve.fullRecords(LONG));
      const outcome = await update({ maxRequestSize: size });
      assert.deepEqual(ranges(), rangesOf(size));
      await succeeds(fixture, outcome, "ota_0", LONG);
    });

  test("maxRequestSize above the buffer comes down to a range that fits", async (t) => {
    const { fixture, ranges, update } = await small(t, serve.fullRecords(LONG));
    const outcome = await update({ maxRequestSize: 20000 });
    assert.deepEqual(ranges(), ["bytes=0-19999", ...rangesOf(FIRST)]);
    await succeeds(fixture, outcome, "ota_0", LONG);
  });

  test("a manifest that does not fit teaches the size, and its image begins with it", async (t) => {
    const { fixture, ranges, update } = await small(t, serve.fullRecords(LONG));
    const config = await signed(fixture, (bytes) => serve.fullRecords(bytes, { padding: 4500 }));
    const outcome = await update(config);
    const tried = [FIRST, FIRST / 2].map((size) => `bytes=0-${size - 1}`);
    const { length } = fixture.server.requests.filter(({ path }) => path === "/m.jws");
    assert.deepEqual(ranges("/m.jws"), ["bytes=0-", ...tried, ...rangesOf(FIRST / 4).slice(0, length - 3)]);
    assert.ok(length > 4, `${length} requests`);
    assert.deepEqual(ranges(), rangesOf(FIRST / 4));
    await succeeds(fixture, outcome, "ota_0", LONG);
  });

  test("an image at another server learns for itself what its manifest did not need", async (t) => {
    const { fixture, ranges, update } = await small(t, serve.fullRecords(LONG));
    const outcome = await update(await signed(fixture, (bytes) => serve.serveFile(bytes)));
    assert.deepEqual(ranges("/m.jws"), ["bytes=0-"]);
    assert.deepEqual(ranges(), ["bytes=0-", ...rangesOf(FIRST)]);
    await succeeds(fixture, outcome, "ota_0", LONG);
  });

  test("the next update begins without what the last one learned", async (t) => {
    const { fixture, ranges, update } = await small(t, serve.fullRecords(LONG));
    assert.ifError((await update()).error);
    fixture.device.restart();
    const asked = ranges().length;
    assert.ifError((await fixture.update({ retries: 0 })).error);
    assert.equal(ranges()[asked], "bytes=0-");
  });

  test("a resumed download learns where it goes on", async (t) => {
    const slot = new Uint8Array(0x10000).fill(0xff);
    slot.set(LONG.subarray(0, 6 * SECTOR));
    const { fixture, ranges, update } = await small(t, serve.fullRecords(LONG));
    fixture.device.flash.load(slot, fixture.device.row("ota_0").offset);
    const outcome = await update({ digest: `fsverity-sha256:${fsverity(LONG)}` });
    assert.deepEqual(ranges(), ["bytes=0-", `bytes=0-${FIRST - 1}`, ...rangesOf(FIRST, 5 * SECTOR)]);
    await succeeds(fixture, outcome, "ota_0", LONG);
  });

  test("through a redirect, with a cut between: cuts are failures, records are not", async (t) => {
    const { fixture, ranges, update } = await small(
      t,
      serve.sequence(serve.fullRecords(LONG), serve.closeBeforeAnswer("reset"), serve.fullRecords(LONG)),
    );
    fixture.server.on("/moved", serve.redirect(302, "/fw.bin"));
    const outcome = await update({ url: fixture.server.url("/moved"), retries: 1 });
    assert.deepEqual(ranges(), ["bytes=0-", `bytes=0-${FIRST - 1}`, ...rangesOf(FIRST)]);
    await succeeds(fixture, outcome, "ota_0", LONG);
  });

  test("a record that does not authenticate is a failure, and no size is learned of it", async (t) => {
    const { ranges, update } = await small(
      t,
      serve.sequence(serve.tlsGarbage(LONG, 3000), serve.fullRecords(LONG, { etag: "" })),
    );
    await update({ retries: 1, timeout: 4000 });
    assert.match(ranges()[1] ?? "", /^bytes=\d+-$/);
  });

  test("with a buffer of 16 KB nothing changes", async (t) => {
    const { fixture, ranges, update } = await small(t, serve.fullRecords(LONG), {
      bytes: 16384,
      error: INVALID_RECORD,
    });
    const outcome = await update();
    assert.deepEqual(ranges(), ["bytes=0-"]);
    await succeeds(fixture, outcome, "ota_0", LONG);
  });
});
