// inspect: each kind of file by its content, what a person reads and what a machine reads, and where it is broken.
// What a flash starts is compared with the bootloader model, which shares no code with the command.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { before, test } from "node:test";
import { entryCrc } from "../../../src/boot/otadata.ts";
import { loadBoard } from "../../sim/boards.ts";
import { BOOTLOADERS, buildEntry, runBootloader, STATE } from "../../sim/bootloader.ts";
import { bytesChip } from "../../sim/espruino/area.ts";
import { createChain } from "../../sim/espruino/chain.ts";
import { createFiles } from "../../sim/espruino/files.ts";
import { createFlash, SECTOR } from "../../sim/flash.ts";
import { fsverity } from "../../support/fsverity.ts";
import { buildImage, layoutOf, mutations, reseal } from "../../support/images.ts";
import { buildTable, findOtadata, type Row, TABLE_OFFSET } from "../../sim/partitions.ts";
import { imageWith, MAP_JS_CODE, textsOf } from "./cli-espruino.ts";
import { COMMAND, fails, forAll, REAL_IMAGES, ROOT, succeeds, workshop } from "./cli-run.ts";

const shop = workshop();
const IMAGE = buildImage({ size: 61008, seed: 2, descriptor: { project: "lamp", version: "2.0.0" } });

async function inspectJson(file: string, code = 0): Promise<any> {
  const run = await shop.run("inspect", file, "--json");
  assert.equal(run.code, code, run.stderr);
  return JSON.parse(run.stdout);
}

before(async () => {
  shop.put("fw.bin", IMAGE);
  await shop.run("keygen", "--out", "key.pem", "--bits", "2048");
  succeeds(
    await shop.run("sign", "fw.bin", "--key", "key.pem", "--out", "fw.jws", "--sequence", "7", "--board", "ESP32"),
  );
});

// --- Image -----------------------------------------------------------------------------------------------------------

test("an image's report has all that it says", async () => {
  const report = await inspectJson("fw.bin");
  const { checksum, end, segments } = layoutOf(IMAGE);
  assert.equal(report.kind, "image");
  assert.deepEqual(report.problems, []);
  assert.deepEqual([report.image.header.chip, report.image.header.spiMode], ["esp32", "DIO"]);
  assert.deepEqual([report.image.descriptor.project, report.image.descriptor.version], ["lamp", "2.0.0"]);
  assert.deepEqual(
    report.image.segments.map((one: any) => one.offset - 8),
    segments,
  );
  assert.deepEqual([report.image.length, report.image.trailing], [end, 0]);
  assert.deepEqual([report.image.checksum.offset, report.image.checksum.ok], [checksum, true]);
  assert.deepEqual([report.image.sha256.offset, report.image.sha256.ok], [checksum + 1, true]);
  assert.equal(report.fsverity, `sha256:${fsverity(IMAGE)}`);
});

test("an image's table is for people", async () => {
  const says = [/^fw\.bin: app image, 61008 bytes\n/, /project +lamp 2\.0\.0\n/, /chip +esp32 \(chip id 0x0000\)/];
  succeeds(
    await shop.run("inspect", "fw.bin"),
    ...says,
    /\n +0 +0x000020 +\d+ +0x3f400020 +mapped\n/,
    /checksum .*, ok\n/,
  );
});

test("a broken image shows its table, its errors with offsets, and exit code 1", async () => {
  const names = ["flipPayloadBit", "hash", "segmentLengthOdd", "segmentTooLong", "truncateHalf", "truncateInHeader"];
  await forAll([...names, "segmentCount17", "chipIdByte13Fe", "mappedLoadAddress"], async (name) => {
    shop.put(`${name}.bin`, mutations[name](IMAGE));
    const run = fails(await shop.run("inspect", `${name}.bin`), 1, new RegExp(`^${name}\\.bin: offset 0x[0-9a-f]+: `));
    assert.match(run.stdout, /: app image, /);
    assert.match(run.stdout, /\n {2}error at 0x[0-9a-f]+: /);
    const { problems } = await inspectJson(`${name}.bin`, 1);
    assert.ok(problems.length > 0 && problems.every((one: any) => one.offset <= IMAGE.length && one.text));
  });
});

test("errors are red, where there are colours", () => {
  shop.put("red.bin", mutations.checksum(IMAGE));
  const env: NodeJS.ProcessEnv = { ...process.env, FORCE_COLOR: "1" };
  delete env.NO_COLOR;
  const { stdout } = spawnSync(process.execPath, [COMMAND, "inspect", shop.at("red.bin")], { env });
  assert.ok(stdout.includes("\u001b[31merror at 0xee2f: checksum"), stdout.toString());
});

