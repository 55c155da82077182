// A network without sockets: what a request asks for is there at the next idle pass. Thousands of updates need
// thousands of connections, and the kernel keeps each of them for a minute. The server here is honest about ranges;
// the one that misbehaves is server.ts.
// An ESP32 gets a file in pieces of at most 536 bytes, and the module writes each as it comes. A campaign cuts at every
// write, so nearly all of its initial states get a sector at a time, more than the engine asks for, and one gets the
// real pieces.

import type { Handle } from "../sim/espruino/socket.ts";
import { CLOSED } from "../sim/espruino/socket.ts";

export const WIRE_URL = "http://127.0.0.1:8070/";

export type Wire = {
  connect(address: string, port: number, wake: () => void): Handle;
  /** Bytes of bodies that were handed over. */
  served: number;
};

export type Served = { bytes: Uint8Array /** announced, where that is another number */; length?: number };

function answer(request: string, find: (path: string) => Served | null): { head: string; body: Uint8Array } {
  const [, path] = /^GET \/(\S*) /.exec(request) ?? [];
  const file = find(path);
  if (!file) return { head: "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", body: new Uint8Array(0) };
  const total = file.length ?? file.bytes.length;
  const etag = `"${path}"`;
  const range = /^Range: bytes=(\d+)-(\d*)\r$/m.exec(request);
  const ifRange = /^If-Range: (.*)\r$/m.exec(request)?.[1];
  const from = range && (ifRange === undefined || ifRange === etag) ? Number(range[1]) : 0;
  if (from >= total) {
    return {
      head: `HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */${total}\r\nContent-Length: 0\r\n\r\n`,
      body: new Uint8Array(0),
    };
  }
  const to = range?.[2] ? Math.min(Number(range[2]), total - 1) : total - 1;
  const status = range ? `206 Partial Content\r\nContent-Range: bytes ${from}-${to}/${total}` : "200 OK";
  const head = `HTTP/1.1 ${status}\r\nContent-Length: ${to - from + 1}\r\nETag: ${etag}\r\n\r\n`;
  return { head, body: file.bytes.subarray(from, Math.max(to + 1, file.bytes.length > total ? file.bytes.length : 0)) };
}

/** `pieceSize`: the most bytes that are handed over at a time. A head comes alone, so that pieces begin where its body does. */
export function createWire(find: (path: string) => Served | null, pieceSize: number): Wire {
  const wire: Wire = {
    served: 0,
    connect(_address, _port, wake) {
      let request = "";
      let reply: Uint8Array | null = null;
      let headLength = 0;
      let at = 0;
      return {
        send(bytes) {
          request += Buffer.from(bytes).toString("latin1");
          if (!reply && request.includes("\r\n\r\n")) {
            const { head, body } = answer(request, find);
            headLength = head.length;
            reply = Buffer.concat([Buffer.from(head, "latin1"), body]);
          }
          wake();
          return bytes.length;
        },
        recv() {
          if (!reply) return 0;
          if (at >= reply.length) return CLOSED;
          const part = reply.subarray(at, at < headLength ? headLength : at + pieceSize);
          at += part.length;
          wire.served += Math.min(part.length, Math.max(0, at - headLength));
          wake();
          return part;
        },
        close() {},
      };
    },
  };
  return wire;
}
