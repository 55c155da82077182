// The install page in the browser: what will be written, a button, progress, and the console of the board. Everything that
// comes from a file or a board is put in as text.
import {
  type Console,
  install,
  InstallError,
  type LoadedPart,
  loadManifest,
  loadParts,
  type Manifest,
  openConsole,
  type Part,
} from "./flasher.ts";

/** Elements of index.html. */
function at<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no ${id}`);
  return element as T;
}

const button = at<HTMLButtonElement>("install");
const erase = at<HTMLInputElement>("erase");
const bar = at<HTMLProgressElement>("progress");
const form = at<HTMLFormElement>("send");
const line = at<HTMLInputElement>("line");
const screen = at("screen");
const reopen = at<HTMLButtonElement>("reopen");

/** Characters of the console that are kept. */
const MOST = 50_000;

let board: Console | null = null;
let port: SerialPort | null = null;

function say(text: string, kind: "" | "good" | "bad" = ""): void {
  const status = at("status");
  status.textContent = text;
  status.className = kind;
}

function log(text: string): void {
  at("log").textContent += `${text}\n`;
}

function show(text: string): void {
  const bottom = screen.scrollTop + screen.clientHeight >= screen.scrollHeight - 20;
  const all = screen.textContent + text.replace(/\r/g, "");
  screen.textContent = all.slice(-MOST);
  if (bottom) screen.scrollTop = screen.scrollHeight;
}

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

function describe(manifest: Manifest): void {
  const { name, version, board, builds, parts } = manifest;
  document.title = `Install ${name} ${version}`;
  at("title").textContent = document.title;
  const flash = board.flash ? `, ${board.flash / 2 ** 20} MB of flash` : "";
  at("board").textContent = `${board.title} (${builds[0].chipFamily}${flash})`;
  at("parts").replaceChildren(...parts.map(rowOf));
  const chip = builds[0].chipFamily.toLowerCase().replace("-", "");
  at("command").textContent = `esptool.py --chip ${chip} --port PORT --baud 460800 write_flash 0x0 factory.bin`;
}

/** What to do, where the browser says little. */
function advice(error: unknown): string {
  const { name, message } = error as Error;
  if (error instanceof InstallError) return message;
  if (name === "NotFoundError") return "No port was chosen. Plug the board in by a cable that carries data.";
  if (name === "InvalidStateError" || name === "NetworkError")
    return "The port is in use, or the board is gone. Close other programs that use it (a Web IDE, a terminal), and try again.";
  if (/Failed to connect/.test(message))
    return "The board does not answer. Hold its BOOT button while you press Install, and release it when writing begins.";
  return `${message}. Try again; another cable or port may help.`;
}

async function openScreen(): Promise<void> {
  if (!port) return;
  at("console").hidden = false;
  reopen.hidden = true;
  try {
    board = await openConsole(port, show);
    form.hidden = false;
    await board.ended;
  } catch {
    // the port of a chip with USB of its own goes away while it restarts
  }
  board = null;
  form.hidden = true;
  reopen.hidden = false;
}

async function run(manifest: Manifest): Promise<void> {
  button.disabled = true;
  say("");
  at("log").textContent = "";
  try {
    port = await navigator.serial.requestPort();
    await board?.close();
    at("work").hidden = false;
    bar.value = 0;
    say("Fetching the files");
    const parts: LoadedPart[] = await loadParts(manifest, (path) => fetch(path));
    await install(port, manifest, parts, {
      eraseAll: erase.checked,
      step: (text) => say(text),
      done: (part) => {
        bar.value = part;
        at("percent").textContent = `${Math.floor(part * 100)} %`;
      },
      log,
    });
    say(`Done: ${manifest.name} ${manifest.version} is installed, and the board starts.`, "good");
    button.disabled = false;
    await openScreen();
  } catch (error) {
    say(advice(error), "bad");
    log(String(error));
  }
  button.disabled = false;
}

async function start(): Promise<void> {
  const manifest = await loadManifest((path) => fetch(path));
  describe(manifest);
  if (!("serial" in navigator)) {
    at(window.isSecureContext ? "no-serial" : "no-secure").hidden = false;
    return;
  }
  button.hidden = false;
  button.addEventListener("click", () => void run(manifest));
  reopen.addEventListener("click", () => void openScreen());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void board?.send(line.value).catch(() => {});
    line.value = "";
  });
}

start().catch((error) => say(advice(error), "bad"));
