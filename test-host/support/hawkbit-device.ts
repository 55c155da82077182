// A virtual device whose program is the client of hawkBit: for tests against the fake and against the real server.

import { readFileSync } from "node:fs";
import { createDevice, type Device } from "../sim/device.ts";
import { plain, SMALL, sleep } from "./fixture.ts";
import { buildImage } from "./images.ts";
import type { Key } from "./keys.ts";
import { claimsFor, signManifest } from "./release.ts";

export const HAWKBIT = readFileSync(new URL("../../build/https-ota-hawkbit.min.js", import.meta.url), "utf8");

export const OLD = buildImage({ chip: "esp32", size: 60000, seed: 1 });

export function imageOf(version: string, seed: number): Uint8Array {
  return buildImage({ chip: "esp32", size: 61008, seed, descriptor: { version } });
}

/** The artifacts of a release: the manifest and the image beside it. */
export async function artifactsOf(image: Uint8Array, version: string, sequence: number, key: Key) {
  return { "fw.bin": image, "firmware.jws": await signManifest(claimsFor(image, { version, sequence }), key) };
}

export type Log = [what: string, data: any][];

export interface HawkbitDevice {
  readonly device: Device;
  readonly serial: string;
  /** Starts the device's program. `more`: JavaScript of an object with further fields. */
  start(more?: string): void;
  /** What the callbacks were given. */
  log(): Log;
  /** A restart, and the program again. */
  restart(more?: string): void;
  /** Device time passes until something is so. */
  waitFor(what: string, holds: () => boolean | Promise<boolean>, stepMs?: number, steps?: number): Promise<void>;
}

export function createHawkbitDevice(
  t: { after(fn: () => void): void },
  url: string,
  serial: string,
  token: string,
  key: Key,
): HawkbitDevice {
  const device = createDevice({ board: SMALL, images: { factory: OLD }, engine: { serial } });
  t.after(() => device.stop());
  device.boot();
  const self: HawkbitDevice = {
    device,
    serial,
    start(more = "{}") {
      const fields = JSON.stringify({ url, token, keys: [key.jwk], retries: 0 });
      device.engine.addModule("https-ota-hawkbit", HAWKBIT);
      device.engine.run(`var log = [], fields = ${fields}, more = ${more};
        fields.installed = function (result) { log.push(["installed", result.partition.label]); };
        fields.failed = function (error) { log.push(["failed", error.message]); };
        for (var name in more) fields[name] = more[name];
        require("https-ota").boot();
        var handle = require("https-ota-hawkbit").start(fields);`);
    },
    log: () => plain(device.engine.run("log")) as Log,
    restart(more) {
      device.restart();
      self.start(more);
    },
    async waitFor(what, holds, stepMs = 10_000, steps = 1500) {
      for (let n = 0; n < steps; n++) {
        if (await holds()) return;
        // the network keeps real time: while somebody is spoken to, device time passes as slowly
        const talking = device.engine.accounts().sockets > 0;
        if (!talking) await device.engine.advance(stepMs);
        await sleep(talking ? 5 : 1);
      }
      throw new Error(`${serial}: waited in vain until ${what}: ${JSON.stringify(self.log())}`);
    },
  };
  return self;
}
