// Espressif's own cases (docs/design.md#espressifs-own-tests), against the built bundle.
//
// Not applicable, and why:
//   A2, A3, A13        resumption after a restart: a promise of its own (docs/design.md#resume), tested where that is
//   A4, S2             flash encryption: raw writes would be garbage, such a device is refused (layout.test.ts)
//   A11                anti-rollback by eFuse: JavaScript can't burn or count them; sequence numbers in manifests instead
//   A14                BLE beside Wi-Fi: a matter of the radio
//   S3, S4, S5         signatures appended to the image: authenticity comes from digest or manifest (docs/design.md#trust)
//   S6                 TLS 1.3 only: Espruino can't (http.test.ts has the refusal); TLS 1.2 is in S1 and A10
//   T4                 updates of bootloader, partition table and data partitions: out of scope
//   T6 pin_factory_reset, test app: GPIO inputs of the bootloader, no concern of an updater
//   T6 get_sha256_of_partition, esp_ota_write_with_offset, erase_last_boot_app_partition: not in the public surface
//   T6 finalisation by esp_partition_copy, recovery bootloader: out of scope

import assert from "node:assert/strict";
import { test } from "node:test";
import { BOOTLOADERS, type BootloaderKind, buildEntry, STATE } from "../../sim/bootloader.ts";
import type { Device } from "../../sim/device.ts";
import { SECTOR } from "../../sim/flash.ts";
import { buildImage, mutations, noise, padTo } from "../../support/images.ts";
import {
  behaves,
  bootsNewImage,
  entries,
  failsCleanly,
  failsWith,
  IDF,
  newImage,
  nothingLeft,
  oldImage,
  type Fixture,
  settle,
  createFixture,
  succeeds,
  touchesNothing,
  updateFrom,
} from "../../support/fixture.ts";
import { noLength, redirect, type Server, serveFile, startServer } from "../../support/server.ts";

const BIG = buildImage({ size: 96000, seed: 5 });

async function begin(fixture: Fixture, config = {}): Promise<any> {
  return fixture.device.engine.call(fixture.device.ota.begin(fixture.config(config)));
}

// --- 1T.1 advanced_https_ota ---------------------------------------------------------------------------------------

test("A1: a valid image over HTTPS is installed and boots, three times running", async (t) => {
  const fixture = await createFixture(t, { tls: true });
  for (const [seed, label] of [
    [11, "ota_0"],
    [12, "factory"],
    [13, "ota_0"],
  ] as const) {
    const image = newImage("esp32", seed);
    fixture.remember();
    await succeeds(fixture, await updateFrom(fixture, serveFile(image)), label, image);
  }
});

test("A5: an image of which only 64000 bytes are served is corrupted, not selected", async (t) => {
  const fixture = await createFixture(t, { board: "esp32", image: BIG.subarray(0, 64000) });
  const outcome = await fixture.update();
  await failsCleanly(fixture, outcome, "OTA_VALIDATE_FAILED", { touched: ["ota_0"], says: /64000/ });
});

test("A6: a header of 180 bytes is refused by begin, before a descriptor is read", async (t) => {
  const fixture = await createFixture(t, { image: mutations.truncateInDescriptor(newImage()) });
  await failsCleanly(fixture, await fixture.update(), "INVALID_SIZE", { says: /180.*1024/ });
});

test("A7: random bytes that begin with 0 are refused before the first erase", async (t) => {
  const fixture = await createFixture(t, { image: mutations.firstByteZero(noise(7, 32000)) });
  const handle = await begin(fixture);
  assert.throws(
    () => handle.getImgDesc(),
    (error: any) => error.code === IDF.NOT_FOUND,
  );
  const outcome = await fixture.outcome(handle.perform());
  await failsCleanly(fixture, outcome, "OTA_VALIDATE_FAILED", { says: /0x0\b.*0xe9/ });
});

test("A8: an image for another chip is refused before the first erase", async (t) => {
  const fixture = await createFixture(t, { image: mutations.chipIdByte13Fe(newImage().subarray(0, 2000)) });
  await failsCleanly(fixture, await fixture.update(), "INVALID_VERSION", { says: /65024/ });
});

