// The install page: its files, and esptool-js before a serial port that is made up, with a virtual flash behind it.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, rmSync } from "node:fs";
import { before, test } from "node:test";
import { fetchParts, install, loadParts, loadSite, openConsole } from "../../../src/cli/page/flasher.ts";
import { md5 } from "../../../src/cli/page/md5.ts";
import { createFixture } from "../../support/fixture.ts";
import { noise } from "../../support/images.ts";
import { fails, succeeds, workshop } from "../cli/cli-run.ts";
import { furnish, PROGRAM, putBuild, sign } from "./factory-run.ts";
import { createBoard } from "./serial-port.ts";

/** What `make` gives, made when it is first asked for. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

const CHIPS = ["esp32", "esp32c3", "esp32s3"] as const;
const shop = workshop();
before(async () => {
  await furnish(shop);
  for (const chip of CHIPS) {
    putBuild(shop, `espruino-${chip}`, chip);
    await sign(shop, `prog-${chip}`, PROGRAM, "--chip", chip, "--app-version", "1.0");
    const args = ["--espruino", `espruino-${chip}`, "--release", `prog-${chip}/app.jws`, "--page", "--out", chip];
    succeeds(await shop.run("factory", "--board", chip, ...args), /http:\/\/localhost:8000\//);
  }
});

const from = (folder: string) => async (name: string) =>
  new Response(new Uint8Array(shop.get(`${folder}/${decodeURIComponent(name)}`)));

const SIZE = { esp32: 0x400000, esp32c3: 0x400000, esp32s3: 0x800000 };

interface RunOptions extends Partial<Parameters<typeof createBoard>[0]> {
  eraseAll?: boolean;
  /** the folder of the page */
  page?: string;
  /** the manifest.json of the chosen board; without it the chip decides */
  chosen?: string;
}

/** What the page does with a board. */
async function run(chip: (typeof CHIPS)[number], options: RunOptions = {}) {
  const { eraseAll = true, page = chip, chosen = "manifest.json", ...more } = options;
  const flash = more.flash ?? noise(7, SIZE[chip]);
  const board = createBoard({ chip, flash, sizeId: chip === "esp32s3" ? 0x17 : 0x16, ...more });
  const said: string[] = [];
  const found: string[] = [];
  const progress: number[] = [];
  const site = await loadSite(from(page));
  const choice = site.boards.find(({ manifest }) => manifest === chosen) ?? null;
  const result = await install(board.port, site, choice, {
    eraseAll,
    get: from(page),
    step: (text) => said.push(text),
    found: ({ manifest }) => found.push(manifest),
    done: (part) => progress.push(part),
    log: () => {},
  }).then(
    () => null,
    (error: Error) => error,
  );
  return { board, flash, said, found, progress, error: result };
}

for (const chip of CHIPS)
  test(`${chip}: the whole flash is what factory.bin says, and starts the release`, async (t) => {
    const { flash, board, said, progress, error } = await run(chip);
    assert.ifError(error);
    const whole = shop.get(`${chip}/factory.bin`);
    assert.ok(Buffer.from(flash.subarray(0, whole.length)).equals(whole));
    assert.ok(flash.subarray(whole.length).every((byte) => byte === 0xff));
    assert.deepEqual([board.starts >= 1, board.isOpen], [true, false]);
    assert.deepEqual(
      progress,
      progress.slice().sort((a, b) => a - b),
    );
    assert.equal(progress.at(-1), 1);
    assert.match(
      said.join("\n"),
      /Looking for the board\nFetching the files\nErasing the flash.*\nWriting bootloader\.bin: bootloader\n/,
    );
    const { device } = await createFixture(t, { board: chip, flash, bootCode: true, image: null });
    assert.equal(device.engine.run("running"), "1", device.engine.console.join("\n"));
  });

test("without erasing, what lies between the parts stays", async () => {
  const flash = noise(9, SIZE.esp32);
  const { error } = await run("esp32", { flash, eraseAll: false });
  assert.ifError(error);
  const old = noise(9, SIZE.esp32);
  assert.deepEqual(flash.subarray(0x9000, 0xc000), old.subarray(0x9000, 0xc000), "NVS");
  const storage = shop.get("esp32/storage.bin");
  assert.ok(Buffer.from(flash.subarray(0x320000, 0x320000 + storage.length)).equals(storage));
});

