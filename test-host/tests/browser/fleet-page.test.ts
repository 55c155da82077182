// The table of reports on the page of serve: a device that is rolled back while somebody looks, hostile names, wide and narrow.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { before, type TestContext, test } from "node:test";
import type { Page } from "playwright-core";
import { createFixture, settle } from "../../support/fixture.ts";
import { buildImage } from "../../support/images.ts";
import { succeeds, workshop } from "../cli/cli-run.ts";
import { jsonOf, post, type Served, server } from "../cli/cli-serving.ts";
import { type Opened, open, picture, skip } from "./browser.ts";

const shop = workshop();
const serve = server(shop);
const SIZES = { wide: { width: 1280, height: 900 }, narrow: { width: 390, height: 844 } };
const HOSTILE = "<img src=x onerror=alert(1)>";

before(async () => {
  if (skip) return;
  mkdirSync(shop.at("www"));
  shop.put("www/lamp.bin", buildImage({ seed: 2, descriptor: { project: "lamp", version: "2.0.0" } }));
  succeeds(await shop.run("keygen", "--out", "key.pem", "--bits", "2048"));
});

const collecting = (t: TestContext, file: string) => serve(t, "www", "--key", "key.pem", "--http", "--collect", file);

async function openReady(t: TestContext, { url }: Served): Promise<Opened> {
  const opened = await open(t, `${url}/`, { viewport: SIZES.wide });
  await opened.page.locator('#connection[data-state="on"]').waitFor();
  return opened;
}

const digest = (n: number) => `fsverity-sha256:${String(n).repeat(64)}`;
const SLOTS = [{ label: "ota_0", size: 1507328, state: 2, version: "2v29" }];
const COMMON = {
  board: "ESP32",
  version: "2v29",
  running: "ota_0",
  boot: "ota_0",
  next: "ota_1",
  state: 2,
  sequence: 1796025994,
};
const RELEASE = { version: "1.4.0", entry: "app.js", files: ["app.js", "lib/sensor", "logo.img"] };
const MEMORY = { free: 4312, storage: { free: 412_380, trash: 18_204 }, slots: SLOTS };

/** A workshop: what devices say of themselves. */
const WORKSHOP = [
  { serial: "240ac4-0a1b01", ...COMMON, ...MEMORY, release: RELEASE, last: "ESP_OK" },
  { serial: "240ac4-0a1b02", ...COMMON, ...MEMORY, release: RELEASE, last: "" },
  {
    ...{ serial: "240ac4-0a1b03", ...COMMON, ...MEMORY, state: 1, last: "", release: { ...RELEASE, version: "1.5.0" } },
    trial: { boots: 2, previous: "ota_1" },
  },
  {
    ...{ serial: "240ac4-0a1b04", ...COMMON, ...MEMORY, release: RELEASE, last: "" },
    ...{ rolledBack: [digest(1), digest(2)], rollbackReason: "Error: no sensor on I2C1, after 3 tries" },
  },
  {
    ...{ serial: "240ac4-0a1b05", ...COMMON, ...MEMORY, release: null, free: 812 },
    last: "ESP_ERR_HTTP_CONNECT: connection: no response from 192.168.1.10",
  },
  {
    ...{ serial: "240ac4-0a1b06", ...COMMON, ...MEMORY, release: null, boot: "ota_1", last: "ESP_OK" },
    differs: "slot ota_1 was selected, and not restarted into since",
  },
];

const rowsOf = async (page: Page): Promise<string[]> =>
  (await page.locator("#fleet-table tbody tr").allInnerTexts()).map((row) => row.replace(/\s+/g, " ").trim());

async function fitsWidth(page: Page): Promise<void> {
  const [content, window] = await page.evaluate<[number, number]>(
    "[document.documentElement.scrollWidth, document.documentElement.clientWidth]",
  );
  assert.ok(content <= window, `${content} px of content in ${window} px`);
}

/** Wide and narrow, light and dark. */
async function pictures(t: TestContext, page: Page, name: string): Promise<void> {
  for (const scheme of ["light", "dark"] as const)
    for (const [width, size] of Object.entries(SIZES)) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.setViewportSize(size);
      await fitsWidth(page);
      await picture(t, page, `${name}-${width}-${scheme}`);
    }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize(SIZES.wide);
}

