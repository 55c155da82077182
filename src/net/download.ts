// Downloads one file, over one connection or several. Only bytes that the consumer has not taken are buffered. When the
// consumer pauses, the connection is closed; later it is opened again with Range. A server without ranges then sends the
// file from byte 0, and the consumer starts again there (Inbox.offset_).
//
//   state        marked by                    left when
//   waiting      timer_                       the timer fires: buffered bytes are delivered, then it connects
//   connected    disconnect_                  the last byte or an error comes, or the consumer pauses
//   paused       neither, and no consumer_    read() is called
//   ended        ended_                       seek() is called
//   broken       broken_                      never
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

/** In bytes. An enum takes no variable. */
const enum Range {
  /** the answer with this many bytes, and a KB of headers, fits into a TLS buffer of 8 KB */
  FITTING = 7168,
  /** no smaller range is tried */
  LEAST = 512,
}

/** In ms, before the next attempt. */
const enum Wait {
  FIRST = 1000,
  MAX = 32000,
  /** the longest wait that a server may ask for with Retry-After */
  RETRY_AFTER = 300000,
}

/** The most bytes that are buffered while no consumer takes them. */
const enum Buffer {
  MAX = 3500,
}

/**
 * Takes the bytes of a download. If the inbox has a block size, it is called with "" when a block is full, and must move
 * `offset_` behind the block and empty the inbox; `ended`: this block is the last one. Without a block size it is called
 * with all buffered bytes whenever more arrive, and they stay buffered; `ended`: no more bytes will come. If it throws, the
 * connection ends, as after a failure of the network.
 */
export type Consumer = (text: string, ended: boolean) => void;

export interface Download {
  /** the bytes that were received and not taken */
  readonly inbox_: Inbox;
  /** the whole file's length, -1 while unknown */
  total_: number;
  /** has the last byte arrived? The consumer may not have taken it yet */
  ended_: boolean;
  /**
   * Not 0: the bytes may be of two versions of the file. It changed during the download, or parts of several answers were
   * joined without a strong validator. So a digest that is wrong now can be right at the next attempt. A number, because a
   * boolean takes one JsVar more.
   */
  mixed_: number;
  /** HTTP status of the last answer, -1 before the first */
  status_: number;
  /** null while the bytes are only buffered */
  consumer_: Consumer | null;
  /** called with the error that ends the download, if it has a consumer then */
  failed_(error: OtaError): void;

  // the fields below are internal to download.ts, except deliver_
  options_: RequestOptions;
  readonly limit_: number;
  /** ETag or Last-Modified of the buffered bytes */
  tag_: string;
  /** is the tag strong? Only then two parts may be joined (RFC 9110 13.1.5) */
  strong_: boolean;
  /** do `total_` and `tag_` belong to the buffered bytes? */
  known_: boolean;
  /** was the last answer a part of a file of unknown length? Then another part may follow */
  part_: boolean;
  connected_: boolean;
  broken_: OtaError | null;
  /** the most bytes that were received so far: more than this is progress */
  best_: number;
  /** connections that failed since the last progress */
  failures_: number;
  /** answers that began at byte 0 since the last progress */
  restarts_: number;
  /** how often the file has changed */
  changes_: number;
  disconnect_: (() => void) | null;
  /** was a connection closed, and has the engine run no idle pass since? */
  closing_: boolean;
  timer_?: number;
  onConnected_(event: "CONNECTED"): void;
  /** Takes bytes that have arrived: from http.ts, from source.ts, or by handle.write(). */
  deliver_(data: string): void;
  /** what the timer calls */
  resume_(): void;
}

/** Bytes of the file that were received: the offset of the next one. */
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

/** Ends the download with `error`. */
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
      // until the timer fires, received bytes are buffered in order
      download.inbox_.room_ = 0;
      download.timer_ = after(ms, download.resume_);
    },
    (error) => settle(download, error),
  );
}

