// The programs of examples/, README.md and docs/program.md, as they are: only the address and the key are those of the test. Each runs in
// the virtual device, and those of examples/ in the real interpreter too. What Espruino has and the model has not (pins,
// Wifi, the MQTT module) is faked here, in the language of the device.

import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before as beforeAll, describe, test, type TestContext } from "node:test";
import { type Board, loadBoard } from "../../sim/boards.ts";
import { createDevice, type Device } from "../../sim/device.ts";
import { ESPRUINO, runInEngine, warnWithoutEngine } from "../../real-espruino/engine.ts";
import { checkEs5 } from "../../checks/es5.mjs";
import { installNet } from "../../support/device-net.ts";
import { connectSoon, freePort, PIECE, pushAgain, pushTo, startBlePeer } from "../../support/peers.ts";
import { createFilesFixture, filesClaims, type FilesFixture } from "../../support/files-release.ts";
import { fsverity } from "../../support/fsverity.ts";
import { type Claims, claimsFor, type Key, makeKey, signManifest } from "../../support/release.ts";
import {
  behaves,
  boardWith,
  newImage,
  oldImage,
  plain,
  type Fixture,
  SMALL,
  createFixture,
  nothingHeld,
  until,
} from "../../support/fixture.ts";
import { type Behaviour, type Server, serveFile, startServer, status } from "../../support/server.ts";

warnWithoutEngine();

const FOLDER = new URL("../../../examples/", import.meta.url);
const README = readFileSync(new URL("../../../README.md", import.meta.url), "utf8");
const PROGRAM_PAGE = readFileSync(new URL("../../../docs/program.md", import.meta.url), "utf8");
const NAMES = readdirSync(FOLDER).filter((name) => name.endsWith(".js"));
const textOf = (name: string): string => readFileSync(new URL(name, FOLDER), "utf8");

// --- What a program finds ----------------------------------------------------------------------------------------------

const URL_IN_TEXT = '"https://example.com/firmware/firmware.jws"';
const RELEASE_IN_TEXT = '"https://example.com/app.jws"';
const KEY_IN_TEXT = '{ kty: "RSA", n: "...", e: "AQAB" }';

let key: Key;
beforeAll(async () => {
  key = await makeKey({ exponent: 3 });
});

/** The program with the test's address and key; it must have had both in the form that a reader replaces. */
function filled(text: string, server: Server, url = URL_IN_TEXT): string {
  for (const part of [url, KEY_IN_TEXT]) assert.equal(text.split(part).length, 2, `${part} is not there once`);
  return replaced(text, { [url]: JSON.stringify(server.url("/m.jws")), ...ownKey() });
}

const ownKey = (): Record<string, string> => ({ [KEY_IN_TEXT]: JSON.stringify(key.jwk) });

function replaced(text: string, parts: Record<string, string>): string {
  for (const [part, other] of Object.entries(parts)) {
    assert.equal(text.split(part).length, 2, `${part} is not there once`);
    text = text.replace(part, other);
  }
  return text;
}

const manifestOf = (image: Uint8Array): Promise<string> => signManifest(claimsFor(image), key);

async function offer(
  server: Server,
  image: Uint8Array,
  guard = (behaviour: Behaviour): Behaviour => behaviour,
  claims: Claims = {},
) {
  const manifest = await signManifest(claimsFor(image, claims), key);
  server.on("/m.jws", guard(serveFile(Buffer.from(manifest, "latin1"))));
  server.on("/fw.bin", guard(serveFile(image)));
}

/** Both the model and the interpreter run this before a program. */
const FAKES = `
var told = [];
function tell(text) { told.push(text); if (global.report) report({ told: text }); }
var getSerial = function () { return "aabbccdd-eeff0000"; };
var D0 = { mode: function (mode) { tell("D0 " + mode); } };
var D2 = "D2";
var digitalWrite = function (pin, value) { lights[value]++; };
var lights = [0, 0];
var watched = [];
var setWatch = function (callback, pin, options) { watched.push(options); watch = callback; };
var watch;
var linked = "connected";
Modules.addCached("Wifi", "exports.getDetails = function () { return { status: linked }; };");
var broker = {
  listeners: {},
  on: function (event, listener) { broker.listeners[event] = listener; },
  connect: function () { broker.connected = true; setTimeout(broker.listeners.connected, 1); },
  subscribe: function (topics) { tell("subscribe " + topics.join()); },
  publish: function (topic, message) { tell(topic + " " + message); }
};
Modules.addCached("MQTT", "exports.create = function (host, options) { tell(host + ' ' + options.client_id); return broker; };");
`;

type Example = {
  /** Runs before the program, and after it: what a night, a person or a broker does. */
  before?: string;
  after?: string;
  /** What lies in the other slot. */
  other?: Uint8Array;
  guard?: (behaviour: Behaviour) => Behaviour;
};

const PASSWORD = `Basic ${Buffer.from("lamp:secret").toString("base64")}`;
const withPassword =
  (behaviour: Behaviour): Behaviour =>
  (req, io) =>
    (req.headers.authorization === PASSWORD ? behaviour : status(401))(req, io);

