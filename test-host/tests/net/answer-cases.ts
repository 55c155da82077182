// How a server can answer one update, in what configuration, and the outcome that is promised (docs/design.md#answers-of-a-server,
// docs/espruino.md#http). Two drivers run this table: ../net/http.test.ts on the virtual Espruino, each case on a device of its
// own, and ../engine/network-engine.test.ts in the real interpreter, one after the other on a device that is never restarted.

import { buildImage, noise, padTo } from "../../support/images.ts";
import * as behaviours from "../../support/server.ts";
import type { Behaviour, Io, Request } from "../../support/server.ts";
import { noteUses } from "../../support/uses.ts";

const { noted: serve, used } = noteUses(behaviours);

export type Case = {
  what: string;
  behaviour: (image: Uint8Array) => Behaviour;
  /** Name of the error without ESP_ERR_; "" when the image is installed. Several: it depends on what arrives first. */
  outcome: string | string[];
  /** The outcome on the virtual Espruino, where it can't do as the engine: an object of Node's has no key twice. */
  inVirtual?: string;
  /** May it succeed later? Default: yes after errors of the connection, else no. */
  retry?: boolean;
  says?: RegExp;
  /** What is in the slot after a success, when it is not the image. */
  installs?: (image: Uint8Array) => Uint8Array;
  /** HTTP status that the error names. */
  status?: number;
  config?: Record<string, unknown>;
  /** Where it may differ between TCP and TLS. */
  only?: "http" | "https";
  /** The slot may have been written when it fails; else it fails before the first erase. */
  wrote?: boolean;
  /** It ends by `timeout`, and the message names that. */
  stalls?: boolean;
  /** The server has its own pace: no time may be skipped while nothing seems to move. */
  paced?: boolean;
  /** How often the server is asked. */
  requests?: number;
  /** Most writes to flash. */
  writes?: number;
  /** The engine keeps a header whole, and with too few JsVars for that it ends. */
  large?: boolean;
};

const SIZE = 20000;
/** Another one for each case: what one leaves in the slot is not a part of the next. */
export const imageOf = (index: number) => buildImage({ size: SIZE, seed: 100 + index });
/** Another file of the same length. */
const otherOf = (image: Uint8Array) => buildImage({ size: image.length, seed: 1000 + image[image.length - 40] });

const longerOf = (image: Uint8Array) => padTo(otherOf(image), 2 * SIZE);
/** What the slot holds after a success. */
export const installedBy = (one: Case, image: Uint8Array): Uint8Array => one.installs?.(image) ?? image;

/** After these the network may be better. */
const PASSING = ["HTTP_CONNECT", "HTTP_READ_TIMEOUT", "HTTP_INCOMPLETE_DATA", "TIMEOUT"];
/** What `retry` of an error has to be when the case ends with the error `name`. */
export const retryOf = (one: Case, name: string): boolean => one.retry ?? PASSING.includes(name);
export const outcomesOf = ({ outcome }: Case): string[] => [outcome].flat();

const RESPONSE = "INVALID_RESPONSE";
const LOST = { outcome: "HTTP_INCOMPLETE_DATA", retry: true, wrote: true };
const STALLED = { outcome: "HTTP_READ_TIMEOUT", retry: true, wrote: true, stalls: true };
const UNREACHED = { outcome: "HTTP_CONNECT", retry: true };
const MANY = { times: 99 };

/** A release that is being published, or that was taken back: the next one may be there tomorrow. */
const LATER = true;
const BUSY = true;
const STATUSES: [code: number, outcome: string, retry?: boolean][] = [
  [100, RESPONSE, BUSY], // the engine takes an interim answer for the final one
  [103, RESPONSE, BUSY],
  ...[201, 202, 203, 204, 205, 207, 226, 300].map((code): [number, string] => [code, RESPONSE]),
  [304, "HTTP_NOT_MODIFIED"],
  [305, RESPONSE],
  [306, RESPONSE],
  [400, "FAIL"],
  [401, "FAIL"],
  [403, "FAIL"],
  [404, "FAIL", LATER],
  [405, "FAIL"],
  [407, "FAIL"],
  [408, "FAIL", BUSY],
  [410, "FAIL", LATER],
  [416, "HTTP_RANGE_NOT_SATISFIABLE"],
  [418, "FAIL"],
  [425, "FAIL", BUSY],
  [429, "FAIL", BUSY],
  [451, "FAIL"],
  ...[500, 502, 503, 504, 599].map((code): [number, string, boolean] => [code, "FAIL", BUSY]),
];

