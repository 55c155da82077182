// The line to a device: a serial port by the package `serialport`, or TCP. Both are streams that may end at any moment.
// The package `espruino` has both too, and `push` takes `serialport` from it. Its own layer above them is not used: it
// sends 19 bytes each 50 ms by default, and it reports neither a refused connection nor a reset one.
import { createRequire } from "node:module";
import net from "node:net";
import path from "node:path";
import type { Duplex } from "node:stream";
import { refusal, systemReason } from "../ui/errors.ts";

export const DEFAULT_BAUD = 115200;
const TELNET = 23;
const CONNECT_TIME = 10_000;
/** Less than what the console buffers when it sends XOFF, 3/4 of 1024 bytes (Espruino scripts/build_platform_config.py). */
const BLOCK = 256;
const XON = 0x11;
const XOFF = 0x13;
/** ms after which a lost XON is not waited for any longer, as the Espruino tools have it */
const XOFF_TIME = 10_000;

export interface Tcp {
  host: string;
  port: number;
}

/** The line is gone: another one may come. */
export class Lost extends Error {}

export interface Link {
  /** Resolves when the text was handed to the system. Rejects with Lost. */
  write(text: string): Promise<void>;
  close(): void;
}

/** What a link calls: `onClose` once, also when the link was never open. */
export interface Listener {
  onData(text: string): void;
  onClose(why: string): void;
}

/** undefined for the name of a serial port. Throws a text that says what is wrong. */
export function parseTcp(port: string): Tcp | undefined {
  if (!/^tcp:/i.test(port)) return undefined;
  const url = URL.canParse(port) ? new URL(port) : undefined;
  if (!url?.hostname || url.pathname.length > 1) throw new Error("Expected tcp://HOST or tcp://HOST:PORT");
  return { host: url.hostname.replace(/^\[|\]$/g, ""), port: url.port ? Number(url.port) : TELNET };
}

// --- Flow ------------------------------------------------------------------------------------------------------------

/** XON and XOFF of the device, which a serial port's driver may have obeyed and removed already. */
function createGate(): { take(data: Buffer): void; open(): Promise<void> } {
  let waiting: (() => void)[] = [];
  let timer: NodeJS.Timeout | undefined;
  function release(): void {
    clearTimeout(timer);
    timer = undefined;
    for (const go of waiting) go();
    waiting = [];
  }
  return {
    take(data) {
      for (const byte of data) {
        if (byte === XON) release();
        if (byte === XOFF) timer ??= setTimeout(release, XOFF_TIME);
      }
    },
    open: () => (timer ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve()),
  };
}

/** `close` ends the stream at once; a stream of serialport has no use for destroy(). */
function linkOver(stream: Duplex, close: () => void, { onData, onClose }: Listener): Link {
  const gate = createGate();
  let gone: string | undefined;
  let leave: (() => void) | undefined;
  function end(why: string): void {
    if (gone !== undefined) return;
    gone = why;
    leave?.();
    onClose(why);
  }
  stream.on("data", (data: Buffer) => {
    gate.take(data);
    // they come between any two characters
    onData(Buffer.from(data.filter((byte) => byte !== XON && byte !== XOFF)).toString("latin1"));
  });
  stream.on("error", (error) => end(systemReason(error)));
  stream.on("end", () => end("closed by the other side"));
  stream.on("close", () => end("closed"));
  function writeBlock(block: string): Promise<void> {
    return new Promise((resolve) => {
      leave = resolve;
      stream.write(block, "latin1", () => resolve());
    });
  }
  return {
    async write(text) {
      for (let at = 0; at < text.length; at += BLOCK) {
        await gate.open();
        if (gone === undefined) await writeBlock(text.slice(at, at + BLOCK));
        if (gone !== undefined) throw new Lost(gone);
      }
    },
    close() {
      gone ??= "closed";
      close();
    },
  };
}

// --- TCP -------------------------------------------------------------------------------------------------------------

function openTcp({ host, port }: Tcp, listener: Listener): Promise<Link> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port, noDelay: true });
    const close = () => void socket.destroy();
    const timer = setTimeout(() => socket.destroy(new Error(`no answer in ${CONNECT_TIME / 1000} s`)), CONNECT_TIME);
    const failed = (error: Error) => {
      clearTimeout(timer);
      reject(error);
    };
    socket.once("error", failed);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", failed);
      resolve(linkOver(socket, close, listener));
    });
  });
}

// --- Serial ----------------------------------------------------------------------------------------------------------

interface SerialOptions {
  path: string;
  baudRate: number;
  autoOpen: false;
  /** the driver stops when the device sends XOFF */
  xon: true;
}
interface SerialStream extends Duplex {
  open(done: (error: Error | null) => void): void;
  close(done: () => void): void;
}
interface SerialClass {
  new (options: SerialOptions): SerialStream;
  list(): Promise<{ path: string; vendorId?: string }[]>;
}

const NO_SERIALPORT =
  "serial ports need the package serialport, which this command does not bring: npm install espruino (it has it), " +
  "then run npx https-ota in that folder; tcp://HOST:PORT needs nothing";

/** Of the project in the current folder, of where this command is installed, or inside of the package espruino there. */
function loadSerial(): SerialClass {
  for (const from of [path.join(process.cwd(), "package.json"), import.meta.url]) {
    for (const within of ["", "espruino/package.json"]) {
      try {
        const base = createRequire(from);
        const require = within ? createRequire(base.resolve(within)) : base;
        return require("serialport").SerialPort;
      } catch {
        // not there, or its native part does not load
      }
    }
  }
  throw refusal(NO_SERIALPORT, 1);
}

async function openSerial(name: string, baud: number, listener: Listener): Promise<Link> {
  const SerialPort = loadSerial();
  const stream = new SerialPort({ path: name, baudRate: baud, autoOpen: false, xon: true });
  await new Promise<void>((resolve, reject) => {
    stream.open((error) => (error ? reject(error) : resolve()));
  });
  return linkOver(stream, () => stream.close(() => {}), listener);
}

/** What can be done about a port that does not open. */
export async function remedyFor(port: string, error: unknown): Promise<string> {
  const reason = systemReason(error).replace(/^Error: |, cannot open .*$/g, "");
  if (parseTcp(port)) return `${reason}: is the address right, and is a console or a serial bridge listening there?`;
  if (/denied|not permitted|access/i.test(reason))
    return `${reason}: on Linux add yourself to the group of the port (sudo usermod -aG dialout $USER, then log in again)`;
  if (/busy|lock/i.test(reason)) return `${reason}: close the program that has it open (Web IDE, a terminal)`;
  const ports = (
    await loadSerial()
      .list()
      .catch(() => [])
  ).filter(({ vendorId }) => vendorId);
  const found = ports.map((one) => one.path).join(", ") || "none";
  return `${reason}: is the cable in? USB serial ports found: ${found}`;
}

/** Rejects with the system's error, or with a refusal when serial ports cannot be used at all. */
export function openPort(port: string, baud: number, listener: Listener): Promise<Link> {
  const tcp = parseTcp(port);
  return tcp ? openTcp(tcp, listener) : openSerial(port, baud, listener);
}
