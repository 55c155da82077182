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

export const KNOWN: readonly Known[] = [
  {
    what:
      "An image that a bootloader with rollback gave up (ABORTED) is not remembered as bad: the next update installs it again, " +
      "for ever. Remembering it would ban for ever what lost power in its first start, which ABORTED says as well.",
    cells: /\/rollback\/bad-image$/,
    problem: /^comes to no end/,
    id: "toy-two/one/rollback/bad-image@#1",
  },
  {
    what:
      "A bootloader of IDF 3 obeys an entry marked ABORTED, the module does not: with a newer entry so marked (by a bootloader " +
      "that was exchanged since, for IDF 3 never writes it) the module takes the wrong slot for the selected one.",
    cells: /\/aborted\/idf3\//,
    problem: /^(boots|ends in) (factory|ota_\d)|^comes to no end|was reported as done|^runs/,
    id: "toy-two/aborted/idf3/update@0.half#1",
  },
];

export function explains(known: Known, report: Report, finding: Finding): boolean {
  return known.cells.test(cellName(report.cell)) && finding.problems.every((problem) => known.problem.test(problem));
}

/** The findings that nobody knew of. */
export function unknown(report: Report): Finding[] {
  return report.findings.filter((finding) => !KNOWN.some((known) => explains(known, report, finding)));
}
