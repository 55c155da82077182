// `https-ota serve`: a server for development, on this computer or its network. It signs on the fly.
import { isIPv4 } from "node:net";
import { networkInterfaces } from "node:os";
import path from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import pc from "picocolors";
import { loadSigningKey, type SigningKey } from "../release/keys.ts";
import type { ProgramOptions } from "../release/program.ts";
import type { ReleaseOptions } from "../release/release.ts";
import { createActivity } from "../server/activity.ts";
import { createCatalogue, type Catalogue } from "../server/catalogue.ts";
import { type Collector, createCollector, REPORT_PATH } from "../server/collector.ts";
import { createConnections } from "../server/connections.ts";
import { createHostNames } from "../server/host-names.ts";
import { createInstalls, type Installs, noInstalls } from "../server/installs.ts";
import { createWorking } from "../server/working.ts";
import { createServer, listen, listener, untilSignal } from "../server/listener.ts";
import { createSite } from "../server/site.ts";
import { espruinoSnippet } from "../server/snippet.ts";
import { createLog } from "../server/transfer-log.ts";
import { misuse, oneLine, printable, refusal } from "../ui/errors.ts";
import { STDOUT } from "../ui/files.ts";
import { addEspruinoOptions, addProgramOptions, optionText, parseExpiry, parseName } from "./options.ts";