test("an image of another chip and one without descriptor are shown", async () => {
  shop.put("c3.bin", buildImage({ chip: "esp32c3", minRevision: 3, maxRevision: 199 }));
  succeeds(await shop.run("inspect", "c3.bin"), /esp32c3 \(chip id 0x0005\), revision 0\.3 or later, at most 1\.99/);
  shop.put("old.bin", buildImage({ descriptor: false, hash: false }));
  succeeds(await shop.run("inspect", "old.bin"), /descriptor +none\n/, /SHA-256 +none appended/);
});

const skipReal = existsSync(REAL_IMAGES) ? false : "NOT RUN: the real images are not here (../shared/images)";

test("real firmware is valid", { skip: skipReal }, async () => {
  const wanted: Record<string, [string, string | undefined, string | undefined]> = {
    "advanced_https_ota-esp32.bin": ["esp32", "6b8d708-dirty", undefined],
    "esp-at-4.2-esp32c2.bin": ["esp32c2", "v4.2.0.0", undefined],
    "espruino-2v04-esp32.bin": ["esp32", undefined, "2v04"],
    "espruino-2v06-esp32.bin": ["esp32", undefined, "2v06.63"],
    "espruino-2v22.26-esp32.bin": ["esp32", "5240e60", "2v22.26"],
    "espruino-2v27.45-esp32.bin": ["esp32", "5240e60", "2v27.45"],
  };
  await forAll(Object.keys(wanted), async (name) => {
    const report = await inspectJson(path.join(REAL_IMAGES, name));
    const { header, descriptor, trailing, sha256 } = report.image;
    assert.deepEqual([header.chip, descriptor?.version, report.espruino?.version], wanted[name]);
    assert.deepEqual([trailing, sha256.ok, report.problems.length], [0, true, 0]);
  });
});

test("an Espruino image shows version, board, Storage and missing natives", async () => {
  shop.put("esp.bin", imageWith(textsOf("2v29.277")));
  const says = [/Espruino +2v29\.277, board ESP32\n/, /storage +896 KB at 0x320000 through partition storage\n/];
  const run = succeeds(await shop.run("inspect", "esp.bin"), ...says);
  assert.doesNotMatch(run.stdout, /https-ota/);
  const { espruino } = await inspectJson("esp.bin");
  assert.deepEqual(espruino, { version: "2v29.277", partition: "storage", board: "ESP32", missing: [] });
  shop.put("less.bin", imageWith(textsOf("2v29", "").filter((text) => text !== "memoryArea")));
  succeeds(
    await shop.run("inspect", "less.bin"),
    /storage +unknown: see sign --storage\n/,
    /https-ota +cannot run here: no E\.memoryArea\n/,
  );
  assert.equal((await inspectJson("fw.bin")).espruino, null);
});

// --- Manifest --------------------------------------------------------------------------------------------------------

test("a manifest's report has header and claims, and says that nothing was verified", async () => {
  const { kind, token } = await inspectJson("fw.jws");
  assert.deepEqual(
    [kind, token.header.alg, token.claims.sequence, token.claims.board],
    ["manifest", "PS256", 7, "ESP32"],
  );
  succeeds(await shop.run("inspect", "fw.jws"), /signed manifest/, /not checked \(see verify\)/, /sequence +7\n/);
});

test("a damaged manifest is still called one", async () => {
  shop.put("cut.jws", shop.get("fw.jws").subarray(0, 300));
  fails(await shop.run("inspect", "cut.jws"), 1, /^cut\.jws: .*form: 2 parts/);
  shop.put("line.jws", `${shop.get("fw.jws")}\n`);
  const { length } = shop.get("fw.jws");
  fails(await shop.run("inspect", "line.jws"), 1, new RegExp(`offset 0x${length.toString(16)}: form: white space`));
});

// --- Table and otadata -----------------------------------------------------------------------------------------------

test("a table is shown with its board and what updates do with it", async () => {
  const paths: Record<string, string> = {
    esp32: "in turns factory and ota_0",
    "esp32-dual": "in turns ota_0, ota_1",
    "toy-three": "in turns ota_0, ota_1, ota_2",
  };
  for (const [name, updates] of Object.entries(paths)) {
    const board = loadBoard(name);
    shop.put(`${name}.bin`, buildTable(board.rows));
    const report = await inspectJson(`${name}.bin`);
    assert.equal(report.kind, "table");
    assert.deepEqual(report.table.rows, board.rows);
    assert.equal(report.updates, updates);
    assert.equal(report.boards.includes(name), !name.startsWith("toy-"), "toy boards are not products");
  }
  succeeds(
    await shop.run("inspect", "esp32.bin"),
    /board +esp32 \(ESP32, stock table\)/,
    /factory +app +factory +0x010000 +1536 KB/,
  );
});

