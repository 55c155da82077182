// docs/rescue.md: its commands are run, on flash from which the bootloader model then starts.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { loadBoard } from "../../sim/boards.ts";
import { BOOTLOADERS, buildEntry, runBootloader } from "../../sim/bootloader.ts";
import { createFlash, type Flash, SECTOR } from "../../sim/flash.ts";
import { buildImage } from "../../support/images.ts";
import { buildTable, findOtadata, TABLE_OFFSET } from "../../sim/partitions.ts";

const PAGE = readFileSync(new URL("../../../docs/rescue.md", import.meta.url), "utf8");
const blocks = [...PAGE.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language, code]) => ({ language, code }));
const programs = blocks.filter(({ language }) => language === "js").map(({ code }) => code);
const shell = blocks.filter(({ language }) => !language).map(({ code }) => code);

/** A board with whole images in two slots, of which otadata selects the first or the second. */
function boardWith(name: string, slots: [string, string], seq: number | null): Flash {
  const board = loadBoard(name);
  const bytes = Buffer.alloc(board.flashSize, 0xff);
  bytes.set(buildTable(board.rows), TABLE_OFFSET);
  const offsetOf = (label: string) => board.rows.find((row) => row.label === label)?.offset as number;
  slots.forEach((label, i) => void bytes.set(buildImage({ seed: i + 1 }), offsetOf(label)));
  if (seq !== null) bytes.set(buildEntry(seq), (findOtadata(board.rows)?.offset as number) + SECTOR);
  return createFlash({ size: board.flashSize, from: bytes });
}

const starts = (flash: Flash) => runBootloader(flash, { chipId: 0, kind: BOOTLOADERS.current }).slot?.label;

/** Runs a program of the page with Espruino's Flash; true when it restarts at its end. */
function run(program: string, flash: Flash): boolean {
  let restarts = false;
  const Flash = {
    erasePage: (addr: number) => flash.erase(addr),
    write: (data: Uint8Array, addr: number) => flash.write(addr, data),
  };
  const reboot = () => {
    restarts = true;
  };
  new Function("require", "ESP32", program)((name: string) => (name === "Flash" ? Flash : undefined), { reboot });
  return restarts;
}

test("the commands for the prompt start the slot that the page says", () => {
  assert.equal(programs.length, 3);
  const [blank, first, second] = programs;
  const worlds: [string, string, [string, string], number | null, string, string][] = [
    [blank, "esp32", ["factory", "ota_0"], 1, "ota_0", "factory"],
    [blank, "esp32-dual", ["ota_0", "ota_1"], 2, "ota_1", "ota_0"],
    [first, "esp32", ["factory", "ota_0"], null, "factory", "ota_0"],
    [second, "esp32-dual", ["ota_0", "ota_1"], 1, "ota_0", "ota_1"],
  ];
  for (const [program, board, slots, seq, before, after] of worlds) {
    const flash = boardWith(board, slots, seq);
    assert.equal(starts(flash), before);
    assert.ok(run(program, flash), "it does not restart");
    assert.deepEqual(flash.violations, []);
    assert.equal(starts(flash), after, program);
    const touched = flash.log.filter(({ addr }) => addr < 0xc000 || addr >= 0xe000);
    assert.deepEqual(touched, [], "something else than otadata was touched");
  }
});

test("the entries written by USB are those that the bootloader obeys", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "https-ota-rescue-"));
  const made = shell.find((code) => code.includes("entry.bin")) ?? "";
  const other = /For `ota_1` the first line has `(.*?)` and the third `(.*?)`/.exec(PAGE) ?? [];
  const lines = made.split("\n").filter((line) => line.includes("entry.bin") && !line.startsWith("esptool"));
  assert.equal(lines.length, 3);
  const entryOf = (script: string[]) => {
    execFileSync("sh", ["-c", script.join("\n")], { cwd: folder });
    return new Uint8Array(readFileSync(path.join(folder, "entry.bin")));
  };
  assert.deepEqual(entryOf(lines), buildEntry(1));
  const [first, middle, last] = lines;
  const second = [first.replace("\\001", other[1]), middle, last.replace(/'.*'/, () => `'${other[2]}'`)];
  assert.deepEqual(entryOf(second), buildEntry(2));
  rmSync(folder, { recursive: true });
});

test("the addresses of the page are those of the boards' tables", () => {
  for (const name of ["esp32", "esp32-dual", "esp32c3", "esp32s3"]) {
    const { rows } = loadBoard(name);
    assert.deepEqual([findOtadata(rows)?.offset, findOtadata(rows)?.size], [0xc000, 0x2000], name);
    const storage = rows.find(({ label }) => label === "storage");
    assert.deepEqual([storage?.offset, storage?.size], [0x320000, 0xe0000], name);
  }
  for (const command of ["erase-region 0xc000 0x2000", "erase-region 0x320000 0xe0000"])
    assert.ok(
      shell.some((code) => code.includes(command)),
      command,
    );
});
