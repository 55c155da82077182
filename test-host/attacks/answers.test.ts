// The promise: whatever a server answers, nothing is written outside of the target slot and otadata (and the record in
// Storage), no image starts but one that was verified, and the promise settles. Heads, chunks, ranges, redirects, splits,
// cuts, changed files, against keys, digest, insecure and checkForUpdate. The rig checks after each flash operation: what
// the device would start if power and otadata were lost right there.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import fc from "fast-check";
import { runBootloader } from "../sim/bootloader.ts";
import { createFlash } from "../sim/flash.ts";
import { fsverity } from "../support/fsverity.ts";
import { claimsFor, makeKey, signManifest } from "../support/release.ts";
import { flipped, flips, holds } from "./fuzz.ts";
import {
  type Asked,
  createRig,
  type Ended,
  file,
  type Net,
  paths,
  type Reply,
  SIZE,
  sha,
  smallImage,
  stopAll,
  text,
  URL_OF,
} from "./rig.ts";

after(stopAll);

const GOOD = smallImage(2, "2.0.2");
const EVIL = smallImage(66, "6.6.6");
const key = await makeKey({ exponent: 3 });
const MANIFEST = await signManifest(claimsFor(GOOD), key);
const fresh = () => createRig({ knows: [GOOD] });
let rig = fresh();
const clean = rig.snapshot();
const SECTORS = rig.device.row("ota_0").size / 4096;
/** ms; what the module itself sets when nobody does. */
const DEADLINE = 3_600_000;

type Body =
  | { of: "good" | "evil" | "old" | "html" | "nothing" }
  | { of: "flipped"; bits: number[] }
  | { of: "joined"; at: number }
  | { of: "longer"; by: number }
  | { of: "shorter"; by: number };

function bytesOf(body: Body): Uint8Array {
  if (body.of === "good") return GOOD;
  if (body.of === "evil") return EVIL;
  if (body.of === "old") return smallImage(1);
  if (body.of === "html") return Buffer.from("<!doctype html><html>".repeat(300));
  if (body.of === "nothing") return new Uint8Array(0);
  if (body.of === "flipped") return flipped(GOOD, body.bits);
  if (body.of === "joined") return Buffer.concat([GOOD.subarray(0, body.at), EVIL.subarray(body.at)]);
  if (body.of === "shorter") return GOOD.subarray(0, Math.max(0, SIZE - body.by));
  if (body.of !== "longer") throw new RangeError(body.of);
  return Buffer.concat([GOOD, EVIL.subarray(0, body.by)]);
}

const body: fc.Arbitrary<Body> = fc.oneof(
  { weight: 6, arbitrary: fc.constant({ of: "good" as const }) },
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      { of: "evil" as const },
      { of: "old" as const },
      { of: "html" as const },
      { of: "nothing" as const },
    ),
  },
  { weight: 2, arbitrary: flips(3).map((bits) => ({ of: "flipped" as const, bits })) },
  {
    weight: 3,
    arbitrary: fc.constantFrom(4, 1024, 4096, 5000, 8192, 12000).map((at) => ({ of: "joined" as const, at })),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      of: fc.constantFrom("longer" as const, "shorter" as const),
      by: fc.constantFrom(1, 4, 31, 32, 4096, 9000),
    }) as fc.Arbitrary<Body>,
  },
);

const VALUES = [
  "0",
  "1",
  "12287",
  "12288",
  "12289",
  "65536",
  "99999999999",
  "-1",
  "+5",
  "0x10",
  "1,1",
  "",
  " ",
  "bytes 0-0/1",
  "bytes 0-12287/12288",
  "bytes 4096-12287/12288",
  "bytes 12287-0/12288",
  "bytes */12288",
  "bytes */0",
  "bytes 0-12288/12288",
  "identity",
  "gzip",
  "chunked",
  "gzip, chunked",
  '"a"',
  'W/"a"',
  "\x1b[2J",
  "x".repeat(300),
];
const NAMES = [
  "Content-Length",
  "content-length",
  "Content-Range",
  "Transfer-Encoding",
  "Content-Encoding",
  "ETag",
  "Location",
  "Retry-After",
  "Date",
  "Connection",
  "X",
];
const LOCATIONS = [
  "/fw.bin",
  "fw.bin",
  "../fw.bin",
  "//127.0.0.1:8070/fw.bin",
  "http://127.0.0.1:8070/fw.bin",
  "http://127.0.0.2/x",
  "https://127.0.0.1/",
  "ftp://x/",
  "?x",
  "#x",
  "",
  "a:b",
  "http://[::1]/",
  "http://127.0.0.1:99999/",
  "http://u:p@127.0.0.1:8070/fw.bin",
  `/${"a/".repeat(300)}..`,
  "/\x01",
];

