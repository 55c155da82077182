// Trial boots, markValid and rollback in the real interpreter: one process for each start of the device, over the same
// flash and the same Storage.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type BootloaderKind, BOOTLOADERS, STATE } from "../../sim/bootloader.ts";
import { createDevice, type Device } from "../../sim/device.ts";
import { ESPRUINO, type EngineRun, runInEngine, warnWithoutEngine } from "../../real-espruino/engine.ts";
import { fsverity } from "../../support/fsverity.ts";
import { buildImage } from "../../support/images.ts";
import { entries } from "../../support/fixture.ts";
import { serveFile, type Server, startServer } from "../../support/server.ts";

warnWithoutEngine();
const options = { skip: ESPRUINO ? false : "ESPRUINO is not set" };

const IMAGE = buildImage({ size: 20000, seed: 2, descriptor: { version: "2.0.2" } });
let server: Server;

before(async () => {
  server = await startServer();
  server.on("/fw.bin", serveFile(IMAGE));
});
after(() => server.close());

/** What a trial is tried on: where the new image goes, where the old one is, and how the bootloader goes about it. */
type Case = { board: string; old: string; target: string; kind: BootloaderKind };
const CASES: Case[] = [
  { board: "toy-factory-one", old: "factory", target: "ota_0", kind: BOOTLOADERS.idf3 },
  { board: "toy-factory-one", old: "factory", target: "ota_0", kind: BOOTLOADERS.current },
  { board: "toy-two", old: "ota_0", target: "ota_1", kind: BOOTLOADERS.current },
];

/** One start of the device: `program` runs, until it calls `finish()` or the device restarts. */
function start(device: Device, kind: BootloaderKind, program: string): Promise<EngineRun> {
  return runInEngine(device, `${program}\n`, { bootloader: kind });
}

const BOOT = `ota.boot({ attempts: 2, onTrial: function (n, most) { report({ trial: n, most: most }); } }).then(
  function (trial) { report({ trial: trial, status: ota.getStatus() }); finish(); },
  function (error) { reportError(error); finish(); });`;

const update = (more = "") => `ota.update({
  url: ${JSON.stringify(server.url("/fw.bin"))}, digest: "fsverity-sha256:${fsverity(IMAGE)}", retries: 0${more}
}).then(function (result) { report(result.partition.label); finish(); }, function (error) { reportError(error); finish(); });`;

async function install({ board, target, kind }: Case): Promise<Device> {
  const device = createDevice({ board });
  const run = await start(device, kind, update());
  assert.deepEqual(run.reports, [target], run.output);
  return device;
}

function runsNext(run: EngineRun, label: string): void {
  assert.equal(run.boot.slot?.label, label, run.output);
}

for (const one of CASES) {
  const { board, old, target, kind } = one;
  const where = `${board}, ${kind.name}`;

  test(`an image that is never confirmed is left after its last start (${where})`, options, async () => {
    const device = await install(one);
    for (const boots of [1, 2]) {
      const run = await start(device, kind, BOOT);
      assert.deepEqual(run.reports[0], { trial: boots, most: 2 }, run.output);
      assert.equal(run.reports[1].trial, true);
      assert.equal(run.reports[1].status.running, target);
      assert.deepEqual(run.reports[1].status.trial, { boots, previous: old });
      assert.equal(run.counts.erases + run.counts.writes, 0, "counting a start costs no flash operation of ours");
      runsNext(run, target);
    }
    const last = await start(device, kind, BOOT);
    // what follows is of the interpreter's Linux build, where a restart ends nothing
    assert.deepEqual(last.reports[0], { reboot: true }, last.output);
    runsNext(last, old);

    const back = await start(device, kind, BOOT);
    assert.deepEqual([back.reports[0].trial, back.reports[0].status.running], [false, old], back.output);
    // no verdict of the program's: it may be installed again
    assert.deepEqual(back.reports[0].status.rolledBack, []);
    const again = await start(device, kind, update());
    assert.deepEqual(again.reports, [target], again.output);
    runsNext(again, target);
  });

  test(`markValid ends the trial, for all starts to come (${where})`, options, async () => {
    const device = await install(one);
    const run = await start(
      device,
      kind,
      `ota.boot({ attempts: 1 }).then(function () { ota.markValid(); finish(); });`,
    );
    runsNext(run, target);
    for (let i = 0; i < 2; i++) {
      const next = await start(device, kind, BOOT);
      assert.deepEqual([next.reports[0].trial, next.reports[0].status.trial], [false, null], next.output);
      assert.equal(next.reports[0].status.state, STATE.VALID);
      runsNext(next, target);
    }
  });

  test(`rollback() goes back at once, and the image is not installed again (${where})`, options, async () => {
    const device = await install(one);
    const run = await start(device, kind, "ota.rollback().catch(function (error) { reportError(error); finish(); });");
    assert.deepEqual(run.reports, [{ reboot: true }], run.output);
    runsNext(run, old);
    const refused = await start(device, kind, update());
    assert.match(refused.reports[0].error, /rolled back/);
  });
}

