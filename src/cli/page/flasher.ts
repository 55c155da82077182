// What the install page does with a board, without a word of HTML: reads what will be written, checks it, writes it by
// esptool-js, and starts the board. Runs in Node too, where it is tested against a serial port that is made up.
import { ESPLoader, type IEspLoaderTerminal, Transport } from "esptool-js";
import { md5 } from "./md5.ts";

/** Of a board's manifest.json: docs/factory.md. */
export interface Part {
  path: string;
  what: string;
  offset: number;
  size: number;
  sha256: string;
}

interface Manifest {
  name: string;
  version: string;
  builds: { chipFamily: string }[];
  board: { name: string; title: string; espruino?: string; flash: number };
  parts: Part[];
}

/** One board of the page. */
export interface Board {
  /** where its manifest.json is */
  manifest: string;
  name: string;
  title: string;
  /** process.env.BOARD of its Espruino */
  espruino?: string;
  chipFamily: string;
  /** bytes */
  flash: number;
}

export interface Site {
  name: string;
  version: string;
  boards: Board[];
}

export interface LoadedPart extends Part {
  bytes: Uint8Array<ArrayBuffer>;
}

export interface Progress {
  /** what is being done, for people */
  step(text: string): void;
  /** from 0 to 1 */
  done(part: number): void;
  /** what esptool-js says */
  log(text: string): void;
  /** which board it is, as soon as that is known */
  found(board: Board): void;
}

/** Of the ROM of each chip; the second one is tried, and left where a cable or a bridge cannot do it. */
const ROM_BAUD = 115200;
const BAUD = 460800;
/** ms for which the reset line is held */
const RESET = 100;

/** What to do about an error is said in its message. */
export class InstallError extends Error {}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export type Fetch = (path: string) => Promise<Response>;

async function answer(path: string, get: Fetch): Promise<Response> {
  const response = await get(path);
  if (!response.ok) throw new InstallError(`${path}: the web server answers ${response.status}`);
  return response;
}

async function readJson<T>(path: string, get: Fetch): Promise<T> {
  const response = await answer(path, get);
  const parsed = (await response.json().catch(() => null)) as T | null;
  if (parsed === null || typeof parsed !== "object") throw new InstallError(`${path} is not JSON`);
  return parsed;
}

function boardOf(manifest: string, { board, builds, parts }: Partial<Manifest>): Board {
  if (!parts?.length || !builds?.length || !board) throw new InstallError(`${manifest} is not from https-ota factory`);
  const { name, title, espruino, flash } = board;
  return { manifest, name, title, espruino, flash, chipFamily: builds[0].chipFamily };
}

/** What the page has: of `factory --page` one board, of `install-page` those that it lists. */
export async function loadSite(get: Fetch): Promise<Site> {
  const path = "manifest.json";
  const found = await readJson<Partial<Manifest> & Partial<Site>>(path, get);
  const boards = found.boards?.length ? found.boards : [boardOf(path, found)];
  return { name: String(found.name), version: String(found.version), boards };
}

/** The folder of a board, "" or with a slash at its end. */
export const folderOf = ({ manifest }: Board): string => manifest.slice(0, manifest.lastIndexOf("/") + 1);

/** The parts of a board, each with its path from the page. */
export async function loadParts(site: Site, board: Board, get: Fetch): Promise<Part[]> {
  const manifest = await readJson<Manifest>(board.manifest, get);
  const now = boardOf(board.manifest, manifest);
  const same = now.name === board.name && now.chipFamily === board.chipFamily && now.flash === board.flash;
  if (!same || manifest.name !== site.name || manifest.version !== site.version)
    throw new InstallError(
      `${board.manifest} has changed since the page was made (${manifest.name} ${manifest.version} for ` +
        `"${now.title}"): npx https-ota install-page makes the page again`,
    );
  return manifest.parts.map((part) => ({ ...part, path: folderOf(board) + part.path }));
}

/** Can the chip alone tell any of the boards? */
export const canFindOut = ({ boards }: Site): boolean =>
  boards.some(({ chipFamily }) => boards.filter((other) => other.chipFamily === chipFamily).length === 1);

const titles = (boards: readonly Board[]) => boards.map(({ title }) => `"${title}"`).join(" or ");

/** The board with this chip. `chosen`: by the user; null to find it out, which works where one board alone has the chip. */
export function boardWith({ boards }: Site, chosen: Board | null, chip: string): Board {
  if (chosen && chosen.chipFamily === chip) return chosen;
  if (chosen)
    throw new InstallError(
      `this is an ${chip}, and the files of "${chosen.title}" are for an ${chosen.chipFamily}: nothing was written`,
    );
  const fitting = boards.filter(({ chipFamily }) => chipFamily === chip);
  if (fitting.length === 1) return fitting[0];
  const others = [...new Set(boards.map(({ chipFamily }) => chipFamily))].join(" and ");
  throw new InstallError(
    fitting.length
      ? `this is an ${chip}, and several boards have one: choose ${titles(fitting)}. Nothing was written`
      : `this is an ${chip}, and there are files for ${others} only: nothing was written`,
  );
}

