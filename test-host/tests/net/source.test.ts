// What a function of the program, and handle.write(), may do as the source of an update. That checks, resume and commit point are
// those of HTTP is tested where these are: net/resume, trust/ and device/flash-faults run over both (support/transport.ts).

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SECTOR } from "../../sim/flash.ts";
import {
  createFixture,
  erasesIn,
  failsWith,
  type Fixture,
  newImage,
  type Outcome,
  settle,
  succeeds,
  unfinished,
} from "../../support/fixture.ts";
import { fsverity } from "../../support/fsverity.ts";
import { noise } from "../../support/images.ts";
import { claimsFor, makeKey, signManifest } from "../../support/release.ts";

const IMAGE = newImage();
const DIGEST = `fsverity-sha256:${fsverity(IMAGE)}`;
const KEY = await makeKey();
const MANIFEST = await signManifest(claimsFor(IMAGE, { image: { url: "fw.bin" } }), KEY);

type Answer = (error: unknown, data?: unknown) => void;
type Asked = [offset: number, file: string];

/** A source in the device that answers with `files`, `size` bytes at a time. `fault` may answer in its place. */
function sourceOf(
  fixture: Fixture,
  files: Record<string, Uint8Array>,
  size: number,
  fault: (offset: number, done: Answer, calls: number) => boolean = () => false,
): { config: any; asked: Asked[] } {
  const asked: Asked[] = [];
  const { engine } = fixture.device;
  const config = fixture.config({});
  delete config.url;
  delete config.insecure;
  const make: any = engine.run(`(function (read) { return function (offset, done, file) {
    setTimeout(function () { read(offset, done, file); }, 1); }; })`);
  config.source = make((offset: number, done: Answer, file: string) => {
    asked.push([offset, file]);
    if (fault(offset, done, asked.length)) return;
    done(null, Buffer.from(files[file].subarray(offset, offset + size)).toString("latin1"));
  });
  return { config, asked };
}

const ended = async (fixture: Fixture, promise: unknown): Promise<Outcome> => ({
  ...(await settle(fixture.device, promise)),
  events: fixture.events(),
});

async function updateFrom(fixture: Fixture, config: any, more: object): Promise<Outcome> {
  Object.assign(config, fixture.device.engine.run(`(${JSON.stringify(more)})`));
  return ended(fixture, fixture.device.ota.update(config));
}

describe("a source", { concurrency: 4 }, () => {
  for (const size of [100, 536, 1024, 4000, 4096, 10000])
    test(`brings an image whose digest is given, ${size} bytes at a time`, async (t) => {
      const fixture = await createFixture(t);
      const { config, asked } = sourceOf(fixture, { "": IMAGE }, size);
      await succeeds(fixture, await updateFrom(fixture, config, { digest: DIGEST }), "ota_0", IMAGE);
      assert.deepEqual(asked[0], [0, ""]);
      assert.equal(fixture.server.requests.length, 0);
      assert.equal(erasesIn(fixture, "ota_0"), Math.ceil(IMAGE.length / SECTOR));
    });

  test("brings manifest and image, each by its name", async (t) => {
    const fixture = await createFixture(t);
    const files = { "m.jws": Buffer.from(MANIFEST), "fw.bin": IMAGE };
    const { config, asked } = sourceOf(fixture, files, 1000);
    const outcome = await updateFrom(fixture, config, { keys: [KEY.jwk], url: "m.jws" });
    await succeeds(fixture, outcome, "ota_0", IMAGE);
    assert.deepEqual([...new Set(asked.map(([, file]) => file))], ["m.jws", "fw.bin"]);
  });

  test("that has only errors fails, to be tried again, with what it said", async (t) => {
    const fixture = await createFixture(t);
    const { config, asked } = sourceOf(fixture, {}, 1000, (_, done) => {
      done("no link");
      return true;
    });
    const error = failsWith(await updateFrom(fixture, config, { digest: DIGEST, retries: 2 }), "FAIL", true);
    assert.match(error.message, /source: no link/);
    assert.equal(asked.length, 3);
  });

  test("a second answer to one question, and a late one, are not heard", async (t) => {
    const fixture = await createFixture(t);
    let first: Answer | undefined;
    const { config } = sourceOf(fixture, { "": IMAGE }, 1000, (offset, done, calls) => {
      first ??= done;
      if (calls === 4) first(null, "late");
      done(null, Buffer.from(IMAGE.subarray(offset, offset + 1000)).toString("latin1"));
      done(null, "again");
      return true;
    });
    await succeeds(fixture, await updateFrom(fixture, config, { digest: DIGEST }), "ota_0", IMAGE);
  });

  test("that ends too early is refused as incomplete", async (t) => {
    const fixture = await createFixture(t);
    const { config } = sourceOf(fixture, { "fw.bin": IMAGE.subarray(0, 30000) }, 1000);
    const outcome = await updateFrom(fixture, config, { keys: [KEY.jwk], manifest: MANIFEST, retries: 1 });
    assert.ok(outcome.error, "it was installed");
    fixture.device.restart();
    assert.equal(fixture.device.running, "factory");
  });
});

