// The promise: a maintainer's mistake in the configuration is ESP_ERR_INVALID_ARG before anything is asked for, or it means
// what it says: never more trust than the caller's own fields name, each read once. What the server has is somebody else's:
// an image, and a manifest that no trusted key has signed. It may be installed only when the program has said `insecure`, or its digest.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import fc from "fast-check";
import { fsverity } from "../support/fsverity.ts";
import { claimsFor, forge, makeKey } from "../support/release.ts";
import { holds } from "./fuzz.ts";
import { createRig, type Ended, file, paths, smallImage, stopAll, text, URL_OF, cleanly } from "./rig.ts";

after(stopAll);

const EVIL = smallImage(66, "6.6.6");
const key = await makeKey({ exponent: 3 });
const stranger = await makeKey({ exponent: 3, name: "stranger" });
const TOKEN = forge(claimsFor(EVIL), stranger, { header: { kid: key.kid } });
const DIGEST = `fsverity-sha256:${fsverity(EVIL)}`;
const OTHER = `fsverity-sha256:${"0".repeat(64)}`;

const net = paths({ "/fw.bin": file(EVIL), "/m.jws": text(TOKEN) });
const fresh = () => createRig({ net });
let rig = fresh();
const clean = rig.snapshot();

const FIELDS =
  "url keys digest insecure headers ca cert key timeout deadline retries maxRedirects maxRequestSize threshold allowSameVersion allowDowngrade allowRolledBack allowStorageLoss allowSavedState allowUnconfirmed project partition onEvent".split(
    " ",
  );
const STRANGE = "constructor toString hasOwnProperty valueOf __proto__ length late_ stop_ status_ x 0".split(
  " ",
) as string[];
const IMAGE = JSON.stringify(URL_OF("/fw.bin"));
const MANIFEST = JSON.stringify(URL_OF("/m.jws"));
const JWK = JSON.stringify(key.jwk);

/** Values as the program writes them. */
const VALUES = [
  "undefined",
  "null",
  "true",
  "false",
  "0",
  "-0",
  "1",
  "-1",
  "2",
  "0.5",
  "5",
  "1e21",
  "NaN",
  "Infinity",
  "-Infinity",
  '""',
  '"true"',
  '"0"',
  '"factory"',
  '"ota_0"',
  '"espruino"',
  '"doorlock"',
  IMAGE,
  MANIFEST,
  '"ftp://x/"',
  '"/fw.bin"',
  '"http://127.0.0.1:8070/fw.bin\\r\\nX: y"',
  JSON.stringify(DIGEST),
  JSON.stringify(OTHER),
  `${JSON.stringify(DIGEST)}.toUpperCase()`,
  `[${JSON.stringify(DIGEST)}]`,
  "[]",
  "{}",
  `[${JWK}]`,
  `[${JWK},${JWK}]`,
  `{length:1,0:${JWK}}`,
  "[null]",
  "[{}]",
  "[[]]",
  '[{kty:"RSA",n:"AA",e:"AQAB"}]',
  "new Array(3)",
  '{a:"b"}',
  '{"a":"b\\r\\nc: d"}',
  '{"a\\n":"b"}',
  "{a:1}",
  "{a:null}",
  "{a:{toString:function(){return this.n=(this.n||0)+1>1?'\\r\\nX: y':'x'}}}",
  "function(){}",
  "function(){throw new Error('mine')}",
  "new Date(0)",
  "new Uint8Array(4)",
  "{toString:function(){return 'x'}}",
  "{valueOf:function(){return 1}}",
  "Object.create({a:'b'})",
  "(function(){return this})()",
];
const how = fc.oneof(
  { weight: 8, arbitrary: fc.constant("own" as const) },
  {
    weight: 5,
    arbitrary: fc.constantFrom("getter" as const, "turns" as const, "inherited" as const, "throws" as const),
  },
);
const field = fc.record({
  name: fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...FIELDS) },
    { weight: 1, arbitrary: fc.constantFrom(...STRANGE) },
  ),
  how,
  value: fc.constantFrom(...VALUES),
  later: fc.constantFrom("true", "undefined", IMAGE, JSON.stringify(DIGEST)),
});
type Field = typeof field extends fc.Arbitrary<infer F> ? F : never;

const BASES: Record<string, string> = {
  keys: `{url:${MANIFEST},keys:[${JWK}],retries:0}`,
  digest: `{url:${IMAGE},digest:${JSON.stringify(OTHER)},retries:0}`,
  none: `{url:${IMAGE},retries:0}`,
  nothing: "{}",
};

