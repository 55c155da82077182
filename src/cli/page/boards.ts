// The choice of the board, and what the page says of it: what is written, and how to do it by hand. Text of the manifests
// stays text.
import { at } from "./dom.ts";
import { type Board, canFindOut, type Fetch, folderOf, loadParts, type Part, type Site } from "./flasher.ts";

/** Null to find it out by the chip, undefined while nothing is chosen. */
export type Choice = Board | null | undefined;

/** Which board the page is about; another one may be shown while the parts of the first are fetched. */
let shown: Choice;

const hex = (value: number) => `0x${value.toString(16).padStart(6, "0")}`;

function rowOf({ path, what, offset, size }: Part): HTMLTableRowElement {
  const row = document.createElement("tr");
  for (const text of [hex(offset), what, path, size.toLocaleString()]) {
    const cell = document.createElement("td");
    cell.textContent = text;
    row.append(cell);
  }
  return row;
}

function factsOf({ chipFamily, espruino, flash }: Board): string {
  const build = espruino ? [`Espruino build ${espruino}`] : [];
  return [chipFamily, ...build, ...(flash ? [`${flash / 2 ** 20} MB of flash`] : [])].join(", ");
}

function fill(board: Board, parts: readonly Part[]): void {
  const chip = board.chipFamily.toLowerCase().replace("-", "");
  at("command").textContent = `esptool --chip ${chip} --port PORT --baud 460800 write-flash 0x0 factory.bin`;
  at<HTMLAnchorElement>("whole").href = `${folderOf(board)}factory.bin`;
  at<HTMLAnchorElement>("sums").href = `${folderOf(board)}SHA256SUMS`;
  at("parts").replaceChildren(...parts.map(rowOf));
}

/** Rejects when its manifest.json cannot be read, or has changed. */
export async function describe(site: Site, board: Choice, get: Fetch): Promise<void> {
  shown = board;
  at("board").textContent = board ? `${board.title} (${factsOf(board)})` : "that you choose";
  for (const id of ["known", "by-hand"]) at(id).hidden = true;
  at("later").hidden = Boolean(board);
  if (!board) return;
  const parts = await loadParts(site, board, get);
  if (shown !== board) return;
  fill(board, parts);
  for (const id of ["known", "by-hand"]) at(id).hidden = false;
}

function radio(text: string, facts: string, isChosen: boolean, choose: () => void): HTMLElement {
  const label = document.createElement("label");
  const input = document.createElement("input");
  const about = document.createElement("span");
  Object.assign(input, { type: "radio", name: "board", checked: isChosen });
  input.addEventListener("change", choose);
  about.className = "facts";
  about.textContent = facts;
  label.append(input, text, about);
  return label;
}

/** Shows the boards when there are several, and calls `choose` with each choice, also the first one. */
export function offerBoards(site: Site, choose: (choice: Choice) => void): void {
  const { boards } = site;
  const several = boards.length > 1;
  const first: Choice = several ? (canFindOut(site) ? null : undefined) : boards[0];
  if (several) {
    const rows = boards.map((board) => radio(board.title, factsOf(board), false, () => choose(board)));
    if (first === null)
      rows.unshift(radio("Find out", "by the chip, when the board is connected", true, () => choose(null)));
    at("boards").append(...rows);
    at("choice").hidden = false;
  }
  choose(first);
}
