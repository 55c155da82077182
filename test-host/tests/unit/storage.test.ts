// Storage as it lies in flash, and what a start makes of what a loss of power has left (src/jsflash.c of Espruino). That
// the model does what the interpreter does, byte for byte, is in storage-engine.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { compactions, FRAGMENTED, fragmented, type Outcome, tornHeaders } from "../../sim/contract/storage-cuts.ts";
import { failing, runCut } from "../../sim/contract/storage-random.ts";
import { loadBoard } from "../../sim/boards.ts";
import { createDevice, type Device } from "../../sim/device.ts";
import { linuxArea, type StorageArea } from "../../sim/espruino/area.ts";
import { createChain, HEADER, nameOf } from "../../sim/espruino/chain.ts";
import { createFiles, type Files } from "../../sim/espruino/files.ts";
import { SECTOR } from "../../sim/flash.ts";
import { noise } from "../../support/images.ts";
import { boardWith, compactsNothing, createFixture } from "../../support/fixture.ts";

const SIZE = 0x10000;
const END = 0x10000000 + SIZE;
const blank = (): Uint8Array => new Uint8Array(SIZE).fill(0xff);
const text = (bytes: Uint8Array | undefined): string | undefined => bytes && Buffer.from(bytes).toString("latin1");
const bytesOf = (words: string): Uint8Array => Buffer.from(words, "latin1");

/** 64 KB in pages of 4 KB, and what is written there. */
function createStorage(bytes = blank()): { files: Files; area: StorageArea; said: string[]; bytes: Uint8Array } {
  const area = linuxArea(bytes, SECTOR);
  const said: string[] = [];
  return { files: createFiles(area, (words) => said.push(words)), area, said, bytes };
}

const corrupt = ["Storage is corrupt.\nErasing Storage Area...\n", "Erase complete.\n"];

// --- Files

test("a file is size, name and contents; the next one begins at the next four bytes", () => {
  const { files, bytes } = createStorage();
  files.write("ab", bytesOf("hello"));
  files.write("c", bytesOf("x"));
  const name = (words: string) => bytesOf(words.padEnd(28, "\0"));
  assert.deepEqual(
    bytes.subarray(0, 2 * 32 + 12),
    new Uint8Array(
      Buffer.concat(
        [[5, 0, 0, 0], name("ab"), bytesOf("hello\xff\xff\xff"), [1, 0, 0, 0], name("c"), bytesOf("x\xff\xff\xff")].map(
          Buffer.from as never,
        ),
      ),
    ),
  );
  assert.deepEqual([text(files.read("ab")), text(files.read("c")), files.read("d")], ["hello", "x", undefined]);
});

test("a removed file is four bytes of zeros and keeps its place", () => {
  const { files, bytes } = createStorage();
  files.write("name", bytesOf("old"));
  const before = bytes.slice();
  files.erase("name");
  assert.equal(files.read("name"), undefined);
  assert.deepEqual(
    [...bytes.keys()].filter((i) => bytes[i] !== before[i]),
    [4, 5, 6, 7],
  );
  assert.deepEqual(files.stats().trash, { bytes: 36, count: 1 });
});

test("a file is removed before its successor is created: a full Storage loses both", () => {
  const { files } = createStorage();
  files.write("mine", bytesOf("old"));
  files.write("rest", noise(1, files.stats().free - HEADER));
  assert.throws(() => files.write("mine", bytesOf("somewhat longer")), /Unable to find or create file/);
  assert.equal(files.read("mine"), undefined);
});

test("a file that is created with a size is filled at offsets, each place once", () => {
  const { files } = createStorage();
  files.write("big", bytesOf("ab"), 0, 12);
  files.write("big", bytesOf("cdef"), 2);
  assert.equal(text(files.read("big")), "abcdef\xff\xff\xff\xff\xff\xff");
  assert.throws(() => files.write("big", bytesOf("x"), 3), /File already written with different data/);
  assert.throws(() => files.write("big", bytesOf("xxxxxxx"), 6), /Too much data for file size/);
  assert.throws(() => files.write("none", bytesOf("x"), 6), /Unable to find or create file/);
});

