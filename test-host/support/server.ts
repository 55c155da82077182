// The lying server: an HTTP(S) server on raw sockets, so that a test decides every byte and when it is sent.
// First the server, then the behaviours: one function per way in which a server can answer, rightly or wrongly.
// Framing is RFC 9112 (HTTP/1.1), ranges and validators are RFC 9110 sections 13 and 14.
// A behaviour never hangs a test: when the client goes away, whatever the behaviour awaits is given up.

import { createHash } from "node:crypto";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { createSecureContext, TLSSocket, type SecureContext, type SecureVersion } from "node:tls";
import { gzipSync } from "node:zlib";
import { certificate } from "./certificate.ts";
import { listening } from "../sim/espruino/socket.ts";

export type Headers = Record<string, string | number> | [string, string | number][];

export type Request = {
  method: string;
  path: string;
  /** Names in lower case; a repeated field is joined with ", ". */
  headers: Record<string, string>;
  /** The head as it came, without the blank line. */
  rawHead: string;
  /** Of a single byte range; a suffix range `bytes=-n` has start -n. */
  range: { start: number; end: number | null } | null;
  /** Position in `server.requests`. */
  index: number;
  /** Which accepted connection brought it, counted from 0. */
  connection: number;
  /** `http(s)://localhost:PORT` of the server that was asked. */
  origin: string;
  /** Bytes after the blank line that were sent in answer, chunk framing included. */
  sent: number;
};

export interface Io {
  /** Resolves when the bytes are handed to the kernel. */
  write(bytes: string | Uint8Array): Promise<void>;
  /** A status line and fields. A string for `status` is the whole status line. */
  head(status: number | string, headers: Headers, reason?: string): Promise<void>;
  /** Closes in order: what is queued goes out, then (TLS: close-notify and) FIN. */
  end(): void;
  /** Closes without a TLS close-notify; on a plain connection that is a FIN. */
  cut(): void;
  /** Closes with a TCP RST. */
  reset(): void;
  sleep(ms: number): Promise<void>;
  /** The stream the client talks to: a TLSSocket when the server speaks TLS. */
  socket: Socket;
  /** The TCP connection below it. */
  raw: Socket;
}

export type Behaviour = (req: Request, io: Io) => void | Promise<void>;

export interface Server {
  url(path?: string): string;
  readonly port: number;
  readonly requests: Request[];
  /** A path with a query is looked up as it is, then without the query. */
  on(path: string, behaviour: Behaviour): void;
  fallback: Behaviour;
  /** Sum of `Request.sent`. */
  readonly sent: number;
  openSockets(): number;
  /** Drops every connection. Rejects with the first error that a behaviour threw: a broken test must not look like a broken network. */
  close(): Promise<void>;
}

export type ServerOptions = {
  tls?: boolean;
  tlsMin?: SecureVersion;
  tlsMax?: SecureVersion;
  /** It has a certificate for those alone that ask for `localhost` by name (SNI), as hosts of many sites have. */
  sni?: boolean;
  /** Host name in `url()` and `Request.origin`; "127.0.0.1" makes a second origin for the same machine. */
  name?: string;
};

/** Thrown by Io when the client is gone: ends a behaviour, is not an error. */
const GONE = new Error("client gone");

const REASONS: Record<number, string> = {
  100: "Continue",
  103: "Early Hints",
  200: "OK",
  204: "No Content",
  206: "Partial Content",
  301: "Moved Permanently",
  302: "Found",
  303: "See Other",
  304: "Not Modified",
  307: "Temporary Redirect",
  308: "Permanent Redirect",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  408: "Request Timeout",
  416: "Range Not Satisfiable",
  429: "Too Many Requests",
  500: "Internal Server Error",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};

function headText(status: number | string, headers: Headers, reason?: string): string {
  const line = typeof status === "string" ? status : `HTTP/1.1 ${status} ${reason ?? REASONS[status] ?? "Unknown"}`;
  const fields = Array.isArray(headers) ? headers : Object.entries(headers);
  return [line, ...fields.map(([name, value]) => `${name}: ${value}`), "", ""].join("\r\n");
}

function parseRange(value: string | undefined): Request["range"] {
  const match = /^bytes=(\d*)-(\d*)$/.exec((value ?? "").trim());
  if (!match || (match[1] === "" && match[2] === "")) return null;
  if (match[1] === "") return { start: -Number(match[2]), end: null };
  return { start: Number(match[1]), end: match[2] === "" ? null : Number(match[2]) };
}

function parseRequest(rawHead: string, origin: string, index: number, connection: number): Request {
  const [line, ...fields] = rawHead.split("\r\n");
  const [method, target] = line.split(" ");
  const headers: Record<string, string> = Object.create(null);
  for (const field of fields) {
    const colon = field.indexOf(":");
    const name = field.slice(0, colon).toLowerCase();
    const value = field.slice(colon + 1).trim();
    headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
  }
  // The request target may be in absolute form (RFC 9112 3.2.2).
  const path = (target ?? "").replace(/^https?:\/\/[^/]*/i, "") || "/";
  return { method, path, headers, rawHead, range: parseRange(headers.range), index, connection, origin, sent: 0 };
}

