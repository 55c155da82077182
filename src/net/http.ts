// One GET: redirects, status, length, the body as it arrives, a stall timer. Callbacks come from the engine's idle loop.
// Source: docs/design.md#answers-of-a-server, docs/espruino.md#http. `end` and `close` follow complete and cut bodies alike,
// so completeness is known by counting; where nothing can be counted (chunked), the image itself has to tell.

import { base64 } from "../platform/base64";
import { after, cancel } from "../platform/timers";
import type { Settings } from "../config";
import { type Head, Length, parseAnswer } from "./headers";
import { request } from "../platform/http-request";
import { toOtaError, Code, otaError, tryOr, type OtaError } from "../errors";
import { parseUrl, resolveUrl, sameOrigin, type Url } from "./url";

/** How mbedTLS ends a connection whose peer sends a record larger than its buffer: up to 2.16, and later ones. */
const INVALID_RECORD = -29184; // MBEDTLS_ERR_SSL_INVALID_RECORD
const BAD_INPUT_DATA = -28928; // MBEDTLS_ERR_SSL_BAD_INPUT_DATA, "requesting more data than fits"
const CLOSE_NOTIFY = -30848; // MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY

/**
 * ms between the end of a connection and the next one. A request that is made inside a data listener ends the engine's
 * idle pass with its network gone, which over TLS is a null pointer (libs/network/network.c networkFree); and the old
 * connection is only closed, and its memory free, when that pass is over.
 */
export const enum Pause {
  SETTLE = 20,
}

/**
 * Asks `url`. What is the user's own goes to the origin of `options.url` only, and nowhere when the URL is not `trusted`.
 */
function send(
  options: Settings,
  url: string,
  trusted: boolean,
  extra: { [name: string]: string },
  onResponse: (response: EspruinoHttpResponse) => void,
  onError: (error: { code: number; message: string }) => void,
): EspruinoHttpRequest {
  const origin = parseUrl(options.url);
  const target = parseUrl(url);
  const headers: { [name: string]: string } = {};
  const wanted: EspruinoHttpOptions = {
    protocol: target.protocol_,
    host: target.host_,
    path: target.path_,
    method: "GET",
    headers: headers,
  };
  if (target.port_) wanted.port = target.port_;
  if (trusted && sameOrigin(origin, target)) {
    for (const name in options.headers) headers[name] = options.headers[name];
    if (origin.auth_) headers.Authorization = "Basic " + base64(origin.auth_);
    if (options.ca) wanted.ca = options.ca;
    if (options.cert) wanted.cert = options.cert;
    if (options.key) wanted.key = options.key;
  }
  for (const name in extra) headers[name] = extra[name];
  try {
    return request(wanted, onResponse, onError);
  } catch (thrown: any) {
    throw thrown.retry !== undefined ? thrown : otaError(Code.HTTP_CONNECT, wanted.host + ": " + thrown.message, true);
  }
}

/**
 * Sends a GET for `from`. `onEnd` comes once, and last: with null when every byte that was announced has arrived
 * (chunked: when the server ended the body). `extra` holds headers of the module's own, sent to every origin;
 * `options.headers`, the user:password of `options.url` and the TLS identity go to its origin only, and not by a redirect
 * from another one.
 * Throws what can be known at once: a bad URL, an unknown host, a refused connection. Returns the function that ends
 * the exchange; after it, and after `onEnd`, no event comes.
 */
