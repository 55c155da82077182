// What must not be published: private keys, in any file and in any form that keygen, OpenSSL or a program may give them, and
// the Wi-Fi of `factory --wifi`. Everybody who can fetch a release can read its files.
import { createPrivateKey } from "node:crypto";
import { holdsWifi } from "../formats/factory-folder.ts";

const PEM = /-----BEGIN [A-Z0-9 ]*PRIVATE KEY/;
/** The inside of a pair of braces without braces in it: a key is flat, in JSON and in JavaScript. */
const FLAT_OBJECT = /\{[^{}]*\}/g;
const KTY = /["']?\bkty["']?\s*:\s*["']/;
/** `d` of RSA and EC, `k` of a symmetric key (RFC 7518 6). */
const SECRET = /(?<![\w$.])["']?[dk]["']?\s*:\s*["'][A-Za-z0-9_-]{16,}["']/;

function isDer(bytes: Buffer): boolean {
  // an ASN.1 sequence of more than 255 bytes
  if (bytes[0] !== 0x30 || bytes[1] !== 0x82) return false;
  return (["pkcs8", "pkcs1", "sec1"] as const).some((type) => {
    try {
      createPrivateKey({ key: bytes, format: "der", type });
      return true;
    } catch {
      return false;
    }
  });
}

function privateKeyIn(bytes: Buffer): string | null {
  if (isDer(bytes)) return "a private key (DER)";
  const text = bytes.toString("latin1");
  if (PEM.test(text)) return "a private key (PEM)";
  const jwk = (text.match(FLAT_OBJECT) ?? []).some((one) => KTY.test(one) && SECRET.test(one));
  return jwk ? "a private key (JWK)" : null;
}

/** Of a network to join, and of one that the device makes, as Espruino's Wifi.save() calls them too. */
const WIFI_FIELDS = [
  ["ssid", "password"],
  ["ssidAP", "passwordAP"],
];

/** Is it a JSON text as `factory --wifi` takes it, or as Espruino keeps it? An open network has no password. */
function isWifi(text: string): boolean {
  if (!/^\s*\{/.test(text)) return false;
  try {
    const found = JSON.parse(text);
    return WIFI_FIELDS.some(([ssid, password]) => typeof found[ssid] === "string" && found[password]);
  } catch {
    return false;
  }
}

/** What kind of secret is in these bytes; null when there is none. */
export function secretIn(bytes: Buffer): string | null {
  const key = privateKeyIn(bytes);
  if (key !== null) return key;
  return isWifi(bytes.toString("utf8")) || holdsWifi(bytes) ? "a Wi-Fi password" : null;
}
