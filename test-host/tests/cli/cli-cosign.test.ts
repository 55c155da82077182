// Manifests with two signatures: made here or on two computers, verified as a device with `threshold` would.
import assert from "node:assert/strict";
import { constants, createHash, createPrivateKey, sign as rsaSign } from "node:crypto";
import { existsSync } from "node:fs";
import { before, test } from "node:test";
import { compactVerify, importJWK } from "jose";
import { buildImage, mutations } from "../../support/images.ts";
import {
  claimsFor,
  cosignManifest,
  forge,
  type Key,
  keyOf,
  manifestOfLength,
  signManifest,
} from "../../support/release.ts";
import { imageWith, textsOf } from "./cli-espruino.ts";
import { fails, forAll, succeeds, workshop } from "./cli-run.ts";

const shop = workshop();
const IMAGE = buildImage({ size: 61008, seed: 2, descriptor: { project: "lamp", version: "2.0.0" } });
const NAMES = ["a", "b", "c"] as const;
const kid = {} as Record<(typeof NAMES)[number], string>;

before(async () => {
  await Promise.all(NAMES.map((name) => shop.run("keygen", "--out", `${name}.pem`, "--bits", "2048")));
  for (const name of NAMES) kid[name] = JSON.parse(shop.get(`${name}.pub.jwk`).toString()).kid;
  shop.put("fw.bin", IMAGE);
  shop.put("other.bin", buildImage({ size: 61008, seed: 3, descriptor: { project: "lamp", version: "2.0.0" } }));
  succeeds(await sign("--key", "a.pem", "--out", "one.jws", "--sequence", "7"));
  succeeds(await sign("--key", "a.pem", "--key", "b.pem", "--out", "two.jws", "--sequence", "7"));
});

const sign = (...args: string[]) => shop.run("sign", "fw.bin", ...args);
const cosign = (manifest: string, ...args: string[]) => sign("--cosign", manifest, ...args);
const verify = (manifest: string, keys: string, ...args: string[]) =>
  shop.run("verify", manifest, ...[...keys].flatMap((name) => ["--key", `${name}.pub.jwk`]), ...args);
const tokens = (name: string) => shop.get(name).toString("latin1").split("\n");
const kidOf = (token: string) => JSON.parse(Buffer.from(token.split(".")[0], "base64url").toString()).kid;
const keyNamed = (name: string): Promise<Key> => keyOf(createPrivateKey(shop.get(`${name}.pem`)));
const pss = (text: string, name: string) =>
  rsaSign("sha256", Buffer.from(text), {
    key: shop.get(`${name}.pem`),
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: 32,
  });

test("two keys make two tokens over one payload, one line end between them", async () => {
  const [first, second, ...more] = tokens("two.jws");
  assert.equal(more.length, 0);
  assert.equal(first.split(".")[1], second.split(".")[1]);
  assert.deepEqual([kidOf(first), kidOf(second)], [kid.a, kid.b]);
  assert.match(shop.get("two.jws").toString("latin1"), /^[\w-]+\.[\w-]+\.[\w-]+\n[\w-]+\.[\w-]+\.[\w-]+$/);
  for (const [token, name] of [
    [first, "a"],
    [second, "b"],
  ])
    await compactVerify(token, await importJWK(JSON.parse(shop.get(`${name}.pub.jwk`).toString()), "PS256"));
});

test("sign says which keys have signed", async () => {
  const run = succeeds(
    await sign("--key", "a.pem", "--key", "b.pem", "--out", "said.jws"),
    /said\.jws: signed manifest, \d+ bytes, two signatures\n/,
  );
  for (const name of ["a", "b"] as const) assert.match(run.stdout, new RegExp(`key +${kid[name]}\n`));
});

