// The files that `serve` may offer, by name: what the folder has, and the URL path of each file.
import { type BigIntStats, type Dirent, readdirSync, realpathSync, statSync } from "node:fs";
import path from "node:path";
import { FACTORY_FILE, FLASH_TEXT, isOutput, isSite, MANIFEST_FILE, PART_FILES } from "../formats/factory-folder.ts";
import { refuse, systemReason } from "../ui/errors.ts";

export const MANIFEST = ".jws";
const IMAGE = ".bin";
/** Files of `factory` go over a cable and are not releases, although firmware.bin is an image and factory.bin can begin like one. */
const FOR_CABLE = new Set([...PART_FILES, FACTORY_FILE]);
const MAX_DEPTH = 4;
/** of each kind; a folder with more offers the newest */
const MAX_FILES = 100;
/** entries of folders that are read to find them */
const MAX_ENTRIES = 10_000;
/** in ms: the folder is read again after that */
const LIST_AGE = 1000;

/** What is offered, and what was found when it was last read. `listFiles` changes the last three. */
export interface Folder {
  /** the folder or the single image, as the user calls it: for messages */
  readonly target: string;
  /** only this image is offered, whatever its name */
  readonly single: boolean;
  readonly root: string;
  /** the same without symbolic links */
  readonly realRoot: string;
  listedAt: number;
  /** by URL path, the newest first */
  files: ReadonlyMap<string, string>;
  /** folders of `factory` and `install-page`, by URL path: "" or "/site" */
  installs: ReadonlyMap<string, string>;
}

const isHidden = (name: string) => name.startsWith(".") || name === "node_modules";

/** Changes with every change of the file. */
export function stampOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(":");
}

// --- URL paths -------------------------------------------------------------------------------------------------------

/** Null for a name that has no URL. */
function urlPathOf(parts: readonly string[]): string | null {
  try {
    return `/${parts.map(encodeURIComponent).join("/")}`;
  } catch {
    return null;
  }
}

/** The same with one spelling for each file. "/a%2fb" is not "/a/b". */
export function canonical(urlPath: string): string | null {
  try {
    return urlPathOf(urlPath.split("/").slice(1).map(decodeURIComponent));
  } catch {
    return null;
  }
}

// --- Finding ---------------------------------------------------------------------------------------------------------

/** The file that a URL path names below the folder; null when there is none that may be served. */
export function fileAt({ root, realRoot }: Folder, urlPath: string): string | null {
  const parts = urlPath.split("/").slice(1).map(decodeURIComponent);
  if (parts.some((part) => !part || isHidden(part) || /[/\\\0]/.test(part))) return null;
  const file = path.join(root, ...parts);
  return endsInside(realRoot, file) ? file : null;
}

/** Of a link: is its end a file inside of the folder that would be found there itself? */
function endsInside(realRoot: string, link: string): boolean {
  try {
    const end = realpathSync(link);
    const parts = path.relative(realRoot, end).split(path.sep);
    return !path.isAbsolute(parts[0]) && !parts.some(isHidden) && statSync(end).isFile();
  } catch {
    return false;
  }
}

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    return []; // one that may not be read, or has gone
  }
}

/** A pipe of that name would never end. */
const has = (entries: readonly Dirent[], name: string) => entries.some((one) => one.name === name && one.isFile());

/** Names of files below `root`, in parts, that may be images or manifests. Near ones come first. Adds to `installs`. */
function findFiles({ root, realRoot }: Folder, installs: Map<string, string>): string[][] {
  const found: string[][] = [];
  const folders: string[][] = [[]];
  let seen = 0;
  for (const below of folders) {
    const folder = path.join(root, ...below);
    const entries = entriesOf(folder);
    const forCable = has(entries, FLASH_TEXT) && isOutput(folder);
    const urlPath = below.length ? urlPathOf(below) : "";
    if (urlPath !== null && (forCable || (has(entries, MANIFEST_FILE) && isSite(folder))))
      installs.set(urlPath, folder);
    for (const entry of entries) {
      if (++seen > MAX_ENTRIES) return found;
      if (isHidden(entry.name) || (forCable && FOR_CABLE.has(entry.name))) continue;
      const parts = [...below, entry.name];
      if (entry.isDirectory() && parts.length <= MAX_DEPTH) folders.push(parts);
      if (!entry.name.endsWith(IMAGE) && !entry.name.endsWith(MANIFEST)) continue;
      const link = entry.isSymbolicLink() && endsInside(realRoot, path.join(root, ...parts));
      if (entry.isFile() || link) found.push(parts);
    }
  }
  return found;
}

function findNewest(folder: Folder): Map<string, string> {
  const { target, single, root } = folder;
  const installs = new Map<string, string>();
  const found = single ? [[path.basename(target)]] : findFiles(folder, installs);
  folder.installs = installs;
  const aged = found.flatMap((parts) => {
    const file = path.join(root, ...parts);
    const urlPath = urlPathOf(parts);
    const changed = statSync(file, { throwIfNoEntry: false })?.mtimeMs;
    return urlPath === null || changed === undefined ? [] : [{ file, urlPath, changed }];
  });
  aged.sort((a, b) => b.changed - a.changed);
  const newest = (end: string) => aged.filter(({ file }) => file.endsWith(end)).slice(0, MAX_FILES);
  const kept = single ? aged : [...newest(IMAGE), ...newest(MANIFEST)];
  return new Map(kept.map(({ urlPath, file }) => [urlPath, file]));
}

/** Files by URL path, the newest first. The same map until the folder is read again. */
export function listFiles(folder: Folder): ReadonlyMap<string, string> {
  if (performance.now() - folder.listedAt < LIST_AGE) return folder.files;
  folder.files = findNewest(folder);
  folder.listedAt = performance.now();
  return folder.files;
}

function statOf(target: string) {
  try {
    return statSync(target);
  } catch (error) {
    return refuse(target, systemReason(error));
  }
}

/** `target`: a folder, or the one image that is offered. */
export function openFolder(target: string): Folder {
  const single = !statOf(target).isDirectory();
  const root = single ? path.dirname(target) : target;
  const realRoot = realpathSync(root);
  return { target, single, root, realRoot, listedAt: Number.NEGATIVE_INFINITY, files: new Map(), installs: new Map() };
}
