// RSASSA-PSS verification (RFC 8017 8.1.2, 9.1.2) with SHA-256, MGF1-SHA-256 and a salt of 32 bytes.
//
// Numbers are little-endian limbs of 22 bits: a sum of 187 products of two (RSA-4096) stays below 2^53, so the native
// dot product E.convolve is exact. Products are Montgomery's with R = 2^(22 n). The last of its sums needs only the
// product modulo R - 1, in which both halves of a number fall together, because the low half is known to vanish.

import { convolve, sha256 } from "./hal";
import { inSlices } from "./slices";
import type { OtaError } from "./status";

const LIMB = 0x400000;
const LIMB_BITS = 22;
const HASH = 32;
const SALT = 32;

/** Limbs of a number, and the same reversed between zeros, as E.convolve wants the second factor. */
interface Factor {
  /** reversed, zeros behind: for the low half of a product */
  low_: Uint32Array;
  /** reversed, zeros before: for the high half */
  high_: Uint32Array;
}

function toLimbs(bytes: Uint8Array, count: number): Uint32Array {
  const limbs = new Uint32Array(count);
  let word = 0;
  let bits = 0;
  let k = 0;
  for (let i = bytes.length - 1; i >= 0; i--) {
    word += bytes[i] << bits;
    bits += 8;
    if (bits >= LIMB_BITS) {
      limbs[k++] = word % LIMB;
      word >>>= LIMB_BITS;
      bits -= LIMB_BITS;
    }
  }
  if (k < count) limbs[k] = word;
  return limbs;
}

function toBytes(limbs: Uint32Array, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let word = 0;
  let bits = 0;
  let k = 0;
  for (let i = length - 1; i >= 0; i--) {
    if (bits < 8 && k < limbs.length) {
      word += limbs[k++] << bits;
      bits += LIMB_BITS;
    }
    bytes[i] = word;
    word >>>= 8;
    bits -= 8;
  }
  return bytes;
}

function toFactor(limbs: Uint32Array): Factor {
  const count = limbs.length;
  const all = new Uint32Array(3 * count);
  for (let i = 0; i < count; i++) all[2 * count - 1 - i] = limbs[i];
  return { low_: new Uint32Array(all.buffer, 4 * count, 2 * count), high_: new Uint32Array(all.buffer, 0, 2 * count) };
}

function bitLength(bytes: Uint8Array): number {
  let bits = 8 * bytes.length;
  for (let top = 128; top && bytes[0] < top; top >>>= 1) bits--;
  return bits;
}

/** Is a < b? Both big-endian and of the same length. */
function isBelow(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i] < b[i];
  return false;
}

/**
 * Computes signature^exponent mod modulus in steps of one multiplication. All numbers are big-endian; the modulus is
 * odd and has its top byte set, the signature is below it, the exponent is odd.
 */
function modularPower(
  modulus: Uint8Array,
  exponent: number,
  signature: Uint8Array,
): { step_(): boolean; result_(): Uint8Array } {
  const modulusBits = bitLength(modulus);
  // two bits to spare: sums may then stay below twice the modulus instead of below it
  const count = Math.ceil((modulusBits + 2) / LIMB_BITS);
  const last = count - 1;
  const n = toLimbs(modulus, count);
  const nFactor = toFactor(n);
  const nCyclic = new Uint32Array(nFactor.low_.buffer, 4 * count, count);
  const base = toLimbs(signature, count);
  const x = new Uint32Array(count);
  const xFactor = toFactor(x);
  const low = new Uint32Array(count);
  const high = new Float64Array(count);
  const quotient = new Uint32Array(count);
  let inverse: Uint32Array; // -1 / modulus mod R, reversed
  let power: Factor;

  function setX(k: number, limb: number): void {
    x[k] = limb;
    xFactor.low_[last - k] = limb;
  }

  /** x = a * b / R mod modulus, not fully reduced */
  function multiply(a: Uint32Array, b: Factor): void {
    const bLow = b.low_;
    const bHigh = b.high_;
    let carry = 0;
    let k = 0;
    let limb = 0;
    for (k = 0; k < count; k++) {
      carry += convolve(a, bLow, last - k);
      low[k] = limb = carry % LIMB;
      carry = (carry - limb) / LIMB;
    }
    for (k = 0; k < count; k++) high[k] = convolve(a, bHigh, last - k);
    high[0] += carry;
    carry = 0;
    for (k = 0; k < count; k++) {
      carry += convolve(low, inverse, last - k);
      quotient[k] = limb = carry % LIMB;
      carry = (carry - limb) / LIMB;
    }
    carry = 0;
    for (k = 0; k < count; k++) {
      carry += low[k] + high[k] + convolve(quotient, nCyclic, last - k);
      limb = carry % LIMB;
      setX(k, limb);
      carry = (carry - limb) / LIMB;
    }
    for (k = 0; carry; k++) {
      carry += x[k];
      limb = carry % LIMB;
      setX(k, limb);
      carry = (carry - limb) / LIMB;
    }
  }

  /** x -= modulus, if it is not below it */
  function reduce(): void {
    const rest = new Uint32Array(count);
    let borrow = 0;
    for (let k = 0; k < count; k++) {
      const limb = x[k] - n[k] - borrow;
      borrow = limb < 0 ? 1 : 0;
      rest[k] = limb + borrow * LIMB;
    }
    if (!borrow) for (let k = 0; k < count; k++) setX(k, rest[k]);
  }

  /** x = 2 x mod modulus */
  function double(): void {
    reduce();
    let carry = 0;
    for (let k = 0; k < count; k++) {
      const limb = 2 * x[k] + carry;
      carry = limb < LIMB ? 0 : 1;
      setX(k, limb - carry * LIMB);
    }
    reduce();
  }

  // Hensel: one limb after the other, so that modulus * inverse + 1 vanishes modulo R
  function invert(): void {
    const digits = new Uint32Array(count);
    let first = n[0]; // 1 / n[0] mod 2^3, and with each step twice as many bits
    for (let i = 0; i < 3; i++) first = (first * (((2 - n[0] * first) % LIMB) + LIMB)) % LIMB;
    let carry = 1;
    for (let k = 0; k < count; k++) {
      carry += convolve(digits, nFactor.low_, last - k);
      digits[k] = (LIMB - (((carry % LIMB) * first) % LIMB)) % LIMB;
      carry = (carry + n[0] * digits[k]) / LIMB;
    }
    inverse = toFactor(digits).low_;
  }

  // What is to do, a letter a step: i inverse, 2 double, s square, r take x = R * R, p multiply by the base, e end.
  // First 2 R mod modulus by doubling, then 2^(22 n) R = R * R by squaring; then the power, whose last factor is the
  // base itself and not its Montgomery form, which leads out of it.
  let program = "i";
  setX(Math.floor((modulusBits - 1) / LIMB_BITS), 1 << ((modulusBits - 1) % LIMB_BITS));
  for (let i = modulusBits - 1; i <= LIMB_BITS * count; i++) program += "2";
  let bit = 1;
  while (2 * bit <= LIMB_BITS * count) bit *= 2;
  for (bit /= 2; bit >= 1; bit /= 2) program += (LIMB_BITS * count) & bit ? "s2" : "s";
  program += "r";
  bit = 1;
  while (2 * bit <= exponent) bit *= 2;
  for (bit /= 2; bit > 1; bit /= 2) program += (exponent / bit) % 2 >= 1 ? "sp" : "s";
  program += "se";
  let at = 0;

  return {
    step_: () => {
      const letter = program[at++];
      if (letter === "i") invert();
      else if (letter === "2") double();
      else if (letter === "s") multiply(x, xFactor);
      else if (letter === "p") multiply(x, power);
      else if (letter === "r") {
        multiply(base, xFactor);
        power = toFactor(x);
      } else multiply(x, toFactor(base));
      return at < program.length;
    },
    result_: () => {
      reduce();
      return toBytes(x, modulus.length);
    },
  };
}

