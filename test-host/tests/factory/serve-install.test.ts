// serve, with install pages in its folder: which files it gives out, how, and what it keeps for this computer.

import assert from "node:assert/strict";
import fs, { cpSync, mkdirSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { before, test, type TestContext } from "node:test";
import { createInstalls } from "../../../src/cli/server/installs.ts";
import { until } from "../../support/fixture.ts";
import { buildImage } from "../../support/images.ts";
import { fails, succeeds, workshop } from "../cli/cli-run.ts";
import { ask, server } from "../cli/cli-serving.ts";
import { furnish, PROGRAM, putBuild, sign } from "./factory-run.ts";

const shop = workshop();
const serve = server(shop);
const PASSWORD = "correct horse";
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

before(async () => {
  await furnish(shop);
  putBuild(shop, "espruino-esp32c3", "esp32c3");
  for (const chip of ["esp32", "esp32c3"])
    await sign(shop, `prog-${chip}`, PROGRAM, "--chip", chip, "--app-version", "1");
  const make = async (out: string, chip = "esp32", ...more: string[]) => {
    const build = chip === "esp32" ? "espruino" : `espruino-${chip}`;
    const args = ["--espruino", build, "--release", `prog-${chip}/app.jws`, "--out", out, ...more];
    succeeds(await shop.run("factory", "--board", chip, ...args));
  };
  mkdirSync(shop.at("www"));
  shop.put("www/lamp.bin", buildImage({ size: 70_000, seed: 2, descriptor: { project: "lamp", version: "2.0.0" } }));
  await make("www/one", "esp32", "--page");
  await make("www/without-page", "esp32c3");
  await make("www/site/a b");
  await make("www/site/c3", "esp32c3");
  succeeds(await shop.run("install-page", "www/site"));
  shop.put("wifi.json", JSON.stringify({ ssid: "Home", password: PASSWORD }));
  await make("secret/esp32", "esp32", "--wifi", "wifi.json", "--page");
  succeeds(await shop.run("install-page", "secret"));
});

/** A copy of www/, to be spoiled. */
function copy(name: string): string {
  cpSync(shop.at("www"), shop.at(name), { recursive: true });
  return name;
}

const json = async (url: string) => JSON.parse((await ask(`${url}/-/api/releases`)).body.toString());
const FILES = [
  ...["bootloader.bin", "partitions.bin", "otadata.bin", "firmware.bin", "storage.bin", "factory.bin"],
  ...["manifest.json", "SHA256SUMS", "flash.txt"],
];
const PAGE = ["index.html", "install.js", "install.css", "licenses.txt"];
const TYPES: Record<string, RegExp> = {
  html: /^text\/html; charset=utf-8$/,
  js: /^text\/javascript; charset=utf-8$/,
  css: /^text\/css; charset=utf-8$/,
  json: /^application\/json$/,
  bin: /^application\/octet-stream$/,
  txt: /^text\/plain; charset=utf-8$/,
  SHA256SUMS: /^text\/plain; charset=utf-8$/,
};

test("pages have types and a content security policy, in JSON and list", async (t) => {
  const { url, out } = await serve(t, "www", "--http");
  const paths = [
    ...[...PAGE, ...FILES].map((name) => `one/${name}`),
    ...[...PAGE, "manifest.json"].map((name) => `site/${name}`),
    ...FILES.flatMap((name) => [`site/a%20b/${name}`, `site/c3/${name}`]),
  ];
  for (const path of paths) {
    const { status, headers, body } = await ask(`${url}/${path}`);
    assert.equal(status, 200, path);
    assert.ok(body.equals(shop.get(`www/${decodeURIComponent(path)}`)), path);
    const [ending] = path.split(/[./]/).slice(-1);
    assert.match(String(headers["content-type"]), TYPES[ending], path);
    assert.equal(headers["content-security-policy"], POLICY, path);
    assert.deepEqual([headers["x-content-type-options"], headers["x-frame-options"]], ["nosniff", "DENY"]);
  }
  const list = (await ask(`${url}/`)).body.toString().trim().split("\n");
  assert.deepEqual(list.slice().sort(), ["/lamp.bin", ...paths.map((path) => `/${path}`)].sort());
  const { installs, notServed } = await json(url);
  const [stock, two] = ["ESP32, stock table", "ESP32-C3, two equal slots"];
  assert.deepEqual(installs, [
    {
      path: "/one/index.html",
      name: "espruino program app.js",
      version: "1",
      boards: [{ title: stock, chip: "ESP32" }],
    },
    {
      ...{ path: "/site/index.html", name: "espruino program app.js", version: "1" },
      boards: [
        { title: stock, chip: "ESP32" },
        { title: two, chip: "ESP32-C3" },
      ],
    },
  ]);
  assert.deepEqual(notServed, []);
  assert.match(
    out(),
    /To install espruino program app\.js 1 on a new board: http:\/\/127\.0\.0\.1:\d+\/one\/index\.html in Chrome or Edge/,
  );
  const index = await ask(`${url}/one/`);
  assert.ok(index.body.equals(shop.get("www/one/index.html")), "a folder with a slash is its page");
  const again = await ask(`${url}/one/factory.bin`, { headers: { "If-None-Match": String(index.headers.etag) } });
  assert.equal(again.status, 200);
  const known = await ask(`${url}/one/`, { headers: { "If-None-Match": String(index.headers.etag) } });
  assert.deepEqual([known.status, known.body.length], [304, 0]);
  const head = await ask(`${url}/one/factory.bin`, { method: "HEAD" });
  assert.deepEqual(
    [head.headers["content-length"], head.body.length],
    [String(shop.get("www/one/factory.bin").length), 0],
  );
});

test("files of factory are not releases, and without a page not served", async (t) => {
  const { url, out } = await serve(t, "www", "--http", "--key", "key.pem");
  const { releases } = await json(url);
  assert.deepEqual(
    releases.map(({ path }: any) => path),
    ["/lamp.bin.jws"],
  );
  for (const name of [...FILES, "firmware.bin.jws", "index.html"])
    assert.equal((await ask(`${url}/without-page/${name}`)).status, 404, name);
  assert.doesNotMatch(out(), /Not served/);
});

test("nothing beside the files of the page comes out", async (t) => {
  const folder = copy("more");
  shop.put("more/one/key.pem", shop.get("key.pem"));
  shop.put("more/one/notes.txt", "mine");
  shop.put("more/one/.env", "mine");
  shop.put("more/one/dump.bin", shop.get("more/one/factory.bin").subarray(0, 0x20000));
  mkdirSync(shop.at("more/one/sub"));
  shop.put("more/one/sub/index.html", "mine");
  shop.put("outside.txt", "mine");
  const { url } = await serve(t, folder, "--http");
  for (const path of [
    ...["one/key.pem", "one/notes.txt", "one/.env", "one/dump.bin", "one/sub/index.html", "one/sub/", "on"],
    ...["one/../../outside.txt", "one/%2e%2e/%2e%2e/outside.txt", "one%2findex.html", "one//index.html", "one/%00"],
    ...["one/INDEX.HTML", "one/factory.bin/", "index.html", "manifest.json"],
  ])
    assert.equal((await ask(`${url}/${path}`)).status, 404, path);
  assert.equal((await ask(`${url}/one/index.html`)).status, 200);
});

test("a link to a key, or out of the folder, is not followed", async (t) => {
  const folder = copy("links");
  shop.put("links/key.pem", shop.get("key.pem"));
  rmSync(shop.at("links/one/licenses.txt"));
  symlinkSync("../key.pem", shop.at("links/one/licenses.txt"));
  renameSync(shop.at("links/site/install.css"), shop.at("install.css"));
  symlinkSync("../../install.css", shop.at("links/site/install.css"));
  const { url, out } = await serve(t, folder, "--http");
  for (const path of ["one/licenses.txt", "one/index.html", "site/install.css", "site/index.html"]) {
    const { status, body } = await ask(`${url}/${path}`);
    assert.ok(status >= 400, path);
    assert.doesNotMatch(body.toString(), /PRIVATE|display/);
  }
  const { installs, notServed } = await json(url);
  assert.deepEqual(installs, []);
  assert.deepEqual(notServed, [
    { path: "/one/index.html", reason: "licenses.txt: it may not be served" },
    { path: "/site/index.html", reason: "install.css: it is not here, or may not be served" },
  ]);
  assert.match(out(), /Not served: \/one\/index\.html: licenses\.txt: it may not be served/);
});

test("the folder of a page leads to the same path with a slash", async (t) => {
  const { url } = await serve(t, copy("slash"), "--http");
  const paths = { one: "/one/", "one?a=1&b=//x?": "/one/?a=1&b=//x?", "%6fne": "/one/", site: "/site/" };
  for (const [path, place] of Object.entries(paths))
    for (const method of ["GET", "HEAD"]) {
      const { status, headers } = await ask(`${url}/${path}`, { method });
      assert.deepEqual([status, headers.location], [301, place], path);
      assert.equal(headers["content-security-policy"], POLICY);
    }
  assert.equal((await ask(`${url}/one/`)).status, 200);
  for (const path of ["/evil.example", "/one", "one%2f", "one/../one", "%2fone", "\\evil.example", "site/c3", "on"]) {
    const { status, headers } = await ask(`${url}/${path}`);
    assert.deepEqual([status, headers.location], [404, undefined], path);
  }
  const { status, headers } = await ask(`${url}/one`, { headers: { Host: "evil.example" } });
  assert.deepEqual([status, headers.location], [403, undefined]);
  // one that is not served says why, with and without the slash
  shop.put("slash/one/storage.bin", "other");
  assert.equal((await ask(`${url}/one`)).status, 422);
});

test("a page whose files are not what it names is not served", async (t) => {
  const folder = copy("changed");
  const storage = shop.get("changed/one/storage.bin");
  storage[500_000] ^= 1;
  shop.put("changed/one/storage.bin", storage);
  shop.put("changed/site/c3/factory.bin", shop.get("key.pem"));
  const { url } = await serve(t, folder, "--http");
  const { installs, notServed } = await json(url);
  assert.deepEqual(installs, []);
  const other = "not the file that manifest.json and SHA256SUMS name, make it again";
  assert.deepEqual(notServed, [
    { path: "/one/index.html", reason: `storage.bin: ${other}` },
    { path: "/site/index.html", reason: `factory.bin: ${other}` },
  ]);
  const { status, body } = await ask(`${url}/one/index.html`);
  assert.deepEqual([status, body.toString()], [422, `storage.bin: ${other}\n`]);
  for (const path of ["one/storage.bin", "site/c3/factory.bin"])
    assert.ok((await ask(`${url}/${path}`)).status >= 400, path);
  // repaired while it runs
  shop.put("changed/one/storage.bin", shop.get("www/one/storage.bin"));
  assert.equal((await ask(`${url}/one/index.html`)).status, 200);
});

test("a page lists only boards that factory made, below the folder", async (t) => {
  const folder = copy("forged");
  const site = JSON.parse(shop.get("forged/site/manifest.json").toString());
  mkdirSync(shop.at("forged/other"));
  shop.put("forged/other/manifest.json", shop.get("forged/one/manifest.json"));
  const { url } = await serve(t, folder, "--http");
  for (const manifest of ["../other/manifest.json", "../../prog-esp32/manifest.json", "", "%2e%2e/x", 7, null]) {
    shop.put("forged/site/manifest.json", JSON.stringify({ ...site, boards: [{ manifest }] }));
    const { status, body } = await ask(`${url}/site/index.html`);
    assert.equal(status, 422, String(manifest));
    assert.match(body.toString(), /: not of factory$/m);
  }
  shop.put("forged/site/manifest.json", JSON.stringify({ ...site, boards: [{ manifest: "c3/manifest.json" }] }));
  assert.equal((await ask(`${url}/site/index.html`)).status, 200);
});

// --- Wi-Fi -----------------------------------------------------------------------------------------------------------

/** serve where others could reach it, which the helper never does. Resolves with its port. */
async function serveForAll(t: TestContext, folder: string): Promise<{ port: number; out(): string }> {
  const child = shop.start("serve", folder, "--http", "--port", "0");
  t.after(() => void child.kill("SIGKILL"));
  let out = "";
  child.stdout?.setEncoding("utf8").on("data", (text) => {
    out += text;
  });
  await until("it has told everything", () => /For the Espruino Web IDE/.test(out) || child.exitCode !== null);
  return { port: Number(/http:\/\/localhost:(\d+)\//.exec(out)?.[1]), out: () => out };
}

const WIFI = /hold a Wi-Fi password, which others on the network could fetch: serve it with --host 127\.0\.0\.1/;

test("a Wi-Fi password is not given to the network, also not to this computer", async (t) => {
  const folder = copy("wifi");
  cpSync(shop.at("secret"), shop.at("wifi/secret"), { recursive: true });
  const { port, out } = await serveForAll(t, folder);
  const url = `http://127.0.0.1:${port}`;
  for (const name of [...PAGE, ...FILES])
    for (const at of ["secret/esp32", ...(PAGE.includes(name) ? ["secret"] : [])]) {
      const { status, body } = await ask(`${url}/${at}/${name}`);
      assert.equal(status, 422, `${at}/${name}`);
      assert.match(body.toString(), WIFI);
      assert.ok(!body.includes(PASSWORD));
    }
  const { installs, notServed } = await json(url);
  assert.deepEqual(
    installs.map(({ path }: any) => path),
    ["/one/index.html", "/site/index.html"],
  );
  assert.deepEqual(
    notServed.map(({ path }: any) => path),
    ["/secret/index.html", "/secret/esp32/index.html"],
  );
  assert.match(out(), /Not served: \/secret\/index\.html: its files hold a Wi-Fi password/);
  assert.match(out(), /To install espruino program app\.js 1 on a new board: http:\/\/localhost:\d+\/one\/index\.html/);
  // a Wi-Fi that comes later is seen
  for (const name of FILES) shop.put(`wifi/one/${name}`, shop.get(`secret/esp32/${name}`));
  assert.match((await ask(`${url}/one/factory.bin`)).body.toString(), WIFI);
});

test("a Wi-Fi password that comes after the page was checked is not served", async (t) => {
  const name = copy("late");
  const [page, secret] = ["late/one", "secret/esp32"].map(shop.at);
  const { readFileSync } = fs;
  let isSwapped = false;
  // factory.bin is the last file that is checked
  t.mock.method(fs, "readFileSync", (file: string, ...more: any[]) => {
    const bytes = (readFileSync as any)(file, ...more);
    if (!isSwapped && file === `${page}/factory.bin`) {
      isSwapped = true;
      for (const one of FILES) cpSync(`${secret}/${one}`, `${page}/${one}`);
    }
    return bytes;
  });
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.reset();
    syncBuiltinESMExports();
  });
  const content = createInstalls(shop.at(`${name}/one`), false).get("/storage.bin", "192.168.1.10:8080");
  assert.ok(isSwapped && content !== null && typeof content === "object");
  await assert.rejects(content.open(0, content.size), /storage\.bin: has just changed: request it again/);
});

test("--host 127.0.0.1 serves a Wi-Fi password only by a local name", async (t) => {
  const folder = copy("local");
  cpSync(shop.at("secret"), shop.at("local/secret"), { recursive: true });
  const { url, port } = await serve(t, folder, "--http");
  for (const host of [`127.0.0.1:${port}`, `localhost:${port}`, "LOCALHOST"]) {
    const { status, body } = await ask(`${url}/secret/esp32/storage.bin`, { headers: { Host: host } });
    assert.equal(status, 200, host);
    assert.ok(body.includes(PASSWORD));
  }
  const strangers = ["evil.example", `localhost.evil.example:${port}`, `127.0.0.1.evil.example:${port}`];
  for (const host of strangers)
    for (const path of ["secret/esp32/storage.bin", "one/index.html", "one/", "one/factory.bin"]) {
      const { status, body } = await ask(`${url}/${path}`, { headers: { Host: host } });
      assert.equal(status, 403, `${host} ${path}`);
      assert.match(body.toString(), /the page is not served for the name /);
    }
});

test("a name that --allow-host allows gets a page, and no Wi-Fi password", async (t) => {
  // a proxy on this computer would publish it
  const folder = copy("proxy");
  cpSync(shop.at("secret"), shop.at("proxy/secret"), { recursive: true });
  const { url } = await serve(t, folder, "--http", "--allow-host", "lamp.example");
  const headers = { Host: "lamp.example" };
  assert.equal((await ask(`${url}/one/factory.bin`, { headers })).status, 200);
  for (const path of ["secret/esp32/storage.bin", "secret/index.html"]) {
    const { status, body } = await ask(`${url}/${path}`, { headers });
    assert.equal(status, 422, path);
    assert.match(body.toString(), WIFI);
  }
});

test("a folder with nothing but an install page can be served", async (t) => {
  const child = shop.start("serve", "www/one", "--http", "--host", "127.0.0.1", "--port", "0");
  t.after(() => void child.kill("SIGKILL"));
  let out = "";
  child.stdout?.setEncoding("utf8").on("data", (text) => {
    out += text;
  });
  await until("it says where", () => /To install/.test(out) || child.exitCode !== null);
  const [, url] = /on a new board: (http:\/\/127\.0\.0\.1:\d+)\/index\.html in Chrome/.exec(out) ?? assert.fail(out);
  assert.equal((await ask(`${url}/index.html`)).status, 200);
  assert.match((await ask(`${url}/`, { headers: { Accept: "text/html" } })).body.toString(), /<title>https-ota serve/);
  assert.deepEqual((await json(url)).releases, []);
  assert.doesNotMatch(out, /Not served|Web IDE/);
});

test("a folder with only a Wi-Fi page is refused with the reason", async () => {
  fails(await shop.run("serve", "secret", "--port", "0"), 1, WIFI);
  fails(await shop.run("serve", "secret/esp32", "--port", "0"), 1, WIFI);
});
