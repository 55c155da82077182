// `npm test` and `npm run test:all`: which test files run, and in which order. `npm test` has three minutes on two cores. It
// leaves out files that only skip here, and of the folders below it draws some, others each time. CAMPAIGN and CAMPAIGN_SEED:
// share.ts.

import { readdirSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { run } from "node:test";
import { fileURLToPath } from "node:url";
import report from "../checks/reporter.mjs";
import { draw, IS_SAMPLE, SEED } from "./share.ts";

const TESTS = fileURLToPath(new URL("../tests/", import.meta.url));
// the test files draw by the same seed
process.env.CAMPAIGN_SEED = String(SEED);

/** Of the files of a folder one in this many is drawn. */
const SHARES = { cli: 2, factory: 2, hawkbit: 2, browser: Infinity };

/** Those that need an interpreter are named so, but some of tests/engine run a part of their tests without one. */
const needsEngine = (file) => /-engine\.test\.ts$/.test(file) || file.endsWith("/engine/engine.test.ts");

const chosen = [];
const leftOut = [];
for (const folder of readdirSync(TESTS)) {
  const files = readdirSync(`${TESTS}${folder}`)
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => `${TESTS}${folder}/${name}`)
    .filter((file) => !IS_SAMPLE || process.env.ESPRUINO || !needsEngine(file));
  const drawn = IS_SAMPLE ? draw(files, Math.ceil(files.length / (SHARES[folder] ?? 1))) : files;
  chosen.push(...drawn);
  if (drawn.length < files.length)
    leftOut.push(`${files.length - drawn.length} of ${files.length} files of tests/${folder}`);
}
// what takes long should not begin last: the campaigns when they are run in full, else large files
const weight = (file) => (!IS_SAMPLE && file.includes("/campaign/") ? Infinity : statSync(file).size);
chosen.sort((a, b) => (weight(a) < weight(b) ? 1 : weight(a) > weight(b) ? -1 : 0));

const stream = run({ files: chosen, concurrency: availableParallelism() + 1 });
stream.on("test:fail", () => {
  process.exitCode = 1;
});
for await (const text of report(stream, leftOut)) process.stdout.write(text);
if (!process.env.ESPRUINO)
  console.log("Not run: what needs an interpreter. ESPRUINO=/path/to/espruino npm run test:engine (CONTRIBUTING.md)");
