// What the command prints comes from files that others made: nothing of it steers a terminal or hides in it, and however
// long or odd it is, an error is one short line, at once.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { before, test } from "node:test";
import { jsonText, oneLine, printable } from "../../../src/cli/ui/errors.ts";
import { buildTable, TABLE_OFFSET } from "../../../src/cli/formats/partitions.ts";
import { loadBoard } from "../../sim/boards.ts";
import { buildImage, reseal } from "../../support/images.ts";
import { plainEnvironment } from "../../support/command.ts";
import { COMMAND, fails, forAll, type Run, succeeds, workshop } from "./cli-run.ts";

const shop = workshop();

/** What no output may hold: controls, formats (bidi, zero-width), private use, half surrogates, separators, fillers. */
const RAW = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]|\u034f|\u115f|\u1160|\u17b4|\u3164|\ufe0f|\uffa0|\u{e0100}/u;

function clean(run: Run, what: string): Run {
  const found = RAW.exec((run.stdout + run.stderr).replaceAll("\n", ""));
  assert.equal(found, null, `${what}: U+${found?.[0].codePointAt(0)?.toString(16)} in ${run.stdout}${run.stderr}`);
  return run;
}

/** At most 16 bytes each, the room of a label. */
const HOSTILE = [
  "\u001b[2Jx",
  "\u001b]0;t\u0007x",
  "\u009b31mx",
  "a\r\nb\u007f",
  "a\u202eb\u202c",
  "\u2066a\u2069",
  "\u200e\u200f\u061c",
  "a\u200b\u200d\u2060",
  "\ufeffa\u00ad",
  "a\u2028b\u2029",
  "\ue000\u{e0041}",
  "\u3164\u115f\ufe0f",
];

// --- Text ------------------------------------------------------------------------------------------------------------

test("what a terminal does not show is shown by its code", () => {
  const cases: [string, string][] = [
    ["plain text, ä, 漢字, 💡, \\x1b", "plain text, ä, 漢字, 💡, \\x1b"],
    ["\u001b[2J\u0007\n", "\\x1b[2J\\x07\\x0a"],
    ["\u009b\u00ad", "\\x9b\\xad"],
    ["\u202e\u2066\u200f\u061c", "\\u202e\\u2066\\u200f\\u061c"],
    ["\u200b\u2060\ufeff\u2028", "\\u200b\\u2060\\ufeff\\u2028"],
    ["\ud800x\udc00", "\\ud800x\\udc00"],
    ["\u{e0041}\u{10ffff}", "\\u{e0041}\\u{10ffff}"],
  ];
  for (const [text, shown] of cases) assert.equal(printable(text), shown);
  for (const text of HOSTILE) assert.doesNotMatch(printable(text), RAW);
});

test("no character of Unicode that hides or steers is printed raw", () => {
  for (let code = 0; code <= 0x10ffff; code++) {
    const text = String.fromCodePoint(code);
    if (RAW.test(text)) assert.match(printable(text), /^\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|u\{[0-9a-f]+\})$/);
  }
});

test("JSON has no such character, and means the same", () => {
  const value = { [HOSTILE[0]]: HOSTILE, ä: ["\n", "\u{1f4a1}"] };
  const text = jsonText(value);
  assert.doesNotMatch(text.replaceAll("\n", ""), RAW);
  assert.deepEqual(JSON.parse(text), value);
  assert.match(text, /\n {2}"ä": \[/);
});

test("an error is one line of at most 500 characters that keeps its begin and its end", () => {
  const [begin, end] = ["t.csv: line 1: name ", " has 999 bytes, expected 16 at most"];
  for (const filler of ["x", " ", "\n", "\t\n ", "\u202e", "💡", '"']) {
    const line = oneLine(begin + filler.repeat(300_000) + end);
    assert.ok(line.length <= 500, `${line.length} characters`);
    assert.ok(line.startsWith(begin.trim()) && line.endsWith(end.trim()), line);
    assert.doesNotMatch(line, RAW);
  }
  assert.equal(oneLine(" two \n\n  lines "), "two lines");
  assert.equal(oneLine("x".repeat(500)), "x".repeat(500));
});

// --- Files -----------------------------------------------------------------------------------------------------------

function manifest(text: string): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = {
    ...{ format: 1, project: text, version: text, chip: text, board: text, sequence: 1, iat: 8.64e12 + 1, exp: 9e15 },
    image: {
      ...{ url: "x.bin", size: 1, fsverity: `sha256:${"0".repeat(64)}` },
      storage: { partition: text, address: 1, size: 1 },
    },
  };
  return `${part({ alg: "PS256", typ: "https-ota+jws", kid: text })}.${part(claims)}.${"A".repeat(342)}`;
}

