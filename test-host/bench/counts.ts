// What an update does to the flash, counted in the virtual device, and the seconds that it would take on a real one by
// the flash model (flash.ts): anew, cut off in the middle and resumed, and when the slot holds the image already.
import { createDevice, type Device } from "../sim/device.ts";
import { claimsFor, type Key, signManifest } from "../support/release.ts";
import { cutAt, type Server, serveFile } from "../support/server.ts";
import { row } from "./table.ts";

const SECTOR = 4096;
/** docs/espruino.md#javascript-is-slow-natives-are-fast: an ESP32 interprets about ten times slower than a PC. */
const SLOWER = 10;
/** Bytes per ms. Not measured by us: a round figure for Espruino over Wi-Fi, to be replaced by a board's own. */
const NETWORK = 100;

export type Spent = {
  what: string;
  erases: number;
  writes: number;
  bytesWritten: number;
  bytesRead: number;
  fetched: number;
  /** ms by the model */
  flash: { erase: number; program: number; read: number };
};

async function update(device: Device, server: Server, keys: string, what: string): Promise<Spent> {
  const { flash } = device.boot();
  flash.resetCounts();
  const { offset, size } = device.row("ota_0");
  const sent = server.sent;
  const config = device.engine.run(`({url: ${JSON.stringify(server.url("/fw.jws"))}, keys: ${keys}, retries: 0})`);
  await device.engine.call(device.ota.update(config)).catch((error) => {
    if (!error.retry) throw error;
  });
  const { writes, bytesWritten, bytesRead } = flash.counts;
  const inSlot = flash.log.filter((op) => op.kind === "erase" && op.addr >= offset && op.addr < offset + size);
  return {
    what,
    erases: inSlot.length,
    writes,
    bytesWritten,
    bytesRead,
    fetched: server.sent - sent,
    flash: flash.deviceMsSplit(),
  };
}

/** The updates whose seconds are shown; the first is the whole one. */
export async function counts(server: Server, key: Key, image: Uint8Array): Promise<Spent[]> {
  const keys = JSON.stringify([key.jwk]);
  server.on("/fw.jws", serveFile(Buffer.from(await signManifest(claimsFor(image), key))));
  const whole = serveFile(image, { ranges: true });
  const device = createDevice();
  const factory = () => device.flash.load(new Uint8Array(2 * SECTOR).fill(0xff), device.otadata().address);

  server.on("/fw.bin", whole);
  const anew = await update(device, server, keys, "a new image");
  const sectors = Math.ceil(image.length / SECTOR);
  row(`erases of the slot, ${image.length} bytes`, anew.erases, "", sectors, true);
  row("writes, otadata included", anew.writes, "");
  row("bytes written", anew.bytesWritten, "bytes");
  row("bytes read back per sector", Math.round(anew.bytesRead / sectors), "bytes");

  factory();
  device.storage.clear();
  const present = await update(device, server, keys, "the slot holds the image");
  row("erases of the slot when it holds the image already", present.erases, "", 0, true);
  row("  bytes fetched", present.fetched, "bytes");

  const resumed = createDevice();
  server.on("/fw.bin", cutAt(image, image.length >> 1, "reset", { ranges: true, times: 1 }));
  const first = await update(resumed, server, keys, "the first half");
  const second = await update(resumed, server, keys, "resumed at the half");
  row("erases of the slot of an update cut in the middle, both runs", first.erases + second.erases, "");
  row("  bytes written by both", first.bytesWritten + second.bytesWritten, "bytes");
  device.stop();
  resumed.stop();
  return [anew, second, present];
}

/** `interpreter`: ms of this machine for a whole image, without flash; null when there is no interpreter here. */
export function seconds(all: Spent[], image: Uint8Array, interpreter: number | null): void {
  for (const { what, flash, bytesWritten } of all) {
    // what the server handed to the kernel is more than what a device takes before it closes
    const network = bytesWritten / NETWORK;
    // what is not downloaded is still read and hashed, which is what the flash time of reading stands for
    const interpreted = interpreter === null ? null : interpreter * SLOWER * Math.min(1, bytesWritten / image.length);
    const sum = flash.erase + flash.program + flash.read + network + (interpreted ?? 0);
    row(`seconds on a device by the model: ${what}`, sum / 1000, "s");
    row("  erase", flash.erase / 1000, "s");
    row("  program", flash.program / 1000, "s");
    row("  read", flash.read / 1000, "s");
    row("  network at 100 KB/s", network / 1000, "s");
    if (interpreted !== null)
      row("  interpreter while it downloads, ten times slower than here", interpreted / 1000, "s");
  }
}
