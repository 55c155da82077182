// The manifest: a JWS in compact serialization, docs/formats.md#manifest (RFC 7515; PS256 of RFC 7518 3.5), or two of them
// over one payload by two keys, with "\n" between them. JSON, claims, URLs and limits are checked by the device's own files
// (src/trust, src/net), so that only a manifest that devices accept is signed. A check that devices do not make says so.
import { constants, createHash, type KeyObject, verify as verifySignature } from "node:crypto";
import { CompactSign, compactVerify } from "jose";
import { parseDigest, Prefix } from "../../platform/bytes.ts";
import { parseUrl, resolveUrl } from "../../net/url.ts";
import { Jws, TYPE } from "../../trust/limits.ts";
import {
  type Manifest as DeviceClaims,
  type Rollout,
  type ManifestFile,
  parseManifest as parseOnDevice,
} from "../../trust/manifest.ts";
import type { StorageClaim } from "../../boot/storage-claim.ts";
import { chipById } from "../formats/chips.ts";
import { dateText, LAST_SECOND } from "../ui/dates.ts";
import { printable, refuse } from "../ui/errors.ts";
import { storageText } from "../formats/espruino-storage.ts";
import { readLimited } from "../ui/files.ts";
import { fsverity } from "../formats/fsverity.ts";
import type { Image } from "../formats/image.ts";
import { excerpt, jsonProblem } from "../formats/json.ts";
import type { PublicKey, SigningKey } from "./keys.ts";

/** What a device reads of a manifest. */
export const MAX_MANIFEST: number = Jws.MAX_MANIFEST;

export type Claims = DeviceClaims;

/** An image of a release. */
export interface ReleaseImage {
  url: string;
  bytes: Uint8Array;
  /** of Espruino images */
  storage?: StorageClaim;
}

/** What is signed: an image, files, or both. */
export interface Release {
  project: string;
  version: string;
  chip: string;
  board?: string;
  sequence: number;
  iat: number;
  exp?: number;
  image?: ReleaseImage;
  files?: ManifestFile[];
  /** with files */
  entry?: string;
  rollout?: Rollout;
}

/** Why a device cannot use `url`, or null: the device's own rules, and those of the URL standard. */
export function urlProblem(url: string): string | null {
  if (!url) return "it is empty";
  const base = "http://device.invalid/";
  try {
    const absolute = resolveUrl(base, url);
    const { host_: host } = parseUrl(absolute);
    return URL.canParse(absolute) ? null : `not a URL (host ${excerpt(host)})`;
  } catch (error) {
    const message = (error as Error).message;
    if (/: character code \d+$/.test(message)) return "blanks and characters other than ASCII must be percent-encoded";
    if (message.endsWith(": expected http:// or https://")) return "expected http:// or https://";
    const [, host] = /: host (.*)$/.exec(message) ?? [];
    if (host?.startsWith("[")) return "Espruino has no IPv6: expected a host name or an IPv4 address";
    return host === undefined ? "no device can use it" : `no device takes ${excerpt(host)} for a host and a port`;
  }
}

export function buildClaims(release: Release): Claims {
  const { project, version, chip, board, sequence, iat, exp, image, files, entry, rollout } = release;
  return {
    format: files || rollout ? 2 : 1,
    project,
    version,
    chip,
    ...(board === undefined ? {} : { board }),
    sequence,
    iat,
    ...(exp === undefined ? {} : { exp }),
    ...(image ? { image: imageClaim(image) } : {}),
    ...(files ? { files, entry } : {}),
    ...(rollout ? { rollout } : {}),
  };
}

function imageClaim({ url, bytes, storage }: ReleaseImage): Claims["image"] {
  return {
    url,
    size: bytes.length,
    fsverity: fsverity(bytes),
    sha256: createHash("sha256").update(bytes).digest("hex"),
    ...(storage === undefined ? {} : { storage }),
  };
}

function headerFor(key: PublicKey): { alg: "PS256"; typ: string; kid: string } {
  // the device refuses any further member
  return { alg: "PS256", typ: TYPE, kid: key.jwk.kid };
}

