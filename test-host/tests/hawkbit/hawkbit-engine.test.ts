// The client of hawkBit in the real interpreter, against the fake. Named by the variable ESPRUINO.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  ESPRUINO,
  runInEngine,
  tooSmallForReconnects,
  tooSmallForTls,
  warnWithoutEngine,
} from "../../real-espruino/engine.ts";
import { createDevice } from "../../sim/device.ts";
import { buildImage } from "../../support/images.ts";
import { artifactsOf, HAWKBIT } from "../../support/hawkbit-device.ts";
import { type Fake, startFake } from "../../support/hawkbit.ts";
import { makeKey } from "../../support/release.ts";

warnWithoutEngine();
const options = { skip: ESPRUINO ? false : "ESPRUINO is not set" };
const FILE = fileURLToPath(new URL("../../../build/https-ota-hawkbit.min.js", import.meta.url));
const FASTER = { timeoutMs: 40_000 };
const NAME = "240ac401-0000aa";

/** Where timers are a hundred times faster than hawkBit's times; the module that updates has the engine's own. */
const FAST = "var setTimeout=global.fast;\n";

/** A program that starts the client. */
function program(fake: Fake, keys: unknown[], ending: string, before = ""): string {
  const fields = {
    url: fake.url,
    controller: NAME,
    token: "secret",
    keys,
    retries: 0,
    attributes: { place: "hall 3" },
  };
  const size = FAST.length + HAWKBIT.length;
  // in pieces, for interpreters with little memory
  return `global.fast = function (f, ms) { return setTimeout(f, ms > 20000 ? ms / 100 : ms); };
    (function () {
      var storage = require("Storage"), fast = ${JSON.stringify(FAST)}, at = fast.length;
      if (storage.read("https-ota-hawkbit", 0, 1)) return;
      var file = E.openFile(${JSON.stringify(FILE)}, "r");
      storage.write("https-ota-hawkbit", fast, 0, ${size});
      for (; at < ${size}; at += 512) storage.write("https-ota-hawkbit", file.read(512), at);
      file.close();
    })();
    var fields = ${JSON.stringify(fields)};
    fields.installed = function (result) { report({ installed: result.partition.label }); };
    fields.failed = function (error) { report({ failed: error.message }); };
    function begin() {
      var used = process.memory().usage;
      require("https-ota-hawkbit").start(fields);
      report({ vars: process.memory().usage - used });
      ${ending}
    }
    ota.boot().then(function () { ${before || "begin()"}; });`;
}

/** Ends the program when hawkBit has heard `text`, and the program has been told of it. */
const untilHeard = (fake: Fake, text: string) =>
  `var waiting = setInterval(function () { require("http").get(${JSON.stringify(fake.url)} + "/heard?" + ${JSON.stringify(encodeURIComponent(text))}, function (r) { if (r.statusCode === "204") setTimeout(finish, 500); }); }, 300);`;

async function createHawkbitFixture(t: { after(fn: () => void): void }, tls = false) {
  const fake = await startFake(t, tls);
  const key = await makeKey();
  await fake.addTarget(NAME, "secret");
  const image = buildImage({ size: 12288, seed: 2, descriptor: { version: "2.0.2" } });
  const release = await fake.addRelease("fw", await artifactsOf(image, "2.0.2", 7, key));
  const action = await fake.assign(NAME, release);
  // the program asks the test, by the same server, whether it may end
  fake.override = (_req, res, path) => {
    if (!path.startsWith("/heard?")) return false;
    const text = decodeURIComponent(path.slice(7));
    fake.history(NAME, action).then((entries) => {
      const heard = entries.some(({ message }) => message.includes(text));
      res.writeHead(heard ? 204 : 404, { "Content-Length": 0 }).end();
    });
    return true;
  };
  return { fake, key, action };
}

test("it installs, reports the trial, and closes the action once it is confirmed", options, async (t) => {
  const { fake, key, action } = await createHawkbitFixture(t);
  const device = createDevice();
  const first = await runInEngine(device, program(fake, [key.jwk], untilHeard(fake, "installed")), FASTER);
  assert.deepEqual(
    first.reports.filter((one) => one.installed),
    [{ installed: "ota_0" }],
    first.output,
  );
  const { serial, place, board } = await fake.attributes(NAME);
  assert.deepEqual([typeof serial, place, board], ["string", "hall 3", "ESP32"], first.output);
  t.diagnostic(`JsVars of a client that waits: ${first.reports.find((one) => one.vars)?.vars}`);
  const second = await runInEngine(device, program(fake, [key.jwk], untilHeard(fake, "on trial, start 1")), FASTER);
  assert.equal(second.boot.slot?.label, "ota_0");
  const third = await runInEngine(
    device,
    program(fake, [key.jwk], untilHeard(fake, "confirmed"), "ota.markValid(); begin()"),
    FASTER,
  );
  const { type, message } = (await fake.history(NAME, action)).at(-1) ?? {};
  assert.deepEqual([type, message], ["finished", "runs, and is confirmed"], third.output);
});

test("after a rollback the action is closed with failure and the reason", options, async (t) => {
  const { fake, key, action } = await createHawkbitFixture(t);
  const device = createDevice();
  await runInEngine(device, program(fake, [key.jwk], untilHeard(fake, "installed")), FASTER);
  await runInEngine(device, `ota.boot().then(function () { return ota.rollback({ reason: "no sensor" }); });`);
  const run = await runInEngine(device, program(fake, [key.jwk], untilHeard(fake, "rolled back")), FASTER);
  const { type, message } = (await fake.history(NAME, action)).at(-1) ?? {};
  assert.deepEqual([type, message], ["error", "rolled back: no sensor"], run.output);
});

test("over TLS it polls, sends its attributes and installs", options, async (t) => {
  const small = (await tooSmallForTls()) || (await tooSmallForReconnects());
  if (small) return t.skip(small);
  const { fake, key } = await createHawkbitFixture(t, true);
  // the program ends by itself: it has no connection to spare
  const keys = [key.jwk];
  const end = "fields.installed = function (result) { report({ installed: result.partition.label }); finish(); };";
  const run = await runInEngine(createDevice(), program(fake, keys, "", `${end} begin()`), FASTER);
  assert.deepEqual(
    run.reports.filter((one) => !one.vars),
    [{ installed: "ota_0" }],
    run.output,
  );
  assert.equal((await fake.attributes(NAME)).place, "hall 3");
});

test("an answer of 3000 nested arrays does not end the interpreter", options, async (t) => {
  const { fake, key } = await createHawkbitFixture(t);
  let polls = 0;
  fake.override = (_req, res, path) => {
    if (path.startsWith("/heard?")) {
      res.writeHead(polls > 1 ? 204 : 404, { "Content-Length": 0 }).end();
      return true;
    }
    polls++;
    const text = `{"config":${"[".repeat(3000)}${"]".repeat(3000)}}`;
    res.writeHead(200, { "Content-Length": text.length }).end(text);
    return true;
  };
  const run = await runInEngine(createDevice(), program(fake, [key.jwk], untilHeard(fake, "")), FASTER);
  assert.match(run.reports.find((one) => one.failed)?.failed, /too deep/, run.output);
  assert.equal(run.exitCode, 0);
});
