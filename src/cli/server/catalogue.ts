// What `serve` has to offer: images and manifests of one folder. It serves what it lists, and lists what it has read and
// found to be one of the two, so a key, a note or the dump of a flash is not served, whatever its name.
import path from "node:path";
import type { SigningKey } from "../release/keys.ts";
import type { ReleaseOptions } from "../release/release.ts";
import { refuse } from "../ui/errors.ts";
import { type Checked, type Checks, checkFile, createChecks, forgetAllBut, type Verdict } from "./checks.ts";
import { type Content, fromFile, fromMemory } from "./contents.ts";
import { canonical, type Folder, listFiles, MANIFEST, openFolder } from "./folder.ts";
import { createSigning, lastSigned, manifestOf, type Signing } from "./signing.ts";

export interface Catalogue {
  /** URL paths of the images, the newest first. */
  images(): string[];
  /** URL paths of the manifests in the folder. */
  manifests(): string[];
  /**
   * What is at a URL path; null when there is nothing, a text that says why it is not served. `ifRange`: the ETag of a
   * download that is continued.
   */
  get(urlPath: string, ifRange: string | undefined): Promise<Content | string | null>;
  /** The fs-verity digest of an image. */
  digest(urlPath: string): string;
  /** Images that are not served because they are broken, with the reason. */
  problems(): string[];
}

/** Each part keeps its own: the list of files, the verdicts about them, the manifests that were signed. */
interface State {
  folder: Folder;
  checks: Checks;
  /** null without --key */
  signing: Signing | null;
}

function filesOf({ folder, checks }: State): ReadonlyMap<string, string> {
  const before = folder.files;
  const files = listFiles(folder);
  if (files !== before) forgetAllBut(checks, files.values());
  return files;
}

/** Null for a file that has gone. */
function look(state: State, urlPath: string): (Checked & { file: string }) | null {
  const file = filesOf(state).get(urlPath);
  if (file === undefined) return null;
  try {
    return { file, ...checkFile(state.checks, file) };
  } catch {
    return null;
  }
}

function listOf(state: State, kind: Verdict["kind"]): string[] {
  return [...filesOf(state).keys()].filter((urlPath) => look(state, urlPath)?.verdict.kind === kind);
}

/** Devices and their neighbours need not know where the folder is. */
function toldWithout(file: string, why: string): string {
  return why.replace(file, () => path.basename(file));
}

async function manifestFor(state: State, signing: Signing, image: string, ifRange: string | undefined) {
  const found = look(state, image);
  if (!found || found.verdict.kind === "other" || found.verdict.kind === "manifest") return null;
  const { file, stamp, verdict } = found;
  // a download that is continued gets the rest of the same manifest, although a new one could be signed
  const before = ifRange === undefined ? undefined : await lastSigned(signing, file);
  if (before && before.etag === ifRange) return before;
  if (verdict.kind === "broken") return toldWithout(file, verdict.why);
  const { claims } = verdict;
  if (typeof claims === "string") return toldWithout(file, claims);
  return claims && manifestOf(signing, file, stamp, claims);
}

async function get(state: State, urlPath: string, ifRange: string | undefined): Promise<Content | string | null> {
  const wanted = canonical(urlPath);
  if (wanted === null) return null;
  if (state.signing && wanted.endsWith(MANIFEST)) {
    const made = await manifestFor(state, state.signing, wanted.slice(0, -MANIFEST.length), ifRange);
    if (made !== null) return made;
  }
  const found = look(state, wanted);
  if (!found) return null;
  const { file, stamp, verdict } = found;
  if (verdict.kind === "image") return fromFile(file, stamp, verdict.facts);
  if (verdict.kind === "manifest") return fromMemory(verdict.bytes, verdict.facts);
  return verdict.kind === "broken" ? toldWithout(file, verdict.why) : null;
}

function digestOf(state: State, urlPath: string): string {
  const verdict = look(state, urlPath)?.verdict;
  return verdict?.kind === "image" ? verdict.fsverity : refuse(state.folder.target, "has just been removed");
}

function problemsOf(state: State): string[] {
  const verdicts = [...filesOf(state).keys()].map((urlPath) => look(state, urlPath)?.verdict);
  return verdicts.flatMap((verdict) => (verdict?.kind === "broken" ? [verdict.why] : []));
}

/** `target`: a folder, or one image. `key`: signs a manifest for each image, by `options`. */
export function createCatalogue(target: string, key: SigningKey | undefined, options: ReleaseOptions): Catalogue {
  const folder = openFolder(target);
  const state: State = {
    folder,
    checks: createChecks({ single: folder.single, options: key ? options : null }),
    signing: key ? createSigning(key, options.expires) : null,
  };
  return {
    images: () => listOf(state, "image"),
    manifests: () => listOf(state, "manifest"),
    get: (urlPath, ifRange) => get(state, urlPath, ifRange),
    digest: (urlPath) => digestOf(state, urlPath),
    problems: () => problemsOf(state),
  };
}
