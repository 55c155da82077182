// sign and verify: dates, sequences, and what is said about them and about projects.
import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { existsSync } from "node:fs";
import { before, test } from "node:test";
import { buildImage } from "../../support/images.ts";
import { claimsFor, forge, keyOf, signManifest } from "../../support/release.ts";
import { imageWith, textsOf } from "./cli-espruino.ts";
import { fails, forAll, type Run, succeeds, workshop } from "./cli-run.ts";

const shop = workshop();
const IMAGE = buildImage({ size: 61008, seed: 2, descriptor: { project: "lamp", version: "2.0.0" } });
const DAY = 86400;

before(async () => {
  succeeds(await shop.run("keygen", "--out", "key.pem", "--bits", "2048"));
  shop.put("fw.bin", IMAGE);
  shop.put("esp.bin", imageWith(textsOf("2v29")));
});

const claimsOf = (token: string) => JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());
const signTo = (out: string, image: string, ...more: string[]) =>
  shop.run("sign", image, "--key", "key.pem", "--out", out, ...more);
const external = (...more: string[]) => shop.run("sign", "fw.bin", "--external", "--key", "key.pub.jwk", ...more);
const verify = (file: string, ...more: string[]) => shop.run("verify", file, "--key", "key.pub.jwk", ...more);
const key = () => keyOf(createPrivateKey(shop.get("key.pem")));
const now = () => Math.floor(Date.now() / 1000);

/** Exit code 0, and these lines on stderr. */
function warns(run: Run, ...says: RegExp[]): void {
  assert.equal(run.code, 0, run.stderr);
  for (const one of says) assert.match(run.stderr, one);
}

// --- Expiry ----------------------------------------------------------------------------------------------------------

test("a manifest expires a year after it was signed", async () => {
  const run = succeeds(await signTo("year.jws", "fw.bin"), /expires +20\d\d-/);
  assert.doesNotMatch(run.stdout, /note/);
  const { iat, exp } = claimsOf(shop.get("year.jws").toString());
  assert.equal(exp - iat, 365 * DAY);
  succeeds(await external("--out", "year.txt"), /expires +20\d\d-/);
  const asked = claimsOf(shop.get("year.txt").toString());
  assert.equal(asked.exp - asked.iat, 365 * DAY);
});

test("--expires never makes no exp, and says what is lost", async () => {
  const note = /note +never expires: .*instead of a newer one.*\n/;
  succeeds(await signTo("never.jws", "fw.bin", "--expires", "never"), /expires +never\n/, note);
  assert.equal("exp" in claimsOf(shop.get("never.jws").toString()), false);
  succeeds(await external("--out", "never.txt", "--expires", "never"), note);
  succeeds(await verify("never.jws"), note);
  succeeds(
    await shop.run("sign", "--help"),
    /--expires <time>[^-]*never[^-]*365d/,
    /refuse an expired manifest[\s\S]*sign again/i,
  );
});

test("notes go to standard error when the manifest goes to standard output", async () => {
  const run = await signTo("-", "fw.bin", "--expires", "never");
  warns(run, /^note: never expires/m);
  assert.equal("exp" in claimsOf(run.stdout), false);
  assert.match(run.stdout, /^[\w-]+\.[\w-]+\.[\w-]+$/);
  const input = await external("--expires", "never");
  warns(input, /^note: never expires/m);
  assert.match(input.stdout, /^[\w-]+\.[\w-]+$/);
});

test("other times than never are read as before", async () => {
  succeeds(await signTo("hour.jws", "fw.bin", "--expires", "1h"));
  const { iat, exp } = claimsOf(shop.get("hour.jws").toString());
  assert.equal(exp - iat, 3600);
  for (const wrong of ["Never", "nev", "", "0d", "1001y", "2030-02-30"])
    fails(await signTo("no.jws", "fw.bin", "--expires", wrong), 2, /--expires/);
  fails(await signTo("no.jws", "fw.bin", "--expires", "2020-01-01"), 1, /--expires: 2020-01-01T.* is in the past/);
});

// --- Sequence --------------------------------------------------------------------------------------------------------

test("a sequence far above the time is warned of", async () => {
  const note = /note +sequence \d+ is more than 2147483648 above the time now.* 4294967296 /;
  const far = 2 ** 31;
  const cases: [number, boolean][] = [
    [1, false],
    [now() + far - 60, false],
    [now() + far + 60, true],
    [2 ** 53 - 1, true],
  ];
  await forAll(cases, async ([sequence, warned]) => {
    const out = `seq-${sequence}.jws`;
    const run = succeeds(await signTo(out, "fw.bin", "--sequence", String(sequence)));
    assert.equal(note.test(run.stdout), warned, run.stdout);
    const seen = succeeds(await verify(out, "--image", "fw.bin"));
    assert.equal(note.test(seen.stdout), warned, seen.stdout);
  });
});

test("a sequence beyond 2^53-1 is refused", async () => {
  for (const wrong of ["9007199254740992", "9007199254740993", "99999999999999999999", "-1", "1.5", "1e3", "0x7", ""])
    fails(await signTo("no.jws", "fw.bin", "--sequence", wrong), 2, /--sequence.*at most 9007199254740991/);
  assert.ok(!existsSync(shop.at("no.jws")));
});

