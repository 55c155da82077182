// otadata: what is written where, in which order, from every starting state (docs/formats.md#otadata,
// docs/design.md#slots). Through the public seam: otadata is prepared, an update or an order is run, the record is read.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { BOOTLOADERS, type BootloaderKind, buildEntry, entryCrc, STATE } from "../../sim/bootloader.ts";
import { SECTOR } from "../../sim/flash.ts";
import { buildImage, mutations } from "../../support/images.ts";
import {
  behaves,
  boardWith,
  bootsFrom,
  bootsNewImage,
  entries,
  failsWith,
  IDF,
  keepsOldImage,
  row,
  type Fixture,
  type FixtureOptions,
  settle,
  createFixture,
  succeeds,
  touchesNothing,
  touchesOnly,
  updateFrom,
} from "../../support/fixture.ts";
import { serveFile } from "../../support/server.ts";

const { NEW, PENDING_VERIFY, VALID, INVALID, ABORTED, UNDEFINED } = STATE;
const OLD = buildImage({ size: 12000, seed: 1 });
const IMAGE = buildImage({ size: 12000, seed: 2 });
const BLANK = new Uint8Array(32).fill(0xff);
type Vectors = { cases: { seq: number; crc: string }[]; records: Record<string, string> };
const vectors: Vectors = JSON.parse(readFileSync(new URL("../../vectors/otadata.json", import.meta.url), "utf8"));

/** A device with `count` slots and no factory, of which ota_`running` runs; every slot holds an image. */
async function slotsFixture(
  t: any,
  count: number,
  running: number,
  otadata: (Uint8Array | null)[],
  more: FixtureOptions = {},
): Promise<Fixture> {
  const rows = [row("otadata", 1, 0, 0xc000, 0x2000)];
  const images: Record<string, Uint8Array> = {};
  for (let i = 0; i < count; i++) {
    rows.push(row(`ota_${i}`, 0, 0x10 + i, 0x10000 * (i + 1), 0x10000));
    images[`ota_${i}`] = i === running ? OLD : buildImage({ size: 12000, seed: 100 + i });
  }
  const board = boardWith(rows, "toy-two", { flashSize: 0x10000 * (count + 2) });
  const fixture = await createFixture(t, { board, images, image: IMAGE, otadata, ...more });
  assert.equal(fixture.device.running, `ota_${running}`);
  return fixture;
}

function record(fixture: Fixture, copy: number): Uint8Array {
  return fixture.device.otadata().bytes.slice(copy * SECTOR, copy * SECTOR + 32);
}

const partitionOf = (fixture: Fixture, label: string) => ({
  ...fixture.device.row(label),
  address: fixture.device.row(label).offset,
});

// --- Worked values and CRC vectors ---------------------------------------------------------------------------------

// docs/formats.md#otadata: active seq, target slot, number of slots, new seq
const WORKED = [
  [1, 1, 2, 2],
  [2, 0, 2, 3],
  [3, 1, 2, 4],
  [5, 7, 8, 8],
  [1, 2, 3, 3],
  [2, 0, 3, 4],
];
for (const [seq, target, count, wanted] of WORKED)
  for (const copy of [0, 1])
    for (const how of ["update", "setBootPartition"] as const)
      test(`worked value: seq ${seq} in copy ${copy}, ota_${target} of ${count}: ${wanted} (${how})`, async (t) => {
        const before = [null, null] as (Uint8Array | null)[];
        before[copy] = buildEntry(seq, VALID);
        const fixture = await slotsFixture(t, count, (seq - 1) % count, before);
        const label = `ota_${target}`;
        if (how === "update") assert.ifError((await fixture.update({ partition: label })).error);
        else
          assert.equal(
            await fixture.device.engine.call(fixture.device.ota.setBootPartition(partitionOf(fixture, label))),
            IDF.OK,
          );
        assert.deepEqual(record(fixture, 1 - copy), buildEntry(wanted, NEW));
        assert.deepEqual(record(fixture, copy), before[copy], "the running slot's record changed");
        behaves(fixture);
        fixture.device.restart();
        assert.equal(fixture.device.running, label);
      });