test("A9: a body that only the closing ends is refused before the first erase", async (t) => {
  const fixture = await createFixture(t);
  const outcome = await updateFrom(fixture, noLength(fixture.image));
  await failsCleanly(fixture, outcome, "INVALID_RESPONSE", { says: /Content-Length/ });
});

test("A9: where the same server answers a Range request with 206 the update succeeds", async (t) => {
  const fixture = await createFixture(t);
  const ranged = serveFile(fixture.image);
  const plain = noLength(fixture.image);
  const outcome = await updateFrom(fixture, (req, io) => (req.range ? ranged : plain)(req, io));
  await succeeds(fixture, outcome, "ota_0");
});

test("A9: a 206 with a Content-Range and no Content-Length is refused", async (t) => {
  const fixture = await createFixture(t);
  const outcome = await updateFrom(fixture, noLength(fixture.image, { ranges: true }));
  await failsCleanly(fixture, outcome, "INVALID_RESPONSE", { says: /Content-Length/ });
});

test("A10: 301 to 301 to the file, over three HTTPS servers, is followed", async (t) => {
  const fixture = await createFixture(t, { tls: true });
  const hops: Server[] = [await startServer({ tls: true }), await startServer({ tls: true })];
  t.after(() => Promise.all(hops.map((hop) => hop.close())));
  hops[0].on("/fw.bin", redirect(301, hops[1].url("/fw.bin")));
  hops[1].on("/fw.bin", redirect(301, fixture.server.url("/fw.bin")));
  await succeeds(fixture, await fixture.update({ url: hops[0].url("/fw.bin") }), "ota_0");
  assert.deepEqual(
    hops.map((hop) => hop.requests.length),
    [1, 1],
  );
});

test("A12: a download in parts takes exactly ceil(n / part) requests without a gap", async (t) => {
  const fixture = await createFixture(t);
  await succeeds(fixture, await fixture.update({ maxRequestSize: 16384 }), "ota_0");
  const ranges = fixture.server.requests.map((req) => req.headers.range);
  assert.deepEqual(ranges, ["bytes=0-16383", "bytes=16384-32767", "bytes=32768-49151", "bytes=49152-65535"]);
});

test("A15: random padding to a multiple of 289 bytes is installed with its image", async (t) => {
  const fixture = await createFixture(t, { image: mutations.trailingGarbage289(newImage()) });
  await succeeds(fixture, await fixture.update(), "ota_0");
});

test("A16: an image for a later chip revision is refused where the revision is read", async (t) => {
  const fixture = await createFixture(t, { revision: 300, image: buildImage({ seed: 2, minRevision: 301 }) });
  await failsCleanly(fixture, await fixture.update(), "INVALID_VERSION", { says: /301.*300/ });
});

test("A17: an image for older chip revisions is refused where the revision is read", async (t) => {
  const fixture = await createFixture(t, {
    revision: 300,
    image: buildImage({ seed: 2, minRevision: 0, maxRevision: 2 }),
  });
  await failsCleanly(fixture, await fixture.update(), "INVALID_VERSION", { says: /300/ });
});

for (const revision of [0, 100, 101, 200, 300, 301, 303])
  test(`A16, A17: revision ${revision} of the classic ESP32 is read as such`, async (t) => {
    const fixture = await createFixture(t, { revision, image: null });
    const above = buildImage({ seed: 2, minRevision: revision + 1 });
    await failsWith(await updateFrom(fixture, serveFile(above)), "INVALID_VERSION");
    if (revision > 1) {
      const below = buildImage({ seed: 2, maxRevision: revision - 1 });
      await failsWith(await updateFrom(fixture, serveFile(below)), "INVALID_VERSION");
    }
    touchesNothing(fixture);
    const exact = buildImage({ seed: 2, minRevision: revision, maxRevision: revision });
    await succeeds(fixture, await updateFrom(fixture, serveFile(exact)), "ota_0", exact);
  });

