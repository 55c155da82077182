// The misbehaving server of the contract scripts: each path is one kind of wrong answer. It speaks raw TCP and
// TLS, because a real HTTP server would refuse to misbehave.

import net from "node:net";
import tls from "node:tls";
import { certificate } from "../../support/certificate.ts";

const BODY = Buffer.from(Array.from({ length: 4000 }, (_, i) => 97 + (i % 26)));
const HELLO = Buffer.from("hello world");

type Socket = net.Socket | tls.TLSSocket;

function head(status: string, headers: string[]): Buffer {
  return Buffer.from(`HTTP/1.1 ${status}\r\n${headers.map((line) => `${line}\r\n`).join("")}\r\n`, "latin1");
}

function whole(status: string, headers: string[], body: Uint8Array): Buffer {
  return Buffer.concat([head(status, headers), body]);
}

function ok(length: number | string, body: Uint8Array): Buffer {
  return whole("200 OK", [`Content-Length: ${length}`], body);
}

function chunk(data: Uint8Array, extension = ""): Buffer {
  return Buffer.concat([Buffer.from(`${data.length.toString(16)}${extension}\r\n`), data, Buffer.from("\r\n")]);
}

const CHUNKED = head("200 OK", ["Transfer-Encoding: chunked"]);
const LAST_CHUNK = Buffer.from("0\r\n\r\n");

function chunked(...parts: Uint8Array[]): Buffer {
  return Buffer.concat([CHUNKED, ...parts]);
}

/** Sends the parts with a pause between them, so that each is a delivery of its own. */
function slowly(socket: Socket, parts: Uint8Array[], then: () => void, pauseMs = 40): void {
  if (parts.length === 0) {
    then();
    return;
  }
  socket.write(parts[0]);
  setTimeout(() => slowly(socket, parts.slice(1), then, pauseMs), pauseMs);
}

/** The TCP socket under a TLS one, to cut it without close-notify. */
const rawOf = new WeakMap<Socket, net.Socket>();

/** The last ClientHello, described: a handshake that fails has no other way to the program. */
let lastHello = "none";

function listenToHello(socket: net.Socket): void {
  socket.on("error", () => {});
  socket.once("data", (bytes) => {
    lastHello = describeHello(bytes);
    socket.destroy();
  });
}

type Scenario = (socket: Socket, request: string) => void;

function answer(bytes: Uint8Array): Scenario {
  return (socket) => {
    socket.write(bytes);
  };
}

/** Answers, then closes in the proper way (under TLS: with close-notify). */
function answerEnd(bytes: Uint8Array): Scenario {
  return (socket) => {
    socket.end(bytes);
  };
}

function answerThen(bytes: Uint8Array, then: (socket: Socket) => void, delayMs = 80): Scenario {
  return (socket) => {
    socket.write(bytes);
    setTimeout(then, delayMs, socket);
  };
}

const cut = (socket: Socket): void => {
  const raw = rawOf.get(socket);
  if (raw) raw.end();
  else socket.end();
};
const reset = (socket: Socket): void => {
  (rawOf.get(socket) ?? socket).resetAndDestroy();
};

const EXT_MAX_FRAGMENT = 1;
const EXT_SIGNATURES = 13;

/** What a ClientHello offers (RFC 5246 7.4.1.2): versions, cipher suites, signature algorithms, size of records. */
function describeHello(record: Buffer): string {
  const words = (bytes: Buffer): string[] => bytes.toString("hex").match(/..../g) ?? [];
  let at = 5 + 4; // record and handshake header
  const take = (length: number): Buffer => {
    at += length;
    return record.subarray(at - length, at);
  };
  const number = (bytes: number): number => take(bytes).readUIntBE(0, bytes);
  const version = take(2).toString("hex");
  take(32);
  take(number(1)); // session
  const ciphers = words(take(number(2)));
  take(number(1)); // compression
  const extensions = new Map<number, Buffer>();
  const length = number(2);
  for (const end = at + length; at < end; ) {
    const type = number(2);
    extensions.set(type, take(number(2)));
  }
  // MD5, which Node offers in no way, is left out
  const signatures = words(extensions.get(EXT_SIGNATURES)?.subarray(2) ?? Buffer.alloc(0)).filter(
    (one) => one !== "0101",
  );
  return [
    `record ${record.subarray(1, 3).toString("hex")} version ${version}`,
    `ciphers ${ciphers.join(" ")}`,
    `signatures ${signatures.join(" ")}`,
    `smaller records ${extensions.has(EXT_MAX_FRAGMENT)}`,
  ].join("\n");
}