const base64url = (text: string) => Buffer.from(text).toString("base64url");

/** The payload as it stands in a token. */
export function encodeClaims(claims: Claims): string {
  return base64url(JSON.stringify(claims));
}

/** What a key has to sign: `payload` is the middle part of a token. */
export function signingInput(payload: string, key: PublicKey): string {
  return `${base64url(JSON.stringify(headerFor(key)))}.${payload}`;
}

/** A token over the payload part of a token. Refuses a private key whose parts do not belong together. */
export async function signPayload(payload: string, key: SigningKey): Promise<string> {
  let token: string;
  try {
    const signer = new CompactSign(Buffer.from(payload, "base64url")).setProtectedHeader(headerFor(key));
    token = await signer.sign(key.privateKey);
  } catch (error) {
    return refuse(key.file, `this key cannot sign (${excerpt((error as Error).message)})`);
  }
  const problem = await signatureProblem(token, key);
  return problem === null ? token : refuse(key.file, "the private half of this key does not belong to its public half");
}

export async function signClaims(claims: Claims, key: SigningKey): Promise<string> {
  return signPayload(encodeClaims(claims), key);
}

// --- Reading ---------------------------------------------------------------------------------------------------------

/** One of the one or two tokens of a manifest. */
export interface Token {
  header: Record<string, unknown>;
  kid: string;
  signature: Buffer;
  /** as it stands in the file */
  text: string;
}

export interface Manifest {
  claims: Claims;
  /** the middle part of all tokens */
  payload: string;
  tokens: Token[];
}

/** The bytes that `text` encodes; refused unless it is exactly how they are encoded (RFC 7515 2). */
function fromBase64url(where: string, part: string, text: string): Buffer {
  const bytes = Buffer.from(text, "base64url");
  if (!text || bytes.toString("base64url") !== text) refuse(where, `form: the ${part} is not in strict base64url`);
  return bytes;
}

/** The text of a header or payload, which is one JSON object. */
function objectText(where: string, part: string, bytes: Buffer): string {
  const text = bytes.toString("utf8");
  if (!Buffer.from(text).equals(bytes)) refuse(where, `${part}: not UTF-8`);
  const problem = jsonProblem(text);
  if (problem !== null) refuse(where, `${part}: ${problem}`);
  return text;
}

/** A value of the file in an error message. */
const quote = (value: unknown) => excerpt(JSON.stringify(value) ?? "undefined");

function checkHeader(where: string, header: Record<string, unknown>): void {
  const wanted: Record<string, unknown> = { alg: "PS256", typ: TYPE };
  for (const [name, value] of Object.entries(wanted))
    if (header[name] !== value)
      refuse(where, `header: ${name} is ${quote(header[name])}, expected ${JSON.stringify(value)}`);
  if (typeof header.kid !== "string") refuse(where, `header: kid is ${quote(header.kid)}, expected a thumbprint`);
  const foreign = Object.keys(header).filter((name) => !["alg", "typ", "kid"].includes(name));
  if (foreign.length) refuse(where, `header: ${excerpt(foreign.join(", "))} is a member that no device accepts`);
}

/**
 * Why devices cannot compare `name`, or null. JSON.parse gives different strings in builds with and without Unicode
 * support, and the descriptor of an image is read as bytes by both.
 */
export function nameProblem(name: string): string | null {
  return /^\p{ASCII}*$/u.test(name)
    ? null
    : "is not ASCII only: Espruino with and without Unicode reads it differently";
}

/** The value of a claim by its name: "image.size". */
function claimOf(claims: unknown, name: string): unknown {
  return name.split(".").reduce((value: any, part) => value?.[part], claims);
}

