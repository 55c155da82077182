// What a maintainer publishes: manifests signed with `jose` alone; and what an attacker or a careless tool
// publishes, with every part made wrong on purpose. Imports nothing from src/. Formats: docs/formats.md#manifest.

import { constants, createHash, sign } from "node:crypto";
import { CompactSign } from "jose";
import { fsverity } from "./fsverity.ts";
import type { Key } from "./keys.ts";

export { type Jwk, type Key, type KeySpec, keyOf, makeKey } from "./keys.ts";

export const TYPE = "https-ota+jws";

export type Claims = Record<string, unknown> & { image?: unknown };

/** The claims for `image`, served beside the manifest as fw.bin; `changes` replaces claims, undefined removes one. */
export function claimsFor(image: Uint8Array, changes: Claims = {}): Claims {
  const { image: about, ...claims } = changes;
  const known = { url: "fw.bin", size: image.length, fsverity: `sha256:${fsverity(image)}` };
  const replaced = "image" in changes && (about === null || Array.isArray(about) || typeof about !== "object");
  return {
    format: 1,
    project: "espruino",
    version: "2.0.2",
    chip: "esp32",
    sequence: 7,
    iat: 1_790_000_000,
    ...claims,
    image: replaced ? about : { ...known, ...(about as object) },
  };
}

export const base64url = (data: string | Uint8Array): string =>
  Buffer.from(data as string, typeof data === "string" ? "latin1" : undefined).toString("base64url");

/** As `jose` makes it, and nothing else. */
export function signManifest(claims: Claims | string, key: Key): Promise<string> {
  const payload = new TextEncoder().encode(typeof claims === "string" ? claims : JSON.stringify(claims));
  return new CompactSign(payload).setProtectedHeader({ alg: "PS256", typ: TYPE, kid: key.kid }).sign(key.privateKey);
}

/** A manifest of two tokens: a second one by `key` over the payload of the first, byte for byte. */
export function cosignManifest(token: string, key: Key): string {
  const second = forge({}, key, { payloadPart: token.split(".")[1] });
  return `${token}\n${second}`;
}

export type Overrides = {
  /** Members added to the header, or replaced; undefined removes one. */
  header?: Record<string, unknown>;
  headerText?: string;
  payloadText?: string;
  /** First and second part as they are signed and sent, instead of their encodings. */
  headerPart?: string;
  payloadPart?: string;
  /** Signs the signing input; default: what PS256 says. */
  signer?: (input: Buffer) => Uint8Array;
  /** Third part as sent, made of the right one. */
  signaturePart?: (right: string) => string;
};

export function signPss(input: Uint8Array, key: Key, hash = "sha256", saltLength = 32): Buffer {
  return sign(hash, input, { key: key.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });
}

export function signPkcs1(input: Uint8Array, key: Key): Buffer {
  return sign("sha256", input, { key: key.privateKey, padding: constants.RSA_PKCS1_PADDING });
}

/** A manifest in which only the overrides differ; the signature fits what is sent unless an override says otherwise. */
export function forge(claims: Claims, key: Key, overrides: Overrides = {}): string {
  const headerText =
    overrides.headerText ?? JSON.stringify({ alg: "PS256", typ: TYPE, kid: key.kid, ...overrides.header });
  const payloadText = overrides.payloadText ?? JSON.stringify(claims);
  const input = `${overrides.headerPart ?? base64url(headerText)}.${overrides.payloadPart ?? base64url(payloadText)}`;
  const bytes = Buffer.from(input, "latin1");
  const right = base64url(overrides.signer ? overrides.signer(bytes) : signPss(bytes, key));
  return `${input}.${overrides.signaturePart ? overrides.signaturePart(right) : right}`;
}

/** A valid manifest of exactly `length` characters. */
export function manifestOfLength(claims: Claims, key: Key, length: number): string {
  for (let spaces = 0; spaces < 4; spaces++) {
    const header = JSON.stringify({ alg: "PS256", typ: TYPE, kid: key.kid }).replace("{", `{${" ".repeat(spaces)}`);
    const without = forge({ ...claims, filler: "" }, key, { headerText: header }).length;
    const filler = Math.floor(((length - without) * 3) / 4);
    for (let more = -2; more <= 2; more++) {
      const token = forge({ ...claims, filler: "x".repeat(filler + more) }, key, { headerText: header });
      if (token.length === length) return token;
    }
  }
  throw new RangeError(`no manifest has ${length} characters`);
}

export const sha256 = (data: Uint8Array): Buffer => createHash("sha256").update(data).digest();
