// One exchange of JSON with hawkBit. Apart from net/: this bundle has no byte of the module's own network code, because
// nothing that comes this way decides what runs. What a server sends is unsigned: it is limited in length and in depth.

import { freeVars } from "../platform/engine";

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
  /** of the URL, without a slash at its end */
  path_: string;
  /** sent with each request */
  authorization_?: string;
  /** fields of the caller for the engine's http, such as `ca` */
  more_?: { [name: string]: unknown };
}

/** Takes `text` apart; null unless it is an http or https URL. */
export function parseServer(text: unknown): Server | null {
  const parts = typeof text === "string" ? url.parse(text) : {};
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

/**
 * Sends `body`, as JSON, or nothing, and calls `done` once: with the object that a GET was answered with, with null for
 * another method, or with an error.
 * More than 60 lines: a closure, whose functions share the timer, the connection and what has come.
 */
export function exchange(
  server: Server,
  method: string,
  path: string,
  body: object | null,
  done: (error: HawkbitError | null, answer: any) => void,
): void {
  let ended = false;
  let timer: number | undefined;
  let outgoing: EspruinoHttpRequest | undefined;
  let incoming: EspruinoHttpResponse | undefined;
  let text = "";
  let length = -1;

  function end(error: HawkbitError | null, answer?: unknown): void {
    if (ended) return;
    ended = true;
    if (timer !== undefined) clearTimeout(timer);
    // the engine's own fields: docs/espruino.md#internal-fields-of-a-connection
    if (outgoing) {
      outgoing.clsNow = true;
      outgoing.dRcv = "";
    }
    if (incoming) incoming.chunked = false;
    // not below a listener: the caller makes its next request
    setTimeout(() => done(error, answer), Limit.SETTLE);
  }
  function fail(thrown: any): void {
    end(thrown.retry === undefined ? hawkbitError(thrown.message, true) : thrown);
  }
  /** All has come that will come. */
  function complete(): void {
    try {
      if (length >= 0 && text.length < length) throw hawkbitError("connection lost", true);
      end(null, parse(text));
    } catch (thrown) {
      fail(thrown);
    }
  }
  function gone(error?: { code: number; message: string } | boolean): void {
    const failure = error as { code: number; message: string } | undefined;
    if (ended) return;
    if (incoming && !(failure && failure.code && failure.code !== Limit.CLOSE_NOTIFY)) complete();
    else if (failure && failure.code) fail(failure);
  }
  function onData(data: string): void {
    if (ended) return;
    text += data;
    if (text.length > Limit.BODY) end(hawkbitError("the answer has more than " + Limit.BODY + " bytes", true));
    else if (text.length === length) complete();
  }
  function onResponse(response: EspruinoHttpResponse): void {
    try {
      incoming = response;
      response.on("data", onData);
      response.on("close", gone);
      const status = +response.statusCode;
      if (status < 200 || status > 299)
        return end(hawkbitError("hawkBit: HTTP status " + status, status === 429 || status >= 500, status));
      if (method !== "GET") return end(null, null);
      length = lengthOf(response.headers);
    } catch (thrown) {
      fail(thrown);
    }
  }
  function send(): void {
    const sent = body ? JSON.stringify(body) : "";
    const type = "application/json";
    const all: { [name: string]: unknown } = { Accept: type, Authorization: server.authorization_ };
    if (body) {
      all["Content-Type"] = type;
      all["Content-Length"] = sent.length;
    }
    const options: any = {
      protocol: server.protocol_,
      host: server.host_,
      port: server.port_,
      path: path,
      method: method,
      headers: all,
    };
    for (const name in server.more_) options[name] = server.more_[name];
    outgoing = require("http").request(options, onResponse);
    if (!outgoing) throw hawkbitError("no network", true);
    outgoing.on("error", gone);
    outgoing.end(sent || undefined);
  }
  timer = setTimeout(() => end(hawkbitError("no answer for " + Limit.TIMEOUT + " ms", true)), Limit.TIMEOUT);
  setTimeout(() => {
    try {
      if (!ended) send();
    } catch (thrown) {
      fail(thrown);
    }
  }, Limit.SETTLE);
}

/** Room for an exchange beside an update? In JsVars. */
export function hasRoom(): boolean {
  return freeVars() > 1200;
}
