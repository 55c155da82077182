import assert from "node:assert/strict";
import { test } from "node:test";
import { buildImage, padTo } from "../images.ts";
import { claimsFor, makeKey, signManifest } from "../release.ts";
import { hasten } from "../bundle.ts";
import { startScene, plain, settle } from "../scenario.ts";
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
test("J larger file than the manifest says", async (t) => {
  const { scene, offer } = await signed(t);
  scene.server.on("/fw.bin", serve.serveFile(padTo(IMAGE, 30000)));
  console.log((await scene.update(await offer(claimsFor(IMAGE)))).error);
});
test("K key with an escape", async (t) => {
  const { scene, offer } = await signed(t);
  console.log(
    (
      await scene.update(
        await offer(claimsFor(IMAGE, { notes: { x: 1 } }), (s) => s.replace('"notes"', '"no\\u0074es"')),
      )
    ).error,
  );
});
test("L another project's manifest of the version that runs", async (t) => {
  const { scene, offer } = await signed(t);
  const v = (plain(scene.device.ota.getStatus()) as any).version;
  const o = await scene.update(await offer(claimsFor(IMAGE, { project: "other", version: v })));
  console.log(o.result, o.error);
});
test("R rolled back image in a manifest with another sequence", async (t) => {
  const { scene, offer } = await signed(t);
  const { device } = scene;
  assert.ifError((await scene.update(await offer(claimsFor(IMAGE)))).error);
  device.restart();
  void settle(device, device.ota.rollback()).catch(() => {});
  for (let pass = 0; pass < 200 && !device.rebootAsked; pass++) await device.engine.advance(1);
  device.restart();
  for (const sequence of [7, 8, 6]) {
    const o = await scene.update(await offer(claimsFor(IMAGE, { sequence })));
    console.log(sequence, o.error?.name, o.result?.size);
  }
});
