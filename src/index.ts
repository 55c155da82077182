/**
 * Over-the-air firmware update for the ESP32, inside Espruino: `require("https-ota")`.
 * Names and numbers follow ESP-IDF's esp_https_ota.h and esp_ota_ops.h.
 */

import { type ErrorNumbers, errorNumbers } from "./status";

export {
  findPartition,
  getBootPartition,
  getLastInvalidPartition,
  getNextUpdatePartition,
  getRunningPartition,
  getState,
  markValid,
  rollback,
  setBootPartition,
} from "./boot";
export type {
  CommonConfig,
  Config,
  DigestConfig,
  EventName,
  InsecureConfig,
  Jwk,
  SignedConfig,
  UpdateEvent,
} from "./config";
export { restart } from "./chip";
export type { AppDesc } from "./image";
export type { Manifest } from "./manifest";
export type { Handle } from "./handle";
export type { Offer, UpdateResult } from "./ota";
export { abort, begin, checkForUpdate, update } from "./ota";
export type { Partition } from "./partitions";
export type { ErrorNumbers, OtaError } from "./status";
export type { StorageClaim } from "./storage";
export type { SlotStatus, Status } from "./status-report";
export { getStatus } from "./status-report";
export type { BootOptions } from "./trial";
export { boot, confirmAfter } from "./trial";

declare const exports: object;

/** ESP-IDF's numbers by their names without `ESP_` or `ESP_ERR_`; `IN_PROGRESS` is ESP_ERR_HTTPS_OTA_IN_PROGRESS. */
export declare const ERR: ErrorNumbers;
Object.defineProperty(exports, "ERR", { get: errorNumbers satisfies () => Record<keyof ErrorNumbers, number> });
