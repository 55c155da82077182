// package-lock.json and .npmrc: what `npm ci` puts on a computer that will hold a signing key.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

type Entry = { version?: string; integrity?: string; resolved?: string };

const read = (name: string) => readFileSync(new URL(`../../../${name}`, import.meta.url), "utf8");
const { packages }: { packages: Record<string, Entry> } = JSON.parse(read("package-lock.json"));
const PACKAGE = JSON.parse(read("package.json"));

test("every package of the lock file has an exact version and a SHA-512", () => {
  const entries = Object.entries(packages).filter(([name]) => name !== "");
  assert.ok(entries.length > 100, `${entries.length} packages`);
  for (const [name, { version, integrity }] of entries) {
    assert.match(version ?? "none", /^\d+\.\d+\.\d+(?:[-+][\w.+-]+)?$/, name);
    // npm leaves it out for packages of other platforms, and then installs whatever a registry serves there
    assert.match(integrity ?? "none", /^sha512-[\w+/]{86}==$/, name);
  }
});

test("the lock file names no host", () => {
  assert.doesNotMatch(read("package-lock.json"), /"resolved":|"link":/);
});

test("dependencies have exact versions", () => {
  const wanted = { ...PACKAGE.dependencies, ...PACKAGE.devDependencies, ...PACKAGE.overrides };
  for (const [name, version] of Object.entries(wanted)) assert.match(String(version), /^\d+\.\d+\.\d+$/, name);
});

test("no dependency runs a script when it is installed", () => {
  assert.ok(read(".npmrc").split("\n").includes("ignore-scripts=true"));
});
