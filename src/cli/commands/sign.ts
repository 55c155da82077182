// `https-ota sign`: an image, the files of a program, or both become a release.
import { existsSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import type { Command } from "commander";
import pc from "picocolors";
import { DEVICE_CHIPS } from "../formats/chips.ts";
import { misuse, printable, refuse } from "../ui/errors.ts";
import { summary } from "../report/summary.ts";
import { checkOutput, makeFolder, readLimited, STDOUT, writeOutput } from "../ui/files.ts";
import { checkFilesMatch, type ProgramOptions, readAgain, readProgram } from "../release/program.ts";
import { IGNORED } from "../release/source-files.ts";
import { checkSpace } from "../release/space.ts";
import { loadPublicKeys, loadSigningKey, type PublicKey, type SigningKey } from "../release/keys.ts";
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
  type Contents,
  claimsFor,
  contentsName,
  type ReleaseOptions,
  readFirmware,
  refuseMissing,
  releaseNotes,
  storageSaid,
} from "../release/release.ts";
import {
  addEspruinoOptions,
  addProgramOptions,
  collect,
  optionText,
  parseExpiry,
  parseHours,
  parseName,
  parseOut,
  parseUrlOption,
  parsePercent,
  parseTime,
  parseWhole,
} from "./options.ts";

interface Options extends ReleaseOptions, ProgramOptions {
  key: string[];
  filesOut?: string;
  out?: string;
  cosign?: string;
  external?: boolean;
  signingInput?: string;
  signature?: string;
}

const YEAR = 365 * 86400;

/** The options that become claims. */
const CLAIMS = [
  "url",
  "sequence",
  "expires",
  "board",
  "project",
  "appVersion",
  "storage",
  "chip",
  "entry",
  "filesUrl",
  "rollout",
  "over",
  "from",
] as const;

/** What to sign, and what is signed already. */
interface Release extends Contents {
  claims: Claims;
  /** the claims as they stand in a token */
  payload: string;
  /** with --cosign: the manifest that gets a second signature */
  first?: Manifest;
}

/** The options that do nothing without files, or without an image. */
const OF_FILES = ["entry", "ignore", "minify", "filesUrl", "filesOut"] as const;
const OF_IMAGE = ["url", "storage", "allowMissingNatives"] as const;

const hasFiles = ({ files, file }: Options) => files !== undefined || file !== undefined;

function checkRollout({ rollout, over, from }: Options): void {
  if (rollout !== undefined && over !== undefined) misuse("--rollout and --over are two kinds of rollout: give one");
  if (from !== undefined && over === undefined) misuse("--from is when --over begins: give --over");
}

function checkContents(image: string | undefined, options: Options, signed: string | undefined): void {
  const withFiles = hasFiles(options);
  if (image === undefined && !withFiles)
    misuse("missing required argument 'image' (a release of files alone has --files <folder> instead)");
  for (const name of OF_FILES)
    if (!withFiles && options[name] !== undefined) misuse(`${optionText(name)} is about files: give --files or --file`);
  for (const name of OF_IMAGE)
    if (image === undefined && options[name] !== undefined) misuse(`${optionText(name)} is about an image, give one`);
  if (image !== undefined && options.chip !== undefined) misuse("--chip is for files alone: an image says its chip");
  if (!withFiles || signed) return;
  if (options.entry === undefined) misuse("--files and --file need --entry: the name of the file that is the program");
  if (options.minify && options.filesOut === undefined)
    misuse("--minify needs --files-out: the folder for the files that are signed, to publish them");
  checkAlone(image, options);
}

/** What an image would say. */
function checkAlone(image: string | undefined, { chip, appVersion }: Options): void {
  if (image !== undefined) return;
  const missing = [
    ...(chip === undefined ? [`--chip (${DEVICE_CHIPS.join(", ")})`] : []),
    ...(appVersion === undefined ? ["--app-version"] : []),
  ];
  if (missing.length) misuse(`a release of files alone needs ${missing.join(" and ")}`);
}

