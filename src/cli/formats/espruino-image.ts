// Whether an image is Espruino, and its version, board and partition of Storage. Pure: works on the bytes of one image.
// Source: Espruino's targets/esp32/main.c (the texts about partitions), src/jsinteractive.c (the banner), src/jsutils.h
// and Makefile (JS_VERSION), scripts/build_jswrapper.py (tables of names, each name ended by NUL), boards/*.py.

/** The partition through which a build reads the files of its Storage. */
export type StorageLabel = "js_code" | "storage";

export interface EspruinoImage {
  /** as `process.env.VERSION`; null when the image does not tell it, or tells several */
  version: string | null;
  /** null when the image tells neither or both */
  partition: StorageLabel | null;
  /** as `process.env.BOARD`; null when the board is not known */
  board: string | null;
  /** What src/ uses of Espruino and this build does not have. */
  missing: string[];
}

/** Native libraries that src/ requires. */
export const LIBRARIES: readonly string[] = ["Flash", "Storage", "crypto", "http"];

/**
 * Natives that src/ cannot do without, by the name in the image. Those with a later release than the first ESP32 builds
 * (E.CRC32 since 2v05, subarray since 2v10, Storage.getStats since 2v13) or with a switch to leave them out.
 * ESP32.setOTAValid is not among them: src/platform/engine.ts looks whether it is there.
 */
export const NATIVES: Readonly<Record<string, string>> = {
  erasePage: "Flash.erasePage",
  getStats: "Storage.getStats",
  SHA256: "crypto.SHA256",
  convolve: "E.convolve",
  CRC32: "E.CRC32",
  toArrayBuffer: "E.toArrayBuffer",
  memoryArea: "E.memoryArea",
  reboot: "ESP32.reboot",
  peek32: "peek32",
  subarray: "Uint8Array.subarray",
  atob: "atob",
  btoa: "btoa",
  setInterval: "setInterval",
  Promise: "Promise",
};

/** Board names by chip. `ESP32` is a class too, so its name stands in every image. */
const BOARDS: Readonly<Record<string, readonly string[]>> = {
  esp32: ["ESP32_CYD", "ESP32_IDF4", "ESP32_IDF5"],
  esp32c3: ["ESP32C3_IDF4", "ESP32C3_IDF5", "EPAPER_BADGE", "CURIO"],
  esp32s3: ["ESP32S3_IDF4", "ESP32S3_IDF5", "ESP32S3_TOUCH_LCD_35"],
};

// targets/esp32/main.c, up to 2v25 and from 2v26 on
const MAP_ERRORS: readonly [StorageLabel, string][] = [
  ["js_code", "Couldn't map js_code"],
  ["storage", "Couldn't map 'storage'"],
];

const VERSION = /\dv\d\d(?:\.[\w.-]{1,40})?/;
const OWN_VERSION = new RegExp(`${VERSION.source}(?=\\0)`, "g");
const BANNER = new RegExp(` (${VERSION.source}) \\(c\\) 20\\d\\d G\\.Williams`, "g");

/** Does a text start at `at`? Before it is a NUL, or it starts at a multiple of 4 and the 4 bytes before are not text. */
function begins(text: string, at: number): boolean {
  if (at === 0 || text[at - 1] === "\0") return true;
  // compilers align texts: one behind a table of pointers has no NUL in front
  return at % 4 === 0 && !/^[\t\n\r -~]{4}$/.test(text.slice(at - 4, at));
}

/** Is `wanted` a whole text of the image, not part of a longer one? */
function hasText(text: string, wanted: string): boolean {
  const needle = `${wanted}\0`;
  for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + 1)) if (begins(text, at)) return true;
  return false;
}

const unique = (all: string[]): string[] => [...new Set(all)];

/** The banner decides between several: a program or a help text that is built in may name versions too. */
function versionOf(text: string): string | null {
  const own = unique([...text.matchAll(OWN_VERSION)].filter(({ index }) => begins(text, index)).map(([one]) => one));
  const banner = unique([...text.matchAll(BANNER)].map(([, one]) => one));
  const both = own.filter((one) => banner.includes(one));
  const found = own.length === 1 || !both.length ? own : both;
  const [version, ...more] = found.length ? found : banner;
  return version === undefined || more.length ? null : version;
}

const isListPart = (char: string | undefined) => char !== undefined && /[\w,]/.test(char);

/** What `process.env.MODULES` says: a text as "Flash,Storage,http". Null when there is no such text. */
function librariesOf(text: string): string[] | null {
  for (const name of LIBRARIES)
    for (let at = text.indexOf(`${name},`), end = 0; at >= 0; at = text.indexOf(`${name},`, end)) {
      let start = at;
      end = at;
      while (isListPart(text[start - 1])) start--;
      while (isListPart(text[end])) end++;
      const list = text.slice(start, end).split(",");
      if (LIBRARIES.filter((one) => list.includes(one)).length > 1) return list;
    }
  return null;
}

function missingOf(text: string): string[] {
  const list = librariesOf(text);
  const lost = LIBRARIES.filter((name) => !(list ? list.includes(name) : hasText(text, name)));
  const natives = Object.keys(NATIVES).filter((name) => !hasText(text, name));
  // without its library a native's name may still stand there: mbedTLS has its own text "SHA256"
  const labels = natives.map((name) => NATIVES[name]).filter((label) => !lost.includes(label.split(".")[0]));
  return [...lost.map((name) => `require("${name}")`), ...labels];
}

function boardOf(text: string, chip: string | null): string | null {
  const named = (BOARDS[chip ?? ""] ?? []).filter((board) => hasText(text, board));
  if (named.length) return named.length === 1 ? named[0] : null;
  return chip === "esp32" && hasText(text, "ESP32") ? "ESP32" : null;
}

/** What is known of the Espruino build in the image `bytes` for `chip` (IDF target name); null for another image. */
export function readEspruino(bytes: Uint8Array, chip: string | null): EspruinoImage | null {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
  const labels = MAP_ERRORS.filter(([, error]) => text.includes(error)).map(([label]) => label);
  // a build that was changed may have other words for the partition
  const named = text.search(BANNER) >= 0 || (hasText(text, "setBootCode") && hasText(text, "ArrayBufferView"));
  if (!labels.length && !named) return null;
  return {
    version: versionOf(text),
    partition: labels.length === 1 ? labels[0] : null,
    board: boardOf(text, chip),
    missing: missingOf(text),
  };
}
