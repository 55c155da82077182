// A server in a process of its own, to be loaded and looked at.

import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import type { TestContext } from "node:test";
import { until } from "../support/fixture.ts";

/** MB that a process holds now. */
export function memoryOf(child: ChildProcess): number {
  const [, kb] = /^VmRSS:\s*(\d+) kB/m.exec(readFileSync(`/proc/${child.pid}/status`, "latin1")) ?? [];
  return Number(kb) / 1024;
}

/** Starts it, and waits until it says where it is. */
export async function makeCheckable(
  t: Pick<TestContext, "after">,
  start: () => ChildProcess,
): Promise<{ child: ChildProcess; port: number }> {
  const child = start();
  t.after(() => void child.kill("SIGKILL"));
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding("utf8").on("data", (text) => {
      said += text;
    });
  const port = () => Number(/https?:\/\/127\.0\.0\.1:(\d+)\//.exec(said)?.[1] ?? 0);
  await until("the server says where it is", () => port() > 0 || child.exitCode !== null);
  if (!port()) throw new Error(said);
  return { child, port: port() };
}
