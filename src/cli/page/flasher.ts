// What the install page does with a board, without a word of HTML: reads what will be written, checks it, writes it by
// esptool-js, and starts the board. Runs in Node too, where it is tested against a serial port that is made up.
import { ESPLoader, type IEspLoaderTerminal, Transport } from "esptool-js";
import { md5 } from "./md5.ts";

/** Of manifest.json: docs/factory.md. */
export interface Part {
  path: string;
  what: string;
  offset: number;
  size: number;
  sha256: string;
}

export interface Manifest {
  name: string;
  version: string;
  board: { name: string; title: string; flash: number };
  builds: { chipFamily: string }[];
  parts: Part[];
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
}

/** Of the ROM of each chip; the second one is tried, and left where a cable or a bridge cannot do it. */
const ROM_BAUD = 115200;
const BAUD = 460800;
/** ms for which the reset line is held */
const RESET = 100;

/** What to do about an error is said in its message. */
export class InstallError extends Error {}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

type Fetch = (path: string) => Promise<Response>;

async function answer(path: string, get: Fetch): Promise<Response> {
  const response = await get(path);
  if (!response.ok) throw new InstallError(`${path}: the web server answers ${response.status}`);
  return response;
}

export async function loadManifest(get: Fetch): Promise<Manifest> {
  const response = await answer("manifest.json", get);
  const manifest = (await response.json().catch(() => null)) as Manifest | null;
  if (!manifest?.parts?.length || !manifest.builds?.length || !manifest.board)
    throw new InstallError("manifest.json is not from https-ota factory");
  return manifest;
}

const hexOf = (bytes: ArrayBuffer) =>
  [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** Fetches all parts, and refuses one that is not what the manifest names. */
export async function loadParts({ parts }: Manifest, get: Fetch): Promise<LoadedPart[]> {
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

async function checkBoard(loader: ESPLoader, { builds, board }: Manifest): Promise<void> {
  const [{ chipFamily }] = builds;
  const found = loader.chip.CHIP_NAME;
  if (found !== chipFamily)
    throw new InstallError(`this is an ${found}, and these files are for an ${chipFamily}: nothing was written`);
  // undefined for a flash chip that esptool-js does not know
  const size = await loader.detectFlashSize();
  const bytes = size?.endsWith("MB") ? Number.parseInt(size, 10) * 2 ** 20 : 0;
  if (size && bytes < board.flash)
    throw new InstallError(
      `the flash of this board has ${size}, ${megabytes(board.flash)} are needed: nothing was written`,
    );
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
}

/** Writes the parts, and reads each of them back by its digest. The port is closed at the end. */
export async function install(
  port: SerialPort,
  manifest: Manifest,
  parts: readonly LoadedPart[],
  options: InstallOptions,
): Promise<void> {
  const { step, done, eraseAll } = options;
  const transport = new Transport(port);
  // it logs the end of each reading to the console of the browser
  transport.trace = () => {};
  const loader = new ESPLoader({ transport, baudrate: BAUD, romBaudrate: ROM_BAUD, terminal: terminalFor(options) });
  try {
    step("Looking for the board");
    await loader.main();
    await checkBoard(loader, manifest);
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