test("A16: on a C3 the bootloader refuses such an image, and the old one starts", async (t) => {
  const image = buildImage({ chip: "esp32c3", seed: 2, minRevision: 9999 });
  const fixture = await createFixture(t, { board: "esp32c3", image });
  assert.equal((await fixture.update()).error, undefined);
  fixture.device.restart();
  assert.equal(fixture.device.running, "ota_0");
  assert.match(fixture.device.boots.at(-1)?.log.join("\n") ?? "", /chip revision check failed/);
});

// --- 1T.2 simple_ota_example ---------------------------------------------------------------------------------------

test("S1: ota_0 loads, one call updates, and ota_1 loads with the bytes of the file", async (t) => {
  const fixture = await createFixture(t, { board: "toy-two", tls: true });
  assert.match(fixture.device.boots[0].log.at(-2) ?? "", /Loaded app from partition at offset 0x10000/);
  await succeeds(fixture, await fixture.update(), "ota_1");
  assert.match(fixture.device.boots[1].log.at(-1) ?? "", /Loaded app from partition at offset 0x20000/);
});

// --- 1T.3 native_ota_example ---------------------------------------------------------------------------------------

test("N1: after an update the device waits for its program to restart it", async (t) => {
  const fixture = await createFixture(t);
  const outcome = await fixture.update();
  assert.ifError(outcome.error);
  assert.equal(fixture.device.rebootAsked, false);
  fixture.device.engine.run("require('https-ota').restart()");
  assert.equal(fixture.device.rebootAsked, true);
  bootsNewImage(fixture, "ota_0");
});

test("N2: a file cut at 64000 bytes is refused after the download, step by step", async (t) => {
  const fixture = await createFixture(t, { board: "esp32", image: BIG.subarray(0, 64000) });
  const handle = await begin(fixture);
  let code: unknown = IDF.HTTPS_OTA_IN_PROGRESS;
  while (code === IDF.HTTPS_OTA_IN_PROGRESS) code = await fixture.device.engine.call(handle.perform());
  assert.equal(code, IDF.OK);
  assert.equal(handle.isCompleteDataReceived(), true);
  const outcome = await fixture.outcome(handle.finish());
  await failsCleanly(fixture, outcome, "OTA_VALIDATE_FAILED", { touched: ["ota_0"] });
});

test("N3: a package of 180 bytes is not long enough", async (t) => {
  const fixture = await createFixture(t, { image: newImage().subarray(0, 180) });
  await failsCleanly(fixture, await fixture.update(), "INVALID_SIZE");
});

test("N4: random data has an invalid magic byte, and nothing is erased", async (t) => {
  const fixture = await createFixture(t, { image: noise(4, 32000) });
  await failsCleanly(fixture, await fixture.update(), "OTA_VALIDATE_FAILED", { says: /first byte/ });
});

test("N5: a chunked body is installed", async (t) => {
  const fixture = await createFixture(t, { image: null });
  const image = newImage();
  const outcome = await updateFrom(fixture, serveFile(image, { chunked: true, ranges: false, chunkSize: 3000 }));
  await succeeds(fixture, outcome, "ota_0", image);
});

// --- 1T.6 test_app_update ------------------------------------------------------------------------------------------

test("esp_ota_begin verifies arguments: running and unknown slots are refused", async (t) => {
  const fixture = await createFixture(t);
  failsWith(await fixture.update({ partition: "factory" }), "OTA_PARTITION_CONFLICT");
  failsWith(await fixture.update({ partition: "ota_7" }), "NOT_FOUND");
  failsWith(await fixture.update({ partition: "otadata" }), "NOT_FOUND");
  failsWith(await fixture.update({ partition: "storage" }), "NOT_FOUND");
  assert.equal(fixture.server.requests.length, 0, "refused before any request");
  touchesNothing(fixture);
  await nothingLeft(fixture);
  await succeeds(fixture, await fixture.update({ partition: "ota_0" }), "ota_0");
});

