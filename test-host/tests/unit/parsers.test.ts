// What a parser makes of a text that was made of parts: the parts again. URL, JSON, Content-Range, and partition tables as CSV
// and in binary. PARSER_SEED=n draws the same cases again, PARSER_PATH one of them.

import assert from "node:assert/strict";
import { after, test, type TestContext } from "node:test";
import fc from "fast-check";
import { parseCsv, toCsv } from "../../../src/cli/formats/partition-csv.ts";
import { buildTable, readTable, type Row } from "../../../src/cli/formats/partitions.ts";
import { loadSource } from "../../support/load.ts";
import { plain } from "../../support/fixture.ts";
import { holdsFor, seedFrom } from "../../support/property.ts";

const [urls, json, headers, partitions] = await Promise.all(
  ["net/url", "trust/json", "net/headers", "boot/partitions"].map(async (name) => loadSource(`${name}.ts`)),
);
after(() => {
  for (const { engine } of [urls, json, headers, partitions]) engine.stop();
});

const holds = <T>(t: TestContext, cases: fc.Arbitrary<T>, property: (one: T) => void) =>
  holdsFor(t, cases, property, {
    seed: seedFrom("PARSER_SEED"),
    numRuns: 500,
    variables: { seed: "PARSER_SEED", path: "PARSER_PATH" },
  });
const letters = (characters: string, minLength: number, maxLength: number) =>
  fc.string({ unit: fc.constantFrom(...characters), minLength, maxLength });

// --- URL -----------------------------------------------------------------------------------------------------------------

const LOWER = "abcxyz0189";
const parts = fc.record({
  scheme: fc.constantFrom("http:", "https:"),
  user: fc.option(fc.tuple(letters(`${LOWER} @:/%`, 1, 6), letters(`${LOWER} @:/%?#`, 0, 6))),
  host: fc.oneof(fc.array(letters(LOWER, 1, 8), { minLength: 1, maxLength: 3 }).map((all) => all.join("."))),
  port: fc.option(fc.integer({ min: 1, max: 65535 })),
  path: letters(`${LOWER}/.%-_~;,=+&:@`, 0, 20).map((rest) => `/${rest}`),
  query: fc.option(letters(`${LOWER}/?&=%+:@`, 0, 10)),
  fragment: fc.option(letters(`${LOWER}/?#@:`, 0, 6)),
});

test("a URL that was made of parts is taken apart into them", (t) =>
  holds(t, parts, ({ scheme, user, host, port, path, query, fragment }) => {
    // a colon would end the name
    const login = user?.map((text) => encodeURIComponent(text)).join(":");
    const target = path + (query === null ? "" : `?${query}`);
    const address = `${login === undefined ? "" : `${login}@`}${host}${port === null ? "" : `:${port}`}`;
    const url = `${scheme}//${address}${target}${fragment === null ? "" : `#${fragment}`}`;
    const parsed = urls.module.parseUrl(url);
    assert.deepEqual(
      [parsed.protocol_, parsed.host_, parsed.port_, parsed.path_, parsed.auth_],
      [scheme, host, port ?? 0, target, user?.join(":") ?? ""],
    );
    // absolute, it does not depend on where it stands
    assert.deepEqual(
      plain(urls.module.parseUrl(urls.module.resolveUrl("http://other.example/a/b?c", url))),
      plain(parsed),
    );
  }));

// --- JSON ----------------------------------------------------------------------------------------------------------------

/** As manifests come: a byte a character. Keys have no escape, and numbers no exponent. */
const text = letters('ab "\\/\b\f\n\r\t\0\x1f\x7f\xe9\xff{}[]:,-', 0, 8);
const number = fc.oneof(
  fc.maxSafeInteger().map((n) => n + 0),
  fc.integer({ min: -1e6, max: 1e6 }).map((n) => n / 100 + 0),
);
const key = letters("abcxyz_$ {}[]:,.", 0, 6);
const { object } = fc.letrec<{ value: unknown; object: Record<string, unknown> }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom(null, true, false),
    number,
    text,
    fc.array(tie("value"), { maxLength: 4 }),
    tie("object"),
  ),
  object: fc.dictionary(key, tie("value"), { maxKeys: 5, noNullPrototype: true }),
}));

test("an object that was written as JSON is read as it was, with or without blanks", (t) =>
  holds(t, fc.tuple(object, fc.constantFrom("", " ", "\t")), ([value, blanks]) => {
    assert.deepEqual(plain(json.module.parseJson(JSON.stringify(value, null, blanks))), plain(value));
  }));

