// Partition tables and slots: which devices can update at all, which slot runs, which one is written
// (docs/design.md#slots, docs/formats.md#partition-table).

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Board, boardNames, loadBoard } from "../../sim/boards.ts";
import { buildEntry, STATE } from "../../sim/bootloader.ts";
import { buildImage, mutations, noise } from "../../support/images.ts";
import { buildTable, parseTable, type Row, TABLE_OFFSET } from "../../sim/partitions.ts";
import {
  behaves,
  boardWith,
  bootsNewImage,
  failsCleanly,
  failsWith,
  type IdfName,
  nothingLeft,
  row,
  type Fixture,
  createFixture,
  succeeds,
  touchesNothing,
  updateFrom,
} from "../../support/fixture.ts";
import { serveFile } from "../../support/server.ts";

const { NEW, VALID, UNDEFINED } = STATE;
const K = 1024;

const image = (seed: number, chip = "esp32", more = {}) =>
  buildImage({ chip: chip as never, size: 30000, seed, ...more });

async function updates(fixture: Fixture, label: string, seed = 50): Promise<void> {
  fixture.remember();
  const next = image(seed, fixture.device.board.chip);
  await succeeds(fixture, await updateFrom(fixture, serveFile(next)), label, next);
}

// --- Golden tables -------------------------------------------------------------------------------------------------

const GOLDEN: Record<string, { rows: string; slots: string[] }> = {
  "partitions_two_ota.csv": {
    rows: `aa50010200900000004000006e76730000000000000000000000000000000000
           aa50010000d00000002000006f74616461746100000000000000000000000000
           aa50010100f00000001000007068795f696e6974000000000000000000000000
           aa5000000000010000001000666163746f727900000000000000000000000000
           aa50001000001100000010006f74615f30000000000000000000000000000000
           aa50001100002100000010006f74615f31000000000000000000000000000000
           ebebffffffffffffffffffffffffffffbf25822c0fa6d8641bd930251e06b4c4`,
    slots: ["factory", "ota_0", "ota_1", "ota_0"],
  },
  "partitions_two_ota_large.csv": {
    rows: `aa50010200900000006000006e76730000000000000000000000000000000000
           aa50010000f00000002000006f74616461746100000000000000000000000000
           aa50010100100100001000007068795f696e6974000000000000000000000000
           aa5000100000020000901a006f74615f30000000000000000000000000000000
           aa50001100001d0000901a006f74615f31000000000000000000000000000000
           ebebffffffffffffffffffffffffffff37f38b32a34f7412f158930062441178`,
    slots: ["ota_0", "ota_1", "ota_0", "ota_1"],
  },
};
for (const [name, { rows, slots }] of Object.entries(GOLDEN))
  test(`IDF's ${name} boots, and updates from slot to slot: ${slots.join(", ")}`, async (t) => {
    const table = new Uint8Array(Buffer.from(rows.replace(/\s/g, ""), "hex"));
    const blank = new Uint8Array(0xc00).fill(0xff);
    blank.set(table);
    const board = boardWith(parseTable(blank), "esp32");
    assert.deepEqual(buildTable(board.rows), blank, "the table on the device is the golden one");
    const fixture = await createFixture(t, { board, image: null });
    for (const [step, label] of slots.entries()) {
      if (step > 0) await updates(fixture, label, 50 + step);
      assert.equal(fixture.device.running, label);
      const { address, size } = fixture.device.ota.getRunningPartition();
      assert.deepEqual(
        { address, size },
        { address: fixture.device.row(label).offset, size: fixture.device.row(label).size },
      );
    }
  });

for (const name of boardNames().filter((one) => !one.startsWith("toy")))
  test(`${name} updates again and again: twice around all its slots`, async (t) => {
    const fixture = await createFixture(t, { board: name, image: null });
    const [first, second] = fixture.device.board.rows.filter((one) => one.type === 0).map((one) => one.label);
    for (const [step, label] of [second, first, second, first].entries()) await updates(fixture, label, 60 + step);
  });

