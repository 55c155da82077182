// What `serve` has to offer: images and manifests of one folder, and nothing else of it. A private key that lies there
// is never served.
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync, realpathSync, statSync } from "node:fs";
import path from "node:path";
import { type Content, etagOf } from "./answer.ts";
import { isRefusal, refuse, systemReason } from "./errors.ts";
import { IMAGE_MAGIC } from "./image.ts";
import type { SigningKey } from "./keys.ts";
import { signClaims } from "./manifest.ts";
import { claimsFor, type Firmware, namesOf, readFirmware } from "./release.ts";
import type { ReleaseOptions } from "./release-options.ts";

const MANIFEST = ".jws";
const MAX_DEPTH = 4;
const MAX_FILES = 1000;

export interface Shelf {
  /** URL paths of the images, the newest first. */
  images(): string[];
  /** What is at a URL path; null for nothing, a text when it cannot be made. */
  get(urlPath: string, ifRange: string | undefined): Promise<Content | string | null>;
  /** Reads and checks an image by its URL path. */
  firmware(urlPath: string): Firmware;
}

const isHidden = (name: string) => name.startsWith(".") || name === "node_modules";

/** One byte of a file is enough to leave keys and pages alone. */
function beginsAsImage(file: string): boolean {
  const first = Buffer.alloc(1);
  try {
    const handle = openSync(file, "r");
    readSync(handle, first);
    closeSync(handle);
  } catch {
    return false;
  }
  return first[0] === IMAGE_MAGIC;
}

/** Image files below `folder`, relative to it. */
function listImages(folder: string, below = "", depth = 0): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(path.join(folder, below), { withFileTypes: true })) {
    const name = path.join(below, entry.name);
    if (isHidden(entry.name)) continue;
    if (entry.isDirectory() && depth < MAX_DEPTH) found.push(...listImages(folder, name, depth + 1));
    else if (entry.isFile() && entry.name.endsWith(".bin") && beginsAsImage(path.join(folder, name))) found.push(name);
    if (found.length > MAX_FILES) break;
  }
  return found;
}

function statOf(target: string) {
  try {
    return statSync(target);
  } catch (error) {
    return refuse(target, systemReason(error));
  }
}

/** A file's name as far as it can be a project's. */
function nameFor(file: string): string {
  return path.parse(file).name.replace(/[^\x20-\x7e]/gu, "_");
}

/** A manifest names project and version: where the image says neither, its file's name and its content. */
function withNames(firmware: Firmware, options: ReleaseOptions, fsverity: string): ReleaseOptions {
  const said = namesOf(firmware);
  return {
    ...options,
    url: encodeURIComponent(path.basename(firmware.file)),
    project: options.project ?? (said.project ? undefined : nameFor(firmware.file)),
    appVersion: options.appVersion ?? (said.version ? undefined : fsverity.slice(7, 19)),
    // a folder has images of several kinds: the option is for those that need it
    storage: firmware.espruino && !firmware.espruino.partition ? options.storage : undefined,
  };
}

export function createShelf(
  target: string,
  key: SigningKey | undefined,
  options: ReleaseOptions,
  digest: (bytes: Uint8Array) => string,
): Shelf {
  const single = !statOf(target).isDirectory();
  /** as the user calls it, for messages */
  const root = single ? path.dirname(target) : target;
  const realRoot = realpathSync(root);
  const only = single ? path.basename(target) : undefined;
  /** for a download of a manifest that goes on with If-Range */
  const signed = new Map<string, Content>();

  function images(): string[] {
    const files = only === undefined ? listImages(root) : [only];
    const byAge = files
      .map((file) => ({ file, at: statSync(path.join(root, file)).mtimeMs }))
      .sort((a, b) => b.at - a.at);
    return byAge.map(({ file }) => `/${file.split(path.sep).map(encodeURIComponent).join("/")}`);
  }

  /** The file for a URL path, or null: nothing hidden, nothing outside of the folder, not even by a link. */
  function resolve(urlPath: string): string | null {
    let parts: string[];
    try {
      parts = urlPath.split("/").slice(1).map(decodeURIComponent);
    } catch {
      return null;
    }
    if (parts.some((part) => !part || isHidden(part) || /[/\\\0]/.test(part))) return null;
    const file = path.join(root, ...parts);
    if (only !== undefined && parts.join("/") !== only && parts.join("/") !== only + MANIFEST) return null;
    if (!existsSync(file) || !statSync(file).isFile()) return null;
    return realpathSync(file).startsWith(path.join(realRoot, path.sep)) ? file : null;
  }

  async function manifestOf(image: string, signer: SigningKey, ifRange: string | undefined): Promise<Content> {
    const before = signed.get(image);
    if (before && ifRange === before.etag) return before;
    // each request is a release: the sequence grows, and a device may go back to an older build by asking for it
    const firmware = readFirmware(image);
    const claims = claimsFor(firmware, withNames(firmware, options, digest(firmware.bytes)));
    const bytes = Buffer.from(await signClaims(claims, signer));
    const content = { bytes, type: "application/jose", etag: etagOf(bytes) };
    signed.set(image, content);
    return content;
  }

  async function get(urlPath: string, ifRange: string | undefined): Promise<Content | string | null> {
    const image = urlPath.endsWith(MANIFEST) ? resolve(urlPath.slice(0, -MANIFEST.length)) : null;
    try {
      if (image && key && beginsAsImage(image)) return await manifestOf(image, key, ifRange);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      // devices and their neighbours need not know where the folder is
      return error.message.replace(image as string, path.basename(image as string));
    }
    const file = resolve(urlPath);
    if (!file) return null;
    const manifest = file.endsWith(MANIFEST);
    const bytes = readFileSync(file);
    if (!manifest && bytes[0] !== IMAGE_MAGIC) return null;
    return { bytes, type: manifest ? "application/jose" : "application/octet-stream", etag: etagOf(bytes) };
  }

  return {
    images,
    get,
    firmware: (urlPath) => readFirmware(path.join(root, ...urlPath.split("/").slice(1).map(decodeURIComponent))),
  };
}
