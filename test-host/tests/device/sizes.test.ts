// Files of every awkward length: what is installed, what is refused, and that an update erases exactly as many sectors
// as it needs (docs/design.md#numbers-to-hold).

import assert from "node:assert/strict";
import { test } from "node:test";
import { buildImage, MIN_SIZE, noise, padTo } from "../../support/images.ts";
import {
  boardWith,
  bootsNewImage,
  erasesIn,
  failsCleanly,
  IDF,
  newImage,
  type Outcome,
  createFixture,
  type Fixture,
  plain,
  row,
  SMALL,
  succeeds,
  updateFrom,
} from "../../support/fixture.ts";
import { claimsFor, makeKey, signManifest } from "../../support/release.ts";
import { type FileOptions, serveFile } from "../../support/server.ts";

const SLOT = 0x10000;
const key = await makeKey({ exponent: 3 });
const SERVERS: Record<string, FileOptions> = {
  "Content-Length": { ranges: false },
  Range: { ranges: true },
  chunked: { ranges: false, chunked: true },
  "chunked, Range": { ranges: true, chunked: true },
};

/** WRITE_FLASH says the bytes so far: every full sector, then the end of the file. */
function checkEvents(outcome: Outcome, length: number, total: number): void {
  const wanted = [];
  for (let end = 4096; end < length; end += 4096) wanted.push(["WRITE_FLASH", end, total]);
  wanted.push(["WRITE_FLASH", length, total]);
  assert.deepEqual(
    outcome.events.filter(([name]) => name === "WRITE_FLASH"),
    wanted,
  );
}

async function serves(fixture: Fixture, bytes: Uint8Array, how: string): Promise<Outcome> {
  return updateFrom(fixture, serveFile(bytes, SERVERS[how]));
}

for (const how of Object.keys(SERVERS)) {
  for (const length of [0, 1, 15, 24, 32, 288, 1023])
    test(`a file of ${length} bytes is refused before the first erase: not an image (${how})`, async (t) => {
      const fixture = await createFixture(t, { image: null });
      const file = newImage().subarray(0, length);
      const outcome = await serves(fixture, file, how);
      // an empty file has no byte 0, so that a server with ranges says 416
      const unsatisfiable = outcome.error?.code === IDF.HTTP_RANGE_NOT_SATISFIABLE && length === 0;
      await failsCleanly(fixture, outcome, unsatisfiable ? "HTTP_RANGE_NOT_SATISFIABLE" : "INVALID_SIZE");
    });

  for (const length of [1024, 1025])
    test(`the first ${length} bytes of an image are refused after the download (${how})`, async (t) => {
      const fixture = await createFixture(t, { image: null });
      const file = newImage().subarray(0, length);
      const outcome = await serves(fixture, file, how);
      await failsCleanly(fixture, outcome, "OTA_VALIDATE_FAILED", {
        touched: ["ota_0"],
        says: new RegExp(`${length}`),
      });
    });

  for (const length of [1104, 1105, 4095, 4096, 4097, 8191, 8192, 8193, SLOT - 1, SLOT])
    test(`a file of ${length} bytes costs ${Math.ceil(length / 4096)} erases, and again 0 (${how})`, async (t) => {
      const fixture = await createFixture(t, { board: "toy-two", image: null, load: { ota_1: noise(9, SLOT) } });
      const image = padTo(buildImage({ size: Math.max(MIN_SIZE, (length >> 4) << 4), seed: 2 }), length);
      assert.equal(image.length, length);
      const first = await serves(fixture, image, how);
      const total = how === "chunked" ? -1 : length;
      assert.ifError(first.error ? new Error(first.error.message) : null);
      checkEvents(first, length, total);
      // that the last sector is the last one is not known before the end of a body without length
      const blind = how === "chunked" && length % 4096 === 0 && length < SLOT ? 1 : 0;
      const spare = erasesIn(fixture, "ota_1") - Math.ceil(length / 4096);
      assert.ok(spare >= 0 && spare <= blind, `${spare} erases too many`);
      await succeeds(fixture, first, "ota_1", image);

      // back in the first slot, with the image still lying in the second one
      const { device } = fixture;
      device.flash.load(new Uint8Array(8192).fill(0xff), device.otadata().address);
      device.restart();
      assert.equal(device.running, "ota_0");
      fixture.remember();
      const second = await serves(fixture, image, how);
      assert.ifError(second.error ? new Error(second.error.message) : null);
      assert.equal(erasesIn(fixture, "ota_1"), 0, "the slot held the image already");
      const last = second.events.filter(([name]) => name === "WRITE_FLASH").at(-1);
      // it may have found out without fetching the file, or have fetched the end only
      if (last) assert.deepEqual(last, ["WRITE_FLASH", length, total]);
      assert.equal(second.result.size, length);
      bootsNewImage(fixture, "ota_1", image);
    });

  for (const [by, length] of [
    ["1 byte", SLOT + 1],
    ["a sector", SLOT + 4096],
    ["half a megabyte", SLOT + 0x80000],
  ] as const)
    test(`a file ${by} longer than the slot is ESP_ERR_INVALID_SIZE${how === "chunked" ? "" : ", before the first erase"} (${how})`, async (t) => {
      const fixture = await createFixture(t, { image: null });
      const image = padTo(newImage(), length);
      const outcome = await serves(fixture, image, how);
      // nobody announced it
      const touched = how === "chunked" ? ["ota_0"] : undefined;
      await failsCleanly(fixture, outcome, "INVALID_SIZE", { touched, says: /65536/ });
    });
}

