// The boot record (docs/formats.md): two Storage files in turn. Neither a loss of power nor a full Storage costs it, and
// nothing of the module's ever lets the engine compact, which a loss of power turns into the loss of all files.

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { crc32 } from "node:zlib";
import { STORAGES } from "../../campaign/storages.ts";
import type { Device } from "../../sim/device.ts";
import { HEADER, nameOf } from "../../sim/espruino/chain.ts";
import { createFiles } from "../../sim/espruino/files.ts";
import { hostChip } from "../../sim/device.ts";
import { RECORD_FILES, recordIn, recordsIn } from "../../support/boot-record.ts";
import { fsverity } from "../../support/fsverity.ts";
import { buildImage, noise } from "../../support/images.ts";
import { makeKey } from "../../support/release.ts";
import {
  behaves,
  compactsNothing,
  failsCleanly,
  failsWith,
  type Outcome,
  plain,
  type Fixture,
  type FixtureOptions,
  settle,
  createFixture,
} from "../../support/fixture.ts";
import { serveFile } from "../../support/server.ts";
import { digestOf, startSigned } from "../../support/signed.ts";

const FILE = ".https-ota";
const FILES = RECORD_FILES;
const SIZE = 4096;
const UNIT = 64;
const IMAGE = buildImage({ size: 12000, seed: 2 });
const OLD = buildImage({ size: 12000, seed: 1 });

const ok = (outcome: Pick<Outcome, "error" | "result">): any => {
  assert.ifError(outcome.error ? new Error(`${outcome.error.name}: ${outcome.error.message}`) : null);
  return outcome.result;
};
function isRolledBack({ error }: Outcome): void {
  assert.equal(error?.name, "ESP_ERR_NOT_ALLOWED");
  assert.match(error?.message ?? "", /rolled back on this device/);
}
const statusOf = (device: Device): any => plain(device.ota.getStatus());
const start = (t: TestContext, options: FixtureOptions = {}): Promise<Fixture> =>
  createFixture(t, { image: IMAGE, images: { factory: OLD }, ...options });

const recordsOf = ({ storage }: Device) => recordsIn(storage);
const recordOf = ({ storage }: Device) => recordIn(storage);

/** boot() in the running image; "restarts" when it asked for that. */
async function boot({ device }: Fixture, attempts = 3): Promise<unknown> {
  const options = device.engine.run(`({ attempts: ${attempts} })`);
  const answer: any = await settle(device, device.ota.boot(options)).catch((error) => ({ error }));
  if (device.rebootAsked) return "restarts";
  return ok(answer);
}

async function onTrial(t: TestContext, options: FixtureOptions = {}): Promise<Fixture> {
  const fixture = await start(t, options);
  ok(await fixture.update({ digest: digestOf(IMAGE) }));
  fixture.device.restart();
  assert.equal(fixture.device.running, "ota_0");
  fixture.remember();
  return fixture;
}

async function rollBack({ device }: Fixture): Promise<void> {
  void settle(device, device.ota.rollback()).catch(() => {});
  for (let pass = 0; pass < 200 && !device.rebootAsked; pass++) await device.engine.advance(1);
  device.restart();
}

/** Leaves this number of bytes behind the last file. */
function fill({ storage }: Device, free: number): void {
  const { files } = storage;
  files.write("filler", noise(5, files.stats().free - HEADER - free));
}

/** Bytes up to the last one that is not blank. */
function usedIn(bytes: Uint8Array): number {
  let end = bytes.length;
  while (end && bytes[end - 1] === 0xff) end--;
  return end;
}

/** The names of the files that the module writes from now on. */
function writesOf(device: Device): string[] {
  const names: string[] = [];
  device.storage.onWrite = (name) => names.push(name);
  return names;
}

// --- Format

test("an update leaves one file of 4096 bytes with whole records", async (t) => {
  const fixture = await start(t);
  ok(await fixture.update({ digest: digestOf(IMAGE) }));
  const { device } = fixture;
  assert.deepEqual([...device.storage.keys()].filter((name) => name.startsWith(FILE)).length, 1);
  const name = FILES.find((one) => device.storage.has(one)) as string;
  assert.equal(device.storage.get(name)?.length, SIZE);
  const record = recordOf(device);
  assert.ok(record && record.serial >= 2, "what is written is not recorded before the first erase");
  assert.ok(record.fields.flat(3).includes(fsverity(IMAGE)), "it does not name the image");
});

