// partitions: CSV to binary and back, by the rules of gen_esp32part.py (docs/formats.md#partition-table).
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { boardNames, loadBoard } from "../../sim/boards.ts";
import { buildTable } from "../../sim/partitions.ts";
import { fails, forAll, succeeds, workshop } from "./cli-run.ts";

const shop = workshop();

/** Reference 6.3: IDF's partitions_two_ota.csv and partitions_two_ota_large.csv, and what gen_esp32part.py makes of them. */
const GOLDEN = {
  two_ota: {
    csv: `# Name,   Type, SubType, Offset,   Size, Flags
nvs,      data, nvs,     ,        0x4000,
otadata,  data, ota,     ,        0x2000,
phy_init, data, phy,     ,        0x1000,
factory,  app,  factory, ,        1M,
ota_0,    app,  ota_0,   ,        1M,
ota_1,    app,  ota_1,   ,        1M,
`,
    rows: [
      "aa50010200900000004000006e76730000000000000000000000000000000000",
      "aa50010000d00000002000006f74616461746100000000000000000000000000",
      "aa50010100f00000001000007068795f696e6974000000000000000000000000",
      "aa5000000000010000001000666163746f727900000000000000000000000000",
      "aa50001000001100000010006f74615f30000000000000000000000000000000",
      "aa50001100002100000010006f74615f31000000000000000000000000000000",
      "ebebffffffffffffffffffffffffffffbf25822c0fa6d8641bd930251e06b4c4",
    ],
  },
  two_ota_large: {
    csv: `nvs,data,nvs,0x9000,0x6000
otadata,data,ota,0xf000,0x2000
phy_init,data,phy,0x11000,4K
ota_0,0,0x10,,1700K
ota_1,app,ota_1,,0x1A9000
`,
    rows: [
      "aa50010200900000006000006e76730000000000000000000000000000000000",
      "aa50010000f00000002000006f74616461746100000000000000000000000000",
      "aa50010100100100001000007068795f696e6974000000000000000000000000",
      "aa5000100000020000901a006f74615f30000000000000000000000000000000",
      "aa50001100001d0000901a006f74615f31000000000000000000000000000000",
      "ebebffffffffffffffffffffffffffff37f38b32a34f7412f158930062441178",
    ],
  },
};

const binaryOf = (rows: string[]) => {
  const bytes = Buffer.alloc(0xc00, 0xff);
  Buffer.from(rows.join(""), "hex").copy(bytes);
  return bytes;
};

test("the golden tables come out byte for byte", async () => {
  for (const [name, { csv, rows }] of Object.entries(GOLDEN)) {
    shop.put(`${name}.csv`, csv.replace("1700K", "0x1A9000"));
    succeeds(
      await shop.run("partitions", `${name}.csv`, "--out", `${name}.bin`),
      /3072 bytes for flash address 0x8000/,
    );
    assert.deepEqual(shop.get(`${name}.bin`), binaryOf(rows), name);
    const { bytes } = await shop.run("partitions", `${name}.csv`, "--out", "-");
    assert.deepEqual(bytes, binaryOf(rows), `${name} to standard output`);
  }
});

test("every board's table survives the way to CSV and back", async () => {
  await forAll(boardNames(), async (name) => {
    const table = buildTable(loadBoard(name).rows);
    shop.put(`${name}.bin`, table);
    succeeds(await shop.run("partitions", `${name}.bin`, "--csv", "--out", `${name}.csv`));
    succeeds(await shop.run("partitions", `${name}.csv`, "--out", `${name}.again`));
    assert.deepEqual(shop.get(`${name}.again`), Buffer.from(table));
  });
});

test("CSV is written as gen_esp32part.py writes it", async () => {
  shop.put("golden.bin", binaryOf(GOLDEN.two_ota_large.rows));
  const { stdout } = succeeds(await shop.run("partitions", "golden.bin", "--csv"));
  assert.equal(
    stdout,
    `# ESP-IDF Partition Table
# Name, Type, SubType, Offset, Size, Flags
nvs,data,nvs,0x9000,24K,
otadata,data,ota,0xf000,8K,
phy_init,data,phy,0x11000,4K,
ota_0,app,ota_0,0x20000,1700K,
ota_1,app,ota_1,0x1d0000,1700K,
`,
  );
});

