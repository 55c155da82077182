// When the devices of a fleet look for an update first after a common start: the built poll(), once for each of them.

import { createDevice } from "../sim/device.ts";

/** getSerial() of the ESP32 with this MAC address. */
export const serialOf = (mac: number): string =>
  mac
    .toString(16)
    .padStart(12, "0")
    .replace(/(.{8})(.{4})/, "$1-$2");

/** poll() looks at the form of its key, and nothing is fetched with it. */
const KEY = { kty: "RSA", n: Buffer.alloc(256, 0xff).toString("base64url"), e: "AQAB" };

/**
 * ms from the start to the first look, device by device. One engine stands for all of them: each call of poll() is another
 * device's, and its first timer is written down.
 */
export function firstLooks(serials: readonly string[]): number[] {
  const device = createDevice().boot();
  try {
    device.engine.run(`var serial, taken, firstLooks = [], realTimeout = setTimeout;
      getSerial = function () { return serial; };
      setTimeout = function (callback, ms) {
        if (!taken) { taken = true; firstLooks.push(ms); }
        return realTimeout(callback, ms);
      };`);
    const poll = device.engine.run(`(function (ota, one) {
      serial = one;
      taken = false;
      ota.poll({ url: "https://example.com/firmware.jws", keys: [${JSON.stringify(KEY)}] }).stop();
    })`) as (ota: unknown, serial: string) => void;
    for (const one of serials) poll(device.ota, one);
    const looks = [...(device.engine.run("firstLooks") as number[])];
    if (looks.length !== serials.length) throw new Error(`${looks.length} timers for ${serials.length} devices`);
    return looks;
  } finally {
    device.stop();
  }
}
