// Real sockets in the shape the interpreter's network layer has: send and recv that never wait. Data stays in the
// kernel until recv asks for it, so TCP back-pressure is real. Only loopback is ever reached.

import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import net from "node:net";
import { Duplex } from "node:stream";
import tls from "node:tls";

/** Negative results, as the interpreter numbers them. */
export const CLOSED = -1;
/** mbedTLS: the peer said close-notify. */
export const CLOSE_NOTIFY = -30848;

export interface Handle {
  /** Bytes taken, 0 when not ready, negative on failure. */
  send(bytes: Uint8Array): number;
  /** At most `max` bytes, or 0 when there are none yet, or a negative number when there will be none. */
  recv(max: number): Uint8Array | number;
  close(): void;
  /** Set when the TLS handshake failed: mbedTLS's error as the interpreter prints it. */
  handshakeError?: string;
}

/** Dotted decimal to its numbers; undefined for a name. The interpreter is as lax as this. */
function parseAddress(host: string): string | undefined {
  if (!/^[0-9.]+$/.test(host)) return undefined;
  const parts = host.split(".").map((part) => Number(part) & 255);
  while (parts.length < 4) parts.unshift(0);
  return parts.slice(-4).join(".");
}

/** A name's address from the table; undefined when it cannot be found, "0.0.0.0" counting as that. */
export function resolveHost(host: string, hosts: Record<string, string>): string | undefined {
  const address = parseAddress(host) ?? (host === "localhost" ? "127.0.0.1" : hosts[host]);
  return address === "0.0.0.0" ? undefined : address;
}

const LISTEN = "0A";
const ANY_OR_LOOPBACK = /^(00000000|0+1000000|0{8}0{8}FFFF00000100007F|0{32})$/;

function listensIn(file: string, port: number): boolean {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return readFileSync(file, "latin1")
    .split("\n")
    .some((line) => {
      const field = line.trim().split(/\s+/);
      if (field[3] !== LISTEN) return false;
      const [address, localPort] = field[1].split(":");
      return localPort === hex && (address.endsWith("7F") || ANY_OR_LOOPBACK.test(address));
    });
}

/** Ports of this machine on which this process is known to listen: to look into the kernel's table takes milliseconds. */
export const listening = new Set<number>();

/**
 * The interpreter connects while the program waits, so a refusal is a throw. Node connects later: who listens is
 * therefore read from the kernel's own table, which costs no connection that a scripted server would have to count.
 * Elsewhere than on Linux a refusal shows as a closed connection instead.
 */
export function canConnect(address: string, port: number): boolean {
  if (!address.startsWith("127.")) return false;
  if (listening.has(port) || process.platform !== "linux") return true;
  for (const file of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    try {
      if (listensIn(file, port)) return true;
    } catch {
      // no IPv6 in this kernel
    }
  }
  return false;
}

export function openPlain(address: string, port: number, wake: () => void): Handle {
  const socket = net.connect({ host: address, port, allowHalfOpen: true });
  let pending: Buffer = Buffer.alloc(0);
  let connected = false;
  let over = false;
  socket.on("connect", () => {
    connected = true;
    wake();
  });
  socket.on("readable", wake);
  for (const event of ["end", "error", "close"]) {
    socket.on(event, () => {
      over = true;
      wake();
    });
  }
  return {
    send(bytes) {
      if (over && socket.destroyed) return CLOSED;
      if (!connected) return 0;
      socket.write(bytes);
      return bytes.length;
    },
    recv(max) {
      while (pending.length < max) {
        const more = socket.read() as Buffer | null;
        if (!more) break;
        pending = pending.length ? Buffer.concat([pending, more]) : more;
      }
      if (pending.length === 0) return over ? CLOSED : 0;
      const out = pending.subarray(0, max);
      pending = pending.subarray(out.length);
      return out;
    },
    close() {
      socket.removeAllListeners();
      socket.on("error", () => {});
      socket.destroy();
    },
  };
}

const RECORD_ALERT = 21;
const RECORD_TYPES = [20, 21, 22, 23];

