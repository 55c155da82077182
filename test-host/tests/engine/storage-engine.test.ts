// The virtual Storage against the interpreter's own, byte for byte: ESPRUINO names a Linux build of it, ESPRUINO_PAGE the
// bytes of its flash pages (flash_page_size in scripts/build_platform_config.py): 1024 where nothing was changed, 4096
// in a build that is to be like the ESP32. STORAGE_SEED and STORAGE_PATH: a sequence of calls that failed, again.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { compactions, FRAGMENTED, fragmented, tornHeaders } from "../../sim/contract/storage-cuts.ts";
import { callsOf, randomOf, storageOf } from "../../sim/contract/storage-random.ts";
import { engineHolds } from "../../real-espruino/engine.ts";
import {
  blankFlash,
  difference,
  evaluate,
  program,
  realOf,
  type Run,
  STORAGE_SIZE,
  virtualOf,
} from "../../sim/contract/storage-run.ts";
import { linuxArea } from "../../sim/espruino/area.ts";
import { createFiles } from "../../sim/espruino/files.ts";
import { loadState, saveState } from "../../sim/espruino/saved.ts";
import { inParallel } from "../../support/parallel.ts";
import { checkProperty } from "../../support/property.ts";

const REAL = process.env.ESPRUINO as string;
const PAGE = Number(process.env.ESPRUINO_PAGE ?? 1024);
const AT_ONCE = 4;
const SEQUENCES = 240;

const virtual = virtualOf(PAGE);

/** What both print and leave, when it is the same. */
async function compare(flash: Uint8Array, calls: string[]): Promise<Run> {
  const code = program(calls);
  const [real, ours] = await Promise.all([realOf(REAL)(flash, code), virtual(flash, code)]);
  assert.deepEqual(ours.start, real.start, "at the start");
  assert.deepEqual(ours.lines, real.lines, calls.join("\n"));
  assert.equal(difference(real.flash, ours.flash), "", calls.join("\n"));
  return real;
}

describe("the virtual Storage is the interpreter's:", { skip: REAL ? false : "ESPRUINO is not set" }, () => {
  test("the pages are as ESPRUINO_PAGE says", async () => {
    const code = program(["require('Flash').getPage(0x10000000).length"]);
    const { lines } = await realOf(REAL)(blankFlash(), code);
    assert.deepEqual(lines, [String(PAGE)]);
  });

  const first = Number(process.env.STORAGE_SEED ?? 1);
  const lanes = process.env.STORAGE_PATH ? 1 : AT_ONCE;
  const count = process.env.STORAGE_PATH ? 1 : SEQUENCES;
  test(`${count} sequences of calls on Storages of all kinds, from seed ${first} on`, async (t) => {
    if (!(await engineHolds(STORAGE_SIZE * 2)))
      return t.skip("this interpreter has no room for texts as large as Storage");
    const seen: Record<string, number> = {};
    const see = (what: string, is: boolean) => {
      seen[what] = (seen[what] ?? 0) + (is ? 1 : 0);
    };
    async function isSame(draw: fc.GeneratorValue): Promise<void> {
      const random = randomOf(draw);
      const flash = storageOf(random, PAGE);
      const calls = callsOf(random, 4 + random(30)).map(({ text }) => text);
      const { start, lines } = await compare(flash, ["state()", ...calls, "state()"]);
      const has = (text: string) => lines.some((line) => line.includes(text));
      see("corrupt", start.length > 0);
      see("compacted", has("Compacting"));
      see("full", has("Unable to find or create"));
      see("written already", has("File already written"));
      see("too much", has("Too much data"));
    }
    const seeds = Array.from({ length: lanes }, (_, lane) => first + lane);
    await inParallel(seeds, lanes, (seed) =>
      checkProperty(fc.noBias(fc.gen()), isSame, {
        seed,
        numRuns: count / lanes,
        variables: { seed: "STORAGE_SEED", path: "STORAGE_PATH" },
        show: (draw) => `${draw.values().length} numbers drawn`,
      }),
    );
    t.diagnostic(JSON.stringify(seen));
    if (count > 1) for (const [what, times] of Object.entries(seen)) assert.ok(times > 3, `${what}: ${times} times`);
  });

  test("a compaction cut at each of its operations is found as the model says", async () => {
    const cuts = compactions(PAGE).filter((_, i) => i % 3 === 0);
    const [whole] = (await virtual(fragmented(PAGE), program(["s.list().map(sum)"]))).lines;
    await inParallel(cuts, AT_ONCE, async ({ flash, outcome }) => {
      const { start, lines } = await compare(flash, ["state()"]);
      assert.equal(start.includes("Storage is corrupt."), outcome === "erased");
      const [, , , , sums] = JSON.parse(lines[0]);
      assert.equal(JSON.stringify(sums) === whole, outcome === "well");
    });
    assert.ok(cuts.length > FRAGMENTED);
  });

  test("a torn header is written over: the next write and start do as the model says", async () => {
    await inParallel(tornHeaders(PAGE), AT_ONCE, async ({ flash }) => {
      const write = 's.write("next", fill(300, 5))';
      const calls = ["state()", write, 'sum("next")', write, 'sum("next")', write, 'sum("next")', "state()"];
      const left = await compare(flash, calls);
      await compare(left.flash, ["state()"]);
    });
  });

  test("what save() left is dropped by another GIT_COMMIT, and loaded by its own", async () => {
    const saved = (await evaluate(REAL, blankFlash(), "setTimeout(function () { save(); }, 10)")).flash;
    const [commit] = (await evaluate(REAL, blankFlash(), "print(process.env.GIT_COMMIT);quit()")).lines;
    const other = blankFlash();
    saveState(createFiles(linuxArea(other, PAGE)), "of another build", `${commit}0`);
    for (const flash of [saved, other]) {
      const { lines } = await evaluate(REAL, flash, "quit()");
      let said = "";
      const kept = loadState(createFiles(linuxArea(flash, PAGE)), commit, (words) => {
        said += words;
      });
      assert.deepEqual(lines, [said.trim()]);
      assert.equal(kept === undefined, flash === other);
    }
  });
});
