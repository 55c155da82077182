// serve --collect: reports of devices, from report() on a virtual device to the file that they are kept in. The table on the
// page: tests/browser/. Who may send one: cli-serve-names.test.ts.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { before, type TestContext, test } from "node:test";
import { openReportFile } from "../../../src/cli/server/report-file.ts";
import { createFixture, type Fixture, plain, settle, sleep, until } from "../../support/fixture.ts";
import { filesClaims } from "../../support/files-release.ts";
import { buildImage } from "../../support/images.ts";
import { makeKey, signManifest } from "../../support/release.ts";
import { serveFile } from "../../support/server.ts";
import { part } from "../../support/share.ts";
import { fails, succeeds, workshop } from "./cli-run.ts";
import { ask, jsonOf, post, type Served, server } from "./cli-serving.ts";

const shop = workshop();
const serve = server(shop);
const IMAGE = buildImage({ seed: 2, descriptor: { project: "lamp", version: "2.0.0" } });
let files = 0;

before(async () => {
  succeeds(await shop.run("keygen", "--out", "key.pem", "--bits", "2048"));
  mkdirSync(shop.at("www"));
  shop.put("www/lamp.bin", IMAGE);
});

/** The name of a new file. */
const fresh = () => `reports${++files}.jsonl`;
const collecting = (t: Pick<TestContext, "after">, file: string) => serve(t, "www", "--http", "--collect", file);
const reportsOf = async ({ url }: Served): Promise<any[]> => (await jsonOf(`${url}/-/api/reports`)).reports;
const serialsOf = async (served: Served) => (await reportsOf(served)).map(({ serial }) => serial);
const linesOf = (file: string) => shop.get(file).toString().split("\n").filter(Boolean);

// --- What devices say ------------------------------------------------------------------------------------------------

async function createReporter(
  t: TestContext,
  { url }: Served,
  serial: string,
): Promise<Fixture & { report(): Promise<any> }> {
  const fixture = await createFixture(t, { engine: { serial } });
  const report = async () => {
    const { error } = await settle(fixture.device, fixture.device.ota.report(`${url}/-/report`));
    assert.ifError(error ?? null);
    const { reports } = await jsonOf(`${url}/-/api/reports`);
    return reports.find((one: any) => one.serial === serial);
  };
  return { ...fixture, report };
}

test("a device's reports tell start, failure, installation, trial and confirmation", async (t) => {
  const served = await collecting(t, fresh());
  const one = await createReporter(t, served, "240ac401-0000aa");
  const { device, server } = one;
  const { receivedAt, ...first } = await one.report();
  assert.ok(Math.abs(Date.now() - Date.parse(receivedAt)) < 60_000, receivedAt);
  const status = plain(device.ota.getStatus()) as any;
  assert.deepEqual(first, {
    ...{ serial: "240ac401-0000aa", board: "ESP32", free: first.free, reset: 1 },
    ...{ address: "127.0.0.1", condition: "ok" },
    ...{ version: status.version, running: "factory", boot: "factory", next: "ota_0", state: null, sequence: 0 },
    slots: status.slots.map((slot: any) => ({ state: null, version: null, ...slot })),
    ...{
      release: null,
      trial: null,
      rolledBack: [],
      rollbackReason: "",
      last: "",
      differs: "",
      storage: status.storage,
    },
  });
  assert.ok(first.free > 1000);
  assert.ok((await one.update({ url: server.url("/none") })).error);
  const failed = await one.report();
  assert.deepEqual([failed.condition, failed.last], ["failed", "ESP_FAIL: HTTP status 404"]);
  assert.ifError((await one.update()).error);
  const installed = await one.report();
  assert.deepEqual([installed.condition, installed.last, installed.boot], ["differs", "ESP_OK", "ota_0"]);
  assert.match(installed.differs, /not restarted into since/);
  device.restart();
  assert.equal((await settle(device, device.ota.boot())).result, true);
  const trial = await one.report();
  assert.deepEqual(
    [trial.condition, trial.running, trial.trial],
    ["trial", "ota_0", { boots: 1, previous: "factory" }],
  );
  device.ota.markValid();
  const confirmed = await one.report();
  assert.deepEqual([confirmed.condition, confirmed.running, confirmed.trial], ["ok", "ota_0", null]);
  assert.equal((await reportsOf(served)).length, 1);
  assert.match(served.out(), /POST \/-\/report 204 0 bytes: 240ac401-0000aa failed: ESP_FAIL: HTTP status 404\n/);
});

