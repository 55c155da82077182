// Property: whatever a server does, in whatever order, and whenever the power goes, the device starts the old image or
// the new one, whole, and never anything else; and as soon as the network behaves an update works. Random sequences of
// the misbehaviours of server.ts. CHAOS_RUNS=n runs n of them. A failure is shrunk to a short sequence, and says the
// CHAOS_SEED and CHAOS_PATH that run exactly that one again.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { createDevice, type Device } from "../../sim/device.ts";
import { fsverity } from "../../support/fsverity.ts";
import { buildImage, mutations, noise, padTo } from "../../support/images.ts";
import { attempt, type Attempt, cutPowerAt, advanceWhenIdle, SECTOR } from "../../support/network.ts";
import { inParallel } from "../../support/parallel.ts";
import { checkProperty, sample, seedFrom } from "../../support/property.ts";
import { claimsFor, type Key, makeKey, signManifest } from "../../support/release.ts";
import { sayLeftOut, shareOf } from "../../support/share.ts";
import { bootsFrom, IDF, nothingHeld, oldImage, SMALL } from "../../support/fixture.ts";
import * as behaviours from "../../support/server.ts";
import type { Behaviour, Cut, FileOptions, Server } from "../../support/server.ts";
import { noteUses } from "../../support/uses.ts";

const { noted: serve, used } = noteUses(behaviours);

const ALL = 200;
const RUNS = Number(process.env.CHAOS_RUNS ?? (process.env.CHAOS_PATH ? 1 : Math.ceil(ALL / shareOf(5))));
const VARIABLES = { seed: "CHAOS_SEED", path: "CHAOS_PATH" };
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

/** One answer: what it is, for a failure to tell, and the behaviour for the bytes of a file. */
type Answer = { name: string; args: unknown; answer: (bytes: Uint8Array) => Behaviour };
type Maker<T> = (bytes: Uint8Array, args: T) => Behaviour;

const plainly = (name: string, make: (bytes: Uint8Array) => Behaviour): fc.Arbitrary<Answer> =>
  fc.constant({ name, args: undefined, answer: make });
const withArgs = <T>(name: string, args: fc.Arbitrary<T>, make: Maker<T>): fc.Arbitrary<Answer> =>
  args.map((drawn) => ({ name, args: drawn, answer: (bytes) => make(bytes, drawn) }));

const below = (count: number) => fc.nat({ max: count - 1 });
const one = <const T>(...values: readonly T[]) => fc.constantFrom(...values);
const cuts = one<Cut>("close", "reset", "tls", "stall");
/** A place in a file of any length. */
const place = below(1 << 16);
const within = (bytes: Uint8Array, at: number) => at % bytes.length;
const lies = below(LIES.length);
const options: fc.Arbitrary<FileOptions> = fc.record(
  {
    ranges: one(true, true, true, true, false),
    chunked: one(false, false, false, false, true),
    chunkSize: one(16384, 5000, 1000, 300),
    etag: one("", '"a"', '"b"', 'W/"a"'),
  },
  { requiredKeys: ["ranges", "chunked", "chunkSize"] },
);

