// The promise: whatever the program calls, in whatever order, from listeners too, that throw or change their configuration,
// from a second instance of the module, in mid-update: nothing is written outside of slots, otadata and the record, every
// promise settles, and only whole known images ever start. What a sequence of calls costs is a boot (8 ms) and up to some
// updates: a whole device for each, so a tenth of the cases.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import fc from "fast-check";
import { BOOTLOADERS, runBootloader } from "../sim/bootloader.ts";
import { BUNDLE } from "../sim/device.ts";
import { createFlash } from "../sim/flash.ts";
import { fsverity } from "../support/fsverity.ts";
import { claimsFor, makeKey, signManifest } from "../support/release.ts";
import { holds } from "./fuzz.ts";
import { createRig, drips, type Net, paths, type Rig, smallImage, stopAll, text, URL_OF, file } from "./rig.ts";

after(stopAll);

const BUILT = readFileSync(BUNDLE, "utf8");
const OLD = smallImage(1);
const GOOD = smallImage(2, "2.0.2");
const NEXT = smallImage(3, "3.0.3");
const EVIL = smallImage(66, "6.6.6");
const key = await makeKey({ exponent: 3 });
const MANIFESTS = {
  good: await signManifest(claimsFor(GOOD), key),
  next: await signManifest(claimsFor(NEXT, { sequence: 8 }), key),
};
const digestOf = (image: Uint8Array) => `fsverity-sha256:${fsverity(image)}`;
const LATE = BUILT.includes("allowUnconfirmed") ? { allowUnconfirmed: true } : {};
const FORGET = 'try { Modules.removeCached("https-ota"); } catch (e) {}';
const LIMIT = 600_000;

/** What the server has at each path. */
const SERVED: Record<string, Net> = {
  "/good.jws": text(MANIFESTS.good),
  "/next.jws": text(MANIFESTS.next),
  "/fw.bin": file(GOOD),
  "/next.bin": file(NEXT),
  "/evil.bin": file(EVIL),
  "/slow.bin": drips(EVIL, 9_000, 9_000),
  "/cut.bin": () => ({ parts: [`HTTP/1.1 200 OK\r\nContent-Length: ${GOOD.length}\r\n\r\n`, GOOD.subarray(0, 9000)] }),
};
const CONFIGS: Record<string, object> = {
  good: { url: URL_OF("/fw.bin"), digest: digestOf(GOOD) },
  next: { url: URL_OF("/next.bin"), digest: digestOf(NEXT) },
  late: { url: URL_OF("/next.bin"), digest: digestOf(NEXT), ...LATE },
  again: { url: URL_OF("/fw.bin"), digest: digestOf(GOOD), allowRolledBack: true, ...LATE },
  signed: { url: URL_OF("/good.jws"), keys: [key.jwk] },
  evil: { url: URL_OF("/evil.bin"), digest: digestOf(GOOD), ...LATE },
  slow: {
    url: URL_OF("/slow.bin"),
    digest: digestOf(EVIL.slice().fill(1, 100, 101)),
    timeout: 10_000,
    deadline: 300_000,
    ...LATE,
  },
  cut: { url: URL_OF("/cut.bin"), digest: digestOf(GOOD), retries: 0, ...LATE },
  wrong: { url: URL_OF("/none"), digest: digestOf(GOOD), retries: 0 },
};

const GETTERS = "getImgDesc isCompleteDataReceived getImageLenRead getImageSize getStatusCode getPartition".split(" ");

/** What onEvent does. */
const LISTENERS: Record<string, string> = {
  nothing: "",
  throws: "throw new Error('mine');",
  aborts: "if (handle) try { handle.abort(); } catch (e) {}",
  updates: "if (!once++) keep(ota.update(copy()));",
  mutates:
    "config.url = 'http://127.0.0.1:8070/evil.bin'; config.insecure = true; config.digest = config.keys = undefined; config.onEvent = null;",
  confirms: "ota.markValid();",
  rollsBack: "if (name === 'WRITE_FLASH' && !once++) keep(ota.rollback());",
  gives: "if (ota.abort) ota.abort();",
  forgets: FORGET,
};