test("a rollback is told with its reason, also after a restart of serve", async (t) => {
  const file = fresh();
  const served = await collecting(t, file);
  const one = await createReporter(t, served, "240ac401-0000ab");
  const { device } = one;
  assert.ifError((await one.update()).error);
  device.restart();
  await settle(device, device.ota.boot());
  await settle(device, device.ota.rollback(device.engine.run('({ reason: "no sensor", restart: false })')));
  device.restart();
  const told = await one.report();
  assert.deepEqual([told.condition, told.running, told.rollbackReason], ["rolled back", "factory", "no sensor"]);
  assert.match(told.rolledBack[0], /^fsverity-sha256:[0-9a-f]{64}$/);
  await served.end();
  const again = await collecting(t, file);
  assert.deepEqual(await reportsOf(again), [told]);
  assert.match(
    again.out(),
    /Reports of devices: http:\/\/127\.0\.0\.1:\d+\/-\/report, kept in reports\d+\.jsonl \(1 device\)\n/,
  );
});

test("a device whose program polls reports by itself, and a page sees it live", async (t) => {
  const served = await collecting(t, fresh());
  const fixture = await createFixture(t, { engine: { serial: "240ac401-0000ac" } });
  const { device, server } = fixture;
  server.on("/m.jws", serveFile(Buffer.from("nonsense")));
  const stream = http.get(`${served.url}/-/api/events`, { agent: false });
  t.after(() => void stream.destroy());
  const [response] = await once(stream, "response");
  let text = "";
  response.setEncoding("utf8").on("data", (more: string) => {
    text += more;
  });
  const keys = [(await makeKey()).jwk];
  const fields = { url: server.url("/m.jws"), keys, every: 3_600_000, report: `${served.url}/-/report` };
  (device.engine.run(`(function (ota) { ota.poll(${JSON.stringify(fields)}); })`) as any)(device.ota);
  for (let i = 0; i < 2000 && !text.includes("event: report"); i++) {
    // the network keeps real time: while somebody is spoken to, device time stands still
    if (!device.engine.accounts().sockets) await device.engine.advance(60_000);
    await sleep(5);
  }
  const [, data = "{}"] = /event: report\ndata: (.*)\n/.exec(text) ?? [];
  const { serial, condition } = JSON.parse(data);
  assert.deepEqual([serial, condition], ["240ac401-0000ac", "failed"]);
});

test("without --collect a report is refused, and says what to do", async (t) => {
  const served = await serve(t, "www", "--http");
  const { status, body } = await post(served.url, { serial: "1" });
  assert.deepEqual(
    [status, body.toString()],
    [404, "no reports are collected here: start serve with --collect FILE\n"],
  );
  const { url, reports } = await jsonOf(`${served.url}/-/api/reports`);
  assert.deepEqual([url, reports], [null, []]);
  const fixture = await createFixture(t);
  const { error } = await settle(fixture.device, fixture.device.ota.report(`${served.url}/-/report`));
  assert.deepEqual([error?.name, error?.message, error?.retry], ["ESP_FAIL", "HTTP status 404", false]);
});

// --- What others say -------------------------------------------------------------------------------------------------