test("sign takes two different keys, and no third", async () => {
  fails(await sign("--key", "a.pem", "--key", "b.pem", "--key", "c.pem", "--out", "no.jws"), 2, /at most two/);
  shop.put("copy.pem", shop.get("a.pem"));
  fails(await sign("--key", "a.pem", "--key", "copy.pem", "--out", "no.jws"), 1, /^copy\.pem: the same key as a\.pem/);
  fails(await sign("--external", "--key", "a.pub.jwk", "--key", "b.pub.jwk", "--out", "no.txt"), 2, /--cosign/);
  assert.ok(!existsSync(shop.at("no.jws")) && !existsSync(shop.at("no.txt")));
});

test("verify counts signatures by different keys", async () => {
  const cases: [string, string, string[], RegExp | null][] = [
    ["one.jws", "a", [], null],
    ["one.jws", "ab", ["--threshold", "1"], null],
    ["one.jws", "ab", ["--threshold", "2"], /^one\.jws: signature: 1 of 2 required/],
    ["two.jws", "ab", ["--threshold", "2"], null],
    ["two.jws", "cba", ["--threshold", "2"], null],
    ["two.jws", "a", [], null],
    ["two.jws", "b", [], null],
    ["two.jws", "c", [], /^two\.jws: signature: 0 of 1 required.*kid .* is not one of/],
    ["two.jws", "ac", ["--threshold", "2"], /^two\.jws: signature: 1 of 2 required.*is not one of/],
  ];
  await forAll(cases, async ([file, keys, more, says]) => {
    const run = await verify(file, keys, ...more, "--image", "fw.bin");
    if (says) fails(run, 1, says);
    else succeeds(run, /ok signature/, /ok image/);
  });
});

test("verify says which keys have signed, and whose signature does not count", async () => {
  const both = succeeds(await verify("two.jws", "ab", "--threshold", "2"), /two signatures/);
  for (const name of ["a", "b"] as const)
    assert.match(both.stdout, new RegExp(`ok signature  by ${name}\\.pub\\.jwk \\(${kid[name]}\\)\n`));
  const run = succeeds(
    await verify("two.jws", "b"),
    new RegExp(`no signature +key: kid ${kid.a} is not one of ${kid.b}\n`),
  );
  assert.doesNotMatch(run.stdout, /ok signature +by a/);
});

test("verify --threshold 2 needs two different keys", async () => {
  fails(await verify("two.jws", "a", "--threshold", "2"), 2, /--threshold 2/);
  fails(await verify("two.jws", "aa", "--threshold", "2"), 2, /--threshold 2/);
  for (const wrong of ["0", "3", "two", "1.5"]) fails(await verify("two.jws", "ab", "--threshold", wrong), 2, /thresh/);
});

test("one bad signature of two counts as none", async () => {
  const [first, second] = tokens("two.jws");
  const spoiled = (token: string) => `${token.slice(0, -20)}${token.at(-20) === "A" ? "B" : "A"}${token.slice(-19)}`;
  shop.put("bad1.jws", `${spoiled(first)}\n${second}`);
  shop.put("bad2.jws", `${first}\n${spoiled(second)}`);
  for (const [file, name] of Object.entries({ "bad1.jws": "a", "bad2.jws": "b" })) {
    fails(
      await verify(file, "ab", "--threshold", "2"),
      1,
      new RegExp(`^${file}: signature: 1 of 2 required.*not made by ${name}\\.pub\\.jwk`),
    );
    succeeds(await verify(file, "ab"), new RegExp(`no signature +signature: not made by ${name}\\.pub\\.jwk`));
    fails(await verify(file, name), 1, /0 of 1 required/);
  }
});

