// What an answer says of its body: status, length, range, validators, Retry-After. Pure.
// RFC 9110; status codes as IDF esp_https_ota.c takes them.

import { Code, otaError } from "../errors";

/** Of a length. An enum, which takes no variable. */
export const enum Length {
  UNKNOWN = -1,
}

/**
 * ms. No other version of a file that is so old when it is sent has the same Last-Modified. RFC 9110 8.8.2.2 asks for a second;
 * RFC 7232 asked for a minute, because Date and Last-Modified may come of two clocks.
 */
const OLD = 60000;

/** What the final answer says of its body. Lengths in bytes, -1 when the server does not say. */
export interface Head {
  /** HTTP status */
  status_: number;
  /** offset of the body's first byte in the whole file; 0 for status 200 */
  start_: number;
  /** of this body */
  length_: number;
  /** of the whole file */
  total_: number;
  /** ETag, else Last-Modified, else "": another one is of another file */
  tag_: string;
  /** may the tag join parts of several answers? */
  strong_: boolean;
}

/** A decimal number without sign, or -1. */
export function digits(text: string): number {
  let value = text.length && text.length < 11 ? 0 : Length.UNKNOWN;
  for (let i = 0; i < text.length && value >= 0; i++) {
    const digit = text.charCodeAt(i) - 48;
    value = digit >= 0 && digit <= 9 ? value * 10 + digit : Length.UNKNOWN;
  }
  return value;
}

/** A header's value by its lower-case name, "" when it is absent. The engine keeps every spelling as a key of its own. */
function header(headers: { [name: string]: string }, name: string): string {
  let value: string | undefined;
  for (const key in headers)
    if (key.toLowerCase() === name) {
      if (value !== undefined) throw otaError(Code.INVALID_RESPONSE, "header " + name + " came twice");
      value = headers[key];
    }
  return value || "";
}

/** Retry-After in ms, RFC 9110 10.2.3: seconds, or a date, which is measured by the server's own clock. 0 when absent. */
function retryAfter(headers: { [name: string]: string }): number {
  const text = header(headers, "retry-after");
  const seconds = digits(text);
  if (seconds >= 0) return seconds * 1000;
  const sent = Date.parse(header(headers, "date"));
  // the engine's Date.parse makes 0 of what is no date
  const wait = sent > 0 ? Date.parse(text) - sent : 0;
  if (wait > 0) return wait;
  return 0; // for a text that is no date too
}

/** Refuses every status that brings no body, with ESP-IDF's code for it (esp_https_ota.c _http_handle_response_code). */
function checkStatus(status: number, headers: { [name: string]: string }): void {
  if (status === 200 || status === 206) return;
  if (status === 416 && header(headers, "content-range") === "bytes */0")
    throw otaError(Code.INVALID_SIZE, "the file is empty");
  let code = Code.INVALID_RESPONSE;
  if (status === 304) code = Code.HTTP_NOT_MODIFIED;
  else if (status === 416) code = Code.HTTP_RANGE_NOT_SATISFIABLE;
  else if (status >= 400) code = Code.FAIL;
  // the engine takes an interim answer (1xx) for the final one
  const busy = status === 408 || status === 425 || status === 429 || status >= 500 || (status > 0 && status < 200);
  const error = otaError(code, "HTTP status " + status, busy);
  if (status === 416) error.total_ = digits(header(headers, "content-range").substr(8)); // "bytes */1000"
  if (busy) error.wait_ = retryAfter(headers);
  throw error;
}

/** Content-Range of a 206, RFC 9110 14.4: "bytes 0-99/1000", or "bytes 0-99/*" where the server does not know the total. */
function parseRange(text: string, head: Head): void {
  const dash = text.indexOf("-");
  const slash = text.indexOf("/");
  const first = digits(text.substring(6, dash));
  const last = digits(text.substring(dash + 1, slash));
  const size = text.substr(slash + 1);
  const total = digits(size);
  if (text.substr(0, 6).toLowerCase() !== "bytes " || first < 0 || last < first || (total <= last && size !== "*"))
    throw otaError(Code.INVALID_RESPONSE, "invalid Content-Range " + text);
  if (head.length_ !== Length.UNKNOWN && head.length_ !== last - first + 1)
    throw otaError(Code.INVALID_RESPONSE, "invalid Content-Range " + text + " with Content-Length " + head.length_);
  head.start_ = first;
  head.length_ = last - first + 1;
  head.total_ = total;
}

/**
 * What the final answer, of `status`, says; or the Location of a redirect.
 * More than 30 lines: one header behind the other.
 */
export function parseAnswer(status: number, headers: { [name: string]: string }): Head | string {
  if (status === 301 || status === 302 || status === 303 || status === 307 || status === 308) {
    const location = header(headers, "location");
    if (!location) throw otaError(Code.INVALID_RESPONSE, "redirect without Location");
    return location;
  }
  checkStatus(status, headers);
  const length = header(headers, "content-length");
  const transfer = header(headers, "transfer-encoding").toLowerCase();
  const coding = header(headers, "content-encoding").toLowerCase();
  if (coding && coding !== "identity")
    throw otaError(Code.INVALID_RESPONSE, "not supported: Content-Encoding " + coding);
  if (transfer && (transfer !== "chunked" || length))
    throw otaError(
      Code.INVALID_RESPONSE,
      "not supported: Transfer-Encoding " + transfer + (length ? " with Content-Length" : ""),
    );
  // the engine cuts a body without either off after its first piece
  if (!transfer && digits(length) < 0)
    throw otaError(
      Code.INVALID_RESPONSE,
      length ? "invalid Content-Length " + length : "neither Content-Length nor chunked",
    );
  let tag = header(headers, "etag");
  let strong = tag[0] === '"';
  if (!tag) {
    tag = header(headers, "last-modified");
    const modified = Date.parse(tag);
    strong = modified > 0 && Date.parse(header(headers, "date")) - modified >= OLD;
  }
  const head: Head = {
    status_: status,
    start_: 0,
    length_: transfer ? Length.UNKNOWN : digits(length),
    total_: Length.UNKNOWN,
    tag_: tag,
    strong_: strong,
  };
  if (status === 206) parseRange(header(headers, "content-range"), head);
  else head.total_ = head.length_;
  return head;
}
