// One exchange: a GET, its redirects, the status and length of its answer, the body as it arrives, a stall timer. Callbacks
// come from the engine's idle loop.
//
//   state                       left when
//   no answer yet               an answer comes, or an error; after a redirect the state begins again
//   body of a known length      its last byte comes, or the connection is lost before
//   body of an unknown length   the connection ends
//   done                        never: no event comes any more
//
// `end` and `close` of the engine come after a complete body and after a cut one. So the bytes are counted. A chunked body
// says no length: there only the content of the file shows whether it is complete.
// Source: docs/design.md#answers-of-a-server, docs/espruino.md#http.

import { Code, toOtaError, otaError, tryOr, type OtaError } from "../errors";
import { base64 } from "../platform/base64";
import { checkHeaders, disconnect, dropHead, request } from "../platform/http-request";
import { after, cancel } from "../platform/timers";
import { digits, type Head, parseAnswer } from "./headers";
import { Body, type Inbox } from "./inbox";
import type { RequestOptions } from "./request-options";
import { parseUrl, resolveUrl, sameOrigin, type Url } from "./url";

/** Error codes with which mbedTLS ends a connection. An enum takes no variable. */
const enum Tls {
  /** MBEDTLS_ERR_SSL_INVALID_RECORD: the record is larger than the buffer (mbedTLS up to 2.16) */
  INVALID_RECORD = -29184,
  /** MBEDTLS_ERR_SSL_BAD_INPUT_DATA, "requesting more data than fits": the same in later versions */
  BAD_INPUT_DATA = -28928,
  /** MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY */
  CLOSE_NOTIFY = -30848,
  /** above it are the engine's own codes for a failed handshake, -15 and -8; the codes of mbedTLS are far below */
  ENGINE = -16,
}

/**
 * ms between the end of a connection and the next one. A request from inside a data listener frees the network that the
 * engine's idle pass still uses, which over TLS is a null pointer (libs/network/network.c networkFree). And the engine
 * closes the old connection, and frees its memory, only at the end of that pass.
 */
export const enum Pause {
  SETTLE = 20,
}

interface Exchange {
  readonly inbox_: Inbox;
  readonly options_: RequestOptions;
  /** the module's own headers, which every origin gets */
  readonly extra_: { [name: string]: string };
  url_: string;
  redirects_: number;
  /** did every redirect come from the origin of options_.url? Only then the user's headers are sent */
  trusted_: boolean;
  /** both are undefined after their connection was closed: events that the engine has queued are ignored (but see onGone) */
  outgoing_?: EspruinoHttpRequest;
  incoming_?: EspruinoHttpResponse;
  timer_?: number;
  /** quarters of the timeout since the last byte */
  quiet_: number;
  /** `filled_` of the inbox at the last tick */
  seen_: number;
  /** status of the last answer, -1 before the first */
  status_: number;
  /** has the final answer come? */
  answered_: boolean;
  done_: boolean;
  connect_(): void;
  onHead_(head: Head): void;
  onEnd_(error: OtaError | null): void;
}

function giveUpConnection(exchange: Exchange): void {
  exchange.inbox_.room_ = 0; // now a late listener of this connection adds nothing to the inbox
  disconnect(exchange.outgoing_, exchange.incoming_);
  exchange.outgoing_ = exchange.incoming_ = undefined;
}

function closeExchange(exchange: Exchange): void {
  exchange.done_ = true;
  giveUpConnection(exchange);
  if (exchange.timer_ !== undefined) cancel(exchange.timer_);
  exchange.timer_ = undefined;
}

function endExchange(exchange: Exchange, error: OtaError | null): void {
  if (exchange.done_) return;
  if (error && exchange.incoming_ && exchange.status_ > 0) error.status = exchange.status_;
  closeExchange(exchange);
  exchange.onEnd_(error);
}

/** The caller's headers. If they are a function, it is called; an error that it throws becomes INVALID_ARG. */
function ownHeaders(options: RequestOptions): { [name: string]: string } {
  const given = options.headers || {};
  if (typeof given !== "function") return given;
  let headers: { [name: string]: string };
  try {
    headers = given();
  } catch (thrown) {
    throw otaError(Code.INVALID_ARG, "headers() threw: " + toOtaError(thrown).message);
  }
  // the function may have ended the update: then nothing is sent any more
  if (!options.cancel_) throw otaError(Code.INVALID_STATE, "update aborted");
  return checkHeaders(headers);
}

/** Options of a request to `target` that sends `headers`. */
export function requestTo(target: Url, method: string, headers: { [name: string]: string }): EspruinoHttpOptions {
  const wanted: EspruinoHttpOptions = {
    protocol: target.protocol_,
    host: target.host_,
    path: target.path_,
    method: method,
    headers: headers,
  };
  if (target.port_) wanted.port = target.port_;
  return wanted;
}