/** Does this answer belong to the file whose bytes are buffered? */
function isSameFile(download: Download, head: Head): boolean {
  const total = head.total_;
  // an answer to If-Range may omit Last-Modified (RFC 9110 15.3.7), but not ETag, which has quotes
  const sameTag = head.tag_ === download.tag_ || (!head.tag_ && download.tag_.indexOf('"') < 0);
  return sameTag && (total < 0 || download.total_ < 0 || total === download.total_);
}

/** Checks an answer with a body. False: its bytes cannot be used, and another request must follow. */
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
    // a server without ranges sends the file from byte 0 after each pause of the consumer: without a limit this never ends
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

/** The last byte has arrived, or more bytes than the limit. */
function onLastByte(download: Download): void {
  if (download.total_ < 0) throw otaError(Code.INVALID_SIZE, "file of more than " + download.limit_ + " bytes");
  download.ended_ = true;
}

/**
 * After a TLS record that was too large for the buffer: chooses a smaller range. A server fills records of up to 16 KB, and
 * the engine does not ask it for smaller ones. Some servers begin with small records: then a range of the `fresh` bytes
 * that came before the large record fits. With other servers the whole answer, head and body, must fit into one record.
 * The next file is requested in such ranges too. Returns the error of the download if no range is small enough.
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

/** ms until the next attempt, after `error`. They differ between devices that lost the server at the same moment. */
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
  // 416 at the end of a file of unknown length: the file is complete. Only the end of its chunked body was missing, or the
  // last part ended the file
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
    // this update does not wait for it, but a later call can succeed when the release is complete
    if (download.changes_ || error.status === 404 || error.status === 410) error.retry = true;
  }
  // without a consumer the next call of read() reconnects
  else if (download.consumer_) wait = backoff(download, error);
  if (final) settle(download, final);
  else if (download.consumer_) resumeAfter(download, wait);
}

/** The headers that ask for the bytes that are missing. */
function rangeHeaders(download: Download): { [name: string]: string } {
  const from = received(download);
  const size = download.options_.maxRequestSize;
  const headers: { [name: string]: string } = { Range: "bytes=" + from + "-" + (size ? from + size - 1 : "") };
  if (from && download.strong_) headers["If-Range"] = download.tag_;
  return headers;
}

/** To be called after `consumer_` was set: delivers the buffered bytes, and connects if more are needed. */
export function read(download: Download): void {
  if (download.broken_) settle(download, download.broken_);
  // from a timer: below a data listener the consumer would not have enough memory
  else if (download.timer_ === undefined)
    resumeAfter(download, download.disconnect_ || download.ended_ ? 0 : Pause.SETTLE);
}

/** Continues at `offset` of the file; the buffered bytes are dropped. */
export function seek(download: Download, offset: number): void {
  disconnect(download);
  goTo(download, offset);
  download.best_ = offset;
}

/** Ends the download and frees its memory. Its numbers stay. */
export function closeDownload(download: Download): void {
  disconnect(download);
  if (download.options_) download.options_.cancel_ = undefined;
  download.options_ = undefined as never;
  download.consumer_ = null;
  download.inbox_.pieces_ = [];
  download.inbox_.room_ = 0;
  download.inbox_.full_ = undefined;
  download.tag_ = "";
  // this frees the functions and their scopes: memory is shortest after this
  download.failed_ = download.resume_ = download.onConnected_ = download.deliver_ = noop;
}

/**
 * A download of `url`. It sends nothing before the first read(). `limit`: the most bytes that the file may have.
 * More than 60 lines: a table of fields, and the functions that each piece passes through. These are not in a lazy scope,
 * because the engine would read the text of the scope at each call.
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

  /** Moves the buffered bytes into the inbox, and calls the consumer for each full block. */
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

  /** Buffers `data` and calls the consumer. The timer gives "". */
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
  /** Delivers the buffered bytes; if the consumer needs more, connects. */
  download.resume_ = () => {
    download.timer_ = undefined;
    // in an idle pass the engine runs timers before it closes connections: one more pass closes the old one
    if (download.closing_) {
      download.closing_ = false;
      return resumeAfter(download, 0);
    }
    // try, and not tryOr: that would create a function for each block
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
