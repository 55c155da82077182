// `https-ota sign`: an image becomes a release.
import { existsSync } from "node:fs";
import type { Command } from "commander";
import pc from "picocolors";
import { misuse, printable, refuse } from "./errors.ts";
import { storageText } from "./espruino-storage.ts";
import { parseOut, readInput, readText, STDOUT, writeOutput } from "./files.ts";
import { loadPublicKeys, loadSigningKey, type PublicKey } from "./keys.ts";
import {
  type Claims,
  checkImageMatches,
  checkNames,
  checkSignature,
  MAX_MANIFEST,
  parseSigningInput,
  signClaims,
  signingInput,
} from "./manifest.ts";
import { claimsFor, type Firmware, readFirmware, releaseNotes, storageSaid } from "./release.ts";
import {
  addEspruinoOptions,
  parseExpiry,
  parseName,
  parseUrlOption,
  parseWhole,
  type ReleaseOptions,
} from "./release-options.ts";

interface Options extends ReleaseOptions {
  key: string;
  out?: string;
  external?: boolean;
  signingInput?: string;
  signature?: string;
}

function checkUsage(options: Options): void {
  const back = options.signature !== undefined || options.signingInput !== undefined;
  if (back && !options.external) misuse("--signature and --signing-input belong to --external");
  if (back && (options.signature === undefined || options.signingInput === undefined))
    misuse("the second step of --external needs both --signing-input and --signature");
  if (back) {
    const late = ["url", "sequence", "expires", "board", "project", "appVersion", "storage"] as const;
    const given = late.find((name) => options[name] !== undefined);
    if (given) misuse(`${given} is in the signing input already, and can't be changed in the second step`);
  }
  if (options.out === undefined && (back || !options.external))
    misuse(`required option '--out <file>' not specified ('${STDOUT}' is standard output)`);
}

/** Exactly these bytes: a line end behind a manifest makes it void. */
function emit(out: string | undefined, text: string): void {
  if (out === undefined || out === STDOUT) process.stdout.write(text);
  else writeOutput(out, text);
}

/** For people: what a manifest says, and what is worth knowing of its image where that is there. */
export function summary(claims: Claims, kid: string, firmware?: Firmware): string[] {
  const { image } = claims;
  const lines: [string, string][] = [
    ["project", `${claims.project} ${claims.version}`],
    ["chip", claims.chip + (claims.board === undefined ? "" : `, board ${claims.board}`)],
    ["sequence", String(claims.sequence)],
    ["signed at", new Date(claims.iat * 1000).toISOString()],
    ["expires", claims.exp === undefined ? "never" : new Date(claims.exp * 1000).toISOString()],
    ["image", `${image.url}, ${image.size} bytes`],
    ...(image.storage ? [["storage", storageText(image.storage)] as [string, string]] : []),
    ["fs-verity", image.fsverity],
    ["key", kid],
  ];
  const notes = firmware ? releaseNotes(firmware, claims) : [];
  return [
    ...lines.map(([name, text]) => `  ${pc.dim(name.padEnd(10))} ${printable(text)}`),
    ...notes.map((note) => `  ${pc.yellow("note".padEnd(10))} ${printable(note)}`),
  ];
}

function report(options: Options, token: string, claims: Claims, key: PublicKey, firmware: Firmware): void {
  if (options.out === STDOUT) return;
  console.log(`${options.out}: ${pc.green("signed manifest")}, ${token.length} bytes`);
  for (const line of summary(claims, key.jwk.kid, firmware)) console.log(line);
}

function checkLength(file: string, token: string): void {
  if (token.length > MAX_MANIFEST)
    refuse(file, `the manifest has ${token.length} bytes, a device reads ${MAX_MANIFEST}`);
}

/** Raw bytes, or base64, base64url or hexadecimal text, told apart by length: a signature is as long as the modulus. */
function readSignature(given: string, length: number): Buffer {
  const bytes = existsSync(given) ? readInput(given) : Buffer.from(given);
  if (bytes.length === length) return bytes;
  const text = bytes.toString("latin1").replace(/\s/g, "");
  if (/^[0-9a-fA-F]+$/.test(text) && text.length === 2 * length) return Buffer.from(text, "hex");
  const decoded = Buffer.from(text, "base64"); // takes base64url too
  if (/^[A-Za-z0-9+/_-]+=*$/.test(text) && decoded.length === length) return decoded;
  const where = existsSync(given) ? given : "--signature";
  return refuse(where, `neither ${length} bytes nor their base64 or hexadecimal text (${bytes.length} bytes)`);
}

