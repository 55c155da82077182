// serve: the page for browsers and the JSON behind it (docs/serve-api.md). In a browser: tests/browser/.
import assert from "node:assert/strict";
import { mkdirSync, symlinkSync } from "node:fs";
import http from "node:http";
import { before, type TestContext, test } from "node:test";
import { createActivity } from "../../../src/cli/server/activity.ts";
import { fsverity } from "../../support/fsverity.ts";
import { until } from "../../support/fixture.ts";
import { buildImage, mutations } from "../../support/images.ts";
import { succeeds, workshop } from "./cli-run.ts";
import { ask, server } from "./cli-serving.ts";

const shop = workshop();
const serve = server(shop);
const IMAGE = buildImage({ size: 300_000, seed: 2, descriptor: { project: "lamp", version: "2.0.0" } });
const HTML = { headers: { Accept: "text/html,application/xhtml+xml,*/*;q=0.8" } };
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
let kid: string;

before(async () => {
  succeeds(await shop.run("keygen", "--out", "key.pem", "--bits", "2048"));
  kid = JSON.parse(shop.get("key.pub.jwk").toString()).kid;
  for (const folder of ["www/sub", "app/lib"]) mkdirSync(shop.at(folder), { recursive: true });
  shop.put("www/lamp.bin", IMAGE);
  shop.put("www/broken.bin", mutations.checksum(buildImage({ seed: 3 })));
  shop.put("www/secret.pem", shop.get("key.pem"));
  shop.put("www/sub/app.js", "print(1)");
  shop.put("www/sub/gone.txt", "gone");
  shop.put("www/sub/other.txt", "one");
  const signed = ["--entry", "app.js", "--chip", "esp32", "--app-version", "1", "--project", "lamp"];
  const out = ["--key", "key.pem", "--out", "www/sub/app.jws"];
  succeeds(await shop.run("sign", "--files", "www/sub", ...signed, ...out));
  symlinkSync("nowhere", shop.at("www/dangling.bin"));
  shop.put("www/sub/other.txt", "two");
  shop.put("app/app.js", "print(1)");
});

const json = async (url: string) => JSON.parse((await ask(url)).body.toString());

