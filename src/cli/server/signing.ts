// The manifests that `serve --key` signs when they are asked for, and when it may give the same one again.
import type { SigningKey } from "../release/keys.ts";
import { type Claims, signClaims } from "../release/manifest.ts";
import type { Expiry } from "../release/release.ts";
import { etagOf } from "./answers.ts";
import { type Content, fromMemory } from "./contents.ts";

interface Signed {
  /** of the version of the image that it names */
  stamp: string;
  claims: Claims;
  content: Promise<Content>;
}

export interface Signing {
  readonly signer: SigningKey;
  readonly expires: Expiry | undefined;
  /** the last one of each image, by the image's file */
  readonly signed: Map<string, Signed>;
  /** the last one of all images */
  latest: Signed | undefined;
}

export function createSigning(signer: SigningKey, expires: Expiry | undefined): Signing {
  return { signer, expires, signed: new Map(), latest: undefined };
}

/** The manifest that was last signed for an image. */
export async function lastSigned({ signed }: Signing, file: string): Promise<Content | undefined> {
  return signed.get(file)?.content;
}

/** Its claims. */
export function lastClaims({ signed }: Signing, file: string): Claims | undefined {
  return signed.get(file)?.claims;
}

async function signedContent(claims: Claims, signer: SigningKey): Promise<Content> {
  const bytes = Buffer.from(await signClaims(claims, signer));
  return fromMemory(bytes, { size: bytes.length, type: "application/jose", etag: etagOf(bytes) });
}

/**
 * May a manifest be given out again? Only when no other image's was signed after it: devices refuse a sequence below
 * the highest one that they have confirmed, so an older build needs a new manifest to be installed again.
 */
function isCurrent({ latest }: Signing, before: Signed | undefined, stamp: string, now: number): before is Signed {
  if (before?.stamp !== stamp) return false;
  const { iat, exp } = before.claims;
  const fresh = exp === undefined || now - iat < exp - now;
  // the sequence counts seconds, so nothing is gained by a second signature in one
  return iat === now || (before === latest && fresh);
}

/** When a manifest that is signed now expires: `--expires` counts from then, unless it is a date. */
function endOf({ iat, exp }: Claims, expires: Expiry | undefined, now: number): number | undefined {
  const fixed = typeof expires === "object" && "at" in expires;
  return exp === undefined || fixed ? exp : exp + now - iat;
}

/** A manifest for an image, new when it has to be; a text that says why there is none. `claims`: made when it was checked. */
export async function manifestOf(
  signing: Signing,
  file: string,
  stamp: string,
  claims: Claims,
): Promise<Content | string> {
  const now = Math.floor(Date.now() / 1000);
  const before = signing.signed.get(file);
  if (isCurrent(signing, before, stamp, now)) return before.content;
  const end = endOf(claims, signing.expires, now);
  if (end !== undefined && end <= now) return "the time that --expires gave to manifests is over";
  const fresh: Claims = { ...claims, sequence: now, iat: now, ...(end === undefined ? {} : { exp: end }) };
  const made = { stamp, claims: fresh, content: signedContent(fresh, signing.signer) };
  signing.latest = made;
  signing.signed.set(file, made);
  return made.content;
}
