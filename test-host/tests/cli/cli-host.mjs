// Runs the built command again and again in one process, each time as a process of its own would: the whole file is
// evaluated anew, and a run ends when nothing keeps the process alive. Node's start and the parsing of a megabyte, most of
// what a short command costs, are paid once. `workshop` of cli-run.ts starts it.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import vm from "node:vm";
import { transformSync } from "esbuild";

const [, , command] = process.argv;
const require = createRequire(command);
const define = { "import.meta.url": JSON.stringify(pathToFileURL(command).href) };
// only a script, not a module, can be evaluated again with what V8 has compiled of it
const { code } = transformSync(readFileSync(command, "utf8"), { format: "cjs", target: "node20", define });
const source = `(function (exports, require, module) {${code.replace(/^#!/, "//")}\n})`;

/** Of everything that the last run called. */
let compiled;
/** The run that is going on: its standard output and standard error. */
let run;

function collect(stream, key) {
  stream.write = (chunk, encoding, done = encoding) => {
    run[key].push(Buffer.from(chunk, typeof encoding === "string" ? encoding : "utf8"));
    if (typeof done === "function") process.nextTick(done);
    return true;
  };
}
collect(process.stdout, "stdout");
collect(process.stderr, "stderr");

process.on("message", (args) => {
  run = { stdout: [], stderr: [] };
  process.exitCode = 0;
  process.argv = [process.execPath, command, ...args];
  process.channel.unref();
  const script = new vm.Script(source, { filename: command, cachedData: compiled });
  const module = { exports: {} };
  script.runInThisContext()(module.exports, require, module);
  run.script = script;
});

process.on("uncaughtException", (error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});

process.on("beforeExit", (code) => {
  compiled ??= run.script?.createCachedData();
  process.stdout.removeAllListeners("error");
  process.channel.ref();
  process.send({ code, stdout: Buffer.concat(run.stdout), stderr: Buffer.concat(run.stderr) });
});
