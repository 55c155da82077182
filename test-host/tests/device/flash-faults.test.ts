// Flash that lies and memory that runs out (docs/espruino.md#flash, docs/espruino.md#memory): every erase that does nothing, every write that
// is lost, every bit that sticks, every native call that gives undefined, once each. No broken image is ever
// selected, no update hangs, and the next one on the same running device works.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BOOTLOADERS, buildEntry, STATE } from "../../sim/bootloader.ts";
import { type FlashOp, SECTOR } from "../../sim/flash.ts";
import { buildImage, noise } from "../../support/images.ts";
import { inParallel } from "../../support/parallel.ts";
import { leftOut, part } from "../../support/share.ts";
import { overEach, TRANSPORTS, type Transport } from "../../support/transport.ts";
import {
  behaves,
  bootsFrom,
  bootsNewImage,
  failsWith,
  keepsOldImage,
  nothingLeft,
  type Outcome,
  type Fixture,
  type FixtureOptions,
  sleep,
  createFixture,
  succeeds,
  touchesOnly,
} from "../../support/fixture.ts";

/** Most of a case is waiting for the network. */
const AT_ONCE = 8;
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

const IMAGE = buildImage({ size: 12000, seed: 2 }); // three sectors, and a first segment of more than one
const OLD = buildImage({ size: 11008, seed: 3 });

/** Where an update starts from: which boards and which otadata make which operations. */
const STARTS: Record<string, FixtureOptions & { target: string }> = {
  "factory runs, otadata blank": { board: "toy-factory-one", load: { ota_0: noise(8, 20480) }, target: "ota_0" },
  "ota_0 runs, factory is next": {
    board: "toy-factory-one",
    images: { factory: noise(8, 20480), ota_0: OLD },
    otadata: [buildEntry(1, STATE.VALID)],
    target: "factory",
  },
  "ota_0 runs, ota_1 is next, both named": {
    board: "toy-two",
    images: { ota_0: OLD, ota_1: noise(8, 20480) },
    otadata: [buildEntry(3, STATE.VALID), buildEntry(2, STATE.VALID)],
    target: "ota_1",
  },
  "ota_0 runs, ota_1 is selected but not started": {
    board: "toy-two",
    images: { ota_0: OLD, ota_1: buildImage({ size: 20000, seed: 6 }) },
    target: "ota_1",
  },
};

async function started(
  t: any,
  start: string,
  transport: Transport = "http",
): Promise<{ fixture: Fixture; target: string }> {
  const { target, ...options } = STARTS[start];
  const fixture = await createFixture(t, { ...options, image: IMAGE, transport });
  if (start.includes("but not started")) {
    // as after an update without a restart
    const { device } = fixture;
    device.flash.load(buildEntry(2, STATE.NEW), device.otadata().address + SECTOR);
    assert.equal(device.ota.getBootPartition().label, "ota_1");
    assert.equal(device.ota.getRunningPartition().label, "ota_0");
  }
  clearLog(fixture);
  return { fixture, target };
}

function clearLog(fixture: Fixture): void {
  fixture.remember();
  fixture.device.flash.resetCounts();
  fixture.mark.log = 0;
  fixture.mark.erases = 0;
}

/** The operations of an update without faults. */
async function cleanRun(t: any, start: string, transport: Transport): Promise<FlashOp[]> {
  const { fixture, target } = await started(t, start, transport);
  const outcome = await fixture.update();
  const ops = fixture.device.flash.log.slice();
  await succeeds(fixture, outcome, target);
  return ops;
}

const bootsNow = (fixture: Fixture) => bootsFrom(fixture.device, fixture.device.flash.snapshot());

/** Whatever the update says after a fault is true. `before`: what would have booted before it. */
async function isHonest(fixture: Fixture, target: string, outcome: Outcome, before: string | null): Promise<void> {
  touchesOnly(fixture, [target, "otadata"]);
  behaves(fixture);
  await nothingLeft(fixture);
  const boots = bootsNow(fixture);
  if (!outcome.error) assert.equal(boots, target);
  // an update that was selected and not started yet is deselected before its slot is written again
  else
    assert.ok(
      boots === before || boots === fixture.mark.running,
      `failed with ${outcome.error.name}, but ${boots} boots`,
    );
}

async function laterUpdateWorks(fixture: Fixture, target: string): Promise<void> {
  fixture.device.flash.faults = {};
  fixture.device.engine.oom = () => false;
  const outcome = await fixture.update();
  assert.ifError(outcome.error ? new Error(outcome.error.message) : null);
  assert.equal(outcome.result.partition.label, target);
  bootsNewImage(fixture, target);
}

