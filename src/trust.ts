// The signed way to an image: fetch the manifest, verify its signature, read it, compare it with this device; in this
// order. What is left of it then is small: key, signature and text are gone before the image is fetched.
// Source: DESIGN.md 3.3, 4.

import type { Settings } from "./config";
import { digitsOf, Prefix, verity } from "./digest";
import { createDownload } from "./download";
import { boardName, now, read } from "./hal";
import { CHIP_NAMES, parseDesc, Size } from "./image";
import { verifyJws } from "./jws";
import { checkPolicy, checkProject, type Manifest, parseManifest } from "./manifest";
import { lowestSequence } from "./memory";
import type { Partition } from "./partitions";
import { BLOCKS_PER_SLICE, inSlices } from "./slices";
import type { Layout } from "./slot";
import { guarded, ignore, type OtaError } from "./status";

const MAX_MANIFEST = 8192;

function fetchText(settings: Settings, done: (error: OtaError | null, text: string) => void): void {
  const download = createDownload(settings, settings.url, MAX_MANIFEST, ignore);
  function end(error: OtaError | null, text: string): void {
    download.close_();
    done(error, text);
  }
  download.failed_ = (error) => end(error, "");
  download.sink_ = (text, ended) => {
    if (ended) end(null, text);
    return 0;
  };
  download.read_();
}

/** Is the image that runs the one of `manifest`? By its version, or by its bytes where it has no descriptor. */
function isRunning(
  settings: Settings,
  manifest: Manifest,
  layout: Layout,
  done: (error: OtaError | null, same: boolean) => void,
): void {
  const desc = parseDesc(read(layout.running_.address, Size.DESC_END));
  if (desc) {
    const same = desc.version === manifest.version;
    if (!same || settings.allowSameVersion) checkProject(manifest, desc.projectName);
    return done(null, same);
  }
  const tree = verity(layout.running_.address, manifest.image.size);
  let digest = "";
  inSlices(
    BLOCKS_PER_SLICE,
    tree.step_,
    () => {
      digest = tree.digest_();
    },
    (error) => {
      done(error, digest === digitsOf(manifest.image.fsverity, Prefix.MANIFEST));
    },
  );
}

/**
 * Gets the manifest at `settings.url` and judges it for `target`. Calls `done` once: with the manifest, and whether its
 * image runs already. Errors: those of the download; OTA_VALIDATE_FAILED for the signature; see manifest.ts for the rest.
 * @chapter
 */
export function getManifest(
  settings: Settings,
  layout: Layout,
  target: Partition,
  done: (error: OtaError | null, manifest?: Manifest, same?: boolean) => void,
): void {
  function onPayload(error: OtaError | null, payload: string): void {
    settings.keys = undefined; // nothing needs them any more, and a key takes 60 variables
    if (error) return done(error);
    guarded(() => {
      const manifest = parseManifest(payload);
      checkPolicy(
        manifest,
        {
          chip_: CHIP_NAMES[layout.chip_],
          board_: boardName(),
          slotSize_: target.size,
          nowMs_: now(),
          sequence_: lowestSequence(layout.running_.label),
        },
        !!settings.allowDowngrade,
      );
      isRunning(settings, manifest, layout, (failure, same) => {
        done(failure, manifest, same);
      });
    }, done);
  }
  fetchText(settings, (error, text) => {
    if (error) return done(error);
    guarded(() => {
      verifyJws(text, settings.keys!, onPayload);
    }, done);
  });
}
