// The console of the real interpreter as a TCP port: a device at a serial bridge. What goes through can be cut and
// damaged, as on a cable, while the interpreter runs on. Its flash is that of a virtual device (device.js).
//
// The interpreter connects to the bridge itself, and passes what comes to its console through a loopback device. Standard
// input does not do: the Linux build reads it in a second thread, which fills the event buffer without a lock while the
// interpreter empties it (targets/linux/jshardware.c), and after some 30 KB an assertion ends it. Its telnet server has
// one port number for all.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net, { type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Boot, BOOTLOADERS, CHIPS, type Chip, runBootloader } from "../sim/bootloader.ts";
import { BUNDLE, type Device, mappedSegments, registersOf } from "../sim/device.ts";
import { createFlash } from "../sim/flash.ts";
import { ESPRUINO } from "./engine.ts";

export interface ConsoleOptions {
  /** Storage has the module at first. */
  module?: boolean;
  /** Runs after the device is set up. */
  program?: string;
  binary?: string;
  /** Changes what the host sends. */
  toDevice?: (text: string) => string;
  /** Is called with what the device has printed so far, at each piece of it. */
  onOutput?: (console: EngineConsole, output: string) => void;
}

export interface EngineConsole {
  /** "tcp://127.0.0.1:..." */
  readonly url: string;
  /** All that the interpreter printed. */
  readonly output: string;
  /** How many connections were accepted. */
  readonly connections: number;
  /** Has the interpreter ended, as device.js ends it at a restart? */
  readonly ended: boolean;
  /** The cable is pulled: connections end, and none is accepted for `ms`. */
  cut(ms: number): void;
  /** Ends the interpreter. Resolves with what the bootloader does with the flash that it leaves. */
  close(): Promise<Boot>;
}

/** A program of the interpreter: its console is at the other end of a connection. The interval keeps it alive. */
const bridgeTo = (port: number): string => `
setInterval(function () {}, 60000);
require("net").connect({ host: "127.0.0.1", port: ${port} }, function (wire) {
  wire.on("data", function (data) { LoopbackA.write(data); });
  LoopbackA.on("data", function (data) { wire.write(data); });
  LoopbackB.setConsole();
});`;

export async function startConsole(device: Device, options: ConsoleOptions = {}): Promise<EngineConsole> {
  const { module = true, program = "", toDevice = (text: string) => text, onOutput } = options;
  const chip = CHIPS.find((one) => one.chipId === device.board.chipId) as Chip;
  const bootOptions = { chipId: chip.chipId, kind: BOOTLOADERS.current };
  const boot = runBootloader(device.flash, bootOptions);
  const folder = mkdtempSync(join(tmpdir(), "https-ota-"));
  const flash = join(folder, "flash.bin");
  writeFileSync(flash, device.dump());
  const setup = {
    flash,
    module: module ? fileURLToPath(BUNDLE) : null,
    board: device.board.espruinoBoard,
    mappings: mappedSegments(boot, chip),
    registers: registersOf(boot, chip),
  };
  const prelude = readFileSync(new URL("device.js", import.meta.url), "utf8");
  const file = join(folder, "program.js");
  // the interval keeps the interpreter alive
  writeFileSync(
    file,
    `var SETUP = ${JSON.stringify(setup)};\n${prelude}\nsetInterval(function () {}, 60000);\n${program}\n`,
  );
  let output = "";
  let connections = 0;
  let closed = false;
  let sockets: net.Socket[] = [];
  let deaf = false;
  let wire: net.Socket | undefined;
  const bridge = net.createServer((socket) => {
    wire = socket.on("data", fromDevice).on("error", () => {});
    attached();
  });
  const server = net.createServer((socket) => {
    if (deaf) return void socket.destroy();
    connections++;
    sockets.push(socket);
    socket.on("error", () => {});
    socket.on("data", (data) => wire?.write(Buffer.from(toDevice(data.toString("latin1")), "latin1")));
  });
  const portOf = async (one: net.Server): Promise<number> => {
    await new Promise<void>((resolve) => one.listen(0, "127.0.0.1", resolve));
    return (one.address() as AddressInfo).port;
  };
  function fromDevice(data: Buffer): void {
    output += data.toString("latin1");
    for (const socket of sockets) socket.write(data);
    onOutput?.(console, output);
  }
  let attached = () => {};
  const ready = new Promise<void>((resolve) => {
    attached = resolve;
  });
  const text = `var SETUP = ${JSON.stringify(setup)};\n${prelude}\n${bridgeTo(await portOf(bridge))}\n${program}\n`;
  writeFileSync(file, text);
  const url = `tcp://127.0.0.1:${await portOf(server)}`;
  const child = spawn(options.binary ?? (ESPRUINO as string), [file], { cwd: folder, stdio: ["pipe", "pipe", "pipe"] });
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (data: Buffer) => {
      output += data.toString("latin1");
    });
  const exited = new Promise<void>((resolve) => child.on("close", () => resolve()));
  const console: EngineConsole = {
    url,
    get output() {
      return output;
    },
    get ended() {
      return child.exitCode !== null;
    },
    get connections() {
      return connections;
    },
    cut(ms) {
      for (const socket of sockets) socket.destroy();
      sockets = [];
      deaf = true;
      setTimeout(() => {
        deaf = false;
      }, ms);
    },
    async close() {
      if (!closed) {
        closed = true;
        child.kill("SIGKILL");
        for (const socket of sockets) socket.destroy();
        server.close();
        bridge.close();
        await exited;
        device.flash.load(readFileSync(flash));
        rmSync(folder, { recursive: true, force: true });
      }
      return runBootloader(createFlash({ from: device.flash.snapshot() }), bootOptions);
    },
  };
  await Promise.race([ready, exited]);
  return console;
}