/** One Io per request. Bytes written before a blank line are head, bytes after it are counted as body. */
function createIo(socket: Socket, raw: Socket, req: Request): Io {
  let text = "";
  let inBody = false;

  function countBody(bytes: Uint8Array): number {
    if (inBody) return bytes.length;
    text += Buffer.from(bytes).toString("latin1");
    const blank = /\r?\n\r?\n/.exec(text);
    if (!blank) return 0;
    inBody = true;
    return text.length - blank.index - blank[0].length;
  }

  function put(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      if (socket.destroyed || socket.writableEnded) return reject(GONE);
      socket.write(bytes, (error) => (error ? reject(GONE) : resolve()));
    });
  }

  return {
    socket,
    raw,
    async write(data) {
      const bytes = typeof data === "string" ? Buffer.from(data, "latin1") : data;
      const body = countBody(bytes);
      await put(bytes);
      req.sent += body;
    },
    async head(status, headers, reason) {
      inBody = true;
      await put(Buffer.from(headText(status, headers, reason), "latin1"));
    },
    end() {
      socket.end();
    },
    cut() {
      raw.destroy();
    },
    reset() {
      raw.resetAndDestroy();
    },
    sleep(ms) {
      return new Promise((resolve, reject) => {
        if (socket.destroyed) return reject(GONE);
        const timer = setTimeout(() => {
          socket.removeListener("close", gone);
          resolve();
        }, ms);
        const gone = () => {
          clearTimeout(timer);
          reject(GONE);
        };
        socket.once("close", gone);
      });
    },
  };
}

/** Listens on 127.0.0.1, on a free port. */
export async function startServer(options: ServerOptions = {}): Promise<Server> {
  const secureContext = options.tls ? await createContext(options) : undefined;
  const requests: Request[] = [];
  const routes = new Map<string, Behaviour>();
  const open = new Set<Socket>();
  let failure: unknown;
  let connections = 0;
  let port = 0;

  const origin = () => `${options.tls ? "https" : "http"}://${options.name ?? "localhost"}:${port}`;

  function route(path: string): Behaviour {
    return routes.get(path) ?? routes.get(path.split("?")[0]) ?? server.fallback;
  }

  async function answer(req: Request, io: Io): Promise<void> {
    try {
      await route(req.path)(req, io);
    } catch (error) {
      if (error === GONE) return;
      failure ??= error;
      io.reset();
    }
  }

  /** Requests of one connection are answered one after another. */
  function talk(socket: Socket, raw: Socket, connection: number): void {
    let pending = "";
    let busy = false;

    async function pump(): Promise<void> {
      if (busy) return;
      busy = true;
      for (;;) {
        const end = pending.indexOf("\r\n\r\n");
        if (end < 0) break;
        const req = parseRequest(pending.slice(0, end), origin(), requests.length, connection);
        const length = Number(req.headers["content-length"] ?? 0);
        if (pending.length < end + 4 + length) break;
        pending = pending.slice(end + 4 + length);
        requests.push(req);
        await answer(req, createIo(socket, raw, req));
      }
      busy = false;
    }

    socket.on("data", (data: Buffer) => {
      pending += data.toString("latin1");
      void pump();
    });
  }

  const listener = createServer({ noDelay: true }, (raw) => {
    open.add(raw);
    raw.on("close", () => open.delete(raw));
    // A peer that resets, or that cannot agree on a TLS version, is an ordinary event here.
    raw.on("error", () => {});
    const socket = secureContext ? new TLSSocket(raw, { isServer: true, ...secureContext }) : raw;
    if (socket !== raw) {
      socket.on("error", () => raw.destroy());
      raw.on("close", () => socket.destroy());
    }
    talk(socket, raw, connections++);
  });

  const server: Server = {
    url: (path = "/") => origin() + path,
    get port() {
      return port;
    },
    requests,
    on: (path, behaviour) => void routes.set(path, behaviour),
    fallback: status(404),
    get sent() {
      return requests.reduce((sum, req) => sum + req.sent, 0);
    },
    openSockets: () => open.size,
    async close() {
      listening.delete(port);
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
      for (const raw of open) raw.destroy();
      await closed;
      if (failure) throw failure;
    },
  };

  await new Promise<void>((resolve, reject) => {
    listener.once("error", reject);
    listener.listen(0, "127.0.0.1", resolve);
  });
  port = (listener.address() as AddressInfo).port;
  listening.add(port);
  return server;
}

type Secure = {
  secureContext: SecureContext;
  SNICallback?: (name: string, done: (error: Error | null, context?: SecureContext) => void) => void;
};

async function createContext(options: ServerOptions): Promise<Secure> {
  const versions = { minVersion: options.tlsMin ?? "TLSv1.2", maxVersion: options.tlsMax ?? "TLSv1.3" };
  const named = createSecureContext({ ...(await certificate()), ...versions });
  if (!options.sni) return { secureContext: named };
  // without a certificate the handshake ends with an alert
  return {
    secureContext: createSecureContext(versions),
    SNICallback: (name, done) => done(null, name === "localhost" ? named : undefined),
  };
}

