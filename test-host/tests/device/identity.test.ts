// Which image is it? Decided by its bytes (docs/espruino.md#what-names-a-build): all classic builds of Espruino since 2v22 carry one descriptor.
// With factory and ota_0, the table of a stock classic board, unless a test says otherwise.

import assert from "node:assert/strict";
import { test } from "node:test";
import { buildImage, layoutOf } from "../../support/images.ts";
import { behaves, failsWith, type Outcome, plain, succeeds, touchesNothing } from "../../support/fixture.ts";
import { cutAt } from "../../support/server.ts";
import {
  digestOf,
  espruinoImage,
  missing,
  published,
  type Signed,
  startSigned,
  withText,
} from "../../support/signed.ts";

const OLD = espruinoImage({ version: "2v27.45" });
const NEW = espruinoImage({ version: "2v27.46" });

const ok = (outcome: Outcome): any => {
  assert.ifError(outcome.error ? new Error(`${outcome.error.name}: ${outcome.error.message}`) : null);
  return outcome.result;
};
const statusOf = ({ fixture }: Signed): any => plain(fixture.device.ota.getStatus());
const versionsOf = (signed: Signed): Record<string, string | undefined> =>
  Object.fromEntries(statusOf(signed).slots.map((slot: any) => [slot.label, slot.version]));

/** Bytes of flash that the program reads meanwhile. */
async function bytesRead({ fixture }: Signed, act: () => Promise<unknown>): Promise<number> {
  const before = fixture.device.flash.counts.bytesRead;
  await act();
  return fixture.device.flash.counts.bytesRead - before;
}

/** Installed over the signed way, started and confirmed. */
async function install(signed: Signed, image: Uint8Array, claims = {}): Promise<void> {
  ok(await signed.update(image, claims));
  signed.fixture.device.restart();
  signed.fixture.device.ota.markValid();
  signed.fixture.remember();
  signed.fetched();
}

/** The offer is what runs: nothing but the manifest is fetched, nothing is installed. */
async function isUpToDate(signed: Signed, image: Uint8Array): Promise<void> {
  signed.fixture.remember();
  signed.fetched();
  const offer = ok(await signed.check(image));
  assert.deepEqual([offer.available, offer.waiting], [false, false]);
  assert.deepEqual(ok(await signed.update(image)), { upToDate: true });
  assert.equal(signed.fetched(), 0, "the image was fetched");
  touchesNothing(signed.fixture);
}

// --- Another image

test("the two builds of these tests differ in their texts, not in their descriptor", () => {
  assert.equal(OLD.length, NEW.length);
  assert.deepEqual(OLD.subarray(0, 288), NEW.subarray(0, 288));
  const { checksum } = layoutOf(OLD);
  const differing = [...OLD.subarray(0, checksum).keys()].filter((at) => OLD[at] !== NEW[at]);
  assert.ok(differing.length <= 2, `${differing.length} bytes differ`);
});

for (const [from, to, way] of [
  [OLD, NEW, "newer"],
  [NEW, OLD, "older"],
] as const)
  test(`a ${way} build of the same descriptor is another image, and is installed`, async (t) => {
    const signed = await startSigned(t, { images: { factory: from }, image: to });
    const offer = ok(await signed.check(to));
    assert.deepEqual([offer.available, offer.waiting], [true, false]);
    await succeeds(signed.fixture, await signed.update(to), "ota_0");
    await isUpToDate(signed, to);
  });

const REAL = "images/espruino-2v27.45-esp32.bin";
for (const way of ["to", "from"] as const)
  test(`a published 2v27.45 is updated ${way} another build of the same descriptor`, {
    skip: missing(REAL),
  }, async (t) => {
    const real = published(REAL);
    const other = withText(real, "2v27.45", "2v27.46");
    const [running, offered] = way === "to" ? [real, other] : [other, real];
    const storage = { partition: "storage", address: 0x320000, size: 0xe0000 };
    const signed = await startSigned(t, { board: "esp32", images: { factory: running }, image: offered });
    assert.equal(statusOf(signed).version, way === "to" ? "2v27.45" : "2v27.46");
    assert.equal(ok(await signed.check(offered, { image: { storage } })).available, true);
    await succeeds(signed.fixture, await signed.update(offered, { image: { storage } }), "ota_0");
    assert.equal(statusOf(signed).version, way === "to" ? "2v27.46" : "2v27.45");
    await isUpToDate(signed, offered);
  });

