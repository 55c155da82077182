// The parts of a new board's flash, each with its address, and the one image that has them all.
import { createHash } from "node:crypto";
import type { Board } from "../formats/boards.ts";
import { hex } from "../formats/bytes.ts";
import { readDump } from "../formats/dump.ts";
import { type FlashSettings, flashBytes, KEEP, withFlashSettings } from "../formats/flash-header.ts";
import { OTADATA_SIZE } from "../formats/otadata.ts";
import { buildTable, checkRows, findOtadata, type Row, TABLE_OFFSET } from "../formats/partitions.ts";
import { refuse } from "../ui/errors.ts";
import type { EspruinoBuild } from "./espruino-build.ts";

export interface FlashPart {
  /** of the file in --out */
  name: string;
  what: string;
  offset: number;
  bytes: Buffer;
}

/** Bytes of the flash chip, as the header of the bootloader will say; 0 when it does not. */
export function flashSizeOf({ bootloader }: EspruinoBuild, { size }: FlashSettings): number {
  return size === KEEP ? bootloader.image.header.flashSize : flashBytes(size);
}

function checkFlashSize(build: EspruinoBuild, board: Board, settings: FlashSettings): void {
  const [problem] = checkRows(board.rows, flashSizeOf(build, settings));
  if (!problem) return;
  const where = settings.size === KEEP ? build.bootloader.place : `--flash-size ${settings.size}`;
  refuse(where, `the table of board ${board.name} does not fit: ${problem.text}`);
}

export function partsOf(build: EspruinoBuild, board: Board, storage: Buffer, settings: FlashSettings): FlashPart[] {
  checkFlashSize(build, board, settings);
  const { bootloader, app, slot } = build;
  const otadata = findOtadata(board.rows) as Row;
  const parts: FlashPart[] = [
    {
      name: "bootloader.bin",
      what: "bootloader",
      offset: board.bootloaderOffset,
      bytes: withFlashSettings(bootloader.bytes, bootloader.image, settings),
    },
    { name: "partitions.bin", what: "partition table", offset: TABLE_OFFSET, bytes: buildTable(board.rows) },
    {
      name: "otadata.bin",
      what: "otadata, blank",
      offset: otadata.offset,
      bytes: Buffer.alloc(OTADATA_SIZE, 0xff),
    },
    { name: "firmware.bin", what: `Espruino, in ${slot.label}`, offset: slot.offset, bytes: app.bytes },
    { name: "storage.bin", what: "Storage", offset: app.storage.address, bytes: storage },
  ];
  return parts.sort((a, b) => a.offset - b.offset);
}

/** What `esptool merge-bin` makes of the parts: from flash address 0 on, with 0xff between them. */
export function merge(parts: readonly FlashPart[]): Buffer {
  const last = parts[parts.length - 1];
  const whole = Buffer.alloc(last.offset + last.bytes.length, 0xff);
  for (const { offset, bytes } of parts) whole.set(bytes, offset);
  return whole;
}

/** What `inspect` would say of the result: nothing is handed out that would not start. */
export function checkStarts(whole: Buffer, { slot }: EspruinoBuild): void {
  const dump = readDump(whole, TABLE_OFFSET);
  const [problem] = dump.problems;
  if (problem) refuse("factory.bin", `offset ${hex(problem.offset)}: ${problem.text}`);
  const label = slot.label;
  if (dump.starts !== label) refuse("factory.bin", `starts ${dump.starts ?? "nothing"}, expected ${label}`);
}

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