function isInStorage({ device }: Fixture, { addr }: FlashOp): boolean {
  const { address, size } = device.storage.files.area;
  return addr >= address && addr < address + size;
}

/** Fires for the operation with this index in the log. */
const atIndex = (fixture: Fixture, index: number) => () => fixture.device.flash.log.length - 1 === index;

for (const start of Object.keys(STARTS)) {
  overEach(`an erase that silently does nothing is noticed at every step: ${start}`, async (t, transport) => {
    const ops = await cleanRun(t, start, transport);
    const erases = ops.filter((one) => one.kind === "erase");
    await inParallel(erases, AT_ONCE, async (op) => {
      const { fixture, target } = await started(t, start, transport);
      const blank = fixture.device.flash.peek(op.addr, SECTOR).every((byte) => byte === 0xff);
      const before = bootsNow(fixture);
      fixture.device.flash.faults = { silentErase: atIndex(fixture, op.index) };
      const outcome = await fixture.update();
      if (blank) assert.ifError(outcome.error);
      else if (op.addr !== fixture.device.otadata().address + SECTOR || outcome.error) {
        const error = failsWith(outcome, "FLASH_OP_FAIL");
        assert.match(error.message, new RegExp(`0x${op.addr.toString(16)}\\b`), "it names the address");
      }
      await isHonest(fixture, target, outcome, before);
      await laterUpdateWorks(fixture, target);
    });
  });

  overEach(`a write that is silently lost is noticed at every step: ${start}`, async (t, transport) => {
    const ops = await cleanRun(t, start, transport);
    const writes = ops.filter((one) => one.kind === "write");
    await inParallel(writes, AT_ONCE, async (op) => {
      const { fixture, target } = await started(t, start, transport);
      const before = bootsNow(fixture);
      fixture.device.flash.faults = { dropWrite: atIndex(fixture, op.index) };
      const outcome = await fixture.update();
      // what Storage does not take is written once more
      if (isInStorage(fixture, op)) assert.ifError(outcome.error);
      else {
        const error = failsWith(outcome, "FLASH_OP_FAIL");
        assert.match(error.message, new RegExp(`0x${op.addr.toString(16)}\\b`), "it names the address");
      }
      await isHonest(fixture, target, outcome, before);
      await laterUpdateWorks(fixture, target);
    });
  });

  overEach(`flash in which nothing works any more is noticed at the first step: ${start}`, async (t, transport) => {
    const { fixture, target } = await started(t, start, transport);
    const before = bootsNow(fixture);
    fixture.device.flash.faults = { silentErase: () => true, dropWrite: () => true };
    const outcome = await fixture.update();
    failsWith(outcome, "FLASH_OP_FAIL");
    await isHonest(fixture, target, outcome, before);
    await laterUpdateWorks(fixture, target);
  });
}

for (const offset of [0, 1, 31, 32, 255, 2048, 4095, 4096, 9999])
  overEach(`a bit that sticks at offset ${offset} is noticed, and nothing is selected`, async (t, transport) => {
    const { fixture } = await started(t, "factory runs, otadata blank", transport);
    const bad = fixture.device.row("ota_0").offset + offset;
    // a bit that the image wants to be 0
    const mask = ~IMAGE[offset] & 0xff;
    fixture.device.flash.faults = { stuckBits: (addr) => (addr === bad ? mask : 0) };
    const outcome = await fixture.update();
    if (mask) failsWith(outcome, "FLASH_OP_FAIL");
    await isHonest(fixture, "ota_0", outcome, "factory");
    await laterUpdateWorks(fixture, "ota_0");
  });

for (const [kind, start] of [
  [BOOTLOADERS.current, "factory runs, otadata blank"],
  [BOOTLOADERS.idf3, "ota_0 runs, ota_1 is next, both named"],
] as const)
  test(`a stuck bit in the select entry leaves the old choice: ${start} (${kind.name})`, async (t) => {
    if (leftOut(t, 3, "of a flash that fails in the boot selection")) return;
    await inParallel(range(0, 32), AT_ONCE, async (offset) => {
      for (const bit of [0, 7]) {
        const { fixture } = await started(t, start);
        const { address } = fixture.device.otadata();
        fixture.device.flash.faults = {
          stuckBits: (addr) =>
            (addr - address) % SECTOR === offset && addr >= address && addr < address + 2 * SECTOR ? 1 << bit : 0,
        };
        const outcome = await fixture.update();
        const boots = bootsFrom(fixture.device, fixture.device.flash.snapshot(), kind);
        if (outcome.error)
          assert.equal(boots, fixture.mark.running, `bit ${bit} of byte ${offset}: it said ${outcome.error.name}`);
        else assert.notEqual(boots, fixture.mark.running, `bit ${bit} of byte ${offset}: it said success`);
      }
    });
  });