// --- The same image

test("what an update installed is known again without a look at its flash", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD } });
  await install(signed, NEW);
  for (let start = 0; start < 2; start++) {
    assert.ok((await bytesRead(signed, () => isUpToDate(signed, NEW))) < NEW.length / 2, "the slot was hashed");
    signed.fixture.device.restart();
  }
  behaves(signed.fixture);
});

test("what came by USB is hashed once, and the answer is kept over a restart", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD } });
  const first = await bytesRead(signed, async () => assert.equal(ok(await signed.check(OLD)).available, false));
  assert.ok(first >= OLD.length, `${first} bytes were read`);
  for (let start = 0; start < 2; start++) {
    assert.ok((await bytesRead(signed, () => isUpToDate(signed, OLD))) < OLD.length / 2, "the slot was hashed again");
    signed.fixture.device.restart();
  }
  const other = await bytesRead(signed, async () => assert.equal(ok(await signed.check(NEW)).available, true));
  assert.ok(other < OLD.length / 2, "the slot was hashed for another image");
  behaves(signed.fixture);
});

test("an image that came by USB over a recorded one is not taken for that", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD } });
  const { device } = signed.fixture;
  await install(signed, NEW);
  const usb = espruinoImage({ version: "2v27.99" });
  assert.equal(usb.length, NEW.length);
  device.flash.load(usb, device.row("ota_0").offset);
  device.restart();
  assert.equal(device.running, "ota_0");
  assert.equal(ok(await signed.check(NEW)).available, true, "the recorded image is believed to run");
  await isUpToDate(signed, usb);
});

test("an image with other bytes behind its own end is another file", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD } });
  const longer = new Uint8Array([...OLD, 1, 2, 3, 4]);
  assert.equal(ok(await signed.check(longer)).available, true);
  const shorter = espruinoImage({ version: "2v27.45" }, { size: 61008 - 16 });
  assert.equal(ok(await signed.check(shorter)).available, true);
});

// --- Installed, and waiting for the restart

test("between update and restart an image is installed and waits, and nothing is done", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD } });
  const { fixture } = signed;
  ok(await signed.update(NEW));
  fixture.remember();
  signed.fetched();
  const offer = ok(await signed.check(NEW));
  assert.deepEqual([offer.available, offer.waiting], [false, true]);
  const { upToDate, waiting, partition } = ok(await signed.update(NEW));
  assert.deepEqual([upToDate, waiting, partition.label], [false, true, "ota_0"]);
  assert.match(failsWith(await signed.begin(NEW), "INVALID_VERSION").message, /installed and waits for the restart/);
  assert.equal(signed.fetched(), 0, "the image was fetched");
  touchesNothing(fixture);
  assert.equal(ok(await signed.check(espruinoImage({ version: "2v27.47" }))).available, true);
  assert.equal(ok(await signed.check(OLD)).available, false, "what runs is not another image");
  fixture.device.restart();
  assert.equal(fixture.device.running, "ota_0");
  await isUpToDate(signed, NEW);
  behaves(fixture);
});

test("an image that waits and was overwritten since does not wait any more", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD } });
  const { fixture } = signed;
  ok(await signed.update(NEW));
  const third = espruinoImage({ version: "2v27.47" });
  fixture.server.on("/cut.bin", cutAt(third, 30000, "close"));
  failsWith(await signed.update(third, { image: { url: "cut.bin" } }), "HTTP_INCOMPLETE_DATA", true);
  const offer = ok(await signed.check(NEW));
  assert.deepEqual([offer.available, offer.waiting], [true, false]);
  fixture.device.restart();
  assert.equal(fixture.device.running, "factory");
});

// --- The target

