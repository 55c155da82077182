// What sign, verify and keygen read and write: files that are too large, keys that do not fit, files that must stay.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { existsSync, mkdirSync, symlinkSync, truncateSync } from "node:fs";
import { before, test } from "node:test";
import { fsverity } from "../../support/fsverity.ts";
import { buildImage } from "../../support/images.ts";
import { part } from "../../support/share.ts";
import { COMMAND, fails, forAll, type Run, succeeds, workshop } from "./cli-run.ts";

const shop = workshop();
const IMAGE = buildImage({ size: 61008, seed: 2, descriptor: { project: "lamp", version: "2.0.0" } });
const LARGE = 20 * 1024 * 1024;

before(async () => {
  succeeds(await shop.run("keygen", "--out", "key.pem", "--bits", "2048"));
  shop.put("fw.bin", IMAGE);
  succeeds(await signTo("fw.jws"));
  succeeds(await external("--out", "fw.txt"));
});

const signTo = (out: string, ...more: string[]) =>
  shop.run("sign", "fw.bin", "--key", "key.pem", "--out", out, ...more);
const external = (...more: string[]) => shop.run("sign", "fw.bin", "--external", "--key", "key.pub.jwk", ...more);
const verifyWith = (key: string, file = "fw.jws") => shop.run("verify", file, "--key", key);
const takeBack = (input: string, signature = "x") =>
  external("--signing-input", input, "--signature", signature, "--out", "no.jws");

/** The run's time is that of a process and of a look at a file's size. */
async function soon(job: Promise<Run>): Promise<Run> {
  const begun = performance.now();
  const run = await job;
  assert.ok(performance.now() - begun < 10_000, "it took more than 10 s");
  return run;
}

// --- Ceilings --------------------------------------------------------------------------------------------------------

const FILLS: Record<string, (size: number) => string> = {
  blanks: (size) => " ".repeat(size),
  lines: (size) => "\n".repeat(size),
  "blanks-and-brace": (size) => `${" ".repeat(size)}{`,
  "brace-and-blanks": (size) => `{${" ".repeat(size)}\n`,
  quotes: (size) => '"'.repeat(size),
  backslashes: (size) => `{"${"\\".repeat(size)}`,
  nested: (size) => "[".repeat(size),
  jws: (size) => `eyJ${"A".repeat(size)}.eyJ${"A".repeat(size)}`,
  dots: (size) => ".".repeat(size),
  pem: (size) => `-----BEGIN ${"A ".repeat(size / 2)}`,
  begins: (size) => "-----BEGIN ".repeat(size / 11),
};

test("manifests, signing inputs, keys and signatures of any size are refused at once", async (t) => {
  await forAll(Object.entries(FILLS), async ([name, fill]) => {
    for (const size of part(t, [8000, 60_000, 100_000, 1_000_000], 2, "sizes of files that are refused")) {
      const file = shop.put(`${name}-${size}`, fill(size));
      const says = new RegExp(`^${file}: .{0,300}$`, "m");
      fails(await soon(verifyWith("key.pub.jwk", file)), 1, says);
      fails(await soon(verifyWith(file)), 1, says);
      fails(await soon(takeBack(file)), 1, says);
      fails(await soon(takeBack("fw.txt", file)), 1, says);
      fails(await soon(shop.run("sign", "fw.bin", "--key", file, "--out", "no.jws")), 1, says);
      fails(await soon(shop.run("sign", "fw.bin", "--cosign", file, "--key", "key.pem", "--out", "no.jws")), 1, says);
    }
  });
});

test("a signing input of 20 MB is refused by its size", async () => {
  const payload = Buffer.from(`{"a":"${"x".repeat(LARGE)}"}`).toString("base64url");
  const [header] = shop.get("fw.txt").toString().split(".");
  shop.put("large.txt", `${header}.${payload}`);
  fails(await soon(takeBack("large.txt")), 1, /^large\.txt: \d{8} bytes, a signing input has at most 32768$/m);
  fails(
    await soon(verifyWith("key.pub.jwk", "large.txt")),
    1,
    /^large\.txt: form: \d{8} bytes, a device reads 32768$/m,
  );
  fails(await soon(verifyWith("large.txt")), 1, /^large\.txt: \d{8} bytes, a key file has at most 65536$/m);
});

