import assert from "node:assert/strict";
import { test } from "node:test";
import { createFlash, type Snapshot, SECTOR } from "../../sim/flash.ts";

const SIZE = 16 * SECTOR;
const bytes = (length: number, value: number) => new Uint8Array(length).fill(value);
const count = (n: number) => Uint8Array.from({ length: n }, (_, i) => i);

test("a new flash is 4 MB of 0xff", () => {
  const flash = createFlash();
  assert.equal(flash.size, 4 << 20);
  assert.ok(flash.dump().every((byte) => byte === 0xff));
});

test("a write only clears bits, an erase sets the whole sector that holds the address", () => {
  const flash = createFlash({ size: SIZE });
  flash.write(SECTOR, bytes(1, 0xf0));
  flash.write(SECTOR, bytes(1, 0x3c));
  assert.equal(flash.peek(SECTOR, 1)[0], 0x30);
  flash.write(SECTOR - 1, bytes(1, 1));
  flash.write(2 * SECTOR, bytes(1, 2));
  flash.erase(SECTOR + 1234);
  assert.deepEqual([...flash.peek(SECTOR - 1, 2)], [1, 0xff]);
  assert.deepEqual([...flash.peek(2 * SECTOR - 1, 2)], [0xff, 2]);
});

test("reads and writes cross sector boundaries", () => {
  const flash = createFlash({ size: SIZE });
  const data = count(3 * SECTOR);
  flash.write(SECTOR - 100, data);
  assert.deepEqual(flash.read(SECTOR - 100, data.length), data);
  assert.equal(flash.peek(SECTOR - 101, 1)[0], 0xff);
  assert.equal(flash.peek(4 * SECTOR - 100, 1)[0], 0xff);
});

test("a read is a copy", () => {
  const flash = createFlash({ size: SIZE });
  flash.read(0, 4).fill(0);
  assert.equal(flash.peek(0, 1)[0], 0xff);
});

test("a write to a cell that is not erased is reported, even when it changes nothing", () => {
  const flash = createFlash({ size: SIZE });
  flash.write(0, count(8));
  assert.equal(flash.violations.length, 0);
  flash.write(8, count(8));
  assert.equal(flash.violations.length, 0);
  flash.write(15, bytes(1, 15));
  assert.match(flash.violations[0], /cell at 0xf is not erased/);
  flash.erase(0);
  flash.write(0, count(16));
  assert.equal(flash.violations.length, 1);
});

test("clearing bits of written cells on purpose is logged and cut like a write", () => {
  const flash = createFlash({ size: SIZE });
  flash.write(0, bytes(4, 0xf0));
  flash.clearBits(2, bytes(4, 0x3c));
  assert.deepEqual([...flash.peek(0, 7)], [0xf0, 0xf0, 0x30, 0x30, 0x3c, 0x3c, 0xff]);
  assert.deepEqual(flash.violations, []);
  assert.deepEqual(flash.log[1], { index: 1, kind: "write", addr: 2, length: 4 });
  flash.onOp = () => {
    throw new Error("power");
  };
  assert.throws(() => flash.clearBits(0, bytes(1, 0)), /power/);
  flash.onOp = null;
  flash.write(5, bytes(1, 0));
  assert.equal(flash.violations.length, 1, "what it has written is written for all others");
});

test("writing 0xff marks a cell as written until it is erased", () => {
  const flash = createFlash({ size: SIZE });
  flash.write(0, bytes(4, 0xff));
  flash.write(0, bytes(4, 0xff));
  assert.equal(flash.violations.length, 1);
});

test("a flash from a snapshot or from bytes knows written cells by their content", () => {
  const first = createFlash({ size: SIZE });
  first.write(0, Uint8Array.of(0xff, 0x00));
  for (const from of [first.snapshot(), first.dump()]) {
    const flash = createFlash({ from });
    flash.write(0, bytes(1, 0));
    assert.equal(flash.violations.length, 0);
    flash.write(1, bytes(1, 0));
    assert.equal(flash.violations.length, 1);
  }
});

test("access outside the chip throws, is reported, and changes nothing", () => {
  const flash = createFlash({ size: SIZE });
  const before = flash.snapshot();
  assert.throws(() => flash.read(SIZE - 1, 2), RangeError);
  assert.throws(() => flash.write(SIZE - 1, bytes(2, 0)), RangeError);
  assert.throws(() => flash.erase(SIZE), RangeError);
  assert.throws(() => flash.write(-1, bytes(1, 0)), RangeError);
  assert.throws(() => flash.read(0.5, 1), RangeError);
  assert.equal(flash.violations.length, 5);
  assert.ok(flash.sameSnapshot(before, flash.snapshot()));
});

test("log and counts hold every erase and write in order; host access leaves no trace", () => {
  const flash = createFlash({ size: SIZE });
  flash.load(bytes(10, 7), 5);
  flash.peek(0, 100);
  flash.dump();
  flash.erase(SECTOR + 5);
  flash.write(SECTOR + 5, bytes(3, 0));
  flash.read(0, 9);
  assert.deepEqual(flash.log, [
    { index: 0, kind: "erase", addr: SECTOR, length: SECTOR },
    { index: 1, kind: "write", addr: SECTOR + 5, length: 3 },
  ]);
  assert.deepEqual(flash.counts, { erases: 1, writes: 1, reads: 1, bytesWritten: 3, bytesRead: 9 });
  flash.resetCounts();
  assert.deepEqual([flash.log.length, flash.counts.erases, flash.deviceMs()], [0, 0, 0]);
  assert.equal(flash.wear(SECTOR), 1);
});

