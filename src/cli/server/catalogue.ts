// What `serve` has to offer: images and manifests of one folder. It serves what it lists, and lists what it has read and
// found to be one of the two, so a key, a note or the dump of a flash is not served, whatever its name.
import {
  type BigIntStats,
  closeSync,
  type Dirent,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  realpathSync,
  statSync,
} from "node:fs";
import { open } from "node:fs/promises";
import path from "node:path";
import { etagOf, type Facts } from "./answers.ts";
import { isRefusal, refuse, systemReason } from "../ui/errors.ts";
import { IMAGE_MAGIC } from "../formats/image.ts";
import type { SigningKey } from "../release/keys.ts";
import { type Claims, MAX_MANIFEST, parseManifest, signClaims } from "../release/manifest.ts";
import { claimsFor, type Firmware, namesOf, type ReleaseOptions, readFirmware } from "../release/release.ts";

const MANIFEST = ".jws";
const IMAGE = ".bin";
const MAX_DEPTH = 4;
/** of each kind; a folder with more offers the newest */
const MAX_FILES = 100;
/** entries of folders that are read to find them */
const MAX_ENTRIES = 10_000;
/** no flash chip of these boards is larger */
const MAX_IMAGE = 64 << 20;
/** What may follow an image in a file of its own: a signature block for secure boot, in the next MMU page. */
const MAX_BEHIND = 0x10000 + 0x1000;
/** in ms: the folder is read again after that */
const LIST_AGE = 1000;
const PIECE = 32768;

export interface Content extends Facts {
  /** Opens a part of it; rejects when the file has changed. */
  open(start: number, length: number): Promise<Part>;
}

export interface Part {
  /** The next bytes, which are good until the next call; null at the end, or when the file was written to meanwhile. */
  next(): Promise<Uint8Array | null>;
  close(): Promise<void>;
}

export interface Catalogue {
  /** URL paths of the images, the newest first. */
  images(): string[];
  /** URL paths of the manifests in the folder. */
  manifests(): string[];
  /** What is at a URL path; null when there is nothing, a text that says why it is not served. `ifRange`: the ETag of a download that goes on. */
  get(urlPath: string, ifRange: string | undefined): Promise<Content | string | null>;
  /** The fs-verity digest of an image. */
  digest(urlPath: string): string;
  /** Images that are not served because they are broken, with the reason. */
  problems(): string[];
}

/** What was found out about a file, once for each version of it. */
type Checked = { stamp: string } & (
  | { kind: "image"; facts: Facts; fsverity: string; claims: Claims | string | null }
  | { kind: "manifest"; bytes: Uint8Array; facts: Facts }
  | { kind: "broken"; why: string }
  | { kind: "other" }
);

interface Signed {
  stamp: string;
  claims: Claims;
  content: Promise<Content>;
}

// --- Files -----------------------------------------------------------------------------------------------------------

const isHidden = (name: string) => name.startsWith(".") || name === "node_modules";

/** Changes with every change of the file. */
function stampOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(":");
}

