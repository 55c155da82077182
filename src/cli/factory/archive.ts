// The files of a folder, a .zip or a .tgz with a published build, by their paths. Nothing is written to disk.
import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { gunzipSync } from "node:zlib";
import { unzipSync } from "fflate";
import { printable, refuse, systemReason } from "../ui/errors.ts";
import { MAX_FLASH, readInput } from "../ui/files.ts";

export interface Found {
  /** as it stands in the folder or the archive, for messages */
  name: string;
  bytes: Buffer;
}

const BLOCK = 512;
/** entries of a folder or an archive */
const MAX_ENTRIES = 1000;

const wanted = (name: string) => /\.bin$/i.test(name);

const isZip = (bytes: Buffer) => bytes.subarray(0, 4).equals(Buffer.from("PK\x03\x04", "latin1"));
const isGzip = (bytes: Buffer) => bytes[0] === 0x1f && bytes[1] === 0x8b;
const isTar = (bytes: Buffer) => bytes.subarray(257, 262).equals(Buffer.from("ustar"));

function tooLarge(file: string): never {
  return refuse(file, `unpacks to more than ${MAX_FLASH} bytes, expected a build of Espruino`);
}

function unzip(file: string, bytes: Buffer): Found[] {
  let total = 0;
  try {
    const all = unzipSync(bytes, {
      filter({ name, originalSize }) {
        if (!wanted(name)) return false;
        total += originalSize;
        if (total > MAX_FLASH) tooLarge(file);
        return true;
      },
    });
    return Object.entries(all).map(([name, content]) => ({ name, bytes: Buffer.from(content) }));
  } catch (error) {
    if ("exitCode" in (error as Error)) throw error;
    return refuse(file, `no .zip that can be read (${(error as Error).message})`);
  }
}

function gunzip(file: string, bytes: Buffer): Buffer {
  try {
    return gunzipSync(bytes, { maxOutputLength: MAX_FLASH });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") tooLarge(file);
    return refuse(file, `no .tgz that can be read (${(error as Error).message})`);
  }
}

const text = (field: Buffer) => field.toString("latin1").replace(/\0.*$/s, "");

/** A header's checksum: the sum of its bytes, with blanks in its own place. */
function sumOf(header: Buffer): number {
  return header.reduce((sum, byte, i) => sum + (i >= 148 && i < 156 ? 32 : byte), 0);
}

/** The tar format of POSIX (ustar): a header of 512 bytes before each file. Links and long names are passed over. */
function untar(file: string, bytes: Buffer): Found[] {
  const found: Found[] = [];
  for (let at = 0; at + BLOCK <= bytes.length; ) {
    const header = bytes.subarray(at, at + BLOCK);
    if (header.every((byte) => !byte)) break;
    const size = Number.parseInt(text(header.subarray(124, 136)).trim() || "0", 8);
    if (Number.parseInt(text(header.subarray(148, 156)), 8) !== sumOf(header) || !Number.isSafeInteger(size))
      refuse(file, `offset ${at} of the unpacked .tgz: no header of a file in it`);
    const data = at + BLOCK;
    if (data + size > bytes.length) refuse(file, "the .tgz ends within a file");
    const prefix = text(header.subarray(345, 500));
    const name = (prefix ? `${prefix}/` : "") + text(header.subarray(0, 100));
    const regular = header[156] === 0 || header[156] === 0x30;
    if (regular && wanted(name)) found.push({ name, bytes: Buffer.from(bytes.subarray(data, data + size)) });
    at = data + Math.ceil(size / BLOCK) * BLOCK;
  }
  return found;
}

function readFolder(folder: string): Found[] {
  const found: Found[] = [];
  const folders = [""];
  let seen = 0;
  for (const below of folders)
    for (const entry of readdirSync(path.join(folder, below), { withFileTypes: true })) {
      if (++seen > MAX_ENTRIES) refuse(folder, `more than ${MAX_ENTRIES} files, expected a build of Espruino`);
      const name = below + entry.name;
      if (entry.isDirectory()) folders.push(`${name}/`);
      else if (entry.isFile() && wanted(name)) found.push({ name, bytes: readInput(path.join(folder, name)) });
    }
  return found;
}

/** All files *.bin of a folder or an archive. */
export function readBuildFiles(where: string): Found[] {
  let isFolder: boolean;
  try {
    isFolder = statSync(where).isDirectory();
  } catch (error) {
    return refuse(where, systemReason(error));
  }
  if (isFolder) return readFolder(where);
  const bytes = readInput(where);
  if (isZip(bytes)) return unzip(where, bytes);
  const unpacked = isGzip(bytes) ? gunzip(where, bytes) : bytes;
  if (!isTar(unpacked))
    refuse(where, "neither a folder nor a .zip or .tgz, expected a build of Espruino with its bootloader");
  return untar(where, unpacked);
}

/** "build.tgz: espruino/bootloader.bin" */
export const placeOf = (where: string, { name }: Found): string => `${where}: ${printable(name)}`;
