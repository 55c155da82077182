// `https-ota verify`: what a device would decide, step by step, without a device.
import type { Command } from "commander";
import { Option } from "commander";
import pc from "picocolors";
import { misuse, printable, refuse } from "../ui/errors.ts";
import { excerpt } from "../formats/json.ts";
import { loadPublicKeys, type PublicKey } from "../release/keys.ts";
import { checkImageMatches, checkRelease, readManifest, signatureProblem, type Token } from "../release/manifest.ts";
import { checkFilesMatch, readAgain } from "../release/program.ts";
import { claimNotes, readFirmware, releaseNotes, storageSaid } from "../release/release.ts";
import { checkSpace } from "../release/space.ts";
import { summary } from "../report/summary.ts";
import { collect } from "./options.ts";

interface Options {
  key: string[];
  image?: string;
  files?: string;
  /** "1" or "2" */
  threshold: string;
}

/** One token: the trusted key that has signed it, or why its signature does not count. */
type Verdict = { key: PublicKey } | { problem: string };

function say(mark: string, step: string, fact: string): void {
  console.log(`${mark} ${step.padEnd(10)} ${printable(fact)}`);
}

const passed = (step: string, fact: string) => say(pc.green("ok"), step, fact);

/** The trusted keys, each of them once. */
async function loadKeys(files: string[]): Promise<PublicKey[]> {
  const keys = (await Promise.all(files.map(loadPublicKeys))).flat();
  return [...new Map(keys.map((key) => [key.jwk.kid, key])).values()];
}

async function checkToken(token: Token, keys: PublicKey[]): Promise<Verdict> {
  const key = keys.find(({ jwk }) => jwk.kid === token.kid);
  if (!key)
    return { problem: `key: kid ${excerpt(token.kid)} is not one of ${keys.map(({ jwk }) => jwk.kid).join(", ")}` };
  const problem = await signatureProblem(token.text, key);
  return problem === null ? { key } : { problem };
}

/** The keys that have signed; refused when they are fewer than `threshold`. */
async function checkSignatures(file: string, tokens: Token[], keys: PublicKey[], threshold: number) {
  const verdicts = await Promise.all(tokens.map((token) => checkToken(token, keys)));
  const signers = verdicts.flatMap((verdict) => ("key" in verdict ? [verdict.key] : []));
  const problems = verdicts.flatMap((verdict) => ("problem" in verdict ? [verdict.problem] : []));
  if (signers.length < threshold) {
    if (tokens.length === 1 && threshold === 1) refuse(file, problems[0]);
    const why = problems.length ? problems.join("; ") : "add the second with sign --cosign";
    refuse(file, `signature: ${signers.length} of ${threshold} required: ${why}`);
  }
  for (const { file: from, jwk } of signers) passed("signature", `by ${from} (${jwk.kid})`);
  for (const problem of problems) say(pc.yellow("no"), "signature", problem);
  return signers;
}

async function verify(file: string, options: Options): Promise<void> {
  const threshold = Number(options.threshold);
  const keys = await loadKeys(options.key);
  if (keys.length < threshold) misuse(`--threshold ${threshold} needs ${threshold} different keys, --key gives one`);
  const { size, tokens, claims } = readManifest(file);
  const two = tokens.length > 1 ? ", two signatures" : "";
  passed("form", `JWS in compact serialization, ${size} bytes, PS256${two}`);
  const signers = await checkSignatures(file, tokens, keys, threshold);
  checkRelease(file, claims);
  passed("claims", "complete, not expired");
  const notes = claimNotes(claims);
  if (options.image !== undefined) {
    const firmware = readFirmware(options.image);
    checkImageMatches(file, claims, firmware.file, firmware.bytes, firmware.image, storageSaid(firmware, claims));
    passed("image", `${options.image}: valid, and the one that is named`);
    notes.push(...releaseNotes(firmware, claims));
  }
  if (options.files !== undefined) {
    if (!claims.files) refuse(file, "names an image alone, and no files");
    const program = await readAgain(options, claims);
    checkFilesMatch(file, claims, program);
    notes.push(...checkSpace(file, claims));
    passed(
      "files",
      `${options.files}: ${claims.files.length} of ${claims.files.length}, all of them as they are named`,
    );
  }
  const kids = signers.map(({ jwk }) => jwk.kid);
  for (const line of summary(claims, kids, notes)) console.log(line);
}

const HELP = `
Example:
  npx https-ota verify firmware.jws --key key.pub.jwk --image firmware.bin
A release with files, which lie in the folder by their names:
  npx https-ota verify build/app.jws --key key.pub.jwk --files build
Several keys, as in the device program while keys are rotated:
  npx https-ota verify firmware.jws --key new.pub.jwk --key old.pub.jwk
As a device with threshold: 2 decides:
  npx https-ota verify firmware.jws --key anna.pub.jwk --key ben.pub.jwk --threshold 2
`;

export function addVerify(program: Command): void {
  program
    .command("verify")
    .description(
      "Check a signed manifest as a device does, and the image and files that it names. Exit code 0 only when all holds.",
    )
    .argument("<manifest>")
    .requiredOption("--key <file>", "a trusted key: PEM, JWK or JWK set; may be repeated", collect)
    .option("--image <file>", "the image has to be valid, and the one that the manifest names")
    .option("--files <folder>", "it has to hold the files that the manifest names")
    .addOption(
      new Option("--threshold <n>", "number of different trusted keys that must have signed")
        .choices(["1", "2"])
        .default("1"),
    )
    .addHelpText("after", HELP)
    .action(verify);
}
