// Manifests that no device may follow, by what is wrong with them. Everything else in each is right: its signature fits
// what is sent whenever that is possible at all. Source: RFC 7515, 7518, 4648; docs/formats.md#manifest.

import { createHmac, generateKeyPairSync, sign } from "node:crypto";
import { base64url, type Claims, forge, type Key, type Overrides, signPkcs1, signPss, TYPE } from "./release.ts";

const hmac = (secret: string | Uint8Array) => (input: Buffer) => createHmac("sha256", secret).update(input).digest();
const ED25519 = generateKeyPairSync("ed25519").privateKey;

/** Text whose base64url has a - and a _, and ends amid a group of four. */
function withForeignLetters(text: string): string {
  for (let spaces = 0; spaces < 12; spaces++) {
    const padded = text.replace("{", `{${" ".repeat(spaces)}`);
    const part = base64url(padded);
    if (part.includes("-") && part.includes("_") && part.length % 4 === 2) return padded;
  }
  throw new RangeError("no such text");
}

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** Other characters for the same bytes: the bits behind the last byte are not zero. */
export function notCanonical(part: string): string {
  if (part.length % 4 < 2) throw new RangeError("the last character holds no spare bits");
  return part.slice(0, -1) + LETTERS[LETTERS.indexOf(part[part.length - 1]) + 1];
}

/** Ways to write a part of base64url that are not the one way. */
const ENCODINGS: Record<string, (part: string) => string> = {
  "padded with =": (part) => part.padEnd(Math.ceil(part.length / 4) * 4, "="),
  "with + for -": (part) => part.replace("-", "+"),
  "with / for _": (part) => part.replace("_", "/"),
  "with a blank in it": (part) => `${part.slice(0, 8)} ${part.slice(8)}`,
  "with a line end in it": (part) => `${part.slice(0, 8)}\n${part.slice(8)}`,
  "with a blank before it": (part) => ` ${part}`,
  "with a line end behind it": (part) => `${part}\n`,
  "with CR LF behind it": (part) => `${part}\r\n`,
  "with a NUL behind it": (part) => `${part}\0`,
  "with a foreign character in it": (part) => `${part.slice(0, 8)}*${part.slice(8)}`,
  "with a character above 127 in it": (part) => `${part.slice(0, 8)}\xe9${part.slice(8)}`,
  "with spare bits set": notCanonical,
  "of a length that no bytes have": (part) => {
    let text = Buffer.from(part, "base64url").toString("latin1");
    while (text.length % 3 && text[0] === "{") text = text.replace("{", "{ ");
    const whole = base64url(text);
    return whole + "A".repeat((5 - (whole.length % 4)) % 4);
  },
};