test("a table whose MD5 or rows are wrong is refused with the offset", async () => {
  const rows = loadBoard("esp32").rows;
  const table = Buffer.from(buildTable(rows));
  table[32 * 3 + 8] ^= 1;
  shop.put("md5.bin", table);
  fails(await shop.run("inspect", "md5.bin"), 1, /offset 0xf0: MD5 [0-9a-f]{32}, computed [0-9a-f]{32}/);
  const overlapping = rows.map((row) => (row.label === "ota_0" ? { ...row, offset: 0x180000 } : row));
  shop.put("overlap.bin", buildTable(overlapping));
  fails(await shop.run("inspect", "overlap.bin"), 1, /offset 0x80: ota_0 at 0x180000\+0x180000 overlaps factory/);
  shop.put("garbage.bin", Buffer.concat([buildTable(rows).subarray(0, 64), Buffer.from("rubbish ".repeat(8))]));
  fails(await shop.run("inspect", "garbage.bin"), 1, /offset 0x40: found 0x7572, a row begins with 0x50aa/);
});

test("tables on which no update is possible say why", async () => {
  const rows = loadBoard("esp32").rows;
  const cases: [string, RegExp][] = [
    ["otadata", /updates +impossible: no otadata/],
    ["ota_0", /updates +impossible: one slot only/],
    ["factory", /updates +impossible: one slot only/],
  ];
  for (const [missing, says] of cases) {
    shop.put("no.bin", buildTable(rows.filter(({ label }) => label !== missing)));
    succeeds(await shop.run("inspect", "no.bin"), says, /board +none of boards/);
  }
  // Espruino builds of 2019 and 2020 (docs/formats.md#partition-table): the bootloader obeys `storage`
  const twice = rows.map((row) => (row.label === "storage" ? { ...row, subtype: 0, size: 0x2000 } : row));
  shop.put("twice.bin", buildTable(twice));
  fails(
    await shop.run("inspect", "twice.bin"),
    1,
    /storage: a second otadata beside otadata; the bootloader obeys the last/,
  );
});

test("select entries have the CRC of the vectors", () => {
  const { cases } = JSON.parse(readFileSync(path.join(ROOT, "test-host/vectors/otadata.json"), "utf8"));
  assert.ok(cases.length >= 8);
  for (const { seq, crc } of cases) {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(entryCrc(seq));
    assert.equal(bytes.toString("hex"), Buffer.from(crc, "hex").reverse().toString("hex"), `seq ${seq}`);
  }
});

function otadata(first: Uint8Array | null, second: Uint8Array | null): Buffer {
  const bytes = Buffer.alloc(2 * SECTOR, 0xff);
  if (first) bytes.set(first, 0);
  if (second) bytes.set(second, SECTOR);
  return bytes;
}

test("otadata is shown with the copy that the bootloader obeys", async () => {
  const broken = Buffer.from(buildEntry(9));
  broken[28] ^= 1;
  const cases: [Uint8Array | null, Uint8Array | null, number | null][] = [
    [null, null, null],
    [buildEntry(1), null, 0],
    [buildEntry(1), buildEntry(2, STATE.NEW), 1],
    [buildEntry(2), buildEntry(2), 0],
    [buildEntry(1, STATE.VALID), buildEntry(2, STATE.INVALID), 0],
    [buildEntry(1, STATE.ABORTED), buildEntry(2, STATE.ABORTED), null],
    [buildEntry(1), broken, 0],
  ];
  for (const [first, second, active] of cases) {
    shop.put("otadata.bin", otadata(first, second));
    const report = await inspectJson("otadata.bin");
    assert.deepEqual([report.kind, report.active], ["otadata", active]);
  }
  succeeds(
    await shop.run("inspect", "otadata.bin"),
    /copy 0 +seq 1, UNDEFINED, .*<- active/,
    /copy 1 .*not valid at 0x1000, CRC 0x/,
  );
});

// --- Whole flash -----------------------------------------------------------------------------------------------------

