// The signed update on a whole device: who is believed, which manifests are followed, in which order they are
// checked, and what a lying server can do. Made by `jose`, but for the tables of manifest-cases.ts, which are forged; the
// device runs the built bundle.

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { forgeries } from "../../support/forgeries.ts";
import { buildImage, mutations, padTo } from "../../support/images.ts";
import {
  type Claims,
  claimsFor,
  forge,
  type Jwk,
  type Key,
  makeKey,
  manifestOfLength,
  signManifest,
} from "../../support/release.ts";
import {
  behaves,
  type Config,
  failsCleanly,
  failsWith,
  type IdfName,
  keepsOldImage,
  nothingLeft,
  oldImage,
  type Outcome,
  type Refusal,
  type Fixture,
  type FixtureOptions,
  createFixture,
  succeeds,
  touchesNothing,
} from "../../support/fixture.ts";
import * as serve from "../../support/server.ts";
import { leftOut, part } from "../../support/share.ts";
import { overEach, type Transport } from "../../support/transport.ts";
import {
  BAD_JSON,
  ceilings,
  CLAIMS,
  ENDLESS,
  HAD,
  IMAGE,
  type ImageCase,
  type ManifestCase,
  NO_IMAGE,
  NO_MANIFEST,
  OTHER_LENGTH,
  SAME_SIZE,
  VIOLATIONS,
  type Violation,
  WITHOUT_LENGTH,
} from "./manifest-cases.ts";
import { JSON_TEXTS } from "../../vectors/json.ts";

const RUNNING = oldImage();
/** Boot record of versions before 0.2, which is taken over; and that of today. */
const FILE = ".https-ota";
const FILES = [`${FILE}0`, `${FILE}1`];
const SLOT = { touched: ["ota_0", "otadata"] };
interface Release {
  fixture: Fixture;
  key: Key;
  claims(changes?: Claims): Claims;
  sign(changes?: Claims): Promise<string>;
  /** A manifest for the image that runs. */
  signRunning(changes?: Claims): Promise<string>;
  /** Serves a manifest, or an answer of any kind, and updates from it. */
  update(manifest: string | serve.Behaviour, config?: Config): Promise<Outcome>;
  check(manifest: string | serve.Behaviour, config?: Config): Promise<Outcome>;
  /** How often a path was asked for since `fixture.remember`. */
  asked(path: string): number;
  remember(): void;
}

async function startRelease(
  t: Pick<TestContext, "after">,
  { key: given, ...options }: FixtureOptions & { key?: Key } = {},
): Promise<Release> {
  const fixture = await createFixture(t, { image: IMAGE, images: { factory: RUNNING }, ...options });
  const key = given ?? (await makeKey({ exponent: 3 }));
  let from = 0;
  function settings(manifest: string | serve.Behaviour, config: Config): Config {
    const behaviour =
      typeof manifest === "string" ? serve.serveFile(new Uint8Array(Buffer.from(manifest, "latin1"))) : manifest;
    fixture.server.on("/m.jws", behaviour);
    return { url: fixture.server.url("/m.jws"), keys: [key.jwk], ...config };
  }
  const release: Release = {
    fixture,
    key,
    claims: (changes) => claimsFor(fixture.image, changes),
    sign: (changes) => signManifest(release.claims(changes), key),
    signRunning: (changes) => signManifest(claimsFor(RUNNING, changes), key),
    update: (manifest, config = {}) => fixture.update(settings(manifest, config)),
    check(manifest, config = {}) {
      const ready = fixture.config(settings(manifest, config));
      return fixture.outcome(fixture.device.ota.checkForUpdate(ready));
    },
    asked: (path) => fixture.server.requests.slice(from).filter((one) => one.path.split("?")[0] === path).length,
    remember() {
      // what an earlier case left in the slot would be resumed
      const { offset, size } = fixture.device.row("ota_0");
      if (fixture.device.running !== "ota_0") fixture.device.flash.load(new Uint8Array(size).fill(0xff), offset);
      fixture.remember();
      from = fixture.server.requests.length;
    },
  };
  return release;
}

/** Refused with this error, everything as before; the device is restarted and can be asked again. */
async function refuses(
  release: Release,
  manifest: string | serve.Behaviour,
  code: IdfName,
  refusal: Refusal & { config?: Config } = {},
): Promise<Outcome> {
  release.remember();
  const outcome = await release.update(manifest, refusal.config);
  await isRefused(release, outcome, code, refusal);
  return outcome;
}

async function isRefused(release: Release, outcome: Outcome, code: IdfName, refusal: Refusal = {}): Promise<void> {
  await failsCleanly(release.fixture, outcome, code, refusal);
}

const nameOf = ({ error }: Outcome) => error?.name.replace(/^ESP_(ERR_)?/, "") ?? "";

/** Each has the outcome that is promised; nothing was written, and the image was not asked for. */
async function manifestsAreChecked(t: TestContext, release: Release, cases: ManifestCase[]): Promise<void> {
  for (const one of cases)
    await t.test(one.what, async () => {
      const manifest = one.manifest(release.key);
      release.remember();
      if (one.outcome === "") {
        assert.equal((await release.check(manifest)).result?.available, true);
        return;
      }
      const outcome = await release.update(manifest);
      const name = nameOf(outcome);
      assert.ok([one.outcome].flat().includes(name), `${name || "followed"}: ${outcome.error?.message}`);
      await isRefused(release, outcome, name as IdfName, { says: one.says, retry: one.retry });
      assert.equal(release.asked("/fw.bin"), 0);
    });
}

/** Each image beside one right manifest: refused as promised, and the device starts what it started before. */
async function imagesAreChecked(t: TestContext, transport: Transport, cases: ImageCase[]): Promise<void> {
  const release = await startRelease(t, { transport });
  const token = await release.sign();
  for (const { what, image, outcome, says, retry, wrote } of cases)
    await t.test(what, async () => {
      release.fixture.server.on("/fw.bin", image());
      await refuses(release, token, outcome as IdfName, { says, retry, ...(wrote ? SLOT : {}) });
    });
}

