// The signature check of src/trust/jws.ts by itself, with thousands of manifests: every bit, every length, every forgery. What
// is refused here is refused before the payload is read; trust.test.ts shows the same on a whole device.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { type Loaded, loadSource } from "../../support/load.ts";
import { forgeries } from "../../support/forgeries.ts";
import { newImage } from "../../support/fixture.ts";
import { claimsFor, forge, type Jwk, type Key, makeKey, signManifest } from "../../support/release.ts";
import { leftOut } from "../../support/share.ts";

type Verdict = { payload: string; error: { code: number; name: string; message: string; retry: boolean } | null };

const REFUSED = {
  code: 0x1503,
  name: "ESP_ERR_OTA_VALIDATE_FAILED",
  message: "the manifest is not signed by a trusted key",
  retry: false,
};
const CLAIMS = claimsFor(newImage());
let jws: Loaded;
let key: Key; // its exponent makes the check as cheap as it gets
let other: Key;

before(async () => {
  jws = await loadSource("trust/jws.ts");
  key = await makeKey({ exponent: 3 });
  other = await makeKey({ exponent: 3, name: "other" });
});

function verify(token: string, keys: Jwk[] = [key.jwk]): Promise<Verdict> {
  return new Promise((resolve, reject) => {
    let calls = 0;
    jws.module.verifyJws(token, keys, (error: any, payload: string) => {
      if (calls++) return reject(new Error("done was called twice"));
      const said = error && { code: error.code, name: error.name, message: error.message, retry: error.retry };
      resolve({ payload, error: said });
    });
  });
}

/** Refused with the one error, and without a word of the payload. */
async function refuses(token: string, what: string, keys?: Jwk[]): Promise<void> {
  assert.deepEqual(await verify(token, keys), { payload: "", error: REFUSED }, `${what}\n${token}`);
}

function flip(token: string, at: number, bit: number): string {
  return token.slice(0, at) + String.fromCharCode(token.charCodeAt(at) ^ (1 << bit)) + token.slice(at + 1);
}

test("gives the payload of a manifest made by jose alone, byte for byte", async () => {
  for (const payload of ["{}", "", "no JSON at all \xe9 \0 }{", JSON.stringify(CLAIMS)]) {
    const bytes = Buffer.from(payload, "utf8").toString("latin1"); // jose signs UTF-8
    assert.deepEqual(await verify(await signManifest(payload, key)), { payload: bytes, error: null });
  }
});

test("takes the key that the manifest names, wherever it stands in the list", async () => {
  const third = await makeKey({ bits: 3072, name: "third" });
  const token = await signManifest(CLAIMS, key);
  for (const keys of [[key], [key, other], [other, key], [other, third, key], [key, key]])
    assert.equal(
      (
        await verify(
          token,
          keys.map((one) => one.jwk),
        )
      ).error,
      null,
    );
  for (const keys of [[], [other], [other, third]])
    await refuses(
      token,
      "key removed",
      keys.map((one) => one.jwk),
    );
});

test("goes by the key's thumbprint, not by the kid that the program wrote beside it", async () => {
  const token = await signManifest(CLAIMS, key);
  assert.equal((await verify(token, [{ ...key.jwk, kid: "mine" }])).error, null);
  await refuses(token, "kid of another key", [{ ...other.jwk, kid: key.kid }]);
});

test("answers every forgery with one and the same error", async (t) => {
  for (const [what, token] of Object.entries(forgeries(CLAIMS, key, other)))
    await t.test(what, () => refuses(token, what));
});

for (const part of ["header", "payload", "signature"] as const)
  test(`refuses a manifest with any single bit of its ${part} flipped`, async (t) => {
    if (leftOut(t, 2, "of forged signatures")) return;
    const token = await signManifest({ ...CLAIMS, image: undefined }, key);
    assert.equal((await verify(token)).error, null);
    const ends = [token.indexOf("."), token.lastIndexOf("."), token.length];
    const index = ["header", "payload", "signature"].indexOf(part);
    // a dot belongs to the part before it
    const start = index ? ends[index - 1] + 1 : 0;
    for (let at = start; at < ends[index] + (index < 2 ? 1 : 0); at++)
      for (let bit = 0; bit < 8; bit++) await refuses(flip(token, at, bit), `bit ${bit} of character ${at}`);
  });

