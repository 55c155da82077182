// The promise: nobody uses a mistake in the RSA arithmetic. Powers of strange and random numbers against BigInt, signatures
// that hold and that nearly hold against Node's crypto. One check by exponent 3 takes some 2 ms.

import assert from "node:assert/strict";
import { constants, verify } from "node:crypto";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { type Loaded, loadSource } from "../support/load.ts";
import { bitsOf, power, toBig, toBytes } from "../support/pss.ts";
import { type Key, makeKey, sha256, signPss } from "../support/release.ts";
import { flipped, flips, holds } from "./fuzz.ts";

type Program = Loaded;
let pss: Program;
let rsa: Program;
const keys: Key[] = [];

before(async () => {
  pss = await loadSource("trust/pss.ts");
  rsa = await loadSource("trust/rsa.ts");
  for (const [bits, exponent] of [
    [2048, 3],
    [2048, 17],
    [2056, 3],
    [3072, 3],
    [2048, 65537],
  ])
    keys.push(await makeKey({ bits, exponent }));
});
after(() => {
  pss.engine.stop();
  rsa.engine.stop();
});

/** Bytes of the program's own realm. */
function own(program: Program, bytes: Uint8Array): unknown {
  const out = new (program.engine.run("Uint8Array") as any)(bytes.length);
  out.set(bytes);
  return out;
}

function accepts(n: Uint8Array, e: number, signature: Uint8Array, digest: Uint8Array): Promise<boolean> {
  return new Promise((resolve, reject) => {
    pss.module.verifyPss(own(pss, n), e, own(pss, signature), own(pss, digest), (error: unknown, good: boolean) =>
      error ? reject(error) : resolve(good),
    );
  });
}

function powerOf(n: bigint, e: number, s: bigint): bigint {
  const length = Math.ceil(bitsOf(n) / 8);
  const steps = rsa.module.modularPower(own(rsa, toBytes(n, length)), e, own(rsa, toBytes(s, length)));
  while (steps.step_());
  return toBig(Uint8Array.from(steps.result_()));
}

/** A number of `bits` bits: limbs of all ones, of zeros, and random ones in turn. */
const number = (bits: number): fc.Arbitrary<bigint> =>
  fc
    .array(
      fc.oneof(
        fc.constantFrom(0n, (1n << 64n) - 1n, 1n, 1n << 63n, (1n << 22n) - 1n),
        fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      ),
      { minLength: Math.ceil(bits / 64), maxLength: Math.ceil(bits / 64) },
    )
    .map((words) =>
      BigInt.asUintN(
        bits,
        words.reduce((all, word) => (all << 64n) | word, 0n),
      ),
    );

const modulus = fc
  .oneof(
    { weight: 12, arbitrary: fc.constantFrom(2048, 2049, 2056, 2090, 2091) },
    { weight: 1, arbitrary: fc.constantFrom(3072, 4095, 4096) },
  )
  .chain((bits) => number(bits).map((n) => n | 1n | (1n << BigInt(bits - 1))));

const raised = modulus.chain((n) =>
  fc.record({
    n: fc.constant(n),
    e: fc.oneof(
      { weight: 30, arbitrary: fc.constantFrom(3, 3, 3, 5, 7, 17) },
      { weight: 1, arbitrary: fc.constantFrom(65537, 0xffffffff) },
    ),
    s: fc.oneof(
      number(bitsOf(n)).map((s) => s % n),
      fc
        .constantFrom<(n: bigint) => bigint>(
          () => 0n,
          () => 1n,
          () => 2n,
          (n) => n - 1n,
          (n) => n - 2n,
          (n) => n >> 1n,
          (n) => (1n << BigInt(22 * Math.ceil((bitsOf(n) + 2) / 22))) % n,
        )
        .map((of) => of(n)),
    ),
  }),
);

const hex = (value: bigint): string => value.toString(16);

test("use a mistake in the RSA arithmetic: each power is that of BigInt", async (t) => {
  await holds(
    t,
    raised,
    ({ n, e, s }) => {
      const wanted = power(s, BigInt(e), n);
      const found = powerOf(n, e, s);
      assert.ok(found === wanted, `${hex(found)}, wanted ${hex(wanted)}`);
    },
    { share: 0.6, show: ({ n, e, s }) => ({ n: hex(n), e, s: hex(s) }) },
  );
});

const claim = fc.record({
  which: fc.oneof({ weight: 12, arbitrary: fc.nat(3) }, { weight: 1, arbitrary: fc.constant(4) }),
  message: fc.uint8Array({ maxLength: 20 }),
  how: fc.constantFrom(
    "right" as const,
    "right" as const,
    "flipped" as const,
    "digest" as const,
    "salt" as const,
    "short" as const,
    "long" as const,
    "plus n" as const,
    "random" as const,
    "other key" as const,
  ),
  bits: flips(2),
  salt: fc.constantFrom(0, 20, 31, 33, 64),
  random: fc.uint8Array({ minLength: 256, maxLength: 256 }),
});

test("a signature is taken when Node takes it, salt 32 and as long as the modulus", async (t) => {
  await holds(
    t,
    claim,
    async ({ which, message, how, bits, salt, random }) => {
      const key = keys[which];
      const n = new Uint8Array(Buffer.from(key.jwk.n, "base64url"));
      const e = toBig(Buffer.from(key.jwk.e, "base64url"));
      const signer = how === "other key" ? keys[(which + 1) % keys.length] : key;
      let signature: Uint8Array = new Uint8Array(signPss(message, signer, "sha256", how === "salt" ? salt : 32));
      let digest: Uint8Array = new Uint8Array(sha256(message));
      if (how === "flipped") signature = flipped(signature, bits);
      if (how === "digest") digest = flipped(digest, bits);
      if (how === "short") signature = signature.subarray(0, -1);
      if (how === "long") signature = new Uint8Array(Buffer.concat([Uint8Array.of(0), signature]));
      if (how === "random") signature.set(random, signature.length - 256);
      if (how === "plus n") {
        const sum = toBig(signature) + toBig(n);
        signature = toBytes(sum, bitsOf(sum) > 8 * n.length ? n.length + 1 : n.length);
      }
      const options = { key: key.publicKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
      const theirs = how !== "digest" && signature.length === n.length && verify("sha256", message, options, signature);
      const same = how === "digest" && sha256(message).equals(digest);
      assert.equal(await accepts(n, Number(e), signature, digest), theirs || same, how);
      assert.deepEqual(rsa.engine.problems, []);
    },
    { share: 0.4 },
  );
});
