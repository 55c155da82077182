// Requests of Espruino's `http`, and the fields of the engine's own in them (libs/network/http/jswrap_http.c,
// libs/network/socketserver.c).

import { Code, otaError } from "../errors";

/**
 * A copy of the caller's headers, which the caller cannot change after this check. Throws INVALID_ARG: unless they are an
 * object, and for a control character, which could begin a header of its own.
 */
export function checkHeaders(headers: { [name: string]: string }): { [name: string]: string } {
  const checked: { [name: string]: string } = {};
  if (typeof headers !== "object" || !headers) throw otaError(Code.INVALID_ARG, "headers must be an object");
  Object.keys(headers).forEach((name) => {
    const value = "" + headers[name];
    const line = name + value;
    for (let i = 0; i < line.length; i++)
      if (line.charCodeAt(i) < 32) throw otaError(Code.INVALID_ARG, "header " + name + " has a control character");
    checked[name] = value;
  });
  return checked;
}

/**
 * Makes a request, with `body` or without one. Throws what the engine throws: unknown host, refused connection, no memory for TLS.
 */
export function request(
  options: EspruinoHttpOptions,
  onResponse: (response: EspruinoHttpResponse) => void,
  onError: (error: { code: number; message: string }) => void,
  body?: string,
): EspruinoHttpRequest {
  const outgoing = require("http").request(options, onResponse);
  if (!outgoing) throw otaError(Code.HTTP_CONNECT, "no network", true);
  outgoing.on("error", onError);
  outgoing.end(body);
  return outgoing;
}

/** Drops options and headers, which nobody asks for any more: a body can be long. */
export function dropHead(outgoing: EspruinoHttpRequest, response: EspruinoHttpResponse): void {
  response.headers = undefined as never;
  outgoing.opt = undefined;
}

/** Has the engine close a connection. */
export function disconnect(outgoing?: EspruinoHttpRequest, response?: EspruinoHttpResponse): void {
  if (outgoing) {
    outgoing.clsNow = true;
    outgoing.dRcv = "";
  }
  // the engine never closes while it waits for the rest of a chunk, or for somebody to take what has come
  if (response) response.chunked = false;
}
