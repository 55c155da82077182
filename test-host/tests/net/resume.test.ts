// Resume (docs/design.md#resume): a download that was cut goes on, inside an update and after a loss of power, and
// costs at most a sector, the first 1024 bytes, and what was in flight. The flash is the only record.

import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import fc from "fast-check";
import type { Device } from "../../sim/device.ts";
import type { FlashOp } from "../../sim/flash.ts";
import { fsverity } from "../../support/fsverity.ts";
import { buildImage, layoutOf, noise, padTo, reseal } from "../../support/images.ts";
import {
  attempt,
  BOUND,
  bootWide,
  cutPowerAt,
  firstBlank,
  advanceWhenIdle,
  type Moment,
  SECTOR,
  sectorsOf,
  sentBy,
  spyOn,
} from "../../support/network.ts";
import { inParallel } from "../../support/parallel.ts";
import { leftOut, part } from "../../support/share.ts";
import { type Transport, TRANSPORTS } from "../../support/transport.ts";
import { holdsFor, sample, seedFrom } from "../../support/property.ts";
import { claimsFor, makeKey, signManifest } from "../../support/release.ts";
import {
  bootsFrom,
  bootsNewImage,
  type Config,
  erasesIn,
  erasesOf,
  nothingHeld,
  failsCleanly,
  failsWith,
  keepsOldImage,
  newImage,
  oldImage,
  type Outcome,
  type Fixture,
  createFixture,
  succeeds,
  unfinished,
} from "../../support/fixture.ts";
import {
  type Behaviour,
  cutAt,
  type FileOptions,
  otherRange,
  rangeAnswered200,
  rangeAnswered416,
  type Request,
  sequence,
  type Server,
  serveFile,
  startServer,
  status,
  wrongContentRange,
} from "../../support/server.ts";

const KB = 1024;
/** 300 KB with a ragged end. */
const IMAGE = padTo(
  buildImage({ size: 300 * KB - 2000 + 16, seed: 2, descriptor: { version: "2.0" } }),
  300 * KB - 777,
);
const SECTORS = sectorsOf(IMAGE.length);
const TIMEOUT = 1000;
/** One sequence a run; a failure is shrunk, and says the variables that run it again. */
const ONE = { numRuns: 1, variables: { seed: "RESUME_SEED", path: "RESUME_PATH" } };

async function serving(t: TestContext): Promise<Server> {
  const server = await startServer();
  t.after(() => server.close());
  return server;
}

const KEY = await makeKey({ exponent: 3 });

/** A source has no length of its own: what it brings is known by a manifest, which is given. */
async function trustIn(
  transport: Transport,
  image: Uint8Array,
  url: string,
  digest = fsverity(image),
): Promise<Config> {
  if (transport === "http") return { digest: `fsverity-sha256:${digest}` };
  const claims = claimsFor(image, { image: { url, fsverity: `sha256:${digest}` } });
  return { keys: [KEY.jwk], manifest: await signManifest(claims, KEY) };
}

/** What a snapshot of the flash is after an update that nothing disturbed. */
async function undisturbed(server: Server, transport: Transport): Promise<string> {
  server.on("/undisturbed", serveFile(IMAGE));
  const device = bootWide();
  const seen = spyOn(transport, device, server);
  const url = server.url("/undisturbed");
  const { error } = await attempt(device, { url, ...(await trustIn(transport, IMAGE, url)) }, seen);
  assert.ifError(error);
  device.stop();
  return device.flash.snapshotHash(device.flash.snapshot());
}

/** Most of a test is waiting for the network. */
const AT_ONCE = { concurrency: 8 };

for (const transport of TRANSPORTS) describe(`resume: ${transport}`, AT_ONCE, () => resume(transport));

