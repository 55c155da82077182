// The bytes of one file, a sector at a time, over as many connections as it takes. It holds at most a sector and a
// little more: when its reader pauses it closes the connection and comes back with Range. A server that does not
// know ranges begins again at zero, and so does the reader then (see `offset`).
// Source: DESIGN.md facts 5 and 6; reference 9 (5, 6).

import type { Settings } from "./config";
import { after, cancel, SECTOR } from "./hal";
import { get, type Head, SETTLE_MS } from "./http";
import { asFault, Code, fault, guarded, type OtaError } from "./status";

// a chunk is 536 bytes, so sector and overflow together stay below 8 KB
const MAX_OVERFLOW = 3500;
const FIRST_BACKOFF = 1000;
const MAX_BACKOFF = 32000;
const MAX_WAIT = 300000; // of what a server may ask for with Retry-After

export interface Download {
  /** the sector being filled */
  buffer_: Uint8Array;
  /** Calls `ready` when `buffer` holds `bytes` or the file has ended; with an error when neither will happen. */
  want_(bytes: number, ready: (error: OtaError | null) => void): void;
  /** Gives `buffer` back and goes on to the next sector. */
  consume_(): void;
  /** Goes on at `offset`, the start of a sector; what is held is dropped. */
  seek_(offset: number): void;
  close_(): void;
  /** bytes in `buffer` */
  fill_(): number;
  /** where `buffer` begins in the file; falls back to 0 when the server begins again */
  offset_(): number;
  /** the whole file's length, -1 while unknown */
  total_(): number;
  /** has the last byte arrived, whether or not it is consumed? */
  ended_(): boolean;
  /** last HTTP status, -1 before the first */
  status_(): number;
}

/** Nothing is sent before the first `want`. `limit`: the most bytes that may come. */
export function createDownload(options: Settings, url: string, limit: number, onConnected: () => void): Download {
  const buffer = new Uint8Array(SECTOR);
  let fill = 0;
  let overflow = "";
  let offset = 0;
  let total = -1;
  let etag = "";
  let known = false; // total and etag are those of the bytes held
  let connected = false;
  let broken: OtaError | null = null;
  let status = -1;
  let ended = false;
  let best = 0; // most bytes ever received: more is progress
  let failures = 0;
  let changes = 0;
  let begun = 0; // times from zero without progress
  let wanted = 0;
  let ready: ((error: OtaError | null) => void) | null = null;
  let disconnect: (() => void) | null = null;
  let timer: number | undefined;
  let connect: () => void;

  function received(): number {
    return offset + fill + overflow.length;
  }

  function close(): void {
    if (disconnect) disconnect();
    disconnect = null;
    if (timer !== undefined) cancel(timer);
    timer = undefined;
  }

  function settle(error: OtaError | null): void {
    const callback = ready;
    ready = null;
    if (callback) callback(error);
  }

  function fail(error: OtaError): void {
    broken = error;
    settle(error);
  }

  function settleWhenReady(): void {
    if (ready && (fill >= wanted || ended)) settle(null);
  }

  function store(data: string): void {
    const room = SECTOR - fill;
    const part = data.length > room ? data.substr(0, room) : data;
    buffer.set(part, fill);
    fill += part.length;
    overflow = data.substr(part.length);
  }

  function seek(to: number): void {
    close();
    offset = best = to;
    fill = 0;
    overflow = "";
    ended = false;
  }

  function restart(): void {
    offset = fill = 0;
    overflow = "";
    known = false;
  }

  function connectAfter(ms: number): void {
    guarded(() => {
      timer = after(ms, () => {
        timer = undefined;
        connect();
      });
    }, fail);
  }

  function connectSoon(): void {
    connectAfter(SETTLE_MS);
  }

  function onHead(head: Head): void {
    status = head.status_;
    if (known && (head.total_ !== total || head.etag_ !== etag)) {
      if (changes++) throw fault(Code.INVALID_RESPONSE, "the file changed again during the download");
      restart();
      if (head.start_) {
        close();
        return connectSoon();
      }
    }
    if (head.start_ !== received()) {
      if (head.start_) throw fault(Code.INVALID_RESPONSE, "bytes from " + head.start_ + ", wanted from " + received());
      // a server without ranges, which a caller that pauses would otherwise ask for ever
      if (begun++ > options.retries)
        throw fault(Code.NOT_SUPPORTED, "the server begins again at 0 instead of " + received());
      restart();
    }
    if (head.total_ > limit)
      throw fault(Code.INVALID_SIZE, "file of " + head.total_ + " bytes, there is room for " + limit);
    total = head.total_;
    etag = head.etag_;
    known = true;
    if (!connected) onConnected();
    connected = true;
  }

  function onData(data: string): void {
    if (received() + data.length > limit)
      throw fault(Code.INVALID_SIZE, "file of more than " + limit + " bytes, there is no more room");
    if (overflow) overflow += data;
    else store(data);
    if (received() > best) {
      best = received();
      failures = begun = 0;
    }
    if (total >= 0 && received() >= total) ended = true;
    if (ready) settleWhenReady();
    else if (overflow.length > MAX_OVERFLOW) close();
  }

  function onEnd(error: OtaError | null): void {
    disconnect = null;
    if (!error) {
      if (total < 0 || received() >= total) ended = true;
      if (ready && fill < wanted && !ended) return connectSoon();
      return settleWhenReady();
    }
    if (error.code === Code.HTTP_RANGE_NOT_SATISFIABLE && received() && !changes++) {
      // the file is shorter than it was
      restart();
      return connectSoon();
    }
    if (!error.retry || failures >= options.retries) return fail(error);
    // while nobody wants bytes the next `want` reconnects
    if (!ready) return;
    const backoff = Math.min(FIRST_BACKOFF * 2 ** failures++, MAX_BACKOFF) * (0.5 + Math.random() / 2);
    connectAfter(Math.max(backoff, Math.min(error.wait_ || 0, MAX_WAIT)));
  }

  options.stop_ = (error) => {
    close();
    fail(error);
  };

  connect = (): void => {
    const from = received();
    const range: { [name: string]: string } = {
      Range: "bytes=" + from + "-" + (options.maxRequestSize ? from + options.maxRequestSize - 1 : ""),
    };
    // only a strong validator may join two parts (RFC 9110 13.1.5)
    if (from && etag && etag.substr(0, 2) !== "W/") range["If-Range"] = etag;
    try {
      disconnect = get(options, url, range, { onHead_: onHead, onData_: onData, onEnd_: onEnd });
    } catch (thrown) {
      onEnd(asFault(thrown));
    }
  };

  return {
    buffer_: buffer,
    want_: (bytes, callback) => {
      wanted = bytes;
      ready = callback;
      if (broken) settle(broken);
      else if (fill >= bytes || ended) settle(null);
      else if (!disconnect && timer === undefined) connectSoon();
    },
    consume_: () => {
      const rest = overflow;
      offset += fill;
      fill = 0;
      overflow = "";
      if (rest) store(rest);
    },
    seek_: seek,
    close_: close,
    fill_: () => fill,
    offset_: () => offset,
    total_: () => total,
    ended_: () => ended,
    status_: () => status,
  };
}
