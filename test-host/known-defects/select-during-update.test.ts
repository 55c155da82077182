// A: setBootPartition / rollback verify in slices, while an update may begin in the same slot
import assert from "node:assert/strict";
import { test } from "node:test";
import { buildImage } from "../images.ts";
import { bootWide, quicken } from "../network.ts";
import { fsverity } from "../fsverity.ts";
import { startServer, cutAt } from "../server.ts";
import { runBootloader } from "../bootloader.ts";
import { createFlash } from "../flash.ts";

const OLD = buildImage({ size: 300000, seed: 1, descriptor: { version: "1" } });
const PREV = buildImage({ size: 300000, seed: 5, descriptor: { version: "0" } });
const NEW = buildImage({ size: 300000, seed: 2, descriptor: { version: "2" } });

for (const how of ["setBootPartition", "rollback"] as const)
  test(`${how} under way, then an update begins in that slot`, async (t) => {
    const server = await startServer();
    server.on("/fw.bin", cutAt(NEW, 40000, "stall"));
    const device = bootWide({ images: { factory: OLD, ota_0: PREV } });
    t.after(async () => {
      device.stop();
      await server.close();
    });
    quicken(device.engine);
    const { engine } = device;
    const row = device.row("ota_0");
    const wrote = () =>
      device.flash.log.filter((op) => op.addr >= row.offset && op.addr < row.offset + row.size).length;
    engine.run(`var ota = require("https-ota"), log = [];`);
    engine.run(`var up = ota.update({ url: ${JSON.stringify(server.url("/fw.bin"))}, digest: "fsverity-sha256:${fsverity(NEW)}", timeout: 4000, retries: 0, onEvent: function (n, b) { log.push(n + " " + b); if (n === "CONNECTED") go(); } }).then(function (r) { log.push("update ok"); }, function (e) { log.push("update: " + e.message); });
    function go() { ${how === "rollback" ? "ota.rollback()" : "ota.setBootPartition(ota.getNextUpdatePartition())"}.then(function (r) { log.push("${how} ok " + ota.getBootPartition().label); }, function (e) { log.push("${how}: " + e.message); }); }
    `);
    // the same program, a little later: the verification begins when the first bytes come
    for (
      let i = 0;
      i < 3000 &&
      !device.rebootAsked &&
      !((device as any).engine.run("log") as any).some((l: string) => l.startsWith(how));
      i++
    ) {
      await new Promise((r) => setTimeout(r, 2));
      await engine.advance(1);
    }
    console.log(
      device.rebootAsked ? "reboot" : [...(engine.run("log") as any)],
      "ops in ota_0:",
      wrote(),
      "reboot asked:",
      device.rebootAsked,
    );
    const boot = runBootloader(createFlash({ from: device.flash.picture?.() ?? (device.flash.dump() as any) }), {
      chipId: 0,
      revision: 300,
    } as any);
    if (device.rebootAsked) {
      try {
        device.restart();
        console.log(
          "after restart runs",
          device.running,
          device.boots.at(-1)?.fellBack,
          "last:",
          "status",
          JSON.stringify(device.ota.getStatus()),
        );
      } catch (e) {
        console.log("restart", e);
      }
    }
    console.log("bootloader:", boot.slot?.label, "fellBack", boot.fellBack, boot.log);
    assert.equal(boot.fellBack, false, "a broken slot is selected");
  });
