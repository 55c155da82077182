// Verifies an image in a slot: its segments, its length, and its fs-verity digest. Without a digest its checksum is
// compared. The work is done in slices from the idle loop, so that the device stays responsive.
// Source: docs/formats.md#checksum-and-hash (IDF esp_image_format.c), docs/decisions/fs-verity.md.

import { hex } from "../platform/bytes";
import { createFsVerityHasher, type FsVerityHasher } from "./fsverity";
import { Flash, read } from "../platform/flash";
import { checksumOffset, Size, walkSegments } from "./image";
import { inSlices, Slice } from "../platform/scheduler";
import { toOtaError, Code, otaError, type OtaError } from "../errors";

const CHECKSUM_SEED = 0xef;

/** XOR of `length` bytes (a multiple of 4) of flash at `addr`, as one word. By words, because JavaScript is slow. */
function xorWords(addr: number, length: number): number {
  const words = new Uint32Array(read(addr, length).buffer);
  let x = 0;
  let i = 0;
  for (; i + 8 <= words.length; i += 8)
    x ^=
      words[i] ^ words[i + 1] ^ words[i + 2] ^ words[i + 3] ^ words[i + 4] ^ words[i + 5] ^ words[i + 6] ^ words[i + 7];
  for (; i < words.length; i++) x ^= words[i];
  return x;
}

/** The image's XOR checksum over the data of all segments. `ranges`: pairs of an offset and a length. */
function checksum(addr: number, ranges: number[]): { step(): boolean; value(): number } {
  let word = 0;
  let range = 0;
  let offset = 0;
  return {
    step: (): boolean => {
      if (range >= ranges.length) return false;
      const rest = ranges[range + 1] - offset;
      const length = Math.min(rest, Flash.SECTOR);
      if (length) word ^= xorWords(addr + ranges[range] + offset, length);
      offset += length;
      if (offset === ranges[range + 1]) {
        offset = 0;
        range += 2;
      }
      return true;
    },
    value: (): number => (word ^ (word >>> 8) ^ (word >>> 16) ^ (word >>> 24) ^ CHECKSUM_SEED) & 0xff,
  };
}

/**
 * Calls `done` with the fs-verity digest of the `size` bytes of flash at `addr`, or with an error. `start`: see
 * verifyImage. `expected`: any other digest is OTA_VALIDATE_FAILED; "" accepts every digest. The digest is compared here
 * because the functions of a caller that compares it would stay in memory while the hash is computed. `startedHasher`: has
 * hashed the first blocks of the same file.
 */
export function hashFlash(
  addr: number,
  size: number,
  start: string,
  expected: string,
  done: (error: OtaError | null, digest: string) => void,
  startedHasher?: FsVerityHasher,
): void {
  const hasher = startedHasher || createFsVerityHasher(addr, start);
  let digest = "";
  inSlices(
    Slice.BLOCKS,
    () => hasher.step_(size),
    () => {
      digest = hasher.digest_(size);
      if (expected && digest !== expected)
        throw otaError(Code.OTA_VALIDATE_FAILED, "fs-verity digest " + digest + ", expected " + expected);
    },
    (error) => done(error, digest),
  );
}

/**
 * Verifies the file of `size` bytes of flash at `address` as an image for `chipId`. `digest`: the fs-verity digest that
 * it must have, 64 hexadecimal digits; "" compares the image's own checksum instead. `start`: bytes that replace the
 * first ones in flash, "" for an image that is complete in flash. `startedHasher`: see hashFlash. Calls `done` once: with
 * null, and the digest if it was given; or with OTA_VALIDATE_FAILED.
 * More than 30 lines: its steps are closures that share the segments.
 */
export function verifyImage(
  chipId: number,
  address: number,
  size: number,
  digest: string,
  start: string,
  done: (error: OtaError | null, digest?: string) => void,
  startedHasher?: FsVerityHasher,
): void {
  const ranges: number[] = [];
  function readSlot(offset: number, length: number): Uint8Array {
    const bytes = read(address + offset, length);
    if (!offset) bytes.set(start);
    return bytes;
  }
  let length = 0;
  try {
    length = walkSegments(chipId, size, readSlot, (offset, bytes) => {
      ranges.push(offset, bytes);
    });
  } catch (thrown) {
    return done(toOtaError(thrown));
  }
  if (digest) return /*@__NOINLINE__*/ hashFlash(address, size, start, digest, done, startedHasher);
  const sum = checksum(address, ranges);
  inSlices(
    Slice.BLOCKS,
    sum.step,
    () => {
      const expected = readSlot(checksumOffset(readSlot(0, Size.FIRST_SEGMENT), length), 1)[0];
      if (sum.value() !== expected)
        throw otaError(Code.OTA_VALIDATE_FAILED, "image checksum " + hex(sum.value()) + ", expected " + hex(expected));
    },
    done,
  );
}
