// Outcome codes with ESP-IDF's own numbers and names, and the one place where an Error is built.
// Source: docs/design.md#errors. Read in IDF 6.2.0-dev, commit 1021229 of July 2026: esp_err.h, esp_http_client.h,
// esp_ota_ops.h, esp_https_ota.h. OTA_ALREADY_IN_PROGRESS and OTA_SPI_MODE_MISMATCH came with v6.1-beta1.

export const enum Code {
  OK = 0,
  FAIL = -1,
  NO_MEM = 0x101,
  INVALID_ARG = 0x102,
  INVALID_STATE = 0x103,
  INVALID_SIZE = 0x104,
  NOT_FOUND = 0x105,
  NOT_SUPPORTED = 0x106,
  TIMEOUT = 0x107,
  INVALID_RESPONSE = 0x108,
  INVALID_VERSION = 0x10a,
  NOT_ALLOWED = 0x10d,
  OTA_PARTITION_CONFLICT = 0x1501,
  OTA_SELECT_INFO_INVALID = 0x1502,
  OTA_VALIDATE_FAILED = 0x1503,
  OTA_SMALL_SEC_VER = 0x1504,
  OTA_ROLLBACK_FAILED = 0x1505,
  OTA_ROLLBACK_INVALID_STATE = 0x1506,
  OTA_ALREADY_IN_PROGRESS = 0x1507,
  OTA_SPI_MODE_MISMATCH = 0x1508,
  FLASH_OP_FAIL = 0x6001,
  HTTP_MAX_REDIRECT = 0x7001,
  HTTP_CONNECT = 0x7002,
  HTTP_NOT_MODIFIED = 0x7009,
  HTTP_RANGE_NOT_SATISFIABLE = 0x700a,
  HTTP_READ_TIMEOUT = 0x700b,
  HTTP_INCOMPLETE_DATA = 0x700c,
  HTTP_REDIRECT_DOWNGRADE = 0x700d,
  IN_PROGRESS = 0x9001,
}

// it repeats the numbers because the published types must not name an enum
/** The type of `ERR`: ESP-IDF's numbers by their names. */
export interface ErrorNumbers {
  readonly OK: 0;
  readonly FAIL: -1;
  readonly NO_MEM: 0x101;
  readonly INVALID_ARG: 0x102;
  readonly INVALID_STATE: 0x103;
  readonly INVALID_SIZE: 0x104;
  readonly NOT_FOUND: 0x105;
  readonly NOT_SUPPORTED: 0x106;
  readonly TIMEOUT: 0x107;
  readonly INVALID_RESPONSE: 0x108;
  readonly INVALID_VERSION: 0x10a;
  readonly NOT_ALLOWED: 0x10d;
  readonly OTA_PARTITION_CONFLICT: 0x1501;
  readonly OTA_SELECT_INFO_INVALID: 0x1502;
  readonly OTA_VALIDATE_FAILED: 0x1503;
  readonly OTA_SMALL_SEC_VER: 0x1504;
  readonly OTA_ROLLBACK_FAILED: 0x1505;
  readonly OTA_ROLLBACK_INVALID_STATE: 0x1506;
  readonly OTA_ALREADY_IN_PROGRESS: 0x1507;
  readonly OTA_SPI_MODE_MISMATCH: 0x1508;
  readonly FLASH_OP_FAIL: 0x6001;
  readonly HTTP_MAX_REDIRECT: 0x7001;
  readonly HTTP_CONNECT: 0x7002;
  readonly HTTP_NOT_MODIFIED: 0x7009;
  readonly HTTP_RANGE_NOT_SATISFIABLE: 0x700a;
  readonly HTTP_READ_TIMEOUT: 0x700b;
  readonly HTTP_INCOMPLETE_DATA: 0x700c;
  readonly HTTP_REDIRECT_DOWNGRADE: 0x700d;
  readonly IN_PROGRESS: 0x9001;
}

/**
 * ESP-IDF's numbers by their names without `ESP_` or `ESP_ERR_`; `IN_PROGRESS` is ESP_ERR_HTTPS_OTA_IN_PROGRESS. The
 * table is created at each read, because it takes 85 JsVars.
 * More than 30 lines: a table.
 */
