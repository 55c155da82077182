// `https-ota factory`: everything that a new board gets, from a published build of Espruino and a signed release.
import path from "node:path";
import { type Command, Option } from "commander";
import pc from "picocolors";
import { storageFor, type Release, type Storage } from "../factory/contents.ts";
import { flashLine, flashText, type Named, OLD_ESPTOOL, sha256Sums, webToolsManifest } from "../factory/documents.ts";
import { type EspruinoBuild, readEspruinoBuild } from "../factory/espruino-build.ts";
import { checkFolder, writeAll } from "../factory/output.ts";
import { pageFiles, pageLines } from "../factory/page.ts";
import { checkStarts, flashSizeOf, type FlashPart, merge, partsOf } from "../factory/parts.ts";
import { firstRelease } from "../factory/release.ts";
import { readWifi, type Wifi } from "../factory/wifi.ts";
import { type Board, loadBoards } from "../formats/boards.ts";
import { hex } from "../formats/bytes.ts";
import { FACTORY_FILE, FLASH_TEXT, MANIFEST_FILE, SUMS_FILE } from "../formats/factory-folder.ts";
import { FLASH_FREQS, FLASH_MODES, FLASH_SIZES, flashSizeName, KEEP } from "../formats/flash-header.ts";
import { loaderConfig, type LoaderOptions } from "../push/loader.ts";
import { loadPublicKeys } from "../release/keys.ts";
import { STOCK_PROJECT } from "../release/release.ts";
import type { NamedFile } from "../release/source-files.ts";
import { misuse, printable } from "../ui/errors.ts";
import { columns, field } from "../ui/tables.ts";
import { addLoaderOptions, collectNamed, parseOutFolder, parseTitle } from "./options.ts";

interface Options extends LoaderOptions {
  board: string;
  espruino: string;
  out: string;
  release?: string;
  files?: string;
  file?: NamedFile[];
  minify?: boolean;
  wifi?: string;
  page?: boolean;
  title?: string;
  flashMode: string;
  flashFreq: string;
  flashSize?: string;
}

function boardOf(name: string): Board {
  const boards = loadBoards();
  const board = boards.find((one) => one.name === name);
  return board ?? misuse(`--board ${name}: expected one of ${boards.map((one) => one.name).join(", ")}`);
}

function checkUsage({ release, files, file, minify, url }: Options): void {
  const withFiles = files !== undefined || file !== undefined;
  if (release === undefined && (withFiles || minify))
    misuse("--files, --file and --minify belong to --release: sign makes the manifest of the files");
  if (release === undefined && url === undefined)
    misuse("expected --release, the first release, or --url and --keys, with which a board fetches it itself");
}

/** "espruino 1.0.0" would be read as a version of Espruino: a release of the stock project gets its program's name too. */
const projectName = ({ claims: { project, entry } }: Release) =>
  project === STOCK_PROJECT ? `${project} program ${entry}` : project;

/** What the page and flash.txt call it. */
function nameOf(release: Release | null, { app }: EspruinoBuild, title: string): Named {
  const about = { title, espruino: app.espruino.board ?? undefined };
  if (release) return { name: projectName(release), version: release.claims.version, ...about };
  return { name: STOCK_PROJECT, version: app.espruino.version ?? "of unknown version", ...about };
}

interface Made {
  board: Board;
  build: EspruinoBuild;
  release: Release | null;
  wifi: Wifi | null;
  storage: Storage;
  parts: FlashPart[];
}

function notesOf({ board, build, release, wifi, storage }: Made, { keys }: Options): string[] {
  const { board: built } = build.app.espruino;
  const notes = [...(release?.program.notes ?? []), ...storage.notes];
  if (built && board.espruino !== undefined && built !== board.espruino)
    notes.push(`built for ${built}, the table of board ${board.name} was taken from ${board.espruino}`);
  if (release && !keys)
    notes.push(
      "without --url and --keys the signature of the release was not checked, and the loader cannot fetch another " +
        "release when this one does not start: give both",
    );
  if (wifi)
    notes.push(
      `${FACTORY_FILE} and storage.bin hold the Wi-Fi password as it is: anyone who has them can read it, ` +
        "so do not publish them",
    );
  return notes;
}

function releaseText(release: Release | null): string {
  if (!release) return "none: it fetches one";
  const { entry, version, project } = release.claims;
  return printable(`${entry} ${version}, project ${project}`);
}

const PAGE = "Or with the install page, which any web server with https:// can have; on this computer:";

