// Which partition an image reads Storage through, looked for in the real interpreter: its indexOf takes the beginning of
// a needle at the end of a text for the needle.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createDevice } from "../../sim/device.ts";
import { ESPRUINO, runInEngine, warnWithoutEngine } from "../../real-espruino/engine.ts";
import { buildImage, reseal } from "../../support/images.ts";
import * as serve from "../../support/server.ts";

warnWithoutEngine();
const options = { skip: ESPRUINO ? false : "ESPRUINO is not set" };

let server: serve.Server;
before(async () => {
  server = await serve.startServer();
});
after(() => server.close());

const PIECE = 1024;
const STEP = PIECE - "Couldn't map ".length;

/** An image whose first segment has "C" at the end of each piece that is read, and `text` behind the descriptor. */
function imageWith(text: string): Uint8Array {
  const image = buildImage({ size: 65536, seed: 2, descriptor: { version: "2.0" } });
  for (let at = PIECE - 1; at < 24000; at += STEP) if (at > 400) image[at] = "C".charCodeAt(0);
  image.set(Buffer.from(`\0${text}\0`, "latin1"), 3 * STEP + 500);
  return reseal(image);
}

async function install(text: string) {
  const device = createDevice();
  server.on("/fw.bin", serve.serveFile(imageWith(text)));
  return runInEngine(
    device,
    `ota.update({ url: ${JSON.stringify(server.url("/fw.bin"))}, insecure: true }).then(
      function (result) { report(result.partition.label); finish(); },
      function (error) { reportError(error); finish(); });`,
  );
}

test("an image without the text is installed, whatever its pieces end with", options, async () => {
  const run = await install("nothing of interest");
  assert.deepEqual(run.reports, ["ota_0"], run.output);
});

test("an image that reads through js_code is refused on a table without it", options, async () => {
  const run = await install("Couldn't map js_code!");
  assert.match(JSON.stringify(run.reports), /partition js_code, which this table does not have/, run.output);
  assert.equal(run.boot.slot?.label, "factory");
});

test("an image that reads through storage is installed where the running build does", options, async () => {
  const run = await install("Couldn't map 'storage'!");
  assert.deepEqual(run.reports, ["ota_0"], run.output);
});