test("an image with segments beyond the slot is refused before the first erase", async (t) => {
  const image = newImage();
  new DataView(image.buffer).setUint32(28, SLOT, true);
  const fixture = await createFixture(t, { image });
  await failsCleanly(fixture, await fixture.update(), "OTA_VALIDATE_FAILED");
});

test("an image longer than the file that holds it is refused", async (t) => {
  const image = newImage();
  for (const cut of [1, 31, 32, 33, image.length >> 1]) {
    const fixture = await createFixture(t, { image: image.subarray(0, image.length - cut) });
    await failsCleanly(fixture, await fixture.update(), "OTA_VALIDATE_FAILED", { touched: ["ota_0"] });
  }
});

test("an image is checked against its target slot, and getStatus says what fits", async (t) => {
  const rows = [
    row("otadata", 1, 0, 0x9000, 0x2000),
    row("factory", 0, 0, 0x10000, SLOT),
    row("ota_0", 0, 0x10, 0x20000, 2 * SLOT),
    row("storage", 1, 0x41, 0x40000, 0x4000),
  ];
  const large = padTo(newImage(), 2 * SLOT);
  const fixture = await createFixture(t, { board: boardWith(rows, SMALL, { flashSize: 0x80000 }), image: large });
  const { slots } = fixture.device.ota.getStatus();
  const sizes = slots.map(({ label, size }: any) => [label, size]);
  assert.deepEqual(plain(sizes), [
    ["ota_0", 2 * SLOT],
    ["factory", SLOT],
  ]);
  const longer = await updateFrom(fixture, serveFile(padTo(large, 2 * SLOT + 1)));
  await failsCleanly(fixture, longer, "INVALID_SIZE", { says: /131073 .* 131072/ });
  await succeeds(fixture, await fixture.update(), "ota_0");
  fixture.remember();
  const manifest = await signManifest(claimsFor(padTo(newImage(), SLOT + 1)), key);
  fixture.server.on("/m.jws", serveFile(Buffer.from(manifest, "latin1")));
  const back = await fixture.update({ url: fixture.server.url("/m.jws"), keys: [key.jwk] });
  await failsCleanly(fixture, back, "INVALID_SIZE", { says: /65537 .* 65536/ });
});

test("sectors that hold their bytes already are not erased again", async (t) => {
  const first = padTo(newImage(), 63000);
  const second = first.slice();
  second[62500] ^= 1; // in the padding
  const fixture = await createFixture(t, { load: { ota_0: first }, image: second });
  const outcome = await fixture.update();
  // the first, so that what is written is not an image before it is verified
  assert.equal(erasesIn(fixture, "ota_0"), 2);
  await succeeds(fixture, outcome, "ota_0");
});

test("a sector that is blank already is erased too, so the count stays exact", async (t) => {
  const fixture = await createFixture(t, { load: { ota_0: new Uint8Array(SLOT).fill(0xff) } });
  const outcome = await fixture.update();
  assert.equal(erasesIn(fixture, "ota_0"), Math.ceil(fixture.image.length / 4096));
  await succeeds(fixture, outcome, "ota_0");
});

test("an update costs as many erases in all as it has sectors, and one for otadata", async (t) => {
  const fixture = await createFixture(t, { board: "toy-two", load: { ota_1: noise(9, SLOT) } });
  const outcome = await fixture.update();
  assert.equal(fixture.device.flash.counts.erases - fixture.mark.erases, Math.ceil(fixture.image.length / 4096) + 1);
  await succeeds(fixture, outcome, "ota_1");
});

test("nothing behind the last sector of the file is touched", async (t) => {
  const old = noise(9, SLOT);
  const image = buildImage({ size: 20000, seed: 2 });
  const fixture = await createFixture(t, { load: { ota_0: old }, image });
  const outcome = await fixture.update();
  const end = Math.ceil(image.length / 4096) * 4096;
  assert.deepEqual(fixture.device.slot("ota_0").subarray(end), old.subarray(end));
  assert.ok(
    fixture.device
      .slot("ota_0")
      .subarray(image.length, end)
      .every((byte) => byte === 0xff),
  );
  await succeeds(fixture, outcome, "ota_0");
});

for (const [size, chunk] of [
  [16384 + 536, 536],
  [16384 + 1200, 600],
  [16384 + 3000, 1000],
  [20480, 4096],
])
  test(`a late end of chunks of ${chunk} does not hold off the last WRITE_FLASH (${size})`, async (t) => {
    const image = padTo(buildImage({ size: 16384, seed: 2, descriptor: { version: "2" } }), size);
    const fixture = await createFixture(t, { image });
    fixture.server.on("/m.jws", serveFile(Buffer.from(await signManifest(claimsFor(image), key))));
    fixture.server.on("/fw.bin", async (_req, io) => {
      await io.head(200, { "Transfer-Encoding": "chunked" });
      for (let at = 0; at < size; at += chunk) {
        const piece = image.subarray(at, at + chunk);
        await io.write(Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from("\r\n")]));
        await io.sleep(3);
      }
      await io.sleep(20);
      await io.write("0\r\n\r\n");
      io.end();
    });
    const outcome = await fixture.update({ url: fixture.server.url("/m.jws"), keys: [key.jwk] });
    assert.ifError(outcome.error);
    checkEvents(outcome, size, size);
  });