const hexOf = (bytes: ArrayBuffer) =>
  [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** Fetches all parts, and refuses one that is not what the manifest names. */
export async function fetchParts(parts: readonly Part[], get: Fetch): Promise<LoadedPart[]> {
  const loaded: LoadedPart[] = [];
  for (const part of parts) {
    const bytes = new Uint8Array(await (await answer(part.path, get)).arrayBuffer());
    if (bytes.length !== part.size)
      throw new InstallError(`${part.path}: ${bytes.length} bytes came, expected ${part.size}`);
    const sum = hexOf(await crypto.subtle.digest("SHA-256", bytes));
    if (sum !== part.sha256) throw new InstallError(`${part.path}: its SHA-256 is not that of manifest.json`);
    loaded.push({ ...part, bytes });
  }
  return loaded;
}

const megabytes = (size: number) => `${size / 2 ** 20} MB`;

async function checkFlash(loader: ESPLoader, { flash }: Board): Promise<void> {
  // undefined for a flash chip that esptool-js does not know
  const size = await loader.detectFlashSize();
  const bytes = size?.endsWith("MB") ? Number.parseInt(size, 10) * 2 ** 20 : 0;
  if (size && bytes < flash)
    throw new InstallError(`the flash of this board has ${size}, ${megabytes(flash)} are needed: nothing was written`);
}

function terminalFor({ log }: Progress): IEspLoaderTerminal {
  let line = "";
  const write = (text: string) => {
    line += text;
    const lines = line.split(/[\r\n]+/);
    line = lines.pop() as string;
    for (const one of lines) if (one) log(one);
  };
  return { clean() {}, write, writeLine: (text) => write(`${text}\n`) };
}

export interface InstallOptions extends Progress {
  /** everything else in flash goes too */
  eraseAll: boolean;
  get: Fetch;
}

/** Nothing is erased before the board is known to fit, and all of its files are here and right. */
async function prepare(
  loader: ESPLoader,
  site: Site,
  chosen: Board | null,
  { step, found, get }: InstallOptions,
): Promise<LoadedPart[]> {
  step("Looking for the board");
  await loader.main();
  const board = boardWith(site, chosen, loader.chip.CHIP_NAME);
  found(board);
  await checkFlash(loader, board);
  step("Fetching the files");
  return fetchParts(await loadParts(site, board, get), get);
}

/** Writes the parts, and reads each of them back by its digest. The port is closed at the end. `chosen`: see boardWith. */
export async function install(
  port: SerialPort,
  site: Site,
  chosen: Board | null,
  options: InstallOptions,
): Promise<void> {
  const { step, done, eraseAll } = options;
  const transport = new Transport(port);
  // it logs the end of each reading to the console of the browser
  transport.trace = () => {};
  const loader = new ESPLoader({ transport, baudrate: BAUD, romBaudrate: ROM_BAUD, terminal: terminalFor(options) });
  try {
    const parts = await prepare(loader, site, chosen, options);
    if (eraseAll) {
      step("Erasing the flash: this takes up to a minute");
      await loader.eraseFlash();
    }
    const total = parts.reduce((sum, { size }) => sum + size, 0);
    let before = 0;
    for (const { what, path, offset, size, bytes } of parts) {
      step(`Writing ${path}: ${what}`);
      await loader.writeFlash({
        fileArray: [{ data: bytes, address: offset }],
        // the headers are as they have to be
        flashMode: "keep",
        flashFreq: "keep",
        flashSize: "keep",
        eraseAll: false,
        compress: true,
        calculateMD5Hash: md5,
        reportProgress: (_file, written, all) => done((before + (size * written) / all) / total),
      });
      before += size;
    }
    done(1);
    step("Starting the board");
    await restart(transport);
  } finally {
    await transport.disconnect().catch(() => {});
  }
}

/** Holds the reset line, with IO0 high: the program in flash starts. */
async function restart(transport: Transport): Promise<void> {
  await transport.setDTR(false);
  await transport.setRTS(true);
  await sleep(RESET);
  await transport.setRTS(false);
}

// --- Console ---------------------------------------------------------------------------------------------------------

export interface Console {
  send(line: string): Promise<void>;
  close(): Promise<void>;
  /** when the board or the user ends it */
  ended: Promise<void>;
}

/** The console of Espruino on the port, which is closed. */
export async function openConsole(port: SerialPort, show: (text: string) => void): Promise<Console> {
  await port.open({ baudRate: ROM_BAUD });
  // a program is not held in reset, nor in the bootloader
  await port.setSignals({ dataTerminalReady: false, requestToSend: false });
  const reader = port.readable!.getReader();
  const decoder = new TextDecoder();
  const pump = async () => {
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        show(decoder.decode(value, { stream: true }));
      }
    } catch {
      // unplugged
    }
    reader.releaseLock();
    await port.close().catch(() => {});
  };
  return {
    ended: pump(),
    async send(line) {
      const writer = port.writable!.getWriter();
      await writer.write(new TextEncoder().encode(`${line}\n`));
      writer.releaseLock();
    },
    close: () => reader.cancel().catch(() => {}),
  };
}
