// The reports of devices, a row each: what runs, how the last update ended, what is free. There with --collect alone.
import type { Condition, Reported, Reports } from "../api.ts";
import { byId, type Child, element, gathered, replace } from "./dom.ts";
import { agoText, bytesText, countText } from "./texts.ts";

/** In the order of the rows: what needs somebody comes first. A sign besides the word, because colours are not seen by all. */
const STATES: { [C in Condition]: { sign: string; text: string; kind: string } } = {
  "rolled back": { sign: "\u21a9", text: "Rolled back", kind: "alarm" },
  failed: { sign: "\u2715", text: "Failed", kind: "alarm" },
  differs: { sign: "\u2260", text: "Other slot", kind: "wait" },
  trial: { sign: "\u2026", text: "On trial", kind: "wait" },
  ok: { sign: "\u2713", text: "OK", kind: "good" },
};
const ORDER = Object.keys(STATES) as Condition[];

/** esp_ota_img_states_t */
const IMAGE_STATES = ["new", "pending verify", "valid", "invalid", "aborted"];

let shown: Map<string, Reported> | undefined;
/** Told since the list was asked for last: they are newer than what it says. */
let heard = new Map<string, Reported>();

// --- Cells -----------------------------------------------------------------------------------------------------------

const line = (text: Child) => element("span", { class: "line" }, text);
const note = (text: string) => element("span", { class: "line note" }, text);

function runsOf({ version, release, running, state, sequence, trial }: Reported): Child[] {
  const files = release && `${release.files} ${release.files === 1 ? "file" : "files"}`;
  const slot = running && `slot ${running}`;
  const how = state === null ? null : IMAGE_STATES[state];
  const place = [slot, how, sequence && `sequence ${sequence}`].filter(Boolean).join(", ");
  return [
    release && line([release.entry, release.version].filter(Boolean).join(" ") || "a release"),
    release && note(`${files}, on firmware ${version ?? "unknown"}`),
    release ? null : line(version ?? "unknown"),
    place ? note(place) : null,
    trial && note(`on trial, start ${trial.boots}, else back to ${trial.previous ?? "what was before"}`),
  ];
}

function lastOf({ last, rollbackReason, differs, rolledBack }: Reported): Child[] {
  return [
    rollbackReason ? line(element("span", { class: "bad" }, `rolled back: ${rollbackReason}`)) : null,
    line(last === "" ? "no update since the start" : last === "ESP_OK" ? "installed" : last),
    differs ? note(differs) : null,
    rolledBack.length ? note(`refused from now on: ${countText(rolledBack.length)}`) : null,
  ];
}

function freeOf({ free, storage }: Reported): Child[] {
  return [
    line(free === null ? "unknown" : `${countText(free)} JsVars`),
    storage && note(`Storage ${bytesText(storage.free)}`),
    storage && note(`trash ${bytesText(storage.trash)}`),
  ];
}

/** By IDF's soc_reset_reason_t; what is not here is shown by its number. */
const RESETS: Record<number, string> = {
  1: "power on",
  3: "restart",
  5: "deep sleep",
  12: "restart",
  15: "brown-out",
  21: "USB",
  22: "USB",
};
for (const watchdog of [7, 8, 9, 11, 13, 16, 17, 18]) RESETS[watchdog] = "watchdog";

function rowOf(report: Reported): HTMLElement {
  const { condition, serial, board, address, receivedAt, reset } = report;
  const { sign, text, kind } = STATES[condition];
  const cell = (label: string, ...children: Child[]) =>
    element("td", { role: "cell", "data-label": label }, element("div", {}, ...children));
  const time = element("time", { datetime: receivedAt, title: receivedAt }, agoText(receivedAt));
  const badge = element(
    "span",
    { class: `state ${kind}` },
    element("span", { "aria-hidden": "true" }, `${sign} `),
    text,
  );
  return element(
    "tr",
    { role: "row", class: kind === "alarm" ? kind : "", "data-serial": serial },
    cell("State", badge),
    cell("Device", line(element("code", {}, serial)), note(board ?? "unknown board")),
    cell("Runs", ...runsOf(report)),
    cell("Last update", ...lastOf(report)),
    cell("Free", ...freeOf(report)),
    cell(
      "Reported",
      line(time),
      note(address),
      reset === null ? null : note(`after ${RESETS[reset] ?? `reset ${reset}`}`),
    ),
  );
}

// --- Drawing ---------------------------------------------------------------------------------------------------------

function summaryOf(reports: readonly Reported[]): string {
  if (!reports.length) return "No device has reported yet.";
  const parts = ORDER.flatMap((condition) => {
    const count = reports.filter((one) => one.condition === condition).length;
    return count ? [`${countText(count)} ${STATES[condition].text.toLowerCase()}`] : [];
  });
  return `${countText(reports.length)} ${reports.length === 1 ? "device" : "devices"}: ${parts.join(", ")}`;
}

const rankOf = ({ condition }: Reported) => ORDER.indexOf(condition);

export function drawFleet(): void {
  if (!shown) return;
  const reports = [...shown.values()].sort((a, b) => rankOf(a) - rankOf(b) || (a.serial < b.serial ? -1 : 1));
  byId("fleet-summary").textContent = summaryOf(reports);
  const table = byId("fleet-table");
  table.hidden = !reports.length;
  replace(table.querySelector("tbody") as Element, reports.map(rowOf));
}

const drawSoon = gathered(drawFleet);

export function takeReport(report: Reported): void {
  heard.set(report.serial, report);
  if (!shown) return;
  const before = shown.get(report.serial)?.condition;
  shown.set(report.serial, report);
  const { text } = STATES[report.condition];
  if (report.condition !== before) byId("fleet-news").textContent = `${report.serial}: ${text}`;
  drawSoon();
}

export function takeForgotten({ serial }: { serial: string }): void {
  heard.delete(serial);
  shown?.delete(serial);
  drawSoon();
}

export async function loadReports(): Promise<void> {
  heard = new Map();
  const reply = await fetch("/-/api/reports");
  if (!reply.ok) return;
  const { url, limit, reports } = (await reply.json()) as Reports;
  byId("fleet").hidden = url === null;
  if (url === null) return;
  shown = new Map([...reports, ...heard.values()].map((one) => [one.serial, one]));
  byId("fleet-call").textContent = `require("https-ota").report(${JSON.stringify(url)})`;
  byId("fleet-limit").textContent = countText(limit);
  drawFleet();
}
