// An ESP firmware image: header, segments, app descriptor, tail. Pure: it works on bytes that the caller has read.
// Source: docs/formats.md#image (IDF esp_app_format.h, esp_image_format.c, esp_app_desc.h).

import { hex, u16, u32, zText } from "../platform/bytes";
import { isLoadable, isMapped } from "../platform/soc";
import { Code, otaError } from "../errors";

/** In bytes. An enum takes no variable. */
export const enum Size {
  /** the first bytes. They are written last, in one operation of the flash */
  WORD = 4,
  HEADER = 24,
  SEGMENT_HEADER = 8,
  /** offset of the first segment's data, which begins with the app descriptor */
  FIRST_SEGMENT = HEADER + SEGMENT_HEADER,
  /** end of the app descriptor: this many bytes of an image contain it */
  DESC_END = FIRST_SEGMENT + 256,
  /** IDF's IMAGE_HEADER_SIZE: the bytes that must have arrived before the header is checked */
  HEAD = 1024,
}

/** IDF's constants without the prefix ESP_: esp_app_format.h and esp_image_format.h of v5.5. */
export const enum Esp {
  IMAGE_HEADER_MAGIC = 0xe9,
  IMAGE_MAX_SEGMENTS = 16,
  IMAGE_HASH_LEN = 32,
}
// esp_app_desc.h. Not an enum: it is used twice, and a variable is shorter than the number
export const ESP_APP_DESC_MAGIC_WORD = 0xabcd5432;
// mmu.h of the ESP32; the C3 and the S3 have pages of this size too
const SPI_FLASH_MMU_PAGE_SIZE = 0x10000;

export interface Header {
  segments_: number;
  chipId_: number;
  /** min_chip_rev, the major revision on the classic ESP32: bootloaders before IDF 4.3.5 obey it */
  minMajor_: number;
  /** major * 100 + minor; 0 and 65535 in `maxRevision_` mean no limit */
  minRevision_: number;
  maxRevision_: number;
  hashAppended_: boolean;
  /** of the first segment */
  loadAddr_: number;
  length_: number;
}

/** `esp_app_desc_t`: what an image says about itself. */
export interface AppDesc {
  secureVersion: number;
  version: string;
  projectName: string;
  time: string;
  date: string;
  idfVer: string;
  /** SHA-256 of the ELF file, hexadecimal: no other build has the same */
  appElfSha256: string;
}

/**
 * The header and the first segment's, or null when the first byte is not the magic number of an image.
 *
 *     esp_image_header_t                         esp_image_segment_header_t, 24 bytes behind its start
 *      0  uint8_t  magic                          24  uint32_t load_addr
 *      1  uint8_t  segment_count                  28  uint32_t data_len
 *      2  uint8_t  spi_mode
 *      3  uint8_t  spi_speed : 4, spi_size : 4
 *      4  uint32_t entry_addr
 *      8  uint8_t  wp_pin, spi_pin_drv[3]
 *     12  uint16_t chip_id
 *     14  uint8_t  min_chip_rev
 *     15  uint16_t min_chip_rev_full
 *     17  uint16_t max_chip_rev_full
 *     19  uint8_t  reserved[4]
 *     23  uint8_t  hash_appended
 */
export function parseHeader(head: Uint8Array): Header | null {
  if (head[0] !== Esp.IMAGE_HEADER_MAGIC) return null;
  return {
    segments_: head[1],
    chipId_: u16(head, 12),
    minMajor_: head[14],
    minRevision_: u16(head, 15),
    maxRevision_: u16(head, 17),
    hashAppended_: head[23] !== 0,
    loadAddr_: u32(head, Size.HEADER),
    length_: u32(head, Size.HEADER + 4),
  };
}

