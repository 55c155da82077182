// A release of files: fetched into Storage, committed by one record, started by the loader, taken back.
// docs/design.md#releases-with-files.

import assert from "node:assert/strict";
import { test } from "node:test";
import { failsWith, plain, settle, until } from "../../support/fixture.ts";
import {
  createFilesFixture,
  filesClaims,
  type FilesFixture,
  loaderWith,
  type ProgramFiles,
  programOf,
  storedName,
} from "../../support/files-release.ts";
import { buildImage } from "../../support/images.ts";
import { claimsFor, signManifest } from "../../support/release.ts";
import * as serve from "../../support/server.ts";

const HELPER = "exports.read = function () { return 42; };";
const ONE: ProgramFiles = {
  "lib/sensor.js": HELPER,
  "app.js": programOf("1"),
  "logo.img": Buffer.from([0, 255, 1, 255]),
};
const TWO: ProgramFiles = { "lib/sensor.js": HELPER, "app.js": programOf("2"), "table.bin": "x".repeat(5000) };
const IMAGE = buildImage({ chip: "esp32", size: 61008, seed: 7, descriptor: { version: "2.0.2" } });

const statusOf = (fixture: FilesFixture) => plain(fixture.ask("ota.getStatus()")) as any;

/** The same in a device that runs no program: the module is not loaded there. */
const reportOf = (fixture: FilesFixture) => plain(fixture.device.ota.getStatus()) as any;

function ifError({ error }: { error?: { name: string; message: string } }): void {
  assert.ifError(error ? new Error(`${error.name}: ${error.message}`) : null);
}

/** A device that runs ONE, confirmed. */
async function withOne(t: Parameters<typeof createFilesFixture>[0], options = {}): Promise<FilesFixture> {
  const fixture = await createFilesFixture(t, options);
  ifError(await fixture.install(ONE, { version: "1.0" }));
  fixture.device.restart();
  fixture.ask("ota.markValid()");
  fixture.remember();
  return fixture;
}

test("a release of files alone is fetched, committed by one record, and confirmed", async (t) => {
  const fixture = await createFilesFixture(t);
  const { device } = fixture;
  const files = { ...ONE, "app.js": programOf("1", 'var value = require("lib/sensor").read();') };
  const { result, error } = await fixture.install(files, { version: "1.0" });
  ifError({ error });
  assert.deepEqual([result.upToDate, result.partition.label, result.size], [false, "factory", 0]);
  device.restart();
  assert.equal(fixture.ask("running"), "1", device.engine.console.join());
  assert.equal(fixture.ask("value"), 42);
  assert.equal(fixture.ask('require("Storage").read(ota.file("logo.img"))'), "\x00\xff\x01\xff");
  assert.deepEqual(statusOf(fixture).release, { version: "1.0", entry: "app.js", files: Object.keys(files) });
  assert.deepEqual(statusOf(fixture).trial, { boots: 1, previous: "factory" });
  fixture.ask("ota.markValid()");
  device.restart();
  assert.equal(fixture.ask("running"), "1");
  assert.equal(statusOf(fixture).trial, null);
  assert.equal(fixture.stored().length, 4);
});

test("a second release fetches only what is new; markValid() erases what is unused", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  fixture.server.requests.length = 0;
  ifError(await fixture.install(TWO, { version: "2.0" }));
  const asked = fixture.server.requests.map(({ path }) => path.replace(/^\/\d+\//, ""));
  assert.deepEqual(asked, ["m.jws", "files/app.js", "files/table.bin"]);
  assert.ok(fixture.stored().includes(storedName(ONE["app.js"])), "the old program is there until the new one is good");
  device.restart();
  assert.equal(fixture.ask("running"), "2");
  device.storage.set("settings", Buffer.from("mine"));
  device.storage.set("~notours", Buffer.from("mine"));
  fixture.ask("ota.markValid()");
  const kept = [...device.storage.keys()].sort();
  const contents = Object.values(TWO).map(storedName);
  assert.deepEqual(
    kept.filter((name) => name.length === 21 && name.startsWith("~") && !contents.includes(name)).length,
    1,
    "the list of the set",
  );
  for (const name of [...contents, "settings", "~notours", ".boot0", "https-ota"])
    assert.ok(kept.includes(name), `${name} is gone`);
  assert.ok(!kept.includes(storedName(ONE["app.js"])));
});

test("a release costs at most four records, and the bytes that are new", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  const { files } = device.storage;
  const before = files.stats();
  const writes: string[] = [];
  device.storage.onWrite = (name) => writes.push(name);
  ifError(await fixture.install(TWO, { version: "2.0" }));
  device.restart();
  fixture.ask("ota.markValid()");
  const records = writes.filter((name) => name.startsWith(".https-ota")).length;
  assert.ok(records <= 4, `${records} records`);
  const fresh = [TWO["app.js"], TWO["table.bin"]].map((content) => 32 + Math.ceil(content.length / 4) * 4);
  const list = fixture.stored().filter((name) => !Object.values(TWO).map(storedName).includes(name));
  const lists = list.map((name) => 32 + Math.ceil((device.storage.get(name) as Uint8Array).length / 4) * 4);
  const cost = before.free - files.stats().free;
  assert.equal(
    cost,
    fresh.concat(lists).reduce((sum, bytes) => sum + bytes),
    `${cost} bytes`,
  );
});

