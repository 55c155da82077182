// Private keys that are encrypted: the passphrase comes from the environment or from a terminal, and is never shown.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { existsSync } from "node:fs";
import { before, test } from "node:test";
import { plainEnvironment, type Run, runProcess } from "../../support/command.ts";
import { COMMAND, fails, succeeds, workshop } from "./cli-run.ts";
import { server } from "./cli-serving.ts";

const shop = workshop();
const PASSPHRASE = "correct horse battery";
const env = (passphrase: string) => ({ ...plainEnvironment(), HTTPS_OTA_PASSPHRASE: passphrase });
const runWith = (passphrase: string, ...args: string[]): Promise<Run> =>
  runProcess({ file: COMMAND, cwd: shop.folder, env: env(passphrase) }, args);

const signBy = (key: string, out: string) =>
  ["sign", "--file", "app.js=app.js", "--entry", "app.js", "--chip", "esp32", "--app-version", "1"].concat(
    ...["--expires", "never", "--key", key, "--out", out],
  );

before(async () => {
  shop.put("app.js", "print(1)");
  succeeds(await runWith(PASSPHRASE, "keygen", "--out", "key.pem", "--bits", "2048", "--passphrase"));
});

test("keygen --passphrase encrypts the key, and says so", async () => {
  const { stdout } = succeeds(await runWith(PASSPHRASE, "keygen", "--out", "a.pem", "--bits", "2048", "--passphrase"));
  assert.match(stdout, /^a\.pem: encrypted private key, RSA 2048 bits\. Anyone who has it and its passphrase can/);
  assert.ok(!stdout.includes(PASSPHRASE));
  const pem = shop.get("a.pem").toString();
  assert.match(pem, /^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
  assert.throws(() => createPrivateKey({ key: pem, passphrase: "wrong" }));
  assert.equal(createPrivateKey({ key: pem, passphrase: PASSPHRASE }).asymmetricKeyDetails?.modulusLength, 2048);
});

test("sign and serve take the passphrase from the environment", async (t) => {
  succeeds(await runWith(PASSPHRASE, ...signBy("key.pem", "env.jws")));
  succeeds(await shop.run("verify", "env.jws", "--key", "key.pub.jwk"));
  process.env.HTTPS_OTA_PASSPHRASE = PASSPHRASE;
  const serving = workshop();
  delete process.env.HTTPS_OTA_PASSPHRASE;
  serving.put("key.pem", shop.get("key.pem"));
  serving.put("app.js", "print(1)");
  const args = ["--file", "app.js=app.js", "--entry", "app.js", "--chip", "esp32", "--key", "key.pem", "--http"];
  assert.match((await server(serving)(t, ...args)).out(), /release\.jws/);
});

test("a wrong passphrase and a missing one are told apart, with the remedy", async () => {
  const missing =
    /^key\.pem: the key is encrypted: set HTTPS_OTA_PASSPHRASE, or run the command in a terminal, where it asks$/m;
  fails(await shop.run(...signBy("key.pem", "no.jws")), 1, missing);
  fails(await runWith("", ...signBy("key.pem", "no.jws")), 1, missing);
  const wrong = await runWith("a wrong horse", ...signBy("key.pem", "no.jws"));
  fails(wrong, 1, /^key\.pem: wrong passphrase \(from HTTPS_OTA_PASSPHRASE\), or the file is damaged$/m);
  assert.ok(!wrong.stderr.includes("horse"));
  assert.ok(!existsSync(shop.at("no.jws")));
});

test("every wrong passphrase has the same message, whatever comes out of it", async () => {
  const pem = shop.get("key.pem").toString();
  // one in some 256 gives a correct padding, and bytes that are not a key
  let garbage = "";
  for (let i = 0; !garbage && i < 5000; i++)
    try {
      createPrivateKey({ key: pem, passphrase: `wrong ${i}` });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ERR_OSSL_BAD_DECRYPT") garbage = `wrong ${i}`;
    }
  assert.ok(garbage);
  fails(await runWith(garbage, ...signBy("key.pem", "no.jws")), 1, /^key\.pem: wrong passphrase/);
});

test("keys that OpenSSL encrypted are read, but for ciphers that Node does not have", async () => {
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  const lock = { format: "pem" as const, cipher: "aes-128-cbc", passphrase: PASSPHRASE };
  shop.put("old.pem", rsa.export({ type: "pkcs1", ...lock }));
  assert.match(shop.get("old.pem").toString(), /BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED/);
  succeeds(await runWith(PASSPHRASE, ...signBy("old.pem", "old.jws")));
  const openssl = (...args: string[]) =>
    spawnSync("openssl", ["pkcs8", "-topk8", "-in", shop.at("plain.pem"), "-passout", `pass:${PASSPHRASE}`, ...args]);
  shop.put("plain.pem", rsa.export({ type: "pkcs8", format: "pem" }));
  // an openssl without it has nothing to show
  if (openssl("-out", shop.at("strong.pem"), "-iter", "600000").status === 0)
    succeeds(await runWith(PASSPHRASE, ...signBy("strong.pem", "strong.jws")));
  const legacy = ["-v1", "PBE-MD5-DES", "-provider", "legacy", "-provider", "default"];
  if (openssl("-out", shop.at("des.pem"), ...legacy).status === 0)
    fails(
      await runWith(PASSPHRASE, ...signBy("des.pem", "no.jws")),
      1,
      /^des\.pem: encrypted by a cipher that Node does not have: openssl pkcs8 .* converts it$/m,
    );
});

test("verify asks for the public half of a key, not for a passphrase", async () => {
  succeeds(await runWith(PASSPHRASE, ...signBy("key.pem", "v.jws")));
  const says =
    /^key\.pem: an encrypted private key, expected its public half: key\.pub\.jwk, which keygen wrote, or what openssl pkey -in key\.pem -pubout -out key\.pub\.pem writes$/m;
  fails(await runWith(PASSPHRASE, "verify", "v.jws", "--key", "key.pem"), 1, says);
});

test("keygen refuses a short passphrase, and one on the command line", async () => {
  const args = ["keygen", "--out", "short.pem", "--bits", "2048", "--passphrase"];
  fails(await runWith("elevenchars", ...args), 1, /^HTTPS_OTA_PASSPHRASE: 11 characters, expected at least 12/);
  fails(await runWith(PASSPHRASE, ...args, "secret"), 2, /too many arguments/);
  fails(await shop.run(...args), 2, /--passphrase: set HTTPS_OTA_PASSPHRASE, or run the command in a terminal/);
  assert.ok(!existsSync(shop.at("short.pem")));
});

// --- On a terminal ---------------------------------------------------------------------------------------------------

const noTerminal = spawnSync("script", ["-qec", "true", "/dev/null"]).status === 0 ? false : "no script (util-linux)";
if (noTerminal) console.log("!!! script of util-linux is not here: no prompt was tried on a terminal !!!");

/** Types an answer after each question. Resolves with all that the terminal showed, and the exit code. */
function onTerminal(answers: string[], ...args: string[]): Promise<{ shown: string; code: number | null }> {
  const line = [process.execPath, COMMAND, ...args].map((one) => `'${one}'`).join(" ");
  const child = spawn("script", ["-qec", line, "/dev/null"], { cwd: shop.folder, env: plainEnvironment() });
  let shown = "";
  let asked = 0;
  child.stdout.setEncoding("utf8").on("data", (text) => {
    shown += text;
    const questions = shown.match(/(?:Passphrase of|The same again)[^\n]*: /g)?.length ?? 0;
    while (asked < Math.min(questions, answers.length)) child.stdin.write(answers[asked++]);
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), 30_000);
  return new Promise((resolve) =>
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ shown, code });
    }),
  );
}

