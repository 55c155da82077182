// Where builds keep Storage (docs/espruino.md#where-storage-lies): over the border of 2v25 and 2v26 the files are lost where the table does
// not serve both builds. An image that would lose them is refused, with the fact and the remedy.

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import type { Board } from "../../sim/boards.ts";
import { fsverity } from "../../support/fsverity.ts";
import { buildImage, layoutOf, noise, reseal } from "../../support/images.ts";
import { checkTable, type Row } from "../../sim/partitions.ts";
import {
  boardWith,
  type Config,
  failsCleanly,
  failsWith,
  type Outcome,
  type Refusal,
  row,
  SMALL,
  succeeds,
} from "../../support/fixture.ts";
import { serveFile } from "../../support/server.ts";
import { digestOf, espruinoImage, missing, published, type Signed, startSigned } from "../../support/signed.ts";

const FLASH_SIZE = 0x400000;
const NEEDLE = "Couldn't map 'storage'!\n";

const ok = (outcome: Outcome): any => {
  assert.ifError(outcome.error ? new Error(`${outcome.error.name}: ${outcome.error.message}`) : null);
  return outcome.result;
};

// --- Tables and builds

const APPS: Row[] = [
  row("nvs", 1, 2, 0x9000, 0x3000),
  row("otadata", 1, 0, 0xc000, 0x2000),
  row("free", 1, 0x40, 0xe000, 0x2000),
  row("factory", 0, 0, 0x10000, 0x180000),
  row("ota_0", 0, 0x10, 0x190000, 0x180000),
  row("flash", 1, 0x40, 0x310000, 0x10000),
];
const tableOf = (...storage: Row[]): Board => boardWith([...APPS, ...storage], "esp32");

/** targets/esp32/Changes_V3.1/partitions_espruino.csv up to 2v25, and from 2v26 on. */
const STOCK_2V22 = tableOf(row("js_code", 1, 0x41, 0x320000, 0x40000), row("storage", 1, 0x42, 0x360000, 0xa0000));
const STOCK_2V27 = tableOf(row("storage", 1, 0x41, 0x320000, 0xe0000));
/** What both kinds of builds can live with. */
const BOTH = tableOf(row("js_code", 1, 0x41, 0x320000, 0x40000), row("storage", 1, 0x42, 0x320000, 0xe0000));

type Build = { image: Uint8Array; claim: { partition: string; address: number; size: number } };
const OLD_CLAIM = { partition: "js_code", address: 0x320000, size: 0x40000 };
const NEW_CLAIM = { partition: "storage", address: 0x320000, size: 0xe0000 };
const V22: Build = { image: espruinoImage({ version: "2v22.26", storage: "js_code" }), claim: OLD_CLAIM };
const V27: Build = { image: espruinoImage({ version: "2v27.45" }), claim: NEW_CLAIM };
const OTHER_V22: Build = { image: espruinoImage({ version: "2v23", storage: "js_code" }), claim: OLD_CLAIM };
const OTHER_V27: Build = { image: espruinoImage({ version: "2v28" }), claim: NEW_CLAIM };

const start = (t: TestContext, board: Board | string, running: Build | Uint8Array, offered: Uint8Array) =>
  startSigned(t, {
    board,
    images: { factory: running instanceof Uint8Array ? running : running.image },
    image: offered,
  });

/** Every way to an image. The claim comes with the manifest alone; else the image's text tells, once it is in flash. */
const WAYS: { way: string; early: boolean; update(signed: Signed, build: Build, config?: Config): Promise<Outcome> }[] =
  [
    {
      way: "a claim",
      early: true,
      update: (signed, { image, claim }, config) => signed.update(image, { image: { storage: claim } }, config),
    },
    {
      way: "a manifest without a claim",
      early: false,
      update: (signed, { image }, config) => signed.update(image, {}, config),
    },
    {
      way: "a digest",
      early: false,
      update: ({ fixture }, { image }, config) => fixture.update({ digest: digestOf(image), ...config }),
    },
    {
      way: "insecure",
      early: false,
      update: ({ fixture }, _, config) => fixture.update({ insecure: true, ...config }),
    },
  ];

/** Storage would be lost: refused before the first erase where a claim tells, else before the select. */
async function isRefused(signed: Signed, outcome: Outcome, early: boolean, says: RegExp): Promise<void> {
  const refusal: Refusal = early ? { says } : { says, touched: ["ota_0", "otadata"] };
  const { message } = outcome.error ?? { message: "" };
  await failsCleanly(signed.fixture, outcome, "NOT_SUPPORTED", refusal);
  assert.match(message, /flash .* once by USB/, "no remedy");
  assert.match(message, /allowStorageLoss/);
}