for (const [what, more, starts, times] of [
  ["is not confirmed in three starts", "", 4, 3],
  ["restarts while it starts", "ESP32.reboot();", 4, 3],
  ["throws while it starts", "throw new Error('bad');", 1, 1],
  ["rolls back", "ota.rollback();", 1, 1],
] as const)
  test(`a program that ${what} is taken back, its release bad at the ${times === 1 ? "first" : "third"} time`, async (t) => {
    const fixture = await withOne(t);
    const { device } = fixture;
    for (let time = 1; time <= times; time++) {
      const release = { version: "2.0", sequence: 500 + time };
      ifError(await fixture.install({ ...TWO, "app.js": programOf("2", more) }, release));
      for (let start = 1; start <= starts; start++) {
        device.restart();
        await device.engine.advance(10).catch(() => {});
      }
      assert.equal(device.rebootAsked, true, device.engine.console.join());
      device.restart();
      assert.equal(fixture.ask("running"), "1");
    }
    const status = statusOf(fixture);
    assert.equal(status.trial, null);
    assert.match(status.rolledBack[0], /^release-sha256:[0-9a-f]{64}$/);
    assert.notEqual(status.rollbackReason, "");
    // the same again, by any signer
    const again = await fixture.install({ ...TWO, "app.js": programOf("2", more) }, { version: "3.0", sequence: 600 });
    assert.match(failsWith(again, "NOT_ALLOWED").message, /^this release was rolled back/);
    // another one, of a lower sequence than the bad one
    ifError(await fixture.install({ "app.js": programOf("3") }, { version: "2.1", sequence: 400 }));
    device.restart();
    assert.equal(fixture.ask("running"), "3");
  });

test("a file that changes between two ranges is fetched again", async (t) => {
  const fixture = await withOne(t);
  const right = Buffer.from(TWO["table.bin"] as string);
  const config = await fixture.publish(TWO);
  const path = String(config.url)
    .replace(/^http:\/\/[^/]+/, "")
    .replace("m.jws", "files/table.bin");
  const other = Buffer.alloc(right.length, "y");
  let answers = 0;
  fixture.server.on(path, (req, io) =>
    answers++
      ? serve.serveFile(right, { ranges: true, etag: '"two"' })(req, io)
      : serve.cutAt(other, 3000, "reset", { ranges: true, etag: '"one"' })(req, io),
  );
  ifError(await fixture.update({ ...config, retries: 3 }));
  fixture.device.restart();
  assert.equal(fixture.ask("running"), "2");
  assert.equal(fixture.ask('require("Storage").read(ota.file("table.bin"))'), TWO["table.bin"]);
});

test("after a rollback the program before runs on: no later start leaves its slot", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  ifError(await fixture.install(TWO));
  device.restart();
  fixture.ask("ota.rollback()");
  for (let start = 0; start < 5; start++) {
    device.restart();
    assert.equal(await device.engine.call(fixture.ask("ota.boot()")), false);
    await device.engine.advance(100);
    assert.equal(device.rebootAsked, false);
    assert.equal(fixture.ask("running"), "1");
    assert.equal(device.running, "factory");
  }
});

test("a release never confirmed goes back to no release, and .bootcde runs as before", async (t) => {
  const fixture = await createFilesFixture(t);
  const { device } = fixture;
  device.storage.set(".bootcde", Buffer.from('var old = require("https-ota");'));
  ifError(await fixture.install(ONE));
  for (let start = 0; start < 4; start++) device.restart();
  assert.equal(device.rebootAsked, true);
  device.restart();
  assert.equal(fixture.ask("typeof running"), "undefined");
  assert.equal(fixture.ask("typeof old.update"), "function");
});

