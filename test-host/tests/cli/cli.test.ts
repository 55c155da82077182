// The command as such: help, wrong usage, keygen, and that it stands alone.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { copyFileSync, readFileSync, statSync } from "node:fs";
import { builtinModules } from "node:module";
import path from "node:path";
import { test } from "node:test";
import { calculateJwkThumbprint } from "jose";
import { fails, forAll, ROOT, succeeds, workshop } from "./cli-run.ts";

const shop = workshop();
const COMMANDS = ["keygen", "sign", "verify", "inspect", "serve", "partitions"];
const PACKAGE = JSON.parse(readFileSync(path.join(ROOT, "package.json"), "utf8"));

test("every command explains itself, with an example", async () => {
  await forAll(COMMANDS, async (command) => {
    const run = succeeds(await shop.run(command, "--help"), /^Usage: https-ota /, /\nExamples?:\n/);
    assert.match(run.stdout, new RegExp(`\\n  npx https-ota ${command} `));
  });
});

test("the whole command lists them, says its version, and exits 0", async () => {
  const run = succeeds(await shop.alone("--help"), /\nExample/);
  for (const command of COMMANDS) assert.match(run.stdout, new RegExp(`\\n  ${command} `));
  succeeds(await shop.alone("--version"), new RegExp(`^${PACKAGE.version}\n$`));
});

test("the command does the same in its own process and in the shared one", async () => {
  for (const args of [
    [],
    ["--version"],
    ["sign", "--help"],
    ["keygen"],
    ["inspect", "."],
    ["verify", "a", "--key", "b"],
  ])
    assert.deepEqual(await shop.alone(...args), await shop.run(...args), args.join(" "));
});

test("wrong usage is exit code 2 and one line that names it", async () => {
  shop.put("any.bin", "x");
  shop.put("any.csv", "nvs,data,nvs,,12K");
  const cases: [RegExp, ...string[]][] = [
    [/missing command/],
    [/unknown command 'sgin'.*did you mean sign/i, "sgin"],
    [/unknown option '--colour'/, "--colour"],
    [/--out/, "keygen"],
    [/--out.*file/, "keygen", "--out", "-"],
    [/--out.*file/, "keygen", "--out", ""],
    [/--out.*file/, "sign", "any.bin", "--key", "k.pem", "--out", ""],
    [/--bits.*1024.*2048/, "keygen", "--out", "k.pem", "--bits", "1024"],
    [/missing required argument 'image'/, "sign", "--key", "k.pem"],
    [/--key/, "sign", "any.bin"],
    [/--out/, "sign", "any.bin", "--key", "k.pem"],
    [/--sequence.*-1/, "sign", "any.bin", "--key", "k.pem", "--out", "m", "--sequence", "-1"],
    [/--sequence.*1\.5/, "sign", "any.bin", "--key", "k.pem", "--out", "m", "--sequence", "1.5"],
    [/--sequence/, "sign", "any.bin", "--key", "k.pem", "--out", "m", "--sequence", "9007199254740992"],
    [/--expires.*soon/, "sign", "any.bin", "--key", "k.pem", "--out", "m", "--expires", "soon"],
    [/--expires/, "sign", "any.bin", "--key", "k.pem", "--out", "m", "--expires", "0d"],
    [/--expires/, "sign", "any.bin", "--key", "k.pem", "--out", "m", "--expires", "99999999999d"],
    [/--expires/, "sign", "any.bin", "--key", "k.pem", "--out", "m", "--expires", "99999999999999999999y"],
    [/--expires/, "sign", "any.bin", "--key", "k.pem", "--out", "m", "--expires", "2030-02-31"],
    [/--url.*empty/, "sign", "any.bin", "--key", "k.pem", "--out", "m", "--url", ""],
    [/--url.*ftp/, "sign", "any.bin", "--key", "k.pem", "--out", "m", "--url", "ftp://x/y"],
    [/--url.*IPv6/, "sign", "any.bin", "--key", "k.pem", "--out", "m", "--url", "http://[::1]/y"],
    [/--url.*percent/, "sign", "any.bin", "--key", "k.pem", "--out", "m", "--url", "a b.bin"],
    [/--board/, "sign", "any.bin", "--key", "k.pem", "--out", "m", "--board", ""],
    [/--external/, "sign", "any.bin", "--key", "k.pem", "--out", "m", "--signature", "s"],
    [/both/, "sign", "any.bin", "--key", "k.pem", "--out", "m", "--external", "--signature", "s"],
    [/url is in the signing input/, ...secondStep("--url", "x")],
    [/storage is in the signing input/, ...secondStep("--storage", "js_code")],
    [/too many arguments|excess/i, "sign", "any.bin", "other.bin", "--key", "k.pem", "--out", "m"],
    [/--key/, "verify", "m.jws"],
    [/missing required argument 'file'/, "inspect"],
    [/--port.*70000/, "serve", ".", "--port", "70000"],
    [/--host.*IPv6/, "serve", ".", "--host", "::1"],
    [/--out/, "partitions", "any.csv"],
    [/--flash-size.*big/, "partitions", "any.csv", "--check", "--flash-size", "big"],
  ];
  await forAll(cases, async ([says, ...args]) => void fails(await shop.run(...args), 2, says));
});

