// Writes the licences of the packages whose code is in build/cli.mjs beside it: MIT, BSD and Apache require their text with
// every copy. A package without a licence text fails the build.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";

const FOLDER = /^\0?(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//;
const TEXT = /^(?:licen[cs]e|copying|copyright|notice)/i;

/** The folders of the packages that these modules of rollup belong to. */
export function packagesOf(modules) {
  const folders = new Set(modules.map((id) => FOLDER.exec(id)?.[1]).filter(Boolean));
  return [...folders];
}

/** { title, license, text } of the package in `folder`. */
export function licenseOf(folder) {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const files = readdirSync(folder).filter((file) => TEXT.test(file) && existsSync(join(folder, file)));
  if (!files.length) throw new Error(`${name} ${version} has no licence text in ${basename(folder)}`);
  const text = files.map((file) => readFileSync(join(folder, file), "utf8").trim()).join("\n\n");
  return { title: `${name} ${version}`, license, text };
}

const RULE = "-".repeat(80);

export function licensesText(folders) {
  const all = folders.map(licenseOf).sort((a, b) => (a.title < b.title ? -1 : 1));
  const parts = all.map(({ title, license, text }) => `${RULE}\n${title} (${license})\n${RULE}\n\n${text}\n`);
  return `build/cli.mjs holds code of these packages, besides https-ota itself (MIT).\n\n${parts.join("\n")}`;
}

/** For rollup. */
export function licenses(fileName) {
  return {
    name: "licenses",
    generateBundle(_options, bundle) {
      const modules = Object.values(bundle).flatMap((chunk) => Object.keys(chunk.modules ?? {}));
      this.emitFile({ type: "asset", fileName, source: licensesText(packagesOf(modules)) });
    },
  };
}