test("esp_ota_set_boot_partition verifies arguments: an unknown one is not found", async (t) => {
  const fixture = await createFixture(t, { load: { ota_0: newImage() } });
  const { device } = fixture;
  const good = device.ota.getNextUpdatePartition();
  const call = (code: string) => device.engine.run(code);
  for (const address of [good.address - 1, 0xc000, 0x8000]) {
    const wrong = device.engine.run(`({label:"ota_0",type:0,subtype:16,address:${address},size:${good.size}})`);
    failsWith(await fixture.outcome(device.ota.setBootPartition(wrong)), "NOT_FOUND");
    assert.throws(
      () => device.ota.getState(wrong),
      (error: any) => error.code === IDF.NOT_FOUND,
    );
  }
  for (const wrong of ["undefined", "null", "({})", "'ota_9'", "7"])
    failsWith(await fixture.outcome(device.ota.setBootPartition(call(wrong))), "NOT_FOUND");
  touchesNothing(fixture);
  behaves(fixture);
});

for (const [name, config, says] of [
  ["no config", undefined, /./],
  ["no url", { insecure: true }, /url/],
  ["an empty url", { url: "", insecure: true }, /url/],
  ["another scheme", { url: "ftp://localhost/x", insecure: true }, /expected http/],
  ["a scheme and nothing behind it", { url: "https:", insecure: true }, /expected http/],
  ["a scheme and one slash", { url: "https:/", insecure: true }, /expected http/],
  ["no trust at all", { url: "https://localhost/x" }, /keys, digest, insecure/],
  ["insecure false", { url: "https://localhost/x", insecure: false }, /keys, digest, insecure/],
  [
    "two kinds of trust",
    { url: "https://localhost/x", insecure: true, digest: `fsverity-sha256:${"0".repeat(64)}` },
    /one of/,
  ],
  ["a digest of another kind", { url: "https://localhost/x", digest: `sha512:${"0".repeat(64)}` }, /digest/],
  ["a digest too short", { url: "https://localhost/x", digest: `fsverity-sha256:${"0".repeat(63)}` }, /digest/],
  [
    "a digest that is not hexadecimal",
    { url: "https://localhost/x", digest: `fsverity-sha256:${"g".repeat(64)}` },
    /digest/,
  ],
  ["an unknown field", { url: "https://localhost/x", insecure: true, inSecure: true }, /inSecure/],
  ["a mistyped field", { url: "https://localhost/x", insecure: "true" }, /insecure/],
  ["a number as text", { url: "https://localhost/x", insecure: true, timeout: "20" }, /timeout/],
  ["a negative number", { url: "https://localhost/x", insecure: true, retries: -1 }, /retries/],
  ["half a retry", { url: "https://localhost/x", insecure: true, retries: 0.5 }, /retries/],
  ["no time at all", { url: "https://localhost/x", insecure: true, timeout: 0 }, /timeout/],
  ["one key instead of a list", { url: "https://localhost/x", keys: { kty: "RSA" } }, /keys must be a list/],
  ["an empty list of keys", { url: "https://localhost/x", keys: [] }, /keys must be a list/],
  ["a url instead of a config", "https://localhost/x", /the configuration must be an object/],
  ["null", null, /the configuration must be an object/],
  ["a null", { url: "https://localhost/x", insecure: true, headers: null }, /headers/],
  ["a line end in a header", { url: "https://localhost/x", insecure: true, headers: { a: "b\r\nc: d" } }, /header/],
  ["a line end in the url", { url: "https://localhost/x\r\ny", insecure: true }, /./],
] as const)
  test(`esp_https_ota_begin verifies arguments: ${name} is ESP_ERR_INVALID_ARG`, async (t) => {
    const fixture = await createFixture(t);
    const { device } = fixture;
    const given = config === undefined ? undefined : device.engine.run(`(${JSON.stringify(config)})`);
    for (const call of ["begin", "update"]) {
      const outcome = await fixture.outcome(device.ota[call](given));
      assert.match(failsWith(outcome, "INVALID_ARG").message, says);
    }
    touchesNothing(fixture);
    behaves(fixture);
    await nothingLeft(fixture);
    await succeeds(fixture, await fixture.update(), "ota_0");
  });

