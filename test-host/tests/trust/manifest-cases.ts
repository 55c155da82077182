// Manifests, what is served in their place, and images beside a right manifest; and the outcome that is promised
// (docs/formats.md#manifest). Two drivers run these tables: trust.test.ts on the virtual Espruino, which also looks at every
// byte that was touched, and ../engine/trust-engine.test.ts in the real interpreter.

import { newImage, oldImage } from "../../support/fixture.ts";
import { buildImage, mutations, padTo } from "../../support/images.ts";
import { type Claims, claimsFor, forge, type Key, manifestOfLength } from "../../support/release.ts";
import * as serve from "../../support/server.ts";
import type { Behaviour } from "../../support/server.ts";

/** The image of the manifests. */
export const IMAGE = newImage();
export const LONGER = padTo(IMAGE, IMAGE.length + 1);

export type Promised = {
  what: string;
  /** Name of the error without ESP_ERR_; "" when the manifest is followed. */
  outcome: string | string[];
  says?: RegExp;
  retry?: boolean;
};
/** A manifest, or an answer in its place. Nothing is written. */
export type ManifestCase = Promised & {
  manifest: (key: Key) => string | Behaviour;
  /** More than a device of 4095 JsVars can hold. */
  large?: boolean;
};
/** An image beside a right manifest. */
export type ImageCase = Promised & {
  image: () => Behaviour;
  /** The slot may have been written when it fails. */
  wrote?: boolean;
};

const RESPONSE = "INVALID_RESPONSE";
const UNSIGNED = { outcome: "OTA_VALIDATE_FAILED", says: /^the manifest is not signed by a trusted key$/ };
const bytesOf = (text: string) => new Uint8Array(Buffer.from(text, "latin1"));
const claims = (changes?: Claims) => claimsFor(IMAGE, changes);
const signed = (changes?: Claims) => (key: Key) => forge(claims(changes), key);

// --- Ceilings --------------------------------------------------------------------------------------------------------

export const ceilings = (chunked: boolean): ManifestCase[] =>
  [32767, 32768, 32769, 90000].map((length) => ({
    what: `${length} bytes, ${chunked ? "chunked" : "with a length"}`,
    manifest: (key) => serve.serveFile(bytesOf(manifestOfLength(claims(), key, length)), { chunked }),
    large: true,
    ...(length <= 32768 ? { outcome: "" } : { outcome: "INVALID_SIZE", says: /32768/ }),
  }));

export const ENDLESS: ManifestCase[] = (["length", "close", "chunked"] as const).map((kind) => ({
  what: `an endless manifest: ${kind}`,
  manifest: () => serve.endless(kind),
  outcome: kind === "close" ? RESPONSE : "INVALID_SIZE",
  large: kind === "chunked",
}));

/** What a server may answer instead of a manifest. */
export const NO_MANIFEST: ManifestCase[] = [
  { what: "HTML", manifest: () => serve.html(), ...UNSIGNED },
  { what: "an image", manifest: () => serve.serveFile(IMAGE), outcome: "INVALID_SIZE" },
  {
    what: "the beginning of an image",
    manifest: () => serve.serveFile(IMAGE.subarray(0, 5000)),
    ...UNSIGNED,
    large: true,
  },
  { what: "an empty file", manifest: () => serve.serveFile(new Uint8Array(0)), outcome: "INVALID_SIZE" },
  { what: "gzip", manifest: (key) => serve.gzip(bytesOf(signed()(key))), outcome: RESPONSE, says: /gzip/ },
  {
    what: "gzip in chunks",
    manifest: (key) => serve.transferEncodingGzipChunked(bytesOf(signed()(key))),
    outcome: RESPONSE,
  },
  { what: "404", manifest: () => serve.status(404), outcome: "FAIL", says: /404/, retry: true },
  { what: "204", manifest: () => serve.status(204), outcome: RESPONSE, says: /204/ },
  { what: "no length", manifest: (key) => serve.noLength(bytesOf(signed()(key))), outcome: RESPONSE },
  {
    what: "a manifest that is cut",
    manifest: (key) => serve.shorter(bytesOf(signed()(key)), 10),
    outcome: "HTTP_INCOMPLETE_DATA",
    retry: true,
  },
];

// --- Claims ------------------------------------------------------------------------------------------------------------