test("a board with another chip, or with too little flash, is left as it is", async () => {
  const cases = [
    [
      await run("esp32c3", { page: "esp32" }),
      /this is an ESP32-C3, and the files of "ESP32, stock table" are for an ESP32: nothing was written/,
    ],
    [await run("esp32", { sizeId: 0x15 }), /the flash of this board has 2MB, 4 MB are needed: nothing was written/],
  ] as const;
  for (const [{ error, flash, board }, says] of cases) {
    assert.match(String(error), says);
    assert.deepEqual(flash, noise(7, flash.length));
    assert.equal(board.isOpen, false);
  }
});

test("a byte that changes on its way is noticed", async () => {
  const { error } = await run("esp32", { noisy: true });
  assert.match(String(error), /MD5 of file does not match data in flash/);
});

test("files that are not what manifest.json names are not written", async () => {
  const get = from("esp32");
  const site = await loadSite(get);
  const parts = await loadParts(site, site.boards[0], get);
  const changed = async (name: string) => {
    const bytes = new Uint8Array(await (await get(name)).arrayBuffer());
    if (name === "firmware.bin") bytes[5] ^= 1;
    return new Response(bytes);
  };
  await assert.rejects(fetchParts(parts, changed), /firmware\.bin: its SHA-256 is not that of manifest\.json/);
  const short = async (name: string) => new Response(new Uint8Array(name === "storage.bin" ? 3 : 0));
  await assert.rejects(fetchParts(parts, short), /bootloader\.bin: 0 bytes came/);
  await assert.rejects(
    loadSite(async () => new Response("", { status: 404 })),
    /the web server answers 404/,
  );
  await assert.rejects(
    loadSite(async () => new Response("{}")),
    /manifest\.json is not from https-ota factory/,
  );
  const flash = noise(7, SIZE.esp32);
  const board = createBoard({ chip: "esp32", flash });
  const quiet = { step: () => {}, found: () => {}, done: () => {}, log: () => {} };
  await assert.rejects(install(board.port, site, null, { ...quiet, get: changed, eraseAll: true }), /its SHA-256/);
  assert.deepEqual(flash, noise(7, SIZE.esp32), "nothing was erased");
});

// --- Several boards --------------------------------------------------------------------------------------------------

/** site/: two boards with an ESP32, one with a C3. */
const makeSite = once(async () => {
  const boards = [
    ["dual", "esp32-dual", "esp32"],
    ["my board", "esp32", "esp32"],
    ["c3", "esp32c3", "esp32c3"],
  ];
  for (const [out, board, chip] of boards) {
    const args = ["--espruino", `espruino-${chip}`, "--release", `prog-${chip}/app.jws`, "--out", `site/${out}`];
    succeeds(await shop.run("factory", "--board", board, ...args));
  }
  shop.put("site/notes.txt", "mine");
  return succeeds(await shop.run("install-page", "site"));
});
const siteManifest = () => JSON.parse(shop.get("site/manifest.json").toString());

test("install-page makes one page over several outputs, and leaves them as they are", async () => {
  const { stdout } = await makeSite();
  assert.match(stdout, /site\/index\.html: install page for 3 boards/);
  assert.match(stdout, /my board +ESP32 +ESP32 +ESP32, stock table/);
  assert.match(stdout, /several boards have an ESP32, so the page asks which one it is/);
  for (const name of ["index.html", "install.js", "install.css", "licenses.txt"])
    assert.ok(shop.get(`site/${name}`).equals(shop.get(`esp32/${name}`)), name);
  const { boards } = siteManifest();
  assert.deepEqual(
    boards.map(({ manifest, name, chipFamily, flash, espruino }: any) => [manifest, name, chipFamily, flash, espruino]),
    [
      ["c3/manifest.json", "esp32c3", "ESP32-C3", 0x400000, undefined],
      ["dual/manifest.json", "esp32-dual", "ESP32", 0x400000, "ESP32"],
      ["my%20board/manifest.json", "esp32", "ESP32", 0x400000, "ESP32"],
    ],
  );
  assert.equal(existsSync(shop.at("site/c3/index.html")), false);
  succeeds(await shop.run("install-page", "site"));
});

