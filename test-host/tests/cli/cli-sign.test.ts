// sign and verify: what is signed, by what other tools it is believed, and what is refused with which words.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { constants, createHash, createPrivateKey, generateKeyPairSync, sign as rsaSign } from "node:crypto";
import { existsSync, linkSync, readFileSync, symlinkSync } from "node:fs";
import path from "node:path";
import { before, test } from "node:test";
import { CompactSign, calculateJwkThumbprint, compactVerify, exportJWK, importJWK } from "jose";
import { fsverity as ownFsverity } from "../../../src/cli/formats/fsverity.ts";
import { fsverity } from "../../support/fsverity.ts";
import { buildImage, mutations, padTo, reseal } from "../../support/images.ts";
import { imageWith, MAP_JS_CODE, MAP_STORAGE, TABLES, textsOf } from "./cli-espruino.ts";
import { fails, forAll, REAL_IMAGES, ROOT, succeeds, workshop } from "./cli-run.ts";

const shop = workshop();
const IMAGE = buildImage({ size: 61008, seed: 2, descriptor: { project: "lamp", version: "2.0.0" } });
const OTHER = buildImage({ size: 61008, seed: 3, descriptor: { project: "lamp", version: "2.0.0" } });
const skipReal = existsSync(REAL_IMAGES) ? false : "NOT RUN: the real images are not here (../shared/images)";
const openssl = spawnSync("openssl", ["version"]).status === 0;
let jwk: any;

before(async () => {
  await Promise.all([
    shop.run("keygen", "--out", "key.pem", "--bits", "2048"),
    shop.run("keygen", "--out", "other.pem", "--bits", "2048"),
  ]);
  jwk = JSON.parse(shop.get("key.pub.jwk").toString());
  shop.put("fw.bin", IMAGE);
  shop.put("other.bin", OTHER);
  succeeds(await shop.run("sign", "fw.bin", "--key", "key.pem", "--out", "fw.jws", "--sequence", "7"));
});

const token = (name: string) => shop.get(name).toString("latin1");
const claimsOf = (name: string) => JSON.parse(Buffer.from(token(name).split(".")[1], "base64url").toString());
const signTo = (out: string, image: string, ...more: string[]) =>
  shop.run("sign", image, "--key", "key.pem", "--out", out, ...more);

