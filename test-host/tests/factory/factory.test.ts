// `https-ota factory`: the image of a new board, checked by the virtual ESP32, by `inspect` and by its own parts.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { before, test, type TestContext } from "node:test";
import { crc32 } from "node:zlib";
import { zipSync } from "fflate";
import { recordIn } from "../../support/boot-record.ts";
import { storedName } from "../../support/files-release.ts";
import { BOOTLOADERS, IDF33 } from "../../sim/bootloader.ts";
import { bytesChip } from "../../sim/espruino/area.ts";
import { createChain, nameOf } from "../../sim/espruino/chain.ts";
import { createFixture, type Fixture, plain } from "../../support/fixture.ts";
import { buildBootloader, buildImage, mutations } from "../../support/images.ts";
import { serveFile } from "../../support/server.ts";
import { fails, forAll, REAL_IMAGES, succeeds, workshop } from "../cli/cli-run.ts";
import { BOARDS, type ChipName, espruinoImage, furnish, PROGRAM, putBuild, sign } from "./factory-run.ts";

const shop = workshop();
before(async () => {
  await furnish(shop);
  for (const chip of ["esp32c3", "esp32s3"] as const) putBuild(shop, `espruino-${chip}`, chip);
  for (const chip of ["esp32", "esp32c3", "esp32s3"])
    await sign(shop, `prog-${chip}`, PROGRAM, "--chip", chip, "--app-version", "1.0", "--sequence", "100");
});

const buildOf = (chip: string) => (chip === "esp32" ? "espruino" : `espruino-${chip}`);

const make = (out: string, { board = "esp32", chip = "esp32" } = {}, ...more: string[]) =>
  shop.run(
    ...["factory", "--board", board, "--espruino", buildOf(chip), "--release", `prog-${chip}/app.jws`, "--out", out],
    ...more,
  );

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** Name, offset and size of each file, as the virtual ESP32 finds them. */
function readFiles(storage: Uint8Array): [string, number, number][] {
  const area = { chip: bytesChip(storage, 0, 4096), address: 0, size: storage.length, page: 4096, lowest: 0 };
  const { all } = createChain({ ...area, contents: { label: "storage", address: 0, size: storage.length } });
  return all().map((header) => [nameOf(header), header.addr, header.size]);
}

/** The virtual ESP32 with this flash, started. */
async function start(t: TestContext, board: string, image: Uint8Array): Promise<Fixture> {
  const flash = new Uint8Array(board === "esp32s3" ? 0x800000 : 0x400000).fill(0xff);
  flash.set(image);
  return createFixture(t, { board, flash, bootCode: true, image: null });
}

for (const { board, chip, slot } of BOARDS)
  test(`${board}: the virtual ESP32 runs the release and updates to the next`, async (t) => {
    const out = `out-${board}`;
    succeeds(await make(out, { board, chip }, "--url", "http://localhost/app.jws", "--keys", "key.pub.jwk"));
    const fixture = await start(t, board, shop.get(`${out}/factory.bin`));
    const { device, server } = fixture;
    const ask = (expression: string) => device.engine.run(expression);
    assert.equal(ask("running"), "1", device.engine.console.join("\n"));
    assert.deepEqual([ask("value"), ask('require("Storage").read(ota.file("logo.img"))')], [42, "\0\xff\x01\xff\xff"]);
    assert.equal(device.running, slot);
    const status = plain(ask("ota.getStatus()")) as any;
    assert.deepEqual(status.release, { version: "1.0", entry: "app.js", files: [...status.release.files] });
    assert.equal(status.trial, null);

    const keys = [JSON.parse(shop.get("key.pub.jwk").toString())];
    const publish = async (name: string, files: typeof PROGRAM, ...options: string[]) => {
      const manifest = await sign(shop, `${board}-${name}`, files, "--chip", chip, ...options);
      for (const [file, content] of Object.entries(files))
        server.on(`/${name}/${file}`, serveFile(Buffer.from(content as string), { ranges: true }));
      server.on(`/${name}/app.jws`, serveFile(shop.get(manifest)));
      return { url: server.url(`/${name}/app.jws`), keys };
    };

    const same = await publish("same", PROGRAM, "--app-version", "1.0", "--sequence", "101");
    assert.equal(
      (await fixture.update(same)).result?.upToDate,
      true,
      "the first release is known as the one that runs",
    );
    const older = await publish("older", { "app.js": "old" }, "--app-version", "0.9", "--sequence", "99");
    assert.equal((await fixture.update(older)).error?.name, "ESP_ERR_OTA_SMALL_SEC_VER");

    const files = { ...PROGRAM, "app.js": 'var running = "2"; var ota = require("https-ota");' };
    const next = await publish("next", files, "--app-version", "2.0", "--sequence", "102");
    server.requests.length = 0;
    const { error, result } = await fixture.update(next);
    assert.ifError(error && new Error(error.message));
    assert.equal(result.upToDate, false);
    assert.deepEqual(
      server.requests.map((one) => one.path),
      ["/next/app.jws", "/next/app.js"],
      "only what is new is fetched",
    );
    device.restart();
    assert.equal(ask("running"), "2");
    assert.equal((plain(ask("ota.getStatus()")) as any).trial.boots, 1);
    ask("ota.markValid()");
    device.restart();
    assert.equal(ask("running"), "2");
    assert.equal(recordIn(device.storage)?.fields[1], 102);
  });

