// What a program asks for by its name: partitions by their labels, and the module itself on a build that cannot run it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { behaves, failsWith, oldImage, plain, settle, createFixture } from "../../support/fixture.ts";

test("findPartition gives any row of the table by its label, and null for none", async (t) => {
  const { device } = await createFixture(t);
  for (const { label, type, subtype, offset, size } of device.board.rows)
    assert.deepEqual(plain(device.ota.findPartition(label)), { label, type, subtype, address: offset, size });
  for (const label of ["", "ota_9", "OTA_0", undefined, 7])
    assert.equal(device.ota.findPartition(label as never), null, `${label}`);
});

test("getState and setBootPartition take a label like a partition", async (t) => {
  const fixture = await createFixture(t, { board: "toy-two", load: { ota_1: oldImage("esp32", 7) } });
  const { device } = fixture;
  assert.ifError((await settle(device, device.ota.setBootPartition("ota_1"))).error);
  assert.equal(device.ota.getState("ota_1"), device.ota.getState(device.ota.findPartition("ota_1")));
  device.restart();
  assert.equal(device.running, "ota_1");
  behaves(fixture);
});

for (const label of ["ota_7", "", "nvs", null, undefined, 3, {}])
  test(`setBootPartition(${JSON.stringify(label)}) is refused, and says where slots are listed`, async (t) => {
    const fixture = await createFixture(t);
    const { device } = fixture;
    const outcome = await settle(device, device.ota.setBootPartition(label as never));
    assert.match(failsWith(outcome, "NOT_FOUND").message, /no slot .*getStatus\(\)\.slots/);
    assert.equal(device.ota.getBootPartition().label, device.running);
  });

test("another device's partition, its label right and its place wrong, is refused", async (t) => {
  const { device } = await createFixture(t);
  const slot = { ...plain(device.ota.findPartition("ota_0")), address: 0x200000 };
  failsWith(await settle(device, device.ota.setBootPartition(slot as never)), "NOT_FOUND");
});

test("on a build without crypto require() says so, and which build has it", async (t) => {
  const { device } = await createFixture(t);
  const said = device.engine.run(`
    var native = require;
    require = function (name) {
      if (name === "crypto") throw new Error('Module "crypto" not found');
      return native(name);
    };
    (function () { try { require("https-ota"); } catch (error) { return error.name + " " + error.message; } })()`);
  assert.match(String(said), /^ESP_ERR_NOT_SUPPORTED this Espruino \(ESP32\) has no crypto module/);
});
