// `https-ota init`: a device gets the loader and the module, after which releases of files can be installed on it.
import type { Command } from "commander";
import pc from "picocolors";
import { init, LOADER, loaderConfig, type LoaderOptions, loaderText, outProblem } from "../push/loader.ts";
import { DEFAULT_BAUD } from "../push/port.ts";
import { MODULE_FILE } from "../push/storage-file.ts";
import { misuse, refusal } from "../ui/errors.ts";
import { STDOUT, writeOutput } from "../ui/files.ts";
import { addLoaderOptions, parseBaud, parseOut, parsePort } from "./options.ts";

interface Options extends LoaderOptions {
  port?: string;
  baud: number;
  out?: string;
  replaceBoot0?: boolean;
}

async function run(options: Options): Promise<void> {
  const { port, baud, out, replaceBoot0 = false } = options;
  if ((port === undefined) === (out === undefined)) misuse("expected one of --port, a device, and --out, a file");
  const config = await loaderConfig(options);
  if (out !== undefined) {
    if (replaceBoot0) misuse("--replace-boot0 is about a device: give --port");
    const text = loaderText(config);
    if (out === STDOUT) {
      process.stdout.write(text, "latin1");
      return;
    }
    writeOutput(out, Buffer.from(text, "latin1"), outProblem);
    console.log(
      `${out}: loader, ${text.length} bytes: the Storage file ${LOADER} of a device. ` +
        `It needs the module there too, as https-ota: build/${MODULE_FILE}`,
    );
    return;
  }
  const controller = new AbortController();
  const stop = () => controller.abort(refusal("interrupted: run init again, it goes on", 1));
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  try {
    const line = { port: port as string, baud, signal: controller.signal };
    await init({ ...line, config, replace: replaceBoot0, say: (text) => console.log(text) });
  } finally {
    process.off("SIGINT", stop);
    process.off("SIGTERM", stop);
  }
  console.log(
    `${pc.green("ok")} loader and module are there. Reset the device: the loader runs from its next start on`,
  );
}

const HELP = `
Writes the loader into the Storage file ${LOADER} and the module into https-ota, each only when it is not there. The loader
starts the program of the release that runs. With --url and --keys it also fetches one when there is none, as soon as
the device has a network. Reset the device afterwards: before its next start it takes no release. A ${LOADER} that is not
the loader stays, and init fails, unless --replace-boot0 is given.

Example:
  npx https-ota init --port /dev/ttyUSB0
  npx https-ota init --port COM3 --url https://example.com/app.jws --keys key.pub.jwk
  npx https-ota init --out boot0.js --url https://example.com/app.jws --keys key.pub.jwk
`;

export function addInit(program: Command): void {
  const command = program
    .command("init")
    .description("Bring loader and module onto a device, once, so that it takes releases of files.")
    .option("--port <port>", "/dev/ttyUSB0, COM3, tcp://HOST or tcp://HOST:PORT (default port: 23)", parsePort)
    .option("--baud <n>", "of a serial port", parseBaud, DEFAULT_BAUD);
  addLoaderOptions(command)
    .option(
      "--out <file>",
      "write the loader to a file instead, to upload it in another way ('-': standard output)",
      parseOut,
    )
    .option("--replace-boot0", `put the loader in the place of another ${LOADER}`)
    .addHelpText("after", HELP)
    .action(run);
}
