// Valid ESP images, and the ways to spoil one. Format: docs/formats.md#image; order of segments as in real images
// (DROM with the app descriptor, DRAM, IRAM … ; here the flash-mapped IROM comes second).
//
// Every real bootloader starts them: what is loaded stays below ROOM bytes on each bus, however large the image is, so
// that it is RAM, and not the bootloader's own (bootloader-memory.ts); the rest is mapped.
//
// Sizes: any multiple of 16 from MIN_SIZE on (the checksum ends a 16-byte block, the hash has 32 bytes).
// For any other number of bytes use padTo(): trailing bytes are legal, the bootloader ignores them.
import { createHash } from "node:crypto";
import { CHIPS } from "../sim/bootloader.ts";
import { type Memory, memoryOf } from "../sim/bootloader-memory.ts";

export type Descriptor = {
  project?: string;
  version?: string;
  secureVersion?: number;
  time?: string;
  date?: string;
  idfVersion?: string;
  /** app_elf_sha256, which names a build; default: derived from seed, project and version. */
  elfSha256?: Uint8Array;
  minBlockRevision?: number;
  maxBlockRevision?: number;
  /** log2; 0: an old image, default page. */
  mmuPageSize?: number;
  /** 0 unknown, 1 QIO, 2 QOUT, 3 DIO, 4 DOUT, 5 OPI. */
  spiMode?: number;
};

/** What stands in an Espruino image as text, each behind a NUL and ended by one, as in the published builds. */
export type EspruinoTexts = {
  /** Through which partition the build reads its Storage; null: it does not say. */
  storage?: "storage" | "js_code" | null;
  version?: string;
  /** `process.env.BOARD`. */
  board?: string;
  /** `process.env.MODULES`. */
  libraries?: string;
  natives?: readonly string[];
};

/** The descriptor of every classic build since 2v22: that of the IDF project into which Espruino is linked. */
export const CLASSIC_DESCRIPTOR: Descriptor = {
  project: "espruino-esp32",
  version: "5240e60",
  time: "08:44:50",
  date: "Dec  9 2022",
  idfVersion: "v3.3.6",
  elfSha256: new Uint8Array(32),
  mmuPageSize: 0,
};

type Chip = "esp32" | "esp32s2" | "esp32c3" | "esp32s3" | "esp32c2" | "esp32c6";

export type ImageSpec = {
  chip?: Chip;
  /** Exact bytes including the appended hash, without `trailing`; a multiple of 16. Default 61008: fits 64 KB. */
  size?: number;
  /** false: as images of IDF 3.1, the first segment holds no descriptor. */
  descriptor?: false | Descriptor;
  seed?: number;
  hash?: boolean;
  minRevision?: number;
  maxRevision?: number;
  /** Header byte 14, all that IDF before 4.3.5, 4.4.5 and 5.0.1 reads of revisions: major ones on the ESP32. */
  minChipRev?: number;
  /** Texts as in an Espruino image, at the begin of the first segment, behind the descriptor. */
  espruino?: EspruinoTexts;
  /** 1 to 16; default 5. */
  segments?: number;
  /** Header byte 2: 0 QIO, 1 QOUT, 2 DIO, 3 DOUT. Default DIO. */
  spiMode?: number;
  trailing?: Uint8Array;
  /** This number of data bytes at the start of the first segment is the same for every seed, as images of one project are. */
  alikeBytes?: number;
};

export const MIN_SIZE = 1104;
const HEADER_SIZE = 24;
const HASH_SIZE = 32;
const DESCRIPTOR_SIZE = 256;
const CHECKSUM_SEED = 0xef;
/** The most bytes that are loaded on each bus: where both see the same memory, code then ends where data begins. */
const ROOM = 0x10000;

