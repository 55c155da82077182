// The install page in a real browser: the built bundle, its content security policy and its HTML. The serial port is made up:
// in the page a stand-in for Web Serial, whose bytes go to the chip of serial-port.ts.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { after, before, test, type TestContext } from "node:test";
import type { Page } from "playwright-core";
import { noise } from "../../support/images.ts";
import { succeeds, workshop } from "../cli/cli-run.ts";
import { furnish, PROGRAM, sign } from "../factory/factory-run.ts";
import { type Board, createBoard } from "../factory/serial-port.ts";
import { eventually } from "../../support/fixture.ts";
import { emptyPage, type Opened, skip } from "./browser.ts";

const shop = workshop();
let server: Server;
let url: string;
const TYPES: Record<string, string> = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };
before(async () => {
  await furnish(shop);
  const hostile = ["--project", "<img src=x onerror=alert(1)>", "--app-version", "<b>1.0</b>"];
  await sign(shop, "prog", PROGRAM, "--chip", "esp32", ...hostile);
  const args = ["--espruino", "espruino", "--release", "prog/app.jws", "--page", "--out", "out"];
  succeeds(await shop.run("factory", "--board", "esp32", ...args));
  server = createServer((request, response) => {
    const name = request.url === "/" ? "index.html" : path.basename(request.url as string);
    try {
      const bytes = readFileSync(shop.at(`out/${name}`));
      response.writeHead(200, { "Content-Type": TYPES[path.extname(name)] ?? "application/octet-stream" }).end(bytes);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://localhost:${(server.address() as AddressInfo).port}/`;
});
after(() => server.close());

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
async function connect(page: Page, { port }: Board): Promise<void> {
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

const text = async (page: Page, id: string): Promise<string> => (await page.locator(`#${id}`).textContent()) ?? "";
const visible = (page: Page, id: string): Promise<boolean> => page.locator(`#${id}`).isVisible();

async function openInstall(t: TestContext, board?: Board): Promise<Opened> {
  const opened = await emptyPage(t);
  const { page } = opened;
  if (board) await connect(page, board);
  await page.goto(url);
  await eventually("the page has read manifest.json", async () => (await text(page, "title")) !== "Install");
  return opened;
}

test("one click installs the board, shows progress and then its console", { skip }, async (t) => {
  const flash = noise(7, 0x400000);
  const board = createBoard({ chip: "esp32", flash, greeting: "Espruino <b>2v27</b>\r\n>" });
  const { page, complaints } = await openInstall(t, board);
  await page.locator("#install").click();
  await eventually("it says how it ended", async () => /Done|board does|again|in use/.test(await text(page, "status")));
  assert.match(await text(page, "status"), /^Done: .* is installed, and the board starts\.$/, await text(page, "log"));
  const whole = shop.get("out/factory.bin");
  assert.ok(Buffer.from(flash.subarray(0, whole.length)).equals(whole));
  assert.equal(await text(page, "percent"), "100 %");
  assert.equal(await page.evaluate('document.getElementById("progress").value'), 1);
  await eventually("the console is open", () => visible(page, "send"));
  await board.port.setSignals({ dataTerminalReady: false, requestToSend: true });
  await board.port.setSignals({ dataTerminalReady: false, requestToSend: false });
  await eventually(
    "it shows what the board prints",
    async () => (await text(page, "screen")) === "Espruino <b>2v27</b>\n>",
  );
  await page.locator("#line").fill("print(1)");
  await page.locator("#send button").click();
  await eventually("the line has come", async () => board.typed === "print(1)\n");
  assert.deepEqual(complaints, []);
});

test("a board that is not the right one is told, and left as it is", { skip }, async (t) => {
  const flash = noise(7, 0x400000);
  const { page, complaints } = await openInstall(t, createBoard({ chip: "esp32c3", flash }));
  await page.locator("#install").click();
  await eventually("it says so", async () => /nothing was written/.test(await text(page, "status")));
  assert.equal(
    await text(page, "status"),
    "this is an ESP32-C3, and these files are for an ESP32: nothing was written",
  );
  assert.equal(await page.evaluate('document.getElementById("status").className'), "bad");
  assert.deepEqual(flash, noise(7, 0x400000));
  assert.deepEqual(complaints, []);
});

test("names from a file are shown as text, and the page fits a phone", { skip }, async (t) => {
  const { page, complaints } = await openInstall(t, createBoard({ chip: "esp32", flash: new Uint8Array(16) }));
  assert.equal(await text(page, "title"), "Install <img src=x onerror=alert(1)> <b>1.0</b>");
  assert.equal(await page.evaluate('document.querySelectorAll("main img, main b").length'), 0);
  for (const width of [390, 1280]) {
    await page.setViewportSize({ width, height: 900 });
    assert.ok(
      (await page.evaluate<number>("document.documentElement.scrollWidth")) <= width,
      `wider than ${width} pixels`,
    );
    assert.ok(await visible(page, "install"));
  }
  assert.equal(await page.evaluate('document.querySelectorAll("#parts tr").length'), 5);
  assert.match(await text(page, "command"), /--chip esp32 --port PORT --baud 460800 write_flash 0x0 factory\.bin/);
  assert.deepEqual(complaints, []);
});

test("a browser without Web Serial is told what to do", { skip }, async (t) => {
  const { page } = await emptyPage(t);
  await page.addInitScript("delete Navigator.prototype.serial");
  await page.goto(url);
  await eventually("it says so", () => visible(page, "no-serial"));
  assert.deepEqual([await visible(page, "install"), await visible(page, "no-secure")], [false, false]);
  assert.match(await text(page, "no-serial"), /Chrome, Edge or Opera on a computer/);
});
