// One test for each attack that worked once, under the promise that it broke. They are deterministic and cheap; what looks
// for the next one are the fuzzers beside this file.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import net from "node:net";
import { after, before, test } from "node:test";
import { makeCheckable, memoryOf } from "./processes.ts";
import { BUNDLE, createDevice } from "../sim/device.ts";
import { ESPRUINO, runInEngine } from "../real-espruino/engine.ts";
import { HEADER } from "../sim/espruino/chain.ts";
import { fsverity } from "../support/fsverity.ts";
import { buildImage, noise } from "../support/images.ts";
import { type Claims, claimsFor, forge, type Key, makeKey, signManifest } from "../support/release.ts";
import { boardWith, plain, row } from "../support/fixture.ts";
import { startServer } from "../support/server.ts";
import { workshop } from "../tests/cli/cli-run.ts";
import {
  createRig,
  drips,
  type Ended,
  file,
  type Net,
  paths,
  type Rig,
  smallImage,
  stopAll,
  text,
  URL_OF,
} from "./rig.ts";

const OLD = smallImage(1);
const GOOD = smallImage(2, "2.0.2");
const EVIL = smallImage(66, "6.6.6");
const BUILT = readFileSync(BUNDLE, "utf8");
/** While the module has no such field an update during a trial needs none. */
const UNCONFIRMED = BUILT.includes("allowUnconfirmed") ? { allowUnconfirmed: true } : {};
const key = await makeKey({ exponent: 3 });
after(stopAll);
const digestOf = (image: Uint8Array) => `fsverity-sha256:${fsverity(image)}`;
const sign = (image: Uint8Array, claims: Claims = {}, by: Key = key) => signManifest(claimsFor(image, claims), by);
const signed = { url: URL_OF("/m.jws"), keys: [key.jwk] };
const inEngine = { skip: ESPRUINO ? false : "ESPRUINO is not set" };

const ok = (ended: Ended | "hangs"): any => {
  if (ended === "hangs") return assert.fail("it hangs");
  assert.ifError(ended.error ? new Error(`${ended.error.name}: ${ended.error.message}`) : null);
  return ended.result;
};
function refused(ended: Ended | "hangs", name?: string): NonNullable<Ended["error"]> {
  if (ended === "hangs") return assert.fail("it hangs");
  assert.ok(ended.error, `it succeeded: ${JSON.stringify(ended.result)}`);
  if (name) assert.equal(ended.error.name, name, ended.error.message);
  return ended.error;
}
const offer = (manifest: string, image: Uint8Array): Net =>
  paths({ "/m.jws": text(manifest), "/fw.bin": file(image), "/": file(image) });

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
const runs = ({ device }: Rig, image: Uint8Array): boolean => same(device.slot(device.running, image.length), image);

/** Installs `image` by its digest, restarts into it, and confirms it. */
async function install(rig: Rig, image: Uint8Array, confirm = true): Promise<void> {
  rig.net = file(image);
  rig.knows(image);
  ok(await rig.call("update", { url: URL_OF("/fw.bin"), digest: digestOf(image) }));
  rig.restart();
  assert.ok(runs(rig, image));
  if (confirm) rig.device.ota.markValid();
}

/** Refuses EVIL, which comes in the place of an image that is right. */
async function refuseEvil(rig: Rig, config: object = {}): Promise<void> {
  rig.net = file(EVIL);
  refused(
    await rig.call("update", { url: URL_OF("/fw.bin"), digest: digestOf(GOOD), ...config }),
    "ESP_ERR_OTA_VALIDATE_FAILED",
  );
}

async function untilRestart(rig: Rig, limitMs: number): Promise<number> {
  const start = rig.nowMs();
  let past = 0;
  for (; !rig.device.rebootAsked && past < limitMs; past = rig.nowMs() - start) await rig.pass(1000);
  return past;
}

/** Nothing that nobody has verified can start, whatever otadata says, and with none of it. */
function onlyKnownStart(rig: Rig): void {
  assert.deepEqual(rig.intruders(), []);
  const { address } = rig.device.otadata();
  rig.device.stop();
  rig.device.flash.load(new Uint8Array(8192).fill(0xff), address);
  rig.restart();
  assert.ok(!runs(rig, EVIL), "the attacker's image runs");
}

// --- H1

