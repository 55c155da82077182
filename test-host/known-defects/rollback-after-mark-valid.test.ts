import assert from "node:assert/strict";
import { test } from "node:test";
import { fsverity } from "../fsverity.ts";
import { startScene, plain, settle } from "../scenario.ts";
for (const confirmed of [false, true])
  test("N rolled back after markValid: " + confirmed, async (t) => {
    const scene = await startScene(t);
    const { device } = scene;
    const config = { digest: `fsverity-sha256:${fsverity(scene.image)}` };
    assert.ifError((await scene.update(config)).error);
    device.restart();
    assert.equal(device.running, "ota_0");
    if (confirmed) device.ota.markValid();
    void settle(device, device.ota.rollback()).catch(() => {});
    for (let pass = 0; pass < 200 && !device.rebootAsked; pass++) await device.engine.advance(1);
    device.restart();
    assert.equal(device.running, "factory");
    console.log("rolledBack", (plain(device.ota.getStatus()) as any).rolledBack);
    const o = await scene.update(config);
    console.log(o.error?.name, o.result, "requests", scene.server.requests.length);
    assert.equal(o.error?.name, "ESP_ERR_NOT_ALLOWED");
  });
