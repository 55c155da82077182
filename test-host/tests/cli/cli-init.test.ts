// init: loader and module in the Storage of a device. The loader is a stub here, beside a copy of the built command: what
// the real one does is tested where it is.
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { before, test } from "node:test";
import { plainEnvironment, runProcess } from "../../support/command.ts";
import type { Device } from "../../sim/device.ts";
import { consoleOf, open } from "./cli-device.ts";
import { COMMAND, fails, forAll, ROOT, succeeds, workshop } from "./cli-run.ts";

const shop = workshop();
const STUB = `// https-ota loader\n(function (config) { print("loader", config.url); return 1; })(__CONFIG__);\n${"// filler\n".repeat(99)}`;
const MODULE = `exports.update = function () {};${" ".repeat(1300)}exports.last = 1;`;

/** The copied command, with a stub of the loader and of the module beside it. */
const run = (...args: string[]) =>
  runProcess({ file: shop.at("copy/build/cli.mjs"), cwd: shop.folder, env: plainEnvironment() }, args);
const init = (...args: string[]) => run("init", ...args);

before(async () => {
  mkdirSync(shop.at("copy/build"), { recursive: true });
  copyFileSync(COMMAND, shop.at("copy/build/cli.mjs"));
  shop.put("copy/build/https-ota-loader.min.js", STUB);
  shop.put("copy/build/https-ota.min.js", MODULE);
  succeeds(await shop.run("keygen", "--out", "key.pem", "--bits", "2048"));
});

const URL = "https://example.com/app.jws";
const CONFIGURED = ["--url", URL, "--keys", "key.pub.jwk"];
const stored = (device: Device, name: string): string | undefined =>
  device.engine.run(`require("Storage").read(${JSON.stringify(name)})`) as string | undefined;
const withConfig = (config: object) => STUB.replace("__CONFIG__", JSON.stringify(config));
const fileSet = (device: Device, name: string, text: string, size = text.length) =>
  device.engine.run(`require("Storage").write(${JSON.stringify(name)}, ${JSON.stringify(text)}, 0, ${size})`);

function publicKey() {
  const { kty, n, e } = JSON.parse(shop.get("key.pub.jwk").toString());
  return { kty, n, e };
}

test("an empty device gets loader and module, and a second init changes nothing", async (t) => {
  const { device, url } = await open(t);
  const written: string[] = [];
  device.storage.onWrite = (name) => void (written.at(-1) === name || written.push(name));
  succeeds(
    await init("--port", url, ...CONFIGURED),
    /writes the loader into Storage as \.boot0, \d+ bytes\n/,
    /writes the module into Storage as https-ota, 1349 bytes\n/,
    /^ok loader and module are there\. Reset the device/m,
  );
  assert.equal(stored(device, ".boot0"), withConfig({ url: URL, keys: [publicKey()] }));
  assert.equal(stored(device, "https-ota"), MODULE);
  assert.deepEqual(written, [".boot0", "https-ota"]);
  assert.deepEqual(device.engine.problems, []);
  const again = await init("--port", url, ...CONFIGURED);
  succeeds(again, /has this loader already\n/, /has this https-ota already\n/);
  assert.equal(written.length, 2);
});

test("without --url the loader has an empty configuration", async (t) => {
  const { device, url } = await open(t);
  succeeds(await init("--port", url));
  assert.equal(stored(device, ".boot0"), withConfig({}));
});

test("--threshold and --project are in the configuration of the loader", async (t) => {
  const { device, url } = await open(t);
  succeeds(await shop.run("keygen", "--out", "second.pem", "--bits", "2048"));
  const two = [...CONFIGURED, "--keys", "second.pub.jwk", "--threshold", "2"];
  succeeds(await init("--port", url, ...two, "--project", "lamp"));
  const { url: from, keys, ...more } = JSON.parse(/\(({.*})\);/.exec(stored(device, ".boot0") ?? "")?.[1] ?? "{}");
  assert.deepEqual([from, keys.length, more], [URL, 2, { threshold: 2, project: "lamp" }]);
  for (const keys of [[], ["--keys", "key.pub.jwk"]])
    fails(
      await init("--out", "-", ...CONFIGURED, ...keys, "--threshold", "2"),
      2,
      /--threshold 2 needs 2 different keys, --keys gives 1/,
    );
  fails(await init("--out", "-", "--threshold", "2"), 2, /--threshold and --project need --url and --keys/);
  fails(await init("--out", "-", "--project", "lamp"), 2, /--threshold and --project need --url and --keys/);
});

test("a .boot0 that is not the loader stays, unless --replace-boot0", async (t) => {
  const { device, url } = await open(t);
  fileSet(device, ".boot0", "print('mine');");
  fails(await init("--port", url), 1, /^tcp:\S+: has a \.boot0 of its own, 14 bytes, .*--replace-boot0/);
  assert.equal(stored(device, ".boot0"), "print('mine');");
  assert.equal(stored(device, "https-ota"), undefined, "nothing was written");
  succeeds(await init("--port", url, "--replace-boot0"));
  assert.equal(stored(device, ".boot0"), withConfig({}));
});

