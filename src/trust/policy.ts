// Which manifests this device accepts. Pure. Only called with claims whose signature is verified.

import type { Manifest } from "./manifest";
import { Code, otaError } from "../errors";

/**
 * A sequence may be at most this much above that of the device. Otherwise one manifest with the highest number, signed
 * with a stolen key, would prevent all later updates.
 */
export const MAX_JUMP = 0x100000000;

/** What a manifest is checked against. */
export interface Facts {
  chip_: string;
  board_: string;
  /** 0 if this table has no slot for another image */
  slotSize_: number;
  /** ms since 1970, by the device's clock */
  nowMs_: number;
  /** lowest sequence that is accepted */
  sequence_: number;
}

function differ(what: string, theirs: string | number, ours: string | number): never {
  throw otaError(Code.INVALID_VERSION, "manifest is for " + what + " " + theirs + ", this is " + ours);
}

/**
 * Throws if a manifest is not for this device, or is older than the installed release. `allowDowngrade` permits an older
 * one.
 */
export function checkPolicy(manifest: Manifest, facts: Facts, allowDowngrade: boolean): void {
  if (manifest.chip !== facts.chip_) differ("chip", manifest.chip, facts.chip_);
  if (manifest.board !== undefined && manifest.board !== facts.board_) differ("board", manifest.board, facts.board_);
  const size = manifest.image ? manifest.image.size : 0;
  if (facts.slotSize_ && size > facts.slotSize_)
    throw otaError(Code.INVALID_SIZE, "image of " + size + " bytes, the slot has " + facts.slotSize_);
  // a clock that was not set says 1970: then no manifest counts as expired
  if (manifest.exp !== undefined && manifest.exp * 1000 < facts.nowMs_)
    throw otaError(Code.TIMEOUT, "manifest expired at " + manifest.exp + ", it is " + Math.floor(facts.nowMs_ / 1000));
  if (manifest.sequence < facts.sequence_ && !allowDowngrade)
    throw otaError(
      Code.OTA_SMALL_SEC_VER,
      "manifest has sequence " + manifest.sequence + ", this device has " + facts.sequence_,
    );
  if (manifest.sequence > facts.sequence_ + MAX_JUMP)
    differ("sequence", manifest.sequence, facts.sequence_ + ", and takes at most " + MAX_JUMP + " more");
}

/**
 * Espruino for the classic ESP32 has the descriptor of the ESP-IDF template project that it is linked into, with the
 * project name of that template.
 */
function projectOf(name: string): string {
  return name === "espruino-esp32" ? "espruino" : name;
}

/** Throws if the manifest is for another project than `project`, which is "" if that of this device is unknown. */
export function checkProject(manifest: Manifest, project: string): void {
  if (project && projectOf(manifest.project) !== projectOf(project)) differ("project", manifest.project, project);
}