test("a file without end is refused by what is read of it", async () => {
  fails(await soon(verifyWith("key.pub.jwk", "/dev/zero")), 1, /^\/dev\/zero: form: more than 32768 bytes, a device/);
  fails(await soon(verifyWith("/dev/zero")), 1, /^\/dev\/zero: more than 65536 bytes/);
  fails(await soon(takeBack("/dev/zero")), 1, /^\/dev\/zero: more than 32768 bytes/);
  fails(await soon(takeBack("fw.txt", "/dev/zero")), 1, /^\/dev\/zero: more than 32768 bytes/);
});

test("an image beyond every flash chip is not read", async () => {
  shop.put("vast.bin", IMAGE);
  truncateSync(shop.at("vast.bin"), 5 * 2 ** 30);
  fails(
    await soon(shop.run("sign", "vast.bin", "--key", "key.pem", "--out", "no.jws")),
    1,
    /^vast\.bin: 5368709120 bytes, a flash chip has at most 134217728$/m,
  );
});

test("folders and files that are not there are named", async () => {
  mkdirSync(shop.at("folder"));
  for (const [file, says] of [
    ["folder", /^folder: is a folder, expected a file$/m],
    ["gone", /^gone: no such file or folder$/m],
  ] as const) {
    fails(await verifyWith("key.pub.jwk", file), 1, says);
    fails(await verifyWith(file), 1, says);
    fails(await takeBack(file), 1, says);
    fails(await shop.run("sign", file, "--key", "key.pem", "--out", "no.jws"), 1, says);
  }
});

// --- Keys ------------------------------------------------------------------------------------------------------------

test("a private key whose parts do not belong together makes no wrong manifest", async () => {
  const jwk = createPrivateKey(shop.get("key.pem")).export({ format: "jwk" });
  const other = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });
  const cases: Record<string, object> = {
    n: { ...jwk, n: other.n },
    d: { ...jwk, d: other.d, p: other.p, q: other.q, dp: other.dp, dq: other.dq, qi: other.qi },
    p: { ...jwk, p: other.p },
    qi: { ...jwk, qi: "AA" },
    e: { ...jwk, e: "Aw" },
    zero: { ...jwk, d: "AA", p: "AA", q: "AA", dp: "AA", dq: "AA", qi: "AA" },
  };
  let right = 0;
  for (const [name, wrong] of Object.entries(cases)) {
    const file = shop.put(`wrong-${name}.jwk`, JSON.stringify(wrong));
    const run = await shop.run("sign", "fw.bin", "--key", file, "--out", `${name}.jws`);
    // OpenSSL makes a right signature of some of them
    if (!run.code) succeeds(await verifyWith("key.pub.jwk", `${name}.jws`));
    else fails(run, 1, new RegExp(`^wrong-${name}\\.jwk: .{1,300}$`, "m"));
    right += run.code ? 0 : 1;
  }
  assert.ok(right <= 2, `${right} of them sign`);
});

test("odd key files are refused in one short line", async () => {
  const jwk = JSON.parse(shop.get("key.pub.jwk").toString());
  const cases: unknown[] = [
    { keys: null },
    { keys: 5 },
    { keys: [null] },
    { keys: [[]] },
    [null],
    [1],
    {},
    { kty: { a: "x".repeat(5000) } },
    { kty: ["RSA"] },
    { ...jwk, n: 5 },
    { ...jwk, n: null },
    { ...jwk, n: "" },
    { ...jwk, n: "A".repeat(50_000) },
    { ...jwk, n: "_".repeat(50_000) },
    { ...jwk, e: "A".repeat(50_000) },
    { ...jwk, e: "_".repeat(50_000) },
    { ...jwk, e: {} },
    { ...jwk, n: "\u0000" },
  ];
  await forAll([...cases.entries()], async ([i, content]) => {
    const file = shop.put(`odd-${i}.jwk`, JSON.stringify(content));
    const says = new RegExp(`^${file}: .{1,300}$`, "m");
    fails(await soon(verifyWith(file)), 1, says);
    fails(await soon(shop.run("sign", "fw.bin", "--key", file, "--out", "no.jws")), 1, says);
  });
});

// --- What --out replaces ---------------------------------------------------------------------------------------------