const notSigned = { says: /^the manifest is not signed by a trusted key$/ };

/** The image runs already: nothing fetched but the manifest, nothing written. */
async function isUpToDate(release: Release, outcome: Outcome): Promise<void> {
  assert.ifError(outcome.error ? new Error(outcome.error.message) : null);
  assert.deepEqual(outcome.result, { upToDate: true });
  assert.equal(release.asked("/fw.bin"), 0, "the image was asked for");
  touchesNothing(release.fixture);
  behaves(release.fixture);
  await nothingLeft(release.fixture);
  keepsOldImage(release.fixture);
}

const memory = (sequence: number, more: object = {}) =>
  new Uint8Array(Buffer.from(JSON.stringify({ sequence, slot: "", next: 0, ...more })));

// --- End to end ------------------------------------------------------------------------------------------------------

for (const [bits, exponent] of [
  [2048, 65537],
  [3072, 65537],
  [4096, 65537],
  [2048, 3],
  [2048, 0xfffffffb],
])
  overEach(`installs by a manifest that jose alone made: RSA-${bits}, exponent ${exponent}`, async (t, transport) => {
    const release = await startRelease(t, { transport, key: await makeKey({ bits, exponent }) });
    const outcome = await release.update(await release.sign());
    assert.deepEqual(
      release.fixture.server.requests.map((one) => one.path),
      ["/m.jws", "/fw.bin"],
    );
    assert.equal(outcome.result?.upToDate, false);
    await succeeds(release.fixture, outcome, "ota_0");
  });

test("installs an image by a signed manifest over https", async (t) => {
  const release = await startRelease(t, { tls: true });
  await succeeds(release.fixture, await release.update(await release.sign()), "ota_0");
});

test("the virtual device's RSA check at its own speed accepts the same manifest", async (t) => {
  const { fixture, key, sign } = await startRelease(t);
  fixture.server.on("/m.jws", serve.serveFile(Buffer.from(await sign())));
  await succeeds(fixture, await fixture.update({ url: fixture.server.url("/m.jws"), keys: [key.jwk] }), "ota_0");
});

overEach("after a refused manifest the device follows the next one, without a restart", async (t, transport) => {
  const release = await startRelease(t, { transport });
  const token = await release.sign();
  assert.equal((await release.update(`${token}A`)).error?.name, "ESP_ERR_OTA_VALIDATE_FAILED");
  assert.equal((await release.update(await release.sign({ chip: "esp32s3" }))).error?.name, "ESP_ERR_INVALID_VERSION");
  assert.equal((await release.update(serve.status(503))).error?.retry, true);
  await succeeds(release.fixture, await release.update(token), "ota_0");
});

test("begin gives a handle for a signed update, and refuses the image that runs", async (t) => {
  const release = await startRelease(t);
  const { fixture, key } = release;
  fixture.server.on("/same.jws", serve.serveFile(Buffer.from(await release.signRunning())));
  const config = (path: string) => fixture.config({ url: fixture.server.url(path), keys: [key.jwk] });
  const same = await fixture.outcome(fixture.device.ota.begin(config("/same.jws")));
  assert.equal(same.error?.name, "ESP_ERR_INVALID_VERSION", same.error?.message);
  assert.match(same.error?.message ?? "", /running already/);
  fixture.server.on("/new.jws", serve.serveFile(Buffer.from(await release.sign())));
  const handle: any = await fixture.device.engine.call(fixture.device.ota.begin(config("/new.jws")));
  assert.equal(handle.getImgDesc().version, "2.0.2");
  touchesNothing(fixture);
  handle.abort();
  await nothingLeft(fixture);
});

// --- checkForUpdate ------------------------------------------------------------------------------------------------

test("checkForUpdate tells version, sequence, size and manifest, and touches no flash", async (t) => {
  const release = await startRelease(t);
  const claims = release.claims({ board: "ESP32", exp: 4_000_000_000, "x-notes": { text: "anything" } });
  const before = { ...release.fixture.device.flash.counts };
  const { result, error } = await release.check(await signManifest(claims, release.key));
  assert.ifError(error ?? null);
  assert.deepEqual(result, {
    available: true,
    waiting: false,
    due: 0,
    version: "2.0.2",
    sequence: 7,
    size: IMAGE.length,
    files: [],
    bytes: IMAGE.length,
    manifest: claims,
  });
  const after = release.fixture.device.flash.counts;
  assert.deepEqual({ ...after, reads: 0, bytesRead: 0 }, { ...before, reads: 0, bytesRead: 0 });
  assert.equal(release.asked("/fw.bin"), 0);
  assert.deepEqual([...release.fixture.device.storage.keys()], [], "Storage was written");
  touchesNothing(release.fixture);
  behaves(release.fixture);
  await nothingLeft(release.fixture);
  keepsOldImage(release.fixture);
});

test("checkForUpdate refuses what update refuses, and does not offer what runs", async (t) => {
  const release = await startRelease(t);
  const { result } = await release.check(await release.signRunning());
  assert.deepEqual([result?.available, result?.waiting], [false, false]);
  await isRefused(release, await release.check(await release.sign({ chip: "esp32c3" })), "INVALID_VERSION");
  const forged = forge(release.claims(), await makeKey({ exponent: 3, name: "other" }), {
    header: { kid: release.key.kid },
  });
  await isRefused(release, await release.check(forged), "OTA_VALIDATE_FAILED", notSigned);
});

test("getStatus().last is of updates only: checkForUpdate does not change it", async (t) => {
  const release = await startRelease(t);
  const last = () => release.fixture.device.ota.getStatus().last;
  assert.equal((await release.update(serve.status(404))).error?.name, "ESP_FAIL");
  assert.match(last(), /^ESP_FAIL: HTTP status 404/);
  assert.deepEqual((await release.update(await release.signRunning())).result, { upToDate: true });
  assert.equal(last(), "ESP_OK");
  assert.equal((await release.check(serve.status(404))).error?.name, "ESP_FAIL");
  assert.equal(last(), "ESP_OK");
});