test("a manifest of two tokens has exactly the form that devices take", async () => {
  const [first, second] = tokens("two.jws");
  const input = first.slice(0, first.lastIndexOf("."));
  const third = `${input}.${pss(input, "a").toString("base64url")}`;
  const other = succeeds(await sign("--key", "b.pem", "--out", "-", "--sequence", "8")).stdout;
  const padded = second.replace(/^[\w-]+/, (header) => {
    const text = Buffer.from(header, "base64url").toString();
    return Buffer.from(text.replace("{", `{${" ".repeat(400)}`)).toString("base64url");
  });
  const cases: [string, string, RegExp][] = [
    ["end", `${first}\n${second}\n`, /form: white space at offset/],
    ["begin", `\n${first}\n${second}`, /form: white space at offset 0/],
    ["empty-line", `${first}\n\n${second}`, /form: white space at offset/],
    ["crlf", `${first}\r\n${second}`, /form: white space at offset/],
    ["blank", `${first} ${second}`, /form: white space at offset/],
    ["one-end", `${first}\n`, /form: white space at offset/],
    ["only-end", "\n", /form: white space at offset 0/],
    ["three", `${first}\n${second}\n${third}`, /form: 3 tokens, expected one or two/],
    ["half", `${first}\n${second.split(".")[0]}`, /form: 1 parts/],
    ["glued", `${first}${second}`, /form: 5 parts/],
    ["twice", `${first}\n${first}`, /form: both tokens are by key /],
    ["same-key", `${first}\n${third}`, /form: both tokens are by key /],
    ["other-payload", `${first}\n${other}`, /form: the two tokens have different payloads/],
    ["header", `${first}\n${padded}`, /form: a header of \d+ characters, a device reads 512/],
    ["large", `${first}\n${second}${"A".repeat(32768)}`, /form: \d+ bytes, a device reads 32768/],
  ];
  await forAll(cases, async ([name, content, says]) => {
    shop.put(`form-${name}.jws`, content);
    fails(await verify(`form-${name}.jws`, "ab"), 1, says);
  });
});

// --- Two people, two computers ---------------------------------------------------------------------------------------

test("--cosign adds a second signature over the same bytes", async () => {
  const run = succeeds(
    await cosign("one.jws", "--key", "b.pem", "--out", "both.jws"),
    /both\.jws: signed manifest, \d+ bytes, two signatures\n/,
    /project +lamp 2\.0\.0\n/,
    /sequence +7\n/,
    /note +the signature by .* was not checked/,
  );
  for (const name of ["a", "b"] as const) assert.match(run.stdout, new RegExp(`key +${kid[name]}\n`));
  const [first, second] = tokens("both.jws");
  assert.equal(first, shop.get("one.jws").toString());
  assert.equal(second.split(".")[1], first.split(".")[1]);
  succeeds(await verify("both.jws", "ab", "--threshold", "2", "--image", "fw.bin"));
});

test("--cosign keeps the first signer's bytes, whatever program wrote them", async () => {
  const claims = claimsFor(IMAGE, { project: "lamp", version: "2.0.0", future: [1.5], image: { url: "fw.bin" } });
  const payloadText = JSON.stringify(claims, null, 1);
  shop.put("foreign.jws", forge(claims, await keyNamed("a"), { payloadText }));
  succeeds(await cosign("foreign.jws", "--key", "b.pem", "--out", "foreign2.jws"));
  assert.equal(Buffer.from(tokens("foreign2.jws")[1].split(".")[1], "base64url").toString(), payloadText);
  succeeds(await verify("foreign2.jws", "ab", "--threshold", "2", "--image", "fw.bin"));
});

test("verify takes two signatures that another program made", async () => {
  const claims = claimsFor(IMAGE, { project: "lamp", version: "2.0.0", image: { url: "fw.bin" } });
  const first = await signManifest(claims, await keyNamed("a"));
  shop.put("other2.jws", cosignManifest(first, await keyNamed("b")));
  succeeds(await verify("other2.jws", "ab", "--threshold", "2", "--image", "fw.bin"));
});

