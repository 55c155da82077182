// Modular exponentiation for RSA: the public operation RSAVP1 of RFC 8017 5.2.2.
//
// Numbers are little-endian limbs of 22 bits. A product is Montgomery's, computed column by column (the "finely
// integrated product scanning" of Koc, Acar, Kaliski 1996): column k sums a[i] * b[k - i] + q[i] * n[k - i], and q is
// chosen such that the lower half of the product becomes 0. One array has a and q interleaved, another one b and n,
// reversed: then a column is one call of the native dot product E.convolve. It is exact, because the sum of 2 * 187 products
// of 44 bits (RSA-4096) stays below 2^53.

import { bitLength } from "./rsa-key";
import { convolve } from "../platform/engine";

const LIMB = 0x400000;
const LIMB_BITS = 22;

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

/** Is a < b? Both big-endian and of the same length. */
export function isBelow(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i] < b[i];
  return false;
}

/**
 * left = x = left * right / R mod modulus. The result is below twice the modulus if both factors are. left has the limbs
 * of one factor at even places, and room for q at odd ones. right has limb k of the other factor at 2 (count - 1 - k),
 * and limb k of the modulus behind it. x becomes the result in the form of right, and may be right itself. inverse is
 * -1 / modulus mod 2^22.
 *
 * Nearly all the time is spent in these loops. To find a name, the interpreter searches the names of each scope: so the
 * function uses few names, and only local ones.
 */
function multiply(left: Uint32Array, right: Uint32Array, x: Uint32Array, inverse: number): void {
  let column = 0;
  let index = 0;
  let limb = 0;
  const dot = convolve;
  const length = left.length;
  const lowest = right[length - 1];
  for (; index < length; index += 2) {
    column += dot(right.subarray(-2 - index, -1), left, 0);
    limb = left[index + 1] = ((column % LIMB) * inverse) % LIMB;
    column = (column + limb * lowest) / LIMB;
  }
  for (index = 2; index <= length; index += 2) {
    column += dot(left.subarray(index), right, 0);
    limb = left[index - 2] = x[length - index] = column % LIMB;
    column = (column - limb) / LIMB;
  }
}

/**
 * Computes signature^exponent mod modulus in steps of one multiplication. All numbers are big-endian; the modulus is
 * odd and its top byte is not 0, the signature is below it, the exponent is odd.
 * More than 60 lines: its functions share the limbs, and a variable of a scope takes fewer JsVars than an object that is
 * passed to each function.
 */
export function modularPower(
  modulus: Uint8Array,
  exponent: number,
  signature: Uint8Array,
): { step_(): boolean; result_(): Uint8Array } {
  const modulusBits = bitLength(modulus);
  // two more bits than the modulus: then products may be below twice the modulus, and need no subtraction
  const count = Math.ceil((modulusBits + 2) / LIMB_BITS);
  const last = count - 1;
  const n = toLimbs(modulus, count);
  const nTop = (n[last] * LIMB + n[last - 1]) * LIMB + n[last - 2];
  const x = new Uint32Array(2 * count); // as left
  const base = toLimbs(signature, count);
  let power: Uint32Array; // the base in Montgomery's form, as right
  let inverse = n[0]; // 1 / n[0] mod 2^3, and with each step twice as many bits; then its negative
  for (let i = 0; i < 3; i++) inverse = (inverse * (((2 - n[0] * inverse) % LIMB) + LIMB)) % LIMB;
  inverse = LIMB - inverse;

  function toRight(limbs: Uint32Array): Uint32Array {
    const right = new Uint32Array(2 * count);
    for (let k = 0; k < count; k++) {
      right[2 * (last - k)] = limbs[k];
      right[2 * (last - k) + 1] = n[k];
    }
    return right;
  }
  const xRight = toRight(new Uint32Array(count));

  /** x = 2^22 x mod modulus. The result is below twice the modulus if x is. */
  function shift(): void {
    // the quotient or one less: the three top limbs give it with an error below 2^-19
    const top = (x[2 * last] * LIMB + x[2 * last - 2]) * LIMB + x[2 * last - 4];
    const factor = Math.max(0, Math.floor((top / nTop) * LIMB - 0.01));
    let carry = 0;
    let below = 0;
    for (let k = 0; k < count; k++) {
      carry += below - factor * n[k];
      below = x[2 * k];
      let limb = carry % LIMB;
      if (limb < 0) limb += LIMB;
      x[2 * k] = xRight[2 * (last - k)] = limb;
      carry = (carry - limb) / LIMB;
    }
  }

  // The program, one letter per step: l shift left by one limb, s square, r from R * R to the base's Montgomery form, p
  // multiply by that form, e end. First R = 2^(22 n) and some limbs more by shifting, then 2^(22 n) R = R * R by
  // squaring. Then the power; its last factor is the base itself, which converts the result from the Montgomery form.
  let program = "ll";
  x[2 * last - 2] = 1;
  let bit = 1;
  while (16 * bit <= count) bit *= 2;
  for (let i = Math.floor(count / bit); i; i--) program += "l";
  for (bit /= 2; bit >= 1; bit /= 2) program += count & bit ? "sl" : "s";
  program += "r";
  bit = 1;
  while (2 * bit <= exponent) bit *= 2;
  for (bit /= 2; bit > 1; bit /= 2) program += (exponent / bit) % 2 >= 1 ? "sp" : "s";
  program += "se";
  let step = 0;

  return {
    step_: () => {
      const letter = program[step++];
      if (letter === "l") shift();
      else if (letter === "s") multiply(x, xRight, xRight, inverse);
      else if (letter === "p") multiply(x, power, xRight, inverse);
      else {
        multiply(x, toRight(base), xRight, inverse);
        if (program.indexOf("p") >= 0) power = new Uint32Array(xRight);
      }
      return step < program.length;
    },
    result_: () => {
      const limbs = new Uint32Array(count);
      const rest = new Uint32Array(count);
      let borrow = 0;
      for (let k = 0; k < count; k++) {
        limbs[k] = x[2 * k];
        const limb = limbs[k] - n[k] - borrow;
        borrow = limb < 0 ? 1 : 0;
        rest[k] = limb + borrow * LIMB;
      }
      return toBytes(borrow ? limbs : rest, modulus.length);
    },
  };
}
