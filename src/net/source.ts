// The bytes of one file from a function of the user: over BLE, a serial line, from a card or a neighbour. One piece for
// each call, so that the source is never faster than the flash. Stands where get() of http.ts stands for a server.

import { Code, otaError, tryOr, type OtaError } from "../errors";
import { binary } from "../platform/flash";
import { after, cancel } from "../platform/timers";
import type { Head } from "./headers";
import { Body, type Inbox } from "./inbox";
import type { RequestOptions } from "./request-options";

/**
 * Reads `file`, of `size` bytes, -1 while that is unknown, from where the inbox stands. `onEnd` comes once, and last: with
 * null when all bytes have come, or the source has no more. What the source reports is worth another try. Returns the
 * function that ends it; after it no event comes.
 * Over 60 lines: a closure that is made once for each file, whose functions share a timer and a count.
 */
export function readSource(
  options: RequestOptions,
  file: string,
  size: number,
  inbox: Inbox,
  onHead: (head: Head) => void,
  onBody: (data: string) => void,
  onEnd: (error: OtaError | null) => void,
): () => void {
  let timer: number | undefined;
  let ask: () => void;
  let asked = 0; // calls of the source: only the answer to the last one counts
  function position(): number {
    return inbox.offset_ + inbox.filled_ + inbox.buffered_.length;
  }
  function close(): void {
    asked = -1;
    if (timer !== undefined) cancel(timer);
    timer = undefined;
  }
  function end(error: OtaError | null): void {
    if (asked < 0) return;
    close();
    onEnd(error);
  }
  function take(data: string): void {
    const left = inbox.end_ - position();
    if (!data)
      return end(
        size < 0 ? null : otaError(Code.HTTP_INCOMPLETE_DATA, "the source ended, " + left + " bytes missing", true),
      );
    if (data.length >= left) {
      close();
      onBody(data.substr(0, left));
      return onEnd(null);
    }
    if (!inbox.room_ || !inbox.full_ || !inbox.full_(data)) onBody(data);
    // not below the source, which may answer before it returns
    if (asked >= 0) timer = after(0, ask);
  }
  ask = () => {
    const mine = ++asked;
    tryOr(() => {
      timer = after(options.timeout, () =>
        end(otaError(Code.HTTP_READ_TIMEOUT, "nothing from the source for " + options.timeout + " ms", true)),
      );
      options.source!(
        position(),
        (error, data) => {
          if (mine !== asked) return;
          asked++; // the next answer to this call is not heard
          if (timer !== undefined) cancel(timer);
          timer = undefined;
          tryOr(() => {
            if (error) throw otaError(Code.FAIL, "source: " + ((error as { message?: string }).message || error), true);
            take(data === undefined || data === null ? "" : binary(data));
          }, end);
        },
        file,
      );
    }, end);
  };
  onHead({ status_: -1, start_: position(), length_: -1, total_: size, tag_: "", strong_: false });
  inbox.end_ = size < 0 ? Body.ENDLESS : size;
  timer = after(0, ask);
  return close;
}