test("a file longer than its manifest says is refused, with both lengths", async (t) => {
  const release = await startRelease(t);
  release.fixture.server.on("/fw.bin", serve.serveFile(padTo(IMAGE, IMAGE.length + 4096)));
  const { message } = failsWith(await release.update(await release.sign({})), "INVALID_SIZE");
  assert.equal(message, `file of ${IMAGE.length + 4096} bytes, expected at most ${IMAGE.length}`);
});

test("checkForUpdate needs keys", async (t) => {
  const { fixture } = await startRelease(t);
  const outcome = await fixture.outcome(fixture.device.ota.checkForUpdate(fixture.config({ insecure: true })));
  await failsCleanly(fixture, outcome, "INVALID_ARG", { says: /keys/ });
});

// --- Who is believed -----------------------------------------------------------------------------------------------

overEach("answers every forgery with one and the same error, having written nothing", async (t, transport) => {
  const shared = await startRelease(t, { transport });
  const other = await makeKey({ exponent: 3, name: "other" });
  const said = new Set<string>();
  const all = Object.entries(forgeries(shared.claims(), shared.key, other));
  const some = part(
    t,
    all,
    transport === "http" ? 3 : 6,
    `forgeries from ${transport === "http" ? "a server" : "a source"}`,
  );
  for (const [what, token] of some)
    await t.test(what, async () => {
      const outcome = await refuses(shared, token, "OTA_VALIDATE_FAILED", notSigned);
      said.add(JSON.stringify(outcome.error));
      assert.deepEqual(
        outcome.events.map(([name]) => name),
        ["START"],
      );
      assert.equal(shared.asked("/fw.bin"), 0);
    });
  assert.equal(said.size, 1, [...said].join("\n"));
});

overEach("refuses the manifest of a key that is not trusted, and of one that was removed", async (t, transport) => {
  const release = await startRelease(t, { transport });
  const old = await makeKey({ exponent: 3, name: "old" });
  const token = await signManifest(release.claims(), old);
  await refuses(release, token, "OTA_VALIDATE_FAILED", notSigned);
  release.remember();
  const both = [release.key.jwk, old.jwk];
  const check = await release.check(token, { keys: both });
  assert.equal(check.result?.available, true, "while both are trusted, either signs");
  assert.equal((await release.check(await release.sign(), { keys: both })).result?.available, true);
  await isRefused(release, await release.update(token), "OTA_VALIDATE_FAILED", notSigned);
});

overEach("a trusted key's signature under another trusted key's name is refused", async (t, transport) => {
  const release = await startRelease(t, { transport });
  const second = await makeKey({ exponent: 3, name: "second" });
  const token = forge(release.claims(), second, { header: { kid: release.key.kid } });
  await refuses(release, token, "OTA_VALIDATE_FAILED", {
    ...notSigned,
    config: { keys: [release.key.jwk, second.jwk] },
  });
});

test("keys that cannot be used are refused before anything is asked for", async (t) => {
  const release = await startRelease(t);
  const { jwk } = release.key;
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64url");
  const n = Buffer.from(jwk.n, "base64url");
  const even = Buffer.from(n);
  even[255] &= 0xfe;
  const exponent = (...bytes: number[]) => ({ ...jwk, e: text(Uint8Array.from(bytes)) });
  const cases: Record<string, unknown> = {
    "RSA 1024": (await makeKey({ bits: 1024 })).jwk,
    "RSA 2047": { ...jwk, n: text(Buffer.concat([Buffer.from([0x7f]), n.subarray(1)])) },
    "RSA 4097": { ...jwk, n: text(Buffer.concat([Buffer.from([1]), n, n])) },
    "RSA 8192": { ...jwk, n: text(Buffer.concat([n, n, n, n])) },
    "an even modulus": { ...jwk, n: text(even) },
    "a zero byte before the modulus": { ...jwk, n: text(Buffer.concat([Buffer.from([0]), n])) },
    "no modulus": { kty: "RSA", e: "AQAB" },
    "an empty modulus": { ...jwk, n: "" },
    "a modulus in base64": { ...jwk, n: n.toString("base64") },
    "exponent 0": exponent(0),
    "exponent 1": exponent(1),
    "exponent 2": exponent(2),
    "an even exponent": exponent(1, 0, 0),
    "an exponent of 33 bits": exponent(1, 0, 0, 0, 1),
    "an exponent of 2048 bits": { ...jwk, e: jwk.n },
    "no exponent": { kty: "RSA", n: jwk.n },
    "an exponent as number": { ...jwk, e: 65537 },
    "kty EC": { ...jwk, kty: "EC" },
    "kty oct, the modulus as secret": { kty: "oct", k: jwk.n },
    "no kty": { n: jwk.n, e: jwk.e },
    "an empty object": {},
    "a string": jwk.n,
    "a number": 5,
  };
  const token = await release.sign();
  for (const [what, key] of Object.entries(cases))
    for (const keys of [[key], [jwk, key]])
      await t.test(`${what}${keys.length > 1 ? ", behind a good one" : ""}`, async () => {
        await refuses(release, token, "INVALID_ARG", { config: { keys: keys as Jwk[] }, says: /key/i });
        assert.equal(release.asked("/m.jws"), 0);
      });
  for (const [what, config] of Object.entries({
    null: { keys: [null] },
    none: { keys: [] },
    "an object": { keys: jwk },
    "beside insecure": { insecure: true },
    "beside a digest": { digest: `fsverity-sha256:${"0".repeat(64)}` },
  }))
    await t.test(what, async () => {
      await refuses(release, token, "INVALID_ARG", { config });
      assert.equal(release.asked("/m.jws"), 0);
    });
});

