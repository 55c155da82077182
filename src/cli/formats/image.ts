// An ESP firmware image: all its fields and all its problems. Nothing is thrown: where an image cannot be read
// further, that is a problem, with its offset in the file.
// Source: docs/formats.md#image (IDF esp_app_format.h, esp_image_format.c, esp_app_desc.h; esptool bin_image.py).
import { createHash } from "node:crypto";
import { ESP_APP_DESC_MAGIC_WORD, Esp, parseDesc, parseHeader as parseDeviceHeader, Size } from "../../image/image.ts";
import { u32 } from "../../platform/bytes.ts";
import { fieldText, hex, hexOf, utf8Of } from "./bytes.ts";
import { type Chip, chipById, isDeviceChip, isLoadable, isMapped, knowsMapping } from "./chips.ts";

export const IMAGE_MAGIC: number = Esp.IMAGE_HEADER_MAGIC;

const CHECKSUM_SEED = 0xef;
const BOOTLOADER_DESC_MAGIC = 0x50;
const PAGE = 0x10000;
const SMALLEST_PAGE = 0x2000;
/** of the chips that devices know: data is mapped below, code above */
const LOWEST_CODE = 0x40000000;
const SPI_MODES = ["QIO", "QOUT", "DIO", "DOUT", "FAST_READ", "SLOW_READ"];
/** parts of the flash clock, which is 80 MHz on most chips */
const SPI_SPEEDS: Record<number, string> = { 0: "1/2", 1: "1/3", 2: "1/4", 15: "1/1" };

/** `offset` counts from the start of the file. */
export interface Problem {
  offset: number;
  text: string;
  /** A bootloader of ESP-IDF 3 crashes in such an image, at every start, instead of starting another one. */
  crashes?: true;
}

export interface Header {
  segments: number;
  spiMode: string;
  spiSpeed: string;
  /** bytes; 0 when the header has no valid size */
  flashSize: number;
  entry: number;
  chipId: number;
  /** IDF target name, null for an unknown chip id */
  chip: string | null;
  /** major * 100 + minor; `maxRevision` 0 and 65535: no limit */
  minRevision: number;
  maxRevision: number;
  hashAppended: boolean;
}

export interface Segment {
  /** of its data */
  offset: number;
  length: number;
  loadAddr: number;
  /** read from flash in place, not copied to RAM */
  mapped: boolean;
}

/** esp_app_desc_t */
export interface Descriptor {
  project: string;
  version: string;
  secureVersion: number;
  time: string;
  date: string;
  idfVersion: string;
  elfSha256: string;
}

export interface Compared {
  offset: number;
  found: string;
  wanted: string;
  ok: boolean;
}

export interface Image {
  /** Where in the file it begins. */
  offset: number;
  /** Its own length, tail included; null when its end was not found. Bytes may follow that are not its own. */
  length: number | null;
  header: Header;
  segments: Segment[];
  descriptor: Descriptor | null;
  /** of a bootloader (IDF 5.2 and later): esp_bootloader_desc_t */
  bootloaderIdf: string | null;
  checksum: Compared | null;
  sha256: Compared | null;
  /** bytes of the file behind it */
  trailing: number;
  problems: Problem[];
}

/** What the device reads of a header, and what it has no use for. The first byte has to be the magic. */
function parseHeader(bytes: Uint8Array): Header {
  const header = parseDeviceHeader(bytes)!;
  const size = bytes[3] >> 4;
  return {
    segments: header.segments_,
    spiMode: SPI_MODES[bytes[2]] ?? hex(bytes[2]),
    spiSpeed: SPI_SPEEDS[bytes[3] & 15] ?? hex(bytes[3] & 15),
    flashSize: size < 8 ? 0x100000 << size : 0,
    entry: u32(bytes, 4),
    chipId: header.chipId_,
    chip: chipById(header.chipId_)?.name ?? null,
    minRevision: header.minRevision_,
    maxRevision: header.maxRevision_,
    hashAppended: header.hashAppended_,
  };
}

