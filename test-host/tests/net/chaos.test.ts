// Property: whatever a server does, in whatever order, and whenever the power goes, the device starts the old image or
// the new one, whole, and never anything else; and as soon as the network behaves an update works. Random sequences of
// the misbehaviours of server.ts, each from a seed of its own: CHAOS_SEED=n replays one, CHAOS_RUNS=n runs n of them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { stubConvolve } from "../../support/bundle.ts";
import { createDevice, type Device } from "../../sim/device.ts";
import { fsverity } from "../../support/fsverity.ts";
import { buildImage, mutations, noise, padTo } from "../../support/images.ts";
import {
  attempt,
  type Attempt,
  createRandom,
  cutPowerAt,
  advanceWhenIdle,
  stubCrc32,
  type Random,
  SECTOR,
  seedFrom,
} from "../../support/network.ts";
import { inParallel } from "../../support/parallel.ts";
import { claimsFor, type Key, makeKey, signManifest } from "../../support/release.ts";
import { bootsFrom, IDF, nothingHeld, oldImage, SMALL } from "../../support/fixture.ts";
import * as serve from "../../support/server.ts";
import type { Behaviour, Cut, FileOptions, Server } from "../../support/server.ts";

const { CHAOS_SEED, CHAOS_RUNS } = process.env;
const RUNS = Number(CHAOS_RUNS ?? (CHAOS_SEED === undefined ? 200 : 1));
const AT_ONCE = 20;
const SLOT = 0x10000;
const OLD = oldImage();
const NEW = padTo(buildImage({ size: 30000, seed: 2, descriptor: { version: "2.0.2" } }), 30111);
/** Somebody else's, and a valid one. */
const FOREIGN = buildImage({ size: 26000, seed: 3, descriptor: { version: "6.6.6" } });
const LIES = [
  FOREIGN,
  mutations.flipPayloadBit(NEW),
  mutations.checksum(NEW),
  mutations.truncateHalf(NEW),
  padTo(NEW, 40000),
  buildImage({ chip: "esp32c3", size: 30000 }),
  noise(8, 30000),
  NEW.subarray(0, 900),
].map((bytes) => new Uint8Array(bytes));

let plain: Server;
let tls: Server;
let key: Key;
let manifest: Uint8Array;

before(async () => {
  plain = await serve.startServer();
  tls = await serve.startServer({ tls: true });
  key = await makeKey({ exponent: 3 });
  manifest = new Uint8Array(Buffer.from(await signManifest(claimsFor(NEW), key), "latin1"));
});
after(async () => {
  await plain.close();
  await tls.close();
});

// --- What a server may do ------------------------------------------------------------------------------------------------

type Maker = (random: Random, bytes: Uint8Array) => Behaviour;
const CUTS: Cut[] = ["close", "close", "reset", "reset", "tls", "stall"];
const within = (random: Random, bytes: Uint8Array) => random.below(bytes.length);

function options(random: Random): FileOptions & { times?: number } {
  return {
    ranges: random.next() < 0.8,
    ...(random.next() < 0.3 ? { etag: random.pick(["", '"a"', '"b"', 'W/"a"']) } : {}),
    chunked: random.next() < 0.2,
    chunkSize: random.pick([300, 1000, 5000, 16384]),
  };
}