for (const [name, order] of [
  ["toy-two", ["ota_1", "ota_0", "ota_1"]],
  ["toy-three", ["ota_1", "ota_2", "ota_0", "ota_1"]],
  ["toy-factory-one", ["ota_0", "factory", "ota_0"]],
  ["toy-factory-two", ["ota_0", "ota_1", "ota_0", "ota_1"]],
] as const)
  test(`${name} rotates: ${order.join(", ")}`, async (t) => {
    const fixture = await createFixture(t, { board: name, image: null });
    for (const [step, label] of order.entries()) await updates(fixture, label, 70 + step);
  });

test("a 16-slot table works: ota_15 is followed by ota_0", async (t) => {
  const board = slotsBoard(16);
  const images = { ota_15: image(1), ota_0: image(2) };
  const fixture = await createFixture(t, { board, image: null, images, otadata: [buildEntry(16, VALID)] });
  assert.equal(fixture.device.running, "ota_15");
  await updates(fixture, "ota_0");
  await updates(fixture, "ota_1");
});

function slotsBoard(count: number): Board {
  const rows = [row("otadata", 1, 0, 0xc000, 0x2000)];
  for (let i = 0; i < count; i++) rows.push(row(`ota_${i}`, 0, 0x10 + i, 0x10000 * (i + 1), 0x10000));
  return boardWith(rows, "toy-two", { flashSize: 0x200000 });
}

test("labels are the table's own: slots may be called anything", async (t) => {
  const rows = [
    row("boot_sel", 1, 0, 0xc000, 0x2000),
    row("A", 0, 0x10, 0x10000, 0x10000),
    row("a slot, 16 chars", 0, 0x11, 0x20000, 0x10000),
  ];
  const fixture = await createFixture(t, { board: boardWith(rows, "toy-two"), image: null });
  assert.equal(fixture.device.ota.getNextUpdatePartition().label, "a slot, 16 chars");
  const next = image(9);
  assert.ifError((await updateFrom(fixture, serveFile(next))).error);
  bootsNewImage(fixture, "a slot, 16 chars", next);
});

test("rows may come in any order", async (t) => {
  const rows = [
    row("ota_1", 0, 0x11, 0x20000, 0x10000),
    row("nvs", 1, 2, 0x9000, 0x3000),
    row("ota_0", 0, 0x10, 0x10000, 0x10000),
    row("otadata", 1, 0, 0xc000, 0x2000),
  ];
  const images = { ota_0: image(1) };
  const fixture = await createFixture(t, { board: boardWith(rows, "toy-two"), image: null, images });
  await updates(fixture, "ota_1");
  await updates(fixture, "ota_0", 51);
});

test("a row of the table that holds neither app nor data is left alone", async (t) => {
  const smaller = loadBoard("toy-two").rows.map((one) => (one.label === "storage" ? { ...one, size: 0xf000 } : one));
  const rows = [...smaller, row("mine", 0x40, 0x00, 0x3f000, 0x1000)];
  const fixture = await createFixture(t, { board: boardWith(rows, "toy-two"), image: null });
  await updates(fixture, "ota_1");
});

test("a test app is not a slot: it is neither target nor counted", async (t) => {
  const rows = [
    row("otadata", 1, 0, 0xc000, 0x2000),
    row("ota_0", 0, 0x10, 0x10000, 0x10000),
    row("test", 0, 0x20, 0x20000, 0x10000),
  ];
  const fixture = await createFixture(t, { board: boardWith(rows, "toy-two"), images: { ota_0: image(1) } });
  await failsCleanly(fixture, await fixture.update(), "NOT_SUPPORTED");
});

// --- Devices that can't --------------------------------------------------------------------------------------------

const OTADATA = row("otadata", 1, 0, 0xc000, 0x2000);
const OTA_0 = row("ota_0", 0, 0x10, 0x10000, 0x10000);
const OTA_1 = row("ota_1", 0, 0x11, 0x20000, 0x10000);
const FACTORY = row("factory", 0, 0, 0x10000, 0x10000);