function tableWith(text: string): Uint8Array {
  return buildTable(loadBoard("esp32").rows.map((row, i) => (i < 5 ? row : { ...row, label: i === 5 ? text : "x" })));
}

function dumpWith(text: string): Buffer {
  const rows = loadBoard("esp32").rows.map((row) => (row.label === "ota_0" ? { ...row, label: text } : row));
  const bytes = Buffer.alloc(0x400000, 0xff);
  bytes.set(buildTable(rows), TABLE_OFFSET);
  bytes.set(imageWithNames(text), 0x190000);
  return bytes;
}

/** `text` in every field of the app descriptor. */
function imageWithNames(text: string): Uint8Array {
  const image = Buffer.from(buildImage());
  for (const at of [16, 48, 80, 96, 112]) image.fill(0, 32 + at, 48 + at).write(text, 32 + at);
  return reseal(image);
}

before(async () => {
  succeeds(await shop.run("keygen", "--out", "key.pem", "--bits", "2048"));
});

test("inspect prints nothing raw of an image, a manifest, a table or a whole flash", async () => {
  const kinds: Record<string, (text: string) => string | Uint8Array> = {
    image: imageWithNames,
    manifest,
    table: tableWith,
    dump: dumpWith,
  };
  await forAll(
    HOSTILE.flatMap((text, i) => Object.keys(kinds).map((kind) => [kind, text, i] as const)),
    async ([kind, text, i]) => {
      shop.put(`${kind}${i}`, kinds[kind](text));
      for (const more of [[], ["--json"]]) {
        const run = clean(await shop.run("inspect", `${kind}${i}`, ...more), `${kind} ${i} ${more}`);
        assert.ok(!/Invalid time value|^error:/.test(run.stderr), run.stderr);
        if (more.length) assert.ok(JSON.stringify(JSON.parse(run.stdout)).includes(JSON.stringify(text).slice(1, -1)));
        else assert.ok(run.stdout.includes(printable(text)), run.stdout);
      }
    },
  );
});

test("a time that no Date holds is shown as its number", async () => {
  shop.put("late.jws", manifest("x"));
  const says = [
    /signed at +8640000000001 seconds after 1970 \(not a date\)\n/,
    /expires +9000000000000000 seconds after/,
  ];
  succeeds(await shop.run("inspect", "late.jws"), ...says);
});

test("names of files and what is quoted in errors are not printed raw", async () => {
  const name = "\u001b[2J\u202e.csv";
  await forAll(["x,data,fat,,\u001b[2J\u202e", "\u001b[2J\u202e,data,fat,,1K,q", "x,data,fat,,4K"], async (line) => {
    const file = shop.put(`${line.length}${name}`, `nvs,data,nvs,,12K\n${line}\n`);
    for (const args of [["--check"], ["--out", `${file}.bin`], ["--csv"]])
      clean(await shop.run("partitions", file, ...args), line);
    clean(await shop.run("inspect", file), "unknown");
  });
  const image = shop.put(`${name}.bin`, buildImage());
  clean(succeeds(await shop.run("inspect", image)), "image");
  clean(succeeds(await shop.run("inspect", image, "--json")), "image");
});

// --- Time ------------------------------------------------------------------------------------------------------------

/** A process starts, reads 1 MB and refuses it: half a second. What was quadratic took minutes. */
const BOUND_MS = 5000;