function checkUsage(image: string | undefined, options: Options): void {
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
  const given = CLAIMS.find((name) => options[name] !== undefined);
  if (signed && given) misuse(`${optionText(given).slice(2)} is in the ${signed} already, and can't be changed now`);
  checkContents(image, options, signed);
  checkRollout(options);
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

function notesOf({ firmware, program, claims, first }: Release): string[] {
  const unchecked = first?.tokens.map(
    ({ kid }) => `the signature by ${kid} was not checked: verify the manifest with both keys and --threshold 2`,
  );
  return [
    ...claimNotes(claims),
    ...(firmware ? releaseNotes(firmware, claims) : []),
    ...(program ? [...program.notes, ...checkSpace(program.where, claims)] : []),
    ...(unchecked ?? []),
  ];
}

/** Free JsVars that a classic board has at least (README.md), and what a manifest takes of them (manifest-client.ts). */
const FREE_JSVARS = 4000;
const varsToRead = (length: number) => Math.ceil(length / 3) + 800;

function lengthNotes({ claims }: Release, length: number): string[] {
  const vars = varsToRead(length);
  return claims.files && vars > FREE_JSVARS
    ? [
        `a device needs ${vars} free JsVars to read a manifest of ${length} bytes, and classic boards often have some ` +
          `${FREE_JSVARS}: put several small files into one`,
      ]
    : [];
}

/** What was written, in words; on standard error when the file itself goes to standard output. */
function report(
  options: Options,
  release: Release,
  keys: PublicKey[],
  headline: string[],
  more: readonly string[] = [],
): void {
  const notes = [...notesOf(release), ...more];
  if (toStdout(options.out)) {
    for (const note of notes) console.error(`note: ${printable(note)}`);
    return;
  }
  const kids = [...(release.first?.tokens ?? []).map(({ kid }) => kid), ...keys.map(({ jwk }) => jwk.kid)];
  for (const line of [...headline, ...summary(release.claims, kids, notes)]) console.log(line);
}

function checkLength(release: Release, manifest: string): void {
  if (manifest.length <= MAX_MANIFEST) return;
  const { files } = release.claims;
  const many = files ? ` (${files.length} files: put several into one, or leave some out by --ignore)` : "";
  refuse(contentsName(release), `the manifest has ${manifest.length} bytes, a device reads ${MAX_MANIFEST}${many}`);
}

/** Each token on a line of its own, with no line end behind the last. */
function manifestOf({ first }: Release, tokens: string[]): string {
  return [...(first?.tokens ?? []).map(({ text }) => text), ...tokens].join("\n");
}

/** The files as they are signed, by their names: what has to be published. One that is there already is not written. */
function emitFiles({ filesOut }: Options, { program }: Release): void {
  if (filesOut === undefined || !program) return;
  for (const { name, bytes } of program.files) {
    const file = path.join(filesOut, name);
    if (existsSync(file) && statSync(file).size === bytes.length && readFileSync(file).equals(bytes)) continue;
    makeFolder(path.dirname(file));
    writeOutput(file, bytes);
  }
}

function emitManifest(options: Options, release: Release, tokens: string[], keys: PublicKey[]): void {
  const manifest = manifestOf(release, tokens);
  checkLength(release, manifest);
  if (!toStdout(options.out)) checkOutput(options.out as string, outProblem);
  emitFiles(options, release);
  emit(options.out, manifest);
  const two = manifest.includes("\n") ? ", two signatures" : "";
  const headline = `${options.out}: ${pc.green("signed manifest")}, ${manifest.length} bytes${two}`;
  report(options, release, keys, [headline], lengthNotes(release, manifest.length));
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
  checkLength(release, manifestOf(release, [`${input}.${"A".repeat(Math.ceil((key.length * 4) / 3))}`]));
  emitFiles(options, release);
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
async function takeSignature(
  image: string | undefined,
  options: Options,
  key: PublicKey,
  first?: Manifest,
): Promise<void> {
  const file = options.signingInput as string;
  const { text, kid, payload, claims } = readSigningInput(file);
  if (kid !== key.jwk.kid) refuse(file, `header: kid ${kid}, ${key.file} is ${key.jwk.kid}`);
  if (first && payload !== first.payload) refuse(file, `not the payload of ${options.cosign}`);
  checkRelease(file, claims);
  const contents = await readContentsAgain(file, claims, image, options);
  const given = options.signature as string;
  const signature = readSignature(given, key.length);
  const token = `${text}.${signature.toString("base64url")}`;
  const problem = await signatureProblem(token, key);
  if (problem !== null) refuse(existsSync(given) ? given : "--signature", problem);
  emitManifest(options, { ...contents, claims, payload, first }, [token], [key]);
}

/** Image and files of a release that is signed already: they have to be here, and what it names. */
async function readContentsAgain(
  where: string,
  claims: Claims,
  image: string | undefined,
  options: Options,
): Promise<Contents> {
  if (claims.image && image === undefined) refuse(where, `names the image ${printable(claims.image.url)}: give it too`);
  if (claims.files && !hasFiles(options))
    refuse(where, `names ${claims.files.length} files: give --files, the folder that has them`);
  if (!claims.files && hasFiles(options)) refuse(where, "names an image alone, and no files");
  const contents: Contents = {};
  if (image !== undefined) {
    const firmware = readFirmware(image);
    checkImageMatches(where, claims, image, firmware.bytes, firmware.image, storageSaid(firmware, claims));
    contents.firmware = firmware;
  }
  if (claims.files) {
    contents.program = await readAgain(options, claims);
    checkFilesMatch(where, claims, contents.program);
    checkSpace(where, claims);
  }
  return contents;
}

/** Of --cosign: what a second signer may sign. */
function readFirst(file: string, key: PublicKey): Manifest {
  const first = readManifest(file);
  if (first.tokens.length > 1) refuse(file, "two signatures already, and a manifest has at most two");
  if (first.tokens[0].kid === key.jwk.kid)
    refuse(file, `${key.file} (${key.jwk.kid}) has signed it already, expected another key`);
  checkRelease(file, first.claims);
  return first;
}

/** A second signer signs only what a device takes, for the image and the files that are here. */
async function cosigned(image: string | undefined, options: Options, first: Manifest): Promise<Release> {
  const { claims, payload } = first;
  const contents = await readContentsAgain(options.cosign as string, claims, image, options);
  if (contents.firmware) refuseMissing(contents.firmware, options);
  return { ...contents, claims, payload, first };
}

async function newRelease(image: string | undefined, options: Options): Promise<Release> {
  const contents: Contents = {
    firmware: image === undefined ? undefined : readFirmware(image),
    program: hasFiles(options) ? await readProgram(options) : undefined,
  };
  const claims = claimsFor(contents, { ...options, expires: options.expires ?? { after: YEAR } });
  if (contents.program) checkSpace(contents.program.where, claims);
  return { ...contents, claims, payload: encodeClaims(claims) };
}

const releaseFor = (image: string | undefined, options: Options, first: Manifest | undefined): Promise<Release> =>
  first ? cosigned(image, options, first) : newRelease(image, options);

async function signExternally(image: string | undefined, options: Options): Promise<void> {
  const [keyFile] = options.key;
  const [key, ...more] = await loadPublicKeys(keyFile);
  if (more.length) refuse(keyFile, `a set of ${more.length + 1} keys, expected one`);
  const first = options.cosign === undefined ? undefined : readFirst(options.cosign, key);
  if (options.signature !== undefined) return takeSignature(image, options, key, first);
  requestSignature(await releaseFor(image, options, first), options, key);
}

async function sign(image: string | undefined, options: Options): Promise<void> {
  checkUsage(image, options);
  if (options.external) return signExternally(image, options);
  const keys: SigningKey[] = [];
  // one after the other: each may ask for its passphrase
  for (const file of options.key) keys.push(await loadSigningKey(file, " (or --external)"));
  const [one, two] = keys;
  if (two && two.jwk.kid === one.jwk.kid) refuse(two.file, `the same key as ${one.file}, expected two different ones`);
  const first = options.cosign === undefined ? undefined : readFirst(options.cosign, one);
  const release = await releaseFor(image, options, first);
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

Files of a program, alone or with an image (--files and --entry beside it): names are relative to the folder, and a file
NAME.js that is not the entry is the module NAME. They are signed as they are, and published beside the manifest. Files
that never belong to a program are left out: ${IGNORED.join(", ")}.
  npx https-ota sign --files build --entry app.js --chip esp32 --app-version 1.4.0 --key key.pem --out build/app.jws
  npx https-ota sign firmware.bin --files build --entry app.js --key key.pem --out release.jws
  npx https-ota sign --files src --entry app.js --file tune.bin=../art/tune.bin --ignore "*.ts" --minify \\
    --files-out release --chip esp32c3 --app-version 1.4.0 --key key.pem --out release/app.jws

Two signatures, for devices that need two (threshold: 2): with both keys here, or by a second person elsewhere, who
has the image too:
  npx https-ota sign firmware.bin --key anna.pem --key ben.pem --out firmware.jws
  npx https-ota sign firmware.bin --cosign anna.jws --key ben.pem --out firmware.jws

An encrypted key: the passphrase comes from HTTPS_OTA_PASSPHRASE, or is asked for in a terminal.

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
    .option("--rollout <percent>", "only this share of the devices takes it, as 10% (default: all)", parsePercent)
    .option("--over <time>", "one device after the other is due within this time, as 3d", parseHours)
    .option("--from <time>", "when --over begins, as 2030-01-31 (default: now)", parseTime)
    .option("--board <name>", "only for devices whose process.env.BOARD is this", parseName)
    .option("--project <name>", "default: what the image says; of files alone: espruino", parseName)
    .option("--app-version <version>", "default: what the image says", parseName);
}

/** The files of a program. */
function addFileOptions(command: Command): void {
  addProgramOptions(command)
    .option("--files-url <prefix>", "stands before the URL of each file (default: beside the manifest)", parseUrlOption)
    .option(
      "--files-out <folder>",
      "put the files there as they are signed, to publish them; --minify needs it",
      parseOut,
    );
}

export function addSign(program: Command): void {
  const command = program
    .command("sign")
    .description("Make the signed manifest of an image, of the files of a program, or of both.")
    .argument("[image]", "the image, as esptool or the build made it")
    .requiredOption(
      "--key <file>",
      "private key, PEM or JWK; with --external the public one; may be given twice for two signatures",
      collect,
    )
    .option("--out <file>", "where the manifest goes ('-': standard output)", parseOut)
    .addHelpText("after", HELP)
    .action(sign);
  addFileOptions(command);
  addClaimOptions(command);
  command
    .option("--cosign <manifest>", "add a second signature to this manifest of the image, or of the files")
    .option("--external", "the private key is elsewhere: print what must be signed, then read --signature")
    .option("--signing-input <file>", "what the first step of --external printed")
    .option("--signature <file|text>", "the signature over it: raw, base64 or hexadecimal, in a file or here");
  addEspruinoOptions(command);
}
