// What a download gets from the configuration of its caller, which config.ts has checked.

import type { OtaError } from "../errors";

/**
 * A download writes `cancel_` and `maxRequestSize`, and update.ts writes `canceled_`, because the options belong to one call
 * of the user, and all downloads of that call share these values. Three modules create downloads (manifest-client.ts,
 * files.ts, update.ts): a cancelling function would have to pass from each of them to run(), and every function in between
 * would need one more parameter, which is a JsVar. With its own range size each file would first fail with large TLS records
 * again.
 */
export interface RequestOptions {
  /**
   * Only the origin of this URL gets `headers`, `ca`, `cert`, `key`, and the user and password that the URL contains. ""
   * when the bytes do not come from a server.
   */
  url: string;
  /** checked; or a function, which is called before each request, and whose headers are checked then */
  headers?: { [name: string]: string } | (() => { [name: string]: string });
  ca?: string;
  cert?: string;
  key?: string;
  /** gives the bytes instead of a server: config.ts */
  source?: (offset: number, done: (error: unknown, data?: string | Uint8Array | null) => void, file: string) => void;
  /** ms */
  timeout: number;
  retries: number;
  maxRedirects: number;
  /** bytes of a range, 0 for the whole file in one request. A download makes it smaller when TLS records do not fit. */
  maxRequestSize: number;
  /** ends the running download, which has set it; undefined before the first download, and after one was closed */
  cancel_?: (error: OtaError) => void;
  /** set when the call has ended: no download starts any more */
  canceled_?: OtaError;
}
