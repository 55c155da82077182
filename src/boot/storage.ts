// Where an Espruino build keeps Storage, which holds the program and this module. A build finds the headers of files at
// an address that is compiled in, and reads their contents through the partition with a certain label, at any address
// (targets/esp32/main.c): `js_code` with 256 KB up to 2v25, `storage` with 896 KB from 2v26 on (boards/ESP32*.py). If the
// table does not have the partition of an image, no program runs after the restart, and so nothing rolls the image back.

import { hex, u32 } from "../platform/bytes";
import { binary, Flash, read } from "../platform/flash";
import { isBlank } from "../platform/flash-blocks";
import { storageStats, firmwareVersion } from "../platform/engine";
import { Size } from "../image/image";
import { Type } from "./partitions";
import type { StorageClaim } from "./storage-claim";
import { RecordFile } from "./record-file";
import { inSlices, Slice } from "../platform/scheduler";
import { partitionByLabel } from "./layout";
import { Code, otaError, noop, type OtaError } from "../errors";

const enum Kind {
  OLD_SIZE = 0x40000,
  /** builds up to 2v25 read through `js_code` */
  LAST_OLD = 25,
  NEEDLE_LENGTH = 13,
  /** length of the longest text that is searched: the needle and "'storage'" */
  TEXT_LENGTH = 22,
}

function refuse(fact: string): never {
  throw otaError(
    Code.NOT_SUPPORTED,
    "Storage would be lost: " +
      fact +
      "; flash that build once by USB with its own partition table, or set allowStorageLoss",
  );
}

/**
 * The label of the partition through which the running build reads. The version alone, such as "2v27.45", does not tell it:
 * some builds of 2v25 are of the new kind, and have a larger Storage.
 */
function ownPartition(): string {
  const version = firmwareVersion();
  const old = version[0] === "2" && +version.substr(2, 2) <= Kind.LAST_OLD;
  return old && storageStats().totalBytes <= Kind.OLD_SIZE ? "js_code" : "storage";
}

/**
 * Throws NOT_SUPPORTED with the remedy if the image of `claim` could not read the files of the running build.
 * More than 30 lines: one rule after the other, each with its message.
 */
export function checkStorage(claim: StorageClaim): void {
  const label = claim.partition;
  const row = partitionByLabel(label, Type.DATA);
  if (!row) return refuse("the image reads its files through partition " + label + ", which this table does not have");
  if (row.address !== claim.address)
    refuse(
      "the image keeps its files at " +
        hex(claim.address) +
        " and reads them through partition " +
        label +
        ", which this table has at " +
        hex(row.address),
    );
  if (row.size < claim.size)
    refuse("the image needs " + claim.size + " bytes in partition " + label + ", which has " + row.size);
  const own = ownPartition();
  const ownRow = own === label ? row : partitionByLabel(own, Type.DATA);
  if (!ownRow || ownRow.address !== claim.address)
    refuse("this firmware keeps its files in another place than the image, " + hex(claim.address));
  const stats = storageStats();
  // the boot record may still grow by this much
  const used = stats.totalBytes - stats.freeBytes + 2 * (RecordFile.SIZE + RecordFile.FILE_HEADER);
  // if files lie behind the end of a smaller Storage, the build takes this for damage and erases all files
  if (claim.size < stats.totalBytes && used > claim.size)
    refuse(
      "Storage needs " + used + " bytes, with erased files and the boot record; the image has room for " + claim.size,
    );
  // a build with a larger Storage takes bytes behind the present Storage for files
  for (let offset = stats.totalBytes; offset < claim.size; offset += Flash.SECTOR)
    if (!isBlank(claim.address + offset))
      refuse("flash at " + hex(claim.address + offset) + " is not blank, and the image takes it for Storage");
}

/**
 * Searches the verified image at `addr` for the text that names the partition of its Storage. The first segment holds
 * the constants of a build. Calls `done` with what such a build claims of this table, null if the image has no such text.
 * More than 30 lines: its steps are closures that share the result.
 */
export function findStorage(addr: number, done: (error: OtaError | null, claim: StorageClaim | null) => void): void {
  const end = Size.FIRST_SEGMENT + u32(read(addr, Size.FIRST_SEGMENT), Size.HEADER + 4);
  let offset = 0;
  let found: StorageClaim | null = null;
  function look(label: string, text: string, quote: string): void {
    if (text.substr(Kind.NEEDLE_LENGTH, label.length + 2 * quote.length) !== quote + label + quote) return;
    const row = partitionByLabel(label, Type.DATA);
    found = {
      partition: label,
      address: row ? row.address : 0,
      size: !row || label === "js_code" ? Kind.OLD_SIZE : row.size,
    };
  }
  inSlices(
    Slice.BLOCKS,
    () => {
      const piece = binary(read(addr + offset, Flash.PIECE));
      // at the end of a text the engine's indexOf reports the beginning of a needle as found, repeatedly (2v29)
      for (let from = 0, index = 0; ; from = index + 1) {
        index = piece.indexOf("Couldn't map ", from);
        if (index < from) break;
        const text = binary(read(addr + offset + index, Kind.TEXT_LENGTH));
        look("js_code", text, "");
        look("storage", text, "'");
      }
      offset += Flash.PIECE - Kind.NEEDLE_LENGTH;
      return !found && offset < end;
    },
    noop,
    (error) => done(error, found),
  );
}
