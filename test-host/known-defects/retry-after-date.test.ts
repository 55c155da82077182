// Retry-After with a date, from a server that sends no Date
import assert from "node:assert/strict";
import { test } from "node:test";
import { createDevice } from "../device.ts";
import { runInEngine } from "../engine/engine.ts";
import { buildImage } from "../images.ts";
import { serveFile, startServer } from "../server.ts";
test("retry-after date without Date", async (t) => {
  const server = await startServer();
  t.after(() => server.close());
  const IMAGE = buildImage({ size: 20000, seed: 2 });
  let n = 0;
  server.on("/fw.bin", async (req, io) => {
    if (n++) return serveFile(IMAGE)(req, io);
    await io.head(503, { "Retry-After": new Date(Date.now() + 2000).toUTCString(), "Content-Length": 0 });
    io.end();
  });
  const device = createDevice({ board: "toy-factory-one" });
  const run = await runInEngine(
    device,
    `
    var t0 = getTime();
    setTimeout(function () { report("still waiting after 8 s"); finish(); }, 8000);
    ota.update({ url: "${server.url("/fw.bin")}", insecure: true }).then(function (r) { report({ ok: true, after: getTime() - t0 }); finish(); }, function (e) {
      report({ name: e.name, message: e.message, after: getTime() - t0 }); finish();
    });`,
    { timeoutMs: 90000 },
  );
  console.log(run.reports);
  assert.equal(run.reports[0].ok, true);
});