type Border = { what: string; board: Board; running: Build; offered: Build; early: RegExp; late: RegExp };
const BORDERS: Border[] = [
  {
    what: "2v27 over 2v22 on the old stock table",
    board: STOCK_2V22,
    running: V22,
    offered: V27,
    early: /keeps its files at 0x320000 .* partition storage, which this table has at 0x360000/,
    late: /0x360000/,
  },
  {
    what: "2v22 over 2v27 on today's stock table",
    board: STOCK_2V27,
    running: V27,
    offered: V22,
    early: /partition js_code, which this table does not have/,
    late: /partition js_code, which this table does not have/,
  },
];

for (const { what, board, running, offered, early, late } of BORDERS) {
  for (const { way, early: isEarly, update } of WAYS)
    test(`${what} is refused with ${way}, until allowStorageLoss`, async (t) => {
      const signed = await start(t, board, running, offered.image);
      await isRefused(signed, await update(signed, offered), isEarly, isEarly ? early : late);
      const again = await start(t, board, running, offered.image);
      await succeeds(again.fixture, await update(again, offered, { allowStorageLoss: true }), "ota_0");
    });

  test(`${what}: a target that holds the image already is not selected either`, async (t) => {
    const signed = await start(t, board, running, offered.image);
    const { device } = signed.fixture;
    device.flash.load(offered.image, device.row("ota_0").offset);
    const outcome = await signed.update(offered.image);
    assert.equal(signed.fetched(), 0, "the image was fetched");
    await isRefused(signed, outcome, false, late);
  });
}

test("checkForUpdate refuses what update would refuse for its claim", async (t) => {
  const signed = await start(t, STOCK_2V22, V22, V27.image);
  const claims = { image: { storage: V27.claim } };
  failsWith(await signed.check(V27.image, claims), "NOT_SUPPORTED");
  assert.equal(ok(await signed.check(V27.image, claims, { allowStorageLoss: true })).available, true);
});

test("builds of one kind follow each other on either stock table", async (t) => {
  for (const [board, running, offered] of [
    [STOCK_2V22, V22, OTHER_V22],
    [STOCK_2V27, V27, OTHER_V27],
  ] as const)
    for (const { update } of WAYS) {
      const signed = await start(t, board, running, offered.image);
      await succeeds(signed.fixture, await update(signed, offered), "ota_0");
    }
});

const IMAGES = ["images/espruino-2v22.26-esp32.bin", "images/espruino-2v27.45-esp32.bin"];
const TABLE = "cases/partitions-2v22.bin";

function publishedTable(): Board {
  const checked = checkTable(published(TABLE), FLASH_SIZE);
  assert.ok("rows" in checked);
  return boardWith(checked.rows, "esp32");
}

test("the old stock table of these tests is the published one", { skip: missing(TABLE) }, () => {
  assert.deepEqual(publishedTable().rows, STOCK_2V22.rows);
});

for (const { way, early: isEarly, update } of WAYS) {
  test(`a published 2v27.45 is refused over 2v22.26 with ${way}`, { skip: missing(TABLE, ...IMAGES) }, async (t) => {
    const [v22, v27] = IMAGES.map(published);
    const offered = { image: v27, claim: NEW_CLAIM };
    const signed = await start(t, publishedTable(), v22, v27);
    assert.equal(signed.fixture.device.engine.run("process.env.VERSION"), "2v22.26");
    await isRefused(signed, await update(signed, offered), isEarly, isEarly ? BORDERS[0].early : BORDERS[0].late);
  });

  test(`a published 2v22.26 is refused over 2v27.45 with ${way}`, { skip: missing(...IMAGES) }, async (t) => {
    const [v22, v27] = IMAGES.map(published);
    const signed = await start(t, "esp32", v27, v22);
    const offered = { image: v22, claim: OLD_CLAIM };
    await isRefused(signed, await update(signed, offered), isEarly, isEarly ? BORDERS[1].early : BORDERS[1].late);
  });
}

// --- A table that serves both

for (const { way, early, update } of WAYS)
  test(`a table with both names takes builds of both kinds, with ${way}`, async (t) => {
    for (const [running, offered] of [
      [V22, V27],
      [V27, V22],
    ]) {
      const signed = await start(t, BOTH, running, offered.image);
      const { device } = signed.fixture;
      const program = noise(3, 700);
      device.storage.set("app.js", program);
      await succeeds(signed.fixture, await update(signed, offered), "ota_0");
      assert.deepEqual(device.storage.get("app.js"), program, `${early}: the program is gone`);
    }
  });

