// The chips that Espruino has builds for: their ids, what the flash MMU maps, the registers that the module reads, and
// the RAM that a bootloader loads. Pure. It is the only table of these numbers, for the module and for the command on
// the host.
// Source: docs/formats.md#chips, #segments and #registers-of-the-chips. Names are IDF's, read in v5.5 (headers of
// soc/<chip>: soc.h; ext_mem_defs.h for SOC_MMU_...; others are named below; esp_chip_id_t in esp_app_format.h).
// Enums, because the compiler puts their numbers where they are used: they take no variable.

export const enum Esp32 {
  ESP_CHIP_ID = 0x00,
  SOC_DROM_LOW = 0x3f400000,
  SOC_DROM_HIGH = 0x3f800000,
  SOC_IROM_LOW = 0x400d0000,
  SOC_IROM_HIGH = 0x40400000,
  /** dport_reg.h: an entry for each page of 64 KB; the first is for SOC_DROM_LOW */
  DPORT_PRO_FLASH_MMU_TABLE = 0x3ff10000,
  SOC_MMU_VADDR_MASK = 0x3fffff,
  /** rtc_cntl_reg.h */
  RTC_CNTL_RESET_STATE_REG = 0x3ff48034,
  /** its bits 0 to 5, on the other chips too: soc_reset_reason_t (reset_reasons.h) */
  RTC_CNTL_RESET_CAUSE_PROCPU = 0x3f,
  SOC_MMU_INVALID = 0x100,
  /** IDF has no name for it */
  SOC_MMU_VALID_VAL_MASK = 0xff,
  /** efuse_reg.h, up to EFUSE_RD_WAFER_VERSION_MINOR_V. _S: lowest bit of a field; _V: its mask after the shift */
  EFUSE_BLK0_RDATA0_REG = 0x3ff5a000,
  EFUSE_RD_FLASH_CRYPT_CNT_S = 20,
  EFUSE_RD_FLASH_CRYPT_CNT_V = 0x7f,
  EFUSE_BLK0_RDATA3_REG = 0x3ff5a00c,
  EFUSE_RD_CHIP_VER_REV1 = 0x8000,
  EFUSE_BLK0_RDATA5_REG = 0x3ff5a014,
  EFUSE_RD_CHIP_VER_REV2 = 0x100000,
  EFUSE_RD_WAFER_VERSION_MINOR_S = 24,
  EFUSE_RD_WAFER_VERSION_MINOR_V = 3,
  /** apb_ctrl_reg.h; SYSCON_DATE_REG in syscon_reg.h is the same */
  APB_CTRL_DATE_REG = 0x3ff6607c,
  /** IDF has no name for it (efuse_hal.c, eco_bit2): set from major revision 3 on */
  APB_CTRL_DATE_ECO_BIT2_S = 31,
}

/** The MMU table has one entry for each page, which data and code share. The S3 has the same addresses. */
export const enum Esp32c3 {
  ESP_CHIP_ID = 0x05,
  SOC_DROM_LOW = 0x3c000000,
  SOC_IROM_LOW = 0x42000000,
  SOC_MMU_ENTRY_NUM = 0x80,
  /** reg_base.h */
  DR_REG_MMU_TABLE = 0x600c5000,
  RTC_CNTL_RESET_STATE_REG = 0x60008038,
  SOC_MMU_VADDR_MASK = 0x7fffff,
  SOC_MMU_INVALID = 0x100,
  SOC_MMU_VALID_VAL_MASK = 0xff,
}

/** What differs from the C3. */
export const enum Esp32s3 {
  ESP_CHIP_ID = 0x09,
  SOC_MMU_ENTRY_NUM = 0x200,
  SOC_MMU_VADDR_MASK = 0x1ffffff,
  SOC_MMU_INVALID = 0x4000,
  SOC_MMU_ACCESS_SPIRAM = 0x8000,
  SOC_MMU_VALID_VAL_MASK = 0x3fff,
}

/** CONFIG_IDF_TARGET by `esp_chip_id_t`. */
export const CHIP_NAMES: { [chipId: number]: string } = { 0: "esp32", 5: "esp32c3", 9: "esp32s3" };

/** RAM that every bootloader of IDF 3.1 to 5.5 can load: pairs of the first address and the first one behind the range. */
export function loadableRam(chipId: number): number[] {
  // IDF soc.h of each chip, without what its bootloader occupies while it loads: stack, data, loader code
  // (bootloader.ld, process_segment in esp_image_format.c), and on the ESP32 without the ROM's data below 0x3ffb0000
  // (memory_layout.c)
  if (!chipId)
    return [
      // of SOC_DRAM, SOC_IRAM, SOC_RTC_IRAM, SOC_RTC_DRAM, SOC_RTC_DATA
      0x3ffb0000, 0x3ffdb000, 0x40080000, 0x400a0000, 0x400c0000, 0x400c2000, 0x3ff80000, 0x3ff82000, 0x50000000,
      0x50002000,
    ];
  // of SOC_DIRAM_DRAM, SOC_DIRAM_IRAM, SOC_RTC_DATA
  if (chipId === Esp32c3.ESP_CHIP_ID) return [0x3fc80000, 0x3fcce710, 0x40380000, 0x403ce710, 0x50000000, 0x50002000];
  // of SOC_DRAM, SOC_IRAM, SOC_RTC_DRAM, SOC_RTC_DATA
  return [0x3fc88000, 0x3fcca000, 0x40374000, 0x403ba000, 0x600fe000, 0x60100000, 0x50000000, 0x50002000];
}

/** Is a segment for `addr` mapped from flash, and not loaded into RAM? All of these chips have MMU pages of 64 KB. */
export function isMapped(chipId: number, addr: number): boolean {
  const page = addr >>> 16;
  if (!chipId)
    return (
      (page >= Esp32.SOC_DROM_LOW >>> 16 && page < Esp32.SOC_DROM_HIGH >>> 16) ||
      (page >= Esp32.SOC_IROM_LOW >>> 16 && page < Esp32.SOC_IROM_HIGH >>> 16)
    );
  const pages = chipId === Esp32s3.ESP_CHIP_ID ? Esp32s3.SOC_MMU_ENTRY_NUM : Esp32c3.SOC_MMU_ENTRY_NUM;
  return (
    (page >= Esp32c3.SOC_DROM_LOW >>> 16 && page < (Esp32c3.SOC_DROM_LOW >>> 16) + pages) ||
    (page >= Esp32c3.SOC_IROM_LOW >>> 16 && page < (Esp32c3.SOC_IROM_LOW >>> 16) + pages)
  );
}

/**
 * Can a bootloader load, map or skip a segment at `addr`? It skips segments below 0x10000000 (should_load). At other
 * addresses it refuses the image or crashes, at every start and without a fallback. Bootloaders of IDF 3 and 4.0 crash at
 * addresses without RAM. All of them crash at an odd address in instruction RAM, which takes only whole words (IDF
 * memory-types.rst).
 */
export function isLoadable(chipId: number, addr: number, length: number): boolean {
  if (addr < 0x10000000 || isMapped(chipId, addr)) return true;
  const ram = loadableRam(chipId);
  // before IDF 4.3.2 a segment must end below the end of its RAM
  for (let i = 0; i < ram.length; i += 2) if (addr >= ram[i] && addr + length < ram[i + 1]) return addr % 4 === 0;
  return false;
}