for (const { seq, crc } of vectors.cases) {
  test(`CRC vector ${crc}: a record with seq ${seq} is obeyed with it and with no other`, async (t) => {
    const count = 2;
    const slot = (seq - 1) % count;
    const fixture = await slotsFixture(t, count, slot, [buildEntry(seq, VALID)]);
    assert.equal(
      fixture.device
        .otadata()
        .bytes.subarray(28, 32)
        .reverse()
        .reduce((text, byte) => text + byte.toString(16).padStart(2, "0"), ""),
      crc,
    );
    assert.equal(fixture.device.ota.getBootPartition().label, `ota_${slot}`);
    assert.equal(fixture.device.ota.getState(partitionOf(fixture, `ota_${slot}`)), VALID);
    const wrong = buildEntry(seq, VALID);
    wrong[31] ^= 0x80;
    fixture.device.flash.load(wrong, fixture.device.otadata().address);
    assert.throws(
      () => fixture.device.ota.getState(partitionOf(fixture, `ota_${slot}`)),
      (error: any) => error.code === IDF.NOT_FOUND,
    );
  });

  test(`CRC vector ${crc}: an update writes it with seq ${seq}`, async (t) => {
    // seq 1 is written where there is none yet; any other follows the one before it
    const before = seq === 1 ? [null] : [buildEntry(seq - 1, VALID)];
    const running = seq === 1 ? 0 : (seq - 2) % 2;
    const fixture = seq === 1 ? await createFixture(t, { image: IMAGE }) : await slotsFixture(t, 2, running, before);
    assert.ifError((await fixture.update()).error);
    const entry = entries(fixture.device).find((one) => one.seq === seq);
    assert.equal(entry?.crc.toString(16).padStart(8, "0"), crc);
    assert.equal(entry?.crcOk, true);
    fixture.device.restart();
    assert.equal(fixture.device.running, seq === 1 ? "ota_0" : `ota_${1 - running}`);
  });
}

test("golden records: what is written is byte for byte what IDF writes", async (t) => {
  const bytes = (name: string) => new Uint8Array(Buffer.from(vectors.records[name], "hex"));
  const fixture = await slotsFixture(t, 2, 0, [bytes("seq1 valid")]);
  assert.ifError((await fixture.update()).error);
  assert.deepEqual(record(fixture, 1), bytes("seq2 new"));
  assert.deepEqual(record(fixture, 0), bytes("seq1 valid"));
});

test("the label field of a record is kept, and the rest of the sector is blank", async (t) => {
  const labelled = buildEntry(3, UNDEFINED);
  labelled.fill(0x41, 4, 24);
  const fixture = await slotsFixture(t, 2, 0, [buildEntry(5, VALID), labelled]);
  assert.ifError((await fixture.update()).error);
  const written = buildEntry(6, NEW);
  written.fill(0x41, 4, 24);
  assert.deepEqual(record(fixture, 1), written);
  assert.ok(
    fixture.device
      .otadata()
      .bytes.subarray(SECTOR + 32)
      .every((byte) => byte === 0xff),
  );
});

test("after the last sequence number an update is ESP_ERR_OTA_SELECT_INFO_INVALID", async (t) => {
  const fixture = await slotsFixture(t, 2, 1, [buildEntry(0xfffffffe, VALID)]);
  const outcome = await fixture.update();
  failsWith(outcome, "OTA_SELECT_INFO_INVALID");
  touchesOnly(fixture, ["ota_0"]);
  behaves(fixture);
  keepsOldImage(fixture);
});

for (const kind of Object.values(BOOTLOADERS))
  test(`a record with seq 0 and its CRC counts, as it does for bootloaders (${kind.name})`, async (t) => {
    const fixture = await slotsFixture(t, 2, 1, [buildEntry(0, UNDEFINED)], { bootloader: kind });
    assert.equal(fixture.device.ota.getBootPartition().label, "ota_1");
    assert.equal(fixture.device.ota.getRunningPartition().label, "ota_1");
    await succeeds(fixture, await fixture.update(), "ota_0");
  });

// --- Every starting state ------------------------------------------------------------------------------------------