const spec = fc.record({
  body,
  status: fc.oneof(
    { weight: 8, arbitrary: fc.constant("") },
    {
      weight: 2,
      arbitrary: fc.constantFrom(
        "200 OK",
        "206 x",
        "204 x",
        "304 x",
        "100 x",
        "302 x",
        "307 x",
        "404 x",
        "416 x",
        "429 x",
        "503 x",
        "0 x",
        "2000 x",
        "99999999999 x",
        "abc x",
        "",
      ),
    },
  ),
  edits: fc.oneof(
    { weight: 5, arbitrary: fc.constant([]) },
    {
      weight: 3,
      arbitrary: fc.array(
        fc.record({
          how: fc.constantFrom("add" as const, "set" as const, "drop" as const),
          name: fc.constantFrom(...NAMES),
          value: fc.constantFrom(...VALUES),
        }),
        { maxLength: 3 },
      ),
    },
  ),
  redirect: fc.oneof(
    { weight: 9, arbitrary: fc.constant(null) },
    { weight: 1, arbitrary: fc.constantFrom(...LOCATIONS) },
  ),
  framing: fc.oneof(
    { weight: 6, arbitrary: fc.constant("length" as const) },
    { weight: 3, arbitrary: fc.constant("chunked" as const) },
    { weight: 1, arbitrary: fc.constantFrom("none" as const, "both" as const) },
  ),
  /** Bytes of a chunk, and what stands in the place of the size of one of them. */
  chunk: fc.record({
    size: fc.constantFrom(1500, 61, 536, 4096, 20000),
    odd: fc.oneof(
      { weight: 4, arbitrary: fc.constant("") },
      { weight: 1, arbitrary: fc.constantFrom("-6", "fffffff4", "zz", "0", "ffffffff", "7fffffff", "1;x=y", " ") },
    ),
    at: fc.nat(4),
  }),
  cut: fc.oneof(
    { weight: 6, arbitrary: fc.constant(-1) },
    {
      weight: 4,
      arbitrary: fc.constantFrom(0, 1, 3, 500, 1023, 1024, 1025, 4095, 4096, 4097, 8192, 8193, 12284, 12287),
    },
  ),
  pause: fc.oneof(
    { weight: 8, arbitrary: fc.constant(0) },
    { weight: 2, arbitrary: fc.constantFrom(10, 900, 1900, 3000) },
  ),
  end: fc.oneof(
    { weight: 4, arbitrary: fc.constant("close" as const) },
    { weight: 1, arbitrary: fc.constant("stall" as const) },
  ),
  ranges: fc.oneof({ weight: 3, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
  etag: fc.constantFrom('"a"', '"a"', '"a"', '"b"', 'W/"a"', ""),
});
type Spec = typeof spec extends fc.Arbitrary<infer S> ? S : never;

/** The answer to one request, as a right server would give it, and then spoilt as `one` says. */
function answer(one: Spec, asked: Asked): Reply {
  if (one.redirect !== null)
    return {
      parts: [`HTTP/1.1 ${one.status || "302 x"}\r\nLocation: ${one.redirect}\r\nContent-Length: 0\r\n\r\n`],
      end: one.end,
    };
  const right = file(bytesOf(one.body), { etag: one.etag, ranges: one.ranges })(asked, 0);
  const [head, ...pieces] = right.parts;
  const [line, ...lines] = (head as string).trimEnd().split("\r\n");
  let fields = lines.map((text) => [text.slice(0, text.indexOf(":")), text.slice(text.indexOf(":") + 2)]);
  let content: Uint8Array = Buffer.concat(pieces as Uint8Array[]);
  if (one.framing === "chunked" || one.framing === "none")
    fields = fields.filter(([name]) => name !== "Content-Length");
  if (one.framing === "chunked" || one.framing === "both") {
    fields.push(["Transfer-Encoding", "chunked"]);
    const chunks: Uint8Array[] = [];
    for (let at = 0, n = 0; at < content.length; at += one.chunk.size, n++) {
      const part = content.subarray(at, at + one.chunk.size);
      const size = n === one.chunk.at && one.chunk.odd ? one.chunk.odd : part.length.toString(16);
      chunks.push(Buffer.from(`${size}\r\n`), part, Buffer.from("\r\n"));
    }
    content = Buffer.concat([...chunks, Buffer.from("0\r\n\r\n")]);
  }
  for (const { how, name, value } of one.edits) {
    if (how !== "add") fields = fields.filter(([other]) => other !== name);
    if (how !== "drop") fields.push([name, value]);
  }
  const status = one.status ? `HTTP/1.1 ${one.status}` : line;
  const sent = one.cut < 0 ? content : content.subarray(0, one.cut);
  const half = sent.length >> 1;
  return {
    parts: [
      `${[status, ...fields.map((field) => field.join(": "))].join("\r\n")}\r\n\r\n`,
      sent.subarray(0, half),
      one.pause,
      sent.subarray(half),
    ],
    end: one.end,
  };
}

const exchange = fc.record({
  trust: fc.oneof(
    { weight: 6, arbitrary: fc.constant("digest" as const) },
    { weight: 3, arbitrary: fc.constant("insecure" as const) },
    { weight: 1, arbitrary: fc.constantFrom("keys" as const, "check" as const, "manifest" as const) },
  ),
  /** In turn; the last one for all that follows. */
  answers: fc.array(spec, { minLength: 1, maxLength: 5 }),
  updates: fc.constantFrom(1, 1, 2),
  retries: fc.constantFrom(0, 1, 3),
  maxRequestSize: fc.constantFrom(0, 0, 0, 1000, 4096, 5000),
  deadline: fc.oneof(
    { weight: 60, arbitrary: fc.constantFrom(60_000, 300_000) },
    { weight: 1, arbitrary: fc.constant(0) },
  ),
  pieceSize: fc.constantFrom(4096, 4096, 536, 100),
});
type Exchange = typeof exchange extends fc.Arbitrary<infer S> ? S : never;

/** What would start from this flash. */
const starts = () => runBootloader(createFlash({ from: rig.snapshot() }), { chipId: 0 });

async function attack(one: Exchange): Promise<void> {
  rig.restore(clean);
  const { device } = rig;
  rig.pieceSize = one.pieceSize;
  let turn = 0;
  const lies: Net = (asked) => answer(one.answers[Math.min(turn++, one.answers.length - 1)], asked);
  // the manifest is what lies in "manifest" and "check", the image in the others
  rig.net =
    one.trust === "manifest" || one.trust === "check"
      ? paths({ "/m.jws": lies, "/fw.bin": lies })
      : (asked, i) => (asked.path === "/m.jws" ? text(MANIFEST)(asked, i) : lies(asked, i));
  const config: Record<string, unknown> = { retries: one.retries, maxRequestSize: one.maxRequestSize, timeout: 2000 };
  if (one.trust === "digest")
    Object.assign(config, { url: URL_OF("/fw.bin"), digest: `fsverity-sha256:${fsverity(GOOD)}` });
  else if (one.trust === "insecure") Object.assign(config, { url: URL_OF("/fw.bin"), insecure: true });
  else Object.assign(config, { url: URL_OF("/m.jws"), keys: [key.jwk] });
  if (one.deadline) config.deadline = one.deadline;
  const limit = (one.deadline || DEADLINE) + 60_000;
  const seen = one.trust === "insecure" ? [] : rig.spyOnFlash();
  let installed = false;
  let ever = false;
  for (let update = 0; update < one.updates; update++) {
    const since = device.flash.log.length;
    const ended: Ended | "hangs" = await rig.call(one.trust === "check" ? "checkForUpdate" : "update", config, limit);
    assert.notEqual(ended, "hangs", `no end ${limit} ms later`);
    const { result, error } = ended as Ended;
    if (error) assert.equal(typeof error.retry, "boolean", `no OtaError: ${error.message}`);
    const good = !!result && result.partition !== undefined;
    // an update that fails takes back what one before it has installed, once it has begun
    const touched = rig.operations(since).some(({ addr }) => addr < device.storage.files.area.address);
    installed = good || (installed && !touched);
    ever ||= good;
    if (one.trust === "check") assert.equal(rig.operations(since).length, 0, "checkForUpdate wrote");
    const erases = rig.erasesIn("ota_0", since);
    assert.ok(erases <= 2 * SECTORS, `${erases} erases in one call, the slot has ${SECTORS} sectors`);
    if (!good) assert.ok(rig.erasesIn("otadata", since) <= 2, "otadata");
  }
  device.flash.onOp = null;
  assert.deepEqual(seen, []);
  const allowed = [device.row("ota_0"), device.row("otadata")];
  const { address, size } = device.storage.files.area;
  for (const op of rig.operations()) {
    const inside = allowed.some(({ offset, size }) => op.addr >= offset && op.addr + op.length <= offset + size);
    const record = op.kind === "write" && op.addr >= address && op.addr + op.length <= address + size;
    assert.ok(inside || record, `${op.kind} at 0x${op.addr.toString(16)}`);
  }
  assert.deepEqual(device.flash.violations, []);
  assert.deepEqual(
    device.engine.problems.filter((text) => !/data lost/.test(text)),
    [],
  );
  if (one.trust !== "insecure") {
    assert.deepEqual(rig.intruders(), []);
    if (installed) assert.equal(sha(device.slot("ota_0", SIZE)), sha(GOOD), "another image was installed");
  }
  // an update that takes back what an earlier one has installed may leave that image whole, and not selected
  else if (!ever) assert.deepEqual(rig.intruders(), []);
  const { slot, selected } = starts();
  assert.equal(selected, installed ? "ota_0" : "factory");
  // a bit that is wrong in two bytes the checksum of one byte does not show, and the bootloader refuses it
  if (!installed || one.trust !== "insecure") assert.equal(slot?.label, selected);
}

test("exchange the image: whatever a server answers, only what was verified starts", async (t) => {
  await holds(t, exchange, async (one) => {
    try {
      await attack(one);
    } catch (error) {
      // an update may still be running
      rig.device.stop();
      rig = fresh();
      throw error;
    }
  });
});
