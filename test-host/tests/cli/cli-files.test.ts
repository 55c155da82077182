// Releases of files: what sign makes of a folder, what it refuses, and what verify and inspect say of it.
import assert from "node:assert/strict";
import { createHash, createPrivateKey, constants, sign as rsaSign } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import path from "node:path";
import { before, test } from "node:test";
import { releaseText } from "../../../src/boot/file-set.ts";
import { globOf } from "../../../src/cli/release/glob.ts";
import { BUILT_IN, requiresOf } from "../../../src/cli/release/requires.ts";
import { secretIn } from "../../../src/cli/release/secrets.ts";
import { storageNeed, storageRoom } from "../../../src/cli/release/space.ts";
import { parseManifest } from "../../../src/trust/manifest.ts";
import { buildImage } from "../../support/images.ts";
import { fails, forAll, ROOT, succeeds, workshop } from "./cli-run.ts";

const shop = workshop();
const IMAGE = buildImage({ size: 61008, seed: 2, descriptor: { project: "lamp", version: "2.0.0" } });

/** Files of a folder, by their paths. */
function folder(name: string, files: Record<string, string | Uint8Array>): string {
  for (const [file, content] of Object.entries(files)) {
    mkdirSync(path.dirname(shop.at(path.join(name, file))), { recursive: true });
    shop.put(path.join(name, file), content);
  }
  return name;
}

const PROGRAM = {
  "app.js": 'var b = require("b");\nvar sensor = require("lib/sensor");\nb.go(sensor.read());\n',
  "b.js": 'var a = require("z");\nexports.go = function (x) { a.go(x); };\n',
  "z.js": "exports.go = print;\n",
  "lib/sensor.js": 'exports.read = function () { return require("Storage").read("x"); };\n',
  "tune.bin": Uint8Array.from({ length: 999 }, (_, i) => i),
};

before(async () => {
  for (const key of ["key.pem", "other.pem"]) succeeds(await shop.run("keygen", "--out", key, "--bits", "2048"));
  shop.put("fw.bin", IMAGE);
  folder("prog", PROGRAM);
  folder("prog", { "README.md": "x", ".git/config": "x", "node_modules/m/index.js": "x", "app.js.map": "{}" });
  succeeds(await sign("app.jws", "--files", "prog", "--entry", "app.js"));
});

const claimsOf = (name: string) =>
  JSON.parse(Buffer.from(shop.get(name).toString("latin1").split(".")[1], "base64url").toString());