test("esp_ota_get_next_update_partition logic: ota_0, then ota_1, then ota_0", async (t) => {
  const fixture = await createFixture(t, { board: "toy-factory-two" });
  for (const [running, next] of [
    ["factory", "ota_0"],
    ["ota_0", "ota_1"],
    ["ota_1", "ota_0"],
  ]) {
    assert.equal(fixture.device.ota.getRunningPartition().label, running);
    assert.equal(fixture.device.ota.getNextUpdatePartition().label, next);
    fixture.remember();
    const image = newImage("esp32", 20 + fixture.device.boots.length);
    await succeeds(fixture, await updateFrom(fixture, serveFile(image)), next, image);
  }
});

test("esp_ota_get_running_partition points to the row that the bootloader loaded", async (t) => {
  const { device } = await createFixture(t);
  const { label, type, subtype, address, size } = device.ota.getRunningPartition();
  assert.deepEqual(
    { label, type, subtype, address, size },
    { label: "factory", type: 0, subtype: 0, address: 0x10000, size: 0x10000 },
  );
});

/** Three images in three slots; each step selects and restarts. */
async function switching(
  t: any,
  kind: BootloaderKind = BOOTLOADERS.current,
): Promise<{ fixture: Fixture; to(label: string): Promise<void> }> {
  const load = { ota_0: newImage("esp32", 30), ota_1: newImage("esp32", 31) };
  const fixture = await createFixture(t, { board: "toy-factory-two", load, bootloader: kind });
  return {
    fixture,
    async to(label) {
      const { device } = fixture;
      const partition = { ...device.row(label), address: device.row(label).offset };
      const outcome = await fixture.outcome(device.ota.setBootPartition(partition));
      assert.equal(outcome.result, IDF.OK, outcome.error?.message);
      behaves(fixture);
      device.restart();
    },
  };
}

for (const kind of Object.values(BOOTLOADERS)) {
  test(`Switching between factory, OTA0, OTA1, OTA0: each boots as chosen (${kind.name})`, async (t) => {
    const { fixture, to } = await switching(t, kind);
    for (const label of ["ota_0", "ota_1", "ota_0", "factory"]) {
      await to(label);
      assert.equal(fixture.device.running, label);
      fixture.device.ota.markValid();
    }
  });

  test(`otatool: the same slot twice in a row works (${kind.name})`, async (t) => {
    const { fixture, to } = await switching(t, kind);
    for (const label of ["ota_0", "ota_1", "ota_1", "ota_0", "ota_0", "factory", "factory", "ota_1"]) {
      await to(label);
      assert.equal(fixture.device.running, label);
      fixture.device.ota.markValid();
    }
  });
}

function corrupt(device: Device, copy: number): void {
  const { address, bytes } = device.otadata();
  const entry = bytes.slice(copy * SECTOR, copy * SECTOR + 32);
  entry[28] ^= 1;
  device.flash.load(entry, address + copy * SECTOR);
}

/** The copy that is active, by its place; fails when none is. */
function activeCopy(device: Device): number {
  const seqs = entries(device).map((entry) => (entry.crcOk && entry.seq !== 0xffffffff ? entry.seq : -1));
  assert.ok(Math.max(...seqs) > 0);
  return seqs[0] > seqs[1] ? 0 : 1;
}

test("Switching between factory, OTA0, corrupt ota_sec1, factory", async (t) => {
  const { fixture, to } = await switching(t);
  await to("ota_0");
  corrupt(fixture.device, activeCopy(fixture.device));
  fixture.device.restart();
  assert.equal(fixture.device.running, "factory");
  assert.equal(fixture.device.ota.getBootPartition().label, "factory");
  assert.equal(fixture.device.ota.getRunningPartition().label, "factory");
});

