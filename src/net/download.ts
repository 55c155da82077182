// The bytes of one file as they arrive, over as many connections as it takes. Nothing is stored here but what nobody
// has taken yet: when its reader pauses the connection is closed, and made again with Range. A server that does not
// know ranges begins again at zero, and so does the reader then (see `offset_`).
//
//   state        marked by            left by
//   waiting      timer_               the timer: what is buffered is offered, then it connects
//   connected    disconnect_          the last byte, an error, a reader that pauses: back to waiting, or the end
//   paused       neither, no consumer_    read()
//   ended        ended_               seek()
//   broken       broken_              nothing
//
// Source: docs/espruino.md#data-is-pushed, docs/decisions/resume-without-state.md.

import { toOtaError, Code, otaError, tryOr, noop, type OtaError } from "../errors";
import { spread } from "../platform/engine";
import { after, cancel } from "../platform/timers";
import type { Head } from "./headers";
import { get, Pause } from "./http";
import { createInbox, type Inbox } from "./inbox";
import type { RequestOptions } from "./request-options";
import { readSource } from "./source";

/** Enums, which take no variable. */
const enum Range {
  /** bytes of a range whose answer fits into a TLS buffer of 8 KB, with a KB of headers */
  FITTING = 7168,
  /** the fewest that are tried */
  LEAST = 512,
}

/** ms */
const enum Wait {
  FIRST = 1000,
  MAX = 32000,
  /** of what a server may ask for with Retry-After */
  RETRY_AFTER = 300000,
}

/** What may wait for a reader that pauses, in bytes. */
const enum Buffer {
  MAX = 3500,
}

/**
 * Reads a download. When the inbox has a block size it is called when a block is full, with "", and `ended` tells
 * that this is the last one; it sets `offset_` behind the block, and empties the inbox. Else it is offered all that has
 * come whenever there is more of it, and takes nothing; `ended` tells that no more will come. What it throws ends the
 * connection, like a failure of the network.
 */
export type Consumer = (text: string, ended: boolean) => void;

export interface Download {
  /** what has come and was not taken */
  readonly inbox_: Inbox;
  /** the whole file's length, -1 while unknown */
  total_: number;
  /** has the last byte arrived, whether or not it is taken? */
  ended_: boolean;
  /**
   * Not 0: the file has changed meanwhile, or nothing proves that it has not: parts of several answers were joined without a
   * strong validator. Whoever finds it bad may find it good next time. A number, which takes a variable less than a boolean.
   */
  mixed_: number;
  /** HTTP status of the last answer, -1 before the first */
  status_: number;
  /** who reads; null while nobody does */
  consumer_: Consumer | null;
  /** hears, while there is a consumer, that it will get nothing more */
  failed_(error: OtaError): void;

  // the rest is of this file alone
  options_: RequestOptions;
  readonly limit_: number;
  /** of the bytes buffered: ETag or Last-Modified; is it strong? Only a strong one may join two parts (RFC 9110 13.1.5) */
  tag_: string;
  strong_: boolean;
  /** are total and tag those of the bytes buffered? */
  known_: boolean;
  /** was the last answer a part of a file whose length nobody tells? Then more may follow it */
  part_: boolean;
  connected_: boolean;
  broken_: OtaError | null;
  /** most bytes ever received: more is progress */
  best_: number;
  /** connections that failed, and answers that began at zero, since the last progress */
  failures_: number;
  restarts_: number;
  /** times that the file has changed */
  changes_: number;
  disconnect_: (() => void) | null;
  /** was a connection given up, and no idle pass seen since? */
  closing_: boolean;
  timer_?: number;
  onConnected_(event: "CONNECTED"): void;
  /** Takes what has come, from whoever brings it. */
  deliver_(data: string): void;
  /** what the timer calls */
  resume_(): void;
}

