// npm run bench: the numbers of docs/design.md#numbers-to-hold, each beside its target. What needs the interpreter is skipped without
// ESPRUINO, and said so. Ratios are of one run, medians of several rounds in turn; times are of this machine.

import { Command } from "commander";
import { counts, seconds } from "./counts.ts";
import { instructions } from "./instructions.ts";
import { memory } from "./memory.ts";
import { signature } from "./signature.ts";
import { sizes } from "./sizes.ts";
import { digestAlone, IMAGE, speed } from "./speed.ts";
import { row, rows, show, skip } from "./table.ts";
import { ESPRUINO } from "../real-espruino/engine.ts";
import { buildImage } from "../support/images.ts";
import { claimsFor, makeKey, signManifest } from "../support/release.ts";
import { serveFile, startServer } from "../support/server.ts";

const program = new Command("bench")
  .description(
    "The numbers to hold (docs/design.md). The interpreter's rows need ESPRUINO; their targets are meant for a 32-bit build.",
  )
  .option("--json", "one JSON line")
  .option("--memory", "only the JsVars held, and at the peak of an update over HTTP")
  .option("--instructions", "also count instructions, with valgrind: some minutes")
  .parse();
const options = program.opts<{ json?: boolean; memory?: boolean; instructions?: boolean }>();

const SMALL = buildImage({ chip: "esp32", size: 600_000, seed: 3, descriptor: { version: "2.0.2" } });
const http = await startServer();
const https = await startServer({ tls: true });
const key = await makeKey({ bits: 3072 });
const manifest = await signManifest(claimsFor(SMALL, { image: { url: "small.bin" } }), key);
for (const server of [http, https]) {
  server.on("/small.bin", serveFile(SMALL));
  server.on("/small.jws", serveFile(Buffer.from(manifest)));
}
try {
  if (options.memory && ESPRUINO) {
    await memory(http, JSON.stringify([key.jwk]), "HTTP");
    show();
    process.exit();
  }
  sizes();
  const spent = await counts(http, key, IMAGE);
  if (ESPRUINO) {
    await memory(http, JSON.stringify([key.jwk]), "HTTP");
    await memory(https, JSON.stringify([key.jwk]), "TLS");
    const { bare, update } = await speed(http, "HTTP");
    await speed(https, "TLS");
    await digestAlone(http);
    await signature();
    if (options.instructions) await instructions(http, ESPRUINO);
    else skip("instructions per KB: update", "only with --instructions");
    seconds(spent, IMAGE, update);
    // a bare loop on a device erases and programs too
    const { erase, program } = spent[0].flash;
    const { read } = spent[0].flash;
    row(
      "1.5 MB, update over bare loop by the model, network aside",
      (erase + program + read + 10 * update) / (erase + program + 10 * bare),
      "x",
      1.5,
    );
  } else {
    const why = "ESPRUINO is not set";
    process.stderr.write(`${why}: rows of the interpreter are skipped\n`);
    skip("JsVars held after require from Storage", why, 400);
    skip("extra JsVars at the peak of a signed update over HTTP", why, 1200);
    skip("extra JsVars at the peak of a signed update over TLS", why);
    skip("  each: by phase, after it, after removeCached", why);
    skip("1.5 MB over HTTP: update over bare loop, flash taking no time", why, 1.5);
    skip("1.5 MB over TLS: update over bare loop, flash taking no time", why, 1.5);
    skip("digest of 1.5 MB, from the last byte to the selection, this machine", why);
    for (const bits of [2048, 3072, 4096])
      skip(`RSA-${bits} check over 400 SHA-256 of a 4096-character string`, why, bits === 3072 ? 6 : undefined);
    skip("instructions per KB: update", why);
    seconds(spent, IMAGE, null);
    skip("1.5 MB, update over bare loop by the model, network aside", why, 1.5);
  }
  if (options.json) console.log(JSON.stringify(rows));
  else show();
} finally {
  await http.close();
  await https.close();
}