/** Refuses what the device refuses: a claim that is missing or mistyped. Unknown ones are ignored. */
function checkClaims(where: string, text: string): Claims {
  let claims: Claims;
  try {
    claims = parseOnDevice(text);
  } catch (error) {
    const fact = (error as Error).message.replace(/^manifest: /, "");
    const [, name] = /^claim (\S+)/.exec(fact) ?? [];
    const value = name === undefined ? undefined : claimOf(JSON.parse(text), name);
    return refuse(where, `${fact}${value === undefined ? "" : `, found ${quote(value)}`}`);
  }
  const { image, files = [] } = claims;
  // the device does not read it
  if (image?.sha256 !== undefined && !parseDigest(`sha256:${image.sha256}`, Prefix.MANIFEST))
    refuse(where, `claim image.sha256 must be 64 hexadecimal digits, found ${quote(image.sha256)}`);
  if (image) checkUrl(where, "image.url", image.url);
  for (const { name, url = name } of files) checkUrl(where, `files.url of ${excerpt(name)}`, url);
  return claims;
}

function checkUrl(where: string, claim: string, url: string): void {
  const problem = urlProblem(url);
  if (problem) refuse(where, `claim ${claim} is ${quote(url)}: ${problem}`);
}

function parseClaims(where: string, payload: string): Claims {
  return checkClaims(where, objectText(where, "payload", fromBase64url(where, "payload", payload)));
}

function parseHeader(where: string, part: string): Record<string, unknown> {
  if (part.length > Jws.MAX_HEADER)
    refuse(where, `form: a header of ${part.length} characters, a device reads ${Jws.MAX_HEADER}`);
  const header = JSON.parse(objectText(where, "header", fromBase64url(where, "header", part)));
  checkHeader(where, header);
  return header;
}

function parseToken(where: string, text: string): Token {
  const parts = text.split(".");
  if (parts.length !== 3) refuse(where, `form: ${parts.length} parts, a JWS in compact serialization has 3`);
  const header = parseHeader(where, parts[0]);
  if (parts[2].length > Jws.MAX_SIGNATURE)
    refuse(where, `form: a signature of ${parts[2].length} characters, a device reads ${Jws.MAX_SIGNATURE}`);
  return { header, kid: header.kid as string, signature: fromBase64url(where, "signature", parts[2]), text };
}

const tooLong = (found: string) => `form: ${found}, a device reads ${MAX_MANIFEST}`;

/** Parses a manifest. Its signatures are not verified here. `where` names it in errors. */
export function parseManifest(where: string, bytes: Uint8Array): Manifest {
  if (bytes.length > MAX_MANIFEST) refuse(where, tooLong(`${bytes.length} bytes`));
  const text = Buffer.from(bytes).toString("latin1");
  const blank = text.search(/[^\S\n]|^\n|\n\n|\n$/);
  if (blank >= 0) refuse(where, `form: white space at offset ${blank}, which no device accepts`);
  const texts = text.split("\n");
  if (texts.length > 2) refuse(where, `form: ${texts.length} tokens, expected one or two`);
  const tokens = texts.map((one) => parseToken(where, one));
  const [payload, other = payload] = texts.map((one) => one.split(".")[1]);
  if (other !== payload) refuse(where, "form: the two tokens have different payloads");
  if (tokens.length > 1 && tokens[0].kid === tokens[1].kid)
    refuse(where, `form: both tokens are by key ${tokens[0].kid}, expected two different keys`);
  return { claims: parseClaims(where, payload), payload, tokens };
}

/** Refuses a file that is longer than a device reads, without reading it to its end. */
export function readManifest(file: string): Manifest & { size: number } {
  const bytes = readLimited(file, MAX_MANIFEST, tooLong);
  return { ...parseManifest(file, bytes), size: bytes.length };
}

export interface SigningInput {
  text: string;
  kid: string;
  /** its second part */
  payload: string;
  claims: Claims;
}

/** Reads and parses what signingInput made. White space around it is ignored. */
export function readSigningInput(file: string): SigningInput {
  const excess = (found: string) => `${found}, a signing input has at most ${MAX_MANIFEST}`;
  const text = readLimited(file, MAX_MANIFEST, excess).toString("latin1").trim();
  const parts = text.split(".");
  if (parts.length !== 2) refuse(file, `${parts.length} parts, a signing input has 2`);
  const { kid } = parseHeader(file, parts[0]);
  return { text, kid: kid as string, payload: parts[1], claims: parseClaims(file, parts[1]) };
}

