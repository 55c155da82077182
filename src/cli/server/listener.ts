// The HTTP or HTTPS server of `serve`: it answers requests by the catalogue, and bounds the time and memory that a peer
// can take.
import {
  createServer as createHttp,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createHttps } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import pc from "picocolors";
import { isRefusal, oneLine, refuse, systemReason } from "../ui/errors.ts";
import type { Activity, Tracker, Visitor } from "./activity.ts";
import { type Answer, answer, type Facts } from "./answers.ts";
import type { Catalogue } from "./catalogue.ts";
import { createCertificate } from "./certificate.ts";
import { type Collector, REPORT_PATH } from "./collector.ts";
import type { Connections } from "./connections.ts";
import type { Part } from "./contents.ts";
import type { HostNames } from "./host-names.ts";
import { takeReport } from "./report-request.ts";
import type { Site } from "./site.ts";
import type { Log } from "./transfer-log.ts";

/** below this number of bytes the log does not print a rate */
const LEAST_RATED = 8192;
/** ms for the TLS handshake, for the request, and without a byte in either direction. Devices give up after 20 s. */
const HANDSHAKE_TIME = 20_000;
const ASK_TIME = 20_000;
const IDLE_TIME = 60_000;
/** A device holds a whole TLS record in memory before it can use it; mbedTLS builds may take no larger ones. */
const TLS_RECORD = 4096;

// --- Requests --------------------------------------------------------------------------------------------------------

/** The source of the answers, and what keeps track of requests and connections. */
interface Service {
  catalogue: Catalogue;
  site: Site;
  log: Log;
  activity: Activity;
  connections: Connections;
  hosts: HostNames;
  /** null without --collect */
  collector: Collector | null;
}

/** An answer with its body; "" when there are only headers, a function when it goes on until somebody ends it. */
type Reply = Answer & {
  body: Part | string | ((response: ServerResponse) => Promise<void>);
  /** what is sent, when it is a file for devices */
  file?: Facts & { path: string };
  /** a part of the page: no device has asked for it, and the log does not tell it */
  quiet?: boolean;
  /** what the log says besides the status */
  note?: string;
};

/** Resolves when the peer's side has taken the piece: true, or false when it has gone. */
function written(response: ServerResponse, piece: Uint8Array): Promise<boolean> {
  // the request's socket: a response that waits behind another one on its connection gets no event when that closes
  const { socket } = response.req;
  if (socket.destroyed) return Promise.resolve(false);
  return new Promise((resolve) => {
    const onClose = () => resolve(false);
    socket.once("close", onClose);
    response.write(piece, (error) => {
      socket.off("close", onClose);
      resolve(!error);
    });
  });
}

/** Sends the part as fast as the peer takes it, and holds one piece of it at a time. Resolves with the bytes taken. */
async function send(response: ServerResponse, part: Part, progress: (sent: number) => void): Promise<number> {
  let sent = 0;
  try {
    for (let piece = await part.next(); piece; piece = await part.next()) {
      if (!(await written(response, piece))) break;
      sent += piece.length;
      progress(sent);
    }
  } finally {
    await part.close();
  }
  return sent;
}

function outcome({ status, length, start, headers }: Reply, sent: number, ms: number): string {
  const range = status === 206 ? ` from ${start}` : "";
  const rate = ms && sent > LEAST_RATED ? ` in ${(ms / 1000).toFixed(1)} s (${Math.round(sent / ms)} KB/s)` : "";
  const color = status < 400 ? pc.green : pc.red;
  if (sent < length) return pc.red(`cut after ${sent} of ${length} bytes${range}`);
  return `${color(String(status))} ${length || headers["Content-Length"] || 0} bytes${range}${rate}`;
}

const peerOf = ({ socket }: IncomingMessage) => socket.remoteAddress?.replace(/^::ffff:/, "") ?? "?";

