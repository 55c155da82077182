// Trial boots on bootloaders without rollback (docs/design.md#trial-boots), and what a device says of itself. With factory + ota_0, the
// table of a stock classic board, unless a test says otherwise. What power loss does to all this: the campaigns.

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { buildEntry, STATE } from "../../sim/bootloader.ts";
import type { Device } from "../../sim/device.ts";
import { fsverity } from "../../support/fsverity.ts";
import { mutations } from "../../support/images.ts";
import { behaves, type Config, plain, type Fixture, settle, createFixture } from "../../support/fixture.ts";

const FILE = ".https-ota";
/** The boot record; FILE alone is that of versions before 0.2. */
const FILES = [`${FILE}0`, `${FILE}1`];

/** Writes of the boot record since then. */
function countWrites(device: Device): () => number {
  let writes = 0;
  device.storage.onWrite = (name) => {
    if (name.startsWith(FILE)) writes++;
  };
  return () => writes;
}

const byDigest = (fixture: Fixture): Config => ({ digest: `fsverity-sha256:${fsverity(fixture.image)}` });

/** A device that has installed an image and started it, unconfirmed. */
async function onTrial(t: TestContext): Promise<Fixture> {
  const fixture = await createFixture(t);
  assert.ifError((await fixture.update(byDigest(fixture))).error);
  fixture.device.restart();
  assert.equal(fixture.device.running, "ota_0");
  return fixture;
}

/** boot() in the running image; "restarts" when it asked for that. */
async function boot(fixture: Fixture, attempts = 3): Promise<unknown> {
  const { device } = fixture;
  const { engine } = device;
  const answer = settle(device, device.ota.boot(engine.run(`({ attempts: ${attempts} })`))).catch((error) => ({
    error,
  }));
  const outcome: any = await answer;
  if (device.rebootAsked) return "restarts";
  assert.ifError(outcome.error);
  return outcome.result;
}

const statusOf = (fixture: Fixture): any => plain(fixture.device.ota.getStatus());

// --- boot()

test("an unconfirmed image has the starts it is given, then the old slot runs again", async (t) => {
  const fixture = await onTrial(t);
  const { device } = fixture;
  const writes = countWrites(device);
  for (let start = 1; start <= 3; start++) {
    assert.equal(await boot(fixture), true);
    assert.equal(writes(), start, "Storage is written once at each start on trial");
    device.restart();
    assert.equal(device.running, "ota_0");
  }
  assert.equal(await boot(fixture), "restarts");
  assert.equal(writes(), 4, "and once when the image is given up");
  device.restart();
  for (let start = 0; start < 3; start++) {
    assert.equal(device.running, "factory");
    assert.equal(await boot(fixture), false);
    device.restart();
  }
  assert.equal(writes(), 4, "and never by an image that is on no trial");
  behaves(fixture);
});

test("onTrial is told the number of this start and of those allowed", async (t) => {
  const fixture = await onTrial(t);
  const { device } = fixture;
  const tell = () => {
    device.engine.run("var told = []");
    const options = device.engine.run("({ attempts: 5, onTrial: function (n, of) { told.push(n, of); } })");
    return device.engine.call(device.ota.boot(options)).then((result) => [result, plain(device.engine.run("told"))]);
  };
  assert.deepEqual(await tell(), [true, [1, 5]]);
  device.restart();
  assert.deepEqual(await tell(), [true, [2, 5]]);
  assert.deepEqual(statusOf(fixture).trial, { boots: 2, previous: "factory" });
  device.ota.markValid();
  const writes = countWrites(device);
  assert.equal(statusOf(fixture).trial, null);
  for (let start = 0; start < 6; start++) {
    device.restart();
    assert.deepEqual(await tell(), [false, []]);
    assert.equal(device.running, "ota_0");
  }
  assert.equal(writes(), 0);
  behaves(fixture);
});

test("without an update boot() writes nothing, whatever the boot record holds", async (t) => {
  const fixture = await createFixture(t);
  const { device } = fixture;
  const writes = countWrites(device);
  const files = [
    null,
    "\xff\xff\xff\xff",
    "{",
    "null",
    "7",
    '"x"',
    "[]",
    '{"slot":1,"boots":"x"}',
    '{"slot":"ota_7","previous":"ota_9","boots":2}',
    '{"slot":"ota_0","previous":"factory","boots":99}', // it was selected, and has never started
    '{"__proto__":{"slot":"factory"},"boots":1e99}',
    '{"slot":["factory"],"boots":1}',
  ];
  for (const text of files)
    for (const name of [FILE, ...FILES]) {
      if (text !== null) device.storage.set(name, Buffer.from(text, "latin1"));
      assert.equal(await boot(fixture), false, `${name}: ${text}`);
      assert.equal(writes(), 0, `${name}: ${text}`);
      assert.equal(statusOf(fixture).trial, null, `${name}: ${text}`);
      device.restart();
      assert.equal(device.running, "factory");
      device.storage.delete(name);
    }
  behaves(fixture);
});