test("the two files take turns, and the old record stays until the new one is whole", async (t) => {
  const fixture = await onTrial(t);
  const { device } = fixture;
  const used = new Set<string>();
  let highest = 0;
  const starts: number[] = [];
  device.flash.onOp = (_op, phase) => {
    const record = recordOf(device);
    assert.ok(record, `${phase} an operation no record is there`);
    const reached = record.serial * 1000 + record.ticks;
    assert.ok(reached >= highest, "the record goes back");
    highest = reached;
  };
  for (let i = 1; i <= 150; i++) {
    assert.equal(await boot(fixture, 1000), true);
    starts.push(statusOf(device).trial.boots);
    const [a, b] = recordsOf(device);
    used.add(!a || (b && b.serial > a.serial) ? FILES[1] : FILES[0]);
    device.restart();
  }
  device.flash.onOp = null;
  assert.deepEqual(
    starts,
    [...starts.keys()].map((i) => i + 1),
  );
  assert.equal(used.size, 2, "only one file was used");
  compactsNothing(fixture);
  behaves(fixture);
});

test("a start on trial is one write of 64 bytes", async (t) => {
  const fixture = await onTrial(t);
  const { device } = fixture;
  for (let i = 0; i < 3; i++) {
    const before = device.flash.log.length;
    assert.equal(await boot(fixture, 10), true);
    const operations = device.flash.log.slice(before).map(({ kind, length }) => [kind, length]);
    assert.deepEqual(operations, [["write", UNIT]]);
    device.restart();
  }
});

test("of two files the one with the higher serial counts, whichever it is", async (t) => {
  for (const newer of [0, 1]) {
    const fixture = await start(t);
    const { device } = fixture;
    for (const file of [0, 1])
      device.storage.set(FILES[file], fileWith({ serial: file === newer ? 9 : 8, sequence: file }));
    assert.equal(statusOf(device).sequence, newer);
    // 10 is above 9 as a number, not as a text
    device.storage.set(FILES[1 - newer], fileWith({ serial: 10, sequence: 77 }));
    assert.equal(statusOf(device).sequence, 77);
  }
});

/** A file with one record that has nothing but its serial and sequence. */
function fileWith({ serial, sequence }: { serial: number; sequence: number }): Uint8Array {
  const text = JSON.stringify([serial, sequence, "", "", 0, 0, "", 0, [], []]);
  const units = Math.ceil((9 + text.length) / UNIT);
  const body = Buffer.from(text.padEnd(units * UNIT - 9, " "), "latin1");
  const file = Buffer.alloc(SIZE, 0xff);
  file[0] = units;
  file.write(crc32(body).toString(16).padStart(8, "0"), 1, "latin1");
  body.copy(file, 9);
  return file;
}

test("a torn record is skipped: the one before counts, and the next goes behind it", async (t) => {
  for (const length of [1, 5, 9, 40, 63]) {
    const fixture = await onTrial(t);
    const { device } = fixture;
    assert.equal(await boot(fixture, 10), true);
    const name = FILES.find((one) => device.storage.has(one)) as string;
    const bytes = device.storage.get(name) as Uint8Array;
    const end = usedIn(bytes);
    const at = Math.ceil(end / UNIT) * UNIT;
    const tick = bytes.slice(at - UNIT, at - UNIT + length);
    device.storage.files.write(name, tick, at);
    device.restart();
    assert.equal(statusOf(device).trial.boots, 1, `cut after ${length} bytes`);
    assert.equal(await boot(fixture, 10), true);
    assert.equal(statusOf(device).trial.boots, 2, `cut after ${length} bytes`);
    device.restart();
    assert.deepEqual(
      FILES.map((one) => device.storage.has(one)),
      FILES.map((one) => one === name),
      "another file",
    );
    assert.equal(await boot(fixture, 3), true);
    device.restart();
    assert.equal(await boot(fixture, 3), "restarts");
    behaves(fixture);
  }
});

