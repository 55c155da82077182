// serve: HTTP as RFC 9110 has it, what is not served, and a device that updates itself from it, from end to end.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import type http from "node:http";
import net, { type AddressInfo } from "node:net";
import { before, type TestContext, test } from "node:test";
import tls from "node:tls";
import { compactVerify, importJWK } from "jose";
import { answer, etagOf } from "../../../src/cli/server/answers.ts";
import { createDevice, type Device } from "../../sim/device.ts";
import { fsverity } from "../../support/fsverity.ts";
import { buildImage, mutations } from "../../support/images.ts";
import { settle, until } from "../../support/fixture.ts";
import { imageWith, textsOf } from "./cli-espruino.ts";
import { fails, succeeds, workshop } from "./cli-run.ts";
import { ask, server } from "./cli-serving.ts";

const shop = workshop();
const serve = server(shop);
const IMAGE = buildImage({ size: 300000, seed: 2, descriptor: { version: "2.0.0" } });
let jwk: any;

before(async () => {
  succeeds(await shop.run("keygen", "--out", "key.pem", "--bits", "2048"));
  jwk = JSON.parse(shop.get("key.pub.jwk").toString());
  shop.put("fw.bin", IMAGE);
  mkdirSync(shop.at("many/sub"), { recursive: true });
  mkdirSync(shop.at("many/.git"));
  const age = (name: string, seconds: number) => utimesSync(shop.at(name), seconds, seconds);
  shop.put("many/old.bin", buildImage({ seed: 3, descriptor: false }));
  shop.put("many/sub/new.bin", buildImage({ seed: 4, descriptor: { version: "4.0.0" } }));
  shop.put("many/broken.bin", mutations.flipPayloadBit(buildImage()));
  shop.put("many/.git/hidden.bin", IMAGE);
  shop.put("many/.hidden.bin", IMAGE);
  shop.put("many/secret.pem", shop.get("key.pem"));
  shop.put("many/table.bin", "no image");
  succeeds(await shop.run("sign", "fw.bin", "--key", "key.pem", "--out", "many/ready.jws"));
  symlinkSync(shop.at("fw.bin"), shop.at("many/link.bin"));
  age("many/broken.bin", 1000);
  age("many/old.bin", 2000);
  age("many/sub/new.bin", 3000);
});

const claimsOf = (token: Buffer) => JSON.parse(Buffer.from(token.toString().split(".")[1], "base64url").toString());

// --- HTTP ------------------------------------------------------------------------------------------------------------

test("ranges and validators are RFC 9110's", () => {
  const bytes = Buffer.from("0123456789");
  const content = { size: bytes.length, type: "x/y", etag: etagOf(bytes) };
  const cases: [http.IncomingHttpHeaders, number, string, string | undefined][] = [
    [{}, 200, "0123456789", undefined],
    [{ range: "bytes=0-" }, 206, "0123456789", "bytes 0-9/10"],
    [{ range: "bytes=3-5" }, 206, "345", "bytes 3-5/10"],
    [{ range: "bytes=8-99" }, 206, "89", "bytes 8-9/10"],
    [{ range: "bytes=-3" }, 206, "789", "bytes 7-9/10"],
    [{ range: "bytes=-99" }, 206, "0123456789", "bytes 0-9/10"],
    [{ range: "bytes=10-" }, 416, "", "bytes */10"],
    [{ range: "bytes=-0" }, 416, "", "bytes */10"],
    [{ range: "bytes=5-3" }, 200, "0123456789", undefined],
    [{ range: "bytes=0-1,3-4" }, 200, "0123456789", undefined],
    [{ range: "lines=0-1" }, 200, "0123456789", undefined],
    [{ range: "bytes=-" }, 200, "0123456789", undefined],
    [{ range: "bytes=3-", "if-range": content.etag }, 206, "3456789", "bytes 3-9/10"],
    [{ range: "bytes=3-", "if-range": '"other"' }, 200, "0123456789", undefined],
    [{ range: "bytes=3-", "if-range": `W/${content.etag}` }, 200, "0123456789", undefined],
    [{ "if-none-match": `"a", W/${content.etag}` }, 304, "", undefined],
    [{ "if-none-match": '"a"' }, 200, "0123456789", undefined],
  ];
  for (const [headers, status, body, range] of cases) {
    const got = answer("GET", headers, content);
    const length = got.headers["Content-Length"];
    const what = JSON.stringify(headers);
    assert.deepEqual(
      [got.status, bytes.subarray(got.start, got.start + got.length).toString(), got.headers["Content-Range"]],
      [status, body, range],
      what,
    );
    if (status !== 304) assert.equal(length, body.length, what);
    assert.equal(got.headers.ETag, content.etag);
  }
  const head = answer("HEAD", { range: "bytes=3-5" }, content);
  assert.deepEqual([head.status, head.headers["Content-Length"], head.length], [200, 10, 0]);
});

