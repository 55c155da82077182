// The update in the real interpreter: the committed minified bundle over real HTTP and TLS on loopback.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createDevice, type Device } from "../../sim/device.ts";
import {
  ESPRUINO,
  type EngineRun,
  runInEngine,
  tooSmallForTls,
  warnWithoutEngine,
} from "../../real-espruino/engine.ts";
import { fsverity } from "../../support/fsverity.ts";
import { buildImage, mutations } from "../../support/images.ts";
import * as serve from "../../support/server.ts";

warnWithoutEngine();
const options = { skip: ESPRUINO ? false : "ESPRUINO is not set" };
const secure = { skip: await tooSmallForTls() };

const IMAGE = buildImage({ chip: "esp32", size: 65536, seed: 2, descriptor: { version: "2.0" } });
const URL_OF = (server: serve.Server, path: string) => JSON.stringify(server.url(path));
let http: serve.Server;
let https: serve.Server;

before(async () => {
  http = await serve.startServer();
  https = await serve.startServer({ tls: true });
});
after(async () => {
  await http.close();
  await https.close();
});

/** Runs `update(config)` and reports its result or error; `config` is the text of an object literal's fields. */
function updateScenario(config: string): string {
  return `
    var events = [];
    var usage = process.memory().usage;
    ota.update({ ${config}, onEvent: function (name, data) { if (name !== "WRITE_FLASH" || data % 16384 === 0) events.push(name); } }).then(
      function (result) { report({ result: result, events: events }); setTimeout(leftOver, 50); },
      function (error) { reportError(error); setTimeout(leftOver, 50); });
    function leftOver() {
      events = undefined;
      report({ timersAndSockets: Object.keys(global["\\xff"] || {}).length, leak: process.memory().usage - usage });
      finish();
    }`;
}

function keptOldImage(device: Device, run: EngineRun, before: Uint8Array): void {
  assert.equal(run.boot.slot?.label, "factory");
  assert.deepEqual(device.slot("factory", before.length), before);
}

for (const scheme of ["http", "https"] as const) {
  const server = () => (scheme === "http" ? http : https);
  const where = scheme === "http" ? options : secure;

  test(`installs an image over ${scheme}, by its digest, and selects it`, where, async () => {
    const device = createDevice();
    server().on("/fw.bin", serve.serveFile(IMAGE, { ranges: true, etag: '"a"' }));
    const run = await runInEngine(
      device,
      updateScenario(`url: ${URL_OF(server(), "/fw.bin")}, digest: "fsverity-sha256:${fsverity(IMAGE)}"`),
    );
    assert.equal(run.reports[0].result?.partition.label, "ota_0", run.output);
    assert.deepEqual(run.reports[0].events.slice(0, 4), [
      "START",
      "CONNECTED",
      "VERIFY_CHIP_ID",
      "VERIFY_CHIP_REVISION",
    ]);
    assert.deepEqual(run.reports[0].events.slice(-2), ["UPDATE_BOOT_PARTITION", "FINISH"]);
    assert.equal(run.boot.slot?.label, "ota_0");
    assert.deepEqual(device.slot("ota_0", IMAGE.length), IMAGE);
    assert.equal(run.counts.erases, IMAGE.length / 4096 + 1, "one erase a sector, and one of otadata");
  });

  test(`keeps the old image when the ${scheme} body is cut and no retry is left`, where, async () => {
    const device = createDevice();
    const before = device.slot("factory", 60000);
    server().on("/cut.bin", serve.cutAt(IMAGE, 30000, "reset", { times: 9 }));
    const run = await runInEngine(
      device,
      updateScenario(`url: ${URL_OF(server(), "/cut.bin")}, insecure: true, retries: 0`),
    );
    assert.equal(run.reports[0].name, "ESP_ERR_HTTP_INCOMPLETE_DATA", run.output);
    assert.equal(run.reports[0].retry, true);
    keptOldImage(device, run, before);
  });

  test(`finishes over ${scheme} when the connection is cut once, fetching no byte twice`, where, async () => {
    const device = createDevice();
    server().on("/cut1.bin", serve.cutAt(IMAGE, 30000, "reset", { times: 1 }));
    const run = await runInEngine(device, updateScenario(`url: ${URL_OF(server(), "/cut1.bin")}, insecure: true`));
    assert.equal(run.reports[0].result?.size, IMAGE.length, run.output);
    assert.equal(run.boot.slot?.label, "ota_0");
    const [first, second] = server().requests.filter((one) => one.path === "/cut1.bin");
    assert.equal(first.range?.start, 0);
    assert.ok((second.range?.start ?? 0) > 20000, `came back from ${second.range?.start}`);
  });
}

