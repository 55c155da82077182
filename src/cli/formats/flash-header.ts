// Bytes 2 and 3 of a bootloader's header: how the chip reads its flash. Set as esptool sets them: its `write-flash` and
// `merge-bin` change them in the image at the bootloader's address, and put the appended SHA-256 right.
// Source: esptool 5.6, cmds.py (_update_image_flash_params) and targets/esp32.py, esp32c3.py, esp32s3.py.
import { createHash } from "node:crypto";
import type { Image } from "./image.ts";

export const FLASH_MODES: Readonly<Record<string, number>> = { qio: 0, qout: 1, dio: 2, dout: 3 };
/** alike on the ESP32, the ESP32-C3 and the ESP32-S3 */
export const FLASH_FREQS: Readonly<Record<string, number>> = { "80m": 0xf, "40m": 0, "26m": 1, "20m": 2 };
export const FLASH_SIZES: readonly string[] = ["1MB", "2MB", "4MB", "8MB", "16MB", "32MB", "64MB", "128MB"];
/** Leaves what the build has. */
export const KEEP = "keep";

/** Each of them may be KEEP. */
export interface FlashSettings {
  mode: string;
  freq: string;
  size: string;
}

/** In bytes. */
export const flashBytes = (size: string): number => 0x100000 << FLASH_SIZES.indexOf(size);

export const flashSizeName = (bytes: number): string | undefined =>
  FLASH_SIZES.find((name) => flashBytes(name) === bytes);

/** A copy of the bootloader `image`, which is all of `bytes` up to what follows it. */
export function withFlashSettings(bytes: Uint8Array, image: Image, { mode, freq, size }: FlashSettings): Buffer {
  const copy = Buffer.from(bytes);
  if ([mode, freq, size].every((one) => one === KEEP)) return copy;
  if (mode !== KEEP) copy[2] = FLASH_MODES[mode];
  const low = freq === KEEP ? copy[3] & 0x0f : FLASH_FREQS[freq];
  const high = size === KEEP ? copy[3] & 0xf0 : FLASH_SIZES.indexOf(size) << 4;
  copy[3] = high | low;
  if (image.header.hashAppended && image.sha256) {
    const end = image.sha256.offset - image.offset;
    copy.set(createHash("sha256").update(copy.subarray(0, end)).digest(), end);
  }
  return copy;
}