test("crash the device: no native makes a piece for each separator of unsigned text", async () => {
  const header = Buffer.from(JSON.stringify({ alg: "PS256", typ: "https-ota+jws", kid: key.kid })).toString(
    "base64url",
  );
  const texts: Record<string, Net> = {
    ...Object.fromEntries([...'._-/"{[,:\\ \n'].map((one) => [`8192 of ${one}`, text(one.repeat(8192))])),
    "a signature of hyphens": text(`${header}.e30.${"-".repeat(680)}`),
    "a header of hyphens": text(`${"-".repeat(7000)}.e30.${"A".repeat(342)}`),
    "a Location of slashes": () => ({
      parts: [`HTTP/1.1 302 Found\r\nLocation: a${"/".repeat(3000)}b\r\nContent-Length: 0\r\n\r\n`],
    }),
    "a Location of dots": () => ({
      parts: [`HTTP/1.1 302 Found\r\nLocation: ${"../".repeat(1000)}b\r\nContent-Length: 0\r\n\r\n`],
    }),
    "a header of many members": text(`${Buffer.from(`{${'"a":1,'.repeat(700)}"b":1}`).toString("base64url")}.e30.AAAA`),
  };
  for (const [what, behaviour] of Object.entries(texts)) {
    const rig = createRig({
      net: (asked, i) => (i ? { parts: ["HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n"] } : behaviour(asked, i)),
    });
    const most = rig.device.engine.run(`(function () {
      var most = 0, split = String.prototype.split, parse = JSON.parse;
      String.prototype.split = function (by) {
        var parts = split.call(this, by);
        most = Math.max(most, parts.length);
        return parts;
      };
      JSON.parse = function (text) { most = Math.max(most, text.length / 64); return parse(text); };
      return function () { return most; };
    })()`) as () => number;
    refused(await rig.call("update", { ...signed, retries: 0 }));
    assert.ok(most() <= 16, `${what}: ${most()} pieces`);
    rig.device.stop();
  }
});

// --- H2

for (const [how, code] of [
  ["after Modules.removeCached()", 'Modules.removeCached("https-ota")'],
  ["sent again", 'Modules.removeCached("https-ota"); Modules.addCached("https-ota", BUNDLE)'],
] as const)
  test(`a forged image is never selected, with a second instance, ${how}, either`, async () => {
    const rig = createRig();
    const { device } = rig;
    rig.knows(GOOD);
    rig.net = drips(EVIL, 10_000, 8192);
    const config = { url: URL_OF("/fw.bin"), digest: digestOf(GOOD) };
    const first = device.ota.update(rig.config(config));
    first.then(device.engine.run("(function () {})"), device.engine.run("(function () {})"));
    await rig.pass(30_000);
    device.engine.run(`var BUNDLE = ${JSON.stringify(BUILT)}; ${code}`);
    const second = device.engine.require("https-ota");
    assert.notEqual(second, device.ota);
    rig.net = file(GOOD);
    const ended = await rig.settle(second.update(rig.config(config)));
    assert.notEqual(ended, "hangs");
    await rig.settle(first);
    assert.deepEqual(rig.intruders(), []);
    rig.restart();
    assert.ok(!runs(rig, EVIL));
  });

test("a selected image stays selected when a second instance confirms the running one", async () => {
  const rig = createRig();
  const { device } = rig;
  await install(rig, GOOD, false);
  const next = smallImage(3, "3.0.3");
  rig.net = file(next);
  rig.knows(next);
  ok(await rig.call("update", { url: URL_OF("/fw.bin"), digest: digestOf(next), ...UNCONFIRMED }));
  device.engine.run('Modules.removeCached("https-ota")');
  (device.engine.require("https-ota") as any).markValid();
  rig.restart();
  assert.ok(runs(rig, next));
});

// --- H3

test("an old release, replayed, is refused though a full Storage took no newer record", async () => {
  const rig = createRig();
  const { device } = rig;
  rig.knows(GOOD);
  rig.net = offer(await sign(GOOD, { sequence: 100 }), GOOD);
  ok(await rig.call("update", signed));
  rig.restart();
  device.ota.markValid();
  assert.equal(device.ota.getStatus().sequence, 100);
  const { files } = device.storage;
  files.write("log", noise(5, Math.max(1, files.stats().free - HEADER - 64)));
  const newer = smallImage(3, "3.0.3");
  rig.knows(newer);
  rig.net = offer(await sign(newer, { sequence: 101 }), newer);
  await rig.call("update", signed);
  assert.equal(device.ota.getStatus().sequence, 100, "the record is gone");
  files.erase("log");
  files.compact();
  const older = smallImage(4, "0.9.0");
  rig.net = offer(await sign(older, { sequence: 50 }), older);
  refused(await rig.call("update", signed), "ESP_ERR_OTA_SMALL_SEC_VER");
  onlyKnownStart(rig);
});

