// RSASSA-PSS verification (src/trust/pss.ts, rsa.ts, keys.ts), against Wycheproof, Node's crypto and BigInt, in Node and in the interpreter.

import assert from "node:assert/strict";
import { constants, createPublicKey, randomBytes, verify as verifyByNode } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, test } from "node:test";
import { bundleEntry } from "../../support/bundle.ts";
import { type Loaded, loadInEngine, loadSource } from "../../support/load.ts";
import { createDevice } from "../../sim/device.ts";
import { ESPRUINO, engineMemory, runInEngine, warnWithoutEngine } from "../../real-espruino/engine.ts";
import {
  bitsOf,
  encode,
  exponentOf,
  inverse,
  keyLike,
  modulusOf,
  power,
  signNumber,
  type Spoilt,
} from "../../support/pss.ts";
import { toBig, toBytes } from "../../support/pss.ts";
import { type Key, makeKey, sha256, signPkcs1, signPss } from "../../support/release.ts";
import { leftOut, part } from "../../support/share.ts";

/** One question to verifyPss. */
type Case = { title: string; n: Uint8Array; e: number; signature: Uint8Array; digest: Uint8Array; good: boolean };

warnWithoutEngine();
const inEngine = { skip: ESPRUINO ? false : "ESPRUINO is not set" };
const MESSAGE = Buffer.from("what the device receives");
const DIGEST = sha256(MESSAGE);

let shipped: Loaded;
let arithmetic: Loaded;
let keys: Loaded;

before(async () => {
  shipped = loadInEngine(await bundleEntry("src/trust/pss.ts", { minify: true }));
  arithmetic = await loadSource("trust/rsa.ts");
  keys = await loadSource("trust/rsa-key.ts");
});

/** Bytes of the program's own realm. */
function own(subject: typeof shipped, bytes: Uint8Array): any {
  const out = new (subject.engine.run("Uint8Array") as any)(bytes.length);
  out.set(bytes);
  return out;
}

function accepts(one: Case, subject = shipped): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const [n, signature, digest] = [one.n, one.signature, one.digest].map((bytes) => own(subject, bytes));
    subject.module.verifyPss(n, one.e, signature, digest, (error: unknown, good: boolean) =>
      error ? reject(error) : resolve(good),
    );
  });
}

async function checkAll(cases: Case[], subject = shipped): Promise<void> {
  for (const one of cases) assert.equal(await accepts(one, subject), one.good, one.title);
}

/** The number that fits beside the program, as text and as values: into 16383 JsVars of 14 bytes, into 4095 of 13. */
const AT_ONCE = ESPRUINO && (await engineMemory()).total < 8000 ? 4 : 24;

/** The same in the interpreter: what it says of each case. */
async function checkInEngine(cases: Case[]): Promise<void> {
  for (let first = 0; first < cases.length; first += AT_ONCE) await checkSome(cases.slice(first, first + AT_ONCE));
}

