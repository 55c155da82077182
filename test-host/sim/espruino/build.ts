// What an image tells of the Espruino build in it: its version, and where it keeps Storage. Headers are looked for at an
// address that is compiled in (boards/*.py, saved_code); contents are read through the mapping of the first data
// partition with a label that is compiled in too (targets/esp32/main.c), wherever that lies.

import { createHash } from "node:crypto";
import { type Row, SUBTYPE_DATA_OTA, TYPE_DATA } from "../partitions.ts";
import type { StorageArea, StorageChip } from "./area.ts";

/** The size is that of the whole flash. */
export type SizedChip = StorageChip & { readonly size: number };

export type Geometry = { address: number; size: number; partition: string };

export type Build = {
  /** process.env.VERSION; undefined where the image is not Espruino's. */
  version?: string;
  /** undefined: as the table's row `storage` says. */
  storage?: Geometry;
  gitCommit: string;
};

const PAGE = 4096;
const STORAGE_AT = 0x320000;

/** Up to 2v25, and from 2v26 on. 2v04 and older, which look elsewhere for other headers, are not modelled. */
const KINDS: [text: string, geometry: Geometry][] = [
  ["Couldn't map js_code", { address: STORAGE_AT, size: 256 << 10, partition: "js_code" }],
  ["Couldn't map 'storage'", { address: STORAGE_AT, size: 896 << 10, partition: "storage" }],
];

/** Images without these texts are made by tests: they have no commit but their content. */
export function buildOf(image: Uint8Array): Build {
  const bytes = Buffer.from(image.buffer, image.byteOffset, image.byteLength);
  const gitCommit = createHash("sha1").update(bytes).digest("hex").slice(0, 9);
  const storage = KINDS.find(([text]) => bytes.includes(text, 0, "latin1"))?.[1];
  const version = storage && /(?<!\w)2v\d\d(?:\.\d+)?(?=\0)/.exec(bytes.toString("latin1"))?.[0];
  return { version, storage, gitCommit };
}

/** A data partition of that name; one of subtype 0 is otadata, whatever its name (partitions.ts, findOtadata). */
const rowOf = (rows: readonly Row[], label: string): Row | undefined =>
  rows.find((row) => row.label === label && row.type === TYPE_DATA && row.subtype !== SUBTYPE_DATA_OTA);

/**
 * Storage as this build sees it on a flash with this table. Toy boards are too small for the compiled-in address: there
 * it is the table's. Undefined where neither says.
 */
export function areaOf(chip: SizedChip, rows: readonly Row[], { storage }: Build): StorageArea | undefined {
  const label = storage?.partition ?? "storage";
  const mapped = rowOf(rows, label);
  const own = mapped ?? rowOf(rows, "storage") ?? rowOf(rows, "js_code");
  const fits = storage && storage.address + storage.size <= chip.size;
  const place = fits ? storage : own && { address: own.offset, size: own.size };
  if (!place) return undefined;
  const contents = mapped ? { label, address: mapped.offset, size: mapped.size } : { label, address: null };
  return { chip, address: place.address, size: place.size, page: PAGE, lowest: 0, contents };
}
