// A stand-in for Web Serial in a page, whose bytes go to a board of serial-port.ts.
import type { Page } from "playwright-core";
import type { Board } from "../factory/serial-port.ts";

/** In the page: a port whose writes and signals are told by `toBoard`, and whose reads come by `fromBoard`. */
const STAND_IN = `(() => {
  let reader = null;
  let calls = 0;
  const waiting = new Map();
  const tell = (what, value) => new Promise((resolve) => {
    waiting.set(++calls, resolve);
    toBoard(JSON.stringify([calls, what, value]));
  });
  window.answered = (id) => { waiting.get(id)?.(); waiting.delete(id); };
  window.fromBoard = (text) => reader?.enqueue(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)));
  const port = {
    readable: null, writable: null,
    getInfo: () => ({ usbVendorId: 0x10c4, usbProductId: 0xea60 }),
    async open() {
      await tell("open");
      port.readable = new ReadableStream({ start(controller) { reader = controller; }, cancel() { reader = null; } });
      port.writable = new WritableStream({
        write: (bytes) => tell("write", btoa(Array.from(bytes, (one) => String.fromCharCode(one)).join(""))),
      });
    },
    async close() { reader = null; port.readable = port.writable = null; await tell("close"); },
    setSignals: (signals) => tell("signals", signals),
  };
  Object.defineProperty(navigator, "serial", { value: { requestPort: async () => port } });
})()`;

/** The bytes of the page go to the board, and back. */
export async function connect(page: Page, { port }: Board): Promise<void> {
  const read = async () => {
    const reader = port.readable!.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done || !value) return;
      await page.evaluate(`fromBoard("${Buffer.from(value).toString("base64")}")`);
    }
  };
  const act = async (what: string, value: any) => {
    if (what === "open") {
      await port.open({ baudRate: 115200 });
      read().catch((error) => {
        if (!page.isClosed()) throw error;
      });
    } else if (what === "close") await port.close();
    else if (what === "signals") await port.setSignals(value);
    else {
      const writer = port.writable!.getWriter();
      await writer.write(Buffer.from(value, "base64"));
      writer.releaseLock();
    }
  };
  await page.exposeFunction("toBoard", async (text: string) => {
    const [id, what, value] = JSON.parse(text);
    await act(what, value);
    await page.evaluate(`answered(${id})`);
  });
  await page.addInitScript(STAND_IN);
}
