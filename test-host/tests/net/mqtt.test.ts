// examples/mqtt.js with brokers as they are: aedes everywhere, mosquitto where it is installed. The device's module "MQTT" is
// that of support/mqtt-module.ts, or Espruino's own, where MQTT_MODULE names it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test, type TestContext } from "node:test";
import { ESPRUINO, runInEngine, warnWithoutEngine } from "../../real-espruino/engine.ts";
import { type Broker, BROKERS, connectOperator, type Operator, startMosquitto } from "../../support/brokers.ts";
import { installNet } from "../../support/device-net.ts";
import { behaves, createFixture, type Fixture, oldImage, sleep } from "../../support/fixture.ts";
import { MQTT_MODULE } from "../../support/mqtt-module.ts";
import { type Claims, claimsFor, type Key, makeKey, signManifest } from "../../support/release.ts";
import { type Server, serveFile } from "../../support/server.ts";
import { missing } from "../../support/webservers.ts";

warnWithoutEngine();
const noMosquitto = missing("mosquitto");

const PROGRAM = readFileSync(new URL("../../../examples/mqtt.js", import.meta.url), "utf8");
const DOC = readFileSync(new URL("../../../docs/recipes.md", import.meta.url), "utf8");
const SERIAL = "240ac401-000005"; // five seconds after a message to the fleet
const TOPIC = `devices/${SERIAL}`;

/** The block of that name, as it stands in docs/recipes.md. */
function recipe(name: string): string {
  const [, text] = new RegExp(`<!-- recipe: ${name} -->\n\`\`\`\\w+\n([^]*?)\n\`\`\``).exec(DOC) ?? [];
  assert.ok(text, name);
  return text;
}

/** The example with the broker, the address and the key of the test. */
function programFor(port: number, server: Server, key: Key, more: object = {}): string {
  const parts = {
    '"192.168.1.10"': '"127.0.0.1"',
    "{ client_id: serial }": `{ client_id: serial, port: ${port}, ${JSON.stringify(more).slice(1)}`,
    '"https://example.com/firmware/firmware.jws"': JSON.stringify(server.url("/m.jws")),
    '{ kty: "RSA", n: "...", e: "AQAB" }': JSON.stringify(key.jwk),
  };
  let text = PROGRAM;
  for (const [part, other] of Object.entries(parts)) {
    assert.equal(text.split(part).length, 2, `${part} is not there once`);
    text = text.replace(part, other);
  }
  return text;
}

async function offer(server: Server, image: Uint8Array, key: Key, claims: Claims = {}): Promise<void> {
  server.on("/m.jws", serveFile(Buffer.from(await signManifest(claimsFor(image, claims), key))));
  server.on("/fw.bin", serveFile(image));
}

interface MqttFixture {
  fixture: Fixture;
  broker: Broker;
  key: Key;
  /** Starts the device's program, also after a restart. */
  start(): void;
  operator(): Promise<Operator>;
  /** Device time passes until something is so. */
  waitFor(what: string, holds: () => boolean): Promise<void>;
  /** What the device has said to `operator`, from its subscription on. */
  states(operator: Operator): any[];
}

async function createMqttFixture(t: TestContext, broker: Broker, more?: object): Promise<MqttFixture> {
  const fixture = await createFixture(t, { load: { factory: oldImage() }, engine: { serial: SERIAL } });
  const { device, server } = fixture;
  const key = await makeKey({ exponent: 3 });
  await offer(server, fixture.image, key);
  const self: MqttFixture = {
    fixture,
    broker,
    key,
    start() {
      installNet(t, device);
      device.engine.addModule("MQTT", MQTT_MODULE);
      device.engine.run(programFor(broker.port, server, key, more), "mqtt.js");
    },
    async operator() {
      const operator = await connectOperator(t, broker.port);
      assert.equal(await operator.subscribe("devices/+/state"), 0);
      return operator;
    },
    async waitFor(what, holds) {
      for (let n = 0; n < 3000; n++) {
        if (holds()) return;
        // brokers keep real time
        if (device.engine.accounts().sockets === 0) await device.engine.advance(50);
        await sleep(3);
      }
      assert.fail(`timed out waiting until ${what}: ${device.engine.console.slice(-5).join(" | ")}`);
    },
    states: ({ heard }) => heard.map((text) => JSON.parse(text.replace(`${TOPIC}/state `, ""))),
  };
  return self;
}

/** Is the device listening? It says its state when it is connected, after it has subscribed. */
async function hello({ waitFor, states }: MqttFixture, operator: Operator): Promise<any> {
  const before = operator.heard.length;
  const find = () =>
    states(operator)
      .slice(before)
      .find(({ running }) => running);
  await waitFor("the device says what runs", () => find() !== undefined);
  return find();
}

