// The first line of the file of `serve --collect`, by which it is known: no other file is written over, and this one is
// neither served nor signed.

export const REPORTS_HEAD = '{"https-ota":"reports"';

export function isReportFile(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.subarray(0, REPORTS_HEAD.length)).toString("latin1") === REPORTS_HEAD;
}
