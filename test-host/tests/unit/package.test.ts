// What `npm pack` puts into the package: what its package.json names, and nothing that only this repository needs. And the
// licences of what is bundled into the command.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { rollup } from "rollup";
import { licenseOf, packagesOf } from "../../../src/tools/licenses.mjs";
import { sayLeftOut, shareOf } from "../../support/share.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const about = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));

const LOCK = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8"));

let paths: string[];
before(() => {
  const said = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
    cwd: ROOT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  paths = JSON.parse(said)[0].files.map(({ path }: { path: string }) => path);
});

describe("the package", () => {
  test("holds every file that package.json names", () => {
    const named = [about.main, about.types, about.unpkg, about.jsdelivr, ...Object.values(about.bin)];
    for (const target of Object.values(about.exports))
      named.push(...(typeof target === "string" ? [target] : Object.values(target as object)));
    const files = named.map((name: string) => name.replace(/^\.\//, "")).filter((name) => !name.includes("*"));
    assert.ok(files.length >= 8, String(files));
    assert.deepEqual(
      files.filter((file) => !paths.includes(file)),
      [],
    );
  });

  test("holds sources, boards, docs and licences", () => {
    const wanted = [
      "build/cli.licenses.txt",
      "build/https-ota-loader.min.js",
      "build/https-ota.min.js",
      "build/package.json",
      "boards/esp32c3/partitions.bin",
      "docs/errors.md",
      "examples/nightly.js",
      "src/index.ts",
      "CHANGELOG.md",
      "LICENSE",
      "README.md",
      "SECURITY.md",
    ];
    assert.deepEqual(
      wanted.filter((file) => !paths.includes(file)),
      [],
    );
    assert.deepEqual(
      execFileSync("git", ["ls-files", "src"], { cwd: ROOT, encoding: "utf8" })
        .split("\n")
        .filter((file) => file && !paths.includes(file)),
      [],
    );
  });

  test("holds no tests, no toy boards, nothing hidden", () => {
    const folders = new Set(paths.filter((path) => path.includes("/")).map((path) => path.split("/")[0]));
    assert.deepEqual([...folders].sort(), ["boards", "build", "docs", "examples", "src"]);
    assert.ok(readdirSync(join(ROOT, "boards")).some((name) => name.startsWith("toy-")));
    assert.deepEqual(
      paths.filter((path) => /toy-|\.test\.|(^|\/)\./.test(path)),
      [],
    );
  });
});

/** Where the package of that name and version lies, in node_modules or below another package. */
function folderOf(title: string): string {
  const [, name, version] = /^(.+) (\S+)$/.exec(title) ?? assert.fail(title);
  const found = Object.entries(LOCK.packages as Record<string, { version?: string }>).find(
    ([path, about]) => path.endsWith(`node_modules/${name}`) && about.version === version,
  );
  return join(ROOT, found?.[0] ?? assert.fail(`${title} is not in package-lock.json`));
}

describe("build/cli.licenses.txt", () => {
  const text = readFileSync(join(ROOT, "build/cli.licenses.txt"), "utf8");
  const headings = [...text.matchAll(/^-{80}\n(.+ \d\S*) \(.+\)\n-{80}$/gm)].map(([, title]) => title);

  test("has every package that is in the command, and no other", async (t) => {
    // another build of the command: npm test has just made this one
    if (shareOf(2) > 1) return sayLeftOut(t, 0, 1, "comparisons of the licences with another build");
    const { default: configs } = await import(new URL("../../../rollup.config.mjs", import.meta.url).href);
    const command = configs.find((one: any) => one.output.file === "build/cli.mjs");
    assert.ok(command, "rollup.config.mjs makes no build/cli.mjs");
    const bundle = await rollup({ ...command, plugins: command.plugins.filter((one: any) => one.name !== "licenses") });
    const { output } = await bundle.generate({ format: "es" });
    await bundle.close();
    const folders = packagesOf(output.flatMap((chunk) => ("modules" in chunk ? Object.keys(chunk.modules) : [])));
    assert.deepEqual(headings.sort(), folders.map((folder) => licenseOf(folder).title).sort());
  });

  test("has the whole text of each licence", () => {
    assert.ok(headings.length > 20, String(headings));
    for (const heading of headings) {
      const { title, text: own } = licenseOf(folderOf(heading));
      assert.equal(title, heading);
      assert.ok(own.length > 200, `${title} says too little`);
      assert.ok(text.includes(own), title);
    }
  });

  test("a package without a licence text fails the build", () => {
    assert.throws(() => licenseOf(join(ROOT, "build")), /has no licence text/);
  });
});