/** Makes the object; `reads` counts how often each getter was asked. */
const programOf = (base: string, fields: Field[]): string => {
  let code = `var base=${BASES[base]},above={},reads={},config=Object.create(above);for(var k in base)config[k]=base[k];`;
  for (const { name, how, value, later } of fields) {
    const at = JSON.stringify(name);
    const key = JSON.stringify(`of ${name}`);
    if (how === "own") code += `config[${at}]=${value};`;
    else if (how === "inherited") code += `above[${at}]=${value};delete config[${at}];`;
    else
      code += `Object.defineProperty(config,${at},{enumerable:true,configurable:true,get:function(){reads[${key}]=(reads[${key}]||0)+1;${
        how === "throws"
          ? "throw new Error('mine');"
          : how === "turns"
            ? `return reads[${key}]>1?${later}:${value};`
            : `return ${value};`
      }}});`;
  }
  return `(function(){${code}return{config:config,reads:reads};})()`;
};

const NOTHING = [
  "null",
  "undefined",
  "5",
  '"x"',
  "true",
  "[]",
  "function(){}",
  "new Error('x')",
  'JSON.parse(\'{"__proto__":{"insecure":true},"url":"http://127.0.0.1:8070/fw.bin"}\')',
];

const given = fc.record({
  base: fc.constantFrom(...Object.keys(BASES)),
  fields: fc.array(field, { maxLength: 4 }),
  call: fc.constantFrom("update" as const, "update" as const, "begin" as const, "checkForUpdate" as const),
});

/** Has the caller himself said that he takes what the server has? */
const says = (base: string, fields: Field[], name: string, wanted: string[]): boolean => {
  const last = fields.filter((one) => one.name === name).at(-1);
  return !!last && last.how !== "inherited" && last.how !== "throws" && wanted.includes(last.value) && !(base === name);
};

async function attack(code: string, call: "update" | "begin" | "checkForUpdate", taken: boolean): Promise<void> {
  rig.restore(clean);
  const { device } = rig;
  const { engine } = device;
  let made: any;
  try {
    made = engine.run(code);
  } catch {
    return; // an own __proto__ of no object, say
  }
  const promise = device.ota[call](made.config);
  const done =
    call === "begin"
      ? promise.then(engine.run("(function (h) { if (h.abort) h.abort(); return { begun: true }; })"))
      : promise;
  const ended: Ended | "hangs" = await rig.settle(done, 3_600_000 + 120_000);
  assert.notEqual(ended, "hangs");
  const { result, error } = ended as Ended;
  // a listener's error that nobody caught may reject a promise: the engine's mistake
  if (error && error.message !== "mine") {
    assert.equal(typeof error.retry, "boolean", `no OtaError: ${error.message}`);
    if (error.name === "ESP_ERR_INVALID_ARG") assert.equal(rig.asked.length, 0, `after a request: ${error.message}`);
    assert.doesNotMatch(error.message, /undefined|not a function|Cannot read/, "an error of nobody's");
  }
  for (const { head } of rig.asked) assert.doesNotMatch(head, /^X: y/im, "a header was smuggled in");
  for (const [name, count] of Object.entries(made.reads))
    assert.ok((count as number) <= 1, `${name} was read ${count} times`);
  assert.deepEqual(
    engine.problems.filter((one) => !/mine/.test(one)),
    [],
  );
  if (result?.partition || result?.available) assert.ok(taken, "installed without a word of the caller's");
  if (!result || call !== "update") assert.deepEqual(rig.intruders(), []);
}

function renew(): void {
  rig.device.stop();
  rig = fresh();
}

test("configure by mistake: ESP_ERR_INVALID_ARG, or what the caller's own fields say", async (t) => {
  await holds(t, given, ({ base, fields, call }) =>
    cleanly(renew, () =>
      attack(
        programOf(base, fields),
        call,
        says(base, fields, "insecure", ["true"]) ||
          says(base, fields, "digest", [JSON.stringify(DIGEST), `${JSON.stringify(DIGEST)}.toUpperCase()`]) ||
          fields.some((one) => one.name === "digest" && one.value.includes(DIGEST) && one.how !== "inherited"),
      ),
    ),
  );
});

test("what is not a configuration is ESP_ERR_INVALID_ARG", async () => {
  for (const code of NOTHING)
    for (const call of ["update", "begin", "checkForUpdate"] as const) {
      rig.restore(clean);
      const ended = await rig.settle(rig.device.ota[call](rig.device.engine.run(`(${code})`)), 60_000);
      assert.notEqual(ended, "hangs");
      assert.equal(
        (ended as Ended).error?.name,
        "ESP_ERR_INVALID_ARG",
        `${call}(${code}): ${(ended as Ended).error?.message}`,
      );
      assert.equal(rig.asked.length, 0);
    }
});
