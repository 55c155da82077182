// Storages that a loss of power has left: in each operation of a compaction, and in a header that is written.

import { linuxArea } from "../espruino/area.ts";
import { createFiles, type Files } from "../espruino/files.ts";
import { nameOf } from "../espruino/chain.ts";
import { noise } from "../../support/images.ts";
import { failing, runCut, TORN_KINDS, type TornKind } from "./storage-random.ts";
import { blankFlash } from "./storage-run.ts";

/** Files that are kept; each has a removed one beside it. */
export const FRAGMENTED = 11;

/** Eleven files, the last of them the largest, with trash between them. */
export function fragmented(page: number): Uint8Array {
  const bytes = blankFlash();
  const files = createFiles(linuxArea(bytes, page));
  for (let i = 0; i < FRAGMENTED; i++) {
    files.write(`trash${i}`, noise(i, page + 20));
    files.write(`file${i}`, noise(50 + i, i === FRAGMENTED - 1 ? 6 * page : 30 + ((i * 7) % 11) * (page / 6)));
    if (i % 2 === 0) files.erase(`trash${i}`);
  }
  return bytes;
}

export type Outcome = "erased" | "damaged" | "well";
export type CutState = { flash: Uint8Array; op: number; torn: TornKind; outcome: Outcome };

const contentsOf = (files: Files): string =>
  files
    .list()
    .map((header) => `${nameOf(header)} ${Buffer.from(files.read(nameOf(header)) ?? []).toString("base64")}`)
    .join("\n");

/** What the next start makes of it. */
function outcomeOf(flash: Uint8Array, page: number, whole: string): Outcome {
  const files = createFiles(linuxArea(flash.slice(), page));
  let said = "";
  const starting = createFiles(linuxArea(flash.slice(), page), (text) => {
    said += text;
  });
  starting.start();
  if (said.startsWith("Storage is corrupt")) return "erased";
  return contentsOf(files) === whole ? "well" : "damaged";
}

/** A compaction cut in each of its operations, in each way. */
export function compactions(page: number, kinds: readonly TornKind[] = TORN_KINDS): CutState[] {
  const states: CutState[] = [];
  const whole = contentsOf(createFiles(linuxArea(fragmented(page), page)));
  for (const torn of kinds)
    for (let op = 0; ; op++) {
      const flash = fragmented(page);
      if (!runCut(failing(linuxArea(flash, page), op, torn, op + 1), (files) => files.compact())) break;
      states.push({ flash, op, torn, outcome: outcomeOf(flash, page, whole) });
    }
  return states;
}

/** A file whose header was torn, behind others: at the beginning of a page, in a page, across two, at the end. */
export function tornHeaders(page: number): { flash: Uint8Array; torn: TornKind; seed: number; fill: number }[] {
  const states: { flash: Uint8Array; torn: TornKind; seed: number; fill: number }[] = [];
  for (const fill of [0, 100, 2 * page - 32, 2 * page - 48, 0x40000 - page - 32, 0x40000 - page + 200])
    for (const torn of ["part", "bits"] as const)
      for (let seed = 1; seed <= 12; seed++) {
        const flash = blankFlash();
        const area = linuxArea(flash, page);
        if (fill) createFiles(area).write("before", noise(3, fill));
        runCut(failing(area, 0, torn, seed), (files) => files.write("torn", noise(seed, 40 * seed)));
        states.push({ flash, torn, seed, fill });
      }
  return states;
}
