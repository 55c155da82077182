// The fs-verity digest of a file in flash: a tree of SHA-256 over 4096-byte blocks. Each hash is one native call, with
// one block in memory.
// Source: docs/formats.md#fs-verity (Linux Documentation/filesystems/fsverity.rst: 4096-byte blocks, SHA-256, no salt).

import { sha256 } from "../platform/crypto";
import { setU32 } from "../platform/bytes";
import { binary, read } from "../platform/flash";
import { readBlock } from "../platform/flash-blocks";

const BLOCK = 4096;
const HASH = 32; // of a SHA-256
const DESCRIPTOR_LENGTH = 256;

export interface FsVerityHasher {
  /** Adds the hash of the block at `offset` of the file. Ignored unless this block is the next one. */
  add_(offset: number, hash: Uint8Array): void;
  /** Hashes the next block of a file of `size` bytes; false when all blocks are hashed. */
  step_(size: number): boolean;
  /** The digest of the file of `size` bytes, as 64 hexadecimal digits. To be called once, after the last step. */
  digest_(size: number): string;
}

/**
 * For the file in flash at `addr`. It may have 64 MB: up to this size one block holds the digests of all full blocks of
 * the level below. `start`: bytes that replace the first ones in flash.
 * More than 30 lines: a closure, whose variables would take more JsVars as fields of an object.
 */
export function createFsVerityHasher(addr: number, start: string): FsVerityHasher {
  // digests of blocks of the file, then zeros. A string that grows would take 100 JsVars more
  let leaves: Uint8Array | undefined;
  let filled = 0; // bytes of `leaves`
  let above = ""; // the level above: one digest of `leaves` for each time that it was full
  let next = 0; // offset of the first block that is not hashed

  function add(offset: number, hash: Uint8Array): void {
    if (offset !== next) return;
    if (!leaves) leaves = new Uint8Array(BLOCK);
    if (filled === BLOCK) {
      above += binary(sha256(leaves));
      leaves.fill(0);
      filled = 0;
    }
    leaves.set(hash, filled);
    filled += HASH;
    next = offset + BLOCK;
  }

  function step(size: number): boolean {
    if (next >= size) return false;
    // most blocks are read without another call, because memory is shortest here; the block is freed before add()
    const whole = next && next + BLOCK <= size;
    const hash = sha256(whole ? read(addr + next, BLOCK) : readBlock(addr + next, size - next, next ? "" : start));
    add(next, hash);
    return next < size;
  }

  function digest(size: number): string {
    const descriptor = new Uint8Array(DESCRIPTOR_LENGTH);
    descriptor[0] = 1; // version
    descriptor[1] = 1; // SHA-256
    descriptor[2] = 12; // log2 of the block size
    setU32(descriptor, 8, size);
    if (leaves) {
      let root = leaves; // the digest of a single block is the root
      if (size > BLOCK) {
        above += binary(sha256(leaves));
        leaves.fill(0);
        leaves.set(above);
        if (above.length > HASH) root = sha256(leaves);
      }
      descriptor.set(root.subarray(0, HASH), 16);
    }
    const hash = sha256(descriptor);
    let text = "";
    for (let i = 0; i < hash.length; i++) text += (256 + hash[i]).toString(16).substr(1);
    return text;
  }

  return { add_: add, step_: step, digest_: digest };
}