const name = fc.constantFrom(...Object.keys(CONFIGS));
const listener = fc.constantFrom("nothing", ...Object.keys(LISTENERS));
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("update" as const), name, listener }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("begin" as const), name, listener }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("perform" as const), times: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constantFrom("finish" as const, "abort" as const, "getters" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("check" as const) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "markValid" as const,
        "rollback" as const,
        "setBoot" as const,
        "status" as const,
        "giveUp" as const,
      ),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("boot" as const), attempts: fc.constantFrom(0, 1, 2, 3) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("confirmAfter" as const),
      ms: fc.constantFrom(0, 100, 20_000),
      says: fc.constantFrom("true", "false", "1", "throw"),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("instance" as const, "sentAgain" as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom("restart" as const, "powerCut" as const) }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.constantFrom(0, 1, 25, 100, 1000, 30_000) }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** Everything that the program promised itself: counted until it settled. */
function createProgram(rig: Rig) {
  const { engine } = rig.device;
  return engine.run(`(function () {
    var open = 0, handle = null, once = 0;
    function keep(promise) {
      open++;
      promise.then(function (value) { open--; if (value && value.perform) handle = value; }, function () { open--; });
    }
    function attempt(f) { try { return f(); } catch (e) { if (e.retry === undefined) throw e; } }
    return {
      open: function () { return open; },
      call: function (name, config, body) {
        var ota = require("https-ota");
        function copy() { var c = {}; for (var k in config) if (k !== "onEvent") c[k] = config[k]; return c; }
        if (body) config.onEvent = function (name) { listen(name, config, ota, copy, body); };
        keep(ota[name](config));
      },
      handle: function (name) { if (handle) attempt(function () { var p = handle[name](); if (p && p.then) keep(p); }); },
      sync: function (name) { var ota = require("https-ota"); if (ota[name]) attempt(function () { ota[name](); }); },
      order: function (name, a, b) { keep(require("https-ota")[name](a, b)); },
      setBoot: function () { attempt(function () { var ota = require("https-ota"); keep(ota.setBootPartition(ota.getNextUpdatePartition())); }); }
    };
    function listen(name, config, ota, copy, body) { body(name, config, ota, copy, handle, keep, once++); }
  })()`) as any;
}

const body = (rig: Rig, which: string): unknown =>
  LISTENERS[which]
    ? rig.device.engine.run(`(function (name, config, ota, copy, handle, keep, once) { ${LISTENERS[which]} })`)
    : null;

