// push: the built command against the virtual Espruino, whose console is a TCP port; and what it refuses before it
// connects. The same against the real interpreter, with cuts: push-engine.test.ts.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { before, test } from "node:test";
import { crc32 } from "../../../src/cli/push/crc32.ts";
import { parseTcp } from "../../../src/cli/push/port.ts";
import type { Device } from "../../sim/device.ts";
import { buildImage } from "../../support/images.ts";
import { consoleOf, open } from "./cli-device.ts";
import { fails, forAll, succeeds, workshop } from "./cli-run.ts";

const IMAGE = buildImage({ chip: "esp32", size: 40000, seed: 2, descriptor: { project: "espruino", version: "2.0" } });
const shop = workshop();

before(async () => {
  shop.put("fw.bin", IMAGE);
  for (const name of ["key.pem", "other.pem"]) succeeds(await shop.run("keygen", "--out", name, "--bits", "2048"));
  succeeds(await shop.run("sign", "fw.bin", "--key", "key.pem", "--out", "fw.jws"));
});

function installed(device: Device): void {
  device.restart();
  assert.equal(device.running, "ota_0");
  assert.deepEqual(device.slot("ota_0", IMAGE.length), IMAGE);
}

test("installs a signed release, and says what to do next", async (t) => {
  const { device, url } = await open(t);
  const run = await shop.run("push", "fw.jws", "--key", "key.pub.jwk", "--port", url);
  succeeds(run, /^espruino 2\.0: fw\.jws, fw\.bin, 40000 bytes\n/, /ok espruino 2\.0 is in ota_0/, /next restart/);
  assert.deepEqual(device.engine.problems, []);
  installed(device);
});

test("installs from a folder, and restarts the device", async (t) => {
  const { device, url } = await open(t);
  succeeds(await shop.run("push", ".", "--key", "key.pub.jwk", "--port", url, "--restart"), /restarts into it now/);
  assert.ok(device.rebootAsked);
});

test("says that an image is waiting, and that it is running", async (t) => {
  const { device, url } = await open(t);
  const push = (to: string) => shop.run("push", "fw.jws", "--key", "key.pub.jwk", "--port", to);
  succeeds(await push(url), /is in ota_0/);
  succeeds(await push(url), /waits in ota_0 already/);
  device.restart();
  succeeds(await push(await consoleOf(t, device)), /up to date, espruino 2\.0 runs there/);
});

test("installs a release whose rollout has not reached the device: its owner is there", async (t) => {
  const { device, url } = await open(t);
  const sign = ["sign", "fw.bin", "--key", "key.pem", "--rollout", "0%", "--out", "stopped.jws"];
  succeeds(await shop.run(...sign));
  succeeds(await shop.run("push", "stopped.jws", "--key", "key.pub.jwk", "--port", url), /is in ota_0/);
  installed(device);
});

test("passes on what the device refuses", async (t) => {
  const { device, url } = await open(t);
  const other = await shop.run("push", "fw.jws", "--key", "other.pub.jwk", "--port", url);
  fails(other, 1, /^tcp:\S+: the device says ESP_ERR_\w+: /);
  const project = await shop.run("push", "fw.jws", "--key", "key.pub.jwk", "--port", url, "--project", "lamp");
  fails(project, 1, /the device says ESP_ERR_\w+: .*project/);
  device.restart();
  assert.equal(device.running, "factory");
});

/** A module that asks for what the test names, piece by piece as the real one does, and keeps it. */
const ASKER = `
exports.update = function (config) {
  return new Promise(function (resolve, reject) {
    var names = global.wanted.slice(), got = global.got = {};
    function next() {
      var name = names.shift();
      if (name === undefined) return resolve({ upToDate: false });
      got[name] = "";
      function ask() {
        config.source(got[name].length, function (error, data) {
          if (error) return reject({ name: "ESP_FAIL", message: error });
          if (!data) return next();
          got[name] += data;
          ask();
        }, name);
      }
      ask();
    }
    next();
  });
};`;

