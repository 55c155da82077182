// One exchange of JSON with hawkBit. Apart from net/: this bundle has no byte of the module's own network code, because
// nothing that comes this way decides what runs. What a server sends is unsigned: it is limited in length and in depth.
//
//   state      marked by                  left by
//   settling   no outgoing_               a timer of SETTLE ms: the request is made
//   waiting    outgoing_, no incoming_    the head of an answer: to reading, or to ended; an error: to ended
//   reading    incoming_                  the last byte, the end of the connection, an error, too many bytes: to ended
//   ended      no done_                   nothing: the caller is told SETTLE ms later, and no event counts any more
//
// A timer of TIMEOUT ms ends the first three. Only the answer to a GET is read.

import { isString } from "./ddi";

/** What went wrong; OtaErrors of the module have the same fields. */
export interface HawkbitError extends Error {
  /** may the same request succeed later? */
  retry: boolean;
  /** HTTP status, undefined without an answer */
  status?: number;
}

export function hawkbitError(message: string, retry: boolean, status?: number): HawkbitError {
  const error = new Error(message) as HawkbitError;
  error.retry = retry;
  if (status) error.status = status;
  return error;
}

/** The engine's own: it takes an absolute URL apart. */
declare const url: {
  parse(text: string): { protocol?: string; host?: string; port?: number | string | null; path?: string };
};

/** Where hawkBit is. */
export interface Server {
  protocol_: string;
  host_: string;
  port_: number;
  /** of the URL, without a slash at its end: what each path begins with */
  path_: string;
  /** sent with each request */
  authorization_?: string;
  /** fields of the caller for the engine's http, such as `ca` */
  more_?: { [name: string]: unknown };
}

/** Takes `text` apart; null unless it is an http or https URL. */
export function parseServer(text: unknown): Server | null {
  const parts = isString(text) ? url.parse(text) : {};
  const protocol = parts.protocol;
  if ((protocol !== "http:" && protocol !== "https:") || !parts.host) return null;
  let path = parts.path || "";
  // path[-1] throws in the engine
  while (path && path[path.length - 1] === "/") path = path.substr(0, path.length - 1);
  return {
    protocol_: protocol,
    host_: parts.host.toLowerCase(),
    port_: +parts.port! || (protocol === "https:" ? 443 : 80),
    path_: path,
  };
}

export function sameServer(a: Server, b: Server): boolean {
  return a.protocol_ === b.protocol_ && a.host_ === b.host_ && a.port_ === b.port_;
}

const enum Limit {
  /** characters of an answer */
  BODY = 8192,
  /** objects and arrays in each other: the engine's JSON.parse calls itself for each, and does not look at its stack */
  DEPTH = 12,
  /** ms for a whole exchange */
  TIMEOUT = 20000,
  /** ms before a request: none may be made below a data listener of another connection */
  SETTLE = 20,
  /** MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY: the orderly end of a TLS connection, which the engine calls an error */
  CLOSE_NOTIFY = -30848,
}

function noJson(): never {
  throw hawkbitError("the answer is not JSON", true);
}

/** JSON.parse of an object, when nothing in it is too deep. Looks at what is outside of strings only: that is little. */
function parse(text: string): any {
  let depth = 0;
  let i = 0;
  while (i < text.length) {
    const c = text[i];
    if (c === '"') {
      // to the quote that ends the string
      let escaped = true;
      while (escaped) {
        i = text.indexOf('"', i + 1);
        if (i < 0) return noJson();
        escaped = false;
        for (let k = i - 1; text[k] === "\\"; k--) escaped = !escaped;
      }
    } else if (c === "{" || c === "[") {
      if (++depth > Limit.DEPTH) throw hawkbitError("the answer is too deep", true);
    } else if (c === "}" || c === "]") depth--;
    i++;
  }
  return depth || text[0] !== "{" ? noJson() : JSON.parse(text);
}

/** The length that an answer gives, -1 when it does not. */
function lengthOf(headers: { [name: string]: string }): number {
  for (const name in headers) if (name.toLowerCase() === "content-length") return +headers[name];
  return -1;
}

interface Exchange {
  timer_?: number;
  outgoing_?: EspruinoHttpRequest;
  incoming_?: EspruinoHttpResponse;
  /** what has come of the body, and its whole length: -1 when the answer does not tell */
  text_: string;
  length_: number;
  /** called at the end; undefined after it */
  done_?: (error: HawkbitError | null, answer: any) => void;
}