/** Every call that looks at the device refuses in the same way, and nothing is written or asked. */
async function cannotUpdate(fixture: Fixture, code: IdfName, says: RegExp): Promise<void> {
  const { ota } = fixture.device;
  const outcome = await fixture.update();
  assert.match(failsWith(outcome, code).message, says);
  for (const call of [
    "getBootPartition",
    "getNextUpdatePartition",
    "getLastInvalidPartition",
    // a release of files needs no other slot, so it can be confirmed where no image can be installed
    ...(code === "INVALID_STATE" ? ["markValid", "getRunningPartition"] : []),
  ]) {
    assert.throws(
      () => ota[call](),
      (error: any) => {
        failsWith({ error }, code);
        return true;
      },
      call,
    );
  }
  failsWith(await fixture.outcome(ota.rollback()), code);
  assert.equal(fixture.server.requests.length, 0);
  touchesNothing(fixture);
  behaves(fixture);
  await nothingLeft(fixture);
}

const IMPOSSIBLE: [string, Row[], IdfName, RegExp][] = [
  ["no otadata (stock C3 and S3)", [FACTORY], "NOT_SUPPORTED", /otadata.*USB/],
  ["no otadata but two slots", [OTA_0, OTA_1], "NOT_SUPPORTED", /otadata.*USB/],
  ["one slot, factory", [OTADATA, FACTORY], "NOT_SUPPORTED", /slot.*USB/],
  ["one slot, ota_0", [OTADATA, OTA_0], "NOT_SUPPORTED", /slot.*USB/],
  [
    "two rows of type data, subtype 0 (Espruino builds of 2019 and 2020)",
    [OTADATA, FACTORY, row("ota_0", 0, 0x10, 0x20000, 0x10000), row("storage", 1, 0, 0x30000, 0x4000)],
    "NOT_SUPPORTED",
    /storage.*USB/,
  ],
  [
    "three of them, js_code and storage",
    [
      OTADATA,
      FACTORY,
      row("ota_0", 0, 0x10, 0x20000, 0x10000),
      row("js_code", 1, 0, 0x30000, 0x1000),
      row("storage", 1, 0, 0x31000, 0x3000),
    ],
    "NOT_SUPPORTED",
    /USB/,
  ],
  ["a gap in the ota_N", [OTADATA, OTA_0, row("ota_2", 0, 0x12, 0x20000, 0x10000)], "NOT_SUPPORTED", /gap/],
  ["ota_N that begin with ota_1", [OTADATA, FACTORY, row("ota_1", 0, 0x11, 0x20000, 0x10000)], "NOT_SUPPORTED", /gap/],
  ["one ota_N twice", [OTADATA, OTA_0, row("ota_0b", 0, 0x10, 0x20000, 0x10000)], "NOT_SUPPORTED", /duplicate/],
  ["otadata of one sector", [row("otadata", 1, 0, 0xc000, 0x1000), OTA_0, OTA_1], "NOT_SUPPORTED", /0x1000/],
  ["otadata of three sectors", [row("otadata", 1, 0, 0x9000, 0x3000), OTA_0, OTA_1], "NOT_SUPPORTED", /0x3000/],
  ["slots that overlap", [OTADATA, OTA_0, row("ota_1", 0, 0x11, 0x10000, 0x10000)], "INVALID_STATE", /overlaps ota_0/],
  [
    "a slot that overlaps by one sector",
    [OTADATA, row("ota_0", 0, 0x10, 0x10000, 0x11000), OTA_1],
    "INVALID_STATE",
    /overlaps/,
  ],
  ["otadata inside a slot", [OTA_0, OTA_1, row("otadata", 1, 0, 0x11000, 0x2000)], "INVALID_STATE", /overlaps/],
  [
    "data that overlaps a slot",
    [OTADATA, OTA_0, OTA_1, row("storage", 1, 0x41, 0x2f000, 0x2000)],
    "INVALID_STATE",
    /overlaps/,
  ],
  [
    "a slot that is not on a 64 KB page",
    [OTADATA, OTA_0, row("ota_1", 0, 0x11, 0x21000, 0x8000)],
    "INVALID_STATE",
    /aligned/,
  ],
  ["otadata that is not on a sector", [row("otadata", 1, 0, 0xc800, 0x2000), OTA_0, OTA_1], "INVALID_STATE", /aligned/],
  ["a slot of half a sector", [OTADATA, OTA_0, row("ota_1", 0, 0x11, 0x20000, 0x10800)], "INVALID_STATE", /sector/],
  ["a slot of nothing", [OTADATA, OTA_0, row("ota_1", 0, 0x11, 0x20000, 0)], "INVALID_STATE", /./],
  [
    "a slot that ends above 16 MB",
    [OTADATA, OTA_0, row("ota_1", 0, 0x11, 0xff0000, 0x20000)],
    "INVALID_STATE",
    /partition ota_1 at 0xff0000\+0x20000 ends at 0x1010000: Espruino addresses 16 MB of flash/,
  ],
  [
    "otadata above 16 MB",
    [OTA_0, OTA_1, row("otadata", 1, 0, 0x1000000, 0x2000)],
    "INVALID_STATE",
    /partition otadata .*addresses 16 MB/,
  ],
  [
    "js_code above 16 MB",
    [OTADATA, OTA_0, OTA_1, row("js_code", 1, 6, 0x1000000, 0x10000)],
    "INVALID_STATE",
    /partition js_code .*addresses 16 MB/,
  ],
  [
    "storage that ends above 16 MB",
    [OTADATA, OTA_0, OTA_1, row("storage", 1, 0x41, 0xfff000, 0x2000)],
    "INVALID_STATE",
    /partition storage .*addresses 16 MB/,
  ],
  ["data of nothing", [OTADATA, OTA_0, OTA_1, row("nvs", 1, 2, 0x30000, 0)], "INVALID_STATE", /nvs at .* has 0 bytes/],
  [
    "a slot whose end is beyond 32 bits",
    [OTADATA, OTA_0, row("ota_1", 0, 0x11, 0xffff0000, 0x20000)],
    "INVALID_STATE",
    /./,
  ],
  ["a slot at the bootloader", [OTADATA, OTA_1, row("ota_0", 0, 0x10, 0, 0x10000)], "INVALID_STATE", /./],
  ["otadata at the table", [row("otadata", 1, 0, 0x8000, 0x2000), OTA_0, OTA_1], "INVALID_STATE", /table/],
  [
    "a bootloader for updates below the first partition",
    [row("boot", 2, 1, 0x2000, 0x6000), OTADATA, OTA_0, OTA_1],
    "INVALID_STATE",
    /partition boot at 0x2000\+0x6000 lies on bootloader or table/,
  ],
  [
    "a table for updates below the first partition",
    [row("table", 3, 1, 0x7000, 0x1000), OTADATA, OTA_0, OTA_1],
    "INVALID_STATE",
    /partition table at .* lies on bootloader or table/,
  ],
  [
    "a row of a project's own type below the first partition",
    [row("mine", 0x40, 0, 0x1000, 0x1000), OTADATA, OTA_0, OTA_1],
    "INVALID_STATE",
    /partition mine at .* lies on bootloader or table/,
  ],
];
for (const [what, rows, code, says] of IMPOSSIBLE)
  test(`a table with ${what} is refused: ESP_ERR_${code}, nothing is written`, async (t) => {
    // the device has booted with a good table: this is about what the module reads, not about the bootloader
    const fixture = await createFixture(t, { board: "toy-two" });
    fixture.device.flash.load(buildTable(rows), TABLE_OFFSET);
    await cannotUpdate(fixture, code, says);
  });

