// Builds the module for the device: build/https-ota.js (readable ES5) and build/https-ota.min.js (what is uploaded),
// build/https-ota.d.ts; build/https-ota-loader.min.js, which starts the program of a release; and
// build/https-ota-hawkbit.min.js, the client of hawkBit. That Espruino can run them, and their size, are checks of what was
// built: npm run check. And build/cli.mjs, the command for the host: one file, its libraries included, and beside it their
// licences. And build/install/, the page that `https-ota factory --page` copies.
import { chmodSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, resolve as resolvePath } from "node:path";
import { fileURLToPath } from "node:url";
import commonjs from "@rollup/plugin-commonjs";
import json from "@rollup/plugin-json";
import resolve from "@rollup/plugin-node-resolve";
import terser from "@rollup/plugin-terser";
import typescript from "@rollup/plugin-typescript";
import { build, transform } from "esbuild";
import dts from "rollup-plugin-dts";
import { lazyScopes } from "./src/tools/lazy-scopes.mjs";
import { licenses, licensesText, packagesOf } from "./src/tools/licenses.mjs";

const BANNER =
  "/* https-ota (MIT): over-the-air firmware update for the ESP32, in Espruino. Built from src/; do not edit. */";

/** What stands where, to keep the module small in RAM: docs/decisions/lazy-scopes.md. */
const lazy = lazyScopes(fileURLToPath(new URL("src", import.meta.url)), {
  shared: {
    bytes: ["platform/bytes.ts", "platform/base64.ts"],
    blocks: ["platform/flash-blocks.ts", "platform/first-word.ts"],
    engine: ["platform/engine.ts"],
    config: ["config.ts"],
    image: ["platform/soc.ts", "image/image.ts"],
    verify: ["image/verify.ts"],
    otadata: ["boot/otadata.ts", "boot/boot-selection.ts", "boot/confirmation.ts"],
    records: ["boot/record-file.ts", "boot/storage-file.ts", "boot/file-set.ts", "boot/boot-record.ts"],
    files: ["boot/release-files.ts"],
    slots: ["boot/partitions.ts", "boot/layout.ts", "boot/storage.ts", "boot/ota-ops.ts"],
    exchange: ["net/url.ts", "platform/http-request.ts", "net/headers.ts", "net/http.ts"],
    download: ["net/download.ts"],
    session: ["update/session.ts"],
    incoming: ["trust/rollout.ts", "update/offer.ts", "update/files.ts"],
    finish: ["update/finish.ts"],
    keys: ["trust/base64url.ts", "trust/rsa-key.ts", "trust/keys.ts"],
    manifest: ["trust/json.ts", "trust/manifest.ts", "trust/policy.ts"],
  },
  stay: {
    "boot/lock.ts": ["acquireLock"],
    "net/http.ts": ["get"],
    "net/download.ts": ["createDownload"],
    "trust/pss.ts": ["verifyPss"],
    "trust/jws.ts": ["answer"],
    "update/receiver.ts": ["createReceiver"],
    "update/update.ts": ["open", "run"],
  },
});

/** https-ota.js and its types are CommonJS, in a package whose other files are ES modules. */
const commonjsFolder = {
  name: "commonjs-folder",
  generateBundle() {
    this.emitFile({ type: "asset", fileName: "package.json", source: '{ "type": "commonjs" }\n' });
  },
};

const AS_TEXT = "?text";

/** `import text from "./page.css?text"` is the file as a string; of TypeScript the script that it is for browsers. */
const texts = {
  name: "texts",
  resolveId: (id, importer) => (id.endsWith(AS_TEXT) ? resolvePath(dirname(importer), id) : null),
  async load(id) {
    if (!id.endsWith(AS_TEXT)) return null;
    const file = id.slice(0, -AS_TEXT.length);
    const options = {
      entryPoints: [file],
      bundle: true,
      format: "iife",
      target: "es2020",
      charset: "utf8",
      write: false,
    };
    const text = file.endsWith(".ts") ? (await build(options)).outputFiles[0].text : readFileSync(file, "utf8");
    return `export default ${JSON.stringify(text)};`;
  },
};

/** Types are checked by `npm run check`, not here: `npm test` builds first, and a check of the whole project takes longest. */
const device = () =>
  typescript({ tsconfig: "./tsconfig.src.json", noEmitOnError: true, noCheck: true, sourceMap: true });

/**
 * TypeScript for Node and for browsers, file by file: what targets ES2022 needs no more than its types taken out.
 */
const withoutTypes = {
  name: "without-types",
  async transform(source, id) {
    if (!id.endsWith(".ts")) return null;
    const { code } = await transform(source, { loader: "ts", target: "es2022", sourcefile: id });
    return { code, map: null };
  },
};

/** The command imports its files by name, and those that it shares with the device, as these do, without an ending. */
const extensions = [".mjs", ".js", ".json", ".node", ".ts"];

