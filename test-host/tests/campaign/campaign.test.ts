// Power failure: the campaigns on full-size layouts, and the machinery itself. The toy layouts have files of their
// own, campaign-*.test.ts, so that they run side by side; what is promised is in docs/power-fail.md.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type Op, TORN, tornErase, tornWrite } from "../../campaign/faults.ts";
import { idOf, parseId } from "../../campaign/ids.ts";
import { compareWithKills } from "../../campaign/kill.ts";
import { createSession, simulateLifetime } from "../../campaign/lifetime.ts";
import { replay } from "../../campaign/replay-case.ts";
import { powerFailDoc } from "../../campaign/report.ts";
import { cutState, originOf, runCell, runCells } from "../../campaign/runner.ts";
import { SCENARIOS, scenarioOf } from "../../campaign/scenarios.ts";
import { assertSound, bundle } from "../../campaign/suite.ts";
import { createInitialState, FULL_SIZE, stateKey } from "../../campaign/initial-states.ts";
import { SECTOR } from "../../sim/flash.ts";
import { noise } from "../../support/images.ts";
import { leftOut, part } from "../../support/share.ts";
import type { Row } from "../../sim/partitions.ts";

// --- Full-size layouts

const LEFT_OUT = "cells of full size";

for (const layout of FULL_SIZE)
  test(`${layout}: power fails at every 16th sector and at every operation on otadata`, async (t) => {
    const all = [
      ["current", "update"],
      ["rollback", "update"],
      ["current", "rollback"],
    ];
    for (const [kind, scenario] of part(t, all, 3, LEFT_OUT)) {
      const cells = [{ layout, start: "one", kind, scenario }];
      const reports = await runCells(bundle(), cells, { name: "every", stride: 16 });
      assertSound(reports);
      if (scenario === "update") assert.ok(reports[0].distinct > 16, `${reports[0].distinct} snapshots only`);
    }
  });

for (const start of ["newer", "older"])
  test(`esp32, ${start}: builds with 256 and 896 KB of Storage leave the program's files`, async (t) => {
    for (const scenario of part(t, ["update", "rollback", "trial", "bad-image"], 4, LEFT_OUT)) {
      const cells = [{ layout: "esp32", start, kind: "current", scenario }];
      assertSound(await runCells(bundle(), cells, { name: "every", stride: 16 }));
    }
  });

// --- Snapshots and kills

for (const [cell, orders] of [
  ["toy-two/one/current/update", ["update:new"]],
  ["toy-two/blank/current/second", ["update:first!", "update:new!"]],
  ["toy-factory-one/one/idf3/update", ["update:new"]],
  ["toy-factory-two/two-0/rollback/markValid", ["markValid"]],
  ["toy-factory-two/two-0/current/rollback", ["rollback"]],
  ["toy-three/two-1/rollback/setBoot:ota_2", ["setBoot:ota_2"]],
  ["toy-two/storage-nearly/current/trial", ["boot:2"]],
  ["toy-two/storage-misnamed/current/update", ["update:new"]],
] as [string, string[]][])
  test(`killed devices are left as the snapshots say: ${cell}`, async (t) => {
    if (leftOut(t, 4, "of power cuts of a real process")) return;
    const { layout, start, kind, scenario } = parseId(cell);
    const initial = createInitialState(layout, start, kind);
    const from = await originOf(createSession(bundle()), initial, scenarioOf(scenario));
    const { compared, disagreements } = await compareWithKills(initial, from, orders);
    assert.ok(compared >= 2);
    assert.deepEqual(disagreements, []);
  });

test("before the first operation and after the last one are visited too", async () => {
  const session = createSession(bundle());
  const initial = createInitialState("toy-two", "one", "current");
  const lifetime = await simulateLifetime(session, initial, scenarioOf("update"), initial.origin, { retry: false });
  const [first] = lifetime.steps;
  const last = lifetime.steps[lifetime.steps.length - 1];
  assert.equal(stateKey(cutState(first, "before", 1)), stateKey(initial.origin));
  assert.equal(stateKey(cutState(last, "after", 1)), stateKey(lifetime.end));
  const report = await runCell(
    session,
    { layout: "toy-two", start: "one", kind: "current", scenario: "update" },
    { name: "every" },
  );
  assert.equal(report.snapshots, lifetime.steps.length * 4);
});

