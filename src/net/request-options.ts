// What a download is told of its caller, checked (config.ts).

import type { OtaError } from "../errors";

export interface RequestOptions {
  /**
   * What is the user's own is sent to the origin of this URL only: `headers`, its user and password, `cert` and `key`. ""
   * where no server is asked.
   */
  url: string;
  /** checked, or a function that is called before each request and whose headers are checked then */
  headers?: { [name: string]: string } | (() => { [name: string]: string });
  ca?: string;
  cert?: string;
  key?: string;
  /** Brings the file in the place of a server: config.ts. */
  source?: (offset: number, done: (error: unknown, data?: string | Uint8Array | null) => void, file: string) => void;
  /** ms */
  timeout: number;
  retries: number;
  maxRedirects: number;
  /** bytes of a range, 0 for the whole file in one request. A download makes it smaller where TLS records do not fit. */
  maxRequestSize: number;
  /** Set by a download: ends it. Undefined when no download is under way, or it was closed. */
  cancel_?: (error: OtaError) => void;
  /** Set by who has ended the update: no download begins any more. */
  canceled_?: OtaError;
}
