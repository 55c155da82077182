// The peers of the examples that take an image over Bluetooth LE or over a TCP connection, and not from a server.

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { TestContext } from "node:test";
import { crc32 } from "node:zlib";

type Cleanup = Pick<TestContext, "after">;

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

// --- Bluetooth LE ------------------------------------------------------------------------------------------------------

export type BlePeer = {
  /** A TCP port: what comes there is what the device prints to its UART. */
  port: number;
  /** "offset file" of each question. */
  asked: string[];
  /** Its other lines. */
  said: string[];
  /** The numbers of the questions, from 1 on, that were answered wrong. */
  faults: Map<number, string>;
};

const WRITE = 182; // bytes that a peer writes at once, with an MTU of 185

/** Answers as the head of examples/ble-uart.js says, but for some questions. */
export async function startBlePeer(t: Cleanup, files: Record<string, Uint8Array>): Promise<BlePeer> {
  const asked: string[] = [];
  const said: string[] = [];
  const faults = new Map([
    [3, "a byte is damaged"],
    [6, "a write is lost"],
    [9, "silence"],
    [12, "the head is damaged"],
    [15, "bytes come twice"],
  ]);

  function answer(offset: number, file: string): Buffer {
    const bytes = Buffer.from(files[file].subarray(offset, offset + 1024));
    const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");
    return Buffer.concat([Buffer.from(hex(offset, 8) + hex(bytes.length, 4) + hex(crc32(bytes), 8)), bytes]);
  }
  function damage(bytes: Buffer, fault: string | undefined): Buffer[] {
    const writes: Buffer[] = [];
    if (fault === "silence") return [];
    if (fault === "a byte is damaged") bytes[200] ^= 1;
    if (fault === "the head is damaged") bytes[9] = 0x2d;
    for (let at = 0; at < bytes.length; at += WRITE) writes.push(bytes.subarray(at, at + WRITE));
    if (fault === "a write is lost") writes.splice(2, 1);
    if (fault === "bytes come twice") writes.splice(1, 0, writes[1]);
    return writes;
  }

  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.setNoDelay());
    let text = "";
    socket.on("error", () => {});
    socket.on("data", (data) => {
      text += data.toString("latin1");
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
        const line = text.slice(0, end).trim();
        const [command, offset, file] = line.split(" ");
        text = text.slice(end + 1);
        if (command !== "GET") {
          said.push(line);
          continue;
        }
        asked.push(`${offset} ${file}`);
        for (const bytes of damage(answer(Number(offset), file), faults.get(asked.length))) socket.write(bytes);
      }
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, asked, said, faults };
}

// --- TCP ---------------------------------------------------------------------------------------------------------------

export type Push = {
  /** The offsets that the device has asked for. */
  asked: number[];
  /** Its last line, "" when the connection was cut before it. */
  last: string;
};

const PATIENCE_MS = 30_000;
export const PIECE = 1024;

/** Connects, also when the device does not listen yet. */
export async function connectSoon(port: number): Promise<Socket> {
  for (const end = performance.now() + PATIENCE_MS; ; await sleep(20)) {
    const socket = connect(port, "127.0.0.1");
    try {
      await once(socket, "connect");
      return socket.setNoDelay();
    } catch (error) {
      if (performance.now() > end) throw error;
    }
  }
}

/**
 * As the head of examples/tcp-push.js says. `cut`: at this question half of the piece is sent, then the connection is
 * cut. `more`: the number of extra bytes that are sent with each piece.
 */
export async function pushTo(
  port: number,
  manifest: string,
  image: Uint8Array,
  { cut = Number.POSITIVE_INFINITY, more = 0 } = {},
): Promise<Push> {
  const socket = await connectSoon(port);
  const asked: number[] = [];
  let text = "";
  let last = "";
  socket.setTimeout(PATIENCE_MS, () => socket.destroy(new Error("the device is silent")));
  const closed = once(socket, "close");
  socket.on("data", (data) => {
    text += data.toString("latin1");
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      const line = text.slice(0, end);
      text = text.slice(end + 1);
      if (!/^\d+$/.test(line)) last = line;
      else {
        const offset = Number(line);
        asked.push(offset);
        if (asked.length === cut) socket.write(image.subarray(offset, offset + PIECE / 2), () => socket.destroy());
        else if (asked.length < cut) socket.write(image.subarray(offset, offset + PIECE + more));
      }
    }
  });
  // in two parts, as a network may bring it
  socket.write(`${manifest.length}\n${manifest.slice(0, 100)}`);
  await sleep(20);
  socket.write(manifest.slice(100));
  await closed;
  return { asked, last };
}

/** The same, until the device has noticed that the connection before is gone. */
export async function pushAgain(port: number, manifest: string, image: Uint8Array): Promise<Push> {
  for (;;) {
    const push = await pushTo(port, manifest, image).catch(() => ({ asked: [], last: "error busy" }));
    if (push.last !== "error busy") return push;
    await sleep(50);
  }
}
