// The promise: a device with `keys` follows a manifest only when one of them has signed exactly these bytes, when they are
// JSON that every parser reads alike, and when they are for this device; nothing else makes it write, select, or hang.
// The whole device takes some 5 ms for each: the texts go through checkForUpdate(), which does all that update() does with a
// manifest, and a part of them through update().

import assert from "node:assert/strict";
import { after, test } from "node:test";
import fc from "fast-check";
import { runBootloader } from "../sim/bootloader.ts";
import { createFlash } from "../sim/flash.ts";
import { fsverity } from "../support/fsverity.ts";
import { base64url, claimsFor, forge, makeKey } from "../support/release.ts";
import { type Edit, edited, edits, holds } from "./fuzz.ts";
import { createRig, type Ended, file, paths, sha, SIZE, smallImage, stopAll, text, URL_OF, cleanly } from "./rig.ts";

after(stopAll);

const GOOD = smallImage(2, "2.0.2");
const EVIL = smallImage(66, "6.6.6");
const keys = [await makeKey({ exponent: 3 }), await makeKey({ exponent: 3, name: "second" })];
const stranger = await makeKey({ exponent: 3, name: "stranger" });
const CLAIMS = claimsFor(GOOD);
const TEXT = JSON.stringify(CLAIMS);
const TOKENS = keys.map((key) => forge(CLAIMS, key));

const fresh = () => createRig({ knows: [GOOD] });
let rig = fresh();
const clean = rig.snapshot();
const LIMIT = 600_000;
const config = { url: URL_OF("/m.jws"), keys: keys.map((key) => key.jwk), retries: 0, timeout: 2000 };

const startsIn = () => runBootloader(createFlash({ from: rig.snapshot() }), { chipId: 0 }).slot?.label;

/** Flash operations that are not of the boot record. */
function written(): string[] {
  const { address, size } = rig.device.storage.files.area;
  return rig
    .operations()
    .filter(({ kind, addr }) => kind === "erase" || addr < address || addr >= address + size)
    .map(({ kind, addr }) => `${kind} at 0x${addr.toString(16)}`);
}

async function ask(manifest: string, call: "checkForUpdate" | "update", image = GOOD, more = {}): Promise<Ended> {
  rig.restore(clean);
  rig.net = paths({ "/m.jws": text(manifest), "/fw.bin": file(image) });
  const ended = await rig.call(call, { ...config, ...more }, LIMIT);
  assert.notEqual(ended, "hangs");
  assert.deepEqual(rig.device.engine.problems, []);
  const { error } = ended as Ended;
  if (error) assert.equal(typeof error.retry, "boolean", `no OtaError: ${error.message}`);
  return ended as Ended;
}

function renew(): void {
  rig.device.stop();
  rig = fresh();
}

function isRefused({ result, error }: Ended): void {
  assert.ok(error, `followed: ${JSON.stringify(result)}`);
  assert.deepEqual(written(), []);
  assert.equal(rig.asked.filter((one) => one.path !== "/m.jws").length, 0, "the image was asked for");
  assert.equal(startsIn(), "factory");
}

// --- Unsigned

const tampered = fc.oneof(
  fc.record({ token: fc.constantFrom(...TOKENS), edits: edits(4) }).map(({ token, edits }) => edited(token, edits)),
  // parts that are right each for itself
  fc.tuple(fc.constantFrom(...TOKENS), edits(2), fc.nat(2)).map(([token, list, which]) => {
    const parts = token.split(".");
    parts[which] = base64url(edited(Buffer.from(parts[which], "base64url").toString("latin1"), list));
    return parts.join(".");
  }),
  // signed by a key that is not trusted, whatever it says
  fc
    .record({ kid: fc.constantFrom(stranger.kid, keys[0].kid), edits: edits(2) })
    .map(({ kid, edits }) => forge({}, stranger, { header: { kid }, payloadText: edited(TEXT, edits) })),
  // two keys' texts mixed
  fc
    .tuple(fc.nat(1), fc.nat(1), fc.nat(1))
    .map((which) => which.map((i, part) => TOKENS[i].split(".")[part]).join(".")),
  fc.string({ unit: "binary", maxLength: 200 }).map((one) => Buffer.from(one, "latin1").toString("latin1")),
  fc.constantFrom(...'._-/"{[,:\\ \n').map((one) => one.repeat(3000)),
  fc
    .tuple(fc.constantFrom("\n", "\r\n", " ", "\n\n", "\t", "\0"), fc.nat(1), edits(2))
    .map(([by, i, list]) => TOKENS[i] + by + edited(TOKENS[1 - i], list)),
);

