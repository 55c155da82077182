// Releases, and the program that fetches one of them.
import type { NotServed, Release, ReleaseFile, Releases } from "../api.ts";
import { byId, element, replace } from "./dom.ts";
import { drawInstalls } from "./installs.ts";
import { nameOf } from "./live.ts";
import { agoText, bytesText } from "./texts.ts";

let shown: Releases | undefined;
let chosen = "";

const titleOf = ({ project, version, path }: Release) =>
  project === null && version === null ? nameOf(path) : [project, version].filter(Boolean).join(" ");

const SIGNED = {
  "on request": "(by this server)",
  file: "(as the manifest says; not verified here)",
  no: "",
};

function time(iso: string): HTMLElement {
  return element("time", { datetime: iso, title: iso }, agoText(iso));
}

function link(path: string): HTMLElement {
  return element("a", { href: location.origin + path }, element("code", {}, nameOf(path)));
}

function field(list: HTMLElement, name: string, ...value: (Node | string | null)[]): void {
  if (value.every((one) => one === null || one === "")) return;
  list.append(element("dt", {}, name), element("dd", {}, ...value));
}

function fileRow({ name, path, size, role, sha256 }: ReleaseFile): HTMLElement {
  return element(
    "tr",
    {},
    element("td", {}, path === null ? name : element("a", { href: location.origin + path }, name)),
    element("td", {}, String(size)),
    element("td", {}, role),
    element("td", {}, element("code", {}, sha256)),
  );
}

function filesOf(files: readonly ReleaseFile[]): HTMLElement {
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  const head = ["Name", "Bytes", "What", "SHA-256"].map((name) => element("th", { scope: "col" }, name));
  const table = element(
    "table",
    {},
    element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...files.map(fileRow)),
  );
  const title = `${files.length} ${files.length === 1 ? "file" : "files"}, ${bytesText(bytes)}`;
  const scroll = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Files" }, table);
  return element("details", {}, element("summary", {}, title), scroll);
}

function keysOf({ keys, signed }: Release): HTMLElement {
  if (signed === "no") return element("span", { class: "wait" }, "nobody: a device takes it by its digest");
  return element("span", {}, ...keys.flatMap((key) => [element("code", {}, key), " "]), SIGNED[signed]);
}

function cardOf(release: Release): HTMLElement {
  const { path, chip, board, image, files, sequence, signedAt, expiresAt, changedAt } = release;
  const list = element("dl");
  field(list, "Address", link(path));
  field(list, "Chip", chip ?? "", board === null ? null : `, only for board ${board}`);
  if (image) {
    const place = image.path === null ? "on another server" : image.path === path ? null : link(image.path);
    field(list, "Image", bytesText(image.size), place && ", ", place);
    field(list, "Digest", element("code", {}, image.digest));
  }
  field(list, "Signed by", keysOf(release));
  field(list, "Sequence", sequence === null ? "" : String(sequence));
  if (signedAt !== null) field(list, "Signed", time(signedAt));
  if (expiresAt !== null) field(list, "Expires", time(expiresAt));
  if (changedAt !== null) field(list, "Changed", time(changedAt));
  const use = element("button", { type: "button", class: "plain" }, "Program for it");
  use.addEventListener("click", () => {
    choose(path);
    byId("program").focus();
  });
  return element("article", {}, element("h3", {}, titleOf(release)), list, files.length ? filesOf(files) : null, use);
}

function notServedItem({ path, reason }: NotServed): HTMLElement {
  return element("li", {}, element("code", {}, nameOf(path)), ": ", element("span", { class: "bad" }, reason));
}

// --- The program -----------------------------------------------------------------------------------------------------

async function drawProgram(): Promise<void> {
  const address = byId<HTMLSelectElement>("address").value;
  const query = new URLSearchParams({ path: chosen, address });
  const reply = chosen ? await fetch(`/-/api/program?${query}`) : null;
  byId<HTMLTextAreaElement>("program").value = reply?.ok ? await reply.text() : "There is no release.";
  byId("copied").textContent = "";
}

function choose(path: string): void {
  chosen = path;
  byId<HTMLSelectElement>("release").value = path;
  void drawProgram();
}

function drawAddress(): void {
  const address = byId<HTMLSelectElement>("address").value;
  const code = byId<HTMLImageElement>("qr");
  code.src = `/-/qr.svg?${new URLSearchParams({ address })}`;
  code.alt = `QR code of ${address}/`;
  const here = byId<HTMLAnchorElement>("here");
  here.href = `${address}/`;
  here.textContent = `${address}/`;
}

/** Outside of a secure context (http to another computer) there is no clipboard: what is selected is copied there. */
function copySelected(area: HTMLTextAreaElement): boolean {
  area.select();
  return document.execCommand("copy");
}

async function copy(): Promise<void> {
  const area = byId<HTMLTextAreaElement>("program");
  let done = false;
  try {
    await navigator.clipboard.writeText(area.value);
    done = true;
  } catch {
    done = copySelected(area);
    byId("copy").focus();
  }
  byId("copied").textContent = done ? "Copied." : "The browser does not allow it: select the text and copy it.";
}

// --- Drawing ---------------------------------------------------------------------------------------------------------

const optionOf = (value: string, text: string) => element("option", { value }, text);

function drawReleases({ releases, notServed }: Releases): void {
  const list = byId("releases");
  const open = new Set([...list.querySelectorAll("details[open]")].map((one) => one.closest("article")?.dataset.path));
  const cards = releases.map((release) => {
    const card = cardOf(release);
    card.dataset.path = release.path;
    if (open.has(release.path)) card.querySelector("details")?.setAttribute("open", "");
    return card;
  });
  replace(list, cards);
  byId("paste").hidden = !releases.length;
  byId("offers").hidden = !releases.length && !notServed.length;
  const box = byId("not-served");
  box.hidden = !notServed.length;
  replace(box.querySelector("ul") as Element, notServed.map(notServedItem));
}

/** The ages in what is there. */
export function drawAges(): void {
  for (const one of byId("releases").querySelectorAll("time")) one.textContent = agoText(one.dateTime);
}

export async function loadReleases(): Promise<void> {
  const reply = await fetch("/-/api/releases");
  if (!reply.ok) return;
  shown = (await reply.json()) as Releases;
  const { addresses, releases, suggested } = shown;
  drawReleases(shown);
  drawInstalls(shown);
  const address = byId<HTMLSelectElement>("address");
  const before = address.value || addresses[0];
  replace(
    address,
    addresses.map((one) => optionOf(one, one)),
  );
  address.value = before;
  replace(
    byId("release"),
    releases.map((one) => optionOf(one.path, `${titleOf(one)} (${nameOf(one.path)})`)),
  );
  const still = releases.some(({ path }) => path === chosen);
  choose(still ? chosen : (suggested ?? releases[0]?.path ?? ""));
  drawAddress();
}

export function startOffers(): void {
  byId("release").addEventListener("change", (event) => choose((event.target as HTMLSelectElement).value));
  byId("address").addEventListener("change", () => {
    drawAddress();
    void drawProgram();
  });
  byId("copy").addEventListener("click", () => void copy());
}