function secondStep(...more: string[]): string[] {
  return [
    "sign",
    "any.bin",
    "--key",
    "k",
    "--out",
    "m",
    "--external",
    "--signing-input",
    "i",
    "--signature",
    "s",
    ...more,
  ];
}

test("files that are not there, are folders, or may not be written are named", async () => {
  shop.put("good.pem", "");
  const cases: [RegExp, ...string[]][] = [
    [/^nowhere\.pem: no such file/, "sign", "x.bin", "--key", "nowhere.pem", "--out", "m"],
    [/^nowhere\.jws: no such file/, "inspect", "nowhere.jws"],
    [/^\.: is a folder/, "inspect", "."],
    [/^none: no such file/, "serve", "none", "--host", "127.0.0.1", "--port", "0"],
    [/^nowhere\.csv: no such file/, "partitions", "nowhere.csv", "--check"],
    [/^none\/key\.pem: no such file or folder/, "keygen", "--bits", "2048", "--out", "none/key.pem"],
  ];
  await forAll(cases, async ([says, ...args]) => void fails(await shop.run(...args), 1, says));
});

test("keygen makes a private PKCS#8 key, its JWK and the line for the device", async () => {
  for (const bits of ["2048", "3072"]) {
    const file = `k${bits}.pem`;
    const { stdout } = succeeds(await shop.run("keygen", "--out", file, "--bits", bits));
    assert.equal(statSync(shop.at(file)).mode & 0o777, 0o600);
    assert.match(shop.get(file).toString(), /^-----BEGIN PRIVATE KEY-----\n/);
    const key = createPrivateKey(shop.get(file));
    assert.equal(key.asymmetricKeyDetails?.modulusLength, Number(bits));
    const jwk = JSON.parse(shop.get(`k${bits}.pub.jwk`).toString());
    const { n, e } = createPublicKey(key).export({ format: "jwk" });
    const kid = await calculateJwkThumbprint({ kty: "RSA", n, e });
    assert.deepEqual(jwk, { kty: "RSA", n, e, kid, alg: "PS256", use: "sig" });
    const line = /^keys: (\[.*\]),$/m.exec(stdout)?.[1];
    assert.deepEqual(new Function(`return ${line}`)(), [{ kty: "RSA", n, e, kid }]);
  }
});

test("keygen makes 3072 bits when nothing is said", async () => {
  succeeds(await shop.alone("keygen", "--out", "default.pem"));
  assert.equal(createPrivateKey(shop.get("default.pem")).asymmetricKeyDetails?.modulusLength, 3072);
});

test("keygen overwrites neither a private nor a public key", async () => {
  shop.put("old.pem", "precious");
  fails(await shop.run("keygen", "--out", "old.pem"), 1, /^old\.pem: exists already/);
  assert.equal(shop.get("old.pem").toString(), "precious");
  shop.put("half.pub.jwk", "precious");
  fails(await shop.run("keygen", "--out", "half.pem"), 1, /^half\.pub\.jwk: exists already/);
  assert.throws(() => shop.get("half.pem"), /ENOENT/, "half a key pair was left");
});

test("keygen writes no key to standard output, nor into a file that is called -", async () => {
  const run = await shop.run("keygen", "--out", "-");
  assert.equal(fails(run, 2, /--out/).stdout, "");
  assert.throws(() => shop.get("-"), /ENOENT/);
});

test("the built command needs nothing but Node", () => {
  const file = path.join(ROOT, "build/cli.mjs");
  const code = readFileSync(file, "utf8");
  assert.ok(code.startsWith("#!/usr/bin/env node\n"));
  assert.equal(statSync(file).mode & 0o111, 0o111, "not executable");
  const imports = [...code.matchAll(/^import (?:[^"';]*? from )?['"]([^'"]+)['"];$/gm)].map(([, name]) => name);
  assert.ok(imports.includes("node:crypto"));
  const foreign = imports.filter((name) => !name.startsWith("node:") && !builtinModules.includes(name));
  assert.deepEqual(foreign, []);
  // away from node_modules and from everything else of the package
  copyFileSync(file, shop.at("alone.mjs"));
  const run = spawnSync(process.execPath, [shop.at("alone.mjs"), "--version"], { encoding: "utf8" });
  assert.deepEqual([run.status, run.stdout, run.stderr], [0, `${PACKAGE.version}\n`, ""]);
  assert.deepEqual(PACKAGE.bin, { "https-ota": "build/cli.mjs" });
  assert.deepEqual(PACKAGE.dependencies ?? {}, {});
});