async function checkSome(cases: Case[]): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "https-ota-"));
  try {
    const bundle = join(folder, "rsa.js");
    writeFileSync(bundle, await bundleEntry("src/trust/pss.ts", { minify: true }));
    const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
    const rows = cases.map((one) => [text(one.n), one.e, text(one.signature), text(one.digest)]);
    const scenario = `
      var cases = ${JSON.stringify(rows).replaceAll("],", "],\n")};
      var at = 0;
      function bytes(text) { var s = atob(text), b = new Uint8Array(s.length); b.set(s); return b; }
      function next() {
        if (at === cases.length) return finish();
        var one = cases[at++];
        ota.verifyPss(bytes(one[0]), one[1], bytes(one[2]), bytes(one[3]), function (error, good) {
          report(error ? "error: " + error.message : good);
          setTimeout(next, 0);
        });
      }
      next();`;
    const run = await runInEngine(createDevice({ board: "toy-factory-one" }), scenario, { bundle, timeoutMs: 600_000 });
    assert.equal(run.reports.length, cases.length, run.output.slice(-2000));
    cases.forEach((one, i) => void assert.equal(run.reports[i], one.good, one.title));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

// --- Wycheproof ----------------------------------------------------------------------------------------------------

const FILES = ["rsa_pss_2048_sha256_mgf1_32_test.json", "rsa_pss_3072_sha256_mgf1_32_test.json"];

function wycheproof(file: string): Case[] {
  const url = new URL(`../../vectors/wycheproof/${file}`, import.meta.url);
  const { numberOfTests, testGroups } = JSON.parse(readFileSync(url, "utf8"));
  const hex = (text: string) => new Uint8Array(Buffer.from(text, "hex"));
  const cases: Case[] = testGroups.flatMap((group: any) =>
    group.tests.map((one: any) => ({
      title: `${file} tcId ${one.tcId}: ${one.comment}`,
      n: hex(group.publicKey.modulus.replace(/^(00)+/, "")),
      e: Number.parseInt(group.publicKey.publicExponent, 16),
      signature: hex(one.sig),
      digest: sha256(hex(one.msg)),
      good: one.result === "valid",
    })),
  );
  assert.equal(cases.length, numberOfTests);
  return cases;
}

for (const file of FILES) {
  test(`decides every case of Wycheproof ${file} as the file does`, (t) =>
    checkAll(part(t, wycheproof(file), 4, "cases of Wycheproof")));

  test(`decides every case of Wycheproof ${file} as the file does, in the interpreter`, inEngine, () =>
    checkInEngine(wycheproof(file)),
  );
}

// --- Against Node's crypto -------------------------------------------------------------------------------------------

const SALTS = [0, 20, 31, 33, 64];
const SPOILT: Record<string, Spoilt> = {
  "trailer 0xcc": { trailer: 0xcc },
  "trailer 0": { trailer: 0 },
  "no separator": { separator: 0 },
  "separator 2": { separator: 2 },
  "separator 0x81": { separator: 0x81 },
  "a bit in the first byte of padding": { paddingBit: 0 },
  "a bit in the fourth byte of padding": { paddingBit: 31 },
  "unused bits set": { unusedBits: true },
  "mask by SHA-1": { mgf: "sha1" },
  "mask by SHA-512": { mgf: "sha512" },
  "H by SHA-512/256": { hash: "sha512-256" },
  "first bit of H": { hashBit: 7 },
  "last bit of H": { hashBit: 248 },
};

/** A signature over a spoilt encoding; null where the number has no room below the modulus. */
function spoiltSignature(key: Key, spoilt: Spoilt): Uint8Array | null {
  const n = modulusOf(key);
  for (let attempt = 0; attempt < 200; attempt++) {
    const message = encode(DIGEST, bitsOf(n), randomBytes(spoilt.saltLength ?? 32), spoilt);
    if (message < n) return signNumber(message, key);
  }
  return null;
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = new Uint8Array(bytes);
  copy[bit >> 3] ^= 0x80 >> (bit & 7);
  return copy;
}

/** Everything that can be handed over as a signature by `key`; `good` is what Node's crypto says. */
function casesOf(name: string, key: Key): Case[] {
  const n = modulusOf(key);
  const length = Math.ceil(bitsOf(n) / 8);
  const right = new Uint8Array(signPss(MESSAGE, key));
  const signatures: Record<string, Uint8Array> = {
    valid: right,
    "valid, encoded here": spoiltSignature(key, {}) as Uint8Array,
    "first bit flipped": flipped(right, 0),
    "last bit flipped": flipped(right, 8 * length - 1),
    "a bit in the middle flipped": flipped(right, 4 * length + 3),
    "0": new Uint8Array(length),
    "1": toBytes(1n, length),
    "n - 1": toBytes(n - 1n, length),
    n: toBytes(n, length),
    "all ff": new Uint8Array(length).fill(0xff),
    "a byte short": right.subarray(1),
    "a byte cut off": right.subarray(0, length - 1),
    "a zero byte before": new Uint8Array([0, ...right]),
    "a zero byte after": new Uint8Array([...right, 0]),
    empty: new Uint8Array(0),
    negated: toBytes(n - toBig(right), length),
    "of another message": new Uint8Array(signPss(Buffer.from("other"), key)),
    "PKCS #1 v1.5": new Uint8Array(signPkcs1(MESSAGE, key)),
    "SHA-384": new Uint8Array(signPss(MESSAGE, key, "sha384", 32)),
  };
  if (bitsOf(n + 1n) <= 8 * length) signatures["n + 1"] = toBytes(n + 1n, length);
  if (bitsOf(toBig(right) + n) <= 8 * length) signatures["valid + n"] = toBytes(toBig(right) + n, length);
  for (const salt of SALTS) signatures[`salt of ${salt}`] = new Uint8Array(signPss(MESSAGE, key, "sha256", salt));
  for (const [what, spoilt] of Object.entries(SPOILT)) {
    const signature = spoiltSignature(key, spoilt);
    if (signature) signatures[what] = signature;
  }
  const publicKey = createPublicKey({ key: key.jwk, format: "jwk" });
  return Object.entries(signatures).map(([what, signature]) => {
    const options = { key: publicKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
    // RFC 8017 8.1.2 wants exactly as many bytes as the modulus has; OpenSSL lets leading zeros go
    const good = signature.length === length && verifyByNode("sha256", MESSAGE, options, signature);
    assert.equal(good, what.startsWith("valid") && what !== "valid + n", `Node's crypto on ${name}: ${what}`);
    const bytes = toBytes(n, length);
    return { title: `${name}: ${what}`, n: bytes, e: exponentOf(key), signature, digest: DIGEST, good };
  });
}

const ODD_EXPONENT = 0xfffffffb;
const KEYS: Record<string, () => Promise<Key>> = {};
for (const bits of [2048, 3072, 4096])
  for (const exponent of [3, 17, 65537]) KEYS[`${bits} bits, exponent ${exponent}`] = () => makeKey({ bits, exponent });
KEYS[`2048 bits, exponent ${ODD_EXPONENT}`] = () => makeKey({ exponent: ODD_EXPONENT });

const ones = (count: number) => "1".repeat(count);
const zeros = (count: number) => "0".repeat(count);
/** Limbs of 22 bits in turn all ones and zero, from the most significant bit on. */
const inTurn = (bits: number, length: number) =>
  Array.from({ length }, (_, i) =>
    (Math.floor((bits - 1 - i) / 22) & 1) === (Math.floor((bits - 1) / 22) & 1) ? 1 : 0,
  ).join("");

const STRANGE: Record<string, () => Promise<Key>> = {
  "2048 bits, limbs all ones at both ends": () => keyLike({ bits: 2048, top: ones(600), low: ones(380) }),
  "2048 bits, limbs zero at both ends": () => keyLike({ bits: 2048, top: `1${zeros(600)}`, low: `${zeros(380)}1` }),
  "2048 bits, limbs all ones and zero in turn": () => keyLike({ bits: 2048, top: inTurn(2048, 700), exponent: 3 }),
  "2049 bits": () => keyLike({ bits: 2049 }),
  "2049 bits, limbs all ones": () => keyLike({ bits: 2049, top: ones(700) }),
  "2049 bits, high limbs zero": () => keyLike({ bits: 2049, top: `1${zeros(300)}` }),
  "2050 bits": () => keyLike({ bits: 2050 }),
  "2055 bits": () => keyLike({ bits: 2055 }),
  "2056 bits, no byte to spare": () => keyLike({ bits: 2056, top: ones(64) }),
  "2069 bits, top limb 1": () => keyLike({ bits: 2069, top: `1${zeros(400)}` }),
  "2113 bits, top limb 1, encoded message a byte shorter": () => keyLike({ bits: 2113, top: `1${zeros(44)}` }),
  "3072 bits, limbs all ones": () => keyLike({ bits: 3072, top: ones(900), low: ones(500), exponent: 17 }),
  "4089 bits": () => keyLike({ bits: 4089, top: `1${zeros(44)}`, exponent: 3 }),
  "4096 bits, limbs all ones": () => keyLike({ bits: 4096, top: ones(1500), low: ones(400) }),
};

for (const [name, make] of Object.entries({ ...KEYS, ...STRANGE }))
  test(`agrees with Node's crypto on every kind of signature: ${name}`, async (t) => {
    if (leftOut(t, 3, "of tables of RSA keys")) return;
    const cases = casesOf(name, await make());
    assert.ok(cases.length >= 36, `only ${cases.length} cases`);
    await checkAll(part(t, cases, 6, "signatures of RSA keys of every kind"));
  });

test("agrees with Node's crypto on many random keys, messages and bits", async (t) => {
  for (const round of part(t, [...Array(12).keys()], 4, "random keys of RSA")) {
    const key = await makeKey({ exponent: [3, 17, 65537][round % 3], name: `round ${round % 6}` });
    const message = randomBytes(200);
    const right = signPss(message, key);
    const bit = randomBytes(2).readUInt16BE() % 2048;
    const n = toBytes(modulusOf(key), 256);
    for (const [signature, good] of [
      [right, true],
      [flipped(right, bit), false],
    ] as const)
      await checkAll([
        {
          title: `n ${key.jwk.n}, signature ${Buffer.from(signature).toString("hex")}`,
          n,
          e: exponentOf(key),
          signature,
          digest: sha256(message),
          good,
        },
      ]);
  }
});

test("agrees with Node's crypto on random and strange keys in the real interpreter", inEngine, async () => {
  const cases: Case[] = [];
  for (const [name, make] of Object.entries({ ...KEYS, ...STRANGE })) {
    const all = casesOf(name, await make());
    const some = [
      "valid, encoded here",
      "0",
      "1",
      "n - 1",
      "n",
      "all ff",
      "salt of 20",
      "unused bits set",
      "trailer 0xcc",
    ];
    cases.push(...all.filter(({ title }) => some.some((what) => title === `${name}: ${what}`)));
  }
  await checkInEngine(cases);
});

// --- The power itself ------------------------------------------------------------------------------------------------

function powerOf(n: bigint, e: number, s: bigint): bigint {
  const length = Math.ceil(bitsOf(n) / 8);
  const [modulus, base] = [n, s].map((value) => own(arithmetic, toBytes(value, length)));
  const steps = arithmetic.module.modularPower(modulus, e, base);
  while (steps.step_());
  return toBig(Uint8Array.from(steps.result_()));
}

function randomBelow(limit: bigint): bigint {
  return toBig(randomBytes(Math.ceil(bitsOf(limit) / 8) + 8)) % limit;
}

function basesOf(n: bigint): Record<string, bigint> {
  // Montgomery's R, and the numbers whose Montgomery form is small or nearly n
  const r = (1n << BigInt(22 * Math.ceil((bitsOf(n) + 2) / 22))) % n;
  const back = inverse(r, n);
  return {
    "0": 0n,
    "1": 1n,
    "2": 2n,
    "n - 1": n - 1n,
    "n - 2": n - 2n,
    random: randomBelow(n),
    R: r,
    "1 in Montgomery form": back,
    "5 in Montgomery form": (5n * back) % n,
    "-1 in Montgomery form": n - back,
    "all ones": (1n << BigInt(bitsOf(n) - 1)) - 1n,
    "a power of two": 1n << BigInt(22 * 47),
  };
}

const MODULI: Record<string, (bits: bigint) => bigint> = {
  "all ones": (bits) => (1n << bits) - 1n,
  "the smallest": (bits) => (1n << (bits - 1n)) + 1n,
  "high limbs zero": (bits) => (1n << (bits - 1n)) + (1n << 200n) - 1n,
  "low limbs zero": (bits) => (((1n << (bits - 400n)) - 1n) << 400n) + 1n,
  "limbs in turn": (bits) => BigInt(`0b${inTurn(Number(bits), Number(bits))}`) | 1n,
  random: (bits) => (1n << (bits - 1n)) | randomBelow(1n << (bits - 1n)) | 1n,
};

for (const bits of [2048, 2049, 2055, 2069, 2088, 2089, 2090, 2091, 2113, 3072, 4095, 4096])
  test(`the modular power of ${bits} bits is that of BigInt on random and edge numbers`, (t) => {
    if (leftOut(t, 4, "of tables of RSA keys")) return;
    let turn = bits;
    for (const [which, make] of Object.entries(MODULI)) {
      const n = make(BigInt(bits));
      assert.equal(bitsOf(n), bits);
      for (const [what, s] of Object.entries(basesOf(n))) {
        // exponents in turn: 2^32 - 1 has the longest way, 3 the shortest
        const e = [3, 17, 65537, 0xffffffff, 5][turn++ % 5];
        const wanted = power(s, BigInt(e), n);
        assert.ok(powerOf(n, e, s) === wanted, `modulus ${which}: (${what}) ^ ${e}\nn = ${n}\ns = ${s}`);
      }
    }
  });

// --- Keys ------------------------------------------------------------------------------------------------------------

test("takes keys of 2048 to 4096 bits with odd modulus and exponent, and no others", () => {
  const isKey = (n: bigint, e: number, length = Math.ceil(bitsOf(n) / 8)) =>
    keys.module.isKey(own(keys, toBytes(n, length)), e);
  const of = (bits: number) => (1n << BigInt(bits - 1)) + 1n;
  for (const bits of [2048, 2049, 3072, 4095, 4096])
    for (const e of [3, 5, 17, 65537, 0xffffffff]) assert.equal(isKey(of(bits), e), true, `${bits} bits, e ${e}`);
  for (const bits of [512, 1024, 2040, 2047, 4097, 4104, 8192])
    assert.equal(isKey(of(bits), 65537), false, `${bits} bits`);
  for (const e of [-1, 0, 1, 2, 4, 65536, 65537.5, 0x100000000, 0x100000001, Number.NaN, Number.POSITIVE_INFINITY])
    assert.equal(isKey(of(2048), e), false, `e ${e}`);
  assert.equal(isKey(of(2048) + 1n, 65537), false, "an even modulus");
  assert.equal(isKey(of(2048), 65537, 257), false, "a zero byte before the modulus");
  assert.equal(keys.module.isKey(own(keys, new Uint8Array(0)), 65537), false, "no modulus");
});