interface Options extends Omit<ReleaseOptions, "url" | "sequence" | "filesUrl">, Omit<ProgramOptions, "filesUrl"> {
  port?: number;
  host: string;
  allowHost?: string[];
  collect?: string;
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

/** Can nobody but this computer connect? */
const isLoopback = (host: string) => host === "localhost" || (isIPv4(host) && host.startsWith("127."));

function hostsOf(host: string): string[] {
  return host === EVERYWHERE ? [...lanAddresses(), "localhost"] : [host];
}

/** Base URLs of the server; by the first one others reach it. */
function addressesOf({ http, host }: Options, port: number): string[] {
  return hostsOf(host).map((one) => `${http ? "http" : "https"}://${one}:${port}`);
}

/** As many as fit into a line. */
const MOST_NAMED = 8;

function strangersText(strangers: readonly string[]): string {
  const more = strangers.length > MOST_NAMED ? ` and ${strangers.length - MOST_NAMED} more` : "";
  return `Not served, neither an image (0xe9 at the start) nor a manifest: ${strangers.slice(0, MOST_NAMED).join(", ")}${more}`;
}

interface Served {
  catalogue: Catalogue;
  installs: Installs;
  collector: Collector | null;
}

/** By which browsers give a page the serial port. */
const isTrusted = (url: string) => /^https:|^http:\/\/(?:localhost|127(?:\.\d+){3})[:/]/.test(url);

function announceInstalls(urls: string[], installs: Installs): void {
  const url = [...urls].reverse().find(isTrusted);
  for (const { path, name, version } of installs.pages())
    console.log(
      url
        ? `To install ${name} ${version} on a new board: ${url}${path} in Chrome or Edge`
        : pc.yellow(`${path} cannot install by this address: without --http, or with --host 127.0.0.1, it can.`),
    );
  for (const { path, reason } of installs.notServed())
    console.log(pc.yellow(oneLine(`Not served: ${path}: ${reason}`)));
}

function reportsText({ collect = "" }: Options, url: string, { list, damaged }: Collector): string {
  const lost = damaged ? `, ${damaged} damaged lines left out` : "";
  const count = list().length;
  const known = `${count} ${count === 1 ? "device" : "devices"}`;
  return `Reports of devices: ${url}${REPORT_PATH}, kept in ${printable(collect)} (${known}${lost})`;
}

function announce(
  options: Options,
  urls: string[],
  { catalogue, installs, collector }: Served,
  key: SigningKey | undefined,
): void {
  const offers = catalogue.offers();
  const reach =
    options.host === EVERYWHERE
      ? "everybody on your network (--host 127.0.0.1: this computer only)"
      : printable(options.host);
  console.log(`${pc.bold("https-ota serve")} for ${reach}. Ctrl-C ends it.`);
  for (const url of urls) for (const { urlPath } of offers) console.log(`  ${url}${urlPath}`);
  const unknown = options.http ? "" : " (it warns of the certificate, which is self-signed)";
  console.log(`In a browser: ${urls.at(-1)}/${unknown}`);
  announceInstalls(urls, installs);
  if (collector) console.log(reportsText(options, urls[0], collector));
  for (const why of catalogue.problems()) console.log(pc.yellow(`Not served: ${oneLine(why)}`));
  const strangers = catalogue.strangers();
  if (strangers.length) console.log(pc.yellow(oneLine(strangersText(strangers))));
  const idle = SIGNING_OPTIONS.filter((name) => !key && options[name] !== undefined);
  if (idle.length)
    console.log(pc.yellow(`Without --key ${idle.map(optionText).join(", ")} has no effect: there is no manifest.`));
  if (!offers.length) return;
  const [{ urlPath, trust }] = offers;
  if (trust.fsverity && !trust.jwk)
    console.log(pc.yellow("No --key: nothing is signed. The program below accepts only this image, by its digest."));
  const newest = urlPath.replace(/\.jws$/, "");
  console.log(
    `\nFor the Espruino Web IDE${offers.length > 1 ? ` (newest${trust.fsverity ? " image" : ""}: ${newest})` : ""}:\n`,
  );
  console.log(espruinoSnippet(urls[0] + urlPath, trust));
}

/** The options that are about the files of a working folder, and those that are about images. */
const OF_FILES = ["entry", "ignore", "minify", "chip"] as const;
const OF_IMAGE = ["storage", "allowMissingNatives"] as const;

function checkUsage(target: string | undefined, options: Options): void {
  const working = options.files !== undefined || options.file !== undefined;
  if (target === undefined && !working)
    misuse("missing required argument 'folder|image' (a working folder has --files <folder> instead)");
  if (target !== undefined && working)
    misuse("expected a folder or an image to serve, or --files and --file: not both");
  const wrong = (working ? OF_IMAGE : OF_FILES).find((name) => options[name] !== undefined);
  if (wrong) misuse(`${optionText(wrong)} is about ${working ? "images" : "files: give --files or --file"}`);
  if (!working) return;
  const missing = (["entry", "chip", "key"] as const).filter((name) => options[name] === undefined);
  if (missing.length) misuse(`--files and --file need ${missing.map(optionText).join(" and ")}`);
}

function createFolder(target: string, key: SigningKey | undefined, options: Options, installs: Installs): Catalogue {
  const catalogue = createCatalogue(target, key, options);
  if (catalogue.offers().length || installs.pages().length) return catalogue;
  const [page] = installs.notServed();
  const [why] = [...catalogue.problems(), ...(page ? [`${target}${page.path}: ${page.reason}`] : [])];
  throw refusal(why ?? `${target}: no image in it (a .bin that begins with 0xe9), and no manifest of files`, 1);
}

/** The file of the reports does not belong to the program, also when it lies in its folder. */
function withoutReports(options: Options): Options {
  const { files, collect, ignore = [] } = options;
  if (files === undefined || collect === undefined) return options;
  const below = path.relative(files, collect).split(path.sep).join("/");
  return { ...options, ignore: [...ignore, `/${below}`] };
}

async function serve(target: string | undefined, options: Options): Promise<void> {
  checkUsage(target, options);
  const key = options.key === undefined ? undefined : await loadSigningKey(options.key);
  const log = createLog();
  const activity = createActivity();
  // first: what it creates must be known for what it is
  const collector = options.collect === undefined ? null : createCollector(options.collect, activity.tell);
  const { host, http, allowHost = [] } = options;
  const installs = target === undefined ? noInstalls : createInstalls(target, isLoopback(host));
  const catalogue =
    target === undefined
      ? await createWorking(withoutReports(options), key as SigningKey, (text) => log.line(oneLine(text)))
      : createFolder(target, key, options, installs);
  const connections = createConnections(MOST_CONNECTIONS);
  let addresses: string[] = [];
  const site = createSite({ catalogue, installs, collector, activity, addresses: () => addresses });
  const hosts = createHostNames([host, ...allowHost]);
  const handle = listener({ catalogue, site, log, activity, connections, hosts, collector });
  const server = await createServer(http ? null : [...hostsOf(host), ...allowHost], handle, connections, log);
  const port = await listen(server, host, options.port ?? (http ? HTTP_PORT : HTTPS_PORT));
  addresses = addressesOf(options, port);
  const end = untilSignal(server);
  if ("notes" in catalogue) for (const note of catalogue.notes as string[]) console.log(`note: ${printable(note)}`);
  announce(options, addresses, { catalogue, installs, collector }, key);
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

function collectHost(text: string, names: string[] = []): string[] {
  if (!/^[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_])?$/i.test(text))
    throw new InvalidArgumentError("Expected a name without scheme and port, as pc.example.org.");
  return [...names, text];
}

function parseCollect(text: string): string {
  if (!text || text === STDOUT) throw new InvalidArgumentError("Expected a file.");
  return text;
}

const HELP = `
Serves the valid images (.bin) and manifests (.jws) of the folder, the files that the manifests name, and nothing else; /
lists them, and is a page in a browser: releases, the program, and what each device fetches. With --key there is a freshly signed manifest for each image at /<image>.jws. By default everybody on your
network can fetch them.
An install page of factory --page or install-page in the folder is served too, but not to the network when its files hold
a Wi-Fi password.
Each start makes a new certificate; Espruino does not check it, and curl needs -k.

With --files a working folder is served instead: a program, with its manifest at /release.jws. It is signed again within a
second when a file has changed, so that a device that polls runs it.

With --collect devices POST what report() says to /-/report, and the page shows them as a table.

A browser may open the page by an address in digits, localhost, the name of this computer, and the names of --allow-host.

Example:
  npx https-ota serve build/ --key key.pem
  npx https-ota serve --files build --entry app.js --chip esp32 --key key.pem --http
  npx https-ota serve espruino_esp32.bin --key key.pem
  npx https-ota serve firmware.bin --http --host 127.0.0.1 --port 8000
`;

export function addServe(program: Command): void {
  const command = program
    .command("serve")
    .description("Serve images and programs to devices during development, and print the program that fetches them.")
    .argument("[folder|image]")
    .option(
      "--port <n>",
      `port to listen on; 0 takes a free one (default: ${HTTPS_PORT}, with --http ${HTTP_PORT})`,
      parsePort,
    )
    .option("--host <address>", "address to listen on; 127.0.0.1 is this computer only", parseHost, EVERYWHERE)
    .option(
      "--allow-host <name>",
      "a name of this computer, by which a browser may open the page; may be repeated",
      collectHost,
    )
    .option("--collect <file>", "keep the last report of each device in this file, and show them", parseCollect)
    .option("--key <file>", "private key, PEM or JWK: sign a manifest for each image on the fly")
    .option("--http", "without TLS")
    .option("--expires <time>", "of the manifests: 90d, 12h, 2w, or a date", parseExpiry)
    .option("--board <name>", "of the manifests: only for devices whose process.env.BOARD is this", parseName)
    .option("--project <name>", "default: what the image says, or the file's name", parseName)
    .option("--app-version <version>", "default: what the image says, or the first digits of the digest", parseName)
    .addHelpText("after", HELP)
    .action(serve);
  addProgramOptions(command);
  addEspruinoOptions(command);
}
