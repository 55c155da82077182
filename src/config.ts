// The configuration of a call, and its check, which comes before anything else.

import { Prefix, parseDigest } from "./platform/bytes";
import { checkHeaders } from "./platform/http-request";
import { Code, otaError, type OtaError } from "./errors";

/** Names of ESP-IDF's ESP_HTTPS_OTA_* events (esp_https_ota.h) without the prefix, and WRITE_FILE, which IDF lacks. */
export type EventName =
  | "START"
  | "CONNECTED"
  | "GET_IMG_DESC"
  | "VERIFY_CHIP_ID"
  | "VERIFY_CHIP_REVISION"
  | "WRITE_FLASH"
  | "WRITE_FILE"
  | "UPDATE_BOOT_PARTITION"
  | "FINISH"
  | "ABORT";

/**
 * What `onEvent` is called with. VERIFY_CHIP_ID: the image's chip id. VERIFY_CHIP_REVISION: the lowest chip revision
 * that the image runs on. WRITE_FLASH: bytes in flash so far, and bytes of the file, -1 when the server does not say.
 * WRITE_FILE: bytes of files in Storage so far, and bytes of all files that this update fetches.
 * UPDATE_BOOT_PARTITION: the subtype of the selected slot.
 */
export type UpdateEvent =
  | [name: "START" | "CONNECTED" | "GET_IMG_DESC" | "FINISH" | "ABORT", data: undefined, total: undefined]
  | [name: "VERIFY_CHIP_ID" | "VERIFY_CHIP_REVISION" | "UPDATE_BOOT_PARTITION", data: number, total: undefined]
  | [name: "WRITE_FLASH" | "WRITE_FILE", data: number, total: number];

// TypeScript does not accept a function with fewer parameters for a union of events, so each number of parameters has its
// own member.
/** A function that is called with an UpdateEvent. It may take fewer parameters. */
export type EventHandler =
  | ((...event: UpdateEvent) => void)
  | ((
      ...event: UpdateEvent extends infer E
        ? E extends [infer N, infer D, unknown]
          ? [name: N, data: D]
          : never
        : never
    ) => void)
  | ((
      ...event: UpdateEvent extends infer E ? (E extends [infer N, unknown, unknown] ? [name: N] : never) : never
    ) => void);

/** Gives the bytes of a file: see `source` of a configuration. */
export type Source = (
  offset: number,
  done: (error: unknown, data?: string | Uint8Array | null) => void,
  file: string,
) => void;

