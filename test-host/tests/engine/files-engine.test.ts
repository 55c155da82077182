// Releases of files in the real interpreter: its own Storage, and the loader as it evaluates it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ESPRUINO, runInEngine, warnWithoutEngine } from "../../real-espruino/engine.ts";
import { createDevice } from "../../sim/device.ts";
import { filesClaims, loaderWith, MODULE, programOf, storedName } from "../../support/files-release.ts";
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
  return `${write(".boot0", loaderWith(config))}\n${write("https-ota", MODULE)}`;
}

const BOOT = 'eval(require("Storage").read(".boot0"));';

async function publish(path: string, files: Record<string, string | Uint8Array>, changes = {}): Promise<string> {
  for (const [name, content] of Object.entries(files))
    server.on(`${path}/files/${encodeURIComponent(name)}`, serveFile(Buffer.from(content as never), { ranges: true }));
  server.on(`${path}/m.jws`, serveFile(Buffer.from(await signManifest(filesClaims(files, changes), key))));
  return `{ url: ${JSON.stringify(server.url(`${path}/m.jws`))}, keys: ${JSON.stringify([key.jwk])}, retries: 0 }`;
}

test("a release of files is installed, started by the loader at the top level, and confirmed", options, async () => {
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
