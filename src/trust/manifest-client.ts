// Step 3 of update.ts, with keys: fetches the manifest, verifies its signature, parses it and checks it against this
// device, in this order. Key, signature and text are freed before the image is fetched.
// Source: docs/design.md#trust, docs/formats.md#manifest.

import { knownImage, loadRecord, lowestSequence, recordHashed } from "../boot/boot-record";
import type { Settings } from "../config";
import { closeDownload, createDownload, read as startReading } from "../net/download";
import { read } from "../platform/flash";
import { boardName, freeVars, now } from "../platform/engine";
import { CHIP_NAMES } from "../platform/soc";
import { parseDesc, Size, walkSegments } from "../image/image";
import { verifyManifest } from "./jws";
import { Jws } from "./limits";
import { digestOf, type Manifest, parseManifest } from "./manifest";
import type { Partition } from "../boot/partitions";
import { checkPolicy, checkProject } from "./policy";
import type { Layout } from "../boot/layout";
import { Code, otaError, tryOr, noop, type OtaError } from "../errors";
import { checkStorage } from "../boot/storage";
import { hashFlash } from "../image/verify";

const enum Needed {
  /** JsVars, besides the manifest's text */
  SIGNATURE = 800,
}

/**
 * The most characters that a manifest may have with `free` JsVars. Memory holds up to four copies of its text, with 12
 * characters in a JsVar, and the signature takes Needed.SIGNATURE. With a longer manifest memory would run out inside a
 * callback.
 */
function mostOf(free: number): number {
  return Math.min(3 * (free - Needed.SIGNATURE), Jws.MAX_MANIFEST);
}

function fetchText(settings: Settings, done: (error: OtaError | null, text: string) => void): void {
  const free = freeVars();
  const limit = mostOf(free);
  const download = createDownload(settings, settings.url, limit, noop);
  function end(error: OtaError | null, text: string): void {
    closeDownload(download);
    done(error, text);
  }
  download.failed_ = (error) =>
    end(
      error.code === Code.INVALID_SIZE && limit < Jws.MAX_MANIFEST
        ? otaError(Code.NO_MEM, "a manifest of more than " + limit + " bytes, and " + free + " JsVars are free", true)
        : error,
      "",
    );
  download.consumer_ = (text, ended) => {
    if (ended) end(null, text);
  };
  startReading(download);
}

/**
 * Does `slot` hold the file of `size` bytes with this digest? The bytes are compared and not the versions, because
 * different builds of Espruino have the same version. The running slot is hashed once, and its digest is kept in the boot
 * record. Another slot is hashed each time that it may hold the file, because it will be selected.
 */
export function holdsImage(
  layout: Layout,
  slot: Partition,
  size: number,
  digest: string,
  done: (error: OtaError | null, matches: boolean) => void,
): void {
  const running = slot.address === layout.running_.address;
  const recorded = knownImage(slot);
  const matches = !!recorded && recorded.size === size && recorded.digest === digest;
  if (recorded && recorded.digest && (running || !matches)) return done(null, matches);
  let length = 0;
  tryOr(() => {
    length = walkSegments(layout.chip_, slot.size, (offset, bytes) => read(slot.address + offset, bytes));
  }, noop);
  // the slot holds no whole image, or one of another length. Bytes behind the image in its file are not blank
  if (!length || length > size || (length < size && read(slot.address + length, 1)[0] === 0xff))
    return done(null, false);
  hashFlash(slot.address, size, "", "", (error, found) => {
    if (running && !error && length === size) recordHashed(slot, size, found);
    done(error, found === digest);
  });
}

/**
 * Fetches the manifest at `settings.url`, verifies it and checks it for the slot `target`, which is null if the table has
 * no other slot. Calls `done` once: with the manifest, and true if its image runs already, or if it has no image. An image
 * that could not read the files in Storage is refused. Errors: those of the download; OTA_VALIDATE_FAILED for the
 * signature; those of manifest.ts and policy.ts.
 * More than 30 lines: the callbacks of the steps share the settings, and free their keys in between.
 */
export function getManifest(
  settings: Settings,
  layout: Layout,
  target: Partition | null,
  done: (error: OtaError | null, manifest?: Manifest, imageRuns?: boolean) => void,
): void {
  function onPayload(error: OtaError | null, payload: string): void {
    settings.keys = undefined; // they are not needed any more, and a key takes 60 JsVars
    if (error) return done(error);
    tryOr(() => {
      const manifest = parseManifest(payload);
      checkPolicy(
        manifest,
        {
          chip_: CHIP_NAMES[layout.chip_],
          board_: boardName(),
          slotSize_: target ? target.size : 0,
          nowMs_: now(),
          sequence_: lowestSequence(loadRecord(), layout.running_),
        },
        !!settings.allowDowngrade,
      );
      const desc = parseDesc(read(layout.running_.address, Size.DESC_END));
      checkProject(manifest, settings.project || (desc ? desc.projectName : loadRecord().project));
      const image = manifest.image;
      if (!image) return done(null, manifest, true);
      holdsImage(layout, layout.running_, image.size, digestOf(manifest), (failure, running) => {
        tryOr(() => {
          if (!failure && !running && image.storage && !settings.allowStorageLoss) checkStorage(image.storage);
          done(failure, manifest, running);
        }, done);
      });
    }, done);
  }
  function onText(error: OtaError | null, text: string): void {
    if (error) return done(error);
    tryOr(() => {
      verifyManifest(text, settings.keys!, settings.threshold, onPayload);
    }, done);
  }
  if (settings.manifest) onText(null, settings.manifest);
  else fetchText(settings, onText);
}
