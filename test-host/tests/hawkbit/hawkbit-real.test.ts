// The client of hawkBit against a real hawkBit update server: docs/hawkbit.md. Needs Java and Maven; HAWKBIT=1 and `npm run test:all` run it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createCheck } from "../../support/ddi.ts";
import { artifactsOf, createHawkbitDevice, type HawkbitDevice, imageOf } from "../../support/hawkbit-device.ts";
import { HISTORIES, runSwupdate, SWUPDATE_RESULTS, simulateLifetime } from "../../support/hawkbit-lifetime.ts";
import { type RealHawkbit, startHawkbit, VERSION, whyNot } from "../../support/hawkbit-server.ts";
import { makeKey } from "../../support/release.ts";
import { withoutSwupdate } from "../../support/swupdate.ts";

const DEVICES = 20;
const GROUPS = 4;
let hawkbit: RealHawkbit;
let close: (() => Promise<void>) | undefined;
let why = whyNot();

before(async () => {
  if (!why) {
    try {
      ({ hawkbit, close } = await startHawkbit());
    } catch (error) {
      // offline, say. A server that was downloaded and does not start is a failure, and not a reason to skip
      const message = (error as Error).message;
      if (!/mvn/.test(message)) throw error;
      why = `hawkBit could not be downloaded: ${message.slice(0, 300)}`;
    }
  }
  if (why) process.stderr.write(`\n!!! ${why}: nothing was tried with a real hawkBit server !!!\n\n`);
});
after(() => close?.());

const serialOf = (n: number) => `240ac4${String(n).padStart(2, "0")}-0000${String(n).padStart(2, "0")}`;

