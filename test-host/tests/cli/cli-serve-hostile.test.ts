// serve on a network with others: what they get is what is listed, and whatever they send or do not read costs little.
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import net, { type Socket } from "node:net";
import { before, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createConnections } from "../../../src/cli/server/connections.ts";
import { loadBoard } from "../../sim/boards.ts";
import { buildBootloader, buildImage, mutations, padTo } from "../../support/images.ts";
import { buildTable } from "../../sim/partitions.ts";
import { until } from "../../support/fixture.ts";
import { onlyInAll } from "../../support/share.ts";
import { fails, succeeds, workshop } from "./cli-run.ts";
import { ask, type Served, server } from "./cli-serving.ts";

const shop = workshop();
const serve = server(shop);
const IMAGE = Buffer.from(buildImage({ seed: 2, descriptor: { project: "lamp", version: "2.0.0" } }));
const MB = 1 << 20;

before(async () => {
  succeeds(await shop.run("keygen", "--out", "key.pem", "--bits", "2048"));
  shop.put("large.bin", buildImage({ size: 4 * MB, descriptor: { project: "lamp", version: "4.0.0" } }));
});

const claimsOf = (token: Buffer) => JSON.parse(Buffer.from(token.toString().split(".")[1], "base64url").toString());
const sleepSecond = () => sleep(1050);

// --- What is served --------------------------------------------------------------------------------------------------

/** All of a flash, as esptool read-flash makes it. */
function flash(board: string, app: Uint8Array): Buffer {
  const { chip, bootloaderOffset, flashSize, rows } = loadBoard(board);
  const bytes = Buffer.alloc(flashSize, 0xff);
  bytes.set(buildBootloader(chip as "esp32"), bootloaderOffset);
  bytes.set(buildTable(rows), 0x8000);
  bytes.set(app, rows.find(({ type, subtype }) => type === 0 && (subtype === 0 || subtype === 16))?.offset);
  bytes.write("wifi-password", flashSize - 4096);
  return bytes;
}