async function installs(one: MqttFixture): Promise<void> {
  const { fixture, waitFor } = one;
  const { device, image } = fixture;
  await waitFor("it restarts", () => device.rebootAsked);
  behaves(fixture);
  device.restart();
  assert.equal(device.running, "ota_0");
  assert.deepEqual(device.slot("ota_0", image.length), image);
}

for (const [name, startBroker] of Object.entries(BROKERS))
  describe(name, { skip: name === "mosquitto" ? noMosquitto : false }, () => {
    for (const [how, topic, options] of [
      ["at QoS 0 to this device", `${TOPIC}/update`, { qos: 0 }],
      ["at QoS 1 to this device", `${TOPIC}/update`, { qos: 1 }],
      ["at QoS 1 to the fleet", "fleet/update", { qos: 1 }],
    ] as const)
      test(`a message ${how} starts the update, and the operator hears how it goes`, async (t) => {
        const one = await createMqttFixture(t, await startBroker(t));
        const operator = await one.operator();
        one.start();
        assert.equal((await hello(one, operator)).running, "factory");
        await operator.publish(topic, "now", options);
        await installs(one);
        await one.waitFor("the last word", () => one.states(operator).at(-1).upToDate === false);
        const percents = one.states(operator).flatMap(({ percent }) => percent ?? []);
        assert.equal(percents.at(-1), 100);
        assert.ok(percents.length > 5, String(percents));
        one.start();
        assert.equal((await hello(one, operator)).running, "ota_0");
      });

    test("a retained message is one update, and no endless restarts", async (t) => {
      const one = await createMqttFixture(t, await startBroker(t));
      const { device, server } = one.fixture;
      const operator = await one.operator();
      await operator.publish(`${TOPIC}/update`, "now", { retain: true });
      one.start();
      await installs(one);
      device.ota.markValid();
      one.start();
      await one.waitFor("it looks again", () => one.states(operator).at(-1)?.upToDate === true);
      const images = () => server.requests.filter(({ path }) => path === "/fw.bin").length;
      const before = images();
      await device.engine.advance(10_000);
      assert.equal(device.rebootAsked, false);
      assert.equal(images(), before);
    });

    test("a retained message of a release that is not due restarts nothing", async (t) => {
      const one = await createMqttFixture(t, await startBroker(t));
      const { device, server } = one.fixture;
      await offer(server, one.fixture.image, one.key, { format: 2, rollout: { share: 0 } });
      const operator = await one.operator();
      await operator.publish(`${TOPIC}/update`, "now", { retain: true });
      one.start();
      await one.waitFor("it looks", () => one.states(operator).at(-1)?.due === -1);
      await device.engine.advance(10_000);
      assert.equal(device.rebootAsked, false);
    });

    test("a broker that is away for minutes is found again, and heard", async (t) => {
      const one = await createMqttFixture(t, await startBroker(t));
      const { device } = one.fixture;
      const before = await one.operator();
      one.start();
      await hello(one, before);
      await one.broker.stop();
      await one.waitFor("the device knows", () => device.engine.run("mqtt.connected") === false);
      for (let n = 0; n < 20; n++) {
        await device.engine.advance(10_000);
        await sleep(5);
      }
      await one.broker.start();
      const operator = await one.operator();
      await hello(one, operator);
      await operator.publish(`${TOPIC}/update`, "now");
      await installs(one);
    });

    test("an update goes on when its broker dies, and ends with the restart", async (t) => {
      const one = await createMqttFixture(t, await startBroker(t));
      const operator = await one.operator();
      one.start();
      await hello(one, operator);
      await operator.publish(`${TOPIC}/update`, "now");
      await one.waitFor("it has begun", () => one.states(operator).some(({ percent }) => percent));
      await one.broker.stop();
      await installs(one);
    });

    for (const [what, payload] of [
      ["nothing", ""],
      ["bytes", Buffer.from(Array.from({ length: 256 }, (_, value) => value))],
      ["another address and key", JSON.stringify({ url: "http://127.0.0.1:1/evil.jws", keys: [], insecure: true })],
      ["a program", "E.reboot(); require('https-ota').rollback()"],
      ["20000 bytes", "x".repeat(20_000)],
    ] as const)
      test(`a message of ${what} makes it look at its own address, and no more`, async (t) => {
        const one = await createMqttFixture(t, await startBroker(t));
        const { device, server } = one.fixture;
        const stranger = await makeKey({ name: "stranger", exponent: 3 });
        await offer(server, one.fixture.image, stranger);
        const operator = await one.operator();
        one.start();
        await hello(one, operator);
        await operator.publish(`${TOPIC}/update`, payload);
        await one.waitFor("it refuses", () => one.states(operator).at(-1).error !== undefined);
        assert.equal(one.states(operator).at(-1).retry, false);
        assert.deepEqual([...new Set(server.requests.map(({ path }) => path))], ["/m.jws"]);
        assert.equal(device.rebootAsked, false);
        assert.equal(device.flash.counts.erases, one.fixture.mark.erases);
        behaves(one.fixture);
      });

    test("a flood of messages is one look, and one timer", async (t) => {
      const one = await createMqttFixture(t, await startBroker(t));
      const { device, server } = one.fixture;
      const operator = await one.operator();
      one.start();
      await hello(one, operator);
      const { timers } = device.engine.accounts();
      for (let n = 0; n < 200; n++) await operator.publish("fleet/update", "now");
      let most = 0;
      for (let n = 0; n < 50; n++) {
        await sleep(2);
        most = Math.max(most, device.engine.accounts().timers);
      }
      // beside its own there are those of bytes on their way, in this model of a socket
      assert.ok(most > timers && most < timers + 20, `${timers} timers before, ${most} after`);
      await installs(one);
      assert.equal(server.requests.filter(({ path }) => path === "/m.jws").length, 1);
    });
  });