const MAKERS: Record<string, Maker> = {
  right: (random, bytes) => serve.serveFile(bytes, options(random)),
  late: (random, bytes) => serve.delayed(random.below(10), serve.serveFile(bytes)),
  cut: (random, bytes) => serve.cutAt(bytes, within(random, bytes), random.pick(CUTS), options(random)),
  cutAtSector: (random, bytes) =>
    serve.cutAt(bytes, SECTOR * random.below(8) + random.below(3), random.pick(CUTS), options(random)),
  lie: (random) => serve.serveFile(random.pick(LIES), options(random)),
  lieUnderOneEtag: (random) => serve.serveFile(random.pick(LIES), { etag: '"a"' }),
  cutLie: (random) => serve.cutAt(random.pick(LIES), 1 + random.below(25000), "close", options(random)),
  status: (random) =>
    serve.status(random.pick([100, 204, 301, 304, 400, 401, 403, 404, 408, 410, 416, 425, 429, 500, 503])),
  busy: (random) =>
    serve.status(random.pick([429, 503]), { "Retry-After": random.pick(["1", "9", "9999", "soon", "-1"]) }),
  empty416: () => serve.status(416, { "Content-Range": "bytes */0" }),
  html: () => serve.html(),
  interim: (_, bytes) => serve.interim(103, serve.serveFile(bytes)),
  redirected: (random, bytes) => serve.redirectChain(random.below(7), serve.serveFile(bytes)),
  redirectLoop: () => serve.redirectLoop(),
  redirectNowhere: () => serve.redirectNowhere(),
  redirectAway: (random) =>
    serve.redirect(
      302,
      random.pick(["ftp://localhost/", "http://nowhere.invalid/", "//", "?", "https://localhost:1/"]),
    ),
  silent: () => serve.silent(),
  noAnswer: (random) => serve.closeBeforeAnswer(random.pick(CUTS)),
  statusLine: (random) => serve.closeAfterStatusLine(random.pick(CUTS)),
  headOnly: (random, bytes) => serve.closeAfterHead(bytes, random.pick(CUTS)),
  keepAlive: (_, bytes) => serve.keepAliveNeverCloses(bytes),
  noLength: (random, bytes) =>
    serve.noLength(bytes, { ranges: random.next() < 0.5, version: random.pick(["1.0", "1.1"]) }),
  shorter: (random, bytes) => serve.shorter(bytes, 1 + within(random, bytes)),
  longer: (random, bytes) => serve.longer(bytes, 1 + random.below(9000)),
  badLength: (random, bytes) =>
    serve.badLength(bytes, random.pick(["", "-1", "zz", "0x10", "1e3", "9".repeat(20), "1, 1"])),
  negativeLength: (_, bytes) => serve.negativeLength(bytes),
  duplicateLength: (random, bytes) => serve.duplicateLength(bytes, random.pick(["different", "same", "spellings"])),
  lengthAndChunked: (random, bytes) => serve.bothLengthAndChunked(bytes, random.below(3)),
  endless: (random) => serve.endless(random.pick(["length", "chunked", "close"])),
  oneByteChunks: (_, bytes) => serve.chunkedOneByte(bytes),
  chunkExtensions: (random, bytes) => serve.chunkedExtensions(bytes, 1 + random.below(5000)),
  hugeChunk: (_, bytes) => serve.chunkedHuge(bytes),
  badChunk: (random, bytes) => serve.chunkedBadSize(bytes, random.pick(["zz", "-5", "ffffffffffffffff", ""])),
  cutInChunk: (random, bytes) => serve.chunkedCutMidChunk(bytes, within(random, bytes), random.pick(CUTS)),
  cutBetweenChunks: (random, bytes) => serve.chunkedCutAtBoundary(bytes, within(random, bytes), random.pick(CUTS)),
  noLastChunk: (_, bytes) => serve.chunkedNoEnd(bytes),
  gzip: (_, bytes) => serve.gzip(bytes),
  gzipChunked: (_, bytes) => serve.transferEncodingGzipChunked(bytes),
  bigHeader: (random, bytes) => serve.bigHeader(bytes, 1 + random.below(20000), random.pick(["one", "many"])),
  fullRecords: (random, bytes) => serve.fullRecords(bytes, { padding: random.below(9000) }),
  growingRecords: (random, bytes) => serve.growingRecords(bytes, { step: 1 + random.below(15) }),
  spelling: (random, bytes) => serve.headerCase(bytes, random.pick(["lower", "upper"])),
  lfOnly: (_, bytes) => serve.lfOnly(bytes),
  notHttp: () => serve.notHttp(),
  garbageRecord: (random, bytes) => serve.tlsGarbage(bytes, within(random, bytes)),
  wrongContentRange: (random, bytes) =>
    serve.wrongContentRange(bytes, random.pick(["start", "total", "missing", "unit"])),
  unknownTotal: (random, bytes) => serve.unknownTotal(bytes, { most: random.pick([700, 5000, 1e6]) }),
  otherRange: (random, bytes) => serve.otherRange(bytes, random.pick([-1, 1, 536, 4096])),
  whole200: (_, bytes) => serve.rangeAnswered200(bytes),
  all416: (_, bytes) => serve.rangeAnswered416(bytes),
  unasked206: (_, bytes) => serve.unasked206(bytes),
  multipart: (_, bytes) => serve.multipartRange(bytes),
  slowHeader: (random, bytes) => serve.dribbleHeader(bytes, random.below(3)),
  slowBody: (random, bytes) => serve.dribbleBody(bytes, 1, 500 + random.below(5000)),
  tlsCut: (random, bytes) => serve.tlsCut(bytes, within(random, bytes)),
  asksToWait: (random, bytes) =>
    serve.retryAfter(random.pick([0, 7, 4000, new Date(0)]), 1, serve.serveFile(bytes), random.pick([429, 503])),
  replaced: (random, bytes) => serve.changedEtag(random.pick(LIES), bytes, 1 + random.below(25000)),
  replacedInSecret: (random, bytes) => serve.differentBytesOnResume(random.pick(LIES), bytes, 1 + random.below(25000)),
};

