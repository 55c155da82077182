// `https-ota sign`: an image becomes a release.
import { existsSync } from "node:fs";
import type { Command } from "commander";
import pc from "picocolors";
import { misuse, printable, refuse } from "../ui/errors.ts";
import { summary } from "../report/summary.ts";
import { readLimited, STDOUT, writeOutput } from "../ui/files.ts";
import { loadPublicKeys, loadSigningKey, type PublicKey } from "../release/keys.ts";
import {
  type Claims,
  checkImageMatches,
  checkRelease,
  encodeClaims,
  looksSigned,
  type Manifest,
  MAX_MANIFEST,
  readManifest,
  readSigningInput,
  signatureProblem,
  signingInput,
  signPayload,
} from "../release/manifest.ts";
import {
  claimNotes,
  claimsFor,
  type Firmware,
  type ReleaseOptions,
  readFirmware,
  refuseMissing,
  releaseNotes,
  storageSaid,
} from "../release/release.ts";
import {
  addEspruinoOptions,
  collect,
  parseExpiry,
  parseName,
  parseOut,
  parseUrlOption,
  parseWhole,
} from "./options.ts";

interface Options extends ReleaseOptions {
  key: string[];
  out?: string;
  cosign?: string;
  external?: boolean;
  signingInput?: string;
  signature?: string;
}

const YEAR = 365 * 86400;

/** What to sign, and what is signed already. */
interface Release {
  firmware: Firmware;
  claims: Claims;
  /** the claims as they stand in a token */
  payload: string;
  /** with --cosign: the manifest that gets a second signature */
  first?: Manifest;
}

function checkUsage(options: Options): void {
  const back = options.signature !== undefined || options.signingInput !== undefined;
  if (back && !options.external) misuse("--signature and --signing-input belong to --external");
  if (back && (options.signature === undefined || options.signingInput === undefined))
    misuse("the second step of --external needs both --signing-input and --signature");
  if (options.key.length > 2) misuse(`${options.key.length} keys: a manifest has at most two signatures`);
  if (options.key.length > 1 && options.cosign !== undefined)
    misuse("--cosign takes one --key: a manifest has at most two signatures");
  if (options.key.length > 1 && options.external)
    misuse("--external takes one --key: add the second signature with --cosign");
  const signed = options.cosign !== undefined ? "manifest" : back ? "signing input" : undefined;
  const late = ["url", "sequence", "expires", "board", "project", "appVersion", "storage"] as const;
  const given = late.find((name) => options[name] !== undefined);
  if (signed && given)
    misuse(`${given === "appVersion" ? "app-version" : given} is in the ${signed} already, and can't be changed now`);
  if (options.out === undefined && (back || !options.external))
    misuse(`required option '--out <file>' not specified ('${STDOUT}' is standard output)`);
}

/** --out must not replace a file that is not a manifest: an image, a key or a program would be lost by a typing error. */
function outProblem(head: Buffer): string | null {
  return !head.length || looksSigned(head)
    ? null
    : "is not a manifest, and is not overwritten: remove it, or choose another --out";
}

const toStdout = (out: string | undefined) => out === undefined || out === STDOUT;

/** Exactly these bytes: a line end behind a manifest makes it void. */
function emit(out: string | undefined, text: string): void {
  if (toStdout(out)) process.stdout.write(text);
  else writeOutput(out as string, text, outProblem);
}

function notesOf({ firmware, claims, first }: Release): string[] {
  const unchecked = first?.tokens.map(
    ({ kid }) => `the signature by ${kid} was not checked: verify the manifest with both keys and --threshold 2`,
  );
  return [...claimNotes(claims), ...releaseNotes(firmware, claims), ...(unchecked ?? [])];
}

/** What was written, in words; on standard error when the file itself goes to standard output. */
function report(options: Options, release: Release, keys: PublicKey[], headline: string[]): void {
  const notes = notesOf(release);
  if (toStdout(options.out)) {
    for (const note of notes) console.error(`note: ${printable(note)}`);
    return;
  }
  const kids = [...(release.first?.tokens ?? []).map(({ kid }) => kid), ...keys.map(({ jwk }) => jwk.kid)];
  for (const line of [...headline, ...summary(release.claims, kids, notes)]) console.log(line);
}

function checkLength(file: string, manifest: string): void {
  if (manifest.length > MAX_MANIFEST)
    refuse(file, `the manifest has ${manifest.length} bytes, a device reads ${MAX_MANIFEST}`);
}

