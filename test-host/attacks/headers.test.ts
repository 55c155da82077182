// The promise: whatever an unsigned header says, nobody without a key passes, all hear one and the same error, the payload
// is not looked at, and nothing of it is parsed deeper than one level. Against the signature check alone, which takes some
// 0.1 ms; the same on the whole device: manifests.test.ts.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { type Loaded, loadSource } from "../support/load.ts";
import { base64url, claimsFor, forge, type Key, makeKey, TYPE } from "../support/release.ts";
import { edited, edits, holds } from "./fuzz.ts";
import { smallImage } from "./rig.ts";

const CLAIMS = claimsFor(smallImage(2));
let jws: Loaded;
let key: Key;
let stranger: Key;
let right = "";
let foreign = "";
let deepest = 0;

before(async () => {
  jws = await loadSource("trust/jws.ts");
  key = await makeKey({ exponent: 3 });
  stranger = await makeKey({ exponent: 3, name: "stranger" });
  right = forge(CLAIMS, key);
  foreign = forge(CLAIMS, stranger, { header: { kid: key.kid } });
  const spy = (name: string, look: (text: string) => void) => {
    const original = jws.engine.run(name) as (text: string) => unknown;
    const value = (text: string) => {
      look(text);
      return original(text);
    };
    const owner = name === "JSON.parse" ? jws.engine.run("JSON") : jws.engine.run("global");
    Object.defineProperty(owner as object, name.split(".").at(-1) as string, {
      value,
      configurable: true,
      writable: true,
    });
  };
  spy("JSON.parse", (text) => {
    deepest = Math.max(deepest, text.replace(/"(\\.|[^"\\])*"/g, "").replace(/[^{[]/g, "").length);
  });
});
after(() => jws.engine.stop());

type Verdict = { payload: string; name: string; message: string };

function verify(token: string): Promise<Verdict> {
  return new Promise((resolve, reject) => {
    let calls = 0;
    const done = (error: any, payload: string) => {
      if (calls++) return reject(new Error("done was called twice"));
      resolve({ payload, name: error?.name ?? "", message: error?.message ?? "" });
    };
    try {
      jws.module.verifyJws(token, [key.jwk], done);
    } catch (thrown: any) {
      reject(new Error(`it throws ${thrown.name} ${thrown.message}`));
    }
  });
}

const member = fc.tuple(
  fc.oneof(
    fc.constantFrom(
      "alg",
      "typ",
      "kid",
      "crit",
      "b64",
      "jwk",
      "jku",
      "x5c",
      "__proto__",
      "constructor",
      "toString",
      "\\u0061lg",
      "Alg",
      "",
    ),
    fc.string({ maxLength: 5 }),
  ),
  fc.oneof(
    fc.constantFrom<() => string>(
      () => '"PS256"',
      () => JSON.stringify(TYPE),
      () => JSON.stringify(key.kid),
      () => JSON.stringify(stranger.kid),
    ),
    fc
      .constantFrom(
        '"none"',
        '"RS256"',
        "null",
        "true",
        "7",
        "07",
        "0x7",
        "[]",
        "{}",
        '["PS256"]',
        '{"kid":1}',
        '""',
        "'PS256'",
        "`PS256`",
        "undefined",
        "NaN",
        '"\\x50S256"',
        '"PS256\\',
        "[[[",
        "/**/1",
      )
      .map((text) => () => text),
    fc.jsonValue({ maxDepth: 2 }).map((value) => () => JSON.stringify(value)),
  ),
);
const rightMembers = (): string[] => [`"alg":"PS256"`, `"typ":"${TYPE}"`, `"kid":"${key.kid}"`];

/** The text of a header: right members beside odd ones, in any order, or edited. */
const headerText: fc.Arbitrary<() => string> = fc.oneof(
  fc
    .tuple(fc.shuffledSubarray([0, 1, 2]), fc.array(member, { maxLength: 4 }), fc.nat(7))
    .map(([kept, more, place]) => () => {
      const members = kept.map((i) => rightMembers()[i]);
      more.forEach(([name, value], i) => {
        members.splice((place + i) % (members.length + 1), 0, `"${name}":${value()}`);
      });
      return `{${members.join(",")}}`;
    }),
  edits(3).map((list) => () => edited(`{${rightMembers().join(",")}}`, list)),
  fc
    .integer({ min: 1, max: 380 })
    .chain((deep) => fc.constantFrom("[", '{"a":', "{[", '"[').map((open) => () => open.repeat(deep))),
  fc.jsonValue().map((value) => () => JSON.stringify(value)),
  fc.string({ unit: "binary", maxLength: 60 }).map((text) => () => Buffer.from(text, "latin1").toString("latin1")),
);

/** How a part is written where it is not simply encoded. */
const WRITINGS: Record<string, (part: string) => string> = {
  padded: (part) => `${part}=`,
  twice: (part) => part + part,
  "a line end behind": (part) => `${part}\n`,
  empty: () => "",
  "a blank before": (part) => ` ${part}`,
  base64: (part) => part.replaceAll("-", "+").replaceAll("_", "/"),
  "a zero behind": (part) => `${part}A`,
  "a dot within": (part) => `${part.slice(0, 8)}.${part.slice(8)}`,
};

const token = fc
  .record({
    header: headerText,
    writing: fc.oneof(
      { weight: 5, arbitrary: fc.constant("") },
      { weight: 1, arbitrary: fc.constantFrom(...Object.keys(WRITINGS)) },
    ),
    signature: fc.constantFrom("right", "foreign", "none", "short", "long"),
    payload: fc.constantFrom("right", "changed"),
  })
  .map(({ header, writing, signature, payload }) => () => {
    const [rightHeader, rightPayload, rightSignature] = right.split(".");
    const text = header();
    const encoded = base64url(text);
    const first = writing ? WRITINGS[writing](encoded) : encoded;
    const second = payload === "right" ? rightPayload : base64url(`${JSON.stringify(CLAIMS)} `);
    const signatures: Record<string, string> = {
      right: rightSignature,
      foreign: foreign.split(".")[2],
      none: "",
      short: rightSignature.slice(0, -2),
      long: rightSignature + rightSignature,
    };
    const made = `${first}.${second}.${signatures[signature]}`;
    return { made, isRight: first === rightHeader && made === right, text };
  });

test("learn from errors: one error for every unsigned header", async (t) => {
  await holds(
    t,
    token,
    async (make) => {
      const { made, isRight } = make();
      deepest = 0;
      const verdict = await verify(made);
      if (isRight) return assert.equal(verdict.name, "");
      assert.deepEqual(verdict, {
        payload: "",
        name: "ESP_ERR_OTA_VALIDATE_FAILED",
        message: "the manifest is not signed by a trusted key",
      });
      assert.ok(deepest <= 1, `JSON.parse was given ${deepest} levels`);
      assert.deepEqual(jws.engine.problems, []);
    },
    { show: (make) => make() },
  );
});