/** A TLS buffer of an interpreter: the most bytes that a record may hold, and mbedTLS's error for one that holds more. */
export type TlsBuffer = { bytes: number; error: number };
/** What AES-GCM adds to a record: the explicit part of its nonce, and the tag. */
const GCM_OVERHEAD = 8 + 16;

type Sniffer = {
  alerts: number;
  plainAlert: boolean;
  garbage: boolean;
  /** A record has come that is larger than the buffer. */
  tooLarge: boolean;
  /** Returns how many of the bytes come before the body of such a record. */
  feed(bytes: Uint8Array): number;
};

/** Watches the records that come from the peer: only so can a close-notify be told from a bare FIN. */
function createSniffer(buffer?: TlsBuffer): Sniffer {
  const header: number[] = [];
  let skip = 0;
  const most = buffer ? buffer.bytes + GCM_OVERHEAD : Infinity;
  const sniffer: Sniffer = {
    alerts: 0,
    plainAlert: false,
    garbage: false,
    tooLarge: false,
    feed(bytes) {
      let at = 0;
      while (at < bytes.length && !sniffer.garbage && !sniffer.tooLarge) {
        if (skip > 0) {
          const step = Math.min(skip, bytes.length - at);
          skip -= step;
          at += step;
          continue;
        }
        header.push(bytes[at++]);
        if (header.length < 5) continue;
        skip = header[3] * 256 + header[4];
        if (header[0] === RECORD_ALERT) {
          sniffer.alerts++;
          if (skip === 2) sniffer.plainAlert = true;
        }
        if (!RECORD_TYPES.includes(header[0])) sniffer.garbage = true;
        else if (skip > most) sniffer.tooLarge = true;
        header.length = 0;
      }
      return sniffer.tooLarge ? at : bytes.length;
    },
  };
  return sniffer;
}

/** Passes bytes between a TCP socket and Node's TLS, showing those that come in to the sniffer. */
function sniffed(raw: net.Socket, sniffer: Sniffer): Duplex {
  const duplex = new Duplex({
    allowHalfOpen: true,
    read() {
      raw.resume();
    },
    write(bytes, _encoding, done) {
      raw.write(bytes, done);
    },
  });
  raw.pause();
  let ended = false;
  const finish = (): void => {
    if (!ended) duplex.push(null);
    ended = true;
  };
  raw.on("data", (bytes) => {
    if (ended) return;
    const good = sniffer.feed(bytes);
    if (!duplex.push(bytes.subarray(0, good))) raw.pause();
    // what came before is decrypted and handed over; mbedTLS reads no further
    if (sniffer.tooLarge) finish();
  });
  raw.on("end", finish);
  raw.on("close", finish);
  raw.on("error", () => duplex.destroy());
  return duplex;
}

/** mbedTLS's number for what went wrong, in the form the interpreter prints it. */
function handshakeFailure(sniffer: Sniffer): string {
  if (sniffer.plainAlert) return "-0x7780";
  if (sniffer.garbage || sniffer.tooLarge) return "-0x7200";
  return "-0x1";
}

const FILE_NAME_MAX = 100;

const DER_SEQUENCE = 0x30;

function parseKey(key: Buffer): KeyObject {
  for (const type of ["pkcs8", "pkcs1"] as const) {
    try {
      return createPrivateKey({ key, format: "der", type });
    } catch {
      // another form
    }
  }
  return createPrivateKey({ key, format: "der", type: "sec1" });
}

/** One of the caller's certificates or its key; what cannot be parsed throws the interpreter's message. */
function readCertificate<T>(given: unknown, what: string, parse: (bytes: Buffer) => T): T | undefined {
  const value = typeof given === "function" ? given() : given;
  if (value === undefined) return undefined;
  if (typeof value === "string" && value.length <= FILE_NAME_MAX) {
    throw new Error("not modelled: a certificate from a file");
  }
  const bytes = typeof value === "string" ? Buffer.from(value, "latin1") : Buffer.from(value as Uint8Array);
  try {
    // the interpreter's own mbedTLS is built without PEM, Node's parsers take both
    if (bytes[0] !== DER_SEQUENCE) throw new Error("no DER");
    return parse(bytes);
  } catch {
    throw new Error(`HTTPS init failed! ${what}: Invalid format`);
  }
}