function parseDescriptor(bytes: Uint8Array): Descriptor | null {
  const desc = parseDesc(bytes);
  return (
    desc && {
      project: utf8Of(desc.projectName),
      version: utf8Of(desc.version),
      secureVersion: desc.secureVersion,
      time: utf8Of(desc.time),
      date: utf8Of(desc.date),
      idfVersion: utf8Of(desc.idfVer),
      elfSha256: desc.appElfSha256,
    }
  );
}

/**
 * The MMU page that mapped segments must keep their place in. Where the image chooses and does not say (an old
 * descriptor, or a wild value), the smallest one: a rule that no good image breaks.
 */
function pageOf(chip: Chip, bytes: Uint8Array): number {
  if (!chip.choosesPage) return PAGE;
  const log2 = u32(bytes, Size.FIRST_SEGMENT) === ESP_APP_DESC_MAGIC_WORD ? bytes[212] : 0;
  return log2 >= 13 && log2 <= 16 ? 1 << log2 : SMALLEST_PAGE;
}

/** Does the chip start this, or does its bootloader? Of a bootloader no segment is mapped from flash. */
function isApp(image: Image, chip: Chip | undefined): boolean {
  return !!image.descriptor || !chip || !knowsMapping(chip) || image.segments.some((segment) => segment.mapped);
}

/** Reads the segment whose header is at `offset`, the next one of the image; returns where it ends, or null. */
function readSegment(bytes: Uint8Array, image: Image, chip: Chip | undefined, offset: number): number | null {
  const i = image.segments.length;
  const report = (text: string) => image.problems.push({ offset: image.offset + offset, text: `segment ${i}${text}` });
  if (offset + Size.SEGMENT_HEADER > bytes.length) {
    report(` begins where the file ends (${image.offset + bytes.length} bytes)`);
    return null;
  }
  const loadAddr = u32(bytes, offset);
  const length = u32(bytes, offset + 4);
  const data = offset + Size.SEGMENT_HEADER;
  if (length % 4) report(`: ${length} bytes, expected a multiple of 4`);
  if (length > bytes.length - data) {
    report(`: ${length} bytes, the file has ${bytes.length - data} more`);
    return null;
  }
  const page = chip ? pageOf(chip, bytes) : PAGE;
  const mapped = !!chip && isMapped(chip, loadAddr);
  if (mapped && (loadAddr - data) % page)
    report(`: load address ${hex(loadAddr)} does not fit offset ${hex(data)} in a page of ${page >> 10} KB`);
  image.segments.push({ offset: image.offset + data, length, loadAddr, mapped });
  return data + length;
}

/** Reads the segments; returns where the last one ends, or null. */
function walk(bytes: Uint8Array, image: Image, chip: Chip | undefined): number | null {
  const { segments } = image.header;
  if (!segments || segments > Esp.IMAGE_MAX_SEGMENTS) {
    const text = `${segments} segments, expected 1 to ${Esp.IMAGE_MAX_SEGMENTS}`;
    image.problems.push({ offset: image.offset + 1, text });
    return null;
  }
  let offset: number | null = Size.HEADER;
  for (let i = 0; i < segments && offset !== null; i++) offset = readSegment(bytes, image, chip, offset);
  return offset;
}

function compare(image: Image, what: string, offset: number, found: string, wanted: string): Compared {
  const ok = found === wanted;
  if (!ok) image.problems.push({ offset, text: `${what} ${found}, computed ${wanted}` });
  return { offset, found, wanted, ok };
}

/** One checksum byte ends the last line of 16, then comes the SHA-256 of all before it (docs/formats.md#checksum-and-hash). */
function checkTail(bytes: Uint8Array, image: Image, last: number): void {
  const end = (last + 16) & ~15;
  const length = image.header.hashAppended ? end + Esp.IMAGE_HASH_LEN : end;
  if (length > bytes.length) {
    const text = `the image has ${length} bytes, only ${bytes.length} are there`;
    image.problems.push({ offset: image.offset + bytes.length, text });
    return;
  }
  image.length = length;
  image.trailing = bytes.length - length;
  let sum = CHECKSUM_SEED;
  for (const segment of image.segments) {
    const first = segment.offset - image.offset;
    for (let i = first; i < first + segment.length; i++) sum ^= bytes[i];
  }
  image.checksum = compare(image, "checksum", image.offset + end - 1, hex(bytes[end - 1], 2), hex(sum, 2));
  if (!image.header.hashAppended) return;
  const wanted = createHash("sha256").update(bytes.subarray(0, end)).digest("hex");
  image.sha256 = compare(image, "SHA-256", image.offset + end, hexOf(bytes.subarray(end, length)), wanted);
}

