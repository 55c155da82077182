// A program that save() keeps (Storage file .varimg) is dropped at the start by firmware of another commit, so neither
// boot() nor confirmAfter() ever runs after an update. Such a device is not updated unless its owner says so.

import assert from "node:assert/strict";
import { test } from "node:test";
import { behaves, failsCleanly, plain, settle, succeeds } from "../../support/fixture.ts";
import { digestOf, espruinoImage, startSigned } from "../../support/signed.ts";

const OLD = espruinoImage({ version: "2v27.45" });
const NEW = espruinoImage({ version: "2v27.46" });
const SAYS = /save\(\) keeps the program .*\.varimg.*\.boot0 or by E\.setBootCode\(\).*allowSavedState/;
const TRUSTS = ["keys", "digest", "insecure"] as const;

for (const trust of TRUSTS)
  for (const call of ["update", "begin"] as const)
    test(`${call}() with ${trust} refuses at once when save() keeps the program`, async (t) => {
      const signed = await startSigned(t, { images: { factory: OLD }, image: NEW });
      const { fixture } = signed;
      fixture.device.save("print(1)");
      fixture.remember();
      const config = trust === "digest" ? { digest: digestOf(NEW) } : { insecure: true };
      const begin = () => fixture.outcome(fixture.device.ota.begin(fixture.config(config)));
      const outcome =
        trust === "keys" ? await signed[call](NEW) : await (call === "update" ? fixture.update(config) : begin());
      await failsCleanly(fixture, outcome, "INVALID_STATE", { says: SAYS });
      assert.equal(fixture.server.requests.length, 0);
    });

for (const trust of TRUSTS)
  test(`allowSavedState installs with ${trust} and leaves the file as it is`, async (t) => {
    const signed = await startSigned(t, { images: { factory: OLD }, image: NEW });
    const { fixture } = signed;
    fixture.device.save("print(1)");
    const saved = fixture.device.storage.get(".varimg");
    const allowed = { allowSavedState: true };
    const outcome =
      trust === "keys"
        ? await signed.update(NEW, {}, allowed)
        : await fixture.update({
            ...allowed,
            ...(trust === "digest" ? { digest: digestOf(NEW) } : { insecure: true }),
          });
    await succeeds(fixture, outcome, "ota_0");
    assert.deepEqual(fixture.device.storage.get(".varimg"), saved);
  });

test("checkForUpdate() answers when save() keeps the program", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD } });
  signed.fixture.device.save("print(1)");
  assert.equal((await signed.check(NEW)).result?.available, true);
  assert.equal((await signed.check(OLD)).result?.available, false);
  behaves(signed.fixture);
});

test("programs in .boot0 or .bootcde, or saved and erased, are not a saved state", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD }, image: NEW });
  const { device } = signed.fixture;
  for (const name of [".boot0", ".bootcde", ".varimg2"]) device.storage.set(name, Buffer.from("print(1)"));
  device.save("print(1)");
  device.engine.run('require("Storage").erase(".varimg")');
  await succeeds(signed.fixture, await signed.update(NEW), "ota_0");
});

test("boot(), markValid() and rollback() work when save() keeps a program", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD }, image: NEW });
  const { fixture } = signed;
  await succeeds(fixture, await signed.update(NEW), "ota_0");
  const { device } = fixture;
  device.save("print(1)");
  const started = await settle(device, device.ota.boot(device.engine.run("({ attempts: 3 })")));
  assert.equal(started.result, true);
  device.ota.markValid();
  assert.equal(plain(device.ota.getStatus()).trial, null);
  void settle(device, device.ota.rollback()).catch(() => {});
  for (let pass = 0; pass < 200 && !device.rebootAsked; pass++) await device.engine.advance(1);
  device.restart();
  assert.equal(device.running, "factory");
});

test("what save() kept in the old build does not run in the new one", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD }, image: NEW });
  const { device } = signed.fixture;
  device.save("savedRan = 1");
  // it runs from the idle loop
  const ran = () => device.engine.advance(0).then(() => device.engine.run("typeof savedRan !== 'undefined'"));
  device.restart();
  assert.equal(await ran(), true, "the model does not load what was saved");
  await succeeds(signed.fixture, await signed.update(NEW, {}, { allowSavedState: true }), "ota_0");
  assert.equal(await ran(), false);
});