overEach("a bit flipped anywhere in the manifest leaves the old image (every 97th bit)", async (t, transport) => {
  const release = await startRelease(t, { transport });
  const token = await release.sign();
  const bits = Array.from({ length: Math.ceil((8 * token.length) / 97) }, (_, i) => 97 * i);
  for (const bit of part(t, bits, 4, "flipped bits of a manifest")) {
    const at = bit >> 3;
    const flipped = String.fromCharCode(token.charCodeAt(at) ^ (1 << (bit & 7)));
    await refuses(release, token.slice(0, at) + flipped + token.slice(at + 1), "OTA_VALIDATE_FAILED", notSigned);
  }
});

overEach("a manifest that ends early leaves the old image (every 23rd length)", async (t, transport) => {
  const release = await startRelease(t, { transport });
  const token = await release.sign();
  const lengths = Array.from({ length: Math.ceil((token.length - 1) / 23) }, (_, i) => 1 + 23 * i);
  for (const length of part(t, lengths, 4, "manifests that end early"))
    await refuses(release, token.slice(0, length), "OTA_VALIDATE_FAILED", notSigned);
});

overEach("a manifest whose connection is cut is fetched again, from there or the start", async (t, transport) => {
  for (const ranges of [true, false])
    for (const offset of ranges ? [1, 4096] : [300, 4097]) {
      const release = await startRelease(t, { transport });
      const token = new Uint8Array(Buffer.from(manifestOfLength(release.claims(), release.key, 7000)));
      const outcome = await release.update(serve.cutAt(token, offset, "reset", { ranges }), { retries: 2 });
      await succeeds(release.fixture, outcome, "ota_0");
    }
});

// --- Ceilings --------------------------------------------------------------------------------------------------------

/** With less memory the ceiling is lower. */
const PLENTY = { engine: { freeVars: 20000 } };

for (const chunked of [false, true])
  test(`a manifest of 32768 bytes is followed, one of 32769 is refused, ${chunked ? "chunked" : "with a length"}`, async (t) => {
    const release = await startRelease(t, PLENTY);
    await manifestsAreChecked(t, release, ceilings(chunked));
    release.remember();
    const last = ceilings(chunked).find(({ what }) => what.startsWith("32768 ")) as ManifestCase;
    await succeeds(release.fixture, await release.update(last.manifest(release.key)), "ota_0");
  });

test("a valid manifest followed by more than the ceiling is refused", async (t) => {
  const release = await startRelease(t, PLENTY);
  await refuses(release, (await release.sign()) + " ".repeat(33000), "INVALID_SIZE");
  await refuses(release, `${await release.sign()}.`, "OTA_VALIDATE_FAILED", notSigned);
});

test("an endless manifest is given up: with a length, without one, chunked", async (t) => {
  await manifestsAreChecked(t, await startRelease(t, PLENTY), ENDLESS);
});

test("HTML, gzip, an image or nothing instead of a manifest is refused", async (t) => {
  await manifestsAreChecked(t, await startRelease(t, PLENTY), NO_MANIFEST);
});

test("the content type does not matter: the signature does", async (t) => {
  const release = await startRelease(t);
  const token = new Uint8Array(Buffer.from(await release.sign()));
  const outcome = await release.update(serve.serveFile(token, { contentType: "text/html; charset=utf-16" }));
  await succeeds(release.fixture, outcome, "ota_0");
});

// --- Claims ------------------------------------------------------------------------------------------------------------

test("a claim that is missing or mistyped refuses the manifest, by the claim's name", async (t) => {
  if (leftOut(t, 4, "of tables of manifests and boot records")) return;
  await manifestsAreChecked(t, await startRelease(t), CLAIMS);
});

overEach("claims that the device does not know are ignored", async (t, transport) => {
  const release = await startRelease(t, { transport });
  const token = await release.sign({
    sub: "x",
    nested: { url: "a", size: 5, image: [{ a: 1 }, { a: 2 }] },
    text: '"sequence":{}[],:\\',
    image: { sha256: "0".repeat(64), parts: [] },
  });
  await succeeds(release.fixture, await release.update(token), "ota_0");
});

test("a signed payload that is not one JSON object, or has a key twice, is refused", async (t) => {
  if (leftOut(t, 4, "of tables of manifests and boot records")) return;
  await manifestsAreChecked(t, await startRelease(t), BAD_JSON);
});

test("what is JSON to a device is what it is to the command: RFC 8259, no key twice", async (t) => {
  if (leftOut(t, 4, "of tables of manifests and boot records")) return;
  const release = await startRelease(t);
  const wrong: string[] = [];
  for (const [characters, accepted] of JSON_TEXTS) {
    const payloadText = Buffer.from(characters, "utf8").toString("latin1");
    const { error } = await release.check(forge({}, release.key, { payloadText }));
    // an object of any other kind is a manifest of a format that is not known
    if ((error?.name === "ESP_ERR_NOT_SUPPORTED") !== accepted) wrong.push(`${payloadText}: ${error?.message}`);
    if (!accepted) assert.equal(error?.name, "ESP_ERR_INVALID_RESPONSE", payloadText);
  }
  assert.deepEqual(wrong, []);
});

// --- Two signatures ----------------------------------------------------------------------------------------------------