test("Switching between factory, OTA0, OTA1, corrupt ota_sec2, OTA0", async (t) => {
  const { fixture, to } = await switching(t);
  await to("ota_0");
  await to("ota_1");
  corrupt(fixture.device, activeCopy(fixture.device));
  fixture.device.restart();
  assert.equal(fixture.device.running, "ota_0");
  assert.equal(fixture.device.ota.getBootPartition().label, "ota_0");
});

test("a corrupt record does not keep the next update from working", async (t) => {
  const { fixture, to } = await switching(t);
  await to("ota_0");
  await to("ota_1");
  corrupt(fixture.device, activeCopy(fixture.device));
  fixture.device.restart();
  fixture.remember();
  await succeeds(fixture, await fixture.update(), "ota_1");
});

test("Test rollback. factory, OTA0, OTA0, rollback -> factory, without IDF's rollback", async (t) => {
  const fixture = await createFixture(t);
  await rollbackToFactory(fixture, STATE.NEW);
});

test("Test rollback. factory, OTA0, OTA0, rollback -> factory, with IDF's rollback", async (t) => {
  const fixture = await createFixture(t, { bootloader: BOOTLOADERS.rollback });
  await rollbackToFactory(fixture, STATE.PENDING_VERIFY);
});

async function rollbackToFactory(fixture: Fixture, firstBoot: number): Promise<void> {
  const { device } = fixture;
  const state = (label: string) => device.ota.getState({ ...device.row(label), address: device.row(label).offset });
  assert.throws(
    () => state("factory"),
    (error: any) => error.code === IDF.NOT_SUPPORTED,
  );
  assert.equal(device.ota.getLastInvalidPartition(), null);
  assert.ifError((await fixture.update()).error);
  assert.equal(state("ota_0"), STATE.NEW);
  device.restart();
  assert.equal(device.running, "ota_0");
  assert.equal(state("ota_0"), firstBoot);
  device.ota.markValid();
  assert.equal(state("ota_0"), STATE.VALID);
  device.restart();
  assert.equal(device.running, "ota_0");
  assert.equal(state("ota_0"), STATE.VALID);
  await settle(device, device.ota.rollback()).catch(() => {}); // the restart may come before the answer
  assert.equal(device.rebootAsked, true);
  device.restart();
  assert.equal(device.running, "factory");
  assert.equal(device.ota.getNextUpdatePartition().label, "ota_0");
}

// unlike IDF, which leaves an INVALID entry: a bootloader of IDF 3 would obey it and start the rejected slot again
for (const kind of [BOOTLOADERS.current, BOOTLOADERS.rollback])
  test(`Test rollback. factory, OTA0, rollback -> factory: otadata blank (${kind.name})`, async (t) => {
    const fixture = await createFixture(t, { bootloader: kind });
    const { device } = fixture;
    assert.ifError((await fixture.update()).error);
    device.restart();
    device.ota.markValid();
    await settle(device, device.ota.rollback()).catch(() => {});
    device.restart();
    assert.equal(device.running, "factory");
    assert.ok(device.otadata().bytes.every((byte) => byte === 0xff));
    assert.equal(device.ota.getLastInvalidPartition(), null);
  });

async function inOta1(t: any, kind: BootloaderKind = BOOTLOADERS.current): Promise<Fixture> {
  const fixture = await createFixture(t, { board: "toy-factory-two", bootloader: kind });
  for (const seed of [40, 41]) {
    const image = newImage("esp32", seed);
    assert.ifError((await updateFrom(fixture, serveFile(image))).error);
    fixture.device.restart();
    if (fixture.device.running === "ota_0") fixture.device.ota.markValid();
  }
  assert.equal(fixture.device.running, "ota_1");
  return fixture;
}

const partitionOf = (device: Device, label: string) => ({ ...device.row(label), address: device.row(label).offset });

test("Test rollback. factory, OTA0, OTA1, rollback -> OTA0 by a reset, unconfirmed", async (t) => {
  const { device } = await inOta1(t, BOOTLOADERS.rollback);
  device.powerCycle();
  assert.equal(device.running, "ota_0");
  assert.equal(device.ota.getState(partitionOf(device, "ota_1")), STATE.ABORTED);
  assert.equal(device.ota.getState(partitionOf(device, "ota_0")), STATE.VALID);
  assert.equal(device.ota.getLastInvalidPartition().label, "ota_1");
  assert.equal(device.ota.getNextUpdatePartition().label, "ota_1");
});

