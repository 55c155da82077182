import assert from "node:assert/strict";
import { test } from "node:test";
import { buildImage } from "../images.ts";
import { claimsFor, makeKey, signManifest } from "../release.ts";
import { hasten } from "../bundle.ts";
import { startScene, plain } from "../scenario.ts";
import * as serve from "../server.ts";
const IMAGE = buildImage({ size: 20000, seed: 2, descriptor: { version: "2" } });
const key = await makeKey({ exponent: 3 });
async function signed(t: any, image = IMAGE, claims: any = {}) {
  const scene = await startScene(t, { image });
  hasten(scene.device.engine);
  const m = await signManifest(claimsFor(image, claims), key);
  scene.server.on("/m.jws", serve.serveFile(Buffer.from(m)));
  const config = { url: scene.server.url("/m.jws"), keys: [key.jwk] };
  return { scene, config };
}
const last = (scene: any) => (plain(scene.device.ota.getStatus()) as any).last;

test("last after upToDate", async (t) => {
  const { scene, config } = await signed(t, IMAGE, { version: "1.0.1" });
  const run = plain(scene.device.ota.getStatus()) as any;
  const m = await signManifest(claimsFor(IMAGE, { version: run.version }), key);
  scene.server.on("/m.jws", serve.sequence(serve.status(404), serve.serveFile(Buffer.from(m))));
  const a = await scene.update(config);
  console.log(a.error?.message, "| last:", last(scene));
  const b = await scene.update(config);
  console.log(b.result, "| last:", last(scene));
  assert.equal(last(scene), "ESP_OK");
});

test("last: neither checkForUpdate nor a refused second call changes it", async (t) => {
  const { scene, config } = await signed(t);
  const before = last(scene);
  const first = scene.update(config);
  await scene.outcome(scene.device.ota.update(scene.config(config)));
  assert.equal(last(scene), before);
  assert.ifError((await first).error);
  scene.server.on("/m.jws", serve.status(404));
  assert.ok((await scene.outcome(scene.device.ota.checkForUpdate(scene.config(config)))).error);
  assert.equal(last(scene), "ESP_OK");
});

test("getStatusCode after an answer that failed", async (t) => {
  const scene = await startScene(t, { image: null });
  scene.server.on("/fw.bin", serve.sequence(serve.serveFile(IMAGE), serve.status(404)));
  const handle: any = await scene.device.engine.call(scene.device.ota.begin(scene.config({ maxRequestSize: 5000 })));
  let e: any;
  for (let i = 0; i < 10 && !e; i++) await scene.device.engine.call(handle.perform()).catch((x: any) => (e = x));
  console.log(e?.message, "getStatusCode", handle.getStatusCode());
  assert.equal(handle.getStatusCode(), 404);
});
