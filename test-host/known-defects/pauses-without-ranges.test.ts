import assert from "node:assert/strict";
import { test } from "node:test";
import { buildImage } from "../images.ts";
import { bootWide } from "../network.ts";
import { fsverity } from "../fsverity.ts";
import { serveFile, startServer } from "../server.ts";
const NEW = buildImage({ size: 300000, seed: 2, descriptor: { version: "2" } });
test("H a server without ranges, a caller that pauses now and then and gets further each time", async (t) => {
  const server = await startServer();
  server.on("/fw.bin", serveFile(NEW, { ranges: false }));
  const device = bootWide();
  t.after(async () => {
    device.stop();
    await server.close();
  });
  const { engine } = device;
  const config = engine.run(
    `({ url: ${JSON.stringify(server.url("/fw.bin"))}, digest: "fsverity-sha256:${fsverity(NEW)}" })`,
  );
  const handle: any = await engine.call(device.ota.begin(config));
  let far = 0,
    outcome: any = 0x9001,
    burst = 0;
  try {
    while (outcome !== 0) {
      burst++;
      const goal = far + 8 * 4096;
      while (outcome !== 0 && handle.getImageLenRead() < goal) outcome = await engine.call(handle.perform());
      far = handle.getImageLenRead();
      console.log("burst", burst, "bytes", far, "requests", server.requests.length);
      for (let i = 0; i < 60 && engine.accounts().sockets; i++) {
        await new Promise((r) => setTimeout(r, 2));
        await engine.advance(1);
      }
    }
  } catch (e: any) {
    console.log(e.name, e.message, "retry", e.retry);
    assert.fail(e.message);
  }
});
