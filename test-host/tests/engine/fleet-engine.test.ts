// poll() and report() in the real interpreter.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ESPRUINO, runInEngine, warnWithoutEngine } from "../../real-espruino/engine.ts";
import { createDevice } from "../../sim/device.ts";
import { collect } from "../../support/collector.ts";
import { buildImage } from "../../support/images.ts";
import { claimsFor, makeKey, signManifest } from "../../support/release.ts";
import { serveFile, startServer } from "../../support/server.ts";

warnWithoutEngine();
const options = { skip: ESPRUINO ? false : "ESPRUINO is not set" };

test("report() posts JSON, poll() installs by itself and reports it", options, async (t) => {
  const server = await startServer();
  t.after(() => server.close());
  const collector = await collect(t);
  const key = await makeKey();
  const image = buildImage({ size: 12288, seed: 2, descriptor: { version: "2.0.2" } });
  const rollout = { format: 2, rollout: { share: 100 } };
  server.on("/fw.bin", serveFile(image, { ranges: true }));
  server.on("/m.jws", serveFile(Buffer.from(await signManifest(claimsFor(image, rollout), key))));
  const run = await runInEngine(
    createDevice(),
    `ota.report(${JSON.stringify(collector.url)}).then(function (code) {
      report({ code: code });
      ota.poll({ url: ${JSON.stringify(server.url("/m.jws"))}, keys: ${JSON.stringify([key.jwk])}, every: 2000,
        report: ${JSON.stringify(collector.url)},
        ready: function (offer) { report({ available: offer.available, due: offer.due }); return true; },
        installed: function (result) { report({ installed: result.partition.label }); setTimeout(finish, 1000); },
        failed: reportError });
    }, function (error) { reportError(error); finish(); });`,
  );
  assert.deepEqual(run.reports, [{ code: 0 }, { available: true, due: 0 }, { installed: "ota_0" }], run.output);
  const bodies = collector.posts.map(({ body }) => JSON.parse(body));
  assert.equal(bodies.length, 2, run.output);
  assert.deepEqual(
    bodies.map(({ running, boot }) => [running, boot]),
    [
      ["factory", "factory"],
      ["factory", "ota_0"],
    ],
  );
});