function firstByte(file: string): number | undefined {
  const first = Buffer.alloc(1);
  const handle = openSync(file, "r");
  try {
    return readSync(handle, first) ? first[0] : undefined;
  } finally {
    closeSync(handle);
  }
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

/** Names of files below `root`, in parts, that may be images or manifests. Near ones come first. */
function findFiles(root: string, realRoot: string): string[][] {
  const found: string[][] = [];
  const folders: string[][] = [[]];
  let seen = 0;
  for (const below of folders)
    for (const entry of entriesOf(path.join(root, ...below))) {
      if (++seen > MAX_ENTRIES) return found;
      if (isHidden(entry.name)) continue;
      const parts = [...below, entry.name];
      if (entry.isDirectory() && parts.length <= MAX_DEPTH) folders.push(parts);
      if (!entry.name.endsWith(IMAGE) && !entry.name.endsWith(MANIFEST)) continue;
      const link = entry.isSymbolicLink() && endsInside(realRoot, path.join(root, ...parts));
      if (entry.isFile() || link) found.push(parts);
    }
  return found;
}

/** Null for a name that has no URL. */
function urlPathOf(parts: readonly string[]): string | null {
  try {
    return `/${parts.map(encodeURIComponent).join("/")}`;
  } catch {
    return null;
  }
}

/** The same with one spelling for each file. "/a%2fb" is not "/a/b". */
function canonical(urlPath: string): string | null {
  try {
    return urlPathOf(urlPath.split("/").slice(1).map(decodeURIComponent));
  } catch {
    return null;
  }
}

// --- Checking ---------------------------------------------------------------------------------------------------------

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

/** A part of a flash that begins with an app holds what lies behind it too: Storage, NVS with names and passwords. */
function refuseFlash({ file, bytes, image }: Firmware): void {
  const end = image.length ?? 0;
  const rest = bytes.subarray(end + MAX_BEHIND);
  if (rest.every((byte) => byte === rest[0] && (byte === 0xff || byte === 0))) return;
  refuse(
    file,
    `${bytes.length} bytes, and its image ends at ${end}: a part of a flash? Cut it there to serve it ` +
      `(head -c ${end})`,
  );
}

/** Devices and their neighbours need not know where the folder is. */
function toldWithout(file: string, why: string): string {
  return why.replace(file, () => path.basename(file));
}

/** What `make` returns, or what it refuses with. */
function orRefusal<T>(make: () => T): T | string {
  try {
    return make();
  } catch (error) {
    if (isRefusal(error)) return error.message;
    throw error;
  }
}

export function createCatalogue(
  target: string,
  key: SigningKey | undefined,
  options: ReleaseOptions,
  digest: (bytes: Uint8Array) => string,
): Catalogue {
  const single = !statOf(target).isDirectory();
  /** as the user calls it, for messages */
  const root = single ? path.dirname(target) : target;
  const realRoot = realpathSync(root);
  const checked = new Map<string, Checked>();
  const signed = new Map<string, Signed>();
  let latest: Signed | undefined;
  let listed = { at: Number.NEGATIVE_INFINITY, files: new Map<string, string>() };

  /** Files by URL path, the newest first. */
  function files(): Map<string, string> {
    if (performance.now() - listed.at < LIST_AGE) return listed.files;
    const found = single ? [[path.basename(target)]] : findFiles(root, realRoot);
    const aged = found.flatMap((parts) => {
      const file = path.join(root, ...parts);
      const urlPath = urlPathOf(parts);
      const at = statSync(file, { throwIfNoEntry: false })?.mtimeMs;
      return urlPath === null || at === undefined ? [] : [{ file, urlPath, at }];
    });
    aged.sort((a, b) => b.at - a.at);
    const newest = (end: string) => aged.filter(({ file }) => file.endsWith(end)).slice(0, MAX_FILES);
    const kept = single ? aged : [...newest(IMAGE), ...newest(MANIFEST)];
    listed = { at: performance.now(), files: new Map(kept.map(({ urlPath, file }) => [urlPath, file])) };
    const names = new Set(listed.files.values());
    for (const file of checked.keys()) if (!names.has(file)) checked.delete(file);
    return listed.files;
  }

  function checkImage(file: string, stamp: string, size: number): Checked {
    if (size > MAX_IMAGE) return { stamp, kind: "broken", why: `${file}: ${size} bytes, more than any flash has` };
    // a file that does not begin as an image is not mentioned at all
    if (!single && firstByte(file) !== IMAGE_MAGIC) return { stamp, kind: "other" };
    const firmware = orRefusal(() => {
      const read = readFirmware(file);
      refuseFlash(read);
      return read;
    });
    if (typeof firmware === "string") return { stamp, kind: "broken", why: firmware };
    const fsverity = digest(firmware.bytes);
    const claims = key ? orRefusal(() => claimsFor(firmware, withNames(firmware, options, fsverity))) : null;
    const facts = { size: firmware.bytes.length, type: "application/octet-stream", etag: etagOf(firmware.bytes) };
    return { stamp, kind: "image", facts, fsverity, claims };
  }

  function checkManifest(file: string, stamp: string, size: number): Checked {
    if (size > MAX_MANIFEST) return { stamp, kind: "other" };
    const bytes = readFileSync(file);
    const token = orRefusal(() => parseManifest(file, bytes));
    // the reason is not published: it may quote a file that is a secret
    if (typeof token === "string") return { stamp, kind: "other" };
    return {
      stamp,
      kind: "manifest",
      bytes,
      facts: { size: bytes.length, type: "application/jose", etag: etagOf(bytes) },
    };
  }

  function check(file: string): Checked {
    const before = statSync(file, { bigint: true });
    const stamp = stampOf(before);
    const known = checked.get(file);
    if (known?.stamp === stamp) return known;
    const size = Number(before.size);
    const verdict =
      !single && file.endsWith(MANIFEST) ? checkManifest(file, stamp, size) : checkImage(file, stamp, size);
    // one that is being written is checked again
    if (stampOf(statSync(file, { bigint: true })) === stamp) checked.set(file, verdict);
    return verdict;
  }

  /** Null for a file that has gone. */
  function look(urlPath: string): { file: string; verdict: Checked } | null {
    const file = files().get(urlPath);
    if (file === undefined) return null;
    try {
      return { file, verdict: check(file) };
    } catch {
      return null;
    }
  }

  function listOf(kind: Checked["kind"]): string[] {
    return [...files().keys()].filter((urlPath) => look(urlPath)?.verdict.kind === kind);
  }

  // --- Contents ---

  function fromMemory(bytes: Uint8Array, facts: Facts): Content {
    return {
      ...facts,
      async open(start, length) {
        const pieces = [bytes.subarray(start, start + length)];
        return { next: async () => pieces.pop() ?? null, close: async () => {} };
      },
    };
  }

  function fromFile(file: string, stamp: string, facts: Facts): Content {
    return {
      ...facts,
      async open(start, length) {
        const handle = await open(file);
        const intact = async () => stampOf(await handle.stat({ bigint: true })) === stamp;
        if (!(await intact())) {
          await handle.close();
          refuse(path.basename(file), "has just changed: request it again");
        }
        const buffer = Buffer.allocUnsafe(Math.min(PIECE, length));
        let at = start;
        async function next(): Promise<Uint8Array | null> {
          const wanted = Math.min(buffer.length, start + length - at);
          if (!wanted) return null;
          const { bytesRead } = await handle.read(buffer, 0, wanted, at);
          at += bytesRead;
          // half of one image and half of the next would be worse than an end: devices ask again, with If-Range
          return bytesRead && (await intact()) ? buffer.subarray(0, bytesRead) : null;
        }
        return { next, close: () => handle.close() };
      },
    };
  }

  async function signedContent(claims: Claims, signer: SigningKey): Promise<Content> {
    const bytes = Buffer.from(await signClaims(claims, signer));
    return fromMemory(bytes, { size: bytes.length, type: "application/jose", etag: etagOf(bytes) });
  }

  /** May a manifest be given out again? Not behind another image's: a device goes back to an older build by asking. */
  function isCurrent(before: Signed | undefined, stamp: string, now: number): before is Signed {
    if (before?.stamp !== stamp) return false;
    const { iat, exp } = before.claims;
    const fresh = exp === undefined || now - iat < exp - now;
    // the sequence counts seconds, so nothing is gained by a second signature in one
    return iat === now || (before === latest && fresh);
  }

  async function manifestOf(
    file: string,
    stamp: string,
    claims: Claims,
    signer: SigningKey,
  ): Promise<Content | string> {
    const now = Math.floor(Date.now() / 1000);
    const before = signed.get(file);
    if (isCurrent(before, stamp, now)) return before.content;
    const { iat, exp } = claims;
    const { expires } = options;
    const fixed = typeof expires === "object" && "at" in expires;
    const end = exp === undefined || fixed ? exp : exp + now - iat;
    if (end !== undefined && end <= now) return "the time that --expires gave to manifests is over";
    const fresh: Claims = { ...claims, sequence: now, iat: now, ...(end === undefined ? {} : { exp: end }) };
    latest = { stamp, claims: fresh, content: signedContent(fresh, signer) };
    signed.set(file, latest);
    return latest.content;
  }

  async function manifestFor(image: string, signer: SigningKey, ifRange: string | undefined) {
    const found = look(image);
    if (!found || found.verdict.kind === "other" || found.verdict.kind === "manifest") return null;
    const { file, verdict } = found;
    // a download that goes on gets the rest of what it began with
    const before = ifRange === undefined ? undefined : await signed.get(file)?.content;
    if (before && before.etag === ifRange) return before;
    if (verdict.kind === "broken") return toldWithout(file, verdict.why);
    const { claims, stamp } = verdict;
    if (typeof claims === "string") return toldWithout(file, claims);
    return claims && manifestOf(file, stamp, claims, signer);
  }

  async function get(urlPath: string, ifRange: string | undefined): Promise<Content | string | null> {
    const wanted = canonical(urlPath);
    if (wanted === null) return null;
    if (key && wanted.endsWith(MANIFEST)) {
      const made = await manifestFor(wanted.slice(0, -MANIFEST.length), key, ifRange);
      if (made !== null) return made;
    }
    const found = look(wanted);
    if (!found) return null;
    const { file, verdict } = found;
    if (verdict.kind === "image") return fromFile(file, verdict.stamp, verdict.facts);
    if (verdict.kind === "manifest") return fromMemory(verdict.bytes, verdict.facts);
    return verdict.kind === "broken" ? toldWithout(file, verdict.why) : null;
  }

  return {
    images: () => listOf("image"),
    manifests: () => listOf("manifest"),
    get,
    digest(urlPath) {
      const verdict = look(urlPath)?.verdict;
      return verdict?.kind === "image" ? verdict.fsverity : refuse(target, "has just been removed");
    },
    problems: () =>
      [...files().keys()].flatMap((urlPath) => {
        const verdict = look(urlPath)?.verdict;
        return verdict?.kind === "broken" ? [verdict.why] : [];
      }),
  };
}

function statOf(target: string) {
  try {
    return statSync(target);
  } catch (error) {
    return refuse(target, systemReason(error));
  }
}
