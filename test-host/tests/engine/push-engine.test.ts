// `https-ota push` against the real interpreter: the built command over TCP to its console, and what boots afterwards.

import assert from "node:assert/strict";
import net, { type AddressInfo } from "node:net";
import { before, type TestContext, test } from "node:test";
import { type ConsoleOptions, type EngineConsole, startConsole } from "../../real-espruino/console.ts";
import { ESPRUINO, engineMemory, growsOnDemand, warnWithoutEngine } from "../../real-espruino/engine.ts";
import { createDevice, type Device } from "../../sim/device.ts";
import { SECTOR } from "../../sim/flash.ts";
import { buildImage } from "../../support/images.ts";
import { fails, succeeds, workshop } from "../cli/cli-run.ts";

warnWithoutEngine();

/** JsVars of a board of 2v29; an update in a build with 4095 ends with ESP_ERR_NO_MEM, over http too. */
const BOARD = 5900;

async function reasonToSkip(): Promise<string | false> {
  if (!ESPRUINO) return "ESPRUINO is not set";
  const { total } = await engineMemory();
  return (await growsOnDemand()) || total >= BOARD
    ? false
    : `no room for an update: this interpreter has ${total} JsVars, a board ${BOARD}`;
}
const options = { skip: await reasonToSkip(), timeout: 120_000 };

const IMAGE = buildImage({ chip: "esp32", size: 60000, seed: 2, descriptor: { project: "espruino", version: "2.0" } });
const shop = workshop();

before(async () => {
  if (!ESPRUINO) return;
  shop.put("fw.bin", IMAGE);
  for (const name of ["key.pem", "other.pem"]) succeeds(await shop.run("keygen", "--out", name, "--bits", "2048"));
  succeeds(await shop.run("sign", "fw.bin", "--key", "key.pem", "--out", "fw.jws"));
});

async function open(t: TestContext, more: ConsoleOptions = {}): Promise<{ device: Device; console: EngineConsole }> {
  const device = createDevice();
  const console = await startConsole(device, more);
  t.after(() => console.close());
  return { device, console };
}

const push = (console: EngineConsole, ...more: string[]) =>
  shop.run("push", "fw.jws", "--key", "key.pub.jwk", "--port", console.url, ...more);

/** The offsets of the image that the device has asked for. */
function asked(output: string): number[] {
  return [...output.matchAll(/<ota:\w+:\w+:([A-Za-z0-9+/=]+)>/g)]
    .map((match) => JSON.parse(atob(match[1])))
    .filter(({ k, file }) => k === "ask" && file === "fw.bin")
    .map(({ offset }) => offset);
}

async function bootsNew({ device, console }: { device: Device; console: EngineConsole }): Promise<void> {
  const boot = await console.close();
  assert.equal(boot.slot?.label, "ota_0", console.output.slice(-2000));
  assert.deepEqual(device.slot("ota_0", IMAGE.length), IMAGE);
}

async function bootsOld({ console }: { console: EngineConsole }): Promise<void> {
  assert.equal((await console.close()).slot?.label, "factory");
}

test("push installs a signed release over the console", options, async (t) => {
  const fixture = await open(t);
  const run = succeeds(await push(fixture.console), /espruino 2\.0 is in ota_0, 60000 bytes/, /next restart/);
  assert.match(run.stdout, /ESP32, Espruino 2v\d+, with https-ota/);
  await bootsNew(fixture);
});

test("push --digest trusts the image that it prints the digest of", options, async (t) => {
  const fixture = await open(t);
  const run = await shop.run("push", "fw.bin", "--digest", "--port", fixture.console.url, "--piece", "400");
  succeeds(run, /digest: "fsverity-sha256:[0-9a-f]{64}"/);
  await bootsNew(fixture);
});

test("push goes on behind the last whole sector after the line was cut", options, async (t) => {
  let cutAt = -1;
  const fixture = await open(t, {
    onOutput(console, output) {
      const last = asked(output).at(-1) ?? 0;
      if (cutAt >= 0 || last < 30000) return;
      cutAt = last;
      console.cut(1500);
    },
  });
  const run = succeeds(await push(fixture.console), /is in ota_0/);
  assert.match(run.stdout, /lost \([^)]*\)\. Waiting up to 60 s for it to come back/);
  assert.equal(fixture.console.connections, 2);
  const offsets = asked(fixture.console.output);
  const again = offsets.slice(offsets.indexOf(cutAt) + 1);
  assert.ok(cutAt >= 30000 && again.length < 45, `cut at ${cutAt}, then ${again}`);
  const resumed = again.find((offset) => offset > SECTOR) as number;
  assert.ok(resumed % SECTOR === 0 && resumed > cutAt - 2 * SECTOR, `cut at ${cutAt}, then ${again}`);
  await bootsNew(fixture);
});

