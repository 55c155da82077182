// The loader, which starts the program of a release, and how loader and module come onto a device: `init`.
import { misuse, printable, refuse } from "../ui/errors.ts";
import { loadPublicKeys } from "../release/keys.ts";
import { storedSize } from "../formats/storage-image.ts";
import type { Console } from "./console.ts";
import { fileInspection } from "./device-program.ts";
import { inspectDevice } from "./module.ts";
import { createProgress } from "./progress.ts";
import { builtFile, LOADER_FILE, MODULE_FILE, type OwnFile, sumOf, upload } from "./storage-file.ts";
import { connectFirst, leave, type Line } from "./update.ts";
import { Lost } from "./port.ts";

/** What the loader fetches a release with when the device has none that starts. */
export interface LoaderConfig {
  url?: string;
  keys?: { kty: string; n: string; e: string }[];
  threshold?: number;
  project?: string;
}

/** What the command line says of it. */
export interface LoaderOptions {
  url?: string;
  keys?: string[];
  threshold?: string;
  project?: string;
}

export const LOADER = ".boot0";
const MODULE = "https-ota";
/** Where the Web IDE puts a program. */
const OTHER_PROGRAM = ".bootcde";

/** From --url and --keys, which may both be left out, and what belongs to them. */
export async function loaderConfig({ url, keys = [], threshold, project }: LoaderOptions): Promise<LoaderConfig> {
  if ((url === undefined) !== !keys.length)
    misuse("--url and --keys belong together: a release is taken by its signature");
  if (url === undefined) {
    if (threshold !== undefined || project !== undefined)
      misuse("--threshold and --project need --url and --keys: without them the loader fetches nothing");
    return {};
  }
  const all = (await Promise.all(keys.map(loadPublicKeys))).flat();
  const texts = all.map(({ jwk: { kty, n, e } }) => JSON.stringify({ kty, n, e }));
  const different = [...new Set(texts)];
  if (different.length < Number(threshold ?? 1))
    misuse(`--threshold ${threshold} needs ${threshold} different keys, --keys gives ${different.length}`);
  return {
    url,
    keys: different.map((text) => JSON.parse(text)),
    ...(threshold === undefined ? {} : { threshold: Number(threshold) }),
    ...(project === undefined ? {} : { project }),
  };
}

const FIRST_LINE = "// https-ota loader";
const PLACE = "__CONFIG__";

/** The Storage file `.boot0`. */
export function loaderText(config: LoaderConfig): string {
  const parts = builtFile(LOADER_FILE).split(PLACE);
  if (!parts[0].startsWith(FIRST_LINE) || parts.length !== 2)
    refuse(LOADER_FILE, `expected a text that begins with ${FIRST_LINE} and has ${PLACE} once: npm run build makes it`);
  return parts.join(JSON.stringify(config));
}

/** Why a file must stay that --out names: it may be somebody's program. */
export const outProblem = (head: Buffer): string | null =>
  !head.length || head.toString("latin1").startsWith(FIRST_LINE)
    ? null
    : "is not a loader, and is not overwritten: remove it, or choose another --out";

/** What a device says of a file in its Storage. */
interface StoredInfo {
  size: number;
  sum: number;
  /** bytes behind the last file */
  free: number;
  /** it begins as ours */
  own?: boolean;
  /** the first byte, or the last one, was never written: a loss of power has cut the writing of it */
  blank?: boolean;
  torn?: boolean;
}

export interface InitOptions extends Line {
  config: LoaderConfig;
  /** put the loader in the place of another .boot0 */
  replace: boolean;
  say(text: string): void;
}

const isCut = ({ own, blank, torn }: StoredInfo) => Boolean(torn && (own || blank));

async function lookAt(console: Console, { name, text }: OwnFile): Promise<StoredInfo & { same: boolean }> {
  const begins = name === LOADER ? FIRST_LINE : text.slice(0, FIRST_LINE.length).replace(/["\\\n].*$/s, "");
  const info = (await console.command("e", fileInspection(name, begins))) as StoredInfo;
  return { ...info, same: info.size === text.length && info.sum === sumOf(text) };
}

async function write(console: Console, { port, signal, say }: InitOptions, file: OwnFile, free: number): Promise<void> {
  const need = storedSize(file.text.length);
  if (free < need)
    refuse(
      port,
      `Storage has ${free} bytes free behind its last file, ${file.what} needs ${need}: erase files there, ` +
        'then require("Storage").compact() while nothing can cut the power',
    );
  say(`${port}: writes ${file.what} into Storage as ${file.name}, ${file.text.length} bytes`);
  const progress = createProgress(file.name, file.text.length);
  try {
    await upload(console, port, file, (done) => {
      signal.throwIfAborted();
      progress.update(done);
    });
  } finally {
    progress.stop();
  }
  const now = await lookAt(console, file);
  if (!now.same)
    refuse(port, `Storage has another ${file.name} than was sent: ${now.size} of ${file.text.length} bytes`);
}

async function provideLoader(console: Console, options: InitOptions, file: OwnFile): Promise<void> {
  const { port, replace, say, config } = options;
  const info = await lookAt(console, file);
  if (info.same) return say(`${port}: has this loader already`);
  if (!info.size || isCut(info) || replace) return write(console, options, file, info.free);
  if (!info.own)
    refuse(
      port,
      `has a ${LOADER} of its own, ${info.size} bytes, which would be lost: make it a file of a release, ` +
        "then --replace-boot0",
    );
  if (config.url !== undefined)
    refuse(port, "has a loader of another version or with another URL or keys: --replace-boot0 replaces it");
  say(`${port}: has another loader, ${info.size} bytes, which stays: --replace-boot0 replaces it`);
}

async function provideModule(console: Console, options: InitOptions, file: OwnFile): Promise<void> {
  const { port, say } = options;
  const info = await lookAt(console, file);
  if (info.same) return say(`${port}: has this https-ota already`);
  if (!info.size || isCut(info)) return write(console, options, file, info.free);
  say(`${port}: has another https-ota, ${info.size} bytes, which stays: push --module replaces it`);
}

async function mentionProgram(console: Console, { port, say }: InitOptions): Promise<void> {
  const { size } = await lookAt(console, { name: OTHER_PROGRAM, what: "", text: "" });
  if (size)
    say(
      `${port}: has a program in ${OTHER_PROGRAM}, ${size} bytes, which stays and runs beside that of a release: ` +
        `make it a release, then require("Storage").erase("${OTHER_PROGRAM}")`,
    );
}

/** Brings loader and module onto a device that has them not. */
export async function init(options: InitOptions): Promise<void> {
  const { port, say } = options;
  const loader = { name: LOADER, what: "the loader", text: loaderText(options.config) };
  const module = { name: MODULE, what: "the module", text: builtFile(MODULE_FILE) };
  const { link, console } = await connectFirst(options);
  try {
    const { board, version } = await inspectDevice(console, port, false);
    say(printable(`${port}: ${board}, Espruino ${version}`));
    await provideLoader(console, options, loader);
    await provideModule(console, options, module);
    await mentionProgram(console, options);
    await leave(console);
  } catch (error) {
    if (error instanceof Lost) refuse(port, `lost (${printable(error.message)}): run init again, it goes on`);
    throw error;
  } finally {
    link.close();
  }
}