/**
 * The app descriptor in the first 288 bytes of an image; null for an image without one (IDF 3.2 and older).
 *
 *     esp_app_desc_t, 32 bytes behind the image's start
 *      32  uint32_t magic_word                    176  uint8_t  app_elf_sha256[32]
 *      36  uint32_t secure_version                208  uint16_t min_efuse_blk_rev_full
 *      40  uint32_t reserv1[2]                    210  uint16_t max_efuse_blk_rev_full
 *      48  char     version[32]                   212  uint8_t  mmu_page_size
 *      80  char     project_name[32]              213  uint8_t  spi_flash_mode (after v6.0.2)
 *     112  char     time[16], date[16]
 *     144  char     idf_ver[32]
 */
export function parseDesc(head: Uint8Array): AppDesc | null {
  if (head.length < Size.DESC_END || u32(head, Size.FIRST_SEGMENT) !== ESP_APP_DESC_MAGIC_WORD) return null;
  let sha = "";
  for (let i = 176; i < 208; i++) sha += (256 + head[i]).toString(16).substr(1);
  return {
    secureVersion: u32(head, 36),
    version: zText(head, 48, 32),
    projectName: zText(head, 80, 32),
    time: zText(head, 112, 16),
    date: zText(head, 128, 16),
    idfVer: zText(head, 144, 32),
    appElfSha256: sha,
  };
}

/** The descriptor's spi_flash_mode, 0 when it is unknown or the image has no descriptor. */
function spiModeOf(head: Uint8Array): number {
  return u32(head, Size.FIRST_SEGMENT) === ESP_APP_DESC_MAGIC_WORD ? head[213] : 0;
}

/** Can the image of `header` run on `chipId`? Its first segment must be mapped as data. */
export function isRunnable(header: Header | null, chipId: number): boolean {
  return !!header && header.chipId_ === chipId && header.loadAddr_ < 0x40000000 && isMapped(chipId, header.loadAddr_);
}

function refuse(fact: string): never {
  throw otaError(Code.OTA_VALIDATE_FAILED, fact);
}

function checkSegment(chipId: number, loadAddr: number, length: number, offset: number, limit: number): void {
  if (length % 4 || length > limit - offset)
    refuse("segment of " + length + " bytes at offset " + offset + " of " + limit);
  // slots begin on a 64 KB page, so the offset in the slot can be used instead of the address in flash
  if (isMapped(chipId, loadAddr) && (loadAddr - offset) % SPI_FLASH_MMU_PAGE_SIZE)
    refuse("segment at offset " + offset + " can't be mapped at " + hex(loadAddr));
  if (!isLoadable(chipId, loadAddr, length))
    refuse(
      "segment at offset " +
        offset +
        " would be loaded at " +
        hex(loadAddr) +
        "+" +
        hex(length) +
        ", which no app can use",
    );
}

/** The first segment of an app is mapped as data. That of a bootloader is loaded into RAM. */
function checkFirst(chipId: number, header: Header): void {
  if (!isRunnable(header, chipId))
    refuse(
      "not an app: its first segment is for " +
        hex(header.loadAddr_) +
        ": is it a bootloader, or a merged image? Expected the app's own file",
    );
}

/**
 * Checks the first Size.DESC_END bytes of an image against this device, before anything is erased. `chipId` is that of
 * the running image, and `running` its first bytes. `revision` is that of the chip, -1 where it cannot be read. `limit`:
 * the most bytes that the image can have. `tell` is called with what the image requires, before it is checked.
 * Throws OTA_VALIDATE_FAILED, INVALID_VERSION or OTA_SPI_MODE_MISMATCH.
 * More than 30 lines: one check after the other, in the order of the header.
 */
