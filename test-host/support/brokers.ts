// Real MQTT brokers: aedes, which npm installs, and mosquitto, where it is installed. On 127.0.0.1, a free port; each
// ends with its test. And an operator, who publishes to one and hears what devices say.

import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Aedes } from "aedes";
import * as mqtt from "mqtt-packet";
import { freePort, run } from "./webservers.ts";

type Context = { after(fn: () => void | Promise<void>): void };

export interface Broker {
  readonly port: number;
  stop(): Promise<void>;
  /** Again, on the same port. What was retained is gone. */
  start(): Promise<void>;
}

/** `lines`: more of mosquitto.conf, and the files that these name, by their names; `passwords` has name:password lines. */
export async function startMosquitto(
  t: Context,
  lines = "allow_anonymous true",
  files: Record<string, string> = {},
): Promise<Broker> {
  const home = mkdtempSync(join(tmpdir(), "broker-"));
  const port = await freePort();
  const config = join(home, "mosquitto.conf");
  for (const [name, text] of Object.entries(files)) writeFileSync(join(home, name), text);
  if (files.passwords) execFileSync("mosquitto_passwd", ["-U", join(home, "passwords")]);
  // a broker that root has started becomes another user, who may not read the folder
  writeFileSync(config, `user root\nlistener ${port} 127.0.0.1\n${lines}\n`);
  let end: () => Promise<void>;
  const broker: Broker = {
    port,
    stop: () => end(),
    async start() {
      end = await run(t, "mosquitto", ["-c", config], home, port);
    },
  };
  await broker.start();
  return broker;
}

export async function startAedes(t: Context): Promise<Broker> {
  const port = await freePort();
  const sockets = new Set<Socket>();
  let server: Server | undefined;
  let aedes: Aedes;
  const broker: Broker = {
    port,
    async start() {
      aedes = await Aedes.createBroker();
      server = createServer((socket) => {
        sockets.add(socket);
        socket.on("close", () => sockets.delete(socket));
        aedes.handle(socket);
      }).listen(port, "127.0.0.1");
      await once(server, "listening");
    },
    async stop() {
      if (!server) return;
      const closed = once(server, "close");
      server.close();
      server = undefined;
      await new Promise<void>((resolve) => aedes.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  t.after(() => broker.stop());
  await broker.start();
  return broker;
}

export const BROKERS: Record<string, (t: Context) => Promise<Broker>> = {
  aedes: startAedes,
  mosquitto: startMosquitto,
};

export type Publish = { qos?: 0 | 1; retain?: boolean };
export interface Operator {
  /** Resolves when the broker has it. */
  publish(topic: string, payload: string | Buffer, options?: Publish): Promise<void>;
  /** What has come since subscribe(), as "topic payload". */
  readonly heard: string[];
  /** Resolves with what the broker has granted: 128 is a refusal. */
  subscribe(topic: string): Promise<number>;
}

/** `account`: name and password. Rejects when the broker refuses it. */
export async function connectOperator(t: Context, port: number, account: [string?, string?] = []): Promise<Operator> {
  const socket = connect(port, "127.0.0.1").setNoDelay();
  const parser = mqtt.parser();
  const heard: string[] = [];
  const waiting = new Map<string, (packet: any) => void>();
  let number = 0;
  t.after(() => void socket.destroy());
  socket.on("error", () => {});
  socket.on("data", (data) => parser.parse(data));
  parser.on("packet", (packet: any) => {
    if (packet.cmd === "publish") heard.push(`${packet.topic} ${packet.payload.toString("latin1")}`);
    else waiting.get(packet.cmd)?.(packet);
  });
  parser.on("error", () => socket.destroy());

  function ask(packet: mqtt.Packet, answer: string): Promise<any> {
    return new Promise((resolve, reject) => {
      const gone = () => reject(new Error(`the broker has ended the connection, before ${answer}`));
      waiting.set(answer, (packet) => {
        socket.off("close", gone);
        resolve(packet);
      });
      socket.once("close", gone);
      socket.write(mqtt.generate(packet));
    });
  }
  const [username, password] = account;
  const clientId = `operator ${username ?? process.pid}`;
  const hello = { cmd: "connect" as const, protocolId: "MQTT" as const, protocolVersion: 4 as const, clean: true };
  const more = { clientId, keepalive: 0, ...(username ? { username, password: Buffer.from(password ?? "") } : {}) };
  const { returnCode } = await ask({ ...hello, ...more }, "connack");
  if (returnCode) throw new Error(`the broker refuses ${username}: ${returnCode}`);
  return {
    heard,
    async publish(topic, payload, { qos = 1, retain = false } = {}) {
      const packet = { cmd: "publish" as const, topic, payload, qos, retain, dup: false, messageId: ++number };
      if (qos) await ask(packet, "puback");
      else socket.write(mqtt.generate(packet));
    },
    async subscribe(topic) {
      const subscriptions = [{ topic, qos: 0 as const }];
      return (await ask({ cmd: "subscribe", messageId: ++number, subscriptions }, "suback")).granted[0];
    },
  };
}
