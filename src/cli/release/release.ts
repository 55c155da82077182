// From an image, or the files of a program, to what is signed: the image is checked completely, and project, version and
// chip are read from it.
import path from "node:path";
import { loadBoards } from "../formats/boards.ts";
import { hex } from "../formats/bytes.ts";
import { DEVICE_CHIPS } from "../formats/chips.ts";
import { dateText } from "../ui/dates.ts";
import { printable, refuse } from "../ui/errors.ts";
import { type EspruinoImage, readEspruino, type StorageLabel } from "../formats/espruino-image.ts";
import type { StorageClaim } from "../../boot/storage-claim.ts";
import type { Rollout } from "../../trust/manifest.ts";
import { MAX_JUMP } from "../../trust/policy.ts";
import { storageOf } from "../formats/espruino-storage.ts";
import { fileClaims, type Program } from "./program.ts";
import { readInput } from "../ui/files.ts";
import { type Image, isBootloader, readImage } from "../formats/image.ts";
import { findTable } from "../formats/detect.ts";
import { buildClaims, type Claims, nameProblem } from "./manifest.ts";
import { slotsOf } from "../formats/partitions.ts";

/** Seconds from now, or an instant in seconds since 1970. */
export type Expiry = { after: number } | { at: number } | "never";

/** What the options of `sign` and `serve` say about a release. */
export interface ReleaseOptions {
  /** of a release of files alone */
  chip?: string;
  /** before the URL of each file */
  filesUrl?: string;
  url?: string;
  sequence?: number;
  expires?: Expiry;
  board?: string;
  project?: string;
  appVersion?: string;
  storage?: StorageLabel;
  allowMissingNatives?: boolean;
  /** percent of the devices */
  rollout?: number;
  /** hours in which one device after the other is due, from `from` on, in seconds since 1970 (default: now) */
  over?: number;
  from?: number;
}

/** What a release installs: an image, files, or both. */
export interface Contents {
  firmware?: Firmware;
  program?: Program;
}

export interface Firmware {
  file: string;
  bytes: Buffer;
  image: Image;
  /** null when it is not an Espruino image */
  espruino: EspruinoImage | null;
}

/** Reads an image and refuses a broken one, with the offset of the first thing that is wrong. */
export function readFirmware(file: string): Firmware {
  const bytes = readInput(file);
  const image = readImage(bytes);
  const table = findTable(bytes);
  if (table !== null)
    refuse(file, `a whole flash or a merged image (partition table at ${hex(table)}), expected the image of one app`);
  if (!image) {
    const found = bytes.length ? `offset 0: found ${hex(bytes[0], 2)}, an image begins with 0xe9` : "the file is empty";
    return refuse(file, found);
  }
  refuseBootloader(file, bytes);
  const [problem] = image.problems;
  if (problem) refuse(file, `offset ${hex(problem.offset)}: ${problem.text}`);
  return { file, bytes, image, espruino: readEspruino(bytes.subarray(0, image.length ?? 0), image.header.chip) };
}

/** Refuses a bootloader, alone or at the start of a merged image that was made for its flash address. */
function refuseBootloader(file: string, bytes: Buffer): void {
  const image = readImage(bytes, 0, "bootloader") as Image;
  if (!isBootloader(image)) return;
  const [first] = image.segments;
  const idf = image.bootloaderIdf ? ` of ESP-IDF ${printable(image.bootloaderIdf)}` : "";
  const behind = image.trailing ? `, and ${image.trailing} bytes behind it: a merged image?` : "";
  refuse(
    file,
    `a bootloader${idf}${behind} (segment 0 is loaded to ${hex(first.loadAddr)}, an app's is mapped from flash), ` +
      "expected the image of one app",
  );
}

// --- Names -----------------------------------------------------------------------------------------------------------

interface Name {
  what: "project" | "version";
  option: string;
  /** the name in the image; undefined when it has none */
  said?: string;
  given?: string;
}

/**
 * What an image says of itself. All classic Espruino builds since 2v22 carry the app descriptor of the skeleton that they
 * are linked into (espruino-esp32 5240e60), so of an Espruino image the interpreter's own version counts.
 */
export function namesOf({ image, espruino }: Firmware): { project?: string; version?: string } {
  if (espruino) return { project: STOCK_PROJECT, version: espruino.version ?? undefined };
  return { project: image.descriptor?.project || undefined, version: image.descriptor?.version || undefined };
}