test("markValid(), boot() and rollback() mean the program that runs, not the next one", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  ifError(await fixture.install(TWO, { version: "2.0" }));
  fixture.ask("ota.markValid()");
  assert.equal(await device.engine.call(fixture.ask("ota.boot()")), false);
  assert.equal(fixture.ask("running"), "1");
  device.restart();
  assert.equal(fixture.ask("running"), "2");
  assert.deepEqual(statusOf(fixture).trial, { boots: 1, previous: "factory" }, "it was confirmed before it ran");
});

test("checkForUpdate says which files differ and how many bytes would come", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  const config = await fixture.publish(TWO, { version: "2.0" });
  const check = async () => {
    const { result, error } = await fixture.outcome(device.ota.checkForUpdate(fixture.config(config)));
    ifError({ error });
    const { available, waiting, version, size, files, bytes } = result;
    return [available, waiting, version, size, files, bytes];
  };
  const size = Buffer.from(TWO["app.js"]).length + 5000;
  assert.deepEqual(await check(), [true, false, "2.0", 0, ["app.js", "table.bin"], size]);
  ifError(await fixture.update(config));
  assert.deepEqual(await check(), [false, true, "2.0", 0, [], 0]);
  assert.deepEqual((await fixture.update(config)).result?.waiting, true);
  device.restart();
  fixture.ask("ota.markValid()");
  assert.deepEqual(await check(), [false, false, "2.0", 0, [], 0]);
  assert.deepEqual((await fixture.update(config)).result, { upToDate: true });
});

test("begin() gives a handle whose files are there: perform() has nothing to do", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  const config = await fixture.publish(TWO);
  const handle: any = await device.engine.call(device.ota.begin(fixture.config(config)));
  assert.ok(fixture.stored().includes(storedName(TWO["app.js"])));
  assert.equal(await device.engine.call(handle.perform()), 0);
  assert.equal(await device.engine.call(handle.finish()), 0);
  device.restart();
  assert.equal(fixture.ask("running"), "2");
});

test("an image and files come together, and go back together", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  ifError(await fixture.install(TWO, { version: "2.0" }, IMAGE));
  device.restart();
  assert.deepEqual([device.running, fixture.ask("running")], ["ota_0", "2"]);
  assert.deepEqual(statusOf(fixture).trial, { boots: 1, previous: "factory" });
  void fixture.ask("ota.rollback()");
  await until("it restarts", () => {
    void device.engine.advance(50);
    return device.rebootAsked;
  });
  device.restart();
  assert.deepEqual([device.running, fixture.ask("running")], ["factory", "1"]);
  const again = await fixture.install(TWO, { version: "2.1" }, IMAGE);
  assert.match(failsWith(again, "NOT_ALLOWED").message, /^this release/);
  // the image itself is not to blame
  ifError(await fixture.install({ ...TWO, "app.js": programOf("3") }, { version: "3.0" }, IMAGE));
  device.restart();
  assert.deepEqual([device.running, fixture.ask("running")], ["ota_0", "3"]);
  fixture.ask("ota.markValid()");
  device.restart();
  assert.deepEqual([device.running, fixture.ask("running")], ["ota_0", "3"]);
});

test("a bootloader that falls back takes the old program back by itself", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  ifError(await fixture.install(TWO, { version: "2.0" }, IMAGE));
  // the image spoils after it was verified
  device.flash.load(new Uint8Array(4).fill(0), device.row("ota_0").offset);
  device.restart();
  assert.deepEqual([device.running, fixture.ask("running")], ["factory", "1"]);
  assert.equal(statusOf(fixture).trial, null);
});

test("an image alone runs with the files that are there", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  fixture.server.on("/only/fw.bin", serve.serveFile(IMAGE));
  const token = await signManifest(claimsFor(IMAGE, { sequence: 900 }), fixture.key);
  fixture.server.on("/only/m.jws", serve.serveFile(Buffer.from(token)));
  ifError(await fixture.update({ url: fixture.server.url("/only/m.jws"), keys: [fixture.key.jwk] }));
  device.restart();
  assert.deepEqual([device.running, fixture.ask("running")], ["ota_0", "1"]);
  fixture.ask("ota.markValid()");
  device.restart();
  assert.deepEqual([device.running, fixture.ask("running")], ["ota_0", "1"]);
});