// --- M1

/** Three slots: ota_0 runs, and the others are what `steps` makes of them. */
const three = () => createRig({ board: "toy-three", images: { ota_0: OLD } });

test("a forged image is not started by rollback() either, whichever slot it was in", async () => {
  const rig = three();
  const { device } = rig;
  await refuseEvil(rig, { partition: "ota_1" });
  device.stop();
  device.flash.load(GOOD, device.row("ota_2").offset);
  rig.knows(GOOD);
  rig.restart();
  ok(
    await rig.settle(
      device.ota.setBootPartition(device.engine.run(`({label:"ota_2",address:${device.row("ota_2").offset}})`)),
    ),
  );
  rig.restart();
  assert.equal(device.running, "ota_2");
  await refuseEvil(rig, { partition: "ota_0" });
  await rig.settle(device.ota.rollback(), 60_000);
  rig.restart();
  assert.ok(!runs(rig, EVIL), "rollback() has started it");
  onlyKnownStart(rig);
});

test("a forged image is not started by confirmAfter(), whichever slot it was in", async () => {
  const rig = three();
  const { device } = rig;
  await refuseEvil(rig, { partition: "ota_2" });
  rig.net = file(GOOD);
  rig.knows(GOOD);
  ok(await rig.call("update", { url: URL_OF("/fw.bin"), digest: digestOf(GOOD), partition: "ota_1" }));
  rig.restart();
  assert.equal(device.running, "ota_1");
  rig.net = file(EVIL);
  await rig.call("update", { url: URL_OF("/fw.bin"), digest: digestOf(smallImage(7)), partition: "ota_0" });
  void rig.settle(device.ota.confirmAfter(1000, device.engine.run("(function () { return false; })")), 60_000);
  await untilRestart(rig, 60_000);
  rig.restart();
  assert.ok(!runs(rig, EVIL), "confirmAfter() has started it");
  onlyKnownStart(rig);
});

// --- M2

test("a refused image never starts, also when otadata is lost or the old image rots", async () => {
  const rig = createRig();
  const { device } = rig;
  rig.knows(GOOD);
  rig.net = offer(await sign(GOOD), EVIL);
  refused(await rig.call("update", signed));
  assert.deepEqual(rig.intruders(), []);
  device.stop();
  const { offset } = device.row("factory");
  device.flash.load(Uint8Array.of(device.flash.peek(offset + 5000, 1)[0] ^ 1), offset + 5000);
  assert.throws(() => device.boot(), /nothing boots/, "the attacker's image is what is left to start");
});

test("setBootPartition() refuses an image that an update has refused", async () => {
  const rig = createRig();
  await refuseEvil(rig);
  const { device } = rig;
  await rig.settle(device.ota.setBootPartition(device.ota.getNextUpdatePartition()));
  rig.restart();
  assert.equal(device.running, "factory");
});

// --- M3

for (const trust of ["keys", "digest", "insecure"] as const)
  test(`one update() with ${trust} erases at most twice the sectors of its slot`, async () => {
    const rig = createRig();
    const image = buildImage({ size: 61008, seed: 2, descriptor: { version: "2.0.2" } });
    const manifest = await sign(image);
    const limit = 2 * (rig.device.row("ota_0").size / 4096);
    let answers = 0;
    // each time one byte more than ever before, and other bytes
    rig.net = paths({
      "/m.jws": text(manifest),
      "/fw.bin": () => {
        const count = Math.min(12_288 + ++answers, image.length - 1);
        const bytes = noise(answers, count);
        bytes.set(image.subarray(0, 1024));
        return {
          parts: [`HTTP/1.1 200 OK\r\nContent-Length: ${image.length}\r\nETag: "x"\r\n\r\n`, bytes],
          end: answers > 300 ? "stall" : "close",
        };
      },
    });
    const how = {
      keys: signed,
      digest: { url: URL_OF("/fw.bin"), digest: digestOf(image) },
      insecure: { url: URL_OF("/fw.bin"), insecure: true },
    };
    await rig.call("update", { ...how[trust], deadline: 3 * 3600_000 }, 6 * 3600_000);
    const erases = rig.erasesIn("ota_0");
    assert.ok(erases <= limit, `${erases} erases by ${answers} answers, wanted at most ${limit}`);
  });

// --- M4

const bootOnce = (rig: Rig) => rig.device.ota.boot(rig.device.engine.run("({ attempts: 1 })"));

