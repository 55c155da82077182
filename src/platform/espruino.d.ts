// Types of what src/platform uses of today's Espruino and @types/espruino 1.95 (content of 2018) does not have.
// Checked against the engine by test-host/tests/engine/contract.test.ts.

interface EspruinoFlash {
  /** undefined when memory runs out */
  read(length: number, addr: number): Uint8Array | undefined;
  write(data: Uint8Array | string | (Uint8Array | string)[], addr: number): void;
  erasePage(addr: number): void;
}

interface EspruinoCrypto {
  /** undefined when memory runs out */
  SHA256(data: Uint8Array | string | (Uint8Array | string)[]): ArrayBuffer | undefined;
}

interface EspruinoHttpRequest {
  on(event: "error", listener: (error: { code: number; message: string }) => void): void;
  end(body?: string): void;
  /** the options of the request: the engine reads them until it is sent (libs/network/socketserver.c) */
  opt?: object;
  /** set to true: the engine closes the connection at its next idle pass (libs/network/socketserver.c) */
  clsNow?: boolean;
  /** bytes that the engine has received and no listener has taken */
  dRcv?: string;
}

interface EspruinoHttpResponse {
  statusCode: string;
  headers: { [name: string]: string };
  /** internal field of the engine: the body is chunked */
  chunked?: boolean;
  on(event: "data", listener: (data: string) => void): void;
  on(event: "close", listener: (error: boolean) => void): void;
}

interface EspruinoHttpOptions {
  protocol: string;
  host: string;
  port?: number;
  path: string;
  method: string;
  headers: { [name: string]: string };
  ca?: string;
  cert?: string;
  key?: string;
}

/** The board's serial number in hexadecimal, on an ESP32 its MAC address: "240ac4aa-bbcc". */
declare function getSerial(): string;

interface EspruinoStorageStats {
  totalBytes: number;
  /** bytes behind the last file */
  freeBytes: number;
  /** bytes of files that were erased or replaced: a compaction makes them free */
  trashBytes: number;
}

interface EspruinoStorage {
  /** `length` 0 or not given: up to the end of the file */
  read(name: string, offset?: number, length?: number): string | undefined;
  write(name: string, data: string, offset: number, size: number): boolean;
  erase(name: string): void;
  /** undefined when memory runs out */
  list(): string[] | undefined;
  compact(): void;
  /** undefined when memory runs out */
  getStats(): EspruinoStorageStats | undefined;
}

interface EspruinoHttp {
  /** undefined without a network */
  request(
    options: EspruinoHttpOptions,
    callback: (response: EspruinoHttpResponse) => void,
  ): EspruinoHttpRequest | undefined;
}

declare function require(name: "Flash"): EspruinoFlash;
declare function require(name: "crypto"): EspruinoCrypto;
declare function require(name: "http"): EspruinoHttp;
declare function require(name: "Storage"): EspruinoStorage;
declare function require(name: "https-ota"): any;

declare namespace E {
  function CRC32(data: Uint8Array | string): number;
  // biome-ignore lint/suspicious/noShadowRestrictedNames: Espruino's name
  function toString(data: Uint8Array): string;
  function on(event: "kill", listener: () => void): void;
  function removeListener(event: "kill", listener: () => void): void;
  /** set by this module and its loader: see engine.ts */
  let otaRestartPending: number | undefined;
  let otaLock: object | undefined;
  let otaSet: string | undefined;
  let otaStart: number | undefined;
  let otaRan: boolean | undefined;
}

declare const ESP32: {
  reboot(): void;
  setOTAValid?(valid: boolean): void;
};

declare const process: {
  env: { BOARD: string; VERSION: string };
  memory(): { free: number; total: number; usage: number };
};

declare function setTimeout(callback: () => void, ms: number): number;
declare function setInterval(callback: () => void, ms: number): number;
declare function clearTimeout(id: number): void;

interface Uint8Array {
  /** Espruino takes a binary string too and stores its character codes */
  set(source: string, offset?: number): void;
}

declare namespace Modules {
  function addCached(id: string, code: string): void;
  function removeCached(id: string): void;
}
