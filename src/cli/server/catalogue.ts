// What `serve` has to offer: images and manifests of one folder, and the files that the manifests name. It serves what it
// lists, and lists what it has read and found to be one of them, so a key, a note or the dump of a flash is not served,
// whatever its name.
import path from "node:path";
import type { SigningKey } from "../release/keys.ts";
import type { ReleaseOptions } from "../release/release.ts";
import { oneLine, refuse } from "../ui/errors.ts";
import type { NotServed } from "./api.ts";
import { type Checked, type Checks, checkFile, createChecks, forgetAllBut, type Verdict } from "./checks.ts";
import type { Claims } from "../release/manifest.ts";
import { type Content, fromFile, fromMemory } from "./contents.ts";
import { canonical, type Folder, listFiles, MANIFEST, openFolder } from "./folder.ts";
import { namedFiles, pathBeside, type Released, releasedContent } from "./released.ts";
import { isoTime, type Offered, type Origin, releaseOf, unsignedRelease } from "./releases.ts";
import { createSigning, lastClaims, lastSigned, manifestOf, type Signing } from "./signing.ts";
import type { Trust } from "./snippet.ts";

/** What a device can be told to fetch. */
export interface Offer {
  urlPath: string;
  trust: Trust;
}

export interface Catalogue {
  /** Images or their manifests, or else manifests of files; the newest first. */
  offers(): Offer[];
  /** URL paths of all that is served. */
  listing(): string[];
  /**
   * What is at a URL path; null when there is nothing, a text that says why it is not served. `ifRange`: the ETag of a
   * download that is continued.
   */
  get(urlPath: string, ifRange: string | undefined): Promise<Content | string | null>;
  /** What is not served because it is broken, with the reason, for the terminal. */
  problems(): string[];
  /** URL paths of files that have the name of an image or a manifest, and are neither: for the terminal alone. */
  strangers(): string[];
  /** All that the page shows, the newest first. */
  releases(): Offered[];
  /** What was meant to be served and is not, with the reason, for everybody. */
  notServed(): NotServed[];
}