/** The plan's behaviours answer one request each; then the server is a good one. */
function planned(random: Random, bytes: Uint8Array, length: number, names: string[]): Behaviour {
  const plan: Behaviour[] = [];
  for (let i = 0; i < length; i++) {
    // a good answer often enough that a sequence comes somewhere
    const name = random.next() < 0.25 ? random.pick(["right", "cut", "cut"]) : random.pick(Object.keys(MAKERS));
    names.push(name);
    plan.push(MAKERS[name](random, bytes));
  }
  return serve.sequence(...plan, serve.serveFile(bytes));
}

// --- One sequence --------------------------------------------------------------------------------------------------------

const TRUSTS = ["keys", "digest", "digest", "insecure"] as const;
type Trust = (typeof TRUSTS)[number];

/** What is insecure is judged by one byte of checksum: garbage right behind a part of the image would pass now and then. */
function slotBefore(random: Random, trust: Trust): Uint8Array {
  const slot = random.pick([noise(random.below(1000), SLOT), new Uint8Array(SLOT).fill(0xff)]).slice();
  const sectors = random.below(9);
  if (random.next() < 0.5) slot.set(random.pick([NEW, FOREIGN]).subarray(0, sectors * SECTOR));
  if (random.next() < 0.7 || trust === "insecure") slot.fill(0xff, sectors * SECTOR, (sectors + 1) * SECTOR);
  return slot;
}

function configOf(random: Random, trust: Trust, server: Server, seed: number): object {
  return {
    url: server.url(`/${seed}/${trust === "keys" ? "m.jws" : "fw.bin"}`),
    ...(trust === "keys" ? { keys: [key.jwk] } : {}),
    ...(trust === "digest" ? { digest: `fsverity-sha256:${fsverity(NEW)}` } : {}),
    ...(trust === "insecure" ? { insecure: true } : {}),
    timeout: 2000,
    retries: random.below(4),
    maxRequestSize: random.pick([0, 0, 0, 1500, 9000]),
    ...(random.next() < 0.2 ? { deadline: 1000 + random.below(60_000) } : {}),
  };
}

function turnOn(device: Device, trust: Trust): void {
  device.powerCycle();
  if (trust === "keys") stubConvolve(device.engine);
  stubCrc32(device.engine);
}

/** By hand, with pauses between the steps, and now and then given up. */
async function stepwise(device: Device, server: Server, config: object, random: Random): Promise<Attempt> {
  const { engine, ota } = device;
  const end = 200;
  try {
    const beginning = engine.call<any>(ota.begin(engine.run(`(${JSON.stringify(config)})`)));
    const handle = await advanceWhenIdle(device, server, beginning);
    for (let step = 0; step < end; step++) {
      const outcome = await advanceWhenIdle(device, server, engine.call(handle.perform()));
      if (outcome === IDF.OK) return { result: await engine.call(handle.finish()) };
      if (random.next() < 0.05) {
        handle.abort();
        return { error: { code: 0, name: "aborted", message: "", retry: true } };
      }
      if (random.next() < 0.3) await engine.advance(random.pick([100, 5000, 3_600_000]));
    }
  } catch (error: any) {
    if (error?.retry === undefined && !/the device is off|the engine has been stopped|power off/.test(error?.message))
      throw error;
    return { error };
  }
  return assert.fail(`no end after ${end} steps`);
}

const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a.subarray(0, b.length), b) === 0;

/** What would start now is the old image or a new one, whole; gives its label. */
function startsSomethingWhole(device: Device, trust: Trust): string {
  assert.ok(same(device.slot("factory"), OLD), "the running image was changed");
  const label = bootsFrom(device, device.flash.snapshot());
  if (label === "factory") return label;
  assert.equal(label, "ota_0", "nothing starts");
  const allowed = trust === "insecure" ? [NEW, ...LIES] : [NEW];
  assert.ok(
    allowed.some((image) => same(device.slot("ota_0"), image)),
    "what starts is neither the old image nor the new one",
  );
  return label;
}