for (const { way, early, update } of WAYS) {
  test(`a build of 256 KB is refused when more is in use, with ${way}`, async (t) => {
    const signed = await start(t, BOTH, V27, V22.image);
    const { storage } = signed.fixture.device;
    storage.set("live", noise(3, 150_000));
    storage.set("erased", noise(4, 120_000));
    storage.delete("erased");
    await isRefused(
      signed,
      await update(signed, V22),
      early,
      /Storage needs \d+ bytes, with erased files and the boot record/,
    );
  });

  test(`896 KB of Storage are refused on flash that is not blank, with ${way}`, async (t) => {
    for (const at of [0x360000, 0x3a1234, 0x3fffff]) {
      const signed = await start(t, BOTH, V22, V27.image);
      signed.fixture.device.flash.load(new Uint8Array([0x7f]), at);
      const sector = (at & ~0xfff).toString(16);
      await isRefused(signed, await update(signed, V27), early, new RegExp(`flash at 0x${sector} is not blank`));
    }
  });
}

for (const { way, update } of WAYS)
  test(`what is in use fits a smaller build, boot record and all, with ${way}`, async (t) => {
    const results: string[] = [];
    for (const spare of [-4, 0, 4000, 4128, 8256, 20_000]) {
      // of another length than the image that is offered: it is not hashed, which writes a record
      const running = espruinoImage({ version: "2v27.45" }, { size: 60000 });
      const signed = await start(t, BOTH, running, V22.image);
      const { storage } = signed.fixture.device;
      storage.set("live", noise(3, OLD_CLAIM.size - spare - 32));
      const outcome = await update(signed, V22);
      const { total, free } = storage.files.stats();
      if (outcome.error) failsWith(outcome, "NOT_SUPPORTED");
      else assert.ok(total - free <= OLD_CLAIM.size, `${spare} bytes to spare: ${total - free} are in use now`);
      results.push(outcome.error ? "refused" : "taken");
    }
    assert.equal(results[0], "refused");
    assert.equal(results.at(-1), "taken");
  });

for (const { way, update } of WAYS)
  test(`a full Storage is not a reason to refuse a build of its size, with ${way}`, async (t) => {
    for (const free of [0, 5000, 9000]) {
      const signed = await start(t, STOCK_2V27, V27, V27.image);
      const { device } = signed.fixture;
      // the record's file is there, with room in it
      ok(await signed.fixture.update({ insecure: true }));
      device.restart();
      device.ota.markValid();
      device.storage.set("filler", noise(3, device.storage.files.stats().free - 32 - free));
      signed.fixture.server.on("/fw.bin", serveFile(OTHER_V27.image));
      signed.fixture.remember();
      await succeeds(signed.fixture, await update(signed, OTHER_V27), "factory", OTHER_V27.image);
    }
  });

test("of the claim only a table with room for it is accepted, to the byte", async (t) => {
  for (const [change, result] of [
    [{ size: 0xe0001 }, /needs 917505 bytes in partition storage, which has 917504/],
    [{ address: 0x320001 }, /at 0x320001 .* which this table has at 0x320000/],
    [{ partition: "Storage" }, /partition Storage, which this table does not have/],
    [{ partition: "flash", address: 0x310000, size: 0x10000 }, /keeps its files in another place/],
    [{ partition: "ota_0", address: 0x190000, size: 0x10000 }, /partition ota_0, which this table does not have/],
    [{}, null],
  ] as const) {
    const signed = await start(t, STOCK_2V27, V27, OTHER_V27.image);
    const outcome = await signed.update(OTHER_V27.image, { image: { storage: { ...NEW_CLAIM, ...change } } });
    if (result) await isRefused(signed, outcome, true, result);
    else await succeeds(signed.fixture, outcome, "ota_0");
  }
});

test("builds after 2v read through the partition storage, like those since 2v26", async (t) => {
  for (const version of ["2v26", "2v26.1", "2v99.123", "3v00", "3v01.2"]) {
    const images = { factory: V27.image };
    const options = { board: STOCK_2V27, images, image: OTHER_V27.image, engine: { version } };
    const signed = await startSigned(t, options);
    const outcome = await signed.update(OTHER_V27.image, { image: { storage: NEW_CLAIM } });
    assert.equal(outcome.error?.message, undefined, version);
  }
});

// --- Malformed claims

