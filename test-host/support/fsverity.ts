// The fs-verity digest on the host: SHA-256, blocks of 4096 bytes, no salt. Source: docs/formats.md#fs-verity, Linux'
// Documentation/filesystems/fsverity.rst. Independent of src/; vectors/fsverity.json comes from another tool.
import { createHash } from "node:crypto";

const BLOCK = 4096;
const DIGEST_SIZE = 32;

/** One digest per block; the last block counts as filled up with zeros. */
function digestBlocks(bytes: Uint8Array): Buffer {
  const digests: Buffer[] = [];
  for (let offset = 0; offset < bytes.length; offset += BLOCK) {
    const block = Buffer.alloc(BLOCK);
    block.set(bytes.subarray(offset, offset + BLOCK));
    digests.push(createHash("sha256").update(block).digest());
  }
  return Buffer.concat(digests);
}

function rootDigest(bytes: Uint8Array): Buffer {
  if (bytes.length === 0) return Buffer.alloc(DIGEST_SIZE);
  let level = digestBlocks(bytes);
  while (level.length > DIGEST_SIZE) level = digestBlocks(level);
  return level;
}

/** 64 hexadecimal digits. */
export function fsverity(bytes: Uint8Array): string {
  const descriptor = Buffer.alloc(256);
  descriptor.set([1, 1, 12, 0]); // version, SHA-256, log2 of the block size, salt size
  descriptor.writeBigUInt64LE(BigInt(bytes.length), 8);
  descriptor.set(rootDigest(bytes), 16);
  return createHash("sha256").update(descriptor).digest("hex");
}
