// url.parse, which takes a URL apart in one pass by counting slashes and colons.

import type { Core } from "./core.ts";

/** `length` characters; all the rest when it is negative, as an unsigned length of C would. */
export function cut(text: string, from: number, length: number): string {
  return length < 0 ? text.slice(from) : text.slice(from, from + length);
}

type UrlMarks = { addr: number; port: number; path: number; search: number; portNumber: number };

function scanUrl(url: string): UrlMarks {
  const m: UrlMarks = { addr: -1, port: -1, path: -1, search: -1, portNumber: 0 };
  let slashes = 0;
  let colons = 0;
  for (let i = 0; i < url.length; i++) {
    const ch = url[i];
    if (ch === "/") {
      slashes++;
      if (m.path < 0) m.path = i;
      if (colons === 1 && slashes === 2 && m.addr < 0) {
        m.addr = i;
        m.path = -1;
        m.search = -1;
      }
    }
    if (ch === ":") {
      colons++;
      if (m.addr >= 0 && m.path < 0) m.port = i;
    }
    if (m.port >= 0 && i > m.port && m.path < 0 && ch >= "0" && ch <= "9") {
      m.portNumber = (m.portNumber * 10 + Number(ch)) | 0;
    }
    if (ch === "?" && m.path >= 0) m.search = i;
  }
  if (m.path < 0) m.path = url.length;
  return m;
}

function parseQuery(core: Core, text: string): any {
  const query = new core.realm.Object();
  for (const part of text.split("&")) {
    if (part === "") continue;
    const at = part.indexOf("=");
    const decode = (s: string): string =>
      s.replace(/%(..)/g, (_m, hex) => String.fromCharCode(Number.parseInt(hex, 16) & 255));
    const key = decode(at < 0 ? part : part.slice(0, at));
    const value = at < 0 ? "" : decode(part.slice(at + 1));
    if (key !== "" || value !== "") query[key] = value;
  }
  return query;
}

export function parseUrl(core: Core, url: unknown, withQuery: boolean): any {
  if (typeof url !== "string") return undefined;
  const m = scanUrl(url);
  const out = new core.realm.Object();
  const addrEnd = m.port >= 0 ? m.port : m.path;
  if (m.addr > 0) out.protocol = url.slice(0, m.addr - 1);
  out.method = "GET";
  out.host = cut(url, m.addr + 1, addrEnd - (m.addr + 1));
  out.path = url.slice(m.path) || "/";
  out.pathname = (m.search >= 0 ? cut(url, m.path, m.search - m.path) : url.slice(m.path)) || "/";
  out.search = m.search >= 0 ? url.slice(m.search) : null;
  out.port = m.portNumber <= 0 || m.portNumber > 65535 ? null : m.portNumber;
  const query = m.search >= 0 ? url.slice(m.search + 1) : null;
  out.query = withQuery && query !== null ? parseQuery(core, query) : query;
  return out;
}
