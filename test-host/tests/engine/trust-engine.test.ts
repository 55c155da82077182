// The signed update in the real interpreter: its own JSON, base64, SHA-256, doubles, http and TLS.

import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { createDevice, type Device } from "../../sim/device.ts";
import {
  ESPRUINO,
  engineMemory,
  type EngineRun,
  runInEngine,
  tooSmallForTls,
  warnWithoutEngine,
} from "../../real-espruino/engine.ts";
import { forgeries } from "../../support/forgeries.ts";
import { fsverity } from "../../support/fsverity.ts";
import { type Claims, claimsFor, forge, type Jwk, type Key, makeKey, signManifest } from "../../support/release.ts";
import * as serve from "../../support/server.ts";
import {
  BAD_JSON,
  ceilings,
  CLAIMS,
  ENDLESS,
  HAD,
  IMAGE,
  type ManifestCase,
  NO_IMAGE,
  NO_MANIFEST,
  OTHER_LENGTH,
  type Promised,
  SAME_SIZE,
  VIOLATIONS,
  WITHOUT_LENGTH,
} from "../trust/manifest-cases.ts";

warnWithoutEngine();
const options = { skip: ESPRUINO ? false : "ESPRUINO is not set" };
const secure = { skip: await tooSmallForTls() };
/** A device of 4095 JsVars takes no manifest of the largest size: it has to hold the whole text. */
const isSmall = ESPRUINO !== undefined && (await engineMemory()).total < 8000;
const noLarge = {
  skip: isSmall ? "no room for a manifest of 32768 bytes: it is refused with ESP_ERR_NO_MEM" : options.skip,
};

const REFUSED = {
  error: "the manifest is not signed by a trusted key",
  name: "ESP_ERR_OTA_VALIDATE_FAILED",
  code: 0x1503,
  retry: false,
};
let http: serve.Server;
let https: serve.Server;
let paths = 0;

before(async () => {
  http = await serve.startServer();
  https = await serve.startServer({ tls: true });
});
after(async () => {
  await http.close();
  await https.close();
});

const bytesOf = (text: string) => new Uint8Array(Buffer.from(text, "latin1"));

/** Serves a manifest on a path of its own, and the image beside it. */
function publish(
  manifest: string | serve.Behaviour,
  server = http,
  image: serve.Behaviour = serve.serveFile(IMAGE),
): string {
  const folder = `/${paths++}`;
  server.on(`${folder}/fw.bin`, image);
  server.on(`${folder}/m.jws`, typeof manifest === "string" ? serve.serveFile(bytesOf(manifest)) : manifest);
  return server.url(`${folder}/m.jws`);
}

const configOf = (url: string, keys: Jwk[], more = "") =>
  `{ url: ${JSON.stringify(url)}, keys: ${JSON.stringify(keys)}, retries: 0${more} }`;

/** Updates once, and reports result or error. */
function update(device: Device, url: string, keys: Jwk[], more = "", binary?: string): Promise<EngineRun> {
  return runInEngine(
    device,
    `ota.update(${configOf(url, keys, more)}).then(
      function (result) { report(result); finish(); },
      function (error) { reportError(error); finish(); });`,
    { timeoutMs: 120_000, binary },
  );
}

/**
 * Asks for one manifest after the other in one run; what each was answered. Of the URLs only the numbers are kept, and the
 * first is asked for when the program's text is gone: both would take a good part of 4095 JsVars.
 */
