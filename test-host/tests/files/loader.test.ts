// The loader where a way back fails, or leads nowhere: every one of them ends in the rescue, which comes to its end.
// docs/design.md#the-loader.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { plain } from "../../support/fixture.ts";
import { createFilesFixture, type FilesFixture, loaderWith, programOf } from "../../support/files-release.ts";
import { buildImage } from "../../support/images.ts";

const IMAGE = buildImage({ chip: "esp32", size: 61008, seed: 7, descriptor: { version: "2.0.2" } });
const MINUTE = 60_000;
const THROWS = "noSuchThing.x();";

const statusOf = ({ device }: FilesFixture) => plain(device.ota.getStatus()) as any;

async function install(fixture: FilesFixture, ...release: Parameters<FilesFixture["install"]>): Promise<void> {
  const { error } = await fixture.install(...release);
  assert.ifError(error ? new Error(`${error.name}: ${error.message}`) : null);
}

/** Lets at most `minutes` go by, until it restarts; it does so here. What its programs throw is meant. */
async function live({ device }: FilesFixture, minutes: number, step = 10_000): Promise<boolean> {
  for (let ms = 0; ms < minutes * MINUTE && !device.rebootAsked; ms += step) {
    await device.engine.advance(step).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const restarted = device.rebootAsked;
  if (restarted) device.restart();
  return restarted;
}

/** A device whose loader fetches release 9. */
async function withRescue(t: TestContext, image?: Uint8Array): Promise<FilesFixture> {
  const fixture = await createFilesFixture(t);
  const good = await fixture.publish({ "app.js": programOf("9") }, { version: "9.0", sequence: 5000 }, image);
  fixture.device.storage.set(".boot0", loaderWith(good));
  fixture.device.restart();
  return fixture;
}

// --- A program that has confirmed itself

test("a program that confirms itself and then throws does not cost the device its firmware", async (t) => {
  const fixture = await createFilesFixture(t);
  const { device } = fixture;
  await install(fixture, { "app.js": programOf("1") }, { version: "1.0" }, IMAGE);
  device.restart();
  fixture.ask("ota.markValid()");
  await install(fixture, { "app.js": programOf("2", `ota.markValid(); ${THROWS}`) }, { version: "2.0" });
  device.restart();
  assert.equal(await live(fixture, 30), false, "it restarted");
  const { running, trial, rolledBack, rollbackReason } = statusOf(fixture);
  assert.deepEqual([running, trial, rolledBack, rollbackReason], ["ota_0", null, [], ""]);
});

test("a program that confirms itself and then throws is rescued", async (t) => {
  const fixture = await withRescue(t);
  await install(fixture, { "app.js": programOf("2", `ota.markValid(); ${THROWS}`) });
  fixture.device.restart();
  assert.equal(await live(fixture, 1), true, fixture.device.engine.console.join());
  assert.equal(fixture.ask("running"), "9");
});

test("a program that rolls back without a restart and then throws is left all the same", async (t) => {
  const fixture = await createFilesFixture(t);
  const { device } = fixture;
  await install(fixture, { "app.js": programOf("1") });
  device.restart();
  fixture.ask("ota.markValid()");
  await install(fixture, { "app.js": programOf("2", `ota.rollback({ restart: false }); ${THROWS}`) });
  device.restart();
  assert.equal(await live(fixture, 1), true, device.engine.console.join());
  assert.equal(fixture.ask("running"), "1");
});