function resume(transport: Transport): void {
  /** One in this many is run; over a source fewer: what follows a cut is the same code. */
  const MANY = transport === "http" ? 24 : 60;

  // --- One cut, everywhere -------------------------------------------------------------------------------------------------

  function offsetsOfCuts(seed: number): number[] {
    const offsets = new Set<number>();
    for (let at = 0; at <= IMAGE.length; at += SECTOR) for (const by of [-1, 0, 1]) offsets.add(at + by);
    offsets.add(IMAGE.length - 1);
    for (const at of sample(fc.nat({ max: IMAGE.length - 1 }), seed, 200)) offsets.add(at);
    return [...offsets].filter((at) => at >= 0 && at < IMAGE.length);
  }

  type Cost = { again: number; flying: number };

  /** One download with one cut; its cost. */
  async function cutOnce(server: Server, offset: number, how: "reset" | "stall", wanted: string): Promise<Cost> {
    const path = `/${how}/${offset}`;
    server.on(path, cutAt(IMAGE, offset, how));
    const device = bootWide();
    const seen = spyOn(transport, device, server);
    const url = server.url(path);
    const config = { url, ...(await trustIn(transport, IMAGE, url)), timeout: TIMEOUT, retries: 1 };
    const update = attempt(device, config, seen);
    // a stall is one when all that was sent is taken
    const idle = () => seen.isGivenUp(TIMEOUT);
    const stalled = () =>
      seen.made.length === 1 &&
      seen.bytes === offset &&
      server.requests.some((one) => one.path === path && one.sent === offset);
    const { error } = await advanceWhenIdle(
      device,
      server,
      update,
      TIMEOUT,
      () => idle() || (how === "stall" && stalled()),
    );
    const at = `${how} at ${offset}`;
    assert.ifError(error ? new Error(`${at}: ${error.name}: ${error.message}`) : null);
    const asked = server.requests.filter((one) => one.path === path);
    assert.equal(asked.length, 2, at);
    // a cut before the first byte leaves the head alone, a reset may overtake even that
    const [first] = seen.made;
    assert.equal(asked[1].headers.range, `bytes=${first.bytes}-`, `${at}: a byte that was taken is asked for again`);
    const cost = { again: sentBy(asked) - IMAGE.length, flying: sentBy(asked) - seen.bytes };
    assert.ok(cost.again <= BOUND + cost.flying, `${at}: ${cost.again} bytes again, ${cost.flying} in flight`);
    assert.ok(seen.bytes - IMAGE.length <= BOUND, `${at}: the device took ${seen.bytes} bytes`);
    assert.equal(erasesOf(device, "ota_0"), SECTORS, at);
    assert.equal(device.flash.snapshotHash(device.flash.snapshot()), wanted, `${at}: another flash than without a cut`);
    assert.deepEqual([device.flash.violations, device.engine.problems], [[], []], at);
    await nothingHeld(device);
    device.stop();
    seen.close();
    return cost;
  }

  for (const how of ["reset", "stall"] as const)
    test(`a ${how} at every sector boundary costs nothing but what was in flight`, async (t) => {
      const seed = seedFrom("RESUME_SEED");
      t.diagnostic(`RESUME_SEED=${seed}`);
      const server = await serving(t);
      const wanted = await undisturbed(server, transport);
      const offsets = part(t, offsetsOfCuts(seed), MANY, `cuts of a download, ${transport}`);
      const worst = { again: 0, flying: 0, taken: 0 };
      await inParallel(offsets, 12, async (offset) => {
        const { again, flying } = await cutOnce(server, offset, how, wanted).catch((error) => {
          throw new Error(`RESUME_SEED=${seed}: ${error.message}`, { cause: error });
        });
        worst.again = Math.max(worst.again, again);
        worst.flying = Math.max(worst.flying, flying);
        worst.taken = Math.max(worst.taken, again - flying);
      });
      t.diagnostic(
        `${offsets.length} cuts; at most ${worst.again} bytes sent again, ${worst.flying} of them in flight`,
      );
      assert.equal(worst.taken, 0, "the device took a byte twice");
    });

  // --- Fifty cuts in one download ------------------------------------------------------------------------------------------

  /** One download with these cuts, resets and stalls in turn. */
  async function cutOften(server: Server, path: string, cuts: number[], wanted: string): Promise<Request[]> {
    const stalled = new Set<number>();
    let next = 0;
    server.on(path, (req, io) => {
      const start = req.range?.start ?? 0;
      while (next < cuts.length && cuts[next] <= start) next++;
      if (next === cuts.length) return serveFile(IMAGE)(req, io);
      const bytes = cuts[next++] - start;
      if (next & 1) stalled.add(bytes);
      return cutAt(IMAGE, bytes, next & 1 ? "stall" : "reset")(req, io);
    });
    const device = bootWide();
    const seen = spyOn(transport, device, server);
    const url = server.url(path);
    const config = { url, ...(await trustIn(transport, IMAGE, url)), timeout: TIMEOUT, retries: 1 };
    const update = attempt(device, config, seen);
    const idle = () => seen.isGivenUp(TIMEOUT);
    const { error } = await advanceWhenIdle(
      device,
      server,
      update,
      TIMEOUT,
      () => idle() || stalled.has(seen.connections.at(-1)?.bytes ?? -1),
    );
    assert.ifError(error);
    const asked = server.requests.filter((one) => one.path === path);
    assert.ok(asked.length >= 45, `${asked.length} connections`);
    assert.equal(seen.bytes, IMAGE.length, "the device took a byte twice");
    assert.equal(erasesOf(device, "ota_0"), SECTORS);
    assert.equal(device.flash.snapshotHash(device.flash.snapshot()), wanted);
    await nothingHeld(device);
    device.stop();
    seen.close();
    return asked;
  }

  test("fifty cuts in one download: one erase a sector, and no byte is taken twice", async (t) => {
    if (leftOut(t, 2, "of many cuts in one download")) return;
    const server = await serving(t);
    const wanted = await undisturbed(server, transport);
    const cuts = fc.array(fc.integer({ min: 1, max: IMAGE.length - 1 }), { minLength: 50, maxLength: 50 });
    let runs = 0;
    await holdsFor(
      t,
      fc.noBias(cuts),
      async (drawn) => {
        const sorted = [...drawn].sort((a, b) => a - b);
        const asked = await cutOften(server, `/fifty/${runs++}`, sorted, wanted);
        t.diagnostic(
          `${asked.length} connections, ${sentBy(asked) - IMAGE.length} bytes sent again, all of them in flight`,
        );
      },
      { ...ONE, seed: seedFrom("RESUME_SEED") },
    );
  });

  // --- Power cuts ----------------------------------------------------------------------------------------------------------

  const ROOM = 0x50000;
  const STARTS: Record<string, (room: number) => Uint8Array> = {
    "a blank slot": (room) => new Uint8Array(room).fill(0xff),
    "a slot full of garbage": (room) => noise(77, room),
    "a slot that holds another image": (room) =>
      padTo(buildImage({ size: room - 4096, seed: 55, descriptor: { version: "0.9" } }), room, 5),
  };

  type Lost = { sent: number; taken: number; sectors: number };

  /** Updates until the power goes at the operation `when`; null when it never went. */
  async function untilPowerCut(
    device: Device,
    server: Server,
    config: object,
    when: (op: FlashOp) => boolean,
    moment: Moment,
  ): Promise<Lost | null> {
    const { requests } = server;
    const before = sentBy(requests);
    const seen = spyOn(transport, device, server);
    const cut = cutPowerAt(device, when, moment);
    const { error } = await attempt(device, config, seen);
    device.flash.onOp = null;
    seen.close();
    if (!cut.happened) {
      assert.ifError(error);
      return null;
    }
    return { sent: sentBy(requests) - before, taken: seen.bytes, sectors: 0 };
  }

  /** Complete sectors of `image` at the slot's beginning. */
  function wholeSectors(device: Device, image: Uint8Array): number {
    // the first word may be blank, torn, or there
    const bytes = unfinished(device.slot("ota_0"));
    const begun = unfinished(image);
    let count = 0;
    for (let at = 0; at < image.length; at += SECTOR) {
      const part = begun.subarray(at, at + SECTOR);
      if (Buffer.compare(bytes.subarray(at, at + part.length), part)) break;
      count++;
    }
    return count;
  }

  /** Where docs/design.md#resume says that the next update goes on: the sector before the first blank one. */
  function resumesAt(device: Device, image: Uint8Array): number {
    if (Buffer.compare(unfinished(device.slot("ota_0", 1024)), unfinished(image).subarray(0, 1024))) return 0;
    return (firstBlank(device, "ota_0", image.length) - 1) * SECTOR;
  }

  const rangesOf = (requests: readonly Request[]) => requests.map(({ headers }) => headers.range);
  const expectedRanges = (at: number) => (at > 0 ? ["bytes=0-", `bytes=${at}-`] : ["bytes=0-"]);

  /** Power goes once, then another update: its requests, its cost, the final flash. Gives the erases of both. */
  async function powerCutOnce(
    server: Server,
    image: Uint8Array,
    slot: Uint8Array,
    at: string,
    when: (op: FlashOp) => boolean,
    moment: Moment,
  ): Promise<number | null> {
    const device = bootWide();
    device.flash.load(slot, device.row("ota_0").offset);
    const url = server.url(`/power/${at}`);
    const config = { url, ...(await trustIn(transport, image, url)) };
    server.on(`/power/${at}`, serveFile(image));
    const lost = await untilPowerCut(device, server, config, when, moment);
    if (!lost) {
      device.stop();
      return null;
    }
    const whole = wholeSectors(device, image);
    const from = resumesAt(device, image);
    // where a manifest tells what is wanted, a slot that holds all of it is not fetched
    const isThere = transport === "source" && Buffer.from(image).equals(device.slot("ota_0", image.length));
    assert.ok(lost.taken - whole * SECTOR <= 2 * SECTOR, `${at}: ${lost.taken} bytes taken, ${whole} sectors in flash`);
    device.powerCycle();
    assert.equal(device.running, "factory", at);
    const seen = spyOn(transport, device, server);
    const { error } = await attempt(device, config, seen);
    seen.close();
    assert.ifError(error ? new Error(`${at}: ${error.name}: ${error.message}`) : null);
    const asked = server.requests.filter(({ path }) => path === `/power/${at}`);
    const second = asked.slice(1);
    assert.deepEqual(rangesOf(second), isThere ? [] : expectedRanges(from), at);
    if (from && !isThere) {
      if (transport === "http") assert.ok(second[1].headers["if-range"], `${at}: with If-Range`);
      assert.ok(seen.connections[0].bytes <= 1024 + 536, `${at}: ${seen.connections[0].bytes} bytes to look at`);
      // in flight: what was on its way into flash, and what came behind the first 1024 bytes
      const flying = lost.sent - whole * SECTOR + (second[0].sent - 1024);
      const again = sentBy(asked) - image.length;
      assert.ok(again <= BOUND + flying, `${at}: ${again} bytes again, ${flying} in flight`);
    }
    assert.deepEqual(device.slot("ota_0", image.length), image, at);
    assert.equal(bootsFrom(device, device.flash.snapshot()), "ota_0", at);
    assert.deepEqual([device.flash.violations, device.engine.problems], [[], []], at);
    await nothingHeld(device);
    device.stop();
    return erasesOf(device, "ota_0");
  }

  const SMALLER = padTo(buildImage({ size: 28000, seed: 3, descriptor: { version: "2.0" } }), 28123); // seven sectors
  const MOMENTS: Moment[] = ["before", "torn", "after"];

  const campaigns = new Map<string, Promise<Map<string, number>>>();

  /** Every operation of an update that writes the slot, at every moment: what the erases were in the end. Run once. */
  function eachPowerCut(t: TestContext, start: string): Promise<Map<string, number>> {
    const known = campaigns.get(start) ?? cutPowerEverywhere(t, start);
    campaigns.set(start, known);
    return known;
  }

  async function cutPowerEverywhere(t: TestContext, start: string): Promise<Map<string, number>> {
    const server = await serving(t);
    const erases = new Map<string, number>();
    const slot = STARTS[start](ROOM);
    const folder = start.replaceAll(" ", "-");
    // the writes of otadata belong to the campaign of the boot selection
    const inSlot = (op: FlashOp) => op.addr >= 0x60000;
    let count = 0;
    const counting = (op: FlashOp) => {
      if (inSlot(op)) count++;
      return false;
    };
    assert.equal(await powerCutOnce(server, SMALLER, slot, `${folder}/none`, counting, "before"), null);
    // each sector is erased once and written once
    const least = 2 * sectorsOf(SMALLER.length);
    assert.ok(count >= least, `${count} operations, an update has at least ${least} erases and writes`);
    // those before the first write differ from the others
    const all = Array.from({ length: count }, (_, index) => index);
    for (const moment of MOMENTS)
      for (const index of [...all.slice(0, 5), ...part(t, all.slice(5), MANY, `losses of power, ${transport}`)]) {
        let left = index;
        const when = (op: FlashOp) => inSlot(op) && left-- === 0;
        const sum = await powerCutOnce(server, SMALLER, slot, `${folder}/${moment}/${index}`, when, moment);
        if (sum !== null) erases.set(`${moment} ${index}`, sum);
      }
    return erases;
  }

  for (const start of Object.keys(STARTS)) {
    test(`power lost at each operation into ${start}: the next goes on at the right sector`, async (t) => {
      if (leftOut(t, 2, "of power lost at each operation of a download")) return;
      await eachPowerCut(t, start);
    });

    test(`power lost into ${start} costs at most one erase, two before the first write`, async (t) => {
      if (leftOut(t, 2, "of power lost at each operation of a download")) return;
      const sectors = sectorsOf(SMALLER.length);
      const dear = [...(await eachPowerCut(t, start))].filter(([, erases]) => erases > sectors + 1);
      // before the first write nothing in the slot says that it was begun: both blank sectors are erased again
      assert.deepEqual(Object.fromEntries(dear), {
        "before 2": sectors + 2,
        "torn 2": sectors + 2,
        "after 1": sectors + 2,
      });
    });

    test(`power lost ten times into ${start}: each update goes on where the last stopped`, async (t) => {
      if (leftOut(t, 2, "of many cuts in one download")) return;
      const server = await serving(t);
      server.on("/ten", serveFile(IMAGE));
      const url = server.url("/ten");
      const config = { url, ...(await trustIn(transport, IMAGE, url)) };
      const losses = fc.array(
        fc.record({ ops: fc.integer({ min: 8, max: 17 }), moment: fc.constantFrom(...MOMENTS) }),
        {
          minLength: 10,
          maxLength: 10,
        },
      );
      async function loseOften(drawn: { ops: number; moment: Moment }[]): Promise<void> {
        const device = bootWide();
        device.flash.load(STARTS[start](ROOM), device.row("ota_0").offset);
        const before = sentBy(server.requests);
        for (const [i, { ops, moment }] of drawn.entries()) {
          const from = resumesAt(device, IMAGE);
          const asked = server.requests.length;
          let left = ops;
          const lost = await untilPowerCut(device, server, config, () => --left === 0, moment);
          assert.ok(lost, `cut ${i} never came`);
          assert.deepEqual(rangesOf(server.requests.slice(asked)), expectedRanges(from));
          device.powerCycle();
          assert.equal(device.running, "factory");
        }
        const last = spyOn(transport, device, server);
        assert.ifError((await attempt(device, config, last)).error);
        last.close();
        assert.deepEqual(device.slot("ota_0", IMAGE.length), IMAGE);
        const extra = erasesOf(device, "ota_0") - SECTORS;
        const sent = sentBy(server.requests) - before;
        t.diagnostic(`${sent} bytes sent for ${IMAGE.length}, ${extra} erases more than sectors`);
        assert.ok(extra <= 20, `${extra} erases more than sectors, for ten cuts`);
        assert.deepEqual(device.flash.violations, []);
        await nothingHeld(device);
        device.stop();
      }
      await holdsFor(t, fc.noBias(losses), loseOften, { ...ONE, seed: seedFrom("RESUME_SEED") });
    });
  }

  test("power lost at any time, not only at a flash operation: the next update goes on", async (t) => {
    const server = await serving(t);
    await inParallel([0, 1, 700, 1024, 1500, 4095, 4096, 5000, 20000, 27000, 28122], 4, async (bytes) => {
      const path = `/time/${bytes}`;
      server.on(path, cutAt(SMALLER, bytes, "stall"));
      const device = bootWide();
      const seen = spyOn(transport, device, server);
      const url = server.url(path);
      const config = { url, ...(await trustIn(transport, SMALLER, url)) };
      const update = attempt(device, config, seen);
      const isThere = () => seen.bytes >= bytes && server.requests.some((one) => one.path === path);
      await advanceWhenIdle(device, server, Promise.race([update, waitUntil(isThere)]), 1, () => false);
      device.stop();
      await update;
      seen.close();
      const from = resumesAt(device, SMALLER);
      device.powerCycle();
      const asked = server.requests.filter((one) => one.path === path).length;
      const again = spyOn(transport, device, server);
      const { error } = await attempt(device, config, again);
      again.close();
      assert.ifError(error);
      const ranges = rangesOf(server.requests.filter((one) => one.path === path).slice(asked));
      assert.deepEqual(ranges, expectedRanges(from), path);
      assert.deepEqual(device.slot("ota_0", SMALLER.length), SMALLER, path);
      device.stop();
    });
  });

  async function waitUntil(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise((resolve) => setTimeout(resolve, 2));
  }

  // --- What the slot held before -------------------------------------------------------------------------------------------

  const NEW = newImage(); // fifteen sectors
  const NEW_SECTORS = sectorsOf(NEW.length);
  const SLOT = 0x10000;
  const NEW_DIGEST = `fsverity-sha256:${fsverity(NEW)}`;
  const trust = (image: Uint8Array, digest?: string) => trustIn(transport, image, "/fw.bin", digest);

  /** A slot with the first `sectors` sectors of `image`, as a cut update leaves them, a blank one, and what was there before. */
  function partly(image: Uint8Array, sectors: number, before: Uint8Array = noise(31, SLOT)): Uint8Array {
    const slot = new Uint8Array(SLOT).fill(0xff);
    slot.set(before.subarray(0, SLOT));
    slot.fill(0xff, sectors * SECTOR, (sectors + 1) * SECTOR);
    slot.set(unfinished(image).subarray(0, sectors * SECTOR));
    return slot;
  }

  const ranges = (fixture: Fixture, from = 0) => rangesOf(fixture.server.requests.slice(from));

  /** An update of which everything may take its time. */
  function patiently(fixture: Fixture, config: Config = {}): Promise<Outcome> {
    return advanceWhenIdle(fixture.device, fixture.server, fixture.update(config));
  }

  test("a slot with a part of another image starts from zero, one erase a sector", async (t) => {
    const fixture = await createFixture(t, { transport, image: NEW, load: { ota_0: partly(newImage("esp32", 9), 8) } });
    const outcome = await fixture.update(await trust(NEW));
    assert.deepEqual(ranges(fixture), ["bytes=0-"]);
    assert.equal(erasesIn(fixture, "ota_0"), NEW_SECTORS);
    await succeeds(fixture, outcome, "ota_0");
  });

  test("a slot with the same first 1024 bytes but one starts from zero", async (t) => {
    const before = partly(NEW, 8);
    before[1023] ^= 1;
    const fixture = await createFixture(t, { transport, image: NEW, load: { ota_0: before } });
    await succeeds(fixture, await fixture.update(await trust(NEW)), "ota_0");
    assert.deepEqual(ranges(fixture), ["bytes=0-"]);
  });

  for (const sectors of [1, 2, 3, 14]) {
    test(`a slot with ${sectors} sectors of the image goes on at the last of them`, async (t) => {
      if (leftOut(t, 2, "of what a slot holds and a server says of itself")) return;
      const fixture = await createFixture(t, { transport, image: NEW, load: { ota_0: partly(NEW, sectors) } });
      const outcome = await fixture.update(await trust(NEW));
      const at = (sectors - 1) * SECTOR;
      assert.deepEqual(ranges(fixture), expectedRanges(at));
      assert.equal(
        erasesIn(fixture, "ota_0"),
        NEW_SECTORS - sectors - 1,
        "the blank sector behind them is not erased again",
      );
      const events = outcome.events.filter(([name]) => name === "WRITE_FLASH");
      assert.deepEqual(events[0].slice(1), [at + SECTOR, NEW.length], "progress counts what was there");
      await succeeds(fixture, outcome, "ota_0");
    });

    test(`${sectors} sectors of an image of unknown digest: from zero, and none erased`, async (t) => {
      if (leftOut(t, 2, "of what a slot holds and a server says of itself")) return;
      const fixture = await createFixture(t, { transport, image: NEW, load: { ota_0: partly(NEW, sectors) } });
      const outcome = await fixture.update({ insecure: true });
      assert.deepEqual(ranges(fixture), ["bytes=0-"]);
      assert.equal(erasesIn(fixture, "ota_0"), NEW_SECTORS - sectors - 1);
      await succeeds(fixture, outcome, "ota_0");
    });
  }

  test("an image without descriptor is resumed when its digest is known", async (t) => {
    const image = buildImage({ size: 61008, seed: 2, descriptor: false });
    const fixture = await createFixture(t, { transport, image, load: { ota_0: partly(image, 6) } });
    await succeeds(fixture, await fixture.update(await trust(image)), "ota_0");
    assert.deepEqual(ranges(fixture), expectedRanges(5 * SECTOR));
  });

  test("a slot with other content behind the same 1500 bytes: one full download", async (t) => {
    const before = noise(4, SLOT);
    before.set(unfinished(NEW).subarray(0, 1500));
    const fixture = await createFixture(t, { transport, image: NEW, load: { ota_0: before } });
    const outcome = await fixture.update(await trust(NEW));
    assert.deepEqual(ranges(fixture), ["bytes=0-", `bytes=${(NEW_SECTORS - 1) * SECTOR}-`, "bytes=0-"]);
    await succeeds(fixture, outcome, "ota_0");
  });

  test("a resumed download with a wrong digest: one full download, right sectors stay", async (t) => {
    const before = partly(NEW, 9);
    before[7 * SECTOR + 5] ^= 1;
    const fixture = await createFixture(t, { transport, image: NEW, load: { ota_0: before } });
    const outcome = await fixture.update(await trust(NEW));
    assert.deepEqual(ranges(fixture), ["bytes=0-", `bytes=${8 * SECTOR}-`, "bytes=0-"]);
    const first = fixture.device.row("ota_0").offset;
    const erased = fixture.device.flash.log
      .slice(fixture.mark.log)
      .filter((op) => op.kind === "erase" && op.addr >= first);
    assert.ok(
      erased.every((op) => op.addr >= first + 7 * SECTOR),
      "a sector that was right was erased",
    );
    await succeeds(fixture, outcome, "ota_0");
  });

  test("a resumed download whose digest stays wrong: one full download, then failure", async (t) => {
    const fixture = await createFixture(t, { transport, image: NEW, load: { ota_0: partly(NEW, 9) } });
    const outcome = await fixture.update(await trust(NEW, "7".repeat(64)));
    assert.deepEqual(ranges(fixture), ["bytes=0-", `bytes=${8 * SECTOR}-`, "bytes=0-"]);
    await failsCleanly(fixture, outcome, "OTA_VALIDATE_FAILED", { touched: ["ota_0"], says: /7777/ });
  });

  test("a download from zero whose digest is wrong is not fetched a second time", async (t) => {
    const fixture = await createFixture(t, { transport, image: NEW });
    const outcome = await fixture.update(await trust(NEW, "7".repeat(64)));
    assert.deepEqual(ranges(fixture), ["bytes=0-"]);
    await failsCleanly(fixture, outcome, "OTA_VALIDATE_FAILED", { touched: ["ota_0"] });
  });

  test("the full download after a wrong digest has its own retries", async (t) => {
    const before = partly(NEW, 14);
    before[7 * SECTOR + 5] ^= 1;
    const fixture = await createFixture(t, { transport, image: null, load: { ota_0: before } });
    fixture.server.on("/fw.bin", sequence(serveFile(NEW), serveFile(NEW), cutAt(NEW, 6000, "close", { times: 99 })));
    const outcome = await patiently(fixture, { ...(await trust(NEW)), retries: 2 });
    await succeeds(fixture, outcome, "ota_0", NEW);
  });

  test("an image with blank sectors of its own is resumed at the first of them", async (t) => {
    const image = NEW.slice();
    image.fill(0xff, 7 * SECTOR, 9 * SECTOR); // within the data of the second segment
    const blank = reseal(image);
    const fixture = await createFixture(t, { transport, image: blank, load: { ota_0: partly(blank, 12) } });
    const outcome = await fixture.update(await trust(blank));
    assert.deepEqual(ranges(fixture), expectedRanges(6 * SECTOR));
    await succeeds(fixture, outcome, "ota_0", blank);
  });

  test("the rest of an older image that fits the checksum is never taken for the new", async (t) => {
    // no length and a power cut: nothing was erased ahead, what the slot held follows at once
    const { checksum } = layoutOf(NEW);
    const slot = new Uint8Array(SLOT).fill(0xff);
    slot.set(NEW);
    // two bytes with the same bits changed: one byte of checksum does not see it
    for (const at of [checksum - 9000, checksum - 8000]) slot[at] ^= 0x20;
    const fixture = await createFixture(t, { transport, image: NEW, load: { ota_0: slot } });
    const outcome = await fixture.update();
    if (!outcome.error) await succeeds(fixture, outcome, "ota_0");
    else failsWith(outcome, "OTA_VALIDATE_FAILED");
  });

  test("a failed update is continued by the next one on the same running device", async (t) => {
    const fixture = await createFixture(t, { transport, image: null });
    fixture.server.on("/fw.bin", cutAt(NEW, 40000, "close"));
    const cut = transport === "http" ? "HTTP_INCOMPLETE_DATA" : "FAIL";
    failsWith(await fixture.update(await trust(NEW)), cut, true);
    const outcome = await fixture.update(await trust(NEW));
    // sector 9 was not complete: its bytes were in RAM. The one before it may be torn for all that the next update knows
    assert.deepEqual(ranges(fixture, 1), expectedRanges(8 * SECTOR));
    assert.ok(erasesIn(fixture, "ota_0") <= NEW_SECTORS + 1);
    await succeeds(fixture, outcome, "ota_0", NEW);
  });

  // --- The whole image is there already ------------------------------------------------------------------------------------

  async function signed(fixture: Fixture, image: Uint8Array, version = "2.0.2"): Promise<Config> {
    const key = await makeKey({ exponent: 3 });
    const manifest = await signManifest(claimsFor(image, { version }), key);
    fixture.server.on("/m.jws", serveFile(new Uint8Array(Buffer.from(manifest, "latin1"))));
    return { url: fixture.server.url("/m.jws"), keys: [key.jwk] };
  }

  const imageRequests = (fixture: Fixture) => fixture.server.requests.filter(({ path }) => path === "/fw.bin");

  test("a slot that holds the manifest's image is selected without request or erase", async (t) => {
    const slot = noise(3, SLOT);
    slot.set(NEW);
    const fixture = await createFixture(t, { transport, image: NEW, load: { ota_0: slot } });
    const outcome = await fixture.update(await signed(fixture, NEW));
    assert.equal(imageRequests(fixture).length, 0);
    assert.equal(erasesIn(fixture, "ota_0"), 0);
    await succeeds(fixture, outcome, "ota_0");
  });

  test("the same for an image without descriptor", async (t) => {
    const image = buildImage({ size: 61008, seed: 2, descriptor: false });
    const fixture = await createFixture(t, { transport, image, load: { ota_0: image } });
    const outcome = await fixture.update(await signed(fixture, image));
    assert.equal(imageRequests(fixture).length, 0);
    await succeeds(fixture, outcome, "ota_0");
  });

  test("the image is there and its server is not: a manifest is enough", async (t) => {
    const fixture = await createFixture(t, { transport, image: null, load: { ota_0: NEW } });
    fixture.server.on("/fw.bin", status(404));
    await succeeds(fixture, await fixture.update(await signed(fixture, NEW)), "ota_0", NEW);
  });

  test("one bit of it changed, and it is fetched", async (t) => {
    const slot = new Uint8Array(SLOT).fill(0xff);
    slot.set(NEW);
    slot[33333] ^= 1;
    const fixture = await createFixture(t, { transport, image: NEW, load: { ota_0: slot } });
    const outcome = await fixture.update(await signed(fixture, NEW));
    assert.ok(imageRequests(fixture).length > 0);
    await succeeds(fixture, outcome, "ota_0");
  });

  test("a part of the manifest's image is gone on with by Range", async (t) => {
    const fixture = await createFixture(t, { transport, image: NEW, load: { ota_0: partly(NEW, 7) } });
    const outcome = await fixture.update(await signed(fixture, NEW));
    assert.deepEqual(rangesOf(imageRequests(fixture)), expectedRanges(6 * SECTOR));
    await succeeds(fixture, outcome, "ota_0");
  });

  // --- In the middle of it, and after it ---------------------------------------------------------------------------------

  test("a resumed download that is cut goes on from the byte that is missing", async (t) => {
    const fixture = await createFixture(t, { transport, image: null, load: { ota_0: partly(NEW, 5) } });
    fixture.server.on("/fw.bin", sequence(serveFile(NEW), cutAt(NEW, 10000, "close"), serveFile(NEW)));
    const outcome = await patiently(fixture, { ...(await trust(NEW)), retries: 1 });
    assert.deepEqual(ranges(fixture), [...expectedRanges(4 * SECTOR), `bytes=${4 * SECTOR + 10000}-`]);
    await succeeds(fixture, outcome, "ota_0", NEW);
  });

  test("a pause after the resumption, and power lost in it: the next goes on there", async (t) => {
    const fixture = await createFixture(t, { transport, image: NEW, load: { ota_0: partly(NEW, 5) } });
    const { engine, ota } = fixture.device;
    const handle: any = await engine.call(ota.begin(fixture.config(await trust(NEW))));
    await engine.call(handle.perform());
    await engine.call(handle.perform());
    await engine.advance(3_600_000);
    assert.equal(handle.getImageLenRead(), 6 * SECTOR);
    const asked = fixture.server.requests.length;
    fixture.device.powerCycle();
    await succeeds(fixture, await fixture.update(await trust(NEW)), "ota_0");
    assert.deepEqual(ranges(fixture, asked), expectedRanges(5 * SECTOR));
  });

  test("after the update the other slot is resumed in its turn: factory, ota_0 and back", async (t) => {
    const fixture = await createFixture(t, { transport, image: NEW });
    await succeeds(fixture, await fixture.update(await trust(NEW)), "ota_0");
    fixture.remember();
    const older = oldImage("esp32", 6);
    fixture.device.flash.load(partly(older, 4, new Uint8Array(SLOT).fill(0xff)), fixture.device.row("factory").offset);
    fixture.server.on("/old.bin", serveFile(older));
    const asked = fixture.server.requests.length;
    const url = fixture.server.url("/old.bin");
    const outcome = await fixture.update({ url, ...(await trustIn(transport, older, "/old.bin")) });
    assert.ifError(outcome.error);
    assert.deepEqual(ranges(fixture, asked), expectedRanges(3 * SECTOR));
    bootsNewImage(fixture, "factory", older);
  });

  // What follows is of HTTP alone: the length of an answer, ranges and what a server makes of them, ETag and date, status. A
  // source has none of these: it is asked for bytes from an offset, and gives them or not.
  if (transport !== "http") return;

  test("the whole image, known by `digest`: head and last sector fetched, none erased", async (t) => {
    const fixture = await createFixture(t, { image: NEW, load: { ota_0: NEW } });
    const outcome = await fixture.update({ digest: NEW_DIGEST });
    assert.deepEqual(ranges(fixture), expectedRanges((NEW_SECTORS - 1) * SECTOR));
    assert.equal(erasesIn(fixture, "ota_0"), 0);
    await succeeds(fixture, outcome, "ota_0");
  });

  test("a download without a length leaves a blank sector too, and is resumed", async (t) => {
    const fixture = await createFixture(t, { image: null, load: { ota_0: noise(9, SLOT) } });
    fixture.server.on(
      "/fw.bin",
      sequence(cutAt(NEW, 30000, "stall", { chunked: true, ranges: false }), serveFile(NEW)),
    );
    failsWith(await patiently(fixture, { digest: NEW_DIGEST }), "HTTP_READ_TIMEOUT", true);
    const whole = wholeSectors(fixture.device, NEW);
    assert.ok(whole >= 6);
    fixture.device.powerCycle();
    await succeeds(fixture, await fixture.update({ digest: NEW_DIGEST }), "ota_0", NEW);
    // only whole sectors are written while nobody knows the length: the last one is fetched again
    assert.deepEqual(ranges(fixture, 1), expectedRanges((whole - 1) * SECTOR));
  });

  // --- Servers -------------------------------------------------------------------------------------------------------------

  for (const [what, behaviour] of [
    ["knows no ranges", serveFile(NEW, { ranges: false })],
    ["says that it has ranges and answers 200", rangeAnswered200(NEW)],
  ] as [string, Behaviour][])
    test(`a server that ${what} is read from zero, and no right sector is erased`, async (t) => {
      if (leftOut(t, 2, "of what a slot holds and a server says of itself")) return;
      const fixture = await createFixture(t, { image: null, load: { ota_0: partly(NEW, 9) } });
      fixture.server.on("/fw.bin", behaviour);
      const outcome = await fixture.update({ digest: NEW_DIGEST });
      assert.equal(erasesIn(fixture, "ota_0"), NEW_SECTORS - 9 - 1, "the tenth is blank");
      assert.ok(fixture.server.requests.length <= 2);
      await succeeds(fixture, outcome, "ota_0", NEW);
    });

  const MODIFIED = "Sun, 01 Nov 2026 00:00:00 GMT";
  /** No ETag, a Last-Modified, and the server's clock. */
  const dated = (date: string, etag = ""): FileOptions => ({ etag, lastModified: MODIFIED, headers: { Date: date } });

  for (const [what, options, wanted] of [
    ["a strong ETag", { etag: '"abc"' }, '"abc"'],
    ["a strong ETag with odd characters", { etag: '"W/ab,c; d"' }, '"W/ab,c; d"'],
    ["a weak ETag", { etag: 'W/"abc"' }, undefined],
    ["no ETag", { etag: "" }, undefined],
    ["a file of a minute ago without ETag", dated("Sun, 01 Nov 2026 00:01:00 GMT"), MODIFIED],
    ["a file of last year without ETag", dated("Mon, 01 Nov 2027 00:00:00 GMT"), MODIFIED],
    // RFC 9110 8.8.2.2: two writes in one second, or two clocks, have one date
    ["a file of 59 seconds ago without ETag", dated("Sun, 01 Nov 2026 00:00:59 GMT"), undefined],
    ["a file of now without ETag", dated(MODIFIED), undefined],
    ["a file of tomorrow without ETag", dated("Sat, 31 Oct 2026 00:00:00 GMT"), undefined],
    ["no ETag, from a server without a clock", { etag: "", lastModified: MODIFIED }, undefined],
    ["no ETag, with a clock that is none", dated("today"), undefined],
    [
      "no ETag and a date that is none",
      { etag: "", lastModified: "yesterday", headers: { Date: MODIFIED } },
      undefined,
    ],
    // RFC 9110 13.1.5: a date only where there is no ETag at all
    ["a weak ETag and a date", dated("Mon, 01 Nov 2027 00:00:00 GMT", 'W/"abc"'), undefined],
    ["a strong ETag and a date", dated("Mon, 01 Nov 2027 00:00:00 GMT", '"abc"'), '"abc"'],
  ] as [string, FileOptions, string | undefined][]) {
    test(`resuming with ${what}: If-Range ${wanted ?? "is not sent"}`, async (t) => {
      if (leftOut(t, 2, "of what a slot holds and a server says of itself")) return;
      const fixture = await createFixture(t, { image: null, load: { ota_0: partly(NEW, 5) } });
      fixture.server.on("/fw.bin", serveFile(NEW, options));
      const outcome = await fixture.update({ digest: NEW_DIGEST });
      assert.deepEqual(
        fixture.server.requests.map(({ headers }) => headers["if-range"]),
        [undefined, wanted],
      );
      await succeeds(fixture, outcome, "ota_0", NEW);
    });

    test(`reconnecting with ${what}: If-Range ${wanted ?? "is not sent"}`, async (t) => {
      if (leftOut(t, 2, "of what a slot holds and a server says of itself")) return;
      const fixture = await createFixture(t, { image: null });
      fixture.server.on("/fw.bin", cutAt(NEW, 20000, "close", options));
      const outcome = await patiently(fixture, { digest: NEW_DIGEST, retries: 1 });
      assert.deepEqual(
        fixture.server.requests.map(({ headers }) => headers["if-range"]),
        [undefined, wanted],
      );
      await succeeds(fixture, outcome, "ota_0", NEW);
    });
  }

  const OTHER = padTo(newImage("esp32", 21), 62345);
  const THIRD = padTo(newImage("esp32", 22), 61500);
  const cut = (image: Uint8Array, options: FileOptions = {}) => cutAt(image, 30000, "close", options);

  /** What replaces the file between two requests; both cases end with OTHER. */
  const CHANGES: [string, () => Behaviour, () => Behaviour][] = [
    ["a changed ETag, told by 200", () => cut(NEW), () => serveFile(OTHER)],
    [
      "a changed ETag on a server that ignores If-Range",
      () => cut(NEW),
      () => ignoringIfRange(OTHER, { etag: '"other"' }),
    ],
    ["an ETag that went away", () => cut(NEW), () => ignoringIfRange(OTHER, { etag: "" })],
    ["another total under the same ETag", () => cut(NEW, { etag: '"x"' }), () => serveFile(OTHER, { etag: '"x"' })],
    ["another total without ETags", () => cut(NEW, { etag: "" }), () => serveFile(OTHER, { etag: "" })],
    [
      "416",
      () => cut(NEW, { etag: "" }),
      () => sequence(status(416, { "Content-Range": "bytes */20000" }), serveFile(OTHER)),
    ],
  ];

  /** RFC 9110 asks for 200 when If-Range does not hold; not every cache does. */
  function ignoringIfRange(bytes: Uint8Array, options: FileOptions): Behaviour {
    return (req, io) => {
      delete req.headers["if-range"];
      return serveFile(bytes, options)(req, io);
    };
  }

  for (const [what, before, after] of CHANGES) {
    test(`${what} during the download: from zero, once, and the new file is whole`, async (t) => {
      if (leftOut(t, 2, "of what a slot holds and a server says of itself")) return;
      const fixture = await createFixture(t, { image: null });
      fixture.server.on("/fw.bin", sequence(before(), after()));
      await succeeds(fixture, await patiently(fixture, { retries: 2 }), "ota_0", OTHER);
    });

    test(`${what} after the first bytes of a resumed download: from zero, once`, async (t) => {
      if (leftOut(t, 2, "of what a slot holds and a server says of itself")) return;
      const fixture = await createFixture(t, { image: null, load: { ota_0: partly(NEW, 9) } });
      fixture.server.on("/fw.bin", sequence(before(), after()));
      const digest = `fsverity-sha256:${fsverity(OTHER)}`;
      await succeeds(fixture, await patiently(fixture, { digest, retries: 2 }), "ota_0", OTHER);
    });
  }

  const TWIN = newImage("esp32", 23); // as long as NEW
  const OLDER: FileOptions = dated("Mon, 02 Nov 2026 00:00:00 GMT");
  const NEWER: FileOptions = { ...OLDER, lastModified: "Sun, 01 Nov 2026 12:00:00 GMT" };
  const JUST_NOW: FileOptions = { ...OLDER, headers: { Date: "Sun, 01 Nov 2026 00:00:01 GMT" } };
  for (const [what, before, after] of [
    ["told by 200", cut(NEW, OLDER), serveFile(TWIN, NEWER)],
    ["on a server that ignores If-Range", cut(NEW, OLDER), ignoringIfRange(TWIN, NEWER)],
    ["that is too new to be a strong validator", cut(NEW, JUST_NOW), ignoringIfRange(TWIN, NEWER)],
    ["that comes back older", cut(NEW, NEWER), serveFile(TWIN, OLDER)],
  ] as [string, Behaviour, Behaviour][])
    test(`another file of the same length without ETag, its date ${what}: from zero`, async (t) => {
      if (leftOut(t, 2, "of what a slot holds and a server says of itself")) return;
      const fixture = await createFixture(t, { image: null });
      fixture.server.on("/fw.bin", sequence(before, after));
      await succeeds(fixture, await patiently(fixture, { retries: 2 }), "ota_0", TWIN);
    });

  test("a 206 that repeats no Last-Modified is of the same file", async (t) => {
    const fixture = await createFixture(t, { image: null });
    // RFC 9110 15.3.7: a 206 in answer to If-Range should leave it out
    const bare: FileOptions = { etag: "", headers: OLDER.headers };
    const asked = (behaviour: Behaviour): Behaviour => {
      return (req, io) => {
        assert.equal(req.headers["if-range"], MODIFIED);
        delete req.headers["if-range"];
        return behaviour(req, io);
      };
    };
    const parts = [asked(cutAt(NEW, 20000, "close", bare)), asked(serveFile(NEW, bare))];
    fixture.server.on("/fw.bin", sequence(cut(NEW, OLDER), ...parts));
    const outcome = await patiently(fixture, { retries: 1 });
    assert.deepEqual(ranges(fixture), ["bytes=0-", "bytes=30000-", "bytes=50000-"]);
    await succeeds(fixture, outcome, "ota_0", NEW);
  });

  for (const [what, etag] of [
    ["ETag", undefined],
    ["total, without ETags,", ""],
  ] as const)
    test(`a file whose ${what} changes twice fails, and the old image stays`, async (t) => {
      if (leftOut(t, 2, "of what a slot holds and a server says of itself")) return;
      const fixture = await createFixture(t, { image: null });
      const options = etag === undefined ? {} : { etag };
      fixture.server.on(
        "/fw.bin",
        sequence(cut(NEW, options), cut(OTHER, options), cut(OTHER, options), serveFile(THIRD, options)),
      );
      const outcome = await patiently(fixture, { retries: 3 });
      assert.ok(outcome.error, "it went on without end with a file that keeps changing");
      await failsCleanly(fixture, outcome, "INVALID_RESPONSE", { touched: ["ota_0"], retry: true });
    });

  test("other bytes at the start under the same ETag: from zero, with the new file", async (t) => {
    const fixture = await createFixture(t, { image: null, load: { ota_0: partly(NEW, 9) } });
    fixture.server.on("/fw.bin", serveFile(OTHER, { etag: '"same"' }));
    await succeeds(fixture, await fixture.update(), "ota_0", OTHER);
    assert.deepEqual(ranges(fixture), ["bytes=0-"]);
  });

  test("a server that answers later ranges with 416 fails after one restart from zero", async (t) => {
    const fixture = await createFixture(t, { image: null, load: { ota_0: partly(NEW, 9) } });
    let count = 0;
    fixture.server.on("/fw.bin", (req, io) => (count++ ? rangeAnswered416(NEW) : serveFile(NEW))(req, io));
    const outcome = await patiently(fixture, { digest: NEW_DIGEST, retries: 3 });
    assert.ok(fixture.server.requests.length <= 3, `${fixture.server.requests.length} requests`);
    await failsCleanly(fixture, outcome, "HTTP_RANGE_NOT_SATISFIABLE", {
      touched: ["ota_0"],
      says: /416/,
      retry: true,
    });
  });

  for (const how of ["start", "missing", "unit"] as const)
    test(`a resumed range with a wrong Content-Range (${how}) is not written`, async (t) => {
      if (leftOut(t, 2, "of what a slot holds and a server says of itself")) return;
      const fixture = await createFixture(t, { image: null, load: { ota_0: partly(NEW, 9) } });
      fixture.server.on("/fw.bin", sequence(serveFile(NEW), wrongContentRange(NEW, how)));
      const outcome = await patiently(fixture, { digest: NEW_DIGEST, retries: 1 });
      await failsCleanly(fixture, outcome, "INVALID_RESPONSE");
    });

  test("a resumed range with another total restarts from zero once, then fails", async (t) => {
    const fixture = await createFixture(t, { image: null, load: { ota_0: partly(NEW, 9) } });
    fixture.server.on("/fw.bin", sequence(serveFile(NEW), wrongContentRange(NEW, "total")));
    const outcome = await patiently(fixture, { digest: NEW_DIGEST, retries: 1 });
    assert.ok(outcome.error);
    assert.equal(outcome.error.retry, true);
    assert.ok(fixture.server.requests.length <= 5, `${fixture.server.requests.length} requests`);
    keepsOldImage(fixture);
  });

  test("a resumed range that starts elsewhere is not believed", async (t) => {
    const fixture = await createFixture(t, { image: null, load: { ota_0: partly(NEW, 9) } });
    fixture.server.on("/fw.bin", sequence(serveFile(NEW), otherRange(NEW, 100)));
    const outcome = await patiently(fixture, { digest: NEW_DIGEST, retries: 1 });
    await failsCleanly(fixture, outcome, "INVALID_RESPONSE");
  });
}