export function get(
  options: Settings,
  from: string,
  extra: { [name: string]: string },
  onHead: (head: Head) => void,
  onBody: (data: string) => void,
  onEnd: (error: OtaError | null) => void,
): () => void {
  let url = from;
  let redirects = 0;
  // undefined once their connection is given up: what the engine had queued by then is not heard (but see onGone)
  let outgoing: EspruinoHttpRequest | undefined;
  let incoming: EspruinoHttpResponse | undefined;
  let timer: number | undefined;
  let quiet = 0; // quarters of the timeout since the last sign
  let answered = false;
  let left: number = Length.UNKNOWN;
  let done = false;
  let trusted = true; // no other origin has chosen the URL
  let open: () => void;

  function disconnect(): void {
    if (outgoing) {
      outgoing.clsNow = true;
      outgoing.dRcv = "";
    }
    // the engine never closes while it waits for the rest of a chunk, or for somebody to take what has come
    if (incoming) incoming.chunked = false;
    outgoing = incoming = undefined;
  }

  function close(): void {
    done = true;
    disconnect();
    if (timer !== undefined) cancel(timer);
    timer = undefined;
  }

  function end(error: OtaError | null): void {
    if (done) return;
    if (error && incoming && options.status_ > 0) error.status = options.status_;
    close();
    onEnd(error);
  }

  function tick(): void {
    if (done) return;
    if (++quiet > 4)
      return end(
        otaError(
          Code.HTTP_READ_TIMEOUT,
          "nothing from " + parseUrl(url).host_ + " for " + options.timeout + " ms",
          true,
        ),
      );
    tryOr(() => {
      timer = after(options.timeout / 4, tick);
    }, end);
  }

  /** The connection is gone, with or without an error. */
  function onGone(error?: { code: number; message: string } | boolean): void {
    const code = error && (error as { code: number }).code;
    // the response of a redirect may close late, when the next request is on its way
    if (!outgoing || !(code || incoming)) return;
    // how a TLS peer ends a body whose end only it knows
    if (answered && left < 0 && (!code || code === CLOSE_NOTIFY)) return end(null);
    let why = code ? ": " + (error as { message: string }).message + " (" + code + ")" : "";
    const page = parseUrl(url);
    // the engine prints how a handshake failed and gives one of its own numbers for it, -15 or -8; mbedTLS's are far below
    if (!answered && code && code > -16 && page.protocol_ === "https:")
      why +=
        ". If it needs a host name (SNI): firmware built since August 2026 sends it, 2v29 does not; or use http: with keys";
    const lost = answered
      ? otaError(
          Code.HTTP_INCOMPLETE_DATA,
          "connection lost" + (left < 0 ? "" : ", " + left + " bytes missing") + why,
          true,
        )
      : otaError(Code.HTTP_CONNECT, "no answer from " + page.host_ + why, true);
    lost.record_ = code === INVALID_RECORD || code === BAD_INPUT_DATA;
    end(lost);
  }

  /** A piece of a body of unknown length, or the last one; the engine delivers what is beyond the announced length too. */
  function onLast(data: string): void {
    if (left < 0) return onBody(data);
    const wanted = data.length > left ? data.substr(0, left) : data;
    left = 0;
    disconnect();
    onBody(wanted);
    end(null);
  }

  // the engine reads the code that it skips: so there is little here, where every piece of a body comes along
  function onData(data: string): void {
    if (!incoming) return;
    quiet = 0;
    try {
      const length = data.length;
      if (length < left) {
        left -= length;
        onBody(data);
      } else onLast(data);
    } catch (thrown) {
      disconnect(); // who reads refuses what the file holds: that has no status
      end(toOtaError(thrown));
    }
  }

  function redirect(location: string): void {
    if (++redirects > options.maxRedirects)
      throw otaError(Code.HTTP_MAX_REDIRECT, "more than " + options.maxRedirects + " redirects");
    const page = parseUrl(url);
    const next = resolveUrl(url, location);
    let target: Url;
    try {
      target = parseUrl(next); // from the timer below an error would leave its memory behind
    } catch (thrown: any) {
      // the caller's own URL was good
      throw otaError(Code.INVALID_RESPONSE, "Location: " + thrown.message);
    }
    if (!sameOrigin(page, parseUrl(options.url))) trusted = false;
    if (page.protocol_ === "https:" && target.protocol_ !== "https:")
      throw otaError(Code.HTTP_REDIRECT_DOWNGRADE, "redirect from https to " + next);
    url = next;
    disconnect();
    after(Pause.SETTLE, () => {
      // a pass more: the engine closes connections after it has looked at its timers
      tryOr(() => {
        after(0, () => {
          if (!done) tryOr(open, end);
        });
      }, end);
    });
  }

  function onResponse(response: EspruinoHttpResponse): void {
    if (!outgoing) return;
    tryOr(() => {
      quiet = 0;
      incoming = response;
      // at once, whatever the answer is: with nobody listening to its body the engine never closes
      response.on("data", onData);
      response.on("close", onGone);
      const head = /*@__NOINLINE__*/ parseAnswer(response, options);
      // a body can be long, and nobody asks for these any more (libs/network/socketserver.c)
      response.headers = undefined as never;
      (outgoing as EspruinoHttpRequest).opt = undefined;
      if (typeof head === "string") return redirect(head);
      answered = true;
      left = head.length_;
      onHead(head);
      if (!left) end(null);
    }, end);
  }

  open = (): void => {
    outgoing = /*@__NOINLINE__*/ send(options, url, trusted, extra, onResponse, onGone);
  };

  timer = after(options.timeout / 4, tick);
  try {
    open();
  } catch (thrown) {
    close();
    throw thrown;
  }
  return close;
}
