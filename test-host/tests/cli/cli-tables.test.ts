// Partition tables from the field: what gen_esp32part.py 1.5 takes is taken, byte for byte, and what it refuses is refused.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { buildImage } from "../../support/images.ts";
import { fails, succeeds, workshop } from "./cli-run.ts";

const shop = workshop();

/** Of ESP-IDF's and other people's projects, and the rows that the tool makes of them, with their MD5 row. */
const FIELD: Record<string, { csv: string; options?: string[]; rows: string[] }> = {
  esp_secure_cert: {
    csv: `# Partition table for DS test using esp_secure_cert partition.
# esp_secure_cert_mgr looks for type 0x3F (custom) and name "esp_secure_cert".
# Flash main/certs/esp_secure_cert_data/esp_secure_cert.bin to the esp_secure_cert partition.
# Name,   Type, SubType, Offset,  Size, Flags
nvs,      data, nvs,     ,        0x6000,
phy_init, data, phy,     ,        0x1000,
esp_secure_cert, 0x3F, 0x00, ,    0x4000,
factory,  app,  factory, ,        0x100000,
`,
    rows: [
      "aa50010200900000006000006e76730000000000000000000000000000000000",
      "aa50010100f00000001000007068795f696e6974000000000000000000000000",
      "aa503f0000000100004000006573705f7365637572655f636572740000000000",
      "aa5000000000020000001000666163746f727900000000000000000000000000",
      "ebebffffffffffffffffffffffffffffff824b8bb2ec8d7e2f492344ead5c23d",
    ],
  },
  subtype_0xff: {
    csv: `# Name,   Type, SubType, Offset,  Size, Flags
nvs,           data, nvs,      , 0x6000,
# Extra partition to demonstrate reading/writing of encrypted flash
storage,       data, 0xff,     , 0x1000, encrypted
factory,       app,  factory,  , 1M,
# nvs_key partition contains the key that encrypts the NVS partition named nvs. The nvs_key partition needs to be encrypted.
nvs_key,       data, nvs_keys, , 0x1000, encrypted,
# Custom NVS data partition
custom_nvs,    data, nvs,      , 0x6000,
# FATFS partitions, one non-encrypted, one encrypted
fat_encrypted, data, fat,      , 600k,   encrypted
fat_not_encr,  data, fat,      , 600k,
`,
    rows: [
      "aa50010200900000006000006e76730000000000000000000000000000000000",
      "aa5001ff00f000000010000073746f7261676500000000000000000001000000",
      "aa5000000000010000001000666163746f727900000000000000000000000000",
      "aa50010400001100001000006e76735f6b657900000000000000000001000000",
      "aa5001020010110000600000637573746f6d5f6e767300000000000000000000",
      "aa50018100701100006009006661745f656e6372797074656400000001000000",
      "aa50018100d01a00006009006661745f6e6f745f656e63720000000000000000",
      "ebebffffffffffffffffffffffffffffc619799dacf7256107af3d08c61692fa",
    ],
  },
  utf16: {
    csv: `# Partition Table for 4M
# Name,    Type, SubType,  Offset,   Size
nvs,      data, nvs,        0x9000, 0x4000,
otadata,  data, ota,        0xD000, 0x2000,
phy_init, data, phy,        0xF000, 0x1000,
app0,     app,  ota_0,     0x10000, 0x1A0000,
app1,     app,  ota_1,    0x1B0000, 0x1A0000,
spiffs,   data, spiffs,   0x350000, 0xA0000,
coredump, data, coredump, 0x3F0000, 0x10000,
`,
    rows: [
      "aa50010200900000004000006e76730000000000000000000000000000000000",
      "aa50010000d00000002000006f74616461746100000000000000000000000000",
      "aa50010100f00000001000007068795f696e6974000000000000000000000000",
      "aa5000100000010000001a006170703000000000000000000000000000000000",
      "aa50001100001b0000001a006170703100000000000000000000000000000000",
      "aa5001820000350000000a007370696666730000000000000000000000000000",
      "aa50010300003f0000000100636f726564756d70000000000000000000000000",
      "ebebffffffffffffffffffffffffffffaf779b78e099ff8b48cf7a4a9bc51602",
    ],
  },
  bootloader_rows: {
    csv: `# Name,           Type,               SubType,   Offset,  Size,      Flags
PrimaryBTLDR,     bootloader,         primary,   N/A,     N/A,
PrimaryPrtTable,  partition_table,    primary,   N/A,     N/A,
nvs,              data,               nvs,       ,        0x6000,
nvs_key,          data,               nvs_keys,  ,        4K,
storage,          data,               ,          ,        0x1000,    encrypted
otadata,          data,               ota,       ,        0x2000,
phy_init,         data,               phy,       ,        0x1000,
emul_efuse,       data,               efuse,     ,        0x2000,
ota_0,            app,                ota_0,     ,        0x1B0000,
ota_1,            app,                ota_1,     ,        0x1B0000,
`,
    options: ["--table-offset", "0x9000", "--primary-bootloader-offset", "0x1000"],
    rows: [
      "aa50020000100000008000005072696d61727942544c44520000000000000000",
      "aa50030000900000001000005072696d6172795072745461626c650000000000",
      "aa50010200a00000006000006e76730000000000000000000000000000000000",
      "aa50010400000100001000006e76735f6b657900000000000000000000000000",
      "aa500106001001000010000073746f7261676500000000000000000001000000",
      "aa50010000200100002000006f74616461746100000000000000000000000000",
      "aa50010100400100001000007068795f696e6974000000000000000000000000",
      "aa5001050050010000200000656d756c5f656675736500000000000000000000",
      "aa5000100000020000001b006f74615f30000000000000000000000000000000",
      "aa50001100001d0000001b006f74615f31000000000000000000000000000000",
      "ebebffffffffffffffffffffffffffffca4b23757170316d7c08cfd42e4f246d",
    ],
  },
};