test("images come over HTTPS and HTTP, whole, in parts and as HEAD", async (t) => {
  for (const more of [[], ["--http"]]) {
    const { url } = await serve(t, "fw.bin", ...more);
    assert.equal(url.startsWith("https"), !more.length);
    const whole = await ask(`${url}/fw.bin`);
    assert.deepEqual([whole.status, whole.headers["content-length"]], [200, String(IMAGE.length)]);
    assert.deepEqual(whole.body, Buffer.from(IMAGE));
    const part = await ask(`${url}/fw.bin?x=1`, { headers: { Range: "bytes=1000-", "If-Range": whole.headers.etag } });
    assert.deepEqual([part.status, part.headers["content-range"]], [206, `bytes 1000-299999/300000`]);
    assert.deepEqual(part.body, Buffer.from(IMAGE.subarray(1000)));
    const head = await ask(`${url}/fw.bin`, { method: "HEAD" });
    assert.deepEqual([head.status, head.headers["content-length"], head.body.length], [200, "300000", 0]);
    assert.equal((await ask(`${url}/fw.bin`, { headers: { "If-None-Match": whole.headers.etag } })).status, 304);
    const post = await ask(`${url}/fw.bin`, { method: "POST" });
    assert.deepEqual([post.status, post.headers.allow], [405, "GET, HEAD"]);
  }
});

test("TLS 1.2 is spoken, with a fresh RSA-2048 certificate for the address", async (t) => {
  const { port } = await serve(t, "fw.bin");
  const socket = tls.connect({ host: "127.0.0.1", port, maxVersion: "TLSv1.2", rejectUnauthorized: false });
  await new Promise<void>((resolve, reject) => socket.on("secureConnect", resolve).on("error", reject));
  const { bits, subjectaltname } = socket.getPeerCertificate();
  assert.deepEqual([socket.getProtocol(), bits], ["TLSv1.2", 2048]);
  assert.match(subjectaltname ?? "", /DNS:localhost.*IP Address:127\.0\.0\.1/);
  socket.destroy();
});

test("only images and manifests of the folder are served", async (t) => {
  const { url } = await serve(t, "many", "--key", "key.pem");
  const found = ["/old.bin", "/sub/new.bin", "/broken.bin", "/ready.jws", "/sub/new.bin.jws", "/sub%2fnew.bin"];
  const status = async (path: string) => (await ask(url + path)).status;
  assert.deepEqual(await Promise.all(found.map(status)), [200, 200, 422, 200, 200, 404]);
  const none = [
    "/secret.pem",
    "/.hidden.bin",
    "/.git/hidden.bin",
    "/../key.pem",
    "/../fw.bin",
    "/%2e%2e/fw.bin",
    "/sub",
  ];
  const odd = [
    "/sub/",
    "/link.bin",
    "/link.bin.jws",
    "/table.bin",
    "/table.bin.jws",
    "/none.bin",
    "/none.bin.jws",
    "//old.bin",
    "/%",
  ];
  for (const path of [...none, ...odd]) assert.equal(await status(path), 404, path);
  const listed = (await ask(`${url}/`)).body.toString().split("\n").filter(Boolean);
  const wanted = ["/sub/new.bin", "/sub/new.bin.jws", "/old.bin", "/old.bin.jws", "/ready.jws"];
  assert.deepEqual(listed, wanted);
});