test("a second release that is not confirmed goes back to the first", async (t) => {
  succeeds(await make("out-back"));
  const fixture = await start(t, "esp32", shop.get("out-back/factory.bin"));
  const { device, server } = fixture;
  const bad = 'var running = "bad"; throw new Error("bad");';
  const manifest = await sign(
    shop,
    "bad",
    { "app.js": bad },
    "--chip",
    "esp32",
    "--app-version",
    "3",
    "--sequence",
    "200",
  );
  server.on("/bad/app.js", serveFile(Buffer.from(bad), { ranges: true }));
  server.on("/bad/app.jws", serveFile(shop.get(manifest)));
  const keys = [JSON.parse(shop.get("key.pub.jwk").toString())];
  assert.equal((await fixture.update({ url: server.url("/bad/app.jws"), keys })).result?.upToDate, false);
  device.restart();
  await new Promise((resolve) => setTimeout(resolve, 50));
  device.restart();
  assert.equal(device.engine.run("running"), "1", device.engine.console.join("\n"));
});

test("Storage holds loader, module and record first, then the release by its contents", async (t) => {
  succeeds(await make("out-order", {}, "--wifi", shop.put("wifi.json", '{"ssid":"Home","password":"correct horse"}')));
  const { device } = await start(t, "esp32", shop.get("out-order/factory.bin"));
  const names = [...device.storage.keys()];
  const contents = [...new Set(Object.values(PROGRAM).filter((one) => one.length))].map(storedName);
  assert.deepEqual(names.slice(0, 4), [".boot0", "https-ota", ".https-ota0", ".wificfg"]);
  assert.deepEqual(names.slice(5).sort(), contents.sort());
  assert.match(names[4], /^~/, "the list of the set");
  const { fields } = recordIn(device.storage) ?? assert.fail("no record");
  assert.deepEqual(
    [fields[0], fields[1], fields[2], fields[3], fields[4], fields[12]],
    [1, 100, "factory", "factory", -2, [["factory", names[4]]]],
  );
  const image = shop.get("espruino/espruino_esp32.bin");
  const { stdout } = await shop.run("inspect", "espruino/espruino_esp32.bin", "--json");
  const digest = JSON.parse(stdout).fsverity.replace("sha256:", "");
  assert.deepEqual(fields[8], [["factory", image.length, digest, crc32(image.subarray(-64)), ""]]);
  assert.equal(device.storage.get(".https-ota0")?.length, 4096);
  assert.equal(
    Buffer.from(device.storage.get(".wificfg") as Uint8Array).toString(),
    '{"ssid":"Home","password":"correct horse","mode":1}',
  );
  assert.deepEqual(device.storage.files.stats().trash, { bytes: 0, count: 0 });
});