test("a bit that sticks in otadata: the device boots old or new, whole either way", async (t) => {
  for (let offset = 0; offset < 32; offset += 6) {
    const { fixture } = await started(t, "ota_0 runs, ota_1 is next, both named");
    const { address } = fixture.device.otadata();
    fixture.device.flash.faults = {
      stuckBits: (addr) =>
        (addr - address) % SECTOR === offset && addr >= address && addr < address + 2 * SECTOR ? 0xff : 0,
    };
    const outcome = await fixture.update();
    behaves(fixture);
    await nothingLeft(fixture);
    const boots = bootsFrom(fixture.device, fixture.device.flash.snapshot());
    assert.ok(boots === "ota_0" || boots === "ota_1");
    if (!outcome.error) assert.equal(boots, "ota_1");
    await laterUpdateWorks(fixture, "ota_1");
  }
});

overEach("a fault that lasts for one try costs one update: the next call works", async (t, transport) => {
  const { fixture } = await started(t, "factory runs, otadata blank", transport);
  const { offset, size } = fixture.device.row("ota_0");
  let broken = 1;
  fixture.device.flash.faults = { dropWrite: (addr) => addr >= offset && addr < offset + size && broken-- > 0 };
  failsWith(await fixture.update(), "FLASH_OP_FAIL");
  await succeeds(fixture, await fixture.update(), "ota_0");
});

overEach("a flash error is not to be tried again: retry is false", async (t, transport) => {
  const { fixture } = await started(t, "factory runs, otadata blank", transport);
  fixture.device.flash.faults = { silentErase: () => true };
  assert.equal((await fixture.update({ retries: 5 })).error?.retry, false);
  assert.equal(fixture.server.requests.length, 1, "it asked the server again");
});

for (const [name, faults] of [
  ["erase", { silentErase: () => true }],
  ["write", { dropWrite: () => true }],
] as const)
  for (const call of ["setBootPartition", "markValid", "rollback"] as const)
    test(`${call} notices a lost ${name} and leaves the old choice`, async (t) => {
      if (leftOut(t, 3, "of a flash that fails in the boot selection")) return;
      const fixture = await createFixture(t, {
        board: "toy-two",
        images: { ota_0: OLD, ota_1: IMAGE },
        otadata: [buildEntry(1, STATE.NEW), buildEntry(4, STATE.ABORTED)],
      });
      const { device } = fixture;
      const next = device.ota.getNextUpdatePartition();
      device.flash.faults = faults;
      if (call === "markValid")
        assert.throws(
          () => device.ota.markValid(),
          (error: any) => error.code === 0x6001,
        );
      else failsWith(await fixture.outcome(device.ota[call](next)), "FLASH_OP_FAIL");
      assert.equal(device.rebootAsked, false);
      behaves(fixture);
      keepsOldImage(fixture);
    });

// --- Out of memory -------------------------------------------------------------------------------------------------

/** Waits for the end of an update, letting device time pass whenever nothing moves. Null: it hangs. */
async function patiently(fixture: Fixture, update: Promise<Outcome>): Promise<Outcome | null> {
  let outcome: Outcome | null = null;
  let failure: unknown;
  void update.then(
    (settled) => {
      outcome = settled;
    },
    (error) => {
      failure = error;
    },
  );
  const calls = () => Object.values(fixture.device.engine.nativeCalls).reduce((sum, n) => sum + n, 0);
  for (let idle = 0, last = -1; idle < 40 && !outcome && !failure; idle++) {
    for (let turn = 0; turn < 4 && !outcome; turn++) await sleep(1);
    if (calls() !== last) idle = Math.min(idle, 4);
    last = calls();
    if (!outcome && !failure && idle > 3) {
      await fixture.device.engine.advance(10000);
      last = calls();
    }
  }
  if (failure) throw failure;
  return outcome;
}

/** An update whose `index`th call of `name` gives undefined; the calls that this file itself makes do not. */
async function shortUpdate(fixture: Fixture, name: string, index: number): Promise<Outcome | null> {
  const { engine, ota } = fixture.device;
  const oom = (called: string, at: number) => called === name && at === index;
  const config = fixture.config();
  engine.oom = oom;
  const promise = ota.update(config);
  engine.oom = () => false;
  const update = fixture.outcome(promise);
  engine.oom = oom;
  const outcome = await patiently(fixture, update);
  engine.oom = () => false;
  return outcome;
}

