// `https-ota serve`: a server for development, on this computer or its network. It signs on the fly.
import {
  createServer as createHttp,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createHttps } from "node:https";
import { type AddressInfo, isIPv4, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import type { TLSSocket } from "node:tls";
import { type Command, InvalidArgumentError } from "commander";
import pc from "picocolors";
import { type Answer, answer } from "../server/answers.ts";
import { createCertificate } from "../server/certificate.ts";
import { type Connections, createConnections } from "../server/connections.ts";
import { isRefusal, oneLine, printable, refusal, refuse, systemReason } from "../ui/errors.ts";
import { fsverity } from "../formats/fsverity.ts";
import { loadSigningKey, type SigningKey } from "../release/keys.ts";
import { createLog, type Log } from "../server/transfer-log.ts";
import { espruinoProgram } from "../server/snippet.ts";
import { addEspruinoOptions, parseExpiry, parseName, type ReleaseOptions } from "../release/release-options.ts";
import { createShelf, type Part, type Shelf } from "../server/catalogue.ts";

interface Options extends Omit<ReleaseOptions, "url" | "sequence"> {
  port?: number;
  host: string;
  key?: string;
  http?: boolean;
}

/** What only a manifest says. */
const SIGNING_OPTIONS = ["expires", "board", "project", "appVersion", "storage", "allowMissingNatives"] as const;
const optionText = (name: string) => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

const EVERYWHERE = "0.0.0.0";
const HTTPS_PORT = 8443;
const HTTP_PORT = 8080;
/** of less no rate is told */
const LEAST_RATED = 8192;
/** Some devices at a time are a lot; what everybody can open has a bound. */
const MOST_CONNECTIONS = 256;
/** ms in which a peer has to shake hands, has to ask, and has to take or say something. Devices give up after 20 s. */
const HANDSHAKE_TIME = 20_000;
const ASK_TIME = 20_000;
const IDLE_TIME = 60_000;
/** A device holds a whole TLS record in memory before it can use it; mbedTLS builds may take no larger ones. */
const TLS_RECORD = 4096;

/** IPv4 addresses by which others reach this computer. Espruino knows no IPv6. */
function lanAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((one) => one ?? []);
  return all.filter(({ family, internal }) => family === "IPv4" && !internal).map(({ address }) => address);
}

function hostsOf(host: string): string[] {
  return host === EVERYWHERE ? [...lanAddresses(), "localhost"] : [host];
}

// --- Requests --------------------------------------------------------------------------------------------------------

/** An answer with its body; none when the headers are all. */
type Reply = Answer & { body: Part | string };

