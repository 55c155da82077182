// Times in manifests, as text. A claim may hold any whole number, and most whole numbers are not a date.

/** The last second that a Date holds (ECMAScript 21.4.1.1). The first one is as far before 1970. */
export const LAST_SECOND = 8.64e12;

/** `seconds` since 1970 as ISO 8601 writes it; a number that is too large for a Date is shown as it is. Never throws. */
export function dateText(seconds: number): string {
  const date = Math.abs(seconds) <= LAST_SECOND;
  return date ? new Date(seconds * 1000).toISOString() : `${seconds} seconds after 1970 (not a date)`;
}
