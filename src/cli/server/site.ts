// The page of `serve` and the JSON behind it: docs/serve-api.md. What it has is read-only, and everything of it is below
// /-/, where a file of the folder goes first.
import type { IncomingMessage, ServerResponse } from "node:http";
import { type Answer, answer, etagOf } from "./answers.ts";
import type { Activity } from "./activity.ts";
import type { Releases } from "./api.ts";
import type { Catalogue } from "./catalogue.ts";
import { type Collector, REPORT_PATH, reportsOf } from "./collector.ts";
import type { Part } from "./contents.ts";
import { createStreams } from "./event-stream.ts";
import type { Installs } from "./installs.ts";
import { qrSvg } from "./qr.ts";
import { espruinoSnippet } from "./snippet.ts";
import html from "./page/index.html?text";
import icon from "./page/icon.svg?text";
import css from "./page/page.css?text";
import script from "./page/page.ts?text";

export type SiteReply = Answer & { body: Part | string | ((response: ServerResponse) => Promise<void>) };

export interface Site {
  /** The page, for a browser that asks for /. */
  page(request: IncomingMessage): SiteReply;
  /** Null when there is nothing at this path. */
  reply(request: IncomingMessage): Promise<SiteReply | null>;
  /** URL paths of files for people, which are listed too. */
  listing(): string[];
  /** Is this path for people, and not for devices? */
  isForPeople(urlPath: string): boolean;
}

/** No inline script and no inline style: what devices and files say cannot become one. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const SECURE = {
  "Content-Security-Policy": POLICY,
  "Referrer-Policy": "no-referrer",
  "X-Frame-Options": "DENY",
  "Cross-Origin-Resource-Policy": "same-origin",
};

const PREFIX = "/-/";
/** Of a path: is it one of the page's, when no file of the folder has it? */
const isOfPage = (urlPath: string): boolean => urlPath.startsWith(PREFIX);

const JSON_TYPE = "application/json; charset=utf-8";
const TEXT_TYPE = "text/plain; charset=utf-8";
const SVG_TYPE = "image/svg+xml";

/** Parts that stay as they are while the command runs. */
const PARTS: Record<string, [type: string, text: string]> = {
  "page.css": ["text/css; charset=utf-8", css],
  "page.js": ["text/javascript; charset=utf-8", script],
  "icon.svg": [SVG_TYPE, icon],
};

function whole(type: string, body: string, status = 200): SiteReply {
  const length = Buffer.byteLength(body);
  const headers = { ...SECURE, "Content-Type": type, "Content-Length": length, "Cache-Control": "no-store" };
  return { status, headers, start: 0, length, body };
}

function part({ method = "", headers }: IncomingMessage, type: string, body: string): SiteReply {
  const bytes = Buffer.from(body);
  // a browser asks for a whole part
  const asked = { ...headers, range: undefined };
  const found = answer(method, asked, { size: bytes.length, type, etag: etagOf(bytes) });
  return { ...found, headers: { ...found.headers, ...SECURE }, body };
}

export interface Shown {
  catalogue: Catalogue;
  /** null without --collect */
  collector: Collector | null;
  installs: Installs;
  activity: Activity;
  /** base URLs of this server */
  addresses(): string[];
}

function releasesOf({ catalogue, installs, addresses }: Shown): Releases {
  return {
    addresses: addresses(),
    suggested: catalogue.offers()[0]?.urlPath ?? null,
    releases: catalogue.releases().map(({ release }) => release),
    installs: installs.pages(),
    notServed: [...catalogue.notServed(), ...installs.notServed()],
  };
}

/** One of this server's own addresses: nobody else's comes into a program or a QR code. */
function addressIn(query: URLSearchParams, { addresses }: Shown): string | undefined {
  const all = addresses();
  const wanted = query.get("address") ?? all[0];
  return all.find((address) => address === wanted);
}

function programReply(query: URLSearchParams, shown: Shown): SiteReply {
  const address = addressIn(query, shown);
  const path = query.get("path") ?? shown.catalogue.offers()[0]?.urlPath;
  const found = shown.catalogue.releases().find(({ release }) => release.path === path);
  if (address === undefined || !found) return whole(TEXT_TYPE, "no such address or release\n", 404);
  return whole(TEXT_TYPE, espruinoSnippet(address + found.release.path, found.trust));
}

function qrReply(query: URLSearchParams, shown: Shown): SiteReply {
  const address = addressIn(query, shown);
  return address === undefined ? whole(TEXT_TYPE, "no such address\n", 404) : whole(SVG_TYPE, qrSvg(`${address}/`));
}

function onlyPost(): SiteReply {
  const reply = whole(TEXT_TYPE, "devices POST their reports here\n", 405);
  return { ...reply, headers: { ...reply.headers, Allow: "POST" } };
}

/** Relative links of the page need the slash. */
function redirection(place: string, search: string | undefined): SiteReply {
  const location = search === undefined ? place : `${place}?${search}`;
  const reply = whole(TEXT_TYPE, `${location}\n`, 301);
  return { ...reply, headers: { ...reply.headers, Location: location } };
}

/** A file of an install page: it gets the policy of our own page, whatever its own says. */
async function installReply(request: IncomingMessage, urlPath: string, { installs }: Shown): Promise<SiteReply | null> {
  const { method = "", headers, url = "" } = request;
  const folder = installs.folder(urlPath);
  const content = installs.get(folder ?? urlPath, headers.host);
  if (content === null) return null;
  if (typeof content === "string") return whole(TEXT_TYPE, `${content}\n`, 422);
  if (folder !== null) return redirection(folder, url.split(/\?(.*)/s)[1]);
  const found = answer(method, { ...headers, range: undefined }, content);
  const body = found.length ? await content.open(0, found.length) : "";
  return { ...found, headers: { ...found.headers, ...SECURE }, body };
}

export function createSite(shown: Shown): Site {
  const streams = createStreams(shown.activity, () => JSON.stringify(releasesOf(shown)));
  function events(method: string | undefined): SiteReply {
    if (streams.isFull()) return whole(TEXT_TYPE, "too many event streams are open\n", 503);
    const headers = { ...SECURE, "Content-Type": "text/event-stream", "Cache-Control": "no-store" };
    return { status: 200, headers, start: 0, length: 0, body: method === "HEAD" ? "" : streams.run };
  }
  return {
    page: (request) => {
      const reply = part(request, "text/html; charset=utf-8", html);
      return { ...reply, headers: { ...reply.headers, Vary: "Accept" } };
    },
    listing: () => shown.installs.listing(),
    isForPeople: (urlPath) => isOfPage(urlPath) || shown.installs.has(urlPath),
    async reply(request) {
      const [urlPath, search = ""] = (request.url ?? "").split("?");
      if (!isOfPage(urlPath)) return installReply(request, urlPath, shown);
      const name = urlPath.slice(PREFIX.length);
      if (Object.hasOwn(PARTS, name)) return part(request, ...PARTS[name]);
      const query = new URLSearchParams(search);
      if (name === "qr.svg") return qrReply(query, shown);
      if (name === "api/program") return programReply(query, shown);
      if (name === "api/releases") return whole(JSON_TYPE, JSON.stringify(releasesOf(shown)));
      if (name === "api/reports")
        return whole(JSON_TYPE, JSON.stringify(reportsOf(shown.collector, shown.addresses()[0])));
      if (urlPath === REPORT_PATH) return onlyPost();
      if (name === "api/activity") return whole(JSON_TYPE, JSON.stringify(shown.activity.snapshot()));
      return name === "api/events" ? events(request.method) : null;
    },
  };
}
