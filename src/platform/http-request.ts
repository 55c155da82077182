// Requests of Espruino's `http`, and the internal fields of the engine that they have (libs/network/http/jswrap_http.c,
// libs/network/socketserver.c).

import { Code, otaError } from "../errors";

/**
 * Checks the caller's headers and returns a copy, which the caller cannot change any more. Throws INVALID_ARG if they are
 * not an object, or contain a control character: a line end would begin another header.
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
 * Makes a request, with `body` if it is given. Throws what the engine throws: unknown host, refused connection, no memory
 * for TLS.
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

/** Frees the options of the request and the headers of the answer: they are not needed while the body arrives. */
export function dropHead(outgoing: EspruinoHttpRequest, response: EspruinoHttpResponse): void {
  response.headers = undefined as never;
  outgoing.opt = undefined;
}

/** Makes the engine close a connection. */
export function disconnect(outgoing?: EspruinoHttpRequest, response?: EspruinoHttpResponse): void {
  if (outgoing) {
    outgoing.clsNow = true;
    outgoing.dRcv = "";
  }
  // the engine never closes while it waits for the rest of a chunk, or while received data was not taken
  if (response) response.chunked = false;
}
