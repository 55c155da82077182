// What `inspect` finds out about a file, as data: for the tables of render.ts, and for --json.
import { createHash } from "node:crypto";
import { boardsWith } from "../formats/boards.ts";
import { hex, isBlank } from "../formats/bytes.ts";
import { chipById } from "../formats/chips.ts";
import { findTable, kindOf } from "../formats/detect.ts";
import { readDump } from "../formats/dump.ts";
import { type EspruinoImage, readEspruino } from "../formats/espruino-image.ts";
import { fsverity } from "../formats/fsverity.ts";
import { type Image, isBootloader, type Problem, readImage } from "../formats/image.ts";
import { activeCopy, readOtadata } from "../formats/otadata.ts";
import { looksLikeTable, readTable, TABLE_OFFSET, updatePath } from "../formats/partitions.ts";
import { readStorage, type StorageContents } from "../formats/storage-image.ts";
import { type Claims, parseManifest, type Token } from "../release/manifest.ts";
import { isRefusal, printable, refuse } from "../ui/errors.ts";
import { filesReport } from "./files.ts";

export type Report = { file: string; size: number; problems: Problem[] } & (
  | {
      kind: "image" | "bootloader";
      image: Image;
      /** null when it is not an Espruino image */
      espruino: EspruinoImage | null;
      fsverity: string;
      sha256OfFile: string;
    }
  | {
      kind: "manifest";
      token: (Pick<Token, "header"> & { claims: Claims }) | null;
      signatureBytes: number;
      /** null when there is one signature */
      second: (Pick<Token, "header"> & { signatureBytes: number }) | null;
      /** null for an image alone */
      release: ReturnType<typeof filesReport>;
    }
  | { kind: "table"; table: ReturnType<typeof readTable>; boards: string[]; updates: string }
  | { kind: "otadata"; entries: ReturnType<typeof readOtadata>; active: 0 | 1 | null }
  | { kind: "storage"; storage: Omit<StorageContents, "problems"> }
  | {
      kind: "dump";
      /** flash address of the file's first byte; offsets count from the start of the flash. The name is one of --json. */
      begin: number;
      dump: ReturnType<typeof readDump>;
      boards: string[];
      updates: string;
    }
);

function imageReport(file: string, bytes: Buffer): Report {
  const image = readImage(bytes, 0, "any") as Image;
  return {
    file,
    size: bytes.length,
    kind: isBootloader(image) ? "bootloader" : "image",
    problems: image.problems,
    image,
    espruino: readEspruino(bytes.subarray(0, image.length ?? bytes.length), image.header.chip),
    fsverity: fsverity(bytes),
    sha256OfFile: createHash("sha256").update(bytes).digest("hex"),
  };
}

function manifestReport(file: string, bytes: Buffer): Report {
  const base = { file, size: bytes.length, kind: "manifest" as const };
  try {
    const { tokens, claims } = parseManifest("", bytes);
    const [{ header, signature }, other] = tokens;
    const second = other ? { header: other.header, signatureBytes: other.signature.length } : null;
    return {
      ...base,
      token: { header, claims },
      signatureBytes: signature.length,
      second,
      release: filesReport(claims),
      problems: [],
    };
  } catch (error) {
    if (!isRefusal(error)) throw error;
    const text = error.message.replace(/^: /, "");
    const offset = Number(/at offset (\d+)/.exec(text)?.[1] ?? 0);
    return { ...base, token: null, signatureBytes: 0, second: null, release: null, problems: [{ offset, text }] };
  }
}

/**
 * The flash address of the file's first byte. A file by esptool merge-bin --target-offset starts with the bootloader,
 * and its table is nearer to its start by the bootloader's address.
 */
function flashAddressOf(bytes: Buffer, tableOffset: number): number {
  const image = readImage(bytes, 0, "any");
  const address = image && isBootloader(image) ? (chipById(image.header.chipId)?.bootloaderOffset ?? 0) : 0;
  return tableOffset + address === TABLE_OFFSET ? address : 0;
}

function dumpReport(file: string, bytes: Buffer, tableAt: number): Report {
  const begin = flashAddressOf(bytes, tableAt);
  const tableOffset = begin + tableAt;
  const dump = readDump(Buffer.concat([Buffer.alloc(begin, 0xff), bytes]), tableOffset);
  const { rows } = dump.table;
  const boards = boardsWith(rows).map(({ name }) => name);
  const updates = updatePath(rows, tableOffset);
  return { file, size: bytes.length, kind: "dump", begin, dump, boards, updates, problems: dump.problems };
}

/**
 * Refuses a file of no known kind, and quotes its first bytes. `tableOffset`: the file is a flash with its
 * table there.
 */
export function inspectBytes(file: string, bytes: Buffer, tableOffset?: number): Report {
  if (tableOffset !== undefined) {
    checkTableOffset(file, bytes, tableOffset);
    return dumpReport(file, bytes, tableOffset);
  }
  const base = { file, size: bytes.length };
  switch (kindOf(bytes)) {
    case "image":
      return imageReport(file, bytes);
    case "manifest":
      return manifestReport(file, bytes);
    case "table": {
      const table = readTable(bytes);
      const boards = boardsWith(table.rows).map(({ name }) => name);
      return { ...base, kind: "table", table, boards, updates: updatePath(table.rows), problems: table.problems };
    }
    case "otadata": {
      const entries = readOtadata(bytes);
      return { ...base, kind: "otadata", entries, active: activeCopy(entries), problems: [] };
    }
    case "storage": {
      const { problems, ...storage } = readStorage(bytes) as StorageContents;
      return { ...base, kind: "storage", storage, problems };
    }
    case "dump":
      return dumpReport(file, bytes, findTable(bytes) ?? TABLE_OFFSET);
    default:
      return refuseUnknown(file, bytes);
  }
}

/** For --table-offset. */
export function checkTableOffset(file: string, bytes: Buffer, offset: number): void {
  const part = bytes.subarray(offset);
  if (looksLikeTable(part)) return;
  const found = part.length ? `found ${part.subarray(0, 2).toString("hex")}` : `the file has ${bytes.length} bytes`;
  refuse(file, `offset ${hex(offset)}: no partition table, ${found} (a row begins with aa50)`);
}

function refuseUnknown(file: string, bytes: Buffer): never {
  if (!bytes.length) return refuse(file, "the file is empty");
  if (isBlank(bytes)) return refuse(file, `${bytes.length} bytes, all of them 0xff: erased flash`);
  const first = bytes.subarray(0, 8);
  const text = `offset 0: found ${first.toString("hex")} ("${printable(first.toString("latin1"))}")`;
  return refuse(
    file,
    `${text}, expected an image, a manifest, a partition table, otadata, a Storage of Espruino or a whole flash (--table-offset tells where its table is)`,
  );
}
