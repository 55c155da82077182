// A headless Chromium for tests of pages, and what it complained about.
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, type TestContext } from "node:test";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { onlyInAll } from "../../support/share.ts";
import { CHROMIUM, MISSING } from "./chromium.ts";

/** For the option `skip` of a test. */
export const skip = CHROMIUM ? onlyInAll("in a browser") : MISSING;
if (!CHROMIUM) console.log("!!! Chromium is not here: nothing was looked at in a browser !!!");

let browser: Promise<Browser> | undefined;
after(async () => (await browser)?.close());

function launch(): Promise<Browser> {
  browser ??= chromium.launch({ executablePath: CHROMIUM });
  return browser;
}

export interface Opened {
  page: Page;
  /** errors of scripts, console errors, and violations of the Content-Security-Policy */
  complaints: string[];
}

/** An empty page: what its scripts shall find is added before it opens an address. */
export async function emptyPage(t: TestContext, options: BrowserContextOptions = {}): Promise<Opened> {
  const context = await (await launch()).newContext({ ignoreHTTPSErrors: true, ...options });
  t.after(() => context.close());
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on("dialog", (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  return { page, complaints };
}

export async function open(t: TestContext, url: string, options: BrowserContextOptions = {}): Promise<Opened> {
  const opened = await emptyPage(t, options);
  await opened.page.goto(url);
  return opened;
}

let folder: string | undefined;

/** Writes a picture of the whole page into a temporary folder, and tells where. It is not removed. */
export async function picture(t: TestContext, page: Page, name: string): Promise<void> {
  folder ??= mkdtempSync(path.join(tmpdir(), "https-ota-pictures-"));
  const file = path.join(folder, `${name}.png`);
  await page.screenshot({ path: file, fullPage: true });
  t.diagnostic(`picture: ${file}`);
}
