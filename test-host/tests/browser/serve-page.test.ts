// The page of serve in a real browser: a virtual device's update from start to end, the program, hostile names.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import type http from "node:http";
import { before, type TestContext, test } from "node:test";
import type { Locator, Page } from "playwright-core";
import { createDevice, type Device } from "../../sim/device.ts";
import { buildImage, mutations } from "../../support/images.ts";
import { eventually, until } from "../../support/fixture.ts";
import { succeeds, workshop } from "../cli/cli-run.ts";
import { ask, type Served, server } from "../cli/cli-serving.ts";
import { type Opened, open, picture, skip } from "./browser.ts";
import { slowProxy } from "./slow-proxy.ts";

const shop = workshop();
const serve = server(shop);
const IMAGE = buildImage({ size: 300_000, seed: 2, descriptor: { version: "2.0.0" } });
const HOSTILE = "<img src=x onerror=alert(1)>";
/** Wide and narrow. */
const SIZES = { wide: { width: 1280, height: 900 }, narrow: { width: 390, height: 844 } };

before(async () => {
  if (skip) return;
  succeeds(await shop.run("keygen", "--out", "key.pem", "--bits", "2048"));
  mkdirSync(shop.at("www"));
  shop.put("www/lamp.bin", IMAGE);
  shop.put("www/broken.bin", mutations.checksum(buildImage({ seed: 3 })));
  mkdirSync(shop.at("program"));
  shop.put("program/app.js", 'print("hello")\n');
  shop.put("program/hours.js", "exports.of = 24;\n");
});

function start(t: Pick<TestContext, "after">): Device {
  const device = createDevice().boot();
  t.after(() => device.stop());
  device.engine.addModule("Wifi", "exports.connect = function (name, options, callback) { callback(null); };");
  return device;
}

const textOf = async (part: Locator): Promise<string> => (await part.allInnerTexts()).join("\n");

const programOn = (page: Page): Promise<string> => page.locator("#program").inputValue();

async function ready(page: Page): Promise<void> {
  await page.locator('#connection[data-state="on"]').waitFor();
  await eventually("the program is there", async () => (await programOn(page)).includes("require"));
}

async function openReady(t: TestContext, { url }: Served, options = {}): Promise<Opened> {
  const opened = await open(t, `${url}/`, options);
  await ready(opened.page);
  return opened;
}

async function fitsWidth(page: Page): Promise<void> {
  const [content, window] = await page.evaluate<[number, number]>(
    "[document.documentElement.scrollWidth, document.documentElement.clientWidth]",
  );
  assert.ok(content <= window, `${content} px of content in ${window} px`);
}

test("the page shows a device's update from start to end", { skip }, async (t) => {
  const served = await serve(t, "www", "--key", "key.pem", "--http");
  const { page, complaints } = await openReady(t, served, { viewport: SIZES.wide });
  assert.match(await textOf(page.locator("#releases")), /espruino 2\.0\.0[\s\S]*fsverity-sha256:[0-9a-f]{64}/);
  assert.match(await textOf(page.locator("#not-served")), /broken\.bin: offset 0x\w+: checksum/);
  assert.equal(await page.locator("#no-devices").isVisible(), true);
  const device = start(t);
  const port = await slowProxy(t, served.port);
  const program = (await programOn(page)).replace(`:${served.port}/`, `:${port}/`);
  device.engine.run(program);
  const card = page.locator("#devices article");
  const bar = card.locator("progress");
  await eventually("the bar is on its way", async () => {
    if (!(await bar.count()) || (await bar.getAttribute("max")) !== "300000") return false;
    const value = Number(await bar.getAttribute("value"));
    return value > 30_000 && value < 290_000;
  });
  assert.match(
    await textOf(card),
    /^240ac400-0001[\s\S]*127\.0\.0\.1 · Espruino[\s\S]*\/lamp\.bin (?:so far )?\d+ %, [\d,]+ of 300,000 bytes/,
  );
  await picture(t, page, "wide-running");
  await until("the device restarts", () => device.rebootAsked);
  await card.getByText(/^complete, 300,000 bytes in/).waitFor();
  assert.equal(await bar.getAttribute("value"), "300000");
  const points = await card.locator("polyline").getAttribute("points");
  assert.ok((points ?? "").split(" ").length > 5, `the chart has few points: ${points}`);
  assert.match((await card.locator("svg").getAttribute("aria-label")) ?? "", /300,000 of 300,000 bytes in/);
  assert.match(await textOf(page.locator("#results")), /240ac400-0001, \/lamp\.bin: complete/);
  const rows = (await page.locator("#requests tbody tr").allInnerTexts()).map((row) => row.replace(/\s+/g, " "));
  assert.match(rows[0], /240ac400-0001 \/lamp\.bin complete/);
  assert.match(rows.at(-1) ?? "", /\/lamp\.bin\.jws complete/);
  // what is refused is told with its reason
  await ask(`${served.url}/broken.bin`);
  await page
    .locator("#requests")
    .getByText(/refused, 422: broken\.bin: offset/)
    .waitFor();
  await picture(t, page, "wide-done");
  await fitsWidth(page);
  await page.setViewportSize(SIZES.narrow);
  await fitsWidth(page);
  await picture(t, page, "narrow-done");
  await page.emulateMedia({ colorScheme: "dark" });
  await picture(t, page, "narrow-dark");
  await page.setViewportSize(SIZES.wide);
  await picture(t, page, "wide-dark");
  // who comes later sees the same
  await page.reload();
  await card.getByText(/^complete, 300,000 bytes in/).waitFor();
  assert.deepEqual(complaints, []);
});

