// What an Espruino image decides about Storage: its version, where headers are looked for, through which partition
// contents are read (targets/esp32/main.c, boards/*.py), and whose save() it loads (src/jsflash.c).

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { type Board, loadBoard } from "../../sim/boards.ts";
import { createDevice, type Device } from "../../sim/device.ts";
import { buildOf } from "../../sim/espruino/build.ts";
import { nameOf } from "../../sim/espruino/chain.ts";
import { noise } from "../../support/images.ts";
import type { Row } from "../../sim/partitions.ts";
import { boardWith, row } from "../../support/fixture.ts";
import { imageWith, MAP_JS_CODE, MAP_STORAGE, textsOf } from "../cli/cli-espruino.ts";

const K = 1024;
const OLD = imageWith(textsOf("2v22.26", MAP_JS_CODE));
const NEW = imageWith(textsOf("2v27.45", MAP_STORAGE));

const JS_CODE = row("js_code", 1, 0x41, 0x320000, 256 * K);
const STORAGE = row("storage", 1, 0x41, 0x320000, 896 * K);
/** As the stock table of 2v22 has it. */
const STORAGE_BEHIND = row("storage", 1, 0x41, 0x360000, 640 * K);

/** The classic board with these rows instead of `storage`. */
function tableWith(...rows: Row[]): Board {
  const others = loadBoard("esp32").rows.filter(({ label }) => label !== "storage");
  return boardWith([...others, ...rows], "esp32");
}

function start(board: Board, image: Uint8Array, flash?: Uint8Array): Device {
  const device = createDevice({ board, images: { factory: image }, flash });
  if (flash) device.flash.load(image, device.row("factory").offset);
  return device.boot();
}

const list = ({ engine }: Device) => engine.run('require("Storage").list().join()');
const read = ({ engine }: Device) => engine.run('require("Storage").read("app")');
const write = ({ engine }: Device, size = 100) => engine.run(`require("Storage").write("app", "hello", 0, ${size})`);
const HELLO = `hello${"\xff".repeat(95)}`;

for (const [image, version, size] of [
  [OLD, "2v22.26", 256 * K],
  [NEW, "2v27.45", 896 * K],
] as const)
  test(`${version}: process.env.VERSION and the size of Storage are those of the image`, () => {
    const device = start(tableWith(JS_CODE, STORAGE), image);
    const { address } = device.storage.files.area;
    assert.deepEqual([device.engine.run("process.env.VERSION"), address], [version, 0x320000]);
    assert.equal(device.engine.run('require("Storage").getStats().totalBytes'), size);
    assert.equal(device.engine.run("process.env.STORAGE"), size);
    write(device);
    assert.equal(read(device), HELLO);
    assert.equal(device.engine.run("process.env.GIT_COMMIT"), device.build.gitCommit);
    device.stop();
  });

test("an image that is not Espruino's has its Storage where the table has it", () => {
  const device = createDevice({ board: "toy-two" }).boot();
  assert.equal(device.engine.run("process.env.VERSION"), "2v29");
  assert.equal(device.engine.run('require("Storage").getStats().totalBytes'), 0x10000);
  device.stop();
});

test("2v22 to 2v27 on 2v22's table: each file is listed and reads as 0xff", () => {
  const board = tableWith(JS_CODE, STORAGE_BEHIND);
  const before = start(board, OLD);
  write(before);
  assert.equal(read(before), HELLO);
  before.stop();
  const after = start(board, NEW, before.dump());
  assert.equal(list(after), "app");
  assert.equal(read(after), "\xff".repeat(100));
  assert.deepEqual(after.engine.console, []);
  assert.throws(() => after.engine.run('require("app")'), "nothing in it can run");
  const back = start(board, OLD, after.dump());
  assert.equal(read(back), HELLO, "the files are there still");
  back.stop();
});

test("contents are read from what lies in the partition, whatever that is", () => {
  const board = tableWith(JS_CODE, STORAGE_BEHIND);
  const device = start(board, NEW);
  device.flash.load(noise(3, 4096), 0x360000);
  write(device);
  const bytes = Buffer.from(read(device) as string, "latin1");
  assert.deepEqual(new Uint8Array(bytes), noise(3, 4096).slice(32, 132));
  device.stop();
});

for (const [image, label, complaint] of [
  [OLD, "js_code", "ERROR: Couldn't find js_code partition - update with partition_espruino.bin"],
  [NEW, "storage", "ERROR: Couldn't find 'storage' partition - update with partition_espruino.bin"],
] as const)
  test(`without a partition ${label} files are listed, and none can be read`, () => {
    const device = start(tableWith(label === "storage" ? JS_CODE : STORAGE), image);
    assert.match(device.engine.console.join("\n"), new RegExp(`^ERROR: Couldn't find '?${label}'{0,2} partition`));
    write(device);
    assert.equal(list(device), "app");
    assert.equal(read(device), undefined);
    assert.equal(device.engine.console.at(-2), complaint);
    device.stop();
  });

test("2v27 to 2v22 on a table with both names: over 256 KB in use costs all of it", () => {
  const board = tableWith(JS_CODE, STORAGE);
  for (const [size, lost] of [
    [200 * K, false],
    [300 * K, true],
  ] as const) {
    const before = start(board, NEW);
    write(before, size);
    before.stop();
    const after = start(board, OLD, before.dump());
    assert.equal(list(after), lost ? "" : "app");
    assert.equal(after.engine.console.includes("Storage is corrupt."), lost);
    after.stop();
  }
});

test("on a toy board, too small for the compiled address, Storage is the table's", () => {
  const device = createDevice({ board: "toy-two", images: { ota_0: NEW } }).boot();
  assert.deepEqual([device.storage.files.area.address, device.build.version], [0x30000, "2v27.45"]);
  write(device);
  assert.equal(read(device), HELLO);
  device.stop();
});

// --- save()

test("what save() left is run by the build that left it, and dropped by any other", async () => {
  const device = createDevice({ board: "toy-two", images: { ota_0: NEW } }).boot();
  const starts = async () => {
    await device.restart().engine.advance(0);
    return [device.engine.run("typeof program"), device.engine.console] as const;
  };
  device.save("var program = 1;");
  const [kept, said] = await starts();
  assert.equal(kept, "number");
  assert.match(said[0], /^Loading \d+ bytes from flash\.\.\.$/);
  device.save("var program = 1;", "another");
  assert.deepEqual(await starts(), ["undefined", ["Not loading saved code from different Espruino firmware."]]);
  assert.deepEqual(device.storage.files.list().map(nameOf), [".varimg"]);
  device.stop();
});

test("two images that differ in a byte are builds of two commits", () => {
  const other = NEW.slice();
  other[5000] ^= 1;
  assert.notEqual(buildOf(other).gitCommit, buildOf(NEW).gitCommit);
});

// --- Published images

for (const [file, version, partition] of [
  ["espruino-2v06-esp32.bin", "2v06.63", "js_code"],
  ["espruino-2v22.26-esp32.bin", "2v22.26", "js_code"],
  ["espruino-2v27.45-esp32.bin", "2v27.45", "storage"],
  ["advanced_https_ota-esp32.bin", undefined, undefined],
] as const) {
  const url = new URL(`../../../../shared/images/${file}`, import.meta.url);
  const there = existsSync(url);
  test(`${file} tells its version and its partition`, { skip: there ? false : `no ${file} here: NOT TESTED` }, () => {
    const build = buildOf(readFileSync(url));
    assert.deepEqual([build.version, build.storage?.partition], [version, partition]);
  });
}