test("what is stored already is not written again", () => {
  const { files, bytes } = createStorage();
  files.write("a", bytesOf("same"));
  const before = bytes.slice();
  assert.equal(files.write("a", bytesOf("same")), true);
  assert.deepEqual(bytes, before);
});

test("with too little room a creation compacts only when there is enough trash", () => {
  const { files, said } = createStorage();
  files.write("a", noise(1, 30000));
  files.write("b", noise(2, 30000));
  files.erase("a");
  assert.throws(() => files.write("c", noise(3, 40000)), /Unable/);
  assert.deepEqual(said, []);
  files.write("c", noise(3, 20000));
  assert.match(said.join(""), /^Compacting/);
  assert.deepEqual(files.list().map(nameOf), ["b", "c"]);
  assert.deepEqual(files.read("b"), noise(2, 30000));
});

// --- What a loss of power leaves

test("a compaction cut in one of its operations costs everything, a file, or nothing", () => {
  const outcomes: Record<Outcome, number> = { erased: 0, damaged: 0, well: 0 };
  const states = compactions(SECTOR, ["after"]);
  for (const { outcome } of states) outcomes[outcome]++;
  assert.ok(outcomes.erased > states.length / 2, JSON.stringify(outcomes));
  assert.ok(outcomes.damaged && outcomes.well, JSON.stringify(outcomes));
  const files = createFiles(linuxArea(fragmented(SECTOR), SECTOR));
  const names = files.list().map(nameOf);
  files.compact();
  assert.deepEqual(files.list().map(nameOf), names);
  assert.ok(names.length > FRAGMENTED);
});

test("on a header that was torn a write says true although its file is not there", () => {
  let lies = 0;
  for (const { flash } of tornHeaders(SECTOR)) {
    const files = createFiles(linuxArea(flash, SECTOR));
    files.start();
    assert.equal(files.write("next", noise(5, 300)), true);
    if (!files.read("next")) lies++;
  }
  assert.ok(lies > 10, `${lies}`);
});

/** Half of the size of a header that is torn `before` bytes ahead of a page, and a file written over it. */
function writtenOverTorn(before: number, write: (files: Files) => void): string[] {
  const { files, area, said } = createStorage();
  files.write("program", noise(1, 3 * SECTOR - HEADER - before));
  area.chip.clearBits(area.address + 3 * SECTOR - before, Uint8Array.of(0xf4, 0x01));
  write(files);
  assert.equal(files.read("record"), undefined);
  files.start();
  return said;
}

test("contents written with a header that was not taken can cost the whole Storage", () => {
  const write = (files: Files) => assert.ok(files.write("record", noise(2, 640), 0, SECTOR));
  assert.deepEqual(writtenOverTorn(300, write), corrupt);
  assert.deepEqual(writtenOverTorn(2000, write), [], "only when they reach into the next page");
});

test("a header that is written without contents costs nothing, taken or not", () => {
  const write = (files: Files) => assert.ok(files.write("record", new Uint8Array(0), 0, SECTOR));
  assert.deepEqual(writtenOverTorn(300, write), []);
});

for (const [where, room, lost] of [
  ["in the last page", SECTOR - 4, true],
  ["where the last page begins", SECTOR, true],
  ["before the last page", SECTOR + HEADER, false],
] as const)
  test(`a header that is torn ${where} costs ${lost ? "the whole Storage" : "nothing"}`, () => {
    const { files, area } = createStorage();
    const length = SIZE - 2 * HEADER - 8 - room;
    files.write("before", noise(1, 8));
    files.write("program", noise(2, length));
    assert.equal(files.stats().free, room);
    area.chip.clearBits(END - room, Uint8Array.of(200)); // the first byte of a header, no more
    const after = createStorage(area.chip.peek(area.address, SIZE));
    after.files.start();
    assert.deepEqual(after.said, lost ? corrupt : []);
    assert.deepEqual(after.files.read("program"), lost ? undefined : noise(2, length));
  });