/** Each token on a line of its own, with no line end behind the last. */
function manifestOf({ first }: Release, tokens: string[]): string {
  return [...(first?.tokens ?? []).map(({ text }) => text), ...tokens].join("\n");
}

function emitManifest(options: Options, release: Release, tokens: string[], keys: PublicKey[]): void {
  const manifest = manifestOf(release, tokens);
  checkLength(release.firmware.file, manifest);
  emit(options.out, manifest);
  const two = manifest.includes("\n") ? ", two signatures" : "";
  report(options, release, keys, [`${options.out}: ${pc.green("signed manifest")}, ${manifest.length} bytes${two}`]);
}

/** Raw bytes, or base64, base64url or hexadecimal text, told apart by length: a signature is as long as the modulus. */
function readSignature(given: string, length: number): Buffer {
  const excess = (found: string) => `${found}, a signature has at most ${MAX_MANIFEST}`;
  const where = existsSync(given) ? given : "--signature";
  const bytes = where === given ? readLimited(given, MAX_MANIFEST, excess) : Buffer.from(given);
  if (bytes.length === length) return bytes;
  const text = bytes.toString("latin1").replace(/\s/g, "");
  if (/^[0-9a-fA-F]+$/.test(text) && text.length === 2 * length) return Buffer.from(text, "hex");
  const decoded = Buffer.from(text, "base64"); // takes base64url too
  if (/^[A-Za-z0-9+/_-]+=*$/.test(text) && decoded.length === length) return decoded;
  return refuse(where, `neither ${length} bytes nor their base64 or hexadecimal text (${bytes.length} bytes)`);
}

/** The first step of --external: what an HSM or KMS has to sign. */
function requestSignature(release: Release, options: Options, key: PublicKey): void {
  const input = signingInput(release.payload, key);
  // base64url of a signature
  checkLength(release.firmware.file, manifestOf(release, [`${input}.${"A".repeat(Math.ceil((key.length * 4) / 3))}`]));
  emit(options.out, input);
  report(
    options,
    release,
    [key],
    [
      `${options.out}: signing input, ${input.length} bytes. Sign exactly these bytes with`,
      "RSASSA-PSS, SHA-256, MGF1 with SHA-256, salt of 32 bytes, then come back with --signature.",
    ],
  );
}

/** The second step: a manifest comes out only when the signature holds and the image is still the one it names. */
async function takeSignature(firmware: Firmware, options: Options, key: PublicKey, first?: Manifest): Promise<void> {
  const file = options.signingInput as string;
  const { text, kid, payload, claims } = readSigningInput(file);
  if (kid !== key.jwk.kid) refuse(file, `header: kid ${kid}, ${key.file} is ${key.jwk.kid}`);
  if (first && payload !== first.payload) refuse(file, `not the payload of ${options.cosign}`);
  checkRelease(file, claims);
  checkImageMatches(file, claims, firmware.file, firmware.bytes, firmware.image, storageSaid(firmware, claims));
  const given = options.signature as string;
  const signature = readSignature(given, key.length);
  const token = `${text}.${signature.toString("base64url")}`;
  const problem = await signatureProblem(token, key);
  if (problem !== null) refuse(existsSync(given) ? given : "--signature", problem);
  emitManifest(options, { firmware, claims, payload, first }, [token], [key]);
}

/** Of --cosign: a second signer signs only what a device takes, for the image that is here. */
function readFirst(file: string, firmware: Firmware, options: Options, key: PublicKey): Manifest {
  const first = readManifest(file);
  if (first.tokens.length > 1) refuse(file, "two signatures already, and a manifest has at most two");
  if (first.tokens[0].kid === key.jwk.kid)
    refuse(file, `${key.file} (${key.jwk.kid}) has signed it already, expected another key`);
  checkRelease(file, first.claims);
  const said = storageSaid(firmware, first.claims);
  checkImageMatches(file, first.claims, firmware.file, firmware.bytes, firmware.image, said);
  refuseMissing(firmware, options);
  return first;
}

function releaseFor(firmware: Firmware, options: Options, first: Manifest | undefined): Release {
  if (first) return { firmware, claims: first.claims, payload: first.payload, first };
  const claims = claimsFor(firmware, { ...options, expires: options.expires ?? { after: YEAR } });
  return { firmware, claims, payload: encodeClaims(claims) };
}