test("the same input gives the same bytes, from a folder, a .zip and a .tgz", async () => {
  succeeds(await make("out-folder"));
  const files = Object.fromEntries(
    readdirSync(shop.at("espruino")).map((name) => [
      `espruino_2v27/${name}`,
      new Uint8Array(shop.get(`espruino/${name}`)),
    ]),
  );
  shop.put("build.zip", zipSync({ ...files, "espruino_2v27/README.txt": new Uint8Array(10) }));
  execFileSync("tar", ["-czf", shop.at("build.tgz"), "-C", shop.folder, "espruino"]);
  const whole = sha256(shop.get("out-folder/factory.bin"));
  for (const archive of ["build.zip", "build.tgz"]) {
    const args = ["--espruino", archive, "--release", "prog-esp32/app.jws", "--out", `out-${archive}`];
    succeeds(await shop.run("factory", "--board", "esp32", ...args));
    assert.equal(sha256(shop.get(`out-${archive}/factory.bin`)), whole, archive);
  }
});

test("the folder has parts, manifest.json, SHA256SUMS and the esptool line", async () => {
  const { stdout } = succeeds(await make("out-parts", { board: "esp32c3", chip: "esp32c3" }));
  const whole = shop.get("out-parts/factory.bin");
  const manifest = JSON.parse(shop.get("out-parts/manifest.json").toString());
  assert.deepEqual(
    [manifest.name, manifest.version, manifest.builds[0].chipFamily],
    ["espruino program app.js", "1.0", "ESP32-C3"],
  );
  const { parts } = manifest.builds[0];
  assert.deepEqual(
    parts.map(({ path, offset }: any) => [path, offset]),
    [
      ["bootloader.bin", 0],
      ["partitions.bin", 0x8000],
      ["otadata.bin", 0xc000],
      ["firmware.bin", 0x10000],
      ["storage.bin", 0x320000],
    ],
  );
  for (const { path: name, offset } of parts) {
    const bytes = shop.get(`out-parts/${name}`);
    assert.ok(whole.subarray(offset, offset + bytes.length).equals(bytes), name);
  }
  const sums = shop.get("out-parts/SHA256SUMS").toString().trim().split("\n");
  assert.equal(sums.length, 7);
  for (const line of sums) {
    const [sum, name] = line.split("  ");
    assert.equal(sum, sha256(shop.get(`out-parts/${name}`)), name);
  }
  const lines = [
    "esptool --chip esp32c3 --port PORT --baud 460800 write-flash 0x0 factory.bin",
    "With esptool 4 write esptool.py and write_flash.",
  ];
  for (const text of [stdout, shop.get("out-parts/flash.txt").toString()])
    for (const line of lines) assert.ok(text.includes(line), text);
  const board = readFileSync(new URL("../../../boards/esp32c3/partitions.bin", import.meta.url));
  assert.ok(shop.get("out-parts/partitions.bin").equals(board));
});

test("the result says program, version and project of the release", async () => {
  const stock = succeeds(await make("out-name"), /^ {2}release +app\.js 1\.0, project espruino$/m);
  assert.doesNotMatch(stock.stdout, /espruino 1\.0/);
  const headline = (out: string) => shop.get(`${out}/flash.txt`).toString().split("\n")[0];
  assert.equal(headline("out-name"), "https-ota factory: espruino program app.js 1.0 for ESP32, stock table");
  await sign(shop, "prog-lamp", PROGRAM, "--chip", "esp32", "--app-version", "2.0", "--project", "lamp");
  succeeds(await make("out-lamp", {}, "--release", "prog-lamp/app.jws"), /^ {2}release +app\.js 2\.0, project lamp$/m);
  assert.equal(headline("out-lamp"), "https-ota factory: lamp 2.0 for ESP32, stock table");
  const [one, two] = ["out-name", "out-lamp"].map(
    (out) => JSON.parse(shop.get(`${out}/manifest.json`).toString()).name,
  );
  assert.deepEqual([one, two], ["espruino program app.js", "lamp"]);
});

test("inspect reads the result back", async () => {
  succeeds(await make("out-inspect"));
  succeeds(
    await shop.run("inspect", "out-inspect/factory.bin"),
    /bootloader {2}at 0x1000, esp32, flash DIO, clock 1\/2, 4 MB/,
    /MD5 ok, board esp32 /,
    /copy 0 {6}blank/,
    /factory {5}espruino 2v27.45, 61008 bytes, valid/,
    /factory reads 896 KB at 0x320000 through partition storage/,
    /starts {6}factory/,
  );
});