test("an earlier version's record is taken over, then erased", async (t) => {
  const fixture = await start(t);
  const { device } = fixture;
  const bad = "ab".repeat(32);
  const old = { sequence: 7, slot: "factory", previous: "ota_0", boots: 1, next: 9, digest: "cd".repeat(32) };
  const more = { written: "", aborted: 2, badSequence: 5, badDigest: bad };
  device.storage.set(FILE, Buffer.from(JSON.stringify({ ...old, ...more })));
  const { sequence, rolledBack, trial } = statusOf(device);
  assert.deepEqual([sequence, trial], [7, { boots: 1, previous: "ota_0" }]);
  assert.deepEqual(rolledBack, [`fsverity-sha256:${bad}`]);
  assert.ok(device.storage.has(FILE), "it is erased before there is a new one");
  device.flash.onOp = () => {
    const there = device.storage.has(FILE) || recordOf(device);
    assert.ok(there, "neither the old record nor the new one is there");
  };
  assert.equal(await boot(fixture, 3), true);
  device.flash.onOp = null;
  device.restart();
  assert.equal(device.storage.has(FILE), false);
  const taken = statusOf(device);
  assert.deepEqual([taken.sequence, taken.trial], [7, { boots: 2, previous: "ota_0" }]);
  assert.deepEqual(taken.rolledBack, rolledBack);
  behaves(fixture);
});

test("the record of earlier versions stays when Storage has no room for the new one", async (t) => {
  const fixture = await start(t);
  const { device } = fixture;
  device.storage.set(FILE, Buffer.from('{"sequence":7}'));
  fill(device, 1000);
  fixture.remember();
  await failsCleanly(fixture, await fixture.update(), "NO_MEM", { says: /Storage/ });
  assert.ok(device.storage.has(FILE));
  assert.equal(statusOf(device).sequence, 7);
});

// --- A full Storage

test("a full Storage refuses an update at its begin, with free, trash and needed", async (t) => {
  const fixture = await start(t);
  const { device } = fixture;
  device.storage.set("big", noise(3, 3000));
  device.storage.delete("big");
  fill(device, 1000);
  const { free, trash } = device.storage.files.stats();
  assert.deepEqual([free, trash.bytes], [1000, 3032]);
  fixture.remember();
  const outcome = await fixture.update();
  await failsCleanly(fixture, outcome, "NO_MEM", {
    says: /^Storage has 1000 bytes free and 3032 of erased files.* 4128/,
  });
  assert.match(outcome.error?.message ?? "", /erase files and compact/i);
  assert.deepEqual(statusOf(device).storage, { free: 1000, trash: 3032 });
});

test("an update needs 4128 bytes of Storage for the first record, and not one more", async (t) => {
  for (const [free, result] of [
    [4124, "NO_MEM"],
    [4128, "OK"],
  ] as const) {
    const fixture = await start(t);
    fill(fixture.device, free);
    fixture.remember();
    const outcome = await fixture.update();
    if (result === "OK") ok(outcome);
    else await failsCleanly(fixture, outcome, result, { says: /Storage/ });
    compactsNothing(fixture);
  }
});

test("with the record's file there, a full Storage hinders neither update nor trial", async (t) => {
  const fixture = await onTrial(t);
  const { device } = fixture;
  device.ota.markValid();
  fill(device, 0);
  const next = buildImage({ size: 12000, seed: 3 });
  const signed = await fixture.update({ digest: digestOf(IMAGE) });
  assert.equal(signed.error, undefined);
  fixture.server.on("/next.bin", serveFile(next));
  ok(await fixture.update({ digest: digestOf(next), url: fixture.server.url("/next.bin") }));
  device.restart();
  assert.equal(await boot(fixture, 3), true);
  compactsNothing(fixture);
  behaves(fixture);
});

/** On trial, with so little left in the record's file and in Storage that nothing can be recorded at an update. */
async function exhausted(t: TestContext): Promise<Fixture> {
  const fixture = await onTrial(t);
  const { device } = fixture;
  for (let i = 0; i < 300 && roomOf(device) > UNIT * 6; i++) {
    assert.equal(await boot(fixture, 1000), true);
    device.restart();
  }
  fill(device, 100);
  fixture.remember();
  return fixture;
}

/** Bytes behind the last record. */
function roomOf(device: Device): number {
  const [a, b] = recordsOf(device);
  const bytes = device.storage.get(!a || (b && b.serial > a.serial) ? FILES[1] : FILES[0]) as Uint8Array;
  return SIZE - usedIn(bytes);
}

/** How often the image of the last update was given up without a verdict. */
const givenUp = (device: Device) => recordOf(device)?.fields[7];

