// What anybody on the path can send, in the real interpreter with little memory: texts of separators, which natives that
// make a piece per separator answer with a crash.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createDevice } from "../device.ts";
import { BALLAST } from "../engine/ballast.ts";
import { ESPRUINO, runInEngine, warnWithoutEngine } from "../engine/engine.ts";
import { makeKey } from "../release.ts";
import * as serve from "../server.ts";

warnWithoutEngine();
const options = { skip: ESPRUINO ? false : "ESPRUINO is not set" };

const key = await makeKey();
let server: serve.Server;
before(async () => {
  server = await serve.startServer();
});
after(() => server.close());

const MAX_MANIFEST = 8192;
const header = Buffer.from(JSON.stringify({ alg: "PS256", typ: "https-ota+jws", kid: key.kid })).toString("base64url");

/** What is served as the manifest. */
const TEXTS: Record<string, string> = {
  ...Object.fromEntries([...'._-/"{[,:\\'].map((one) => [`8192 of ${one}`, one.repeat(MAX_MANIFEST)])),
  "a signature of hyphens": `${header}.e30.${"-".repeat(MAX_MANIFEST - header.length - 5)}`,
  "a payload of hyphens": `${header}.${"-".repeat(MAX_MANIFEST - header.length - 400)}.${"A".repeat(342)}`,
  "a header of hyphens": `${"-".repeat(MAX_MANIFEST - 400)}.e30.${"A".repeat(342)}`,
};

/** Runs an update with so many free JsVars, and says what it ended with: the interpreter must live to tell. */
async function outcome(free: number): Promise<{ code: number | null; name: string; output: string }> {
  const run = await runInEngine(
    createDevice(),
    `${BALLAST}
    var config = { url: ${JSON.stringify(server.url("/m.jws"))}, keys: ${JSON.stringify([key.jwk])}, retries: 0, timeout: 2000 };
    setTimeout(function () {
      fill(${free});
      ota.update(config).then(function () { release(); report({ name: "installed" }); finish(); },
        function (error) { release(); reportError(error); finish(); });
    }, 100);`,
  );
  return { code: run.exitCode, name: run.reports[0]?.name, output: run.output };
}

for (const free of [2200, 3000, 4000]) {
  for (const [what, text] of Object.entries(TEXTS))
    test(`${what} as a manifest end in an error, with ${free} free JsVars`, options, async () => {
      server.on("/m.jws", serve.serveFile(Buffer.from(text)));
      const { code, name, output } = await outcome(free);
      assert.equal(code, 0, output);
      // with the least memory the engine drops the text, or the handler that takes it, in the middle
      assert.match(name, /^ESP_ERR_(OTA_VALIDATE_FAILED|NO_MEM|HTTP_INCOMPLETE_DATA|HTTP_READ_TIMEOUT)$/, output);
    });

  for (const count of [2000, 3000])
    test(`a Location of ${count} slashes ends in an error, with ${free} free JsVars`, options, async () => {
      server.on("/m.jws", (_req, io) => {
        io.write(`HTTP/1.1 302 Found\r\nLocation: a${"/".repeat(count)}b\r\nContent-Length: 0\r\n\r\n`);
        io.end();
      });
      const { code, name, output } = await outcome(free);
      assert.equal(code, 0, output);
      assert.match(name, /^ESP_(FAIL|ERR_)/, output); // the path is not there
    });
}
