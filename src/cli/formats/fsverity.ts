// The fs-verity digest of a file: SHA-256, blocks of 4096 bytes, no salt; what `fsverity digest` prints.
// The device's hasher (src/image/fsverity.ts) is not used: it hashes flash in steps, and imports the reads and the
// SHA-256 of Espruino. As parameters they would cost bytes of the module. Both hashers are tested with the digests of
// the `fsverity` tool in test-host/vectors/fsverity.json.
// Source: docs/formats.md#fs-verity, Linux Documentation/filesystems/fsverity.rst.
import { createHash } from "node:crypto";

const BLOCK = 4096;
const HASH = 32;

/** The digests of all blocks, one behind the other; the last block counts as filled up with zeros. */
function hashLevel(bytes: Uint8Array): Uint8Array {
  const count = Math.ceil(bytes.length / BLOCK);
  const level = new Uint8Array(count * HASH);
  for (let i = 0; i < count; i++) {
    const block = bytes.subarray(i * BLOCK, (i + 1) * BLOCK);
    const hash = createHash("sha256").update(block);
    level.set(hash.update(new Uint8Array(BLOCK - block.length)).digest(), i * HASH);
  }
  return level;
}

/** "sha256:" and 64 hexadecimal digits: claim image.fsverity. */
export function fsverity(bytes: Uint8Array): string {
  // a file of one block: that block's digest; an empty file: zeros
  let root = bytes.length ? hashLevel(bytes) : new Uint8Array(HASH);
  while (root.length > HASH) root = hashLevel(root);
  const descriptor = Buffer.alloc(256);
  descriptor.set([1, 1, 12, 0]); // version 1, SHA-256, log2 of the block size, no salt
  descriptor.writeBigUInt64LE(BigInt(bytes.length), 8);
  descriptor.set(root, 16);
  return `sha256:${createHash("sha256").update(descriptor).digest("hex")}`;
}
