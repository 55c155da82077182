// Where Storage lies, and the flash under it. Both depend on the build: see build.ts for the ESP32's.

export interface StorageChip {
  /** Neither logged nor counted. */
  peek(addr: number, length: number): Uint8Array;
  /** Clears bits, of written cells too. */
  clearBits(addr: number, bytes: Uint8Array): void;
  /** The page that holds `addr`. */
  erase(addr: number): void;
}

export type StorageArea = {
  chip: StorageChip;
  /** Where headers are looked for. */
  address: number;
  size: number;
  /** Bytes of a page, the smallest erase: 4096 on the ESP32, 1024 in the interpreter's Linux build. */
  page: number;
  /** The lowest address that the port calls flash: 0 on the ESP32. */
  lowest: number;
  /** Where contents are read: what lies in flash where the mapped partition begins, by its label. */
  contents: { label: string; address: number; size: number } | { label: string; address: null };
};

/** A chip of plain bytes, without a log or faults. */
export function bytesChip(bytes: Uint8Array, address: number, page: number): StorageChip {
  return {
    peek: (addr, length) => bytes.slice(addr - address, addr - address + length),
    clearBits(addr, data) {
      data.forEach((byte, i) => {
        bytes[addr - address + i] &= byte;
      });
    },
    erase(addr) {
      const start = Math.floor((addr - address) / page) * page;
      bytes.fill(0xff, start, start + page);
    },
  };
}

/** What the Linux build has: 256 KB at 0x10000000, a file of their own beside all other flash. */
export function linuxArea(bytes: Uint8Array = new Uint8Array(0x40000).fill(0xff), page = 1024): StorageArea {
  const address = 0x10000000;
  const size = bytes.length;
  const chip = bytesChip(bytes, address, page);
  return { chip, address, size, page, lowest: address, contents: { label: "storage", address, size } };
}