/** Makes the request. An error of the engine (unknown host, refused connection) becomes HTTP_CONNECT with `retry`. */
export function openRequest(
  wanted: EspruinoHttpOptions,
  onResponse: (response: EspruinoHttpResponse) => void,
  onError: (error: { code: number; message: string }) => void,
  body?: string,
): EspruinoHttpRequest {
  try {
    return request(wanted, onResponse, onError, body);
  } catch (thrown: any) {
    throw thrown.retry !== undefined ? thrown : otaError(Code.HTTP_CONNECT, wanted.host + ": " + thrown.message, true);
  }
}

/**
 * Sends the request. Headers, password, certificate and key of the user go only to the origin of `options.url`, and not
 * even there after a redirect by another origin.
 */
function send(
  exchange: Exchange,
  onResponse: (response: EspruinoHttpResponse) => void,
  onError: (error: { code: number; message: string }) => void,
): EspruinoHttpRequest {
  const options = exchange.options_;
  const origin = parseUrl(options.url);
  const target = parseUrl(exchange.url_);
  const headers: { [name: string]: string } = {};
  const wanted = requestTo(target, "GET", headers);
  if (exchange.trusted_ && sameOrigin(origin, target)) {
    const own = ownHeaders(options);
    for (const name in own) headers[name] = own[name];
    if (origin.auth_) headers.Authorization = "Basic " + base64(origin.auth_);
    if (options.ca) wanted.ca = options.ca;
    if (options.cert) wanted.cert = options.cert;
    if (options.key) wanted.key = options.key;
  }
  for (const name in exchange.extra_) headers[name] = exchange.extra_[name];
  return openRequest(wanted, onResponse, onError);
}

/** The error for a connection that ended too early. `code`: of the engine or of mbedTLS, undefined without an error. */
function lostConnection(exchange: Exchange, code: number | undefined, message: string): OtaError {
  const page = parseUrl(exchange.url_);
  const inbox = exchange.inbox_;
  const endless = inbox.end_ === Body.ENDLESS;
  const left = inbox.end_ - inbox.offset_ - inbox.filled_ - inbox.buffered_.length;
  let why = code ? ": " + message + " (" + code + ")" : "";
  // the engine prints why a handshake failed, and reports only one of its own codes
  if (!exchange.answered_ && code && code > Tls.ENGINE && page.protocol_ === "https:")
    why +=
      ". If it needs a host name (SNI): firmware built since August 2026 sends it, 2v29 does not; or use http: with keys";
  const lost = exchange.answered_
    ? otaError(
        Code.HTTP_INCOMPLETE_DATA,
        "connection lost" + (endless ? "" : ", " + left + " bytes missing") + why,
        true,
      )
    : otaError(Code.HTTP_CONNECT, "no answer from " + page.host_ + why, true);
  lost.record_ = code === Tls.INVALID_RECORD || code === Tls.BAD_INPUT_DATA;
  return lost;
}

/** The connection has ended, with or without an error. */
function connectionGone(exchange: Exchange, error?: { code: number; message: string } | boolean): void {
  const failure = error as { code: number; message: string } | undefined;
  const code = failure && failure.code;
  // the response of a redirect may close late, after the next request was sent
  if (!exchange.outgoing_ || !(code || exchange.incoming_)) return;
  // a TLS server ends a body of unknown length in this way
  const ended = exchange.answered_ && exchange.inbox_.end_ === Body.ENDLESS && (!code || code === Tls.CLOSE_NOTIFY);
  endExchange(exchange, ended ? null : lostConnection(exchange, code, code ? failure.message : ""));
}

function stalled(exchange: Exchange): void {
  const host = parseUrl(exchange.url_).host_;
  endExchange(
    exchange,
    otaError(Code.HTTP_READ_TIMEOUT, "nothing from " + host + " for " + exchange.options_.timeout + " ms", true),
  );
}

/** Follows a redirect to `location`, in another idle pass. */
function redirect(exchange: Exchange, location: string): void {
  const options = exchange.options_;
  if (++exchange.redirects_ > options.maxRedirects)
    throw otaError(Code.HTTP_MAX_REDIRECT, "more than " + options.maxRedirects + " redirects");
  const page = parseUrl(exchange.url_);
  const next = resolveUrl(exchange.url_, location);
  let target: Url;
  try {
    target = parseUrl(next); // here, because an error in the timer below would leak its memory
  } catch (thrown: any) {
    // not INVALID_ARG: the caller's own URL was valid
    throw otaError(Code.INVALID_RESPONSE, "Location: " + thrown.message);
  }
  if (!sameOrigin(page, parseUrl(options.url))) exchange.trusted_ = false;
  if (page.protocol_ === "https:" && target.protocol_ !== "https:")
    throw otaError(Code.HTTP_REDIRECT_DOWNGRADE, "redirect from https to " + next);
  exchange.url_ = next;
  giveUpConnection(exchange);
  const fail = (error: OtaError) => endExchange(exchange, error);
  after(Pause.SETTLE, () => {
    // one more pass: in an idle pass the engine runs timers before it closes connections
    tryOr(() => {
      after(0, () => {
        if (!exchange.done_) tryOr(exchange.connect_, fail);
      });
    }, fail);
  });
}

