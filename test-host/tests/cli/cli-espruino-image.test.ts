// What the command reads in an Espruino image: version, partition, board, natives; and which tables fit which builds.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { parse } from "acorn";
import { full } from "acorn-walk";
import { LIBRARIES, NATIVES, readEspruino } from "../../../src/cli/formats/espruino-image.ts";
import { inhabitants, misfit, storageOf } from "../../../src/cli/formats/espruino-storage.ts";
import { loadBoard } from "../../sim/boards.ts";
import { buildImage } from "../../support/images.ts";
import { parseTable } from "../../sim/partitions.ts";
import { banner, imageWith, MAP_JS_CODE, MAP_STORAGE, TABLES, textsOf } from "./cli-espruino.ts";
import { REAL_IMAGES, ROOT } from "./cli-run.ts";

const read = (texts: readonly string[], chip: "esp32" | "esp32c3" | "esp32s3" = "esp32") =>
  readEspruino(imageWith(texts, { chip }), chip);
const without = (...names: string[]) => textsOf().filter((text) => !names.includes(text));

// --- Real images -----------------------------------------------------------------------------------------------------

const REAL: Record<string, [version: string, partition: string, missing: string[]]> = {
  "espruino-2v04-esp32.bin": ["2v04", "js_code", ["Storage.getStats", "E.CRC32", "Uint8Array.subarray"]],
  "espruino-2v06-esp32.bin": ["2v06.63", "js_code", ["Storage.getStats", "Uint8Array.subarray"]],
  "espruino-2v22.26-esp32.bin": ["2v22.26", "js_code", []],
  "espruino-2v27.45-esp32.bin": ["2v27.45", "storage", []],
};
const skipReal = existsSync(REAL_IMAGES) ? false : "NOT RUN: the real images are not here (../shared/images)";

test("published builds tell version, partition, board and natives", { skip: skipReal }, () => {
  for (const [name, [version, partition, missing]] of Object.entries(REAL)) {
    const found = readEspruino(readFileSync(path.join(REAL_IMAGES, name)), "esp32");
    assert.deepEqual(found, { version, partition, board: "ESP32", missing }, name);
  }
});

test("other firmware is not taken for Espruino's", { skip: skipReal }, () => {
  for (const [name, chip] of [
    ["advanced_https_ota-esp32.bin", "esp32"],
    ["esp-at-4.2-esp32c2.bin", "esp32c2"],
  ])
    assert.equal(readEspruino(readFileSync(path.join(REAL_IMAGES, name)), chip), null, name);
});

test("each single native cut out of a published build is missed", { skip: skipReal }, () => {
  const image = readFileSync(path.join(REAL_IMAGES, "espruino-2v27.45-esp32.bin"));
  for (const [name, label] of Object.entries(NATIVES)) {
    const renamed = image.toString("latin1").replaceAll(`\0${name}\0`, `\0${"x".repeat(name.length)}\0`);
    assert.deepEqual(readEspruino(Buffer.from(renamed, "latin1"), "esp32")?.missing, [label]);
  }
  const noCrypto = image.toString("latin1").replace(",crypto,", ",cryptx,");
  assert.deepEqual(readEspruino(Buffer.from(noCrypto, "latin1"), "esp32")?.missing, ['require("crypto")']);
});

// --- Version ---------------------------------------------------------------------------------------------------------

test("the version is a text of its own, whatever else names one", () => {
  const cases: [string | null, string[]][] = [
    ["2v27.45", textsOf("2v27.45")],
    ["2v29", textsOf("2v29")],
    ["2v29.277", textsOf("2v29.277")],
    // Makefile, ALT_RELEASE: the build number of somebody's branch
    ["2v29.peter_my_branch_83bd432", textsOf("2v29.peter_my_branch_83bd432")],
    // parts of longer texts, and a text that is none
    ["2v27.45", [...textsOf(), "since 2v04", "see 2v10.5", "2v18 and later", "v2v19", "2v2", "12v04", "\xff2v0"]],
    // two whole texts: the banner decides
    ["2v27.45", [...textsOf(), "2v04"]],
    [null, [MAP_STORAGE, "2v27.45", "2v04", ...TABLES]],
    [null, [...textsOf("2v27.45"), ...textsOf("2v04")]],
    // only the text that process.env.VERSION is was changed
    ["2v27.46", textsOf().map((text) => (text === "2v27.45" ? "2v27.46" : text))],
    // the linker has put the text into the end of another one
    ["2v30.1", [MAP_STORAGE, banner("2v30.1"), "Espruino 2v30.1", ...TABLES]],
    [null, [MAP_STORAGE, ...TABLES]],
  ];
  for (const [version, texts] of cases) assert.equal(read(texts)?.version, version, JSON.stringify(texts.slice(0, 5)));
});