/** A clock that strikes three in two seconds. The interpreter's Linux build cannot set its own. */
const NIGHT = `
var began = getTime();
var realDate = Date;
var Date = function () { this.seconds = Math.floor(3 * 3600 - 2 + getTime() - began); };
Date.prototype.getHours = function () { return Math.floor(this.seconds / 3600); };
Date.prototype.getMinutes = function () { return Math.floor(this.seconds / 60) % 60; };
Date.prototype.getSeconds = function () { return this.seconds % 60; };
Date.now = realDate.now;
Date.parse = realDate.parse;
`;

/** Each ends with a restart into the other slot. */
const EXAMPLES: Record<string, Example> = {
  "nightly.js": { before: NIGHT },
  "mqtt.js": {
    after: 'setTimeout(function () { broker.listeners.publish({ topic: "devices/aabbccdd-eeff0000/update" }); }, 20);',
  },
  "steps.js": {},
  "proxy.js": {
    before: 'require("Storage").write("proxy.json", JSON.stringify({ user: "lamp", password: "secret" }));',
    guard: withPassword,
  },
  "rollback-button.js": {
    other: newImage(),
    after: "watch({ state: true, time: 19, lastTime: 15 }); watch({ state: true, time: 25, lastTime: 20 });",
  },
};

/** An example that takes an image from elsewhere than the server of a release. It ends with a restart into the image. */
type Taking = {
  before?: string;
  /** What the reader would put into the program: old text to new text. */
  parts?: Record<string, string>;
  after?: string;
  /** Beside the running program, and when it has restarted. */
  beside?: () => Promise<void>;
  check?: () => void;
};

/** Files that E.openFile finds by their names alone, as on a card. */
async function onCard(t: TestContext, image: Uint8Array): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "https-ota-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, "firmware.jws"), await signManifest(claimsFor(image, { image: { url: NAMED } }), key));
  writeFileSync(join(folder, "firmware.bin"), image);
  // the interpreter's Linux build opens any file; the model has only what installFiles() gives
  return `
    var openAny = E.openFile;
    E.openFile = function (name, mode) { return openAny(${JSON.stringify(`${folder}/`)} + name, mode); };`;
}

const NAMED = "https://example.com/firmware/firmware.bin";
const COPY_TO_STORAGE = `
["firmware.jws", "firmware.bin"].forEach(function (name) {
  var file = E.openFile(name, "r");
  var size = SIZES[name];
  for (var at = 0; at < size; at += 512) require("Storage").write(name, file.read(512), at, size);
  file.close();
});`;

/** The UART of Bluetooth LE, whose peer is at a TCP port. A second connection comes while the update runs. */
const fakeBle = (port: number): string => `
var link = require("net").connect({ port: ${port} }, function () {
  // a console on Bluetooth takes what comes
  link.on("data", function (data) { if (consoleMoved) bluetooth(data); });
  connected();
  setTimeout(connected, 1);
});
var connected, bluetooth;
var NRF = { on: function (event, listener) { if (event === "connect") connected = listener; } };
var Bluetooth = {
  on: function (event, listener) { if (event === "data") bluetooth = listener; },
  println: function (line) { link.write(line + "\\r\\n"); }
};
var consoleMoved = false;
var Serial1 = { setConsole: function (force) { consoleMoved = force; } };`;

const IN_STORAGE = "from-storage.js: the files of Storage";
/** Storage of the small board has no room for an image. */
const boardOf = (title: string): string => (title === IN_STORAGE ? "esp32" : SMALL);

const TAKING: Record<string, (t: TestContext, image: Uint8Array) => Promise<Taking>> = {
  "from-storage.js: the files of a card": async (t, image) => ({
    before: await onCard(t, image),
    after: "install(fromCard);",
  }),
  [IN_STORAGE]: async (t, image) => {
    const card = await onCard(t, image);
    const manifest = await signManifest(claimsFor(image, { image: { url: NAMED } }), key);
    const sizes = { "firmware.jws": manifest.length, "firmware.bin": image.length };
    return {
      before: `${card}\nvar SIZES = ${JSON.stringify(sizes)};${COPY_TO_STORAGE}`,
      after: "install(fromStorage);",
    };
  },
  "ble-uart.js: what is damaged on the way comes again": async (t, image) => {
    const manifest = await signManifest(claimsFor(image, { image: { url: "firmware.bin" } }), key);
    const files = { "firmware.jws": Buffer.from(manifest), "firmware.bin": image };
    const { port, asked, faults } = await startBlePeer(t, files);
    return {
      before: fakeBle(port),
      check() {
        for (const number of faults.keys()) assert.equal(asked[number], asked[number - 1], faults.get(number));
        const pieces = new Set(asked);
        assert.equal(asked.length, pieces.size + faults.size);
        // the start of the image is in flash blank until the end: 1024 bytes at once, and nothing twice
        assert.ok(pieces.size <= Math.ceil(image.length / 1024) + 4, `${pieces.size} pieces`);
      },
    };
  },
  "tcp-push.js: a connection is cut, the next one goes on": async (_, image) => {
    const port = await freePort();
    return {
      parts: { "PORT = 8266": `PORT = ${port}` },
      async beside() {
        const manifest = await manifestOf(image);
        const first = await pushTo(port, manifest, image, { cut: 29 });
        assert.deepEqual(first, { asked: Array.from({ length: 29 }, (_, i) => i * PIECE), last: "" });
        const second = await pushAgain(port, manifest, image);
        assert.equal(second.last, "done");
        assert.equal(second.asked[0], 0);
        const fromZero = Math.ceil(image.length / PIECE);
        assert.ok(second.asked.length <= fromZero - 20, `asks again for ${second.asked}`);
        assert.deepEqual(
          second.asked,
          [...new Set(second.asked)].sort((a, b) => a - b),
        );
      },
    };
  },
};

