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
import { furnish, PROGRAM, putBuild, sign } from "../factory/factory-run.ts";
import { type Board, createBoard } from "../factory/serial-port.ts";
import { eventually } from "../../support/fixture.ts";
import { emptyPage, type Opened, picture, skip } from "./browser.ts";
import { connect } from "./web-serial.ts";

const HOSTILE_TITLE = "<img src=x onerror=alert(2)> lamp";
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
  putBuild(shop, "espruino-c3", "esp32c3");
  await sign(shop, "prog-c3", PROGRAM, "--chip", "esp32c3", ...hostile);
  const several = [
    ["esp32", "espruino", "prog", HOSTILE_TITLE],
    ["esp32-dual", "espruino", "prog", "Two slots"],
    ["esp32c3", "espruino-c3", "prog-c3", "Small one"],
  ];
  for (const [board, build, release, title] of several) {
    const common = ["--espruino", build, "--release", `${release}/app.jws`, "--title", title];
    succeeds(await shop.run("factory", "--board", board, ...common, "--out", `site/${board}`));
  }
  succeeds(await shop.run("install-page", "site"));
  server = createServer((request, response) => {
    // "/" is the page of one board, and /site/ that of several
    const asked = (request.url as string).replace(/\/$/, "/index.html");
    const name = path.normalize(asked.startsWith("/site/") ? asked : `/out${asked}`);
    try {
      const bytes = readFileSync(shop.at(`.${name}`));
      response.writeHead(200, { "Content-Type": TYPES[path.extname(name)] ?? "application/octet-stream" }).end(bytes);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://localhost:${(server.address() as AddressInfo).port}/`;
});
after(() => server.close());

const text = async (page: Page, id: string): Promise<string> => (await page.locator(`#${id}`).textContent()) ?? "";
const visible = (page: Page, id: string): Promise<boolean> => page.locator(`#${id}`).isVisible();

async function openInstall(t: TestContext, board?: Board, place = ""): Promise<Opened> {
  const opened = await emptyPage(t);
  const { page } = opened;
  if (board) await connect(page, board);
  await page.goto(url + place);
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
    'this is an ESP32-C3, and the files of "ESP32, stock table" are for an ESP32: nothing was written',
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
  assert.match(await text(page, "command"), /--chip esp32 --port PORT --baud 460800 write-flash 0x0 factory\.bin/);
  assert.match(await text(page, "by-hand"), /With esptool 4 write esptool\.py and write_flash\./);
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

// --- Several boards --------------------------------------------------------------------------------------------------

const SITE = "site/";

async function press(page: Page): Promise<string> {
  await page.locator("#install").click();
  await eventually("it says how it ended", async () =>
    /Done|othing was written|again|first/.test(await text(page, "status")),
  );
  return text(page, "status");
}

const wholeOf = (name: string) => shop.get(`site/${name}/factory.bin`);

test("the page finds out the board whose chip no other one has", { skip }, async (t) => {
  const flash = noise(7, 0x400000);
  const { page, complaints } = await openInstall(t, createBoard({ chip: "esp32c3", flash }), SITE);
  assert.deepEqual([await visible(page, "known"), await visible(page, "later")], [false, true]);
  assert.equal(await text(page, "board"), "that you choose");
  assert.match(await press(page), /^Done: .* \(Small one\) is installed/, await text(page, "log"));
  assert.ok(Buffer.from(flash.subarray(0, wholeOf("esp32c3").length)).equals(wholeOf("esp32c3")));
  assert.equal(await text(page, "board"), "Small one (ESP32-C3, 4 MB of flash)");
  assert.match(await text(page, "parts"), /esp32c3\/firmware\.bin/);
  assert.match(await text(page, "command"), /--chip esp32c3 /);
  assert.equal(await page.locator("#whole").getAttribute("href"), "esp32c3/factory.bin");
  assert.ok(await page.getByLabel("Find out").isChecked(), "the next board is found out too");
  assert.deepEqual(complaints, []);
});

test("a chip of several boards is not written before the user has chosen", { skip }, async (t) => {
  const flash = noise(7, 0x400000);
  const { page, complaints } = await openInstall(t, createBoard({ chip: "esp32", flash }), SITE);
  assert.match(
    await press(page),
    /^this is an ESP32, and several boards have one: choose "<img src=x .* or "Two slots"\. Nothing/,
  );
  assert.deepEqual(flash, noise(7, 0x400000));
  await page.getByLabel("Small one").check();
  assert.equal(
    await press(page),
    'this is an ESP32, and the files of "Small one" are for an ESP32-C3: nothing was written',
  );
  assert.deepEqual(flash, noise(7, 0x400000));
  await page.getByLabel("Two slots").check();
  await eventually("its parts are shown", async () => /esp32-dual\/firmware\.bin/.test(await text(page, "parts")));
  assert.match(await press(page), /^Done: .* \(Two slots\) is installed/, await text(page, "log"));
  assert.ok(Buffer.from(flash.subarray(0, wholeOf("esp32-dual").length)).equals(wholeOf("esp32-dual")));
  assert.deepEqual(complaints, []);
});

test("the choice is a group of radio buttons that fits a phone, with names as text", { skip }, async (t) => {
  const { page, complaints } = await openInstall(t, createBoard({ chip: "esp32", flash: new Uint8Array(16) }), SITE);
  const group = page.getByRole("group", { name: "Which board is it?" });
  assert.deepEqual(
    (await group.locator("label").allInnerTexts()).map((one) => one.replace(/\s+/g, " ").trim()),
    [
      "Find out by the chip, when the board is connected",
      `${HOSTILE_TITLE} ESP32, Espruino build ESP32, 4 MB of flash`,
      "Two slots ESP32, Espruino build ESP32, 4 MB of flash",
      "Small one ESP32-C3, 4 MB of flash",
    ],
  );
  assert.equal(await group.getByRole("radio").count(), 4);
  assert.equal(await page.evaluate('document.querySelectorAll("main img, main b").length'), 0);
  await page.getByLabel("Two slots").check();
  await page.keyboard.press("ArrowDown");
  assert.ok(await page.getByLabel("Small one").isChecked(), "the keyboard moves the choice");
  await eventually("its parts are shown", () => visible(page, "known"));
  for (const width of [390, 1280]) {
    await page.setViewportSize({ width, height: 900 });
    assert.ok((await page.evaluate<number>("document.documentElement.scrollWidth")) <= width, `wider than ${width}`);
    await picture(t, page, `choice-${width}`);
  }
  await page.emulateMedia({ colorScheme: "dark" });
  await picture(t, page, "choice-dark");
  assert.deepEqual(complaints, []);
});

test("boards of one chip alone: the user has to choose first", { skip }, async (t) => {
  const manifest = JSON.parse(shop.get("site/manifest.json").toString());
  const boards = manifest.boards.filter((board: any) => board.chipFamily === "ESP32");
  const flash = noise(7, 0x400000);
  const opened = await emptyPage(t);
  const { page } = opened;
  await connect(page, createBoard({ chip: "esp32", flash }));
  await page.route("**/site/manifest.json", (route) => route.fulfill({ json: { ...manifest, boards } }));
  await page.goto(url + SITE);
  await eventually("the boards are there", () => visible(page, "choice"));
  assert.deepEqual(
    [await page.getByRole("radio").count(), await page.locator(":checked").count()],
    [2, 1],
    "erase alone",
  );
  assert.equal(await press(page), "Choose the board first.");
  assert.deepEqual(flash, noise(7, 0x400000));
});
