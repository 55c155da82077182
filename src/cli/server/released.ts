// The files of a folder that the manifests in it name: `serve` offers them too, when their bytes are those that were
// signed. So a manifest that somebody else puts there can only serve a file whose content its author knows.
import { readFileSync, statSync } from "node:fs";
import { parseUrl, resolveUrl } from "../../net/url.ts";
import type { ManifestFile } from "../../trust/manifest.ts";
import { isReportFile } from "../formats/report-file.ts";
import type { Claims } from "../release/manifest.ts";
import { sha256Of } from "../release/program.ts";
import { secretIn } from "../release/secrets.ts";
import { MAX_FLASH } from "../ui/files.ts";
import { type Content, fromFile } from "./contents.ts";
import { canonical, fileAt, type Folder, stampOf } from "./folder.ts";

/** What is known of a version of a file. */
interface FileFacts {
  stamp: string;
  sha256: string;
  /** it holds a private key, a Wi-Fi password, or reports of devices */
  secret: boolean;
}

/** What was read, by file. */
export type Released = Map<string, FileFacts>;

/** A file as one manifest names it. */
interface Naming {
  /** URL path of the manifest */
  manifest: string;
  file: ManifestFile;
}

const HERE = "http://device.invalid";
/** of files that were read; more are read again */
const MOST_KNOWN = 10_000;

/** The URL path of what a manifest names; null when it is on another server. */
export function pathBeside(manifest: string, url: string): string | null {
  try {
    const absolute = resolveUrl(HERE + manifest, url);
    if (!absolute.startsWith(`${HERE}/`)) return null;
    return canonical(parseUrl(absolute).path_.split("?")[0]);
  } catch {
    return null;
  }
}

/** All files that manifests name, by URL path. */
export function namedFiles(manifests: ReadonlyMap<string, Claims>): Map<string, Naming[]> {
  const named = new Map<string, Naming[]>();
  for (const [manifest, { files = [] }] of manifests)
    for (const file of files) {
      const urlPath = pathBeside(manifest, file.url ?? file.name);
      if (urlPath !== null) named.set(urlPath, [...(named.get(urlPath) ?? []), { manifest, file }]);
    }
  return named;
}

function lookUp(released: Released, file: string, stamp: string): FileFacts {
  const before = released.get(file);
  if (before?.stamp === stamp) return before;
  if (released.size >= MOST_KNOWN) released.clear();
  const bytes = readFileSync(file);
  const facts = { stamp, sha256: sha256Of(bytes), secret: secretIn(bytes) !== null || isReportFile(bytes) };
  // one that is being written is read again
  if (stampOf(statSync(file, { bigint: true })) === stamp) released.set(file, facts);
  return facts;
}

/** The content of a file; null when there is none, a text when it is another one than was signed. */
export function releasedContent(
  released: Released,
  folder: Folder,
  urlPath: string,
  namings: readonly Naming[],
): Content | string | null {
  try {
    const file = fileAt(folder, urlPath);
    if (file === null || !namings.length) return null;
    const stat = statSync(file, { bigint: true });
    const size = Number(stat.size);
    const [first] = namings;
    const other = `${first.file.name}: not the file that ${first.manifest} names, sign it again`;
    // without reading what nobody has signed
    if (size > MAX_FLASH || !namings.some((one) => one.file.size === size)) return other;
    const { stamp, sha256, secret } = lookUp(released, file, stampOf(stat));
    if (secret) return null;
    if (!namings.some((one) => one.file.sha256.toLowerCase() === sha256)) return other;
    return fromFile(file, stamp, { size, type: "application/octet-stream", etag: `"${sha256.slice(0, 32)}"` });
  } catch {
    return null; // it has gone, or may not be read
  }
}