/** [what, body, status, text] */
const REFUSED: [what: string, report: unknown, status: number, says: RegExp][] = [
  ["no JSON", "{", 400, /^expected JSON/],
  ["nothing", "", 400, /^expected JSON/],
  ["bytes that are not UTF-8", Buffer.from('{"serial":"\xff"}', "latin1"), 400, /^expected JSON/],
  ["a list", [], 400, /^expected an object, .* found a list/],
  ["null", null, 400, /found null/],
  ["a text", '"x"', 400, /found a string/],
  ["no serial number", {}, 400, /^serial: expected a text, found a undefined/],
  ["a number as serial number", { serial: 5 }, 400, /^serial: expected a text, found a number/],
  ["an empty serial number", { serial: "" }, 400, /^serial: expected 1 to 64 printable/],
  ["a long serial number", { serial: "x".repeat(65) }, 400, /^serial: expected 1 to 64/],
  ["a serial number that steers a terminal", { serial: "\x1b[2J" }, 400, /^serial: /],
  ["a serial number that is turned around", { serial: "a\u202eb" }, 400, /^serial: /],
  ["half a character as serial number", '{"serial":"\\ud800"}', 400, /^serial: /],
  ["a text for free memory", { serial: "1", free: "many" }, 400, /^free: expected a number, found a string/],
  ["less than no memory", { serial: "1", free: -1 }, 400, /^free: expected a whole number from 0 on, found -1/],
  ["half a variable", { serial: "1", free: 0.5 }, 400, /^free: /],
  ["an infinite sequence", '{"serial":"1","sequence":1e999}', 400, /^sequence: /],
  ["an object as version", { serial: "1", version: {} }, 400, /^version: expected a text, found a object/],
  ["a list as trial", { serial: "1", trial: [] }, 400, /^trial: expected an object, found a list/],
  ["a text for slots", { serial: "1", slots: "x" }, 400, /^slots: expected a list/],
  ["slots that are none", { serial: "1", slots: [1] }, 400, /^slots: expected objects/],
  ["a thousand slots", { serial: "1", slots: Array(1000).fill({}) }, 400, /^slots: expected at most 17, found 1000/],
  ["a number among digests", { serial: "1", rolledBack: [1] }, 400, /^rolledBack: expected a text/],
  ["deep nesting", `{"serial":"1","trial":${"[".repeat(9000)}${"]".repeat(9000)}}`, 400, /^trial: /],
  ["too many bytes", `{"serial":"${"x".repeat(40_000)}"}`, 413, /^a report has at most 32768 bytes/],
];

test("a malformed report is refused with the reason and changes nothing", async (t) => {
  const file = fresh();
  const served = await collecting(t, file);
  for (const [what, report, status, says] of REFUSED) {
    const reply = await post(served.url, report);
    assert.equal(reply.status, status, what);
    assert.match(reply.body.toString(), says, what);
    assert.match(reply.body.toString(), /^[\x20-\x7e]{1,500}\n$/, what);
  }
  for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
    assert.equal((await post(served.url, { serial: "1" }, { "Content-Type": type })).status, 415, type);
  assert.equal((await post(served.url, { serial: "1" }, { "Content-Encoding": "gzip" })).status, 415);
  assert.deepEqual(await reportsOf(served), []);
  assert.equal(linesOf(file).length, 1, "more than the first line");
  const wrong = await ask(`${served.url}/-/report`);
  assert.deepEqual([wrong.status, wrong.headers.allow], [405, "POST"]);
  assert.equal((await ask(`${served.url}/-/report`, { method: "PUT" })).status, 405);
  assert.equal((await ask(`${served.url}/-/reports`, { method: "POST" })).status, 405);
  assert.equal((await post(served.url, { serial: "good" })).status, 204);
});

