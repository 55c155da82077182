// A campaign of test-host/campaign/ in a minute: the power fails at every flash operation of every scenario, on the toy
// layout that has the same slots as the board. `npm run campaign` is the whole of it.

import { loadBoard } from "../sim/boards.ts";
import { cellName } from "../campaign/ids.ts";
import { createSession } from "../campaign/lifetime.ts";
import { cellsOf, type Report, runCell } from "../campaign/runner.ts";
import { bundle } from "../campaign/suite.ts";
import { TOYS } from "../campaign/initial-states.ts";
import { draw } from "../support/share.ts";
import { slots } from "../sim/partitions.ts";
import type { Screen } from "./screen.ts";

const START = "one";

export type PowerCuts = {
  layout: string;
  /** Cells that were run, of so many. */
  cells: number;
  of: number;
  /** States that a loss of power leaves, and how many different ones of them a device was started from. */
  snapshots: number;
  distinct: number;
  findings: number;
  seconds: number;
  /** By scenario and bootloader. */
  counts: { cell: string; snapshots: number; distinct: number; findings: number }[];
  /** Names of cases, for npm run replay. */
  ids: string[];
};

const slotsOf = (board: string): string =>
  slots(loadBoard(board).rows)
    .map(({ subtype }) => subtype)
    .join();

/** The toy layout with the same slots; a board that no toy is like gets two slots. */
export function toyOf(board: string): string {
  return TOYS.find((toy) => slotsOf(toy) === slotsOf(board)) ?? TOYS[0];
}

function countsOf({ cell, snapshots, distinct, findings }: Report): PowerCuts["counts"][number] {
  return { cell: cellName(cell), snapshots, distinct, findings: findings.length };
}

/** With `count` only so many cells, others each time. */
export async function runPowerCuts(board: string, screen: Screen, count?: number): Promise<PowerCuts> {
  const startMs = performance.now();
  const layout = toyOf(board);
  const all = cellsOf(layout, undefined, [START]);
  const cells = draw(all, count ?? all.length);
  const session = createSession(bundle());
  const part = cells.length < all.length ? ` of ${all.length}` : "";
  screen.heading(`Power fails before, in, after each operation: ${cells.length}${part} cells of ${layout}`);
  screen.text("cell: snapshots of what a loss of power leaves, different ones that a device was started from");
  const reports: Report[] = [];
  for (const cell of cells) {
    const report = await runCell(session, cell, { name: "every" });
    reports.push(report);
    const counts = report.snapshots
      ? `${String(report.snapshots).padStart(4)} snapshots ${String(report.distinct).padStart(4)} started`
      : "   no flash operation";
    const found = report.findings.length ? `  ${report.findings.length} FINDINGS` : "";
    screen.line(`${cellName(cell).padEnd(46)}${counts}${found}`);
  }
  const sum = (of: (report: Report) => number) => reports.reduce((total, report) => total + of(report), 0);
  const findings = sum((report) => report.findings.length);
  const result = {
    layout,
    cells: cells.length,
    of: all.length,
    snapshots: sum((report) => report.snapshots),
    distinct: sum((report) => report.distinct),
    findings,
    seconds: Math.round((performance.now() - startMs) / 100) / 10,
    counts: reports.map(countsOf),
    ids: reports.flatMap((report) => report.findings.map(({ id }) => id)),
  };
  if (!findings)
    screen.success(
      `${result.snapshots} snapshots, ${result.distinct} devices started from them: each ran a whole image that may run ` +
        `there, and ended as it should`,
    );
  return result;
}
