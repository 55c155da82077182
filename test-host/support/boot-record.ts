// The boot record as its bytes in Storage say it, read by docs/formats.md alone.

import { crc32 } from "node:zlib";
import type { StorageView } from "../sim/espruino/view.ts";

export const RECORD_FILES = [".https-ota0", ".https-ota1"];
const UNIT = 64;

export type BootRecord = { serial: number; fields: any[]; ticks: number };

/** The records of a file: the last whole one, and the starts counted behind it. */
export function lastRecord(bytes: Uint8Array | undefined): BootRecord | null {
  let found: BootRecord | null = null;
  for (let at = 0; bytes && at < bytes.length; ) {
    const length = bytes[at] * UNIT;
    const body = Buffer.from(bytes.subarray(at + 9, at + length));
    const crc = Buffer.from(bytes.subarray(at + 1, at + 9)).toString("latin1");
    const isWhole = length > 0 && at + length <= bytes.length && crc === crc32(body).toString(16).padStart(8, "0");
    const text = body.toString("latin1");
    if (isWhole && text[0] !== "+") {
      const fields = JSON.parse(text);
      found = { serial: fields[0], fields, ticks: 0 };
    } else if (isWhole && found) found.ticks++;
    at += isWhole ? length : UNIT;
  }
  return found;
}

export const recordsIn = (storage: StorageView): (BootRecord | null)[] =>
  RECORD_FILES.map((name) => lastRecord(storage.get(name)));

/** The one that counts. */
export function recordIn(storage: StorageView): BootRecord | null {
  const [a, b] = recordsIn(storage);
  return !a || (b && b.serial > a.serial) ? b : a;
}