/** One token, or two with a line end between them, of which a trusted key has signed one. */
function isSigned(manifest: string): boolean {
  const lines = manifest.split("\n");
  return lines.length <= 2 && !lines.includes("") && lines.some((line) => TOKENS.includes(line));
}

test("change a manifest: no text is followed that no trusted key has signed", async (t) => {
  await holds(
    t,
    tampered,
    (manifest) =>
      cleanly(renew, async () => {
        if (isSigned(manifest)) return;
        isRefused(await ask(manifest, "checkForUpdate"));
      }),
    { share: 0.45 },
  );
});

test("no text that no trusted key has signed makes update() write or ask for an image", async (t) => {
  await holds(
    t,
    tampered,
    (manifest) =>
      cleanly(renew, async () => void (isSigned(manifest) || isRefused(await ask(manifest, "update", EVIL)))),
    { share: 0.05 },
  );
});

// --- Two signatures

const LATER = keys.map((key) => forge(claimsFor(GOOD, { sequence: 8 }), key));
const LINES = [
  ...TOKENS,
  ...LATER,
  forge(CLAIMS, stranger),
  forge(CLAIMS, stranger, { header: { kid: keys[1].kid } }),
  "",
];
const two = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.tuple(fc.constantFrom(...LINES), fc.constantFrom(...LINES)).map((lines) => lines.join("\n")),
  },
  { weight: 2, arbitrary: edits(2).map((list) => edited(TOKENS.join("\n"), list)) },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.nat(1), edits(2)).map(([i, list]) => `${TOKENS[i]}\n${edited(TOKENS[1 - i], list)}`),
  },
  { weight: 1, arbitrary: fc.array(fc.constantFrom(...LINES), { maxLength: 4 }).map((lines) => lines.join("\n")) },
);
const BOTH = [TOKENS, LATER].flatMap(([a, b]) => [`${a}\n${b}`, `${b}\n${a}`]);

test("with a threshold of 2 a text is followed only when two trusted keys signed it", async (t) => {
  await holds(
    t,
    two,
    (manifest) =>
      cleanly(renew, async () => {
        const ended = await ask(manifest, "checkForUpdate", GOOD, { threshold: 2 });
        if (!BOTH.includes(manifest)) isRefused(ended);
        else assert.ok(ended.result, ended.error?.message);
      }),
    { share: 0.1 },
  );
});

// --- Signed, and odd

const ODD = [
  null,
  true,
  0,
  -0,
  -1,
  0.5,
  1e21,
  2 ** 53,
  2 ** 53 - 1,
  "",
  "esp32",
  "esp32s3",
  "ESP32",
  "espruino",
  "doorlock",
  "__proto__",
  "a\u0000b",
  [],
  {},
  [1],
  { url: "fw.bin" },
  "x".repeat(300),
  "sha256:",
  `sha256:${"0".repeat(64)}`,
  `sha256:${fsverity(EVIL)}`,
  `sha256:${fsverity(GOOD).toUpperCase()}`,
  "../fw.bin",
  "//127.0.0.1:8070/fw.bin",
  "http://127.0.0.1:8070/fw.bin",
  "?x",
  SIZE - 1,
  SIZE + 1,
  65536,
  65537,
];
const FIELDS = [
  "format",
  "project",
  "version",
  "chip",
  "board",
  "sequence",
  "iat",
  "exp",
  "image",
  "image.url",
  "image.size",
  "image.fsverity",
  "image.sha256",
  "image.storage",
  "image.storage.partition",
  "image.storage.address",
  "image.storage.size",
  "x",
  "__proto__",
  "constructor",
  "toString",
];

function withClaims(changes: [string, unknown][]): string {
  const claims = JSON.parse(TEXT);
  for (const [field, value] of changes) {
    const names = field.split(".");
    let at = claims;
    for (const name of names.slice(0, -1)) {
      if (typeof at[name] !== "object" || at[name] === null) at[name] = {};
      at = at[name];
    }
    // a value is put into two places, and changed in one of them
    const own = { value: structuredClone(value), enumerable: true, configurable: true, writable: true };
    Object.defineProperty(at, names[names.length - 1], own);
  }
  return JSON.stringify(claims);
}