/** Bytes of the file that have come, taken or not. */
export function received(download: Download): number {
  const inbox = download.inbox_;
  return inbox.offset_ + inbox.filled_ + inbox.buffered_.length;
}

function disconnect(download: Download): void {
  const bytes = received(download);
  if (bytes > download.best_) {
    download.best_ = bytes;
    download.failures_ = download.restarts_ = 0;
  }
  if (download.disconnect_) {
    download.disconnect_();
    download.closing_ = true;
  }
  download.disconnect_ = null;
  if (download.timer_ !== undefined) cancel(download.timer_);
  download.timer_ = undefined;
}

/** The end, for good. */
function settle(download: Download, error: OtaError): void {
  const waiting = download.consumer_;
  disconnect(download);
  download.consumer_ = null;
  download.broken_ = error;
  if (waiting) download.failed_(error);
}

function goTo(download: Download, offset: number): void {
  const inbox = download.inbox_;
  inbox.offset_ = offset;
  inbox.pieces_ = [];
  inbox.filled_ = inbox.room_ = 0;
  inbox.buffered_ = "";
  download.ended_ = false;
  if (!offset) download.mixed_ = download.changes_;
}

function resumeAfter(download: Download, ms: number): void {
  tryOr(
    () => {
      if (download.timer_ !== undefined) cancel(download.timer_);
      // until it is due, what comes waits in order
      download.inbox_.room_ = 0;
      download.timer_ = after(ms, download.resume_);
    },
    (error) => settle(download, error),
  );
}

/** Is this answer of the file whose bytes are buffered? */
function isSameFile(download: Download, head: Head): boolean {
  const total = head.total_;
  // an answer to If-Range may leave Last-Modified out (RFC 9110 15.3.7), but not ETag, which has quotes
  const sameTag = head.tag_ === download.tag_ || (!head.tag_ && download.tag_.indexOf('"') < 0);
  return sameTag && (total < 0 || download.total_ < 0 || total === download.total_);
}

/** An answer with a body. False when it is of no use, and the file is asked for once more. */
function acceptHead(download: Download, head: Head): boolean {
  const wanted = received(download);
  const total = head.total_;
  if (download.known_ && !isSameFile(download, head)) {
    if (download.changes_++) throw otaError(Code.INVALID_RESPONSE, "the file changed again");
    goTo(download, 0);
    download.known_ = false;
    if (head.start_) return false;
  } else if (head.start_ !== wanted) {
    if (head.start_)
      throw otaError(Code.INVALID_RESPONSE, "Content-Range starts at " + head.start_ + ", expected " + wanted);
    // a server without ranges, which a caller that pauses would otherwise ask for ever
    if (download.restarts_++ > download.options_.retries)
      throw otaError(Code.NOT_SUPPORTED, "server ignored Range: expected byte " + wanted);
    goTo(download, 0);
  }
  if (total > download.limit_)
    throw otaError(Code.INVALID_SIZE, "file of " + total + " bytes, expected at most " + download.limit_);
  if (head.start_ && !download.strong_) download.mixed_ = 1;
  if (total >= 0 || !head.start_) download.total_ = total;
  download.part_ = total < 0 && head.length_ >= 0;
  if (head.tag_ || !head.start_) {
    download.tag_ = head.tag_;
    download.strong_ = head.strong_;
  }
  download.known_ = true;
  return true;
}

function onHead(download: Download, head: Head): void {
  download.status_ = head.status_;
  if (!acceptHead(download, head)) {
    disconnect(download);
    return resumeAfter(download, Pause.SETTLE);
  }
  if (!download.connected_) download.onConnected_("CONNECTED");
  download.connected_ = true;
}

/** The last byte is there, or more than may come. */
function onLastByte(download: Download): void {
  if (download.total_ < 0) throw otaError(Code.INVALID_SIZE, "file of more than " + download.limit_ + " bytes");
  download.ended_ = true;
}

