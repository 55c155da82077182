// What a file is, told by its content.
import { IMAGE_MAGIC } from "./image.ts";
import { looksLikeOtadata } from "./otadata.ts";
import { looksLikeTable, TABLE_OFFSET } from "./partitions.ts";

export type Kind = "dump" | "image" | "table" | "otadata" | "manifest";

/** Null when it is none of them. */
export function kindOf(bytes: Uint8Array): Kind | null {
  // first: on newer chips a whole flash begins with the bootloader, which is an image
  if (looksLikeTable(bytes.subarray(TABLE_OFFSET))) return "dump";
  if (bytes[0] === IMAGE_MAGIC) return "image";
  if (looksLikeTable(bytes)) return "table";
  if (looksLikeOtadata(bytes)) return "otadata";
  const text = Buffer.from(bytes.subarray(0, 0x10000)).toString("latin1");
  // a JSON object in base64url begins so; damaged ones should still be told what is wrong with them
  return /^eyJ[\w-]*\.[\w-]/.test(text) ? "manifest" : null;
}