test("answers for the files of a release by their URLs", async (t) => {
  mkdirSync(shop.at("prog/lib"), { recursive: true });
  const files = { "app.js": "print(1)", "lib/a b.js": "exports.x = 1", "tune.bin": "\x00\xff\x10<ota:".repeat(300) };
  for (const [name, text] of Object.entries(files)) shop.put(`prog/${name}`, Buffer.from(text, "latin1"));
  const sign = ["sign", "--key", "key.pem", "--files", "prog", "--entry", "app.js"];
  const alone = ["--chip", "esp32", "--app-version", "1.4"];
  succeeds(await shop.run(...sign, ...alone, "--out", "prog/app.jws"));
  succeeds(await shop.run(...sign, "fw.bin", "--files-url", "http://cdn.example/", "--out", "both.jws"));
  const { device, url } = await open(t, { bundle: ASKER });
  const push = (...args: string[]) => shop.run("push", ...args, "--key", "key.pub.jwk", "--port", url);
  const asks = (...names: string[]) => device.engine.run(`wanted = ${JSON.stringify(names)}`);
  const got = (name: string) => device.engine.run(`got[${JSON.stringify(name)}]`);

  asks("", "app.js", "lib/a%20b.js", "tune.bin");
  const said = [/^espruino 1\.4: prog\/app\.jws, 3 files, \d+ bytes\n/, /ok espruino 1\.4 is in Storage, \d+ bytes/];
  succeeds(await push("prog/app.jws", "--piece", "64"), ...said);
  assert.equal(got(""), shop.get("prog/app.jws").toString());
  assert.equal(got("app.js"), files["app.js"]);
  assert.equal(got("lib/a%20b.js"), files["lib/a b.js"]);
  assert.equal(got("tune.bin"), files["tune.bin"]);
  asks("lib/a b.js");
  fails(await push("prog/app.jws"), 1, /the device says ESP_FAIL: push has no file lib\/a b\.js/);

  asks("fw.bin", "http://cdn.example/app.js");
  succeeds(await push("both.jws", "--files", "prog"), /both\.jws, fw\.bin, 3 files/, /is in its slot/);
  assert.equal(got("http://cdn.example/app.js"), files["app.js"]);
  assert.equal(Buffer.from(got("fw.bin") as string, "latin1").compare(IMAGE), 0);

  fails(await push("both.jws"), 1, /^lib\/a b\.js: no such file/);
  fails(await push("fw.jws", "--files", "prog"), 1, /^fw\.jws: names an image alone, and no files/);
  const digest = ["push", "prog/app.jws", "--digest", "--port", url];
  fails(await shop.run(...digest), 2, /prog\/app\.jws has files, .*: give --key/);
  shop.put("prog/tune.bin", "x");
  fails(await push("prog/app.jws"), 1, /^prog\/app\.jws: file tune\.bin has 2400 bytes, prog\/tune\.bin has 1/);
});

test("refuses a device that is not an ESP32", async (t) => {
  const { device, url } = await open(t);
  device.engine.run("delete global.ESP32");
  fails(await shop.run("push", "fw.bin", "--digest", "--port", url), 1, /expected an ESP32/);
});

test("refuses wrong usage and wrong files before it connects", async () => {
  shop.put("two.bin", buildImage({ chip: "esp32", size: 40000, seed: 3 }));
  const cases: [string[], 1 | 2, RegExp][] = [
    [["fw.bin", "--digest"], 2, /--port/],
    [["fw.bin", "--port", "tcp://127.0.0.1:1"], 2, /exactly one of --key, --digest and --insecure/],
    [["fw.bin", "--port", "x", "--digest", "--insecure"], 2, /exactly one of/],
    [["fw.bin", "--port", "x", "--key", "key.pub.jwk"], 2, /needs its manifest/],
    [["fw.bin", "--port", "x", "--digest", "--threshold", "2"], 2, /--threshold needs --key/],
    [["fw.bin", "--port", "tcp:", "--digest"], 2, /Expected tcp:/],
    [["fw.bin", "--port", "x", "--digest", "--piece", "9"], 2, /64 to 4096/],
    [["fw.bin", "--port", "x", "--digest", "--allow", "all"], 2, /Expected one of same-version/],
    [["no.jws", "--port", "x", "--insecure"], 1, /^no\.jws: no such file/],
    [["fw.jws", "--port", "x", "--insecure", "--image", "two.bin"], 1, /claim image\.fsverity is/],
    [["fw.bin", "--port", "tcp://127.0.0.1:1", "--digest"], 1, /^tcp:\S+: connection refused: is the address right/],
    [["fw.bin", "--port", "no-such-port", "--digest"], 1, /^no-such-port: |serial ports need the package serialport/],
  ];
  await forAll(cases, async ([args, code, says]) => void fails(await shop.run("push", ...args), code, says));
});

test("reads ports as the package espruino does", () => {
  assert.deepEqual(parseTcp("tcp://lamp.local"), { host: "lamp.local", port: 23 });
  assert.deepEqual(parseTcp("tcp://[::1]:2323"), { host: "::1", port: 2323 });
  assert.equal(parseTcp("COM3"), undefined);
});

test("computes the CRC-32 of E.CRC32", () => {
  assert.equal(crc32("123456789"), 0xcbf43926);
});