function torn(seq: number, how: "crc" | "half" | "zeros" | "noise"): Uint8Array {
  const entry = buildEntry(seq, VALID);
  if (how === "crc") entry[28] ^= 0xff;
  if (how === "half") entry.fill(0xff, 16);
  if (how === "zeros") entry.fill(0);
  if (how === "noise") for (let i = 0; i < 32; i++) entry[i] = (i * 73 + seq) & 0xff;
  return entry;
}

// two slots; the first number is the slot that runs from it
const STARTS: [string, (Uint8Array | null)[], number, BootloaderKind?][] = [
  ["blank", [null, null], 0, BOOTLOADERS.idf3],
  ["blank, the bootloader fills it in", [null, null], 0],
  ["one valid, copy 0", [buildEntry(1, VALID), null], 0],
  ["one valid, copy 1", [null, buildEntry(1, VALID)], 0],
  ["one valid, of the other slot", [buildEntry(2, VALID), null], 1],
  ["one undefined", [buildEntry(7, UNDEFINED), null], 0],
  ["one new", [buildEntry(7, NEW), null], 0],
  ["two valid, copy 0 newer", [buildEntry(3, VALID), buildEntry(2, VALID)], 0],
  ["two valid, copy 1 newer", [buildEntry(3, VALID), buildEntry(4, VALID)], 1],
  ["two of one slot", [buildEntry(1, VALID), buildEntry(3, VALID)], 0],
  ["two alike", [buildEntry(3, VALID), buildEntry(3, VALID)], 0],
  ["far apart", [buildEntry(2, VALID), buildEntry(1001, VALID)], 0],
  ["torn, CRC wrong, beside a valid one", [buildEntry(1, VALID), torn(2, "crc")], 0],
  ["half written, beside a valid one", [buildEntry(1, VALID), torn(2, "half")], 0],
  ["zeros, beside a valid one", [torn(2, "zeros"), buildEntry(1, VALID)], 0],
  ["noise, beside a valid one", [torn(9, "noise"), buildEntry(1, VALID)], 0],
  ["both torn", [torn(1, "crc"), torn(2, "half")], 0],
  ["both noise", [torn(1, "noise"), torn(2, "noise")], 0],
  ["the other one INVALID and newer", [buildEntry(1, VALID), buildEntry(2, INVALID)], 0],
  ["the other one ABORTED and newer", [buildEntry(1, VALID), buildEntry(2, ABORTED)], 0],
  ["the other one ABORTED, under rollback", [buildEntry(1, VALID), buildEntry(2, ABORTED)], 0, BOOTLOADERS.rollback],
  ["both INVALID, no factory", [buildEntry(1, INVALID), buildEntry(2, INVALID)], 0],
  ["its own INVALID, started for want of another", [buildEntry(1, INVALID), null], 0],
  ["a state nobody knows", [buildEntry(1, 77), null], 0],
  // a bootloader of IDF 3 obeys whatever is newest; it never writes such a state, the one before it did
  ["its own ABORTED, obeyed by IDF 3", [buildEntry(1, VALID), buildEntry(2, ABORTED)], 1, BOOTLOADERS.idf3],
  ["its own INVALID, obeyed by IDF 3, copy 0", [buildEntry(2, INVALID), buildEntry(1, VALID)], 1, BOOTLOADERS.idf3],
];
for (const [what, before, running, kind] of STARTS)
  test(`from otadata "${what}": at every operation the old image boots or the new one`, async (t) => {
    const fixture = await slotsFixture(t, 2, running, before, { bootloader: kind });
    const { device } = fixture;
    const old = `ota_${running}`;
    const target = `ota_${1 - running}`;
    const mine = entries(device);
    // the running slot's own record, when it is the only good one, survives until the new one is there
    const { offset } = device.row(target);
    const seen: (string | null)[] = [];
    device.flash.onOp = (op, phase) => {
      if (phase === "after" && op.addr < offset) seen.push(bootsFrom(device, device.flash.snapshot(), kind));
    };
    const outcome = await fixture.update();
    device.flash.onOp = null;
    for (const [index, boots] of seen.entries()) {
      assert.ok(boots === old || boots === target, `operation ${index} of otadata: ${boots}`);
      // before the commit point the target holds a half-written image or none at all
      if (index < seen.length - 1) assert.equal(boots, old, `operation ${index} of otadata, before the last one`);
    }
    assert.equal(seen.at(-1), target);
    const written = entries(device).find((one) => one.crcOk && one.state === NEW && (one.seq - 1) % 2 === 1 - running);
    assert.ok(written, "no record names the new slot");
    // what named the target is erased first; above the others also when they are INVALID: bootloaders of IDF 3 obey those
    for (const entry of mine.filter((one) => one.crcOk && (one.seq - 1) % 2 === running))
      assert.ok(written.seq > entry.seq);
    assert.equal(written.crc, entryCrc(written.seq));
    await succeeds(fixture, outcome, target);
  });