for (const kind of [BOOTLOADERS.current, BOOTLOADERS.rollback]) {
  test(`Test rollback. factory, OTA0, OTA1, rollback() -> OTA0, OTA1 INVALID (${kind.name})`, async (t) => {
    const { device } = await inOta1(t, kind);
    await settle(device, device.ota.rollback()).catch(() => {});
    device.restart();
    assert.equal(device.running, "ota_0");
    assert.equal(device.ota.getState(partitionOf(device, "ota_1")), STATE.INVALID);
    assert.equal(device.ota.getLastInvalidPartition().label, "ota_1");
    assert.equal(device.ota.getNextUpdatePartition().label, "ota_1");
  });

  test(`Test rollback. factory, OTA0, OTA1, rollback() -> OTA0, still VALID (${kind.name})`, async (t) => {
    const { device } = await inOta1(t, kind);
    await settle(device, device.ota.rollback()).catch(() => {});
    device.restart();
    assert.equal(device.running, "ota_0");
    assert.equal(device.ota.getState(partitionOf(device, "ota_0")), STATE.VALID);
    device.powerCycle();
    assert.equal(device.running, "ota_0", "a known-good image goes on trial again");
  });
}

test("an update during a trial is ESP_ERR_OTA_ROLLBACK_INVALID_STATE, until markValid", async (t) => {
  const fixture = await createFixture(t, { board: "toy-two", bootloader: BOOTLOADERS.rollback });
  assert.ifError((await fixture.update()).error);
  fixture.device.restart();
  fixture.remember();
  const again = await updateFrom(fixture, serveFile(newImage("esp32", 50)));
  failsWith(again, "OTA_ROLLBACK_INVALID_STATE");
  touchesNothing(fixture);
  await nothingLeft(fixture);
  fixture.device.ota.markValid();
  const image = newImage("esp32", 51);
  fixture.remember();
  await succeeds(fixture, await updateFrom(fixture, serveFile(image)), "ota_0", image);
});

test("rollback without another whole image is ESP_ERR_OTA_ROLLBACK_FAILED", async (t) => {
  const fixture = await createFixture(t, { board: "toy-two" });
  failsWith(await fixture.outcome(fixture.device.ota.rollback()), "OTA_ROLLBACK_FAILED");
  touchesNothing(fixture);
  assert.equal(fixture.device.rebootAsked, false);
});

test("Updated partition invalidated after esp_ota_begin: no record names its slot", async (t) => {
  const fixture = await createFixture(t, {
    board: "toy-factory-two",
    bootloader: BOOTLOADERS.rollback,
    load: { ota_0: newImage("esp32", 40), ota_1: newImage("esp32", 41) },
    otadata: [buildEntry(1, STATE.VALID), buildEntry(2, STATE.VALID)],
  });
  const { device } = fixture;
  assert.equal(device.running, "ota_1");
  const handle = await begin(fixture);
  await device.engine.call(handle.perform());
  assert.throws(
    () => device.ota.getState(partitionOf(device, "ota_0")),
    (error: any) => error.code === IDF.NOT_FOUND,
  );
  handle.abort();
  device.restart();
  assert.equal(device.running, "ota_1");
  assert.equal(device.ota.getState(partitionOf(device, "ota_1")), STATE.VALID);
  assert.equal(device.ota.getLastInvalidPartition(), null);
  assert.throws(
    () => device.ota.getState(partitionOf(device, "ota_0")),
    (error: any) => error.code === IDF.NOT_FOUND,
  );
});

test("markValid during a bootloader's trial leaves the other slot's record VALID", async (t) => {
  const { device } = await inOta1(t, BOOTLOADERS.rollback);
  device.ota.markValid();
  assert.equal(device.ota.getState(partitionOf(device, "ota_1")), STATE.VALID);
  assert.equal(device.ota.getState(partitionOf(device, "ota_0")), STATE.VALID);
});

