// RSA keys: PEM or JWK, private or public, one or several (RFC 7517). A key is known by its RFC 7638 thumbprint.
import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { calculateJwkThumbprint } from "jose";
import { isKey, Rsa } from "../../trust/rsa-key.ts";
import { refuse } from "../ui/errors.ts";
import { readLimited } from "../ui/files.ts";
import { type Passphrase, passphraseOf } from "../ui/passphrase.ts";
import { excerpt } from "../formats/json.ts";

/** What the device program lists in `keys`. */
export interface PublicJwk {
  kty: "RSA";
  n: string;
  e: string;
  kid: string;
}

export interface PublicKey {
  jwk: PublicJwk;
  key: KeyObject;
  /** bytes of the modulus, and so of a signature */
  length: number;
  /** the file it came from */
  file: string;
}

export interface SigningKey extends PublicKey {
  privateKey: KeyObject;
}

/** in bytes; a set of a hundred keys has some 50 KB */
const MAX_FILE = 0x10000;

function readKeyFile(file: string): string {
  const bytes = readLimited(file, MAX_FILE, (found) => `${found}, a key file has at most ${MAX_FILE}`);
  // an image may contain certificates in PEM
  if (bytes.includes(0)) refuse(file, "binary data, expected a key as PEM or JWK text (openssl pkey converts DER)");
  return bytes.toString("utf8");
}

function checkRsa(file: string, key: KeyObject): void {
  const { modulusLength: bits = 0, publicExponent: e = 0n } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType !== "rsa") refuse(file, `a key of type ${key.asymmetricKeyType}, expected rsa`);
  const { n = "" } = key.export({ format: "jwk" });
  if (isKey(Buffer.from(n, "base64url"), Number(e))) return;
  if (bits < Rsa.MIN_BITS || bits > Rsa.MAX_BITS)
    refuse(file, `an RSA key of ${bits} bits, expected ${Rsa.MIN_BITS} to ${Rsa.MAX_BITS}`);
  refuse(
    file,
    `an RSA key with exponent ${excerpt(String(e))} (or with an even modulus), ` +
      `expected an odd exponent of 3 to ${Rsa.MAX_EXPONENT}`,
  );
}

async function publicKeyOf(file: string, key: KeyObject): Promise<PublicKey> {
  checkRsa(file, key);
  const { n = "", e = "" } = key.export({ format: "jwk" });
  const jwk = { kty: "RSA" as const, n, e };
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  return { jwk: { ...jwk, kid: await calculateJwkThumbprint(jwk) }, key, length: Math.ceil(bits / 8), file };
}

function parseJwks(file: string, text: string): Record<string, unknown>[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    return refuse(file, `not JSON: ${excerpt((error as Error).message)}`);
  }
  const set = Array.isArray(parsed) ? parsed : ((parsed as { keys?: unknown }).keys ?? parsed);
  const list: unknown[] = Array.isArray(set) ? set : [set];
  if (!list.length) refuse(file, "a key set without keys");
  return list.map((jwk, i) => {
    const where = list.length > 1 ? `key ${i + 1}: ` : "";
    const kty = (jwk as { kty?: unknown } | null)?.kty;
    if (kty !== "RSA") refuse(file, `${where}kty ${excerpt(JSON.stringify(kty) ?? "undefined")}, expected "RSA"`);
    return jwk as Record<string, unknown>;
  });
}

