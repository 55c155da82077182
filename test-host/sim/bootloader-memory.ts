// Where a bootloader lets a segment be loaded, and where loading one kills it. Source: ESP-IDF, esp_image_format.c
// (verify_load_addresses, process_segment), soc.h of each chip, its linker scripts; the releases stand beside each number.
//
// Taken from one published bootloader each, because they differ by build: how long its data and its loader's code are.
// The depth of the stack is that of IDF 3.3.6 on an ESP32 (0x320 bytes below its begin), for every chip.
// Not modelled: the memory that 5.1 and later allow an ESP32 in addition (0x400A0000 to 0x400AA000 and its mirror image);
// bootloaders for one core, which let code into 0x40078000; the skipped RTC memory of a wake from deep sleep.

export type Range = readonly [low: number, high: number];

/** How a bootloader looks at load addresses: only for its own stack and code; for everything, with a wrong SOC_DRAM_LOW; for everything. */
export type AddressCheck = "stack" | "typo" | "all";

export type Memory = {
  /** SOC_DRAM_LOW and _HIGH, SOC_IRAM_LOW and _HIGH, and the RTC memories: where the check lets a segment be. */
  dram: Range;
  iram: Range;
  rtc: readonly Range[];
  /** The part of DRAM that is seen on the instruction bus too (SOC_DIRAM_*), there possibly from its end backwards. */
  shared: { dram: Range; iram: Range; inverted: boolean };
  /** Not to be loaded over: stack (sp - STACK_LOAD_HEADROOM to where it begins), _dram_*, _loader_text_*. */
  sp: number;
  stack: Range;
  data: Range;
  loader: Range;
  /** end < high instead of end <= high: before 4.3.2 the check asked whether the end, too, is inside. */
  exclusiveEnd?: boolean;
  /** What there is, whatever the check thinks; a store outside of it is an exception. */
  ram: readonly Range[];
  /** RAM without which the bootloader cannot go on, and which its check does not see. */
  vital: readonly Range[];
};

const HEADROOM = 32768; // STACK_LOAD_HEADROOM
const DEPTH = 0x320;

const stackOf = (begin: number) => ({ sp: begin - DEPTH, stack: [begin - DEPTH - HEADROOM, begin] as const });

// soc/esp32 v4.4.8; esp32/bootloader.ld; heap/port/esp32/memory_layout.c: rom_data, where g_rom_flashchip is.
const ESP32: Memory = {
  dram: [0x3ffae000, 0x40000000],
  iram: [0x40080000, 0x400a0000],
  rtc: [
    [0x400c0000, 0x400c2000],
    [0x3ff80000, 0x3ff82000],
    [0x50000000, 0x50002000],
  ],
  shared: { dram: [0x3ffe0000, 0x40000000], iram: [0x400a0000, 0x400c0000], inverted: true },
  ...stackOf(0x3ffe3f20), // SOC_ROM_STACK_START
  data: [0x3fff0000, 0x3fff0bc4],
  loader: [0x40078000, 0x4007a9cc],
  ram: [
    [0x3ffae000, 0x40000000],
    [0x40078000, 0x400c0000],
    [0x400c0000, 0x400c2000],
    [0x3ff80000, 0x3ff82000],
    [0x50000000, 0x50002000],
  ],
  vital: [
    [0x3ffae000, 0x3ffae6e0],
    // data and stack, seen on the instruction bus
    [0x400af43c, 0x400b0000],
    [0x400bc0e0, 0x400c0000],
  ],
};

// soc/esp32 v3.3.6: a digit of SOC_DRAM_LOW is lost, so that the check lets 1.3 MB pass where there is no memory.
const ESP32_IDF33: Memory = {
  ...ESP32,
  dram: [0x3fae0000, 0x40000000],
  shared: { dram: [0x3ffe0000, 0x3ffffffc], iram: [0x400a0000, 0x400bfffc], inverted: false },
  exclusiveEnd: true,
};

// soc/esp32c3 and esp32c3/bootloader.ld v4.4.8, the same in 5.5.5; the cache is 0x4037C000 to 0x40380000 (memory.ld.in).
const ESP32C3: Memory = {
  dram: [0x3fc80000, 0x3fce0000],
  iram: [0x4037c000, 0x403e0000],
  rtc: [[0x50000000, 0x50002000]],
  shared: { dram: [0x3fc80000, 0x3fce0000], iram: [0x40380000, 0x403e0000], inverted: false },
  ...stackOf(0x3fcde710),
  data: [0x3fcd5710, 0x3fcd5c48],
  loader: [0x403ce710, 0x403d0d34],
  ram: [
    [0x3fc80000, 0x3fce0000],
    [0x40380000, 0x403e0000],
    [0x50000000, 0x50002000],
  ],
  vital: [
    [0x3fcde710, 0x3fce0000],
    [0x403de710, 0x403e0000],
  ],
};

