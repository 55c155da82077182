// The install pages in the folder that `serve` serves: those of `factory --page` and of `install-page`. A page is served with
// its boards' files, as a whole or not at all: when one of its files is another one than it names, or when it holds a Wi-Fi
// password that others on the network could fetch.
import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import {
  FACTORY_FILE,
  FLASH_TEXT,
  holdsWifi,
  MANIFEST_FILE,
  PAGE_FILES,
  PART_FILES,
  SUMS_FILE,
} from "../formats/factory-folder.ts";
import { sha256Of } from "../release/program.ts";
import { secretIn } from "../release/secrets.ts";
import { MAX_FLASH } from "../ui/files.ts";
import { printable } from "../ui/errors.ts";
import type { InstallPage, NotServed } from "./api.ts";
import { type Content, fromFile } from "./contents.ts";
import { canonical, fileAt, type Folder, listFiles, openFolder, stampOf } from "./folder.ts";

export interface Installs {
  pages(): InstallPage[];
  /** pages that are not served, with the reason */
  notServed(): NotServed[];
  /** URL paths of all files of the pages */
  listing(): string[];
  /** Is this path one of a page, also when it is not served? */
  has(urlPath: string): boolean;
  /** `host`: what the request calls this server. A text says why it is not served. */
  get(urlPath: string, host: string | undefined): Content | string | null;
  /** The URL path of a page's folder, when `urlPath` is the same without its slash at the end. */
  folder(urlPath: string): string | null;
}

export const noInstalls: Installs = {
  pages: () => [],
  notServed: () => [],
  listing: () => [],
  has: () => false,
  get: () => null,
  folder: () => null,
};

const INDEX = "index.html";
const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".bin": "application/octet-stream",
};
const PLAIN = "text/plain; charset=utf-8";
/** pages, and boards of one page: more are left out */
const MOST = 100;
const MOST_KNOWN = 2000;

/** What is known of a version of a file. */
interface FileFacts {
  stamp: string;
  size: number;
  sha256: string;
  /** it holds a private key, or a Wi-Fi outside of an image */
  secret: boolean;
  wifi: boolean;
  /** of a small one, for what has to be parsed */
  text: string;
}

/** A file, and the version of it that was checked. */
interface Checked {
  file: string;
  about: FileFacts;
}

interface State {
  folder: Folder;
  /** nobody but this computer can connect */
  local: boolean;
  /** of files that were read */
  facts: Map<string, FileFacts>;
}

interface Page extends InstallPage {
  /** by URL path */
  files: Map<string, Checked>;
  wifi: boolean;
  /** why it is not served */
  problem: string | null;
}

class Problem extends Error {}

const MAX_TEXT = 0x10000;

/** What a file is, from the cache when it has not changed. Throws when it is missing or may not be served. */
function lookUp({ folder, facts }: State, urlPath: string): Checked {
  const name = path.posix.basename(urlPath);
  const file = fileAt(folder, urlPath);
  if (file === null) throw new Problem(`${name}: it is not here, or may not be served`);
  const stat = statSync(file, { bigint: true });
  const stamp = stampOf(stat);
  const before = facts.get(file);
  if (before?.stamp === stamp) return { file, about: before };
  if (stat.size > MAX_FLASH) throw new Problem(`${name}: ${stat.size} bytes`);
  if (facts.size >= MOST_KNOWN) facts.clear();
  const bytes = readFileSync(file);
  const about: FileFacts = {
    stamp,
    size: bytes.length,
    sha256: sha256Of(bytes),
    // Espruino's TLS has the first line of a PEM in it; a .bin has to be what factory made, by its SHA-256
    secret: !name.endsWith(".bin") && secretIn(bytes) !== null,
    wifi: holdsWifi(bytes),
    text: bytes.length <= MAX_TEXT ? bytes.toString("utf8") : "",
  };
  // one that is being written is read again
  if (stampOf(statSync(file, { bigint: true })) === stamp) facts.set(file, about);
  return { file, about };
}

function take(state: State, page: Page, urlPath: string): FileFacts {
  const checked = lookUp(state, urlPath);
  const { about } = checked;
  if (about.secret) throw new Problem(`${path.posix.basename(urlPath)}: it may not be served`);
  page.files.set(urlPath, checked);
  page.wifi ||= about.wifi;
  return about;
}

function parse(name: string, text: string): any {
  try {
    return JSON.parse(text);
  } catch {
    throw new Problem(`${name}: not JSON`);
  }
}

/** The files of one board below `at`: exactly those that its manifest.json and SHA256SUMS name. */
function takeBoard(state: State, page: Page, at: string): any {
  const manifest = parse(MANIFEST_FILE, take(state, page, `${at}/${MANIFEST_FILE}`).text);
  const sums = take(state, page, `${at}/${SUMS_FILE}`).text;
  take(state, page, `${at}/${FLASH_TEXT}`);
  for (const name of [...PART_FILES, FACTORY_FILE]) {
    const { sha256 } = take(state, page, `${at}/${name}`);
    const part = manifest.parts?.find((one: any) => one?.path === name);
    if (!sums.includes(`${sha256}  ${name}\n`) || (name !== FACTORY_FILE && part?.sha256 !== sha256))
      throw new Problem(`${name}: not the file that ${MANIFEST_FILE} and ${SUMS_FILE} name, make it again`);
  }
  return manifest;
}

