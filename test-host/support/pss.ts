// RSA on the host, where it has to be wrong or strange on purpose: moduli of a chosen pattern, encoded messages with one
// part spoilt, powers by BigInt. Imports nothing from src/. Source: RFC 8017 5.2, 9.1.1, B.2.1.

import { checkPrimeSync, constants, createHash, generatePrimeSync, privateEncrypt } from "node:crypto";
import { bitsOf, inverse, type Key, keptKey, type Primes, toBig, toBytes } from "./keys.ts";

export { bitsOf, inverse, toBig, toBytes };

export function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  let square = base % modulus;
  for (let rest = exponent; rest; rest >>= 1n) {
    if (rest & 1n) result = (result * square) % modulus;
    square = (square * square) % modulus;
  }
  return result;
}

// --- Keys -----------------------------------------------------------------------------------------------------------

export type Pattern = {
  bits: number;
  /** The modulus begins with these bits (the first one is 1) … */
  top?: string;
  /** … and ends with these (the last one is 1). Together at most bits / 2 - 20. */
  low?: string;
  exponent?: number;
};

const isPrime = (value: bigint): boolean => checkPrimeSync(value);

function randomPrime(bits: number, exponent: bigint): bigint {
  for (;;) {
    const p = generatePrimeSync(bits, { bigint: true });
    if ((p - 1n) % exponent) return p;
  }
}

/** A real key, with a private half, whose modulus looks as told. */
export function keyLike(pattern: Pattern): Promise<Key> {
  const { bits, exponent = 65537 } = pattern;
  const name = `${bits} ${exponent} like ${createHash("sha256").update(JSON.stringify(pattern)).digest("hex").slice(0, 12)}`;
  return keptKey(name, exponent, () => primesLike(pattern));
}

/** p by chance, q so that p * q looks as told. */
function primesLike({ bits, top = "1", low = "1", exponent = 65537 }: Pattern): Primes {
  const e = BigInt(exponent);
  const step = 1n << BigInt(low.length);
  const wanted = BigInt(`0b${top}`) << BigInt(bits - top.length);
  const room = 1n << BigInt(bits - top.length);
  for (;;) {
    const p = randomPrime(bits >> 1, e);
    const rest = (BigInt(`0b${low}`) * inverse(p, step)) % step;
    let q = ((wanted + room / 4n) / p / step) * step + rest;
    for (; q * p < wanted + room; q += step) {
      if (q * p < wanted || !(q & 1n) || (q - 1n) % e === 0n || !isPrime(q)) continue;
      return { p, q };
    }
  }
}

export const modulusOf = (key: Key): bigint => toBig(Buffer.from(key.jwk.n, "base64url"));
export const exponentOf = (key: Key): number => Number(toBig(Buffer.from(key.jwk.e, "base64url")));

// --- Encoded messages -----------------------------------------------------------------------------------------------

export type Spoilt = {
  saltLength?: number;
  trailer?: number;
  /** The byte between padding and salt. */
  separator?: number;
  /** Sets a bit of the zeros before the separator, counted from the first whole byte. */
  paddingBit?: number;
  /** Sets the unused bits above the encoded message (where there are none: the byte before it). */
  unusedBits?: boolean;
  mgf?: string;
  hash?: string;
  /** Flips a bit of H. */
  hashBit?: number;
};

function maskOf(seed: Uint8Array, length: number, hash: string): Buffer {
  const blocks: Buffer[] = [];
  for (let i = 0; i * 20 < length; i++) {
    const counter = Buffer.alloc(4);
    counter.writeUInt32BE(i);
    blocks.push(createHash(hash).update(seed).update(counter).digest());
  }
  return Buffer.concat(blocks).subarray(0, length);
}

/** EMSA-PSS-ENCODE of a SHA-256 `digest` for a modulus of `modBits` bits, as big-endian number. */
export function encode(digest: Uint8Array, modBits: number, salt: Uint8Array, spoilt: Spoilt = {}): bigint {
  const bits = modBits - 1;
  const length = Math.ceil(bits / 8);
  const hash = spoilt.hash ?? "sha256";
  const h = createHash(hash).update(Buffer.alloc(8)).update(digest).update(salt).digest();
  if (spoilt.hashBit !== undefined) h[spoilt.hashBit >> 3] ^= 1 << (spoilt.hashBit & 7);
  const db = Buffer.alloc(length - h.length - 1);
  db.set(salt, db.length - salt.length);
  db[db.length - salt.length - 1] = spoilt.separator ?? 1;
  if (spoilt.paddingBit !== undefined) db[1 + (spoilt.paddingBit >> 3)] ^= 1 << (spoilt.paddingBit & 7);
  const mask = maskOf(h, db.length, spoilt.mgf ?? "sha256");
  for (let i = 0; i < db.length; i++) db[i] ^= mask[i];
  db[0] &= 0xff >> (8 * length - bits);
  const message = toBig(Buffer.concat([db, h, Buffer.from([spoilt.trailer ?? 0xbc])]));
  return spoilt.unusedBits ? message | (1n << BigInt(bits)) : message;
}

/** The RSA signature of a number below the modulus. */
export function signNumber(message: bigint, key: Key): Uint8Array {
  const length = Math.ceil(bitsOf(modulusOf(key)) / 8);
  const padded = toBytes(message, length);
  return new Uint8Array(privateEncrypt({ key: key.privateKey, padding: constants.RSA_NO_PADDING }, padded));
}