// --- Dates -----------------------------------------------------------------------------------------------------------

test("a time that is not a date is named, with its file and claim", async () => {
  for (const [claim, seconds] of [
    ["exp", 8.64e12 + 1],
    ["exp", 2 ** 53 - 1],
    ["iat", 8.64e12 + 1],
    ["iat", 2 ** 53 - 1],
  ] as const) {
    const claims = claimsFor(IMAGE, { project: "lamp", version: "2.0.0", [claim]: seconds });
    const token = await signManifest(claims, await key());
    shop.put("far.jws", token);
    shop.put("far.txt", token.split(".").slice(0, 2).join("."));
    const says = (file: string) =>
      new RegExp(`^${file}: claim ${claim} is ${seconds} seconds after 1970 \\(not a date\\)`);
    fails(await verify("far.jws"), 1, says("far\\.jws"));
    const signature = ["--signing-input", "far.txt", "--signature", token.split(".")[2], "--out", "no.jws"];
    fails(await external(...signature), 1, says("far\\.txt"));
  }
  const last = claimsFor(IMAGE, { project: "lamp", version: "2.0.0", exp: 8.64e12, iat: 8.64e12 });
  shop.put("last.jws", await signManifest(last, await key()));
  succeeds(await verify("last.jws"), /expires +\+275760-09-13T00:00:00\.000Z\n/);
  assert.ok(!existsSync(shop.at("no.jws")));
});

test("an expired signing input makes no manifest", async () => {
  const claims = claimsFor(IMAGE, { project: "lamp", version: "2.0.0", exp: 1000 });
  const token = forge(claims, await key());
  shop.put("over.txt", token.split(".").slice(0, 2).join("."));
  const back = ["--signing-input", "over.txt", "--signature", token.split(".")[2], "--out", "no.jws"];
  fails(await external(...back), 1, /^over\.txt: claim exp: expired at 1970-01-01T00:16:40\.000Z$/m);
  assert.ok(!existsSync(shop.at("no.jws")));
});

// --- Projects --------------------------------------------------------------------------------------------------------

test("that all stock Espruino builds have one project is said", async () => {
  const note = /note +all stock Espruino builds have the project espruino.*--project.*configuration/;
  succeeds(await signTo("stock.jws", "esp.bin"), note, /note +built for board ESP32/);
  succeeds(await verify("stock.jws", "--image", "esp.bin"), note);
  const own = succeeds(
    await signTo("own.jws", "esp.bin", "--project", "lamp"),
    /note +project lamp is this release's own, the image says espruino; .*project: "lamp" in their configuration\n/,
  );
  assert.doesNotMatch(own.stdout, note);
  assert.doesNotMatch(succeeds(await signTo("fw.jws", "fw.bin")).stdout, /note/);
});

// --- Rollouts --------------------------------------------------------------------------------------------------------

test("--rollout signs a share of the devices, which verify and inspect show", async () => {
  const note = /note +to widen the rollout sign again with --sequence 77 and a larger --rollout/;
  const run = await signTo("share.jws", "fw.bin", "--rollout", "10%", "--sequence", "77");
  succeeds(run, /rollout +10% of the devices\n/, note);
  const { format, rollout } = claimsOf(shop.get("share.jws").toString());
  assert.deepEqual([format, rollout], [2, { share: 10 }]);
  succeeds(await verify("share.jws"), /rollout +10% of the devices\n/);
  succeeds(await shop.run("inspect", "share.jws"), /rollout +10% of the devices\n/);
});

test("--over signs a start and hours; --from says when it begins", async () => {
  succeeds(
    await signTo("over.jws", "fw.bin", "--over", "3d", "--from", "2031-01-31"),
    /rollout +over 72 hours from 2031-01-31/,
    /note +devices whose clock is not set are never due by time/,
  );
  const { format, rollout } = claimsOf(shop.get("over.jws").toString());
  assert.deepEqual([format, rollout], [2, { start: Date.parse("2031-01-31") / 1000, hours: 72 }]);
  succeeds(await signTo("now.jws", "fw.bin", "--over", "12h"));
  assert.ok(Math.abs(claimsOf(shop.get("now.jws").toString()).rollout.start - now()) < 60);
});

test("a rollout that no device takes is not signed", async () => {
  for (const [options, says] of [
    [["--rollout", "101%"], /Expected a whole percentage/],
    [["--rollout", "1.5"], /Expected a whole percentage/],
    [["--over", "10m"], /Expected a time as 12h, 3d or 2w/],
    [["--over", "0d"], /Expected a time as 12h, 3d or 2w/],
    [["--over", "3d", "--rollout", "5%"], /two kinds of rollout: give one/],
    [["--from", "2031-01-31"], /--from is when --over begins: give --over/],
    [["--over", "3d", "--from", "tomorrow"], /Expected a date/],
  ] as [string[], RegExp][]) {
    const run = await signTo("none.jws", "fw.bin", ...options);
    assert.notEqual(run.code, 0, options.join(" "));
    assert.match(run.stderr, says);
    assert.equal(existsSync("none.jws"), false);
  }
});
