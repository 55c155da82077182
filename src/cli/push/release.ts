// The files of a release, as `sign` leaves them: a manifest, and beside it the image and the files that it names.
import { existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { excerpt } from "../formats/json.ts";
import { fsverity } from "../formats/fsverity.ts";
import { checkImageMatches, type Claims, looksSigned, MAX_MANIFEST, readManifest } from "../release/manifest.ts";
import { checkFilesMatch, readAgain } from "../release/program.ts";
import { type Firmware, namesOf, readFirmware, storageSaid } from "../release/release.ts";
import { refuse, systemReason } from "../ui/errors.ts";
import { readInput } from "../ui/files.ts";

export interface Release {
  /** undefined for an image that has none */
  manifest?: { file: string; text: string; claims: Claims };
  /** undefined for a release of files alone */
  image?: Firmware;
  /** "fsverity-sha256:...", of the image */
  digest?: string;
  /** bytes of the files, by the URLs that the manifest gives them, as a device asks for them */
  files: ReadonlyMap<string, Buffer>;
  /** project and version, for people */
  name: string;
}

/** Where image and files are, when they are not beside the manifest. */
export interface Places {
  image?: string;
  /** a folder that has the files by their names */
  files?: string;
}

/** Of all that a release brings, in bytes. */
export function sizeOf({ image, files }: Release): number {
  return [...files.values()].reduce((sum, { length }) => sum + length, image?.bytes.length ?? 0);
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

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Where the image of a manifest lies: beside it, by the last part of its URL. */
function imageBeside(file: string, url: string): string {
  const name = path.basename(decoded(url.split(/[?#]/)[0].split("/").at(-1) ?? ""));
  if (!name) refuse(file, `claim image.url is ${excerpt(url)}, which names no file: give the image by --image`);
  return path.join(path.dirname(file), name);
}

function imageOf(file: string, claims: Claims, { image: given }: Places): Firmware | undefined {
  if (!claims.image)
    return given === undefined ? undefined : refuse(file, `names files alone, and no image as ${given}`);
  const image = readFirmware(given ?? imageBeside(file, claims.image.url));
  checkImageMatches(file, claims, image.file, image.bytes, image.image, storageSaid(image, claims));
  return image;
}

/** Below the folder of the manifest by its URL, as a server has it, otherwise by its name. */
function besideBy(folder: string, { name, url }: { name: string; url?: string }): string {
  const relative = url === undefined || /^([a-z][a-z0-9+.-]*:|\/)/i.test(url) ? "" : decoded(url.split(/[?#]/)[0]);
  const file = path.join(folder, relative);
  const inside = relative && !path.relative(folder, file).startsWith("..");
  return inside && existsSync(file) ? file : path.join(folder, name);
}

async function filesOf(file: string, claims: Claims, { files: given }: Places): Promise<Map<string, Buffer>> {
  if (!claims.files) {
    if (given !== undefined) refuse(file, "names an image alone, and no files");
    return new Map();
  }
  const folder = path.dirname(file);
  const named = claims.files.map((one) => ({ name: one.name, path: besideBy(folder, one) }));
  const program = await readAgain(given === undefined ? { file: named } : { files: given }, claims);
  checkFilesMatch(file, claims, program);
  return new Map(claims.files.map(({ name, url = name }, i) => [url, program.files[i].bytes]));
}

async function fromManifest(file: string, places: Places): Promise<Release> {
  const { claims } = readManifest(file);
  const text = readInput(file).toString("latin1");
  const digest = claims.image && `fsverity-${claims.image.fsverity.toLowerCase()}`;
  const name = `${claims.project} ${claims.version}`;
  const image = imageOf(file, claims, places);
  return { manifest: { file, text, claims }, image, digest, files: await filesOf(file, claims, places), name };
}

function fromImage(file: string): Release {
  const image = readFirmware(file);
  const { project = "an image", version = "without a version" } = namesOf(image);
  return { image, digest: `fsverity-${fsverity(image.bytes)}`, files: new Map(), name: `${project} ${version}` };
}

/** `target`: a folder, a manifest, or an image. */
export async function findRelease(target: string, places: Places = {}): Promise<Release> {
  const file = isFolder(target) ? manifestIn(target) : target;
  const signed = file.endsWith(".jws") || looksSigned(readInput(file).subarray(0, MAX_MANIFEST));
  return signed ? fromManifest(file, places) : fromImage(file);
}
