// What the Web IDE (and the `espruino` command, which is the same code) makes of our module before it reaches a
// device: the `espruino` package's own processing, as described in docs/espruino.md#the-web-ide-minifies-again.
// The package replaces globals (es6-shim), logs everything and opens ports, so it is loaded in a process of its own:
// this file, started again. There it finds no network, and what it only prints as an error or warning is an error.

import { fork } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** process.env.MODULES of an ESP32 (boards/ESP32.py of Espruino): what is built in, and so is not looked for. */
const BUILT_IN = "timer,Flash,Storage,heatshrink,fs,net,dgram,tls,http,NetworkJS,Wifi,TelnetServer,crypto,neopixel";

const SELF = fileURLToPath(import.meta.url);
const TIMEOUT_MS = 30_000;

type Job =
  | { kind: "module"; code: string; minified: boolean; folder: string }
  | { kind: "upload"; code: string; folder: string };
type Outcome = { code: string } | { error: string };

/** One module through `transformModuleForEspruino`; `minified` is what the IDE concludes from a `.min.js` URL. */
export function ideProcess(code: string, opts: { minified: boolean }): Promise<string> {
  return run({ kind: "module", code, minified: opts.minified, folder: "" });
}

/**
 * The exact text that is sent for `program`. A module's key is its name ("https-ota", taken for a `.js` file, which
 * the IDE minifies) or a file name ("https-ota.min.js", which it leaves alone).
 */
export async function ideUpload(program: string, modules: Record<string, string>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "https-ota-ide-"));
  try {
    for (const [name, code] of Object.entries(modules)) {
      await writeFile(join(folder, name.endsWith(".js") ? name : `${name}.js`), code);
    }
    return await run({ kind: "upload", code: program, folder });
  } finally {
    await rm(folder, { recursive: true });
  }
}

function run(job: Job): Promise<string> {
  return new Promise((resolve, reject) => {
    const loader = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
    const child = fork(SELF, { execArgv: ["--import", loader], stdio: ["ignore", "ignore", "pipe", "ipc"] });
    let errors = "";
    let outcome: Outcome | undefined;
    const timer = setTimeout(() => child.kill("SIGKILL"), TIMEOUT_MS);
    child.stderr?.on("data", (data) => {
      errors += data;
    });
    child.on("message", (message) => {
      outcome = message as Outcome;
    });
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      if (outcome && "code" in outcome) resolve(outcome.code);
      else reject(new Error(outcome?.error ?? `espruino package ended by ${signal ?? code}: ${errors}`));
    });
    child.send(job);
  });
}

// ---- In the child -------------------------------------------------------------------------------------------------

/** The part of the package's global object that is used here (it ships no types: docs/espruino.md#the-types-are-old). */
type Tools = {
  Config: Record<string, unknown>;
  Core: { Env: { getData(): Record<string, unknown> }; Notifications: Record<string, (text: string) => void> };
  callProcessor(name: "transformForEspruino", code: string, done: (code: string) => void): void;
  callProcessor(
    name: "transformModuleForEspruino",
    module: { code: string; name: string; minified: boolean },
    done: (module: { code: string }) => void,
  ): void;
};

function work(job: Job, answer: (outcome: Outcome) => void): void {
  const fail = (text: string) => answer({ error: String(text) });
  for (const name of ["log", "info", "warn", "error", "debug", "trace"] as const) console[name] = () => {};
  const require = createRequire(SELF);
  for (const name of ["http", "https"]) {
    const client = require(name);
    client.get = client.request = () => {
      fail("the espruino package asked for the network");
      throw new Error("no network");
    };
  }
  require("espruino").init(() => {
    const tools = (globalThis as unknown as { Espruino: Tools }).Espruino;
    Object.assign(tools.Config, {
      BLUETOOTH_LOW_ENERGY: false,
      BLUETOOTH_LOW_ENERGY_DBUS: false,
      COMPILATION: false,
      SAVE_ON_SEND: -1,
      MODULE_URL: job.folder,
    });
    tools.Core.Env.getData().MODULES = BUILT_IN;
    // Minification that fails and a module that is not found are only told to the user, and the upload goes on.
    tools.Core.Notifications.error = fail;
    tools.Core.Notifications.warning = fail;
    if (job.kind === "upload") tools.callProcessor("transformForEspruino", job.code, (code) => answer({ code }));
    else {
      const module = { code: job.code, name: "https-ota", minified: job.minified };
      tools.callProcessor("transformModuleForEspruino", module, (done) => answer({ code: done.code }));
    }
  });
}

if (process.argv[1] === SELF && process.send) {
  let answered = false;
  process.once("message", (job) =>
    work(job as Job, (outcome) => {
      if (answered) return;
      answered = true;
      // Whatever the package left open (ports, timers) ends here.
      process.send?.(outcome, () => process.exit(0));
    }),
  );
}
