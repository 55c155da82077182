// What an image says about the chip it is for. Source: docs/formats.md#chips (IDF esp_app_format.h, soc.h,
// ext_mem_defs.h; bootloader offsets from esptool). RAM as src/image/image.ts has it: a test compares the two.

export interface Chip {
  id: number;
  /** IDF target name */
  name: string;
  bootloaderOffset: number;
  /** Addresses at which segments are mapped from flash instead of loaded; none where they are not known. */
  mapped: readonly (readonly [low: number, high: number])[];
  /**
   * RAM that every bootloader of ESP-IDF 3.1 to 5.5 can load: that of IDF's soc.h less what a bootloader occupies while
   * it loads (bootloader.ld; process_segment in esp_image_format.c). For the chips that devices know.
   */
  ram?: readonly (readonly [low: number, high: number])[];
  /** The size of an MMU page is the image's choice, and its app descriptor says which (docs/formats.md#chips). */
  choosesPage?: boolean;
}

const UNIFIED = [[0x42000000, 0x44000000]] as const;
const C6_H2 = [[0x42000000, 0x43000000]] as const; // page size << 8, with the largest page

export const CHIPS: readonly Chip[] = [
  {
    id: 0x00,
    name: "esp32",
    bootloaderOffset: 0x1000,
    mapped: [
      [0x3f400000, 0x3f800000],
      [0x400d0000, 0x40400000],
    ],
    ram: [
      [0x3ffb0000, 0x3ffdb000],
      [0x40080000, 0x400a0000],
      [0x400c0000, 0x400c2000],
      [0x3ff80000, 0x3ff82000],
      [0x50000000, 0x50002000],
    ],
  },
  {
    id: 0x02,
    name: "esp32s2",
    bootloaderOffset: 0x1000,
    mapped: [
      [0x3f000000, 0x3ff80000],
      [0x40080000, 0x40800000],
    ],
  },
  {
    id: 0x05,
    name: "esp32c3",
    bootloaderOffset: 0,
    mapped: [
      [0x3c000000, 0x3c800000],
      [0x42000000, 0x42800000],
    ],
    ram: [
      [0x3fc80000, 0x3fcce710],
      [0x40380000, 0x403ce710],
      [0x50000000, 0x50002000],
    ],
  },
  {
    id: 0x09,
    name: "esp32s3",
    bootloaderOffset: 0,
    mapped: [
      [0x3c000000, 0x3e000000],
      [0x42000000, 0x44000000],
    ],
    ram: [
      [0x3fc88000, 0x3fcca000],
      [0x40374000, 0x403ba000],
      [0x600fe000, 0x60100000],
      [0x50000000, 0x50002000],
    ],
  },
  {
    id: 0x0c,
    name: "esp32c2",
    bootloaderOffset: 0,
    mapped: [
      [0x3c000000, 0x3c400000],
      [0x42000000, 0x42400000],
    ],
    choosesPage: true,
  },
  { id: 0x0d, name: "esp32c6", bootloaderOffset: 0, mapped: C6_H2, choosesPage: true },
  { id: 0x10, name: "esp32h2", bootloaderOffset: 0, mapped: C6_H2, choosesPage: true },
  {
    id: 0x12,
    name: "esp32p4",
    bootloaderOffset: 0x2000,
    mapped: [
      [0x40000000, 0x44000000],
      [0x48000000, 0x4c000000],
    ],
  },
  { id: 0x14, name: "esp32c61", bootloaderOffset: 0, mapped: UNIFIED, choosesPage: true },
  { id: 0x17, name: "esp32c5", bootloaderOffset: 0x2000, mapped: UNIFIED },
  { id: 0x19, name: "esp32h21", bootloaderOffset: 0, mapped: [], choosesPage: true },
  { id: 0x1c, name: "esp32h4", bootloaderOffset: 0x2000, mapped: [], choosesPage: true },
  { id: 0x20, name: "esp32s31", bootloaderOffset: 0x2000, mapped: [], choosesPage: true },
];

/** Those for which Espruino has builds; the module on the device knows no other (src/image/image.ts). */
export const DEVICE_CHIPS: readonly string[] = ["esp32", "esp32c3", "esp32s3"];

export function chipById(id: number): Chip | undefined {
  return CHIPS.find((chip) => chip.id === id);
}

export function isMapped(chip: Chip, addr: number): boolean {
  return chip.mapped.some(([low, high]) => addr >= low && addr < high);
}

/** Below this address a segment is padding: it is neither mapped nor loaded (IDF should_load). */
const LOWEST_LOADED = 0x10000000;

/**
 * Can every bootloader map or load `length` bytes at `addr`? Some refuse the image otherwise, those of ESP-IDF 3 die in
 * it at every start. Where the chip's RAM is not known: yes.
 */
export function isLoadable(chip: Chip, addr: number, length: number): boolean {
  if (!chip.ram || addr < LOWEST_LOADED || isMapped(chip, addr)) return true;
  // words are stored; before IDF 4.3.2 a segment had to end below the end of its RAM
  return addr % 4 === 0 && chip.ram.some(([low, high]) => addr >= low && addr + length < high);
}