/** GOOD on trial, whose first start is over if `isCounted`, and an update that a server drips. */
async function onTrialAndSlow(
  config: object = {},
  isCounted = false,
): Promise<{ rig: Rig; slow: Promise<Ended | "hangs"> }> {
  const rig = createRig();
  await install(rig, GOOD, false);
  if (isCounted) {
    await rig.settle(bootOnce(rig), 1000);
    rig.restart();
  }
  rig.net = drips(EVIL, 15_000, 500); // less than is checked: nothing is written
  const slow = rig.device.ota.update(
    rig.config({ url: URL_OF("/fw.bin"), digest: digestOf(EVIL), ...UNCONFIRMED, ...config }),
  );
  slow.then(rig.device.engine.run("(function () {})"), rig.device.engine.run("(function () {})"));
  await rig.pass(1000);
  return { rig, slow };
}

for (const how of ["confirmAfter", "boot", "rollback"] as const)
  test(`a slow server does not hold off ${how}() that rolls a bad image back`, async () => {
    const { rig } = await onTrialAndSlow({}, how === "boot");
    const { device } = rig;
    const { engine } = device;
    const orders = {
      confirmAfter: () => device.ota.confirmAfter(1000, engine.run("(function () { return false; })")),
      boot: () => bootOnce(rig),
      rollback: () => device.ota.rollback(),
    };
    void engine.call(orders[how]()).catch(() => {});
    const past = await untilRestart(rig, 10 * 60_000);
    assert.ok(device.rebootAsked, `${past / 1000} s later nothing is rolled back`);
    rig.restart();
    assert.equal(device.running, "factory");
  });

test("a slow server cannot hold an update endlessly: the default deadline is an hour", async () => {
  const rig = createRig();
  rig.net = drips(EVIL, 15_000, 2000);
  const ended = await rig.call("update", { url: URL_OF("/fw.bin"), digest: digestOf(EVIL) }, 3 * 3600_000);
  assert.equal(refused(ended).name, "ESP_ERR_TIMEOUT");
  onlyKnownStart(rig);
});

test("abort() of the module ends an update whose handle is lost", async () => {
  const rig = createRig();
  const { device } = rig;
  rig.net = file(GOOD);
  rig.knows(GOOD);
  const config = { url: URL_OF("/fw.bin"), digest: digestOf(GOOD) };
  ok(await rig.settle(device.ota.begin(rig.config(config)).then(device.engine.run("(function () {})"))));
  await rig.pass(60_000);
  refused(await rig.call("update", config), "ESP_ERR_OTA_ALREADY_IN_PROGRESS");
  assert.equal(typeof device.ota.abort, "function", "there is no abort()");
  device.ota.abort();
  ok(await rig.call("update", config));
});

// --- M5

test("another product's release of the same key is refused by the program's project", async () => {
  const rig = createRig({ images: { factory: buildImage({ size: 12288, seed: 1, descriptor: false }) } });
  const image = buildImage({ size: 12288, seed: 9, descriptor: { project: "doorlock" } });
  rig.net = offer(await sign(image, { project: "doorlock" }), image);
  refused(await rig.call("update", { ...signed, project: "espruino" }), "ESP_ERR_INVALID_VERSION");
  rig.net = offer(await sign(GOOD, { project: "espruino" }), GOOD);
  rig.knows(GOOD);
  ok(await rig.call("update", { ...signed, project: "espruino" }));
});

test("another product's manifest is refused though its version or its image runs", async () => {
  const rig = createRig();
  const theirs = smallImage(9, "1.0.1");
  for (const image of [theirs, OLD])
    for (const config of [signed, { ...signed, project: "espruino" }]) {
      rig.net = offer(await sign(image, { project: "doorlock", version: "1.0.1" }), image);
      refused(await rig.call("update", config), "ESP_ERR_INVALID_VERSION");
      refused(await rig.call("checkForUpdate", config), "ESP_ERR_INVALID_VERSION");
    }
});

// --- M6

for (const trust of ["keys", "digest"] as const)
  test(`an update with ${trust} during the trial leaves the slot to fall back to`, async () => {
    const rig = createRig();
    const { device } = rig;
    await install(rig, GOOD, false);
    assert.equal(ok(await rig.settle(device.ota.boot())), true);
    const third = smallImage(3, "3.0.3");
    rig.net = offer(await sign(third, { sequence: 8 }), EVIL);
    const before = device.slot("factory");
    const config = trust === "keys" ? signed : { url: URL_OF("/"), digest: digestOf(third) };
    refused(await rig.call("update", config), "ESP_ERR_OTA_ROLLBACK_INVALID_STATE");
    assert.ok(same(device.slot("factory"), before), "the slot to fall back to was written");
    void device.engine.call(device.ota.rollback()).catch(() => {});
    await untilRestart(rig, 60_000);
    rig.restart();
    assert.equal(device.running, "factory");
  });

