// Bytes that the command takes for an Espruino image: a generated image with the texts of real builds in its first
// segment. How they stand there was read in the published classic builds 2v04, 2v06, 2v22.26 and 2v27.45.
import assert from "node:assert/strict";
import { buildImage, type ImageSpec, layoutOf, reseal } from "../../support/images.ts";

export const MAP_JS_CODE = "Couldn't map js_code!\n";
export const MAP_STORAGE = "Couldn't map 'storage'!\n";
export const banner = (version: string): string => `\n ${version} (c) 2025 G.Williams\n`;

/** Natives that the module needs, as the tables of names have them, and the text of process.env.MODULES. */
export const TABLES = [
  "Flash,Storage,heatshrink,fs,net,dgram,tls,http,NetworkJS,Wifi,TelnetServer,crypto,neopixel",
  ...["ArrayBufferView", "ESP32", "Promise", "atob", "btoa", "peek32", "setInterval"],
  ...["CRC32", "convolve", "toArrayBuffer", "memoryArea", "reboot", "setBootCode"],
  ...["AES", "PBKDF2", "SHA1", "SHA224", "SHA256", "erasePage", "getFree", "getStats", "set", "subarray"],
];

/** All that a published build says: of 2v27.45, unless told otherwise. */
export function textsOf(version = "2v27.45", map = MAP_STORAGE): string[] {
  return [map, version, banner(version), `Espruino ${version}`, ...TABLES];
}

/** An image that holds `texts`, each ended by NUL, at words' begins behind zeros; checksum and digest are right. */
export function imageWith(texts: readonly string[], spec: ImageSpec = {}): Uint8Array {
  const skeleton = { project: "espruino-esp32", version: "5240e60", idfVersion: "v3.3.6" };
  const image = Buffer.from(buildImage({ descriptor: skeleton, ...spec }));
  let at = layoutOf(image).segments[0] + 8 + 256;
  for (const text of ["", ...texts]) {
    const room = (text.length + 4) & ~3;
    assert.ok(at + room < layoutOf(image).segments[1], "the texts leave their segment");
    image.fill(0, at, at + room);
    image.write(text, at, "latin1");
    at += room;
  }
  return reseal(image);
}