test("five sectors cost five erases, a record before the first and after the last", async () => {
  const initial = createInitialState("toy-two", "one", "current");
  const lifetime = await simulateLifetime(createSession(bundle()), initial, scenarioOf("update"), initial.origin, {
    retry: false,
  });
  const erases = lifetime.steps.filter(({ kind, addr }) => kind === "erase" && addr >= 0x10000);
  assert.equal(erases.length, 5);
  const { offset } = initial.board.rows.find(({ label }) => label === "storage") as Row;
  const inStorage = lifetime.steps.map(({ addr }) => addr >= offset);
  assert.equal(inStorage[0], true);
  assert.ok(
    lifetime.steps.slice(inStorage.lastIndexOf(true) + 1).every(({ addr }) => addr === 0xc000 || addr === 0xd000),
  );
  const between = inStorage.slice(inStorage.indexOf(false), inStorage.lastIndexOf(true) + 1);
  assert.equal(between.filter(Boolean).length, 1, "a record is one write");
});

// --- Tears

const OP: Op = { kind: "write", addr: 0x20000, length: 256 };

test("a torn write only clears bits of its write, a torn erase only sets bits", () => {
  const old = noise(5, SECTOR);
  const blank = new Uint8Array(SECTOR).fill(0xff);
  const data = noise(6, 256);
  for (let seed = 1; seed < 20; seed++) {
    for (const torn of ["prefix", "bits"] as const) {
      const left = tornWrite(blank, 512, data, torn, seed, OP);
      assert.ok(left.every((byte, i) => (i >= 512 && i < 768 ? (byte | data[i - 512]) === byte : byte === 0xff)));
      assert.notDeepEqual(left, blank);
      assert.notDeepEqual(left.subarray(512, 768), data);
    }
    for (const torn of ["half", "noise"] as const) {
      const left = tornErase(old, torn, seed, { kind: "erase", addr: 0x20000, length: SECTOR });
      assert.ok(left.every((byte, i) => (byte & old[i]) === old[i]));
      assert.notDeepEqual(left, old);
      assert.notDeepEqual(left, blank);
    }
  }
});

test("the same seed leaves the same of a torn write, another one does not", () => {
  const blank = new Uint8Array(SECTOR).fill(0xff);
  const torn = (seed: number) => tornWrite(blank, 0, noise(6, 256), "bits", seed, OP);
  assert.deepEqual(torn(3), torn(3));
  assert.notDeepEqual(torn(3), torn(4));
  assert.deepEqual(
    Object.values(TORN).map((list) => [list[0], list[list.length - 1]]),
    [
      ["before", "after"],
      ["before", "after"],
    ],
  );
});

// --- IDs and replay

test("an ID is read as it is written", () => {
  const text = "toy-two/one/current/setBoot:ota_1@3.prefix+11.half#42";
  const id = parseId(text);
  assert.equal(idOf(id, id.cuts, id.seed), text);
  assert.deepEqual(id.cuts, [
    { step: 3, torn: "prefix" },
    { step: 11, torn: "half" },
  ]);
  assert.throws(() => parseId("toy-two/one/current"), /not an ID/);
  assert.throws(() => parseId("toy-two/one/current/update@x"), /not a cut/);
});

test("replay tells a case with two cuts and dumps its flash", async (t) => {
  if (leftOut(t, 2, "of power cuts of a real process")) return;
  const { lines, flash, problems, last } = await replay(bundle(), "toy-two/one/current/update@5.prefix+3.half#7");
  assert.deepEqual(problems, []);
  assert.equal(last.image, "new");
  assert.equal(flash.length, 0x40000);
  const text = lines.join("\n");
  for (const part of [
    /boot: Loaded app/,
    /power fails in step 5/,
    /power fails in step 3/,
    /verdict: good/,
    /update:new: ota_1/,
  ])
    assert.match(text, part);
});

test("npm run replay -- ID --dump FILE", () => {
  const folder = mkdtempSync(join(tmpdir(), "replay-"));
  try {
    const file = join(folder, "flash.bin");
    const script = fileURLToPath(new URL("../../campaign/replay.ts", import.meta.url));
    const args = [...process.execArgv.filter((arg) => !arg.startsWith("--test")), script];
    const out = execFileSync(process.execPath, [...args, "toy-two/one/current/update@2.after#1", "--dump", file], {
      encoding: "utf8",
    });
    assert.match(out, /verdict: good, runs new/);
    assert.equal(readFileSync(file).length, 0x40000);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

// --- Documents

test("docs/power-fail.md is what the tables say: npm run campaign -- --docs", () => {
  const file = new URL("../../../docs/power-fail.md", import.meta.url);
  assert.ok(existsSync(file), "it is missing");
  assert.equal(readFileSync(file, "utf8"), powerFailDoc());
});

test("every scenario and start has a name of its own", () => {
  assert.equal(new Set(SCENARIOS.map(({ name }) => name)).size, SCENARIOS.length);
});
