// What a GET or HEAD for a file is answered: ranges and validators of RFC 9110 13 and 14. Pure.
import { createHash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

export interface Facts {
  /** bytes */
  size: number;
  type: string;
  etag: string;
}

export interface Answer {
  status: number;
  headers: Record<string, string | number>;
  /** where in the file the body begins */
  start: number;
  /** bytes of the body; 0 for HEAD */
  length: number;
}

/** A strong validator: equal bytes have equal tags. */
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

export function answer(method: string, request: IncomingHttpHeaders, { size, type, etag }: Facts): Answer {
  const base = { "Accept-Ranges": "bytes", ETag: etag, "Cache-Control": "no-cache", "Content-Type": type };
  const known = (request["if-none-match"] ?? "").split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  if (known.includes(etag) || known.includes("*")) return { status: 304, headers: base, start: 0, length: 0 };
  const head = method === "HEAD";
  // RFC 9110 13.1.5: another version than the one that the client has a part of is sent whole
  const same = request["if-range"] === undefined || request["if-range"] === etag;
  const range = same && !head ? parseRange(request.range, size) : null;
  if (range === "none") {
    const headers = { ...base, "Content-Range": `bytes */${size}`, "Content-Length": 0 };
    return { status: 416, headers, start: 0, length: 0 };
  }
  if (!range) return { status: 200, headers: { ...base, "Content-Length": size }, start: 0, length: head ? 0 : size };
  const [start, end] = range;
  const length = end - start + 1;
  const headers = { ...base, "Content-Range": `bytes ${start}-${end}/${size}`, "Content-Length": length };
  return { status: 206, headers, start, length };
}
