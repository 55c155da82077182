// Runs a command again and again in one process, as each time a process of its own would: it is evaluated again, and a run
// ends when nothing keeps the process alive. Node's start and the parsing of the sources, most of what a short command
// costs, are paid once. command.ts starts it.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import vm from "node:vm";

const [, , command] = process.argv;
const { href } = pathToFileURL(command);
/** The standard output and the standard error of the run that is going on. */
let run;
let runs = 0;

/** How the built command, one file of a megabyte, is evaluated. */
async function scriptLoader() {
  const { transformSync } = await import("esbuild");
  const require = createRequire(command);
  const define = { "import.meta.url": JSON.stringify(href) };
  // a script, unlike a module, can be evaluated again with what V8 has compiled of it
  const { code } = transformSync(readFileSync(command, "utf8"), { format: "cjs", target: "node20", define });
  const source = `(function (exports, require, module) {${code.replace(/^#!/, "//")}\n})`;
  let compiled;
  return () => {
    const script = new vm.Script(source, { filename: command, cachedData: compiled });
    const module = { exports: {} };
    script.runInThisContext()(module.exports, require, module);
    // of everything that this run calls
    run.atEnd = () => {
      compiled ??= script.createCachedData();
    };
  };
}

/** How sources are evaluated: the file itself is, and what it imports stays. */
const moduleLoader = () => import(`${href}?run=${runs}`);

const load = command.endsWith(".ts") ? moduleLoader : await scriptLoader();

function collect(stream, key) {
  stream.write = (chunk, encoding, done = encoding) => {
    run[key].push(Buffer.from(chunk, typeof encoding === "string" ? encoding : "utf8"));
    if (typeof done === "function") process.nextTick(done);
    return true;
  };
}
collect(process.stdout, "stdout");
collect(process.stderr, "stderr");

process.on("message", async (args) => {
  run = { stdout: [], stderr: [], atEnd() {} };
  runs++;
  process.exitCode = 0;
  process.argv = [process.execPath, command, ...args];
  process.channel.unref();
  await load();
});

process.on("uncaughtException", (error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});

process.on("beforeExit", (code) => {
  run.atEnd();
  process.stdout.removeAllListeners("error");
  process.channel.ref();
  process.send({ code, stdout: Buffer.concat(run.stdout), stderr: Buffer.concat(run.stderr) });
});