test("a table with two otadata rows is refused on a device that runs with it", async (t) => {
  const rows = [OTADATA, FACTORY, row("ota_0", 0, 0x10, 0x20000, 0x10000), row("storage", 1, 0, 0x30000, 0x4000)];
  const fixture = await createFixture(t, { board: boardWith(rows, "toy-factory-one") });
  assert.equal(fixture.device.running, "factory");
  await cannotUpdate(fixture, "NOT_SUPPORTED", /2019/);
});

for (const [what, table] of [
  ["noise", noise(3, 0xc00)],
  ["blank flash", new Uint8Array(0xc00).fill(0xff)],
  ["zeros", new Uint8Array(0xc00)],
  ["an MD5 row first", buildTable([]).fill(0xff, 32)],
  ["rows to the very end", Buffer.concat(Array(96).fill(buildTable([OTADATA]).subarray(0, 32)))],
] as const)
  for (const board of ["esp32", "esp32c3"])
    test(`${what} instead of a partition table is refused (${board})`, async (t) => {
      const fixture = await createFixture(t, { board });
      fixture.device.flash.load(table, TABLE_OFFSET);
      const { error } = await fixture.update();
      assert.ok(error && (error.code === 0x106 || error.code === 0x103), error?.message);
      touchesNothing(fixture);
      behaves(fixture);
      await nothingLeft(fixture);
    });

