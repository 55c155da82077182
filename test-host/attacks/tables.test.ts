// The promise: whatever the partition table says, nothing is written outside of the target slot and otadata, never in the
// running slot, and what no update can work with is an error of ours. Tables that the bootloader starts something from;
// each takes a device of its own, some 15 ms: a fifth of the cases.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import fc from "fast-check";
import { fsverity } from "../support/fsverity.ts";
import { buildTable, type Row } from "../sim/partitions.ts";
import { boardWith } from "../support/fixture.ts";
import { holds } from "./fuzz.ts";
import { createRig, type Ended, file, type Rig, smallImage, stopAll, URL_OF } from "./rig.ts";

after(stopAll);

const OLD = smallImage(1);
const GOOD = smallImage(2);
const FLASH = 0x80000;

const label = fc.oneof(
  fc.constantFrom("ota_0", "ota_1", "factory", "otadata", "storage", "js_code", "nvs", "", "x"),
  fc.string({ unit: fc.constantFrom(..."a_0\x01\xff\x1b "), maxLength: 16 }),
);
const offset = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 1, max: 7 }).map((n) => n * 0x10000) },
  { weight: 3, arbitrary: fc.constantFrom(0x9000, 0xa000, 0xc000, 0xe000, 0x18000, 0x1f000) },
  { weight: 1, arbitrary: fc.constantFrom(0, 0x1000, 0x8000, 0x10800, 0x7f000, FLASH) },
);
const size = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0x10000, 0x20000) },
  { weight: 2, arbitrary: fc.constantFrom(0x1000, 0x2000, 0x3000) },
  { weight: 1, arbitrary: fc.constantFrom(0, 1, 0x800, 0x10800, 0x60000, 0xfffff000, 0xffffffff) },
);
const kind: fc.Arbitrary<readonly number[]> = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom([0, 0x10], [0, 0x11], [0, 0x12]) },
  { weight: 3, arbitrary: fc.constantFrom([0, 0], [1, 0], [0, 0x20], [0, 0x1f], [0, 0x13]) },
  { weight: 2, arbitrary: fc.constantFrom([1, 2], [1, 0x41], [2, 0], [3, 0], [0x40, 7], [0, 0x21], [255, 255]) },
);
const odd = fc
  .record({ label, kind, offset, size })
  .map(({ label, kind: [type, subtype], offset, size }): Row => ({ label, type, subtype, offset, size, flags: 0 }));

const usual: Row[] = [
  { label: "otadata", type: 1, subtype: 0, offset: 0xc000, size: 0x2000, flags: 0 },
  { label: "ota_0", type: 0, subtype: 0x10, offset: 0x10000, size: 0x10000, flags: 0 },
  { label: "ota_1", type: 0, subtype: 0x11, offset: 0x20000, size: 0x10000, flags: 0 },
  { label: "storage", type: 1, subtype: 0x41, offset: 0x30000, size: 0x10000, flags: 0 },
];
/** A usual table with rows changed, added, dropped and in another order. */
const table = fc
  .tuple(
    fc.array(fc.tuple(fc.nat(3), fc.record({ label, kind, offset, size }, { requiredKeys: [] })), { maxLength: 3 }),
    fc.array(odd, { maxLength: 3 }),
    fc.shuffledSubarray([0, 1, 2, 3], { minLength: 3 }),
  )
  .map(([changes, more, kept]) => {
    const rows = usual.map((row) => ({ ...row }));
    for (const [at, { kind, ...rest }] of changes)
      Object.assign(rows[at], rest, kind ? { type: kind[0], subtype: kind[1] } : {});
    return [...kept.map((at) => rows[at]), ...more];
  });

/** The device that such a table makes; null when nothing starts from it. */
function rigOf(rows: Row[]): Rig | null {
  const board = boardWith(rows, "toy-two", { flashSize: FLASH });
  try {
    // an image wherever a slot is
    return createRig({ board, images: {}, flash: flashOf(rows), engine: { nowMs: 1000 } });
  } catch (error) {
    if (/nothing boots|label|rows fit/.test((error as Error).message)) return null;
    throw error;
  }
}

