// The promise: credentials go to the first origin only, and a redirect leads where its Location says. What the module makes
// of a URL is compared with WHATWG's URL (Node's), wherever both take it: where they name different hosts, one of them is
// fooled. What the module sends as it came (dots, escapes of an absolute URL) is compared by its origin alone.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { type Loaded, loadSource } from "../support/load.ts";
import { holds } from "./fuzz.ts";

type Parsed = { protocol_: string; host_: string; port_: number; path_: string; auth_: string };
let urls: Loaded;

before(async () => {
  urls = await loadSource("net/url.ts");
});
after(() => urls.engine.stop());

const BASES = [
  "http://a.example/",
  "http://a.example/x/y/fw.bin?q=1/2",
  "https://a.example:8443/x/./y",
  "http://u:p@a.example:80/d/",
  "http://a.example",
  "http://a.example?x",
  "HTTP://A.Example/X",
];

const segment = fc.oneof(
  fc.constantFrom(
    ".",
    "..",
    "",
    "a",
    "b.c",
    "...",
    "%2e",
    "%2e%2e",
    ".%2E",
    "a:b",
    "@",
    "x@y",
    ";p",
    "~",
    "-",
    "*",
    "a b",
    "\\",
    "\x00",
    "\x7f",
    "\xe9",
  ),
  fc.string({ unit: fc.constantFrom(..."ab.-_~%20!$&'()*+,;=:@"), maxLength: 6 }),
);
const path = fc.array(segment, { maxLength: 7 }).map((parts) => parts.join("/"));
const tail = fc.oneof(
  { weight: 3, arbitrary: fc.constant("") },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom("?", "#", "?#", "#?"), fc.string({ unit: fc.constantFrom(..."ab/?:@.=&#"), maxLength: 8 }))
      .map((two) => two.join("")),
  },
);
const host = fc.oneof(
  fc.constantFrom(
    "b.example",
    "B.EXAMPLE",
    "127.0.0.1",
    "b",
    "a.example",
    "",
    "[::1]",
    "b..",
    "b.example.",
    "xn--a",
    "b_c",
    "1.2.3.4.5",
    "0x7f.1",
    "b%41",
  ),
  fc.domain(),
);
const port = fc.oneof(
  { weight: 4, arbitrary: fc.constant("") },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      ":",
      ":80",
      ":443",
      ":8070",
      ":0",
      ":00080",
      ":65535",
      ":65536",
      ":-1",
      ":8o",
      ":99999999999",
      ":80:80",
    ),
  },
);
const auth = fc.oneof(
  { weight: 5, arbitrary: fc.constant("") },
  {
    weight: 2,
    arbitrary: fc.constantFrom("u@", "u:p@", ":p@", "@", "a.example@", "u:p@b.example:80@", "%40@", "u%3ap@"),
  },
);
const authority = fc.tuple(auth, host, port).map((parts) => parts.join(""));
const reference = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.tuple(fc.constantFrom("", "/", "./", "../", "//", "///"), path, tail).map((parts) => parts.join("")),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(
        fc.constantFrom(
          "http://",
          "https://",
          "HTTP://",
          "//",
          "http:/",
          "http:",
          "ftp://",
          "javascript:",
          ":",
          "file:///",
        ),
        authority,
        fc.constantFrom("", "/"),
        path,
        tail,
      )
      .map((parts) => parts.join("")),
  },
  { weight: 1, arbitrary: fc.string({ unit: fc.constantFrom(..."ab/.:?#@%\\[]"), maxLength: 12 }) },
);

function attempt<T>(f: () => T): T | null {
  try {
    return f();
  } catch (error: any) {
    // an OtaError, or Node's own
    if (error.retry === undefined && error.code !== "ERR_INVALID_URL") throw error;
    return null;
  }
}

const portOf = (url: URL): number => Number(url.port) || (url.protocol === "https:" ? 443 : 80);

/** Characters that WHATWG reads as others, strips, or writes otherwise. */
const OTHERWISE = /[\\\t\r\n"<>`{}|^'[\]]/;
/** WHATWG strips these before and behind a URL; the module writes them as escapes. */
const CONTROL = "\0";

function compare(base: string, given: string): void {
  const resolved = attempt(() => urls.module.resolveUrl(base, given) as string);
  const mine = resolved === null ? null : attempt(() => urls.module.parseUrl(resolved) as Parsed);
  if (!mine) return;
  for (const character of mine.path_ + mine.host_)
    assert.ok(character > " " && character < "\x7f", "an unprintable character is sent");
  assert.ok(mine.path_.startsWith("/") && !mine.path_.includes("#"));
  assert.match(mine.protocol_, /^https?:$/);
  if (OTHERWISE.test(given) || given.startsWith(CONTROL) || given.endsWith(CONTROL)) return;
  const theirs = attempt(() => new URL(given, base));
  // it takes hosts that the resolver will not find
  if (!theirs) return;
  assert.equal(mine.protocol_, theirs.protocol, "another protocol");
  const numeric = /^(0x[0-9a-f]*|\d+)(\.(0x[0-9a-f]*|\d+))*\.?$/i.test(mine.host_) || mine.host_.includes("%");
  if (!numeric) assert.equal(mine.host_, theirs.hostname, "another host");
  assert.equal(mine.port_ || (mine.protocol_ === "https:" ? 443 : 80), portOf(theirs), "another port");
  // an absolute URL is sent as it came, and %2e stays a name
  const absolute = /^[a-z][a-z0-9+.-]*:|^\/\//i.test(given);
  // Node 20 leaves some dots behind a segment that begins with one, against the standard
  if (/\/\.\.?(\/|$)/.test(theirs.pathname)) return;
  if (absolute || /%2e/i.test(given) || /\.\//.test(base)) return;
  assert.equal(
    mine.path_,
    theirs.pathname +
      (given.includes("?") && theirs.search === "" ? (/^[^#]*\?/.test(given) ? "?" : "") : theirs.search),
    "another path",
  );
}

test("collect credentials by redirects: a Location leads where every client would go", async (t) => {
  await holds(t, fc.tuple(fc.constantFrom(...BASES), reference), ([base, given]) => compare(base, given));
});

test("two URLs are of one origin when every client says so", async (t) => {
  const absolute = fc
    .tuple(fc.constantFrom("http://", "https://", "HTTP://"), authority, fc.constantFrom("", "/", "/x", "?q", "/x#y"))
    .map((parts) => parts.join(""));
  await holds(t, fc.tuple(absolute, absolute), (two) => {
    const [a, b] = two.map((url) => attempt(() => urls.module.parseUrl(url) as Parsed));
    const [x, y] = two.map((url) => attempt(() => new URL(url)));
    if (!a || !b || !x || !y) return;
    if (urls.module.sameOrigin(a, b)) assert.equal(x.origin, y.origin);
  });
});