const right = withArgs("right", options, serve.serveFile);
const cut = withArgs("cut", fc.tuple(place, cuts, options), (bytes, [at, how, more]) =>
  serve.cutAt(bytes, within(bytes, at), how, more),
);
const OTHERS: fc.Arbitrary<Answer>[] = [
  withArgs("late", below(10), (bytes, ms) => serve.delayed(ms, serve.serveFile(bytes))),
  withArgs("cutAtSector", fc.tuple(below(8), below(3), cuts, options), (bytes, [sector, by, how, more]) =>
    serve.cutAt(bytes, SECTOR * sector + by, how, more),
  ),
  withArgs("lie", fc.tuple(lies, options), (_, [lie, more]) => serve.serveFile(LIES[lie], more)),
  withArgs("lieUnderOneEtag", lies, (_, lie) => serve.serveFile(LIES[lie], { etag: '"a"' })),
  withArgs("cutLie", fc.tuple(lies, below(25000), options), (_, [lie, at, more]) =>
    serve.cutAt(LIES[lie], 1 + at, "close", more),
  ),
  withArgs("status", one(100, 204, 301, 304, 400, 401, 403, 404, 408, 410, 416, 425, 429, 500, 503), (_, code) =>
    serve.status(code),
  ),
  withArgs("busy", fc.tuple(one(429, 503), one("1", "9", "9999", "soon", "-1")), (_, [code, wait]) =>
    serve.status(code, { "Retry-After": wait }),
  ),
  plainly("empty416", () => serve.status(416, { "Content-Range": "bytes */0" })),
  plainly("html", () => serve.html()),
  plainly("interim", (bytes) => serve.interim(103, serve.serveFile(bytes))),
  withArgs("redirected", below(7), (bytes, hops) => serve.redirectChain(hops, serve.serveFile(bytes))),
  plainly("redirectLoop", () => serve.redirectLoop()),
  plainly("redirectNowhere", () => serve.redirectNowhere()),
  withArgs(
    "redirectAway",
    one("ftp://localhost/", "http://nowhere.invalid/", "//", "?", "https://localhost:1/"),
    (_, to) => serve.redirect(302, to),
  ),
  plainly("silent", () => serve.silent()),
  withArgs("noAnswer", cuts, (_, how) => serve.closeBeforeAnswer(how)),
  withArgs("statusLine", cuts, (_, how) => serve.closeAfterStatusLine(how)),
  withArgs("headOnly", cuts, (bytes, how) => serve.closeAfterHead(bytes, how)),
  plainly("keepAlive", (bytes) => serve.keepAliveNeverCloses(bytes)),
  withArgs("noLength", fc.record({ ranges: fc.boolean(), version: one("1.0", "1.1") }), serve.noLength),
  withArgs("shorter", place, (bytes, by) => serve.shorter(bytes, 1 + within(bytes, by))),
  withArgs("longer", below(9000), (bytes, by) => serve.longer(bytes, 1 + by)),
  withArgs("badLength", one("", "-1", "zz", "0x10", "1e3", "9".repeat(20), "1, 1"), serve.badLength),
  plainly("negativeLength", serve.negativeLength),
  withArgs("duplicateLength", one("different", "same", "spellings"), serve.duplicateLength),
  withArgs("lengthAndChunked", below(3), serve.bothLengthAndChunked),
  withArgs("endless", one("length", "chunked", "close"), (_, kind) => serve.endless(kind)),
  plainly("oneByteChunks", serve.chunkedOneByte),
  withArgs("chunkExtensions", below(5000), (bytes, size) => serve.chunkedExtensions(bytes, 1 + size)),
  plainly("hugeChunk", serve.chunkedHuge),
  withArgs("badChunk", one("zz", "-5", "ffffffffffffffff", ""), serve.chunkedBadSize),
  withArgs("cutInChunk", fc.tuple(place, cuts), (bytes, [at, how]) =>
    serve.chunkedCutMidChunk(bytes, within(bytes, at), how),
  ),
  withArgs("cutBetweenChunks", fc.tuple(place, cuts), (bytes, [at, how]) =>
    serve.chunkedCutAtBoundary(bytes, within(bytes, at), how),
  ),
  plainly("noLastChunk", serve.chunkedNoEnd),
  plainly("gzip", serve.gzip),
  plainly("gzipChunked", serve.transferEncodingGzipChunked),
  withArgs("bigHeader", fc.tuple(below(20000), one("one", "many")), (bytes, [size, kind]) =>
    serve.bigHeader(bytes, 1 + size, kind),
  ),
  withArgs("fullRecords", fc.record({ padding: below(9000) }), serve.fullRecords),
  withArgs("growingRecords", below(15), (bytes, step) => serve.growingRecords(bytes, { step: 1 + step })),
  withArgs("spelling", one("lower", "upper"), (bytes, spelling) => serve.headerCase(bytes, spelling)),
  plainly("lfOnly", serve.lfOnly),
  plainly("notHttp", () => serve.notHttp()),
  withArgs("garbageRecord", place, (bytes, at) => serve.tlsGarbage(bytes, within(bytes, at))),
  withArgs("wrongContentRange", one("start", "total", "missing", "unit"), serve.wrongContentRange),
  withArgs("unknownTotal", fc.record({ most: one(700, 5000, 1e6) }), serve.unknownTotal),
  withArgs("otherRange", one(-1, 1, 536, 4096), (bytes, by) => serve.otherRange(bytes, by)),
  plainly("whole200", (bytes) => serve.rangeAnswered200(bytes)),
  plainly("all416", serve.rangeAnswered416),
  plainly("unasked206", serve.unasked206),
  plainly("multipart", serve.multipartRange),
  withArgs("slowHeader", below(3), serve.dribbleHeader),
  withArgs("slowBody", below(5000), (bytes, step) => serve.dribbleBody(bytes, 1, 500 + step)),
  withArgs("tlsCut", place, (bytes, at) => serve.tlsCut(bytes, within(bytes, at))),
  withArgs("asksToWait", fc.tuple(one<number | "a date">(0, 7, 4000, "a date"), one(429, 503)), (bytes, [wait, code]) =>
    serve.retryAfter(wait === "a date" ? new Date(0) : wait, 1, serve.serveFile(bytes), code),
  ),
  withArgs("replaced", fc.tuple(lies, below(25000)), (bytes, [lie, at]) => serve.changedEtag(LIES[lie], bytes, 1 + at)),
  withArgs("replacedInSecret", fc.tuple(lies, below(25000)), (bytes, [lie, at]) =>
    serve.differentBytesOnResume(LIES[lie], bytes, 1 + at),
  ),
];
/** A good answer often enough that a sequence comes somewhere. */
const answers = fc.oneof(
  { weight: 1, arbitrary: fc.oneof(right, cut, cut) },
  { weight: 3, arbitrary: fc.oneof(right, cut, ...OTHERS) },
);

