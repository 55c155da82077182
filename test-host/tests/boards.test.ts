// boards/: each description and the table that users flash say the same.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { boardNames, loadBoard } from "../boards.ts";
import { checkTable, findOtadata, slots } from "../partitions.ts";

const path = (board: string, file: string) => fileURLToPath(new URL(`../../boards/${board}/${file}`, import.meta.url));
const CLI = fileURLToPath(new URL("../../build/cli.mjs", import.meta.url));
const real = boardNames().filter((name) => !name.startsWith("toy-"));

test("the boards that the README promises are there", () => {
  for (const name of ["esp32", "esp32-dual", "esp32c3", "esp32s3"]) assert.ok(real.includes(name), name);
});

for (const name of real) {
  const board = loadBoard(name);

  test(`${name}: two slots at least, otadata, and Storage where Espruino's builds expect it`, () => {
    assert.ok(slots(board.rows).length >= 2);
    assert.equal(findOtadata(board.rows)?.offset, 0xc000);
    const storage = board.rows.find((row) => row.label === "storage");
    assert.deepEqual([storage?.offset, storage?.size], [0x320000, 0xe0000]);
  });

  if (existsSync(path(name, "partitions.csv")))
    test(`${name}: partitions.bin is what partitions.csv gives, and says what board.json says`, () => {
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