async function checkAll(urls: string[], keys: Jwk[], first = ""): Promise<{ answers: any[]; run: EngineRun }> {
  const numbers = urls.map((url) => Number(/\/(\d+)\/m\.jws$/.exec(url)?.[1]));
  assert.deepEqual(
    urls,
    numbers.map((n) => http.url(`/${n}/m.jws`)),
  );
  const run = await runInEngine(
    createDevice({ board: "toy-factory-one" }),
    `${first}
    var base = ${JSON.stringify(http.url("/"))}, numbers = ${JSON.stringify(numbers)}, keys = ${JSON.stringify(keys)}, at = 0;
    function next() {
      if (at === numbers.length) return finish();
      ota.checkForUpdate({ url: base + numbers[at++] + "/m.jws", keys: keys, retries: 0 }).then(
        function (offer) { report({ version: offer.version }); setTimeout(next, 0); },
        function (error) { reportError(error); setTimeout(next, 0); });
    }
    setTimeout(next, 0);`,
    { timeoutMs: 600_000 },
  );
  assert.equal(run.reports.length, urls.length, run.output.slice(-2000));
  assert.equal(run.counts.erases + run.counts.writes, 0, "checkForUpdate touched the flash");
  return { answers: run.reports, run };
}

function installed(device: Device, run: EngineRun, image = IMAGE): void {
  assert.equal(run.reports[0]?.partition?.label, "ota_0", run.output);
  assert.equal(run.reports[0].upToDate, false);
  assert.equal(run.boot.slot?.label, "ota_0");
  assert.deepEqual(device.slot("ota_0", image.length), image);
}

function keptOldImage(device: Device, run: EngineRun, before: Uint8Array): void {
  assert.equal(run.boot.slot?.label, "factory");
  assert.deepEqual(device.slot("factory", before.length), before);
}

const small = () => createDevice({ board: "toy-factory-one" });
const claims = (changes?: Claims) => claimsFor(IMAGE, changes);
const aKey = () => makeKey({ exponent: 3 });
const otherKey = () => makeKey({ exponent: 3, name: "other" });

for (const [scheme, bits, exponent] of [
  ["http", 2048, 3],
  ["http", 2048, 65537],
  ["https", 3072, 65537],
  ["http", 4096, 65537],
] as const)
  test(
    `installs an image by a signed manifest over ${scheme}: RSA-${bits}, exponent ${exponent}`,
    scheme === "http" ? options : secure,
    async () => {
      const key = await makeKey({ bits, exponent });
      const device = small();
      const server = scheme === "http" ? http : https;
      const url = publish(await signManifest(claims(), key), server);
      installed(device, await update(device, url, [(await otherKey()).jwk, key.jwk]));
    },
  );

test("follows a manifest's redirect to an image on another origin, without headers", secure, async () => {
  const key = await aKey();
  const device = small();
  https.on("/far.bin", serve.serveFile(IMAGE));
  https.on(
    "/far.jws",
    serve.serveFile(bytesOf(await signManifest(claims({ image: { url: https.url("/far.bin") } }), key))),
  );
  const url = publish(serve.redirect(302, https.url("/far.jws")));
  installed(device, await update(device, url, [key.jwk], ', headers: { Authorization: "Bearer secret" }'));
  assert.equal(http.requests.at(-1)?.headers.authorization, "Bearer secret");
  for (const one of https.requests.filter(({ path }) => path.startsWith("/far")))
    assert.equal(one.headers.authorization, undefined);
});

test("answers every forgery with one and the same error, and writes nothing", options, async (t) => {
  const [key, other] = [await aKey(), await otherKey()];
  const all = Object.entries(forgeries(claims(), key, other)).filter(([, token]) => token !== "");
  const { answers } = await checkAll(
    all.map(([, token]) => publish(token)),
    [key.jwk],
  );
  for (const [i, [what, token]] of all.entries())
    await t.test(what, () => {
      // too long for a small device, which says so before it looks at it
      const tooLong = isSmall && token.length > 3000 && answers[i].name === "ESP_ERR_NO_MEM";
      if (tooLong) assert.match(answers[i].error, /a manifest of more than \d+ bytes/);
      else assert.deepEqual(answers[i], REFUSED);
    });
});

