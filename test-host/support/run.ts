// Runs test files: those that are named, or else those of `npm test` and `npm run test:all`. `npm test` has three minutes on
// two cores. It leaves out files that only skip here, and of the folders below it draws some, others each time. CAMPAIGN and
// CAMPAIGN_SEED: share.ts.

import { readdirSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { run } from "node:test";
import { fileURLToPath } from "node:url";
import { report } from "../checks/reporter.ts";
import { draw, IS_SAMPLE, SEED } from "./share.ts";

const HERE = fileURLToPath(new URL("..", import.meta.url));

/** Of the files of a folder one in this many is drawn. */
const SHARES: Record<string, number> = {
  cli: 5,
  factory: 4,
  hawkbit: 4,
  device: 3,
  files: 2,
  net: 3,
  browser: Infinity,
};

/** Those that need an interpreter are named so, but some of tests/engine run a part of their tests without one. */
const needsEngine = (file: string) => /-engine\.test\.ts$/.test(file) || file.endsWith("/engine/engine.test.ts");

const filesOf = (folder: string): string[] =>
  readdirSync(`${HERE}${folder}`)
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => `${HERE}${folder}/${name}`);

/** What takes long should not begin last: in full the campaigns and then the attacks, else large files. */
const rankOf = (file: string) => (IS_SAMPLE ? 2 : file.includes("/campaign/") ? 0 : file.includes("/attacks/") ? 1 : 2);

/** The files of `npm test`, or of `npm run test:all`; `leftOut`: what is not among them, in words. */
function choose(): { files: string[]; leftOut: string[] } {
  const files: string[] = [];
  const leftOut: string[] = [];
  for (const name of readdirSync(`${HERE}tests`)) {
    const all = filesOf(`tests/${name}`).filter((file) => !IS_SAMPLE || process.env.ESPRUINO || !needsEngine(file));
    const drawn = IS_SAMPLE ? draw(all, Math.ceil(all.length / (SHARES[name] ?? 1))) : all;
    files.push(...drawn);
    if (drawn.length < all.length) leftOut.push(`${all.length - drawn.length} of ${all.length} files of tests/${name}`);
  }
  const attacks = filesOf("attacks");
  if (IS_SAMPLE) leftOut.push(`${attacks.length} files of attacks`);
  else files.push(...attacks);
  const ranked = files.map((file) => ({ file, rank: rankOf(file), size: statSync(file).size }));
  ranked.sort((a, b) => a.rank - b.rank || b.size - a.size);
  return { files: ranked.map(({ file }) => file), leftOut };
}

// the test files draw by the same seed
process.env.CAMPAIGN_SEED = String(SEED);
const named = process.argv.slice(2);
const { files, leftOut } = named.length ? { files: named, leftOut: [] } : choose();
const events = run({ files, concurrency: availableParallelism() + 1 });
events.on("test:fail", () => {
  process.exitCode = 1;
});
for await (const text of report(events, leftOut)) process.stdout.write(text);
if (!process.env.ESPRUINO)
  console.log("Not run: what needs an interpreter. ESPRUINO=/path/to/espruino npm run test:engine (CONTRIBUTING.md)");
if (process.exitCode) console.log(`CAMPAIGN_SEED=${SEED} draws the same tests and cases again`);
