// What lies beside the parts: the manifest of ESP Web Tools, SHA256SUMS and flash.txt.
import type { Board } from "../formats/boards.ts";
import { FACTORY_FILE, MARK } from "../formats/factory-folder.ts";
import { hex } from "../formats/bytes.ts";
import { type FlashPart, sha256 } from "./parts.ts";

/** As ESP Web Tools and esptool call them. */
const FAMILIES: Readonly<Record<string, string>> = { esp32: "ESP32", esp32c3: "ESP32-C3", esp32s3: "ESP32-S3" };

export interface Named {
  name: string;
  version: string;
  /** what people call the board */
  title: string;
  /** process.env.BOARD of the build, where it is known */
  espruino?: string;
}

/** https://esphome.github.io/esp-web-tools/: `offset` in bytes; `path` is relative to the manifest. `flash`: bytes. */
export function webToolsManifest(
  board: Board,
  { name, version, title, espruino }: Named,
  parts: readonly FlashPart[],
  flash: number,
): string {
  const build = {
    chipFamily: FAMILIES[board.chip],
    parts: parts.map((part) => ({ path: part.name, offset: part.offset })),
  };
  const manifest = {
    name,
    version,
    new_install_prompt_erase: true,
    builds: [build],
    // members of our own, which ESP Web Tools ignores
    board: { name: board.name, title, espruino, flash },
    parts: parts.map(({ name: path, what, offset, bytes }) => ({
      path,
      what,
      offset,
      size: bytes.length,
      sha256: sha256(bytes),
    })),
  };
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

/** For `sha256sum -c SHA256SUMS`. */
export function sha256Sums(files: readonly { name: string; bytes: Uint8Array }[]): string {
  return files.map(({ name, bytes }) => `${sha256(bytes)}  ${name}\n`).join("");
}

/** The names of esptool 5. esptool 4 knows only the old ones, and esptool 5 warns of them. */
const esptool = (chip: string) => `esptool --chip ${chip} --port PORT --baud 460800`;
export const OLD_ESPTOOL = "With esptool 4 write esptool.py and write_flash.";

/** For one board: everything from flash address 0 on. */
export const flashLine = (chip: string): string => `${esptool(chip)} write-flash 0x0 ${FACTORY_FILE}`;

/** The same without what lies between the parts. */
export function partsLine(chip: string, parts: readonly FlashPart[]): string {
  return `${esptool(chip)} write-flash ${parts.map(({ name, offset }) => `${hex(offset)} ${name}`).join(" ")}`;
}

export function flashText({ chip }: Board, { name, version, title }: Named, parts: readonly FlashPart[]): string {
  return [
    `${MARK}: ${name} ${version} for ${title}`,
    "",
    "One image, for a new board. Everything in its flash up to the end of the image is replaced:",
    "",
    `  ${flashLine(chip)}`,
    "",
    "The same by its parts. What lies between them, such as NVS, stays:",
    "",
    `  ${partsLine(chip, parts)}`,
    "",
    OLD_ESPTOOL,
    "PORT is /dev/ttyUSB0, /dev/cu.usbserial-0001 or COM3. The mode, frequency and size of the flash are in the header",
    "of the bootloader already: leave the options --flash-mode, --flash-freq and --flash-size out.",
    "",
  ].join("\n");
}