test("only images and manifests are served, whatever a file's name", async (t) => {
  mkdirSync(shop.at("trap/below"), { recursive: true });
  mkdirSync(shop.at("outside"));
  const put = (name: string, content: string | Uint8Array) => shop.put(`trap/${name}`, content);
  const pem = shop.get("key.pem");
  put("good.bin", IMAGE);
  put("padded.bin", Buffer.concat([IMAGE, Buffer.alloc(0x20000, 0xff)]));
  put("signed.bin", padTo(IMAGE, IMAGE.length + 0x1000));
  succeeds(await shop.run("sign", "trap/good.bin", "--key", "key.pem", "--out", "trap/good.jws"));
  const token = shop.get("trap/good.jws").toString();
  put("k.pem", pem);
  put("private.jws", pem);
  put("private.bin", pem);
  put("key.pub.jwk", shop.get("key.pub.jwk"));
  put("jwk.jws", shop.get("key.pub.jwk"));
  put("session.jws", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2VjcmV0");
  put("line.jws", `${token}\n`);
  put("more.jws", `${token}${pem}`);
  put("letter.txt", Buffer.from("\u00e9tude", "latin1"));
  put("letter.jws", Buffer.from("\u00e9tude", "latin1"));
  put("letter.bin", Buffer.from("\u00e9tude", "latin1"));
  put("image.elf", IMAGE);
  for (const board of ["esp32", "esp32c3", "esp32s3"]) {
    const { chip } = loadBoard(board);
    put(`${board}.bin`, flash(board, buildImage({ chip: chip as "esp32" })));
    // from the app to the end
    put(
      `${board}-part.bin`,
      flash(board, buildImage({ chip: chip as "esp32" })).subarray(board === "esp32" ? 0x10000 : 0x10000),
    );
  }
  put("boot.bin", buildBootloader("esp32c3"));
  put("broken.bin", mutations.checksum(IMAGE));
  put("cut.bin", IMAGE.subarray(0, 4096));
  put("empty.bin", "");
  put("huge.bin", "");
  shop.put("outside/far.bin", IMAGE);
  const link = (to: string, name: string) => symlinkSync(to, shop.at(`trap/${name}`));
  link("k.pem", "keylink.jws");
  link("k.pem", "keylink.bin");
  link(shop.at("key.pem"), "far.jws");
  link(shop.at("outside/far.bin"), "far.bin");
  link(shop.at("outside"), "folder");
  link("below", "inside");
  link("good.bin", "latest.bin");
  link("nowhere.bin", "dangling.bin");
  put("below/deep.bin", IMAGE);
  for (const more of [[], ["--key", "key.pem"]]) {
    const { url } = await serve(t, "trap", "--http", ...more);
    const listed = (await ask(`${url}/`)).body.toString().split("\n").filter(Boolean);
    const images = ["/below/deep.bin", "/good.bin", "/latest.bin", "/padded.bin", "/signed.bin"];
    const made = more.length ? images.map((image) => `${image}.jws`) : [];
    assert.deepEqual([...listed].sort(), [...images, ...made, "/good.jws"].sort());
    for (const path of listed) assert.equal((await ask(url + path)).status, 200, path);
    const names = readdirSync(shop.at("trap")).map((name) => `/${name}`);
    const others = ["/folder/far.bin", "/inside/deep.bin", "/../key.pem", "/good.bin/", "/./good.bin", "/good.bin%00"];
    for (const name of [...names, ...others].flatMap((path) => [path, `${path}.jws`])) {
      if (listed.includes(name)) continue;
      const { status, body } = await ask(url + name);
      assert.ok(status === 404 || (status === 422 && /\.bin(?:\.jws)?$/.test(name)), `${name}: ${status}`);
      assert.ok(body.length < 300 && !body.includes("PRIVATE") && !body.includes("tude"), `${name}: ${body}`);
    }
  }
});

test("a part of a flash that is served alone is refused with what to do", async () => {
  const part = Buffer.concat([IMAGE, Buffer.alloc(0x20000, 0xff), Buffer.from("wifi-password")]);
  shop.put("part.bin", part);
  const run = await shop.run("serve", "part.bin", "--host", "127.0.0.1", "--port", "0");
  fails(
    run,
    1,
    new RegExp(`^part\\.bin: ${part.length} bytes, and its image ends at ${IMAGE.length}: .*head -c ${IMAGE.length}`),
  );
});

test("a changed file is checked again at once or within a second", async (t) => {
  mkdirSync(shop.at("live"));
  shop.put("live/a.bin", IMAGE);
  const { url } = await serve(t, "live", "--http");
  const status = async (path: string) => (await ask(url + path)).status;
  assert.equal(await status("/a.bin"), 200);
  shop.put("live/a.bin", shop.get("key.pem"));
  assert.equal(await status("/a.bin"), 404);
  // same size, same time
  utimesSync(shop.at("live/a.bin"), 1000, 1000);
  shop.put("live/a.bin", IMAGE);
  utimesSync(shop.at("live/a.bin"), 1000, 1000);
  assert.equal(await status("/a.bin"), 200);
  shop.put("live/a.bin", mutations.checksum(IMAGE));
  utimesSync(shop.at("live/a.bin"), 1000, 1000);
  assert.equal(await status("/a.bin"), 422);
  shop.put("live/b.bin", IMAGE);
  await sleepSecond();
  assert.equal(await status("/b.bin"), 200);
});

test("a manifest is signed once, and again when a device may want to go back", async (t) => {
  mkdirSync(shop.at("two"));
  shop.put("two/a.bin", IMAGE);
  shop.put("two/b.bin", shop.get("large.bin"));
  const { url } = await serve(t, "two", "--http", "--key", "key.pem", "--expires", "1h");
  const manifest = async (name: string) => (await ask(`${url}/${name}.bin.jws`)).body;
  const first = await manifest("a");
  await sleepSecond();
  assert.deepEqual(await manifest("a"), first);
  const other = claimsOf(await manifest("b"));
  assert.ok(other.sequence > claimsOf(first).sequence);
  const back = claimsOf(await manifest("a"));
  assert.ok(back.sequence >= other.sequence, "a device that confirmed b would refuse a");
  assert.deepEqual([back.iat, back.exp - back.iat], [back.sequence, 3600]);
  // requests for one and the other in turns cause no work
  const begun = Date.now();
  const made = new Set<string>();
  for (let i = 0; i < 20; i++) {
    made.add((await manifest("a")).toString());
    await manifest("b");
  }
  assert.ok(made.size <= 2 + (Date.now() - begun) / 1000, `${made.size} signatures`);
  await sleepSecond();
  shop.put("two/a.bin", IMAGE);
  assert.ok(claimsOf(await manifest("a")).sequence > back.sequence, "a file that was rewritten is a release");
});

test("a download whose file changes is cut, not continued with another image", async (t) => {
  const old = shop.get("large.bin");
  shop.put("change.bin", old);
  const { url, port } = await serve(t, "change.bin", "--http");
  const socket = net.connect(port, "127.0.0.1");
  const parts: Buffer[] = [];
  socket.on("error", () => {});
  socket.write("GET /change.bin HTTP/1.1\r\nHost: x\r\n\r\n");
  await once(socket, "readable");
  const next = Buffer.from(buildImage({ size: 4 * MB, seed: 9, descriptor: { version: "9" } }));
  writeFileSync(shop.at("change.bin"), next);
  socket.on("data", (part) => parts.push(part));
  const changed = performance.now();
  await once(socket, "close");
  // who waits for the rest of a kept connection waits for its end
  assert.ok(performance.now() - changed < 4000, "the device was not told");
  const got = Buffer.concat(parts);
  const body = got.subarray(got.indexOf("\r\n\r\n") + 4);
  assert.ok(body.length < old.length && body.equals(old.subarray(0, body.length)));
  assert.deepEqual((await ask(`${url}/change.bin`)).body, next);
});

// --- What it costs ---------------------------------------------------------------------------------------------------

const rssOf = ({ child }: Served) =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1]) / 1024;
const filesOf = ({ child }: Served) => readdirSync(`/proc/${child.pid}/fd`).length;
const skip = existsSync("/proc/self/status") ? onlyInAll("of hundreds of connections") : "NOT RUN: needs /proc";