describe("the recipe for mosquitto", { skip: noMosquitto }, () => {
  const DEVICE = { username: SERIAL, password: "of the device" };
  const OPERATOR: [string, string] = ["operator", "of the operator"];

  async function startRecipe(t: TestContext): Promise<Broker> {
    const lines = recipe("mosquitto").replace(/^listener .*$/m, "");
    const acl = recipe("mosquitto-acl");
    // in clear: startMosquitto() has them hashed
    const passwords = `${SERIAL}:${DEVICE.password}\n${OPERATOR.join(":")}\n240ac401-000006:other\n`;
    return startMosquitto(t, lines.replaceAll("/etc/mosquitto/", ""), { acl, passwords });
  }

  test("a device gets its messages, and says its state", async (t) => {
    const one = await createMqttFixture(t, await startRecipe(t), DEVICE);
    const operator = await connectOperator(t, one.broker.port, OPERATOR);
    assert.equal(await operator.subscribe("devices/+/state"), 0);
    one.start();
    await hello(one, operator);
    await operator.publish("fleet/update", "now");
    await installs(one);
  });

  test("strangers are refused, and a device can tell no other what to do", async (t) => {
    const { port } = await startRecipe(t);
    await assert.rejects(connectOperator(t, port), /refuses|ended/);
    await assert.rejects(connectOperator(t, port, [SERIAL, "wrong"]), /refuses|ended/);
    const operator = await connectOperator(t, port, OPERATOR);
    await operator.subscribe("#");
    const other = await connectOperator(t, port, ["240ac401-000006", "other"]);
    await other.publish(`${TOPIC}/update`, "now");
    await other.publish("fleet/update", "now");
    await other.publish(`${TOPIC}/state`, "forged");
    await other.publish("devices/240ac401-000006/state", "own");
    for (let n = 0; n < 200 && !operator.heard.length; n++) await sleep(5);
    assert.deepEqual(operator.heard, ["devices/240ac401-000006/state own"]);
  });

  test("a message that is too long for a device does not reach it", async (t) => {
    const { port } = await startRecipe(t);
    const operator = await connectOperator(t, port, OPERATOR);
    await operator.subscribe("fleet/update");
    await operator.publish("fleet/update", "x".repeat(5000), { qos: 0 });
    await operator.publish("fleet/update", "now");
    for (let n = 0; n < 200 && !operator.heard.length; n++) await sleep(5);
    assert.deepEqual(operator.heard, ["fleet/update now"]);
  });
});

describe("in the real interpreter", { skip: ESPRUINO ? false : "ESPRUINO is not set" }, () => {
  for (const [name, startBroker] of Object.entries(BROKERS))
    test(`a message of ${name} at QoS 1 restarts into the new image`, {
      skip: name === "mosquitto" ? noMosquitto : false,
    }, async (t) => {
      const one = await createMqttFixture(t, await startBroker(t));
      const { device, server, image } = one.fixture;
      const operator = await one.operator();
      await operator.publish("fleet/update", "now", { retain: true });
      const module = `Modules.addCached("MQTT", ${JSON.stringify(MQTT_MODULE)});`;
      const serial = `var getSerial = function () { return "${SERIAL}"; };`;
      const run = await runInEngine(device, `${serial}\n${module}\n${programFor(one.broker.port, server, one.key)}`, {
        timeoutMs: 120_000,
      });
      assert.equal(run.boot.slot?.label, "ota_0", run.output);
      assert.deepEqual(device.slot("ota_0", image.length), image);
      assert.doesNotMatch(run.output, /Uncaught|WARNING/);
      assert.equal(one.states(operator).at(-1).upToDate, false);
    });
});