// --- M7

test("a thief's highest sequence does not outlive the removal of his key", async () => {
  const rig = createRig();
  const { device } = rig;
  const next = await makeKey({ exponent: 3, name: "next" });
  rig.knows(GOOD);
  rig.net = offer(await sign(GOOD, { sequence: 2 ** 53 - 1 }), GOOD);
  await rig.call("update", signed);
  rig.restart();
  device.ota.markValid();
  const third = smallImage(3, "3.0.3");
  rig.knows(third);
  rig.net = offer(await sign(third, { sequence: 1_800_000_000 }, next), third);
  ok(await rig.call("update", { url: URL_OF("/m.jws"), keys: [next.jwk] }));
  rig.restart();
  device.ota.markValid();
  const older = smallImage(4, "0.9.0");
  rig.net = offer(await sign(older, { sequence: 1_700_000_000 }, next), older);
  refused(await rig.call("update", { url: URL_OF("/m.jws"), keys: [next.jwk] }), "ESP_ERR_OTA_SMALL_SEC_VER");
});

test("after a theft the releases of the spare key are followed, as in SECURITY.md", async () => {
  const rig = createRig();
  const { device } = rig;
  const spare = await makeKey({ exponent: 3, name: "spare" });
  const fresh = await makeKey({ exponent: 3, name: "fresh" });
  const both = { url: URL_OF("/m.jws"), keys: [key.jwk, spare.jwk] };
  async function follow(image: Uint8Array, sequence: number, by: Key, config: object): Promise<void> {
    rig.knows(image);
    rig.net = offer(await sign(image, { sequence }, by), image);
    ok(await rig.call("update", config));
    rig.restart();
    assert.ok(runs(rig, image));
    device.ota.markValid();
  }
  await follow(GOOD, 1_795_000_000, key, both);
  // the thief goes as far as a device lets him
  const highest = 1_795_000_000 + 2 ** 32;
  await follow(smallImage(3, "3.0.3"), highest, key, both);
  // 2. the highest sequence that he used
  const seen = plain(device.ota.getStatus()).sequence;
  assert.equal(seen, highest);
  // 3. the program that trusts the new key and the spare one comes with a release of the spare key, one above
  const rotated = { url: URL_OF("/m.jws"), keys: [fresh.jwk, spare.jwk] };
  await follow(smallImage(4, "4.0.4"), seen + 1, spare, rotated);
  // the thief is out, old releases are refused, and the new key's are followed
  const fifth = smallImage(5, "5.0.5");
  rig.net = offer(await sign(fifth, { sequence: seen + 2 }), fifth);
  refused(await rig.call("update", rotated), "ESP_ERR_OTA_VALIDATE_FAILED");
  rig.net = offer(await sign(fifth, { sequence: 1_796_000_000 }, fresh), fifth);
  refused(await rig.call("update", rotated), "ESP_ERR_OTA_SMALL_SEC_VER");
  await follow(fifth, seen + 2, fresh, rotated);
});

// --- M8

test("an image that was rolled back is refused signed again, and by its digest", async () => {
  const rig = createRig();
  const { device } = rig;
  rig.knows(GOOD);
  const bad = [GOOD, smallImage(3, "3.0.3")];
  for (const [i, image] of bad.entries()) {
    rig.knows(image);
    rig.net = offer(await sign(image, { sequence: 7 + i }), image);
    ok(await rig.call("update", signed));
    rig.restart();
    void device.engine.call(device.ota.rollback()).catch(() => {});
    await untilRestart(rig, 60_000);
    rig.restart();
    assert.equal(device.running, "factory");
  }
  for (const [i, image] of [...bad, ...bad].entries()) {
    rig.net = offer(await sign(image, { sequence: 20 + i, version: `9.0.${i}` }), image);
    refused(await rig.call("update", signed), "ESP_ERR_NOT_ALLOWED");
    refused(await rig.call("update", { url: URL_OF("/"), digest: digestOf(image) }), "ESP_ERR_NOT_ALLOWED");
  }
});

// --- M9, M10: processes

const shop = workshop();

const BLANKS = " ".repeat(100_000);
const SECOND_STEP = "sign fw.bin --key key.pub.jwk --out - --external --signing-input input --signature 00".split(" ");
const part = (content: string) => Buffer.from(content).toString("base64url");
const HEADER_PART = part('{"alg":"PS256","typ":"https-ota+jws","kid":"x"}');