test("fallen back: the running slot has a good record at every operation", async (t) => {
  const images = { ota_0: OLD, ota_1: mutations.flipPayloadBit(buildImage({ size: 12000, seed: 9 })) };
  for (const copies of [
    [buildEntry(3, VALID), buildEntry(4, VALID)],
    [buildEntry(4, VALID), buildEntry(3, VALID)],
  ]) {
    const fixture = await slotsFixture(t, 2, 0, copies, { images });
    const { device } = fixture;
    assert.equal(device.ota.getBootPartition().label, "ota_1");
    device.flash.onOp = (op, phase) => {
      if (phase !== "after") return;
      const good = entries(device).some((one) => one.crcOk && one.seq % 2 === 1 && one.state !== INVALID);
      assert.ok(good, `${op.kind} at 0x${op.addr.toString(16)}: no record of the running slot is left`);
    };
    const outcome = await fixture.update();
    device.flash.onOp = null;
    await succeeds(fixture, outcome, "ota_1");
  }
});

test("fallen back past the target: what is not verified in it never boots", async (t) => {
  const broken = (seed: number) => mutations.flipPayloadBit(buildImage({ size: 12000, seed }));
  // the bootloader tries ota_1, which is selected, then ota_0, then factory
  const fixture = await createFixture(t, {
    board: "toy-factory-two",
    image: IMAGE,
    images: { factory: OLD, ota_0: broken(3), ota_1: broken(4) },
    otadata: [buildEntry(1, VALID), buildEntry(2, VALID)],
  });
  const { device } = fixture;
  assert.equal(device.running, "factory");
  const boots = new Set<string | null>();
  device.flash.onOp = (_op, phase) => {
    if (phase === "after") boots.add(bootsFrom(device, device.flash.snapshot()));
  };
  const digest = `fsverity-sha256:${"0".repeat(64)}`;
  failsWith(await fixture.update({ digest }), "OTA_VALIDATE_FAILED");
  device.flash.onOp = null;
  assert.deepEqual([...boots], ["factory"]);
  behaves(fixture);
  keepsOldImage(fixture);
});

test("an image that was refused by its digest is not what rollback() returns to", async (t) => {
  for (const board of ["toy-two", "toy-factory-one"]) {
    const fixture = await createFixture(t, { board, image: IMAGE });
    const { device } = fixture;
    const first = await fixture.update();
    device.restart();
    assert.equal(device.running, first.result.partition.label);
    const foreign = buildImage({ size: 12000, seed: 66 });
    fixture.server.on("/foreign.bin", serveFile(foreign));
    const url = fixture.server.url("/foreign.bin");
    failsWith(await fixture.update({ url, digest: `fsverity-sha256:${"0".repeat(64)}` }), "OTA_VALIDATE_FAILED");
    failsWith(await settle(device, device.ota.rollback()), "OTA_ROLLBACK_FAILED");
    behaves(fixture);
    device.restart();
    assert.equal(device.running, first.result.partition.label);
  }
});

test("a record of the slot about to be written is gone before its first erase", async (t) => {
  const fixture = await slotsFixture(t, 2, 0, [buildEntry(3, VALID), buildEntry(2, VALID)]);
  const { device } = fixture;
  const { offset } = device.row("ota_1");
  let named: boolean | null = null;
  device.flash.onOp = (op, phase) => {
    if (phase === "before" && op.addr >= offset) named ??= entries(device).some((one) => one.crcOk && one.seq === 2);
  };
  await fixture.update();
  assert.equal(named, false);
});