test("--out never replaces a private key", async () => {
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  const ec = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const jwk = rsa.export({ format: "jwk" });
  const keys: Record<string, string | Buffer> = {
    "pkcs8.pem": rsa.export({ type: "pkcs8", format: "pem" }),
    "pkcs1.pem": rsa.export({ type: "pkcs1", format: "pem" }),
    "ec.pem": ec.export({ type: "sec1", format: "pem" }),
    "locked.pem": rsa.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" }),
    id_rsa: "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    "behind.pem": `Bag Attributes\n  friendlyName: x\n${rsa.export({ type: "pkcs8", format: "pem" })}`,
    "private.jws": rsa.export({ type: "pkcs8", format: "pem" }),
    "rsa.jwk": JSON.stringify(jwk),
    "set.jwk": JSON.stringify({ keys: [{ kty: "RSA" }, jwk] }),
    "list.json": JSON.stringify([jwk], null, 2),
    "ec.jwk": JSON.stringify(ec.export({ format: "jwk" })),
    "oct.jwk": JSON.stringify({ kty: "oct", k: "AAAA" }),
  };
  symlinkSync("pkcs8.pem", shop.at("link.jws"));
  for (const [name, content] of Object.entries(keys)) shop.put(name, content);
  await forAll([...Object.keys(keys), "link.jws"], async (out) => {
    const before = shop.get(out);
    const says = new RegExp(`^${out}: is a private key, and is not overwritten: choose another --out$`, "m");
    fails(await signTo(out), 1, says);
    fails(await external("--out", out), 1, says);
    fails(await shop.run("sign", "fw.bin", "--cosign", "fw.jws", "--key", "key.pem", "--out", out), 1, /./);
    fails(await shop.run("keygen", "--out", out, "--bits", "2048"), 1, /exists already, and is not overwritten/);
    assert.ok(shop.get(out).equals(before), `${out} was overwritten`);
  });
});

test("partitions --out does not replace a private key either", async () => {
  shop.put("table.csv", "nvs,data,nvs,0x9000,0x6000,\nfactory,app,factory,0x10000,1M,\n");
  const before = shop.get("key.pem");
  fails(await shop.run("partitions", "table.csv", "--out", "key.pem"), 1, /^key\.pem: is a private key/);
  assert.ok(shop.get("key.pem").equals(before));
});

test("sign --out replaces manifests and signing inputs, and no other file", async () => {
  const [manifest, input] = [shop.get("fw.jws"), shop.get("fw.txt")];
  const replaced: Record<string, string | Buffer> = {
    "old.jws": manifest,
    "old.txt": input,
    "cut.jws": manifest.subarray(0, 200),
    "two.jws": `${manifest}\n${manifest}`,
    "empty.jws": "",
  };
  await forAll(Object.entries(replaced), async ([out, content]) => {
    shop.put(out, content);
    succeeds(await signTo(out));
    succeeds(await verifyWith("key.pub.jwk", out));
    shop.put(out, content);
    succeeds(await external("--out", out));
  });
  const kept: Record<string, string | Uint8Array> = {
    "image.bin": IMAGE,
    "notes.txt": "do not lose this",
    "key.pub.jwk.copy": shop.get("key.pub.jwk"),
    "key.der": createPrivateKey(shop.get("key.pem")).export({ type: "pkcs8", format: "der" }),
    "jwt.txt": `${Buffer.from('{"alg":"HS256","typ":"JWT"}').toString("base64url")}.e30.AAAA`,
    "page.html": "<!DOCTYPE html>",
    blank: " ",
  };
  await forAll(Object.entries(kept), async ([out, content]) => {
    shop.put(out, content);
    const says = new RegExp(
      `^${out}: is not a manifest, and is not overwritten: remove it, or choose another --out$`,
      "m",
    );
    fails(await signTo(out), 1, says);
    fails(await external("--out", out), 1, says);
    assert.deepEqual(new Uint8Array(shop.get(out)), new Uint8Array(Buffer.from(content as string)));
  });
  succeeds(await signTo("new.jws"));
  succeeds(await signTo("/dev/null"));
});

// --- Slips -----------------------------------------------------------------------------------------------------------

test("a file beyond every flash chip is named by its size, whatever it was to be", async () => {
  shop.put("sparse.bin", "");
  truncateSync(shop.at("sparse.bin"), 3 * 2 ** 30);
  const excess = /^sparse\.bin: 3221225472 bytes, a flash chip has at most 134217728$/m;
  await forAll(["inspect", "partitions"], async (command) => {
    fails(await shop.run(command, "sparse.bin", ...(command === "partitions" ? ["--check"] : [])), 1, excess);
  });
  if (existsSync("/dev/zero")) fails(await shop.run("inspect", "/dev/zero"), 1, /more than 134217728 bytes, a flash/);
});

