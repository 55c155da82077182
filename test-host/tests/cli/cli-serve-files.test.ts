// serve: the files of signed releases in a folder, and a working folder that is signed again when it changes.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import path from "node:path";
import { before, test } from "node:test";
import { compactVerify, importJWK } from "jose";
import { until } from "../../support/fixture.ts";
import { fails, forAll, succeeds, workshop } from "./cli-run.ts";
import { ask, server } from "./cli-serving.ts";

const shop = workshop();
const serve = server(shop);
let jwk: any;

function folder(name: string, files: Record<string, string | Uint8Array>): string {
  for (const [file, content] of Object.entries(files)) {
    mkdirSync(path.dirname(shop.at(path.join(name, file))), { recursive: true });
    shop.put(path.join(name, file), content);
  }
  return name;
}

before(async () => {
  succeeds(await shop.run("keygen", "--out", "key.pem", "--bits", "2048"));
  jwk = JSON.parse(shop.get("key.pub.jwk").toString());
});

const WIFI = '{ "ssid": "Home", "password": "correct horse" }\n';
const sha256 = (bytes: string | Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const SIGNED = ["--key", "key.pem", "--chip", "esp32", "--entry", "app.js"];
const sign = (...more: string[]) => shop.run("sign", ...SIGNED, "--app-version", "1", ...more);

async function claimsAt(url: string): Promise<any> {
  const { status, body } = await ask(url);
  assert.equal(status, 200, body.toString());
  const { payload } = await compactVerify(body.toString(), await importJWK(jwk, "PS256"));
  return JSON.parse(Buffer.from(payload).toString());
}

// --- Signed releases -------------------------------------------------------------------------------------------------

test("the files of a signed release are served, and nothing beside them", async (t) => {
  folder("www/sub", {
    "app.js": "print(1)",
    "lib/a b.js": "exports.x = 1",
    "tune.bin": "\xe9 no image",
    "note.txt": "x",
  });
  folder("www", { "secret.txt": "secret" });
  succeeds(await sign("--files", "www/sub", "--ignore", "note.txt", "--out", "www/sub/app.jws"));
  const { url } = await serve(t, "www", "--http");
  const base = `${url}/sub`;
  const found = { "app.js": "print(1)", "lib/a%20b.js": "exports.x = 1", "tune.bin": shop.get("www/sub/tune.bin") };
  for (const [name, content] of Object.entries(found)) {
    const reply = await ask(`${base}/${name}`);
    assert.deepEqual([reply.status, reply.body], [200, Buffer.from(content)], name);
    const part = await ask(`${base}/${name}`, { headers: { Range: "bytes=3-", "If-Range": reply.headers.etag } });
    assert.deepEqual([part.status, part.body], [206, Buffer.from(content).subarray(3)]);
  }
  const { body } = await ask(`${url}/`);
  const listed = ["/sub/app.jws", "/sub/app.js", "/sub/lib/a%20b.js", "/sub/tune.bin"];
  assert.deepEqual(body.toString().trim().split("\n").sort(), listed.sort());
  for (const none of ["/sub/note.txt", "/secret.txt", "/sub/lib", "/sub/", "/app.js", "/sub/../secret.txt"])
    assert.equal((await ask(url + none)).status, 404, none);
});

test("a file that is not the one that was signed is not served", async (t) => {
  folder("stale", { "app.js": "print(1)", "b.txt": "one" });
  succeeds(await sign("--files", "stale", "--out", "stale/app.jws"));
  const { url } = await serve(t, "stale", "--http");
  folder("stale", { "b.txt": "two" });
  const stale = await ask(`${url}/b.txt`);
  assert.deepEqual(
    [stale.status, stale.body.toString()],
    [422, "b.txt: not the file that /app.jws names, sign it again\n"],
  );
  folder("stale", { "b.txt": "longer" });
  assert.equal((await ask(`${url}/b.txt`)).status, 422);
  assert.doesNotMatch((await ask(`${url}/`)).body.toString(), /b\.txt/);
  folder("stale", { "b.txt": "one" });
  assert.equal((await ask(`${url}/b.txt`)).body.toString(), "one");
  rmSync(shop.at("stale/b.txt"));
  assert.equal((await ask(`${url}/b.txt`)).status, 404);
});

test("a manifest cannot make serve send secrets, hidden files or files outside", async (t) => {
  folder("evil", {
    "app.js": "1",
    "k.txt": shop.get("key.pem"),
    "w.json": WIFI,
    ".hidden": "h",
    "node_modules/m.js": "m",
  });
  folder("outside", { "o.txt": "outside" });
  symlinkSync(shop.at("outside/o.txt"), shop.at("evil/link.txt"));
  // a manifest as somebody else may make it: serve does not check signatures
  const names: Record<string, string> = {
    "k.txt": "k.txt",
    "w.json": "w.json",
    ".hidden": ".hidden",
    "m.js": "node_modules/m.js",
    "link.txt": "link.txt",
    "up.txt": "../outside/o.txt",
    "root.txt": "/../outside/o.txt",
    "enc.txt": "..%2foutside%2fo.txt",
    "other.txt": "http://other.example/app.js",
  };
  const contents: Record<string, string | Buffer> = {
    "k.txt": shop.get("key.pem"),
    "w.json": WIFI,
    ".hidden": "h",
    "m.js": "m",
  };
  const file = (name: string, content: string | Buffer, url?: string) => ({
    name,
    size: content.length,
    sha256: sha256(content),
    ...(url === undefined ? {} : { url }),
  });
  const claims = {
    ...{ format: 2, project: "p", version: "1", chip: "esp32", sequence: 1, iat: 1, entry: "app.js" },
    files: [
      file("app.js", "1"),
      ...Object.entries(names).map(([name, url]) => file(name, contents[name] ?? "outside", url)),
    ],
  };
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const header = { alg: "PS256", typ: "https-ota+jws", kid: "x" };
  shop.put("evil/evil.jws", `${part(header)}.${part(claims)}.${"A".repeat(342)}`);
  const { url } = await serve(t, "evil", "--http");
  assert.equal((await ask(`${url}/app.js`)).status, 200);
  for (const none of [...Object.values(names).filter((one) => !one.startsWith("http")), "o.txt", "outside/o.txt"])
    assert.equal((await ask(`${url}/${none.replace(/^\//, "")}`)).status, 404, none);
  assert.deepEqual((await ask(`${url}/`)).body.toString().trim().split("\n").sort(), ["/app.js", "/evil.jws"]);
});

// --- A working folder ------------------------------------------------------------------------------------------------

const files = (claims: any) => Object.fromEntries(claims.files.map(({ name, sha256: one }: any) => [name, one]));

test("a working folder is signed, and again when it changes", async (t) => {
  folder("work", { "app.js": 'require("a")', "a.js": "exports.x = 1", "README.md": "x" });
  const { url, out } = await serve(t, "--files", "work", ...SIGNED, "--http");
  assert.match(out(), /note: left out of work: README\.md\n/);
  assert.match(out(), /\/release\.jws\n/);
  assert.match(out(), /url: "http:\/\/127\.0\.0\.1:\d+\/release\.jws"/);
  assert.match(out(), /setInterval\(update, 5000\)/);
  assert.match(out(), /npx https-ota init, .*\n\/\/ send this to flash \(\.bootcde\)/);
  assert.match(out(), /allowUnconfirmed: true, /);
  const manifest = `${url}/release.jws`;
  const one = await claimsAt(manifest);
  assert.deepEqual(await claimsAt(manifest), one, "unchanged, it is not signed again");
  assert.deepEqual(files(one), { "a.js": sha256("exports.x = 1"), "app.js": sha256('require("a")') });
  assert.equal(one.exp, undefined);
  const before = await ask(`${url}/a.js`);

  folder("work", { "a.js": "exports.x = 2" });
  const two = await claimsAt(manifest);
  assert.ok(two.sequence > one.sequence);
  assert.notEqual(two.version, one.version);
  assert.equal(files(two)["a.js"], sha256("exports.x = 2"));
  assert.equal((await ask(`${url}/a.js`)).body.toString(), "exports.x = 2");
  await until("the change is told", () => /signed again, sequence \d+: a\.js\n/.test(out()));
  const rest = await ask(`${url}/a.js`, { headers: { Range: "bytes=8-", "If-Range": before.headers.etag } });
  assert.deepEqual(
    [rest.status, rest.body.toString()],
    [206, "x = 1"],
    "a download goes on with the file that it began",
  );

  // back to what was before: a device takes it, because the sequence is higher
  folder("work", { "a.js": "exports.x = 1" });
  const three = await claimsAt(manifest);
  assert.ok(three.sequence > two.sequence);
  assert.deepEqual(files(three), files(one));
  assert.equal((await ask(`${url}/README.md`)).status, 404);
  assert.deepEqual((await ask(`${url}/`)).body.toString().trim().split("\n"), ["/release.jws", "/a.js", "/app.js"]);
});

test("files that cannot be a release are told, and the last release stays", async (t) => {
  folder("bad", { "app.js": "print(1)" });
  const { url, out } = await serve(t, "--files", "bad", ...SIGNED, "--http", "--app-version", "7");
  const manifest = `${url}/release.jws`;
  assert.equal((await claimsAt(manifest)).version, "7");
  folder("bad", { "tls.txt": shop.get("key.pem") });
  const refused = await ask(manifest);
  assert.equal(refused.status, 422);
  assert.match(refused.body.toString(), /^tls\.txt: file tls\.txt: a private key \(PEM\)/);
  assert.equal((await ask(`${url}/tls.txt`)).status, 404);
  assert.equal((await ask(`${url}/app.js`)).body.toString(), "print(1)");
  await until("it is told", () => /not signed: bad\/tls\.txt: file tls\.txt: a private key/.test(out()));
  rmSync(shop.at("bad/tls.txt"));
  assert.equal((await claimsAt(manifest)).version, "7");
  rmSync(shop.at("bad"), { recursive: true });
  assert.match((await ask(manifest)).body.toString(), /^bad: no such file or folder/);
});

test("the wifi.json of factory in a working folder is told, and given to nobody", async (t) => {
  folder("net", { "app.js": "print(1)" });
  const { url } = await serve(t, "--files", "net", ...SIGNED, "--http");
  const { version } = await claimsAt(`${url}/release.jws`);
  folder("net", { "wifi.json": WIFI });
  const refused = await ask(`${url}/release.jws`);
  assert.equal(refused.status, 422);
  const says = "wifi.json: file wifi.json: a Wi-Fi password, and everybody can read a release: ";
  assert.equal(refused.body.toString(), `${says}take it out, or leave the file out (--ignore)\n`);
  assert.equal((await ask(`${url}/wifi.json`)).status, 404);
  rmSync(shop.at("net/wifi.json"));
  assert.equal((await claimsAt(`${url}/release.jws`)).version, version);
});

test("--minify serves what it has signed", async (t) => {
  folder("mini", { "app.js": "var long = 1;  // comment\nprint(long);" });
  const { url } = await serve(t, "--files", "mini", ...SIGNED, "--http", "--minify", "--expires", "1d");
  const claims = await claimsAt(`${url}/release.jws`);
  const { body } = await ask(`${url}/app.js`);
  assert.equal(body.toString(), "var long=1;print(long);");
  assert.equal(claims.files[0].sha256, sha256(body));
  assert.equal(claims.exp, claims.iat + 86400);
});

test("serve says which option of a working folder is missing", async () => {
  const key = ["--key", "key.pem"];
  const cases: [string[], 1 | 2, RegExp][] = [
    [[], 2, /missing required argument 'folder\|image'/],
    [["www", "--files", "work"], 2, /not both/],
    [["www", "--entry", "app.js"], 2, /--entry is about files/],
    [["--files", "work", ...key, "--storage", "storage"], 2, /--storage is about images/],
    [["--files", "work"], 2, /--files and --file need --entry and --chip and --key$/m],
    [["--files", "work", "--entry", "app.js", ...key], 2, /need --chip$/m],
    [["--files", "none", ...SIGNED], 1, /^none: no such file/],
    [["--files", "work", ...SIGNED.slice(0, -1), "b.js"], 1, /^work: entry b\.js is not one of its files/],
    [["outside"], 1, /^outside: no image in it .*, and no manifest of files/],
  ];
  await forAll(cases, async ([args, code, says]) => void fails(await shop.alone("serve", ...args), code, says));
});
