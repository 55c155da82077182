// What a manifest offers to this device, and what is installed of it: after step 3 of update.ts. Apart from plan.ts, so that
// its functions take no memory while the signature is verified.

import { checkNotRolledBack, knownImage, loadRecord } from "../boot/boot-record";
import { readEntries, selectedSlot } from "../boot/boot-selection";
import type { Layout } from "../boot/layout";
import type { Partition } from "../boot/partitions";
import { boundSet, readSet } from "../boot/release-files";
import type { Settings } from "../config";
import { parseDigest, Prefix } from "../platform/bytes";
import { isRestartPending } from "../platform/engine";
import { digestOf, type Manifest } from "../trust/manifest";
import { badName, type Files, fileUrl } from "./files";
import type { Plan } from "./session";

/** What a manifest offers. */
export interface Offer {
  /** is it something else than what runs or waits for the restart? */
  available: boolean;
  /** an update has installed it since the start, and it waits for the restart */
  waiting: boolean;
  /**
   * the rollout has not reached this device, so it is not available: seconds since 1970 when it will be due, -1 when only
   * another manifest can make it due; 0: it is due
   */
  due: number;
  version: string;
  sequence: number;
  /** bytes of the image; 0 without one */
  size: number;
  /** names of the files that Storage does not hold */
  files: string[];
  /** most bytes that an update would fetch: of the image, unless it runs already, and of `files` */
  bytes: number;
  manifest: Manifest;
}

/** Is the set of this release bound to the slot called `label`? */
function isBound(label: string, files: Files): boolean {
  const set = readSet(boundSet(loadRecord(), label));
  return !!set && set.id === files.set_.id && !files.missing_.length;
}

/** The slot that starts next, when an update since the start has put there what `manifest` names. */
export function findWaiting(
  layout: Layout,
  manifest: Manifest,
  files: Files | null,
  imageRuns: boolean,
): Partition | undefined {
  // files alone were committed, and another set runs until the restart
  if (files && !files.running_ && isBound(layout.running_.label, files) && (!manifest.image || imageRuns))
    return layout.running_;
  const selected = selectedSlot(layout, readEntries(layout.otadata_));
  const image = isRestartPending() && selected.address !== layout.running_.address ? knownImage(selected) : null;
  return image &&
    manifest.image &&
    image.size === manifest.image.size &&
    image.digest === digestOf(manifest) &&
    (!files || isBound(selected.label, files))
    ? selected
    : undefined;
}

/** `imageRuns`: the image, if there is one, is running already. */
export function offerOf(
  manifest: Manifest,
  files: Files | null,
  imageRuns: boolean,
  running: boolean,
  waiting: boolean,
  due: number,
): Offer {
  const image = manifest.image;
  return {
    available: !running && !waiting && !due,
    waiting: waiting,
    due: due,
    version: manifest.version,
    sequence: manifest.sequence,
    size: image ? image.size : 0,
    files: files ? files.missing_.map((index) => files.set_.files[index].name) : [],
    bytes: (files ? files.bytes_ : 0) + (image && !imageRuns ? image.size : 0),
    manifest: manifest,
  };
}

/**
 * `manifest`: undefined where `digest` or `insecure` says which image may run. `set`: the files that go with it.
 * `filesOnly`: there is no image, or it runs already. Throws for what counts as bad on this device.
 */
export function planOf(settings: Settings, manifest?: Manifest, files?: Files | null, filesOnly?: boolean): Plan {
  const image = manifest && !filesOnly ? manifest.image : undefined;
  const plan = {
    url_: image ? fileUrl(settings, image.url) : settings.url,
    size_: image ? image.size : filesOnly ? 0 : -1,
    // of files alone nothing in a slot is verified
    digest_: filesOnly
      ? files!.set_.id
      : manifest
        ? digestOf(manifest)
        : parseDigest(settings.digest || "", Prefix.CONFIG),
    set_: "",
    bad_: files ? badName(files) : "",
    sequence_: manifest ? manifest.sequence : 0,
    version_: manifest ? manifest.version : "",
    project_: manifest ? manifest.project : "",
    askStorage_: !(image && image.storage) && !settings.allowStorageLoss && !filesOnly,
    allowRolledBack_: settings.allowRolledBack,
  };
  checkNotRolledBack(plan);
  return plan;
}