test("the copy button copies the program, with and without a clipboard", { skip }, async (t) => {
  const served = await serve(t, "www", "--key", "key.pem");
  const permissions = ["clipboard-read", "clipboard-write"];
  const { page, complaints } = await openReady(t, served, { permissions });
  const said = served.out();
  const program = await programOn(page);
  assert.ok(said.includes(program), "not the program that serve prints");
  const copied = () => page.evaluate<string>("navigator.clipboard.readText()");
  const press = async () => {
    await page.locator("#copy").click();
    await page.locator("#copied").getByText("Copied.").waitFor();
  };
  await press();
  assert.equal(await copied(), program);
  // as on http:// of another computer
  await page.evaluate("navigator.clipboard.writeText('')");
  await page.evaluate("navigator.clipboard.writeText = () => Promise.reject(new Error('no'))");
  await page.locator("#release").focus();
  await press();
  assert.equal(await copied(), program);
  assert.deepEqual(complaints, []);
});

test("hostile names of files and devices stay text", { skip }, async (t) => {
  mkdirSync(shop.at("hostile"));
  const name = `${HOSTILE.replace("src=x ", "src ")}.bin`;
  shop.put(`hostile/${name}`, buildImage({ seed: 5, descriptor: { project: HOSTILE, version: "</h3><b>1" } }));
  shop.put(`hostile/broken ${name}`, mutations.checksum(buildImage({ seed: 6 })));
  const served = await serve(t, "hostile", "--http");
  const { page, complaints } = await openReady(t, served);
  const visit = (path: string, headers: http.OutgoingHttpHeaders) => ask(served.url + path, { headers });
  const agent = `${HOSTILE}\u0085"'><script>alert(2)</script>`;
  await visit(`/${encodeURIComponent(name)}`, { "User-Agent": agent, "X-Device": HOSTILE });
  await visit(`/${encodeURIComponent(`broken ${name}`)}`, { "User-Agent": "x", "X-Device": `${HOSTILE}2` });
  await visit("/<script>alert(3)</script>", { "User-Agent": HOSTILE });
  await visit("/%3Cscript%3Ealert(4)%3C/script%3E%E2%80%AE", { "User-Agent": `${"long".repeat(1000)}` });
  await eventually("all are shown", async () => (await page.locator("#requests tbody tr").count()) === 4);
  const text = await textOf(page.locator("body"));
  for (const shown of [HOSTILE, `${HOSTILE}2`, "</h3><b>1", "<script>alert(3)</script>", "\\x85", "\ufffd"])
    assert.ok(text.includes(shown), `${shown} is not shown as text: ${text}`);
  assert.equal(await page.locator("img").count(), 1, "an image besides the QR code");
  assert.equal(await page.locator("script").count(), 1);
  assert.equal(await page.locator("body b").count(), 0);
  await page.setViewportSize(SIZES.narrow);
  await fitsWidth(page);
  await picture(t, page, "narrow-hostile");
  assert.deepEqual(complaints, []);
});

test("a program that changes appears by itself, and a server that ends is told", { skip }, async (t) => {
  const signed = ["--files", "program", "--entry", "app.js", "--chip", "esp32", "--key", "key.pem", "--http"];
  const served = await serve(t, ...signed);
  const { page, complaints } = await openReady(t, served, { viewport: SIZES.wide });
  const releases = page.locator("#releases");
  await releases.getByText("2 files, 32 bytes").click();
  assert.match(await textOf(releases), /hours\.js\s+17\s+module hours\s+[0-9a-f]{64}/);
  await picture(t, page, "wide-program");
  shop.put("program/app.js", 'print("hello world")\n');
  await releases.getByText("2 files, 38 bytes").waitFor();
  assert.equal(await releases.locator("details[open]").count(), 1, "the list was closed");
  shop.put("program/app.js", "");
  await page.locator("#not-served").getByText("the entry is empty").waitFor();
  assert.deepEqual(complaints, []);
  await served.end();
  await page.locator('#connection[data-state="off"]').waitFor();
});

test("the page can be used by keyboard, and has landmarks, headings and labels", { skip }, async (t) => {
  const served = await serve(t, "www", "--key", "key.pem", "--http");
  await ask(`${served.url}/lamp.bin`);
  const { page, complaints } = await openReady(t, served, { viewport: SIZES.narrow });
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate("document.activeElement.className"), "skip");
  await page.locator("#requests tbody tr").waitFor();
  const visited = new Set<string>();
  for (let i = 0; i < 12; i++) {
    await page.keyboard.press("Tab");
    const [id, outline] = await page.evaluate<[string, string]>(
      "[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]",
    );
    visited.add(id);
    if (id) assert.equal(outline, "solid", `the focus on ${id} is not seen`);
  }
  for (const id of ["release", "address", "copy", "program", "here"]) assert.ok(visited.has(id), `no way to ${id}`);
  for (const name of ["Devices", "Transfers", "Releases", "Program for the device"])
    assert.equal(await page.getByRole("region", { name, exact: true }).count(), 1, name);
  for (const name of ["Release", "Address", "Program"])
    assert.ok(await page.getByLabel(name, { exact: true }).count(), name);
  assert.deepEqual(await page.getByRole("columnheader").allInnerTexts(), ["Time", "Device", "File", "Result"]);
  assert.equal(await page.getByRole("cell").count(), 4);
  assert.equal(await page.getByRole("main").count(), 1);
  assert.equal(await page.getByRole("heading", { level: 1 }).count(), 1);
  assert.ok(await page.locator("#results[aria-live=polite]").count());
  assert.deepEqual(complaints, []);
});