/** A bootloader: no segment is mapped from flash. `idf` as IDF 5.2 and later say it. */
function bootloader(chip: "esp32" | "esp32c3", idf?: string): Uint8Array {
  const image = Buffer.from(buildImage({ chip, size: 16384, descriptor: false }));
  const ram = chip === "esp32" ? 0x3fff0000 : 0x3fcd5820;
  layoutOf(image).segments.forEach((at, i) => void image.writeUInt32LE(ram + 0x1000 * i, at));
  if (idf) {
    image.fill(0, 32, 112);
    image[32] = 0x50;
    image.write(idf, 40);
  }
  return reseal(image);
}

type World = {
  board: string;
  slots: Record<string, Uint8Array>;
  entries?: [Uint8Array | null, Uint8Array | null];
  boot?: boolean;
};

function dump({ board: name, slots, entries = [null, null], boot = true }: World): Buffer {
  const board = loadBoard(name);
  const bytes = Buffer.alloc(board.flashSize, 0xff);
  if (boot) bytes.set(bootloader(board.chip as "esp32", "v5.1.4"), board.bootloaderOffset);
  bytes.set(buildTable(board.rows), TABLE_OFFSET);
  for (const [label, image] of Object.entries(slots))
    bytes.set(image, board.rows.find((row) => row.label === label)?.offset as number);
  const at = findOtadata(board.rows)?.offset;
  if (at !== undefined) bytes.set(otadata(...entries), at);
  return bytes;
}

const image = (seed: number, chip: "esp32" | "esp32c3" = "esp32") =>
  buildImage({ chip, size: 60000, seed, descriptor: { version: `${seed}.0` } });
const broken = mutations.flipPayloadBit(image(8));

test("what starts is what the bootloader model starts", async () => {
  const two = { factory: image(1), ota_0: image(2) };
  const three = { ota_0: image(1), ota_1: image(2), ota_2: image(3) };
  const worlds: World[] = [
    { board: "esp32", slots: two },
    { board: "esp32", slots: two, entries: [buildEntry(1), null] },
    { board: "esp32", slots: two, entries: [buildEntry(1, STATE.INVALID), null] },
    { board: "esp32", slots: { ...two, ota_0: broken }, entries: [buildEntry(1), null] },
    { board: "esp32", slots: { ota_0: image(2) } },
    { board: "esp32-dual", slots: { ota_0: image(1), ota_1: image(2) } },
    {
      board: "esp32-dual",
      slots: { ota_0: image(1), ota_1: image(2) },
      entries: [buildEntry(1), buildEntry(2, STATE.NEW)],
    },
    { board: "esp32-dual", slots: { ota_0: image(1), ota_1: broken }, entries: [buildEntry(1), buildEntry(2)] },
    { board: "esp32-dual", slots: { ota_1: image(2) }, entries: [buildEntry(1), null] },
    {
      board: "esp32c3",
      slots: { ota_0: image(1, "esp32c3"), ota_1: image(2, "esp32") },
      entries: [null, buildEntry(2)],
    },
    { board: "toy-three", slots: three, entries: [buildEntry(5), buildEntry(6)] },
    { board: "toy-three", slots: { ...three, ota_2: broken }, entries: [buildEntry(6), buildEntry(5)] },
    { board: "toy-factory-two", slots: { factory: image(1), ota_1: image(3) }, entries: [buildEntry(1), null] },
    { board: "toy-factory-two", slots: { factory: broken, ota_1: image(3) }, entries: [buildEntry(1), null] },
    { board: "toy-three", slots: three, entries: [buildEntry(0xfffffffe), buildEntry(3)] },
  ];
  await forAll([...worlds.entries()], async ([i, world]) => {
    const bytes = dump(world);
    shop.put(`world${i}.bin`, bytes);
    const report = await inspectJson(`world${i}.bin`);
    const board = loadBoard(world.board);
    const flash = createFlash({ size: board.flashSize, from: bytes });
    const boot = runBootloader(flash, { chipId: board.chipId, kind: BOOTLOADERS.current });
    assert.equal(report.kind, "dump");
    assert.equal(report.dump.starts, boot.slot?.label, `world ${i}`);
    assert.equal(report.dump.selected !== report.dump.starts, boot.fellBack, `world ${i}: fallback`);
  });
});