test("a second update before a restart: a half-written slot is never selected", async (t) => {
  for (const board of ["toy-two", "toy-factory-one", "toy-factory-two", "toy-three"]) {
    const fixture = await createFixture(t, { board, image: IMAGE });
    const { device } = fixture;
    const first = await fixture.update();
    assert.ifError(first.error);
    const label = first.result.partition.label;
    assert.equal(device.ota.getBootPartition().label, label);
    const { offset, size } = device.row(label);
    device.flash.onOp = (op, phase) => {
      if (phase !== "before" || op.addr < offset || op.addr >= offset + size) return;
      assert.equal(device.ota.getBootPartition().label, device.running, `${board}: ${op.kind} in the selected slot`);
    };
    const second = buildImage({ size: 12000, seed: 7 });
    const outcome = await updateFrom(fixture, serveFile(second));
    device.flash.onOp = null;
    assert.ifError(outcome.error ? new Error(outcome.error.message) : null);
    behaves(fixture);
    bootsNewImage(fixture, label, second);
  }
});

test("factory is selected by erasing both copies, the one that is not active first", async (t) => {
  for (const copies of [
    [buildEntry(1, VALID), null],
    [null, buildEntry(1, VALID)],
  ]) {
    const fixture = await createFixture(t, {
      image: IMAGE,
      images: { factory: OLD, ota_0: buildImage({ size: 12000, seed: 3 }) },
      otadata: copies,
    });
    assert.equal(fixture.device.running, "ota_0");
    const outcome = await fixture.update();
    const { address } = fixture.device.otadata();
    const ops = fixture.device.flash.log
      .slice(fixture.mark.log)
      .filter((op) => op.addr >= address && op.addr < address + 2 * SECTOR);
    const active = copies[0] ? 0 : 1;
    assert.deepEqual(
      ops.map((op) => [op.kind, op.addr - address]),
      [
        ["erase", (1 - active) * SECTOR],
        ["erase", active * SECTOR],
      ],
    );
    await succeeds(fixture, outcome, "factory");
  }
});

test("erasing for factory never makes an older record beside the active one active", async (t) => {
  const images = {
    factory: OLD,
    ota_0: buildImage({ size: 12000, seed: 3 }),
    ota_1: buildImage({ size: 12000, seed: 4 }),
  };
  for (const copies of [
    [buildEntry(2, VALID), buildEntry(3, VALID)],
    [buildEntry(3, VALID), buildEntry(2, VALID)],
  ]) {
    const fixture = await createFixture(t, { board: "toy-factory-two", image: IMAGE, images, otadata: copies });
    const { device } = fixture;
    assert.equal(device.running, "ota_0");
    const seen: unknown[] = [];
    device.flash.onOp = (op, phase) => {
      if (phase === "after" && op.addr < 0x10000) seen.push(bootsFrom(device, device.flash.snapshot()));
    };
    assert.equal(await device.engine.call(device.ota.setBootPartition(partitionOf(fixture, "factory"))), IDF.OK);
    assert.deepEqual(seen, ["ota_0", "factory"]);
  }
});

// --- The orders of esp_ota_ops.h -----------------------------------------------------------------------------------

const both = [buildEntry(3, VALID), buildEntry(2, VALID)];

test("setBootPartition of the slot that is selected already writes nothing", async (t) => {
  const fixture = await slotsFixture(t, 2, 0, both);
  const result = await fixture.device.engine.call(fixture.device.ota.setBootPartition(partitionOf(fixture, "ota_0")));
  assert.equal(result, IDF.OK);
  touchesNothing(fixture);
});

for (const name of ["magic", "segmentCount17", "segmentTooLong", "mappedLoadAddress", "flipPayloadBit", "checksum"])
  test(`setBootPartition verifies the image: ${name} is ESP_ERR_OTA_VALIDATE_FAILED`, async (t) => {
    const images = { ota_0: OLD, ota_1: mutations[name](buildImage({ size: 12000, seed: 5 })) };
    const fixture = await slotsFixture(t, 2, 0, [buildEntry(3, VALID)], { images });
    const outcome = await settle(fixture.device, fixture.device.ota.setBootPartition(partitionOf(fixture, "ota_1")));
    failsWith(outcome, "OTA_VALIDATE_FAILED");
    touchesNothing(fixture);
    keepsOldImage(fixture);
  });

