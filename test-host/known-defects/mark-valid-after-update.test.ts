import assert from "node:assert/strict";
import { test } from "node:test";
import { startScene, newImage } from "../scenario.ts";
import { serveFile } from "../server.ts";
for (const board of ["toy-two", "toy-factory-one", "toy-factory-two"])
  test("X markValid() after an update, before the restart, on " + board, async (t) => {
    const scene = await startScene(t, { board });
    const { device } = scene;
    assert.ifError((await scene.update()).error);
    device.restart();
    const first = device.running;
    const two = newImage("esp32", 9);
    scene.server.on("/fw.bin", serveFile(two));
    const o = await scene.update();
    assert.ifError(o.error);
    const boot = device.ota.getBootPartition().label;
    device.ota.markValid();
    const after = device.ota.getBootPartition().label;
    console.log(
      board,
      "running",
      first,
      "selected",
      boot,
      "after markValid",
      after,
      device.storage.get(".https-ota") && Buffer.from(device.storage.get(".https-ota")!).toString(),
    );
    device.restart();
    console.log("runs", device.running);
    assert.equal(after, boot);
  });