/** Each part keeps its own: the list of files, the verdicts about them, the manifests that were signed. */
interface State {
  folder: Folder;
  checks: Checks;
  /** null without --key */
  signing: Signing | null;
  released: Released;
  /** what the manifests name, and their versions at that time */
  named: { stamp: string; files: ReturnType<typeof namedFiles> };
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

/** Claims of the manifests in the folder, by URL path. */
function manifestsOf(state: State): Map<string, Claims> {
  return new Map(
    [...filesOf(state).keys()].flatMap((urlPath) => {
      const verdict = look(state, urlPath)?.verdict;
      return verdict?.kind === "manifest" ? [[urlPath, verdict.claims]] : [];
    }),
  );
}

/** The files that the manifests name, which are resolved once for each change. */
function namedIn(state: State): State["named"]["files"] {
  const manifests = manifestsOf(state);
  const stamp = [...manifests.keys()].map((urlPath) => `${urlPath} ${look(state, urlPath)?.stamp}`).join();
  if (stamp !== state.named.stamp) state.named = { stamp, files: namedFiles(manifests) };
  return state.named.files;
}

function releasedAt(state: State, urlPath: string): Content | string | null {
  if (state.folder.single) return null;
  const namings = namedIn(state).get(urlPath);
  return namings ? releasedContent(state.released, state.folder, urlPath, namings) : null;
}

function listingOf(state: State): string[] {
  const images = listOf(state, "image").flatMap((image) => (state.signing ? [image, `${image}${MANIFEST}`] : [image]));
  const files = state.folder.single ? [] : [...namedIn(state).keys()];
  const served = files.filter((urlPath) => {
    const content = releasedAt(state, urlPath);
    return content !== null && typeof content !== "string";
  });
  return [...new Set([...images, ...listOf(state, "manifest"), ...served])];
}

function offersOf(state: State): Offer[] {
  const jwk = state.signing?.signer.jwk;
  const images = listOf(state, "image").map((image) => ({
    urlPath: image + (jwk ? MANIFEST : ""),
    trust: { jwk, fsverity: digestOf(state, image) },
  }));
  const programs = [...manifestsOf(state)].filter(([, claims]) => claims.files);
  return [...images, ...programs.map(([urlPath]) => ({ urlPath, trust: { jwk } }))];
}

async function get(state: State, urlPath: string, ifRange: string | undefined): Promise<Content | string | null> {
  const wanted = canonical(urlPath);
  if (wanted === null) return null;
  if (state.signing && wanted.endsWith(MANIFEST)) {
    const made = await manifestFor(state, state.signing, wanted.slice(0, -MANIFEST.length), ifRange);
    if (made !== null) return made;
  }
  const found = look(state, wanted);
  if (!found) return releasedAt(state, wanted);
  const { file, stamp, verdict } = found;
  if (verdict.kind === "image") return fromFile(file, stamp, verdict.facts);
  if (verdict.kind === "manifest") return fromMemory(verdict.bytes, verdict.facts);
  const released = releasedAt(state, wanted);
  if (released !== null) return released;
  return verdict.kind === "broken" ? toldWithout(file, verdict.why) : null;
}

function digestOf(state: State, urlPath: string): string {
  const verdict = look(state, urlPath)?.verdict;
  return verdict?.kind === "image" ? verdict.fsverity : refuse(state.folder.target, "has just been removed");
}

const digestText = (fsverity: string) => `fsverity-${fsverity}`;

function offeredImage(state: State, urlPath: string): Offered[] {
  const found = look(state, urlPath);
  if (found?.verdict.kind !== "image") return [];
  const { file, changed, verdict } = found;
  const { claims, fsverity, about, facts } = verdict;
  const changedAt = isoTime(changed);
  const { signing } = state;
  if (signing && claims !== null) {
    if (typeof claims === "string") return [];
    const { jwk } = signing.signer;
    const origin: Origin = { path: urlPath + MANIFEST, signed: "on request", keys: [jwk.kid], changedAt };
    return [{ release: releaseOf(origin, claims, lastClaims(signing, file)), trust: { jwk, fsverity } }];
  }
  const image = { size: facts.size, digest: digestText(fsverity) };
  return [{ release: unsignedRelease({ path: urlPath, changedAt }, about, image), trust: { fsverity } }];
}

function offeredManifest(state: State, urlPath: string): Offered[] {
  const found = look(state, urlPath);
  if (found?.verdict.kind !== "manifest") return [];
  const { claims, keys } = found.verdict;
  const origin: Origin = { path: urlPath, signed: "file", keys, changedAt: isoTime(found.changed) };
  const own = state.signing?.signer.jwk;
  const jwk = own && keys.includes(own.kid) ? own : undefined;
  return [{ release: releaseOf(origin, claims, claims), trust: { jwk } }];
}

function releasesOf(state: State): Offered[] {
  const all = [...filesOf(state).keys()];
  const images = all.flatMap((urlPath) => offeredImage(state, urlPath));
  const made = new Set(images.map(({ release }) => release.path));
  const manifests = all.filter((urlPath) => !made.has(urlPath)).flatMap((urlPath) => offeredManifest(state, urlPath));
  const ageOf = ({ release }: Offered) => Date.parse(release.changedAt ?? "") || 0;
  return [...images, ...manifests].sort((a, b) => ageOf(b) - ageOf(a));
}

/** Why an image that a manifest names is not served; null when it is. */
function imageProblem(state: State, manifest: string, { image }: Claims): NotServed[] {
  const urlPath = image ? pathBeside(manifest, image.url) : null;
  if (!image || urlPath === null) return [];
  const verdict = look(state, urlPath)?.verdict;
  if (verdict?.kind === "broken") return [];
  const missing = `${manifest} names it: it is not here, or may not be served`;
  if (verdict?.kind !== "image") return [{ path: urlPath, reason: missing }];
  const same = verdict.fsverity.toLowerCase() === image.fsverity.toLowerCase();
  return same ? [] : [{ path: urlPath, reason: `not the image that ${manifest} names, sign it again` }];
}

/** The path of the file is said beside it. */
const reasonOf = (file: string, why: string) => oneLine(why.startsWith(`${file}: `) ? why.slice(file.length + 2) : why);

function notServedOf(state: State): NotServed[] {
  const files = [...filesOf(state)].flatMap(([urlPath, file]): NotServed[] => {
    const verdict = look(state, urlPath)?.verdict;
    if (verdict?.kind === "broken") return [{ path: urlPath, reason: reasonOf(file, verdict.why) }];
    if (verdict?.kind !== "image" || typeof verdict.claims !== "string") return [];
    return [{ path: urlPath + MANIFEST, reason: reasonOf(file, verdict.claims) }];
  });
  if (state.folder.single) return files;
  const images = [...manifestsOf(state)].flatMap(([manifest, claims]) => imageProblem(state, manifest, claims));
  const named = [...namedIn(state)].flatMap(([urlPath, [{ manifest }]]): NotServed[] => {
    const content = releasedAt(state, urlPath);
    if (typeof content === "string") return [{ path: urlPath, reason: oneLine(content) }];
    return content ? [] : [{ path: urlPath, reason: `${manifest} names it: it is not here, or may not be served` }];
  });
  return [...files, ...images, ...named];
}

function problemsOf(state: State): string[] {
  const verdicts = [...filesOf(state).keys()].map((urlPath) => look(state, urlPath)?.verdict);
  return verdicts.flatMap((verdict) => (verdict?.kind === "broken" ? [verdict.why] : []));
}

/** A partition table is a .bin too: the files of releases are served under any name. */
function strangersIn(state: State): string[] {
  const named = namedIn(state);
  return listOf(state, "other").filter((urlPath) => !named.has(urlPath));
}

/** `target`: a folder, or one image. `key`: signs a manifest for each image, by `options`. */
export function createCatalogue(target: string, key: SigningKey | undefined, options: ReleaseOptions): Catalogue {
  const folder = openFolder(target);
  const state: State = {
    folder,
    checks: createChecks({ single: folder.single, options: key ? options : null }),
    signing: key ? createSigning(key, options.expires) : null,
    released: new Map(),
    named: { stamp: "", files: new Map() },
  };
  return {
    offers: () => offersOf(state),
    listing: () => listingOf(state),
    get: (urlPath, ifRange) => get(state, urlPath, ifRange),
    problems: () => problemsOf(state),
    strangers: () => strangersIn(state),
    releases: () => releasesOf(state),
    notServed: () => notServedOf(state),
  };
}
