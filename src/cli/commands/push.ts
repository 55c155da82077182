// `https-ota push`: an update over a serial port or TCP, for a device without Wi-Fi.
import { type Command, InvalidArgumentError, Option } from "commander";
import pc from "picocolors";
import { DEFAULT_BAUD } from "../push/port.ts";
import { findRelease, type Release, sizeOf } from "../push/release.ts";
import { push, type Pushed } from "../push/update.ts";
import { loadPublicKeys } from "../release/keys.ts";
import { misuse, printable, refusal } from "../ui/errors.ts";
import { between, collect, parseBaud, parseName, parsePort } from "./options.ts";

interface Options {
  port: string;
  key?: string[];
  digest?: boolean;
  insecure?: boolean;
  /** "1" or "2" */
  threshold?: string;
  image?: string;
  files?: string;
  allow?: string[];
  project?: string;
  partition?: string;
  module?: boolean;
  restart?: boolean;
  baud: number;
  wait: number;
  piece: number;
}

/** The fields of the device's configuration that begin with `allow`, by the words of --allow. */
const ALLOW = {
  "same-version": "allowSameVersion",
  downgrade: "allowDowngrade",
  "rolled-back": "allowRolledBack",
  "storage-loss": "allowStorageLoss",
  "saved-state": "allowSavedState",
  unconfirmed: "allowUnconfirmed",
} as const;

/** Bytes of the image in one line. A line takes some 250 of a board's JsVars for 1024, measured in the 32-bit build. */
const PIECE = 1024;
const LEAST_PIECE = 64;
const MOST_PIECE = 4096;
const WAIT = 60;
/** in bytes: below it a rate says nothing */
const LEAST_RATED = 8192;

/** Which image may run: exactly one of three options says it, as in the device's configuration. */
async function trustOf(
  options: Options,
  release: Release,
): Promise<{ config: Record<string, unknown>; keys: string[] }> {
  const { key = [], digest, insecure, threshold } = options;
  if ((key.length ? 1 : 0) + (digest ? 1 : 0) + (insecure ? 1 : 0) !== 1)
    misuse(
      "expected exactly one of --key, --digest and --insecure: the keys in the device's program are not known here",
    );
  if (release.files.size && !key.length)
    misuse(
      `${printable(release.manifest?.file ?? "")} has files, which a device takes by their manifest only: give --key`,
    );
  if (threshold && !key.length) misuse("--threshold needs --key");
  if (insecure) return { config: { insecure: true }, keys: [] };
  if (digest) return { config: { digest: release.digest }, keys: [] };
  if (!release.manifest)
    misuse(
      `${printable(release.image?.file ?? "")} is an image, and --key needs its manifest: give the .jws, or --digest`,
    );
  const keys = (await Promise.all(key.map(loadPublicKeys))).flat();
  const texts = keys.map(({ jwk: { kty, n, e } }) => JSON.stringify({ kty, n, e }));
  return { config: threshold ? { threshold: Number(threshold) } : {}, keys: [...new Set(texts)] };
}

function report({ port, restart }: Options, release: Release, { end, sent, time, repeats }: Pushed): void {
  const size = sizeOf(release);
  const again = repeats ? `, ${repeats} ${repeats === 1 ? "line" : "lines"} sent again` : "";
  const rate = sent > LEAST_RATED ? `, ${(time / 1000).toFixed(1)} s, ${Math.round((sent * 1000) / time)} bytes/s` : "";
  const name = printable(release.name);
  if (end.upToDate && !end.waiting) {
    console.log(`${port}: up to date, ${name} runs there`);
    return;
  }
  const slot = release.image ? printable(end.slot ?? "its slot") : "Storage";
  const done = end.waiting ? `${name} waits in ${slot} already` : `${name} is in ${slot}, ${size} bytes${rate}${again}`;
  const next = restart
    ? "it restarts into it now"
    : 'it starts at the next restart: reset the device, call require("https-ota").restart() there, or push with --restart';
  console.log(`${pc.green("ok")} ${done}; ${next}`);
}