test("inspect lists the files of storage.bin", async () => {
  shop.put("shop.json", '{"ssid":"Home","password":"correct horse"}');
  succeeds(await make("out-storage", {}, "--wifi", "shop.json"));
  const { stdout } = succeeds(
    await shop.run("inspect", "out-storage/storage.bin"),
    /^out-storage\/storage\.bin: Storage of Espruino, 896 KB\n/,
    /\n {2}\.boot0 +0x000000 +\d+\n {2}https-ota +0x[0-9a-f]{6} +\d+\n {2}\.https-ota0 +0x[0-9a-f]{6} +4096\n/,
    /\n {2}note +\.wificfg holds the name and the password of a Wi-Fi/,
  );
  assert.doesNotMatch(stdout, /correct horse/);
  const { kind, storage } = JSON.parse((await shop.run("inspect", "out-storage/storage.bin", "--json")).stdout);
  const files = readFiles(shop.get("out-storage/storage.bin"));
  assert.equal(kind, "storage");
  assert.deepEqual(
    storage.files.map(({ name, offset, size }: any) => [name, offset, size]),
    files,
  );
  const said = /storage +(\d+) files, (\d+) bytes/.exec((await make("out-storage")).stdout) ?? assert.fail();
  assert.equal(Number(said[1]), files.length - 1, "without the Wi-Fi");
});

test("a board with less flash than usual is one that the page takes", async () => {
  const of = async (out: string, ...more: string[]) => {
    succeeds(await make(out, { board: "esp32s3", chip: "esp32s3" }, ...more));
    return JSON.parse(shop.get(`${out}/manifest.json`).toString()).board.flash;
  };
  assert.deepEqual([await of("out-8"), await of("out-4", "--flash-size", "4MB")], [0x800000, 0x400000]);
});

test("the header of the bootloader says mode, frequency and size as asked", async () => {
  succeeds(await make("out-header", {}, "--flash-mode", "qio", "--flash-freq", "80m", "--flash-size", "16MB"));
  succeeds(
    await shop.run("inspect", "out-header/bootloader.bin"),
    /flash {7}QIO, clock 1\/1, 16 MB/,
    /SHA-256 {5}[0-9a-f]{64} at 0x[0-9a-f]+, ok/,
  );
});

test("every kind of bootloader starts it, again and again", async (t) => {
  succeeds(await make("out-kinds", { board: "esp32-dual" }));
  for (const kind of [...Object.values(BOOTLOADERS), IDF33]) {
    const flash = shop.get("out-kinds/factory.bin");
    const { device } = await createFixture(t, {
      board: "esp32-dual",
      flash,
      bootloader: kind,
      bootCode: true,
      image: null,
    });
    for (let starts = 0; starts < 5; starts++) {
      assert.deepEqual([device.running, device.engine.run("running")], ["ota_0", "1"], kind.name);
      device.restart();
    }
    device.stop();
  }
});

test("a note says what a board lacks without --url and --keys, and the remedy", async () => {
  const note =
    /^ {2}note +without --url and --keys the signature of the release was not checked, and the loader cannot fetch another release when this one does not start: give both$/m;
  succeeds(await make("out-alone"), note);
  const whole = await make("out-both", {}, "--url", "http://localhost/app.jws", "--keys", "key.pub.jwk");
  assert.doesNotMatch(succeeds(whole).stdout, / note /);
});

test("without a release the board has a loader that fetches one", async (t) => {
  const args = [
    "--board",
    "esp32",
    "--espruino",
    "espruino",
    "--url",
    "http://localhost/a.jws",
    "--keys",
    "key.pub.jwk",
  ];
  succeeds(await shop.run("factory", ...args, "--out", "out-none"), /release {5}none: it fetches one/);
  const { device } = await start(t, "esp32", shop.get("out-none/factory.bin"));
  assert.deepEqual([...device.storage.keys()], [".boot0", "https-ota"]);
  assert.match(device.engine.console.join("\n"), /https-ota: no release is installed/);
});

