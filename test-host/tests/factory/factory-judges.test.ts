// `https-ota factory` checked by tools that are not ours: esptool, and the real interpreter.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { before, test } from "node:test";
import { ESPRUINO, warnWithoutEngine } from "../../real-espruino/engine.ts";
import { onlyInAll } from "../../support/share.ts";
import { succeeds, workshop } from "../cli/cli-run.ts";
import { BOARDS, furnish, PROGRAM, putBuild, sign } from "./factory-run.ts";

/** How esptool is started; null where it is not installed. */
const ESPTOOL = [process.env.PYTHON ?? "python3", "python"].find(
  (python) => spawnSync(python, ["-m", "esptool", "version"]).status === 0,
);
if (!ESPTOOL)
  process.stderr.write(
    "\n!!! esptool is not installed (pip install esptool): no tool of others has checked the factory images !!!\n\n",
  );
const withEsptool = { skip: ESPTOOL ? onlyInAll("with esptool") : "esptool is not installed" };
warnWithoutEngine();
const withEngine = { skip: ESPRUINO ? false : "ESPRUINO is not set" };

const shop = workshop();
before(async () => {
  await furnish(shop);
  for (const chip of ["esp32c3", "esp32s3"] as const) putBuild(shop, `espruino-${chip}`, chip);
  for (const chip of ["esp32", "esp32c3", "esp32s3"])
    await sign(shop, `prog-${chip}`, PROGRAM, "--chip", chip, "--app-version", "1.0");
});

function esptool(chip: string, ...args: string[]): string {
  const run = spawnSync(ESPTOOL as string, ["-m", "esptool", "--chip", chip, ...args], {
    cwd: shop.folder,
    encoding: "utf8",
  });
  assert.equal(run.status, 0, run.stdout + run.stderr);
  return run.stdout;
}

for (const { board, chip, bootloader } of BOARDS) {
  const espruino = chip === "esp32" ? "espruino" : `espruino-${chip}`;
  const make = (out: string, ...more: string[]) =>
    shop.run(
      ...["factory", "--board", board, "--espruino", espruino, "--release", `prog-${chip}/app.jws`, "--out", out],
      ...more,
    );
  const merged = (out: string): Buffer => {
    const { builds } = JSON.parse(shop.get(`${out}/manifest.json`).toString());
    const parts = builds[0].parts.flatMap((one: any) => [`0x${one.offset.toString(16)}`, `${out}/${one.path}`]);
    esptool(chip, "merge_bin", "-o", "merged.bin", ...parts);
    return shop.get("merged.bin");
  };

  test(`${board}: esptool merges the parts to the same bytes, and reads both images`, withEsptool, async () => {
    const out = `out-${board}`;
    succeeds(await make(out));
    assert.ok(merged(out).equals(shop.get(`${out}/factory.bin`)));
    for (const name of ["bootloader.bin", "firmware.bin"]) {
      const text = esptool(chip, "image_info", `${out}/${name}`);
      assert.match(text, /Checksum: 0x[0-9a-f]{2} \(valid\)/, text);
      assert.match(text, /Validation hash: [0-9a-f]{64} \(valid\)/, text);
    }
  });

  test(`${board}: esptool takes the printed lines without a warning`, withEsptool, async () => {
    const out = `out-line-${board}`;
    succeeds(await make(out));
    const lines =
      shop
        .get(`${out}/flash.txt`)
        .toString()
        .match(/(?<=^ {2}esptool )--chip.*$/gm) ?? [];
    assert.equal(lines.length, 2);
    for (const line of lines) {
      const args = line.replace("PORT", "/dev/no-such-port").split(" ");
      const { stdout, stderr } = spawnSync(ESPTOOL as string, ["-m", "esptool", ...args], {
        ...{ cwd: shop.at(out), encoding: "utf8" },
      });
      assert.match(stdout + stderr, /Could not open \/dev\/no-such-port/);
      assert.doesNotMatch(stdout + stderr, /deprecated|unknown|invalid/i);
    }
  });

  // a chip once
  if (board === "esp32-dual") continue;
  test(`${board}: esptool gives the bootloader's header the same bytes`, withEsptool, async () => {
    const settings = [
      ["dio", "40m", "4MB"],
      ["qio", "80m", "16MB"],
      ["dout", "26m", "8MB"],
      ["keep", "20m", "keep"],
      ["qout", "keep", "4MB"],
      ["keep", "keep", "keep"],
    ];
    for (const [mode, freq, size] of settings) {
      const out = `header-${board}-${mode}-${freq}-${size}`;
      const header = ["--flash-mode", mode, "--flash-freq", freq, "--flash-size", size];
      // the header of the build says 4 MB, which is enough
      succeeds(await make(out, ...header));
      const theirs = ["--flash_mode", mode, "--flash_freq", freq, "--flash_size", size];
      const place = ["--target-offset", `0x${bootloader.toString(16)}`, `0x${bootloader.toString(16)}`];
      esptool(chip, "merge_bin", ...theirs, "-o", "boot.bin", ...place, `${espruino}/bootloader.bin`);
      assert.ok(shop.get("boot.bin").equals(shop.get(`${out}/bootloader.bin`)), header.join(" "));
    }
  });
}