describe(`hawkBit ${VERSION}`, () => {
  test("gives the histories of a lifetime as the fake does", async (t) => {
    if (why) return t.skip(why);
    const { told } = await simulateLifetime(t, hawkbit, await makeKey({ exponent: 3 }), "240ac499-0000ff");
    assert.deepEqual(told, HISTORIES);
  });

  test("serves swupdate as the fake does", { skip: withoutSwupdate() }, async (t) => {
    if (why) return t.skip(why);
    assert.deepEqual(await runSwupdate(t, hawkbit, "linux-1"), SWUPDATE_RESULTS);
  });

  test("answers as its OpenAPI document says, and takes what the document allows", async (t) => {
    if (why) return t.skip(why);
    const controller = "240ac497-0000fd";
    const check = createCheck();
    await hawkbit.addTarget(controller, "secret");
    const root = `/DEFAULT/controller/v1/${controller}`;
    async function ask(method: string, rest: string, body?: object): Promise<any> {
      const headers = { Authorization: "TargetToken secret", "Content-Type": "application/json" };
      const sent = body ? JSON.stringify(body) : undefined;
      const answer = await fetch(`${hawkbit.url}${root}${rest}`, { method, headers, body: sent });
      const text = await answer.text();
      const known = text ? JSON.parse(text) : undefined;
      assert.deepEqual(check({ method, path: root + rest, body, status: answer.status, answer: known }), []);
      return known;
    }
    const key = await makeKey({ exponent: 3 });
    const release = await hawkbit.addRelease("checked", await artifactsOf(imageOf("2.0.2", 2), "2.0.2", 2, key));
    const status = (execution: string, finished: string) => ({ execution, result: { finished }, details: ["checked"] });
    await ask("PUT", "/configData", { mode: "merge", data: { place: "hall" } });
    const id = String(await hawkbit.assign(controller, release));
    const { _links: links } = await ask("GET", "");
    assert.ok(links.deploymentBase);
    await ask("POST", `/deploymentBase/${id}/feedback`, { id, status: status("proceeding", "none") });
    const { actionHistory } = await ask("GET", `/deploymentBase/${id}?actionHistory=8`);
    assert.deepEqual(actionHistory.messages, ["checked"]);
    await hawkbit.cancel(controller, Number(id));
    assert.ok((await ask("GET", ""))._links.cancelAction);
    const { cancelAction } = await ask("GET", `/cancelAction/${id}`);
    assert.equal(cancelAction.stopId, id);
    await ask("POST", `/cancelAction/${id}/feedback`, { id, status: status("closed", "success") });
  });

  test("refuses a wrong token, and the device goes on polling", async (t) => {
    if (why) return t.skip(why);
    await hawkbit.addTarget("240ac498-0000fe", "secret");
    const one = createHawkbitDevice(t, hawkbit.url, "240ac498-0000fe", "wrong", await makeKey({ exponent: 3 }));
    one.start();
    await one.waitFor("two refusals", () => one.log().length > 1);
    assert.deepEqual(one.log()[1], ["failed", "hawkBit: HTTP status 401"]);
  });

  test(`rolls a good release out to ${DEVICES} devices, and stops a bad one by itself`, async (t) => {
    if (why) return t.skip(why);
    const key = await makeKey({ exponent: 3 });
    const fleet: HawkbitDevice[] = [];
    for (let n = 0; n < DEVICES; n++) {
      await hawkbit.addTarget(serialOf(n), `token ${n}`);
      fleet.push(createHawkbitDevice(t, hawkbit.url, serialOf(n), `token ${n}`, key));
      fleet[n].start();
    }
    const filter = fleet.map(({ serial }) => `controllerId==${serial}`).join(",");

    /** Time passes for all, until the rollout has ended or stopped. `good`: what the program says of the new image. */
    async function campaign(rollout: number, good: boolean): Promise<string> {
      for (let round = 0; round < 400; round++) {
        const { status } = await hawkbit.rollout(rollout);
        if (status === "finished" || status === "paused") return status;
        for (const one of fleet) {
          await one.waitFor("its poll is over", () => one.device.engine.accounts().sockets === 0);
          if (one.log().some(([what]) => what === "installed")) {
            one.device.restart();
            const { engine, ota } = one.device;
            if (good) ota.markValid();
            else await engine.call(ota.rollback(engine.run('({ reason: "no sensor", restart: false })')));
            one.restart();
          }
          await one.device.engine.advance(10_000);
        }
      }
      throw new Error(`the rollout does not end: ${JSON.stringify(await hawkbit.rollout(rollout))}`);
    }

    const image = imageOf("2.0.2", 2);
    const release = await hawkbit.addRelease("good", await artifactsOf(image, "2.0.2", 2, key));
    const good = await hawkbit.startRollout("good", release, filter, GROUPS, 30);
    assert.equal(await campaign(good, true), "finished");
    for (const { device } of fleet) assert.deepEqual(device.slot(device.running, image.length), image);
    for (const { serial } of fleet) assert.equal((await hawkbit.actionOf(serial))?.status, "finished");

    const broken = await hawkbit.addRelease("bad", await artifactsOf(imageOf("2.0.3", 3), "2.0.3", 3, key));
    const bad = await hawkbit.startRollout("bad", broken, filter, GROUPS, 30);
    assert.equal(await campaign(bad, false), "paused");
    const { groups } = await hawkbit.rollout(bad);
    assert.deepEqual(
      groups.map(({ status, targets }) => [status, targets]),
      [
        ["error", DEVICES / GROUPS],
        ["scheduled", DEVICES / GROUPS],
        ["scheduled", DEVICES / GROUPS],
        ["scheduled", DEVICES / GROUPS],
      ],
    );
    const tried = fleet.filter(({ device }) => device.ota.getStatus().rollbackReason === "no sensor");
    t.diagnostic(`${tried.length} of ${DEVICES} devices tried the bad release`);
    assert.ok(tried.length >= 2 && tried.length <= DEVICES / GROUPS, `${tried.length} devices`);
    // all of them run the good one
    for (const { device } of fleet) assert.deepEqual(device.slot(device.running, image.length), image);
  });
});