test("--cosign signs nothing but what it was shown with its image", async () => {
  fails(
    await shop.run("sign", "other.bin", "--cosign", "one.jws", "--key", "b.pem", "--out", "no.jws"),
    1,
    /^one\.jws: claim image\.fsverity is .*, other\.bin has/,
  );
  shop.put("broken.bin", mutations.flipPayloadBit(IMAGE));
  fails(
    await shop.run("sign", "broken.bin", "--cosign", "one.jws", "--key", "b.pem", "--out", "no.jws"),
    1,
    /^broken\.bin: offset/,
  );
  const lamp = { project: "lamp", version: "2.0.0" };
  const key = await keyNamed("a");
  const sha256 = createHash("sha256")
    .update(IMAGE)
    .digest("hex")
    .replace(/^./, (c) => (c === "0" ? "1" : "0"));
  const cases: [string, object, RegExp][] = [
    ["chip", { ...lamp, chip: "esp32c3" }, /claim chip is esp32c3, fw\.bin has esp32$/m],
    ["sha", { ...lamp, image: { sha256 } }, /claim image\.sha256 is/],
    ["over", { ...lamp, exp: 1000 }, /claim exp: expired at 1970/],
    ["name", { ...lamp, project: "l\u00e4mp" }, /is not ASCII only/],
    ["date", { ...lamp, exp: 8.64e12 + 1 }, /claim exp is 8640000000001/],
    ["format", { ...lamp, format: 3 }, /manifest format 3, /],
  ];
  for (const [name, changes, says] of cases) {
    const claims = claimsFor(IMAGE, changes as never);
    const payloadPart = Buffer.from(JSON.stringify(claims)).toString("base64url");
    shop.put(`${name}.jws`, forge(claims, key, { payloadPart }));
    fails(await cosign(`${name}.jws`, "--key", "b.pem", "--out", "no.jws"), 1, says);
  }
  shop.put("less.bin", imageWith(textsOf().map((text) => text.replace(",crypto", ""))));
  succeeds(await shop.run("sign", "less.bin", "--key", "a.pem", "--out", "less.jws", "--allow-missing-natives"));
  const less = ["sign", "less.bin", "--cosign", "less.jws", "--key", "b.pem", "--out"];
  fails(await shop.run(...less, "no.jws"), 1, /^less\.bin: this Espruino build has no /);
  succeeds(await shop.run(...less, "less2.jws", "--allow-missing-natives"));
  assert.ok(!existsSync(shop.at("no.jws")));
});

test("--cosign refuses a key that has signed, and a third signature", async () => {
  fails(await cosign("one.jws", "--key", "a.pem", "--out", "no.jws"), 1, /^one\.jws: a\.pem .* has signed it already/);
  fails(await cosign("two.jws", "--key", "c.pem", "--out", "no.jws"), 1, /^two\.jws: two signatures already/);
  fails(await cosign("two.jws", "--key", "b.pem", "--out", "no.jws"), 1, /^two\.jws: two signatures already/);
  fails(await cosign("one.jws", "--key", "b.pem", "--key", "c.pem", "--out", "no.jws"), 2, /one --key/);
  fails(await cosign("one.jws", "--key", "b.pub.jwk", "--out", "no.jws"), 1, /a public key, expected the private one/);
  fails(await cosign("gone.jws", "--key", "b.pem", "--out", "no.jws"), 1, /^gone\.jws: no such file/);
  fails(await cosign("fw.bin", "--key", "b.pem", "--out", "no.jws"), 1, /^fw\.bin: form: 61008 bytes/);
  assert.ok(!existsSync(shop.at("no.jws")));
});

test("--cosign takes no option that is in the manifest already", async () => {
  const late: [string, string][] = [
    ["--url", "x.bin"],
    ["--sequence", "8"],
    ["--expires", "1d"],
    ["--expires", "never"],
    ["--board", "X"],
    ["--project", "p"],
    ["--app-version", "1"],
    ["--storage", "storage"],
  ];
  await forAll(late, async ([option, value]) => {
    fails(
      await cosign("one.jws", "--key", "b.pem", "--out", "no.jws", option, value),
      2,
      new RegExp(`${option.slice(2)} is in the manifest already`),
    );
  });
});

