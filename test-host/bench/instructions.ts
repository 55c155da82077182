// Instructions of the interpreter per KB of image, counted by valgrind: unlike time they are the same on each run.
// Only what runs in callbacks of JavaScript is counted, so that waiting for the network costs nothing; and two sizes are
// compared, so that what happens once (connecting, otadata, loading the module) drops out.
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Server, serveFile } from "../support/server.ts";
import { measure } from "./engine.ts";
import { FOLDED_FLASH, MODULE_IN_RAM, periodicImage } from "./fold.ts";
import { BARE_LOOP, updateConfig } from "./speed.ts";
import { row, skip } from "./table.ts";

/** Of which 24 go an odd number of times, as periodicImage wants it. */
const SECTORS = [36, 84];
const WHAT = "instructions per KB: update";

async function count(binary: string, scenario: string): Promise<number> {
  const run = await measure(`${FOLDED_FLASH} ${MODULE_IN_RAM} ${BARE_LOOP} ${scenario}`, { binary });
  const found = /Collected : (\d+)/.exec(run.output);
  if (!found) throw new Error(run.output);
  return Number(found[1]);
}

export async function instructions(server: Server, engine: string): Promise<void> {
  if (spawnSync("valgrind", ["--version"]).error) return skip(WHAT, "valgrind is not installed");
  const folder = mkdtempSync(join(tmpdir(), "https-ota-"));
  try {
    // the harness runs one program with one argument
    const binary = join(folder, "counted");
    const options = "--tool=callgrind --toggle-collect=jsiExecuteEventCallback --callgrind-out-file=/dev/null";
    writeFileSync(binary, `#!/bin/sh\nexec valgrind ${options} '${engine}' "$@"\n`);
    chmodSync(binary, 0o755);
    const counted = { update: [] as number[], bare: [] as number[] };
    for (const sectors of SECTORS) {
      const image = periodicImage(sectors * 4096);
      server.on("/counted.bin", serveFile(image));
      const url = server.url("/counted.bin");
      counted.update.push(
        await count(
          binary,
          `setTimeout(function () { ota.update(${updateConfig(url, image)}).then(function () { report({}); finish(); },
            function (error) { reportError(error); finish(); }); }, 100);`,
        ),
      );
      counted.bare.push(
        await count(
          binary,
          `setTimeout(function () { bareLoop(${JSON.stringify(url)}, ${image.length}, function () { report({}); finish(); }); }, 100);`,
        ),
      );
    }
    const kilobytes = (SECTORS[1] - SECTORS[0]) * 4;
    const perKb = ([few, many]: number[]) => Math.round((many - few) / kilobytes);
    row(WHAT, perKb(counted.update), "");
    row("  bare loop", perKb(counted.bare), "");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
