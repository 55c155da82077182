// The time of a download into flash: by the module, over a loop that only erases and writes.
// The module lies in RAM and the flash is folded (fold.ts says why), so that erasing and writing take no time.
import { fsverity } from "../support/fsverity.ts";
import type { Server } from "../support/server.ts";
import { serveFile } from "../support/server.ts";
import { measure } from "./engine.ts";
import { FOLDED_FLASH, MODULE_IN_RAM, periodicImage } from "./fold.ts";
import { median, row } from "./table.ts";

/** 366 sectors, 1.5 MB. */
export const IMAGE = periodicImage(366 * 4096);
const ROUNDS = 3;

export const updateConfig = (url: string, image: Uint8Array) =>
  `{ url: ${JSON.stringify(url)}, digest: "fsverity-sha256:${fsverity(image)}" }`;

export const BARE_LOOP = `
  function bareLoop(url, size, done) {
    var flash = require("Flash"), at = SLOT, sector = at, start = getTime();
    require("http").get(url, function (response) {
      response.on("data", function (data) {
        while (at + data.length > sector) { flash.erasePage(sector); sector += 4096; }
        flash.write(data, at);
        at += data.length;
      });
      response.on("close", function () {
        if (at - SLOT !== size) report({ error: "the bare loop got " + (at - SLOT) });
        done(getTime() - start);
      });
    });
  }`;

export type Times = { bare: number; update: number };

/** The same file by the bare loop, then by the module, in turn in each of several interpreters. In ms of this machine. */
export async function speed(server: Server, name: string): Promise<Times> {
  server.on("/folded.bin", serveFile(IMAGE));
  const url = server.url("/folded.bin");
  const rounds: Times[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const run = await measure(`${FOLDED_FLASH} ${MODULE_IN_RAM} ${BARE_LOOP}
      setTimeout(function () {
        bareLoop(${JSON.stringify(url)}, ${IMAGE.length}, function (bare) {
          blank();
          var start = getTime();
          ota.update(${updateConfig(url, IMAGE)}).then(function (result) {
            report({ bare: bare, update: getTime() - start });
            finish();
          }, function (error) { reportError(error); finish(); });
        });
      }, 100);`);
    rounds.push(run.reports[0]);
  }
  row(
    `1.5 MB over ${name}: update over bare loop, flash taking no time`,
    median(rounds.map((one) => one.update / one.bare)),
    "x",
    1.5,
  );
  const times = {
    bare: median(rounds.map((one) => one.bare)) * 1000,
    update: median(rounds.map((one) => one.update)) * 1000,
  };
  row("  bare loop, this machine", times.bare, "ms");
  row("  update, this machine", times.update, "ms");
  return times;
}

/** What the digest at the end costs, by the module and by the native calls in it, and what one call of the shim costs. */
export async function digestAlone(server: Server): Promise<void> {
  server.on("/folded.bin", serveFile(IMAGE));
  const run = await measure(`${FOLDED_FLASH} ${MODULE_IN_RAM}
    var crypto = require("crypto"), flash = require("Flash"), lastByte, judged;
    // the best of several rounds: the shim is a few microseconds, and the machine has other work
    function time(n, f) {
      var best = 1e9;
      for (var round = 0; round < 8; round++) {
        var start = getTime();
        for (var i = 0; i < n; i++) f(i);
        best = Math.min(best, (getTime() - start) / n * 1000);
      }
      return best;
    }
    var config = ${updateConfig(server.url("/folded.bin"), IMAGE)};
    config.onEvent = function (name) {
      if (name === "WRITE_FLASH") lastByte = getTime();
      else if (name === "UPDATE_BOOT_PARTITION") judged = getTime();
    };
    setTimeout(function () {
      ota.update(config).then(function () {
        report({
          module: (judged - lastByte) * 1000,
          block: time(100, function (i) { crypto.SHA256(E.toString(flash.read(4096, SLOT + (i % 24) * 4096))); }),
          shim: time(200, function () { flash.read(0, SLOT); }),
          bare: time(200, function () { native.read(0, fold); }),
        });
        finish();
      }, function (error) { reportError(error); finish(); });
    }, 100);`);
  const { module, block, shim, bare } = run.reports[0];
  row("digest of 1.5 MB, from the last byte to the selection, this machine", module, "ms");
  row("  the same reads and hashes natively", (block * IMAGE.length) / 4096, "ms");
  // reads of nothing: what memory they would find depends on what went before, by more than the shim costs
  row("  what the shim adds to one call", (shim - bare) * 1000, "us");
}
