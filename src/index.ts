/**
 * Over-the-air firmware update for the ESP32, inside Espruino: `require("https-ota")`.
 * Names and numbers follow ESP-IDF's esp_https_ota.h and esp_ota_ops.h.
 */

import { type ErrorNumbers, errorNumbers } from "./errors";

export {
  canRollback,
  findPartition,
  getBootPartition,
  getDescription,
  getLastInvalidPartition,
  getNextUpdatePartition,
  getRunningPartition,
  getState,
  markValid,
  rollback,
  setBootPartition,
} from "./boot/ota-ops";
export type { RollbackOptions } from "./boot/ota-ops";
export { type BootloaderDesc, getBootloaderDescription } from "./boot/bootloader";
export type {
  CommonConfig,
  Config,
  DigestConfig,
  EventHandler,
  EventName,
  InsecureConfig,
  Jwk,
  Origin,
  SignedConfig,
  Source,
  UpdateEvent,
} from "./config";
export { compactStorage, file } from "./boot/release-files";
export { restart } from "./platform/chip";
export { type Poll, type PollOptions, poll } from "./fleet/poll";
export { type Identity, report } from "./fleet/report";
export type { AppDesc } from "./image/image";
export type { Manifest, ManifestFile, Rollout } from "./trust/manifest";
export type { Handle } from "./update/handle";
export type { Offer } from "./update/offer";
export type { UpdateResult } from "./update/plan";
export { abort, begin, checkForUpdate, update } from "./update/update";
export type { Partition } from "./boot/partitions";
export type { ErrorNumbers, OtaError } from "./errors";
export type { StorageClaim } from "./boot/storage-claim";
export type { ReleaseStatus, SlotStatus, Status } from "./boot/status-report";
export { getStatus } from "./boot/status-report";
export type { BootOptions } from "./boot/trial";
export { boot, confirmAfter } from "./boot/trial";

declare const exports: object;

/** ESP-IDF's numbers by their names without `ESP_` or `ESP_ERR_`; `IN_PROGRESS` is ESP_ERR_HTTPS_OTA_IN_PROGRESS. */
export declare const ERR: ErrorNumbers;
Object.defineProperty(exports, "ERR", { get: errorNumbers satisfies () => Record<keyof ErrorNumbers, number> });
