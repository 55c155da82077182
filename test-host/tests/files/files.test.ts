// A release of files: fetched into Storage, committed by one record, started by the loader, taken back.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createFilesFixture, programOf } from "../../support/files-release.ts";

test("a release of files alone is fetched, committed by one record, started by the loader, and confirmed", async (t) => {
  const fixture = await createFilesFixture(t);
  const { device } = fixture;
  assert.equal(fixture.ask("E.otaSet"), "");
  const files = {
    "lib/sensor.js": "exports.read = function () { return 42; };",
    "app.js": programOf("1", 'var value = require("lib/sensor").read();'),
    "logo.img": Buffer.from([0, 255, 1, 255, 255]),
  };
  const { result, error } = await fixture.install(files, { version: "1.0" });
  assert.ifError(error ? new Error(error.message) : null);
  assert.equal(result.upToDate, false);
  assert.equal(result.partition.label, "factory");
  device.restart();
  assert.equal(fixture.ask("running"), "1", device.engine.console.join());
  assert.equal(fixture.ask("value"), 42);
  assert.equal(fixture.ask('require("Storage").read(ota.file("logo.img"))'), "\x00\xff\x01\xff\xff");
  const status = JSON.parse(fixture.ask("JSON.stringify(ota.getStatus())"));
  assert.deepEqual(status.release, { version: "1.0", entry: "app.js", files: Object.keys(files) });
  assert.deepEqual(status.trial, { boots: 1, previous: "factory" });
  fixture.ask("ota.markValid()");
  device.restart();
  assert.equal(fixture.ask("running"), "1");
  assert.equal(fixture.ask("ota.getStatus().trial"), null);
  assert.equal(fixture.stored().length, 4);
});