test("a dump shows bootloader, table, otadata and every slot", async () => {
  const slots = { factory: image(1), ota_0: mutations.hash(image(2)) };
  shop.put("dump.bin", dump({ board: "esp32", slots, entries: [buildEntry(1, STATE.NEW), null] }));
  const says = [
    /^dump\.bin: whole flash, 4 MB\n/,
    /bootloader +at 0x1000, esp32, flash DIO, clock 1\/2, 4 MB, ESP-IDF v5\.1\.4\n/,
    /table +at 0x8000, MD5 ok, board esp32 \(ESP32, stock table\)/,
    /copy 0 +seq 1, NEW, names ota_0, CRC ok {2}<- active/,
    /copy 1 +blank/,
    /factory +espruino 1\.0, 60000 bytes, valid/,
    /ota_0 +espruino 2\.0, broken at 0x19ea40: SHA-256/,
    /starts +factory \(a fallback: ota_0 is selected and does not start\)/,
  ];
  succeeds(await shop.run("inspect", "dump.bin"), ...says);
});

test("inspect says at starts when a bootloader may crash in the selected image", async () => {
  const bytes = Buffer.from(image(2));
  bytes.writeUInt32LE(0x3fbb0000, layoutOf(bytes).segments[2]);
  const worlds: [Uint8Array, RegExp][] = [
    [reseal(bytes), /starts +factory \(a fallback: .*\), unless its bootloader crashes in ota_0 \(ESP-IDF 3\)\n/],
    [broken, /starts +factory \(a fallback: .*does not start\)\n/],
  ];
  for (const [ota_0, says] of worlds) {
    shop.put(
      "crash.bin",
      dump({ board: "esp32", slots: { factory: image(1), ota_0 }, entries: [buildEntry(1), null] }),
    );
    succeeds(await shop.run("inspect", "crash.bin"), says);
  }
  // nobody tries the slot behind the one that starts
  shop.put("quiet.bin", dump({ board: "esp32", slots: { factory: image(1), ota_0: reseal(bytes) } }));
  succeeds(await shop.run("inspect", "quiet.bin"), /starts +factory\n/);
});

test("a dump whose bootloader lies at 0 is not taken for an image", async () => {
  shop.put("c3dump.bin", dump({ board: "esp32c3", slots: { ota_0: image(1, "esp32c3") } }));
  const report = await inspectJson("c3dump.bin");
  assert.deepEqual([report.kind, report.dump.bootloader.offset, report.dump.starts], ["dump", 0, "ota_0"]);
});

/** A flash of 16 MB with these app partitions, and an image at the begin of each place. */
function crowd(slots: [label: string, subtype: number, offset: number, size: number][]): Buffer {
  const bytes = Buffer.alloc(0x1000000, 0x5a);
  const rows = slots.map(([label, subtype, offset, size]) => ({ label, type: 0, subtype, offset, size, flags: 0 }));
  bytes.set(buildTable(rows), TABLE_OFFSET);
  for (const [, , offset] of slots) bytes.set(image(1), offset);
  return bytes;
}

test("slots that overlap are not read again and again", async () => {
  const many = Array.from({ length: 90 }, (_, i): [string, number, number, number] => [
    `s${i}`,
    0x10 + (i % 16),
    0x10000 * (i + 1),
    0x1000000 - 0x10000 * (i + 1),
  ]);
  shop.put("many.bin", crowd(many));
  const begun = performance.now();
  const run = fails(await shop.run("inspect", "many.bin"), 1, /^many\.bin: offset 0x8020: s1 at .* overlaps s0/);
  const ms = performance.now() - begun;
  assert.ok(ms < 8000, `${Math.round(ms)} ms`);
  assert.match(run.stdout, /\n {2}s0 +espruino 1\.0, 60000 bytes, valid\n/);
  assert.equal(run.stdout.match(/not read: too many slots overlap\n/g)?.length, 88);
  assert.match(run.stdout, /\n {2}starts +unknown\n/);
  assert.match(run.stdout, /error at 0x8000: it is unknown which slot starts: too many slots overlap\n/);
  // the same place under many names is read once
  shop.put("same.bin", crowd(many.map(([label, subtype]) => [label, subtype, 0x10000, 0xff0000])));
  const same = await shop.run("inspect", "same.bin");
  assert.equal(same.stdout.match(/espruino 1\.0, 60000 bytes, valid\n/g)?.length, 90);
});

test("two slots that overlap by a slip are both shown, and what starts", async () => {
  shop.put(
    "slip.bin",
    crowd([
      ["factory", 0, 0x10000, 0x190000],
      ["ota_0", 0x10, 0x190000, 0x180000],
    ]),
  );
  const run = fails(await shop.run("inspect", "slip.bin"), 1, /ota_0 at 0x190000\+0x180000 overlaps factory/);
  for (const says of [/factory +espruino 1\.0, .*valid\n/, /ota_0 +espruino 1\.0, .*valid\n/, /starts +factory\n/])
    assert.match(run.stdout, says);
});