function flashOf(rows: Row[]): Uint8Array {
  const bytes = new Uint8Array(FLASH).fill(0xff);
  for (const { type, offset } of rows)
    if (type === 0 && offset >= 0x10000 && offset + OLD.length <= FLASH) bytes.set(OLD, offset);
  bytes.set(buildTable(rows), 0x8000);
  return bytes;
}

const CALLS = ["update", "begin", "rollback", "setBoot", "markValid", "boot"] as const;

async function attack(rows: Row[], call: (typeof CALLS)[number], insecure: boolean): Promise<void> {
  const rig = rigOf(rows);
  if (!rig) return;
  const { device } = rig;
  const { engine } = device;
  const running = device.boots[0].slot as Row;
  // a Storage that is none the engine erases at its start
  const since = rig.operations().length;
  const before = device.flash.peek(running.offset, running.size);
  rig.net = file(GOOD);
  rig.knows(GOOD);
  const trust = insecure ? { insecure: true } : { digest: `fsverity-sha256:${fsverity(GOOD)}` };
  const config = { url: URL_OF("/"), ...trust, retries: 0, timeout: 2000, deadline: 60_000 };
  const { ota } = device;
  const said = (error: any) => assert.equal(typeof error.retry, "boolean", `${call}: no OtaError: ${error?.message}`);
  let target = "";
  const plainly = (f: () => unknown): any => {
    try {
      return f();
    } catch (error) {
      said(error);
      return null;
    }
  };
  let ended: Ended | "hangs" = {};
  if (call === "update") ended = await rig.call("update", config, 300_000);
  if (call === "begin")
    ended = await rig.settle(
      ota
        .begin(rig.config(config))
        .then(engine.run("(function (h) { return h.perform().then(function () { h.abort(); }); })")),
      300_000,
    );
  if (call === "rollback") ended = await rig.settle(ota.rollback(), 300_000);
  if (call === "boot") ended = await rig.settle(ota.boot(), 300_000);
  if (call === "setBoot") {
    const next = plainly(() => ota.getNextUpdatePartition());
    if (next) ended = await rig.settle(ota.setBootPartition(next), 300_000);
  }
  if (call === "markValid") plainly(() => ota.markValid());
  for (const getter of [
    "getNextUpdatePartition",
    "getBootPartition",
    "getRunningPartition",
    "getLastInvalidPartition",
    "getStatus",
  ])
    if (!device.rebootAsked) {
      const found = plainly(() => ota[getter]());
      if (getter === "getNextUpdatePartition" && found) target = found.label;
    }
  assert.notEqual(ended, "hangs");
  const { error } = ended as Ended;
  if (error && !device.rebootAsked) {
    said(error);
    assert.doesNotMatch(error.message, /undefined|not a function|Cannot/, call);
  }
  if (!device.rebootAsked) assert.deepEqual(engine.problems, []);
  assert.deepEqual(device.flash.violations, []);
  const { address, size } = device.storage.files.area;
  for (const op of rig.operations(since)) {
    const within = (row: { offset: number; size: number }) =>
      op.addr >= row.offset && op.addr + op.length <= row.offset + row.size;
    if (op.kind === "write" && op.addr >= address && op.addr < address + size) continue;
    assert.ok(!within(running), `${op.kind} at 0x${op.addr.toString(16)}, in the running slot`);
    const allowed = rows.filter(
      (row) => (row.type === 1 && row.subtype === 0) || (row.type === 0 && row.label === target),
    );
    assert.ok(allowed.some(within), `${op.kind} at 0x${op.addr.toString(16)}, target ${target || "unknown"}`);
  }
  assert.ok(Buffer.compare(before, device.flash.peek(running.offset, running.size)) === 0, "the running slot changed");
  device.stop();
}

test("with any partition table only target, otadata and record are written", async (t) => {
  await holds(
    t,
    fc.record({
      rows: table,
      call: fc.constantFrom(...CALLS, "update" as const, "update" as const),
      insecure: fc.boolean(),
    }),
    ({ rows, call, insecure }) => attack(rows, call, insecure),
    { share: 0.2 },
  );
});
