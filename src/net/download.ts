// The bytes of one file as they arrive, over as many connections as it takes. Nothing is stored here but what nobody
// has taken yet: when its reader pauses the connection is closed, and made again with Range. A server that does not
// know ranges begins again at zero, and so does the reader then (see `offset`).
// Source: docs/espruino.md#data-is-pushed, docs/decisions/resume-without-state.md.

import { after, cancel } from "../platform/timers";
import type { Settings } from "../config";
import { spread } from "../platform/engine";
import type { Head } from "./headers";
import { get, Pause } from "./http";
import { toOtaError, Code, otaError, tryOr, noop, type OtaError } from "../errors";

/** Bytes of a range whose answer fits into a TLS buffer of 8 KB, with a KB of headers; and the fewest that are tried. */
const RANGE = 7168;
const LEAST_RANGE = 512;
const MAX_HELD = 3500; // what may wait for a reader that pauses
const FIRST_BACKOFF = 1000;
const MAX_BACKOFF = 32000;
const MAX_WAIT = 300000; // of what a server may ask for with Retry-After

/**
 * Is offered all that has come and was not taken, whenever there is more of it; `ended` tells that no more will come.
 * Returns how many bytes it takes. What it throws ends the connection, like a failure of the network.
 */
export type Sink = (data: string, ended: boolean) => number;

export interface Download {
  /** what has arrived and was not taken, a binary string */
  held_: string;
  /** where `held` begins in the file; falls back to 0 when the server begins again */
  offset_: number;
  /** the whole file's length, -1 while unknown */
  total_: number;
  /** has the last byte arrived, whether or not it is taken? */
  ended_: boolean;
  /**
   * Not 0: the file has changed meanwhile, or nothing proves that it has not: parts of several answers were joined without a
   * strong validator. Whoever finds it bad may find it good next time. A number, which takes a variable less than a boolean.
   */
  changed_: number;
  /** who reads; null while nobody does */
  sink_: Sink | null;
  /** hears, while there is a sink, that it will get nothing more */
  failed_(error: OtaError): void;
  /** To be called when `sink` was set: offers what is held, and connects when need be. */
  read_(): void;
  /** Goes on at `offset`; what is held is dropped. */
  seek_(offset: number): void;
  /** For good: only the figures are left of it. */
  close_(): void;
}