test("a body that is too long, too slow or cut ends, and others are served meanwhile", async (t) => {
  const served = await collecting(t, fresh());
  const head = "POST /-/report HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
  const open = (text: string) => {
    const socket = net.connect(served.port, "127.0.0.1");
    let answer = "";
    socket
      .on("error", () => {})
      .on("data", (data) => {
        answer += data;
      });
    socket.write(text);
    return { socket, answer: () => answer, closed: once(socket, "close") };
  };
  const announced = open(`${head}Content-Length: 1000000000\r\n\r\n`);
  await until("it is refused before it comes", () => /^HTTP\/1\.1 413 /.test(announced.answer()));
  const endless = open(`${head}Transfer-Encoding: chunked\r\n\r\n`);
  const piece = `4000\r\n${"x".repeat(0x4000)}\r\n`;
  for (let i = 0; i < 3; i++) endless.socket.write(piece);
  await until("the endless one is refused", () => /^HTTP\/1\.1 413 /.test(endless.answer()));
  const begun = performance.now();
  const slow = open(`${head}Content-Length: 20\r\n\r\n{`);
  const drip = setInterval(() => slow.socket.write(" "), 3000);
  t.after(() => clearInterval(drip));
  const cut = open(`${head}Content-Length: 20\r\n\r\n{`);
  cut.socket.end();
  assert.equal((await post(served.url, { serial: "meanwhile" })).status, 204);
  await slow.closed;
  assert.ok(performance.now() - begun < 14_000);
  assert.match(slow.answer(), /^HTTP\/1\.1 408 [\s\S]*did not arrive within 10000 ms/);
  assert.deepEqual(await serialsOf(served), ["meanwhile"]);
  assert.equal(served.child.exitCode, null);
});

test("serial numbers may be names of JavaScript and HTML, on one line each", async (t) => {
  const file = fresh();
  const served = await collecting(t, file);
  const serials = [
    "__proto__",
    "constructor",
    "toString",
    "<img src=x onerror=alert(1)>",
    "\u00e9t\u00e9 \ud83d\udca1",
  ];
  for (const serial of serials) assert.equal((await post(served.url, { serial })).status, 204, serial);
  const text = `{"serial":"proto","__proto__":{"free":1,"last":"ESP_FAIL"},"constructor":{"prototype":{"last":"x"}}}`;
  assert.equal((await post(served.url, text)).status, 204);
  const last = `ESP_FAIL: a\nb\x1b[2J\u202e${"x".repeat(5000)}`;
  assert.equal((await post(served.url, { serial: "text", last, board: "b".repeat(500), more: { x: 1 } })).status, 204);
  const reports = await reportsOf(served);
  assert.deepEqual(
    reports.map(({ serial }) => serial),
    [...serials, "proto", "text"],
  );
  assert.deepEqual([reports[5].free, reports[5].last, reports[5].condition], [null, "", "ok"]);
  assert.match(reports[6].last, /^ESP_FAIL: a b\\x1b\[2J\\u202ex+ \.\.\. x+$/);
  assert.deepEqual([reports[6].last.length, reports[6].board.length, reports[6].more], [500, 64, undefined]);
  const raw = (await ask(`${served.url}/-/api/reports`)).headers["content-type"];
  assert.equal(raw, "application/json; charset=utf-8");
  await served.end();
  assert.deepEqual(await reportsOf(await collecting(t, file)), reports);
});

test("10,000 serial numbers of one address do not displace others' devices", async (t) => {
  const file = fresh();
  shop.put(
    file,
    `{"https-ota":"reports","format":1}\n${["a", "b"].map((serial) => line(serial, "10.0.0.1")).join("")}`,
  );
  const served = await collecting(t, file);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  t.after(() => agent.destroy());
  const slot = { label: "\u2028".repeat(9), size: 1e15, state: 1e15, version: "\u0416".repeat(64) };
  const filler = { last: "x".repeat(500), differs: '"'.repeat(500), rollbackReason: "\u0416".repeat(500) };
  const lists = { slots: Array(17).fill(slot), rolledBack: Array(16).fill("\u0416".repeat(120)) };
  const serials = Array.from({ length: 10_000 }, (_, i) => `flood ${i}`);
  const statuses = await Promise.all(
    part(t, serials, 20, "serial numbers").map(async (serial) => {
      const body = JSON.stringify({ serial, ...filler, ...lists });
      const headers = { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) };
      return (await ask(`${served.url}/-/report`, { method: "POST", headers, agent }, body)).status;
    }),
  );
  assert.deepEqual([...new Set(statuses)], [204]);
  const { limit, reports } = await jsonOf(`${served.url}/-/api/reports`);
  assert.deepEqual([limit, reports.length], [250, 250]);
  assert.deepEqual(
    reports.slice(0, 2).map(({ serial }: any) => serial),
    ["a", "b"],
  );
  assert.ok(statSync(shop.at(file)).size < 8.5e6, `${statSync(shop.at(file)).size} bytes`);
  assert.equal((await post(served.url, { serial: "next" })).status, 204);
  await served.end();
  const again = await serialsOf(await collecting(t, file));
  assert.deepEqual([again.length, again[0], again[1], again.at(-1)], [250, "a", "b", "next"]);
  assert.ok(statSync(shop.at(file)).size < 4e6, `${statSync(shop.at(file)).size} bytes`);
});