/** Connections that send `request` and read nothing. */
async function silent(
  t: Pick<TestContext, "after">,
  { port }: Served,
  count: number,
  request: string,
): Promise<Socket[]> {
  const sockets = Array.from({ length: count }, () => net.connect({ port, host: "127.0.0.1" }));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  for (const socket of sockets) {
    socket.on("error", () => {});
    socket.pause();
    socket.write(request);
  }
  await sleep(1000);
  return sockets;
}

/** ms for `path`, asked as a device does that knows nothing of the others. */
async function timeOf({ url }: Served, path: string, size: number): Promise<number> {
  const begun = performance.now();
  const { status, body } = await ask(url + path);
  assert.deepEqual([status, size ? body.length : 0], [200, size]);
  return performance.now() - begun;
}

test("200 clients that read nothing take little memory, and nobody has to wait", { skip }, async (t) => {
  for (const request of [
    "GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /large.bin.jws HTTP/1.1\r\nHost: x\r\n\r\n",
  ]) {
    const served = await serve(t, "large.bin", "--http", "--key", "key.pem");
    await timeOf(served, "/large.bin", 4 * MB);
    const rss = rssOf(served);
    await silent(t, served, 200, request);
    // the best of three: other processes take their time too
    const best = async (path: string, size: number) =>
      Math.min(await timeOf(served, path, size), await timeOf(served, path, size), await timeOf(served, path, size));
    const image = await best("/large.bin", 4 * MB);
    const manifest = await best("/large.bin.jws", 0);
    const grown = rssOf(served) - rss;
    t.diagnostic(
      `${request.split(" ")[1]}: ${grown.toFixed(0)} MB more, ${image.toFixed(0)} and ${manifest.toFixed(0)} ms`,
    );
    assert.ok(grown < 60, `${grown} MB more`);
    assert.ok(image < 2000 && manifest < 2000, `${image} and ${manifest} ms`);
    await served.end();
  }
});

