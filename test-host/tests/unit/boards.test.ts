// boards/: each description and the table that users flash say the same.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { boardNames, loadBoard } from "../../sim/boards.ts";
import { checkTable, findOtadata, slots, TABLE_OFFSET } from "../../sim/partitions.ts";

const path = (board: string, file: string) =>
  fileURLToPath(new URL(`../../../boards/${board}/${file}`, import.meta.url));
const CLI = fileURLToPath(new URL("../../../build/cli.mjs", import.meta.url));
const real = boardNames().filter((name) => !name.startsWith("toy-"));

test("the boards that the README promises are there", () => {
  for (const name of ["esp32", "esp32-dual", "esp32c3", "esp32s3"]) assert.ok(real.includes(name), name);
});

/** As process.env.BOARD shows them; src/cli/formats/espruino-image.ts knows the same. */
const BUILDS: Record<string, string[]> = {
  esp32: ["ESP32", "ESP32_CYD", "ESP32_IDF4", "ESP32_IDF5"],
  esp32c3: ["ESP32C3_IDF4", "ESP32C3_IDF5", "EPAPER_BADGE", "CURIO"],
  esp32s3: ["ESP32S3_IDF4", "ESP32S3_IDF5", "ESP32S3_TOUCH_LCD_35"],
};

test("docs/boards.md has every build once, each with a table for its chip", () => {
  const text = readFileSync(new URL("../../../docs/boards.md", import.meta.url), "utf8");
  const lines = text.split("\n").filter((line) => /^\| `[A-Z0-9_]+` \| ESP32/.test(line));
  const cells = lines.map((line) => line.split("|").map((cell) => cell.trim()));
  const names = cells.map(([, name]) => name.replaceAll("`", ""));
  assert.deepEqual([...names].sort(), Object.values(BUILDS).flat().sort());
  cells.forEach(([, , , , , table], i) => {
    const [chip] = Object.entries(BUILDS).find(([, builds]) => builds.includes(names[i])) as [string, string[]];
    const [, ours] = /\b(esp32[\w-]*)`/.exec(table) ?? [];
    if (ours) assert.equal(loadBoard(ours).chip, chip);
    else assert.match(table, /cannot run/);
  });
});

test("docs/boards.md says of each build what an update depends on", () => {
  const text = readFileSync(new URL("../../../docs/boards.md", import.meta.url), "utf8");
  const cellsOf = (line: string) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim());
  const [head, , ...rows] = text.split("\n").filter((line) => line.startsWith("|"));
  const columns = ["`BOARD`", "chip", "ESP-IDF", "slots in the stock table", "table to flash once", "SNI"];
  columns.push("TLS buffer in, out", "JsVars", "rollback in the bootloader", "seen");
  assert.deepEqual(cellsOf(head), columns);
  assert.equal(rows.length, Object.values(BUILDS).flat().length);
  for (const row of rows) {
    assert.equal(cellsOf(row).length, columns.length, row);
    assert.ok(!cellsOf(row).includes(""), row);
  }
});

test("docs/boards.md says what the slots of our tables hold", () => {
  const text = readFileSync(new URL("../../../docs/boards.md", import.meta.url), "utf8");
  for (const name of real)
    for (const { size } of slots(loadBoard(name).rows))
      assert.ok(text.includes(`${size >> 10} K (${size} bytes)`), name);
});

for (const name of real) {
  const board = loadBoard(name);

  test(`${name}: two slots at least, otadata, and Storage where Espruino expects it`, () => {
    assert.ok(slots(board.rows).length >= 2);
    assert.equal(findOtadata(board.rows)?.offset, 0xc000);
    const storage = board.rows.find((row) => row.label === "storage");
    assert.deepEqual([storage?.offset, storage?.size], [0x320000, 0xe0000]);
  });

  test(`${name}: README.md says what board.json says, and its commands fit the chip`, () => {
    const text = readFileSync(path(name, "README.md"), "utf8");
    const hex = (n: number | undefined) => `0x${n?.toString(16)}`;
    const facts = [
      board.title,
      board.stockTable,
      `image header chip id ${board.chipId}), ${board.flashSize >> 20} MB flash`,
      `\`${board.espruinoBoard}\`; taken from ${board.espruinoBuild}`,
      ...slots(board.rows).map(({ label, offset, size }) => `\`${label}\` ${size >> 10} K at ${hex(offset)}`),
    ];
    if (existsSync(path(name, "partitions.csv"))) {
      const esptool = `esptool --chip ${board.chip} --port PORT`;
      const otadata = findOtadata(board.rows);
      facts.push(`${esptool} write-flash ${hex(TABLE_OFFSET)} partitions.bin\n`);
      facts.push(`${esptool} erase-region ${hex(otadata?.offset)} ${hex(otadata?.size)}\n`);
      facts.push(`esptool --chip ${board.chip} read-flash 0 ${hex(board.flashSize)} dump.bin`);
      assert.match(text, /\*\*Kept:\*\*/);
      assert.match(text, /\*\*Lost:\*\*/);
    } else assert.doesNotMatch(text, /esptool/);
    for (const fact of facts) assert.ok(text.includes(fact), `README.md does not say: ${fact}`);
  });

  if (existsSync(path(name, "partitions.csv")))
    test(`${name}: partitions.bin is what partitions.csv and board.json say`, () => {
      const bytes = readFileSync(path(name, "partitions.bin"));
      const table = checkTable(bytes, board.flashSize);
      assert.ok("rows" in table, "error" in table ? table.error : "");
      assert.deepEqual(table.rows, board.rows);
      // exits with 1 when the binary is another
      execFileSync(process.execPath, [
        CLI,
        "partitions",
        path(name, "partitions.csv"),
        "--out",
        path(name, "partitions.bin"),
        "--check",
      ]);
    });
  else
    test(`${name}: needs no table of ours`, () => {
      assert.match(board.stockTable, /stock table/);
    });
}