test("an object with a key twice is refused wherever that is", (t) =>
  holds(t, fc.tuple(object, key, fc.nat()), ([value, name, at]) => {
    const inner = `{${JSON.stringify(name)}:1,${JSON.stringify(name)}:2}`;
    const members = Object.entries(value).map(([other, one]) => `${JSON.stringify(other)}:${JSON.stringify(one)}`);
    members.splice(at % (members.length + 1), 0, `"only here":${inner}`);
    assert.throws(() => json.module.parseJson(`{${members.join()}}`), { name: "ESP_ERR_INVALID_RESPONSE" });
  }));

// --- Content-Range -------------------------------------------------------------------------------------------------------

const ranges = fc
  .tuple(fc.nat({ max: 1e9 }), fc.integer({ min: 1, max: 1e9 }), fc.nat({ max: 1e9 }), fc.boolean())
  .map(([first, length, behind, known]) => ({ first, last: first + length - 1, length, behind, known }));
const answer = (range: string, length: number) =>
  headers.module.parseAnswer(
    206,
    headers.engine.run(`({ "Content-Range": ${JSON.stringify(range)}, "Content-Length": "${length}" })`),
  );

test("a Content-Range is read as it was written, its total known or not", (t) =>
  holds(t, fc.tuple(ranges, fc.constantFrom("bytes", "BYTES")), ([{ first, last, length, behind, known }, unit]) => {
    const head = answer(`${unit} ${first}-${last}/${known ? last + 1 + behind : "*"}`, length);
    assert.deepEqual([head.start_, head.length_, head.total_], [first, length, known ? last + 1 + behind : -1]);
  }));

test("a Content-Range whose numbers contradict each other is refused", (t) =>
  holds(t, fc.tuple(ranges, fc.nat({ max: 1000 })), ([{ first, last, length }, by]) => {
    const refused = { name: "ESP_ERR_INVALID_RESPONSE" };
    assert.throws(() => answer(`bytes ${first}-${last}/${Math.max(0, last - by)}`, length), refused);
    assert.throws(() => answer(`bytes ${first}-${last}/${last + 1}`, length + 1 + by), refused);
    if (first > by) assert.throws(() => answer(`bytes ${first}-${first - by - 1}/*`, length), refused);
  }));

// --- Partition tables ----------------------------------------------------------------------------------------------------

const kinds = fc.oneof(
  fc.record({ type: fc.constant(0), subtype: fc.integer({ min: 0x10, max: 0x1f }) }),
  fc.record({ type: fc.constant(1), subtype: fc.constantFrom(1, 2, 3, 4, 5, 6, 0x80, 0x81, 0x82, 0x83) }),
  fc.record({ type: fc.integer({ min: 0x40, max: 0xfe }), subtype: fc.nat({ max: 0xfe }) }),
);
/** One behind the other, in 16 MB of flash: a device refuses what lies beyond. */
const tables: fc.Arbitrary<Row[]> = fc
  .uniqueArray(
    fc.record({
      label: letters(`${LOWER}_`, 1, 15),
      kind: kinds,
      units: fc.integer({ min: 1, max: 12 }),
      flags: fc.nat({ max: 1 }),
    }),
    { selector: ({ label }) => label, minLength: 1, maxLength: 20 },
  )
  .map((drawn) => {
    let offset = 0x10000;
    return drawn.map(({ label, kind, units, flags }) => {
      const row = { label, ...kind, offset, size: 0x10000 * units, flags };
      offset += row.size;
      return row;
    });
  });

test("a partition table that was written as CSV is read as it was", (t) =>
  holds(t, tables, (rows) => {
    assert.deepEqual(parseCsv("partitions.csv", toCsv(rows)), rows);
  }));

test("a partition table in binary is read as written, by the command and the device", (t) =>
  holds(t, tables, (rows) => {
    const bytes = buildTable(rows);
    const read = readTable(bytes);
    assert.deepEqual([read.rows, read.md5], [rows, "ok"]);
    const device: any[] = Array.from(
      partitions.module.parseTable(partitions.engine.run(`new Uint8Array([${[...bytes]}])`)),
    );
    assert.deepEqual(
      device.map(({ label, type, subtype, address, size }) => ({ label, type, subtype, address, size })),
      rows.map(({ label, type, subtype, offset, size }) => ({ label, type, subtype, address: offset, size })),
    );
  }));