function report(out: string, made: Made, options: Options): void {
  const { board, build, release, wifi, storage, parts } = made;
  const { espruino } = build.app;
  const last = parts[parts.length - 1];
  const whole = last.offset + last.bytes.length;
  const file = path.join(out, FACTORY_FILE);
  const rows = parts.map(({ name, what, offset, bytes }) => [name, hex(offset, 6), String(bytes.length), what]);
  const lines = [
    `${printable(file)}: ${pc.green("for flash address 0")}, ${whole} bytes`,
    field("board", printable(`${options.title ?? board.title} (${board.name})`)),
    field("espruino", printable(`${espruino.version ?? "of unknown version"}, ${build.app.bytes.length} bytes`)),
    field("release", releaseText(release)),
    ...(release ? [field("sequence", String(release.claims.sequence))] : []),
    field("wifi", wifi ? printable(`${wifi.ssid}, from ${wifi.from}`) : "none"),
    field("storage", `${storage.files.length} files, ${storage.used} bytes, ${storage.free} free for releases`),
    ...columns([["part", "address", "bytes", "what"], ...rows]),
    ...notesOf(made, options).map((note) => field("note", printable(note))),
    "",
    `In ${printable(out)}, with the board on PORT:`,
    "",
    `  ${flashLine(board.chip)}`,
    "",
    OLD_ESPTOOL,
    ...(options.page ? ["", PAGE, "", ...pageLines(out)] : []),
  ];
  for (const line of lines) console.log(line);
}

async function run(options: Options): Promise<void> {
  checkUsage(options);
  const { out, espruino, release: file, keys, wifi: wifiFile } = options;
  checkFolder(out);
  const board = boardOf(options.board);
  const build = readEspruinoBuild(espruino, board);
  const publicKeys = (await Promise.all((keys ?? []).map(loadPublicKeys))).flat();
  const config = await loaderConfig(options);
  const release = file === undefined ? null : await firstRelease(file, options, build, board, publicKeys);
  const wifi = readWifi(wifiFile);
  const storage = storageFor({ build, config, release, wifi });
  const size = options.flashSize ?? flashSizeName(board.flashSize) ?? KEEP;
  const settings = { mode: options.flashMode, freq: options.flashFreq, size };
  const parts = partsOf(build, board, storage.bytes, settings);
  const whole = merge(parts);
  checkStarts(whole, build);
  const name = nameOf(release, build, options.title ?? board.title);
  const files = [
    ...parts,
    { name: FACTORY_FILE, bytes: whole },
    { name: MANIFEST_FILE, bytes: Buffer.from(webToolsManifest(board, name, parts, flashSizeOf(build, settings))) },
  ];
  writeAll(out, [
    ...files,
    ...(options.page ? pageFiles() : []),
    { name: SUMS_FILE, bytes: Buffer.from(sha256Sums(files)) },
    { name: FLASH_TEXT, bytes: Buffer.from(flashText(board, name, parts)) },
  ]);
  report(out, { board, build, release, wifi, storage, parts }, options);
}

const HELP = `
The result boots into the release: bootloader, the table of the board, blank otadata, Espruino in the first slot, and a
Storage with loader, module, boot record and the files of the release. The first update of such a board is like any other.

--espruino is the published build: the folder, .zip or .tgz with bootloader.bin and the app. The release comes from
sign, with its files beside it or in --files. With --url and --keys the loader fetches a release when none can start.

Several boards: one run for each, with --out FOLDER/BOARD, and then install-page FOLDER.

The Wi-Fi comes from a JSON file { "ssid": "...", "password": "..." }, or from HTTPS_OTA_WIFI_SSID and
HTTPS_OTA_WIFI_PASSWORD in the environment. It is stored as Wifi.save() of Espruino stores it.

Example:
  npx https-ota sign --files build --entry app.js --chip esp32 --app-version 1.0.0 --key key.pem --out build/app.jws
  npx https-ota factory --board esp32 --espruino espruino_2v27.45_esp32.tgz --release build/app.jws \\
    --url https://example.com/app.jws --keys key.pub.jwk --wifi wifi.json --out factory
`;

export function addFactory(program: Command): void {
  const command = program
    .command("factory")
    .description("Make the image of a new board: bootloader, table, Espruino, and a Storage with the first release.")
    .requiredOption("--board <name>", "which board: a folder of boards/, such as esp32c3")
    .requiredOption("--espruino <build>", "published build of Espruino: a folder, .zip or .tgz")
    .requiredOption("--out <folder>", "where the files go", parseOutFolder)
    .option("--release <manifest>", "the first release: a manifest with files, made by sign")
    .option("--files <folder>", "the files of the release (default: the folder of the manifest)")
    .option("--file <name=path>", "one more file of it, or another one of that name; may be repeated", collectNamed)
    .option("--minify", "the files were signed with --minify");
  addLoaderOptions(command)
    .option("--wifi <file>", "JSON file with ssid and password")
    .option("--page", "with a page that installs it from a browser (Web Serial)")
    .option("--title <text>", "what people call the board, for the page (default: that of boards/)", parseTitle)
    .addOption(
      new Option("--flash-mode <mode>", "how the chip reads its flash")
        .choices([KEEP, ...Object.keys(FLASH_MODES)])
        .default(KEEP, "keep: as the bootloader was built"),
    )
    .addOption(
      new Option("--flash-freq <frequency>", "and how fast")
        .choices([KEEP, ...Object.keys(FLASH_FREQS)])
        .default(KEEP, "keep"),
    )
    .addOption(
      new Option("--flash-size <size>", "of the chip (default: that of the board)").choices([KEEP, ...FLASH_SIZES]),
    )
    .addHelpText("after", HELP)
    .action(run);
}