/**
 * What the Linux build offers (libs/crypto/mbedtls/config.h), held by the contract script tls-hello. No ECDHE, no ECDSA: what
 * does without is what every build has. The ESP32 ports take ESP-IDF's mbedTLS, which offers ECDHE too, so a server that
 * the virtual device refuses may suit a real one.
 */
const CIPHERS = ["DHE-RSA-", ""].flatMap((exchange) =>
  ["AES256", "AES128"].flatMap((aes) =>
    [aes === "AES256" ? "GCM-SHA384" : "GCM-SHA256", "CCM", "SHA256", "SHA", "CCM8"].map(
      (mode) => `${exchange}${aes}-${mode}`,
    ),
  ),
);

const OFFER: tls.SecureContextOptions = {
  maxVersion: "TLSv1.2",
  // Node's own level refuses SHA-1
  ciphers: [...CIPHERS, "@SECLEVEL=0"].join(":"),
  sigalgs: ["SHA512", "SHA384", "SHA256", "SHA224", "SHA1"].map((hash) => `RSA+${hash}`).join(":"),
};

/** The context, with the client's certificate when one is given. `ca` is parsed and then not used, as in Espruino. */
function readCertificates(options: any): tls.SecureContext {
  const parseCert = (bytes: Buffer) => new X509Certificate(bytes);
  readCertificate(options?.ca, "mbedtls_x509_crt_parse of 'ca'", parseCert);
  const cert = readCertificate(options?.cert, "mbedtls_x509_crt_parse of 'cert'", parseCert);
  const key = readCertificate(options?.key, "mbedtls_pk_parse_key", parseKey);
  if (!cert || !key) return tls.createSecureContext(OFFER);
  const own = { cert: cert.toString(), key: key.export({ type: "pkcs8", format: "pem" }) };
  return tls.createSecureContext({ ...OFFER, ...own });
}

export function openTls(address: string, port: number, options: any, wake: () => void, buffer?: TlsBuffer): Handle {
  const secureContext = readCertificates(options);
  const raw = net.connect({ host: address, port, allowHalfOpen: true });
  const sniffer = createSniffer(buffer);
  let chunks: Buffer[] = [];
  let secure = false;
  let over = false;
  let socket: tls.TLSSocket | undefined;
  const finish = (): void => {
    if (!secure && !over) handle.handshakeError = handshakeFailure(sniffer);
    over = true;
    wake();
  };
  raw.on("connect", () => {
    socket = tls.connect({
      socket: sniffed(raw, sniffer),
      rejectUnauthorized: false, // Espruino: VERIFY_NONE, even with `ca`
      servername: "mbed TLS Server 1", // and always this name, never the host
      secureContext,
    });
    socket.on("secureConnect", () => {
      secure = true;
      wake();
    });
    // one chunk of a record at a time: mbedTLS never reads across the end of a record
    socket.on("data", (bytes: Buffer) => {
      chunks.push(bytes);
      socket?.pause();
      wake();
    });
    for (const event of ["end", "error", "close"]) socket.on(event, finish);
  });
  raw.on("error", finish);
  const handle: Handle = {
    send(bytes) {
      if (handle.handshakeError) return CLOSED;
      if (!secure) return 0;
      if (over) return CLOSED;
      socket?.write(bytes);
      return bytes.length;
    },
    recv(max) {
      if (handle.handshakeError) return CLOSED;
      if (chunks.length === 0) {
        if (!over) return 0;
        if (buffer && sniffer.tooLarge) return buffer.error;
        return sniffer.alerts > 0 ? CLOSE_NOTIFY : CLOSED;
      }
      const out = chunks[0].subarray(0, max);
      chunks[0] = chunks[0].subarray(out.length);
      if (chunks[0].length === 0) {
        chunks = chunks.slice(1);
        socket?.resume();
      }
      return out;
    },
    close() {
      over = true;
      socket?.removeAllListeners();
      socket?.on("error", () => {});
      raw.removeAllListeners();
      raw.on("error", () => {});
      raw.destroy();
      socket?.destroy();
    },
  };
  return handle;
}
