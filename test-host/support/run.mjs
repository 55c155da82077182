// `npm test` and `npm run test:all`: which test files run, and in which order. `npm test` has three minutes on two cores. It
// leaves out files that only skip here, and of the folders below it draws some, others each time. CAMPAIGN and CAMPAIGN_SEED:
// test-host/support/share.ts.

import { readdirSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { run } from "node:test";
import { fileURLToPath } from "node:url";
import { crc32 } from "node:zlib";
import report from "./reporter.mjs";

const TESTS = fileURLToPath(new URL("../tests/", import.meta.url));
const ALL = process.env.CAMPAIGN !== undefined;
const SEED = process.env.CAMPAIGN_SEED ?? String(1 + Math.floor(Math.random() * 1e6));
process.env.CAMPAIGN_SEED = SEED;

/** Of the files of a folder one in this many is drawn. */
const SHARES = { cli: 2, factory: 2, hawkbit: 2, browser: Infinity };

const lot = (file) => crc32(`${SEED} ${file}`);

/** The files of a folder, of which some are drawn. */
function draw(folder, files) {
  const share = ALL ? 1 : (SHARES[folder] ?? 1);
  return [...files].sort((a, b) => lot(a) - lot(b)).slice(0, Math.ceil(files.length / share));
}

/** Those that need an interpreter are named so, but some of tests/engine run a part of their tests without one. */
const needsEngine = (file) => /-engine\.test\.ts$/.test(file) || file.endsWith("/engine/engine.test.ts");

const chosen = [];
const leftOut = [];
for (const folder of readdirSync(TESTS)) {
  const files = readdirSync(`${TESTS}${folder}`)
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => `${TESTS}${folder}/${name}`)
    .filter((file) => ALL || process.env.ESPRUINO || !needsEngine(file));
  const drawn = draw(folder, files);
  chosen.push(...drawn);
  if (drawn.length < files.length)
    leftOut.push(`${files.length - drawn.length} of ${files.length} files of tests/${folder}`);
}
// what takes long should not begin last: the campaigns when they are run in full, else large files
const weight = (file) => (ALL && file.includes("/campaign/") ? Infinity : statSync(file).size);
chosen.sort((a, b) => (weight(a) < weight(b) ? 1 : weight(a) > weight(b) ? -1 : 0));

const stream = run({ files: chosen, concurrency: availableParallelism() + 1 });
stream.on("test:fail", () => {
  process.exitCode = 1;
});
for await (const text of report(stream, leftOut)) process.stdout.write(text);
if (!process.env.ESPRUINO)
  console.log("Not run: what needs an interpreter. ESPRUINO=/path/to/espruino npm run test:engine (CONTRIBUTING.md)");
