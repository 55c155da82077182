// A virtual ESP32: a board's flash, the bootloader that starts a slot of it, and Espruino running in that slot with
// the built bundle as its module. One fresh context per boot; only flash and Storage survive.

import { readFileSync } from "node:fs";
import { type Board, loadBoard } from "./boards.ts";
import { type Boot, type BootloaderKind, BOOTLOADERS, type Chip, CHIPS, runBootloader } from "./bootloader.ts";
import { createEngine, type Engine, type EngineOptions, type Mapping } from "./espruino/engine.ts";
import { createFlash, type Faults, type Flash, type Picture } from "./flash.ts";
import { buildImage } from "./images.ts";
import { buildTable, findOtadata, type Row, slots, TABLE_OFFSET } from "./partitions.ts";

export const BUNDLE = new URL("../build/https-ota.min.js", import.meta.url);

export type DeviceOptions = {
  board?: string | Board;
  /** What lies in which slot at first, by label. Default: an image in the first slot of the table. */
  images?: Record<string, Uint8Array>;
  /** A whole flash instead: a dump or a picture; `images` are not loaded then. */
  flash?: Uint8Array | Picture;
  faults?: Faults;
  bootloader?: BootloaderKind;
  /** Chip revision, major * 100 + minor, 0 to 3 for major (classic ESP32). */
  revision?: number;
  /** Sets FLASH_CRYPT_CNT in the classic ESP32's eFuse. */
  encrypted?: boolean;
  bundle?: string;
  engine?: Partial<EngineOptions>;
};

export interface Device {
  readonly board: Board;
  readonly flash: Flash;
  readonly storage: Map<string, Uint8Array>;
  /** of the last boot */
  readonly boots: Boot[];
  readonly engine: Engine;
  /** The module, required in the running context. */
  readonly ota: any;
  /** Label of the running slot. */
  readonly running: string;
  /** Has the program asked for a restart since the last boot? */
  readonly rebootAsked: boolean;
  /** Starts the bootloader and, when it finds an image, Espruino. Throws when nothing boots. */
  boot(): Device;
  /** What ESP32.reboot leads to: everything but flash and Storage is gone. */
  restart(): Device;
  /** The same after a loss of power, at whatever moment. */
  powerCycle(): Device;
  /** Everything ends; the flash stays as it is. */
  stop(): void;
  dump(): Uint8Array;
  row(label: string): Row;
  /** The bytes of a slot, or its first `length`. */
  slot(label: string, length?: number): Uint8Array;
  otadata(): { address: number; bytes: Uint8Array };
}

/** The registers that the module reads: eFuses of the classic ESP32, and the entries of the MMU that map the running image. */
export function registersOf(
  boot: Boot,
  chip: Chip,
  revision = chip.revision,
  encrypted = false,
): Record<number, number> {
  const registers: Record<number, number> = {};
  const classic = chip.chipId === 0;
  const s3 = chip.chipId === 9;
  if (classic) {
    const major = Math.floor(revision / 100);
    registers[0x3ff5a000] = encrypted ? 1 << 20 : 0; // FLASH_CRYPT_CNT
    registers[0x3ff5a00c] = major >= 1 ? 1 << 15 : 0; // CHIP_VER_REV1
    registers[0x3ff5a014] = (major >= 2 ? 1 << 20 : 0) | ((revision % 100) << 24); // CHIP_VER_REV2, WAFER_VERSION_MINOR
    registers[0x3ff6607c] = major >= 3 ? 0x80000000 : 0; // APB_CTRL_DATE
  }
  // one entry for each 64 KB: classic from 0x3f400000 on (DPORT), C3 and S3 for both buses (IDF soc/ext_mem_defs.h)
  const table = classic ? 0x3ff10000 : 0x600c5000;
  const count = classic ? 64 : s3 ? 512 : 128;
  for (let i = 0; i < count; i++) registers[table + 4 * i] = s3 ? 0x4000 : 0x100;
  for (const { addr, length, flash } of mappedSegments(boot, chip))
    if (!classic || addr < 0x3f800000)
      for (let page = addr >>> 16; page <= (addr + length - 1) >>> 16; page++)
        registers[table + 4 * (page % count)] = (flash >>> 16) + page - (addr >>> 16);
  return registers;
}