const binaryOf = (rows: string[]) => {
  const bytes = Buffer.alloc(0xc00, 0xff);
  Buffer.from(rows.join(""), "hex").copy(bytes);
  return bytes;
};

const md5Row = (rows: string[]) => {
  const digest = createHash("md5")
    .update(Buffer.from(rows.join(""), "hex"))
    .digest("hex");
  return `ebeb${"ff".repeat(14)}${digest}`;
};

/** UTF-16 with byte order mark and CR LF, as Windows programs write it. */
function utf16(text: string, bigEndian = false): Buffer {
  const bytes = Buffer.from(`\ufeff${text.replaceAll("\n", "\r\n")}`, "utf16le");
  return bigEndian ? bytes.swap16() : bytes;
}

test("tables from the field come out as gen_esp32part.py writes them, and go back", async () => {
  for (const [name, { csv, options = [], rows }] of Object.entries(FIELD)) {
    assert.equal(md5Row(rows.slice(0, -1)), rows.at(-1), name);
    shop.put(`${name}.csv`, csv);
    succeeds(await shop.run("partitions", `${name}.csv`, ...options, "--out", `${name}.bin`));
    assert.deepEqual(shop.get(`${name}.bin`), binaryOf(rows), name);
    succeeds(await shop.run("inspect", `${name}.bin`));
    const back = [...options.slice(0, 2), "--csv", "--out", `${name}.again.csv`];
    succeeds(await shop.run("partitions", `${name}.bin`, ...back));
    succeeds(await shop.run("partitions", `${name}.again.csv`, ...options, "--out", `${name}.bin`, "--check"));
  }
});

test("a CSV may be UTF-16 or UTF-8 with a byte order mark, and nothing else", async () => {
  const { csv, rows } = FIELD.utf16;
  for (const text of [utf16(csv), utf16(csv, true), Buffer.from(`\ufeff${csv}`)]) {
    shop.put("mark.csv", text);
    succeeds(await shop.run("partitions", "mark.csv", "--out", "mark.bin"));
    assert.deepEqual(shop.get("mark.bin"), binaryOf(rows));
  }
  for (const bytes of [Buffer.from(csv, "utf16le"), Buffer.from("# \u00e4\n", "latin1"), utf16(csv).subarray(0, 41)]) {
    shop.put("odd.csv", bytes);
    fails(await shop.run("partitions", "odd.csv", "--check"), 1, /^odd\.csv: (is not text in UTF-8|line \d: )/);
  }
});

test("bootloader and table rows take their place from options, as in the tool", async () => {
  shop.put("boot.csv", FIELD.bootloader_rows.csv);
  fails(await shop.run("partitions", "boot.csv", "--check"), 1, /^boot\.csv: line 2: .*--primary-bootloader-offset/);
  shop.put("recovery.csv", "boot,bootloader,recovery,,\nnvs,data,nvs,,0x6000\n");
  const primary = ["--primary-bootloader-offset", "0x2000"];
  fails(
    await shop.run("partitions", "recovery.csv", ...primary, "--check"),
    1,
    /line 1: .*--recovery-bootloader-offset/,
  );
  const recovery = [...primary, "--recovery-bootloader-offset", "0x3f0000"];
  fails(
    await shop.run("partitions", "recovery.csv", ...recovery, "--check", "--flash-size", "2MB"),
    1,
    /line 1: .*2 MB/,
  );
  // what the row says of a primary bootloader counts for nothing
  shop.put("said.csv", "boot,bootloader,primary,0x5000,0x1000\nboot2,bootloader,ota,0x10000,N/A\n");
  succeeds(await shop.run("partitions", "said.csv", ...primary, "--out", "said.bin"));
  const report = JSON.parse((await shop.run("inspect", "said.bin", "--json")).stdout);
  assert.deepEqual(
    report.table.rows.map(({ offset, size }: { offset: number; size: number }) => [offset, size]),
    [
      [0x2000, 0x6000],
      [0x10000, 0x6000],
    ],
  );
  for (const text of ["0x9001", "-0x1000", "x", ""])
    fails(
      await shop.run("partitions", "boot.csv", "--check", "--table-offset", text),
      2,
      /Expected a multiple of 0x1000/,
    );
});

