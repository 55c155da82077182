// The files of a release, as a table and as data.
import { type Claimed, releaseId, roleOf } from "../release/program.ts";
import { storageNeed } from "../release/space.ts";
import { printable } from "../ui/errors.ts";
import { columns } from "../ui/tables.ts";

/** "3 files, 5120 bytes, 5328 of Storage; entry app.js" */
export function filesText(claims: Claimed): string {
  const { files = [], entry } = claims;
  const size = files.reduce((sum, file) => sum + file.size, 0);
  const count = `${files.length} ${files.length === 1 ? "file" : "files"}`;
  return `${count}, ${size} bytes (${storageNeed(claims)} of Storage), entry ${entry}`;
}

/** A row for each file. Empty for a release of an image alone. */
export function fileTable({ files, entry }: Claimed): string[] {
  if (!files) return [];
  const rows = files.map(({ name, size, sha256, url }) => [
    printable(name),
    String(size),
    printable(roleOf(entry, name)),
    sha256.toLowerCase(),
    url === undefined ? "" : printable(url),
  ]);
  return columns([["file", "bytes", "what", "SHA-256", rows.some((row) => row[4]) ? "URL" : ""], ...rows]);
}

/** For --json: what a manifest does not say, but follows from it. */
export function filesReport(claims: Claimed): { id: string | null; roles: Record<string, string> } | null {
  const { files, entry } = claims;
  if (!files) return null;
  return { id: releaseId(claims), roles: Object.fromEntries(files.map(({ name }) => [name, roleOf(entry, name)])) };
}
