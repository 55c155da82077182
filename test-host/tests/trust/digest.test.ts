// `digest`: the fs-verity digest decides. The wanted values come from an implementation of its own (fsverity.ts, which
// is checked against fsverity-utils' vectors in fsverity.test.ts), the module's from what lies in flash.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fsverity } from "../../support/fsverity.ts";
import { bootsAnyway, buildImage, mutations, padTo } from "../../support/images.ts";
import {
  type Config,
  failsCleanly,
  IDF,
  newImage,
  type Fixture,
  createFixture,
  succeeds,
  updateFrom,
} from "../../support/fixture.ts";
import { cutAt, serveFile } from "../../support/server.ts";
import { overEach } from "../../support/transport.ts";
import { leftOut } from "../../support/share.ts";

const digestOf = (bytes: Uint8Array): Config => ({ digest: `fsverity-sha256:${fsverity(bytes)}` });
const WRITTEN = { touched: ["ota_0"] };

/** A valid image of exactly this number of bytes: real where images can have that length, padded elsewhere. */
function fileOf(length: number, seed = 2): Uint8Array {
  const size = Math.min(length - (length % 16), 61008);
  return padTo(buildImage({ size, seed }), length);
}

// one block; two; the digests of 128 blocks fill a block of the tree; 129 need a second one and a level above
const LENGTHS = [1104, 4095, 4096, 4097, 8191, 8192, 8193, 61008, 524287, 524288, 524289, 528385];

for (const length of LENGTHS) {
  overEach(`an image of ${length} bytes with its digest is installed`, async (t, transport) => {
    if (leftOut(t, 3, "of digests of every length")) return;
    const fixture = await createFixture(t, { transport, board: "esp32", image: fileOf(length) });
    await succeeds(fixture, await fixture.update(digestOf(fixture.image)), "ota_0");
  });

  overEach(`an image of ${length} bytes with one wrong bit is refused, at each block's edge`, async (t, transport) => {
    if (leftOut(t, 3, "of digests that do not fit")) return;
    const image = fileOf(length);
    const fixture = await createFixture(t, { transport, board: "esp32", image: null });
    const offsets = length > 100000 ? [Math.min(length - 1, 524288)] : [length - 1, length >> 1, 4095, 4096];
    const slot = fixture.device.row("ota_0");
    const config = digestOf(image);
    for (const offset of offsets.filter((one) => one < length && one > 400)) {
      const spoilt = image.slice();
      spoilt[offset] ^= 0x10;
      // an empty slot: what an earlier try left there is made use of
      fixture.device.flash.load(new Uint8Array(slot.size).fill(0xff), slot.offset);
      fixture.remember();
      await failsCleanly(fixture, await updateFrom(fixture, serveFile(spoilt), config), "OTA_VALIDATE_FAILED", WRITTEN);
    }
  });
}

test("a digest is of the whole file: one byte more or less is another file", async (t) => {
  if (leftOut(t, 2, "of digests that do not fit")) return;
  const image = fileOf(20000);
  const fixture = await createFixture(t, { image: null });
  const config = digestOf(image);
  for (const other of [padTo(image, 20001), image.subarray(0, 19999), padTo(image, 20480), padTo(image, 24576)]) {
    fixture.remember();
    await failsCleanly(fixture, await updateFrom(fixture, serveFile(other), config), "OTA_VALIDATE_FAILED", WRITTEN);
  }
  fixture.remember();
  await succeeds(fixture, await updateFrom(fixture, serveFile(image), config), "ota_0", image);
});

overEach("zero bytes at the end do not pass for the padding of the last block", async (t, transport) => {
  const image = padTo(newImage(), 61100);
  const longer = Buffer.concat([image, Buffer.alloc(20)]);
  const fixture = await createFixture(t, { transport, image: longer });
  await failsCleanly(fixture, await fixture.update(digestOf(image)), "OTA_VALIDATE_FAILED", WRITTEN);
});

test("a digest may be written in capitals", async (t) => {
  const fixture = await createFixture(t);
  const digest = `fsverity-sha256:${fsverity(fixture.image).toUpperCase()}`;
  await succeeds(fixture, await fixture.update({ digest }), "ota_0");
});

test("the message of a wrong digest has both, found and wanted", async (t) => {
  const fixture = await createFixture(t);
  const { error } = await fixture.update({ digest: `fsverity-sha256:${"ab".repeat(32)}` });
  assert.equal(error?.code, IDF.OTA_VALIDATE_FAILED);
  assert.match(error.message, new RegExp(`${fsverity(fixture.image)}.*${"ab".repeat(32)}`));
});

test("digest takes what fsverity-utils prints: sha256: and the digits", async (t) => {
  const fixture = await createFixture(t);
  await succeeds(fixture, await fixture.update({ digest: `sha256:${fsverity(fixture.image)}` }), "ota_0");
});

