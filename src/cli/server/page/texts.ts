// Numbers and times for people.

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always" });
const thousands = new Intl.NumberFormat("en");

export const countText = (count: number): string => thousands.format(count);
export const bytesText = (bytes: number): string => `${countText(bytes)} bytes`;

/** "3 hours ago"; to the minute, so that it does not change each second. */
export function agoText(iso: string): string {
  const seconds = (Date.parse(iso) - Date.now()) / 1000;
  for (const [unit, length] of UNITS)
    if (Math.abs(seconds) >= length) return relative.format(Math.trunc(seconds / length), unit);
  return seconds > 0 ? "in less than a minute" : "less than a minute ago";
}

export const clockText = (iso: string): string => new Date(iso).toLocaleTimeString("en-GB");

/** `bytes` in `ms`. */
export function rateText(bytes: number, ms: number): string {
  if (ms < 100) return "";
  const seconds = (ms / 1000).toFixed(1);
  return `${seconds} s, ${(bytes / ms).toFixed(bytes / ms < 10 ? 1 : 0)} KB/s`;
}

export function percentOf(part: number, all: number): number {
  return all ? Math.floor((100 * part) / all) : 100;
}
