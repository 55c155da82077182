// `https-ota serve`: a server for development, on this computer or its network. It signs on the fly.
import {
  createServer as createHttp,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createHttps } from "node:https";
import { isIPv4, type AddressInfo } from "node:net";
import { networkInterfaces } from "node:os";
import type { TLSSocket } from "node:tls";
import { type Command, InvalidArgumentError } from "commander";
import pc from "picocolors";
import { type Answer, answer } from "./answer.ts";
import { createCertificate } from "./certificate.ts";
import { isRefusal, oneLine, printable, refuse, systemReason } from "./errors.ts";
import { fsverity } from "./fsverity.ts";
import { loadSigningKey, type SigningKey } from "./keys.ts";
import { createLog, type Log } from "./log.ts";
import { espruinoProgram } from "./program.ts";
import { addEspruinoOptions, parseExpiry, parseName, type ReleaseOptions } from "./release-options.ts";
import { createShelf, type Shelf } from "./shelf.ts";

interface Options extends Omit<ReleaseOptions, "url" | "sequence"> {
  port?: number;
  host: string;
  key?: string;
  http?: boolean;
}

const EVERYWHERE = "0.0.0.0";
const HTTPS_PORT = 8443;
const HTTP_PORT = 8080;
const PIECE = 8192;
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

/** Sends the body piece by piece, so that what is reported is what the peer has taken. Resolves with the bytes sent. */
async function send(response: ServerResponse, body: Uint8Array, progress: (sent: number) => void): Promise<number> {
  let sent = 0;
  for (let at = 0; at < body.length && !response.destroyed; at += PIECE) {
    const piece = body.subarray(at, at + PIECE);
    const failed = await new Promise<unknown>((resolve) => {
      // a socket that dies does not always call back
      const onClose = () => resolve(true);
      response.once("close", onClose);
      response.write(piece, (error) => {
        response.off("close", onClose);
        resolve(error);
      });
    });
    if (failed) break;
    sent += piece.length;
    progress(sent);
  }
  response.end();
  return sent;
}

function outcome({ status, body, start, headers }: Answer, sent: number, ms: number): string {
  const range = status === 206 ? ` from ${start}` : "";
  const rate = ms && sent > PIECE ? ` in ${(ms / 1000).toFixed(1)} s (${Math.round(sent / ms)} KB/s)` : "";
  const color = status < 400 ? pc.green : pc.red;
  if (sent < body.length) return pc.red(`cut after ${sent} of ${body.length} bytes${range}`);
  return `${color(String(status))} ${body.length || headers["Content-Length"] || 0} bytes${range}${rate}`;
}

function plain(status: number, text: string): Answer {
  const body = Buffer.from(`${text}\n`);
  const headers = { "Content-Type": "text/plain; charset=utf-8", "Content-Length": body.length };
  return { status, headers, body, start: 0 };
}

async function answerFor(
  request: IncomingMessage,
  urlPath: string,
  shelf: Shelf,
  key: SigningKey | undefined,
): Promise<Answer> {
  const method = request.method ?? "";
  if (method !== "GET" && method !== "HEAD") {
    const refused = plain(405, "only GET and HEAD");
    return { ...refused, headers: { ...refused.headers, Allow: "GET, HEAD" } };
  }
  const index = () => shelf.images().flatMap((image) => (key ? [image, `${image}.jws`] : [image]));
  if (urlPath === "/") return plain(200, index().join("\n"));
  const content = await shelf.get(urlPath, request.headers["if-range"]?.toString());
  if (content === null) return plain(404, "no image and no manifest");
  // 4xx: the same request fails again until somebody has made a better image
  if (typeof content === "string") return plain(422, oneLine(content));
  return answer(method, request.headers, content);
}

function listener(shelf: Shelf, key: SigningKey | undefined, log: Log): RequestListener {
  return async (request, response) => {
    const begun = performance.now();
    const urlPath = (request.url ?? "/").split("?")[0];
    const range = request.headers.range ? ` ${request.headers.range}` : "";
    const who = request.socket.remoteAddress?.replace(/^::ffff:/, "") ?? "?";
    const label = printable(`${who} ${request.method} ${request.url}${range}`);
    response.on("error", () => {});
    let reply: Answer;
    try {
      reply = await answerFor(request, urlPath, shelf, key);
    } catch (error) {
      reply = plain(500, isRefusal(error) ? oneLine(error.message) : systemReason(error));
    }
    if (request.method === "HEAD") reply = { ...reply, body: new Uint8Array(0) };
    response.writeHead(reply.status, reply.headers);
    response.flushHeaders();
    const transfer = log.transfer(label, reply.body.length);
    const sent = await send(response, reply.body, transfer.update);
    const why = reply.status >= 400 && reply.body.length ? `: ${oneLine(Buffer.from(reply.body).toString())}` : "";
    transfer.end(outcome(reply, sent, performance.now() - begun) + why);
  };
}

// --- Server ----------------------------------------------------------------------------------------------------------

async function createServer(options: Options, handle: RequestListener, log: Log): Promise<Server> {
  const server = options.http
    ? createHttp(handle)
    : createHttps({ ...(await createCertificate(hostsOf(options.host))), minVersion: "TLSv1.2" }, handle);
  server.on("secureConnection", (socket: TLSSocket) => void socket.setMaxSendFragment(TLS_RECORD));
  server.on("tlsClientError", (error: NodeJS.ErrnoException, socket: TLSSocket) => {
    if (error.code !== "ECONNRESET")
      log.line(`${socket.remoteAddress ?? "?"} TLS: ${error.code ?? oneLine(error.message)}`);
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
    options.host === EVERYWHERE ? `everybody on your network (--host 127.0.0.1: this computer only)` : options.host;
  console.log(`${pc.bold("https-ota serve")} for ${reach}. Ctrl-C ends it.`);
  for (const url of urls) for (const image of images) console.log(`  ${url}${image}${key ? ".jws" : ""}`);
  const [newest] = images;
  const trust = { jwk: key?.jwk, fsverity: fsverity(shelf.firmware(newest).bytes) };
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
  const [newest] = shelf.images();
  if (newest === undefined) return refuse(target, "no image in it (a .bin that begins with 0xe9)");
  shelf.firmware(newest); // a broken one is refused before anybody asks for it
  const log = createLog();
  const server = await createServer(options, listener(shelf, key, log), log);
  const port = await listen(server, options);
  const end = untilSignal(server);
  announce(options, port, shelf, key);
  await end;
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65535) throw new InvalidArgumentError("Wanted 0 to 65535.");
  return port;
}

function parseHost(text: string): string {
  if (text.includes(":") && !isIPv4(text))
    throw new InvalidArgumentError("Wanted an IPv4 address or a name: Espruino knows no IPv6.");
  return text;
}

const HELP = `
Serves images (.bin) and manifests (.jws) of the folder, nothing else of it. With --key there is a freshly signed
manifest for each image at /<image>.jws. By default everybody on your network can fetch them.
The certificate is made anew at each start; Espruino does not check it, and curl needs -k.

Example:
  npx https-ota serve build/ --key dev.pem
  npx https-ota serve espruino_esp32.bin --key dev.pem
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
