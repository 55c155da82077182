// What `sign` and `verify` say of a manifest.
import pc from "picocolors";
import { storageText } from "../formats/espruino-storage.ts";
import type { Claims } from "../release/manifest.ts";
import { releaseId } from "../release/program.ts";
import { dateText } from "../ui/dates.ts";
import { printable } from "../ui/errors.ts";
import { fileTable, filesText } from "./files.ts";

function imageLines({ url, size, storage, fsverity }: NonNullable<Claims["image"]>): [string, string][] {
  return [
    ["image", `${url}, ${size} bytes`],
    ...(storage ? [["storage", storageText(storage)] as [string, string]] : []),
    ["digest", `fsverity-${fsverity}`],
  ];
}

/** "10% of the devices", "over 72 hours from …" */
export function rolloutText({ share, start, hours }: NonNullable<Claims["rollout"]>): string {
  return share === undefined ? `over ${hours} hours from ${dateText(start as number)} on` : `${share}% of the devices`;
}

/** For people: what a manifest says, who has signed it, and what is worth knowing. */
export function summary(claims: Claims, kids: string[], notes: string[]): string[] {
  const { image } = claims;
  const lines: [string, string][] = [
    ["project", `${claims.project} ${claims.version}`],
    ["chip", claims.chip + (claims.board === undefined ? "" : `, board ${claims.board}`)],
    ["sequence", String(claims.sequence)],
    ["signed at", dateText(claims.iat)],
    ["expires", claims.exp === undefined ? "never" : dateText(claims.exp)],
    ...(claims.rollout ? [["rollout", rolloutText(claims.rollout)] as [string, string]] : []),
    ...(image ? imageLines(image) : []),
    ...(claims.files
      ? ([
          ["files", filesText(claims)],
          ["release", releaseId(claims)],
        ] as [string, string][])
      : []),
    ...kids.map((kid) => ["key", kid] as [string, string]),
  ];
  return [
    ...lines.map(([name, text]) => `  ${pc.dim(name.padEnd(10))} ${printable(text)}`),
    ...fileTable(claims),
    ...notes.map((note) => `  ${pc.yellow("note".padEnd(10))} ${printable(note)}`),
  ];
}