test("the table shows each device, and first those that were rolled back or failed", { skip }, async (t) => {
  const served = await collecting(t, "workshop.jsonl");
  const { page, complaints } = await openReady(t, served);
  await page.getByText("No device has reported yet.").waitFor();
  const { url } = await jsonOf(`${served.url}/-/api/reports`);
  await page.getByText(`require("https-ota").report("${url}")`).waitFor();
  await picture(t, page, "fleet-empty");
  for (const report of WORKSHOP) assert.equal((await post(served.url, report)).status, 204);
  await page.getByText("6 devices: 1 rolled back, 1 failed, 1 other slot, 1 on trial, 2 ok").waitFor();
  await page.locator('tr[data-serial="240ac4-0a1b06"]').waitFor();
  const rows = await rowsOf(page);
  assert.match(
    rows[0],
    /^↩ Rolled back 240ac4-0a1b04 ESP32 app\.js 1\.4\.0 3 files, on firmware 2v29 slot ota_0, valid, sequence 1796025994 rolled back: Error: no sensor on I2C1, after 3 tries no update since the start refused from now on: 2 4,312 JsVars Storage 412,380 bytes trash 18,204 bytes less than a minute ago 127\.0\.0\.1$/,
  );
  assert.match(rows[1], /^✕ Failed 240ac4-0a1b05 .* ESP_ERR_HTTP_CONNECT: connection: no response/);
  assert.match(rows[2], /^≠ Other slot 240ac4-0a1b06 .* slot ota_1 was selected, and not restarted/);
  assert.match(rows[3], /^… On trial 240ac4-0a1b03 .* on trial, start 2, else back to ota_1/);
  assert.match(rows[4], /^✓ OK 240ac4-0a1b01 .* installed/);
  // not by colour alone: a word, and a weight and a bar that others have not
  const looks = await page.evaluate<string[]>(
    `[...document.querySelectorAll("#fleet-table tbody tr")].map((row) => {
      const bar = getComputedStyle(row.cells[0]).borderLeftColor;
      return getComputedStyle(row.querySelector(".state")).fontWeight + (bar === "rgba(0, 0, 0, 0)" ? "" : " bar");
    })`,
  );
  assert.deepEqual(looks, ["700 bar", "700 bar", "400", "400", "400", "400"]);
  await pictures(t, page, "fleet");
  assert.equal(await page.getByRole("region", { name: "Reports", exact: true }).count(), 1);
  await page.setViewportSize(SIZES.narrow);
  const heads = await page.locator("#fleet-table").getByRole("columnheader").allInnerTexts();
  assert.deepEqual(heads, ["State", "Device", "Runs", "Last update", "Free", "Reported"]);
  assert.equal(await page.locator("#fleet-table").getByRole("cell").count(), 36);
  // who comes later sees the same
  await page.reload();
  await page.locator('tr[data-serial="240ac4-0a1b06"]').waitFor();
  assert.deepEqual(await rowsOf(page), rows);
  assert.deepEqual(complaints, []);
});

test("a device that is rolled back changes its row while somebody looks", { skip }, async (t) => {
  const served = await collecting(t, "live.jsonl");
  const { page, complaints } = await openReady(t, served);
  const { device, update } = await createFixture(t, { engine: { serial: "240ac401-0000aa" } });
  const report = () => settle(device, device.ota.report(`${served.url}/-/report`));
  const row = page.locator('tr[data-serial="240ac401-0000aa"]');
  await report();
  await row.locator(".state", { hasText: "OK" }).waitFor();
  assert.ifError((await update()).error);
  device.restart();
  await settle(device, device.ota.boot());
  await report();
  await row.locator(".state", { hasText: "On trial" }).waitFor();
  await settle(device, device.ota.rollback(device.engine.run('({ reason: "no sensor", restart: false })')));
  device.restart();
  await report();
  await row.getByText("rolled back: no sensor").waitFor();
  assert.equal(await page.locator("#fleet-news").textContent(), "240ac401-0000aa: Rolled back");
  assert.equal((await rowsOf(page)).length, 1);
  assert.deepEqual(complaints, []);
});

test("hostile reports stay text, and fit", { skip }, async (t) => {
  const served = await collecting(t, "hostile.jsonl");
  const { page, complaints } = await openReady(t, served);
  const long = "x".repeat(500);
  const names = { board: HOSTILE, version: HOSTILE, running: "</td><b>", boot: HOSTILE, last: HOSTILE, differs: long };
  const release = { entry: HOSTILE, version: "<script>alert(2)</script>", files: [] };
  const trial = { boots: 9007199254740991, previous: HOSTILE };
  const storage = { free: 9007199254740991, trash: 9007199254740991 };
  const all = {
    ...names,
    release,
    trial,
    storage,
    rollbackReason: long,
    sequence: 9007199254740991,
    free: 9007199254740991,
  };
  for (const serial of [HOSTILE, "__proto__", "constructor", `"'><script>alert(3)</script>`, "W".repeat(64)])
    assert.equal((await post(served.url, { ...all, serial })).status, 204, serial);
  await page.getByText("5 devices: 5 rolled back").waitFor();
  await page.locator('tr[data-serial="constructor"]').waitFor();
  const text = (await rowsOf(page)).join("\n");
  for (const shown of [HOSTILE, "__proto__", "</td><b>", "<script>alert(2)</script>"])
    assert.ok(text.includes(shown), shown);
  assert.equal(await page.locator("img").count(), 1, "an image besides the QR code");
  assert.equal(await page.locator("script").count(), 1);
  assert.equal(await page.locator("body b").count(), 0);
  await pictures(t, page, "fleet-hostile");
  assert.deepEqual(complaints, []);
});

test("a device that gives way to others leaves the table", { skip }, async (t) => {
  const served = await collecting(t, "many.jsonl");
  const { page, complaints } = await openReady(t, served);
  await page.getByText("No device has reported yet.").waitFor();
  for (let i = 0; i < 251; i++) await post(served.url, { serial: `device ${i}` });
  await page.getByText("250 devices: 250 ok").waitFor();
  await page.locator('tr[data-serial="device 250"]').waitFor();
  assert.equal(await page.locator('tr[data-serial="device 0"]').count(), 0);
  assert.deepEqual(complaints, []);
});

test("without --collect there is no table", { skip }, async (t) => {
  const served = await serve(t, "www", "--key", "key.pem", "--http");
  const { page, complaints } = await openReady(t, served);
  await page.locator("#releases article").waitFor();
  assert.equal(await page.locator("#fleet").isVisible(), false);
  assert.deepEqual(complaints, []);
});