/** Nothing is sent before the first `read`. `limit`: the most bytes that may come. */
export function createDownload(
  options: Settings,
  url: string,
  limit: number,
  onConnected: (event: "CONNECTED") => void,
): Download {
  let tag = "";
  let strong = false; // only a strong validator may join two parts (RFC 9110 13.1.5)
  let known = false; // total and tag are those of the bytes held
  let part = false; // the last answer is a part of a file whose length nobody tells: more may follow it
  let connected = false;
  let broken: OtaError | null = options.late_ || null;
  let best = 0; // most bytes ever received: more is progress
  let failures = 0;
  let changes = 0;
  let begun = 0; // times from zero without progress
  let disconnect: (() => void) | null = null;
  let closing = false; // a connection was given up: no idle pass was seen since
  let timer: number | undefined;
  let goOn: () => void;
  const self = {
    held_: "",
    offset_: 0,
    total_: -1,
    ended_: false,
    changed_: 0,
    sink_: null,
    failed_: noop,
  } as unknown as Download;

  function close(): void {
    const received = self.offset_ + self.held_.length;
    // more than ever before is progress
    if (received > best) {
      best = received;
      failures = begun = 0;
    }
    if (disconnect) {
      disconnect();
      closing = true;
    }
    disconnect = null;
    if (timer !== undefined) cancel(timer);
    timer = undefined;
  }

  /** The end, for good. */
  function settle(error: OtaError): void {
    const waiting = self.sink_;
    close();
    self.sink_ = null;
    broken = error;
    if (waiting) self.failed_(error);
  }

  function goTo(offset: number): void {
    self.offset_ = offset;
    self.held_ = "";
    self.ended_ = false;
    if (!offset) self.changed_ = changes;
  }

  function goOnAfter(ms: number): void {
    tryOr(() => {
      if (timer !== undefined) cancel(timer);
      timer = after(ms, goOn);
    }, settle);
  }

  function onHead(head: Head): void {
    const received = self.offset_ + self.held_.length;
    const total = head.total_;
    // an answer to If-Range may leave Last-Modified out (RFC 9110 15.3.7), but not ETag, which has quotes
    const same = head.tag_ === tag || (!head.tag_ && tag.indexOf('"') < 0);
    if (known && !(same && (total < 0 || self.total_ < 0 || total === self.total_))) {
      if (changes++) throw otaError(Code.INVALID_RESPONSE, "the file changed again");
      goTo(0);
      known = false;
      if (head.start_) {
        close();
        return goOnAfter(Pause.SETTLE);
      }
    } else if (head.start_ !== received) {
      if (head.start_) throw otaError(Code.INVALID_RESPONSE, "bytes from " + head.start_ + ", wanted " + received);
      // a server without ranges, which a caller that pauses would otherwise ask for ever
      if (begun++ > options.retries) throw otaError(Code.NOT_SUPPORTED, "the server begins at 0, wanted " + received);
      goTo(0);
    }
    if (total > limit) throw otaError(Code.INVALID_SIZE, "file of " + total + " bytes, wanted at most " + limit);
    if (head.start_ && !strong) self.changed_ = 1;
    if (total >= 0 || !head.start_) self.total_ = total;
    part = total < 0 && head.length_ >= 0;
    if (head.tag_ || !head.start_) {
      tag = head.tag_;
      strong = head.strong_;
    }
    known = true;
    if (!connected) onConnected("CONNECTED");
    connected = true;
  }

  /** The last byte is there, or more than may come. */
  function reach(): void {
    if (self.total_ < 0) throw otaError(Code.INVALID_SIZE, "file of more than " + limit + " bytes");
    self.ended_ = true;
  }

  /** Offers what is held, and `data`, which has just come. */
  function offer(data: string): void {
    const held = self.held_ ? self.held_ + data : data;
    const received = self.offset_ + held.length;
    self.held_ = held;
    if (received >= self.total_ && (self.total_ >= 0 || received > limit)) /*@__NOINLINE__*/ reach();
    if (timer !== undefined) return;
    const taken = self.sink_ ? self.sink_(held, self.ended_) : 0;
    if (taken) {
      self.offset_ += taken;
      self.held_ = taken === held.length ? "" : held.substr(taken);
    }
    if (!self.sink_ && self.held_.length > MAX_HELD) close();
  }

  function onEnd(error: OtaError | null): void {
    const received = self.offset_ + self.held_.length;
    const fresh = received - best;
    close();
    let wait = Pause.SETTLE;
    // 416: all of a chunked body may be there but its end, and only so does a file without a total end
    if (!error || (self.total_ < 0 && (error.total_ === received || (part && error.total_! < 0)))) {
      if (self.total_ < 0 ? error || !part : received >= self.total_) self.ended_ = true;
    } else if (error.code === Code.HTTP_RANGE_NOT_SATISFIABLE && received && !changes++) {
      // the file is shorter than it was
      goTo(0);
      known = false;
    } else if (error.record_) {
      // The server fills records of up to 16 KB, and the engine asks for no smaller ones. What came before the one that does
      // not fit comes again from a server whose records grow; else the answer, head and body, has to fit into one.
      const size = options.maxRequestSize;
      options.maxRequestSize = fresh >= RANGE ? fresh : size && size <= RANGE ? size >> 1 : RANGE;
      if (options.maxRequestSize < LEAST_RANGE) {
        const last = otaError(
          Code.NOT_SUPPORTED,
          "TLS records too large for this build, even in ranges of " +
            size +
            " bytes: use http: with keys, or a server with ranges and short headers",
        );
        last.status = error.status;
        return settle(last);
      }
    } else if (!error.retry || failures >= options.retries) {
      // nothing to wait for within this update, but the release may be there tomorrow
      if (changes || error.status === 404 || error.status === 410) error.retry = true;
      return settle(error);
    }
    // while nobody reads the next `read` reconnects
    else if (self.sink_)
      wait = Math.max(
        Math.min(FIRST_BACKOFF * 2 ** failures, MAX_BACKOFF) * (0.5 + spread(failures++) / 2),
        Math.min(error.wait_ || 0, MAX_WAIT),
      );
    if (self.sink_) goOnAfter(wait);
  }

  options.stop_ = settle;

  /** Offers what is held; when that is not enough, connects. */
  goOn = (): void => {
    timer = undefined;
    // the engine closes connections after it has looked at its timers
    if (closing) {
      closing = false;
      return goOnAfter(0);
    }
    tryOr(() => {
      if (self.held_ || self.ended_) offer("");
      if (!self.sink_ || self.ended_ || disconnect || timer !== undefined) return;
      const from = self.offset_ + self.held_.length;
      const range: { [name: string]: string } = {
        Range: "bytes=" + from + "-" + (options.maxRequestSize ? from + options.maxRequestSize - 1 : ""),
      };
      if (from && strong) range["If-Range"] = tag;
      try {
        disconnect = /*@__NOINLINE__*/ get(options, url, range, onHead, offer, onEnd);
      } catch (thrown) {
        onEnd(toOtaError(thrown));
      }
    }, settle);
  };

  self.read_ = () => {
    if (broken) settle(broken);
    // from a timer: what a reader does needs more memory than there is below a data listener
    else if (timer === undefined) goOnAfter(disconnect || self.ended_ ? 0 : Pause.SETTLE);
  };
  self.seek_ = (offset) => {
    close();
    goTo(offset);
    best = offset;
  };
  self.close_ = () => {
    close();
    options.stop_ = undefined;
    self.sink_ = null;
    self.read_ = self.seek_ = self.close_ = self.failed_ = noop;
  };
  return self;
}
