// examples/program: built as its README says, signed, verified, and run on the virtual device as the loader runs it.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { before, test } from "node:test";
import { rollup } from "rollup";
import { checkEs5 } from "../../checks/es5.mjs";
import { createDevice } from "../../sim/device.ts";
import { ROOT, succeeds, workshop } from "./cli-run.ts";

const shop = workshop();
const FOLDER = path.join(ROOT, "examples/program");
const README = readFileSync(path.join(FOLDER, "README.md"), "utf8");

before(async () => {
  succeeds(await shop.run("keygen", "--out", "key.pem", "--bits", "2048"));
  const { default: configs } = await import(path.join(FOLDER, "rollup.config.mjs"));
  for (const config of configs) {
    const bundle = await rollup(config);
    const { output } = await bundle.generate(config.output);
    await bundle.close();
    mkdirSync(shop.at("examples/program/build"), { recursive: true });
    for (const one of output)
      shop.put(`examples/program/build/${one.fileName}`, one.type === "chunk" ? one.code : one.source);
  }
});

const built = (name: string) => shop.get(`examples/program/build/${name}`).toString();
const claims = () => JSON.parse(Buffer.from(built("app.jws").split(".")[1], "base64url").toString());

test("the command of its README makes a release without a note", async () => {
  const [, command] = /npx https-ota (sign [^\n]*\\\n[^\n]*)/.exec(README) ?? assert.fail("no sign in the README");
  const run = succeeds(await shop.run(...command.replace("\\\n", "").split(/ +/)), /hours\.js +\d+ +module hours/);
  assert.doesNotMatch(run.stdout, / note /);
  assert.deepEqual(
    claims().files.map(({ name }: { name: string }) => name),
    ["hours.js", "app.js", "hours.csv"],
  );
  const verify = ["verify", "examples/program/build/app.jws", "--key", "key.pub.jwk"];
  succeeds(await shop.run(...verify, "--files", "examples/program/build"), /ok files/);
});

test("it is what Espruino takes, and runs", () => {
  for (const name of ["app.js", "hours.js"]) assert.deepEqual(checkEs5(built(name), name), []);
  const bundle = 'exports.file = function (name) { return "~" + name; }; exports.confirmAfter = function () {};';
  const device = createDevice({ bundle }).boot();
  device.engine.run(`Modules.addCached("hours", ${JSON.stringify(built("hours.js"))})`);
  device.engine.run(`require("Storage").write("~hours.csv", ${JSON.stringify(built("hours.csv"))})`);
  device.engine.run(built("app.js"));
  assert.match(device.engine.console.join("\n"), /^good (night|morning|afternoon|evening)$/m);
  assert.deepEqual(device.engine.problems, []);
  device.stop();
});
