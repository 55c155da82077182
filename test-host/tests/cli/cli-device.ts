// A virtual device whose console is a TCP port, as push and init speak to it.
import net, { type AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { createDevice, type Device, type DeviceOptions } from "../../sim/device.ts";

/** The console as jsinteractive.c reads it, as far as push uses it: ESC [2H clears the line, DLE is for the echo. */
export async function consoleOf(t: TestContext, device: Device): Promise<string> {
  let line = "";
  let printed = 0;
  const server = net.createServer((socket) => {
    const timer = setInterval(() => {
      const lines = device.engine.console.slice(printed);
      printed += lines.length;
      if (lines.length) socket.write(`${lines.join("\r\n")}\r\n`);
    }, 1);
    socket.on("close", () => clearInterval(timer));
    socket.on("error", () => {});
    socket.on("data", (data) => {
      const parts = (line + data.toString("latin1")).split("\n");
      line = parts.pop() as string;
      for (const part of parts) {
        const code = part.slice(part.lastIndexOf("\x1b[2H") + 1).replace("[2H", "");
        try {
          device.engine.run(code.replace("\x10", ""));
        } catch (error) {
          socket.write(`Uncaught ${error}\r\n`);
        }
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.close();
    device.stop();
  });
  return `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

export async function open(t: TestContext, options?: DeviceOptions): Promise<{ device: Device; url: string }> {
  const device = createDevice(options).boot();
  return { device, url: await consoleOf(t, device) };
}