async function run(target: string, options: Options): Promise<void> {
  const release = await findRelease(target, options);
  const { config, keys } = await trustOf(options, release);
  for (const word of options.allow ?? []) config[ALLOW[word as keyof typeof ALLOW]] = true;
  for (const name of ["project", "partition"] as const) if (options[name]) config[name] = options[name];
  // a rollout is for devices that look by themselves
  config.allowEarly = true;
  // this side decides when the line is lost for good
  config.deadline = 0;
  const from = release.manifest && keys.length ? `${release.manifest.file}, ` : "";
  const { image, files } = release;
  const parts = [...(image ? [image.file] : []), ...(files.size ? [`${files.size} files`] : [])];
  console.log(printable(`${release.name}: ${from}${parts.join(", ")}, ${sizeOf(release)} bytes`));
  if (options.digest) console.log(`digest: "${release.digest}"`);
  const controller = new AbortController();
  const stop = () => controller.abort(refusal("interrupted: nothing was sent", 1));
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  const { port, baud, wait, piece, module: replaceModule = false, restart = false } = options;
  try {
    const pushed = await push(release, {
      port,
      baud,
      wait,
      piece,
      replaceModule,
      restart,
      config,
      keys,
      signal: controller.signal,
      say: (text) => console.log(text),
    });
    report(options, release, pushed);
  } finally {
    process.off("SIGINT", stop);
    process.off("SIGTERM", stop);
  }
}

function parseAllow(text: string, texts: string[] = []): string[] {
  if (!(text in ALLOW)) throw new InvalidArgumentError(`Expected one of ${Object.keys(ALLOW).join(", ")}.`);
  return collect(text, texts);
}

const HELP = `
The device runs require("https-ota").update() on its console, asks for the bytes, and checks them as over HTTPS. Nothing
else is decided here. A device without the module gets it into its Storage first. When the line is lost, push waits for
it to come back, and the update goes on behind the last whole sector. Ctrl-C ends the update on the device.

A serial port needs the package serialport: npm install espruino brings it. tcp:// needs nothing.

Example:
  npx https-ota push firmware.jws --key key.pub.jwk --port /dev/ttyUSB0 --restart
  npx https-ota push release/ --key key.pub.jwk --port COM3
  npx https-ota push firmware.bin --digest --port tcp://192.168.1.57
`;

export function addPush(program: Command): void {
  program
    .command("push")
    .description("Update a device over a serial port or TCP, without Wi-Fi.")
    .argument(
      "<release>",
      "the manifest (.jws) with its image and files beside it, a folder with one manifest, or an image",
    )
    .requiredOption("--port <port>", "/dev/ttyUSB0, COM3, tcp://HOST or tcp://HOST:PORT (default port: 23)", parsePort)
    .option(
      "--key <file>",
      "a public key that the manifest must be signed by: PEM, JWK or JWK set; may be repeated",
      collect,
    )
    .addOption(new Option("--threshold <n>", "number of different keys that must have signed").choices(["1", "2"]))
    .option("--digest", "the device takes the image by its digest, which is printed; needs no key")
    .option("--insecure", "the device takes the image as it comes")
    .option("--image <file>", "the image of the manifest, when it is not beside it")
    .option("--files <folder>", "the files of the manifest by their names, when they are not beside it")
    .option(
      "--allow <what>",
      `what the device refuses otherwise: ${Object.keys(ALLOW).join(", ")}; may be repeated`,
      parseAllow,
    )
    .option(
      "--project <name>",
      "the manifest's project must be this (default: that of the running firmware)",
      parseName,
    )
    .option("--partition <label>", "the slot to write (default: the next one)", parseName)
    .option("--module", "put this command's module in the place of the one on the device; its program is ended first")
    .option("--restart", "restart the device at the end")
    .option("--baud <n>", "of a serial port", parseBaud, DEFAULT_BAUD)
    .option("--wait <seconds>", "how long a lost line may be away", between(0, 86400), WAIT)
    .option(
      "--piece <bytes>",
      "bytes of the image in one line; fewer for a device with little memory",
      between(LEAST_PIECE, MOST_PIECE),
      PIECE,
    )
    .addHelpText("after", HELP)
    .action(run);
}
