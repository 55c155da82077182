// The chip: which one it is, its revision, its memory map, and registers that JavaScript can read.

import { hex } from "./bytes";
import { Esp32, Esp32c3, Esp32s3 } from "./soc";
import { Code, otaError, noMemory } from "../errors";

// Registers of the classic ESP32 (IDF soc/esp32: efuse_reg.h, dport_reg.h, apb_ctrl_reg.h)
const EFUSE_BLK0_RDATA0 = 0x3ff5a000; // FLASH_CRYPT_CNT in bits 20 to 26

const EFUSE_BLK0_RDATA3 = 0x3ff5a00c; // CHIP_VER_REV1 in bit 15

const EFUSE_BLK0_RDATA5 = 0x3ff5a014; // CHIP_VER_REV2 in bit 20, WAFER_VERSION_MINOR in bits 24 and 25

const APB_CTRL_DATE = 0x3ff6607c; // bit 31: revision 3 and later

/** The `length` bytes that the running program's memory map shows at `addr`. */
export function mapped(addr: number, length: number): string {
  const area = E.memoryArea(addr, length);
  if (typeof area !== "string" || area.length !== length) return noMemory("memory area at " + hex(addr));
  return area;
}

/** The chip id (IDF esp_app_format.h) for which this Espruino was built, by its board name. */
export function chipId(): number {
  const board = process.env.BOARD;
  // not indexOf: at the end of a text the engine takes the beginning of a needle for the needle (2v29)
  for (let i = 0; i < board.length; i++)
    if (board.substr(i, 5) === "ESP32") {
      const series = board.substr(i + 5, 2);
      return series === "C3" ? Esp32c3.ESP_CHIP_ID : series === "S3" ? Esp32s3.ESP_CHIP_ID : Esp32.ESP_CHIP_ID;
    }
  // both are C3 (boards/EPAPER_BADGE.py, boards/CURIO.py)
  if (board === "EPAPER_BADGE" || board === "CURIO") return Esp32c3.ESP_CHIP_ID;
  throw otaError(Code.NOT_SUPPORTED, "board " + board + " is not an ESP32 that this module knows");
}

/** Chip revision, major * 100 + minor; -1 where JavaScript cannot read it (all chips but the classic ESP32). */
export function chipRevision(chip: number): number {
  if (chip !== Esp32.ESP_CHIP_ID) return -1;
  const word5 = peek32(EFUSE_BLK0_RDATA5, 1);
  let major = 0;
  if ((peek32(EFUSE_BLK0_RDATA3, 1) >>> 15) & 1)
    major = !((word5 >>> 20) & 1) ? 1 : peek32(APB_CTRL_DATE, 1) >>> 31 ? 3 : 2;
  return major * 100 + ((word5 >>> 24) & 3);
}

/**
 * Is flash encryption on? Only the classic ESP32's eFuse can be read; on other chips the partition table is then
 * unreadable.
 */
export function isEncrypted(chip: number): boolean {
  let odd = false;
  if (chip === Esp32.ESP_CHIP_ID)
    for (let bits = (peek32(EFUSE_BLK0_RDATA0, 1) >>> 20) & 127; bits; bits >>>= 1) odd = odd !== !!(bits & 1);
  return odd;
}

/** Flash address that the MMU maps at `addr`, rounded down to its page of 64 KB; -1 when it maps none there. */
export function mappedFlash(chip: number, addr: number): number {
  const classic = chip === Esp32.ESP_CHIP_ID;
  const s3 = chip === Esp32s3.ESP_CHIP_ID;
  const index =
    (addr & (classic ? Esp32.SOC_MMU_VADDR_MASK : s3 ? Esp32s3.SOC_MMU_VADDR_MASK : Esp32c3.SOC_MMU_VADDR_MASK)) >>> 16;
  const entry = peek32((classic ? Esp32.DPORT_PRO_FLASH_MMU_TABLE : Esp32c3.DR_REG_MMU_TABLE) + 4 * index, 1);
  // the ESP32's masks are the C3's
  return entry & (s3 ? Esp32s3.SOC_MMU_INVALID | Esp32s3.SOC_MMU_ACCESS_SPIRAM : Esp32c3.SOC_MMU_INVALID)
    ? -1
    : (entry & (s3 ? Esp32s3.SOC_MMU_VALID_VAL_MASK : Esp32c3.SOC_MMU_VALID_VAL_MASK)) * 0x10000;
}

/** Why the chip was reset: soc_reset_reason_t. */
export function resetReason(): number {
  const register = chipId() === Esp32.ESP_CHIP_ID ? Esp32.RTC_CNTL_RESET_STATE_REG : Esp32c3.RTC_CNTL_RESET_STATE_REG;
  return peek32(register, 1) & Esp32.RTC_CNTL_RESET_CAUSE_PROCPU;
}

/** IDF's own esp_ota_mark_app_valid_cancel_rollback, where this Espruino has it. It does not report success. */
export function markValidNatively(): void {
  if (ESP32.setOTAValid) ESP32.setOTAValid(true);
}

/** Restarts the device at once. `esp_restart` */
export function restart(): void {
  ESP32.reboot();
}