// --- The file --------------------------------------------------------------------------------------------------------

const HEAD = '{"https-ota":"reports","format":1}\n';

function line(serial: string, address = "127.0.0.1", more = {}): string {
  return `${JSON.stringify({ receivedAt: "2026-01-02T03:04:05.678Z", address, report: { serial, ...more } })}\n`;
}

test("a file that is cut anywhere in its last line keeps the lines before it", () => {
  const whole = HEAD + line("a") + line("b") + line("a", "10.0.0.1", { free: 5 });
  const last = whole.length - line("a", "10.0.0.1", { free: 5 }).length;
  for (let length = last; length <= whole.length; length++) {
    shop.put("cut.jsonl", whole.slice(0, length));
    const kept: [string, string][] = [];
    openReportFile(
      shop.at("cut.jsonl"),
      ({ report, address }) => kept.push([report.serial, address]),
      () => [],
    );
    const before = [
      ["a", "127.0.0.1"],
      ["b", "127.0.0.1"],
    ];
    // without its line end it is whole too
    const all = length >= whole.length - 1 ? [...before, ["a", "10.0.0.1"]] : before;
    assert.deepEqual(kept, all, `cut after ${length}`);
  }
});

test("damaged lines are counted and left out, and the file is repaired", async (t) => {
  const file = fresh();
  const damaged = ["{", "\0\0\0", '{"receivedAt":"x","address":"1","report":{"serial":"x"}}', line("c").slice(0, 30)];
  const wrong = [line("", "1").trim(), '{"receivedAt":"2026-01-02T03:04:05Z","report":{"serial":"x"}}', "null", "[]"];
  shop.put(file, `${HEAD}${line("a")}${[...damaged, ...wrong].join("\n")}\n\n${line("b")}${line("d").slice(0, 50)}`);
  const served = await collecting(t, file);
  assert.deepEqual(await serialsOf(served), ["a", "b"]);
  assert.match(served.out(), /\(2 devices, 9 damaged lines left out\)/);
  assert.equal((await post(served.url, { serial: "e" })).status, 204);
  await served.end();
  const again = await collecting(t, file);
  assert.deepEqual(await serialsOf(again), ["a", "b", "e"]);
  assert.match(again.out(), /\(3 devices\)/);
  assert.equal(linesOf(file).length, 4);
});

test("a line that was cut while serve runs costs no other one", async (t) => {
  const file = fresh();
  const served = await collecting(t, file);
  for (const serial of ["a", "b"]) {
    assert.equal((await post(served.url, { serial })).status, 204);
    // as a write that a full disk has cut
    writeFileSync(shop.at(file), '\n{"receivedAt":"2026', { flag: "a" });
  }
  assert.equal((await post(served.url, { serial: "c" })).status, 204);
  await served.end();
  const again = await collecting(t, file);
  assert.deepEqual(await serialsOf(again), ["a", "b", "c"]);
  assert.match(again.out(), /2 damaged lines left out/);
});

test("what was answered with 204 is there after a kill in the middle of many", async (t) => {
  const file = fresh();
  const served = await collecting(t, file);
  const taken: string[] = [];
  const senders = Array.from({ length: 4 }, async (_, sender) => {
    for (let i = 0; i < 60; i++) {
      const serial = `${sender} ${i}`;
      if ((await post(served.url, { serial, last: "x".repeat(400) })).status === 204) taken.push(serial);
    }
  });
  await until("many have come", () => taken.length > 40);
  served.child.kill("SIGKILL");
  await Promise.allSettled(senders);
  writeFileSync(shop.at(file), '\n{"receivedAt":"2026-01-02T03:0', { flag: "a" });
  const known = new Set(await serialsOf(await collecting(t, file)));
  assert.deepEqual(
    taken.filter((serial) => !known.has(serial)),
    [],
  );
});