test("what the tool refuses is refused, with the line", async () => {
  const nvs = "nvs,data,nvs,0x9000,0x5000\n";
  const cases: [string, RegExp][] = [
    [
      `${nvs}tee_otadata,data,tee_ota,0xe000,0x5000`,
      /line 2: tee_otadata: TEE otadata of 0x5000 bytes, expected 0x2000/,
    ],
    [`${nvs}a,data,tee_ota,,0x2000\nb,data,tee_ota,,0x2000`, /line 3: b: a second TEE otadata beside a/],
    [
      `factory,app,factory,0x20000,1M\n${nvs}`,
      /line 2: nvs at 0x9000 is below the row before it, .*0x120000: rows ascend/,
    ],
    [`${nvs}x,data,fat,,4K # behind`, /line 2: size "4K # behind" is not a number/],
    [`${nvs}x,data,fat,,4K,encrypted # behind`, /line 2: flag "encrypted # behind"/],
    [`${nvs}x,data,fat,,4K,encrypted : readonly`, /line 2: flag "encrypted "/],
    [`${nvs}x,data,fat,,010`, /line 2: size "010" is not a number/],
    ["$HOME,data,fat,,4K", /line 1: begins with a variable/],
    [`${nvs}x,256,0,,4K`, /line 2: type "256"/],
  ];
  for (const [csv, says] of cases) {
    shop.put("bad.csv", `${csv}\n`);
    fails(await shop.run("partitions", "bad.csv", "--check"), 1, says);
  }
});

test("a CSV that gen_esp32part.py takes is taken, with its odd fields", async () => {
  for (const row of [
    "x,0x20,0xff,,4K",
    "x,0xff,1,,4K",
    "a#b,data,fat,,4K",
    "x,data,fat,,4K,,# text",
    "x,data,fat,,0b1K,",
    "x,1,0o202,,+4K",
  ]) {
    shop.put("odd.csv", `${row}\n`);
    succeeds(await shop.run("partitions", "odd.csv", "--out", "odd.bin"));
    succeeds(await shop.run("inspect", "odd.bin"));
    succeeds(await shop.run("partitions", "odd.bin", "--csv", "--out", "again.csv"));
    succeeds(await shop.run("partitions", "again.csv", "--check", "--out", "odd.bin"));
  }
});

test("a table without MD5 row is valid, and a note says so", async () => {
  const { rows } = FIELD.utf16;
  shop.put("old.bin", binaryOf(rows.slice(0, -1)));
  succeeds(await shop.run("inspect", "old.bin"), /MD5 +missing\n/, /note +no MD5 row .*a damaged table is not noticed/);
  succeeds(await shop.run("partitions", "old.bin", "--check"), /old\.bin: valid, /, /note no MD5 row/);
  assert.deepEqual(JSON.parse((await shop.run("inspect", "old.bin", "--json")).stdout).problems, []);
});

// --- Slots -----------------------------------------------------------------------------------------------------------

const TABLE_32MB = (slot: string, second: string, data: string, size: string) => `nvs,data,nvs,0x9000,0x5000
otadata,data,ota,0xe000,0x2000
app0,app,ota_0,0x10000,${slot}
app1,app,ota_1,${second},${slot}
files,data,spiffs,${data},${size}
coredump,data,coredump,0x1FF0000,0x10000
`;
/** 32 MB of flash: slots below 16 MB and data above, and a slot that ends above. */
const NEAR = TABLE_32MB("0x480000", "0x490000", "0x910000", "0x16E0000");
const FAR = TABLE_32MB("0xC80000", "0xC90000", "0x1910000", "0x6C0000");

test("data may lie above 16 MB, a slot there cannot be reached", async () => {
  shop.put("near.csv", NEAR);
  const near = succeeds(await shop.run("partitions", "near.csv", "--out", "near.bin", "--flash-size", "32MB"));
  assert.match(near.stdout, /in turns app0, app1\n$/);
  succeeds(await shop.run("inspect", "near.bin"), /updates +in turns app0, app1\n/);

  shop.put("far.csv", FAR);
  const says = /app1 at 0xc90000\+0xc80000 ends at 0x1910000: Espruino's bootloaders and builds address 16 MB of flash/;
  const check = succeeds(await shop.run("partitions", "far.csv", "--check", "--flash-size", "32MB"), says);
  assert.match(check.stdout, /updates: impossible: app1 at/);
  succeeds(await shop.run("partitions", "far.csv", "--out", "far.bin"), says);
  const inspect = succeeds(await shop.run("inspect", "far.bin"), /updates +impossible: app1 at/, /note +app1 at/);
  assert.doesNotMatch(inspect.stdout, /files at/);
});

