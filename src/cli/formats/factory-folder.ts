// What `https-ota factory` and `https-ota install-page` leave in a folder, and how such a folder is known again.
import { readFileSync } from "node:fs";
import path from "node:path";
import { MAX_NAME } from "./storage-image.ts";

/** The first words of flash.txt, by which a folder is known as one of factory. */
export const MARK = "https-ota factory";
export const FACTORY_FILE = "factory.bin";
export const PART_FILES = ["bootloader.bin", "partitions.bin", "otadata.bin", "firmware.bin", "storage.bin"];
export const MANIFEST_FILE = "manifest.json";
export const SUMS_FILE = "SHA256SUMS";
export const FLASH_TEXT = "flash.txt";
/** Espruino's file for Wifi.save(). */
export const WIFI_FILE = ".wificfg";

/** The page: static files, which read manifest.json beside them. */
export const PAGE_FILES = ["index.html", "install.js", "install.css", "licenses.txt"];

/** Has `https-ota factory` made it? */
export function isOutput(folder: string): boolean {
  try {
    return readFileSync(path.join(folder, FLASH_TEXT), "latin1").startsWith(MARK);
  } catch {
    return false;
  }
}

/** Has `https-ota install-page` made a page in it? */
export function isSite(folder: string): boolean {
  try {
    return Array.isArray(JSON.parse(readFileSync(path.join(folder, MANIFEST_FILE), "utf8")).boards);
  } catch {
    return false;
  }
}

/** The name as a header of Storage has it, which no program and no firmware contains by chance. */
const STORED_NAME = Buffer.concat([Buffer.from(WIFI_FILE), Buffer.alloc(MAX_NAME - WIFI_FILE.length)]);

/** Is a Wi-Fi stored in this Storage, or in a flash with one? */
export const holdsWifi = (bytes: Buffer): boolean => bytes.includes(STORED_NAME);
