// What `serve --files` has to offer: the program in a working folder. It is signed again when it has changed, so that a
// device that polls runs what was saved a moment ago.
import { statSync } from "node:fs";
import path from "node:path";
import type { SigningKey } from "../release/keys.ts";
import { type Claims, MAX_MANIFEST, signClaims } from "../release/manifest.ts";
import { fileClaims, type ProgramOptions, readProgram, releaseId } from "../release/program.ts";
import { claimsFor, type ReleaseOptions } from "../release/release.ts";
import { listSource } from "../release/source-files.ts";
import { checkSpace } from "../release/space.ts";
import { isRefusal, oneLine, refuse } from "../ui/errors.ts";
import { etagOf } from "./answers.ts";
import type { Catalogue } from "./catalogue.ts";
import { type Content, fromMemory } from "./contents.ts";
import { canonical, stampOf } from "./folder.ts";
import { isoTime, type Offered, type Origin, releaseOf } from "./releases.ts";
import type { Trust } from "./snippet.ts";

export type WorkingOptions = ProgramOptions & ReleaseOptions;

/** Where the manifest is. Files that end with .jws are never in a release. */
export const RELEASE = "/release.jws";

/** ms between two looks at the folder */
const LOOK = 1000;
/** ms without a change before the files are read: an editor or a build writes several of them */
const QUIET = 250;
const MOST_WAITS = 20;
/** Digits of the release's id, which are its version unless --app-version says another. */
const DIGITS = 12;

/** A release that was signed. All of it is in memory, so that its files belong together. */
interface Signed {
  id: string;
  claims: Claims;
  manifest: Content;
  /** by URL path */
  files: ReadonlyMap<string, Content>;
  notes: string[];
}

/** `refresh` changes it. */
interface State {
  readonly options: WorkingOptions;
  readonly signer: SigningKey;
  readonly say: (text: string) => void;
  /** of the files when they were last read */
  stamp: string;
  current: Signed;
  /** a device may be in the middle of it */
  previous: Signed | undefined;
  /** why the files as they are now cannot be a release */
  problem: string | undefined;
  running: Promise<void> | undefined;
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Changes with every change of a file, and when one comes or goes. */
function stampNow(options: WorkingOptions): string {
  try {
    const { files } = listSource(options);
    const lines = files.map((file) => `${file.name} ${stampOf(statSync(file.path, { bigint: true }))}`);
    return lines.sort().join("\n");
  } catch (error) {
    return String(error); // it is told when the files are read
  }
}

function contentOf(bytes: Buffer, type: string): Content {
  return fromMemory(bytes, { size: bytes.length, type, etag: etagOf(bytes) });
}

async function readRelease(options: WorkingOptions, signer: SigningKey, after: number): Promise<Signed> {
  const program = await readProgram(options);
  const id = releaseId({ ...fileClaims(program), version: "" }) as string;
  const now = Math.floor(Date.now() / 1000);
  const names = { ...options, appVersion: options.appVersion ?? id.slice(0, DIGITS) };
  const claims = claimsFor({ program }, { ...names, sequence: Math.max(now, after + 1) }, now);
  const notes = [...program.notes, ...checkSpace(program.where, claims)];
  const manifest = Buffer.from(await signClaims(claims, signer));
  if (manifest.length > MAX_MANIFEST)
    refuse(
      program.where,
      `the manifest has ${manifest.length} bytes, a device reads ${MAX_MANIFEST}: put files together`,
    );
  const files = new Map(
    program.files.map(({ name, bytes }) => [
      `/${name.split("/").map(encodeURIComponent).join("/")}`,
      contentOf(bytes, "application/octet-stream"),
    ]),
  );
  return { id, claims, manifest: contentOf(manifest, "application/jose"), files, notes };
}

/** Names of the files that are another content now. */
function changedIn(before: Signed, { claims }: Signed): string {
  const known = new Map(before.claims.files?.map(({ name, sha256 }) => [name, sha256]));
  const changed = claims.files?.filter(({ name, sha256 }) => known.get(name) !== sha256) ?? [];
  return changed.map(({ name }) => name).join(", ") || "fewer files";
}

/** Is the manifest's time half over? */
function isOld({ iat, exp }: Claims): boolean {
  const now = Date.now() / 1000;
  return exp !== undefined && now - iat >= exp - now;
}

/** Devices and their neighbours need not know where the files are: a message begins with the path of one. */
function toldWithout(why: string): string {
  const [where] = why.split(": ", 1);
  return path.basename(where) + why.slice(where.length).replace(/ \(to [^)]*\)/, "");
}