/** As ESP Web Tools chooses: the first one that has the chip. */
const webTools = (manifest: any, chip: string) => manifest.builds.find((build: any) => build.chipFamily === chip);

test("ESP Web Tools gets only builds whose chip tells the board", async () => {
  await makeSite();
  const site = siteManifest();
  assert.deepEqual([site.name, site.version, site.new_install_prompt_erase], ["espruino program app.js", "1.0", true]);
  const { parts } = webTools(site, "ESP32-C3");
  assert.equal(parts.length, 5);
  for (const { path, offset } of parts) {
    const bytes = shop.get(`site/${decodeURIComponent(path)}`);
    assert.ok(
      shop
        .get("site/c3/factory.bin")
        .subarray(offset, offset + bytes.length)
        .equals(bytes),
      path,
    );
  }
  assert.equal(webTools(site, "ESP32"), undefined, "it would take the first of two");
  const own = JSON.parse(shop.get("site/dual/manifest.json").toString());
  assert.equal(webTools(own, "ESP32").parts[0].path, "bootloader.bin");
});

test("the chosen board is installed when another one has the same chip", async () => {
  await makeSite();
  for (const [chosen, folder] of [
    ["dual/manifest.json", "dual"],
    ["my%20board/manifest.json", "my board"],
  ]) {
    const { error, flash, found } = await run("esp32", { page: "site", chosen });
    assert.ifError(error);
    const whole = shop.get(`site/${folder}/factory.bin`);
    assert.ok(Buffer.from(flash.subarray(0, whole.length)).equals(whole), folder);
    assert.deepEqual(found, [chosen]);
  }
});

test("a chip that one board alone has is found out", async () => {
  await makeSite();
  const { error, flash, found } = await run("esp32c3", { page: "site", chosen: "" });
  assert.ifError(error);
  const whole = shop.get("site/c3/factory.bin");
  assert.ok(Buffer.from(flash.subarray(0, whole.length)).equals(whole));
  assert.deepEqual(found, ["c3/manifest.json"]);
});

test("nothing is written to a chip that does not tell the chosen board", async () => {
  await makeSite();
  const cases: [(typeof CHIPS)[number], string, string][] = [
    [
      "esp32",
      "",
      'this is an ESP32, and several boards have one: choose "ESP32, two equal slots" or "ESP32, stock table". ' +
        "Nothing was written",
    ],
    ["esp32s3", "", "this is an ESP32-S3, and there are files for ESP32-C3 and ESP32 only: nothing was written"],
    [
      "esp32",
      "c3/manifest.json",
      'this is an ESP32, and the files of "ESP32-C3, two equal slots" are for an ESP32-C3: nothing was written',
    ],
  ];
  for (const [chip, chosen, says] of cases) {
    const { error, flash, board, found } = await run(chip, { page: "site", chosen });
    assert.equal(error?.message, says);
    assert.deepEqual(flash, noise(7, flash.length));
    assert.deepEqual([board.isOpen, found], [false, []]);
  }
});