test("setBootPartition refuses an image for another chip", async (t) => {
  const images = { ota_0: OLD, ota_1: buildImage({ chip: "esp32c3", size: 12000, seed: 5 }) };
  const fixture = await slotsFixture(t, 2, 0, [buildEntry(3, VALID)], { images });
  const outcome = await settle(fixture.device, fixture.device.ota.setBootPartition(partitionOf(fixture, "ota_1")));
  assert.ok(outcome.error, "an image that the bootloader won't start was selected");
  touchesNothing(fixture);
  keepsOldImage(fixture);
});

test("setBootPartition of an empty slot is ESP_ERR_OTA_VALIDATE_FAILED", async (t) => {
  const fixture = await createFixture(t, { board: "toy-two" });
  failsWith(
    await settle(fixture.device, fixture.device.ota.setBootPartition(partitionOf(fixture, "ota_1"))),
    "OTA_VALIDATE_FAILED",
  );
  touchesNothing(fixture);
});

test("getState tells every state, and of two records of one slot the newer", async (t) => {
  const fixture = await slotsFixture(t, 2, 0, [buildEntry(1, VALID), buildEntry(2, NEW)], {
    bootloader: BOOTLOADERS.current,
  }).catch(() => null);
  assert.equal(fixture, null, "seq 2 is active");
  for (const state of [NEW, PENDING_VERIFY, VALID, UNDEFINED]) {
    const { device } = await slotsFixture(t, 2, 0, [buildEntry(5, state)], {});
    assert.equal(device.ota.getState(device.ota.getRunningPartition()), state);
  }
  for (const state of [INVALID, ABORTED]) {
    const other = await slotsFixture(t, 2, 0, [buildEntry(5, VALID), buildEntry(6, state)]);
    assert.equal(other.device.ota.getState(partitionOf(other, "ota_1")), state);
  }
  const twice = await slotsFixture(t, 2, 0, [buildEntry(1, UNDEFINED), buildEntry(3, VALID)]);
  assert.equal(twice.device.ota.getState(partitionOf(twice, "ota_0")), VALID);
  assert.throws(
    () => twice.device.ota.getState(partitionOf(twice, "ota_1")),
    (error: any) => error.code === IDF.NOT_FOUND,
  );
});

test("getBootPartition agrees with the bootloader in every starting state", async (t) => {
  for (const [what, before, running, kind] of STARTS) {
    const fixture = await slotsFixture(t, 2, running, before, { bootloader: kind });
    const { device } = fixture;
    assert.equal(device.ota.getBootPartition().label, device.boots[0].selected ?? device.running, what);
  }
});

test("getLastInvalidPartition names the INVALID or ABORTED slot, of two the older", async (t) => {
  const cases: [(Uint8Array | null)[], string | null, number?][] = [
    [[buildEntry(1, VALID), null], null],
    [[buildEntry(1, VALID), buildEntry(2, VALID)], null, 1],
    [[buildEntry(1, VALID), buildEntry(2, INVALID)], "ota_1"],
    [[buildEntry(2, ABORTED), buildEntry(1, VALID)], "ota_1"],
    [[buildEntry(1, INVALID), buildEntry(2, ABORTED)], "ota_0"],
    [[buildEntry(2, INVALID), buildEntry(3, ABORTED)], "ota_1"],
    [[torn(2, "crc"), buildEntry(1, VALID)], null],
  ];
  for (const [copies, wanted, running] of cases) {
    const fixture = await slotsFixture(t, 2, running ?? 0, copies);
    assert.equal(fixture.device.ota.getLastInvalidPartition()?.label ?? null, wanted);
    touchesNothing(fixture);
  }
});