/** What becomes of a file of the boot record; null: it is gone. */
const DAMAGES: Record<string, (file: Uint8Array) => Uint8Array | null> = {
  lost: () => null,
  torn: (file) => file.map((byte, i) => (i % 64 < 30 ? byte : 0xff)),
  foreign: () => Buffer.from('{"slot":["ota_0"],"boots":{}}'),
};

for (const [what, damage] of Object.entries(DAMAGES))
  test(`a boot record that is ${what} ends a trial, and the running image goes on`, async (t) => {
    const fixture = await onTrial(t);
    const { device } = fixture;
    assert.notEqual(statusOf(fixture).trial, null);
    for (const name of FILES) {
      const file = device.storage.get(name);
      const damaged = file && damage(file);
      if (damaged) device.storage.set(name, damaged);
      else device.storage.delete(name);
    }
    const writes = countWrites(device);
    for (let start = 0; start < 5; start++) {
      assert.equal(await boot(fixture, 1), false);
      device.restart();
      assert.equal(device.running, "ota_0");
    }
    assert.equal(writes(), 0);
    behaves(fixture);
  });

for (const attempts of ["0", "-1", "NaN", "'x'", "{}"])
  test(`boot({ attempts: ${attempts} }) is refused, and counts nothing`, async (t) => {
    const fixture = await onTrial(t);
    const { device } = fixture;
    const writes = countWrites(device);
    const options = device.engine.run(`({ attempts: ${attempts} })`);
    const { error } = await settle(device, device.ota.boot(options));
    assert.equal(error?.name, "ESP_ERR_INVALID_ARG");
    assert.equal(writes(), 0);
  });

// --- confirmAfter()

for (const [what, check, good] of [
  ["says true", "return true", true],
  ["says false", "return false", false],
  ["says something else", "return 1", false],
  ["says nothing", "", false],
  ["throws", "throw new Error('sensor')", false],
] as const)
  test(`confirmAfter: a check that ${what} ${good ? "confirms" : "rolls back"}, and not before its time`, async (t) => {
    const fixture = await onTrial(t);
    const { device } = fixture;
    assert.equal(await boot(fixture, 2), true);
    const promise = device.ota.confirmAfter(60000, device.engine.run(`(function () { ${check} })`));
    const settled = settle(device, promise).catch(() => {});
    await device.engine.advance(59000);
    assert.notEqual(statusOf(fixture).trial, null, "before its time");
    await device.engine.advance(1001);
    if (good) assert.deepEqual(await settled, { result: true });
    for (let pass = 0; pass < 200 && !good && !device.rebootAsked; pass++) await device.engine.advance(1);
    assert.equal(device.rebootAsked, !good);
    for (let start = 0; start < 3; start++) {
      device.restart();
      assert.equal(device.running, good ? "ota_0" : "factory");
      assert.equal(await boot(fixture, 2), false);
    }
    behaves(fixture);
  });

test("confirmAfter leaves an image alone that is on no trial, whatever its check says", async (t) => {
  const fixture = await createFixture(t);
  const { device } = fixture;
  const promise = device.ota.confirmAfter(1000, device.engine.run("(function () { return false; })"));
  const settled = settle(device, promise);
  await device.engine.advance(1001);
  assert.deepEqual(await settled, { result: true });
  assert.equal(device.rebootAsked, false);
  assert.equal(device.flash.counts.writes, 0);
});

// --- An image that was rolled back

async function rollBack({ device }: Fixture): Promise<void> {
  void settle(device, device.ota.rollback()).catch(() => {});
  for (let pass = 0; pass < 200 && !device.rebootAsked; pass++) await device.engine.advance(1);
  device.restart();
  assert.equal(device.running, "factory");
}

async function rolledBack(t: TestContext): Promise<Fixture> {
  const fixture = await onTrial(t);
  await rollBack(fixture);
  return fixture;
}

