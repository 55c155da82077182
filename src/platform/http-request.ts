// Requests of Espruino's `http`, and the fields of the engine's own in them (libs/network/http/jswrap_http.c,
// libs/network/socketserver.c).

import { Code, fault } from "../errors";

/** Makes a request without a body. Throws what the engine throws: unknown host, refused connection, no memory for TLS. */
export function request(
  options: EspruinoHttpOptions,
  onResponse: (response: EspruinoHttpResponse) => void,
  onError: (error: { code: number; message: string }) => void,
): EspruinoHttpRequest {
  const outgoing = require("http").request(options, onResponse);
  if (!outgoing) throw fault(Code.HTTP_CONNECT, "no network", true);
  outgoing.on("error", onError);
  outgoing.end();
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
