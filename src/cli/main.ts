// The command `https-ota`: what happens on the host. Exit codes: 0 done, 1 wrong input, 2 wrong usage.
import { Command, CommanderError } from "commander";
import pc from "picocolors";
import pkg from "../../package.json" with { type: "json" };
import { isRefusal, oneLine, systemReason } from "./ui/errors.ts";
import { addFactory } from "./commands/factory.ts";
import { addInit } from "./commands/init.ts";
import { addInspect } from "./commands/inspect.ts";
import { addInstallPage } from "./commands/install-page.ts";
import { addKeygen } from "./commands/keygen.ts";
import { addPush } from "./commands/push.ts";
import { addServe } from "./commands/serve.ts";
import { addSign } from "./commands/sign.ts";
import { addPartitions } from "./commands/partitions.ts";
import { addVerify } from "./commands/verify.ts";

const HELP = `
Example, from nothing to a device that updates itself:
  npx https-ota keygen --out key.pem
  npx https-ota sign firmware.bin --key key.pem --out firmware.jws
  npx https-ota verify firmware.jws --key key.pub.jwk --image firmware.bin
Publish firmware.bin and firmware.jws beside each other; docs/cli.md has it all.
Programs are signed by sign --files, and need init on the device once.
`;

function createProgram(): Command {
  const program = new Command("https-ota")
    .description("Releases for devices that update themselves with https-ota: sign, verify, inspect, serve.")
    .version(pkg.version)
    .addHelpText("after", HELP)
    .exitOverride()
    // one line, written by fail()
    .configureOutput({ writeErr() {} })
    .showSuggestionAfterError();
  // settings are inherited by what is added after them
  for (const add of [
    addKeygen,
    addSign,
    addVerify,
    addInspect,
    addServe,
    addInit,
    addFactory,
    addInstallPage,
    addPush,
    addPartitions,
  ])
    add(program);
  return program;
}

/** Red on a terminal; a file or a pipe gets the line as it is. */
function say(line: string): void {
  console.error(process.stderr.isTTY ? pc.red(line) : line);
}

function fail(error: unknown): number {
  if (error instanceof CommanderError) {
    if (!error.exitCode) return 0;
    const noCommand = error.code === "commander.help";
    say(noCommand ? "error: missing command (see https-ota --help)" : `${oneLine(error.message)} (see --help)`);
    return 2;
  }
  if (isRefusal(error)) {
    say(oneLine(error.message));
    return error.exitCode;
  }
  say(oneLine(`error: ${systemReason(error)}`));
  return 1;
}

// `https-ota inspect dump.bin | head` is not an error
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

createProgram()
  .parseAsync(process.argv)
  .catch((error: unknown) => {
    process.exitCode = fail(error);
  });
