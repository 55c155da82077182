// A headless Chromium, spoken to over its DevTools pipe: as much of it as a test of one page needs.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Readable, Writable } from "node:stream";
import type { TestContext } from "node:test";

/** Null where there is none; CHROMIUM names another one. */
export const CHROMIUM: string | null =
  [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
    (file) => file && existsSync(file),
  ) ?? null;

export interface Page {
  /** The value of an expression, or of its promise. */
  evaluate(expression: string): Promise<any>;
  /** The page gets a function of that name, which calls `handler` with its text. */
  expose(name: string, handler: (text: string) => void): Promise<void>;
  /** Runs before the scripts of each page. */
  addScript(source: string): Promise<void>;
  open(url: string): Promise<void>;
  /** Width and height in pixels, as of a screen. */
  resize(width: number, height: number): Promise<void>;
  /** What it logs, and what its content security policy refuses. */
  readonly log: string[];
}

const LAUNCH = ["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run"];

export async function openPage(t: TestContext): Promise<Page> {
  const profile = mkdtempSync(path.join(tmpdir(), "https-ota-chromium-"));
  const child: ChildProcess = spawn(CHROMIUM as string, [...LAUNCH, `--user-data-dir=${profile}`, "about:blank"], {
    stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
  });
  const ended = new Promise<void>((resolve) => child.on("close", () => resolve()));
  t.after(async () => {
    child.kill("SIGKILL");
    await ended;
    rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  });
  const [toPage, fromPage] = [child.stdio[3] as Writable, child.stdio[4] as Readable];
  const waiting = new Map<number, { resolve(value: any): void; reject(error: Error): void }>();
  const handlers = new Map<string, (text: string) => void>();
  const log: string[] = [];
  let last = 0;
  let loaded = () => {};

  function take({ id, method, params, result, error }: any): void {
    if (id) {
      const one = waiting.get(id);
      waiting.delete(id);
      if (error) one?.reject(new Error(error.message));
      else one?.resolve(result);
    } else if (method === "Runtime.bindingCalled") handlers.get(params.name)?.(params.payload);
    else if (method === "Page.loadEventFired") loaded();
    else if (method === "Log.entryAdded") log.push(params.entry.text);
    else if (method === "Runtime.exceptionThrown")
      log.push(params.exceptionDetails.exception?.description ?? "exception");
  }
  let rest = "";
  fromPage.setEncoding("utf8").on("data", (text: string) => {
    const messages = (rest + text).split("\0");
    rest = messages.pop() as string;
    for (const one of messages) take(JSON.parse(one));
  });

  let sessionId: string | undefined;
  const send = (method: string, params: object = {}): Promise<any> =>
    new Promise((resolve, reject) => {
      waiting.set(++last, { resolve, reject });
      toPage.write(`${JSON.stringify({ id: last, method, params, sessionId })}\0`);
    });

  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  ({ sessionId } = await send("Target.attachToTarget", { targetId, flatten: true }));
  for (const domain of ["Page", "Runtime", "Log"]) await send(`${domain}.enable`);
  return {
    log,
    async evaluate(expression) {
      const { result, exceptionDetails } = await send("Runtime.evaluate", {
        expression,
        awaitPromise: true,
        returnByValue: true,
      });
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
      return result.value;
    },
    async expose(name, handler) {
      handlers.set(name, handler);
      await send("Runtime.addBinding", { name });
    },
    addScript: (source) => send("Page.addScriptToEvaluateOnNewDocument", { source }),
    async open(url) {
      const done = new Promise<void>((resolve) => {
        loaded = resolve;
      });
      await send("Page.navigate", { url });
      await done;
    },
    resize: (width, height) =>
      send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: width < 600 }),
  };
}