// ---- The right answer ---------------------------------------------------------------------------------------------

export type FileOptions = {
  /** Range requests are honoured; true unless said otherwise. */
  ranges?: boolean;
  /** Default: a strong one made from the bytes. An empty string sends none. */
  etag?: string;
  lastModified?: string;
  /** Chunked coding instead of Content-Length. */
  chunked?: boolean;
  /** Bytes per write, and per chunk. */
  chunkSize?: number;
  contentType?: string;
  /** Sent before the others. */
  headers?: Record<string, string | number>;
  onRequest?: (req: Request) => void;
};

/** A complete answer before it is sent: what a misbehaviour then spoils. */
export type Answer = { status: number; headers: [string, string | number][]; body: Uint8Array };

const CHUNK_SIZE = 16384;

function etagOf(bytes: Uint8Array): string {
  return `"${createHash("sha256").update(bytes).digest("hex").slice(0, 16)}"`;
}

/** RFC 9110 13.1.5: If-Range matches a strong entity tag, or exactly the date that was sent. */
function ifRangeHolds(req: Request, etag: string, lastModified?: string): boolean {
  const wanted = req.headers["if-range"];
  if (wanted === undefined) return true;
  return wanted.startsWith('"') ? wanted === etag : wanted === lastModified;
}

/** RFC 9110 14.1.2: first and last byte of the range in a file of `length` bytes, or null when it holds none. */
function resolveRange(range: NonNullable<Request["range"]>, length: number): [number, number] | null {
  const start = range.start < 0 || Object.is(range.start, -0) ? Math.max(0, length + range.start) : range.start;
  const last = Math.min(range.end ?? length - 1, length - 1);
  return start <= last ? [start, last] : null;
}

/** What a correct static file server answers. Pure. */
export function fileAnswer(req: Request, bytes: Uint8Array, options: FileOptions = {}): Answer {
  const etag = options.etag ?? etagOf(bytes);
  const ranges = options.ranges ?? true;
  const headers: Answer["headers"] = [
    ...Object.entries(options.headers ?? {}),
    ["Content-Type", options.contentType ?? "application/octet-stream"],
  ];
  if (etag) headers.push(["ETag", etag]);
  if (options.lastModified) headers.push(["Last-Modified", options.lastModified]);
  if (ranges) headers.push(["Accept-Ranges", "bytes"]);
  // RFC 9110 14.2: Range is defined for GET only; with an If-Range that does not hold, it is ignored.
  const asked = ranges && req.method === "GET" && ifRangeHolds(req, etag, options.lastModified) ? req.range : null;
  if (!asked) return { status: 200, headers, body: bytes };
  const found = resolveRange(asked, bytes.length);
  if (!found) {
    return {
      status: 416,
      headers: [...headers, ["Content-Range", `bytes */${bytes.length}`]],
      body: new Uint8Array(0),
    };
  }
  headers.push(["Content-Range", `bytes ${found[0]}-${found[1]}/${bytes.length}`]);
  return { status: 206, headers, body: bytes.subarray(found[0], found[1] + 1) };
}

function wantsClose(req: Request): boolean {
  return /\bclose\b/i.test(req.headers.connection ?? "") || req.rawHead.split("\r\n")[0].endsWith("HTTP/1.0");
}

