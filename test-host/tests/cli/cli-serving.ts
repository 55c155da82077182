// A server of the built command, in a process of its own, and how it is asked.
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import http from "node:http";
import https from "node:https";
import type { TestContext } from "node:test";
import { until } from "../../support/fixture.ts";
import type { Run, workshop } from "./cli-run.ts";

export type Served = {
  url: string;
  port: number;
  child: ChildProcess;
  out(): string;
  end(signal?: NodeJS.Signals): Promise<Run>;
};

/** Starts `serve` on loopback, and waits until it says where it is. */
export const server =
  (shop: Pick<ReturnType<typeof workshop>, "start">) =>
  async (t: Pick<TestContext, "after">, ...args: string[]): Promise<Served> => {
    const child = shop.start("serve", ...args, "--host", "127.0.0.1", "--port", "0");
    let stdout = "";
    let stderr = "";
    child.stdout?.setEncoding("utf8").on("data", (text) => {
      stdout += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text) => {
      stderr += text;
    });
    const closed = new Promise<number | null>((resolve) => child.on("close", resolve));
    t.after(() => void child.kill("SIGKILL"));
    await until(
      "the server has told everything",
      () => /else (update\(\)|setInterval\(update, \d+\));\n\}\);\n/.test(stdout) || child.exitCode !== null,
    );
    const [, url, port] = /(https?:\/\/127\.0\.0\.1:(\d+))\//.exec(stdout) ?? [];
    assert.ok(url, `no URL: ${stdout}${stderr}`);
    return {
      url,
      port: Number(port),
      child,
      out: () => stdout,
      async end(signal = "SIGINT") {
        child.kill(signal);
        return { code: await closed, stdout, stderr, bytes: Buffer.from(stdout) };
      },
    };
  };

export type Reply = { status: number; headers: http.IncomingHttpHeaders; body: Buffer };

export function ask(url: string, options: http.RequestOptions = {}, content?: string | Buffer): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const { request } = url.startsWith("https:") ? https : http;
    const all = { rejectUnauthorized: false, agent: false, ...options } as https.RequestOptions;
    const { protocol, hostname, port } = new URL(url);
    // the path as it is: URL would take dots out of it
    const path = url.slice(`${protocol}//${hostname}:${port}`.length);
    request({ protocol, hostname, port, path, ...all }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () =>
        resolve({ status: response.statusCode as number, headers: response.headers, body: Buffer.concat(parts) }),
      );
    })
      .on("error", reject)
      .end(content);
  });
}

/** POSTs `report`, JSON or its text, as a device does. */
export function post(url: string, report: unknown, headers: http.OutgoingHttpHeaders = {}): Promise<Reply> {
  const content = typeof report === "string" || Buffer.isBuffer(report) ? report : JSON.stringify(report);
  const all = { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(content), ...headers };
  return ask(`${url}/-/report`, { method: "POST", headers: all }, content);
}

/** Parsed JSON of a path. */
export const jsonOf = async (url: string): Promise<any> => JSON.parse((await ask(url)).body.toString());
