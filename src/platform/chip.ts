// The chip: which one it is, its revision, its memory map, and registers that JavaScript can read. Their addresses and
// bits: soc.ts.

import { hex } from "./bytes";
import { Esp32, Esp32c3, Esp32s3 } from "./soc";
import { Code, otaError, noMemory } from "../errors";

/** The `length` bytes that the running program's memory map shows at `addr`. */
export function mapped(addr: number, length: number): string {
  const area = E.memoryArea(addr, length);
  if (typeof area !== "string" || area.length !== length) return noMemory("memory area at " + hex(addr));
  return area;
}

/** `esp_chip_id_t` of the chip that this Espruino was built for, by its board name. */
export function chipId(): number {
  const board = process.env.BOARD;
  // not by indexOf: at the end of a text the engine takes the beginning of a needle for the whole needle (2v29)
  for (let i = 0; i < board.length; i++)
    if (board.substr(i, 5) === "ESP32") {
      const series = board.substr(i + 5, 2);
      return series === "C3" ? Esp32c3.ESP_CHIP_ID : series === "S3" ? Esp32s3.ESP_CHIP_ID : Esp32.ESP_CHIP_ID;
    }
  // both are C3 (boards/EPAPER_BADGE.py, boards/CURIO.py)
  if (board === "EPAPER_BADGE" || board === "CURIO") return Esp32c3.ESP_CHIP_ID;
  throw otaError(Code.NOT_SUPPORTED, "board " + board + " is not an ESP32 that this module knows");
}

/**
 * Chip revision, major * 100 + minor; -1 where JavaScript cannot read it (all chips except the classic ESP32). As
 * efuse_hal_get_major_chip_version() and efuse_hal_get_minor_chip_version() of IDF's efuse_hal.c.
 */
export function chipRevision(chip: number): number {
  if (chip !== Esp32.ESP_CHIP_ID) return -1;
  const word5 = peek32(Esp32.EFUSE_BLK0_RDATA5_REG, 1);
  let major = 0;
  if (peek32(Esp32.EFUSE_BLK0_RDATA3_REG, 1) & Esp32.EFUSE_RD_CHIP_VER_REV1)
    if (!(word5 & Esp32.EFUSE_RD_CHIP_VER_REV2)) major = 1;
    else major = peek32(Esp32.APB_CTRL_DATE_REG, 1) >>> Esp32.APB_CTRL_DATE_ECO_BIT2_S ? 3 : 2;
  return major * 100 + ((word5 >>> Esp32.EFUSE_RD_WAFER_VERSION_MINOR_S) & Esp32.EFUSE_RD_WAFER_VERSION_MINOR_V);
}

/**
 * Is flash encryption on? JavaScript can read only the eFuse of the classic ESP32. On other chips flash encryption is
 * noticed because the partition table cannot be read.
 */
export function isEncrypted(chip: number): boolean {
  let odd = false;
  if (chip === Esp32.ESP_CHIP_ID) {
    const word0 = peek32(Esp32.EFUSE_BLK0_RDATA0_REG, 1);
    let bits = (word0 >>> Esp32.EFUSE_RD_FLASH_CRYPT_CNT_S) & Esp32.EFUSE_RD_FLASH_CRYPT_CNT_V;
    for (; bits; bits >>>= 1) odd = odd !== !!(bits & 1);
  }
  return odd;
}

/** The flash address that the MMU maps at `addr`, rounded down to its page of 64 KB; -1 when `addr` is not mapped. */
export function mappedFlash(chip: number, addr: number): number {
  const classic = chip === Esp32.ESP_CHIP_ID;
  const s3 = chip === Esp32s3.ESP_CHIP_ID;
  const index =
    (addr & (classic ? Esp32.SOC_MMU_VADDR_MASK : s3 ? Esp32s3.SOC_MMU_VADDR_MASK : Esp32c3.SOC_MMU_VADDR_MASK)) >>> 16;
  const entry = peek32((classic ? Esp32.DPORT_PRO_FLASH_MMU_TABLE : Esp32c3.DR_REG_MMU_TABLE) + 4 * index, 1);
  // the ESP32 has the masks of the C3
  return entry & (s3 ? Esp32s3.SOC_MMU_INVALID | Esp32s3.SOC_MMU_ACCESS_SPIRAM : Esp32c3.SOC_MMU_INVALID)
    ? -1
    : (entry & (s3 ? Esp32s3.SOC_MMU_VALID_VAL_MASK : Esp32c3.SOC_MMU_VALID_VAL_MASK)) * 0x10000;
}

/** Why the chip was reset: soc_reset_reason_t. */
export function resetReason(): number {
  const register = chipId() === Esp32.ESP_CHIP_ID ? Esp32.RTC_CNTL_RESET_STATE_REG : Esp32c3.RTC_CNTL_RESET_STATE_REG;
  return peek32(register, 1) & Esp32.RTC_CNTL_RESET_CAUSE_PROCPU;
}

/** Calls IDF's esp_ota_mark_app_valid_cancel_rollback, where this Espruino has it. It does not report success. */
export function markValidNatively(): void {
  if (ESP32.setOTAValid) ESP32.setOTAValid(true);
}

/** Restarts the device at once. `esp_restart` */
export function restart(): void {
  ESP32.reboot();
}