before(async () => {
  assert.equal((await shop.run("keygen", "--out", "key.pem", "--bits", "2048")).code, 0);
  shop.put("fw.bin", GOOD);
  shop.put("m.jws", await sign(GOOD));
});

for (const [what, args, content] of [
  ["a subtype of a partition table", ["partitions", "input", "--check"], `nvs, data, n${BLANKS}x, 0x9000, 0x1000`],
  ["the type of a key", ["verify", "m.jws", "--key", "input"], `{"kty":"R${BLANKS}x","n":"AA","e":"AQAB"}`],
  ["a key of a signing input", SECOND_STEP, `${HEADER_PART}.${part(`{"a${BLANKS}x":1,"a${BLANKS}x":2}`)}`],
  ["a manifest", ["verify", "input", "--key", "key.pub.jwk"], `e30.e${BLANKS}x`],
  ["a manifest to be looked at", ["inspect", "input"], `e30.e${BLANKS}x.AAAA`],
] as const)
  test(`100,000 blanks do not hang the command: ${what}`, async () => {
    shop.put("input", content);
    const from = performance.now();
    const run = await shop.run(...args);
    assert.notEqual(run.code, null, "it did not end within 30 s");
    assert.ok(performance.now() - from < 5_000, `it took ${performance.now() - from} ms`);
    assert.ok(run.stderr.length < 2000, "a message of the whole file");
  });

test("a signing input of 20 MB is refused by what is wrong with it", async () => {
  shop.put("input", `${HEADER_PART}.${part(`{"a":"${"x".repeat(14_000_000)}"}`)}`);
  const run = await shop.run(...SECOND_STEP);
  assert.doesNotMatch(run.stderr, /call stack/);
  assert.ok(run.code === 1 || run.code === 2, `${run.code} ${run.stderr.slice(0, 200)}`);
});