test("a report that cannot be written is refused, and the next one is kept", async (t) => {
  mkdirSync(shop.at("disk"));
  const served = await collecting(t, "disk/r.jsonl");
  assert.equal((await post(served.url, { serial: "a" })).status, 204);
  renameSync(shop.at("disk"), shop.at("pulled"));
  const { status, body } = await post(served.url, { serial: "b" });
  assert.deepEqual([status, body.toString()], [500, "the report could not be kept: no such file or folder\n"]);
  assert.deepEqual(await serialsOf(served), ["a"]);
  renameSync(shop.at("pulled"), shop.at("disk"));
  assert.equal((await post(served.url, { serial: "c" })).status, 204);
  // somebody has removed the file: it is made again, with all
  renameSync(shop.at("disk/r.jsonl"), shop.at("disk/old.jsonl"));
  assert.equal((await post(served.url, { serial: "d" })).status, 204);
  assert.equal(linesOf("disk/r.jsonl").length, 4);
  await served.end();
  assert.deepEqual(await serialsOf(await collecting(t, "disk/r.jsonl")), ["a", "c", "d"]);
});

test("a hidden file beside the reports is left as it is, and none of ours stays there", async (t) => {
  mkdirSync(shop.at("beside"));
  shop.put("beside/.r.jsonl.new", "mine");
  const served = await collecting(t, "beside/r.jsonl");
  assert.equal((await post(served.url, { serial: "a" })).status, 204);
  assert.equal(shop.get("beside/.r.jsonl.new").toString(), "mine");
  assert.deepEqual(readdirSync(shop.at("beside")).sort(), [".r.jsonl.new", "r.jsonl"]);
});

test("a file that took the place of the reports is left as it is", async (t) => {
  const file = fresh();
  const served = await collecting(t, file);
  const refused = async (what: string) => {
    const { status, body } = await post(served.url, { serial: "b" });
    const says = "the report could not be kept: the file of --collect holds something else now, and is left as it is\n";
    assert.deepEqual([status, body.toString()], [500, says], what);
    assert.deepEqual(await serialsOf(served), ["a"], what);
  };
  assert.equal((await post(served.url, { serial: "a" })).status, 204);
  // the second one is as large as a file that would be rewritten
  for (const other of [Buffer.from("mine\n"), Buffer.alloc(9 << 20, "mine\n")]) {
    shop.put(file, other);
    await refused(`${other.length} bytes`);
    assert.ok(shop.get(file).equals(other), `${other.length} bytes`);
  }
  rmSync(shop.at(file));
  mkdirSync(shop.at(file));
  assert.equal((await post(served.url, { serial: "b" })).status, 500);
  rmSync(shop.at(file), { recursive: true });
  execFileSync("mkfifo", [shop.at(file)]);
  await refused("a pipe");
  // one that was emptied, as a log is, is made again, with all
  rmSync(shop.at(file));
  shop.put(file, "");
  assert.equal((await post(served.url, { serial: "c" })).status, 204);
  await served.end();
  assert.deepEqual(await serialsOf(await collecting(t, file)), ["a", "c"]);
});

const skip = process.getuid?.() === 0 ? "root may write everywhere" : false;

test("--collect refuses a read-only or foreign file and says what to do", async () => {
  const run = (file: string) =>
    shop.run("serve", "www", "--http", "--host", "127.0.0.1", "--port", "0", "--collect", file);
  fails(
    await run("nowhere/r.jsonl"),
    1,
    /^nowhere\/r\.jsonl: no such file or folder: .*--collect has to name a file in a folder where you may write/,
  );
  fails(await run("www"), 1, /^www: not a file: --collect takes one, or the name of a new one/);
  fails(await run("/dev/null"), 1, /^\/dev\/null: not a file/);
  for (const file of ["key.pem", "www/lamp.bin"]) {
    const before = shop.get(file);
    fails(await run(file), 1, /holds something else than reports, and is not overwritten: choose another file/);
    assert.deepEqual(shop.get(file), before);
  }
  fails(await run("-"), 2, /Expected a file/);
});

