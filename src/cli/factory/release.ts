// The first release of a board: a manifest that `sign` made, and its files. It is refused where the board's devices would
// refuse it as an update.
import path from "node:path";
import type { Board } from "../formats/boards.ts";
import type { PublicKey } from "../release/keys.ts";
import { checkImageMatches, checkRelease, type Manifest, readManifest, signatureProblem } from "../release/manifest.ts";
import { checkFilesMatch, readAgain } from "../release/program.ts";
import type { NamedFile } from "../release/source-files.ts";
import { printable, refuse } from "../ui/errors.ts";
import type { Release } from "./contents.ts";
import type { EspruinoBuild } from "./espruino-build.ts";

export interface FirstReleaseOptions {
  files?: string;
  file?: NamedFile[];
  minify?: boolean;
  /** of the loader */
  threshold?: string;
  project?: string;
}

async function checkSignature(
  file: string,
  { tokens }: Manifest,
  keys: readonly PublicKey[],
  threshold: number,
): Promise<void> {
  if (!keys.length) return;
  const problems: string[] = [];
  const signers = new Set<string>();
  for (const { text, kid } of tokens) {
    const key = keys.find(({ jwk }) => jwk.kid === kid);
    const problem = key
      ? await signatureProblem(text, key)
      : `signature: by ${printable(kid)}, which is not one of --keys`;
    if (problem !== null) problems.push(problem);
    else if (signers.add(kid).size === threshold) return;
  }
  if (threshold > 1) problems.unshift(`signature: ${signers.size} of ${threshold} required`);
  refuse(file, problems.join("; "));
}

function checkDevice(file: string, { claims }: Manifest, { app }: EspruinoBuild, board: Board): void {
  if (claims.chip !== board.chip)
    refuse(file, `claim chip is ${printable(claims.chip)}, board ${board.name} has ${board.chip}`);
  const built = app.espruino.board;
  if (claims.board !== undefined && built && claims.board !== built)
    refuse(file, `claim board is ${claims.board}, ${app.place} is built for ${built}`);
  if (claims.image) checkImageMatches(file, claims, app.place, app.bytes, app.image, app.storage);
}

/** `keys`: those that the board will trust; empty when they are not known. */
export async function firstRelease(
  file: string,
  options: FirstReleaseOptions,
  build: EspruinoBuild,
  board: Board,
  keys: readonly PublicKey[],
): Promise<Release> {
  const manifest = readManifest(file);
  const { claims } = manifest;
  // it may have expired: the date does not count for what comes by cable
  checkRelease(file, claims, 0);
  if (!claims.files) refuse(file, "names an image alone, expected a release with files: sign --files makes one");
  await checkSignature(file, manifest, keys, Number(options.threshold ?? 1));
  if (options.project !== undefined && claims.project !== options.project)
    refuse(file, `claim project is ${printable(claims.project)}, --project says ${options.project}`);
  checkDevice(file, manifest, build, board);
  const source = { files: options.files ?? path.dirname(file), file: options.file, minify: options.minify };
  const program = await readAgain(source, claims);
  checkFilesMatch(file, claims, program);
  return { file, claims, program };
}
