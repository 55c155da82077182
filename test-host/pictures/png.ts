// A text inside a PNG file: chunk tEXt of the PNG specification, 11.3.3.2.

import { crc32 } from "../../src/cli/push/crc32.ts";

const SIGNATURE = 8;
/** Length and type before the data of a chunk, its CRC behind it. */
const HEAD = 8;
const TAIL = 4;

function chunk(type: string, data: string): Buffer {
  const out = Buffer.alloc(HEAD + data.length + TAIL);
  out.writeUInt32BE(data.length, 0);
  out.write(type + data, 4, "latin1");
  out.writeUInt32BE(crc32(type + data), HEAD + data.length);
  return out;
}

/** Puts the text in front of the chunk IEND, which is the last one and has no data. */
export function withText(png: Buffer, keyword: string, text: string): Buffer {
  const end = png.length - HEAD - TAIL;
  if (png.toString("latin1", end + 4, end + HEAD) !== "IEND")
    throw new Error("not a PNG file: it does not end with IEND");
  return Buffer.concat([png.subarray(0, end), chunk("tEXt", `${keyword}\0${text}`), png.subarray(end)]);
}

export function textIn(png: Buffer, keyword: string): string | undefined {
  for (let at = SIGNATURE; at + HEAD <= png.length; ) {
    const length = png.readUInt32BE(at);
    const data = png.toString("latin1", at + HEAD, at + HEAD + length);
    if (png.toString("latin1", at + 4, at + HEAD) === "tEXt" && data.startsWith(`${keyword}\0`))
      return data.slice(keyword.length + 1);
    at += HEAD + length + TAIL;
  }
  return undefined;
}