const TEXT = [undefined, null, "", 5, true, [], {}];
const NUMBER = [undefined, null, "", "7", true, -1, 1.5, [], {}];
const FSVERITY = (claims().image as { fsverity: string }).fsverity;
const WRONG_CLAIMS: [claim: string, values: unknown[], inImage?: boolean][] = [
  ["project", TEXT],
  ["version", TEXT],
  ["chip", TEXT],
  ["board", TEXT.slice(1)],
  ["sequence", NUMBER],
  ["iat", NUMBER],
  ["exp", NUMBER.slice(1)],
  ["url", TEXT, true],
  ["size", NUMBER, true],
  ["fsverity", TEXT, true],
  [
    "fsverity",
    [FSVERITY.slice(7), `sha512:${FSVERITY.slice(7)}`, `fsverity-${FSVERITY}`, `${FSVERITY}0`, FSVERITY.slice(0, -1)],
    true,
  ],
  ["fsverity", [`${FSVERITY.slice(0, -1)}g`, ` ${FSVERITY}`, `${FSVERITY} `, FSVERITY.replace(":", "=")], true],
];

/** A claim that is missing or mistyped; the error names it. */
export const CLAIMS: ManifestCase[] = [
  ...WRONG_CLAIMS.flatMap(([claim, values, inImage]) =>
    values.map((value) => ({
      what: `${claim} ${JSON.stringify(value)}`,
      manifest: signed(inImage ? { image: { [claim]: value } } : { [claim]: value }),
      outcome: RESPONSE,
      says: new RegExp(`claim ${inImage ? "image\\." : ""}${claim}\\b`),
    })),
  ),
  ...[undefined, null, 5, "fw.bin", [], true].map((image) => ({
    what: `image ${JSON.stringify(image)}`,
    manifest: signed({ image }),
    outcome: RESPONSE,
    says: /image/,
  })),
];

/** Payloads that are signed and yet no one JSON object, or one that two parsers read differently. */
function badJson(right: string): Record<string, string> {
  const [members, image] = [right.slice(1, -1), right.slice(1, -1).replace(/"url":/, '"url":"a","url":')];
  return {
    nothing: "",
    "a blank": " ",
    "a list": `[${right}]`,
    null: "null",
    "a number": "5",
    "a string": JSON.stringify(right),
    "a letter behind": `${right}x`,
    "a blank behind": `${right} `,
    "a line end behind": `${right}\n`,
    "a NUL behind": `${right}\0`,
    "a brace behind": `${right}}`,
    "a second object behind": `${right}{"sequence":9}`,
    "the same object behind": `${right}${right}`,
    "a comment behind": `${right}//x`,
    "a byte order mark before": `\xef\xbb\xbf${right}`,
    "a comment before": `/**/${right}`,
    "no end": right.slice(0, -1),
    "half of it": right.slice(0, right.length >> 1),
    "a bracket for a brace at its end": `${right.slice(0, -1)}]`,
    "format twice": `{"format":1,${members}}`,
    "sequence twice, behind": `{${members},"sequence":99}`,
    "sequence twice, before": `{"sequence":99,${members}}`,
    "sequence twice, with an escape": `{${members},"\\u0073equence":99}`,
    "sequence written with an escape": right.replace('"sequence"', '"\\u0073equence"'),
    "sequence twice, with a blank before the colon": `{${members},"sequence" :99}`,
    "image twice": `{${members},"image":{}}`,
    "url twice in image": `{${image}}`,
    "url twice in image, with an escape": right.replace('"url":', '"\\u0075rl":"a","url":'),
    "a key twice in a claim that is ignored": `{${members},"x":{"a":1,"b":[{"c":1,"c":2}]}}`,
  };
}

export const BAD_JSON: ManifestCase[] = Object.entries(badJson(JSON.stringify(claims()))).map(
  ([what, payloadText]) => ({
    what,
    manifest: (key) => forge({}, key, { payloadText }),
    // what the engine's own parser throws is ESP_FAIL
    outcome: [RESPONSE, "FAIL"],
    says: what.includes("escape") ? /^manifest: key \S+ has an escape$/ : /^(?!.*escape)/s,
  }),
);

// --- Policy ------------------------------------------------------------------------------------------------------------

export type Violation = { changes: Claims; outcome: string; says: RegExp };
/** The sequence that the device has had when the policy is tried. */
export const HAD = 10;

