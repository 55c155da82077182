// What an image says about the chip it is for. Source: docs/formats.md#chips (IDF esp_app_format.h, soc.h,
// ext_mem_defs.h; bootloader offsets from esptool). The chips that the module runs on are in src/platform/soc.ts: here are
// the others, whose images the command can read and the module cannot run on.
import {
  CHIP_NAMES,
  Esp32,
  Esp32c3,
  Esp32s3,
  isLoadable as isLoadableOn,
  isMapped as isMappedOn,
} from "../../platform/soc.ts";

export interface Chip {
  id: number;
  /** IDF target name */
  name: string;
  bootloaderOffset: number;
  /** Addresses at which segments are mapped from flash instead of loaded; [] where they are not known. */
  mapped?: readonly (readonly [low: number, high: number])[];
  /** The size of an MMU page is the image's choice, and its app descriptor says which (docs/formats.md#chips). */
  choosesPage?: boolean;
}

const UNIFIED = [[0x42000000, 0x44000000]] as const;
const C6_H2 = [[0x42000000, 0x43000000]] as const; // page size << 8, with the largest page

export const CHIPS: readonly Chip[] = [
  { id: Esp32.ESP_CHIP_ID, name: CHIP_NAMES[Esp32.ESP_CHIP_ID], bootloaderOffset: 0x1000 },
  {
    id: 0x02,
    name: "esp32s2",
    bootloaderOffset: 0x1000,
    mapped: [
      [0x3f000000, 0x3ff80000],
      [0x40080000, 0x40800000],
    ],
  },
  { id: Esp32c3.ESP_CHIP_ID, name: CHIP_NAMES[Esp32c3.ESP_CHIP_ID], bootloaderOffset: 0 },
  { id: Esp32s3.ESP_CHIP_ID, name: CHIP_NAMES[Esp32s3.ESP_CHIP_ID], bootloaderOffset: 0 },
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

/** Those for which Espruino has builds; the module on the device knows no other. */
export const DEVICE_CHIPS: readonly string[] = Object.values(CHIP_NAMES);

export function isDeviceChip({ id }: Chip): boolean {
  return id in CHIP_NAMES;
}

export function chipById(id: number): Chip | undefined {
  return CHIPS.find((chip) => chip.id === id);
}

/** Is it known at which addresses this chip shows flash? */
export function knowsMapping({ mapped }: Chip): boolean {
  return mapped?.length !== 0;
}

export function isMapped({ id, mapped }: Chip, addr: number): boolean {
  return mapped ? mapped.some(([low, high]) => addr >= low && addr < high) : isMappedOn(id, addr);
}

/** Can every bootloader map or load `length` bytes at `addr`? Where the chip's RAM is not known: yes. */
export function isLoadable(chip: Chip, addr: number, length: number): boolean {
  return !isDeviceChip(chip) || isLoadableOn(chip.id, addr, length);
}