test("files that only look like images or manifests are named in the terminal", async (t) => {
  mkdirSync(shop.at("strange"));
  shop.put("strange/fw.bin", IMAGE);
  for (let i = 0; i < 9; i++) shop.put(`strange/table${i}.bin`, "no image");
  shop.put("strange/note.jws", "no manifest");
  const { url, out } = await serve(t, "strange");
  const [line = ""] = /^Not served, neither .*$/m.exec(out()) ?? [];
  assert.match(
    line,
    /^Not served, neither an image \(0xe9 at the start\) nor a manifest: (?:\/[\w.]+, ){7}\/[\w.]+ and 2 more$/,
  );
  assert.match(out(), /In a browser: https:.*certificate/);
  for (const path of ["/", "/-/api/releases"])
    assert.doesNotMatch((await ask(url + path)).body.toString(), /table|note/);
  const clean = await serve(t, "fw.bin");
  assert.doesNotMatch(clean.out(), /neither/);
});

test("serving one image serves nothing beside it", async (t) => {
  const { url } = await serve(t, "many/old.bin", "--http");
  assert.equal((await ask(`${url}/old.bin`)).status, 200);
  for (const path of ["/broken.bin", "/sub/new.bin", "/ready.jws", "/old.bin.jws"])
    assert.equal((await ask(url + path)).status, 404, path);
});

test("manifests are signed on the fly, for what the image is now", async (t) => {
  shop.put("live.bin", buildImage({ seed: 5, descriptor: { version: "5" } }));
  const { url } = await serve(t, "live.bin", "--key", "key.pem", "--http", "--expires", "1d", "--board", "ESP32");
  const first = await ask(`${url}/live.bin.jws`);
  await compactVerify(first.body.toString(), await importJWK(jwk, "PS256"));
  assert.equal(first.headers["content-type"], "application/jose");
  const claims = claimsOf(first.body);
  assert.deepEqual(
    [claims.version, claims.image.url, claims.board, claims.exp - claims.iat],
    ["5", "live.bin", "ESP32", 86400],
  );
  const next = buildImage({ seed: 6, descriptor: { version: "6" } });
  shop.put("live.bin", next);
  const second = claimsOf((await ask(`${url}/live.bin.jws`)).body);
  assert.deepEqual([second.version, second.image.fsverity], ["6", `sha256:${fsverity(next)}`]);
  assert.ok(second.sequence >= claims.sequence);
  // a download that goes on gets the rest of what it began with
  const third = await ask(`${url}/live.bin.jws`);
  const rest = await ask(`${url}/live.bin.jws`, { headers: { Range: "bytes=100-", "If-Range": third.headers.etag } });
  assert.deepEqual([rest.status, rest.body.toString()], [206, third.body.subarray(100).toString()]);
  shop.put("live.bin", mutations.flipPayloadBit(next));
  const broken = await ask(`${url}/live.bin.jws`);
  assert.equal(broken.status, 422);
  assert.match(broken.body.toString(), /live\.bin: offset 0x[0-9a-f]+: checksum/);
});

test("an image without descriptor gets names, its own or the given ones", async (t) => {
  const own = await serve(t, "many/old.bin", "--key", "key.pem", "--http");
  const bytes = shop.get("many/old.bin");
  const claims = claimsOf((await ask(`${own.url}/old.bin.jws`)).body);
  assert.deepEqual([claims.project, claims.version], ["old", fsverity(bytes).slice(0, 12)]);
  const names = ["--project", "espruino", "--app-version", "2v29"];
  const given = await serve(t, "many/old.bin", "--key", "key.pem", "--http", ...names);
  const named = claimsOf((await ask(`${given.url}/old.bin.jws`)).body);
  assert.deepEqual([named.project, named.version], ["espruino", "2v29"]);
});

