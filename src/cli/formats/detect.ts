// What a file is, told by its content.
import { IMAGE_MAGIC, isBootloader, readImage } from "./image.ts";
import { looksLikeOtadata } from "./otadata.ts";
import { looksLikeTable, readTable, SECTOR, TABLE_OFFSET, TABLE_SIZE } from "./partitions.ts";
import { readStorage } from "./storage-image.ts";

export type Kind = "dump" | "image" | "table" | "otadata" | "storage" | "manifest";

/** CONFIG_PARTITION_TABLE_OFFSET is moved up for bootloaders that grow. */
const LAST_TABLE = 0x40000;

/** Each sector behind the smallest bootloader is searched for a table: data with the right MD5 is not there by chance. */
function searchTable(bytes: Uint8Array): number | null {
  for (let at = SECTOR; at <= LAST_TABLE && at + TABLE_SIZE <= bytes.length; at += SECTOR) {
    const part = bytes.subarray(at, at + TABLE_SIZE);
    if (looksLikeTable(part) && readTable(part, 0, at).md5 === "ok") return at;
  }
  return null;
}

/** The offset of the partition table in a whole flash, or in the first part of one; null for any other file. */
export function findTable(bytes: Uint8Array): number | null {
  if (looksLikeTable(bytes.subarray(TABLE_OFFSET))) return TABLE_OFFSET;
  // an app that carries a table in its data is an app
  const image = bytes[0] === IMAGE_MAGIC ? readImage(bytes, 0, "any") : null;
  return image && !isBootloader(image) ? null : searchTable(bytes);
}

/** Null for a file of no known kind. */
export function kindOf(bytes: Uint8Array): Kind | null {
  // first: on newer chips a whole flash begins with the bootloader, which is an image
  if (findTable(bytes) !== null) return "dump";
  if (bytes[0] === IMAGE_MAGIC) return "image";
  if (looksLikeTable(bytes)) return "table";
  if (looksLikeOtadata(bytes)) return "otadata";
  if (readStorage(bytes)) return "storage";
  const text = Buffer.from(bytes.subarray(0, 0x10000)).toString("latin1");
  // the start of every JSON object in base64url: a damaged manifest is a manifest, so that its problem can be shown
  return /^eyJ[\w-]*\.[\w-]/.test(text) ? "manifest" : null;
}