test("an update refused for Storage costs neither sequence nor trial nor its count", async (t) => {
  const signed = await startSigned(t, { image: IMAGE, images: { factory: OLD } });
  const { fixture } = signed;
  const { device } = fixture;
  ok(await signed.update(IMAGE, { sequence: 5 }));
  device.restart();
  device.ota.markValid();
  const next = buildImage({ size: 12000, seed: 3 });
  ok(await signed.update(next, { sequence: 8 }));
  device.restart();
  for (let i = 0; i < 300 && roomOf(device) > UNIT * 6; i++) {
    assert.equal(await boot(fixture, 1000), true);
    device.restart();
  }
  fill(device, 100);
  fixture.remember();
  const before = statusOf(device);
  assert.ok(before.sequence === 5 && before.trial.boots > 5);
  const other = buildImage({ size: 12000, seed: 4 });
  failsWith(await signed.update(other, { sequence: 9 }, { allowUnconfirmed: true }), "NO_MEM");
  const after = statusOf(device);
  assert.deepEqual([after.sequence, after.trial, after.rolledBack], [before.sequence, before.trial, before.rolledBack]);
  device.restart();
  assert.deepEqual(statusOf(device).trial, before.trial);
  compactsNothing(fixture);
  behaves(fixture);
});

test("in a full Storage a trial is recorded to its end, or not begun", async (t) => {
  const next = buildImage({ size: 12000, seed: 3 });
  const results = { refused: 0, recorded: 0 };
  for (let starts = 8; starts <= 58; starts += 2) {
    const fixture = await onTrial(t);
    const { device, server } = fixture;
    for (let i = 0; i < starts; i++) {
      assert.equal(await boot(fixture, 1000), true);
      device.restart();
    }
    fill(device, 100);
    server.on("/next.bin", serveFile(next));
    fixture.remember();
    const outcome = await fixture.update({
      digest: digestOf(next),
      url: server.url("/next.bin"),
      allowUnconfirmed: true,
    });
    if (outcome.error) {
      await failsCleanly(fixture, outcome, "NO_MEM", { says: /^Storage has/ });
      results.refused++;
      continue;
    }
    device.restart();
    assert.equal(device.running, "factory");
    for (let i = 0; i < 3; i++) {
      assert.equal(await boot(fixture), true, `${starts} starts before: start ${i} is not counted`);
      device.restart();
    }
    assert.equal(await boot(fixture), "restarts");
    device.restart();
    assert.equal(device.running, "ota_0");
    assert.equal(givenUp(device), 1, `${starts} starts before`);
    results.recorded++;
  }
  assert.ok(results.refused > 2 && results.recorded > 2, JSON.stringify(results));
});

for (const free of [0, 31, 180, 4000])
  test(`with ${free} bytes of Storage free a trial still counts and ends in a rollback`, async (t) => {
    const fixture = await onTrial(t);
    const { device } = fixture;
    fill(device, free);
    for (let n = 1; n <= 3; n++) {
      assert.equal(await boot(fixture), true);
      device.restart();
      assert.equal(device.running, "ota_0");
      assert.equal(statusOf(device).trial.boots, n);
    }
    assert.equal(await boot(fixture), "restarts");
    device.restart();
    assert.equal(device.running, "factory");
    assert.equal(givenUp(device), 1);
    compactsNothing(fixture);
    behaves(fixture);
  });

test("a start that Storage cannot take ends the trial like the last one", async (t) => {
  const fixture = await exhausted(t);
  const { device } = fixture;
  const counts: unknown[] = [];
  for (let i = 0; i < 20 && device.running === "ota_0"; i++) {
    counts.push(await boot(fixture, 1000));
    device.restart();
  }
  assert.equal(counts.at(-1), "restarts", counts.join());
  assert.equal(device.running, "factory");
  compactsNothing(fixture);
  behaves(fixture);
});

test("updates that are refused again and again use up no Storage", async (t) => {
  const fixture = await start(t);
  const { device } = fixture;
  fill(device, 1000);
  const before = device.storage.files.stats();
  for (let n = 0; n < 5; n++) failsWith(await fixture.update(), "NO_MEM");
  assert.deepEqual(device.storage.files.stats(), before);
});

