// E: the host's address or connection takes long (synchronous in the engine: gethostbyname and connect), then fails
import assert from "node:assert/strict";
import { test } from "node:test";
import { createDevice } from "../device.ts";
import { runInEngine } from "../engine/engine.ts";
for (const seconds of [6, 12])
  test(`a lookup that blocks for ${seconds} s and fails`, async () => {
    const device = createDevice({ board: "toy-factory-one" });
    const run = await runInEngine(
      device,
      `
    var asked = 0, t0 = getTime();
    Modules.addCached("http", function () {
      exports.request = function () {
        asked++;
        var t = getTime(); while (getTime() - t < ${seconds}) {}
        throw new Error("Unable to locate host");
      };
    });
    ota.update({ url: "http://nowhere.example/fw.bin", insecure: true, retries: 1 }).then(function () {}, function (e) {
      report({ name: e.name, message: e.message, asked: asked, after: getTime() - t0 }); finish();
    });`,
      { timeoutMs: 60000 },
    );
    console.log(run.reports);
    assert.equal(run.reports[0].name, "ESP_ERR_HTTP_CONNECT");
  });
