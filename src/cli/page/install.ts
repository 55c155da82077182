// The install page in the browser: what will be written, a button, progress, and the console of the board. Everything that
// comes from a file or a board is put in as text.
import { type Choice, describe, offerBoards } from "./boards.ts";
import { at } from "./dom.ts";
import { type Board, type Console, install, InstallError, loadSite, openConsole, type Site } from "./flasher.ts";

const button = at<HTMLButtonElement>("install");
const erase = at<HTMLInputElement>("erase");
const bar = at<HTMLProgressElement>("progress");
const boards = at<HTMLFieldSetElement>("boards");
const form = at<HTMLFormElement>("send");
const line = at<HTMLInputElement>("line");
const screen = at("screen");
const reopen = at<HTMLButtonElement>("reopen");

/** Characters of the console that are kept. */
const MOST = 50_000;

let screenOf: Console | null = null;
let port: SerialPort | null = null;
let choice: Choice;

const get = (path: string) => fetch(path);

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
    screenOf = await openConsole(port, show);
    form.hidden = false;
    await screenOf.ended;
  } catch {
    // the port of a chip with USB of its own goes away while it restarts
  }
  screenOf = null;
  form.hidden = true;
  reopen.hidden = false;
}

/** What is said of the board that the files are for. */
function tell(site: Site, next: Choice): void {
  describe(site, next, get).catch((error) => say(advice(error), "bad"));
}

async function run(site: Site): Promise<void> {
  if (choice === undefined) {
    say("Choose the board first.", "bad");
    return;
  }
  button.disabled = boards.disabled = true;
  say("");
  at("log").textContent = "";
  let board: Board | null = null;
  try {
    port = await navigator.serial.requestPort();
    await screenOf?.close();
    at("work").hidden = false;
    bar.value = 0;
    await install(port, site, choice, {
      eraseAll: erase.checked,
      get,
      step: (text) => say(text),
      found: (one) => {
        board = one;
        tell(site, one);
      },
      done: (part) => {
        bar.value = part;
        at("percent").textContent = `${Math.floor(part * 100)} %`;
      },
      log,
    });
    const title = site.boards.length > 1 && board ? ` (${(board as Board).title})` : "";
    say(`Done: ${site.name} ${site.version}${title} is installed, and the board starts.`, "good");
    button.disabled = boards.disabled = false;
    await openScreen();
  } catch (error) {
    say(advice(error), "bad");
    log(String(error));
  }
  button.disabled = boards.disabled = false;
}

async function start(): Promise<void> {
  const site = await loadSite(get);
  document.title = `Install ${site.name} ${site.version}`;
  at("title").textContent = document.title;
  offerBoards(site, (next) => {
    choice = next;
    tell(site, next);
  });
  if (!("serial" in navigator)) {
    at(window.isSecureContext ? "no-serial" : "no-secure").hidden = false;
    at<HTMLAnchorElement>("local").href = Object.assign(new URL(location.href), { hostname: "localhost" }).href;
    return;
  }
  button.hidden = false;
  button.addEventListener("click", () => void run(site));
  reopen.addEventListener("click", () => void openScreen());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void screenOf?.send(line.value).catch(() => {});
    line.value = "";
  });
}

start().catch((error) => say(advice(error), "bad"));