/** The fields of every configuration. */
export interface CommonConfig {
  /**
   * http or https. With `keys` it names a signed manifest, otherwise the image itself. Required unless `source` or `push`
   * is given.
   */
  url?: string;
  /**
   * Gives the bytes instead of a server. It is called with the offset of the next byte, and must call
   * `done(error, data)` once, now or later, with one or more bytes from this offset on: a binary string or a
   * Uint8Array, best 1 to 4 KB. No data (`""`, null or undefined) is the end of the file. After an error, or when `done`
   * is not called within `timeout`, it is called again, as often as `retries` allows. `file` names the file: it is `url`
   * for the manifest, or for the image when there is no manifest; else the image's URL as the manifest gives it.
   */
  source?: Source;
  /**
   * For `begin()`: the program gives the bytes of the image to `handle.write()`. With `keys` it must give the manifest as
   * `manifest`.
   * @default false
   */
  push?: boolean;
  /**
   * Values by names. They are sent with each request to the origin of `url`, never to another origin. A function is called
   * before each such request and returns its headers: for tokens that expire. If it throws, or its headers are not valid,
   * the call ends with ESP_ERR_INVALID_ARG.
   */
  headers?: { [name: string]: string } | (() => { [name: string]: string });
  /**
   * DER as a binary string (`atob` of the base64 between the lines of a PEM), or the name of a file in Storage; passed on
   * to Espruino's http. Espruino does not verify the server with it. `cert` and `key` show the server who the device is.
   */
  ca?: string;
  /** The certificate of the device, passed on to Espruino's http. */
  cert?: string;
  /** The private key of the device, passed on to Espruino's http. */
  key?: string;
  /**
   * ms without a byte from the server before a connection is closed. The module checks every quarter of this time, so the
   * end can come a quarter later.
   * @default 20000
   */
  timeout?: number;
  /**
   * How often the module connects again without progress before the update fails.
   * @default 5
   */
  retries?: number;
  /**
   * ms for the whole update, counted in whole seconds. Pauses between the steps of a handle count too. 0 sets no limit.
   * @default 3600000
   */
  deadline?: number;
  /** @default 5 */
  maxRedirects?: number;
  /**
   * Bytes per ranged request. 0 asks for the whole file in one request. If a TLS record of the server does not fit into the
   * buffer of this build, the module asks for smaller ranges by itself.
   * @default 0
   */
  maxRequestSize?: number;
  /**
   * Install an image that runs already.
   * @default false
   */
  allowSameVersion?: boolean;
  /**
   * Install a manifest with a lower sequence than the highest one that was confirmed on this device.
   * @default false
   */
  allowDowngrade?: boolean;
  /**
   * Install an image that was rolled back on this device, or that its bootloader refused.
   * @default false
   */
  allowRolledBack?: boolean;
  /**
   * Install an image whose Espruino cannot read the files in Storage. After the restart no program runs.
   * @default false
   */
  allowStorageLoss?: boolean;
  /**
   * Install although `save()` keeps the program (file `.varimg`). Other firmware deletes it at its first start.
   * @default false
   */
  allowSavedState?: boolean;
  /**
   * Update although `boot()` or `confirmAfter()` has the running image on trial. This overwrites the slot that a rollback
   * would go back to.
   * @default false
   */
  allowUnconfirmed?: boolean;
  /**
   * The manifest must have this project. Default: the project of the running image's app descriptor, else of the last
   * manifest that was installed.
   */
  project?: string;
  /**
   * Install a release whose rollout has not reached this device.
   * @default false
   */
  allowEarly?: boolean;
  /** Label of the slot to write. Default: the next update partition. */
  partition?: string;
  /** Called synchronously. An error that it throws does not end the update: the engine prints it. */
  onEvent?: EventHandler;
}

/** The manifest must be signed by trusted keys, and the image must be the one that it names. */
export interface SignedConfig extends CommonConfig {
  /** Trusted public keys (JWK). */
  keys: Jwk[];
  /**
   * How many of `keys` must have signed a manifest.
   * @default 1
   */
  threshold?: 1 | 2;
  /** The text of the signed manifest. It is then not fetched. The URL of its image may be relative to `url`. */
  manifest?: string;
  digest?: undefined;
  insecure?: false;
}

/** The image must have this digest. */
export interface DigestConfig extends CommonConfig {
  /**
   * The fs-verity digest of the image, from a source that is trusted: "fsverity-sha256:" (or "sha256:", as
   * fsverity-utils prints it) and 64 hexadecimal digits.
   */
  digest: string;
  keys?: undefined;
  threshold?: undefined;
  insecure?: false;
}

/** Installs what `url` serves, without authentication: Espruino's https does not authenticate the server. */
export interface InsecureConfig extends CommonConfig {
  insecure: true;
  keys?: undefined;
  threshold?: undefined;
  digest?: undefined;
}

/** Where the bytes come from: a server, a function, or `handle.write()`. */
export type Origin =
  | { url: string; source?: undefined; push?: false }
  | { source: Source; push?: false }
  | { push: true; source?: undefined };

/** Exactly one of `keys`, `digest` and `insecure` says which image may run. */
export type Config = (SignedConfig | DigestConfig | InsecureConfig) & Origin;

function refuse(fact: string): never {
  throw otaError(Code.INVALID_ARG, fact);
}

const DER = "0"; // the first byte of a certificate or key: a SEQUENCE, 0x30

