// The calls of esp_ota_ops.h that read, and `headers` as a function, in the real interpreter.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createDevice } from "../../sim/device.ts";
import { ESPRUINO, runInEngine, warnWithoutEngine } from "../../real-espruino/engine.ts";
import { buildBootloader, buildImage } from "../../support/images.ts";
import { serveFile, startServer } from "../../support/server.ts";
import { missing, published } from "../../support/signed.ts";

warnWithoutEngine();
const skip = ESPRUINO ? false : "ESPRUINO is not set";
const IMAGE = buildImage({ size: 20000, seed: 2, descriptor: { version: "2.0.2" } });

async function reportOf(program: string, bootloader?: Uint8Array): Promise<any> {
  const device = createDevice({ board: "toy-factory-one" });
  device.flash.load(IMAGE, device.row("ota_0").offset);
  if (bootloader) device.flash.load(bootloader, device.board.bootloaderOffset);
  const run = await runInEngine(device, program);
  assert.equal(run.reports.length, 1, run.output);
  return run.reports[0];
}

test("the description of a slot, of the next slot and of a rollback", { skip }, async () => {
  const report = await reportOf(`report({
    version: ota.getDescription("ota_0").version, next: ota.getNextUpdatePartition("ota_0").label,
    possible: ota.canRollback() }); finish();`);
  assert.deepEqual(report, { version: "2.0.2", next: "factory", possible: true });
});

test("rollback({ restart: false }) selects the other slot and goes on", { skip }, async () => {
  const report = await reportOf(`ota.rollback({ restart: false }).then(function (code) {
    report({ code: code, boot: ota.getBootPartition().label, running: ota.getRunningPartition().label }); finish(); });`);
  assert.deepEqual(report, { code: 0, boot: "ota_0", running: "factory" });
});

test("the descriptor of a bootloader", { skip }, async () => {
  const bootloader = buildBootloader("esp32", 1, { idfVer: "v5.5.1", dateTime: "Jul  1 2026 12:00:00" });
  const desc = await reportOf("report(ota.getBootloaderDescription()); finish();", bootloader);
  assert.equal(desc.idfVer, "v5.5.1");
  assert.equal(desc.states, true);
});

test("a published bootloader is known by its CRC", {
  skip: skip || missing("cases/bootloader-esp32.bin"),
}, async () => {
  const bootloader = published("cases/bootloader-esp32.bin");
  const desc = await reportOf("report(ota.getBootloaderDescription()); finish();", bootloader);
  assert.deepEqual([desc.idfVer, desc.states, desc.rollback], ["v3.3.6", true, false]);
});

test("headers of a function go along, and what it throws is told", { skip }, async (t) => {
  const server = await startServer();
  t.after(() => server.close());
  server.on("/fw.bin", serveFile(IMAGE));
  const report = await reportOf(`
    var config = { url: ${JSON.stringify(server.url("/fw.bin"))}, insecure: true };
    config.headers = function () { throw new Error("no token"); };
    ota.update(config).catch(function (error) {
      config.headers = function () { return { "X-Token": "t" }; };
      ota.update(config).then(function () { report({ name: error.name, message: error.message }); finish(); }, finish);
    });`);
  assert.deepEqual(report, { name: "ESP_ERR_INVALID_ARG", message: "headers() threw: no token" });
  assert.deepEqual(
    server.requests.map(({ headers }) => headers["x-token"]),
    ["t"],
  );
});