// --- In the virtual device ---------------------------------------------------------------------------------------------

/** A device that runs the old image, and the server that has the new one. */
async function start(t: TestContext, { before = "", other, guard }: Example = {}, board?: Board): Promise<Fixture> {
  const load = { factory: oldImage(), ...(other ? { ota_0: other } : {}) };
  const fixture = await createFixture(t, { load, ...(board ? { board } : {}) });
  await offer(fixture.server, fixture.image, guard);
  fixture.device.engine.run(`${FAKES}\n${before}`);
  return fixture;
}

/** The program has restarted the device, into the new image. */
async function endsInNewImage(fixture: Fixture): Promise<void> {
  const { device } = fixture;
  await until("the program restarts the device", () => device.rebootAsked);
  behaves(fixture);
  device.restart();
  assert.equal(device.running, "ota_0");
  assert.deepEqual(device.slot("ota_0", fixture.image.length), fixture.image);
}

/** Runs it; `look` gives what the program has left in a variable, also when the device is off. */
async function runExample(
  t: TestContext,
  name: string,
): Promise<{ fixture: Fixture; look: (variable: string) => any }> {
  const example = EXAMPLES[name];
  const fixture = await start(t, example);
  const { engine } = fixture.device;
  const text = textOf(name);
  const fakes: any = engine.run("({ told: told, lights: lights, watched: watched })");
  engine.run(text.includes(URL_IN_TEXT) ? filled(text, fixture.server) : text, name);
  engine.run(example.after ?? "");
  return { fixture, look: (variable) => plain(fakes[variable]) };
}

test("every example has a test", () => {
  const tested = [...Object.keys(EXAMPLES), ...Object.keys(TAKING).map((title) => title.split(":")[0])];
  const others = ["boot0.js", "measure.js", "neighbour.js"];
  assert.deepEqual(
    NAMES.filter((name) => !tested.includes(name)),
    others,
  );
});

for (const name of NAMES) {
  test(`${name} is ES5 for Espruino, and says how it is used`, () => {
    const text = textOf(name);
    assert.deepEqual(checkEs5(text, name), []);
    assert.match(text, /^\/\/ .{20,}\n/);
    assert.ok(readFileSync(new URL("README.md", FOLDER), "utf8").includes(`](${name})`), "examples/README.md lists it");
  });
}

/** What the program has done besides. */
const CHECKS: Record<string, (look: (variable: string) => any, device: Device, image: Uint8Array) => void> = {
  "mqtt.js"(look) {
    const [created, subscribed, ...published] = look("told");
    assert.equal(created, "192.168.1.10 aabbccdd-eeff0000");
    assert.equal(subscribed, "subscribe fleet/update,devices/aabbccdd-eeff0000/update");
    const states = published.map((text: string) => JSON.parse(text.replace("devices/aabbccdd-eeff0000/state ", "")));
    assert.equal(states[0].running, "factory");
    assert.deepEqual(states.at(-1), { upToDate: false });
    const percents = states.slice(1, -1).map(({ percent }: { percent: number }) => percent);
    assert.ok(percents.length > 5 && percents.at(-1) === 100, String(percents));
    assert.deepEqual(
      percents,
      [...new Set(percents)].sort((a: any, b: any) => a - b),
    );
  },
  "steps.js"(look, device, image) {
    const [off, on] = look("lights");
    assert.ok(off > 5 && on > 5 && off + on > image.length / 4096, `${off} times off, ${on} times on`);
    assert.equal(device.engine.console.at(-1), "100 %");
  },
  "rollback-button.js"(look) {
    assert.deepEqual(look("told"), ["D0 input_pullup"]);
    assert.deepEqual(look("watched"), [{ repeat: true, edge: "rising", debounce: 50 }]);
  },
};

for (const name of Object.keys(EXAMPLES)) {
  test(`${name} restarts into the new image`, async (t) => {
    const { fixture, look } = await runExample(t, name);
    const { device } = fixture;
    await until("the program restarts the device", () => device.rebootAsked);
    CHECKS[name]?.(look, device, fixture.image);
    await endsInNewImage(fixture);
  });
}

