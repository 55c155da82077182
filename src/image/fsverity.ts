// The fs-verity digest of a file in flash: a tree of SHA-256 over 4096-byte blocks. It is made of native one-shot
// hashes, with one block in memory at a time.
// Source: docs/formats.md#fs-verity (Linux Documentation/filesystems/fsverity.rst: 4096-byte blocks, SHA-256, no salt).

import { sha256 } from "../platform/crypto";
import { setU32 } from "../platform/bytes";
import { binary, read } from "../platform/flash";

const BLOCK = 4096;
const HASH = 32; // of a SHA-256
const DESCRIPTOR_LENGTH = 256;

/** SHA-256 of a block, as a binary string. */
function hashBlock(block: Uint8Array): string {
  return binary(sha256(block));
}

/** A block that begins with `bytes` and is zero behind them. */
function padded(bytes: ArrayLike<number>): Uint8Array {
  const block = new Uint8Array(BLOCK);
  block.set(bytes);
  return block;
}

export interface FsVerityHasher {
  /** hashes the next block; false when all are hashed */
  step_(): boolean;
  /** the digest, as 64 hexadecimal digits; after the last step, and once */
  digest_(): string;
}

/**
 * The digest of the `size` bytes of flash at `addr`, at most 64 MB: then one block holds the digests of all full blocks
 * of the level below. `start`: bytes that replace the first ones in flash.
 */
export function createFsVerityHasher(addr: number, size: number, start: string): FsVerityHasher {
  // digests of blocks of the file, and zeros behind them. A growing string would take 100 JsVars more
  let leaves: Uint8Array;
  let filled = 0; // bytes of `leaves`
  let above = ""; // digests of `leaves`, one for each time that it was full
  let offset = 0;

  function step(): boolean {
    if (offset >= size) return false;
    const length = Math.min(size - offset, BLOCK);
    if (!offset) leaves = new Uint8Array(BLOCK);
    if (filled === BLOCK) {
      above += hashBlock(leaves);
      leaves.fill(0);
      filled = 0;
    }
    // a last, shorter block: what was read is freed before the padded copy is hashed
    const block = length < BLOCK ? padded(read(addr + offset, length)) : read(addr + offset, length);
    if (!offset) block.set(start);
    leaves.set(sha256(block), filled);
    filled += HASH;
    offset += length;
    return offset < size;
  }

  function digest(): string {
    const descriptor = new Uint8Array(DESCRIPTOR_LENGTH);
    descriptor[0] = 1; // version
    descriptor[1] = 1; // SHA-256
    descriptor[2] = 12; // log2 of the block size
    setU32(descriptor, 8, size);
    let root = leaves; // the digest of a single block is the root
    if (size > BLOCK) {
      above += hashBlock(leaves);
      leaves.fill(0);
      leaves.set(above);
      if (above.length > HASH) root = sha256(leaves);
    }
    if (size) descriptor.set(root.subarray(0, HASH), 16);
    const hash = sha256(descriptor);
    let text = "";
    for (let i = 0; i < hash.length; i++) text += (256 + hash[i]).toString(16).substr(1);
    return text;
  }

  return { step_: step, digest_: digest };
}