test("a text behind a table of pointers is found, one that goes on from a word is not", () => {
  const at = (before: string) => read([MAP_STORAGE, ...TABLES, `${before}2v27.45`])?.version;
  assert.equal(at("\x1f\xbd\x11@"), "2v27.45");
  assert.equal(at("than"), null);
});

// --- Kind ------------------------------------------------------------------------------------------------------------

test("an image is Espruino's by its texts, not by its descriptor", () => {
  const cases: [string | null | undefined, string[]][] = [
    ["js_code", [MAP_JS_CODE]],
    ["storage", [MAP_STORAGE]],
    [null, [MAP_STORAGE, MAP_JS_CODE]],
    [null, [banner("2v29")]],
    [null, TABLES],
    [undefined, []],
    [undefined, ["Espruino", "js_code", "storage", "2v29", "setBootCode"]],
  ];
  for (const [partition, texts] of cases) assert.equal(read(texts)?.partition, partition, JSON.stringify(texts));
  assert.equal(readEspruino(buildImage(), "esp32"), null);
});

test("the board is the one whose name stands there besides the class ESP32", () => {
  const cases: [string | null, "esp32" | "esp32c3" | "esp32s3", string[]][] = [
    ["ESP32", "esp32", []],
    ["ESP32_CYD", "esp32", ["ESP32_CYD"]],
    ["ESP32C3_IDF4", "esp32c3", ["ESP32C3_IDF4"]],
    ["CURIO", "esp32c3", ["CURIO"]],
    ["ESP32S3_TOUCH_LCD_35", "esp32s3", ["ESP32S3_TOUCH_LCD_35"]],
    [null, "esp32c3", []],
    [null, "esp32c3", ["ESP32C3_IDF4", "CURIO"]],
    [null, "esp32s3", ["ESP32C3_IDF4"]],
  ];
  for (const [board, chip, more] of cases)
    assert.equal(read([...textsOf(), ...more], chip)?.board, board, `${chip} ${more}`);
});

// --- Natives ---------------------------------------------------------------------------------------------------------

test("a build that lacks a native or a library is told from one that has all", () => {
  assert.deepEqual(read(textsOf())?.missing, []);
  for (const [name, label] of Object.entries(NATIVES)) assert.deepEqual(read(without(name))?.missing, [label]);
  const [modules] = TABLES;
  for (const library of LIBRARIES) {
    const fewer = modules
      .split(",")
      .filter((one) => one !== library)
      .join(",");
    const texts = textsOf().map((text) => (text === modules ? fewer : text));
    assert.deepEqual(read(texts)?.missing[0], `require("${library}")`);
    // its names may be left over from other libraries: mbedTLS has a text "SHA256" of its own
    assert.equal(read(texts)?.missing.length, 1);
  }
  assert.deepEqual(read([...without("convolve"), "convolved", "E.convolve"])?.missing, ["E.convolve"]);
});

const OBJECTS = ["E", "ESP32", "crypto", "flash", "Storage"];
const GLOBALS = ["peek32", "atob", "btoa", "setInterval", "Promise"];

/** What the built module uses of Espruino: members of its objects and libraries, and globals that not all builds have. */
function usedByModule(): { natives: Set<string>; libraries: Set<string> } {
  const natives = new Set<string>();
  const libraries = new Set<string>();
  const libraryOf = (node: any) => (node.callee?.name === "require" ? String(node.arguments[0].value) : undefined);
  full(parse(readFileSync(path.join(ROOT, "build/https-ota.js"), "utf8"), { ecmaVersion: 5 }), (node: any) => {
    const library = libraryOf(node);
    if (library) libraries.add(library);
    if (node.type === "Identifier" && GLOBALS.includes(node.name)) natives.add(node.name);
    if (node.type !== "MemberExpression" || node.computed) return;
    const { name } = node.property;
    if (name === "subarray" || OBJECTS.includes(libraryOf(node.object) ?? node.object.name)) natives.add(name);
  });
  return { natives, libraries };
}

