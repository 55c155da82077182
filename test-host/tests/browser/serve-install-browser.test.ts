// From the page of serve to an install page by its link, and a board that is installed there.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { before, test } from "node:test";
import { eventually, until } from "../../support/fixture.ts";
import { buildImage, noise } from "../../support/images.ts";
import { succeeds, workshop } from "../cli/cli-run.ts";
import { server } from "../cli/cli-serving.ts";
import { furnish, PROGRAM, sign } from "../factory/factory-run.ts";
import { createBoard } from "../factory/serial-port.ts";
import { emptyPage, open, picture, skip } from "./browser.ts";
import { connect } from "./web-serial.ts";

const shop = workshop();
const serve = server(shop);

before(async () => {
  if (skip) return;
  await furnish(shop);
  const names = ["--project", "<b>lamp</b>", "--app-version", "1"];
  await sign(shop, "prog", PROGRAM, "--chip", "esp32", ...names);
  mkdirSync(shop.at("www"));
  shop.put("www/lamp.bin", buildImage({ size: 70_000, seed: 2, descriptor: { version: "2.0.0" } }));
  const args = ["--espruino", "espruino", "--release", "prog/app.jws", "--page", "--title", "<i>Lamp</i>"];
  succeeds(await shop.run("factory", "--board", "esp32", ...args, "--out", "www/new lamp"));
});

test("from serve's page a link leads to the install page, which installs a board", { skip }, async (t) => {
  for (const more of [["--http"], []]) {
    const served = await serve(t, "www", ...more);
    const { page, complaints } = await emptyPage(t, { viewport: { width: 1280, height: 900 } });
    const flash = noise(7, 0x400000);
    const board = createBoard({ chip: "esp32", flash });
    await connect(page, board);
    await page.goto(`${served.url}/`);
    const section = page.getByRole("region", { name: "Install a new board" });
    await section.waitFor();
    assert.match((await section.textContent()) ?? "", /<b>lamp<\/b> 1: <i>Lamp<\/i> \(ESP32\)/);
    assert.match(
      (await section.textContent()) ?? "",
      /In Chrome or Edge on a computer, with the board on its USB port\./,
    );
    await picture(t, page, `serve-install-${more.length ? "http" : "https"}`);
    await section.getByRole("link").click();
    await page.waitForURL(`${served.url}/new%20lamp/index.html`);
    await eventually("it knows the board", async () => (await page.locator("#parts tr").count()) === 5);
    await page.locator("#install").click();
    const status = page.locator("#status");
    await eventually("it says how it ended", async () => /Done|again|in use/.test((await status.textContent()) ?? ""));
    assert.match((await status.textContent()) ?? "", /^Done: <b>lamp<\/b> 1 is installed/);
    const whole = shop.get("www/new lamp/factory.bin");
    assert.ok(Buffer.from(flash.subarray(0, whole.length)).equals(whole));
    assert.deepEqual(complaints, []);
    await served.end();
  }
});

test("serve's page has no program when there is no release", { skip }, async (t) => {
  const child = shop.start("serve", "www/new lamp", "--http", "--host", "127.0.0.1", "--port", "0");
  t.after(() => void child.kill("SIGKILL"));
  let out = "";
  child.stdout?.setEncoding("utf8").on("data", (text) => {
    out += text;
  });
  await until("it says where", () => /To install/.test(out) || child.exitCode !== null);
  const [, url] = /(http:\/\/127\.0\.0\.1:\d+)\//.exec(out) ?? assert.fail(out);
  const { page, complaints } = await open(t, `${url}/`, { viewport: { width: 1280, height: 900 } });
  await page.getByRole("region", { name: "Install a new board" }).waitFor();
  for (const name of ["Program for the device", "Releases"])
    assert.equal(await page.getByRole("region", { name }).isVisible(), false, name);
  assert.deepEqual(complaints, []);
});

const LAN = Object.values(networkInterfaces())
  .flatMap((one) => one ?? [])
  .find(({ family, internal }) => family === "IPv4" && !internal)?.address;

test("where a browser gives no serial port, both pages say where it does", {
  skip: skip || (LAN ? false : "no network"),
}, async (t) => {
  const child = shop.start("serve", "www", "--http", "--port", "0");
  t.after(() => void child.kill("SIGKILL"));
  let out = "";
  child.stdout?.setEncoding("utf8").on("data", (text) => {
    out += text;
  });
  await until("it says where", () => /Web IDE/.test(out) || child.exitCode !== null);
  const port = /http:\/\/localhost:(\d+)\//.exec(out)?.[1];
  const { page, complaints } = await open(t, `http://${LAN}:${port}/`, { viewport: { width: 390, height: 844 } });
  const section = page.getByRole("region", { name: "Install a new board" });
  await section.waitFor();
  const local = `http://localhost:${port}/new%20lamp/index.html`;
  assert.match(
    (await section.textContent()) ?? "",
    /This address cannot install: .*On the computer that runs serve, open http:/,
  );
  assert.equal(await section.getByRole("link", { name: local }).getAttribute("href"), local);
  await section.getByRole("link", { name: "<b>lamp</b> 1" }).click();
  await page.locator("#no-secure").waitFor();
  assert.equal(await page.locator("#install").isVisible(), false);
  assert.equal(await page.locator("#local").getAttribute("href"), local);
  await picture(t, page, "not-secure");
  assert.deepEqual(complaints, []);
});