test("a release with an image has to name the app of the build", async (t) => {
  const image = "espruino/espruino_esp32.bin";
  mkdirSync(shop.at("both"));
  shop.put("both/app.js", PROGRAM["app.js"]);
  shop.put("both/lib.js", "");
  const args = ["--entry", "app.js", "--key", "key.pem", "--expires", "never", "--out", "both/app.jws"];
  shop.put("both/app.js", 'var running = "both"; var ota = require("https-ota");');
  succeeds(await shop.run("sign", image, "--files", "both", ...args));
  const factory = ["factory", "--board", "esp32", "--release", "both/app.jws"];
  succeeds(await shop.run(...factory, "--espruino", "espruino", "--out", "out-both"));
  const { device } = await start(t, "esp32", shop.get("out-both/factory.bin"));
  assert.equal(device.engine.run("running"), "both", device.engine.console.join("\n"));
  putBuild(shop, "other", "esp32", espruinoImage("esp32", {}, { seed: 7 }));
  fails(await shop.run(...factory, "--espruino", "other", "--out", "x"), 1, /claim image\.fsverity is/);
});

// --- Refusals --------------------------------------------------------------------------------------------------------

const refusal = async (says: RegExp, args: string[], code: 1 | 2 = 1) => {
  fails(await shop.run("factory", ...args, "--out", "refused"), code, says);
  assert.ok(!existsSync(shop.at("refused")), "nothing was written");
};

/** A build whose app is this one. */
function withApp(name: string, app: Uint8Array, chip: ChipName = "esp32"): string[] {
  putBuild(shop, name, chip, app);
  return ["--board", "esp32", "--espruino", name, "--release", "prog-esp32/app.jws"];
}

test("refused: a build that would not start, or in which the module cannot run", async () => {
  const cases: [RegExp, string, Uint8Array, ChipName?][] = [
    [/bootloader\.bin: for esp32c3, but board esp32 has esp32/, "r-chip", espruinoImage("esp32c3"), "esp32c3"],
    [/espruino_esp32\.bin: for esp32c3, but board esp32 has esp32/, "r-app-chip", espruinoImage("esp32c3")],
    [/1572880 bytes, slot factory has 1572864/, "r-large", espruinoImage("esp32", {}, { size: 0x180000 + 16 })],
    [/offset 0x[0-9a-f]+: checksum/, "r-broken", mutations.checksum(espruinoImage())],
    [/not an image of Espruino/, "r-foreign", buildImage({ chip: "esp32" })],
    [
      /no require\("crypto"\).*https-ota cannot run in it/,
      "r-natives",
      espruinoImage("esp32", { libraries: "Flash,Storage,net,http,Wifi" }),
    ],
    [/no require\("http"\)/, "r-http", espruinoImage("esp32", { libraries: "Flash,Storage,crypto" })],
    [
      /2v22\.26 would not find its files: the table has no data partition js_code: take a build of 2v26 or later/,
      "r-old",
      espruinoImage("esp32", { storage: "js_code", version: "2v22.26" }),
    ],
    [/does not say through which partition/, "r-silent", espruinoImage("esp32", { storage: null })],
  ];
  for (const [says, name, app, chip] of cases) await refusal(says, withApp(name, app, chip));
});

test("refused: a folder without a build, or with several", async () => {
  const release = ["--board", "esp32", "--release", "prog-esp32/app.jws", "--espruino"];
  mkdirSync(shop.at("nothing"));
  await refusal(/nothing: no bootloader in it/, [...release, "nothing"]);
  await refusal(/missing: no such file or folder/, [...release, "missing"]);
  await refusal(/neither a folder nor a \.zip or \.tgz/, [...release, "key.pub.jwk"]);
  putBuild(shop, "twice");
  shop.put("twice/bootloader2.bin", buildBootloader("esp32"));
  await refusal(/several files could be the bootloader: .*bootloader\.bin.*bootloader2\.bin/, [...release, "twice"]);
  shop.put("cut.tgz", Buffer.concat([Buffer.from([0x1f, 0x8b]), Buffer.alloc(20)]));
  await refusal(/cut\.tgz: no \.tgz that can be read/, [...release, "cut.tgz"]);
  shop.put("cut.zip", Buffer.concat([Buffer.from("PK\x03\x04"), Buffer.alloc(40)]));
  await refusal(/cut\.zip: no \.zip that can be read/, [...release, "cut.zip"]);
});