for (const offset of [0, 1, 1023, 1024, 1025, 3000, 4999])
  test(`a file that is cut after ${offset} bytes goes on there`, async (t) => {
    const fixture = await withOne(t);
    const content = Buffer.from(`${"abcdefgh".repeat(624)}12345678`);
    assert.equal(content.length, 5000);
    const files = { ...TWO, "table.bin": content };
    const config = await fixture.publish(files);
    const path = String(config.url)
      .replace(/^http:\/\/[^/]+/, "")
      .replace("m.jws", "files/table.bin");
    fixture.server.on(path, serve.cutAt(content, offset, "reset", { ranges: true }));
    fixture.server.requests.length = 0;
    const first = await fixture.update({ ...config, retries: 0 });
    if (first.error) {
      fixture.server.on(path, serve.serveFile(content, { ranges: true }));
      fixture.device.restart(); // what was cut may be a battery
      ifError(await fixture.update(config));
      const range = fixture.server.requests.filter((one) => one.path === path).at(-1)?.headers.range ?? "bytes=0-";
      const from = Number(/bytes=(\d+)-/.exec(String(range))?.[1]);
      assert.ok(from <= offset && offset - from <= 1024, `it asked from ${from} on`);
    }
    fixture.device.restart();
    assert.equal(fixture.ask('require("Storage").read(ota.file("table.bin")).length'), 5000);
  });

test("a server that sends other bytes, too few, too many or another file is found out", async (t) => {
  const fixture = await withOne(t);
  const right = Buffer.from(TWO["table.bin"] as string);
  const wrong = right.map((byte, i) => (i === 4000 ? byte ^ 1 : byte));
  for (const [what, behaviour, code] of [
    ["another byte", serve.serveFile(wrong, { ranges: true }), "OTA_VALIDATE_FAILED"],
    ["too few", serve.serveFile(right.subarray(0, 4000), { ranges: true }), "OTA_VALIDATE_FAILED"],
    ["too many", serve.serveFile(Buffer.concat([right, right]), { ranges: true }), "INVALID_SIZE"],
    ["endless", serve.endless("chunked"), "INVALID_SIZE"],
    ["nothing", serve.status(404), "FAIL"],
  ] as const) {
    const config = await fixture.publish(TWO);
    const path = String(config.url)
      .replace(/^http:\/\/[^/]+/, "")
      .replace("m.jws", "files/table.bin");
    fixture.server.on(path, behaviour);
    const outcome = await fixture.update(config);
    assert.ok(outcome.error, what);
    assert.equal(
      outcome.error.name,
      code === "FAIL" ? outcome.error.name : `ESP_ERR_${code}`,
      `${what}: ${outcome.error.message}`,
    );
    fixture.device.restart();
    assert.equal(fixture.ask("running"), "1", what);
    assert.equal(statusOf(fixture).trial, null, what);
  }
  ifError(await fixture.install(TWO));
});

test("one file, an empty one, binary content, two names of one content, and 150 files", async (t) => {
  const fixture = await createFilesFixture(t, { engine: { freeVars: 20000 } });
  const { device } = fixture;
  ifError(await fixture.install({ "app.js": programOf("only") }));
  device.restart();
  assert.equal(fixture.ask("running"), "only");
  fixture.ask("ota.markValid()");
  const binary = Buffer.from(Array.from({ length: 700 }, (_, i) => (i * 7) & 255));
  const files: ProgramFiles = { "app.js": programOf("many"), "empty.txt": "", "a.bin": binary, "b.bin": binary };
  for (let i = 0; i < 150; i++) files[`f${i}.txt`] = `file ${i}`;
  ifError(await fixture.install(files));
  device.restart();
  assert.equal(fixture.ask("running"), "many");
  assert.equal(fixture.ask('require("Storage").read(ota.file("empty.txt"))'), undefined);
  assert.equal(fixture.ask('ota.file("a.bin") === ota.file("b.bin")'), true);
  assert.equal(fixture.ask('require("Storage").read(ota.file("b.bin"))'), binary.toString("latin1"));
  assert.equal(fixture.ask('require("Storage").read(ota.file("f149.txt"))'), "file 149");
});

test("a file of 300 KB is fetched in pieces and verified in Storage", async (t) => {
  const fixture = await createFilesFixture(t);
  const content = Buffer.from(Array.from({ length: 300_001 }, (_, i) => (i * 31 + (i >> 8)) & 255));
  ifError(await fixture.install({ "app.js": programOf("big"), "big.bin": content }));
  fixture.device.restart();
  const stored = fixture.ask('ota.file("big.bin")');
  assert.deepEqual(Buffer.from(fixture.device.storage.get(stored) as Uint8Array), content);
});

test("too little room is refused before anything is fetched: free, trash and needed", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  device.storage.set("filler", Buffer.alloc(device.storage.files.stats().free - 9000, 1));
  const before = fixture.stored();
  fixture.server.requests.length = 0;
  const outcome = await fixture.install(TWO);
  const { message } = failsWith(outcome, "NO_MEM");
  assert.match(
    message,
    /^Storage has \d+ bytes free and \d+ of erased files, this release needs \d+: erase files and compact/,
  );
  assert.deepEqual(fixture.stored(), before);
  assert.equal(fixture.server.requests.length, 1, "only the manifest");
});