for (const length of [300, 2000, 4200])
  test(`a version of ${length} characters hinders no update and uses up no Storage`, async (t) => {
    const signed = await startSigned(t, { image: IMAGE, images: { factory: OLD } });
    const { device } = signed.fixture;
    for (let n = 0; n < 3; n++) {
      const { free } = device.storage.files.stats();
      const version = `${n}${"x".repeat(length - 1)}`;
      const outcome = await signed.update(buildImage({ size: 12000, seed: 30 + n }), { version, sequence: 8 + n });
      const cost = free - device.storage.files.stats().free;
      assert.ok(
        cost <= SIZE + HEADER,
        `update ${n} took ${cost} bytes: ${outcome.error?.message ?? "it is installed"}`,
      );
      ok(outcome);
      device.restart();
      device.ota.markValid();
    }
  });

// --- Compaction

test("nothing compacts a Storage that is full of trash: the engine would", async (t) => {
  const fixture = await start(t);
  const { device } = fixture;
  STORAGES.trash.crowd(device.storage.files);
  const { files } = device.storage;
  const present = (): string[] => files.list().map(nameOf);
  const names = present();
  fixture.remember();
  const { engine, ota } = device;
  failsWith(await fixture.update(), "NO_MEM");
  failsWith(await fixture.update({ digest: digestOf(IMAGE) }), "NO_MEM");
  assert.equal(await boot(fixture), false);
  ota.markValid();
  ota.getStatus();
  await settle(device, ota.confirmAfter(1, engine.run("(function () { return true; })"))).catch(() => {});
  device.flash.load(IMAGE, device.row("ota_0").offset);
  await engine.call(ota.setBootPartition(ota.getNextUpdatePartition()));
  device.restart();
  assert.equal(device.running, "ota_0");
  await boot(fixture);
  device.ota.markValid();
  await rollBack(fixture);
  assert.equal(device.running, "factory");
  compactsNothing(fixture);
  assert.deepEqual(present(), names);
  // the engine does compact, when it is asked for a file of that size
  engine.stop();
  device.engine.run('require("Storage").write("probe", "x", 0, 4096)');
  assert.throws(() => compactsNothing(fixture), /a page of Storage is erased/);
});

test("nothing compacts when Storage fills with trash during a trial", async (t) => {
  const fixture = await onTrial(t);
  const { device } = fixture;
  STORAGES.trash.crowd(device.storage.files);
  for (let i = 0; i < 120 && device.running === "ota_0"; i++) {
    await boot(fixture, 1000);
    device.restart();
  }
  assert.equal(device.running, "factory", "the trial did not end");
  compactsNothing(fixture);
});

test("hashing the running slot is not a reason to compact", async (t) => {
  const signed = await startSigned(t, { image: IMAGE, images: { factory: OLD } });
  const { device } = signed.fixture;
  STORAGES.trash.crowd(device.storage.files);
  signed.fixture.remember();
  assert.deepEqual(ok(await signed.update(OLD)), { upToDate: true });
  compactsNothing(signed.fixture);
  behaves(signed.fixture);
});

// --- A torn header where the file is created

/** Some of the bits that a header of another file would have cleared, in no order: it was never finished. */
function tornHeader(seed: number): Uint8Array {
  const size = 3000 + seed * 131;
  const header = new Uint8Array(HEADER);
  new DataView(header.buffer).setUint32(0, size, true);
  header.set(Buffer.from("app.js"), 4);
  const mask = noise(seed, HEADER);
  return header.map((byte, i) => byte | mask[i]);
}

test("a record's file on a torn header is created again, or the update fails", async (t) => {
  const came = { once: 0, again: 0, never: 0 };
  for (let seed = 1; seed <= 60; seed++) {
    const fixture = await start(t);
    const { device } = fixture;
    const { files } = device.storage;
    const { area } = files;
    const torn = tornHeader(seed);
    hostChip(device.flash).clearBits(area.address + area.size - files.stats().free, torn);
    const names = writesOf(device);
    fixture.remember();
    const outcome = await fixture.update({ digest: digestOf(IMAGE) });
    compactsNothing(fixture);
    behaves(fixture);
    if (outcome.error) {
      // a header that has no bit of this size left stays in the way of every file (src/jsflash.c)
      assert.equal(new DataView(torn.buffer).getUint32(0, true) & SIZE, 0, outcome.error.message);
      await failsCleanly(fixture, outcome, "FLASH_OP_FAIL", { says: /^Storage did not take the boot record/ });
      assert.equal(names.length, 3);
      came.never++;
    } else {
      assert.ok(recordOf(device)?.fields.flat(3).includes(fsverity(IMAGE)), `seed ${seed}: no record`);
      // two records of an update
      if (names.length > 2) came.again++;
      else came.once++;
    }
  }
  assert.ok(came.again > 5 && came.never < came.again, JSON.stringify(came));
});