export function checkHead(
  head: Uint8Array,
  chipId: number,
  revision: number,
  running: Uint8Array,
  limit: number,
  tell: (event: "VERIFY_CHIP_ID" | "VERIFY_CHIP_REVISION", value: number) => void,
): void {
  const header = parseHeader(head);
  if (!header)
    return refuse(
      "first byte " +
        hex(head[0]) +
        ", an app image begins with " +
        hex(Esp.IMAGE_HEADER_MAGIC) +
        (head[0] === 0xff ? " (is it an image of the whole flash?)" : ""),
    );
  tell("VERIFY_CHIP_ID", header.chipId_);
  tell("VERIFY_CHIP_REVISION", header.minRevision_);
  if (header.chipId_ !== chipId)
    throw otaError(Code.INVALID_VERSION, "image for chip id " + header.chipId_ + ", this is chip id " + chipId);
  if (
    revision >= 0 &&
    (header.minRevision_ > revision ||
      (header.maxRevision_ && header.maxRevision_ !== 0xffff && header.maxRevision_ < revision))
  )
    throw otaError(
      Code.INVALID_VERSION,
      "image for chip revisions " + header.minRevision_ + " to " + header.maxRevision_ + ", this is " + revision,
    );
  if (revision >= 0 && header.minMajor_ > Math.floor(revision / 100))
    throw otaError(
      Code.INVALID_VERSION,
      "image for chip revision " +
        header.minMajor_ +
        " and later (min_chip_rev), this is " +
        Math.floor(revision / 100),
    );
  if (!header.segments_ || header.segments_ > Esp.IMAGE_MAX_SEGMENTS)
    refuse(header.segments_ + " segments, expected 1 to 16");
  checkFirst(chipId, header);
  checkSegment(chipId, header.loadAddr_, header.length_, Size.FIRST_SEGMENT, limit);
  const mode = spiModeOf(head);
  const spiMode = spiModeOf(running);
  if (mode && spiMode && mode !== spiMode)
    throw otaError(Code.OTA_SPI_MODE_MISMATCH, "image for SPI mode " + mode + ", this device runs " + spiMode);
}

/** esp_image_segment_header_t: uint32_t load_addr, uint32_t data_len. */
function parseSegment(bytes: Uint8Array): { loadAddr_: number; length_: number } {
  return { loadAddr_: u32(bytes, 0), length_: u32(bytes, 4) };
}

/**
 * Walks the segments of an image for `chipId` in a file of `size` bytes and returns its own length, which is less than
 * `size` where a signature sector or padding follows. `read(offset, length)` gives its bytes. `onData(offset, length)`,
 * if given, is called for each segment's data. Throws OTA_VALIDATE_FAILED.
 */
export function walkSegments(
  chipId: number,
  size: number,
  read: (offset: number, length: number) => Uint8Array,
  onData?: (offset: number, length: number) => void,
): number {
  const header = parseHeader(read(0, Size.FIRST_SEGMENT));
  if (!header) return refuse("the slot holds no image");
  if (header.chipId_ !== chipId) refuse("image for chip id " + header.chipId_ + ", this is chip id " + chipId);
  if (!header.segments_ || header.segments_ > Esp.IMAGE_MAX_SEGMENTS)
    refuse(header.segments_ + " segments, expected 1 to 16");
  checkFirst(chipId, header);
  let offset = Size.HEADER;
  for (let i = 0; i < header.segments_; i++) {
    if (offset + Size.SEGMENT_HEADER > size) refuse("segment " + i + " begins at " + offset + " of " + size);
    const segment = parseSegment(read(offset, Size.SEGMENT_HEADER));
    offset += Size.SEGMENT_HEADER;
    checkSegment(header.chipId_, segment.loadAddr_, segment.length_, offset, size);
    if (onData) onData(offset, segment.length_);
    offset += segment.length_;
  }
  // the checksum is the last byte of the last line of 16 bytes
  const end = (offset + 16) & ~15;
  const length = header.hashAppended_ ? end + Esp.IMAGE_HASH_LEN : end;
  if (length > size) refuse("image of " + length + " bytes, found " + size);
  return length;
}

/** Offset of the checksum byte of an image of `length` bytes whose header is `head`. */
export function checksumOffset(head: Uint8Array, length: number): number {
  return length - 1 - (head[23] ? Esp.IMAGE_HASH_LEN : 0);
}