overEach("threshold: 2 wants signatures by two keys of the list over one payload", async (t, transport) => {
  const release = await startRelease(t, { transport });
  const second = await makeKey({ exponent: 3, name: "second" });
  const third = await makeKey({ exponent: 3, name: "third" });
  const stranger = await makeKey({ exponent: 3, name: "stranger" });
  const claims = release.claims();
  const [one, two, three, other] = await Promise.all(
    [release.key, second, third, stranger].map((key) => signManifest(claims, key)),
  );
  const elsewhere = await signManifest(release.claims({ version: "9.9" }), second);
  const spoilt = `${two.slice(0, -1)}${two.endsWith("A") ? "B" : "A"}`;
  const keys = [release.key.jwk, second.jwk, third.jwk];
  const cases: [what: string, manifest: string, one: boolean, two: boolean][] = [
    ["by one", one, true, false],
    ["by two", `${one}\n${two}`, true, true],
    ["by two others, in another order", `${three}\n${two}`, true, true],
    ["by the same key twice", `${one}\n${one}`, true, false],
    ["by one and a stranger", `${one}\n${other}`, true, false],
    ["by a stranger and one", `${other}\n${one}`, true, false],
    ["by strangers", `${other}\n${other}`, false, false],
    ["by two, over different payloads", `${one}\n${elsewhere}`, false, false],
    ["by two, the second spoilt", `${one}\n${spoilt}`, true, false],
    ["by two, the first spoilt", `${spoilt}\n${one}`, true, false],
    ["by three", `${one}\n${two}\n${three}`, false, false],
    ["by one, and a line end", `${one}\n`, false, false],
    ["behind a line end", `\n${one}`, false, false],
    ["by two, with two line ends", `${one}\n\n${two}`, false, false],
    ["by two, with a line end of another kind: only the second is one", `${one}\r\n${two}`, true, false],
  ];
  for (const [what, manifest, ...good] of cases)
    for (const threshold of [1, 2]) {
      const { error } = await release.check(manifest, { keys, threshold });
      if (good[threshold - 1]) assert.ifError(error ? new Error(`${what}, ${threshold}: ${error.message}`) : null);
      else assert.match(error?.message ?? "taken", notSigned.says, `${what}, threshold ${threshold}`);
    }
  await succeeds(release.fixture, await release.update(`${one}\n${two}`, { keys, threshold: 2 }), "ota_0");
});

test("a threshold that the keys cannot reach is refused before anything is asked for", async (t) => {
  const release = await startRelease(t);
  for (const threshold of [0, 2, 3]) {
    const outcome = await refuses(release, await release.sign(), "INVALID_ARG", { config: { threshold } });
    assert.match(outcome.error?.message ?? "", /^threshold is \d: expected 1 or 2, and as many keys$/);
    assert.equal(release.asked("/m.jws"), 0);
  }
});

test("a sequence is at most 2^32 above the one that the device has", async (t) => {
  const release = await startRelease(t);
  release.fixture.device.storage.set(FILE, memory(10));
  const says = /sequence \d+, this is 10, and takes at most 4294967296 more/;
  for (const sequence of [10 + 2 ** 32 + 1, 2 ** 53 - 1])
    for (const config of [{}, { allowDowngrade: true }])
      await refuses(release, await release.sign({ sequence }), "INVALID_VERSION", { says, config });
  assert.ifError((await release.check(await release.sign({ sequence: 10 + 2 ** 32 }))).error);
});

// --- Policy, in its order ----------------------------------------------------------------------------------------------

const NOW = 1_800_000_000; // seconds, by a clock that was set

/** The last check is whether the image runs already. */
const POLICY: Record<string, Violation> = {
  ...VIOLATIONS,
  identity: { changes: { image: claimsFor(RUNNING).image }, outcome: "up to date", says: /./ },
};

/** A device with a clock, that has had sequence 10. */
async function isRefusedFor(release: Release, manifest: string, violation: Violation, config?: Config): Promise<void> {
  release.fixture.device.storage.set(FILE, memory(HAD));
  release.fixture.device.engine.run(`setTime(${NOW})`);
  release.remember();
  const outcome = await release.update(manifest, config);
  if (violation.outcome === "up to date") await isUpToDate(release, outcome);
  else await isRefused(release, outcome, violation.outcome as IdfName, { says: violation.says });
  assert.equal(release.asked("/fw.bin"), 0);
}

for (const [name, violation] of Object.entries(POLICY))
  test(`policy: ${name} is checked, and the message names both sides`, async (t) => {
    const release = await startRelease(t);
    await isRefusedFor(release, await release.sign({ sequence: 10, ...violation.changes }), violation);
  });

test("policy: of two violations the earlier one is told", async (t) => {
  const release = await startRelease(t);
  const all = Object.entries(POLICY);
  const pairs = all.flatMap((first, i) => all.slice(i + 1).map((second) => [first, second]));
  for (const [[name, first], [other, second]] of part(t, pairs, 4, "pairs of violations of the policy"))
    await t.test(`${name} before ${other}`, async () => {
      const changes = { sequence: 10, ...second.changes, ...first.changes };
      await isRefusedFor(release, await release.sign(changes), first);
    });
});

overEach("policy: every claim of the device's own is followed", async (t, transport) => {
  const release = await startRelease(t, { transport });
  release.fixture.device.storage.set(FILE, memory(10));
  release.fixture.device.engine.run(`setTime(${NOW})`);
  const token = await release.sign({ board: "ESP32", exp: NOW + 60, sequence: 10 });
  await succeeds(release.fixture, await release.update(token), "ota_0");
});

test("policy: expiry only counts when the clock was set", async (t) => {
  const release = await startRelease(t);
  const token = await release.sign({ exp: 1_000_000_000 });
  assert.equal((await release.check(token)).result?.available, true, "clock not set");
  for (const [time, code] of [
    [999_999_000, null],
    [1_000_000_001, "TIMEOUT"],
    [NOW, "TIMEOUT"],
  ] as const) {
    release.fixture.device.engine.run(`setTime(${time})`);
    release.remember();
    const outcome = await release.check(token);
    const says = new RegExp(`1000000000.*${`${time}`.slice(0, 8)}`);
    if (code) await isRefused(release, outcome, code, { says });
    else assert.equal(outcome.result?.available, true, `at ${time}`);
  }
});

overEach("policy: the size is compared with the target slot, and a full one is followed", async (t, transport) => {
  const image = padTo(IMAGE, 65536);
  const release = await startRelease(t, { transport, image });
  await succeeds(release.fixture, await release.update(await release.sign()), "ota_0");
});