/** Does a file that begins with these bytes hold a manifest or a signing input, whole or not? */
export function looksSigned(head: Buffer): boolean {
  const [part] = head.subarray(0, MAX_MANIFEST).toString("latin1").split(".", 1);
  try {
    return JSON.parse(Buffer.from(part, "base64url").toString()).typ === TYPE;
  } catch {
    return false;
  }
}

/** Which scheme made this signature? A hint for an HSM that was told the wrong one. */
function schemeHint(key: KeyObject, input: string, signature: Buffer): string {
  const data = Buffer.from(input);
  const fits = (padding: number, saltLength?: number, hash = "sha256") =>
    verifySignature(hash, data, { key, padding, saltLength }, signature);
  if (fits(constants.RSA_PKCS1_PADDING)) return " (it is an RSASSA-PKCS1-v1_5 signature, RS256)";
  if (fits(constants.RSA_PKCS1_PSS_PADDING, constants.RSA_PSS_SALTLEN_AUTO)) return " (its salt has another length)";
  return "";
}

/** Why this token is not signed by `key`, or null. */
export async function signatureProblem(token: string, key: PublicKey): Promise<string | null> {
  const dot = token.lastIndexOf(".");
  const signature = Buffer.from(token.slice(dot + 1), "base64url");
  if (signature.length !== key.length)
    return `signature: ${signature.length} bytes, one by ${printable(key.file)} has ${key.length}`;
  try {
    await compactVerify(token, key.key, { algorithms: ["PS256"] });
    return null;
  } catch {
    const hint = schemeHint(key.key, token.slice(0, dot), signature);
    return `signature: not made by ${key.file} (${key.jwk.kid}) over these bytes with PS256${hint}`;
  }
}

// --- What devices accept ----------------------------------------------------------------------------------------------

/**
 * Refuses claims that devices refuse today, or that only some of them accept: an expired manifest, names beyond ASCII,
 * times that are not a date. `parseManifest` accepts them, so that `inspect` can show them.
 */
export function checkRelease(where: string, claims: Claims, now = Date.now() / 1000): void {
  const { project, version, board, iat, exp } = claims;
  for (const [claim, time] of Object.entries({ iat, exp }))
    if (time !== undefined && time > LAST_SECOND)
      refuse(where, `claim ${claim} is ${dateText(time)}, expected at most ${LAST_SECOND}`);
  if (exp !== undefined && exp < now) refuse(where, `claim exp: expired at ${dateText(exp)}`);
  for (const [claim, name] of Object.entries({ project, version, board })) {
    const problem = name === undefined ? null : nameProblem(name);
    if (problem) refuse(where, `claim ${claim} "${printable(name as string)}" ${problem}`);
  }
}

// --- Comparing with an image -----------------------------------------------------------------------------------------

/**
 * Refuses a manifest that names another image than this one. `storage`: where the image says that its Storage is, if it
 * says so. Project and version may differ: a device compares images by their bytes.
 */
export function checkImageMatches(
  where: string,
  claims: Claims,
  file: string,
  bytes: Uint8Array,
  image: Image,
  storage: StorageClaim | undefined,
): void {
  const differ = (claim: string, theirs: unknown, ours: unknown) => {
    if (theirs !== ours) refuse(where, `claim ${claim} is ${theirs}, ${file} has ${ours}`);
  };
  const claim = claims.image ?? refuse(where, `names files alone, and no image as ${file}`);
  differ("image.size", claim.size, bytes.length);
  differ("image.fsverity", claim.fsverity.toLowerCase(), fsverity(bytes));
  if (claim.sha256 !== undefined)
    differ("image.sha256", claim.sha256.toLowerCase(), createHash("sha256").update(bytes).digest("hex"));
  differ("chip", claims.chip, chipById(image.header.chipId)?.name);
  if (claim.storage && storage) differ("image.storage", storageText(claim.storage), storageText(storage));
}