test("a board with one slot and no otadata takes files, and refuses an image", async (t) => {
  const { boardWith, row } = await import("../../support/fixture.ts");
  const rows = [
    row("nvs", 1, 2, 0x9000, 0x4000),
    row("factory", 0, 0, 0x10000, 0x1f0000),
    row("storage", 1, 0x82, 0x320000, 0xe0000),
  ];
  const fixture = await createFilesFixture(t, { board: boardWith(rows, "esp32") });
  const { device } = fixture;
  ifError(await fixture.install(ONE, { version: "1.0" }));
  device.restart();
  assert.equal(fixture.ask("running"), "1");
  fixture.ask("ota.markValid()");
  assert.equal(statusOf(fixture).next, "");
  ifError(await fixture.install({ ...TWO, "app.js": programOf("2") }));
  device.restart();
  assert.equal(fixture.ask("ota.canRollback()"), true);
  fixture.ask("ota.rollback()");
  device.restart();
  assert.equal(fixture.ask("running"), "1");
  assert.equal(fixture.ask("ota.canRollback()"), false);
  failsWith(await fixture.install(TWO, {}, IMAGE), "NOT_SUPPORTED");
  // asked to install again what runs: the files can be, the image has no other slot
  const running = buildImage({ chip: "esp32", size: 60000, seed: 1 });
  const again = await fixture.install({ "app.js": programOf("3") }, {}, running, { allowSameVersion: true });
  ifError(again);
  device.restart();
  assert.equal(fixture.ask("running"), "3");
  fixture.ask("ota.markValid()");
  const claims = claimsFor(running, { sequence: 999 });
  fixture.server.on("/same/fw.bin", serve.serveFile(running));
  fixture.server.on("/same/m.jws", serve.serveFile(Buffer.from(await signManifest(claims, fixture.key))));
  const config = { url: fixture.server.url("/same/m.jws"), keys: [fixture.key.jwk], allowSameVersion: true };
  failsWith(await fixture.update(config as never), "NOT_SUPPORTED");
});

test("without the loader a release of files is refused, with the remedy", async (t) => {
  const fixture = await createFilesFixture(t, { loader: null });
  const outcome = await fixture.install(ONE);
  assert.match(failsWith(outcome, "INVALID_STATE").message, /no loader runs them: npx https-ota init/);
  assert.deepEqual(fixture.stored(), []);
});

test("push brings no files, and says so; a source brings them by their names", async (t) => {
  const fixture = await createFilesFixture(t);
  const { device } = fixture;
  const manifest = await signManifest(filesClaims(ONE, { sequence: 300 }), fixture.key);
  const keys = [fixture.key.jwk];
  const pushed = await fixture.outcome(
    device.ota.begin(device.engine.run(`(${JSON.stringify({ push: true, manifest, keys })})`)),
  );
  assert.match(failsWith(pushed, "NOT_SUPPORTED").message, /give the files by source/);
  const asked: string[] = [];
  const config: any = device.engine.run(`(${JSON.stringify({ manifest, keys })})`);
  config.source = (offset: number, done: (error: unknown, data?: string) => void, file: string) => {
    asked.push(file);
    const name = decodeURIComponent(file.replace("files/", ""));
    done(
      null,
      Buffer.from(ONE[name])
        .toString("latin1")
        .slice(offset, offset + 1000),
    );
  };
  ifError(await settle(device, device.ota.update(config)));
  assert.deepEqual(
    [...new Set(asked)],
    Object.keys(ONE).map((name) => `files/${encodeURIComponent(name)}`),
  );
  device.restart();
  assert.equal(fixture.ask("running"), "1");
});

test("onFirstStart runs once after a release, before confirmation, with its version", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  const told =
    "var told = []; ota.boot({ onFirstStart: function (v) { told.push(v); } }); ota.boot({ onFirstStart: function (v) { told.push(v); } });";
  ifError(await fixture.install({ ...TWO, "app.js": programOf("2", told) }, { version: "2.0" }));
  device.restart();
  assert.deepEqual(plain(fixture.ask("told")), ["2.0"]);
  device.restart();
  assert.deepEqual(plain(fixture.ask("told")), []);
  fixture.ask("ota.markValid()");
  device.restart();
  assert.deepEqual(plain(fixture.ask("told")), []);
});