/** Where linkers put things: DROM, IROM (both 64 KB aligned), DRAM, IRAM, entry point. */
const ADDRESSES = {
  esp32: [0x3f400000, 0x400d0000, 0x3ffb0000, 0x40080000, 0x40081354],
  esp32s2: [0x3f000000, 0x40080000, 0x3ffc0000, 0x40024000, 0x40025340],
  esp32c3: [0x3c080000, 0x42000000, 0x3fc90000, 0x40380000, 0x403802ea],
  esp32s3: [0x3c0a0000, 0x42000000, 0x3fc98000, 0x40374000, 0x40375378],
  esp32c2: [0x3c120000, 0x42000000, 0x3fca8000, 0x40380000, 0x403802e0],
  esp32c6: [0x42100000, 0x42000000, 0x40810000, 0x40800000, 0x40800300],
};

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest();
const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Deterministic noise (xorshift32): the same seed gives the same bytes, a longer result begins with the shorter one. */
export function noise(seed: number, length: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  let x = (Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) | 1) >>> 0;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x;
  }
  return new Uint8Array(words.buffer, 0, length);
}

function buildDescriptor(descriptor: Descriptor, spec: ImageSpec): Uint8Array {
  const bytes = new Uint8Array(DESCRIPTOR_SIZE);
  const view = viewOf(bytes);
  const { project = "espruino", version = "1.0.0" } = descriptor;
  const put = (text: string, offset: number, room: number) =>
    bytes.set(Buffer.from(text, "latin1").subarray(0, room), offset);
  view.setUint32(0, 0xabcd5432, true);
  view.setUint32(4, descriptor.secureVersion ?? 0, true);
  put(version, 16, 32);
  put(project, 48, 32);
  put(descriptor.time ?? "12:00:00", 80, 16);
  put(descriptor.date ?? "Jan  1 2026", 96, 16);
  put(descriptor.idfVersion ?? "v4.4.8", 112, 32);
  bytes.set(descriptor.elfSha256 ?? sha256(Buffer.from(`${spec.seed ?? 1} ${project} ${version}`)), 144);
  view.setUint16(176, descriptor.minBlockRevision ?? 0, true);
  view.setUint16(178, descriptor.maxBlockRevision ?? 0, true);
  bytes[180] = descriptor.mmuPageSize ?? 16;
  bytes[181] = descriptor.spiMode ?? 0;
  return bytes;
}

const MAP_ERRORS = { js_code: "Couldn't map js_code!\n", storage: "Couldn't map 'storage'!\n" };
const LIBRARIES = "Flash,Storage,heatshrink,fs,net,dgram,tls,http,NetworkJS,Wifi,TelnetServer,crypto,neopixel";
const NATIVES = [
  ...["setBootCode", "ArrayBufferView", "Promise", "setInterval", "subarray", "atob", "btoa", "peek32"],
  ...["erasePage", "getStats", "SHA256", "CRC32", "convolve", "toArrayBuffer", "memoryArea", "reboot"],
];

function buildTexts({ storage = "storage", version = "2v27.45", ...rest }: EspruinoTexts): Uint8Array {
  const { board = "ESP32", libraries = LIBRARIES, natives = NATIVES } = rest;
  const texts = [version, board, libraries, ...natives, `\n ${version} (c) 2025 G.Williams\n`];
  if (storage) texts.push(`Couldn't find ${storage} partition\n`, MAP_ERRORS[storage]);
  return Buffer.from(`\0\0\0\0${texts.join("\0")}\0`, "latin1");
}

/** Data lengths of `count` segments that add up to `total`, each a multiple of 4. */
function shares(total: number, count: number): number[] {
  if (count === 1) return [total];
  const first = Math.max(DESCRIPTOR_SIZE, Math.floor((total * 2) / 5 / 4) * 4);
  const rest = total - first;
  const second = count === 2 ? rest : Math.floor((rest * 2) / 3 / 4) * 4;
  const lengths = [first, second];
  for (let left = rest - second, n = count - 2; n > 0; n--) {
    const share = n === 1 ? left : Math.floor(left / n / 4) * 4;
    // DRAM and IRAM take turns, each has ROOM for all of its segments
    const most = Math.floor(ROOM / Math.ceil((count - 2) / 2) / 4) * 4;
    lengths.push(Math.min(share, most));
    lengths[1] += share - Math.min(share, most);
    left -= share;
  }
  return lengths;
}

