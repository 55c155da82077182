// The JSON of `serve`, which its page reads and others may read: docs/serve-api.md. Times are ISO 8601. Text of devices and
// files has its control and direction characters as codes, and may be HTML: it is never markup.

/** GET /-/api/releases */
export interface Releases {
  /** base URLs of this server; by the first one others reach it */
  addresses: string[];
  /** `path` of the release that is offered first; null when there is none */
  suggested: string | null;
  /** the newest first */
  releases: Release[];
  /** pages of `factory --page` and `install-page`, which install new boards by USB */
  installs: InstallPage[];
  notServed: NotServed[];
}

export interface InstallPage {
  /** URL path of the page */
  path: string;
  name: string;
  version: string;
  boards: { title: string; chip: string }[];
}

export interface Release {
  /** URL path that a device is told to fetch: of the manifest, or of an image without one */
  path: string;
  /** "on request": with the key of `serve`; "file": a manifest of the folder, whose signature is not verified here */
  signed: "on request" | "file" | "no";
  project: string | null;
  version: string | null;
  chip: string | null;
  board: string | null;
  sequence: number | null;
  /** ids of the keys that the manifest names */
  keys: string[];
  signedAt: string | null;
  expiresAt: string | null;
  /** when the file was last changed */
  changedAt: string | null;
  image: ReleaseImage | null;
  files: ReleaseFile[];
}

export interface ReleaseImage {
  /** null when it is on another server */
  path: string | null;
  size: number;
  /** as the field `digest` of a device's configuration has it */
  digest: string;
}

export interface ReleaseFile {
  name: string;
  /** null when it is on another server */
  path: string | null;
  size: number;
  sha256: string;
  /** "entry", "module lib/x" or "data" */
  role: string;
}

export interface NotServed {
  path: string;
  reason: string;
}

/** Who asks. One address may have several of them. */
export interface Device {
  id: number;
  address: string;
  /** what the field X-Device of the request says; the printed program puts getSerial() there */
  serial: string | null;
  userAgent: string | null;
  seenAt: string;
}

/** One file on its way to one device, by as many requests as it takes. */
export interface Download {
  id: number;
  /** id of the device */
  device: number;
  path: string;
  size: number;
  /** where in the file the device is */
  position: number;
  /** bytes handed to the network, by all requests */
  sent: number;
  requests: number;
  /** "part": a range was sent completely, and the file goes on behind it; "cut": the device has ended the connection */
  state: "running" | "part" | "complete" | "cut";
  startedAt: string;
  /** ms from the start to the last byte */
  duration: number;
  /** [ms since the start, position], at most 200 */
  points: [number, number][];
}

export interface Refusal {
  id: number;
  /** id of the device */
  device: number;
  path: string;
  status: number;
  reason: string;
  at: string;
}

/** GET /-/api/activity, and the first event of GET /-/api/events */
export interface Snapshot {
  devices: Device[];
  downloads: Download[];
  refusals: Refusal[];
}

/** GET /-/api/reports */
export interface Reports {
  /** where devices POST their reports; null without --collect */
  url: string | null;
  /** the most devices that are kept */
  limit: number;
  /** the last one of each device */
  reports: Reported[];
}

/** What a device says of itself by report(). What it does not say is null, or empty. */
export interface DeviceReport {
  serial: string;
  board: string | null;
  /** free JsVars */
  free: number | null;
  /** why the chip was reset: IDF's soc_reset_reason_t */
  reset: number | null;
  /** of the firmware */
  version: string | null;
  /** labels of the slots that runs, that starts next, and that an update would write */
  running: string | null;
  boot: string | null;
  next: string | null;
  /** esp_ota_img_states_t of the running slot */
  state: number | null;
  slots: ReportedSlot[];
  /** the release of files that runs */
  release: { version: string | null; entry: string | null; files: number } | null;
  /** the highest confirmed one */
  sequence: number | null;
  /** starts so far, and the slot to fall back to */
  trial: { boots: number; previous: string | null } | null;
  /** digests, the last one first */
  rolledBack: string[];
  /** "" when nothing was rolled back since the last update */
  rollbackReason: string;
  /** of Storage, in bytes */
  storage: { free: number; trash: number } | null;
  /** what the last update since the start ended with; "" before the first */
  last: string;
  /** why another slot runs than the one that is selected */
  differs: string;
}

export interface ReportedSlot {
  label: string | null;
  size: number | null;
  state: number | null;
  version: string | null;
}

/** What is to be noticed first: "differs" is another slot than the selected one. */
export type Condition = "rolled back" | "failed" | "differs" | "trial" | "ok";

export interface Reported extends DeviceReport {
  condition: Condition;
  /** where the report came from */
  address: string;
  receivedAt: string;
}

/** The events of GET /-/api/events: name and data. */
export interface Events {
  snapshot: Snapshot;
  /** a new device, or an old one that asks again */
  device: Device;
  /** a download that began, went on or ended; `points` has the newest point alone */
  download: Download;
  refusal: Refusal;
  /** a device has reported */
  report: Reported;
  /** the reports of a device gave way to those of another one */
  forgotten: { serial: string };
  /** /-/api/releases has changed */
  releases: null;
}