test("an image that was rolled back has its own error, until allowRolledBack", async (t) => {
  const fixture = await rolledBack(t);
  const { device } = fixture;
  const digest = byDigest(fixture);
  const writes = countWrites(device);
  const erases = device.flash.counts.erases;
  const refused = await fixture.update(digest);
  assert.equal(refused.error?.name, "ESP_ERR_NOT_ALLOWED");
  assert.match(refused.error?.message ?? "", /rolled back on this device/);
  assert.equal(refused.error?.retry, false);
  assert.equal(device.flash.counts.erases, erases);
  assert.equal(writes(), 0);
  const names = new Set<string>();
  for (const config of [
    { digest: `fsverity-sha256:${"0".repeat(64)}` },
    { url: fixture.server.url("/nothing") },
    { partition: "factory" },
    { partition: "x" },
  ]) {
    const { error } = await fixture.update(config);
    names.add(error?.name ?? "none");
  }
  assert.ok(names.size >= 3 && !names.has("ESP_ERR_NOT_ALLOWED"), [...names].join());
  const allowed = await fixture.update({ ...digest, allowRolledBack: true });
  assert.ifError(allowed.error);
  device.restart();
  assert.equal(device.running, "ota_0");
});

test("an image that is rolled back after markValid() is remembered too", async (t) => {
  const fixture = await onTrial(t);
  const { device } = fixture;
  device.ota.markValid();
  const writes = countWrites(device);
  device.ota.markValid();
  assert.equal(writes(), 0, "it was confirmed already");
  assert.equal(statusOf(fixture).trial, null);
  await rollBack(fixture);
  assert.deepEqual(statusOf(fixture).rolledBack, [byDigest(fixture).digest]);
  assert.equal((await fixture.update(byDigest(fixture))).error?.name, "ESP_ERR_NOT_ALLOWED");
});

test("another image than the one that was rolled back is welcome", async (t) => {
  const fixture = await rolledBack(t);
  const other = mutations.checksum(fixture.image);
  assert.notEqual(fsverity(other), fsverity(fixture.image));
  const { error } = await fixture.update({ digest: `fsverity-sha256:${fsverity(other)}` });
  assert.notEqual(error?.name, "ESP_ERR_NOT_ALLOWED");
});

// --- markValid()

for (const board of ["toy-two", "toy-factory-two"])
  for (const how of ["an update", "setBootPartition()"])
    test(`markValid() after ${how} and before the restart leaves the choice (${board})`, async (t) => {
      const fixture = await createFixture(t, { board });
      const { device } = fixture;
      assert.ifError((await fixture.update()).error);
      const old = device.ota.getRunningPartition();
      device.restart();
      const running = device.ota.getRunningPartition();
      if (how === "an update") assert.ifError((await fixture.update()).error);
      else await device.engine.call(device.ota.setBootPartition(old));
      const selected = device.ota.getBootPartition().label;
      assert.notEqual(selected, running.label);
      device.ota.markValid();
      assert.equal(device.ota.getBootPartition().label, selected);
      // an image without an entry needs no mark
      if (board === "toy-factory-two" && how === "an update") assert.equal(device.ota.getState(running), STATE.VALID);
      device.restart();
      assert.equal(device.running, selected);
      assert.equal(device.boots.at(-1)?.fellBack, false);
      behaves(fixture);
    });

// --- getStatus()

function storageOf({ storage }: Device): { free: number; trash: number } {
  const { free, trash } = storage.files.stats();
  return { free, trash: trash.bytes };
}

