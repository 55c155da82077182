// Tells a server how this device is: docs/fleet.md#reports.

import { getStatus } from "../boot/status-report";
import { Code, otaError, tryOr } from "../errors";
import { post } from "../net/post";
import { resetReason } from "../platform/chip";
import { boardName, freeVars, serialNumber } from "../platform/engine";
import { checkHeaders } from "../platform/http-request";

/** What a report has besides the status: nothing of it is secret. */
export interface Identity {
  /** getSerial(): on an ESP32 its MAC address */
  serial: string;
  /** process.env.BOARD */
  board: string;
  /** free JsVars */
  free: number;
  /** why the chip was reset: IDF's soc_reset_reason_t, such as 1 for power on, 15 for a brown-out */
  reset: number;
}

/**
 * POSTs `getStatus()`, with serial number, board, free JsVars and the reason of the last reset, as JSON to `url`. Resolves
 * with 0 when the server took it. What matters is in the boot record and so in the next report too: why the last image was
 * rolled back, and what is on trial. Rejects like an update that gets no manifest.
 */
export function report(url: string, headers?: { [name: string]: string }): Promise<number> {
  return new Promise<number>((resolve, reject) => {
    tryOr(() => {
      if (typeof url !== "string") throw otaError(Code.INVALID_ARG, "report: url must be a string");
      const about: any = getStatus();
      about.serial = serialNumber();
      about.board = boardName();
      about.free = freeVars();
      about.reset = resetReason();
      post(url, JSON.stringify(about), headers ? checkHeaders(headers) : {}, (error) => {
        if (error) reject(error);
        else resolve(0);
      });
    }, reject);
  });
}