test("SHA-256 of the file, in place of its fs-verity digest, is refused", async (t) => {
  const { createHash } = await import("node:crypto");
  const fixture = await createFixture(t);
  const digest = `fsverity-sha256:${createHash("sha256").update(fixture.image).digest("hex")}`;
  await failsCleanly(fixture, await fixture.update({ digest }), "OTA_VALIDATE_FAILED", WRITTEN);
});

for (const name of Object.keys(mutations))
  overEach(`with the digest of the real image, its mutation ${name} is refused`, async (t, transport) => {
    if (leftOut(t, 3, "of mutations of an image")) return;
    const image = newImage();
    const spoilt = mutations[name](image);
    const fixture = await createFixture(t, { transport, image: spoilt });
    const outcome = await fixture.update(digestOf(image));
    assert.ok(outcome.error, "it was installed");
    assert.equal(outcome.error.retry, false);
    fixture.device.restart();
    assert.equal(fixture.device.running, "factory");
    assert.equal(fixture.device.boots.at(-1)?.fellBack, false, "it was selected");
  });

for (const name of Object.keys(mutations))
  overEach(`without a digest (insecure), the mutation ${name} leaves an image to start`, async (t, transport) => {
    if (leftOut(t, 3, "of mutations of an image")) return;
    const fixture = await createFixture(t, { transport, image: mutations[name](newImage()) });
    const outcome = await fixture.update();
    fixture.device.restart();
    if (outcome.error) assert.equal(fixture.device.running, "factory");
    else assert.ok(fixture.device.running === "ota_0" || !bootsAnyway.has(name));
    assert.equal(outcome.error?.retry ?? false, false);
  });

test("a file replaced under the same ETag in a download fails by its digest", async (t) => {
  if (leftOut(t, 2, "of digests that do not fit")) return;
  const image = fileOf(40000);
  const other = fileOf(40000, 3);
  const fixture = await createFixture(t, { image: null });
  let first = true;
  const behaviour = (req: any, io: any) => {
    const answer = first ? cutAt(image, 30000, "close", { etag: '"same"' }) : serveFile(other, { etag: '"same"' });
    first = false;
    return answer(req, io);
  };
  const update = updateFrom(fixture, behaviour, { ...digestOf(image), retries: 1 });
  const outcome = await waited(fixture, update);
  assert.equal(outcome.error?.code, IDF.OTA_VALIDATE_FAILED);
  fixture.device.restart();
  assert.equal(fixture.device.running, "factory");
});

for (const [what, headers, retry] of [
  ["without a validator", { etag: "" }, true],
  ["under the same ETag", { etag: '"same"' }, false],
] as const)
  test(`a file replaced between two parts ${what}: retry is ${retry}`, async (t) => {
    if (leftOut(t, 2, "of digests that do not fit")) return;
    const image = fileOf(40000);
    const fixture = await createFixture(t, { image: null });
    let first = true;
    const behaviour = (req: any, io: any) => {
      const answer = first ? cutAt(image, 30000, "close", headers) : serveFile(fileOf(40000, 3), headers);
      first = false;
      return answer(req, io);
    };
    const outcome = await waited(fixture, updateFrom(fixture, behaviour, { ...digestOf(image), retries: 1 }));
    assert.equal(outcome.error?.code, IDF.OTA_VALIDATE_FAILED);
    assert.equal(outcome.error?.retry, retry);
  });

async function waited<T>(fixture: Fixture, update: Promise<T>): Promise<T> {
  let over = false;
  void update.finally(() => {
    over = true;
  });
  for (let turn = 0; turn < 400 && !over; turn++) {
    await new Promise((resolve) => setTimeout(resolve, 3));
    if (!over) await fixture.device.engine.advance(200);
  }
  return update;
}

test("setBootPartition and rollback go by the image's checksum, without a digest", async (t) => {
  if (leftOut(t, 2, "of digests that do not fit")) return;
  const image = newImage();
  const fixture = await createFixture(t, { load: { ota_0: image } });
  const partition = fixture.device.ota.getNextUpdatePartition();
  assert.equal(await fixture.device.engine.call(fixture.device.ota.setBootPartition(partition)), IDF.OK);
  fixture.device.restart();
  assert.equal(fixture.device.running, "ota_0");
});

test("a digest costs one read of each sector and no second buffer", async (t) => {
  const fixture = await createFixture(t, { image: fileOf(61440) });
  const before = { ...fixture.device.engine.nativeCalls };
  await succeedsCounting(fixture, before);
});

async function succeedsCounting(fixture: Fixture, before: Record<string, number>): Promise<void> {
  const outcome = await fixture.update(digestOf(fixture.image));
  assert.ifError(outcome.error);
  const calls = fixture.device.engine.nativeCalls["crypto.SHA256"] - (before["crypto.SHA256"] ?? 0);
  // 15 blocks read back; the pieces of 13 whole sectors, for the compare; one block of the tree, the descriptor
  assert.equal(calls, 15 + 13 + 2);
}