const BIG = Buffer.alloc(300_000, BODY);
const MANY_HEADERS = Array.from({ length: 60 }, (_, i) => `X-${i}: ${"v".repeat(980)}`);

/** Bytes of the body of "large". */
export const LARGE = 1_500_000;

const SCENARIOS: Record<string, Scenario> = {
  full: answerEnd(ok(4000, BODY)),
  "full-end": answerEnd(ok(4000, BODY)),
  "full-slow": (socket) =>
    slowly(socket, [head("200 OK", ["Content-Length: 4000"]), BODY.subarray(0, 1000), BODY.subarray(1000)], () =>
      socket.end(),
    ),
  small: answerEnd(ok(11, HELLO)),
  empty: answerEnd(ok(0, Buffer.alloc(0))),
  short: answerEnd(ok(4000, BODY.subarray(0, 1500))),
  "short-end": answerEnd(ok(4000, BODY.subarray(0, 1500))),
  reset: answerThen(ok(4000, BODY.subarray(0, 1500)), reset),
  extra: answerEnd(ok(1000, BODY.subarray(0, 1567))),
  "no-length": answerEnd(whole("200 OK", [], BODY)),
  "no-length-end": answerEnd(whole("200 OK", [], BODY)),
  "no-length-slow": (socket) =>
    slowly(socket, [head("200 OK", []), BODY.subarray(0, 700), BODY.subarray(700)], () => socket.end()),
  "lf-only": answerEnd(Buffer.from("HTTP/1.1 200 OK\nContent-Length: 11\n\nhello world")),
  "mixed-lf": answerEnd(Buffer.from("HTTP/1.1 200 OK\nX-A: b\r\nContent-Length: 11\r\n\r\nhello world")),
  "no-answer": (socket) => void socket.end(),
  "no-answer-end": (socket) => void socket.end(),
  silent: () => {},
  "status-only": answerEnd(Buffer.from("HTTP/1.1 200 OK\r\n")),
  "half-header": answerEnd(Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 11\r\nX-")),
  "big-header": answerEnd(
    whole("200 OK", [`Big: ${"b".repeat(5000)}`, ...MANY_HEADERS, "Content-Length: 11", "Last: yes"], HELLO),
  ),
  duplicate: answerEnd(
    whole("200 OK", ["content-length: 5", "Content-Length: 11", "X-A: first", "X-A: second"], HELLO),
  ),
  "duplicate-length": answerEnd(whole("200 OK", ["Content-Length: 5", "Content-Length: 11"], HELLO)),
  "lower-case": answerEnd(whole("200 OK", ["content-length: 11", "x-y:z"], HELLO)),
  "odd-headers": answerEnd(
    whole("200 OK", ["Content-Length:11", "A:", "B: ", "C :x", "D:  two  spaces  ", "E: a:b", "nocolon", ": x"], HELLO),
  ),
  negative: answer(ok(-5, BODY.subarray(0, 1500))),
  "length-text": answerEnd(ok("eleven", HELLO)),
  "length-huge": answerEnd(ok("99999999999", HELLO)),
  partial: answerEnd(
    whole("206 Partial Content", ["Content-Range: bytes 5-10/11", "Content-Length: 6", 'ETag: "x"'], HELLO.subarray(5)),
  ),
  redirect: answerEnd(whole("302 Found", ["Location: /full", "Content-Length: 11"], HELLO)),
  "not-modified": answerEnd(head("304 Not Modified", ['ETag: "x"'])),
  "no-reason": answerEnd(whole("200", ["Content-Length: 11"], HELLO)),
  continue: answerEnd(Buffer.concat([Buffer.from("HTTP/1.1 100 Continue\r\n\r\n"), ok(11, HELLO)])),
  http10: answerEnd(Buffer.from("HTTP/1.0 200 Fine thanks\r\nContent-Length: 11\r\n\r\nhello world")),
  "keep-alive": answer(whole("200 OK", ["Connection: keep-alive", "Content-Length: 4000"], BODY)),
  binary: answerEnd(ok(256, Buffer.from(Array.from({ length: 256 }, (_, i) => i)))),
  garbage: answerEnd(Buffer.from("this is not HTTP at all\r\n\r\nno")),
  head: answerEnd(head("200 OK", ["Content-Length: 4000"])),
  split: (socket) =>
    slowly(
      socket,
      ["HTTP/1.1 2", "00 OK\r", "\nContent-Length: 1", "1\r\n\r", "\nhel", "lo world"].map((s) => Buffer.from(s)),
      () => socket.end(),
    ),
  "body-with-header-lines": answerEnd(ok(30, Buffer.from("X-In: body\r\nY-In: body\r\n\r\n\r\n\r\n"))),
  stall: answer(ok(4000, BODY.subarray(0, 1500))),
  echo: (socket, request) => {
    socket.end(ok(request.length, Buffer.from(request, "latin1")));
  },
  // chunked coding
  chunked: answerEnd(chunked(chunk(BODY.subarray(0, 1000)), chunk(BODY.subarray(1000)), LAST_CHUNK)),
  "chunked-upper": answerEnd(Buffer.concat([head("200 OK", ["transfer-encoding: CHUNKED"]), chunk(BODY), LAST_CHUNK])),
  "chunked-one-byte": answerEnd(chunked(...Array.from(BODY.subarray(0, 300), (b) => chunk(Buffer.of(b))), LAST_CHUNK)),
  "chunked-extension": answerEnd(chunked(chunk(HELLO, ";a=b"), chunk(HELLO, ' ; q="z"'), LAST_CHUNK)),
  "chunked-cut-middle": answerEnd(chunked(chunk(BODY).subarray(0, 2000))),
  "chunked-cut-end": answerEnd(chunked(chunk(BODY).subarray(0, 2000))),
  "chunked-cut-boundary": answerEnd(chunked(chunk(BODY.subarray(0, 1000)))),
  "chunked-cut-size": answerEnd(chunked(chunk(BODY.subarray(0, 1000)), Buffer.from("3e8"))),
  "chunked-reset-middle": answerThen(chunked(chunk(BODY).subarray(0, 2000)), reset),
  "chunked-big": answerEnd(chunked(chunk(BIG), LAST_CHUNK)),
  "chunked-trailer": answerEnd(chunked(chunk(HELLO), Buffer.from("0\r\nX-T: u\r\n\r\n"))),
  "chunked-stall": answer(chunked(chunk(BODY.subarray(0, 1000)))),
  "chunked-extra": answerEnd(chunked(chunk(HELLO), LAST_CHUNK, Buffer.from("HTTP/1.1 200 OK\r\n\r\n"))),
  "chunked-and-length": answerEnd(
    Buffer.concat([head("200 OK", ["Content-Length: 5", "Transfer-Encoding: chunked"]), chunk(HELLO), LAST_CHUNK]),
  ),
  "chunked-keep-alive": answer(chunked(chunk(HELLO), LAST_CHUNK)),
  "chunked-zero-only": answerEnd(chunked(LAST_CHUNK)),
  "chunked-leading-zeros": answerEnd(chunked(Buffer.from("000b\r\nhello world\r\n0000\r\n\r\n"))),
  "chunked-bad-size": answerEnd(chunked(Buffer.from("zz\r\nhello world\r\n0\r\n\r\n"))),
  "chunked-split-size": (socket) =>
    slowly(socket, [CHUNKED, Buffer.from("0000b"), Buffer.from("\r\nhello world\r\n"), LAST_CHUNK], () => socket.end()),
  "chunked-split-crlf": (socket) =>
    slowly(socket, [CHUNKED, Buffer.from("b\r\nhello world\r"), Buffer.from("\n0\r"), Buffer.from("\n\r\n")], () =>
      socket.end(),
    ),
  "chunked-identity": answerEnd(whole("200 OK", ["Transfer-Encoding: identity", "Content-Length: 11"], HELLO)),
  large: answerEnd(ok(LARGE, Buffer.alloc(LARGE, 7))),
  // TLS
  hello: (socket) => {
    socket.end(ok(lastHello.length, Buffer.from(lastHello)));
  },
  "tls-cut": answerThen(ok(4000, BODY.subarray(0, 1500)), cut),
  "tls-cut-full": answerThen(ok(4000, BODY), cut),
  "tls-no-answer-cut": (socket) => cut(socket),
  "big-records": answerEnd(ok(40_000, BIG.subarray(0, 40_000))),
};

function serve(socket: Socket): void {
  let request = "";
  let started = false;
  socket.on("error", () => {});
  socket.on("data", (bytes) => {
    request += bytes.toString("latin1");
    const end = request.indexOf("\r\n\r\n");
    if (started || end < 0) return;
    started = true;
    const name = /^\S+ \/([^? ]*)/.exec(request)?.[1] ?? "";
    // a body may follow in a packet of its own
    setTimeout(() => (SCENARIOS[name] ?? answerEnd(head("404 Not Found", [])))(socket, request), 30);
  });
}

export type ContractServer = {
  ports: Record<string, number>;
  close(): void;
};

export async function startServer(): Promise<ContractServer> {
  const servers: net.Server[] = [];
  const open = new Set<net.Socket>();
  async function listen(server: net.Server): Promise<number> {
    servers.push(server);
    server.on("connection", (socket) => {
      open.add(socket);
      socket.on("close", () => open.delete(socket));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return (server.address() as net.AddressInfo).port;
  }
  const pems = await certificate();
  const secure = (options: tls.TlsOptions): net.Server => {
    const server = tls.createServer({ ...pems, ...options }, serve);
    server.on("tlsClientError", () => {});
    return server;
  };
  const tlsServer = secure({});
  const raws = new Map<number | undefined, net.Socket>();
  tlsServer.on("connection", (raw: net.Socket) => raws.set(raw.remotePort, raw));
  tlsServer.on("secureConnection", (socket: tls.TLSSocket) => {
    rawOf.set(socket, raws.get(socket.remotePort) as net.Socket);
  });
  const gone = net.createServer();
  const ports = {
    PORT: await listen(net.createServer({ allowHalfOpen: true }, serve)),
    TLSPORT: await listen(tlsServer),
    TLS13PORT: await listen(secure({ minVersion: "TLSv1.3" })),
    ECDSAPORT: await listen(secure(await certificate("ec"))),
    ECDHEPORT: await listen(secure({ ciphers: "ECDHE", maxVersion: "TLSv1.2" })),
    DHEPORT: await listen(secure({ ciphers: "DHE", dhparam: "auto", maxVersion: "TLSv1.2" })),
    RSAPORT: await listen(secure({ ciphers: "AES128-SHA", maxVersion: "TLSv1.2" })),
    HELLOPORT: await listen(net.createServer(listenToHello)),
    SHUTPORT: await listen(net.createServer((socket) => void socket.end())),
    CLOSEDPORT: await listen(gone),
  };
  await new Promise((resolve) => gone.close(resolve));
  return {
    ports,
    close() {
      for (const server of servers) server.close();
      for (const socket of open) socket.destroy();
    },
  };
}
