// How the bytes of an update come: from a server, or from a `source` of the program. The same tests run over both: what a
// configuration's url names is then fetched by the host, from the same server with the same faults, and given to the device
// piece by piece. A source knows bytes and their offset. So a cut, silence and a file that changed are faults of both; headers,
// redirects, statuses, validators, the length of an answer and the engine's sockets are HTTP's alone, and so are their tests.

import { type ClientRequest, get, type IncomingMessage } from "node:http";
import { test, type TestContext } from "node:test";
import { POWER_OFF } from "../sim/espruino/core.ts";
import type { Engine } from "../sim/espruino/engine.ts";
import type { Taken } from "./network.ts";
import { leftOut } from "./share.ts";

export type Transport = "http" | "source";
export const TRANSPORTS: readonly Transport[] = ["http", "source"];

/** One test for each transport; of those over a source `npm test` runs a part: behind the bytes it is the same code. */
export function overEach(title: string, run: (t: TestContext, transport: Transport) => Promise<void>): void {
  test(title, (t) => run(t, "http"));
  test(`${title} (source)`, async (t) => {
    if (!leftOut(t, 4, "over a source")) await run(t, "source");
  });
}

/** Bytes in one answer of a source: what a frame of the network brings. */
const PIECE = 1460;

type Answer = (error: unknown, data?: unknown) => void;

/** A transfer from the server, as far as it has come. */
type Line = {
  file: string;
  /** Offset of the byte that the device gets next. */
  at: number;
  /** Bytes of the answer that lie before the offset that was asked for. */
  skip: number;
  pieces: Buffer[];
  /** Why no more will come: "" for the end of the file, null while it goes on. */
  over: string | null;
  request?: ClientRequest;
};

export interface Source {
  /** For a configuration of the engine's program. */
  readonly source: unknown;
  /** Each transfer that was begun, and what of it the device was given. */
  readonly made: Taken[];
  /** Does the device wait before it asks again? So it does after an error, and after `timeout` ms without an answer. */
  isGivenUp(timeout: number): boolean;
  close(): void;
}

/** Bytes to leave out of an answer to a request for those from `offset` on. */
function skipOf({ statusCode, headers }: IncomingMessage, offset: number): number {
  if (statusCode === 416) return Infinity;
  if (statusCode === 200) return offset;
  const start = /^bytes (\d+)-/.exec(headers["content-range"] ?? "")?.[1];
  if (statusCode !== 206 || Number(start) !== offset) throw new Error(`HTTP status ${statusCode}`);
  return 0;
}

/** Fetches `url` from `line.at` on; calls `moved` when something came. */
function fetchInto(line: Line, url: URL, moved: () => void): ClientRequest {
  function end(why: string): void {
    line.over ??= why;
    moved();
  }
  const request = get(url, { agent: false, headers: { Range: `bytes=${line.at}-` } });
  request.on("error", (error) => end(error.message));
  request.on("response", (response) => {
    response.on("error", (error) => end(error.message));
    try {
      line.skip = skipOf(response, line.at);
    } catch (error) {
      response.resume();
      return end((error as Error).message);
    }
    response.on("data", (data: Buffer) => {
      const rest = data.subarray(Math.min(line.skip, data.length));
      line.skip -= data.length - rest.length;
      for (let at = 0; at < rest.length; at += PIECE) line.pieces.push(rest.subarray(at, at + PIECE));
      moved();
    });
    response.on("end", () => end(""));
  });
  return request;
}

/** A source of the program that runs in `engine`. `base`: what the name of a file is relative to. */
export function openSource(engine: Engine, base: string): Source {
  const made: Taken[] = [];
  let line: Line | undefined;
  /** The question that has no answer yet, and when it was asked. */
  let waiting: Answer | undefined;
  let askedMs = 0;
  let failed = false;
  const nowMs = () => (engine.run("getTime()") as number) * 1000;

  // from the idle loop, as what a radio brings
  const later: any = engine.run(
    "(function (done, error, data) { setTimeout(function () { done(error, data); }, 0); })",
  );
  function answer(error: string, data?: string): void {
    const done = waiting;
    waiting = undefined;
    failed = error !== "";
    try {
      later(done, error, data);
    } catch (thrown) {
      // a device that is off hears nothing
      if (thrown !== POWER_OFF) throw thrown;
    }
  }

  function serve(): void {
    if (!waiting || !line) return;
    const piece = line.pieces.shift();
    if (piece) {
      line.at += piece.length;
      made[made.length - 1].bytes += piece.length;
      return answer("", piece.toString("latin1"));
    }
    if (line.over === null) return;
    const why = line.over;
    if (why) close();
    answer(why);
  }

  function close(): void {
    line?.request?.destroy();
    line = undefined;
  }

  const wrap: any = engine.run("(function (ask) { return function (at, done, file) { ask(at, done, file); }; })");
  const source: unknown = wrap((offset: number, done: Answer, file: string) => {
    // asked again without an answer: nobody waits for that one any more
    if (waiting || line?.file !== file || line.at !== offset) {
      close();
      const url = new URL(file, base);
      const range = `bytes=${offset}-`;
      made.push({ path: url.pathname + url.search, range, bytes: 0, atMs: nowMs(), fromData: false, beside: 0 });
      const mine: Line = { file, at: offset, skip: 0, pieces: [], over: null };
      line = mine;
      mine.request = fetchInto(mine, url, () => {
        if (line === mine) serve();
      });
    }
    waiting = done;
    askedMs = nowMs();
    setImmediate(serve);
  });
  return {
    source,
    made,
    isGivenUp: (timeout) => (waiting ? nowMs() - askedMs >= timeout : failed),
    close,
  };
}