for (const [what, check, good] of [
  ["true", "return true;", true],
  ["false", "return false;", false],
  ["something that is only like true", "return 1;", false],
  ["nothing, because it throws", 'throw new Error("broken");', false],
] as const)
  test(`confirmAfter: a check that returns ${what} ${good ? "confirms" : "rolls back"}`, options, async () => {
    const [, one] = CASES;
    const device = await install(one);
    const run = await start(
      device,
      one.kind,
      `ota.boot();
      ota.confirmAfter(30, function () { ${check} }).then(
        function (said) { report({ said: said }); finish(); }, function (error) { reportError(error); finish(); });`,
    );
    // the process outlives its restart by an idle pass, a device does not
    assert.deepEqual(run.reports[0], good ? { said: true } : { reboot: true }, run.output);
    runsNext(run, good ? one.target : one.old);
  });

test("a bootloader with rollback: NEW, PENDING_VERIFY, and VALID by markValid", options, async () => {
  const device = createDevice({ board: "toy-two" });
  const kind = BOOTLOADERS.rollback;
  await start(device, kind, update());
  assert.equal(entries(device)[1].state, STATE.NEW);
  const run = await start(
    device,
    kind,
    `report(ota.getState(ota.getRunningPartition()));
    ota.update({ url: ${JSON.stringify(server.url("/fw.bin"))}, insecure: true }).catch(function (error) {
      reportError(error); ota.markValid(); report(ota.getState(ota.getRunningPartition())); finish(); });`,
  );
  assert.deepEqual([run.reports[0], run.reports[2]], [STATE.PENDING_VERIFY, STATE.VALID], run.output);
  assert.equal(run.reports[1].name, "ESP_ERR_OTA_ROLLBACK_INVALID_STATE");
  runsNext(run, "ota_1");
  assert.equal((await start(device, kind, BOOT)).reports[0].trial, false);
});

test("a bootloader with rollback aborts an unconfirmed image, the third time for good", options, async () => {
  const device = createDevice({ board: "toy-two" });
  const kind = BOOTLOADERS.rollback;
  for (let time = 1; time <= 3; time++) {
    const installed = await start(device, kind, update());
    assert.deepEqual(installed.reports, ["ota_1"], `time ${time}: ${installed.output}`);
    const trial = await start(device, kind, BOOT);
    assert.equal(trial.reports[1].status.state, STATE.PENDING_VERIFY, trial.output);
    runsNext(trial, "ota_0");
  }
  const refused = await start(device, kind, update());
  assert.match(refused.reports[0].error, /rolled back/, refused.output);
});

for (const [what, text] of [
  ["empty", ""],
  ["no JSON", "\u0000\u00ff{"],
  ["foreign JSON", '["slot", 7]'],
  ["of other types", '{"slot":7,"previous":null,"boots":"2","sequence":-1}'],
] as const)
  test(`a boot record that is ${what} is not a trial, and hinders nothing`, options, async () => {
    const [, one] = CASES;
    const device = createDevice({ board: one.board });
    const run = await start(
      device,
      one.kind,
      `[".https-ota", ".https-ota0", ".https-ota1"].forEach(function (name) {
        require("Storage").write(name, ${JSON.stringify(text)} || "\\xff");
      });
      ${BOOT.replace("finish();", `${update()}`)}`,
    );
    assert.deepEqual([run.reports[0].trial, run.reports[0].status.trial], [false, null], run.output);
    assert.equal(run.reports[1], one.target, run.output);
    assert.equal((await start(device, one.kind, BOOT)).reports[1].status.trial.boots, 1);
  });
