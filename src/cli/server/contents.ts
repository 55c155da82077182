// The bytes that `serve` sends, a piece at a time: of a file, which may change meanwhile, or from memory.
import { open } from "node:fs/promises";
import path from "node:path";
import { refuse } from "../ui/errors.ts";
import type { Facts } from "./answers.ts";
import { stampOf } from "./folder.ts";

const PIECE = 32768;

export interface Content extends Facts {
  /** Opens a part of it; rejects when the file has changed. */
  open(start: number, length: number): Promise<Part>;
}

export interface Part {
  /** The next bytes, which are good until the next call; null at the end, or when the file was written to meanwhile. */
  next(): Promise<Uint8Array | null>;
  close(): Promise<void>;
}

export function fromMemory(bytes: Uint8Array, facts: Facts): Content {
  return {
    ...facts,
    async open(start, length) {
      const pieces = [bytes.subarray(start, start + length)];
      return { next: async () => pieces.pop() ?? null, close: async () => {} };
    },
  };
}

async function openPart(file: string, stamp: string, start: number, length: number): Promise<Part> {
  const handle = await open(file);
  const intact = async () => stampOf(await handle.stat({ bigint: true })) === stamp;
  if (!(await intact())) {
    await handle.close();
    refuse(path.basename(file), "has just changed: request it again");
  }
  const buffer = Buffer.allocUnsafe(Math.min(PIECE, length));
  let position = start;
  async function next(): Promise<Uint8Array | null> {
    const wanted = Math.min(buffer.length, start + length - position);
    if (!wanted) return null;
    const { bytesRead } = await handle.read(buffer, 0, wanted, position);
    position += bytesRead;
    // half of one image and half of the next would be worse than an end: devices ask again, with If-Range
    return bytesRead && (await intact()) ? buffer.subarray(0, bytesRead) : null;
  }
  return { next, close: () => handle.close() };
}

/** `stamp`: of the version of the file that `facts` are about. */
export function fromFile(file: string, stamp: string, facts: Facts): Content {
  return { ...facts, open: (start, length) => openPart(file, stamp, start, length) };
}