async function signExternally(file: string, options: Options): Promise<void> {
  const [keyFile] = options.key;
  const [key, ...more] = await loadPublicKeys(keyFile);
  if (more.length) refuse(keyFile, `a set of ${more.length + 1} keys, expected one`);
  const firmware = readFirmware(file);
  const first = options.cosign === undefined ? undefined : readFirst(options.cosign, firmware, options, key);
  if (options.signature !== undefined) return takeSignature(firmware, options, key, first);
  requestSignature(releaseFor(firmware, options, first), options, key);
}

async function sign(file: string, options: Options): Promise<void> {
  checkUsage(options);
  if (options.external) return signExternally(file, options);
  const keys = await Promise.all(options.key.map((one) => loadSigningKey(one, " (or --external)")));
  const [one, two] = keys;
  if (two && two.jwk.kid === one.jwk.kid) refuse(two.file, `the same key as ${one.file}, expected two different ones`);
  const firmware = readFirmware(file);
  const first = options.cosign === undefined ? undefined : readFirst(options.cosign, firmware, options, one);
  const release = releaseFor(firmware, options, first);
  const tokens = await Promise.all(keys.map((key) => signPayload(release.payload, key)));
  emitManifest(options, release, tokens, keys);
}

const HELP = `
Project, version, chip and, of an Espruino image, the place of its Storage are read from the image. It is checked
completely first: a broken one is not signed, nor an Espruino build in which https-ota cannot run.
Devices recognize a downgrade by the sequence: it must grow with every release. By default it is the time of signing
in seconds since 1970. If you give a sequence of your own, give one each time. A device takes at most 4294967296
more than the highest sequence that it has confirmed.
Devices whose clock is set refuse an expired manifest. Sign again before that, with the same image.
All stock Espruino builds have the project espruino. To keep two products of one key apart, give each of them a
--project of its own, and the same project in the configuration of its devices.

Example:
  npx https-ota sign firmware.bin --key key.pem --out firmware.jws --expires 90d
  npx https-ota sign espruino_esp32.bin --key key.pem --out firmware.jws --board ESP32

Two signatures, for devices that need two (threshold: 2): with both keys here, or by a second person elsewhere, who
has the image too:
  npx https-ota sign firmware.bin --key anna.pem --key ben.pem --out firmware.jws
  npx https-ota sign firmware.bin --cosign anna.jws --key ben.pem --out firmware.jws

With a key in an HSM or KMS, in two steps (with --cosign in both of them, for the second signature):
  npx https-ota sign firmware.bin --external --key key.pub.jwk --out input.txt
  openssl dgst -sha256 -sign hsm.pem -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -out sig.bin input.txt
  npx https-ota sign firmware.bin --external --key key.pub.jwk --signing-input input.txt --signature sig.bin \\
    --out firmware.jws
`;

/** What the manifest says. */
function addClaimOptions(command: Command): void {
  command
    .option(
      "--url <url>",
      "where the image will be, absolute or relative to the manifest (default: its file name)",
      parseUrlOption,
    )
    .option("--sequence <n>", "number that grows with every release (default: seconds since 1970)", parseWhole)
    .option(
      "--expires <time>",
      "devices refuse the manifest after that: 90d, 12h, 2w, a date, or never (default: 365d)",
      parseExpiry,
    )
    .option("--board <name>", "only for devices whose process.env.BOARD is this", parseName)
    .option("--project <name>", "default: what the image says", parseName)
    .option("--app-version <version>", "default: what the image says", parseName);
}

export function addSign(program: Command): void {
  const command = program
    .command("sign")
    .description("Make the signed manifest of an image.")
    .argument("<image>", "the image, as esptool or the build made it")
    .requiredOption(
      "--key <file>",
      "private key, PEM or JWK; with --external the public one; may be given twice for two signatures",
      collect,
    )
    .option("--out <file>", "where the manifest goes ('-': standard output)", parseOut)
    .addHelpText("after", HELP)
    .action(sign);
  addClaimOptions(command);
  command
    .option("--cosign <manifest>", "add a second signature to this manifest of the image")
    .option("--external", "the private key is elsewhere: print what must be signed, then read --signature")
    .option("--signing-input <file>", "what the first step of --external printed")
    .option("--signature <file|text>", "the signature over it: raw, base64 or hexadecimal, in a file or here");
  addEspruinoOptions(command);
}