function plain(status: number, text: string): Reply {
  const body = `${text}\n`;
  const length = Buffer.byteLength(body);
  const headers = { "Content-Type": "text/plain; charset=utf-8", "Content-Length": length };
  return { status, headers, start: 0, length, body };
}

/** Does the one who asks show HTML? Devices send no Accept, and curl takes anything. */
const isBrowser = ({ headers }: IncomingMessage) => /\btext\/html\b/i.test(headers.accept ?? "");

async function replyToReport(request: IncomingMessage, { collector, hosts }: Service): Promise<Reply> {
  const { status, text, note } = await takeReport(request, peerOf(request), collector, hosts);
  if (status === 204) return { status, headers: {}, start: 0, length: 0, body: "", note };
  const reply = plain(status, oneLine(text));
  // the peer is not done with its request
  return status === 408 ? { ...reply, headers: { ...reply.headers, Connection: "close" } } : reply;
}

async function replyTo(request: IncomingMessage, service: Service): Promise<Reply> {
  const { catalogue, site, hosts } = service;
  const { method = "", headers, url = "/" } = request;
  const urlPath = url.split("?")[0];
  if (method === "POST" && urlPath === REPORT_PATH) return replyToReport(request, service);
  if (method !== "GET" && method !== "HEAD") {
    const refused = plain(405, "only GET and HEAD");
    return { ...refused, headers: { ...refused.headers, Allow: "GET, HEAD" } };
  }
  // files are for devices, which may ask by any name that a proxy has
  const stranger = hosts.problem(headers.host);
  if (urlPath === "/") {
    if (stranger !== null) return plain(403, oneLine(stranger));
    if (isBrowser(request)) return { ...site.page(request), quiet: true };
    const list = plain(200, [...catalogue.listing(), ...site.listing()].join("\n"));
    return { ...list, headers: { ...list.headers, Vary: "Accept" } };
  }
  const content = await catalogue.get(urlPath, headers["if-range"]?.toString());
  if (content === null) {
    if (stranger !== null && site.isForPeople(urlPath)) return plain(403, oneLine(stranger));
    const reply = await site.reply(request);
    return reply ? { ...reply, quiet: true } : plain(404, "no image, no manifest and no file of one");
  }
  // 4xx: the same request fails again until the image is replaced
  if (typeof content === "string") return plain(422, oneLine(content));
  const found = answer(method, headers, content);
  const body = found.length ? await content.open(found.start, found.length) : "";
  return { ...found, body, file: { ...content, path: urlPath } };
}

/** The reply; an exception becomes a reply with an error status. */
async function replyOrFailure(request: IncomingMessage, service: Service): Promise<Reply> {
  try {
    return await replyTo(request, service);
  } catch (error) {
    // the only refusal here: a file that has changed between two looks at it
    return isRefusal(error) ? plain(503, oneLine(error.message)) : plain(500, oneLine(systemReason(error)));
  }
}

/** Sends the body and ends the response. `progress`: bytes of a part that the peer has taken. */
async function sendBody(
  response: ServerResponse,
  { body, length }: Reply,
  progress: (sent: number) => void,
): Promise<void> {
  if (typeof body === "string") {
    response.end(length ? body : "");
    return;
  }
  if (typeof body === "function") {
    await body(response);
    return;
  }
  const sent = await send(response, body, progress);
  // the end of the connection is how a peer learns that bytes are missing
  if (sent < length) response.req.socket.destroy();
  else response.end();
}

/** The request as the log names it. */
function labelOf(request: IncomingMessage): string {
  const { method, url, headers } = request;
  const range = headers.range ? ` ${headers.range}` : "";
  return oneLine(`${peerOf(request)} ${method} ${url}${range}`);
}

function visitorOf(request: IncomingMessage): Visitor {
  const { "x-device": serial, "user-agent": userAgent } = request.headers;
  return { address: peerOf(request), serial: serial?.toString(), userAgent };
}

