// The manifest: a JWS in compact serialization, docs/formats.md#manifest (RFC 7515; PS256 of RFC 7518 3.5), or two of them over one
// payload by two keys, with "\n" between them. Written for, and judged as strictly as, the device: src/trust/jws.ts and
// src/trust/manifest.ts.
import { constants, createHash, type KeyObject, verify as verifySignature } from "node:crypto";
import { CompactSign, compactVerify } from "jose";
import { chipById } from "../formats/chips.ts";
import { dateText, LAST_SECOND } from "../ui/dates.ts";
import { printable, refuse } from "../ui/errors.ts";
import { type StorageClaim, storageText } from "../formats/espruino-storage.ts";
import { readLimited } from "../ui/files.ts";
import { fsverity } from "../formats/fsverity.ts";
import type { Image } from "../formats/image.ts";
import { excerpt, jsonProblem } from "../formats/json.ts";
import type { PublicKey, SigningKey } from "./keys.ts";

export const TYPE = "https-ota+jws";
/** src/trust/manifest-client.ts reads no more. */
export const MAX_MANIFEST = 8192;
// src/trust/jws.ts, in characters of base64url
const MAX_HEADER = 512;
const MAX_SIGNATURE = 683;
const MAX_HOST = 127; // src/net/url.ts

export interface Claims {
  format: 1;
  project: string;
  version: string;
  chip: string;
  board?: string;
  sequence: number;
  iat: number;
  exp?: number;
  image: { url: string; size: number; fsverity: string; sha256?: string; storage?: StorageClaim };
}

export interface Release {
  url: string;
  project: string;
  version: string;
  board?: string;
  sequence: number;
  iat: number;
  exp?: number;
  /** of Espruino images */
  storage?: StorageClaim;
}

/** What a device would make of `url`, or null when it can use it. */
export function urlProblem(url: string): string | null {
  if (!url) return "it is empty";
  if (!/^[\x21-\x7e]+$/.test(url)) return "blanks and other characters than ASCII must be percent-encoded";
  const base = "http://device.invalid/";
  if (!URL.canParse(url, base)) return "not a URL";
  const { protocol, hostname } = new URL(url, base);
  if (protocol !== "http:" && protocol !== "https:") return `${protocol} is neither http: nor https:`;
  if (hostname.startsWith("[")) return "Espruino knows no IPv6 address";
  if (hostname.length > MAX_HOST) return `host name of ${hostname.length} characters, Espruino takes ${MAX_HOST}`;
  return null;
}