function nameFrom({ file, image, espruino }: Firmware, { what, option, said, given }: Name): string {
  const name = given ?? said;
  if (!name) {
    const told = `the image does not say its ${what}: give ${option}`;
    const silent = `the image has no app descriptor, so its ${what} is unknown: give --project and --app-version`;
    return refuse(file, image.descriptor || espruino ? told : silent);
  }
  if (name !== printable(name)) refuse(file, `${what} "${printable(name)}" has control characters`);
  const problem = nameProblem(name);
  if (problem) refuse(file, `${what} "${name}" ${problem}`);
  return name;
}

// --- Espruino --------------------------------------------------------------------------------------------------------

/** Claim image.storage, so that a device can see before its first erase whether the new build finds the files. */
function storageFor({ file, espruino }: Firmware, options: ReleaseOptions): StorageClaim | undefined {
  const given = options.storage;
  if (!espruino) return given && refuse(file, `--storage ${given}, but this is not an Espruino image`);
  const { partition } = espruino;
  if (partition && given && partition !== given)
    refuse(file, `--storage ${given}, but the image reads its files through partition ${partition}`);
  const label = partition ?? given;
  if (!label)
    return refuse(
      file,
      "this Espruino image does not say through which partition it reads its files: " +
        "give --storage js_code (Espruino up to 2v25) or --storage storage (2v26 and later)",
    );
  return storageOf(label, espruino.version ?? options.appVersion ?? null);
}

/** In a build without them the module cannot run: it would never confirm, roll back or update again. */
export function refuseMissing({ file, espruino }: Firmware, options: ReleaseOptions): void {
  if (!espruino?.missing.length || options.allowMissingNatives) return;
  refuse(
    file,
    `this Espruino build has no ${espruino.missing.join(", ")}, so https-ota cannot run in it: ` +
      "after the update nothing would ever roll back (--allow-missing-natives signs it nevertheless)",
  );
}

function expiryOf(expires: Expiry | undefined, now: number): number | undefined {
  if (expires === undefined || expires === "never") return undefined;
  return "at" in expires ? expires.at : now + expires.after;
}

function rolloutOf({ rollout, over, from }: ReleaseOptions, now: number): Rollout | undefined {
  if (rollout !== undefined) return { share: rollout };
  return over === undefined ? undefined : { start: from ?? now, hours: over };
}

/** The image's URL when --url is not given. The name of a pipe (/dev/fd/63) is refused: it is not the image's. */
function urlFrom(file: string): string {
  const { dir, base } = path.parse(path.resolve(file));
  if (/^\/(dev|proc)\b/.test(dir)) refuse(file, "has no file name of its own: --url says where the image will be");
  return encodeURIComponent(base);
}

/** The project of a release of files alone, unless --project says another: that of the stock builds. */
export const STOCK_PROJECT = "espruino";

/** What the options say of a release of files alone, and of one with an image the image. */
function namesFor(firmware: Firmware | undefined, options: ReleaseOptions) {
  if (!firmware)
    return {
      project: options.project ?? STOCK_PROJECT,
      version: options.appVersion as string,
      chip: options.chip as string,
    };
  refuseMissing(firmware, options);
  const said = namesOf(firmware);
  return {
    project: nameFrom(firmware, { what: "project", option: "--project", said: said.project, given: options.project }),
    version: nameFrom(firmware, {
      what: "version",
      option: "--app-version",
      said: said.version,
      given: options.appVersion,
    }),
    chip: firmware.image.header.chip as string,
  };
}

/** Without an image, `options` has chip and appVersion. */
export function claimsFor(
  { firmware, program }: Contents,
  options: ReleaseOptions,
  now = Math.floor(Date.now() / 1000),
): Claims {
  const exp = expiryOf(options.expires, now);
  if (exp !== undefined && exp <= now) refuse("--expires", `${dateText(exp)} is in the past`);
  return buildClaims({
    ...namesFor(firmware, options),
    board: options.board,
    sequence: options.sequence ?? now,
    iat: now,
    exp,
    rollout: rolloutOf(options, now),
    ...(firmware && {
      image: {
        url: options.url ?? urlFrom(firmware.file),
        bytes: firmware.bytes,
        storage: storageFor(firmware, options),
      },
    }),
    ...(program && fileClaims(program, options.filesUrl)),
  });
}

