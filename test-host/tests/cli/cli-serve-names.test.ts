// serve: by which names its page may be asked for (DNS rebinding), and which pages may send a report.
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { hostname } from "node:os";
import { before, test } from "node:test";
import { buildImage } from "../../support/images.ts";
import { fails, workshop } from "./cli-run.ts";
import { ask, jsonOf, post, type Served, server } from "./cli-serving.ts";

const shop = workshop();
const serve = server(shop);
const PAGE = ["/", "/-/page.js", "/-/api/releases", "/-/api/reports", "/-/api/activity", "/-/api/events", "/-/none"];
const HTML = "text/html,*/*;q=0.8";
const own = hostname().toLowerCase();

before(() => void shop.put("lamp.bin", buildImage({ seed: 2, descriptor: { project: "lamp", version: "2.0.0" } })));

const asked = (served: Served, path: string, Host: string) =>
  ask(served.url + path, { method: path.endsWith("events") ? "HEAD" : "GET", headers: { Host, Accept: HTML } });

test("a foreign name that resolves to this computer cannot read page and JSON", async (t) => {
  const served = await serve(t, "lamp.bin", "--http");
  const strangers = [
    "evil.example",
    "evil.example:8080",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "a@localhost",
  ];
  const odd = ["notlocalhost", "127.1", "2130706433", "[evil.example]", "localhost:1:2", `x${own}`, "[::1"];
  for (const host of [...strangers, ...odd])
    for (const path of PAGE) {
      const { status, body } = await asked(served, path, host);
      assert.equal(status, 403, `${host} ${path}`);
      assert.doesNotMatch(body.toString(), /lamp/);
    }
  const { body } = await asked(served, "/", "evil.example:8080");
  assert.match(
    body.toString(),
    /^the page is not served for the name evil\.example: open it by its address in digits, or by localhost, .*, or start serve with --allow-host evil\.example when this name is yours\n$/,
  );
  const { refusals } = await jsonOf(`${served.url}/-/api/activity`);
  assert.ok(refusals.some(({ status, reason }: any) => status === 403 && /evil\.example/.test(reason)));
});

test("a request without any name gets no page", async (t) => {
  const served = await serve(t, "lamp.bin", "--http");
  const socket = net.connect(served.port, "127.0.0.1");
  let text = "";
  socket.on("data", (data) => {
    text += data;
  });
  socket.write("GET / HTTP/1.1\r\nHost:\r\n\r\nGET / HTTP/1.0\r\n\r\n");
  await once(socket, "close");
  assert.deepEqual(text.match(/HTTP\/1\.1 \d+/g), ["HTTP/1.1 403", "HTTP/1.1 403"]);
});

test("addresses in digits, localhost and this computer's own name open the page", async (t) => {
  const served = await serve(t, "lamp.bin", "--http");
  const addresses = ["127.0.0.1", "192.168.1.10:8080", "[::1]:8080", "[fe80::1]"];
  const names = ["localhost", "LocalHost:8080", "localhost.", own, own.toUpperCase(), `${own.split(".")[0]}.local:80`];
  for (const host of [...addresses, ...names])
    for (const path of PAGE)
      assert.equal((await asked(served, path, host)).status, path === "/-/none" ? 404 : 200, `${host} ${path}`);
});

test("names that --allow-host and --host give open the page too", async (t) => {
  const more = ["--allow-host", "bench.example.org", "--allow-host", "other.lan"];
  const served = await serve(t, "lamp.bin", "--http", ...more);
  for (const host of ["bench.example.org", "BENCH.example.org:443", "other.lan"])
    assert.equal((await asked(served, "/", host)).status, 200, host);
  assert.equal((await asked(served, "/", "example.org")).status, 403);
  for (const wrong of ["http://pc", "pc:80", "*", "", "-x", "a b"])
    fails(await shop.run("serve", "lamp.bin", "--allow-host", wrong), 2, /Expected a name without scheme and port/);
});

test("files for devices are served under any name, and so is the report path", async (t) => {
  const served = await serve(t, "lamp.bin", "--http", "--collect", "r.jsonl");
  for (const Host of ["proxy.example", "evil.example:1"]) {
    assert.equal((await ask(`${served.url}/lamp.bin`, { headers: { Host } })).status, 200, Host);
    assert.equal((await post(served.url, { serial: "a" }, { Host })).status, 204, Host);
  }
});

test("a page of another server cannot send a report, by whatever name it asks", async (t) => {
  const served = await serve(t, "lamp.bin", "--http", "--collect", "own.jsonl");
  const host = `127.0.0.1:${served.port}`;
  const foreign: [origin: string, host: string][] = [
    ["http://evil.example", host],
    [`http://evil.example:${served.port}`, `evil.example:${served.port}`],
    ["null", host],
    ["", host],
    ["http://127.0.0.1", host],
    [`http://127.0.0.2:${served.port}`, host],
    [`http://localhost:${served.port}`, host],
    ["file://", host],
  ];
  for (const [Origin, Host] of foreign) {
    const { status, body } = await post(served.url, { serial: "forged" }, { Origin, Host });
    assert.equal(status, 403, Origin);
    assert.match(body.toString(), /^reports are taken from devices, and not from the page of another server\n$/);
  }
  // what a form or fetch() without a preflight can send, and the preflight itself
  for (const type of ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded"])
    assert.equal((await post(served.url, { serial: "forged" }, { "Content-Type": type })).status, 415);
  const preflight = await ask(`${served.url}/-/report`, {
    method: "OPTIONS",
    headers: { Origin: "http://evil.example" },
  });
  assert.deepEqual([preflight.status, preflight.headers["access-control-allow-origin"]], [405, undefined]);
  assert.deepEqual((await jsonOf(`${served.url}/-/api/reports`)).reports, []);
  assert.equal((await post(served.url, { serial: "own" }, { Origin: served.url, Host: host })).status, 204);
  const { body } = await ask(`${served.url}/-/api/reports`);
  assert.match(body.toString(), /"serial":"own"/);
});
