// The boards of boards/<name>/board.json, so that a table can be called by its name. They are read from boards/
// beside build/ in the package: there is no second copy of them.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { Row } from "./partitions.ts";

export interface Board {
  name: string;
  title: string;
  chip: string;
  /** process.env.BOARD of the Espruino build for it */
  espruino?: string;
  /** bytes */
  flashSize: number;
  /** where its chip has the bootloader */
  bootloaderOffset: number;
  rows: Row[];
}

function loadBoard(url: URL, name: string): Board {
  const about = JSON.parse(readFileSync(new URL(`${name}/board.json`, url), "utf8"));
  const { title, chip, espruinoBoard, flashSize, bootloaderOffset, rows } = about;
  const toRow = (row: Record<string, string>): Row => ({
    label: row.label,
    type: Number(row.type),
    subtype: Number(row.subtype),
    offset: Number(row.offset),
    size: Number(row.size),
    flags: Number(row.flags ?? 0),
  });
  return {
    name,
    title,
    chip,
    espruino: espruinoBoard,
    flashSize: Number(flashSize),
    bootloaderOffset: Number(bootloaderOffset),
    rows: rows.map(toRow),
  };
}

/** Boards that exist. The toy-* boards are small, for the campaigns. */
export function loadBoards(): Board[] {
  // from build/cli.mjs and from src/cli/formats/
  const url = ["../boards/", "../../../boards/"]
    .map((path) => new URL(path, import.meta.url))
    .find((one) => existsSync(one));
  if (!url) return [];
  return readdirSync(url)
    .filter((name) => !name.startsWith("toy-") && existsSync(new URL(`${name}/board.json`, url)))
    .sort()
    .map((name) => loadBoard(url, name));
}

/** The boards whose table this is. */
export function boardsWith(rows: readonly Row[]): Board[] {
  const text = JSON.stringify(rows);
  return loadBoards().filter((board) => JSON.stringify(board.rows) === text);
}