test("rows of the bootloader and the table, and copies behind them, do not matter", async (t) => {
  const rows = [
    row("PrimaryBTLDR", 2, 0, 0x1000, 0x7000),
    row("PrimaryPrtTable", 3, 0, 0x8000, 0x1000),
    OTADATA,
    OTA_0,
    OTA_1,
    row("boot", 2, 1, 0x30000, 0x7000),
    row("table", 3, 1, 0x37000, 0x1000),
  ];
  await updates(await createFixture(t, { board: boardWith(rows, "toy-two") }), "ota_1");
});

// 32 MB of flash, as boards of the S3 have it
test("data above 16 MB does not matter (esp32s3)", async (t) => {
  const rows = [
    row("nvs", 1, 2, 0x9000, 0x3000),
    OTADATA,
    OTA_0,
    OTA_1,
    row("littlefs", 1, 0x83, 0x910000, 0x16e0000),
    row("coredump", 1, 3, 0x1ff0000, 0x10000),
  ];
  const fixture = await createFixture(t, { board: boardWith(rows, "esp32s3", { flashSize: 0x2000000 }) });
  await updates(fixture, "ota_1");
});

test("slots of which one ends above 16 MB: the message names it (esp32s3)", async (t) => {
  const rows = [
    row("nvs", 1, 2, 0x9000, 0x5000),
    row("otadata", 1, 0, 0xe000, 0x2000),
    row("app0", 0, 0x10, 0x10000, 0xc80000),
    row("app1", 0, 0x11, 0xc90000, 0xc80000),
    row("spiffs", 1, 0x82, 0x1910000, 0x6c0000),
    row("coredump", 1, 3, 0x1ff0000, 0x10000),
  ];
  const fixture = await createFixture(t, { board: "esp32s3" });
  fixture.device.flash.load(buildTable(rows), TABLE_OFFSET);
  await cannotUpdate(
    fixture,
    "INVALID_STATE",
    /partition app1 at 0xc90000\+0xc80000 ends at 0x1910000: Espruino addresses 16 MB of flash/,
  );
});

test("a full table of 94 rows is read to its end", async (t) => {
  const rows = [...Array(91)].map((_, i) => row(`d${i}`, 1, 0x40, 0x30000 + i * 0x1000, 0x1000));
  rows.push(OTADATA, OTA_0, OTA_1);
  const fixture = await createFixture(t, { board: boardWith(rows, "toy-two", { flashSize: 0x100000 }), image: null });
  await updates(fixture, "ota_1");
});

