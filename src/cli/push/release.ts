// The files of a release, as `sign` leaves them: a manifest and the image that it names beside it.
import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { excerpt } from "../formats/json.ts";
import { fsverity } from "../formats/fsverity.ts";
import { checkImageMatches, type Claims, looksSigned, MAX_MANIFEST, readManifest } from "../release/manifest.ts";
import { type Firmware, namesOf, readFirmware, storageSaid } from "../release/release.ts";
import { refuse, systemReason } from "../ui/errors.ts";
import { readInput } from "../ui/files.ts";

export interface Release {
  /** undefined for an image that has none */
  manifest?: { file: string; text: string; claims: Claims };
  image: Firmware;
  /** "fsverity-sha256:..." */
  digest: string;
  /** project and version, for people */
  name: string;
}

const isFolder = (file: string): boolean => {
  try {
    return statSync(file).isDirectory();
  } catch (error) {
    return refuse(file, systemReason(error));
  }
};

/** The only manifest of a folder. */
function manifestIn(folder: string): string {
  const found = readdirSync(folder).filter((name) => name.endsWith(".jws"));
  if (!found.length) refuse(folder, "no manifest in it (a .jws): npx https-ota sign makes one");
  if (found.length > 1)
    refuse(folder, `${found.length} manifests in it, name one of them: ${excerpt(found.join(", "))}`);
  return path.join(folder, found[0]);
}

/** Where the image of a manifest lies: beside it, by the last part of its URL. */
function imageBeside(file: string, { image }: Claims): string {
  const last = image!.url.split(/[?#]/)[0].split("/").at(-1) ?? "";
  let name: string;
  try {
    name = path.basename(decodeURIComponent(last));
  } catch {
    name = last;
  }
  if (!name) refuse(file, `claim image.url is ${excerpt(image!.url)}, which names no file: give the image by --image`);
  return path.join(path.dirname(file), name);
}

function fromManifest(file: string, given: string | undefined): Release {
  const { claims } = readManifest(file);
  const text = readInput(file).toString("latin1");
  const image = readFirmware(given ?? imageBeside(file, claims));
  checkImageMatches(file, claims, image.file, image.bytes, image.image, storageSaid(image, claims));
  const digest = `fsverity-${claims.image!.fsverity.toLowerCase()}`;
  return { manifest: { file, text, claims }, image, digest, name: `${claims.project} ${claims.version}` };
}

function fromImage(file: string): Release {
  const image = readFirmware(file);
  const { project = "an image", version = "without a version" } = namesOf(image);
  return { image, digest: `fsverity-${fsverity(image.bytes)}`, name: `${project} ${version}` };
}

/** `target`: a folder, a manifest, or an image. `image`: where the image of the manifest is, when not beside it. */
export function findRelease(target: string, image?: string): Release {
  const file = isFolder(target) ? manifestIn(target) : target;
  const signed = file.endsWith(".jws") || looksSigned(readInput(file).subarray(0, MAX_MANIFEST));
  return signed ? fromManifest(file, image) : fromImage(file);
}