test("refuses flipped bits, and manifests that end early, in every part", options, async () => {
  const key = await aKey();
  const token = await signManifest(claims(), key);
  const urls: string[] = [];
  for (let bit = 5; bit < 8 * token.length; bit += 131) {
    const at = bit >> 3;
    const letter = String.fromCharCode(token.charCodeAt(at) ^ (1 << (bit & 7)));
    urls.push(publish(token.slice(0, at) + letter + token.slice(at + 1)));
  }
  for (let length = 1; length < token.length; length += 61) urls.push(publish(token.slice(0, length)));
  const { answers } = await checkAll(urls, [key.jwk]);
  for (const [i, answer] of answers.entries()) assert.deepEqual(answer, REFUSED, urls[i]);
});

test("the manifest of a removed key is refused, the new key's is followed", options, async () => {
  const [key, old] = [await aKey(), await otherKey()];
  const urls = [await signManifest(claims(), old), await signManifest(claims(), key)].map((token) => publish(token));
  const { answers } = await checkAll(urls, [key.jwk]);
  assert.deepEqual(answers, [REFUSED, { version: "2.0.2" }]);
});

test("a replay of an older sequence is refused, whatever else the Storage file has", options, async () => {
  const key = await aKey();
  const urls: string[] = [];
  for (const sequence of [9, 10, 11]) urls.push(publish(await signManifest(claims({ sequence }), key)));
  const file = JSON.stringify({ sequence: 10, slot: "", next: 0, foreign: [1] });
  const { answers } = await checkAll(
    urls,
    [key.jwk],
    `require("Storage").write(".https-ota", ${JSON.stringify(file)});`,
  );
  assert.equal(answers[0].name, "ESP_ERR_OTA_SMALL_SEC_VER");
  assert.match(answers[0].error, /\b9\b.*\b10\b/);
  assert.deepEqual(answers.slice(1), [{ version: "2.0.2" }, { version: "2.0.2" }]);
});

/** What `checkForUpdate` answers to each is what is promised. */
function areAnswered(cases: (Promised & { large?: boolean })[], answers: any[]): void {
  const wrong: string[] = [];
  for (const [i, { what, outcome, says, retry = false, large }] of cases.entries()) {
    const { name = "", error = "", ...answer } = answers[i];
    // too long for a small device, which says so before it looks at it
    if (isSmall && name === "ESP_ERR_NO_MEM" && (large || error.startsWith("a manifest of more than"))) continue;
    const said = name.replace(/^ESP_(ERR_)?/, "");
    if (![outcome].flat().includes(said)) wrong.push(`${what}: ${name || "followed"} ${error}, wanted ${outcome}`);
    if (said && says && !says.test(error)) wrong.push(`${what}: says ${error}`);
    if (said && answer.retry !== retry) wrong.push(`${what}: retry is ${answer.retry}`);
  }
  assert.deepEqual(wrong, []);
}

async function manifestsAreChecked(cases: ManifestCase[], first = ""): Promise<void> {
  const key = await aKey();
  const { answers } = await checkAll(
    cases.map(({ manifest }) => publish(manifest(key))),
    [key.jwk],
    first,
  );
  areAnswered(cases, answers);
}

test("a signed payload that is not one JSON object, or has a key twice, is refused", options, () =>
  manifestsAreChecked(BAD_JSON),
);

test("a claim that is missing or mistyped refuses the manifest, by the claim's name", options, () =>
  manifestsAreChecked(CLAIMS),
);

test("policy: each rule has its own error, and the message names both sides", options, async () => {
  const record = JSON.stringify({ sequence: HAD, slot: "", next: 0 });
  await manifestsAreChecked(
    Object.entries(VIOLATIONS).map(([what, { changes, outcome, says }]) => ({
      what,
      manifest: (key) => forge(claims({ sequence: HAD, ...changes }), key),
      outcome,
      says,
    })),
    `require("Storage").write(".https-ota", ${JSON.stringify(record)});`,
  );
});

test("what is not a manifest is refused, an endless one is given up", options, () =>
  manifestsAreChecked([...NO_MANIFEST, ...ENDLESS]),
);