/** What makes an image an app that a device takes: docs/formats.md#segments, src/image/image.ts. */
function checkApp(bytes: Uint8Array, image: Image, chip: Chip): void {
  const [first] = image.segments;
  const at = image.offset + Size.HEADER;
  if (knowsMapping(chip) && first && !first.mapped) {
    const text = `segment 0 is loaded to ${hex(first.loadAddr)}: on ${chip.name} an app begins with a mapped segment`;
    image.problems.push({ offset: at, text: `${text} (is it a bootloader?)` });
  }
  // src/image/image.ts isRunnable: the MMU's first entry for data tells the running slot
  if (isDeviceChip(chip) && first?.mapped && first.loadAddr >= LOWEST_CODE)
    image.problems.push({ offset: at, text: `segment 0 is mapped to ${hex(first.loadAddr)}, as code, expected data` });
  image.segments.forEach(({ offset, loadAddr, length }, i) => {
    if (isLoadable(chip, loadAddr, length)) return;
    const text = `segment ${i}: ${length} bytes for ${hex(loadAddr)}, where bootloaders refuse them or crash`;
    image.problems.push({ offset: offset - Size.SEGMENT_HEADER, text, crashes: true });
  });
  if (chip.choosesPage && !image.descriptor)
    image.problems.push({ offset: at + Size.SEGMENT_HEADER, text: `no app descriptor, which ${chip.name} needs` });
  if (bytes.length < Size.HEAD)
    image.problems.push({
      offset: image.offset + bytes.length,
      text: `${bytes.length} bytes, a device takes no image below ${Size.HEAD}`,
    });
}

/** The image as far as its header tells it; `parseHeader` reads zeros behind the end of a short file. */
function unreadImage(bytes: Uint8Array, offset: number): Image {
  const padded = bytes.length < Size.FIRST_SEGMENT ? Buffer.concat([bytes, Buffer.alloc(Size.FIRST_SEGMENT)]) : bytes;
  return {
    offset,
    length: null,
    header: parseHeader(padded),
    segments: [],
    descriptor: parseDescriptor(bytes),
    bootloaderIdf: null,
    checksum: null,
    sha256: null,
    trailing: 0,
    problems: [],
  };
}

/**
 * Reads the image at the start of `bytes`; these begin at `offset` in their file. Null when there is no image.
 * `kind` is what it has to be: a bootloader's SHA-256 may be wrong (esptool changes its header while flashing).
 */
export function readImage(bytes: Uint8Array, offset = 0, kind: "app" | "bootloader" | "any" = "app"): Image | null {
  if (bytes[0] !== IMAGE_MAGIC) return null;
  const image = unreadImage(bytes, offset);
  if (bytes.length < Size.HEADER) {
    const text = `${bytes.length} bytes, a header alone has ${Size.HEADER}`;
    image.problems.push({ offset: offset + bytes.length, text });
    return image;
  }
  const { chipId } = image.header;
  const chip = chipById(chipId);
  if (!chip) image.problems.push({ offset: offset + 12, text: `chip id ${hex(chipId, 4)} is unknown` });
  const last = walk(bytes, image, chip);
  if (last !== null) checkTail(bytes, image, last);
  const app = kind === "app" || (kind === "any" && isApp(image, chip));
  if (app && chip) checkApp(bytes, image, chip);
  if (!app) {
    if (bytes[Size.FIRST_SEGMENT] === BOOTLOADER_DESC_MAGIC)
      image.bootloaderIdf = fieldText(bytes, Size.FIRST_SEGMENT + 8, 32) || null;
    image.problems = image.problems.filter((problem) => problem.offset !== image.sha256?.offset);
  }
  image.problems.sort((a, b) => a.offset - b.offset);
  return image;
}

export function isBootloader(image: Image): boolean {
  return image.length !== null && !isApp(image, chipById(image.header.chipId));
}
