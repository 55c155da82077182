// Makes the files of a release: the program, its module, its data. Each source is one file on the device, in ES5 and as
// CommonJS: what one imports of another becomes require("hours").
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import typescript from "@rollup/plugin-typescript";

const at = (name) => fileURLToPath(new URL(name, import.meta.url));

const data = {
  name: "data",
  generateBundle() {
    this.emitFile({ type: "asset", fileName: "hours.csv", source: readFileSync(at("src/hours.csv")) });
  },
};

const output = { format: "cjs", exports: "named", strict: false, esModule: false, freeze: false };

export default ["app", "hours"].map((name) => ({
  input: at(`src/${name}.ts`),
  external: ["hours"],
  output: { ...output, externalLiveBindings: false, generatedCode: "es5", file: at(`build/${name}.js`) },
  plugins: [typescript({ tsconfig: at("tsconfig.json"), noEmitOnError: true }), ...(name === "app" ? [data] : [])],
}));
