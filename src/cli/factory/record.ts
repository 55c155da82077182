// The boot record of a board that runs its first release: docs/formats.md#boot-record. It says what a device has written
// after an update to that release and markValid(), so the board's first update is like any other one.
// The bytes are those of src/boot/record-file.ts, which is not used here: it names E.CRC32 of Espruino.
import { crc32 } from "../push/crc32.ts";
import type { Claims } from "../release/manifest.ts";
import type { Part } from "./espruino-build.ts";

export const RECORD_FILE = ".https-ota0";
export const RECORD_SIZE = 4096;
const UNIT = 64;
const HEAD = 9;
/** of an image: index 8 */
const TAIL = 64;
/** index 4: the image was confirmed */
const CONFIRMED = -2;
/** characters of a project and a version that a record keeps */
const MAX_NAME = 32;

export interface FirstRelease {
  claims: Claims;
  /** label of the slot that runs */
  slot: string;
  app: Part;
  /** fs-verity of the app, 64 hexadecimal digits */
  digest: string;
  /** name of the set of files in Storage */
  set: string;
}

/** CRC-32 of the image's last bytes, by which a device sees that another image came into the slot by USB. */
function tailOf({ bytes, image }: Part): number {
  const end = image.length as number;
  return crc32(bytes.toString("latin1", end - TAIL, end));
}

/** A record as it lies in its file. */
export function sealRecord(text: string): Buffer {
  const units = Math.ceil((HEAD + text.length) / UNIT);
  const padded = text.padEnd(units * UNIT - HEAD);
  const sum = crc32(padded).toString(16).padStart(8, "0");
  return Buffer.from(String.fromCharCode(units) + sum + padded, "latin1");
}

export function firstRecord({ claims, slot, app, digest, set }: FirstRelease): Buffer {
  const { sequence, project, image, version } = claims;
  const fields = [
    1, // number of the record
    sequence,
    slot,
    slot,
    CONFIRMED,
    sequence,
    0,
    0,
    [[slot, app.bytes.length, digest, tailOf(app), image ? version.slice(0, MAX_NAME) : ""]],
    [],
    project.length <= MAX_NAME ? project : "",
    "",
    [[slot, set]],
    "",
  ];
  return sealRecord(JSON.stringify(fields));
}
