// Holes that campaigns have found and that are not closed yet. A finding that one of these explains does not fail the
// suite; a test marked `todo` says when the hole is gone, and then the line goes too.

import { cellName } from "./ids.ts";
import type { Finding, Report } from "./runner.ts";

export type Known = {
  what: string;
  cells: RegExp;
  problem: RegExp;
  /** The smallest case. */
  id: string;
};

export const KNOWN: readonly Known[] = [];

export function explains(known: Known, report: Report, finding: Finding): boolean {
  return known.cells.test(cellName(report.cell)) && finding.problems.every((problem) => known.problem.test(problem));
}

/** The findings that nobody knew of. */
export function unknown(report: Report): Finding[] {
  return report.findings.filter((finding) => !KNOWN.some((known) => explains(known, report, finding)));
}