test("flash encryption in the classic ESP32's eFuse is refused before a table is read", async (t) => {
  const fixture = await createFixture(t, { encrypted: true });
  await cannotUpdate(fixture, "NOT_SUPPORTED", /encrypt/);
});

test("flash encryption on other chips, where the table is not readable, is refused", async (t) => {
  const fixture = await createFixture(t, { board: "esp32c3" });
  fixture.device.flash.load(noise(77, 0xc00), TABLE_OFFSET);
  await cannotUpdate(fixture, "NOT_SUPPORTED", /encrypt/);
});

test("a board that is not an ESP32 is refused by its name", async (t) => {
  const board = { ...loadBoard("toy-two"), espruinoBoard: "PICO_R1_3" };
  const fixture = await createFixture(t, { board });
  await cannotUpdate(fixture, "NOT_SUPPORTED", /PICO_R1_3/);
});

for (const [name, board] of [
  ["ESP32_CYD", "esp32-dual"],
  ["ESP32_IDF5", "esp32-dual"],
  ["ESP32C3_IDF5", "esp32c3"],
  ["EPAPER_BADGE", "esp32c3"],
  ["CURIO", "esp32c3"],
  ["ESP32S3_TOUCH_LCD_35", "esp32s3"],
  ["MY_ESP32S3", "esp32s3"],
] as const)
  test(`the build ${name} is known to run on the chip of ${board}`, async (t) => {
    const fixture = await createFixture(t, { board: { ...loadBoard(board), espruinoBoard: name } });
    await updates(fixture, "ota_1");
  });

test("a board name that ends as one of ours begins is not taken for it", async (t) => {
  for (const espruinoBoard of ["NICE", "SOME_ESP3", "ESP"]) {
    const fixture = await createFixture(t, { board: { ...loadBoard("toy-two"), espruinoBoard } });
    await cannotUpdate(fixture, "NOT_SUPPORTED", new RegExp(espruinoBoard));
  }
});

// --- Which slot runs -----------------------------------------------------------------------------------------------

const CHIP_BOARDS = [
  ["esp32-dual", "esp32"],
  ["esp32c3", "esp32c3"],
  ["esp32s3", "esp32s3"],
] as const;

// the bootloaders of C3 and S3 read a descriptor in any case: only classic images do without
for (const [board, chip] of CHIP_BOARDS)
  for (const descriptor of chip === "esp32" ? ([undefined, false] as const) : [undefined])
    test(`the running slot is found ${descriptor === false ? "without" : "with"} app descriptor, whatever otadata says (${board})`, async (t) => {
      const images = { ota_0: image(1, chip, { descriptor }), ota_1: image(2, chip, { descriptor }) };
      for (const [seq, running] of [
        [1, "ota_0"],
        [2, "ota_1"],
      ] as const) {
        const fixture = await createFixture(t, { board, image: null, images, otadata: [buildEntry(seq, VALID)] });
        const { device } = fixture;
        assert.equal(device.running, running);
        assert.equal(device.ota.getRunningPartition().label, running);
        // after a set_boot without a restart, otadata names the other one
        device.flash.load(buildEntry(seq + 1, NEW), device.otadata().address + 4096);
        assert.equal(device.ota.getRunningPartition().label, running);
        assert.notEqual(device.ota.getBootPartition().label, running);
        behaves(fixture);
      }
    });

for (const [board, chip] of CHIP_BOARDS)
  test(`fallen back from a broken slot: the update goes to that slot (${board})`, async (t) => {
    const images = { ota_0: image(1, chip), ota_1: mutations.flipPayloadBit(image(2, chip)) };
    const fixture = await createFixture(t, {
      board,
      image: null,
      images,
      otadata: [buildEntry(1, VALID), buildEntry(2, VALID)],
    });
    const { device } = fixture;
    assert.equal(device.running, "ota_0");
    assert.ok(device.boots[0].fellBack);
    assert.equal(device.ota.getRunningPartition().label, "ota_0");
    assert.equal(device.ota.getBootPartition().label, "ota_1");
    assert.equal(device.ota.getNextUpdatePartition().label, "ota_1");
    await updates(fixture, "ota_1");
  });