/** What messages about the whole release name. */
export function contentsName({ firmware, program }: Contents): string {
  return firmware?.file ?? program?.where ?? "the release";
}

/** Where the image says that its Storage is, to compare with a manifest; undefined when it does not say it. */
export function storageSaid({ espruino }: Firmware, claims: Claims): StorageClaim | undefined {
  return espruino?.partition ? storageOf(espruino.partition, espruino.version ?? claims.version) : undefined;
}

/** Above the time of signing: half the jump that a device takes, so that a new device takes all below it until 2038. */
const FAR = 2 ** 31;

/** Facts about a manifest alone, without its image, that a person who signs or verifies it should know. */
export function claimNotes({ sequence, exp, rollout }: Claims, now = Date.now() / 1000): string[] {
  const notes: string[] = [];
  if (sequence > now + FAR)
    notes.push(
      `sequence ${sequence} is more than ${FAR} above the time now: ` +
        `a device takes at most ${MAX_JUMP} more than it has confirmed, and a new one has confirmed none`,
    );
  if (exp === undefined)
    notes.push("never expires: an attacker on the network can offer this release instead of a newer one at any time");
  if (rollout?.share !== undefined && rollout.share < 100)
    notes.push(
      `to widen the rollout sign again with --sequence ${sequence} and a larger --rollout: which devices are in it depends on the sequence`,
    );
  if (rollout?.start !== undefined) notes.push("devices whose clock is not set are never due by time");
  return notes;
}

/** In bytes; 0 where no table is known. */
function largestSlot(chip: string): number {
  const boards = loadBoards().filter((board) => board.chip === chip);
  return Math.max(0, ...boards.flatMap(({ rows }) => slotsOf(rows)).map(({ size }) => size));
}

/** Where the release and its image have different names, or the same as other products. */
function nameNotes(firmware: Firmware, claims: Claims): string[] {
  const said = namesOf(firmware);
  const differs = (name: "project" | "version") => said[name] !== undefined && said[name] !== claims[name];
  const own = (name: "project" | "version") =>
    `${name} ${claims[name]} is this release's own, the image says ${said[name]}`;
  // src/trust/manifest.ts checkProject
  const takers = firmware.espruino
    ? `it is for devices with project: "${claims.project}" in their configuration`
    : "devices that run another project refuse it";
  const notes: string[] = [];
  if (differs("project")) notes.push(`${own("project")}; ${takers}`);
  else if (firmware.espruino)
    notes.push(
      `all stock Espruino builds have the project ${claims.project}: to keep two products of one key apart, ` +
        "give --project a name of your own, and the same in the configuration of the devices",
    );
  if (differs("version")) notes.push(own("version"));
  return notes;
}

/** An image that no device can take. */
export function sizeNotes(size: number, chip: string): string[] {
  const room = largestSlot(chip);
  if (!room || size <= room) return [];
  return [`${size} bytes fit no slot of the tables in boards/: the largest for ${chip} has ${room}`];
}

function imageNotes({ image }: Firmware, claims: Claims): string[] {
  const notes: string[] = [];
  if (!DEVICE_CHIPS.includes(claims.chip))
    notes.push(`https-ota runs on ${DEVICE_CHIPS.join(", ")}, not on ${claims.chip}`);
  if (!image.sha256) notes.push("the image has no SHA-256 of its own: this only says that its checksum holds");
  notes.push(...sizeNotes(claims.image!.size, claims.chip));
  if (image.trailing) notes.push(`${image.trailing} bytes behind the image's end are part of the release`);
  return notes;
}

function espruinoNotes({ espruino }: Firmware, claims: Claims): string[] {
  if (!espruino) return [];
  const { missing, board } = espruino;
  const notes: string[] = [];
  if (missing.length) notes.push(`https-ota cannot run in this build, which has no ${missing.join(", ")}`);
  if (!claims.image!.storage) notes.push("the manifest does not say where this build has its Storage: sign it again");
  if (board && claims.board === undefined)
    notes.push(`built for board ${board}; for devices of this board only: --board ${board}`);
  else if (board && claims.board !== board) notes.push(`for devices of board ${claims.board}, but built for ${board}`);
  return notes;
}

/** Facts that a person who signs or verifies this release should know. None of them is an error. */
export function releaseNotes(firmware: Firmware, claims: Claims): string[] {
  return [...nameNotes(firmware, claims), ...imageNotes(firmware, claims), ...espruinoNotes(firmware, claims)];
}
