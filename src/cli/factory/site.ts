// One install page for several boards, whose files `https-ota factory` has put into subfolders. They stay as they are: the
// page finds them by its manifest.json.
import { readdirSync } from "node:fs";
import path from "node:path";
import { holdsWifi, isOutput, MANIFEST_FILE } from "../formats/factory-folder.ts";
import { isRefusal, printable, refuse, systemReason } from "../ui/errors.ts";
import { readInput } from "../ui/files.ts";
import { sha256 } from "./parts.ts";

/** Of the manifest.json in each subfolder: docs/factory.md. */
interface BoardManifest {
  name: string;
  version: string;
  builds: [{ chipFamily: string; parts: { path: string; offset: number }[] }];
  board: { name: string; title: string; espruino?: string; flash: number };
  parts: { path: string; size: number; sha256: string }[];
}

export interface BoardFolder {
  /** below the folder of the page */
  name: string;
  manifest: BoardManifest;
  /** its Storage has a Wi-Fi with its password */
  wifi: boolean;
}

function readManifest(file: string): BoardManifest {
  const other = "not from this version of factory: make the files of this board again";
  try {
    const manifest = JSON.parse(readInput(file).toString("utf8"));
    const { board, builds, parts } = manifest;
    const known = [board.name, board.title, builds[0].chipFamily, builds[0].parts[0].path, parts[0].sha256];
    if (builds.length === 1 && known.every((one) => typeof one === "string")) return manifest;
  } catch (error) {
    if (isRefusal(error)) throw error;
  }
  return refuse(file, other);
}

function readBoard(folder: string, name: string): BoardFolder {
  const below = path.join(folder, name);
  const manifest = readManifest(path.join(below, MANIFEST_FILE));
  let wifi = false;
  for (const part of manifest.parts) {
    const file = path.join(below, path.basename(part.path));
    const bytes = readInput(file);
    if (bytes.length !== part.size || sha256(bytes) !== part.sha256)
      refuse(file, `not the file that its ${MANIFEST_FILE} names: make the files of this board again`);
    wifi ||= holdsWifi(bytes);
  }
  return { name, manifest, wifi };
}

function namesIn(folder: string): string[] {
  try {
    const entries = readdirSync(folder, { withFileTypes: true });
    return entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : [])).sort();
  } catch (error) {
    return refuse(folder, systemReason(error));
  }
}

const titleOf = ({ manifest: { board } }: BoardFolder) =>
  board.espruino === undefined ? board.title : `${board.title} (${board.espruino})`;

/** One page is about one release, and a board is chosen by what it is called. */
function checkTogether(folder: string, boards: readonly BoardFolder[]): void {
  const [first] = boards;
  for (const [i, one] of boards.entries()) {
    for (const member of ["name", "version"] as const)
      if (one.manifest[member] !== first.manifest[member])
        refuse(
          path.join(folder, one.name),
          printable(
            `${member} ${one.manifest[member]}, but ${first.name} has ${first.manifest[member]}: ` +
              "a page is for one release, make both of the same",
          ),
        );
    const twin = boards.slice(0, i).find((other) => titleOf(other) === titleOf(one));
    if (twin)
      refuse(
        path.join(folder, one.name),
        printable(`is called "${titleOf(one)}", as ${twin.name} is: give one of them another --title`),
      );
  }
}

/** The boards of all subfolders that are from `https-ota factory`. */
export function readBoards(folder: string): BoardFolder[] {
  if (isOutput(folder)) refuse(folder, "has the files of one board: factory --page makes its page");
  const names = namesIn(folder).filter((name) => isOutput(path.join(folder, name)));
  if (!names.length) refuse(folder, "no subfolder of it is from factory: --out FOLDER/BOARD makes one");
  const boards = names.map((name) => readBoard(folder, name));
  checkTogether(folder, boards);
  return boards;
}

const familyOf = ({ manifest }: BoardFolder) => manifest.builds[0].chipFamily;

/** Chips of several boards: from the chip alone nobody can tell which of them it is. */
export function sharedChips(boards: readonly BoardFolder[]): string[] {
  const families = boards.map(familyOf);
  return [...new Set(families.filter((one, i) => families.indexOf(one) !== i))];
}

/**
 * `builds` is for ESP Web Tools, which takes the first one that has the chip it found. So a chip of several boards is left
 * out there: it would get the files of another board. `boards` is for our page, which asks.
 */
export function siteManifest(boards: readonly BoardFolder[]): string {
  const shared = sharedChips(boards);
  const [{ manifest }] = boards;
  const at = ({ name }: BoardFolder, file: string) => `${encodeURIComponent(name)}/${file}`;
  const site = {
    name: manifest.name,
    version: manifest.version,
    new_install_prompt_erase: true,
    builds: boards
      .filter((one) => !shared.includes(familyOf(one)))
      .map((one) => ({
        chipFamily: familyOf(one),
        parts: one.manifest.builds[0].parts.map(({ path: file, offset }) => ({ path: at(one, file), offset })),
      })),
    // a member of our own, which ESP Web Tools ignores
    boards: boards.map((one) => ({
      manifest: at(one, MANIFEST_FILE),
      chipFamily: familyOf(one),
      ...one.manifest.board,
    })),
  };
  return `${JSON.stringify(site, null, 2)}\n`;
}