test("--cosign does not write over the manifest that it reads", async () => {
  fails(await cosign("one.jws", "--key", "b.pem", "--out", "one.jws"), 1, /is read by this command/);
});

test("two tokens beyond 32768 bytes are not made", async () => {
  const claims = claimsFor(IMAGE, { project: "lamp", version: "2.0.0", image: { url: "fw.bin" } });
  for (const [length, fits] of [
    [16383, true],
    [16385, false],
  ] as const) {
    shop.put("long.jws", manifestOfLength(claims, await keyNamed("a"), length));
    // b's header is as long as a's
    const run = await cosign("long.jws", "--key", "b.pem", "--out", `long-${length}.jws`);
    if (fits) succeeds(run);
    else fails(run, 1, /the manifest has \d+ bytes, a device reads 32768/);
  }
});

test("--cosign with the second key elsewhere, in two steps", async () => {
  const external = (...args: string[]) => cosign("one.jws", "--external", "--key", "b.pub.jwk", ...args);
  succeeds(await external("--out", "ext.txt"), /signing input/, /sequence +7\n/, /note +the signature by /);
  const input = shop.get("ext.txt").toString();
  const printed = await external();
  assert.deepEqual([printed.code, printed.stdout], [0, input], "the same on standard output");
  assert.match(printed.stderr, /^note: the signature by [\w-]{43} was not checked: [^\n]*\n$/);
  assert.equal(input.split(".")[1], tokens("one.jws")[0].split(".")[1]);
  shop.put("ext.sig", pss(input, "b"));
  const back = ["--signing-input", "ext.txt", "--signature", "ext.sig", "--out"];
  succeeds(await external(...back, "ext.jws"), /two signatures/);
  assert.equal(tokens("ext.jws")[0], shop.get("one.jws").toString());
  succeeds(await verify("ext.jws", "ab", "--threshold", "2", "--image", "fw.bin"));
  // without --cosign it is a manifest of the second key alone
  succeeds(await sign("--external", "--key", "b.pub.jwk", ...back, "alone.jws"));
  assert.equal(tokens("alone.jws").length, 1);

  succeeds(await sign("--key", "a.pem", "--out", "later.jws", "--sequence", "8"));
  const late = ["--cosign", "later.jws", "--external", "--key", "b.pub.jwk"];
  fails(await sign(...late, ...back, "no.jws"), 1, /^ext\.txt: not the payload of later\.jws/);
  fails(await cosign("one.jws", "--external", "--key", "c.pub.jwk", ...back, "no.jws"), 1, /^ext\.txt: header: kid/);
  shop.put("wrong.sig", pss("something else", "b"));
  const wrong = back.map((arg) => (arg === "ext.sig" ? "wrong.sig" : arg));
  fails(await external(...wrong, "no.jws"), 1, /^wrong\.sig: signature: not made by b\.pub\.jwk/);
  fails(await cosign("one.jws", "--external", "--key", "a.pub.jwk", "--out", "no.txt"), 1, /has signed it already/);
  fails(await cosign("two.jws", "--external", "--key", "c.pub.jwk", "--out", "no.txt"), 1, /two signatures already/);
  assert.ok(!existsSync(shop.at("no.jws")) && !existsSync(shop.at("no.txt")));
});

test("inspect shows both signatures", async () => {
  succeeds(
    await shop.run("inspect", "two.jws"),
    new RegExp(`signed by +${kid.a}, 256 bytes`),
    new RegExp(`signed by +${kid.b}, 256 bytes`),
    /sequence +7\n/,
  );
  const { token, second } = JSON.parse(succeeds(await shop.run("inspect", "two.jws", "--json")).stdout);
  assert.deepEqual([token.header.kid, second.header.kid, second.signatureBytes], [kid.a, kid.b, 256]);
  assert.equal(JSON.parse(succeeds(await shop.run("inspect", "one.jws", "--json")).stdout).second, null);
});
