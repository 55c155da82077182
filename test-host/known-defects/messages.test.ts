import assert from "node:assert/strict";
import { test } from "node:test";
import { buildImage, padTo } from "../images.ts";
import { claimsFor, makeKey, signManifest } from "../release.ts";
import { hasten } from "../bundle.ts";
import { startScene } from "../scenario.ts";
import * as serve from "../server.ts";
const key = await makeKey({ exponent: 3 });
const IMAGE = buildImage({ size: 20000, seed: 2, descriptor: { version: "2" } });
async function signed(t: any) {
  const scene = await startScene(t, { image: IMAGE });
  const offer = async (claims: any, text = (x: string) => x) => {
    hasten(scene.device.engine);
    scene.server.on("/m.jws", serve.serveFile(Buffer.from(await signManifest(text(JSON.stringify(claims)), key))));
    return { url: scene.server.url("/m.jws"), keys: [key.jwk] };
  };
  return { scene, offer };
}
test("a file larger than the manifest says is not measured against a size that no slot has", async (t) => {
  const { scene, offer } = await signed(t);
  scene.server.on("/fw.bin", serve.serveFile(padTo(IMAGE, 30000)));
  const { error } = await scene.update(await offer(claimsFor(IMAGE)));
  assert.ok(error);
  assert.doesNotMatch(error.message, /room for 20000/);
});
test("a key with an escape that comes once is not said to come twice", async (t) => {
  const { scene, offer } = await signed(t);
  const escaped = (text: string) => text.replace('"notes"', '"no\\u0074es"');
  const { error } = await scene.update(await offer(claimsFor(IMAGE, { notes: { x: 1 } }), escaped));
  assert.ok(error);
  assert.doesNotMatch(error.message, /twice/);
});
