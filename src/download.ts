// The bytes of one file as they arrive, over as many connections as it takes. Nothing is stored here but what nobody
// has taken yet: when its reader pauses the connection is closed, and made again with Range. A server that does not
// know ranges begins again at zero, and so does the reader then (see `offset`).
// Source: DESIGN.md facts 5 and 6; reference 9 (5, 6).

import type { Settings } from "./config";
import { after, cancel } from "./hal";
import { get, type Head, SETTLE_MS } from "./http";
import { asFault, Code, fault, guarded, type OtaError } from "./status";

const MAX_HELD = 3500; // what may wait for a reader that pauses
const FIRST_BACKOFF = 1000;
const MAX_BACKOFF = 32000;
const MAX_WAIT = 300000; // of what a server may ask for with Retry-After

export interface Download {
  /** what has arrived and was not taken, a binary string */
  held_: string;
  /** where `held` begins in the file; falls back to 0 when the server begins again */
  offset_: number;
  /** the whole file's length, -1 while unknown */
  total_: number;
  /** has the last byte arrived, whether or not it is taken? */
  ended_: boolean;
  /** last HTTP status, -1 before the first */
  status_: number;
  /**
   * The short way: may take a piece that comes while nothing is held, and is not the last, by returning true. What it
   * throws ends the connection, like a failure of the network.
   */
  sink_?: (offset: number, data: string) => boolean;
  /** Calls `ready` when `held` has `bytes` or the file has ended; with an error when neither will happen. */
  want_(bytes: number, ready: (error: OtaError | null) => void): void;
  /** Takes at most `bytes` of what is held. */
  take_(bytes: number): string;
  /** Goes on at `offset`; what is held is dropped. */
  seek_(offset: number): void;
  /** For good: nothing refers to it any more. */
  close_(): void;
}

/**
 * Nothing is sent before the first `want`. `limit`: the most bytes that may come.
 * @chapter @apart
 */
export function createDownload(options: Settings, url: string, limit: number, onConnected: () => void): Download {
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
  const self = { held_: "", offset_: 0, total_: -1, ended_: false, status_: -1 } as Download;

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

  function goTo(offset: number): void {
    self.offset_ = offset;
    self.held_ = "";
    self.ended_ = false;
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
    const received = self.offset_ + self.held_.length;
    self.status_ = head.status_;
    if (known && (head.total_ !== self.total_ || head.etag_ !== etag)) {
      if (changes++) throw fault(Code.INVALID_RESPONSE, "the file changed again");
      goTo(0);
      known = false;
      if (head.start_) {
        close();
        return connectAfter(SETTLE_MS);
      }
    } else if (head.start_ !== received) {
      if (head.start_) throw fault(Code.INVALID_RESPONSE, "bytes from " + head.start_ + ", wanted " + received);
      // a server without ranges, which a caller that pauses would otherwise ask for ever
      if (begun++ > options.retries) throw fault(Code.NOT_SUPPORTED, "the server begins at 0, wanted " + received);
      goTo(0);
    }
    if (head.total_ > limit) throw fault(Code.INVALID_SIZE, "file of " + head.total_ + " bytes, room for " + limit);
    self.total_ = head.total_;
    etag = head.etag_;
    known = true;
    if (!connected) onConnected();
    connected = true;
  }

  function keep(data: string): void {
    const held = self.held_ ? self.held_ + data : data;
    const received = self.offset_ + held.length;
    if (received > limit) throw fault(Code.INVALID_SIZE, "file of more than " + limit + " bytes");
    self.held_ = held;
    if (received === self.total_) self.ended_ = true;
    if (!ready) {
      if (held.length > MAX_HELD) close();
    } else if (held.length >= wanted || self.ended_) settle(null);
  }

  function onData(data: string): void {
    const offset = self.offset_;
    if (!self.held_ && self.sink_ && self.sink_(offset, data)) self.offset_ = offset + data.length;
    else keep(data);
  }

  /** Bytes received so far. More than ever before is progress. */
  function progress(): number {
    const received = self.offset_ + self.held_.length;
    if (received > best) {
      best = received;
      failures = begun = 0;
    }
    return received;
  }

  function onEnd(error: OtaError | null): void {
    disconnect = null;
    const received = progress();
    let wait = SETTLE_MS;
    if (!error) {
      if (self.total_ < 0 || received >= self.total_) self.ended_ = true;
      if (ready && (self.held_.length >= wanted || self.ended_)) return settle(null);
    } else if (error.code === Code.HTTP_RANGE_NOT_SATISFIABLE && received && !changes++) {
      // the file is shorter than it was
      goTo(0);
      known = false;
    } else if (!error.retry || failures >= options.retries) return settle(error);
    // while nobody wants bytes the next `want` reconnects
    else if (ready)
      wait = Math.max(
        Math.min(FIRST_BACKOFF * 2 ** failures++, MAX_BACKOFF) * (0.5 + Math.random() / 2),
        Math.min(error.wait_ || 0, MAX_WAIT),
      );
    if (ready) connectAfter(wait);
  }

  options.stop_ = (error) => {
    close();
    settle(error);
  };

  connect = (): void => {
    const from = progress();
    const range: { [name: string]: string } = {
      Range: "bytes=" + from + "-" + (options.maxRequestSize ? from + options.maxRequestSize - 1 : ""),
    };
    // only a strong validator may join two parts (RFC 9110 13.1.5)
    if (from && etag && etag.substr(0, 2) !== "W/") range["If-Range"] = etag;
    try {
      disconnect = /*@__NOINLINE__*/ get(options, url, range, { onHead_: onHead, onData_: onData, onEnd_: onEnd });
    } catch (thrown) {
      onEnd(asFault(thrown));
    }
  };

  self.want_ = (bytes, callback) => {
    wanted = bytes;
    ready = callback;
    if (broken) settle(broken);
    else if (self.held_.length >= bytes || self.ended_) settle(null);
    else if (!disconnect && timer === undefined) connectAfter(SETTLE_MS);
  };
  self.take_ = (bytes) => {
    const held = self.held_;
    const whole = held.length <= bytes;
    self.held_ = whole ? "" : held.substr(bytes);
    self.offset_ += whole ? held.length : bytes;
    return whole ? held : held.substr(0, bytes);
  };
  self.seek_ = (offset) => {
    close();
    goTo(offset);
    best = offset;
  };
  self.close_ = () => {
    close();
    options.stop_ = undefined;
  };
  return self;
}
