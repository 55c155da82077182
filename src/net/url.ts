// URLs: parsed for `http.request`, and resolved against the page that has named them (RFC 3986 5.2). Pure.
// The engine's own url.parse does not know user:password and relative references.

import { Code, otaError } from "../errors";

const MAX_HOST = 127; // the engine copies the host into 128 bytes (libs/network/socketserver.c)

export interface Url {
  /** with its colon: "https:" */
  protocol_: string;
  host_: string;
  /** 0: the default port of the protocol */
  port_: number;
  /** with its query, as it is sent */
  path_: string;
  /** user:password, or "" */
  auth_: string;
}

function bad(url: string, why: string): never {
  throw otaError(Code.INVALID_ARG, "invalid URL " + url + ": " + why);
}

/**
 * Parses an absolute http or https URL; throws INVALID_ARG. A fragment is dropped.
 * More than 30 lines: one part of a URL after the other, from left to right.
 */
export function parseUrl(url: string): Url {
  for (let i = 0; i < url.length; i++) {
    const code = url.charCodeAt(i);
    // a blank or a line end would end the request line early
    if (code <= 32 || code >= 127) bad(url, "character code " + code);
  }
  const hash = url.indexOf("#");
  const text = hash < 0 ? url : url.substr(0, hash);
  const colon = text.indexOf(":");
  const protocol = text.substr(0, colon + 1).toLowerCase();
  if ((protocol !== "http:" && protocol !== "https:") || text.substr(colon, 3) !== "://")
    bad(url, "expected http:// or https://");
  let rest = text.substr(colon + 3);
  let end = rest.length;
  const slash = rest.indexOf("/");
  const query = rest.indexOf("?");
  if (slash >= 0) end = slash;
  if (query >= 0 && query < end) end = query;
  let path = rest.substr(end);
  if (path[0] !== "/") path = "/" + path;
  rest = rest.substr(0, end);
  const at = rest.lastIndexOf("@");
  const host = rest.substr(at + 1);
  const portAt = host.indexOf(":");
  const name = portAt < 0 ? host : host.substr(0, portAt);
  let port = 0;
  for (let i = portAt + 1; portAt >= 0 && i < host.length; i++) {
    const digit = host.charCodeAt(i) - 48;
    port = digit >= 0 && digit <= 9 ? port * 10 + digit : 65536;
  }
  let auth = "";
  try {
    if (at > 0) auth = decodeURIComponent(rest.substr(0, at));
  } catch (_) {
    bad(url, "user and password");
  }
  const noPort = portAt >= 0 && portAt < host.length - 1 && !port;
  if (!name || name.length > MAX_HOST || name[0] === "[" || port > 65535 || noPort) bad(url, "host " + host);
  return {
    protocol_: protocol,
    host_: name.toLowerCase(),
    port_: port,
    path_: path,
    auth_: auth,
  };
}

function portOf(url: Url): number {
  return url.port_ || (url.protocol_ === "https:" ? 443 : 80);
}

export function sameOrigin(a: Url, b: Url): boolean {
  return a.protocol_ === b.protocol_ && a.host_ === b.host_ && portOf(a) === portOf(b);
}

/**
 * Removes dot segments (RFC 3986 5.2.4) from a path that begins with "/". Only called for relative references: an absolute
 * URL is sent as it was given. It takes one segment at a time, because a server chooses their number.
 */
function withoutDots(path: string): string {
  let kept = "";
  let at = 0;
  while (at < path.length) {
    let end = path.indexOf("/", at + 1);
    if (end < 0) end = path.length;
    const part = path.substring(at, end);
    if (part === "/..") kept = kept.substr(0, Math.max(0, kept.lastIndexOf("/")));
    if (part !== "/.." && part !== "/.") kept += part;
    else if (end === path.length) kept += "/";
    at = end;
  }
  return kept;
}

/** The absolute URL of a reference on a page at `base`. `given` is absolute, //host/path, /path, path or ?query. */
export function resolveUrl(base: string, given: string): string {
  const page = parseUrl(base);
  const hash = given.indexOf("#");
  const reference = hash < 0 ? given : given.substr(0, hash);
  const question = reference.indexOf("?");
  const beforeQuery = question < 0 ? reference : reference.substr(0, question);
  const colon = beforeQuery.indexOf(":");
  const slash = beforeQuery.indexOf("/");
  if (colon >= 0 && (slash < 0 || colon < slash)) return reference;
  if (reference.substr(0, 2) === "//") return page.protocol_ + reference;
  const origin = page.protocol_ + "//" + page.host_ + (page.port_ ? ":" + page.port_ : "");
  const pageQuery = page.path_.indexOf("?");
  const pagePath = pageQuery < 0 ? page.path_ : page.path_.substr(0, pageQuery);
  if (!reference) return origin + page.path_;
  if (!beforeQuery) return origin + pagePath + reference;
  const path = slash === 0 ? beforeQuery : pagePath.substr(0, pagePath.lastIndexOf("/") + 1) + beforeQuery;
  return origin + withoutDots(path) + reference.substr(beforeQuery.length);
}
