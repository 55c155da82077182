// Which bootloader the device has. It is known by its own descriptor (IDF 5.2 and later), or by its CRC if it came with a
// published Espruino build. Reads flash, writes nothing.
// Source: docs/formats.md#bootloader (IDF esp_bootloader_desc.h, esp_ota_ops.c).

import { hex, setU32, u32, zText } from "../platform/bytes";
import { chipId } from "../platform/chip";
import { binary, Flash, read } from "../platform/flash";
import { Esp, Size } from "../image/image";
import { Code, otaError, tryOr, noop } from "../errors";
import { Table } from "./partitions";

/** IDF's numbers: CONFIG_BOOTLOADER_OFFSET_IN_FLASH, and esp_bootloader_desc.h of v6.0.2. */
const enum Boot {
  OFFSET_ESP32 = 0x1000,
  /** of the C3 and the S3 */
  OFFSET = 0,
  DESC_MAGIC_BYTE = 80,
  /** end of the descriptor: this many bytes of a bootloader contain it */
  DESC_END = 112,
}

/** CRC-32 of bootloaders of Espruino builds, up to the checksum and without the header, which esptool changes. */
const enum Known {
  /** classic builds of 2v04 and 2v06 */
  IDF_3_1_3 = 0x4fb97a4f,
  /** classic builds since 2v22 */
  IDF_3_3_6 = 0x2020aee1,
}

/** `esp_bootloader_desc_t`, and what the bootloader does. */
export interface BootloaderDesc {
  /** CONFIG_BOOTLOADER_PROJECT_VER of its build, 0 when it is unknown */
  version: number;
  /** the secure version for the anti-rollback of bootloaders, 0 when it is unknown */
  secureVersion: number;
  /** the ESP-IDF that it was built with, such as "v5.5.1"; "" when it is unknown */
  idfVer: string;
  /** when it was compiled, such as "Jul  1 2026 12:00:00"; "" when it is unknown */
  dateTime: string;
  /** does it obey the states of otadata (IDF 3.3 and later)? undefined when it is unknown */
  states: boolean | undefined;
  /** does it roll back an image that was not confirmed? undefined when it is unknown: a descriptor does not say it */
  rollback: boolean | undefined;
}

/** CRC-32 of the bootloader at `address`, without its header and the SHA-256 at its end; 0 if its segments are too long. */
function contentCrc(address: number, segments: number): number {
  let end: number = Size.HEADER;
  for (let i = 0; i < segments; i++) {
    end += Size.SEGMENT_HEADER + u32(read(address + end, Size.SEGMENT_HEADER), 4);
    if (address + end >= Table.ADDR) return 0;
  }
  end = (end + 16) & ~15;
  let crc = 0;
  for (let offset: number = Size.HEADER; offset < end; offset += Flash.PIECE) {
    const piece = read(address + offset, Math.min(Flash.PIECE, end - offset));
    // E.CRC32 has no start value: to continue a CRC, it is xored into the first four bytes
    setU32(piece, 0, u32(piece, 0) ^ crc);
    crc = E.CRC32(binary(piece));
  }
  return crc;
}

/**
 * Which bootloader this device has: what its descriptor says (IDF 5.2 and later), else what is known about the ones that
 * came with published Espruino builds for the classic ESP32. For any other one `idfVer` is "". Throws ESP_ERR_NOT_FOUND if
 * flash has no bootloader at its address, or is encrypted. `esp_ota_get_bootloader_description`
 */
export function getBootloaderDescription(): BootloaderDesc {
  // More than 30 lines: the descriptor, then the known bootloaders.
  const chip = chipId();
  const address = chip ? Boot.OFFSET : Boot.OFFSET_ESP32;
  const head = read(address, Boot.DESC_END);
  if (head[0] !== Esp.IMAGE_HEADER_MAGIC)
    throw otaError(Code.NOT_FOUND, "no bootloader at " + hex(address) + ", found " + hex(head[0]));
  const found: BootloaderDesc = {
    version: 0,
    secureVersion: 0,
    idfVer: "",
    dateTime: "",
    // IDF has no release for the C3 and the S3 before 4.3
    states: chip ? true : undefined,
    rollback: undefined,
  };
  // esp_bootloader_desc_t, 32 bytes behind the image's start
  //      32  uint8_t  magic_byte, reserved[2], secure_version      72  char     date_time[24]
  //      36  uint32_t version                                      96  uint8_t  reserved2[16]
  //      40  char     idf_ver[32]
  // IDF checks the magic byte alone. An older bootloader may have any byte there, so more bytes are checked here
  if (head[32] === Boot.DESC_MAGIC_BYTE && !(head[33] | head[34] | head[71] | head[95]) && head[40]) {
    found.version = u32(head, 36);
    found.secureVersion = head[35];
    found.idfVer = zText(head, 40, 32);
    found.dateTime = zText(head, 72, 24);
    found.states = true;
    return found;
  }
  const crc = contentCrc(address, head[1]);
  if (crc === Known.IDF_3_3_6 || crc === Known.IDF_3_1_3) {
    found.idfVer = crc === Known.IDF_3_3_6 ? "v3.3.6" : "v3.1.3";
    found.states = crc === Known.IDF_3_3_6;
    found.rollback = false;
  }
  return found;
}

/** Does the bootloader obey the states of otadata, as far as is known? */
export function obeysStates(): boolean {
  let known = false;
  tryOr(() => {
    known = !!getBootloaderDescription().states;
  }, noop);
  return known;
}
