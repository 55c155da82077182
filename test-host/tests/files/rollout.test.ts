// A release that reaches devices one after the other: docs/formats.md#rollout.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { createFixture, failsWith, plain } from "../../support/fixture.ts";
import { buildImage } from "../../support/images.ts";
import { type Claims, claimsFor, makeKey, signManifest } from "../../support/release.ts";
import { buildWith } from "../../support/mutate.ts";
import { serveFile } from "../../support/server.ts";

const RUNNING = buildImage({ chip: "esp32", size: 60000, seed: 1 });
const IMAGE = buildImage({ chip: "esp32", size: 61008, seed: 2, descriptor: { version: "2.0.2" } });

/** The rule, written down once more: what a fleet owner can compute. */
const bucketOf = (serial: string, sequence: number): number =>
  createHash("sha256").update(`${serial}.${sequence}`).digest().readUInt32LE(0) / 2 ** 32;

const serialOf = (n: number): string =>
  `240ac4${n.toString(16).padStart(2, "0").slice(0, 2)}-${n.toString(16).padStart(6, "0")}`;

test("of 10,000 serial numbers a share is as large as it says", async (t) => {
  const count = 10_000;
  const { device } = await createFixture(t);
  // the device's own file, in the virtual Espruino
  device.engine.addModule("rollout", await buildWith([], "trust/rollout.ts"));
  const { bucket } = device.engine.require("rollout");
  const all = Array.from({ length: count }, (_, n) => [bucket(serialOf(n), 7), bucket(serialOf(n), 8)] as number[]);
  for (let n = 0; n < count; n += 97) assert.equal(all[n][0], bucketOf(serialOf(n), 7), serialOf(n));
  for (const share of [1, 10, 50, 90]) {
    const p = share / 100;
    const sigma = Math.sqrt(count * p * (1 - p));
    for (const k of [0, 1]) {
      const hit = all.filter((pair) => pair[k] * 100 < share).length;
      assert.ok(Math.abs(hit - count * p) < 3 * sigma, `${share} %: ${hit} of ${count}`);
    }
    const both = all.filter(([a, b]) => a * 100 < share && b * 100 < share).length;
    const expected = count * p * p;
    assert.ok(
      Math.abs(both - expected) < 3 * Math.sqrt(expected) + 1,
      `${share} %: ${both} in both, ${expected} expected`,
    );
  }
});

async function start(t: Parameters<typeof createFixture>[0], serial: string) {
  const fixture = await createFixture(t, { image: IMAGE, images: { factory: RUNNING }, engine: { serial } });
  const key = await makeKey({ exponent: 3 });
  const offer = async (rollout: unknown, changes: Claims = {}, config: object = {}) => {
    const claims = claimsFor(IMAGE, { format: 2, rollout, ...changes });
    fixture.server.on("/m.jws", serveFile(Buffer.from(await signManifest(claims, key))));
    return { url: fixture.server.url("/m.jws"), keys: [key.jwk], ...config };
  };
  const check = async (rollout: unknown, config: object = {}) => {
    const given = fixture.config((await offer(rollout, {}, config)) as never);
    return fixture.outcome(fixture.device.ota.checkForUpdate(given));
  };
  return { fixture, offer, check };
}

/** A serial number whose bucket for sequence 7 is so. */
function serialWith(holds: (bucket: number) => boolean): string {
  for (let n = 0; ; n++) if (holds(bucketOf(serialOf(n), 7))) return serialOf(n);
}

test("share: a device inside takes the release, one outside says when it is due", async (t) => {
  const inside = await start(
    t,
    serialWith((at) => at < 0.3),
  );
  assert.deepEqual(
    [(await inside.check({ share: 30 })).result.available, (await inside.check({ share: 0 })).result.available],
    [true, false],
  );
  const outside = await start(
    t,
    serialWith((at) => at > 0.31),
  );
  const { result } = await outside.check({ share: 30 });
  assert.deepEqual([result.available, result.due], [false, -1]);
  assert.deepEqual((await outside.check({ share: 100 })).result.due, 0);
  const config = await outside.offer({ share: 30 });
  assert.deepEqual((await outside.fixture.update(config as never)).result, { upToDate: false, due: -1 });
  assert.equal(
    outside.fixture.server.requests.some(({ path }) => path === "/fw.bin"),
    false,
  );
  const handle = await outside.fixture.outcome(
    outside.fixture.device.ota.begin(outside.fixture.config(config as never)),
  );
  assert.match(failsWith(handle, "NOT_ALLOWED", true).message, /rollout has not reached/);
  // the owner's own device
  assert.equal(
    (await outside.fixture.update({ ...config, allowEarly: true } as never)).result?.partition.label,
    "ota_0",
  );
});

test("start and hours: due at its place between them, not due without a clock", async (t) => {
  const serial = serialWith((at) => at > 0.4 && at < 0.6);
  const { fixture, check } = await start(t, serial);
  const place = bucketOf(serial, 7);
  const now = Math.floor(Date.now() / 1000);
  const rollout = { start: now - 3600, hours: 10 };
  const due = Math.floor(rollout.start + place * 36_000);
  assert.deepEqual(plain((await check(rollout)).result.due), due);
  fixture.device.engine.run(`setTime(${due + 1})`);
  assert.equal((await check(rollout)).result.available, true);
  fixture.device.engine.run("setTime(5)");
  const unset = await check(rollout);
  assert.deepEqual([unset.result.available, unset.result.due], [false, due]);
});

for (const [what, claims, says] of [
  ["in format 1", { format: 1, rollout: { share: 5 } }, /claim rollout needs format 2/],
  ["above 100", { rollout: { share: 101 } }, /at most 100/],
  ["of half a percent", { rollout: { share: 0.5 } }, /claim rollout.share/],
  ["of both kinds", { rollout: { share: 5, start: 1, hours: 1 } }, /one of them/],
  ["without hours", { rollout: { start: 1 } }, /claim rollout.hours/],
  ["that is a text", { rollout: "10%" }, /claim rollout/],
  ["that is null", { rollout: null }, /claim rollout/],
] as [string, Claims, RegExp][])
  test(`a rollout ${what} refuses the manifest`, async (t) => {
    const { fixture, offer } = await start(t, serialOf(1));
    const outcome = await fixture.update((await offer(undefined, claims)) as never);
    assert.match(failsWith(outcome, "INVALID_RESPONSE").message, says);
  });