overEach("policy: allowDowngrade lets an older sequence pass, and nothing else", async (t, transport) => {
  const release = await startRelease(t, { transport });
  const config = { allowDowngrade: true };
  for (const [name, violation] of Object.entries(POLICY)) {
    if (name === "sequence") continue;
    await isRefusedFor(release, await release.sign({ sequence: 9, ...violation.changes }), violation, config);
  }
  release.fixture.device.storage.set(FILE, memory(10));
  release.remember();
  await succeeds(release.fixture, await release.update(await release.sign({ sequence: 9 }), config), "ota_0");
});

overEach("policy: allowSameVersion installs the running image again", async (t, transport) => {
  const release = await startRelease(t, { transport, image: RUNNING });
  const token = await release.sign();
  await isUpToDate(release, await release.update(token));
  release.remember();
  await succeeds(release.fixture, await release.update(token, { allowSameVersion: true }), "ota_0");
});

test("policy: allowSameVersion lets no other project pass", async (t) => {
  const release = await startRelease(t, { image: RUNNING });
  const token = await release.sign({ project: "other" });
  await refuses(release, token, "INVALID_VERSION", { config: { allowSameVersion: true }, says: /project other/ });
});

overEach("policy: images without descriptor are told apart by their bytes", async (t, transport) => {
  const running = buildImage({ size: 60000, seed: 1, descriptor: false });
  const image = buildImage({ size: 61008, seed: 2, descriptor: false });
  const release = await startRelease(t, { transport, image, images: { factory: running } });
  const same = signManifest(claimsFor(running, { project: "anything", version: "9" }), release.key);
  await isUpToDate(release, await release.update(await same));
  release.remember();
  assert.equal((await release.check(await same)).result?.available, false);
  await succeeds(release.fixture, await release.update(await release.sign({ project: "anything" })), "ota_0");
});

// --- Sequence ------------------------------------------------------------------------------------------------------------

const confirmed = (release: Release): number => release.fixture.device.ota.getStatus().sequence;

/** Is a manifest with this sequence followed by the program that runs now? */
async function follows(release: Release, sequence: number): Promise<boolean> {
  const { error } = await release.check(await release.sign({ sequence, version: `seq ${sequence}` }));
  if (error) assert.equal(error.name, "ESP_ERR_OTA_SMALL_SEC_VER", error.message);
  return !error;
}

overEach("an older manifest is refused once the newer image runs, and not before", async (t, transport) => {
  const release = await startRelease(t, { transport });
  const { device } = release.fixture;
  assert.equal(await follows(release, 0), true);
  assert.ifError((await release.update(await release.sign({ sequence: 20 }))).error);
  assert.equal(await follows(release, 19), true, "the new image has not run yet");
  device.restart();
  assert.equal(device.running, "ota_0");
  assert.equal(await follows(release, 19), false, "it runs");
  assert.equal(await follows(release, 20), true);
  assert.equal(await follows(release, 21), true);
  device.ota.markValid();
  assert.equal(confirmed(release), 20);
  assert.equal(await follows(release, 19), false);
  device.restart();
  assert.equal(await follows(release, 19), false, "nor after a restart");
});

overEach("what was confirmed stays confirmed when an older slot runs again", async (t, transport) => {
  for (const isConfirmed of [true, false]) {
    const release = await startRelease(t, { transport });
    const { device } = release.fixture;
    assert.ifError((await release.update(await release.sign({ sequence: 20 }))).error);
    device.restart();
    assert.equal(await follows(release, 19), false);
    if (isConfirmed) device.ota.markValid();
    await device.engine.call(device.ota.rollback()).catch(() => {});
    device.restart();
    assert.equal(device.running, "factory");
    assert.equal(await follows(release, 19), !isConfirmed);
    assert.equal(await follows(release, 20), true);
  }
});

overEach("a replay is refused after several updates that nobody confirmed by markValid", async (t, transport) => {
  const release = await startRelease(t, { transport });
  const { device } = release.fixture;
  assert.ifError((await release.update(await release.sign({ sequence: 20 }))).error);
  device.restart();
  assert.equal(await follows(release, 19), false);
  const next = buildImage({ size: 61008, seed: 3, descriptor: { version: "3" } });
  release.fixture.server.on("/3.bin", serve.serveFile(next));
  const token = await signManifest(
    claimsFor(next, { sequence: 21, version: "3", image: { url: "3.bin" } }),
    release.key,
  );
  assert.ifError((await release.update(token)).error);
  assert.equal(await follows(release, 5), false, "the image of sequence 20 still runs");
});

overEach("an update that fails leaves the remembered sequence as it was", async (t, transport) => {
  const release = await startRelease(t, { transport });
  release.fixture.device.storage.set(FILE, memory(10));
  await refuses(
    release,
    await release.sign({ sequence: 30, image: { fsverity: `sha256:${"0".repeat(64)}` } }),
    "OTA_VALIDATE_FAILED",
    SLOT,
  );
  assert.equal(confirmed(release), 10);
  assert.equal(await follows(release, 10), true);
  await refuses(
    release,
    forge(release.claims({ sequence: 30 }), await makeKey({ exponent: 3, name: "other" })),
    "OTA_VALIDATE_FAILED",
  );
  assert.equal(confirmed(release), 10);
  assert.equal(await follows(release, 10), true);
});

overEach("a downgrade that was allowed does not forget the highest sequence", async (t, transport) => {
  const release = await startRelease(t, { transport });
  const { device } = release.fixture;
  device.storage.set(FILE, memory(10));
  assert.ifError((await release.update(await release.sign({ sequence: 5 }), { allowDowngrade: true })).error);
  device.restart();
  device.ota.markValid();
  assert.equal(await follows(release, 9), false);
  assert.equal(await follows(release, 10), true);
});