test("push sends damaged and lost lines again", options, async (t) => {
  let pieces = 0;
  const fixture = await open(t, {
    toDevice(text) {
      if (!text.includes('"p"')) return text;
      pieces++;
      // one wrong letter in the middle, a quote that is gone, and the end of a line that is gone
      if (pieces === 5) return `${text.slice(0, 100)}${text[100] === "A" ? "B" : "A"}${text.slice(101)}`;
      if (pieces === 9) return text.replace('"p"', '"p');
      return pieces === 14 ? text.slice(0, 150) : text;
    },
  });
  succeeds(await push(fixture.console), /is in ota_0, .*, [3-9] lines sent again/);
  await bootsNew(fixture);
});

test("push puts the module into Storage when it is missing", options, async (t) => {
  const fixture = await open(t, { module: false });
  succeeds(await push(fixture.console), /gets https-ota into its Storage, \d+ bytes/, /is in ota_0/);
  await bootsNew(fixture);
});

test("push leaves another module alone unless --module is given", options, async (t) => {
  const program = `require("Storage").write("https-ota", "exports.update = function () { return Promise.reject({ name: 'MINE', message: 'mine' }); };");`;
  const fixture = await open(t, { module: false, program });
  const kept = await push(fixture.console);
  assert.match(kept.stdout, /another https-ota, \d+ bytes: --module replaces it/);
  fails(kept, 1, /the device says MINE: mine/);
  await bootsOld(fixture);
  const other = await open(t, { module: false, program });
  succeeds(await push(other.console, "--module"), /gets https-ota/, /is in ota_0/);
  await bootsNew(other);
});

test("push ends with the device's error when the key is another one", options, async (t) => {
  const fixture = await open(t);
  const run = await shop.run("push", "fw.jws", "--key", "other.pub.jwk", "--port", fixture.console.url);
  fails(run, 1, /^tcp:\S+: the device says ESP_ERR_OTA_VALIDATE_FAILED: .*(key|kid|signature)/);
  await bootsOld(fixture);
});

test("push --restart restarts the device", options, async (t) => {
  const fixture = await open(t);
  succeeds(await push(fixture.console, "--restart"), /it restarts into it now/);
  assert.ok(fixture.console.ended, "the interpreter runs on");
  await bootsNew(fixture);
});

test("Ctrl-C ends the update on the device, and the next push goes on", options, async (t) => {
  let stop: () => void = () => {};
  const fixture = await open(t, {
    onOutput(_, output) {
      if ((asked(output).at(-1) ?? 0) > 20000) stop();
    },
  });
  const child = shop.start("push", "fw.jws", "--key", "key.pub.jwk", "--port", fixture.console.url);
  let stderr = "";
  child.stderr?.on("data", (data) => {
    stderr += data;
  });
  stop = () => {
    stop = () => {};
    child.kill("SIGINT");
  };
  const code = await new Promise((resolve) => child.on("close", resolve));
  assert.equal(code, 1);
  assert.match(stderr, /^interrupted at 2\d{4} of 60000 bytes: the device has ended its update, and starts as before/);
  const before = asked(fixture.console.output).length;
  succeeds(await push(fixture.console), /is in ota_0/);
  assert.ok(
    asked(fixture.console.output)
      .slice(before)
      .some((offset) => offset % SECTOR === 0 && offset >= 4 * SECTOR),
  );
  assert.ok(asked(fixture.console.output).length - before < 50);
  await bootsNew(fixture);
});

test("push says what to look at when nothing answers", options, async (t) => {
  const server = net.createServer((socket) => socket.on("error", () => {}).write("hello\r\nlogin: "));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const url = `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const run = await shop.run("push", "fw.jws", "--key", "key.pub.jwk", "--port", url);
  fails(run, 1, /no Espruino answers, the last line from there is: login:: .*--baud/);
});
