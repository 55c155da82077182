// The configuration of a call. It is checked before anything else happens.

import { Prefix, parseDigest } from "./platform/bytes";
import { checkHeaders } from "./platform/http-request";
import { Code, otaError, type OtaError } from "./errors";

/** Names of ESP_HTTPS_OTA_EVENT_* (ESP-IDF, esp_https_ota.h) without the prefix, and WRITE_FILE, which is ours. */
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
 * WRITE_FILE: bytes of files in Storage so far, and of all that are fetched.
 * UPDATE_BOOT_PARTITION: the subtype of the selected slot.
 */
export type UpdateEvent =
  | [name: "START" | "CONNECTED" | "GET_IMG_DESC" | "FINISH" | "ABORT", data: undefined, total: undefined]
  | [name: "VERIFY_CHIP_ID" | "VERIFY_CHIP_REVISION" | "UPDATE_BOOT_PARTITION", data: number, total: undefined]
  | [name: "WRITE_FLASH" | "WRITE_FILE", data: number, total: number];

// TypeScript lets nobody leave a parameter out of a union of events, so each number of parameters has its own member.
/** A function of what stands in UpdateEvent. It may take fewer parameters. */
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

/** Brings the bytes of a file: see `source` of a configuration. */
export type Source = (
  offset: number,
  done: (error: unknown, data?: string | Uint8Array | null) => void,
  file: string,
) => void;

/** The fields of every configuration. */
export interface CommonConfig {
  /**
   * http or https. With `keys` it names a signed manifest, otherwise the image itself. Needed unless `source` or `push`
   * brings the bytes.
   */
  url?: string;
  /**
   * Brings the bytes in the place of a server: it is called with the offset of the byte that is wanted next, and calls
   * `done(error, data)` once, now or later, with one or more bytes from there on as they come: a binary string or a
   * Uint8Array, best 1 to 4 KB. No data (`""`, null or undefined) is the end of the file. An error is tried again as
   * one of the network is, and so is an answer that takes longer than `timeout`. `file`: which file is wanted, `url` for
   * the manifest (or what is installed without one), and the image's URL as the manifest gives it.
   */
  source?: Source;
  /**
   * For `begin()`: `handle.write()` brings the bytes of the image. With `keys` the manifest is given as `manifest`.
   * @default false
   */
  push?: boolean;
  /**
   * Texts by their names, sent with each request to the first origin, never to another. A function is called before each such request, and
   * gives its headers: for tokens that expire. What it throws, or headers that are refused, end the call with
   * ESP_ERR_INVALID_ARG.
   */
  headers?: { [name: string]: string } | (() => { [name: string]: string });
  /**
   * DER as a binary string (`atob` of the base64 between the lines of a PEM), or the name of a file, as Espruino's http
   * takes them. It verifies nothing with them; `cert` and `key` show the server who the device is.
   */
  ca?: string;
  /** The certificate of the device, passed on to Espruino's http. */
  cert?: string;
  /** The private key of the device, passed on to Espruino's http. */
  key?: string;
  /**
   * ms without a byte from the server before a connection is closed. It is checked four times in this time, so the end
   * can come a quarter later.
   * @default 20000
   */
  timeout?: number;
  /**
   * How often a connection is made again without progress before the update fails.
   * @default 5
   */
  retries?: number;
  /**
   * ms for the whole update, counted in whole seconds, pauses between the steps of a handle included. 0 sets no limit.
   * @default 3600000
   */
  deadline?: number;
  /** @default 5 */
  maxRedirects?: number;
  /**
   * Bytes per ranged request. 0 asks for the whole file in one request, and over TLS for ranges that fit where the
   * server's records do not fit into the buffer of this build.
   * @default 0
   */
  maxRequestSize?: number;
  /**
   * Install an image that is running already.
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
   * Install an image whose Espruino cannot read the files in Storage. The program is not there after the restart.
   * @default false
   */
  allowStorageLoss?: boolean;
  /**
   * Install although `save()` keeps the program (file `.varimg`). Other firmware drops it at its first start.
   * @default false
   */
  allowSavedState?: boolean;
  /**
   * Update although `boot()` or `confirmAfter()` has the running image on trial. Then there is nothing left to go back
   * to.
   * @default false
   */
  allowUnconfirmed?: boolean;
  /**
   * The manifest's project must be this. Default: the project of the running image's app descriptor, else of the last
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
  /** Called synchronously. What it throws does not end the update: the engine prints it. */
  onEvent?: EventHandler;
}

/** The manifest that `url` names must be signed by trusted keys, and the image must be the one that it names. */
export interface SignedConfig extends CommonConfig {
  /** Trusted public keys (JWK). */
  keys: Jwk[];
  /**
   * By how many of `keys` a manifest must be signed.
   * @default 1
   */
  threshold?: 1 | 2;
  /** The signed manifest itself, so that it is not fetched. Its image's URL may be relative to `url`. */
  manifest?: string;
  digest?: undefined;
  insecure?: false;
}

/** The image must have this digest. */
export interface DigestConfig extends CommonConfig {
  /**
   * The fs-verity digest of the image, from a source that is trusted: "fsverity-sha256:", or "sha256:" as
   * fsverity-utils prints it, and 64 hexadecimal digits.
   */
  digest: string;
  keys?: undefined;
  threshold?: undefined;
  insecure?: false;
}

/** Installs what `url` serves, without authentication: https in Espruino authenticates nobody. */
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

const DER = "0"; // how certificates and keys begin: a SEQUENCE, 0x30

// Every field, by an example of its type; for a number the example is the default.
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

/** A configuration that was checked, with every number given. */
export interface Settings extends CommonConfig {
  manifest?: string;
  /** of a download: net/request-options.ts */
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
 * More than 30 lines: one rule behind the other, each with its message.
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
    // the engine takes a text of up to 100 characters for the name of a file
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
  // as fsverity-utils prints it
  if (checked.digest && parseDigest(checked.digest, Prefix.MANIFEST)) checked.digest = "fsverity-" + checked.digest;
  if (checked.digest && !parseDigest(checked.digest, Prefix.CONFIG))
    refuse("digest must be " + Prefix.CONFIG + " and 64 hexadecimal digits");
  return checked;
}

/**
 * An RSA public key, RFC 7517: `n` and `e` in base64url. `kid` is ignored: keys are named by
 * their RFC 7638 thumbprint.
 */
export interface Jwk {
  kty: string;
  n: string;
  e: string;
  kid?: string;
}
