// What becomes of the actions of one device, step by step: the fake and the real hawkBit must both tell it like this.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { plain, sleep } from "./fixture.ts";
import { artifactsOf, createHawkbitDevice, imageOf } from "./hawkbit-device.ts";
import type { Entry, Hawkbit } from "./hawkbit.ts";
import type { Key } from "./keys.ts";
import { createSwupdate } from "./swupdate.ts";

/** By the name of a step: what the device has told, and as what hawkBit took it. */
export const LIFE = {
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

/** Lives through all steps with a device of its own. */
export async function live(t: { after(fn: () => void): void }, hawkbit: Hawkbit, key: Key, serial: string) {
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

/** As what hawkBit took the last word of swupdate, by the name of a step. */
export const SWUPDATE_LIFE = { installed: "finished", refused: "error", cancelled: "canceled" };

/** A client that others wrote lives through an installation, a package that is none, and a cancellation. */
export async function liveWithSwupdate(
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
    throw new Error(`swupdate does not get on:\n${swupdate.output().slice(-3000)}`);
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

    const nonsense = await release("nonsense", Buffer.from("this is no package"));
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