/** The running image's segments that are mapped from flash: where in memory, and where in flash. */
export function mappedSegments(boot: Boot, chip: Chip): { addr: number; length: number; flash: number }[] {
  return (boot.image?.segments ?? [])
    .filter((segment) => chip.mapped.some(([low, high]) => segment.loadAddr >= low && segment.loadAddr < high))
    .map((segment) => ({
      addr: segment.loadAddr,
      length: segment.length,
      flash: (boot.slot as Row).offset + segment.offset,
    }));
}

export function createDevice(options: DeviceOptions = {}): Device {
  const board = typeof options.board === "object" ? options.board : loadBoard(options.board ?? "esp32");
  const chip = CHIPS.find((one) => one.chipId === board.chipId);
  if (!chip) throw new Error(`no model of chip id ${board.chipId}`);
  const flash = createFlash({ size: board.flashSize, from: options.flash });
  const bundle = options.bundle ?? readFileSync(BUNDLE, "utf8");
  const revision = options.revision ?? chip.revision;
  const storage = new Map<string, Uint8Array>();
  const row = (label: string) => {
    const found = board.rows.find((one) => one.label === label);
    if (!found) throw new Error(`board ${board.name} has no partition ${label}`);
    return found;
  };

  if (!options.flash) {
    flash.load(buildTable(board.rows), TABLE_OFFSET);
    const all = slots(board.rows);
    const first = all.find((one) => one.subtype === 0) ?? all[0];
    const images = options.images ?? { [first.label]: buildImage({ chip: board.chip as never, size: 60000, seed: 1 }) };
    for (const [label, image] of Object.entries(images)) flash.load(image, row(label).offset);
  }
  flash.faults = options.faults ?? {};

  let engine: Engine | null = null;
  let ota: unknown;
  let rebootAsked = false;
  const boots: Boot[] = [];

  const device: Device = {
    board,
    flash,
    storage,
    boots,
    get engine() {
      if (!engine) throw new Error("the device is off");
      return engine;
    },
    get ota() {
      ota ??= device.engine.require("https-ota");
      return ota;
    },
    get running() {
      return (boots.at(-1)?.slot as Row).label;
    },
    get rebootAsked() {
      return rebootAsked;
    },
    boot() {
      device.stop();
      const boot = runBootloader(flash, {
        chipId: board.chipId,
        revision,
        kind: options.bootloader ?? BOOTLOADERS.current,
      });
      boots.push(boot);
      if (!boot.slot) throw new Error(`nothing boots:\n${boot.log.join("\n")}`);
      rebootAsked = false;
      ota = undefined;
      engine = createEngine({
        flash,
        board: board.espruinoBoard,
        mappings: mappedSegments(boot, chip).map(
          ({ addr, length, flash: at }): Mapping => ({ addr, length, read: (offset, n) => flash.peek(at + offset, n) }),
        ),
        registers: registersOf(boot, chip, revision, options.encrypted),
        storage,
        onReboot() {
          rebootAsked = true;
        },
        ...options.engine,
      });
      engine.addModule("https-ota", bundle);
      return device;
    },
    restart: () => device.boot(),
    powerCycle: () => device.boot(),
    stop() {
      engine?.stop();
      engine = null;
    },
    dump: () => flash.dump(),
    row,
    slot: (label, length) => flash.peek(row(label).offset, length ?? row(label).size),
    otadata() {
      const found = findOtadata(board.rows);
      if (!found) throw new Error(`board ${board.name} has no otadata`);
      return { address: found.offset, bytes: flash.peek(found.offset, found.size) };
    },
  };
  return device;
}
