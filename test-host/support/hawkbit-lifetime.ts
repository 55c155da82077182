// The lifetime of one virtual device, action by action: the fake and the real hawkBit must give the same histories of it. And
// one of swupdate, a client that others wrote.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { plain, sleep } from "./fixture.ts";
import { artifactsOf, createHawkbitDevice, imageOf } from "./hawkbit-device.ts";
import type { Entry, Hawkbit } from "./hawkbit.ts";
import type { Key } from "./keys.ts";
import { createSwupdate } from "./swupdate.ts";

/** By the name of a step: each message of the device, behind the type that hawkBit gave it. */
export const HISTORIES = {
  success: [
    "running: update begins",
    "running: installed; the restart starts it",
    "running: on trial, start 1",
    "finished: runs, and is confirmed",
  ],
  rollback: ["running: update begins", "running: installed; the restart starts it", "error: rolled back: no sensor"],
  window: ["running: waits for the maintenance window", "canceled: nothing was begun"],
  cancelled: [
    "running: update begins",
    "running: installed; the restart starts it",
    "cancel_rejected: it is installed already",
    "running: on trial, start 1",
    "finished: runs, and is confirmed",
  ],
};

/** Takes a new device through all steps. */
export async function simulateLifetime(t: { after(fn: () => void): void }, hawkbit: Hawkbit, key: Key, serial: string) {
  const told: Record<string, string[]> = {};
  await hawkbit.addTarget(serial, "secret");
  const one = createHawkbitDevice(t, hawkbit.url, serial, "secret", key);
  const { device } = one;
  async function history(action: number): Promise<string[]> {
    const entries = (await hawkbit.history(serial, action)).filter(
      ({ message }) => message && !message.startsWith("Update Server:"),
    );
    return entries.map(({ type, message }) => `${type}: ${message}`);
  }
  const until = (action: number, what: string) =>
    one.waitFor(what, async () => (await history(action)).at(-1)?.startsWith(what) === true);
  const release = async (version: string, sequence: number) =>
    hawkbit.addRelease(`${serial} ${version}`, await artifactsOf(imageOf(version, sequence), version, sequence, key));

  const first = await hawkbit.assign(serial, await release("2.0.2", 2));
  one.start();
  await until(first, "running: installed");
  assert.equal((await hawkbit.attributes(serial)).serial, serial);
  one.restart();
  await until(first, "running: on trial");
  device.ota.markValid();
  await until(first, "finished");
  told.success = await history(first);
  const running = device.running;

  const bad = await hawkbit.assign(serial, await release("2.0.3", 3));
  await until(bad, "running: installed");
  device.restart();
  await device.engine.call(device.ota.rollback(device.engine.run('({ reason: "no sensor", restart: false })')));
  one.restart();
  assert.equal(device.running, running);
  await until(bad, "error");
  told.rollback = await history(bad);

  const later = await release("2.0.4", 4);
  const windowed = await hawkbit.assign(serial, later, { window: true });
  await until(windowed, "running: waits");
  await hawkbit.cancel(serial, windowed);
  await until(windowed, "canceled");
  told.window = await history(windowed);

  const late = await hawkbit.assign(serial, later);
  await until(late, "running: installed");
  await hawkbit.cancel(serial, late);
  await until(late, "cancel_rejected");
  one.restart();
  await until(late, "running: on trial");
  device.ota.markValid();
  await until(late, "finished");
  told.cancelled = await history(late);
  assert.equal(plain((device.ota.getStatus() as any).sequence), 4);
  assert.deepEqual(device.engine.problems, []);
  return { told, log: one.log() };
}

/** By the name of a step: the type that hawkBit gave the last message of swupdate. */
export const SWUPDATE_RESULTS = { installed: "finished", refused: "error", cancelled: "canceled" };

/** Takes swupdate through an installation, a broken package, and a cancellation. */
export async function runSwupdate(
  t: { after(fn: () => void | Promise<void>): void },
  hawkbit: Hawkbit,
  controller: string,
) {
  const swupdate = createSwupdate(t);
  const start = (confirm?: boolean) => swupdate.start(hawkbit.url, controller, "secret", confirm);
  async function until(action: number, holds: (entries: Entry[]) => boolean): Promise<string> {
    for (let n = 0; n < 600; n++) {
      const entries = await hawkbit.history(controller, action);
      if (holds(entries)) return entries.at(-1)?.type ?? "";
      await sleep(100);
    }
    throw new Error(`swupdate does not go on:\n${swupdate.output().slice(-3000)}`);
  }
  const says =
    (...types: string[]) =>
    (entries: Entry[]) =>
      entries.some(({ type }) => types.includes(type));
  const release = (name: string, content: Buffer) => hawkbit.addRelease(`${controller} ${name}`, { "fw.swu": content });
  await hawkbit.addTarget(controller, "secret");
  try {
    const first = await hawkbit.assign(controller, await release("good", swupdate.packageOf("hello")));
    start();
    await until(first, (entries) => entries.some(({ message }) => /All Chunks Installed/.test(message)));
    assert.equal(readFileSync(swupdate.target, "utf8"), "hello");
    await swupdate.stop();
    start(true);
    const installed = await until(first, says("finished", "error"));
    assert.equal((await hawkbit.attributes(controller)).board, "a board of Linux");

    const nonsense = await release("nonsense", Buffer.from("this is not a package"));
    const refused = await until(await hawkbit.assign(controller, nonsense), says("finished", "error"));

    await swupdate.stop();
    const third = await hawkbit.assign(controller, nonsense);
    await hawkbit.cancel(controller, third);
    start();
    const cancelled = await until(third, says("canceled", "cancel_rejected", "error"));
    return { installed, refused, cancelled };
  } finally {
    await swupdate.stop();
  }
}