test("more connections than are kept: the longest idle ones end, a download goes on", { skip }, async (t) => {
  const served = await serve(t, "large.bin", "--http");
  const slow = net.connect(served.port, "127.0.0.1");
  let got = 0;
  let ended = false;
  slow
    .on("error", () => {})
    .on("close", () => {
      ended = true;
    });
  slow.on("data", async ({ length }) => {
    got += length;
    slow.pause();
    await sleep(20);
    slow.resume();
  });
  slow.write("GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n");
  const sockets: Socket[] = [];
  for (let i = 0; i < 8; i++)
    sockets.push(...(await silent(t, served, 50, "GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n")));
  assert.ok(filesOf(served) < 600, `${filesOf(served)} files are open`);
  await until("the slow one has it all", () => got > 4 * MB || ended);
  assert.ok(got > 4 * MB, `cut after ${got}`);
  // not one has to read to be told
  for (const socket of sockets) socket.destroy();
  await until("all files are closed", () => filesOf(served) < 40);
});

test("a thousand requests sent ahead end their connection and leave no file open", {
  skip,
}, async (t) => {
  const served = await serve(t, "large.bin", "--http");
  const idle = filesOf(served);
  const rss = rssOf(served);
  const request = "GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n".repeat(5000);
  const sockets = await silent(t, served, 20, request);
  assert.ok(filesOf(served) < idle + 60, `${filesOf(served)} files are open`);
  assert.ok(rssOf(served) - rss < 150, `${rssOf(served) - rss} MB more`);
  await timeOf(served, "/large.bin", 4 * MB);
  for (const socket of sockets) socket.destroy();
  await until("all files are closed", () => filesOf(served) <= idle + 2);
  // a few are answered in turn
  const few = net.connect(served.port, "127.0.0.1");
  let text = "";
  few.on("data", (data) => {
    text += data.toString("latin1").replace(/[^\n\r -~]/g, "");
  });
  few.write(
    "GET /none HTTP/1.1\r\nHost: x\r\n\r\n".repeat(4) +
      "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
  );
  await once(few, "close");
  assert.deepEqual(text.match(/HTTP\/1\.1 \d+/g), [...Array(4).fill("HTTP/1.1 404"), "HTTP/1.1 200"]);
});

test("one connection too many ends the longest idle one of the busiest address", () => {
  const connections = createConnections(4);
  const ended: string[] = [];
  const connect = (remoteAddress: string, remotePort: number) => {
    const socket = Object.assign(new EventEmitter(), {
      ...{ remoteAddress, remotePort },
      destroy() {
        ended.push(`${remoteAddress}:${remotePort}`);
        socket.emit("close");
      },
    });
    connections.add(socket as unknown as Socket);
    return socket as unknown as Socket;
  };
  const [honest] = [connect("10.0.0.1", 1), connect("10.0.0.2", 1), connect("10.0.0.2", 2)];
  const fourth = connect("10.0.0.2", 3);
  connections.touch({ remoteAddress: "10.0.0.2", remotePort: 1 } as Socket);
  connect("10.0.0.2", 4);
  connect("10.0.0.3", 1);
  assert.deepEqual(ended, ["10.0.0.2:2", "10.0.0.2:3"]);
  honest.emit("close");
  fourth.emit("close");
  connect("10.0.0.4", 1);
  assert.equal(ended.length, 2);
});

test("a log line is printable, and short", async (t) => {
  const served = await serve(t, "large.bin", "--http");
  // Node takes bytes above 0x7f in fields, not in paths
  const heads = ["GET /a HTTP/1.1\r\nRange: bytes=\u009b31m\u00ad", `HEAD /${"x".repeat(8000)} HTTP/1.1`];
  for (const head of heads) {
    const socket = net.connect(served.port, "127.0.0.1");
    socket.end(Buffer.from(`${head}\r\nHost: x\r\n\r\n`, "latin1"));
    await once(socket.resume(), "close");
  }
  await ask(`${served.url}/last`);
  await until("it is logged", () => /GET \/last 404/.test(served.out()));
  const { stdout, stderr } = await served.end();
  const log = stdout.slice(stdout.indexOf("else update();\n});\n") + 19);
  assert.equal(stderr, "");
  assert.match(log, /GET \/a bytes=\\x9b31m\\xad 404/);
  assert.match(log, /HEAD \/x+ \.\.\. x+ 404/);
  for (const line of log.split("\n")) {
    assert.doesNotMatch(line, /[\p{C}\p{Zl}\p{Zp}]/u);
    assert.ok(line.length < 700, `${line.length} characters`);
  }
});
