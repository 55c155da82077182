// A virtual ESP32: a board's flash, the bootloader that starts a slot of it, and Espruino running in that slot with
// the built bundle as its module. One fresh context per boot; only flash and Storage survive.

import { readFileSync } from "node:fs";
import { type Board, loadBoard } from "./boards.ts";
import { type Boot, type BootloaderKind, BOOTLOADERS, type Chip, CHIPS, runBootloader } from "./bootloader.ts";
import { linuxArea } from "./espruino/area.ts";
import { areaOf, type Build, buildOf, type SizedChip } from "./espruino/build.ts";
import { createEngine, type Engine, type EngineOptions, type Mapping } from "./espruino/engine.ts";
import { createFiles } from "./espruino/files.ts";
import { saveState } from "./espruino/saved.ts";
import { type StorageView, viewOf } from "./espruino/view.ts";
import { createFlash, type Faults, type Flash, type Snapshot, SECTOR } from "./flash.ts";
import { buildImage } from "../support/images.ts";
import { buildTable, checkTable, findOtadata, type Row, slots, TABLE_OFFSET, TABLE_SIZE } from "./partitions.ts";

export const BUNDLE = new URL("../../build/https-ota.min.js", import.meta.url);

export type DeviceOptions = {
  board?: string | Board;
  /** What lies in which slot at first, by label. Default: an image in the first slot of the table. */
  images?: Record<string, Uint8Array>;
  /** A whole flash instead: a dump or a snapshot; `images` are not loaded then. */
  flash?: Uint8Array | Snapshot;
  faults?: Faults;
  bootloader?: BootloaderKind;
  /** Chip revision, major * 100 + minor, 0 to 3 for major (classic ESP32). */
  revision?: number;
  /** Sets FLASH_CRYPT_CNT in the classic ESP32's eFuse. */
  encrypted?: boolean;
  bundle?: string;
  engine?: Partial<EngineOptions>;
  /** Run `.boot0` and the others at each start, and find the module in Storage, unless `bundle` is given. */
  bootCode?: boolean;
};