test("a browser gets a page without inline script or style, others the list", async (t) => {
  const { url, out } = await serve(t, "www", "--http", "--key", "key.pem");
  const page = await ask(`${url}/`, HTML);
  assert.match(String(page.headers["content-type"]), /^text\/html/);
  assert.equal(page.headers["content-security-policy"], POLICY);
  const body = page.body.toString();
  assert.doesNotMatch(body, /<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|https?:\/\//);
  const parts = [...body.matchAll(/(?:src|href)="(\/-\/[^"]+)"/g)].map(([, path]) => path);
  assert.deepEqual(parts.sort(), ["/-/icon.svg", "/-/page.css", "/-/page.js"]);
  for (const path of [...parts, "/", "/lamp.bin", "/none", "/-/api/releases", "/-/api/activity", "/-/qr.svg"]) {
    const { status, headers } = await ask(url + path);
    assert.equal(status, path === "/none" ? 404 : 200, path);
    assert.equal(headers["x-content-type-options"], "nosniff", path);
    if (path.startsWith("/-/")) assert.equal(headers["content-security-policy"], POLICY, path);
    assert.equal(headers["access-control-allow-origin"], undefined);
  }
  const known = await ask(`${url}/-/page.js`);
  assert.match(String(known.headers["content-type"]), /^text\/javascript/);
  assert.equal((await ask(`${url}/-/page.js`, { headers: { "If-None-Match": known.headers.etag } })).status, 304);
  const head = await ask(`${url}/`, { ...HTML, method: "HEAD" });
  assert.deepEqual([head.headers["content-length"], head.body.length], [String(page.body.length), 0]);
  for (const headers of [{}, { Accept: "*/*" }, { Accept: "application/json" }]) {
    const list = await ask(`${url}/`, { headers });
    assert.deepEqual([list.headers["content-type"], list.headers.vary], ["text/plain; charset=utf-8", "Accept"]);
    assert.match(list.body.toString(), /^\/lamp\.bin$/m);
  }
  for (const path of [
    "/-/",
    "/-/api",
    "/-/api/",
    "/-/__proto__",
    "/-/../key.pem",
    "/-/page.ts",
    "/-/api/program?path=/x",
  ])
    assert.equal((await ask(url + path)).status, 404, path);
  assert.equal((await ask(`${url}/-/api/releases`, { method: "POST" })).status, 405);
  assert.match(out(), /In a browser: http:\/\/127\.0\.0\.1:\d+\/\n/);
  assert.doesNotMatch(out(), /GET \/-\/page\.(?:js|css)|GET \/-\/api\/releases/);
});

test("/-/api/releases has names, digest, key, files and what is not served", async (t) => {
  const { url } = await serve(t, "www", "--http", "--key", "key.pem");
  const before = await json(`${url}/-/api/releases`);
  assert.deepEqual([before.addresses, before.suggested], [[url], "/lamp.bin.jws"]);
  const [image] = before.releases.filter(({ path }: any) => path === "/lamp.bin.jws");
  const { changedAt, ...rest } = image;
  assert.ok(Math.abs(Date.now() - Date.parse(changedAt)) < 600_000, changedAt);
  assert.deepEqual(rest, {
    path: "/lamp.bin.jws",
    signed: "on request",
    keys: [kid],
    project: "lamp",
    version: "2.0.0",
    chip: "esp32",
    board: null,
    sequence: null,
    signedAt: null,
    expiresAt: null,
    image: { path: "/lamp.bin", size: IMAGE.length, digest: `fsverity-sha256:${fsverity(IMAGE)}` },
    files: [],
  });
  await ask(`${url}/lamp.bin.jws`);
  const after = (await json(`${url}/-/api/releases`)).releases.find(({ path }: any) => path === "/lamp.bin.jws");
  assert.ok(after.sequence > 1e9 && Date.parse(after.signedAt) === after.sequence * 1000);
  const program = before.releases.find(({ path }: any) => path === "/sub/app.jws");
  assert.deepEqual([program.signed, program.keys, program.image], ["file", [kid], null]);
  const files = program.files.map(({ name, path, size, role }: any) => [name, path, size, role]);
  assert.deepEqual(files.sort(), [
    ["app.js", "/sub/app.js", 8, "entry"],
    ["gone.txt", "/sub/gone.txt", 4, "data"],
    ["other.txt", "/sub/other.txt", 3, "data"],
  ]);
  const reasons = Object.fromEntries(before.notServed.map(({ path, reason }: any) => [path, reason]));
  assert.deepEqual(Object.keys(reasons).sort(), ["/broken.bin", "/sub/other.txt"]);
  assert.match(reasons["/broken.bin"], /^offset 0x[0-9a-f]+: checksum/);
  assert.match(reasons["/sub/other.txt"], /not the file that \/sub\/app\.jws names/);
  const all = JSON.stringify(before);
  for (const hidden of ["secret", "PRIVATE", "dangling", shop.folder]) assert.ok(!all.includes(hidden), hidden);
});

test("without a key an image is offered by its digest", async (t) => {
  const { url } = await serve(t, "www/lamp.bin", "--http");
  const { releases, suggested } = await json(`${url}/-/api/releases`);
  assert.deepEqual([releases.length, suggested, releases[0].signed, releases[0].keys], [1, "/lamp.bin", "no", []]);
  assert.deepEqual([releases[0].project, releases[0].version, releases[0].chip], ["lamp", "2.0.0", "esp32"]);
});

test("a program and a QR code are made for this server's own addresses and releases", async (t) => {
  const { url, out } = await serve(t, "www", "--http", "--key", "key.pem");
  const program = (await ask(`${url}/-/api/program`)).body.toString();
  assert.ok(out().includes(program));
  const other = await ask(`${url}/-/api/program?path=/sub/app.jws&address=${encodeURIComponent(url)}`);
  assert.match(other.body.toString(), new RegExp(`url: "${url}/sub/app\\.jws",\n    keys: \\[\\{ kty`));
  for (const name of ["api/program?path=/lamp.bin.jws&", "qr.svg?"]) {
    const { status, body } = await ask(`${url}/-/${name}address=http://evil.example`);
    assert.deepEqual([status, body.includes("evil")], [404, false]);
  }
  const { headers, body } = await ask(`${url}/-/qr.svg`);
  assert.equal(headers["content-type"], "image/svg+xml");
  assert.match(
    body.toString(),
    /^<svg [^>]+><rect [^>]+fill="#fff"\/><path d="(?:M\d+ \d+h1v1h-1z)+" fill="#000"\/><\/svg>\n$/,
  );
});

test("a file of the folder goes before a part of the page", async (t) => {
  const files = ["--files", "app", "--file", "-/page.js=app/app.js", "--file", "-/api/releases=app/app.js"];
  const { url } = await serve(t, ...files, "--entry", "app.js", "--chip", "esp32", "--key", "key.pem", "--http");
  for (const name of ["/-/page.js", "/-/api/releases"]) {
    const { headers, body } = await ask(url + name);
    assert.deepEqual([headers["content-type"], body.toString()], ["application/octet-stream", "print(1)"], name);
  }
  assert.match(String((await ask(`${url}/-/page.css`)).headers["content-type"]), /^text\/css/);
});

interface Stream {
  events: [name: string, data: any][];
  status: number;
  ended: boolean;
}

function listen(t: Pick<TestContext, "after">, url: string): Promise<Stream> {
  return new Promise((resolve, reject) => {
    const request = http.get(`${url}/-/api/events`, { agent: false }, (response) => {
      const stream: Stream = { events: [], status: response.statusCode as number, ended: false };
      let text = "";
      response.setEncoding("utf8").on("data", (more) => {
        const parts = (text + more).split("\n\n");
        text = parts.pop() as string;
        for (const part of parts) {
          const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(part) ?? [];
          if (name) stream.events.push([name, JSON.parse(data)]);
        }
      });
      const end = () => {
        stream.ended = true;
      };
      response.on("close", end).on("error", end);
      resolve(stream);
    });
    request.on("error", reject);
    t.after(() => void request.destroy());
  });
}

test("events tell who fetches what, how it goes and ends, and what is refused", async (t) => {
  const served = await serve(t, "www", "--http", "--key", "key.pem");
  const image = buildImage({ seed: 9 });
  const { events } = await listen(t, served.url);
  await until("the first event", () => events.length > 0);
  assert.deepEqual(events[0], ["snapshot", { devices: [], downloads: [], refusals: [] }]);
  const headers = { "X-Device": "240ac4", "User-Agent": "Espruino 2v29" };
  const part = { headers: { ...headers, Range: "bytes=0-99999" } };
  const { etag } = (await ask(`${served.url}/lamp.bin`, part)).headers;
  await ask(`${served.url}/lamp.bin`, { headers: { ...headers, Range: "bytes=100000-", "If-Range": etag } });
  await ask(`${served.url}/broken.bin`);
  await until("the refusal", () => events.some(([name]) => name === "refusal"));
  const { devices, downloads, refusals } = await json(`${served.url}/-/api/activity`);
  const [{ id, seenAt, ...device }] = devices;
  assert.ok(Date.parse(seenAt) > 0);
  assert.deepEqual(device, { address: "127.0.0.1", serial: "240ac4", userAgent: "Espruino 2v29" });
  assert.equal(downloads.length, 1, "a later part is another download");
  const [{ startedAt, duration, points, ...download }] = downloads;
  assert.deepEqual(download, {
    id: download.id,
    device: id,
    path: "/lamp.bin",
    size: IMAGE.length,
    position: IMAGE.length,
    sent: IMAGE.length,
    requests: 2,
    state: "complete",
  });
  assert.ok(Date.parse(startedAt) > 0 && duration >= 0 && points.at(-1)[1] === IMAGE.length);
  const states = events.flatMap(([name, data]) => (name === "download" ? [data.state] : []));
  assert.equal(states.at(-1), "complete");
  assert.ok(states.includes("part"), String(states));
  const [{ device: refused, path, status, reason }] = refusals;
  assert.ok(refused !== id);
  assert.deepEqual([path, status], ["/broken.bin", 422]);
  assert.match(reason, /^broken\.bin: offset/);
  await until("the list of releases has changed", () => {
    // all the time, so that it changes also between two looks at it
    shop.put("www/new.bin", image);
    return events.some(([name]) => name === "releases");
  });
  assert.equal(served.child.exitCode, null);
});

test("the number of event streams is bounded, and a signal ends them", async (t) => {
  const served = await serve(t, "www", "--http");
  const streams = await Promise.all(Array.from({ length: 32 }, () => listen(t, served.url)));
  assert.deepEqual([...new Set(streams.map(({ status }) => status))], [200]);
  assert.equal((await listen(t, served.url)).status, 503);
  assert.equal((await ask(`${served.url}/lamp.bin`)).status, 200);
  const run = await served.end();
  assert.equal(run.code, 0);
  await until("all have ended", () => streams.every(({ ended }) => ended));
});

test("what is remembered of devices is bounded, in number and length", () => {
  const activity = createActivity();
  const visitor = (i: number) => ({ address: "10.0.0.1", serial: `${i}${"x".repeat(5000)}`, userAgent: undefined });
  for (let i = 0; i < 500; i++) {
    const tracker = activity.sending(visitor(i), {
      path: `/${"y".repeat(9000)}`,
      etag: "e",
      size: 1e6,
      start: 0,
      length: 1e6,
    });
    for (let sent = 0; sent <= 1e6; sent += 1e5) tracker.update(sent);
    tracker.end(i % 2 ? 1e6 : 5);
    activity.refused(visitor(i), "/\u202e", 404, "z".repeat(9000));
  }
  const { devices, downloads, refusals } = activity.snapshot();
  assert.deepEqual([devices.length, downloads.length, refusals.length], [100, 200, 100]);
  assert.ok(JSON.stringify(activity.snapshot()).length < 400_000);
  assert.equal(refusals[0].path, "/\\u202e");
  assert.deepEqual([...new Set(downloads.map(({ state }) => state))].sort(), ["complete", "cut"]);
});

test("points of a long download are thinned, and keep their ends", (t) => {
  let now = 0;
  t.mock.method(performance, "now", () => now);
  const activity = createActivity();
  const visitor = { address: "10.0.0.1", serial: undefined, userAgent: undefined };
  const tracker = activity.sending(visitor, { path: "/a", etag: "e", size: 5000, start: 0, length: 5000 });
  for (let sent = 1; sent <= 5000; sent++) {
    now += 200;
    tracker.update(sent);
  }
  tracker.end(5000);
  const [{ points, duration }] = activity.snapshot().downloads;
  assert.ok(points.length <= 200 && points.length > 50, String(points.length));
  assert.deepEqual(
    [points[0], points.at(-1)],
    [
      [0, 0],
      [duration, 5000],
    ],
  );
  for (const [i, [ms]] of points.entries()) assert.ok(i === 0 || ms > points[i - 1][0]);
});
