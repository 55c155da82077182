// docs/timing.md: every cell of the model is computed again, from the constants that all other seconds come from.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { createFlash, PAGE, SECTOR, TIMES } from "../../sim/flash.ts";

const PAGE_OF_DOCS = readFileSync(new URL("../../../docs/timing.md", import.meta.url), "utf8");

type Row = Record<string, string>;

/** The rows of the table that has these columns; there must be one. */
function table(...columns: string[]): Row[] {
  const head = `| ${columns.join(" | ")} |`;
  const [, rest, ...others] = PAGE_OF_DOCS.split(`\n${head}\n`);
  assert.ok(rest !== undefined && others.length === 0, `not one table: ${head}`);
  const [, ...lines] = rest.split("\n\n")[0].trimEnd().split("\n");
  return lines.map((line) => {
    const cells = line.slice(1, -1).split("|");
    assert.equal(cells.length, columns.length, line);
    return Object.fromEntries(cells.map((cell, i) => [columns[i], cell.trim()]));
  });
}

/** What the cells of the model are, in order: the message of a failure is what the page has to say. */
function checkCells(rows: Row[], columns: string[], modelOf: (row: Row) => string[]): void {
  assert.ok(rows.length > 4);
  const cells = (row: Row, model: string[]) => [...Object.values(row).slice(0, 3), ...model].join(" | ");
  assert.deepEqual(
    rows.map((row) =>
      cells(
        row,
        columns.map((column) => row[column]),
      ),
    ),
    rows.map((row) => cells(row, modelOf(row))),
  );
}

const ms = {
  erase: (bytes: number) => Math.ceil(bytes / SECTOR) * TIMES.eraseMs,
  program: (bytes: number) => Math.ceil(bytes / PAGE) * TIMES.programMsPerPage,
  read: (bytes: number) => bytes / TIMES.readBytesPerMs,
};

/** "erase and program" of this number of bytes. */
const work = (what: string, bytes: number): number =>
  what.split(" and ").reduce((sum, part) => sum + ms[part as keyof typeof ms](bytes), 0);

test("the text names the constants of the model", () => {
  assert.match(
    PAGE_OF_DOCS.replaceAll("\n", " "),
    new RegExp(
      `${TIMES.eraseMs} ms for an erase of a sector of ${SECTOR} bytes, ${TIMES.programMsPerPage} ms for each page of ${PAGE} ` +
        `bytes that a write touches, ${TIMES.readBytesPerMs / 1000} MB/s for a read`,
    ),
  );
});

test("the parts: the model's cells are those of a flash that does the same", () => {
  const model = Object.fromEntries(table("what", "field", "model", "measured").map((row) => [row.what, row.model]));
  const flash = createFlash({ size: 8 * SECTOR });
  flash.erase(0);
  for (let at = 0; at < SECTOR; at += 1024) flash.write(at, new Uint8Array(1024));
  const whole = flash.deviceMsSplit();
  flash.erase(SECTOR);
  for (let at = 0; at < SECTOR; at += 536) flash.write(SECTOR + at, new Uint8Array(Math.min(536, SECTOR - at)));
  flash.read(0, SECTOR);
  assert.deepEqual(flash.violations, []);
  const all = flash.deviceMsSplit();
  assert.equal(model["erase of a sector, ms"], String(whole.erase));
  assert.equal(model["program a sector, whole pages, ms"], whole.program.toFixed(1));
  assert.equal(model["program a sector, pieces of 536 bytes, ms"], (all.program - whole.program).toFixed(1));
  assert.equal(model["read 4096 bytes, ms"], all.read.toFixed(1));
});

test("whole updates: what the model takes for flash, and what it leaves", () => {
  const columns = ["source", "chip", "bytes", "erased in", "over", "seconds", "flash", "left", "KB/s"];
  checkCells(table(...columns), ["flash", "left", "KB/s"], (row) => {
    const bytes = Number(row.bytes);
    const flash = work("erase and program", bytes) / 1000;
    const left = Number(row.seconds) - flash;
    return [flash.toFixed(1), left.toFixed(1), left > 0 ? String(Math.round(bytes / 1000 / left)) : "-"];
  });
});

test("pairs: the least that an erase of a sector takes", () => {
  const columns = ["source", "chip", "bytes", "sectors, s", "blocks, s", "ms at least", "model, ms"];
  checkCells(table(...columns), ["ms at least", "model, ms"], (row) => {
    const sectors = Math.ceil(Number(row.bytes) / SECTOR);
    const least = ((Number(row["sectors, s"]) - Number(row["blocks, s"])) * 1000) / sectors;
    return [String(Math.round(least)), String(ms.erase(SECTOR))];
  });
});

test("flash alone: the model for the same bytes", () => {
  checkCells(table("source", "chip", "what", "bytes", "ms", "model, ms"), ["model, ms"], (row) => {
    const model = work(row.what, Number(row.bytes));
    return [model < 100 ? String(Math.round(model * 10) / 10) : String(Math.round(model))];
  });
});
