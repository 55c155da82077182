// RSA keys of the tests. The search for primes takes tenths of a second for a usual key and seconds for a strange one, so
// the primes are kept in vectors/keys.json: RECORD=1 adds what a test makes. `npm run test:all` makes all of them again.

import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { calculateJwkThumbprint } from "jose";

export type Jwk = { kty: string; n: string; e: string; kid?: string };
export type Key = { privateKey: KeyObject; publicKey: KeyObject; jwk: Jwk; kid: string };
export type Primes = { p: bigint; q: bigint };
export type KeySpec = {
  /** Default 2048. */
  bits?: number;
  /** Default 65537. */
  exponent?: number;
  /** Keys of different names differ. */
  name?: string;
};

const FILE = new URL("../vectors/keys.json", import.meta.url);
const FRESH = process.env.CAMPAIGN === "1";

/** By name: p and q, base64url. */
const kept: Record<string, [string, string]> = JSON.parse(readFileSync(FILE, "utf8"));
const keys = new Map<string, Promise<Key>>();

export const toBig = (bytes: Uint8Array): bigint =>
  bytes.length ? BigInt(`0x${Buffer.from(bytes).toString("hex")}`) : 0n;

export function toBytes(value: bigint, length: number): Uint8Array {
  const hex = value.toString(16).padStart(2 * length, "0");
  if (hex.length > 2 * length) throw new RangeError(`the number needs more than ${length} bytes`);
  return new Uint8Array(Buffer.from(hex, "hex"));
}

export const bitsOf = (value: bigint): number => value.toString(2).length;

export function inverse(value: bigint, modulus: bigint): bigint {
  let [a, b, x, y] = [value % modulus, modulus, 1n, 0n];
  while (a) {
    const q = b / a;
    [a, b, x, y] = [b - q * a, a, y - q * x, x];
  }
  if (b !== 1n) throw new RangeError("not invertible");
  return ((y % modulus) + modulus) % modulus;
}

const encode = (value: bigint): string =>
  Buffer.from(toBytes(value, Math.ceil(bitsOf(value) / 8))).toString("base64url");
const decode = (text: string): bigint => toBig(Buffer.from(text, "base64url"));

/** A private key with all that a device and a manifest need of it. */
export async function keyOf(privateKey: KeyObject): Promise<Key> {
  const publicKey = createPublicKey(privateKey);
  const { kty, n, e } = publicKey.export({ format: "jwk" }) as Jwk;
  const jwk = { kty, n, e };
  return { privateKey, publicKey, jwk, kid: await calculateJwkThumbprint(jwk) };
}

function privateKeyOf({ p, q }: Primes, exponent: number): KeyObject {
  const e = BigInt(exponent);
  const d = inverse(e, (p - 1n) * (q - 1n));
  const numbers = { n: p * q, e, d, p, q, dp: d % (p - 1n), dq: d % (q - 1n), qi: inverse(q, p) };
  const texts = Object.entries(numbers).map(([name, value]) => [name, encode(value)]);
  return createPrivateKey({ key: { kty: "RSA", ...Object.fromEntries(texts) }, format: "jwk" });
}

/** The key of that name: what was kept, or of primes that `search` finds. Once per process. */
export function keptKey(name: string, exponent: number, search: () => Primes | Promise<Primes>): Promise<Key> {
  const make = async () => {
    if (kept[name] && !FRESH)
      return keyOf(privateKeyOf({ p: decode(kept[name][0]), q: decode(kept[name][1]) }, exponent));
    const primes = await search();
    if (process.env.RECORD) {
      kept[name] = [encode(primes.p), encode(primes.q)];
      writeFileSync(FILE, `${JSON.stringify(kept, null, 1)}\n`);
    }
    return keyOf(privateKeyOf(primes, exponent));
  };
  const key = keys.get(name) ?? make();
  keys.set(name, key);
  return key;
}

export function makeKey({ bits = 2048, exponent = 65537, name = "" }: KeySpec = {}): Promise<Key> {
  return keptKey(`${bits} ${exponent} ${name}`.trim(), exponent, async () => {
    const { privateKey } = await promisify(generateKeyPair)("rsa", { modulusLength: bits, publicExponent: exponent });
    const { p, q } = privateKey.export({ format: "jwk" });
    return { p: decode(p as string), q: decode(q as string) };
  });
}
