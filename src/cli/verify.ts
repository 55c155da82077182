// `https-ota verify`: what a device would decide, step by step, without a device.
import type { Command } from "commander";
import pc from "picocolors";
import { refuse } from "./errors.ts";
import { readInput } from "./files.ts";
import { loadPublicKeys } from "./keys.ts";
import { checkImageMatches, checkNames, checkSignature, parseToken } from "./manifest.ts";
import { type Firmware, readFirmware, storageSaid } from "./release.ts";
import { summary } from "./sign.ts";

interface Options {
  key: string[];
  image?: string;
}

function passed(step: string, fact: string): void {
  console.log(`${pc.green("ok")} ${step.padEnd(10)} ${fact}`);
}

async function verify(file: string, options: Options): Promise<void> {
  const keys = (await Promise.all(options.key.map(loadPublicKeys))).flat();
  const bytes = readInput(file);
  const token = parseToken(file, bytes);
  passed("form", `JWS in compact serialization, ${bytes.length} bytes, PS256`);
  const key = keys.find(({ jwk }) => jwk.kid === token.header.kid);
  if (!key) return refuse(file, `key: kid ${token.header.kid} is none of ${keys.map(({ jwk }) => jwk.kid).join(", ")}`);
  await checkSignature(file, bytes.toString("latin1"), key);
  passed("signature", `by ${key.file} (${key.jwk.kid})`);
  const { claims } = token;
  if (claims.exp !== undefined && claims.exp * 1000 < Date.now())
    refuse(file, `claim exp: expired at ${new Date(claims.exp * 1000).toISOString()}`);
  checkNames(file, claims);
  passed("claims", "complete, not expired");
  let firmware: Firmware | undefined;
  if (options.image !== undefined) {
    firmware = readFirmware(options.image);
    checkImageMatches(file, claims, firmware.file, firmware.bytes, firmware.image, storageSaid(firmware, claims));
    passed("image", `${options.image}: valid, and the one that is named`);
  }
  for (const line of summary(claims, key.jwk.kid, firmware)) console.log(line);
}

function collect(file: string, files: string[] = []): string[] {
  return [...files, file];
}

const HELP = `
Example:
  npx https-ota verify firmware.jws --key release.pub.jwk --image firmware.bin
Several keys, as in the device program while keys are rotated:
  npx https-ota verify firmware.jws --key new.pub.jwk --key old.pub.jwk
`;

export function addVerify(program: Command): void {
  program
    .command("verify")
    .description("Check a signed manifest as a device does, and the image it names. Exit code 0 only when all holds.")
    .argument("<manifest>")
    .requiredOption("--key <file>", "a trusted key: PEM, JWK or JWK set; may be repeated", collect)
    .option("--image <file>", "the image has to be valid, and the one that the manifest names")
    .addHelpText("after", HELP)
    .action(verify);
}