test("100 KB and 1 MB of anything are refused at once, in one short line", async () => {
  const fillers = [" ", "\t", "\n", "\r", "#", '"', "\\", "0", "a", ".", "\u00a0", "a,b,"];
  const wraps = [
    ["", ""],
    ["x", "y"],
    ["x,", ",y,,4K\n"],
    ["eyJ.", "\n."],
    ['{"kty":"', '"}'],
    ["-----BEGIN ", "#\r!"],
  ];
  const cases = fillers.flatMap((filler) => wraps.map((wrap) => [filler, ...wrap] as const));
  const commands = [
    (file: string) => ["partitions", file, "--check"],
    (file: string) => ["verify", "fw.jws", "--key", file],
    (file: string) => ["verify", file, "--key", "key.pub.jwk"],
    (file: string) => ["sign", "fw.bin", "--key", file, "--out", "no.jws"],
    (file: string) => ["inspect", file],
  ];
  shop.put("fw.bin", buildImage());
  succeeds(await shop.run("sign", "fw.bin", "--key", "key.pem", "--out", "fw.jws"));
  const external = ["sign", "fw.bin", "--external", "--key", "key.pub.jwk", "--out", "no.jws"];
  commands.push(
    (file) => [...external, "--signing-input", file, "--signature", "AAAA"],
    (file) => [...external, "--signing-input", "input.txt", "--signature", file],
  );
  succeeds(await shop.run("sign", "fw.bin", "--external", "--key", "key.pub.jwk", "--out", "input.txt"));
  let slowest = 0;
  // each file with one command, each command with many files: all with all would take minutes
  const jobs = cases.flatMap(([filler, begin, end], i) =>
    commands.filter((_, k) => (i + k) % 7 === 0).map((command) => ({ filler, begin, end, command, i })),
  );
  await forAll(jobs, async ({ filler, begin, end, command, i }) => {
    for (const size of i % 2 ? [1_000_000] : [100_000]) {
      const file = shop.put(`filler${i}.${size}`, begin + filler.repeat(size / filler.length) + end);
      const begun = process.hrtime.bigint();
      const run = await shop.run(...command(file));
      const ms = Number(process.hrtime.bigint() - begun) / 1e6;
      slowest = Math.max(slowest, ms);
      const what = `${JSON.stringify([begin, filler, end])} ${command(file).join(" ")}`;
      assert.notEqual(run.code, null, `${what}: ended after ${Math.round(ms)} ms without an answer`);
      fails(run, 1, /./);
      clean(run, what);
      assert.ok(run.stderr.length <= 501 && run.stdout.length < 1000, `${what}: ${run.stderr.length} characters`);
    }
  });
  assert.ok(slowest < 4 * BOUND_MS, `${Math.round(slowest)} ms`);
});

test("what took minutes takes less than five seconds", async () => {
  const blanks = " ".repeat(1_000_000);
  shop.put("blanks.csv", `x${blanks}y,data,fat,,4K\n`);
  shop.put("blanks.jwk", `{"kty":"a${blanks}b"}`);
  shop.put("hashes.csv", `${"#".repeat(1_000_000)}\r!`);
  shop.put("separators.csv", `${"#".repeat(1_000_000)}\u2028!`);
  shop.put("rows.csv", "x,data,fat,,4K\n".repeat(60_000));
  const cases: [RegExp, string, ...string[]][] = [
    [
      /^blanks\.csv: line 1: name x +\.\.\. +y has 1000002 bytes, expected 16 at most\n$/,
      "partitions",
      "blanks.csv",
      "--check",
    ],
    [/^blanks\.jwk: 1000012 bytes, a key file has at most 65536\n$/, "verify", "fw.jws", "--key", "blanks.jwk"],
    [/^hashes\.csv: line 2: type ""/, "partitions", "hashes.csv", "--check"],
    [/^separators\.csv: no partition in it\n$/, "partitions", "separators.csv", "--check"],
    [/^rows\.csv: line 95: 95 rows, a table holds 94\n$/, "partitions", "rows.csv", "--check"],
  ];
  for (const [says, ...args] of cases) {
    const begun = performance.now();
    fails(await shop.run(...args), 1, says);
    const ms = performance.now() - begun;
    assert.ok(ms < BOUND_MS, `${args.join(" ")}: ${Math.round(ms)} ms`);
  }
});

// --- Colours ---------------------------------------------------------------------------------------------------------

const noTerminal = spawnSync("script", ["-qec", "true", "/dev/null"]).status === 0 ? false : "no script (util-linux)";

test("an error is red on a terminal, and plain with NO_COLOR", { skip: noTerminal }, () => {
  const { NO_COLOR, ...colours } = plainEnvironment();
  const line = `'${process.execPath}' '${COMMAND}' inspect missing.bin`;
  const shown = (env: NodeJS.ProcessEnv) =>
    spawnSync("script", ["-qec", line, "/dev/null"], { cwd: shop.folder, env, encoding: "utf8" }).stdout;
  const text = "missing.bin: no such file or folder";
  assert.equal(shown({ ...colours, TERM: "xterm" }), `\u001b[31m${text}\u001b[39m\r\n`);
  assert.equal(shown({ ...colours, TERM: "xterm", NO_COLOR }), `${text}\r\n`);
});
