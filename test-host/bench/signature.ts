// The RSA check over 400 native hashes.
//
// docs/design.md#numbers-to-hold does not say in which form the 4096 bytes are hashed. A plain multiplication made of E.convolve comes to
// its "naive: 11" (measured: 9 to 14) for a string as the network delivers it, so that one has the target; the other row
// is for a typed array, of which the interpreter need not make a copy first.
import { bundleEntry } from "../support/bundle.ts";
import { makeKey, signPss } from "../support/release.ts";
import { measure } from "./engine.ts";
import { row } from "./table.ts";

/** In turn, and the best of each counts: other programs only ever make something slower. */
const ROUNDS = 15;

export async function signature(): Promise<void> {
  for (const bits of [2048, 3072, 4096]) {
    const key = await makeKey({ bits });
    const signed = signPss(Buffer.from("https-ota"), key);
    const run = await measure(`
      Modules.addCached("rsa", ${JSON.stringify(await bundleEntry("src/trust/pss.ts", { minify: true }))});
      function bytes(text) { var u = new Uint8Array(text.length); u.set(text); return u; }
      var sha = require("crypto").SHA256, text = "";
      for (var i = 0; i < 4096; i++) text += String.fromCharCode(i & 255);
      var n = bytes(atob(${JSON.stringify(Buffer.from(key.jwk.n, "base64url").toString("base64"))}));
      var s = bytes(atob(${JSON.stringify(signed.toString("base64"))}));
      var best = { text: Infinity, bytes: Infinity, check: Infinity }, rounds = ${ROUNDS}, start;
      function took(what) { best[what] = Math.min(best[what], getTime() - start); }
      function hashes(block, what) { start = getTime(); for (var i = 0; i < 400; i++) sha(block); took(what); }
      function round() {
        hashes(text, "text");
        hashes(new Uint8Array(4096), "bytes");
        start = getTime();
        require("rsa").verifyPss(n, 65537, s, new Uint8Array(sha("https-ota")), function (error, good) {
          took("check");
          if (good && --rounds) return setTimeout(round, 0);
          report({ good: good, ofText: best.check / best.text, ofBytes: best.check / best.bytes, ms: best.check * 1000 });
          finish();
        });
      }
      round();`);
    const { good, ofText, ofBytes, ms } = run.reports[0];
    if (!good) throw new Error(run.output);
    const target = bits === 3072 ? 6 : undefined;
    row(`RSA-${bits} check over 400 SHA-256 of a 4096-character string`, ofText, "x", target);
    row("  over 400 of a Uint8Array of 4096 bytes", ofBytes, "x");
    row("  on this machine, idle loop included", ms, "ms");
  }
}