test("getStatus says what is in every slot, the last result, and what was rolled back", async (t) => {
  const fixture = await createFixture(t);
  const { device } = fixture;
  const first = statusOf(fixture);
  assert.deepEqual(
    [first.running, first.boot, first.next, first.differs, first.last],
    ["factory", "factory", "ota_0", "", ""],
  );
  assert.equal(first.trial, null);
  assert.deepEqual(first.rolledBack, []);
  assert.equal(first.version, device.engine.run("process.env.VERSION"));
  assert.deepEqual(first.storage, plain(storageOf(device)));
  assert.deepEqual(
    first.slots.map((slot: any) => [slot.label, slot.state]),
    [
      ["ota_0", undefined],
      ["factory", undefined],
    ],
  );
  await fixture.update({ digest: `fsverity-sha256:${"0".repeat(64)}` });
  assert.match(statusOf(fixture).last, /^ESP_ERR_OTA_VALIDATE_FAILED: ./);
  assert.ifError((await fixture.update(byDigest(fixture))).error);
  const selected = statusOf(fixture);
  assert.equal(selected.last, "ESP_OK");
  assert.deepEqual([selected.running, selected.boot], ["factory", "ota_0"]);
  assert.equal(selected.differs, "slot ota_0 was selected, and not restarted into since");
  const [ota, factory] = selected.slots;
  assert.deepEqual([ota.state, ota.version], [STATE.NEW, "2.0.2"]);
  assert.deepEqual([factory.version, selected.version], [first.version, first.version], "Espruino's own");
  assert.deepEqual(selected.storage, plain(storageOf(device)));
  const aborted: any = await device.engine.call(device.ota.begin(fixture.config(byDigest(fixture))));
  assert.equal(statusOf(fixture).last, "ESP_OK", "an update that runs has not ended");
  assert.equal((await fixture.update(byDigest(fixture))).error?.name, "ESP_ERR_OTA_ALREADY_IN_PROGRESS");
  assert.equal(statusOf(fixture).last, "ESP_OK", "a call that is refused says nothing of the one that runs");
  aborted.abort();
  assert.equal(statusOf(fixture).last, "ESP_ERR_INVALID_STATE: update aborted");
  device.restart();
  assert.deepEqual(statusOf(fixture).trial, { boots: 0, previous: "factory" });
  assert.equal(statusOf(fixture).last, "", "it is kept in memory, not in Storage");
  await rollBack(fixture);
  assert.deepEqual(statusOf(fixture).rolledBack, [byDigest(fixture).digest]);
  behaves(fixture);
});

test("getStatus says why the bootloader fell back", async (t) => {
  const fixture = await createFixture(t, {
    load: { ota_0: new Uint8Array(300).fill(7) },
    otadata: [buildEntry(1, STATE.VALID)],
  });
  const status = statusOf(fixture);
  assert.deepEqual([status.running, status.boot], ["factory", "ota_0"]);
  assert.match(status.differs, /^slot ota_0 can't start: /);
});

// --- A crash is not a verdict

/** Starts the image that was just installed until boot() gives it up: it crashes each time, whatever the cause. */
async function crashUntilGivenUp(fixture: Fixture): Promise<void> {
  const { device } = fixture;
  device.restart();
  for (let start = 0; start < 3; start++) {
    assert.equal(device.running, "ota_0");
    assert.equal(await boot(fixture), true);
    device.powerCycle();
  }
  assert.equal(await boot(fixture), "restarts");
  device.restart();
  assert.equal(device.running, "factory");
}

test("an image whose starts ran out may be installed again", async (t) => {
  const fixture = await createFixture(t);
  const { device } = fixture;
  for (let round = 0; round < 2; round++) {
    assert.ifError((await fixture.update(byDigest(fixture))).error);
    await crashUntilGivenUp(fixture);
    assert.deepEqual(statusOf(fixture).rolledBack, []);
  }
  assert.ifError((await fixture.update(byDigest(fixture))).error);
  device.restart();
  assert.equal(await boot(fixture), true);
  device.ota.markValid();
  for (let start = 0; start < 3; start++) {
    device.restart();
    assert.equal(device.running, "ota_0");
    assert.equal(await boot(fixture), false);
  }
  behaves(fixture);
});

test("an image that crashes in each of its starts is bad at the third time", async (t) => {
  const fixture = await createFixture(t);
  for (let round = 0; round < 3; round++) {
    assert.ifError((await fixture.update(byDigest(fixture))).error);
    await crashUntilGivenUp(fixture);
  }
  assert.deepEqual(statusOf(fixture).rolledBack, [`fsverity-sha256:${fsverity(fixture.image)}`]);
  fixture.remember();
  assert.equal((await fixture.update(byDigest(fixture))).error?.name, "ESP_ERR_NOT_ALLOWED");
  assert.deepEqual(fixture.device.flash.log.slice(fixture.mark.log), []);
  behaves(fixture);
});

for (const [what, giveUp] of [
  ["rollback()", (device: Device) => device.ota.rollback()],
  [
    "confirmAfter() whose check says no",
    (device: Device) => device.ota.confirmAfter(10, device.engine.run("(function () { return false; })")),
  ],
] as [string, (device: Device) => Promise<unknown>][])
  test(`an image that its program gave up by ${what} is bad at once`, async (t) => {
    const fixture = await onTrial(t);
    const { device } = fixture;
    void settle(device, giveUp(device)).catch(() => {});
    for (let pass = 0; pass < 100 && !device.rebootAsked; pass++) await device.engine.advance(10);
    device.restart();
    assert.equal(device.running, "factory");
    assert.equal((await fixture.update(byDigest(fixture))).error?.name, "ESP_ERR_NOT_ALLOWED");
    behaves(fixture);
  });