test("file() refuses what the release has not; compactStorage() gives trash back", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  assert.throws(() => fixture.ask('ota.file("none")'), /release 1\.0 has no file none/);
  ifError(await fixture.install(TWO));
  device.restart();
  fixture.ask("ota.markValid()");
  assert.ok(statusOf(fixture).storage.trash > 0);
  fixture.ask("ota.compactStorage()");
  assert.equal(statusOf(fixture).storage.trash, 0);
  device.restart();
  assert.equal(fixture.ask("running"), "2");
});

test("a second release is refused while the first is on trial", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  ifError(await fixture.install(TWO));
  // before the restart another one may take its place
  ifError(await fixture.install({ ...TWO, "app.js": programOf("3") }));
  device.restart();
  assert.equal(fixture.ask("running"), "3");
  failsWith(await fixture.install({ ...TWO, "app.js": programOf("4") }), "OTA_ROLLBACK_INVALID_STATE");
  void fixture.ask("ota.rollback()");
  device.restart();
  assert.equal(fixture.ask("running"), "1");
});

// --- Two slots

/** Lets the device work until it asks for a restart, or has nothing left to do. */
async function settled({ device }: FilesFixture): Promise<void> {
  for (let pass = 0; pass < 200 && !device.rebootAsked && !device.engine.isIdle(); pass++)
    await device.engine.advance(50).catch(() => {});
}

const runs = (fixture: FilesFixture) => [
  fixture.device.running,
  fixture.ask('typeof running === "undefined" ? "none" : running'),
];

const OTHER = buildImage({ chip: "esp32", size: 61008, seed: 9, descriptor: { version: "1.9" } });

/** The same, with a whole image in the other slot. */
async function withTwoImages(t: Parameters<typeof createFilesFixture>[0], options = {}): Promise<FilesFixture> {
  const fixture = await withOne(t, options);
  fixture.device.flash.load(OTHER, fixture.device.row("ota_0").offset);
  return fixture;
}

test("a rollback of what is confirmed takes the program into the other slot", async (t) => {
  const fixture = await withTwoImages(t);
  void fixture.ask("ota.rollback()");
  await settled(fixture);
  fixture.device.restart();
  assert.deepEqual(runs(fixture), ["ota_0", "1"]);
});

test("a second rollback of files before the restart changes nothing, and restarts", async (t) => {
  const fixture = await withTwoImages(t);
  ifError(await fixture.install(TWO));
  fixture.device.restart();
  await fixture.device.engine.call(fixture.ask("ota.rollback({ restart: false })"));
  void fixture.ask("ota.rollback()");
  assert.equal(fixture.device.rebootAsked, true);
  fixture.device.restart();
  assert.deepEqual(runs(fixture), ["factory", "1"]);
  assert.equal(reportOf(fixture).rolledBack.length, 1);
});

for (const [what, select] of [
  ["that another update has installed", (fixture) => fixture.install(TWO, { version: "2.0" }, IMAGE)],
  [
    "that setBootPartition() has chosen",
    async (fixture) => {
      fixture.device.flash.load(OTHER, fixture.device.row("ota_0").offset);
      await fixture.device.engine.call(fixture.ask('ota.setBootPartition("ota_0")'));
      return { events: [] };
    },
  ],
] as [string, (fixture: FilesFixture) => ReturnType<FilesFixture["install"]>][])
  test(`files alone start with the running slot, and not with one ${what}`, async (t) => {
    const fixture = await withOne(t);
    ifError(await select(fixture));
    ifError(await fixture.install({ ...TWO, "app.js": programOf("3") }, { version: "3.0" }));
    fixture.device.restart();
    assert.deepEqual(runs(fixture), ["factory", "3"]);
    assert.deepEqual(statusOf(fixture).trial, { boots: 1, previous: "factory" });
  });

test("a program that restarts at once, or never ends, is left together with its image", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  ifError(await fixture.install({ ...TWO, "app.js": programOf("2", "ESP32.reboot();") }, { version: "2.0" }, IMAGE));
  for (let start = 1; start <= 3; start++) {
    device.restart();
    assert.equal(device.rebootAsked, true, "it ran");
  }
  device.restart();
  assert.equal(device.rebootAsked, false, "the program does not run while the other slot is verified");
  await settled(fixture);
  device.restart();
  assert.deepEqual(runs(fixture), ["factory", "1"]);
});