export function buildImage(spec: ImageSpec = {}): Uint8Array {
  const { chip = "esp32", size = 61008, seed = 1, hash = true, segments = 5, descriptor = {} } = spec;
  if (size % 16 !== 0 || size < MIN_SIZE) throw new RangeError(`no image has ${size} bytes: see MIN_SIZE and padTo`);
  if (segments < 1 || segments > 16) throw new RangeError("an image has 1 to 16 segments");
  const [drom, irom, dram, iram, entry] = ADDRESSES[chip];
  const image = new Uint8Array(size);
  const view = viewOf(image);
  image.set([0xe9, segments, spec.spiMode ?? 2, 0x20]);
  view.setUint32(4, entry, true);
  image[8] = 0xee;
  view.setUint16(12, CHIPS.find((known) => known.name === chip)?.chipId ?? 0xffff, true);
  image[14] = spec.minChipRev ?? 0;
  view.setUint16(15, spec.minRevision ?? 0, true);
  view.setUint16(17, spec.maxRevision ?? 0, true);
  image[23] = hash ? 1 : 0;

  // Between 3 and 15 bytes of padding before the checksum, by seed: every length of the tail occurs.
  const end = size - (hash ? HASH_SIZE : 0) - 4 * (1 + (seed & 3));
  const bytes = noise(seed, size);
  const ram = [dram, iram];
  let at = HEADER_SIZE;
  let behindDrom = 0;
  shares(end - HEADER_SIZE - 8 * segments, segments).forEach((length, i) => {
    const data = at + 8;
    // Flash-mapped segments repeat their place in the 64 KB page; slots are 64 KB aligned (docs/formats.md#segments).
    if (i < 2) view.setUint32(at, (i === 0 ? drom : irom + behindDrom) + (data & 0xffff), true);
    else view.setUint32(at, ram[i & 1], true);
    // on all but the classic chip both buses share the MMU's entries, so the second segment takes the pages behind
    if (i === 0 && chip !== "esp32") behindDrom = (drom & 0x7f0000) + Math.ceil((data + length) / 0x10000) * 0x10000;
    if (i >= 2) ram[i & 1] += length;
    view.setUint32(at + 4, length, true);
    image.set(bytes.subarray(data, data + length), data);
    if (i === 0) {
      image.set(noise(0, Math.min(spec.alikeBytes ?? 0, length)), data);
      if (descriptor) image.set(buildDescriptor(descriptor, spec), data);
      if (spec.espruino) putTexts(image.subarray(data + DESCRIPTOR_SIZE, data + length), spec.espruino);
    }
    at = data + length;
  });
  const sealed = reseal(image);
  return spec.trailing ? new Uint8Array(Buffer.concat([sealed, spec.trailing])) : sealed;
}

function putTexts(room: Uint8Array, espruino: EspruinoTexts): void {
  const texts = buildTexts(espruino);
  if (texts.length > room.length) throw new RangeError("the first segment is too small for an Espruino image's texts");
  room.set(texts);
}

/** The bootloader's memory on `chip`; the classic one's where the model knows none. */
function memoryFor(chip: Chip): Memory {
  return memoryOf(chip, "all") ?? (memoryOf("esp32", "all") as Memory);
}

/** `esp_bootloader_desc_t` of IDF v6.0.2; `magic`: another one, for bytes that are not a descriptor. */
export type BootloaderDescriptor = {
  idfVer?: string;
  dateTime?: string;
  version?: number;
  secureVersion?: number;
  magic?: number;
  reserved?: number;
};

