// RSASSA-PSS verification (RFC 8017 8.1.2, 9.1.2) with SHA-256, MGF1-SHA-256 and a salt of 32 bytes: PS256 of RFC 7518.

import { bitLength } from "./rsa-key";
import { after } from "../platform/timers";
import { sha256 } from "../platform/crypto";
import { isBelow, modularPower } from "./rsa";
import { inSlices } from "../platform/scheduler";
import { tryOr, type OtaError } from "../errors";

const HASH = 32;

const SALT = 32;

/** RFC 8017 B.2.1: xors a mask, made from `seed`, into `bytes`. */
function unmask(bytes: Uint8Array, seed: Uint8Array): void {
  const input = new Uint8Array(HASH + 4);
  input.set(seed);
  for (let offset = 0; offset < bytes.length; offset += HASH) {
    const mask = sha256(input);
    for (let i = 0; i < HASH && offset + i < bytes.length; i++) bytes[offset + i] ^= mask[i];
    input[HASH + 3]++;
  }
}

/** RFC 8017 9.1.2. The encoded message is the last `bits` bits of `encoded`. */
function checkEncoding(encoded: Uint8Array, bits: number, digest: Uint8Array): boolean {
  const length = Math.ceil(bits / 8);
  const start = encoded.length - length; // 1 if the modulus has 8 k + 1 bits: then the first byte must be 0
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
  // M' of RFC 8017: eight zero bytes, the digest of the message, the salt
  const message = new Uint8Array(8 + HASH + SALT);
  message.set(digest, 8);
  for (let i = 0; i < SALT; i++) message[8 + HASH + i] = db[dbLength - SALT + i];
  const expected = sha256(message);
  for (let i = 0; i < HASH; i++) wrong |= expected[i] ^ seed[i];
  return wrong === 0;
}

/**
 * Is `signature` the PS256 signature by the key (n, e) of a message with this SHA-256 digest? isKey() must have accepted the
 * key. Calls `done` once; with an error only if memory has run out.
 */
export function verifyPss(
  n: Uint8Array,
  e: number,
  signature: Uint8Array,
  digest: Uint8Array,
  done: (error: OtaError | null, good: boolean) => void,
): void {
  if (signature.length !== n.length || !isBelow(signature, n)) return done(null, false);
  const bits = bitLength(n) - 1;
  const power = modularPower(n, e, signature);
  let good = false;
  inSlices(
    1,
    power.step_,
    () => {
      good = checkEncoding(power.result_(), bits, digest);
    },
    (error) => {
      // in a new idle pass, and by a bound function: a closure would keep the buffers of the big numbers in memory
      tryOr(
        () => {
          after(0, done.bind(undefined, error, good));
        },
        (failure) => {
          done(failure, false);
        },
      );
    },
  );
}