test("nightly.js: a busy server is asked again, beside the timer of the next night", async (t) => {
  const fixture = await start(t, EXAMPLES["nightly.js"]);
  const { device, server } = fixture;
  server.on("/m.jws", status(503));
  device.engine.run(filled(textOf("nightly.js"), server), "nightly.js");
  // five connections with pauses, then the program's own pause
  for (let i = 0; i < 200 && !device.engine.console.some((line) => line.includes("503")); i++) {
    await device.engine.advance(1000);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.match(device.engine.console.at(-1) as string, /^ESP_FAIL: .*503/);
  assert.equal(device.engine.accounts().timers, 2);
  await offer(server, fixture.image);
  await device.engine.advance(600_000);
  await endsInNewImage(fixture);
});

test("nightly.js: a refused release is not asked for again that night", async (t) => {
  const fixture = await start(t, EXAMPLES["nightly.js"]);
  const { device, server } = fixture;
  const stranger = await makeKey({ name: "stranger", exponent: 3 });
  const manifest = await signManifest(claimsFor(fixture.image), stranger);
  server.on("/m.jws", serveFile(Buffer.from(manifest, "latin1")));
  device.engine.run(filled(textOf("nightly.js"), server), "nightly.js");
  await until("it is refused", () => device.engine.console.length > 0);
  assert.match(device.engine.console[0], /^ESP_ERR_OTA_VALIDATE_FAILED: /);
  await until("the connection is closed", () => device.engine.accounts().sockets === 0);
  assert.deepEqual(device.engine.accounts(), { sockets: 0, timers: 1, listeners: 0 });
  assert.equal(device.rebootAsked, false);
});

for (const name of ["nightly.js", "mqtt.js", "proxy.js", "README.md"])
  test(`${name}: a release that is not due for this device restarts nothing`, async (t) => {
    const { before, after } = EXAMPLES[name] ?? {};
    const fixture = await start(t, { before });
    const { device, server } = fixture;
    await offer(server, fixture.image, undefined, { format: 2, rollout: { share: 0 } });
    device.engine.run(filled(name === "README.md" ? README_UPDATE : textOf(name), server), name);
    device.engine.run(after ?? "");
    await until("the manifest is read", () => server.requests.length > 0 && device.engine.accounts().sockets === 0);
    // longer than any of them waits before its restart
    for (let n = 0; n < 30; n++) await device.engine.advance(100);
    assert.equal(device.rebootAsked, false);
    behaves(fixture);
  });

test("proxy.js: without the password it says so, and nothing is written", async (t) => {
  const fixture = await start(t, { guard: withPassword });
  const { device } = fixture;
  device.engine.run(filled(textOf("proxy.js"), fixture.server), "proxy.js");
  await until("it is refused", () => device.engine.console.length > 0);
  assert.deepEqual(device.engine.console, ["wrong user or password"]);
  assert.equal(device.flash.counts.erases, fixture.mark.erases);
});

test("steps.js: when the running image is the one that is offered, it says so", async (t) => {
  const fixture = await start(t);
  await offer(fixture.server, oldImage());
  fixture.device.engine.run(filled(textOf("steps.js"), fixture.server), "steps.js");
  await until("it has an answer", () => fixture.device.engine.console.length > 0);
  assert.deepEqual(fixture.device.engine.console, ["up to date"]);
});

// --- An image from elsewhere ------------------------------------------------------------------------------------------

/** E.openFile of the model: files of the host, for reading. */
function installFiles({ engine }: Device): void {
  const set: any = engine.run("(function (open) { E.openFile = open; })");
  set((path: string) => {
    const file = openSync(path, "r");
    let at = 0;
    return {
      seek(offset: number) {
        at = offset;
      },
      read(length: number) {
        const bytes = Buffer.alloc(length);
        const count = readSync(file, bytes, 0, length, at);
        at += count;
        // as Espruino: nothing at the end
        return count ? bytes.toString("latin1", 0, count) : undefined;
      },
      close: () => closeSync(file),
    };
  });
}

/** A device with the network and the files of Espruino, which runs the old image. */
async function startTaking(t: TestContext, board = SMALL, factory = oldImage()): Promise<Fixture> {
  const fixture = await createFixture(t, { board, load: { factory } });
  installNet(t, fixture.device);
  installFiles(fixture.device);
  fixture.device.engine.run(FAKES);
  return fixture;
}

for (const [title, prepare] of Object.entries(TAKING))
  test(title, async (t) => {
    const fixture = await startTaking(t, boardOf(title));
    const { engine } = fixture.device;
    const { before = "", parts, after = "", beside, check } = await prepare(t, fixture.image);
    const [name] = title.split(":");
    engine.run(before);
    engine.run(replaced(textOf(name), { ...ownKey(), ...parts }), name);
    engine.run(after);
    await beside?.();
    await endsInNewImage(fixture);
    check?.();
  });

for (const [what, call] of [
  ["on the card", "install(fromCard)"],
  ["in Storage", "install(fromStorage)"],
])
  test(`from-storage.js: without the files ${what} it says so`, async (t) => {
    const fixture = await startTaking(t);
    const { device } = fixture;
    device.engine.run("E.openFile = function () {};");
    device.engine.run(`${replaced(textOf("from-storage.js"), ownKey())}\n${call};`, "from-storage.js");
    await until("it says so", () => device.engine.console.length > 0);
    assert.match(device.engine.console[0], /^ESP_\w+: ./);
    assert.equal(device.flash.counts.erases, fixture.mark.erases);
    await nothingHeld(device);
  });

/** tcp-push.js in the virtual device: it listens when a peer can connect. */
async function startPushed(t: TestContext): Promise<{ fixture: Fixture; port: number }> {
  const port = await freePort();
  const fixture = await startTaking(t);
  const text = replaced(textOf("tcp-push.js"), { ...ownKey(), "PORT = 8266": `PORT = ${port}` });
  fixture.device.engine.run(text, "tcp-push.js");
  return { fixture, port };
}

test("tcp-push.js: what it refuses, and the next peer is heard", async (t) => {
  const { fixture, port } = await startPushed(t);
  const { device, image } = fixture;
  const manifest = await manifestOf(image);
  const strange = await signManifest(claimsFor(image), await makeKey({ name: "stranger", exponent: 3 }));
  const refusals: [manifest: string, more: number, last: RegExp][] = [
    [strange, 0, /^error ESP_ERR_OTA_VALIDATE_FAILED: ./],
    [await manifestOf(oldImage()), 0, /^error ESP_ERR_INVALID_VERSION: ./],
    ["x".repeat(8193), 0, /^error length of the manifest$/],
    [manifest, 1, /^error more bytes than the device has asked for$/],
  ];
  for (const [text, more, last] of refusals) {
    assert.match((await pushTo(port, text, image, { more })).last, last);
    await until("it has closed", () => device.engine.accounts().timers === 0);
  }
  assert.equal((await pushAgain(port, manifest, image)).last, "done");
  await endsInNewImage(fixture);
});

test("tcp-push.js: a second peer is told that the device is busy", async (t) => {
  const { fixture, port } = await startPushed(t);
  const first = await connectSoon(port);
  assert.equal((await pushTo(port, await manifestOf(fixture.image), fixture.image)).last, "error busy");
  first.destroy();
  assert.equal((await pushAgain(port, await manifestOf(fixture.image), fixture.image)).last, "done");
  await endsInNewImage(fixture);
});

test("tcp-push.js: a peer that is silent is left after a minute", async (t) => {
  const { fixture, port } = await startPushed(t);
  const socket = await connectSoon(port);
  let said = "";
  socket.on("data", (data) => {
    said += data;
  });
  await until("it is heard", () => fixture.device.engine.accounts().timers === 1);
  await fixture.device.engine.advance(60_000);
  await until("it is told", () => said !== "");
  assert.equal(said, "error silence\n");
  await until("no timer is left", () => fixture.device.engine.accounts().timers === 0);
});

test("ble-uart.js: a refused release ends the questions", async (t) => {
  const fixture = await startTaking(t);
  const { engine } = fixture.device;
  const strange = await signManifest(claimsFor(fixture.image), await makeKey({ name: "stranger", exponent: 3 }));
  const ble = await startBlePeer(t, { "firmware.jws": Buffer.from(strange) });
  ble.faults.clear();
  engine.run(fakeBle(ble.port));
  engine.run(replaced(textOf("ble-uart.js"), ownKey()), "ble-uart.js");
  for (const times of [1, 2]) {
    await until("it says so", () => ble.said.length === times);
    assert.match(ble.said[times - 1], /^ESP_ERR_OTA_VALIDATE_FAILED: ./);
    assert.equal(ble.asked.length, 2 * times);
    await until("no timer is left", () => engine.accounts().timers === 0);
    engine.run("connected();");
  }
});

// --- A neighbour -------------------------------------------------------------------------------------------------------

const neighbourText = (server: Server, port: number): string =>
  replaced(filled(textOf("neighbour.js"), server), { "PORT = 8080": `PORT = ${port}` });

/** A device that runs `image` and serves it, in the model or in the interpreter. Resolves when it listens. */
async function startNeighbour(t: TestContext, image: Uint8Array, inEngine: boolean): Promise<number> {
  const port = await freePort();
  if (!inEngine) {
    const fixture = await startTaking(t, SMALL, image);
    fixture.device.engine.run(`${neighbourText(fixture.server, port)}\nserve();`, "neighbour.js");
  } else {
    const server = await startServer();
    const stop = await freePort();
    const device = createDevice({ board: SMALL, images: { factory: image } });
    const program = `${neighbourText(server, port)}\nserve();\nrequire("net").createServer(finish).listen(${stop});`;
    const run = runInEngine(device, program, { timeoutMs: 120_000 });
    t.after(async () => {
      (await connectSoon(stop)).destroy();
      assert.doesNotMatch((await run).output, /Uncaught|WARNING/);
      await server.close();
    });
  }
  (await connectSoon(port)).destroy();
  return port;
}

/** Only the manifest is at the origin. */
async function offerManifest(server: Server, image: Uint8Array): Promise<void> {
  server.on("/m.jws", serveFile(Buffer.from(await manifestOf(image), "latin1")));
}

function serves(inEngine: boolean): void {
  test("neighbour.js: a device updates from another one", async (t) => {
    const port = await startNeighbour(t, newImage(), inEngine);
    const fixture = await startTaking(t);
    await offerManifest(fixture.server, fixture.image);
    const { engine } = fixture.device;
    engine.run(`${neighbourText(fixture.server, port)}\nupdateFrom("127.0.0.1");`, "neighbour.js");
    await endsInNewImage(fixture);
    assert.deepEqual(
      fixture.server.requests.map(({ path }) => path),
      ["/m.jws"],
    );
  });

  test("neighbour.js: the image that it serves ends where the file ended", async (t) => {
    const image = newImage();
    const size = image.length;
    const port = await startNeighbour(t, image, inEngine);
    const whole = await fetch(`http://127.0.0.1:${port}/fw.bin`);
    assert.equal(whole.status, 200);
    assert.deepEqual(new Uint8Array(await whole.arrayBuffer()), image);
    for (const [range, from, to] of [
      ["bytes=0-0", 0, 1],
      ["bytes=5-5004", 5, 5005],
      [`bytes=${size - 100}-`, size - 100, size],
      [`bytes=1000-${size + 9}`, 1000, size],
    ] as const) {
      const part = await fetch(`http://127.0.0.1:${port}/`, { headers: { Range: range } });
      assert.equal(part.status, 206, range);
      assert.equal(part.headers.get("content-range"), `bytes ${from}-${to - 1}/${size}`);
      assert.deepEqual(new Uint8Array(await part.arrayBuffer()), image.subarray(from, to));
    }
    for (const range of [`bytes=${size}-`, "bytes=-5", "bytes=9-5", "bytes=a"]) {
      const refused = await fetch(`http://127.0.0.1:${port}/`, { headers: { Range: range } });
      assert.equal(refused.status, 416, range);
    }
  });
}

serves(false);

test("neighbour.js: a neighbour that runs another image is refused", async (t) => {
  const port = await startNeighbour(t, newImage("esp32", 9), false);
  const fixture = await startTaking(t);
  const { device, server } = fixture;
  await offerManifest(server, fixture.image);
  device.engine.run(`${neighbourText(server, port)}\nupdateFrom("127.0.0.1");`, "neighbour.js");
  await until("it is refused", () => device.engine.console.length > 0);
  assert.match(device.engine.console[0], /^ESP_ERR_OTA_VALIDATE_FAILED: /);
  device.restart();
  assert.equal(device.running, "factory");
});

// --- Trials ------------------------------------------------------------------------------------------------------------

const blocks = (markdown: string): string[] =>
  [...markdown.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map(([, code]) => code);
const [README_TRIAL, README_UPDATE, ...others] = blocks(README);
const [RELEASED_PROGRAM, ...othersOfPage] = blocks(PROGRAM_PAGE);

/** A device that has just started an image for the first time. */
async function onTrial(t: TestContext): Promise<Fixture> {
  const fixture = await createFixture(t);
  const { error } = await fixture.update({ digest: `fsverity-sha256:${fsverity(fixture.image)}` });
  assert.ifError(error);
  fixture.device.restart();
  assert.equal(fixture.device.running, "ota_0");
  return fixture;
}

for (const [title, text] of [
  ["boot0.js", () => textOf("boot0.js")],
  ["README: the file .boot0", () => README_TRIAL],
] as const) {
  test(`${title} confirms an image with Wi-Fi`, async (t) => {
    const fixture = await onTrial(t);
    const { device } = fixture;
    device.engine.run(`${FAKES}\n${text()}`);
    await device.engine.advance(59_000);
    assert.deepEqual(plain(device.ota.getStatus()).trial, { boots: 1, previous: "factory" });
    await device.engine.advance(1000);
    await until("the trial is over", () => plain(device.ota.getStatus()).trial === null);
    assert.equal(device.rebootAsked, false);
    behaves(fixture);
  });

  test(`${title} rolls an image without Wi-Fi back`, async (t) => {
    const fixture = await onTrial(t);
    const { device } = fixture;
    device.engine.run(`${FAKES}\nlinked = "connecting";\n${text()}`);
    await device.engine.advance(60_000);
    await until("it restarts", () => device.rebootAsked);
    if (title === "boot0.js") assert.match(device.engine.console.join(), /^ROLLBACK: .+/);
    device.restart();
    assert.equal(device.running, "factory");
  });
}

// --- Measuring ---------------------------------------------------------------------------------------------------------

/** Runs measure.js; what it has erased and programmed, as the partitions that hold it. */
async function measure(
  fixture: Fixture,
  options: object,
): Promise<{ lines: string[]; touched: string[]; results: any }> {
  const { device } = fixture;
  const since = device.flash.log.length;
  device.engine.run(textOf("measure.js"), "measure.js");
  const results: any = await device.engine.call(device.engine.run(`measure(${JSON.stringify(options)})`));
  const labels = device.flash.log
    .slice(since)
    .map(
      ({ addr, length }) =>
        device.board.rows.find(({ offset, size }) => addr >= offset && addr + length <= offset + size)?.label ?? "none",
    );
  return { lines: device.engine.console.slice(), touched: [...new Set(labels)], results: plain(results) };
}

/** The rows of the table in `text` that has these columns. */
function tableIn(text: string): string[][] {
  const lines = text.slice(text.indexOf("| what | field | model | measured |")).split(/\r?\n/);
  const end = lines.findIndex((line) => !line.startsWith("| ") && !line.startsWith("|-"));
  return lines.slice(2, end < 0 ? undefined : end).map((line) =>
    line
      .slice(1, -1)
      .split("|")
      .map((cell) => cell.trim()),
  );
}

/** What measure.js has measured. The rest of its table stands in the page that explains it. */
function measuredIn(output: string): string[] {
  const page = readFileSync(new URL("../../../docs/timing.md", import.meta.url), "utf8");
  const printed = tableIn(output);
  const known = (table: string[][]) => table.map((row) => row.slice(0, 3));
  assert.deepEqual(known(printed), known(tableIn(page)));
  return printed.map((row) => row[3]);
}

const isNumber = (cell: string): boolean => /^\d+(\.\d+)?$/.test(cell);

test("measure.js erases the other slot alone, and prints the table of docs/timing.md", async (t) => {
  const fixture = await start(t, { other: newImage() });
  const { device, server } = fixture;
  const { lines, touched, results } = await measure(fixture, { url: server.url("/fw.bin"), eraseOtherSlot: true });
  assert.deepEqual(touched, ["ota_0"]);
  assert.deepEqual(device.flash.violations, []);
  assert.ok(measuredIn(lines.join("\n")).every(isNumber), lines.join("\n"));
  assert.equal(device.flash.counts.erases - fixture.mark.erases, 1 + 2 * 14);
  assert.deepEqual(device.slot("ota_0", 15 * 4096), new Uint8Array(15 * 4096).fill(0xff));
  assert.equal(Object.keys(results).length, 10);
  behaves(fixture);
});

test("measure.js without eraseOtherSlot writes nothing", async (t) => {
  const fixture = await start(t);
  for (const options of [{}, { eraseOtherSlot: 1 }]) {
    const { lines, touched } = await measure(fixture, options);
    assert.deepEqual(touched, []);
    assert.ok(lines.includes("nothing is erased: eraseOtherSlot is not true"));
    assert.equal(measuredIn(lines.join("\n")).filter(isNumber).length, 5);
  }
});

test("measure.js refuses without another slot", async (t) => {
  const rows = loadBoard(SMALL).rows.filter(({ label }) => label !== "ota_0");
  const fixture = await start(t, {}, boardWith(rows));
  const { lines, touched } = await measure(fixture, { eraseOtherSlot: true });
  assert.deepEqual(touched, []);
  assert.match(lines.find((line) => line.startsWith("not measured")) as string, /^not measured: .{10,}/);
});

test("measure.js refuses while an update waits for its restart", async (t) => {
  const fixture = await createFixture(t);
  const { error } = await fixture.update({ digest: `fsverity-sha256:${fsverity(fixture.image)}` });
  assert.ifError(error);
  const { lines, touched } = await measure(fixture, { eraseOtherSlot: true });
  assert.deepEqual(touched, []);
  assert.ok(
    lines.some((line) => line.endsWith("slot ota_0 is selected for the next start, and factory runs: restart first")),
  );
});

test("measure.js refuses while the running image is on trial", async (t) => {
  const fixture = await onTrial(t);
  const { device } = fixture;
  device.engine.run('require("https-ota").boot({ attempts: 3 })');
  const { lines, touched } = await measure(fixture, { eraseOtherSlot: true });
  assert.deepEqual(touched, []);
  assert.ok(
    lines.some((line) => line.endsWith("the running image is on trial and may need slot factory: confirm it first")),
  );
});

test("measure.js says that an erase did nothing", async (t) => {
  const fixture = await start(t, { other: newImage() });
  fixture.device.flash.faults = { silentErase: () => true };
  const { lines } = await measure(fixture, { eraseOtherSlot: true });
  assert.ok(lines.includes("not measured: flash at 0x20000 did not take an erase or a write"), lines.join("\n"));
});

test("measure.js says why nothing was downloaded, and prints the rest", async (t) => {
  const fixture = await start(t);
  fixture.server.on("/gone", status(404));
  const { lines } = await measure(fixture, { url: fixture.server.url("/gone") });
  assert.ok(lines.includes("not measured: no download: HTTP status 404"), lines.join("\n"));
  assert.ok(measuredIn(lines.join("\n")).some(isNumber));
});

// --- README ------------------------------------------------------------------------------------------------------------

test("README and docs/program.md: three programs, all ES5 for Espruino", () => {
  assert.deepEqual([...others, ...othersOfPage], [], "a program that no test runs");
  for (const code of [README_TRIAL, README_UPDATE, RELEASED_PROGRAM]) assert.deepEqual(checkEs5(code, "a page"), []);
});

test("README: the program that updates restarts into the new image", async (t) => {
  const fixture = await start(t);
  fixture.device.engine.run(filled(README_UPDATE, fixture.server), "README.md");
  await endsInNewImage(fixture);
});

test("README: the program that updates says why it was refused", async (t) => {
  const fixture = await start(t);
  const stranger = await makeKey({ name: "stranger", exponent: 3 });
  const manifest = await signManifest(claimsFor(fixture.image), stranger);
  fixture.server.on("/m.jws", serveFile(Buffer.from(manifest, "latin1")));
  fixture.device.engine.run(filled(README_UPDATE, fixture.server), "README.md");
  await until("it is refused", () => fixture.device.engine.console.length > 0);
  assert.match(fixture.device.engine.console[0], /^ESP_ERR_OTA_VALIDATE_FAILED .*\(refused\)$/);
});

/** A device whose release is the program of docs/program.md, and where its next release will be. */
async function runProgram(t: TestContext): Promise<{ fixture: FilesFixture; app: string; url: string }> {
  const fixture = await createFilesFixture(t, { key });
  const { device, server } = fixture;
  const wifi =
    'var linked = "connected"; Modules.addCached("Wifi", "exports.getDetails = function () { return { status: linked }; };");';
  const app = `${wifi}\n${filled(RELEASED_PROGRAM, server, RELEASE_IN_TEXT)}`;
  const { error } = await fixture.install({ "app.js": app }, { version: "1.0" });
  assert.ifError(error);
  device.restart();
  assert.deepEqual(device.engine.console, ["first start of 1.0"]);
  return { fixture, app, url: "/m.jws" };
}

test("docs/program.md: a release's program confirms itself and installs the next one", async (t) => {
  const { fixture, app, url } = await runProgram(t);
  const { device, server } = fixture;
  await device.engine.advance(61_000);
  assert.equal(plain(device.ota.getStatus()).trial, null);
  const next = { "app.js": app.replace("first start of ", "first start, now of ") };
  server.on(url, serveFile(Buffer.from(await signManifest(filesClaims(next, { version: "2.0", sequence: 900 }), key))));
  server.on("/files/app.js", serveFile(Buffer.from(next["app.js"])));
  await device.engine.advance(3_600_000);
  await until("it restarts", () => device.rebootAsked);
  device.restart();
  assert.deepEqual(device.engine.console, ["first start, now of 2.0"]);
});

test("docs/program.md: the program of a release is taken back without Wi-Fi", async (t) => {
  const { fixture } = await runProgram(t);
  const { device } = fixture;
  device.engine.run('linked = "connecting"');
  await device.engine.advance(61_000);
  await until("it restarts", () => device.rebootAsked);
  device.restart();
  assert.equal(plain(device.ota.getStatus()).release, null);
});

// --- In the real interpreter -------------------------------------------------------------------------------------------

describe("in the real interpreter", { skip: ESPRUINO ? false : "ESPRUINO is not set" }, () => {
  for (const [name, { before = "", after = "", other, guard }] of Object.entries(EXAMPLES)) {
    test(`${name} restarts into the new image`, async () => {
      const image = newImage();
      const device = createDevice({
        board: SMALL,
        images: { factory: oldImage(), ...(other ? { ota_0: other } : {}) },
      });
      const server = await startServer();
      try {
        await offer(server, image, guard);
        const text = textOf(name);
        const program = text.includes(URL_IN_TEXT) ? filled(text, server) : text;
        const run = await runInEngine(device, `${FAKES}\n${before}\n${program}\n${after}`, { timeoutMs: 120_000 });
        assert.ok(
          run.reports.some((one) => one.reboot),
          run.output,
        );
        assert.equal(run.boot.slot?.label, "ota_0", run.output);
        assert.deepEqual(device.slot("ota_0", image.length), image);
        assert.doesNotMatch(run.output, /Uncaught|WARNING/);
      } finally {
        await server.close();
      }
    });
  }

  for (const [title, prepare] of Object.entries(TAKING))
    test(title, async (t) => {
      const image = newImage();
      const device = createDevice({ board: boardOf(title), images: { factory: oldImage() } });
      const { before, parts, after, beside, check } = await prepare(t, image);
      const program = replaced(textOf(title.split(":")[0]), { ...ownKey(), ...parts });
      const [run] = await Promise.all([
        runInEngine(device, [FAKES, before, program, after].join("\n"), { timeoutMs: 120_000 }),
        beside?.(),
      ]);
      assert.equal(run.boot.slot?.label, "ota_0", run.output);
      assert.deepEqual(device.slot("ota_0", image.length), image);
      assert.doesNotMatch(run.output, /Uncaught|WARNING/);
      check?.();
    });

  serves(true);

  test("neighbour.js: a device updates from another one, in the interpreter", async (t) => {
    const image = newImage();
    const port = await startNeighbour(t, image, false);
    const device = createDevice({ board: SMALL, images: { factory: oldImage() } });
    const server = await startServer();
    t.after(() => server.close());
    await offerManifest(server, image);
    const run = await runInEngine(device, `${neighbourText(server, port)}\nupdateFrom("127.0.0.1");`);
    assert.equal(run.boot.slot?.label, "ota_0", run.output);
    assert.deepEqual(device.slot("ota_0", image.length), image);
    assert.doesNotMatch(run.output, /Uncaught|WARNING/);
  });

  test("measure.js erases the other slot alone, and prints its table", async () => {
    const device = createDevice({ board: SMALL, images: { factory: oldImage(), ota_0: newImage() } });
    const server = await startServer();
    try {
      server.on("/fw.bin", serveFile(newImage()));
      const { offset, size } = device.row("ota_0");
      const before = device.dump();
      const options = JSON.stringify({ url: server.url("/fw.bin"), eraseOtherSlot: true });
      const run = await runInEngine(
        device,
        `${textOf("measure.js")}\nmeasure(${options}).then(report, reportError).then(finish);`,
      );
      assert.ok(measuredIn(run.output).every(isNumber), run.output);
      assert.deepEqual(run.counts.erases, 1 + 2 * 14);
      const after = device.dump();
      assert.deepEqual(after.subarray(offset, offset + 15 * 4096), new Uint8Array(15 * 4096).fill(0xff));
      after.set(before.subarray(offset, offset + size), offset);
      assert.ok(Buffer.compare(after, before) === 0, "flash beside the other slot has changed");
      assert.doesNotMatch(run.output, /Uncaught|WARNING/);
    } finally {
      await server.close();
    }
  });
});
