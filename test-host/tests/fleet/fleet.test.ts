// poll() and report(): docs/fleet.md.

import assert from "node:assert/strict";
import { test } from "node:test";
import { firstLooks } from "../../support/first-looks.ts";
import { behind, createFixture, createGate, failsWith, plain, until } from "../../support/fixture.ts";
import { buildImage } from "../../support/images.ts";
import { collect } from "../../support/collector.ts";
import { claimsFor, makeKey, signManifest } from "../../support/release.ts";
import { serveFile, status } from "../../support/server.ts";
import { leftOut } from "../../support/share.ts";

const RUNNING = buildImage({ chip: "esp32", size: 60000, seed: 1 });
const IMAGE = buildImage({ chip: "esp32", size: 61008, seed: 2, descriptor: { version: "2.0.2" } });
const HOUR = 3_600_000;

async function start(t: Parameters<typeof createFixture>[0], serial = "240ac401-0000aa", image = IMAGE) {
  const fixture = await createFixture(t, { image: IMAGE, images: { factory: RUNNING }, engine: { serial } });
  const key = await makeKey({ exponent: 3 });
  fixture.server.on("/m.jws", serveFile(Buffer.from(await signManifest(claimsFor(image), key))));
  const { device, server } = fixture;
  /** Calls poll() with these fields, given as JavaScript. */
  function poll(more: string): void {
    device.engine.run(`var log = [], config = ${JSON.stringify({ url: server.url("/m.jws"), keys: [key.jwk], retries: 0 })};
      var more = ${more}; for (var name in more) config[name] = more[name];`);
    (device.engine.run("(function (ota) { handle = ota.poll(config); })") as any)(device.ota);
  }
  const log = () => plain(device.engine.run("log")) as any[];
  const manifests = () => server.requests.filter(({ path }) => path === "/m.jws").length;
  /** Device time passes in steps, until something is so. */
  async function waitFor(what: string, holds: () => boolean, stepMs = 60_000, most = 3000): Promise<number> {
    let passed = 0;
    for (; !holds() && passed < most * stepMs; passed += stepMs) {
      await device.engine.advance(stepMs);
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
    assert.ok(holds(), `waited in vain until ${what}`);
    return passed;
  }
  return { fixture, device, server, poll, log, manifests, waitFor };
}

test("poll() looks within the first hour, installs and tells, and restarts nothing", async (t) => {
  const { device, poll, log, waitFor } = await start(t);
  poll("{ installed: function (r) { log.push(r.partition.label); }, failed: function (e) { log.push(e.message); } }");
  const waited = await waitFor("it is installed", () => log().length > 0);
  assert.ok(waited <= HOUR + 120_000, `${waited} ms`);
  assert.deepEqual(log(), ["ota_0"]);
  assert.equal(device.rebootAsked, false);
});

test("1000 devices after a common power cut look at times spread evenly over the hour", () => {
  const serials = Array.from(
    { length: 1000 },
    (_, n) => `240ac4${(n % 256).toString(16).padStart(2, "0")}-${(n * 7919).toString(16).padStart(6, "0")}`,
  );
  const first = firstLooks(serials);
  const bins = new Array(10).fill(0);
  for (const ms of first) bins[Math.floor((ms / HOUR) * 10)]++;
  // chi squared of 10 bins: 27.9 is exceeded once in a thousand times
  const chi = bins.reduce((sum, count) => sum + (count - 100) ** 2 / 100, 0);
  assert.ok(chi < 27.9, `${bins}: ${chi}`);
});

test("two devices look at different times, one device at the same after each start", async (t) => {
  const times: number[] = [];
  for (const serial of ["240ac401-0000aa", "240ac401-0000ab", "240ac401-0000aa"]) {
    const { poll, manifests, waitFor } = await start(t, serial, RUNNING);
    poll("{}");
    times.push(await waitFor("it looks", () => manifests() > 0, 20_000));
  }
  assert.notEqual(times[0], times[1]);
  assert.ok(Math.abs(times[0] - times[2]) <= 20_000, `${times}`);
});

test("a busy server is asked again after a minute, two, not before its Retry-After", async (t) => {
  const { server, poll, manifests, waitFor } = await start(t);
  let answers = 0;
  server.on("/m.jws", (req, io) => {
    answers++;
    return status(503, answers === 3 ? { "Retry-After": "1800" } : {})(req, io);
  });
  poll("{ every: 7200000 }");
  await waitFor("the first look", () => manifests() === 1, 20_000);
  const second = await waitFor("the second", () => manifests() === 2, 5_000);
  assert.ok(second >= 45_000 && second <= 80_000, `${second} ms`);
  const third = await waitFor("the third", () => manifests() === 3, 5_000);
  assert.ok(third >= 95_000 && third <= 150_000, `${third} ms`);
  const fourth = await waitFor("the fourth", () => manifests() === 4, 20_000);
  assert.ok(fourth >= 1_780_000, `${fourth} ms, Retry-After said 1800 s`);
});

test("no more looks in a day than perDay", async (t) => {
  const { server, poll, manifests, waitFor, device } = await start(t);
  server.on("/m.jws", status(503));
  poll("{ every: 600000, perDay: 5 }");
  await waitFor("five looks", () => manifests() === 5, 60_000);
  for (let hour = 0; hour < 20; hour++) await device.engine.advance(HOUR);
  assert.ok(manifests() <= 10, `${manifests()} looks`);
  assert.equal(manifests(), 5);
  await waitFor("the next day", () => manifests() > 5, 600_000);
});

test("ready() postpones, a refusal is told, and stop() ends the polling", async (t) => {
  const { poll, log, manifests, waitFor, device, server } = await start(t);
  poll(
    "{ every: 3600000, ready: function (o) { log.push(o.version); return log.length > 1; }, installed: function () { log.push('done'); } }",
  );
  await waitFor("it is installed", () => log().includes("done"), 30_000);
  assert.deepEqual(log(), ["2.0.2", "2.0.2", "done"]);
  device.engine.run("handle.stop()");
  const before = manifests();
  await device.engine.advance(24 * HOUR);
  assert.equal(manifests(), before);
  server.on("/m.jws", serveFile(Buffer.from("nonsense")));
  poll("{ every: 3600000, failed: function (e) { log.push(e.name); } }");
  await waitFor("the refusal", () => log().length > 0, 30_000);
  assert.deepEqual(log(), ["ESP_ERR_OTA_VALIDATE_FAILED"]);
  device.engine.run("handle.stop()");
});

/** Timers of less than ten minutes, and intervals, are lost while `losing`: as when the engine has no JsVar left. */
const LOSE = `var losing = false;
  (function (timeout, interval) {
    setTimeout = function (f, ms) { return timeout(losing && ms < 600000 ? function () {} : f, ms); };
    setInterval = function (f, ms) { return interval(losing ? function () {} : f, ms); };
  })(setTimeout, setInterval);`;

test("poll() looks again though an update of its own was lost with its watchdog", async (t) => {
  const { device, poll, log, waitFor } = await start(t);
  device.engine.run(LOSE);
  poll("{ installed: function () { log.push('done'); }, failed: function (e) { log.push(e.message); } }");
  device.engine.run("losing = true");
  await waitFor("an update holds the lock", () => device.engine.run("!!E.otaLock") as boolean);
  device.engine.run("losing = false");
  const waited = await waitFor("it is installed", () => log().includes("done"));
  assert.ok(waited <= 5 * HOUR, `${waited} ms`);
  assert.deepEqual(log(), ["done"]);
});

test("poll() looks again, also without memory for the timer of the next look", async (t) => {
  const { device, server, poll, manifests, waitFor } = await start(t);
  device.engine.run("var none = false, timeout = setTimeout;");
  device.engine.run(
    "setTimeout = function (f, ms) { return none && ms > 40000 && ms < 80000 ? undefined : timeout(f, ms); };",
  );
  server.on("/m.jws", status(503));
  poll("{ installed: function () { log.push('done'); } }");
  device.engine.run("none = true");
  await waitFor("the first look", () => manifests() === 1);
  await device.engine.advance(1000);
  device.engine.run("none = false");
  assert.equal(manifests(), 1);
  await waitFor("the second", () => manifests() === 2);
});

test("poll() looks again though the timer of the next look fired without memory", async (t) => {
  const { device, server, poll, manifests, waitFor } = await start(t);
  device.engine.run("var none = true, timeout = setTimeout;");
  // the engine fires the timer once, and drops a callback that it has no JsVar for
  device.engine.run(
    "setTimeout = function (f, ms) { return timeout(none && ms > 5 * 3600000 ? function () {} : f, ms); };",
  );
  server.on("/m.jws", serveFile(Buffer.from("nonsense")));
  poll("{ every: 8 * 3600000 }");
  await waitFor("the first look", () => manifests() === 1);
  await device.engine.advance(1000);
  device.engine.run("none = false");
  const waited = await waitFor("the second", () => manifests() === 2);
  assert.ok(waited > 7 * HOUR && waited < 12 * HOUR, `${waited / HOUR} hours`);
});

/** An update of the user's own, to the image as it comes. */
const own = ({ device, server }: Awaited<ReturnType<typeof start>>): any => {
  server.on("/fw.bin", serveFile(IMAGE));
  const config = `({ url: ${JSON.stringify(server.url("/fw.bin"))}, insecure: true, deadline: 0 })`;
  return device.engine.call(device.ota.begin(device.engine.run(config)));
};

const ALREADY = "ESP_ERR_OTA_ALREADY_IN_PROGRESS";

test("poll() ends another update whose watchdog was lost, and installs", async (t) => {
  const all = await start(t);
  const { device, poll, log, waitFor } = all;
  device.engine.run(LOSE);
  device.engine.run("losing = true");
  const begun = own(all).catch(() => {});
  await waitFor("it holds the lock", () => device.engine.run("!!E.otaLock") as boolean, 100);
  device.engine.run("losing = false");
  poll("{ installed: function () { log.push('done'); }, failed: function (e) { log.push(e.name); } }");
  const waited = await waitFor("it is installed", () => log().includes("done"));
  assert.ok(waited < 4 * HOUR, `${waited} ms`);
  void begun;
});

test("poll() leaves a step-by-step update of the program alone, however long it takes", async (t) => {
  const all = await start(t);
  const { device, poll, log, waitFor } = all;
  const handle: any = await own(all);
  poll("{ every: 600000, perDay: 1000, deadline: 60000, failed: function (e) { log.push(e.name); } }");
  for (let step = 0; step < 12; step++) {
    for (let minute = 0; minute < 60; minute++) await device.engine.advance(60_000);
    assert.equal(await device.engine.call(handle.perform()), device.ota.ERR.IN_PROGRESS);
  }
  assert.ok(log().length > 5);
  assert.deepEqual([...new Set(log())], [ALREADY]);
  handle.abort();
  await waitFor("the next look", () => device.engine.run("!!E.otaLock") as boolean);
});

test("an answer of ready() after hours is obeyed, whenever the guard comes", async (t) => {
  for (const minutes of [58, 59, 60, 61, 62, 118, 119, 120, 121]) {
    const { device, poll, log, waitFor, server, fixture } = await start(t);
    poll(`{ timeout: 1800000, ready: function () { log.push("asked"); return new Promise(function (yes) { later = yes; }); },
      installed: function () { log.push("done"); }, failed: function (e) { log.push(e.message); } }`);
    const asked = await waitFor("it asks", () => log().length === 1);
    for (let passed = asked; passed < minutes * 60_000 + 2 * HOUR; passed += 60_000)
      await device.engine.advance(60_000);
    const gate = createGate();
    server.on("/fw.bin", behind(gate, serveFile(IMAGE)));
    device.engine.run("later(true)");
    for (let passed = 0; passed < 4; passed++) await device.engine.advance(60_000);
    gate.open();
    await waitFor("it is installed", () => log().length > 1);
    assert.deepEqual(log(), ["asked", "done"], `${minutes} minutes`);
    await fixture.server.close();
  }
});

test("ready() is asked all day long, though each time the server is asked too", async (t) => {
  const { device, poll, log } = await start(t);
  poll("{ ready: function () { log.push(1); return false; } }");
  for (let hour = 0; hour < 48; hour++) {
    for (let part = 0; part < 6; part++) {
      await device.engine.advance(HOUR / 6);
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
    device.engine.run("log.push(0)");
  }
  // never three hours in a row without being asked
  assert.doesNotMatch(log().join("").slice(2), /000/);
});

test("an answer that comes twice installs once, and is told", async (t) => {
  const { poll, log, waitFor } = await start(t);
  poll(`{ ready: function () { return { then: function (yes) { yes(true); yes(true); } }; },
    installed: function () { log.push("done"); }, failed: function (e) { log.push(e.message); } }`);
  await waitFor("it is installed", () => log().length > 0);
  assert.deepEqual(log(), ["done"]);
});

for (const [moment, ready] of [
  ["while the manifest is fetched", "function () { log.push('asked'); return true; }"],
  ["while ready() waits", "function () { return new Promise(function (yes) { later = yes; }); }"],
])
  test(`stop() ${moment}: nothing begins after it`, async (t) => {
    const { device, server, poll, log, manifests, waitFor } = await start(t);
    poll(`{ ready: ${ready}, installed: function () { log.push("done"); } }`);
    if (moment.startsWith("while the")) {
      const gate = createGate();
      const key = server.requests.length;
      server.on("/m.jws", behind(gate, serveFile(Buffer.from("never"))));
      await waitFor("it looks", () => server.requests.length > key);
      device.engine.run("handle.stop()");
      gate.open();
    } else {
      await waitFor("it has looked", () => device.engine.run("typeof later") === "function");
      device.engine.run("handle.stop(); later(true)");
    }
    const before = manifests();
    for (let hour = 0; hour < 30; hour++) await device.engine.advance(HOUR);
    assert.deepEqual(log(), []);
    assert.equal(manifests(), before);
    assert.equal(device.engine.run("!!E.otaLock"), false);
  });

test("a Retry-After of a year silences poll() for a day", async (t) => {
  const { server, poll, manifests, waitFor } = await start(t);
  server.on("/m.jws", status(503, { "Retry-After": "31536000" }));
  poll("{}");
  await waitFor("the first look", () => manifests() === 1);
  const waited = await waitFor("the second", () => manifests() === 2);
  assert.ok(waited >= 24 * HOUR - 60_000 && waited < 27 * HOUR, `${waited} ms`);
});

test("the report of an update goes before installed(), which may restart", async (t) => {
  const { device, poll, waitFor } = await start(t);
  const collector = await collect(t);
  poll(`{ report: ${JSON.stringify(collector.url)}, installed: function () { ESP32.reboot(); } }`);
  await waitFor("it looks", () => device.engine.run("!!E.otaLock") as boolean, 1000, 4000);
  // slowly: the report has a time limit too
  await waitFor("it restarts", () => device.rebootAsked, 50);
  assert.equal(collector.posts.length, 1);
  assert.equal(JSON.parse(collector.posts[0].body).last, "ESP_OK");
});

test("a configuration that the first look finds wrong is told once", async (t) => {
  if (leftOut(t, 2, "of polling and reports with wrong input")) return;
  const { device, poll, log } = await start(t);
  poll("{ keys: [{ kty: 'RSA', n: 'AQAB', e: 'AQAB' }], failed: function (e) { log.push(e.name); } }");
  for (let hour = 0; hour < 30; hour++) await device.engine.advance(HOUR);
  assert.deepEqual(log(), ["ESP_ERR_INVALID_ARG"]);
});

test("a promise of ready() that takes hours is waited for", async (t) => {
  const { device, poll, log, waitFor } = await start(t);
  poll(`{ ready: function () { log.push("asked"); return new Promise(function (yes) { later = yes; }); },
    installed: function () { log.push("done"); } }`);
  await waitFor("it asks", () => log().length === 1);
  for (let hour = 0; hour < 30; hour++) await device.engine.advance(HOUR);
  assert.deepEqual(log(), ["asked"]);
  device.engine.run("later(true)");
  await waitFor("it is installed", () => log().includes("done"));
  assert.deepEqual(log(), ["asked", "done"]);
});

for (const config of [
  "undefined",
  "null",
  "5",
  "{ every: 5 }",
  "{ every: Infinity }",
  "{ ready: 5, every: 5000 }",
  "{ url: 5 }",
  "{ nonsense: 1, every: 5000 }",
])
  test(`poll(${config}) throws nothing`, async (t) => {
    if (leftOut(t, 2, "of polling and reports with wrong input")) return;
    const { device } = await start(t);
    const told = (
      device.engine.run(`(function (ota) { var told = []; var c = ${config};
      if (c && typeof c === "object") c.failed = function (e) { told.push(e.name); };
      var h = ota.poll(c); return { told: told, h: h }; })`) as any
    )(device.ota);
    await device.engine.advance(6000);
    await device.engine.advance(0);
    told.h.stop();
    if (config.includes("{")) assert.equal(told.told[0], "ESP_ERR_INVALID_ARG");
  });

test("report() posts status, serial, board and free JsVars, and nothing secret", async (t) => {
  const { fixture, device } = await start(t);
  const collector = await collect(t);
  const { result, error } = await fixture.outcome(
    device.ota.report(collector.url, fixture.device.engine.run('({ "X-Token": "t" })')),
  );
  assert.ifError(error ?? null);
  assert.equal(result, 0);
  const [{ method, headers, body }] = collector.posts;
  assert.deepEqual([method, headers["content-type"], headers["x-token"]], ["POST", "application/json", "t"]);
  const status = plain(device.ota.getStatus()) as object;
  const { serial, board, free, reset, ...rest } = JSON.parse(body);
  assert.deepEqual(rest, status);
  assert.equal(reset, 1, "power on");
  assert.deepEqual([serial, board, typeof free], ["240ac401-0000aa", "ESP32", "number"]);
});

for (const chip of ["esp32", "esp32c3", "esp32s3"])
  test(`report() of an ${chip} says why it started: a restart by software`, async (t) => {
    const fixture = await createFixture(t, { board: chip });
    fixture.device.restart();
    const collector = await collect(t);
    assert.ifError((await fixture.outcome(fixture.device.ota.report(collector.url))).error ?? null);
    assert.equal(JSON.parse(collector.posts[0].body).reset, chip === "esp32" ? 12 : 3);
  });

for (const [code, retry] of [
  [503, true],
  [404, false],
  [302, false],
] as const)
  test(`report() to a server that answers ${code} rejects, and says whether to retry`, async (t) => {
    if (leftOut(t, 2, "of polling and reports with wrong input")) return;
    const { fixture, device, server } = await start(t);
    server.on("/report", status(code, code === 302 ? { Location: "/other" } : {}));
    const outcome = await fixture.outcome(device.ota.report(server.url("/report")));
    assert.equal(outcome.error?.retry, retry, outcome.error?.message);
  });

for (const [what, url] of [
  ["a host that nobody knows", "http://nowhere.invalid/report"],
  ["a port where nobody listens", "http://127.0.0.1:9/report"],
] as const)
  test(`report() to ${what} rejects like an update: it may be tried again`, async (t) => {
    if (leftOut(t, 2, "of polling and reports with wrong input")) return;
    const { fixture, device } = await start(t);
    const error = failsWith(await fixture.outcome(device.ota.report(url)), "HTTP_CONNECT", true);
    assert.ok(error.message.includes(new URL(url).hostname), error.message);
  });

test("poll() reports where it is told: after the first look, and after a failure", async (t) => {
  const { server, poll, waitFor } = await start(t, undefined, RUNNING);
  server.on("/report", status(204));
  poll(`{ report: ${JSON.stringify(server.url("/report"))}, every: 3600000 }`);
  const posts = () => server.requests.filter(({ path }) => path === "/report").length;
  await waitFor("the first report", () => posts() === 1, 30_000);
  server.on("/m.jws", status(404));
  await waitFor("the second", () => posts() === 2, 60_000);
});

test("report() refuses what is not a URL", async (t) => {
  const { fixture, device } = await start(t);
  failsWith(await fixture.outcome(device.ota.report(5)), "INVALID_ARG");
  failsWith(await fixture.outcome(device.ota.report("ftp://x/")), "INVALID_ARG");
  void until;
});