test("a file that Storage does not take is tried three times, before any erase", async (t) => {
  const fixture = await start(t);
  const { device } = fixture;
  const { address } = device.storage.files.area;
  const names = writesOf(device);
  device.flash.faults = { dropWrite: (addr) => addr >= address };
  fixture.remember();
  const outcome = await fixture.update();
  failsWith(outcome, "FLASH_OP_FAIL");
  assert.match(outcome.error?.message ?? "", /^Storage did not take the boot record/);
  assert.equal(names.length, 3, names.join());
  const outside = device.flash.log.slice(fixture.mark.log).filter(({ addr }) => addr < address);
  assert.deepEqual(outside, []);
  device.restart();
  assert.equal(device.running, "factory");
});

test("a creation that fails costs no record: the last one counts still", async (t) => {
  const fixture = await onTrial(t);
  const { device } = fixture;
  assert.equal(await boot(fixture, 1000), true);
  const { address } = device.storage.files.area;
  device.flash.faults = { dropWrite: (addr) => addr >= address };
  device.restart();
  const before = statusOf(device).trial;
  assert.equal(before.boots, 1);
  assert.throws(() => device.ota.markValid(), /Storage did not take/);
  device.flash.faults = {};
  device.restart();
  assert.deepEqual(statusOf(device).trial, before);
  assert.equal(await boot(fixture, 1000), true);
  assert.equal(statusOf(device).trial.boots, 2);
});

// --- Rolled back images

test("the last four rolled-back images are refused, by any signer; the fifth is not", async (t) => {
  const signed = await startSigned(t, { image: IMAGE, images: { factory: OLD } });
  const { fixture } = signed;
  const { device } = fixture;
  const images = [11, 12, 13, 14, 15].map((seed) => buildImage({ size: 12000, seed }));
  let sequence = 10;
  for (const image of images) {
    ok(await signed.update(image, { sequence: sequence++ }));
    device.restart();
    assert.equal(device.running, "ota_0");
    await rollBack(fixture);
    assert.equal(device.running, "factory");
  }
  assert.deepEqual(statusOf(device).rolledBack, images.slice(1).reverse().map(digestOf));
  const other = await makeKey({ exponent: 3, name: "other" });
  fixture.remember();
  for (const image of images.slice(1)) {
    const newer = { sequence: sequence++ };
    isRolledBack(await signed.update(image, newer));
    const byOther = { keys: [signed.key.jwk, other.jwk] };
    isRolledBack(await signed.update(image, { ...newer, key: other }, byOther));
    isRolledBack(await fixture.update({ digest: digestOf(image) }));
  }
  assert.equal(device.flash.log.length, fixture.mark.log, "flash was touched");
  ok(await signed.update(images[0], { sequence: sequence++ }));
  device.restart();
  assert.equal(device.running, "ota_0");
  behaves(fixture);
});

test("an image that is rolled back twice is remembered once", async (t) => {
  const fixture = await onTrial(t);
  const { device } = fixture;
  for (let i = 0; i < 2; i++) {
    await rollBack(fixture);
    assert.deepEqual(statusOf(device).rolledBack, [digestOf(IMAGE)]);
    ok(await fixture.update({ digest: digestOf(IMAGE), allowRolledBack: true }));
    device.restart();
  }
});

test("files of the program are as they were after all of this", async (t) => {
  const fixture = await start(t);
  const { device } = fixture;
  const program = noise(9, 5001);
  device.storage.set("app.js", program);
  for (let i = 0; i < 6; i++) {
    ok(await fixture.update({ digest: digestOf(IMAGE), allowRolledBack: true, allowSameVersion: true }));
    device.restart();
    await boot(fixture);
    await rollBack(fixture);
  }
  assert.deepEqual(device.storage.get("app.js"), program);
  const said: string[] = [];
  createFiles(device.storage.files.area, (text) => said.push(text)).start();
  assert.deepEqual(said, []);
  compactsNothing(fixture);
});