test("a malformed claim refuses the manifest by its name, before anything is fetched", async (t) => {
  const signed = await start(t, STOCK_2V27, V27, OTHER_V27.image);
  const whole = { ...NEW_CLAIM };
  for (const storage of [
    ...[null, 5, 0, true, false, "storage", "", [], {}],
    ...[undefined, null, 5, "", ["storage"]].map((partition) => ({ ...whole, partition })),
    ...[undefined, null, "0x320000", -1, 0.5, 2 ** 53].map((address) => ({ ...whole, address })),
    ...[undefined, null, "917504", -1, 0, 0.5].map((size) => ({ ...whole, size })),
  ]) {
    for (const allowStorageLoss of [false, true]) {
      const outcome = await signed.update(OTHER_V27.image, { image: { storage } }, { allowStorageLoss });
      assert.ok(outcome.error, `${JSON.stringify(storage)} was taken`);
      const { message } = failsWith(outcome, "INVALID_RESPONSE");
      assert.match(message, /image\.storage/, JSON.stringify(storage));
    }
  }
  assert.equal(signed.fetched(), 0, "the image was fetched");
  assert.deepEqual(signed.fixture.device.flash.log, []);
  ok(await signed.update(OTHER_V27.image, { image: { storage: { ...whole, more: 1 } } }));
});

// --- The text in an image

const TOY_RUNNING = espruinoImage({ version: "2v27.45" }, { size: 12000, seed: 1 });

/** An image with `text` at this place of its first segment and no other text. */
function imageWith(text: string, at: number): Uint8Array {
  const image = buildImage({ size: 12000, seed: 2 });
  assert.ok(at + text.length <= layoutOf(image).segments[1], "the text leaves its segment");
  image.set(Buffer.from(text, "latin1"), at);
  return reseal(image);
}

/** Is the image refused for its text? It lies in the target already, so nothing is downloaded. */
async function finds(signed: Signed, image: Uint8Array): Promise<boolean> {
  const { device } = signed.fixture;
  device.flash.load(image, device.row("ota_0").offset);
  const { error } = await signed.update(image);
  assert.ok(!error || error.name === "ESP_ERR_NOT_SUPPORTED", error?.message);
  if (!error) device.restart();
  if (device.running === "ota_0") {
    device.flash.load(new Uint8Array(8192).fill(0xff), device.otadata().address);
    device.restart();
    assert.equal(device.running, "factory");
  }
  return error !== undefined;
}

test("the text is found at every place, also across the border of two pieces", async (t) => {
  const signed = await startSigned(t, { board: SMALL, images: { factory: TOY_RUNNING } });
  const text = "Couldn't map js_code!\n"; // of which this table knows no partition
  const end = layoutOf(buildImage({ size: 12000, seed: 2 })).segments[1];
  const places: number[] = [];
  // pieces of 1024 bytes that overlap, or do not: every place near both kinds of borders
  for (const step of [1011, 1024])
    for (let border = step; border < end; border += step)
      for (let at = border - 26; at <= border + 3; at++) places.push(at);
  for (let at = 288; at < end; at += 97) places.push(at);
  places.push(end - text.length);
  for (const at of new Set(places))
    if (at >= 288 && at + text.length <= end) assert.ok(await finds(signed, imageWith(text, at)), `not found at ${at}`);
});

test("texts that are nearly the one are not a claim", async (t) => {
  const signed = await startSigned(t, { board: SMALL, images: { factory: TOY_RUNNING } });
  for (const text of [
    "couldn't map js_code!",
    "Couldn't map js_cod!",
    "Couldn't map 'js_code'",
    "Couldn't find js_code",
  ])
    assert.equal(await finds(signed, imageWith(text, 2000)), false, text);
});

test("the text is found behind other texts that begin like it", async (t) => {
  const signed = await startSigned(t, { board: SMALL, images: { factory: TOY_RUNNING } });
  for (const before of ["Couldn't map file\0", "Couldn't map ", "Couldn't m"])
    assert.ok(await finds(signed, imageWith(`${before}Couldn't map js_code!\n`, 2000)), `not found behind ${before}`);
});

test("an image that tells nothing, or a partition that is there, is installed", async (t) => {
  for (const image of [buildImage({ size: 12000, seed: 2 }), imageWith(NEEDLE, 2000)])
    for (const trust of [{ insecure: true }, { digest: `fsverity-sha256:${fsverity(image)}` }]) {
      const signed = await startSigned(t, { board: SMALL, images: { factory: TOY_RUNNING }, image });
      await succeeds(signed.fixture, await signed.fixture.update(trust), "ota_0");
    }
});

test("the running build is not asked when its own text is missing: its version tells", async (t) => {
  const own = buildImage({ size: 61008, seed: 4 });
  const signed = await start(t, STOCK_2V27, own, OTHER_V27.image);
  await succeeds(signed.fixture, await signed.update(OTHER_V27.image, { image: { storage: NEW_CLAIM } }), "ota_0");
});