/** What the interpreter prints when it starts in `folder`, whose espruino.flash is its Storage, and runs `program`. */
function interpret(folder: string, program: string): Promise<string> {
  writeFileSync(path.join(folder, "program.js"), program);
  return new Promise((resolve, reject) => {
    const child = spawn(ESPRUINO as string, ["program.js"], { cwd: folder, stdio: ["pipe", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (data) => {
        output += data;
      });
    const timer = setTimeout(() => child.kill("SIGKILL"), 60_000);
    child.on("error", reject);
    child.on("close", () => {
      clearTimeout(timer);
      resolve(output.replaceAll("\0", ""));
    });
  });
}

/** Of the interpreter's Linux build: the first bytes of the partition, behind which nothing is. */
const LINUX_STORAGE = 0x40000;

test("the real interpreter reads the Storage image and runs the program", withEngine, async () => {
  const wifi = shop.put("wifi.json", '{"ssid":"Home","password":"correct horse"}');
  const args = ["--espruino", "espruino", "--release", "prog-esp32/app.jws", "--wifi", wifi, "--out", "real"];
  succeeds(await shop.run("factory", "--board", "esp32", ...args));
  const image = shop.get("real/storage.bin");
  assert.ok(image.subarray(LINUX_STORAGE).every((byte) => byte === 0xff));
  mkdirSync(shop.at("engine"));
  shop.put("engine/espruino.flash", image.subarray(0, LINUX_STORAGE));
  const output = await interpret(
    shop.at("engine"),
    `var s = require("Storage");
    print("REPORT " + JSON.stringify({ running: global.running, value: global.value, ran: E.otaRan,
      names: s.list(), wifi: s.readJSON(".wificfg", true), logo: btoa(s.read(ota.file("logo.img"))),
      stats: s.getStats().trashBytes, release: ota.getStatus ? typeof ota.getStatus : "none" }));
    s.write("settings", "mine"); print("REPORT " + JSON.stringify(s.read("settings"))); quit();`,
  );
  const [found, settings] = [...output.matchAll(/REPORT (.*)/g)].map(([, text]) => JSON.parse(text));
  assert.ok(found, output);
  assert.deepEqual(
    [found.running, found.value, found.ran, found.release, found.stats],
    ["1", 42, true, "function", 0],
    output,
  );
  assert.deepEqual(found.wifi, { ssid: "Home", password: "correct horse", mode: 1 });
  assert.equal(found.logo, Buffer.from(PROGRAM["logo.img"]).toString("base64"));
  assert.deepEqual(found.names.slice().sort().slice(0, 4), [".boot0", ".https-ota0", ".wificfg", "https-ota"]);
  assert.equal(settings, "mine");
});