test("flags, numbers, negative sizes and comments are understood", async () => {
  shop.put(
    "odd.csv",
    `# a comment
nvs, data, nvs, 0x9000, -0xC000,
factory, APP, Factory, , -0x190000

storage, 0x40, 7, 0x320000, 896k, encrypted:readonly
`,
  );
  succeeds(await shop.run("partitions", "odd.csv", "--out", "odd.bin", "--flash-size", "4MB"));
  const { stdout } = await shop.run("inspect", "odd.bin", "--json");
  assert.deepEqual(
    JSON.parse(stdout).table.rows.map(({ label, type, subtype, offset, size, flags }: any) => [
      label,
      type,
      subtype,
      offset,
      size,
      flags,
    ]),
    [
      ["nvs", 1, 2, 0x9000, 0x3000, 0],
      ["factory", 0, 0, 0x10000, 0x180000, 0],
      ["storage", 0x40, 7, 0x320000, 0xe0000, 3],
    ],
  );
});

const HEAD = "nvs,data,nvs,0x9000,0x6000\notadata,data,ota,0xf000,0x2000\n\n# comment\n";

test("a rule that is broken is named with its line", async () => {
  const cases: [string, RegExp][] = [
    ["x,data", /size is missing: name, type, subtype, offset, size, flags/],
    [",data,fat,,4K", /no name/],
    ["a_name_of_17_char,data,fat,,4K", /name a_name_of_17_char has 17 bytes, expected 16 at most/],
    ["x,dat,fat,,4K", /type "dat", expected app, data/],
    ["x,app,,,64K", /an app needs a subtype/],
    ["x,app,ota_16,,64K", /subtype "ota_16" is unknown for type app/],
    ["x,app,nvs,,64K", /subtype "nvs" is unknown for type app/],
    ["x,data,toString,,4K", /subtype "toString" is unknown/],
    ["x,data,fat,1.5,4K", /offset "1\.5" is not a number/],
    ["x,data,fat,,", /size is missing/],
    ["x,data,fat,,4G", /size "4G" is not a number/],
    ["x,data,fat,,0", /x: size 0/],
    ["x,data,fat,0x20000,-0x10000", /offset 0x20000 with size "-0x10000"/],
    ["x,data,fat,,4K,secret", /flag "secret", expected encrypted or readonly/],
    ["x,app,factory,0x11000,64K", /x: offset 0x11000 is not a multiple of 0x10000/],
    ["x,data,fat,0x11100,4K", /x: offset 0x11100 is not a multiple of 0x1000/],
    ["x,app,factory,0x20000,0x10100", /x: size 0x10100 is not a multiple of 0x1000/],
    ["x,data,fat,0x8000,4K", /x: offset 0x8000 is below 0x9000/],
    ["x,data,ota,,0x2000", /x: a second otadata beside otadata/],
    ["nvs,data,fat,,4K", /nvs: the name comes twice/],
    ["x,data,nvs,,0x2000", /x: nvs of 0x2000 bytes, expected 0x3000 or more/],
    ["x,data,coredump,,64K,readonly", /x: coredump partitions can't be readonly/],
    ["x,data,fat,0xe000,0x1000", /x at 0xe000\+0x1000 overlaps nvs at 0x9000\+0x6000/],
    ["x,data,fat,0x3ff000,0x2000", /x: 0x3ff000\+0x2000 ends behind a flash of 4 MB/],
    ["x,bootloader,primary,,0x7000", /a bootloader row needs --primary-bootloader-offset/],
  ];
  await forAll([...cases.entries()], async ([i, [line, says]]) => {
    shop.put(`bad${i}.csv`, `${HEAD}${line}\n`);
    const run = await shop.run("partitions", `bad${i}.csv`, "--out", `bad${i}.bin`, "--flash-size", "4MB");
    fails(run, 1, says);
    assert.match(run.stderr, new RegExp(`^bad${i}\\.csv: line 5: `));
    assert.ok(!existsSync(shop.at(`bad${i}.bin`)), `${line}: a table was written`);
  });
});

test("otadata has to have exactly two sectors, and may not be readonly", async () => {
  shop.put("size.csv", "otadata,data,ota,,0x1000");
  fails(
    await shop.run("partitions", "size.csv", "--check"),
    1,
    /line 1: otadata: otadata of 0x1000 bytes, expected 0x2000/,
  );
  shop.put("ro.csv", "otadata,data,ota,,0x2000,readonly");
  fails(await shop.run("partitions", "ro.csv", "--check"), 1, /line 1: otadata: ota partitions can't be readonly/);
});

test("rules that look strict are not stricter than the tool's", async () => {
  const good = ["x,data,nvs,,0x1000,readonly", "x,data,,,0x1234", "x,0xfe,0xfe,,1"];
  for (const line of good) {
    shop.put("good.csv", `${HEAD}${line}\n`);
    succeeds(await shop.run("partitions", "good.csv", "--check"));
  }
});

test("94 rows fit, 95 do not", async () => {
  const lines = (count: number) => Array.from({ length: count }, (_, i) => `p${i},data,fat,,4K`).join("\n");
  shop.put("94.csv", lines(94));
  succeeds(await shop.run("partitions", "94.csv", "--out", "94.bin"));
  succeeds(await shop.run("partitions", "94.bin", "--check"));
  shop.put("95.csv", lines(95));
  fails(await shop.run("partitions", "95.csv", "--check"), 1, /line 95: 95 rows, a table holds 94/);
});

test("--check writes nothing and finds a binary that is stale", async () => {
  shop.put("t.csv", GOLDEN.two_ota.csv);
  fails(await shop.run("partitions", "t.csv", "--out", "t.bin", "--check"), 1, /^t\.bin: no such file/);
  assert.ok(!existsSync(shop.at("t.bin")));
  shop.put("t.bin", binaryOf(GOLDEN.two_ota.rows));
  succeeds(
    await shop.run("partitions", "t.csv", "--out", "t.bin", "--check"),
    /valid, and what t\.bin holds/,
    /in turns ota_0, ota_1/,
  );
  const stale = binaryOf(GOLDEN.two_ota.rows);
  stale[0x29] ^= 0x10;
  shop.put("t.bin", stale);
  fails(
    await shop.run("partitions", "t.csv", "--out", "t.bin", "--check"),
    1,
    /^t\.bin: offset 0x29: found 0x30, t\.csv gives 0x20/,
  );
  assert.deepEqual(shop.get("t.bin"), stale);
  shop.put("t.bin", binaryOf(GOLDEN.two_ota.rows).subarray(0, 0x100));
  fails(
    await shop.run("partitions", "t.csv", "--out", "t.bin", "--check"),
    1,
    /^t\.bin: offset 0x100: found the end, t\.csv gives 0xff/,
  );
});

test("a binary is checked, and a whole flash's table is taken out", async () => {
  shop.put("b.bin", binaryOf(GOLDEN.two_ota.rows));
  succeeds(await shop.run("partitions", "b.bin", "--check", "--flash-size", "4MB"), /valid, 6 partitions/);
  fails(
    await shop.run("partitions", "b.bin", "--check", "--flash-size", "2MB"),
    1,
    /^b\.bin: offset 0x80: ota_0: .* behind a flash of 2 MB/,
  );
  const flash = Buffer.alloc(0x10000, 0xff);
  flash.set(binaryOf(GOLDEN.two_ota.rows), 0x8000);
  shop.put("flash.bin", flash);
  succeeds(await shop.run("partitions", "flash.bin", "--csv"), /\nota_1,app,ota_1,0x210000,1M,\n$/);
  flash[0x8004] ^= 1;
  shop.put("flash.bin", flash);
  fails(await shop.run("partitions", "flash.bin", "--csv"), 1, /^flash\.bin: offset 0x80d0: MD5/);
  fails(await shop.run("partitions", "b.bin", "--out", "x.bin"), 2, /b\.bin is a binary: --csv/);
  shop.put("c.csv", GOLDEN.two_ota.csv);
  fails(await shop.run("partitions", "c.csv", "--csv"), 1, /^c\.csv: no partition table/);
  shop.put("none.csv", "# nothing\n");
  fails(await shop.run("partitions", "none.csv", "--check"), 1, /^none\.csv: no partition in it/);
});

// --- Espruino --------------------------------------------------------------------------------------------------------

const BEFORE = "js_code,data,0x41,0x320000,256K\n";
const STORAGE = "storage,data,0x41,0x320000,896K\n";

test("--check says which Espruino builds find their files with a table", async () => {
  const cases: [string, RegExp[]][] = [
    [
      STORAGE,
      [
        /\n {2}for Espruino 2v26 and later \(896 KB at 0x320000 through partition storage\)\n/,
        /\n {2}not for Espruino 2v05 to 2v25: the table has no data partition js_code\n {4}flash once by USB a table with js_code at 0x320000, 256 KB/,
      ],
    ],
    [
      `${BEFORE}storage,data,0x42,0x360000,640K\n`,
      [
        /\n {2}for Espruino 2v05 to 2v25 \(256 KB at 0x320000 through partition js_code\)\n/,
        /\n {2}not for Espruino 2v26 and later: partition storage is at 0x360000, expected 0x320000\n {4}flash once by USB a table with storage at 0x320000, 896 KB/,
      ],
    ],
    ["js_code,data,0x41,0x2c0000,256K\n", [/\n {2}for Espruino up to 2v04 \(256 KB at 0x2c0000 /]],
  ];
  for (const [rows, says] of cases) {
    shop.put("e.csv", HEAD + rows);
    succeeds(await shop.run("partitions", "e.csv", "--check"), ...says);
    succeeds(await shop.run("partitions", "e.csv", "--out", "e.bin"));
    succeeds(await shop.run("partitions", "e.bin", "--check"), ...says);
  }
  shop.put("none.csv", HEAD);
  assert.doesNotMatch(succeeds(await shop.run("partitions", "none.csv", "--check")).stdout, /Espruino/);
});

test("js_code and storage may share their begin, and nothing else may", async () => {
  const note = /\n {2}note js_code and storage are at one address, 0x320000: .* more than 256 KB are in use\n/;
  for (const rows of [BEFORE + STORAGE, STORAGE + BEFORE]) {
    shop.put("both.csv", HEAD + rows);
    const run = succeeds(
      await shop.run("partitions", "both.csv", "--check"),
      note,
      /2v05 to 2v25 \(/,
      /2v26 and later \(/,
    );
    assert.doesNotMatch(run.stdout, /not for/);
    succeeds(await shop.run("partitions", "both.csv", "--out", "both.bin"));
    succeeds(await shop.run("partitions", "both.bin", "--check"), note);
    succeeds(await shop.run("partitions", "both.bin", "--csv"), /\njs_code,data,0x41,0x320000,256K,\n/);
  }
  const overlapping = [
    `${BEFORE}storage,data,0x41,0x330000,832K\n`,
    `${BEFORE}files,data,0x41,0x320000,896K\n`,
    `${BEFORE}storage,0x40,0x41,0x320000,896K\n`,
    `${BEFORE}${STORAGE}fat,data,fat,0x340000,64K\n`,
    `${STORAGE}${STORAGE}`,
  ];
  for (const rows of overlapping) {
    shop.put("over.csv", HEAD + rows);
    fails(await shop.run("partitions", "over.csv", "--check"), 1, /: line \d: .*overlaps|comes twice/);
  }
});

// --- CSV that says what the table says -------------------------------------------------------------------------------

/** A table of two rows, the second with these bytes for a label, and what else `change` does to its row. */
function tableWithLabel(label: string | Uint8Array, change: (row: Buffer) => void = () => {}): Buffer {
  const rows = GOLDEN.two_ota.rows.slice(0, 2).map((row) => Buffer.from(row, "hex"));
  rows[1].fill(0, 12, 28).set(Buffer.from(label).subarray(0, 16), 12);
  change(rows[1]);
  const md5 = createHash("md5").update(Buffer.concat(rows)).digest("hex");
  return binaryOf([...rows.map((row) => row.toString("hex")), `ebeb${"ff".repeat(14)}${md5}`]);
}

test("a CSV gives the same table when it is read again, or is not made", async () => {
  const good = ["läbel", "a b", 'a"b', "'a'", "漢字", "a;b", "a#b", "-1", "sixteen_bytes_in", "\\x1b"];
  await forAll([...good.entries()], async ([i, label]) => {
    shop.put(`good${i}.bin`, tableWithLabel(label));
    succeeds(await shop.run("partitions", `good${i}.bin`, "--csv", "--out", `good${i}.csv`));
    succeeds(await shop.run("partitions", `good${i}.csv`, "--out", `good${i}.again`));
    assert.deepEqual(shop.get(`good${i}.again`), shop.get(`good${i}.bin`), label);
  });
  const flags = (value: number) => (row: Buffer) => void row.writeUInt32LE(value, 28);
  const bad: [Buffer, RegExp][] = [
    [tableWithLabel("a,b"), /offset 0x20: name "a,b" has a comma, or/],
    [tableWithLabel("#ab"), /name "#ab" has a comma, or/],
    [tableWithLabel("x,data,fat,\n"), /name "x,data,fat,\\x0a" has a comma/],
    [tableWithLabel("a\nb"), /name "a\\x0ab" has characters that cannot be shown/],
    [tableWithLabel("a\rb"), /name "a\\x0db" has characters that cannot be shown/],
    [tableWithLabel("\u001b]0;t\u0007"), /name "\\x1b\]0;t\\x07" has characters that cannot be shown/],
    [tableWithLabel("a\u202eb"), /name "a\\u202eb" has characters that cannot be shown/],
    [tableWithLabel("\ufeffa"), /name "\\ufeffa" has characters that cannot be shown/],
    [tableWithLabel(" a"), /name " a" has blanks at its start or end/],
    [tableWithLabel("a\u00a0"), /name "a\u00a0" has blanks at its start or end/],
    [tableWithLabel(Buffer.from("l\u00e4bel", "latin1")), /offset 0x2d: found 0xe4, a CSV gives 0xc3 there/],
    [tableWithLabel("ab\0cd"), /offset 0x2f: found 0x63, a CSV gives 0x00 there/],
    [tableWithLabel("ab", flags(4)), /flags 0x4, a CSV knows only encrypted and readonly/],
    [tableWithLabel("ab", flags(0x80000001)), /flags 0x80000001, a CSV knows only/],
  ];
  await forAll([...bad.entries()], async ([i, [table, says]]) => {
    shop.put(`bad${i}.table`, table);
    for (const more of [[], ["--out", `bad${i}.made`]]) {
      const run = fails(await shop.run("partitions", `bad${i}.table`, "--csv", ...more), 1, says);
      assert.equal(run.stdout, "");
    }
    assert.ok(!existsSync(shop.at(`bad${i}.made`)));
    // it is still a table
    succeeds(await shop.run("partitions", `bad${i}.table`, "--check"));
  });
});

test("a line ends with LF, CR LF or CR", async () => {
  for (const end of ["\n", "\r\n", "\r"]) {
    shop.put("ends.csv", GOLDEN.two_ota.csv.replaceAll("\n", end));
    succeeds(await shop.run("partitions", "ends.csv", "--out", "ends.bin"));
    assert.deepEqual(shop.get("ends.bin"), binaryOf(GOLDEN.two_ota.rows));
  }
});