/** Of two images that are told apart by nothing in their first 256 bytes. */
const sameDescriptor = (chip: string) => (chip === "esp32" ? (false as const) : { elfSha256: new Uint8Array(32) });

for (const [board, chip] of CHIP_BOARDS)
  test(`images that begin alike are compared until they differ (${board})`, async (t) => {
    for (const alikeBytes of [4096, 4097, 8192, 11000]) {
      const alike = { alikeBytes, descriptor: sameDescriptor(chip) };
      const images = { ota_0: image(1, chip, alike), ota_1: image(2, chip, alike) };
      for (const [seq, running] of [
        [1, "ota_0"],
        [2, "ota_1"],
      ] as const) {
        const { device } = await createFixture(t, { board, image: null, images, otadata: [buildEntry(seq, VALID)] });
        device.flash.load(buildEntry(seq + 1, NEW), device.otadata().address + 4096);
        assert.equal(device.ota.getRunningPartition().label, running, `${alikeBytes} bytes alike`);
        assert.deepEqual(device.engine.problems, []);
      }
    }
  });

for (const board of ["esp32-dual", "esp32c3"])
  test(`a running image longer or shorter than one otherwise alike is found (${board})`, async (t) => {
    const chip = loadBoard(board).chip;
    const alike = { alikeBytes: 60000, descriptor: sameDescriptor(chip) };
    const short = image(1, chip, { ...alike, size: 25008 });
    const long = image(2, chip, { ...alike, size: 50000 });
    for (const images of [
      { ota_0: short, ota_1: long },
      { ota_0: long, ota_1: short },
    ]) {
      for (const seq of [1, 2]) {
        const fixture = await createFixture(t, { board, image: null, images, otadata: [buildEntry(seq, VALID)] });
        assert.equal(fixture.device.ota.getRunningPartition().label, fixture.device.running);
        await updates(fixture, seq === 1 ? "ota_1" : "ota_0");
      }
    }
  });

test("identical images on the classic ESP32 are told apart by its MMU, not otadata", async (t) => {
  for (const [seq, running] of [
    [1, "ota_0"],
    [2, "ota_1"],
  ] as const) {
    const images = { ota_0: image(1), ota_1: image(1) };
    const fixture = await createFixture(t, {
      board: "toy-two",
      image: null,
      images,
      otadata: [buildEntry(seq, VALID)],
    });
    const { device } = fixture;
    device.flash.load(buildEntry(seq + 1, NEW), device.otadata().address + 4096);
    assert.equal(device.ota.getRunningPartition().label, running);
    device.flash.load(new Uint8Array(32).fill(0xff), device.otadata().address + 4096);
    fixture.remember();
    await updates(fixture, running === "ota_0" ? "ota_1" : "ota_0");
  }
});

for (const [board, chip] of CHIP_BOARDS.slice(1))
  test(`identical images are told apart by otadata where no MMU can be read (${board})`, async (t) => {
    for (const [seq, running] of [
      [1, "ota_0"],
      [2, "ota_1"],
    ] as const) {
      const images = { ota_0: image(1, chip), ota_1: image(1, chip) };
      const fixture = await createFixture(t, { board, image: null, images, otadata: [buildEntry(seq, UNDEFINED)] });
      assert.equal(fixture.device.running, running);
      assert.equal(fixture.device.ota.getRunningPartition().label, running);
      await updates(fixture, running === "ota_0" ? "ota_1" : "ota_0");
    }
  });

test("a slot with an equal image that is cut or spoilt does not count as a second", async (t) => {
  const images = { ota_0: image(1), ota_1: mutations.flipPayloadBit(image(1)) };
  const fixture = await createFixture(t, { board: "toy-two", image: null, images });
  assert.equal(fixture.device.ota.getRunningPartition().label, "ota_0");
  await updates(fixture, "ota_1");
});

