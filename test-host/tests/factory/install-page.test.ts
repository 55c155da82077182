// The install page: its files, and esptool-js before a serial port that is made up, with a virtual flash behind it.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { before, test } from "node:test";
import { install, loadManifest, loadParts, openConsole } from "../../../src/cli/page/flasher.ts";
import { md5 } from "../../../src/cli/page/md5.ts";
import { createFixture } from "../../support/fixture.ts";
import { noise } from "../../support/images.ts";
import { succeeds, workshop } from "../cli/cli-run.ts";
import { furnish, PROGRAM, putBuild, sign } from "./factory-run.ts";
import { createBoard } from "./serial-port.ts";

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

const from = (folder: string) => async (name: string) => new Response(new Uint8Array(shop.get(`${folder}/${name}`)));

const SIZE = { esp32: 0x400000, esp32c3: 0x400000, esp32s3: 0x800000 };

/** What the page does with a board; `other`: files for another chip. */
async function run(
  chip: (typeof CHIPS)[number],
  more: Partial<Parameters<typeof createBoard>[0]> = {},
  eraseAll = true,
  other = chip,
) {
  const flash = more.flash ?? noise(7, SIZE[chip]);
  const board = createBoard({ chip, flash, sizeId: chip === "esp32s3" ? 0x17 : 0x16, ...more });
  const said: string[] = [];
  const progress: number[] = [];
  const manifest = await loadManifest(from(other));
  const parts = await loadParts(manifest, from(other));
  const result = await install(board.port, manifest, parts, {
    eraseAll,
    step: (text) => said.push(text),
    done: (part) => progress.push(part),
    log: () => {},
  }).then(
    () => null,
    (error: Error) => error,
  );
  return { board, flash, said, progress, error: result };
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
    assert.match(said.join("\n"), /Looking for the board\nErasing the flash.*\nWriting bootloader\.bin: bootloader\n/);
    const { device } = await createFixture(t, { board: chip, flash, bootCode: true, image: null });
    assert.equal(device.engine.run("running"), "1", device.engine.console.join("\n"));
  });

test("without erasing, what lies between the parts stays", async () => {
  const flash = noise(9, SIZE.esp32);
  const { error } = await run("esp32", { flash }, false);
  assert.ifError(error);
  const old = noise(9, SIZE.esp32);
  assert.deepEqual(flash.subarray(0x9000, 0xc000), old.subarray(0x9000, 0xc000), "NVS");
  const storage = shop.get("esp32/storage.bin");
  assert.ok(Buffer.from(flash.subarray(0x320000, 0x320000 + storage.length)).equals(storage));
});

test("a board with another chip, or with too little flash, is left as it is", async () => {
  const cases = [
    [
      await run("esp32c3", {}, true, "esp32"),
      /this is an ESP32-C3, and these files are for an ESP32: nothing was written/,
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
  const manifest = await loadManifest(from("esp32"));
  const get = from("esp32");
  const changed = async (name: string) => {
    const bytes = new Uint8Array(await (await get(name)).arrayBuffer());
    if (name === "firmware.bin") bytes[5] ^= 1;
    return new Response(bytes);
  };
  await assert.rejects(loadParts(manifest, changed), /firmware\.bin: its SHA-256 is not that of manifest\.json/);
  const short = async (name: string) => new Response(new Uint8Array(name === "storage.bin" ? 3 : 0));
  await assert.rejects(loadParts(manifest, short), /bootloader\.bin: 0 bytes came/);
  await assert.rejects(
    loadManifest(async () => new Response("", { status: 404 })),
    /the web server answers 404/,
  );
  await assert.rejects(
    loadManifest(async () => new Response("{}")),
    /manifest\.json is not from https-ota factory/,
  );
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