test("- is standard output, and no input", async () => {
  const says = /^-: standard input is not read, expected the name of a file$/m;
  fails(await shop.run("sign", "-", "--key", "key.pem", "--out", "no.jws"), 1, says);
  fails(await shop.run("inspect", "-"), 1, says);
  fails(await shop.run("verify", "-", "--key", "key.pub.jwk"), 1, says);
});

test("an image without a file name of its own needs --url: the name would be the URL", async () => {
  shop.put("piped.bin", IMAGE);
  const sign = (feed: string, more = "") => {
    const command = `${feed.replace("SIGN", `node ${COMMAND} sign /dev/stdin --key key.pem --out piped.jws ${more}`)}`;
    const { status, stdout, stderr } = spawnSync("sh", ["-c", command], { cwd: shop.folder, encoding: "utf8" });
    return { code: status, stdout, stderr, bytes: Buffer.from(stdout) };
  };
  const says = /^\/dev\/stdin: has no file name of its own: --url says where the image will be$/m;
  for (const feed of ["cat piped.bin | SIGN", "SIGN < piped.bin"]) {
    fails(sign(feed), 1, says);
    succeeds(sign(feed, "--url piped.bin"));
    succeeds(await shop.run("verify", "piped.jws", "--key", "key.pub.jwk", "--image", "piped.bin"), /piped\.bin/);
  }
});

test("a file that is given as a key and is not one is named", async () => {
  const pem = shop.get("key.pem").toString();
  const pub = createPublicKey(pem).export({ type: "spki", format: "pem" }).toString();
  shop.put("carrier.bin", Buffer.concat([IMAGE, Buffer.from(pub)]).subarray(-0xf000));
  shop.put("ssh.pem", pem.replaceAll("PRIVATE KEY", "OPENSSH PRIVATE KEY"));
  shop.put("cert.pem", pub.replaceAll("PUBLIC KEY", "CERTIFICATE"));
  shop.put("cut.pem", pem.slice(0, 400));
  const cases: [string, RegExp][] = [
    ["carrier.bin", /^carrier\.bin: binary data, expected a key as PEM or JWK text/m],
    ["ssh.pem", /^ssh\.pem: an OpenSSH key, expected PKCS#8: ssh-keygen -p -m PKCS8/m],
    ["cert.pem", /^cert\.pem: a certificate: a public key, expected the private one/m],
    ["cut.pem", /^cut\.pem: this PEM has no END line: is the file whole\?$/m],
  ];
  await forAll(cases, async ([key, says]) => {
    fails(await shop.run("sign", "fw.bin", "--key", key, "--out", "no.jws"), 1, says);
  });
  // both halves in one file
  for (const [i, both] of [pem + pub, pub + pem].entries()) {
    shop.put(`both${i}.pem`, both);
    succeeds(await shop.run("sign", "fw.bin", "--key", `both${i}.pem`, "--out", `both${i}.jws`));
    succeeds(await shop.run("verify", `both${i}.jws`, "--key", "key.pub.jwk", "--image", "fw.bin"));
  }
});

test("an image that fits no slot of the known tables is signed and shown with a note", async () => {
  shop.put("big.bin", Buffer.concat([IMAGE, Buffer.alloc(5 * 2 ** 20 - IMAGE.length, 0xff)]));
  const note = /note +5242880 bytes fit no slot of the tables in boards\/: the largest for esp32 has \d+\n/;
  succeeds(await shop.run("sign", "big.bin", "--key", "key.pem", "--out", "big.jws"), note);
  succeeds(await shop.run("inspect", "big.bin"), note);
  const small = succeeds(await shop.run("sign", "fw.bin", "--key", "key.pem", "--out", "small.jws"));
  const shown = succeeds(await shop.run("inspect", "fw.bin"));
  assert.doesNotMatch(small.stdout + shown.stdout, /boards\//);
});

test("digests are printed as the device's digest takes them", async () => {
  const digest = new RegExp(`digest +fsverity-sha256:${fsverity(IMAGE)}\n`);
  succeeds(await shop.run("inspect", "fw.bin"), digest);
  succeeds(await shop.run("sign", "fw.bin", "--key", "key.pem", "--out", "digest.jws"), digest);
  succeeds(await shop.run("inspect", "digest.jws"), digest);
  succeeds(await shop.run("verify", "digest.jws", "--key", "key.pub.jwk"), digest);
});
