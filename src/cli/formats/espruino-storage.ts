// Where an Espruino build keeps the files of its Storage, and which partition tables fit. Pure.
// A build finds the headers of files at a flash address that is compiled in, and reads the contents through a mapped
// partition that it finds by its name. Where the two places differ, every file reads as something else.
// Source: Espruino's boards/ESP32.py (saved_code) and targets/esp32/main.c (app_main); the size and the partition's name
// changed in one commit (2bdf05f91, 2025-04-02), the address in another (433708fd8, 2020-03-12).
import type { StorageClaim } from "../../boot/storage-claim.ts";
import { hex, sizeText } from "./bytes.ts";
import type { StorageLabel } from "./espruino-image.ts";
import { isEspruinoStorage, type Row, sharesStorage, TYPE } from "./partitions.ts";

const LARGE = 0xe0000;
const SMALL = 0x40000;
const ADDRESS = 0x320000;
const OLD_ADDRESS = 0x2c0000;
const OLD_LAST = 204; // 2v04

/** The Storage of the build `version` (any text) that reads it through `partition`. */
export function storageOf(partition: StorageLabel, version: string | null): StorageClaim {
  if (partition === "storage") return { partition, address: ADDRESS, size: LARGE };
  const [, major, minor] = /^(\d+)v(\d\d)/.exec(version ?? "") ?? [];
  const old = major !== undefined && 100 * Number(major) + Number(minor) <= OLD_LAST;
  return { partition, address: old ? OLD_ADDRESS : ADDRESS, size: SMALL };
}

/** "896 KB at 0x320000 through partition storage" */
export function storageText({ partition, address, size }: StorageClaim): string {
  return `${sizeText(size)} at ${hex(address)} through partition ${partition}`;
}

/** Why a build with this Storage cannot read its files on a flash with these partitions; null when it can. */
export function misfit(rows: readonly Row[], { partition, address, size }: StorageClaim): string | null {
  // esp_partition_find(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_ANY, label)
  const row = rows.find(({ type, label }) => type === TYPE.data && label === partition);
  if (!row) return `the table has no data partition ${partition}`;
  if (row.offset !== address) return `partition ${partition} is at ${hex(row.offset)}, expected ${hex(address)}`;
  if (row.size < size) return `partition ${partition} has ${sizeText(row.size)}, expected ${sizeText(size)}`;
  return null;
}

/** Published builds by what they need of the table. */
const KINDS: readonly { name: string; storage: StorageClaim }[] = [
  { name: "up to 2v04", storage: storageOf("js_code", "2v04") },
  { name: "2v05 to 2v25", storage: storageOf("js_code", "2v05") },
  { name: "2v26 and later", storage: storageOf("storage", "2v26") },
];

/** Which published builds of Espruino can live with a table; all empty for a table without js_code and storage. */
export interface Inhabitants {
  /** "2v26 and later (896 KB at 0x320000 through partition storage)" */
  fits: string[];
  misfits: { text: string; remedy: string }[];
  notes: string[];
}

/** What to do about a misfit: JavaScript cannot change the table. */
export function remedy({ partition, address, size }: StorageClaim): string {
  const both = "one with js_code and storage at the same address suits builds before and after 2v26";
  return `flash once by USB a table with ${partition} at ${hex(address)}, ${sizeText(size)}; ${both}`;
}

export function inhabitants(rows: readonly Row[]): Inhabitants {
  const found: Inhabitants = { fits: [], misfits: [], notes: [] };
  const labelled = rows.filter(isEspruinoStorage);
  if (!labelled.length) return found;
  for (const { name, storage } of KINDS) {
    const problem = misfit(rows, storage);
    if (!problem) found.fits.push(`${name} (${storageText(storage)})`);
    // a note about the oldest builds' table would not help users of later builds
    else if (storage.address === ADDRESS) found.misfits.push({ text: `${name}: ${problem}`, remedy: remedy(storage) });
  }
  const [first, second] = labelled;
  if (second && sharesStorage(first, second))
    found.notes.push(
      `js_code and storage are at one address, ${hex(first.offset)}: builds before and after 2v26 find the same ` +
        "files, but one before 2v26 erases all of them at its start when more than 256 KB are in use",
    );
  return found;
}
