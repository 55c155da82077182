// Which devices take a release at which time: docs/formats.md#rollout. The signed manifest says it. The device stores
// nothing for it and sends nothing to a server. The order of the devices differs from release to release.

import { u32 } from "../platform/bytes";
import { sha256 } from "../platform/crypto";
import { serialNumber } from "../platform/engine";
import type { Manifest, Rollout } from "./manifest";

/** When a release is due on this device: seconds since 1970, or one of these. NEVER: only another manifest can change it. */
export const enum Due {
  NOW = 0,
  NEVER = -1,
}

/** The place of this device among all, from 0 to below 1: the first 32 bits of SHA-256(serial number "." sequence). */
export function bucket(serial: string, sequence: number): number {
  return u32(sha256(serial + "." + sequence), 0) / 4294967296;
}

/** When the release of `manifest` is due on this device. `nowMs`: ms since 1970; a clock that is not set says 1970. */
export function dueOf(manifest: Manifest, nowMs: number): number {
  const rollout = manifest.rollout as Rollout;
  if (!rollout) return Due.NOW;
  const place = bucket(serialNumber(), manifest.sequence);
  if (rollout.share !== undefined) return place * 100 < rollout.share ? Due.NOW : Due.NEVER;
  const due = Math.floor(rollout.start! + place * rollout.hours! * 3600);
  return due * 1000 <= nowMs ? Due.NOW : due;
}
