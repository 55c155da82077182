// Where a mutant is caught that no loss of power is needed for: each scenario holds with the guard and throws without it.

import assert from "node:assert/strict";
import { buildEntry, STATE } from "../sim/bootloader.ts";
import { SECTOR } from "../sim/flash.ts";
import {
  bootsFrom,
  createFixture,
  failsCleanly,
  failsWith,
  keepsOldImage,
  newImage,
  succeeds,
  touchesNothing,
  updateFrom,
} from "../support/fixture.ts";
import { fsverity } from "../support/fsverity.ts";
import { buildImage, padTo } from "../support/images.ts";
import { makeKey } from "../support/release.ts";
import { redirect, serveFile, shorter, startServer, status } from "../support/server.ts";

/** Throws when the promise is broken. */
export type Scenario = (t: { after(fn: () => unknown): void }, bundle: string) => Promise<void>;

const IMAGE = buildImage({ size: 12000, seed: 2 });
const OLD = buildImage({ size: 12000, seed: 1 });
const HOUR = 3_600_000;

export const silentErase: Scenario = async (t, bundle) => {
  const fixture = await createFixture(t, {
    bundle,
    image: IMAGE,
    load: { ota_0: new Uint8Array(SECTOR * 3).fill(0xff) },
  });
  // the same bytes as in the new image: the write reads back well all the same
  fixture.device.flash.load(IMAGE.slice(SECTOR, SECTOR + 64), fixture.device.row("ota_0").offset + SECTOR);
  fixture.device.flash.faults = { silentErase: () => true };
  failsWith(await fixture.update(), "FLASH_OP_FAIL");
};

export const lostWriteToOtadata: Scenario = async (t, bundle) => {
  const fixture = await createFixture(t, { bundle, image: IMAGE });
  fixture.device.flash.faults = { dropWrite: (addr) => addr < 0x10000 };
  const outcome = await fixture.update();
  assert.equal(bootsFrom(fixture.device, fixture.device.flash.snapshot()), outcome.error ? "factory" : "ota_0");
};

export const cutImageForSelectedSlot: Scenario = async (t, bundle) => {
  const otadata = [buildEntry(1, STATE.VALID), buildEntry(2, STATE.NEW)];
  const images = { ota_0: OLD, ota_1: buildImage({ size: 12000, seed: 7 }) };
  const fixture = await createFixture(t, {
    bundle,
    board: "toy-two",
    images,
    otadata: [otadata[0]],
    image: IMAGE.subarray(0, 9000),
  });
  const { device } = fixture;
  device.flash.load(otadata[1], device.otadata().address + SECTOR);
  failsWith(await fixture.update(), "OTA_VALIDATE_FAILED");
  device.restart();
  assert.equal(device.boots.at(-1)?.selected, "ota_0", "a half-written slot is selected");
};

export const imageOfAnotherChip: Scenario = async (t, bundle) => {
  const image = buildImage({ size: 12000, seed: 2 });
  image[12] = 5;
  const fixture = await createFixture(t, { bundle, image });
  await failsCleanly(fixture, await fixture.update(), "INVALID_VERSION");
};

export const redirectToHttp: Scenario = async (t, bundle) => {
  const fixture = await createFixture(t, { bundle, tls: true });
  const open = await startServer();
  t.after(() => open.close());
  open.on("/fw.bin", serveFile(IMAGE));
  const outcome = await updateFrom(fixture, redirect(302, open.url("/fw.bin")));
  await failsCleanly(fixture, outcome, "HTTP_REDIRECT_DOWNGRADE");
};

export const redirectToAnotherOrigin: Scenario = async (t, bundle) => {
  const fixture = await createFixture(t, { bundle });
  const other = await startServer();
  t.after(() => other.close());
  other.on("/fw.bin", serveFile(IMAGE));
  await updateFrom(fixture, redirect(302, other.url("/fw.bin")), { headers: { Authorization: "Bearer secret" } });
  assert.ok(other.requests.length === 1 && !other.requests[0].rawHead.includes("secret"));
};

export const redirectAwayAndBack: Scenario = async (t, bundle) => {
  const fixture = await createFixture(t, { bundle });
  const other = await startServer();
  t.after(() => other.close());
  other.on("/fw.bin", redirect(302, fixture.server.url("/home.bin")));
  fixture.server.on("/home.bin", serveFile(IMAGE));
  await updateFrom(fixture, redirect(302, other.url("/fw.bin")), { headers: { Authorization: "Bearer secret" } });
  assert.deepEqual(
    fixture.server.requests.map(({ rawHead }) => rawHead.includes("secret")),
    [true, false],
  );
};

export const imageWithStatus404: Scenario = async (t, bundle) => {
  const fixture = await createFixture(t, { bundle });
  await failsCleanly(fixture, await updateFrom(fixture, status(404, {}, IMAGE)), "FAIL", { retry: true });
};