const OOM_START = "factory runs, otadata blank";

/** Ready for an update, everything that comes before it done. */
async function prepared(t: any, transport: Transport): Promise<{ fixture: Fixture; target: string }> {
  const { fixture, target } = await started(t, OOM_START, transport);
  assert.equal(fixture.device.ota.getRunningPartition().label, "factory");
  fixture.config();
  return { fixture, target };
}

/** Native calls that an update makes, by name: number of the first one and of the one after the last. */
async function callsOfUpdate(transport: Transport): Promise<Map<string, [from: number, to: number]>> {
  const cleanups: (() => unknown)[] = [];
  const { fixture } = await prepared({ after: (fn: () => unknown) => cleanups.push(fn) }, transport);
  const { nativeCalls } = fixture.device.engine;
  const before = { ...nativeCalls };
  assert.ifError((await fixture.update()).error);
  const calls = new Map<string, [number, number]>();
  for (const [name, count] of Object.entries(nativeCalls)) {
    if (count > (before[name] ?? 0)) calls.set(name, [before[name] ?? 0, count]);
  }
  for (const fn of cleanups) await fn();
  return calls;
}

/** What may show up as a lost error while memory is short: data that came before there was a listener. */
const SHORT_OF_MEMORY = [/^data lost/];

for (const transport of TRANSPORTS) {
  const calls = await callsOfUpdate(transport);
  calls.delete("JSON.parse"); // this file's own
  const over = transport === "http" ? "" : " (source)";

  test(`the natives of an update that the device can lack memory for are known${over}`, () => {
    for (const name of [
      "Flash.read",
      "Flash.write",
      "Flash.erasePage",
      "E.toString",
      "E.CRC32",
      "setTimeout",
      "process.memory",
    ])
      assert.ok(calls.has(name), name);
  });

  for (const [name, [from, to]] of calls)
    test(`out of memory in any call of ${name}: no hang, no broken image selected${over}`, async (t) => {
      const share = transport === "http" ? 10 : 30;
      const some = part(t, range(from, to), share, `calls that run out of memory in an update${over}`);
      await inParallel(some, AT_ONCE, async (index) => {
        const { fixture, target } = await prepared(t, transport);
        const outcome = await shortUpdate(fixture, name, index);
        const where = `call ${index - from} of ${name}`;
        assert.ok(outcome, `${where}: it hangs`);
        touchesOnly(fixture, [target, "otadata"]);
        behaves(fixture, SHORT_OF_MEMORY);
        const boots = bootsNow(fixture);
        if (!outcome.error) assert.equal(boots, target, where);
        if (boots === target)
          assert.deepEqual(fixture.device.slot(target, IMAGE.length), IMAGE, `${where}: a broken image is selected`);
        else assert.equal(boots, "factory", where);
        await fixture.device.engine.advance(60000);
        // what could not be removed stays, and does no harm later
        if (name !== "Object.removeListener") await nothingLeft(fixture);
        await laterUpdateWorks(fixture, target);
        fixture.device.stop();
        fixture.closeSources();
        await fixture.server.close();
      });
    });

  test(`out of memory at the entry's read-back: a failure leaves the old choice${over}`, async (t) => {
    for (const name of ["Flash.read", "E.toString"]) {
      const [, to] = calls.get(name) ?? assert.fail(name);
      for (let index = to - 3; index < to; index++) {
        const { fixture, target } = await prepared(t, transport);
        const outcome = await shortUpdate(fixture, name, index);
        assert.ok(outcome);
        assert.equal(
          bootsNow(fixture),
          outcome.error ? "factory" : target,
          `${name}: ${outcome.error?.message ?? "success"}`,
        );
      }
    }
  });
}

overEach("out of memory in a setTimeout of a long verification: no hang", async (t, transport) => {
  for (let index = 0; index < 4; index++) {
    const fixture = await createFixture(t, { transport });
    assert.ok(await shortUpdate(fixture, "setTimeout", index), `call ${index}: it hangs`);
    await nothingLeft(fixture);
  }
});

test("too few free JsVars are refused before anything else, to be tried later", async (t) => {
  const fixture = await createFixture(t, { engine: { freeVars: 500 } });
  const error = failsWith(await fixture.update(), "NO_MEM", true);
  assert.match(error.message, /500/);
  assert.equal(fixture.server.requests.length, 0);
  keepsOldImage(fixture);
});
