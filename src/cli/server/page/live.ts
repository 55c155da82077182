// The live list: devices and what they fetch.
import type { Device, Download, Refusal, Snapshot } from "../api.ts";
import { chartOf } from "./chart.ts";
import { byId, type Child, element, gathered, replace } from "./dom.ts";
import { agoText, bytesText, clockText, countText, percentOf, rateText } from "./texts.ts";

const MOST_CARDS = 20;
const MOST_ROWS = 50;
const LEAST_CHARTED = 8192;

interface State {
  devices: Map<number, Device>;
  downloads: Map<number, Download>;
  refusals: Map<number, Refusal>;
}

const state: State = { devices: new Map(), downloads: new Map(), refusals: new Map() };

/** A path without its percent codes, where it can be read so. */
export function nameOf(path: string): string {
  try {
    return decodeURIComponent(path).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "\ufffd");
  } catch {
    return path;
  }
}

function deviceName(id: number): string {
  const device = state.devices.get(id);
  return device ? (device.serial ?? device.address) : "unknown";
}

function resultOf(download: Download): { text: string; kind: string } {
  const { state: how, position, size, sent, duration } = download;
  const rate = rateText(sent, duration);
  const more = rate && ` in ${rate}`;
  const percent = `${percentOf(position, size)} %, ${countText(position)} of ${bytesText(size)}`;
  if (how === "complete") return { text: `complete, ${bytesText(size)}${more}`, kind: "good" };
  if (how === "cut") return { text: `cut at ${percent}`, kind: "bad" };
  return { text: `${how === "part" ? "so far " : ""}${percent}${more}`, kind: how === "part" ? "wait" : "" };
}

const refusalText = ({ status, reason }: Refusal) => `refused, ${status}: ${reason}`;

// --- Devices ---------------------------------------------------------------------------------------------------------

/** What a device fetches now, or has fetched last; the largest of several that run. */
function currentOf(id: number): Download | undefined {
  const own = [...state.downloads.values()].filter(({ device }) => device === id);
  const running = own.filter((one) => one.state === "running").sort((a, b) => b.size - a.size);
  return running[0] ?? own.filter(({ size }) => size >= LEAST_CHARTED).at(-1) ?? own.at(-1);
}

function downloadParts(download: Download): Element[] {
  const { path, size, position } = download;
  const name = nameOf(path);
  const { text, kind } = resultOf(download);
  const line = element("p", {}, element("code", {}, name), " ", element("span", { class: kind }, text));
  const bar = element("progress", {
    max: String(size),
    value: String(position),
    "aria-label": `${name}, part that was sent`,
  });
  return size < LEAST_CHARTED ? [line, bar] : [line, bar, chartOf(download, name, byId("devices").clientWidth)];
}

function cardOf(device: Device): HTMLElement {
  const { id, address, userAgent, seenAt } = device;
  const latest = currentOf(id);
  const refusal = [...state.refusals.values()].filter((one) => one.device === id).at(-1);
  const isNewer = refusal && (!latest || refusal.id > latest.id);
  const about = [address, userAgent ?? "no User-Agent", `seen ${agoText(seenAt)}`].join(" \u00b7 ");
  return element(
    "article",
    { "data-device": String(id) },
    element("h3", {}, deviceName(id)),
    element("p", { class: "dim" }, about),
    ...(latest ? downloadParts(latest) : []),
    isNewer
      ? element(
          "p",
          {},
          element("code", {}, nameOf(refusal.path)),
          " ",
          element("span", { class: "bad" }, refusalText(refusal)),
        )
      : null,
  );
}

// --- Transfers -------------------------------------------------------------------------------------------------------

function rowOf(at: string, device: number, path: string, text: string, kind: string): HTMLElement {
  const cell = (kind: string, child: Child) => element("td", { role: "cell", class: kind }, child);
  return element(
    "tr",
    { role: "row" },
    cell("", element("time", { datetime: at }, clockText(at))),
    cell("", deviceName(device)),
    cell("", element("code", {}, nameOf(path))),
    cell(kind, text),
  );
}

function rows(): HTMLElement[] {
  const downloads = [...state.downloads.values()].map((one) => {
    const { text, kind } = resultOf(one);
    return { id: one.id, row: () => rowOf(one.startedAt, one.device, one.path, text, kind) };
  });
  const refusals = [...state.refusals.values()].map((one) => ({
    id: one.id,
    row: () => rowOf(one.at, one.device, one.path, refusalText(one), "bad"),
  }));
  const all = [...downloads, ...refusals].sort((a, b) => b.id - a.id);
  return all.slice(0, MOST_ROWS).map(({ row }) => row());
}

// --- Drawing ---------------------------------------------------------------------------------------------------------

export function drawLive(): void {
  const devices = [...state.devices.values()].sort((a, b) => b.seenAt.localeCompare(a.seenAt)).slice(0, MOST_CARDS);
  replace(byId("devices"), devices.map(cardOf));
  byId("no-devices").hidden = devices.length > 0;
  const lines = rows();
  replace(byId("requests").querySelector("tbody") as Element, lines);
  byId("requests").hidden = !lines.length;
  byId("no-requests").hidden = lines.length > 0;
}

const drawSoon = gathered(drawLive);

function announce(text: string): void {
  byId("results").textContent = text;
}

export function takeSnapshot({ devices, downloads, refusals }: Snapshot): void {
  state.devices = new Map(devices.map((one) => [one.id, one]));
  state.downloads = new Map(downloads.map((one) => [one.id, one]));
  state.refusals = new Map(refusals.map((one) => [one.id, one]));
  drawSoon();
}

/** The lists of the server are bounded, and so are these. */
function put<T extends { id: number }>(map: Map<number, T>, one: T, most: number): void {
  map.set(one.id, one);
  const [oldest] = map.keys();
  if (map.size > most) map.delete(oldest);
}

export function takeDevice(device: Device): void {
  state.devices.delete(device.id);
  put(state.devices, device, 100);
  drawSoon();
}

export function takeDownload(download: Download): void {
  const before = state.downloads.get(download.id);
  const points = [...(before?.points ?? []), ...download.points].filter(
    ([ms], i, all) => i === 0 || ms !== all[i + 1]?.[0],
  );
  const thinned = points.length > 400 ? points.filter((_, i) => i % 2 === 0) : points;
  put(state.downloads, { ...download, points: thinned }, 200);
  if (download.state !== "running" && download.state !== "part" && download.state !== before?.state)
    announce(`${deviceName(download.device)}, ${nameOf(download.path)}: ${resultOf(download).text}`);
  drawSoon();
}

export function takeRefusal(refusal: Refusal): void {
  put(state.refusals, refusal, 100);
  announce(`${deviceName(refusal.device)}, ${nameOf(refusal.path)}: ${refusalText(refusal)}`);
  drawSoon();
}