/** The first step of --external: what an HSM or KMS has to sign. */
function requestSignature(firmware: Firmware, options: Options, key: PublicKey): void {
  const claims = claimsFor(firmware, options);
  const input = signingInput(claims, key);
  // base64url of a signature
  checkLength(firmware.file, `${input}.${"A".repeat(Math.ceil((key.length * 4) / 3))}`);
  emit(options.out, input);
  if (options.out === undefined || options.out === STDOUT) return;
  console.log(`${options.out}: signing input, ${input.length} bytes. Sign exactly these bytes with`);
  console.log("RSASSA-PSS, SHA-256, MGF1 with SHA-256, salt of 32 bytes, then come back with --signature.");
  for (const line of summary(claims, key.jwk.kid, firmware)) console.log(line);
}

/** The second step: a manifest comes out only when the signature holds and the image is still the one it names. */
async function takeSignature(firmware: Firmware, options: Options, key: PublicKey): Promise<void> {
  const file = options.signingInput as string;
  const input = readText(file).trim();
  const { header, claims } = parseSigningInput(file, input);
  if (header.kid !== key.jwk.kid) refuse(file, `header: kid ${header.kid}, ${key.file} is ${key.jwk.kid}`);
  checkNames(file, claims);
  checkImageMatches(file, claims, firmware.file, firmware.bytes, firmware.image, storageSaid(firmware, claims));
  const signature = readSignature(options.signature as string, key.length);
  const token = `${input}.${signature.toString("base64url")}`;
  await checkSignature(
    existsSync(options.signature as string) ? (options.signature as string) : "--signature",
    token,
    key,
  );
  checkLength(file, token);
  emit(options.out, token);
  report(options, token, claims, key, firmware);
}

async function sign(file: string, options: Options): Promise<void> {
  checkUsage(options);
  if (options.external) {
    const [key, ...more] = await loadPublicKeys(options.key);
    if (more.length) refuse(options.key, `a set of ${more.length + 1} keys, wanted one`);
    const firmware = readFirmware(file);
    return options.signature === undefined
      ? requestSignature(firmware, options, key)
      : takeSignature(firmware, options, key);
  }
  const key = await loadSigningKey(options.key, " (or --external)");
  const firmware = readFirmware(file);
  const claims = claimsFor(firmware, options);
  const token = await signClaims(claims, key);
  checkLength(file, token);
  emit(options.out, token);
  report(options, token, claims, key, firmware);
}

const HELP = `
Project, version, chip and, of an Espruino image, the place of its Storage are read from the image. It is checked
completely first: a broken one is not signed, nor an Espruino build in which https-ota cannot run.
The sequence is what devices judge a downgrade by: it must grow with every release. By default it is the time of
signing in seconds since 1970; with a sequence of your own, stay with it.

Example:
  npx https-ota sign firmware.bin --key release.pem --out firmware.jws --expires 90d
  npx https-ota sign espruino_esp32.bin --key release.pem --out espruino.jws --board ESP32

With a key in an HSM or KMS, in two steps:
  npx https-ota sign firmware.bin --external --key release.pub.jwk --out input.txt
  openssl dgst -sha256 -sign hsm.pem -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -out sig.bin input.txt
  npx https-ota sign firmware.bin --external --key release.pub.jwk --signing-input input.txt --signature sig.bin \\
    --out firmware.jws
`;

export function addSign(program: Command): void {
  const command = program
    .command("sign")
    .description("Make the signed manifest of an image.")
    .argument("<image>", "the image, as esptool or the build made it")
    .requiredOption("--key <file>", "private key, PEM or JWK; with --external the public one")
    .option("--out <file>", "where the manifest goes ('-': standard output)", parseOut)
    .option(
      "--url <url>",
      "where the image will be, absolute or relative to the manifest (default: its file name)",
      parseUrlOption,
    )
    .option("--sequence <n>", "number that grows with every release (default: seconds since 1970)", parseWhole)
    .option(
      "--expires <time>",
      "the manifest is void after that: 90d, 12h, 2w, or a date (default: never)",
      parseExpiry,
    )
    .option("--board <name>", "only for devices whose process.env.BOARD is this", parseName)
    .option("--project <name>", "default: what the image says", parseName)
    .option("--app-version <version>", "default: what the image says", parseName)
    .option("--external", "the private key is elsewhere: print what is to be signed, then take --signature")
    .option("--signing-input <file>", "what the first step of --external printed")
    .option("--signature <file|text>", "the signature over it: raw, base64 or hexadecimal, in a file or here")
    .addHelpText("after", HELP)
    .action(sign);
  addEspruinoOptions(command);
}