test("a header that is torn across two pages costs the whole Storage", () => {
  for (const [inPage, lost] of [
    [16, true],
    [HEADER, false],
  ] as const) {
    const { files, area, said } = createStorage();
    files.write("program", noise(1, 2 * SECTOR - HEADER - inPage));
    runCut(failing(area, 0, "bits", 4), (cut) => cut.write("torn", bytesOf("x".repeat(200))));
    files.start();
    assert.deepEqual(said, lost ? corrupt : [], `${inPage} bytes of it in the first page`);
  }
});

test("a removal that was torn costs the file's name, and no other file", () => {
  for (const torn of ["part", "bits"] as const)
    for (let seed = 1; seed < 8; seed++) {
      const { files, area, said } = createStorage();
      files.write("victim", noise(1, 500));
      files.write("other", noise(2, 500));
      runCut(failing(area, 0, torn, seed), (cut) => cut.erase("victim"));
      files.start();
      assert.deepEqual(said, []);
      assert.deepEqual(files.read("other"), noise(2, 500));
    }
});

// --- The check at the start

test("a Storage with a file, one that is blank, and one that is full are sound", () => {
  const { files, said } = createStorage();
  files.start();
  files.write("a", noise(1, 5000));
  files.start();
  for (const left of [0, 4, HEADER - 4]) {
    files.eraseAll();
    files.write("full", noise(1, SIZE - HEADER - left));
    files.start();
  }
  assert.deepEqual(said, []);
});

for (const [what, spoil] of [
  ["something behind a blank first page", (bytes: Uint8Array) => bytes.fill(7, 9000, 9004)],
  ["no header at its beginning", (bytes: Uint8Array) => bytes.fill(0, 0, 4)],
  ["something else where the chain goes on at a page", (bytes: Uint8Array) => bytes.fill(0, SECTOR, SECTOR + 4)],
] as const)
  test(`a Storage with ${what} is erased at the start`, () => {
    const { files, said, bytes } = createStorage();
    if (what.includes("chain")) files.write("a", bytesOf("x"));
    spoil(bytes);
    files.start();
    assert.deepEqual(said, corrupt);
    assert.deepEqual(bytes, blank());
  });

test("a build with less Storage erases all of its own when a file reaches beyond", () => {
  const bytes = new Uint8Array(2 * SIZE).fill(0xff);
  const large = createFiles(linuxArea(bytes, SECTOR));
  large.write("a", noise(1, SIZE / 2));
  large.write("b", noise(2, SIZE));
  const small = createStorage(bytes.subarray(0, SIZE));
  small.files.start();
  assert.deepEqual(small.said, corrupt);
  assert.deepEqual(small.files.list(), []);
});

// --- The ESP32's port

/** A file goes to the end of Storage, up to `left` bytes. */
function nearlyFull(left: number): Device {
  const device = createDevice({ board: "toy-two" });
  device.storage.set("full", noise(1, device.storage.files.area.size - HEADER - left));
  return device.boot();
}

test("Storage that ends less than a header behind a file is searched from address 0", () => {
  const device = nearlyFull(8);
  const { address, page, lowest } = device.storage.files.area;
  assert.deepEqual([lowest, page], [0, SECTOR]);
  // 0 and 0x1000 are blank on this flash; on a device a bootloader lies at 0x1000
  device.flash.load(Uint8Array.of(0xe9, 3, 2, 0), 0x1000);
  const since = device.flash.log.length;
  assert.throws(() => device.engine.run('require("Storage").write("x", "y")'), /Unable to find or create/);
  assert.equal(device.flash.log.length, since);
  device.engine.run('require("Storage").write("x", "y", 0, 5000)');
  const strays = device.flash.log.slice(since).filter(({ addr }) => addr < address);
  assert.equal(strays.length, 2, "header and contents are written, but not into Storage");
  assert.equal(createChain(device.storage.files.area).headerAt(strays[0].addr).size, 5000);
});