async function runSequence(seed: number, tell: (text: string) => void): Promise<void> {
  const random = createRandom(seed);
  const trust = random.pick(TRUSTS);
  const server = random.next() < 0.2 ? tls : plain;
  const device = createDevice({ board: SMALL, images: { factory: OLD } });
  device.flash.load(slotBefore(random, trust), device.row("ota_0").offset);
  const names: string[] = [];
  server.on(`/${seed}/fw.bin`, planned(random, NEW, 1 + random.below(12), names));
  server.on(`/${seed}/m.jws`, planned(random, manifest, random.below(4), names));
  tell(`${trust} over ${server === tls ? "TLS" : "TCP"}: ${names.join(", ")}`);
  const regions = ["ota_0", "otadata", "storage"].map(device.row);

  for (let round = 0; round < 4; round++) {
    turnOn(device, trust);
    const config = configOf(random, trust, server, seed);
    let ops = random.below(60);
    const cut =
      random.next() < 0.35 ? cutPowerAt(device, () => ops-- === 0, random.pick(["before", "torn", "after"])) : null;
    const from = device.flash.log.length;
    const { error } =
      random.next() < 0.25
        ? await stepwise(device, server, config, random)
        : await advanceWhenIdle(device, server, attempt(device, config));
    device.flash.onOp = null;
    tell(`round ${round}: ${cut?.happened ? "power cut" : error ? `${error.name}: ${error.message}` : "success"}`);
    for (const op of device.flash.log.slice(from))
      assert.ok(
        regions.some(({ offset, size }) => op.addr >= offset && op.addr + op.length <= offset + size),
        "it strayed",
      );
    const { offset } = device.row("storage");
    assert.ok(
      !device.flash.log.slice(from).some(({ kind, addr }) => kind === "erase" && addr >= offset),
      "it compacted",
    );
    const starts = startsSomethingWhole(device, trust);
    if (cut?.happened) {
      if (starts === "ota_0") break;
      continue;
    }
    assert.deepEqual(
      device.engine.problems.filter((text) => !/mbedtls_ssl_handshake/.test(text)),
      [],
    );
    await nothingHeld(device);
    assert.equal(starts, error ? "factory" : "ota_0", error ? "it failed" : "it succeeded");
    if (!error) break;
  }
  assert.deepEqual(device.flash.violations, []);
  // a network that behaves
  server.on(`/${seed}/fw.bin`, serve.serveFile(NEW));
  server.on(`/${seed}/m.jws`, serve.serveFile(manifest));
  turnOn(device, trust);
  if (device.running === "factory") {
    const last = { ...configOf(random, trust, server, seed), deadline: 0, maxRequestSize: 0 };
    const { error } = await advanceWhenIdle(device, server, attempt(device, last));
    assert.ifError(error ? new Error(`in the end: ${error.name}: ${error.message}`) : null);
    assert.ok(same(device.slot("ota_0"), NEW), "in the end the slot holds something else");
    device.restart();
    assert.equal(device.running, "ota_0");
  }
  device.stop();
}

test("random sequences of misbehaviour and power cuts: the old image starts or the new one, never anything else", async (t) => {
  const replayed = RUNS === 1;
  const base = seedFrom("CHAOS_SEED");
  const seeds = Array.from({ length: RUNS }, (_, i) => (base + i) >>> 0);
  t.diagnostic(`CHAOS_SEED=${base} to ${seeds.at(-1)}`);
  const started = performance.now();
  await inParallel(seeds, AT_ONCE, async (seed) => {
    const told: string[] = [];
    try {
      await runSequence(seed, (text) => told.push(text));
    } catch (error) {
      throw new Error(`CHAOS_SEED=${seed}: ${(error as Error).message}\n${told.join("\n")}`, { cause: error });
    }
    if (replayed) for (const line of told) t.diagnostic(line);
  });
  t.diagnostic(`${seeds.length} sequences in ${((performance.now() - started) / 1000).toFixed(1)} s`);
});

test("each function of the lying server is among them", () => {
  const source = readFileSync(new URL(import.meta.url), "utf8");
  const used = new Set([...source.matchAll(/serve\.(\w+)/g)].map((match) => match[1]));
  const combining = ["fileAnswer", "firstTimes", "busyThen"];
  const missing = Object.keys(serve).filter((name) => !used.has(name) && !combining.includes(name));
  assert.deepEqual(missing, []);
});