test("a dump from which nothing starts, or whose table is broken, is an error", async () => {
  shop.put("dead.bin", dump({ board: "esp32", slots: { factory: broken } }));
  fails(await shop.run("inspect", "dead.bin"), 1, /^dead\.bin: offset 0x8000: no slot holds an image that starts/);
  const bytes = dump({ board: "esp32", slots: { factory: image(1) } });
  bytes[TABLE_OFFSET + 12] ^= 0x20;
  shop.put("badtable.bin", bytes);
  fails(await shop.run("inspect", "badtable.bin"), 1, /^badtable\.bin: offset 0x80f0: MD5/);
});

test("a part of a dump says which slots are not in it", async () => {
  const bytes = dump({ board: "esp32", slots: { factory: image(1), ota_0: image(2) } });
  shop.put("part.bin", bytes.subarray(0, 0x190000));
  succeeds(
    await shop.run("inspect", "part.bin"),
    /^part\.bin: merged image or first part of a flash, /,
    /ota_0 +not in this file/,
    /starts +factory/,
  );
  shop.put("cut.bin", bytes.subarray(0, 0x191000));
  succeeds(await shop.run("inspect", "cut.bin"), /ota_0 +only its start is in this file/, /starts +factory/);
});

test("a merged image that ends with its app is valid, and its app starts", async () => {
  const cases: [string, string, "esp32" | "esp32c3"][] = [
    ["esp32", "factory", "esp32"],
    ["esp32-dual", "ota_0", "esp32"],
    ["esp32c3", "ota_0", "esp32c3"],
  ];
  for (const [board, slot, chip] of cases) {
    const app = image(1, chip);
    const bytes = dump({ board, slots: { [slot]: app } });
    const row = loadBoard(board).rows.find(({ label }) => label === slot);
    shop.put("merged.bin", bytes.subarray(0, (row?.offset as number) + app.length));
    const says = [new RegExp(`${slot} +espruino 1\\.0, 60000 bytes, valid\n`), new RegExp(`starts +${slot}\n`)];
    succeeds(await shop.run("inspect", "merged.bin"), ...says);
    const run = await shop.run("sign", "merged.bin", "--key", "key.pem", "--out", "no.jws");
    fails(run, 1, /^merged\.bin: a whole flash or a merged image .*, expected the image of one app$/m);
  }
});

test("a merged image that begins with its bootloader is read from that one's address", async () => {
  const app = image(1);
  const bytes = dump({ board: "esp32", slots: { factory: app } }).subarray(0x1000, 0x10000 + app.length);
  shop.put("front.bin", bytes);
  succeeds(
    await shop.run("inspect", "front.bin"),
    new RegExp(`^front\\.bin: merged image or first part of a flash, ${bytes.length} bytes\n`),
    /begins +at flash address 0x1000\n +bootloader +at 0x1000, esp32, /,
    /table +at 0x8000, MD5 ok, board esp32 /,
    /factory +espruino 1\.0, 60000 bytes, valid\n/,
    /updates +in turns factory and ota_0\n +starts +factory\n/,
  );
  const report = await inspectJson("front.bin");
  assert.deepEqual([report.size, report.begin, report.dump.tableOffset], [bytes.length, 0x1000, 0x8000]);
  const run = await shop.run("sign", "front.bin", "--key", "key.pem", "--out", "no.jws");
  fails(run, 1, /^front\.bin: a whole flash or a merged image .*, expected the image of one app$/m);
});

