// E2: the TCP connection takes 15 s to come about (a full accept queue: Linux retries its SYN), and then all is well
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { writeFileSync } from "node:fs";
import { createDevice } from "../device.ts";
import { runInEngine } from "../engine/engine.ts";
import { buildImage } from "../images.ts";
test("a connection that takes long, then works", async (t) => {
  writeFileSync("/tmp/rev/fw.bin", buildImage({ size: 20000, seed: 2 }));
  const py = spawn("python3", ["/tmp/rev/slow.py"], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => py.kill());
  const port = await new Promise<string>((r) => py.stdout.once("data", (d) => r(String(d).trim())));
  const device = createDevice({ board: "toy-factory-one" });
  const run = await runInEngine(
    device,
    `
    var t0 = getTime();
    ota.update({ url: "http://127.0.0.1:${port}/fw.bin", insecure: true }).then(function (r) { report({ ok: true, after: getTime() - t0 }); finish(); }, function (e) {
      report({ name: e.name, message: e.message, after: getTime() - t0 }); finish();
    });`,
    { timeoutMs: 90000 },
  );
  console.log(run.reports);
  assert.equal(run.reports[0].ok, true);
});