test("a boot record that is missing, corrupt or foreign counts as empty", async (t) => {
  if (leftOut(t, 4, "of tables of manifests and boot records")) return;
  const texts = [" ", "{", "null", "true", "5", '"x"', "[]", "[10]", "{}", "\xff\xff\xff\xff", "\0", "x".repeat(5000)];
  texts.push('{"sequence":"10"}', '{"sequence":-1}', '{"sequence":1.5}', '{"sequence":null}', '{"sequence":[99]}');
  texts.push('{"sequence":{}}', '{"slot":5,"next":99}', '{"slot":{},"next":99}', '{"slot":"ota_0","next":99}');
  texts.push('{"next":99}', '{"slot":"factory","next":"99"}', '{"slot":"factory","next":-99}');
  for (const text of texts)
    await t.test(JSON.stringify(text.slice(0, 40)), async (inner) => {
      const release = await startRelease(inner);
      for (const name of [FILE, ...FILES])
        release.fixture.device.storage.set(name, new Uint8Array(Buffer.from(text, "latin1")));
      assert.equal(await follows(release, 0), true);
      release.remember();
      const outcome = await release.update(await release.sign({ sequence: 1 }));
      await succeeds(release.fixture, outcome, "ota_0");
      release.fixture.device.ota.markValid();
      assert.equal(confirmed(release), 1);
    });
});

test("a remembered sequence as large as numbers are exact is obeyed", async (t) => {
  const release = await startRelease(t);
  const high = Number.MAX_SAFE_INTEGER;
  release.fixture.device.storage.set(FILE, memory(high));
  assert.equal(await follows(release, high - 1), false);
  assert.equal(await follows(release, high), true);
});

for (const number of ["1e999", "1e300"])
  test(`a remembered sequence of ${number}, which no update wrote, counts as empty`, async (t) => {
    const release = await startRelease(t);
    const text = `{"sequence":${number},"slot":"","next":0}`;
    release.fixture.device.storage.set(FILE, new Uint8Array(Buffer.from(text)));
    assert.equal(await follows(release, 7), true);
  });

for (const number of ["1e999", "1e300", "99999999999999999999", "9007199254740993"])
  test(`a manifest's sequence of ${number}, which no number holds exactly, is refused`, async (t) => {
    const release = await startRelease(t);
    const payloadText = JSON.stringify(release.claims()).replace('"sequence":7', `"sequence":${number}`);
    await refuses(release, forge({}, release.key, { payloadText }), "INVALID_RESPONSE", {
      says: /sequence|invalid JSON/,
    });
  });

// --- The image ---------------------------------------------------------------------------------------------------------

test("image.url may be relative in every way, or absolute", async (t) => {
  if (leftOut(t, 4, "of tables of manifests and boot records")) return;
  const release = await startRelease(t);
  const { server } = release.fixture;
  server.on("/r/v2/m.jws", (req, io) => serve.serveFile(new Uint8Array(Buffer.from(token)))(req, io));
  let token = "";
  for (const [url, path] of [
    ["fw.bin", "/r/v2/fw.bin"],
    ["./fw.bin", "/r/v2/fw.bin"],
    ["../fw.bin", "/r/fw.bin"],
    ["/fw.bin", "/fw.bin"],
    ["a/b.bin?x=1&y=2", "/r/v2/a/b.bin?x=1&y=2"],
    [server.url("/abs.bin"), "/abs.bin"],
    [server.url("/abs.bin").replace("http:", ""), "/abs.bin"],
  ]) {
    server.on(path, serve.serveFile(IMAGE));
    token = await release.sign({ image: { url } });
    release.remember();
    const outcome = await release.update("", { url: server.url("/r/v2/m.jws") });
    assert.equal(outcome.result?.size, IMAGE.length, `${url}: ${outcome.error?.message}`);
    assert.equal(server.requests.at(-1)?.path, path);
  }
  behaves(release.fixture);
});

test("an image.url of another scheme, or with characters that no URL has, is refused", async (t) => {
  if (leftOut(t, 4, "of tables of manifests and boot records")) return;
  const release = await startRelease(t);
  for (const url of [
    "ftp://localhost/fw.bin",
    "file:///fw.bin",
    "data:,x",
    "javascript:1",
    "http://",
    "a b",
    "a\r\nX: y",
    "http://[::1]/x",
  ])
    await t.test(JSON.stringify(url), async () => {
      await refuses(release, await release.sign({ image: { url } }), "INVALID_ARG");
    });
});

test("an image on another origin is fetched without the program's headers", async (t) => {
  const release = await startRelease(t);
  const other = await serve.startServer({ tls: true });
  t.after(() => other.close());
  other.on("/fw.bin", serve.serveFile(IMAGE));
  const token = await release.sign({ image: { url: other.url("/fw.bin") } });
  const outcome = await release.update(token, { headers: { Authorization: "Bearer secret", "X-Device": "7" } });
  const first = release.fixture.server.requests[0];
  assert.equal(first.headers.authorization, "Bearer secret");
  const there = other.requests[0];
  assert.equal(there.headers.authorization, undefined);
  assert.equal(there.headers["x-device"], undefined);
  await succeeds(release.fixture, outcome, "ota_0");
});

test("an image on the manifest's origin is fetched with the program's headers", async (t) => {
  const release = await startRelease(t);
  const outcome = await release.update(await release.sign(), { headers: { Authorization: "Bearer secret" } });
  const seen = release.fixture.server.requests.map((one) => one.headers.authorization);
  assert.deepEqual(seen, ["Bearer secret", "Bearer secret"]);
  await succeeds(release.fixture, outcome, "ota_0");
});

test("manifest and image may each redirect to another origin; no header goes there", async (t) => {
  const release = await startRelease(t);
  const { server } = release.fixture;
  const other = await serve.startServer({ name: "127.0.0.1" });
  t.after(() => other.close());
  other.on("/there.jws", serve.serveFile(new Uint8Array(Buffer.from(await release.sign({ image: { url: "/hop" } })))));
  other.on("/there.bin", serve.serveFile(IMAGE));
  server.on("/hop", serve.redirect(307, other.url("/there.bin")));
  const headers = { Authorization: "Bearer secret" };
  const outcome = await release.update(serve.redirect(302, other.url("/there.jws")), { headers });
  // relative to the URL that the program gave, as a release page that redirects to a store wants it
  assert.deepEqual(
    server.requests.map((one) => one.path),
    ["/m.jws", "/hop"],
  );
  assert.deepEqual(
    other.requests.map((one) => [one.path, one.headers.authorization]),
    [
      ["/there.jws", undefined],
      ["/there.bin", undefined],
    ],
  );
  await succeeds(release.fixture, outcome, "ota_0");
});

