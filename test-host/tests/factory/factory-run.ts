// What the tests of `https-ota factory` share: a folder with a key, a build of Espruino and a signed release.
import { mkdirSync } from "node:fs";
import path from "node:path";
import { buildBootloader, buildImage, type EspruinoTexts, type ImageSpec } from "../../support/images.ts";
import { succeeds, type workshop } from "../cli/cli-run.ts";

export type Shop = ReturnType<typeof workshop>;
export type ChipName = "esp32" | "esp32c3" | "esp32s3";

/** The board of boards/ for each chip, and where the chip has its bootloader. */
export const BOARDS = [
  { board: "esp32", chip: "esp32", bootloader: 0x1000, slot: "factory" },
  { board: "esp32-dual", chip: "esp32", bootloader: 0x1000, slot: "ota_0" },
  { board: "esp32c3", chip: "esp32c3", bootloader: 0, slot: "ota_0" },
  { board: "esp32s3", chip: "esp32s3", bootloader: 0, slot: "ota_0" },
] as const;

export const PROGRAM: Record<string, string | Uint8Array> = {
  "lib/sensor.js": "exports.read = function () { return 42; };",
  "app.js": 'var running = "1"; var ota = require("https-ota"); var value = require("lib/sensor").read();',
  "logo.img": Buffer.from([0, 255, 1, 255, 255]),
  "empty.txt": "",
};

/** A build that the module can run in. */
export const espruinoImage = (chip: ChipName = "esp32", texts: EspruinoTexts = {}, more: ImageSpec = {}): Uint8Array =>
  buildImage({ chip, size: 61008, seed: 1, espruino: texts, ...more });

/** A folder as Espruino's build makes it, with a table of its own. */
export function putBuild(shop: Shop, folder = "espruino", chip: ChipName = "esp32", app = espruinoImage(chip)): string {
  mkdirSync(shop.at(folder), { recursive: true });
  shop.put(`${folder}/bootloader.bin`, buildBootloader(chip));
  shop.put(`${folder}/espruino_${chip}.bin`, app);
  return folder;
}

export async function sign(
  shop: Shop,
  folder: string,
  files: Record<string, string | Uint8Array>,
  ...options: string[]
): Promise<string> {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(path.dirname(shop.at(`${folder}/${name}`)), { recursive: true });
    shop.put(`${folder}/${name}`, content);
  }
  const out = `${folder}/app.jws`;
  const args = ["--files", folder, "--entry", "app.js", "--key", "key.pem", "--expires", "never", "--out", out];
  succeeds(await shop.run("sign", ...args, ...options));
  return out;
}

/** Puts key.pem, key.pub.jwk and espruino/ into it. */
export async function furnish(shop: Shop): Promise<void> {
  succeeds(await shop.run("keygen", "--bits", "2048", "--out", "key.pem"));
  putBuild(shop);
}
