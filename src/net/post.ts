// One request with a body. Of the answer only the status is used. No redirect is followed, because the body is for the
// server that the caller has named.

import { Code, otaError, tryOr, type OtaError } from "../errors";
import { base64 } from "../platform/base64";
import { disconnect } from "../platform/http-request";
import { after, cancel } from "../platform/timers";
import { parseAnswer } from "./headers";
import { openRequest, Pause, requestTo } from "./http";
import { parseUrl } from "./url";

const TIMEOUT = 20000; // ms for the whole exchange

/**
 * POSTs `body`, JSON, to `url`. Calls `done` once: with null when the server has accepted it (2xx), else with the error of
 * the answer or of the network.
 * More than 30 lines: a closure, whose functions share the timer and the request.
 */
export function post(
  url: string,
  body: string,
  headers: { [name: string]: string },
  done: (error: OtaError | null) => void,
): void {
  let timer: number | undefined;
  let outgoing: EspruinoHttpRequest | undefined;
  let ended = false;
  function end(error: OtaError | null): void {
    if (ended) return;
    ended = true;
    if (timer !== undefined) cancel(timer);
    disconnect(outgoing);
    done(error);
  }
  function send(): void {
    const parts = parseUrl(url);
    const all: { [name: string]: string } = { "Content-Type": "application/json", "Content-Length": "" + body.length };
    if (parts.auth_) all.Authorization = "Basic " + base64(parts.auth_);
    for (const name in headers) all[name] = headers[name];
    outgoing = openRequest(
      requestTo(parts, "POST", all),
      (response) => {
        tryOr(() => {
          response.on("data", () => {});
          const status = +response.statusCode;
          if (status >= 200 && status < 300) return end(null);
          parseAnswer(status, response.headers); // throws the error for this status
          end(otaError(Code.INVALID_RESPONSE, "HTTP status " + status));
        }, end);
      },
      (error) => end(otaError(Code.HTTP_CONNECT, "connection: " + error.message, true)),
      body,
    );
  }
  tryOr(() => {
    timer = after(TIMEOUT, () => end(otaError(Code.HTTP_READ_TIMEOUT, "no answer for " + TIMEOUT + " ms", true)), true);
    // later: this call may come from a data listener of another connection
    after(Pause.SETTLE, () => tryOr(send, end), true);
  }, end);
}