export const digestOfAnotherImage: Scenario = async (t, bundle) => {
  const fixture = await createFixture(t, { bundle, image: IMAGE });
  const digest = `fsverity-sha256:${fsverity(newImage())}`;
  await failsCleanly(fixture, await fixture.update({ digest }), "OTA_VALIDATE_FAILED", { touched: ["ota_0"] });
};

export const updateOfTheRunningSlot: Scenario = async (t, bundle) => {
  const fixture = await createFixture(t, { bundle });
  await failsCleanly(fixture, await fixture.update({ partition: "factory" }), "OTA_PARTITION_CONFLICT");
};

export const twoUpdatesAtOnce: Scenario = async (t, bundle) => {
  const fixture = await createFixture(t, { bundle });
  const first = fixture.outcome(fixture.device.ota.update(fixture.config()));
  const second = fixture.outcome(fixture.device.ota.update(fixture.config()));
  // a first one that lost its lock to the second never ends: only the end of the fixture ends it
  first.catch(() => {});
  failsWith(await second, "OTA_ALREADY_IN_PROGRESS", true);
  await first;
};

export const fileLongerThanTheSlot: Scenario = async (t, bundle) => {
  const fixture = await createFixture(t, { bundle, image: padTo(newImage(), 0x10001) });
  await failsCleanly(fixture, await fixture.update(), "INVALID_SIZE");
};

export const fileShorterThanAnnounced: Scenario = async (t, bundle) => {
  const fixture = await createFixture(t, { bundle });
  const outcome = await updateFrom(fixture, shorter(IMAGE, 3000));
  await failsCleanly(fixture, outcome, "HTTP_INCOMPLETE_DATA", { touched: ["ota_0"], retry: true });
};

export const entryOfTheRunningSlot: Scenario = async (t, bundle) => {
  const otadata = [buildEntry(1, STATE.VALID)];
  const images = { ota_0: OLD };
  const fixture = await createFixture(t, { bundle, board: "toy-two", images, otadata, image: IMAGE });
  const before = fixture.device.otadata().bytes.slice(0, 32);
  const outcome = await fixture.update();
  assert.deepEqual(fixture.device.otadata().bytes.slice(0, 32), before);
  await succeeds(fixture, outcome, "ota_1");
};

export const selectionOfFactory: Scenario = async (t, bundle) => {
  const images = {
    factory: OLD,
    ota_0: buildImage({ size: 12000, seed: 3 }),
    ota_1: buildImage({ size: 12000, seed: 4 }),
  };
  const otadata = [buildEntry(2, STATE.VALID), buildEntry(3, STATE.VALID)];
  const fixture = await createFixture(t, { bundle, board: "toy-factory-two", images, otadata });
  const { device } = fixture;
  const partition = { ...device.row("factory"), address: device.row("factory").offset };
  const seen: unknown[] = [];
  device.flash.onOp = (_op, phase) => phase === "after" && seen.push(bootsFrom(device, device.flash.snapshot()));
  await device.engine.call(device.ota.setBootPartition(partition));
  assert.deepEqual(seen, ["ota_0", "factory"]);
};

export const configurationWithoutTrust: Scenario = async (t, bundle) => {
  const fixture = await createFixture(t, { bundle });
  const config = fixture.device.engine.run(`({ url: ${JSON.stringify(fixture.server.url("/fw.bin"))} })`);
  failsWith(await fixture.outcome(fixture.device.ota.update(config)), "INVALID_ARG");
  touchesNothing(fixture);
  keepsOldImage(fixture);
};

export const lookThatNeverBegins: Scenario = async (t, bundle) => {
  const fixture = await createFixture(t, { bundle });
  const { device, server } = fixture;
  server.on("/m.jws", status(404));
  const { jwk } = await makeKey({ exponent: 3 });
  const config = { url: server.url("/m.jws"), keys: [jwk], every: 8 * HOUR, perDay: 1000, retries: 0 };
  // the timer of the second look fires, and the engine has no JsVar for its callback
  device.engine.run(`var lost = false, timeout = setTimeout;
    setTimeout = function (f, ms) {
      if (lost || ms < 40000 || ms > 80000) return timeout(f, ms);
      lost = true;
      return timeout(function () {}, ms);
    };`);
  (device.engine.run(`(function (ota) { ota.poll(${JSON.stringify(config)}); })`) as any)(device.ota);
  for (let minute = 0; minute < 6 * 60 && server.requests.length < 2; minute++) {
    await device.engine.advance(60_000);
    await new Promise((resolve) => setTimeout(resolve, 3));
  }
  assert.equal(server.requests.length, 2, "no look after one whose timer fired in vain");
};