/** The head of an answer has arrived. */
function onAnswer(exchange: Exchange, response: EspruinoHttpResponse): void {
  exchange.status_ = digits(response.statusCode);
  const head = parseAnswer(exchange.status_, response.headers);
  dropHead(exchange.outgoing_ as EspruinoHttpRequest, response);
  if (typeof head === "string") return redirect(exchange, head);
  exchange.answered_ = true;
  exchange.inbox_.end_ = head.length_ < 0 ? Body.ENDLESS : head.start_ + head.length_;
  exchange.onHead_(head);
  if (!head.length_) endExchange(exchange, null);
}

/**
 * Sends a GET for `from`. `onEnd` is called once, and last: with null when every announced byte has arrived (chunked: when
 * the server has ended the body). `extra`: the module's own headers, which every origin gets. Throws errors that are known
 * at once: an invalid URL, an unknown host, a refused connection. Returns the function that ends the exchange; after it,
 * and after `onEnd`, no event comes.
 * More than 60 lines: a table of fields, and the listeners, which must be closures.
 */
export function get(
  options: RequestOptions,
  from: string,
  extra: { [name: string]: string },
  inbox: Inbox,
  onHead: (head: Head) => void,
  onBody: (data: string) => void,
  onEnd: (error: OtaError | null) => void,
): () => void {
  const exchange = {
    inbox_: inbox,
    options_: options,
    extra_: extra,
    url_: from,
    redirects_: 0,
    trusted_: true,
    quiet_: 0,
    status_: -1,
    answered_: false,
    done_: false,
    onHead_: onHead,
    onEnd_: onEnd,
  } as unknown as Exchange;
  const end = (error: OtaError): void => endExchange(exchange, error);
  const onGone = (error?: { code: number; message: string } | boolean): void => connectionGone(exchange, error);

  /** Takes a piece that fills a block of the inbox or ends the body; and every piece while no consumer reads in blocks. */
  function onPiece(data: string): void {
    if (!exchange.incoming_) return;
    exchange.quiet_ = 0;
    try {
      if (inbox.room_ && inbox.full_ && inbox.full_(data)) return;
      const left = inbox.end_ - inbox.offset_ - inbox.filled_ - inbox.buffered_.length;
      if (data.length < left) return onBody(data);
      // the engine delivers bytes beyond the announced length too
      giveUpConnection(exchange);
      onBody(data.length > left ? data.substr(0, left) : data);
      endExchange(exchange, null);
    } catch (thrown) {
      giveUpConnection(exchange); // the consumer refused the content: this error must not get the HTTP status
      end(toOtaError(thrown));
    }
  }
  /** Hot path for most pieces of a body. The engine reads even the code that it skips, so this function is short. */
  function onData(data: string): void {
    const filled = inbox.filled_ + data.length;
    if (filled < inbox.room_) {
      inbox.filled_ = filled;
      inbox.pieces_.push(data);
    } else onPiece(data);
  }
  function onResponse(response: EspruinoHttpResponse): void {
    if (!exchange.outgoing_) return;
    tryOr(() => {
      exchange.quiet_ = 0;
      exchange.incoming_ = response;
      // at once, for every answer: the engine never closes a connection whose body has no listener
      response.on("data", onData);
      response.on("close", onGone);
      onAnswer(exchange, response);
    }, end);
  }
  exchange.connect_ = () => {
    exchange.outgoing_ = send(exchange, onResponse, onGone);
  };
  function tick(): void {
    if (exchange.done_) return;
    // onData() does not reset quiet_: it only fills the inbox
    if (exchange.seen_ !== inbox.filled_) exchange.quiet_ = 0;
    exchange.seen_ = inbox.filled_;
    if (++exchange.quiet_ > 4) return stalled(exchange);
    tryOr(() => {
      exchange.timer_ = after(options.timeout / 4, tick);
    }, end);
  }
  exchange.timer_ = after(options.timeout / 4, tick);
  try {
    exchange.connect_();
  } catch (thrown) {
    closeExchange(exchange);
    throw thrown;
  }
  return () => closeExchange(exchange);
}