// Every field with an example of its type; the example of a number is its default.
const FIELDS: { [name: string]: unknown } = {
  url: "",
  source: refuse,
  push: false,
  manifest: "",
  keys: [],
  digest: "",
  insecure: true,
  headers: {},
  ca: DER,
  cert: DER,
  key: DER,
  timeout: 20000,
  deadline: 3600000,
  retries: 5,
  maxRedirects: 5,
  maxRequestSize: 0,
  threshold: 1,
  allowSameVersion: false,
  allowDowngrade: false,
  allowRolledBack: false,
  allowStorageLoss: false,
  allowSavedState: false,
  allowUnconfirmed: false,
  allowEarly: false,
  project: "",
  partition: "",
  onEvent: refuse,
};

/** A configuration that was checked. Every number has a value. */
export interface Settings extends CommonConfig {
  manifest?: string;
  /** both belong to the download: net/request-options.ts */
  cancel_?: (error: OtaError) => void;
  canceled_?: OtaError;
  url: string;
  keys?: Jwk[];
  digest?: string;
  insecure?: boolean;
  onEvent?: (name: EventName, data?: number, total?: number) => void;
  timeout: number;
  deadline: number;
  retries: number;
  maxRedirects: number;
  maxRequestSize: number;
  threshold: number;
}

/**
 * A copy of `config` with defaults. Throws INVALID_ARG with the name of the field: for an unknown one, for a wrong
 * type, and unless exactly one field says which image may run.
 * More than 30 lines: one rule after the other, each with its message.
 */
export function checkConfig(config: Config): Settings {
  const fields = config as unknown as { [name: string]: unknown };
  const settings: { [name: string]: unknown } = {};
  const names = Object.keys(FIELDS);
  if (typeof fields !== "object" || !fields) refuse("the configuration must be an object");
  names.forEach((name) => {
    if (typeof FIELDS[name] === "number") settings[name] = FIELDS[name];
  });
  // own fields only: the caller did not write the fields of a prototype
  Object.keys(fields).forEach((name) => {
    const value = fields[name];
    if (value === undefined) return;
    if (names.indexOf(name) < 0) refuse("unknown field " + name);
    const type = typeof FIELDS[name];
    const callable = name === "headers" && typeof value === "function";
    if ((typeof value !== type && !callable) || value === null) refuse(name + " must be a " + type);
    if (type === "number" && !((value as number) >= 0 && Math.floor(value as number) === value))
      refuse(name + " must be a whole number");
    // the engine takes a text of up to 100 characters as the name of a file
    if (FIELDS[name] === DER && (value as string).length > 100 && (value as string)[0] !== DER)
      refuse(name + " is not DER: give atob() of the base64 between the lines of its PEM");
    settings[name] = value;
  });
  if (settings.push && settings.source) refuse("expected source or push, not both");
  if (!settings.url && !settings.source && !settings.push) refuse("url is missing: or give source, or push");
  if (!settings.url) settings.url = "";
  if (settings.manifest && !settings.keys) refuse("manifest needs keys");
  if (settings.push && settings.keys && !settings.manifest) refuse("push with keys needs manifest");
  if (!settings.timeout) refuse("timeout must be above 0");
  if ((settings.keys ? 1 : 0) + (settings.digest ? 1 : 0) + (settings.insecure ? 1 : 0) !== 1)
    refuse("expected exactly one of keys, digest, insecure: TLS in Espruino authenticates nobody");
  const checked = settings as unknown as Settings;
  if (typeof checked.headers === "object") checked.headers = checkHeaders(checked.headers);
  if (
    checked.threshold < 1 ||
    checked.threshold > 2 ||
    (checked.threshold > 1 && checked.keys && checked.keys.length < 2)
  )
    refuse("threshold is " + checked.threshold + ": expected 1 or 2, and as many keys");
  // fsverity-utils prints it with the shorter prefix
  if (checked.digest && parseDigest(checked.digest, Prefix.MANIFEST)) checked.digest = "fsverity-" + checked.digest;
  if (checked.digest && !parseDigest(checked.digest, Prefix.CONFIG))
    refuse("digest must be " + Prefix.CONFIG + " and 64 hexadecimal digits");
  return checked;
}

/**
 * An RSA public key, RFC 7517: `n` and `e` in base64url. `kid` is ignored, because the module names a key by
 * its RFC 7638 thumbprint.
 */
export interface Jwk {
  kty: string;
  n: string;
  e: string;
  kid?: string;
}
