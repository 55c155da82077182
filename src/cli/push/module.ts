// The module on the device: is it there, and how it comes there.
import { printable, refuse } from "../ui/errors.ts";
import type { Console } from "./console.ts";
import { inspection } from "./device-program.ts";
import { builtFile, MODULE_FILE, sumOf, upload } from "./storage-file.ts";

export interface Info {
  board: string;
  version: string;
  esp32: boolean;
  /** require("Flash") is there */
  flash?: boolean;
  /** the device's program has required the module */
  loaded: boolean;
  /** of the stored module; 0 when there is none */
  size: number;
  sum: number;
  /** require("https-ota") gives the module */
  works?: boolean;
  why?: string;
}

export async function inspectDevice(console: Console, port: string, load: boolean): Promise<Info> {
  const info = (await console.command("e", inspection(load))) as Info;
  const what = printable(`${info.board}, Espruino ${info.version}`);
  if (!info.esp32) refuse(port, `${what}: expected an ESP32, which has the global ESP32`);
  if (!info.flash) refuse(port, `${what}: this build has no module Flash, so it cannot write its flash`);
  return info;
}

export interface ModuleOptions {
  port: string;
  /** put this one in the place of the one that is there */
  replace: boolean;
  say(text: string): void;
  progress(total: number): (done: number) => void;
  /** Ends the program of the device, so that nothing runs from the file, and makes a new console. */
  reset(): Promise<Console>;
}

/** Resolves with the console of a device whose require("https-ota") gives the module. */
export async function provideModule(console: Console, options: ModuleOptions): Promise<Console> {
  const { port, replace, say } = options;
  const own = builtFile(MODULE_FILE);
  const info = await inspectDevice(console, port, !replace);
  const same = info.size === own.length && info.sum === sumOf(own);
  const where = printable(`${info.board}, Espruino ${info.version}`);
  if (replace && same) say(`${port}: ${where}, has this https-ota already`);
  else if (info.works) {
    const other = info.size ? `another https-ota, ${info.size} bytes: --module replaces it` : "an https-ota of its own";
    say(`${port}: ${where}, ${same ? "with https-ota" : `has ${other}`}`);
  } else {
    // a file from which a program runs must not be replaced
    const device = info.loaded ? await options.reset() : console;
    say(`${port}: ${where}, gets https-ota into its Storage, ${own.length} bytes`);
    await upload(device, port, { name: "https-ota", what: "the module", text: own }, options.progress(own.length));
    const now = await inspectDevice(device, port, true);
    if (now.size !== own.length || now.sum !== sumOf(own))
      refuse(port, `Storage has another module than was sent: ${now.size} of ${own.length} bytes`);
    if (!now.works) refuse(port, `the module does not run on this device: ${printable(now.why ?? "no reason given")}`);
    return device;
  }
  if (replace && same) {
    const now = await inspectDevice(console, port, true);
    if (!now.works) refuse(port, `the module does not run on this device: ${printable(now.why ?? "no reason given")}`);
  }
  return console;
}
