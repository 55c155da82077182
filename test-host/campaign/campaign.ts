// npm run campaign: power fails at every operation of every scenario. See docs/power-fail.md, which --docs writes.

import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { cellName } from "./ids.ts";
import { powerFailDoc, tellReports } from "./report.ts";
import { type Campaign, cellsOf, type Report, runCells } from "./runner.ts";
import { FULL_SIZE, STARTS, startsOf, TOYS } from "./initial-states.ts";
import { BUNDLE } from "../sim/device.ts";
import { inParallel } from "../support/parallel.ts";

const USAGE = `usage: npm run campaign -- [options]
  --full            all layouts, every campaign, two cuts deep; tells each part when it is done
  --cell REGEX      only cells whose name (board/start/bootloader/scenario) matches
  --campaign NAME   every (default), tree:2, chain, random:20, faults; may be given several times
  --seed N          of the noise and of random (default 1)
  --json            the counts as JSON
  --bundle FILE     another build of the module
  --docs            write docs/power-fail.md and stop`;

const STRIDE = 16;

const { values } = parseArgs({
  options: {
    full: { type: "boolean" },
    cell: { type: "string" },
    campaign: { type: "string", multiple: true },
    seed: { type: "string" },
    json: { type: "boolean" },
    bundle: { type: "string" },
    docs: { type: "boolean" },
    layout: { type: "string" },
    start: { type: "string" },
    help: { type: "boolean" },
  },
});

function campaignOf(text: string): Campaign {
  const [name, number] = text.split(":");
  if (name === "tree") return { name, depth: Number(number ?? 2) };
  if (name === "random") return { name, runs: Number(number ?? 20) };
  if (name === "every" || name === "chain" || name === "faults") return { name };
  throw new Error(`no campaign ${text}\n${USAGE}`);
}

const names = values.campaign ?? (values.full ? ["tree:2", "chain", "random:20", "faults"] : ["every"]);

/** Full-size layouts are cut by stride, from few starts and under one bootloader. */
const fullSizeStarts = (layout: string): string[] => ["one", ...startsOf(layout).filter((name) => STARTS[name].builds)];
const isToy = (layout: string): boolean => (TOYS as readonly string[]).includes(layout);

async function runHere(layout: string, start: string): Promise<Report[]> {
  const bundle = readFileSync(values.bundle ?? BUNDLE, "utf8");
  const cell = new RegExp(values.cell ?? "");
  const toy = isToy(layout);
  const cells = cellsOf(layout, toy ? undefined : ["current"], [start]).filter((one) => cell.test(cellName(one)));
  const reports: Report[] = [];
  const campaigns: Campaign[] = toy ? names.map(campaignOf) : [{ name: "every", stride: STRIDE }];
  for (const campaign of campaigns)
    reports.push(...(await runCells(bundle, cells, campaign, Number(values.seed ?? 1))));
  return reports;
}

type Part = { layout: string; start: string };

/** A process for each layout and start, which share nothing: none grows large, and all cores are busy to the end. */
function inChild({ layout, start }: Part): Promise<Report[]> {
  const args = [...process.execArgv, fileURLToPath(import.meta.url), "--json", "--layout", layout, "--start", start];
  for (const name of names) args.push("--campaign", name);
  for (const key of ["cell", "seed", "bundle"] as const) {
    const value = values[key];
    if (value !== undefined) args.push(`--${key}`, value);
  }
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (part) => {
    text += part;
  });
  return new Promise((resolve, reject) => {
    child.on("close", (code, signal) => {
      try {
        const reports: Report[] = JSON.parse(text);
        const snapshots = reports.reduce((sum, report) => sum + report.snapshots, 0);
        if (values.full) console.error(`${layout}/${start}: ${snapshots} snapshots`);
        resolve(reports);
      } catch {
        reject(new Error(`${layout}/${start}: no report, exit code ${code}, signal ${signal}`));
      }
    });
  });
}

if (values.help) console.log(USAGE);
else if (values.docs) writeFileSync(new URL("../../docs/power-fail.md", import.meta.url), powerFailDoc());
else {
  const startMs = performance.now();
  const wanted = values.full ? [...TOYS, ...FULL_SIZE] : [...TOYS];
  // only to save time: a process for each layout that the expression may mean
  const [named] = /^[a-z0-9-]+(?=\/)/.exec((values.cell ?? "").replace("^", "")) ?? [];
  const only = (layout: string) => !named || !wanted.some((one) => one === named) || layout === named;
  const parts = wanted
    .filter(only)
    .flatMap((layout) =>
      (isToy(layout) ? startsOf(layout) : fullSizeStarts(layout)).map((start) => ({ layout, start })),
    );
  const reports = values.layout
    ? await runHere(values.layout, values.start ?? "one")
    : (await inParallel(parts, availableParallelism(), inChild)).flat();
  if (values.json) console.log(JSON.stringify(reports));
  else console.log(`${tellReports(reports)} in ${Math.round((performance.now() - startMs) / 1000)} s`);
  process.exitCode = reports.some((report) => report.findings.length > 0) ? 1 : 0;
}
