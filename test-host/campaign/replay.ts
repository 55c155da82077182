// npm run replay -- <id> [--dump FILE] [--bundle FILE]: one case of a campaign again, told step by step.

import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { replay } from "./replay-case.ts";
import { BUNDLE } from "../sim/device.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { dump: { type: "string" }, bundle: { type: "string" } },
});
if (positionals.length !== 1) {
  console.error(
    "usage: npm run replay -- board/start/bootloader/scenario@step.torn#seed [--dump FILE] [--bundle FILE]",
  );
  process.exit(2);
}
const { lines, flash, problems } = await replay(readFileSync(values.bundle ?? BUNDLE, "utf8"), positionals[0]);
console.log(lines.join("\n"));
if (values.dump) {
  writeFileSync(values.dump, flash);
  console.log(`${values.dump}: the flash after the last cut`);
}
process.exitCode = problems.length ? 1 : 0;