test("serve: two hundred clients that read nothing do not cost a copy each", async (t) => {
  const size = 4 << 20;
  shop.put("big.bin", buildImage({ size, seed: 2 }));
  const { child, port } = await makeCheckable(t, () =>
    shop.start("serve", ".", "--http", "--host", "127.0.0.1", "--port", "0"),
  );
  const before = memoryOf(child);
  const sockets = Array.from({ length: 200 }, () => {
    const socket = net.connect(port, "127.0.0.1");
    socket.on("error", () => {});
    socket.pause();
    socket.write("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
    return socket;
  });
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  await new Promise((resolve) => setTimeout(resolve, 4000));
  const grown = memoryOf(child) - before;
  assert.ok(grown < 200, `${Math.round(grown)} MB more`);
});

// --- L1

test("save() while a handle is paused leaves no running update behind", inEngine, async () => {
  const server = await startServer();
  after(() => server.close());
  const { serveFile } = await import("../support/server.ts");
  server.on("/fw.bin", serveFile(GOOD));
  const device = createDevice({ board: "toy-factory-one", images: { factory: OLD } });
  const run = await runInEngine(
    device,
    `var config = { url: ${JSON.stringify(server.url("/fw.bin"))}, digest: ${JSON.stringify(digestOf(GOOD))}, allowSavedState: true, retries: 0 };
    var handle, saved = false;
    E.on("init", function () {
      if (!saved) return;
      flashFile = E.openFile(${JSON.stringify("flash.bin")}, "r+");
      require("https-ota").update(config).then(function () { report({ done: true }); finish(); },
        function (e) { reportError(e); finish(); });
    });
    ota.begin(config).then(function (h) {
      handle = h;
      saved = true;
      setTimeout(function () { save(); }, 10);
    }, function (e) { reportError(e); finish(); });`,
  );
  assert.deepEqual(run.reports, [{ done: true }], run.output);
});

// --- L2

test("size and digest are compared when a download is resumed, too", async () => {
  const rig = createRig();
  const { device } = rig;
  const manifest = await sign(GOOD, { image: { size: GOOD.length + 1 } });
  const cut: Net = () => ({
    parts: [`HTTP/1.1 200 OK\r\nContent-Length: ${GOOD.length}\r\nETag: "x"\r\n\r\n`, GOOD.subarray(0, 9000)],
  });
  rig.net = paths({ "/m.jws": text(manifest), "/fw.bin": cut });
  await rig.call("update", { ...signed, retries: 0 });
  rig.net = paths({ "/m.jws": text(manifest), "/fw.bin": file(GOOD, { etag: '"x"' }) });
  refused(await rig.call("update", { ...signed, retries: 0 }));
  rig.restart();
  assert.equal(device.running, "factory");
});

// --- L3

const table = (rows: [string, number, number, number, number, number][]) =>
  rows.map((one) => row(...(one.slice(0, 5) as [string, number, number, number, number])));

test("a table with two rows of one slot beside a gap is refused by every call", async () => {
  const board = boardWith(
    table([
      ["nvs", 1, 2, 0x9000, 0x3000, 0],
      ["otadata", 1, 0, 0xc000, 0x2000, 0],
      ["ota_0", 0, 0x10, 0x10000, 0x10000, 0],
      ["twin", 0, 0x10, 0x20000, 0x10000, 0],
      ["ota_2", 0, 0x12, 0x30000, 0x10000, 0],
    ]),
    "toy-three",
  );
  const rig = createRig({ board, images: { ota_0: OLD, twin: OLD } });
  const { ota } = rig.device;
  const before = rig.operations().length; // of the bootloader
  rig.net = file(GOOD);
  refused(await rig.call("update", { url: URL_OF("/"), insecure: true }), "ESP_ERR_NOT_SUPPORTED");
  refused(await rig.settle(ota.rollback()), "ESP_ERR_NOT_SUPPORTED");
  for (const call of ["getNextUpdatePartition", "getBootPartition", "getRunningPartition", "getStatus", "markValid"])
    assert.throws(
      () => ota[call](),
      (error: any) => error.name === "ESP_ERR_NOT_SUPPORTED",
      call,
    );
  assert.equal(rig.operations().length, before);
});

// --- L10

test("no control character of a server comes into a message or getStatus().last", async () => {
  const osc = "\x1b]0;owned\x07\x1b[2J\x9b31m";
  const answers: Record<string, string> = {
    "Content-Encoding": `200 OK\r\nContent-Encoding: ${osc}\r\nContent-Length: 3\r\n\r\nabc`,
    "Transfer-Encoding": `200 OK\r\nTransfer-Encoding: ${osc}\r\n\r\nabc`,
    "Content-Length": `200 OK\r\nContent-Length: ${osc}\r\n\r\nabc`,
    "Content-Range": `206 x\r\nContent-Range: bytes ${osc}\r\nContent-Length: 3\r\n\r\nabc`,
    Location: `302 x\r\nLocation: ftp://${osc}/\r\nContent-Length: 0\r\n\r\n`,
    "a relative Location": `302 x\r\nLocation: /${osc}\r\nContent-Length: 0\r\n\r\n`,
    status: `${osc} OK\r\nContent-Length: 3\r\n\r\nabc`,
  };
  const rig = createRig();
  const clean = (said: string, what: string) =>
    assert.ok(
      [...said].every((c) => (c >= " " && c <= "~") || c >= "\u00a0"),
      `${what}: ${JSON.stringify(said)}`,
    );
  for (const [what, answer] of Object.entries(answers)) {
    rig.net = () => ({ parts: [`HTTP/1.1 ${answer}`] });
    const error = refused(await rig.call("update", { url: URL_OF("/"), insecure: true, retries: 0 }));
    clean(error.message, what);
    clean(rig.device.ota.getStatus().last, what);
  }
  // what is signed comes into messages too, and is still a text of somebody else
  for (const claims of [{ chip: osc }, { board: osc }, { project: osc }, { format: osc }]) {
    rig.net = offer(await sign(GOOD, claims), GOOD);
    clean(refused(await rig.call("update", { ...signed, retries: 0 })).message, JSON.stringify(claims));
  }
});

// --- L11

test("a signed payload that is not JSON is refused, whatever the engine's parser says", async () => {
  const rig = createRig();
  const right = JSON.stringify(claimsFor(GOOD));
  const texts = {
    "a leading zero": right.replace('"sequence":7', '"sequence":07'),
    hexadecimal: right.replace('"sequence":7', '"sequence":0x7'),
    binary: right.replace('"sequence":7', '"sequence":0b111'),
    "a point without digits": right.replace('"sequence":7', '"sequence":7.'),
    "a plus": right.replace('"sequence":7', '"sequence":+7'),
    "a line comment": right.replace("{", "{//x\n"),
    "a comment": right.replace("{", "{/* x */"),
    quotes: right.replace('"2.0.2"', "'2.0.2'"),
    backticks: right.replace('"2.0.2"', "`2.0.2`"),
    "a key without quotes": right.replace('"format"', "format"),
    "a comma too many": right.replace(/}$/, ",}"),
    "no comma": right.replace('1,"project"', '1 "project"'),
    "a control character in a text": right.replace("2.0.2", "2.0\n.2"),
    "an escape that is none": right.replace("2.0.2", "2.0\\x412"),
    "another letter behind a word": right.replace('"sequence":7', '"x":trueish,"sequence":7'),
    NaN: right.replace('"sequence":7', '"x":NaN,"sequence":7'),
    undefined: right.replace('"sequence":7', '"x":undefined,"sequence":7'),
    "blanks of another kind": right.replace("{", "{\x0b"),
  };
  const taken: string[] = [];
  for (const [what, payloadText] of Object.entries(texts)) {
    assert.throws(() => JSON.parse(payloadText), what);
    rig.net = offer(forge({}, key, { payloadText }), GOOD);
    const ended = await rig.call("checkForUpdate", signed);
    if (ended === "hangs" || !ended.error) taken.push(what);
  }
  assert.deepEqual(taken, []);
});