/** Resolves when the peer's side has taken the piece: true, or false when it has gone. */
function written(response: ServerResponse, piece: Uint8Array): Promise<boolean> {
  // the request's socket: a response that waits for another one on its connection does not hear of the end of it
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

function plain(status: number, text: string): Reply {
  const body = `${text}\n`;
  const length = Buffer.byteLength(body);
  const headers = { "Content-Type": "text/plain; charset=utf-8", "Content-Length": length };
  return { status, headers, start: 0, length, body };
}

async function replyTo(
  { method = "", headers, url = "/" }: IncomingMessage,
  shelf: Shelf,
  key: unknown,
): Promise<Reply> {
  if (method !== "GET" && method !== "HEAD") {
    const refused = plain(405, "only GET and HEAD");
    return { ...refused, headers: { ...refused.headers, Allow: "GET, HEAD" } };
  }
  const urlPath = url.split("?")[0];
  const index = () => shelf.images().flatMap((image) => (key ? [image, `${image}.jws`] : [image]));
  if (urlPath === "/") return plain(200, [...new Set([...index(), ...shelf.manifests()])].join("\n"));
  const content = await shelf.get(urlPath, headers["if-range"]?.toString());
  if (content === null) return plain(404, "no image and no manifest");
  // 4xx: the same request fails again until somebody has made a better image
  if (typeof content === "string") return plain(422, oneLine(content));
  const found = answer(method, headers, content);
  return { ...found, body: found.length ? await content.open(found.start, found.length) : "" };
}

/** What the reply is, if need be that there is none. */
async function replyOrFailure(request: IncomingMessage, shelf: Shelf, key: unknown): Promise<Reply> {
  try {
    return await replyTo(request, shelf, key);
  } catch (error) {
    // the only refusal here: a file that has changed between two looks at it
    return isRefusal(error) ? plain(503, oneLine(error.message)) : plain(500, oneLine(systemReason(error)));
  }
}

function listener(shelf: Shelf, key: SigningKey | undefined, log: Log, connections: Connections): RequestListener {
  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.socket.destroyed) return;
    const begun = performance.now();
    const range = request.headers.range ? ` ${request.headers.range}` : "";
    const who = request.socket.remoteAddress?.replace(/^::ffff:/, "") ?? "?";
    const label = oneLine(`${who} ${request.method} ${request.url}${range}`);
    const reply = await replyOrFailure(request, shelf, key);
    const { status, headers, body } = reply;
    const length = request.method === "HEAD" ? 0 : reply.length;
    response.writeHead(status, headers);
    const transfer = log.transfer(label, length);
    const progress = (sent: number) => {
      connections.touch(request.socket);
      transfer.update(sent);
    };
    let sent = length;
    if (typeof body === "string") response.end(length ? body : "");
    else {
      sent = await send(response, body, progress);
      // the end of the connection is how a peer learns that bytes are missing
      if (sent < length) request.socket.destroy();
      else response.end();
    }
    const why = status >= 400 && length && typeof body === "string" ? `: ${oneLine(body)}` : "";
    transfer.end(outcome({ ...reply, length }, sent, performance.now() - begun) + why);
  }
  return (request, response) => {
    response.on("error", () => {});
    connections.touch(request.socket);
    void connections.inTurn(request.socket, () => handle(request, response));
  };
}

function tlsReason({ code, message }: NodeJS.ErrnoException): string {
  if (code !== "ERR_SSL_HTTP_REQUEST") return oneLine(code ?? message);
  return "somebody spoke HTTP to the HTTPS port (https:// in the URL, or serve with --http)";
}

// --- Server ----------------------------------------------------------------------------------------------------------

async function createServer(
  options: Options,
  handle: RequestListener,
  connections: Connections,
  log: Log,
): Promise<Server> {
  const times = { headersTimeout: ASK_TIME, requestTimeout: ASK_TIME, connectionsCheckingInterval: ASK_TIME / 4 };
  const tls = { ...times, handshakeTimeout: HANDSHAKE_TIME, minVersion: "TLSv1.2" as const };
  const server = options.http
    ? createHttp(times, handle)
    : createHttps({ ...(await createCertificate(hostsOf(options.host))), ...tls }, handle);
  server.setTimeout(IDLE_TIME);
  server.on("connection", (socket: Socket) => connections.add(socket));
  server.on("secureConnection", (socket: TLSSocket) => void socket.setMaxSendFragment(TLS_RECORD));
  server.on("tlsClientError", (error: NodeJS.ErrnoException, socket: TLSSocket) => {
    if (error.code !== "ECONNRESET") log.line(`${socket.remoteAddress ?? "?"} TLS: ${tlsReason(error)}`);
  });
  server.on("clientError", (_error, socket) => void socket.destroy());
  return server;
}