/** Each behaviour answers one request; then the server is a good one. */
const planned = (plan: Answer[], bytes: Uint8Array): Behaviour =>
  serve.sequence(...plan.map(({ answer }) => answer(bytes)), serve.serveFile(bytes));

// --- One sequence --------------------------------------------------------------------------------------------------------

type Trust = "keys" | "digest" | "insecure";

/** What was in the slot. */
const slots = fc.record({
  garbage: fc.option(below(1000)),
  /** The beginning of an image. */
  of: fc.option(one("NEW", "FOREIGN")),
  sectors: below(9),
  blank: one(true, true, false),
});

const rounds = fc.record({
  retries: below(4),
  maxRequestSize: one(0, 0, 0, 1500, 9000),
  deadline: fc.option(fc.integer({ min: 1000, max: 60_999 }), { freq: 1 }),
  /** Power goes at the flash operation with this number. */
  powerCut: fc.option(fc.record({ op: below(60), moment: one("before", "torn", "after") }), { freq: 1 }),
  /** By hand: pauses between the steps in turn, and perhaps given up at one. */
  steps: fc.option(
    fc.record({
      pauses: fc.array(one(0, 0, 0, 0, 0, 0, 0, 100, 5000, 3_600_000), { minLength: 1, maxLength: 10 }),
      abortAt: fc.option(below(20)),
    }),
    { freq: 1 },
  ),
});

const sequences = fc.record({
  trust: one<Trust>("digest", "digest", "keys", "insecure"),
  tls: one(false, false, false, false, true),
  slot: slots,
  image: fc.array(answers, { minLength: 1, maxLength: 12, size: "max" }),
  manifest: fc.array(answers, { maxLength: 3, size: "max" }),
  rounds: fc.array(rounds, { minLength: 1, maxLength: 4, size: "max" }),
});
type Drawn<A> = A extends fc.Arbitrary<infer T> ? T : never;
type Round = Drawn<typeof rounds>;
type Sequence = Drawn<typeof sequences>;

/** What is insecure is verified by one byte of checksum: garbage right behind a part of the image would pass now and then. */
function slotBefore({ garbage, of, sectors, blank }: Sequence["slot"], trust: Trust): Uint8Array {
  const slot = garbage === null ? new Uint8Array(SLOT).fill(0xff) : noise(garbage, SLOT);
  if (of) slot.set((of === "NEW" ? NEW : FOREIGN).subarray(0, sectors * SECTOR));
  if (blank || trust === "insecure") slot.fill(0xff, sectors * SECTOR, (sectors + 1) * SECTOR);
  return slot;
}

function configOf({ retries, maxRequestSize, deadline }: Round, trust: Trust, server: Server, folder: string): object {
  return {
    url: server.url(`${folder}/${trust === "keys" ? "m.jws" : "fw.bin"}`),
    ...(trust === "keys" ? { keys: [key.jwk] } : {}),
    ...(trust === "digest" ? { digest: `fsverity-sha256:${fsverity(NEW)}` } : {}),
    ...(trust === "insecure" ? { insecure: true } : {}),
    timeout: 2000,
    retries,
    maxRequestSize,
    ...(deadline === null ? {} : { deadline }),
  };
}

