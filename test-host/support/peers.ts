// Who talks to the examples that take an image from elsewhere than a server: by a TCP connection.

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

// --- TCP ---------------------------------------------------------------------------------------------------------------

export type Push = {
  /** The offsets that the device has asked for. */
  asked: number[];
  /** Its last line, "" when the connection was cut before it. */
  last: string;
};

const PATIENCE_MS = 30_000;

/** Connects, also when the device does not listen yet. */
async function connectSoon(port: number): Promise<Socket> {
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
 * cut. `more`: so many bytes too many are sent with each piece.
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
        if (asked.length === cut) socket.write(image.subarray(offset, offset + 1024), () => socket.destroy());
        else if (asked.length < cut) socket.write(image.subarray(offset, offset + 2048 + more));
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