function listen(server: Server, { port, host, http }: Options): Promise<number> {
  const wanted = port ?? (http ? HTTP_PORT : HTTPS_PORT);
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

function announce(options: Options, port: number, shelf: Shelf, key: SigningKey | undefined): void {
  const scheme = options.http ? "http" : "https";
  const urls = hostsOf(options.host).map((host) => `${scheme}://${host}:${port}`);
  const images = shelf.images();
  const reach =
    options.host === EVERYWHERE
      ? "everybody on your network (--host 127.0.0.1: this computer only)"
      : printable(options.host);
  console.log(`${pc.bold("https-ota serve")} for ${reach}. Ctrl-C ends it.`);
  for (const url of urls) for (const image of images) console.log(`  ${url}${image}${key ? ".jws" : ""}`);
  const [newest] = images;
  const trust = { jwk: key?.jwk, fsverity: shelf.digest(newest) };
  for (const why of shelf.problems()) console.log(pc.yellow(`Not served: ${oneLine(why)}`));
  const idle = SIGNING_OPTIONS.filter((name) => !key && options[name] !== undefined);
  if (idle.length)
    console.log(pc.yellow(`Without --key ${idle.map(optionText).join(", ")} says nothing: no manifest.`));
  if (!key)
    console.log(pc.yellow("No --key: nothing is signed. The program below takes exactly this image, by its digest."));
  console.log(`\nFor the Espruino Web IDE${images.length > 1 ? ` (newest image: ${newest})` : ""}:\n`);
  console.log(espruinoProgram(urls[0] + newest + (key ? ".jws" : ""), trust));
}

/** Resolves when the server has been told to end. */
function untilSignal(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      server.close(() => resolve());
      server.closeAllConnections();
    };
    process.once("SIGINT", end);
    process.once("SIGTERM", end);
  });
}

async function serve(target: string, options: Options): Promise<void> {
  const key = options.key === undefined ? undefined : await loadSigningKey(options.key);
  const shelf = createShelf(target, key, options, fsverity);
  if (!shelf.images().length) {
    const [why] = shelf.problems();
    throw why === undefined ? refusal(`${target}: no image in it (a .bin that begins with 0xe9)`, 1) : refusal(why, 1);
  }
  const log = createLog();
  const connections = createConnections(MOST_CONNECTIONS);
  const server = await createServer(options, listener(shelf, key, log, connections), connections, log);
  const port = await listen(server, options);
  const end = untilSignal(server);
  announce(options, port, shelf, key);
  await end;
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65535) throw new InvalidArgumentError("Expected 0 to 65535.");
  return port;
}

function parseHost(text: string): string {
  if (text.includes(":") && !isIPv4(text))
    throw new InvalidArgumentError("Expected an IPv4 address or a name: Espruino knows no IPv6.");
  return text;
}

const HELP = `
Serves valid images (.bin) and manifests (.jws) of the folder, nothing else of it; / lists them. With --key there is a
freshly signed manifest for each image at /<image>.jws. By default everybody on your network can fetch them.
The certificate is made anew at each start; Espruino does not check it, and curl needs -k.

Example:
  npx https-ota serve build/ --key key.pem
  npx https-ota serve espruino_esp32.bin --key key.pem
  npx https-ota serve firmware.bin --http --host 127.0.0.1 --port 8000
`;

export function addServe(program: Command): void {
  const command = program
    .command("serve")
    .description("Serve images to devices during development, and print the program that fetches them.")
    .argument("<folder|image>")
    .option(
      "--port <n>",
      `port to listen on; 0 takes a free one (default: ${HTTPS_PORT}, with --http ${HTTP_PORT})`,
      parsePort,
    )
    .option("--host <address>", "address to listen on; 127.0.0.1 is this computer only", parseHost, EVERYWHERE)
    .option("--key <file>", "private key, PEM or JWK: sign a manifest for each image on the fly")
    .option("--http", "without TLS")
    .option("--expires <time>", "of the manifests: 90d, 12h, 2w, or a date", parseExpiry)
    .option("--board <name>", "of the manifests: only for devices whose process.env.BOARD is this", parseName)
    .option("--project <name>", "default: what the image says, or the file's name", parseName)
    .option("--app-version <version>", "default: what the image says, or the digest's begin", parseName)
    .addHelpText("after", HELP)
    .action(serve);
  addEspruinoOptions(command);
}