// unlike IDF, which always rewrites in place: for one erase and write the other slot's entry is the only one then
test("markValid without a bootloader's trial says VALID in the other copy first", async (t) => {
  const { device } = await inOta1(t, BOOTLOADERS.current);
  device.ota.markValid();
  assert.equal(device.ota.getState(partitionOf(device, "ota_1")), STATE.VALID);
  assert.throws(
    () => device.ota.getState(partitionOf(device, "ota_0")),
    (error: any) => error.code === IDF.NOT_FOUND,
  );
});

for (const kind of [BOOTLOADERS.current, BOOTLOADERS.rollback]) {
  async function updateTwice(t: any, check: (device: Device) => void): Promise<Fixture> {
    const fixture = await createFixture(t, {
      board: "toy-two",
      bootloader: kind,
      otadata: [buildEntry(1, STATE.VALID)],
    });
    for (const seed of [60, 61]) {
      assert.ifError((await updateFrom(fixture, serveFile(newImage("esp32", seed)))).error);
      check(fixture.device);
    }
    behaves(fixture);
    return fixture;
  }

  test(`Updated sequence number for non-running partition always: OTA1 boots (${kind.name})`, async (t) => {
    const fixture = await updateTwice(t, (device) => {
      assert.equal(device.ota.getRunningPartition().label, "ota_0");
      assert.notEqual(device.ota.getState(partitionOf(device, "ota_0")), undefined);
      assert.equal(device.ota.getBootPartition().label, "ota_1");
    });
    bootsNewImage(fixture, "ota_1", newImage("esp32", 61));
  });

  test(`two updates without a restart leave the running image as it was (${kind.name})`, async (t) => {
    await updateTwice(t, (device) => {
      assert.equal(device.ota.getState(partitionOf(device, "ota_0")), STATE.VALID);
    });
  });
}

test("esp_https_ota_get_img_desc gives what the file says of itself", async (t) => {
  const elfSha256 = noise(9, 32);
  const image = buildImage({
    seed: 3,
    descriptor: {
      project: "espruino",
      version: "2v29-rc1",
      secureVersion: 7,
      time: "01:02:03",
      date: "Feb  3 2026",
      elfSha256,
    },
  });
  const fixture = await createFixture(t, { image: padTo(image, image.length + 5) });
  const handle = await begin(fixture);
  assert.deepEqual(JSON.parse(JSON.stringify(handle.getImgDesc())), {
    secureVersion: 7,
    version: "2v29-rc1",
    projectName: "espruino",
    time: "01:02:03",
    date: "Feb  3 2026",
    idfVer: "v4.4.8",
    appElfSha256: Buffer.from(elfSha256).toString("hex"),
  });
  handle.abort();
});

test("another SPI mode than the running image's is ESP_ERR_OTA_SPI_MODE_MISMATCH", async (t) => {
  const withMode = (seed: number, spiMode: number) => buildImage({ seed, size: 20000, descriptor: { spiMode } });
  const images = { factory: withMode(1, 3) };
  for (const [spiMode, ok] of [
    [1, false],
    [2, false],
    [5, false],
    [3, true],
    [0, true],
  ] as const) {
    const fixture = await createFixture(t, { images, image: withMode(2, spiMode) });
    const outcome = await fixture.update();
    if (ok) await succeeds(fixture, outcome, "ota_0");
    else await failsCleanly(fixture, outcome, "OTA_SPI_MODE_MISMATCH");
  }
  const unknown = await createFixture(t, { images: { factory: oldImage() }, image: withMode(2, 1) });
  await succeeds(unknown, await unknown.update(), "ota_0");
});

test("the log of a clean update is empty", async (t) => {
  const fixture = await createFixture(t, { tls: true });
  assert.ifError((await fixture.update()).error);
  assert.deepEqual(fixture.device.engine.console, []);
  assert.deepEqual(fixture.device.engine.problems, []);
});