async function readAgain(state: State): Promise<void> {
  const { options, signer, current, say } = state;
  try {
    const next = await readRelease(options, signer, current.claims.sequence);
    const hadProblem = state.problem !== undefined;
    state.problem = undefined;
    if (next.id === current.id && !isOld(current.claims)) {
      if (hadProblem) say("the files are those of before again");
      return;
    }
    state.previous = current;
    state.current = next;
    say(`signed again, sequence ${next.claims.sequence}: ${changedIn(current, next)}`);
    for (const note of next.notes) if (!current.notes.includes(note)) say(`note: ${note}`);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    state.problem = toldWithout(error.message);
    say(`not signed: ${error.message}`);
  }
}

async function refreshNow(state: State): Promise<void> {
  let stamp = stampNow(state.options);
  if (stamp === state.stamp && !isOld(state.current.claims)) return;
  for (let waits = 0; waits < MOST_WAITS; waits++) {
    await pause(QUIET);
    const later = stampNow(state.options);
    if (later === stamp) break;
    stamp = later;
  }
  // before they are read: what changes meanwhile is seen by the next look
  state.stamp = stamp;
  await readAgain(state);
}

function refresh(state: State): Promise<void> {
  state.running ??= refreshNow(state).finally(() => {
    state.running = undefined;
  });
  return state.running;
}

async function get(state: State, urlPath: string, ifRange: string | undefined): Promise<Content | string | null> {
  const wanted = canonical(urlPath);
  if (wanted === null) return null;
  const isManifest = wanted === RELEASE;
  const versions = [state.current, state.previous].flatMap((one) => {
    const content = isManifest ? one?.manifest : one?.files.get(wanted);
    return content ? [content] : [];
  });
  // a download that is continued gets the rest of the same file
  const same = versions.find(({ etag }) => etag === ifRange);
  if (same) return same;
  if (!isManifest) return versions[0] ?? null;
  await refresh(state);
  return state.problem ?? state.current.manifest;
}

/** A device asks again after 5 seconds. */
const trustIn = ({ signer }: State): Trust => ({ jwk: signer.jwk, poll: 5000 });

function releasesOf(state: State): Offered[] {
  const { current, signer } = state;
  const { claims } = current;
  const origin: Origin = {
    path: RELEASE,
    signed: "on request",
    keys: [signer.jwk.kid],
    changedAt: isoTime(claims.iat),
  };
  return [{ release: releaseOf(origin, claims, claims), trust: trustIn(state) }];
}

/** Rejects when the files cannot be a release. `say`: for what changes later. */
export async function createWorking(
  options: WorkingOptions,
  signer: SigningKey,
  say: (text: string) => void,
): Promise<Catalogue & { notes: string[] }> {
  const stamp = stampNow(options);
  const current = await readRelease(options, signer, 0);
  const state: State = {
    options,
    signer,
    say,
    stamp,
    current,
    previous: undefined,
    problem: undefined,
    running: undefined,
  };
  setInterval(() => void refresh(state).catch(() => {}), LOOK).unref();
  return {
    offers: () => [{ urlPath: RELEASE, trust: trustIn(state) }],
    listing: () => [RELEASE, ...state.current.files.keys()],
    get: (urlPath, ifRange) => get(state, urlPath, ifRange),
    problems: () => [],
    strangers: () => [],
    releases: () => releasesOf(state),
    notServed: () => (state.problem === undefined ? [] : [{ path: RELEASE, reason: oneLine(state.problem) }]),
    notes: current.notes,
  };
}