/** No 200, whatever a lax parser makes of it. */
const STATUS_LINES: [line: string, outcome: string, retry: boolean][] = [
  ["HTTP/1.1 20 OK", RESPONSE, true],
  ["HTTP/1.1 2OO OK", RESPONSE, false],
  ["HTTP/1.1 +200 OK", RESPONSE, false],
  ["HTTP/1.1 200.0 OK", RESPONSE, false],
  ["HTTP/1.1  OK", RESPONSE, false],
  ["HTTP/1.1 1200 OK", "FAIL", true],
];

const LOCATIONS: [what: string, location: string][] = [
  ["another scheme", "ftp://localhost/fw.bin"],
  ["javascript", "javascript:0"],
  ["no host", "http:///fw.bin"],
  ["a port out of range", "http://localhost:70000/fw.bin"],
  ["a blank", "http://localhost/a b"],
  ["a blank, relative", "/a b"],
  ["a tab", "/a\tb"],
  ["a control character", "/a\x01b"],
  ["a NUL", "/a\0b"],
  ["UTF-8", Buffer.from("/größe.bin").toString("latin1")],
  ["Latin-1", "http://localhost/gr\xf6\xdfe.bin"],
  ["UTF-8 in its host", Buffer.from("http://größe.example/").toString("latin1")],
];

const HOPS: [hops: number, maxRedirects: number | undefined, outcome: string][] = [
  [5, undefined, ""],
  [6, undefined, "HTTP_MAX_REDIRECT"],
  [1, 0, "HTTP_MAX_REDIRECT"],
  [1, 1, ""],
  [2, 1, "HTTP_MAX_REDIRECT"],
  [12, 12, ""],
];

