// What a run of test files prints (test-host/checks/reporter.ts), and how it ends.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { report } from "../../checks/reporter.ts";

const RUN = fileURLToPath(new URL("../../support/run.ts", import.meta.url));

/** Runs `source` as a test file, and gives what is printed. */
function runTests(
  source: string,
  more: NodeJS.ProcessEnv = {},
): { status: number | null; stdout: string; stderr: string } {
  const folder = mkdtempSync(join(tmpdir(), "https-ota-reporter-"));
  try {
    const file = join(folder, "some.test.mjs");
    writeFileSync(file, `import { test } from "node:test"; import assert from "node:assert"; ${source}`);
    // else it takes itself for a part of the run that this test belongs to
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined, ESPRUINO: "", ...more };
    return spawnSync(process.execPath, ["--import", "tsx", RUN, file], {
      env,
      encoding: "utf8",
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("tests that pass, and what is left out of them", () => {
  const { status, stdout, stderr } = runTests(
    `test("a", (t) => t.diagnostic("not run: 5 of 6 cases of it")); test("b", (t) => t.skip("left out: of a kind"));
     test("c", (t) => t.skip("no interpreter"));`,
  );
  assert.equal(stderr, "");
  assert.match(stdout, /^\u2714 1 passed, 0 failed, .*\nSkipped:\n {2}1 x no interpreter\nLeft out; /);
  assert.match(stdout, /\n {2}1 tests of a kind\n {2}5 of 6 cases of it\nNot run: /);
  assert.equal(status, 0);
});

test("a test that fails is told where it is, and by name at the end", () => {
  const { status, stdout } = runTests(`test("a", () => assert.equal(1, 2));`, { CAMPAIGN_SEED: "17" });
  assert.match(
    stdout,
    /^\u2716 a \(.*some\.test\.mjs:1\)\n[\s\S]*1 == 2[\s\S]*\n\u2716 0 passed, 1 failed, .*\n {4}.*: a\nNot run: .*\nCAMPAIGN_SEED=17 draws the same tests and cases again\n$/,
  );
  assert.equal(status, 1);
});

test("a hook that fails is told: the tests of its suite have passed", () => {
  const { status, stdout } = runTests(
    `import { after, describe } from "node:test";
     describe("some", () => { test("a", () => {}); after(() => { throw new Error("not closed"); }); });
     describe("others", () => { test("b", () => assert.equal(1, 2)); });`,
  );
  assert.match(stdout, /^\u2716 some \(.*\n {4}Error: not closed\n/);
  // a suite whose test has failed is no failure of its own
  assert.match(stdout, /\n\u2716 1 passed, 2 failed, .*\n {4}.*: some\n {4}.*: b\nNot run: /);
  assert.equal(status, 1);
});

test("a file that ends with an error is told with what it said", () => {
  const { status, stdout } = runTests(`throw new Error("no such board");`);
  assert.match(
    stdout,
    /^\u2716 .*some\.test\.mjs \([\s\S]*\n {4}Error: no such board\n[\s\S]*\n\u2716 0 passed, 1 failed, /,
  );
  assert.equal(status, 1);
});

// else it would leave out tests in silence
test("a share or a seed that is not a number ends the run", () => {
  for (const variable of ["CAMPAIGN", "CAMPAIGN_SEED"]) {
    const { status, stdout, stderr } = runTests(`test("a", () => {});`, { [variable]: "all" });
    assert.match(stderr, new RegExp(`Error: ${variable}: expected a number from . on, got all\n`));
    assert.equal(stdout, "");
    assert.equal(status, 1);
  }
  const { stdout } = runTests(`test("a", () => {});`, { CAMPAIGN: "", CAMPAIGN_SEED: "" });
  assert.match(stdout, /^\u2714 1 passed, 0 failed/);
});

test("what was not even started is told with what is left out", async () => {
  let text = "";
  for await (const some of report([], ["3 of 4 files"])) text += some;
  assert.match(text, /0 passed, 0 failed, .*\nLeft out; .*\n {2}3 of 4 files\n$/);
});