function buildBootloaderDescriptor(descriptor: BootloaderDescriptor): Uint8Array {
  const bytes = new Uint8Array(80);
  bytes.set([descriptor.magic ?? 80, descriptor.reserved ?? 0, 0, descriptor.secureVersion ?? 0]);
  viewOf(bytes).setUint32(4, descriptor.version ?? 1, true);
  bytes.set(Buffer.from(descriptor.idfVer ?? "v5.5.1", "latin1").subarray(0, 32), 8);
  bytes.set(Buffer.from(descriptor.dateTime ?? "", "latin1").subarray(0, 24), 40);
  return bytes;
}

/**
 * An image as of a second-stage bootloader: nothing is mapped, and it lies where the real one runs. `descriptor`: where
 * those of IDF 5.2 and later have it.
 */
export function buildBootloader(chip: Chip = "esp32", seed = 1, descriptor?: BootloaderDescriptor): Uint8Array {
  const { data, loader } = memoryFor(chip);
  const image = buildImage({ chip, size: 8192, seed, segments: 2, descriptor: false });
  if (descriptor) image.set(buildBootloaderDescriptor(descriptor), HEADER_SIZE + 8);
  const view = viewOf(image);
  const [first, second] = layoutOf(image).segments;
  view.setUint32(first, data[0] + 0x18, true);
  view.setUint32(second, loader[0], true);
  view.setUint32(4, loader[0] + 0x10, true);
  return reseal(image);
}

/** Offsets of the parts of a whole image: segment headers, the checksum byte, the end without trailing bytes. */
export function layoutOf(image: Uint8Array): { segments: number[]; checksum: number; end: number } {
  const view = viewOf(image);
  const segments: number[] = [];
  let at = HEADER_SIZE;
  for (let i = 0; i < image[1]; i++) {
    segments.push(at);
    at += 8 + view.getUint32(at + 4, true);
  }
  const checksum = at + 16 - (at % 16) - 1;
  return { segments, checksum, end: checksum + 1 + (image[23] ? HASH_SIZE : 0) };
}

/** A copy whose checksum and appended hash fit its content again. */
export function reseal(image: Uint8Array): Uint8Array {
  const out = new Uint8Array(image);
  const view = viewOf(out);
  const { segments, checksum, end } = layoutOf(out);
  if (end > out.length) throw new RangeError("the segments reach past the end of the image");
  let sum = CHECKSUM_SEED;
  for (const at of segments) {
    const last = at + 8 + view.getUint32(at + 4, true);
    for (let i = at + 8; i < last; i++) sum ^= out[i];
  }
  out[checksum] = sum;
  return rehash(out);
}

function rehash(image: Uint8Array): Uint8Array {
  const { checksum } = layoutOf(image);
  if (image[23]) image.set(sha256(image.subarray(0, checksum + 1)), checksum + 1);
  return image;
}

/** The image with noise after its end, `size` bytes in all: legal, the verifier ignores it (A15 of docs/design.md#espressifs-own-tests). */
export function padTo(image: Uint8Array, size: number, seed = 99): Uint8Array {
  if (size < image.length) throw new RangeError("padTo cannot shorten");
  return new Uint8Array(Buffer.concat([image, noise(seed, size - image.length)]));
}

// --- Mutations ---------------------------------------------------------------------------------------------------

type Mutation = (image: Uint8Array) => Uint8Array;

function changed(image: Uint8Array, change: (view: DataView, bytes: Uint8Array) => void): Uint8Array {
  const copy = new Uint8Array(image);
  change(viewOf(copy), copy);
  return copy;
}

/** Changes exactly what it names, and seals again: an image that was built so, not one that was garbled on its way. */
const sealed =
  (change: (view: DataView, bytes: Uint8Array) => void): Mutation =>
  (image) =>
    reseal(changed(image, change));

const raw =
  (change: (view: DataView, bytes: Uint8Array) => void): Mutation =>
  (image) =>
    changed(image, change);

const truncated =
  (length: (image: Uint8Array) => number): Mutation =>
  (image) =>
    new Uint8Array(image.subarray(0, length(image)));

function chipOf(image: Uint8Array): Chip {
  const chipId = viewOf(image).getUint16(12, true);
  return (CHIPS.find((chip) => chip.chipId === chipId)?.name ?? "esp32") as Chip;
}