function endExchange(exchange: Exchange, error: HawkbitError | null, answer?: unknown): void {
  const done = exchange.done_;
  const outgoing = exchange.outgoing_;
  if (!done) return;
  exchange.done_ = undefined;
  if (exchange.timer_ !== undefined) clearTimeout(exchange.timer_);
  // the engine's own fields: docs/espruino.md#internal-fields-of-a-connection
  if (outgoing) {
    outgoing.clsNow = true;
    outgoing.dRcv = "";
  }
  if (exchange.incoming_) exchange.incoming_.chunked = false;
  // not below a listener: the caller makes its next request
  setTimeout(() => done(error, answer), Limit.SETTLE);
}

/** Ends it with what was thrown, or with an error of the engine. */
function failExchange(exchange: Exchange, thrown: any): void {
  endExchange(exchange, thrown.retry === undefined ? hawkbitError(thrown.message, true) : thrown);
}

/** All has come that will come. */
function complete(exchange: Exchange): void {
  try {
    if (exchange.text_.length < exchange.length_) throw hawkbitError("connection lost", true);
    endExchange(exchange, null, parse(exchange.text_));
  } catch (thrown) {
    failExchange(exchange, thrown);
  }
}

/** What the engine's http is given. `sent`: the body, "" for none. */
function requestOptions(server: Server, method: string, path: string, sent: string): EspruinoHttpOptions {
  const type = "application/json";
  const headers: any = { Accept: type, Authorization: server.authorization_ };
  const options: any = {
    protocol: server.protocol_,
    host: server.host_,
    port: server.port_,
    path: server.path_ + path,
    method: method,
    headers: headers,
  };
  if (sent) {
    headers["Content-Type"] = type;
    headers["Content-Length"] = sent.length;
  }
  for (const name in server.more_) options[name] = server.more_[name];
  return options;
}

/**
 * Sends `body`, as JSON, or nothing, and calls `done` once: with the object that a GET was answered with, with null for
 * another method, or with an error.
 */
// More than 30 lines: its listeners have to be closures. The minifier puts a function with one caller into that caller, where it
// would be created at each call: so a listener that only calls such a function costs memory at each piece of an answer.
export function exchange(
  server: Server,
  method: string,
  path: string,
  body: object | null,
  done: (error: HawkbitError | null, answer: any) => void,
): void {
  const state: Exchange = { text_: "", length_: -1, done_: done };

  function onGone(ending: any): void {
    const code = ending && ending.code;
    if (!state.done_) return;
    if (state.incoming_ && (!code || code === Limit.CLOSE_NOTIFY)) complete(state);
    else if (code) failExchange(state, ending);
  }
  function onData(data: string): void {
    if (!state.done_) return;
    state.text_ += data;
    const length = state.text_.length;
    if (length > Limit.BODY)
      failExchange(state, hawkbitError("the answer has more than " + Limit.BODY + " bytes", true));
    else if (length === state.length_) complete(state);
  }
  function onResponse(response: EspruinoHttpResponse): void {
    try {
      state.incoming_ = response;
      response.on("data", onData);
      response.on("close", onGone);
      const status = +response.statusCode;
      if (status < 200 || status > 299)
        throw hawkbitError("hawkBit: HTTP status " + status, status === 429 || status >= 500, status);
      if (method !== "GET") endExchange(state, null, null);
      state.length_ = lengthOf(response.headers);
    } catch (thrown) {
      failExchange(state, thrown);
    }
  }
  state.timer_ = setTimeout(
    () => failExchange(state, hawkbitError("no answer for " + Limit.TIMEOUT + " ms", true)),
    Limit.TIMEOUT,
  );
  setTimeout(() => {
    try {
      if (!state.done_) return;
      const sent = body ? JSON.stringify(body) : "";
      const outgoing = require("http").request(requestOptions(server, method, path, sent), onResponse);
      if (!outgoing) throw hawkbitError("no network", true);
      state.outgoing_ = outgoing;
      outgoing.on("error", onGone);
      outgoing.end(sent || undefined);
    } catch (thrown) {
      failExchange(state, thrown);
    }
  }, Limit.SETTLE);
}