test("slots of different sizes: what fits where", async () => {
  const csv = "otadata,data,ota,,0x2000\nfactory,app,factory,,1M\nota_0,app,ota_0,,1536K\n";
  shop.put("unlike.csv", csv);
  const says = /slots differ in size \(factory 1 MB, ota_0 1536 KB\): an image of more than 1 MB fits ota_0 only/;
  succeeds(await shop.run("partitions", "unlike.csv", "--check"), says, /in turns factory and ota_0/);
  succeeds(await shop.run("partitions", "unlike.csv", "--out", "unlike.bin"), says);
  succeeds(await shop.run("inspect", "unlike.bin"), says);
  shop.put("alike.csv", csv.replace("1536K", "1M"));
  assert.doesNotMatch((await shop.run("partitions", "alike.csv", "--check")).stdout, /differ/);
});

// --- Tables elsewhere ------------------------------------------------------------------------------------------------

/** A flash with this table and nothing else. */
function flashWith(table: Uint8Array, offset: number): Buffer {
  const bytes = Buffer.alloc(0x20000, 0xff);
  bytes.set(table, offset);
  return bytes;
}

test("a table at another offset is found by its MD5, or told by --table-offset", async () => {
  const { csv, rows, options = [] } = FIELD.bootloader_rows;
  shop.put("moved.csv", csv);
  for (const offset of [0x9000, 0x10000]) {
    const place = `0x${offset.toString(16)}`;
    const where = ["--table-offset", place, ...options.slice(2)];
    succeeds(
      await shop.run("partitions", "moved.csv", ...where, "--out", "moved.table"),
      new RegExp(`address ${place}`),
    );
    shop.put("moved.bin", flashWith(shop.get("moved.table"), offset));
    const run = await shop.run("inspect", "moved.bin");
    fails(run, 1, new RegExp(`^moved\\.bin: offset ${place}: no slot holds an image that starts`));
    assert.match(run.stdout, new RegExp(`table +at ${place}, MD5 ok`));
    assert.match(run.stdout, /updates +impossible: https-ota reads the table at 0x8000 only/);
    succeeds(
      await shop.run("partitions", "moved.bin", "--check"),
      new RegExp(`valid, for flash address ${place}, 10 p`),
    );
    succeeds(await shop.run("partitions", "moved.bin", "--csv"), /PrimaryPrtTable,partition_table,primary,/);
  }
  shop.put("blind.bin", flashWith(binaryOf(rows.slice(0, -1)), 0x9000));
  fails(await shop.run("inspect", "blind.bin"), 1, /expected an image.*--table-offset/);
  const blind = await shop.run("inspect", "blind.bin", "--table-offset", "0x9000");
  fails(blind, 1, /no slot holds an image/);
  assert.match(blind.stdout, /table +at 0x9000, MD5 missing/);
  succeeds(await shop.run("partitions", "blind.bin", "--check", "--table-offset", "0x9000"), /note no MD5 row/);
  fails(
    await shop.run("inspect", "blind.bin", "--table-offset", "0x8000"),
    1,
    /offset 0x8000: no partition table, found ffff/,
  );
  fails(
    await shop.run("inspect", "blind.bin", "--table-offset", "0x30000"),
    1,
    /0x30000: no partition table, the file has/,
  );
});

test("an app that carries a table in its data is an app", async () => {
  const table = binaryOf(FIELD.utf16.rows);
  const app = buildImage({ size: 60000 });
  // at a sector's begin, inside of the first segment
  app.set(table, 0x2000);
  shop.put("carrier.bin", app);
  assert.equal(JSON.parse((await shop.run("inspect", "carrier.bin", "--json")).stdout).kind, "image");
});

test("a binary table whose rows do not ascend is a table, and no CSV gives it", async () => {
  const [nvs, otadata, ...others] = FIELD.utf16.rows.slice(0, -1);
  const rows = [otadata, nvs, ...others];
  shop.put("mixed.bin", binaryOf([...rows, md5Row(rows)]));
  succeeds(await shop.run("partitions", "mixed.bin", "--check"));
  succeeds(await shop.run("inspect", "mixed.bin"));
  fails(
    await shop.run("partitions", "mixed.bin", "--csv"),
    1,
    /^mixed\.bin: no CSV gives this table: line 4: nvs at 0x9000/,
  );
});