export function buildClaims(bytes: Uint8Array, image: Image, release: Release): Claims {
  const { url, project, version, board, sequence, iat, exp, storage } = release;
  return {
    format: 1,
    project,
    version,
    chip: image.header.chip as string,
    ...(board === undefined ? {} : { board }),
    sequence,
    iat,
    ...(exp === undefined ? {} : { exp }),
    image: {
      url,
      size: bytes.length,
      fsverity: fsverity(bytes),
      sha256: createHash("sha256").update(bytes).digest("hex"),
      ...(storage === undefined ? {} : { storage }),
    },
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

function parseObject(where: string, part: string, bytes: Buffer): Record<string, unknown> {
  const text = bytes.toString("utf8");
  if (!Buffer.from(text).equals(bytes)) refuse(where, `${part}: not UTF-8`);
  const problem = jsonProblem(text);
  if (problem !== null) refuse(where, `${part}: ${problem}`);
  return JSON.parse(text);
}

/** A value of the file in an error message. */
const quote = (value: unknown) => excerpt(JSON.stringify(value) ?? "undefined");

function checkHeader(where: string, header: Record<string, unknown>): void {
  const wanted: Record<string, unknown> = { alg: "PS256", typ: TYPE };
  for (const [name, value] of Object.entries(wanted))
    if (header[name] !== value)
      refuse(where, `header: ${name} is ${quote(header[name])}, wanted ${JSON.stringify(value)}`);
  if (typeof header.kid !== "string") refuse(where, `header: kid is ${quote(header.kid)}, wanted a thumbprint`);
  const foreign = Object.keys(header).filter((name) => !["alg", "typ", "kid"].includes(name));
  if (foreign.length) refuse(where, `header: ${excerpt(foreign.join(", "))} is a member that no device accepts`);
}

/**
 * Why devices can't compare `name`, or null. With Unicode support JSON.parse gives them other strings than without it,
 * and what an image says of itself is bytes to both.
 */
export function nameProblem(name: string): string | null {
  return /^\p{ASCII}*$/u.test(name)
    ? null
    : "is not ASCII only: Espruino with and without Unicode reads it differently";
}

const isText = (value: unknown) => typeof value === "string" && value !== "";
const isObject = (value: unknown) => typeof value === "object" && value !== null && !Array.isArray(value);
const isWhole = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;

/** Refuses what the device refuses: a claim that is missing or mistyped. Unknown ones are ignored. */
function checkClaims(where: string, claims: Record<string, any>): Claims {
  const { image = {} } = claims;
  if (claims.format !== 1) refuse(where, `claim format is ${quote(claims.format)}, wanted 1`);
  const want = (name: string, value: unknown, good: (value: unknown) => boolean, type: string, optional = false) => {
    if (!(optional && value === undefined) && !good(value))
      refuse(where, `claim ${name} is ${value === undefined ? "missing" : quote(value)}, wanted ${type}`);
  };
  const digest = (prefix: string) => (value: unknown) =>
    typeof value === "string" && value.startsWith(prefix) && /^[0-9a-f]{64}$/i.test(value.slice(prefix.length));
  for (const name of ["project", "version", "chip"]) want(name, claims[name], isText, "a text");
  want("board", claims.board, isText, "a text", true);
  for (const name of ["sequence", "iat"]) want(name, claims[name], isWhole, "a whole number");
  want("exp", claims.exp, isWhole, "a whole number", true);
  want("image.url", image?.url, isText, "a text");
  want("image.size", image?.size, isWhole, "a whole number");
  want("image.fsverity", image?.fsverity, digest("sha256:"), '"sha256:" and 64 hexadecimal digits');
  want("image.sha256", image?.sha256, digest(""), "64 hexadecimal digits", true);
  const { storage } = image;
  want("image.storage", storage, isObject, "an object", true);
  if (storage !== undefined) {
    want("image.storage.partition", storage.partition, isText, "a text");
    want("image.storage.address", storage.address, isWhole, "a whole number");
    want("image.storage.size", storage.size, (size) => isWhole(size) && size !== 0, "a whole number above 0");
  }
  const wrongUrl = urlProblem(image.url);
  if (wrongUrl) refuse(where, `claim image.url is ${quote(image.url)}: ${wrongUrl}`);
  return claims as Claims;
}

function parseClaims(where: string, payload: string): Claims {
  return checkClaims(where, parseObject(where, "payload", fromBase64url(where, "payload", payload)));
}

function parseHeader(where: string, part: string): Record<string, unknown> {
  if (part.length > MAX_HEADER)
    refuse(where, `form: a header of ${part.length} characters, a device reads ${MAX_HEADER}`);
  const header = parseObject(where, "header", fromBase64url(where, "header", part));
  checkHeader(where, header);
  return header;
}

function parseToken(where: string, text: string): Token {
  const parts = text.split(".");
  if (parts.length !== 3) refuse(where, `form: ${parts.length} parts, a JWS in compact serialization has 3`);
  const header = parseHeader(where, parts[0]);
  if (parts[2].length > MAX_SIGNATURE)
    refuse(where, `form: a signature of ${parts[2].length} characters, a device reads ${MAX_SIGNATURE}`);
  return { header, kid: header.kid as string, signature: fromBase64url(where, "signature", parts[2]), text };
}

const tooLong = (found: string) => `form: ${found}, a device reads ${MAX_MANIFEST}`;

/** Takes a manifest apart. Nothing is said of its signatures. `where` names it in errors. */
export function parseManifest(where: string, bytes: Uint8Array): Manifest {
  if (bytes.length > MAX_MANIFEST) refuse(where, tooLong(`${bytes.length} bytes`));
  const text = Buffer.from(bytes).toString("latin1");
  const blank = text.search(/[^\S\n]|^\n|\n\n|\n$/);
  if (blank >= 0) refuse(where, `form: white space at offset ${blank}, which no device accepts`);
  const texts = text.split("\n");
  if (texts.length > 2) refuse(where, `form: ${texts.length} tokens, wanted one or two`);
  const tokens = texts.map((one) => parseToken(where, one));
  const [payload, other = payload] = texts.map((one) => one.split(".")[1]);
  if (other !== payload) refuse(where, "form: the two tokens have different payloads");
  if (tokens.length > 1 && tokens[0].kid === tokens[1].kid)
    refuse(where, `form: both tokens are by key ${tokens[0].kid}, wanted two different keys`);
  return { claims: parseClaims(where, payload), payload, tokens };
}

/** A file is not read when it is longer than a device reads. */
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

/** Reads and takes apart what signingInput made. White space around it does not count. */
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

/** Which other signature is it? For the people whose HSM was told the wrong scheme. */
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

// --- What a device would make of it ----------------------------------------------------------------------------------

/**
 * Refuses claims that no device of today takes, or that not all take alike: expired ones, names beyond ASCII, and times
 * that are no date, which nobody means. They can be read, so that `inspect` shows them.
 */
export function checkRelease(where: string, claims: Claims, now = Date.now() / 1000): void {
  const { project, version, board, iat, exp } = claims;
  for (const [claim, time] of Object.entries({ iat, exp }))
    if (time !== undefined && time > LAST_SECOND)
      refuse(where, `claim ${claim} is ${dateText(time)}, wanted at most ${LAST_SECOND}`);
  if (exp !== undefined && exp < now) refuse(where, `claim exp: expired at ${dateText(exp)}`);
  for (const [claim, name] of Object.entries({ project, version, board })) {
    const problem = name === undefined ? null : nameProblem(name);
    if (problem) refuse(where, `claim ${claim} "${printable(name as string)}" ${problem}`);
  }
}

// --- Comparing with an image -----------------------------------------------------------------------------------------

/**
 * Refuses a manifest that names another image than this one. `storage`: where the image says that its Storage is, as far
 * as it says that. Project and version are the release's own business: a device compares images by their bytes.
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
  differ("image.size", claims.image.size, bytes.length);
  differ("image.fsverity", claims.image.fsverity.toLowerCase(), fsverity(bytes));
  if (claims.image.sha256 !== undefined)
    differ("image.sha256", claims.image.sha256.toLowerCase(), createHash("sha256").update(bytes).digest("hex"));
  differ("chip", claims.chip, chipById(image.header.chipId)?.name);
  if (claims.image.storage && storage) differ("image.storage", storageText(claims.image.storage), storageText(storage));
}
