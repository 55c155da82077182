// `https-ota inspect`: what a file is, what it says, what is wrong with it.
import type { Command } from "commander";
import { hex } from "../formats/bytes.ts";
import { renderReport } from "../report/render.ts";
import { inspectBytes, type Report } from "../report/report.ts";
import { sizeNotes } from "../release/release.ts";
import { jsonText, refuse } from "../ui/errors.ts";
import { readInput } from "../ui/files.ts";
import { field } from "../ui/tables.ts";
import { parseSectorOffset } from "./options.ts";

/** What is right with the file, and wrong for every device. */
function notesOn(report: Report): string[] {
  const chip = report.kind === "image" ? report.image.header.chip : null;
  return chip ? sizeNotes(report.size, chip).map((note) => field("note", note)) : [];
}

function inspect(file: string, { json, tableOffset }: { json?: boolean; tableOffset?: number }): void {
  const report = inspectBytes(file, readInput(file), tableOffset);
  if (json) console.log(jsonText(report));
  else for (const line of [...renderReport(report), ...notesOn(report)]) console.log(line);
  const [problem] = report.problems;
  if (!problem) return;
  const more = report.problems.length > 1 ? ` (and ${report.problems.length - 1} more)` : "";
  refuse(file, `offset ${hex(problem.offset)}: ${problem.text}${more}`);
}

const HELP = `
The exit code is 1 when the file cannot be used as what it is: a broken image, a table that breaks a rule, a manifest
that no device reads, a Storage that Espruino erases, a flash from which nothing starts. Signatures are not checked here:
see verify.

Example:
  npx https-ota inspect firmware.bin
  esptool read-flash 0 0x400000 dump.bin && npx https-ota inspect dump.bin
  npx https-ota inspect dump.bin --json
`;

export function addInspect(program: Command): void {
  program
    .command("inspect")
    .description(
      "Show what an image, a manifest, a partition table, otadata, a Storage or a whole flash says, and what is wrong with it.",
    )
    .argument("<file>", "any of these; its content tells which")
    .option("--json", "for machines; numbers are bytes, offsets count from the start of the file")
    .option("--table-offset <offset>", "the file is a flash with its partition table there", parseSectorOffset)
    .addHelpText("after", HELP)
    .action(inspect);
}