test("in the Linux port, with its flash elsewhere, the same creation is refused", () => {
  const { files, bytes } = createStorage();
  files.write("full", noise(1, SIZE - HEADER - 8));
  const before = bytes.slice();
  assert.throws(() => files.write("x", bytesOf("y"), 0, 5000), /Unable to find or create/);
  assert.deepEqual(bytes, before);
  assert.equal(END - linuxArea(bytes).address, SIZE);
});

// --- On the device

test("each write of Storage is an operation of the flash, and not a violation", async () => {
  const device = createDevice({ board: "toy-two" }).boot();
  const { address } = device.storage.files.area;
  device.flash.resetCounts();
  device.engine.run('var s = require("Storage"); s.write("a", "hello"); s.write("a", "other"); s.erase("a");');
  const at = (addr: number) => addr - address;
  assert.deepEqual(
    device.flash.log.map(({ kind, addr, length }) => [kind, at(addr), length]),
    [
      ["write", 0, 32],
      ["write", 32, 4],
      ["write", 36, 4],
      ["write", 4, 4],
      ["write", 40, 32],
      ["write", 72, 4],
      ["write", 76, 4],
      ["write", 44, 4],
    ],
  );
  assert.deepEqual(device.flash.violations, []);
  device.engine.run(`require("Flash").write("zz", ${address})`);
  assert.equal(device.flash.violations.length, 1, "but a program that writes there breaks a rule");
  device.stop();
});

test("power that fails in a write of Storage leaves what was written until then", () => {
  for (const [op, left] of [
    [0, undefined],
    [1, "\xff\xff\xff\xff\xff\xff"],
    [2, "hell\xff\xff"],
    [3, "hello!"],
  ] as const) {
    const device = createDevice({ board: "toy-two" }).boot();
    device.flash.resetCounts();
    device.flash.onOp = ({ index }, phase) => {
      if (phase === "before" && index === op) throw new Error("power");
    };
    const write = () => device.engine.run('require("Storage").write("a", "hello!")');
    if (op < 3) assert.throws(write, /power/);
    else write();
    device.flash.onOp = null;
    device.powerCycle();
    assert.equal(device.engine.run('require("Storage").read("a")'), left);
    device.stop();
  }
});

test("what a test puts into Storage is there at the next start, without an operation", () => {
  const device = createDevice({ board: "toy-two" });
  device.boot().storage.set("lib", bytesOf("exports.x = 7;"));
  device.restart().flash.resetCounts();
  assert.equal(device.engine.run('require("lib").x'), 7);
  assert.deepEqual([...device.storage.keys()], ["lib"]);
  assert.deepEqual([device.storage.has("lib"), device.storage.delete("lib"), device.storage.size], [true, true, 0]);
  assert.deepEqual(device.flash.log, []);
  device.stop();
});

test("a compaction by the program is not a boot record's: compactsNothing() tells", async (t) => {
  const fixture = await createFixture(t, { image: null });
  const { storage, engine } = fixture.device;
  storage.set("a", noise(1, 30000)).set("b", noise(2, 30000)).delete("a");
  fixture.remember();
  engine.run('require("Storage").write("c", "small")');
  compactsNothing(fixture);
  engine.run("require('Storage').write('c', 'x', 0, 20000)");
  assert.throws(() => compactsNothing(fixture), /a page of Storage is erased/);
});

test("without a row `storage` a build that is not Espruino's has Storage beside flash", () => {
  const rows = loadBoard("toy-two").rows.filter(({ label }) => label !== "storage");
  const device = createDevice({ board: boardWith(rows, "toy-two") }).boot();
  const before = device.flash.snapshot();
  device.engine.run('require("Storage").write("a", "b")');
  device.restart();
  assert.equal(device.engine.run('require("Storage").read("a")'), "b");
  assert.ok(device.flash.sameSnapshot(before, device.flash.snapshot()));
  device.stop();
});
