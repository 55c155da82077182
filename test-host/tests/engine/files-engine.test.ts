// Releases of files in the real interpreter: its own Storage, and the loader as it evaluates it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { ESPRUINO, runInEngine, warnWithoutEngine } from "../../real-espruino/engine.ts";
import { createDevice } from "../../sim/device.ts";
import { filesClaims, loaderWith, MODULE, programOf, storedName } from "../../support/files-release.ts";
import { sample } from "../../support/property.ts";
import { type Key, makeKey, signManifest } from "../../support/release.ts";
import { type Server, serveFile, startServer } from "../../support/server.ts";

warnWithoutEngine();
const options = { skip: ESPRUINO ? false : "ESPRUINO is not set" };

let server: Server;
let key: Key;
before(async () => {
  server = await startServer();
  key = await makeKey();
});
after(() => server.close());

const FILES = {
  "lib/sensor.js": "exports.read = function () { return 42; };",
  "app.js": programOf("1", 'var value = require("lib/sensor").read(); let later = function () { return value + 1; };'),
  "logo.img": Buffer.from([0, 255, 1, 255, 255]),
};

/**
 * The loader's name here. The interpreter runs .boot0 when it starts, before device.js has put a virtual ESP32 around it.
 */
const LOADER = ".loader";

/** Writes the loader and the module into Storage, in pieces: the text of a program is kept in JsVars. */
function prepare(config: object = {}): string {
  const write = (name: string, bytes: Uint8Array) => {
    const lines: string[] = [];
    for (let at = 0; at < bytes.length; at += 1024)
      lines.push(
        `require("Storage").write(${JSON.stringify(name)}, atob("${Buffer.from(bytes.subarray(at, at + 1024)).toString("base64")}"), ${at}, ${at ? 0 : bytes.length});`,
      );
    return lines.join("\n");
  };
  return `${write(LOADER, loaderWith(config))}\n${write("https-ota", MODULE)}`;
}

const BOOT = `eval(require("Storage").read("${LOADER}"));`;

async function publish(path: string, files: Record<string, string | Uint8Array>, changes = {}): Promise<string> {
  for (const [name, content] of Object.entries(files))
    server.on(`${path}/files/${encodeURIComponent(name)}`, serveFile(Buffer.from(content as never), { ranges: true }));
  server.on(`${path}/m.jws`, serveFile(Buffer.from(await signManifest(filesClaims(files, changes), key))));
  return `{ url: ${JSON.stringify(server.url(`${path}/m.jws`))}, keys: ${JSON.stringify([key.jwk])}, retries: 0 }`;
}

test("a release of files is installed, started at the top level, and confirmed", options, async () => {
  const device = createDevice({ board: "esp32" });
  const config = await publish("/one", FILES, { version: "1.0" });
  await runInEngine(device, `${prepare()} finish();`);
  const first = await runInEngine(
    device,
    `${BOOT} report(E.otaSet);
    ota.update(${config}).then(function (r) { report(r); finish(); }, function (e) { reportError(e); finish(); });`,
  );
  assert.equal(first.reports[0], "", first.output);
  assert.equal(first.reports[1]?.upToDate, false, first.output);
  const second = await runInEngine(
    device,
    `${BOOT} report([running, value, later(), E.otaRan, ota.file("logo.img"), ota.getStatus().trial, ota.getStatus().release]);
    ota.markValid(); report(ota.getStatus().trial); finish();`,
  );
  assert.deepEqual(
    second.reports,
    [
      [
        "1",
        42,
        43,
        true,
        storedName(FILES["logo.img"]),
        { boots: 1, previous: "factory" },
        { version: "1.0", entry: "app.js", files: Object.keys(FILES) },
      ],
      null,
    ],
    second.output,
  );
});

/** How often the interpreter is killed. */
const KILLS = Number(process.env.FILES_KILLS ?? 100);
/** ms after the start of the interpreter, at most; an update takes about as long. */
const LATEST = 4000;

/**
 * Installs the other one of two releases at each start, and confirms what runs on trial. A device that finds no room says
 * so, and is compacted while nothing is killed.
 */
const ALTERNATE = (configs: string[]) => `${BOOT}
report({ running: typeof running === "undefined" ? "none" : running + "/" + require("lib/sensor").of, said: E.otaRan });
if (ota.getStatus().trial) ota.markValid();
var config = running === "1" ? ${configs[1]} : ${configs[0]};
config.allowDowngrade = true;
ota.update(config).then(function (r) { report({ done: true }); finish(); }, function (e) { reportError(e); finish(); });`;

test(`the interpreter is killed ${KILLS} times in updates: one whole release runs`, options, async (t) => {
  const device = createDevice({ board: "esp32" });
  const files = (version: string) => ({
    "lib/sensor.js": `exports.of = "${version}";`,
    "app.js": programOf(version, 'running += "";'),
    "table.bin": version.repeat(3000),
  });
  const configs = [
    await publish("/kill1", files("1"), { version: "1" }),
    await publish("/kill2", files("2"), { version: "2" }),
  ];
  await runInEngine(device, `${prepare()} finish();`);
  const first = await runInEngine(
    device,
    `${BOOT} ota.update(${configs[0]}).then(function () { finish(); }, function (e) { reportError(e); finish(); });`,
  );
  assert.deepEqual(first.reports, [], first.output);
  const delays = sample(fc.nat(LATEST), Number(process.env.CAMPAIGN_SEED ?? 7), 2 * KILLS);
  let runs = 0;
  const seen: Record<string, number> = {};
  const count = (what: string) => {
    seen[what] = (seen[what] ?? 0) + 1;
  };
  for (let kills = 0; kills < KILLS; ) {
    const timeoutMs = 400 + delays[runs++ % delays.length];
    const run = await runInEngine(device, ALTERNATE(configs), { timeoutMs, mayHang: true });
    if (run.hung) kills++;
    const [start, end] = run.reports;
    // killed three times before it could confirm, as on a slow machine: the loader went back, and restarts
    if (start?.reboot) {
      count("starts ran out");
      continue;
    }
    if (start) {
      assert.match(start.running, /^(1\/1|2\/2)$/, run.output);
      count(`runs ${start.running}`);
    }
    assert.doesNotMatch(run.output, /corrupt/i);
    if (end?.done) count("installed");
    if (end?.error) {
      count(end.name);
      assert.equal(end.name, "ESP_ERR_NO_MEM", run.output);
      await runInEngine(device, 'require("Storage").compact(); finish();');
    }
    if (!start && !run.hung) assert.fail(run.output);
  }
  t.diagnostic(JSON.stringify(seen));
  const last = await runInEngine(
    device,
    `${BOOT} report([running, require("lib/sensor").of, require("Storage").read("https-ota") === undefined, E.CRC32(require("Storage").read("${LOADER}"))]); finish();`,
  );
  assert.equal(last.reports[0]?.[0], last.reports[0]?.[1], last.output);
  assert.equal(last.reports[0][2], false);
});
