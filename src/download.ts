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
  /** bytes in `buffer` */
  fill_: number;
  /** where `buffer` begins in the file; falls back to 0 when the server begins again */
  offset_: number;
  /** the whole file's length, -1 while unknown */
  total_: number;
  /** has the last byte arrived, whether or not it is consumed? */
  ended_: boolean;
  /** last HTTP status, -1 before the first */
  status_: number;
  /** Calls `ready` when `buffer` holds `bytes` or the file has ended; with an error when neither will happen. */
  want_(bytes: number, ready: (error: OtaError | null) => void): void;
  /** Gives `buffer` back and goes on to the next sector. */
  consume_(): void;
  /** Goes on at `offset`, the start of a sector; what is held is dropped. */
  seek_(offset: number): void;
  /** For good: nothing refers to it any more. */
  close_(): void;
}

/** Nothing is sent before the first `want`. `limit`: the most bytes that may come. */
export function createDownload(options: Settings, url: string, limit: number, onConnected: () => void): Download {
  let overflow = "";
  let etag = "";
  let known = false; // total and etag are those of the bytes held
  let connected = false;
  let broken: OtaError | null = options.late_ || null;
  let best = 0; // most bytes ever received: more is progress
  let failures = 0;
  let changes = 0;
  let begun = 0; // times from zero without progress
  let wanted = 0;
  let ready: ((error: OtaError | null) => void) | null = null;
  let disconnect: (() => void) | null = null;
  let timer: number | undefined;
  let connect: () => void;
  const self = {
    buffer_: new Uint8Array(SECTOR),
    fill_: 0,
    offset_: 0,
    total_: -1,
    ended_: false,
    status_: -1,
  } as Download;

  function received(): number {
    return self.offset_ + self.fill_ + overflow.length;
  }

  function close(): void {
    if (disconnect) disconnect();
    disconnect = null;
    if (timer !== undefined) cancel(timer);
    timer = undefined;
  }

  /** Answers who waits; an error is for good. */
  function settle(error: OtaError | null): void {
    const callback = ready;
    ready = null;
    broken = error;
    if (callback) callback(error);
  }

  function store(data: string): void {
    const room = SECTOR - self.fill_;
    const part = data.length > room ? data.substr(0, room) : data;
    self.buffer_.set(part, self.fill_);
    self.fill_ += part.length;
    overflow = data.substr(part.length);
  }

  function restart(): void {
    self.offset_ = self.fill_ = 0;
    overflow = "";
    known = false;
  }

  function connectAfter(ms: number): void {
    guarded(() => {
      timer = after(ms, () => {
        timer = undefined;
        connect();
      });
    }, settle);
  }

  function onHead(head: Head): void {
    self.status_ = head.status_;
    if (known && (head.total_ !== self.total_ || head.etag_ !== etag)) {
      if (changes++) throw fault(Code.INVALID_RESPONSE, "the file changed again during the download");
      restart();
      if (head.start_) {
        close();
        return connectAfter(SETTLE_MS);
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
    self.total_ = head.total_;
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
    if (self.total_ >= 0 && received() >= self.total_) self.ended_ = true;
    if (!ready) {
      if (overflow.length > MAX_OVERFLOW) close();
    } else if (self.fill_ >= wanted || self.ended_) settle(null);
  }

  function onEnd(error: OtaError | null): void {
    disconnect = null;
    if (!error) {
      if (self.total_ < 0 || received() >= self.total_) self.ended_ = true;
      if (!ready) return;
      if (self.fill_ >= wanted || self.ended_) return settle(null);
      return connectAfter(SETTLE_MS);
    }
    if (error.code === Code.HTTP_RANGE_NOT_SATISFIABLE && received() && !changes++) {
      // the file is shorter than it was
      restart();
      return connectAfter(SETTLE_MS);
    }
    if (!error.retry || failures >= options.retries) return settle(error);
    // while nobody wants bytes the next `want` reconnects
    if (!ready) return;
    const backoff = Math.min(FIRST_BACKOFF * 2 ** failures++, MAX_BACKOFF) * (0.5 + Math.random() / 2);
    connectAfter(Math.max(backoff, Math.min(error.wait_ || 0, MAX_WAIT)));
  }

  options.stop_ = (error) => {
    close();
    settle(error);
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

  self.want_ = (bytes, callback) => {
    wanted = bytes;
    ready = callback;
    if (broken) settle(broken);
    else if (self.fill_ >= bytes || self.ended_) settle(null);
    else if (!disconnect && timer === undefined) connectAfter(SETTLE_MS);
  };
  self.consume_ = () => {
    const rest = overflow;
    self.offset_ += self.fill_;
    self.fill_ = 0;
    overflow = "";
    if (rest) store(rest);
  };
  self.seek_ = (to) => {
    close();
    self.offset_ = best = to;
    self.fill_ = 0;
    overflow = "";
    self.ended_ = false;
  };
  self.close_ = () => {
    close();
    options.stop_ = undefined;
  };
  return self;
}
