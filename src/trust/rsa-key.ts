// Which RSA keys a device accepts. Pure: the command on the host makes and loads keys by the same rule.

/** An enum takes no variable. */
export const enum Rsa {
  MIN_BITS = 2048,
  MAX_BITS = 4096,
  MAX_EXPONENT = 0xffffffff,
}

/** Bits of the big-endian number `bytes`. */
export function bitLength(bytes: Uint8Array): number {
  let bits = 8 * bytes.length;
  for (let top = 128; top && bytes[0] < top; top >>>= 1) bits--;
  return bits;
}

/** Is (n, e) an RSA key of 2048 to 4096 bits with an odd modulus and an odd exponent of at most 32 bits? */
export function isKey(n: Uint8Array, e: number): boolean {
  const bits = n.length ? bitLength(n) : 0;
  return (
    bits >= Rsa.MIN_BITS &&
    bits <= Rsa.MAX_BITS &&
    n[0] > 0 &&
    n[n.length - 1] % 2 === 1 &&
    e >= 3 &&
    e <= Rsa.MAX_EXPONENT &&
    e % 2 === 1
  );
}