test("a terminal is asked, and does not show what is typed", { skip: noTerminal }, async () => {
  const { shown, code } = await onTerminal([`${PASSPHRASE}\r`], ...signBy("key.pem", "tty.jws"));
  assert.equal(code, 0, shown);
  assert.match(shown, /^Passphrase of key\.pem: \r\ntty\.jws: signed manifest/);
  succeeds(await shop.run("verify", "tty.jws", "--key", "key.pub.jwk"));
  const wrong = await onTerminal(["another horse\r"], ...signBy("key.pem", "no.jws"));
  assert.match(wrong.shown, /^Passphrase of key\.pem: \r\nkey\.pem: wrong passphrase \(from the terminal\)/);
  assert.equal(wrong.code, 1);
  for (const text of [shown, wrong.shown]) assert.doesNotMatch(text, /horse/);
});

test("two encrypted keys are asked for one after the other", { skip: noTerminal }, async () => {
  succeeds(await runWith("another horse battery", "keygen", "--out", "two.pem", "--bits", "2048", "--passphrase"));
  const answers = [`${PASSPHRASE}\r`, "another horse battery\r"];
  const { shown, code } = await onTerminal(answers, ...signBy("key.pem", "both.jws"), "--key", "two.pem");
  assert.equal(code, 0, shown);
  assert.match(shown, /Passphrase of key\.pem: \r\nPassphrase of two\.pem: \r\n/);
});

test("an answer that does not come is an error, not silence", { skip: noTerminal }, async () => {
  for (const key of ["\x04", "\x03", "\r"]) {
    const { shown, code } = await onTerminal([key], ...signBy("key.pem", "no.jws"));
    assert.match(shown, /key\.pem: the key is encrypted, and no passphrase was given/);
    assert.equal(code, 1);
  }
});

test("keygen asks twice, and makes no key of two different answers", { skip: noTerminal }, async () => {
  const args = ["keygen", "--bits", "2048", "--passphrase", "--out"];
  const { shown, code } = await onTerminal([`${PASSPHRASE}\r`, `${PASSPHRASE}\r`], ...args, "typed.pem");
  assert.equal(code, 0, shown);
  assert.ok(createPrivateKey({ key: shop.get("typed.pem"), passphrase: PASSPHRASE }));
  const other = await onTerminal([`${PASSPHRASE}\r`, `${PASSPHRASE}!\r`], ...args, "none.pem");
  assert.match(other.shown, /the second one differs, no key was made/);
  assert.deepEqual([other.code, existsSync(shop.at("none.pem"))], [1, false]);
});
