// A published build of Espruino: which of its files is the bootloader, which is the app, and why a board could not start
// them or run https-ota in them.
import { hex } from "../formats/bytes.ts";
import { findTable } from "../formats/detect.ts";
import { type EspruinoImage, readEspruino } from "../formats/espruino-image.ts";
import { misfit, remedy, storageOf } from "../formats/espruino-storage.ts";
import { type Image, isBootloader, readImage } from "../formats/image.ts";
import { type Row, slotsOf, TABLE_OFFSET } from "../formats/partitions.ts";
import type { StorageClaim } from "../../boot/storage-claim.ts";
import type { Board } from "../formats/boards.ts";
import { printable, refuse } from "../ui/errors.ts";
import { type Found, placeOf, readBuildFiles } from "./archive.ts";

export interface Part {
  /** for messages */
  place: string;
  bytes: Buffer;
  image: Image;
}

export interface EspruinoBuild {
  bootloader: Part;
  app: Part & { espruino: EspruinoImage; storage: StorageClaim };
  /** where the app goes */
  slot: Row;
}

const names = (parts: readonly Part[]) => parts.map(({ place }) => place).join(", ");

function only(where: string, what: string, parts: readonly Part[]): Part {
  if (!parts.length) refuse(where, `no ${what} in it, expected the files of a published build (.bin)`);
  if (parts.length > 1) refuse(where, `several files could be the ${what}: ${names(parts)}: leave one of them`);
  return parts[0];
}

/** A part whose bytes have a problem is refused; a bootloader's SHA-256 may be wrong (formats/image.ts). */
function checkWhole({ place, image }: Part): void {
  const [problem] = image.problems;
  if (problem) refuse(place, `offset ${hex(problem.offset)}: ${printable(problem.text)}`);
}

function checkChip({ place, image }: Part, board: Board): void {
  const { chip, chipId } = image.header;
  if (chip !== board.chip)
    refuse(place, `for ${chip ?? `chip id ${hex(chipId, 4)}`}, but board ${board.name} has ${board.chip}`);
}

function toPart(where: string, found: Found): Part[] {
  const { bytes } = found;
  // a merged image has no place of its own
  if (findTable(bytes) !== null) return [];
  const image = readImage(bytes, 0, "any");
  return image ? [{ place: placeOf(where, found), bytes, image }] : [];
}

function checkBootloader(part: Part, board: Board): void {
  checkWhole(part);
  checkChip(part, board);
  const room = TABLE_OFFSET - board.bootloaderOffset;
  if (part.bytes.length > room)
    refuse(part.place, `${part.bytes.length} bytes, there are ${room} before the partition table`);
}

function checkApp(part: Part, board: Board, slot: Row): EspruinoBuild["app"] {
  const { place, bytes, image } = part;
  checkWhole(part);
  checkChip(part, board);
  if (bytes.length > slot.size) refuse(place, `${bytes.length} bytes, slot ${slot.label} has ${slot.size}`);
  const espruino = readEspruino(bytes.subarray(0, image.length ?? 0), image.header.chip);
  if (!espruino) return refuse(place, "not an image of Espruino");
  if (espruino.missing.length)
    refuse(place, `this Espruino build has no ${espruino.missing.join(", ")}, so https-ota cannot run in it`);
  const label = espruino.partition;
  if (!label) return refuse(place, "this Espruino build does not say through which partition it reads its files");
  const storage = storageOf(label, espruino.version);
  const problem = misfit(board.rows, storage);
  if (problem !== null)
    refuse(
      place,
      `Espruino ${printable(espruino.version ?? "of unknown version")} would not find its files: ${problem}: ` +
        `take a build of 2v26 or later, or ${remedy(storage)}`,
    );
  return { ...part, espruino, storage };
}

/** Reads the build at `where`, and refuses what `board` could not start. */
export function readEspruinoBuild(where: string, board: Board): EspruinoBuild {
  const parts = readBuildFiles(where).flatMap((found) => toPart(where, found));
  const isLoader = ({ image }: Part) => isBootloader(image);
  const bootloader = only(where, "bootloader", parts.filter(isLoader));
  const found = only(
    where,
    "app",
    parts.filter((part) => !isLoader(part)),
  );
  checkBootloader(bootloader, board);
  const [slot] = slotsOf(board.rows);
  // of an image that is broken, the first problem says more than its chip
  const again = readImage(found.bytes) ?? found.image;
  return { bootloader, app: checkApp({ ...found, image: again }, board, slot), slot };
}