test("an Espruino image is served with its version and Storage", async (t) => {
  shop.put("esp.bin", imageWith(textsOf("2v29")));
  const { url } = await serve(t, "esp.bin", "--key", "key.pem", "--http");
  const { project, version, image } = claimsOf((await ask(`${url}/esp.bin.jws`)).body);
  assert.deepEqual([project, version, image.storage.partition], ["espruino", "2v29", "storage"]);
  shop.put("esp.bin", imageWith(textsOf("2v29").filter((text) => text !== "convolve")));
  const refused = await ask(`${url}/esp.bin.jws`);
  assert.equal(refused.status, 422);
  assert.match(refused.body.toString(), /^esp\.bin: this Espruino build has no E\.convolve/);
});

test("--storage is for those images of a folder that do not tell", async (t) => {
  mkdirSync(shop.at("mixed"));
  shop.put("mixed/told.bin", imageWith(textsOf("2v29")));
  shop.put("mixed/mute.bin", imageWith(textsOf("2v29", "")));
  shop.put("mixed/other.bin", shop.get("many/old.bin"));
  const { url } = await serve(t, "mixed", "--key", "key.pem", "--http", "--storage", "js_code");
  const partitionOf = async (name: string) =>
    claimsOf((await ask(`${url}/${name}.bin.jws`)).body).image.storage?.partition;
  assert.deepEqual(
    [await partitionOf("told"), await partitionOf("mute"), await partitionOf("other")],
    ["storage", "js_code", undefined],
  );
});

test("a file's name that no manifest may hold becomes one", async (t) => {
  shop.put("l\u00e4mp \u{1f4a1}.bin", shop.get("many/old.bin"));
  const { url } = await serve(t, "l\u00e4mp \u{1f4a1}.bin", "--key", "key.pem", "--http");
  const { status, body } = await ask(`${url}/${encodeURIComponent("l\u00e4mp \u{1f4a1}.bin")}.jws`);
  assert.equal(status, 200, body.toString());
  assert.equal(claimsOf(body).project, "l_mp _");
});

test("each request is one line with what became of it, and SIGINT ends it all", async (t) => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    const served = await serve(t, "fw.bin", "--http");
    await ask(`${served.url}/fw.bin`);
    await ask(`${served.url}/fw.bin`, { headers: { Range: "bytes=290000-" } });
    await ask(`${served.url}/none`);
    // no request, and a connection that is kept
    const idle = net.connect(served.port, "127.0.0.1");
    idle.on("error", () => {});
    const socket = net.connect(served.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write("GET /\u001b[2J HTTP/1.1\r\nHost: x\r\n\r\n");
    await until("all are logged", () => socket.destroyed && /GET \/none 404/.test(served.out()));
    const run = await served.end(signal);
    succeeds(
      run,
      /127\.0\.0\.1 GET \/fw\.bin 200 300000 bytes in \d/,
      /GET \/fw\.bin bytes=290000- 206 10000 bytes from 290000/,
    );
    assert.match(run.stdout, /GET \/none 404 .*no image, no manifest and no file of one/);
    assert.match(run.stdout, /GET \/fw\.bin \d\d %\n/, "no progress");
    assert.ok(!run.stdout.includes("\u001b"));
  }
});

test("HTTP to the HTTPS port is called so, with what to do", async (t) => {
  const { port, out } = await serve(t, "fw.bin", "--key", "key.pem");
  await ask(`http://127.0.0.1:${port}/fw.bin`).catch(() => {});
  await until("the log has it", () => /127\.0\.0\.1 TLS: HTTP request to the HTTPS port: .*serve --http/.test(out()));
});

test("options of manifests that do nothing without a key are said", async (t) => {
  const idle = ["--board", "x", "--project", "p", "--expires", "1d", "--app-version", "1"];
  const without = await serve(t, "fw.bin", ...idle);
  assert.match(
    without.out(),
    /Without --key --expires, --board, --project, --app-version has no effect: there is no manifest\./,
  );
  const { out } = await serve(t, "fw.bin", "--key", "key.pem", ...idle);
  assert.doesNotMatch(out(), /has no effect/);
});