/** Signatures that do not hold, over what would be a right manifest. */
function signatures(claims: Claims, key: Key, other: Key): Record<string, string> {
  const by = (overrides: Overrides) => forge(claims, key, overrides);
  const right = by({}).split(".");
  const spki = key.publicKey.export({ type: "spki", format: "pem" });
  const modulus = Buffer.from(key.jwk.n, "base64url");
  return {
    "alg RS256": by({ header: { alg: "RS256" }, signer: (input) => signPkcs1(input, key) }),
    "alg PS256, signed as RS256": by({ signer: (input) => signPkcs1(input, key) }),
    "alg RS256, signed as PS256": by({ header: { alg: "RS256" } }),
    "alg PS384": by({ header: { alg: "PS384" }, signer: (input) => signPss(input, key, "sha384", 48) }),
    "alg PS256, signed as PS384": by({ signer: (input) => signPss(input, key, "sha384", 48) }),
    "alg ps256": by({ header: { alg: "ps256" } }),
    "alg none, no signature": by({ header: { alg: "none" }, signer: () => new Uint8Array(0) }),
    "alg none, signed": by({ header: { alg: "none" } }),
    "alg nOnE, no signature": by({ header: { alg: "nOnE" }, signer: () => new Uint8Array(0) }),
    "no alg": by({ header: { alg: undefined } }),
    "alg null": by({ header: { alg: null } }),
    "alg in a list": by({ header: { alg: ["PS256"] } }),
    "alg HS256, the public key as secret (PEM)": by({ header: { alg: "HS256" }, signer: hmac(spki as string) }),
    "alg HS256, the modulus as secret": by({ header: { alg: "HS256" }, signer: hmac(modulus) }),
    "alg HS256, the JWK as secret": by({ header: { alg: "HS256" }, signer: hmac(JSON.stringify(key.jwk)) }),
    "alg PS256, signed as HS256": by({ signer: hmac(spki as string) }),
    "alg EdDSA": by({ header: { alg: "EdDSA" }, signer: (input) => sign(null, input, ED25519) }),
    "no salt": by({ signer: (input) => signPss(input, key, "sha256", 0) }),
    "a salt of 20": by({ signer: (input) => signPss(input, key, "sha256", 20) }),
    "a salt of 64": by({ signer: (input) => signPss(input, key, "sha256", 64) }),
    "no signature": by({ signer: () => new Uint8Array(0) }),
    "a signature of zeros": by({ signer: () => new Uint8Array(256) }),
    "a signature of one": by({ signer: () => Buffer.concat([Buffer.alloc(255), Buffer.from([1])]) }),
    "a signature that is the modulus": by({ signer: () => modulus }),
    "a signature a byte short": by({ signer: (input) => signPss(input, key).subarray(0, 255) }),
    "a signature a byte long": by({ signer: (input) => Buffer.concat([signPss(input, key), Buffer.alloc(1)]) }),
    "a signature a zero byte long at its front": by({
      signer: (input) => Buffer.concat([Buffer.alloc(1), signPss(input, key)]),
    }),
    "the signature of another key": by({ signer: (input) => signPss(input, other) }),
    "the signature of another manifest": `${right[0]}.${base64url(JSON.stringify({ ...claims, sequence: 8 }))}.${right[2]}`,
    "the signature of the payload alone": by({
      signer: () => signPss(Buffer.from(right[1]), key),
    }),
    "the signature of what is encoded": by({ signer: () => signPss(Buffer.from(JSON.stringify(claims)), key) }),
    "the signature of another header": by({ header: { typ: TYPE, x: 1 } }).replace(/^[^.]*/, right[0]),
  };
}

/** Headers that mean something else, or that a parser could take for something else; all with right signatures. */
function headers(claims: Claims, key: Key, other: Key): Record<string, string> {
  const by = (header: Record<string, unknown>) => forge(claims, key, { header });
  const text = (headerText: string) => forge(claims, key, { headerText });
  const all = JSON.stringify({ alg: "PS256", typ: TYPE, kid: key.kid });
  const members = all.slice(1, -1);
  return {
    "crit, b64 false": forge(claims, key, {
      header: { b64: false, crit: ["b64"] },
      payloadPart: JSON.stringify(claims).replaceAll(".", "%2e"),
    }),
    "b64 false": by({ b64: false }),
    "b64 true": by({ b64: true }),
    "crit, empty": by({ crit: [] }),
    "crit, unknown": by({ crit: ["exp"], exp: 1 }),
    "crit instead of typ": by({ crit: ["alg"], typ: undefined }),
    jwk: by({ jwk: key.jwk }),
    "jwk of the attacker": forge(claims, other, { header: { kid: key.kid, jwk: other.jwk } }),
    "jwk and kid of the attacker": forge(claims, other, { header: { jwk: other.jwk } }),
    jku: by({ jku: "https://example.com/keys" }),
    x5c: by({ x5c: ["MIIB"] }),
    x5u: by({ x5u: "https://example.com/cert" }),
    cty: by({ cty: "json" }),
    zip: by({ zip: "DEF" }),
    "no typ": by({ typ: undefined }),
    "typ JWT": by({ typ: "JWT" }),
    "typ in capitals": by({ typ: TYPE.toUpperCase() }),
    "typ with application/": by({ typ: `application/${TYPE}` }),
    "typ with a blank": by({ typ: `${TYPE} ` }),
    "no kid": by({ kid: undefined }),
    "no kid, another member instead": by({ kid: undefined, key: key.kid }),
    "kid empty": by({ kid: "" }),
    "kid null": by({ kid: null }),
    "kid a number": by({ kid: 0 }),
    "kid in a list": by({ kid: [key.kid] }),
    "kid unknown": by({ kid: "A".repeat(43) }),
    "kid padded": by({ kid: `${key.kid}=` }),
    "kid of an untrusted key, signed by it": forge(claims, other, {}),
    "kid of the trusted key, signed by another": forge(claims, other, { header: { kid: key.kid } }),
    "header empty": text("{}"),
    "header null": text("null"),
    "header a list": text(`[${members.replaceAll(":", ",")}]`),
    "header a list of three": text('["PS256","https-ota+jws","x"]'),
    "header a string": text('"PS256"'),
    "header a number": text("3"),
    "header -": text("-"),
    "header without end": text(all.slice(0, -1)),
    "header no JSON": text("alg=PS256"),
    "header deep": text("[".repeat(4000)),
    "header of nothing": forge(claims, key, { headerPart: "" }),
    "header twice": text(all + all),
    "header with garbage behind it": text(`${all}x`),
    "header in a comment": text(`/*${all}*/`),
    "header with a comma too many": text(`{${members},}`),
    "header with a hidden member": text(`{${members},"constructor":{"crit":["b64"]}}`),
    "alg twice, the wrong one first": text(`{"alg":"none",${members}}`),
    "alg twice, the wrong one last": text(`{${members},"alg":"none"}`),
    "alg twice, one written with an escape": text(`{${members},"\\u0061lg":"none"}`),
    "kid twice": text(`{${members},"kid":"x"}`),
    "crit under __proto__": text(`{${members},"__proto__":{"crit":["b64"],"b64":false}}`),
  };
}