/** URL path of the folder of a board that a page lists. It has to be a folder of `factory` itself. */
function folderOf({ folder }: State, at: string, manifest: unknown): string {
  const below = canonical(`${at}/${String(manifest)}`)?.replace(/\/manifest\.json$/, "") ?? "";
  if (!folder.installs.has(below)) throw new Problem(`${printable(String(manifest))}: not of factory`);
  return below;
}

const shownBoard = ({ board, builds }: any) => ({
  title: printable(String(board?.title)),
  chip: printable(String(builds?.[0]?.chipFamily)),
});

function fillPage(state: State, page: Page, at: string): void {
  for (const name of PAGE_FILES) take(state, page, `${at}/${name}`);
  const site = parse(MANIFEST_FILE, take(state, page, `${at}/${MANIFEST_FILE}`).text);
  page.name = printable(String(site.name));
  page.version = printable(String(site.version));
  const folders = Array.isArray(site.boards)
    ? site.boards.slice(0, MOST).map((one: any) => folderOf(state, at, one?.manifest))
    : [at];
  page.boards = folders.map((below: string) => shownBoard(takeBoard(state, page, below)));
}

const WIFI =
  "its files hold a Wi-Fi password, which others on the network could fetch: serve it with --host 127.0.0.1, or make it without a Wi-Fi";

function readPage(state: State, at: string): Page {
  const page: Page = {
    ...{ path: `${at}/${INDEX}`, name: "", version: "", boards: [] },
    ...{ files: new Map(), wifi: false, problem: null },
  };
  try {
    fillPage(state, page, at);
    if (page.wifi && !state.local) page.problem = WIFI;
  } catch (error) {
    page.problem = error instanceof Problem ? error.message : "it has gone, or may not be read";
  }
  return page;
}

function pagesOf(state: State): Page[] {
  listFiles(state.folder);
  // a folder of factory without --page has none
  const hasPage = (at: string) => fileAt(state.folder, `${at}/${INDEX}`) !== null;
  return [...state.folder.installs.keys()]
    .filter(hasPage)
    .slice(0, MOST)
    .map((at) => readPage(state, at));
}

/** A page of another server can have its name point to this computer: the browser then asks us in that name. */
const isLocalName = (host = "") => /^(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?$/i.test(host);

const fileIn = (urlPath: string) => canonical(urlPath.endsWith("/") ? urlPath + INDEX : urlPath);

/** "/site/" for "/site", when a page is there. It is made of the folder's name, and not of the request. */
function folderWith({ folder }: State, urlPath: string): string | null {
  const wanted = canonical(urlPath);
  listFiles(folder);
  if (wanted === null || !folder.installs.has(wanted)) return null;
  return fileAt(folder, `${wanted}/${INDEX}`) === null ? null : `${wanted}/`;
}

function pagesWith(state: State, file: string | null): Page[] {
  return file === null ? [] : pagesOf(state).filter(({ files }) => files.has(file));
}

function get(state: State, urlPath: string, host: string | undefined): Content | string | null {
  const wanted = fileIn(urlPath);
  const found = pagesWith(state, wanted);
  const page = found.find(({ problem }) => problem === null);
  const checked = wanted === null ? undefined : page?.files.get(wanted);
  if (wanted === null || !page || !checked) return found[0]?.problem ?? null;
  if (page.wifi && !isLocalName(host)) return WIFI;
  // another version that lies there by now may hold anything: it is not opened
  const { file, about } = checked;
  const type = TYPES[path.extname(wanted)] ?? PLAIN;
  return fromFile(file, about.stamp, { size: about.size, type, etag: `"${about.sha256.slice(0, 32)}"` });
}

/** `target`: the folder. `local`: see State. */
export function createInstalls(target: string, local: boolean): Installs {
  const state: State = { folder: openFolder(target), local, facts: new Map() };
  const served = () => pagesOf(state).filter(({ problem }) => problem === null);
  return {
    pages: () => served().map(({ path: at, name, version, boards }) => ({ path: at, name, version, boards })),
    notServed: () =>
      pagesOf(state).flatMap((page) => (page.problem === null ? [] : [{ path: page.path, reason: page.problem }])),
    listing: () => [...new Set(served().flatMap(({ files }) => [...files.keys()]))],
    has: (urlPath) => pagesWith(state, fileIn(urlPath)).length > 0 || folderWith(state, urlPath) !== null,
    get: (urlPath, host) => get(state, urlPath, host),
    folder: (urlPath) => folderWith(state, urlPath),
  };
}