// --- What lies in the other slot is never trusted ------------------------------------------------------------------

for (const [board, chip] of CHIP_BOARDS)
  for (const foreign of ["esp32", "esp32s2", "esp32c3", "esp32s3", "esp32c6"].filter((one) => one !== chip))
    test(`an image of a ${foreign} in the other slot is not read through the map (${board})`, async (t) => {
      const images = { ota_0: image(1, chip), ota_1: image(2, foreign) };
      const fixture = await createFixture(t, { board, image: null, images });
      assert.equal(fixture.device.ota.getRunningPartition().label, "ota_0");
      await updates(fixture, "ota_1");
    });

for (const [what, change] of [
  ["a load address in RAM", (view: DataView) => view.setUint32(24, 0x3ffb0000, true)],
  ["a load address of code", (view: DataView) => view.setUint32(24, 0x400d0020, true)],
  ["load address 0", (view: DataView) => view.setUint32(24, 0, true)],
  ["a load address beyond all memory", (view: DataView) => view.setUint32(24, 0xffffffe0, true)],
  ["a first segment longer than the slot", (view: DataView) => view.setUint32(28, 0x7fffffff, true)],
  ["an empty first segment", (view: DataView) => view.setUint32(28, 0, true)],
] as [string, (view: DataView) => void][])
  test(`an image with ${what} in the other slot is not read through the memory map`, async (t) => {
    const spoilt = image(2);
    change(new DataView(spoilt.buffer));
    const fixture = await createFixture(t, {
      board: "toy-two",
      image: null,
      images: { ota_0: image(1), ota_1: spoilt },
    });
    assert.equal(fixture.device.ota.getRunningPartition().label, "ota_0");
    await updates(fixture, "ota_1");
  });

for (const [board, chip, loadAddr] of [
  ["toy-two", "esp32", 0x3f410020],
  ["esp32c3", "esp32c3", 0x3c0c0020],
  ["esp32s3", "esp32s3", 0x3c180020],
] as const)
  test(`an image whose address is not mapped, in the other slot, is not read (${board})`, async (t) => {
    const elsewhere = image(2, chip);
    new DataView(elsewhere.buffer).setUint32(24, loadAddr, true);
    for (const [images, otadata] of [
      [{ ota_0: image(1, chip), ota_1: elsewhere }, [buildEntry(1, VALID)]],
      // it runs now, the other one is selected
      [{ ota_0: image(1, chip), ota_1: elsewhere }, [buildEntry(1, VALID), null]],
    ] as const) {
      const fixture = await createFixture(t, { board, image: null, images, otadata: [...otadata] });
      assert.equal(fixture.device.ota.getRunningPartition().label, "ota_0");
      behaves(fixture);
    }
  });

for (const [what, bytes] of [
  ["noise", noise(5, 64 * K)],
  ["zeros", new Uint8Array(64 * K)],
  ["nothing", new Uint8Array(64 * K).fill(0xff)],
  ["an image's first sector", image(1).subarray(0, 4096)],
  ["the running image's first sector", image(1).subarray(0, 4096)],
] as const)
  test(`with ${what} in the other slot the running one is found and the update works`, async (t) => {
    const fixture = await createFixture(t, {
      board: "toy-two",
      image: null,
      images: { ota_0: image(1), ota_1: bytes },
    });
    await updates(fixture, "ota_1");
  });

test("a memory map that matches no slot is an error, not a guess", async (t) => {
  const fixture = await createFixture(t, { board: "toy-two" });
  fixture.device.flash.load(noise(1, 4096), fixture.device.row("ota_0").offset + 4096);
  // the flash changed under the mapping: still consistent; now spoil the header that leads there
  fixture.device.flash.load(new Uint8Array([0]), fixture.device.row("ota_0").offset);
  const outcome = await fixture.update();
  failsWith(outcome, "NOT_FOUND");
  touchesNothing(fixture);
  await nothingLeft(fixture);
});