test("the natives asked for are those that the module uses", () => {
  const { natives, libraries } = usedByModule();
  for (const name of Object.keys(NATIVES)) assert.ok(natives.has(name), `${name}: the module does not use it`);
  // in every ESP32 build; looked for before it is called; a mark of the module's own
  const everywhere = ["read", "write", "erase", "list", "compact", "toString", "on", "removeListener"];
  const exempt = [...everywhere, "setOTAValid", "otaRestartPending", "otaLock", "otaSet", "otaStart"];
  assert.deepEqual(
    [...natives].filter((name) => !(name in NATIVES) && !exempt.includes(name)),
    [],
  );
  assert.deepEqual([...libraries].sort(), [...LIBRARIES].sort());
});

// --- Storage ---------------------------------------------------------------------------------------------------------

test("address and size of Storage follow from partition and version", () => {
  const cases: [string, string | null, "js_code" | "storage", number, number][] = [
    ["up to 2v04", "2v04", "js_code", 0x2c0000, 0x40000],
    ["an early build", "1v99.12", "js_code", 0x2c0000, 0x40000],
    ["2v05", "2v05", "js_code", 0x320000, 0x40000],
    ["2v25", "2v25.12", "js_code", 0x320000, 0x40000],
    ["of unknown version", null, "js_code", 0x320000, 0x40000],
    // one commit before 2v26 changed name and size, so the name tells the size
    ["between 2v25 and 2v26", "2v25.99", "storage", 0x320000, 0xe0000],
    ["2v26", "2v26", "storage", 0x320000, 0xe0000],
    ["3v01", "3v01", "storage", 0x320000, 0xe0000],
    ["somebody's own", "lamp", "storage", 0x320000, 0xe0000],
  ];
  for (const [name, version, partition, address, size] of cases)
    assert.deepEqual(storageOf(partition, version), { partition, address, size }, name);
});

const stock = loadBoard("esp32").rows;
const others = stock.filter(({ label }) => label !== "storage");
const dataRow = (label: string, offset: number, size: number, type = 1) => ({
  label,
  type,
  subtype: 0x41,
  offset,
  size,
  flags: 0,
});
const OLD = [...others, dataRow("js_code", 0x320000, 0x40000), dataRow("storage", 0x360000, 0xa0000)];
const BOTH = [...others, dataRow("js_code", 0x320000, 0x40000), dataRow("storage", 0x320000, 0xe0000)];

test("a build fits a table that has its partition, there and large enough", () => {
  const before = storageOf("js_code", "2v22.26");
  const after = storageOf("storage", "2v27.45");
  assert.equal(misfit(OLD, before), null);
  assert.match(misfit(OLD, after) ?? "", /^partition storage is at 0x360000, expected 0x320000$/);
  assert.equal(misfit(stock, after), null);
  assert.match(misfit(stock, before) ?? "", /^the table has no data partition js_code$/);
  for (const storage of [before, after]) assert.equal(misfit(BOTH, storage), null);
  const small = [...others, dataRow("storage", 0x320000, 0x40000)];
  assert.match(misfit(small, after) ?? "", /^partition storage has 256 KB, expected 896 KB$/);
  // the build looks for type data
  const custom = [...others, dataRow("storage", 0x320000, 0xe0000, 0x40)];
  assert.match(misfit(custom, after) ?? "", /no data partition storage/);
});

test("a table says which builds can live with it", () => {
  const kinds = (rows: typeof stock) => {
    const { fits, misfits, notes } = inhabitants(rows);
    return [fits.map((text) => text.split(" (")[0]), misfits.map(({ text }) => text.split(":")[0]), notes.length];
  };
  assert.deepEqual(kinds(stock), [["2v26 and later"], ["2v05 to 2v25"], 0]);
  assert.deepEqual(kinds(OLD), [["2v05 to 2v25"], ["2v26 and later"], 0]);
  assert.deepEqual(kinds(BOTH), [["2v05 to 2v25", "2v26 and later"], [], 1]);
  assert.deepEqual(kinds(others), [[], [], 0]);
});

const oldTable = path.join(ROOT, "../shared/cases/partitions-2v22.bin");

test("the stock table of 2v22 is for builds up to 2v25", {
  skip: existsSync(oldTable) ? false : "NOT RUN: the published table is not here (../shared/cases)",
}, () => {
  const { fits, misfits } = inhabitants(parseTable(readFileSync(oldTable)));
  assert.deepEqual(fits, ["2v05 to 2v25 (256 KB at 0x320000 through partition js_code)"]);
  assert.match(misfits[0].text, /^2v26 and later: partition storage is at 0x360000, expected 0x320000$/);
  assert.match(misfits[0].remedy, /^flash once by USB a table with storage at 0x320000, 896 KB/);
});
