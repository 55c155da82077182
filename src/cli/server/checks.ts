// What a file of the folder is: an image or a manifest that `serve` offers, or none of them. Each version of a file is
// checked once.
import { closeSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import path from "node:path";
import { fsverity } from "../formats/fsverity.ts";
import { chipById } from "../formats/chips.ts";
import { IMAGE_MAGIC } from "../formats/image.ts";
import { type Claims, MAX_MANIFEST, parseManifest } from "../release/manifest.ts";
import { claimsFor, type Firmware, namesOf, type ReleaseOptions, readFirmware } from "../release/release.ts";
import { isRefusal, refuse } from "../ui/errors.ts";
import { etagOf, type Facts } from "./answers.ts";
import { MANIFEST, stampOf } from "./folder.ts";

/** no flash chip of these boards is larger */
const MAX_IMAGE = 64 << 20;
/** What may follow an image in a file of its own: a signature block for secure boot, in the next MMU page. */
const MAX_BEHIND = 0x10000 + 0x1000;

export type Verdict =
  /** `claims`: of its manifest; a text that says why it cannot have one; null when nothing is signed here */
  | { kind: "image"; facts: Facts; fsverity: string; about: About; claims: Claims | string | null }
  /** `keys`: ids of the keys that it names */
  | { kind: "manifest"; bytes: Uint8Array; claims: Claims; keys: string[]; facts: Facts }
  | { kind: "broken"; why: string }
  | { kind: "other" };

/** What an image says of itself. */
export interface About {
  project?: string;
  version?: string;
  chip?: string;
}

/** A verdict about one version of a file. */
export interface Checked {
  stamp: string;
  /** when it was last changed, in seconds since 1970 */
  changed: number;
  verdict: Verdict;
}

export interface Rules {
  /** the file is offered alone: when it is not an image, that is an error */
  single: boolean;
  /** null when nothing is signed here */
  options: ReleaseOptions | null;
}

export interface Checks {
  readonly rules: Rules;
  /** by file */
  readonly checked: Map<string, Checked>;
}

export function createChecks(rules: Rules): Checks {
  return { rules, checked: new Map() };
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

/** A file's name as the name of a project: printable ASCII. */
function nameFor(file: string): string {
  return path.parse(file).name.replace(/[^\x20-\x7e]/gu, "_");
}

/** A manifest names project and version: where the image says neither, its file's name and its content. */
function withNames(firmware: Firmware, options: ReleaseOptions, digest: string): ReleaseOptions {
  const said = namesOf(firmware);
  return {
    ...options,
    url: encodeURIComponent(path.basename(firmware.file)),
    project: options.project ?? (said.project ? undefined : nameFor(firmware.file)),
    appVersion: options.appVersion ?? (said.version ? undefined : digest.slice(7, 19)),
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

/** What `make` returns, or what it refuses with. */
function orRefusal<T>(make: () => T): T | string {
  try {
    return make();
  } catch (error) {
    if (isRefusal(error)) return error.message;
    throw error;
  }
}

function checkImage(file: string, size: number, { single, options }: Rules): Verdict {
  if (size > MAX_IMAGE) return { kind: "broken", why: `${file}: ${size} bytes, more than any flash has` };
  // a file that does not begin as an image is not mentioned at all
  if (!single && firstByte(file) !== IMAGE_MAGIC) return { kind: "other" };
  const firmware = orRefusal(() => {
    const read = readFirmware(file);
    refuseFlash(read);
    return read;
  });
  if (typeof firmware === "string") return { kind: "broken", why: firmware };
  const digest = fsverity(firmware.bytes);
  const claims = options && orRefusal(() => claimsFor({ firmware }, withNames(firmware, options, digest)));
  const facts = { size: firmware.bytes.length, type: "application/octet-stream", etag: etagOf(firmware.bytes) };
  const about = { ...namesOf(firmware), chip: chipById(firmware.image.header.chipId)?.name };
  return { kind: "image", facts, fsverity: digest, about, claims };
}

function checkManifest(file: string, size: number): Verdict {
  if (size > MAX_MANIFEST) return { kind: "other" };
  const bytes = readFileSync(file);
  const manifest = orRefusal(() => parseManifest(file, bytes));
  // the reason is not published: it may quote a file that is a secret
  if (typeof manifest === "string") return { kind: "other" };
  const facts = { size: bytes.length, type: "application/jose", etag: etagOf(bytes) };
  return { kind: "manifest", bytes, claims: manifest.claims, keys: manifest.tokens.map(({ kid }) => kid), facts };
}

/** What a file is. Throws when it cannot be read. */
export function checkFile({ rules, checked }: Checks, file: string): Checked {
  const before = statSync(file, { bigint: true });
  const stamp = stampOf(before);
  const known = checked.get(file);
  if (known?.stamp === stamp) return known;
  const size = Number(before.size);
  const isManifest = !rules.single && file.endsWith(MANIFEST);
  const verdict = isManifest ? checkManifest(file, size) : checkImage(file, size, rules);
  const result = { stamp, changed: Number(before.mtimeMs) / 1000, verdict };
  // one that is being written is checked again
  if (stampOf(statSync(file, { bigint: true })) === stamp) checked.set(file, result);
  return result;
}

/** Verdicts about files that are no longer listed would fill the memory. */
export function forgetAllBut({ checked }: Checks, files: Iterable<string>): void {
  const listed = new Set(files);
  for (const file of checked.keys()) if (!listed.has(file)) checked.delete(file);
}