test("without a whole image to go back to, the program that is out of starts runs on", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  ifError(await fixture.install(TWO, { version: "2.0" }, IMAGE));
  for (let start = 1; start <= 3; start++) device.restart();
  device.flash.load(new Uint8Array(4).fill(0), device.row("factory").offset + 2000);
  device.restart();
  await settled(fixture);
  assert.deepEqual(runs(fixture), ["ota_0", "2"]);
  assert.equal(fixture.ask('require("lib/sensor").read()'), 42);
});

test("a program that throws is not left for the slot that the bootloader has refused", async (t) => {
  const { BOOTLOADERS } = await import("../../sim/bootloader.ts");
  const fixture = await createFilesFixture(t, { bootloader: BOOTLOADERS.rollback });
  const { device } = fixture;
  ifError(await fixture.install({ "app.js": programOf("1", 'if (require("Storage").read("flag")) throw "once";') }));
  device.restart();
  fixture.ask("ota.markValid()");
  ifError(await fixture.install(TWO, { version: "2.0" }, IMAGE));
  device.restart();
  assert.deepEqual(runs(fixture), ["ota_0", "2"]);
  // not confirmed: the bootloader falls back
  device.powerCycle();
  assert.deepEqual(runs(fixture), ["factory", "1"]);
  device.storage.set("flag", Buffer.from("x"));
  device.restart();
  await settled(fixture);
  assert.equal(device.rebootAsked, false, device.engine.console.join());
});

test("after the rollback of an image the program starts with a damaged module, too", async (t) => {
  const fixture = await createFilesFixture(t);
  const { device } = fixture;
  ifError(await fixture.install({ "app.js": 'var running = "1";' }));
  device.restart();
  device.ota.markValid();
  ifError(await fixture.install(TWO, { version: "2.0" }, IMAGE));
  device.restart();
  void fixture.ask("ota.rollback()");
  await settled(fixture);
  device.storage.delete("https-ota");
  device.restart();
  assert.deepEqual(runs(fixture), ["factory", "1"]);
});

test("an image that counts as bad is refused with files too", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  for (let time = 1; time <= 3; time++) {
    ifError(await fixture.install(TWO, { version: "2.0" }, IMAGE));
    device.flash.load(new Uint8Array(4).fill(0), device.row("ota_0").offset);
    device.restart();
    assert.deepEqual(runs(fixture), ["factory", "1"]);
  }
  const before = fixture.stored();
  const other = { ...TWO, "app.js": programOf("3") };
  assert.match(failsWith(await fixture.install(other, {}, IMAGE), "NOT_ALLOWED").message, /^this image was/);
  assert.deepEqual(fixture.stored(), before, "nothing was fetched");
  ifError(await fixture.install(other, {}, IMAGE, { allowRolledBack: true }));
});

test("what save() has kept of an earlier start neither ends nor prolongs a trial", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  ifError(await fixture.install(TWO));
  // the engine loads .varimg, with what E holds, before it runs .boot0
  const kept = Buffer.from("E.otaStart = 2; E.otaRan = true; E.otaRestartPending = 2;\n");
  device.storage.set(".boot0", Buffer.concat([kept, device.storage.get(".boot0") as Uint8Array]));
  for (let start = 1; start <= 3; start++) {
    device.restart();
    assert.deepEqual(runs(fixture), ["factory", "2"]);
    assert.equal(statusOf(fixture).trial.boots, start);
  }
  device.restart();
  assert.equal(device.rebootAsked, true);
});

// --- What is damaged

/** Waits for the loader to fetch the release again, and restarts. */
async function rescued(fixture: FilesFixture): Promise<void> {
  const { device } = fixture;
  await until("the release is fetched again", () => {
    void device.engine.advance(16000).catch(() => {});
    return device.rebootAsked;
  });
  device.restart();
}

const spoil = (fixture: FilesFixture, name: string): void => {
  const file = fixture.device.storage.files.find(name);
  assert.ok(file, name);
  fixture.device.flash.load(new Uint8Array(3).fill(0), file.addr + 40);
};