describe("handle.write()", { concurrency: 4 }, () => {
  async function pushed(fixture: Fixture, more: object): Promise<any> {
    const config = fixture.config({});
    delete config.url;
    delete config.insecure;
    Object.assign(config, fixture.device.engine.run(`(${JSON.stringify({ push: true, ...more })})`));
    return fixture.device.engine.call(fixture.device.ota.begin(config));
  }
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1");

  for (const size of [100, 536, 1460, 4096, 20000])
    for (const more of [{ digest: DIGEST }, { insecure: true }, { keys: [KEY.jwk], manifest: MANIFEST }])
      test(`takes an image in pieces of ${size} with ${Object.keys(more)[0]}`, async (t) => {
        const fixture = await createFixture(t);
        const { engine } = fixture.device;
        const handle = await pushed(fixture, more);
        for (let at = 0; at < IMAGE.length; at += size) {
          const next = await engine.call(handle.write(text(IMAGE.subarray(at, at + size))));
          assert.equal(next, Math.min(at + size, IMAGE.length));
        }
        const outcome = await ended(fixture, handle.finish());
        assert.ifError(outcome.error);
        fixture.device.restart();
        assert.equal(fixture.device.running, "ota_0");
      });

  test("says where it goes on after an earlier update, and passes over what is there", async (t) => {
    const fixture = await createFixture(t, { load: { ota_0: unfinished(IMAGE).slice(0, 9 * SECTOR) } });
    const { engine } = fixture.device;
    const handle = await pushed(fixture, { keys: [KEY.jwk], manifest: MANIFEST });
    const next = await engine.call(handle.write(text(IMAGE.subarray(0, SECTOR))));
    assert.equal(next, 8 * SECTOR);
    // a sender that cannot seek goes on where it was
    for (let at = SECTOR; at < IMAGE.length; at += 3000)
      await engine.call(handle.write(text(IMAGE.subarray(at, at + 3000))));
    assert.ok(handle.isCompleteDataReceived());
    assert.ifError((await ended(fixture, handle.finish())).error);
    assert.equal(erasesIn(fixture, "ota_0") <= Math.ceil(IMAGE.length / SECTOR) - 7, true);
    fixture.device.restart();
    assert.equal(fixture.device.running, "ota_0");
  });

  test("begins again at byte 0 when what was left was of another file", async (t) => {
    const other = IMAGE.slice();
    other.set(noise(7, SECTOR), 3 * SECTOR);
    const fixture = await createFixture(t, { load: { ota_0: unfinished(other).slice(0, 9 * SECTOR) } });
    const { engine } = fixture.device;
    const handle = await pushed(fixture, { keys: [KEY.jwk], manifest: MANIFEST });
    let at = 0;
    const seen: number[] = [];
    while (at < IMAGE.length) {
      at = await engine.call(handle.write(text(IMAGE.subarray(at, at + 5000)), at));
      seen.push(at);
    }
    assert.ok(seen.includes(0), `${seen}`);
    assert.ifError((await ended(fixture, handle.finish())).error);
    fixture.device.restart();
    assert.equal(fixture.device.running, "ota_0");
  });

  test("refuses a gap with the offset that it expects, and the update goes on", async (t) => {
    const fixture = await createFixture(t);
    const { engine } = fixture.device;
    const handle = await pushed(fixture, { digest: DIGEST });
    await engine.call(handle.write(text(IMAGE.subarray(0, 5000))));
    const gap = await ended(fixture, handle.write(text(IMAGE.subarray(6000, 7000)), 6000));
    assert.match(failsWith(gap, "INVALID_ARG").message, /bytes from 6000, expected from 5000/);
    assert.equal(await engine.call(handle.write(text(IMAGE.subarray(4000, 9000)), 4000)), 9000);
  });

  test("an image that is cut short is refused by finish()", async (t) => {
    const fixture = await createFixture(t);
    const handle = await pushed(fixture, { digest: DIGEST });
    await fixture.device.engine.call(handle.write(text(IMAGE.subarray(0, 30000))));
    failsWith(await ended(fixture, handle.finish()), "OTA_VALIDATE_FAILED");
    fixture.device.restart();
    assert.equal(fixture.device.running, "factory");
  });

  test("perform() with push, and write() without it, say what to call", async (t) => {
    const fixture = await createFixture(t);
    const { engine, ota } = fixture.device;
    const handle = await pushed(fixture, { digest: DIGEST });
    assert.match(failsWith(await ended(fixture, handle.perform()), "INVALID_STATE").message, /write\(\)/);
    handle.abort();
    const other: any = await engine.call(ota.begin(fixture.config({ digest: DIGEST })));
    assert.match(failsWith(await ended(fixture, other.write("a")), "INVALID_STATE").message, /push/);
  });
});

describe("configurations", () => {
  const CASES: [object, RegExp][] = [
    [{ push: true, insecure: true }, /push is for begin/],
    [{ insecure: true }, /url is missing: or give source, or push/],
    [{ push: true, keys: [KEY.jwk] }, /push with keys needs manifest/],
    [{ url: "http://x/", manifest: MANIFEST, insecure: true }, /manifest needs keys/],
  ];
  for (const [config, message] of CASES)
    test(`update(${JSON.stringify(Object.keys(config))}) is refused: ${message.source}`, async (t) => {
      const fixture = await createFixture(t);
      const own: any = fixture.config({});
      delete own.url;
      delete own.insecure;
      const outcome = await updateFrom(fixture, own, config);
      assert.match(failsWith(outcome, "INVALID_ARG").message, message);
    });
});