/**
 * A TLS record did not fit. The server fills records of up to 16 KB, and the engine asks for no smaller ones. What came before
 * the one that does not fit, `fresh` bytes, comes again from a server whose records grow; else the answer, head and body, has
 * to fit into one. The next file is asked for in such ranges too. Returns what it ends with, when no range is small enough.
 */
function narrowRange(options: RequestOptions, fresh: number): OtaError | null {
  const size = options.maxRequestSize;
  options.maxRequestSize = fresh >= Range.FITTING ? fresh : size && size <= Range.FITTING ? size >> 1 : Range.FITTING;
  if (options.maxRequestSize >= Range.LEAST) return null;
  return otaError(
    Code.NOT_SUPPORTED,
    "TLS records too large for this build, even in ranges of " +
      size +
      " bytes: use http: with keys, or a server with ranges and short headers",
  );
}

/** ms until the next try, after `error`. It differs from device to device, which others may have lost at the same moment. */
function backoff(download: Download, error: OtaError): number {
  return Math.max(
    Math.min(Wait.FIRST * 2 ** download.failures_, Wait.MAX) * (0.5 + spread(download.failures_++) / 2),
    Math.min(error.wait_ || 0, Wait.RETRY_AFTER),
  );
}

/** The end of an answer, or of a connection. */
function onEnd(download: Download, error: OtaError | null): void {
  const bytes = received(download);
  const fresh = bytes - download.best_;
  let wait: number = Pause.SETTLE;
  let final: OtaError | null = null;
  disconnect(download);
  if (error && error.status) download.status_ = error.status;
  // 416: all of a chunked body may be there but its end, and only so does a file without a total end
  if (!error || (download.total_ < 0 && (error.total_ === bytes || (download.part_ && error.total_! < 0)))) {
    if (download.total_ < 0 ? error || !download.part_ : bytes >= download.total_) download.ended_ = true;
  } else if (error.code === Code.HTTP_RANGE_NOT_SATISFIABLE && bytes && !download.changes_++) {
    // the file is shorter than it was
    goTo(download, 0);
    download.known_ = false;
  } else if (error.record_) {
    final = narrowRange(download.options_, fresh);
    if (final) final.status = error.status;
  } else if (!error.retry || download.failures_ >= download.options_.retries) {
    final = error;
    // nothing to wait for within this update, but the release may be there tomorrow
    if (download.changes_ || error.status === 404 || error.status === 410) error.retry = true;
  }
  // while nobody reads the next `read` reconnects
  else if (download.consumer_) wait = backoff(download, error);
  if (final) settle(download, final);
  else if (download.consumer_) resumeAfter(download, wait);
}

/** The headers that ask for what is still to come. */
function rangeHeaders(download: Download): { [name: string]: string } {
  const from = received(download);
  const size = download.options_.maxRequestSize;
  const headers: { [name: string]: string } = { Range: "bytes=" + from + "-" + (size ? from + size - 1 : "") };
  if (from && download.strong_) headers["If-Range"] = download.tag_;
  return headers;
}

/** To be called when `consumer_` was set: offers what is buffered, and connects when need be. */
export function read(download: Download): void {
  if (download.broken_) settle(download, download.broken_);
  // from a timer: what a reader does needs more memory than there is below a data listener
  else if (download.timer_ === undefined)
    resumeAfter(download, download.disconnect_ || download.ended_ ? 0 : Pause.SETTLE);
}

/** Goes on at `offset`; what is buffered is dropped. */
export function seek(download: Download, offset: number): void {
  disconnect(download);
  goTo(download, offset);
  download.best_ = offset;
}

/** For good: only the figures are left of it. */
export function closeDownload(download: Download): void {
  disconnect(download);
  if (download.options_) download.options_.cancel_ = undefined;
  download.options_ = undefined as never;
  download.consumer_ = null;
  download.inbox_.pieces_ = [];
  download.inbox_.room_ = 0;
  download.inbox_.full_ = undefined;
  download.tag_ = "";
  // functions, and what is around them: memory is shortest after this
  download.failed_ = download.resume_ = download.onConnected_ = download.deliver_ = noop;
}

