import assert from "node:assert/strict";
import { test } from "node:test";
import { buildImage, padTo } from "../images.ts";
import { claimsFor, makeKey, signManifest } from "../release.ts";
import { hasten } from "../bundle.ts";
import { startScene } from "../scenario.ts";
import * as serve from "../server.ts";
const key = await makeKey({ exponent: 3 });
for (const [size, chunkSize] of [
  [16384 + 536, 536],
  [16384 + 1072, 536],
  [16384 + 600, 600],
  [16384 + 1200, 600],
  [20380, 700],
  [16384 + 3000, 1000],
])
  test(`C WRITE_FLASH at the end of a chunked, signed image of ${size} in ${chunkSize}`, async (t) => {
    const image = padTo(buildImage({ size: 16384, seed: 2, descriptor: { version: "2" } }), size);
    const scene = await startScene(t, { image });
    hasten(scene.device.engine);
    scene.server.on("/m.jws", serve.serveFile(Buffer.from(await signManifest(claimsFor(image), key))));
    scene.server.on("/fw.bin", async (_req, io) => {
      await io.head(200, { "Transfer-Encoding": "chunked" });
      for (let at = 0; at < size; at += chunkSize) {
        const piece = image.subarray(at, at + chunkSize);
        await io.write(Buffer.concat([Buffer.from(piece.length.toString(16) + "\r\n"), piece, Buffer.from("\r\n")]));
        await io.sleep(3);
      }
      await io.sleep(20);
      await io.write("0\r\n\r\n");
      io.end();
    });
    const o = await scene.update({ url: scene.server.url("/m.jws"), keys: [key.jwk] });
    const w = o.events.filter(([n]) => n === "WRITE_FLASH");
    console.log(o.result?.size, o.error?.message, w.at(-1));
    assert.deepEqual(w.at(-1), ["WRITE_FLASH", size, size]);
  });