async function attack(steps: Step[], board: string, kindName: keyof typeof BOOTLOADERS): Promise<void> {
  const images: Record<string, Uint8Array> =
    board === "toy-three" || board === "toy-two" ? { ota_0: OLD } : { factory: OLD };
  const rig = createRig({ board, images, net: paths(SERVED), bootloader: BOOTLOADERS[kindName] });
  const { device } = rig;
  rig.knows(GOOD, NEXT);
  const seen = rig.spyOnFlash();
  const holder = { program: createProgram(rig) };

  function afterRestart(): void {
    const good = [OLD, GOOD, NEXT].some(
      (image) => Buffer.compare(device.slot(device.running, image.length), image) === 0,
    );
    assert.ok(good, `${device.running} runs, and nobody knows what that is`);
    holder.program = createProgram(rig);
  }
  function restart(): void {
    device.flash.onOp = null;
    checkProblems();
    rig.restart();
    Object.assign(seen, rig.spyOnFlash(), { length: seen.length });
    afterRestart();
  }
  function checkProblems(): void {
    const problems = device.engine.problems.filter((one) => !/mine|data lost/.test(one));
    assert.deepEqual(problems, []);
  }
  /** A native that restarts ends what runs. */
  function act(f: () => void): void {
    try {
      f();
    } catch (error) {
      if (!device.rebootAsked) throw error;
    }
  }

  for (const one of steps) {
    if (device.rebootAsked) restart();
    if (one.do === "update" || one.do === "begin")
      act(() => holder.program.call(one.do, rig.config(CONFIGS[one.name]), body(rig, one.listener)));
    else if (one.do === "check") act(() => holder.program.call("checkForUpdate", rig.config(CONFIGS.signed), null));
    else if (one.do === "perform")
      for (let i = 0; i < one.times && !device.rebootAsked; i++) {
        act(() => holder.program.handle("perform"));
        await rig.pass(100);
      }
    else if (one.do === "finish" || one.do === "abort") act(() => holder.program.handle(one.do));
    else if (one.do === "getters")
      act(() => {
        for (const call of GETTERS) holder.program.handle(call);
      });
    else if (one.do === "markValid") act(() => holder.program.sync("markValid"));
    else if (one.do === "giveUp") act(() => holder.program.sync("abort"));
    else if (one.do === "status") act(() => holder.program.sync("getStatus"));
    else if (one.do === "rollback") act(() => holder.program.order("rollback"));
    else if (one.do === "setBoot") act(() => holder.program.setBoot());
    else if (one.do === "boot") act(() => holder.program.order("boot", rig.config({ attempts: one.attempts })));
    else if (one.do === "confirmAfter")
      act(() =>
        holder.program.order(
          "confirmAfter",
          one.ms,
          device.engine.run(
            `(function () { ${one.says === "throw" ? "throw new Error('mine')" : `return ${one.says}`}; })`,
          ),
        ),
      );
    else if (one.do === "instance") device.engine.run(FORGET);
    else if (one.do === "sentAgain")
      device.engine.run(`${FORGET} Modules.addCached("https-ota", ${JSON.stringify(BUILT)})`);
    else if (one.do === "pass") await rig.pass(one.ms);
    else if (one.do === "restart" || one.do === "powerCut") restart();
    if (!device.rebootAsked && one.do !== "pass") await rig.pass(25);
  }
  // what runs ends by itself, or is given up by the program
  for (let past = 0; past < LIMIT && !device.rebootAsked && holder.program.open() > 0; past += 30_000) {
    await rig.pass(30_000);
    if (past === 0) act(() => holder.program.handle("abort"));
  }
  if (!device.rebootAsked) assert.equal(holder.program.open(), 0, "a promise stays open");
  device.flash.onOp = null;
  checkProblems();
  assert.deepEqual([...seen, ...rig.intruders()], []);
  const { address, size } = device.storage.files.area;
  const running = new Set(device.boots.map(({ slot }) => slot?.label));
  for (const op of rig.operations()) {
    const inStorage = op.addr >= address && op.addr < address + size;
    const row = device.board.rows.find((row) => op.addr >= row.offset && op.addr < row.offset + row.size);
    const allowed = inStorage ? op.kind === "write" : row && (row.label === "otadata" || row.type === 0);
    assert.ok(allowed, `${op.kind} at 0x${op.addr.toString(16)}`);
    if (running.size === 1 && row) assert.ok(!running.has(row.label), `the running slot ${row.label} was written`);
  }
  assert.deepEqual(device.flash.violations, []);
  for (const kind of [BOOTLOADERS.idf3, BOOTLOADERS.current, BOOTLOADERS.rollback]) {
    const boot = runBootloader(createFlash({ from: rig.snapshot() }), { chipId: 0, kind });
    assert.ok(boot.slot, `${kind.name}: nothing boots`);
  }
  device.stop();
}

test("whatever is called in whatever order, only whole known images start", async (t) => {
  await holds(
    t,
    fc.record({
      board: fc.constantFrom("toy-factory-one", "toy-two", "toy-three"),
      kind: fc.constantFrom("current" as const, "idf3" as const, "rollback" as const),
      steps: fc.array(step, { minLength: 1, maxLength: 14 }),
    }),
    ({ steps, board, kind }) => attack(steps, board, kind),
    { share: 0.1 },
  );
});
