// Which devices take a release when: docs/formats.md#rollout. The manifest says it, signed; nothing is stored and no
// server learns anything. The order differs from release to release.

import { u32 } from "../platform/bytes";
import { sha256 } from "../platform/crypto";
import { serialNumber } from "../platform/engine";
import type { Manifest, Rollout } from "./manifest";

/** When a release is due here: seconds since 1970, 0 for now, NEVER when only another manifest can make it due. */
export const enum Due {
  NOW = 0,
  NEVER = -1,
}

/** Where this device stands among all, from 0 to below 1: the beginning of SHA-256(serial number "." sequence). */
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
