// docs/serve-page.png: the page of `serve` in Chromium, while two virtual devices take a release.
//
// Two Chromiums draw two different files of the same page, so this file is not compared byte for byte. It carries a digest of
// what it was made from: the sources of the page and this file. That shows a picture that was forgotten. It does not show
// what the server changes in the page without a change in these sources.

import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { chromium, type Page } from "playwright-core";
import { createDevice } from "../sim/device.ts";
import { plainEnvironment, runProcess, startProcess } from "../support/command.ts";
import { eventually, until } from "../support/fixture.ts";
import { buildImage } from "../support/images.ts";
import { CHROMIUM, MISSING } from "../tests/browser/chromium.ts";
import { slowProxy } from "../tests/browser/slow-proxy.ts";
import { server } from "../tests/cli/cli-serving.ts";
import { textIn, withText } from "./png.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const PAGE = path.join(ROOT, "src/cli/server/page");
const KEYWORD = "Source";

const SIZE = { width: 1280, height: 720 };
const SERIALS = ["240ac400-01d4", "240ac400-02a8"];
const IMAGE_SIZE = 1_412_640;

export function sourceDigest(): string {
  const hash = createHash("sha256");
  const files = readdirSync(PAGE)
    .sort()
    .map((name) => path.join(PAGE, name));
  for (const file of [...files, fileURLToPath(import.meta.url)])
    hash.update(`${path.basename(file)}\0`).update(readFileSync(file));
  return `sha256:${hash.digest("hex")}`;
}

/** What a picture was made from; undefined for one that no script has made. */
export const digestIn = (png: Buffer): string | undefined => textIn(png, KEYWORD);

/** What is to be ended when the picture is there, the last first. */
function createCleanup() {
  const jobs: (() => unknown)[] = [];
  return {
    after: (job?: unknown) => void jobs.unshift(job as () => unknown),
    async end() {
      for (const job of jobs) await job();
    },
  };
}

/** Runs the page's own program on a device of its own, over a line that gives a piece each `pauseMs`. */
async function update(t: ReturnType<typeof createCleanup>, page: Page, port: number, serial: string, pauseMs: number) {
  const device = createDevice({ engine: { serial } }).boot();
  t.after(() => device.stop());
  device.engine.addModule("Wifi", "exports.connect = function (name, options, callback) { callback(null); };");
  const slow = await slowProxy(t, port, pauseMs);
  const program = await page.locator("#program").inputValue();
  device.engine.run(program.replace(`:${port}/`, `:${slow}/`));
  return device;
}

async function photograph(t: ReturnType<typeof createCleanup>): Promise<Buffer> {
  const folder = mkdtempSync(path.join(tmpdir(), "https-ota-pictures-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const command = { file: path.join(ROOT, "build/cli.mjs"), cwd: folder, env: plainEnvironment() };
  const { code, stderr } = await runProcess(command, ["keygen", "--out", "key.pem", "--bits", "2048"]);
  if (code !== 0) throw new Error(`keygen failed: ${stderr}`);
  mkdirSync(path.join(folder, "www"));
  const image = buildImage({ size: IMAGE_SIZE, seed: 2, descriptor: { version: "2.4.0" } });
  writeFileSync(path.join(folder, "www", "lamp.bin"), image);
  const serve = server({ start: (...args) => startProcess(command, args) });
  const { url, port } = await serve(t, "www", "--key", "key.pem", "--http");

  const browser = await chromium.launch({ executablePath: CHROMIUM });
  t.after(() => browser.close());
  const page = await browser.newPage({ viewport: SIZE, colorScheme: "light" });
  await page.goto(`${url}/`);
  await page.locator('#connection[data-state="on"]').waitFor();
  await eventually("the program is there", async () =>
    (await page.locator("#program").inputValue()).includes("require"),
  );
  const first = await update(t, page, port, SERIALS[0], 100);
  await until("the first device restarts", () => first.rebootAsked);
  await update(t, page, port, SERIALS[1], 140);
  const bar = page.locator("#devices article", { hasText: SERIALS[1] }).locator("progress");
  await eventually("the second one is on its way", async () => {
    const isHere = (await bar.count()) && (await bar.getAttribute("max")) === String(IMAGE_SIZE);
    return Boolean(isHere) && Number(await bar.getAttribute("value")) > 0.62 * IMAGE_SIZE;
  });
  return page.screenshot();
}

export async function drawServePage(): Promise<Buffer> {
  if (!CHROMIUM) throw new Error(MISSING);
  const digest = sourceDigest();
  const cleanup = createCleanup();
  try {
    return withText(await photograph(cleanup), KEYWORD, digest);
  } finally {
    await cleanup.end();
  }
}
