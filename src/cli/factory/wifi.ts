// The Wi-Fi of the first start, from a file or the environment and never from the command line, where other users of the
// computer can read it. It goes where Wifi.save() of Espruino puts it: the Storage file .wificfg. The firmware reads that
// at its start (jswrap_wifi_restore, libs/network/esp32/jswrap_esp32_network.c).
import { refuse } from "../ui/errors.ts";
import { readLimited } from "../ui/files.ts";

const SSID = "HTTPS_OTA_WIFI_SSID";
const PASSWORD = "HTTPS_OTA_WIFI_PASSWORD";

/** WIFI_MODE_STA of ESP-IDF */
const STATION = 1;
/** in bytes: one less than the fields of wifi_sta_config_t, because Espruino copies a NUL too */
const MAX_SSID = 31;
const MAX_PASSWORD = 63;
const LEAST_PASSWORD = 8;
const MAX_FILE = 4096;

export interface Wifi {
  ssid: string;
  password: string;
  /** for people: where it was found */
  from: string;
}

/** Names the field and never shows the value of a password. */
function check(where: string, { ssid, password }: { ssid: unknown; password: unknown }): void {
  if (typeof ssid !== "string" || !ssid) refuse(where, "ssid must be a text that is not empty");
  if (typeof password !== "string") refuse(where, 'password must be a text ("" for an open network)');
  for (const [name, value] of Object.entries({ ssid, password }))
    if (/\p{Cc}/u.test(value as string)) refuse(where, `${name} has control characters`);
  const length = Buffer.byteLength(ssid as string);
  if (length > MAX_SSID) refuse(where, `ssid has ${length} bytes, Espruino keeps at most ${MAX_SSID}`);
  const size = Buffer.byteLength(password as string);
  if (size && (size < LEAST_PASSWORD || size > MAX_PASSWORD))
    refuse(where, `password has ${size} bytes, expected none, or ${LEAST_PASSWORD} to ${MAX_PASSWORD}`);
}

function fromFile(file: string): Wifi {
  const bytes = readLimited(file, MAX_FILE, (found) => `${found}, expected a JSON file of at most ${MAX_FILE}`);
  let parsed: any;
  try {
    parsed = JSON.parse(bytes.toString("utf8"));
  } catch {
    // the parser's message may show the password
    return refuse(file, 'not JSON, expected { "ssid": "...", "password": "..." }');
  }
  if (parsed === null || typeof parsed !== "object" || Array.isArray(parsed))
    refuse(file, 'expected { "ssid": "...", "password": "..." }');
  const { ssid, password, ...more } = parsed;
  const [foreign] = Object.keys(more);
  if (foreign !== undefined) refuse(file, "has members besides ssid and password");
  check(file, { ssid, password });
  return { ssid, password, from: file };
}

/** `file` is --wifi. Without it the environment counts; null when that names no network either. */
export function readWifi(file: string | undefined, env: NodeJS.ProcessEnv = process.env): Wifi | null {
  if (file !== undefined) return fromFile(file);
  const { [SSID]: ssid, [PASSWORD]: password = "" } = env;
  if (!ssid) return password ? refuse(PASSWORD, `is set, but not ${SSID}`) : null;
  check(SSID, { ssid, password });
  return { ssid, password, from: `${SSID} of the environment` };
}

/** What Wifi.save() stores, as far as it is about joining a network. */
export function wifiFile({ ssid, password }: Wifi): Buffer {
  return Buffer.from(JSON.stringify({ ssid, password, mode: STATION }));
}