/** In the order in which they are checked, on a device with a clock. Each says both sides: the manifest's and the device's. */
export const VIOLATIONS: Record<string, Violation> = {
  format: { changes: { format: 3 }, outcome: "NOT_SUPPORTED", says: /format 3\b.*\b1 and 2/ },
  chip: { changes: { chip: "esp32c3" }, outcome: "INVALID_VERSION", says: /chip esp32c3\b.*\besp32\b/ },
  board: { changes: { board: "ESP32C3_IDF4" }, outcome: "INVALID_VERSION", says: /board ESP32C3_IDF4\b.*\bESP32\b/ },
  size: { changes: { image: { size: 65537 } }, outcome: "INVALID_SIZE", says: /\b65537\b.*\b65536\b/ },
  expiry: { changes: { exp: 1_000_000_000 }, outcome: "TIMEOUT", says: /\b1000000000\b.*\b1[789]\d{8}\b/ },
  sequence: { changes: { sequence: 9 }, outcome: "OTA_SMALL_SEC_VER", says: /\b9\b.*\b10\b/ },
  project: { changes: { project: "other" }, outcome: "INVALID_VERSION", says: /project other\b.*\bespruino\b/ },
};

// --- Images ------------------------------------------------------------------------------------------------------------

const DIGEST = { outcome: "OTA_VALIDATE_FAILED", says: /digest|segment/, wrote: true };
const file =
  (bytes: Uint8Array, options?: serve.FileOptions): (() => Behaviour) =>
  () =>
    serve.serveFile(bytes, options);
const SHORT = IMAGE.subarray(0, 40000);
const PAGE = new Uint8Array(IMAGE.length).fill(0x20);
PAGE.set(Buffer.from("<!DOCTYPE html>"));

export const SAME_SIZE: ImageCase[] = [
  { what: "another valid image", image: file(mutations.payloadSealed(IMAGE)), ...DIGEST },
  {
    what: "another build",
    image: file(buildImage({ size: IMAGE.length, seed: 9, descriptor: { version: "2.0.2" } })),
    ...DIGEST,
  },
  { what: "the running image, filled up", image: file(padTo(oldImage(), IMAGE.length)), ...DIGEST },
  { what: "a bit flipped", image: file(mutations.flipPayloadBit(IMAGE)), ...DIGEST },
  { what: "two bits flipped", image: file(mutations.flipBitPair(IMAGE)), ...DIGEST },
  { what: "the last byte flipped", image: file(mutations.hash(IMAGE)), ...DIGEST },
  { what: "padding", image: file(mutations.paddingNotZero(IMAGE)), ...DIGEST },
  { what: "another version", image: file(mutations.descriptorVersion(IMAGE)), ...DIGEST },
  { what: "another entry point", image: file(mutations.entry(IMAGE)), ...DIGEST },
];

export const OTHER_LENGTH: ImageCase[] = [
  ...[false, true].map((chunked) => ({
    what: `a shorter one${chunked ? ", chunked" : ""}`,
    image: file(SHORT, { chunked }),
    outcome: "OTA_VALIDATE_FAILED",
    says: /40000.*61008/,
    wrote: true,
  })),
  { what: "a longer one", image: file(LONGER), outcome: "INVALID_SIZE", says: /61009.*61008/ },
  {
    what: "one that breaks off",
    image: () => serve.shorter(IMAGE, 1),
    outcome: "HTTP_INCOMPLETE_DATA",
    retry: true,
    wrote: true,
  },
  { what: "an empty one", image: file(new Uint8Array(0)), outcome: "INVALID_SIZE" },
];

export const WITHOUT_LENGTH: ImageCase[] = [
  { what: "a longer one", image: file(LONGER, { chunked: true }), outcome: "INVALID_SIZE", says: /61008/, wrote: true },
  {
    what: "an endless one",
    image: () => serve.endless("chunked", new Uint8Array(IMAGE.subarray(0, 4096))),
    outcome: "INVALID_SIZE",
    says: /61008/,
    wrote: true,
  },
];

export const NO_IMAGE: ImageCase[] = [
  { what: "HTML", image: () => serve.html(), outcome: "INVALID_SIZE" },
  {
    what: "HTML as long as the image",
    image: file(PAGE, { contentType: "text/html" }),
    outcome: "OTA_VALIDATE_FAILED",
    says: /0x3c/,
  },
  { what: "404", image: () => serve.status(404), outcome: "FAIL", says: /404/, retry: true },
  {
    what: "an image for another chip",
    image: file(buildImage({ chip: "esp32c3", size: IMAGE.length })),
    outcome: "INVALID_VERSION",
    says: /chip id 5.*chip id 0/,
  },
];