export interface Device {
  readonly board: Board;
  readonly flash: Flash;
  readonly storage: StorageView;
  /** of the last boot */
  readonly boots: Boot[];
  readonly engine: Engine;
  /** The module, required in the running context. */
  readonly ota: any;
  /** What the running image says of the Espruino in it. */
  readonly build: Build;
  /** As if `program` had called save() in the build of that commit; default: in the one that runs. */
  save(program: string, gitCommit?: string): void;
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

/**
 * The registers that the module reads: eFuses of the classic ESP32, the reason of the reset, and the entries of the MMU that
 * map the running image. `restarted`: by software, and not by the power.
 */
export function registersOf(
  boot: Boot,
  chip: Chip,
  { revision = chip.revision, encrypted = false, restarted = false } = {},
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
  // RTC_CNTL_RESET_STATE_REG: cause of the CPU in bits 0 to 5, of the second one in bits 6 to 11 (CPU0_SW, CORE_SW)
  const cause = restarted ? (classic ? 12 : 3) : 1;
  registers[classic ? 0x3ff48034 : 0x60008038] = 0x3000 | (14 << 6) | cause;
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

const imageIn = (flash: Flash, { slot, image }: Boot): Uint8Array =>
  slot && image ? flash.peek(slot.offset, image.length) : new Uint8Array(0);

/** The Espruino that `boot` has started. */
export const buildIn = (flash: Flash, boot: Boot): Build => buildOf(imageIn(flash, boot));

/** The table that is in flash, where it is one. */
function tableOf(flash: Flash, board: Board): readonly Row[] {
  const table = checkTable(flash.peek(TABLE_OFFSET, TABLE_SIZE), flash.size);
  return "rows" in table ? table.rows : board.rows;
}

/** Storage's flash for the engine: what it does is logged and can be cut. */
export const programChip = (flash: Flash): SizedChip => ({
  size: flash.size,
  peek: flash.peek,
  clearBits: flash.clearBits,
  erase: flash.erase,
});

/** Storage's flash for what a test does by hand: no operations, no counts. */
export function hostChip(flash: Flash): SizedChip {
  return {
    size: flash.size,
    peek: flash.peek,
    clearBits: (addr, bytes) =>
      flash.load(
        flash.peek(addr, bytes.length).map((byte, i) => byte & bytes[i]),
        addr,
      ),
    erase: (addr) => flash.load(new Uint8Array(SECTOR).fill(0xff), addr - (addr % SECTOR)),
  };
}

export type Start = {
  flash: Flash;
  board: Board;
  chip: Chip;
  /** What the bootloader has started. */
  boot: Boot;
  build: Build;
  bundle: string;
  revision?: number;
  encrypted?: boolean;
  /** by software, and not by the power */
  restarted?: boolean;
  engine: Pick<EngineOptions, "storage" | "onReboot"> & Partial<EngineOptions>;
};

/** Espruino in the slot that the bootloader has started, with the built bundle as its module. */
export function startEspruino({
  flash,
  board,
  chip,
  boot,
  build,
  bundle,
  revision,
  encrypted,
  restarted,
  engine: more,
}: Start): Engine {
  const engine = createEngine({
    flash,
    board: board.espruinoBoard,
    mappings: mappedSegments(boot, chip).map(
      ({ addr, length, flash: at }): Mapping => ({ addr, length, read: (offset, n) => flash.peek(at + offset, n) }),
    ),
    registers: registersOf(boot, chip, { revision, encrypted, restarted }),
    version: build.version,
    gitCommit: build.gitCommit,
    ...more,
  });
  if (bundle) engine.addModule("https-ota", bundle);
  return engine;
}

function chipOf(chipId: number): Chip {
  const chip = CHIPS.find((one) => one.chipId === chipId);
  if (!chip) throw new Error(`no model of chip id ${chipId}`);
  return chip;
}

export function createDevice(options: DeviceOptions = {}): Device {
  const board = typeof options.board === "object" ? options.board : loadBoard(options.board ?? "esp32");
  const chip = chipOf(board.chipId);
  const flash = createFlash({ size: board.flashSize, from: options.flash });
  const bundle = options.bundle ?? readFileSync(BUNDLE, "utf8");
  const revision = options.revision ?? chip.revision;
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

  let build: Build | undefined;
  const ofProgram = programChip(flash);
  const ofHost = hostChip(flash);
  const spare = linuxArea(undefined, SECTOR);
  const bootloader = { chipId: board.chipId, revision, kind: options.bootloader ?? BOOTLOADERS.current };

  /** Before the first start it is the build that would start. */
  function buildNow(): Build {
    build ??= buildIn(flash, runBootloader(createFlash({ from: flash.snapshot() }), bootloader));
    return build;
  }
  const areaOn = (chip: SizedChip) => areaOf(chip, tableOf(flash, board), buildNow()) ?? spare;
  const storage = viewOf(() => createFiles(areaOn(ofHost)));
  let engine: Engine | null = null;
  let ota: unknown;
  let rebootAsked = false;
  const boots: Boot[] = [];

  function start(restarted: boolean): Device {
    device.stop();
    const boot = runBootloader(flash, bootloader);
    boots.push(boot);
    if (!boot.slot) throw new Error(`nothing boots:\n${boot.log.join("\n")}`);
    rebootAsked = false;
    ota = undefined;
    build = buildIn(flash, boot);
    engine = startEspruino({
      flash,
      board,
      chip,
      boot,
      build,
      bundle: options.bootCode && !options.bundle ? "" : bundle,
      revision,
      encrypted: options.encrypted,
      restarted,
      engine: {
        storage: areaOn(ofProgram),
        onStorageWrite: (name) => storage.onWrite?.(name),
        onReboot() {
          rebootAsked = true;
        },
        ...options.engine,
      },
    });
    if (options.bootCode) engine.runBootCode();
    return device;
  }

  const device: Device = {
    board,
    flash,
    storage,
    get build() {
      return buildNow();
    },
    save: (program, gitCommit) => saveState(storage.files, program, gitCommit ?? buildNow().gitCommit),
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
    boot: () => start(false),
    restart: () => start(true),
    powerCycle: () => start(false),
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