test("a download that a device gives up is told with its bytes", async (t) => {
  shop.put("big.bin", buildImage({ size: 16 * 1024 * 1024 }));
  const served = await serve(t, "big.bin", "--http");
  const socket = net.connect({ port: served.port, host: "127.0.0.1" });
  socket.on("error", () => {});
  socket.write("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
  await new Promise((resolve) => socket.once("data", resolve));
  socket.pause();
  socket.destroy();
  await until("it is logged", () => /cut after/.test(served.out()));
  const [, sent, of] = /GET \/big\.bin cut after (\d+) of (\d+) bytes/.exec(served.out()) ?? [];
  assert.ok(Number(sent) < Number(of) && Number(of) === 16 * 1024 * 1024);
});

test("what can't be served ends with one line", async (t) => {
  mkdirSync(shop.at("empty"));
  shop.put("broken.bin", mutations.hash(IMAGE));
  const serveOn = (...args: string[]) => shop.run("serve", ...args, "--host", "127.0.0.1", "--port", "0");
  fails(await serveOn("empty"), 1, /^empty: no image in it/);
  fails(await serveOn("broken.bin"), 1, /^broken\.bin: offset 0x[0-9a-f]+: SHA-256/);
  fails(await serveOn("key.pem"), 1, /^key\.pem: offset 0: found 0x2d/);
  fails(await serveOn("fw.bin", "--key", "key.pub.jwk"), 1, /^key\.pub\.jwk: a public key, expected the private one$/m);
  const { port } = await serve(t, "fw.bin", "--http");
  const taken = await shop.run("serve", "fw.bin", "--http", "--host", "127.0.0.1", "--port", String(port));
  fails(taken, 1, new RegExp(`^127\\.0\\.0\\.1:${port}: the port is in use: --port takes another$`, "m"));
  fails(
    await shop.run("serve", "fw.bin", "--host", "192.0.2.1", "--port", "0"),
    1,
    /^192\.0\.2\.1:0: this computer has no such address/,
  );
});

// --- Devices ---------------------------------------------------------------------------------------------------------

function start(t: Pick<TestContext, "after">): Device {
  const device = createDevice().boot();
  t.after(() => device.stop());
  return device;
}

const programOf = (out: string) =>
  out.slice(out.indexOf("// the module has to be"), out.lastIndexOf("else update();\n});\n") + 18);

/** Runs the printed program, unchanged, with a Wifi that is there at once. */
async function paste(device: Device, program: string): Promise<void> {
  device.engine.addModule("Wifi", "exports.connect = function (name, options, callback) { callback(null); };");
  device.engine.run(program);
  await until(
    "the program is done",
    () => device.rebootAsked || /ESP_ERR|up to date/.test(device.engine.console.join("\n")),
  );
}

test("the printed program updates a device by key or digest, by HTTPS or HTTP", async (t) => {
  for (const more of [["--key", "key.pem"], [], ["--key", "key.pem", "--http"]]) {
    const served = await serve(t, "fw.bin", ...more);
    const device = start(t);
    const program = programOf(served.out());
    assert.match(program, more.includes("--key") ? /keys: \[/ : /digest: "fsverity-sha256:/);
    await paste(device, program);
    assert.ok(device.rebootAsked, device.engine.console.join("\n"));
    assert.deepEqual(device.engine.problems, []);
    device.restart();
    assert.equal(device.running, "ota_0");
    assert.deepEqual(device.slot("ota_0", IMAGE.length), new Uint8Array(IMAGE));
    if (!more.length) continue;
    await paste(device, program);
    assert.match(device.engine.console.join("\n"), /up to date/);
  }
});

test("the printed program refuses another image than the one it was made for", async (t) => {
  const served = await serve(t, "fw.bin", "--http");
  const device = start(t);
  shop.put("fw.bin", buildImage({ size: 300000, seed: 8, descriptor: { version: "2.0.0" } }));
  t.after(() => shop.put("fw.bin", IMAGE));
  await paste(device, programOf(served.out()));
  assert.match(device.engine.console.join("\n"), /ESP_ERR_OTA_VALIDATE_FAILED/);
  assert.ok(!device.rebootAsked);
});

/** Passes bytes on, and cuts each of the first connections after as many bytes from the server. */
async function cuttingProxy(t: Pick<TestContext, "after">, target: number, cuts: number[]): Promise<number> {
  const proxy = net.createServer((client) => {
    let left = cuts.shift() ?? Number.POSITIVE_INFINITY;
    const server = net.connect(target, "127.0.0.1");
    client.on("error", () => server.destroy()).on("close", () => server.destroy());
    server.on("error", () => client.destroy()).on("close", () => client.destroy());
    client.on("data", (data) => server.write(data));
    server.on("data", (data) => {
      client.write(data.subarray(0, left));
      left -= data.length;
      if (left <= 0) client.destroySoon();
    });
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  t.after(() => void proxy.close());
  return (proxy.address() as AddressInfo).port;
}

test("a device continues after each cut by Range and If-Range", async (t) => {
  const served = await serve(t, "fw.bin", "--key", "key.pem", "--http");
  // the first connection is the manifest's
  const port = await cuttingProxy(t, served.port, [100_000, 50_000, 120_000]);
  const device = start(t);
  const config = { url: `http://127.0.0.1:${port}/fw.bin.jws`, keys: [jwk], retries: 5 };
  const outcome = await settle(device, device.ota.update(device.engine.run(`(${JSON.stringify(config)})`)));
  assert.equal(outcome.error, undefined, outcome.error?.message);
  device.restart();
  assert.deepEqual(device.slot("ota_0", IMAGE.length), new Uint8Array(IMAGE));
  const ranges = [...served.out().matchAll(/GET \/fw\.bin bytes=(\d+)- 206 \d+ bytes/g)].map(([, from]) =>
    Number(from),
  );
  assert.ok(served.out().includes("GET /fw.bin bytes="), served.out());
  assert.ok(
    ranges.some((from) => from > 0),
    `it never went on: ${ranges}`,
  );
});

test("signed files in a folder serve a device as they are", async (t) => {
  mkdirSync(shop.at("www"), { recursive: true });
  writeFileSync(shop.at("www/lamp.bin"), IMAGE);
  succeeds(await shop.run("sign", "www/lamp.bin", "--key", "key.pem", "--out", "www/lamp.jws"));
  const served = await serve(t, "www", "--http");
  const device = start(t);
  const config = { url: `${served.url}/lamp.jws`, keys: [jwk] };
  const evaluate = (value: unknown) => device.engine.run(`(${JSON.stringify(value)})`);
  const offer = await settle(device, device.ota.checkForUpdate(evaluate(config)));
  assert.deepEqual([offer.result?.available, offer.result?.version], [true, "2.0.0"], offer.error?.message);
  const outcome = await settle(device, device.ota.update(evaluate(config)));
  assert.equal(outcome.result?.size, IMAGE.length, outcome.error?.message);
  const digest = createHash("sha256").update(device.slot("ota_0", IMAGE.length)).digest("hex");
  assert.equal(digest, createHash("sha256").update(IMAGE).digest("hex"));
});

test("a device refuses what verify refuses: another key, another board", async (t) => {
  mkdirSync(shop.at("bad"), { recursive: true });
  writeFileSync(shop.at("bad/lamp.bin"), IMAGE);
  succeeds(await shop.run("keygen", "--out", "thief.pem", "--bits", "2048"));
  const sign = async (out: string, key: string, ...more: string[]) =>
    succeeds(await shop.run("sign", "bad/lamp.bin", "--key", key, "--out", `bad/${out}`, ...more));
  await Promise.all([
    sign("good.jws", "key.pem"),
    sign("thief.jws", "thief.pem"),
    sign("board.jws", "key.pem", "--board", "OTHER"),
  ]);
  const served = await serve(t, "bad", "--http");
  const device = start(t);
  const check = (name: string) =>
    settle(
      device,
      device.ota.checkForUpdate(
        device.engine.run(`(${JSON.stringify({ url: `${served.url}/${name}`, keys: [jwk] })})`),
      ),
    );
  assert.equal((await check("good.jws")).result?.available, true);
  assert.equal((await check("thief.jws")).error?.name, "ESP_ERR_OTA_VALIDATE_FAILED");
  assert.match((await check("board.jws")).error?.message ?? "", /board OTHER/);
});
