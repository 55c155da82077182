// `https-ota serve`: a server for development, on this computer or its network. It signs on the fly.
import { isIPv4 } from "node:net";
import { networkInterfaces } from "node:os";
import { type Command, InvalidArgumentError } from "commander";
import pc from "picocolors";
import { loadSigningKey, type SigningKey } from "../release/keys.ts";
import type { ReleaseOptions } from "../release/release.ts";
import { createCatalogue, type Catalogue } from "../server/catalogue.ts";
import { createConnections } from "../server/connections.ts";
import { createServer, listen, listener, untilSignal } from "../server/listener.ts";
import { espruinoSnippet } from "../server/snippet.ts";
import { createLog } from "../server/transfer-log.ts";
import { oneLine, printable, refusal } from "../ui/errors.ts";
import { addEspruinoOptions, optionText, parseExpiry, parseName } from "./options.ts";

interface Options extends Omit<ReleaseOptions, "url" | "sequence"> {
  port?: number;
  host: string;
  key?: string;
  http?: boolean;
}

/** Options that have no effect without a manifest, so without --key. */
const SIGNING_OPTIONS = ["expires", "board", "project", "appVersion", "storage", "allowMissingNatives"] as const;

const EVERYWHERE = "0.0.0.0";
const HTTPS_PORT = 8443;
const HTTP_PORT = 8080;
/** Everybody on the network can open connections, so their number is bounded. */
const MOST_CONNECTIONS = 256;

/** IPv4 addresses by which others reach this computer. Espruino knows no IPv6. */
function lanAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((one) => one ?? []);
  return all.filter(({ family, internal }) => family === "IPv4" && !internal).map(({ address }) => address);
}

function hostsOf(host: string): string[] {
  return host === EVERYWHERE ? [...lanAddresses(), "localhost"] : [host];
}

function announce(options: Options, port: number, catalogue: Catalogue, key: SigningKey | undefined): void {
  const scheme = options.http ? "http" : "https";
  const urls = hostsOf(options.host).map((host) => `${scheme}://${host}:${port}`);
  const images = catalogue.images();
  const reach =
    options.host === EVERYWHERE
      ? "everybody on your network (--host 127.0.0.1: this computer only)"
      : printable(options.host);
  console.log(`${pc.bold("https-ota serve")} for ${reach}. Ctrl-C ends it.`);
  for (const url of urls) for (const image of images) console.log(`  ${url}${image}${key ? ".jws" : ""}`);
  const [newest] = images;
  const trust = { jwk: key?.jwk, fsverity: catalogue.digest(newest) };
  for (const why of catalogue.problems()) console.log(pc.yellow(`Not served: ${oneLine(why)}`));
  const idle = SIGNING_OPTIONS.filter((name) => !key && options[name] !== undefined);
  if (idle.length)
    console.log(pc.yellow(`Without --key ${idle.map(optionText).join(", ")} has no effect: there is no manifest.`));
  if (!key)
    console.log(pc.yellow("No --key: nothing is signed. The program below accepts only this image, by its digest."));
  console.log(`\nFor the Espruino Web IDE${images.length > 1 ? ` (newest image: ${newest})` : ""}:\n`);
  console.log(espruinoSnippet(urls[0] + newest + (key ? ".jws" : ""), trust));
}

async function serve(target: string, options: Options): Promise<void> {
  const key = options.key === undefined ? undefined : await loadSigningKey(options.key);
  const catalogue = createCatalogue(target, key, options);
  if (!catalogue.images().length) {
    const [why] = catalogue.problems();
    throw why === undefined ? refusal(`${target}: no image in it (a .bin that begins with 0xe9)`, 1) : refusal(why, 1);
  }
  const log = createLog();
  const connections = createConnections(MOST_CONNECTIONS);
  const { host, http } = options;
  const handle = listener({ catalogue, key, log, connections });
  const server = await createServer(http ? null : hostsOf(host), handle, connections, log);
  const port = await listen(server, host, options.port ?? (http ? HTTP_PORT : HTTPS_PORT));
  const end = untilSignal(server);
  announce(options, port, catalogue, key);
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
Serves the valid images (.bin) and manifests (.jws) of the folder, and nothing else; / lists them. With --key there is a
freshly signed manifest for each image at /<image>.jws. By default everybody on your network can fetch them.
Each start makes a new certificate; Espruino does not check it, and curl needs -k.

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
    .option("--app-version <version>", "default: what the image says, or the first digits of the digest", parseName)
    .addHelpText("after", HELP)
    .action(serve);
  addEspruinoOptions(command);
}
