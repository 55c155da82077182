// swupdate, a client that others wrote, against the fake: what the fake takes and gives must suit it too.

import assert from "node:assert/strict";
import { test } from "node:test";
import { startFake } from "../../support/hawkbit.ts";
import { runSwupdate, SWUPDATE_RESULTS } from "../../support/hawkbit-lifetime.ts";
import { withoutSwupdate } from "../../support/swupdate.ts";

test("swupdate installs, refuses and is cancelled, in messages that hawkBit allows", {
  skip: withoutSwupdate(),
}, async (t) => {
  const fake = await startFake(t, false, true);
  fake.sleep = "00:00:01";
  assert.deepEqual(await runSwupdate(t, fake, "linux-1"), SWUPDATE_RESULTS);
  const asked = new Set(fake.requests.map(({ method, path }) => `${method} ${path.split("/")[5] ?? ""}`.split("?")[0]));
  for (const call of ["GET ", "PUT configData", "GET deploymentBase", "POST deploymentBase", "GET softwaremodules"])
    assert.ok(asked.has(call), `${call}: ${[...asked]}`);
  for (const call of ["GET cancelAction", "POST cancelAction"]) assert.ok(asked.has(call), `${call}: ${[...asked]}`);
});
