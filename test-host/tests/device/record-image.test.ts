// The boot record is about images, not slots: what comes by USB, by a reset of JavaScript alone or without a download must
// not be taken for what an update installed.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Device } from "../../sim/device.ts";
import { HEADER } from "../../sim/espruino/chain.ts";
import { buildImage, noise } from "../../support/images.ts";
import { failsWith, plain, type Fixture, settle, createFixture } from "../../support/fixture.ts";
import { digestOf, startSigned } from "../../support/signed.ts";

const OLD = buildImage({ size: 12000, seed: 1 });
const IMAGE = buildImage({ size: 12000, seed: 2 });
const BY_USB = buildImage({ size: 12000, seed: 9 });
const start = { image: IMAGE, images: { factory: OLD } };

const statusOf = (device: Device): any => plain(device.ota.getStatus());

/** boot() in the running image; "restarts" when it asked for that. */
async function boot(device: Device): Promise<unknown> {
  const outcome: any = await settle(device, device.ota.boot()).catch((error) => ({ error }));
  if (device.rebootAsked) return "restarts";
  assert.ifError(outcome.error);
  return outcome.result;
}

async function rollBack(device: Device): Promise<void> {
  void settle(device, device.ota.rollback()).catch(() => {});
  for (let pass = 0; pass < 200 && !device.rebootAsked; pass++) await device.engine.advance(1);
  assert.ok(device.rebootAsked);
  device.restart();
}

/** What load() and reset() leave of a property of E. */
const loadProgram = (device: Device) => device.engine.run("delete E.otaRestartPending; delete E.otaLock; 1");

async function install(fixture: Fixture): Promise<void> {
  assert.ifError((await fixture.update({ digest: digestOf(IMAGE) })).error);
}

test("load() between an update and its restart takes no trial away", async (t) => {
  const fixture = await createFixture(t, start);
  const { device } = fixture;
  await install(fixture);
  loadProgram(device);
  assert.ok((await fixture.update({ url: fixture.server.url("/none"), digest: digestOf(IMAGE) })).error);
  device.restart();
  assert.equal(device.running, "ota_0");
  for (const counted of [true, true, true, "restarts"]) {
    assert.notEqual(statusOf(device).trial, null);
    assert.equal(await boot(device), counted);
    device.restart();
  }
  assert.equal(device.running, "factory");
});

test("an image that came by USB is not given up for the one that was in its slot", async (t) => {
  const fixture = await createFixture(t, start);
  const { device } = fixture;
  await install(fixture);
  device.restart();
  await rollBack(device);
  device.flash.load(BY_USB, device.row("ota_0").offset);
  await settle(device, device.ota.setBootPartition(device.ota.getNextUpdatePartition()));
  device.restart();
  assert.equal(device.running, "ota_0");
  assert.equal(await boot(device), false);
  assert.equal(statusOf(device).trial, null);
});

test("rolling back an image that came by USB bans nothing that an update installed", async (t) => {
  const fixture = await createFixture(t, start);
  const { device } = fixture;
  await install(fixture);
  device.restart();
  device.ota.markValid();
  device.flash.load(BY_USB, device.row("ota_0").offset);
  device.restart();
  await rollBack(device);
  assert.equal(device.running, "factory");
  assert.deepEqual(statusOf(device).rolledBack, []);
});

test("a slot is selected without a download only where its trial can be recorded", async (t) => {
  const signed = await startSigned(t, start);
  const { device } = signed.fixture;
  assert.ifError((await signed.update(IMAGE)).error);
  device.restart();
  device.ota.markValid();
  const { files } = device.storage as any;
  files.write("filler", noise(5, files.stats().free - HEADER - 100));
  let refused = 0;
  for (let i = 0; i < 12; i++) {
    const outcome = await signed.update(i % 2 ? IMAGE : OLD);
    if (outcome.error) {
      failsWith(outcome, "NO_MEM");
      refused++;
      break;
    }
    device.restart();
    assert.equal(await boot(device), true, `start ${i} was counted`);
    device.ota.markValid();
  }
  assert.equal(refused, 1);
});

test("a slot that runs is hashed once, also when an update had begun to write it", async (t) => {
  const signed = await startSigned(t, start);
  const { fixture } = signed;
  const { device } = fixture;
  failsWith(await fixture.update({ digest: digestOf(OLD) }), "OTA_VALIDATE_FAILED");
  device.flash.load(IMAGE, device.row("ota_0").offset);
  await settle(device, device.ota.setBootPartition(device.ota.getNextUpdatePartition()));
  device.restart();
  assert.equal((await signed.check(IMAGE)).result.available, false);
  const { free } = statusOf(device).storage;
  const reads = device.flash.counts.bytesRead;
  for (let i = 0; i < 20; i++) assert.equal((await signed.check(IMAGE)).result.available, false);
  assert.ok(device.flash.counts.bytesRead - reads < 20 * IMAGE.length, "it was hashed again");
  assert.equal(statusOf(device).storage.free, free);
});

test("of a file with trailing bytes the image's own end tells one image from another", async (t) => {
  const signed = await startSigned(t, start);
  const { device } = signed.fixture;
  const padded = (image: Uint8Array) => new Uint8Array(Buffer.concat([image, Buffer.alloc(4096)]));
  assert.ifError((await signed.update(padded(IMAGE))).error);
  device.restart();
  device.ota.markValid();
  device.flash.load(padded(BY_USB), device.row("ota_0").offset);
  device.restart();
  assert.equal((await signed.check(padded(IMAGE))).result.available, true);
});