export const CASES: Case[] = [
  // bodies that are right
  { what: "a length", behaviour: (image) => serve.serveFile(image, { ranges: false }), outcome: "" },
  {
    what: "chunked coding",
    behaviour: (image) => serve.serveFile(image, { chunked: true, ranges: false }),
    outcome: "",
  },
  { what: "a 206", behaviour: (image) => serve.serveFile(image, { ranges: true }), outcome: "" },
  { what: "a chunked 206", behaviour: (image) => serve.serveFile(image, { chunked: true }), outcome: "" },
  {
    what: "chunks of 300 bytes",
    behaviour: (image) => serve.serveFile(image, { chunked: true, chunkSize: 300 }),
    outcome: "",
  },
  // written in pieces, not as they come, which would take minutes
  { what: "chunks of one byte", behaviour: serve.chunkedOneByte, outcome: "", writes: SIZE / 256 },
  { what: "a body by 100 bytes", behaviour: byHundred, outcome: "", writes: SIZE / 256, paced: true },
  {
    what: "pieces of one byte",
    behaviour: (image) => serve.serveFile(image, { chunkSize: 1 }),
    outcome: "",
    paced: true,
  },
  { what: "chunk extensions and a trailer", behaviour: (image) => serve.chunkedExtensions(image), outcome: "" },
  { what: "one huge chunk", behaviour: serve.chunkedHuge, outcome: "" },
  { what: "a connection that stays open", behaviour: serve.keepAliveNeverCloses, outcome: "" },
  { what: "more bytes than announced", behaviour: (image) => serve.longer(image, 567), outcome: "" },
  { what: "lower case", behaviour: (image) => serve.headerCase(image, "lower"), outcome: "" },
  { what: "upper case", behaviour: (image) => serve.headerCase(image, "upper"), outcome: "" },
  {
    what: "a header of 16 KB in one field",
    behaviour: (image) => serve.bigHeader(image, 16384, "one"),
    outcome: "",
    large: true,
  },
  // one of 64 KB may take more memory than a device has: see below
  {
    what: "a header of 16 KB in many",
    behaviour: (image) => serve.bigHeader(image, 16384, "many"),
    outcome: "",
    large: true,
  },
  { what: "records as large as can be", behaviour: (image) => serve.fullRecords(image, { padding: 900 }), outcome: "" },
  { what: "records that grow", behaviour: (image) => serve.growingRecords(image), outcome: "" },
  { what: "a header byte by byte", behaviour: (image) => serve.dribbleHeader(image, 1), outcome: "", paced: true },
  { what: "a body in small steps", behaviour: (image) => serve.dribbleBody(image, 1, 200), outcome: "", paced: true },
  { what: "no ETag", behaviour: (image) => serve.serveFile(image, { etag: "" }), outcome: "" },
  // bytes are counted
  { what: "a complete body without close-notify", behaviour: uncleanEnd, outcome: "", only: "https" },
  // bodies that are refused
  { what: "gzip", behaviour: serve.gzip, outcome: RESPONSE, says: /gzip/ },
  { what: "gzip in chunks", behaviour: serve.transferEncodingGzipChunked, outcome: RESPONSE, says: /gzip/ },
  { what: "no length", behaviour: (image) => serve.noLength(image), outcome: RESPONSE, says: /Content-Length/ },
  { what: "no length, 1.1", behaviour: (image) => serve.noLength(image, { version: "1.1" }), outcome: RESPONSE },
  { what: "a negative length", behaviour: serve.negativeLength, outcome: RESPONSE, says: /-20000/ },
  { what: "a length in words", behaviour: (image) => serve.badLength(image, "all"), outcome: RESPONSE },
  ...["20000 bytes", "+20000", "99999999999999999999"].map((length) => ({
    what: `a length of ${length}`,
    behaviour: (image: Uint8Array) => serve.badLength(image, length),
    outcome: RESPONSE,
  })),
  { what: "an empty length", behaviour: (image) => serve.badLength(image, ""), outcome: RESPONSE },
  { what: "a length in hexadecimal", behaviour: (image) => serve.badLength(image, "0x4e20"), outcome: RESPONSE },
  { what: "two lengths in one", behaviour: (image) => serve.badLength(image, "20000, 20000"), outcome: RESPONSE },
  { what: "twenty digits", behaviour: (image) => serve.badLength(image, "9".repeat(20)), outcome: RESPONSE },
  {
    what: "the same length twice",
    behaviour: (image) => serve.duplicateLength(image, "same"),
    outcome: RESPONSE,
    inVirtual: "",
  },
  { what: "two spellings", behaviour: (image) => serve.duplicateLength(image, "spellings"), outcome: RESPONSE },
  { what: "a length and chunks", behaviour: (image) => serve.bothLengthAndChunked(image), outcome: RESPONSE },
  { what: "an endless body", behaviour: () => serve.endless("length"), outcome: "INVALID_SIZE" },
  { what: "an endless body without length", behaviour: () => serve.endless("close"), outcome: RESPONSE },
  { what: "a hotel's page", behaviour: () => serve.html(), outcome: "INVALID_SIZE" },
  {
    what: "a hotel's page as long as an image",
    behaviour: () => serve.serveFile(Buffer.from(`<!DOCTYPE html>${" ".repeat(5000)}`), { contentType: "text/html" }),
    outcome: "OTA_VALIDATE_FAILED",
  },
  { what: "endless chunks", behaviour: endlessChunks, outcome: "INVALID_SIZE", wrote: true },
  {
    what: "endless chunks that are not an image",
    behaviour: () => serve.endless("chunked"),
    outcome: "OTA_VALIDATE_FAILED",
  },
  { what: "no image", behaviour: () => serve.serveFile(noise(3, 9000)), outcome: "OTA_VALIDATE_FAILED" },
  {
    what: "half of an image",
    behaviour: (image) => serve.serveFile(image.subarray(0, SIZE / 2)),
    outcome: "OTA_VALIDATE_FAILED",
    wrote: true,
  },
  // bodies that break off
  ...[1, 100, 5000, 18976, 20000].map((by) => ({
    what: `a body ${by} bytes too short`,
    behaviour: (image: Uint8Array) => serve.shorter(image, by),
    ...LOST,
    says: /bytes missing/,
  })),
  { what: "a close in the body", behaviour: (image) => serve.cutAt(image, 9000, "close", MANY), ...LOST },
  { what: "a reset in the body", behaviour: (image) => serve.cutAt(image, 9000, "reset", MANY), ...LOST },
  { what: "no close-notify in the body", behaviour: (image) => serve.tlsCut(image, 9000, MANY), ...LOST },
  {
    what: "a close before the last byte",
    behaviour: (image) => serve.cutAt(image, 19999, "close", MANY),
    ...LOST,
  },
  { what: "a close in the first 1024 bytes", behaviour: (image) => serve.cutAt(image, 700, "close", MANY), ...LOST },
  {
    what: "a stall in the body",
    behaviour: (image) => serve.cutAt(image, 9000, "stall", MANY),
    ...STALLED,
  },
  { what: "a stall in the first 1024 bytes", behaviour: (image) => serve.cutAt(image, 700, "stall", MANY), ...STALLED },
  { what: "a stall before the last byte", behaviour: (image) => serve.cutAt(image, 19999, "stall", MANY), ...STALLED },
  { what: "a close after the head", behaviour: (image) => serve.closeAfterHead(image, "close", MANY), ...LOST },
  { what: "a reset after the head", behaviour: (image) => serve.closeAfterHead(image, "reset", MANY), ...LOST },
  { what: "a stall after the head", behaviour: (image) => serve.closeAfterHead(image, "stall", MANY), ...STALLED },
  { what: "a chunk that is cut", behaviour: (image) => serve.chunkedCutMidChunk(image, 9000), ...STALLED },
  { what: "a chunk that is reset", behaviour: (image) => serve.chunkedCutMidChunk(image, 9000, "reset"), ...STALLED },
  { what: "a chunk that stalls", behaviour: (image) => serve.chunkedCutMidChunk(image, 9000, "stall"), ...STALLED },
  { what: "no last chunk", behaviour: serve.chunkedNoEnd, ...STALLED },
  {
    what: "a cut between two chunks",
    behaviour: (image) => serve.chunkedCutAtBoundary(image, 9000),
    outcome: ["OTA_VALIDATE_FAILED", "HTTP_READ_TIMEOUT", "HTTP_INCOMPLETE_DATA"],
    wrote: true,
  },
  {
    what: "a chunk size that is not a number",
    behaviour: (image) => serve.chunkedBadSize(image, "zz"),
    outcome: ["INVALID_SIZE", "OTA_VALIDATE_FAILED", "HTTP_READ_TIMEOUT"],
    wrote: true,
  },
  ...["-5", "ffffffffffffffff", ""].map((size) => ({
    what: `a chunk size of "${size}"`,
    behaviour: (image: Uint8Array) => serve.chunkedBadSize(image, size),
    outcome: ["", "INVALID_SIZE", "OTA_VALIDATE_FAILED", "HTTP_READ_TIMEOUT", "HTTP_INCOMPLETE_DATA"],
    wrote: true,
  })),
  // answers that break off
  { what: "silence", behaviour: () => serve.silent(), ...STALLED },
  // a byte per second with a timeout of 20 s, fifty times faster
  {
    what: "a header dribbling a byte at a time",
    behaviour: (image) => serve.dribbleHeader(image, 20),
    outcome: "HTTP_READ_TIMEOUT",
    retry: true,
    config: { timeout: 400 },
    paced: true,
  },
  {
    what: "a header without end",
    behaviour: () => endlessHeader,
    outcome: "HTTP_READ_TIMEOUT",
    retry: true,
    config: { timeout: 200 },
    paced: true,
  },
  { what: "a close before the answer", behaviour: () => serve.closeBeforeAnswer(), ...UNREACHED },
  { what: "a reset before the answer", behaviour: () => serve.closeBeforeAnswer("reset"), ...UNREACHED },
  { what: "no close-notify before the answer", behaviour: () => serve.closeBeforeAnswer("tls"), ...UNREACHED },
  { what: "a close after the status line", behaviour: () => serve.closeAfterStatusLine(), ...UNREACHED },
  { what: "a reset after the status line", behaviour: () => serve.closeAfterStatusLine("reset"), ...UNREACHED },
  { what: "silence after the status line", behaviour: () => serve.closeAfterStatusLine("stall"), ...STALLED },
  // no header's end comes, so all of the body is header to the engine
  { what: "bare LF", behaviour: serve.lfOnly, ...UNREACHED, large: true },
  { what: "another protocol", behaviour: () => serve.notHttp(), ...UNREACHED },
  {
    what: "a record that does not authenticate",
    behaviour: (image) => serve.tlsGarbage(image, 9000),
    outcome: ["HTTP_INCOMPLETE_DATA", "HTTP_READ_TIMEOUT"],
    retry: true,
    only: "https",
    wrote: true,
  },
  {
    what: "bytes of a TLS record in a plain body",
    behaviour: (image) => serve.tlsGarbage(image, 9000),
    ...STALLED,
    only: "http",
  },
  // statuses
  ...STATUSES.map(([code, outcome, retry = false]) => ({
    what: `status ${code}, with an image as its body`,
    behaviour: (image: Uint8Array) => serve.status(code, {}, image),
    outcome,
    retry,
    says: new RegExp(`${code}`),
    status: code,
  })),
  ...[403, 404, 410].map((code) => ({
    what: `status ${code}, with retries`,
    behaviour: () => serve.status(code),
    outcome: "FAIL",
    retry: code !== 403,
    status: code,
    config: { retries: 5 },
    requests: 1,
  })),
  ...STATUS_LINES.map(([line, outcome, retry]) => ({
    what: `the status line "${line}"`,
    behaviour: (image: Uint8Array) => statusLine(line, image),
    outcome,
    retry,
  })),
  ...([100, 103] as const).map((code) => ({
    what: `an interim answer ${code}`,
    behaviour: (image: Uint8Array) => serve.interim(code, serve.serveFile(image)),
    outcome: RESPONSE,
    retry: true,
    status: code,
  })),
  // redirects
  {
    what: "a redirect to nowhere",
    behaviour: () => serve.redirectNowhere(),
    outcome: RESPONSE,
    says: /Location/,
    status: 302,
  },
  ...LOCATIONS.map(([what, location]) => ({
    what: `a Location with ${what}`,
    behaviour: () => serve.redirect(302, location),
    outcome: RESPONSE,
    retry: false,
    says: /^Location: /,
    status: 302,
    requests: 1,
  })),
  {
    what: "a redirect to an unknown host",
    behaviour: () => serve.redirect(302, "http://nowhere.invalid/"),
    ...UNREACHED,
    says: /nowhere\.invalid/,
    only: "http",
  },
  { what: "a redirect loop", behaviour: () => serve.redirectLoop(), outcome: "HTTP_MAX_REDIRECT", requests: 6 },
  ...HOPS.map(([hops, maxRedirects, outcome]) => ({
    what: `${hops} redirects with maxRedirects ${maxRedirects ?? "by default"}`,
    behaviour: (image: Uint8Array) => serve.redirectChain(hops, serve.serveFile(image)),
    outcome,
    config: maxRedirects === undefined ? {} : { maxRedirects },
  })),
  // ranges
  { what: "ranges", behaviour: (image) => serve.serveFile(image), outcome: "", config: { maxRequestSize: 3000 } },
  {
    what: "ranges in chunks",
    behaviour: (image) => serve.serveFile(image, { chunked: true }),
    outcome: "",
    config: { maxRequestSize: 3000 },
  },
  {
    what: "ranges behind a redirect",
    behaviour: (image) => serve.redirectChain(1, serve.serveFile(image)),
    outcome: "",
    config: { maxRequestSize: 7000 },
  },
  {
    what: "no ranges",
    behaviour: (image) => serve.rangeAnswered200(image),
    outcome: "",
    config: { maxRequestSize: 3000 },
  },
  { what: "an unasked 206", behaviour: serve.unasked206, outcome: "" },
  { what: "a wrong first byte", behaviour: (image) => serve.wrongContentRange(image, "start"), outcome: RESPONSE },
  { what: "an unknown total", behaviour: (image) => serve.unknownTotal(image), outcome: "" },
  { what: "an unknown total in parts", behaviour: (image) => serve.unknownTotal(image, { most: 6000 }), outcome: "" },
  {
    what: "206 without Content-Range",
    behaviour: (image) => serve.wrongContentRange(image, "missing"),
    outcome: RESPONSE,
  },
  { what: "another unit", behaviour: (image) => serve.wrongContentRange(image, "unit"), outcome: RESPONSE },
  {
    what: "a wrong total",
    behaviour: (image) => serve.wrongContentRange(image, "total"),
    outcome: "HTTP_RANGE_NOT_SATISFIABLE",
    retry: true,
    wrote: true,
  },
  { what: "another range", behaviour: (image) => serve.otherRange(image, 100), outcome: RESPONSE, says: /100/ },
  {
    what: "416",
    behaviour: (image) => serve.rangeAnswered416(image),
    outcome: "HTTP_RANGE_NOT_SATISFIABLE",
    says: /416/,
  },
  { what: "multipart", behaviour: serve.multipartRange, outcome: RESPONSE },
  {
    what: "a range without a length",
    behaviour: (image) => serve.noLength(image, { ranges: true }),
    outcome: RESPONSE,
    config: { maxRequestSize: 3000 },
  },
  // going on
  ...(["close", "reset", "tls", "stall"] as const).map((how) => ({
    what: `a ${how} in the body, with a retry`,
    behaviour: (image: Uint8Array) => serve.cutAt(image, 9000, how),
    outcome: "",
    config: { retries: 1 },
  })),
  {
    what: "a chunk that is cut, with a retry",
    behaviour: (image) => serve.sequence(serve.chunkedCutMidChunk(image, 9000), serve.serveFile(image)),
    outcome: "",
    config: { retries: 1 },
  },
  {
    what: "a cut of a server that says it has ranges and answers 200",
    behaviour: (image) => serve.sequence(serve.cutAt(image, 9000, "close"), serve.rangeAnswered200(image)),
    outcome: "",
    config: { retries: 1 },
  },
  {
    what: "a link that drops every 3000 bytes",
    behaviour: (image) => serve.cutAt(image, 3000, "close", MANY),
    outcome: "",
    config: { retries: 1 },
    requests: 7,
  },
  {
    what: "a cut of a server without ranges",
    behaviour: (image) => serve.cutAt(image, 9000, "close", { ranges: false }),
    outcome: "",
    config: { retries: 1 },
  },
  {
    what: "silence, with a retry",
    behaviour: (image) => serve.sequence(serve.silent(), serve.serveFile(image)),
    outcome: "",
    config: { retries: 1 },
  },
  {
    what: "a file that is replaced under another ETag",
    behaviour: (image) => serve.changedEtag(otherOf(image), image, 9000),
    outcome: "",
    config: { retries: 1 },
  },
  {
    what: "a file that is replaced by a longer one",
    behaviour: (image) => serve.changedEtag(image, longerOf(image), 9000),
    outcome: "",
    installs: longerOf,
    config: { retries: 2 },
  },
  {
    what: "a file that is replaced under the same ETag",
    behaviour: (image) => serve.differentBytesOnResume(otherOf(image), image, 9000),
    outcome: "OTA_VALIDATE_FAILED",
    wrote: true,
    config: { retries: 1 },
  },
  {
    what: "408, 425, 429 and 500 in turn",
    behaviour: (image) =>
      serve.sequence(
        ...[408, 425, 429, 500].map((code) => serve.retryAfter(0, 1, serve.status(404), code)),
        serve.serveFile(image),
      ),
    outcome: "",
    config: { retries: 4 },
  },
  {
    what: "a deadline",
    behaviour: () => serve.silent(),
    outcome: "TIMEOUT",
    retry: true,
    says: /1000/,
    config: { deadline: 1000, timeout: 9000 },
  },
];