test("a manifest of 32768 bytes is followed, a longer one is not", noLarge, () =>
  manifestsAreChecked([...ceilings(false), ...ceilings(true)]),
);

test("the right manifest with another image, of the same size or not, selects nothing", options, async (t) => {
  const key = await aKey();
  const token = await signManifest(claims(), key);
  for (const one of [...SAME_SIZE, ...OTHER_LENGTH, ...WITHOUT_LENGTH, ...NO_IMAGE])
    await t.test(one.what, async () => {
      const device = small();
      const before = device.slot("factory", 60000);
      const run = await update(device, publish(token, http, one.image()), [key.jwk]);
      areAnswered([one], run.reports);
      if (!one.wrote) assert.equal(run.counts.erases + run.counts.writes, 0, "flash was touched");
      keptOldImage(device, run, before);
    });
});

test("the image that runs is not downloaded again", options, async () => {
  const key = await aKey();
  const device = small();
  const before = device.slot("factory", 60000);
  const run = await update(device, publish(await signManifest(claimsFor(before), key)), [key.jwk]);
  assert.deepEqual(run.reports[0], { upToDate: true });
  assert.equal(run.counts.erases, 0);
  keptOldImage(device, run, before);
});

/** The interpreter with as little stack as a task of an ESP32 has, in proportion to its wider words. */
function withLittleStack(folder: string): string {
  const script = join(folder, "espruino");
  writeFileSync(script, `#!/bin/sh\nulimit -s 256\nexec ${JSON.stringify(ESPRUINO)} "$@"\n`);
  chmodSync(script, 0o755);
  return script;
}

test("a signed update needs little stack", options, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "https-ota-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const key = await aKey();
  const device = small();
  installed(
    device,
    await update(device, publish(await signManifest(claims(), key)), [key.jwk], "", withLittleStack(folder)),
  );
});

test("nobody without a key can make the interpreter run out of stack", options, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "https-ota-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const key: Key = await aKey();
  for (const piece of ["[", '{"":']) {
    const headerText = piece.repeat(Math.floor((isSmall ? 1500 : 5500) / piece.length));
    const token = forge(claims({ image: null }), await otherKey(), { headerText });
    assert.ok(token.length <= 32768, `${token.length}`);
    const run = await update(small(), publish(token), [key.jwk], "", withLittleStack(folder));
    assert.deepEqual(run.reports[0], REFUSED, "the interpreter died");
  }
});

/** JsVars in use beyond those before the update, when the first sector is in flash. */
async function varsAtFirstSector(config: string): Promise<number> {
  const run = await runInEngine(
    small(),
    `
    function go() {
      var base = engineProcess.memory().usage, first = 0;
      var config = ${config};
      config.onEvent = function (name) {
        if (name === "WRITE_FLASH" && !first) first = engineProcess.memory().usage - base;
      };
      var promise = ota.update(config);
      config = undefined;
      promise.then(function () { report(first); finish(); }, function (error) { reportError(error); finish(); });
    }
    setTimeout(go, 200);`,
  );
  assert.equal(typeof run.reports[0], "number", run.output);
  return run.reports[0];
}

test("keys, signature and manifest are given back before the image comes", options, async (t) => {
  const key = await aKey();
  const url = publish(await signManifest(claims(), key));
  const signed = await varsAtFirstSector(`{ url: ${JSON.stringify(url)}, keys: ${JSON.stringify([key.jwk])} }`);
  const digest = await varsAtFirstSector(
    `{ url: ${JSON.stringify(url.replace("m.jws", "fw.bin"))}, digest: "fsverity-sha256:${fsverity(IMAGE)}" }`,
  );
  t.diagnostic(`${signed} JsVars at the first sector of a signed update, ${digest} of one with a digest`);
  // the modulus alone, in base64url, takes some 40; what may stay is the digest in the plan and the longer way to it
  assert.ok(signed - digest < 30, `${signed} and ${digest} JsVars`);
});