test("follows a redirect to another origin and does not send the headers there", secure, async () => {
  const device = createDevice();
  https.on("/there.bin", serve.serveFile(IMAGE));
  http.on("/here", serve.redirect(302, https.url("/there.bin")));
  const run = await runInEngine(
    device,
    updateScenario(`url: ${URL_OF(http, "/here")}, insecure: true, headers: { Authorization: "Bearer secret" }`),
  );
  assert.equal(run.reports[0].result?.size, IMAGE.length, run.output);
  assert.equal(http.requests.find((one) => one.path === "/here")?.headers.authorization, "Bearer secret");
  assert.equal(https.requests.find((one) => one.path === "/there.bin")?.headers.authorization, undefined);
});

test("keeps the old image when the file is truncated", options, async () => {
  const device = createDevice();
  const before = device.slot("factory", 60000);
  http.on("/short.bin", serve.serveFile(IMAGE.subarray(0, 40000)));
  const run = await runInEngine(device, updateScenario(`url: ${URL_OF(http, "/short.bin")}, insecure: true`));
  assert.equal(run.reports[0].name, "ESP_ERR_OTA_VALIDATE_FAILED", run.output);
  keptOldImage(device, run, before);
});

test("refuses an image for another chip before the first erase", options, async () => {
  const device = createDevice();
  const before = device.slot("factory", 60000);
  http.on("/c3.bin", serve.serveFile(buildImage({ chip: "esp32c3", size: 65536 })));
  const run = await runInEngine(device, updateScenario(`url: ${URL_OF(http, "/c3.bin")}, insecure: true`));
  assert.equal(run.reports[0].name, "ESP_ERR_INVALID_VERSION", run.output);
  assert.equal(run.counts.erases, 0);
  keptOldImage(device, run, before);
});

test("does not select an image whose digest or checksum is wrong", options, async () => {
  for (const [path, image, config] of [
    ["/other.bin", IMAGE, `digest: "fsverity-sha256:${"00".repeat(32)}"`],
    ["/flip.bin", mutations.checksum(IMAGE), "insecure: true"],
  ] as const) {
    const device = createDevice();
    const before = device.slot("factory", 60000);
    http.on(path, serve.serveFile(image));
    const run = await runInEngine(device, updateScenario(`url: ${URL_OF(http, path)}, ${config}`));
    assert.equal(run.reports[0].name, "ESP_ERR_OTA_VALIDATE_FAILED", run.output);
    keptOldImage(device, run, before);
  }
});

test("abort in the middle frees everything, and the next update works", options, async () => {
  const device = createDevice();
  http.on("/fw.bin", serve.serveFile(IMAGE, { ranges: true }));
  const run = await runInEngine(
    device,
    `
    ota.begin({ url: ${URL_OF(http, "/fw.bin")}, insecure: true }).then(function (handle) {
      return handle.perform().then(function (outcome) {
        report({ outcome: outcome, read: handle.getImageLenRead(), size: handle.getImageSize() });
        handle.abort();
        return handle.perform();
      });
    }).catch(function (error) {
      reportError(error);
      return ota.update({ url: ${URL_OF(http, "/fw.bin")}, insecure: true });
    }).then(function (result) { report(result); finish(); }, function (error) { reportError(error); finish(); });`,
  );
  assert.deepEqual(run.reports[0], { outcome: 0x9001, read: 4096, size: IMAGE.length }, run.output);
  assert.equal(run.reports[1].name, "ESP_ERR_INVALID_STATE");
  assert.equal(run.reports[2].size, IMAGE.length);
  assert.equal(run.boot.slot?.label, "ota_0");
});

test("a caller that pauses gets the rest later, over a new connection", options, async () => {
  const device = createDevice();
  http.on("/pause.bin", serve.serveFile(IMAGE, { ranges: true, etag: '"p"' }));
  const run = await runInEngine(
    device,
    `
    ota.begin({ url: ${URL_OF(http, "/pause.bin")}, insecure: true }).then(function (handle) {
      function step() {
        return handle.perform().then(function (outcome) {
          if (outcome !== ota.ERR.IN_PROGRESS) return handle.finish().then(function () { report({ done: true }); finish(); });
          setTimeout(function () { step().catch(reportError); }, handle.getImageLenRead() === 8192 ? 500 : 0);
        });
      }
      return step();
    }).catch(function (error) { reportError(error); finish(); });`,
  );
  assert.deepEqual(run.reports, [{ done: true }], run.output);
  assert.deepEqual(device.slot("ota_0", IMAGE.length), IMAGE);
  assert.ok(http.requests.filter((one) => one.path === "/pause.bin").length > 1, "the connection was held back");
});
