// How `npm test` reports: a counter, each failure in full, and at the end what was not run and how to run it.
// A test says that it has run only a part of its cases with a diagnostic "not run: 5 of 6 cases of something"; a test that
// is left out as a whole is skipped with the reason "left out: tests of something" (test-host/support/share.ts).

import { relative } from "node:path";
import type { TestEvent } from "node:test/reporters";

const EVERY = 250; // tests to a line where nobody watches
const MOST_SAID = 4000; // characters of what a file has printed as errors

type Source = AsyncIterable<TestEvent> | Iterable<TestEvent>;
type Failure = Extract<TestEvent, { type: "test:fail" }>["data"];

const seconds = (ms: number) => `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;

/** A failure of its own: a suite fails also because one of its tests has, which is told already. */
const isOwn = ({ details }: Failure) =>
  details.type !== "suite" || (details.error as { failureType?: string }).failureType !== "subtestsFailed";

/** The lines of a failure: where it is, and what it says. `said`: what its file has printed as errors. */
function describe({ name, file, line, details }: Failure, said: string): string {
  const error = (details.error?.cause ?? details.error) as Error | undefined;
  const where = file ? ` (${relative(process.cwd(), file)}:${line})` : "";
  // of a process that ends with an error node says no more than "test failed"
  const own = name === file ? said : "";
  const text = `${error?.stack ?? error?.message ?? error}\n${own}`.trimEnd().replaceAll(/^/gm, "    ");
  return `\u2716 ${name}${where}\n${text}\n\n`;
}

/** `leftOut`: lines for what was not even started. */
export async function* report(source: Source, leftOut: string[]): AsyncGenerator<string> {
  const start = Date.now();
  const watched = process.stdout.isTTY;
  const skipped = new Map<string, number>();
  const tests = new Map<string, number>();
  const parts = new Map<string, [left: number, all: number]>();
  const failures: Failure[] = [];
  const said = new Map<string, string>();
  let passed = 0;
  const count = (map: Map<string, number>, key: string) => map.set(key, (map.get(key) ?? 0) + 1);
  const state = () => `${passed} passed, ${failures.length} failed, ${seconds(Date.now() - start)}`;
  for await (const { type, data } of source) {
    const part = type === "test:diagnostic" && /^not run: (\d+) of (\d+) (.*)$/.exec(data.message);
    if (part) {
      const sum = parts.get(part[3]) ?? [0, 0];
      parts.set(part[3], [sum[0] + Number(part[1]), sum[1] + Number(part[2])]);
    } else if (type === "test:stderr" || type === "test:stdout") {
      if (/^!!!/.test(data.message)) yield data.message;
      const { file = "" } = data;
      if (type === "test:stderr") said.set(file, `${said.get(file) ?? ""}${data.message}`.slice(-MOST_SAID));
    } else if (type === "test:fail" && isOwn(data)) {
      failures.push(data);
      yield `${watched ? "\r\x1b[K" : ""}${describe(data, said.get(data.file ?? "") ?? "")}`;
    } else if (type === "test:pass" && data.details.type !== "suite") {
      const kind = typeof data.skip === "string" && /^left out: (.*)$/.exec(data.skip)?.[1];
      if (kind) count(tests, kind);
      else if (data.skip !== undefined) count(skipped, typeof data.skip === "string" ? data.skip : data.name);
      else if (++passed % EVERY === 0 && !watched) yield `  ${state()}\n`;
      if (watched && passed % 10 === 0) yield `\r\x1b[K  ${state()}`;
    }
  }
  yield `${watched ? "\r\x1b[K" : ""}${failures.length ? "\u2716" : "\u2714"} ${state()}\n`;
  if (failures.length)
    yield failures.map(({ name, file }) => `    ${relative(process.cwd(), file ?? "")}: ${name}\n`).join("");
  if (skipped.size) yield "Skipped:\n";
  for (const [reason, times] of skipped) yield `  ${times} x ${reason}\n`;
  if (parts.size + tests.size + leftOut.length) yield "Left out; `npm run test:all` runs it:\n";
  for (const line of leftOut) yield `  ${line}\n`;
  for (const [what, times] of tests) yield `  ${times} tests ${what}\n`;
  for (const [what, [left, all]] of parts) yield `  ${left} of ${all} ${what}\n`;
}
