// The fs-verity digest of a file in flash: a tree of SHA-256 over 4096-byte blocks, so that it can be made of native
// one-shot hashes with one block in memory at a time.
// Source: DESIGN.md 4 (Linux Documentation/filesystems/fsverity.rst: 4096-byte blocks, SHA-256, no salt).

import { setU32 } from "./bytes";
import { binary, read, sha256 } from "./hal";

/** How a digest begins where it is written down: in a configuration and in a manifest. */
export const enum Prefix {
  CONFIG = "fsverity-sha256:",
  MANIFEST = "sha256:",
}

const BLOCK = 4096;
const DESCRIPTOR_LENGTH = 256;

/**
 * The digits of "<prefix><64 hexadecimal digits>" in lower case; "" for any other text.
 * @chapter bytes
 */
export function digitsOf(text: string, prefix: string): string {
  const digits = text.substr(prefix.length).toLowerCase();
  if (text.substr(0, prefix.length) !== prefix || digits.length !== 64) return "";
  for (let i = 0; i < 64; i++) if ("0123456789abcdef".indexOf(digits[i]) < 0) return "";
  return digits;
}

/** SHA-256 of `text` zero-padded to a block, as a binary string. */
function hashBlock(text: string): string {
  if (text.length === BLOCK) return binary(sha256(text));
  const block = new Uint8Array(BLOCK);
  block.set(text);
  return binary(sha256(block));
}

export interface Verity {
  /** hashes the next block; false when all are done */
  step_(): boolean;
  /** the digest, as 64 hexadecimal digits; after the last step */
  digest_(): string;
}

/**
 * The digest of the `size` bytes of flash at `addr`. `start`: bytes that count instead of as many at the beginning.
 * @chapter
 */
export function verity(addr: number, size: number, start: string): Verity {
  const levels: string[] = []; // levels[i]: digests of level i whose block is not full yet
  let offset = 0;

  function push(level: number, digest: string): void {
    if (level === levels.length) levels.push("");
    if (levels[level].length === BLOCK) {
      const full = levels[level];
      levels[level] = "";
      push(level + 1, hashBlock(full));
    }
    levels[level] += digest;
  }

  function step(): boolean {
    if (offset >= size) return false;
    const length = Math.min(size - offset, BLOCK);
    const block = read(addr + offset, length);
    if (!offset) block.set(start);
    push(0, hashBlock(binary(block)));
    offset += length;
    return offset < size;
  }

  function digest(): string {
    // a level that is neither the top nor a single digest still has to be hashed into the one above
    for (let i = 0; i < levels.length; i++)
      if (i < levels.length - 1 || levels[i].length > 32) push(i + 1, hashBlock(levels[i]));
    const descriptor = new Uint8Array(DESCRIPTOR_LENGTH);
    descriptor[0] = 1; // version
    descriptor[1] = 1; // SHA-256
    descriptor[2] = 12; // log2 of the block size
    setU32(descriptor, 8, size);
    if (size) descriptor.set(levels[levels.length - 1], 16);
    const hash = sha256(descriptor);
    let text = "";
    for (let i = 0; i < hash.length; i++) text += (256 + hash[i]).toString(16).substr(1);
    return text;
  }

  return { step_: step, digest_: digest };
}
