// What the head of an answer says about its body: status, length, range, validators, Retry-After. Pure.
// Source: RFC 9110; IDF esp_https_ota.c for what each status means.

import { Code, otaError } from "../errors";

/** A length that the server does not say. An enum takes no variable. */
export const enum Length {
  UNKNOWN = -1,
}

/**
 * In ms. Last-Modified is strong if the file was at least this old when it was sent: no other version of the file can have
 * the same time. RFC 9110 8.8.2.2 asks for a second; RFC 7232 asked for a minute, because Date and Last-Modified may come
 * from two clocks.
 */
const OLD = 60000;

/** What the final answer says about its body. Lengths in bytes, -1 when the server does not say. */
export interface Head {
  /** HTTP status */
  status_: number;
  /** offset of the body's first byte in the whole file; 0 for status 200 */
  start_: number;
  /** bytes of this body */
  length_: number;
  /** bytes of the whole file */
  total_: number;
  /** ETag, else Last-Modified, else "". Another version of the file has another tag */
  tag_: string;
  /** may parts of several answers be joined if they have this tag? */
  strong_: boolean;
}

/** The value of a decimal number of at most ten digits without a sign; -1 for any other text. */
export function digits(text: string): number {
  let value = text.length && text.length < 11 ? 0 : Length.UNKNOWN;
  for (let i = 0; i < text.length && value >= 0; i++) {
    const digit = text.charCodeAt(i) - 48;
    value = digit >= 0 && digit <= 9 ? value * 10 + digit : Length.UNKNOWN;
  }
  return value;
}

/** The value of a header by its lower-case name, "" when it is absent. The engine keeps each spelling as another key. */
function header(headers: { [name: string]: string }, name: string): string {
  let value: string | undefined;
  for (const key in headers)
    if (key.toLowerCase() === name) {
      if (value !== undefined) throw otaError(Code.INVALID_RESPONSE, "header " + name + " came twice");
      value = headers[key];
    }
  return value || "";
}

/** Retry-After in ms, RFC 9110 10.2.3: seconds, or a date, compared with the Date of the answer. 0 when absent. */
function retryAfter(headers: { [name: string]: string }): number {
  const text = header(headers, "retry-after");
  const seconds = digits(text);
  if (seconds >= 0) return seconds * 1000;
  const sent = Date.parse(header(headers, "date"));
  // the engine's Date.parse returns 0 for a text that is not a date
  const wait = sent > 0 ? Date.parse(text) - sent : 0;
  if (wait > 0) return wait;
  return 0; // absent, in the past, or not a date
}

/** Throws unless the status is 200 or 206, with ESP-IDF's code for it (esp_https_ota.c _http_handle_response_code). */
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
 * What the head of the final answer says; or the Location of a redirect. Throws for every other answer.
 * More than 30 lines: one header after the other.
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
  // the engine ends a body without either of them after its first piece
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
