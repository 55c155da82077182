// One request of Espruino's `http`.

import { Code, otaError } from "../errors";

/**
 * Makes a request without a body. Throws what the engine throws: unknown host, refused connection, no memory for TLS.
 */
export function request(
  options: EspruinoHttpOptions,
  onResponse: (response: EspruinoHttpResponse) => void,
  onError: (error: { code: number; message: string }) => void,
): EspruinoHttpRequest {
  const outgoing = require("http").request(options, onResponse);
  if (!outgoing) throw otaError(Code.HTTP_CONNECT, "no network", true);
  outgoing.on("error", onError);
  outgoing.end();
  return outgoing;
}