const changes = fc.array(
  fc.tuple(
    fc.constantFrom(...FIELDS),
    fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(...(ODD as unknown[])) },
      { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
    ),
  ),
  { minLength: 1, maxLength: 3 },
);
/** Texts that some parser takes and JSON does not know. */
const LOOSE: [string, string][] = [
  ['"sequence":7', '"sequence":07'],
  ['"sequence":7', '"sequence":0x7'],
  ['"sequence":7', '"sequence":7.'],
  ['"sequence":7', '"sequence":+7'],
  ['"sequence":7', '"sequence":"7"'],
  ['"sequence":7', '"sequence":7e0'],
  ["{", "{/**/"],
  ["{", "{//\n"],
  ['"2.0.2"', "'2.0.2'"],
  ['"2.0.2"', "`2.0.2`"],
  ['"format"', "format"],
  ["}}", ",}}"],
  ["}}", "}} "],
  ["}}", "}}x"],
  ["}}", "}}}"],
  ['"format":1', '"format":1,"format":2'],
  ['"format":1', '"format":1,"\\u0066ormat":2'],
  ["2.0.2", "2\\x2e0"],
  ["2.0.2", "2\n0"],
  ["2.0.2", '2\\"0'],
  ['"chip"', '"__proto__":{"chip":"esp32"},"chipx"'],
];
const payload: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: changes.map(withClaims) },
  { weight: 4, arbitrary: edits(2).map((list: Edit[]) => edited(TEXT, list)) },
  { weight: 2, arbitrary: fc.constantFrom(...LOOSE).map(([from, to]) => TEXT.replace(from, to)) },
  {
    weight: 1,
    arbitrary: fc
      .integer({ min: 1, max: 1500 })
      .map((deep) => `{"x":${"[".repeat(deep)}${"]".repeat(deep)},${TEXT.slice(1)}`),
  },
);
const signed = fc.record({ payload, by: fc.nat(1) });
type Signed = { payload: string; by: number };

const tokenOf = ({ payload, by }: Signed): string => forge({}, keys[by], { payloadText: payload });

/** What a manifest that was followed has to be. */
function isForThisDevice(payload: string): any {
  const claims = JSON.parse(payload);
  assert.equal(claims.format, 1);
  assert.equal(claims.chip, "esp32");
  assert.ok(!Object.hasOwn(claims, "board") || claims.board === "ESP32", "another board's");
  assert.match(claims.project, /^espruino(-esp32)?$/, "another project's");
  assert.ok(Number.isSafeInteger(claims.sequence) && claims.sequence >= 0);
  assert.ok(Number.isSafeInteger(claims.image.size) && claims.image.size <= 65536);
  assert.match(claims.image.fsverity, /^sha256:[0-9a-f]{64}$/i);
  return claims;
}

test("another product's release: what is followed is JSON, and for this device", async (t) => {
  await holds(
    t,
    signed,
    (one) =>
      cleanly(renew, async () => {
        const { result } = await ask(tokenOf(one), "checkForUpdate");
        assert.deepEqual(written(), []);
        if (!result) return;
        const claims = isForThisDevice(one.payload);
        // what compares is not made for a thousand levels
        if (!one.payload.includes("[".repeat(200)))
          assert.deepEqual(JSON.parse(JSON.stringify(result.manifest)), claims, "read otherwise than by JSON.parse");
      }),
    { share: 0.35 },
  );
});

test("exchange the image: an odd signed manifest starts nothing but what it names", async (t) => {
  await holds(
    t,
    fc.record({ one: signed, evil: fc.boolean() }),
    ({ one, evil }) =>
      cleanly(renew, async () => {
        const token = tokenOf(one);
        const seen = rig.spyOnFlash();
        const { result } = await ask(token, "update", evil ? EVIL : GOOD);
        rig.device.flash.onOp = null;
        if (result) {
          const claims = isForThisDevice(one.payload);
          const held = rig.device.slot("ota_0", claims.image.size);
          assert.equal(claims.image.fsverity.toLowerCase(), `sha256:${fsverity(held)}`);
          // an odd manifest may well name EVIL
          if (sha(held) !== sha(GOOD)) return;
        }
        assert.deepEqual([...seen, ...rig.intruders()], []);
        assert.equal(startsIn(), result ? "ota_0" : "factory");
      }),
    { share: 0.06 },
  );
});