for (const [what, damage] of [
  ["its program is damaged", (fixture) => spoil(fixture, storedName(ONE["app.js"]))],
  ["a module of it is damaged", (fixture) => spoil(fixture, storedName(HELPER))],
  ["its program is gone", (fixture) => fixture.device.storage.delete(storedName(ONE["app.js"]))],
  ["a file of it is gone", (fixture) => fixture.device.storage.delete(storedName(ONE["logo.img"]))],
  [
    "its list is damaged",
    (fixture) => {
      const contents = Object.values(ONE).map(storedName);
      spoil(fixture, fixture.stored().find((name) => !contents.includes(name)) as string);
    },
  ],
  [
    "the records are gone",
    (fixture) => {
      for (const name of [".https-ota0", ".https-ota1"]) fixture.device.storage.delete(name);
    },
  ],
] as [string, (fixture: FilesFixture) => void][])
  test(`a release that runs survives that ${what}: it is fetched again`, async (t) => {
    const fixture = await createFilesFixture(t);
    const { device } = fixture;
    const config = await fixture.publish(ONE, { version: "1.0" });
    device.storage.set(".boot0", loaderWith(config));
    device.restart();
    // the loader fetches the first release too
    await rescued(fixture);
    assert.equal(fixture.ask("running"), "1", device.engine.console.join());
    fixture.ask("ota.markValid()");
    damage(fixture);
    device.restart();
    await rescued(fixture);
    assert.equal(fixture.ask("running"), "1", device.engine.console.join());
    assert.equal(fixture.ask('require("Storage").read(ota.file("logo.img"))'), "\x00\xff\x01\xff");
  });

for (const [what, image] of [
  ["files alone do not ban the running image", undefined],
  ["files do not ban the image that came with them", OTHER],
] as const)
  test(`when they are rolled back and their list is damaged, ${what}`, async (t) => {
    const fixture = await withOne(t);
    const { device } = fixture;
    // of an image that an update has brought the record knows the digest
    ifError(await fixture.install(TWO, { version: "2.0" }, IMAGE));
    device.restart();
    fixture.ask("ota.markValid()");
    const known = fixture.stored();
    const program = programOf("3");
    ifError(await fixture.install({ ...TWO, "app.js": program }, { version: "3.0" }, image));
    device.restart();
    const slot = image ? "factory" : "ota_0";
    assert.deepEqual(runs(fixture), [slot, "3"]);
    const list = fixture.stored().find((name) => !known.includes(name) && name !== storedName(program)) as string;
    device.storage.set(list, Buffer.alloc((device.storage.get(list) as Uint8Array).length));
    void fixture.ask("ota.rollback()");
    await settled(fixture);
    assert.equal(device.rebootAsked, true, device.engine.console.join());
    device.restart();
    assert.deepEqual(runs(fixture), ["ota_0", "2"]);
    assert.deepEqual(statusOf(fixture).rolledBack, []);
    ifError(await fixture.install({ ...TWO, "app.js": programOf("4") }, { version: "4.0" }, image ?? IMAGE));
    device.restart();
    assert.deepEqual(runs(fixture), [slot, "4"]);
  });

for (const rollout of [{ share: 0 }, { start: 4102444800, hours: 24 }])
  test(`a device without a program does not wait for the rollout ${JSON.stringify(rollout)}`, async (t) => {
    const fixture = await createFilesFixture(t);
    const { device } = fixture;
    const config = await fixture.publish(ONE, { version: "1.0", rollout });
    device.storage.set(".boot0", loaderWith(config));
    device.restart();
    await rescued(fixture);
    assert.equal(fixture.ask("running"), "1", device.engine.console.join());
  });

test("a program that is confirmed starts also when the module is damaged", async (t) => {
  const fixture = await createFilesFixture(t);
  const { device } = fixture;
  ifError(await fixture.install({ "app.js": "var running = 5;" }));
  device.restart();
  device.ota.markValid();
  device.storage.delete("https-ota");
  device.restart();
  assert.equal(fixture.ask("running"), 5);
});

test("a release may bring its own https-ota; the first one counts the starts", async (t) => {
  const fixture = await withOne(t);
  const { device } = fixture;
  const first = device.storage.get("https-ota");
  ifError(await fixture.install({ "https-ota": "exports.own = true;", "app.js": programOf("2") }));
  device.restart();
  assert.equal(fixture.ask("ota.own"), true);
  for (let start = 0; start < 3; start++) device.restart();
  assert.equal(device.rebootAsked, true);
  device.restart();
  assert.equal(fixture.ask("running"), "1");
  assert.deepEqual(device.storage.get("https-ota"), first);
  assert.equal(reportOf(fixture).release.version, "1.0");
});

test("a slot chosen by hand while files are on trial takes the confirmed ones", async (t) => {
  const fixture = await createFilesFixture(t, {
    images: { factory: buildImage({ chip: "esp32", size: 60000, seed: 1 }), ota_0: IMAGE },
  });
  const { device } = fixture;
  ifError(await fixture.install(ONE, { version: "1.0" }));
  device.restart();
  fixture.ask("ota.markValid()");
  ifError(await fixture.install(TWO, { version: "2.0" }));
  await device.engine.call(fixture.ask('ota.setBootPartition("ota_0")'));
  device.restart();
  assert.deepEqual([device.running, fixture.ask("running")], ["ota_0", "1"]);
});