/** By hand, with pauses between the steps, and now and then given up. */
async function stepwise(
  device: Device,
  server: Server,
  config: object,
  { pauses, abortAt }: NonNullable<Round["steps"]>,
): Promise<Attempt> {
  const { engine, ota } = device;
  const end = 200;
  try {
    const beginning = engine.call<any>(ota.begin(engine.run(`(${JSON.stringify(config)})`)));
    const handle = await advanceWhenIdle(device, server, beginning);
    for (let step = 0; step < end; step++) {
      const outcome = await advanceWhenIdle(device, server, engine.call(handle.perform()));
      if (outcome === IDF.OK) return { result: await engine.call(handle.finish()) };
      if (step === abortAt) {
        handle.abort();
        return { error: { code: 0, name: "aborted", message: "", retry: true } };
      }
      const pause = pauses[step % pauses.length];
      if (pause) await engine.advance(pause);
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

let folders = 0;

async function runSequence(drawn: Sequence, tell: (text: string) => void): Promise<void> {
  const { trust } = drawn;
  const server = drawn.tls ? tls : plain;
  const folder = `/${folders++}`;
  const device = createDevice({ board: SMALL, images: { factory: OLD } });
  device.flash.load(slotBefore(drawn.slot, trust), device.row("ota_0").offset);
  server.on(`${folder}/fw.bin`, planned(drawn.image, NEW));
  server.on(`${folder}/m.jws`, planned(drawn.manifest, manifest));
  const regions = ["ota_0", "otadata", "storage"].map(device.row);

  for (const [i, round] of drawn.rounds.entries()) {
    device.powerCycle();
    const config = configOf(round, trust, server, folder);
    let ops = round.powerCut?.op ?? 0;
    const cut = round.powerCut ? cutPowerAt(device, () => ops-- === 0, round.powerCut.moment) : null;
    const from = device.flash.log.length;
    const { error } = round.steps
      ? await stepwise(device, server, config, round.steps)
      : await advanceWhenIdle(device, server, attempt(device, config));
    device.flash.onOp = null;
    tell(`round ${i}: ${cut?.happened ? "power cut" : error ? `${error.name}: ${error.message}` : "success"}`);
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
  server.on(`${folder}/fw.bin`, serve.serveFile(NEW));
  server.on(`${folder}/m.jws`, serve.serveFile(manifest));
  device.powerCycle();
  if (device.running === "factory") {
    const last = { ...configOf(drawn.rounds[0], trust, server, folder), deadline: 0, maxRequestSize: 0 };
    const { error } = await advanceWhenIdle(device, server, attempt(device, last));
    assert.ifError(error ? new Error(`in the end: ${error.name}: ${error.message}`) : null);
    assert.ok(same(device.slot("ota_0"), NEW), "in the end the slot holds something else");
    device.restart();
    assert.equal(device.running, "ota_0");
  }
  device.stop();
}

test("random misbehaviour and power cuts: the old image starts or the new one", async (t) => {
  const base = seedFrom("CHAOS_SEED");
  const lanes = Math.min(RUNS, process.env.CHAOS_PATH ? 1 : AT_ONCE);
  t.diagnostic(`CHAOS_SEED=${base}: ${RUNS} sequences in ${lanes} lanes, each with a seed of its own`);
  sayLeftOut(t, RUNS, ALL, "random sequences of misbehaviour");
  const started = performance.now();
  const seeds = Array.from({ length: lanes }, (_, lane) => (base + lane) >>> 0);
  let told: string[] = [];
  async function tellAll(drawn: Sequence): Promise<void> {
    const lines: string[] = [];
    try {
      await runSequence(drawn, (text) => lines.push(text));
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${lines.join("\n")}`, { cause: error });
    } finally {
      told = lines;
    }
  }
  await inParallel(seeds, lanes, (seed) =>
    checkProperty(sequences, tellAll, { seed, numRuns: Math.ceil(RUNS / lanes), variables: VARIABLES }),
  );
  if (RUNS === 1) for (const line of told) t.diagnostic(line);
  t.diagnostic(`${RUNS} sequences in ${((performance.now() - started) / 1000).toFixed(1)} s`);
});

test("each function of the lying server is among them", () => {
  const each = [right, cut, ...OTHERS].flatMap((answer) => sample(answer, 1, 1));
  planned(each, NEW);
  const combining = ["fileAnswer", "firstTimes", "busyThen"];
  const missing = Object.keys(behaviours).filter((name) => !used.has(name) && !combining.includes(name));
  assert.deepEqual(missing, []);
});