// PENDING_VERIFY is rewritten in place, as IDF does: docs/power-fail.md has what may boot then
for (const state of [NEW, UNDEFINED])
  test(`markValid makes state ${state >>> 0} VALID, and at no operation does another slot boot`, async (t) => {
    for (const copies of [
      [buildEntry(3, state), null],
      [buildEntry(3, state), buildEntry(2, VALID)],
      [buildEntry(2, VALID), buildEntry(3, state)],
    ]) {
      const fixture = await slotsFixture(t, 2, 0, copies);
      const { device } = fixture;
      device.flash.onOp = (_op, phase) => {
        if (phase === "after") assert.equal(bootsFrom(device, device.flash.snapshot(), BOOTLOADERS.rollback), "ota_0");
      };
      device.ota.markValid();
      device.flash.onOp = null;
      assert.equal(device.ota.getState(partitionOf(fixture, "ota_0")), VALID);
      behaves(fixture);
      touchesOnly(fixture, ["otadata"]);
      keepsOldImage(fixture);
    }
  });

for (const kind of [BOOTLOADERS.current, BOOTLOADERS.rollback])
  test(`markValid after a fallback selects what runs, and no other boots (${kind.name})`, async (t) => {
    const images = {
      factory: buildImage({ size: 12000, seed: 9 }),
      ota_0: OLD,
      ota_1: mutations.flipPayloadBit(IMAGE),
    };
    const otadata = [buildEntry(1, NEW), buildEntry(2, NEW)];
    const fixture = await createFixture(t, {
      board: "toy-factory-two",
      bootloader: kind,
      images,
      otadata,
      image: null,
    });
    const { device } = fixture;
    assert.equal(device.running, "ota_0");
    assert.equal(device.boots.at(-1)?.fellBack, true);
    const seen: unknown[] = [];
    device.flash.onOp = (_op, phase) => {
      if (phase === "after") seen.push(bootsFrom(device, device.flash.snapshot(), kind));
    };
    device.ota.markValid();
    device.flash.onOp = null;
    assert.deepEqual(seen, ["ota_0", "ota_0", "ota_0"]);
    assert.equal(device.ota.getBootPartition().label, "ota_0");
    assert.equal(device.ota.getState(partitionOf(fixture, "ota_0")), VALID);
    device.restart();
    assert.equal(device.boots.at(-1)?.fellBack, false);
  });

test("markValid of a VALID image, of factory, and of an unnamed slot writes nothing", async (t) => {
  const fixtures = [
    await slotsFixture(t, 2, 0, [buildEntry(3, VALID)]),
    await createFixture(t),
    await slotsFixture(t, 2, 0, [BLANK], { bootloader: BOOTLOADERS.idf3 }),
  ];
  for (const fixture of fixtures) {
    fixture.device.ota.markValid();
    touchesNothing(fixture);
    behaves(fixture);
  }
});

/** ESP32.setOTAValid as IDF has it: it rewrites the active entry in place, whichever slot that names. */
function nativeValid(fixture: () => Fixture, works: boolean, calls: boolean[]): (valid: boolean) => void {
  return (valid) => {
    calls.push(valid);
    if (!works) return;
    const { device } = fixture();
    const [a, b] = entries(device);
    const active = b.crcOk && (!a.crcOk || b.seq > a.seq) ? 1 : 0;
    const { address } = device.otadata();
    device.flash.erase(address + active * SECTOR);
    device.flash.write(address + active * SECTOR, buildEntry([a, b][active].seq, VALID));
  };
}