test("a folder that may not be written is refused with what to do", { skip }, async () => {
  mkdirSync(shop.at("fixed"));
  chmodSync(shop.at("fixed"), 0o555);
  const args = ["serve", "www", "--http", "--host", "127.0.0.1", "--port", "0", "--collect", "fixed/r.jsonl"];
  fails(await shop.run(...args), 1, /permission denied: .*in a folder where you may write/);
});

test("--collect takes an empty file and a link, and keeps mode and link", async (t) => {
  shop.put("real.jsonl", "");
  chmodSync(shop.at("real.jsonl"), 0o600);
  symlinkSync("real.jsonl", shop.at("link.jsonl"));
  const served = await collecting(t, "link.jsonl");
  assert.equal((await post(served.url, { serial: "a" })).status, 204);
  assert.equal(linesOf("real.jsonl").length, 2);
  assert.equal(statSync(shop.at("real.jsonl")).mode & 0o777, 0o600);
});

// --- What is served --------------------------------------------------------------------------------------------------

test("the file of reports is not served, even when a manifest names it", async (t) => {
  mkdirSync(shop.at("mixed/files"), { recursive: true });
  shop.put("mixed/files/app.js", "print(1)");
  shop.put("mixed/lamp.bin", IMAGE);
  const file = "mixed/files/r.bin";
  const served = await serve(t, "mixed", "--http", "--collect", file);
  assert.equal((await post(served.url, { serial: "a" })).status, 204);
  const claims = filesClaims({ "app.js": "print(1)", "r.bin": shop.get(file) });
  shop.put("mixed/app.jws", await signManifest(claims, await makeKey()));
  await sleep(1100);
  assert.equal((await ask(`${served.url}/files/app.js`)).status, 200);
  const { status, body } = await ask(`${served.url}/files/r.bin`);
  assert.deepEqual([status, body.includes("serial")], [404, false]);
  assert.doesNotMatch((await ask(`${served.url}/`)).body.toString(), /r\.bin/);
});

test("sign takes no reports of devices into a release", async () => {
  mkdirSync(shop.at("source"));
  shop.put("source/app.js", "print(1)");
  shop.put("source/r.txt", HEAD + line("a"));
  const signed = [
    "--entry",
    "app.js",
    "--chip",
    "esp32",
    "--app-version",
    "1",
    "--project",
    "lamp",
    "--key",
    "key.pem",
  ];
  const run = (...more: string[]) => shop.run("sign", "--files", "source", ...signed, "--out", "app.jws", ...more);
  fails(await run(), 1, /r\.txt: .*reports of devices \(serve --collect\), .*leave it out \(--ignore\)/);
  succeeds(await run("--ignore", "r.txt"));
});

test("in a working folder the reports are not a file of the program", async (t) => {
  mkdirSync(shop.at("app/data"), { recursive: true });
  shop.put("app/app.js", "print(1)");
  const working = ["--files", "app", "--entry", "app.js", "--chip", "esp32", "--key", "key.pem", "--http"];
  const served = await serve(t, ...working, "--collect", "app/data/r.jsonl");
  const sequence = async () => (await jsonOf(`${served.url}/-/api/releases`)).releases[0].sequence;
  const before = await sequence();
  assert.equal((await post(served.url, { serial: "a" })).status, 204);
  await sleep(2500);
  assert.equal(await sequence(), before, "a report made a release");
  assert.equal((await ask(`${served.url}/data/r.jsonl`)).status, 404);
  assert.deepEqual((await ask(`${served.url}/`)).body.toString().split("\n").filter(Boolean), [
    "/release.jws",
    "/app.js",
  ]);
});