/** A good beginning, then chunks without end. */
function endlessChunks(image: Uint8Array): Behaviour {
  return async (_req, io) => {
    await io.head(200, { "Transfer-Encoding": "chunked" });
    await io.write(`${image.length.toString(16)}\r\n`);
    await io.write(image);
    await io.write("\r\n");
    for (;;) await io.write(`1000\r\n${"x".repeat(4096)}\r\n`);
  };
}

function byHundred(image: Uint8Array): Behaviour {
  return async (_req, io) => {
    await io.head(200, { "Content-Length": image.length, Connection: "close" });
    for (let at = 0; at < image.length; at += 100) {
      await io.write(image.subarray(at, at + 100));
      await io.sleep(5);
    }
    io.end();
  };
}

function uncleanEnd(image: Uint8Array): Behaviour {
  return async (_req, io) => {
    await io.head(200, { "Content-Length": image.length });
    await io.write(image);
    await io.sleep(20);
    io.cut();
  };
}

async function endlessHeader(_req: Request, io: Io): Promise<void> {
  await io.write("HTTP/1.1 200 OK\r\nX: ");
  for (;;) {
    await io.write("x");
    await io.sleep(5);
  }
}

function statusLine(line: string, image: Uint8Array): Behaviour {
  return async (_req, io) => {
    await io.head(line, { "Content-Length": image.length, Connection: "close" });
    await io.write(image);
    io.end();
  };
}

/** The functions of support/server.ts that the cases use: each case is asked for its behaviour. */
export function functionsOfCases(): Set<string> {
  for (const one of CASES) one.behaviour(imageOf(0));
  return used;
}