/** Segment 2 of a generated image is loaded to data memory, segment 3 to code memory. */
const loadTo =
  (segment: number, to: (loadAddr: number, memory: Memory) => number) =>
  (view: DataView, bytes: Uint8Array): void => {
    const at = layoutOf(bytes).segments[segment];
    view.setUint32(at, to(view.getUint32(at, true), memoryFor(chipOf(bytes))) >>> 0, true);
  };

const otherChip = (view: DataView) => view.setUint16(12, view.getUint16(12, true) === 5 ? 9 : 5, true);
const lastSegment = (bytes: Uint8Array) => layoutOf(bytes).segments[bytes[1] - 1];

export const mutations: Record<string, Mutation> = {
  // Header (docs/formats.md#image-header)
  magic: sealed((_, bytes) => bytes.fill(0xe8, 0, 1)),
  firstByteZero: raw((_, bytes) => bytes.fill(0, 0, 1)), // A7
  segmentCount0: raw((_, bytes) => bytes.fill(0, 1, 2)),
  segmentCount0Sealed: sealed((_, bytes) => bytes.fill(0, 1, 2)),
  segmentCountMinus1: raw((_, bytes) => {
    bytes[1]--;
  }),
  segmentCountPlus1: raw((_, bytes) => {
    bytes[1]++;
  }),
  segmentCount17: raw((_, bytes) => bytes.fill(17, 1, 2)),
  headerSpiMode: sealed((_, bytes) => {
    bytes[2] ^= 1;
  }),
  headerSpiModeUnsealed: raw((_, bytes) => {
    bytes[2] ^= 1;
  }),
  headerFlashSize: sealed((_, bytes) => {
    bytes[3] ^= 0x10;
  }),
  entry: sealed((view) => view.setUint32(4, 0x3ff00000, true)),
  chipId: sealed(otherChip),
  chipIdByte13Fe: raw((_, bytes) => bytes.fill(0xfe, 13, 14)), // A8
  minRevision: sealed((view) => view.setUint16(15, 9999, true)),
  maxRevision: sealed((view) => view.setUint16(17, 1, true)),
  /** 9 is above every chip; only IDF before 4.3.5, 4.4.5 and 5.0.1 looks. */
  minChipRev: sealed((_, bytes) => bytes.fill(9, 14, 15)),
  hashFlagCleared: sealed((_, bytes) => bytes.fill(0, 23, 24)),

  // Segments (4.2)
  segmentLengthOdd: raw((view) => view.setUint32(28, view.getUint32(28, true) + 1, true)),
  segmentLengthHuge: raw((view) => view.setUint32(28, 0xfffffff0, true)),
  segmentLengthMinus4: raw((view) => view.setUint32(28, view.getUint32(28, true) - 4, true)),
  segmentTooLong: raw((view, bytes) => {
    const at = lastSegment(bytes) + 4;
    view.setUint32(at, view.getUint32(at, true) + 0x10000, true);
  }),
  mappedLoadAddress: sealed((view) => view.setUint32(24, view.getUint32(24, true) + 0x1000, true)),
  // Where segments are loaded: bootloader-memory.ts
  /** One bit, no memory: IDF 3.3.6 and older die of it. */
  loadAddressBit22: raw(loadTo(2, (addr) => addr ^ 0x400000)),
  /** One bit, negative to the bootloader's C: IDF 3.3.5 and older die of it. */
  loadAddressBit31: raw(loadTo(2, (addr) => addr ^ 0x80000000)),
  /** One bit, not a whole word of code memory: every release dies of it. */
  loadAddressBit0: raw(loadTo(3, (addr) => addr ^ 1)),
  loadAddressNoRam: sealed(loadTo(2, () => 0x20000000)),
  loadAddressStack: sealed(loadTo(2, (_, memory) => memory.stack[0])),
  loadAddressData: sealed(loadTo(2, (_, memory) => memory.data[0])),
  loadAddressLoader: sealed(loadTo(3, (_, memory) => memory.loader[0])),
  /** 0x10000000 and more is loaded, less is padding. */
  loadAddressPadding: sealed(loadTo(2, () => 0x0ffffff0)),
  /** As a bootloader's own image: its first segment is data of the bootloader. */
  firstSegmentLoaded: sealed(loadTo(0, (_, memory) => memory.data[0] + 0x18)),
  /** As esptool merge-bin makes it: bootloader, table, app, counted from the bootloader's place. */
  mergedImage: (image) => {
    const app = 0xf000;
    const whole = new Uint8Array(app + image.length).fill(0xff);
    whole.set(buildBootloader(chipOf(image)));
    whole.set(image, app);
    return whole;
  },

  // Payload and tail (4.4)
  flipPayloadBit: raw((_, bytes) => {
    bytes[lastSegment(bytes) + 8] ^= 0x10;
  }),
  /** The same bit in two bytes: the checksum still fits, only the hash tells. */
  flipBitPair: raw((_, bytes) => {
    bytes[lastSegment(bytes) + 8] ^= 0x10;
    bytes[lastSegment(bytes) + 12] ^= 0x10;
  }),
  /** Sealed: a valid image of somebody else. Only a digest or signature from elsewhere tells. */
  payloadSealed: sealed((_, bytes) => {
    bytes[lastSegment(bytes) + 8] ^= 0x10;
  }),
  checksum: (image) =>
    rehash(
      changed(image, (_, bytes) => {
        bytes[layoutOf(bytes).checksum] ^= 1;
      }),
    ),
  hash: raw((_, bytes) => {
    bytes[layoutOf(bytes).end - 1] ^= 1;
  }),
  paddingNotZero: sealed((_, bytes) => bytes.fill(0x55, layoutOf(bytes).checksum - 1, layoutOf(bytes).checksum)),
  truncateInHeader: truncated(() => 20),
  truncateInDescriptor: truncated(() => 180), // A6
  truncate1024: truncated(() => 1024),
  truncateHalf: truncated((image) => image.length >> 1),
  truncateHash: truncated((image) => layoutOf(image).checksum + 1),
  truncateLastByte: truncated((image) => layoutOf(image).end - 1),
  trailingGarbage289: (image) => padTo(image, Math.ceil((image.length + 1) / 289) * 289), // A15

  // App descriptor (4.3)
  descriptorMagic: sealed((_, bytes) => {
    bytes[32] ^= 0xff;
  }),
  descriptorSecureVersion: sealed((view) => view.setUint32(36, view.getUint32(36, true) + 1, true)),
  descriptorVersion: sealed((_, bytes) => bytes.set(Buffer.from("9.9.9\0"), 48)),
  descriptorVersionUnterminated: sealed((_, bytes) => bytes.fill(0x41, 48, 80)),
  descriptorProject: sealed((_, bytes) => bytes.set(Buffer.from("other\0"), 80)),
  descriptorElfSha256: sealed((_, bytes) => {
    bytes[176] ^= 1;
  }),
  descriptorMinBlockRevision: sealed((view) => view.setUint16(208, 9999, true)),
  descriptorMaxBlockRevision: sealed((view) => view.setUint16(210, 1, true)),
  descriptorMmuPageSize: sealed((_, bytes) => bytes.fill(14, 212, 213)),
  descriptorSpiMode: sealed((_, bytes) => {
    bytes[213] = bytes[213] === 1 ? 3 : 1;
  }),
};

/** Mutations that the bootloader of a classic ESP32 starts nevertheless: the updater has to refuse them. */
export const bootsAnyway: ReadonlySet<string> = new Set([
  "segmentCount0Sealed",
  "headerSpiMode",
  "headerFlashSize",
  "entry",
  "minChipRev",
  "loadAddressPadding",
  "hashFlagCleared",
  "payloadSealed",
  "paddingNotZero",
  "trailingGarbage289",
  ...Object.keys(mutations).filter((name) => name.startsWith("descriptor")),
]);