test("refused: a table that does not fit the flash, files that do not fit Storage", async () => {
  const base = ["--board", "esp32", "--espruino", "espruino", "--release"];
  await refusal(/--flash-size 2MB: the table of board esp32 does not fit/, [
    ...base,
    "prog-esp32/app.jws",
    "--flash-size",
    "2MB",
  ]);
  const big = { "app.js": "1", "big.bin": Buffer.alloc(850_000, 7) };
  await sign(shop, "big", big, "--chip", "esp32", "--app-version", "1");
  await refusal(/big: loader, module, boot record and files take \d+ bytes of Storage, this board has 917504/, [
    ...base,
    "big/app.jws",
  ]);
});

test("refused: a release that the board would refuse", async () => {
  const base = ["--board", "esp32", "--espruino", "espruino"];
  const release = (name: string) => [...base, "--release", name];
  await refusal(/claim chip is esp32c3, board esp32 has esp32/, release("prog-esp32c3/app.jws"));
  const args = ["--chip", "esp32", "--app-version", "1"];
  await refusal(
    /claim board is ESP32_CYD/,
    release(await sign(shop, "cyd", { "app.js": "1" }, ...args, "--board", "ESP32_CYD")),
  );
  await sign(shop, "changed", { "app.js": "1" }, ...args);
  shop.put("changed/app.js", "2");
  await refusal(/file app\.js has SHA-256/, release("changed/app.jws"));
  succeeds(await shop.run("keygen", "--bits", "2048", "--out", "other.pem"));
  const keys = ["--url", "http://localhost/a.jws", "--keys", "other.pub.jwk"];
  await refusal(/signature: by .*, which is not one of --keys/, [...release("prog-esp32/app.jws"), ...keys]);
  const both = ["--url", "http://localhost/a.jws", "--keys", "key.pub.jwk", "--keys", "other.pub.jwk"];
  await refusal(/signature: 1 of 2 required/, [...release("prog-esp32/app.jws"), ...both, "--threshold", "2"]);
  await refusal(/claim project is espruino, --project says lamp/, [
    ...release("prog-esp32/app.jws"),
    ...both,
    ...["--project", "lamp"],
  ]);
  const twice = await sign(shop, "twice", { "app.js": "1" }, ...args, "--key", "other.pem");
  const taken = await shop.run("factory", ...release(twice), ...both, "--threshold", "2", "--out", "twice-out");
  succeeds(taken);
  assert.match(shop.get("twice-out/storage.bin").toString("latin1"), /"threshold":2\}/);
  const manifest = shop.get("prog-esp32/app.jws").toString();
  mkdirSync(shop.at("forged"));
  shop.put("forged/app.jws", `${manifest.slice(0, -8)}${manifest.endsWith("AAAAAAAA") ? "BBBBBBBB" : "AAAAAAAA"}`);
  const good = ["--url", "http://localhost/a.jws", "--keys", "key.pub.jwk", "--files", "prog-esp32"];
  await refusal(/signature: not made by key\.pub\.jwk|form: the signature/, [...release("forged/app.jws"), ...good]);
  const image = ["sign", "espruino/espruino_esp32.bin", "--key", "key.pem", "--expires", "never", "--out", "image.jws"];
  succeeds(await shop.run(...image));
  await refusal(/names an image alone/, release("image.jws"));
});

test("refused: options that do not go together", async () => {
  const base = ["--board", "esp32", "--espruino", "espruino"];
  await refusal(/expected --release, the first release, or --url and --keys/, base, 2);
  await refusal(/--url and --keys belong together/, [...base, "--url", "http://localhost/a.jws"], 2);
  await refusal(/belong to --release/, [...base, "--files", "prog-esp32"], 2);
  await refusal(
    /--board toy-two: expected one of esp32, esp32-dual/,
    ["--board", "toy-two", ...base.slice(2), "--release", "prog-esp32/app.jws"],
    2,
  );
});

test("refused: a folder that holds something else", async () => {
  mkdirSync(shop.at("mine"));
  shop.put("mine/index.html", "mine");
  fails(await make("mine"), 1, /mine: is not empty, and not from factory/);
  assert.equal(shop.get("mine/index.html").toString(), "mine");
  fails(await make("espruino"), 1, /espruino: is not empty/);
  succeeds(await make("out-again"));
  succeeds(await make("out-again"));
});

