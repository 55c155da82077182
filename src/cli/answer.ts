// What a GET or HEAD for a file is answered: ranges and validators of RFC 9110 13 and 14. Pure.
import { createHash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

export interface Content {
  bytes: Uint8Array;
  type: string;
  etag: string;
}

export interface Answer {
  status: number;
  headers: Record<string, string | number>;
  /** what follows; empty for HEAD */
  body: Uint8Array;
  /** where in the file the body begins */
  start: number;
}

const NOTHING = new Uint8Array(0);

/** A strong validator: the same bytes, the same tag. */
export function etagOf(bytes: Uint8Array): string {
  return `"${createHash("sha256").update(bytes).digest("hex").slice(0, 32)}"`;
}

/** One range of `size` bytes; null to ignore the field, "none" when it lies outside. */
function parseRange(text: string | undefined, size: number): [start: number, end: number] | "none" | null {
  const [, first = "", last = ""] = /^bytes=(\d*)-(\d*)$/i.exec((text ?? "").replace(/\s/g, "")) ?? [];
  if (first === "" && last === "") return null;
  if (first === "") return Number(last) && size ? [Math.max(0, size - Number(last)), size - 1] : "none";
  if (last !== "" && Number(last) < Number(first)) return null;
  if (Number(first) >= size) return "none";
  return [Number(first), last === "" ? size - 1 : Math.min(Number(last), size - 1)];
}

export function answer(method: string, request: IncomingHttpHeaders, { bytes, type, etag }: Content): Answer {
  const base = { "Accept-Ranges": "bytes", ETag: etag, "Cache-Control": "no-cache", "Content-Type": type };
  const known = (request["if-none-match"] ?? "").split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  if (known.includes(etag) || known.includes("*")) return { status: 304, headers: base, body: NOTHING, start: 0 };
  const head = method === "HEAD";
  // RFC 9110 13.1.5: another version than the one that the client has a part of is sent whole
  const same = request["if-range"] === undefined || request["if-range"] === etag;
  const range = same && !head ? parseRange(request.range, bytes.length) : null;
  if (range === "none") {
    const headers = { ...base, "Content-Range": `bytes */${bytes.length}`, "Content-Length": 0 };
    return { status: 416, headers, body: NOTHING, start: 0 };
  }
  if (!range)
    return {
      status: 200,
      headers: { ...base, "Content-Length": bytes.length },
      body: head ? NOTHING : bytes,
      start: 0,
    };
  const [start, end] = range;
  const headers = {
    ...base,
    "Content-Range": `bytes ${start}-${end}/${bytes.length}`,
    "Content-Length": end - start + 1,
  };
  return { status: 206, headers, body: bytes.subarray(start, end + 1), start };
}