test("a bootloader alone is called one, and is not signed", async () => {
  shop.put("boot.bin", bootloader("esp32", "v5.1.4"));
  succeeds(await shop.run("inspect", "boot.bin"), /boot\.bin: bootloader, /, /built with +ESP-IDF v5\.1\.4/);
  const sign = (file: string) => shop.run("sign", file, "--key", "key.pem", "--out", "no.jws");
  fails(
    await sign("boot.bin"),
    1,
    /^boot\.bin: a bootloader of ESP-IDF v5\.1\.4 \(segment 0 is loaded to 0x3fff0000, /,
  );
  // merged for the bootloader's own flash address
  shop.put("front.bin", Buffer.concat([bootloader("esp32"), Buffer.alloc(4096)]));
  fails(
    await sign("front.bin"),
    1,
    /^front\.bin: a bootloader, and 4096 bytes behind it: a merged image\? \(segment 0 /,
  );
  assert.ok(!existsSync(shop.at("no.jws")));
});

const cases = path.join(ROOT, "../shared/cases");

test("published bootloaders are called so, and are not signed", {
  skip: existsSync(cases) ? false : "NOT RUN: the published bootloaders are not here (../shared/cases)",
}, async () => {
  for (const chip of ["esp32", "c3", "s3"]) {
    const file = path.join(cases, `bootloader-${chip}.bin`);
    succeeds(await shop.run("inspect", file), /: bootloader, \d+ bytes\n/);
    fails(
      await shop.run("sign", file, "--key", "key.pem", "--out", "no.jws"),
      1,
      /: a bootloader \(segment 0 is loaded/,
    );
  }
});

// --- Storage of Espruino builds --------------------------------------------------------------------------------------

const dataRow = (label: string, offset: number, size: number): Row => ({
  label,
  type: 1,
  subtype: 0x41,
  offset,
  size,
  flags: 0,
});

/** The stock board with other partitions for Storage, and an old and a new build in its slots. */
function espruinoFlash(rows: Row[]): Buffer {
  const slots = {
    factory: imageWith(textsOf("2v22.26", MAP_JS_CODE)),
    ota_0: imageWith(textsOf("2v27.45")),
  };
  const bytes = dump({ board: "esp32", slots });
  const others = loadBoard("esp32").rows.filter(({ label }) => label !== "storage");
  bytes.set(buildTable([...others, ...rows]), TABLE_OFFSET);
  return bytes;
}

test("a flash says for each of its builds whether it finds its files", async () => {
  const old = dataRow("js_code", 0x320000, 0x40000);
  const new_ = dataRow("storage", 0x320000, 0xe0000);
  const good = /factory reads 256 KB at 0x320000 through partition js_code\n/;
  const worlds: [string, Row[], RegExp[]][] = [
    [
      "the table of 2v22",
      [old, dataRow("storage", 0x360000, 0xa0000)],
      [
        good,
        /ota_0 cannot read its files \(896 KB .*\): partition storage is at 0x360000, expected 0x320000\n/,
        /once by USB/,
      ],
    ],
    [
      "today's table",
      [new_],
      [/factory cannot read its files \(256 KB .*\): the table has no data partition js_code\n/, /ota_0 reads 896 KB/],
    ],
    [
      "both at one place",
      [old, new_],
      [good, /ota_0 reads 896 KB at 0x320000/, /note +js_code and storage are at one/],
    ],
  ];
  for (const [name, rows, says] of worlds) {
    shop.put("flash.bin", espruinoFlash(rows));
    const run = await shop.run("inspect", "flash.bin");
    for (const one of says) assert.match(run.stdout, one, name);
    succeeds(run, /factory +espruino 2v22\.26, 61008 bytes, valid\n/, /ota_0 +espruino 2v27\.45, .* valid\n/);
  }
});

test("a flash with the published table and builds says what cannot live together", {
  skip: skipReal || (existsSync(cases) ? false : "NOT RUN: the published table is not here (../shared/cases)"),
}, async () => {
  const flash = Buffer.alloc(0x400000, 0xff);
  const put = (offset: number, file: string) => flash.set(readFileSync(file), offset);
  put(0x1000, path.join(cases, "bootloader-esp32.bin"));
  put(TABLE_OFFSET, path.join(cases, "partitions-2v22.bin"));
  put(0x10000, path.join(REAL_IMAGES, "espruino-2v22.26-esp32.bin"));
  put(0x190000, path.join(REAL_IMAGES, "espruino-2v27.45-esp32.bin"));
  shop.put("real.bin", flash);
  const { dump: found } = await inspectJson("real.bin");
  assert.equal(found.starts, "factory");
  assert.deepEqual(
    found.slots.map(({ espruino, storage }: any) => [espruino.version, storage.partition, storage.problem]),
    [
      ["2v22.26", "js_code", null],
      ["2v27.45", "storage", "partition storage is at 0x360000, expected 0x320000"],
    ],
  );
  succeeds(await shop.run("inspect", path.join(cases, "partitions-2v22.bin")), /not for +Espruino 2v26 and later: /);
});

// --- None of them ----------------------------------------------------------------------------------------------------

// --- Storage ---------------------------------------------------------------------------------------------------------

const text = (content: string) => Buffer.from(content);

test("a Storage that a device has used is shown without its erased files", async () => {
  const bytes = new Uint8Array(0x4000).fill(0xff);
  const address = 0x320000;
  const area = { chip: bytesChip(bytes, address, SECTOR), address, size: bytes.length, page: SECTOR, lowest: 0 };
  const files = createFiles({ ...area, contents: { label: "storage", address, size: bytes.length } });
  for (const [name, content] of [
    ["log", "first"],
    ["app.js", "var a = 1;"],
    ["log", "second one"],
  ])
    files.write(name, text(content), 0, 0);
  shop.put("used.bin", bytes);
  const run = succeeds(await shop.run("inspect", "used.bin"), /^used\.bin: Storage of Espruino, 16 KB\n/);
  assert.match(run.stdout, /\n {2}app\.js +0x000028 +10\n {2}log +0x000054 +10\n/);
  assert.match(run.stdout, /\n {2}storage +2 files, 88 bytes, 16256 free\n {2}erased +1 file, 40 bytes/);
  const { storage, problems } = await inspectJson("used.bin");
  assert.deepEqual([problems, storage.erased], [[], { count: 1, bytes: 40 }]);
  const { isSound } = createChain(files.area);
  bytes.set(text("torn header"), 0x80);
  shop.put("torn.bin", bytes);
  assert.ok(isSound());
  succeeds(await shop.run("inspect", "torn.bin"), /\n {2}note +at 0x80: neither the header of a file nor erased flash/);
  bytes.set(text("another one"), SECTOR);
  shop.put("broken.bin", bytes);
  assert.ok(!isSound());
  const says = /^broken\.bin: offset 0x1000: found 616e6f74[0-9a-f]*, expected the header of a file or erased flash/;
  fails(await shop.run("inspect", "broken.bin"), 1, says);
});

test("a file that only begins like a Storage is not called one", async () => {
  const header = (name: Uint8Array, word = 8) => {
    const bytes = Buffer.alloc(4096, 0xff);
    bytes.fill(0, 0, 32);
    bytes.writeUInt32LE(word);
    bytes.set(name, 4);
    return bytes;
  };
  const cases = {
    "a name of control characters": header(Uint8Array.of(1, 2, 3)),
    "bytes behind the end of the name": header(text("app\0js")),
    "a size larger than the file": header(text("app.js"), 8192),
    "flags that Espruino does not know": header(text("app.js"), 0x20000008),
    "no name at all": header(text("")),
  };
  await forAll(Object.entries(cases), async ([name, bytes]) => {
    shop.put(name, bytes);
    fails(await shop.run("inspect", name), 1, /offset 0: found .*, expected an image, .*, a Storage of Espruino/);
  });
  shop.put("fine.bin", header(text("app.js")));
  succeeds(await shop.run("inspect", "fine.bin"), /Storage of Espruino/);
});

test("other files are refused with what they begin with", async () => {
  const cases: [string, string | Uint8Array, RegExp][] = [
    ["empty", "", /^empty: the file is empty/],
    ["page", "<!DOCTYPE html><p>404", /^page: offset 0: found 3c21444f43545950 \("<!DOCTYP"\)/],
    ["erased", Buffer.alloc(4096, 0xff), /^erased: 4096 bytes, all of them 0xff/],
    ["zeros", Buffer.alloc(4096), /found 0000000000000000/],
    ["escape", "\u001b[31mred", /\\x1b\[31mred/],
  ];
  for (const [name, content, says] of cases) {
    shop.put(name, content);
    assert.equal(fails(await shop.run("inspect", name), 1, says).stdout, "");
    fails(await shop.run("inspect", name, "--json"), 1, says);
  }
});

test("no damaged or random file makes a stack trace", async () => {
  const seeds = [
    IMAGE,
    dump({ board: "esp32", slots: { factory: image(1) } }).subarray(0, 0x30000),
    shop.get("fw.jws"),
  ];
  const files = seeds.flatMap((seed, k) =>
    Array.from({ length: 12 }, (_, i) => {
      const bytes = Buffer.from(seed.subarray(0, i % 3 ? seed.length : Math.floor((seed.length * (i + 1)) / 13)));
      // in the headers, where the numbers are, and anywhere
      for (let j = 0; j < 6; j++) bytes[(i * 7 + j * 11) % 64] = (j * 37 + i * 11) & 0xff;
      for (let j = 0; j < 30; j++) bytes[(Math.imul(j + 1, 40503 + i * 97) >>> 0) % bytes.length] ^= 1 << (j & 7);
      bytes[0] = seed[0];
      return shop.put(`fuzz-${k}-${i}`, bytes);
    }),
  );
  await forAll(files, async (file) => {
    const run = await shop.run("inspect", file);
    assert.doesNotMatch(run.stderr + run.stdout, /\n\s+at |node:internal|TypeError|RangeError/);
    if (run.code) fails(run, 1, new RegExp(`^${file}: `));
  });
});
