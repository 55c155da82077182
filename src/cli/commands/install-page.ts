// `https-ota install-page`: one page that installs several boards, from the outputs of `https-ota factory`.
import { existsSync } from "node:fs";
import path from "node:path";
import type { Command } from "commander";
import pc from "picocolors";
import { writeAll } from "../factory/output.ts";
import { pageFiles, pageLines } from "../factory/page.ts";
import { type BoardFolder, readBoards, sharedChips, siteManifest } from "../factory/site.ts";
import { isSite, MANIFEST_FILE, PAGE_FILES } from "../formats/factory-folder.ts";
import { printable, refuse } from "../ui/errors.ts";
import { columns, field } from "../ui/tables.ts";

/** A typing error must not replace a page of somebody else's. */
function checkPlace(folder: string): void {
  const there = [...PAGE_FILES, MANIFEST_FILE].find((name) => existsSync(path.join(folder, name)));
  if (there !== undefined && !isSite(folder))
    refuse(path.join(folder, there), "is not from install-page, and is not overwritten");
}

function notesOf(boards: readonly BoardFolder[]): string[] {
  const notes = sharedChips(boards).map(
    (chip) =>
      `several boards have an ${chip}, so the page asks which one it is. ESP Web Tools cannot ask: give it the ` +
      "manifest.json of the board",
  );
  const wifi = boards.filter((one) => one.wifi).map(({ name }) => name);
  if (wifi.length)
    notes.push(`a Wi-Fi with its password is in the files of ${wifi.join(", ")}: do not publish this folder`);
  return notes;
}

function run(folder: string): void {
  const boards = readBoards(folder);
  checkPlace(folder);
  writeAll(folder, [...pageFiles(), { name: MANIFEST_FILE, bytes: Buffer.from(siteManifest(boards)) }]);
  const [{ manifest }] = boards;
  const rows = boards.map(({ name, manifest: { board, builds } }) =>
    [name, builds[0].chipFamily, board.espruino ?? "", board.title].map(printable),
  );
  const lines = [
    `${printable(path.join(folder, "index.html"))}: ${pc.green("install page")} for ${boards.length === 1 ? "1 board" : `${boards.length} boards`}`,
    field("release", printable(`${manifest.name} ${manifest.version}`)),
    ...columns([["folder", "chip", "build", "board"], ...rows]),
    ...notesOf(boards).map((note) => field("note", printable(note))),
    "",
    "Any web server with https:// can have the folder; on this computer:",
    "",
    ...pageLines(folder),
  ];
  for (const line of lines) console.log(line);
}

const HELP = `
Each subfolder that factory has made is a board of the page. Their files stay where they are, and the page names them by
its manifest.json. Run it again when one of them was made again.

Example:
  npx https-ota factory --board esp32 --espruino espruino_esp32.tgz --release esp32.jws --out site/esp32
  npx https-ota factory --board esp32c3 --espruino espruino_esp32c3.tgz --release esp32c3.jws --out site/esp32c3
  npx https-ota install-page site
`;

export function addInstallPage(program: Command): void {
  program
    .command("install-page")
    .description("Make one page that installs several boards from a browser, of what factory has made for each.")
    .argument("<folder>", "the folder with their subfolders")
    .addHelpText("after", HELP)
    .action(run);
}