function isJson(text: string): boolean {
  return /^\s*[[{]/.test(text);
}

function fromPem(file: string, text: string, create: (pem: string) => KeyObject): KeyObject {
  if (/^ssh-\w+ /.test(text))
    refuse(file, "an OpenSSH public key, expected PEM: ssh-keygen -e -m PKCS8 -f FILE converts it");
  if (!text.includes("-----BEGIN ")) refuse(file, "neither PEM nor JWK");
  if (/BEGIN OPENSSH PRIVATE/.test(text))
    refuse(file, "an OpenSSH key, expected PKCS#8: ssh-keygen -p -m PKCS8 -f FILE converts it");
  if (!text.includes("-----END ")) refuse(file, "this PEM has no END line: is the file whole?");
  try {
    return create(text);
  } catch (error) {
    return refuse(file, `no key can be read from this PEM (${excerpt((error as Error).message)})`);
  }
}

/** PKCS#8 ("ENCRYPTED PRIVATE KEY"), and what OpenSSL wrote before it ("Proc-Type: 4,ENCRYPTED"). */
const isEncrypted = (pem: string) => /ENCRYPTED/.test(pem);

function decrypt(file: string, pem: string, { text, from }: Passphrase): KeyObject {
  try {
    return createPrivateKey({ key: pem, passphrase: text });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_OSSL_EVP_UNSUPPORTED")
      refuse(
        file,
        "encrypted by a cipher that Node does not have: openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE converts it",
      );
    // a wrong one gives "bad decrypt", or, once in some 256 times, bytes that cannot be read as a key
    return refuse(file, `wrong passphrase (from ${from}), or the file is damaged`);
  }
}

async function privateFromPem(file: string, pem: string): Promise<KeyObject> {
  if (!isEncrypted(pem) || !pem.includes("-----END ")) return fromPem(file, pem, createPrivateKey);
  return decrypt(file, pem, await passphraseOf(file));
}

/** The file of the public key: key.pub.jwk for key.pem. */
export const publicFileOf = (file: string): string => `${file.replace(/\.pem$/, "")}.pub.jwk`;

/** Verification needs neither the private key nor its passphrase. */
function publicFromPem(file: string, pem: string): KeyObject {
  if (isEncrypted(pem))
    refuse(
      file,
      `an encrypted private key, expected its public half: ${publicFileOf(file)}, which keygen wrote, or what ` +
        `openssl pkey -in ${file} -pubout -out ${file.replace(/\.pem$/, "")}.pub.pem writes`,
    );
  return fromPem(file, pem, createPublicKey);
}

function fromJwk(file: string, jwk: Record<string, unknown>, create: typeof createPublicKey | typeof createPrivateKey) {
  try {
    return create({ key: jwk as never, format: "jwk" });
  } catch (error) {
    return refuse(file, `no RSA key can be read from this JWK (${excerpt((error as Error).message)})`);
  }
}

/** The keys in a PEM (public, private or certificate), JWK or JWK set. Of a private key the public half. */
export async function loadPublicKeys(file: string): Promise<PublicKey[]> {
  const text = readKeyFile(file);
  const keys = isJson(text)
    ? parseJwks(file, text).map(({ kty, n, e }) => fromJwk(file, { kty, n, e }, createPublicKey))
    : [publicFromPem(file, text)];
  return Promise.all(keys.map((key) => publicKeyOf(file, key)));
}

/** `otherwise`: what to do when only the public key is here, for the error message. */
export async function loadSigningKey(file: string, otherwise = ""): Promise<SigningKey> {
  const text = readKeyFile(file);
  let privateKey: KeyObject;
  const onlyPublic = `a public key, expected the private one${otherwise}`;
  if (isJson(text)) {
    const jwks = parseJwks(file, text);
    if (jwks.length > 1) refuse(file, `a set of ${jwks.length} keys, expected one private key`);
    if (jwks[0].d === undefined) refuse(file, onlyPublic);
    privateKey = fromJwk(file, jwks[0], createPrivateKey);
  } else {
    // a file may hold the public half as well, before or behind it
    const [own] = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----/.exec(text) ?? [];
    if (!own && /-----BEGIN (RSA )?PUBLIC KEY-----/.test(text)) refuse(file, onlyPublic);
    if (!own && text.includes("-----BEGIN CERTIFICATE")) refuse(file, `a certificate: ${onlyPublic}`);
    privateKey = await privateFromPem(file, own ?? text);
  }
  return { ...(await publicKeyOf(file, createPublicKey(privateKey))), privateKey };
}

/** PKCS#8 in PEM, encrypted when there is a passphrase, and the public half. */
export async function createKey(bits: number, passphrase?: string): Promise<{ pem: string; jwk: PublicJwk }> {
  const { privateKey, publicKey } = await promisify(generateKeyPair)("rsa", { modulusLength: bits });
  const lock = passphrase === undefined ? {} : { cipher: "aes-256-cbc", passphrase };
  const pem = privateKey.export({ type: "pkcs8", format: "pem", ...lock }).toString();
  return { pem, jwk: (await publicKeyOf("new key", publicKey)).jwk };
}

/** The line for the device program. */
export function keysLine(keys: readonly PublicJwk[]): string {
  const one = ({ kty, n, e, kid }: PublicJwk) => `{ kty: "${kty}", n: "${n}", e: "${e}", kid: "${kid}" }`;
  return `keys: [${keys.map(one).join(", ")}],`;
}