/**
 * Nothing is sent before the first `read`. `limit`: the most bytes that may come. Long for its table of fields; what each
 * piece passes through stands here and not in a lazy scope, whose text the engine would read at each call.
 */
export function createDownload(
  options: RequestOptions,
  url: string,
  limit: number,
  onConnected: (event: "CONNECTED") => void,
): Download {
  const inbox = createInbox();
  const download = {
    inbox_: inbox,
    total_: -1,
    ended_: false,
    mixed_: 0,
    status_: -1,
    consumer_: null,
    failed_: noop,
    options_: options,
    limit_: limit,
    tag_: "",
    strong_: false,
    known_: false,
    part_: false,
    connected_: false,
    broken_: options.canceled_ || null,
    best_: 0,
    failures_: 0,
    restarts_: 0,
    changes_: 0,
    disconnect_: null,
    closing_: false,
    onConnected_: onConnected,
  } as unknown as Download;
  const fail = (error: OtaError): void => settle(download, error);

  /** Moves what is buffered into the inbox, and has each full block read. */
  function fillInbox(): void {
    while (download.consumer_) {
      let piece = inbox.buffered_;
      const room = inbox.block_ - inbox.filled_;
      inbox.buffered_ = "";
      if (piece.length > room) {
        inbox.buffered_ = piece.substr(room);
        piece = piece.substr(0, room);
      }
      if (piece) inbox.pieces_.push(piece);
      inbox.filled_ += piece.length;
      const last = download.ended_ && !inbox.buffered_;
      if (!last && inbox.filled_ < inbox.block_) {
        const left = inbox.end_ - inbox.offset_;
        inbox.room_ = inbox.block_;
        if (left < inbox.room_) inbox.room_ = left;
        return;
      }
      inbox.room_ = 0;
      piece = "";
      download.consumer_("", last);
    }
  }

  /** Offers what has come to who reads. `data`: what has just come; "" from the timer. */
  function deliver(data: string): void {
    const total = download.total_;
    inbox.buffered_ = inbox.buffered_ ? inbox.buffered_ + data : data;
    const bytes = inbox.offset_ + inbox.filled_ + inbox.buffered_.length;
    if (bytes >= total && (total >= 0 || bytes > limit)) onLastByte(download);
    if (download.timer_ !== undefined) return;
    if (download.consumer_ && inbox.block_) fillInbox();
    else if (download.consumer_) download.consumer_(inbox.buffered_, download.ended_);
    else if (inbox.buffered_.length > Buffer.MAX) disconnect(download);
  }

  download.deliver_ = deliver;
  options.cancel_ = fail;
  /** Offers what is buffered; when that is not enough, connects. */
  download.resume_ = () => {
    download.timer_ = undefined;
    // the engine closes connections after it has looked at its timers
    if (download.closing_) {
      download.closing_ = false;
      return resumeAfter(download, 0);
    }
    // no function here that is made for each block
    try {
      if (inbox.filled_ || inbox.buffered_ || download.ended_) deliver("");
      if (!download.consumer_ || download.ended_ || download.disconnect_ || download.timer_ !== undefined) return;
      try {
        const head = (one: Head): void => onHead(download, one);
        const end = (error: OtaError | null): void => onEnd(download, error);
        download.disconnect_ = options.source
          ? /*@__NOINLINE__*/ readSource(options, url, download.total_, inbox, head, deliver, end)
          : /*@__NOINLINE__*/ get(options, url, rangeHeaders(download), inbox, head, deliver, end);
      } catch (thrown) {
        onEnd(download, toOtaError(thrown));
      }
    } catch (thrown) {
      fail(toOtaError(thrown));
    }
  };
  return download;
}
