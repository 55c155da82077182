// The manifest: a JWS in compact serialization, DESIGN.md 4 (RFC 7515; PS256 of RFC 7518 3.5). Written for, and judged
// as strictly as, the device: src/jws.ts and src/manifest.ts.
import { constants, createHash, type KeyObject, verify as verifySignature } from "node:crypto";
import { CompactSign, compactVerify } from "jose";
import { chipById } from "./chips.ts";
import { printable, refuse } from "./errors.ts";
import { type StorageClaim, storageText } from "./espruino-storage.ts";
import { fsverity } from "./fsverity.ts";
import type { Image } from "./image.ts";
import { jsonProblem } from "./json.ts";
import type { PublicKey, SigningKey } from "./keys.ts";

export const TYPE = "https-ota+jws";
/** src/trust.ts reads no more. */
export const MAX_MANIFEST = 8192;
const MAX_HOST = 127; // src/url.ts

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

export function signingInput(claims: Claims, key: PublicKey): string {
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${encode(headerFor(key))}.${encode(claims)}`;
}

export async function signClaims(claims: Claims, key: SigningKey): Promise<string> {
  return new CompactSign(Buffer.from(JSON.stringify(claims))).setProtectedHeader(headerFor(key)).sign(key.privateKey);
}

// --- Reading ---------------------------------------------------------------------------------------------------------

export interface Token {
  header: Record<string, unknown>;
  claims: Claims;
  /** of the payload as it was signed */
  payload: string;
  signature: Buffer;
  input: string;
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

function checkHeader(where: string, header: Record<string, unknown>): void {
  const wanted: Record<string, unknown> = { alg: "PS256", typ: TYPE };
  for (const [name, value] of Object.entries(wanted))
    if (header[name] !== value)
      refuse(where, `header: ${name} is ${JSON.stringify(header[name])}, wanted ${JSON.stringify(value)}`);
  if (typeof header.kid !== "string")
    refuse(where, `header: kid is ${JSON.stringify(header.kid)}, wanted a thumbprint`);
  const foreign = Object.keys(header).filter((name) => !["alg", "typ", "kid"].includes(name));
  if (foreign.length) refuse(where, `header: ${foreign.join(", ")} is a member that no device accepts`);
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
  if (claims.format !== 1) refuse(where, `claim format is ${JSON.stringify(claims.format)}, wanted 1`);
  const want = (name: string, value: unknown, good: (value: unknown) => boolean, type: string, optional = false) => {
    if (!(optional && value === undefined) && !good(value))
      refuse(where, `claim ${name} is ${value === undefined ? "missing" : JSON.stringify(value)}, wanted ${type}`);
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
  if (wrongUrl) refuse(where, `claim image.url is ${JSON.stringify(image.url)}: ${wrongUrl}`);
  return claims as Claims;
}

/** Refuses names that not all devices read alike. They can be read, so that `inspect` shows them. */
export function checkNames(where: string, { project, version, board }: Claims): void {
  for (const [claim, name] of Object.entries({ project, version, board })) {
    const problem = name === undefined ? null : nameProblem(name);
    if (problem) refuse(where, `claim ${claim} "${printable(name as string)}" ${problem}`);
  }
}

/** Takes a manifest apart. Nothing is said of its signature. `where` names it in errors. */
export function parseToken(where: string, bytes: Uint8Array): Token {
  if (bytes.length > MAX_MANIFEST) refuse(where, `form: ${bytes.length} bytes, a device reads ${MAX_MANIFEST}`);
  const text = Buffer.from(bytes).toString("latin1");
  const blank = text.search(/\s/);
  if (blank >= 0) refuse(where, `form: white space at offset ${blank}, which no device accepts`);
  const parts = text.split(".");
  if (parts.length !== 3) refuse(where, `form: ${parts.length} parts, a JWS in compact serialization has 3`);
  const header = parseObject(where, "header", fromBase64url(where, "header", parts[0]));
  checkHeader(where, header);
  const payload = fromBase64url(where, "payload", parts[1]);
  const signature = fromBase64url(where, "signature", parts[2]);
  const claims = checkClaims(where, parseObject(where, "payload", payload));
  return { header, claims, payload: payload.toString("utf8"), signature, input: `${parts[0]}.${parts[1]}` };
}

/** Takes the output of signingInput apart. */
export function parseSigningInput(where: string, text: string): { header: Record<string, unknown>; claims: Claims } {
  const parts = text.split(".");
  if (parts.length !== 2) refuse(where, `${parts.length} parts, a signing input has 2`);
  const header = parseObject(where, "header", fromBase64url(where, "header", parts[0]));
  checkHeader(where, header);
  const payload = parseObject(where, "payload", fromBase64url(where, "payload", parts[1]));
  return { header, claims: checkClaims(where, payload) };
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

/** Refuses a token whose signature is not by `key`. */
export async function checkSignature(where: string, token: string, key: PublicKey): Promise<void> {
  const dot = token.lastIndexOf(".");
  const signature = Buffer.from(token.slice(dot + 1), "base64url");
  if (signature.length !== key.length)
    refuse(where, `signature: ${signature.length} bytes, one by ${printable(key.file)} has ${key.length}`);
  try {
    await compactVerify(token, key.key, { algorithms: ["PS256"] });
  } catch {
    const hint = schemeHint(key.key, token.slice(0, dot), signature);
    refuse(where, `signature: not made by ${key.file} (${key.jwk.kid}) over these bytes with PS256${hint}`);
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