// --- Wi-Fi -----------------------------------------------------------------------------------------------------------

const SECRET = "hunter2 hunter2";

test("the Wi-Fi comes from the environment too, and its password is never printed", async (t) => {
  const environment = { HTTPS_OTA_WIFI_SSID: "Caf\u00e9", HTTPS_OTA_WIFI_PASSWORD: SECRET };
  Object.assign(process.env, environment);
  t.after(() => {
    for (const name of Object.keys(environment)) delete process.env[name];
  });
  const args = ["--board", "esp32", "--espruino", "espruino", "--release", "prog-esp32/app.jws", "--out", "out-env"];
  const command = path.join(import.meta.dirname, "../../../build/cli.mjs");
  const stdout = execFileSync(process.execPath, [command, "factory", ...args], {
    cwd: shop.folder,
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1" },
  });
  assert.match(stdout, /wifi {8}Caf\u00e9, from HTTPS_OTA_WIFI_SSID of the environment/);
  assert.match(stdout, /hold the Wi-Fi password as it is/);
  assert.ok(!stdout.includes(SECRET));
  const text = `{"ssid":"Caf\u00e9","password":"${SECRET}","mode":1}`;
  assert.ok(shop.get("out-env/storage.bin").includes(Buffer.from(text)));
  for (const name of ["manifest.json", "flash.txt", "SHA256SUMS"])
    assert.ok(!shop.get(`out-env/${name}`).includes(SECRET), name);
});

test("refused: a Wi-Fi that Espruino could not join, without a word of the password", async () => {
  const cases: [RegExp, string][] = [
    [/w0: not JSON, expected/, `{"ssid":"a","password":"${SECRET}"`],
    [/w1: ssid must be a text/, `{"password":"${SECRET}"}`],
    [/w2: password must be a text/, '{"ssid":"a"}'],
    [/w3: password has 7 bytes, expected none, or 8 to 63/, '{"ssid":"a","password":"1234567"}'],
    [/w4: ssid has 32 bytes, Espruino keeps at most 31/, `{"ssid":"${"s".repeat(32)}","password":"${SECRET}"}`],
    [/w5: password has 64 bytes/, `{"ssid":"a","password":"${"p".repeat(64)}"}`],
    [/w6: password has control characters/, `{"ssid":"a","password":"${SECRET}\\n"}`],
    [/w7: expected \{ "ssid"/, "[1]"],
    [/w8: has members besides/, `{"ssid":"a","password":"${SECRET}","mode":2}`],
  ];
  await forAll(
    cases.map((one, i) => ({ one, i })),
    async ({ one: [says, text], i }) => {
      const run = await make(`w-out-${i}`, {}, "--wifi", shop.put(`w${i}`, text));
      fails(run, 1, says);
      assert.ok(!run.stderr.includes("hunter2") && !run.stderr.includes("1234567"), run.stderr);
    },
  );
});

// --- Published builds ------------------------------------------------------------------------------------------------

const REAL = path.join(REAL_IMAGES, "espruino-2v27.45-esp32.bin");
const REAL_BOOTLOADER = path.join(REAL_IMAGES, "../cases/bootloader-esp32.bin");
const noReal = existsSync(REAL) && existsSync(REAL_BOOTLOADER) ? false : "no published images beside the repository";

test("a published build starts in the virtual ESP32 and runs the release", { skip: noReal }, async (t) => {
  mkdirSync(shop.at("published"));
  shop.put("published/bootloader.bin", readFileSync(REAL_BOOTLOADER));
  shop.put("published/espruino_esp32.bin", readFileSync(REAL));
  const args = ["--espruino", "published", "--release", "prog-esp32/app.jws", "--out", "out-published"];
  succeeds(await shop.run("factory", "--board", "esp32", ...args), /2v27\.45, 1483456 bytes/);
  const { device } = await start(t, "esp32", shop.get("out-published/factory.bin"));
  assert.deepEqual([device.engine.run("running"), device.build.version], ["1", "2v27.45"]);
});