// --- L12

test("trust is only what the configuration's own fields say", async () => {
  const rig = createRig({ net: file(EVIL) });
  const { device } = rig;
  const url = JSON.stringify(URL_OF("/"));
  const programs: Record<string, string> = {
    null: "null",
    "a number": "5",
    "a text": '"x"',
    nothing: "undefined",
    "a function": "(function () {})",
    "an array": "[]",
    "__proto__ in JSON": `JSON.parse('{"url":' + ${JSON.stringify(url)} + ',"__proto__":{"insecure":true}}')`,
    inherited: `(function () { var c = Object.create({ insecure: true }); c.url = ${url}; return c; })()`,
    "all inherited": `Object.create({ url: ${url}, insecure: true })`,
    "constructor as a field": `({ url: ${url}, insecure: true, constructor: 1 })`,
    "toString as a field": `({ url: ${url}, insecure: true, toString: function () {} })`,
    "hasOwnProperty as a field": `({ url: ${url}, insecure: true, hasOwnProperty: function () { return true; } })`,
    "valueOf as a field": `({ url: ${url}, insecure: true, valueOf: {} })`,
  };
  const wrong: string[] = [];
  for (const [what, code] of Object.entries(programs)) {
    const { engine } = device;
    const given = engine.run(code);
    for (const call of ["update", "begin"]) {
      const ended = await rig.settle(device.ota[call](given).then(engine.run("(function () { return 1; })")));
      if (ended === "hangs" || ended.error?.name !== "ESP_ERR_INVALID_ARG")
        wrong.push(`${call}(${what}): ${ended === "hangs" ? ended : (ended.error?.name ?? "taken")}`);
      if (typeof device.ota.abort === "function") device.ota.abort();
    }
    engine.run("delete Object.prototype.insecure");
    rig.restart();
  }
  assert.deepEqual(wrong, []);
  assert.equal(rig.operations().length, 0);
});

// --- L13

test("credentials go to the first origin only, also when a redirect leads back to it", async () => {
  const rig = createRig();
  const origin = "http://127.0.0.1:8070";
  rig.net = ({ path, host }) => {
    const to = (location: string) => ({
      parts: [`HTTP/1.1 302 x\r\nLocation: ${location}\r\nContent-Length: 0\r\n\r\n`],
    });
    if (path === "/fw.bin") return to("http://127.0.0.2:8071/cdn");
    if (host.startsWith("127.0.0.2")) return to(`${origin}/api/delete-account?yes`);
    return { parts: ["HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n"] };
  };
  const config = {
    url: `http://u:p@127.0.0.1:8070/fw.bin`,
    insecure: true,
    retries: 0,
    headers: { "X-Token": "secret" },
  };
  refused(await rig.call("update", config));
  const [first, ...later] = rig.asked;
  assert.equal(first.headers["x-token"], "secret");
  assert.equal(later.length, 2);
  for (const { head } of later) assert.doesNotMatch(head, /x-token|authorization/i, head);
});

// --- L14

test("a header is what it was when it was checked", async () => {
  const rig = createRig({ net: file(EVIL) });
  const { device } = rig;
  const turning = `({ url: ${JSON.stringify(URL_OF("/"))}, insecure: true, retries: 0, headers: { "X-A": {
    n: 0, toString: function () { return this.n++ ? "x\\r\\nX-Injected: yes" : "x"; } } } })`;
  const names = `({ url: ${JSON.stringify(URL_OF("/"))}, insecure: true, retries: 0, headers: { "X-A\\x7f: b": "x" } })`;
  for (const code of [turning, names]) {
    await rig.settle(device.ota.update(device.engine.run(code)));
    for (const { head } of rig.asked) assert.doesNotMatch(head, /^X-Injected/im);
  }
});