/** Other serializations, and parts too few or too many. */
function shapes(claims: Claims, key: Key, other: Key): Record<string, string> {
  const token = forge(claims, key);
  const [header, payload, signature] = token.split(".");
  const second = forge(claims, other).split(".");
  return {
    "a dot": ".",
    "two dots": "..",
    "three dots": "...",
    "one part": header,
    "two parts": `${header}.${payload}`,
    "two parts and a dot": `${header}.${payload}.`,
    "four parts": `${token}.${second[2]}`,
    "four parts, the last one empty": `${token}.`,
    "five parts, as a JWE": `${token}.${payload}.${signature}`,
    "an empty part before": `.${token}`,
    "no payload": `${header}..${signature}`,
    "two signatures by a comma": `${token},${second[2]}`,
    "two manifests": `${token}\n${header}.${base64url("{}")}.${signature}`,
    "flattened JSON": JSON.stringify({ payload, protected: header, signature }),
    "general JSON, two signatures": JSON.stringify({
      payload,
      signatures: [
        { protected: header, signature },
        { protected: second[0], signature: second[2] },
      ],
    }),
    "the payload alone": JSON.stringify(claims),
    "a byte order mark before it": `\xef\xbb\xbf${token}`,
    "quotes around it": `"${token}"`,
    "Bearer before it": `Bearer ${token}`,
  };
}

/** Second encodings of the same bytes, signed as they are sent. */
function encodings(claims: Claims, key: Key): Record<string, string> {
  const out: Record<string, string> = {};
  const payload = withForeignLetters(JSON.stringify({ ...claims, x: "???>>>~~~???>>>~~~" }));
  const header = withForeignLetters(JSON.stringify({ alg: "PS256", typ: TYPE, kid: "???>>>~~~???>>>~~~" }));
  for (const [what, encode] of Object.entries(ENCODINGS)) {
    out[`payload ${what}`] = forge(claims, key, { payloadPart: encode(base64url(payload)) });
    out[`header ${what}`] = forge(claims, key, { headerPart: encode(headerPart(key, what, header)) });
    out[`signature ${what}`] = forge(claims, key, { signaturePart: encode, signer: lettersIn(key) });
  }
  return out;
}

/** A header whose members are right has no - or _ in it; only those two ways need the other one. */
function headerPart(key: Key, what: string, foreign: string): string {
  if (what.includes(" for ")) return base64url(foreign);
  const right = JSON.stringify({ alg: "PS256", typ: TYPE, kid: key.kid });
  const spaces = (4 - (right.length % 3)) % 3; // ends amid a group of four
  return base64url(right.replace("{", `{${" ".repeat(spaces)}`));
}

/** Signs until the signature's text has a - and a _. */
function lettersIn(key: Key): (input: Buffer) => Uint8Array {
  return (input) => {
    for (;;) {
      const signature = signPss(input, key);
      if (/-/.test(base64url(signature)) && /_/.test(base64url(signature))) return signature;
    }
  };
}

/** All of them: a device that trusts `key`, and not `other`, answers each with one and the same error. */
export function forgeries(claims: Claims, key: Key, other: Key): Record<string, string> {
  return {
    ...signatures(claims, key, other),
    ...headers(claims, key, other),
    ...shapes(claims, key, other),
    ...encodings(claims, key),
  };
}