export function errorNumbers() {
  return {
    OK: Code.OK,
    FAIL: Code.FAIL,
    NO_MEM: Code.NO_MEM,
    INVALID_ARG: Code.INVALID_ARG,
    INVALID_STATE: Code.INVALID_STATE,
    INVALID_SIZE: Code.INVALID_SIZE,
    NOT_FOUND: Code.NOT_FOUND,
    NOT_SUPPORTED: Code.NOT_SUPPORTED,
    TIMEOUT: Code.TIMEOUT,
    INVALID_RESPONSE: Code.INVALID_RESPONSE,
    INVALID_VERSION: Code.INVALID_VERSION,
    NOT_ALLOWED: Code.NOT_ALLOWED,
    OTA_PARTITION_CONFLICT: Code.OTA_PARTITION_CONFLICT,
    OTA_SELECT_INFO_INVALID: Code.OTA_SELECT_INFO_INVALID,
    OTA_VALIDATE_FAILED: Code.OTA_VALIDATE_FAILED,
    OTA_SMALL_SEC_VER: Code.OTA_SMALL_SEC_VER,
    OTA_ROLLBACK_FAILED: Code.OTA_ROLLBACK_FAILED,
    OTA_ROLLBACK_INVALID_STATE: Code.OTA_ROLLBACK_INVALID_STATE,
    OTA_ALREADY_IN_PROGRESS: Code.OTA_ALREADY_IN_PROGRESS,
    OTA_SPI_MODE_MISMATCH: Code.OTA_SPI_MODE_MISMATCH,
    FLASH_OP_FAIL: Code.FLASH_OP_FAIL,
    HTTP_MAX_REDIRECT: Code.HTTP_MAX_REDIRECT,
    HTTP_CONNECT: Code.HTTP_CONNECT,
    HTTP_NOT_MODIFIED: Code.HTTP_NOT_MODIFIED,
    HTTP_RANGE_NOT_SATISFIABLE: Code.HTTP_RANGE_NOT_SATISFIABLE,
    HTTP_READ_TIMEOUT: Code.HTTP_READ_TIMEOUT,
    HTTP_INCOMPLETE_DATA: Code.HTTP_INCOMPLETE_DATA,
    HTTP_REDIRECT_DOWNGRADE: Code.HTTP_REDIRECT_DOWNGRADE,
    IN_PROGRESS: Code.IN_PROGRESS,
  };
}

/** What every failure rejects with (or throws, from a synchronous call). */
export interface OtaError extends Error {
  /** ESP-IDF's number: compare with `ERR`. */
  code: number;
  /** ESP-IDF's name, such as `ESP_ERR_OTA_VALIDATE_FAILED`. */
  name: string;
  /**
   * true: the same call may succeed later without a change of the device or the release (network, busy server, 404 and
   * 410, a file that changed while it was fetched). false: the same call fails again.
   */
  retry: boolean;
  /** HTTP status of the answer that caused it; undefined without an answer */
  status?: number;
  /** @internal ms that the server asks to wait before the next try */
  wait_?: number;
  /** @internal bytes of the whole file, from a 416 */
  total_?: number;
  /** @internal the peer sent a TLS record that is larger than the buffer of this build */
  record_?: boolean;
}

/** The most characters that a message has. */
const MAX_MESSAGE = 500;

/**
 * Builds the error for `code` with `message`. Errors are built only here; the caller throws the error or passes it on.
 */
export function otaError(code: Code, message: string, retry?: boolean): OtaError {
  // the message may quote bytes that a stranger has sent, and a terminal would obey control characters in it
  let printable = "";
  for (let i = 0; i < message.length && i < MAX_MESSAGE; i++) {
    const c = message.charCodeAt(i);
    printable += c < 32 || c > 126 ? "?" : message[i];
  }
  const error = new Error(printable) as OtaError;
  const names: { [name: string]: number } = errorNumbers();
  for (const name in names) if (names[name] === code) error.name = (code < 0 ? "ESP_" : "ESP_ERR_") + name;
  error.code = code;
  error.retry = !!retry;
  return error;
}

/**
 * Turns what was thrown into an OtaError. An OtaError is returned unchanged; anything else becomes ESP_FAIL with its own
 * message.
 */
export function toOtaError(thrown: any): OtaError {
  return thrown && thrown.code !== undefined && thrown.retry !== undefined
    ? thrown
    : otaError(Code.FAIL, "" + ((thrown && thrown.message) || thrown));
}

/** A callback that does nothing. */
export function noop(): void {}

/**
 * Runs `body`, and passes what it throws to `reject` as an OtaError. The body of every callback of the engine or of a
 * promise must run in it: the engine only prints what a callback throws.
 */
export function tryOr(body: () => void, reject: (error: OtaError) => void): void {
  try {
    body();
  } catch (thrown) {
    reject(toOtaError(thrown));
  }
}

/** Throws NO_MEM: there was no memory for `what`. */
export function noMemory(what: string): never {
  throw otaError(Code.NO_MEM, "out of memory: " + what, true);
}
