// The boards of boards/<name>/board.json. Numbers there may be hex strings, as a person reads them; here they are numbers.
//
// Every table keeps clear of what Espruino has compiled in for all its ESP32 builds (targets/esp32/jshardware.c,
// jshFlashGetFree): 0xe000-0xffff and 0x310000-0x31ffff are offered to programs by Flash.getFree(), and `storage` lies
// at 0x320000. That is why otadata is at 0xc000 everywhere.
import { readdirSync, readFileSync } from "node:fs";
import type { Row } from "./partitions.ts";

export type Board = {
  name: string;
  title: string;
  /** IDF target name. */
  chip: string;
  chipId: number;
  flashSize: number;
  /** process.env.BOARD of the Espruino build. */
  espruinoBoard: string;
  /** Where name and stock table were read; boards of products only. */
  espruinoBuild?: string;
  stockTable: string;
  bootloaderOffset: number;
  rows: Row[];
};

const FOLDER = new URL("../../boards/", import.meta.url);

export function loadBoard(name: string): Board {
  const json = JSON.parse(readFileSync(new URL(`${name}/board.json`, FOLDER), "utf8"));
  return {
    ...json,
    flashSize: Number(json.flashSize),
    bootloaderOffset: Number(json.bootloaderOffset),
    rows: json.rows.map((row: Record<keyof Row, string>) => ({
      label: row.label,
      type: Number(row.type),
      subtype: Number(row.subtype),
      offset: Number(row.offset),
      size: Number(row.size),
      flags: Number(row.flags ?? 0),
    })),
  };
}

export function boardNames(): string[] {
  return readdirSync(FOLDER, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
}
