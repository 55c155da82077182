// What the page of `serve` shows of a release. Names of others become text without control characters.
import type { Claims } from "../release/manifest.ts";
import { roleOf } from "../release/program.ts";
import { LAST_SECOND } from "../ui/dates.ts";
import { printable } from "../ui/errors.ts";
import type { Release, ReleaseFile } from "./api.ts";
import { pathBeside } from "./released.ts";
import type { Trust } from "./snippet.ts";

export interface Offered {
  release: Release;
  /** for the program that fetches it */
  trust: Trust;
}

/** Where a release comes from. */
export type Origin = Pick<Release, "path" | "signed" | "keys" | "changedAt">;

export function isoTime(seconds: number | undefined): string | null {
  const isDate = seconds !== undefined && Math.abs(seconds) <= LAST_SECOND;
  return isDate ? new Date(seconds * 1000).toISOString() : null;
}

const shown = (text: string | undefined) => (text === undefined ? null : printable(text));

function filesOf(manifest: string, { files = [], entry }: Claims): ReleaseFile[] {
  return files.map(({ name, size, sha256, url = name }) => ({
    name: printable(name),
    path: pathBeside(manifest, url),
    size,
    sha256: sha256.toLowerCase(),
    role: printable(roleOf(entry, name)),
  }));
}

/** `given`: the claims of the manifest as it was given out; undefined when none was. */
export function releaseOf(origin: Origin, claims: Claims, given: Claims | undefined): Release {
  const { image } = claims;
  return {
    ...origin,
    keys: origin.keys.map(printable),
    project: shown(claims.project),
    version: shown(claims.version),
    chip: shown(claims.chip),
    board: shown(claims.board),
    sequence: given?.sequence ?? null,
    signedAt: isoTime(given?.iat),
    expiresAt: isoTime(given?.exp),
    image: image
      ? { path: pathBeside(origin.path, image.url), size: image.size, digest: `fsverity-${image.fsverity}` }
      : null,
    files: filesOf(origin.path, claims),
  };
}

/** An image without a manifest. */
export function unsignedRelease(
  origin: Omit<Origin, "signed" | "keys">,
  about: { project?: string; version?: string; chip?: string },
  image: { size: number; digest: string },
): Release {
  return {
    ...origin,
    signed: "no",
    keys: [],
    project: shown(about.project),
    version: shown(about.version),
    chip: shown(about.chip),
    board: null,
    sequence: null,
    signedAt: null,
    expiresAt: null,
    image: { path: origin.path, ...image },
    files: [],
  };
}