/** Signs any header and payload, as somebody who has the key and another program. */
async function forge(header: object, payload: string | object): Promise<string> {
  const text = typeof payload === "string" ? payload : JSON.stringify(payload);
  const input = `${Buffer.from(JSON.stringify(header)).toString("base64url")}.${Buffer.from(text).toString("base64url")}`;
  const options = { key: shop.get("key.pem"), padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
  return `${input}.${rsaSign("sha256", Buffer.from(input), options).toString("base64url")}`;
}

// --- What is signed --------------------------------------------------------------------------------------------------

test("a manifest says what the image says, and exactly what the format wants", () => {
  const [header] = token("fw.jws").split(".");
  assert.deepEqual(JSON.parse(Buffer.from(header, "base64url").toString()), {
    alg: "PS256",
    typ: "https-ota+jws",
    kid: jwk.kid,
  });
  const { iat, exp, ...claims } = claimsOf("fw.jws");
  assert.equal(exp, iat + 365 * 86400);
  assert.ok(Math.abs(iat - Date.now() / 1000) < 300);
  assert.deepEqual(claims, {
    format: 1,
    project: "lamp",
    version: "2.0.0",
    chip: "esp32",
    sequence: 7,
    image: {
      url: "fw.bin",
      size: IMAGE.length,
      fsverity: `sha256:${fsverity(IMAGE)}`,
      sha256: createHash("sha256").update(IMAGE).digest("hex"),
    },
  });
  assert.match(token("fw.jws"), /^[\w-]+\.[\w-]+\.[\w-]+$/, "a line end would make it void");
});

test("options become claims", async () => {
  const more = ["--url", "https://cdn.example/v2/fw.bin?x=1", "--board", "ESP32", "--expires", "90d"];
  succeeds(await signTo("all.jws", "fw.bin", ...more), /expires +2/, /board ESP32/);
  const { image, board, exp, iat } = claimsOf("all.jws");
  assert.deepEqual([image.url, board, exp - iat], ["https://cdn.example/v2/fw.bin?x=1", "ESP32", 90 * 86400]);
  succeeds(await signTo("date.jws", "fw.bin", "--expires", "2099-12-31"));
  assert.equal(claimsOf("date.jws").exp, Date.UTC(2099, 11, 31) / 1000);
  fails(await signTo("past.jws", "fw.bin", "--expires", "2020-01-01"), 1, /--expires: 2020-01-01.* is in the past/);
});

test("the sequence grows by itself from one release to the next", async () => {
  succeeds(await signTo("one.jws", "fw.bin"));
  const one = claimsOf("one.jws");
  assert.equal(one.sequence, one.iat);
  while (Math.floor(Date.now() / 1000) <= one.sequence) await new Promise((resolve) => setTimeout(resolve, 50));
  succeeds(await signTo("two.jws", "fw.bin"));
  assert.ok(claimsOf("two.jws").sequence > one.sequence);
});

test("an image file's name becomes a URL that a device can resolve", async () => {
  for (const [name, url] of [
    ["lamp v2.bin", "lamp%20v2.bin"],
    ["a:b.bin", "a%3Ab.bin"],
    ["größe#1.bin", "gr%C3%B6%C3%9Fe%231.bin"],
  ]) {
    shop.put(name, IMAGE);
    succeeds(await signTo("name.jws", name));
    assert.equal(claimsOf("name.jws").image.url, url);
  }
});

test("--out - writes the manifest and nothing else", async () => {
  const run = succeeds(await signTo("-", "fw.bin"));
  await compactVerify(run.stdout, await importJWK(jwk, "PS256"));
});

test("a private JWK signs as well as a PEM", async () => {
  const key = createPrivateKey(shop.get("key.pem"));
  shop.put("key.jwk", JSON.stringify(key.export({ format: "jwk" })));
  shop.put("key1.pem", key.export({ type: "pkcs1", format: "pem" }));
  for (const file of ["key.jwk", "key1.pem"]) {
    succeeds(await shop.run("sign", "fw.bin", "--key", file, "--out", "jwk.jws"));
    succeeds(await shop.run("verify", "jwk.jws", "--key", "key.pub.jwk"));
  }
});

test("fs-verity digests are those of the fsverity tool", () => {
  const { cases } = JSON.parse(readFileSync(path.join(ROOT, "test-host/vectors/fsverity.json"), "utf8"));
  assert.ok(cases.length > 10);
  for (const { length, fsverity: wanted } of cases) {
    const bytes = Uint8Array.from({ length }, (_, i) => 7 * i + Math.floor(i / 256) + length);
    assert.equal(ownFsverity(bytes), wanted, `${length} bytes`);
  }
});

test("sign overwrites none of the files that it reads", async () => {
  const inputs = { "my.pem": shop.get("key.pem"), "my.pub.jwk": shop.get("key.pub.jwk"), "my.bin": Buffer.from(IMAGE) };
  for (const [name, bytes] of Object.entries(inputs)) shop.put(name, bytes);
  linkSync(shop.at("my.pem"), shop.at("hard.link"));
  symlinkSync("my.bin", shop.at("soft.link"));
  for (const out of ["my.pem", "./my.pem", "hard.link", "my.bin", "soft.link"]) {
    const run = await shop.run("sign", "my.bin", "--key", "my.pem", "--out", out);
    const { stderr } = fails(run, 1, /: is read by this command, and is not overwritten$/m);
    assert.ok(stderr.startsWith(`${out}:`), stderr);
  }
  const signIt = (...more: string[]) => shop.run("sign", "my.bin", "--external", "--key", "my.pub.jwk", ...more);
  fails(await signIt("--out", "my.pub.jwk"), 1, /^my\.pub\.jwk: is read/);
  succeeds(await signIt("--out", "my.txt"));
  const [text, signature] = [shop.get("my.txt"), signed("my.txt")];
  shop.put("my.sig", signature);
  const back = ["--signing-input", "my.txt", "--signature", "my.sig"];
  for (const out of ["my.txt", "my.sig"]) fails(await signIt(...back, "--out", out), 1, /is read by this command/);
  for (const [name, bytes] of Object.entries({ ...inputs, "my.txt": text, "my.sig": signature }))
    assert.ok(shop.get(name).equals(bytes), `${name} was overwritten`);
  shop.put("my.jws", shop.get("fw.jws")); // an older release
  succeeds(await signIt(...back, "--out", "my.jws"));
});

// --- Who believes it -------------------------------------------------------------------------------------------------

test("jose alone verifies it", async () => {
  const key = await importJWK({ kty: jwk.kty, n: jwk.n, e: jwk.e }, "PS256");
  const { payload } = await compactVerify(token("fw.jws"), key, { algorithms: ["PS256"] });
  assert.equal(JSON.parse(Buffer.from(payload).toString()).version, "2.0.0");
  const spoiled = token("fw.jws").replace(/.$/, (last) => (last === "A" ? "Q" : "A"));
  await assert.rejects(compactVerify(spoiled, key));
});

test("openssl alone verifies it", { skip: openssl ? false : "openssl is not installed" }, () => {
  const [header, payload, signature] = token("fw.jws").split(".");
  shop.put("input", `${header}.${payload}`);
  shop.put("sig", Buffer.from(signature, "base64url"));
  execFileSync("openssl", ["pkey", "-in", shop.at("key.pem"), "-pubout", "-out", shop.at("pub.pem")]);
  const args = ["dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"];
  const verify = (file: string) =>
    spawnSync("openssl", [...args, "-verify", shop.at("pub.pem"), "-signature", shop.at("sig"), shop.at(file)]).status;
  assert.equal(verify("input"), 0);
  shop.put("changed", `${header}.${payload}A`);
  assert.equal(verify("changed"), 1);
});

test("what jose alone has signed is verified", async () => {
  const key = createPrivateKey(shop.get("key.pem"));
  const signed = await new CompactSign(Buffer.from(JSON.stringify(claimsOf("fw.jws"))))
    .setProtectedHeader({ alg: "PS256", typ: "https-ota+jws", kid: jwk.kid })
    .sign(key);
  shop.put("jose.jws", signed);
  succeeds(await shop.run("verify", "jose.jws", "--key", "key.pub.jwk", "--image", "fw.bin"));
});

test("verify takes PEM, JWK, JWK set and several keys", async () => {
  const set = { keys: ["other", "key"].map((name) => JSON.parse(shop.get(`${name}.pub.jwk`).toString())) };
  shop.put("set.jwk", JSON.stringify(set));
  shop.put("list.json", JSON.stringify(set.keys));
  for (const keys of [["key.pub.jwk"], ["key.pem"], ["set.jwk"], ["list.json"], ["other.pub.jwk", "key.pub.jwk"]]) {
    const args = keys.flatMap((key) => ["--key", key]);
    succeeds(await shop.run("verify", "fw.jws", ...args, "--image", "fw.bin"), /ok signature/, /ok image/);
  }
});

// --- Images ----------------------------------------------------------------------------------------------------------

/** Not broken: what they change is a valid image's business. */
const VALID = new Set([
  "headerSpiMode",
  "headerFlashSize",
  "entry",
  "minRevision",
  "minChipRev",
  "maxRevision",
  "hashFlagCleared",
  "payloadSealed",
  "paddingNotZero",
  "loadAddressPadding",
  "trailingGarbage289",
  ...Object.keys(mutations).filter((name) => name.startsWith("descriptor") && name !== "descriptorMagic"),
]);

/** Where each is broken, for those whose place is known without computing it here again. */
const PLACES: Record<string, RegExp> = {
  magic: /offset 0: found 0xe8, an image begins with 0xe9/,
  firstByteZero: /offset 0: found 0x00/,
  segmentCount0: /offset 0x1: 0 segments, expected 1 to 16/,
  segmentCount17: /offset 0x1: 17 segments/,
  chipId: /offset 0x18: segment 0 is loaded to 0x3f400020: on esp32c3/,
  chipIdByte13Fe: /offset 0xc: chip id 0xfe00 is unknown/,
  segmentLengthOdd: /offset 0x18: segment 0: \d+ bytes, expected a multiple of 4/,
  segmentLengthHuge: /offset 0x18: segment 0: 4294967280 bytes, the file has \d+ more/,
  mappedLoadAddress: /offset 0x18: segment 0: load address 0x3f401020 does not fit offset 0x20 in a page of 64 KB/,
  flipPayloadBit: /offset 0xee2f: checksum 0x[0-9a-f]{2}, computed 0x[0-9a-f]{2}/,
  flipBitPair: /SHA-256 [0-9a-f]{64}, computed [0-9a-f]{64}/,
  checksum: /offset 0xee2f: checksum/,
  hash: /offset 0xee30: SHA-256/,
  truncateInHeader: /offset 0x14: 20 bytes, a header alone has 24/,
  mergedImage: /a bootloader, and \d+ bytes behind it: a merged image\?/,
  truncateLastByte: /offset 0xee4f: the image has 61008 bytes, only 61007 are there/,
};

test("broken images are not signed, and it is said where they are broken", async () => {
  const broken = Object.keys(mutations).filter((name) => !VALID.has(name) && name !== "descriptorMagic");
  assert.ok(broken.length > 20);
  await forAll(broken, async (name) => {
    shop.put(`${name}.bin`, mutations[name](IMAGE));
    const run = fails(await signTo(`${name}.jws`, `${name}.bin`), 1, new RegExp(`^${name}\\.bin: `));
    if (name !== "mergedImage") assert.match(run.stderr, /offset (0|0x[0-9a-f]+): /);
    if (PLACES[name]) assert.match(run.stderr, PLACES[name]);
    assert.ok(!existsSync(shop.at(`${name}.jws`)), `${name}: a manifest was written`);
  });
});

test("valid images that look unusual are signed", async () => {
  await forAll([...VALID], async (name) => {
    shop.put(`${name}.bin`, mutations[name](IMAGE));
    succeeds(await signTo(`${name}.jws`, `${name}.bin`));
    succeeds(await shop.run("verify", `${name}.jws`, "--key", "key.pub.jwk", "--image", `${name}.bin`));
  });
});

test("bytes behind the image are part of the release, and it is said", async () => {
  shop.put("padded.bin", padTo(IMAGE, IMAGE.length + 100));
  succeeds(await signTo("padded.jws", "padded.bin"), /note +100 bytes behind the image's end/);
  assert.equal(claimsOf("padded.jws").image.size, IMAGE.length + 100);
});

test("other files are not signed", async () => {
  shop.put("empty.bin", "");
  shop.put("page.bin", "<!DOCTYPE html>");
  shop.put("small.bin", buildTiny());
  const dump = Buffer.alloc(0x10000, 0xff);
  dump.set(IMAGE.subarray(0, 0x7000), 0);
  dump.set(Buffer.from(`aa50010200900000003000006e7673${"00".repeat(17)}`, "hex"), 0x8000);
  shop.put("dump.bin", dump);
  const cases: [string, RegExp][] = [
    ["empty.bin", /^empty\.bin: the file is empty/],
    ["page.bin", /^page\.bin: offset 0: found 0x3c/],
    ["small.bin", /a device takes no image below 1024/],
    ["dump.bin", /^dump\.bin: a whole flash or a merged image/],
  ];
  for (const [file, says] of cases)
    fails(await signTo("no.jws", file, "--project", "p", "--app-version", "1"), 1, says);
});

/** A valid image of one segment that is too small for a device. */
function buildTiny(): Uint8Array {
  const image = Buffer.alloc(0x120);
  image.set([0xe9, 1, 2, 0x20]);
  image.writeUInt32LE(0x3f400020, 24);
  image.writeUInt32LE(256, 28);
  image[0x12f & ~15] = 0;
  const tiny = Buffer.concat([image, Buffer.alloc(16)]);
  tiny[tiny.length - 1] = 0xef;
  return tiny;
}

test("images without descriptor need --project and --app-version", async () => {
  shop.put("old.bin", buildImage({ size: 61008, descriptor: false }));
  fails(
    await signTo("old.jws", "old.bin"),
    1,
    /^old\.bin: the image has no app descriptor, so its project is unknown: give --project and --app-version/,
  );
  fails(
    await signTo("old.jws", "old.bin", "--project", "lamp"),
    1,
    /^old\.bin: the image has no app descriptor, so its version is unknown: give/,
  );
  succeeds(await signTo("old.jws", "old.bin", "--project", "lamp", "--app-version", "1.9"));
  assert.deepEqual([claimsOf("old.jws").project, claimsOf("old.jws").version], ["lamp", "1.9"]);
});

test("project and version of the release may differ from the image's, and it is said", async () => {
  const names = ["--project", "tv", "--app-version", "3"];
  const notes = [
    /note +project tv is this release's own, the image says lamp; devices that run another project refuse it\n/,
    /note +version 3 is this release's own, the image says 2\.0\.0\n/,
  ];
  succeeds(await signTo("named.jws", "fw.bin", ...names), ...notes);
  assert.deepEqual([claimsOf("named.jws").project, claimsOf("named.jws").version], ["tv", "3"]);
  succeeds(await shop.run("verify", "named.jws", "--key", "key.pub.jwk", "--image", "fw.bin"), ...notes);
  const asked = ["--external", "--key", "key.pub.jwk", "--out", "named.txt"];
  succeeds(await shop.run("sign", "fw.bin", ...asked, ...names), ...notes);
  const same = succeeds(await signTo("same.jws", "fw.bin", "--project", "lamp", "--app-version", "2.0.0"));
  assert.doesNotMatch(same.stdout, /note/);
});

test("what a descriptor does not say is asked for by its option", async () => {
  shop.put("nameless.bin", buildImage({ descriptor: { project: "", version: "" } }));
  fails(
    await signTo("no.jws", "nameless.bin"),
    1,
    /^nameless\.bin: the image does not say its project: give --project$/m,
  );
  const project = ["--project", "lamp"];
  const says = /^nameless\.bin: the image does not say its version: give --app-version$/m;
  fails(await signTo("no.jws", "nameless.bin", ...project), 1, says);
  fails(await shop.run("sign", "nameless.bin", "--external", "--key", "key.pub.jwk", ...project), 1, says);
  assert.ok(!existsSync(shop.at("no.jws")));
  succeeds(await signTo("nameless.jws", "nameless.bin", ...project, "--app-version", "1"));
  succeeds(await shop.run("verify", "nameless.jws", "--key", "key.pub.jwk", "--image", "nameless.bin"));
});

const utf8 = (text: string) => Buffer.from(text).toString("latin1"); // as buildImage takes it

test("names outside of ASCII are not signed: Espruino reads them as it was built", async () => {
  shop.put("old.bin", buildImage({ size: 61008, descriptor: false }));
  const options: [string, string][] = [
    ["--board", "W\u00dcRFEL"],
    ["--project", "l\u00e4mp"],
    ["--app-version", "1\u03b2"],
    ["--project", "\u{1f4a1}"],
  ];
  await forAll(options, async ([option, value]) => {
    const names = { "--project": "lamp", "--app-version": "1", [option]: value };
    const run = await signTo("no.jws", "old.bin", ...Object.entries(names).flat());
    fails(run, 2, new RegExp(`option '${option} .*is invalid.* Expected ASCII only: `));
  });
  const descriptors: [string, string, object][] = [
    ["project", "l\u00e4mp", { project: utf8("l\u00e4mp") }],
    ["project", "l\u00e4mp", { project: "l\u00e4mp" }],
    ["version", "1\u03b2", { version: utf8("1\u03b2") }],
    ["version", "2\u00b5", { version: "2\u00b5" }],
  ];
  for (const [claim, text, descriptor] of descriptors) {
    shop.put("wide.bin", buildImage({ descriptor }));
    const says = new RegExp(`^wide\\.bin: ${claim} "${text}" is not ASCII only: `);
    fails(await signTo("no.jws", "wide.bin"), 1, says);
    fails(await shop.run("sign", "wide.bin", "--external", "--key", "key.pub.jwk"), 1, says);
  }
  assert.ok(!existsSync(shop.at("no.jws")));
  succeeds(await signTo("ascii.jws", "old.bin", "--project", " !~", "--app-version", '"\\', "--board", "Z"));
  succeeds(await shop.run("verify", "ascii.jws", "--key", "key.pub.jwk", "--image", "old.bin"));
});

test("names outside of ASCII in a manifest are refused, and inspect shows them", async () => {
  const good = { alg: "PS256", typ: "https-ota+jws", kid: jwk.kid };
  for (const [claim, value] of Object.entries({ project: "l\u00e4mp", version: "1\u03b2", board: "W\u00dcRFEL" })) {
    const foreign = await forge(good, { ...claimsOf("fw.jws"), [claim]: value });
    shop.put("wide.jws", foreign);
    const says = (file: string) => new RegExp(`^${file}: claim ${claim} "${value}" is not ASCII only: `);
    fails(await shop.run("verify", "wide.jws", "--key", "key.pub.jwk"), 1, says("wide\\.jws"));
    succeeds(await shop.run("inspect", "wide.jws"), new RegExp(value));
    const [header, payload, signature] = foreign.split(".");
    shop.put("wide.txt", `${header}.${payload}`);
    const back = ["--signing-input", "wide.txt", "--signature", signature, "--out", "no.jws"];
    // other claims than the image's are refused as well, but with other words
    fails(await shop.run("sign", "fw.bin", "--external", "--key", "key.pub.jwk", ...back), 1, says("wide\\.txt"));
  }
  assert.ok(!existsSync(shop.at("no.jws")));
});

test("real firmware is signed and verified", { skip: skipReal }, async () => {
  const digests = new Map(
    [...readFileSync(path.join(REAL_IMAGES, "README.md"), "utf8").matchAll(/`([\w.-]+\.bin)`.*`([0-9a-f]{64})`/g)].map(
      ([, name, digest]) => [name, digest],
    ),
  );
  const names: Record<string, [project: string, version: string]> = {
    "advanced_https_ota-esp32.bin": ["advanced_https_ota", "6b8d708-dirty"],
    "esp-at-4.2-esp32c2.bin": ["esp-at", "v4.2.0.0"],
    "espruino-2v04-esp32.bin": ["espruino", "2v04"],
    "espruino-2v06-esp32.bin": ["espruino", "2v06.63"],
    "espruino-2v22.26-esp32.bin": ["espruino", "2v22.26"],
    "espruino-2v27.45-esp32.bin": ["espruino", "2v27.45"],
  };
  await forAll(Object.keys(names), async (name) => {
    const image = path.join(REAL_IMAGES, name);
    const out = `${name}.jws`;
    const run = succeeds(await signTo(out, image, "--allow-missing-natives"));
    succeeds(await shop.run("verify", out, "--key", "key.pub.jwk", "--image", image));
    const claims = claimsOf(out);
    assert.deepEqual([claims.project, claims.version], names[name]);
    assert.equal(claims.image.fsverity, `sha256:${digests.get(name)}`);
    assert.equal(claims.chip, name.includes("esp32c2") ? "esp32c2" : "esp32");
    assert.equal("storage" in claims.image, name.startsWith("espruino"));
    if (name.includes("esp32c2")) assert.match(run.stdout, /note +https-ota runs on esp32, .* not on esp32c2/);
  });
});

test("published builds in which the module cannot run are refused", { skip: skipReal }, async () => {
  const cases: [string, string | null][] = [
    ["2v04", "Storage.getStats, E.CRC32, Uint8Array.subarray"],
    ["2v06", "Storage.getStats, Uint8Array.subarray"],
    ["2v22.26", null],
    ["2v27.45", null],
  ];
  for (const [version, missing] of cases) {
    const run = await signTo("real.jws", path.join(REAL_IMAGES, `espruino-${version}-esp32.bin`));
    if (missing === null) succeeds(run, /note +built for board ESP32; .*--board ESP32\n/);
    else fails(run, 1, new RegExp(`: this Espruino build has no ${missing}, so https-ota cannot run in it: `));
  }
});

test("two builds of one descriptor get their own versions", { skip: skipReal }, async () => {
  const published = readFileSync(path.join(REAL_IMAGES, "espruino-2v27.45-esp32.bin"));
  const other = published.toString("latin1").replaceAll("2v27.45\0", "2v27.46\0");
  shop.put("next.bin", reseal(Buffer.from(other, "latin1")));
  succeeds(await signTo("next.jws", "next.bin"), /project +espruino 2v27\.46\n/);
  const { version, image } = claimsOf("next.jws");
  assert.deepEqual([version, image.storage], ["2v27.46", { partition: "storage", address: 0x320000, size: 0xe0000 }]);
});

// --- Espruino images -------------------------------------------------------------------------------------------------

const OLD = { partition: "js_code", address: 0x320000, size: 0x40000 };
const NEW = { partition: "storage", address: 0x320000, size: 0xe0000 };

test("version and Storage of an Espruino image become claims", async () => {
  const cases: [string, readonly string[], object][] = [
    ["2v27.45", textsOf("2v27.45"), NEW],
    ["2v29", textsOf("2v29"), NEW],
    ["2v25.12", textsOf("2v25.12", MAP_JS_CODE), OLD],
    ["2v04", textsOf("2v04", MAP_JS_CODE), { ...OLD, address: 0x2c0000 }],
  ];
  for (const [version, texts, storage] of cases) {
    shop.put("esp.bin", imageWith(texts));
    succeeds(
      await signTo("esp.jws", "esp.bin"),
      /storage +\d+ KB at 0x/,
      /note +built for board ESP32; .*: --board ESP32\n/,
    );
    const claims = claimsOf("esp.jws");
    assert.deepEqual([claims.project, claims.version, claims.image.storage], ["espruino", version, storage]);
    assert.equal("board" in claims, false, "it is only offered");
    succeeds(
      await shop.run("verify", "esp.jws", "--key", "key.pub.jwk", "--image", "esp.bin"),
      /storage +\d+ KB at 0x/,
    );
    succeeds(await shop.run("inspect", "esp.jws"), /storage +\d+ KB at 0x/);
  }
});

test("an Espruino build may have a version and a project of its own", async () => {
  shop.put("esp.bin", imageWith(textsOf("2v29")));
  const named = ["--project", "lamp", "--app-version", "7", "--board", "LAMP"];
  succeeds(
    await signTo("esp.jws", "esp.bin", ...named),
    /note +project lamp is this release's own, the image says espruino; it is for devices with project: "lamp" in/,
    /note +version 7 is this release's own, the image says 2v29\n/,
    /note +for devices of board LAMP, but built for ESP32\n/,
  );
  const { project, version, board, image } = claimsOf("esp.jws");
  assert.deepEqual([project, version, board, image.storage], ["lamp", "7", "LAMP", NEW]);
  shop.put("mute.bin", imageWith([MAP_JS_CODE, ...TABLES]));
  fails(await signTo("no.jws", "mute.bin"), 1, /^mute\.bin: the image does not say its version: give --app-version$/m);
  succeeds(await signTo("mute.jws", "mute.bin", "--app-version", "2v04.1"));
  assert.deepEqual(claimsOf("mute.jws").image.storage, { ...OLD, address: 0x2c0000 });
});

test("an Espruino image that tells no partition needs --storage", async () => {
  for (const [name, map] of Object.entries({ none: "", both: MAP_JS_CODE + MAP_STORAGE })) {
    shop.put(`${name}.bin`, imageWith(textsOf("2v29", map)));
    const asks = new RegExp(`^${name}\\.bin: .*give --storage js_code \\(.*\\) or --storage storage \\(.*\\)$`, "m");
    fails(await signTo("no.jws", `${name}.bin`), 1, asks);
    for (const [label, storage] of Object.entries({ js_code: OLD, storage: NEW })) {
      succeeds(await signTo("told.jws", `${name}.bin`, "--storage", label));
      assert.deepEqual(claimsOf("told.jws").image.storage, storage);
      succeeds(await shop.run("verify", "told.jws", "--key", "key.pub.jwk", "--image", `${name}.bin`));
    }
  }
  assert.ok(!existsSync(shop.at("no.jws")));
});

test("--storage that contradicts the image is refused", async () => {
  shop.put("esp.bin", imageWith(textsOf("2v29")));
  const says = /^esp\.bin: --storage js_code, but the image reads its files through partition storage$/m;
  fails(await signTo("no.jws", "esp.bin", "--storage", "js_code"), 1, says);
  succeeds(await signTo("esp.jws", "esp.bin", "--storage", "storage"));
  fails(
    await signTo("no.jws", "fw.bin", "--storage", "storage"),
    1,
    /^fw\.bin: --storage storage, but .* not an Espruino image$/m,
  );
  fails(await signTo("no.jws", "esp.bin", "--storage", "spiffs"), 2, /--storage.*spiffs.*js_code, storage/);
  assert.ok(!existsSync(shop.at("no.jws")));
});

test("a build in which the module cannot run is refused, unless it is asked for", async () => {
  const texts = textsOf()
    .map((text) => text.replace(",crypto", ""))
    .filter((text) => text !== "convolve");
  shop.put("less.bin", imageWith(texts));
  const says =
    /^less\.bin: this Espruino build has no require\("crypto"\), E\.convolve, so https-ota cannot run in it: .*roll back/;
  fails(await signTo("no.jws", "less.bin"), 1, says);
  fails(await shop.run("sign", "less.bin", "--external", "--key", "key.pub.jwk"), 1, says);
  assert.ok(!existsSync(shop.at("no.jws")));
  const note = /note +https-ota cannot run in this build, which has no require\("crypto"\), E\.convolve\n/;
  succeeds(await signTo("less.jws", "less.bin", "--allow-missing-natives"), note);
  succeeds(await shop.run("verify", "less.jws", "--key", "key.pub.jwk", "--image", "less.bin"), note);
});

test("verify refuses a Storage claim that is not the image's or is mistyped", async () => {
  const good = { alg: "PS256", typ: "https-ota+jws", kid: jwk.kid };
  shop.put("esp.bin", imageWith(textsOf("2v29")));
  succeeds(await signTo("esp.jws", "esp.bin"));
  const claims = claimsOf("esp.jws");
  const cases: [string, unknown, RegExp][] = [
    [
      "another partition",
      { ...NEW, partition: "js_code" },
      /claim image\.storage is .* through partition js_code, esp\.bin has/,
    ],
    ["another address", { ...NEW, address: 0x310000 }, /claim image\.storage is 896 KB at 0x310000 /],
    ["another size", { ...NEW, size: 0x40000 }, /claim image\.storage is 256 KB at 0x320000 /],
    ["null", null, /claim image\.storage\.partition is missing/],
    ["a list", [], /claim image\.storage\.partition is missing/],
    ["a text", "storage", /claim image\.storage\.partition is missing/],
    ["no partition", { address: 0, size: 1 }, /claim image\.storage\.partition is missing or not a string$/m],
    [
      "an empty partition",
      { ...NEW, partition: "" },
      /claim image\.storage\.partition is missing or not a string, found ""$/m,
    ],
    ["no address", { partition: "storage", size: 1 }, /claim image\.storage\.address is missing or not a number$/m],
    [
      "a half address",
      { ...NEW, address: 0.5 },
      /claim image\.storage\.address is missing or not a number, found 0\.5$/m,
    ],
    [
      "a text for an address",
      { ...NEW, address: "0x320000" },
      /claim image\.storage\.address is missing or not a number, found "0x320000"$/m,
    ],
    ["no size", { partition: "storage", address: 0 }, /claim image\.storage\.size is missing/],
    ["size 0", { ...NEW, size: 0 }, /claim image\.storage\.size is 0, found 0$/m],
    ["a negative size", { ...NEW, size: -1 }, /claim image\.storage\.size is missing or not a number, found -1$/m],
  ];
  await forAll([...cases.entries()], async ([i, [name, storage, says]]) => {
    shop.put(`st${i}.jws`, await forge(good, { ...claims, image: { ...claims.image, storage } }));
    const run = await shop.run("verify", `st${i}.jws`, "--key", "key.pub.jwk", "--image", "esp.bin");
    assert.match(fails(run, 1, says).stderr, new RegExp(`^st${i}\\.jws: `), name);
  });
  const { storage: _, ...image } = claims.image;
  shop.put("silent.jws", await forge(good, { ...claims, image }));
  succeeds(
    await shop.run("verify", "silent.jws", "--key", "key.pub.jwk", "--image", "esp.bin"),
    /note +the manifest does not say where this build has its Storage: sign it again\n/,
  );
});

// --- Keys that are refused -------------------------------------------------------------------------------------------

test("keys that no device takes are refused", async () => {
  const pem = (key: any) => key.export({ type: "pkcs8", format: "pem" });
  const rsa = (modulusLength: number, publicExponent = 65537) =>
    generateKeyPairSync("rsa", { modulusLength, publicExponent }).privateKey;
  shop.put("ec.pem", pem(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey));
  shop.put("short.pem", pem(rsa(1024)));
  shop.put("garbage.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
  shop.put("text.pem", "not a key");
  shop.put("ssh.pub", "ssh-rsa AAAAB3NzaC1yc2E= me@here\n");
  shop.put("broken.jwk", '{"kty":"RSA",');
  shop.put("ec.jwk", JSON.stringify({ kty: "EC", crv: "P-256" }));
  shop.put("empty.jwk", '{"keys":[]}');
  shop.put("no-n.jwk", '{"kty":"RSA","e":"AQAB"}');
  shop.put("encrypted.pem", rsa(2048).export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" }));
  const cases: [string, RegExp][] = [
    ["ec.pem", /^ec\.pem: a key of type ec, expected rsa/],
    ["short.pem", /^short\.pem: an RSA key of 1024 bits, expected 2048 to 4096/],
    ["garbage.pem", /^garbage\.pem: no key can be read/],
    ["text.pem", /^text\.pem: neither PEM nor JWK/],
    ["ssh.pub", /^ssh\.pub: an OpenSSH public key, expected PEM: ssh-keygen -e -m PKCS8 -f FILE converts it/],
    ["broken.jwk", /^broken\.jwk: not JSON/],
    ["ec.jwk", /^ec\.jwk: kty "EC", expected "RSA"/],
    ["empty.jwk", /^empty\.jwk: a key set without keys/],
    ["key.pub.jwk", /^key\.pub\.jwk: a public key, expected the private one \(or --external\)$/m],
    ["encrypted.pem", /^encrypted\.pem: the key is encrypted/],
  ];
  await forAll(cases, async ([key, says]) => {
    fails(await shop.run("sign", "fw.bin", "--key", key, "--out", "no.jws"), 1, says);
  });
  fails(await shop.run("verify", "fw.jws", "--key", "no-n.jwk"), 1, /^no-n\.jwk: no RSA key can be read/);
  assert.ok(!existsSync(shop.at("no.jws")));
});

// --- verify says what failed -----------------------------------------------------------------------------------------

test("verify names the step that fails", async () => {
  const good = { alg: "PS256", typ: "https-ota+jws", kid: jwk.kid };
  const claims = claimsOf("fw.jws");
  const { image } = claims;
  const [header, payload, signature] = token("fw.jws").split(".");
  const without = (name: string) => Object.fromEntries(Object.entries(claims).filter(([key]) => key !== name));
  const cases: [string, string | Buffer, RegExp][] = [
    ["newline", `${token("fw.jws")}\n`, /form: white space at offset \d+/],
    ["parts", `${header}.${payload}`, /form: 2 parts/],
    ["padding", `${header}.${payload}.${signature}=`, /form: the signature is not in strict base64url/],
    ["empty", "", /form: 1 parts/],
    ["large", `${header}.${"A".repeat(32800)}.${signature}`, /form: \d+ bytes, a device reads 32768/],
    ["alg", await forge({ ...good, alg: "none" }, claims), /header: alg is "none", expected "PS256"/],
    ["typ", await forge({ ...good, typ: "JWT" }, claims), /header: typ is "JWT"/],
    ["crit", await forge({ ...good, crit: ["b64"] }, claims), /header: crit is a member that no device accepts/],
    ["no-kid", await forge({ alg: good.alg, typ: good.typ }, claims), /header: kid is undefined/],
    ["kid", await forge({ ...good, kid: "A".repeat(43) }, claims), /key: kid A{43} is not one of/],
    ["format", await forge(good, { ...claims, format: 3 }), /manifest format 3, this module knows 1 and 2$/m],
    ["no-chip", await forge(good, without("chip")), /claim chip is missing or not a string$/m],
    ["no-image", await forge(good, without("image")), /claim image\.url is missing/],
    ["null-image", await forge(good, { ...claims, image: null }), /claim image\.url is missing/],
    [
      "sequence",
      await forge(good, { ...claims, sequence: "7" }),
      /claim sequence is missing or not a number, found "7"$/m,
    ],
    [
      "negative",
      await forge(good, { ...claims, sequence: -1 }),
      /claim sequence is missing or not a number, found -1$/m,
    ],
    [
      "fsverity",
      await forge(good, { ...claims, image: { ...image, fsverity: "sha256:00" } }),
      /claim image\.fsverity must be sha256: and 64 digits, found "sha256:00"$/m,
    ],
    ["url", await forge(good, { ...claims, image: { ...image, url: "a b" } }), /claim image\.url is "a b": blanks/],
    ["expired", await forge(good, { ...claims, exp: 1000 }), /claim exp: expired at 1970-01-01T00:16:40/],
    ["json", await forge(good, "{"), /payload: not JSON/],
    ["array", await forge(good, "[]"), /payload: expected a JSON object/],
    [
      "around",
      await forge(good, ` ${JSON.stringify(claims)}`),
      /payload: expected a JSON object and nothing around it/,
    ],
    [
      "twice",
      await forge(good, JSON.stringify(claims).replace("{", '{"format":1,')),
      /payload: the key "format" comes twice/,
    ],
    [
      "escape",
      await forge(good, JSON.stringify(claims).replace('"chip"', '"\\u0063hip"')),
      /payload: the key .* escape/,
    ],
    [
      "signature",
      `${header}.${payload}.${Buffer.alloc(256, 7).toString("base64url")}`,
      /signature: not made by key\.pub\.jwk/,
    ],
    ["length", `${header}.${payload}.${Buffer.alloc(255).toString("base64url")}`, /signature: 255 bytes, .* has 256/],
  ];
  await forAll(cases, async ([name, content, says]) => {
    shop.put(`bad-${name}.jws`, content);
    const run = await shop.run("verify", `bad-${name}.jws`, "--key", "key.pub.jwk");
    fails(run, 1, says);
    assert.match(run.stderr, new RegExp(`^bad-${name}\\.jws: `));
  });
});

test("a manifest that is right verifies, expired or not is a matter of its date", async () => {
  const good = { alg: "PS256", typ: "https-ota+jws", kid: jwk.kid };
  const soon = Math.floor(Date.now() / 1000) + 600;
  shop.put("soon.jws", await forge(good, { ...claimsOf("fw.jws"), exp: soon, future: { claim: [1] } }));
  succeeds(await shop.run("verify", "soon.jws", "--key", "key.pub.jwk"));
});

test("no changed byte of a manifest verifies", async () => {
  const bytes = shop.get("fw.jws");
  const places = Array.from({ length: 24 }, (_, i) => Math.floor((i * (bytes.length - 1)) / 23));
  await forAll(places, async (at) => {
    const changed = Buffer.from(bytes);
    changed[at] = changed[at] === 0x41 ? 0x42 : 0x41;
    shop.put(`flip-${at}.jws`, changed);
    fails(await shop.run("verify", `flip-${at}.jws`, "--key", "key.pub.jwk"), 1, /^flip-/);
  });
});

test("verify compares the image, and refuses one that is broken", async () => {
  const verify = (image: string) => shop.run("verify", "fw.jws", "--key", "key.pub.jwk", "--image", image);
  fails(await verify("other.bin"), 1, /^fw\.jws: claim image\.fsverity is sha256:.*, other\.bin has sha256:/);
  shop.put("long.bin", padTo(IMAGE, IMAGE.length + 1));
  fails(await verify("long.bin"), 1, /claim image\.size is 61008, long\.bin has 61009/);
  shop.put("bad.bin", mutations.flipPayloadBit(IMAGE));
  fails(await verify("bad.bin"), 1, /^bad\.bin: offset 0x[0-9a-f]+: checksum/);
});

test("verify refuses a manifest that is for another chip than its image", async () => {
  const good = { alg: "PS256", typ: "https-ota+jws", kid: jwk.kid };
  shop.put("lie.jws", await forge(good, { ...claimsOf("fw.jws"), chip: "esp32c3" }));
  const run = await shop.run("verify", "lie.jws", "--key", "key.pub.jwk", "--image", "fw.bin");
  fails(run, 1, /claim chip is esp32c3, fw\.bin has esp32$/m);
});

test("control characters in a file do not reach the terminal", async () => {
  const good = { alg: "PS256", typ: "https-ota+jws", kid: jwk.kid };
  const evil = "\u001b[2Jlamp\n";
  shop.put("evil.jws", await forge(good, { ...claimsOf("fw.jws"), project: evil }));
  const run = succeeds(await shop.run("verify", "evil.jws", "--key", "key.pub.jwk"), /\\x1b\[2Jlamp\\x0a/);
  assert.ok(!run.stdout.includes("\u001b"));
  shop.put("evil.bin", buildImage({ descriptor: { project: evil } }));
  fails(await signTo("no.jws", "evil.bin"), 1, /project "\\x1b\[2Jlamp\\x0a" has control characters/);
});

// --- The key is elsewhere --------------------------------------------------------------------------------------------

const external = (...more: string[]) => shop.run("sign", "fw.bin", "--external", "--key", "key.pub.jwk", ...more);
const takeBack = (signature: string, ...more: string[]) =>
  external("--signing-input", "ext.txt", "--signature", signature, "--out", "ext.jws", ...more);
const signed = (file: string, saltLength = 32, padding: number = constants.RSA_PKCS1_PSS_PADDING) =>
  rsaSign("sha256", shop.get(file), { key: shop.get("key.pem"), padding, saltLength });

test("external signing gives the manifest that signing here gives", async () => {
  succeeds(await external("--out", "ext.txt", "--sequence", "9", "--expires", "30d"), /salt of 32 bytes/);
  const signature = signed("ext.txt");
  shop.put("ext.sig", signature);
  shop.put("ext.b64", `${signature.toString("base64")}\n`);
  const given = ["ext.sig", "ext.b64", signature.toString("base64url"), signature.toString("hex")];
  for (const one of given) {
    succeeds(await takeBack(one), /signed manifest/);
    assert.equal(token("ext.jws"), `${token("ext.txt")}.${signature.toString("base64url")}`);
    succeeds(await shop.run("verify", "ext.jws", "--key", "key.pub.jwk", "--image", "fw.bin"));
  }
  assert.equal(claimsOf("ext.jws").sequence, 9);
});

test("external signing with openssl, the input taken from standard output", {
  skip: openssl ? false : "no openssl",
}, async () => {
  const { bytes } = succeeds(await external("--sequence", "9"));
  shop.put("ext.txt", bytes);
  const args = ["dgst", "-sha256", "-sign", shop.at("key.pem"), "-sigopt", "rsa_padding_mode:pss"];
  execFileSync("openssl", [...args, "-sigopt", "rsa_pss_saltlen:32", "-out", shop.at("ssl.sig"), shop.at("ext.txt")]);
  succeeds(await takeBack("ssl.sig"));
  succeeds(await shop.run("verify", "ext.jws", "--key", "key.pub.jwk", "--image", "fw.bin"));
});

test("a signature that is not the wanted one makes no manifest, and it is said why", async () => {
  succeeds(await external("--out", "ext.txt", "--sequence", "9"));
  shop.put("pkcs1.sig", signed("ext.txt", 0, constants.RSA_PKCS1_PADDING));
  shop.put("salt.sig", signed("ext.txt", 20));
  shop.put("wrong.sig", signed("fw.bin"));
  shop.put("short.sig", signed("ext.txt").subarray(1));
  const bare = shop.at("ext.jws");
  if (existsSync(bare)) execFileSync("rm", [bare]);
  const cases: [string, RegExp][] = [
    ["pkcs1.sig", /^pkcs1\.sig: signature: not made by key\.pub\.jwk .*RS256/],
    ["salt.sig", /^salt\.sig: signature: .*salt has another length/],
    ["wrong.sig", /^wrong\.sig: signature: not made by key\.pub\.jwk \([\w-]{43}\) over these bytes with PS256$/m],
    ["short.sig", /^short\.sig: neither 256 bytes nor/],
    ["none.sig", /^--signature: neither 256 bytes nor/],
  ];
  for (const [file, says] of cases) fails(await takeBack(file), 1, says);
  assert.ok(!existsSync(bare), "a manifest was written");
});

test("the second step takes only the input of this image and this key", async () => {
  succeeds(await external("--out", "ext.txt", "--sequence", "9"));
  shop.put("ext.sig", signed("ext.txt"));
  const back = ["--signing-input", "ext.txt", "--signature", "ext.sig", "--out", "no.jws"];
  fails(
    await shop.run("sign", "other.bin", "--external", "--key", "key.pub.jwk", ...back),
    1,
    /^ext\.txt: claim image\.fsverity/,
  );
  fails(await shop.run("sign", "fw.bin", "--external", "--key", "other.pub.jwk", ...back), 1, /^ext\.txt: header: kid/);
  shop.put("cut.txt", shop.get("ext.txt").subarray(0, -3));
  const cut = back.map((arg) => (arg === "ext.txt" ? "cut.txt" : arg));
  fails(await shop.run("sign", "fw.bin", "--external", "--key", "key.pub.jwk", ...cut), 1, /^cut\.txt: /);
  shop.put("token.txt", token("fw.jws"));
  const whole = back.map((arg) => (arg === "ext.txt" ? "token.txt" : arg));
  fails(
    await shop.run("sign", "fw.bin", "--external", "--key", "key.pub.jwk", ...whole),
    1,
    /3 parts, a signing input has 2/,
  );
  assert.ok(!existsSync(shop.at("no.jws")));
});

test("external signing checks the image in the first step already", async () => {
  shop.put("bad.bin", mutations.flipPayloadBit(IMAGE));
  const run = await shop.run("sign", "bad.bin", "--external", "--key", "key.pub.jwk");
  assert.equal(fails(run, 1, /^bad\.bin: offset/).stdout, "");
});

test("keys of other sizes and exponents work", async () => {
  for (const [bits, e] of [
    [3072, 3],
    [2056, 17],
  ]) {
    const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: bits, publicExponent: e });
    shop.put("odd.pem", privateKey.export({ type: "pkcs8", format: "pem" }));
    shop.put("odd.pub.pem", publicKey.export({ type: "spki", format: "pem" }));
    succeeds(await shop.run("sign", "fw.bin", "--key", "odd.pem", "--out", "odd.jws"));
    const kid = await calculateJwkThumbprint(await exportJWK(publicKey));
    const run = succeeds(await shop.run("verify", "odd.jws", "--key", "odd.pub.pem"));
    assert.ok(run.stdout.includes(kid), `${bits} bits, exponent ${e}`);
  }
});