const sha256 = (bytes: string | Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const ALONE = ["--chip", "esp32", "--app-version", "1.4.0"];
const sign = (out: string, ...more: string[]) => shop.run("sign", "--key", "key.pem", "--out", out, ...ALONE, ...more);
const namesOf = (name: string) => claimsOf(name).files.map((file: { name: string }) => file.name);

// --- What is signed --------------------------------------------------------------------------------------------------

test("a manifest of files has format 2, and each file by name, size and SHA-256", () => {
  const { iat, exp, sequence, ...claims } = claimsOf("app.jws");
  assert.equal(exp, iat + 365 * 86400);
  assert.equal(sequence, iat);
  assert.deepEqual(claims, {
    format: 2,
    project: "espruino",
    version: "1.4.0",
    chip: "esp32",
    entry: "app.js",
    files: ["lib/sensor.js", "z.js", "b.js", "app.js", "tune.bin"].map((name) => {
      const content = PROGRAM[name as keyof typeof PROGRAM];
      return { name, size: content.length, sha256: sha256(content) };
    }),
  });
  parseManifest(JSON.stringify({ ...claims, iat, exp, sequence }));
});

test("sign says what it left out", async () => {
  const run = await sign("out.jws", "--files", "prog", "--entry", "app.js", "--ignore", "*.bin");
  succeeds(run, /note +left out of prog: \.git\/, README\.md, app\.js\.map, node_modules\/, tune\.bin\n/);
  assert.deepEqual(namesOf("out.jws"), ["lib/sensor.js", "z.js", "b.js", "app.js"]);
});

test("the same files give the same claims", async () => {
  const { iat: _, ...one } = claimsOf("app.jws");
  const fixed = ["--sequence", String(one.sequence), "--expires", new Date(one.exp * 1000).toISOString()];
  // another order in the folder
  for (const name of Object.keys(PROGRAM).reverse()) folder("again", { [name]: PROGRAM[name as keyof typeof PROGRAM] });
  succeeds(await sign("again.jws", "--files", "again", "--entry", "app.js", ...fixed));
  const { iat: __, ...two } = claimsOf("again.jws");
  assert.equal(JSON.stringify(two), JSON.stringify(one));
});

test("a module comes behind those that it requires, and by name otherwise", async () => {
  folder("order", {
    "app.js": 'require("a")',
    "a.js": 'require("m"); require("k")',
    "k.js": 'function f() { return require("y"); }',
    "m.js": "require(`y`)",
    "y.js": "",
    b: "exports.b = 1;",
    "B.txt": "x",
  });
  succeeds(await sign("order.jws", "--files", "order", "--entry", "app.js"), /note +file y\.js is empty/);
  assert.deepEqual(namesOf("order.jws"), ["b", "y.js", "k.js", "m.js", "a.js", "app.js", "B.txt"]);
});

test("a file has a URL only when its name is not one, or with --files-url", async () => {
  folder("urls", {
    "app.js": "1",
    "a b.txt": "2",
    "100%.txt": "3",
    "x:y.txt": "4",
    "lib/c#d.txt": "5",
    "e+f~.txt": "6",
  });
  const urls = async (...more: string[]) => {
    succeeds(await sign("urls.jws", "--files", "urls", "--entry", "app.js", ...more));
    return Object.fromEntries(claimsOf("urls.jws").files.map(({ name, url }: any) => [name, url]));
  };
  assert.deepEqual(await urls(), {
    "app.js": undefined,
    "a b.txt": "a%20b.txt",
    "100%.txt": "100%25.txt",
    "x:y.txt": "x%3Ay.txt",
    "lib/c#d.txt": "lib/c%23d.txt",
    "e+f~.txt": undefined,
  });
  const prefixed = await urls("--files-url", "https://cdn.example/v2/");
  assert.equal(prefixed["app.js"], "https://cdn.example/v2/app.js");
  assert.equal(prefixed["lib/c#d.txt"], "https://cdn.example/v2/lib/c%23d.txt");
});

test("--file adds a file, and takes the place of one in the folder", async () => {
  shop.put("other.js", "exports.go = 2;");
  const files = ["--files", "prog", "--file", "z.js=other.js", "--file", "data/x.bin=fw.bin"];
  succeeds(await sign("file.jws", ...files, "--entry", "app.js"));
  const found = claimsOf("file.jws").files;
  assert.equal(found.find(({ name }: any) => name === "z.js").sha256, sha256("exports.go = 2;"));
  assert.equal(found.at(-2).name, "data/x.bin");
  succeeds(await sign("single.jws", "--file", "app.js=other.js", "--entry", "app.js"));
  assert.deepEqual(namesOf("single.jws"), ["app.js"]);
});

test("an image and files are one release", async () => {
  const both = ["sign", "fw.bin", "--key", "key.pem", "--files", "prog", "--entry", "app.js"];
  succeeds(await shop.run(...both, "--out", "both.jws"), /image +fw\.bin, 61008 bytes/, /files +5 files/);
  const claims = claimsOf("both.jws");
  assert.deepEqual([claims.format, claims.project, claims.version, claims.entry], [2, "lamp", "2.0.0", "app.js"]);
  assert.equal(claims.image.size, IMAGE.length);
  const id = sha256(releaseText(claims.image, claims.entry, claims.files));
  const verify = ["verify", "both.jws", "--key", "key.pub.jwk", "--image", "fw.bin", "--files", "prog"];
  succeeds(await shop.run(...verify), /ok image/, /ok files +prog: 5 of 5/, new RegExp(`release +${id}\n`));
  fails(await shop.run(...both, "--chip", "esp32", "--out", "no.jws"), 2, /--chip is for files alone/);
});

test("--minify signs smaller files, and --files-out has their bytes", async () => {
  const minify = ["--files", "prog", "--entry", "app.js", "--minify"];
  fails(await sign("min.jws", ...minify), 2, /--minify needs --files-out/);
  succeeds(await sign("min.jws", ...minify, "--files-out", "min"));
  const small = shop.get("min/b.js").toString();
  assert.equal(small, 'var a=require("z");exports.go=function(o){a.go(o)};');
  assert.deepEqual(shop.get("min/tune.bin"), Buffer.from(PROGRAM["tune.bin"]));
  succeeds(await shop.run("verify", "min.jws", "--key", "key.pub.jwk", "--files", "min"));
  fails(await shop.run("verify", "min.jws", "--key", "key.pub.jwk", "--files", "prog"), 1, /^min\.jws: file \S+ has/);
  folder("bad", { "app.js": "var = 1" });
  const bad = ["--files", "bad", "--entry", "app.js", "--minify", "--files-out", "no"];
  fails(await sign("no.jws", ...bad), 1, /^bad\/app\.js: file app\.js cannot be minified: line 1, column 5: /);
  succeeds(
    await sign("bad.jws", "--files", "bad", "--entry", "app.js"),
    /note +file app\.js was not read as JavaScript/,
  );
});

test("--files-out writes no file that was read", async () => {
  folder("same", { "app.js": "var x = 1;  // one" });
  const same = ["--files", "same", "--entry", "app.js", "--minify", "--files-out", "same"];
  fails(await sign("no.jws", ...same), 1, /^same\/app\.js: is read by this command, and is not overwritten/);
});

// --- Two signatures, and keys elsewhere ------------------------------------------------------------------------------

test("a second signer signs the files that it has", async () => {
  const cosign = (...more: string[]) =>
    shop.run("sign", "--cosign", "app.jws", "--key", "other.pem", "--out", "two.jws", ...more);
  succeeds(await cosign("--files", "prog"), /two signatures/);
  const keys = ["--key", "key.pub.jwk", "--key", "other.pub.jwk", "--threshold", "2"];
  succeeds(await shop.run("verify", "two.jws", ...keys, "--files", "prog"));
  fails(
    await cosign("--files", "prog", "--file", "z.js=other.js"),
    1,
    /^app\.jws: file z\.js has 20 bytes, other\.js has/,
  );
  fails(await cosign("--file", "z.js=other.js"), 1, /file lib\/sensor\.js of the manifest is not here/);
  fails(await cosign("fw.bin"), 1, /^app\.jws: names 5 files: give --files/);
  fails(await cosign("fw.bin", "--files", "prog"), 1, /^app\.jws: names files alone, and no image/);
  fails(await cosign("--files", "prog", "--entry", "b.js"), 2, /entry is in the manifest already/);
});

test("files are signed with a key that is elsewhere", async () => {
  const external = (...more: string[]) => shop.run("sign", "--external", "--key", "key.pub.jwk", ...more);
  const files = ["--files", "prog"];
  succeeds(await external(...files, "--entry", "app.js", ...ALONE, "--out", "in.txt"), /signing input/);
  const options = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
  const key = createPrivateKey(shop.get("key.pem"));
  shop.put("in.sig", rsaSign("sha256", shop.get("in.txt"), { key, ...options }));
  const back = ["--signing-input", "in.txt", "--signature", "in.sig", "--out", "ext.jws"];
  succeeds(await external(...files, ...back), /signed manifest/);
  succeeds(await shop.run("verify", "ext.jws", "--key", "key.pub.jwk", "--files", "prog"));
  fails(await external(...files, "--file", "z.js=other.js", ...back), 1, /^in\.txt: file z\.js has 20 bytes/);
});

// --- What is refused -------------------------------------------------------------------------------------------------

test("sign says which option is missing, or does nothing", async () => {
  const key = ["--key", "key.pem", "--out", "no.jws"];
  const files = ["--files", "prog", "--entry", "app.js"];
  const cases: [string[], RegExp][] = [
    [[], /missing required argument 'image' \(a release of files alone has --files/],
    [files, /needs --chip \(esp32, esp32c3, esp32s3\) and --app-version$/m],
    [[...files, "--chip", "esp32"], /files alone needs --app-version$/m],
    [[...files, "--app-version", "1"], /files alone needs --chip \(esp32, esp32c3, esp32s3\)$/m],
    [[...files, "--chip", "esp8266", "--app-version", "1"], /Allowed choices are esp32, esp32c3, esp32s3/],
    [["--files", "prog", ...ALONE], /need --entry/],
    [["fw.bin", "--entry", "app.js"], /--entry is about files/],
    [["fw.bin", "--files-url", "x/"], /--files-url is about files/],
    [[...files, ...ALONE, "--url", "x.bin"], /--url is about an image/],
    [[...files, ...ALONE, "--storage", "storage"], /--storage is about an image/],
    [[...files, ...ALONE, "--file", "app.js"], /Expected NAME=PATH/],
    [[...files, ...ALONE, "--file", "a=x", "--file", "a=y"], /The name a comes twice/],
  ];
  await forAll(cases, async ([args, says]) => void fails(await shop.run("sign", ...args, ...key), 2, says));
});

test("a private key is refused in every form", async () => {
  const pem = shop.get("key.pem").toString();
  const jwk = createPrivateKey(pem).export({ format: "jwk" });
  const forms: Record<string, string | Buffer> = {
    "tls.txt": pem,
    "tls.js": `exports.key = ${JSON.stringify(pem)};`,
    "key.json": JSON.stringify(jwk),
    "set.json": JSON.stringify({ keys: [jwk] }),
    "key.js": `var key = { kty: "RSA", n: "${jwk.n}", e: "AQAB", d: '${jwk.d}' };`,
    "key.der": createPrivateKey(pem).export({ type: "pkcs8", format: "der" }),
    "key1.der": createPrivateKey(pem).export({ type: "pkcs1", format: "der" }),
    "oct.json": '{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAA"}',
  };
  await forAll(Object.entries(forms), async ([name, content]) => {
    folder(`key-${name}`, { "app.js": "1", [name]: content });
    const run = await sign(`no-${name}.jws`, "--files", `key-${name}`, "--entry", "app.js");
    fails(run, 1, new RegExp(`^key-${name}/${name}: file ${name}: a private key \\(\\w+\\), and everybody can read`));
    assert.ok(!existsSync(shop.at(`no-${name}.jws`)));
  });
  for (const fine of [
    "{ kty: 'RSA', n: 'AAAAAAAAAAAAAAAAAAAAAA', e: 'AQAB', kid: 'AAAAAAAAAAAAAAAAAAAA' }",
    '{"d":5}',
    "0",
  ])
    assert.equal(secretIn(Buffer.from(fine)), null, fine);
  assert.equal(secretIn(shop.get("key.pub.jwk")), null);
});

test("a program with the key of an example in place of its own is refused", async () => {
  const example = readFileSync(path.join(ROOT, "examples/nightly.js"), "utf8");
  const jwk = JSON.parse(shop.get("key.pub.jwk").toString());
  const cases: Record<string, string> = {
    "app.js": example,
    "keys.js": "exports.keys = [{ 'kty': 'RSA', \"n\": '...', e: `AQAB` }];",
  };
  for (const [name, content] of Object.entries(cases)) {
    folder(`example-${name}`, { "app.js": "print(1);", [name]: content });
    for (const more of [[], ["--minify", "--files-out", "out-example"]]) {
      const run = await sign("no-example.jws", "--files", `example-${name}`, "--entry", "app.js", ...more);
      const says = `^example-${name}/${name}: file ${name}: line \\d+: the key of an example \\(n: "\\.\\.\\."\\).*keygen`;
      fails(run, 1, new RegExp(says));
    }
  }
  const own = example.replace('n: "..."', `n: "${jwk.n}"`);
  folder("example-fine", { "app.js": `${own}\n// keys: [{ kty: "RSA", n: "...", e: "AQAB" }]\nvar n = "...";` });
  succeeds(await sign("example.jws", "--files", "example-fine", "--entry", "app.js"));
});

test("a Wi-Fi password is refused, as factory reads it and as Espruino stores it", async () => {
  const header = Buffer.alloc(32);
  header.write(".wificfg", 4);
  const forms: Record<string, string | Buffer> = {
    "wifi.json": '{\n  "ssid": "Home",\n  "password": "correct horse"\n}\n',
    "net.txt": '{"password":"correct horse","ssid":"Home","mode":1}',
    "ap.json": '{"mode":2,"ssidAP":"Lamp","passwordAP":"correct horse"}',
    "storage.bin": Buffer.concat([
      Buffer.alloc(99, 0xff),
      header,
      Buffer.from('{"ssid":"Home","password":"correct horse"}'),
    ]),
  };
  await forAll(Object.entries(forms), async ([name, content]) => {
    folder(`wifi-${name}`, { "app.js": "1", [name]: content });
    const run = await sign(`no-${name}.jws`, "--files", `wifi-${name}`, "--entry", "app.js");
    const says = `^wifi-${name}/${name}: file ${name}: a Wi-Fi password, and everybody can read a release: .* \\(--ignore\\)`;
    fails(run, 1, new RegExp(says));
    assert.ok(!`${run.stdout}${run.stderr}`.includes("correct horse"));
    assert.ok(!existsSync(shop.at(`no-${name}.jws`)));
  });
  folder("net", { "app.js": "1", "wifi.json": forms["wifi.json"] });
  succeeds(await sign("without.jws", "--files", "net", "--entry", "app.js", "--ignore", "wifi.json"));
  assert.deepEqual(namesOf("without.jws"), ["app.js"]);
  for (const fine of [
    '{"ssid":"Home","password":""}',
    '{"ssid":"Home"}',
    '{"user":"me","password":"correct horse"}',
    '[{"ssid":1}]',
    "null",
    'exports.connect = function (ssid, password) { require("Wifi").connect(ssid, { password: password }); };',
    'var WIFI = ".wificfg";',
  ])
    assert.equal(secretIn(Buffer.from(fine)), null, fine);
});

test("names, links and folders that a device or a publisher cannot have are refused", async () => {
  folder("f", { "app.js": "1", "e.js": "" });
  folder("empty", { "README.md": "x" });
  folder("long", { "app.js": "1", [`${"x".repeat(26)}.js`]: "1" });
  folder("umlaut", { "app.js": "1", "größe.txt": "1" });
  folder("twins", { "app.js": "1", "a.js": "1", a: "1" });
  folder("cycle", { "app.js": 'require("x")', "x.js": 'require("y")', "y.js": 'require("z")', "z.js": 'require("y")' });
  folder("self", { "app.js": "1", "x.js": 'require("x")' });
  folder("out", { "app.js": "1" });
  symlinkSync(shop.at("key.pem"), shop.at("out/link.txt"));
  folder("up", { "app.js": "1", "sub/x.js": "1" });
  symlinkSync(shop.at("up/sub"), shop.at("up/loop"));
  folder("gone", { "app.js": "1" });
  symlinkSync("nowhere", shop.at("gone/link.js"));
  shop.put("real.map", '{"version":3,"sources":[],"mappings":""}');
  const cases: [string[], RegExp][] = [
    [
      ["--files", "f", "--entry", "main.js"],
      /^f: entry main\.js is not one of its files \(there is app\.js, e\.js\): --entry/,
    ],
    [
      ["--files", "f", "--entry", "e.js", "--ignore", "e.js"],
      /^f: entry e\.js is left out, .*: rename it, or give it by/,
    ],
    [["--files", "f", "--entry", "e.js"], /^f\/e\.js: file e\.js: the entry is empty/],
    [["--files", "empty", "--entry", "app.js"], /^empty: no file for a release in it, 1 left out: README\.md$/m],
    [["--files", "none", "--entry", "app.js"], /^none: no such file or folder/],
    [["--files", "fw.bin", "--entry", "app.js"], /^fw\.bin: is a file, expected a folder/],
    [
      ["--files", "long", "--entry", "app.js"],
      /^long\/x+\.js: file name x{26}\.js is not allowed: expected 1 to 28 ASCII characters with its folders, .*: rename it/,
    ],
    [["--files", "umlaut", "--entry", "app.js"], /^umlaut\/gr\S+\.txt: file name gr\S+ is not allowed/],
    [["--files", "twins", "--entry", "app.js"], /^twins\/a\.js: file a\.js: a is the module "a" too/],
    [["--files", "cycle", "--entry", "app.js"], /^cycle: modules that require each other: y, z, y\./],
    [["--files", "self", "--entry", "app.js"], /^self: modules that require each other: x, x\./],
    [["--files", "out", "--entry", "app.js"], /^out\/link\.txt: a symbolic link that leaves the folder/],
    [["--files", "up", "--entry", "app.js"], /^up\/loop: a symbolic link to a folder/],
    [["--files", "gone", "--entry", "app.js"], /^gone\/link\.js: a symbolic link: no such file/],
    [["--files", "f", "--entry", "app.js", "--file", "m.js=prog/node_modules/m/index.js"], /from node_modules/],
    [["--files", "f", "--entry", "app.js", "--file", "node_modules/m.js=fw.bin"], /from node_modules/],
    [["--files", "f", "--entry", "app.js", "--file", "x.map=prog/app.js.map"], /a source map/],
    [["--files", "f", "--entry", "app.js", "--file", "x=real.map"], /a source map/],
    [["--files", "f", "--entry", "app.js", "--file", "../x.js=prog/b.js"], /file name \.\.\/x\.js is not allowed/],
    [
      ["--files", "f", "--entry", "app.js", "--file", ".boot0=prog/b.js"],
      /file name \.boot0 is not allowed: .* names of Espruino/,
    ],
    [["--files", "f", "--entry", "app.js", "--file", "x.js=nowhere"], /^nowhere: no such file/],
  ];
  await forAll(cases, async ([args, says]) => void fails(await sign("no.jws", ...args), 1, says));
  assert.ok(!existsSync(shop.at("no.jws")));
});

test("a link to a file of the folder is that file", async () => {
  folder("inside", { "app.js": "1", "real.txt": "data" });
  symlinkSync("real.txt", shop.at("inside/link.txt"));
  succeeds(await sign("inside.jws", "--files", "inside", "--entry", "app.js"));
  assert.deepEqual(namesOf("inside.jws"), ["app.js", "link.txt", "real.txt"]);
});

test("files that fit no Storage, and a manifest that no device reads, are refused", async () => {
  const room = storageRoom("esp32")?.bytes as number;
  assert.equal(room, 0xe0000 - 2 * 4128);
  const need = storageNeed(claimsOf("app.jws"));
  const set = need - claimsOf("app.jws").files.reduce((sum: number, { size }: any) => sum + ((size + 3) & ~3) + 32, 0);
  assert.ok(set > 300 && set < 600, String(set));
  folder("large", { "app.js": "1", "a.bin": new Uint8Array(room - 400).fill(1) });
  succeeds(
    await sign("large.jws", "--files", "large", "--entry", "app.js"),
    /note +the files take \d+ of 909248 bytes/,
  );
  folder("large", { "a.bin": new Uint8Array(room - 200).fill(1) });
  fails(
    await sign("no.jws", "--files", "large", "--entry", "app.js"),
    1,
    /^large: the files take \d+ bytes of Storage, esp32 has 909248 besides the boot record/,
  );
  // one content is stored once
  folder(
    "copies",
    Object.fromEntries([["app.js", "1"], ...[1, 2, 3].map((i) => [`${i}.bin`, new Uint8Array(400000)])]),
  );
  succeeds(await sign("copies.jws", "--files", "copies", "--entry", "app.js"));
  folder(
    "many",
    Object.fromEntries([["app.js", "1"], ...Array.from({ length: 300 }, (_, i) => [`${i}.txt`, String(i)])]),
  );
  fails(
    await sign("no.jws", "--files", "many", "--entry", "app.js"),
    1,
    /^many: the manifest has \d+ bytes, a device reads 32768 \(301 files: put several into one/,
  );
  const some = ["--files", "many", "--entry", "app.js", "--ignore"];
  const said =
    /note +a device needs \d+ free JsVars to read a manifest of \d+ bytes, .*: put several small files into one/;
  succeeds(await sign("yes.jws", ...some, "2*.txt"), said);
  assert.doesNotMatch(succeeds(await sign("yes.jws", ...some, "???.txt", "--ignore", "??.txt")).stdout, /JsVars/);
});

test("what a program requires and nothing has is said", async () => {
  folder("req", {
    "app.js":
      'require("./a"); require("MQTT"); require("app"); require("Wifi"); require("https-ota"); require("x" + 1);',
    "a.js": "//# sourceMappingURL=a.js.map",
    "es.js": 'import x from "y";',
  });
  const { stdout } = succeeds(await sign("req.jws", "--files", "req", "--entry", "app.js"));
  const notes = stdout.split("\n").filter((line) => /^ +note/.test(line));
  const says = [
    /file a\.js has a sourceMappingURL comment/,
    /file app\.js requires modules by names that are computed/,
    /file es\.js was not read as JavaScript: line 1, column 1: 'import' and 'export'/,
    /requires "\.\/a", which is .*, but is called require\("a"\)/,
    /requires "MQTT", which is neither a file of the release nor built into Espruino: a device finds it only when/,
    /requires "app", .*: the entry is the program/,
  ];
  assert.equal(notes.length, says.length, stdout);
  for (const [i, one] of says.entries()) assert.match(notes[i], one);
});

// --- verify and inspect ----------------------------------------------------------------------------------------------

test("verify compares each file", async () => {
  const verify = (files: string, manifest = "app.jws") =>
    shop.run("verify", manifest, "--key", "key.pub.jwk", "--files", files);
  succeeds(await verify("prog"), /ok files +prog: 5 of 5/, /lib\/sensor\.js +\d+ +module lib\/sensor +[0-9a-f]{64}/);
  folder("changed", { ...PROGRAM, "z.js": "exports.go = prinT;\n" });
  fails(
    await verify("changed"),
    1,
    /^app\.jws: file z\.js has SHA-256 [0-9a-f]{64}, changed\/z\.js has [0-9a-f]{64}$/m,
  );
  folder("short", { ...PROGRAM, "z.js": "x" });
  fails(await verify("short"), 1, /^app\.jws: file z\.js has 20 bytes, short\/z\.js has 1$/m);
  fails(await verify("f"), 1, /^f\/lib\/sensor\.js: no such file/);
  succeeds(await shop.run("sign", "fw.bin", "--key", "key.pem", "--out", "fw.jws"));
  fails(await verify("prog", "fw.jws"), 1, /^fw\.jws: names an image alone, and no files/);
  const withImage = await shop.run("verify", "app.jws", "--key", "key.pub.jwk", "--image", "fw.bin");
  fails(withImage, 1, /^app\.jws: names files alone, and no image/);
});

test("inspect shows the files of a manifest", async () => {
  const claims = claimsOf("app.jws");
  const id = sha256(releaseText(undefined, claims.entry, claims.files));
  const said = [/files +5 files, \d+ bytes \(\d+ of Storage\), entry app\.js/, new RegExp(`release +${id}`)];
  succeeds(
    await shop.run("inspect", "app.jws"),
    ...said,
    /tune\.bin +999 +data +[0-9a-f]{64}\n/,
    /app\.js +\d+ +entry/,
  );
  const json = JSON.parse(succeeds(await shop.run("inspect", "app.jws", "--json")).stdout);
  assert.equal(json.release.id, id);
  assert.equal(json.release.roles["lib/sensor.js"], "module lib/sensor");
  assert.deepEqual(json.token.claims, claims);
});

// --- Parts -----------------------------------------------------------------------------------------------------------

test("globs are about names, and with a slash about paths", () => {
  const cases: [string, string, boolean][] = [
    ["*.txt", "a.txt", true],
    ["*.txt", "x/a.txt", true],
    ["*.txt", "a.txt.js", false],
    ["x/*.txt", "x/a.txt", true],
    ["x/*.txt", "x/y/a.txt", false],
    ["x/**", "x/y/a.txt", true],
    ["**/y/*", "x/y/a.txt", true],
    ["**/y/*", "y/a.txt", true],
    ["/a.txt", "a.txt", true],
    ["/a.txt", "x/a.txt", false],
    ["test/", "x/test", true],
    ["a?c", "abc", true],
    ["a.c", "abc", false],
    ["[ab]", "[ab]", true],
  ];
  for (const [glob, file, wanted] of cases) assert.equal(globOf(glob)(file), wanted, `${glob} ${file}`);
});

test("requires are found where code calls them, and nowhere else", () => {
  const names = (code: string) => {
    const found = requiresOf(code);
    return typeof found === "string" ? found : found.names.join() + (found.computed ? "?" : "");
  };
  assert.equal(
    names('// require("a")\nvar s = "require(\'b\')"; x.require("c"); require("d"); return require(`e`);'),
    "d,e",
  );
  assert.equal(names("require(x); require(`a$" + "{x}`); require()"), "?");
  assert.equal(names("const f = async () => { let { a } = require('a'); };"), "a");
  assert.match(names("var = 1"), /^line 1, column 5: /);
  assert.deepEqual([...BUILT_IN], [...BUILT_IN].sort());
});
