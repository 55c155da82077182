// What the demo is asked to do. Wrong usage ends here, with exit code 2.
import { Command, CommanderError, Option } from "commander";
import { boardNames } from "../sim/boards.ts";

export type Options = {
  board: string;
  image?: string;
  flash?: string;
  dump?: string;
  url?: string;
  /** Public keys for what `url` names: a signed manifest then. */
  key?: string;
  insecure?: boolean;
  /** How often the connection breaks in the first download. */
  cut?: number;
  badImage?: boolean;
  program?: boolean;
  powerCuts?: boolean;
  /** So many cells of that campaign. */
  cells?: number;
  json?: boolean;
};

const EXAMPLES = `
Examples:
  npm run demo
  npm run demo -- --image ../firmware/espruino_esp32.bin
  npm run demo -- --board esp32c3
  npm run demo -- --cut 10          a bad line, and two losses of power
  npm run demo -- --insecure
  npm run demo -- --bad-image       an image that never says it works goes back
  npm run demo -- --program         files in Storage: program and firmware
  npm run demo -- --power-cuts      the power fails at each flash operation
  npm run demo -- --power-cuts --cells 9
  npm run demo -- --dump after.bin  then go on from there:
  npm run demo -- --flash after.bin
  npm run demo -- --url https://localhost:8443/fw.bin
  npm run demo -- --url https://localhost:8443/fw.bin.jws --key key.pub.jwk
  npm run --silent demo -- --json

Exit code: 0 when the bootloader started the new image each time, 1 when it did
not, 2 for wrong usage. With --bad-image 0 when the old image runs again in the
end, with --power-cuts 0 when no case was found to be wrong, with --program 0
when each release ran, or was taken back, as it should.
`;

/** The virtual device has no route to the world: its network is this computer's loopback. */
function parseUrl(text: string): string {
  const refuse = (fact: string) => new CommanderError(2, "demo.url", `error: --url ${text}: ${fact}`);
  if (!URL.canParse(text)) throw refuse("not a URL");
  const { protocol, hostname } = new URL(text);
  if (protocol !== "http:" && protocol !== "https:") throw refuse("neither http nor https");
  if (hostname !== "localhost" && !/^127\./.test(hostname))
    throw refuse("the virtual device reaches localhost and 127.0.0.1 only");
  return text;
}

const MAX_CUTS = 200;
const MAX_CELLS = 1000;

const countUpTo = (option: string, most: number) => (text: string) => {
  const count = /^\d+$/.test(text) ? Number(text) : 0;
  if (count < 1 || count > most)
    throw new CommanderError(2, "demo.count", `error: ${option} ${text}: expected 1 to ${most}`);
  return count;
};

function createCommand(): Command {
  return new Command("npm run demo --")
    .description(
      "Updates a virtual ESP32 over HTTPS: boots it, runs the module's update() with a signed manifest, shows what lies " +
        "in flash, restarts into the new image, and does it once more. With --url there is one update: with --key a " +
        "signed manifest and its image, otherwise whatever the server has, unauthenticated.",
    )
    .addOption(
      new Option("--board <name>", "a board of boards/; toy-* are small layouts for tests")
        .choices(boardNames())
        .default("esp32"),
    )
    .addOption(new Option("--image <file>", "install this image first (default: a generated one)").conflicts("url"))
    .option("--url <url>", "fetch the image from a server on this computer, whatever it is", parseUrl)
    .option("--key <file>", "with --url, which then names a signed manifest: the public key, JWK or PEM")
    .option("--insecure", "without manifest and key: the device takes whatever the server has")
    .addOption(
      new Option("--cut <count>", "cut the connection so often in the first download, and the power twice")
        .argParser(countUpTo("--cut", MAX_CUTS))
        .conflicts("url"),
    )
    .addOption(
      new Option("--bad-image", "install a valid image that is never confirmed, until it is rolled back").conflicts([
        "url",
        "cut",
        "insecure",
      ]),
    )
    .addOption(
      new Option(
        "--program",
        "releases of files: a program, firmware with it, a loss of power, and a bad program that is taken back",
      ).conflicts(["url", "cut", "insecure", "badImage", "powerCuts", "image", "flash"]),
    )
    .addOption(
      new Option(
        "--power-cuts",
        "a campaign of power losses on a small layout with the board's slots, and its counts",
      ).conflicts(["url", "cut", "insecure", "badImage", "image", "flash", "dump"]),
    )
    .option(
      "--cells <count>",
      "with --power-cuts: only so many cells of the campaign, others each time",
      countUpTo("--cells", MAX_CELLS),
    )
    .option("--flash <file>", "start from a whole flash as --dump writes it (default: generated firmware)")
    .option("--dump <file>", "write the whole flash after the last boot")
    .option(
      "--json",
      "print one line of JSON instead: from, to, bytes, fetched, refetched, erases, cuts, deviceSeconds, steps (each " +
        "with cutAt and moments: begin, power lost, commit, restart; what the slots hold, what would start); " +
        "with --bad-image: from, tried, to, version, back, starts, attempts, refused, steps; with --power-cuts: " +
        "layout, cells, of, snapshots, distinct, findings, seconds, counts, ids; with --program: keptBytes, fileBytes, " +
        "refused, rolledBack, steps",
    )
    .helpOption("-h, --help", "show this")
    .addHelpText("after", EXAMPLES)
    .configureOutput({ outputError: (text, write) => write(hintOf(text)) })
    .exitOverride();
}

/** `npm run demo --cut 5` keeps the option for npm and passes on the 5. */
function hintOf(text: string): string {
  const hint = "options of the demo come behind two dashes (npm run demo -- --help)";
  return text.includes("too many arguments") ? text.replace(/\n$/, `; ${hint}\n`) : text;
}

function checkKey({ key, url, insecure }: Options): void {
  if (key === undefined) return;
  if (url === undefined)
    throw new CommanderError(2, "demo.key", "error: --key wants --url: without it the demo makes a key of its own");
  if (insecure) throw new CommanderError(2, "demo.key", "error: option '--key' cannot be used with '--insecure'");
}

/** The options, or the code to exit with at once. */
export function parseOptions(argv: string[]): Options | number {
  const command = createCommand();
  try {
    const options = command.parse(argv, { from: "user" }).opts<Options>();
    checkKey(options);
    if (options.cells !== undefined && !options.powerCuts)
      throw new CommanderError(2, "demo.cells", "error: --cells wants --power-cuts");
    return options;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.code.startsWith("demo.")) console.error(error.message);
    return error.exitCode === 0 ? 0 : 2;
  }
}
