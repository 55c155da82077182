// The size gate: what build/https-ota.min.js may have, and how it differs from the committed file.
// The build prints; as a program (CI runs it) this fails when the file is above the limit.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const FILE = "build/https-ota.min.js";
/**
 * Bytes: what the module has now (docs/decisions/size-and-time-limits.md). It may only grow for what is worth more on a device:
 * functions that several share are made when they are called, which takes bytes in flash and saves 300 JsVars of RAM.
 */
export const LIMIT = 73191;

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Bytes of the committed file; null where nothing tells (no git, a tarball). */
function committedSize() {
  try {
    const options = { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] };
    return Number(execFileSync("git", ["cat-file", "-s", `HEAD:${FILE}`], options));
  } catch {
    return null;
  }
}

export function describeSize(size) {
  const committed = committedSize();
  const change = size - committed;
  const difference = committed === null ? "" : `, ${change > 0 ? "+" : ""}${change} against the committed file`;
  return `${FILE}: ${size} bytes${difference}; limit ${LIMIT}${size > LIMIT ? ": TOO BIG" : ""}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const bytes = readFileSync(new URL(`../../${FILE}`, import.meta.url)).length;
  console.log(describeSize(bytes));
  if (bytes > LIMIT) process.exitCode = 1;
}