/** What the page shows of it: a download, a refusal, or nothing. */
function track(request: IncomingMessage, reply: Reply, why: string, { activity }: Service): Tracker | null {
  const { status, start, length, file } = reply;
  const [path] = (request.url ?? "/").split("?");
  if (status >= 400) activity.refused(visitorOf(request), path, status, why);
  if (!file || !length) return null;
  return activity.sending(visitorOf(request), { path: file.path, etag: file.etag, size: file.size, start, length });
}

async function handle(request: IncomingMessage, response: ServerResponse, service: Service): Promise<void> {
  if (request.socket.destroyed) return;
  const startedAt = performance.now();
  const label = labelOf(request);
  const found = await replyOrFailure(request, service);
  const reply = request.method === "HEAD" ? { ...found, length: 0 } : found;
  const { status, headers, body } = reply;
  response.writeHead(status, { ...headers, "X-Content-Type-Options": "nosniff" });
  if (reply.quiet) {
    await sendBody(response, reply, () => service.connections.touch(request.socket));
    return;
  }
  const why = status >= 400 && typeof found.body === "string" ? oneLine(found.body) : "";
  const transfer = service.log.transfer(label, reply.length);
  const tracker = track(request, reply, why, service);
  let taken = 0;
  try {
    await sendBody(response, reply, (sent) => {
      taken = sent;
      service.connections.touch(request.socket);
      transfer.update(sent);
      tracker?.update(sent);
    });
  } finally {
    tracker?.end(taken);
  }
  const sent = typeof body === "string" ? reply.length : taken;
  const told = (reply.length ? why : "") || reply.note;
  transfer.end(outcome(reply, sent, performance.now() - startedAt) + (told ? `: ${told}` : ""));
}

export function listener(service: Service): RequestListener {
  const { connections } = service;
  return (request, response) => {
    response.on("error", () => {});
    connections.touch(request.socket);
    void connections.inTurn(request.socket, () => handle(request, response, service));
  };
}

function tlsReason({ code, message }: NodeJS.ErrnoException): string {
  if (code !== "ERR_SSL_HTTP_REQUEST") return oneLine(code ?? message);
  return "HTTP request to the HTTPS port: use https:// in the URL, or serve --http";
}

// --- Server ----------------------------------------------------------------------------------------------------------

/** `tlsHosts`: the names in its certificate; null for HTTP. */
export async function createServer(
  tlsHosts: readonly string[] | null,
  handle: RequestListener,
  connections: Connections,
  log: Log,
): Promise<Server> {
  const times = { headersTimeout: ASK_TIME, requestTimeout: ASK_TIME, connectionsCheckingInterval: ASK_TIME / 4 };
  const tls = { ...times, handshakeTimeout: HANDSHAKE_TIME, minVersion: "TLSv1.2" as const };
  const server = tlsHosts
    ? createHttps({ ...(await createCertificate(tlsHosts)), ...tls }, handle)
    : createHttp(times, handle);
  server.setTimeout(IDLE_TIME);
  server.on("connection", (socket: Socket) => connections.add(socket));
  server.on("secureConnection", (socket: TLSSocket) => void socket.setMaxSendFragment(TLS_RECORD));
  server.on("tlsClientError", (error: NodeJS.ErrnoException, socket: TLSSocket) => {
    if (error.code !== "ECONNRESET") log.line(`${socket.remoteAddress ?? "?"} TLS: ${tlsReason(error)}`);
  });
  server.on("clientError", (_error, socket) => void socket.destroy());
  return server;
}

/** Resolves with the port: 0 asks for a free one. */
export function listen(server: Server, host: string, wanted: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      try {
        refuse(`${host}:${wanted}`, systemReason(error));
      } catch (refusal) {
        reject(refusal);
      }
    });
    server.listen(wanted, host, () => resolve((server.address() as AddressInfo).port));
  });
}

/** Resolves when a signal has closed the server. */
export function untilSignal(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      server.close(() => resolve());
      server.closeAllConnections();
    };
    process.once("SIGINT", end);
    process.once("SIGTERM", end);
  });
}