test("refuses a manifest cut off after any number of characters", async () => {
  const token = await signManifest(CLAIMS, key);
  for (let length = 0; length < token.length; length++) await refuses(token.slice(0, length), `${length} characters`);
});

test("refuses a manifest that lacks a character, has one doubled, or two swapped", async (t) => {
  if (leftOut(t, 2, "of forged signatures")) return;
  const token = await signManifest({ ...CLAIMS, image: undefined }, key);
  for (let at = 0; at < token.length; at += 3) {
    await refuses(token.slice(0, at) + token.slice(at + 1), `without character ${at}`);
    await refuses(token.slice(0, at) + token.slice(at, at + 1) + token.slice(at), `character ${at} twice`);
    if (token[at] !== token[at + 1] && at + 1 < token.length)
      await refuses(token.slice(0, at) + token[at + 1] + token[at] + token.slice(at + 2), `${at} and the next swapped`);
  }
});

test("verifies the signature before it looks at the payload", async () => {
  // out of memory for the payload's decoding would be seen: it is never decoded
  const token = forge(CLAIMS, other, { header: { kid: key.kid } });
  jws.engine.nativeCalls.atob = 0;
  await refuses(token, "wrong signature");
  assert.equal(jws.engine.nativeCalls.atob, 4, "header, signature, n and e are decoded, and nothing more");
});

test("nobody without a key can make the engine's JSON.parse recurse", async () => {
  let deepest = 0;
  const parse: (text: string) => unknown = jws.engine.run("JSON.parse") as any;
  const spy = (text: string) => {
    deepest = Math.max(deepest, text.replace(/[^{[]/g, "").length);
    return parse(text);
  };
  jws.engine.run("JSON.parse = null");
  Object.defineProperty(jws.engine.run("JSON"), "parse", { value: spy, configurable: true, writable: true });
  for (const [open, close] of [
    ["[", "]"],
    ['{"a":', "}"],
  ]) {
    const header = open.repeat(700) + close.repeat(700);
    await refuses(forge(CLAIMS, other, { headerText: header }), "deep header");
    const hidden = JSON.stringify({ alg: "PS256", typ: "https-ota+jws", kid: key.kid, x: 0 });
    await refuses(forge(CLAIMS, other, { headerText: hidden.replace("0}", `${open.repeat(700)}`) }), "deep member");
  }
  assert.ok(deepest <= 1, `it recursed ${deepest} levels`);
});

test("a native out of memory makes no forgery pass and leaves no check unanswered", async () => {
  const good = await signManifest(CLAIMS, key);
  const bad = forge(CLAIMS, other, { header: { kid: key.kid } });
  const names = ["atob", "btoa", "crypto.SHA256", "E.toString", "JSON.parse", "E.convolve", "new Uint8Array"];
  names.push("new Uint32Array", "new Float64Array");
  try {
    for (const [token, forged] of [
      [good, false],
      [bad, true],
    ] as const)
      for (const name of names) {
        jws.engine.oom = () => false;
        jws.engine.nativeCalls[name] = 0;
        await verify(token);
        const calls = jws.engine.nativeCalls[name] ?? 0;
        for (let index = 0; index < calls; index += Math.ceil(calls / 40)) {
          jws.engine.nativeCalls[name] = 0;
          jws.engine.oom = (native, call) => native === name && call === index;
          const answer = await verifyOrThrow(token, `${name} call ${index}`);
          if (forged) assert.ok(answer.error, `${name} call ${index} made a forgery pass`);
          if (answer.error) assert.equal(answer.payload, "", `${name} call ${index}`);
        }
      }
  } finally {
    jws.engine.oom = () => false;
  }
});

/** As verify; what is thrown at the caller is an answer too, what is thrown in the idle loop is none. */
async function verifyOrThrow(token: string, what: string): Promise<Verdict> {
  const problems = jws.engine.problems.length;
  let timer: NodeJS.Timeout | undefined;
  const hang = new Promise<never>((_, reject) => {
    timer = setInterval(() => {
      const said = jws.engine.problems.slice(problems).join("\n");
      if (said) reject(new Error(`${what}: no answer, ${said}`));
    }, 5);
  });
  try {
    return await Promise.race([verify(token), hang]);
  } catch (error: any) {
    if (/no answer/.test(error.message)) throw error;
    return { payload: "", error };
  } finally {
    clearInterval(timer);
  }
}