test("another loader and another module stay, and it is said", async (t) => {
  const { device, url } = await open(t);
  const old = "// https-ota loader\nold";
  fileSet(device, ".boot0", old);
  fileSet(device, "https-ota", "exports.x = 1;");
  succeeds(await init("--port", url), /has another loader, 23 bytes, which stays/, /has another https-ota, 14 bytes/);
  fails(await init("--port", url, ...CONFIGURED), 1, /has a loader of another version or with another URL or keys/);
  assert.equal(stored(device, ".boot0"), old);
  succeeds(await init("--port", url, ...CONFIGURED, "--replace-boot0"));
  assert.equal(stored(device, ".boot0"), withConfig({ url: URL, keys: [publicKey()] }));
  assert.equal(stored(device, "https-ota"), "exports.x = 1;");
});

test("a program in .bootcde stays, and it is said", async (t) => {
  const { device, url } = await open(t);
  fileSet(device, ".bootcde", "print('mine');");
  succeeds(
    await init("--port", url),
    /: has a program in \.bootcde, 14 bytes, which stays and runs beside .*erase\("\.bootcde"\)\nok /,
  );
  assert.equal(stored(device, ".bootcde"), "print('mine');");
});

test("what a cut has left of an earlier init is written again", async (t) => {
  const { device, url } = await open(t);
  fileSet(device, ".boot0", STUB.slice(0, 512), withConfig({}).length);
  fileSet(device, "https-ota", MODULE.slice(0, 512), MODULE.length);
  succeeds(await init("--port", url), /writes the loader/, /writes the module/);
  assert.equal(stored(device, ".boot0"), withConfig({}));
  assert.equal(stored(device, "https-ota"), MODULE);
});

test("a Storage without room is left as it is", async (t) => {
  const { device, url } = await open(t);
  const free = device.engine.run('require("Storage").getStats().freeBytes') as number;
  device.engine.run(`require("Storage").write("full", "x", 0, ${free - 500})`);
  fails(await init("--port", url), 1, /: Storage has \d+ bytes free behind its last file, the loader needs \d+: erase/);
  assert.equal(stored(device, ".boot0"), undefined);
});

test("push works after init", async (t) => {
  const { device, url } = await open(t);
  succeeds(await init("--port", url));
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(device.engine.run("typeof otaPush"), "undefined");
  succeeds(await init("--port", await consoleOf(t, device)));
});

test("--out writes the loader to a file", async () => {
  const says = /^boot0\.js: loader, \d+ bytes: the Storage file \.boot0 .*needs the module .*https-ota\.min\.js$/m;
  succeeds(await init("--out", "boot0.js"), says);
  succeeds(await init("--out", "boot0.js", ...CONFIGURED), says);
  assert.equal(shop.get("boot0.js").toString(), withConfig({ url: URL, keys: [publicKey()] }));
  assert.equal(succeeds(await init("--out", "-")).stdout, withConfig({}));
});

test("docs/cli.md shows the sizes of loader and module, rounded", async () => {
  succeeds(await shop.run("keygen", "--out", "large.pem"));
  const args = ["--url", URL, "--keys", "large.pub.jwk"];
  const { stdout } = succeeds(await shop.run("init", "--out", "real.js", ...args));
  const [, loader] = /loader, (\d+) bytes/.exec(stdout) ?? assert.fail(stdout);
  const module = statSync(path.join(ROOT, "build/https-ota.min.js")).size;
  const text = readFileSync(path.join(ROOT, "docs/cli.md"), "utf8");
  const shown = (name: string) => text.match(new RegExp(`Storage as ${name}, ([0-9.]+) KB`))?.[1];
  assert.deepEqual(
    { loader: shown("\\.boot0"), module: shown("https-ota") },
    { loader: (Number(loader) / 1024).toFixed(1), module: (module / 1024).toFixed(0) },
  );
});

test("--out replaces a loader and no other file", async () => {
  for (const text of ["print('mine');", "// https-ota load"]) {
    shop.put("mine.js", text);
    fails(await init("--out", "mine.js"), 1, /^mine\.js: is not a loader, and is not overwritten: .* --out$/m);
    assert.equal(shop.get("mine.js").toString(), text);
  }
});

test("wrong usage and a missing loader are refused before anything is connected", async () => {
  const cases: [string[], RegExp][] = [
    [[], /expected one of --port, a device, and --out, a file/],
    [["--out", "x", "--port", "tcp://127.0.0.1:1"], /expected one of --port/],
    [["--out", "x", "--url", URL], /--url and --keys belong together/],
    [["--out", "x", "--keys", "key.pub.jwk"], /--url and --keys belong together/],
    [["--out", "x", "--url", "app.jws", "--keys", "key.pub.jwk"], /Expected http:/],
    [["--out", "x", "--replace-boot0"], /--replace-boot0 is about a device/],
  ];
  await forAll(cases, async ([args, says]) => void fails(await init(...args), 2, says));
  fails(await init("--port", "tcp://127.0.0.1:1"), 1, /^tcp:\S+: connection refused/);
  shop.put("copy/build/https-ota-loader.min.js", "something else");
  fails(await init("--out", "x"), 1, /^https-ota-loader\.min\.js: expected a text that begins with/);
  rmSync(shop.at("copy/build/https-ota-loader.min.js"));
  fails(await init("--out", "x"), 1, /build\/https-ota-loader\.min\.js: no such file: npm run build makes it$/m);
});