test("a board made again after the page is not installed", async () => {
  await makeSite();
  const get = async (name: string) => {
    const text = await (await from("site")(name)).text();
    return new Response(name === "c3/manifest.json" ? text.replace('"version": "1.0"', '"version": "1.1"') : text);
  };
  const site = await loadSite(get);
  await assert.rejects(
    loadParts(site, site.boards[0], get),
    /c3\/manifest\.json has changed since the page was made \(espruino program app\.js 1\.1 for "ESP32-C3, .*install-page makes/,
  );
});

test("install-page refuses boards that do not belong on one page", async () => {
  const make = async (out: string, chip = "esp32", ...more: string[]) => {
    const release = more.length ? [] : ["--release", `prog-${chip}/app.jws`];
    const args = ["--espruino", `espruino-${chip}`, ...release, ...more, "--out", out];
    succeeds(await shop.run("factory", "--board", chip, ...args));
  };
  const refused = async (folder: string, says: RegExp) => fails(await shop.run("install-page", folder), 1, says);
  await refused("esp32", /^esp32: has the files of one board: factory --page makes its page/);
  await refused("prog-esp32", /^prog-esp32: no subfolder of it is from factory/);
  await refused("missing", /^missing: no such file or folder/);
  await make("two/a");
  await make("two/b", "esp32c3", "--url", "http://localhost/a.jws", "--keys", "key.pub.jwk");
  await refused("two", /^two\/b: name espruino, but a has espruino program app\.js: a page is for one release/);
  const next = await sign(shop, "prog-two", PROGRAM, "--chip", "esp32c3", "--app-version", "1.1");
  await make("two/b", "esp32c3", "--release", next);
  await refused("two", /^two\/b: version 1\.1, but a has 1\.0: a page is for one release/);
  await make("twins/a");
  await make("twins/b");
  await refused(
    "twins",
    /^twins\/b: is called "ESP32, stock table \(ESP32\)", as a is: give one of them another --title/,
  );
  await make("twins/b", "esp32", "--release", "prog-esp32/app.jws", "--title", "Lamp");
  shop.put("twins/index.html", "mine");
  await refused("twins", /^twins\/index\.html: is not from install-page, and is not overwritten/);
  assert.equal(shop.get("twins/index.html").toString(), "mine");
  rmSync(shop.at("twins/index.html"));
  succeeds(await shop.run("install-page", "twins"), /b +ESP32 +ESP32 +Lamp/);
  const firmware = shop.get("twins/b/firmware.bin");
  firmware[99] ^= 1;
  shop.put("twins/b/firmware.bin", firmware);
  await refused("twins", /^twins\/b\/firmware\.bin: not the file that its manifest\.json names/);
  shop.put("twins/b/manifest.json", "{}");
  await refused("twins", /^twins\/b\/manifest\.json: not from this version of factory/);
});

test("install-page says when a folder has a Wi-Fi password", async () => {
  const wifi = shop.put("wifi.json", '{"ssid":"Home","password":"correct horse"}');
  const args = ["--espruino", "espruino-esp32", "--release", "prog-esp32/app.jws", "--wifi", wifi];
  succeeds(await shop.run("factory", "--board", "esp32", ...args, "--out", "secret/esp32"));
  succeeds(
    await shop.run("install-page", "secret"),
    /a Wi-Fi with its password is in the files of esp32: do not publish/,
  );
  assert.doesNotMatch((await makeSite()).stdout, /Wi-Fi/);
});

test("the console shows what the board prints, and sends lines", async () => {
  const board = createBoard({ chip: "esp32", flash: new Uint8Array(16), greeting: "Espruino 2v29\r\n>" });
  let shown = "";
  const console = await openConsole(board.port, (text) => {
    shown += text;
  });
  await board.port.setSignals({ dataTerminalReady: false, requestToSend: true });
  await board.port.setSignals({ dataTerminalReady: false, requestToSend: false });
  await console.send("print(1)");
  await new Promise((resolve) => setTimeout(resolve, 20));
  await console.close();
  await console.ended;
  assert.equal(shown, "Espruino 2v29\r\n>");
  assert.deepEqual([board.typed, board.isOpen], ["print(1)\n", false]);
});

test("the page is static files without inline script, and says what it is made of", () => {
  const html = shop.get("esp32/index.html").toString();
  assert.match(html, /Content-Security-Policy[\s\S]*default-src 'none'; script-src 'self'; style-src 'self'/);
  assert.doesNotMatch(html, /<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|(?:src|href)="https?:/);
  assert.match(html, /<html lang="en">[\s\S]*name="viewport"/);
  for (const [, name] of html.matchAll(/(?:src|href)="([^":,]+)"/g)) assert.ok(shop.get(`esp32/${name}`).length, name);
  assert.match(shop.get("esp32/install.css").toString(), /prefers-color-scheme: dark/);
  assert.match(shop.get("esp32/licenses.txt").toString(), /^esptool-js 0\.7\.0 \(Apache-2\.0\)$/m);
  const script = shop.get("esp32/install.js");
  assert.ok(script.length < 180_000, `${script.length} bytes`);
  assert.doesNotMatch(script.toString(), /\beval\(|new Function\(|innerHTML/);
});

test("md5 is what Node computes", () => {
  for (const length of [0, 1, 55, 56, 63, 64, 65, 1000, 4096])
    assert.equal(md5(noise(3, length)), createHash("md5").update(noise(3, length)).digest("hex"), String(length));
});
