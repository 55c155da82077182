// Which manifests this device follows. Pure. Only called with claims whose signature holds.

import type { Manifest } from "./manifest";
import { Code, otaError } from "../errors";

/** So far may a sequence be above the one that the device has: a thief's highest must not end what it is there for. */
export const MAX_JUMP = 0x100000000;

/** What a manifest is measured against. */
export interface Facts {
  chip_: string;
  board_: string;
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
 * Refuses a manifest that is not for this device, or that is older than what it has. `allowDowngrade` lifts the last.
 */
export function checkPolicy(manifest: Manifest, facts: Facts, allowDowngrade: boolean): void {
  if (manifest.chip !== facts.chip_) differ("chip", manifest.chip, facts.chip_);
  if (manifest.board !== undefined && manifest.board !== facts.board_) differ("board", manifest.board, facts.board_);
  if (manifest.image.size > facts.slotSize_)
    throw otaError(Code.INVALID_SIZE, "image of " + manifest.image.size + " bytes, the slot has " + facts.slotSize_);
  // a clock that nobody has set says 1970 and lets every manifest pass
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

/** The descriptor of classic Espruino builds is that of the skeleton they are linked into, with a name of its own. */
function projectOf(name: string): string {
  return name === "espruino-esp32" ? "espruino" : name;
}

/** Refuses another project's manifest; "" where nothing tells this device's own. */
export function checkProject(manifest: Manifest, project: string): void {
  if (project && projectOf(manifest.project) !== projectOf(project)) differ("project", manifest.project, project);
}