/** npm links a bin and leaves its mode to us. */
const executable = {
  name: "executable",
  writeBundle({ file }) {
    chmodSync(file, 0o755);
  },
};

/** Hides warnings about import cycles and `this` in the libraries of the command, which this project cannot change. */
function foreignWarnings(warning, warn) {
  const foreign = /node_modules/.test(warning.id ?? warning.ids?.join() ?? "");
  if (!foreign || !["CIRCULAR_DEPENDENCY", "THIS_IS_UNDEFINED"].includes(warning.code)) warn(warning);
}

const output = {
  format: "cjs",
  exports: "named",
  strict: false,
  esModule: false,
  freeze: false,
  externalLiveBindings: false,
  generatedCode: "es5",
};

const minify = terser({
  ecma: 5,
  toplevel: true,
  // inlining a function costs bytes here, and inline 3 would put its var behind its use, which Espruino takes for an outer one
  compress: { passes: 3, ecma: 5, directives: false, inline: 0 },
  mangle: { toplevel: true, properties: { regex: /[a-z0-9]_$/ } }, // private properties end in _ by convention
  format: { ascii_only: true, comments: false, ecma: 5 },
});

/**
 * The loader as Storage file .boot0: its program runs by eval at the top level (src/loader/loader.ts). `npx https-ota init`
 * puts a configuration in the place of __CONFIG__, and knows the file by its first line.
 */
const bootFile = {
  name: "boot-file",
  renderChunk: (code) => ({
    code: `// https-ota loader\neval((function(){var module={};${code.trim()}return module.exports(__CONFIG__)})());E.otaRan=true;\n`,
    map: null,
  }),
};

/** esptool-js knows every chip of Espressif, with a flash program of some 9 KB for each; boards/ has three. */
const threeChips = {
  name: "three-chips",
  load(id) {
    const [, name] = /esptool-js\/lib\/targets\/(?:stub_flasher\/)?(esp\w+[\w-]*)\.js(?:on)?$/.exec(id) ?? [];
    if (!name || ["esp32", "esp32c3", "esp32s3"].includes(name)) return null;
    return id.endsWith(".json") ? "{}" : `export class ${name.toUpperCase()}ROM {}`;
  },
};

/** The page itself, its style, and the licences of what is in its script. */
const page = {
  name: "page",
  generateBundle(_options, bundle) {
    for (const fileName of ["index.html", "install.css"])
      this.emitFile({ type: "asset", fileName, source: readFileSync(`src/cli/page/${fileName}`) });
    const modules = Object.values(bundle).flatMap((chunk) => Object.keys(chunk.modules ?? {}));
    const text = licensesText(packagesOf(modules)).replace("build/cli.mjs", "install.js");
    this.emitFile({ type: "asset", fileName: "licenses.txt", source: text });
  },
};

export default [
  {
    input: "src/index.ts",
    output: [
      { ...output, file: "build/https-ota.js", banner: BANNER },
      {
        ...output,
        file: "build/https-ota.min.js",
        plugins: [minify],
        sourcemap: "hidden",
        sourcemapExcludeSources: true,
      },
    ],
    plugins: [device(), lazy],
  },
  {
    input: "src/loader/loader.ts",
    output: { ...output, exports: "default", file: "build/https-ota-loader.min.js", plugins: [minify, bootFile] },
    plugins: [device()],
  },
  {
    input: "src/hawkbit/hawkbit.ts",
    // what a file of the module's reads of the engine while it loads is not needed here
    treeshake: { propertyReadSideEffects: false },
    output: { ...output, file: "build/https-ota-hawkbit.min.js", plugins: [minify] },
    plugins: [device()],
  },
  {
    input: "src/index.ts",
    output: { file: "build/https-ota.d.ts", format: "es" },
    plugins: [dts({ tsconfig: "./tsconfig.src.json", compilerOptions: { stripInternal: true } }), commonjsFolder],
  },
  {
    input: "src/cli/main.ts",
    external: (id) => id.startsWith("node:") || builtinModules.includes(id),
    output: { file: "build/cli.mjs", format: "es", banner: "#!/usr/bin/env node" },
    onwarn: foreignWarnings,
    plugins: [
      texts,
      withoutTypes,
      resolve({ exportConditions: ["node"], preferBuiltins: true, extensions }),
      commonjs(),
      json(),
      licenses("cli.licenses.txt"),
      executable,
    ],
  },
  {
    input: "src/cli/page/install.ts",
    output: { dir: "build/install", entryFileNames: "install.js", format: "iife", inlineDynamicImports: true },
    onwarn: foreignWarnings,
    plugins: [
      threeChips,
      withoutTypes,
      resolve({ browser: true, extensions }),
      commonjs(),
      json(),
      terser({ format: { comments: false } }),
      page,
    ],
  },
];
