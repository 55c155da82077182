// How much of a device's Storage a release takes, and how much there is: docs/formats.md#set-of-files.
import { type FileSet, setText, storedName } from "../../boot/file-set.ts";
import { loadBoards } from "../formats/boards.ts";
import { storedSize } from "../formats/storage-image.ts";
import { refuse } from "../ui/errors.ts";
import { type Claimed, releaseId } from "./program.ts";

/** Two files of the boot record (docs/formats.md#boot-record). */
const BOOT_RECORD = 2 * storedSize(4096);

/** The name in Storage of what has this SHA-256, given in hexadecimal digits. */
export const nameInStorage = (sha256: string): string => storedName(Buffer.from(sha256, "hex").toString("base64"));

/** The set of files of a release, as a device keeps it. */
export function fileSetOf(claims: Claimed): FileSet {
  const { files = [], entry = "", version } = claims;
  return {
    id: releaseId(claims) ?? "",
    version,
    entry,
    files: files.map(({ name, size, sha256 }) => ({ name, size, stored: nameInStorage(sha256) })),
  };
}

/** Bytes of Storage that a release takes: each content once, and the list of the files. */
export function storageNeed(claims: Claimed): number {
  const { files = [] } = claims;
  const contents = new Map(files.map(({ sha256, size }) => [sha256.toLowerCase(), size]));
  const sizes = [...contents.values(), Buffer.byteLength(setText(fileSetOf(claims)))];
  return sizes.reduce((sum, size) => sum + storedSize(size), 0);
}

interface Room {
  bytes: number;
  /** whose Storage it is */
  of: string;
}

/** Storage of the device that a release is for, without the boot record; null where no table is known. */
export function storageRoom(chip: string, board?: string, claimed?: { size: number }): Room | null {
  const all = loadBoards().filter((one) => one.chip === chip);
  const named = all.filter(({ espruino }) => espruino === board);
  const boards = board !== undefined && named.length ? named : all;
  const rows = boards.flatMap((one) => one.rows.filter(({ label }) => label === "storage"));
  const size = claimed?.size ?? Math.max(0, ...rows.map((row) => row.size));
  return size ? { bytes: size - BOOT_RECORD, of: boards === named && board !== undefined ? board : chip } : null;
}

/** Refuses a release that fits no Storage; the notes say when two releases do not fit side by side. */
export function checkSpace(
  where: string,
  claims: Claimed & { chip: string; board?: string; image?: { storage?: { size: number } } },
): string[] {
  const room = storageRoom(claims.chip, claims.board, claims.image?.storage);
  const need = storageNeed(claims);
  if (!room) return [];
  if (need > room.bytes)
    refuse(
      where,
      `the files take ${need} bytes of Storage, ${room.of} has ${room.bytes} besides the boot record: ` +
        "leave some out (--ignore), or --minify",
    );
  return 2 * need <= room.bytes
    ? []
    : [
        `the files take ${need} of ${room.bytes} bytes of Storage: a device keeps those of the release before until ` +
          "this one is confirmed, so there is only room when they share files",
      ];
}
