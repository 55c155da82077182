// JsVars that the module holds and that an update needs at the peak of each of its phases.
// All is started from a timer: while the program's own text runs it is in memory too, and freed in the middle.
import type { Server } from "../support/server.ts";
import { measure } from "./engine.ts";
import { row } from "./table.ts";

const PHASES = ["manifest", "signature", "download", "digest", "select"];

/** Samples at every native call that the update makes; memory() collects garbage first. */
const SAMPLER = `
  var peaks = {}, phase = "", base = 0, hashes = 0;
  function usage() { return engineProcess.memory().usage; }
  function sample() { var u = usage() - base; if (!(peaks[phase] >= u)) peaks[phase] = u; }
  function sampled(library, name) { var f = library[name]; library[name] = function (a, b) { var r = f(a, b); sample(); return r; }; }
  sampled(require("Flash"), "read");
  // each hundredth of the ten thousand products of a signature
  var dot = E.convolve, products = 0;
  E.convolve = function (a, b, o) { if (++products % 100 === 0) sample(); return dot(a, b, o); };
  var sha = require("crypto").SHA256;
  Modules.addCached("crypto", function () { exports.SHA256 = function (d) {
    // the manifest's hash is the first; the digest's begin when the last byte is in flash
    if (phase === "manifest") phase = "signature";
    var r = sha(d); sample(); return r; }; });
  function onEvent(name, bytes, total) {
    if (name === "CONNECTED") phase = "download";
    sample();
    if (name === "WRITE_FLASH" && bytes === total) phase = "digest";
    if (name === "UPDATE_BOOT_PARTITION") phase = "select";
  }
  Modules.removeCached("https-ota"); ota = undefined;`;

/** JsVars that are free before an update "with little memory": the module then takes its smaller blocks (receiver.ts). */
const LITTLE = 2200;

/** `free`: so many JsVars are left when the update begins, 0: all of them. */
async function measureOnce(server: Server, keys: string, free: number): Promise<any> {
  const run = await measure(`${SAMPLER}
    var config = { url: ${JSON.stringify(server.url("/small.jws"))}, keys: ${keys}, onEvent: onEvent };
    var held = 0, before = 0, after = 0, left = 0, fill = [];
    function failed(error) { reportError(error); finish(); }
    // the first update makes what the engine makes once (http, timers): the leak check is of the second
    setTimeout(function () {
      phase = "warm"; require("https-ota").update(config).then(function () {
        phase = ""; Modules.removeCached("https-ota");
        // or the second one would find the image there
        require("Flash").erasePage(0x190000);
        setTimeout(begin, 200);
      }, failed);
    }, 200);
    function begin() {
      // every variable of this program exists before the measurement, and every number has its size
      peaks = ${JSON.stringify(Object.fromEntries(PHASES.map((phase) => [phase, 1])))};
      config.allowSameVersion = true;
      base = before = usage();
      ota = require("https-ota");
      held = usage() - before;
      for (var n = ${free} && engineProcess.memory().free - ${free}; n > 0; n--) fill.push(1);
      base = usage();
      phase = "manifest";
      ota.update(config).then(function () { setTimeout(ended, 200); }, failed);
    }
    function ended() {
      phase = ""; 
      after = usage() - base;
      Modules.removeCached("https-ota"); ota = undefined;
      left = usage() - base + held;
      report({ held: held, peaks: peaks, after: after, left: left, block: engineProcess.memory().blocksize });
      finish();
    }`);
  const { held, peaks, after, left, block } = run.reports[0];
  return { held, peaks, after, left, block, peak: Math.max(...PHASES.map((phase) => peaks[phase] as number)) };
}

/** `name`: over TLS the engine itself takes two buffers of 16 KB and a context, which the target does not mean. */
export async function memory(server: Server, keys: string, name: string): Promise<void> {
  const tls = name === "TLS";
  const { held, peaks, after, left, block, peak } = await measureOnce(server, keys, 0);
  if (!tls) row(`JsVars of ${block} bytes held after require from Storage`, held, "", 400);
  row(`extra JsVars at the peak of a signed update over ${name}`, peak, "");
  for (const phase of PHASES) row(`  in phase ${phase}`, peaks[phase], "");
  row("  after it (leaked)", after, "", 0);
  row("  left after removeCached", left, "", 0);
  if (tls) return;
  const little = await measureOnce(server, keys, LITTLE);
  row(`the same with ${LITTLE} JsVars free`, little.peak, "", 1200);
  for (const phase of PHASES) row(`  in phase ${phase}`, little.peaks[phase], "");
}