// soc/esp32s3 and esp32s3/bootloader.ld v4.4.8 (5.3 and later begin 4 KB lower, 4.4.1 and older at 0x403BA000);
// caches: 0x40370000 to 0x40374000, and all of DRAM from 0x3FCF0000 on.
const ESP32S3: Memory = {
  dram: [0x3fc88000, 0x3fd00000],
  iram: [0x40370000, 0x403e0000],
  rtc: [
    [0x600fe000, 0x60100000],
    [0x50000000, 0x50002000],
  ],
  shared: { dram: [0x3fc88000, 0x3fcf0000], iram: [0x40378000, 0x403e0000], inverted: false },
  ...stackOf(0x3fceb710),
  data: [0x3fce3700, 0x3fce4e44],
  loader: [0x403cc700, 0x403cf71c],
  ram: [
    [0x3fc88000, 0x3fcf0000],
    [0x40374000, 0x403e0000],
    [0x600fe000, 0x60100000],
    [0x50000000, 0x50002000],
  ],
  vital: [
    [0x3fced710, 0x3fcf0000],
    [0x403dd710, 0x403e0000],
  ],
};

const MEMORIES: Readonly<Record<string, Memory>> = { esp32: ESP32, esp32c3: ESP32C3, esp32s3: ESP32S3 };

/** undefined: a chip whose load addresses this model does not look at. */
export function memoryOf(chip: string, check: AddressCheck): Memory | undefined {
  return chip === "esp32" && check === "typo" ? ESP32_IDF33 : MEMORIES[chip];
}

const hex8 = (n: number) => `0x${(n >>> 0).toString(16).padStart(8, "0")}`;
const inside = (at: number, [low, high]: Range) => at >= low && at < high;
const overlap = ([low, high]: Range, start: number, end: number) => end > low && start < high;

/** "assert": the bootloader stops at one of its own assertions, and resets. */
export type Objection = { refused: string } | "assert" | null;

/**
 * What the bootloader objects to before it loads `length` bytes to `loadAddr`. Addresses are signed in its C code
 * (intptr_t), so those from 0x80000000 on are below all others.
 */
export function objectionTo(
  index: number,
  loadAddr: number,
  length: number,
  memory: Memory,
  check: AddressCheck,
): Objection {
  const start = loadAddr | 0;
  const end = (loadAddr + length) | 0;
  // no other chip has a bootloader of that age
  if (check === "stack" && memory === ESP32) return stackObjection(index, start, end, memory);
  if (length === 0) return null;
  if (end <= start) return "assert"; // assert(load_end > load_addr)
  return rangeObjection(index, start, end, memory, true);
}

/** process_segment of IDF 3.1 to 3.3.5 and 4.0: the stack below SOC_DIRAM_DRAM_HIGH, above it the loader's code. */
function stackObjection(index: number, start: number, end: number, { sp, loader }: Memory): Objection {
  if (end <= 0x3ffffffc) {
    const limit = sp - HEADROOM;
    if (end <= limit) return null;
    const stack = `bootloader stack ${hex8(sp)} limit ${hex8(limit)}`;
    return { refused: `Segment ${index} end address ${hex8(end)} too high (${stack})` };
  }
  if (!overlap(loader, start, end)) return null;
  const where = `${hex8(start)}-${hex8(end)}) overlaps bootloader IRAM (${hex8(loader[0])}-${hex8(loader[1])})`;
  return { refused: `Segment ${index} (${where}` };
}

/** verify_load_addresses of IDF 3.3.6 and 4.1 on. */
function rangeObjection(index: number, start: number, end: number, memory: Memory, first: boolean): Objection {
  const { dram, iram, rtc, shared, exclusiveEnd } = memory;
  const last = exclusiveEnd ? end : end - 1;
  const within = (range: Range) => inside(start, range) && inside(last, range);
  const invalid = (reason: string) => ({
    refused: `Segment ${index} ${hex8(start)}-${hex8(end)} invalid: ${reason}`,
  });
  /** Goes on with the same memory as the other bus sees it. */
  const mirrored = (from: Range, to: Range): Objection => {
    if (!first || !overlap(from, start, end)) return null;
    const map = (at: number) => (shared.inverted ? to[0] + (from[1] - at) - 4 : to[0] + (at - from[0]));
    const a = map(inside(start, from) ? start : from[0]);
    const b = map(inside(last, from) ? end : from[1]);
    return rangeObjection(index, Math.min(a, b), Math.max(a, b), memory, false);
  };

  if (within(dram)) {
    if (overlap(memory.stack, start, end)) return invalid("overlaps bootloader stack");
    if (overlap(memory.data, start, end)) return invalid("overlaps bootloader data");
    return mirrored(shared.dram, shared.iram);
  }
  if (within(iram)) {
    if (overlap(memory.loader, start, end)) return invalid("overlaps loader IRAM");
    return mirrored(shared.iram, shared.dram);
  }
  return rtc.some(within) ? null : invalid("bad load address range");
}

/**
 * The address at which loading kills the bootloader, or null: a store where there is no memory, over memory that it
 * needs, or not to a whole word on the instruction bus. That bus has no other access (IDF memory-types.rst: "can only be
 * read or written via 4-byte aligned words"; LoadStoreError in fatal-errors.rst), and no release looks for it.
 */
export function deadlyStore(loadAddr: number, length: number, memory: Memory): number | null {
  if (length === 0) return null;
  if (loadAddr % 4 !== 0 && !inside(loadAddr, memory.dram)) return loadAddr;
  const end = loadAddr + length;
  const home = memory.ram.find((range) => inside(loadAddr, range));
  if (!home) return loadAddr;
  const hit = memory.vital.find((range) => overlap(range, loadAddr, end));
  if (hit) return Math.max(hit[0], loadAddr);
  return end > home[1] ? home[1] : null;
}