/** RFC 8017 B.2.1: `length` bytes of mask, xored into `bytes`. */
function unmask(bytes: Uint8Array, seed: Uint8Array): void {
  const input = new Uint8Array(HASH + 4);
  input.set(seed);
  for (let offset = 0; offset < bytes.length; offset += HASH) {
    const mask = sha256(input);
    for (let i = 0; i < HASH && offset + i < bytes.length; i++) bytes[offset + i] ^= mask[i];
    input[HASH + 3]++;
  }
}

/** RFC 8017 9.1.2, for an encoded message of `bits` bits that ends `encoded`. */
function checkEncoding(encoded: Uint8Array, bits: number, digest: Uint8Array): boolean {
  const length = Math.ceil(bits / 8);
  const start = encoded.length - length; // 1 when the modulus has 8 k + 1 bits: its top byte must vanish then
  const dbLength = length - HASH - 1;
  if ((start && encoded[0]) || encoded[encoded.length - 1] !== 0xbc) return false;
  const db = new Uint8Array(dbLength);
  const seed = new Uint8Array(HASH);
  for (let i = 0; i < dbLength; i++) db[i] = encoded[start + i];
  for (let i = 0; i < HASH; i++) seed[i] = encoded[start + dbLength + i];
  const unused = 0xff >>> (8 * length - bits);
  if (db[0] > unused) return false;
  unmask(db, seed);
  db[0] &= unused;
  let wrong = db[dbLength - SALT - 1] ^ 1;
  for (let i = 0; i < dbLength - SALT - 1; i++) wrong |= db[i];
  // M' = eight zero bytes, the message's digest, the salt
  const message = new Uint8Array(8 + HASH + SALT);
  message.set(digest, 8);
  for (let i = 0; i < SALT; i++) message[8 + HASH + i] = db[dbLength - SALT + i];
  const wanted = sha256(message);
  for (let i = 0; i < HASH; i++) wrong |= wanted[i] ^ seed[i];
  return wrong === 0;
}

/** Is (n, e) an RSA key of 2048 to 4096 bits with an odd modulus and an odd exponent of at most 32 bits? */
export function isKey(n: Uint8Array, e: number): boolean {
  const bits = n.length ? bitLength(n) : 0;
  return (
    bits >= 2048 && bits <= 4096 && n[0] > 0 && n[n.length - 1] % 2 === 1 && e >= 3 && e <= 0xffffffff && e % 2 === 1
  );
}

/** Is `signature` the PS256 signature of a message with SHA-256 `digest` by key (n, e), which isKey accepts? Calls `done` once, with an error only when memory ran out. */
export function verifyPss(
  n: Uint8Array,
  e: number,
  signature: Uint8Array,
  digest: Uint8Array,
  done: (error: OtaError | null, good: boolean) => void,
): void {
  if (signature.length !== n.length || !isBelow(signature, n)) return done(null, false);
  const power = modularPower(n, e, signature);
  let good = false;
  inSlices(
    1,
    power.step_,
    () => {
      good = checkEncoding(power.result_(), bitLength(n) - 1, digest);
    },
    (error) => {
      done(error, good);
    },
  );
}
