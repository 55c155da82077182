// What `serve --collect` keeps: the last report of each device, in memory and in a file. Everybody on the network can send
// some, so their number is bounded, and a flood drives out itself.
import type { Reported, Reports } from "./api.ts";
import { checkReport, conditionOf } from "./device-report.ts";
import { type Kept, openReportFile } from "./report-file.ts";

/** Where devices POST their reports. */
export const REPORT_PATH = "/-/report";
/** A fleet is watched elsewhere: docs/hawkbit.md. */
const MOST_DEVICES = 250;

/** What the page is told. */
export interface Tell {
  (name: "report", data: Reported): void;
  (name: "forgotten", data: { serial: string }): void;
}

export interface Collector {
  /** Keeps a report, given as its parsed JSON. A text says what is wrong with it. Throws when it cannot be written. */
  take(report: unknown, address: string): Reported | string;
  list(): Reported[];
  /** lines of the file that could not be read at the start */
  readonly damaged: number;
}

/** By serial number, which may be any text; the one that was heard last is the last one. */
type Devices = Map<string, Kept>;

const shownOf = ({ receivedAt, address, report }: Kept): Reported => ({
  ...report,
  condition: conditionOf(report),
  address,
  receivedAt,
});

/** The one of the address with most devices that was heard longest ago. */
function victimIn(devices: Devices): string {
  const counts = new Map<string, number>();
  for (const { address } of devices.values()) counts.set(address, (counts.get(address) ?? 0) + 1);
  const most = Math.max(...counts.values());
  const [[serial]] = [...devices].filter(([, { address }]) => counts.get(address) === most);
  return serial;
}

/** The serial number that had to give way, if one had. */
function put(devices: Devices, one: Kept): string | undefined {
  const { serial } = one.report;
  devices.delete(serial);
  devices.set(serial, one);
  if (devices.size <= MOST_DEVICES) return undefined;
  const victim = victimIn(devices);
  devices.delete(victim);
  return victim;
}

export function createCollector(name: string, tell: Tell): Collector {
  const devices: Devices = new Map();
  const file = openReportFile(
    name,
    (one) => put(devices, one),
    () => devices.values(),
  );
  return {
    damaged: file.damaged,
    take(value, address) {
      const report = checkReport(value);
      if (typeof report === "string") return report;
      const one = { receivedAt: new Date().toISOString(), address, report };
      file.append(one);
      const gone = put(devices, one);
      tell("report", shownOf(one));
      if (gone !== undefined) tell("forgotten", { serial: gone });
      return shownOf(one);
    },
    list: () => [...devices.values()].map(shownOf),
  };
}

/** `address`: base URL by which devices reach this server. */
export function reportsOf(collector: Collector | null, address: string | undefined): Reports {
  const url = collector && address !== undefined ? address + REPORT_PATH : null;
  return { url, limit: MOST_DEVICES, reports: collector?.list() ?? [] };
}