/** One chunk of RFC 9112 7.1. */
function chunk(bytes: Uint8Array, extension = ""): Buffer {
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}${extension}\r\n`), bytes, Buffer.from("\r\n")]);
}

const LAST_CHUNK = "0\r\n\r\n";

async function writePieces(io: Io, bytes: Uint8Array, size: number, frame?: (piece: Uint8Array) => Uint8Array) {
  for (let offset = 0; offset < bytes.length; offset += size) {
    const piece = bytes.subarray(offset, offset + size);
    await io.write(frame ? frame(piece) : piece);
  }
}

/** Head with framing, then the body, then the connection as the client asked for it. */
async function sendAnswer(req: Request, io: Io, answer: Answer, options: FileOptions = {}): Promise<void> {
  const size = options.chunkSize ?? CHUNK_SIZE;
  const close = wantsClose(req);
  await io.head(answer.status, [
    ...answer.headers,
    options.chunked ? ["Transfer-Encoding", "chunked"] : ["Content-Length", answer.body.length],
    ["Connection", close ? "close" : "keep-alive"],
  ]);
  if (req.method !== "HEAD") {
    await writePieces(io, answer.body, size, options.chunked ? (piece) => chunk(piece) : undefined);
    if (options.chunked) await io.write(LAST_CHUNK);
  }
  if (close) io.end();
}

/** A correct static file: HEAD, ranges (206, 416), If-Range, keep-alive. */
export function serveFile(bytes: Uint8Array, options: FileOptions = {}): Behaviour {
  return async (req, io) => {
    options.onRequest?.(req);
    await sendAnswer(req, io, fileAnswer(req, bytes, options), options);
  };
}

/** A correct answer that has a status, fields and a short body. */
export function status(code: number, headers: Headers = {}, body: string | Uint8Array = ""): Behaviour {
  const fields = Array.isArray(headers) ? headers : Object.entries(headers);
  const bytes = typeof body === "string" ? Buffer.from(body) : body;
  return (req, io) => sendAnswer(req, io, { status: code, headers: fields, body: bytes });
}

// ---- Combining behaviours -----------------------------------------------------------------------------------------

/** Each behaviour answers one request; the last one answers all that follow. */
export function sequence(...behaviours: Behaviour[]): Behaviour {
  let next = 0;
  return (req, io) => behaviours[Math.min(next++, behaviours.length - 1)](req, io);
}

/** `first` answers the first `times` requests, `then` the others. */
export function firstTimes(times: number, first: Behaviour, then: Behaviour): Behaviour {
  return sequence(...Array<Behaviour>(times).fill(first), then);
}

export function delayed(ms: number, behaviour: Behaviour): Behaviour {
  return async (req, io) => {
    await io.sleep(ms);
    await behaviour(req, io);
  };
}

/** `whole` for requests without Range, `ranged` for those with one. */
function byRange(whole: Behaviour, ranged: Behaviour): Behaviour {
  return (req, io) => (req.range ? ranged(req, io) : whole(req, io));
}

/** Leaves the connection open, and says nothing more. setTimeout takes at most 2^31-1 ms. */
function stall(io: Io): Promise<void> {
  return io.sleep(0x7fffffff);
}

/** Long enough for bytes on the loopback to be read: an RST discards what the sender still holds. */
const BEFORE_RESET_MS = 50;

export type Cut = "reset" | "close" | "stall" | "tls";

/** "close" ends in order, "tls" without the close-notify, "reset" with an RST, "stall" not at all. */
async function breakOff(io: Io, how: Cut): Promise<void> {
  if (how === "stall") return stall(io);
  if (how === "close") return io.end();
  await io.sleep(BEFORE_RESET_MS);
  if (how === "reset") io.reset();
  else io.cut();
}

// ---- Other statuses -----------------------------------------------------------------------------------------------

/** Location is sent as given: absolute, or relative to the request (RFC 9110 10.2.2). */
export function redirect(code: number, location: string | ((req: Request) => string)): Behaviour {
  return (req, io) =>
    status(code, { Location: typeof location === "string" ? location : location(req) }, "moved\n")(req, io);
}

/** Redirects to itself without end. */
export function redirectLoop(code = 302): Behaviour {
  return redirect(code, (req) => req.origin + req.path);
}

/** Redirects `hops` times, each time to the same path with another query, then answers with `then`. */
export function redirectChain(hops: number, then: Behaviour, code = 302): Behaviour {
  return (req, io) => {
    const [path, query] = req.path.split("?");
    const hop = Number(/^hop=(\d+)$/.exec(query ?? "")?.[1] ?? 0);
    return hop < hops ? redirect(code, `${path}?hop=${hop + 1}`)(req, io) : then(req, io);
  };
}

/** A redirect status that names no place. */
export function redirectNowhere(code = 302): Behaviour {
  return status(code, {}, "moved\n");
}

/** `times` refusals with Retry-After (RFC 9110 10.2.3: seconds, or an HTTP date), then `then`. */
export function retryAfter(value: number | Date, times: number, then: Behaviour, code = 503): Behaviour {
  const field = typeof value === "number" ? value : value.toUTCString();
  return firstTimes(times, status(code, { "Retry-After": field }, "busy\n"), then);
}

export function busyThen(code: number, times: number, then: Behaviour): Behaviour {
  return firstTimes(times, status(code, {}, "busy\n"), then);
}

/** The log-in page of a hotel: 200 and HTML, whatever was asked for. */
export function html(code = 200): Behaviour {
  return status(code, { "Content-Type": "text/html" }, "<!DOCTYPE html><title>Log in</title><p>Please log in.\n");
}

/** An interim response (100 or 103) before the real one. */
export function interim(code: 100 | 103, then: Behaviour): Behaviour {
  return async (req, io) => {
    await io.head(code, code === 103 ? { Link: "</style.css>; rel=preload" } : {});
    await then(req, io);
  };
}

// ---- Connections that break ---------------------------------------------------------------------------------------

/**
 * Breaks off after `offset` bytes of the body of each of the first `times` answers, then serves rightly. On a plain
 * connection "tls" is the same as "close". A body not longer than `offset` is sent whole.
 */
export function cutAt(
  bytes: Uint8Array,
  offset: number,
  how: Cut,
  options: FileOptions & { times?: number } = {},
): Behaviour {
  let left = options.times ?? 1;
  return async (req, io) => {
    options.onRequest?.(req);
    const answer = fileAnswer(req, bytes, options);
    if (left === 0 || req.method === "HEAD" || answer.body.length <= offset) {
      return sendAnswer(req, io, answer, options);
    }
    left--;
    await io.head(answer.status, [
      ...answer.headers,
      options.chunked ? ["Transfer-Encoding", "chunked"] : ["Content-Length", answer.body.length],
      ["Connection", "close"],
    ]);
    const frame = options.chunked ? (piece: Uint8Array) => chunk(piece) : undefined;
    await writePieces(io, answer.body.subarray(0, offset), options.chunkSize ?? CHUNK_SIZE, frame);
    await breakOff(io, how);
  };
}

/** The TLS connection ends without close-notify after `offset` bytes: a truncation attack looks like this (RFC 5246 7.2.1). */
export function tlsCut(bytes: Uint8Array, offset: number, options: FileOptions & { times?: number } = {}): Behaviour {
  return cutAt(bytes, offset, "tls", options);
}

/** After `offset` bytes comes a TLS record that does not authenticate; then the connection is left open. */
export function tlsGarbage(bytes: Uint8Array, offset: number, options: FileOptions = {}): Behaviour {
  return async (req, io) => {
    const answer = fileAnswer(req, bytes, options);
    await io.head(answer.status, [...answer.headers, ["Content-Length", answer.body.length]]);
    await writePieces(io, answer.body.subarray(0, offset), CHUNK_SIZE);
    // RFC 5246 6.2.1: application data (23), version 3.3, 64 bytes, that no key has sealed.
    io.raw.write(Buffer.concat([Buffer.from([23, 3, 3, 0, 64]), Buffer.alloc(64, 0x5a)]));
    await stall(io);
  };
}

/** Takes the request and says nothing. */
export function silent(): Behaviour {
  return (_req, io) => stall(io);
}

/** Takes the request and hangs up. */
export function closeBeforeAnswer(how: Cut = "close"): Behaviour {
  return (_req, io) => breakOff(io, how);
}

export function closeAfterStatusLine(how: Cut = "close"): Behaviour {
  return async (_req, io) => {
    await io.write("HTTP/1.1 200 OK\r\n");
    await breakOff(io, how);
  };
}

/** The head is whole, no byte of the body comes. */
export function closeAfterHead(bytes: Uint8Array, how: Cut = "close", options: FileOptions & { times?: number } = {}) {
  return cutAt(bytes, 0, how, options);
}

/** A complete answer whose connection stays open, though the client asked to close it. */
export function keepAliveNeverCloses(bytes: Uint8Array, options: FileOptions = {}): Behaviour {
  return async (req, io) => {
    const { status, headers, body } = fileAnswer(req, bytes, options);
    await io.head(status, [...headers, ["Content-Length", body.length], ["Connection", "keep-alive"]]);
    await writePieces(io, body, CHUNK_SIZE);
  };
}

// ---- Wrong lengths ------------------------------------------------------------------------------------------------

/** Sends `body` under the fields given, then closes. */
async function sendRaw(io: Io, code: number | string, headers: Headers, body: Uint8Array): Promise<void> {
  await io.head(code, headers);
  await writePieces(io, body, CHUNK_SIZE);
  io.end();
}

/**
 * A body that only the end of the connection delimits, as `openssl s_server -WWW` sends it: HTTP/1.0, no length
 * (A9 of docs/design.md#espressifs-own-tests). With `ranges`, a Range request gets 206 and Content-Range, still no length.
 */
export function noLength(bytes: Uint8Array, options: { ranges?: boolean; version?: "1.0" | "1.1" } = {}): Behaviour {
  return (req, io) => {
    const answer = fileAnswer(req, bytes, { etag: "", ranges: options.ranges ?? false });
    const headers = answer.headers.filter(([name]) => name === "Content-Range");
    const line = `HTTP/${options.version ?? "1.0"} ${answer.status} ${answer.status === 200 ? "ok" : "partial"}`;
    return sendRaw(io, line, [["Content-type", "text/plain"], ...headers], answer.body);
  };
}

/** Closes `by` bytes before the length that was announced. */
export function shorter(bytes: Uint8Array, by: number): Behaviour {
  return (_req, io) =>
    sendRaw(io, 200, { "Content-Length": bytes.length, Connection: "close" }, bytes.subarray(0, bytes.length - by));
}

/** Sends `by` bytes more than announced. */
export function longer(bytes: Uint8Array, by: number): Behaviour {
  return (_req, io) =>
    sendRaw(
      io,
      200,
      { "Content-Length": bytes.length, Connection: "close" },
      Buffer.concat([bytes, Buffer.alloc(by, 0x5a)]),
    );
}

/** Content-Length is any text: "-4000", "12abc", "", "0x10", "4000, 4000", "99999999999999999999". */
export function badLength(bytes: Uint8Array, value: string): Behaviour {
  return (_req, io) => sendRaw(io, 200, { "Content-Length": value, Connection: "close" }, bytes);
}

/** The engine believes a negative length (docs/espruino.md#header-names-keep-their-spelling). */
export function negativeLength(bytes: Uint8Array): Behaviour {
  return badLength(bytes, `-${bytes.length}`);
}

/** RFC 9112 6.3: two different lengths are an error. Two spellings are two keys in Espruino (docs/espruino.md#header-names-keep-their-spelling). */
export function duplicateLength(bytes: Uint8Array, how: "different" | "same" | "spellings"): Behaviour {
  const second = how === "spellings" ? "content-length" : "Content-Length";
  const value = how === "same" ? bytes.length : bytes.length - 1;
  return (_req, io) =>
    sendRaw(
      io,
      200,
      [
        ["Content-Length", bytes.length],
        [second, value],
        ["Connection", "close"],
      ],
      bytes,
    );
}

/** RFC 9112 6.3: chunked wins over Content-Length. The length is `by` bytes too small. */
export function bothLengthAndChunked(bytes: Uint8Array, by = 1): Behaviour {
  return async (_req, io) => {
    await io.head(200, { "Content-Length": bytes.length - by, "Transfer-Encoding": "chunked", Connection: "close" });
    await writePieces(io, bytes, CHUNK_SIZE, (piece) => chunk(piece));
    await io.write(LAST_CHUNK);
    io.end();
  };
}

/** Never stops sending. "length" announces 4 GB, "chunked" and "close" announce nothing. */
export function endless(kind: "length" | "chunked" | "close" = "chunked", piece = new Uint8Array(4096)): Behaviour {
  return async (_req, io) => {
    const framing: Headers =
      kind === "length"
        ? { "Content-Length": 0xffffffff }
        : kind === "chunked"
          ? { "Transfer-Encoding": "chunked" }
          : { Connection: "close" };
    await io.head(200, framing);
    for (;;) await io.write(kind === "chunked" ? chunk(piece) : piece);
  };
}

// ---- Chunked coding -----------------------------------------------------------------------------------------------

const CHUNKED = { "Transfer-Encoding": "chunked", Connection: "close" };

/** Chunks of one byte each. */
export function chunkedOneByte(bytes: Uint8Array): Behaviour {
  return async (_req, io) => {
    await io.head(200, CHUNKED);
    // One write for all: the coding is the point here, not the timing.
    await io.write(Buffer.concat([...bytes].map((byte) => chunk(Uint8Array.of(byte)))));
    await io.write(LAST_CHUNK);
    io.end();
  };
}

/** Chunk extensions (RFC 9112 7.1.1), one with a quoted semicolon, and a trailer section (7.1.2). */
export function chunkedExtensions(bytes: Uint8Array, size = 1000): Behaviour {
  return async (_req, io) => {
    await io.head(200, { ...CHUNKED, Trailer: "X-Sum" });
    await writePieces(io, bytes, size, (piece) => chunk(piece, ';name=value;quoted="a;b"'));
    await io.write("0;last\r\nX-Sum: 1\r\n\r\n");
    io.end();
  };
}

/** The whole body as one chunk. */
export function chunkedHuge(bytes: Uint8Array): Behaviour {
  return async (_req, io) => {
    await io.head(200, CHUNKED);
    await io.write(chunk(bytes));
    await io.write(LAST_CHUNK);
    io.end();
  };
}

/** A chunk size that is not a sensible number: "ffffffffffffffff", "-5", "zz", "". */
export function chunkedBadSize(bytes: Uint8Array, size: string): Behaviour {
  return async (_req, io) => {
    await io.head(200, CHUNKED);
    await io.write(`${size}\r\n`);
    await io.write(bytes);
    await io.write(`\r\n${LAST_CHUNK}`);
    io.end();
  };
}

/** Breaks off in the middle of a chunk, after `offset` bytes of data. The engine then gives no event (docs/espruino.md#a-cut-chunked-body-gives-no-event). */
export function chunkedCutMidChunk(bytes: Uint8Array, offset: number, how: Cut = "close"): Behaviour {
  return async (_req, io) => {
    await io.head(200, CHUNKED);
    await io.write(chunk(bytes).subarray(0, bytes.length.toString(16).length + 2 + offset));
    await breakOff(io, how);
  };
}

/** Breaks off between two chunks, after `offset` bytes of data; the last chunk never comes. */
export function chunkedCutAtBoundary(bytes: Uint8Array, offset: number, how: Cut = "close"): Behaviour {
  return async (_req, io) => {
    await io.head(200, CHUNKED);
    await writePieces(io, bytes.subarray(0, offset), CHUNK_SIZE, (piece) => chunk(piece));
    await breakOff(io, how);
  };
}

/** All of the data, but no last chunk, and the connection stays open. */
export function chunkedNoEnd(bytes: Uint8Array): Behaviour {
  return chunkedCutAtBoundary(bytes, bytes.length, "stall");
}

// ---- Codings that were not asked for -------------------------------------------------------------------------------------

export function gzip(bytes: Uint8Array): Behaviour {
  const body = gzipSync(bytes);
  return (_req, io) =>
    sendRaw(io, 200, { "Content-Encoding": "gzip", "Content-Length": body.length, Connection: "close" }, body);
}

export function transferEncodingGzipChunked(bytes: Uint8Array): Behaviour {
  return async (_req, io) => {
    await io.head(200, { "Transfer-Encoding": "gzip, chunked", Connection: "close" });
    await writePieces(io, gzipSync(bytes), CHUNK_SIZE, (piece) => chunk(piece));
    await io.write(LAST_CHUNK);
    io.end();
  };
}

// ---- Odd heads ----------------------------------------------------------------------------------------------------

/** `size` bytes of fields before the ones that matter: one long field, or many short ones. */
export function bigHeader(bytes: Uint8Array, size = 65536, kind: "one" | "many" = "one"): Behaviour {
  const padding: Record<string, string> = {};
  if (kind === "one") padding["X-Padding"] = "x".repeat(size);
  else for (let i = 0; i * 32 < size; i++) padding[`X-Padding-${String(i).padStart(6, "0")}`] = "x".repeat(12);
  return serveFile(bytes, { headers: padding });
}

/** What a record of TLS holds at most (RFC 8446 5.1). */
const RECORD = 16384;

/**
 * A right answer, its head of `padding` bytes more and its body in one piece, so that over TLS they come in records as large
 * as there can be: as nginx and Node send them.
 */
export function fullRecords(bytes: Uint8Array, options: FileOptions & { padding?: number } = {}): Behaviour {
  return async (req, io) => {
    const { status, headers, body } = fileAnswer(req, bytes, options);
    const padding: Answer["headers"] = options.padding ? [["X-Padding", "x".repeat(options.padding)]] : [];
    const framing: Answer["headers"] = [
      ["Content-Length", body.length],
      ["Connection", "close"],
    ];
    const answer = Buffer.concat([Buffer.from(headText(status, [...padding, ...headers, ...framing]), "latin1"), body]);
    await writePieces(io, answer, RECORD);
    io.end();
  };
}

/** A right answer in records that grow from 1 KB to 16 KB, `step` KB each time: as Go sends them (Caddy). */
export function growingRecords(bytes: Uint8Array, options: FileOptions & { step?: number } = {}): Behaviour {
  return async (req, io) => {
    const { status, headers, body } = fileAnswer(req, bytes, options);
    await io.head(status, [...headers, ["Content-Length", body.length], ["Connection", "close"]]);
    let size = 1024;
    for (let at = 0; at < body.length; ) {
      await io.write(body.subarray(at, at + size));
      at += size;
      size = Math.min(size + 1024 * (options.step ?? 1), RECORD);
    }
    io.end();
  };
}

/** Field names in lower or upper case: Espruino keeps the server's spelling (docs/espruino.md#header-names-keep-their-spelling). */
export function headerCase(bytes: Uint8Array, spelling: "lower" | "upper", options: FileOptions = {}): Behaviour {
  return async (req, io) => {
    const { status, headers, body } = fileAnswer(req, bytes, options);
    const all: Answer["headers"] = [...headers, ["Content-Length", body.length], ["Connection", "close"]];
    const spelt = all.map(([name, value]): [string, string | number] => [
      spelling === "lower" ? name.toLowerCase() : name.toUpperCase(),
      value,
    ]);
    await sendRaw(io, status, spelt, body);
  };
}

/** Sends the head byte by byte, the body at once. */
export function dribbleHeader(bytes: Uint8Array, msPerByte: number): Behaviour {
  return async (_req, io) => {
    const head = headText(200, { "Content-Length": bytes.length, Connection: "close" });
    for (const byte of Buffer.from(head, "latin1")) {
      await io.write(Uint8Array.of(byte));
      await io.sleep(msPerByte);
    }
    await writePieces(io, bytes, CHUNK_SIZE);
    io.end();
  };
}

/** Sends the body `step` bytes at a time: slow, but never long enough silent for a stall timer. */
export function dribbleBody(bytes: Uint8Array, msPerStep: number, step = 1, options: FileOptions = {}): Behaviour {
  return async (req, io) => {
    const { status, headers, body } = fileAnswer(req, bytes, options);
    await io.head(status, [...headers, ["Content-Length", body.length], ["Connection", "close"]]);
    for (let offset = 0; offset < body.length; offset += step) {
      await io.write(body.subarray(offset, offset + step));
      await io.sleep(msPerStep);
    }
    io.end();
  };
}

/** Lines ended by a bare LF, which RFC 9112 2.2 lets a recipient accept; Espruino gives no answer (docs/espruino.md#header-names-keep-their-spelling). */
export function lfOnly(bytes: Uint8Array): Behaviour {
  return async (_req, io) => {
    await io.write(`HTTP/1.1 200 OK\nContent-Length: ${bytes.length}\nConnection: close\n\n`);
    await writePieces(io, bytes, CHUNK_SIZE);
    io.end();
  };
}

/** Something that is not HTTP at all. */
export function notHttp(text = "220 mail.example ESMTP\r\n"): Behaviour {
  return async (_req, io) => {
    await io.write(text);
    io.end();
  };
}

// ---- Ranges -------------------------------------------------------------------------------------------------------

/**
 * A whole file when no range is asked for. A ranged request gets 206 with the right bytes and a wrong Content-Range:
 * another first byte, another total, no field at all, or another unit.
 */
export function wrongContentRange(
  bytes: Uint8Array,
  how: "start" | "total" | "missing" | "unit",
  options: FileOptions = {},
): Behaviour {
  function spoil(value: string): string {
    const [, start, last, total] = (/(\d+)-(\d+)\/(\d+)/.exec(value) ?? []).map(Number);
    if (how === "start") return `bytes ${start + 1}-${last}/${total}`;
    if (how === "total") return `bytes ${start}-${last}/${total + 1}`;
    return `sectors ${start}-${last}/${total}`;
  }
  return async (req, io) => {
    const answer = fileAnswer(req, bytes, options);
    if (answer.status !== 206) return sendAnswer(req, io, answer, options);
    const headers = answer.headers
      .filter(([name]) => how !== "missing" || name !== "Content-Range")
      .map(([name, value]): [string, string | number] => [
        name,
        name === "Content-Range" ? spoil(String(value)) : value,
      ]);
    await sendAnswer(req, io, { ...answer, headers }, options);
  };
}

/**
 * Ranges of a file whose length the server does not tell (RFC 9110 14.4: "bytes 0-65535/*"), of at most `most` bytes. Behind
 * the end comes 416, `bare` without Content-Range. Each answer that has more than `cut` bytes breaks off behind them.
 */
export function unknownTotal(
  bytes: Uint8Array,
  options: FileOptions & { most?: number; bare?: boolean; cut?: number } = {},
): Behaviour {
  return async (req, io) => {
    const { start = 0, end = null } = req.range ?? {};
    const last = Math.min(end ?? Infinity, start + (options.most ?? Infinity) - 1);
    const range = { start, end: Number.isFinite(last) ? last : null };
    const answer = fileAnswer({ ...req, range }, bytes, options);
    const headers = answer.headers
      .filter(([name]) => !(options.bare && answer.status === 416 && name === "Content-Range"))
      .map(([name, value]): [string, string | number] => [
        name,
        name === "Content-Range" && answer.status === 206 ? String(value).replace(/\d+$/, "*") : value,
      ]);
    if (!options.cut || answer.body.length <= options.cut) return sendAnswer(req, io, { ...answer, headers }, options);
    await io.head(answer.status, [...headers, ["Content-Length", answer.body.length], ["Connection", "close"]]);
    await io.write(answer.body.subarray(0, options.cut));
    io.end();
  };
}

/** 206 with a truthful Content-Range, for another range than the one asked for: it starts `by` bytes later. */
export function otherRange(bytes: Uint8Array, by: number, options: FileOptions = {}): Behaviour {
  return (req, io) => {
    const range = req.range && { start: req.range.start + by, end: req.range.end };
    return sendAnswer(req, io, fileAnswer({ ...req, range }, bytes, options), options);
  };
}

/** Says that it takes ranges, and answers each with 200 and the whole file. */
export function rangeAnswered200(bytes: Uint8Array, options: FileOptions = {}): Behaviour {
  return serveFile(bytes, { ...options, ranges: false, headers: { "Accept-Ranges": "bytes" } });
}

/** Answers each range with 416, though the file has those bytes. */
export function rangeAnswered416(bytes: Uint8Array): Behaviour {
  return byRange(serveFile(bytes), status(416, { "Content-Range": `bytes */${bytes.length}` }));
}

/** 206 and the whole file, though no range was asked for. */
export function unasked206(bytes: Uint8Array): Behaviour {
  const headers: Answer["headers"] = [["Content-Range", `bytes 0-${bytes.length - 1}/${bytes.length}`]];
  return (req, io) => sendAnswer(req, io, { status: 206, headers, body: bytes });
}

/** A single range answered as multipart/byteranges (RFC 9110 15.3.7.2 forbids it for one range). */
export function multipartRange(bytes: Uint8Array): Behaviour {
  return async (req, io) => {
    const answer = fileAnswer(req, bytes);
    if (answer.status !== 206) return sendAnswer(req, io, answer);
    const range = answer.headers.find(([name]) => name === "Content-Range");
    const body = Buffer.concat([
      Buffer.from(`--BOUNDARY\r\nContent-Type: application/octet-stream\r\nContent-Range: ${range?.[1]}\r\n\r\n`),
      answer.body,
      Buffer.from("\r\n--BOUNDARY--\r\n"),
    ]);
    await sendAnswer(req, io, {
      status: 206,
      headers: [["Content-Type", "multipart/byteranges; boundary=BOUNDARY"]],
      body,
    });
  };
}

/**
 * The file is replaced between two requests: the first answer is cut after `offset` bytes of `first`, every later
 * request is served rightly from `second`, which has another ETag.
 */
export function changedEtag(
  first: Uint8Array,
  second: Uint8Array,
  offset: number,
  options: FileOptions & { how?: Cut } = {},
): Behaviour {
  return sequence(
    cutAt(first, offset, options.how ?? "close", { ...options, times: 1 }),
    serveFile(second, { ...options, etag: etagOf(second) }),
  );
}

/** As `changedEtag`, but the server claims that nothing changed: both files go under one ETag. */
export function differentBytesOnResume(
  first: Uint8Array,
  second: Uint8Array,
  offset: number,
  options: FileOptions & { how?: Cut } = {},
): Behaviour {
  const etag = options.etag ?? etagOf(first);
  return sequence(
    cutAt(first, offset, options.how ?? "close", { ...options, etag, times: 1 }),
    serveFile(second, { ...options, etag }),
  );
}