test("a target that holds the whole image is selected without a download or an erase", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD, ota_0: NEW } });
  const { fixture } = signed;
  fixture.remember();
  const { partition, upToDate } = ok(await signed.update(NEW));
  assert.deepEqual([partition.label, upToDate], ["ota_0", false]);
  assert.equal(signed.fetched(), 0, "the image was fetched");
  const { offset, size } = fixture.device.row("ota_0");
  const inTarget = fixture.device.flash.log.filter(({ addr }) => addr >= offset && addr < offset + size);
  assert.deepEqual(inTarget, [], "the target was written");
  fixture.device.restart();
  assert.equal(fixture.device.running, "ota_0");
  behaves(fixture);
});

for (const [what, inTarget] of [
  ["another build of the same descriptor", espruinoImage({ version: "2v27.47" })],
  ["the image with one byte changed", withByte(NEW, 40000)],
  ["the image without its end", NEW.slice(0, 50000)],
] as const)
  test(`a target that holds ${what} is downloaded to`, async (t) => {
    const signed = await startSigned(t, { images: { factory: OLD, ota_0: inTarget }, image: NEW });
    const outcome = await signed.update(NEW);
    assert.ok(signed.fetched() > 0, "nothing was fetched");
    await succeeds(signed.fixture, outcome, "ota_0");
  });

function withByte(image: Uint8Array, at: number): Uint8Array {
  const copy = image.slice();
  copy[at] ^= 1;
  return copy;
}

test("back to the build that ran before costs no download", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD } });
  await install(signed, NEW);
  assert.equal(ok(await signed.update(OLD)).partition.label, "factory");
  assert.equal(signed.fetched(), 0, "the image was fetched");
  signed.fixture.device.restart();
  assert.equal(signed.fixture.device.running, "factory");
  await isUpToDate(signed, OLD);
});

// --- getStatus()

test("getStatus gives the running slot Espruino's version, others their manifest's", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD } });
  assert.deepEqual(versionsOf(signed), { factory: "2v27.45", ota_0: undefined });
  ok(await signed.update(NEW, { version: "spring" }));
  assert.deepEqual(versionsOf(signed), { factory: "2v27.45", ota_0: "spring" });
  signed.fixture.device.restart();
  assert.deepEqual(versionsOf(signed), { factory: "5240e60", ota_0: "2v27.46" });
  assert.equal(statusOf(signed).version, "2v27.46");
});

test("getStatus gives no version to a slot whose image is not whole", async (t) => {
  const named = buildImage({ size: 61008, seed: 9, descriptor: { version: "7.7.7" } });
  const signed = await startSigned(t, { images: { factory: OLD, ota_0: named } });
  const { fixture } = signed;
  assert.equal(versionsOf(signed).ota_0, "7.7.7", "a whole image has its descriptor's");
  fixture.server.on("/cut.bin", cutAt(NEW, 30000, "close"));
  failsWith(await signed.update(NEW, { image: { url: "cut.bin" } }), "HTTP_INCOMPLETE_DATA", true);
  assert.equal(versionsOf(signed).ota_0, undefined);
  ok(await signed.update(NEW, { version: "spring" }));
  const { offset } = fixture.device.row("ota_0");
  fixture.device.flash.load(new Uint8Array(4096).fill(0xff), offset);
  assert.equal(versionsOf(signed).ota_0, undefined, "the end of the recorded image is not the image");
  fixture.device.flash.load(named, offset);
  assert.equal(versionsOf(signed).ota_0, "7.7.7", "the record tells of another image");
  fixture.device.flash.load(new Uint8Array(4096).fill(0xff), offset);
  assert.equal(versionsOf(signed).ota_0, undefined);
});

test("a digest of the caller's own makes an image known to later manifests", async (t) => {
  const signed = await startSigned(t, { images: { factory: OLD }, image: NEW });
  const { fixture } = signed;
  ok(await fixture.update({ digest: digestOf(NEW) }));
  assert.equal(ok(await signed.check(NEW)).waiting, true);
  fixture.device.restart();
  assert.ok((await bytesRead(signed, () => isUpToDate(signed, NEW))) < NEW.length / 2, "the slot was hashed");
});