for (const [what, copies, works, called, writes] of [
  ["PENDING_VERIFY", [buildEntry(2, VALID), buildEntry(3, PENDING_VERIFY)], true, true, 1],
  ["PENDING_VERIFY, and it does nothing", [buildEntry(2, VALID), buildEntry(3, PENDING_VERIFY)], false, true, 1],
  ["PENDING_VERIFY, not active", [buildEntry(4, VALID), buildEntry(3, PENDING_VERIFY)], true, false, 1],
  ["NEW", [buildEntry(2, VALID), buildEntry(3, NEW)], true, false, 1],
  ["VALID", [buildEntry(2, VALID), buildEntry(3, VALID)], true, false, 0],
] as const)
  test(`markValid of a slot that is ${what} asks ESP32.setOTAValid ${called ? "first" : "nothing"}: VALID`, async (t) => {
    const calls: boolean[] = [];
    let fixture: Fixture | null = null;
    const otaValid = nativeValid(() => fixture as Fixture, works, calls);
    const images = { ota_0: OLD, ota_1: mutations.flipPayloadBit(buildImage({ size: 12000, seed: 9 })) };
    fixture = await slotsFixture(t, 2, 0, [...copies], { images, engine: { otaValid } });
    fixture.remember();
    fixture.device.ota.markValid();
    assert.deepEqual(calls, called ? [true] : []);
    assert.equal(fixture.device.ota.getState(partitionOf(fixture, "ota_0")), VALID);
    assert.equal(
      fixture.device.flash.log.slice(fixture.mark.log).filter(({ kind }) => kind === "write").length,
      writes,
    );
    behaves(fixture);
    keepsOldImage(fixture);
  });

for (const kind of [BOOTLOADERS.current, BOOTLOADERS.idf3])
  test(`rollback returns to the other slot, which must be whole (${kind.name})`, async (t) => {
    const fixture = await slotsFixture(t, 2, 0, both, { bootloader: kind });
    const { device } = fixture;
    const seen: unknown[] = [];
    device.flash.onOp = (_op, phase) => {
      if (phase === "after") seen.push(bootsFrom(device, device.flash.snapshot(), kind));
    };
    await settle(device, device.ota.rollback()).catch(() => {});
    assert.equal(device.rebootAsked, true);
    assert.ok(seen.every((label) => label === "ota_0" || label === "ota_1"));
    touchesOnly(fixture, ["otadata"]);
    device.restart();
    assert.equal(device.running, "ota_1");
  });

for (const order of ["rollback", "markValid", "setBootPartition"] as const)
  test(`${order} is obeyed by an IDF 3 bootloader that started an image marked ABORTED`, async (t) => {
    const before = [buildEntry(1, VALID), buildEntry(2, ABORTED)];
    const fixture = await slotsFixture(t, 2, 1, before, { bootloader: BOOTLOADERS.idf3 });
    const { device } = fixture;
    const seen: unknown[] = [];
    device.flash.onOp = (_op, phase) => {
      if (phase === "after") seen.push(bootsFrom(device, device.flash.snapshot(), BOOTLOADERS.idf3));
    };
    if (order === "markValid") device.ota.markValid();
    else if (order === "rollback") await settle(device, device.ota.rollback()).catch(() => {});
    else assert.equal(await device.engine.call(device.ota.setBootPartition(partitionOf(fixture, "ota_0"))), IDF.OK);
    const wanted = order === "markValid" ? "ota_1" : "ota_0";
    assert.ok(seen.length > 0);
    assert.equal(seen.at(-1), wanted);
    assert.equal(bootsFrom(device, device.flash.snapshot(), BOOTLOADERS.current), wanted, "a current one disagrees");
    behaves(fixture);
  });

test("rollback passes over a slot whose image is broken", async (t) => {
  const images = {
    ota_0: OLD,
    ota_1: mutations.flipPayloadBit(buildImage({ size: 12000, seed: 5 })),
    ota_2: buildImage({ size: 12000, seed: 6 }),
  };
  const fixture = await slotsFixture(t, 3, 0, [buildEntry(4, VALID), buildEntry(2, VALID)], { images });
  await settle(fixture.device, fixture.device.ota.rollback()).catch(() => {});
  fixture.device.restart();
  assert.equal(fixture.device.running, "ota_2");
});

test("the last operations of an update write one record, after all the rest", async (t) => {
  const fixture = await slotsFixture(t, 2, 0, [buildEntry(1, VALID)]);
  assert.ifError((await fixture.update()).error);
  const log = fixture.device.flash.log.slice(fixture.mark.log);
  const { address } = fixture.device.otadata();
  assert.deepEqual(
    log.slice(-2).map((op) => [op.kind, op.addr, op.length]),
    [
      ["erase", address + SECTOR, SECTOR],
      ["write", address + SECTOR, 32],
    ],
  );
  assert.ok(log.slice(0, -2).every((op) => op.addr >= fixture.device.row("ota_1").offset));
});