test("a redirect makes no unsigned manifest pass, nor leads from https to http", async (t) => {
  if (leftOut(t, 4, "of tables of manifests and boot records")) return;
  const release = await startRelease(t, { tls: true });
  const plain = await serve.startServer();
  t.after(() => plain.close());
  const other = await makeKey({ exponent: 3, name: "other" });
  plain.on("/m.jws", serve.serveFile(new Uint8Array(Buffer.from(await release.sign()))));
  await refuses(release, serve.redirect(302, plain.url("/m.jws")), "HTTP_REDIRECT_DOWNGRADE");
  release.fixture.server.on(
    "/evil.jws",
    serve.serveFile(new Uint8Array(Buffer.from(forge(release.claims(), other, { header: { kid: release.key.kid } })))),
  );
  await refuses(release, serve.redirect(302, "/evil.jws"), "OTA_VALIDATE_FAILED", notSigned);
  await refuses(release, serve.redirectLoop(), "HTTP_MAX_REDIRECT");
  await refuses(release, serve.redirect(302, "data:text/plain,x"), "INVALID_RESPONSE");
});

overEach("the right manifest with another image of the same size selects nothing", async (t, transport) => {
  await imagesAreChecked(t, transport, SAME_SIZE);
});

test("an image that is shorter or longer than the manifest says selects nothing", async (t) => {
  await imagesAreChecked(t, "http", OTHER_LENGTH);
});

test("a chunked image longer than the manifest says, or endless, selects nothing", async (t) => {
  await imagesAreChecked(t, "http", WITHOUT_LENGTH);
});

// the length of an answer is HTTP's: a source is read up to the size of the manifest, and the digest decides
test("a manifest whose size fits another image than its digest selects nothing", async (t) => {
  const release = await startRelease(t);
  for (const size of [0, 1, 1023, 1024, 61007])
    await refuses(release, await release.sign({ image: { size } }), "INVALID_SIZE", { says: new RegExp(`${size}`) });
  await refuses(release, await release.sign({ image: { size: 61009 } }), "OTA_VALIDATE_FAILED", SLOT);
});

overEach("the image's own header is checked: another chip is refused before an erase", async (t, transport) => {
  const image = buildImage({ chip: "esp32c3", size: IMAGE.length, seed: 2 });
  const release = await startRelease(t, { transport, image });
  await refuses(release, await release.sign(), "INVALID_VERSION", { says: /chip id 5.*chip id 0/ });
});

test("HTML instead of the image, of any length, selects nothing", async (t) => {
  await imagesAreChecked(t, "http", NO_IMAGE);
});

overEach("a server that exchanges the image before or during it selects nothing", async (t, transport) => {
  const release = await startRelease(t, { transport });
  const { server } = release.fixture;
  const evil = mutations.payloadSealed(IMAGE);
  const token = await release.sign();
  // it shows the right image to everybody but this device
  server.on("/fw.bin", serve.sequence(serve.serveFile(evil), serve.serveFile(IMAGE)));
  await refuses(release, token, "OTA_VALIDATE_FAILED", SLOT);
  // the second half comes from another file, with and without an honest ETag
  for (const etag of ['"same"', undefined]) {
    const half = serve.sequence(serve.cutAt(IMAGE, 30000, "reset", { etag }), serve.serveFile(evil, { etag }));
    server.on("/fw.bin", half);
    // a source has no validator that could prove the file the same
    const retry = transport === "source" || !etag;
    await refuses(release, token, "OTA_VALIDATE_FAILED", { ...SLOT, retry, config: { retries: 3 } });
  }
});

overEach("a server that exchanges the manifest between check and update gains nothing", async (t, transport) => {
  const release = await startRelease(t, { transport });
  const good = await release.sign();
  assert.equal((await release.check(good)).result?.available, true);
  const other = await makeKey({ exponent: 3, name: "other" });
  await refuses(
    release,
    forge(release.claims(), other, { header: { kid: release.key.kid } }),
    "OTA_VALIDATE_FAILED",
    notSigned,
  );
  // cut in the middle, the rest of another manifest: two halves make no whole
  const [one, two] = [good, await release.sign({ sequence: 8 })].map((token) => new Uint8Array(Buffer.from(token)));
  const halves = serve.sequence(
    serve.cutAt(one, 300, "reset", { etag: '"same"' }),
    serve.serveFile(two, { etag: '"same"' }),
  );
  await refuses(release, halves, "OTA_VALIDATE_FAILED", { ...notSigned, config: { retries: 3 } });
});

overEach("the image of a signed update resumes after a cut, and is verified as a whole", async (t, transport) => {
  const release = await startRelease(t, { transport });
  release.fixture.server.on("/fw.bin", serve.cutAt(IMAGE, 30000, "reset", { times: 2 }));
  const outcome = await release.update(await release.sign(), { retries: 5 });
  await succeeds(release.fixture, outcome, "ota_0");
});

test("the manifest's connection is closed before the image is asked for", async (t) => {
  const release = await startRelease(t);
  const sockets: number[] = [];
  release.fixture.server.on("/fw.bin", (req, io) => {
    sockets.push(release.fixture.device.engine.accounts().sockets);
    return serve.serveFile(IMAGE)(req, io);
  });
  const outcome = await release.update(await release.sign());
  assert.deepEqual(sockets, [1], "the manifest's connection was still open");
  await succeeds(release.fixture, outcome, "ota_0");
});