test("device time counts erases, program pages touched, and bytes read", () => {
  const flash = createFlash({ size: SIZE, times: { eraseMs: 10, programMsPerPage: 1, readBytesPerMs: 100 } });
  flash.erase(0);
  flash.write(255, bytes(2, 0));
  flash.write(512, bytes(256, 0));
  flash.read(0, 50);
  assert.deepEqual(flash.deviceMsSplit(), { erase: 10, program: 3, read: 0.5 });
  assert.equal(flash.deviceMs(), 13.5);
});

test("a snapshot keeps its content, and restore brings it back", () => {
  const flash = createFlash({ size: SIZE });
  flash.write(0, count(100));
  const kept = flash.snapshot();
  const content = flash.dump();
  flash.write(200, count(100));
  flash.erase(0);
  flash.load(bytes(SECTOR, 3), 4 * SECTOR);
  flash.restore(kept);
  assert.deepEqual(flash.dump(), content);
  flash.write(300, count(3));
  flash.restore(kept);
  flash.write(7 * SECTOR, count(3));
  flash.restore(kept);
  flash.write(7 * SECTOR + 3, count(3));
  flash.restore(kept);
  assert.deepEqual(flash.dump(), content);
});

test("a snapshot made of Buffers is kept like any other", () => {
  const snapshot: Snapshot = { sectors: [Buffer.alloc(SECTOR, 0xff)] };
  createFlash({ from: snapshot }).write(0, bytes(1, 0));
  assert.equal(snapshot.sectors[0][0], 0xff);
});

test("two flashes from one snapshot do not see each other's writes", () => {
  const snapshot = createFlash({ size: SIZE }).snapshot();
  const a = createFlash({ from: snapshot });
  const b = createFlash({ from: snapshot });
  a.write(0, bytes(1, 0));
  assert.equal(b.peek(0, 1)[0], 0xff);
});

test("snapshots share the sectors that did not change", () => {
  const flash = createFlash({ size: SIZE });
  flash.write(0, count(9));
  const a = flash.snapshot();
  flash.write(SECTOR, count(9));
  const b = flash.snapshot();
  assert.deepEqual(
    a.sectors.map((sector, i) => sector === b.sectors[i]),
    a.sectors.map((_, i) => i !== 1),
  );
});

test("equal content is the same snapshot with the same hash, one bit more is not", () => {
  const make = (last: number): Snapshot => {
    const flash = createFlash({ size: SIZE });
    flash.write(3 * SECTOR, count(9));
    flash.write(9 * SECTOR, bytes(1, last));
    return flash.snapshot();
  };
  const flash = createFlash({ size: SIZE });
  const hash = (p: Snapshot) => flash.snapshotHash(p);
  assert.ok(flash.sameSnapshot(make(1), make(1)));
  assert.equal(hash(make(1)), hash(make(1)));
  assert.ok(!flash.sameSnapshot(make(1), make(3)));
  assert.notEqual(hash(make(1)), hash(make(3)));
});

test("the hash of a snapshot tells where a sector lies", () => {
  const at = (addr: number) => {
    const flash = createFlash({ size: SIZE });
    flash.write(addr, count(9));
    return flash.snapshotHash(flash.snapshot());
  };
  assert.notEqual(at(0), at(SECTOR));
});

test("a silent erase is logged and changes nothing", () => {
  const flash = createFlash({ size: SIZE });
  flash.write(0, count(9));
  flash.faults = { silentErase: (addr) => addr < SECTOR };
  flash.erase(0);
  assert.deepEqual(flash.peek(0, 9), count(9));
  assert.equal(flash.log.length, 2);
  flash.write(SECTOR, count(9));
  flash.erase(SECTOR);
  assert.equal(flash.peek(SECTOR, 1)[0], 0xff);
});

test("a dropped write is logged and changes nothing", () => {
  const flash = createFlash({ size: SIZE });
  flash.faults = { dropWrite: (addr, length) => addr === 4 && length === 2 };
  flash.write(4, bytes(2, 0));
  flash.write(8, bytes(2, 0));
  assert.deepEqual([...flash.peek(4, 6)], [0xff, 0xff, 0xff, 0xff, 0, 0]);
  assert.equal(flash.log.length, 2);
});

test("stuck bits keep their value on a write", () => {
  const flash = createFlash({ size: SIZE });
  flash.faults = { stuckBits: (addr) => (addr === 1 ? 0x81 : 0) };
  flash.write(0, bytes(3, 0));
  assert.deepEqual([...flash.peek(0, 3)], [0, 0x81, 0]);
});

test("onOp can cut before an operation takes effect or after it", () => {
  for (const phase of ["before", "after"] as const) {
    const flash = createFlash({ size: SIZE });
    flash.onOp = (op, at, data) => {
      assert.equal(data?.length, op.kind === "write" ? 2 : undefined);
      if (at === phase && op.index === 1) throw new Error("power");
    };
    flash.erase(0);
    assert.throws(() => flash.write(0, bytes(2, 0)), /power/);
    assert.equal(flash.peek(0, 1)[0], phase === "before" ? 0xff : 0);
    assert.equal(flash.log.length, phase === "before" ? 1 : 2);
  }
});
