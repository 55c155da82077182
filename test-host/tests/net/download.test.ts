// What a download tells its reader of the file besides the bytes, below the public calls: whether all of it is of one file.
// The reader's digest decides whether it is the right one; this decides whether asking again can help.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { loadInEngine } from "../../support/load.ts";
import { buildWith } from "../../support/mutate.ts";
import { noise } from "../../support/images.ts";
import * as serve from "../../support/server.ts";
import type { Behaviour, FileOptions } from "../../support/server.ts";

const CODE = await buildWith([], "net/download.ts");
const FILE = noise(1, 20000);
const OTHER = noise(2, 20000);

type Config = { maxRequestSize?: number; from?: number };
type Fetched = { changed: boolean; bytes: Uint8Array; error?: { name: string; retry: boolean } };

/** Fetches one file whole; `from`: its reader has this number of bytes already, once the first 1000 have come. */
async function fetchFile(t: TestContext, behaviour: Behaviour, config: Config = {}): Promise<Fetched> {
  const { engine, module } = loadInEngine(CODE);
  const server = await serve.startServer();
  t.after(async () => {
    engine.stop();
    await server.close();
  });
  server.on("/file", behaviour);
  const { from = 0, ...more } = config;
  const options = engine.run(`(${JSON.stringify({ timeout: 4000, retries: 3, maxRequestSize: 0, ...more })})`);
  Object.assign(options as object, { url: server.url("/file") });
  const download = module.createDownload(options, server.url("/file"), 1e6, () => {});
  const bytes = new Uint8Array(FILE.length);
  const { inbox_: inbox } = download;
  const ended = new Promise<Fetched["error"]>((resolve) => {
    download.failed_ = resolve;
    const readBlock = (_: string, last: boolean) => {
      for (const piece of inbox.pieces_) {
        bytes.set(Buffer.from(piece, "latin1"), inbox.offset_);
        inbox.offset_ += piece.length;
      }
      inbox.pieces_ = engine.run("[]");
      inbox.filled_ = 0;
      if (!last) return;
      download.consumer_ = null;
      resolve(undefined);
    };
    const readHead = (text: string) => {
      if (text.length < 1000) return;
      module.seek(download, from);
      startBlocks();
      module.read(download);
    };
    function startBlocks(): void {
      inbox.block_ = 4096;
      download.consumer_ = readBlock;
    }
    if (from) download.consumer_ = readHead;
    else startBlocks();
  });
  module.read(download);
  const timer = setInterval(() => void engine.advance(200), 5);
  const error = await ended;
  clearInterval(timer);
  const changed = download.mixed_ !== 0;
  module.closeDownload(download);
  return { changed, bytes, error: error && { name: error.name, retry: error.retry } };
}

const cut = (bytes: Uint8Array, options: FileOptions = {}) => serve.cutAt(bytes, 9000, "reset", options);

describe("may the file have changed while it was fetched?", { concurrency: 8 }, () => {
  const NO_TAG = { etag: "" };
  const WEAK = { etag: 'W/"weak"' };
  const OLD = {
    etag: "",
    lastModified: "Sun, 01 Nov 2026 00:00:00 GMT",
    headers: { Date: "Sun, 01 Nov 2026 00:01:00 GMT" },
  };
  const NEW = { ...OLD, lastModified: "Sun, 01 Nov 2026 00:00:59 GMT" };
  const CASES: [string, Behaviour, boolean, Config?][] = [
    ["one connection", serve.serveFile(FILE), false],
    ["one connection without any validator", serve.serveFile(FILE, NO_TAG), false],
    ["a cut and a strong ETag", cut(FILE), false],
    ["a cut and a weak ETag", cut(FILE, WEAK), true],
    ["a cut and no ETag", cut(FILE, NO_TAG), true],
    ["a cut of a server without ranges", cut(FILE, { ...NO_TAG, ranges: false }), false],
    ["ranges and a strong ETag", serve.serveFile(FILE), false, { maxRequestSize: 3000 }],
    ["ranges and a weak ETag", serve.serveFile(FILE, WEAK), true, { maxRequestSize: 3000 }],
    ["ranges and no ETag", serve.serveFile(FILE, NO_TAG), true, { maxRequestSize: 3000 }],
    ["a part that its reader had, and a strong ETag", serve.serveFile(FILE), false, { from: 8192 }],
    ["a part that its reader had, and no ETag", serve.serveFile(FILE, NO_TAG), true, { from: 8192 }],
    ["a cut and an old Last-Modified", cut(FILE, OLD), false],
    ["a cut and a Last-Modified of now", cut(FILE, NEW), true],
    ["another Last-Modified after a cut", serve.sequence(cut(OTHER, OLD), serve.serveFile(FILE, NEW)), true],
    ["another ETag after a cut", serve.sequence(cut(OTHER), serve.serveFile(FILE)), true],
    [
      "two cuts without ETag, then all of it from a server that has lost its ranges",
      serve.sequence(cut(OTHER, NO_TAG), cut(OTHER, NO_TAG), serve.serveFile(FILE, { ...NO_TAG, ranges: false })),
      false,
    ],
  ];
  for (const [what, behaviour, changed, config] of CASES)
    test(`${what}: ${changed ? "it may" : "no"}`, async (t) => {
      const fetched = await fetchFile(t, behaviour, config);
      assert.ifError(fetched.error);
      const begin = config?.from ?? 0;
      assert.deepEqual(fetched.bytes.subarray(begin), FILE.subarray(begin));
      assert.equal(fetched.changed, changed);
    });

  test("what changes twice fails, to be tried later", async (t) => {
    const third = noise(3, 20000);
    const fetched = await fetchFile(t, serve.sequence(cut(FILE), cut(OTHER), cut(OTHER), serve.serveFile(third)));
    assert.deepEqual(fetched.error, { name: "ESP_ERR_INVALID_RESPONSE", retry: true });
    assert.equal(fetched.changed, true);
  });
});
